// gql.tada: the types of a query are inferred from its text and from the schema, without generated operations.
import assert from 'node:assert/strict';
import { initGraphQLTada, type ResultOf } from 'gql.tada';
import { print } from 'graphql';
import type { introspection } from './tada-env.js';

const graphql = initGraphQLTada<{
  introspection: introspection;
  scalars: { DateTime: string; Long: number; UUID: string; JSON: unknown };
}>();
const query = graphql(`
  query Groups {
    organization {
      groups(first: 5, orderBy: { field: DISPLAY_NAME }) {
        nodes {
          displayName
          memberCount
          updatedAt
          connection {
            name
          }
        }
      }
    }
  }
`);
const response = await fetch(process.env.URL_GRAPHQL ?? '', {
  method: 'POST',
  headers: { authorization: `Bearer ${process.env.API_KEY}`, 'content-type': 'application/json' },
  body: JSON.stringify({ query: print(query) }),
});
const { data } = (await response.json()) as { data: ResultOf<typeof query> };
const names: string[] | undefined = data.organization?.groups?.nodes.map((group) => group.displayName);
assert.deepEqual(names, ['Cardiology', 'Ward 3']);
const updated: string | undefined = data.organization?.groups?.nodes[0]?.updatedAt;
assert.ok(updated && !Number.isNaN(Date.parse(updated)));
console.log('gql.tada: a query with inferred types');
