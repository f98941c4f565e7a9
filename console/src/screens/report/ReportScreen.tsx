// The access report: who has what, now or at an instant, as a list that says why or as people × roles.
import { useMemo } from 'react';
import { useTranslation } from 'react-i18next';
import { useQuery } from 'urql';
import { Link } from 'wouter';
import { oneOf } from '../../app/address.ts';
import { screenPath } from '../../app/paths.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { type Column, DataTable, PagedTable, TableFoot } from '../../components/DataTable.tsx';
import { FilterBar, FilterChoice, FilterReset, useQueryValue } from '../../components/FilterBar.tsx';
import { Icon } from '../../components/Icon.tsx';
import { Page } from '../../components/Page.tsx';
import { Banner, EmptyState, ErrorPanel, Skeleton } from '../../components/states.tsx';
import { StatusBadge } from '../../components/StatusBadge.tsx';
import { Time } from '../../components/Time.tsx';
import { type PagedList, usePagedList } from '../../components/paging.ts';
import type { AccessReportQuery } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import { useSourceText } from '../access/AccessChain.tsx';
import { InstantField } from '../access/InstantField.tsx';
import { RolePicker, useNameOf } from '../access/pickers.tsx';
import { ExportOutcome, useExport } from '../audit/ExportRun.tsx';
import './report.css';

const reportQuery = graphql(`
  query AccessReport($filter: AccessReportEntryFilter, $after: String, $people: Boolean!) {
    organization {
      id
      accessReport(first: 50, after: $after, filter: $filter) {
        totalCount
        pageInfo { hasNextPage endCursor }
        nodes {
          userId
          user @include(if: $people) { id displayName userName active }
          roles {
            role { id name management }
            sources {
              kind
              group { id displayName }
              memberOf { id displayName }
              mapping { id allUsersOf { id name } }
            }
          }
        }
      }
    }
  }
`);

const settledQuery = graphql(`
  query AccessReportSettled { organization { id settledUntil } }
`);

type Entry = NonNullable<NonNullable<AccessReportQuery['organization']>['accessReport']>['nodes'][number];

const pickEntries = (data: AccessReportQuery) => data.organization?.accessReport;
const VIEWS = ['list', 'matrix'] as const;
/** More columns than this cannot be compared by eye, and not printed either. */
const MAX_ROLES = 12;

export function ReportScreen() {
  const { t } = useTranslation('report');
  const viewer = useViewer();
  const people = viewer.may('USER_READ');
  const [role, setRole] = useQueryValue('role');
  const [asOf, setAsOf] = useQueryValue('asOf');
  const [viewName] = useQueryValue('view');
  const view = oneOf(VIEWS, viewName) ?? 'list';
  const roleName = useNameOf(role, false);
  const [settled] = useQuery({ query: settledQuery });
  const variables = useMemo(() => ({ filter: { roleId: role ?? null, asOf: asOf ?? null }, people }), [role, asOf, people]);
  const list = usePagedList(reportQuery, variables, pickEntries);
  const run = useExport();
  const mayExport = viewer.mayAll(['AUDIT_READ', 'USER_READ', 'IAM_READ']);
  const filtered = role !== undefined || asOf !== undefined;
  const empty = (
    <EmptyState icon="role" title={filtered ? t('empty.filtered') : t('empty.title')}>
      <p>{filtered ? t('empty.filteredText') : t('empty.text')}</p>
    </EmptyState>
  );
  return (
    <Page
      title={t('title')}
      lead={t('lead')}
      actions={
        <>
          {mayExport && (
            <Button icon="audit" busy={run.bytes !== undefined} onPress={() => void run.start('access', 'csv', { asOf })}>
              {t('export')}
            </Button>
          )}
          <Button icon="print" onPress={() => window.print()}>
            {t('print')}
          </Button>
        </>
      }
    >
      <FilterBar label={t('filter.label')}>
        <RolePicker
          label={t('filter.role')}
          chosen={role === undefined ? undefined : { id: role, name: roleName ?? '' }}
          onChoose={(choice) => setRole(choice?.id)}
        />
        <InstantField label={t('filter.asOf')} value={asOf} max={settled.data?.organization?.settledUntil ?? undefined} onChange={setAsOf} />
        <FilterChoice name="view" label={t('filter.view')} all={t('view.list')} choices={[{ value: 'matrix', text: t('view.matrix') }]} />
        <FilterReset names={['role', 'asOf']} />
      </FilterBar>
      <p role="status">
        {asOf === undefined ? (
          t('asOfNow')
        ) : (
          <>
            {t('asOf')} <Time at={asOf} exact />
          </>
        )}
        {mayExport && role !== undefined && <span className="muted"> {t('exportAll')}</span>}
      </p>
      <ExportOutcome run={run} />
      {view === 'list' ? <ReportList list={list} asOf={asOf} empty={empty} /> : <ReportMatrix list={list} asOf={asOf} empty={empty} />}
    </Page>
  );
}

