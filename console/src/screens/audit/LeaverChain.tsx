// What happened after one person left, step by step with its time: the request, the change here, each destination that
// was told, and what applications confirmed. Received and confirmed are apart: an answer of 2xx proves nothing about
// sessions.
import { useTranslation } from 'react-i18next';
import { useQuery } from 'urql';
import { Link } from 'wouter';
import { screenPath } from '../../app/paths.ts';
import { useAction } from '../../app/useAction.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { Icon, type IconName } from '../../components/Icon.tsx';
import { ErrorPanel, Skeleton, toProblem } from '../../components/states.tsx';
import { StatusBadge, type Tone } from '../../components/StatusBadge.tsx';
import { Time } from '../../components/Time.tsx';
import { notify } from '../../components/toasts.tsx';
import { useMessageText } from '../../components/useServerText.ts';
import type { DeliveryState, LeaverChainQuery } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import { retryMutation } from '../destinations/destination.ts';
import { useDuration } from './duration.ts';

const chainQuery = graphql(`
  query LeaverChain($since: DateTime!, $until: DateTime!, $iam: Boolean!) {
    organization {
      id
      leavers(first: 20, filter: { since: $since, until: $until }) {
        nodes {
          userId
          userCount
          requestedAt
          revokedAt
          milliseconds
          destinationCount
          receivedCount
          receiptMilliseconds
          confirmedCount
          sessionsEndedAt
          confirmationMilliseconds
          event { id seq requestId actor { name } }
          deliveries {
            id
            state
            lastAt
            nextAt
            receivedAt
            attemptCount
            httpStatus
            message
            messageParts { code values }
            destination @include(if: $iam) { id url description }
          }
          confirmations { userId endedAt confirmedAt event { id actor { name } } }
        }
      }
    }
  }
`);

type Leaver = NonNullable<NonNullable<LeaverChainQuery['organization']>['leavers']>['nodes'][number];

const TONES: Record<DeliveryState, Tone> = { WAITING: 'warning', SUCCEEDED: 'good', FAILED: 'bad' };

/** The leaver of one event: the list knows no ids, so it is looked for at its instant. */
export function LeaverChain({ eventId, revokedAt }: { eventId: string; revokedAt: string }) {
  const viewer = useViewer();
  const until = new Date(Date.parse(revokedAt) + 1).toISOString();
  const [{ data, error, fetching }, again] = useQuery({
    query: chainQuery,
    variables: { since: revokedAt, until, iam: viewer.may('IAM_READ') },
    requestPolicy: 'network-only',
  });
  const reload = () => again({ requestPolicy: 'network-only' });
  const leaver = data?.organization?.leavers?.nodes.find(({ event }) => event?.id === eventId);
  if (error) return <ErrorPanel problem={toProblem(error)} onRetry={reload} />;
  if (!leaver) return fetching ? <Skeleton lines={5} /> : <ErrorPanel problem={{ code: 'NOT_FOUND', message: '' }} onRetry={reload} />;
  return <Steps leaver={leaver} reload={reload} />;
}

interface StepProps {
  icon: IconName;
  tone: 'done' | 'waiting' | 'failed';
  title: React.ReactNode;
  at?: string | null | undefined;
  /** The time from the request, in milliseconds. */
  after?: number | null | undefined;
  children?: React.ReactNode;
}

function Step({ icon, tone, title, at, after, children }: StepProps) {
  const { t } = useTranslation('audit');
  const duration = useDuration();
  return (
    <li className={`leaver-step leaver-${tone}`}>
      <Icon name={icon} />
      <div>
        <p>
          <strong>{title}</strong>
          {after != null && <span className="muted"> {t('chainOf.after', { time: duration(after) })}</span>}
        </p>
        {at && (
          <p className="muted">
            <Time at={at} exact />
          </p>
        )}
        {children}
      </div>
    </li>
  );
}

const since = (start: string, end: string | null | undefined) => (end ? Math.max(0, Date.parse(end) - Date.parse(start)) : undefined);

