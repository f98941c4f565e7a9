// The page of a setup link: two values to copy, the steps of the identity provider, and what has arrived.
import { useEffect, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { I18nProvider } from 'react-aria-components/I18nProvider';
import { type Language, setPreferences, usePreferences } from '../app/preferences.ts';
import { Button } from '../components/Button.tsx';
import { ErrorPanel, type Problem } from '../components/states.tsx';
import { ToastRegion } from '../components/toasts.tsx';
import { Guide } from './Guide.tsx';
import { type Opening, hasSecret, openLink } from './link.ts';
import { setLanguage } from './texts.ts';

const LANGUAGES: Record<Language, string> = { en: 'English', de: 'Deutsch' };

export function SetupPage() {
  const { t, i18n } = useTranslation('setup');
  const { language } = usePreferences();
  const [opening, setOpening] = useState<Opening>();
  useEffect(() => {
    if (i18n.language !== language) void setLanguage(language);
  }, [i18n, language]);
  const title = opening ? t('title', { organization: opening.organizationName }) : t('start.title');
  useEffect(() => {
    document.title = `${title} · rolecall`;
  }, [title]);
  return (
    <I18nProvider locale={i18n.language}>
      <div className="setup">
        <header className="setup-bar">
          <span className="brand">
            <svg viewBox="0 0 32 32" width="28" height="28" aria-hidden="true" className="brand-mark">
              <rect width="32" height="32" rx="8" />
              <path d="M9 10h14M9 16h9M9 22h6" />
              <path className="brand-check" d="m19 21 2.4 2.6L26 18" />
            </svg>
            rolecall
          </span>
          <label className="setup-language">
            <span className="visually-hidden">{t('language')}</span>
            <select
              value={language}
              onChange={(event) => setPreferences({ language: event.target.value === 'de' ? 'de' : 'en' })}
            >
              {(['en', 'de'] as const).map((code) => (
                <option key={code} value={code} lang={code}>
                  {LANGUAGES[code]}
                </option>
              ))}
            </select>
          </label>
        </header>
        <main id="main" className="setup-main">
          {opening ? <Guide opening={opening} title={title} /> : <Start title={title} onOpened={setOpening} />}
        </main>
        <ToastRegion />
      </div>
    </I18nProvider>
  );
}

/** Before the link is opened: what it is for, and the button that opens it. */
function Start({ title, onOpened }: { title: string; onOpened: (opening: Opening) => void }) {
  const { t } = useTranslation('setup');
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem>();
  const open = async () => {
    setBusy(true);
    setProblem(undefined);
    const answer = await openLink();
    setBusy(false);
    if (answer.problem) setProblem(answer.problem);
    else onOpened(answer.value);
  };
  return (
    <div className="setup-start card">
      <h1>{title}</h1>
      {hasSecret() ? (
        <>
          <p>{t('start.text')}</p>
          <ul>
            <li>{t('start.token')}</li>
            <li>{t('start.console')}</li>
            <li>{t('start.nothing')}</li>
          </ul>
          {problem && <ErrorPanel problem={problem} />}
          <div className="actions">
            <Button kind="primary" icon="link" busy={busy} onPress={() => void open()}>
              {problem ? t('start.again') : t('start.open')}
            </Button>
          </div>
        </>
      ) : (
        <>
          {problem ? <ErrorPanel problem={problem} /> : <p>{t('start.noLink')}</p>}
          <p>{t('start.reload')}</p>
        </>
      )}
    </div>
  );
}
