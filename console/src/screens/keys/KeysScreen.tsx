// API keys: who owns each, what it opens, when it was used and when it ends.
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useSearchParams } from 'wouter';
import { oneOf } from '../../app/address.ts';
import { screenPath } from '../../app/paths.ts';
import { useAction } from '../../app/useAction.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { ConfirmDialog } from '../../components/ConfirmDialog.tsx';
import { type Column, DataTable, type Sorting, TableFoot } from '../../components/DataTable.tsx';
import { FilterBar, FilterReset, FilterText, useQueryValue } from '../../components/FilterBar.tsx';
import { CheckField, TextField } from '../../components/forms.tsx';
import { Page } from '../../components/Page.tsx';
import { usePagedList } from '../../components/paging.ts';
import { StatusBadge } from '../../components/StatusBadge.tsx';
import { EmptyState, ErrorPanel, Skeleton } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import { notify } from '../../components/toasts.tsx';
import type { ApiKeyOrderField, ApiKeysQuery, KeyFieldsFragment } from '../../generated/graphql.ts';
import { KeyDialog } from './KeyDialog.tsx';
import { SecretOnce } from './SecretOnce.tsx';
import { PERMISSIONS, keysQuery, revokeMutation } from './key.ts';
import './keys.css';

const ORDERS: readonly ApiKeyOrderField[] = ['CREATED_AT', 'NAME', 'EXPIRES_AT', 'LAST_USED_AT'];
const SOON_MILLISECONDS = 14 * 86_400_000;

const pick = (data: ApiKeysQuery) => data.organization?.apiKeys;

