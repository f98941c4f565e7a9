import type { ScreenDefinition } from '../../app/screens.ts';

export const screens: ScreenDefinition[] = [
  {
    path: 'audit',
    needs: ['AUDIT_READ'],
    menu: { group: 'audit', order: 10, title: 'menu.audit', icon: 'audit' },
    load: () => import('./LedgerScreen.tsx').then((module) => ({ default: module.LedgerScreen })),
  },
  {
    path: 'evidence',
    needs: ['AUDIT_READ', 'USER_READ', 'IAM_READ'],
    menu: { group: 'audit', order: 20, title: 'menu.evidence', icon: 'print' },
    load: () => import('./EvidenceScreen.tsx').then((module) => ({ default: module.EvidenceScreen })),
  },
  {
    path: 'leavers',
    needs: ['AUDIT_READ'],
    menu: { group: 'audit', order: 30, title: 'menu.leavers', icon: 'clock' },
    load: () => import('./LeaversScreen.tsx').then((module) => ({ default: module.LeaversScreen })),
  },
];
