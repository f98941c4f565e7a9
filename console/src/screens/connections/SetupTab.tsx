// Setup links: the page for a customer's IT administrator, who has no account here.
import { type FormEvent, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useAction } from '../../app/useAction.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { ConfirmDialog, PlainDialog } from '../../components/ConfirmDialog.tsx';
import { type Column, DataTable, TableFoot } from '../../components/DataTable.tsx';
import { TextField, toInstant } from '../../components/forms.tsx';
import { Card } from '../../components/Page.tsx';
import { usePagedList } from '../../components/paging.ts';
import { StatusBadge, type Tone } from '../../components/StatusBadge.tsx';
import { EmptyState, ErrorPanel, type Problem, Skeleton } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import { notify } from '../../components/toasts.tsx';
import type { SetupLinkState, SetupLinksQuery } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import { SecretOnce } from '../keys/SecretOnce.tsx';
import type { OneConnection } from './connection.ts';
import { useNumbers } from './parts.tsx';

const linksQuery = graphql(`
  query SetupLinks($filter: SetupLinkFilter, $after: String) {
    organization {
      id
      setupLinks(first: 20, after: $after, filter: $filter, orderBy: { field: CREATED_AT, direction: DESC }) {
        totalCount
        pageInfo { hasNextPage endCursor }
        nodes {
          id
          state
          createdAt
          expiresAt
          redeemedAt
          lastOpenedAt
          openCount
          revokedAt
          scimToken { id lastFour live }
        }
      }
    }
  }
`);

const createMutation = graphql(`
  mutation SetupLinkCreate($input: SetupLinkCreateInput!) {
    setupLinkCreate(input: $input) {
      setupLink { id }
      secret
      userErrors { code reason message nextStep }
    }
  }
`);

const revokeMutation = graphql(`
  mutation SetupLinkRevoke($input: SetupLinkRevokeInput!) {
    setupLinkRevoke(input: $input) {
      setupLink { id state }
      userErrors { code reason message nextStep }
    }
  }
`);

type Row = NonNullable<NonNullable<SetupLinksQuery['organization']>['setupLinks']>['nodes'][number];

const TONES: Record<SetupLinkState, Tone> = { ACTIVE: 'info', REDEEMED: 'good', EXPIRED: 'quiet', REVOKED: 'quiet' };

const pick = (data: SetupLinksQuery) => data.organization?.setupLinks;

