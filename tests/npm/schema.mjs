// The schema as other programs take it: Apollo's subgraph builder accepts it, nothing that a client of the last
// released schema uses is gone or has changed before its time (docs/graphql/released.graphql; `tests/clients record`
// writes it), and what is deprecated says when it goes.
import { readFileSync } from 'node:fs';
import { buildSubgraphSchema } from '@apollo/subgraph';
import { buildSchema, findBreakingChanges, parse, visit } from 'graphql';

const [current, released] = process.argv.slice(2).map((file) => readFileSync(file, 'utf8'));
const link = `extend schema @link(url: "https://specs.apollo.dev/federation/v2.9", import: ["@key", "@shareable"])`;
for (const [name, text] of [['Federation 1', current], ['Federation 2', `${link}\n${current}`]]) {
  const subgraph = buildSubgraphSchema({ typeDefs: parse(text) });
  if (!subgraph.getQueryType().getFields()._service) throw new Error(`${name}: no subgraph was built`);
  console.log(`${name}: a subgraph with ${Object.keys(subgraph.getTypeMap()).length} types`);
}
const today = new Date().toISOString().slice(0, 10);
const dates = (text) => {
  const found = new Map();
  visit(parse(text), {
    Directive({ name, arguments: given }, key, parent, path, ancestors) {
      if (name.value !== 'deprecated') return;
      const reason = given.find((argument) => argument.name.value === 'reason')?.value.value ?? '';
      const date = reason.match(/^20\d\d-\d\d-\d\d(?=: )/)?.[0];
      if (!date) throw new Error(`@deprecated without the date it goes: "${reason}"`);
      const names = ancestors.filter((node) => !Array.isArray(node) && node.name).map((node) => node.name.value);
      found.set(names.join('.'), date);
    },
  });
  return found;
};
dates(current);
// What the released schema announced may go when its day has come: a field by its type and name, a value by both.
const due = [...dates(released)].filter(([, date]) => date <= today).map(([path]) => path);
const announced = ({ description }) =>
  due.some((path) => {
    const [type, name, argument] = path.split('.');
    if (argument) return description === `${type}.${name} arg ${argument} was removed.`;
    return description === `${path} was removed.` || description === `${name} was removed from enum type ${type}.`;
  });
const changes = findBreakingChanges(buildSchema(released), buildSchema(current)).filter((change) => !announced(change));
for (const { type, description } of changes) console.error(`${type}: ${description}`);
if (changes.length > 0) {
  console.error('Deprecate what goes, and keep it for a release; or record the change: tests/clients record');
  process.exit(1);
}
console.log('no breaking change since the released schema');
