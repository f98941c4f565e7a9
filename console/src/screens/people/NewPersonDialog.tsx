// Makes an account by hand. It has no role: roles come by mapping or by a grant.
import { useId, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useClient } from 'urql';
import { Button } from '../../components/Button.tsx';
import { PlainDialog } from '../../components/ConfirmDialog.tsx';
import { ErrorPanel, type Problem } from '../../components/states.tsx';
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
  const { t: common } = useTranslation();
  const client = useClient();
  const form = useId();
  const [userName, setUserName] = useState('');
  const [displayName, setDisplayName] = useState('');
  const [email, setEmail] = useState('');
  const [department, setDepartment] = useState('');
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem>();
  const create = async () => {
    if (!userName.trim() || busy) return;
    setBusy(true);
    setProblem(undefined);
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
    setBusy(false);
    setProblem(outcome.problem);
    const user = outcome.payload?.user;
    if (!user) return;
    notify({ kind: 'success', text: t('create.done', { name: user.displayName }) });
    onClose();
    onCreated(user.id);
  };
  const field = (name: string, label: string, value: string, set: (value: string) => void, type = 'text') => (
    <div className="field">
      <label htmlFor={`${form}-${name}`}>{label}</label>
      <input
        id={`${form}-${name}`}
        type={type}
        value={value}
        dir="auto"
        autoComplete="off"
        required={name === 'userName'}
        onChange={(event) => set(event.target.value)}
      />
    </div>
  );
  return (
    <form
      className="form"
      onSubmit={(event) => {
        event.preventDefault();
        void create();
      }}
    >
      <p>{t('create.text')}</p>
      {field('userName', t('about.userName'), userName, setUserName)}
      {field('displayName', t('about.displayName'), displayName, setDisplayName)}
      {field('email', t('about.email'), email, setEmail, 'email')}
      {field('department', t('about.department'), department, setDepartment)}
      {problem && <ErrorPanel problem={problem} />}
      <div className="actions dialog-actions">
        <Button onPress={onClose}>{common('dialog.cancel')}</Button>
        <Button kind="primary" type="submit" busy={busy} isDisabled={!userName.trim()}>
          {t('create.action')}
        </Button>
      </div>
    </form>
  );
}
