import common from '../texts/en.json';
import setup from './en.json';

export const texts = { common, setup };
