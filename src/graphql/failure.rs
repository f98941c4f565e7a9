//! The review queue: what was refused or failed, why, what to do about it, and doing it.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};
use chrono::{DateTime, Utc};
use entity::failure as stored;
use serde_json::Value;
use uuid::Uuid;

use super::auth::{Permission, requires};
use super::connection::IdentitySource;
use super::group::Group;
use super::loaders::{self, ConnectionId, GroupId, UserId};
use super::page::{self, Blame, Kind, Long, UserError};
use super::user::User;
use crate::domain::failure::{self, Choice, Which};
use crate::error::Result;

/// What the domain's names mean in an input.
const BLAME: Blame = &[("the failure", "id")];

/// Who wanted a write that failed.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::Origin")]
pub enum FailureOrigin {
    /// The identity provider, by a request of its own.
    Request,
    /// This server, while it read from the source.
    Sync,
}

/// What stood in the way of a write.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::Cause")]
pub enum FailureCause {
    /// Whoever should have answered was not to be reached or too busy. It passes: tried again by itself.
    TargetUnavailable,
    /// More requests than the connection's share; all that was refused for it is one failure, which ends by itself an
    /// hour after the last time.
    RateLimited,
    /// A value, or the whole message, cannot be accepted.
    InvalidValue,
    /// Somebody else bears this value.
    Uniqueness,
    /// What it is about, or refers to, is not there or not the connection's.
    NotFound,
    /// A break-glass account, or the last holder of a management role.
    Protected,
    /// The token's scopes do not reach that far.
    NotPermitted,
    /// Another change, or the state of what was to be changed, stood in the way. Tried again by itself.
    Conflict,
    /// Not offered here.
    Unsupported,
    /// Larger than is taken.
    TooLarge,
    /// A fault of this server's. Tried again by itself.
    Internal,
}

/// How far the work on a failure is.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::State")]
pub enum FailureState {
    /// It waits for somebody, or for its next attempt.
    Open,
    /// It is about to be tried again.
    Retrying,
    /// It is done.
    Resolved,
    /// It will not be done.
    Dismissed,
}

/// How a failure ended.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::Resolution")]
pub enum FailureResolution {
    /// A retry succeeded.
    Retried,
    /// The connection did the same thing later, or it is so by now.
    Superseded,
    /// It did not come again for a while.
    Passed,
    /// Somebody put it right here.
    FixedHere,
    /// Somebody put it right at the source.
    FixedAtSource,
    /// Somebody decided that it is not to be done.
    Dismissed,
    /// Its connection was deleted.
    ConnectionDeleted,
    /// Whom it was about was erased.
    Erased,
}

/// How somebody put a failure right.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "Choice")]
pub enum FailureFix {
    /// By a change here.
    FixedHere,
    /// By a change in the identity provider.
    FixedAtSource,
}

/// In which order failures are listed.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FailureOrder {
    /// The latest to appear first.
    #[default]
    NewestFirst,
    /// The first to appear first.
    OldestFirst,
}

/// What most probably puts a failure right.
#[derive(SimpleObject)]
pub struct FailureSuggestion {
    /// A stable code, for programs.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    code: String,
    /// In words for people.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    text: String,
}

/// Unfinished failures of one cause.
#[derive(SimpleObject)]
pub struct FailureCount {
    /// What stood in the way.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    cause: FailureCause,
    /// Pieces of work.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    failures: Long,
    /// The writes that they stand for.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    writes: Long,
    /// When the first of them came.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    first_at: DateTime<Utc>,
}

impl From<failure::Tally> for FailureCount {
    fn from(row: failure::Tally) -> Self {
        Self { cause: row.cause.into(), failures: Long(row.n), writes: Long(row.writes), first_at: row.first_at }
    }
}

/// A failure as the schema shows it.
pub struct Failure(pub Box<failure::Failure>);

impl From<failure::Failure> for Failure {
    fn from(row: failure::Failure) -> Self {
        Self(Box::new(row))
    }
}

/// A write of a connection that was refused or failed, with its repeats: one piece of work. The same write that fails
/// again for the same cause is counted here, a few seconds late.
#[Object]
impl Failure {
    /// The failure's global id.
    #[graphql(directive = requires::apply(None))]
    pub async fn id(&self) -> ID {
        page::global(Kind::Failure, self.0.id)
    }

