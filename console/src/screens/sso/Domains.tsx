// The organization's domains: asserted by an administrator until a record in the DNS proves them.
import { type FormEvent, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useAction } from '../../app/useAction.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { ConfirmDialog } from '../../components/ConfirmDialog.tsx';
import { CopyRow } from '../../components/CopyButton.tsx';
import { TextField } from '../../components/forms.tsx';
import { Card } from '../../components/Page.tsx';
import { ReasonField } from '../../components/ReasonField.tsx';
import { StatusBadge, type Tone } from '../../components/StatusBadge.tsx';
import { Banner, ErrorPanel, type Problem, Skeleton } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import { useMessageText } from '../../components/useServerText.ts';
import { notify } from '../../components/toasts.tsx';
import { TableFoot } from '../../components/DataTable.tsx';
import { usePagedList } from '../../components/paging.ts';
import type { DomainState, SsoDomainsQuery } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';

const domainsQuery = graphql(`
  query SsoDomains($after: String) {
    organization {
      id
      domains(first: 20, after: $after, orderBy: { field: NAME }) {
        totalCount
        pageInfo { hasNextPage endCursor }
        nodes { id name state recordName recordValue provenAt lostAt lastCheckedAt lastCheckError lastCheckErrorParts { code values } }
      }
    }
  }
`);

const addMutation = graphql(`
  mutation SsoDomainAdd($input: DomainAddInput!) {
    domainAdd(input: $input) {
      domain { id name state }
      userErrors { code reason message nextStep }
    }
  }
`);

const proveMutation = graphql(`
  mutation SsoDomainProve($input: DomainProveInput!) {
    domainProve(input: $input) {
      domain { id name state lastCheckError }
      userErrors { code reason message nextStep }
    }
  }
`);

const removeMutation = graphql(`
  mutation SsoDomainRemove($input: DomainRemoveInput!) {
    domainRemove(input: $input) {
      removedDomainId
      userErrors { code reason message nextStep }
    }
  }
`);

type Domain = NonNullable<NonNullable<SsoDomainsQuery['organization']>['domains']>['nodes'][number];

const pick = (data: SsoDomainsQuery) => data.organization?.domains;
const TONES: Record<DomainState, Tone> = { PROVEN: 'good', ASSERTED: 'warning', LOST: 'bad' };
const NOTHING = {};

export function DomainsCard() {
  const { t } = useTranslation('sso');
  const viewer = useViewer();
  const list = usePagedList(domainsQuery, NOTHING, pick);
  return (
    <Card title={t('domains.title')} id="domains">
      <p className="muted">{t('domains.text')}</p>
      {list.problem && <ErrorPanel problem={list.problem} onRetry={list.reload} />}
      {list.loading && list.rows.length === 0 && <Skeleton lines={2} />}
      {!list.loading && !list.problem && list.rows.length === 0 && <p>{t('domains.none')}</p>}
      {list.rows.length > 0 && (
        <ul className="plain entries">
          {list.rows.map((domain) => (
            <li key={domain.id}>
              <DomainEntry domain={domain} onChanged={list.reload} />
            </li>
          ))}
        </ul>
      )}
      {list.hasMore && list.rows.length > 0 && (
        <TableFoot shown={list.rows.length} total={list.total} loading={list.loading} onMore={list.loadMore} />
      )}
      {viewer.may('IAM_WRITE') && <AddForm onAdded={list.reload} />}
    </Card>
  );
}

function DomainEntry({ domain, onChanged }: { domain: Domain; onChanged: () => void }) {
  const { t } = useTranslation('sso');
  const viewer = useViewer();
  const say = useMessageText();
  const mayWrite = viewer.may('IAM_WRITE');
  const { run: prove, running } = useAction(proveMutation);
  const { run: remove } = useAction(removeMutation);
  const [problem, setProblem] = useState<Problem>();
  const [asking, setAsking] = useState(false);
  const [reason, setReason] = useState('');
  const look = async () => {
    const answer = await prove({ input: { id: domain.id } });
    setProblem(answer.problem);
    if (answer.payload?.domain?.state === 'PROVEN') notify({ kind: 'success', text: t('domains.proven', { name: domain.name }) });
    onChanged();
  };
  const since = domain.state === 'PROVEN' ? domain.provenAt : domain.lostAt;
  return (
    <article className="entry">
      <div className="entry-head">
        <h3>
          <bdi>{domain.name}</bdi>
        </h3>
        <StatusBadge tone={TONES[domain.state]}>{t(`domains.state.${domain.state}`)}</StatusBadge>
        {since && (
          <span className="muted">
            <Time at={since} />
          </span>
        )}
      </div>
      {domain.state !== 'PROVEN' && (
        <>
          <p>{t(`domains.means.${domain.state}`)}</p>
          <ol className="proof-steps">
            <li>
              {t('domains.step1')}
              <dl>
                <CopyRow label={t('domains.recordName')} text={domain.recordName} />
                <CopyRow label={t('domains.recordValue')} text={domain.recordValue} />
              </dl>
            </li>
            <li>{t('domains.step2')}</li>
            <li>{t('domains.step3')}</li>
          </ol>
        </>
      )}
      {problem && <ErrorPanel problem={problem} />}
      {!problem && domain.lastCheckError && <Banner kind="warning" title={say(domain.lastCheckError, domain.lastCheckErrorParts)} />}
      {domain.lastCheckedAt && (
        <p className="muted">
          {t('domains.checked')} <Time at={domain.lastCheckedAt} />
        </p>
      )}
      {mayWrite && (
        <div className="actions">
          <Button icon="reload" busy={running} onPress={() => void look()} aria-label={`${t(domain.state === 'PROVEN' ? 'domains.again' : 'domains.prove')}: ${domain.name}`}>
            {t(domain.state === 'PROVEN' ? 'domains.again' : 'domains.prove')}
          </Button>
          <Button kind="quiet" icon="trash" onPress={() => setAsking(true)} aria-label={t('domains.removeName', { name: domain.name })}>
            {t('domains.remove')}
          </Button>
        </div>
      )}
      <ConfirmDialog
        isOpen={asking}
        onClose={() => setAsking(false)}
        title={t('domains.removeTitle', { name: domain.name })}
        consequences={[t('domains.removeLinks'), t('domains.removeKeeps')]}
        confirmLabel={t('domains.remove')}
        danger
        onConfirm={async () => {
          const answer = await remove({ input: { id: domain.id, reason: reason.trim() || null } });
          if (!answer.problem) onChanged();
          return answer.problem;
        }}
      >
        <ReasonField value={reason} onChange={setReason} />
      </ConfirmDialog>
    </article>
  );
}

function AddForm({ onAdded }: { onAdded: () => void }) {
  const { t } = useTranslation('sso');
  const { run, running } = useAction(addMutation);
  const [name, setName] = useState('');
  const [problem, setProblem] = useState<Problem>();
  const add = async (event: FormEvent) => {
    event.preventDefault();
    if (!name.trim()) return;
    const answer = await run({ input: { name: name.trim() } });
    setProblem(answer.problem);
    if (answer.problem) return;
    setName('');
    onAdded();
  };
  return (
    <form className="form add-domain" onSubmit={(event) => void add(event)}>
      <TextField label={t('domains.name')} help={t('domains.nameHelp')} technical required maxLength={253} value={name} onChange={setName} />
      {problem && <ErrorPanel problem={problem} />}
      <div className="actions">
        <Button type="submit" busy={running} isDisabled={!name.trim()}>
          {t('domains.add')}
        </Button>
      </div>
    </form>
  );
}
