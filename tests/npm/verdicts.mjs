// The verdicts of graphql-js and of the server on the documents of verdicts.json: each is refused by both, or by
// none. Executed only if it is valid; what it does then does not matter here.
import { readFileSync } from 'node:fs';
import { buildSchema, GraphQLError, parse, validate } from 'graphql';
import { getVariableValues } from 'graphql/execution/values.js';

const [sdl] = process.argv.slice(2);
const schema = buildSchema(readFileSync(sdl, 'utf8'));
const documents = JSON.parse(readFileSync(new URL('verdicts.json', import.meta.url), 'utf8'));
const refusals = new Set(['GRAPHQL_PARSE_FAILED', 'GRAPHQL_VALIDATION_FAILED']);

function reference({ document, variables, operationName }) {
  try {
    const parsed = parse(document);
    const mistakes = validate(schema, parsed);
    if (mistakes.length > 0) return mistakes[0].message;
    const operation = parsed.definitions.find((definition) => definition.kind === 'OperationDefinition'
      && (operationName === undefined || definition.name?.value === operationName));
    const { errors } = getVariableValues(schema, operation.variableDefinitions ?? [], variables ?? {});
    return errors?.[0]?.message;
  } catch (error) {
    if (error instanceof GraphQLError) return error.message;
    throw error;
  }
}

async function ours({ document, variables, operationName }) {
  const answer = await fetch(process.env.URL_GRAPHQL, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${process.env.API_KEY}`,
      'content-type': 'application/json',
      accept: 'application/graphql-response+json',
    },
    body: JSON.stringify({ query: document, variables, operationName }),
  });
  const body = await answer.json();
  return body.errors?.find((error) => refusals.has(error.extensions?.code))?.message;
}

let differences = 0;
for (const document of documents) {
  const [theirs, own] = [reference(document), await ours(document)];
  if ((theirs === undefined) !== document.valid || (own === undefined) !== document.valid) {
    differences += 1;
    console.error(`${JSON.stringify(document)}\n  graphql-js: ${theirs ?? 'valid'}\n  rolecall: ${own ?? 'valid'}`);
  }
}
const valid = documents.filter((document) => document.valid).length;
console.log(`${documents.length} documents, ${valid} valid: ${differences} differences`);
process.exitCode = differences === 0 ? 0 : 1;
