// The live line of the first set-up: the first request, user and group turn green when they arrive.
import { useTranslation } from 'react-i18next';
import { useQuery } from 'urql';
import { Icon } from '../../components/Icon.tsx';
import { usePolling } from '../../components/useLive.ts';
import type { Connection } from './ConfigurationScreen.tsx';
import { arrivalsQuery } from './queries.ts';

const POLL_MILLISECONDS = 2_000;

export function Arrivals({ connection }: { connection: Connection }) {
  const { t } = useTranslation('configuration');
  const [{ data }, execute] = useQuery({ query: arrivalsQuery, variables: { id: connection.id }, pause: true });
  const now = data?.organization?.connection ?? connection;
  const steps = [
    { key: 'request', arrived: now.lastContactAt != null },
    { key: 'user', arrived: now.userCount > 0 },
    { key: 'group', arrived: now.groupCount > 0 },
  ] as const;
  const complete = steps.every(({ arrived }) => arrived);
  usePolling(!complete, POLL_MILLISECONDS, () => execute({ requestPolicy: 'network-only' }));
  return (
    <div>
      <h3>{t('arrivals.title')}</h3>
      <ul className="arrivals" aria-live="polite">
        {steps.map(({ key, arrived }) => (
          <li key={key} className={arrived ? 'arrived' : undefined}>
            <Icon name={arrived ? 'check' : 'clock'} />
            {t(`arrivals.${key}`)} <span className={arrived ? undefined : 'muted'}>{arrived ? t('arrivals.here') : t('arrivals.waiting')}</span>
          </li>
        ))}
      </ul>
    </div>
  );
}
