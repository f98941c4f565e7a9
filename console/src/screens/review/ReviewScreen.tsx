// The review queue: writes that failed, worked through one by one by keyboard, or many at once.
import { useCallback, useEffect, useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useClient, useQuery } from 'urql';
import { useSearchParams } from 'wouter';
import { oneOf } from '../../app/address.ts';
import { useAction } from '../../app/useAction.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { FilterBar, FilterChoice, FilterReset, FilterText } from '../../components/FilterBar.tsx';
import { Page } from '../../components/Page.tsx';
import { usePagedList } from '../../components/paging.ts';
import { EmptyState, ErrorPanel, type Problem, Skeleton, toProblem } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import { notify } from '../../components/toasts.tsx';
import type {
  FailureCause,
  FailureFieldsFragment,
  FailureFilter,
  FailuresQuery,
  FailureState,
} from '../../generated/graphql.ts';
import { useNumbers } from '../connections/parts.tsx';
import { DecisionDialog, type Decision, type DecisionValues } from './DecisionDialog.tsx';
import { FailureBadge, FailureDetail } from './FailureDetail.tsx';
import { FilterState } from './FilterState.tsx';
import { ReviewTabs } from './ReviewTabs.tsx';
import { type Selection, Workbench } from './Workbench.tsx';
import { type BulkResult, useBulk, useBulkResult } from './bulk.tsx';
import {
  assignManyMutation,
  assignMutation,
  dismissManyMutation,
  dismissMutation,
  failureCountsQuery,
  failuresByIdQuery,
  failuresQuery,
  resolveManyMutation,
  resolveMutation,
  retryManyMutation,
  retryMutation,
} from './failure.ts';
import './review.css';

const STATES: readonly FailureState[] = ['OPEN', 'RETRYING', 'RESOLVED', 'DISMISSED'];
const UNFINISHED: readonly FailureState[] = ['OPEN', 'RETRYING'];
const CAUSES: readonly FailureCause[] = [
  'TARGET_UNAVAILABLE',
  'RATE_LIMITED',
  'INVALID_VALUE',
  'UNIQUENESS',
  'NOT_FOUND',
  'PROTECTED',
  'NOT_PERMITTED',
  'CONFLICT',
  'UNSUPPORTED',
  'TOO_LARGE',
  'INTERNAL',
];
const RETRY_MILLISECONDS = 1_500;
const MAX_IDS = 1000;

const pick = (data: FailuresQuery) => data.organization?.failures;

/** What is being decided, and about which. */
interface Asking {
  decision: Decision;
  failure?: FailureFieldsFragment;
  selection?: Selection;
}

