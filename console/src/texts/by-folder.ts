/** Files by the name of the folder that they lie in. */
export function byFolder<T>(files: Record<string, T>): Record<string, T> {
  return Object.fromEntries(Object.entries(files).map(([path, file]) => [path.split('/').at(-2) ?? path, file]));
}
