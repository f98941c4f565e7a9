//! Connections, the sources of identities. In the schema the thing is an `IdentitySource`, because Relay keeps
//! names that end in `Connection` for pages; fields and mutations say `connection`.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};
use chrono::{DateTime, Utc};
use entity::connection as stored;

use super::auth::{Permission, requires};
use super::checkup::ConnectionTest;
use super::health::ConnectionHealth;
use super::loaders::{
    self, ConnectionGroupCountOf, HealthOf, LastSyncOf, PullSourceOf, ReconciliationScheduleOf, SyncRunCountOf,
    SyncRunsOf, TokensOf, UserCountOf,
};
use super::overview::ScimEndpoints;
use super::page::{self, Blame, Kind, Page, UserError, Window};
use super::reconcile::ReconciliationSchedule;
use super::sync::{PullSource, PullSourceInput, SyncRun};
use super::token::ScimToken;
use crate::domain::{checkup, connection, disconnect};
use crate::error::Result;

/// The most tokens of one connection that are shown.
const MAX_TOKENS: usize = 100;
/// What the domain's names mean in an input.
const BLAME: Blame = &[("the connection", "id")];

/// How identities arrive.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::ConnectionKind")]
pub enum ConnectionKind {
    /// The identity provider writes to us over SCIM.
    ScimPush,
    /// We read a remote SCIM source.
    ScimPull,
    /// Group claims in sign-in assertions. Not offered yet: no connection of this kind can be made.
    Assertion,
}

/// Whether a connection accepts requests.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::ConnectionStatus")]
pub enum ConnectionStatus {
    /// Requests are served.
    Active,
    /// Requests are refused after authentication; nothing is lost, and no account is touched.
    Inactive,
}

/// What a deletion over SCIM means.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::DeletionPolicy")]
pub enum DeletionPolicy {
    /// The account is closed and kept.
    Soft,
    /// The account is closed, and purged after the revival window.
    Hard,
}

/// What becomes of a person whom a connection creates and who already has an account that is not its own.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::AdoptionPolicy")]
pub enum AdoptionPolicy {
    /// The request is refused as a conflict, and that is all.
    Refuse,
    /// The request is refused as a conflict, and somebody may decide that the account becomes the connection's.
    Propose,
    /// An account that no connection owns and whose user name is inside one of the organization's verified domains
    /// becomes the connection's; its user name and e-mail addresses stay. Others are proposed.
    Link,
}

/// The identity provider at the other end.
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

/// A connection: one source of identities, with its own credentials. It sees and touches only what it owns.
#[Object]
impl IdentitySource {
    /// The connection's global id.
    #[graphql(directive = requires::apply(None))]
    pub async fn id(&self) -> ID {
        page::global(Kind::IdentitySource, self.0.id)
    }

