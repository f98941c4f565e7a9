// The identity provider of a connection by sign-ins: what to enter there, what it said of itself, and its certificates.
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useAction } from '../../app/useAction.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { PlainDialog } from '../../components/ConfirmDialog.tsx';
import { CopyRow } from '../../components/CopyButton.tsx';
import { type Column, DataTable } from '../../components/DataTable.tsx';
import { DialogForm } from '../../components/DialogForm.tsx';
import { toMistake } from '../../components/mistakes.ts';
import { Card } from '../../components/Page.tsx';
import { StatusBadge } from '../../components/StatusBadge.tsx';
import { Banner, ErrorPanel, type Problem } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import { notify } from '../../components/toasts.tsx';
import type { AssertionSourceFieldsFragment, SamlMetadataInput } from '../../generated/graphql.ts';
import { MetadataInputs } from './SamlFields.tsx';
import { type OneConnection, updateMutation } from './connection.ts';
import { ServiceKeysCard } from './ServiceKeys.tsx';
import { Details, Fingerprint } from './parts.tsx';
import { type MetadataFields, NEW_METADATA, toMetadata } from './saml.ts';

type Saml = NonNullable<AssertionSourceFieldsFragment['saml']>;
type Certificate = Saml['certificates'][number];

/** A certificate that ends within so many days is about to end. */
const SOON_DAYS = 30;
const DAY_MILLISECONDS = 86_400_000;

interface TabProps {
  connection: OneConnection;
  reload: () => void;
}

export function ProviderTab({ connection, reload }: TabProps) {
  const { t } = useTranslation('connections');
  const source = connection.assertionSource;
  if (!source) return null;
  return (
    <div className="stack">
      {source.saml && <ServiceCard saml={source.saml} />}
      {source.saml && <MetadataCard connection={connection} saml={source.saml} reload={reload} />}
      {source.saml && <CertificatesCard certificates={source.saml.certificates} />}
      {source.saml && <ServiceKeysCard connection={connection} certificates={source.saml.serviceCertificates} reload={reload} />}
      {source.oidc && (
        <Card title={t('oidc.title')}>
          <Details
            rows={[
              [t('oidc.issuer'), <code key="issuer">{source.oidc.issuer}</code>],
              [t('settings.clientId'), <code key="client">{source.oidc.clientId}</code>],
              [t('oidc.discovery'), <code key="discovery">{source.oidc.discoveryUrl}</code>],
            ]}
          />
        </Card>
      )}
      <Card title={t('signInUrls.title')}>
        <dl>
          {source.oidc && <CopyRow label={t('signInUrls.redirect')} text={source.oidc.redirectUri} />}
          <CopyRow label={t('signInUrls.signIn')} text={source.signInUrl} />
          <CopyRow label={t('signInUrls.submit')} text={source.submitUrl} />
        </dl>
        {source.oidc && <p className="muted">{t('signInUrls.redirectText')}</p>}
        <p className="muted">{t('signInUrls.text')}</p>
      </Card>
    </div>
  );
}

/** What the administrator of the identity provider enters there. */
function ServiceCard({ saml }: { saml: Saml }) {
  const { t } = useTranslation('connections');
  return (
    <Card title={t('service.title')}>
      <p>{t('service.text')}</p>
      <dl>
        <CopyRow label={t('service.metadata')} text={saml.serviceMetadataUrl} />
        <CopyRow label={t('service.entity')} text={saml.serviceEntityId} />
        <CopyRow label={t('service.consumer')} text={saml.consumerUrl} />
      </dl>
    </Card>
  );
}

