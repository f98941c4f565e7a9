//! Deletion for good, of one account or of everybody who came through SCIM, and the way back from a deletion.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use chrono::{DateTime, Utc};

use super::auth::{Permission, requires};
use super::connection::IdentitySource;
use super::loaders::{self, ConnectionId};
use super::page::{self, Blame, Kind, UserError};
use super::user::UserPayload;
use crate::domain::{deletion, erasure};
use crate::error::Result;

/// What the domain's names mean in an input.
const BLAME: Blame =
    &[("the deleted user", "id"), ("userName", "id"), ("externalId", "id"), ("the connection", "connectionId")];

/// An account that was deleted and can still come back, as the schema shows it.
pub struct DeletedUser(pub deletion::Account);

impl From<deletion::Account> for DeletedUser {
    fn from(row: deletion::Account) -> Self {
        Self(row)
    }
}

/// An account that was deleted and can still come back: `userRestore` takes its id.
#[Object]
impl DeletedUser {
    /// The global id that the account had, and has again if it comes back.
    #[graphql(directive = requires::apply(None))]
    async fn id(&self) -> ID {
        page::global(Kind::User, self.0.id)
    }

    /// The name it signed in with.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn user_name(&self) -> &str {
        &self.0.user_name
    }

    /// The name for people to read.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn display_name(&self) -> Option<&str> {
        self.0.display_name.as_deref()
    }

    /// The connection that owned it; null if nobody did, or the connection is gone.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn connection(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<IdentitySource>> {
        let Some(id) = self.0.connection_id else { return Ok(None) };
        Ok(loaders::one(ctx, ConnectionId(id)).await?.map(Into::into))
    }

    /// When it was deleted.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn deleted_at(&self) -> Option<DateTime<Utc>> {
        self.0.deleted_at
    }

    /// When its personal data is erased for good; null if nobody has decided that.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn purge_after(&self) -> Option<DateTime<Utc>> {
        self.0.purge_after
    }
}

/// A deletion of everybody who came through SCIM, while it runs.
#[derive(SimpleObject)]
pub struct RunningDeletion {
    /// How many accounts it has dealt with.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    done: i32,
    /// How many there are in all; null while they are being counted.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    total: Option<i32>,
}

impl From<deletion::Progress> for RunningDeletion {
    fn from(progress: deletion::Progress) -> Self {
        Self { done: page::count(progress.done), total: progress.total.map(page::count) }
    }
}

/// Which account to bring back.
#[derive(InputObject)]
pub struct UserRestoreInput {
    /// The global id that the account had, and has again.
    id: ID,
}

/// Whose personal data to erase.
#[derive(InputObject)]
pub struct UserPurgeInput {
    /// The global id that the deleted account had.
    id: ID,
}

/// Everybody who came through SCIM.
#[derive(InputObject)]
pub struct ProvisionedUsersDeleteInput {
    /// How many live accounts came through SCIM, as the overview shows it, break-glass accounts included: proof that
    /// whoever asks knows what goes.
    confirm_count: i32,
    /// Only the accounts of this connection; the count is of these.
    connection_id: Option<ID>,
}

/// What became of an erasure.
#[derive(SimpleObject)]
pub struct UserPurgePayload {
    /// The global id that the account had; null if there were mistakes.
    #[graphql(directive = requires::apply(None))]
    purged_user_id: Option<ID>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = requires::apply(None))]
    user_errors: Vec<UserError>,
}

/// What became of everybody who came through SCIM.
#[derive(SimpleObject)]
pub struct ProvisionedUsersDeletePayload {
    /// How many accounts are gone; null if there were mistakes.
    #[graphql(directive = requires::apply(None))]
    deleted_count: Option<i32>,
    /// How many break-glass accounts were left alone; null if there were mistakes.
    #[graphql(directive = requires::apply(None))]
    protected_count: Option<i32>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = requires::apply(None))]
    user_errors: Vec<UserError>,
}

#[derive(Default)]
pub struct DeletionMutation;

#[Object]
impl DeletionMutation {
    /// Brings back a deleted account that was not purged yet, under its own id. Its memberships and grants do not come
    /// back. Refused while somebody else bears its user name.
    #[graphql(directive = requires::apply(Some(Permission::UserWrite)))]
    async fn user_restore(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which account.")] input: UserRestoreInput,
    ) -> Result<Option<UserPayload>> {
        let cx = page::cx(ctx)?;
        let id = page::id(Kind::User, &input.id, "the deleted user");
        let done = async { deletion::restore(cx, id?).await }.await;
        let (done, user_errors) = page::outcome(done, BLAME)?;
        Ok(Some(UserPayload { user: done.map(Into::into), user_errors }))
    }

    /// Erases a deleted account's personal data for good; its history stays, by its id alone. There is no way back.
    #[graphql(directive = requires::apply(Some(Permission::DeleteAll)))]
    async fn user_purge(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which account.")] input: UserPurgeInput,
    ) -> Result<Option<UserPurgePayload>> {
        let cx = page::cx(ctx)?;
        let id = page::id(Kind::User, &input.id, "the deleted user");
        let done = async { erasure::purge(cx, id?).await }.await;
        let (done, user_errors) = page::outcome(done, BLAME)?;
        Ok(Some(UserPurgePayload { purged_user_id: done.map(|()| input.id), user_errors }))
    }

    /// Deletes every account that came through SCIM and erases its personal data at once. There is no way back but a
    /// fresh sync from the identity provider: confirm with its administrator first. Accounts made by hand and
    /// break-glass accounts stay. It runs once at a time, and goes on if the caller hangs up.
    #[graphql(directive = requires::apply(Some(Permission::DeleteAll)))]
    async fn provisioned_users_delete(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Whom, and how many they are.")] input: ProvisionedUsersDeleteInput,
    ) -> Result<Option<ProvisionedUsersDeletePayload>> {
        let cx = page::cx(ctx)?;
        let done = async {
            let connection =
                input.connection_id.map(|id| page::id(Kind::IdentitySource, &id, "the connection")).transpose()?;
            deletion::delete_all(cx, connection, i64::from(input.confirm_count)).await
        };
        let (done, user_errors) = page::outcome(done.await, BLAME)?;
        let (deleted_count, protected_count) =
            done.map(|done| (page::count(done.count), page::count(done.protected))).unzip();
        Ok(Some(ProvisionedUsersDeletePayload { deleted_count, protected_count, user_errors }))
    }
}
