import type { ScreenDefinition } from '../../app/screens.ts';

export const screens: ScreenDefinition[] = [
  {
    path: 'people',
    needs: ['USER_READ'],
    menu: { group: 'directory', order: 10, title: 'menu.people', icon: 'person' },
    load: () => import('./PeopleScreen.tsx').then((module) => ({ default: module.PeopleScreen })),
  },
  {
    path: 'people/deleted',
    needs: ['USER_READ'],
    parent: 'people',
    load: () => import('./DeletedPeopleScreen.tsx').then((module) => ({ default: module.DeletedPeopleScreen })),
  },
  {
    path: 'people/:id',
    needs: ['USER_READ'],
    parent: 'people',
    load: () => import('./PersonScreen.tsx').then((module) => ({ default: module.PersonScreen })),
  },
];
