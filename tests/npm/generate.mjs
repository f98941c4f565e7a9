// GraphQL code generator's client preset, with the configuration of codegen.config.mjs: typed documents for
// operations.graphql and for every screen. Nothing may become `any`.
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { preset } from '@graphql-codegen/client-preset';
import { codegen } from '@graphql-codegen/core';
import { parse } from 'graphql';
import config from './codegen.config.mjs';

const { schema, documents, generates } = config;
const [[folder, { config: settings }]] = Object.entries(generates);
const read = (location) => {
  const rawSDL = readFileSync(location, 'utf8');
  return { location, rawSDL, document: parse(rawSDL) };
};
// A pattern here is a name, or a folder with all files of an ending.
const expand = (pattern) =>
  pattern.includes('*')
    ? readdirSync(dirname(pattern))
        .filter((name) => name.endsWith(basename(pattern).slice(1)))
        .map((name) => `${dirname(pattern)}/${name}`)
    : [pattern];
const files = documents.flatMap(expand);
if (files.length < 15) throw new Error(`only ${files.length} documents`);
const sections = await preset.buildGeneratesSection({
  baseOutputDir: folder,
  schema: parse(readFileSync(schema, 'utf8')),
  documents: files.map(read),
  // Node.js itself runs what is made here, and wants whole file names.
  config: { ...settings, importExtension: '.js' },
  presetConfig: {},
  plugins: [],
  pluginMap: {},
});
for (const section of sections) {
  const source = await codegen(section);
  const untyped = source.split('\n').filter((line) => /[:<|] *any\b/.test(line));
  if (section.filename.endsWith('/graphql.ts') && untyped.length > 0) throw new Error(untyped.join('\n'));
  mkdirSync(dirname(section.filename), { recursive: true });
  writeFileSync(section.filename, source);
}
console.log(`${files.length} documents have types`);
