import type { ScreenDefinition } from '../../app/screens.ts';

export const screens: ScreenDefinition[] = [
  {
    path: 'extensions',
    needs: ['IAM_READ'],
    menu: { group: 'settings', order: 30, title: 'menu.extensions', icon: 'mapping' },
    load: () => import('./ExtensionsScreen.tsx'),
  },
  {
    path: 'extensions/new',
    needs: ['IAM_READ', 'IAM_WRITE'],
    parent: 'extensions',
    load: () => import('./NewExtensionScreen.tsx'),
  },
];
