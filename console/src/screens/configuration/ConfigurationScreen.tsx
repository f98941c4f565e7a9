// SCIM configuration: the base URL, the state of the bearer token, and what is done with it.
import { useTranslation } from 'react-i18next';
import { useQuery } from 'urql';
import { Link } from 'wouter';
import { screenPath } from '../../app/paths.ts';
import { PermissionGate } from '../../app/viewer.tsx';
import { CopyRow } from '../../components/CopyButton.tsx';
import { useQueryValue } from '../../components/FilterBar.tsx';
import { Card, Page } from '../../components/Page.tsx';
import { Banner, EmptyState, ErrorPanel, Skeleton, toProblem } from '../../components/states.tsx';
import type { ConfigurationQuery } from '../../generated/graphql.ts';
import { AuditNote } from './AuditNote.tsx';
import { Checks } from './Checks.tsx';
import { FirstConnection } from './FirstConnection.tsx';
import { Migration } from './Migration.tsx';
import { ProviderSteps } from './ProviderSteps.tsx';
import { TokenCard } from './Tokens.tsx';
import { configurationQuery } from './queries.ts';

export type Organization = NonNullable<ConfigurationQuery['organization']>;
export type Connection = NonNullable<Organization['connections']>['nodes'][number];
export type Token = Connection['tokens'][number];

export default function ConfigurationScreen() {
  const { t } = useTranslation('configuration');
  const [{ data, error }, execute] = useQuery({ query: configurationQuery });
  const reload = () => execute({ requestPolicy: 'network-only' });
  const organization = data?.organization;
  return (
    <Page title={t('title')} lead={t('lead')}>
      {error && !organization?.scim && <ErrorPanel problem={toProblem(error)} onRetry={reload} />}
      {!error && !organization?.scim && <Skeleton lines={9} />}
      {organization?.scim && <Panels organization={organization} reload={reload} />}
    </Page>
  );
}

function Panels({ organization, reload }: { organization: Organization; reload: () => void }) {
  const { t } = useTranslation('configuration');
  const { t: common } = useTranslation();
  const [chosen, choose] = useQueryValue('connection');
  const availability = organization.scim?.availability;
  if (availability && availability.state !== 'AVAILABLE') {
    return (
      <Banner kind="warning" icon={availability.state === 'PLATFORM_DISABLED' ? 'plug' : 'building'} title={t(`unavailable.${availability.state}`)}>
        <p>
          {t('unavailable.see')} <Link href={screenPath(organization.slug, 'overview')}>{common('menu.overview')}</Link>
        </p>
      </Banner>
    );
  }
  if (!organization.scimEnabled) {
    return (
      <Banner kind="info" icon="clock" title={t('rollout.title')}>
        <p>{t('rollout.text')}</p>
        <PermissionGate needs={['IAM_WRITE']}>
          <p>
            <Link href={screenPath(organization.slug, 'sso')}>{t('rollout.turnOn')}</Link>
          </p>
        </PermissionGate>
      </Banner>
    );
  }
  const connections = organization.connections?.nodes ?? [];
  const connection = connections.find(({ id }) => id === chosen) ?? connections[0];
  if (!connection) {
    return (
      <Card title={t('first.title')} id="first">
        <EmptyState icon="plug" title={t('first.none')}>
          {t('first.explained')}
        </EmptyState>
        <PermissionGate needs={['IAM_WRITE']}>
          <FirstConnection onMade={reload} />
        </PermissionGate>
      </Card>
    );
  }
  return (
    <>
      {connections.length > 1 && (
        <div className="field field-inline">
          <label htmlFor="connection">{t('connection')}</label>
          <select id="connection" value={connection.id} onChange={(event) => choose(event.target.value)}>
            {connections.map(({ id, name }) => (
              <option key={id} value={id}>
                {name}
              </option>
            ))}
          </select>
        </div>
      )}
      <Card title={t('address.title')} id="address">
        <dl>{connection.endpoints && <CopyRow label={t('address.base')} text={connection.endpoints.baseUrl} />}</dl>
        <p className="muted">{t('address.stays')}</p>
      </Card>
      <TokenCard key={connection.id} connection={connection} reload={reload} />
      <div className="columns">
        <ProviderSteps connection={connection} />
        <Checks connection={connection} />
      </div>
      <Migration connection={connection} reload={reload} />
      <AuditNote organization={organization} connection={connection} />
      <p className="muted">{t('apart')}</p>
    </>
  );
}
