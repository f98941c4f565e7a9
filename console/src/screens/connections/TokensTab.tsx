// The SCIM tokens of a connection: issue, rotate, revoke.
import { type FormEvent, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useSearchParams } from 'wouter';
import { useAction } from '../../app/useAction.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { ConfirmDialog, PlainDialog } from '../../components/ConfirmDialog.tsx';
import { type Column, DataTable } from '../../components/DataTable.tsx';
import { CheckField, SelectField, TextField, toInstant } from '../../components/forms.tsx';
import { Card } from '../../components/Page.tsx';
import { StatusBadge } from '../../components/StatusBadge.tsx';
import { Banner, EmptyState, ErrorPanel, type Problem } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import { notify } from '../../components/toasts.tsx';
import type { ScimScope } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import { SecretOnce } from '../keys/SecretOnce.tsx';
import type { OneConnection } from './connection.ts';

const issueMutation = graphql(`
  mutation ConnectionTokenIssue($input: ScimTokenIssueInput!) {
    scimTokenIssue(input: $input) {
      scimToken { id lastFour }
      secret
      userErrors { code reason message nextStep }
    }
  }
`);

const rotateMutation = graphql(`
  mutation ConnectionTokenRotate($input: ScimTokenRotateInput!) {
    scimTokenRotate(input: $input) {
      scimToken { id lastFour }
      secret
      warning
      retiredTokens { id live retiresAt }
      userErrors { code reason message nextStep }
    }
  }
`);

const revokeMutation = graphql(`
  mutation ConnectionTokenRevoke($input: ScimTokenRevokeInput!) {
    scimTokenRevoke(input: $input) {
      scimToken { id live revokedAt }
      userErrors { code reason message nextStep }
    }
  }
`);

type Token = OneConnection['tokens'][number];

const SCOPES: readonly ScimScope[] = ['USERS_READ', 'USERS_WRITE', 'GROUPS_READ', 'GROUPS_WRITE'];
const OVERLAPS = ['0', '3600', '86400', '604800'] as const;

interface Shown {
  secret: string;
  warning?: string | null;
}

