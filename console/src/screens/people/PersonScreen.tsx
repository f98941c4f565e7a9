// One person: who it is, which roles it holds now or held at any instant, why, and what can be done about it.
import type { ReactNode } from 'react';
import { useTranslation } from 'react-i18next';
import { useQuery } from 'urql';
import { Link, useParams } from 'wouter';
import { screenPath } from '../../app/paths.ts';
import { useViewer } from '../../app/viewer.tsx';
import { useQueryValue } from '../../components/FilterBar.tsx';
import { Card, Page } from '../../components/Page.tsx';
import { EmptyState, ErrorPanel, Skeleton, toProblem } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import type { PersonQuery } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import { Story, showValue } from '../access/EventStory.tsx';
import { PersonState } from './PeopleScreen.tsx';
import { PersonActions } from './PersonActions.tsx';
import { PersonGroups } from './PersonGroups.tsx';
import { PersonRoles } from './PersonRoles.tsx';
import { WhyNot } from './WhyNot.tsx';

const personQuery = graphql(`
  query Person($id: ID!, $iam: Boolean!) {
    organization {
      id
      settledUntil @include(if: $iam)
      user(id: $id) {
        id
        userName
        displayName
        externalId
        active
        protected
        givenName
        familyName
        emails { value type primary }
        title
        department
        employeeNumber
        attributes
        origin
        createdAt
        updatedAt
        version
        connection @include(if: $iam) { id name state }
      }
    }
  }
`);

export type PersonParts = NonNullable<NonNullable<PersonQuery['organization']>['user']>;

export function PersonScreen() {
  const { id = '' } = useParams();
  // Another person is another screen: nothing of the last one may stay.
  return <OnePerson key={id} id={id} />;
}

function OnePerson({ id }: { id: string }) {
  const { t } = useTranslation('people');
  const viewer = useViewer();
  const iam = viewer.may('IAM_READ');
  const [asOf, setAsOf] = useQueryValue('asOf');
  const [{ data, error, fetching }, again] = useQuery({ query: personQuery, variables: { id, iam } });
  const person = data?.organization?.user;
  const list = screenPath(viewer.organization.slug, 'people');
  const breadcrumb = [{ text: t('title'), href: list }, { text: person?.displayName ?? '…' }];

  if (!person) {
    return (
      <Page title={error || !fetching ? t('one.missing') : t('one.loading')} breadcrumb={[{ text: t('title'), href: list }]}>
        {error ? (
          <ErrorPanel problem={toProblem(error)} onRetry={() => again({ requestPolicy: 'network-only' })} />
        ) : fetching ? (
          <Skeleton lines={10} />
        ) : (
          <EmptyState
            icon="person"
            title={t('one.missing')}
            actions={
              <Link className="button button-secondary" href={`${list}/deleted`}>
                {t('bin.title')}
              </Link>
            }
          >
            <p>{t('one.missingText')}</p>
          </EmptyState>
        )}
      </Page>
    );
  }
  const named = { id: person.id, name: person.displayName };
  return (
    <Page
      title={person.displayName}
      lead={
        <>
          <span dir="auto">{person.userName}</span> <PersonState person={person} />
        </>
      }
      breadcrumb={breadcrumb}
      actions={<PersonActions person={person} />}
    >
      {iam ? (
        <>
          <PersonRoles person={named} createdAt={person.createdAt} settledUntil={data.organization?.settledUntil ?? undefined} asOf={asOf} onAsOf={setAsOf} />
          <WhyNot person={named} />
        </>
      ) : (
        <Card title={t('roles.title')}>
          <p>{t('roles.needs')}</p>
        </Card>
      )}
      <div className="columns">
        <About person={person} />
        {iam && <PersonGroups person={named} />}
      </div>
      {viewer.may('AUDIT_READ') && (
        <Card title={t('history.title')}>
          <Story
            filter={{ concerns: person.id, notActions: ['USER_ACCESS_CHANGED'] }}
            href={`${screenPath(viewer.organization.slug, 'audit')}?concerns=${encodeURIComponent(person.id)}`}
            empty={<p>{t('history.empty')}</p>}
          />
        </Card>
      )}
    </Page>
  );
}

const SHOWN_ABOVE = new Set([
  'schemas',
  'id',
  'meta',
  'userName',
  'displayName',
  'active',
  'name',
  'emails',
  'title',
  'externalId',
  'groups',
]);

function About({ person }: { person: PersonParts }) {
  const { t } = useTranslation('people');
  const { t: common } = useTranslation();
  const viewer = useViewer();
  const attributes = typeof person.attributes === 'object' && person.attributes !== null ? Object.entries(person.attributes) : [];
  const others = attributes.filter(([name]) => !SHOWN_ABOVE.has(name));
  const rows: [string, string | null | undefined][] = [
    [t('about.userName'), person.userName],
    [t('about.givenName'), person.givenName],
    [t('about.familyName'), person.familyName],
    [t('about.email'), person.emails.map(({ value }) => value).join(', ')],
    [t('about.title'), person.title],
    [t('about.department'), person.department],
    [t('about.employeeNumber'), person.employeeNumber],
    [t('about.externalId'), person.externalId],
  ];
  return (
    <Card title={t('about.heading')}>
      <dl className="details">
        {rows
          .filter(([, value]) => value)
          .map(([label, value]) => (
            <Detail key={label} label={label}>
              <span dir="auto">{value}</span>
            </Detail>
          ))}
        <Detail label={t('about.origin')}>
          {person.connection ? (
            <Link href={screenPath(viewer.organization.slug, `connections/${encodeURIComponent(person.connection.id)}`)}>
              <span dir="auto">{person.connection.name}</span>
            </Link>
          ) : (
            t(`origin.${person.origin}`)
          )}
        </Detail>
        <Detail label={t('about.created')}>
          <Time at={person.createdAt} />
        </Detail>
        <Detail label={t('about.updated')}>
          <Time at={person.updatedAt} />
        </Detail>
        <Detail label={t('about.protected')}>{common(person.protected ? 'state.yes' : 'state.no')}</Detail>
      </dl>
      {others.length > 0 && (
        <details>
          <summary>{t('about.others', { count: others.length })}</summary>
          <dl className="details">
            {others.map(([name, value]) => (
              <Detail key={name} label={<code>{name}</code>}>
                <span dir="auto">{showValue(value)}</span>
              </Detail>
            ))}
          </dl>
        </details>
      )}
    </Card>
  );
}

function Detail({ label, children }: { label: ReactNode; children: ReactNode }) {
  return (
    <>
      <dt>{label}</dt>
      <dd>{children}</dd>
    </>
  );
}
