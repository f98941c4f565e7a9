import messages from '../messages/de.json';
import common from './de.json';
import { byFolder } from './by-folder.ts';

const screens = import.meta.glob<object>('../screens/*/de.json', { eager: true, import: 'default' });

export const texts = { common, messages, ...byFolder(screens) };
