// How many requests came in each hour of the last day.
import type { TypedDocumentNode } from '@graphql-typed-document-node/core';
import { useMemo } from 'react';
import { useQuery } from 'urql';
import type { RhythmQuery, RhythmQueryVariables } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';

export const HOURS = 24;
const HOUR_MILLISECONDS = 3_600_000;
const TROUBLED = ['REFUSED', 'FAILED'];

const rhythmQuery: TypedDocumentNode<RhythmQuery, RhythmQueryVariables> = graphql(`
  query Rhythm($filter: RequestLogEntryFilter) {
    organization {
      id
      requestLog(first: 100, filter: $filter) {
        pageInfo { hasNextPage }
        nodes { hour outcome count connection { id } }
      }
    }
  }
`);

export interface Rhythm {
  requests: number[];
  troubles: number[];
}

const thisHour = () => Math.floor(Date.now() / HOUR_MILLISECONDS) * HOUR_MILLISECONDS;

/** The beginning of each hour, the earliest first. */
export const hourStarts = () =>
  Array.from({ length: HOURS }, (_, index) => thisHour() - (HOURS - 1 - index) * HOUR_MILLISECONDS);

/** By connection; `cut` says that there was more than one page of kinds of requests, so that early hours may lack some. */
export function useRhythm(connectionId?: string, pause = false) {
  const since = new Date(thisHour() - (HOURS - 1) * HOUR_MILLISECONDS).toISOString();
  const filter = useMemo(
    () => ({ since, ...(connectionId === undefined ? {} : { connectionId }) }),
    [since, connectionId],
  );
  const [{ data, fetching }, reload] = useQuery({ query: rhythmQuery, variables: { filter }, pause });
  const log = data?.organization?.requestLog;
  const rhythms = useMemo(() => {
    const found = new Map<string, Rhythm>();
    const first = Date.parse(since);
    for (const entry of log?.nodes ?? []) {
      const id = entry.connection?.id;
      const place = Math.floor((Date.parse(entry.hour) - first) / HOUR_MILLISECONDS);
      if (id === undefined || place < 0 || place >= HOURS) continue;
      const rhythm = found.get(id) ?? { requests: Array(HOURS).fill(0), troubles: Array(HOURS).fill(0) };
      rhythm.requests[place] = (rhythm.requests[place] ?? 0) + entry.count;
      if (TROUBLED.includes(entry.outcome)) rhythm.troubles[place] = (rhythm.troubles[place] ?? 0) + entry.count;
      found.set(id, rhythm);
    }
    return found;
  }, [log, since]);
  return { rhythms, loaded: data !== undefined, fetching, cut: log?.pageInfo.hasNextPage ?? false, reload };
}
