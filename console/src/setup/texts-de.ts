import messages from '../messages/de.json';
import common from '../texts/de.json';
import setup from './de.json';

export const texts = { common, messages, setup };
