// API keys as the screen shows them, and what can be done with one.
import type { Permission } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';

export const keyFields = graphql(`
  fragment KeyFields on ApiKey {
    id
    name
    lastFour
    permissions
    live
    createdAt
    expiresAt
    revokedAt
    lastUsedAt
    ownerUserId
    ownerSubject
    owner @include(if: $users) { id userName displayName active }
  }
`);

export const keysQuery = graphql(`
  query ApiKeys($filter: ApiKeyFilter, $orderBy: ApiKeyOrder, $after: String, $users: Boolean!) {
    organization {
      id
      apiKeys(first: 50, after: $after, filter: $filter, orderBy: $orderBy) {
        totalCount
        pageInfo { hasNextPage endCursor }
        nodes { ...KeyFields }
      }
    }
  }
`);

export const issueMutation = graphql(`
  mutation ApiKeyIssue($input: ApiKeyIssueInput!) {
    apiKeyIssue(input: $input) {
      apiKey { id name }
      secret
      userErrors { code reason message nextStep }
    }
  }
`);

export const updateMutation = graphql(`
  mutation ApiKeyUpdate($input: ApiKeyUpdateInput!) {
    apiKeyUpdate(input: $input) {
      apiKey { id name }
      userErrors { code reason message nextStep }
    }
  }
`);

export const revokeMutation = graphql(`
  mutation ApiKeyRevoke($input: ApiKeyRevokeInput!) {
    apiKeyRevoke(input: $input) {
      apiKey { id live }
      userErrors { code reason message nextStep }
    }
  }
`);

export const ownerQuery = graphql(`
  query ApiKeyOwner($userName: String!) {
    organization {
      id
      user(userName: $userName) { id userName }
    }
  }
`);

/** What a key can have. */
export const PERMISSIONS: readonly Permission[] = [
  'IAM_READ',
  'IAM_WRITE',
  'TOKEN_MANAGE',
  'USER_READ',
  'USER_WRITE',
  'ACCESS_WRITE',
  'REVIEW_WRITE',
  'AUDIT_READ',
  'DECISION_READ',
  'ASSERTION_WRITE',
  'SIGNAL_RECEIVE',
  'DELETE_ALL',
];
