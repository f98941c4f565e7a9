import type { ScreenDefinition } from '../../app/screens.ts';

export const screens: ScreenDefinition[] = [
  {
    path: 'sso',
    needs: ['IAM_READ'],
    menu: { group: 'iam', order: 3, title: 'menu.sso', icon: 'signIn' },
    load: () => import('./SignInScreen.tsx'),
  },
];
