// Which group gives which role. Changes are collected here and previewed together in the editor.
import { useMemo } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'wouter';
import { screenPath } from '../../app/paths.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { type Column, PagedTable } from '../../components/DataTable.tsx';
import { FilterBar, FilterChoice, FilterReset, useQueryValue } from '../../components/FilterBar.tsx';
import { Page } from '../../components/Page.tsx';
import { Banner, EmptyState } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import { usePagedList } from '../../components/paging.ts';
import type { MappingsQuery, RoleMappingFilter } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import { MappingStateBadge } from '../access/MappingStateBadge.tsx';
import { GroupPicker, RolePicker, useConnectionChoices, useNameOf } from '../access/pickers.tsx';
import { useDrafts } from './drafts.ts';
import { useMappingFrom } from './mappingText.ts';

const mappingsQuery = graphql(`
  query Mappings($filter: RoleMappingFilter, $after: String) {
    organization {
      id
      roleMappings(first: 100, after: $after, filter: $filter, orderBy: { field: CREATED_AT, direction: DESC }) {
        totalCount
        pageInfo { hasNextPage endCursor }
        nodes {
          id
          state
          reason
          since
          until
          expiresAt
          group { id displayName }
          awaits { attribute value connection { id name } }
          allUsersOf { id name }
          role { id name management }
        }
      }
    }
  }
`);

type MappingRow = NonNullable<NonNullable<MappingsQuery['organization']>['roleMappings']>['nodes'][number];

const pickMappings = (data: MappingsQuery) => data.organization?.roleMappings;
const FILTERS = ['group', 'role', 'connection', 'ends', 'bin'] as const;
const SOON_DAYS = 30;
const DAY_MILLISECONDS = 86_400_000;

export function MappingsScreen() {
  const { t } = useTranslation('mappings');
  const viewer = useViewer();
  const [group, setGroup] = useQueryValue('group');
  const [role, setRole] = useQueryValue('role');
  const [connection] = useQueryValue('connection');
  const [ends] = useQueryValue('ends');
  const [bin] = useQueryValue('bin');
  const groupName = useNameOf(group, false);
  const roleName = useNameOf(role, false);
  const connections = useConnectionChoices(false);
  const { drafts, add } = useDrafts();
  const from = useMappingFrom();
  const mayEdit = viewer.may('ACCESS_WRITE');
  const slug = viewer.organization.slug;
  const variables = useMemo(() => {
    const filter: RoleMappingFilter = {
      groupId: group ?? null,
      roleId: role ?? null,
      connectionId: connection ?? null,
      // To the hour, so that the same question stays the same.
      expiresBefore: ends === 'soon' ? new Date(Math.ceil((Date.now() + SOON_DAYS * DAY_MILLISECONDS) / 3_600_000) * 3_600_000).toISOString() : null,
      includeRemoved: bin === 'yes',
    };
    return { filter };
  }, [group, role, connection, ends, bin]);
  const list = usePagedList(mappingsQuery, variables, pickMappings);
  const filtered = [group, role, connection, ends].some((value) => value !== undefined);
  const columns: Column<MappingRow>[] = [
    {
      key: 'from',
      title: t('column.from'),
      header: true,
      cell: (mapping) => (
        <Link href={screenPath(slug, `mappings/${encodeURIComponent(mapping.id)}`)} className="cell-link">
          <span dir="auto" className="cell-main">
            {from(mapping)}
          </span>
          <small className="muted" dir="auto">
            {mapping.reason ?? t('noReason')}
          </small>
        </Link>
      ),
    },
    { key: 'role', title: t('column.role'), cell: (mapping) => <span dir="auto">{mapping.role?.name ?? t('from.deletedRole')}</span> },
    { key: 'state', title: t('column.state'), cell: (mapping) => <MappingStateBadge state={mapping.state} /> },
    {
      key: 'since',
      title: t('column.since'),
      cell: (mapping) => <Time at={mapping.since} />,
    },
    {
      key: 'ends',
      title: t('column.ends'),
      cell: (mapping) => (mapping.until ? <Time at={mapping.until} /> : mapping.expiresAt ? <Time at={mapping.expiresAt} /> : '–'),
    },
    ...(mayEdit
      ? [
          {
            key: 'actions',
            title: t('column.actions'),
            cell: (mapping: MappingRow) => {
              const gone = mapping.state === 'REMOVED' || mapping.state === 'EXPIRED';
              const chosen = drafts.some(({ key }) => key === mapping.id);
              const names = { from: from(mapping), role: mapping.role?.name ?? '' };
              const edit = gone ? { restoreMapping: { id: mapping.id } } : { removeMapping: { id: mapping.id } };
              return (
                <Button
                  isDisabled={chosen || (gone && mapping.state === 'EXPIRED')}
                  aria-label={t(gone ? 'restoreName' : 'removeName', names)}
                  onPress={() => add({ key: mapping.id, kind: gone ? 'restore' : 'remove', ...names, edit })}
                >
                  {t(chosen ? 'chosen' : gone ? 'restore' : 'remove')}
                </Button>
              );
            },
          },
        ]
      : []),
  ];
  return (
    <Page
      title={t('title')}
      lead={t('lead')}
      actions={
        <>
          {mayEdit && (
            <Link className="button button-primary" href={screenPath(slug, 'mappings/edit')}>
              {t('editor.open')}
            </Link>
          )}
          {viewer.may('AUDIT_READ') && (
            <Link className="button button-quiet" href={screenPath(slug, 'mappings/history')}>
              {t('history.title')}
            </Link>
          )}
        </>
      }
    >
      {drafts.length > 0 && (
        <Banner kind="info" title={t('drafts.waiting', { count: drafts.length })}>
          <Link className="button button-secondary" href={screenPath(slug, 'mappings/edit')}>
            {t('drafts.preview')}
          </Link>
        </Banner>
      )}
      <FilterBar label={t('filter.label')}>
        <GroupPicker
          label={t('filter.group')}
          chosen={group === undefined ? undefined : { id: group, name: groupName ?? '' }}
          onChoose={(choice) => setGroup(choice?.id)}
        />
        <RolePicker
          label={t('filter.role')}
          chosen={role === undefined ? undefined : { id: role, name: roleName ?? '' }}
          onChoose={(choice) => setRole(choice?.id)}
        />
        <FilterChoice name="connection" label={t('filter.connection')} choices={connections} />
        <FilterChoice name="ends" label={t('filter.ends')} choices={[{ value: 'soon', text: t('filter.endsSoon', { days: SOON_DAYS }) }]} />
        <FilterChoice name="bin" label={t('filter.bin')} choices={[{ value: 'yes', text: t('filter.binYes') }]} />
        <FilterReset names={FILTERS} />
      </FilterBar>
      <PagedTable
        list={list}
        label={t('title')}
        columns={columns}
        rowKey={(mapping) => mapping.id}
        rowHeight={60}
        template={mayEdit ? 'six' : 'five'}
        empty={
          <EmptyState
            icon="mapping"
            title={filtered ? t('empty.filtered') : t('empty.title')}
            actions={
              mayEdit &&
              !filtered && (
                <Link className="button button-primary" href={screenPath(slug, 'mappings/edit')}>
                  {t('editor.open')}
                </Link>
              )
            }
          >
            <p>{filtered ? t('empty.filteredText') : t('empty.text')}</p>
          </EmptyState>
        }
      />
    </Page>
  );
}
