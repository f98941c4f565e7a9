import { useId } from 'react';
import { useTranslation } from 'react-i18next';

/** Why something is done; the ledger keeps it. */
export function ReasonField({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  const { t } = useTranslation();
  const field = useId();
  return (
    <div className="field">
      <label htmlFor={field}>{t('dialog.reason')}</label>
      <input id={field} value={value} maxLength={1000} onChange={(event) => onChange(event.target.value)} autoComplete="off" />
    </div>
  );
}