export function TokensTab({ connection, reload }: { connection: OneConnection; reload: () => void }) {
  const { t } = useTranslation('connections');
  const { t: common } = useTranslation();
  const viewer = useViewer();
  const mayManage = viewer.may('TOKEN_MANAGE');
  const [params] = useSearchParams();
  const [dialog, setDialog] = useState<'issue' | 'rotate' | undefined>();
  const [revoking, setRevoking] = useState<Token>();
  const [reason, setReason] = useState('');
  const [shown, setShown] = useState<Shown>();
  const { run: revoke } = useAction(revokeMutation);
  const showEnded = params.get('ended') === 'yes';
  const [, setParams] = useSearchParams();
  const live = connection.tokens.filter((token) => token.live);
  const rows = showEnded ? connection.tokens : live;
  const ended = connection.tokens.length - live.length;

  const columns: Column<Token>[] = [
    {
      key: 'token',
      title: t('tokens.token'),
      header: true,
      cell: (token) => <code dir="ltr">rcs_…{token.lastFour}</code>,
    },
    { key: 'state', title: t('list.state'), cell: (token) => <TokenState token={token} /> },
    {
      key: 'scopes',
      title: t('tokens.scopes'),
      cell: (token) =>
        token.scopes.length === SCOPES.length
          ? t('tokens.allScopes')
          : token.scopes.map((scope) => t(`scope.${scope}`)).join(', '),
    },
    { key: 'created', title: t('tokens.issued'), cell: (token) => <Time at={token.createdAt} /> },
    {
      key: 'used',
      title: t('tokens.lastUsed'),
      cell: (token) =>
        token.lastUsedAt ? (
          <>
            <Time at={token.lastUsedAt} />
            {token.lastUsedFrom && (
              <>
                <br />
                <small className="muted">{t('tokens.from', { address: token.lastUsedFrom })}</small>
              </>
            )}
          </>
        ) : (
          common('state.never')
        ),
    },
    {
      key: 'ends',
      title: t('tokens.ends'),
      cell: (token) => {
        const end = token.revokedAt ?? token.retiresAt ?? token.expiresAt;
        return end ? <Time at={end} /> : common('state.never');
      },
    },
  ];
  if (mayManage) {
    columns.push({
      key: 'actions',
      title: <span className="visually-hidden">{t('tokens.actions')}</span>,
      cell: (token) =>
        token.live && (
          <Button
            kind="danger"
            aria-label={t('tokens.revokeLabel', { last: token.lastFour })}
            onPress={() => setRevoking(token)}
          >
            {t('tokens.revoke')}
          </Button>
        ),
    });
  }

  return (
    <Card
      title={t('tokens.title')}
      actions={
        mayManage && (
          <>
            <Button icon="key" kind={live.length === 0 ? 'primary' : 'secondary'} onPress={() => setDialog('issue')}>
              {t('tokens.issue')}
            </Button>
            {live.length > 0 && (
              <Button icon="sync" onPress={() => setDialog('rotate')}>
                {t('tokens.rotate')}
              </Button>
            )}
          </>
        )
      }
    >
      <p className="muted">{t('tokens.text')}</p>
      {rows.length === 0 ? (
        <EmptyState icon="key" title={t('tokens.none')}>
          <p>{t('tokens.noneText')}</p>
        </EmptyState>
      ) : (
        <DataTable label={common('table.rows', { label: t('tokens.title') })} columns={columns} rows={rows} rowKey={(token) => token.id} />
      )}
      {ended > 0 && (
        <CheckField
          label={t('tokens.showEnded', { count: ended })}
          checked={showEnded}
          onChange={(checked) =>
            setParams((before) => {
              const next = new URLSearchParams(before);
              if (checked) next.set('ended', 'yes');
              else next.delete('ended');
              return next;
            })
          }
        />
      )}
      {dialog === 'issue' && (
        <IssueDialog
          connection={connection}
          onClose={() => setDialog(undefined)}
          onDone={(secret) => {
            setDialog(undefined);
            setShown(secret);
            reload();
          }}
        />
      )}
      {dialog === 'rotate' && (
        <RotateDialog
          connection={connection}
          onClose={() => setDialog(undefined)}
          onDone={(secret) => {
            setShown(secret);
            reload();
          }}
        />
      )}
      {shown && (
        <SecretOnce
          title={t('tokens.newTitle')}
          label={t('tokens.token')}
          secret={shown.secret}
          warning={shown.warning ?? t('tokens.newText')}
          onStored={() => setShown(undefined)}
        />
      )}
      <ConfirmDialog
        isOpen={revoking !== undefined}
        onClose={() => setRevoking(undefined)}
        title={t('tokens.revokeTitle', { last: revoking?.lastFour ?? '' })}
        consequences={[
          t('tokens.revokeConsequence'),
          live.length <= 1 ? t('tokens.revokeLast') : t('tokens.revokeOthers', { count: live.length - 1 }),
          t('tokens.keepsData'),
        ]}
        confirmLabel={t('tokens.revoke')}
        danger
        onConfirm={async () => {
          if (!revoking) return undefined;
          const { problem } = await revoke({ input: { id: revoking.id, reason: reason.trim() || null } });
          if (!problem) notify({ kind: 'success', text: t('tokens.revoked', { last: revoking.lastFour }) });
          reload();
          return problem;
        }}
      >
        <TextField label={common('dialog.reason')} value={reason} onChange={setReason} maxLength={1000} />
      </ConfirmDialog>
    </Card>
  );
}

function TokenState({ token }: { token: Token }) {
  const { t } = useTranslation('connections');
  if (token.revokedAt) return <StatusBadge tone="quiet">{t('tokens.stateRevoked')}</StatusBadge>;
  if (!token.live) return <StatusBadge tone="quiet">{t('tokens.stateEnded')}</StatusBadge>;
  if (token.retiresAt) return <StatusBadge tone="warning">{t('tokens.stateRetiring')}</StatusBadge>;
  return <StatusBadge tone="good">{t('tokens.stateLive')}</StatusBadge>;
}

