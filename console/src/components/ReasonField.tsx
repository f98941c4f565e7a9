import { useId } from 'react';
import { useTranslation } from 'react-i18next';

interface ReasonFieldProps {
  value: string;
  onChange: (reason: string) => void;
  isRequired?: boolean;
}

/** Why it is done; kept in the ledger. */
export function ReasonField({ value, onChange, isRequired = false }: ReasonFieldProps) {
  const { t } = useTranslation();
  const field = useId();
  return (
    <div className="field">
      <label htmlFor={field}>{t('dialog.reason')}</label>
      <textarea
        id={field}
        rows={2}
        maxLength={1000}
        required={isRequired}
        value={value}
        dir="auto"
        onChange={(event) => onChange(event.target.value)}
      />
    </div>
  );
}
