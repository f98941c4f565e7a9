// Drawn on a grid of 24; decoration only: the text beside it says what it means.
const PATHS = {
  alert: 'M12 8v5M12 16.5v.01M10.3 3.9 2.6 17.5A2 2 0 0 0 4.3 20.5h15.4a2 2 0 0 0 1.7-3L13.7 3.9a2 2 0 0 0-3.4 0Z',
  arrowLeft: 'M19 12H5M11 6l-6 6 6 6',
  arrowRight: 'M5 12h14M13 6l6 6-6 6',
  audit: 'M7 3h7l5 5v13H7zM14 3v5h5M10 13h6M10 17h6',
  bell: 'M6 16V11a6 6 0 0 1 12 0v5l1.5 2h-15zM10 20.5a2.2 2.2 0 0 0 4 0',
  building: 'M5 21V4h9v17M14 9h5v12M3 21h18M8 8h3M8 12h3M8 16h3',
  check: 'm4.5 12.5 5 5 10-11',
  chevronDown: 'm6 9 6 6 6-6',
  clock: 'M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18ZM12 7v5.5l3.5 2',
  close: 'M6 6l12 12M18 6 6 18',
  copy: 'M9 9h11v11H9zM5 15H4V4h11v1',
  finding: 'M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13ZM15.5 15.5 21 21M10.5 7.5v3.5M10.5 13.6v.01',
  gear: 'M12 8.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7ZM12 2.8v3M12 18.2v3M2.8 12h3M18.2 12h3M5.5 5.5l2.1 2.1M16.4 16.4l2.1 2.1M5.5 18.5l2.1-2.1M16.4 7.6l2.1-2.1',
  globe: 'M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18ZM3 12h18M12 3c3 3 3.6 6 3.6 9s-.6 6-3.6 9c-3-3-3.6-6-3.6-9S9 6 12 3Z',
  groups: 'M8.5 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6ZM2.5 19c.4-3.4 2.7-5.2 6-5.2s5.6 1.8 6 5.2M16 5.2a3 3 0 0 1 0 5.6M17.5 14c2.3.6 3.7 2.3 4 5',
  info: 'M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18ZM12 11v5.5M12 7.5v.01',
  jobs: 'M4 6h16M4 12h16M4 18h10M18 16v5M15.5 18.5h5',
  key: 'M8 11a4 4 0 1 0 0 8 4 4 0 0 0 0-8ZM11 12.5 20 3.5M16.5 7l3 3M14 9.5l2 2',
  link: 'M10 14a4 4 0 0 0 5.7.0l3-3a4 4 0 0 0-5.7-5.7L12 6.3M14 10a4 4 0 0 0-5.7 0l-3 3A4 4 0 0 0 11 18.7l1-1',
  lock: 'M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 0 1 7 0v3',
  mapping: 'M4 6h6v5H4zM14 13h6v5h-6zM10 8.5h3.5a2 2 0 0 1 2 2V13',
  menu: 'M4 7h16M4 12h16M4 17h16',
  moon: 'M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10Z',
  overview: 'M4 4h7v7H4zM13 4h7v4h-7zM13 10h7v10h-7zM4 13h7v7H4z',
  person: 'M12 4a4 4 0 1 0 0 8 4 4 0 0 0 0-8ZM4.5 20.5c.6-4 3.3-6 7.5-6s6.9 2 7.5 6',
  plug: 'M9 3v5M15 3v5M6 8h12v3a6 6 0 0 1-12 0zM12 17v4',
  print: 'M7 9V4h10v5M7 17H4V9h16v8h-3M7 14h10v6H7z',
  reload: 'M20 11a8 8 0 1 0-2.3 6.6M20 5v6h-6',
  review: 'M4 5h16v11H9l-5 4z',
  role: 'M12 3l8 3v6c0 4.5-3.3 7.7-8 9-4.7-1.3-8-4.5-8-9V6z',
  search: 'M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13ZM15.5 15.5 21 21',
  signOut: 'M10 4H5v16h5M14 8l4 4-4 4M18 12H9',
  signIn: 'M14 4h5v16h-5M10 8l4 4-4 4M14 12H4',
  spinner: 'M12 3a9 9 0 1 0 9 9',
  sync: 'M4 10a8 8 0 0 1 14-3.5L20 9M20 4v5h-5M20 14a8 8 0 0 1-14 3.5L4 15M4 20v-5h5',
  trash: 'M4 7h16M9 7V4h6v3M6.5 7l1 13h9l1-13M10 11v5.5M14 11v5.5',
} as const;

export type IconName = keyof typeof PATHS;

/** They point along the line, so that they turn with the direction of the writing. */
const DIRECTED: ReadonlySet<IconName> = new Set(['arrowLeft', 'arrowRight', 'signIn', 'signOut']);

export function Icon({ name, spin = false }: { name: IconName; spin?: boolean }) {
  return (
    <svg className={['icon', spin && 'icon-spin', DIRECTED.has(name) && 'icon-directed'].filter(Boolean).join(' ')} viewBox="0 0 24 24" width="20" height="20" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
