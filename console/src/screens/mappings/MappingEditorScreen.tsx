// The editor: changes are collected, previewed together (who gains, who loses, warnings), then applied in one step.
import { useEffect, useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Radio, RadioGroup } from 'react-aria-components/RadioGroup';
import { Label } from 'react-aria-components/Label';
import { useQuery } from 'urql';
import { useLocation, useSearchParams } from 'wouter';
import { screenPath } from '../../app/paths.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { Card, Page } from '../../components/Page.tsx';
import { EmptyState, Skeleton } from '../../components/states.tsx';
import type { MatchAttribute } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import { AccessPreviewPanel } from '../access/AccessPreview.tsx';
import { InstantField } from '../access/InstantField.tsx';
import { ReasonField } from '../../components/ReasonField.tsx';
import { type Choice, GroupPicker, RolePicker, useConnectionChoices, useNameOf } from '../access/pickers.tsx';
import { useDrafts } from './drafts.ts';
import { useMappingFrom } from './mappingText.ts';
import './mappings.css';

const editedMappingQuery = graphql(`
  query EditedMapping($id: ID!) {
    node(id: $id) {
      id
      ... on RoleMapping {
        state
        reason
        expiresAt
        group { id displayName }
        awaits { attribute value connection { id name } }
        allUsersOf { id name }
        role { id name }
      }
    }
  }
`);

export function MappingEditorScreen() {
  const { t } = useTranslation('mappings');
  const viewer = useViewer();
  const [, navigate] = useLocation();
  const { drafts, remove, clear } = useDrafts();
  const [params] = useSearchParams();
  const edits = useMemo(() => drafts.map(({ edit }) => edit), [drafts]);
  const list = screenPath(viewer.organization.slug, 'mappings');
  const changed = params.get('change');
  return (
    <Page title={t('editor.title')} lead={t('editor.lead')} breadcrumb={[{ text: t('title'), href: list }, { text: t('editor.title') }]}>
      <div className="editor">
        <Card title={changed ? t('editor.change') : t('editor.add')}>
          {changed ? <ChangeForm key={changed} id={changed} /> : <AddForm key={params.toString()} group={params.get('group')} role={params.get('role')} />}
        </Card>
        <Card title={t('drafts.title')}>
          {drafts.length === 0 && (
            <EmptyState icon="mapping" title={t('drafts.none')}>
              <p>{t('drafts.noneText')}</p>
            </EmptyState>
          )}
          {drafts.length > 0 && (
            <>
              <ol className="drafts">
                {drafts.map((draft) => (
                  <li key={draft.key} className={`draft draft-${draft.kind}`}>
                    <span>
                      <strong>{t(`drafts.kind.${draft.kind}`)}</strong> <span dir="auto">{draft.from}</span> → <span dir="auto">{draft.role}</span>
                    </span>
                    <Button
                      kind="quiet"
                      icon="close"
                      aria-label={t('drafts.drop', { from: draft.from, role: draft.role })}
                      onPress={() => remove(draft.key)}
                    />
                  </li>
                ))}
              </ol>
              <AccessPreviewPanel
                edits={edits}
                applyLabel={t('editor.apply', { count: drafts.length })}
                doneText={t('editor.done', { count: drafts.length })}
                onApplied={() => {
                  clear();
                  navigate(list);
                }}
                onCancel={clear}
                cancelLabel={t('drafts.dropAll')}
              />
            </>
          )}
        </Card>
      </div>
    </Page>
  );
}

type FromKind = 'group' | 'awaits' | 'connection';

let lastNew = 0;

