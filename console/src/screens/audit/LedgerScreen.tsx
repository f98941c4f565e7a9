// The ledger: every change, filtered, live while it happens; the story of one subject; one event in full.
import { useCallback, useEffect, useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useClient, useSubscription } from 'urql';
import { Link, useSearchParams } from 'wouter';
import { screenPath } from '../../app/paths.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { PlainDialog } from '../../components/ConfirmDialog.tsx';
import { type Column, TableFoot, VirtualTable } from '../../components/DataTable.tsx';
import { FilterBar, FilterChoice, FilterReset, FilterText, useQueryValue } from '../../components/FilterBar.tsx';
import { Page } from '../../components/Page.tsx';
import { Banner, EmptyState, ErrorPanel, Skeleton } from '../../components/states.tsx';
import { StatusBadge } from '../../components/StatusBadge.tsx';
import { Time } from '../../components/Time.tsx';
import { usePagedList } from '../../components/paging.ts';
import type { ActorKind, EventAction, EventFilter, LedgerQuery, StoryEventFragment, SubjectKind } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import { ChangeList, SUBJECT_SCREENS } from '../access/EventStory.tsx';
import { InstantField } from '../access/InstantField.tsx';
import { useConnectionChoices, useNameOf } from '../access/pickers.tsx';
import { ACTIONS, ACTOR_KINDS, SUBJECT_KINDS } from './kinds.ts';
import './audit.css';

const ledgerQuery = graphql(`
  query Ledger($filter: EventFilter, $after: String, $people: Boolean!) {
    organization {
      id
      events(first: 100, after: $after, filter: $filter) {
        pageInfo { hasNextPage endCursor }
        nodes { ...StoryEvent }
      }
    }
  }
`);

const tailSubscription = graphql(`
  subscription LedgerTail($filter: EventFilter, $after: Long, $people: Boolean!) {
    events(filter: $filter, after: $after) { ...StoryEvent }
  }
`);

const newestQuery = graphql(`
  query NewestEvents($filter: EventFilter, $people: Boolean!) {
    organization {
      id
      events(first: 50, filter: $filter) { nodes { ...StoryEvent } }
    }
  }
`);

type LedgerEvent = StoryEventFragment;

const pickEvents = (data: LedgerQuery) => data.organization?.events;
const FILTERS = ['name', 'actions', 'not', 'subject', 'concerns', 'actor', 'actorKind', 'kind', 'connection', 'request', 'since', 'until'] as const;
const POLL_MILLISECONDS = 5_000;
const MAX_LIVE = 1_000;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

const listOf = <T extends string>(value: string | null, known: readonly T[]): T[] | null => {
  const found = (value ?? '').split(',').flatMap((each) => known.find((one) => one === each) ?? []);
  return found.length > 0 ? found : null;
};

/** The filter that an address names. */
function readFilter(params: URLSearchParams, people: boolean): EventFilter {
  const request = params.get('request')?.trim();
  return {
    actions: listOf<EventAction>(params.get('actions'), ACTIONS),
    notActions: listOf<EventAction>(params.get('not'), ACTIONS),
    // Only who may read names may search by them.
    subjectName: (people && params.get('name')?.trim()) || null,
    subjectId: params.get('subject'),
    concerns: params.get('concerns'),
    actorId: params.get('actor'),
    actorKind: listOf<ActorKind>(params.get('actorKind'), ACTOR_KINDS)?.[0] ?? null,
    subjectKind: listOf<SubjectKind>(params.get('kind'), SUBJECT_KINDS)?.[0] ?? null,
    connectionId: params.get('connection'),
    requestId: request && UUID.test(request) ? request : null,
    since: params.get('since'),
    until: params.get('until'),
  };
}

