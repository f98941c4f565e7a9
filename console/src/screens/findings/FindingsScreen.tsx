// Findings: differences between rolecall and the identity providers, each with the decisions that the viewer may make.
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useQuery } from 'urql';
import { Link, useSearchParams } from 'wouter';
import { oneOf } from '../../app/address.ts';
import { screenPath } from '../../app/paths.ts';
import { useAction } from '../../app/useAction.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { FilterBar, FilterChoice, FilterReset } from '../../components/FilterBar.tsx';
import { Page } from '../../components/Page.tsx';
import { usePagedList } from '../../components/paging.ts';
import { EmptyState, ErrorPanel, Skeleton, toProblem } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import { notify } from '../../components/toasts.tsx';
import { useMessageText } from '../../components/useServerText.ts';
import type {
  FindingChoice,
  FindingFieldsFragment,
  FindingFilter,
  FindingKind,
  FindingState,
  FindingsQuery,
} from '../../generated/graphql.ts';
import { FilterState } from '../review/FilterState.tsx';
import { type Selection, Workbench } from '../review/Workbench.tsx';
import { useBulk, useBulkResult } from '../review/bulk.tsx';
import { ChoiceDialog, type ChoiceValues } from './ChoiceDialog.tsx';
import { FindingBadge, FindingDetail } from './FindingDetail.tsx';
import { findingQuery, findingsQuery, findingsSideQuery, resolveManyMutation, resolveMutation } from './finding.ts';
import '../review/review.css';

const STATES: readonly FindingState[] = ['OPEN', 'ACCEPTED', 'RESOLVED', 'GONE'];
const KINDS: readonly FindingKind[] = ['MISSING_HERE', 'ORPHANED_HERE', 'DRIFTED', 'MEMBERSHIP', 'NAME_CLASH', 'MANAGER_GONE', 'CLAIMS_DIFFER'];
const CHOICES: readonly FindingChoice[] = ['ADOPT', 'SUSPEND', 'DELETE', 'ACCEPT'];
/** The keys of the decisions: one for each, by the first letter where that is free. */
const KEYS: Record<FindingChoice, string> = { ADOPT: 'o', SUSPEND: 's', DELETE: 'd', ACCEPT: 'a' };

const pick = (data: FindingsQuery) => data.organization?.findings;

interface Asking {
  choice: FindingChoice;
  finding?: FindingFieldsFragment;
  selection?: Selection;
}

