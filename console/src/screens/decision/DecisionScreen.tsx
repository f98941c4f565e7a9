// "May this person do that?": the answer that applications get, with its reason.
import { type FormEvent, useEffect, useId, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useQuery } from 'urql';
import { Link, useSearchParams } from 'wouter';
import { screenPath } from '../../app/paths.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { Card, Page } from '../../components/Page.tsx';
import { Banner, ErrorPanel, Skeleton, toProblem } from '../../components/states.tsx';
import { TextField } from '../../components/forms.tsx';
import type { DecisionQuery } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';

const decisionQuery = graphql(`
  query Decision($subject: String!, $permission: String!, $iam: Boolean!, $people: Boolean!) {
    organization {
      id
      decision(subject: $subject, permission: $permission) {
        allowed
        reason
        message
        roles @include(if: $iam) { id name }
      }
      roles(first: 20, filter: { permission: $permission }, orderBy: { field: NAME }) @include(if: $iam) { nodes { id name } }
      user(userName: $subject) @include(if: $people) { id displayName }
    }
  }
`);

const suggestionsQuery = graphql(`
  query DecisionPermissions { organization { id roles(first: 100) { nodes { id permissions } } } }
`);

type Answer = NonNullable<DecisionQuery['organization']>;

export function DecisionScreen() {
  const { t } = useTranslation('decision');
  const viewer = useViewer();
  const [params, setParams] = useSearchParams();
  const subject = params.get('subject') ?? '';
  const permission = params.get('permission') ?? '';
  const [who, setWho] = useState(subject);
  const [what, setWhat] = useState(permission);
  useEffect(() => {
    setWho(subject);
    setWhat(permission);
  }, [subject, permission]);
  const asked = subject !== '' && permission !== '';
  const [{ data, error, fetching }, again] = useQuery({
    query: decisionQuery,
    variables: { subject, permission, iam: viewer.may('IAM_READ'), people: viewer.may('USER_READ') },
    pause: !asked,
    requestPolicy: 'network-only',
  });
  const ask = (event: FormEvent) => {
    event.preventDefault();
    const next = { subject: who.trim(), permission: what.trim() };
    if (!next.subject || !next.permission) return;
    // The same question again is a new look: the answer may have changed meanwhile.
    if (next.subject === subject && next.permission === permission) again({ requestPolicy: 'network-only' });
    else setParams(next);
  };
  return (
    <Page title={t('title')} lead={t('lead')}>
      <Card title={t('question')}>
        <form className="form" onSubmit={ask}>
          <TextField label={t('subject')} help={t('subjectHelp')} value={who} onChange={setWho} required technical maxLength={512} />
          <PermissionField value={what} onChange={setWhat} />
          <div className="actions">
            <Button kind="primary" icon="search" type="submit" busy={asked && fetching}>
              {t('ask')}
            </Button>
          </div>
        </form>
      </Card>
      {asked && error && <ErrorPanel problem={toProblem(error)} onRetry={() => again({ requestPolicy: 'network-only' })} />}
      {asked && !error && !data && <Skeleton lines={3} />}
      {asked && !error && data?.organization?.decision && <AnswerCard answer={data.organization} subject={subject} permission={permission} />}
      <Banner kind="info" title={t('apps.title')}>
        <p>{t('apps.text')}</p>
      </Banner>
    </Page>
  );
}

/** A permission as roles name it; those of the roles here are suggested. */
function PermissionField({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  const { t } = useTranslation('decision');
  const viewer = useViewer();
  const id = useId();
  const [{ data }] = useQuery({ query: suggestionsQuery, pause: !viewer.may('IAM_READ') });
  const known = [...new Set((data?.organization?.roles?.nodes ?? []).flatMap(({ permissions }) => permissions))].toSorted();
  return (
    <div className="field">
      <label htmlFor={id}>{t('permission')}</label>
      <input
        id={id}
        value={value}
        required
        maxLength={256}
        list={`${id}-known`}
        dir="ltr"
        autoComplete="off"
        spellCheck={false}
        aria-describedby={`${id}-help`}
        onChange={(event) => onChange(event.target.value)}
      />
      <datalist id={`${id}-known`}>
        {known.map((name) => (
          <option key={name} value={name} />
        ))}
      </datalist>
      <p className="muted field-help" id={`${id}-help`}>
        {t('permissionHelp')}
      </p>
    </div>
  );
}

function AnswerCard({ answer, subject, permission }: { answer: Answer; subject: string; permission: string }) {
  const { t, i18n } = useTranslation('decision');
  const { organization } = useViewer();
  const decision = answer.decision;
  if (!decision) return null;
  const path = (screen: string, id: string) => screenPath(organization.slug, `${screen}/${encodeURIComponent(id)}`);
  const person = answer.user;
  const givers = (decision.allowed ? decision.roles : answer.roles?.nodes) ?? [];
  return (
    <Card
      title={t('answer')}
      actions={person && <Link href={path('people', person.id)}>{t('openPerson', { name: person.displayName })}</Link>}
    >
      <div role="status">
        <Banner kind={decision.allowed ? 'success' : 'warning'} title={t(decision.allowed ? 'allowed' : 'denied', { subject, permission })}>
          <p>{i18n.language === 'en' ? decision.message : t(`reasons.${decision.reason}`)}</p>
        </Banner>
      </div>
      <dl className="details">
        <dt>{t('reason')}</dt>
        <dd>
          {t(`reasons.${decision.reason}`)} <code>{decision.reason}</code>
        </dd>
        {givers.length > 0 && (
          <>
            <dt>{t(decision.allowed ? 'by' : 'wouldGive')}</dt>
            <dd>
              <ul className="plain inline">
                {givers.map((role) => (
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
      </dl>
      {decision.reason === 'NOT_GRANTED' && <p className="muted">{t(answer.roles?.nodes.length === 0 ? 'noRole' : 'next')}</p>}
    </Card>
  );
}
