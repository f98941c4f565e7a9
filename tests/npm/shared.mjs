// What the programs here share: requests to the server, the screens and their variables, and a watch on warnings.
import { readFileSync, readdirSync } from 'node:fs';

const { URL_GRAPHQL: url, API_KEY: key, SCREENS: folder } = process.env;
const authorization = `Bearer ${key}`;

/** Every screen of docs/examples/screens: the name of its query and the text. */
export const screens = readdirSync(folder)
  .filter((file) => file.endsWith('.graphql'))
  .map((file) => {
    const text = readFileSync(`${folder}/${file}`, 'utf8');
    return { file, text, name: text.match(/^query (\w+)/m)[1] };
  });

/** The answer to an operation, with errors and extensions. */
export async function send(query, variables = {}) {
  const response = await fetch(url, {
    method: 'POST',
    headers: { authorization, 'content-type': 'application/json' },
    body: JSON.stringify({ query, variables }),
  });
  return response.json();
}

/** The data of an operation that must succeed, also in its `userErrors`. */
export async function ask(query, variables) {
  const { data, errors } = await send(query, variables);
  if (errors) throw new Error(JSON.stringify(errors));
  for (const payload of Object.values(data)) {
    if (payload?.userErrors?.length > 0) throw new Error(JSON.stringify(payload.userErrors));
  }
  return data;
}

/** The variables that each screen needs, for one object of each kind that the server has. */
export async function findVariables() {
  const { organization } = await ask(`{ organization {
    connections(first: 1) { nodes { id name } } users(first: 1) { nodes { id } } groups(first: 1) { nodes { id } } } }`);
  const first = (list) => organization[list].nodes[0].id;
  const connectionId = first('connections');
  return {
    Configuration: { connectionId },
    Rotation: { connectionId },
    User: { id: first('users') },
    Group: { id: first('groups') },
  };
}

/** Collects what a library writes to the console: its warnings are findings here. */
export function collectWarnings() {
  const warnings = [];
  const collect = (...words) => warnings.push(words.map(String).join(' '));
  console.warn = collect;
  console.error = collect;
  return warnings;
}
