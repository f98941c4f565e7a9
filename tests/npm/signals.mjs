// A receiver of security event tokens, written from the specifications alone (SSF 1.0, RFC 8417, 8935, 8936, 9493, 9967)
// and with the JOSE library `jose`: it discovers the transmitter, manages four streams (push and poll, RS256 and ES256),
// and verifies every token, also while the keys of all streams change.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';

import { createRemoteJWKSet, decodeProtectedHeader, jwtVerify } from 'jose';

import { ask } from './shared.mjs';

const { API_KEY: key, URL_SCIM: scimUrl, SCIM_TOKEN: scimToken } = process.env;
const PUSH = 'urn:ietf:rfc:8935';
const POLL = 'urn:ietf:rfc:8936';
const SCIM = 'urn:ietf:params:scim:event';
const CAEP = 'https://schemas.openid.net/secevent/caep/event-type';
const SSF = 'https://schemas.openid.net/secevent/ssf/event-type';
const PATIENCE = 30_000;
const HEADER = 'Bearer what-the-receiver-expects';

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

async function until(what, holds) {
  const end = Date.now() + PATIENCE;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
    await pause(50);
  }
}

async function call(method, url, body, status, token = key) {
  const headers = { authorization: `Bearer ${token}` };
  if (body !== undefined) headers['content-type'] = 'application/json';
  const text = body === undefined ? undefined : JSON.stringify(body);
  const answer = await fetch(url, { method, headers, body: text });
  const said = await answer.text();
  assert.equal(answer.status, status, `${method} ${url}: ${said}`);
  return said && JSON.parse(said);
}

async function scim(method, path, body, status, headers = {}) {
  const answer = await fetch(scimUrl + path, {
    method,
    headers: { authorization: `Bearer ${scimToken}`, 'content-type': 'application/scim+json', ...headers },
    body: body && JSON.stringify(body),
  });
  const said = await answer.text();
  assert.equal(answer.status, status, `${method} ${path}: ${said}`);
  return { headers: answer.headers, body: said && JSON.parse(said) };
}

// The issuer is all that an administrator gives to a receiver; SSF section 7.2 says where its metadata is.
const issuer = new URL('/ssf/acme', scimUrl).href;
const { origin, pathname } = new URL(issuer);
const metadata = await (await fetch(`${origin}/.well-known/ssf-configuration${pathname}`)).json();
assert.equal(metadata.issuer, issuer);
assert.deepEqual([...metadata.delivery_methods_supported].sort(), [PUSH, POLL]);
// The library asks again for a key that it does not know, at most this often.
const keys = createRemoteJWKSet(new URL(metadata.jwks_uri), { cooldownDuration: 200 });

class Stream {
  constructor(configuration, algorithm) {
    Object.assign(this, { configuration, algorithm, id: configuration.stream_id });
    /** The verified claims by token id, and the keys that signed. */
    this.told = new Map();
    this.keys = new Set();
    this.repeated = 0;
  }

  static async create(algorithm, delivery) {
    const made = await call('POST', metadata.configuration_endpoint, {
      delivery, signing_alg: algorithm, aud: `https://app.example/${algorithm}`, description: `jose ${algorithm}`,
    }, 201);
    assert.equal(made.iss, issuer);
    assert.deepEqual(made.events_delivered, made.events_supported);
    return new Stream(made, algorithm);
  }

  get polls() {
    return this.configuration.delivery.method === POLL;
  }

  /** RFC 8417 section 2.2, SSF section 4.1. */
  async keep(token, name) {
    const options = {
      issuer, audience: this.configuration.aud, typ: 'secevent+jwt', algorithms: [this.algorithm],
      requiredClaims: ['jti', 'iat', 'txn', 'events', 'sub_id'],
    };
    const { payload, protectedHeader } = await jwtVerify(token, keys, options);
    assert.ok(!('exp' in payload) && !('sub' in payload), JSON.stringify(payload));
    assert.equal(Object.keys(payload.events).length, 1);
    if (name !== undefined) assert.equal(payload.jti, name);
    const known = this.told.get(payload.jti);
    if (known) {
      this.repeated += 1;
      assert.deepEqual(payload, known, 'a token came again with another content');
    }
    this.told.set(payload.jti, payload);
    this.keys.add(protectedHeader.kid);
    return payload;
  }

