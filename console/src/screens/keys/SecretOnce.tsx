// A secret that is shown once. The dialog stays until the person says that it is stored; then the page forgets it.
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Button } from '../../components/Button.tsx';
import { PlainDialog } from '../../components/ConfirmDialog.tsx';
import { CopyButton } from '../../components/CopyButton.tsx';
import { CheckField } from '../../components/forms.tsx';
import { Banner } from '../../components/states.tsx';
import './keys.css';

interface SecretOnceProps {
  title: string;
  /** What it is, beside the copy button. */
  label: string;
  secret: string;
  /** What must be done now. */
  warning?: string | null;
  onStored: () => void;
}

export function SecretOnce({ title, label, secret, warning, onStored }: SecretOnceProps) {
  const { t } = useTranslation('keys');
  const [stored, setStored] = useState(false);
  return (
    <PlainDialog isOpen onClose={onStored} title={title} dismissable={false}>
      <Banner kind="warning" title={t('once.title')}>
        <p>{t('once.text')}</p>
      </Banner>
      {warning && <p>{warning}</p>}
      <div className="secret">
        <code dir="ltr" aria-label={label}>
          {secret}
        </code>
        <CopyButton text={secret} label={label} />
      </div>
      <CheckField label={t('once.stored')} checked={stored} onChange={setStored} />
      <div className="actions dialog-actions">
        <Button kind="primary" isDisabled={!stored} onPress={onStored}>
          {t('once.done')}
        </Button>
      </div>
    </PlainDialog>
  );
}
