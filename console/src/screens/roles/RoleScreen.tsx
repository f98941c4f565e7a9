// One role: what it permits, what gives it, and who holds it now or held it at an instant.
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useQuery } from 'urql';
import { Link, useLocation, useParams } from 'wouter';
import { screenPath } from '../../app/paths.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { PlainDialog } from '../../components/ConfirmDialog.tsx';
import { type Column, PagedTable } from '../../components/DataTable.tsx';
import { FilterBar, FilterReset, FilterText, useQueryValue } from '../../components/FilterBar.tsx';
import { Card, Page } from '../../components/Page.tsx';
import { EmptyState, ErrorPanel, Skeleton, toProblem } from '../../components/states.tsx';
import { StatusBadge } from '../../components/StatusBadge.tsx';
import { usePagedList } from '../../components/paging.ts';
import type { RoleHoldersQuery, RoleQuery } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import { useSourceText } from '../access/AccessChain.tsx';
import { AccessPreviewPanel } from '../access/AccessPreview.tsx';
import { Story } from '../access/EventStory.tsx';
import { InstantField } from '../access/InstantField.tsx';
import { MappingStateBadge } from '../access/MappingStateBadge.tsx';
import { ReasonField } from '../../components/ReasonField.tsx';
import { RoleDialog } from './RoleDialog.tsx';

const roleQuery = graphql(`
  query Role($id: ID!) {
    organization {
      id
      settledUntil
      role(id: $id) {
        id
        name
        description
        permissions
        priority
        management
        version
        mappings { id state reason group { id displayName } awaits { value } allUsersOf { id name } }
      }
    }
  }
`);

const roleHoldersQuery = graphql(`
  query RoleHolders($id: ID!, $filter: RoleHolderFilter, $after: String, $people: Boolean!) {
    organization {
      id
      role(id: $id) {
        id
        holders(first: 100, after: $after, filter: $filter) {
          totalCount
          pageInfo { hasNextPage endCursor }
          nodes {
            user @include(if: $people) { id userName displayName active }
            sources { kind group { id displayName } memberOf { id displayName } mapping { id allUsersOf { id name } } grant { id reason } }
          }
        }
      }
    }
  }
`);

type RoleParts = NonNullable<NonNullable<RoleQuery['organization']>['role']>;
type Holder = NonNullable<NonNullable<NonNullable<RoleHoldersQuery['organization']>['role']>['holders']>['nodes'][number];

const pickHolders = (data: RoleHoldersQuery) => data.organization?.role?.holders;

export function RoleScreen() {
  const { id = '' } = useParams();
  return <OneRole key={id} id={id} />;
}

function OneRole({ id }: { id: string }) {
  const { t } = useTranslation('roles');
  const viewer = useViewer();
  const [{ data, error, fetching }, again] = useQuery({ query: roleQuery, variables: { id } });
  const role = data?.organization?.role;
  const list = screenPath(viewer.organization.slug, 'roles');
  if (!role) {
    return (
      <Page title={error || !fetching ? t('one.missing') : t('one.loading')} breadcrumb={[{ text: t('title'), href: list }]}>
        {error ? (
          <ErrorPanel problem={toProblem(error)} onRetry={() => again({ requestPolicy: 'network-only' })} />
        ) : fetching ? (
          <Skeleton lines={8} />
        ) : (
          <EmptyState icon="role" title={t('one.missing')}>
            <p>{t('one.missingText')}</p>
          </EmptyState>
        )}
      </Page>
    );
  }
  const path = (screen: string, objectId: string) => screenPath(viewer.organization.slug, `${screen}/${encodeURIComponent(objectId)}`);
  return (
    <Page
      title={role.name}
      lead={
        <>
          <span dir="auto">{role.description}</span> {role.management && <StatusBadge tone="info">{t('management')}</StatusBadge>}
        </>
      }
      breadcrumb={[{ text: t('title'), href: list }, { text: role.name }]}
      actions={<RoleActions role={role} />}
    >
      <div className="columns">
        <Card title={t('column.permissions')}>
          {role.permissions.length === 0 ? (
            <p className="muted">{t('one.noPermissions')}</p>
          ) : (
            <ul className="plain name-list">
              {role.permissions.map((permission) => (
                <li key={permission}>
                  <code dir="auto">{permission}</code>
                </li>
              ))}
            </ul>
          )}
          {role.priority != null && <p className="muted">{t('one.priority', { priority: role.priority })}</p>}
        </Card>
        <Card
          title={t('one.mappings')}
          actions={
            viewer.may('ACCESS_WRITE') && (
              <Link
                className="button button-secondary"
                href={`${screenPath(viewer.organization.slug, 'mappings/edit')}?role=${encodeURIComponent(role.id)}`}
              >
                {t('one.map')}
              </Link>
            )
          }
        >
          {role.mappings.length === 0 ? (
            <p className="muted">{t('one.noMappings')}</p>
          ) : (
            <ul className="plain name-list">
              {role.mappings.map((mapping) => (
                <li key={mapping.id}>
                  <Link href={path('mappings', mapping.id)}>
                    <span dir="auto">
                      {mapping.group?.displayName ?? (mapping.allUsersOf ? t('one.allUsersOf', { name: mapping.allUsersOf.name }) : (mapping.awaits?.value ?? '–'))}
                    </span>
                  </Link>{' '}
                  <MappingStateBadge state={mapping.state} />
                </li>
              ))}
            </ul>
          )}
        </Card>
      </div>
      <Holders role={role} settledUntil={data.organization?.settledUntil ?? undefined} />
      {viewer.may('AUDIT_READ') && (
        <Card title={t('history.title')}>
          <Story
            filter={{ concerns: role.id, notActions: ['USER_ACCESS_CHANGED'] }}
            href={`${screenPath(viewer.organization.slug, 'audit')}?concerns=${encodeURIComponent(role.id)}`}
            empty={<p>{t('history.empty')}</p>}
          />
        </Card>
      )}
    </Page>
  );
}