  /** What was told, in the order of names: the type and whom it is about. */
  summary() {
    const line = ({ events, sub_id: about }) => `${Object.keys(events)[0]} ${JSON.stringify(about)}`;
    return [...this.told.values()].map(line).filter((text) => !text.startsWith(SSF)).sort();
  }

  of(type) {
    return [...this.told.values()].filter(({ events }) => type in events).map((claims) => ({ claims, said: claims.events[type] }));
  }

  /** RFC 8936 section 2.2. */
  async poll(request) {
    const answer = await call('POST', this.configuration.delivery.endpoint_url, request, 200);
    for (const [name, token] of Object.entries(answer.sets)) await this.keep(token, name);
    return answer;
  }

  /** Polls and acknowledges until stopped, as an application would. */
  async follow(stop) {
    let ack = [];
    while (!stop.now || ack.length > 0) {
      const { sets } = await this.poll({ ack, returnImmediately: stop.now });
      ack = Object.keys(sets);
    }
  }
}

const streams = {};
const refusals = [];
const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const answer = (status, body) => {
    response.writeHead(status, body && { 'content-type': 'application/json', 'content-language': 'en' });
    response.end(body && JSON.stringify(body));
  };
  const { 'content-type': type, accept, authorization } = request.headers;
  if (type !== 'application/secevent+jwt' || accept !== 'application/json') {
    return answer(400, { err: 'invalid_request', description: `${type}, ${accept}` });
  }
  if (authorization !== HEADER) return answer(401, { err: 'authentication_failed', description: 'another header' });
  try {
    await streams[request.url.slice(1)].keep(Buffer.concat(chunks).toString());
  } catch (error) {
    refusals.push(error);
    return answer(400, { err: 'invalid_key', description: error.message });
  }
  answer(202);
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const receiverUrl = (name) => `http://127.0.0.1:${server.address().port}/${name}`;
const pushTo = (name) => ({ method: PUSH, endpoint_url: receiverUrl(name), authorization_header: HEADER });

for (const algorithm of ['RS256', 'ES256']) {
  const name = `push-${algorithm}`;
  streams[name] = await Stream.create(algorithm, pushTo(name));
  streams[`poll-${algorithm}`] = await Stream.create(algorithm, { method: POLL });
}
const all = Object.values(streams);
const polled = all.filter((stream) => stream.polls);

// Management: read, update, replace, and what is refused.
const one = streams['poll-RS256'];
const named = `${metadata.configuration_endpoint}?stream_id=${one.id}`;
assert.deepEqual(await call('GET', named, undefined, 200), one.configuration);
const listed = await call('GET', metadata.configuration_endpoint, undefined, 200);
assert.ok(all.every(({ id }) => listed.some((shown) => shown.stream_id === id)));
const only = [`${SCIM}:prov:delete`];
const updated = await call('PATCH', metadata.configuration_endpoint, { stream_id: one.id, events_requested: only }, 200);
assert.deepEqual(updated.events_delivered, only);
assert.equal(updated.description, one.configuration.description);
const { events_requested: _, ...whole } = updated;
delete whole.events_delivered;
const replaced = await call('PUT', metadata.configuration_endpoint, whole, 200);
assert.deepEqual(replaced, one.configuration);
await call('PATCH', metadata.configuration_endpoint, { stream_id: one.id, iss: 'https://other.example' }, 400);
await call('GET', metadata.configuration_endpoint, undefined, 401, 'rck_wrong');
const short = await Stream.create('ES256', { method: POLL });
const gone = `${metadata.configuration_endpoint}?stream_id=${short.id}`;
await call('DELETE', gone, undefined, 204);
await call('GET', gone, undefined, 404);
await call('POST', short.configuration.delivery.endpoint_url, { returnImmediately: true }, 404);

// Verification, by whatever way the stream takes.
for (const stream of all) {
  await call('POST', metadata.verification_endpoint, { stream_id: stream.id, state: `state of ${stream.id}` }, 204);
}
await until('the verifications', async () => {
  for (const stream of polled) await stream.poll({ returnImmediately: true });
  return all.every((stream) => stream.of(`${SSF}/verification`).some(({ said }) => said.state === `state of ${stream.id}`));
});
assert.deepEqual(one.of(`${SSF}/verification`)[0].claims.sub_id, { format: 'opaque', id: one.id });

