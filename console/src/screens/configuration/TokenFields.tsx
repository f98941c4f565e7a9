import { useId } from 'react';
import { useTranslation } from 'react-i18next';
import type { ScimScope } from '../../generated/graphql.ts';

export type Scope = ScimScope;
export const SCOPES: readonly Scope[] = ['USERS_READ', 'USERS_WRITE', 'GROUPS_READ', 'GROUPS_WRITE'];

const LIFETIMES = ['never', '90', '180', '365'] as const;
export type Lifetime = (typeof LIFETIMES)[number];

const DAY_MILLISECONDS = 86_400_000;

export const expiryInstant = (lifetime: Lifetime): string | undefined =>
  lifetime === 'never' ? undefined : new Date(Date.now() + Number(lifetime) * DAY_MILLISECONDS).toISOString();

export function ExpiryField({ value, onChange }: { value: Lifetime; onChange: (value: Lifetime) => void }) {
  const { t } = useTranslation('configuration');
  const field = useId();
  return (
    <div className="field">
      <label htmlFor={field}>{t('fields.expiry')}</label>
      <select id={field} value={value} onChange={(event) => onChange(event.target.value as Lifetime)}>
        {LIFETIMES.map((lifetime) => (
          <option key={lifetime} value={lifetime}>
            {lifetime === 'never' ? t('fields.never') : t('fields.days', { count: Number(lifetime) })}
          </option>
        ))}
      </select>
    </div>
  );
}

export function ScopesField({ value, onChange }: { value: readonly Scope[]; onChange: (value: readonly Scope[]) => void }) {
  const { t } = useTranslation('configuration');
  return (
    <fieldset className="field scopes">
      <legend>{t('fields.scopes')}</legend>
      {SCOPES.map((scope) => (
        <label key={scope}>
          <input
            type="checkbox"
            checked={value.includes(scope)}
            onChange={(event) => onChange(SCOPES.filter((each) => (each === scope ? event.target.checked : value.includes(each))))}
          />{' '}
          {t(`scopes.${scope}`)}
        </label>
      ))}
    </fieldset>
  );
}
