// What a change of access would do, before it is done: who gains and who loses which role. Applying it is refused if
// it would do something else by then; in that case it is previewed again.
import { useCallback, useEffect, useRef, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useClient } from 'urql';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { Banner, ErrorPanel, type Problem, Skeleton, toProblem } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import { notify } from '../../components/toasts.tsx';
import type { AccessEditInput, AccessPreviewMutation } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import { mutate } from './mutate.ts';
import './access.css';

graphql(`
  fragment AccessMoves on AccessMoveConnection {
    totalCount
    pageInfo { hasNextPage endCursor }
    nodes {
      user @include(if: $people) { id userName displayName }
      role { id name management }
    }
  }
`);

const previewMutation = graphql(`
  mutation AccessPreview($edits: [AccessEditInput!]!, $people: Boolean!) {
    accessPreview(input: { edits: $edits }) {
      preview {
        id
        gainedCount
        lostCount
        expiresAt
        warnings { kind userCount role { id name } mapping { id group { id displayName } role { id name } } }
        gains(first: 50) { ...AccessMoves }
        losses(first: 50) { ...AccessMoves }
      }
      userErrors { code reason message nextStep path }
    }
  }
`);

const moreQuery = graphql(`
  query MoreMoves($id: ID!, $gainsAfter: String, $lossesAfter: String, $gains: Boolean!, $losses: Boolean!, $people: Boolean!) {
    node(id: $id) {
      id
      ... on AccessPreview {
        gains(first: 100, after: $gainsAfter) @include(if: $gains) { ...AccessMoves }
        losses(first: 100, after: $lossesAfter) @include(if: $losses) { ...AccessMoves }
      }
    }
  }
`);

const applyMutation = graphql(`
  mutation AccessApply($previewId: ID!) {
    accessApply(input: { previewId: $previewId }) {
      change { gainedCount lostCount }
      userErrors { code reason message nextStep path }
    }
  }
`);

type Preview = NonNullable<NonNullable<AccessPreviewMutation['accessPreview']>['preview']>;
type Moves = NonNullable<Preview['gains']>;

interface AccessPreviewPanelProps {
  edits: readonly AccessEditInput[];
  applyLabel: string;
  /** Said in the notification. */
  doneText: string;
  danger?: boolean;
  onApplied: () => void;
  onCancel?: () => void;
  cancelLabel?: string;
}

