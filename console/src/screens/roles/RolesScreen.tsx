// All roles, with what they permit and how many mappings give them.
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
import { usePagedList } from '../../components/paging.ts';
import type { RoleOrderField, RolesQuery } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import { RoleDialog } from './RoleDialog.tsx';

const rolesQuery = graphql(`
  query Roles($filter: RoleFilter, $orderBy: RoleOrder, $after: String) {
    organization {
      id
      roles(first: 100, after: $after, filter: $filter, orderBy: $orderBy) {
        totalCount
        pageInfo { hasNextPage endCursor }
        nodes { id name description management priority permissions mappings { id state } }
      }
    }
  }
`);

type RoleRow = NonNullable<NonNullable<RolesQuery['organization']>['roles']>['nodes'][number];

const pickRoles = (data: RolesQuery) => data.organization?.roles;
const SORTS = ['NAME', 'PRIORITY', 'CREATED_AT'] as const satisfies readonly RoleOrderField[];

export function RolesScreen() {
  const { t } = useTranslation('roles');
  const viewer = useViewer();
  const [, navigate] = useLocation();
  const [creating, setCreating] = useState(false);
  const [search] = useQueryValue('q');
  const [permission] = useQueryValue('permission');
  const [management] = useQueryValue('management');
  const [sorting, setSorting] = useSorting(SORTS);
  const variables = useMemo(
    () => ({
      filter: {
        search: search ?? null,
        permission: permission ?? null,
        management: management === 'yes' ? true : management === 'no' ? false : null,
      },
      orderBy: { field: sorting.field, direction: sorting.direction },
    }),
    [search, permission, management, sorting.field, sorting.direction],
  );
  const list = usePagedList(rolesQuery, variables, pickRoles);
  const filtered = [search, permission, management].some((value) => value !== undefined);
  const slug = viewer.organization.slug;
  const mayEdit = viewer.may('ACCESS_WRITE');
  const columns = useMemo<Column<RoleRow>[]>(
    () => [
      {
        key: 'name',
        title: t('column.name'),
        header: true,
        sort: 'NAME',
        cell: (role) => (
          <Link href={screenPath(slug, `roles/${encodeURIComponent(role.id)}`)} className="cell-link">
            <span dir="auto" className="cell-main">
              {role.name}
            </span>
            {role.description && (
              <small className="muted" dir="auto">
                {role.description}
              </small>
            )}
          </Link>
        ),
      },
      {
        key: 'permissions',
        title: t('column.permissions'),
        cell: (role) => (
          <span dir="auto" title={role.permissions.join(', ')}>
            {role.permissions.length === 0 ? '–' : role.permissions.join(', ')}
          </span>
        ),
      },
      {
        key: 'kind',
        title: t('column.kind'),
        cell: (role) => (role.management ? <StatusBadge tone="info">{t('management')}</StatusBadge> : <span className="muted">{t('ordinary')}</span>),
      },
      {
        key: 'mappings',
        title: t('column.mappings'),
        numeric: true,
        cell: (role) => role.mappings.filter(({ state }) => state === 'ACTIVE' || state === 'WAITING').length,
      },
      { key: 'priority', title: t('column.priority'), numeric: true, sort: 'PRIORITY', cell: (role) => role.priority ?? '–' },
    ],
    [t, slug],
  );
  return (
    <Page
      title={t('title')}
      lead={t('lead')}
      actions={
        mayEdit && (
          <Button icon="role" onPress={() => setCreating(true)}>
            {t('create.open')}
          </Button>
        )
      }
    >
      <FilterBar label={t('filter.label')}>
        <FilterText name="q" label={t('filter.search')} />
        <FilterText name="permission" label={t('filter.permission')} />
        <FilterChoice
          name="management"
          label={t('column.kind')}
          choices={[
            { value: 'yes', text: t('management') },
            { value: 'no', text: t('ordinary') },
          ]}
        />
        <FilterReset names={['q', 'permission', 'management']} />
      </FilterBar>
      <PagedTable
        list={list}
        label={t('title')}
        columns={columns}
        rowKey={(role) => role.id}
        template="roles"
        sorting={sorting}
        onSort={setSorting}
        empty={
          <EmptyState icon="role" title={filtered ? t('empty.filtered') : t('empty.title')}>
            <p>{filtered ? t('empty.filteredText') : t('empty.text')}</p>
          </EmptyState>
        }
      />
      <RoleDialog
        isOpen={creating}
        onClose={() => setCreating(false)}
        onDone={(id) => navigate(screenPath(slug, `roles/${encodeURIComponent(id)}`))}
      />
    </Page>
  );
}
