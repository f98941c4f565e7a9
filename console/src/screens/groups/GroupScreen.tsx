// One group: who is in it, how it is nested, and which roles it gives.
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useQuery } from 'urql';
import { Link, useLocation, useParams } from 'wouter';
import { screenPath } from '../../app/paths.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { PlainDialog } from '../../components/ConfirmDialog.tsx';
import { Card, Page } from '../../components/Page.tsx';
import { EmptyState, ErrorPanel, Skeleton, toProblem } from '../../components/states.tsx';
import { StatusBadge } from '../../components/StatusBadge.tsx';
import { Time } from '../../components/Time.tsx';
import type { GroupQuery } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import { SourceChain } from '../access/AccessChain.tsx';
import { AccessPreviewPanel } from '../access/AccessPreview.tsx';
import { Story } from '../access/EventStory.tsx';
import { ReasonField } from '../../components/ReasonField.tsx';
import { MappingStateBadge } from '../access/MappingStateBadge.tsx';
import { GroupMembers } from './GroupMembers.tsx';
import { GroupNameDialog } from './GroupNameDialog.tsx';
import { GroupTree } from './GroupTree.tsx';

const groupQuery = graphql(`
  query Group($id: ID!, $audit: Boolean!) {
    organization {
      id
      group(id: $id) {
        id
        displayName
        externalId
        memberCount
        createdAt
        updatedAt
        version
        connection { id name state }
        parents(first: 100, orderBy: { field: DISPLAY_NAME }) { totalCount nodes { id displayName } }
        effectiveRoles {
          role { id name management }
          sources { ...AccessSource }
        }
        roleMappings { id state reason since expiresAt role { id name management } }
      }
    }
  }
`);

export type GroupParts = NonNullable<NonNullable<GroupQuery['organization']>['group']>;

export function GroupScreen() {
  const { id = '' } = useParams();
  return <OneGroup key={id} id={id} />;
}

