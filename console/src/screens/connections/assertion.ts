// The identity provider whose sign-ins a connection accepts: as the form has it, and as the mutations take it.
import type {
  AccountCreation,
  AssertionSourceFieldsFragment,
  ClaimRulesInput,
  GroupIdentity,
  OidcSourceInput,
  OidcSourceUpdateInput,
  Permission,
  SigningAlgorithm,
  UserInfoUse,
} from '../../generated/graphql.ts';
import { graphql } from '../../generated/index.ts';

export const assertionSourceFields = graphql(`
  fragment AssertionSourceFields on AssertionSource {
    protocol
    groupIdentity
    claimedGroups
    claimsExpireDays
    accountCreation
    submitUrl
    signInUrl
    oidc {
      issuer
      clientId
      audiences
      algorithms
      discoveryUrl
      jwksUri
      skewSeconds
      scopes
      userInfo
      redirectUri
      redirectUrls
      consolePermissions
      graph { baseUrl tokenUrl }
      claims { subject userName email emailVerified displayName givenName familyName groups roles }
    }
    saml {
      entityId
      signInUrl
      metadataUrl
      metadataReadAt
      certificates { fingerprint notBefore notAfter }
      serviceMetadataUrl
      serviceEntityId
      consumerUrl
      metadataRefresh { readAt nextAt failingSince reason message nextStep }
      serviceCertificates { state certificate fingerprint notBefore notAfter retiresAt }
      graph { clientId baseUrl tokenUrl }
      audiences
      recipients
      allowIdpInitiated
      nameIdFormat
      skewSeconds
      redirectUrls
      consolePermissions
      attributes { subject userName email emailVerified displayName givenName familyName groups roles }
    }
  }
`);

export const ALGORITHMS: readonly SigningAlgorithm[] = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'EDDSA'];
export const USER_INFO_USES: readonly UserInfoUse[] = ['WHEN_CLAIMS_MISSING', 'ALWAYS', 'NEVER'];
export const IDENTITIES: readonly GroupIdentity[] = ['EXTERNAL_ID', 'ID', 'DISPLAY_NAME'];
export const CREATIONS: readonly AccountCreation[] = ['NONE', 'CREATE', 'CREATE_AND_UPDATE'];
export const CLAIMS = ['subject', 'userName', 'email', 'emailVerified', 'displayName', 'givenName', 'familyName', 'groups', 'roles'] as const;
export type ClaimName = (typeof CLAIMS)[number];

export interface OidcFields {
  issuer: string;
  clientId: string;
  clientSecret: string;
  audiences: string;
  algorithms: readonly SigningAlgorithm[];
  discoveryUrl: string;
  jwksUri: string;
  skewSeconds: string;
  scopes: string;
  /** Empty: as is usual for the provider. */
  userInfo: UserInfoUse | '';
  redirectUrls: string;
  consolePermissions: readonly Permission[];
  askGraph: boolean;
  graphBaseUrl: string;
  graphTokenUrl: string;
  claims: Record<ClaimName, string>;
}

export interface ClaimFields {
  /** Empty: as is usual for the provider. */
  groupIdentity: GroupIdentity | '';
  claimedGroups: string;
  claimsExpireDays: string;
  accountCreation: AccountCreation;
}

const NO_CLAIMS = Object.fromEntries(CLAIMS.map((name) => [name, ''])) as Record<ClaimName, string>;

export const NEW_OIDC: OidcFields = {
  issuer: '',
  clientId: '',
  clientSecret: '',
  audiences: '',
  algorithms: ['RS256'],
  discoveryUrl: '',
  jwksUri: '',
  skewSeconds: '60',
  scopes: 'openid profile email',
  userInfo: '',
  redirectUrls: '',
  consolePermissions: [],
  askGraph: false,
  graphBaseUrl: '',
  graphTokenUrl: '',
  claims: NO_CLAIMS,
};

export const NEW_CLAIMS: ClaimFields = { groupIdentity: '', claimedGroups: '', claimsExpireDays: '30', accountCreation: 'NONE' };

/** The entries of a field that lists several. */
export const toList = (text: string): string[] => text.split(/[\s,]+/).filter(Boolean);

/** The lines of a field; names of groups may have spaces in them. */
export const toLines = (text: string): string[] =>
  text
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean);

const filled = (text: string): string | undefined => text.trim() || undefined;

export function oidcFieldsOf(source: AssertionSourceFieldsFragment | null | undefined): OidcFields {
  const oidc = source?.oidc;
  if (!oidc) return NEW_OIDC;
  return {
    issuer: oidc.issuer,
    clientId: oidc.clientId,
    clientSecret: '',
    audiences: oidc.audiences.join('\n'),
    algorithms: oidc.algorithms,
    discoveryUrl: oidc.discoveryUrl,
    jwksUri: oidc.jwksUri ?? '',
    skewSeconds: String(oidc.skewSeconds),
    scopes: oidc.scopes.join(' '),
    userInfo: oidc.userInfo,
    redirectUrls: oidc.redirectUrls.join('\n'),
    consolePermissions: oidc.consolePermissions,
    askGraph: oidc.graph != null,
    graphBaseUrl: oidc.graph?.baseUrl ?? '',
    graphTokenUrl: oidc.graph?.tokenUrl ?? '',
    claims: Object.fromEntries(CLAIMS.map((name) => [name, oidc.claims[name] ?? ''])) as Record<ClaimName, string>,
  };
}

