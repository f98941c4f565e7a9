// The settings of a connection. Only what was changed is sent: what is left out stays as it is.
import { type FormEvent, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useLocation } from 'wouter';
import { screenPath } from '../../app/paths.ts';
import { useAction } from '../../app/useAction.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { ConfirmDialog } from '../../components/ConfirmDialog.tsx';
import { CheckField, TextField } from '../../components/forms.tsx';
import { Card } from '../../components/Page.tsx';
import { Banner, ErrorPanel, type Problem } from '../../components/states.tsx';
import { notify } from '../../components/toasts.tsx';
import type { ConnectionUpdateInput, PullSourceUpdateInput } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import { ClaimRulesCard, OidcCards } from './AssertionFields.tsx';
import {
  type Fields,
  GeneralFields,
  NEW_PULL,
  type PullFields,
  RuleFields,
  SourceFields,
  toNumber,
  toText,
} from './ConnectionFields.tsx';
import { type ClaimFields, type OidcFields, claimChanges, claimFieldsOf, oidcChanges, oidcFieldsOf } from './assertion.ts';
import { type OneConnection, updateMutation } from './connection.ts';
import { Details } from './parts.tsx';
import { type SamlFields, samlChanges, samlFieldsOf } from './saml.ts';
import { SamlCards } from './SamlFields.tsx';

const deleteMutation = graphql(`
  mutation ConnectionDelete($input: ConnectionDeleteInput!) {
    connectionDelete(input: $input) {
      deletedConnectionId
      manualUserCount
      manualGroupCount
      userErrors { code reason message nextStep }
    }
  }
`);

const fieldsOf = (connection: OneConnection): Fields => ({
  name: connection.name,
  provider: connection.provider,
  deletionPolicy: connection.deletionPolicy,
  adoptionPolicy: connection.adoptionPolicy,
  revivalDays: String(connection.revivalDays),
  announcesCursorPaging: connection.announcesCursorPaging,
});

function pullFieldsOf({ pull }: OneConnection): PullFields {
  if (!pull) return NEW_PULL;
  return {
    baseUrl: pull.baseUrl,
    auth: pull.auth,
    tokenUrl: pull.tokenUrl ?? '',
    clientId: pull.clientId ?? '',
    scope: pull.scope ?? '',
    secret: '',
    pageSize: String(pull.pageSize),
    userFilter: pull.userFilter ?? '',
    intervalMinutes: pull.intervalMinutes?.toString() ?? '',
    incrementalMinutes: pull.incrementalMinutes?.toString() ?? '',
    shrinkPercent: String(pull.shrinkPercent),
  };
}

interface Values {
  fields: Fields;
  pull: PullFields;
  oidc: OidcFields;
  saml: SamlFields;
  claims: ClaimFields;
}

/** What differs, as the mutation wants it. */
function changesOf(connection: OneConnection, values: Values): Omit<ConnectionUpdateInput, 'id'> {
  const { fields, pull, oidc, saml, claims } = values;
  const before = fieldsOf(connection);
  const pullBefore = pullFieldsOf(connection);
  const changed = <Values extends object>(name: keyof Values, now: Values, then: Values) => now[name] !== then[name];
  const source: PullSourceUpdateInput = {};
  if (connection.pull) {
    if (changed('baseUrl', pull, pullBefore)) source.baseUrl = pull.baseUrl.trim();
    if (changed('auth', pull, pullBefore)) source.auth = pull.auth;
    for (const name of ['tokenUrl', 'clientId', 'scope', 'userFilter'] as const) {
      if (changed(name, pull, pullBefore)) source[name] = toText(pull[name]);
    }
    if (pull.secret !== '') source.secret = pull.secret;
    for (const name of ['intervalMinutes', 'incrementalMinutes'] as const) {
      if (changed(name, pull, pullBefore)) source[name] = toNumber(pull[name]);
    }
    for (const name of ['pageSize', 'shrinkPercent'] as const) {
      if (changed(name, pull, pullBefore)) source[name] = Number(pull[name]);
    }
  }
  const accepted = connection.assertionSource;
  const oidcChanged = accepted?.oidc ? oidcChanges(oidc, oidcFieldsOf(accepted)) : undefined;
  const samlChanged = accepted?.saml ? samlChanges(saml, samlFieldsOf(accepted)) : undefined;
  const claimsChanged = accepted ? claimChanges(claims, claimFieldsOf(accepted)) : undefined;
  return {
    ...(oidcChanged && { assertion: { oidc: oidcChanged } }),
    ...(samlChanged && { assertion: { saml: samlChanged } }),
    ...(claimsChanged && { claims: claimsChanged }),
    ...(changed('name', fields, before) && { name: fields.name.trim() }),
    ...(changed('provider', fields, before) && { provider: fields.provider }),
    ...(changed('deletionPolicy', fields, before) && { deletionPolicy: fields.deletionPolicy }),
    ...(changed('adoptionPolicy', fields, before) && { adoptionPolicy: fields.adoptionPolicy }),
    ...(changed('revivalDays', fields, before) && { revivalDays: Number(fields.revivalDays) }),
    ...(changed('announcesCursorPaging', fields, before) && { announcesCursorPaging: fields.announcesCursorPaging }),
    ...(Object.keys(source).length > 0 && { pull: source }),
  };
}

