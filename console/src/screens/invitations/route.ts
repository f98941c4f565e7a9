import type { ScreenDefinition } from '../../app/screens.ts';

export const screens: ScreenDefinition[] = [
  {
    path: 'invitations',
    needs: ['USER_READ'],
    menu: { group: 'directory', order: 30, title: 'menu.invitations', icon: 'signIn' },
    load: () => import('./InvitationsScreen.tsx').then((module) => ({ default: module.InvitationsScreen })),
  },
];