export function SetupTab({ connection, reload }: { connection: OneConnection; reload: () => void }) {
  const { t } = useTranslation('connections');
  const { t: common } = useTranslation();
  const viewer = useViewer();
  const numbers = useNumbers();
  const mayMake = viewer.may('TOKEN_MANAGE') && viewer.may('IAM_WRITE');
  const list = usePagedList(linksQuery, { filter: { connectionId: connection.id } }, pick);
  const [making, setMaking] = useState(false);
  const [link, setLink] = useState<string>();
  const [revoking, setRevoking] = useState<Row>();
  const [reason, setReason] = useState('');
  const { run: revoke } = useAction(revokeMutation);
  const again = () => {
    list.reload();
    reload();
  };
  const columns: Column<Row>[] = [
    { key: 'state', title: t('list.state'), header: true, cell: (row) => <StatusBadge tone={TONES[row.state]}>{t(`setup.states.${row.state}`)}</StatusBadge> },
    { key: 'created', title: t('setup.created'), cell: (row) => <Time at={row.createdAt} /> },
    { key: 'ends', title: t('tokens.ends'), cell: (row) => <Time at={row.revokedAt ?? row.expiresAt} /> },
    {
      key: 'opened',
      title: t('setup.opened'),
      cell: (row) =>
        row.openCount > 0 ? (
          <>
            {t('setup.times', { count: row.openCount, shown: numbers.whole(row.openCount) })}
            {row.lastOpenedAt && (
              <>
                , {t('setup.last')} <Time at={row.lastOpenedAt} />
              </>
            )}
          </>
        ) : (
          common('state.never')
        ),
    },
    {
      key: 'token',
      title: t('tokens.token'),
      cell: (row) =>
        row.scimToken ? (
          <>
            <code dir="ltr">rcs_…{row.scimToken.lastFour}</code> {!row.scimToken.live && <span className="muted">{t('tokens.stateEnded')}</span>}
          </>
        ) : (
          <span className="muted">{common('state.none')}</span>
        ),
    },
  ];
  if (viewer.may('TOKEN_MANAGE')) {
    columns.push({
      key: 'actions',
      title: <span className="visually-hidden">{t('tokens.actions')}</span>,
      cell: (row) =>
        (row.state === 'ACTIVE' || row.state === 'REDEEMED') && (
          <Button kind="danger" onPress={() => setRevoking(row)}>
            {t('tokens.revoke')}
          </Button>
        ),
    });
  }
  return (
    <Card
      title={t('tab.setup')}
      actions={
        mayMake && (
          <Button kind="primary" icon="link" onPress={() => setMaking(true)}>
            {t('setup.make')}
          </Button>
        )
      }
    >
      <p className="muted">{t('setup.text')}</p>
      {!mayMake && <p className="muted">{t('setup.needs')}</p>}
      {list.problem && <ErrorPanel problem={list.problem} onRetry={list.reload} />}
      {list.loading && list.rows.length === 0 && <Skeleton lines={4} />}
      {!list.loading && !list.problem && list.rows.length === 0 && (
        <EmptyState icon="link" title={t('setup.none')}>
          <p>{t('setup.noneText')}</p>
        </EmptyState>
      )}
      {list.rows.length > 0 && (
        <>
          <DataTable
            label={common('table.rows', { label: t('tab.setup') })}
            columns={columns}
            rows={list.rows}
            rowKey={(row) => row.id}
          />
          <TableFoot
            shown={list.rows.length}
            total={list.total}
            loading={list.loading}
            onMore={list.hasMore ? list.loadMore : undefined}
          />
        </>
      )}
      {making && (
        <MakeDialog
          connection={connection}
          onClose={() => setMaking(false)}
          onDone={(made) => {
            setMaking(false);
            setLink(made);
            again();
          }}
        />
      )}
      {link !== undefined && (
        <SecretOnce
          title={t('setup.newTitle')}
          label={t('setup.link')}
          secret={link}
          warning={t('setup.newText')}
          onStored={() => setLink(undefined)}
        />
      )}
      <ConfirmDialog
        isOpen={revoking !== undefined}
        onClose={() => setRevoking(undefined)}
        title={t('setup.revokeTitle')}
        consequences={[t('setup.revokeNow'), t('setup.revokeToken')]}
        confirmLabel={t('tokens.revoke')}
        danger
        onConfirm={async () => {
          if (!revoking) return undefined;
          const { problem } = await revoke({ input: { id: revoking.id, reason: reason.trim() || null } });
          if (!problem) notify({ kind: 'success', text: t('setup.revoked') });
          again();
          return problem;
        }}
      >
        <TextField label={common('dialog.reason')} value={reason} onChange={setReason} maxLength={1000} />
      </ConfirmDialog>
    </Card>
  );
}

interface MakeDialogProps {
  connection: OneConnection;
  onClose: () => void;
  onDone: (link: string) => void;
}

function MakeDialog({ connection, onClose, onDone }: MakeDialogProps) {
  const { t } = useTranslation('connections');
  const { t: common } = useTranslation();
  const { run, running } = useAction(createMutation);
  const [expires, setExpires] = useState('');
  const [reason, setReason] = useState('');
  const [problem, setProblem] = useState<Problem>();
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setProblem(undefined);
    const expiresAt = toInstant(expires);
    const answer = await run({
      input: { connectionId: connection.id, ...(expiresAt && { expiresAt }), reason: reason.trim() || null },
    });
    if (answer.problem) setProblem(answer.problem);
    else if (answer.payload.secret) onDone(answer.payload.secret);
    else setProblem({ code: 'SECRET_WITHHELD', message: '' });
  };
  return (
    <PlainDialog isOpen onClose={onClose} title={t('setup.makeTitle')}>
      <form className="form" onSubmit={(event) => void submit(event)}>
        <p>{t('setup.makeText')}</p>
        <TextField label={t('setup.expires')} help={t('setup.expiresHelp')} type="datetime-local" value={expires} onChange={setExpires} />
        <TextField label={common('dialog.reason')} value={reason} onChange={setReason} maxLength={1000} />
        {problem && <ErrorPanel problem={problem} />}
        <div className="actions dialog-actions">
          <Button onPress={onClose}>{common('dialog.cancel')}</Button>
          <Button kind="primary" type="submit" busy={running}>
            {t('setup.make')}
          </Button>
        </div>
      </form>
    </PlainDialog>
  );
}
