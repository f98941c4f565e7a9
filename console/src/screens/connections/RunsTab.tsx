// The sync runs of a connection that reads a source: start one, follow it, decide about one that waits.
import { type FormEvent, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useSearchParams } from 'wouter';
import { useAction } from '../../app/useAction.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { ConfirmDialog } from '../../components/ConfirmDialog.tsx';
import { SelectField, TextField } from '../../components/forms.tsx';
import { Card } from '../../components/Page.tsx';
import { TableFoot } from '../../components/DataTable.tsx';
import { usePagedList } from '../../components/paging.ts';
import { EmptyState, ErrorPanel, type Problem, Skeleton } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import type { SyncMode, SyncRunsQuery, SyncStartInput } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import { SyncRunEntry } from '../jobs/SyncRunEntry.tsx';
import type { OneConnection } from './connection.ts';
import { Details } from './parts.tsx';

const runsQuery = graphql(`
  query SyncRuns($filter: SyncRunFilter, $after: String) {
    organization {
      id
      syncRuns(first: 10, after: $after, filter: $filter) {
        totalCount
        pageInfo { hasNextPage endCursor }
        nodes { ...SyncRunEntry }
      }
    }
  }
`);

const startMutation = graphql(`
  mutation SyncStart($input: SyncStartInput!) {
    syncStart(input: $input) {
      syncRun { ...SyncRunEntry }
      userErrors { code reason message nextStep }
    }
  }
`);

const MODES: readonly SyncMode[] = ['FULL', 'INCREMENTAL', 'DRY_RUN', 'ONE_USER'];
const IDENTIFIERS = ['userName', 'externalId', 'remoteId'] as const;

const pick = (data: SyncRunsQuery) => data.organization?.syncRuns;

export function RunsTab({ connection, reload }: { connection: OneConnection; reload: () => void }) {
  const { t } = useTranslation('connections');
  const { t: common } = useTranslation();
  const viewer = useViewer();
  const [params] = useSearchParams();
  const list = usePagedList(runsQuery, { filter: { connectionId: connection.id } }, pick);
  const again = () => {
    list.reload();
    reload();
  };
  return (
    <>
      <div className="columns">
        {viewer.may('IAM_WRITE') && <StartCard connection={connection} onStarted={again} />}
        <Card title={t('runs.schedule')}>
          <Details
            rows={[
              [
                t('runs.fullEvery'),
                connection.pull?.intervalMinutes != null
                  ? t('minutes', { count: connection.pull.intervalMinutes })
                  : t('runs.notScheduled'),
              ],
              connection.pull?.nextRunAt != null && [t('runs.nextFull'), <Time key="full" at={connection.pull.nextRunAt} />],
              [
                t('runs.incrementalEvery'),
                connection.pull?.incrementalMinutes != null
                  ? t('minutes', { count: connection.pull.incrementalMinutes })
                  : t('runs.notScheduled'),
              ],
              connection.pull?.nextIncrementalAt != null && [
                t('runs.nextIncremental'),
                <Time key="incremental" at={connection.pull.nextIncrementalAt} />,
              ],
            ]}
          />
          <p className="muted">{t('runs.scheduleText')}</p>
        </Card>
      </div>
      <Card
        title={t('runs.title')}
        actions={
          <Button icon="reload" onPress={list.reload}>
            {common('state.reload')}
          </Button>
        }
      >
        {list.problem && <ErrorPanel problem={list.problem} onRetry={list.reload} />}
        {list.loading && list.rows.length === 0 && <Skeleton lines={6} />}
        {!list.loading && !list.problem && list.rows.length === 0 && (
          <EmptyState icon="sync" title={t('runs.none')}>
            <p>{t('runs.noneText')}</p>
          </EmptyState>
        )}
        {list.rows.length > 0 && (
          <>
            <ul className="plain entries">
              {list.rows.map((run, index) => (
                <li key={run.id}>
                  <SyncRunEntry run={run} open={params.get('run') === run.id || index === 0} onEnd={again} />
                </li>
              ))}
            </ul>
            <TableFoot
              shown={list.rows.length}
              total={list.total}
              loading={list.loading}
              onMore={list.hasMore ? list.loadMore : undefined}
            />
          </>
        )}
      </Card>
    </>
  );
}

function StartCard({ connection, onStarted }: { connection: OneConnection; onStarted: () => void }) {
  const { t } = useTranslation('connections');
  const { run, running } = useAction(startMutation);
  const [mode, setMode] = useState<SyncMode>('FULL');
  const [by, setBy] = useState<(typeof IDENTIFIERS)[number]>('userName');
  const [who, setWho] = useState('');
  const [problem, setProblem] = useState<Problem>();
  const [asking, setAsking] = useState(false);
  const start = async (): Promise<Problem | undefined> => {
    const input: SyncStartInput = { connectionId: connection.id, mode, ...(mode === 'ONE_USER' && { [by]: who.trim() }) };
    const answer = await run({ input });
    if (!answer.problem) onStarted();
    return answer.problem;
  };
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setProblem(undefined);
    // Only a full run can take people away.
    if (mode === 'FULL') setAsking(true);
    else setProblem(await start());
  };
  return (
    <Card title={t('runs.start')}>
      <form className="form" onSubmit={(event) => void submit(event)}>
        <SelectField
          label={t('runs.mode')}
          help={t(`modeHelp.${mode}`)}
          value={mode}
          choices={MODES.map((value) => ({ value, text: t(`mode.${value}`) }))}
          onChange={setMode}
        />
        {mode === 'ONE_USER' && (
          <>
            <SelectField
              label={t('runs.by')}
              value={by}
              choices={IDENTIFIERS.map((value) => ({ value, text: t(`identifier.${value}`) }))}
              onChange={setBy}
            />
            <TextField label={t(`identifier.${by}`)} value={who} onChange={setWho} required technical />
          </>
        )}
        {problem && <ErrorPanel problem={problem} />}
        <div className="actions">
          <Button kind="primary" icon="sync" type="submit" busy={running} isDisabled={mode === 'ONE_USER' && who.trim() === ''}>
            {t('runs.startAction')}
          </Button>
        </div>
      </form>
      <ConfirmDialog
        isOpen={asking}
        onClose={() => setAsking(false)}
        title={t('runs.fullTitle')}
        consequences={[
          t('runs.fullDeletes'),
          t('runs.fullWaits', { percent: connection.pull?.shrinkPercent ?? 30 }),
          t('runs.fullDry'),
        ]}
        confirmLabel={t('runs.startAction')}
        onConfirm={start}
      />
    </Card>
  );
}
