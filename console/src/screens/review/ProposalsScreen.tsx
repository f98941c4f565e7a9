// Accounts that a connection wants to take over: an administrator decides.
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useSearchParams } from 'wouter';
import { oneOf } from '../../app/address.ts';
import { screenPath } from '../../app/paths.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { ConfirmDialog } from '../../components/ConfirmDialog.tsx';
import { FilterBar, FilterReset } from '../../components/FilterBar.tsx';
import { TextField } from '../../components/forms.tsx';
import { Page } from '../../components/Page.tsx';
import { usePagedList } from '../../components/paging.ts';
import { StatusBadge } from '../../components/StatusBadge.tsx';
import { EmptyState } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import type {
  AdoptionDecision,
  AdoptionProposalFilter,
  AdoptionProposalState,
  ProposalsQuery,
} from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import { Details, useNumbers } from '../connections/parts.tsx';
import { FilterState } from './FilterState.tsx';
import { ProposalActions } from './ProposalActions.tsx';
import { ReviewTabs } from './ReviewTabs.tsx';
import { type Selection, Workbench } from './Workbench.tsx';
import { useBulk, useBulkResult } from './bulk.tsx';
import './review.css';

const proposalsQuery = graphql(`
  query Proposals($filter: AdoptionProposalFilter, $after: String, $users: Boolean!) {
    organization {
      id
      adoptionProposals(first: 25, after: $after, filter: $filter) {
        totalCount
        pageInfo { hasNextPage endCursor }
        nodes {
          id
          state
          cause
          attempts
          firstAt
          lastAt
          decidedAt
          reason @include(if: $users)
          attributes @include(if: $users)
          connection { id name }
          user @include(if: $users) { id userName displayName active }
        }
      }
    }
  }
`);

const decideMutation = graphql(`
  mutation AdoptionProposalsDecide($input: AdoptionProposalsDecideInput!) {
    adoptionProposalsDecide(input: $input) {
      doneCount
      skipped { reason message count ids }
      userErrors { code reason message nextStep }
    }
  }
`);

const STATES: readonly AdoptionProposalState[] = ['PENDING', 'ACCEPTED', 'DISMISSED'];
const pick = (data: ProposalsQuery) => data.organization?.adoptionProposals;

