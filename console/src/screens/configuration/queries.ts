import { graphql } from '../../generated/index.ts';

export const configurationQuery = graphql(`
  query Configuration {
    organization {
      id
      slug
      name
      scimEnabled
      integrationMode
      scim { availability { state code nextStep } state }
      connections(first: 20, filter: { kinds: [SCIM_PUSH] }) {
        nodes {
          id
          name
          provider
          state
          version
          lastContactAt
          userCount
          groupCount
          endpoints { baseUrl usersUrl groupsUrl }
          tokens { id lastFour scopes live createdAt expiresAt retiresAt revokedAt lastUsedAt lastUsedFrom issuedBy }
        }
      }
    }
  }
`);

/** For the live line of the first set-up: what has arrived by now. */
export const arrivalsQuery = graphql(`
  query ConfigurationArrivals($id: ID!) {
    organization {
      id
      connection(id: $id) { id lastContactAt userCount groupCount }
    }
  }
`);

export const diagnosisQuery = graphql(`
  query ConfigurationDiagnosis($id: ID!) {
    organization {
      id
      connection(id: $id) {
        id
        diagnosis {
          ok
          steps { check ok message nextStep }
          recentFailures { meaning count lastAt code nextStep nextStepParts { code values } }
        }
      }
    }
  }
`);

export const selfTestMutation = graphql(`
  mutation ConfigurationSelfTest($input: ScimSelfTestInput!) {
    scimSelfTest(input: $input) {
      ok
      steps { code ok message messageParts { code values } nextStep nextStepParts { code values } }
      userErrors { code reason message nextStep }
    }
  }
`);

export const issueMutation = graphql(`
  mutation ConfigurationTokenIssue($input: ScimTokenIssueInput!) {
    scimTokenIssue(input: $input) {
      scimToken { id lastFour }
      secret
      userErrors { code reason message nextStep }
    }
  }
`);

export const rotateMutation = graphql(`
  mutation ConfigurationTokenRotate($input: ScimTokenRotateInput!) {
    scimTokenRotate(input: $input) {
      scimToken { id lastFour }
      secret
      warning
      userErrors { code reason message nextStep }
    }
  }
`);

export const revokeMutation = graphql(`
  mutation ConfigurationTokenRevoke($input: ScimTokenRevokeInput!) {
    scimTokenRevoke(input: $input) {
      scimToken { id live revokedAt }
      userErrors { code reason message nextStep }
    }
  }
`);

export const createConnectionMutation = graphql(`
  mutation ConfigurationConnectionCreate($input: ConnectionCreateInput!) {
    connectionCreate(input: $input) {
      connection { id name provider state version }
      userErrors { code reason message nextStep }
    }
  }
`);

export const providerMutation = graphql(`
  mutation ConfigurationProvider($input: ConnectionUpdateInput!) {
    connectionUpdate(input: $input) {
      connection { id provider version }
      userErrors { code reason message nextStep }
    }
  }
`);
