// Who is in a group: directly, or also through nested groups.
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'wouter';
import { screenPath } from '../../app/paths.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { PlainDialog } from '../../components/ConfirmDialog.tsx';
import { type Column, PagedTable } from '../../components/DataTable.tsx';
import { FilterBar, FilterChoice, FilterReset, FilterText, useQueryValue } from '../../components/FilterBar.tsx';
import { Icon } from '../../components/Icon.tsx';
import { Card } from '../../components/Page.tsx';
import { Banner, EmptyState } from '../../components/states.tsx';
import { StatusBadge } from '../../components/StatusBadge.tsx';
import { usePagedList } from '../../components/paging.ts';
import type { AccessEditInput, GroupMembersQuery } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import { AccessPreviewPanel } from '../access/AccessPreview.tsx';
import { ReasonField } from '../../components/ReasonField.tsx';
import { type Choice, GroupPicker, PersonPicker } from '../access/pickers.tsx';
import type { GroupParts } from './GroupScreen.tsx';

const groupMembersQuery = graphql(`
  query GroupMembers($id: ID!, $filter: GroupMemberFilter, $after: String) {
    organization {
      id
      group(id: $id) {
        id
        members(first: 100, after: $after, filter: $filter) {
          totalCount
          pageInfo { hasNextPage endCursor }
          nodes {
            __typename
            ... on User { id userName displayName active department }
            ... on Group { id groupName: displayName memberCount }
          }
        }
      }
    }
  }
`);

type Member = NonNullable<
  NonNullable<NonNullable<GroupMembersQuery['organization']>['group']>['members']
>['nodes'][number];

const pickMembers = (data: GroupMembersQuery) => data.organization?.group?.members;
const idOf = (member: Member) => ('id' in member ? member.id : '');
const nameOf = (member: Member) => (member.__typename === 'User' ? member.displayName : member.__typename === 'Group' ? member.groupName : '');

export function GroupMembers({ group }: { group: GroupParts }) {
  const { t } = useTranslation('groups');
  const viewer = useViewer();
  if (!viewer.may('USER_READ')) {
    return (
      <Card title={t('members.title')}>
        <p>{t('members.needs')}</p>
      </Card>
    );
  }
  return <MemberList group={group} />;
}

function MemberList({ group }: { group: GroupParts }) {
  const { t } = useTranslation('groups');
  const viewer = useViewer();
  const [search] = useQueryValue('member');
  const [kind] = useQueryValue('kind');
  const [adding, setAdding] = useState(false);
  const [removing, setRemoving] = useState<Member>();
  const variables = useMemo(
    () => ({
      id: group.id,
      filter: {
        transitive: kind === 'all',
        kind: kind === 'people' ? ('USER' as const) : kind === 'groups' ? ('GROUP' as const) : null,
        user: search === undefined ? null : { search },
      },
    }),
    [group.id, kind, search],
  );
  const list = usePagedList(groupMembersQuery, variables, pickMembers);
  const mayChange = viewer.may('USER_WRITE') && viewer.may('ACCESS_WRITE');
  const slug = viewer.organization.slug;
  const columns = useMemo<Column<Member>[]>(
    () => [
      {
        key: 'name',
        title: t('column.name'),
        header: true,
        cell: (member) => (
          <Link
            className="cell-link"
            href={screenPath(slug, `${member.__typename === 'Group' ? 'groups' : 'people'}/${encodeURIComponent(idOf(member))}`)}
          >
            <span dir="auto" className="cell-main">
              {nameOf(member)}
            </span>
            {member.__typename === 'User' && (
              <small className="muted" dir="auto">
                {member.userName}
              </small>
            )}
          </Link>
        ),
      },
      {
        key: 'state',
        title: t('column.state'),
        cell: (member) =>
          member.__typename === 'Group' ? (
            <span className="badges">
              <Icon name="groups" /> {t('tree.members', { count: member.memberCount })}
            </span>
          ) : member.__typename === 'User' ? (
            <StatusBadge tone={member.active ? 'good' : 'warning'}>{t(member.active ? 'members.active' : 'members.suspended')}</StatusBadge>
          ) : null,
      },
      {
        key: 'actions',
        title: mayChange && kind !== 'all' ? t('column.actions') : t('column.department'),
        cell: (member) =>
          mayChange && kind !== 'all' ? (
            <Button kind="quiet" icon="close" aria-label={t('members.removeName', { name: nameOf(member) })} onPress={() => setRemoving(member)} />
          ) : (
            <span dir="auto">{member.__typename === 'User' ? (member.department ?? '–') : '–'}</span>
          ),
      },
    ],
    [t, slug, mayChange, kind],
  );
  return (
    <Card title={t('members.title')} actions={mayChange && <Button onPress={() => setAdding(true)}>{t('members.add')}</Button>}>
      <FilterBar label={t('members.filter')}>
        <FilterText name="member" label={t('members.search')} />
        <FilterChoice
          name="kind"
          label={t('members.which')}
          choices={[
            { value: 'people', text: t('members.people') },
            { value: 'groups', text: t('members.groups') },
            { value: 'all', text: t('members.nested') },
          ]}
        />
        <FilterReset names={['member', 'kind']} />
      </FilterBar>
      <PagedTable
        list={list}
        label={t('members.title')}
        columns={columns}
        rowKey={idOf}
        template="three"
        empty={
          <EmptyState icon="person" title={search === undefined ? t('members.none') : t('members.noneFound')}>
            <p>{t('members.noneText')}</p>
          </EmptyState>
        }
      />
      <AddMemberDialog group={group} isOpen={adding} onClose={() => setAdding(false)} onDone={list.reload} />
      <RemoveMemberDialog group={group} member={removing} onClose={() => setRemoving(undefined)} onDone={list.reload} />
    </Card>
  );
}

