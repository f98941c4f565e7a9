//! The review queue: writes that were refused or failed, the reason, and the mutations to finish
//! them.

use async_graphql::{Context, Enum, ID, InputObject, MaybeUndefined, Object, SimpleObject};
use chrono::{DateTime, Utc};
use entity::failure as stored;
use serde_json::Value;
use uuid::Uuid;

use super::adoption::AdoptionProposal;
use super::connection::IdentitySource;
use super::failure_cause::FailureCause;
use super::group::GroupObject;
use super::loaders::{self, ConnectionId, GroupId, ProposalAbout, UserId};
use super::message_part::{self, MessagePart};
use super::permission::{Permission, needs};
use super::user::UserObject;
use crate::auth::policy::Action;
use crate::context::Cx;
use crate::domain::review;
use crate::domain::review::{FailureQuery, ResolutionChoice};
use crate::error::{Noun, Result};
use crate::graphql::payload::mutation_payloads;
use crate::graphql::relay;
use crate::graphql::relay::{FieldMap, Long, NodeKind};

/// The input field that each name in the domain's errors stands for.
const FIELD_MAP: FieldMap = FieldMap { nouns: &[(Noun::Failure, "id")], fields: &[] };

/// Where a failed write came from.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::Origin")]
pub enum FailureOrigin {
    /// A request of the identity provider.
    Request,
    /// A sync run, in which rolecall reads the source.
    Sync,
    /// A destination, which did not take an event within three days.
    Delivery,
}

/// The state of a failure.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::State")]
pub enum FailureState {
    /// It waits for an administrator, or for its next automatic retry.
    Open,
    /// A retry is running, or about to start.
    Retrying,
    /// The problem is solved.
    Resolved,
    /// The write will not be done.
    Dismissed,
}

/// How a failure ended.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "stored::Resolution")]
pub enum FailureResolution {
    /// A retry succeeded.
    Retried,
    /// The connection made the same write later, or its effect has been reached in another way.
    Superseded,
    /// The problem did not occur again for a while.
    Passed,
    /// An administrator fixed it in rolecall.
    FixedHere,
    /// An administrator fixed it in the identity provider.
    FixedAtSource,
    /// An administrator decided that the write will not be done.
    Dismissed,
    /// Its connection was deleted.
    ConnectionDeleted,
    /// Its destination was deleted.
    DestinationDeleted,
    /// The personal data of its account was erased.
    Erased,
}

/// How an administrator fixed a failure.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "ResolutionChoice")]
pub enum FailureFix {
    /// By a change in rolecall.
    FixedHere,
    /// By a change in the identity provider.
    FixedAtSource,
}

/// What most probably fixes a failure.
#[derive(SimpleObject)]
pub struct FailureSuggestion {
    /// A stable code, for programs.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    code: String,
    /// The suggestion, in words for people.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    message: String,
    /// The same by stable codes, a part for each sentence; empty where one of them has none.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    message_parts: Vec<MessagePart>,
}

/// Unfinished failures of one cause.
#[derive(SimpleObject)]
pub struct FailureCount {
    /// Why the write failed.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    cause: FailureCause,
    /// How many failures there are.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    failures: Long,
    /// How many failed writes they stand for, repeats included.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    writes: Long,
    /// When the earliest of them began.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    first_at: DateTime<Utc>,
}

impl From<review::CauseTally> for FailureCount {
    fn from(row: review::CauseTally) -> Self {
        Self {
            cause: row.cause.into(),
            failures: Long(row.n),
            writes: Long(row.writes),
            first_at: row.first_at,
        }
    }
}

/// A failure as the schema shows it.
pub struct FailureObject(pub Box<review::Failure>);

impl From<review::Failure> for FailureObject {
    fn from(row: review::Failure) -> Self {
        Self(Box::new(row))
    }
}

/// A write of a connection that was refused or failed, or a delivery to a destination that was
/// given up. If the same fails again for the same cause, `count` grows, a few seconds late.
#[Object(name = "Failure")]
impl FailureObject {
    /// The failure's global id.
    #[graphql(directive = needs::apply(None))]
    pub async fn id(&self) -> ID {
        relay::global_id(NodeKind::Failure, self.0.id)
    }

