// Makes a group by hand, or gives a group another name.
import { useId, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useClient } from 'urql';
import { DialogForm } from '../../components/DialogForm.tsx';
import { PlainDialog } from '../../components/ConfirmDialog.tsx';
import { Banner } from '../../components/states.tsx';
import { notify } from '../../components/toasts.tsx';
import { graphql } from '../../generated/index.ts';
import { mutate } from '../access/mutate.ts';

const groupCreateMutation = graphql(`
  mutation GroupCreate($input: GroupCreateInput!) {
    groupCreate(input: $input) {
      group { id displayName }
      userErrors { code reason message nextStep path }
    }
  }
`);

const groupUpdateMutation = graphql(`
  mutation GroupUpdate($input: GroupUpdateInput!) {
    groupUpdate(input: $input) {
      group { id displayName version }
      userErrors { code reason message nextStep path }
    }
  }
`);

interface GroupNameDialogProps {
  isOpen: boolean;
  onClose: () => void;
  onDone: (id: string) => void;
  /** The group to rename; left out for a new one. */
  group?: { id: string; displayName: string; version: number; connection?: { name: string } | null };
}

export function GroupNameDialog(props: GroupNameDialogProps) {
  const { t } = useTranslation('groups');
  const { group } = props;
  return (
    <PlainDialog isOpen={props.isOpen} onClose={props.onClose} title={group ? t('rename.title', { name: group.displayName }) : t('create.title')}>
      {props.isOpen && <GroupNameForm {...props} />}
    </PlainDialog>
  );
}

function GroupNameForm({ onClose, onDone, group }: GroupNameDialogProps) {
  const { t } = useTranslation('groups');
  const client = useClient();
  const field = useId();
  const [name, setName] = useState(group?.displayName ?? '');
  const save = async () => {
    const displayName = name.trim();
    const outcome = group
      ? await mutate(
          client,
          groupUpdateMutation,
          { input: { id: group.id, expectedVersion: group.version, displayName, extensions: [] } },
          (data) => data.groupUpdate,
        )
      : await mutate(client, groupCreateMutation, { input: { displayName, memberIds: [], extensions: [] } }, (data) => data.groupCreate);
    if (outcome.problem) return outcome.problem;
    const saved = outcome.payload?.group;
    if (!saved) return undefined;
    notify({ kind: 'success', text: t(group ? 'rename.done' : 'create.done', { name: saved.displayName }) });
    onClose();
    onDone(saved.id);
  };
  return (
    <DialogForm action={t(group ? 'rename.action' : 'create.action')} ready={Boolean(name.trim())} onClose={onClose} onSubmit={save}>
      {group?.connection ? <Banner kind="info" title={t('rename.owned', { name: group.connection.name })} /> : <p>{t('create.text')}</p>}
      <div className="field">
        <label htmlFor={field}>{t('column.name')}</label>
        <input id={field} value={name} dir="auto" autoComplete="off" required onChange={(event) => setName(event.target.value)} />
      </div>
    </DialogForm>
  );
}
