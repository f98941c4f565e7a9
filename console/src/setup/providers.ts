// What the page knows of each identity provider: how many steps its console takes, which picture goes with which step,
// and how its form names the two values.
import type { Provider } from '../generated/graphql.ts';

/** Those that send by themselves, and those whose directory rolecall reads instead. */
export const PUSHING = ['ENTRA_ID', 'OKTA', 'GOOGLE_WORKSPACE', 'ONELOGIN', 'JUMPCLOUD', 'PINGONE', 'GENERIC'] as const;
export const READ = ['KEYCLOAK', 'ZITADEL'] as const;

export type Pushing = (typeof PUSHING)[number];

export const isRead = (provider: Provider) => READ.some((each) => each === provider);

export interface FormField {
  /** As the vendor's console names it, in every language. */
  label: string;
  /** Which of the two values goes there; without one the value stands in the picture. */
  mark?: 'url' | 'token';
  value?: string;
}

export interface Form {
  /** The way to it in the vendor's console. */
  path: readonly string[];
  fields: readonly FormField[];
  button: string;
}

export const FORMS: Record<Pushing, Form> = {
  ENTRA_ID: {
    path: ['Enterprise apps', 'Provisioning', 'New configuration'],
    fields: [
      { label: 'Select authentication method', value: 'Bearer authentication' },
      { label: 'Tenant URL', mark: 'url' },
      { label: 'Secret token', mark: 'token' },
    ],
    button: 'Test connection',
  },
  OKTA: {
    path: ['Applications', 'Provisioning', 'Integration'],
    fields: [
      { label: 'Enable API integration', value: '✓' },
      { label: 'Base URL', mark: 'url' },
      { label: 'API Token', mark: 'token' },
    ],
    button: 'Test API Credentials',
  },
  GOOGLE_WORKSPACE: {
    path: ['Web and mobile apps', 'Auto-provisioning', 'Configure'],
    fields: [
      { label: 'Access token', mark: 'token' },
      { label: 'Endpoint URL', mark: 'url' },
    ],
    button: 'Continue',
  },
  ONELOGIN: {
    path: ['Applications', 'Configuration'],
    fields: [
      { label: 'SCIM Base URL', mark: 'url' },
      { label: 'SCIM JSON Template', value: '{ "schemas": [ …' },
      { label: 'SCIM Bearer Token', mark: 'token' },
    ],
    button: 'Enable',
  },
  JUMPCLOUD: {
    path: ['SSO Applications', 'Identity Management'],
    fields: [
      { label: 'SCIM Version', value: 'SCIM 2.0' },
      { label: 'Base URL', mark: 'url' },
      { label: 'Token Key', mark: 'token' },
      { label: 'Test User Email', value: 'scim-test@example.org' },
    ],
    button: 'Test Connection',
  },
  PINGONE: {
    path: ['Provisioning', 'New connection', 'SCIM Outbound'],
    fields: [
      { label: 'SCIM base URL', mark: 'url' },
      { label: 'Authentication method', value: 'OAuth 2 Bearer Token' },
      { label: 'OAuth access token', mark: 'token' },
      { label: 'Auth type header', value: 'Bearer' },
    ],
    button: 'Test connection',
  },
  GENERIC: {
    path: ['SCIM 2.0'],
    fields: [
      { label: 'Base URL', mark: 'url' },
      { label: 'Authorization: Bearer', mark: 'token' },
    ],
    button: 'Test',
  },
};

/** The number of steps, and the step that the picture belongs to. */
export const STEPS: Record<Pushing, { count: 4 | 5 | 6 | 7; picture: number }> = {
  ENTRA_ID: { count: 7, picture: 2 },
  OKTA: { count: 4, picture: 1 },
  GOOGLE_WORKSPACE: { count: 7, picture: 3 },
  ONELOGIN: { count: 6, picture: 2 },
  JUMPCLOUD: { count: 5, picture: 2 },
  PINGONE: { count: 5, picture: 2 },
  GENERIC: { count: 4, picture: 1 },
};

/** What OneLogin sends is what this says. */
export const ONELOGIN_TEMPLATE = `{
  "schemas": [
    "urn:ietf:params:scim:schemas:core:2.0:User",
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
  ],
  "externalId": "{$user.id}",
  "userName": "{$parameters.scimusername}",
  "name": { "givenName": "{$user.firstname}", "familyName": "{$user.lastname}" },
  "displayName": "{$user.display_name}",
  "emails": [{ "value": "{$user.email}", "type": "work", "primary": true }],
  "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {
    "department": "{$parameters.department}"
  }
}`;