export function LedgerScreen() {
  const { t } = useTranslation('audit');
  const { t: common } = useTranslation();
  const viewer = useViewer();
  const people = viewer.may('USER_READ');
  const iam = viewer.may('IAM_READ');
  const [params] = useSearchParams();
  const [since, setSince] = useQueryValue('since');
  const [until, setUntil] = useQueryValue('until');
  const [opened, setOpened] = useQueryValue('event');
  const [live, setLive] = useQueryValue('live');
  const key = params.toString();
  const filter = useMemo(() => readFilter(new URLSearchParams(key), people), [key, people]);
  const filterKey = JSON.stringify(filter);
  const variables = useMemo(() => ({ filter: JSON.parse(filterKey) as EventFilter, people }), [filterKey, people]);
  const list = usePagedList(ledgerQuery, variables, pickEvents);
  const newest = list.rows.find((event) => event.seq != null)?.seq ?? undefined;
  const tail = useTail(live === 'yes' && !list.loading, variables, newest);
  const rows = useMemo(() => {
    if (tail.events.length === 0) return list.rows;
    const known = new Set(tail.events.map(({ id }) => id));
    return [...tail.events, ...list.rows.filter(({ id }) => !known.has(id))];
  }, [tail.events, list.rows]);
  const connections = useConnectionChoices(!iam);
  const concerns = params.get('concerns') ?? undefined;
  const storyName = useNameOf(concerns, people);
  const badRequest = params.get('request') !== null && filter.requestId === null;
  const event = rows.find(({ id }) => id === opened);
  const filtered = FILTERS.some((name) => params.has(name));
  const choices = useMemo(
    () => ACTIONS.map((value) => ({ value, text: common(`action.${value}`) })).sort((a, b) => a.text.localeCompare(b.text)),
    [common],
  );

  const columns = useMemo<Column<LedgerEvent>[]>(
    () => [
      { key: 'at', title: t('column.at'), cell: (row) => <Time at={row.at} exact /> },
      {
        key: 'action',
        title: t('column.action'),
        header: true,
        cell: (row) => (
          <button type="button" className="link-button" onClick={() => setOpened(row.id)}>
            {common(`action.${row.action}`)}
          </button>
        ),
      },
      {
        key: 'subject',
        title: t('column.subject'),
        cell: (row) => <span dir="auto">{row.subjectName ?? t(`subject.${row.subjectKind}`)}</span>,
      },
      {
        key: 'actor',
        title: t('column.actor'),
        cell: (row) => (
          <span dir="auto" title={common(`actorKind.${row.actor.kind}`)}>
            {row.actor.name}
          </span>
        ),
      },
      { key: 'seq', title: t('column.seq'), numeric: true, cell: (row) => row.seq ?? <span className="muted">{t('unsealed')}</span> },
    ],
    // `setOpened` is another function each time and always does the same.
    [t, common],
  );

  return (
    <Page
      title={concerns === undefined ? t('title') : t('story', { name: storyName ?? '…' })}
      lead={concerns === undefined ? t('lead') : t('storyLead')}
      actions={
        <Button kind={live === 'yes' ? 'primary' : 'secondary'} icon="sync" aria-pressed={live === 'yes'} onPress={() => setLive(live === 'yes' ? undefined : 'yes')}>
          {t('tail.label')}
        </Button>
      }
    >
      <FilterBar label={t('filter.label')}>
        {people && <FilterText name="name" label={t('filter.name')} />}
        <FilterChoice name="actions" label={t('filter.action')} choices={choices} />
        <FilterChoice name="not" label={t('filter.not')} choices={choices} />
        <FilterChoice name="kind" label={t('filter.kind')} choices={SUBJECT_KINDS.map((value) => ({ value, text: t(`subject.${value}`) }))} />
        <FilterChoice
          name="actorKind"
          label={t('filter.actorKind')}
          choices={ACTOR_KINDS.map((value) => ({ value, text: common(`actorKind.${value}`) }))}
        />
        {iam && <FilterChoice name="connection" label={t('filter.connection')} choices={connections} />}
        <FilterText name="request" label={t('filter.request')} />
        <FilterText name="actor" label={t('filter.actor')} />
        <InstantField label={t('filter.since')} value={since} onChange={setSince} />
        <InstantField label={t('filter.until')} value={until} onChange={setUntil} />
        <FilterReset names={FILTERS} />
      </FilterBar>
      {live === 'yes' && (
        <p role="status" className="tail-state">
          <StatusBadge tone={tail.polling ? 'warning' : 'good'}>{t(tail.polling ? 'tail.polling' : 'tail.live')}</StatusBadge>{' '}
          {t('tail.count', { count: tail.events.length })}
        </p>
      )}
      {badRequest && <Banner kind="warning" title={t('filter.badRequest')} />}
      {list.problem && <ErrorPanel problem={list.problem} onRetry={list.reload} />}
      {!list.problem && rows.length === 0 && list.loading && <Skeleton lines={10} />}
      {!list.problem && rows.length === 0 && !list.loading && (
        <EmptyState icon="audit" title={filtered ? t('empty.filtered') : t('empty.title')}>
          <p>{filtered ? t('empty.filteredText') : t('empty.text')}</p>
        </EmptyState>
      )}
      {rows.length > 0 && (
        <div className="stack">
          <VirtualTable
            label={t('title')}
            columns={columns}
            rows={rows}
            rowKey={(row) => row.id}
            onEnd={list.loadMore}
            template="ledger"
          />
          <TableFoot shown={rows.length} loading={list.loading} />
        </div>
      )}
      <PlainDialog isOpen={event !== undefined} onClose={() => setOpened(undefined)} title={event ? common(`action.${event.action}`) : ''}>
        {event && <EventDetails event={event} />}
      </PlainDialog>
    </Page>
  );
}

