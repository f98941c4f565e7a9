// A chain from a person to a role, drawn as boxes: each link says who made it and since when.
import type { ReactNode } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'wouter';
import { screenPath } from '../../app/paths.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Icon, type IconName } from '../../components/Icon.tsx';
import { Time } from '../../components/Time.tsx';
import type { AccessSourceFragment, LinkMakerFragment } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import './access.css';

export const accessSourceFragment = graphql(`
  fragment AccessSource on AccessSource {
    kind
    direct
    group { id displayName }
    memberOf { id displayName }
    path {
      since
      fromGroup { id displayName }
      toGroup { id displayName }
      madeBy @include(if: $audit) { ...LinkMaker }
    }
    mapping { id state reason since until expiresAt allUsersOf { id name } awaits { attribute value connection { id name } } }
    grant { id reason since until expiresAt }
    saidAtSignIn { saidAt expiresAt }
    joinedBy @include(if: $audit) { ...LinkMaker }
    givenBy @include(if: $audit) { ...LinkMaker }
  }
`);

export const linkMakerFragment = graphql(`
  fragment LinkMaker on Event {
    id
    seq
    at
    action
    requestId
    actor { kind actorId name }
  }
`);

export type AccessSourceParts = AccessSourceFragment;
type Maker = LinkMakerFragment | null | undefined;

export interface Named {
  id: string;
  name: string;
}

export interface ChainBox {
  key: string;
  icon: IconName;
  /** What kind of thing it is. */
  kind: string;
  name: ReactNode;
  href?: string | undefined;
  note?: ReactNode;
  missing?: boolean;
}

export interface ChainLink {
  text: ReactNode;
  missing?: boolean;
}

/** Boxes and what joins each to the next; there is one link fewer than boxes. */
export function Chain({ label, boxes, links }: { label: string; boxes: readonly ChainBox[]; links: readonly ChainLink[] }) {
  return (
    <ol className="chain" aria-label={label}>
      {boxes.map((box, index) => {
        const link = links[index];
        return (
          <li key={box.key} className={box.missing ? 'chain-step chain-step-missing' : 'chain-step'}>
            <div className="chain-box">
              <span className="chain-kind">
                <Icon name={box.icon} /> {box.kind}
              </span>
              <span className="chain-name" dir="auto">
                {box.href ? <Link href={box.href}>{box.name}</Link> : box.name}
              </span>
              {box.note && <span className="chain-note">{box.note}</span>}
            </div>
            {link && (
              <div className={link.missing ? 'chain-link chain-link-missing' : 'chain-link'}>
                <span>{link.text}</span>
                <Icon name={link.missing ? 'close' : 'arrowRight'} />
              </div>
            )}
          </li>
        );
      })}
    </ol>
  );
}

export function useMaker() {
  const { t } = useTranslation('access');
  const viewer = useViewer();
  return (maker: Maker, since: string | undefined, verb: string): ReactNode => (
    <>
      {verb}
      {since !== undefined && (
        <>
          {' '}
          {t('chain.since')} <Time at={since} />
        </>
      )}
      {maker && (
        <>
          {' · '}
          {t('chain.by')} <span dir="auto">{maker.actor.name}</span>{' '}
          <Link
            className="chain-proof"
            href={`${screenPath(viewer.organization.slug, 'audit')}?request=${encodeURIComponent(maker.requestId)}`}
          >
            {maker.seq == null ? t('chain.event') : t('chain.eventNumber', { seq: maker.seq })}
          </Link>
        </>
      )}
    </>
  );
}

interface SourceChainProps {
  person: Named;
  role: Named;
  source: AccessSourceFragment;
  /** Left out where the chain begins at a group. */
  showPerson?: boolean;
}

