// Events of the ledger as a story: what happened, who did it, what changed.
import { Fragment, type ReactNode, useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useQuery } from 'urql';
import { Link } from 'wouter';
import { screenPath } from '../../app/paths.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { EmptyState, ErrorPanel, Skeleton, toProblem } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import type { EventFilter, EventMentionsQuery, StoryEventFragment, SubjectKind } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import './access.css';

export const storyEventFragment = graphql(`
  fragment StoryEvent on Event {
    id
    seq
    at
    requestedAt
    action
    subjectKind
    subjectId
    subjectName @include(if: $people)
    connectionId
    requestId
    reason @include(if: $people)
    before @include(if: $people)
    after @include(if: $people)
    hash
    actor { kind actorId name }
  }
`);

const storyQuery = graphql(`
  query Story($filter: EventFilter, $first: Int!, $people: Boolean!) {
    organization {
      id
      events(first: $first, filter: $filter) {
        pageInfo { hasNextPage }
        nodes { ...StoryEvent }
      }
    }
  }
`);

const mentionsQuery = graphql(`
  query EventMentions($id: ID!) {
    node(id: $id) {
      id
      ... on Event { mentions { value subjectKind subjectId subjectName } }
    }
  }
`);

type Mention = NonNullable<Extract<NonNullable<EventMentionsQuery['node']>, { mentions: unknown }>['mentions']>[number];

/** The screen that shows a subject, where there is one. */
export const SUBJECT_SCREENS: Partial<Record<SubjectKind, string>> = {
  USER: 'people',
  GROUP: 'groups',
  ROLE: 'roles',
  ROLE_MAPPING: 'mappings',
  CONNECTION: 'connections',
  DESTINATION: 'destinations',
};

const UUID = /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/;

/** The objects that the values of an event name by their ids, by these ids. */
function useMentions(id: string, values: readonly unknown[]): ReadonlyMap<string, Mention> {
  const viewer = useViewer();
  const named = viewer.may('USER_READ') && UUID.test(JSON.stringify(values));
  const [{ data }] = useQuery({ query: mentionsQuery, variables: { id }, pause: !named });
  const found = data?.node && 'mentions' in data.node ? data.node.mentions : null;
  return useMemo(() => new Map((found ?? []).map((mention) => [mention.value, mention])), [found]);
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A value of an event in words; what an identity provider sent stays text. */
export function showValue(value: unknown): string {
  if (value === undefined || value === null) return '–';
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  if (Array.isArray(value)) return value.length === 0 ? '–' : value.map(showValue).join(', ');
  if (isRecord(value)) {
    const name = value.name ?? value.displayName ?? value.userName ?? value.value;
    if (typeof name === 'string') return name;
    return Object.entries(value)
      .map(([key, inner]) => `${key}: ${showValue(inner)}`)
      .join('; ');
  }
  return String(value);
}

const MAX_SHOWN = 10;

type Mentions = ReadonlyMap<string, Mention>;

/** A value; an object that it names by its id is shown by what it was called then, with the way to it. */
function ShownValue({ value, mentions }: { value: unknown; mentions: Mentions }) {
  const { t } = useTranslation('access');
  const { organization } = useViewer();
  if (Array.isArray(value) && value.some((entry) => typeof entry === 'string' && mentions.has(entry))) {
    return value.map((entry, index) => (
      <Fragment key={index}>
        {index > 0 && ', '}
        <ShownValue value={entry} mentions={mentions} />
      </Fragment>
    ));
  }
  const mention = typeof value === 'string' ? mentions.get(value) : undefined;
  if (!mention) return showValue(value);
  const name = mention.subjectName ?? t('event.unnamed');
  const screen = SUBJECT_SCREENS[mention.subjectKind];
  const title = showValue(value);
  if (!mention.subjectId || !screen) {
    return (
      <bdi title={title}>
        {name}
      </bdi>
    );
  }
  return (
    <Link href={screenPath(organization.slug, `${screen}/${encodeURIComponent(mention.subjectId)}`)} title={title}>
      <bdi>{name}</bdi>
    </Link>
  );
}

/** The entries of a long list that went or came: how many, and the first of them. */
function EntryList({ values, kind, mentions }: { values: readonly unknown[]; kind: 'went' | 'came'; mentions: Mentions }) {
  const { t } = useTranslation('access');
  const rest = values.length - MAX_SHOWN;
  return (
    <>
      {t(`event.${kind}`, { count: values.length })}{' '}
      {values.slice(0, MAX_SHOWN).map((value, index) => (
        <Fragment key={index}>
          {index > 0 && ', '}
          <ShownValue value={value} mentions={mentions} />
        </Fragment>
      ))}{' '}
      {rest > 0 && t('event.others', { count: rest })}
    </>
  );
}

const entriesOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);

