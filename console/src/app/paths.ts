// The path below which the server lives: "/" or, for example, "/pp/". Files lie in <prefix>assets/.
export const prefix = import.meta.env.DEV ? '/' : new URL(/* @vite-ignore */ '..', import.meta.url).pathname;

/** The router's base has no slash at its end. */
export const routerBase = prefix.replace(/\/$/, '');

export const endpoint = (path: string) => prefix + path;

/** The path of a screen of an organization, as the router takes it. */
export const screenPath = (slug: string, path: string) => `/o/${encodeURIComponent(slug)}/${path}`;
