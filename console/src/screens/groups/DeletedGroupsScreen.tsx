// The bin of groups: what a restored group would give is shown before it comes back.
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'wouter';
import { screenPath } from '../../app/paths.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { PlainDialog } from '../../components/ConfirmDialog.tsx';
import { type Column, PagedTable } from '../../components/DataTable.tsx';
import { FilterBar, FilterChoice, FilterReset, FilterText, useQueryValue } from '../../components/FilterBar.tsx';
import { Page } from '../../components/Page.tsx';
import { EmptyState } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import { usePagedList } from '../../components/paging.ts';
import type { DeletedGroupsQuery } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import { AccessPreviewPanel } from '../access/AccessPreview.tsx';
import { useConnectionChoices } from '../access/pickers.tsx';

const deletedGroupsQuery = graphql(`
  query DeletedGroups($filter: DeletedGroupFilter, $after: String) {
    organization {
      id
      deletedGroups(first: 100, after: $after, filter: $filter, orderBy: { field: DELETED_AT, direction: DESC }) {
        totalCount
        pageInfo { hasNextPage endCursor }
        nodes { groupId displayName deletedAt connection { id name } }
      }
    }
  }
`);

type DeletedGroupRow = NonNullable<NonNullable<DeletedGroupsQuery['organization']>['deletedGroups']>['nodes'][number];

const pickDeleted = (data: DeletedGroupsQuery) => data.organization?.deletedGroups;

export function DeletedGroupsScreen() {
  const { t } = useTranslation('groups');
  const viewer = useViewer();
  const [search] = useQueryValue('q');
  const [connection] = useQueryValue('connection');
  const connections = useConnectionChoices(false);
  const [restoring, setRestoring] = useState<DeletedGroupRow>();
  const variables = useMemo(() => ({ filter: { search: search ?? null, connectionId: connection ?? null } }), [search, connection]);
  const list = usePagedList(deletedGroupsQuery, variables, pickDeleted);
  const groups = screenPath(viewer.organization.slug, 'groups');
  const columns: Column<DeletedGroupRow>[] = [
    { key: 'name', title: t('column.name'), header: true, cell: (group) => <span dir="auto">{group.displayName}</span> },
    ...(viewer.may('ACCESS_WRITE')
      ? [
          {
            key: 'actions',
            title: t('column.actions'),
            cell: (group: DeletedGroupRow) => (
              <Button onPress={() => setRestoring(group)} aria-label={t('bin.restoreName', { name: group.displayName })}>
                {t('bin.restore')}
              </Button>
            ),
          },
        ]
      : []),
    { key: 'deleted', title: t('column.deleted'), cell: (group) => (group.deletedAt ? <Time at={group.deletedAt} /> : '–') },
    { key: 'connection', title: t('column.connection'), cell: (group) => <span dir="auto">{group.connection?.name ?? t('manual')}</span> },
  ];
  return (
    <Page title={t('bin.title')} lead={t('bin.lead')} breadcrumb={[{ text: t('title'), href: groups }, { text: t('bin.title') }]}>
      <FilterBar label={t('filter.label')}>
        <FilterText name="q" label={t('filter.search')} />
        <FilterChoice name="connection" label={t('filter.connection')} choices={connections} />
        <FilterReset names={['q', 'connection']} />
      </FilterBar>
      <PagedTable
        list={list}
        label={t('bin.title')}
        columns={columns}
        rowKey={(group) => group.groupId}
        rowHeight={60}
        template={columns.length === 4 ? 'four' : 'three'}
        empty={
          <EmptyState
            icon="trash"
            title={t('bin.empty')}
            actions={
              <Link className="button button-secondary" href={groups}>
                {t('title')}
              </Link>
            }
          >
            <p>{t('bin.emptyText')}</p>
          </EmptyState>
        }
      />
      <PlainDialog
        isOpen={restoring !== undefined}
        onClose={() => setRestoring(undefined)}
        title={t('bin.restoreTitle', { name: restoring?.displayName ?? '' })}
      >
        {restoring && (
          <AccessPreviewPanel
            edits={[{ restoreGroup: { id: restoring.groupId } }]}
            applyLabel={t('bin.restore')}
            doneText={t('bin.restored', { name: restoring.displayName })}
            onApplied={() => {
              setRestoring(undefined);
              list.reload();
            }}
            onCancel={() => setRestoring(undefined)}
          />
        )}
      </PlainDialog>
    </Page>
  );
}
