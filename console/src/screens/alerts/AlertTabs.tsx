// What is wrong now, and what is watched.
import { useTranslation } from 'react-i18next';
import { screenPath } from '../../app/paths.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Tabs } from '../../components/Tabs.tsx';

export function AlertTabs({ current }: { current: 'alerts' | 'rules' }) {
  const { t } = useTranslation('alerts');
  const { organization } = useViewer();
  return (
    <Tabs
      label={t('tabs')}
      tabs={(['alerts', 'rules'] as const).map((name) => ({
        key: name,
        href: screenPath(organization.slug, name === 'alerts' ? 'alerts' : 'alerts/rules'),
        text: t(`tab.${name}`),
        current: name === current,
      }))}
    />
  );
}
