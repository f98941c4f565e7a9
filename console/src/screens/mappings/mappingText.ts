import { useTranslation } from 'react-i18next';

export interface MappingEnds {
  group?: { id: string; displayName: string } | null;
  awaits?: { attribute: string; value: string; connection?: { id: string; name: string } | null } | null;
  allUsersOf?: { id: string; name: string } | null;
  role?: { id: string; name: string } | null;
}

/** What is mapped, in words. */
export function useMappingFrom() {
  const { t } = useTranslation('mappings');
  return (mapping: MappingEnds): string => {
    if (mapping.group) return mapping.group.displayName;
    if (mapping.allUsersOf) return t('from.allUsersOf', { name: mapping.allUsersOf.name });
    if (mapping.awaits) return t('from.awaits', { value: mapping.awaits.value, name: mapping.awaits.connection?.name ?? '–' });
    return t('from.deleted');
  };
}
