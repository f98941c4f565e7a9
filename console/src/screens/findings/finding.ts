// What is shown of a finding, and the decisions about it.
import { graphql } from '../../generated/index.ts';

export const findingFields = graphql(`
  fragment FindingFields on Finding {
    id
    kind
    source
    state
    label @include(if: $users)
    accountClass
    leaver
    rolesHeld
    choices
    nextStep
    nextStepParts { code values }
    count
    firstSeenAt
    lastSeenAt
    resolution
    reason @include(if: $users)
    acceptedUntil
    decidedAt
    decidedBy
    connection { id name }
    user @include(if: $users) { id userName displayName active }
    group { id displayName }
    differences @include(if: $users) { attribute theirs ours changedAt changedBy @include(if: $audit) }
  }
`);

export const findingsQuery = graphql(`
  query Findings($filter: FindingFilter, $after: String, $users: Boolean!, $audit: Boolean!) {
    organization {
      id
      findings(first: 25, after: $after, filter: $filter) {
        totalCount
        pageInfo { hasNextPage endCursor }
        nodes { ...FindingFields }
      }
    }
  }
`);

export const findingQuery = graphql(`
  query Finding($id: ID!, $users: Boolean!, $audit: Boolean!) {
    organization {
      id
      finding(id: $id) { ...FindingFields }
    }
  }
`);

export const findingsSideQuery = graphql(`
  query FindingsConnections {
    organization {
      id
      connections(first: 100, orderBy: { field: NAME }) { nodes { id name } }
    }
  }
`);

export const resolveMutation = graphql(`
  mutation FindingResolve($input: FindingResolveInput!, $users: Boolean!, $audit: Boolean!) {
    findingResolve(input: $input) {
      finding { ...FindingFields }
      userErrors { code reason message nextStep }
    }
  }
`);

export const resolveManyMutation = graphql(`
  mutation FindingsResolve($input: FindingsResolveInput!) {
    findingsResolve(input: $input) {
      doneCount
      skipped { reason message count ids }
      userErrors { code reason message nextStep }
    }
  }
`);
