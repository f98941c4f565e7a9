//! What a connection knows of an OpenID provider: its issuer, the audiences of its tokens, and
//! which claims say what. For each known provider there are preset names of claims.

use entity::assertion_source::Model as AssertionSource;
use entity::connection::Provider;
use serde::{Deserialize, Serialize};

use super::check_entries;
use super::person_names::{PersonNames, PersonNamesEdit};
use crate::auth::policy::{Permission, Permissions};
use crate::domain::outside_url::{OutsideUrlRules, check_outside_url};
use crate::error::{Error, Mistakes, Result, Rule};

/// The longest address, audience or name of a claim.
const MAX_TEXT_LENGTH: usize = 2_048;
/// The most audiences, scopes or addresses of a connection.
const MAX_ENTRIES: usize = 50;
/// The allowed difference of clocks, unless the connection has another setting.
pub const DEFAULT_SKEW_SECONDS: i32 = 60;
/// The largest allowed difference of clocks.
pub(super) const MAX_SKEW_SECONDS: i32 = 120;
/// Where Microsoft Graph is.
pub const MICROSOFT_GRAPH: &str = "https://graph.microsoft.com/v1.0";

/// Algorithms of signatures. Public-key algorithms only: with a shared secret, each server that
/// checks a token could also sign one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SigningAlgorithm {
    #[serde(rename = "RS256")]
    Rs256,
    #[serde(rename = "RS384")]
    Rs384,
    #[serde(rename = "RS512")]
    Rs512,
    #[serde(rename = "PS256")]
    Ps256,
    #[serde(rename = "PS384")]
    Ps384,
    #[serde(rename = "PS512")]
    Ps512,
    #[serde(rename = "ES256")]
    Es256,
    #[serde(rename = "ES384")]
    Es384,
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl SigningAlgorithm {
    /// The name in the header of a token (RFC 7518).
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// Which claims say what: JSON Pointers (RFC 6901) into the token; none = no claim says it.
pub type ClaimPointers = PersonNames<String>;
/// The changes of the names of claims.
pub type ClaimPointerEdit = PersonNamesEdit<String>;

impl ClaimPointers {
    /// The claims of a provider as its documentation names them.
    pub fn preset(provider: Provider) -> Self {
        let standard = Self {
            subject: "/sub".into(),
            user_name: "/preferred_username".into(),
            email: Some("/email".into()),
            email_verified: Some("/email_verified".into()),
            display_name: Some("/name".into()),
            given_name: Some("/given_name".into()),
            family_name: Some("/family_name".into()),
            groups: Some("/groups".into()),
            roles: None,
        };
        match provider {
            // `sub` differs from application to application, `oid` does not. Entra ID has no
            // `email_verified`; `xms_edov` is an optional claim.
            Provider::EntraId => Self {
                subject: "/oid".into(),
                email_verified: Some("/xms_edov".into()),
                ..standard
            },
            // Its ID tokens never list groups.
            Provider::GoogleWorkspace => {
                Self { user_name: "/email".into(), groups: None, ..standard }
            }
            // It has no groups in tokens, but roles of the project.
            Provider::Zitadel => Self {
                groups: None,
                roles: Some("/urn:zitadel:iam:org:project:roles".into()),
                ..standard
            },
            // It has no `preferred_username`. Groups are in a claim of the customer's own, whose
            // name is a URL: `groups` and `roles` are among the names that it does not allow.
            Provider::Auth0 => Self { user_name: "/email".into(), groups: None, ..standard },
            _ => standard,
        }
    }
}

/// When a sign-in here asks the UserInfo endpoint for what the ID token does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UserInfoUse {
    /// It is never asked. Connections that were made before it could be asked stay so: what it says
    /// may end memberships, so an administrator decides.
    #[default]
    Never,
    /// It is asked where the ID token lacks a claim. Without its answer, the sign-in goes on.
    WhenClaimsMissing,
    /// It is asked at each sign-in. Without its answer, the sign-in is refused.
    Always,
}

