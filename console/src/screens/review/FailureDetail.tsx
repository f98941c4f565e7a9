// One failed write: what was wanted, why it failed, what fixes it, and what the request looked like without its values.
import { useTranslation } from 'react-i18next';
import { Link } from 'wouter';
import { screenPath } from '../../app/paths.ts';
import { useViewer } from '../../app/viewer.tsx';
import { CopyButton } from '../../components/CopyButton.tsx';
import { Icon } from '../../components/Icon.tsx';
import { StatusBadge, type Tone } from '../../components/StatusBadge.tsx';
import { Time } from '../../components/Time.tsx';
import { useMessageText, useRequestMeaning } from '../../components/useServerText.ts';
import type { FailureFieldsFragment, FailureState } from '../../generated/graphql.ts';
import { Details, useNumbers } from '../connections/parts.tsx';
import { ProposalActions } from './ProposalActions.tsx';

const TONES: Record<FailureState, Tone> = { OPEN: 'warning', RETRYING: 'info', RESOLVED: 'good', DISMISSED: 'quiet' };

export function FailureBadge({ state }: { state: FailureState }) {
  const { t } = useTranslation('review');
  return <StatusBadge tone={TONES[state]}>{t(`state.${state}`)}</StatusBadge>;
}

interface FailureDetailProps {
  failure: FailureFieldsFragment;
  actions?: React.ReactNode;
  onDecided: () => void;
}

export function FailureDetail({ failure, actions, onDecided }: FailureDetailProps) {
  const { t } = useTranslation('review');
  const { t: common } = useTranslation();
  const viewer = useViewer();
  const numbers = useNumbers();
  const say = useMessageText();
  const meaning = useRequestMeaning();
  const slug = viewer.organization.slug;
  const path = (screen: string, id: string) => screenPath(slug, `${screen}/${encodeURIComponent(id)}`);
  const { adoptionProposal } = failure;
  return (
    <article className="detail-view">
      <div className="detail-head">
        <h2>
          {meaning(failure.operation)}
          {failure.label && <> · {failure.label}</>}
        </h2>
        <FailureBadge state={failure.state} />
      </div>
      <p className="failure-message">{say(failure.message, failure.messageParts)}</p>
      <div className="fix">
        <Icon name="arrowRight" />
        <div>
          <h3>{t('detail.fix')}</h3>
          <p>{say(failure.suggestion.message, failure.suggestion.messageParts)}</p>
        </div>
      </div>
      {adoptionProposal?.state === 'PENDING' && (
        <div className="fix">
          <Icon name="person" />
          <div>
            <h3>{t('detail.proposal')}</h3>
            <p>{t(`proposalCause.${adoptionProposal.cause}`)}</p>
            <ProposalActions proposal={adoptionProposal} onDecided={onDecided} />
          </div>
        </div>
      )}
      {actions}
      <Details
        rows={[
          [
            t('detail.cause'),
            <span key="cause">
              {t(`cause.${failure.cause}`)} <code>{failure.code}</code>
              <br />
              <span className="muted">{t(`causeText.${failure.cause}`)}</span>
            </span>,
          ],
          failure.field != null && [t('detail.field'), <code key="field">{failure.field}</code>],
          failure.connection && [
            t('detail.connection'),
            <Link key="connection" href={path('connections', failure.connection.id)}>
              {failure.connection.name}
            </Link>,
          ],
          failure.user && [
            t('detail.user'),
            <Link key="user" href={path('people', failure.user.id)}>
              {failure.user.displayName || failure.user.userName}
            </Link>,
          ],
          failure.group && [
            t('detail.group'),
            <Link key="group" href={path('groups', failure.group.id)}>
              {failure.group.displayName}
            </Link>,
          ],
          [t('detail.count'), numbers.whole(failure.count)],
          [t('detail.first'), <Time key="first" at={failure.firstAt} />],
          [t('detail.last'), <Time key="last" at={failure.lastAt} />],
          failure.attempts > 0 && [t('detail.attempts'), numbers.whole(failure.attempts)],
          failure.nextAttemptAt != null && [t('detail.nextAttempt'), <Time key="next" at={failure.nextAttemptAt} />],
          [t('detail.assigned'), failure.assignedTo ?? common('state.none')],
          failure.resolution != null && [t('detail.resolution'), t(`resolution.${failure.resolution}`)],
          failure.reason != null && [t('detail.reason'), failure.reason],
          failure.finishedAt != null && [
            t('detail.finished'),
            <span key="finished">
              <Time at={failure.finishedAt} />
              {failure.finishedBy && <> · {failure.finishedBy}</>}
            </span>,
          ],
          failure.lastRequestId != null && [
            t('detail.request'),
            <span key="request" className="request-id">
              <code>{failure.lastRequestId}</code>
              <CopyButton text={failure.lastRequestId} label={t('detail.request')} />
            </span>,
          ],
        ]}
      />
      {failure.redactedRequest != null && (
        <details open>
          <summary>{t('detail.redacted')}</summary>
          <p className="muted">{t('detail.redactedText')}</p>
          <pre tabIndex={0} className="json">
            {JSON.stringify(failure.redactedRequest, null, 2)}
          </pre>
        </details>
      )}
    </article>
  );
}
