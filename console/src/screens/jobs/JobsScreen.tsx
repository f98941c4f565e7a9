// Everything that takes longer than a request: runs, comparisons, bulk jobs and deletions, as they go.
import { useTranslation } from 'react-i18next';
import { useParams, useSearchParams } from 'wouter';
import { oneOf } from '../../app/address.ts';
import { screenPath } from '../../app/paths.ts';
import { useViewer } from '../../app/viewer.tsx';
import { TableFoot } from '../../components/DataTable.tsx';
import { FilterBar, FilterChoice, FilterReset } from '../../components/FilterBar.tsx';
import { Card, Page } from '../../components/Page.tsx';
import { type PagedList, usePagedList } from '../../components/paging.ts';
import { EmptyState, ErrorPanel, Skeleton } from '../../components/states.tsx';
import { Tabs } from '../../components/Tabs.tsx';
import type {
  BulkJobsQuery,
  DeletionsQuery,
  JobState,
  JobsComparisonsQuery,
  JobsSyncRunsQuery,
} from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import { BulkJobEntry } from './BulkJobEntry.tsx';
import { DeletionEntry } from './DeletionEntry.tsx';
import { ReconciliationEntry } from './ReconciliationEntry.tsx';
import { SyncRunEntry } from './SyncRunEntry.tsx';
import './jobs.css';

const KINDS = ['runs', 'comparisons', 'bulk', 'deletions'] as const;
const STATES: readonly JobState[] = [
  'QUEUED',
  'RUNNING',
  'WAITING',
  'CANCELLING',
  'SUCCEEDED',
  'REFUSED',
  'FAILED',
  'CANCELLED',
];

export default function JobsScreen() {
  const { t } = useTranslation('jobs');
  const { t: common } = useTranslation();
  const { organization } = useViewer();
  const { kind: asked } = useParams<{ kind?: string }>();
  const kind = oneOf(KINDS, asked) ?? 'runs';
  return (
    <Page title={common('menu.jobs')} lead={t('lead')}>
      <Tabs
        label={t('kinds')}
        tabs={KINDS.map((name) => ({
          key: name,
          href: screenPath(organization.slug, name === 'runs' ? 'jobs' : `jobs/${name}`),
          text: t(`tab.${name}`),
          current: name === kind,
        }))}
      />
      {kind === 'runs' && <Runs />}
      {kind === 'comparisons' && <Comparisons />}
      {kind === 'bulk' && <BulkJobs />}
      {kind === 'deletions' && <Deletions />}
    </Page>
  );
}

function useStates(): { states?: JobState[] } {
  const [params] = useSearchParams();
  const state = oneOf(STATES, params.get('state') ?? undefined);
  return state ? { states: [state] } : {};
}

function StateFilter() {
  const { t } = useTranslation('jobs');
  const { t: common } = useTranslation();
  return (
    <FilterBar label={t('filters')}>
      <FilterChoice
        name="state"
        label={t('state')}
        choices={STATES.map((value) => ({ value, text: common(`job.states.${value}`) }))}
      />
      <FilterReset names={['state']} />
    </FilterBar>
  );
}

interface EntriesProps<Row> {
  title: string;
  list: PagedList<Row>;
  rowKey: (row: Row) => string;
  none: { title: string; text: string };
  children: (row: Row) => React.ReactNode;
}

function Entries<Row>({ title, list, rowKey, none, children }: EntriesProps<Row>) {
  return (
    <Card title={title}>
      {list.problem && <ErrorPanel problem={list.problem} onRetry={list.reload} />}
      {list.loading && list.rows.length === 0 && <Skeleton lines={6} />}
      {!list.loading && !list.problem && list.rows.length === 0 && (
        <EmptyState icon="jobs" title={none.title}>
          <p>{none.text}</p>
        </EmptyState>
      )}
      {list.rows.length > 0 && (
        <>
          <ul className="plain entries">
            {list.rows.map((row) => (
              <li key={rowKey(row)}>{children(row)}</li>
            ))}
          </ul>
          <TableFoot
            shown={list.rows.length}
            total={list.total}
            loading={list.loading}
            onMore={list.hasMore ? list.loadMore : undefined}
          />
        </>
      )}
    </Card>
  );
}

