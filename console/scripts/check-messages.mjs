// What the server says by codes has German texts: the sentences of messages (src/message_parts/catalogue.rs), and the
// tables of codes that are no enums of the schema. The templates must be what the server's sources say: a sentence that
// was changed there, and a new one in the files that write messages, fails.
import { readFile, readdir } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(path.dirname(fileURLToPath(import.meta.url))));
process.chdir(root);
const problems = [];
const readJson = async (file) => JSON.parse(await readFile(file, 'utf8'));
const common = await readJson('console/src/texts/de.json');
const connections = await readJson('console/src/screens/connections/de.json');
const messages = await readJson('console/src/messages/de.json');
const schema = await readFile('schema.graphql', 'utf8');

/** The value of a literal of Rust: a line that ends with a backslash goes on in the next one. */
const unquote = (literal) => literal.replaceAll(/\\\n\s*/g, '').replaceAll(/\\(["\\])/g, '$1');
/** The part of a source before its tests. */
const withoutTests = (source) => source.split('#[cfg(test)]\nmod tests {')[0];

// The sentences, and their German.
const catalogue = await readFile('src/message_parts/catalogue.rs', 'utf8');
const sentences = [...catalogue.matchAll(/\(\s*"([A-Z_]+)",\s*"((?:[^"\\]|\\[^])*)",?\s*\)/g)].map(([, code, text]) => [code, unquote(text)]);
if (sentences.length < 200) problems.push('the sentences of src/message_parts/catalogue.rs were not read: correct this script');
const codes = new Set(['QUOTED', 'TRIED', ...sentences.map(([code]) => code)]);
for (const code of codes) if (!messages[code]?.trim()) problems.push(`console/src/messages/de.json lacks ${code}`);
for (const code of Object.keys(messages)) if (!codes.has(code)) problems.push(`console/src/messages/de.json: no sentence has the code ${code}`);
for (const [code, text] of sentences) {
  const count = (text.match(/\{#?\}/g) ?? []).length;
  for (const [, name] of (messages[code] ?? '').matchAll(/\{\{\s*(\w+)/g)) {
    if (name.length !== 1 || name.charCodeAt(0) - 97 >= count) problems.push(`${code}: its sentence has no value {{${name}}}`);
  }
}

// The sources say what the templates say. What other libraries say is not in them.
const OTHERS = ['failed to lookup address information', 'error sending request', 'a value is already in use here'];
const files = (await readdir('src', { recursive: true })).filter((name) => name.endsWith('.rs') && !name.startsWith('message_parts'));
const sources = new Map(await Promise.all(files.map(async (name) => [name, await readFile(path.join('src', name), 'utf8')])));
const all = unquote([...sources.values()].join('\n')).replaceAll('{sender}', '{}');
for (const [code, text] of sentences) {
  for (const piece of text.split(/\{[#&]?\}|, /)) {
    const words = piece.replaceAll(/^[\s:;.…]+|[\s:;.]+$/g, '');
    if (words.length >= 8 && !OTHERS.includes(words) && !all.includes(words)) problems.push(`${code}: no source says "${words}" any more`);
  }
}

// Files whose sentences reach administrators: each sentence there has a code.
const SPEAKERS = [
  'domain/sync/shrink.rs',
  'domain/reconcile/compare.rs',
  'domain/reconcile/export/mod.rs',
  'domain/review/cause.rs',
  'domain/connection/health/mod.rs',
  'domain/connection/request_log.rs',
  'scim_client/sync_worker.rs',
  'scim_client/client.rs',
  'scim_client/probe.rs',
  'scim_client/self_test.rs',
  'sign_in/probe/mod.rs',
  'sign_in/probe/openid.rs',
  'sign_in/probe/saml.rs',
  'event_delivery/message.rs',
  'http_client.rs',
];
// Refusals of a request, whose reason has a text; logs; statements.
const UNSAID = [
  /^SELECT |^UPDATE |^INSERT |^DELETE |^CASE WHEN |^\(\{\}\) and id eq /,
  /^failed sign-ins to unknown organizations|^cannot make an HTTPS client/,
  /^urn:|^application\//,
  /^\{\} of \{\} rows name no/,
  /^no column (identifies|names)/,
  /^is not UTF-8: save the file/,
  /^(has more than|is longer than|a field is longer than) /,
  /^holds no row/,
];
/** A text with its values as in a template. */
const normal = (text) => text.replaceAll(/\{[^{}]*\}/g, '{}');
const known = sentences.map(([, text]) => normal(text));
for (const name of SPEAKERS) {
  const source = sources.get(name);
  if (!source) {
    problems.push(`src/${name} is gone: correct console/scripts/check-messages.mjs`);
    continue;
  }
  // What to do about a reason of health is said by the reason's own code.
  const told = name === 'domain/connection/health/mod.rs' ? source.split('pub fn next_step')[0] : withoutTests(source);
  const code = told.replaceAll(/r#"[^]*?"#/g, '').replaceAll(/^\s*\/\/.*$/gm, '').replaceAll(/reason = "[^"]*"/g, '');
  for (const [, literal] of code.matchAll(/"((?:[^"\\]|\\[^])*)"/g)) {
    const text = normal(unquote(literal));
    // Three words and more are a sentence, or a part of one.
    if ((text.match(/[a-z]{2,} /gi) ?? []).length < 3 || UNSAID.some((pattern) => pattern.test(text))) continue;
    const words = text.replaceAll(/^[\s:;.,{}]+|[\s:;.,{}]+$/g, '').split(/\{\}/).sort((a, b) => b.length - a.length)[0].trim();
    if (!known.some((template) => template.includes(words))) problems.push(`src/${name}: no code of src/message_parts/catalogue.rs says "${text}"`);
  }
}

// Tables of codes.
const codesOf = (source, start, pattern) => [...withoutTests(source).slice(withoutTests(source).indexOf(start)).split(/\n    \}\n/)[0].matchAll(pattern)].map((match) => match[1]);
const enumOf = (name) => {
  const body = new RegExp(`^enum ${name} \\{\\n([^]*?)^\\}`, 'm').exec(schema)?.[1] ?? '';
  return [...body.matchAll(/^  ([A-Z][A-Z0-9_]*)(?: @.*)?$/gm)].map((match) => match[1]);
};
const meanings = [...withoutTests(sources.get('scim/observe/classify.rs')).matchAll(/"([a-z]+(?: [a-zA-Z-]+)+)"/g)].map((match) => match[1]);
const tables = [
  ['health reasons', codesOf(sources.get('domain/connection/health/mod.rs'), 'pub fn code(self)', /=> "([A-Z_]+)"/g), common.healthReason],
  ['quirks', codesOf(sources.get('scim/observe/quirk.rs'), 'pub fn name(self)', /=> "([A-Z_]+)"/g), connections.quirk],
  ['meanings of requests', [...meanings, 'bulk operation', 'read source', 'deliver event'], common.meaning],
  ['UserErrorReason', enumOf('UserErrorReason'), common.mistake],
  ['AttentionKind', enumOf('AttentionKind'), common.attention],
];
for (const [what, names, texts] of tables) {
  if (names.length < 5) problems.push(`${what}: not read: correct console/scripts/check-messages.mjs`);
  for (const name of names) if (!texts?.[name]) problems.push(`no German text for ${what}: ${name}`);
}
if (problems.length) {
  console.error(problems.join('\n'));
  process.exit(1);
}
console.log(`${sentences.length} sentences of the server and ${tables.reduce((sum, [, names]) => sum + names.length, 0)} codes in German`);
