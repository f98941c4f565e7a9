//! The identity providers that speak SAML and whose sign-ins connections accept.

use async_graphql::{
    Context, Enum, InputObject, MaybeUndefined, Object, OneofObject, SimpleObject,
};
use chrono::{DateTime, Utc};
use entity::connection::Provider;
use uuid::Uuid;

use super::loaders;
use super::loaders::MetadataRefreshOf;
use super::permission::{Permission, find_platform_admin, needs};
use super::user_error::UserErrorReason;
use crate::auth::policy::Action;
use crate::context::Cx;
use crate::domain::connection::assertion_source::metadata_refresh::MetadataRefresh;
use crate::domain::connection::assertion_source::oidc::{GraphClient, GraphEdit};
use crate::domain::connection::assertion_source::saml::{
    GraphClientEdit, SamlAttributeEdit, SamlAttributes as AttributeNames, SamlEdit, SamlMetadata,
    SamlSettings,
};
use crate::domain::connection::assertion_source::service_key::make_key_aside;
use crate::domain::connection::assertion_source::{
    AssertionSourceSettings, ClaimRules, ProtocolEdit, ProtocolSettings, oidc,
};
use crate::domain::connection::health::HealthReason;
use crate::error::{Error, Mistakes, RefusalReason, Result};
use crate::graphql::relay;
use crate::sign_in::saml::ServiceAddresses;
use crate::sign_in::saml::metadata::{fetch_metadata, read_given_metadata};

/// What a connection knows of an identity provider that speaks SAML.
pub struct SamlSource {
    pub connection: Uuid,
    pub settings: SamlSettings,
}

/// What a connection knows of an identity provider that speaks SAML, and what to enter there.
#[Object]
impl SamlSource {
    /// The entity id of the identity provider.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn entity_id(&self) -> &str {
        &self.settings.entity_id
    }

    /// The certificates with which it may sign; several while it rotates.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn certificates(&self) -> Result<Vec<SamlCertificate>> {
        let certificates = self.settings.read_certificates()?;
        Ok(certificates.iter().map(SamlCertificate::of_certificate).collect())
    }

    /// Where it takes our requests; null = sign-ins cannot begin here.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn sign_in_url(&self) -> Option<&str> {
        self.settings.sign_in_url.as_deref()
    }

    /// Where its metadata were read; null = they were given as a text.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn metadata_url(&self) -> Option<&str> {
        self.settings.metadata_url.as_deref()
    }

    /// When its metadata were last given, or last said something new.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn metadata_read_at(&self) -> DateTime<Utc> {
        self.settings.metadata_read_at
    }

    /// How its metadata are read again by themselves; null if they were given as a text.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn metadata_refresh(
        &self,
        ctx: &Context<'_>,
    ) -> async_graphql::Result<Option<SamlMetadataRefresh>> {
        let found = loaders::load_one(ctx, MetadataRefreshOf(self.connection)).await?;
        Ok(found.map(SamlMetadataRefresh::from))
    }

    /// Our own metadata, for the identity provider to read.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn service_metadata_url(&self, ctx: &Context<'_>) -> Result<String> {
        Ok(self.addresses(ctx).await?.metadata_url)
    }

    /// Our own entity id.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn service_entity_id(&self, ctx: &Context<'_>) -> Result<String> {
        Ok(self.addresses(ctx).await?.metadata_url)
    }

    /// Where the identity provider sends responses (the assertion consumer service).
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn consumer_url(&self, ctx: &Context<'_>) -> Result<String> {
        Ok(self.addresses(ctx).await?.consumer_url)
    }

    /// Our own certificate: it signs our requests, and assertions may be encrypted for it.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn service_certificate(&self) -> &str {
        &self.settings.service_certificate
    }

    /// Our own certificates: the active one, the one that is prepared, and the one before it while
    /// its key still decrypts.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn service_certificates(&self, ctx: &Context<'_>) -> Result<Vec<SamlServiceCertificate>> {
        let now = relay::cx(ctx)?.app.clock.now();
        let known = &self.settings;
        let prepared = known.next_service_certificate.as_ref();
        let former = known.former_certificate(now);
        [(ServiceCertificateState::Active, &known.service_certificate, None)]
            .into_iter()
            .chain(prepared.map(|text| (ServiceCertificateState::Prepared, text, None)))
            .chain(former.map(|former| {
                let until = Some(former.retires_at);
                (ServiceCertificateState::Retiring, &former.certificate, until)
            }))
            .map(|(state, text, retires_at)| SamlServiceCertificate::read(state, text, retires_at))
            .collect()
    }

    /// Microsoft Graph, which is asked for the groups that an assertion of Entra ID leaves out;
    /// null = Graph is not asked.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn graph(&self) -> Option<SamlGraph> {
        let GraphClient { client_id, settings } = self.settings.graph.clone()?;
        Some(SamlGraph { client_id, base_url: settings.base_url, token_url: settings.token_url })
    }

    /// The entity ids of applications that hand over responses, beside our own.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn audiences(&self) -> &[String] {
        &self.settings.audiences
    }

    /// The addresses at which these applications take responses, beside our own.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn recipients(&self) -> &[String] {
        &self.settings.recipients
    }

    /// Whether responses that answer no request are accepted.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn allow_idp_initiated(&self) -> bool {
        self.settings.allow_idp_initiated
    }

    /// The form of the name that our requests want; null = as the identity provider likes.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn name_id_format(&self) -> Option<&str> {
        self.settings.name_id_format.as_deref()
    }

    /// Which attributes say what.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn attributes(&self) -> SamlAttributes {
        self.settings.attributes.clone().into()
    }

    /// How many seconds the clocks may differ.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn skew_seconds(&self) -> i32 {
        self.settings.skew_seconds
    }

    /// Where applications may be sent after a sign-in here.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn redirect_urls(&self) -> &[String] {
        &self.settings.redirect_urls
    }

    /// The most that a sign-in may give in the console: a person gets those of them that the
    /// person's roles name. Empty = no sign-in opens the console.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn console_permissions(&self) -> Vec<Permission> {
        self.settings.console_permissions.iter().copied().map(Into::into).collect()
    }
}