    /// The connection that made the write; null after it was deleted, and for a delivery.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn connection(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<IdentitySource>> {
        let Some(id) = self.0.connection_id else { return Ok(None) };
        Ok(loaders::load_one(ctx, ConnectionId(id)).await?.map(Into::into))
    }

    /// The global id of the destination that did not take an event; null if a write failed.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn destination_id(&self) -> Option<ID> {
        self.0.destination_id.map(|id| relay::global_id(NodeKind::Destination, id))
    }

    /// The global id of the delivery that was given up: `node` shows its attempts, and what the
    /// destination answered. Null if a write failed, and for further deliveries of a destination
    /// with a thousand open failures, which are counted together.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn delivery_id(&self) -> Option<ID> {
        self.0.delivery_id.map(|id| relay::global_id(NodeKind::Delivery, id))
    }

    /// Where the write came from.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn origin(&self) -> FailureOrigin {
        self.0.origin.into()
    }

    /// The operation, for example `create user`, named as in the request log.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn operation(&self) -> &str {
        &self.0.operation
    }

    /// The user name or group name in the write. Null if it contains none, and after an erasure.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn label(&self) -> Option<&str> {
        self.0.label.as_deref()
    }

    /// The account that the write is about, or that it conflicts with; null if there is none.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn user(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<UserObject>> {
        let Some(id) = self.0.user_id else { return Ok(None) };
        Ok(loaders::load_one(ctx, UserId(id)).await?.map(Into::into))
    }

    /// The group that the write is about; null if there is none.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn group(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<GroupObject>> {
        let Some(id) = self.0.group_id else { return Ok(None) };
        Ok(loaders::load_one(ctx, GroupId(id)).await?.map(Into::into))
    }

    /// Why the write failed.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn cause(&self) -> FailureCause {
        self.0.cause.into()
    }

    /// What is wrong in more detail than `cause`, as a stable code that the request log has too.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn code(&self) -> &str {
        &self.0.reason
    }

    /// The attribute that was refused; null if it was not a single one.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// What is wrong, in words for people; never a value of the request.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn message(&self) -> String {
        review::describe_failure(&self.0)
    }

    /// `message` by stable codes, a part for each sentence; empty where one of them has none.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn message_parts(&self) -> Vec<MessagePart> {
        message_part::read_parts(&review::describe_failure(&self.0))
    }

    /// What most probably fixes it.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn suggestion(&self) -> FailureSuggestion {
        let (code, text) = review::suggest_fix(&self.0);
        FailureSuggestion {
            code: code.into(),
            message_parts: message_part::read_parts(&text),
            message: text,
        }
    }

    /// The body of the request without its values: the names of attributes, and the type and length
    /// of their values. Null if there was no body that could be read.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn redacted_request(&self) -> Option<&Value> {
        self.0.outline.as_ref()
    }

    /// How many times the write failed.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn count(&self) -> Long {
        Long(self.0.count)
    }

    /// When the write first failed.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn first_at(&self) -> DateTime<Utc> {
        self.0.first_at
    }

    /// When the write last failed.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn last_at(&self) -> DateTime<Utc> {
        self.0.last_at
    }

    /// The id of the last request that failed.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn last_request_id(&self) -> Option<Uuid> {
        self.0.last_request_id
    }

    /// The state of the failure.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn state(&self) -> FailureState {
        self.0.state.into()
    }

    /// How it ended; null while it is unfinished.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn resolution(&self) -> Option<FailureResolution> {
        self.0.resolution.map(Into::into)
    }

    /// The reason that was given when it was finished, or what was done; null if there is none, and
    /// after an erasure.
    #[graphql(directive = needs::apply(Some(Permission::UserRead)))]
    async fn reason(&self) -> Option<&str> {
        self.0.note.as_deref()
    }

    /// The name or address of the person in charge of it; null if it is not assigned.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn assigned_to(&self) -> Option<&str> {
        self.0.assigned_to.as_deref()
    }

    /// Whether `failureRetry` can retry it: it is unfinished, and the request is stored, can be
    /// read again from the source, or is a delivery.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn retryable(&self) -> bool {
        review::is_retryable(&self.0)
    }

    /// The adoption proposal of its connection about the account that is in the way; null if there
    /// is none.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn adoption_proposal(
        &self,
        ctx: &Context<'_>,
    ) -> async_graphql::Result<Option<AdoptionProposal>> {
        let (Some(user), Some(connection)) = (self.0.user_id, self.0.connection_id) else {
            return Ok(None);
        };
        let key = ProposalAbout { connection, user };
        Ok(loaders::load_one(ctx, key).await?.map(Into::into))
    }

    /// How many retries rolecall has made.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn attempts(&self) -> i32 {
        self.0.attempts
    }

    /// When the next retry starts; null if none is planned.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn next_attempt_at(&self) -> Option<DateTime<Utc>> {
        self.0.next_attempt_at
    }

    /// When it ended; null while it is unfinished.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn finished_at(&self) -> Option<DateTime<Utc>> {
        self.0.finished_at
    }

    /// The name of the actor that ended it; null while it is unfinished.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn finished_by(&self) -> Option<&str> {
        self.0.finished_by.as_deref()
    }
}

/// Selects failures: those that match every field that is given.
#[derive(InputObject, Default)]
pub struct FailureFilter {
    /// Failures in one of these states.
    states: Option<Vec<FailureState>>,
    /// Failures with one of these causes.
    causes: Option<Vec<FailureCause>>,
    /// Failures of the connection with this global id.
    connection_id: Option<ID>,
    /// Failures that are assigned to exactly this name or address.
    assigned_to: Option<String>,
    /// Failures about the account with this global id.
    user_id: Option<ID>,
    /// Failures about an account or a group whose name contains this; the letters A to Z in any
    /// case. Needs USER_READ, like the names.
    search: Option<String>,
    /// Failures whose last occurrence was at this instant or later.
    seen_since: Option<DateTime<Utc>>,
}

