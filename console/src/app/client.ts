// The GraphQL client of a session. The credential is in the memory of this page and nowhere else.
import { type ClientOptions as SseOptions, createClient as createSseClient } from 'graphql-sse';
import { Client, type CombinedError, cacheExchange, fetchExchange, mapExchange, subscriptionExchange } from 'urql';
import type { ViewerQuery } from '../generated/graphql.ts';
import { endpoint } from './paths.ts';

export interface Credential {
  token: string;
  /** The organization that a one-time link opened. */
  organization?: string;
  /** What the server said of the viewer when the credential was tried, so that it is asked once. */
  viewer?: ViewerQuery;
}

export const errorCode = (error: CombinedError | undefined): string | undefined => {
  const code = error?.graphQLErrors[0]?.extensions?.code;
  return typeof code === 'string' ? code : undefined;
};

export const isUnauthenticated = (error: CombinedError | undefined) =>
  errorCode(error) === 'UNAUTHENTICATED' || (error?.response as Response | undefined)?.status === 401;

/** Six failures take about 20 seconds: where streams do not get through, screens ask every few seconds from then on. */
const waitToRetry = (retries: number) =>
  new Promise<void>((resolve) => setTimeout(resolve, Math.min(500 * 2 ** retries, 5_000) + Math.random() * 1_000));

export function createClient(credential: Credential, organization: string | undefined, onRefused: () => void): Client {
  const url = new URL(endpoint('graphql'), location.origin).href;
  const headers: Record<string, string> = { Authorization: `Bearer ${credential.token}` };
  if (organization !== undefined) headers['Rolecall-Organization'] = organization;
  const sse = createSseClient({ url, headers, retryAttempts: 5, retry: waitToRetry } satisfies SseOptions);
  return new Client({
    url,
    // A question in an address would be kept by the browser.
    preferGetMethod: false,
    requestPolicy: 'cache-and-network',
    fetchOptions: { headers, cache: 'no-store', credentials: 'omit', referrerPolicy: 'no-referrer' },
    exchanges: [
      mapExchange({
        onError(error) {
          if (isUnauthenticated(error)) onRefused();
        },
      }),
      cacheExchange,
      fetchExchange,
      subscriptionExchange({
        forwardSubscription: (request) => ({
          subscribe: (sink) => ({
            unsubscribe: sse.subscribe({ query: request.query ?? '', variables: request.variables }, sink as never),
          }),
        }),
      }),
    ],
  });
}
