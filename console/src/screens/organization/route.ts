import type { ScreenDefinition } from '../../app/screens.ts';

export const screens: ScreenDefinition[] = [
  {
    path: 'organization',
    needs: ['IAM_READ'],
    menu: { group: 'settings', order: 20, title: 'menu.organization', icon: 'building' },
    load: () => import('./OrganizationScreen.tsx'),
  },
];