export default function ReviewScreen() {
  const { t } = useTranslation('review');
  const { t: common } = useTranslation();
  const viewer = useViewer();
  const numbers = useNumbers();
  const client = useClient();
  const users = viewer.may('USER_READ');
  const mayWrite = viewer.may('REVIEW_WRITE');
  const [params] = useSearchParams();
  const states = useMemo(() => {
    const asked = params.get('state') ?? undefined;
    return asked === 'all' ? STATES : [oneOf(STATES, asked) ?? UNFINISHED].flat();
  }, [params]);
  const cause = oneOf(CAUSES, params.get('cause') ?? undefined);
  const connectionId = params.get('connection') ?? undefined;
  const search = users ? (params.get('search') ?? undefined) : undefined;
  const assignedTo = params.get('assigned') ?? undefined;
  const userId = params.get('user') ?? undefined;
  const filter: FailureFilter = {
    states: [...states],
    ...(cause && { causes: [cause] }),
    ...(connectionId !== undefined && { connectionId }),
    ...(search !== undefined && { search }),
    ...(assignedTo !== undefined && { assignedTo }),
    ...(userId !== undefined && { userId }),
  };
  const list = usePagedList(failuresQuery, { filter, users }, pick);
  const [counts, askCounts] = useQuery({ query: failureCountsQuery, requestPolicy: 'cache-and-network' });

  // What was decided here is shown at once; the list itself is read again only when it is asked for.
  const [changed, setChanged] = useState<ReadonlyMap<string, FailureFieldsFragment>>(new Map());
  const change = useCallback((failures: readonly FailureFieldsFragment[]) => {
    setChanged((before) => new Map([...before, ...failures.map((failure) => [failure.id, failure] as const)]));
  }, []);
  const current = list.rows.map((row) => changed.get(row.id) ?? row);
  const rows = current.filter((row) => states.includes(row.state));
  const gone = current.length - rows.length;
  const total = list.total === undefined ? undefined : Math.max(list.total - gone, rows.length);
  const { hasMore, loading, loadMore } = list;
  useEffect(() => {
    if (rows.length < 5 && hasMore && !loading) loadMore();
  }, [rows.length, hasMore, loading, loadMore]);

  const reload = () => {
    setChanged(new Map());
    list.reload();
    askCounts({ requestPolicy: 'network-only' });
  };

  // A retry goes on in the background: those that are under way are asked for until they have ended.
  const retrying = current.filter((row) => row.state === 'RETRYING').map((row) => row.id).join(' ');
  useEffect(() => {
    if (retrying === '') return;
    const timer = setInterval(async () => {
      const { data } = await client
        .query(failuresByIdQuery, { ids: retrying.split(' ').slice(0, 100), users }, { requestPolicy: 'network-only' })
        .toPromise();
      const found = (data?.nodes ?? []).filter((node) => node?.__typename === 'Failure');
      const ended = found.filter((failure) => failure.state !== 'RETRYING');
      for (const failure of ended) {
        if (failure.state === 'RESOLVED') notify({ kind: 'success', text: t('done.retried', { operation: failure.operation }) });
        else notify({ kind: 'error', text: t('done.failedAgain', { operation: failure.operation }), detail: failure.message });
      }
      change(found);
    }, RETRY_MILLISECONDS);
    return () => clearInterval(timer);
  }, [retrying, client, users, change, t]);

  const [asking, setAsking] = useState<Asking>();
  const { run: retry, running: retryRunning } = useAction(retryMutation);
  const { run: dismiss } = useAction(dismissMutation);
  const { run: resolve } = useAction(resolveMutation);
  const { run: assign } = useAction(assignMutation);
  const retryMany = useBulk(retryManyMutation, (data) => data.failuresRetry);
  const dismissMany = useBulk(dismissManyMutation, (data) => data.failuresDismiss);
  const resolveMany = useBulk(resolveManyMutation, (data) => data.failuresResolve);
  const assignMany = useBulk(assignManyMutation, (data) => data.failuresAssign);
  const bulkResult = useBulkResult();

  const retryOne = async (failure: FailureFieldsFragment) => {
    if (!mayWrite) return;
    if (!failure.retryable) {
      notify({ kind: 'info', text: t('done.notRetryable'), detail: failure.suggestion.message });
      return;
    }
    const { payload, problem } = await retry({ input: { id: failure.id }, users });
    if (problem) notify({ kind: 'error', text: problem.message, ...(problem.nextStep && { detail: problem.nextStep }) });
    else if (payload.failure) change([payload.failure]);
  };
  const ask = (decision: Decision) => (failure: FailureFieldsFragment) => {
    if (mayWrite) setAsking({ decision, failure });
  };

  const decideOne = async (failure: FailureFieldsFragment, decision: Decision, values: DecisionValues) => {
    const { id } = failure;
    const reason = values.reason.trim();
    const answer =
      decision === 'dismiss'
        ? await dismiss({ input: { id, reason }, users })
        : decision === 'resolve'
          ? await resolve({ input: { id, fix: values.fix, reason: reason || null }, users })
          : await assign({ input: { id, assignedTo: values.assignedTo.trim() || null }, users });
    if (answer.problem) return answer.problem;
    if (answer.payload.failure) change([answer.payload.failure]);
    notify({ kind: 'success', text: t(`done.${decision}`, { operation: failure.operation }) });
    askCounts({ requestPolicy: 'network-only' });
    return undefined;
  };
  const which = (selection: Selection) => (selection.all ? { filter } : { ids: selection.ids.slice(0, MAX_IDS) });
  const showResult = (answer: { result: BulkResult } | { problem: Problem }): Problem | undefined => {
    if ('problem' in answer) return answer.problem;
    bulkResult.show(answer.result);
    reload();
    return undefined;
  };
  const decideMany = async (selection: Selection, decision: Decision, values: DecisionValues) => {
    const input = which(selection);
    const reason = values.reason.trim();
    return showResult(
      decision === 'dismiss'
        ? await dismissMany({ input: { ...input, reason } })
        : decision === 'resolve'
          ? await resolveMany({ input: { ...input, fix: values.fix, reason: reason || null } })
          : await assignMany({ input: { ...input, assignedTo: values.assignedTo.trim() || null } }),
    );
  };

  const byCause = counts.data?.organization?.failureCounts ?? [];
  const connections = counts.data?.organization?.connections?.nodes ?? [];
  const filtered = [cause, connectionId, search, assignedTo, userId, params.get('state') ?? undefined].some((value) => value !== undefined);

  const detail = (failure: FailureFieldsFragment) => (
    <FailureDetail
      failure={failure}
      onDecided={reload}
      actions={
        mayWrite && UNFINISHED.includes(failure.state) ? (
          <div className="actions">
            <Button
              kind="primary"
              icon="reload"
              busy={retryRunning || failure.state === 'RETRYING'}
              isDisabled={!failure.retryable}
              onPress={() => void retryOne(failure)}
            >
              {t('act.retry')}
            </Button>
            <Button onPress={() => ask('resolve')(failure)}>{t('act.resolve')}</Button>
            <Button onPress={() => ask('assign')(failure)}>{t('act.assign')}</Button>
            <Button kind="danger" onPress={() => ask('dismiss')(failure)}>
              {t('act.dismiss')}
            </Button>
          </div>
        ) : undefined
      }
    />
  );

  return (
    <Page title={common('menu.review')} lead={t('lead')}>
      <ReviewTabs current="failures" proposals={counts.data?.organization?.adoptionProposals?.totalCount} />
      {byCause.length > 0 && (
        <ul className="plain causes" aria-label={t('causes')}>
          {byCause.map((item) => (
            <li key={item.cause}>
              <CauseLink cause={item.cause} failures={numbers.whole(item.failures)} current={cause === item.cause} />
            </li>
          ))}
        </ul>
      )}
      <FilterBar label={t('filters')}>
        {users && <FilterText name="search" label={t('filter.search')} />}
        <FilterState
          label={t('filter.state')}
          otherwise={t('filter.unfinished')}
          choices={[...STATES.map((value) => ({ value: value as string, text: t(`state.${value}`) })), { value: 'all', text: t('filter.every') }]}
        />
        <FilterChoice
          name="cause"
          label={t('filter.cause')}
          choices={CAUSES.map((value) => ({ value, text: t(`cause.${value}`) }))}
        />
        <FilterChoice
          name="connection"
          label={t('filter.connection')}
          choices={connections.map(({ id, name }) => ({ value: id, text: name }))}
        />
        <FilterText name="assigned" label={t('filter.assigned')} />
        <FilterReset names={['search', 'state', 'cause', 'connection', 'assigned', 'user']} />
        <Button icon="reload" onPress={reload}>
          {common('state.reload')}
        </Button>
      </FilterBar>
      <Workbench
        label={common('menu.review')}
        rows={rows}
        total={total}
        loading={list.loading}
        problem={list.problem}
        hasMore={list.hasMore}
        onMore={list.loadMore}
        onReload={reload}
        empty={
          <EmptyState icon="check" title={filtered ? t('none.match') : t('none.title')}>
            {!filtered && <p>{t('none.text')}</p>}
          </EmptyState>
        }
        name={(row) => [row.operation, row.label].filter(Boolean).join(' · ')}
        line={(row) => (
          <>
            <span className="line-title">
              {row.operation}
              {row.label && <> · {row.label}</>}
            </span>
            <span className="line-text">{row.message}</span>
            <span className="line-foot">
              <FailureBadge state={row.state} />
              <span className="muted">
                {t(`cause.${row.cause}`)} · {numbers.whole(row.count)}× · <Time at={row.lastAt} />
              </span>
            </span>
          </>
        )}
        detail={detail}
        linked={(id) => <LinkedFailure id={id} users={users} detail={(failure) => detail(changed.get(failure.id) ?? failure)} />}
        shortcuts={
          mayWrite
            ? [
                { key: 'r', title: t('act.retry'), run: (row) => void retryOne(row) },
                { key: 'd', title: t('act.dismiss'), run: ask('dismiss') },
                { key: 'f', title: t('act.resolve'), run: ask('resolve') },
                { key: 'a', title: t('act.assign'), run: ask('assign') },
              ]
            : []
        }
        bulk={
          mayWrite
            ? (selection, clear) => (
                <>
                  <Button
                    onPress={() =>
                      void retryMany({ input: which(selection) }).then((answer) => {
                        const problem = showResult(answer);
                        if (problem) notify({ kind: 'error', text: problem.message });
                        else clear();
                      })
                    }
                  >
                    {t('act.retry')}
                  </Button>
                  <Button onPress={() => setAsking({ decision: 'resolve', selection })}>{t('act.resolve')}</Button>
                  <Button onPress={() => setAsking({ decision: 'assign', selection })}>{t('act.assign')}</Button>
                  <Button kind="danger" onPress={() => setAsking({ decision: 'dismiss', selection })}>
                    {t('act.dismiss')}
                  </Button>
                </>
              )
            : undefined
        }
      />
      {asking && (
        <DecisionDialog
          decision={asking.decision}
          count={asking.selection?.count ?? 1}
          what={asking.failure ? [asking.failure.operation, asking.failure.label].filter(Boolean).join(' · ') : undefined}
          assignedTo={asking.failure?.assignedTo ?? ''}
          onClose={() => setAsking(undefined)}
          onDecide={(values) =>
            asking.failure
              ? decideOne(asking.failure, asking.decision, values)
              : asking.selection
                ? decideMany(asking.selection, asking.decision, values)
                : Promise.resolve(undefined)
          }
        />
      )}
      {bulkResult.dialog}
    </Page>
  );
}