    /// The name for people to read.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// How identities arrive.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn kind(&self) -> ConnectionKind {
        self.0.kind.into()
    }

    /// The identity provider at the other end.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn provider(&self) -> Provider {
        self.0.provider.into()
    }

    /// Whether requests are served.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn status(&self) -> ConnectionStatus {
        self.0.status.into()
    }

    /// What a deletion over SCIM means.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn deletion_policy(&self) -> DeletionPolicy {
        self.0.deletion_policy.into()
    }

    /// What becomes of a person whom it creates and who already has an account that is not its own.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn adoption_policy(&self) -> AdoptionPolicy {
        self.0.adoption_policy.into()
    }

    /// How many days a deleted account may come back under its own id.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn revival_days(&self) -> i32 {
        self.0.revival_days
    }

    /// Whether its service provider configuration announces paging by cursor (RFC 9865). Some older clients refuse a
    /// configuration that does; cursors work either way.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn announces_cursor_paging(&self) -> bool {
        self.0.announces_cursor_paging
    }

    /// When the identity provider was last heard; a few seconds late. Null while it never was.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn last_contact_at(&self) -> Option<DateTime<Utc>> {
        self.0.last_contact_at
    }

    /// The SCIM tokens, newest first, revoked ones too; at most 100. Never a secret.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn tokens(&self, ctx: &Context<'_>) -> async_graphql::Result<Vec<ScimToken>> {
        let tokens = loaders::one(ctx, TokensOf(self.0.id)).await?.unwrap_or_default();
        Ok(tokens.into_iter().take(MAX_TOKENS).map(Into::into).collect())
    }

    /// How many live accounts this connection owns. Counted only when selected; costs more than a field.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn user_count(&self, ctx: &Context<'_>) -> async_graphql::Result<i32> {
        Ok(page::count(loaders::one(ctx, UserCountOf(self.0.id)).await?.unwrap_or_default()))
    }

    /// How many live groups this connection owns. Counted only when selected; costs more than a field.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn group_count(&self, ctx: &Context<'_>) -> async_graphql::Result<i32> {
        Ok(page::count(loaders::one(ctx, ConnectionGroupCountOf(self.0.id)).await?.unwrap_or_default()))
    }

    /// The addresses to paste into the identity provider; null while SCIM is not available.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn endpoints(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<ScimEndpoints>> {
        ScimEndpoints::here(ctx).await
    }

    /// Whether it works: every step from the installation's settings to the last requests, with what to do.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn test(&self, ctx: &Context<'_>) -> Result<Option<ConnectionTest>> {
        Ok(Some(checkup::examine(page::cx(ctx)?, self.0.id).await?.into()))
    }

    /// How it is, judged at this moment; null once it is deleted.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn health(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<ConnectionHealth>> {
        Ok(loaders::one(ctx, HealthOf(self.0.id)).await?.map(ConnectionHealth))
    }

    /// The source that it reads by itself; null for a connection that is written to.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn pull(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<PullSource>> {
        Ok(loaders::one(ctx, PullSourceOf(self.0.id)).await?.map(PullSource))
    }

    /// How often it is compared by itself with what its identity provider says; null = never.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn reconciliation_schedule(
        &self,
        ctx: &Context<'_>,
    ) -> async_graphql::Result<Option<ReconciliationSchedule>> {
        Ok(loaders::one(ctx, ReconciliationScheduleOf(self.0.id)).await?.map(ReconciliationSchedule::from))
    }

    /// Whether it holds a secret for the source that it reads.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn has_credentials(&self) -> bool {
        self.0.credentials.is_some()
    }

    /// The latest run that read its source to the end; null while there was none. How many accounts and groups there are
    /// since, `userCount` and `groupCount` say.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn last_sync(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<SyncRun>> {
        Ok(loaders::one(ctx, LastSyncOf(self.0.id)).await?.map(Into::into))
    }

    /// The runs that read its source, the latest first.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn sync_runs(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> async_graphql::Result<Option<Page<SyncRun>>> {
        let keyset = Window { first, after, last, before }.keyset(true)?;
        let total = match page::counted(ctx) {
            true => loaders::one(ctx, SyncRunCountOf(self.0.id)).await?.unwrap_or_default(),
            false => 0,
        };
        let Some(rows) = loaders::one(ctx, SyncRunsOf(self.0.id, keyset)).await? else {
            return Ok(Some(Page::empty()));
        };
        Ok(Some(Page::new(rows.map(Into::into), |row: &SyncRun| row.0.id, total)))
    }

    /// When the connection was made.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// When its settings last changed.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn updated_at(&self) -> DateTime<Utc> {
        self.0.updated_at
    }

    /// Counts its changes, from 1.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn version(&self) -> i64 {
        self.0.version
    }
}

/// A connection to be made.
#[derive(InputObject)]
pub struct ConnectionCreateInput {
    /// The name for people to read; unique among the organization's connections.
    name: String,
    /// The identity provider at the other end.
    #[graphql(default_with = "Provider::Generic")]
    provider: Provider,
    /// What a deletion over SCIM means.
    #[graphql(default_with = "DeletionPolicy::Soft")]
    deletion_policy: DeletionPolicy,
    /// What becomes of a person whom it creates and who already has an account that is not its own.
    #[graphql(default_with = "AdoptionPolicy::Propose")]
    adoption_policy: AdoptionPolicy,
    /// How many days a deleted account may come back under its own id, 0 to 3650.
    #[graphql(default_with = "connection::REVIVAL_DAYS")]
    revival_days: i32,
    /// Whether to announce paging by cursor (RFC 9865) in the service provider configuration.
    #[graphql(default = true)]
    announces_cursor_paging: bool,
    /// The source that it reads by itself. Without it, an identity provider writes to the connection.
    pull: Option<PullSourceInput>,
}

/// What to change about a connection; what is left out stays as it is.
#[derive(InputObject)]
pub struct ConnectionUpdateInput {
    /// The connection's global id.
    id: ID,
    /// The name for people to read; unique among the organization's connections.
    name: Option<String>,
    /// The identity provider at the other end.
    provider: Option<Provider>,
    /// What a deletion over SCIM means.
    deletion_policy: Option<DeletionPolicy>,
    /// What becomes of a person whom it creates and who already has an account that is not its own.
    adoption_policy: Option<AdoptionPolicy>,
    /// How many days a deleted account may come back under its own id, 0 to 3650.
    revival_days: Option<i32>,
    /// Whether to announce paging by cursor (RFC 9865) in the service provider configuration.
    announces_cursor_paging: Option<bool>,
    /// The source that it reads by itself, as a whole.
    pull: Option<PullSourceInput>,
}

/// Which connection to start serving.
#[derive(InputObject)]
pub struct ConnectionActivateInput {
    /// The connection's global id.
    id: ID,
}

/// Which connection to stop serving.
#[derive(InputObject)]
pub struct ConnectionDeactivateInput {
    /// The connection's global id.
    id: ID,
}

/// Which connection to delete.
#[derive(InputObject)]
pub struct ConnectionDeleteInput {
    /// The connection's global id.
    id: ID,
    /// Whether the accounts and groups that it owns stay, as if made by hand. Otherwise the deletion is refused while
    /// there are any.
    #[graphql(default)]
    users_become_manual: bool,
}

