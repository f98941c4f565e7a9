// Filters and choices in the address, so that every view has a link and the way back works.
import { useCallback } from 'react';
import { useSearchParams } from 'wouter';

/** A value of the address and how to change it; without a value it is left out of the address. */
export function useAddress() {
  const [params, setParams] = useSearchParams();
  const get = useCallback((name: string) => params.get(name) ?? undefined, [params]);
  const set = useCallback(
    (changes: Record<string, string | undefined>, replace = false) =>
      setParams(
        (before) => {
          const next = new URLSearchParams(before);
          for (const [name, value] of Object.entries(changes)) {
            if (value === undefined || value === '') next.delete(name);
            else next.set(name, value);
          }
          return next;
        },
        { replace },
      ),
    [setParams],
  );
  return { get, set, params };
}

/** The value of the address if it is one of these. */
export const oneOf = <Value extends string>(choices: readonly Value[], value: string | undefined): Value | undefined =>
  choices.find((choice) => choice === value);
