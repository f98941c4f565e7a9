// What a destination was told, the attempts of each, and another try.
import { useEffect } from 'react';
import { useTranslation } from 'react-i18next';
import { useSearchParams } from 'wouter';
import { oneOf } from '../../app/address.ts';
import { useAction } from '../../app/useAction.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { TableFoot } from '../../components/DataTable.tsx';
import { FilterBar, FilterChoice, FilterReset } from '../../components/FilterBar.tsx';
import { Card } from '../../components/Page.tsx';
import { usePagedList } from '../../components/paging.ts';
import { StatusBadge, type Tone } from '../../components/StatusBadge.tsx';
import { EmptyState, ErrorPanel, Skeleton } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import { notify } from '../../components/toasts.tsx';
import { useMessageText } from '../../components/useServerText.ts';
import type { DeliveriesQuery, DeliveryState } from '../../generated/graphql.ts';
import { useNumbers } from '../connections/parts.tsx';
import { deliveriesQuery, retryMutation } from './destination.ts';
import '../jobs/jobs.css';
import '../review/review.css';

const STATES: readonly DeliveryState[] = ['WAITING', 'SUCCEEDED', 'FAILED'];
const TONES: Record<DeliveryState, Tone> = { WAITING: 'warning', SUCCEEDED: 'good', FAILED: 'bad' };

type Delivery = NonNullable<
  NonNullable<NonNullable<DeliveriesQuery['organization']>['destination']>['deliveries']
>['nodes'][number];

const pick = (data: DeliveriesQuery) => data.organization?.destination?.deliveries;

/** Another `turn` reads the list again. */
export function Deliveries({ id, turn }: { id: string; turn: number }) {
  const { t } = useTranslation('destinations');
  const { t: common } = useTranslation();
  const [params] = useSearchParams();
  const state = oneOf(STATES, params.get('state') ?? undefined);
  const list = usePagedList(deliveriesQuery, { id, filter: { ...(state && { states: [state] }) } }, pick);
  const { reload } = list;
  useEffect(() => {
    if (turn > 0) reload();
  }, [turn, reload]);
  return (
    <Card
      title={t('deliveries')}
      actions={
        <Button icon="reload" onPress={reload}>
          {common('state.reload')}
        </Button>
      }
    >
      <p className="muted">{t('deliveriesText')}</p>
      <FilterBar label={t('deliveryFilters')}>
        <FilterChoice
          name="state"
          label={t('stateTitle')}
          choices={STATES.map((value) => ({ value, text: t(`deliveryState.${value}`) }))}
        />
        <FilterReset names={['state']} />
      </FilterBar>
      {list.problem && <ErrorPanel problem={list.problem} onRetry={reload} />}
      {list.loading && list.rows.length === 0 && <Skeleton lines={5} />}
      {!list.loading && !list.problem && list.rows.length === 0 && (
        <EmptyState icon="globe" title={t('noDelivery')}>
          <p>{t('noDeliveryText')}</p>
        </EmptyState>
      )}
      {list.rows.length > 0 && (
        <>
          <ul className="plain entries">
            {list.rows.map((delivery) => (
              <li key={delivery.id}>
                <DeliveryEntry delivery={delivery} onRetried={reload} />
              </li>
            ))}
          </ul>
          <TableFoot shown={list.rows.length} loading={list.loading} onMore={list.hasMore ? list.loadMore : undefined} />
        </>
      )}
    </Card>
  );
}

function DeliveryEntry({ delivery, onRetried }: { delivery: Delivery; onRetried: () => void }) {
  const { t } = useTranslation('destinations');
  const { t: common } = useTranslation();
  const viewer = useViewer();
  const numbers = useNumbers();
  const say = useMessageText();
  const { run, running } = useAction(retryMutation);
  const retry = async () => {
    const { problem } = await run({ input: { id: delivery.id } });
    if (problem) notify({ kind: 'error', text: problem.message });
    else notify({ kind: 'success', text: t('retried') });
    onRetried();
  };
  return (
    <article className="entry">
      <div className="entry-head">
        <h3>{common(`action.${delivery.action}`)}</h3>
        <StatusBadge tone={TONES[delivery.state]}>{t(`deliveryState.${delivery.state}`)}</StatusBadge>
        <span className="muted">
          {t('seq', { seq: numbers.whole(delivery.seq) })} · <Time at={delivery.lastAt} />
          {delivery.httpStatus != null && <> · HTTP {delivery.httpStatus}</>}
          {delivery.latencyMilliseconds != null && <> · {t('milliseconds', { value: numbers.whole(delivery.latencyMilliseconds) })}</>}
        </span>
      </div>
      {delivery.message && <p>{say(delivery.message, delivery.messageParts)}</p>}
      {delivery.nextAt && (
        <p className="muted">
          {t('nextAt')} <Time at={delivery.nextAt} />
        </p>
      )}
      {delivery.state !== 'SUCCEEDED' && viewer.may('IAM_WRITE') && (
        <div className="actions">
          <Button icon="reload" busy={running} onPress={() => void retry()}>
            {t('retry')}
          </Button>
        </div>
      )}
      <details>
        <summary>{t('attempts', { count: delivery.attemptCount })}</summary>
        <ul className="timeline">
          {delivery.attempts.map((attempt, index) => (
            <li key={index}>
              <span>
                {attempt.httpStatus != null ? `HTTP ${attempt.httpStatus}` : t('noAnswer')}
                {attempt.message && <> · {say(attempt.message, attempt.messageParts)}</>}
                {attempt.latencyMilliseconds != null && (
                  <span className="muted"> · {t('milliseconds', { value: numbers.whole(attempt.latencyMilliseconds) })}</span>
                )}
              </span>
              {attempt.at && <Time at={attempt.at} />}
            </li>
          ))}
        </ul>
        <p className="muted">
          webhook-id <code dir="ltr">{delivery.messageId}</code>
        </p>
        {delivery.response && (
          <pre className="json" tabIndex={0}>
            {delivery.response}
          </pre>
        )}
      </details>
    </article>
  );
}
