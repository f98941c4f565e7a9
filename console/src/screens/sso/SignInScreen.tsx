// Sign-in (SSO): how people sign in, and the provisioning section with Activate.
import { Trans, useTranslation } from 'react-i18next';
import { useQuery } from 'urql';
import { Link } from 'wouter';
import { screenPath } from '../../app/paths.ts';
import { useAction } from '../../app/useAction.ts';
import { PermissionGate } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { Card, Page } from '../../components/Page.tsx';
import { StatusBadge } from '../../components/StatusBadge.tsx';
import { Banner, ErrorPanel, Skeleton, toProblem } from '../../components/states.tsx';
import { notify } from '../../components/toasts.tsx';
import { useLive } from '../../components/useLive.ts';
import type { SsoSettingsQuery } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import { connectionChangedSubscription } from '../overview/queries.ts';
import { DomainsCard } from './Domains.tsx';
import './sso.css';

const signInQuery = graphql(`
  query SsoSettings {
    organization {
      id
      slug
      name
      scimEnabled
      integrationMode
      scim { availability { state code nextStep } state provisioning { plan } }
      connections(first: 100) {
        nodes { id name kind provider state version assertionSource { protocol accountCreation signInUrl } }
      }
    }
  }
`);

const activateMutation = graphql(`
  mutation SsoActivate($input: ConnectionActivateInput!) {
    connectionActivate(input: $input) {
      connection { id state version }
      userErrors { code reason message nextStep }
    }
  }
`);

const enableMutation = graphql(`
  mutation SsoEnable($input: OrganizationUpdateInput!) {
    organizationUpdate(input: $input) {
      organization { id scimEnabled }
      userErrors { code reason message nextStep }
    }
  }
`);

type Organization = NonNullable<SsoSettingsQuery['organization']>;

export default function SignInScreen() {
  const { t } = useTranslation('sso');
  const [{ data, error }, execute] = useQuery({ query: signInQuery });
  const reload = () => execute({ requestPolicy: 'network-only' });
  useLive(connectionChangedSubscription, {}, reload);
  const organization = data?.organization;
  return (
    <Page title={t('title')} lead={t('lead')}>
      {error && !organization?.scim && <ErrorPanel problem={toProblem(error)} onRetry={reload} />}
      {!error && !organization?.scim && <Skeleton lines={8} />}
      {organization?.scim && (
        <>
          <HowPeopleSignIn organization={organization} />
          <DomainsCard />
          <Provisioning organization={organization} reload={reload} />
          <Banner kind="info" title={t('apart.title')}>
            <p>{t('apart.text')}</p>
            <p>{t('apart.grants')}</p>
          </Banner>
        </>
      )}
    </Page>
  );
}

function HowPeopleSignIn({ organization }: { organization: Organization }) {
  const { t } = useTranslation('sso');
  const { t: common } = useTranslation();
  const connections = organization.connections?.nodes ?? [];
  const providers = connections.filter(({ kind }) => kind === 'ASSERTION');
  const plan = organization.scim?.provisioning?.plan;
  const path = (screen: string) => screenPath(organization.slug, screen);
  return (
    <Card
      title={t('how.title')}
      id="how"
      actions={
        <PermissionGate needs={['IAM_WRITE']}>
          <Link className="button button-secondary" href={path('connections/new?way=ASSERTION')}>
            {t('how.add')}
          </Link>
        </PermissionGate>
      }
    >
      {providers.length === 0 ? (
        <p>{t('how.none')}</p>
      ) : (
        <ul className="timeline">
          {providers.map((connection) => (
            <li key={connection.id}>
              <span>
                <Link href={path(`connections/${encodeURIComponent(connection.id)}`)}>
                  <bdi>{connection.name}</bdi>
                </Link>{' '}
                <span className="muted">
                  {connection.assertionSource && t(`protocol.${connection.assertionSource.protocol}`)}
                  {connection.assertionSource && <> · {t(`creation.${connection.assertionSource.accountCreation}`)}</>}
                </span>
              </span>
              <StatusBadge tone={connection.state === 'ACTIVE' ? 'good' : 'quiet'}>{common(`connectionState.${connection.state}`)}</StatusBadge>
            </li>
          ))}
        </ul>
      )}
      <dl className="details">
        <dt>{t('how.mode')}</dt>
        <dd>
          {organization.integrationMode && t(`mode.${organization.integrationMode}`)}{' '}
          <PermissionGate needs={['IAM_WRITE']}>
            <Link href={path('organization')}>{t('how.changeMode')}</Link>
          </PermissionGate>
        </dd>
        {plan && (
          <>
            <dt>{common('accounts.label')}</dt>
            <dd>
              <strong>{common(`accounts.plan.${plan}`)}</strong>
              <p className="muted">{common(`accounts.leavers.${plan}`)}</p>
            </dd>
          </>
        )}
      </dl>
    </Card>
  );
}

