// Who looks and what that caller may do. Menus and actions follow it; the server decides again on every request.
import { type ReactNode, createContext, use } from 'react';
import type { Permission, ViewerQuery } from '../generated/graphql.ts';
import { graphql } from '../generated/index.ts';

export const viewerQuery = graphql(`
  query Viewer {
    viewer {
      kind
      name
      permissions
      organizations { slug name permissions }
      credential { kind expiresAt }
    }
    organization { id slug name }
  }
`);

export interface Viewer {
  kind: ViewerQuery['viewer']['kind'];
  name: string;
  organizations: ViewerQuery['viewer']['organizations'];
  credential: ViewerQuery['viewer']['credential'];
  organization: { id: string; slug: string; name: string };
  may: (permission: Permission) => boolean;
  mayAll: (permissions: readonly Permission[]) => boolean;
}

export function makeViewer(data: ViewerQuery): Viewer | undefined {
  if (!data.organization) return undefined;
  const permissions = new Set(data.viewer.permissions);
  const may = (permission: Permission) => permissions.has(permission);
  return {
    kind: data.viewer.kind,
    name: data.viewer.name,
    organizations: data.viewer.organizations,
    credential: data.viewer.credential,
    organization: data.organization,
    may,
    mayAll: (needed) => needed.every(may),
  };
}

const ViewerContext = createContext<Viewer | undefined>(undefined);

export const ViewerProvider = ({ viewer, children }: { viewer: Viewer; children: ReactNode }) => (
  <ViewerContext value={viewer}>{children}</ViewerContext>
);

export function useViewer(): Viewer {
  const viewer = use(ViewerContext);
  if (!viewer) throw new Error('useViewer outside of ViewerProvider');
  return viewer;
}

/** Shows its content only to a caller with all these permissions. */
export function PermissionGate({ needs, children }: { needs: readonly Permission[]; children: ReactNode }) {
  return useViewer().mayAll(needs) ? children : null;
}

/** The viewer, where there may be none yet. */
export const useOptionalViewer = () => use(ViewerContext);
