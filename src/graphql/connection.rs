//! Connections, the sources of identities. Their type in the schema is `IdentitySource`, because
//! Relay reserves names that end in `Connection` for pages; fields and mutations say `connection`.

use async_graphql::{Context, Enum, ID, InputObject, MaybeUndefined, Object, SimpleObject};
use chrono::{DateTime, Utc};
use entity::connection as stored;
use uuid::Uuid;

use super::assertion_source::{
    AssertionSourceInput, AssertionSourceObject, AssertionSourceUpdateInput, ClaimRulesInput,
    to_source_edit,
};
use super::diagnostics::ConnectionDiagnosis;
use super::health::ConnectionHealth;
use super::list_filter::SyncRunFilter;
use super::loaders::{
    self, AssertionSourceOf, ClaimedMembershipCountOf, ConnectionGroupCountOf, HealthOf,
    LastSyncOf, PullSourceOf, ReconciliationScheduleOf, SyncRunCountOf, SyncRunsOf, TokensOf,
    UserCountOf,
};
use super::order::{ListOrder, ScimTokenOrder, SyncRunOrder};
use super::permission::{Permission, name_platform_admin, needs};
use super::reconcile::ReconciliationSchedule;
use super::scim_endpoints::ScimEndpoints;
use super::scim_token::{ScimToken, ScimTokenFilter};
use super::sync::{PullSourceInput, PullSourceObject, PullSourceUpdateInput, SyncRun};
use crate::domain::connection;
use crate::domain::connection::scim_token;
use crate::domain::connection::{ConnectionSettings, NewSource, SourceEdit};
use crate::domain::connection::{delete, diagnostics};
use crate::domain::paging::order::{OrderPlace, place_by_age};
use crate::domain::sync;
use crate::error::{Error, Mistakes, Noun, Result, mistakes};
use crate::graphql::payload::mutation_payloads;
use crate::graphql::relay;
use crate::graphql::relay::{FieldMap, NodeKind, PageArguments, RelayPage, UserError};

/// The most tokens of one connection that are shown.
const MAX_TOKENS_PER_CONNECTION: usize = 100;
/// The input field that each name in the domain's errors stands for.
const FIELD_MAP: FieldMap = FieldMap {
    nouns: &[(Noun::Connection, "id")],
    fields: &[
        ("baseUrl", "pull.baseUrl"),
        ("auth", "pull.auth"),
        ("tokenUrl", "pull.tokenUrl"),
        ("clientId", "pull.clientId"),
        ("scope", "pull.scope"),
        ("secret", "pull.secret"),
        ("pageSize", "pull.pageSize"),
        ("userFilter", "pull.userFilter"),
        ("intervalMinutes", "pull.intervalMinutes"),
        ("incrementalMinutes", "pull.incrementalMinutes"),
        ("shrinkPercent", "pull.shrinkPercent"),
        ("issuer", "assertion.oidc.issuer"),
        ("oidc.clientId", "assertion.oidc.clientId"),
        ("clientSecret", "assertion.oidc.clientSecret"),
        ("audiences", "assertion.oidc.audiences"),
        ("algorithms", "assertion.oidc.algorithms"),
        ("discoveryUrl", "assertion.oidc.discoveryUrl"),
        ("jwksUri", "assertion.oidc.jwksUri"),
        ("skewSeconds", "assertion.oidc.skewSeconds"),
        ("scopes", "assertion.oidc.scopes"),
        ("userInfo", "assertion.oidc.userInfo"),
        ("redirectUrls", "assertion.oidc.redirectUrls"),
        ("consolePermissions", "assertion.oidc.consolePermissions"),
        ("graph.baseUrl", "assertion.oidc.graph.baseUrl"),
        ("graph.tokenUrl", "assertion.oidc.graph.tokenUrl"),
        ("saml.graph.clientId", "assertion.saml.graph.clientId"),
        ("saml.graph.clientSecret", "assertion.saml.graph.clientSecret"),
        ("saml.graph.baseUrl", "assertion.saml.graph.baseUrl"),
        ("saml.graph.tokenUrl", "assertion.saml.graph.tokenUrl"),
        ("metadata", "assertion.saml.metadata.xml"),
        ("metadataUrl", "assertion.saml.metadata.url"),
        ("saml.audiences", "assertion.saml.audiences"),
        ("recipients", "assertion.saml.recipients"),
        ("allowIdpInitiated", "assertion.saml.allowIdpInitiated"),
        ("nameIdFormat", "assertion.saml.nameIdFormat"),
        ("saml.skewSeconds", "assertion.saml.skewSeconds"),
        ("saml.redirectUrls", "assertion.saml.redirectUrls"),
        ("saml.consolePermissions", "assertion.saml.consolePermissions"),
        ("attributes.subject", "assertion.saml.attributes.subject"),
        ("attributes.userName", "assertion.saml.attributes.userName"),
        ("attributes.email", "assertion.saml.attributes.email"),
        ("attributes.emailVerified", "assertion.saml.attributes.emailVerified"),
        ("attributes.displayName", "assertion.saml.attributes.displayName"),
        ("attributes.givenName", "assertion.saml.attributes.givenName"),
        ("attributes.familyName", "assertion.saml.attributes.familyName"),
        ("attributes.groups", "assertion.saml.attributes.groups"),
        ("attributes.roles", "assertion.saml.attributes.roles"),
        ("claims.subject", "assertion.oidc.claims.subject"),
        ("claims.userName", "assertion.oidc.claims.userName"),
        ("claims.email", "assertion.oidc.claims.email"),
        ("claims.emailVerified", "assertion.oidc.claims.emailVerified"),
        ("claims.displayName", "assertion.oidc.claims.displayName"),
        ("claims.givenName", "assertion.oidc.claims.givenName"),
        ("claims.familyName", "assertion.oidc.claims.familyName"),
        ("claims.groups", "assertion.oidc.claims.groups"),
        ("claims.roles", "assertion.oidc.claims.roles"),
        ("claimedGroups", "claims.claimedGroups"),
        ("claimsExpireDays", "claims.claimsExpireDays"),
    ],
};