/// What became of a deletion of a connection.
#[derive(SimpleObject)]
pub struct ConnectionDeletePayload {
    /// The global id that the connection had; null if there were mistakes.
    #[graphql(directive = requires::apply(None))]
    deleted_connection_id: Option<ID>,
    /// How many live accounts are nobody's now; null if there were mistakes.
    #[graphql(directive = requires::apply(None))]
    manual_user_count: Option<i32>,
    /// How many live groups are nobody's now; null if there were mistakes.
    #[graphql(directive = requires::apply(None))]
    manual_group_count: Option<i32>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = requires::apply(None))]
    user_errors: Vec<UserError>,
}

/// What became of a change of a connection.
#[derive(SimpleObject)]
pub struct ConnectionPayload {
    /// The connection after the change; null if there were mistakes.
    #[graphql(directive = requires::apply(None))]
    connection: Option<IdentitySource>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = requires::apply(None))]
    user_errors: Vec<UserError>,
}

fn payload(done: Result<connection::Connection>) -> Result<Option<ConnectionPayload>> {
    let (done, user_errors) = page::outcome(done, BLAME)?;
    Ok(Some(ConnectionPayload { connection: done.map(Into::into), user_errors }))
}

#[derive(Default)]
pub struct ConnectionMutation;

#[Object]
impl ConnectionMutation {
    /// Makes an active connection that an identity provider writes to, or, with `pull`, one that reads a source. Issue the
    /// former a token next; test the latter (connectionTest) and start a sync.
    #[graphql(directive = requires::apply(Some(Permission::IamWrite)))]
    async fn connection_create(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The connection to make.")] input: ConnectionCreateInput,
    ) -> Result<Option<ConnectionPayload>> {
        let settings = connection::Settings {
            name: Some(input.name),
            provider: Some(input.provider.into()),
            deletion_policy: Some(input.deletion_policy.into()),
            adoption_policy: Some(input.adoption_policy.into()),
            revival_days: Some(input.revival_days),
            announces_cursor_paging: Some(input.announces_cursor_paging),
            pull: input.pull.map(Into::into),
        };
        payload(connection::create(page::cx(ctx)?, settings).await)
    }

    /// Changes a connection's settings.
    #[graphql(directive = requires::apply(Some(Permission::IamWrite)))]
    async fn connection_update(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to change.")] input: ConnectionUpdateInput,
    ) -> Result<Option<ConnectionPayload>> {
        let cx = page::cx(ctx)?;
        let settings = connection::Settings {
            name: input.name,
            provider: input.provider.map(Into::into),
            deletion_policy: input.deletion_policy.map(Into::into),
            adoption_policy: input.adoption_policy.map(Into::into),
            revival_days: input.revival_days,
            announces_cursor_paging: input.announces_cursor_paging,
            pull: input.pull.map(Into::into),
        };
        payload(
            async {
                connection::update(cx, page::id(Kind::IdentitySource, &input.id, "the connection")?, settings).await
            }
            .await,
        )
    }

    /// Starts serving a connection's requests (again).
    #[graphql(directive = requires::apply(Some(Permission::IamWrite)))]
    async fn connection_activate(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which connection.")] input: ConnectionActivateInput,
    ) -> Result<Option<ConnectionPayload>> {
        let cx = page::cx(ctx)?;
        payload(
            async { connection::activate(cx, page::id(Kind::IdentitySource, &input.id, "the connection")?).await }
                .await,
        )
    }

    /// Stops serving a connection's requests from this instant on. No account is touched.
    #[graphql(directive = requires::apply(Some(Permission::IamWrite)))]
    async fn connection_deactivate(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which connection.")] input: ConnectionDeactivateInput,
    ) -> Result<Option<ConnectionPayload>> {
        let cx = page::cx(ctx)?;
        payload(
            async { connection::deactivate(cx, page::id(Kind::IdentitySource, &input.id, "the connection")?).await }
                .await,
        )
    }

    /// Deletes a connection. Its tokens open nothing from this instant on, and its URL answers as for a token that never
    /// was. Mappings that wait for one of its groups are removed. To let the accounts and groups that it owns stay also
    /// takes USER_WRITE; they keep their memberships and roles.
    #[graphql(directive = requires::apply(Some(Permission::IamWrite)))]
    async fn connection_delete(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which connection.")] input: ConnectionDeleteInput,
    ) -> Result<Option<ConnectionDeletePayload>> {
        let cx = page::cx(ctx)?;
        let id = page::id(Kind::IdentitySource, &input.id, "the connection");
        let done = async { disconnect::delete(cx, id?, input.users_become_manual).await }.await;
        let (left, user_errors) = page::outcome(done, BLAME)?;
        Ok(Some(ConnectionDeletePayload {
            deleted_connection_id: left.map(|_| input.id),
            manual_user_count: left.map(|left| page::count(left.users)),
            manual_group_count: left.map(|left| page::count(left.groups)),
            user_errors,
        }))
    }
}