export function SettingsTab({ connection, reload }: { connection: OneConnection; reload: () => void }) {
  const { t } = useTranslation('connections');
  const viewer = useViewer();
  const [fields, setFields] = useState(() => fieldsOf(connection));
  const [pull, setPull] = useState(() => pullFieldsOf(connection));
  const [oidc, setOidc] = useState(() => oidcFieldsOf(connection.assertionSource));
  const [saml, setSaml] = useState(() => samlFieldsOf(connection.assertionSource));
  const [claims, setClaims] = useState(() => claimFieldsOf(connection.assertionSource));
  // The version that these fields were read from: what somebody else changes meanwhile is not overwritten.
  const [version, setVersion] = useState(connection.version);
  const [problem, setProblem] = useState<Problem>();
  const { run, running } = useAction(updateMutation);
  const changes = changesOf(connection, { fields, pull, oidc, saml, claims });
  const dirty = Object.keys(changes).length > 0;

  if (!viewer.may('IAM_WRITE')) return <SettingsRead connection={connection} />;
  const reset = () => {
    setFields(fieldsOf(connection));
    setPull(pullFieldsOf(connection));
    setOidc(oidcFieldsOf(connection.assertionSource));
    setSaml(samlFieldsOf(connection.assertionSource));
    setClaims(claimFieldsOf(connection.assertionSource));
    setVersion(connection.version);
    setProblem(undefined);
  };
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setProblem(undefined);
    const answer = await run({ input: { id: connection.id, expectedVersion: version, ...changes } });
    if (answer.problem) {
      setProblem(answer.problem);
      return;
    }
    notify({ kind: 'success', text: t('settings.saved') });
    setPull((before) => ({ ...before, secret: '' }));
    setOidc((before) => ({ ...before, clientSecret: '' }));
    setSaml((before) => ({ ...before, graphSecret: '', usualAttributes: false }));
    setVersion(answer.payload.connection?.version ?? version + 1);
    reload();
  };
  return (
    <>
      {connection.version !== version && !running && dirty && (
        <Banner kind="warning" title={t('settings.changedMeanwhile')}>
          <Button onPress={reset}>{t('settings.takeNew')}</Button>
        </Banner>
      )}
      <form className="form form-wide" onSubmit={(event) => void submit(event)}>
        <GeneralFields
          values={fields}
          onChange={(changed) => setFields({ ...fields, ...changed })}
          signsIn={connection.assertionSource != null}
        />
        {connection.pull && (
          <SourceFields
            values={pull}
            hasSecret={connection.hasCredentials}
            onChange={(changed) => setPull({ ...pull, ...changed })}
          />
        )}
        {connection.assertionSource?.oidc && (
          <OidcCards
            values={oidc}
            provider={fields.provider}
            hasSecret={connection.hasCredentials}
            isNew={false}
            onChange={(changed) => setOidc({ ...oidc, ...changed })}
          />
        )}
        {connection.assertionSource?.saml && (
          <SamlCards values={saml} provider={fields.provider} isNew={false} onChange={(changed) => setSaml({ ...saml, ...changed })} />
        )}
        {connection.assertionSource && (
          <ClaimRulesCard values={claims} isNew={false} onChange={(changed) => setClaims({ ...claims, ...changed })} />
        )}
        <RuleFields values={fields} onChange={(changed) => setFields({ ...fields, ...changed })} />
        {problem && <ErrorPanel problem={problem} />}
        <div className="actions">
          <Button kind="primary" type="submit" busy={running} isDisabled={!dirty}>
            {t('settings.save')}
          </Button>
          {dirty && (
            <Button kind="quiet" onPress={reset}>
              {t('settings.undo')}
            </Button>
          )}
        </div>
      </form>
      <DeleteCard connection={connection} />
    </>
  );
}

