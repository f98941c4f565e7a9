import type { ScreenDefinition } from '../../app/screens.ts';

export const screens: ScreenDefinition[] = [
  {
    path: 'decision',
    needs: ['DECISION_READ'],
    menu: { group: 'access', order: 40, title: 'menu.decision', icon: 'search' },
    load: () => import('./DecisionScreen.tsx').then((module) => ({ default: module.DecisionScreen })),
  },
];