impl SamlSource {
    async fn addresses(&self, ctx: &Context<'_>) -> Result<ServiceAddresses> {
        ServiceAddresses::of_connection(relay::cx(ctx)?, self.connection).await
    }
}

/// A certificate of an identity provider.
#[derive(SimpleObject)]
pub struct SamlCertificate {
    /// SHA-256 of the certificate, in hexadecimal.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    fingerprint: String,
    /// From when on the certificate is valid.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    not_before: DateTime<Utc>,
    /// When the certificate ends. Its key is accepted until the certificate is removed.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    not_after: DateTime<Utc>,
}

impl SamlCertificate {
    fn of_certificate(certificate: &::saml::Certificate) -> Self {
        Self {
            fingerprint: certificate.fingerprint(),
            not_before: certificate.not_before,
            not_after: certificate.not_after,
        }
    }
}

/// Which of our own certificates it is.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceCertificateState {
    /// Its key signs our requests, and decrypts.
    Active,
    /// It stands in our metadata beside the active one; its key decrypts.
    Prepared,
    /// It was replaced; its key decrypts for a while.
    Retiring,
}

/// One of our own certificates.
#[derive(SimpleObject)]
pub struct SamlServiceCertificate {
    /// Which one it is.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    state: ServiceCertificateState,
    /// Base64 of DER, as metadata have it.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    certificate: String,
    /// SHA-256 of the certificate, in hexadecimal.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    fingerprint: String,
    /// From when on the certificate is valid.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    not_before: DateTime<Utc>,
    /// When the certificate ends.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    not_after: DateTime<Utc>,
    /// Until when its key decrypts; null unless it was replaced.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    retires_at: Option<DateTime<Utc>>,
}

impl SamlServiceCertificate {
    fn read(
        state: ServiceCertificateState,
        text: &str,
        retires_at: Option<DateTime<Utc>>,
    ) -> Result<Self> {
        let read = ::saml::Certificate::from_base64(text)
            .map_err(|fault| Error::Internal(format!("a certificate of ours: {fault}")))?;
        Ok(Self {
            state,
            certificate: text.to_owned(),
            fingerprint: read.fingerprint(),
            not_before: read.not_before,
            not_after: read.not_after,
            retires_at,
        })
    }
}

/// Microsoft Graph, which is asked for the groups that an assertion leaves out.
#[derive(SimpleObject)]
pub struct SamlGraph {
    /// The client id of the application in the directory.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    client_id: String,
    /// The base URL.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    base_url: String,
    /// Where the client gets its token.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    token_url: String,
}

