// The two lists of the review queue: writes that failed, and accounts that a connection wants to take over.
import { useTranslation } from 'react-i18next';
import { screenPath } from '../../app/paths.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Tabs } from '../../components/Tabs.tsx';

const PATHS = { failures: 'review', proposals: 'review/proposals' } as const;

export function ReviewTabs({ current, proposals }: { current: keyof typeof PATHS; proposals?: number | undefined }) {
  const { t } = useTranslation('review');
  const { organization } = useViewer();
  return (
    <Tabs
      label={t('tabs')}
      tabs={(['failures', 'proposals'] as const).map((name) => ({
        key: name,
        href: screenPath(organization.slug, PATHS[name]),
        text: (
          <>
            {t(`tab.${name}`)}
            {name === 'proposals' && proposals !== undefined && proposals > 0 && <> ({proposals})</>}
          </>
        ),
        current: name === current,
      }))}
    />
  );
}
