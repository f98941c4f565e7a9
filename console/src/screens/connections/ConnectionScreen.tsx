// One connection. Each part has an address of its own.
import { type ComponentType, useEffect, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useQuery, useSubscription } from 'urql';
import { Link, useLocation, useParams } from 'wouter';
import { screenPath } from '../../app/paths.ts';
import { useAction } from '../../app/useAction.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { ConfirmDialog } from '../../components/ConfirmDialog.tsx';
import { TextField } from '../../components/forms.tsx';
import { Icon } from '../../components/Icon.tsx';
import { Page } from '../../components/Page.tsx';
import { EmptyState, ErrorPanel, Skeleton, toProblem } from '../../components/states.tsx';
import { Tabs } from '../../components/Tabs.tsx';
import { notify } from '../../components/toasts.tsx';
import { graphql } from '../../generated/index.ts';
import { ComparisonsTab } from './ComparisonsTab.tsx';
import { HealthTab } from './HealthTab.tsx';
import { ProviderTab } from './ProviderTab.tsx';
import { RequestsTab } from './RequestsTab.tsx';
import { RunsTab } from './RunsTab.tsx';
import { SettingsTab } from './SettingsTab.tsx';
import { SetupTab } from './SetupTab.tsx';
import { TestTab } from './TestTab.tsx';
import { TokensTab } from './TokensTab.tsx';
import { type OneConnection, connectionChangedSubscription, connectionQuery } from './connection.ts';
import { HealthBadge, StateBadge } from './parts.tsx';
import './connections.css';

const TABS = ['health', 'provider', 'test', 'tokens', 'setup', 'requests', 'runs', 'comparisons', 'settings'] as const;
type Tab = (typeof TABS)[number];

const CONTENTS: Record<Tab, ComponentType<{ connection: OneConnection; reload: () => void }>> = {
  health: HealthTab,
  provider: ProviderTab,
  test: TestTab,
  tokens: TokensTab,
  setup: SetupTab,
  requests: RequestsTab,
  runs: RunsTab,
  comparisons: ComparisonsTab,
  settings: SettingsTab,
};

/** What a connection of a kind does not have. */
const WITHOUT: Record<OneConnection['kind'], readonly Tab[]> = {
  SCIM_PUSH: ['provider', 'runs'],
  SCIM_PULL: ['provider', 'tokens', 'setup'],
  ASSERTION: ['tokens', 'setup', 'runs', 'comparisons'],
};

function tabsOf(connection: OneConnection): Tab[] {
  return TABS.filter((tab) => !WITHOUT[connection.kind].includes(tab));
}

export default function ConnectionScreen() {
  const { t } = useTranslation('connections');
  const { t: common } = useTranslation();
  const viewer = useViewer();
  const params = useParams<{ id: string; tab?: string }>();
  const id = decodeURIComponent(params.id);
  const slug = viewer.organization.slug;
  const [{ data, error }, ask] = useQuery({ query: connectionQuery, variables: { id } });
  const reload = () => ask({ requestPolicy: 'network-only' });
  const [changed] = useSubscription({ query: connectionChangedSubscription, variables: { id } });
  const seq = changed.data?.connectionChanged.seq;
  useEffect(() => {
    if (seq !== undefined) ask({ requestPolicy: 'network-only' });
  }, [seq, ask]);

  const list = screenPath(slug, 'connections');
  const connection = data?.organization?.connection;
  if (!connection) {
    return (
      <Page title={common('menu.connections')}>
        {error ? (
          <ErrorPanel problem={toProblem(error)} onRetry={reload} />
        ) : data ? (
          <EmptyState icon="plug" title={t('one.gone')} actions={<Link href={list}>{t('one.toList')}</Link>} />
        ) : (
          <Skeleton lines={8} />
        )}
      </Page>
    );
  }
  const tabs = tabsOf(connection);
  const tab = tabs.find((name) => name === params.tab) ?? 'health';
  const Content = CONTENTS[tab];
  return (
    <Page
      title={connection.name}
      lead={`${common(`provider.${connection.provider}`)} · ${common(`connectionKind.${connection.kind}`)}`}
      actions={
        <>
          <StateBadge state={connection.state} />
          {connection.health && <HealthBadge state={connection.health.state} />}
          {viewer.may('IAM_WRITE') && <PauseButton connection={connection} onDone={reload} />}
        </>
      }
    >
      <p className="back-link">
        <Link href={list}>
          <Icon name="arrowLeft" /> {t('one.toList')}
        </Link>
      </p>
      {error && <ErrorPanel problem={toProblem(error)} onRetry={reload} />}
      <Tabs
        label={t('one.parts')}
        tabs={tabs.map((name) => ({
          key: name,
          href: screenPath(slug, `connections/${encodeURIComponent(id)}${name === 'health' ? '' : `/${name}`}`),
          text: t(`tab.${name}`),
          current: name === tab,
        }))}
      />
      <Content key={connection.id} connection={connection} reload={reload} />
    </Page>
  );
}

const deactivateMutation = graphql(`
  mutation ConnectionDeactivate($input: ConnectionDeactivateInput!) {
    connectionDeactivate(input: $input) {
      connection { id state version }
      userErrors { code reason message nextStep }
    }
  }
`);

const activateMutation = graphql(`
  mutation ConnectionActivate($input: ConnectionActivateInput!) {
    connectionActivate(input: $input) {
      connection { id state version }
      userErrors { code reason message nextStep }
    }
  }
`);

/** Stops and resumes the connection. Stopping asks again. */
function PauseButton({ connection, onDone }: { connection: OneConnection; onDone: () => void }) {
  const { t } = useTranslation('connections');
  const { t: common } = useTranslation();
  const [asking, setAsking] = useState(false);
  const [reason, setReason] = useState('');
  const { run: deactivate } = useAction(deactivateMutation);
  const { run: activate, running } = useAction(activateMutation);
  const [location] = useLocation();
  useEffect(() => setAsking(false), [location]);

  if (connection.state === 'INACTIVE') {
    const resume = async () => {
      const { problem } = await activate({ input: { id: connection.id, expectedVersion: connection.version } });
      if (problem) notify({ kind: 'error', text: problem.message, ...(problem.nextStep && { detail: problem.nextStep }) });
      else notify({ kind: 'success', text: t('pause.resumed', { name: connection.name }) });
      onDone();
    };
    return (
      <Button kind="primary" icon="check" busy={running} onPress={() => void resume()}>
        {t('pause.resume')}
      </Button>
    );
  }
  return (
    <>
      <Button kind="danger" onPress={() => setAsking(true)}>
        {t('pause.pause')}
      </Button>
      <ConfirmDialog
        isOpen={asking}
        onClose={() => setAsking(false)}
        title={t('pause.title', { name: connection.name })}
        consequences={[
          t(`pause.consequenceOf.${connection.kind}`),
          t('pause.consequenceKept'),
          t('pause.consequenceLeavers'),
          t('pause.consequenceResume'),
        ]}
        confirmLabel={t('pause.confirm')}
        danger
        onConfirm={async () => {
          const { problem } = await deactivate({
            input: { id: connection.id, expectedVersion: connection.version, reason: reason.trim() || null },
          });
          if (!problem) notify({ kind: 'success', text: t('pause.paused', { name: connection.name }) });
          onDone();
          return problem;
        }}
      >
        <TextField label={common('dialog.reason')} value={reason} onChange={setReason} maxLength={1000} />
      </ConfirmDialog>
    </>
  );
}