impl UserInfoUse {
    /// What is usual for a provider.
    fn preset(provider: Provider) -> Self {
        match provider {
            // Their UserInfo says nothing that ID tokens cannot say, above all no groups.
            Provider::EntraId | Provider::GoogleWorkspace => Self::Never,
            _ => Self::WhenClaimsMissing,
        }
    }
}

/// Microsoft Graph, which is asked for the groups that a token leaves out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GraphSettings {
    /// Below which `/users/{id}/getMemberObjects` is.
    pub base_url: String,
    /// Where the client gets its token.
    pub token_url: String,
}

impl GraphSettings {
    /// Where the client's secret goes, and the token that it gives.
    pub(super) fn secret_addresses(&self) -> [String; 2] {
        [self.token_url.clone(), self.base_url.clone()]
    }
}

/// The client that asks Microsoft Graph. Its secret is stored sealed, with the connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GraphClient {
    pub client_id: String,
    #[serde(flatten)]
    pub settings: GraphSettings,
}

/// What a connection knows of an OpenID provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OidcSettings {
    /// The exact value of `iss`.
    pub issuer: String,
    pub client_id: String,
    /// The accepted values of `aud`; one of them must be there.
    pub audiences: Vec<String>,
    pub algorithms: Vec<SigningAlgorithm>,
    /// None = below the issuer, as OpenID Connect Discovery 1.0 says.
    pub discovery_url: Option<String>,
    /// None = as the discovery document says.
    pub jwks_url: Option<String>,
    pub claims: ClaimPointers,
    pub skew_seconds: i32,
    /// The scopes that a sign-in asks for.
    pub scopes: Vec<String>,
    #[serde(default)]
    pub user_info: UserInfoUse,
    /// Where applications may be sent with a code after a sign-in.
    pub redirect_urls: Vec<String>,
    /// The most that a sign-in may give in the console: a person gets those of them that the
    /// person's roles name. Empty = no sign-in opens the console.
    #[serde(with = "permission_names")]
    pub console_permissions: Permissions,
    pub graph: Option<GraphSettings>,
    /// Whether sign-ins come back to an address of this connection alone. Connections that were
    /// made before there was one do not say so.
    #[serde(default)]
    pub own_redirect: bool,
}

impl OidcSettings {
    /// The settings of a new connection, with what follows from the provider.
    pub fn for_provider(provider: Provider, issuer: String, client_id: String) -> Self {
        Self {
            audiences: vec![client_id.clone()],
            issuer,
            client_id,
            algorithms: vec![SigningAlgorithm::Rs256],
            discovery_url: None,
            jwks_url: None,
            claims: ClaimPointers::preset(provider),
            skew_seconds: DEFAULT_SKEW_SECONDS,
            scopes: ["openid", "profile", "email"].map(Into::into).to_vec(),
            user_info: UserInfoUse::preset(provider),
            redirect_urls: Vec::new(),
            console_permissions: Permissions::new(),
            graph: None,
            own_redirect: true,
        }
    }

    /// The settings that a row keeps.
    ///
    /// # Errors
    /// [`Error::Internal`] for a row of another version.
    pub fn of_row(row: &AssertionSource) -> Result<Self> {
        serde_json::from_value(row.settings.clone())
            .map_err(|error| Error::Internal(format!("settings of an OpenID provider: {error}")))
    }

    /// The address of the discovery document.
    pub fn discovery_address(&self) -> String {
        let below = || {
            let issuer = self.issuer.trim_end_matches('/');
            format!("{issuer}/.well-known/openid-configuration")
        };
        self.discovery_url.clone().unwrap_or_else(below)
    }

    /// Where the client's secret goes.
    pub(super) fn secret_addresses(&self) -> Vec<String> {
        let graph = self.graph.iter().flat_map(GraphSettings::secret_addresses);
        [self.issuer.clone(), self.discovery_address()].into_iter().chain(graph).collect()
    }

