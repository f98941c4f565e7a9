// All connections: how each does, and where to look first.
import { useTranslation } from 'react-i18next';
import { Link, useLocation, useSearchParams } from 'wouter';
import { screenPath } from '../../app/paths.ts';
import { oneOf } from '../../app/address.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { type Column, DataTable, TableFoot } from '../../components/DataTable.tsx';
import { FilterBar, FilterChoice, FilterReset, FilterText } from '../../components/FilterBar.tsx';
import { Page } from '../../components/Page.tsx';
import { Sparkline } from '../../components/charts.tsx';
import { useHealthReasonText } from '../../components/useServerText.ts';
import { usePagedList } from '../../components/paging.ts';
import { EmptyState, ErrorPanel, Skeleton } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import type { ConnectionsQuery, ConnectionKind, ConnectionState } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import { HealthBadge, PROVIDERS, StateBadge, useNumbers } from './parts.tsx';
import './connections.css';

const connectionsQuery = graphql(`
  query Connections($filter: IdentitySourceFilter, $after: String) {
    organization {
      id
      connections(first: 20, after: $after, filter: $filter, orderBy: { field: NAME }) {
        totalCount
        pageInfo { hasNextPage endCursor }
        nodes {
          id
          name
          kind
          provider
          state
          health {
            state
            reasons { code message messageParts { code values } nextStep }
            lastContactAt
            lastDay { operations failures errorRate }
            hours { operations }
            pendingOperations
          }
        }
      }
    }
  }
`);

const KINDS: readonly ConnectionKind[] = ['SCIM_PUSH', 'SCIM_PULL', 'ASSERTION'];
const STATES: readonly ConnectionState[] = ['ACTIVE', 'INACTIVE'];

type Row = NonNullable<NonNullable<ConnectionsQuery['organization']>['connections']>['nodes'][number];

const pick = (data: ConnectionsQuery) => data.organization?.connections;

export default function ConnectionsScreen() {
  const { t } = useTranslation('connections');
  const { t: common } = useTranslation();
  const viewer = useViewer();
  const [, navigate] = useLocation();
  const [params] = useSearchParams();
  const numbers = useNumbers();
  const say = useHealthReasonText();
  const slug = viewer.organization.slug;
  const kind = oneOf(KINDS, params.get('kind') ?? undefined);
  const state = oneOf(STATES, params.get('state') ?? undefined);
  const provider = oneOf(PROVIDERS, params.get('provider') ?? undefined);
  const search = params.get('search') ?? undefined;
  const filtered = [kind, state, provider, search].some((value) => value !== undefined);
  const list = usePagedList(
    connectionsQuery,
    {
      filter: {
        ...(search !== undefined && { search }),
        ...(kind && { kinds: [kind] }),
        ...(state && { states: [state] }),
        ...(provider && { providers: [provider] }),
      },
    },
    pick,
  );

  const columns: Column<Row>[] = [
    {
      key: 'name',
      title: t('list.name'),
      header: true,
      cell: (row) => (
        <>
          <Link href={screenPath(slug, `connections/${encodeURIComponent(row.id)}`)}>{row.name}</Link>
          <br />
          <small className="muted">
            {common(`provider.${row.provider}`)} · {common(`connectionKind.${row.kind}`)}
          </small>
        </>
      ),
    },
    {
      key: 'health',
      title: t('list.health'),
      cell: (row) =>
        row.health && (
          <>
            {row.state === 'ACTIVE' ? <HealthBadge state={row.health.state} /> : <StateBadge state={row.state} />}
            {row.health.reasons[0] && <p className="reason-short">{say(row.health.reasons[0]).text}</p>}
          </>
        ),
    },
    {
      key: 'contact',
      title: t('list.lastContact'),
      cell: (row) => (row.health?.lastContactAt ? <Time at={row.health.lastContactAt} /> : common('state.never')),
    },
    {
      key: 'rhythm',
      title: t('list.rhythm'),
      cell: (row) => {
        const counts = row.health?.hours.map(({ operations }) => operations);
        if (!counts) return null;
        const total = counts.reduce((sum, count) => sum + count, 0);
        return <Sparkline values={counts} label={t('list.rhythmLabel', { count: total, total: numbers.whole(total) })} />;
      },
    },
    {
      key: 'operations',
      title: t('list.operations'),
      cell: (row) =>
        row.health && (
          <>
            {numbers.whole(row.health.lastDay.operations)}
            {row.health.lastDay.failures > 0 && (
              <p className="reason-short">
                {t('list.failed', {
                  failures: numbers.whole(row.health.lastDay.failures),
                  rate: numbers.percent(row.health.lastDay.errorRate),
                })}
              </p>
            )}
          </>
        ),
    },
    {
      key: 'pending',
      title: t('list.pending'),
      numeric: true,
      cell: (row) =>
        row.health &&
        (row.health.pendingOperations > 0 ? (
          <Link href={screenPath(slug, `review?connection=${encodeURIComponent(row.id)}`)}>
            {numbers.whole(row.health.pendingOperations)}
          </Link>
        ) : (
          '0'
        )),
    },
  ];

  const create = viewer.may('IAM_WRITE') && (
    <Button kind="primary" icon="plug" onPress={() => navigate(screenPath(slug, 'connections/new'))}>
      {t('list.create')}
    </Button>
  );

  return (
    <Page title={common('menu.connections')} lead={t('list.lead')} actions={create}>
      <FilterBar label={t('list.filters')}>
        <FilterText name="search" label={t('list.search')} />
        <FilterChoice
          name="provider"
          label={t('list.provider')}
          choices={PROVIDERS.map((value) => ({ value, text: common(`provider.${value}`) }))}
        />
        <FilterChoice
          name="kind"
          label={t('list.kind')}
          choices={KINDS.map((value) => ({ value, text: common(`connectionKind.${value}`) }))}
        />
        <FilterChoice
          name="state"
          label={t('list.state')}
          choices={STATES.map((value) => ({ value, text: common(`connectionState.${value}`) }))}
        />
        <FilterReset names={['search', 'provider', 'kind', 'state']} />
      </FilterBar>
      {list.problem && <ErrorPanel problem={list.problem} onRetry={list.reload} />}
      {list.loading && list.rows.length === 0 && <Skeleton lines={6} />}
      {!list.loading && !list.problem && list.rows.length === 0 && (
        <EmptyState icon="plug" title={filtered ? t('list.noMatch') : t('list.none')} actions={!filtered && create}>
          {!filtered && <p>{t('list.noneText')}</p>}
        </EmptyState>
      )}
      {list.rows.length > 0 && (
        <>
          <div className="connection-list">
            <DataTable label={common('menu.connections')} columns={columns} rows={list.rows} rowKey={(row) => row.id} />
          </div>
          <TableFoot
            shown={list.rows.length}
            total={list.total}
            loading={list.loading}
            onMore={list.hasMore ? list.loadMore : undefined}
          />
        </>
      )}
    </Page>
  );
}
