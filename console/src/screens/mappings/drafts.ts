// Changes of mappings that were collected and not applied yet. They belong to the session: signing out forgets them.
import { useCallback, useSyncExternalStore } from 'react';
import { type Client, useClient } from 'urql';
import type { AccessEditInput } from '../../generated/graphql.ts';

export interface Draft {
  key: string;
  kind: 'create' | 'update' | 'remove' | 'restore';
  /** What is mapped: a group, a group that is awaited, or a connection. */
  from: string;
  role: string;
  edit: AccessEditInput;
}

const NONE: readonly Draft[] = [];
const stores = new WeakMap<Client, readonly Draft[]>();
const listeners = new Set<() => void>();

export function useDrafts() {
  const client = useClient();
  const drafts = useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    () => stores.get(client) ?? NONE,
  );
  const replace = useCallback(
    (next: readonly Draft[]) => {
      stores.set(client, next);
      for (const listener of listeners) listener();
    },
    [client],
  );
  /** A second change of the same thing takes the place of the first. */
  const add = useCallback(
    (draft: Draft) => replace([...(stores.get(client) ?? NONE).filter(({ key }) => key !== draft.key), draft]),
    [client, replace],
  );
  const remove = useCallback(
    (key: string) => replace((stores.get(client) ?? NONE).filter((draft) => draft.key !== key)),
    [client, replace],
  );
  const clear = useCallback(() => replace(NONE), [replace]);
  return { drafts, add, remove, clear };
}
