// Retiring SCIM: the deletion of all accounts that came by provisioning.
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useClient } from 'urql';
import { useAction } from '../../app/useAction.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { ConfirmDialog } from '../../components/ConfirmDialog.tsx';
import { toMistake } from '../../components/mistakes.ts';
import { ReasonField } from '../../components/ReasonField.tsx';
import { JobBar, useJob } from '../../components/JobProgress.tsx';
import { toProblem } from '../../components/states.tsx';
import { notify } from '../../components/toasts.tsx';
import type { OverviewDeletionPromptQuery } from '../../generated/graphql.ts';
import { deleteMutation, deletionQuery } from './queries.ts';

type Prompt = NonNullable<OverviewDeletionPromptQuery['organization']>;

interface DeleteAllButtonProps {
  running: { id: string } | undefined;
  onStarted: () => void;
  onEnded: () => void;
}

export function DeleteAllButton({ running, onStarted, onEnded }: DeleteAllButtonProps) {
  const { t, i18n } = useTranslation('overview');
  const client = useClient();
  const viewer = useViewer();
  const [asking, setAsking] = useState(false);
  const [prompt, setPrompt] = useState<Prompt>();
  const [reason, setReason] = useState('');
  // From the answer of the server until the screen has read that the job runs.
  const [started, setStarted] = useState<string>();
  const deletion = useAction(deleteMutation);
  const number = new Intl.NumberFormat(i18n.language);
  const busy = running !== undefined || started !== undefined || asking;

  const ask = async () => {
    setAsking(true);
    const { data, error } = await client
      .query(deletionQuery, { people: viewer.may('USER_READ') }, { requestPolicy: 'network-only' })
      .toPromise();
    setAsking(false);
    const read = data?.organization;
    if (!read?.scim) {
      notify({ kind: 'error', text: t('delete.unread'), ...(error && { detail: toProblem(error).message }) });
    } else if (read.scim.runningDeletion) {
      notify({ kind: 'info', text: t('delete.alreadyRunning') });
      onStarted();
    } else if (read.scim.counts.users === 0) {
      notify({ kind: 'info', text: t('delete.nothing') });
    } else {
      setReason('');
      setPrompt(read);
    }
  };

  const users = prompt?.scim?.counts.users ?? 0;
  const kept = prompt?.protected?.totalCount;
  const manual = prompt?.manual?.totalCount;
  return (
    <>
      <Button kind="danger" icon="trash" busy={busy} onPress={() => void ask()}>
        {t('delete.action')}
      </Button>
      <ConfirmDialog
        isOpen={prompt !== undefined}
        onClose={() => setPrompt(undefined)}
        title={t('delete.title', { count: users, number: number.format(users) })}
        consequences={[
          <strong key="undo">{t('delete.undo')}</strong>,
          t('delete.only'),
          ...(manual === undefined ? [] : [t('delete.manual', { count: manual, number: number.format(manual) })]),
          ...(kept ? [t('delete.protected', { count: kept, number: number.format(kept) })] : []),
          t('delete.assignee'),
          t('delete.talk'),
        ]}
        typed={{ label: t('delete.type', { number: users }), expected: String(users) }}
        confirmLabel={t('delete.confirm', { count: users, number: number.format(users) })}
        danger
        onConfirm={async () => {
          const { payload, problem } = await deletion.run({ input: { confirmCount: users, ...(reason.trim() && { reason: reason.trim() }) } });
          if (problem) {
            onStarted();
            return problem;
          }
          setStarted(payload.job?.id);
          onStarted();
          return undefined;
        }}
      >
        <ReasonField value={reason} onChange={setReason} />
      </ConfirmDialog>
      {started !== undefined && (
        <Ended
          id={started}
          onEnd={() => {
            setStarted(undefined);
            onEnded();
          }}
        />
      )}
    </>
  );
}

/** Tells once how the job that this page began has ended. */
function Ended({ id, onEnd }: { id: string; onEnd: () => void }) {
  const { t, i18n } = useTranslation('overview');
  useJob(id, (job) => {
    const deleted = job.counts.deleted;
    const number = new Intl.NumberFormat(i18n.language).format(deleted);
    if (job.state === 'SUCCEEDED') notify({ kind: 'success', text: t('delete.done', { count: deleted, number }) });
    else {
      const [mistake] = job.userErrors.map(toMistake);
      notify({ kind: 'error', text: t('delete.stopped', { count: deleted, number }), ...(mistake && { detail: mistake.message }) });
    }
    onEnd();
  });
  return null;
}

export function RunningDeletion({ id, onEnd }: { id: string; onEnd: () => void }) {
  const { t } = useTranslation('overview');
  const job = useJob(id, onEnd);
  return <JobBar label={t('delete.running')} state={job?.state ?? 'QUEUED'} done={job?.progress.done ?? 0} total={job?.progress.total} />;
}