function Steps({ leaver, reload }: { leaver: Leaver; reload: () => void }) {
  const { t } = useTranslation('audit');
  const say = useMessageText();
  const viewer = useViewer();
  const deliveries = leaver.deliveries ?? [];
  const confirmations = leaver.confirmations ?? [];
  const all = leaver.confirmedCount >= leaver.userCount;
  return (
    <>
      <ol className="leaver-chain">
        <Step icon="signIn" tone="done" title={t('chainOf.requested', { by: leaver.event?.actor.name ?? '–' })} at={leaver.requestedAt}>
          {leaver.event && (
            <p>
              <Link href={`${screenPath(viewer.organization.slug, 'audit')}?request=${encodeURIComponent(leaver.event.requestId)}`}>
                {t('chainOf.request')}
              </Link>
            </p>
          )}
        </Step>
        <Step icon="check" tone="done" title={t('chainOf.committed')} at={leaver.revokedAt} after={leaver.milliseconds} />
        {leaver.destinationCount === 0 && (
          <Step icon="info" tone="waiting" title={t('chainOf.noDestination')}>
            <p className="muted">{t('chainOf.noDestinationText')}</p>
          </Step>
        )}
        {deliveries.map((delivery) => (
          <Step
            key={delivery.id}
            icon={delivery.state === 'SUCCEEDED' ? 'check' : delivery.state === 'FAILED' ? 'alert' : 'clock'}
            tone={delivery.state === 'SUCCEEDED' ? 'done' : delivery.state === 'FAILED' ? 'failed' : 'waiting'}
            title={<DestinationName destination={delivery.destination} />}
            at={delivery.receivedAt ?? delivery.lastAt}
            after={since(leaver.requestedAt, delivery.receivedAt)}
          >
            <p>
              <StatusBadge tone={TONES[delivery.state]}>{t(`chainOf.state.${delivery.state}`)}</StatusBadge>{' '}
              <span className="muted">
                {t('chainOf.attempts', { count: delivery.attemptCount })}
                {delivery.httpStatus != null && ` · HTTP ${delivery.httpStatus}`}
              </span>
            </p>
            {delivery.message && <p>{say(delivery.message, delivery.messageParts)}</p>}
            {delivery.nextAt && (
              <p className="muted">
                {t('chainOf.next')} <Time at={delivery.nextAt} />
              </p>
            )}
            {delivery.state !== 'SUCCEEDED' && viewer.may('IAM_WRITE') && <RetryButton id={delivery.id} onDone={reload} />}
          </Step>
        ))}
        {leaver.destinationCount > deliveries.length && deliveries.length > 0 && (
          <Step icon="info" tone="waiting" title={t('chainOf.moreDestinations', { shown: deliveries.length, all: leaver.destinationCount })} />
        )}
        {confirmations.map((confirmation) => (
          <Step
            key={`${confirmation.userId} ${confirmation.confirmedAt}`}
            icon="check"
            tone="done"
            title={t('chainOf.confirmed', { by: confirmation.event?.actor.name ?? t('chainOf.application') })}
            at={confirmation.endedAt}
            after={since(leaver.requestedAt, confirmation.endedAt)}
          >
            <p className="muted">
              {t('chainOf.said')} <Time at={confirmation.confirmedAt} exact />
            </p>
          </Step>
        ))}
        {!all && (
          <Step
            icon="clock"
            tone="waiting"
            title={leaver.confirmedCount === 0 ? t('chainOf.notConfirmed') : t('chainOf.partlyConfirmed', { done: leaver.confirmedCount, all: leaver.userCount })}
          >
            <p className="muted">{t('chainOf.notConfirmedText')}</p>
          </Step>
        )}
      </ol>
    </>
  );
}

function DestinationName({ destination }: { destination: { id: string; url: string | null; description: string } | null | undefined }) {
  const { t } = useTranslation('audit');
  const { organization } = useViewer();
  if (!destination) return t('chainOf.destination');
  return (
    <Link href={screenPath(organization.slug, `destinations/${encodeURIComponent(destination.id)}`)}>
      <span dir="auto">{destination.description || destination.url || destination.id}</span>
    </Link>
  );
}

function RetryButton({ id, onDone }: { id: string; onDone: () => void }) {
  const { t } = useTranslation('audit');
  const { run, running } = useAction(retryMutation);
  return (
    <div className="actions">
      <Button
        icon="reload"
        busy={running}
        onPress={async () => {
          const { problem } = await run({ input: { id } });
          notify(problem ? { kind: 'error', text: problem.message } : { kind: 'success', text: t('chainOf.retried') });
          onDone();
        }}
      >
        {t('chainOf.retry')}
      </Button>
    </div>
  );
}
