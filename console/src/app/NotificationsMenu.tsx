// The bell: what needs a person now, and what this visit has done.
import { useTranslation } from 'react-i18next';
import { Button as AriaButton } from 'react-aria-components/Button';
import { Dialog, DialogTrigger, Heading } from 'react-aria-components/Modal';
import { Popover } from 'react-aria-components/Popover';
import { useQuery } from 'urql';
import { Icon } from '../components/Icon.tsx';
import { Time } from '../components/Time.tsx';
import { useNotices } from '../components/toasts.tsx';
import { useAttentionText } from '../components/useServerText.ts';
import { graphql } from '../generated/index.ts';
import { useViewer } from './viewer.tsx';

const notificationsQuery = graphql(`
  query Notifications {
    organization {
      id
      attention { kind urgency message nextStep count connection { id name } }
    }
  }
`);

export function NotificationsMenu() {
  const { t } = useTranslation();
  const viewer = useViewer();
  const say = useAttentionText();
  const [{ data }] = useQuery({ query: notificationsQuery, pause: !viewer.may('IAM_READ') });
  const attention = data?.organization?.attention ?? [];
  const notices = useNotices().toReversed();
  return (
    <DialogTrigger>
      <AriaButton className="button button-quiet button-bare bell" aria-label={t('notifications.label', { count: attention.length })}>
        <Icon name="bell" />
        {attention.length > 0 && <span className="bell-count">{attention.length}</span>}
      </AriaButton>
      <Popover className="popover popover-wide" placement="bottom end">
        <Dialog className="notifications" aria-label={t('notifications.title')}>
          <Heading slot="title">{t('notifications.title')}</Heading>
          {attention.length === 0 && notices.length === 0 && <p className="muted">{t('notifications.none')}</p>}
          {attention.length > 0 && (
            <ul className="plain">
              {attention.map((item, index) => (
                <li key={index} className={`attention attention-${item.urgency.toLowerCase()}`}>
                  <p>{say(item).text}</p>
                  <p className="muted">{say(item).next}</p>
                </li>
              ))}
            </ul>
          )}
          {notices.length > 0 && (
            <>
              <h3>{t('notifications.visit')}</h3>
              <ul className="plain">
                {notices.map((notice) => (
                  <li key={notice.id}>
                    {notice.text} <span className="muted"><Time at={notice.at} /></span>
                  </li>
                ))}
              </ul>
            </>
          )}
        </Dialog>
      </Popover>
    </DialogTrigger>
  );
}
