// The organization's settings, and who of the operator may look in.
import { type FormEvent, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useQuery } from 'urql';
import { Link } from 'wouter';
import { screenPath } from '../../app/paths.ts';
import { useAction } from '../../app/useAction.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { ConfirmDialog } from '../../components/ConfirmDialog.tsx';
import { RadioField, TextField, toInstant } from '../../components/forms.tsx';
import { Card, Page } from '../../components/Page.tsx';
import { StatusBadge } from '../../components/StatusBadge.tsx';
import { ErrorPanel, type Problem, Skeleton, toProblem } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import { notify } from '../../components/toasts.tsx';
import type { IntegrationMode, OrganizationSettingsQuery, OrganizationUpdateInput } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import { Details } from '../connections/parts.tsx';
import { ModePreview } from './ModePreview.tsx';

const settingsQuery = graphql(`
  query OrganizationSettings {
    organization {
      id
      slug
      name
      createdAt
      scimEnabled
      integrationMode
      operatorAccessUntil
    }
  }
`);

const updateMutation = graphql(`
  mutation OrganizationUpdate($input: OrganizationUpdateInput!) {
    organizationUpdate(input: $input) {
      organization { id name scimEnabled integrationMode }
      userErrors { code reason message nextStep }
    }
  }
`);

const grantMutation = graphql(`
  mutation OperatorAccessGrant($input: OperatorAccessGrantInput!) {
    operatorAccessGrant(input: $input) {
      organization { id operatorAccessUntil }
      userErrors { code reason message nextStep }
    }
  }
`);

const revokeMutation = graphql(`
  mutation OperatorAccessRevoke($input: OperatorAccessRevokeInput!) {
    operatorAccessRevoke(input: $input) {
      organization { id operatorAccessUntil }
      userErrors { code reason message nextStep }
    }
  }
`);

type Settings = NonNullable<OrganizationSettingsQuery['organization']>;

const MODES: readonly IntegrationMode[] = ['SCIM', 'ENTRA_NATIVE', 'SIGN_IN'];

export default function OrganizationScreen() {
  const { t } = useTranslation('organization');
  const { t: common } = useTranslation();
  const [{ data, error }, ask] = useQuery({ query: settingsQuery });
  const reload = () => ask({ requestPolicy: 'network-only' });
  const settings = data?.organization;
  return (
    <Page title={common('menu.organization')} lead={t('lead')}>
      {error && <ErrorPanel problem={toProblem(error)} onRetry={reload} />}
      {!settings && !error && <Skeleton lines={6} />}
      {settings && (
        <>
          <Facts settings={settings} />
          <SettingsForm key={settings.id} settings={settings} />
          <OperatorCard until={settings.operatorAccessUntil ?? undefined} />
        </>
      )}
    </Page>
  );
}

function Facts({ settings }: { settings: Settings }) {
  const { t } = useTranslation('organization');
  const { organization } = useViewer();
  return (
    <Card title={t('facts')}>
      <Details
        rows={[
          [t('slug'), <code key="slug">{settings.slug}</code>],
          [t('created'), <Time key="created" at={settings.createdAt} />],
          [
            t('provisioning'),
            <span key="scim">
              <StatusBadge tone={settings.scimEnabled ? 'good' : 'quiet'}>
                {settings.scimEnabled ? t('provisioningOn') : t('provisioningOff')}
              </StatusBadge>{' '}
              <Link href={screenPath(organization.slug, settings.scimEnabled ? 'overview' : 'sso')}>{t('provisioningWhere')}</Link>
            </span>,
          ],
          [t('domains'), <Link key="domains" href={screenPath(organization.slug, 'sso')}>{t('domainsWhere')}</Link>],
        ]}
      />
    </Card>
  );
}

