// Every audit of graphql-http: the requirements of the specification "GraphQL over HTTP", as its authors check them.
import { auditServer } from 'graphql-http';

const { URL_GRAPHQL: url, API_KEY: key } = process.env;
const fetchFn = (input, init = {}) => {
  const headers = new Headers(init.headers);
  headers.set('authorization', `Bearer ${key}`);
  return fetch(input, { ...init, headers });
};
const results = await auditServer({ url, fetchFn });
const count = (status) => results.filter((result) => result.status === status).length;
for (const result of results.filter(({ status }) => status !== 'ok')) {
  console.log(`${result.status.padEnd(7)}${result.id} ${result.name}: ${result.reason}`);
}
console.log(`${count('ok')} of ${results.length} audits pass; MAY: ${count('notice')} not taken up`);
// "error" is a MUST, "warn" a SHOULD, "notice" a MAY.
if (results.length < 60 || count('error') > 0 || count('warn') > 0) process.exit(1);
