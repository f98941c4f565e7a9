// One comparison: how far it is, its numbers, and the lines that it could not read.
import { useTranslation } from 'react-i18next';
import { JobBar, hasEnded, useJob } from '../../components/JobProgress.tsx';
import { Banner } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import { useMessageText } from '../../components/useServerText.ts';
import type { ReconciliationEntryFragment } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import { JobBadge } from './SyncRunEntry.tsx';
import './jobs.css';

export const reconciliationEntry = graphql(`
  fragment ReconciliationEntry on Reconciliation {
    id
    connection { id name }
    source
    scope
    state
    progress { done total }
    message
    messageParts { code values }
    requestedBy
    createdAt
    startedAt
    endedAt
    numbers {
      rows
      unread
      agreed
      missingHere
      orphanedHere
      drifted
      memberships
      leavers
      opened
      reopened
      gone
    }
    troubles { line message messageParts { code values } }
  }
`);

const NUMBERS = [
  'rows',
  'agreed',
  'missingHere',
  'orphanedHere',
  'drifted',
  'memberships',
  'leavers',
  'opened',
  'reopened',
  'gone',
  'unread',
] as const;

interface ReconciliationEntryProps {
  entry: ReconciliationEntryFragment;
  open?: boolean;
  onEnd: () => void;
  showConnection?: boolean;
}

export function ReconciliationEntry({ entry, open = false, onEnd, showConnection = false }: ReconciliationEntryProps) {
  const { t, i18n } = useTranslation('jobs');
  const job = useJob(hasEnded(entry.state) ? undefined : entry.id, onEnd);
  const state = job?.state ?? entry.state;
  const progress = job?.progress ?? entry.progress;
  const number = new Intl.NumberFormat(i18n.language);
  const say = useMessageText();
  const title = entry.source ? t(`source.${entry.source}`) : t('comparison');
  return (
    <article className="entry" id={entry.id}>
      <div className="entry-head">
        <h3>
          {title}
          {showConnection && entry.connection && <span className="muted"> · {entry.connection.name}</span>}
        </h3>
        <JobBadge state={state} />
        <span className="muted">
          <Time at={entry.startedAt ?? entry.createdAt} />
          {entry.requestedBy && <> · {entry.requestedBy}</>}
        </span>
      </div>
      {!hasEnded(state) && <JobBar label={title} state={state} done={progress.done} total={progress.total} />}
      {entry.message && <Banner kind={state === 'SUCCEEDED' ? 'info' : 'warning'} title={say(entry.message, entry.messageParts)} />}
      <details open={open}>
        <summary>{t('run.details')}</summary>
        {entry.numbers && (
          <dl className="numbers">
            {NUMBERS.map((name) => (
              <div key={name}>
                <dt>{t(`number.${name}`)}</dt>
                <dd>{number.format(entry.numbers?.[name] ?? 0)}</dd>
              </div>
            ))}
          </dl>
        )}
        {entry.troubles && entry.troubles.length > 0 && (
          <>
            <h4>{t('run.lines')}</h4>
            <ul className="plain">
              {entry.troubles.map((trouble) => (
                <li key={trouble.line}>
                  {t('run.line', { line: number.format(trouble.line) })} {say(trouble.message, trouble.messageParts)}
                </li>
              ))}
            </ul>
          </>
        )}
      </details>
    </article>
  );
}
