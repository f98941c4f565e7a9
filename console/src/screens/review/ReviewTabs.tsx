// The two lists of the review queue: writes that failed, and accounts that a connection wants to take over.
import { useTranslation } from 'react-i18next';
import { Link } from 'wouter';
import { screenPath } from '../../app/paths.ts';
import { useViewer } from '../../app/viewer.tsx';
import '../connections/connections.css';

const PATHS = { failures: 'review', proposals: 'review/proposals' } as const;

export function ReviewTabs({ current, proposals }: { current: keyof typeof PATHS; proposals?: number | undefined }) {
  const { t } = useTranslation('review');
  const { organization } = useViewer();
  return (
    <nav className="tabs" aria-label={t('tabs')}>
      <ul>
        {(['failures', 'proposals'] as const).map((name) => (
          <li key={name}>
            <Link href={screenPath(organization.slug, PATHS[name])} aria-current={name === current ? 'page' : undefined}>
              {t(`tab.${name}`)}
              {name === 'proposals' && proposals !== undefined && proposals > 0 && <> ({proposals})</>}
            </Link>
          </li>
        ))}
      </ul>
    </nav>
  );
}
