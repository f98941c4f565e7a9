// Compares the texts of both languages: the same keys with the same {{values}}, no empty text, and the plural forms of
// each language.
import { existsSync } from 'node:fs';
import { readFile, readdir } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

process.chdir(path.dirname(path.dirname(fileURLToPath(import.meta.url))));
const folders = ['src/texts', 'src/setup'];
for (const name of await readdir('src/screens')) {
  const folder = `src/screens/${name}`;
  if (existsSync(`${folder}/en.json`) || existsSync(`${folder}/de.json`)) folders.push(folder);
}

function flatten(value, prefix = '', texts = new Map()) {
  for (const [key, inner] of Object.entries(value)) {
    if (typeof inner === 'string') texts.set(prefix + key, inner);
    else flatten(inner, `${prefix}${key}.`, texts);
  }
  return texts;
}

const values = (text) => [...text.matchAll(/\{\{\s*(\w+)/g)].map((match) => match[1]).sort().join(' ');
const problems = [];
let count = 0;
for (const folder of folders) {
  const [en, de] = await Promise.all(
    ['en', 'de'].map(async (language) => flatten(JSON.parse(await readFile(`${folder}/${language}.json`, 'utf8')))),
  );
  for (const [key, text] of en) {
    count += 1;
    if (!de.has(key)) problems.push(`${folder}/de.json lacks ${key}`);
    else if (values(text) !== values(de.get(key))) problems.push(`${folder}: ${key} has other {{values}} in German`);
  }
  for (const [key, text] of de) if (!en.has(key)) problems.push(`${folder}/en.json lacks ${key}: ${text}`);
  for (const [language, texts] of [['en', en], ['de', de]]) {
    for (const [key, text] of texts) {
      if (!text.trim()) problems.push(`${folder}/${language}.json: ${key} is empty`);
      for (const [one, other] of [['_one', '_other'], ['_other', '_one']]) {
        if (key.endsWith(one) && !texts.has(key.slice(0, -one.length) + other)) {
          problems.push(`${folder}/${language}.json: ${key} has no form ${other}`);
        }
      }
    }
  }
}
if (problems.length) {
  console.error(problems.join('\n'));
  process.exit(1);
}
console.log(`${count} texts in English and German`);
