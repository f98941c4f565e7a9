// Comparisons of a connection with what its identity provider says: start one, schedule them, follow them.
import { type FormEvent, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'wouter';
import { screenPath } from '../../app/paths.ts';
import { useAction } from '../../app/useAction.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { TableFoot } from '../../components/DataTable.tsx';
import { CheckField, SelectField, TextField } from '../../components/forms.tsx';
import { Card } from '../../components/Page.tsx';
import { usePagedList } from '../../components/paging.ts';
import { EmptyState, ErrorPanel, type Problem, Skeleton } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import { notify } from '../../components/toasts.tsx';
import type { ReconciliationSource, ReconciliationsQuery } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import { ReconciliationEntry } from '../jobs/ReconciliationEntry.tsx';
import type { OneConnection } from './connection.ts';
import { UploadCard } from './UploadCard.tsx';
import { Details } from './parts.tsx';

const reconciliationsQuery = graphql(`
  query Reconciliations($filter: ReconciliationFilter, $after: String) {
    organization {
      id
      reconciliations(first: 10, after: $after, filter: $filter) {
        totalCount
        pageInfo { hasNextPage endCursor }
        nodes { ...ReconciliationEntry }
      }
    }
  }
`);

const startMutation = graphql(`
  mutation ReconciliationStart($input: ReconciliationStartInput!) {
    reconciliationStart(input: $input) {
      reconciliation { ...ReconciliationEntry }
      userErrors { code reason message nextStep }
    }
  }
`);

const scheduleMutation = graphql(`
  mutation ReconciliationScheduleUpdate($input: ReconciliationScheduleUpdateInput!) {
    reconciliationScheduleUpdate(input: $input) {
      connection { id reconciliationSchedule { intervalMinutes nextRunAt } }
      userErrors { code reason message nextStep }
    }
  }
`);

const pick = (data: ReconciliationsQuery) => data.organization?.reconciliations;

export function ComparisonsTab({ connection, reload }: { connection: OneConnection; reload: () => void }) {
  const { t } = useTranslation('connections');
  const viewer = useViewer();
  const list = usePagedList(reconciliationsQuery, { filter: { connectionId: connection.id } }, pick);
  const again = () => {
    list.reload();
    reload();
  };
  const findings = screenPath(viewer.organization.slug, `findings?connection=${encodeURIComponent(connection.id)}`);
  return (
    <>
      <p className="muted">{t('compare.text')}</p>
      <div className="columns">
        {viewer.may('IAM_WRITE') && <StartCard connection={connection} onStarted={again} />}
        {viewer.may('IAM_WRITE') && <UploadCard connectionId={connection.id} onDone={again} />}
        <ScheduleCard connection={connection} onChanged={reload} />
      </div>
      <Card title={t('compare.title')} actions={<Link href={findings}>{t('compare.findings')}</Link>}>
        {list.problem && <ErrorPanel problem={list.problem} onRetry={list.reload} />}
        {list.loading && list.rows.length === 0 && <Skeleton lines={6} />}
        {!list.loading && !list.problem && list.rows.length === 0 && (
          <EmptyState icon="finding" title={t('compare.none')}>
            <p>{t('compare.noneText')}</p>
          </EmptyState>
        )}
        {list.rows.length > 0 && (
          <>
            <ul className="plain entries">
              {list.rows.map((entry, index) => (
                <li key={entry.id}>
                  <ReconciliationEntry entry={entry} open={index === 0} onEnd={again} />
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
  const sources: readonly ReconciliationSource[] = connection.kind === 'SCIM_PULL' ? ['SOURCE', 'LAST_WRITE'] : ['LAST_WRITE', 'LAST_READ'];
  const [source, setSource] = useState<ReconciliationSource>(sources[0] ?? 'LAST_WRITE');
  const [confirm, setConfirm] = useState(false);
  const [problem, setProblem] = useState<Problem>();
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    const answer = await run({ input: { connectionId: connection.id, source, ...(source === 'SOURCE' && { confirm }) } });
    setProblem(answer.problem);
    if (!answer.problem) onStarted();
  };
  return (
    <Card title={t('compare.start')}>
      <form className="form" onSubmit={(event) => void submit(event)}>
        <SelectField
          label={t('compare.source')}
          help={t(`sourceHelp.${source}`)}
          value={source}
          choices={sources.map((value) => ({ value, text: t(`source.${value}`) }))}
          onChange={setSource}
        />
        {source === 'SOURCE' && (
          <CheckField label={t('compare.confirm')} help={t('compare.confirmHelp')} checked={confirm} onChange={setConfirm} />
        )}
        {problem && <ErrorPanel problem={problem} />}
        <div className="actions">
          <Button kind="primary" icon="finding" type="submit" busy={running}>
            {t('compare.startAction')}
          </Button>
        </div>
      </form>
    </Card>
  );
}

function ScheduleCard({ connection, onChanged }: { connection: OneConnection; onChanged: () => void }) {
  const { t } = useTranslation('connections');
  const viewer = useViewer();
  const { run, running } = useAction(scheduleMutation);
  const schedule = connection.reconciliationSchedule;
  const [hours, setHours] = useState(schedule ? String(schedule.intervalMinutes / 60) : '');
  const [problem, setProblem] = useState<Problem>();
  const save = async (minutes: number | null) => {
    const answer = await run({ input: { connectionId: connection.id, intervalMinutes: minutes } });
    setProblem(answer.problem);
    if (!answer.problem) {
      notify({ kind: 'success', text: t('compare.scheduled') });
      if (minutes === null) setHours('');
      onChanged();
    }
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    void save(Math.round(Number(hours) * 60));
  };
  return (
    <Card title={t('compare.schedule')}>
      <Details
        rows={[
          [t('compare.every'), schedule ? t('minutes', { count: schedule.intervalMinutes }) : t('runs.notScheduled')],
          schedule && [t('compare.next'), <Time key="next" at={schedule.nextRunAt} />],
        ]}
      />
      {viewer.may('IAM_WRITE') && (
        <form className="form" onSubmit={submit}>
          <TextField
            label={t('compare.hours')}
            help={t('compare.hoursHelp')}
            type="number"
            min={1}
            max={2232}
            required
            value={hours}
            onChange={setHours}
          />
          {problem && <ErrorPanel problem={problem} />}
          <div className="actions">
            <Button type="submit" busy={running} isDisabled={!(Number(hours) > 0)}>
              {t('settings.save')}
            </Button>
            {schedule && (
              <Button kind="quiet" onPress={() => void save(null)}>
                {t('compare.stop')}
              </Button>
            )}
          </div>
        </form>
      )}
    </Card>
  );
}
