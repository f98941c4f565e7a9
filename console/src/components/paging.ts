// Lists that are read page by page, as Relay's connections give them.
import type { TypedDocumentNode } from '@graphql-typed-document-node/core';
import { useCallback, useEffect, useRef, useState } from 'react';
import { type AnyVariables, useClient } from 'urql';
import { type Problem, toProblem } from './states.tsx';

export interface PageOf<Row> {
  nodes: readonly Row[];
  pageInfo: { hasNextPage: boolean; endCursor?: string | null };
  totalCount?: number;
}

export interface PagedList<Row> {
  rows: readonly Row[];
  total: number | undefined;
  hasMore: boolean;
  loading: boolean;
  problem: Problem | undefined;
  loadMore: () => void;
  reload: () => void;
}

interface State<Row> {
  key: string;
  rows: readonly Row[];
  total: number | undefined;
  cursor: string | null;
  hasMore: boolean;
  loading: boolean;
  problem: Problem | undefined;
}

/**
 * Loads the pages of a list one after another. `variables` without `after`; other variables begin the list anew. `pick`
 * takes the page out of the data and should be a function outside of the component.
 */
export function usePagedList<Data, Variables extends AnyVariables & { after?: string | null }, Row>(
  document: TypedDocumentNode<Data, Variables>,
  variables: Omit<Variables, 'after'>,
  pick: (data: Data) => PageOf<Row> | null | undefined,
): PagedList<Row> {
  const client = useClient();
  const [turn, setTurn] = useState(0);
  const key = `${JSON.stringify(variables)} ${turn}`;
  const empty: State<Row> = { key, rows: [], total: undefined, cursor: null, hasMore: true, loading: true, problem: undefined };
  const [state, setState] = useState(empty);
  const shown = state.key === key ? state : { ...empty, rows: state.rows, total: state.total };
  const asking = useRef<string>(undefined);

  const load = useCallback(
    async (cursor: string | null) => {
      const question = `${key} ${cursor}`;
      if (asking.current === question) return;
      asking.current = question;
      setState((before) => ({ ...before, loading: true, problem: undefined }));
      const asked = { ...(JSON.parse(key.slice(0, key.lastIndexOf(' '))) as object), after: cursor } as Variables;
      const { data, error } = await client.query(document, asked, { requestPolicy: 'network-only' }).toPromise();
      if (asking.current !== question) return;
      asking.current = undefined;
      const page = data && pick(data);
      setState((before) => {
        if (error || !page) {
          const problem = error ? toProblem(error) : { code: 'INTERNAL', message: '' };
          return { ...(before.key === key ? before : { ...empty }), key, loading: false, problem };
        }
        return {
          key,
          rows: cursor === null ? page.nodes : [...before.rows, ...page.nodes],
          total: page.totalCount ?? (cursor === null ? undefined : before.total),
          cursor: page.pageInfo.endCursor ?? null,
          hasMore: page.pageInfo.hasNextPage,
          loading: false,
          problem: undefined,
        };
      });
    },
    // `empty` follows from `key`.
    [client, document, key, pick],
  );

  useEffect(() => void load(null), [load]);

  const loadMore = useCallback(() => {
    if (state.key === key && state.hasMore && !state.loading && !state.problem) void load(state.cursor);
  }, [key, load, state]);
  const reload = useCallback(() => setTurn((count) => count + 1), []);
  return { ...shown, loadMore, reload };
}
