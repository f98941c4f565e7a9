// The examples of docs/events.md are what a webhook with the payload FULL really tells: one event of each kind is made,
// and the members of `before` and `after` are compared. `node events.mjs record` prints the examples as they are now.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';

import { ask } from './shared.mjs';

const { URL_SCIM: scimUrl, SCIM_TOKEN: token } = process.env;
const SCHEMAS = 'urn:ietf:params:scim:schemas:core:2.0';
const received = [];
const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  received.push(JSON.parse(Buffer.concat(chunks)));
  response.writeHead(204).end();
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');

async function scim(method, path, body) {
  const answer = await fetch(scimUrl + path, {
    method,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/scim+json' },
    body: body && JSON.stringify(body),
  });
  const said = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${said}`);
  return said && JSON.parse(said);
}

const patch = (...operations) => ({ schemas: ['urn:ietf:params:scim:api:messages:2.0:PatchOp'], Operations: operations });
const set = (path, value) => patch({ op: 'replace', path, value });
const mutate = async (name, input, wanted = '') => {
  const type = `${name[0].toUpperCase()}${name.slice(1)}Input!`;
  const text = `mutation($input: ${type}) { ${name}(input: $input) { ${wanted} userErrors { message } } }`;
  return (await ask(text, { input }))[name];
};

// Deliveries arrive in any order, so the destination hears of one creation alone.
const bo = await scim('POST', '/Users', { schemas: [`${SCHEMAS}:User`], userName: 'events-bo@example.com' });
const { destination } = await mutate('destinationCreate', {
  kind: 'WEBHOOK', url: `http://127.0.0.1:${server.address().port}/`, description: 'examples', payload: 'FULL',
}, 'destination { id }');
const ada = await scim('POST', '/Users', {
  schemas: [`${SCHEMAS}:User`], userName: 'events-ada@example.com', externalId: '00u1', title: 'Nurse',
  name: { givenName: 'Ada', familyName: 'Lovelace' }, emails: [{ value: 'events-ada@example.com', primary: true }],
});
await scim('PATCH', `/Users/${ada.id}`, set('title', 'Head nurse'));
const group = await scim('POST', '/Groups', {
  schemas: [`${SCHEMAS}:Group`], displayName: 'Examples', members: [{ value: ada.id }],
});
const { role } = await mutate('roleCreate', { name: 'example', permissions: ['ward:read'] }, 'role { id }');
const [userId, groupId] = [['User', ada.id], ['Group', group.id]].map(([kind, id]) => Buffer.from(`${kind}:${id}`).toString('base64url'));
await mutate('roleMappingCreate', { groupId, roleId: role.id }, 'roleMapping { id }');
const { roleGrant } = await mutate('roleGrantCreate', { userId, roleId: role.id, reason: 'covers for a colleague' }, 'roleGrant { id }');
await scim('PATCH', `/Groups/${group.id}`, patch(
  { op: 'add', path: 'members', value: [{ value: bo.id }] }, { op: 'remove', path: `members[value eq "${ada.id}"]` },
));
await scim('PATCH', `/Groups/${group.id}`, set('displayName', 'More examples'));
await mutate('roleGrantRemove', { id: roleGrant.id });
await mutate('roleUpdate', { id: role.id, name: 'examples' });
const { apiKey } = await mutate('apiKeyIssue', { name: 'portal', permissions: ['IAM_READ'], ownerUserId: userId }, 'apiKey { id }');
await mutate('apiKeyRevoke', { id: apiKey.id });
await scim('PATCH', `/Users/${ada.id}`, set('active', false));
await scim('PATCH', `/Users/${ada.id}`, set('active', true));
await scim('DELETE', `/Users/${bo.id}`);
await scim('DELETE', `/Groups/${group.id}`);
await mutate('roleDelete', { id: role.id });

const page = readFileSync('events.md', 'utf8');
const [, shown] = page.match(/## Examples\n[^]*?```json\n([^]*?)```/) ?? [null, '{}'];
const examples = JSON.parse(shown);
const wanted = [
  'user.created', 'user.updated', 'user.suspended', 'user.reactivated', 'user.deleted', 'user.access_changed',
  'group.created', 'group.updated', 'group.members_changed', 'group.deleted', 'role.created', 'role.updated',
  'role.deleted', 'role_mapping.created', 'role_grant.created', 'role_grant.removed', 'api_key.issued', 'api_key.revoked',
];
const end = Date.now() + 20_000;
const made = (kind) => received.find(({ type }) => type === kind);
while (!wanted.every(made)) {
  if (Date.now() > end) throw new Error(`these did not come: ${wanted.filter((kind) => !made(kind))}`);
  await new Promise((done) => setTimeout(done, 50));
}
await mutate('destinationDelete', { id: destination.id });
server.close();
server.closeAllConnections();
const short = (text) => text.replaceAll(/"[0-9a-f]{8}-[0-9a-f-]{27}"/g, '"0192…"');
const line = (value) => short(JSON.stringify(value)).replaceAll(/([,:])(?=["[{0-9a-z])(?=(?:[^"]*"[^"]*")*[^"]*$)/g, '$1 ');
if (process.argv[2] === 'record') {
  const parts = wanted.map((kind) => {
    const { before, after } = made(kind).data;
    return `  "${kind}": {\n    "before": ${line(before)},\n    "after": ${line(after)} }`;
  });
  console.log(`{\n${parts.join(',\n')}\n}`);
} else {
  const members = (value) => value && Object.keys(value).sort();
  for (const kind of wanted) {
    for (const side of ['before', 'after']) {
      assert.deepEqual(members(examples[kind]?.[side]), members(made(kind).data[side]), `${kind}: ${side}`);
    }
  }
  assert.deepEqual(Object.keys(examples), wanted);
  console.log(`${wanted.length} examples of docs/events.md have the members that a webhook tells`);
}
