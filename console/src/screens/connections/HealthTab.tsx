// How a connection does: its state with the reasons, its numbers, its rhythm, and where the provider must send.
import { useTranslation } from 'react-i18next';
import { Link } from 'wouter';
import { screenPath } from '../../app/paths.ts';
import { useViewer } from '../../app/viewer.tsx';
import { CopyRow } from '../../components/CopyButton.tsx';
import { Card } from '../../components/Page.tsx';
import { Chart } from '../../components/charts.tsx';
import { Banner, EmptyState } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import { useHealthReasonText } from '../../components/useServerText.ts';
import type { OneConnection } from './connection.ts';
import { Details, HealthBadge, useNumbers } from './parts.tsx';

export function HealthTab({ connection }: { connection: OneConnection }) {
  const { t } = useTranslation('connections');
  const { t: common } = useTranslation();
  const { organization } = useViewer();
  const numbers = useNumbers();
  const say = useHealthReasonText();
  const { health } = connection;
  const review = screenPath(organization.slug, `review?connection=${encodeURIComponent(connection.id)}`);
  const window = (part: { operations: number; failures: number; errorRate: number }) =>
    t('health.window', {
      operations: numbers.whole(part.operations),
      failures: numbers.whole(part.failures),
      rate: numbers.percent(part.errorRate),
    });
  return (
    <>
      {health && health.reasons.length > 0 && (
        <Card title={t('health.why')}>
          <ul className="plain reasons">
            {health.reasons.map((reason) => (
              <li key={reason.code + reason.message}>
                <Banner kind={health.state === 'INACTIVE' ? 'info' : 'warning'} title={say(reason).text}>
                  <p>{say(reason).next}</p>
                  <p className="muted">
                    <code>{reason.code}</code>
                  </p>
                </Banner>
              </li>
            ))}
          </ul>
        </Card>
      )}
      <div className="columns">
        <Card title={t('health.title')}>
          {health ? (
            <Details
              rows={[
                [t('health.state'), <HealthBadge key="state" state={health.state} />],
                health.since != null && [t('health.since'), <Time key="since" at={health.since} />],
                [
                  t('health.lastContact'),
                  health.lastContactAt ? <Time key="at" at={health.lastContactAt} /> : common('state.never'),
                ],
                [
                  t('health.lastSuccess'),
                  health.lastSuccessAt ? <Time key="at" at={health.lastSuccessAt} /> : common('state.never'),
                ],
                [t('health.lastHour'), window(health.lastHour)],
                [t('health.lastDay'), window(health.lastDay)],
                [
                  t('health.pending'),
                  health.pendingOperations > 0 ? (
                    <>
                      <Link href={review}>{numbers.whole(health.pendingOperations)}</Link>{' '}
                      {health.oldestPendingAt && (
                        <span className="muted">
                          {t('health.oldest')} <Time at={health.oldestPendingAt} />
                        </span>
                      )}
                    </>
                  ) : (
                    common('state.none')
                  ),
                ],
                health.medianEffectMilliseconds != null && [
                  t('health.effect'),
                  t('health.milliseconds', { value: numbers.whole(Math.round(health.medianEffectMilliseconds)) }),
                ],
              ]}
            />
          ) : (
            <p>{common('state.unknown')}</p>
          )}
        </Card>
        <Card title={t('health.owns')}>
          <Details
            rows={[
              [
                t('health.users'),
                <Link key="users" href={screenPath(organization.slug, `people?connection=${encodeURIComponent(connection.id)}`)}>
                  {numbers.whole(connection.userCount)}
                </Link>,
              ],
              [
                t('health.groups'),
                <Link key="groups" href={screenPath(organization.slug, `groups?connection=${encodeURIComponent(connection.id)}`)}>
                  {numbers.whole(connection.groupCount)}
                </Link>,
              ],
              [t('health.created'), <Time key="created" at={connection.createdAt} />],
              [t('health.updated'), <Time key="updated" at={connection.updatedAt} />],
              connection.lastSync?.endedAt != null && [
                t('health.lastSync'),
                <Time key="sync" at={connection.lastSync.endedAt} />,
              ],
            ]}
          />
        </Card>
      </div>
      {connection.kind === 'SCIM_PUSH' && connection.endpoints && (
        <Card title={t('health.addresses')}>
          <dl>
            <CopyRow label={t('health.baseUrl')} text={connection.endpoints.baseUrl} />
            <CopyRow label={t('health.usersUrl')} text={connection.endpoints.usersUrl} />
            <CopyRow label={t('health.groupsUrl')} text={connection.endpoints.groupsUrl} />
          </dl>
        </Card>
      )}
      {connection.health && <RhythmCard connection={connection} />}
    </>
  );
}

function RhythmCard({ connection }: { connection: OneConnection }) {
  const { t, i18n } = useTranslation('connections');
  const hour = new Intl.DateTimeFormat(i18n.language, { hour: '2-digit', minute: '2-digit' });
  const hours = connection.health?.hours ?? [];
  return (
    <Card title={t('health.rhythm')}>
      {hours.every(({ operations }) => operations === 0) ? (
        <EmptyState icon="clock" title={t('health.quiet')} />
      ) : (
        <Chart
          label={t('health.rhythmLabel')}
          kind="bars"
          x={hours.map(({ since }) => Date.parse(since))}
          xIsTime
          series={[
            { label: t('health.requests'), values: hours.map(({ operations }) => operations) },
            { label: t('health.troubles'), values: hours.map(({ failures }) => failures) },
          ]}
          formatX={(x) => hour.format(x)}
        />
      )}
    </Card>
  );
}
