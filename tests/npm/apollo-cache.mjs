// The cache that docs/graphql/apollo.md shows.
import { InMemoryCache } from '@apollo/client';
import { relayStylePagination } from '@apollo/client/utilities';
import { isAbstractType } from 'graphql';

export function createCache(schema) {
  const abstract = Object.values(schema.getTypeMap()).filter(isAbstractType);
  const names = (type) => schema.getPossibleTypes(type).map(({ name }) => name);
  return new InMemoryCache({
    possibleTypes: Object.fromEntries(abstract.map((type) => [type.name, names(type)])),
    typePolicies: {
      Organization: { fields: { users: relayStylePagination(['filter', 'orderBy']) } },
    },
  });
}
