// One finding: how the two sides differ, whom it is about, and what can be decided.
import { useTranslation } from 'react-i18next';
import { Link } from 'wouter';
import { screenPath } from '../../app/paths.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Button } from '../../components/Button.tsx';
import { Icon } from '../../components/Icon.tsx';
import { StatusBadge, type Tone } from '../../components/StatusBadge.tsx';
import { Banner } from '../../components/states.tsx';
import { Time } from '../../components/Time.tsx';
import { useMessageText } from '../../components/useServerText.ts';
import type { FindingChoice, FindingFieldsFragment, FindingState } from '../../generated/graphql.ts';
import { Details, useNumbers } from '../connections/parts.tsx';

const TONES: Record<FindingState, Tone> = { OPEN: 'warning', RESOLVED: 'good', ACCEPTED: 'info', GONE: 'quiet' };

export function FindingBadge({ state }: { state: FindingState }) {
  const { t } = useTranslation('findings');
  return <StatusBadge tone={TONES[state]}>{t(`state.${state}`)}</StatusBadge>;
}

/** A value of either side as text. */
function showValue(value: unknown): string {
  if (typeof value === 'string') return value;
  return JSON.stringify(value);
}

interface FindingDetailProps {
  finding: FindingFieldsFragment;
  onChoose: ((choice: FindingChoice) => void) | undefined;
}

export function FindingDetail({ finding, onChoose }: FindingDetailProps) {
  const { t } = useTranslation('findings');
  const { t: common } = useTranslation();
  const { organization } = useViewer();
  const numbers = useNumbers();
  const say = useMessageText();
  const path = (screen: string, id: string) => screenPath(organization.slug, `${screen}/${encodeURIComponent(id)}`);
  return (
    <article className="detail-view">
      <div className="detail-head">
        <h2>{finding.label ?? t('unnamed')}</h2>
        <FindingBadge state={finding.state} />
      </div>
      <p className="failure-message">
        {t(`kind.${finding.kind}`)}: {t(`kindText.${finding.kind}`)}
      </p>
      {finding.leaver && finding.state === 'OPEN' && (
        <Banner kind="warning" title={t('leaverTitle', { count: finding.rolesHeld })} />
      )}
      <div className="fix">
        <Icon name="arrowRight" />
        <div>
          <h3>{t('fix')}</h3>
          <p>{say(finding.nextStep, finding.nextStepParts)}</p>
        </div>
      </div>
      {onChoose && finding.choices.length > 0 && (
        <div className="actions">
          {finding.choices.map((choice) => (
            <Button
              key={choice}
              kind={choice === 'DELETE' || choice === 'SUSPEND' ? 'danger' : 'secondary'}
              onPress={() => onChoose(choice)}
            >
              {t(`choice.${choice}`)}
            </Button>
          ))}
        </div>
      )}
      {finding.differences && finding.differences.length > 0 && (
        <div className="table-scroll" tabIndex={0} role="region" aria-label={t('differences')}>
          <table className="table">
            <caption className="visually-hidden">{t('differences')}</caption>
            <thead>
              <tr>
                <th scope="col">{t('attribute')}</th>
                <th scope="col">{t('theirs')}</th>
                <th scope="col">{t('ours')}</th>
                <th scope="col">{t('changed')}</th>
              </tr>
            </thead>
            <tbody>
              {finding.differences.map((difference) => (
                <tr key={difference.attribute}>
                  <th scope="row">
                    <code>{difference.attribute}</code>
                  </th>
                  <td>{difference.theirs == null ? <span className="muted">{common('state.none')}</span> : showValue(difference.theirs)}</td>
                  <td>{difference.ours == null ? <span className="muted">{common('state.none')}</span> : showValue(difference.ours)}</td>
                  <td>
                    {difference.changedAt && <Time at={difference.changedAt} />}
                    {difference.changedBy && <> · {difference.changedBy}</>}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      <Details
        rows={[
          finding.user && [
            t('user'),
            <Link key="user" href={path('people', finding.user.id)}>
              {finding.user.displayName || finding.user.userName}
            </Link>,
          ],
          finding.group && [
            t('group'),
            <Link key="group" href={path('groups', finding.group.id)}>
              {finding.group.displayName}
            </Link>,
          ],
          finding.connection && [
            t('connection'),
            <Link key="connection" href={path('connections', finding.connection.id)}>
              {finding.connection.name}
            </Link>,
          ],
          finding.accountClass != null && [t('class'), t(`accountClass.${finding.accountClass}`)],
          [t('roles'), numbers.whole(finding.rolesHeld)],
          [t('source'), t(`sources.${finding.source}`)],
          [t('count'), numbers.whole(finding.count)],
          [t('first'), <Time key="first" at={finding.firstSeenAt} />],
          [t('last'), <Time key="last" at={finding.lastSeenAt} />],
          finding.resolution != null && [t('resolution'), t(`resolutions.${finding.resolution}`)],
          finding.acceptedUntil != null && [t('until'), <Time key="until" at={finding.acceptedUntil} />],
          finding.reason != null && [t('reason'), finding.reason],
          finding.decidedAt != null && [
            t('decided'),
            <span key="decided">
              <Time at={finding.decidedAt} />
              {finding.decidedBy && <> · {finding.decidedBy}</>}
            </span>,
          ],
        ]}
      />
    </article>
  );
}
