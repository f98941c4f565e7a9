// The roles of a person now or at an instant, each with the chain that gives it, and what they permit.
import { useMemo } from 'react';
import { useTranslation } from 'react-i18next';
import { useQuery } from 'urql';
import { useViewer } from '../../app/viewer.tsx';
import { DataTable } from '../../components/DataTable.tsx';
import { useQueryValue } from '../../components/FilterBar.tsx';
import { Icon } from '../../components/Icon.tsx';
import { Card } from '../../components/Page.tsx';
import { EmptyState, ErrorPanel, Skeleton, toProblem } from '../../components/states.tsx';
import { StatusBadge } from '../../components/StatusBadge.tsx';
import type { PersonRolesQuery } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import { type Named, SourceChain, useSourceText } from '../access/AccessChain.tsx';
import { type Stop, TimeMachine } from './TimeMachine.tsx';

const personRolesQuery = graphql(`
  query PersonRoles($id: ID!, $asOf: DateTime, $audit: Boolean!) {
    organization {
      id
      user(id: $id) {
        id
        roles(asOf: $asOf) {
          role { id name description management permissions priority }
          sources { ...AccessSource }
        }
      }
    }
  }
`);

const personChangesQuery = graphql(`
  query PersonChanges($id: ID!) {
    organization {
      id
      events(first: 100, filter: { concerns: $id }) { nodes { id at action subjectName after } }
    }
  }
`);

type HeldRole = NonNullable<NonNullable<NonNullable<PersonRolesQuery['organization']>['user']>['roles']>[number];

interface PersonRolesProps {
  person: Named;
  createdAt: string;
  settledUntil: string | undefined;
  asOf: string | undefined;
  onAsOf: (asOf: string | undefined) => void;
}

/** The instant at which access changed: the ledger notes what followed for each account a moment later. */
function instantOf(event: { at: string; after?: unknown }): string {
  const after = event.after;
  if (typeof after === 'object' && after !== null && 'cause' in after) {
    const cause = after.cause;
    if (typeof cause === 'object' && cause !== null && 'at' in cause && typeof cause.at === 'string') return cause.at;
  }
  return event.at;
}

export function PersonRoles({ person, createdAt, settledUntil, asOf, onAsOf }: PersonRolesProps) {
  const { t } = useTranslation('people');
  const { t: common } = useTranslation();
  const viewer = useViewer();
  const audit = viewer.may('AUDIT_READ');
  const [opened, setOpened] = useQueryValue('role');
  const [{ data, error, fetching }, again] = useQuery({
    query: personRolesQuery,
    variables: { id: person.id, asOf: asOf ?? null, audit },
  });
  const [changes] = useQuery({ query: personChangesQuery, variables: { id: person.id }, pause: !audit });
  const stops = useMemo<Stop[]>(() => {
    const nodes = changes.data?.organization?.events?.nodes ?? [];
    const found = nodes.map((event) => ({ at: instantOf(event), text: common(`action.${event.action}`) }));
    if (!audit || found.length === 0) found.push({ at: createdAt, text: common('action.USER_CREATED') });
    found.sort((a, b) => Date.parse(a.at) - Date.parse(b.at));
    return found.filter((stop, index) => stop.at !== found[index + 1]?.at);
  }, [changes.data, audit, common, createdAt]);
  const roles = data?.organization?.user?.roles;

  return (
    <Card title={t('roles.title')} id="roles">
      <TimeMachine stops={stops} since={createdAt} until={settledUntil} asOf={asOf} onChange={onAsOf} />
      {error && <ErrorPanel problem={toProblem(error)} onRetry={() => again({ requestPolicy: 'network-only' })} />}
      {!roles && fetching && <Skeleton lines={4} />}
      {roles && (
        <div className={fetching ? 'roles-list refreshing' : 'roles-list'} aria-busy={fetching}>
          <p className="visually-hidden" role="status">
            {t('roles.count', { count: roles.length })}
          </p>
          {roles.length === 0 && (
            <EmptyState icon="role" title={asOf === undefined ? t('roles.none') : t('roles.noneThen')}>
              <p>{t('roles.noneText')}</p>
            </EmptyState>
          )}
          {roles.map((held, index) => (
            <HeldRoleItem
              key={held.role.id}
              person={person}
              held={held}
              isOpen={opened === undefined ? index === 0 : opened === held.role.id}
              onToggle={(open) => setOpened(open ? held.role.id : 'none')}
            />
          ))}
          {roles.length > 0 && <Permissions roles={roles} />}
        </div>
      )}
    </Card>
  );
}

interface HeldRoleItemProps {
  person: Named;
  held: HeldRole;
  isOpen: boolean;
  onToggle: (open: boolean) => void;
}

function HeldRoleItem({ person, held, isOpen, onToggle }: HeldRoleItemProps) {
  const { t } = useTranslation('people');
  const sourceText = useSourceText();
  const { role, sources } = held;
  return (
    <section className="held-role">
      <h3>
        <button type="button" className="held-role-head" aria-expanded={isOpen} onClick={() => onToggle(!isOpen)}>
          <Icon name="chevronDown" />
          <span dir="auto">{role.name}</span>
          {role.management && <StatusBadge tone="info">{t('roles.management')}</StatusBadge>}
          <small className="muted" dir="auto">
            {sources.map(sourceText).join(' · ')}
          </small>
        </button>
      </h3>
      <div className={isOpen ? 'held-role-body' : 'held-role-body print-block'}>
        {role.description && <p dir="auto">{role.description}</p>}
        {sources.map((source, index) => (
          <SourceChain key={index} person={person} role={role} source={source} />
        ))}
      </div>
    </section>
  );
}

/** What the person may do, and which role gives it. */
function Permissions({ roles }: { roles: readonly HeldRole[] }) {
  const { t } = useTranslation('people');
  const rows = useMemo(() => {
    const byPermission = new Map<string, string[]>();
    for (const { role } of roles) {
      for (const permission of role.permissions) byPermission.set(permission, [...(byPermission.get(permission) ?? []), role.name]);
    }
    return [...byPermission].map(([permission, names]) => ({ permission, names })).sort((a, b) => (a.permission < b.permission ? -1 : 1));
  }, [roles]);
  return (
    <section className="permissions">
      <h3>{t('permissions.title')}</h3>
      {rows.length === 0 ? (
        <p className="muted">{t('permissions.none')}</p>
      ) : (
        <DataTable
          label={t('permissions.title')}
          rows={rows}
          rowKey={(row) => row.permission}
          columns={[
            { key: 'permission', title: t('permissions.permission'), header: true, cell: (row) => <code dir="auto">{row.permission}</code> },
            { key: 'roles', title: t('permissions.roles'), cell: (row) => <span dir="auto">{row.names.join(', ')}</span> },
          ]}
        />
      )}
    </section>
  );
}