/** Previews at once when it appears, and again when the edits are others. */
export function AccessPreviewPanel({ edits, applyLabel, doneText, danger, onApplied, onCancel, cancelLabel }: AccessPreviewPanelProps) {
  const { t } = useTranslation('access');
  const { t: common } = useTranslation();
  const client = useClient();
  const viewer = useViewer();
  const people = viewer.may('USER_READ');
  const [preview, setPreview] = useState<Preview>();
  const [problem, setProblem] = useState<Problem>();
  const [busy, setBusy] = useState(false);
  const [renewed, setRenewed] = useState(false);
  const key = JSON.stringify(edits);
  const latest = useRef(key);

  const ask = useCallback(async () => {
    latest.current = key;
    setProblem(undefined);
    const outcome = await mutate(
      client,
      previewMutation,
      { edits: JSON.parse(key) as AccessEditInput[], people },
      (data) => data.accessPreview,
    );
    if (latest.current !== key) return;
    setPreview(outcome.payload?.preview ?? undefined);
    setProblem(outcome.problem);
  }, [client, key, people]);

  useEffect(() => {
    setPreview(undefined);
    setRenewed(false);
    void ask();
  }, [ask]);

  const apply = async () => {
    if (!preview) return;
    setBusy(true);
    setProblem(undefined);
    const outcome = await mutate(client, applyMutation, { previewId: preview.id }, (data) => data.accessApply);
    if (outcome.reason === 'PREVIEW_STALE' || outcome.reason === 'STALE') {
      // Somebody else changed something: what was agreed to is not what would happen now.
      setRenewed(true);
      await ask();
      setBusy(false);
      return;
    }
    setBusy(false);
    if (outcome.problem) {
      setProblem(outcome.problem);
      return;
    }
    const change = outcome.payload?.change;
    notify({
      kind: 'success',
      text: doneText,
      ...(change && { detail: t('preview.done', { gained: change.gainedCount, lost: change.lostCount }) }),
    });
    onApplied();
  };

  return (
    <section className="preview" aria-label={t('preview.title')} aria-live="polite">
      {renewed && (
        <Banner kind="warning" title={t('preview.stale')}>
          <p>{t('preview.staleText')}</p>
        </Banner>
      )}
      {problem && <ErrorPanel problem={problem} onRetry={() => void ask()} />}
      {!preview && !problem && <Skeleton lines={4} />}
      {preview && (
        <>
          <p className="preview-sum">
            <span className="preview-gain">{t('preview.gains', { count: preview.gainedCount })}</span>
            <span className="preview-loss">{t('preview.losses', { count: preview.lostCount })}</span>
          </p>
          {preview.gainedCount === 0 && preview.lostCount === 0 && <p>{t('preview.nothing')}</p>}
          {preview.warnings.map((warning, index) => (
            <Banner key={index} kind="warning" title={t(`preview.warning.${warning.kind}`, { count: warning.userCount, role: warning.role?.name ?? warning.mapping?.role?.name ?? '' })} />
          ))}
          <div className="columns">
            {preview.gains && preview.gainedCount > 0 && (
              <MoveList kind="gains" previewId={preview.id} first={preview.gains} people={people} />
            )}
            {preview.losses && preview.lostCount > 0 && (
              <MoveList kind="losses" previewId={preview.id} first={preview.losses} people={people} />
            )}
          </div>
          <p className="muted">
            {t('preview.holds')} <Time at={preview.expiresAt} />
          </p>
        </>
      )}
      <div className="actions dialog-actions">
        {onCancel && <Button onPress={onCancel}>{cancelLabel ?? common('dialog.cancel')}</Button>}
        <Button kind={danger ? 'danger' : 'primary'} busy={busy} isDisabled={!preview} onPress={() => void apply()}>
          {applyLabel}
        </Button>
      </div>
    </section>
  );
}

interface MoveListProps {
  kind: 'gains' | 'losses';
  previewId: string;
  first: Moves;
  people: boolean;
}

function MoveList({ kind, previewId, first, people }: MoveListProps) {
  const { t } = useTranslation('access');
  const client = useClient();
  const [pages, setPages] = useState<Moves[]>([first]);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem>();
  useEffect(() => setPages([first]), [first]);
  const last = pages.at(-1) ?? first;
  const more = async () => {
    setBusy(true);
    const after = last.pageInfo.endCursor ?? null;
    const { data, error } = await client
      .query(
        moreQuery,
        { id: previewId, gains: kind === 'gains', losses: kind === 'losses', gainsAfter: after, lossesAfter: after, people },
        { requestPolicy: 'network-only' },
      )
      .toPromise();
    setBusy(false);
    setProblem(error && toProblem(error));
    const node = data?.node;
    const next = node && 'gains' in node && kind === 'gains' ? node.gains : node && 'losses' in node ? node.losses : undefined;
    if (next) setPages((before) => [...before, next]);
  };
  const rows = pages.flatMap((page) => page.nodes);
  return (
    <div>
      <h3>{t(kind === 'gains' ? 'preview.whoGains' : 'preview.whoLoses')}</h3>
      <ul className={`moves moves-${kind}`} tabIndex={0} aria-label={t(kind === 'gains' ? 'preview.whoGains' : 'preview.whoLoses')}>
        {rows.map((move, index) => (
          <li key={index}>
            <span dir="auto">{move.user?.displayName ?? t('preview.somebody')}</span>
            {move.user && <small className="muted"> {move.user.userName}</small>}
            <span className="moves-role" dir="auto">
              {kind === 'gains' ? '+ ' : '− '}
              {move.role?.name ?? t('preview.deletedRole')}
            </span>
          </li>
        ))}
      </ul>
      {problem && <ErrorPanel problem={problem} />}
      {last.pageInfo.hasNextPage && (
        <Button busy={busy} onPress={() => void more()}>
          {t('preview.more', { count: first.totalCount - rows.length })}
        </Button>
      )}
    </div>
  );
}
