// Keeps what a screen shows current: by a subscription, and by asking again where events do not get through.
import type { TypedDocumentNode } from '@graphql-typed-document-node/core';
import { useEffect, useRef, useSyncExternalStore } from 'react';
import { type AnyVariables, useSubscription } from 'urql';

const POLL_MILLISECONDS = 15_000;

function onVisibility(listener: () => void) {
  document.addEventListener('visibilitychange', listener);
  return () => document.removeEventListener('visibilitychange', listener);
}

/**
 * Whether the page can be seen. Streams are open only then: over HTTP/1.1 a browser opens six connections to a server
 * for all its tabs together, and streams of tabs in the background would take them all.
 */
export const useVisible = () => useSyncExternalStore(onVisibility, () => document.visibilityState === 'visible');

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
  const visible = useVisible();
  const [{ data, error }] = useSubscription({ query: document, variables, pause: !visible } as Parameters<
    typeof useSubscription<Data, Data, Variables>
  >[0]);
  useEffect(() => {
    if (data) callback.current();
  }, [data]);
  // What happened while the page could not be seen.
  const wasHidden = useRef(false);
  useEffect(() => {
    if (!visible) wasHidden.current = true;
    else if (wasHidden.current) {
      wasHidden.current = false;
      callback.current();
    }
  }, [visible]);
  usePolling(error !== undefined, POLL_MILLISECONDS, reload);
}
