import type { ScreenDefinition } from '../../app/screens.ts';

export const screens: ScreenDefinition[] = [
  {
    path: 'review',
    needs: ['IAM_READ'],
    menu: { group: 'operation', order: 10, title: 'menu.review', icon: 'review' },
    load: () => import('./ReviewScreen.tsx'),
  },
  { path: 'review/proposals', needs: ['IAM_READ'], parent: 'review', load: () => import('./ProposalsScreen.tsx') },
];
