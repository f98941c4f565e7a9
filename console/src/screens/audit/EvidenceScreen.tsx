// Evidence: the state of the ledger's chain, signed exports, and how an auditor checks them without this server.
import { useEffect, useRef, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useSession } from '../../app/session.tsx';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { CopyRow } from '../../components/CopyButton.tsx';
import { Card, Page } from '../../components/Page.tsx';
import { Banner, ErrorPanel, type Problem, Skeleton } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import { InstantField } from '../access/InstantField.tsx';
import { type Attestation, type DownloadResult, ask, download, readToken, save } from './evidence.ts';
import './audit.css';

const REPORTS = ['access', 'leavers', 'mappings', 'changes'] as const;
type Report = (typeof REPORTS)[number];

function useCaller() {
  const { credential } = useSession();
  const { organization } = useViewer();
  return { token: credential?.token ?? '', organization: organization.slug };
}

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
      const response = await ask('evidence/checkpoint', { token, organization }, controller.signal);
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
  const { t, i18n } = useTranslation('audit');
  const { t: common } = useTranslation();
  const caller = useCaller();
  const [report, setReport] = useState<Report>('access');
  const [format, setFormat] = useState<'csv' | 'jsonl'>('csv');
  const [asOf, setAsOf] = useState<string>();
  const [from, setFrom] = useState<string>();
  const [to, setTo] = useState<string>();
  const [bytes, setBytes] = useState<number>();
  const [result, setResult] = useState<DownloadResult>();
  const running = useRef<AbortController>(undefined);
  useEffect(() => () => running.current?.abort(), []);
  const number = new Intl.NumberFormat(i18n.language);

  const start = async () => {
    if (bytes !== undefined) return;
    const query = new URLSearchParams();
    if (report === 'access') {
      if (asOf !== undefined) query.set('asOf', asOf);
    } else {
      if (from !== undefined) query.set('from', from);
      if (to !== undefined) query.set('to', to);
    }
    const asked = query.size > 0 ? `?${query.toString()}` : '';
    const controller = new AbortController();
    running.current = controller;
    setResult(undefined);
    setBytes(0);
    const name = `${caller.organization}-${report}-${new Date().toISOString().slice(0, 10)}.${format}`;
    const found = await download(`evidence/${report}.${format}${asked}`, name, caller, controller.signal, setBytes);
    setBytes(undefined);
    if (controller.signal.aborted) return;
    setResult(found);
    if ('file' in found && found.digestAgrees !== false) save(found.file.bytes, found.file.name);
  };
  return (
    <Card title={t('export.title')}>
      <p>{t('export.text')}</p>
      <form
        className="filter-bar"
        onSubmit={(event) => {
          event.preventDefault();
          void start();
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
        <Button kind="primary" type="submit" busy={bytes !== undefined}>
          {t('export.start')}
        </Button>
        {bytes !== undefined && <Button onPress={() => running.current?.abort()}>{common('dialog.cancel')}</Button>}
      </form>
      {bytes !== undefined && (
        <div role="status">
          <progress aria-label={t('export.title')} />
          <p className="muted">{t('export.bytes', { bytes: number.format(bytes) })}</p>
        </div>
      )}
      {result && 'problem' in result && (
        <ErrorPanel problem={result.problem.code === 'INCOMPLETE' ? { ...result.problem, message: t('export.incomplete') } : result.problem} />
      )}
      {result && 'file' in result && result.digestAgrees === false && (
        <ErrorPanel problem={{ code: 'DIGEST', message: t('export.altered') }} />
      )}
      {result && 'file' in result && result.digestAgrees !== false && (
        <Banner kind="success" title={t('export.done', { name: result.file.name })}>
          <p>{t('export.rows', { rows: number.format(result.file.attestation.rows ?? 0), sequence: number.format(result.file.attestation.sequence) })}</p>
          <p>{t(result.digestAgrees ? 'export.digest' : 'export.noDigest')}</p>
        </Banner>
      )}
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