/// How users and groups get into a connection.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::ConnectionKind")]
pub enum ConnectionKind {
    /// The identity provider writes to rolecall over SCIM.
    ScimPush,
    /// rolecall reads another SCIM server.
    ScimPull,
    /// Sign-ins say who is in which group.
    Assertion,
}

/// Whether a connection accepts requests.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::ConnectionStatus")]
pub enum ConnectionState {
    /// Requests are served.
    Active,
    /// Requests are refused after authentication. Accounts and groups stay as they are.
    Inactive,
}

/// What a deletion over SCIM does to an account.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::DeletionPolicy")]
pub enum DeletionPolicy {
    /// The account is closed, and its data is kept.
    Soft,
    /// The account is closed, and its personal data is erased after the revival window.
    Hard,
}

/// What happens if a connection creates a user whose user name belongs to an account that it does
/// not own.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::AdoptionPolicy")]
pub enum AdoptionPolicy {
    /// The request is refused as a conflict. Nothing is proposed.
    Refuse,
    /// The request is refused as a conflict, and an adoption proposal is made: an administrator
    /// decides whether the connection gets the account.
    Propose,
    /// The connection gets the account, if no connection owns it and its user name is inside one of
    /// the organization's verified domains; its user name and e-mail addresses stay. For other
    /// accounts an adoption proposal is made.
    Link,
}

/// Which identity provider the connection is for.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::Provider")]
pub enum Provider {
    /// Microsoft Entra ID.
    EntraId,
    /// Okta.
    Okta,
    /// Google Workspace.
    GoogleWorkspace,
    /// OneLogin.
    #[graphql(name = "ONELOGIN")]
    OneLogin,
    /// JumpCloud.
    #[graphql(name = "JUMPCLOUD")]
    JumpCloud,
    /// PingOne.
    #[graphql(name = "PINGONE")]
    PingOne,
    /// Keycloak.
    Keycloak,
    /// Zitadel.
    Zitadel,
    /// Auth0. Its people sign in; it sends nothing over SCIM.
    #[graphql(name = "AUTH0")]
    Auth0,
    /// Any other SCIM 2.0 client.
    Generic,
}

/// A connection as the schema shows it.
pub struct IdentitySource(pub connection::Connection);

impl From<connection::Connection> for IdentitySource {
    fn from(row: connection::Connection) -> Self {
        Self(row)
    }
}

