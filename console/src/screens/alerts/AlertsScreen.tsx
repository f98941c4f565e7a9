// Alerts: what is or was wrong, and what to do about each.
import { useTranslation } from 'react-i18next';
import { Link, useSearchParams } from 'wouter';
import { oneOf } from '../../app/address.ts';
import { screenPath } from '../../app/paths.ts';
import { useViewer } from '../../app/viewer.tsx';
import { TableFoot } from '../../components/DataTable.tsx';
import { FilterBar, FilterChoice, FilterReset } from '../../components/FilterBar.tsx';
import { Card, Page } from '../../components/Page.tsx';
import { usePagedList } from '../../components/paging.ts';
import { StatusBadge, type Tone } from '../../components/StatusBadge.tsx';
import { EmptyState, ErrorPanel, Skeleton } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import type { AlertKind, AlertsQuery, AlertUrgency } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import { FilterState } from '../review/FilterState.tsx';
import { AlertTabs } from './AlertTabs.tsx';
import '../jobs/jobs.css';

const alertsQuery = graphql(`
  query Alerts($filter: AlertFilter, $after: String) {
    organization {
      id
      alerts(first: 25, after: $after, filter: $filter) {
        totalCount
        pageInfo { hasNextPage endCursor }
        nodes { id kind state urgency message nextStep count connectionId raisedAt resolvedAt }
      }
    }
  }
`);

export const KINDS: readonly AlertKind[] = [
  'CONNECTION_STALLED',
  'FAILURES_WAIT',
  'CREDENTIAL_ENDS',
  'CREDENTIAL_OLD',
  'RUN_WAITS',
  'MASS_DEPROVISIONING',
  'COMPARISON_MISSING',
  'LEDGER_BROKEN',
  'EXPORT_MADE',
  'BOOTSTRAP_KEY_ALIVE',
  'DESTINATION_FAILS',
  'REVOCATION_NOT_RECEIVED',
];
const TONES: Record<AlertUrgency, Tone> = { CRITICAL: 'bad', WARNING: 'warning', NOTICE: 'info' };

const pick = (data: AlertsQuery) => data.organization?.alerts;

export default function AlertsScreen() {
  const { t, i18n } = useTranslation('alerts');
  const { t: common } = useTranslation();
  const { organization } = useViewer();
  const [params] = useSearchParams();
  const kind = oneOf(KINDS, params.get('kind') ?? undefined);
  const asked = params.get('state') ?? undefined;
  const state = asked === 'all' ? undefined : asked === 'RESOLVED' ? ('RESOLVED' as const) : ('RAISED' as const);
  const list = usePagedList(alertsQuery, { filter: { ...(kind && { kinds: [kind] }), ...(state && { state }) } }, pick);
  const filtered = kind !== undefined || asked !== undefined;
  return (
    <Page title={common('menu.alerts')} lead={t('lead')}>
      <AlertTabs current="alerts" />
      <FilterBar label={t('filters')}>
        <FilterChoice name="kind" label={t('kindTitle')} choices={KINDS.map((value) => ({ value, text: t(`kind.${value}`) }))} />
        <FilterState
          label={t('state')}
          otherwise={t('states.RAISED')}
          choices={[
            { value: 'RESOLVED', text: t('states.RESOLVED') },
            { value: 'all', text: common('filter.all') },
          ]}
        />
        <FilterReset names={['kind', 'state']} />
      </FilterBar>
      <Card title={t('tab.alerts')}>
        {list.problem && <ErrorPanel problem={list.problem} onRetry={list.reload} />}
        {list.loading && list.rows.length === 0 && <Skeleton lines={5} />}
        {!list.loading && !list.problem && list.rows.length === 0 && (
          <EmptyState icon="check" title={filtered ? t('noMatch') : t('none')}>
            {!filtered && <p>{t('noneText')}</p>}
          </EmptyState>
        )}
        {list.rows.length > 0 && (
          <>
            <ul className="plain entries">
              {list.rows.map((alert) => (
                <li key={alert.id}>
                  <article className="entry">
                    <div className="entry-head">
                      <h3>{t(`kind.${alert.kind}`)}</h3>
                      <StatusBadge tone={alert.state === 'RESOLVED' ? 'quiet' : TONES[alert.urgency]}>
                        {alert.state === 'RESOLVED' ? t('states.RESOLVED') : common(`urgency.${alert.urgency}`)}
                      </StatusBadge>
                      <span className="muted">
                        <Time at={alert.resolvedAt ?? alert.raisedAt} />
                      </span>
                    </div>
                    {i18n.language === 'en' ? (
                      <>
                        <p>{alert.message}</p>
                        <p className="muted">{alert.nextStep}</p>
                      </>
                    ) : (
                      <>
                        <p>{t(`said.${alert.kind}`, { count: alert.count })}</p>
                        <p className="muted">{t(`next.${alert.kind}`)}</p>
                        {/* The server's words name the things. */}
                        <p className="muted" lang="en">
                          {common('mistakeWords', { text: alert.message })}
                        </p>
                      </>
                    )}
                    {alert.connectionId && (
                      <p>
                        <Link href={screenPath(organization.slug, `connections/${encodeURIComponent(alert.connectionId)}`)}>
                          {t('toConnection')}
                        </Link>
                      </p>
                    )}
                  </article>
                </li>
              ))}
            </ul>
            <TableFoot
              shown={list.rows.length}
              total={list.total}
              loading={list.loading}
              onMore={list.hasMore ? list.loadMore : undefined}
            />
          </>
        )}
      </Card>
    </Page>
  );
}
