// One mapping: what it gives, each state that it has had, with who made it and why.
import { useTranslation } from 'react-i18next';
import { useQuery } from 'urql';
import { Link, useLocation, useParams } from 'wouter';
import { screenPath } from '../../app/paths.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { Card, Page } from '../../components/Page.tsx';
import { EmptyState, ErrorPanel, Skeleton, toProblem } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import { graphql } from '../../generated/index.ts';
import { Chain } from '../access/AccessChain.tsx';
import { Story } from '../access/EventStory.tsx';
import { MappingStateBadge } from '../access/MappingStateBadge.tsx';
import { useDrafts } from './drafts.ts';
import { useMappingFrom } from './mappingText.ts';
import './mappings.css';

const mappingQuery = graphql(`
  query Mapping($id: ID!, $audit: Boolean!) {
    node(id: $id) {
      id
      ... on RoleMapping {
        state
        reason
        since
        until
        expiresAt
        group { id displayName memberCount }
        awaits { attribute value connection { id name } }
        allUsersOf { id name }
        role { id name management permissions }
        history {
          reason
          since
          until
          group { id displayName }
          role { id name }
          begunBy @include(if: $audit) { ...LinkMaker }
          endedBy @include(if: $audit) { ...LinkMaker }
        }
      }
    }
  }
`);

export function MappingScreen() {
  const { id = '' } = useParams();
  return <OneMapping key={id} id={id} />;
}

function OneMapping({ id }: { id: string }) {
  const { t } = useTranslation('mappings');
  const { t: shared } = useTranslation('access');
  const viewer = useViewer();
  const audit = viewer.may('AUDIT_READ');
  const [, navigate] = useLocation();
  const { add } = useDrafts();
  const from = useMappingFrom();
  const [{ data, error, fetching }, again] = useQuery({ query: mappingQuery, variables: { id, audit } });
  const mapping = data?.node && 'state' in data.node ? data.node : undefined;
  const list = screenPath(viewer.organization.slug, 'mappings');
  if (!mapping) {
    return (
      <Page title={error || !fetching ? t('one.missing') : t('one.loading')} breadcrumb={[{ text: t('title'), href: list }]}>
        {error ? (
          <ErrorPanel problem={toProblem(error)} onRetry={() => again({ requestPolicy: 'network-only' })} />
        ) : fetching ? (
          <Skeleton lines={8} />
        ) : (
          <EmptyState icon="mapping" title={t('one.missing')}>
            <p>{t('one.missingText')}</p>
          </EmptyState>
        )}
      </Page>
    );
  }
  const names = { from: from(mapping), role: mapping.role?.name ?? t('from.deletedRole') };
  const title = `${names.from} → ${names.role}`;
  const live = mapping.state === 'ACTIVE' || mapping.state === 'WAITING';
  const path = (screen: string, objectId: string) => screenPath(viewer.organization.slug, `${screen}/${encodeURIComponent(objectId)}`);
  const collect = (kind: 'remove' | 'restore') => {
    add({ key: mapping.id, kind, ...names, edit: kind === 'remove' ? { removeMapping: { id: mapping.id } } : { restoreMapping: { id: mapping.id } } });
    navigate(`${list}/edit`);
  };
  return (
    <Page
      title={title}
      lead={<MappingStateBadge state={mapping.state} />}
      breadcrumb={[{ text: t('title'), href: list }, { text: title }]}
      actions={
        viewer.may('ACCESS_WRITE') && (
          <>
            {live && (
              <Link className="button button-secondary" href={`${list}/edit?change=${encodeURIComponent(mapping.id)}`}>
                {t('one.change')}
              </Link>
            )}
            {live && (
              <Button kind="danger" onPress={() => collect('remove')}>
                {t('remove')}
              </Button>
            )}
            {mapping.state === 'REMOVED' && <Button onPress={() => collect('restore')}>{t('restore')}</Button>}
          </>
        )
      }
    >
      <Card title={t('one.what')}>
        <Chain
          label={title}
          boxes={[
            {
              key: 'from',
              icon: mapping.allUsersOf ? 'plug' : 'groups',
              kind: shared(mapping.allUsersOf ? 'chain.connection' : 'chain.group'),
              name: names.from,
              href: mapping.group ? path('groups', mapping.group.id) : mapping.allUsersOf ? path('connections', mapping.allUsersOf.id) : undefined,
              missing: mapping.state === 'WAITING',
              note: mapping.group ? t('one.members', { count: mapping.group.memberCount }) : undefined,
            },
            {
              key: 'role',
              icon: 'role',
              kind: shared('chain.role'),
              name: names.role,
              href: mapping.role ? path('roles', mapping.role.id) : undefined,
              note: mapping.role?.permissions.join(', '),
            },
          ]}
          links={[{ text: t(live ? 'one.gives' : 'one.gave'), missing: !live }]}
        />
        <dl className="details">
          <dt>{t('one.reason')}</dt>
          <dd dir="auto">{mapping.reason ?? t('noReason')}</dd>
          <dt>{t('column.since')}</dt>
          <dd>
            <Time at={mapping.since} exact />
          </dd>
          {(mapping.until ?? mapping.expiresAt) && (
            <>
              <dt>{t('column.ends')}</dt>
              <dd>
                <Time at={mapping.until ?? mapping.expiresAt ?? ''} exact />
              </dd>
            </>
          )}
        </dl>
      </Card>
      <Card title={t('one.history')}>
        <ol className="story">
          {(mapping.history ?? []).map((period, index) => (
            <li key={index} className="story-item">
              <div className="story-head">
                <strong dir="auto">
                  {period.group?.displayName ?? names.from} → {period.role?.name ?? names.role}
                </strong>
                <span className="muted">
                  <Time at={period.since} exact /> – {period.until ? <Time at={period.until} exact /> : t('one.today')}
                </span>
              </div>
              {period.reason && <p dir="auto">{period.reason}</p>}
              {period.begunBy && (
                <p className="muted">
                  {t('one.begun')} <span dir="auto">{period.begunBy.actor.name}</span>
                  {period.endedBy && (
                    <>
                      {' · '}
                      {t('one.ended')} <span dir="auto">{period.endedBy.actor.name}</span>
                    </>
                  )}
                </p>
              )}
            </li>
          ))}
        </ol>
      </Card>
      {audit && (
        <Card title={t('history.title')}>
          <Story
            filter={{ concerns: mapping.id, notActions: ['USER_ACCESS_CHANGED'] }}
            href={`${screenPath(viewer.organization.slug, 'audit')}?concerns=${encodeURIComponent(mapping.id)}`}
            empty={<p>{t('history.empty')}</p>}
          />
        </Card>
      )}
    </Page>
  );
}
