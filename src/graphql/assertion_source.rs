//! The identity providers whose sign-ins connections accept: their settings, and the test of them.

use async_graphql::{
    Context, Enum, ID, InputObject, MaybeUndefined, Object, OneofObject, SimpleObject,
};
use entity::assertion_source as stored;
use entity::connection::Provider;
use uuid::Uuid;

use super::message_part::{self, MessagePart};
use super::permission::{Permission, find_platform_admin, needs};
use super::saml_source::{SamlSource, SamlSourceInput, SamlSourceUpdateInput};
use crate::auth::policy::Permissions;
use crate::context::Cx;
use crate::domain::connection::assertion_source;
use crate::domain::connection::assertion_source::oidc;
use crate::domain::connection::assertion_source::saml::SamlSettings;
use crate::domain::connection::assertion_source::{
    AssertionSourceEdit, AssertionSourceSettings, ClaimRules, ProtocolEdit, ProtocolSettings,
};
use crate::domain::tenant::organization;
use crate::error::{Mistakes, Noun, Result};
use crate::graphql::relay;
use crate::graphql::relay::{FieldMap, NodeKind, UserError};
use crate::sign_in;
use crate::sign_in::probe;
use crate::sign_in::probe::ProviderStep;

const FIELD_MAP: FieldMap = FieldMap { nouns: &[(Noun::Connection, "connectionId")], fields: &[] };

/// The form of the assertions of an identity provider.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::Protocol")]
pub enum AssertionProtocol {
    /// ID tokens of OpenID Connect.
    Oidc,
    /// Responses of SAML 2.0.
    Saml,
}

/// Which value of a claimed group tells it apart from others, and finds the group that is known
/// here already.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::GroupIdentity")]
pub enum GroupIdentity {
    /// An id of the identity provider, as SCIM sends it in `externalId`; for example the object id
    /// of Entra ID.
    ExternalId,
    /// The id that rolecall gave the group.
    Id,
    /// The display name.
    DisplayName,
}

/// Whether a sign-in makes accounts and changes them (just-in-time provisioning).
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::AccountCreation")]
pub enum AccountCreation {
    /// A sign-in makes no account.
    None,
    /// The first sign-in makes the account.
    Create,
    /// The first sign-in makes the account, and later ones update names and e-mail addresses.
    CreateAndUpdate,
}

/// An algorithm of signatures. All of them use public keys.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "oidc::SigningAlgorithm")]
pub enum SigningAlgorithm {
    /// RSA PKCS#1 v1.5 with SHA-256.
    #[graphql(name = "RS256")]
    Rs256,
    /// RSA PKCS#1 v1.5 with SHA-384.
    #[graphql(name = "RS384")]
    Rs384,
    /// RSA PKCS#1 v1.5 with SHA-512.
    #[graphql(name = "RS512")]
    Rs512,
    /// RSA PSS with SHA-256.
    #[graphql(name = "PS256")]
    Ps256,
    /// RSA PSS with SHA-384.
    #[graphql(name = "PS384")]
    Ps384,
    /// RSA PSS with SHA-512.
    #[graphql(name = "PS512")]
    Ps512,
    /// ECDSA with P-256.
    #[graphql(name = "ES256")]
    Es256,
    /// ECDSA with P-384.
    #[graphql(name = "ES384")]
    Es384,
    /// Ed25519.
    #[graphql(name = "EDDSA")]
    EdDsa,
}

/// When a sign-in here asks the provider's UserInfo endpoint, with the access token that came with
/// the ID token. Its claims count only where the ID token does not have them. A token that an
/// application hands over comes alone, so nothing is asked for it.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "oidc::UserInfoUse")]
pub enum UserInfoUse {
    /// It is never asked.
    Never,
    /// It is asked where the ID token lacks a claim that the connection reads. Without its answer,
    /// the sign-in goes on with what the ID token says, and memberships stay as they are.
    WhenClaimsMissing,
    /// It is asked at each sign-in. Without its answer, the sign-in is refused.
    Always,
}

/// The identity provider whose sign-ins a connection accepts.
pub struct AssertionSourceObject(pub assertion_source::AssertionSource);