/// A connection: one source of identities, with its own credentials. It reads and changes only what
/// it owns. Fields, arguments and mutations say `connection`. Only the type has another name:
/// Relay, and the tools that follow it, take each type whose name ends in `Connection` for a page
/// of a list.
#[Object]
impl IdentitySource {
    /// The connection's global id.
    #[graphql(directive = needs::apply(None))]
    pub async fn id(&self) -> ID {
        relay::global_id(NodeKind::IdentitySource, self.0.id)
    }

    /// The name for people to read.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// How users and groups get into a connection.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn kind(&self) -> ConnectionKind {
        self.0.kind.into()
    }

    /// Which identity provider the connection is for.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn provider(&self) -> Provider {
        self.0.provider.into()
    }

    /// Whether requests are served.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn state(&self) -> ConnectionState {
        self.0.status.into()
    }

    /// What a deletion over SCIM does to an account.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn deletion_policy(&self) -> DeletionPolicy {
        self.0.deletion_policy.into()
    }

    /// What happens if it creates a user whose user name belongs to an account that it does not
    /// own.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn adoption_policy(&self) -> AdoptionPolicy {
        self.0.adoption_policy.into()
    }

    /// The revival window: for how many days after its deletion an account may come back under its
    /// own id.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn revival_days(&self) -> i32 {
        self.0.revival_days
    }

    /// Whether its service provider configuration announces paging by cursor (RFC 9865). Some older
    /// clients refuse a configuration that does; cursors work either way.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn announces_cursor_paging(&self) -> bool {
        self.0.announces_cursor_paging
    }

    /// When the identity provider last sent a request, a few seconds late. Null if it never did.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn last_contact_at(&self) -> Option<DateTime<Utc>> {
        self.0.last_contact_at
    }

    /// The SCIM tokens, newest first unless another order is given, revoked ones too; at most 100.
    /// Secrets are never among the fields.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn tokens(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which tokens; none = all.")] filter: Option<ScimTokenFilter>,
        #[graphql(desc = "The order of the tokens.")] order_by: Option<ScimTokenOrder>,
    ) -> async_graphql::Result<Vec<ScimToken>> {
        let mut tokens = loaders::load_one(ctx, TokensOf(self.0.id)).await?.unwrap_or_default();
        let query = filter.unwrap_or_default().into_domain_query();
        let now = relay::cx(ctx)?.app.clock.now();
        tokens.retain(|token| query.selects(token, now));
        let order = order_by.map_or(ListOrder::NEWEST_FIRST, Into::into);
        scim_token::sort_tokens(&mut tokens, order.by, order.descending);
        Ok(tokens.into_iter().take(MAX_TOKENS_PER_CONNECTION).map(Into::into).collect())
    }

    /// How many live accounts this connection owns. Counted only when selected; costs more than a
    /// field.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn user_count(&self, ctx: &Context<'_>) -> async_graphql::Result<i32> {
        Ok(relay::to_graphql_int(
            loaders::load_one(ctx, UserCountOf(self.0.id)).await?.unwrap_or_default(),
        ))
    }

    /// How many live groups this connection owns. Counted only when selected; costs more than a
    /// field.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn group_count(&self, ctx: &Context<'_>) -> async_graphql::Result<i32> {
        Ok(relay::to_graphql_int(
            loaders::load_one(ctx, ConnectionGroupCountOf(self.0.id)).await?.unwrap_or_default(),
        ))
    }

    /// How many memberships its sign-ins made. If it is deleted, they end; with
    /// `usersBecomeManual` they stay, as if made by hand. Counted only when selected; costs more
    /// than a field.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn claimed_membership_count(&self, ctx: &Context<'_>) -> async_graphql::Result<i32> {
        Ok(relay::to_graphql_int(
            loaders::load_one(ctx, ClaimedMembershipCountOf(self.0.id)).await?.unwrap_or_default(),
        ))
    }

    /// The URLs to enter in the identity provider; null while SCIM is not available.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn endpoints(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<ScimEndpoints>> {
        ScimEndpoints::for_current_organization(ctx).await
    }

    /// Finds out whether the connection works, from the installation's settings to the latest
    /// requests, and says what to do. Whether a source can be read is `pullSourceTest`.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn diagnosis(&self, ctx: &Context<'_>) -> Result<Option<ConnectionDiagnosis>> {
        Ok(Some(diagnostics::diagnose_connection(relay::cx(ctx)?, self.0.id).await?.into()))
    }

    /// The health of the connection at this moment; null after it was deleted.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn health(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<ConnectionHealth>> {
        Ok(loaders::load_one(ctx, HealthOf(self.0.id)).await?.map(ConnectionHealth))
    }

    /// The SCIM server that it reads; null for a connection that an identity provider writes to.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn pull(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<PullSourceObject>> {
        Ok(loaders::load_one(ctx, PullSourceOf(self.0.id)).await?.map(PullSourceObject))
    }

    /// The identity provider whose sign-ins it accepts; null for a connection of another kind.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn assertion_source(
        &self,
        ctx: &Context<'_>,
    ) -> async_graphql::Result<Option<AssertionSourceObject>> {
        Ok(loaders::load_one(ctx, AssertionSourceOf(self.0.id)).await?.map(AssertionSourceObject))
    }

    /// How often rolecall compares it automatically with what its identity provider says; null =
    /// never.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn reconciliation_schedule(
        &self,
        ctx: &Context<'_>,
    ) -> async_graphql::Result<Option<ReconciliationSchedule>> {
        Ok(loaders::load_one(ctx, ReconciliationScheduleOf(self.0.id))
            .await?
            .map(ReconciliationSchedule::from))
    }

    /// Whether a secret is stored: for the SCIM server that it reads, or of the client at the
    /// identity provider whose sign-ins it accepts.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn has_credentials(&self) -> bool {
        self.0.credentials.is_some()
    }

    /// The latest sync run that read its source to the end; null if there was none yet. `userCount`
    /// and `groupCount` are the current numbers of accounts and groups.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn last_sync(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<SyncRun>> {
        Ok(loaders::load_one(ctx, LastSyncOf(self.0.id)).await?.map(Into::into))
    }

    /// The sync runs, which read its source, the latest first unless ordered otherwise.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn sync_runs(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match every field of it.")] filter: Option<SyncRunFilter>,
        #[graphql(desc = "In which order; a cursor belongs to the order that it came with.")]
        order_by: Option<SyncRunOrder>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> async_graphql::Result<Option<RelayPage<SyncRun>>> {
        let order = order_by.map_or(ListOrder::NEWEST_FIRST, Into::into);
        let window = PageArguments { first, after, last, before };
        let keyset = window.to_keyset::<OrderPlace>(ctx, order.descending)?;
        if let Some(filter) = filter {
            let cx = relay::cx(ctx)?;
            let Some(mut which) = filter.into_domain_query()? else {
                return Ok(Some(RelayPage::empty()));
            };
            if which.connection.replace(self.0.id).is_some_and(|other| other != self.0.id) {
                return Ok(Some(RelayPage::empty()));
            }
            let total = if relay::selects_total_count(ctx) {
                sync::count_runs(cx, &which).await?
            } else {
                0
            };
            let rows = sync::list_runs(cx, &which, order.by, &keyset).await?;
            return Ok(Some(RelayPage::from_keyed_rows(rows, total)));
        }
        // The runs of the connections of a page are read together.
        let keyset = keyset.to_id_keyset()?;
        let total = if relay::selects_total_count(ctx) {
            loaders::load_one(ctx, SyncRunCountOf(self.0.id)).await?.unwrap_or_default()
        } else {
            0
        };
        let Some(rows) = loaders::load_one(ctx, SyncRunsOf(self.0.id, keyset)).await? else {
            return Ok(Some(RelayPage::empty()));
        };
        Ok(Some(RelayPage::from_keyed_rows(place_by_age(rows, |row| row.id), total)))
    }

    /// When the connection was created.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// When its settings last changed.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn updated_at(&self) -> DateTime<Utc> {
        self.0.updated_at
    }

    /// 1 when the connection is created; grows by one with every change.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn version(&self) -> i64 {
        self.0.version
    }
}

