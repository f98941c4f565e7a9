// Accepts an invitation for an account, by an administrator who knows that it is the person's.
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useAction } from '../../app/useAction.ts';
import { PlainDialog } from '../../components/ConfirmDialog.tsx';
import { DialogForm } from '../../components/DialogForm.tsx';
import { ReasonField } from '../../components/ReasonField.tsx';
import { notify } from '../../components/toasts.tsx';
import { graphql } from '../../generated/index.ts';
import { type Choice, PersonPicker } from '../access/pickers.tsx';

const acceptMutation = graphql(`
  mutation InvitationAccept($input: InvitationAcceptInput!) {
    invitationAccept(input: $input) {
      invitation { id state }
      userErrors { code reason message nextStep }
    }
  }
`);

interface AcceptDialogProps {
  invitationId: string;
  address: string;
  onClose: () => void;
  onAccepted: () => void;
}

export function AcceptDialog({ invitationId, address, onClose, onAccepted }: AcceptDialogProps) {
  const { t } = useTranslation('invitations');
  const [person, setPerson] = useState<Choice>();
  const [reason, setReason] = useState('');
  const { run } = useAction(acceptMutation);
  const accept = async () => {
    if (!person) return undefined;
    const { problem } = await run({
      input: { id: invitationId, userId: person.id, ...(reason.trim() && { reason: reason.trim() }) },
    });
    if (problem) return problem;
    notify({ kind: 'success', text: t('accepted', { name: person.name }) });
    onAccepted();
    return undefined;
  };
  return (
    <PlainDialog isOpen onClose={onClose} title={t('acceptTitle', { address })}>
      <DialogForm action={t('accept')} ready={person !== undefined} onClose={onClose} onSubmit={accept}>
        <p>{t('acceptText')}</p>
        <PersonPicker label={t('person')} help={t('personHelp')} chosen={person} onChoose={setPerson} isRequired />
        <ReasonField value={reason} onChange={setReason} />
      </DialogForm>
    </PlainDialog>
  );
}