function CauseLink({ cause, failures, current }: { cause: FailureCause; failures: string; current: boolean }) {
  const { t } = useTranslation('review');
  const [, setParams] = useSearchParams();
  return (
    <button
      type="button"
      className="cause-button"
      aria-pressed={current}
      onClick={() =>
        setParams((before) => {
          const next = new URLSearchParams(before);
          next.delete('id');
          if (current) next.delete('cause');
          else next.set('cause', cause);
          return next;
        })
      }
    >
      <strong>{failures}</strong> {t(`cause.${cause}`)}
    </button>
  );
}

interface LinkedFailureProps {
  id: string;
  users: boolean;
  detail: (failure: FailureFieldsFragment) => React.ReactNode;
}

/** The failure of a link that the filters leave out. */
function LinkedFailure({ id, users, detail }: LinkedFailureProps) {
  const { t } = useTranslation('review');
  const [{ data, error, fetching }] = useQuery({ query: failuresByIdQuery, variables: { ids: [id], users } });
  const failure = data?.nodes[0];
  if (error) return <ErrorPanel problem={toProblem(error)} />;
  if (fetching) return <Skeleton lines={6} />;
  return failure?.__typename === 'Failure' ? detail(failure) : <EmptyState icon="review" title={t('none.linked')} />;
}
