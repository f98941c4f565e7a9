// Destinations: applications that are told of each event by signed HTTP requests.
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useLocation, useSearchParams } from 'wouter';
import { oneOf } from '../../app/address.ts';
import { screenPath } from '../../app/paths.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { type Column, DataTable, TableFoot } from '../../components/DataTable.tsx';
import { FilterBar, FilterChoice, FilterReset, FilterText } from '../../components/FilterBar.tsx';
import { Page } from '../../components/Page.tsx';
import { usePagedList } from '../../components/paging.ts';
import { StatusBadge, type Tone } from '../../components/StatusBadge.tsx';
import { EmptyState, ErrorPanel, Skeleton } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import { useMessageText } from '../../components/useServerText.ts';
import type { DestinationFieldsFragment, DestinationState, DestinationsQuery } from '../../generated/graphql.ts';
import { SecretOnce } from '../keys/SecretOnce.tsx';
import { DestinationDialog } from './DestinationDialog.tsx';
import { destinationsQuery } from './destination.ts';

const STATES: readonly DestinationState[] = ['ACTIVE', 'PAUSED', 'FAILING', 'DISABLED'];
const TONES: Record<DestinationState, Tone> = { ACTIVE: 'good', PAUSED: 'quiet', FAILING: 'warning', DISABLED: 'bad' };

export function DestinationBadge({ state }: { state: DestinationState }) {
  const { t } = useTranslation('destinations');
  return <StatusBadge tone={TONES[state]}>{t(`state.${state}`)}</StatusBadge>;
}

/** Why a destination is in its state. What a receiver wrote is quoted. */
export function useReasonText() {
  const { t } = useTranslation('destinations');
  const say = useMessageText();
  return ({ reason, message, messageParts }: DestinationFieldsFragment): string => {
    if (reason === 'RECEIVER') return t('receiverSaid', { text: message ?? '' });
    return message ? say(message, messageParts) : '';
  };
}

const pick = (data: DestinationsQuery) => data.organization?.destinations;

export default function DestinationsScreen() {
  const { t } = useTranslation('destinations');
  const { t: common } = useTranslation();
  const viewer = useViewer();
  const sayReason = useReasonText();
  const [, navigate] = useLocation();
  const [params] = useSearchParams();
  const [making, setMaking] = useState(false);
  const [made, setMade] = useState<{ id: string; secret: string }>();
  const state = oneOf(STATES, params.get('state') ?? undefined);
  const search = params.get('search') ?? undefined;
  const list = usePagedList(
    destinationsQuery,
    { filter: { ...(state && { states: [state] }), ...(search !== undefined && { search }) }, write: viewer.may('IAM_WRITE') },
    pick,
  );
  const path = (id: string) => screenPath(viewer.organization.slug, `destinations/${encodeURIComponent(id)}`);
  const filtered = state !== undefined || search !== undefined;
  const columns: Column<DestinationFieldsFragment>[] = [
    {
      key: 'description',
      title: t('description'),
      header: true,
      cell: (row) => (
        <>
          <Link href={path(row.id)}>{row.description}</Link>
          <br />
          <small className="muted">{row.url ?? (row.stream?.deliveryMethod === 'POLL' ? t('stream.polled') : '')}</small>
        </>
      ),
    },
    {
      key: 'state',
      title: t('stateTitle'),
      cell: (row) => (
        <>
          <DestinationBadge state={row.state} />
          {row.message && <p className="muted">{sayReason(row)}</p>}
        </>
      ),
    },
    { key: 'payload', title: t('payload'), cell: (row) => t(`payloads.${row.payload}`) },
    {
      key: 'success',
      title: t('lastSuccess'),
      cell: (row) => (row.lastSuccessAt ? <Time at={row.lastSuccessAt} /> : common('state.never')),
    },
  ];
  const create = viewer.may('IAM_WRITE') && (
    <Button kind="primary" icon="globe" onPress={() => setMaking(true)}>
      {t('create')}
    </Button>
  );
  return (
    <Page title={common('menu.destinations')} lead={t('lead')} actions={create}>
      <FilterBar label={t('filters')}>
        <FilterText name="search" label={t('description')} />
        <FilterChoice
          name="state"
          label={t('stateTitle')}
          choices={STATES.map((value) => ({ value, text: t(`state.${value}`) }))}
        />
        <FilterReset names={['search', 'state']} />
      </FilterBar>
      {list.problem && <ErrorPanel problem={list.problem} onRetry={list.reload} />}
      {list.loading && list.rows.length === 0 && <Skeleton lines={5} />}
      {!list.loading && !list.problem && list.rows.length === 0 && (
        <EmptyState icon="globe" title={filtered ? t('noMatch') : t('none')} actions={!filtered && create}>
          {!filtered && <p>{t('noneText')}</p>}
        </EmptyState>
      )}
      {list.rows.length > 0 && (
        <section className="card">
          <DataTable
            label={common('table.rows', { label: common('menu.destinations') })}
            columns={columns}
            rows={list.rows}
            rowKey={(row) => row.id}
          />
          <TableFoot
            shown={list.rows.length}
            total={list.total}
            loading={list.loading}
            onMore={list.hasMore ? list.loadMore : undefined}
          />
        </section>
      )}
      {making && (
        <DestinationDialog
          destination={undefined}
          onClose={() => setMaking(false)}
          onDone={(id, secret) => {
            setMaking(false);
            if (id !== undefined && secret !== undefined) setMade({ id, secret });
            // A stream has public keys only.
            else if (id !== undefined) navigate(path(id));
            else list.reload();
          }}
        />
      )}
      {made && (
        <SecretOnce
          title={t('secretTitle')}
          label={t('secret')}
          secret={made.secret}
          warning={t('secretText')}
          onStored={() => navigate(path(made.id))}
        />
      )}
    </Page>
  );
}
