// What is wrong now, and what is watched.
import { useTranslation } from 'react-i18next';
import { Link } from 'wouter';
import { screenPath } from '../../app/paths.ts';
import { useViewer } from '../../app/viewer.tsx';
import '../connections/connections.css';

export function AlertTabs({ current }: { current: 'alerts' | 'rules' }) {
  const { t } = useTranslation('alerts');
  const { organization } = useViewer();
  return (
    <nav className="tabs" aria-label={t('tabs')}>
      <ul>
        {(['alerts', 'rules'] as const).map((name) => (
          <li key={name}>
            <Link
              href={screenPath(organization.slug, name === 'alerts' ? 'alerts' : 'alerts/rules')}
              aria-current={name === current ? 'page' : undefined}
            >
              {t(`tab.${name}`)}
            </Link>
          </li>
        ))}
      </ul>
    </nav>
  );
}
