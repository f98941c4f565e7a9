// Asks about one role: why the person holds it, or what is missing.
import { useTranslation } from 'react-i18next';
import { useQuery } from 'urql';
import { screenPath } from '../../app/paths.ts';
import { useViewer } from '../../app/viewer.tsx';
import { useQueryValue } from '../../components/FilterBar.tsx';
import { Card } from '../../components/Page.tsx';
import { Banner, ErrorPanel, Skeleton, toProblem } from '../../components/states.tsx';
import type { WhyNotQuery } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import { Chain, type ChainBox, type ChainLink, type Named, SourceChain } from '../access/AccessChain.tsx';
import { RolePicker, useNameOf } from '../access/pickers.tsx';

const whyNotQuery = graphql(`
  query WhyNot($id: ID!, $roleId: ID!, $audit: Boolean!) {
    organization {
      id
      role(id: $roleId) { id name }
      user(id: $id) {
        id
        explain(roleId: $roleId) {
          holds
          sources { ...AccessSource }
          gaps {
            kind
            mapping {
              id
              reason
              expiresAt
              group { id displayName }
              awaits { attribute value connection { id name } }
              allUsersOf { id name }
            }
          }
        }
      }
    }
  }
`);

type Gap = NonNullable<NonNullable<NonNullable<WhyNotQuery['organization']>['user']>['explain']>['gaps'][number];

export function WhyNot({ person }: { person: Named }) {
  const { t } = useTranslation('people');
  const viewer = useViewer();
  const [roleId, setRoleId] = useQueryValue('whyNot');
  const name = useNameOf(roleId, false);
  const [{ data, error, fetching }, again] = useQuery({
    query: whyNotQuery,
    variables: { id: person.id, roleId: roleId ?? '', audit: viewer.may('AUDIT_READ') },
    pause: roleId === undefined,
  });
  const explained = roleId === undefined ? undefined : data?.organization?.user?.explain;
  const role = data?.organization?.role;
  return (
    <Card title={t('whyNot.title')} id="why-not">
      <p className="muted">{t('whyNot.text')}</p>
      <RolePicker
        label={t('whyNot.role')}
        chosen={roleId === undefined ? undefined : { id: roleId, name: name ?? '' }}
        onChoose={(choice) => setRoleId(choice?.id)}
      />
      {error && <ErrorPanel problem={toProblem(error)} onRetry={() => again({ requestPolicy: 'network-only' })} />}
      {roleId !== undefined && !explained && !error && fetching && <Skeleton lines={3} />}
      {roleId !== undefined && explained && role && (
        <div className="why-not" role="status">
          {explained.holds ? (
            <>
              <Banner kind="success" title={t('whyNot.holds', { person: person.name, role: role.name })} />
              {explained.sources.map((source, index) => (
                <SourceChain key={index} person={person} role={role} source={source} />
              ))}
            </>
          ) : (
            <>
              <Banner kind="info" title={t('whyNot.holdsNot', { person: person.name, role: role.name })} />
              {explained.gaps.map((gap, index) => (
                <GapChain key={index} person={person} role={role} gap={gap} />
              ))}
            </>
          )}
        </div>
      )}
    </Card>
  );
}

/** The chain that would give the role, with the link that is missing. */
function GapChain({ person, role, gap }: { person: Named; role: Named; gap: Gap }) {
  const { t } = useTranslation('people');
  const { t: shared } = useTranslation('access');
  const viewer = useViewer();
  const path = (screen: string, id: string) => screenPath(viewer.organization.slug, `${screen}/${encodeURIComponent(id)}`);
  const { mapping } = gap;
  const first: ChainBox = {
    key: 'person',
    icon: 'person',
    kind: shared('chain.person'),
    name: person.name,
    href: path('people', person.id),
    missing: gap.kind === 'SUSPENDED',
    ...(gap.kind === 'SUSPENDED' && { note: t('state.suspended') }),
  };
  const last: ChainBox = { key: 'role', icon: 'role', kind: shared('chain.role'), name: role.name, href: path('roles', role.id) };
  const boxes: ChainBox[] = [first];
  const links: ChainLink[] = [];
  if (mapping) {
    if (mapping.allUsersOf) {
      boxes.push({ key: 'source', icon: 'plug', kind: shared('chain.connection'), name: mapping.allUsersOf.name, href: path('connections', mapping.allUsersOf.id) });
      links.push({ text: t('whyNot.otherConnection'), missing: gap.kind === 'OTHER_CONNECTION' });
    } else {
      const waits = mapping.awaits;
      boxes.push({
        key: 'group',
        icon: 'groups',
        kind: shared('chain.group'),
        name: mapping.group?.displayName ?? waits?.value ?? shared('chain.deletedGroup'),
        href: mapping.group ? path('groups', mapping.group.id) : undefined,
        missing: gap.kind === 'GROUP_NOT_ARRIVED',
        ...(gap.kind === 'GROUP_NOT_ARRIVED' && { note: t('whyNot.notArrived', { connection: waits?.connection?.name ?? '' }) }),
      });
      links.push({ text: t(gap.kind === 'NOT_A_MEMBER' ? 'whyNot.notMember' : 'whyNot.member'), missing: gap.kind === 'NOT_A_MEMBER' || gap.kind === 'GROUP_NOT_ARRIVED' });
    }
    boxes.push({
      key: 'mapping',
      icon: 'mapping',
      kind: shared('chain.mapping'),
      name: mapping.reason ?? shared('chain.noReason'),
      href: path('mappings', mapping.id),
      missing: gap.kind === 'MAPPING_EXPIRED',
      ...(gap.kind === 'MAPPING_EXPIRED' && { note: t('whyNot.expired') }),
    });
    links.push({ text: shared('chain.isMapped'), missing: gap.kind === 'MAPPING_EXPIRED' });
    links.push({ text: shared('chain.gives') });
  } else {
    links.push({ text: t(gap.kind === 'SUSPENDED' ? 'whyNot.suspendedLink' : 'whyNot.nothing'), missing: true });
  }
  boxes.push(last);
  return (
    <div className="gap">
      <p>
        <strong>{t(`whyNot.gap.${gap.kind}`)}</strong> {t(`whyNot.fix.${gap.kind}`)}
      </p>
      <Chain label={t('whyNot.chain', { person: person.name, role: role.name })} boxes={boxes} links={links} />
    </div>
  );
}