function IssueDialog({
  connection,
  onClose,
  onDone,
}: {
  connection: OneConnection;
  onClose: () => void;
  onDone: (shown: Shown) => void;
}) {
  const { t } = useTranslation('connections');
  const { t: common } = useTranslation();
  const { run, running } = useAction(issueMutation);
  const [scopes, setScopes] = useState<readonly ScimScope[]>(SCOPES);
  const [expires, setExpires] = useState('');
  const [problem, setProblem] = useState<Problem>();
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setProblem(undefined);
    const answer = await run({
      input: {
        connectionId: connection.id,
        ...(scopes.length < SCOPES.length && { scopes: [...scopes] }),
        ...(toInstant(expires) && { expiresAt: toInstant(expires) }),
      },
    });
    if (answer.problem) setProblem(answer.problem);
    else if (answer.payload.secret) onDone({ secret: answer.payload.secret });
    else setProblem({ code: 'SECRET_WITHHELD', message: '' });
  };
  return (
    <PlainDialog isOpen onClose={onClose} title={t('tokens.issueTitle')}>
      <form className="form" onSubmit={(event) => void submit(event)}>
        <p>{t('tokens.issueText')}</p>
        <fieldset className="field">
          <legend>{t('tokens.scopes')}</legend>
          {SCOPES.map((scope) => (
            <CheckField
              key={scope}
              label={t(`scope.${scope}`)}
              checked={scopes.includes(scope)}
              onChange={(checked) =>
                setScopes(SCOPES.filter((each) => (each === scope ? checked : scopes.includes(each))))
              }
            />
          ))}
        </fieldset>
        <TextField
          label={t('tokens.expires')}
          help={t('tokens.expiresHelp')}
          type="datetime-local"
          value={expires}
          onChange={setExpires}
        />
        {problem && <ErrorPanel problem={problem} />}
        <div className="actions dialog-actions">
          <Button onPress={onClose}>{common('dialog.cancel')}</Button>
          <Button kind="primary" type="submit" busy={running} isDisabled={scopes.length === 0}>
            {t('tokens.issue')}
          </Button>
        </div>
      </form>
    </PlainDialog>
  );
}

function RotateDialog({
  connection,
  onClose,
  onDone,
}: {
  connection: OneConnection;
  onClose: () => void;
  onDone: (shown: Shown) => void;
}) {
  const { t, i18n } = useTranslation('connections');
  const { t: common } = useTranslation();
  const { run } = useAction(rotateMutation);
  const [overlap, setOverlap] = useState<(typeof OVERLAPS)[number]>('0');
  const [expires, setExpires] = useState('');
  const [reason, setReason] = useState('');
  const { health } = connection;
  return (
    <ConfirmDialog
      isOpen
      onClose={onClose}
      title={t('tokens.rotateTitle')}
      consequences={[
        overlap === '0' ? t('tokens.rotateNow') : t('tokens.rotateOverlap', { overlap: t(`overlap.${overlap}`) }),
        t('tokens.rotateSync'),
        t('tokens.rotateReady'),
        t('tokens.keepsData'),
      ]}
      confirmLabel={t('tokens.rotate')}
      danger
      onConfirm={async () => {
        const answer = await run({
          input: {
            connectionId: connection.id,
            overlapSeconds: Number(overlap),
            ...(toInstant(expires) && { expiresAt: toInstant(expires) }),
            reason: reason.trim() || null,
          },
        });
        if (answer.problem) return answer.problem;
        if (!answer.payload.secret) return { code: 'SECRET_WITHHELD', message: '' };
        onDone({ secret: answer.payload.secret, warning: (i18n.language === 'en' && answer.payload.warning) || null });
        return undefined;
      }}
    >
      {health && health.lastHour.operations > 0 && (
        <Banner kind="info" title={t('tokens.busyTitle')}>
          <p>{t('tokens.busyText', { count: health.lastHour.operations })}</p>
        </Banner>
      )}
      <SelectField
        label={t('tokens.overlap')}
        value={overlap}
        choices={OVERLAPS.map((value) => ({ value, text: t(`overlap.${value}`) }))}
        onChange={setOverlap}
      />
      <TextField label={t('tokens.expires')} type="datetime-local" value={expires} onChange={setExpires} />
      <TextField label={common('dialog.reason')} value={reason} onChange={setReason} maxLength={1000} />
    </ConfirmDialog>
  );
}
