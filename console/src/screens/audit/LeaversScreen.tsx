// Leavers: how long it took until each held nothing, against an objective.
import { useEffect, useMemo } from 'react';
import { useTranslation } from 'react-i18next';
import { useQuery } from 'urql';
import { Link } from 'wouter';
import { useAddress } from '../../app/address.ts';
import { screenPath } from '../../app/paths.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { PlainDialog } from '../../components/ConfirmDialog.tsx';
import { type Column, TableFoot, VirtualTable } from '../../components/DataTable.tsx';
import { FilterBar, FilterChoice, FilterReset, useQueryValue } from '../../components/FilterBar.tsx';
import { Card, Page } from '../../components/Page.tsx';
import { EmptyState, ErrorPanel, Skeleton, toProblem } from '../../components/states.tsx';
import { StatusBadge } from '../../components/StatusBadge.tsx';
import { Time } from '../../components/Time.tsx';
import { Chart } from '../../components/charts.tsx';
import { usePagedList } from '../../components/paging.ts';
import type { LeaversQuery, RevocationTimesQuery } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import { InstantField } from '../access/InstantField.tsx';
import { LeaverChain } from './LeaverChain.tsx';
import { useDuration } from './duration.ts';
import './audit.css';

const leaversQuery = graphql(`
  query Leavers($filter: LeaverFilter, $after: String, $people: Boolean!) {
    organization {
      id
      leavers(first: 100, after: $after, filter: $filter, orderBy: { field: REVOKED_AT, direction: DESC }) {
        totalCount
        pageInfo { hasNextPage endCursor }
        nodes {
          userId
          userName @include(if: $people)
          userCount
          requestedAt
          revokedAt
          milliseconds
          destinationCount
          receivedCount
          receiptMilliseconds
          confirmedCount
          confirmationMilliseconds
          activeNow
          event { id requestId actor { name } }
        }
      }
    }
  }
`);

const revocationTimesQuery = graphql(`
  query RevocationTimes($since: DateTime, $until: DateTime, $objectiveSeconds: Int!) {
    organization {
      id
      revocationTimes(since: $since, until: $until, objectiveSeconds: $objectiveSeconds) {
        count
        withinObjective
        medianMilliseconds
        p95Milliseconds
        p99Milliseconds
        longestMilliseconds
        received { count objectiveSeconds withinObjective medianMilliseconds p95Milliseconds longestMilliseconds }
        confirmed { count objectiveSeconds withinObjective medianMilliseconds p95Milliseconds longestMilliseconds }
      }
    }
  }
`);

type LeaverRow = NonNullable<NonNullable<LeaversQuery['organization']>['leavers']>['nodes'][number];

const pickLeavers = (data: LeaversQuery) => data.organization?.leavers;
const OBJECTIVES = [1, 10, 60, 300, 3_600] as const;
const DEFAULT_OBJECTIVE = 60;
/** So many leavers are read for the histogram; the numbers beside it are of all. */
const MAX_COUNTED = 1_000;
/** The upper ends of the bars, in milliseconds; what took longer is in the last one. */
const ENDS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000, 3_600_000, Number.POSITIVE_INFINITY];

