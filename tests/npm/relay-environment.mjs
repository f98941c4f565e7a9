// The environment that docs/graphql/relay.md shows.
import { createRequire } from 'node:module';

const { Environment, Network, RecordSource, Store } = createRequire(import.meta.url)('relay-runtime');

export function createEnvironment(url, key) {
  const network = Network.create(async ({ text }, variables) => {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
      body: JSON.stringify({ query: text, variables }),
    });
    return response.json();
  });
  return new Environment({ network, store: new Store(new RecordSource()) });
}
