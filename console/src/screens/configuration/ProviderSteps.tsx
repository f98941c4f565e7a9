// Where both values go, in the words of the identity provider's own console.
import { useTranslation } from 'react-i18next';
import { Card } from '../../components/Page.tsx';
import type { Connection } from './ConfigurationScreen.tsx';

const STEPS = ['one', 'two', 'three'] as const;

export function ProviderSteps({ connection }: { connection: Connection }) {
  const { t } = useTranslation('configuration');
  const { t: common } = useTranslation();
  const { provider } = connection;
  return (
    <Card title={t('steps.title', { provider: common(`provider.${provider}`) })} id="steps">
      <ol className="numbered">
        {STEPS.map((step) => (
          <li key={step}>{t(`steps.${provider}.${step}`)}</li>
        ))}
      </ol>
      <p className="muted">{t('steps.test')}</p>
    </Card>
  );
}
