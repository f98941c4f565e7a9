// Serves console/dist as the server does it (policy, addresses, page for each deep link), and passes everything else on
// to a running server. For work on the console without building the server:
//   ROLECALL_URL=http://127.0.0.1:8080 node scripts/serve.mjs 5173
import { createServer, request } from 'node:http';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const built = path.join(path.dirname(path.dirname(fileURLToPath(import.meta.url))), 'dist');
const api = new URL(process.env.ROLECALL_URL ?? 'http://127.0.0.1:8080');
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' };

async function send(response, name) {
  let bytes;
  try {
    bytes = await readFile(path.join(built, name));
  } catch {
    response.writeHead(404).end('not found\n');
    return;
  }
  if (name.endsWith('.html')) bytes = bytes.toString().replaceAll('="./', '="/');
  response.writeHead(200, { 'Content-Type': TYPES[path.extname(name)] ?? 'text/plain', 'Content-Security-Policy': POLICY });
  response.end(bytes);
}

/** The server compares the origin of a request with its own address. */
const headersFor = ({ origin, ...headers }) => ({ ...headers, host: api.host, ...(origin && { origin: api.origin }) });

createServer((incoming, response) => {
  const { pathname } = new URL(incoming.url, 'http://console');
  if (incoming.method === 'GET') {
    if (pathname === '/setup') return void send(response, 'setup.html');
    if (pathname === '/' || pathname === '/sign-in' || /^\/(403|o)(\/|$)/.test(pathname)) return void send(response, 'index.html');
    if (/^\/assets\/[\w.-]+$/.test(pathname)) return void send(response, pathname.slice(1));
  }
  const outgoing = request(new URL(incoming.url, api), { method: incoming.method, headers: headersFor(incoming.headers) }, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
  });
  outgoing.on('error', () => response.writeHead(502).end());
  response.on('close', () => outgoing.destroy());
  incoming.pipe(outgoing);
}).listen(Number(process.argv[2] ?? 5173), '127.0.0.1');
