// Sends a mutation and says in one value what came of it.
import type { TypedDocumentNode } from '@graphql-typed-document-node/core';
import type { AnyVariables, Client } from 'urql';
import { sendMutation } from '../../app/useAction.ts';
import { toMistake } from '../../components/mistakes.ts';
import { type Problem, toProblem } from '../../components/states.tsx';
import type { UserErrorReason } from '../../generated/graphql.ts';

interface UserErrorParts {
  reason: UserErrorReason;
  message: string;
  nextStep?: string | null;
}

export interface Outcome<Payload> {
  payload?: Payload;
  problem?: Problem;
  reason?: UserErrorReason;
}

/** What a change of access may show on other parts of the console: asked again after it. */
export const ACCESS_TYPES = ['User', 'Group', 'Role', 'RoleMapping', 'RoleGrant', 'Event', 'DeletedUser', 'DeletedGroup'];

export async function mutate<Data, Variables extends AnyVariables, Payload extends { userErrors: readonly UserErrorParts[] }>(
  client: Client,
  document: TypedDocumentNode<Data, Variables>,
  variables: Variables,
  pick: (data: Data) => Payload | null | undefined,
): Promise<Outcome<Payload>> {
  const { data, error, requestId } = await sendMutation(client, document, variables, ACCESS_TYPES);
  if (error) return { problem: toProblem(error) };
  const payload = data && pick(data);
  if (!payload) return { problem: { code: 'INTERNAL', message: '' } };
  const first = payload.userErrors[0];
  if (first) {
    const said = payload.userErrors.map((each) => toMistake({ ...each, code: each.reason }));
    const message = [...new Set(said.map((each) => each.message))].join(' · ');
    return { problem: { code: first.reason, message, nextStep: said[0]?.nextStep, requestId }, reason: first.reason };
  }
  return { payload };
}
