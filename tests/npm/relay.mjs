// Relay's runtime over artifacts of Relay's compiler: every screen is read into one normalized store, a connection
// that was renamed keeps its new name there, whatever is read afterwards, and a list grows by a page.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { createEnvironment } from './relay-environment.mjs';
import { ask, collectWarnings, findVariables, screens } from './shared.mjs';

const warnings = collectWarnings();
const relay = createRequire(import.meta.url)('relay-runtime');
const environment = createEnvironment(process.env.URL_GRAPHQL, process.env.API_KEY);
const records = environment.getStore().getSource();
const artifact = async (name) => (await import(`./relay/__generated__/${name}.graphql.js`)).default;
const read = async (name, variables = {}) =>
  relay
    .fetchQuery(environment, await artifact(`${name}Query`), variables, { fetchPolicy: 'network-only' })
    .toPromise();

const variables = await findVariables();
const names = await read('Names');
const { id } = names.organization.connections.nodes[0];
const name = 'Renamed, seen by Relay';
const mutation = await artifact('RenameMutation');
await new Promise((onCompleted, onError) =>
  relay.commitMutation(environment, { mutation, variables: { id, name }, onCompleted, onError }),
);
for (const screen of screens) {
  await read(screen.name, variables[screen.name]);
  assert.equal(records.get(id).name, name, `${screen.file} overwrote the name of the connection`);
}
const { node } = await ask('query($id: ID!) { node(id: $id) { ... on IdentitySource { name } } }', { id });
assert.equal(node.name, name);

const { organization } = await ask('{ organization { id } }');
await read('People');
const listed = () => {
  const connection = records.get(`client:${organization.id}:__People_users_connection(orderBy:{"field":"USER_NAME"})`);
  return connection.edges.__refs.length;
};
assert.equal(listed(), 2);
const edges = records.get(`client:${organization.id}:__People_users_connection(orderBy:{"field":"USER_NAME"})`);
const { endCursor } = records.get(edges.pageInfo.__ref);
await read('PeoplePagination', { id: organization.id, count: 2, cursor: endCursor });
assert.equal(listed(), 4, 'the second page is added to the first');
assert.deepEqual(warnings, []);
console.log(`Relay: ${screens.length} screens in one store, a list of two pages, no warning`);
