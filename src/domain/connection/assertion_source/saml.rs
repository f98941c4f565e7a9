//! What a connection knows of an identity provider that speaks SAML 2.0: what its metadata say, the
//! audience of its assertions, and which attributes say what. For each known provider there are
//! preset names of attributes.

use ::saml::{Certificate, IdentityProvider};
use chrono::{DateTime, Utc};
use entity::assertion_source::Model as AssertionSource;
use entity::connection::Provider;
use serde::{Deserialize, Serialize};

use super::check_entries;
use super::oidc::{
    DEFAULT_SKEW_SECONDS, GraphClient, GraphEdit, GraphSettings, MAX_SKEW_SECONDS, MICROSOFT_GRAPH,
    check_address, check_redirect, check_word, permission_names,
};
use super::person_names::{PersonNames, PersonNamesEdit};
use crate::auth::policy::{Permission, Permissions};
use crate::error::{Error, Mistakes, Result, Rule};

/// The longest address, audience or name of an attribute.
const MAX_TEXT_LENGTH: usize = 2_048;
/// The most audiences or addresses of a connection.
const MAX_ENTRIES: usize = 50;

/// Which attributes say what; none = no attribute says it, or the `NameID` does. An attribute is
/// found by its `Name`, or else by its `FriendlyName`.
pub type SamlAttributes = PersonNames<Option<String>>;
/// The changes of the names of attributes.
pub type SamlAttributeEdit = PersonNamesEdit<Option<String>>;

impl SamlAttributes {
    /// The names that the provider documents.
    pub fn preset(provider: Provider) -> Self {
        let name = |name: &str| Some(name.to_owned());
        let standard = Self {
            subject: None,
            user_name: None,
            email: name("email"),
            email_verified: None,
            display_name: name("displayName"),
            given_name: name("firstName"),
            family_name: name("lastName"),
            groups: name("groups"),
            roles: None,
        };
        match provider {
            Provider::EntraId => {
                const XML: &str = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims";
                const MICROSOFT: &str = "http://schemas.microsoft.com";
                let claim = |last: &str| Some(format!("{XML}/{last}"));
                Self {
                    subject: Some(format!("{MICROSOFT}/identity/claims/objectidentifier")),
                    user_name: claim("name"),
                    email: claim("emailaddress"),
                    email_verified: None,
                    display_name: Some(format!("{MICROSOFT}/identity/claims/displayname")),
                    given_name: claim("givenname"),
                    family_name: claim("surname"),
                    groups: Some(format!("{MICROSOFT}/ws/2008/06/identity/claims/groups")),
                    roles: None,
                }
            }
            // The friendly names of its mappers for X.500, and its list of groups.
            Provider::Keycloak => Self {
                display_name: None,
                given_name: name("givenName"),
                family_name: name("surname"),
                groups: name("member"),
                ..standard
            },
            Provider::Zitadel => Self {
                subject: name("UserID"),
                user_name: name("UserName"),
                email: name("Email"),
                display_name: name("FullName"),
                given_name: name("FirstName"),
                family_name: name("SurName"),
                groups: None,
                ..standard
            },
            _ => standard,
        }
    }

    fn check_values(&self) -> Result<()> {
        let mut mistakes = Mistakes::default();
        for (field, name) in [
            ("attributes.subject", &self.subject),
            ("attributes.userName", &self.user_name),
            ("attributes.email", &self.email),
            ("attributes.emailVerified", &self.email_verified),
            ("attributes.displayName", &self.display_name),
            ("attributes.givenName", &self.given_name),
            ("attributes.familyName", &self.family_name),
            ("attributes.groups", &self.groups),
            ("attributes.roles", &self.roles),
        ] {
            if let Some(name) = name {
                mistakes.collect(crate::domain::check_text(field, name, MAX_TEXT_LENGTH));
            }
        }
        mistakes.refuse_any()
    }
}

