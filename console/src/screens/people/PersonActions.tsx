// What can be done about a person; each action says first what follows from it.
import { type ReactNode, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useClient, useQuery } from 'urql';
import { useLocation } from 'wouter';
import { screenPath } from '../../app/paths.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { ConfirmDialog } from '../../components/ConfirmDialog.tsx';
import { Icon } from '../../components/Icon.tsx';
import { type MenuChoice, MenuButton } from '../../components/MenuButton.tsx';
import type { Problem } from '../../components/states.tsx';
import { notify } from '../../components/toasts.tsx';
import { graphql } from '../../generated/index.ts';
import { ReasonField } from '../../components/ReasonField.tsx';
import { mutate } from '../access/mutate.ts';
import { EditPersonDialog } from './EditPersonDialog.tsx';
import { GrantDialog } from './GrantDialog.tsx';
import { GrantsDialog } from './GrantsDialog.tsx';
import type { PersonParts } from './PersonScreen.tsx';

const userSuspendMutation = graphql(`
  mutation UserSuspend($input: UserSuspendInput!) {
    userSuspend(input: $input) {
      user { id active version }
      userErrors { code reason message nextStep path }
    }
  }
`);

const userReactivateMutation = graphql(`
  mutation UserReactivate($input: UserReactivateInput!) {
    userReactivate(input: $input) {
      user { id active version }
      userErrors { code reason message nextStep path }
    }
  }
`);

const userProtectMutation = graphql(`
  mutation UserProtect($input: UserProtectInput!) {
    userProtect(input: $input) {
      user { id protected version }
      userErrors { code reason message nextStep path }
    }
  }
`);

const userUnprotectMutation = graphql(`
  mutation UserUnprotect($input: UserUnprotectInput!) {
    userUnprotect(input: $input) {
      user { id protected version }
      userErrors { code reason message nextStep path }
    }
  }
`);

const userDeleteMutation = graphql(`
  mutation UserDelete($input: UserDeleteInput!) {
    userDelete(input: $input) {
      deletedUserId
      userErrors { code reason message nextStep path }
    }
  }
`);

const consequencesQuery = graphql(`
  query PersonConsequences($id: ID!) {
    organization {
      id
      user(id: $id) {
        id
        roles { role { id name management } }
      }
    }
  }
`);

type ActionKind = 'suspend' | 'reactivate' | 'protect' | 'unprotect' | 'delete';

