// What a mutation refused, in the language of the console. The server's own sentence is English and names the value, so
// other languages say the reason first and quote it after that.
import i18next from 'i18next';
import type { Problem } from './states.tsx';

export interface UserErrorLike {
  code: string;
  reason: string;
  message: string;
  nextStep?: string | null;
}

/** Takes a key that this version may not have a text for. */
const keyOf = (reason: string) => `mistake.${reason}` as 'mistake.NOT_FOUND';

/** What the server said in English, for a problem whose title says it in the language of the console. */
export function quoteWords(message: string, nextStep: string | null | undefined): Pick<Problem, 'message' | 'nextStep'> {
  if (i18next.language === 'en' || message === '') return { message, nextStep };
  const words = nextStep ? `${message} ${nextStep}` : message;
  return { message: i18next.t('mistakeWords', { text: words }), nextStep: undefined };
}

/** The mistake as a problem to show. Reasons that this version does not know are said in the server's own words. */
export function toMistake({ code, reason, message, nextStep = null }: UserErrorLike): Problem {
  if (i18next.language === 'en' || !i18next.exists(keyOf(reason))) return { code, message, nextStep };
  const words = nextStep === null ? message : `${message} ${nextStep}`;
  return { code, message: i18next.t(keyOf(reason)), nextStep: i18next.t('mistakeWords', { text: words }) };
}
