// SCIM overview: whether provisioning works, at which addresses, what came of it, and what needs a person.
import { useEffect, useState } from 'react';
import { Trans, useTranslation } from 'react-i18next';
import { useClient, useQuery } from 'urql';
import { Link } from 'wouter';
import { screenPath } from '../../app/paths.ts';
import { PermissionGate, useViewer } from '../../app/viewer.tsx';
import { useAction } from '../../app/useAction.ts';
import { Button } from '../../components/Button.tsx';
import { CopyRow } from '../../components/CopyButton.tsx';
import { Card, Page } from '../../components/Page.tsx';
import { StatusBadge } from '../../components/StatusBadge.tsx';
import { Time } from '../../components/Time.tsx';
import { Banner, ErrorPanel, Skeleton, toProblem } from '../../components/states.tsx';
import { notify } from '../../components/toasts.tsx';
import { useLive } from '../../components/useLive.ts';
import type { OverviewQuery } from '../../generated/graphql.ts';
import { Activity, Attention, Connections } from './OverviewCards.tsx';
import { DeleteAllButton, RunningDeletion } from './DeleteAll.tsx';
import { connectionChangedSubscription, deactivateMutation, overviewQuery } from './queries.ts';

type Organization = NonNullable<OverviewQuery['organization']>;
type Scim = NonNullable<Organization['scim']>;

export default function OverviewScreen() {
  const { t } = useTranslation('overview');
  const viewer = useViewer();
  const variables = { audit: viewer.may('AUDIT_READ'), names: viewer.may('USER_READ') };
  const [{ data, error, fetching, stale }, execute] = useQuery({ query: overviewQuery, variables });
  const reload = () => execute({ requestPolicy: 'network-only' });
  useLive(connectionChangedSubscription, {}, reload);
  const organization = data?.organization;
  const scim = organization?.scim;
  return (
    <Page
      title={t('title')}
      lead={t('lead')}
      breadcrumb={[{ text: t('breadcrumb.settings') }, { text: t('breadcrumb.iam') }, { text: t('breadcrumb.scim') }]}
    >
      {error && !scim && <ErrorPanel problem={toProblem(error)} onRetry={reload} />}
      {!error && !scim && <Skeleton lines={9} />}
      {organization && scim && (
        <>
          {scim.availability.state === 'AVAILABLE' ? (
            <Provisioning organization={organization} scim={scim} fresh={!fetching && !stale} reload={reload} />
          ) : (
            <Unavailable availability={scim.availability} />
          )}
          <div className="columns">
            <div className="stack">
              <Attention items={organization.attention ?? []} />
              {scim.availability.state === 'AVAILABLE' && <Connections connections={organization.connections?.nodes ?? []} />}
            </div>
            {scim.recentActivity && <Activity events={scim.recentActivity} />}
          </div>
        </>
      )}
    </Page>
  );
}

/** Takes the place of card, buttons and rows. */
function Unavailable({ availability }: { availability: Scim['availability'] }) {
  const { t } = useTranslation('overview');
  const key = availability.state === 'PLATFORM_DISABLED' ? 'platform' : availability.state === 'NOT_RELEASED' ? 'rollout' : availability.state === 'SIGN_IN_INTEGRATION' ? 'signIn' : 'entra';
  const icon = ({ platform: 'plug', rollout: 'clock', signIn: 'signIn', entra: 'building' } as const)[key];
  return (
    <Banner kind="warning" icon={icon} title={t(`unavailable.${key}.title`)}>
      <p>{t(`unavailable.${key}.text`)}</p>
      <p>{t(`unavailable.${key}.remedy`)}</p>
      <p>
        {t('unavailable.code')} <code>{availability.code ?? availability.state}</code>
      </p>
    </Banner>
  );
}

interface ProvisioningProps {
  organization: Organization;
  scim: Scim;
  /** Whether `scim` has just come from the server. */
  fresh: boolean;
  reload: () => void;
}