export function PersonActions({ person }: { person: PersonParts }) {
  const { t } = useTranslation('people');
  const viewer = useViewer();
  const client = useClient();
  const [, navigate] = useLocation();
  const [asked, setAsked] = useState<ActionKind>();
  const [open, setOpen] = useState<'grant' | 'grants' | 'edit'>();
  const [reason, setReason] = useState('');
  const [{ data }] = useQuery({
    query: consequencesQuery,
    variables: { id: person.id },
    pause: asked === undefined || !viewer.may('IAM_READ'),
    requestPolicy: 'network-only',
  });
  const roles = data?.organization?.user?.roles;
  const mayWrite = viewer.may('USER_WRITE');
  const mayAccess = viewer.may('ACCESS_WRITE');
  const input = { id: person.id, expectedVersion: person.version };
  const why = reason.trim() || null;

  const run: Record<ActionKind, () => Promise<Problem | undefined>> = {
    suspend: async () => (await mutate(client, userSuspendMutation, { input: { ...input, reason: why } }, (data) => data.userSuspend)).problem,
    reactivate: async () => (await mutate(client, userReactivateMutation, { input }, (data) => data.userReactivate)).problem,
    protect: async () => (await mutate(client, userProtectMutation, { input }, (data) => data.userProtect)).problem,
    unprotect: async () =>
      (await mutate(client, userUnprotectMutation, { input: { ...input, reason: why } }, (data) => data.userUnprotect)).problem,
    delete: async () => (await mutate(client, userDeleteMutation, { input: { ...input, reason: why } }, (data) => data.userDelete)).problem,
  };

  const losesRoles: ReactNode =
    roles === undefined || roles === null ? (
      t('act.losesRoles')
    ) : roles.length === 0 ? (
      t('act.holdsNothing')
    ) : (
      <>
        {t('act.losesThese', { count: roles.length })} <strong dir="auto">{roles.map(({ role }) => role.name).join(', ')}</strong>
      </>
    );
  const source = person.connection;
  const fromSource = source ? [t('act.sourceWins', { name: source.name })] : [];
  const guarded = person.protected ? [t('act.isProtected')] : [];
  const consequences: Record<ActionKind, ReactNode[]> = {
    suspend: [losesRoles, t('act.suspendKeeps'), ...guarded, ...fromSource],
    reactivate: [t('act.reactivateRoles'), ...fromSource],
    protect: [t('act.protectSource'), t('act.protectPeople')],
    unprotect: [t('act.unprotectSource')],
    delete: [losesRoles, t('act.deleteBin'), t('act.deleteOwned'), ...guarded, ...fromSource],
  };

  const ask = (kind: ActionKind) => {
    setReason('');
    setAsked(kind);
  };
  const more: MenuChoice[] = [];
  if (mayWrite) more.push({ id: 'edit', text: t('edit.open') });
  if (mayAccess) {
    more.push({ id: 'grants', text: t('grants.title') });
    more.push(person.protected ? { id: 'unprotect', text: t('act.unprotect.open') } : { id: 'protect', text: t('act.protect.open'), icon: 'lock' });
  }
  if (mayWrite) more.push({ id: 'delete', text: t('act.delete.open'), icon: 'trash' });

  const choose = (id: string) => {
    if (id === 'edit' || id === 'grants') setOpen(id);
    else ask(id as ActionKind);
  };
  const kind = asked ?? 'suspend';
  return (
    <>
      {mayAccess && viewer.may('IAM_READ') && (
        <Button icon="role" onPress={() => setOpen('grant')}>
          {t('grant.open')}
        </Button>
      )}
      {mayWrite &&
        (person.active ? (
          <Button onPress={() => ask('suspend')}>{t('act.suspend.open')}</Button>
        ) : (
          <Button kind="primary" onPress={() => ask('reactivate')}>
            {t('act.reactivate.open')}
          </Button>
        ))}
      {more.length > 0 && (
        <MenuButton label={t('act.more')} parts={[{ id: 'more', choices: more, onChoose: choose }]}>
          {t('act.more')} <Icon name="chevronDown" />
        </MenuButton>
      )}
      <ConfirmDialog
        isOpen={asked !== undefined}
        onClose={() => setAsked(undefined)}
        title={t(`act.${kind}.title`, { name: person.displayName })}
        consequences={consequences[kind]}
        confirmLabel={t(`act.${kind}.open`)}
        danger={kind === 'suspend' || kind === 'delete'}
        onConfirm={async () => {
          const problem = await run[kind]();
          if (problem) return problem;
          notify({ kind: 'success', text: t(`act.${kind}.done`, { name: person.displayName }) });
          if (kind === 'delete') navigate(screenPath(viewer.organization.slug, 'people'));
          return undefined;
        }}
      >
        {(kind === 'suspend' || kind === 'unprotect' || kind === 'delete') && <ReasonField value={reason} onChange={setReason} />}
      </ConfirmDialog>
      <GrantDialog isOpen={open === 'grant'} onClose={() => setOpen(undefined)} person={{ id: person.id, name: person.displayName }} />
      <GrantsDialog isOpen={open === 'grants'} onClose={() => setOpen(undefined)} person={{ id: person.id, name: person.displayName }} />
      <EditPersonDialog isOpen={open === 'edit'} onClose={() => setOpen(undefined)} person={person} />
    </>
  );
}
