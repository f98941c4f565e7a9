// The deletion of all provisioned users, as it goes.
import { useTranslation } from 'react-i18next';
import { JobBar, hasEnded, useJob } from '../../components/JobProgress.tsx';
import { toMistake } from '../../components/mistakes.ts';
import { Banner } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import type { DeletionEntryFragment } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import { JobBadge } from './SyncRunEntry.tsx';

export const deletionEntry = graphql(`
  fragment DeletionEntry on DeletionJob {
    id
    connection { id name }
    state
    progress { done total }
    counts { deleted kept failed }
    createdAt
    startedAt
    endedAt
    userErrors { code reason message nextStep }
  }
`);

export function DeletionEntry({ job, onEnd }: { job: DeletionEntryFragment; onEnd: () => void }) {
  const { t, i18n } = useTranslation('jobs');
  const live = useJob(hasEnded(job.state) ? undefined : job.id, onEnd);
  const state = live?.state ?? job.state;
  const progress = live?.progress ?? job.progress;
  const counts = live?.counts ?? job.counts;
  const number = new Intl.NumberFormat(i18n.language);
  const title = job.connection ? t('deletion.ofConnection', { name: job.connection.name }) : t('deletion.ofAll');
  return (
    <article className="entry" id={job.id}>
      <div className="entry-head">
        <h3>{title}</h3>
        <JobBadge state={state} />
        <span className="muted">
          <Time at={job.startedAt ?? job.createdAt} />
        </span>
      </div>
      {!hasEnded(state) && <JobBar label={title} state={state} done={progress.done} total={progress.total} />}
      <p>{t('deletion.counts', { deleted: number.format(counts.deleted), kept: number.format(counts.kept) })}</p>
      {(live?.userErrors ?? job.userErrors).map(toMistake).map((mistake) => (
        <Banner key={mistake.message} kind="warning" title={mistake.message}>
          {mistake.nextStep && <p>{mistake.nextStep}</p>}
        </Banner>
      ))}
    </article>
  );
}
