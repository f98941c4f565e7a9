import type { ScreenDefinition } from '../../app/screens.ts';

export const screens: ScreenDefinition[] = [
  {
    path: 'alerts',
    needs: ['IAM_READ'],
    menu: { group: 'operation', order: 50, title: 'menu.alerts', icon: 'bell' },
    load: () => import('./AlertsScreen.tsx'),
  },
  { path: 'alerts/rules', needs: ['IAM_READ'], parent: 'alerts', load: () => import('./RulesScreen.tsx') },
];
