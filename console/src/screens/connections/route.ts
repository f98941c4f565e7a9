import type { ScreenDefinition } from '../../app/screens.ts';

export const screens: ScreenDefinition[] = [
  {
    path: 'connections',
    needs: ['IAM_READ'],
    menu: { group: 'iam', order: 40, title: 'menu.connections', icon: 'plug' },
    load: () => import('./ConnectionsScreen.tsx'),
  },
  {
    path: 'connections/new',
    needs: ['IAM_READ', 'IAM_WRITE'],
    parent: 'connections',
    load: () => import('./NewConnectionScreen.tsx'),
  },
  {
    path: 'connections/:id/:tab?',
    needs: ['IAM_READ'],
    parent: 'connections',
    load: () => import('./ConnectionScreen.tsx'),
  },
];
