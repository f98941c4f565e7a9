// Who would gain and lose what if another source said who is in which group.
import { useTranslation } from 'react-i18next';
import { useQuery } from 'urql';
import { useViewer } from '../../app/viewer.tsx';
import { Banner, ErrorPanel, Skeleton, toProblem } from '../../components/states.tsx';
import type { IntegrationMode, OrganizationModePreviewQuery } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';

const modePreviewQuery = graphql(`
  query OrganizationModePreview($mode: IntegrationMode!, $people: Boolean!) {
    organization {
      id
      integrationModePreview(mode: $mode) {
        gainedCount
        lostCount
        knownCount
        unknownCount
        truncated
        gains { user @include(if: $people) { id displayName } role { id name } }
        losses { user @include(if: $people) { id displayName } role { id name } }
      }
    }
  }
`);

type Preview = NonNullable<NonNullable<OrganizationModePreviewQuery['organization']>['integrationModePreview']>;
type Move = NonNullable<Preview['gains']>[number];

const SHOWN = 20;

export function ModePreview({ mode }: { mode: IntegrationMode }) {
  const { t, i18n } = useTranslation('organization');
  const viewer = useViewer();
  const [{ data, error }, again] = useQuery({
    query: modePreviewQuery,
    variables: { mode, people: viewer.may('USER_READ') },
    requestPolicy: 'network-only',
  });
  const preview = data?.organization?.integrationModePreview;
  const number = new Intl.NumberFormat(i18n.language);
  if (error) return <ErrorPanel problem={toProblem(error)} onRetry={() => again({ requestPolicy: 'network-only' })} />;
  if (!preview) return <Skeleton lines={3} />;
  const nothing = preview.gainedCount === 0 && preview.lostCount === 0;
  return (
    <section aria-label={t('preview.title')}>
      <Banner
        kind={preview.lostCount > 0 ? 'warning' : 'info'}
        title={nothing ? t('preview.nothing') : t('preview.counts', { gained: number.format(preview.gainedCount), lost: number.format(preview.lostCount) })}
      >
        <p>{t('preview.known', { known: number.format(preview.knownCount), unknown: number.format(preview.unknownCount) })}</p>
        {preview.truncated && <p>{t('preview.truncated')}</p>}
      </Banner>
      <Moves title={t('preview.losses')} moves={preview.losses ?? []} count={preview.lostCount} />
      <Moves title={t('preview.gains')} moves={preview.gains ?? []} count={preview.gainedCount} />
    </section>
  );
}

function Moves({ title, moves, count }: { title: string; moves: readonly Move[]; count: number }) {
  const { t } = useTranslation('organization');
  if (moves.length === 0) return null;
  const shown = moves.slice(0, SHOWN);
  return (
    <details>
      <summary>
        {title} ({count})
      </summary>
      <ul>
        {shown.map((move, index) => (
          <li key={index} dir="auto">
            {move.user?.displayName ?? '–'}: {move.role?.name ?? '–'}
          </li>
        ))}
      </ul>
      {count > shown.length && <p className="muted">{t('preview.more', { count: count - shown.length })}</p>}
    </details>
  );
}
