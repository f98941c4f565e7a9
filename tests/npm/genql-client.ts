// The client that genql generates: queries are objects, checked by the compiler.
import assert from 'node:assert/strict';
import { createClient } from './genql';

const client = createClient({
  url: process.env.URL_GRAPHQL ?? '',
  headers: { authorization: `Bearer ${process.env.API_KEY}` },
});
async function main(): Promise<void> {
  const { organization } = await client.query({
    organization: {
      slug: true,
      users: {
        __args: { first: 2, orderBy: { field: 'USER_NAME' } },
        nodes: { id: true, userName: true, createdAt: true },
      },
      groups: { __args: { first: 1 }, nodes: { members: { __args: { first: 5 }, nodes: { on_User: { userName: true } } } } },
    },
  });
  const names: string[] | undefined = organization?.users?.nodes.map((user) => user.userName);
  assert.deepEqual(names, ['ada', 'ben']);
  assert.equal(typeof organization?.users?.nodes[0]?.createdAt, 'string');
  console.log('genql: a query with arguments and a union');
}

void main();