function Holders({ role, settledUntil }: { role: RoleParts; settledUntil: string | undefined }) {
  const { t } = useTranslation('roles');
  const viewer = useViewer();
  const people = viewer.may('USER_READ');
  const sourceText = useSourceText();
  const [search] = useQueryValue('holder');
  const [asOf, setAsOf] = useQueryValue('asOf');
  const variables = useMemo(
    () => ({
      id: role.id,
      people,
      filter: { asOf: asOf ?? null, user: people && search !== undefined ? { search } : null },
    }),
    [role.id, people, asOf, search],
  );
  const list = usePagedList(roleHoldersQuery, variables, pickHolders);
  const slug = viewer.organization.slug;
  const columns: Column<Holder>[] = [
    {
      key: 'name',
      title: t('holders.person'),
      header: true,
      cell: (holder) =>
        holder.user ? (
          <Link
            className="cell-link"
            href={`${screenPath(slug, `people/${encodeURIComponent(holder.user.id)}`)}?role=${encodeURIComponent(role.id)}${asOf === undefined ? '' : `&asOf=${encodeURIComponent(asOf)}`}`}
          >
            <span dir="auto" className="cell-main">
              {holder.user.displayName}
            </span>
            <small className="muted" dir="auto">
              {holder.user.userName}
            </small>
          </Link>
        ) : (
          <span className="muted">{t('holders.unknown')}</span>
        ),
    },
    { key: 'source', title: t('holders.source'), cell: (holder) => <span dir="auto">{(holder.sources ?? []).map(sourceText).join(' · ')}</span> },
  ];
  return (
    <Card title={t('holders.title')}>
      <FilterBar label={t('holders.filter')}>
        {people && <FilterText name="holder" label={t('holders.search')} />}
        <InstantField label={t('holders.asOf')} value={asOf} max={settledUntil} onChange={setAsOf} />
        <FilterReset names={['holder', 'asOf']} />
      </FilterBar>
      <PagedTable
        list={list}
        label={t('holders.title')}
        columns={columns}
        rowKey={(holder) => holder.user?.id ?? String(list.rows.indexOf(holder))}
        template="two"
        empty={
          <EmptyState icon="person" title={t('holders.none')}>
            <p>{t('holders.noneText')}</p>
          </EmptyState>
        }
      />
    </Card>
  );
}

function RoleActions({ role }: { role: RoleParts }) {
  const { t } = useTranslation('roles');
  const viewer = useViewer();
  const [, navigate] = useLocation();
  const [open, setOpen] = useState<'edit' | 'delete'>();
  const [reason, setReason] = useState('');
  if (!viewer.may('ACCESS_WRITE')) return null;
  return (
    <>
      <Button onPress={() => setOpen('edit')}>{t('edit.open')}</Button>
      <Button kind="danger" icon="trash" onPress={() => setOpen('delete')}>
        {t('delete.open')}
      </Button>
      <RoleDialog isOpen={open === 'edit'} onClose={() => setOpen(undefined)} onDone={() => setOpen(undefined)} role={role} />
      <PlainDialog isOpen={open === 'delete'} onClose={() => setOpen(undefined)} title={t('delete.title', { name: role.name })}>
        <ul className="consequences">
          <li>{t('delete.holders')}</li>
          <li>{t('delete.forever')}</li>
        </ul>
        <ReasonField value={reason} onChange={setReason} />
        <AccessPreviewPanel
          edits={[{ deleteRole: { id: role.id, expectedVersion: role.version, reason: reason.trim() || null } }]}
          applyLabel={t('delete.action')}
          doneText={t('delete.done', { name: role.name })}
          danger
          onApplied={() => navigate(screenPath(viewer.organization.slug, 'roles'))}
          onCancel={() => setOpen(undefined)}
        />
      </PlainDialog>
    </>
  );
}
