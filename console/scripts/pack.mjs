// Compresses console/dist into assets/console, from where the server takes it: each file as .br and .gz, and
// manifest.json. The same files give the same bytes.
import { createHash } from 'node:crypto';
import { mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const from = path.join(root, 'dist');
const to = process.argv[2] ?? path.join(root, '..', 'assets', 'console');
const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
};

await rm(to, { recursive: true, force: true });
const names = (await readdir(from, { recursive: true, withFileTypes: true }))
  .filter((entry) => entry.isFile())
  .map((entry) => path.relative(from, path.join(entry.parentPath, entry.name)))
  .sort();
const files = [];
let compressed = 0;
for (const name of names) {
  const contentType = TYPES[path.extname(name)];
  if (!contentType) throw new Error(`${name}: no content type is known for it`);
  const bytes = await readFile(path.join(from, name));
  const target = path.join(to, name);
  await mkdir(path.dirname(target), { recursive: true });
  const brotli = brotliCompressSync(bytes, {
    params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length },
  });
  compressed += brotli.length;
  await writeFile(`${target}.br`, brotli);
  await writeFile(`${target}.gz`, gzipSync(bytes, { level: 9 }));
  files.push({ path: name, contentType, size: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') });
}
await writeFile(path.join(to, 'manifest.json'), `${JSON.stringify({ files }, null, 2)}\n`);
console.log(`${files.length} files, ${Math.round(compressed / 1024)} KB compressed`);