function OneGroup({ id }: { id: string }) {
  const { t, i18n } = useTranslation('groups');
  const viewer = useViewer();
  const [{ data, error, fetching }, again] = useQuery({ query: groupQuery, variables: { id, audit: viewer.may('AUDIT_READ') } });
  const group = data?.organization?.group;
  const list = screenPath(viewer.organization.slug, 'groups');
  if (!group) {
    return (
      <Page title={error || !fetching ? t('one.missing') : t('one.loading')} breadcrumb={[{ text: t('title'), href: list }]}>
        {error ? (
          <ErrorPanel problem={toProblem(error)} onRetry={() => again({ requestPolicy: 'network-only' })} />
        ) : fetching ? (
          <Skeleton lines={10} />
        ) : (
          <EmptyState
            icon="groups"
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
  const path = (screen: string, objectId: string) => screenPath(viewer.organization.slug, `${screen}/${encodeURIComponent(objectId)}`);
  const effective = group.effectiveRoles ?? [];
  return (
    <Page
      title={group.displayName}
      lead={t('one.lead', { count: group.memberCount, source: group.connection?.name ?? t('manual') })}
      breadcrumb={[{ text: t('title'), href: list }, { text: group.displayName }]}
      actions={<GroupActions group={group} />}
    >
      <Card
        title={t('roles.title')}
        actions={
          viewer.may('ACCESS_WRITE') && (
            <Link
              className="button button-secondary"
              href={`${screenPath(viewer.organization.slug, 'mappings/edit')}?group=${encodeURIComponent(group.id)}`}
            >
              {t('roles.map')}
            </Link>
          )
        }
      >
        {effective.length === 0 && (
          <EmptyState icon="role" title={t('roles.none')}>
            <p>{t('roles.noneText')}</p>
          </EmptyState>
        )}
        {effective.map(({ role, sources }) => (
          <section key={role.id} className="held-role-body">
            <h3 dir="auto">
              {role.name} {role.management && <StatusBadge tone="info">{t('roles.management')}</StatusBadge>}
            </h3>
            {sources.map((source, index) => (
              <SourceChain key={index} person={{ id: group.id, name: group.displayName }} role={role} source={source} showPerson={false} />
            ))}
          </section>
        ))}
        {group.roleMappings.length > 0 && (
          <details>
            <summary>{t('roles.mappings', { count: group.roleMappings.length })}</summary>
            <ul className="plain name-list">
              {group.roleMappings.map((mapping) => (
                <li key={mapping.id}>
                  <Link href={path('mappings', mapping.id)}>
                    <span dir="auto">{mapping.role?.name ?? '–'}</span>
                  </Link>{' '}
                  <MappingStateBadge state={mapping.state} /> <span dir="auto">{mapping.reason}</span>
                </li>
              ))}
            </ul>
          </details>
        )}
      </Card>
      <div className="columns">
        <Card title={t('tree.title')}>
          {(group.parents?.nodes.length ?? 0) > 0 && (
            <div>
              <h3>{t('tree.parents')}</h3>
              <ul className="plain name-list">
                {group.parents?.nodes.map((parent) => (
                  <li key={parent.id}>
                    <Link href={path('groups', parent.id)}>
                      <span dir="auto">{parent.displayName}</span>
                    </Link>
                  </li>
                ))}
              </ul>
            </div>
          )}
          {viewer.may('USER_READ') ? <GroupTree root={{ id: group.id, name: group.displayName }} /> : <p>{t('members.needs')}</p>}
        </Card>
        <Card title={t('about.title')}>
          <dl className="details">
            <dt>{t('about.source')}</dt>
            <dd dir="auto">{group.connection ? <Link href={path('connections', group.connection.id)}>{group.connection.name}</Link> : t('manual')}</dd>
            <dt>{t('about.members')}</dt>
            <dd>{new Intl.NumberFormat(i18n.language).format(group.memberCount)}</dd>
            {group.externalId && (
              <>
                <dt>{t('about.externalId')}</dt>
                <dd dir="auto">{group.externalId}</dd>
              </>
            )}
            <dt>{t('about.created')}</dt>
            <dd>
              <Time at={group.createdAt} />
            </dd>
            <dt>{t('about.updated')}</dt>
            <dd>
              <Time at={group.updatedAt} />
            </dd>
          </dl>
        </Card>
      </div>
      <GroupMembers group={group} />
      {viewer.may('AUDIT_READ') && (
        <Card title={t('history.title')}>
          <Story
            filter={{ concerns: group.id, notActions: ['USER_ACCESS_CHANGED'] }}
            href={`${screenPath(viewer.organization.slug, 'audit')}?concerns=${encodeURIComponent(group.id)}`}
            empty={<p>{t('history.empty')}</p>}
          />
        </Card>
      )}
    </Page>
  );
}

function GroupActions({ group }: { group: GroupParts }) {
  const { t } = useTranslation('groups');
  const viewer = useViewer();
  const [, navigate] = useLocation();
  const [open, setOpen] = useState<'rename' | 'delete'>();
  const [reason, setReason] = useState('');
  if (!viewer.may('USER_WRITE')) return null;
  return (
    <>
      <Button onPress={() => setOpen('rename')}>{t('rename.open')}</Button>
      {viewer.may('ACCESS_WRITE') && (
        <Button kind="danger" icon="trash" onPress={() => setOpen('delete')}>
          {t('delete.open')}
        </Button>
      )}
      <GroupNameDialog isOpen={open === 'rename'} onClose={() => setOpen(undefined)} onDone={() => setOpen(undefined)} group={group} />
      <PlainDialog isOpen={open === 'delete'} onClose={() => setOpen(undefined)} title={t('delete.title', { name: group.displayName })}>
        <ul className="consequences">
          <li>{t('delete.roles')}</li>
          <li>{t('delete.bin')}</li>
          {group.connection && <li>{t('delete.owned', { name: group.connection.name })}</li>}
        </ul>
        <ReasonField value={reason} onChange={setReason} />
        <AccessPreviewPanel
          edits={[{ deleteGroup: { id: group.id, expectedVersion: group.version, reason: reason.trim() || null } }]}
          applyLabel={t('delete.action')}
          doneText={t('delete.done', { name: group.displayName })}
          danger
          onApplied={() => navigate(screenPath(viewer.organization.slug, 'groups'))}
          onCancel={() => setOpen(undefined)}
        />
      </PlainDialog>
    </>
  );
}