/// The connection to create.
#[derive(InputObject)]
pub struct ConnectionCreateInput {
    /// The name for people to read; unique among the organization's connections.
    name: String,
    /// Which identity provider the connection is for.
    #[graphql(default_with = "Provider::Generic")]
    provider: Provider,
    /// What a deletion over SCIM does to an account.
    #[graphql(default_with = "DeletionPolicy::Soft")]
    deletion_policy: DeletionPolicy,
    /// What happens if it creates a user whose user name belongs to an account that it does not
    /// own.
    #[graphql(default_with = "AdoptionPolicy::Propose")]
    adoption_policy: AdoptionPolicy,
    /// The revival window: for how many days after its deletion an account may come back under its
    /// own id, 0 to 3650.
    #[graphql(default_with = "connection::DEFAULT_REVIVAL_DAYS")]
    revival_days: i32,
    /// Whether to announce paging by cursor (RFC 9865) in the service provider configuration.
    #[graphql(default = true)]
    announces_cursor_paging: bool,
    /// The SCIM server that it reads. Without it and `assertion`, an identity provider writes to
    /// the connection.
    pull: Option<PullSourceInput>,
    /// The identity provider whose sign-ins it accepts; not together with `pull`.
    assertion: Option<AssertionSourceInput>,
    /// What the claims of sign-ins may do; only with `assertion`.
    claims: Option<ClaimRulesInput>,
}

