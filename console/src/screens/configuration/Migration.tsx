// Another identity provider: the base URL stays; the token is kept or made new.
import { useId, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { PermissionGate } from '../../app/viewer.tsx';
import { useAction } from '../../app/useAction.ts';
import { Button } from '../../components/Button.tsx';
import { Card } from '../../components/Page.tsx';
import { ErrorPanel, type Problem } from '../../components/states.tsx';
import { notify } from '../../components/toasts.tsx';
import type { Provider } from '../../generated/graphql.ts';
import type { Connection } from './ConfigurationScreen.tsx';
import { providerMutation } from './queries.ts';

/** Those that have something to do with SCIM: Auth0 does not. */
export const PROVIDERS: readonly Provider[] = [
  'ENTRA_ID',
  'OKTA',
  'GOOGLE_WORKSPACE',
  'ONELOGIN',
  'JUMPCLOUD',
  'PINGONE',
  'KEYCLOAK',
  'ZITADEL',
  'GENERIC',
];

export function Migration({ connection, reload }: { connection: Connection; reload: () => void }) {
  const { t } = useTranslation('configuration');
  const { t: common } = useTranslation();
  const [provider, setProvider] = useState(connection.provider);
  const [problem, setProblem] = useState<Problem>();
  const update = useAction(providerMutation);
  const field = useId();
  const change = async () => {
    const { problem: refused } = await update.run({ input: { id: connection.id, provider, expectedVersion: connection.version } });
    setProblem(refused);
    if (refused) return;
    notify({ kind: 'success', text: t('migration.changed') });
    reload();
  };
  return (
    <Card title={t('migration.title')} id="migration">
      <ol className="numbered">
        <li>{t('migration.stays')}</li>
        <li>
          {t('migration.choose')}
          <PermissionGate needs={['IAM_WRITE']}>
            <div className="actions migration-provider">
              <label htmlFor={field}>{t('migration.provider')}</label>
              <select id={field} value={provider} onChange={(event) => setProvider(event.target.value as Provider)}>
                {PROVIDERS.map((each) => (
                  <option key={each} value={each}>
                    {common(`provider.${each}`)}
                  </option>
                ))}
              </select>
              <Button busy={update.running} isDisabled={provider === connection.provider} onPress={() => void change()}>
                {t('migration.change')}
              </Button>
            </div>
          </PermissionGate>
        </li>
        <li>{t('migration.token')}</li>
        <li>{t('migration.test')}</li>
        <li>{t('migration.remove')}</li>
      </ol>
      {problem && <ErrorPanel problem={problem} />}
    </Card>
  );
}
