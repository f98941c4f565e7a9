import common from './en.json';
import { byFolder } from './by-folder.ts';

const screens = import.meta.glob<object>('../screens/*/en.json', { eager: true, import: 'default' });

export const texts = { common, ...byFolder(screens) };
