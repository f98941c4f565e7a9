// One destination: its state, what it was told, and how each attempt went.
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useQuery } from 'urql';
import { Link, useLocation, useParams } from 'wouter';
import { screenPath } from '../../app/paths.ts';
import { useAction } from '../../app/useAction.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { ConfirmDialog } from '../../components/ConfirmDialog.tsx';
import { CopyButton, CopyRow } from '../../components/CopyButton.tsx';
import { SelectField, TextField, toInstant } from '../../components/forms.tsx';
import { Icon } from '../../components/Icon.tsx';
import { Card, Page } from '../../components/Page.tsx';
import { Banner, EmptyState, ErrorPanel, Skeleton, toProblem } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import { notify } from '../../components/toasts.tsx';
import type { DestinationFieldsFragment } from '../../generated/graphql.ts';
import { Details, useNumbers } from '../connections/parts.tsx';
import { SecretOnce } from '../keys/SecretOnce.tsx';
import { Deliveries } from './Deliveries.tsx';
import { DestinationDialog } from './DestinationDialog.tsx';
import { DestinationBadge, useReasonText } from './DestinationsScreen.tsx';
import {
  choiceOf,
  deleteMutation,
  destinationQuery,
  pauseMutation,
  replayMutation,
  resumeMutation,
  rotateMutation,
  testMutation,
} from './destination.ts';

const OVERLAPS = ['0', '3600', '86400', '604800'] as const;

type Asking = 'pause' | 'rotate' | 'replay' | 'delete' | 'edit';

export default function DestinationScreen() {
  const { t } = useTranslation('destinations');
  const { t: common } = useTranslation();
  const viewer = useViewer();
  const id = decodeURIComponent(useParams<{ id: string }>().id);
  const [{ data, error }, ask] = useQuery({ query: destinationQuery, variables: { id, write: viewer.may('IAM_WRITE') } });
  const reload = () => ask({ requestPolicy: 'network-only' });
  const list = screenPath(viewer.organization.slug, 'destinations');
  const destination = data?.organization?.destination;
  if (!destination) {
    return (
      <Page title={common('menu.destinations')}>
        {error ? (
          <ErrorPanel problem={toProblem(error)} onRetry={reload} />
        ) : data ? (
          <EmptyState icon="globe" title={t('gone')} actions={<Link href={list}>{t('toList')}</Link>} />
        ) : (
          <Skeleton lines={6} />
        )}
      </Page>
    );
  }
  return <One destination={destination} list={list} reload={reload} />;
}

interface OneProps {
  destination: DestinationFieldsFragment;
  list: string;
  reload: () => void;
}

