// How many compressed bytes the first screen needs: the page, what it loads by itself, the texts of one language and
// the code of the overview. Fails above the budget.
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliDecompressSync } from 'node:zlib';

const BUDGET_KILOBYTES = 300;
const SCREEN = /OverviewScreen/;
const TEXTS = /^assets\/texts-en-/;
const built = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', '..', 'assets', 'console');
const { files } = JSON.parse(await readFile(path.join(built, 'manifest.json'), 'utf8'));
const names = new Set(files.map((file) => file.path));

const needed = new Set();
let total = 0;
async function add(name) {
  if (needed.has(name)) return;
  needed.add(name);
  const compressed = await readFile(path.join(built, `${name}.br`));
  total += compressed.length;
  if (!/\.(html|js)$/.test(name)) return;
  const text = brotliDecompressSync(compressed).toString();
  // Static imports of a module, and what a page names.
  const imports = name.endsWith('.html')
    ? [...text.matchAll(/(?:src|href)="\.\/([^"]+)"/g)].map((match) => match[1])
    : [...text.matchAll(/(?:from|import)\s*["']\.\/([^"']+)["']/g)].map((match) => `assets/${match[1]}`);
  for (const inner of imports) if (names.has(inner)) await add(inner);
}
await add('index.html');
for (const name of names) if (TEXTS.test(name) || (SCREEN.test(name) && /\.(js|css)$/.test(name))) await add(name);
const kilobytes = total / 1024;
console.log(`first screen: ${kilobytes.toFixed(0)} KB compressed in ${needed.size} files, at most ${BUDGET_KILOBYTES}`);
if (![...needed].some((name) => SCREEN.test(name)) || ![...needed].some((name) => TEXTS.test(name))) {
  console.error('the files of the first screen have other names now: correct this script');
  process.exit(1);
}
if (kilobytes > BUDGET_KILOBYTES) process.exit(1);
