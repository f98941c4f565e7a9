// A SAML identity provider: as the form has it, and as the mutations take it.
import type {
  AssertionSourceFieldsFragment,
  Permission,
  SamlGraphInput,
  SamlMetadataInput,
  SamlSourceInput,
  SamlSourceUpdateInput,
} from '../../generated/graphql.ts';
import { CLAIMS, type ClaimName, toLines, toList } from './assertion.ts';

/** How the metadata of the identity provider are given. */
export const METADATA_FORMS = ['url', 'xml'] as const;

export interface MetadataFields {
  form: (typeof METADATA_FORMS)[number];
  url: string;
  xml: string;
  /** The entity id, where the metadata describe several identity providers. */
  entityId: string;
}

export interface SamlFields {
  audiences: string;
  recipients: string;
  allowIdpInitiated: boolean;
  nameIdFormat: string;
  skewSeconds: string;
  redirectUrls: string;
  consolePermissions: readonly Permission[];
  attributes: Record<ClaimName, string>;
  /** The names of attributes as the provider documents them, whatever stands in the fields. */
  usualAttributes: boolean;
  askGraph: boolean;
  graphClientId: string;
  graphSecret: string;
  graphBaseUrl: string;
  graphTokenUrl: string;
}

/** Formats that stay the same for a person from one sign-in to the next. */
export const NAME_ID_FORMATS = [
  'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent',
  'urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress',
  'urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified',
] as const;

const NO_ATTRIBUTES = Object.fromEntries(CLAIMS.map((name) => [name, ''])) as Record<ClaimName, string>;

export const NEW_METADATA: MetadataFields = { form: 'url', url: '', xml: '', entityId: '' };

export const NEW_SAML: SamlFields = {
  audiences: '',
  recipients: '',
  allowIdpInitiated: false,
  nameIdFormat: '',
  skewSeconds: '60',
  redirectUrls: '',
  consolePermissions: [],
  attributes: NO_ATTRIBUTES,
  usualAttributes: false,
  askGraph: false,
  graphClientId: '',
  graphSecret: '',
  graphBaseUrl: '',
  graphTokenUrl: '',
};

export function samlFieldsOf(source: AssertionSourceFieldsFragment | null | undefined): SamlFields {
  const saml = source?.saml;
  if (!saml) return NEW_SAML;
  return {
    audiences: saml.audiences.join('\n'),
    recipients: saml.recipients.join('\n'),
    allowIdpInitiated: saml.allowIdpInitiated,
    nameIdFormat: saml.nameIdFormat ?? '',
    skewSeconds: String(saml.skewSeconds),
    redirectUrls: saml.redirectUrls.join('\n'),
    consolePermissions: saml.consolePermissions,
    attributes: Object.fromEntries(CLAIMS.map((name) => [name, saml.attributes[name] ?? ''])) as Record<ClaimName, string>,
    usualAttributes: false,
    askGraph: saml.graph != null,
    graphClientId: saml.graph?.clientId ?? '',
    graphSecret: '',
    graphBaseUrl: saml.graph?.baseUrl ?? '',
    graphTokenUrl: saml.graph?.tokenUrl ?? '',
  };
}

/** The part of an input that says where the metadata are, or what they are. */
export function toMetadata({ form, url, xml, entityId }: MetadataFields): { metadata: SamlMetadataInput; entityId?: string } {
  const described = entityId.trim();
  return {
    metadata: form === 'url' ? { url: url.trim() } : { xml: xml.trim() },
    ...(described && { entityId: described }),
  };
}

const GRAPH_FIELDS = { clientId: 'graphClientId', clientSecret: 'graphSecret', baseUrl: 'graphBaseUrl', tokenUrl: 'graphTokenUrl' } as const;

/** What of Microsoft Graph is filled in and differs. */
function graphInput(now: SamlFields, before: SamlFields): SamlGraphInput {
  const input: SamlGraphInput = {};
  for (const [name, field] of Object.entries(GRAPH_FIELDS) as [keyof typeof GRAPH_FIELDS, (typeof GRAPH_FIELDS)[keyof typeof GRAPH_FIELDS]][]) {
    const value = now[field].trim();
    if (value !== '' && value !== before[field]) input[name] = value;
  }
  return input;
}

export function toSamlInput(fields: SamlFields, metadata: MetadataFields): SamlSourceInput {
  const attributes = CLAIMS.filter((name) => fields.attributes[name].trim() !== '');
  return {
    ...toMetadata(metadata),
    audiences: toLines(fields.audiences),
    recipients: toList(fields.recipients),
    allowIdpInitiated: fields.allowIdpInitiated,
    ...(fields.nameIdFormat && { nameIdFormat: fields.nameIdFormat }),
    skewSeconds: Number(fields.skewSeconds),
    redirectUrls: toList(fields.redirectUrls),
    consolePermissions: [...fields.consolePermissions],
    ...(fields.askGraph && { graph: graphInput(fields, NEW_SAML) }),
    ...(attributes.length > 0 && {
      attributes: Object.fromEntries(attributes.map((name) => [name, fields.attributes[name].trim()])),
    }),
  };
}

/** What differs, as the mutation wants it; undefined if nothing does. */
export function samlChanges(now: SamlFields, before: SamlFields): SamlSourceUpdateInput | undefined {
  const changes: SamlSourceUpdateInput = {};
  if (now.audiences !== before.audiences) changes.audiences = toLines(now.audiences);
  if (now.recipients !== before.recipients) changes.recipients = toList(now.recipients);
  if (now.redirectUrls !== before.redirectUrls) changes.redirectUrls = toList(now.redirectUrls);
  if (now.allowIdpInitiated !== before.allowIdpInitiated) changes.allowIdpInitiated = now.allowIdpInitiated;
  if (now.nameIdFormat !== before.nameIdFormat) changes.nameIdFormat = now.nameIdFormat || null;
  if (now.skewSeconds !== before.skewSeconds) changes.skewSeconds = Number(now.skewSeconds);
  if (now.consolePermissions.join() !== before.consolePermissions.join()) {
    changes.consolePermissions = [...now.consolePermissions];
  }
  if (!now.askGraph && before.askGraph) changes.graph = null;
  const graph = now.askGraph ? graphInput(now, before) : {};
  if (Object.keys(graph).length > 0) changes.graph = graph;
  const names = CLAIMS.filter((name) => now.attributes[name] !== before.attributes[name]);
  if (now.usualAttributes) changes.attributes = null;
  else if (names.length > 0) {
    changes.attributes = Object.fromEntries(names.map((name) => [name, now.attributes[name].trim() || null]));
  }
  return Object.keys(changes).length > 0 ? changes : undefined;
}
