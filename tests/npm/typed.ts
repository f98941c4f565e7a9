// A typed client as an admin frontend has it: urql over documents that GraphQL code generator made from schema.graphql.
// That this compiles is half of the test.
import assert from 'node:assert/strict';
import { Client, fetchExchange, subscriptionExchange } from '@urql/core';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';
import { CreateRoleDocument, FollowDocument, OverviewDocument, type FollowSubscription } from './gql/graphql.js';

const url = process.env.URL_GRAPHQL ?? '';
const authorization = `Bearer ${process.env.API_KEY}`;
const socket = createClient({
  url: url.replace('http', 'ws'),
  webSocketImpl: WebSocket,
  connectionParams: { authorization },
});
const client = new Client({
  url,
  preferGetMethod: false,
  fetchOptions: { headers: { authorization } },
  exchanges: [
    fetchExchange,
    subscriptionExchange({
      forwardSubscription: ({ query, variables }) => ({
        subscribe: (sink) => ({ unsubscribe: socket.subscribe({ query: query ?? '', variables }, sink) }),
      }),
    }),
  ],
});

const overview = await client.query(OverviewDocument, {}).toPromise();
assert.equal(overview.error, undefined);
const slug: string | undefined = overview.data?.organization?.slug;
assert.equal(slug, 'acme');
assert.equal(overview.data?.organization?.connections?.nodes[0]?.state, 'ACTIVE');

const heard = new Promise<FollowSubscription>((resolve, reject) => {
  const following = client.subscription(FollowDocument, { after: 0 }).subscribe(({ data, error }) => {
    if (error) reject(error);
    if (data?.events.action !== 'ROLE_CREATED') return;
    following.unsubscribe();
    resolve(data);
  });
});
const variables = { name: 'Typed', permissions: ['charts:read'] };
const made = await client.mutation(CreateRoleDocument, variables).toPromise();
assert.deepEqual(made.data?.roleCreate?.userErrors, []);
assert.deepEqual(made.data?.roleCreate?.role?.permissions, ['charts:read']);
const again = await client.mutation(CreateRoleDocument, variables).toPromise();
assert.equal(again.data?.roleCreate?.userErrors[0]?.code, 'TAKEN');
const seq: number | null | undefined = (await heard).events.seq;
assert.ok(seq && seq > 0);
await socket.dispose();
console.log('urql with generated types: query, mutation, subscription');
