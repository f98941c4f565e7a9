// What has arrived, asked every two seconds while the page can be seen; and what went wrong, in words.
import { useEffect, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Icon } from '../components/Icon.tsx';
import { Card } from '../components/Page.tsx';
import { Banner, ErrorPanel, type Problem } from '../components/states.tsx';
import { Time } from '../components/Time.tsx';
import { useRequestAdvice, useRequestMeaning } from '../components/useServerText.ts';
import { type Progress, type SetupFailure, readProgress } from './link.ts';

const POLL_MILLISECONDS = 2_000;

function useProgress(session: string) {
  const [progress, setProgress] = useState<Progress>();
  const [problem, setProblem] = useState<Problem>();
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let over = false;
    const ask = async () => {
      if (document.visibilityState === 'visible') {
        const answer = await readProgress(session);
        if (over) return;
        setProblem(answer.problem);
        if (answer.value) setProgress(answer.value);
        // The page's session is over: asking again would not help.
        if (answer.problem?.code === 'SESSION_ENDED' || answer.problem?.code === 'SESSION_MISSING') return;
      }
      timer = setTimeout(() => void ask(), POLL_MILLISECONDS);
    };
    void ask();
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [session]);
  return { progress, problem };
}

const ARRIVALS = ['firstRequestAt', 'firstUserAt', 'firstGroupAt'] as const;

/** What was wanted, and what became of it. English is the server's own. */
function useFailureText() {
  const { t, i18n } = useTranslation('setup');
  const meaning = useRequestMeaning();
  return ({ request, meaning: wanted, outcome, count, message }: SetupFailure): string => {
    if (i18n.language === 'en') return message;
    const what = request ? `${request} (${meaning(wanted)})` : meaning(wanted);
    const became = outcome === 'NOT_FOUND' || outcome === 'FAILED' ? t(`failures.became.${outcome}`) : t('failures.became.REFUSED');
    return `${what}: ${became} ${count > 1 ? t('failures.times', { count }) : ''}`.trim();
  };
}

export function Arrivals({ session }: { session: string }) {
  const { t, i18n } = useTranslation('setup');
  const { progress, problem } = useProgress(session);
  const number = new Intl.NumberFormat(i18n.language);
  const describe = useFailureText();
  const advise = useRequestAdvice();
  const done = progress !== undefined && ARRIVALS.every((name) => progress[name] !== null);
  const lastSuccess = progress?.firstUserAt ?? null;
  return (
    <Card title={t('arrivals.title')}>
      <p className="muted">{t('arrivals.text')}</p>
      <ol className="arrivals" aria-live="polite">
        {ARRIVALS.map((name) => {
          const at = progress?.[name] ?? null;
          return (
            <li key={name} className={at === null ? 'arrival' : 'arrival arrival-done'}>
              <Icon name={at === null ? 'clock' : 'check'} />
              <div>
                <strong>{t(`arrivals.${name}`)}</strong>
                <p>
                  {at === null ? (
                    <span className="muted">{t(`arrivals.waiting.${name}`)}</span>
                  ) : (
                    <>
                      {t('arrivals.arrived')} <Time at={at} />
                    </>
                  )}
                </p>
              </div>
            </li>
          );
        })}
      </ol>
      {progress && (
        <p>
          {t('arrivals.counts', {
            requests: number.format(progress.requests),
            accounts: number.format(progress.accounts),
            groups: number.format(progress.groups),
          })}
        </p>
      )}
      {done && (
        <Banner kind="success" title={t('arrivals.done')}>
          <p>{t('arrivals.doneText')}</p>
        </Banner>
      )}
      {problem && <ErrorPanel problem={problem} />}
      {progress && progress.recentFailures.length > 0 && (
        <section className="failures" aria-label={t('failures.title')}>
          <h3>{t('failures.title')}</h3>
          <ul className="plain">
            {progress.recentFailures.map((failure) => (
              <li key={`${failure.at} ${failure.code} ${failure.message}`}>
                <Banner kind="warning" title={describe(failure)}>
                  {failure.nextStep && <p>{advise(failure)}</p>}
                  <p className="muted">
                    {failure.status !== null && <>{t('failures.status', { status: failure.status })} · </>}
                    {failure.code !== null && (
                      <>
                        <code>{failure.code}</code> ·{' '}
                      </>
                    )}
                    <Time at={failure.at} />
                    {lastSuccess !== null && Date.parse(failure.at) < Date.parse(lastSuccess) && <> · {t('failures.before')}</>}
                  </p>
                </Banner>
              </li>
            ))}
          </ul>
        </section>
      )}
    </Card>
  );
}
