// The rules of @graphql-eslint, all of them, on the published schema and on the documents of docs/examples. A rule that
// is off has its reason beside it.
import graphql from '@graphql-eslint/eslint-plugin';

const { configs, parser } = graphql;
const plugins = { '@graphql-eslint': graphql };
const graphQLConfig = { schema: 'linted.graphql', documents: ['screens/*.graphql', 'examples/*.graphql'] };
const languageOptions = { parser, parserOptions: { graphQLConfig } };
const off = (...names) => Object.fromEntries(names.map((name) => [`@graphql-eslint/${name}`, 'off']));

export default [
  {
    files: ['linted.graphql'],
    plugins,
    languageOptions,
    rules: {
      ...configs['flat/schema-all'].rules,
      ...configs['flat/schema-relay'].rules,
      // Short lists (the tokens of a connection, the sources of a role) are plain lists with a cap.
      '@graphql-eslint/relay-edge-types': [
        'error',
        // The rows of reports are no nodes: a row has no identity that lasts.
        { withEdgeSuffix: true, shouldImplementNode: false, listTypeCanWrapOnlyEdgeType: false },
      ],
      ...off(
        // The program that prints the schema chooses the style by the length of the text.
        'description-style',
        // Fields stand in the order in which people read them.
        'alphabetize',
        // Values, pages and payloads have no identity. That an `id` is the object's own is tested in tests/it.
        'strict-id-in-types',
        // Mutations and subscriptions are what this API is for.
        'no-root-type',
        // A payload returns what was changed; whoever wants more asks for it by a query.
        'require-field-of-type-query-in-mutation-result',
        // `viewer` is there for every caller who is let in.
        'require-nullable-result-in-root',
        // It wants an argument that the directive of the specification lacks; schema.mjs looks for a date in the reason.
        'require-deprecation-date',
        // `userName` is the name of the attribute in SCIM.
        'no-typename-prefix',
      ),
    },
  },
  {
    files: ['screens/*.graphql'],
    plugins,
    languageOptions,
    rules: {
      ...configs['flat/operations-all'].rules,
      // Fields stand in the order in which a screen shows them.
      ...off('alphabetize'),
    },
  },
  {
    files: ['examples/*.graphql'],
    plugins,
    languageOptions,
    rules: {
      ...configs['flat/operations-recommended'].rules,
      // These are for scripts and for reading, not for a cache.
      ...off('require-selections'),
    },
  },
];
