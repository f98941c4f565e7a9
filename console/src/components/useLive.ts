// Keeps what a screen shows current: by a subscription, and by asking again where events do not get through.
import type { TypedDocumentNode } from '@graphql-typed-document-node/core';
import { useEffect, useRef } from 'react';
import { type AnyVariables, useSubscription } from 'urql';

const POLL_MILLISECONDS = 15_000;

export function usePolling(active: boolean, milliseconds: number, reload: () => void) {
  const callback = useRef(reload);
  callback.current = reload;
  useEffect(() => {
    if (!active) return;
    const timer = setInterval(() => {
      if (document.visibilityState === 'visible') callback.current();
    }, milliseconds);
    return () => clearInterval(timer);
  }, [active, milliseconds]);
}

/** Calls `reload` for each result of a subscription; without one, every few seconds while the page can be seen. */
export function useLive<Data, Variables extends AnyVariables>(
  document: TypedDocumentNode<Data, Variables>,
  variables: Variables,
  reload: () => void,
) {
  const callback = useRef(reload);
  callback.current = reload;
  const [{ data, error }] = useSubscription({ query: document, variables } as Parameters<typeof useSubscription<Data, Data, Variables>>[0]);
  useEffect(() => {
    if (data) callback.current();
  }, [data]);
  usePolling(error !== undefined, POLL_MILLISECONDS, reload);
}
