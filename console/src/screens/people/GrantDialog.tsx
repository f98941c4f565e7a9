// Grants a role by hand: role, reason and end, then what would follow, then the grant.
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Button } from '../../components/Button.tsx';
import { PlainDialog } from '../../components/ConfirmDialog.tsx';
import type { AccessEditInput } from '../../generated/graphql.ts';
import type { Named } from '../access/AccessChain.tsx';
import { AccessPreviewPanel } from '../access/AccessPreview.tsx';
import { InstantField } from '../access/InstantField.tsx';
import { ReasonField } from '../../components/ReasonField.tsx';
import { type Choice, RolePicker } from '../access/pickers.tsx';

interface GrantDialogProps {
  isOpen: boolean;
  onClose: () => void;
  person: Named;
}

export function GrantDialog({ isOpen, onClose, person }: GrantDialogProps) {
  const { t } = useTranslation('people');
  return (
    <PlainDialog isOpen={isOpen} onClose={onClose} title={t('grant.title', { name: person.name })}>
      {isOpen && <GrantForm onClose={onClose} person={person} />}
    </PlainDialog>
  );
}

function GrantForm({ onClose, person }: Omit<GrantDialogProps, 'isOpen'>) {
  const { t } = useTranslation('people');
  const { t: common } = useTranslation();
  const [role, setRole] = useState<Choice>();
  const [reason, setReason] = useState('');
  const [expiresAt, setExpiresAt] = useState<string>();
  const [ready, setReady] = useState(false);
  const edits = useMemo<AccessEditInput[]>(
    () =>
      role ? [{ createGrant: { userId: person.id, roleId: role.id, reason: reason.trim() || null, expiresAt: expiresAt ?? null } }] : [],
    [role, person.id, reason, expiresAt],
  );
  if (ready && role) {
    return (
      <>
        <p>
          {t('grant.summary', { person: person.name, role: role.name })} {reason && <q dir="auto">{reason}</q>}
        </p>
        <AccessPreviewPanel
          edits={edits}
          applyLabel={t('grant.action')}
          doneText={t('grant.done', { person: person.name, role: role.name })}
          onApplied={onClose}
          onCancel={() => setReady(false)}
        />
      </>
    );
  }
  return (
    <form
      className="form"
      onSubmit={(event) => {
        event.preventDefault();
        if (role) setReady(true);
      }}
    >
      <p>{t('grant.text')}</p>
      <RolePicker label={t('grant.role')} chosen={role} onChoose={setRole} isRequired />
      <ReasonField value={reason} onChange={setReason} />
      <InstantField label={t('grant.end')} value={expiresAt} onChange={setExpiresAt} help={t('grant.endHelp')} />
      <div className="actions dialog-actions">
        <Button onPress={onClose}>{common('dialog.cancel')}</Button>
        <Button kind="primary" type="submit" isDisabled={!role}>
          {t('grant.preview')}
        </Button>
      </div>
    </form>
  );
}