interface TailVariables {
  filter: EventFilter;
  people: boolean;
}

/** Events as they happen; where the stream does not get through, asked for every few seconds. */
function useTail(on: boolean, variables: TailVariables, after: number | undefined) {
  const client = useClient();
  const key = JSON.stringify(variables);
  const [state, setState] = useState<{ key: string; events: readonly LedgerEvent[] }>({ key, events: [] });
  // Where the stream begins: set once for each filter, so that it is not begun anew with each event.
  const [begin, setBegin] = useState<{ key: string; after: number | null }>();
  useEffect(() => {
    if (!on) setBegin(undefined);
    else setBegin((before) => (before?.key === key ? before : { key, after: after ?? null }));
  }, [on, key, after]);
  const add = useCallback(
    (found: readonly LedgerEvent[]) => {
      setState((before) => {
        const old = before.key === key ? before.events : [];
        const ids = new Set(found.map(({ id }) => id));
        return { key, events: [...found, ...old.filter(({ id }) => !ids.has(id))].slice(0, MAX_LIVE) };
      });
    },
    [key],
  );
  const [stream] = useSubscription(
    { query: tailSubscription, variables: { ...variables, after: begin?.after ?? null }, pause: !on || begin?.key !== key },
    (_, data) => {
      add([data.events]);
      return data;
    },
  );
  const polling = on && stream.error !== undefined;
  useEffect(() => {
    if (!polling) return;
    const began = new Date().toISOString();
    const ask = async () => {
      const { filter, people } = JSON.parse(key) as TailVariables;
      const { data } = await client
        .query(newestQuery, { people, filter: { ...filter, since: filter.since ?? began } }, { requestPolicy: 'network-only' })
        .toPromise();
      const nodes = data?.organization?.events?.nodes;
      if (nodes) add(nodes);
    };
    const timer = setInterval(() => void ask(), POLL_MILLISECONDS);
    return () => clearInterval(timer);
  }, [polling, key, client, add]);
  return { events: state.key === key ? state.events : [], polling };
}

function EventDetails({ event }: { event: LedgerEvent }) {
  const { t } = useTranslation('audit');
  const { t: common } = useTranslation();
  const viewer = useViewer();
  const { slug } = viewer.organization;
  const audit = screenPath(slug, 'audit');
  const screen = SUBJECT_SCREENS[event.subjectKind];
  return (
    <>
      <dl className="details">
        <dt>{t('column.seq')}</dt>
        <dd>{event.seq ?? t('unsealed')}</dd>
        <dt>{t('column.at')}</dt>
        <dd>
          <Time at={event.at} exact />
        </dd>
        <dt>{t('details.requested')}</dt>
        <dd>
          <Time at={event.requestedAt} exact />
        </dd>
        <dt>{t('column.actor')}</dt>
        <dd dir="auto">
          {event.actor.name} ({common(`actorKind.${event.actor.kind}`)}){' '}
          {event.actor.actorId && <Link href={`${audit}?actor=${encodeURIComponent(event.actor.actorId)}`}>{t('details.byActor')}</Link>}
        </dd>
        <dt>{t('column.subject')}</dt>
        <dd dir="auto">
          {event.subjectName ?? t(`subject.${event.subjectKind}`)}{' '}
          {event.subjectId && <Link href={`${audit}?concerns=${encodeURIComponent(event.subjectId)}`}>{t('details.story')}</Link>}{' '}
          {event.subjectId && screen && (
            <Link href={screenPath(slug, `${screen}/${encodeURIComponent(event.subjectId)}`)}>{t('details.open')}</Link>
          )}
        </dd>
        {event.reason && (
          <>
            <dt>{t('details.reason')}</dt>
            <dd dir="auto">{event.reason}</dd>
          </>
        )}
        <dt>{t('filter.request')}</dt>
        <dd>
          <Link href={`${audit}?request=${encodeURIComponent(event.requestId)}`}>
            <code>{event.requestId}</code>
          </Link>
        </dd>
        {event.hash && (
          <>
            <dt>{t('details.hash')}</dt>
            <dd>
              <code>{event.hash}</code>
            </dd>
          </>
        )}
      </dl>
      <ChangeList id={event.id} before={event.before} after={event.after} />
    </>
  );
}
