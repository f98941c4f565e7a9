import { useTranslation } from 'react-i18next';
import { Link } from 'wouter';
import { useScreenHref } from '../../app/useScreenHref.ts';
import { Card } from '../../components/Page.tsx';
import { StatusBadge, type Tone } from '../../components/StatusBadge.tsx';
import { Time } from '../../components/Time.tsx';
import { EmptyState } from '../../components/states.tsx';
import { useAttentionText, useHealthReasonText } from '../../components/useServerText.ts';
import type { AttentionKind, AttentionUrgency, ConnectionHealthState, OverviewQuery } from '../../generated/graphql.ts';

type Organization = NonNullable<OverviewQuery['organization']>;

const URGENCY_TONES: Record<AttentionUrgency, Tone> = { CRITICAL: 'bad', WARNING: 'warning', NOTICE: 'info' };

/** The screen where a matter is dealt with. */
const PLACES: Partial<Record<AttentionKind, string>> = {
  FAILURES: 'review',
  FINDINGS: 'findings',
  PROPOSALS: 'review',
  TOKEN_ENDS: 'configuration',
  KEYS_END: 'keys',
  KEYS_WITHOUT_OWNER: 'keys',
  ACCESS_ENDS: 'mappings',
  SOURCES_HELD: 'sso',
  DOMAIN_LOST: 'sso',
  DOMAINS_UNPROVEN: 'sso',
  INVITATIONS_END: 'invitations',
  INVITATIONS_HELD: 'invitations',
};

/** For a matter of one connection: the part of its screen. */
const CONNECTION_PARTS: Partial<Record<AttentionKind, string>> = { CONNECTION: '', CERTIFICATE_ENDS: '/provider' };

export function Attention({ items }: { items: NonNullable<Organization['attention']> }) {
  const { t } = useTranslation('overview');
  const { t: common } = useTranslation();
  const href = useScreenHref();
  const say = useAttentionText();
  return (
    <Card title={t('attention.title')} id="attention">
      {items.length === 0 ? (
        <EmptyState icon="check" title={t('attention.none')}>
          {t('attention.explained')}
        </EmptyState>
      ) : (
        <ul className="plain">
          {items.map((item, index) => {
            const place = item.connection && CONNECTION_PARTS[item.kind] !== undefined ? `connections/${item.connection.id}${CONNECTION_PARTS[item.kind]}` : PLACES[item.kind];
            const target = place === undefined ? undefined : href(place);
            const said = say(item);
            return (
              <li key={index} className={`attention attention-${item.urgency.toLowerCase()}`}>
                <p>
                  <StatusBadge tone={URGENCY_TONES[item.urgency]}>{common(`urgency.${item.urgency}`)}</StatusBadge>{' '}
                  {target ? <Link href={target}>{said.text}</Link> : said.text}
                </p>
                <p className="muted">{said.next}</p>
                {item.at && (
                  <p className="muted">
                    <Time at={item.at} />
                  </p>
                )}
              </li>
            );
          })}
        </ul>
      )}
    </Card>
  );
}

export function Activity({ events }: { events: NonNullable<NonNullable<Organization['scim']>['recentActivity']> }) {
  const { t } = useTranslation('overview');
  const { t: common } = useTranslation();
  const href = useScreenHref();
  const audit = href('audit');
  return (
    <Card title={t('activity.title')} id="activity" actions={audit && <Link href={audit}>{t('activity.all')}</Link>}>
      {events.length === 0 ? (
        <EmptyState icon="clock" title={t('activity.none')} />
      ) : (
        <ul className="timeline">
          {events.map((event) => (
            <li key={event.id}>
              <span>
                {common(`action.${event.action}`)}
                {event.subjectName && (
                  <>
                    {': '}
                    <bdi>{event.subjectName}</bdi>
                  </>
                )}
              </span>
              <span className="muted">
                <bdi>{event.actor.name}</bdi>, <Time at={event.at} />
              </span>
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}

export const HEALTH_TONES: Record<ConnectionHealthState, Tone> = {
  HEALTHY: 'good',
  DEGRADED: 'warning',
  STALLED: 'warning',
  QUARANTINED: 'bad',
  INACTIVE: 'quiet',
};

/** For a count that does not move: who was heard when, and what is in the way. */
export function Connections({ connections }: { connections: NonNullable<Organization['connections']>['nodes'] }) {
  const { t } = useTranslation('overview');
  const { t: common } = useTranslation();
  const href = useScreenHref();
  const say = useHealthReasonText();
  if (connections.length === 0) {
    return (
      <Card title={t('connections.title')} id="connections">
        <EmptyState icon="plug" title={t('connections.none')}>
          {t('connections.first')}
        </EmptyState>
      </Card>
    );
  }
  return (
    <Card title={t('connections.title')} id="connections">
      <ul className="plain">
        {connections.map((connection) => {
          const target = href(`connections/${connection.id}`);
          return (
            <li key={connection.id}>
              <p>
                {target ? (
                  <Link href={target}>
                    <bdi>{connection.name}</bdi>
                  </Link>
                ) : (
                  <bdi>{connection.name}</bdi>
                )}{' '}
                {connection.name !== common(`provider.${connection.provider}`) && (
                  <span className="muted">{common(`provider.${connection.provider}`)} </span>
                )}
                {connection.health && (
                  <StatusBadge tone={HEALTH_TONES[connection.health.state]}>{common(`health.${connection.health.state}`)}</StatusBadge>
                )}
              </p>
              <p className="muted">
                {t('connections.contact')} {connection.lastContactAt ? <Time at={connection.lastContactAt} /> : common('state.never')}
              </p>
              {connection.health?.reasons.map((reason) => (
                <p key={reason.code}>
                  {say(reason).text} <span className="muted">{say(reason).next}</span>
                </p>
              ))}
            </li>
          );
        })}
      </ul>
    </Card>
  );
}
