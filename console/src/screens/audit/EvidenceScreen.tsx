// Evidence: the state of the ledger's chain, signed exports, and how an auditor checks them without this server.
import { useEffect, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { askServer, useCaller } from '../../app/server.ts';
import { Button } from '../../components/Button.tsx';
import { CopyRow } from '../../components/CopyButton.tsx';
import { Card, Page } from '../../components/Page.tsx';
import { ErrorPanel, type Problem, Skeleton } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import { InstantField } from '../access/InstantField.tsx';
import { ExportOutcome, REPORTS, type Report, useExport } from './ExportRun.tsx';
import { type Attestation, readToken, save } from './evidence.ts';
import './audit.css';

export function EvidenceScreen() {
  const { t } = useTranslation('audit');
  return (
    <Page
      title={t('evidence.title')}
      lead={t('evidence.lead')}
      actions={
        <Button icon="print" onPress={() => window.print()}>
          {t('evidence.print')}
        </Button>
      }
    >
      <ChainState />
      <Exports />
      <OfflineCheck />
    </Page>
  );
}

function ChainState() {
  const { t, i18n } = useTranslation('audit');
  const { token, organization } = useCaller();
  const [turn, setTurn] = useState(0);
  const [state, setState] = useState<{ token: string; attestation: Attestation }>();
  const [problem, setProblem] = useState<Problem>();
  useEffect(() => {
    const controller = new AbortController();
    void (async () => {
      const response = await askServer('evidence/checkpoint', { token, organization }, { signal: controller.signal });
      if (controller.signal.aborted) return;
      if (!(response instanceof Response)) return setProblem(response);
      const text = (await response.text()).trim();
      const attestation = readToken(text);
      setProblem(attestation ? undefined : { code: 'INTERNAL', message: '' });
      if (attestation) setState({ token: text, attestation });
    })();
    return () => controller.abort();
  }, [token, organization, turn]);
  return (
    <Card
      title={t('chain.title')}
      actions={
        <>
          <Button icon="reload" onPress={() => setTurn((count) => count + 1)}>
            {t('chain.again')}
          </Button>
          <Button isDisabled={!state} onPress={() => state && save(new Blob([`${state.token}\n`]), `checkpoint-${organization}-${state.attestation.sequence}.txt`)}>
            {t('chain.save')}
          </Button>
        </>
      }
    >
      <p>{t('chain.text')}</p>
      {problem && <ErrorPanel problem={problem} onRetry={() => setTurn((count) => count + 1)} />}
      {!state && !problem && <Skeleton lines={3} />}
      {state && (
        <dl className="details">
          <dt>{t('chain.sequence')}</dt>
          <dd>{new Intl.NumberFormat(i18n.language).format(state.attestation.sequence)}</dd>
          <dt>{t('chain.hash')}</dt>
          <dd>
            <code>{state.attestation.hash}</code>
          </dd>
          <dt>{t('chain.signed')}</dt>
          <dd>
            <Time at={state.attestation.signedAt} exact />
          </dd>
        </dl>
      )}
      <p className="muted">{t('chain.keep')}</p>
    </Card>
  );
}

function Exports() {
  const { t } = useTranslation('audit');
  const { t: common } = useTranslation();
  const [report, setReport] = useState<Report>('access');
  const [format, setFormat] = useState<'csv' | 'jsonl'>('csv');
  const [asOf, setAsOf] = useState<string>();
  const [from, setFrom] = useState<string>();
  const [to, setTo] = useState<string>();
  const run = useExport();
  const start = () => void run.start(report, format, report === 'access' ? { asOf } : { from, to });
  return (
    <Card title={t('export.title')}>
      <p>{t('export.text')}</p>
      <form
        className="filter-bar"
        onSubmit={(event) => {
          event.preventDefault();
          start();
        }}
      >
        <label className="field field-inline">
          <span className="field-label">{t('export.report')}</span>
          <select value={report} onChange={(event) => setReport(event.target.value as Report)}>
            {REPORTS.map((each) => (
              <option key={each} value={each}>
                {t(`export.reports.${each}`)}
              </option>
            ))}
          </select>
        </label>
        <label className="field field-inline">
          <span className="field-label">{t('export.format')}</span>
          <select value={format} onChange={(event) => setFormat(event.target.value === 'jsonl' ? 'jsonl' : 'csv')}>
            <option value="csv">CSV</option>
            <option value="jsonl">JSON Lines</option>
          </select>
        </label>
        {report === 'access' ? (
          <InstantField label={t('export.asOf')} value={asOf} onChange={setAsOf} />
        ) : (
          <>
            <InstantField label={t('filter.since')} value={from} onChange={setFrom} />
            <InstantField label={t('filter.until')} value={to} onChange={setTo} />
          </>
        )}
        <Button kind="primary" type="submit" busy={run.bytes !== undefined}>
          {t('export.start')}
        </Button>
        {run.bytes !== undefined && <Button onPress={run.stop}>{common('dialog.cancel')}</Button>}
      </form>
      <ExportOutcome run={run} />
    </Card>
  );
}

function OfflineCheck() {
  const { t } = useTranslation('audit');
  const { organization } = useCaller();
  return (
    <Card title={t('offline.title')}>
      <p>{t('offline.text')}</p>
      <dl>
        <CopyRow label={t('offline.key')} text="rolecall audit key > key.txt" />
        <CopyRow label={t('offline.check')} text={'rolecall audit check FILE --key "$(cat key.txt)"'} />
        <CopyRow label={t('offline.verify')} text="rolecall audit verify --attestation FILE" />
        <CopyRow label={t('offline.checkpoint')} text={`rolecall audit checkpoint --organization ${organization}`} />
      </dl>
      <p className="muted">{t('offline.note')}</p>
    </Card>
  );
}
