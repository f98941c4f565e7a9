// Makes a role, or changes one.
import { useId, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useClient } from 'urql';
import { DialogForm } from '../../components/DialogForm.tsx';
import { PlainDialog } from '../../components/ConfirmDialog.tsx';
import { Banner } from '../../components/states.tsx';
import { notify } from '../../components/toasts.tsx';
import { graphql } from '../../generated/index.ts';
import { mutate } from '../access/mutate.ts';

const roleCreateMutation = graphql(`
  mutation RoleCreate($input: RoleCreateInput!) {
    roleCreate(input: $input) {
      role { id name }
      userErrors { code reason message nextStep path }
    }
  }
`);

const roleUpdateMutation = graphql(`
  mutation RoleUpdate($input: RoleUpdateInput!) {
    roleUpdate(input: $input) {
      role { id name version }
      userErrors { code reason message nextStep path }
    }
  }
`);

interface RoleDialogProps {
  isOpen: boolean;
  onClose: () => void;
  onDone: (id: string) => void;
  /** The role to change; left out for a new one. */
  role?: {
    id: string;
    name: string;
    description?: string | null;
    permissions: readonly string[];
    priority?: number | null;
    management: boolean;
    version: number;
  };
}

export function RoleDialog(props: RoleDialogProps) {
  const { t } = useTranslation('roles');
  return (
    <PlainDialog isOpen={props.isOpen} onClose={props.onClose} title={props.role ? t('edit.title', { name: props.role.name }) : t('create.title')}>
      {props.isOpen && <RoleForm {...props} />}
    </PlainDialog>
  );
}

function RoleForm({ onClose, onDone, role }: RoleDialogProps) {
  const { t } = useTranslation('roles');
  const client = useClient();
  const form = useId();
  const [name, setName] = useState(role?.name ?? '');
  const [description, setDescription] = useState(role?.description ?? '');
  const [permissions, setPermissions] = useState(role?.permissions.join('\n') ?? '');
  const [priority, setPriority] = useState(role?.priority == null ? '' : String(role.priority));
  const [management, setManagement] = useState(role?.management ?? false);
  const save = async () => {
    const values = {
      name: name.trim(),
      description: description.trim() || null,
      permissions: [...new Set(permissions.split(/\s+/).filter(Boolean))],
      priority: priority === '' ? null : Number(priority),
      management,
    };
    const outcome = role
      ? await mutate(client, roleUpdateMutation, { input: { id: role.id, expectedVersion: role.version, ...values } }, (data) => data.roleUpdate)
      : await mutate(client, roleCreateMutation, { input: values }, (data) => data.roleCreate);
    if (outcome.problem) return outcome.problem;
    const saved = outcome.payload?.role;
    if (!saved) return undefined;
    notify({ kind: 'success', text: t(role ? 'edit.done' : 'create.done', { name: saved.name }) });
    onClose();
    onDone(saved.id);
  };
  return (
    <DialogForm action={t(role ? 'edit.action' : 'create.action')} ready={Boolean(name.trim())} onClose={onClose} onSubmit={save}>
      {role && <Banner kind="info" title={t('edit.effect')} />}
      <div className="field">
        <label htmlFor={`${form}-name`}>{t('column.name')}</label>
        <input id={`${form}-name`} value={name} dir="auto" required autoComplete="off" onChange={(event) => setName(event.target.value)} />
      </div>
      <div className="field">
        <label htmlFor={`${form}-description`}>{t('field.description')}</label>
        <input id={`${form}-description`} value={description} dir="auto" onChange={(event) => setDescription(event.target.value)} />
      </div>
      <div className="field">
        <label htmlFor={`${form}-permissions`}>{t('field.permissions')}</label>
        <textarea id={`${form}-permissions`} rows={4} value={permissions} dir="ltr" spellCheck={false} onChange={(event) => setPermissions(event.target.value)} />
      </div>
      <div className="field">
        <label htmlFor={`${form}-priority`}>{t('field.priority')}</label>
        <input id={`${form}-priority`} type="number" min={0} value={priority} onChange={(event) => setPriority(event.target.value)} />
      </div>
      <label className="check">
        <input type="checkbox" checked={management} onChange={(event) => setManagement(event.target.checked)} /> {t('field.management')}
      </label>
    </DialogForm>
  );
}