impl ConnectionCreateInput {
    /// The settings, and where the identities come from.
    fn into_settings(self) -> Result<(ConnectionSettings, NewSource)> {
        let provider = self.provider.into();
        let settings = ConnectionSettings {
            name: Some(self.name),
            provider: Some(provider),
            deletion_policy: Some(self.deletion_policy.into()),
            adoption_policy: Some(self.adoption_policy.into()),
            revival_days: Some(self.revival_days),
            announces_cursor_paging: Some(self.announces_cursor_paging),
        };
        let source = match (self.pull, self.assertion) {
            (None, None) if self.claims.is_some() => {
                let why = "only a connection with assertion has claims";
                return Err(Error::invalid("claims", why));
            }
            (None, None) => NewSource::Push,
            (Some(pull), None) if self.claims.is_none() => NewSource::Pull(pull.into()),
            (Some(_), None) => {
                let why = "only a connection with assertion has claims";
                return Err(Error::invalid("claims", why));
            }
            (None, Some(assertion)) => {
                NewSource::Assertion(Box::new(assertion.into_settings(provider, self.claims)?))
            }
            (Some(_), Some(_)) => {
                let why = "a connection reads a source or accepts sign-ins, not both";
                return Err(Error::invalid("assertion", why));
            }
        };
        Ok((settings, source))
    }
}

/// The settings of a connection to change. A field that is left out stays as it is.
#[derive(InputObject)]
pub struct ConnectionUpdateInput {
    /// The connection's global id.
    id: ID,
    /// The mutation is refused if the connection's `version` is no longer this one.
    expected_version: Option<i32>,
    /// The name for people to read; unique among the organization's connections. Cannot be null.
    name: MaybeUndefined<String>,
    /// Which identity provider the connection is for. Cannot be null.
    provider: MaybeUndefined<Provider>,
    /// What a deletion over SCIM does to an account. Cannot be null.
    deletion_policy: MaybeUndefined<DeletionPolicy>,
    /// What happens if it creates a user whose user name belongs to an account that it does not
    /// own. Cannot be null.
    adoption_policy: MaybeUndefined<AdoptionPolicy>,
    /// The revival window: for how many days after its deletion an account may come back under its
    /// own id, 0 to 3650. Cannot be null.
    revival_days: MaybeUndefined<i32>,
    /// Whether to announce paging by cursor (RFC 9865) in the service provider configuration.
    /// Cannot be null.
    announces_cursor_paging: MaybeUndefined<bool>,
    /// Changes of the SCIM server that it reads. Cannot be null: a connection that reads a source
    /// cannot become one that an identity provider writes to.
    pull: MaybeUndefined<PullSourceUpdateInput>,
    /// Changes of the identity provider whose sign-ins it accepts. Cannot be null.
    assertion: MaybeUndefined<AssertionSourceUpdateInput>,
    /// Changes of what the claims of sign-ins may do. Cannot be null.
    claims: MaybeUndefined<ClaimRulesInput>,
}