/// The identity provider whose sign-ins a connection accepts, and what they may do.
#[Object(name = "AssertionSource")]
impl AssertionSourceObject {
    /// The form of the assertions.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn protocol(&self) -> AssertionProtocol {
        self.0.protocol.into()
    }

    /// The settings of OpenID Connect; null for another protocol.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn oidc(&self) -> Result<Option<OidcSource>> {
        match self.0.protocol {
            stored::Protocol::Oidc => {
                Ok(Some(OidcSource(oidc::OidcSettings::of_row(&self.0)?, self.0.connection_id)))
            }
            stored::Protocol::Saml => Ok(None),
        }
    }

    /// The settings of SAML; null for another protocol.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn saml(&self) -> Result<Option<SamlSource>> {
        match self.0.protocol {
            stored::Protocol::Oidc => Ok(None),
            stored::Protocol::Saml => Ok(Some(SamlSource {
                connection: self.0.connection_id,
                settings: SamlSettings::of_row(&self.0)?,
            })),
        }
    }

    /// Which value of a claimed group tells it apart from others.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn group_identity(&self) -> GroupIdentity {
        self.0.group_identity.into()
    }

    /// The groups that the identity provider lists in full; null = all groups of the connection. A
    /// person leaves a group that is missing in a sign-in only if it is one of these.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn claimed_groups(&self) -> Option<Vec<String>> {
        let keys = self.0.claimed_groups.as_ref()?.as_array()?;
        Some(keys.iter().filter_map(|key| key.as_str().map(Into::into)).collect())
    }

    /// After this many days without a new sign-in, claims give no roles any more; null = never.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn claims_expire_days(&self) -> Option<i32> {
        self.0.claims_expire_days
    }

    /// Whether a sign-in makes accounts and changes them.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn account_creation(&self) -> AccountCreation {
        self.0.account_creation.into()
    }

    /// Where applications hand over what they got at a sign-in.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn submit_url(&self, ctx: &Context<'_>) -> Result<String> {
        let cx = relay::cx(ctx)?;
        let organization = organization::current_organization(cx).await?;
        Ok(format!("{}/assertions/{}", cx.app.config.public_url, organization.slug))
    }

    /// Where people begin to sign in.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn sign_in_url(&self, ctx: &Context<'_>) -> Result<String> {
        let cx = relay::cx(ctx)?;
        let organization = organization::current_organization(cx).await?;
        let url = &cx.app.config.public_url;
        let id = self.0.connection_id;
        Ok(format!("{url}/sign-in/{}?connection={id}", organization.slug))
    }

    /// Where an OpenID provider says that a session there is over (back-channel logout): the
    /// sessions of the console that came from it end. Null for another protocol.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn logout_url(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        if self.0.protocol != stored::Protocol::Oidc {
            return Ok(None);
        }
        let cx = relay::cx(ctx)?;
        let organization = organization::current_organization(cx).await?;
        let (url, id) = (&cx.app.config.public_url, self.0.connection_id);
        Ok(Some(format!("{url}/sign-in/{}/oidc/{id}/logout", organization.slug)))
    }
}

/// What a connection knows of an OpenID provider, and which connection that is.
pub struct OidcSource(oidc::OidcSettings, Uuid);

