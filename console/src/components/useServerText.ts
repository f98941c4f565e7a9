// What the server says by a stable code, in the language of the console. Codes that this version does not know are said
// in the server's own words.
import { useCallback } from 'react';
import { useTranslation } from 'react-i18next';
import type { AttentionKind, ConnectionCheck } from '../generated/graphql.ts';
import { useExactTime } from './Time.tsx';

/** A part of a message by its code; its values in the order of the English sentence. */
export interface MessagePart {
  code: string;
  values: readonly string[];
}

/** The parts of an answer that is no GraphQL. */
export function readParts(value: unknown): MessagePart[] {
  const parts: unknown[] = Array.isArray(value) ? value : [];
  return parts.flatMap((part) => {
    const { code, values } = (typeof part === 'object' && part !== null ? part : {}) as Record<string, unknown>;
    return typeof code === 'string' && Array.isArray(values) ? [{ code, values: values.map(String) }] : [];
  });
}

type Parts = readonly MessagePart[] | null | undefined;

/** The translation of a key that the types of the texts do not have. */
type Translate = (key: string, options: Record<string, unknown>) => string;

const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/;

/**
 * A message of the server. English is the server's own; other languages are put together from its parts, and a message
 * that has none is quoted.
 */
export function useMessageText() {
  const { t, i18n } = useTranslation();
  const formatExact = useExactTime();
  return useCallback(
    (message: string, parts: Parts): string => {
      if (i18n.language === 'en') return message;
      if (!parts || parts.length === 0 || !parts.every(({ code }) => i18n.exists(code, { ns: 'messages' as 'common' }))) {
        return t('mistakeWords', { text: message });
      }
      const number = new Intl.NumberFormat(i18n.language);
      const show = (value: string) =>
        INSTANT.test(value) ? formatExact(value) : /^\d{4,15}$/.test(value) ? number.format(Number(value)) : value;
      const translate = i18n.t.bind(i18n) as unknown as Translate;
      const sentence = ({ code, values }: MessagePart) => {
        const [a, b, c] = values.map(show);
        return translate(code, { ns: 'messages', a, b, c });
      };
      return parts.map(sentence).join(' ');
    },
    [t, i18n, i18n.language, formatExact],
  );
}

/** Why something of a list could not be taken over: by its parts, else by the kind of mistake. */
export function useTroubleText() {
  const { t, i18n } = useTranslation();
  const say = useMessageText();
  return ({ message, messageParts, code }: { message: string; messageParts?: Parts; code?: string | null }): string => {
    const key = `mistake.${code}`;
    if (i18n.language === 'en' || (messageParts && messageParts.length > 0) || !code || !i18n.exists(key)) return say(message, messageParts);
    return `${(i18n.t as unknown as Translate)(key, {})} ${t('mistakeWords', { text: message })}`;
  };
}

interface Said {
  text: string;
  next: string;
}

export function useAttentionText() {
  const { t, i18n } = useTranslation();
  return (item: { kind: AttentionKind; count: number; message: string; nextStep: string; connection?: { name: string } | null }): Said =>
    i18n.exists(`attention.${item.kind}.next`)
      ? {
          text: t(`attention.${item.kind}.text`, { count: item.count, name: item.connection?.name ?? '–' }),
          next: t(`attention.${item.kind}.next`),
        }
      : { text: item.message, next: item.nextStep };
}

/** The reason of health that a failed check of the diagnosis is about. */
const REASON_OF_CHECK: Partial<Record<ConnectionCheck, (typeof HEALTH_REASONS)[number]>> = {
  ENABLED: 'PROVISIONING_OFF',
  ACTIVE: 'DEACTIVATED',
  TOKEN: 'NO_TOKEN',
  HEARD: 'NEVER_HEARD',
};

interface CheckStep {
  check: ConnectionCheck;
  ok: boolean;
  message: string;
  nextStep?: string | null;
}

/** In another language than the server's, a check that passed is said by its title alone. */
export function useDiagnosisText() {
  const { t, i18n } = useTranslation();
  return (step: CheckStep): { message: string | undefined; nextStep: string | null | undefined } => {
    if (i18n.language === 'en') return { message: step.message, nextStep: step.nextStep };
    if (step.ok) return { message: undefined, nextStep: undefined };
    const reason = REASON_OF_CHECK[step.check];
    if (reason) return { message: t(`healthReason.${reason}.text`), nextStep: t(`healthReason.${reason}.next`) };
    return { message: undefined, nextStep: step.check === 'UNTROUBLED' ? t('adviceBelow') : t('adviceOverview') };
  };
}

/** What to do about a refused request. */
export function useRequestAdvice() {
  const say = useMessageText();
  return ({ nextStep, nextStepParts }: { nextStep?: string | null; nextStepParts?: Parts }): string | null | undefined =>
    nextStep && say(nextStep, nextStepParts);
}

/** What a request wanted; one that this version does not know, in the server's words. */
export function useRequestMeaning() {
  const { t, i18n } = useTranslation();
  return (said: string): string => {
    const key = `meaning.${said}` as 'meaning.read user';
    return i18n.exists(key) ? String(t(key)) : said;
  };
}

const HEALTH_REASONS = [
  'DEACTIVATED',
  'PROVISIONING_OFF',
  'NEVER_HEARD',
  'EVERYTHING_FAILS',
  'RUNS_FAIL',
  'NO_TOKEN',
  'SILENT',
  'OVERDUE',
  'RUN_WAITS',
  'ERRORS_IN_HOUR',
  'ERRORS_IN_DAY',
  'RUN_FAILED',
  'RUN_LEFT_SOME',
  'WORK_WAITS',
  'METADATA_UNREAD',
] as const;

export function useHealthReasonText() {
  const { t } = useTranslation();
  const say = useMessageText();
  return (reason: { code: string; message: string; messageParts?: Parts; nextStep: string }): Said => {
    const known = HEALTH_REASONS.find((code) => code === reason.code);
    const text = say(reason.message, reason.messageParts);
    return { text, next: known ? t(`healthReason.${known}.next`) : say(reason.nextStep, undefined) };
  };
}
