// Writes the screens, and the operations of relay.mjs, as the modules that Relay's compiler reads: it takes documents
// from the source code of a frontend only, and wants the module's name before "Query" and "Mutation".
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { screens } from './shared.mjs';

mkdirSync('relay', { recursive: true });
const write = (name, text) => writeFileSync(`relay/${name}.js`, `graphql\`${text}\`;\n`);
for (const { name, text } of screens) write(name, text.replace(`query ${name}`, `query ${name}Query`));
write('Names', 'query NamesQuery { organization { connections(first: 10) { nodes { id name } } } }');
write(
  'Rename',
  `mutation RenameMutation($id: ID!, $name: String!) {
    connectionUpdate(input: { id: $id, name: $name }) { connection { id name } userErrors { message } } }`,
);
// A list that grows, as docs/graphql/relay.md shows it.
writeFileSync('relay/People.js', readFileSync('people.relay.js', 'utf8'));
console.log(`${screens.length + 3} modules`);
