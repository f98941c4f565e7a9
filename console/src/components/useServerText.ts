// What the server says by a stable code, in the language of the console. Codes that this version does not know are said
// in the server's own words.
import { useTranslation } from 'react-i18next';
import type { AttentionKind, ConnectionCheck } from '../generated/graphql.ts';

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
    return { message: undefined, nextStep: step.check === 'UNTROUBLED' ? t('adviceBelow') : step.nextStep };
  };
}

/** What to do about a refused request. In English the server's sentence is more exact: it names the attribute. */
export function useRequestAdvice() {
  const { t, i18n } = useTranslation();
  return ({ code, nextStep }: { code?: string | null; nextStep?: string | null }): string | null | undefined => {
    const key = `advice.${code}` as 'advice.TAKEN';
    return i18n.language !== 'en' && code && i18n.exists(key) ? String(t(key)) : nextStep;
  };
}

/** What a request wanted; one that this version does not know, in the server's words. */
export function useRequestMeaning() {
  const { t, i18n } = useTranslation('connections');
  return (said: string): string => {
    const key = `meaning.${said}` as 'meaning.read user';
    return i18n.exists(key, { ns: 'connections' }) ? String(t(key)) : said;
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
] as const;

export function useHealthReasonText() {
  const { t, i18n } = useTranslation();
  return (reason: { code: string; message: string; nextStep: string }): Said => {
    const known = HEALTH_REASONS.find((code) => code === reason.code);
    if (!known) return { text: reason.message, next: reason.nextStep };
    // The server's English sentence has the figures.
    const text = i18n.language === 'en' ? reason.message : t(`healthReason.${known}.text`);
    return { text, next: t(`healthReason.${known}.next`) };
  };
}