/// What a connection knows of an identity provider that speaks SAML.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SamlSettings {
    /// The entity id of the identity provider.
    pub entity_id: String,
    /// Its certificates, in base64 of DER; several while it rotates.
    pub certificates: Vec<String>,
    /// Where it takes our requests; none = sign-ins cannot begin here.
    pub sign_in_url: Option<String>,
    /// Whether it wants our requests signed.
    pub wants_signed_requests: bool,
    /// Where its metadata were read; none = they were given as a text.
    pub metadata_url: Option<String>,
    /// When its metadata were read.
    pub metadata_read_at: DateTime<Utc>,
    /// When its metadata end, as they say.
    pub valid_until: Option<DateTime<Utc>>,
    /// The entity ids of applications that hand over responses, beside our own.
    pub audiences: Vec<String>,
    /// The addresses at which these applications take responses, beside our own.
    pub recipients: Vec<String>,
    /// Whether responses that answer no request are accepted.
    pub allow_idp_initiated: bool,
    /// The form of the name that our requests want; none = as the identity provider likes.
    pub name_id_format: Option<String>,
    pub attributes: SamlAttributes,
    pub skew_seconds: i32,
    /// Where applications may be sent with a code after a sign-in.
    pub redirect_urls: Vec<String>,
    /// The most that a sign-in may give in the console; empty = no sign-in opens it.
    #[serde(with = "permission_names")]
    pub console_permissions: Permissions,
    /// Our own certificate, in base64 of DER. Its key is stored sealed, with the connection.
    pub service_certificate: String,
    /// The certificate of the key that is prepared.
    #[serde(default)]
    pub next_service_certificate: Option<String>,
    /// The certificate of the key before the active one.
    #[serde(default)]
    pub former_service_certificate: Option<FormerCertificate>,
    /// Microsoft Graph, which is asked for the groups that an assertion leaves out.
    #[serde(default)]
    pub graph: Option<GraphClient>,
}

/// A certificate of ours that was replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FormerCertificate {
    /// In base64 of DER.
    pub certificate: String,
    /// Until when its key decrypts.
    pub retires_at: DateTime<Utc>,
}

impl SamlSettings {
    /// The settings of a new connection, with what follows from the provider.
    pub fn for_provider(
        provider: Provider,
        metadata: SamlMetadata,
        service_certificate: String,
    ) -> Self {
        let mut settings = Self {
            entity_id: String::new(),
            certificates: Vec::new(),
            sign_in_url: None,
            wants_signed_requests: false,
            metadata_url: None,
            metadata_read_at: metadata.read_at,
            valid_until: None,
            audiences: Vec::new(),
            recipients: Vec::new(),
            allow_idp_initiated: false,
            name_id_format: None,
            attributes: SamlAttributes::preset(provider),
            skew_seconds: DEFAULT_SKEW_SECONDS,
            redirect_urls: Vec::new(),
            console_permissions: Permissions::default(),
            service_certificate,
            next_service_certificate: None,
            former_service_certificate: None,
            graph: None,
        };
        metadata.apply_to(&mut settings);
        settings
    }

    /// The settings that a row keeps.
    ///
    /// # Errors
    /// [`Error::Internal`] for a row of another version.
    pub fn of_row(row: &AssertionSource) -> Result<Self> {
        serde_json::from_value(row.settings.clone())
            .map_err(|error| Error::Internal(format!("settings of a SAML provider: {error}")))
    }

    /// The settings with what other metadata say.
    pub fn with_metadata(&self, metadata: &SamlMetadata) -> Self {
        let mut settings = self.clone();
        metadata.clone().apply_to(&mut settings);
        settings
    }

    /// The certificates of the identity provider, as they verify.
    ///
    /// # Errors
    /// [`Error::Internal`] for a row that was damaged.
    pub fn read_certificates(&self) -> Result<Vec<Certificate>> {
        let read = |text: &String| Certificate::from_base64(text);
        self.certificates.iter().map(read).collect::<Result<_, _>>().map_err(|fault| {
            Error::Internal(format!("a certificate of a SAML provider is unreadable: {fault}"))
        })
    }

    /// Our own certificate.
    ///
    /// # Errors
    /// [`Error::Internal`] for a row that was damaged.
    pub fn read_service_certificate(&self) -> Result<Certificate> {
        Certificate::from_base64(&self.service_certificate)
            .map_err(|fault| Error::Internal(format!("our own certificate is unreadable: {fault}")))
    }

