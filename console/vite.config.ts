import { readFileSync } from 'node:fs';
import react from '@vitejs/plugin-react';
import { type Plugin, defineConfig } from 'vite';

// What changes seldom is in files of its own, so that browsers keep them over an update.
const LIBRARIES = /node_modules\/(react|react-dom|scheduler|urql|@urql|wonka|wouter|graphql-sse|i18next|react-i18next)\//;

/**
 * Puts the text of each document where `graphql(…)` stands, so that each screen carries its own documents and no
 * other's. It is the text of persisted-documents.json, byte for byte, which scripts/codegen.mjs has written.
 */
function inlineDocuments(): Plugin {
  const listed = JSON.parse(readFileSync('persisted-documents.json', 'utf8')) as Record<string, string>;
  const nameOf = (text: string) => /^\s*(?:query|mutation|subscription)\s+(\w+)/m.exec(text)?.[1];
  const texts = new Map(Object.values(listed).map((text) => [nameOf(text), text]));
  return {
    name: 'inline-documents',
    enforce: 'pre',
    transform(code, file) {
      if (!/\/src\/.*\.tsx?$/.test(file) || file.includes('/generated/') || !code.includes('graphql(`')) return null;
      const inlined = code
        .replaceAll(/^import \{ graphql \} from '[^']*generated\/index\.ts';$/gm, '')
        .replaceAll(/graphql\(`([^`]*)`\)/g, (_, source: string) => {
          const name = nameOf(source);
          if (name === undefined) return "''";
          const text = texts.get(name);
          if (text === undefined) throw new Error(`${name}: not in persisted-documents.json; run npm run codegen`);
          return JSON.stringify(text);
        });
      return { code: inlined, map: null };
    },
  };
}

export default defineConfig({
  // Files find each other relative to themselves: the server may live below a path.
  base: './',
  plugins: [inlineDocuments(), react()],
  server: { proxy: { '/graphql': process.env.ROLECALL_URL ?? 'http://127.0.0.1:8080', '/console': process.env.ROLECALL_URL ?? 'http://127.0.0.1:8080' } },
  build: {
    target: 'es2022',
    // The content security policy allows no data: script and no inlined font or style.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    sourcemap: false,
    rolldownOptions: {
      input: { index: 'index.html', setup: 'setup.html' },
      output: { codeSplitting: { groups: [{ name: 'libraries', test: LIBRARIES }] } },
    },
  },
});