/// What a connection knows of an OpenID provider. The client secret can be set, but never read:
/// `hasCredentials` of the connection says whether there is one.
#[Object]
impl OidcSource {
    /// The exact value of `iss` in its tokens.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// The client id of the application at the provider.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn client_id(&self) -> &str {
        &self.0.client_id
    }

    /// The accepted values of `aud`.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn audiences(&self) -> &[String] {
        &self.0.audiences
    }

    /// The algorithms that tokens may be signed with.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn algorithms(&self) -> Vec<SigningAlgorithm> {
        self.0.algorithms.iter().copied().map(Into::into).collect()
    }

    /// The address of the discovery document.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn discovery_url(&self) -> String {
        self.0.discovery_address()
    }

    /// The address of the keys; null = as the discovery document says.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn jwks_uri(&self) -> Option<&str> {
        self.0.jwks_url.as_deref()
    }

    /// Which claims say what.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn claims(&self) -> OidcClaims {
        self.0.claims.clone().into()
    }

    /// How many seconds the clocks may differ.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn skew_seconds(&self) -> i32 {
        self.0.skew_seconds
    }

    /// The scopes that a sign-in here asks for.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn scopes(&self) -> &[String] {
        &self.0.scopes
    }

    /// When a sign-in here asks the UserInfo endpoint.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn user_info(&self) -> UserInfoUse {
        self.0.user_info.into()
    }

    /// Where the provider sends people back to: register it there as the redirect URI of the
    /// application. No other connection has the same.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn redirect_uri(&self, ctx: &Context<'_>) -> Result<String> {
        let cx = relay::cx(ctx)?;
        let slug = organization::current_organization(cx).await?.slug;
        Ok(sign_in::redirect_uri(&cx.app, &slug, self.1))
    }

    /// Where applications may be sent after a sign-in here.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn redirect_urls(&self) -> &[String] {
        &self.0.redirect_urls
    }

    /// The most that a sign-in may give in the console: a person gets those of them that the
    /// person's roles name. Empty = no sign-in opens the console.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn console_permissions(&self) -> Vec<Permission> {
        self.0.console_permissions.iter().copied().map(Into::into).collect()
    }

    /// Microsoft Graph, which is asked for the groups that a token leaves out; null = Graph
    /// is not asked.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn graph(&self) -> Option<OidcGraph> {
        let oidc::GraphSettings { base_url, token_url } = self.0.graph.clone()?;
        Some(OidcGraph { base_url, token_url })
    }
}

/// Which claims say what: JSON Pointers (RFC 6901) into the token.
#[derive(SimpleObject)]
pub struct OidcClaims {
    /// The person's id, which never changes.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    subject: String,
    /// The name with which the person signs in.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    user_name: String,
    /// The e-mail address; null = no claim.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    email: Option<String>,
    /// Whether the address belongs to the person; null = no claim.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    email_verified: Option<String>,
    /// The whole name; null = no claim.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    display_name: Option<String>,
    /// The given name; null = no claim.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    given_name: Option<String>,
    /// The family name; null = no claim.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    family_name: Option<String>,
    /// The groups; null = no claim.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    groups: Option<String>,
    /// The roles, which count as groups; null = no claim.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    roles: Option<String>,
}

impl From<oidc::ClaimPointers> for OidcClaims {
    fn from(claims: oidc::ClaimPointers) -> Self {
        Self {
            subject: claims.subject,
            user_name: claims.user_name,
            email: claims.email,
            email_verified: claims.email_verified,
            display_name: claims.display_name,
            given_name: claims.given_name,
            family_name: claims.family_name,
            groups: claims.groups,
            roles: claims.roles,
        }
    }
}

/// Microsoft Graph, which is asked for the groups that a token leaves out.
#[derive(SimpleObject)]
pub struct OidcGraph {
    /// The base URL.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    base_url: String,
    /// Where the client gets its token.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    token_url: String,
}

/// The identity provider whose sign-ins a new connection accepts.
#[derive(OneofObject)]
#[allow(clippy::large_enum_variant, reason = "a request makes one, and it lives shortly")]
pub enum AssertionSourceInput {
    /// An OpenID provider.
    Oidc(OidcSourceInput),
    /// An identity provider that speaks SAML 2.0.
    Saml(Box<SamlSourceInput>),
}

/// The OpenID provider of a new connection.
#[derive(InputObject)]
pub struct OidcSourceInput {
    /// The exact value of `iss` in its tokens, for example
    /// https://login.microsoftonline.com/{tenant}/v2.0.
    issuer: String,
    /// The client id of the application at the provider.
    client_id: String,
    /// The client secret. It is stored encrypted and never shown. Not needed while applications
    /// hand over the tokens.
    client_secret: Option<String>,
    /// The accepted values of `aud`, 1 to 50; left out = the client id.
    audiences: Option<Vec<String>>,
    /// The algorithms that tokens may be signed with; left out = RS256.
    algorithms: Option<Vec<SigningAlgorithm>>,
    /// The address of the discovery document; left out = below the issuer.
    discovery_url: Option<String>,
    /// The address of the keys; left out = as the discovery document says.
    jwks_uri: Option<String>,
    /// Which claims say what. What is left out is as the provider documents it.
    claims: Option<OidcClaimsInput>,
    /// How many seconds the clocks may differ, 0 to 120.
    #[graphql(default_with = "oidc::DEFAULT_SKEW_SECONDS")]
    skew_seconds: i32,
    /// The scopes that a sign-in here asks for; left out = openid, profile and email.
    scopes: Option<Vec<String>>,
    /// When a sign-in here asks the UserInfo endpoint; left out = NEVER for Entra ID and Google,
    /// WHEN_CLAIMS_MISSING for others.
    user_info: Option<UserInfoUse>,
    /// Where applications may be sent after a sign-in here, at most 50.
    redirect_urls: Option<Vec<String>>,
    /// The most that a sign-in may give in the console: a person gets those of them that the
    /// person's roles name. You must hold them. Left out = no sign-in opens the console.
    console_permissions: Option<Vec<Permission>>,
    /// Microsoft Graph, which is asked for the groups that a token of Entra ID leaves out; left out
    /// = Graph is not asked.
    graph: Option<OidcGraphInput>,
}