    /// Whose write it was; null once the connection is deleted.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn connection(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<IdentitySource>> {
        Ok(loaders::one(ctx, ConnectionId(self.0.connection_id)).await?.map(Into::into))
    }

    /// Who wanted the write.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn origin(&self) -> FailureOrigin {
        self.0.origin.into()
    }

    /// What was wanted, for example `create user`, as the request log says it.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn operation(&self) -> &str {
        &self.0.operation
    }

    /// The name that the write gives to what it is about: a user name, or a group's name. Null where it gives none, and
    /// after an erasure.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn label(&self) -> Option<&str> {
        self.0.label.as_deref()
    }

    /// The account that the write is about, or that is in its way; null where there is none.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn user(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<User>> {
        let Some(id) = self.0.user_id else { return Ok(None) };
        Ok(loaders::one(ctx, UserId(id)).await?.map(Into::into))
    }

    /// The group that the write is about; null where there is none.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn group(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<Group>> {
        let Some(id) = self.0.group_id else { return Ok(None) };
        Ok(loaders::one(ctx, GroupId(id)).await?.map(Into::into))
    }

    /// What stood in the way.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn cause(&self) -> FailureCause {
        self.0.cause.into()
    }

    /// The same as a stable code, finer, as the request log has it.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn reason(&self) -> &str {
        &self.0.reason
    }

    /// The attribute that was refused.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// What is wrong, in words for people; never a value of the request.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn message(&self) -> String {
        failure::words(&self.0)
    }

    /// What most probably puts it right.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn suggestion(&self) -> FailureSuggestion {
        let (code, text) = failure::suggestion(&self.0);
        FailureSuggestion { code: code.into(), text }
    }

    /// What was sent, without its values: names of attributes, and the kind and length of what they were given. Null
    /// where nothing was sent that could be read.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn redacted_request(&self) -> Option<&Value> {
        self.0.outline.as_ref()
    }

    /// How often the same was refused.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn count(&self) -> Long {
        Long(self.0.count)
    }

    /// When it first was.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn first_at(&self) -> DateTime<Utc> {
        self.0.first_at
    }

    /// When it last was.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn last_at(&self) -> DateTime<Utc> {
        self.0.last_at
    }

    /// The id of the last request.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn last_request_id(&self) -> Option<Uuid> {
        self.0.last_request_id
    }

    /// How far the work is.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn state(&self) -> FailureState {
        self.0.state.into()
    }

    /// How it ended; null while it is unfinished.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn resolution(&self) -> Option<FailureResolution> {
        self.0.resolution.map(Into::into)
    }

    /// Why, in the words of whoever ended it; null where nothing was said, and after an erasure.
    #[graphql(directive = requires::apply(Some(Permission::UserRead)))]
    async fn note(&self) -> Option<&str> {
        self.0.note.as_deref()
    }

    /// Who looks after it.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn assigned_to(&self) -> Option<&str> {
        self.0.assigned_to.as_deref()
    }

    /// Whether it can be tried again: whether what was sent is kept.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn retryable(&self) -> bool {
        failure::retryable(&self.0)
    }

    /// How often it was tried again here.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn attempts(&self) -> i32 {
        self.0.attempts
    }

    /// When it is tried again; null where that waits for somebody.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn next_attempt_at(&self) -> Option<DateTime<Utc>> {
        self.0.next_attempt_at
    }

    /// When it ended.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn finished_at(&self) -> Option<DateTime<Utc>> {
        self.0.finished_at
    }

    /// Who ended it, by name.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn finished_by(&self) -> Option<&str> {
        self.0.finished_by.as_deref()
    }
}

/// Which failures are wanted: those that match all that is given.
#[derive(InputObject, Default)]
pub struct FailureFilter {
    /// In one of these states.
    states: Option<Vec<FailureState>>,
    /// With one of these causes.
    causes: Option<Vec<FailureCause>>,
    /// Of this connection.
    connection_id: Option<ID>,
    /// Looked after by this one.
    assigned_to: Option<String>,
}

impl FailureFilter {
    /// The filter in the domain's words; none if nothing can match it.
    pub fn compile(self) -> Option<Which> {
        let connection = match self.connection_id {
            Some(id) => Some(page::id_of(Kind::IdentitySource, &id)?),
            None => None,
        };
        if self.assigned_to.as_ref().is_some_and(|to| to.contains('\0')) {
            return None;
        }
        Some(Which {
            states: self.states.unwrap_or_default().into_iter().map(Into::into).collect(),
            causes: self.causes.unwrap_or_default().into_iter().map(Into::into).collect(),
            connection,
            assigned_to: self.assigned_to,
        })
    }
}

/// Which failure to try again.
#[derive(InputObject)]
pub struct FailureRetryInput {
    /// The failure's global id.
    id: ID,
}

