import { graphql } from '../../generated/index.ts';

export const overviewQuery = graphql(`
  query Overview($audit: Boolean!, $names: Boolean!) {
    organization {
      id
      slug
      name
      scim {
        availability { state code nextStep }
        provisioning { plan }
        state
        endpoints { baseUrl usersUrl groupsUrl }
        counts { users groups asOf }
        tokenIssued
        lastContactAt
        runningDeletion { id state progress { done total } }
        recentActivity(first: 10) @include(if: $audit) {
          id
          at
          action
          subjectId
          subjectKind
          subjectName @include(if: $names)
          actor { kind name }
        }
      }
      attention { kind urgency message nextStep count at connection { id name } cause }
      connections(first: 20) {
        nodes { id name kind provider state lastContactAt health { state reasons { code message messageParts { code values } nextStep } } }
      }
    }
  }
`);

export const connectionChangedSubscription = graphql(`
  subscription OverviewConnectionChanged {
    connectionChanged { seq action connectionId connection { id state version } }
  }
`);

export const deactivateMutation = graphql(`
  mutation OverviewDeactivate($input: ConnectionDeactivateInput!) {
    connectionDeactivate(input: $input) {
      connection { id state version }
      userErrors { code reason message nextStep }
    }
  }
`);

/** Read when the prompt opens, so that the number in it is the one that the server expects. */
export const deletionQuery = graphql(`
  query OverviewDeletionPrompt($people: Boolean!) {
    organization {
      id
      scim { counts { users groups asOf } runningDeletion { id state progress { done total } } }
      manual: users(first: 1, filter: { provisioned: false }) @include(if: $people) { totalCount }
      protected: users(first: 1, filter: { provisioned: true, protected: true }) @include(if: $people) { totalCount }
    }
  }
`);

export const deleteMutation = graphql(`
  mutation OverviewUsersDelete($input: ProvisionedUsersDeleteInput!) {
    provisionedUsersDelete(input: $input) {
      job { id state progress { done total } }
      userErrors { code reason message nextStep }
    }
  }
`);