/// Which claims say what: JSON Pointers (RFC 6901) into the token, for example `/groups`. A field
/// that is left out stays as it is, or is as the provider documents it; null = no claim says it.
#[derive(InputObject)]
pub struct OidcClaimsInput {
    /// The person's id, which never changes. Cannot be null.
    subject: MaybeUndefined<String>,
    /// The name with which the person signs in. Cannot be null.
    user_name: MaybeUndefined<String>,
    /// The e-mail address.
    email: MaybeUndefined<String>,
    /// Whether the address belongs to the person.
    email_verified: MaybeUndefined<String>,
    /// The whole name.
    display_name: MaybeUndefined<String>,
    /// The given name.
    given_name: MaybeUndefined<String>,
    /// The family name.
    family_name: MaybeUndefined<String>,
    /// The groups.
    groups: MaybeUndefined<String>,
    /// The roles, which count as groups.
    roles: MaybeUndefined<String>,
}

impl OidcClaimsInput {
    fn into_edit(self) -> Result<oidc::ClaimPointerEdit> {
        let mut mistakes = Mistakes::default();
        let edit = oidc::ClaimPointerEdit {
            subject: mistakes.collect(relay::refuse_null("claims.subject", self.subject)).flatten(),
            user_name: mistakes
                .collect(relay::refuse_null("claims.userName", self.user_name))
                .flatten(),
            email: self.email.into(),
            email_verified: self.email_verified.into(),
            display_name: self.display_name.into(),
            given_name: self.given_name.into(),
            family_name: self.family_name.into(),
            groups: self.groups.into(),
            roles: self.roles.into(),
        };
        mistakes.refuse_any()?;
        Ok(edit)
    }
}

/// Microsoft Graph, which is asked for the groups that a token of Entra ID leaves out.
#[derive(InputObject)]
pub struct OidcGraphInput {
    /// The base URL; left out = https://graph.microsoft.com/v1.0, or as it is.
    base_url: Option<String>,
    /// Where the client gets its token; left out = as follows from the issuer, or as it is.
    token_url: Option<String>,
}

impl From<OidcGraphInput> for oidc::GraphEdit {
    fn from(input: OidcGraphInput) -> Self {
        Self { base_url: input.base_url, token_url: input.token_url }
    }
}

/// What the claims of a connection may do. A field that is left out stays as it is.
#[derive(InputObject)]
pub struct ClaimRulesInput {
    /// Which value of a claimed group tells it apart from others; left out in a new connection =
    /// EXTERNAL_ID for Entra ID, DISPLAY_NAME for others. Cannot be null.
    group_identity: MaybeUndefined<GroupIdentity>,
    /// The groups that the identity provider lists in full, 1 to 1000; null = all groups of the
    /// connection. A person leaves a group that is missing in a sign-in only if it is one of these.
    claimed_groups: MaybeUndefined<Vec<String>>,
    /// After this many days without a new sign-in, claims give no roles any more, 1 to 3650; null =
    /// never. Left out in a new connection = 30.
    claims_expire_days: MaybeUndefined<i32>,
    /// Whether a sign-in makes accounts and changes them; left out in a new connection = NONE.
    /// Cannot be null.
    account_creation: MaybeUndefined<AccountCreation>,
}