export default function FindingsScreen() {
  const { t } = useTranslation('findings');
  const { t: common } = useTranslation();
  const viewer = useViewer();
  const users = viewer.may('USER_READ');
  const audit = viewer.may('AUDIT_READ');
  const mayWrite = viewer.may('REVIEW_WRITE');
  const [params] = useSearchParams();
  const stateAsked = params.get('state') ?? undefined;
  const states = useMemo(
    () => (stateAsked === 'all' ? STATES : [oneOf(STATES, stateAsked) ?? ('OPEN' as const)]),
    [stateAsked],
  );
  const kind = oneOf(KINDS, params.get('kind') ?? undefined);
  const connectionId = params.get('connection') ?? undefined;
  const userId = params.get('user') ?? undefined;
  const leaversOnly = params.get('only') === 'leavers';
  const filter: FindingFilter = {
    states: [...states],
    leaversOnly,
    ...(kind && { kinds: [kind] }),
    ...(connectionId !== undefined && { connectionId }),
    ...(userId !== undefined && { userId }),
  };
  const list = usePagedList(findingsQuery, { filter, users, audit }, pick);
  const [side] = useQuery({ query: findingsSideQuery });
  const [changed, setChanged] = useState<ReadonlyMap<string, FindingFieldsFragment>>(new Map());
  const current = list.rows.map((row) => changed.get(row.id) ?? row);
  const rows = current.filter((row) => states.includes(row.state));
  const gone = current.length - rows.length;
  const total = list.total === undefined ? undefined : Math.max(list.total - gone, rows.length);
  const reload = () => {
    setChanged(new Map());
    list.reload();
  };

  const [asking, setAsking] = useState<Asking>();
  const say = useMessageText();
  const { run: resolve } = useAction(resolveMutation);
  const resolveMany = useBulk(resolveManyMutation, (data) => data.findingsResolve);
  const bulkResult = useBulkResult();
  const decide = async (values: ChoiceValues) => {
    if (!asking) return undefined;
    const { choice, finding, selection } = asking;
    const decision = { choice, reason: values.reason.trim() || null, ...(values.until && { until: values.until }) };
    if (finding) {
      const { payload, problem } = await resolve({ input: { id: finding.id, ...decision }, users, audit });
      if (problem) return problem;
      const after = payload.finding;
      if (after) setChanged((before) => new Map(before).set(after.id, after));
      notify({ kind: 'success', text: t(`done.${choice}`) });
      return undefined;
    }
    if (!selection) return undefined;
    const answer = await resolveMany({
      input: { ...(selection.all ? { filter } : { ids: [...selection.ids] }), ...decision },
    });
    if ('problem' in answer) return answer.problem;
    bulkResult.show(answer.result);
    reload();
    return undefined;
  };
  const ask = (choice: FindingChoice) => (finding: FindingFieldsFragment) => {
    if (finding.choices.includes(choice)) setAsking({ choice, finding });
    else notify({ kind: 'info', text: t('notPossible'), detail: say(finding.nextStep, finding.nextStepParts) });
  };
  const connections = side.data?.organization?.connections?.nodes ?? [];
  const filtered = [kind, connectionId, userId, stateAsked].some((value) => value !== undefined) || leaversOnly;
  const detail = (finding: FindingFieldsFragment) => (
    <FindingDetail finding={finding} onChoose={mayWrite ? (choice) => ask(choice)(finding) : undefined} />
  );

  return (
    <Page
      title={common('menu.findings')}
      lead={t('lead')}
      actions={<Link href={screenPath(viewer.organization.slug, 'jobs/comparisons')}>{t('comparisons')}</Link>}
    >
      <FilterBar label={t('filters')}>
        <FilterChoice
          name="kind"
          label={t('filter.kind')}
          choices={KINDS.map((value) => ({ value, text: t(`kind.${value}`) }))}
        />
        <FilterState
          label={t('filter.state')}
          otherwise={t('filter.open')}
          choices={[...STATES.filter((value) => value !== 'OPEN').map((value) => ({ value: value as string, text: t(`state.${value}`) })), { value: 'all', text: t('filter.every') }]}
        />
        <FilterChoice
          name="connection"
          label={t('filter.connection')}
          choices={connections.map(({ id, name }) => ({ value: id, text: name }))}
        />
        <FilterChoice name="only" label={t('filter.only')} choices={[{ value: 'leavers', text: t('filter.leavers') }]} />
        <FilterReset names={['kind', 'state', 'connection', 'only', 'user']} />
        <Button icon="reload" onPress={reload}>
          {common('state.reload')}
        </Button>
      </FilterBar>
      <Workbench
        label={common('menu.findings')}
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
        name={(row) => [t(`kind.${row.kind}`), row.label].filter(Boolean).join(' · ')}
        line={(row) => (
          <>
            <span className="line-title">{row.label ?? t('unnamed')}</span>
            <span className="line-text">
              {t(`kind.${row.kind}`)}
              {row.leaver && <> · {t('leaver')}</>}
            </span>
            <span className="line-foot">
              <FindingBadge state={row.state} />
              <span className="muted">
                {row.connection?.name} · <Time at={row.lastSeenAt} />
              </span>
            </span>
          </>
        )}
        detail={detail}
        linked={(id) => <LinkedFinding id={id} users={users} audit={audit} detail={detail} />}
        shortcuts={mayWrite ? CHOICES.map((choice) => ({ key: KEYS[choice], title: t(`choice.${choice}`), run: ask(choice) })) : []}
        bulk={
          mayWrite
            ? (selection) => (
                <>
                  {CHOICES.map((choice) => (
                    <Button
                      key={choice}
                      kind={choice === 'DELETE' || choice === 'SUSPEND' ? 'danger' : 'secondary'}
                      onPress={() => setAsking({ choice, selection })}
                    >
                      {t(`choice.${choice}`)}
                    </Button>
                  ))}
                </>
              )
            : undefined
        }
      />
      {asking && (
        <ChoiceDialog
          choice={asking.choice}
          count={asking.selection?.count ?? 1}
          finding={asking.finding}
          onClose={() => setAsking(undefined)}
          onDecide={decide}
        />
      )}
      {bulkResult.dialog}
    </Page>
  );
}

interface LinkedFindingProps {
  id: string;
  users: boolean;
  audit: boolean;
  detail: (finding: FindingFieldsFragment) => React.ReactNode;
}

/** The finding of a link that the filters leave out. */
function LinkedFinding({ id, users, audit, detail }: LinkedFindingProps) {
  const { t } = useTranslation('findings');
  const [{ data, error, fetching }] = useQuery({ query: findingQuery, variables: { id, users, audit } });
  const finding = data?.organization?.finding;
  if (error) return <ErrorPanel problem={toProblem(error)} />;
  if (fetching) return <Skeleton lines={6} />;
  return finding ? detail(finding) : <EmptyState icon="finding" title={t('none.linked')} />;
}
