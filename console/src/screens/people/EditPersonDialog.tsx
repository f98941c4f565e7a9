// Changes attributes by hand. What an identity provider owns may come back with its next write.
import { useId, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useClient } from 'urql';
import { Button } from '../../components/Button.tsx';
import { PlainDialog } from '../../components/ConfirmDialog.tsx';
import { Banner, ErrorPanel, type Problem } from '../../components/states.tsx';
import { notify } from '../../components/toasts.tsx';
import { graphql } from '../../generated/index.ts';
import { mutate } from '../access/mutate.ts';
import type { PersonParts } from './PersonScreen.tsx';

const userUpdateMutation = graphql(`
  mutation UserUpdate($input: UserUpdateInput!) {
    userUpdate(input: $input) {
      user { id displayName version }
      userErrors { code reason message nextStep path }
    }
  }
`);

interface EditPersonDialogProps {
  isOpen: boolean;
  onClose: () => void;
  person: PersonParts;
}

const FIELDS = ['userName', 'displayName', 'givenName', 'familyName', 'title', 'department', 'employeeNumber'] as const;

export function EditPersonDialog({ isOpen, onClose, person }: EditPersonDialogProps) {
  const { t } = useTranslation('people');
  return (
    <PlainDialog isOpen={isOpen} onClose={onClose} title={t('edit.title', { name: person.displayName })}>
      {isOpen && <EditPersonForm onClose={onClose} person={person} />}
    </PlainDialog>
  );
}

function EditPersonForm({ onClose, person }: Pick<EditPersonDialogProps, 'onClose' | 'person'>) {
  const { t } = useTranslation('people');
  const { t: common } = useTranslation();
  const client = useClient();
  const form = useId();
  const [values, setValues] = useState(() => Object.fromEntries(FIELDS.map((name) => [name, person[name] ?? ''])));
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem>();
  const changed = FIELDS.filter((name) => values[name] !== (person[name] ?? ''));
  const save = async () => {
    if (busy || changed.length === 0) return;
    setBusy(true);
    // Only what was changed is sent; an emptied field takes the value away.
    const input = {
      id: person.id,
      expectedVersion: person.version,
      extensions: [],
      ...Object.fromEntries(changed.map((name) => [name, values[name]?.trim() || null])),
    };
    const outcome = await mutate(client, userUpdateMutation, { input }, (data) => data.userUpdate);
    setBusy(false);
    setProblem(outcome.problem);
    if (outcome.problem) return;
    notify({ kind: 'success', text: t('edit.done', { name: outcome.payload?.user?.displayName ?? person.displayName }) });
    onClose();
  };
  return (
    <form
      className="form"
      onSubmit={(event) => {
        event.preventDefault();
        void save();
      }}
    >
      {person.connection && <Banner kind="info" title={t('edit.owned', { name: person.connection.name })} />}
      {FIELDS.map((name) => (
        <div className="field" key={name}>
          <label htmlFor={`${form}-${name}`}>{t(`about.${name}`)}</label>
          <input
            id={`${form}-${name}`}
            value={values[name]}
            dir="auto"
            autoComplete="off"
            onChange={(event) => setValues((before) => ({ ...before, [name]: event.target.value }))}
          />
        </div>
      ))}
      {problem && <ErrorPanel problem={problem} />}
      <div className="actions dialog-actions">
        <Button onPress={onClose}>{common('dialog.cancel')}</Button>
        <Button kind="primary" type="submit" busy={busy} isDisabled={changed.length === 0}>
          {t('edit.action')}
        </Button>
      </div>
    </form>
  );
}