impl ClaimRulesInput {
    pub(super) fn into_rules(self) -> Result<ClaimRules> {
        let mut mistakes = Mistakes::default();
        let rules = ClaimRules {
            group_identity: mistakes
                .collect(relay::refuse_null("claims.groupIdentity", self.group_identity))
                .flatten()
                .map(Into::into),
            claimed_groups: self.claimed_groups.into(),
            claims_expire_days: self.claims_expire_days.into(),
            account_creation: mistakes
                .collect(relay::refuse_null("claims.accountCreation", self.account_creation))
                .flatten()
                .map(Into::into),
        };
        mistakes.refuse_any()?;
        Ok(rules)
    }
}

impl AssertionSourceInput {
    /// The list that names the permission which no sign-in gives, and the place in it.
    pub(super) fn platform_admin_place(&self) -> (&'static str, Option<usize>) {
        match self {
            Self::Oidc(input) => {
                let given = input.console_permissions.as_deref();
                ("consolePermissions", given.and_then(find_platform_admin))
            }
            Self::Saml(input) => ("saml.consolePermissions", input.platform_admin_place()),
        }
    }

    /// The settings as the domain takes them.
    pub(super) fn into_settings(
        self,
        provider: Provider,
        rules: Option<ClaimRulesInput>,
    ) -> Result<AssertionSourceSettings> {
        let rules = rules.map(ClaimRulesInput::into_rules).transpose()?.unwrap_or_default();
        match self {
            Self::Oidc(input) => {
                let (protocol, secret) = input.into_settings(provider)?;
                Ok(AssertionSourceSettings { protocol, rules, secret, service_key: None })
            }
            Self::Saml(input) => input.into_settings(provider, rules),
        }
    }

    /// Reads and makes what the settings need, before anything is written.
    pub(super) async fn prepare(&mut self, cx: &Cx) -> Result<()> {
        match self {
            Self::Oidc(_) => Ok(()),
            Self::Saml(input) => input.prepare(cx).await,
        }
    }
}

impl OidcSourceInput {
    fn into_settings(self, provider: Provider) -> Result<(ProtocolSettings, Option<String>)> {
        let known = oidc::OidcSettings::for_provider(provider, self.issuer, self.client_id);
        let algorithms = self.algorithms.map(|all| all.into_iter().map(Into::into).collect());
        let edit = oidc::OidcEdit {
            audiences: self.audiences,
            algorithms,
            discovery_url: Some(self.discovery_url),
            jwks_url: Some(self.jwks_uri),
            claims: self.claims.map(OidcClaimsInput::into_edit).transpose()?.map(Some),
            skew_seconds: Some(self.skew_seconds),
            scopes: self.scopes,
            user_info: self.user_info.map(Into::into),
            redirect_urls: self.redirect_urls,
            console_permissions: self.console_permissions.map(to_permissions),
            graph: self.graph.map(|graph| Some(graph.into())),
            ..Default::default()
        };
        Ok((ProtocolSettings::Oidc(edit.apply_to(known, provider)), self.client_secret))
    }
}

/// The changes of the identity provider whose sign-ins a connection accepts.
#[derive(OneofObject)]
#[allow(clippy::large_enum_variant, reason = "a request makes one, and it lives shortly")]
pub enum AssertionSourceUpdateInput {
    /// An OpenID provider.
    Oidc(OidcSourceUpdateInput),
    /// An identity provider that speaks SAML 2.0.
    Saml(Box<SamlSourceUpdateInput>),
}

impl AssertionSourceUpdateInput {
    /// Reads what the changes need, before anything is written.
    pub(super) async fn prepare(&mut self, cx: &Cx) -> Result<()> {
        match self {
            Self::Oidc(_) => Ok(()),
            Self::Saml(input) => input.prepare(cx).await,
        }
    }
}

