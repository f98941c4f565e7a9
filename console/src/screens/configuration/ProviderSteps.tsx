// Where both values go, in the words of the identity provider's own console.
import { useTranslation } from 'react-i18next';
import { Card } from '../../components/Page.tsx';
import type { Provider } from '../../generated/graphql.ts';
import type { Connection } from './ConfigurationScreen.tsx';

/** The consoles that have the same address for all customers. */
const CONSOLES: Partial<Record<Provider, string>> = {
  ENTRA_ID: 'https://entra.microsoft.com/',
  OKTA: 'https://login.okta.com/',
  GOOGLE_WORKSPACE: 'https://admin.google.com/',
  ONELOGIN: 'https://app.onelogin.com/',
  JUMPCLOUD: 'https://console.jumpcloud.com/',
  PINGONE: 'https://console.pingone.com/',
  AUTH0: 'https://manage.auth0.com/',
};

const STEPS = ['one', 'two', 'three'] as const;

export function ProviderSteps({ connection }: { connection: Connection }) {
  const { t } = useTranslation('configuration');
  const { t: common } = useTranslation();
  const { provider } = connection;
  const name = common(`provider.${provider}`);
  const address = CONSOLES[provider];
  return (
    <Card
      title={t('steps.title', { provider: name })}
      id="steps"
      actions={
        address && (
          <a href={address} target="_blank" rel="noreferrer">
            {t('steps.open', { provider: name })}
          </a>
        )
      }
    >
      <ol className="numbered">
        {STEPS.map((step) => (
          <li key={step}>{t(`steps.${provider}.${step}`)}</li>
        ))}
      </ol>
      <p className="muted">{t('steps.test')}</p>
    </Card>
  );
}
