// The groups of a person: the direct ones, and those around them.
import { useTranslation } from 'react-i18next';
import { useQuery } from 'urql';
import { Link } from 'wouter';
import { screenPath } from '../../app/paths.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Card } from '../../components/Page.tsx';
import { EmptyState, ErrorPanel, Skeleton, toProblem } from '../../components/states.tsx';
import { graphql } from '../../generated/index.ts';
import type { Named } from '../access/AccessChain.tsx';

const personGroupsQuery = graphql(`
  query PersonGroups($id: ID!) {
    organization {
      id
      user(id: $id) {
        id
        direct: groups(first: 100, orderBy: { field: DISPLAY_NAME }) {
          totalCount
          nodes { id displayName connection { id name } }
        }
        around: groups(first: 100, filter: { transitive: true }, orderBy: { field: DISPLAY_NAME }) {
          totalCount
          nodes { id displayName connection { id name } }
        }
      }
    }
  }
`);

export function PersonGroups({ person }: { person: Named }) {
  const { t } = useTranslation('people');
  const viewer = useViewer();
  const [{ data, error }, again] = useQuery({ query: personGroupsQuery, variables: { id: person.id } });
  const user = data?.organization?.user;
  const direct = user?.direct?.nodes ?? [];
  const known = new Set(direct.map(({ id }) => id));
  const around = (user?.around?.nodes ?? []).filter(({ id }) => !known.has(id));
  const list = (groups: typeof direct) => (
    <ul className="plain name-list">
      {groups.map((group) => (
        <li key={group.id}>
          <Link href={screenPath(viewer.organization.slug, `groups/${encodeURIComponent(group.id)}`)}>
            <span dir="auto">{group.displayName}</span>
          </Link>{' '}
          <small className="muted" dir="auto">
            {group.connection?.name ?? t('origin.MANUAL')}
          </small>
        </li>
      ))}
    </ul>
  );
  const more = (total: number | undefined, shown: number) =>
    total !== undefined && total > shown && <p className="muted">{t('groups.more', { count: total - shown })}</p>;
  return (
    <Card title={t('groups.title')}>
      {error && <ErrorPanel problem={toProblem(error)} onRetry={() => again({ requestPolicy: 'network-only' })} />}
      {!user && !error && <Skeleton lines={3} />}
      {user && direct.length === 0 && (
        <EmptyState icon="groups" title={t('groups.none')}>
          <p>{t('groups.noneText')}</p>
        </EmptyState>
      )}
      {direct.length > 0 && (
        <>
          <h3>{t('groups.direct')}</h3>
          {list(direct)}
          {more(user?.direct?.totalCount, direct.length)}
        </>
      )}
      {around.length > 0 && (
        <>
          <h3>{t('groups.through')}</h3>
          {list(around)}
        </>
      )}
    </Card>
  );
}