// A receiver that waits is told at once, and what it cannot use is shown to people.
const acknowledged = [...one.told.keys()];
const waiting = one.poll({ ack: acknowledged });
await pause(200);
const { body: ada } = await scim('POST', '/Users', { userName: 'signals-ada@example.org' }, 201);
const asked = Date.now();
const [[first]] = Object.entries((await waiting).sets);
assert.ok(Date.now() - asked < 5_000, 'long polling');
assert.equal(one.told.get(first).sub_id.uri, `/Users/${ada.id}`);
const failed = { [first]: { err: 'invalid_request', description: 'no such tenant' } };
assert.deepEqual((await one.poll({ returnImmediately: true, setErrs: failed })).sets, {});
const shown = await ask(`{ organization { destinations(first: 50) { nodes { id stream { streamId }
  deliveries(first: 20) { nodes { id state message } } } } } }`);
const nodes = shown.organization.destinations.nodes;
const destinationOf = (stream) => nodes.find((node) => node.stream?.streamId === stream.id);
const refused = destinationOf(one).deliveries.nodes.find((node) => node.state === 'FAILED');
assert.match(refused.message, /no such tenant/);
await ask('mutation($id: ID!) { deliveryRetry(input: { id: $id }) { userErrors { message } } }', { id: refused.id });
assert.deepEqual(Object.keys((await one.poll({ returnImmediately: true })).sets), [first]);
assert.deepEqual((await one.poll({ maxEvents: 0, ack: [first] })).sets, {});

// A paused stream holds what happens.
const status = (stream, value) => call('POST', metadata.status_endpoint, { stream_id: stream.id, status: value }, 200);
for (const stream of all) assert.equal((await status(stream, 'paused')).status, 'paused');
await scim('POST', '/Users', { userName: 'signals-held@example.org' }, 201);
assert.deepEqual((await one.poll({ returnImmediately: true })).sets, {});
const read = await call('GET', `${metadata.status_endpoint}?stream_id=${one.id}`, undefined, 200);
assert.equal(read.status, 'paused');
for (const stream of all) assert.equal((await status(stream, 'enabled')).status, 'enabled');

// Subjects: nothing more of the one that is removed, until it is added.
// They count when a token is handed out, so that moment is awaited.
const makeMarker = async () => {
  markers += 1;
  const { body } = await scim('POST', '/Users', { userName: `signals-marker-${markers}@example.org` }, 201);
  return `/Users/${body.id}`;
};
const untilTold = (uri) => until(`${uri} on all streams`, async () => {
  for (const stream of polled) await stream.poll({ returnImmediately: true });
  return all.every((stream) => [...stream.told.values()].some(({ sub_id: about }) => about.uri === uri));
});
let markers = 0;
const subject = { format: 'scim', uri: `/Users/${ada.id}` };
await untilTold(await makeMarker());
for (const stream of all) {
  await call('POST', metadata.remove_subject_endpoint, { stream_id: stream.id, subject }, 204);
}
const rename = (value) => ({
  schemas: ['urn:ietf:params:scim:api:messages:2.0:PatchOp'],
  Operations: [{ op: 'replace', path: 'title', value }],
});
await scim('PATCH', `/Users/${ada.id}`, rename('unheard'), 200);
await untilTold(await makeMarker());
for (const stream of all) {
  await call('POST', metadata.add_subject_endpoint, { stream_id: stream.id, subject, verified: true }, 200);
}

// People come and go while every stream gets a new key, which signs a second later.
const stop = { now: false };
const following = polled.map((stream) => stream.follow(stop));
const before = new Map(all.map((stream) => [stream, new Set(stream.keys)]));
let people = 0;
const life = async () => {
  people += 1;
  const { body } = await scim('POST', '/Users', { userName: `signals-${people}@example.org` }, 201);
  const off = { ...rename(''), Operations: [{ op: 'replace', path: 'active', value: false }] };
  await scim('PATCH', `/Users/${body.id}`, off, 200);
  if (people % 2 === 0) await scim('DELETE', `/Users/${body.id}`, undefined, 204);
};
await life();
for (const stream of all) {
  await ask('mutation($id: ID!) { destinationRotateSecret(input: { id: $id, overlapSeconds: 2 }) { userErrors { message } } }', {
    id: destinationOf(stream).id,
  });
}
const renewed = (stream) => [...stream.keys].some((kid) => !before.get(stream).has(kid));
while (!all.every(renewed)) {
  if (people > 500) throw new Error('a new key does not sign');
  await life();
  await pause(50);
}
for (let n = 0; n < 5; n += 1) await life();

