// Changes attributes by hand. What an identity provider owns may come back with its next write.
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useClient } from 'urql';
import { DialogForm } from '../../components/DialogForm.tsx';
import { PlainDialog } from '../../components/ConfirmDialog.tsx';
import { TextField } from '../../components/forms.tsx';
import { Banner } from '../../components/states.tsx';
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
  const client = useClient();
  const [values, setValues] = useState(() => Object.fromEntries(FIELDS.map((name) => [name, person[name] ?? ''])));
  const changed = FIELDS.filter((name) => values[name] !== (person[name] ?? ''));
  const save = async () => {
    // Only what was changed is sent; an emptied field takes the value away.
    const input = {
      id: person.id,
      expectedVersion: person.version,
      extensions: [],
      ...Object.fromEntries(changed.map((name) => [name, values[name]?.trim() || null])),
    };
    const outcome = await mutate(client, userUpdateMutation, { input }, (data) => data.userUpdate);
    if (outcome.problem) return outcome.problem;
    notify({ kind: 'success', text: t('edit.done', { name: outcome.payload?.user?.displayName ?? person.displayName }) });
    onClose();
  };
  return (
    <DialogForm action={t('edit.action')} ready={changed.length > 0} onClose={onClose} onSubmit={save}>
      {person.connection && <Banner kind="info" title={t('edit.owned', { name: person.connection.name })} />}
      {FIELDS.map((name) => (
        <TextField
          key={name}
          label={t(`about.${name}`)}
          value={values[name] ?? ''}
          onChange={(value) => setValues((before) => ({ ...before, [name]: value }))}
        />
      ))}
    </DialogForm>
  );
}