/// The changes of an OpenID provider. A field that is left out stays as it is; null removes the
/// value.
#[derive(InputObject)]
pub struct OidcSourceUpdateInput {
    /// The exact value of `iss` in its tokens. Cannot be null.
    issuer: MaybeUndefined<String>,
    /// The client id of the application at the provider. Cannot be null.
    client_id: MaybeUndefined<String>,
    /// The client secret. It must be given again if it would be sent to another address.
    client_secret: MaybeUndefined<String>,
    /// The accepted values of `aud`, 1 to 50. Cannot be null.
    audiences: MaybeUndefined<Vec<String>>,
    /// The algorithms that tokens may be signed with. Cannot be null.
    algorithms: MaybeUndefined<Vec<SigningAlgorithm>>,
    /// The address of the discovery document; null = below the issuer.
    discovery_url: MaybeUndefined<String>,
    /// The address of the keys; null = as the discovery document says.
    jwks_uri: MaybeUndefined<String>,
    /// Which claims say what; null = as the provider documents them.
    claims: MaybeUndefined<OidcClaimsInput>,
    /// How many seconds the clocks may differ, 0 to 120. Cannot be null.
    skew_seconds: MaybeUndefined<i32>,
    /// The scopes that a sign-in here asks for. Cannot be null.
    scopes: MaybeUndefined<Vec<String>>,
    /// When a sign-in here asks the UserInfo endpoint. Cannot be null.
    user_info: MaybeUndefined<UserInfoUse>,
    /// Where applications may be sent after a sign-in here, at most 50. Cannot be null.
    redirect_urls: MaybeUndefined<Vec<String>>,
    /// The most that a sign-in may give in the console. You must hold them, and those that it had
    /// before. Empty = no sign-in opens the console. Cannot be null.
    console_permissions: MaybeUndefined<Vec<Permission>>,
    /// Microsoft Graph, which is asked for the groups that a token leaves out; null = Graph
    /// is not asked.
    graph: MaybeUndefined<OidcGraphInput>,
}

impl OidcSourceUpdateInput {
    fn into_edit(self) -> Result<(oidc::OidcEdit, Option<Option<String>>)> {
        let mut mistakes = Mistakes::default();
        let claims: Option<Option<OidcClaimsInput>> = self.claims.into();
        let claims = match claims {
            Some(Some(claims)) => mistakes.collect(claims.into_edit()).map(Some),
            Some(None) => Some(None),
            None => None,
        };
        let graph: Option<Option<OidcGraphInput>> = self.graph.into();
        let algorithms =
            mistakes.collect(relay::refuse_null("algorithms", self.algorithms)).flatten();
        let edit = oidc::OidcEdit {
            issuer: mistakes.collect(relay::refuse_null("issuer", self.issuer)).flatten(),
            client_id: mistakes
                .collect(relay::refuse_null("oidc.clientId", self.client_id))
                .flatten(),
            audiences: mistakes.collect(relay::refuse_null("audiences", self.audiences)).flatten(),
            algorithms: algorithms.map(|all| all.into_iter().map(Into::into).collect()),
            discovery_url: self.discovery_url.into(),
            jwks_url: self.jwks_uri.into(),
            claims,
            skew_seconds: mistakes
                .collect(relay::refuse_null("skewSeconds", self.skew_seconds))
                .flatten(),
            scopes: mistakes.collect(relay::refuse_null("scopes", self.scopes)).flatten(),
            user_info: mistakes
                .collect(relay::refuse_null("userInfo", self.user_info))
                .flatten()
                .map(Into::into),
            redirect_urls: mistakes
                .collect(relay::refuse_null("redirectUrls", self.redirect_urls))
                .flatten(),
            console_permissions: mistakes
                .collect(relay::refuse_null("consolePermissions", self.console_permissions))
                .flatten()
                .map(to_permissions),
            graph: graph.map(|graph| graph.map(Into::into)),
        };
        mistakes.refuse_any()?;
        Ok((edit, self.client_secret.into()))
    }
}

fn to_permissions(permissions: Vec<Permission>) -> Permissions {
    permissions.into_iter().map(Into::into).collect()
}

impl AssertionSourceUpdateInput {
    /// The list that names the permission which no sign-in gives, and the place in it.
    pub(super) fn platform_admin_place(&self) -> (&'static str, Option<usize>) {
        match self {
            Self::Oidc(input) => {
                let given = input.console_permissions.value();
                ("consolePermissions", given.and_then(|list| find_platform_admin(list)))
            }
            Self::Saml(input) => ("saml.consolePermissions", input.platform_admin_place()),
        }
    }
}

