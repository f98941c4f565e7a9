// Webhooks as receivers verify them: every signature v1 by the packages standardwebhooks and svix, every v1a by Node's
// own crypto, with the key of the API and that of the key set.
import { createPublicKey, verify } from 'node:crypto';
import { createServer } from 'node:http';
import { once } from 'node:events';

import { Webhook as StandardWebhook } from 'standardwebhooks';
import { Webhook as SvixWebhook } from 'svix';

import { ask } from './shared.mjs';

const { URL_SCIM: scim, SCIM_TOKEN: token } = process.env;
const received = [];
const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  received.push({ headers: request.headers, body: Buffer.concat(chunks).toString() });
  response.writeHead(204).end();
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');

const { destinationCreate: made } = await ask(
  `mutation($url: String!) { destinationCreate(input: { kind: WEBHOOK, url: $url, description: "npm" }) {
    destination { id publicKey } secret userErrors { message } } }`,
  { url: `http://127.0.0.1:${server.address().port}/` },
);
const { id, publicKey } = made.destination;
const people = 20;
for (let n = 0; n < people; n += 1) {
  const answer = await fetch(`${scim}/Users`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/scim+json' },
    body: JSON.stringify({ userName: `webhook-${n}-é@example.org` }),
  });
  if (answer.status !== 201) throw new Error(`a user was not created: ${answer.status}`);
}
const until = Date.now() + 20_000;
const created = () => received.filter(({ body }) => JSON.parse(body).type === 'user.created');
while (created().length < people) {
  if (Date.now() > until) throw new Error(`${created().length} of ${people} messages came`);
  await new Promise((done) => setTimeout(done, 50));
}

const { keys } = await (await fetch(new URL('/signals/acme/jwks.json', scim))).json();
const raw = Buffer.from(publicKey.replace('whpk_', ''), 'base64').toString('base64url');
const jwk = keys.find((key) => key.x === raw);
if (!jwk) throw new Error('the key set lacks the key of the destination');
const key = createPublicKey({ key: jwk, format: 'jwk' });
const standard = new StandardWebhook(made.secret);
const svix = new SvixWebhook(made.secret);
let asymmetric = 0;
for (const { headers, body } of received) {
  for (const library of [standard, svix]) {
    if (library.verify(body, headers).type !== JSON.parse(body).type) throw new Error('another message');
  }
  const content = Buffer.from(`${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`);
  for (const part of headers['webhook-signature'].split(' ').filter((part) => part.startsWith('v1a,'))) {
    if (!verify(null, content, key, Buffer.from(part.slice(4), 'base64'))) throw new Error(`not signed: ${body}`);
    asymmetric += 1;
  }
  // What was altered is refused.
  for (const library of [standard, svix]) {
    try {
      library.verify(`${body} `, headers);
    } catch {
      continue;
    }
    throw new Error('an altered message was accepted');
  }
}
if (asymmetric !== received.length) throw new Error(`${asymmetric} signatures v1a`);
await ask('mutation($id: ID!) { destinationDelete(input: { id: $id }) { userErrors { message } } }', { id });
server.close();
console.log(`${received.length} messages verified by standardwebhooks, svix and node:crypto`);
