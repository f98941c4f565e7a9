// Our own keys of a SAML connection: which certificates the identity provider may know, and exchanging the key.
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useAction } from '../../app/useAction.ts';
import { PermissionGate } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { ConfirmDialog } from '../../components/ConfirmDialog.tsx';
import { CopyButton } from '../../components/CopyButton.tsx';
import { type Column, DataTable } from '../../components/DataTable.tsx';
import { Card } from '../../components/Page.tsx';
import { ReasonField } from '../../components/ReasonField.tsx';
import { StatusBadge, type Tone } from '../../components/StatusBadge.tsx';
import { Time } from '../../components/Time.tsx';
import { notify } from '../../components/toasts.tsx';
import type { AssertionSourceFieldsFragment, ServiceCertificateState } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import type { OneConnection } from './connection.ts';
import { Fingerprint } from './parts.tsx';

const prepareMutation = graphql(`
  mutation SamlKeyPrepare($input: SamlKeyPrepareInput!) {
    samlKeyPrepare(input: $input) {
      connection { id version }
      userErrors { code reason message nextStep }
    }
  }
`);

const activateMutation = graphql(`
  mutation SamlKeyActivate($input: SamlKeyActivateInput!) {
    samlKeyActivate(input: $input) {
      connection { id version }
      userErrors { code reason message nextStep }
    }
  }
`);

type Certificate = NonNullable<AssertionSourceFieldsFragment['saml']>['serviceCertificates'][number];

const TONES: Record<ServiceCertificateState, Tone> = { ACTIVE: 'good', PREPARED: 'info', RETIRING: 'quiet' };

interface ServiceKeysCardProps {
  connection: OneConnection;
  certificates: readonly Certificate[];
  reload: () => void;
}

export function ServiceKeysCard({ connection, certificates, reload }: ServiceKeysCardProps) {
  const { t } = useTranslation('connections');
  const { t: common } = useTranslation();
  const [asking, setAsking] = useState(false);
  const [reason, setReason] = useState('');
  const { run: prepare, running } = useAction(prepareMutation);
  const { run: activate } = useAction(activateMutation);
  const prepared = certificates.some(({ state }) => state === 'PREPARED');
  const makeKey = async () => {
    const { problem } = await prepare({ input: { connectionId: connection.id, expectedVersion: connection.version } });
    if (problem) notify({ kind: 'error', text: problem.message, ...(problem.nextStep && { detail: problem.nextStep }) });
    else notify({ kind: 'success', text: t('serviceKeys.prepared') });
    reload();
  };
  const columns: Column<Certificate>[] = [
    { key: 'fingerprint', title: t('certificates.fingerprint'), header: true, cell: (row) => <Fingerprint value={row.fingerprint} /> },
    {
      key: 'state',
      title: t('list.state'),
      cell: (row) => (
        <>
          <StatusBadge tone={TONES[row.state]}>{t(`serviceKeys.state.${row.state}`)}</StatusBadge>
          {row.retiresAt && (
            <p className="muted">
              {t('serviceKeys.until')} <Time at={row.retiresAt} />
            </p>
          )}
        </>
      ),
    },
    { key: 'ends', title: t('tokens.ends'), cell: (row) => <Time at={row.notAfter} /> },
    { key: 'copy', title: t('serviceKeys.text'), cell: (row) => <CopyButton text={row.certificate} label={t('serviceKeys.copy', { state: t(`serviceKeys.state.${row.state}`) })} /> },
  ];
  return (
    <Card
      title={t('serviceKeys.title')}
      actions={
        <PermissionGate needs={['IAM_WRITE']}>
          {prepared ? (
            <Button kind="primary" onPress={() => setAsking(true)}>
              {t('serviceKeys.activate')}
            </Button>
          ) : (
            <Button icon="key" busy={running} onPress={() => void makeKey()}>
              {t('serviceKeys.prepare')}
            </Button>
          )}
        </PermissionGate>
      }
    >
      <p className="muted">{t('service.certificateText')}</p>
      {prepared && <p>{t('serviceKeys.waiting')}</p>}
      <DataTable label={common('table.rows', { label: t('serviceKeys.title') })} columns={columns} rows={certificates} rowKey={(row) => row.fingerprint} />
      <ConfirmDialog
        isOpen={asking}
        onClose={() => setAsking(false)}
        title={t('serviceKeys.activateTitle')}
        consequences={[t('serviceKeys.signs'), t('serviceKeys.known'), t('serviceKeys.overlap')]}
        confirmLabel={t('serviceKeys.activate')}
        onConfirm={async () => {
          const { problem } = await activate({
            input: { connectionId: connection.id, expectedVersion: connection.version, ...(reason.trim() && { reason: reason.trim() }) },
          });
          if (!problem) notify({ kind: 'success', text: t('serviceKeys.activated') });
          reload();
          return problem;
        }}
      >
        <ReasonField value={reason} onChange={setReason} />
      </ConfirmDialog>
    </Card>
  );
}
