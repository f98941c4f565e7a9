// One bulk job: how far it is, and the file of its results.
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useSession } from '../../app/session.tsx';
import { useAction } from '../../app/useAction.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { JobBar, hasEnded, useJob } from '../../components/JobProgress.tsx';
import { toMistake } from '../../components/mistakes.ts';
import { Banner } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import { notify } from '../../components/toasts.tsx';
import type { BulkJobEntryFragment } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import { JobBadge } from './SyncRunEntry.tsx';

export const bulkJobEntry = graphql(`
  fragment BulkJobEntry on BulkJob {
    id
    state
    lineCount
    doneCount
    failedCount
    resultUrl
    createdAt
    startedAt
    endedAt
    expiresAt
    userErrors { code reason message nextStep }
  }
`);

const cancelMutation = graphql(`
  mutation BulkJobCancel($input: BulkJobCancelInput!) {
    bulkJobCancel(input: $input) {
      bulkJob { id state }
      userErrors { code reason message nextStep }
    }
  }
`);

export function BulkJobEntry({ job, onEnd }: { job: BulkJobEntryFragment; onEnd: () => void }) {
  const { t, i18n } = useTranslation('jobs');
  const viewer = useViewer();
  const live = useJob(hasEnded(job.state) ? undefined : job.id, onEnd);
  const state = live?.state ?? job.state;
  const done = live?.progress.done ?? job.doneCount;
  const failed = live?.counts.failed ?? job.failedCount;
  const { run: cancel, running } = useAction(cancelMutation);
  const number = new Intl.NumberFormat(i18n.language);
  const stop = async () => {
    const { problem } = await cancel({ input: { id: job.id } });
    if (problem) notify({ kind: 'error', text: problem.message });
    onEnd();
  };
  return (
    <article className="entry" id={job.id}>
      <div className="entry-head">
        <h3>{t('bulk.title', { count: job.lineCount, lines: number.format(job.lineCount) })}</h3>
        <JobBadge state={state} />
        <span className="muted">
          <Time at={job.startedAt ?? job.createdAt} />
        </span>
      </div>
      {!hasEnded(state) && (
        <JobBar
          label={t('bulk.title', { count: job.lineCount, lines: number.format(job.lineCount) })}
          state={state}
          done={done}
          total={job.lineCount}
        />
      )}
      <p>{t('bulk.done', { done: number.format(done), failed: number.format(failed) })}</p>
      {job.userErrors.map(toMistake).map((mistake) => (
        <Banner key={mistake.message} kind="warning" title={mistake.message}>
          {mistake.nextStep && <p>{mistake.nextStep}</p>}
        </Banner>
      ))}
      <div className="actions">
        {done > 0 && <ResultButton url={job.resultUrl} />}
        {!hasEnded(state) && viewer.may('IAM_WRITE') && (
          <Button busy={running} isDisabled={state === 'CANCELLING'} onPress={() => void stop()}>
            {t('run.cancel')}
          </Button>
        )}
        {job.expiresAt && (
          <span className="muted">
            {t('bulk.kept')} <Time at={job.expiresAt} />
          </span>
        )}
      </div>
    </article>
  );
}

/** The results need the credential, so a plain link would not open them. */
function ResultButton({ url }: { url: string }) {
  const { t } = useTranslation('jobs');
  const { credential } = useSession();
  const { organization } = useViewer();
  const [busy, setBusy] = useState(false);
  const load = async () => {
    if (!credential) return;
    setBusy(true);
    try {
      // The public address may have another name than this page; the path is the same.
      const response = await fetch(new URL(new URL(url, location.origin).pathname, location.origin), {
        headers: { Authorization: `Bearer ${credential.token}`, 'Rolecall-Organization': organization.slug },
        cache: 'no-store',
        credentials: 'omit',
      });
      if (!response.ok) throw new Error(String(response.status));
      const link = document.createElement('a');
      link.href = URL.createObjectURL(await response.blob());
      link.download = 'results.jsonl';
      link.click();
      URL.revokeObjectURL(link.href);
    } catch {
      notify({ kind: 'error', text: t('bulk.notLoaded') });
    }
    setBusy(false);
  };
  return (
    <Button busy={busy} onPress={() => void load()}>
      {t('bulk.results')}
    </Button>
  );
}
