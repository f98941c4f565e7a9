// Destinations as their screens show them, and what can be done with one. Only who may change one reads its address,
// which may hold a secret of the receiver.
import type { EventAction } from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';

export const destinationFields = graphql(`
  fragment DestinationFields on Destination {
    id
    kind
    url @include(if: $write)
    description
    eventActions
    payload
    state
    reason
    message
    messageParts { code values }
    stateSince
    publicKey
    previousSecretUntil
    deliveredThrough
    lastSuccessAt
    createdAt
    connections { id name }
    stream {
      streamId
      issuer
      audience
      deliveryMethod
      pollUrl
      eventTypesDelivered
      subjectFormat
      signingAlgorithm
      signingKeyIds
    }
  }
`);

export const destinationsQuery = graphql(`
  query Destinations($filter: DestinationFilter, $after: String, $write: Boolean!) {
    organization {
      id
      destinations(first: 25, after: $after, filter: $filter) {
        totalCount
        pageInfo { hasNextPage endCursor }
        nodes { ...DestinationFields }
      }
    }
  }
`);

export const destinationQuery = graphql(`
  query Destination($id: ID!, $write: Boolean!) {
    organization {
      id
      destination(id: $id) { ...DestinationFields }
    }
  }
`);

export const deliveriesQuery = graphql(`
  query Deliveries($id: ID!, $filter: DeliveryFilter, $after: String) {
    organization {
      id
      destination(id: $id) {
        id
        deliveries(first: 25, after: $after, filter: $filter) {
          pageInfo { hasNextPage endCursor }
          nodes {
            id
            messageId
            action
            seq
            state
            attemptCount
            attempts { at httpStatus latencyMilliseconds message messageParts { code values } }
            lastAt
            nextAt
            receivedAt
            httpStatus
            latencyMilliseconds
            response
            message
            messageParts { code values }
          }
        }
      }
    }
  }
`);

export const createMutation = graphql(`
  mutation DestinationCreate($input: DestinationCreateInput!) {
    destinationCreate(input: $input) {
      destination { id }
      secret
      userErrors { code reason message nextStep }
    }
  }
`);

export const updateMutation = graphql(`
  mutation DestinationUpdate($input: DestinationUpdateInput!, $write: Boolean! = true) {
    destinationUpdate(input: $input) {
      destination { ...DestinationFields }
      userErrors { code reason message nextStep }
    }
  }
`);

export const pauseMutation = graphql(`
  mutation DestinationPause($input: DestinationPauseInput!, $write: Boolean! = true) {
    destinationPause(input: $input) {
      destination { ...DestinationFields }
      userErrors { code reason message nextStep }
    }
  }
`);

export const resumeMutation = graphql(`
  mutation DestinationResume($input: DestinationResumeInput!, $write: Boolean! = true) {
    destinationResume(input: $input) {
      destination { ...DestinationFields }
      userErrors { code reason message nextStep }
    }
  }
`);

export const deleteMutation = graphql(`
  mutation DestinationDelete($input: DestinationDeleteInput!) {
    destinationDelete(input: $input) {
      deletedDestinationId
      userErrors { code reason message nextStep }
    }
  }
`);

export const testMutation = graphql(`
  mutation DestinationTest($input: DestinationTestInput!) {
    destinationTest(input: $input) {
      destination { id state }
      userErrors { code reason message nextStep }
    }
  }
`);

export const rotateMutation = graphql(`
  mutation DestinationRotateSecret($input: DestinationRotateSecretInput!, $write: Boolean! = true) {
    destinationRotateSecret(input: $input) {
      destination { ...DestinationFields }
      secret
      userErrors { code reason message nextStep }
    }
  }
`);

export const replayMutation = graphql(`
  mutation DestinationReplay($input: DestinationReplayInput!, $write: Boolean! = true) {
    destinationReplay(input: $input) {
      destination { ...DestinationFields }
      userErrors { code reason message nextStep }
    }
  }
`);

export const retryMutation = graphql(`
  mutation DeliveryRetry($input: DeliveryRetryInput!) {
    deliveryRetry(input: $input) {
      delivery { id state nextAt }
      userErrors { code reason message nextStep }
    }
  }
`);

/** Choices of events that people know what to do with; an empty list is all of them. */
export const CHOICES = {
  all: [],
  leavers: ['USER_SUSPENDED', 'USER_REACTIVATED', 'USER_DELETED', 'USER_RESTORED', 'USER_PURGED', 'USER_ACCESS_CHANGED'],
  people: ['USER_CREATED', 'USER_UPDATED', 'USER_SUSPENDED', 'USER_REACTIVATED', 'USER_DELETED', 'USER_RESTORED', 'USER_PURGED'],
  access: ['USER_ACCESS_CHANGED'],
} as const satisfies Record<string, readonly EventAction[]>;

export type EventChoice = keyof typeof CHOICES;

/** The choice that has exactly these events; undefined if none has. */
export const choiceOf = (actions: readonly EventAction[]): EventChoice | undefined =>
  (Object.keys(CHOICES) as EventChoice[]).find(
    (choice) => [...CHOICES[choice]].toSorted().join() === actions.toSorted().join(),
  );