/// How the metadata of an identity provider are read again by themselves. What a reading changes is
/// an event of the connection; a reading that fails changes nothing.
#[derive(SimpleObject)]
pub struct SamlMetadataRefresh {
    /// When they were last read with success.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    read_at: Option<DateTime<Utc>>,
    /// When they are read next. Sooner, if a response has a signature that no known certificate
    /// fits.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    next_at: DateTime<Utc>,
    /// Since when they cannot be read; null if the last reading succeeded.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    failing_since: Option<DateTime<Utc>>,
    /// How many readings failed since the last success.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    failure_count: i32,
    /// Why the last reading failed, as a stable code; null if it succeeded.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    reason: Option<UserErrorReason>,
    /// The same in words for people.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    message: Option<String>,
    /// What to do, in words for people; null if nothing has to be done.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    next_step: Option<&'static str>,
}

impl From<MetadataRefresh> for SamlMetadataRefresh {
    fn from(row: MetadataRefresh) -> Self {
        let reason = row.reason.as_deref().and_then(RefusalReason::parse);
        let failing = row.failing_since.is_some();
        Self {
            read_at: row.read_at,
            next_at: row.next_at,
            failing_since: row.failing_since,
            failure_count: row.failures,
            reason: reason.map(UserErrorReason::of_refusal),
            message: row.message,
            next_step: failing.then(|| HealthReason::MetadataUnread.next_step()),
        }
    }
}

/// Which attributes of an assertion say what, by `Name` or `FriendlyName`.
#[derive(SimpleObject)]
pub struct SamlAttributes {
    /// The person's id, which never changes; null = the NameID.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    subject: Option<String>,
    /// The name with which the person signs in; null = the NameID.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    user_name: Option<String>,
    /// The e-mail address; null = no attribute.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    email: Option<String>,
    /// Whether the address belongs to the person; null = no attribute.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    email_verified: Option<String>,
    /// The whole name; null = no attribute.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    display_name: Option<String>,
    /// The given name; null = no attribute.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    given_name: Option<String>,
    /// The family name; null = no attribute.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    family_name: Option<String>,
    /// The groups; null = no attribute.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    groups: Option<String>,
    /// The roles, which count as groups; null = no attribute.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    roles: Option<String>,
}

impl From<AttributeNames> for SamlAttributes {
    fn from(names: AttributeNames) -> Self {
        Self {
            subject: names.subject,
            user_name: names.user_name,
            email: names.email,
            email_verified: names.email_verified,
            display_name: names.display_name,
            given_name: names.given_name,
            family_name: names.family_name,
            groups: names.groups,
            roles: names.roles,
        }
    }
}

/// The metadata of an identity provider.
#[derive(OneofObject, Clone)]
pub enum SamlMetadataInput {
    /// The XML text.
    Xml(String),
    /// Where they are read.
    Url(String),
}

/// The identity provider of a new connection.
#[derive(InputObject)]
pub struct SamlSourceInput {
    /// Its metadata.
    metadata: SamlMetadataInput,
    /// Its entity id, if the metadata describe several identity providers.
    entity_id: Option<String>,
    /// The entity ids of applications that hand over responses, beside our own, at most 50.
    audiences: Option<Vec<String>>,
    /// The addresses at which these applications take responses, beside our own, at most 50.
    recipients: Option<Vec<String>>,
    /// Whether responses that answer no request are accepted.
    #[graphql(default)]
    allow_idp_initiated: bool,
    /// The form of the name that our requests want; left out = as the identity provider likes.
    name_id_format: Option<String>,
    /// Which attributes say what. What is left out is as the provider documents it.
    attributes: Option<SamlAttributesInput>,
    /// How many seconds the clocks may differ, 0 to 120.
    #[graphql(default_with = "oidc::DEFAULT_SKEW_SECONDS")]
    skew_seconds: i32,
    /// Where applications may be sent after a sign-in here, at most 50.
    redirect_urls: Option<Vec<String>>,
    /// The most that a sign-in may give in the console; you must hold them. Left out = no sign-in
    /// opens the console.
    console_permissions: Option<Vec<Permission>>,
    /// Microsoft Graph, which is asked for the groups that an assertion of Entra ID leaves out.
    /// Left out = Graph is not asked.
    graph: Option<SamlGraphInput>,
    /// What was read and made before the settings are written.
    #[graphql(skip)]
    prepared: Option<(SamlMetadata, (String, String))>,
}

