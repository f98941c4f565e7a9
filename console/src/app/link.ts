// One-time links: the code is in the fragment, which browsers send to nobody, and is redeemed by POST, so that a
// preview of the link spends nothing.
import { quoteWords } from '../components/mistakes.ts';
import type { Credential } from './client.ts';
import { endpoint, takeFragment } from './paths.ts';

let code: string | undefined;

export function takeLink() {
  code = takeFragment();
}

export const hasLink = () => code !== undefined;

export interface LinkProblem {
  code: string;
  message: string;
  nextStep?: string | null | undefined;
  requestId?: string;
}

export type LinkResult = { credential: Credential & { organization: string } } | { problem: LinkProblem };

async function redeem(secret: string): Promise<LinkResult> {
  let response: Response;
  try {
    response = await fetch(endpoint('console/redeem'), {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ code: secret }),
      cache: 'no-store',
      // The browser that signed in has a cookie, without which the link of a sign-in is refused.
      credentials: 'same-origin',
    });
  } catch {
    // The code may be spent or not: nobody knows, so it is kept for another try.
    code = secret;
    return { problem: { code: 'NETWORK', message: '' } };
  }
  const body: unknown = await response.json().catch(() => undefined);
  const answer = (typeof body === 'object' && body !== null ? body : {}) as Record<string, unknown>;
  if (response.ok && typeof answer.token === 'string' && typeof answer.organization === 'string') {
    return { credential: { token: answer.token, organization: answer.organization } };
  }
  if (response.status === 429 || response.status === 503) code = secret;
  return {
    problem: {
      code: typeof answer.code === 'string' ? answer.code : String(response.status),
      ...quoteWords(
        typeof answer.message === 'string' ? answer.message : '',
        typeof answer.nextStep === 'string' ? answer.nextStep : null,
      ),
      requestId: response.headers.get('x-request-id') ?? undefined,
    },
  };
}

let pending: Promise<LinkResult> | undefined;

/** Redeems the code that `takeLink` found. Asked twice, it is still redeemed once. */
export function redeemLink(): Promise<LinkResult> | undefined {
  if (code !== undefined) {
    const secret = code;
    code = undefined;
    pending = redeem(secret);
  }
  return pending;
}
