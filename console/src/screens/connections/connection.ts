// What the screen of one connection asks for; its parts use the same data.
import type { ConnectionQuery } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';

export const connectionQuery = graphql(`
  query Connection($id: ID!) {
    organization {
      id
      scimEnabled
      scim { availability { state code nextStep } state }
      connection(id: $id) {
        id
        name
        kind
        provider
        state
        version
        createdAt
        updatedAt
        deletionPolicy
        adoptionPolicy
        revivalDays
        announcesCursorPaging
        lastContactAt
        userCount
        groupCount
        hasCredentials
        endpoints { baseUrl usersUrl groupsUrl }
        pull {
          baseUrl
          auth
          tokenUrl
          clientId
          scope
          pageSize
          userFilter
          intervalMinutes
          incrementalMinutes
          shrinkPercent
          nextRunAt
          nextIncrementalAt
        }
        assertionSource { ...AssertionSourceFields }
        reconciliationSchedule { intervalMinutes nextRunAt }
        lastSync { id state startedAt endedAt message }
        tokens { id lastFour scopes live createdAt expiresAt retiresAt revokedAt lastUsedAt lastUsedFrom }
        health {
          state
          since
          reasons { code message messageParts { code values } nextStep }
          lastContactAt
          lastSuccessAt
          lastHour { since operations failures errorRate }
          lastDay { since operations failures errorRate }
          hours { since operations failures }
          pendingOperations
          oldestPendingAt
          medianEffectMilliseconds
        }
      }
    }
  }
`);

export const updateMutation = graphql(`
  mutation ConnectionUpdate($input: ConnectionUpdateInput!) {
    connectionUpdate(input: $input) {
      connection { id version }
      userErrors { code reason message nextStep }
    }
  }
`);

export type OneConnection = NonNullable<NonNullable<ConnectionQuery['organization']>['connection']>;

export const connectionChangedSubscription = graphql(`
  subscription ConnectionChanged($id: ID!) {
    connectionChanged(connectionId: $id) { seq action }
  }
`);
