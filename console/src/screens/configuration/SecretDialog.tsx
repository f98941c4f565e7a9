// The token's text, once. It lives in this dialog only and is gone when it closes.
import { useTranslation } from 'react-i18next';
import { Button } from '../../components/Button.tsx';
import { PlainDialog } from '../../components/ConfirmDialog.tsx';
import { CopyRow } from '../../components/CopyButton.tsx';
import { Banner } from '../../components/states.tsx';

interface SecretDialogProps {
  secret: string | undefined;
  baseUrl: string | undefined;
  /** After a rotation: provisioning goes on once the identity provider has it. */
  resumes: boolean;
  onStored: () => void;
}

export function SecretDialog({ secret, baseUrl, resumes, onStored }: SecretDialogProps) {
  const { t } = useTranslation('configuration');
  return (
    <PlainDialog isOpen={secret !== undefined} onClose={onStored} title={t('secret.title')} dismissable={false}>
      <Banner kind="warning" title={t('secret.once')}>
        <p>{t('secret.store')}</p>
      </Banner>
      <dl className="secret">
        {baseUrl !== undefined && <CopyRow label={t('address.base')} text={baseUrl} />}
        {secret !== undefined && <CopyRow label={t('token.title')} text={secret} />}
      </dl>
      {resumes && <p>{t('secret.resumes')}</p>}
      <div className="actions dialog-actions">
        <Button kind="primary" onPress={onStored}>
          {t('secret.stored')}
        </Button>
      </div>
    </PlainDialog>
  );
}