export default function ProposalsScreen() {
  const { t } = useTranslation('review');
  const { t: common } = useTranslation();
  const viewer = useViewer();
  const numbers = useNumbers();
  const users = viewer.may('USER_READ');
  const mayWrite = viewer.may('REVIEW_WRITE');
  const [params] = useSearchParams();
  const state = oneOf(STATES, params.get('state') ?? undefined) ?? 'PENDING';
  const filter: AdoptionProposalFilter = { states: [state] };
  const list = usePagedList(proposalsQuery, { filter, users }, pick);
  const [asking, setAsking] = useState<{ id: string; answer: 'accept' | 'dismiss' }>();
  const [deciding, setDeciding] = useState<{ selection: Selection; decision: AdoptionDecision }>();
  const [reason, setReason] = useState('');
  const decide = useBulk(decideMutation, (data) => data.adoptionProposalsDecide);
  const bulkResult = useBulkResult();
  return (
    <Page title={t('tab.proposals')} lead={t('proposal.lead')}>
      <ReviewTabs current="proposals" />
      <FilterBar label={t('filters')}>
        <FilterState
          label={t('filter.state')}
          otherwise={t('proposalState.PENDING')}
          choices={STATES.slice(1).map((value) => ({ value, text: t(`proposalState.${value}`) }))}
        />
        <FilterReset names={['state']} />
      </FilterBar>
      <Workbench
        label={t('tab.proposals')}
        rows={list.rows}
        total={list.total}
        loading={list.loading}
        problem={list.problem}
        hasMore={list.hasMore}
        onMore={list.loadMore}
        onReload={list.reload}
        empty={
          <EmptyState icon="check" title={t('proposal.none')}>
            <p>{t('proposal.noneText')}</p>
          </EmptyState>
        }
        name={(row) => row.user?.userName ?? row.id}
        line={(row) => (
          <>
            <span className="line-title">{row.user ? row.user.displayName || row.user.userName : t('proposal.account')}</span>
            <span className="line-text">{t(`proposalCause.${row.cause}`)}</span>
            <span className="line-foot">
              <StatusBadge tone={row.state === 'PENDING' ? 'warning' : 'quiet'}>{t(`proposalState.${row.state}`)}</StatusBadge>
              <span className="muted">
                {row.connection?.name} · <Time at={row.lastAt} />
              </span>
            </span>
          </>
        )}
        detail={(row) => (
          <article className="detail-view">
            <div className="detail-head">
              <h2>{row.user ? row.user.displayName || row.user.userName : t('proposal.account')}</h2>
              <StatusBadge tone={row.state === 'PENDING' ? 'warning' : 'quiet'}>{t(`proposalState.${row.state}`)}</StatusBadge>
            </div>
            <p>{t(`proposalCause.${row.cause}`)}</p>
            {row.state === 'PENDING' && (
              <ProposalActions
                key={row.id}
                proposal={row}
                asking={asking?.id === row.id ? asking.answer : undefined}
                onAsked={() => setAsking(undefined)}
                onDecided={list.reload}
              />
            )}
            <Details
              rows={[
                row.user && [
                  t('detail.user'),
                  <Link key="user" href={screenPath(viewer.organization.slug, `people/${encodeURIComponent(row.user.id)}`)}>
                    {row.user.userName}
                  </Link>,
                ],
                row.connection && [
                  t('detail.connection'),
                  <Link
                    key="connection"
                    href={screenPath(viewer.organization.slug, `connections/${encodeURIComponent(row.connection.id)}`)}
                  >
                    {row.connection.name}
                  </Link>,
                ],
                [t('proposal.attempts'), numbers.whole(row.attempts)],
                [t('detail.first'), <Time key="first" at={row.firstAt} />],
                [t('detail.last'), <Time key="last" at={row.lastAt} />],
                row.decidedAt != null && [t('detail.finished'), <Time key="decided" at={row.decidedAt} />],
                row.reason != null && [t('detail.reason'), row.reason],
              ]}
            />
            {row.attributes != null && (
              <details open>
                <summary>{t('proposal.attributes')}</summary>
                <pre tabIndex={0} className="json">
                  {JSON.stringify(row.attributes, null, 2)}
                </pre>
              </details>
            )}
          </article>
        )}
        linked={() => <EmptyState icon="person" title={t('none.linked')} />}
        shortcuts={
          mayWrite && state === 'PENDING'
            ? [
                { key: 'a', title: t('proposal.accept'), run: (row) => setAsking({ id: row.id, answer: 'accept' }) },
                { key: 'd', title: t('proposal.dismiss'), run: (row) => setAsking({ id: row.id, answer: 'dismiss' }) },
              ]
            : []
        }
        bulk={
          mayWrite && state === 'PENDING'
            ? (selection) => (
                <>
                  <Button onPress={() => setDeciding({ selection, decision: 'ACCEPT' })}>{t('proposal.accept')}</Button>
                  <Button onPress={() => setDeciding({ selection, decision: 'DISMISS' })}>{t('proposal.dismiss')}</Button>
                </>
              )
            : undefined
        }
      />
      <ConfirmDialog
        isOpen={deciding !== undefined}
        onClose={() => setDeciding(undefined)}
        title={t(deciding?.decision === 'ACCEPT' ? 'proposal.acceptMany' : 'proposal.dismissMany', {
          count: deciding?.selection.count ?? 0,
        })}
        consequences={
          deciding?.decision === 'ACCEPT'
            ? [t('proposal.acceptOwner'), t('proposal.acceptKeeps')]
            : [t('proposal.dismissKeeps'), t('proposal.dismissNext')]
        }
        confirmLabel={deciding?.decision === 'ACCEPT' ? t('proposal.accept') : t('proposal.dismiss')}
        onConfirm={async () => {
          if (!deciding) return undefined;
          const { selection, decision } = deciding;
          const answer = await decide({
            input: {
              ...(selection.all ? { filter } : { ids: [...selection.ids] }),
              decision,
              reason: reason.trim() || null,
            },
          });
          if ('problem' in answer) return answer.problem;
          bulkResult.show(answer.result);
          list.reload();
          return undefined;
        }}
      >
        <TextField label={common('dialog.reason')} value={reason} onChange={setReason} maxLength={1000} />
      </ConfirmDialog>
      {bulkResult.dialog}
    </Page>
  );
}
