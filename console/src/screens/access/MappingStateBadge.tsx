import { useTranslation } from 'react-i18next';
import { StatusBadge, type Tone } from '../../components/StatusBadge.tsx';
import type { RoleMappingState } from '../../generated/graphql.ts';

const TONES: Record<RoleMappingState, Tone> = { ACTIVE: 'good', WAITING: 'info', REMOVED: 'quiet', EXPIRED: 'warning' };

export function MappingStateBadge({ state }: { state: RoleMappingState }) {
  const { t } = useTranslation('access');
  return <StatusBadge tone={TONES[state]}>{t(`mappingState.${state}`)}</StatusBadge>;
}
