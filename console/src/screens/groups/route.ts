import type { ScreenDefinition } from '../../app/screens.ts';

export const screens: ScreenDefinition[] = [
  {
    path: 'groups',
    needs: ['IAM_READ'],
    menu: { group: 'directory', order: 20, title: 'menu.groupList', icon: 'groups' },
    load: () => import('./GroupsScreen.tsx').then((module) => ({ default: module.GroupsScreen })),
  },
  {
    path: 'groups/deleted',
    needs: ['IAM_READ'],
    parent: 'groups',
    load: () => import('./DeletedGroupsScreen.tsx').then((module) => ({ default: module.DeletedGroupsScreen })),
  },
  {
    path: 'groups/:id',
    needs: ['IAM_READ'],
    parent: 'groups',
    load: () => import('./GroupScreen.tsx').then((module) => ({ default: module.GroupScreen })),
  },
];