export const claimFieldsOf = (source: AssertionSourceFieldsFragment | null | undefined): ClaimFields =>
  source
    ? {
        groupIdentity: source.groupIdentity,
        claimedGroups: (source.claimedGroups ?? []).join('\n'),
        claimsExpireDays: source.claimsExpireDays?.toString() ?? '',
        accountCreation: source.accountCreation,
      }
    : NEW_CLAIMS;

export function toOidcInput(fields: OidcFields): OidcSourceInput {
  const claims = CLAIMS.filter((name) => fields.claims[name].trim() !== '');
  const audiences = toList(fields.audiences);
  return {
    issuer: fields.issuer.trim(),
    clientId: fields.clientId.trim(),
    ...(fields.clientSecret && { clientSecret: fields.clientSecret }),
    ...(audiences.length > 0 && { audiences }),
    algorithms: [...fields.algorithms],
    ...(filled(fields.discoveryUrl) && { discoveryUrl: filled(fields.discoveryUrl) }),
    ...(filled(fields.jwksUri) && { jwksUri: filled(fields.jwksUri) }),
    skewSeconds: Number(fields.skewSeconds),
    scopes: toList(fields.scopes),
    ...(fields.userInfo && { userInfo: fields.userInfo }),
    redirectUrls: toList(fields.redirectUrls),
    consolePermissions: [...fields.consolePermissions],
    ...(fields.askGraph && { graph: { baseUrl: filled(fields.graphBaseUrl), tokenUrl: filled(fields.graphTokenUrl) } }),
    ...(claims.length > 0 && { claims: Object.fromEntries(claims.map((name) => [name, fields.claims[name].trim()])) }),
  };
}

const lists = ['audiences', 'scopes', 'redirectUrls'] as const;
const clearable = ['discoveryUrl', 'jwksUri'] as const;

/** What differs, as the mutation wants it; undefined if nothing does. */
export function oidcChanges(now: OidcFields, before: OidcFields): OidcSourceUpdateInput | undefined {
  const changes: OidcSourceUpdateInput = {};
  if (now.issuer !== before.issuer) changes.issuer = now.issuer.trim();
  if (now.clientId !== before.clientId) changes.clientId = now.clientId.trim();
  if (now.clientSecret !== '') changes.clientSecret = now.clientSecret;
  for (const name of lists) if (now[name] !== before[name]) changes[name] = toList(now[name]);
  for (const name of clearable) if (now[name] !== before[name]) changes[name] = now[name].trim() || null;
  if (now.algorithms.join() !== before.algorithms.join()) changes.algorithms = [...now.algorithms];
  if (now.consolePermissions.join() !== before.consolePermissions.join()) changes.consolePermissions = [...now.consolePermissions];
  if (now.userInfo && now.userInfo !== before.userInfo) changes.userInfo = now.userInfo;
  if (now.skewSeconds !== before.skewSeconds) changes.skewSeconds = Number(now.skewSeconds);
  const graph = (fields: OidcFields) => (fields.askGraph ? `${fields.graphBaseUrl} ${fields.graphTokenUrl}` : '');
  if (graph(now) !== graph(before)) {
    changes.graph = now.askGraph ? { baseUrl: filled(now.graphBaseUrl), tokenUrl: filled(now.graphTokenUrl) } : null;
  }
  const claims = CLAIMS.filter((name) => now.claims[name] !== before.claims[name]);
  if (claims.length > 0) changes.claims = Object.fromEntries(claims.map((name) => [name, now.claims[name].trim() || null]));
  return Object.keys(changes).length > 0 ? changes : undefined;
}

export const toClaimRules = (fields: ClaimFields): ClaimRulesInput => ({
  ...(fields.groupIdentity && { groupIdentity: fields.groupIdentity }),
  claimedGroups: toLines(fields.claimedGroups).length > 0 ? toLines(fields.claimedGroups) : null,
  claimsExpireDays: fields.claimsExpireDays.trim() === '' ? null : Number(fields.claimsExpireDays),
  accountCreation: fields.accountCreation,
});

export function claimChanges(now: ClaimFields, before: ClaimFields): ClaimRulesInput | undefined {
  const all = toClaimRules(now);
  const names = (Object.keys(before) as (keyof ClaimFields)[]).filter((name) => now[name] !== before[name]);
  return names.length > 0 ? Object.fromEntries(names.map((name) => [name, all[name]])) : undefined;
}
