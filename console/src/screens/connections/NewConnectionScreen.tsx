// Makes a connection; afterwards its own screen leads on.
import { type FormEvent, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useLocation, useSearchParams } from 'wouter';
import { oneOf } from '../../app/address.ts';
import { screenPath } from '../../app/paths.ts';
import { useAction } from '../../app/useAction.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { RadioField } from '../../components/forms.tsx';
import { Icon } from '../../components/Icon.tsx';
import { Card, Page } from '../../components/Page.tsx';
import { ErrorPanel, type Problem } from '../../components/states.tsx';
import { notify } from '../../components/toasts.tsx';
import type { AssertionProtocol } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';
import { ClaimRulesCard, OidcCards } from './AssertionFields.tsx';
import { GeneralFields, NEW_FIELDS, NEW_PULL, RuleFields, SourceFields, toNumber, toText } from './ConnectionFields.tsx';
import { MetadataCard, SamlCards } from './SamlFields.tsx';
import { NEW_CLAIMS, NEW_OIDC, toClaimRules, toOidcInput } from './assertion.ts';
import { NEW_METADATA, NEW_SAML, toSamlInput } from './saml.ts';
import './connections.css';

const createMutation = graphql(`
  mutation ConnectionCreate($input: ConnectionCreateInput!) {
    connectionCreate(input: $input) {
      connection { id name kind }
      userErrors { code reason message nextStep }
    }
  }
`);

const PROTOCOLS: readonly AssertionProtocol[] = ['OIDC', 'SAML'];
const WAYS = ['SCIM_PUSH', 'SCIM_PULL', 'ASSERTION'] as const;

export default function NewConnectionScreen() {
  const { t } = useTranslation('connections');
  const { t: common } = useTranslation();
  const { organization } = useViewer();
  const [, navigate] = useLocation();
  const [params] = useSearchParams();
  const [way, setWay] = useState<(typeof WAYS)[number]>(oneOf(WAYS, params.get('way') ?? undefined) ?? 'SCIM_PUSH');
  const [fields, setFields] = useState(NEW_FIELDS);
  const [pull, setPull] = useState(NEW_PULL);
  const [protocol, setProtocol] = useState<AssertionProtocol>(oneOf(PROTOCOLS, params.get('protocol') ?? undefined) ?? 'OIDC');
  const [metadata, setMetadata] = useState(NEW_METADATA);
  const [saml, setSaml] = useState(NEW_SAML);
  const [oidc, setOidc] = useState(NEW_OIDC);
  const [claims, setClaims] = useState(NEW_CLAIMS);
  const [problem, setProblem] = useState<Problem>();
  const { run, running } = useAction(createMutation);
  const list = screenPath(organization.slug, 'connections');

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setProblem(undefined);
    const credentials = pull.auth === 'CLIENT_CREDENTIALS';
    const answer = await run({
      input: {
        name: fields.name.trim(),
        provider: fields.provider,
        deletionPolicy: fields.deletionPolicy,
        adoptionPolicy: fields.adoptionPolicy,
        revivalDays: Number(fields.revivalDays),
        announcesCursorPaging: fields.announcesCursorPaging,
        ...(way === 'ASSERTION' && {
          assertion: protocol === 'SAML' ? { saml: toSamlInput(saml, metadata) } : { oidc: toOidcInput(oidc) },
          claims: toClaimRules(claims),
        }),
        ...(way === 'SCIM_PULL' && {
          pull: {
            baseUrl: pull.baseUrl.trim(),
            auth: pull.auth,
            ...(credentials && { tokenUrl: toText(pull.tokenUrl), clientId: toText(pull.clientId), scope: toText(pull.scope) }),
            secret: toText(pull.secret),
            pageSize: Number(pull.pageSize),
            userFilter: toText(pull.userFilter),
            intervalMinutes: toNumber(pull.intervalMinutes),
            incrementalMinutes: toNumber(pull.incrementalMinutes),
            shrinkPercent: Number(pull.shrinkPercent),
          },
        }),
      },
    });
    if (answer.problem) {
      setProblem(answer.problem);
      return;
    }
    const created = answer.payload.connection;
    if (!created) return;
    notify({ kind: 'success', text: t('create.done', { name: created.name }) });
    // Where the next step is: a token to give away, addresses to enter there, or a test.
    const next = created.kind === 'SCIM_PUSH' ? 'tokens' : created.kind === 'ASSERTION' && protocol === 'SAML' ? 'provider' : 'test';
    navigate(screenPath(organization.slug, `connections/${encodeURIComponent(created.id)}/${next}`));
  };

  return (
    <Page title={t('create.title')} lead={t('create.lead')}>
      <p className="back-link">
        <Link href={list}>
          <Icon name="arrowLeft" /> {t('one.toList')}
        </Link>
      </p>
      <form className="form form-wide" onSubmit={(event) => void submit(event)}>
        <Card title={t('create.way')}>
          <RadioField
            label={t('create.wayLabel')}
            value={way}
            choices={WAYS.map((value) => ({
              value,
              text: common(`connectionKind.${value}`),
              help: t(`wayHelp.${value}`),
            }))}
            onChange={setWay}
          />
          {way === 'ASSERTION' && (
            <RadioField
              label={t('create.protocol')}
              value={protocol}
              choices={PROTOCOLS.map((value) => ({ value, text: t(`protocol.${value}`), help: t(`protocolHelp.${value}`) }))}
              onChange={setProtocol}
            />
          )}
        </Card>
        <GeneralFields
          values={fields}
          onChange={(changed) => setFields({ ...fields, ...changed })}
          signsIn={way === 'ASSERTION'}
        />
        {way === 'SCIM_PULL' && (
          <SourceFields values={pull} hasSecret={false} onChange={(changed) => setPull({ ...pull, ...changed })} />
        )}
        {way === 'ASSERTION' && (
          <>
            {protocol === 'SAML' ? (
              <>
                <MetadataCard values={metadata} onChange={(changed) => setMetadata((before) => ({ ...before, ...changed }))} />
                <SamlCards values={saml} provider={fields.provider} isNew onChange={(changed) => setSaml({ ...saml, ...changed })} />
              </>
            ) : (
              <OidcCards
                values={oidc}
                provider={fields.provider}
                hasSecret={false}
                isNew
                onChange={(changed) => setOidc({ ...oidc, ...changed })}
              />
            )}
            <ClaimRulesCard values={claims} isNew onChange={(changed) => setClaims({ ...claims, ...changed })} />
          </>
        )}
        <RuleFields values={fields} onChange={(changed) => setFields({ ...fields, ...changed })} />
        {problem && <ErrorPanel problem={problem} />}
        <div className="actions">
          <Button kind="primary" type="submit" busy={running}>
            {t('create.action')}
          </Button>
          <Button kind="quiet" onPress={() => navigate(list)}>
            {common('dialog.cancel')}
          </Button>
        </div>
      </form>
    </Page>
  );
}
