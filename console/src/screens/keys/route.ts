import type { ScreenDefinition } from '../../app/screens.ts';

export const screens: ScreenDefinition[] = [
  {
    path: 'keys',
    needs: ['TOKEN_MANAGE'],
    menu: { group: 'settings', order: 10, title: 'menu.keys', icon: 'key' },
    load: () => import('./KeysScreen.tsx'),
  },
];