    /// The certificate before the active one, while its key decrypts.
    pub fn former_certificate(&self, now: DateTime<Utc>) -> Option<&FormerCertificate> {
        self.former_service_certificate.as_ref().filter(|former| former.retires_at > now)
    }

    /// Where the secret of the client goes that asks Microsoft Graph.
    pub(super) fn secret_addresses(&self) -> Vec<String> {
        self.graph.iter().flat_map(|graph| graph.settings.secret_addresses()).collect()
    }

    /// Refuses settings that cannot be those of a provider.
    pub(super) fn check_values(&self) -> Result<()> {
        let mut mistakes = Mistakes::default();
        mistakes.collect(crate::domain::check_text("metadata", &self.entity_id, 1_024));
        if let Some(url) = &self.sign_in_url {
            mistakes.collect(check_address("metadata", url, true));
        }
        if let Some(url) = &self.metadata_url {
            mistakes.collect(check_address("metadataUrl", url, true));
        }
        if let Some(format) = &self.name_id_format {
            mistakes.collect(crate::domain::check_text("nameIdFormat", format, MAX_TEXT_LENGTH));
        }
        for (field, entries) in [
            ("saml.audiences", &self.audiences),
            ("recipients", &self.recipients),
            ("saml.redirectUrls", &self.redirect_urls),
        ] {
            if entries.len() > MAX_ENTRIES {
                let why = format!("can have at most {MAX_ENTRIES} entries");
                mistakes.add(Error::broken(Rule::TooMany, field, why));
            }
        }
        mistakes.collect(check_entries("saml.audiences", &self.audiences, |audience| {
            crate::domain::check_text("saml.audiences", audience, MAX_TEXT_LENGTH)
        }));
        mistakes.collect(check_entries("recipients", &self.recipients, |recipient| {
            check_address("recipients", recipient, true)
        }));
        mistakes.collect(check_entries("saml.redirectUrls", &self.redirect_urls, |url| {
            check_redirect("saml.redirectUrls", url)
        }));
        if self.console_permissions.contains(&Permission::PlatformAdmin) {
            let why = "a sign-in in one organization cannot give PLATFORM_ADMIN";
            mistakes.add(Error::invalid("saml.consolePermissions", why));
        }
        mistakes.collect(self.attributes.check_values());
        if let Some(graph) = &self.graph {
            mistakes.collect(check_word("saml.graph.clientId", &graph.client_id));
            let GraphSettings { base_url, token_url } = &graph.settings;
            mistakes.collect(check_address("saml.graph.baseUrl", base_url, false));
            mistakes.collect(check_address("saml.graph.tokenUrl", token_url, true));
        }
        if !(0..=MAX_SKEW_SECONDS).contains(&self.skew_seconds) {
            let why = format!("must be between 0 and {MAX_SKEW_SECONDS}");
            mistakes.add(Error::invalid("saml.skewSeconds", why));
        }
        mistakes.refuse_any()
    }
}

/// Metadata of an identity provider that were read.
#[derive(Debug, Clone)]
pub struct SamlMetadata {
    pub provider: IdentityProvider,
    /// Where they were read; none = an administrator gave the text.
    pub url: Option<String>,
    pub read_at: DateTime<Utc>,
}

