//! Erasure of one account or of all accounts that came through SCIM, and the restoration of a
//! deleted account.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use chrono::{DateTime, Utc};

use super::connection::IdentitySource;
use super::loaders::{self, ConnectionId};
use super::permission::{Permission, needs};
use super::user::UserRestorePayload;
use crate::domain::directory::{deletion, erasure};
use crate::error::{Noun, Result, mistakes};
use crate::graphql::relay;
use crate::graphql::relay::{FieldMap, NodeKind, UserError};

/// The input field that each name in the domain's errors stands for.
const FIELD_MAP: FieldMap = FieldMap {
    nouns: &[(Noun::DeletedUser, "id"), (Noun::Connection, "connectionId")],
    fields: &[("userName", "id"), ("externalId", "id")],
};

/// A deleted account that can still be restored, as the schema shows it.
pub struct DeletedUser(pub deletion::Account);

impl From<deletion::Account> for DeletedUser {
    fn from(row: deletion::Account) -> Self {
        Self(row)
    }
}

/// A deleted account that can still be restored: `userRestore` takes its id.
#[Object]
impl DeletedUser {
    /// The global id that the account had, and that it has again if it is restored.
    #[graphql(directive = needs::apply(None))]
    async fn user_id(&self) -> ID {
        relay::global_id(NodeKind::User, self.0.id)
    }

    /// The user name that the account had.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn user_name(&self) -> &str {
        &self.0.user_name
    }

    /// The name for people to read.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn display_name(&self) -> Option<&str> {
        self.0.display_name.as_deref()
    }

    /// The connection that owned it; null if none did, and after the connection was deleted.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn connection(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<IdentitySource>> {
        let Some(id) = self.0.connection_id else { return Ok(None) };
        Ok(loaders::load_one(ctx, ConnectionId(id)).await?.map(Into::into))
    }

    /// When it was deleted.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn deleted_at(&self) -> Option<DateTime<Utc>> {
        self.0.deleted_at
    }

    /// When its personal data will be erased for good; null if no erasure is planned.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn purge_after(&self) -> Option<DateTime<Utc>> {
        self.0.purge_after
    }
}

/// The progress of a running `provisionedUsersDelete`.
#[derive(SimpleObject)]
pub struct RunningDeletion {
    /// How many accounts have been processed.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    done: i32,
    /// How many accounts there are to process; null while they are being counted.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    total: Option<i32>,
}

impl From<deletion::DeletionProgress> for RunningDeletion {
    fn from(progress: deletion::DeletionProgress) -> Self {
        Self {
            done: relay::to_graphql_int(progress.done),
            total: progress.total.map(relay::to_graphql_int),
        }
    }
}

/// The account to restore.
#[derive(InputObject)]
pub struct UserRestoreInput {
    /// The global id of the deleted account.
    id: ID,
}

/// The deleted account whose personal data to erase.
#[derive(InputObject)]
pub struct UserPurgeInput {
    /// The global id of the deleted account.
    id: ID,
    /// Why it is done; it is written to the ledger. At most 1,000 characters.
    reason: Option<String>,
}

/// The accounts to delete, all of which came through SCIM, and their number.
#[derive(InputObject)]
pub struct ProvisionedUsersDeleteInput {
    /// How many live accounts came through SCIM, as the overview shows it, break-glass accounts
    /// included. The mutation is refused if the number is another, to prove that the caller knows
    /// what will be deleted.
    confirm_count: i32,
    /// The global id of a connection: only its accounts are deleted, and `confirmCount` is their
    /// number. Left out = the accounts of all connections.
    connection_id: Option<ID>,
}

/// The result of `userPurge`.
#[derive(SimpleObject)]
pub struct UserPurgePayload {
    /// The global id that the account had; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    purged_user_id: Option<ID>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = needs::apply(None))]
    user_errors: Vec<UserError>,
}

/// The result of `provisionedUsersDelete`.
#[derive(SimpleObject)]
pub struct ProvisionedUsersDeletePayload {
    /// How many accounts were deleted; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    deleted_count: Option<i32>,
    /// How many break-glass accounts were kept; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    protected_count: Option<i32>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = needs::apply(None))]
    user_errors: Vec<UserError>,
}

#[derive(Default)]
pub struct DeletionMutation;

#[Object]
impl DeletionMutation {
    /// Restores a deleted account that was not purged yet, under its own id. Its memberships and
    /// grants are not restored. Refused while another account has its user name or external id.
    #[graphql(directive = needs::apply(Some(Permission::UserWrite)))]
    async fn user_restore(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which account.")] input: UserRestoreInput,
    ) -> Result<Option<UserRestorePayload>> {
        let cx = relay::cx(ctx)?;
        let id = relay::parse_input_id(NodeKind::User, &input.id, Noun::DeletedUser);
        let done = async { deletion::restore_user(cx, id?).await }.await;
        UserRestorePayload::from_result(done, FIELD_MAP)
    }

    /// Erases a deleted account's personal data for good; its history stays, under its id only.
    /// This cannot be undone.
    #[graphql(directive = needs::apply(Some(Permission::DeleteAll)))]
    async fn user_purge(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which account.")] input: UserPurgeInput,
    ) -> Result<Option<UserPurgePayload>> {
        let done = async {
            let (cx, id) = mistakes::both(
                relay::cx_with_reason(ctx, input.reason.as_deref()),
                relay::parse_input_id(NodeKind::User, &input.id, Noun::DeletedUser),
            )?;
            erasure::purge_user(&cx, id).await
        };
        let (done, user_errors) = relay::split_user_errors(done.await, FIELD_MAP)?;
        Ok(Some(UserPurgePayload { purged_user_id: done.map(|()| input.id), user_errors }))
    }

    /// Deletes every account that came through SCIM and erases its personal data at once. This
    /// cannot be undone; only a new sync from the identity provider creates the accounts again, so
    /// agree with its administrator first. Accounts created by hand and break-glass accounts stay.
    /// One such deletion runs at a time in an organization, and it goes on if the client
    /// disconnects.
    #[graphql(directive = needs::apply(Some(Permission::DeleteAll)))]
    async fn provisioned_users_delete(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The accounts to delete, and their number.")]
        input: ProvisionedUsersDeleteInput,
    ) -> Result<Option<ProvisionedUsersDeletePayload>> {
        let cx = relay::cx(ctx)?;
        let done = async {
            let connection = input
                .connection_id
                .map(|id| relay::parse_input_id(NodeKind::IdentitySource, &id, Noun::Connection))
                .transpose()?;
            deletion::delete_provisioned_users(cx, connection, i64::from(input.confirm_count)).await
        };
        let (done, user_errors) = relay::split_user_errors(done.await, FIELD_MAP)?;
        let (deleted_count, protected_count) = done
            .map(|done| (relay::to_graphql_int(done.count), relay::to_graphql_int(done.protected)))
            .unzip();
        Ok(Some(ProvisionedUsersDeletePayload { deleted_count, protected_count, user_errors }))
    }
}