impl ConnectionUpdateInput {
    /// The UUID of the connection, its settings, and the edit of its source.
    fn into_settings(self) -> Result<(Uuid, ConnectionSettings, SourceEdit)> {
        let mut mistakes = Mistakes::default();
        let id = relay::parse_input_id(NodeKind::IdentitySource, &self.id, Noun::Connection);
        let id = mistakes.collect(id);
        let settings = ConnectionSettings {
            name: mistakes.collect(relay::refuse_null("name", self.name)).flatten(),
            provider: mistakes
                .collect(relay::refuse_null("provider", self.provider))
                .flatten()
                .map(Into::into),
            deletion_policy: mistakes
                .collect(relay::refuse_null("deletionPolicy", self.deletion_policy))
                .flatten()
                .map(Into::into),
            adoption_policy: mistakes
                .collect(relay::refuse_null("adoptionPolicy", self.adoption_policy))
                .flatten()
                .map(Into::into),
            revival_days: mistakes
                .collect(relay::refuse_null("revivalDays", self.revival_days))
                .flatten(),
            announces_cursor_paging: mistakes
                .collect(relay::refuse_null("announcesCursorPaging", self.announces_cursor_paging))
                .flatten(),
        };
        let pull = mistakes.collect(relay::refuse_null("pull", self.pull)).flatten();
        let pull = pull.map(PullSourceUpdateInput::into_edit);
        let pull = pull.and_then(|pull| mistakes.collect(pull));
        let source = mistakes.collect(relay::refuse_null("assertion", self.assertion)).flatten();
        let claims = mistakes.collect(relay::refuse_null("claims", self.claims)).flatten();
        let assertion = mistakes.collect(to_source_edit(source, claims)).flatten();
        mistakes.refuse_any()?;
        Ok((id.unwrap_or_default(), settings, SourceEdit { pull, assertion }))
    }
}

/// The connection to activate.
#[derive(InputObject)]
pub struct ConnectionActivateInput {
    /// The connection's global id.
    id: ID,
    /// The mutation is refused if the connection's `version` is no longer this one.
    expected_version: Option<i32>,
}

/// The connection to deactivate.
#[derive(InputObject)]
pub struct ConnectionDeactivateInput {
    /// The connection's global id.
    id: ID,
    /// The mutation is refused if the connection's `version` is no longer this one.
    expected_version: Option<i32>,
    /// Why it is done; it is written to the ledger. At most 1,000 characters.
    reason: Option<String>,
}

/// The connection to delete.
#[derive(InputObject)]
pub struct ConnectionDeleteInput {
    /// The connection's global id.
    id: ID,
    /// The mutation is refused if the connection's `version` is no longer this one.
    expected_version: Option<i32>,
    /// Why it is done; it is written to the ledger. At most 1,000 characters.
    reason: Option<String>,
    /// If true, the accounts and groups that it owns stay, as if created by hand, and so do the
    /// memberships that its sign-ins made. If false, the deletion is refused while it owns any, and
    /// these memberships end.
    #[graphql(default)]
    users_become_manual: bool,
}

/// The result of `connectionDelete`.
#[derive(SimpleObject)]
pub struct ConnectionDeletePayload {
    /// The global id that the connection had; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    deleted_connection_id: Option<ID>,
    /// How many live accounts have no owner now; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    manual_user_count: Option<i32>,
    /// How many live groups have no owner now; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    manual_group_count: Option<i32>,
    /// How many memberships that its sign-ins made end now; with `usersBecomeManual`, how many stay
    /// as if made by hand. Null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    claimed_membership_count: Option<i32>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = needs::apply(None))]
    user_errors: Vec<UserError>,
}

mutation_payloads! {
    connection_payloads;
    /// The connection after the change; null if there were mistakes.
    connection: IdentitySource;
    /// The result of `connectionCreate`.
    ConnectionCreatePayload,
    /// The result of `connectionUpdate`.
    ConnectionUpdatePayload,
    /// The result of `connectionActivate`.
    ConnectionActivatePayload,
    /// The result of `connectionDeactivate`.
    ConnectionDeactivatePayload,
}

#[derive(Default)]
pub struct ConnectionMutation;

