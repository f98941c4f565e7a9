// The path below which the server lives: "/" or, for example, "/pp/". Files lie in <prefix>assets/.
export const prefix = import.meta.env.DEV ? '/' : new URL(/* @vite-ignore */ '..', import.meta.url).pathname;

/** The router's base has no slash at its end. */
export const routerBase = prefix.replace(/\/$/, '');

export const endpoint = (path: string) => prefix + path;

/** The path of a screen of an organization, as the router takes it. */
export const screenPath = (slug: string, path: string) => `/o/${encodeURIComponent(slug)}/${path}`;

/**
 * Takes the code of a one-time link (`#link=…`) out of the address bar and its history; undefined if there is none.
 * The fragment is sent to no server, so that neither a proxy nor a log has it.
 */
export function takeFragment(): string | undefined {
  // A second link in the same tab only changes the fragment: it is taken as the first one was.
  window.addEventListener('hashchange', () => {
    if (location.hash.startsWith('#link=')) location.reload();
  });
  const found = /^#link=(.+)$/.exec(location.hash)?.[1];
  if (found === undefined) return undefined;
  history.replaceState(null, '', location.pathname + location.search);
  try {
    return decodeURIComponent(found);
  } catch {
    return found;
  }
}