/// The changes as the domain takes them; none = nothing is to change.
pub(super) fn to_source_edit(
    source: Option<AssertionSourceUpdateInput>,
    rules: Option<ClaimRulesInput>,
) -> Result<Option<AssertionSourceEdit>> {
    let rules = rules.map(ClaimRulesInput::into_rules).transpose()?.unwrap_or_default();
    let (protocol, secret) = match source {
        Some(AssertionSourceUpdateInput::Oidc(input)) => {
            let (edit, secret) = input.into_edit()?;
            (Some(ProtocolEdit::Oidc(edit)), secret)
        }
        Some(AssertionSourceUpdateInput::Saml(input)) => {
            let (edit, secret) = input.into_edit()?;
            (Some(edit), secret)
        }
        None => (None, None),
    };
    let edit = AssertionSourceEdit { protocol, rules, secret };
    Ok((!edit.is_empty()).then_some(edit))
}

/// The steps of `assertionSourceTest`: for OpenID Connect DISCOVERY, KEYS and GRAPH, for SAML
/// METADATA, CERTIFICATES, SIGN_IN_ADDRESS, SERVICE_METADATA and GRAPH, in this order.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "ProviderStep")]
pub enum AssertionSourceProbe {
    /// The discovery document is read, and is about the issuer.
    Discovery,
    /// The keys are read, and some of them fit the allowed algorithms.
    Keys,
    /// The metadata of the identity provider are read, and are about the same entity id. Metadata
    /// that were given as a text are not read again.
    Metadata,
    /// The certificates with which the identity provider signs, and when they end.
    Certificates,
    /// Where people are sent to sign in.
    SignInAddress,
    /// Our own metadata can be read at their address.
    ServiceMetadata,
    /// Microsoft Graph gives a token to the client. Left out where Graph is not asked.
    Graph,
}

/// The result of one step of `assertionSourceTest`.
#[derive(SimpleObject)]
pub struct AssertionSourceTestStep {
    /// The step.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    probe: AssertionSourceProbe,
    /// Whether the step succeeded.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    ok: bool,
    /// What was found, in words for people.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    message: String,
    /// What to do, in words for people; null if nothing has to be done.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    next_step: Option<String>,
    /// The same by stable codes, a part for each sentence; empty where one of them has none.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    message_parts: Vec<MessagePart>,
    /// `nextStep` by stable codes; empty where one of its sentences has none.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    next_step_parts: Vec<MessagePart>,
}

/// The result of `assertionSourceTest`.
#[derive(SimpleObject)]
pub struct AssertionSourceTestPayload {
    /// Whether every step succeeded; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    ok: Option<bool>,
    /// The steps, up to the first that failed; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    steps: Option<Vec<AssertionSourceTestStep>>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = needs::apply(None))]
    user_errors: Vec<UserError>,
}

/// The connection to test.
#[derive(InputObject)]
pub struct AssertionSourceTestInput {
    /// The connection's global id.
    connection_id: ID,
}

#[derive(Default)]
pub struct AssertionSourceMutation;

#[Object]
impl AssertionSourceMutation {
    /// Tests the identity provider whose sign-ins a connection accepts: reads its discovery
    /// document and its keys, or its SAML metadata, and our own. Stores nothing.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn assertion_source_test(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which connection.")] input: AssertionSourceTestInput,
    ) -> Result<Option<AssertionSourceTestPayload>> {
        let cx = relay::cx(ctx)?;
        let id = &input.connection_id;
        let id = relay::parse_input_id(NodeKind::IdentitySource, id, Noun::Connection);
        let done = async { probe::probe_provider(cx, id?).await };
        let (steps, user_errors) = relay::split_user_errors(done.await, FIELD_MAP)?;
        let shown = |step: probe::ProviderStepResult| AssertionSourceTestStep {
            probe: step.step.into(),
            ok: step.ok,
            message_parts: message_part::read_parts(&step.finding),
            next_step_parts: message_part::read_optional_parts(step.next),
            message: step.finding,
            next_step: step.next.map(Into::into),
        };
        Ok(Some(AssertionSourceTestPayload {
            ok: steps.as_ref().map(|steps| steps.iter().all(|step| step.ok)),
            steps: steps.map(|steps| steps.into_iter().map(shown).collect()),
            user_errors,
        }))
    }
}
