import type { ScreenDefinition } from '../../app/screens.ts';

export const screens: ScreenDefinition[] = [
  {
    path: 'findings',
    needs: ['IAM_READ'],
    menu: { group: 'operation', order: 20, title: 'menu.findings', icon: 'finding' },
    load: () => import('./FindingsScreen.tsx'),
  },
];