impl FailureFilter {
    /// Refuses a filter by a field that the caller may not read.
    ///
    /// # Errors
    /// [`Error::Forbidden`]
    pub fn check_permission(&self, cx: &Cx) -> Result<()> {
        match self.search {
            Some(_) => cx.allow(Action::ReadUser, None),
            None => Ok(()),
        }
    }

    /// The filter as the domain takes it; none if nothing can match it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a search that is empty or too long.
    pub fn into_domain_query(self) -> Result<Option<FailureQuery>> {
        let search = relay::check_filter_text("search", self.search)?;
        let connection =
            relay::parse_filter_id(NodeKind::IdentitySource, self.connection_id.as_ref());
        let user = relay::parse_filter_id(NodeKind::User, self.user_id.as_ref());
        let (Some(connection), Some(user)) = (connection, user) else { return Ok(None) };
        if self.assigned_to.as_ref().is_some_and(|to| to.contains('\0')) {
            return Ok(None);
        }
        Ok(Some(FailureQuery {
            states: self.states.unwrap_or_default().into_iter().map(Into::into).collect(),
            causes: self.causes.unwrap_or_default().into_iter().map(Into::into).collect(),
            connection,
            assigned_to: self.assigned_to,
            user,
            search,
            seen_since: self.seen_since,
        }))
    }
}

/// The failure to retry.
#[derive(InputObject)]
pub struct FailureRetryInput {
    /// The failure's global id.
    id: ID,
}

/// The failure that was fixed, and how.
#[derive(InputObject)]
pub struct FailureResolveInput {
    /// The failure's global id.
    id: ID,
    /// How it was fixed.
    fix: FailureFix,
    /// What was done and why, for later readers.
    reason: Option<String>,
}

/// The failure to dismiss.
#[derive(InputObject)]
pub struct FailureDismissInput {
    /// The failure's global id.
    id: ID,
    /// Why the write will not be done.
    reason: String,
}

/// The failure to assign.
#[derive(InputObject)]
pub struct FailureAssignInput {
    /// The failure's global id.
    id: ID,
    /// The name or address of the person in charge; null = not assigned; left out = it stays as it
    /// is.
    assigned_to: MaybeUndefined<String>,
}

mutation_payloads! {
    failure_payloads;
    /// The failure afterwards; null if there were mistakes.
    failure: FailureObject;
    /// The result of `failureRetry`.
    FailureRetryPayload,
    /// The result of `failureResolve`.
    FailureResolvePayload,
    /// The result of `failureDismiss`.
    FailureDismissPayload,
    /// The result of `failureAssign`.
    FailureAssignPayload,
}

#[derive(Default)]
pub struct FailureMutation;

#[Object]
impl FailureMutation {
    /// Retries a write in the background, with the permissions of its connection. Changes that were
    /// made since are kept.
    #[graphql(directive = needs::apply(Some(Permission::ReviewWrite)))]
    async fn failure_retry(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which failure.")] input: FailureRetryInput,
    ) -> Result<Option<FailureRetryPayload>> {
        let cx = relay::cx(ctx)?;
        let id = relay::parse_input_id(NodeKind::Failure, &input.id, Noun::Failure);
        FailureRetryPayload::from_result(
            async { review::retry_failure(cx, id?).await }.await,
            FIELD_MAP,
        )
    }

    /// Marks a failure as fixed. If the same write fails again, that is a new failure.
    #[graphql(directive = needs::apply(Some(Permission::ReviewWrite)))]
    async fn failure_resolve(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which failure.")] input: FailureResolveInput,
    ) -> Result<Option<FailureResolvePayload>> {
        let cx = relay::cx(ctx)?;
        let id = relay::parse_input_id(NodeKind::Failure, &input.id, Noun::Failure);
        FailureResolvePayload::from_result(
            async {
                review::resolve_failure(cx, id?, input.fix.into(), input.reason.as_deref()).await
            }
            .await,
            FIELD_MAP,
        )
    }

    /// Marks a failure as one whose write will not be done. If the same write fails again, that is
    /// a new failure.
    #[graphql(directive = needs::apply(Some(Permission::ReviewWrite)))]
    async fn failure_dismiss(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which failure.")] input: FailureDismissInput,
    ) -> Result<Option<FailureDismissPayload>> {
        let cx = relay::cx(ctx)?;
        let id = relay::parse_input_id(NodeKind::Failure, &input.id, Noun::Failure);
        FailureDismissPayload::from_result(
            async { review::dismiss_failure(cx, id?, &input.reason).await }.await,
            FIELD_MAP,
        )
    }

    /// Assigns a failure to a person, or to none.
    #[graphql(directive = needs::apply(Some(Permission::ReviewWrite)))]
    async fn failure_assign(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which failure, and the person in charge.")] input: FailureAssignInput,
    ) -> Result<Option<FailureAssignPayload>> {
        let cx = relay::cx(ctx)?;
        let id = relay::parse_input_id(NodeKind::Failure, &input.id, Noun::Failure);
        FailureAssignPayload::from_result(
            async {
                let to = input.assigned_to.as_opt_ref().map(|to| to.map(String::as_str));
                review::assign_failure(cx, id?, to).await
            }
            .await,
            FIELD_MAP,
        )
    }
}
