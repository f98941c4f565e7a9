// The reference clients of both subscription protocols, each with a query, a mutation that causes an event, a
// subscription that hears it, and a refusal.
import assert from 'node:assert/strict';
import { createClient as overEvents } from 'graphql-sse';
import { createClient as overSocket } from 'graphql-ws';
import WebSocket from 'ws';

const { URL_GRAPHQL: url, API_KEY: key } = process.env;
const authorization = `Bearer ${key}`;
const socket = (token) =>
  overSocket({
    url: url.replace('http', 'ws'),
    webSocketImpl: WebSocket,
    connectionParams: { Authorization: token },
    retryAttempts: 0,
  });
const events = (token) => overEvents({ url, headers: { authorization: token }, retryAttempts: 0 });

async function first(iterator) {
  for await (const result of iterator) return result;
  throw new Error('ended without a result');
}

for (const [name, connect] of Object.entries({ 'graphql-ws': socket, 'graphql-sse': events })) {
  const client = connect(authorization);
  const ask = (query, variables) => first(client.iterate({ query, variables }));
  const { data } = await ask('{ organization { slug } }');
  assert.equal(data.organization.slug, 'acme');

  const last = await ask('{ organization { events(first: 1) { nodes { seq } } } }');
  const after = last.data.organization.events.nodes[0].seq;
  const follow = { query: 'subscription($after: Long) { events(after: $after) { seq action } }', variables: { after } };
  const heard = first(client.iterate(follow));
  const made = await ask('mutation($n: String!) { roleCreate(input: { name: $n }) { userErrors { message } } }', { n: name });
  assert.deepEqual(made.data.roleCreate.userErrors, []);
  const event = await heard;
  assert.deepEqual(event.data.events, { seq: after + 1, action: 'ROLE_CREATED' });

  // The one reports errors of a document by throwing them, the other as a result.
  const refused = await ask('{ nope }').catch((errors) => ({ errors }));
  assert.equal(refused.errors[0].extensions.code, 'GRAPHQL_VALIDATION_FAILED');
  client.dispose();

  const stranger = connect('Bearer rck_wrong');
  await assert.rejects(first(stranger.iterate({ query: '{ organization { slug } }' })));
  stranger.dispose();
  console.log(`${name}: query, mutation, subscription, refusals`);
}
