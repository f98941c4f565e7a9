// Signing in: with an API key, which stays in memory, or with a one-time link.
import { type FormEvent, useEffect, useId, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useLocation } from 'wouter';
import { Button } from '../components/Button.tsx';
import { useTitle } from '../components/Page.tsx';
import { Banner, ErrorPanel, Skeleton, toProblem } from '../components/states.tsx';
import { FullPageFrame } from './Frame.tsx';
import { createClient, isUnauthenticated } from './client.ts';
import { type LinkProblem, hasLink, redeemLink } from './link.ts';
import { endpoint } from './paths.ts';
import { preloadScreen } from './screens.ts';
import { useSession } from './session.tsx';
import { viewerQuery } from './viewer.tsx';

export function SignInPage() {
  const { t } = useTranslation();
  const { ended, signIn } = useSession();
  const [location] = useLocation();
  const [redeeming, setRedeeming] = useState(hasLink());
  const [linkProblem, setLinkProblem] = useState<LinkProblem>();
  useTitle(t('signIn.title'));

  // While the key is typed, the screen behind is fetched.
  useEffect(() => preloadScreen(location), [location]);

  useEffect(() => {
    let wanted = true;
    void redeemLink()?.then((result) => {
      if (!wanted) return;
      setRedeeming(false);
      if ('credential' in result) signIn(result.credential);
      else setLinkProblem(result.problem);
    });
    return () => {
      wanted = false;
    };
  }, [signIn]);

  const again = async () => {
    setRedeeming(true);
    setLinkProblem(undefined);
    const result = await redeemLink();
    setRedeeming(false);
    if (result && 'credential' in result) signIn(result.credential);
    else if (result) setLinkProblem(result.problem);
  };

  return (
    <FullPageFrame>
      <div className="sign-in">
        <h1>{t('signIn.title')}</h1>
        {ended === 'refused' && (
          <Banner kind="warning" title={t('signIn.refused.title')}>
            <p>{t('signIn.refused.text')}</p>
          </Banner>
        )}
        {ended === 'asked' && <Banner kind="success" title={t('signIn.signedOut')} />}
        {redeeming ? (
          <Skeleton lines={3} />
        ) : (
          <>
            {linkProblem && <ErrorPanel problem={linkProblem} {...(hasLink() ? { onRetry: () => void again() } : {})} />}
            {linkProblem && <p>{t('signIn.link.other')}</p>}
            {/^\/o\//.test(location) && !linkProblem && <p>{t('signIn.deepLink')}</p>}
            <KeyForm />
            <ProviderSection />
            <section>
              <h2>{t('signIn.link.title')}</h2>
              <p>{t('signIn.link.text')}</p>
              <pre>
                <code dir="ltr">rolecall console-link --organization …</code>
              </pre>
            </section>
          </>
        )}
      </div>
    </FullPageFrame>
  );
}

/** The identity provider of an organization signs in, and comes back with a one-time link. */
function ProviderSection() {
  const { t } = useTranslation();
  const [location] = useLocation();
  const field = useId();
  const known = /^\/o\/([^/]+)/.exec(location)?.[1];
  const [slug, setSlug] = useState(known === undefined ? '' : decodeURIComponent(known));
  const leave = () => {
    if (slug.trim() !== '') window.location.assign(endpoint(`sign-in/${encodeURIComponent(slug.trim())}`));
  };
  return (
    <section className="card">
      <h2>{t('signIn.provider.title')}</h2>
      <div className="field">
        <label htmlFor={field}>{t('signIn.provider.organization')}</label>
        <input
          id={field}
          value={slug}
          autoComplete="organization"
          spellCheck={false}
          dir="ltr"
          aria-describedby={`${field}-help`}
          onChange={(event) => setSlug(event.target.value)}
          onKeyDown={(event) => {
            if (event.key === 'Enter') leave();
          }}
        />
        <p className="muted" id={`${field}-help`}>
          {t('signIn.provider.help')}
        </p>
      </div>
      <Button icon="signIn" isDisabled={slug.trim() === ''} onPress={leave}>
        {t('signIn.provider.action')}
      </Button>
    </section>
  );
}

function KeyForm() {
  const { t } = useTranslation();
  const { signIn } = useSession();
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<{ code: string; message: string }>();
  const field = useId();

  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const token = String(new FormData(event.currentTarget).get('key') ?? '').trim();
    if (token === '' || /\s/.test(token)) {
      setProblem({ code: 'UNAUTHENTICATED', message: t('signIn.key.empty') });
      return;
    }
    setBusy(true);
    setProblem(undefined);
    const { data, error } = await createClient({ token }, undefined, () => undefined)
      .query(viewerQuery, {})
      .toPromise();
    setBusy(false);
    if (data?.viewer) signIn({ token, viewer: data });
    else if (error && !isUnauthenticated(error)) setProblem(toProblem(error));
    else setProblem({ code: 'UNAUTHENTICATED', message: t('signIn.key.wrong') });
  };

  return (
    <form className="card" onSubmit={(event) => void submit(event)} noValidate>
      <h2>{t('signIn.key.title')}</h2>
      <div className="field">
        <label htmlFor={field}>{t('signIn.key.label')}</label>
        <input id={field} name="key" type="password" autoComplete="off" spellCheck={false} dir="ltr" aria-describedby={`${field}-help`} />
        <p className="muted" id={`${field}-help`}>
          {t('signIn.key.help')}
        </p>
      </div>
      {problem && <ErrorPanel problem={problem} />}
      <Button kind="primary" type="submit" busy={busy}>
        {t('signIn.key.action')}
      </Button>
    </form>
  );
}
