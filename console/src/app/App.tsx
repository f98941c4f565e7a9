import { Component, type ReactNode, Suspense, useEffect, useMemo } from 'react';
import { useTranslation } from 'react-i18next';
import { I18nProvider } from 'react-aria-components/I18nProvider';
import { Provider, useQuery } from 'urql';
import { Redirect, Route, Router, Switch, useLocation } from 'wouter';
import { Button } from '../components/Button.tsx';
import { ErrorPanel, ForbiddenPage, Skeleton, toProblem } from '../components/states.tsx';
import { ToastRegion } from '../components/toasts.tsx';
import { useTitle } from '../components/Page.tsx';
import { setLanguage } from '../texts/load.ts';
import { Frame, FullPageFrame } from './Frame.tsx';
import { SignInPage } from './SignInPage.tsx';
import type { ViewerQuery } from '../generated/graphql.ts';
import { type Credential, createClient, isUnauthenticated } from './client.ts';
import { routerBase, screenPath } from './paths.ts';
import { usePreferences } from './preferences.ts';
import { type Screen, menuScreens, screens } from './screens.ts';
import { SessionProvider, useSession } from './session.tsx';
import { ViewerProvider, makeViewer, useViewer, viewerQuery } from './viewer.tsx';

export function App() {
  const { language } = usePreferences();
  const { i18n } = useTranslation();
  useEffect(() => {
    if (i18n.language !== language) void setLanguage(language);
  }, [i18n, language]);
  return (
    <I18nProvider locale={i18n.language}>
      <ErrorBoundary>
        <SessionProvider>
          <Router base={routerBase}>
            <Root />
            <ToastRegion />
          </Router>
        </SessionProvider>
      </ErrorBoundary>
    </I18nProvider>
  );
}

function Root() {
  const { credential } = useSession();
  // The address stays, so that signing in leads to the screen that was asked for.
  return credential ? <SignedIn credential={credential} /> : <SignInPage />;
}

function SignedIn({ credential }: { credential: Credential }) {
  const { signOut } = useSession();
  const [location] = useLocation();
  const named = /^\/o\/([^/]+)/.exec(location)?.[1];
  const organization = named === undefined ? credential.organization : decodeURIComponent(named);
  const client = useMemo(
    () => createClient(credential, organization, () => signOut('refused')),
    [credential, organization, signOut],
  );
  return (
    <Provider value={client}>
      <WithViewer key={organization ?? ''} slug={organization} known={credential.viewer} />
    </Provider>
  );
}

function WithViewer({ slug, known }: { slug: string | undefined; known: ViewerQuery | undefined }) {
  const { t } = useTranslation();
  const { signOut } = useSession();
  const fits = known?.organization != null && (slug === undefined || known.organization.slug === slug);
  const [answer, reload] = useQuery({ query: viewerQuery, requestPolicy: 'cache-first', pause: fits });
  const data = fits ? known : answer.data;
  const { error } = answer;
  const viewer = useMemo(() => data && makeViewer(data), [data]);
  if (viewer && (slug === undefined || viewer.organization.slug === slug)) {
    return (
      <ViewerProvider viewer={viewer}>
        <Screens />
      </ViewerProvider>
    );
  }
  if (data?.viewer && (!viewer || viewer.organization.slug !== slug)) {
    return <ChooseOrganization asked={slug} organizations={data.viewer.organizations} />;
  }
  if (error && isUnauthenticated(error)) return null;
  if (error) {
    const problem = toProblem(error);
    return (
      <FullPageFrame>
        <ErrorPanel problem={problem} onRetry={() => reload({ requestPolicy: 'network-only' })} />
        <div className="actions">
          {slug !== undefined && (
            <Redirecting to="/" label={t('organization.other')} />
          )}
          <Button icon="signOut" onPress={() => signOut('asked')}>
            {t('profile.signOut')}
          </Button>
        </div>
      </FullPageFrame>
    );
  }
  return (
    <FullPageFrame>
      <Skeleton lines={6} />
    </FullPageFrame>
  );
}

function Redirecting({ to, label }: { to: string; label: string }) {
  const [, navigate] = useLocation();
  return <Button onPress={() => navigate(to)}>{label}</Button>;
}

