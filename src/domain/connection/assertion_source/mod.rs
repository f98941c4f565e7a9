//! The identity provider whose sign-in assertions a connection accepts: its settings, and which
//! connection an assertion is for. Each protocol has settings of its own ([`oidc`], [`saml`]),
//! which the table keeps as JSON. One secret is stored sealed with the connection: of OpenID
//! Connect the client's secret, of SAML our own private key. It is unsealed only when it is used.

pub(in crate::domain) mod certificate_end;
pub mod metadata_refresh;
pub mod oidc;
pub mod person_names;
pub mod saml;
pub mod service_key;

use entity::assertion_source;
use entity::connection::{self, ConnectionKind, ConnectionStatus, Provider};
use sea_orm::{ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, QuerySelect};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::auth::policy::{Action, Permissions};
use crate::context::{Cx, Tx};
use crate::domain::access::giving;
use crate::domain::connection::Connection;
use crate::domain::tenant::organization;
use crate::error::{Error, Mistakes, Noun, RefusalReason, Result, Rule, mistakes};

use self::saml::{SamlEdit, SamlSettings};
use self::service_key::SamlSecrets;
pub use assertion_source::{AccountCreation, GroupIdentity, Model as AssertionSource, Protocol};
use oidc::{GraphClient, OidcEdit, OidcSettings};

/// Days after which claims of a sign-in give no roles any more, unless the connection has another
/// setting.
pub const DEFAULT_CLAIMS_EXPIRE_DAYS: i32 = 30;
/// The most groups that a connection can list.
const MAX_LISTED_GROUPS: usize = 1_000;
/// The longest key of a group.
const MAX_GROUP_KEY: usize = 500;
/// The longest client secret.
const MAX_SECRET_BYTES: usize = 16 * 1024;
/// The most connections whose assertions are told apart by issuer and audience.
const MAX_ACCEPTING: u64 = 200;

/// The settings of a protocol, for a new connection.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "a request makes one, and it lives shortly")]
pub enum ProtocolSettings {
    Oidc(OidcSettings),
    Saml(Box<SamlSettings>),
}

impl ProtocolSettings {
    /// Refuses settings that cannot be those of an identity provider.
    fn check_values(&self) -> Result<()> {
        match self {
            Self::Oidc(settings) => settings.check_values(),
            Self::Saml(settings) => settings.check_values(),
        }
    }

    /// The most that a sign-in may give in the console.
    fn console_permissions(&self) -> Permissions {
        match self {
            Self::Oidc(settings) => settings.console_permissions.clone(),
            Self::Saml(settings) => settings.console_permissions.clone(),
        }
    }

    fn protocol(&self) -> Protocol {
        match self {
            Self::Oidc(_) => Protocol::Oidc,
            Self::Saml(_) => Protocol::Saml,
        }
    }

    fn to_json(&self) -> Result<Value> {
        let done = match self {
            Self::Oidc(settings) => serde_json::to_value(settings),
            Self::Saml(settings) => serde_json::to_value(settings),
        };
        done.map_err(|error| Error::Internal(error.to_string()))
    }

    /// The settings in a row.
    fn of_row(row: &AssertionSource) -> Result<Self> {
        match row.protocol {
            Protocol::Oidc => Ok(Self::Oidc(OidcSettings::of_row(row)?)),
            Protocol::Saml => Ok(Self::Saml(Box::new(SamlSettings::of_row(row)?))),
        }
    }

    /// Where the client's secret goes: it stays only while these addresses stay.
    fn secret_addresses(&self) -> Vec<String> {
        match self {
            Self::Oidc(settings) => settings.secret_addresses(),
            Self::Saml(settings) => settings.secret_addresses(),
        }
    }
}

/// The changes of a protocol's settings.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "a request makes one, and it lives shortly")]
pub enum ProtocolEdit {
    Oidc(OidcEdit),
    Saml(Box<SamlEdit>),
}

impl ProtocolEdit {
    /// Whether it gives metadata of an identity provider.
    fn gives_metadata(&self) -> bool {
        match self {
            Self::Oidc(_) => false,
            Self::Saml(edit) => edit.metadata.is_some(),
        }
    }

