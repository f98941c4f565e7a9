import type { ScreenDefinition } from '../../app/screens.ts';

export const screens: ScreenDefinition[] = [
  {
    path: 'mappings',
    needs: ['IAM_READ'],
    menu: { group: 'access', order: 10, title: 'menu.mappings', icon: 'mapping' },
    load: () => import('./MappingsScreen.tsx').then((module) => ({ default: module.MappingsScreen })),
  },
  {
    path: 'mappings/edit',
    needs: ['IAM_READ', 'ACCESS_WRITE'],
    parent: 'mappings',
    load: () => import('./MappingEditorScreen.tsx').then((module) => ({ default: module.MappingEditorScreen })),
  },
  {
    path: 'mappings/history',
    needs: ['IAM_READ', 'AUDIT_READ'],
    parent: 'mappings',
    load: () => import('./MappingHistoryScreen.tsx').then((module) => ({ default: module.MappingHistoryScreen })),
  },
  {
    path: 'mappings/:id',
    needs: ['IAM_READ'],
    parent: 'mappings',
    load: () => import('./MappingScreen.tsx').then((module) => ({ default: module.MappingScreen })),
  },
];