/// The changes of an identity provider that speaks SAML. A field that is left out stays as it is;
/// null removes the value.
#[derive(InputObject)]
pub struct SamlSourceUpdateInput {
    /// Its metadata, also to read them again at once. Cannot be null.
    metadata: MaybeUndefined<SamlMetadataInput>,
    /// Its entity id, if the metadata describe several identity providers; only with `metadata`.
    entity_id: Option<String>,
    /// The entity ids of applications that hand over responses, beside our own. Cannot be null.
    audiences: MaybeUndefined<Vec<String>>,
    /// The addresses at which these applications take responses, beside our own. Cannot be null.
    recipients: MaybeUndefined<Vec<String>>,
    /// Whether responses that answer no request are accepted. Cannot be null.
    allow_idp_initiated: MaybeUndefined<bool>,
    /// The form of the name that our requests want; null = as the identity provider likes.
    name_id_format: MaybeUndefined<String>,
    /// Which attributes say what; null = as the provider documents them.
    attributes: MaybeUndefined<SamlAttributesInput>,
    /// How many seconds the clocks may differ, 0 to 120. Cannot be null.
    skew_seconds: MaybeUndefined<i32>,
    /// Where applications may be sent after a sign-in here, at most 50. Cannot be null.
    redirect_urls: MaybeUndefined<Vec<String>>,
    /// The most that a sign-in may give in the console. You must hold them, and those that it had
    /// before. Empty = no sign-in opens the console. Cannot be null.
    console_permissions: MaybeUndefined<Vec<Permission>>,
    /// Microsoft Graph, which is asked for the groups that an assertion leaves out; null = Graph is
    /// not asked, and its client secret is deleted.
    graph: MaybeUndefined<SamlGraphInput>,
    /// What was read before the settings are written.
    #[graphql(skip)]
    prepared: Option<SamlMetadata>,
}

/// Microsoft Graph, which is asked for the groups that an assertion of Entra ID leaves out. A field
/// that is left out stays as it is.
#[derive(InputObject)]
pub struct SamlGraphInput {
    /// The client id of an application in the directory that may read groups
    /// (GroupMember.Read.All). Needed at first.
    client_id: Option<String>,
    /// Its client secret. It is stored encrypted and never shown, and must be given again if it
    /// would be sent to another address.
    client_secret: Option<String>,
    /// The base URL; left out at first = https://graph.microsoft.com/v1.0.
    base_url: Option<String>,
    /// Where the client gets its token; left out at first = that of the tenant in the entity id.
    token_url: Option<String>,
}

impl SamlGraphInput {
    /// The client, and its secret if it is given.
    fn into_edit(self) -> (GraphClientEdit, Option<String>) {
        let urls = GraphEdit { base_url: self.base_url, token_url: self.token_url };
        (GraphClientEdit { client_id: self.client_id, urls }, self.client_secret)
    }
}

/// Which attributes of an assertion say what, by `Name` or `FriendlyName`. A field that is left out
/// stays as it is, or is as the provider documents it; null = no attribute says it.
#[derive(InputObject)]
pub struct SamlAttributesInput {
    /// The person's id, which never changes; null = the NameID.
    subject: MaybeUndefined<String>,
    /// The name with which the person signs in; null = the NameID.
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

impl From<SamlAttributesInput> for SamlAttributeEdit {
    fn from(input: SamlAttributesInput) -> Self {
        Self {
            subject: input.subject.into(),
            user_name: input.user_name.into(),
            email: input.email.into(),
            email_verified: input.email_verified.into(),
            display_name: input.display_name.into(),
            given_name: input.given_name.into(),
            family_name: input.family_name.into(),
            groups: input.groups.into(),
            roles: input.roles.into(),
        }
    }
}

/// Reads the metadata, from their address if only that was given.
async fn read_input(
    cx: &Cx,
    input: &SamlMetadataInput,
    entity_id: Option<&str>,
) -> Result<SamlMetadata> {
    // Before an address is called or a long text is read.
    cx.allow(Action::WriteConnection, None)?;
    match input {
        SamlMetadataInput::Xml(text) => read_given_metadata(cx, text.clone(), entity_id).await,
        SamlMetadataInput::Url(url) => fetch_metadata(cx, url, entity_id).await,
    }
}

impl SamlSourceInput {
    /// Where it names the permission that no sign-in gives.
    pub(super) fn platform_admin_place(&self) -> Option<usize> {
        self.console_permissions.as_deref().and_then(find_platform_admin)
    }