function MetadataCard({ connection, saml, reload }: TabProps & { saml: Saml }) {
  const { t } = useTranslation('connections');
  const viewer = useViewer();
  const { run, running } = useAction(updateMutation);
  const [problem, setProblem] = useState<Problem>();
  const [replacing, setReplacing] = useState(false);
  const [fields, setFields] = useState<MetadataFields>(NEW_METADATA);
  const write = async (metadata: { metadata: SamlMetadataInput; entityId?: string }) => {
    const answer = await run({
      input: { id: connection.id, expectedVersion: connection.version, assertion: { saml: metadata } },
    });
    if (!answer.problem) notify({ kind: 'success', text: t('metadata.done') });
    reload();
    return answer.problem;
  };
  const readAgain = async (url: string) => setProblem(await write({ metadata: { url }, entityId: saml.entityId }));
  const { metadataUrl } = saml;
  return (
    <Card
      title={t('metadata.title')}
      actions={
        viewer.may('IAM_WRITE') && (
          <>
            {metadataUrl && (
              <Button icon="reload" busy={running} onPress={() => void readAgain(metadataUrl)}>
                {t('metadata.again')}
              </Button>
            )}
            <Button
              onPress={() => {
                setFields({ ...NEW_METADATA, form: metadataUrl ? 'url' : 'xml', url: metadataUrl ?? '' });
                setReplacing(true);
              }}
            >
              {t('metadata.replace')}
            </Button>
          </>
        )
      }
    >
      {problem && <ErrorPanel problem={problem} />}
      {saml.metadataRefresh?.failingSince && (
        <Banner kind="warning" title={t('metadata.unread')}>
          <p>
            {t('metadata.since')} <Time at={saml.metadataRefresh.failingSince} />
          </p>
          <RefreshTrouble refresh={saml.metadataRefresh} />
        </Banner>
      )}
      <Details
        rows={[
          [t('saml.entity'), <code key="entity">{saml.entityId}</code>],
          [t('metadata.signIn'), saml.signInUrl ? <code key="url">{saml.signInUrl}</code> : t('metadata.noSignIn')],
          [t('metadata.from'), metadataUrl ? <code key="from">{metadataUrl}</code> : t('metadata.text')],
          [t('metadata.readAt'), <Time key="at" at={saml.metadataReadAt} />],
          saml.metadataRefresh && [t('metadata.next'), <Time key="next" at={saml.metadataRefresh.nextAt} />],
        ]}
      />
      <p className="muted">{t('metadata.requests')}</p>
      <PlainDialog isOpen={replacing} onClose={() => setReplacing(false)} title={t('metadata.replaceTitle')}>
        <DialogForm
          action={t('metadata.take')}
          ready={(fields.form === 'url' ? fields.url : fields.xml).trim() !== ''}
          onClose={() => setReplacing(false)}
          onSubmit={async () => {
            const failed = await write(toMetadata(fields));
            if (!failed) setReplacing(false);
            return failed;
          }}
        >
          <p>{t('metadata.replaceText')}</p>
          <MetadataInputs values={fields} onChange={(changed) => setFields((before) => ({ ...before, ...changed }))} />
        </DialogForm>
      </PlainDialog>
    </Card>
  );
}

function CertificateState({ certificate }: { certificate: Certificate }) {
  const { t } = useTranslation('connections');
  const left = new Date(certificate.notAfter).valueOf() - Date.now();
  if (left <= 0) return <StatusBadge tone="bad">{t('certificates.ended')}</StatusBadge>;
  if (left <= SOON_DAYS * DAY_MILLISECONDS) return <StatusBadge tone="warning">{t('certificates.soon')}</StatusBadge>;
  return <StatusBadge tone="good">{t('certificates.valid')}</StatusBadge>;
}

function CertificatesCard({ certificates }: { certificates: readonly Certificate[] }) {
  const { t } = useTranslation('connections');
  const { t: common } = useTranslation();
  const columns: Column<Certificate>[] = [
    {
      key: 'fingerprint',
      title: t('certificates.fingerprint'),
      header: true,
      cell: (row) => <Fingerprint value={row.fingerprint} />,
    },
    { key: 'state', title: t('list.state'), cell: (row) => <CertificateState certificate={row} /> },
    { key: 'from', title: t('certificates.from'), cell: (row) => <Time at={row.notBefore} /> },
    { key: 'ends', title: t('tokens.ends'), cell: (row) => <Time at={row.notAfter} /> },
  ];
  const last = Math.max(...certificates.map(({ notAfter }) => new Date(notAfter).valueOf()));
  const ending = last - Date.now() <= SOON_DAYS * DAY_MILLISECONDS;
  return (
    <Card title={t('certificates.title')}>
      <p className="muted">{t('certificates.text')}</p>
      {ending && (
        <Banner kind="warning" title={t('certificates.renew')}>
          <p>{t('certificates.renewText')}</p>
        </Banner>
      )}
      <DataTable label={common('table.rows', { label: t('certificates.title') })} columns={columns} rows={certificates} rowKey={(row) => row.fingerprint} />
    </Card>
  );
}

/** Why metadata were not read, and what to do about it. */
function RefreshTrouble({ refresh }: { refresh: NonNullable<NonNullable<AssertionSourceFieldsFragment['saml']>['metadataRefresh']> }) {
  const { reason, message, nextStep } = refresh;
  if (!message) return null;
  const said = reason ? toMistake({ code: reason, reason, message, nextStep }) : { message, nextStep };
  return (
    <>
      <p>{said.message}</p>
      {said.nextStep && <p>{said.nextStep}</p>}
    </>
  );
}
