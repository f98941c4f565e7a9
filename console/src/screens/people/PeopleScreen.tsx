// All people of the organization: searched, filtered, and read page by page as one scrolls.
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
import { StatusBadge } from '../../components/StatusBadge.tsx';
import { Time } from '../../components/Time.tsx';
import { usePagedList } from '../../components/paging.ts';
import type { PeopleQuery, UserFilter, UserOrderField } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import { InstantField } from '../access/InstantField.tsx';
import { GroupPicker, RolePicker, useConnectionChoices, useNameOf } from '../access/pickers.tsx';
import { NewPersonDialog } from './NewPersonDialog.tsx';

const peopleQuery = graphql(`
  query People($filter: UserFilter, $orderBy: UserOrder, $after: String, $iam: Boolean!) {
    organization {
      id
      users(first: 100, after: $after, filter: $filter, orderBy: $orderBy) {
        totalCount
        pageInfo { hasNextPage endCursor }
        nodes {
          id
          userName
          displayName
          active
          protected
          department
          updatedAt
          connection @include(if: $iam) { id name }
          roles @include(if: $iam) { role { id name } }
        }
      }
    }
  }
`);

type Person = NonNullable<NonNullable<PeopleQuery['organization']>['users']>['nodes'][number];

const pickPeople = (data: PeopleQuery) => data.organization?.users;

const FILTERS = ['q', 'state', 'protected', 'origin', 'connection', 'group', 'nested', 'role', 'since'] as const;
const SORTS = ['DISPLAY_NAME', 'USER_NAME', 'CREATED_AT', 'UPDATED_AT'] as const satisfies readonly UserOrderField[];