export function LeaversScreen() {
  const { t, i18n } = useTranslation('audit');
  const { t: common } = useTranslation();
  const viewer = useViewer();
  const people = viewer.may('USER_READ');
  const [since, setSince] = useQueryValue('since');
  const [until, setUntil] = useQueryValue('until');
  const [objectiveText] = useQueryValue('objective');
  const objective = OBJECTIVES.find((each) => String(each) === objectiveText) ?? DEFAULT_OBJECTIVE;
  const duration = useDuration();
  const number = new Intl.NumberFormat(i18n.language);
  const variables = useMemo(() => ({ filter: { since: since ?? null, until: until ?? null }, people }), [since, until, people]);
  const list = usePagedList(leaversQuery, variables, pickLeavers);
  const { loadMore } = list;
  const loaded = list.rows.length;
  useEffect(() => {
    if (list.hasMore && !list.loading && !list.problem && loaded < MAX_COUNTED) loadMore();
  }, [list.hasMore, list.loading, list.problem, loaded, loadMore]);
  const [{ data, error }, again] = useQuery({
    query: revocationTimesQuery,
    variables: { since: since ?? null, until: until ?? null, objectiveSeconds: objective },
  });
  const times = data?.organization?.revocationTimes;
  const bars = useMemo(() => {
    const counts = ENDS.map(() => 0);
    for (const row of list.rows.slice(0, MAX_COUNTED)) {
      const place = ENDS.findIndex((end) => row.milliseconds <= end);
      counts[place] = (counts[place] ?? 0) + row.userCount;
    }
    return counts;
  }, [list.rows]);
  const mark = ENDS.findIndex((end) => objective * 1_000 <= end);
  const places = useMemo(() => ENDS.map((_, place) => place), []);
  const series = useMemo(() => [{ label: t('leavers.people'), values: bars }], [t, bars]);
  const markLine = useMemo(() => ({ x: mark + 0.5, label: t('leavers.objectiveMark', { objective: duration(objective * 1_000) }) }), [mark, t, objective, i18n.language]);
  const formatX = useMemo(
    () => (place: number) => {
      const end = ENDS[Math.round(place)];
      if (end === undefined) return '';
      return Number.isFinite(end) ? `≤ ${duration(end)}` : `> ${duration(ENDS[ENDS.length - 2] ?? 0)}`;
    },
    // `duration` follows from the language.
    [i18n.language],
  );
  const slug = viewer.organization.slug;
  const { get, set: openChain } = useAddress();
  const opened = get('leaver');
  const openedAt = get('at');
  const columns = useMemo<Column<LeaverRow>[]>(
    () => [
      {
        key: 'who',
        title: t('leavers.who'),
        header: true,
        cell: (row) =>
          row.userId ? (
            <Link className="cell-link" href={`${screenPath(slug, 'audit')}?concerns=${encodeURIComponent(row.userId)}`}>
              <span className="cell-main" dir="auto">
                {row.userName ?? t('leavers.erased')}
              </span>
            </Link>
          ) : (
            t('leavers.many', { count: row.userCount })
          ),
      },
      {
        key: 'time',
        title: t('leavers.time'),
        numeric: true,
        cell: (row) => (
          <span className={row.milliseconds > objective * 1_000 ? 'too-late' : undefined}>{duration(row.milliseconds)}</span>
        ),
      },
      {
        key: 'received',
        title: t('leavers.received'),
        cell: (row) => <Received row={row} />,
      },
      {
        key: 'confirmed',
        title: t('leavers.confirmed'),
        cell: (row) => <Confirmed row={row} />,
      },
      { key: 'requested', title: t('leavers.requested'), cell: (row) => <Time at={row.requestedAt} /> },
      {
        key: 'chain',
        title: t('leavers.chain'),
        cell: (row) =>
          row.event && (
            <button type="button" className="link-button" aria-label={t('leavers.openOf', { name: row.userName ?? t('leavers.many', { count: row.userCount }) })} onClick={() => row.event && openChain({ leaver: row.event.id, at: row.revokedAt })}>
              {t('leavers.open')}
            </button>
          ),
      },
      {
        key: 'now',
        title: t('leavers.now'),
        cell: (row) => <StatusBadge tone={row.activeNow ? 'warning' : 'quiet'}>{t(row.activeNow ? 'leavers.back' : 'leavers.gone')}</StatusBadge>,
      },
    ],
    [t, slug, objective, i18n.language],
  );
  return (
    <Page
      title={t('leavers.title')}
      lead={t('leavers.lead')}
      actions={
        <Button icon="print" onPress={() => window.print()}>
          {t('evidence.print')}
        </Button>
      }
    >
      <FilterBar label={t('filter.label')}>
        <InstantField label={t('filter.since')} value={since} onChange={setSince} />
        <InstantField label={t('filter.until')} value={until} onChange={setUntil} />
        <FilterChoice
          name="objective"
          label={t('leavers.objective')}
          all={duration(DEFAULT_OBJECTIVE * 1_000)}
          choices={OBJECTIVES.filter((seconds) => seconds !== DEFAULT_OBJECTIVE).map((seconds) => ({ value: String(seconds), text: duration(seconds * 1_000) }))}
        />
        <FilterReset names={['since', 'until', 'objective']} />
      </FilterBar>
      {error && <ErrorPanel problem={toProblem(error)} onRetry={() => again({ requestPolicy: 'network-only' })} />}
      {times && times.count > 0 && (
        <Card title={t('leavers.times', { objective: duration(objective * 1_000) })}>
          <TimeFigures times={times} within={t('leavers.within')} />
          {list.rows.length > 0 && (
            <Chart label={t('leavers.histogram')} kind="bars" x={places} xIsTime={false} series={series} mark={markLine} formatX={formatX} formatY={number.format} />
          )}
          {(list.total ?? 0) > MAX_COUNTED && <p className="muted">{t('leavers.cut', { count: MAX_COUNTED })}</p>}
        </Card>
      )}
      {times && times.count > 0 && (
        <div className="downstream">
          <DownstreamFacts title={t('leavers.receivedTitle')} none={t('leavers.receivedNone')} times={times.received} />
          <DownstreamFacts title={t('leavers.confirmedTitle')} none={t('leavers.confirmedNone')} times={times.confirmed} />
        </div>
      )}
      {list.problem && <ErrorPanel problem={list.problem} onRetry={list.reload} />}
      {!list.problem && loaded === 0 && list.loading && <Skeleton lines={6} />}
      {!list.problem && loaded === 0 && !list.loading && (
        <EmptyState icon="clock" title={t('leavers.none')}>
          <p>{t('leavers.noneText')}</p>
        </EmptyState>
      )}
      {loaded > 0 && (
        <>
          <VirtualTable
            label={t('leavers.title')}
            columns={columns}
            rows={list.rows}
            rowKey={(row) => row.event?.id ?? `${row.userId} ${row.revokedAt}`}
            total={list.total}
            onEnd={list.loadMore}
            template="leavers"
          />
          <TableFoot shown={loaded} total={list.total} loading={list.loading} />
        </>
      )}
      <PlainDialog
        isOpen={opened !== undefined && openedAt !== undefined}
        onClose={() => openChain({ leaver: undefined, at: undefined })}
        title={t('chainOf.title')}
      >
        {opened !== undefined && openedAt !== undefined && <LeaverChain eventId={opened} revokedAt={openedAt} />}
        <div className="actions dialog-actions">
          <Button onPress={() => openChain({ leaver: undefined, at: undefined })}>{common('dialog.close')}</Button>
        </div>
      </PlainDialog>
    </Page>
  );
}