function Provisioning({ organization, scim, fresh, reload }: ProvisioningProps) {
  const { t, i18n } = useTranslation('overview');
  const { t: common } = useTranslation();
  const client = useClient();
  const viewer = useViewer();
  const number = new Intl.NumberFormat(i18n.language);

  // The counts are a snapshot: what makes the screen read again for another reason does not change them.
  const [snapshot, setSnapshot] = useState<Scim['counts']>();
  const [counting, setCounting] = useState(false);
  useEffect(() => {
    if (fresh) setSnapshot((before) => before ?? scim.counts);
  }, [fresh, scim.counts]);
  const counts = snapshot ?? scim.counts;
  const count = async () => {
    setCounting(true);
    const variables = { audit: viewer.may('AUDIT_READ'), names: viewer.may('USER_READ') };
    const answer = await client.query(overviewQuery, variables, { requestPolicy: 'network-only' }).toPromise();
    setCounting(false);
    const counted = answer.data?.organization?.scim?.counts;
    if (counted) setSnapshot(counted);
    else if (answer.error) notify({ kind: 'error', text: toProblem(answer.error).message });
  };

  // What the server has just answered shows at once, before the screen has read again.
  const [turnedOff, setTurnedOff] = useState(false);
  useEffect(() => setTurnedOff(false), [scim]);
  const active = scim.state === 'ACTIVE' && !turnedOff;
  const deactivate = useAction(deactivateMutation);
  const pause = async () => {
    const connections = organization.connections?.nodes ?? [];
    for (const connection of connections.filter(({ kind, state }) => kind === 'SCIM_PUSH' && state === 'ACTIVE')) {
      const { problem } = await deactivate.run({ input: { id: connection.id } });
      if (problem) {
        notify({ kind: 'error', text: t('deactivate.failed', { name: connection.name }), detail: problem.message });
        reload();
        return;
      }
    }
    setTurnedOff(true);
    notify({ kind: 'success', text: t('deactivate.done'), detail: t('deactivate.means') });
    reload();
  };

  return (
    <>
      <Card
        title={t('card.title')}
        id="configuration"
        actions={
          <>
            {active && (
              <PermissionGate needs={['IAM_WRITE']}>
                <Button busy={deactivate.running} icon={deactivate.running ? 'spinner' : 'plug'} onPress={() => void pause()} aria-describedby="deactivate-means">
                  {t('deactivate.action')}
                </Button>
              </PermissionGate>
            )}
            <PermissionGate needs={['DELETE_ALL']}>
              <DeleteAllButton running={scim.runningDeletion ?? undefined} onStarted={reload} onEnded={() => void count()} />
            </PermissionGate>
          </>
        }
      >
        <dl className="facts">
          <div>
            <dt>{t('card.status')}</dt>
            <dd aria-live="polite">
              <StatusBadge tone={active ? 'good' : 'quiet'}>{active ? t('card.active') : t('card.inactive')}</StatusBadge>
            </dd>
          </div>
          <div>
            <dt>{t('card.users')}</dt>
            <dd>{number.format(counts.users)}</dd>
          </div>
          <div>
            <dt>{t('card.groups')}</dt>
            <dd>{number.format(counts.groups)}</dd>
          </div>
        </dl>
        <div className="actions muted">
          <span>
            {t('card.counted')} <Time at={counts.asOf} />
          </span>
          <Button kind="quiet" icon="reload" busy={counting} onPress={() => void count()}>
            {common('state.reload')}
          </Button>
        </div>
        <p className="muted">{t('card.provenance')}</p>
        {scim.provisioning && (
          <p>
            {common('accounts.label')}: <strong>{common(`accounts.plan.${scim.provisioning.plan}`)}</strong>.{' '}
            <span className="muted">{common(`accounts.leavers.${scim.provisioning.plan}`)}</span>
          </p>
        )}
        {active ? (
          <PermissionGate needs={['IAM_WRITE']}>
            <p className="muted" id="deactivate-means">
              <Trans
                t={t}
                i18nKey="deactivate.explained"
                components={{ sso: <Link href={screenPath(organization.slug, 'sso')} /> }}
              />
            </p>
          </PermissionGate>
        ) : (
          <p>
            <Trans
              t={t}
              i18nKey="card.again"
              components={{ sso: <Link href={screenPath(organization.slug, 'sso')} /> }}
            />
          </p>
        )}
        {scim.runningDeletion && <RunningDeletion id={scim.runningDeletion.id} onEnd={() => void count()} />}
      </Card>
      {scim.endpoints && (
        <Card title={t('endpoints.title')} id="endpoints">
          <dl>
            <CopyRow label={t('endpoints.base')} text={scim.endpoints.baseUrl} />
            <CopyRow label={t('endpoints.users')} text={scim.endpoints.usersUrl} />
            <CopyRow label={t('endpoints.groups')} text={scim.endpoints.groupsUrl} />
          </dl>
          <p className="muted">
            <Trans
              t={t}
              i18nKey="endpoints.note"
              components={{ configuration: <Link href={screenPath(organization.slug, 'configuration')} /> }}
            />
          </p>
        </Card>
      )}
    </>
  );
}
