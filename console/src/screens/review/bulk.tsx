// Decisions about many at once: how many were done, and why the others were left as they were.
import type { TypedDocumentNode } from '@graphql-typed-document-node/core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useClient } from 'urql';
import type { AnyVariables } from 'urql';
import { sendMutation } from '../../app/useAction.ts';
import { Button } from '../../components/Button.tsx';
import { PlainDialog } from '../../components/ConfirmDialog.tsx';
import { type UserErrorLike, toMistake } from '../../components/mistakes.ts';
import { Banner, type Problem, toProblem } from '../../components/states.tsx';

export interface BulkResult {
  doneCount: number;
  skipped: readonly { reason: string; message: string; count: number; ids: readonly string[] }[];
}

interface BulkPayload {
  doneCount?: number | null;
  skipped: BulkResult['skipped'];
  userErrors: readonly UserErrorLike[];
}

/** Runs a mutation about many. That none could be decided about is a result too, with the reasons. */
export function useBulk<Data extends object, Variables extends AnyVariables>(
  document: TypedDocumentNode<Data, Variables>,
  pick: (data: Data) => BulkPayload | null | undefined,
) {
  const client = useClient();
  return async (variables: Variables): Promise<{ result: BulkResult } | { problem: Problem }> => {
    const { data, error, requestId } = await sendMutation(client, document, variables);
    if (error) return { problem: toProblem(error) };
    const payload = data && pick(data);
    if (!payload) return { problem: { code: 'INTERNAL', message: '' } };
    const mistake = payload.userErrors[0];
    if (mistake && payload.skipped.length === 0) return { problem: { ...toMistake(mistake), requestId } };
    return { result: { doneCount: payload.doneCount ?? 0, skipped: payload.skipped } };
  };
}

/** Holds the result of the latest decision about many, and shows it. */
export function useBulkResult() {
  const [result, setResult] = useState<BulkResult>();
  return { show: setResult, dialog: <BulkResultDialog result={result} onClose={() => setResult(undefined)} /> };
}

function MistakeWords({ mistake }: { mistake: UserErrorLike }) {
  const { message, nextStep } = toMistake(mistake);
  return (
    <>
      <p>{message}</p>
      {nextStep && <p className="muted">{nextStep}</p>}
    </>
  );
}

function BulkResultDialog({ result, onClose }: { result: BulkResult | undefined; onClose: () => void }) {
  const { t, i18n } = useTranslation('review');
  const number = new Intl.NumberFormat(i18n.language);
  const skipped = result?.skipped.reduce((sum, item) => sum + item.count, 0) ?? 0;
  return (
    <PlainDialog isOpen={result !== undefined} onClose={onClose} title={t('bulk.title')}>
      {result && (
        <>
          <Banner
            kind={skipped === 0 ? 'success' : 'warning'}
            title={t('bulk.counts', { done: number.format(result.doneCount), skipped: number.format(skipped) })}
          />
          {result.skipped.length > 0 && (
            <ul className="plain skipped">
              {result.skipped.map((item) => (
                <li key={item.reason}>
                  <strong>{t('bulk.skipped', { count: item.count, shown: number.format(item.count) })}</strong>{' '}
                  <code>{item.reason}</code>
                  <MistakeWords mistake={{ code: item.reason, ...item }} />
                </li>
              ))}
            </ul>
          )}
          <div className="actions dialog-actions">
            <Button kind="primary" onPress={onClose}>
              {t('bench.close')}
            </Button>
          </div>
        </>
      )}
    </PlainDialog>
  );
}
