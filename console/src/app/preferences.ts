// What a browser may keep: the choice of theme, language and time zone, and nothing secret.
import { useSyncExternalStore } from 'react';

export type Theme = 'system' | 'light' | 'dark';
export type Language = 'en' | 'de';
export type Zone = 'local' | 'utc';

export interface Preferences {
  theme: Theme;
  language: Language;
  zone: Zone;
}

const STORAGE_KEY = 'rolecall.preferences';
const THEMES: readonly Theme[] = ['system', 'light', 'dark'];
const LANGUAGES: readonly Language[] = ['en', 'de'];
const ZONES: readonly Zone[] = ['local', 'utc'];

const choose = <T extends string>(choices: readonly T[], value: unknown, otherwise: T): T =>
  choices.find((choice) => choice === value) ?? otherwise;

function load(): Preferences {
  let stored: Partial<Record<keyof Preferences, unknown>> = {};
  try {
    stored = JSON.parse(localStorage.getItem(STORAGE_KEY) ?? '{}') ?? {};
  } catch {
    // Storage may be turned off, and what lies there may be anything.
  }
  const preferred = navigator.languages.map((tag) => tag.slice(0, 2)).find((tag) => tag === 'en' || tag === 'de');
  return {
    theme: choose(THEMES, stored.theme, 'system'),
    language: choose(LANGUAGES, stored.language, choose(LANGUAGES, preferred, 'en')),
    zone: choose(ZONES, stored.zone, 'local'),
  };
}

let current = load();
const listeners = new Set<() => void>();

function applyTheme() {
  if (current.theme === 'system') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = current.theme;
}
applyTheme();

export const getPreferences = () => current;

export function setPreferences(change: Partial<Preferences>) {
  current = { ...current, ...change };
  applyTheme();
  try {
    localStorage.setItem(STORAGE_KEY, JSON.stringify(current));
  } catch {
    // Then the choice lasts until the page is closed.
  }
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void) {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

export const usePreferences = () => useSyncExternalStore(subscribe, getPreferences);