function SettingsForm({ settings }: { settings: Settings }) {
  const { t } = useTranslation('organization');
  const viewer = useViewer();
  const { run, running } = useAction(updateMutation);
  const [name, setName] = useState(settings.name);
  const [mode, setMode] = useState<IntegrationMode>(settings.integrationMode ?? 'SCIM');
  const [problem, setProblem] = useState<Problem>();
  const [asking, setAsking] = useState(false);
  const changes: OrganizationUpdateInput = {
    ...(name.trim() !== settings.name && { name: name.trim() }),
    ...(mode !== settings.integrationMode && { integrationMode: mode }),
  };
  const dirty = Object.keys(changes).length > 0;
  const save = async () => {
    const answer = await run({ input: changes });
    if (!answer.problem) {
      notify({ kind: 'success', text: t('saved') });
    }
    return answer.problem;
  };
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setProblem(undefined);
    if (changes.integrationMode) setAsking(true);
    else setProblem(await save());
  };
  if (!viewer.may('IAM_WRITE')) {
    return (
      <Card title={t('settings')}>
        <Details
          rows={[
            [t('name'), settings.name],
            [t('mode'), settings.integrationMode ? t(`modes.${settings.integrationMode}`) : ''],
          ]}
        />
      </Card>
    );
  }
  return (
    <Card title={t('settings')}>
      <form className="form form-wide" onSubmit={(event) => void submit(event)}>
        <TextField label={t('name')} required value={name} onChange={setName} />
        <RadioField
          label={t('mode')}
          value={mode}
          choices={MODES.map((value) => ({ value, text: t(`modes.${value}`), help: t(`modeHelp.${value}`) }))}
          onChange={setMode}
        />
        {problem && <ErrorPanel problem={problem} />}
        <div className="actions">
          <Button kind="primary" type="submit" busy={running} isDisabled={!dirty}>
            {t('save')}
          </Button>
        </div>
      </form>
      <ConfirmDialog
        isOpen={asking}
        onClose={() => setAsking(false)}
        title={t('modeTitle', { mode: t(`modes.${mode}`) })}
        consequences={mode === 'SCIM' ? [t('scimAgain'), t('nativeBack')] : [t('nativeRefuses'), t('claimsAre'), t('nativeBack')]}
        confirmLabel={t('modeConfirm')}
        danger
        onConfirm={save}
      >
        {asking && <ModePreview mode={mode} />}
      </ConfirmDialog>
    </Card>
  );
}

function OperatorCard({ until }: { until: string | undefined }) {
  const { t } = useTranslation('organization');
  const { t: common } = useTranslation();
  const viewer = useViewer();
  const [asking, setAsking] = useState<'grant' | 'revoke'>();
  const [end, setEnd] = useState('');
  const [reason, setReason] = useState('');
  const { run: grant } = useAction(grantMutation);
  const { run: revoke } = useAction(revokeMutation);
  const open = until !== undefined && Date.parse(until) > Date.now();
  return (
    <Card
      title={t('operator')}
      actions={
        viewer.may('IAM_WRITE') && (
          <>
            <Button onPress={() => setAsking('grant')}>{open ? t('operatorLonger') : t('operatorGrant')}</Button>
            {open && (
              <Button kind="danger" onPress={() => setAsking('revoke')}>
                {t('operatorStop')}
              </Button>
            )}
          </>
        )
      }
    >
      <p>{t('operatorText')}</p>
      {open ? (
        <p>
          <StatusBadge tone="warning">{t('operatorOpen')}</StatusBadge> {t('operatorUntil')} <Time at={until} />
        </p>
      ) : (
        <p>
          <StatusBadge tone="good">{t('operatorClosed')}</StatusBadge>
        </p>
      )}
      <ConfirmDialog
        isOpen={asking !== undefined}
        onClose={() => setAsking(undefined)}
        title={asking === 'revoke' ? t('operatorStopTitle') : t('operatorTitle')}
        consequences={
          asking === 'revoke' ? [t('operatorStopNow')] : [t('operatorSees'), t('operatorLedger'), t('operatorEnds')]
        }
        confirmLabel={asking === 'revoke' ? t('operatorStop') : t('operatorGrant')}
        onConfirm={async () => {
          const instant = toInstant(end);
          if (reason.trim() === '' || (asking === 'grant' && instant === undefined)) {
            return { code: 'INVALID', message: t('operatorNeeds'), nextStep: t('operatorNeedsNext') };
          }
          const { problem } =
            asking === 'grant' && instant !== undefined
              ? await grant({ input: { until: instant, reason: reason.trim() } })
              : await revoke({ input: { reason: reason.trim() } });
          if (!problem) notify({ kind: 'success', text: asking === 'grant' ? t('operatorGranted') : t('operatorStopped') });
          return problem;
        }}
      >
        {asking === 'grant' && (
          <TextField
            label={t('operatorEnd')}
            help={t('operatorEndHelp')}
            type="datetime-local"
            required
            value={end}
            onChange={setEnd}
          />
        )}
        <TextField label={common('dialog.reason')} required maxLength={1000} value={reason} onChange={setReason} />
      </ConfirmDialog>
    </Card>
  );
}
