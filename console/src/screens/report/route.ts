import type { ScreenDefinition } from '../../app/screens.ts';

export const screens: ScreenDefinition[] = [
  {
    path: 'access-report',
    needs: ['IAM_READ'],
    menu: { group: 'access', order: 30, title: 'menu.report', icon: 'finding' },
    load: () => import('./ReportScreen.tsx').then((module) => ({ default: module.ReportScreen })),
  },
];
