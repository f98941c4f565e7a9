// All groups: those of identity providers and those made by hand.
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useLocation } from 'wouter';
import { screenPath } from '../../app/paths.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { type Column, PagedTable } from '../../components/DataTable.tsx';
import { FilterBar, FilterChoice, FilterReset, FilterText, useQueryValue, useSorting } from '../../components/FilterBar.tsx';
import { Page } from '../../components/Page.tsx';
import { EmptyState } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import { usePagedList } from '../../components/paging.ts';
import type { GroupFilter, GroupOrderField, GroupsQuery } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import { InstantField } from '../access/InstantField.tsx';
import { RolePicker, useConnectionChoices, useNameOf } from '../access/pickers.tsx';
import { GroupNameDialog } from './GroupNameDialog.tsx';

const groupsQuery = graphql(`
  query Groups($filter: GroupFilter, $orderBy: GroupOrder, $after: String) {
    organization {
      id
      groups(first: 100, after: $after, filter: $filter, orderBy: $orderBy) {
        totalCount
        pageInfo { hasNextPage endCursor }
        nodes {
          id
          displayName
          memberCount
          updatedAt
          connection { id name }
          roleMappings { id state role { id name } }
        }
      }
    }
  }
`);

type GroupRow = NonNullable<NonNullable<GroupsQuery['organization']>['groups']>['nodes'][number];

const pickGroups = (data: GroupsQuery) => data.organization?.groups;
const FILTERS = ['q', 'connection', 'role', 'members', 'since'] as const;
const SORTS = ['DISPLAY_NAME', 'CREATED_AT', 'UPDATED_AT'] as const satisfies readonly GroupOrderField[];

export function GroupsScreen() {
  const { t, i18n } = useTranslation('groups');
  const viewer = useViewer();
  const [, navigate] = useLocation();
  const [creating, setCreating] = useState(false);
  const [search] = useQueryValue('q');
  const [connection] = useQueryValue('connection');
  const [role, setRole] = useQueryValue('role');
  const [members] = useQueryValue('members');
  const [since, setSince] = useQueryValue('since');
  const connections = useConnectionChoices(false);
  const roleName = useNameOf(role, false);
  const [sorting, setSorting] = useSorting(SORTS);
  const variables = useMemo(() => {
    const filter: GroupFilter = {
      search: search ?? null,
      connectionId: connection ?? null,
      roleId: role ?? null,
      membersAtLeast: members === 'some' ? 1 : members === 'many' ? 100 : null,
      membersAtMost: members === 'none' ? 0 : null,
      updatedSince: since ?? null,
    };
    return { filter, orderBy: { field: sorting.field, direction: sorting.direction } };
  }, [search, connection, role, members, since, sorting.field, sorting.direction]);
  const list = usePagedList(groupsQuery, variables, pickGroups);
  const filtered = [search, connection, role, members, since].some((value) => value !== undefined);
  const slug = viewer.organization.slug;
  const number = useMemo(() => new Intl.NumberFormat(i18n.language), [i18n.language]);
  const columns = useMemo<Column<GroupRow>[]>(
    () => [
      {
        key: 'name',
        title: t('column.name'),
        header: true,
        sort: 'DISPLAY_NAME',
        cell: (group) => (
          <Link href={screenPath(slug, `groups/${encodeURIComponent(group.id)}`)} className="cell-link">
            <span dir="auto" className="cell-main">
              {group.displayName}
            </span>
          </Link>
        ),
      },
      { key: 'members', title: t('column.members'), numeric: true, cell: (group) => number.format(group.memberCount) },
      {
        key: 'roles',
        title: t('column.roles'),
        cell: (group) => {
          const names = group.roleMappings.filter(({ state }) => state === 'ACTIVE').map((mapping) => mapping.role?.name ?? '–');
          return names.length === 0 ? <span className="muted">{t('notMapped')}</span> : <span dir="auto">{names.join(', ')}</span>;
        },
      },
      {
        key: 'connection',
        title: t('column.connection'),
        cell: (group) => <span dir="auto">{group.connection?.name ?? t('manual')}</span>,
      },
      { key: 'updated', title: t('column.updated'), sort: 'UPDATED_AT', cell: (group) => <Time at={group.updatedAt} /> },
    ],
    [t, slug, number],
  );
  return (
    <Page
      title={t('title')}
      lead={t('lead')}
      actions={
        <>
          {viewer.may('USER_WRITE') && (
            <Button icon="groups" onPress={() => setCreating(true)}>
              {t('create.open')}
            </Button>
          )}
          <Link className="button button-quiet" href={screenPath(slug, 'groups/deleted')}>
            {t('bin.title')}
          </Link>
        </>
      }
    >
      <FilterBar label={t('filter.label')}>
        <FilterText name="q" label={t('filter.search')} />
        <FilterChoice name="connection" label={t('filter.connection')} choices={connections} />
        <RolePicker
          label={t('filter.role')}
          chosen={role === undefined ? undefined : { id: role, name: roleName ?? '' }}
          onChoose={(choice) => setRole(choice?.id)}
        />
        <FilterChoice
          name="members"
          label={t('filter.members')}
          choices={[
            { value: 'none', text: t('filter.membersNone') },
            { value: 'some', text: t('filter.membersSome') },
            { value: 'many', text: t('filter.membersMany') },
          ]}
        />
        <InstantField label={t('filter.since')} value={since} onChange={setSince} />
        <FilterReset names={FILTERS} />
      </FilterBar>
      <PagedTable
        list={list}
        label={t('title')}
        columns={columns}
        rowKey={(group) => group.id}
        template="groups"
        sorting={sorting}
        onSort={setSorting}
        empty={
          <EmptyState icon="groups" title={filtered ? t('empty.filtered') : t('empty.title')}>
            <p>{filtered ? t('empty.filteredText') : t('empty.text')}</p>
          </EmptyState>
        }
      />
      <GroupNameDialog
        isOpen={creating}
        onClose={() => setCreating(false)}
        onDone={(id) => navigate(screenPath(slug, `groups/${encodeURIComponent(id)}`))}
      />
    </Page>
  );
}
