// Invitations: people who are not here yet, what they get when they come, and where each invitation stands.
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'wouter';
import { oneOf } from '../../app/address.ts';
import { screenPath } from '../../app/paths.ts';
import { useAction } from '../../app/useAction.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { ConfirmDialog } from '../../components/ConfirmDialog.tsx';
import { TableFoot } from '../../components/DataTable.tsx';
import { FilterBar, FilterChoice, FilterReset, FilterText, useQueryValue } from '../../components/FilterBar.tsx';
import { Page } from '../../components/Page.tsx';
import { ReasonField } from '../../components/ReasonField.tsx';
import { StatusBadge, type Tone } from '../../components/StatusBadge.tsx';
import { EmptyState, ErrorPanel, Skeleton } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import { notify } from '../../components/toasts.tsx';
import { usePagedList } from '../../components/paging.ts';
import type { InvitationState, InvitationsListQuery } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import { SecretOnce } from '../keys/SecretOnce.tsx';
import { AcceptDialog } from './AcceptDialog.tsx';
import { InviteDialog } from './InviteDialog.tsx';

const invitationsQuery = graphql(`
  query InvitationsList($filter: InvitationFilter, $after: String, $iam: Boolean!) {
    organization {
      id
      invitations(first: 25, after: $after, filter: $filter) {
        totalCount
        pageInfo { hasNextPage endCursor }
        nodes {
          id
          email
          state
          reason
          createdAt
          expiresAt
          accessExpiresAt
          sentCount
          lastMailedAt
          lastMailError
          acceptedAt
          revokedAt
          user { id displayName }
          roles @include(if: $iam) { id name }
          groups @include(if: $iam) { id displayName }
        }
      }
    }
  }
`);

const resendMutation = graphql(`
  mutation InvitationResend($input: InvitationResendInput!) {
    invitationResend(input: $input) {
      invitation { id state expiresAt }
      secret
      userErrors { code reason message nextStep }
    }
  }
`);

const revokeMutation = graphql(`
  mutation InvitationRevoke($input: InvitationRevokeInput!) {
    invitationRevoke(input: $input) {
      invitation { id state }
      userErrors { code reason message nextStep }
    }
  }
`);

type Invitation = NonNullable<NonNullable<InvitationsListQuery['organization']>['invitations']>['nodes'][number];

const pick = (data: InvitationsListQuery) => data.organization?.invitations;
const STATES: readonly InvitationState[] = ['OPEN', 'REDEEMED', 'ACCEPTED', 'EXPIRED', 'REVOKED'];
const TONES: Record<InvitationState, Tone> = { OPEN: 'info', REDEEMED: 'warning', ACCEPTED: 'good', EXPIRED: 'quiet', REVOKED: 'quiet' };

export function InvitationsScreen() {
  const { t } = useTranslation('invitations');
  const viewer = useViewer();
  const [email] = useQueryValue('email');
  const [stateName] = useQueryValue('state');
  const state = oneOf(STATES, stateName);
  const [inviting, setInviting] = useState(false);
  const [secret, setSecret] = useState<string>();
  const iam = viewer.may('IAM_READ');
  const variables = useMemo(
    () => ({ filter: { email: email ?? null, states: state ? [state] : null }, iam }),
    [email, state, iam],
  );
  const list = usePagedList(invitationsQuery, variables, pick);
  const filtered = email !== undefined || state !== undefined;
  const invite = viewer.may('USER_WRITE') && (
    <Button kind="primary" icon="person" onPress={() => setInviting(true)}>
      {t('invite')}
    </Button>
  );
  return (
    <Page title={t('title')} lead={t('lead')} actions={invite}>
      <FilterBar label={t('filter')}>
        <FilterText name="email" label={t('email')} />
        <FilterChoice name="state" label={t('stateTitle')} choices={STATES.map((value) => ({ value, text: t(`state.${value}`) }))} />
        <FilterReset names={['email', 'state']} />
      </FilterBar>
      {list.problem && <ErrorPanel problem={list.problem} onRetry={list.reload} />}
      {!list.problem && list.rows.length === 0 && list.loading && <Skeleton lines={6} />}
      {!list.problem && list.rows.length === 0 && !list.loading && (
        <EmptyState icon="person" title={filtered ? t('noneFound') : t('none')}>
          <p>{filtered ? t('noneFoundText') : t('noneText')}</p>
        </EmptyState>
      )}
      {list.rows.length > 0 && (
        <section className="card">
          <ul className="plain entries">
            {list.rows.map((invitation) => (
              <li key={invitation.id}>
                <InvitationEntry invitation={invitation} onChanged={list.reload} onSecret={setSecret} />
              </li>
            ))}
          </ul>
          <TableFoot shown={list.rows.length} total={list.total} loading={list.loading} onMore={list.hasMore ? list.loadMore : undefined} />
        </section>
      )}
      {inviting && (
        <InviteDialog
          onClose={() => setInviting(false)}
          onInvited={(link) => {
            setInviting(false);
            setSecret(link);
            list.reload();
          }}
        />
      )}
      {secret !== undefined && (
        <SecretOnce title={t('linkTitle')} label={t('link')} secret={secret} warning={t('linkText')} onStored={() => setSecret(undefined)} />
      )}
    </Page>
  );
}

