// The bin of accounts: what can come back, and until when.
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useClient } from 'urql';
import { Link } from 'wouter';
import { screenPath } from '../../app/paths.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { ConfirmDialog } from '../../components/ConfirmDialog.tsx';
import { type Column, PagedTable } from '../../components/DataTable.tsx';
import { FilterBar, FilterChoice, FilterReset, FilterText, useQueryValue } from '../../components/FilterBar.tsx';
import { Page } from '../../components/Page.tsx';
import { EmptyState } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import { usePagedList } from '../../components/paging.ts';
import { notify } from '../../components/toasts.tsx';
import type { DeletedPeopleQuery } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import { ReasonField } from '../../components/ReasonField.tsx';
import { mutate } from '../access/mutate.ts';
import { useConnectionChoices } from '../access/pickers.tsx';

const deletedPeopleQuery = graphql(`
  query DeletedPeople($filter: DeletedUserFilter, $after: String, $iam: Boolean!) {
    organization {
      id
      deletedUsers(first: 100, after: $after, filter: $filter, orderBy: { field: DELETED_AT, direction: DESC }) {
        totalCount
        pageInfo { hasNextPage endCursor }
        nodes {
          userId
          userName
          displayName
          deletedAt
          purgeAfter
          connection @include(if: $iam) { id name }
        }
      }
    }
  }
`);

const userRestoreMutation = graphql(`
  mutation UserRestore($id: ID!) {
    userRestore(input: { id: $id }) {
      user { id displayName active }
      userErrors { code reason message nextStep path }
    }
  }
`);

const userPurgeMutation = graphql(`
  mutation UserPurge($id: ID!, $reason: String) {
    userPurge(input: { id: $id, reason: $reason }) {
      purgedUserId
      userErrors { code reason message nextStep path }
    }
  }
`);

type DeletedPerson = NonNullable<NonNullable<DeletedPeopleQuery['organization']>['deletedUsers']>['nodes'][number];

const pickDeleted = (data: DeletedPeopleQuery) => data.organization?.deletedUsers;

export function DeletedPeopleScreen() {
  const { t } = useTranslation('people');
  const viewer = useViewer();
  const client = useClient();
  const iam = viewer.may('IAM_READ');
  const [search] = useQueryValue('q');
  const [connection] = useQueryValue('connection');
  const connections = useConnectionChoices(!iam);
  const [asked, setAsked] = useState<{ person: DeletedPerson; kind: 'restore' | 'purge' }>();
  const [reason, setReason] = useState('');
  const variables = useMemo(
    () => ({ filter: { search: search ?? null, connectionId: connection ?? null }, iam }),
    [search, connection, iam],
  );
  const list = usePagedList(deletedPeopleQuery, variables, pickDeleted);
  const mayWrite = viewer.may('USER_WRITE');
  const mayPurge = viewer.may('DELETE_ALL');
  const nameOf = (person: DeletedPerson) => person.displayName ?? person.userName;

  const columns: Column<DeletedPerson>[] = [
    {
      key: 'name',
      title: t('column.name'),
      header: true,
      cell: (person) => (
        <>
          <span dir="auto" className="cell-main">
            {nameOf(person)}
          </span>
          <small className="muted" dir="auto">
            {person.userName}
          </small>
        </>
      ),
    },
    {
      key: 'actions',
      title: t('column.actions'),
      cell: (person) => (
        <span className="actions">
          {mayWrite && (
            <Button onPress={() => setAsked({ person, kind: 'restore' })} aria-label={t('bin.restoreName', { name: nameOf(person) })}>
              {t('bin.restore')}
            </Button>
          )}
          {mayPurge && (
            <Button
              kind="danger"
              icon="trash"
              aria-label={t('bin.purgeName', { name: nameOf(person) })}
              onPress={() => {
                setReason('');
                setAsked({ person, kind: 'purge' });
              }}
            />
          )}
        </span>
      ),
    },
    { key: 'deleted', title: t('column.deleted'), cell: (person) => (person.deletedAt ? <Time at={person.deletedAt} /> : '–') },
    { key: 'purge', title: t('column.purge'), cell: (person) => (person.purgeAfter ? <Time at={person.purgeAfter} /> : t('bin.keeps')) },
    ...(iam
      ? [
          {
            key: 'connection',
            title: t('column.connection'),
            cell: (person: DeletedPerson) => <span dir="auto">{person.connection?.name ?? t('origin.MANUAL')}</span>,
          },
        ]
      : []),
  ];

  const restore = async (person: DeletedPerson) => {
    const outcome = await mutate(client, userRestoreMutation, { id: person.userId }, (data) => data.userRestore);
    if (!outcome.problem) {
      notify({ kind: 'success', text: t('bin.restored', { name: nameOf(person) }) });
      list.reload();
    }
    return outcome.problem;
  };
  const purge = async (person: DeletedPerson) => {
    const outcome = await mutate(client, userPurgeMutation, { id: person.userId, reason: reason || null }, (data) => data.userPurge);
    if (!outcome.problem) {
      notify({ kind: 'success', text: t('bin.purged') });
      list.reload();
    }
    return outcome.problem;
  };

  return (
    <Page
      title={t('bin.title')}
      lead={t('bin.lead')}
      breadcrumb={[{ text: t('title'), href: screenPath(viewer.organization.slug, 'people') }, { text: t('bin.title') }]}
    >
      <FilterBar label={t('filter.label')}>
        <FilterText name="q" label={t('filter.search')} />
        {iam && <FilterChoice name="connection" label={t('filter.connection')} choices={connections} />}
        <FilterReset names={['q', 'connection']} />
      </FilterBar>
      <PagedTable
        list={list}
        label={t('bin.title')}
        columns={columns}
        rowKey={(person) => person.userId}
        rowHeight={60}
        template={iam ? 'five' : 'four'}
        empty={
          <EmptyState
            icon="trash"
            title={t('bin.empty')}
            actions={
              <Link className="button button-secondary" href={screenPath(viewer.organization.slug, 'people')}>
                {t('title')}
              </Link>
            }
          >
            <p>{t('bin.emptyText')}</p>
          </EmptyState>
        }
      />
      <ConfirmDialog
        isOpen={asked?.kind === 'restore'}
        onClose={() => setAsked(undefined)}
        title={t('bin.restoreTitle', { name: asked ? nameOf(asked.person) : '' })}
        consequences={[t('bin.restoreAccount'), t('bin.restoreGroups'), t('bin.restoreSource')]}
        confirmLabel={t('bin.restore')}
        onConfirm={async () => (asked ? restore(asked.person) : undefined)}
      />
      <ConfirmDialog
        isOpen={asked?.kind === 'purge'}
        onClose={() => setAsked(undefined)}
        title={t('bin.purgeTitle', { name: asked ? nameOf(asked.person) : '' })}
        consequences={[t('bin.purgeData'), t('bin.purgeLedger'), t('bin.purgeForever')]}
        typed={{ label: t('bin.purgeType', { name: asked?.person.userName ?? '' }), expected: asked?.person.userName ?? '' }}
        confirmLabel={t('bin.purge')}
        danger
        onConfirm={async () => (asked ? purge(asked.person) : undefined)}
      >
        <ReasonField value={reason} onChange={setReason} />
      </ConfirmDialog>
    </Page>
  );
}