impl SamlMetadata {
    /// Reads the text of metadata.
    ///
    /// # Errors
    /// [`Error::Invalid`] with what is wrong.
    pub fn read(
        text: &str,
        url: Option<String>,
        entity_id: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<Self> {
        let field = if url.is_some() { "metadataUrl" } else { "metadata" };
        let provider = ::saml::read_identity_provider(text, entity_id, now)
            .map_err(|fault| Error::invalid(field, fault.to_string()))?;
        Ok(Self { provider, url, read_at: now })
    }

    fn apply_to(self, settings: &mut SamlSettings) {
        let certificates = self.provider.certificates.iter().map(Certificate::to_base64);
        settings.certificates = certificates.collect();
        settings.entity_id = self.provider.entity_id;
        settings.sign_in_url = self.provider.redirect_url;
        settings.wants_signed_requests = self.provider.wants_signed_requests;
        settings.metadata_url = self.url;
        settings.metadata_read_at = self.read_at;
        settings.valid_until = self.provider.valid_until;
    }
}

/// The changes of a SAML provider; none = unchanged.
#[derive(Debug, Clone, Default)]
pub struct SamlEdit {
    pub metadata: Option<SamlMetadata>,
    pub audiences: Option<Vec<String>>,
    pub recipients: Option<Vec<String>>,
    pub allow_idp_initiated: Option<bool>,
    pub name_id_format: Option<Option<String>>,
    /// The inner none = those of the provider.
    pub attributes: Option<Option<SamlAttributeEdit>>,
    pub skew_seconds: Option<i32>,
    pub redirect_urls: Option<Vec<String>>,
    pub console_permissions: Option<Permissions>,
    /// The inner none = Graph is not asked.
    pub graph: Option<Option<GraphClientEdit>>,
}

/// The wanted client of Microsoft Graph; none = what it was, or what follows from the entity id.
#[derive(Debug, Clone, Default)]
pub struct GraphClientEdit {
    pub client_id: Option<String>,
    pub urls: GraphEdit,
}

impl GraphClientEdit {
    fn apply_to(&self, known: Option<GraphClient>, entity_id: &str) -> GraphClient {
        let known = known.unwrap_or_else(|| GraphClient {
            client_id: String::new(),
            settings: GraphSettings {
                base_url: MICROSOFT_GRAPH.into(),
                token_url: entra_token_url(entity_id),
            },
        });
        GraphClient {
            client_id: self.client_id.clone().unwrap_or(known.client_id),
            settings: self.urls.apply_to(known.settings),
        }
    }
}

/// Where a tenant of Entra ID gives tokens: its entity id is `https://sts.windows.net/{tenant}/`.
/// Nothing for another entity id, so that the address must be given.
fn entra_token_url(entity_id: &str) -> String {
    if entity_id.starts_with("https://sts.windows.net/") {
        super::oidc::entra_token_url(entity_id)
    } else {
        String::new()
    }
}

impl SamlEdit {
    /// The settings after this edit.
    pub fn apply_to(&self, mut settings: SamlSettings, provider: Provider) -> SamlSettings {
        fn set<T: Clone>(place: &mut T, given: &Option<T>) {
            if let Some(value) = given {
                *place = value.clone();
            }
        }
        if let Some(metadata) = &self.metadata {
            metadata.clone().apply_to(&mut settings);
        }
        set(&mut settings.audiences, &self.audiences);
        set(&mut settings.recipients, &self.recipients);
        set(&mut settings.allow_idp_initiated, &self.allow_idp_initiated);
        set(&mut settings.name_id_format, &self.name_id_format);
        set(&mut settings.skew_seconds, &self.skew_seconds);
        set(&mut settings.redirect_urls, &self.redirect_urls);
        set(&mut settings.console_permissions, &self.console_permissions);
        match &self.attributes {
            None => {}
            Some(None) => settings.attributes = SamlAttributes::preset(provider),
            Some(Some(edit)) => settings.attributes = edit.apply_to(settings.attributes),
        }
        match &self.graph {
            None => {}
            Some(None) => settings.graph = None,
            Some(Some(edit)) => {
                settings.graph = Some(edit.apply_to(settings.graph.take(), &settings.entity_id));
            }
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn graph_follows_from_the_entity_id() {
        let edit = GraphClientEdit { client_id: Some("app".into()), ..Default::default() };
        let graph = edit.apply_to(None, "https://sts.windows.net/8f1c/");
        assert_eq!(graph.settings.base_url, MICROSOFT_GRAPH);
        let expected = "https://login.microsoftonline.com/8f1c/oauth2/v2.0/token";
        assert_eq!(graph.settings.token_url, expected);
        let edit = GraphClientEdit { urls: GraphEdit::default(), client_id: None };
        assert_eq!(edit.apply_to(Some(graph.clone()), "https://idp.example"), graph);
        assert_eq!(edit.apply_to(None, "https://idp.example").settings.token_url, "");
    }
}
