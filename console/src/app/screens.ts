// The screens. Each folder of src/screens has a route.ts that says what it adds; nothing is listed here.
import { type ComponentType, lazy } from 'react';
import type { ParseKeys } from 'i18next';
import type { IconName } from '../components/Icon.tsx';
import type { Permission } from '../generated/graphql.ts';

export type MenuGroup = 'iam' | 'directory' | 'access' | 'operation' | 'audit' | 'settings';

export const MENU_GROUPS: readonly MenuGroup[] = ['iam', 'directory', 'access', 'operation', 'audit', 'settings'];

export interface ScreenDefinition {
  /** Below /o/{slug}/, as wouter writes it: "connections", "connections/:id". */
  path: string;
  /** All of these are needed; without one of them the screen is one full page "403 Forbidden". */
  needs: readonly Permission[];
  /** The place in the sidebar; left out for screens that others lead to. */
  menu?: { group: MenuGroup; order: number; title: ParseKeys<'common'>; icon: IconName };
  /** For a screen without a place of its own: the path of the item that stays highlighted. */
  parent?: string;
  load: () => Promise<{ default: ComponentType }>;
}

export interface Screen extends ScreenDefinition {
  Component: ComponentType;
}

const found = import.meta.glob<{ screens: ScreenDefinition[] }>('../screens/*/route.ts', { eager: true });

export const screens: readonly Screen[] = Object.values(found)
  .flatMap((module) => module.screens)
  .map((definition) => ({ ...definition, Component: lazy(definition.load) }));

const order = (screen: Screen) => (screen.menu ? MENU_GROUPS.indexOf(screen.menu.group) * 1000 + screen.menu.order : 0);

/** What the sidebar shows to everybody who may see it all, in its order. */
export const menuScreens = screens.filter((screen) => screen.menu).sort((a, b) => order(a) - order(b));

/** The pattern of a screen's path, for addresses below /o/{slug}/. */
export const screenPattern = (path: string) => 
  new RegExp(`^${path.replaceAll(/\/:\w+\?/g, '(?:/[^/?]+)?').replaceAll(/:\w+/g, '[^/?]+')}$`);

/** Fetches the code of the screen at an address, or else of the first one. */
export function preloadScreen(location: string) {
  const path = /^\/o\/[^/]+\/(.+)$/.exec(location)?.[1];
  const found = path === undefined ? menuScreens[0] : screens.find((screen) => screenPattern(screen.path).test(path));
  // What fails now is tried again when the screen is shown.
  found?.load().catch(() => undefined);
}
