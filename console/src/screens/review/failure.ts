// What the review queue shows of a failure, and what can be done about it.
import { graphql } from '../../generated/index.ts';

export const failureFields = graphql(`
  fragment FailureFields on Failure {
    id
    origin
    operation
    label @include(if: $users)
    cause
    code
    field
    message
    messageParts { code values }
    suggestion { code message messageParts { code values } }
    redactedRequest @include(if: $users)
    count
    firstAt
    lastAt
    lastRequestId
    state
    resolution
    reason @include(if: $users)
    assignedTo
    retryable
    attempts
    nextAttemptAt
    finishedAt
    finishedBy
    connection { id name }
    user @include(if: $users) { id userName displayName }
    group { id displayName }
    adoptionProposal { id state cause }
  }
`);

export const failuresQuery = graphql(`
  query Failures($filter: FailureFilter, $after: String, $users: Boolean!) {
    organization {
      id
      failures(first: 25, after: $after, filter: $filter) {
        totalCount
        pageInfo { hasNextPage endCursor }
        nodes { ...FailureFields }
      }
    }
  }
`);

export const failureCountsQuery = graphql(`
  query FailureCounts {
    organization {
      id
      failureCounts { cause failures writes firstAt }
      connections(first: 100, orderBy: { field: NAME }) { nodes { id name } }
      adoptionProposals(first: 1, filter: { states: [PENDING] }) { totalCount }
    }
  }
`);

export const failuresByIdQuery = graphql(`
  query FailuresById($ids: [ID!]!, $users: Boolean!) {
    nodes(ids: $ids) { __typename id ...FailureFields }
  }
`);

export const retryMutation = graphql(`
  mutation FailureRetry($input: FailureRetryInput!, $users: Boolean!) {
    failureRetry(input: $input) {
      failure { ...FailureFields }
      userErrors { code reason message nextStep }
    }
  }
`);

export const dismissMutation = graphql(`
  mutation FailureDismiss($input: FailureDismissInput!, $users: Boolean!) {
    failureDismiss(input: $input) {
      failure { ...FailureFields }
      userErrors { code reason message nextStep }
    }
  }
`);

export const resolveMutation = graphql(`
  mutation FailureResolve($input: FailureResolveInput!, $users: Boolean!) {
    failureResolve(input: $input) {
      failure { ...FailureFields }
      userErrors { code reason message nextStep }
    }
  }
`);

export const assignMutation = graphql(`
  mutation FailureAssign($input: FailureAssignInput!, $users: Boolean!) {
    failureAssign(input: $input) {
      failure { ...FailureFields }
      userErrors { code reason message nextStep }
    }
  }
`);

export const retryManyMutation = graphql(`
  mutation FailuresRetry($input: FailuresRetryInput!) {
    failuresRetry(input: $input) {
      doneCount
      skipped { reason message count ids }
      userErrors { code reason message nextStep }
    }
  }
`);

export const dismissManyMutation = graphql(`
  mutation FailuresDismiss($input: FailuresDismissInput!) {
    failuresDismiss(input: $input) {
      doneCount
      skipped { reason message count ids }
      userErrors { code reason message nextStep }
    }
  }
`);

export const resolveManyMutation = graphql(`
  mutation FailuresResolve($input: FailuresResolveInput!) {
    failuresResolve(input: $input) {
      doneCount
      skipped { reason message count ids }
      userErrors { code reason message nextStep }
    }
  }
`);

export const assignManyMutation = graphql(`
  mutation FailuresAssign($input: FailuresAssignInput!) {
    failuresAssign(input: $input) {
      doneCount
      skipped { reason message count ids }
      userErrors { code reason message nextStep }
    }
  }
`);
