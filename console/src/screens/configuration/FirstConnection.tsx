// The first connection of an organization: its name and its identity provider.
import { type FormEvent, useId, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useAction } from '../../app/useAction.ts';
import { Button } from '../../components/Button.tsx';
import { ErrorPanel, type Problem } from '../../components/states.tsx';
import type { Provider } from '../../generated/graphql.ts';
import { PROVIDERS } from './Migration.tsx';
import { createConnectionMutation } from './queries.ts';

export function FirstConnection({ onMade }: { onMade: () => void }) {
  const { t } = useTranslation('configuration');
  const { t: common } = useTranslation();
  const create = useAction(createConnectionMutation);
  const [provider, setProvider] = useState<Provider>('ENTRA_ID');
  const [problem, setProblem] = useState<Problem>();
  const field = useId();
  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const name = String(new FormData(event.currentTarget).get('name') ?? '').trim();
    const { problem: refused } = await create.run({ input: { name: name || common(`provider.${provider}`), provider } });
    setProblem(refused);
    if (!refused) onMade();
  };
  return (
    <form className="filter-bar" onSubmit={(event) => void submit(event)}>
      <div className="field field-inline">
        <label htmlFor={`${field}-provider`}>{t('first.provider')}</label>
        <select id={`${field}-provider`} value={provider} onChange={(event) => setProvider(event.target.value as Provider)}>
          {PROVIDERS.map((each) => (
            <option key={each} value={each}>
              {common(`provider.${each}`)}
            </option>
          ))}
        </select>
      </div>
      <div className="field field-inline">
        <label htmlFor={`${field}-name`}>{t('first.name')}</label>
        <input id={`${field}-name`} name="name" placeholder={common(`provider.${provider}`)} autoComplete="off" />
      </div>
      <Button kind="primary" type="submit" busy={create.running}>
        {t('first.action')}
      </Button>
      {problem && <ErrorPanel problem={problem} />}
    </form>
  );
}
