// The groups that are nested in a group, as a tree; each level is asked for when it is opened.
import { useCallback, useEffect, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Button as AriaButton } from 'react-aria-components/Button';
import { Collection } from 'react-aria-components/Collection';
import { Tree, TreeItem, TreeItemContent } from 'react-aria-components/Tree';
import { useClient } from 'urql';
import { Link } from 'wouter';
import { screenPath } from '../../app/paths.ts';
import { useViewer } from '../../app/viewer.tsx';
import { Icon } from '../../components/Icon.tsx';
import { ErrorPanel, type Problem, toProblem } from '../../components/states.tsx';
import { graphql } from '../../generated/index.ts';
import type { Named } from '../access/AccessChain.tsx';
import './groups.css';

const nestedQuery = graphql(`
  query NestedGroups($id: ID!) {
    organization {
      id
      group(id: $id) {
        id
        members(first: 100, filter: { kind: GROUP }) {
          totalCount
          nodes {
            __typename
            ... on Group { id displayName memberCount members(first: 1, filter: { kind: GROUP }) { totalCount } }
          }
        }
      }
    }
  }
`);

interface Branch {
  /** The ids from the root to here: a group may hang in several places. */
  path: string;
  id: string;
  name: string;
  members: number | undefined;
  mayHaveMore: boolean;
}

interface Level {
  branches: Branch[];
  hidden: number;
}

export function GroupTree({ root }: { root: Named }) {
  const { t } = useTranslation('groups');
  const client = useClient();
  const [levels, setLevels] = useState<Record<string, Level | undefined>>({});
  const [expanded, setExpanded] = useState<Set<string>>(() => new Set([root.id]));
  const [problem, setProblem] = useState<Problem>();

  const load = useCallback(
    async (path: string) => {
      const id = path.slice(path.lastIndexOf('/') + 1);
      const { data, error } = await client.query(nestedQuery, { id }, { requestPolicy: 'network-only' }).toPromise();
      if (error) {
        setProblem(toProblem(error));
        return;
      }
      const page = data?.organization?.group?.members;
      const branches = (page?.nodes ?? []).flatMap((node): Branch[] =>
        node.__typename === 'Group'
          ? [
              {
                path: `${path}/${node.id}`,
                id: node.id,
                name: node.displayName,
                members: node.memberCount,
                // A group that contains itself further up is not opened again.
                mayHaveMore: (node.members?.totalCount ?? 0) > 0 && !path.split('/').includes(node.id),
              },
            ]
          : [],
      );
      setLevels((before) => ({ ...before, [path]: { branches, hidden: (page?.totalCount ?? 0) - branches.length } }));
    },
    [client],
  );

  useEffect(() => void load(root.id), [load, root.id]);
  const first = levels[root.id];
  const top: Branch = { path: root.id, id: root.id, name: root.name, members: undefined, mayHaveMore: first === undefined || first.branches.length > 0 };
  if (problem) return <ErrorPanel problem={problem} onRetry={() => { setProblem(undefined); void load(root.id); }} />;
  if (first && first.branches.length === 0) return <p className="muted">{t('tree.none')}</p>;
  return (
    <Tree
      className="tree"
      aria-label={t('tree.label', { name: root.name })}
      items={[top]}
      dependencies={[levels]}
      expandedKeys={expanded}
      onExpandedChange={(keys) => {
        const next = new Set([...keys].map(String));
        for (const path of next) if (levels[path] === undefined && !path.endsWith('?')) void load(path);
        setExpanded(next);
      }}
    >
      {(branch) => <TreeBranch branch={branch} levels={levels} />}
    </Tree>
  );
}

/** Stands for groups that are not read yet: the keyboard opens only what has something in it. */
const notRead = (branch: Branch): Branch => ({ path: `${branch.path}/?`, id: '', name: '…', members: undefined, mayHaveMore: false });

function TreeBranch({ branch, levels }: { branch: Branch; levels: Record<string, Level | undefined> }) {
  const { t } = useTranslation('groups');
  const viewer = useViewer();
  const level = levels[branch.path];
  if (!branch.id) {
    return (
      <TreeItem id={branch.path} textValue={t('tree.loading')} className="tree-item">
        <TreeItemContent>
          <div className="tree-line muted">
            <span className="tree-chevron" />
            <Icon name="spinner" spin /> {t('tree.loading')}
          </div>
        </TreeItemContent>
      </TreeItem>
    );
  }
  const inner = level?.branches ?? (branch.mayHaveMore ? [notRead(branch)] : []);
  return (
    <TreeItem id={branch.path} textValue={branch.name} hasChildItems={branch.mayHaveMore} className="tree-item">
      <TreeItemContent>
        {({ hasChildItems, isExpanded }) => (
          <div className="tree-line">
            {hasChildItems ? (
              <AriaButton slot="chevron" className={isExpanded ? 'tree-chevron tree-chevron-open' : 'tree-chevron'}>
                <Icon name="chevronDown" />
              </AriaButton>
            ) : (
              <span className="tree-chevron" />
            )}
            <Icon name="groups" />
            <Link href={screenPath(viewer.organization.slug, `groups/${encodeURIComponent(branch.id)}`)}>
              <span dir="auto">{branch.name}</span>
            </Link>
            {branch.members !== undefined && <small className="muted">{t('tree.members', { count: branch.members })}</small>}
            {level !== undefined && level.hidden > 0 && <small className="muted">{t('tree.more', { count: level.hidden })}</small>}
          </div>
        )}
      </TreeItemContent>
      <Collection items={inner} dependencies={[levels]}>
        {(each) => <TreeBranch branch={each} levels={levels} />}
      </Collection>
    </TreeItem>
  );
}