export function PeopleScreen() {
  const { t } = useTranslation('people');
  const viewer = useViewer();
  const iam = viewer.may('IAM_READ');
  const [, navigate] = useLocation();
  const [creating, setCreating] = useState(false);
  const [search] = useQueryValue('q');
  const [state] = useQueryValue('state');
  const [protection] = useQueryValue('protected');
  const [origin] = useQueryValue('origin');
  const [connection] = useQueryValue('connection');
  const [group, setGroup] = useQueryValue('group');
  const [nested] = useQueryValue('nested');
  const [role, setRole] = useQueryValue('role');
  const [since, setSince] = useQueryValue('since');
  const connections = useConnectionChoices(!iam);
  const groupName = useNameOf(iam ? group : undefined, false);
  const roleName = useNameOf(iam ? role : undefined, false);
  const [sorting, setSorting] = useSorting(SORTS);

  const variables = useMemo(() => {
    const filter: UserFilter = {
      search: search ?? null,
      active: state === 'active' ? true : state === 'suspended' ? false : null,
      protected: protection === 'yes' ? true : protection === 'no' ? false : null,
      provisioned: origin === 'scim' ? true : origin === 'manual' ? false : null,
      connectionId: connection ?? null,
      group: group === undefined ? null : { groupId: group, transitive: nested !== 'no' },
      roleId: role ?? null,
      updatedSince: since ?? null,
    };
    return { filter, orderBy: { field: sorting.field, direction: sorting.direction }, iam };
  }, [search, state, protection, origin, connection, group, nested, role, since, sorting.field, sorting.direction, iam]);
  const list = usePagedList(peopleQuery, variables, pickPeople);
  const filtered = [search, state, protection, origin, connection, group, role, since].some((value) => value !== undefined);

  const slug = viewer.organization.slug;
  const columns = useMemo<Column<Person>[]>(
    () => [
      {
        key: 'name',
        title: t('column.name'),
        header: true,
        sort: 'DISPLAY_NAME',
        cell: (person) => (
          <Link href={screenPath(slug, `people/${encodeURIComponent(person.id)}`)} className="cell-link">
            <span dir="auto" className="cell-main">
              {person.displayName}
            </span>
            <small className="muted" dir="auto">
              {person.userName}
            </small>
          </Link>
        ),
      },
      { key: 'state', title: t('column.state'), cell: (person) => <PersonState person={person} /> },
      ...(iam
        ? [{ key: 'roles', title: t('column.roles'), cell: (person: Person) => <RoleNames roles={person.roles ?? []} /> }]
        : []),
      { key: 'department', title: t('column.department'), cell: (person) => <span dir="auto">{person.department ?? '–'}</span> },
      ...(iam
        ? [
            {
              key: 'connection',
              title: t('column.connection'),
              cell: (person: Person) => <span dir="auto">{person.connection?.name ?? t('origin.MANUAL')}</span>,
            },
          ]
        : []),
      { key: 'updated', title: t('column.updated'), sort: 'UPDATED_AT', cell: (person) => <Time at={person.updatedAt} /> },
    ],
    [t, iam, slug],
  );

  return (
    <Page
      title={t('title')}
      lead={t('lead')}
      actions={
        <>
          {viewer.may('USER_WRITE') && (
            <Button icon="person" onPress={() => setCreating(true)}>
              {t('create.open')}
            </Button>
          )}
          <Link className="button button-quiet" href={screenPath(slug, 'people/deleted')}>
            {t('bin.title')}
          </Link>
        </>
      }
    >
      <FilterBar label={t('filter.label')}>
        <FilterText name="q" label={t('filter.search')} placeholder={t('filter.searchHint')} />
        <FilterChoice
          name="state"
          label={t('filter.state')}
          choices={[
            { value: 'active', text: t('state.active') },
            { value: 'suspended', text: t('state.suspended') },
          ]}
        />
        {iam && <FilterChoice name="connection" label={t('filter.connection')} choices={connections} />}
        <FilterChoice
          name="origin"
          label={t('filter.origin')}
          choices={[
            { value: 'scim', text: t('origin.SCIM') },
            { value: 'manual', text: t('origin.MANUAL') },
          ]}
        />
        <FilterChoice
          name="protected"
          label={t('filter.protected')}
          choices={[
            { value: 'yes', text: t('filter.protectedYes') },
            { value: 'no', text: t('filter.protectedNo') },
          ]}
        />
        {iam && (
          <>
            <GroupPicker
              label={t('filter.group')}
              chosen={group === undefined ? undefined : { id: group, name: groupName ?? '' }}
              onChoose={(choice) => setGroup(choice?.id)}
            />
            {group !== undefined && (
              <FilterChoice name="nested" label={t('filter.nested')} choices={[{ value: 'no', text: t('filter.nestedNo') }]} />
            )}
            <RolePicker
              label={t('filter.role')}
              chosen={role === undefined ? undefined : { id: role, name: roleName ?? '' }}
              onChoose={(choice) => setRole(choice?.id)}
            />
          </>
        )}
        <InstantField label={t('filter.since')} value={since} onChange={setSince} />
        <FilterReset names={FILTERS} />
      </FilterBar>
      <PagedTable
        list={list}
        label={t('title')}
        columns={columns}
        rowKey={(person) => person.id}
        template={iam ? 'people' : 'four'}
        sorting={sorting}
        onSort={setSorting}
        empty={
          <EmptyState icon="person" title={filtered ? t('empty.filtered') : t('empty.title')}>
            <p>{filtered ? t('empty.filteredText') : t('empty.text')}</p>
          </EmptyState>
        }
      />
      <NewPersonDialog
        isOpen={creating}
        onClose={() => setCreating(false)}
        onCreated={(id) => navigate(screenPath(slug, `people/${encodeURIComponent(id)}`))}
      />
    </Page>
  );
}

export function PersonState({ person }: { person: { active: boolean; protected: boolean } }) {
  const { t } = useTranslation('people');
  return (
    <span className="badges">
      <StatusBadge tone={person.active ? 'good' : 'warning'}>{t(person.active ? 'state.active' : 'state.suspended')}</StatusBadge>
      {person.protected && <StatusBadge tone="info">{t('state.protected')}</StatusBadge>}
    </span>
  );
}

const SHOWN_ROLES = 2;

function RoleNames({ roles }: { roles: readonly { role: { id: string; name: string } }[] }) {
  const { t } = useTranslation('people');
  if (roles.length === 0) return <span className="muted">{t('noRoles')}</span>;
  const names = roles.map(({ role }) => role.name);
  const more = names.length - SHOWN_ROLES;
  return (
    <span dir="auto" title={names.join(', ')}>
      {names.slice(0, SHOWN_ROLES).join(', ')}
      {more > 0 && ` +${more}`}
    </span>
  );
}
