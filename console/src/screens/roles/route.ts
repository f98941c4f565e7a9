import type { ScreenDefinition } from '../../app/screens.ts';

export const screens: ScreenDefinition[] = [
  {
    path: 'roles',
    needs: ['IAM_READ'],
    menu: { group: 'access', order: 20, title: 'menu.roles', icon: 'role' },
    load: () => import('./RolesScreen.tsx').then((module) => ({ default: module.RolesScreen })),
  },
  {
    path: 'roles/:id',
    needs: ['IAM_READ'],
    parent: 'roles',
    load: () => import('./RoleScreen.tsx').then((module) => ({ default: module.RoleScreen })),
  },
];
