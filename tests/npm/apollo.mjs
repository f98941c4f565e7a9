// Apollo Client's normalized cache: every screen is read into it, a renamed connection keeps its new name, and the
// `__typename` that Apollo adds to every selection costs nothing.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { ApolloClient, HttpLink, gql } from '@apollo/client';
import { buildSchema, print } from 'graphql';
import { createCache } from './apollo-cache.mjs';
import { ask, collectWarnings, findVariables, screens, send } from './shared.mjs';

const warnings = collectWarnings();
const { URL_GRAPHQL: uri, API_KEY: key } = process.env;
const cache = createCache(buildSchema(readFileSync('schema.graphql', 'utf8')));
const client = new ApolloClient({
  cache,
  link: new HttpLink({ uri, headers: { authorization: `Bearer ${key}` } }),
  defaultOptions: { query: { fetchPolicy: 'network-only', errorPolicy: 'none' } },
});

const variables = await findVariables();
const connections = gql`
  query Names {
    organization {
      id
      connections(first: 10) {
        nodes {
          id
          name
        }
      }
    }
  }
`;
const rename = gql`
  mutation Rename($id: ID!, $name: String!) {
    connectionUpdate(input: { id: $id, name: $name }) {
      connection {
        id
        name
      }
      userErrors {
        message
      }
    }
  }
`;
const { id } = (await client.query({ query: connections })).data.organization.connections.nodes[0];
const name = 'Renamed, seen by Apollo';
await client.mutate({ mutation: rename, variables: { id, name } });
for (const screen of screens) {
  const query = gql(screen.text);
  await client.query({ query, variables: variables[screen.name] });
  assert.equal(cache.extract()[`IdentitySource:${id}`].name, name, `${screen.file} overwrote the connection's name`);
  const plain = await send(screen.text, variables[screen.name]);
  const named = await send(print(cache.transformDocument(query)), variables[screen.name]);
  assert.equal(plain.errors, undefined);
  assert.equal(typeof plain.extensions.cost.requested, 'number');
  assert.equal(named.extensions.cost.requested, plain.extensions.cost.requested, `${screen.file}: __typename changes the cost`);
}

const people = gql`
  query People($after: String) {
    organization {
      id
      users(first: 2, after: $after, orderBy: { field: USER_NAME }) {
        edges {
          cursor
          node {
            id
            userName
          }
        }
        pageInfo {
          hasNextPage
          endCursor
        }
      }
    }
  }
`;
const first = await client.query({ query: people });
const { endCursor } = first.data.organization.users.pageInfo;
await client.query({ query: people, variables: { after: endCursor } });
const listed = client.readQuery({ query: people }).organization.users.edges.map(({ node }) => node.userName);
const all = await ask('{ organization { users(first: 4, orderBy: { field: USER_NAME }) { nodes { userName } } } }');
assert.deepEqual(listed, all.organization.users.nodes.map(({ userName }) => userName), 'two pages in one list');
assert.deepEqual(warnings, []);
client.stop();
console.log(`Apollo: ${screens.length} screens in one cache, no warning, __typename costs nothing`);
