import type { ScreenDefinition } from '../../app/screens.ts';

export const screens: ScreenDefinition[] = [
  {
    path: 'overview',
    needs: ['IAM_READ'],
    menu: { group: 'iam', order: 1, title: 'menu.overview', icon: 'overview' },
    load: () => import('./OverviewScreen.tsx'),
  },
];