interface InvitationEntryProps {
  invitation: Invitation;
  onChanged: () => void;
  onSecret: (link: string) => void;
}

function InvitationEntry({ invitation, onChanged, onSecret }: InvitationEntryProps) {
  const { t } = useTranslation('invitations');
  const viewer = useViewer();
  const { run: resend, running } = useAction(resendMutation);
  const { run: revoke } = useAction(revokeMutation);
  const [asking, setAsking] = useState(false);
  const [accepting, setAccepting] = useState(false);
  const [reason, setReason] = useState('');
  const { state } = invitation;
  const address = invitation.email ?? t('erased');
  const waits = state === 'OPEN' || state === 'REDEEMED';
  const again = async () => {
    const answer = await resend({ input: { id: invitation.id } });
    if (answer.problem) notify({ kind: 'error', text: answer.problem.message, ...(answer.problem.nextStep && { detail: answer.problem.nextStep }) });
    else if (answer.payload.secret) onSecret(answer.payload.secret);
    onChanged();
  };
  const path = (screen: string, id: string) => screenPath(viewer.organization.slug, `${screen}/${encodeURIComponent(id)}`);
  return (
    <article className="entry">
      <div className="entry-head">
        <h2 className="entry-title">
          <bdi>{address}</bdi>
        </h2>
        <StatusBadge tone={TONES[state]}>{t(`state.${state}`)}</StatusBadge>
        <span className="muted">
          {t('made')} <Time at={invitation.createdAt} />
        </span>
      </div>
      {invitation.reason && <q dir="auto">{invitation.reason}</q>}
      <dl className="details">
        {(invitation.roles?.length ?? 0) > 0 && (
          <>
            <dt>{t('roles')}</dt>
            <dd>
              <ul className="plain inline">
                {invitation.roles?.map((role) => (
                  <li key={role.id}>
                    <Link href={path('roles', role.id)}>
                      <span dir="auto">{role.name}</span>
                    </Link>
                  </li>
                ))}
              </ul>
            </dd>
          </>
        )}
        {(invitation.groups?.length ?? 0) > 0 && (
          <>
            <dt>{t('groups')}</dt>
            <dd>
              <ul className="plain inline">
                {invitation.groups?.map((group) => (
                  <li key={group.id}>
                    <Link href={path('groups', group.id)}>
                      <span dir="auto">{group.displayName}</span>
                    </Link>
                  </li>
                ))}
              </ul>
            </dd>
          </>
        )}
        {waits && (
          <>
            <dt>{t('ends')}</dt>
            <dd>
              <Time at={invitation.expiresAt} />
            </dd>
            <dt>{t('mail')}</dt>
            <dd>
              {invitation.lastMailError ? (
                <>
                  <StatusBadge tone="bad">{t('mailFailed')}</StatusBadge> {invitation.lastMailError}
                </>
              ) : invitation.lastMailedAt ? (
                <>
                  {t('mailed')} <Time at={invitation.lastMailedAt} />
                </>
              ) : (
                t('notMailed')
              )}
            </dd>
          </>
        )}
        {invitation.accessExpiresAt && (
          <>
            <dt>{t('accessEnds')}</dt>
            <dd>
              <Time at={invitation.accessExpiresAt} exact />
            </dd>
          </>
        )}
        {state === 'ACCEPTED' && (
          <>
            <dt>{t('acceptedFor')}</dt>
            <dd>
              {invitation.user ? (
                <Link href={path('people', invitation.user.id)}>
                  <span dir="auto">{invitation.user.displayName}</span>
                </Link>
              ) : (
                '–'
              )}
            </dd>
          </>
        )}
      </dl>
      {state === 'REDEEMED' && <p className="muted">{t('redeemedText')}</p>}
      {viewer.may('USER_WRITE') && (waits || state === 'EXPIRED') && (
        <div className="actions">
          <Button icon="reload" busy={running} onPress={() => void again()} aria-label={t('resendTo', { address })}>
            {t('resend')}
          </Button>
          {waits && (
            <Button onPress={() => setAccepting(true)} aria-label={t('acceptOf', { address })}>
              {t('acceptFor')}
            </Button>
          )}
          {waits && (
            <Button kind="quiet" onPress={() => setAsking(true)} aria-label={t('revokeOf', { address })}>
              {t('revoke')}
            </Button>
          )}
        </div>
      )}
      {accepting && (
        <AcceptDialog
          invitationId={invitation.id}
          address={address}
          onClose={() => setAccepting(false)}
          onAccepted={() => {
            setAccepting(false);
            onChanged();
          }}
        />
      )}
      <ConfirmDialog
        isOpen={asking}
        onClose={() => setAsking(false)}
        title={t('revokeTitle', { address })}
        consequences={[t('revokeLink'), t('revokeNothing')]}
        confirmLabel={t('revoke')}
        danger
        onConfirm={async () => {
          const { problem } = await revoke({ input: { id: invitation.id, reason: reason.trim() || null } });
          if (!problem) notify({ kind: 'success', text: t('revoked', { address }) });
          onChanged();
          return problem;
        }}
      >
        <ReasonField value={reason} onChange={setReason} />
      </ConfirmDialog>
    </article>
  );
}