    /// Refuses settings that cannot be those of a provider.
    pub(super) fn check_values(&self) -> Result<()> {
        let mut mistakes = Mistakes::default();
        mistakes.collect(check_address("issuer", &self.issuer, false));
        for (field, url) in [("discoveryUrl", &self.discovery_url), ("jwksUri", &self.jwks_url)] {
            if let Some(url) = url {
                mistakes.collect(check_address(field, url, true));
            }
        }
        if let Some(graph) = &self.graph {
            mistakes.collect(check_address("graph.baseUrl", &graph.base_url, false));
            mistakes.collect(check_address("graph.tokenUrl", &graph.token_url, true));
        }
        mistakes.collect(check_word("oidc.clientId", &self.client_id));
        for (field, words) in [("audiences", &self.audiences), ("scopes", &self.scopes)] {
            mistakes.collect(check_count(field, words.len(), 1));
            mistakes.collect(check_entries(field, words, |word| check_word(field, word)));
        }
        mistakes.collect(check_count("algorithms", self.algorithms.len(), 1));
        if !self.scopes.iter().any(|scope| scope == "openid") {
            mistakes.add(Error::invalid("scopes", "must contain openid"));
        }
        mistakes.collect(check_count("redirectUrls", self.redirect_urls.len(), 0));
        mistakes.collect(check_entries("redirectUrls", &self.redirect_urls, |url| {
            check_redirect("redirectUrls", url)
        }));
        if self.console_permissions.contains(&Permission::PlatformAdmin) {
            let why = "a sign-in in one organization cannot give PLATFORM_ADMIN";
            mistakes.add(Error::invalid("consolePermissions", why));
        }
        mistakes.collect(self.claims.check_values());
        if !(0..=MAX_SKEW_SECONDS).contains(&self.skew_seconds) {
            let why = format!("must be between 0 and {MAX_SKEW_SECONDS}");
            mistakes.add(Error::invalid("skewSeconds", why));
        }
        mistakes.refuse_any()
    }
}

impl ClaimPointers {
    fn check_values(&self) -> Result<()> {
        let mut mistakes = Mistakes::default();
        let optional = [
            ("claims.email", &self.email),
            ("claims.emailVerified", &self.email_verified),
            ("claims.displayName", &self.display_name),
            ("claims.givenName", &self.given_name),
            ("claims.familyName", &self.family_name),
            ("claims.groups", &self.groups),
            ("claims.roles", &self.roles),
        ];
        mistakes.collect(check_pointer("claims.subject", &self.subject));
        mistakes.collect(check_pointer("claims.userName", &self.user_name));
        for (field, pointer) in optional {
            if let Some(pointer) = pointer {
                mistakes.collect(check_pointer(field, pointer));
            }
        }
        mistakes.refuse_any()
    }
}

/// RFC 6901, section 3.
fn check_pointer(field: &'static str, pointer: &str) -> Result<()> {
    crate::domain::check_text(field, pointer, MAX_TEXT_LENGTH)?;
    let mut escapes = pointer.split('~').skip(1);
    let is_pointer = pointer.starts_with('/')
        && escapes.all(|rest| rest.starts_with('0') || rest.starts_with('1'));
    if is_pointer {
        Ok(())
    } else {
        Err(Error::invalid(field, "must be a JSON Pointer (RFC 6901), for example /groups"))
    }
}

pub(super) fn check_word(field: &'static str, word: &str) -> Result<()> {
    crate::domain::check_text(field, word, MAX_TEXT_LENGTH)?;
    if word.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(())
    } else {
        Err(Error::invalid(field, "must be visible ASCII characters without spaces"))
    }
}

fn check_count(field: &'static str, count: usize, least: usize) -> Result<()> {
    if count < least {
        return Err(Error::invalid(field, "needs at least one entry"));
    }
    if count > MAX_ENTRIES {
        let why = format!("can have at most {MAX_ENTRIES} entries");
        return Err(Error::broken(Rule::TooMany, field, why));
    }
    Ok(())
}

