import type { ScreenDefinition } from '../../app/screens.ts';

const load = () => import('./JobsScreen.tsx');

export const screens: ScreenDefinition[] = [
  { path: 'jobs', needs: ['IAM_READ'], menu: { group: 'operation', order: 30, title: 'menu.jobs', icon: 'jobs' }, load },
  { path: 'jobs/:kind', needs: ['IAM_READ'], parent: 'jobs', load },
];