/** For viewers who may read and not write. */
function SettingsRead({ connection }: { connection: OneConnection }) {
  const { t } = useTranslation('connections');
  const { t: common } = useTranslation();
  const { pull, assertionSource } = connection;
  return (
    <Card title={t('tab.settings')}>
      <Details
        rows={[
          [t('settings.name'), connection.name],
          [t('settings.provider'), common(`provider.${connection.provider}`)],
          [t('settings.deletion'), t(`deletion.${connection.deletionPolicy}`)],
          [t('settings.adoption'), t(`adoption.${connection.adoptionPolicy}`)],
          [t('settings.revival'), String(connection.revivalDays)],
          [t('settings.cursors'), connection.announcesCursorPaging ? common('state.yes') : common('state.no')],
          assertionSource?.oidc && [t('oidc.issuer'), <code key="issuer">{assertionSource.oidc.issuer}</code>],
          assertionSource?.oidc && [t('settings.clientId'), <code key="client">{assertionSource.oidc.clientId}</code>],
          assertionSource?.saml && [t('saml.nameId'), assertionSource.saml.nameIdFormat ?? t('saml.nameIdAny')],
          assertionSource?.saml && [t('saml.initiated'), common(assertionSource.saml.allowIdpInitiated ? 'state.yes' : 'state.no')],
          assertionSource && [t('claims.creation'), t(`creation.${assertionSource.accountCreation}`)],
          assertionSource && [t('claims.identity'), t(`identity.${assertionSource.groupIdentity}`)],
          pull && [t('settings.baseUrl'), <code key="url">{pull.baseUrl}</code>],
          pull && [t('settings.auth'), t(`auth.${pull.auth}`)],
          pull && [t('settings.userFilter'), pull.userFilter ? <code key="filter">{pull.userFilter}</code> : common('state.none')],
          pull && [t('settings.shrink'), String(pull.shrinkPercent)],
        ]}
      />
    </Card>
  );
}

function DeleteCard({ connection }: { connection: OneConnection }) {
  const { t } = useTranslation('connections');
  const { t: common } = useTranslation();
  const { organization } = useViewer();
  const [, navigate] = useLocation();
  const [asking, setAsking] = useState(false);
  const [reason, setReason] = useState('');
  const [manual, setManual] = useState(false);
  const { run } = useAction(deleteMutation);
  const owns = connection.userCount + connection.groupCount > 0;
  return (
    <Card
      title={t('remove.title')}
      actions={
        <Button kind="danger" icon="trash" onPress={() => setAsking(true)}>
          {t('remove.action')}
        </Button>
      }
    >
      <p>{t('remove.text')}</p>
      <ConfirmDialog
        isOpen={asking}
        onClose={() => setAsking(false)}
        title={t('remove.question', { name: connection.name })}
        consequences={[
          t('remove.tokens'),
          t('remove.owns', {
            users: t('userCount', { count: connection.userCount }),
            groups: t('groupCount', { count: connection.groupCount }),
          }),
          t('remove.undo'),
        ]}
        typed={{ label: t('remove.typed', { name: connection.name }), expected: connection.name.trim() }}
        confirmLabel={t('remove.action')}
        danger
        onConfirm={async () => {
          const { problem } = await run({
            input: {
              id: connection.id,
              expectedVersion: connection.version,
              usersBecomeManual: manual,
              reason: reason.trim() || null,
            },
          });
          if (problem) return problem;
          notify({ kind: 'success', text: t('remove.done', { name: connection.name }) });
          navigate(screenPath(organization.slug, 'connections'));
          return undefined;
        }}
      >
        {owns && (
          <CheckField label={t('remove.manual')} help={t('remove.manualHelp')} checked={manual} onChange={setManual} />
        )}
        <TextField label={common('dialog.reason')} value={reason} onChange={setReason} maxLength={1000} />
      </ConfirmDialog>
    </Card>
  );
}