    fn apply_to(&self, known: ProtocolSettings, for_: Provider) -> Result<ProtocolSettings> {
        match (self, known) {
            (Self::Oidc(edit), ProtocolSettings::Oidc(known)) => {
                Ok(ProtocolSettings::Oidc(edit.apply_to(known, for_)))
            }
            (Self::Saml(edit), ProtocolSettings::Saml(known)) => {
                Ok(ProtocolSettings::Saml(Box::new(edit.apply_to(*known, for_))))
            }
            (Self::Oidc(_) | Self::Saml(_), _) => {
                Err(Error::invalid("assertion", "this connection accepts another protocol"))
            }
        }
    }
}

/// What the claims of a connection may do; none = the default for a new connection, or no change.
#[derive(Debug, Clone, Default)]
pub struct ClaimRules {
    pub group_identity: Option<GroupIdentity>,
    /// Which groups the identity provider lists; the inner none = all of the connection.
    pub claimed_groups: Option<Option<Vec<String>>>,
    /// The inner none = claims never expire.
    pub claims_expire_days: Option<Option<i32>>,
    pub account_creation: Option<AccountCreation>,
}

impl ClaimRules {
    /// Whether nothing is to change.
    fn is_empty(&self) -> bool {
        self.group_identity.is_none()
            && self.claimed_groups.is_none()
            && self.claims_expire_days.is_none()
            && self.account_creation.is_none()
    }

    fn check_values(&self) -> Result<()> {
        let mut mistakes = Mistakes::default();
        if let Some(Some(groups)) = &self.claimed_groups {
            if groups.is_empty() {
                let why = "list at least one group, or give null for all of the connection";
                mistakes.add(Error::invalid("claimedGroups", why));
            }
            if groups.len() > MAX_LISTED_GROUPS {
                let why = format!("at most {MAX_LISTED_GROUPS} groups can be listed");
                mistakes.add(Error::broken(Rule::TooMany, "claimedGroups", why));
            }
            mistakes.collect(check_entries("claimedGroups", groups, |key| {
                crate::domain::check_text("claimedGroups", key, MAX_GROUP_KEY)
            }));
        }
        if let Some(Some(days)) = self.claims_expire_days
            && !(1..=3_650).contains(&days)
        {
            mistakes.add(Error::invalid("claimsExpireDays", "must be between 1 and 3650"));
        }
        mistakes.refuse_any()
    }

    fn apply_to(&self, row: &mut AssertionSource) {
        row.group_identity = self.group_identity.unwrap_or(row.group_identity);
        if let Some(groups) = &self.claimed_groups {
            row.claimed_groups =
                groups.as_ref().map(|groups| list_keys(row.group_identity, groups));
        }
        row.claims_expire_days = self.claims_expire_days.unwrap_or(row.claims_expire_days);
        row.account_creation = self.account_creation.unwrap_or(row.account_creation);
    }
}

/// Checks the first entries of a list that may be longer than is allowed.
fn check_entries<R>(
    list: &'static str,
    entries: &[String],
    check: impl FnMut(&String) -> Result<R>,
) -> Result<()> {
    let first = entries.get(..MAX_LISTED_GROUPS).unwrap_or(entries);
    mistakes::each(list, first, check).map(drop)
}

/// The keys as they are compared: names without regard to the case of letters.
fn list_keys(identity: GroupIdentity, groups: &[String]) -> Value {
    let key = |group: &String| match identity {
        GroupIdentity::DisplayName => crate::identity::document::fold_text(group.trim()),
        GroupIdentity::ExternalId | GroupIdentity::Id => group.trim().to_owned(),
    };
    let keys: std::collections::BTreeSet<String> = groups.iter().map(key).collect();
    json!(keys)
}

/// The wanted identity provider of a new connection.
#[derive(Debug, Clone)]
pub struct AssertionSourceSettings {
    pub protocol: ProtocolSettings,
    pub rules: ClaimRules,
    /// The client's secret at the identity provider, or at Microsoft Graph.
    pub secret: Option<String>,
    /// Our own key, for SAML.
    pub service_key: Option<String>,
}

