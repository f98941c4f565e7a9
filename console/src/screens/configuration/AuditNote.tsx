// For an auditor with read access alone: the facts, and a line that can go into a note.
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { CopyRow } from '../../components/CopyButton.tsx';
import { Card } from '../../components/Page.tsx';
import { useExactTime } from '../../components/Time.tsx';
import type { Connection, Organization } from './ConfigurationScreen.tsx';

export function AuditNote({ organization, connection }: { organization: Organization; connection: Connection }) {
  const { t } = useTranslation('configuration');
  const viewer = useViewer();
  const exact = useExactTime();
  const [readAt] = useState(() => new Date());
  const newest = connection.tokens.find((token) => token.live) ?? connection.tokens[0];
  const issued = newest !== undefined;
  const configured = connection.endpoints != null;
  const line = t('audit.line', {
    at: exact(readAt),
    organization: `${organization.name} (${organization.slug})`,
    state: organization.scim?.state === 'ACTIVE' ? t('audit.active') : t('audit.inactive'),
    url: connection.endpoints?.baseUrl ?? '–',
    token: newest ? t('audit.tokenLine', { lastFour: newest.lastFour, at: exact(newest.createdAt) }) : t('audit.noToken'),
    viewer: viewer.name,
  });
  return (
    <Card
      title={t('audit.title')}
      id="audit-check"
      actions={
        <Button icon="print" onPress={() => window.print()}>
          {t('audit.print')}
        </Button>
      }
    >
      <ul className="arrivals">
        <li>{configured ? t('audit.configured') : t('audit.notConfigured')}</li>
        <li>{issued ? t('audit.issued') : t('audit.notIssued')}</li>
      </ul>
      <p className="muted">{t('audit.nothing')}</p>
      <dl>
        <CopyRow label={t('audit.note')} text={line} />
      </dl>
    </Card>
  );
}
