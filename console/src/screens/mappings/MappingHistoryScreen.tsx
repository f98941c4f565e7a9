// All changes of mappings, the newest first.
import { useTranslation } from 'react-i18next';
import { screenPath } from '../../app/paths.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Card, Page } from '../../components/Page.tsx';
import type { EventAction } from '../../generated/graphql.ts';
import { Story } from '../access/EventStory.tsx';

/** Changes that were previewed and applied together are one event: "access changed". */
const MAPPING_ACTIONS: EventAction[] = [
  'ROLE_MAPPING_CREATED',
  'ROLE_MAPPING_UPDATED',
  'ROLE_MAPPING_REMOVED',
  'ROLE_MAPPING_EXPIRED',
  'ROLE_MAPPING_RESTORED',
  'ACCESS_CHANGED',
];

export function MappingHistoryScreen() {
  const { t } = useTranslation('mappings');
  const viewer = useViewer();
  const { slug } = viewer.organization;
  return (
    <Page
      title={t('history.title')}
      lead={t('history.lead')}
      breadcrumb={[{ text: t('title'), href: screenPath(slug, 'mappings') }, { text: t('history.title') }]}
    >
      <Card title={t('history.changes')}>
        <Story filter={{ actions: MAPPING_ACTIONS }} href={`${screenPath(slug, 'audit')}?actions=${MAPPING_ACTIONS.join(',')}`} empty={<p>{t('history.empty')}</p>} />
      </Card>
    </Page>
  );
}
