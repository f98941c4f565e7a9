// The configuration that docs/graphql/codegen.md shows.
export default {
  schema: 'schema.graphql',
  documents: ['operations.graphql', 'screens/*.graphql'],
  generates: {
    'gql/': {
      preset: 'client',
      config: {
        scalars: { DateTime: 'string', Long: 'number', UUID: 'string', JSON: 'unknown' },
        strictScalars: true,
        useTypeImports: true,
      },
    },
  },
};