function AddForm({ group: groupId, role: roleId }: { group: string | null; role: string | null }) {
  const { t } = useTranslation('mappings');
  const { add } = useDrafts();
  const from = useMappingFrom();
  const connections = useConnectionChoices(false);
  const groupName = useNameOf(groupId ?? undefined, false);
  const roleName = useNameOf(roleId ?? undefined, false);
  const [kind, setKind] = useState<FromKind>('group');
  const [group, setGroup] = useState<Choice | undefined>(groupId === null ? undefined : { id: groupId, name: '' });
  const [role, setRole] = useState<Choice | undefined>(roleId === null ? undefined : { id: roleId, name: '' });
  const [connection, setConnection] = useState('');
  const [attribute, setAttribute] = useState<MatchAttribute>('DISPLAY_NAME');
  const [value, setValue] = useState('');
  const [reason, setReason] = useState('');
  const [expiresAt, setExpiresAt] = useState<string>();
  useEffect(() => {
    if (groupName !== undefined) setGroup((before) => (before && !before.name ? { ...before, name: groupName } : before));
  }, [groupName]);
  useEffect(() => {
    if (roleName !== undefined) setRole((before) => (before && !before.name ? { ...before, name: roleName } : before));
  }, [roleName]);
  const source = connections.find((choice) => choice.value === connection);
  const ready = role !== undefined && (kind === 'group' ? group !== undefined : source !== undefined && (kind === 'connection' || value.trim() !== ''));
  const submit = () => {
    if (!ready || !role) return;
    const common = { roleId: role.id, reason: reason.trim() || null, expiresAt: expiresAt ?? null };
    const named = source && { id: source.value, name: source.text };
    lastNew += 1;
    add({
      key: `new-${lastNew}`,
      kind: 'create',
      role: role.name,
      from: from(
        kind === 'group'
          ? { group: group ? { id: group.id, displayName: group.name } : null }
          : kind === 'awaits'
            ? { awaits: { attribute, value: value.trim(), connection: named ?? null } }
            : { allUsersOf: named ?? null },
      ),
      edit: {
        createMapping:
          kind === 'group'
            ? { ...common, groupId: group?.id ?? null }
            : kind === 'awaits'
              ? { ...common, awaits: { connectionId: connection, attribute, value: value.trim() } }
              : { ...common, connectionId: connection },
      },
    });
    setGroup(undefined);
    setRole(undefined);
    setValue('');
  };
  return (
    <form
      className="form"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      <RadioGroup className="field radios" value={kind} onChange={(next) => setKind(next as FromKind)}>
        <Label>{t('editor.from')}</Label>
        {(['group', 'awaits', 'connection'] as const).map((each) => (
          <Radio key={each} value={each} className="choice">
            {t(`editor.kind.${each}`)}
          </Radio>
        ))}
      </RadioGroup>
      {kind === 'group' && <GroupPicker label={t('editor.group')} chosen={group} onChoose={setGroup} isRequired />}
      {kind !== 'group' && (
        <label className="field">
          <span className="field-label">{t('editor.connection')}</span>
          <select value={connection} required onChange={(event) => setConnection(event.target.value)}>
            <option value="">{t('editor.choose')}</option>
            {connections.map((choice) => (
              <option key={choice.value} value={choice.value}>
                {choice.text}
              </option>
            ))}
          </select>
        </label>
      )}
      {kind === 'awaits' && (
        <>
          <label className="field">
            <span className="field-label">{t('editor.attribute')}</span>
            <select value={attribute} onChange={(event) => setAttribute(event.target.value as MatchAttribute)}>
              <option value="DISPLAY_NAME">{t('editor.attributes.DISPLAY_NAME')}</option>
              <option value="EXTERNAL_ID">{t('editor.attributes.EXTERNAL_ID')}</option>
            </select>
          </label>
          <label className="field">
            <span className="field-label">{t('editor.value')}</span>
            <input value={value} dir="auto" required onChange={(event) => setValue(event.target.value)} />
          </label>
        </>
      )}
      {kind === 'connection' && <p className="muted">{t('editor.connectionText')}</p>}
      <RolePicker label={t('editor.role')} chosen={role} onChoose={setRole} isRequired />
      <ReasonField value={reason} onChange={setReason} />
      <InstantField label={t('editor.ends')} value={expiresAt} onChange={setExpiresAt} help={t('editor.endsHelp')} />
      <div className="actions">
        <Button kind="primary" type="submit" isDisabled={!ready}>
          {t('editor.addAction')}
        </Button>
      </div>
    </form>
  );
}

function ChangeForm({ id }: { id: string }) {
  const { t } = useTranslation('mappings');
  const [{ data, fetching }] = useQuery({ query: editedMappingQuery, variables: { id } });
  const mapping = data?.node && 'state' in data.node ? data.node : undefined;
  if (!mapping) return fetching ? <Skeleton lines={4} /> : <EmptyState icon="mapping" title={t('one.missing')} />;
  return <ChangeFields key={mapping.id} mapping={mapping} />;
}

interface ChangeFieldsProps {
  mapping: {
    id: string;
    reason?: string | null;
    expiresAt?: string | null;
    group?: { id: string; displayName: string } | null;
    awaits?: { attribute: MatchAttribute; value: string; connection?: { id: string; name: string } | null } | null;
    allUsersOf?: { id: string; name: string } | null;
    role?: { id: string; name: string } | null;
  };
}

function ChangeFields({ mapping }: ChangeFieldsProps) {
  const { t } = useTranslation('mappings');
  const { add } = useDrafts();
  const from = useMappingFrom();
  const [group, setGroup] = useState<Choice | undefined>(mapping.group ? { id: mapping.group.id, name: mapping.group.displayName } : undefined);
  const [role, setRole] = useState<Choice | undefined>(mapping.role ?? undefined);
  const [reason, setReason] = useState(mapping.reason ?? '');
  const [expiresAt, setExpiresAt] = useState(mapping.expiresAt ?? undefined);
  const submit = () => {
    const changes = {
      ...(group && group.id !== mapping.group?.id && { groupId: group.id }),
      ...(role && role.id !== mapping.role?.id && { roleId: role.id }),
      ...(reason !== (mapping.reason ?? '') && { reason: reason.trim() || null }),
      ...(expiresAt !== (mapping.expiresAt ?? undefined) && { expiresAt: expiresAt ?? null }),
    };
    add({
      key: mapping.id,
      kind: 'update',
      from: group?.name || from(mapping),
      role: role?.name ?? '',
      edit: { updateMapping: { id: mapping.id, ...changes } },
    });
  };
  return (
    <form
      className="form"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      {mapping.group ? <GroupPicker label={t('editor.group')} chosen={group} onChoose={setGroup} isRequired /> : <p dir="auto">{from(mapping)}</p>}
      <RolePicker label={t('editor.role')} chosen={role} onChoose={setRole} isRequired />
      <ReasonField value={reason} onChange={setReason} />
      <InstantField label={t('editor.ends')} value={expiresAt} onChange={setExpiresAt} help={t('editor.endsHelp')} />
      <div className="actions">
        <Button kind="primary" type="submit" isDisabled={!role}>
          {t('editor.addAction')}
        </Button>
      </div>
    </form>
  );
}
