// Asks the server's addresses beside GraphQL: files to download, files to send.
import { quoteWords } from '../components/mistakes.ts';
import type { Problem } from '../components/states.tsx';
import { endpoint } from './paths.ts';
import { useSession } from './session.tsx';
import { useViewer } from './viewer.tsx';

export interface Caller {
  token: string;
  organization: string;
}

export function useCaller(): Caller {
  const { credential } = useSession();
  const { organization } = useViewer();
  return { token: credential?.token ?? '', organization: organization.slug };
}

export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

export async function askServer(path: string, caller: Caller, init: RequestInit = {}): Promise<Response | Problem> {
  let response: Response;
  try {
    response = await fetch(endpoint(path), {
      ...init,
      headers: { ...init.headers, Authorization: `Bearer ${caller.token}`, 'Rolecall-Organization': caller.organization },
      cache: 'no-store',
      credentials: 'omit',
      referrerPolicy: 'no-referrer',
    });
  } catch {
    return { code: 'NETWORK', message: '' };
  }
  if (response.ok) return response;
  const body: unknown = await response.json().catch(() => undefined);
  const first: unknown = isRecord(body) && Array.isArray(body.errors) ? body.errors[0] : body;
  const extensions = isRecord(first) && isRecord(first.extensions) ? first.extensions : {};
  return {
    code: typeof extensions.code === 'string' ? extensions.code : String(response.status),
    ...quoteWords(isRecord(first) && typeof first.message === 'string' ? first.message : '', undefined),
    requestId: response.headers.get('x-request-id') ?? undefined,
  };
}