#[Object]
impl ConnectionMutation {
    /// Creates an active connection that an identity provider writes to, or, with `pull`, one that
    /// reads a SCIM server, or, with `assertion`, one that accepts sign-ins. Next, issue a token
    /// for the first (`scimTokenIssue`), test the second (`pullSourceTest`) and start a sync
    /// (`syncStart`), or test the third (`assertionSourceTest`).
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn connection_create(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The connection to create.")] input: ConnectionCreateInput,
    ) -> Result<Option<ConnectionCreatePayload>> {
        let cx = relay::cx(ctx)?;
        let given = input.assertion.as_ref();
        let (list, place) = given.map_or(("", None), AssertionSourceInput::platform_admin_place);
        let done = async {
            let mut input = input;
            if let Some(assertion) = &mut input.assertion {
                assertion.prepare(cx).await?;
            }
            let (settings, source) = input.into_settings()?;
            connection::create_connection(cx, settings, source).await
        };
        let done = name_platform_admin(done.await, list, place);
        ConnectionCreatePayload::from_result(done, FIELD_MAP)
    }

    /// Changes a connection's settings.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn connection_update(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to change.")] input: ConnectionUpdateInput,
    ) -> Result<Option<ConnectionUpdatePayload>> {
        let cx = relay::cx(ctx)?;
        let expected = relay::to_version(input.expected_version);
        let given = input.assertion.value();
        let (list, place) =
            given.map_or(("", None), AssertionSourceUpdateInput::platform_admin_place);
        let done = async {
            let mut input = input;
            if let MaybeUndefined::Value(assertion) = &mut input.assertion {
                assertion.prepare(cx).await?;
            }
            let (id, settings, source) = input.into_settings()?;
            connection::update_connection(cx, id, settings, source, expected).await
        };
        let done = name_platform_admin(done.await, list, place);
        ConnectionUpdatePayload::from_result(done, FIELD_MAP)
    }

    /// Activates a connection: its requests are served (again).
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn connection_activate(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which connection.")] input: ConnectionActivateInput,
    ) -> Result<Option<ConnectionActivatePayload>> {
        let cx = relay::cx(ctx)?;
        let expected = relay::to_version(input.expected_version);
        let id = relay::parse_input_id(NodeKind::IdentitySource, &input.id, Noun::Connection);
        let done = async { connection::activate_connection(cx, id?, expected).await };
        ConnectionActivatePayload::from_result(done.await, FIELD_MAP)
    }

    /// Deactivates a connection: its requests are refused from this instant on. No account changes.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn connection_deactivate(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which connection.")] input: ConnectionDeactivateInput,
    ) -> Result<Option<ConnectionDeactivatePayload>> {
        let expected = relay::to_version(input.expected_version);
        let done = async {
            let (cx, id) = mistakes::both(
                relay::cx_with_reason(ctx, input.reason.as_deref()),
                relay::parse_input_id(NodeKind::IdentitySource, &input.id, Noun::Connection),
            )?;
            connection::deactivate_connection(&cx, id, expected).await
        };
        ConnectionDeactivatePayload::from_result(done.await, FIELD_MAP)
    }

    /// Deletes a connection. From this instant on its tokens are refused like unknown ones, and
    /// memberships that its sign-ins made give no roles.
    /// Mappings that wait for one of its groups are removed. `usersBecomeManual` also needs
    /// USER_WRITE; the accounts and groups then keep their memberships and roles.
    #[graphql(directive = needs::apply(Some(Permission::IamWrite)))]
    async fn connection_delete(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which connection.")] input: ConnectionDeleteInput,
    ) -> Result<Option<ConnectionDeletePayload>> {
        let expected = relay::to_version(input.expected_version);
        let done = async {
            let (cx, id) = mistakes::both(
                relay::cx_with_reason(ctx, input.reason.as_deref()),
                relay::parse_input_id(NodeKind::IdentitySource, &input.id, Noun::Connection),
            )?;
            delete::delete_connection(&cx, id, input.users_become_manual, expected).await
        };
        let (left, user_errors) = relay::split_user_errors(done.await, FIELD_MAP)?;
        Ok(Some(ConnectionDeletePayload {
            deleted_connection_id: left.map(|_| input.id),
            manual_user_count: left.map(|left| relay::to_graphql_int(left.users)),
            manual_group_count: left.map(|left| relay::to_graphql_int(left.groups)),
            claimed_membership_count: left.map(|left| relay::to_graphql_int(left.claimed)),
            user_errors,
        }))
    }
}
