// The bearer token: its state, and making, rotating and revoking it. Its text is shown once, after it was made.
import { type ReactNode, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { PermissionGate } from '../../app/viewer.tsx';
import { useAction } from '../../app/useAction.ts';
import { Button } from '../../components/Button.tsx';
import { ConfirmDialog } from '../../components/ConfirmDialog.tsx';
import { type Column, DataTable } from '../../components/DataTable.tsx';
import { Card } from '../../components/Page.tsx';
import { ReasonField } from '../../components/ReasonField.tsx';
import { StatusBadge, type Tone } from '../../components/StatusBadge.tsx';
import { Time } from '../../components/Time.tsx';
import { Banner, EmptyState } from '../../components/states.tsx';
import { notify } from '../../components/toasts.tsx';
import type { Connection, Token } from './ConfigurationScreen.tsx';
import { Arrivals } from './Arrivals.tsx';
import { ExpiryField, ScopesField, expiryInstant, type Lifetime, type Scope, SCOPES } from './TokenFields.tsx';
import { RotateDialog } from './RotateDialog.tsx';
import { SecretDialog } from './SecretDialog.tsx';
import { issueMutation, revokeMutation } from './queries.ts';

type Status = 'live' | 'ending' | 'revoked' | 'retired' | 'expired';

function tokenStatus(token: Token): Status {
  if (token.revokedAt) return 'revoked';
  if (token.live) return token.retiresAt ? 'ending' : 'live';
  const { retiresAt, expiresAt } = token;
  return retiresAt && (!expiresAt || Date.parse(retiresAt) <= Date.parse(expiresAt)) ? 'retired' : 'expired';
}

const TONES: Record<Status, Tone> = { live: 'good', ending: 'warning', revoked: 'quiet', retired: 'quiet', expired: 'bad' };

interface TokenCardProps {
  connection: Connection;
  reload: () => void;
}

export function TokenCard({ connection, reload }: TokenCardProps) {
  const { t } = useTranslation('configuration');
  const [secret, setSecret] = useState<{ text: string; resumes: boolean }>();
  const [generating, setGenerating] = useState(false);
  const [rotating, setRotating] = useState(false);
  const { tokens } = connection;
  const live = tokens.filter((token) => token.live);
  const current = live[0];
  return (
    <Card
      title={t('token.title')}
      id="token"
      actions={
        <PermissionGate needs={['TOKEN_MANAGE']}>
          {live.length === 0 && (
            <Button kind="primary" icon="key" onPress={() => setGenerating(true)}>
              {t('generate.action')}
            </Button>
          )}
          {live.length > 0 && (
            <Button icon="sync" onPress={() => setRotating(true)}>
              {t('rotate.action')}
            </Button>
          )}
        </PermissionGate>
      }
    >
      {tokens.length === 0 ? (
        <EmptyState icon="key" title={t('token.none')}>
          {t('token.noneExplained')}
        </EmptyState>
      ) : (
        <>
          {current ? (
            <Banner kind="success" title={t('token.issued')}>
              <p>{t('token.notAgain')}</p>
            </Banner>
          ) : (
            <Banner kind="warning" title={t('token.noneLive')}>
              <p>{t('token.noneLiveExplained')}</p>
            </Banner>
          )}
          <TokenTable tokens={tokens} reload={reload} />
        </>
      )}
      {current && <Arrivals connection={connection} />}
      <GenerateDialog
        connection={connection}
        isOpen={generating}
        onClose={() => setGenerating(false)}
        onSecret={(text) => {
          setSecret({ text, resumes: false });
          reload();
        }}
      />
      <RotateDialog
        connection={connection}
        isOpen={rotating}
        onClose={() => setRotating(false)}
        onSecret={(text) => {
          setSecret({ text, resumes: true });
          reload();
        }}
      />
      <SecretDialog
        secret={secret?.text}
        baseUrl={connection.endpoints?.baseUrl}
        resumes={secret?.resumes ?? false}
        onStored={() => setSecret(undefined)}
      />
    </Card>
  );
}

/** What belongs to a value, in a line below it, so that the table is not wider than the screen. */
const Below = ({ children }: { children: ReactNode }) => <small className="below muted">{children}</small>;

function TokenTable({ tokens, reload }: { tokens: readonly Token[]; reload: () => void }) {
  const { t } = useTranslation('configuration');
  const { t: common } = useTranslation();
  const [revoking, setRevoking] = useState<Token>();
  const [reason, setReason] = useState('');
  const revocation = useAction(revokeMutation);
  const when = (at: string | null | undefined): ReactNode => (at ? <Time at={at} /> : common('state.never'));
  const columns: Column<Token>[] = [
    { key: 'last', title: t('columns.lastFour'), header: true, cell: (token) => <code dir="ltr">…{token.lastFour}</code> },
    {
      key: 'state',
      title: t('columns.state'),
      cell: (token) => {
        const status = tokenStatus(token);
        return (
          <>
            <StatusBadge tone={TONES[status]}>{t(`status.${status}`)}</StatusBadge>
            {status === 'ending' && token.retiresAt && <Below><Time at={token.retiresAt} /></Below>}
            {status === 'revoked' && token.revokedAt && <Below><Time at={token.revokedAt} /></Below>}
          </>
        );
      },
    },
    {
      key: 'issued',
      title: t('columns.issued'),
      cell: (token) => (
        <>
          <Time at={token.createdAt} />
          <Below>
            {t('columns.by')} <bdi>{token.issuedBy ?? common('state.unknown')}</bdi>
          </Below>
        </>
      ),
    },
    {
      key: 'used',
      title: t('columns.used'),
      cell: (token) => (
        <>
          {when(token.lastUsedAt)}
          {token.lastUsedFrom && (
            <Below>
              <code dir="ltr">{token.lastUsedFrom}</code>
            </Below>
          )}
        </>
      ),
    },
    { key: 'expires', title: t('columns.expires'), cell: (token) => when(token.expiresAt) },
    {
      key: 'scopes',
      title: t('columns.scopes'),
      cell: (token) =>
        token.scopes.length === SCOPES.length ? t('scopes.all') : token.scopes.map((scope) => t(`scopes.${scope}`)).join(', '),
    },
    {
      key: 'actions',
      title: <span className="visually-hidden">{t('columns.actions')}</span>,
      cell: (token) =>
        token.live && (
          <PermissionGate needs={['TOKEN_MANAGE']}>
            <Button kind="danger" onPress={() => setRevoking(token)} aria-label={t('revoke.label', { lastFour: token.lastFour })}>
              {t('revoke.action')}
            </Button>
          </PermissionGate>
        ),
    },
  ];
  const others = tokens.filter((token) => token.live && token.id !== revoking?.id).length;
  return (
    <>
      <DataTable label={t('token.table')} columns={columns} rows={tokens} rowKey={(token) => token.id} />
      <ConfirmDialog
        isOpen={revoking !== undefined}
        onClose={() => setRevoking(undefined)}
        title={t('revoke.title', { lastFour: revoking?.lastFour ?? '' })}
        consequences={[t('revoke.atOnce'), others > 0 ? t('revoke.others', { count: others }) : t('revoke.last'), t('rotate.untouched')]}
        confirmLabel={t('revoke.action')}
        danger
        onConfirm={async () => {
          const { problem } = await revocation.run({
            input: { id: revoking?.id ?? '', ...(reason.trim() && { reason: reason.trim() }) },
          });
          if (problem) return problem;
          notify({ kind: 'success', text: t('revoke.done') });
          reload();
          return undefined;
        }}
      >
        <ReasonField value={reason} onChange={setReason} />
      </ConfirmDialog>
    </>
  );
}

interface GenerateProps {
  connection: Connection;
  isOpen: boolean;
  onClose: () => void;
  onSecret: (secret: string) => void;
}

function GenerateDialog({ connection, isOpen, onClose, onSecret }: GenerateProps) {
  const { t } = useTranslation('configuration');
  const [lifetime, setLifetime] = useState<Lifetime>('never');
  const [scopes, setScopes] = useState<readonly Scope[]>(SCOPES);
  const issue = useAction(issueMutation);
  return (
    <ConfirmDialog
      isOpen={isOpen}
      onClose={onClose}
      title={t('generate.title')}
      consequences={[t('generate.once'), t('generate.password')]}
      confirmLabel={t('generate.action')}
      onConfirm={async () => {
        const expiresAt = expiryInstant(lifetime);
        const { payload, problem } = await issue.run({
          input: {
            connectionId: connection.id,
            ...(scopes.length < SCOPES.length && { scopes: [...scopes] }),
            ...(expiresAt && { expiresAt }),
          },
        });
        if (problem) return problem;
        if (payload.secret) onSecret(payload.secret);
        return undefined;
      }}
    >
      <ExpiryField value={lifetime} onChange={setLifetime} />
      <ScopesField value={scopes} onChange={setScopes} />
    </ConfirmDialog>
  );
}
