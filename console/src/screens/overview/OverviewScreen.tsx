import { useTranslation } from 'react-i18next';
import { Page } from '../../components/Page.tsx';

export default function OverviewScreen() {
  const { t } = useTranslation('overview');
  return <Page title={t('title')}>…</Page>;
}
