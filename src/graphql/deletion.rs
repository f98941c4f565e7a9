//! Erasure of one account or of all accounts that came through SCIM, and the restoration of a
//! deleted account.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::connection::IdentitySource;
use super::event::EventActor;
use super::job::{self, JobCounts, JobProgress, JobState};
use super::loaders::{self, ConnectionId};
use super::permission::{Permission, needs};
use super::user::UserRestorePayload;
use crate::context::Cx;
use crate::domain::directory::{deletion, erasure};
use crate::error::{Error, Noun, Result, mistakes};
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

/// A deletion of all users that came through SCIM, as the schema shows it.
pub struct DeletionJob(pub deletion::DeletionJob);

impl From<deletion::DeletionJob> for DeletionJob {
    fn from(row: deletion::DeletionJob) -> Self {
        Self(row)
    }
}

impl DeletionJob {
    /// The deletion with this id, if there is one.
    pub async fn find_visible(cx: &Cx, id: Uuid) -> Result<Option<Self>> {
        match deletion::get_deletion(cx, id).await {
            Ok(row) => Ok(Some(Self(row))),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A deletion of all users that came through SCIM (`provisionedUsersDelete`). If the server ends
/// meanwhile, another one continues it.
#[Object]
impl DeletionJob {
    /// The deletion's global id.
    #[graphql(directive = needs::apply(None))]
    pub async fn id(&self) -> ID {
        relay::global_id(NodeKind::DeletionJob, self.0.id)
    }

    /// The state of the deletion.
    #[graphql(directive = needs::apply(None))]
    pub async fn state(&self) -> JobState {
        self.0.state.into()
    }

    /// How many accounts were deleted, of how many.
    #[graphql(directive = needs::apply(None))]
    pub async fn progress(&self) -> JobProgress {
        JobProgress::new(self.0.done.unsigned_abs(), Some(self.0.total.unsigned_abs()))
    }

    /// How many accounts were deleted; and how many stay because they are break-glass accounts
    /// (`kept`).
    #[graphql(directive = needs::apply(None))]
    pub async fn counts(&self) -> JobCounts {
        let found = self.0.total.unsigned_abs() + self.0.protected.unsigned_abs();
        JobCounts {
            read: job::to_long(found),
            deleted: job::to_long(self.0.done.unsigned_abs()),
            kept: job::to_long(self.0.protected.unsigned_abs()),
            ..JobCounts::default()
        }
    }

    /// Why it stopped before its end; empty if it did not.
    #[graphql(directive = needs::apply(None))]
    pub async fn user_errors(&self) -> Vec<UserError> {
        job::job_errors(self.0.state == deletion::State::Stopped, self.0.stopped_because.as_deref())
    }

    /// The connection whose accounts are deleted; null if those of all connections are, and after
    /// the connection was deleted.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn connection(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<IdentitySource>> {
        let Some(id) = self.0.connection_id else { return Ok(None) };
        Ok(loaders::load_one(ctx, ConnectionId(id)).await?.map(Into::into))
    }

    /// The caller that asked for it.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn created_by(&self) -> Option<EventActor> {
        let job = &self.0;
        Some(EventActor::from_ledger_columns(&job.actor_kind, Some(&job.actor_id), &job.actor_name))
    }

    /// When it was requested.
    #[graphql(directive = needs::apply(None))]
    pub async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// When it began; null while it is QUEUED.
    #[graphql(directive = needs::apply(None))]
    pub async fn started_at(&self) -> Option<DateTime<Utc>> {
        self.0.started_at
    }

    /// When it ended; null while it has not ended.
    #[graphql(directive = needs::apply(None))]
    pub async fn ended_at(&self) -> Option<DateTime<Utc>> {
        self.0.finished_at
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
    /// Why it is done; it is written to the ledger. At most 1,000 characters.
    reason: Option<String>,
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
    /// The job that deletes them; null if there were mistakes.
    #[graphql(directive = needs::apply(None))]
    job: Option<DeletionJob>,
    /// Mistakes in the input; empty if the job was begun.
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

    /// Deletes every account that came through SCIM and erases its personal data, in a job whose
    /// progress `jobProgress` follows. This cannot be undone; only a new sync from the identity
    /// provider creates the accounts again, so agree with its administrator first. Accounts created
    /// by hand and break-glass accounts stay. One such deletion runs at a time in an organization.
    #[graphql(directive = needs::apply(Some(Permission::DeleteAll)))]
    async fn provisioned_users_delete(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The accounts to delete, and their number.")]
        input: ProvisionedUsersDeleteInput,
    ) -> Result<Option<ProvisionedUsersDeletePayload>> {
        let done = async {
            let connection = input
                .connection_id
                .map(|id| relay::parse_input_id(NodeKind::IdentitySource, &id, Noun::Connection))
                .transpose();
            let (cx, connection) =
                mistakes::both(relay::cx_with_reason(ctx, input.reason.as_deref()), connection)?;
            deletion::begin_deletion(&cx, connection, i64::from(input.confirm_count)).await
        };
        let (job, user_errors) = relay::split_user_errors(done.await, FIELD_MAP)?;
        Ok(Some(ProvisionedUsersDeletePayload { job: job.map(Into::into), user_errors }))
    }
}