function One({ destination, list, reload }: OneProps) {
  const { t } = useTranslation('destinations');
  const { t: common } = useTranslation();
  const viewer = useViewer();
  const numbers = useNumbers();
  const sayReason = useReasonText();
  const mayWrite = viewer.may('IAM_WRITE');
  const [asking, setAsking] = useState<Asking>();
  const [turn, setTurn] = useState(0);
  const { run: resume, running: resuming } = useAction(resumeMutation);
  const { run: test, running: testing } = useAction(testMutation);
  const again = () => {
    reload();
    setTurn((count) => count + 1);
  };
  const say = (problem: { message: string; nextStep?: string | null | undefined } | undefined, done: string) => {
    if (problem) notify({ kind: 'error', text: problem.message, ...(problem.nextStep && { detail: problem.nextStep }) });
    else notify({ kind: 'success', text: done });
    again();
  };
  const { stream } = destination;
  const off = destination.state === 'PAUSED' || destination.state === 'DISABLED';
  const choice = choiceOf(destination.eventActions);
  return (
    <Page
      title={destination.description}
      lead={destination.url ?? (stream?.deliveryMethod === 'POLL' ? t('stream.polled') : '')}
      actions={
        <>
          <DestinationBadge state={destination.state} />
          {mayWrite && (
            <>
              <Button
                icon="sync"
                busy={testing}
                onPress={() => void test({ input: { id: destination.id } }).then(({ problem }) => say(problem, t('tested')))}
              >
                {t('test')}
              </Button>
              {off ? (
                <Button
                  kind="primary"
                  busy={resuming}
                  onPress={() => void resume({ input: { id: destination.id } }).then(({ problem }) => say(problem, t('resumed')))}
                >
                  {t('resume')}
                </Button>
              ) : (
                <Button onPress={() => setAsking('pause')}>{t('pause')}</Button>
              )}
            </>
          )}
        </>
      }
    >
      <p className="back-link">
        <Link href={list}>
          <Icon name="arrowLeft" /> {t('toList')}
        </Link>
      </p>
      {destination.message && destination.state !== 'ACTIVE' && (
        <Banner kind="warning" title={sayReason(destination)}>
          <p>{t(`stateText.${destination.state}`)}</p>
        </Banner>
      )}
      <Card
        title={t('facts')}
        actions={
          mayWrite && (
            <>
              <Button onPress={() => setAsking('edit')}>{t('edit')}</Button>
              <Button icon="key" onPress={() => setAsking('rotate')}>
                {t('rotate')}
              </Button>
              <Button icon="reload" onPress={() => setAsking('replay')}>
                {t('replay')}
              </Button>
              <Button kind="danger" icon="trash" onPress={() => setAsking('delete')}>
                {t('delete')}
              </Button>
            </>
          )
        }
      >
        <Details
          rows={[
            [t('stateTitle'), <DestinationBadge key="state" state={destination.state} />],
            [t('since'), <Time key="since" at={destination.stateSince} />],
            [
              t('lastSuccess'),
              destination.lastSuccessAt ? <Time key="success" at={destination.lastSuccessAt} /> : common('state.never'),
            ],
            [t('through'), numbers.whole(destination.deliveredThrough)],
            [
              t('events'),
              choice ? t(`eventChoices.${choice}`) : destination.eventActions.map((action) => common(`action.${action}`)).join(', '),
            ],
            [t('payload'), t(`payloads.${destination.payload}`)],
            destination.connections.length > 0 && [
              t('connections'),
              destination.connections.map((connection) => connection.name).join(', '),
            ],
            destination.publicKey != null && [
              t('publicKey'),
              <span key="key" className="urn">
                <code dir="ltr">{destination.publicKey}</code>
                <CopyButton text={destination.publicKey} label={t('publicKey')} />
              </span>,
            ],
            destination.previousSecretUntil != null && [
              t('previousSecret'),
              <Time key="previous" at={destination.previousSecretUntil} />,
            ],
            [t('created'), <Time key="created" at={destination.createdAt} />],
          ]}
        />
      </Card>
      {stream && (
        <Card title={t('stream.title')}>
          <p className="muted">{t('stream.text')}</p>
          <dl>
            <CopyRow label={t('stream.issuer')} text={stream.issuer} />
            <CopyRow label={t('stream.audience')} text={stream.audience} />
            <CopyRow label={t('stream.id')} text={stream.streamId} />
            {stream.pollUrl && <CopyRow label={t('stream.poll')} text={stream.pollUrl} />}
          </dl>
          <Details
            rows={[
              [t('stream.method'), t(`stream.methods.${stream.deliveryMethod}`)],
              [t('stream.subject'), t(`stream.subjects.${stream.subjectFormat}`)],
              [t('stream.signature'), `${stream.signingAlgorithm} · ${stream.signingKeyIds.join(', ')}`],
              [
                t('stream.types'),
                <details key="types">
                  <summary>{t('stream.typeCount', { count: stream.eventTypesDelivered.length })}</summary>
                  <ul className="plain">
                    {stream.eventTypesDelivered.map((type) => (
                      <li key={type}>
                        <code dir="ltr">{type}</code>
                      </li>
                    ))}
                  </ul>
                </details>,
              ],
            ]}
          />
        </Card>
      )}
      {viewer.may('AUDIT_READ') ? (
        <Deliveries id={destination.id} turn={turn} />
      ) : (
        <p className="muted">{t('needsAudit')}</p>
      )}
      <Questions destination={destination} asking={asking} onClose={() => setAsking(undefined)} onDone={again} list={list} />
    </Page>
  );
}