/** Why somebody holds a role: person → group → … → mapping → role, or person → grant → role. */
export function SourceChain({ person, role, source, showPerson = true }: SourceChainProps) {
  const { t } = useTranslation('access');
  const viewer = useViewer();
  const maker = useMaker();
  const path = (screen: string, id: string) => screenPath(viewer.organization.slug, `${screen}/${encodeURIComponent(id)}`);
  const boxes: ChainBox[] = [];
  const links: ChainLink[] = [];
  if (showPerson) {
    boxes.push({ key: 'person', icon: 'person', kind: t('chain.person'), name: person.name, href: path('people', person.id) });
  } else if (source.memberOf && source.memberOf.id !== person.id) {
    boxes.push({ key: 'start', icon: 'groups', kind: t('chain.group'), name: person.name, href: path('groups', person.id) });
  }
  for (const [index, step] of (source.path ?? []).entries()) {
    if (!showPerson && boxes.length === 0) {
      boxes.push({ key: 'start', icon: 'groups', kind: t('chain.group'), name: person.name, href: path('groups', person.id) });
    }
    const said = index === 0 ? source.saidAtSignIn : null;
    links.push({
      text: said ? (
        <>
          {t('chain.saidAtSignIn')} <Time at={said.saidAt} />
          {said.expiresAt && (
            <>
              {' · '}
              {t('chain.ends')} <Time at={said.expiresAt} />
            </>
          )}
        </>
      ) : (
        maker(step.madeBy, step.since, step.fromGroup ? t('chain.nestedIn') : t('chain.memberOf'))
      ),
    });
    const group = step.toGroup;
    boxes.push({
      key: `group-${index}`,
      icon: 'groups',
      kind: t('chain.group'),
      name: group ? group.displayName : t('chain.deletedGroup'),
      href: group ? path('groups', group.id) : undefined,
    });
  }
  if (source.mapping) {
    const { mapping } = source;
    if (boxes.length === 0) {
      boxes.push({ key: 'start', icon: 'groups', kind: t('chain.group'), name: person.name, href: path('groups', person.id) });
    }
    links.push({
      text: mapping.allUsersOf ? maker(undefined, undefined, t('chain.accountOf', { name: mapping.allUsersOf.name })) : t('chain.isMapped'),
    });
    boxes.push({
      key: 'mapping',
      icon: 'mapping',
      kind: mapping.allUsersOf ? t('chain.defaultRole') : t('chain.mapping'),
      name: mapping.reason ?? t('chain.noReason'),
      href: path('mappings', mapping.id),
      note: mapping.expiresAt ? (
        <>
          {t('chain.ends')} <Time at={mapping.expiresAt} exact />
        </>
      ) : undefined,
    });
    links.push({ text: maker(source.givenBy, mapping.since, t('chain.gives')) });
  } else if (source.grant) {
    const { grant } = source;
    links.push({ text: t('chain.holdsGrant') });
    boxes.push({
      key: 'grant',
      icon: 'key',
      kind: t('chain.grant'),
      name: grant.reason ?? t('chain.noReason'),
      note: grant.expiresAt ? (
        <>
          {t('chain.ends')} <Time at={grant.expiresAt} exact />
        </>
      ) : undefined,
    });
    links.push({ text: maker(source.givenBy, grant.since, t('chain.gives')) });
  }
  boxes.push({ key: 'role', icon: 'role', kind: t('chain.role'), name: role.name, href: path('roles', role.id) });
  return <Chain label={t('chain.why', { person: person.name, role: role.name })} boxes={boxes} links={links} />;
}

interface SourceEnds extends Pick<AccessSourceFragment, 'kind' | 'group' | 'memberOf'> {
  mapping: { allUsersOf: { name: string } | null } | null;
}

/** The way in a few words: the groups' names, or the grant. */
export function useSourceText() {
  const { t } = useTranslation('access');
  return (source: SourceEnds): string => {
    if (source.kind === 'GRANT') return t('source.grant');
    if (source.mapping?.allUsersOf) return t('source.allUsersOf', { name: source.mapping.allUsersOf.name });
    if (!source.group) return t('source.mapping');
    if (source.memberOf && source.memberOf.id !== source.group.id) {
      return t('source.nested', { inner: source.memberOf.displayName, outer: source.group.displayName });
    }
    return t('source.group', { name: source.group.displayName });
  };
}