impl AssertionSourceSettings {
    /// Refuses settings that cannot be those of an identity provider.
    pub(in crate::domain) fn check_values(&self) -> Result<()> {
        let mut mistakes = Mistakes::default();
        mistakes.collect(self.protocol.check_values());
        mistakes.collect(self.rules.check_values());
        mistakes.collect(check_secret(self.protocol.protocol(), self.secret.as_deref()));
        mistakes.refuse_any()
    }
}

/// The changes of the identity provider of a connection.
#[derive(Debug, Clone, Default)]
pub struct AssertionSourceEdit {
    pub protocol: Option<ProtocolEdit>,
    pub rules: ClaimRules,
    /// The client's secret; the inner none takes it away.
    pub secret: Option<Option<String>>,
}

impl AssertionSourceEdit {
    /// Whether nothing is to change.
    pub fn is_empty(&self) -> bool {
        self.protocol.is_none() && self.rules.is_empty() && self.secret.is_none()
    }
}

/// Where the input has the client's secret.
fn secret_field(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Oidc => "clientSecret",
        Protocol::Saml => "saml.graph.clientSecret",
    }
}

fn check_secret(protocol: Protocol, secret: Option<&str>) -> Result<()> {
    match secret {
        Some(secret)
            if secret.is_empty()
                || secret.len() > MAX_SECRET_BYTES
                || !secret.bytes().all(|byte| byte.is_ascii_graphic()) =>
        {
            let why =
                format!("must be 1 to {MAX_SECRET_BYTES} visible ASCII characters without spaces");
            Err(Error::invalid(secret_field(protocol), why))
        }
        _ => Ok(()),
    }
}

/// Inserts the identity provider of a new connection. Sets the sealed secret in `row`, which the
/// caller writes.
pub(in crate::domain) async fn insert_source(
    cx: &Cx,
    tx: &Tx<'_>,
    row: &mut Connection,
    settings: &AssertionSourceSettings,
) -> Result<AssertionSource> {
    check_ceiling(cx, &settings.protocol.console_permissions())?;
    giving::check_directory_source(cx, tx, row.id).await?;
    let mut source = AssertionSource {
        organization_id: tx.organization(),
        connection_id: row.id,
        protocol: settings.protocol.protocol(),
        settings: settings.protocol.to_json()?,
        group_identity: default_identity(row.provider),
        claimed_groups: None,
        claims_expire_days: Some(DEFAULT_CLAIMS_EXPIRE_DAYS),
        account_creation: AccountCreation::None,
    };
    settings.rules.apply_to(&mut source);
    let secrets = match settings.protocol {
        ProtocolSettings::Oidc(_) => StoredSecrets::Client(None),
        ProtocolSettings::Saml(_) => StoredSecrets::Saml(SamlSecrets {
            key: settings.service_key.clone().unwrap_or_default(),
            ..SamlSecrets::default()
        }),
    };
    if let Some(text) = secrets.with_client_secret(settings.secret.clone())? {
        row.credentials = Some(seal_secret(cx, tx, row.id, &text).await?);
    }
    assertion_source::Entity::insert(source.clone().into_active_model())
        .exec_without_returning(&tx.db)
        .await?;
    metadata_refresh::plan_refreshes(tx, row.id, &settings.protocol).await?;
    Ok(source)
}

/// Refuses to set, or to change the trust in, what gives permissions that the actor does not hold:
/// an administrator who may name the issuer could sign in as any person.
fn check_ceiling(cx: &Cx, permissions: &Permissions) -> Result<()> {
    match permissions.iter().find(|permission| !cx.holds(**permission)) {
        Some(missing) => {
            let why = format!(
                "sign-ins of this connection can give {missing} in the console, which you do not \
                 hold"
            );
            Err(Error::lacks_permission(missing.name(), why))
        }
        None => Ok(()),
    }
}

/// What tells groups apart in the claims of an identity provider: Entra ID lists object ids, all
/// others list names.
fn default_identity(provider: Provider) -> GroupIdentity {
    match provider {
        Provider::EntraId => GroupIdentity::ExternalId,
        _ => GroupIdentity::DisplayName,
    }
}