/// An address of the identity provider. Whether it may be called is judged at each call, by what
/// its name resolves to.
pub(super) fn check_address(field: &'static str, value: &str, query: bool) -> Result<()> {
    let rules = OutsideUrlRules { max_length: MAX_TEXT_LENGTH, private: true, query };
    check_outside_url(field, value, rules).map(drop)
}

/// Where an application is sent: over TLS, or to this very computer.
pub(super) fn check_redirect(field: &'static str, value: &str) -> Result<()> {
    check_address(field, value, true)?;
    let loopback = ["http://localhost:", "http://127.0.0.1:", "http://[::1]:"];
    if value.starts_with("https://") || loopback.iter().any(|start| value.starts_with(start)) {
        Ok(())
    } else {
        Err(Error::invalid(field, "must begin with https://, except on localhost"))
    }
}

/// The wanted Microsoft Graph; none = what follows from the issuer.
#[derive(Debug, Clone, Default)]
pub struct GraphEdit {
    pub base_url: Option<String>,
    pub token_url: Option<String>,
}

impl GraphEdit {
    /// The addresses after this edit.
    pub(super) fn apply_to(&self, known: GraphSettings) -> GraphSettings {
        let base_url = self.base_url.as_ref().unwrap_or(&known.base_url);
        GraphSettings {
            base_url: base_url.trim_end_matches('/').to_owned(),
            token_url: self.token_url.clone().unwrap_or(known.token_url),
        }
    }
}

/// The changes of an OpenID provider; none = unchanged.
#[derive(Debug, Clone, Default)]
pub struct OidcEdit {
    pub issuer: Option<String>,
    pub client_id: Option<String>,
    pub audiences: Option<Vec<String>>,
    pub algorithms: Option<Vec<SigningAlgorithm>>,
    pub discovery_url: Option<Option<String>>,
    pub jwks_url: Option<Option<String>>,
    /// The inner none = those of the provider.
    pub claims: Option<Option<ClaimPointerEdit>>,
    pub skew_seconds: Option<i32>,
    pub scopes: Option<Vec<String>>,
    pub user_info: Option<UserInfoUse>,
    pub redirect_urls: Option<Vec<String>>,
    pub console_permissions: Option<Permissions>,
    pub graph: Option<Option<GraphEdit>>,
}

impl OidcEdit {
    /// The settings after this edit.
    pub fn apply_to(&self, known: OidcSettings, provider: Provider) -> OidcSettings {
        fn or<T: Clone>(given: &Option<T>, known: T) -> T {
            given.clone().unwrap_or(known)
        }
        let issuer = or(&self.issuer, known.issuer);
        let claims = match &self.claims {
            None => known.claims,
            Some(None) => ClaimPointers::preset(provider),
            Some(Some(edit)) => edit.apply_to(known.claims),
        };
        let graph = match &self.graph {
            None => known.graph,
            Some(None) => None,
            Some(Some(edit)) => {
                let known = known.graph.unwrap_or_else(|| GraphSettings {
                    base_url: MICROSOFT_GRAPH.into(),
                    token_url: entra_token_url(&issuer),
                });
                Some(edit.apply_to(known))
            }
        };
        OidcSettings {
            issuer,
            client_id: or(&self.client_id, known.client_id),
            audiences: or(&self.audiences, known.audiences),
            algorithms: or(&self.algorithms, known.algorithms),
            discovery_url: or(&self.discovery_url, known.discovery_url),
            jwks_url: or(&self.jwks_url, known.jwks_url),
            claims,
            skew_seconds: self.skew_seconds.unwrap_or(known.skew_seconds),
            scopes: or(&self.scopes, known.scopes),
            user_info: self.user_info.unwrap_or(known.user_info),
            redirect_urls: or(&self.redirect_urls, known.redirect_urls),
            console_permissions: or(&self.console_permissions, known.console_permissions),
            graph,
            own_redirect: known.own_redirect,
        }
    }
}

