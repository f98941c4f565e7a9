// One sync run: how far it is, what it did, what it could not apply, and the decision that it may wait for.
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useAction } from '../../app/useAction.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { ConfirmDialog } from '../../components/ConfirmDialog.tsx';
import { JobBar, hasEnded, useJob } from '../../components/JobProgress.tsx';
import { TextField } from '../../components/forms.tsx';
import { StatusBadge, type Tone } from '../../components/StatusBadge.tsx';
import { Banner } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import { notify } from '../../components/toasts.tsx';
import { useMessageText, useTroubleText } from '../../components/useServerText.ts';
import type { JobState, SyncRunEntryFragment } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import './jobs.css';

export const syncRunEntry = graphql(`
  fragment SyncRunEntry on SyncRun {
    id
    connection { id name }
    mode
    state
    progress { done total }
    cancelling
    users { read created updated suspended restored deleted unchanged failed }
    groups { read created updated suspended restored deleted unchanged failed }
    troubles { kind remoteId code message messageParts { code values } }
    message
    messageParts { code values }
    requestedBy
    createdAt
    startedAt
    endedAt
  }
`);

const approveMutation = graphql(`
  mutation SyncApprove($input: SyncApproveInput!) {
    syncApprove(input: $input) {
      syncRun { id state }
      userErrors { code reason message nextStep }
    }
  }
`);

const cancelMutation = graphql(`
  mutation SyncCancel($input: SyncCancelInput!) {
    syncCancel(input: $input) {
      syncRun { id state }
      userErrors { code reason message nextStep }
    }
  }
`);

export const jobTone = (state: JobState): Tone =>
  state === 'SUCCEEDED' ? 'good' : state === 'FAILED' || state === 'REFUSED' ? 'bad' : state === 'WAITING' ? 'warning' : 'quiet';

export function JobBadge({ state }: { state: JobState }) {
  const { t } = useTranslation();
  return <StatusBadge tone={jobTone(state)}>{t(`job.states.${state}`)}</StatusBadge>;
}

const NUMBERS = ['read', 'created', 'updated', 'suspended', 'restored', 'deleted', 'unchanged', 'failed'] as const;

interface SyncRunEntryProps {
  run: SyncRunEntryFragment;
  open?: boolean;
  /** Called when the run ended, or when it was decided about. */
  onEnd: () => void;
  showConnection?: boolean;
}

export function SyncRunEntry({ run, open = false, onEnd, showConnection = false }: SyncRunEntryProps) {
  const { t, i18n } = useTranslation('jobs');
  const { t: common } = useTranslation();
  const viewer = useViewer();
  const unfinished = !hasEnded(run.state);
  const job = useJob(unfinished ? run.id : undefined, onEnd);
  const state = job?.state ?? run.state;
  const progress = job?.progress ?? run.progress;
  const [asking, setAsking] = useState<'approve' | 'cancel'>();
  const [reason, setReason] = useState('');
  const { run: approve } = useAction(approveMutation);
  const { run: cancel } = useAction(cancelMutation);
  const number = new Intl.NumberFormat(i18n.language);
  const say = useMessageText();
  const sayTrouble = useTroubleText();
  const message = run.message ? say(run.message, run.messageParts) : undefined;
  const mode = run.mode ? t(`mode.${run.mode}`) : t('sync');
  return (
    <article className="entry" id={run.id}>
      <div className="entry-head">
        <h3>
          {mode}
          {showConnection && run.connection && <span className="muted"> · {run.connection.name}</span>}
        </h3>
        <JobBadge state={state} />
        <span className="muted">
          <Time at={run.startedAt ?? run.createdAt} />
          {run.requestedBy && <> · {run.requestedBy}</>}
        </span>
      </div>
      {!hasEnded(state) && <JobBar label={mode} state={state} done={progress.done} total={progress.total} />}
      {message && (
        <Banner kind={state === 'WAITING' || state === 'FAILED' || state === 'REFUSED' ? 'warning' : 'info'} title={message} />
      )}
      {viewer.may('IAM_WRITE') && !hasEnded(state) && (
        <div className="actions">
          {state === 'WAITING' && (
            <Button kind="danger" onPress={() => setAsking('approve')}>
              {t('run.approve')}
            </Button>
          )}
          <Button isDisabled={state === 'CANCELLING'} onPress={() => setAsking('cancel')}>
            {t('run.cancel')}
          </Button>
        </div>
      )}
      <details open={open}>
        <summary>{t('run.details')}</summary>
        {run.users && run.groups && (
          <div className="table-scroll" tabIndex={0} role="region" aria-label={t('run.numbers')}>
            <table className="table">
              <caption className="visually-hidden">{t('run.numbers')}</caption>
              <thead>
                <tr>
                  <td />
                  {NUMBERS.map((name) => (
                    <th key={name} scope="col" className="numeric">
                      {t(`count.${name}`)}
                    </th>
                  ))}
                </tr>
              </thead>
              <tbody>
                {(['users', 'groups'] as const).map((kind) => (
                  <tr key={kind}>
                    <th scope="row">{t(`kind.${kind}`)}</th>
                    {NUMBERS.map((name) => (
                      <td key={name} className="numeric">
                        {number.format(run[kind]?.[name] ?? 0)}
                      </td>
                    ))}
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
        {run.mode === 'DRY_RUN' && <p className="muted">{t('run.dry')}</p>}
        {run.troubles && run.troubles.length > 0 && (
          <>
            <h4>{t('run.troubles')}</h4>
            <ul className="plain">
              {run.troubles.map((trouble, index) => (
                <li key={index}>
                  <TroubleKind kind={trouble.kind} /> <code>{trouble.remoteId}</code>: {sayTrouble(trouble)}
                </li>
              ))}
            </ul>
          </>
        )}
      </details>
      <ConfirmDialog
        isOpen={asking !== undefined}
        onClose={() => setAsking(undefined)}
        title={asking === 'approve' ? t('run.approveTitle') : t('run.cancelTitle')}
        consequences={
          asking === 'approve'
            ? [...(message ? [message] : []), t('run.approveConsequence'), t('run.approveCheck')]
            : [t('run.cancelConsequence')]
        }
        confirmLabel={asking === 'approve' ? t('run.approve') : t('run.cancel')}
        danger={asking === 'approve'}
        onConfirm={async () => {
          const { problem } =
            asking === 'approve'
              ? await approve({ input: { id: run.id } })
              : await cancel({ input: { id: run.id, reason: reason.trim() || null } });
          if (!problem) notify({ kind: 'success', text: asking === 'approve' ? t('run.approved') : t('run.cancelled') });
          onEnd();
          return problem;
        }}
      >
        {asking === 'cancel' && (
          <TextField label={common('dialog.reason')} value={reason} onChange={setReason} maxLength={1000} />
        )}
      </ConfirmDialog>
    </article>
  );
}

const TROUBLE_KINDS = ['user', 'group', 'Users', 'Groups'] as const;

/** A person or a group, or the list of them. */
function TroubleKind({ kind }: { kind: string }) {
  const { t } = useTranslation();
  const known = TROUBLE_KINDS.find((name) => name === kind);
  return known ? t(`troubleKind.${known}`) : kind;
}
