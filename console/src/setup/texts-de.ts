import common from '../texts/de.json';
import setup from './de.json';

export const texts = { common, setup };