const runsQuery = graphql(`
  query JobsSyncRuns($filter: SyncRunFilter, $after: String) {
    organization {
      id
      syncRuns(first: 20, after: $after, filter: $filter) {
        totalCount
        pageInfo { hasNextPage endCursor }
        nodes { ...SyncRunEntry }
      }
    }
  }
`);
const pickRuns = (data: JobsSyncRunsQuery) => data.organization?.syncRuns;

function Runs() {
  const { t } = useTranslation('jobs');
  const list = usePagedList(runsQuery, { filter: useStates() }, pickRuns);
  return (
    <>
      <StateFilter />
      <Entries title={t('tab.runs')} list={list} rowKey={(run) => run.id} none={{ title: t('none.runs'), text: t('noneText.runs') }}>
        {(run) => <SyncRunEntry run={run} onEnd={list.reload} showConnection />}
      </Entries>
    </>
  );
}

const comparisonsQuery = graphql(`
  query JobsComparisons($filter: ReconciliationFilter, $after: String) {
    organization {
      id
      reconciliations(first: 20, after: $after, filter: $filter) {
        totalCount
        pageInfo { hasNextPage endCursor }
        nodes { ...ReconciliationEntry }
      }
    }
  }
`);
const pickComparisons = (data: JobsComparisonsQuery) => data.organization?.reconciliations;

function Comparisons() {
  const { t } = useTranslation('jobs');
  const list = usePagedList(comparisonsQuery, { filter: useStates() }, pickComparisons);
  return (
    <>
      <StateFilter />
      <Entries
        title={t('tab.comparisons')}
        list={list}
        rowKey={(entry) => entry.id}
        none={{ title: t('none.comparisons'), text: t('noneText.comparisons') }}
      >
        {(entry) => <ReconciliationEntry entry={entry} onEnd={list.reload} showConnection />}
      </Entries>
    </>
  );
}

const bulkQuery = graphql(`
  query BulkJobs($filter: BulkJobFilter, $after: String) {
    organization {
      id
      bulkJobs(first: 20, after: $after, filter: $filter) {
        totalCount
        pageInfo { hasNextPage endCursor }
        nodes { ...BulkJobEntry }
      }
    }
  }
`);
const pickBulk = (data: BulkJobsQuery) => data.organization?.bulkJobs;

function BulkJobs() {
  const { t } = useTranslation('jobs');
  const list = usePagedList(bulkQuery, { filter: useStates() }, pickBulk);
  return (
    <>
      <StateFilter />
      <Entries title={t('tab.bulk')} list={list} rowKey={(job) => job.id} none={{ title: t('none.bulk'), text: t('noneText.bulk') }}>
        {(job) => <BulkJobEntry job={job} onEnd={list.reload} />}
      </Entries>
    </>
  );
}

const deletionsQuery = graphql(`
  query Deletions($filter: DeletionJobFilter, $after: String) {
    organization {
      id
      deletionJobs(first: 20, after: $after, filter: $filter) {
        totalCount
        pageInfo { hasNextPage endCursor }
        nodes { ...DeletionEntry }
      }
    }
  }
`);
const pickDeletions = (data: DeletionsQuery) => data.organization?.deletionJobs;

function Deletions() {
  const { t } = useTranslation('jobs');
  const list = usePagedList(deletionsQuery, { filter: useStates() }, pickDeletions);
  return (
    <>
      <StateFilter />
      <Entries
        title={t('tab.deletions')}
        list={list}
        rowKey={(job) => job.id}
        none={{ title: t('none.deletions'), text: t('noneText.deletions') }}
      >
        {(job) => <DeletionEntry job={job} onEnd={list.reload} />}
      </Entries>
    </>
  );
}
