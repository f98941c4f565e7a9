// The roles that were granted by hand: each can end here, after a preview.
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useQuery } from 'urql';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { PlainDialog } from '../../components/ConfirmDialog.tsx';
import { EmptyState, ErrorPanel, Skeleton, toProblem } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import type { AccessEditInput, GrantsQuery } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import type { Named } from '../access/AccessChain.tsx';
import { AccessPreviewPanel } from '../access/AccessPreview.tsx';
import { ReasonField } from '../../components/ReasonField.tsx';

const grantsQuery = graphql(`
  query Grants($id: ID!, $audit: Boolean!) {
    organization {
      id
      roleGrants(first: 100, filter: { userId: $id, includeEnded: true }, orderBy: { field: CREATED_AT, direction: DESC }) {
        nodes {
          id
          reason
          since
          until
          expiresAt
          role { id name }
          grantedBy @include(if: $audit) { id at actor { name } }
        }
      }
    }
  }
`);

type Grant = NonNullable<NonNullable<GrantsQuery['organization']>['roleGrants']>['nodes'][number];

interface GrantsDialogProps {
  isOpen: boolean;
  onClose: () => void;
  person: Named;
}

export function GrantsDialog({ isOpen, onClose, person }: GrantsDialogProps) {
  const { t } = useTranslation('people');
  return (
    <PlainDialog isOpen={isOpen} onClose={onClose} title={t('grants.of', { name: person.name })}>
      {isOpen && <GrantList onClose={onClose} person={person} />}
    </PlainDialog>
  );
}

function GrantList({ onClose, person }: Omit<GrantsDialogProps, 'isOpen'>) {
  const { t } = useTranslation('people');
  const { t: common } = useTranslation();
  const viewer = useViewer();
  const [ending, setEnding] = useState<Grant>();
  const [reason, setReason] = useState('');
  const [{ data, error }] = useQuery({
    query: grantsQuery,
    variables: { id: person.id, audit: viewer.may('AUDIT_READ') },
    requestPolicy: 'cache-and-network',
  });
  const edits = useMemo<AccessEditInput[]>(
    () => (ending ? [{ removeGrant: { id: ending.id, reason: reason.trim() || null } }] : []),
    [ending, reason],
  );
  if (ending) {
    return (
      <>
        <p dir="auto">{t('grants.ending', { person: person.name, role: ending.role?.name ?? '' })}</p>
        <ReasonField value={reason} onChange={setReason} />
        <AccessPreviewPanel
          edits={edits}
          applyLabel={t('grants.end')}
          doneText={t('grants.ended', { role: ending.role?.name ?? '' })}
          danger
          onApplied={onClose}
          onCancel={() => setEnding(undefined)}
        />
      </>
    );
  }
  const grants = data?.organization?.roleGrants?.nodes;
  return (
    <>
      {error && <ErrorPanel problem={toProblem(error)} />}
      {!grants && !error && <Skeleton lines={3} />}
      {grants?.length === 0 && (
        <EmptyState icon="key" title={t('grants.none')}>
          <p>{t('grants.noneText')}</p>
        </EmptyState>
      )}
      <ul className="plain">
        {(grants ?? []).map((grant) => (
          <li key={grant.id} className="grant-item">
            <div>
              <strong dir="auto">{grant.role?.name ?? '–'}</strong> {grant.reason && <q dir="auto">{grant.reason}</q>}
              <p className="muted">
                {t('grants.since')} <Time at={grant.since} />
                {grant.grantedBy && ` · ${grant.grantedBy.actor.name}`}
                {grant.until && (
                  <>
                    {' · '}
                    {t('grants.until')} <Time at={grant.until} />
                  </>
                )}
                {!grant.until && grant.expiresAt && (
                  <>
                    {' · '}
                    {t('grants.planned')} <Time at={grant.expiresAt} exact />
                  </>
                )}
              </p>
            </div>
            {!grant.until && (
              <Button aria-label={t('grants.endName', { role: grant.role?.name ?? '' })} onPress={() => setEnding(grant)}>
                {t('grants.end')}
              </Button>
            )}
          </li>
        ))}
      </ul>
      <div className="actions dialog-actions">
        <Button onPress={onClose}>{common('dialog.close')}</Button>
      </div>
    </>
  );
}