interface ReportProps {
  list: PagedList<Entry>;
  asOf: string | undefined;
  empty: React.ReactNode;
}

function usePersonCell(asOf: string | undefined) {
  const { t } = useTranslation('report');
  const { organization } = useViewer();
  const query = asOf === undefined ? '' : `?asOf=${encodeURIComponent(asOf)}`;
  return (entry: Entry) => {
    if (!entry.user) return <code className="muted">{entry.userId}</code>;
    const { id, displayName, userName, active } = entry.user;
    return (
      <Link className="cell-link" href={`${screenPath(organization.slug, `people/${encodeURIComponent(id)}`)}${query}`}>
        <span className="cell-main" dir="auto">
          {displayName}
        </span>
        <small className="muted" dir="auto">
          {active ? userName : `${userName} · ${t('suspendedNow')}`}
        </small>
      </Link>
    );
  };
}

function ReportList({ list, asOf, empty }: ReportProps) {
  const { t, i18n } = useTranslation('report');
  const sourceText = useSourceText();
  const personCell = usePersonCell(asOf);
  const columns = useMemo<Column<Entry>[]>(
    () => [
      { key: 'person', title: t('column.person'), header: true, cell: personCell },
      {
        key: 'roles',
        title: t('column.roles'),
        cell: (entry) => (
          <span className="held-roles" dir="auto" title={(entry.roles ?? []).map(({ role }) => role.name).join(', ')}>
            {(entry.roles ?? []).map(({ role }) => (
              <StatusBadge key={role.id} tone={role.management ? 'warning' : 'info'}>
                {role.name}
              </StatusBadge>
            ))}
          </span>
        ),
      },
      {
        key: 'why',
        title: t('column.why'),
        cell: (entry) => {
          const ways = [...new Set((entry.roles ?? []).flatMap(({ sources }) => sources.map(sourceText)))].join(' · ');
          return (
            <span dir="auto" title={ways}>
              {ways}
            </span>
          );
        },
      },
    ],
    // The functions follow from the language and the instant.
    [t, i18n.language, asOf],
  );
  return (
    <PagedTable list={list} label={t('title')} columns={columns} rowKey={(entry) => entry.userId} rowHeight={60} template="report" empty={empty} />
  );
}

function ReportMatrix({ list, asOf, empty }: ReportProps) {
  const { t } = useTranslation('report');
  const sourceText = useSourceText();
  const personCell = usePersonCell(asOf);
  const roles = useMemo(() => {
    const held = new Map<string, { id: string; name: string; count: number }>();
    for (const entry of list.rows) {
      for (const { role } of entry.roles ?? []) {
        const before = held.get(role.id);
        held.set(role.id, { id: role.id, name: role.name, count: (before?.count ?? 0) + 1 });
      }
    }
    return [...held.values()].toSorted((a, b) => b.count - a.count);
  }, [list.rows]);
  const columns: Column<Entry>[] = [
    { key: 'person', title: t('column.person'), header: true, cell: personCell },
    ...roles.slice(0, MAX_ROLES).map((role) => ({
      key: role.id,
      title: <span dir="auto">{role.name}</span>,
      cell: (entry: Entry) => {
        const found = entry.roles?.find((held) => held.role.id === role.id);
        if (!found) return <span className="visually-hidden">{t('holdsNot')}</span>;
        const why = found.sources.map(sourceText).join(' · ');
        return (
          <span className="holds" title={why}>
            <Icon name="check" />
            <span className="visually-hidden">
              {t('holds')} {why}
            </span>
          </span>
        );
      },
    })),
  ];
  if (list.problem) return <ErrorPanel problem={list.problem} onRetry={list.reload} />;
  if (list.rows.length === 0) return list.loading ? <Skeleton lines={8} /> : empty;
  return (
    <>
      {roles.length > MAX_ROLES && <Banner kind="info" title={t('cut', { shown: MAX_ROLES, all: roles.length })} />}
      <div className="matrix">
        <DataTable label={t('title')} columns={columns} rows={list.rows} rowKey={(entry) => entry.userId} />
      </div>
      <TableFoot shown={list.rows.length} total={list.total} loading={list.loading} onMore={list.hasMore ? list.loadMore : undefined} />
    </>
  );
}