function Provisioning({ organization, reload }: { organization: Organization; reload: () => void }) {
  const { t } = useTranslation('sso');
  const { t: common } = useTranslation();
  const activation = useAction(activateMutation);
  const enabling = useAction(enableMutation);
  const availability = organization.scim?.availability;
  const connections = (organization.connections?.nodes ?? []).filter(({ kind }) => kind === 'SCIM_PUSH');
  const active = organization.scim?.state === 'ACTIVE';
  const waiting = connections.filter(({ state }) => state === 'INACTIVE');

  if (availability && availability.state !== 'AVAILABLE') {
    return (
      <Card title={t('provisioning.title')} id="provisioning">
        <Banner kind="warning" title={t(`unavailable.${availability.state}`)}>
          <p>
            <Trans t={t} i18nKey="unavailable.see" components={{ overview: <Link href={screenPath(organization.slug, 'overview')} /> }} />
          </p>
        </Banner>
      </Card>
    );
  }
  const activate = async (chosen: readonly { id: string; name: string }[]) => {
    if (!organization.scimEnabled) {
      const { problem } = await enabling.run({ input: { scimEnabled: true } });
      if (problem) return notify({ kind: 'error', text: t('provisioning.failed'), detail: problem.message });
    }
    for (const { id, name } of chosen) {
      const { problem } = await activation.run({ input: { id } });
      if (problem) return notify({ kind: 'error', text: t('provisioning.failedOne', { name }), detail: problem.message });
    }
    notify({ kind: 'success', text: t('provisioning.done'), detail: t('provisioning.resumes') });
    return reload();
  };
  return (
    <Card
      title={t('provisioning.title')}
      id="provisioning"
      actions={
        !active &&
        connections.length > 0 && (
          <PermissionGate needs={['IAM_WRITE']}>
            <Button kind="primary" icon="check" busy={activation.running || enabling.running} onPress={() => void activate(waiting)}>
              {t('provisioning.activate')}
            </Button>
          </PermissionGate>
        )
      }
    >
      <p>
        <StatusBadge tone={active ? 'good' : 'quiet'}>{active ? common('connectionState.ACTIVE') : common('connectionState.INACTIVE')}</StatusBadge>{' '}
        {active ? t('provisioning.on') : organization.scimEnabled ? t('provisioning.off') : t('provisioning.disabled')}
      </p>
      {connections.length === 0 ? (
        <p>
          <Trans
            t={t}
            i18nKey="provisioning.none"
            components={{ configuration: <Link href={screenPath(organization.slug, 'configuration')} /> }}
          />
        </p>
      ) : (
        <ul className="timeline">
          {connections.map((connection) => (
            <li key={connection.id}>
              <span>
                <bdi>{connection.name}</bdi>{' '}
                {connection.name !== common(`provider.${connection.provider}`) && (
                  <span className="muted">{common(`provider.${connection.provider}`)}</span>
                )}
              </span>
              <span className="actions">
                <StatusBadge tone={connection.state === 'ACTIVE' ? 'good' : 'quiet'}>{common(`connectionState.${connection.state}`)}</StatusBadge>
                {/* Where the rest works: one connection alone. Otherwise the button above does all. */}
                {active && connection.state === 'INACTIVE' && (
                  <PermissionGate needs={['IAM_WRITE']}>
                    <Button busy={activation.running} onPress={() => void activate([connection])} aria-label={t('provisioning.activateOne', { name: connection.name })}>
                      {t('provisioning.activate')}
                    </Button>
                  </PermissionGate>
                )}
              </span>
            </li>
          ))}
        </ul>
      )}
      {!active && <p className="muted">{t('provisioning.means')}</p>}
    </Card>
  );
}