function OwnedNote({ group }: { group: GroupParts }) {
  const { t } = useTranslation('groups');
  return group.connection ? <Banner kind="info" title={t('members.owned', { name: group.connection.name })} /> : null;
}

interface AddMemberDialogProps {
  group: GroupParts;
  isOpen: boolean;
  onClose: () => void;
  onDone: () => void;
}

function AddMemberDialog({ group, isOpen, onClose, onDone }: AddMemberDialogProps) {
  const { t } = useTranslation('groups');
  const { t: common } = useTranslation();
  const [person, setPerson] = useState<Choice>();
  const [nested, setNested] = useState<Choice>();
  const edits = useMemo<AccessEditInput[]>(() => {
    const memberIds = [person?.id, nested?.id].filter((id) => id !== undefined);
    return memberIds.length > 0 ? [{ addMembers: { id: group.id, memberIds } }] : [];
  }, [group.id, person, nested]);
  const close = () => {
    setPerson(undefined);
    setNested(undefined);
    onClose();
  };
  return (
    <PlainDialog isOpen={isOpen} onClose={close} title={t('members.addTitle', { name: group.displayName })}>
      <OwnedNote group={group} />
      <PersonPicker label={t('members.person')} chosen={person} onChoose={setPerson} />
      <GroupPicker label={t('members.group')} chosen={nested} onChoose={setNested} />
      {edits.length > 0 ? (
        <AccessPreviewPanel
          edits={edits}
          applyLabel={t('members.addAction')}
          doneText={t('members.added', { name: group.displayName })}
          onApplied={() => {
            close();
            onDone();
          }}
          onCancel={close}
        />
      ) : (
        <div className="actions dialog-actions">
          <Button onPress={close}>{common('dialog.cancel')}</Button>
        </div>
      )}
    </PlainDialog>
  );
}

interface RemoveMemberDialogProps {
  group: GroupParts;
  member: Member | undefined;
  onClose: () => void;
  onDone: () => void;
}

function RemoveMemberDialog({ group, member, onClose, onDone }: RemoveMemberDialogProps) {
  const { t } = useTranslation('groups');
  const [reason, setReason] = useState('');
  return (
    <PlainDialog
      isOpen={member !== undefined}
      onClose={onClose}
      title={t('members.removeTitle', { member: member ? nameOf(member) : '', name: group.displayName })}
    >
      <OwnedNote group={group} />
      <ReasonField value={reason} onChange={setReason} />
      {member && (
        <AccessPreviewPanel
          edits={[{ removeMembers: { id: group.id, memberIds: [idOf(member)], reason: reason.trim() || null } }]}
          applyLabel={t('members.removeAction')}
          doneText={t('members.removed', { member: nameOf(member) })}
          danger
          onApplied={() => {
            onClose();
            onDone();
          }}
          onCancel={onClose}
        />
      )}
    </PlainDialog>
  );
}