async fn seal_secret(cx: &Cx, tx: &Tx<'_>, connection: Uuid, secret: &str) -> Result<Vec<u8>> {
    let key = organization::current_organization(cx).await?.data_key;
    cx.app.vault.seal(tx.organization(), &key, connection, secret.as_bytes())
}

/// What is stored sealed with a connection: the client's secret, and our own keys for SAML.
enum StoredSecrets {
    Client(Option<String>),
    Saml(SamlSecrets),
}

impl StoredSecrets {
    async fn open_secrets(cx: &Cx, row: &Connection, protocol: Protocol) -> Result<Self> {
        match protocol {
            Protocol::Oidc => Ok(Self::Client(open_secret(cx, row).await?)),
            Protocol::Saml => Ok(Self::Saml(SamlSecrets::open_secrets(cx, row).await?)),
        }
    }

    fn client_secret(&self) -> Option<&String> {
        match self {
            Self::Client(secret) => secret.as_ref(),
            Self::Saml(secrets) => secrets.client_secret.as_ref(),
        }
    }

    /// The text to seal with this secret of the client; none = nothing is to be stored.
    fn with_client_secret(self, secret: Option<String>) -> Result<Option<String>> {
        match self {
            Self::Client(_) => Ok(secret),
            Self::Saml(secrets) => {
                SamlSecrets { client_secret: secret, ..secrets }.to_text().map(Some)
            }
        }
    }
}

/// Changes the identity provider of a connection. Sets the sealed secret in `row`, which the caller
/// writes. Returns the source before and after.
pub(in crate::domain) async fn edit_source(
    cx: &Cx,
    tx: &Tx<'_>,
    row: &mut Connection,
    edit: &AssertionSourceEdit,
) -> Result<(AssertionSource, AssertionSource)> {
    if row.kind != ConnectionKind::Assertion {
        let why = "this connection accepts no sign-ins: make another one that does";
        return Err(Error::invalid("assertion", why));
    }
    // The issuer, its keys and the claims decide who is who, and who is in which group.
    giving::check_directory_source(cx, tx, row.id).await?;
    let query = tx
        .find::<assertion_source::Entity>()
        .filter(assertion_source::Column::ConnectionId.eq(row.id));
    let before = crate::domain::lock_row(tx, query).await?;
    let before = before.ok_or_else(|| Error::not_found(Noun::Connection))?;
    let mut after = before.clone();
    let mut mistakes = Mistakes::default();
    mistakes.collect(edit.rules.check_values());
    let secret = edit.secret.as_ref().and_then(Option::as_deref);
    mistakes.collect(check_secret(before.protocol, secret));
    let secrets = StoredSecrets::open_secrets(cx, row, before.protocol).await?;
    // A secret that goes nowhere is not kept.
    let mut forgotten = false;
    if let Some(change) = &edit.protocol {
        let known = ProtocolSettings::of_row(&before)?;
        let addresses = known.secret_addresses();
        let former = known.console_permissions();
        let settings = change.apply_to(known, row.provider)?;
        check_ceiling(cx, &(&settings.console_permissions() | &former))?;
        mistakes.collect(settings.check_values());
        // A secret goes only to the addresses that it was given for: an administrator who may
        // change an address must not learn the secret.
        let asked = settings.secret_addresses();
        let goes_elsewhere = addresses != asked && !asked.is_empty();
        if edit.secret.is_none() && goes_elsewhere && secrets.client_secret().is_some() {
            let field = secret_field(before.protocol);
            let why = "give it again when it is to go to another address";
            mistakes.add(Error::broken(Rule::Required, field, why));
        }
        forgotten = asked.is_empty();
        after.settings = settings.to_json()?;
        if change.gives_metadata() {
            metadata_refresh::plan_refreshes(tx, row.id, &settings).await?;
        }
    }
    mistakes.refuse_any()?;
    edit.rules.apply_to(&mut after);
    let wanted = if forgotten { Some(None) } else { edit.secret.clone() };
    if let Some(wanted) = wanted.filter(|wanted| wanted.as_ref() != secrets.client_secret()) {
        row.credentials = match secrets.with_client_secret(wanted)? {
            Some(text) => Some(seal_secret(cx, tx, row.id, &text).await?),
            None => None,
        };
    }
    if after != before {
        crate::domain::save_row::<assertion_source::Entity, assertion_source::ActiveModel>(
            tx,
            after.clone(),
        )
        .await?;
    }
    Ok((before, after))
}

