// The link's secret is in the fragment, which browsers send to nobody. It is redeemed by POST and only when a person
// presses the button, so that scanners of mails spend nothing.
import { endpoint, takeFragment } from '../app/paths.ts';
import { quoteWords } from '../components/mistakes.ts';
import type { Problem } from '../components/states.tsx';
import type { MessagePart } from '../components/useServerText.ts';
import type { Provider } from '../generated/graphql.ts';

let secret: string | undefined;

export function takeSecret() {
  secret = takeFragment();
}

export const hasSecret = () => secret !== undefined;

export interface Opening {
  session: string;
  sessionExpiresAt: string;
  expiresAt: string;
  kind: 'SCIM_PUSH' | 'SCIM_PULL' | 'ASSERTION';
  provider: Provider;
  connectionName: string;
  organizationName: string;
  baseUrl: string | null;
  usersUrl: string | null;
  groupsUrl: string | null;
  /** Only at the first opening. */
  token: string | null;
  tokenLastFour: string | null;
  tokenIssuedAt: string | null;
}

export interface SetupFailure {
  at: string;
  status: number | null;
  code: string | null;
  /** The method and the resource. */
  request: string | null;
  /** What the identity provider wanted, as the request log says it. */
  meaning: string;
  outcome: string;
  count: number;
  message: string;
  nextStep: string | null;
  nextStepParts: readonly MessagePart[];
}

export interface Progress {
  firstRequestAt: string | null;
  lastRequestAt: string | null;
  firstUserAt: string | null;
  firstGroupAt: string | null;
  requests: number;
  accounts: number;
  groups: number;
  recentFailures: readonly SetupFailure[];
  linkEndsAt: string;
}

export type Answer<Value> = { value: Value; problem?: undefined } | { value?: undefined; problem: Problem };

async function ask<Value>(path: string, init: RequestInit): Promise<Answer<Value>> {
  let response: Response;
  try {
    response = await fetch(endpoint(path), { ...init, cache: 'no-store', credentials: 'omit', referrerPolicy: 'no-referrer' });
  } catch {
    return { problem: { code: 'NETWORK', message: '' } };
  }
  const body: unknown = await response.json().catch(() => undefined);
  if (response.ok && typeof body === 'object' && body !== null) return { value: body as Value };
  const answer = (typeof body === 'object' && body !== null ? body : {}) as Record<string, unknown>;
  const text = (name: string) => (typeof answer[name] === 'string' ? answer[name] : undefined);
  return {
    problem: {
      code: text('code') ?? String(response.status),
      ...quoteWords(text('message') ?? '', text('nextStep')),
      requestId: response.headers.get('x-request-id') ?? undefined,
    },
  };
}

/** Opens the link. The secret is kept until that succeeds or the server says that it is no good. */
export async function openLink(): Promise<Answer<Opening>> {
  const answer = await ask<Opening>('setup/redeem', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ secret: secret ?? '' }),
  });
  const code = answer.problem?.code;
  if (!answer.problem || code === 'LINK_UNKNOWN' || code === 'LINK_ENDED') secret = undefined;
  return answer;
}

export const readProgress = (session: string) =>
  ask<Progress>('setup/status', { headers: { Authorization: `Bearer ${session}` } });