interface QuestionsProps {
  destination: DestinationFieldsFragment;
  asking: Asking | undefined;
  onClose: () => void;
  onDone: () => void;
  list: string;
}

/** What asks again before it is done. */
function Questions({ destination, asking, onClose, onDone, list }: QuestionsProps) {
  const { t } = useTranslation('destinations');
  const { t: common } = useTranslation();
  const [, navigate] = useLocation();
  const [reason, setReason] = useState('');
  const [overlap, setOverlap] = useState<(typeof OVERLAPS)[number]>('86400');
  const [since, setSince] = useState('');
  const [secret, setSecret] = useState<string>();
  const { run: pause } = useAction(pauseMutation);
  const { run: remove } = useAction(deleteMutation);
  const { run: rotate } = useAction(rotateMutation);
  const { run: replay } = useAction(replayMutation);
  const { id } = destination;
  const why = { reason: reason.trim() || null };
  const reasonField = <TextField label={common('dialog.reason')} value={reason} onChange={setReason} maxLength={1000} />;
  return (
    <>
      <ConfirmDialog
        isOpen={asking === 'pause'}
        onClose={onClose}
        title={t('pauseTitle')}
        consequences={[t('pauseNothing'), t('pauseKept')]}
        confirmLabel={t('pause')}
        onConfirm={async () => {
          const { problem } = await pause({ input: { id, ...why } });
          onDone();
          return problem;
        }}
      >
        {reasonField}
      </ConfirmDialog>
      <ConfirmDialog
        isOpen={asking === 'delete'}
        onClose={onClose}
        title={t('deleteTitle', { name: destination.description })}
        consequences={[t('deleteNothing'), t('deleteUndo')]}
        confirmLabel={t('delete')}
        danger
        onConfirm={async () => {
          const { problem } = await remove({ input: { id, ...why } });
          if (!problem) {
            notify({ kind: 'success', text: t('deleted', { name: destination.description }) });
            navigate(list);
          }
          return problem;
        }}
      >
        {reasonField}
      </ConfirmDialog>
      <ConfirmDialog
        isOpen={asking === 'rotate'}
        onClose={onClose}
        title={t('rotateTitle')}
        consequences={destination.stream ? [t('stream.rotateNew'), t('stream.rotateBoth')] : [t('rotateBoth'), t('rotateOnce')]}
        confirmLabel={t('rotate')}
        onConfirm={async () => {
          const answer = await rotate({ input: { id, overlapSeconds: Number(overlap), ...why } });
          if (answer.problem) return answer.problem;
          if (answer.payload.secret) setSecret(answer.payload.secret);
          onDone();
          return undefined;
        }}
      >
        <SelectField
          label={t('overlap')}
          value={overlap}
          choices={OVERLAPS.map((value) => ({ value, text: t(`overlaps.${value}`) }))}
          onChange={setOverlap}
        />
        {reasonField}
      </ConfirmDialog>
      <ConfirmDialog
        isOpen={asking === 'replay'}
        onClose={onClose}
        title={t('replayTitle')}
        consequences={[t('replaySame'), t('replayTwice')]}
        confirmLabel={t('replay')}
        onConfirm={async () => {
          const instant = toInstant(since);
          if (instant === undefined) return { code: 'INVALID', message: t('replayNeeds'), nextStep: t('replayNeedsNext') };
          const { problem } = await replay({ input: { id, since: instant } });
          if (!problem) notify({ kind: 'success', text: t('replayed') });
          onDone();
          return problem;
        }}
      >
        <TextField label={t('replaySince')} type="datetime-local" required value={since} onChange={setSince} />
      </ConfirmDialog>
      {asking === 'edit' && (
        <DestinationDialog
          destination={destination}
          onClose={onClose}
          onDone={() => {
            onClose();
            notify({ kind: 'success', text: t('saved') });
            onDone();
          }}
        />
      )}
      {secret !== undefined && (
        <SecretOnce
          title={t('secretTitle')}
          label={t('secret')}
          secret={secret}
          warning={t('secretText')}
          onStored={() => setSecret(undefined)}
        />
      )}
    </>
  );
}
