// Makes an API key, or changes one. Only what was changed is sent.
import { type FormEvent, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useClient } from 'urql';
import { useAction } from '../../app/useAction.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { PlainDialog } from '../../components/ConfirmDialog.tsx';
import { CheckField, SelectField, TextField, toInstant, toLocal } from '../../components/forms.tsx';
import { ErrorPanel, type Problem, toProblem } from '../../components/states.tsx';
import type { ApiKeyUpdateInput, KeyFieldsFragment, Permission } from '../../generated/graphql.ts';
import { PERMISSIONS, issueMutation, ownerQuery, updateMutation } from './key.ts';

const OWNERS = ['keep', 'account', 'subject'] as const;
type OwnerKind = (typeof OWNERS)[number];

interface KeyDialogProps {
  /** Left out: a new key. */
  apiKey: KeyFieldsFragment | undefined;
  onClose: () => void;
  /** With the secret of a new key. */
  onDone: (secret: string | undefined) => void;
}

export function KeyDialog({ apiKey, onClose, onDone }: KeyDialogProps) {
  const { t } = useTranslation('keys');
  const { t: common } = useTranslation();
  const viewer = useViewer();
  const client = useClient();
  const held = PERMISSIONS.filter((permission) => viewer.may(permission));
  const [name, setName] = useState(apiKey?.name ?? '');
  const [permissions, setPermissions] = useState<readonly Permission[]>([]);
  const [expires, setExpires] = useState(toLocal(apiKey?.expiresAt));
  const [ownerKind, setOwnerKind] = useState<OwnerKind>('keep');
  const [owner, setOwner] = useState('');
  const [problem, setProblem] = useState<Problem>();
  const { run: issue, running: issuing } = useAction(issueMutation);
  const { run: update, running: updating } = useAction(updateMutation);

  /** The owner as the mutation wants it; an account is found by its user name. */
  const findOwner = async (): Promise<Pick<ApiKeyUpdateInput, 'ownerUserId' | 'ownerSubject'> | Problem> => {
    const text = owner.trim();
    if (ownerKind === 'keep' || text === '') return {};
    if (ownerKind === 'subject') return { ownerSubject: text };
    const { data, error } = await client.query(ownerQuery, { userName: text }, { requestPolicy: 'network-only' }).toPromise();
    if (error) return toProblem(error);
    const found = data?.organization?.user;
    return found ? { ownerUserId: found.id } : { code: 'NOT_FOUND', message: t('noAccount', { name: text }) };
  };

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setProblem(undefined);
    const ownerInput = await findOwner();
    if ('code' in ownerInput) {
      setProblem(ownerInput);
      return;
    }
    const expiresAt = toInstant(expires);
    if (apiKey) {
      const answer = await update({
        input: {
          id: apiKey.id,
          ...(name.trim() !== apiKey.name && { name: name.trim() }),
          ...(expires !== toLocal(apiKey.expiresAt) && expiresAt && { expiresAt }),
          ...ownerInput,
        },
      });
      if (answer.problem) setProblem(answer.problem);
      else onDone(undefined);
      return;
    }
    const answer = await issue({
      input: { name: name.trim(), permissions: [...permissions], ...(expiresAt && { expiresAt }), ...ownerInput },
    });
    if (answer.problem) setProblem(answer.problem);
    else if (answer.payload.secret) onDone(answer.payload.secret);
    else setProblem({ code: 'SECRET_WITHHELD', message: '' });
  };

  const owners = OWNERS.filter((kind) => kind !== 'account' || viewer.may('USER_READ'));
  return (
    <PlainDialog isOpen onClose={onClose} title={apiKey ? t('editTitle', { name: apiKey.name }) : t('issueTitle')}>
      <form className="form" onSubmit={(event) => void submit(event)}>
        <TextField label={t('name')} help={t('nameHelp')} required value={name} onChange={setName} autoFocus />
        {!apiKey && (
          <fieldset className="field">
            <legend>{t('permissions')}</legend>
            <p className="muted field-help">{t('permissionsHelp')}</p>
            <div className="permission-list">
              {held.map((permission) => (
                <CheckField
                  key={permission}
                  label={<code>{permission}</code>}
                  help={common(`permission.${permission}`)}
                  checked={permissions.includes(permission)}
                  onChange={(on) =>
                    setPermissions(held.filter((each) => (each === permission ? on : permissions.includes(each))))
                  }
                />
              ))}
            </div>
          </fieldset>
        )}
        <TextField
          label={t('expires')}
          help={t('expiresHelp')}
          type="datetime-local"
          required={apiKey?.expiresAt != null}
          value={expires}
          onChange={setExpires}
        />
        <SelectField
          label={t('owner')}
          help={t('ownerHelp')}
          value={ownerKind}
          choices={owners.map((kind) => ({ value: kind, text: t(apiKey && kind === 'keep' ? 'ownerKeep' : `ownerKind.${kind}`) }))}
          onChange={setOwnerKind}
        />
        {ownerKind !== 'keep' && (
          <TextField label={t(`ownerKind.${ownerKind}`)} required technical value={owner} onChange={setOwner} />
        )}
        {problem && <ErrorPanel problem={problem} />}
        <div className="actions dialog-actions">
          <Button onPress={onClose}>{common('dialog.cancel')}</Button>
          <Button kind="primary" type="submit" busy={issuing || updating} isDisabled={!apiKey && permissions.length === 0}>
            {apiKey ? t('save') : t('issue')}
          </Button>
        </div>
      </form>
    </PlainDialog>
  );
}
