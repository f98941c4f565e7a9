// Types and typed documents for operations.graphql, out of the published schema.
import { readFileSync, writeFileSync } from 'node:fs';
import { codegen } from '@graphql-codegen/core';
import * as typedDocumentNode from '@graphql-codegen/typed-document-node';
import * as typescript from '@graphql-codegen/typescript';
import * as operations from '@graphql-codegen/typescript-operations';
import { parse } from 'graphql';

const [schema, documents, filename] = process.argv.slice(2);
const scalars = { Long: 'number', DateTime: 'string', UUID: 'string', JSON: 'unknown' };
const output = await codegen({
  filename,
  schema: parse(readFileSync(schema, 'utf8')),
  documents: [{ location: documents, document: parse(readFileSync(documents, 'utf8')) }],
  config: { scalars, strictScalars: true, useTypeImports: true },
  plugins: [{ typescript: {} }, { operations: {} }, { typedDocumentNode: {} }],
  pluginMap: { typescript, operations, typedDocumentNode },
});
writeFileSync(filename, output);