/// What an event says of an identity provider: everything but the secret.
pub(in crate::domain) fn describe_source(source: &AssertionSource) -> Map<String, Value> {
    use sea_orm::ActiveEnum;
    let mut map = Map::new();
    map.insert("protocol".into(), source.protocol.to_value().into());
    map.insert("settings".into(), source.settings.clone());
    map.insert("groupIdentity".into(), source.group_identity.to_value().into());
    map.insert("claimedGroups".into(), source.claimed_groups.clone().unwrap_or(Value::Null));
    map.insert("claimsExpireDays".into(), source.claims_expire_days.into());
    map.insert("accountCreation".into(), source.account_creation.to_value().into());
    map
}

/// The identity providers of these connections, as far as they accept assertions.
pub async fn sources_of_connections(cx: &Cx, ids: &[Uuid]) -> Result<Vec<AssertionSource>> {
    cx.allow(Action::ReadIam, None)?;
    let query = cx.find::<assertion_source::Entity>();
    Ok(query
        .filter(assertion_source::Column::ConnectionId.is_in(ids.iter().copied()))
        .all(cx.db())
        .await?)
}

/// A live connection and the identity provider whose assertions it accepts.
#[derive(Debug, Clone)]
pub struct AcceptingConnection {
    pub connection: Connection,
    pub source: AssertionSource,
}

impl AcceptingConnection {
    /// Refuses unless the connection is active.
    ///
    /// # Errors
    /// [`Error::Held`]
    pub fn check_active(&self) -> Result<()> {
        if self.connection.status == ConnectionStatus::Active {
            return Ok(());
        }
        let why = "the connection is deactivated; activate it (connectionActivate) first";
        Err(Error::Held { reason: RefusalReason::ConnectionInactive, why: why.into() })
    }

    /// The settings of OpenID Connect.
    ///
    /// # Errors
    /// [`Error::Held`] for a connection of another protocol.
    pub fn oidc_settings(&self) -> Result<OidcSettings> {
        if self.source.protocol != Protocol::Oidc {
            let why = "the connection accepts another protocol than OpenID Connect";
            return Err(Error::Held { reason: RefusalReason::AssertionKind, why: why.into() });
        }
        OidcSettings::of_row(&self.source)
    }

    /// The settings of SAML.
    ///
    /// # Errors
    /// [`Error::Held`] for a connection of another protocol.
    pub fn saml_settings(&self) -> Result<SamlSettings> {
        if self.source.protocol != Protocol::Saml {
            let why = "the connection accepts another protocol than SAML";
            return Err(Error::Held { reason: RefusalReason::AssertionKind, why: why.into() });
        }
        SamlSettings::of_row(&self.source)
    }
}

/// The client that asks Microsoft Graph for the groups that a sign-in left out.
#[derive(Debug, Clone)]
pub struct GraphAccess {
    pub client: GraphClient,
    /// None while it was not given.
    pub secret: Option<String>,
}

impl AcceptingConnection {
    /// The client that asks Microsoft Graph; none where Graph is not asked.
    ///
    /// # Errors
    /// [`Error::Internal`] for settings of another version.
    pub fn graph_client(&self) -> Result<Option<GraphClient>> {
        Ok(match ProtocolSettings::of_row(&self.source)? {
            ProtocolSettings::Saml(settings) => settings.graph,
            ProtocolSettings::Oidc(OidcSettings { client_id, graph, .. }) => {
                graph.map(|settings| GraphClient { client_id, settings })
            }
        })
    }

    /// The same with its secret.
    ///
    /// # Errors
    /// Those of the database and of the vault.
    pub async fn open_graph(&self, cx: &Cx) -> Result<Option<GraphAccess>> {
        let Some(client) = self.graph_client()? else { return Ok(None) };
        let secrets =
            StoredSecrets::open_secrets(cx, &self.connection, self.source.protocol).await?;
        Ok(Some(GraphAccess { client, secret: secrets.client_secret().cloned() }))
    }
}

