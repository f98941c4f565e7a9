// Makes an account by hand. It has no role: roles come by mapping or by a grant.
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useClient } from 'urql';
import { DialogForm } from '../../components/DialogForm.tsx';
import { PlainDialog } from '../../components/ConfirmDialog.tsx';
import { TextField } from '../../components/forms.tsx';
import { notify } from '../../components/toasts.tsx';
import { graphql } from '../../generated/index.ts';
import { mutate } from '../access/mutate.ts';

const userCreateMutation = graphql(`
  mutation UserCreate($input: UserCreateInput!) {
    userCreate(input: $input) {
      user { id displayName }
      userErrors { code reason message nextStep path }
    }
  }
`);

interface NewPersonDialogProps {
  isOpen: boolean;
  onClose: () => void;
  onCreated: (id: string) => void;
}

export function NewPersonDialog({ isOpen, onClose, onCreated }: NewPersonDialogProps) {
  const { t } = useTranslation('people');
  return (
    <PlainDialog isOpen={isOpen} onClose={onClose} title={t('create.title')}>
      {isOpen && <NewPersonForm onClose={onClose} onCreated={onCreated} />}
    </PlainDialog>
  );
}

function NewPersonForm({ onClose, onCreated }: Omit<NewPersonDialogProps, 'isOpen'>) {
  const { t } = useTranslation('people');
  const client = useClient();
  const [userName, setUserName] = useState('');
  const [displayName, setDisplayName] = useState('');
  const [email, setEmail] = useState('');
  const [department, setDepartment] = useState('');
  const save = async () => {
    const outcome = await mutate(
      client,
      userCreateMutation,
      {
        input: {
          userName: userName.trim(),
          displayName: displayName.trim() || null,
          department: department.trim() || null,
          emails: email.trim() ? [{ value: email.trim(), primary: true }] : [],
          active: true,
          extensions: [],
        },
      },
      (data) => data.userCreate,
    );
    if (outcome.problem) return outcome.problem;
    const user = outcome.payload?.user;
    if (!user) return undefined;
    notify({ kind: 'success', text: t('create.done', { name: user.displayName }) });
    onClose();
    onCreated(user.id);
  };
  return (
    <DialogForm action={t('create.action')} ready={Boolean(userName.trim())} onClose={onClose} onSubmit={save}>
      <p>{t('create.text')}</p>
      <TextField label={t('about.userName')} value={userName} onChange={setUserName} required />
      <TextField label={t('about.displayName')} value={displayName} onChange={setDisplayName} />
      <TextField label={t('about.email')} value={email} onChange={setEmail} type="email" />
      <TextField label={t('about.department')} value={department} onChange={setDepartment} />
    </DialogForm>
  );
}
