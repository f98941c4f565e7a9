// Invites one person or many: all get the same. With one, the link is shown once; with many, mails bring them.
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useAction } from '../../app/useAction.ts';
import { useViewer } from '../../app/viewer.tsx';
import { DialogForm } from '../../components/DialogForm.tsx';
import { PlainDialog } from '../../components/ConfirmDialog.tsx';
import { TextField } from '../../components/forms.tsx';
import { ReasonField } from '../../components/ReasonField.tsx';
import { toMistake } from '../../components/mistakes.ts';
import { notify } from '../../components/toasts.tsx';
import { graphql } from '../../generated/index.ts';
import { InstantField } from '../access/InstantField.tsx';
import { type Choice, GroupPicker, RolePicker } from '../access/pickers.tsx';

const createMutation = graphql(`
  mutation InvitationsCreate($input: InvitationsCreateInput!) {
    invitationsCreate(input: $input) {
      invited { email secret invitation { id } userErrors { code reason message nextStep } }
      userErrors { code reason message nextStep }
    }
  }
`);

interface InviteDialogProps {
  onClose: () => void;
  /** With the link, if there is one person. */
  onInvited: (link: string | undefined) => void;
}

const MAX_ADDRESSES = 100;

export function InviteDialog({ onClose, onInvited }: InviteDialogProps) {
  const { t } = useTranslation('invitations');
  const viewer = useViewer();
  const [emails, setEmails] = useState('');
  const [role, setRole] = useState<Choice>();
  const [group, setGroup] = useState<Choice>();
  const [accessEnd, setAccessEnd] = useState<string>();
  const [reason, setReason] = useState('');
  const { run } = useAction(createMutation);
  const addresses = emails.split(/[\s,;]+/).filter(Boolean);
  const save = async () => {
    const answer = await run({
      input: {
        emails: addresses,
        ...(role && { roles: [role.id] }),
        ...(group && { groups: [group.id] }),
        ...(accessEnd && { accessExpiresAt: accessEnd }),
        ...(reason.trim() && { reason: reason.trim() }),
      },
    });
    if (answer.problem) return answer.problem;
    const invited = answer.payload.invited ?? [];
    const failed = invited.filter(({ userErrors }) => userErrors.length > 0);
    const made = invited.length - failed.length;
    const first = failed[0]?.userErrors[0];
    if (first && failed[0]) {
      // Those that were made are not made again by a second try.
      setEmails(failed.map(({ email }) => email).join('\n'));
      const rest = made > 0 ? ` ${t('othersInvited', { count: made })}` : '';
      const said = toMistake(first);
      return { ...said, message: `${failed[0].email}: ${said.message}${rest}` };
    }
    notify({ kind: 'success', text: t('invited', { count: made }) });
    onInvited(invited.length === 1 ? (invited[0]?.secret ?? undefined) : undefined);
    return undefined;
  };
  return (
    <PlainDialog isOpen onClose={onClose} title={t('inviteTitle')}>
      <DialogForm action={t('invite')} ready={addresses.length > 0 && addresses.length <= MAX_ADDRESSES && (role !== undefined || group !== undefined)} onClose={onClose} onSubmit={save}>
        <p>{t('inviteText')}</p>
        <TextField label={t('emails')} help={t('emailsHelp')} multiline technical required value={emails} onChange={setEmails} />
        {viewer.may('IAM_READ') && (
          <>
            {viewer.may('ACCESS_WRITE') && <RolePicker label={t('role')} chosen={role} onChoose={setRole} />}
            <GroupPicker label={t('group')} help={t('groupHelp')} chosen={group} onChoose={setGroup} />
          </>
        )}
        <InstantField label={t('accessEnds')} value={accessEnd} onChange={setAccessEnd} />
        <ReasonField value={reason} onChange={setReason} />
      </DialogForm>
    </PlainDialog>
  );
}
