// Compares an export of the identity provider, which is chosen from this computer and not kept.
import { type FormEvent, useEffect, useId, useRef, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { askServer, isRecord, useCaller } from '../../app/server.ts';
import { Button } from '../../components/Button.tsx';
import { CheckField, SelectField } from '../../components/forms.tsx';
import { Card } from '../../components/Page.tsx';
import { Banner, ErrorPanel, type Problem } from '../../components/states.tsx';
import { type MessagePart, readParts, useMessageText } from '../../components/useServerText.ts';
import { useNumbers } from './parts.tsx';

const MAX_BYTES = 64 * 1024 * 1024;
const KINDS = ['users', 'memberships'] as const;
type Kind = (typeof KINDS)[number];

interface Found {
  opened: number;
  rows: number;
  troubles: readonly { line: number; message: string; parts: readonly MessagePart[] }[];
}

const numberOf = (value: unknown) => (typeof value === 'number' ? value : 0);

function readAnswer(body: unknown): Found | undefined {
  const found = isRecord(body) ? body.reconciliation : undefined;
  if (!isRecord(found) || !isRecord(found.counts)) return undefined;
  const troubles = Array.isArray(found.troubles) ? found.troubles.filter(isRecord) : [];
  return {
    opened: numberOf(found.counts.opened),
    rows: numberOf(found.counts.rows),
    troubles: troubles.map((trouble) => ({
      line: numberOf(trouble.line),
      message: String(trouble.message ?? ''),
      parts: readParts(trouble.messageParts),
    })),
  };
}

export function UploadCard({ connectionId, onDone }: { connectionId: string; onDone: () => void }) {
  const { t } = useTranslation('connections');
  const { t: common } = useTranslation();
  const numbers = useNumbers();
  const caller = useCaller();
  const say = useMessageText();
  const field = useId();
  const [file, setFile] = useState<File>();
  const [kind, setKind] = useState<Kind>('users');
  const [confirm, setConfirm] = useState(false);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem>();
  const [found, setFound] = useState<Found>();
  const running = useRef<AbortController>(undefined);
  useEffect(() => () => running.current?.abort(), []);
  const tooLarge = file !== undefined && file.size > MAX_BYTES;

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (!file || tooLarge || busy) return;
    setBusy(true);
    setProblem(undefined);
    setFound(undefined);
    const controller = new AbortController();
    running.current = controller;
    const query = new URLSearchParams({ connection: connectionId, kind, ...(confirm && { confirm: 'true' }) });
    const lines = /\.(jsonl|ndjson)$/i.test(file.name);
    const answer = await askServer(`reconciliations?${query.toString()}`, caller, {
      method: 'POST',
      headers: { 'Content-Type': lines ? 'application/jsonl' : 'text/csv' },
      body: file,
      signal: controller.signal,
    });
    if (controller.signal.aborted) return;
    setBusy(false);
    if (!(answer instanceof Response)) return setProblem(answer);
    setFound(readAnswer(await answer.json().catch(() => undefined)));
    onDone();
  };
  return (
    <Card title={t('upload.title')}>
      <form className="form" onSubmit={(event) => void submit(event)}>
        <p className="muted">{t('upload.text')}</p>
        <div className="field">
          <label htmlFor={field}>{t('upload.file')}</label>
          <input
            id={field}
            type="file"
            accept=".csv,.jsonl,.ndjson,text/csv"
            required
            aria-describedby={`${field}-help`}
            onChange={(event) => setFile(event.target.files?.[0])}
          />
          <p className={tooLarge ? 'field-mistake' : 'muted field-help'} id={`${field}-help`}>
            {tooLarge ? t('upload.tooLarge') : t('upload.fileHelp')}
          </p>
        </div>
        <SelectField label={t('upload.kind')} value={kind} choices={KINDS.map((value) => ({ value, text: t(`upload.kinds.${value}`) }))} onChange={setKind} />
        <CheckField label={t('upload.confirm')} help={t('upload.confirmHelp')} checked={confirm} onChange={setConfirm} />
        {problem && <ErrorPanel problem={problem} />}
        <div role="status">
          {found && (
            <Banner
              kind={found.opened > 0 || found.troubles.length > 0 ? 'warning' : 'success'}
              title={t('upload.done', { rows: numbers.whole(found.rows), opened: numbers.whole(found.opened) })}
            >
              {found.troubles.length > 0 && (
                <ul className="plain">
                  {found.troubles.slice(0, 5).map((trouble) => (
                    <li key={trouble.line}>{t('upload.line', { line: numbers.whole(trouble.line), message: say(trouble.message, trouble.parts) })}</li>
                  ))}
                </ul>
              )}
            </Banner>
          )}
        </div>
        <div className="actions">
          <Button icon="finding" type="submit" busy={busy} isDisabled={!file || tooLarge}>
            {t('upload.action')}
          </Button>
          {busy && (
            <Button
              kind="quiet"
              onPress={() => {
                running.current?.abort();
                setBusy(false);
              }}
            >
              {common('dialog.cancel')}
            </Button>
          )}
        </div>
      </form>
    </Card>
  );
}
