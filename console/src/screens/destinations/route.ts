import type { ScreenDefinition } from '../../app/screens.ts';

export const screens: ScreenDefinition[] = [
  {
    path: 'destinations',
    needs: ['IAM_READ'],
    menu: { group: 'operation', order: 40, title: 'menu.destinations', icon: 'globe' },
    load: () => import('./DestinationsScreen.tsx'),
  },
  { path: 'destinations/:id', needs: ['IAM_READ'], parent: 'destinations', load: () => import('./DestinationScreen.tsx') },
];
