// Running a mutation: one way to tell what went wrong, whether the server refused the input or the request failed.
import type { TypedDocumentNode } from '@graphql-typed-document-node/core';
import { useCallback, useState } from 'react';
import { type AnyVariables, type Client, useClient } from 'urql';
import { type UserErrorLike, toMistake } from '../components/mistakes.ts';
import { type Problem, toProblem } from '../components/states.tsx';

export type ActionResult<Payload> = { payload: Payload; problem?: undefined } | { payload?: undefined; problem: Problem };

/** Sends a mutation, and keeps the id of its request: a refusal names it, as every other error does. */
export async function sendMutation<Data, Variables extends AnyVariables>(
  client: Client,
  document: TypedDocumentNode<Data, Variables>,
  variables: Variables,
  additionalTypenames: string[] = [],
) {
  let requestId: string | undefined;
  const recording: typeof fetch = async (...request) => {
    const response = await fetch(...request);
    requestId = response.headers.get('x-request-id') ?? undefined;
    return response;
  };
  const { data, error } = await client.mutation(document, variables, { fetch: recording, additionalTypenames }).toPromise();
  return { data, error, requestId };
}

/**
 * Runs a document with one mutation. `userErrors` must be selected with `code`, `reason`, `message` and `nextStep`. The
 * idempotency key keeps a mutation that is sent twice, by a network that fails, from being done twice.
 */
export function useAction<Data extends object, Variables extends AnyVariables>(document: TypedDocumentNode<Data, Variables>) {
  type Payload = NonNullable<Exclude<Data[keyof Data], string>>;
  const client = useClient();
  const [running, setRunning] = useState(false);
  const run = useCallback(
    async (variables: Variables): Promise<ActionResult<Payload>> => {
      setRunning(true);
      const { data, error, requestId } = await sendMutation(client, document, variables);
      setRunning(false);
      if (error) return { problem: toProblem(error) };
      const payload = data && (Object.entries(data).find(([name]) => name !== '__typename')?.[1] as Payload | undefined);
      if (!payload) return { problem: { code: 'INTERNAL', message: '' } };
      const mistake = (payload as { userErrors?: readonly UserErrorLike[] }).userErrors?.[0];
      if (mistake) return { problem: { ...toMistake(mistake), requestId } };
      return { payload };
    },
    [client, document],
  );
  return { run, running };
}
