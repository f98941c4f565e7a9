// A job as it goes: over the subscription, and by asking again where events do not get through.
import { useEffect, useRef } from 'react';
import { useTranslation } from 'react-i18next';
import { useQuery, useSubscription } from 'urql';
import type { JobProgressSubscription, JobState } from '../generated/graphql.ts';
import { graphql } from '../generated/index.ts';
import { Icon } from './Icon.tsx';
import { useVisible } from './useLive.ts';

const jobProgressSubscription = graphql(`
  subscription JobProgress($id: ID!) {
    jobProgress(id: $id) {
      __typename
      id
      state
      progress { done total }
      counts { read created updated deleted kept failed }
      userErrors { code reason message nextStep }
      endedAt
    }
  }
`);

const jobQuery = graphql(`
  query Job($id: ID!) {
    node(id: $id) {
      __typename
      id
      ... on Job {
        state
        progress { done total }
        counts { read created updated deleted kept failed }
        userErrors { code reason message nextStep }
        endedAt
      }
    }
  }
`);

export type Job = JobProgressSubscription['jobProgress'];

const ENDED: readonly JobState[] = ['SUCCEEDED', 'REFUSED', 'FAILED', 'CANCELLED'];
const POLL_MILLISECONDS = 2_000;

export const hasEnded = (state: JobState) => ENDED.includes(state);

/** Follows a job; `onEnd` is called once, when it has ended. */
export function useJob(id: string | undefined, onEnd?: (job: Job) => void): Job | undefined {
  const visible = useVisible();
  const paused = id === undefined || !visible;
  const [live] = useSubscription({ query: jobProgressSubscription, variables: { id: id ?? '' }, pause: paused });
  const lost = !paused && (live.error !== undefined || (!live.fetching && live.data === undefined));
  const [asked, askAgain] = useQuery({
    query: jobQuery,
    variables: { id: id ?? '' },
    pause: paused || !live.error,
    requestPolicy: 'network-only',
  });
  const fallback = asked.data?.node && 'state' in asked.data.node ? (asked.data.node as Job) : undefined;
  const job = id === undefined ? undefined : (fallback ?? live.data?.jobProgress);
  const ended = job !== undefined && hasEnded(job.state);

  useEffect(() => {
    if (!lost || ended || !live.error) return;
    const timer = setInterval(() => askAgain({ requestPolicy: 'network-only' }), POLL_MILLISECONDS);
    return () => clearInterval(timer);
  }, [lost, ended, live.error, askAgain]);

  const told = useRef<string>(undefined);
  const callback = useRef(onEnd);
  callback.current = onEnd;
  useEffect(() => {
    if (!job || !ended || told.current === job.id) return;
    told.current = job.id;
    callback.current?.(job);
  }, [job, ended]);
  return job;
}

interface JobBarProps {
  label: string;
  state: JobState;
  done: number;
  total: number | null | undefined;
}

export function JobBar({ label, state, done, total }: JobBarProps) {
  const { t, i18n } = useTranslation();
  const number = new Intl.NumberFormat(i18n.language);
  const running = !hasEnded(state);
  const text =
    total == null ? t('job.done', { done: number.format(done) }) : t('job.of', { done: number.format(done), total: number.format(total) });
  return (
    <div className="job">
      <p>
        {running && <Icon name="sync" spin />} {label} <span className="muted">{t(`job.states.${state}`)}</span>
      </p>
      <progress aria-label={label} max={total ?? undefined} value={total == null && running ? undefined : done} />
      <p className="muted">{text}</p>
    </div>
  );
}
