// What the administrator of the identity provider does, from choosing it to the first person who arrives.
import { useEffect, useRef, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { CopyButton, CopyRow } from '../components/CopyButton.tsx';
import { Card } from '../components/Page.tsx';
import { Banner } from '../components/states.tsx';
import { Time } from '../components/Time.tsx';
import type { Provider } from '../generated/graphql.ts';
import { Arrivals } from './Arrivals.tsx';
import { FormPicture } from './FormPicture.tsx';
import type { Opening } from './link.ts';
import { FORMS, ONELOGIN_TEMPLATE, PUSHING, type Pushing, READ, STEPS, isRead } from './providers.ts';

const isPushing = (provider: Provider): provider is Pushing => PUSHING.some((each) => each === provider);

export function Guide({ opening, title }: { opening: Opening; title: string }) {
  const { t } = useTranslation('setup');
  const heading = useRef<HTMLHeadingElement>(null);
  // Auth0 sends nothing over SCIM by itself: what does in its place is another client.
  const [provider, setProvider] = useState<Provider>(opening.provider === 'AUTH0' ? 'GENERIC' : opening.provider);
  useEffect(() => heading.current?.focus(), []);
  const reads = opening.kind === 'SCIM_PULL';
  return (
    <>
      <div className="page-head">
        <h1 ref={heading} tabIndex={-1}>
          {title}
        </h1>
      </div>
      <p className="lead">
        {t('connection', { name: opening.connectionName })} · {t('ends')} <Time at={opening.expiresAt} />
      </p>
      {reads ? (
        <ReadNote provider={opening.provider} />
      ) : (
        <>
          <Chooser provider={provider} onChoose={setProvider} />
          {isPushing(provider) ? (
            <>
              <Values opening={opening} provider={provider} />
              <Steps provider={provider} />
            </>
          ) : (
            <PullNote provider={provider} />
          )}
        </>
      )}
      {!isRead(provider) && !reads && <Arrivals session={opening.session} />}
    </>
  );
}

/** Which console the steps are for. The choice stays on this page. */
function Chooser({ provider, onChoose }: { provider: Provider; onChoose: (provider: Provider) => void }) {
  const { t } = useTranslation('setup');
  const { t: common } = useTranslation();
  return (
    <Card title={t('choose.title')}>
      <fieldset className="providers">
        <legend className="visually-hidden">{t('choose.title')}</legend>
        {[...PUSHING, ...READ].map((each) => (
          <label key={each} className={each === provider ? 'provider provider-chosen' : 'provider'}>
            <input type="radio" name="provider" value={each} checked={each === provider} onChange={() => onChoose(each)} />
            {common(`provider.${each}`)}
          </label>
        ))}
      </fieldset>
    </Card>
  );
}

function Values({ opening, provider }: { opening: Opening; provider: Pushing }) {
  const { t } = useTranslation('setup');
  const fields = FORMS[provider].fields;
  const nameOf = (mark: 'url' | 'token') => fields.find((field) => field.mark === mark)?.label ?? '';
  const { token } = opening;
  // Okta's form sends the field as it is, so the word belongs into it.
  const value = token !== null && provider === 'OKTA' ? `Bearer ${token}` : token;
  return (
    <Card title={t('values.title')}>
      <p>{t('values.text')}</p>
      <dl className="values">
        {opening.baseUrl !== null && <CopyRow label={`A · ${nameOf('url')}`} text={opening.baseUrl} />}
        {value !== null ? (
          <CopyRow label={`B · ${nameOf('token')}`} text={value} />
        ) : (
          <div className="copy-row">
            <dt>B · {nameOf('token')}</dt>
            <dd>
              <code dir="ltr">rcs_…{opening.tokenLastFour}</code>
            </dd>
          </div>
        )}
      </dl>
      {value !== null ? (
        <Banner kind="warning" title={t('values.once')}>
          <p>{t('values.onceText')}</p>
          {provider === 'OKTA' && <p>{t('values.okta')}</p>}
        </Banner>
      ) : (
        <Banner kind="info" title={t('values.shown')}>
          <p>
            {t('values.shownText')}
            {opening.tokenIssuedAt && (
              <>
                {' '}
                {t('values.issued')} <Time at={opening.tokenIssuedAt} />
              </>
            )}
          </p>
        </Banner>
      )}
    </Card>
  );
}

function Steps({ provider }: { provider: Pushing }) {
  const { t } = useTranslation('setup');
  const { t: common } = useTranslation();
  const { count, picture } = STEPS[provider];
  const name = common(`provider.${provider}`);
  const step = (number: number) => t(`steps.${provider}.${number}` as 'steps.ENTRA_ID.1');
  return (
    <Card title={t('steps.title', { provider: name })}>
      <p className="muted">{t(`need.${provider}`)}</p>
      <ol className="setup-steps">
        {Array.from({ length: count }, (_, index) => (
          <li key={index}>
            <p>{step(index + 1)}</p>
            {index + 1 === picture && <FormPicture form={FORMS[provider]} provider={name} />}
            {provider === 'ONELOGIN' && index + 1 === picture && (
              <div className="template">
                <p>
                  {t('steps.template')} <CopyButton text={ONELOGIN_TEMPLATE} label="SCIM JSON Template" />
                </p>
                <pre tabIndex={0} dir="ltr">
                  {ONELOGIN_TEMPLATE}
                </pre>
              </div>
            )}
          </li>
        ))}
      </ol>
      <Banner kind="info" title={t('attributes.title')}>
        <p>{t(`attributes.${provider}`)}</p>
      </Banner>
    </Card>
  );
}

/** Keycloak and Zitadel send nothing by themselves. */
function PullNote({ provider }: { provider: Provider }) {
  const { t } = useTranslation('setup');
  const { t: common } = useTranslation();
  const name = common(`provider.${provider}`);
  return (
    <Card title={t('pull.title', { provider: name })}>
      <p>{t('pull.text', { provider: name })}</p>
      <ol className="setup-steps">
        <li>{t('pull.one', { provider: name })}</li>
        <li>{t('pull.two')}</li>
        <li>{t('pull.three')}</li>
      </ol>
      <Banner kind="warning" title={t('pull.token')}>
        <p>{t('pull.tokenText')}</p>
      </Banner>
    </Card>
  );
}

/** The link of a connection that reads: nothing is entered at the other end. */
function ReadNote({ provider }: { provider: Provider }) {
  const { t } = useTranslation('setup');
  const { t: common } = useTranslation();
  return (
    <Card title={t('pull.readsTitle')}>
      <p>{t('pull.readsText', { provider: common(`provider.${provider}`) })}</p>
      <ol className="setup-steps">
        <li>{t('pull.one', { provider: common(`provider.${provider}`) })}</li>
        <li>{t('pull.two')}</li>
      </ol>
    </Card>
  );
}