    /// Reads the metadata, and makes our own key.
    pub(super) async fn prepare(&mut self, cx: &Cx) -> Result<()> {
        let metadata = read_input(cx, &self.metadata, self.entity_id.as_deref()).await?;
        let key = make_key_aside(cx).await?;
        self.prepared = Some((metadata, key));
        Ok(())
    }

    /// The settings, with our own key.
    pub(super) fn into_settings(
        self,
        provider: Provider,
        rules: ClaimRules,
    ) -> Result<AssertionSourceSettings> {
        let unread = || Error::Internal("metadata that were not read".into());
        let (metadata, (certificate, key)) = self.prepared.ok_or_else(unread)?;
        let known = SamlSettings::for_provider(provider, metadata, certificate);
        let (graph, secret) = self.graph.map(SamlGraphInput::into_edit).unzip();
        let edit = SamlEdit {
            metadata: None,
            audiences: self.audiences,
            recipients: self.recipients,
            allow_idp_initiated: Some(self.allow_idp_initiated),
            name_id_format: Some(self.name_id_format),
            attributes: self.attributes.map(|attributes| Some(attributes.into())),
            skew_seconds: Some(self.skew_seconds),
            redirect_urls: self.redirect_urls,
            console_permissions: self
                .console_permissions
                .map(|all| all.into_iter().map(Into::into).collect()),
            graph: graph.map(Some),
        };
        Ok(AssertionSourceSettings {
            protocol: ProtocolSettings::Saml(Box::new(edit.apply_to(known, provider))),
            rules,
            secret: secret.flatten(),
            service_key: Some(key),
        })
    }
}

impl SamlSourceUpdateInput {
    /// Where it names the permission that no sign-in gives.
    pub(super) fn platform_admin_place(&self) -> Option<usize> {
        self.console_permissions.value().and_then(|list| find_platform_admin(list))
    }

    /// Reads the metadata, if they are given.
    pub(super) async fn prepare(&mut self, cx: &Cx) -> Result<()> {
        if let MaybeUndefined::Value(metadata) = &self.metadata {
            self.prepared = Some(read_input(cx, metadata, self.entity_id.as_deref()).await?);
        }
        Ok(())
    }

    /// The changes, and that of the client secret.
    pub(super) fn into_edit(self) -> Result<(ProtocolEdit, Option<Option<String>>)> {
        let mut mistakes = Mistakes::default();
        mistakes.collect(relay::refuse_null("metadata", self.metadata));
        let attributes: Option<Option<SamlAttributesInput>> = self.attributes.into();
        let graph: Option<Option<SamlGraphInput>> = self.graph.into();
        let (graph, secret) = match graph {
            None => (None, None),
            Some(None) => (Some(None), Some(None)),
            Some(Some(graph)) => {
                let (client, secret) = graph.into_edit();
                (Some(Some(client)), secret.map(Some))
            }
        };
        let edit = SamlEdit {
            metadata: self.prepared,
            audiences: mistakes
                .collect(relay::refuse_null("saml.audiences", self.audiences))
                .flatten(),
            recipients: mistakes
                .collect(relay::refuse_null("recipients", self.recipients))
                .flatten(),
            allow_idp_initiated: mistakes
                .collect(relay::refuse_null("allowIdpInitiated", self.allow_idp_initiated))
                .flatten(),
            name_id_format: self.name_id_format.into(),
            attributes: attributes.map(|attributes| attributes.map(Into::into)),
            skew_seconds: mistakes
                .collect(relay::refuse_null("saml.skewSeconds", self.skew_seconds))
                .flatten(),
            redirect_urls: mistakes
                .collect(relay::refuse_null("saml.redirectUrls", self.redirect_urls))
                .flatten(),
            console_permissions: mistakes
                .collect(relay::refuse_null("saml.consolePermissions", self.console_permissions))
                .flatten()
                .map(|all| all.into_iter().map(Into::into).collect()),
            graph,
        };
        mistakes.refuse_any()?;
        Ok((ProtocolEdit::Saml(Box::new(edit)), secret))
    }
}