// Deferred writes: the result of each is told under the name that its answer had (RFC 9967 section 2.5.1).
const later = { prefer: 'respond-async' };
const accepted = await scim('POST', '/Users', { userName: 'signals-later@example.org' }, 202, later);
const txn = accepted.headers.get('set-txn');
assert.equal(accepted.headers.get('preference-applied'), 'respond-async');
const bulk = await scim('POST', '/Bulk', {
  schemas: ['urn:ietf:params:scim:api:messages:2.0:BulkRequest'],
  Operations: [
    { method: 'POST', path: '/Groups', bulkId: 'g', data: { displayName: 'Later', members: [{ value: 'bulkId:u' }] } },
    { method: 'POST', path: '/Users', bulkId: 'u', data: { userName: 'signals-bulk@example.org' } },
    { method: 'POST', path: '/Users', bulkId: 'v', data: { userName: 'signals-later@example.org' } },
  ],
}, 202, later);
const expected = new Map([
  [txn, '201'], ...['201', '201', '409'].map((code, at) => [`${bulk.headers.get('set-txn')}:${at}`, code]),
]);
const results = (stream) => stream.of(`${SCIM}:misc:asyncresp`).filter(({ claims }) => expected.has(claims.txn));
await until('the results', () => all.every((stream) => results(stream).length >= expected.size));
for (const { claims, said } of results(one)) assert.equal(said.status, expected.get(claims.txn), claims.txn);
// Other programs look at the groups of this organization.
const { body: made } = await scim('GET', `/Groups?filter=${encodeURIComponent('displayName eq "Later"')}`, undefined, 200);
await scim('DELETE', `/Groups/${made.Resources[0].id}`, undefined, 204);

// Every stream has told the same, whatever way it took.
const heard = () => all.map((stream) => JSON.stringify(stream.summary()));
await until('all streams to have told the same', () => new Set(heard()).size === 1);
stop.now = true;
await scim('POST', '/Users', { userName: 'signals-last@example.org' }, 201);
await Promise.all(following);
await until('the last', () => new Set(heard()).size === 1);
assert.deepEqual(refusals, []);
assert.equal(one.of(`${CAEP}/session-revoked`).length >= people, true);
const aboutAda = one.of(`${SCIM}:prov:patch:notice`).filter(({ claims }) => claims.sub_id.uri === subject.uri);
assert.deepEqual(aboutAda, [], 'a subject that was removed was told about');
for (const type of ['add', 'remove']) assert.equal(one.of(`${SCIM}:feed:${type}`).length, 1);
// What a token says is under its signature.
// A stream is verified at most once in its interval, so the second request waits for the end of it.
await pause(1_000 * one.configuration.min_verification_interval);
await call('POST', metadata.verification_endpoint, { stream_id: one.id, state: 'x' }, 204);
let token;
await until('a token to forge', async () => {
  const { sets } = await call('POST', one.configuration.delivery.endpoint_url, { returnImmediately: true }, 200);
  [token] = Object.values(sets);
  return token;
});
assert.equal(decodeProtectedHeader(token).alg, 'RS256');
const [head, body, signature] = token.split('.');
const forged = Buffer.from(JSON.stringify({ ...JSON.parse(Buffer.from(body, 'base64url')), aud: one.configuration.aud, txn: 'x' }));
await assert.rejects(one.keep([head, forged.toString('base64url'), signature].join('.')));
for (const stream of all) {
  await call('DELETE', `${metadata.configuration_endpoint}?stream_id=${stream.id}`, undefined, 204);
}
server.close();
server.closeAllConnections();
const count = all.reduce((sum, stream) => sum + stream.told.size, 0);
console.log(`${count} tokens of 4 streams (push and poll, RS256 and ES256) verified by jose, through a change of keys`);