/// Which failures to try again.
#[derive(InputObject)]
pub struct FailuresRetryInput {
    /// With one of these causes.
    causes: Option<Vec<FailureCause>>,
    /// Of this connection.
    failures_of: Option<ID>,
}

/// Which failure was put right, and how.
#[derive(InputObject)]
pub struct FailureResolveInput {
    /// The failure's global id.
    id: ID,
    /// How it was put right.
    fix: FailureFix,
    /// What was done, for those who look later.
    note: Option<String>,
}

/// Which failure to dismiss.
#[derive(InputObject)]
pub struct FailureDismissInput {
    /// The failure's global id.
    id: ID,
    /// Why it will not be done.
    reason: String,
}

/// Who looks after a failure.
#[derive(InputObject)]
pub struct FailureAssignInput {
    /// The failure's global id.
    id: ID,
    /// A name or an address; null = nobody.
    assigned_to: Option<String>,
}

/// What became of work on a failure.
#[derive(SimpleObject)]
pub struct FailurePayload {
    /// The failure afterwards; null if there were mistakes.
    #[graphql(directive = requires::apply(None))]
    failure: Option<Failure>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = requires::apply(None))]
    user_errors: Vec<UserError>,
}

/// What became of an order to try several again.
#[derive(SimpleObject)]
pub struct FailuresRetryPayload {
    /// How many are tried again; null if there were mistakes.
    #[graphql(directive = requires::apply(None))]
    retried_count: Option<i32>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = requires::apply(None))]
    user_errors: Vec<UserError>,
}

fn payload(done: Result<failure::Failure>) -> Result<Option<FailurePayload>> {
    let (done, user_errors) = page::outcome(done, BLAME)?;
    Ok(Some(FailurePayload { failure: done.map(Into::into), user_errors }))
}

#[derive(Default)]
pub struct FailureMutation;

#[Object]
impl FailureMutation {
    /// Tries a write again, in the background and as the connection whose it is: whatever it may not do, the retry may not
    /// do. What has happened since is left as it is.
    #[graphql(directive = requires::apply(Some(Permission::ReviewWrite)))]
    async fn failure_retry(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which failure.")] input: FailureRetryInput,
    ) -> Result<Option<FailurePayload>> {
        let cx = page::cx(ctx)?;
        let id = page::id(Kind::Failure, &input.id, "the failure");
        payload(async { failure::retry(cx, id?).await }.await)
    }

    /// Tries all that is open and matches again, the oldest first, at most 500 in one call.
    #[graphql(directive = requires::apply(Some(Permission::ReviewWrite)))]
    async fn failures_retry(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which failures.")] input: FailuresRetryInput,
    ) -> Result<Option<FailuresRetryPayload>> {
        let cx = page::cx(ctx)?;
        let which = async {
            let connection =
                input.failures_of.map(|id| page::id(Kind::IdentitySource, &id, "the connection")).transpose()?;
            let causes = input.causes.unwrap_or_default().into_iter().map(Into::into).collect();
            failure::retry_all(cx, &Which { causes, connection, ..Which::default() }).await
        };
        let (done, user_errors) = page::outcome(which.await, &[("the connection", "failuresOf")])?;
        Ok(Some(FailuresRetryPayload { retried_count: done.map(page::count), user_errors }))
    }

    /// Says that it was put right. If the same fails again, it is a new failure.
    #[graphql(directive = requires::apply(Some(Permission::ReviewWrite)))]
    async fn failure_resolve(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which failure.")] input: FailureResolveInput,
    ) -> Result<Option<FailurePayload>> {
        let cx = page::cx(ctx)?;
        let id = page::id(Kind::Failure, &input.id, "the failure");
        payload(async { failure::resolve(cx, id?, input.fix.into(), input.note.as_deref()).await }.await)
    }

    /// Says that it will not be done. If the same fails again, it is a new failure.
    #[graphql(directive = requires::apply(Some(Permission::ReviewWrite)))]
    async fn failure_dismiss(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which failure.")] input: FailureDismissInput,
    ) -> Result<Option<FailurePayload>> {
        let cx = page::cx(ctx)?;
        let id = page::id(Kind::Failure, &input.id, "the failure");
        payload(async { failure::dismiss(cx, id?, &input.reason).await }.await)
    }

    /// Says who looks after it.
    #[graphql(directive = requires::apply(Some(Permission::ReviewWrite)))]
    async fn failure_assign(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which failure, and who.")] input: FailureAssignInput,
    ) -> Result<Option<FailurePayload>> {
        let cx = page::cx(ctx)?;
        let id = page::id(Kind::Failure, &input.id, "the failure");
        payload(async { failure::assign(cx, id?, input.assigned_to.as_deref()).await }.await)
    }
}
