import type { ScreenDefinition } from '../../app/screens.ts';

export const screens: ScreenDefinition[] = [
  {
    path: 'configuration',
    needs: ['IAM_READ'],
    menu: { group: 'iam', order: 2, title: 'menu.configuration', icon: 'gear' },
    load: () => import('./ConfigurationScreen.tsx'),
  },
];
