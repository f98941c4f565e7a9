// One signed export: started, followed by its bytes, and compared with its attestation before it is saved.
import { useEffect, useRef, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useCaller } from '../../app/server.ts';
import { Banner, ErrorPanel } from '../../components/states.tsx';
import { type DownloadResult, download, save } from './evidence.ts';

export const REPORTS = ['access', 'leavers', 'mappings', 'changes'] as const;
export type Report = (typeof REPORTS)[number];

export interface ExportRun {
  /** So many bytes have arrived; undefined while no export runs. */
  bytes: number | undefined;
  result: DownloadResult | undefined;
  start: (report: Report, format: 'csv' | 'jsonl', parameters: Record<string, string | undefined>) => Promise<void>;
  stop: () => void;
}

export function useExport(): ExportRun {
  const caller = useCaller();
  const [bytes, setBytes] = useState<number>();
  const [result, setResult] = useState<DownloadResult>();
  const running = useRef<AbortController>(undefined);
  useEffect(() => () => running.current?.abort(), []);
  const start: ExportRun['start'] = async (report, format, parameters) => {
    if (bytes !== undefined) return;
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(parameters)) {
      if (value !== undefined) query.set(name, value);
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
  return { bytes, result, start, stop: () => running.current?.abort() };
}

/** How far the export is, and what came of it. */
export function ExportOutcome({ run: { bytes, result } }: { run: ExportRun }) {
  const { t, i18n } = useTranslation('audit');
  const number = new Intl.NumberFormat(i18n.language);
  return (
    <>
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
    </>
  );
}
