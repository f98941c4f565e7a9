// Generates what the source imports from src/generated: the typed documents of all queries, and the types of the
// texts. Also writes persisted-documents.json: each document by the SHA-256 of its text, exactly as it is sent, for
// the server's --graphql-operations.
import { createHash } from 'node:crypto';
import { mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { fileURLToPath, pathToFileURL } from 'node:url';
import path from 'node:path';
import { generate } from '@graphql-codegen/cli';
import { formatDocument, stringifyDocument } from '@urql/core';
import { transformWithOxc } from 'vite';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
process.chdir(root);
await mkdir('src/generated', { recursive: true });

const scalars = { DateTime: 'string', Long: 'number', UUID: 'string', JSON: 'unknown', ID: 'string' };
await generate(
  {
    schema: '../schema.graphql',
    documents: ['src/**/*.{ts,tsx}', '!src/generated/**'],
    silent: true,
    errorsOnly: true,
    generates: {
      'src/generated/': {
        preset: 'client',
        presetConfig: { fragmentMasking: false },
        config: { scalars, enumsAsTypes: true, useTypeImports: true, strictScalars: true },
      },
    },
  },
  true,
);

const source = await readFile('src/generated/graphql.ts', 'utf8');
const { code } = await transformWithOxc(source, 'graphql.ts');
const module = path.join(root, 'node_modules', '.documents.mjs');
await writeFile(module, code);
const documents = Object.entries(await import(pathToFileURL(module).href)).filter(
  ([name, value]) => name.endsWith('Document') && value.definitions?.some((part) => part.kind === 'OperationDefinition'),
);
await rm(module);
const texts = documents.map(([, document]) => stringifyDocument(formatDocument(document)));
const listed = texts.map((text) => [createHash('sha256').update(text).digest('hex'), text]);
listed.sort(([, a], [, b]) => (a < b ? -1 : 1));
await writeFile('persisted-documents.json', `${JSON.stringify(Object.fromEntries(listed), null, 2)}\n`);

// Each folder of screens has its texts; the namespace has the folder's name.
const folders = (await readdir('src/screens')).filter((name) => existsSync(`src/screens/${name}/en.json`)).sort();
const types = ["import type common from '../texts/en.json';", "import type setup from '../setup/en.json';"];
for (const [index, name] of folders.entries()) types.push(`import type screen${index} from '../screens/${name}/en.json';`);
types.push('', 'export interface Texts {', '  common: typeof common;', '  setup: typeof setup;');
for (const [index, name] of folders.entries()) types.push(`  '${name}': typeof screen${index};`);
types.push('}', '');
await writeFile('src/generated/texts.d.ts', types.join('\n'));
console.log(`${listed.length} documents, ${folders.length + 2} files of texts in each language`);