/// Where a tenant of Entra ID gives tokens: its issuer is `https://login…/{tenant}/v2.0`, and in
/// tokens of version 1 `https://sts.windows.net/{tenant}/`.
pub(super) fn entra_token_url(issuer: &str) -> String {
    let tenant = issuer.trim_end_matches('/');
    if let Some(tenant) = tenant.strip_prefix("https://sts.windows.net/") {
        return format!("https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token");
    }
    let tenant = tenant.strip_suffix("/v2.0").unwrap_or(tenant);
    format!("{tenant}/oauth2/v2.0/token")
}

/// Permissions as their names.
pub(super) mod permission_names {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::auth::policy::Permissions;

    /// Permissions are stored by their names.
    pub fn serialize<S: Serializer>(
        permissions: &Permissions,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let names: Vec<_> = permissions.iter().map(|permission| permission.name()).collect();
        names.serialize(serializer)
    }

    /// A name of another version gives nothing.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Permissions, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> OidcSettings {
        let issuer = "https://login.microsoftonline.com/8f1c/v2.0".to_owned();
        OidcSettings::for_provider(Provider::EntraId, issuer, "app".into())
    }

    #[test]
    fn presets_are_valid() {
        for provider in [
            Provider::EntraId,
            Provider::Okta,
            Provider::GoogleWorkspace,
            Provider::Keycloak,
            Provider::Zitadel,
            Provider::Auth0,
            Provider::Generic,
        ] {
            let issuer = "https://idp.example".to_owned();
            OidcSettings::for_provider(provider, issuer, "app".into()).check_values().unwrap();
        }
    }

    #[test]
    fn older_connections_never_ask_user_info() {
        let mut stored = serde_json::to_value(settings()).unwrap();
        stored.as_object_mut().unwrap().remove("userInfo").unwrap();
        let older: OidcSettings = serde_json::from_value(stored).unwrap();
        assert_eq!(older.user_info, UserInfoUse::Never);
        let new = |provider| OidcSettings::for_provider(provider, "x".into(), "app".into());
        assert_eq!(new(Provider::Okta).user_info, UserInfoUse::WhenClaimsMissing);
        assert_eq!(new(Provider::EntraId).user_info, UserInfoUse::Never);
    }

    #[test]
    fn graph_follows_from_the_tenant() {
        let edit = OidcEdit { graph: Some(Some(GraphEdit::default())), ..Default::default() };
        let graph = edit.apply_to(settings(), Provider::EntraId).graph.unwrap();
        assert_eq!(graph.base_url, MICROSOFT_GRAPH);
        let expected = "https://login.microsoftonline.com/8f1c/oauth2/v2.0/token";
        assert_eq!(graph.token_url, expected);
        assert_eq!(entra_token_url("https://sts.windows.net/8f1c/"), expected);
    }

    #[test]
    fn wrong_addresses_and_pointers_are_refused() {
        let refused = |edit: OidcEdit| {
            edit.apply_to(settings(), Provider::EntraId).check_values().unwrap_err().to_string()
        };
        let pointer = |pointer: &str| ClaimPointerEdit {
            groups: Some(Some(pointer.into())),
            ..Default::default()
        };
        for wrong in ["groups", "/a~2", "/a~"] {
            let claims = Some(Some(pointer(wrong)));
            let told = refused(OidcEdit { claims, ..Default::default() });
            assert!(told.contains("JSON Pointer"), "{told}");
        }
        for wrong in ["ftp://idp.example", "https://a@idp.example", "https://idp.example?x"] {
            refused(OidcEdit { issuer: Some(wrong.into()), ..Default::default() });
        }
        for wrong in ["http://app.example/back", "javascript:alert(1)", "https://a.example/#x"] {
            let urls = Some(vec![wrong.to_owned()]);
            refused(OidcEdit { redirect_urls: urls, ..Default::default() });
        }
    }
}