/** How many destinations took it, and how long that took. */
function Received({ row }: { row: LeaverRow }) {
  const { t } = useTranslation('audit');
  const duration = useDuration();
  if (row.destinationCount === 0) return <span className="muted">{t('leavers.noDestination')}</span>;
  if (row.receiptMilliseconds != null) return <StatusBadge tone="good">{duration(row.receiptMilliseconds)}</StatusBadge>;
  return <StatusBadge tone="warning">{t('leavers.ofMany', { done: row.receivedCount, all: row.destinationCount })}</StatusBadge>;
}

/** Whether applications said that the sessions ended. */
function Confirmed({ row }: { row: LeaverRow }) {
  const { t } = useTranslation('audit');
  const duration = useDuration();
  if (row.confirmationMilliseconds != null) return <StatusBadge tone="good">{duration(row.confirmationMilliseconds)}</StatusBadge>;
  if (row.confirmedCount > 0) return <StatusBadge tone="warning">{t('leavers.ofMany', { done: row.confirmedCount, all: row.userCount })}</StatusBadge>;
  return <span className="muted">{t('leavers.notConfirmed')}</span>;
}

type Downstream = NonNullable<NonNullable<NonNullable<RevocationTimesQuery['organization']>['revocationTimes']>['received']>;

interface TimeFiguresProps {
  times: Omit<Downstream, 'objectiveSeconds'> & { p99Milliseconds?: number };
  /** What the share within the objective is called. */
  within: string;
}

/** The share within the objective, and how long it took. */
function TimeFigures({ times, within }: TimeFiguresProps) {
  const { t, i18n } = useTranslation('audit');
  const duration = useDuration();
  const number = new Intl.NumberFormat(i18n.language);
  const percent = new Intl.NumberFormat(i18n.language, { style: 'percent', maximumFractionDigits: 1 });
  const figures = [
    [within, percent.format(times.withinObjective / times.count)],
    [t('leavers.count'), number.format(times.count)],
    [t('leavers.median'), duration(times.medianMilliseconds)],
    [t('leavers.p95'), duration(times.p95Milliseconds)],
    ...(times.p99Milliseconds === undefined ? [] : [[t('leavers.p99'), duration(times.p99Milliseconds)] as const]),
    [t('leavers.longest'), duration(times.longestMilliseconds)],
  ] as const;
  return (
    <dl className="facts">
      {figures.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function DownstreamFacts({ title, none, times }: { title: string; none: string; times: Downstream }) {
  const { t } = useTranslation('audit');
  const duration = useDuration();
  return (
    <Card title={title}>
      {times.count === 0 ? (
        <p className="muted">{none}</p>
      ) : (
        <TimeFigures times={times} within={t('leavers.withinOf', { objective: duration(times.objectiveSeconds * 1_000) })} />
      )}
    </Card>
  );
}