/** For callers of several organizations, and for an address of an organization that the caller cannot see. */
function ChooseOrganization({
  asked,
  organizations,
}: {
  asked: string | undefined;
  organizations: readonly { slug: string; name: string }[];
}) {
  const { t } = useTranslation();
  const [, navigate] = useLocation();
  useTitle(t('organization.choose'));
  const only = organizations.length === 1 ? organizations[0] : undefined;
  if (asked === undefined && only) return <Redirect to={`/o/${encodeURIComponent(only.slug)}`} replace />;
  return (
    <FullPageFrame>
      <h1>{asked === undefined ? t('organization.choose') : t('organization.closed', { slug: asked })}</h1>
      <p>{organizations.length ? t('organization.yours') : t('organization.none')}</p>
      <div className="actions">
        {organizations.map(({ slug, name }) => (
          <Button key={slug} icon="building" onPress={() => navigate(`/o/${encodeURIComponent(slug)}`)}>
            {name}
          </Button>
        ))}
      </div>
    </FullPageFrame>
  );
}

function Screens() {
  const viewer = useViewer();
  const first = menuScreens.find((screen) => viewer.mayAll(screen.needs)) ?? menuScreens[0];
  const home = screenPath(viewer.organization.slug, first?.path ?? 'overview');
  return (
    <Switch>
      {screens.map((screen) => (
        <Route key={screen.path} path={`/o/:slug/${screen.path}`}>
          <OneScreen screen={screen} />
        </Route>
      ))}
      <Route path="/o/:slug">
        <Redirect to={home} replace />
      </Route>
      <Route path="/">
        <Redirect to={home} replace />
      </Route>
      <Route path="/sign-in">
        <Redirect to={home} replace />
      </Route>
      <Route>
        <NotFound home={home} />
      </Route>
    </Switch>
  );
}

function OneScreen({ screen }: { screen: Screen }) {
  const { t } = useTranslation();
  const viewer = useViewer();
  const missing = screen.needs.filter((permission) => !viewer.may(permission));
  useTitle(missing.length ? t('forbidden.title') : undefined);
  if (missing.length) {
    return (
      <FullPageFrame>
        <ForbiddenPage permissions={missing} actions={<OtherScreens />} />
      </FullPageFrame>
    );
  }
  return (
    <Frame current={screen}>
      <ErrorBoundary>
        <Suspense fallback={<Skeleton lines={8} />}>
          <screen.Component />
        </Suspense>
      </ErrorBoundary>
    </Frame>
  );
}

function OtherScreens() {
  const { t } = useTranslation();
  const viewer = useViewer();
  const [, navigate] = useLocation();
  const first = menuScreens.find((screen) => viewer.mayAll(screen.needs));
  if (!first?.menu) return null;
  return (
    <Button onPress={() => navigate(screenPath(viewer.organization.slug, first.path))}>
      {t('page.goTo', { name: t(first.menu.title) })}
    </Button>
  );
}

function NotFound({ home }: { home: string }) {
  const { t } = useTranslation();
  const [, navigate] = useLocation();
  useTitle(t('notFound.title'));
  return (
    <FullPageFrame>
      <h1>{t('notFound.title')}</h1>
      <p>{t('notFound.text')}</p>
      <div className="actions">
        <Button kind="primary" onPress={() => navigate(home)}>
          {t('notFound.home')}
        </Button>
      </div>
    </FullPageFrame>
  );
}

/** A fault of the console itself: said in words, and the rest of the page stays. */
class ErrorBoundary extends Component<{ children: ReactNode }, { failed?: 'INTERNAL' | 'OUTDATED' }> {
  override state: { failed?: 'INTERNAL' | 'OUTDATED' } = {};

  static getDerivedStateFromError(error: unknown) {
    // After an update of the server the files of the old version are gone; a reload finds the new ones.
    const outdated = error instanceof Error && /import|module|preload/i.test(error.message) && error instanceof TypeError;
    return { failed: outdated ? 'OUTDATED' : 'INTERNAL' };
  }

  override render() {
    const { failed } = this.state;
    if (!failed) return this.props.children;
    const retry = failed === 'OUTDATED' ? () => location.reload() : () => this.setState({ failed: undefined });
    return <ErrorPanel problem={{ code: failed, message: '' }} onRetry={retry} />;
  }
}