/// Where sign-ins of a connection may end.
#[derive(Debug, Clone)]
pub struct SignInEnds {
    /// Where applications wait.
    pub redirect_urls: Vec<String>,
    /// The most that a sign-in may give in the console; empty = none opens it.
    pub console_permissions: Permissions,
}

impl AcceptingConnection {
    /// Where its sign-ins may end.
    ///
    /// # Errors
    /// [`Error::Internal`] for settings of another version.
    pub fn sign_in_ends(&self) -> Result<SignInEnds> {
        let settings = ProtocolSettings::of_row(&self.source)?;
        let console_permissions = settings.console_permissions();
        let redirect_urls = match settings {
            ProtocolSettings::Oidc(settings) => settings.redirect_urls,
            ProtocolSettings::Saml(settings) => settings.redirect_urls,
        };
        Ok(SignInEnds { redirect_urls, console_permissions })
    }
}

/// Whether exactly one connection lets people sign in here over OpenID Connect. Only then an answer
/// that says nothing of its connection is that connection's.
///
/// # Errors
/// [`Error::Internal`] for settings of another version.
pub async fn has_one_sign_in(cx: &Cx) -> Result<bool> {
    let mut offering = 0;
    for accepting in list_accepting(cx, Protocol::Oidc).await? {
        let SignInEnds { redirect_urls, console_permissions } = accepting.sign_in_ends()?;
        if !redirect_urls.is_empty() || !console_permissions.is_empty() {
            offering += 1;
        }
    }
    Ok(offering == 1)
}

/// One live connection that accepts assertions, whether it is active or not.
///
/// # Errors
/// [`Error::NotFound`] for any other connection.
pub async fn find_accepting(cx: &Cx, id: Uuid) -> Result<AcceptingConnection> {
    let found = list_where(cx, Some(id), None).await?;
    found.into_iter().next().ok_or_else(|| Error::not_found(Noun::Connection))
}

/// The live connections that accept assertions of a protocol, the oldest first.
pub async fn list_accepting(cx: &Cx, protocol: Protocol) -> Result<Vec<AcceptingConnection>> {
    list_where(cx, None, Some(protocol)).await
}

async fn list_where(
    cx: &Cx,
    id: Option<Uuid>,
    protocol: Option<Protocol>,
) -> Result<Vec<AcceptingConnection>> {
    let mut query = cx.find::<assertion_source::Entity>();
    if let Some(id) = id {
        query = query.filter(assertion_source::Column::ConnectionId.eq(id));
    }
    if let Some(protocol) = protocol {
        query = query.filter(assertion_source::Column::Protocol.eq(protocol));
    }
    let sources = query.limit(MAX_ACCEPTING).all(cx.db()).await?;
    let ids: Vec<Uuid> = sources.iter().map(|source| source.connection_id).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let live = cx.find::<connection::Entity>().filter(connection::Column::DeletedAt.is_null());
    let live = live.filter(connection::Column::Id.is_in(ids)).all(cx.db()).await?;
    let mut found: Vec<AcceptingConnection> = sources
        .into_iter()
        .filter_map(|source| {
            let connection = live.iter().find(|row| row.id == source.connection_id)?.clone();
            Some(AcceptingConnection { connection, source })
        })
        .collect();
    found.sort_by_key(|accepting| accepting.connection.id);
    Ok(found)
}

/// The secret of a connection: of OpenID Connect the client's secret, of SAML our own private key.
///
/// # Errors
/// Those of the database and of the vault.
pub async fn open_secret(cx: &Cx, connection: &Connection) -> Result<Option<String>> {
    let Some(sealed) = &connection.credentials else { return Ok(None) };
    let key = organization::current_organization(cx).await?.data_key;
    let secret = cx.app.vault.unseal(cx.organization(), &key, connection.id, sealed)?;
    let secret = String::from_utf8(secret);
    secret.map(Some).map_err(|_| Error::Internal("a sealed secret is damaged".into()))
}