/** What changed, attribute by attribute. Of the members of a group an event has only those that went and that came. */
export function ChangeList({ id, before, after }: { id: string; before: unknown; after: unknown }) {
  const { t } = useTranslation('access');
  const mentions = useMentions(id, [before, after]);
  const earlier = isRecord(before) ? before : {};
  const later = isRecord(after) ? after : {};
  const keys = [...new Set([...Object.keys(earlier), ...Object.keys(later)])].filter(
    (key) => JSON.stringify(earlier[key]) !== JSON.stringify(later[key]),
  );
  if (keys.length === 0) return null;
  return (
    <dl className="changes" aria-label={t('event.changes')}>
      {keys.map((key) => (
        <div key={key}>
          <dt>
            <code>{key}</code>
          </dt>
          <dd dir="auto">
            {key === 'members' ? (
              <>
                {entriesOf(earlier[key]).length > 0 && (
                  <p className="went">
                    <EntryList values={entriesOf(earlier[key])} kind="went" mentions={mentions} />
                  </p>
                )}
                {entriesOf(later[key]).length > 0 && (
                  <p className="came">
                    <EntryList values={entriesOf(later[key])} kind="came" mentions={mentions} />
                  </p>
                )}
              </>
            ) : (
              <>
                {key in earlier && (
                  <del>
                    <ShownValue value={earlier[key]} mentions={mentions} />
                  </del>
                )}{' '}
                {key in later && (
                  <ins>
                    <ShownValue value={later[key]} mentions={mentions} />
                  </ins>
                )}
              </>
            )}
          </dd>
        </div>
      ))}
    </dl>
  );
}

export function StoryItem({ event }: { event: StoryEventFragment }) {
  const { t } = useTranslation('access');
  const { t: common } = useTranslation();
  const viewer = useViewer();
  const [open, setOpen] = useState(false);
  const hasValues = isRecord(event.before) || isRecord(event.after);
  return (
    <li className="story-item">
      <div className="story-head">
        <strong>{common(`action.${event.action}`)}</strong>
        {event.subjectName && (
          <span dir="auto" className="story-subject">
            {event.subjectName}
          </span>
        )}
        <Time at={event.at} />
      </div>
      <p className="muted">
        {t('event.by')} <span dir="auto">{event.actor.name}</span> ({common(`actorKind.${event.actor.kind}`)}) ·{' '}
        <Link href={`${screenPath(viewer.organization.slug, 'audit')}?request=${encodeURIComponent(event.requestId)}`}>
          {event.seq == null ? t('event.unsealed') : t('event.number', { seq: event.seq })}
        </Link>
      </p>
      {event.reason && (
        <p dir="auto">
          {t('event.reason')} {event.reason}
        </p>
      )}
      {hasValues && (
        <button type="button" className="disclosure" aria-expanded={open} onClick={() => setOpen(!open)}>
          {open ? t('event.hide') : t('event.show')}
        </button>
      )}
      {open && <ChangeList id={event.id} before={event.before} after={event.after} />}
    </li>
  );
}

interface StoryProps {
  filter: EventFilter;
  /** Where the whole story is shown. */
  href?: string;
  empty: ReactNode;
}

const PAGE = 20;
const MAX_PAGE = 100;

/** The newest events that match a filter, and the way to more of them. */
export function Story({ filter, href, empty }: StoryProps) {
  const { t } = useTranslation('access');
  const viewer = useViewer();
  const [first, setFirst] = useState(PAGE);
  const [{ data, error, fetching }, again] = useQuery({
    query: storyQuery,
    variables: { filter, first, people: viewer.may('USER_READ') },
  });
  const page = data?.organization?.events;
  if (error && !page) return <ErrorPanel problem={toProblem(error)} onRetry={() => again({ requestPolicy: 'network-only' })} />;
  if (!page) return <Skeleton lines={4} />;
  if (page.nodes.length === 0) return <EmptyState icon="audit" title={t('event.none')}>{empty}</EmptyState>;
  return (
    <>
      <ol className="story">
        {page.nodes.map((event) => (
          <StoryItem key={event.id} event={event} />
        ))}
      </ol>
      <div className="actions">
        {page.pageInfo.hasNextPage && first < MAX_PAGE && (
          <Button busy={fetching} onPress={() => setFirst(MAX_PAGE)}>
            {t('event.more')}
          </Button>
        )}
        {href && <Link href={href}>{t('event.whole')}</Link>}
      </div>
    </>
  );
}