export default function KeysScreen() {
  const { t } = useTranslation('keys');
  const { t: common } = useTranslation();
  const viewer = useViewer();
  const users = viewer.may('USER_READ');
  const [params, setParams] = useSearchParams();
  const [shownEnded, setShownEnded] = useQueryValue('ended');
  const search = params.get('search') ?? undefined;
  const order = oneOf(ORDERS, params.get('sort') ?? undefined) ?? 'CREATED_AT';
  const direction = params.get('direction') === 'desc' ? 'DESC' : 'ASC';
  const sorting: Sorting = { field: order, direction };
  const list = usePagedList(
    keysQuery,
    {
      users,
      orderBy: { field: order, direction },
      filter: { ...(search !== undefined && { search }), ...(shownEnded === undefined && { live: true }) },
    },
    pick,
  );
  const [editing, setEditing] = useState<KeyFieldsFragment | 'new'>();
  const [revoking, setRevoking] = useState<KeyFieldsFragment>();
  const [reason, setReason] = useState('');
  const [secret, setSecret] = useState<string>();
  const { run: revoke } = useAction(revokeMutation);
  const sortBy = ({ field, direction: next }: Sorting) =>
    setParams((before) => {
      const after = new URLSearchParams(before);
      after.set('sort', field);
      if (next === 'DESC') after.set('direction', 'desc');
      else after.delete('direction');
      return after;
    });

  const columns: Column<KeyFieldsFragment>[] = [
    {
      key: 'name',
      title: t('name'),
      header: true,
      sort: 'NAME',
      cell: (key) => (
        <>
          {key.name}
          <br />
          <code className="muted" dir="ltr">
            rck_…{key.lastFour}
          </code>
          <br />
          <KeyState apiKey={key} />
        </>
      ),
    },
    { key: 'permissions', title: t('permissions'), cell: (key) => <Permissions apiKey={key} /> },
    {
      key: 'owner',
      title: t('owner'),
      cell: (key) =>
        key.owner ? (
          <Link href={screenPath(viewer.organization.slug, `people/${encodeURIComponent(key.owner.id)}`)}>
            {key.owner.displayName || key.owner.userName}
          </Link>
        ) : (
          (key.ownerSubject ?? (key.ownerUserId ? t('ownerAccount') : <span className="muted">{common('state.none')}</span>))
        ),
    },
    {
      key: 'used',
      title: t('lastUsed'),
      sort: 'LAST_USED_AT',
      cell: (key) => (key.lastUsedAt ? <Time at={key.lastUsedAt} /> : common('state.never')),
    },
    {
      key: 'ends',
      title: t('ends'),
      sort: 'EXPIRES_AT',
      cell: (key) => {
        const end = key.revokedAt ?? key.expiresAt;
        return end ? <Time at={end} /> : common('state.never');
      },
    },
    { key: 'created', title: t('created'), sort: 'CREATED_AT', cell: (key) => <Time at={key.createdAt} /> },
    {
      key: 'actions',
      title: <span className="visually-hidden">{t('actions')}</span>,
      cell: (key) =>
        key.live && (
          <div className="actions actions-tight">
            <Button aria-label={t('editLabel', { name: key.name })} onPress={() => setEditing(key)}>
              {t('edit')}
            </Button>
            <Button kind="danger" aria-label={t('revokeLabel', { name: key.name })} onPress={() => setRevoking(key)}>
              {t('revoke')}
            </Button>
          </div>
        ),
    },
  ];

  const issue = (
    <Button kind="primary" icon="key" onPress={() => setEditing('new')}>
      {t('issue')}
    </Button>
  );
  return (
    <Page title={common('menu.keys')} lead={t('lead')} actions={issue}>
      <FilterBar label={t('filters')}>
        <FilterText name="search" label={t('name')} />
        <CheckField
          label={t('showEnded')}
          checked={shownEnded !== undefined}
          onChange={(on) => setShownEnded(on ? 'yes' : undefined)}
        />
        <FilterReset names={['search', 'ended']} />
      </FilterBar>
      {list.problem && <ErrorPanel problem={list.problem} onRetry={list.reload} />}
      {list.loading && list.rows.length === 0 && <Skeleton lines={6} />}
      {!list.loading && !list.problem && list.rows.length === 0 && (
        <EmptyState icon="key" title={search === undefined ? t('none') : t('noMatch')} actions={search === undefined && issue}>
          <p>{t('noneText')}</p>
        </EmptyState>
      )}
      {list.rows.length > 0 && (
        <section className="stack">
          <DataTable
            label={common('table.rows', { label: common('menu.keys') })}
            columns={columns}
            rows={list.rows}
            rowKey={(key) => key.id}
            sorting={sorting}
            onSort={sortBy}
          />
          <TableFoot
            shown={list.rows.length}
            total={list.total}
            loading={list.loading}
            onMore={list.hasMore ? list.loadMore : undefined}
          />
        </section>
      )}
      {editing !== undefined && (
        <KeyDialog
          apiKey={editing === 'new' ? undefined : editing}
          onClose={() => setEditing(undefined)}
          onDone={(made) => {
            setEditing(undefined);
            if (made === undefined) notify({ kind: 'success', text: t('saved') });
            else setSecret(made);
            list.reload();
          }}
        />
      )}
      {secret !== undefined && (
        <SecretOnce title={t('newTitle')} label={t('key')} secret={secret} warning={t('newText')} onStored={() => setSecret(undefined)} />
      )}
      <ConfirmDialog
        isOpen={revoking !== undefined}
        onClose={() => setRevoking(undefined)}
        title={t('revokeTitle', { name: revoking?.name ?? '' })}
        consequences={[
          t('revokeNow'),
          t('revokeUses'),
          revoking?.lastUsedAt ? (
            <>
              {t('lastUsed')}: <Time at={revoking.lastUsedAt} />
            </>
          ) : (
            t('revokeNever')
          ),
        ]}
        confirmLabel={t('revoke')}
        danger
        onConfirm={async () => {
          if (!revoking) return undefined;
          const { problem } = await revoke({ input: { id: revoking.id, reason: reason.trim() || null } });
          if (!problem) notify({ kind: 'success', text: t('revoked', { name: revoking.name }) });
          list.reload();
          return problem;
        }}
      >
        <TextField label={common('dialog.reason')} value={reason} onChange={setReason} maxLength={1000} />
      </ConfirmDialog>
    </Page>
  );
}

function KeyState({ apiKey }: { apiKey: KeyFieldsFragment }) {
  const { t } = useTranslation('keys');
  if (apiKey.revokedAt) return <StatusBadge tone="quiet">{t('stateRevoked')}</StatusBadge>;
  if (!apiKey.live) return <StatusBadge tone="quiet">{t('stateExpired')}</StatusBadge>;
  const soon = apiKey.expiresAt != null && Date.parse(apiKey.expiresAt) - Date.now() < SOON_MILLISECONDS;
  return <StatusBadge tone={soon ? 'warning' : 'good'}>{soon ? t('stateSoon') : t('stateLive')}</StatusBadge>;
}

function Permissions({ apiKey }: { apiKey: KeyFieldsFragment }) {
  const { t } = useTranslation('keys');
  const { permissions } = apiKey;
  if (permissions.length === PERMISSIONS.length) return <>{t('allPermissions')}</>;
  return (
    <details>
      <summary>{t('permissionCount', { count: permissions.length })}</summary>
      <ul className="plain">
        {permissions.map((permission) => (
          <li key={permission}>
            <code>{permission}</code>
          </li>
        ))}
      </ul>
    </details>
  );
}
