// Fills a fresh organization: people, groups and a refused write by SCIM, a role, a mapping and a grant by GraphQL.
import { ask } from './shared.mjs';

const { URL_SCIM: base, SCIM_TOKEN: token } = process.env;
async function create(path, resource, status = 201) {
  const response = await fetch(`${base}/${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/scim+json' },
    body: JSON.stringify(resource),
  });
  const body = await response.json();
  if (response.status !== status) throw new Error(`${response.status} ${JSON.stringify(body)}`);
  return body.id;
}

const people = [];
for (const userName of ['ada', 'ben', 'cem', 'dea']) {
  people.push(await create('Users', { userName, displayName: userName.toUpperCase(), emails: [{ value: `${userName}@example.com` }] }));
}
const inner = await create('Groups', { displayName: 'Ward 3', members: people.slice(0, 2).map((value) => ({ value })) });
await create('Groups', { displayName: 'Cardiology', members: [{ value: inner, type: 'Group' }, { value: people[2] }] });
await create('Users', { userName: 'ada' }, 409);
const { organization } = await ask('{ organization { users(first: 1) { nodes { id } } groups(first: 5) { nodes { id } } } }');
const { roleCreate } = await ask('mutation { roleCreate(input: { name: "Nurse" }) { role { id } userErrors { message } } }');
const roleId = roleCreate.role.id;
for (const { id } of organization.groups.nodes) {
  await ask(
    `mutation($groupId: ID!, $roleId: ID!) {
      roleMappingCreate(input: { groupId: $groupId, roleId: $roleId }) { userErrors { message } } }`,
    { groupId: id, roleId },
  );
}
await ask(
  `mutation($userId: ID!, $roleId: ID!) {
    roleGrantCreate(input: { userId: $userId, roleId: $roleId }) { userErrors { message } } }`,
  { userId: organization.users.nodes[0].id, roleId },
);
console.log('four people, two groups, a role, two mappings, a grant and a failure');
