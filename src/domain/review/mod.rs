//! The review queue: every write of a connection that was refused or failed is a failure in this
//! queue, until a reviewer resolves or dismisses it, or a later write succeeds. Nothing fails
//! silently.
//!
//! A new failure is written before the write's answer, in a transaction of its own. Repetitions are
//! counted in [`crate::buffers::failure_repeats`] and written in batches, and so is a success that
//! resolves a failure. [`run`] retries.
//!
//! What must never enter: a value of a request in the clear, but for the name that tells reviewers
//! which user or group it is about.

pub mod action_items;
mod cause;
pub mod delivery;
mod ledger;
mod record;
pub mod redacted_shape;
pub mod run;

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use entity::{failure, user};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, ExprTrait, FromQueryResult, PaginatorTrait,
    QueryFilter, QueryOrder, QuerySelect, Select,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::auth::policy::Action;
use crate::context::{App, Change, Cx, DerivedChange, Tx};
use crate::crypto::vault;
use crate::domain::access::giving;
use crate::domain::paging;
use crate::domain::paging::order::{OrderBy, OrderPlace};
use crate::domain::paging::{Keyset, Slice};
use crate::domain::signal;
use crate::error::{Error, Noun, RefusalReason, Result};
use crate::identity::document;
use crate::ledger::EventKind;
use ledger::{failure_event, failure_finished_event};

pub use cause::{RETRY_DELAYS, describe_failure, suggest_fix};
pub use failure::{Cause, Model as Failure, Origin, Resolution, State};
pub use record::{flush_repeats, report_failures, supersede_by_run, supersede_by_success};

/// The largest write that is kept for a retry, in bytes.
pub const MAX_PAYLOAD_BYTES: usize = 256 * 1024;
/// Targets of one connection whose open failures are kept apart; the failures of further targets
/// are counted together.
const MAX_OPEN_TARGETS: usize = 5_000;
/// How long a finished failure is kept.
const RETENTION: Duration = Duration::days(90);
/// A failure by the rate limit is resolved when it did not come again for this long.
const RATE_LIMIT_QUIET_PERIOD: Duration = Duration::hours(1);
/// Characters of a label.
pub const MAX_LABEL_CHARS: usize = 200;
/// The operation of a run that reads a source.
pub const READ_SOURCE_OPERATION: &str = "read source";
/// The scope that stands for all parts of a target.
pub const WHOLE_SCOPE: &str = "*";

/// How a write names its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetName<'a> {
    /// An existing resource, by the id that this server gave it.
    Id(Uuid),
    /// A resource to be created, by its name.
    Name(&'a str),
    /// A resource to be created, by the client's identifier for it.
    ExternalId(&'a str),
}

/// A key that identifies the target of a write of `connection` without its name.
pub fn target_key(connection: Uuid, resource: &str, name: TargetName<'_>) -> Vec<u8> {
    let name = match name {
        TargetName::Id(id) => json!(["id", id]),
        TargetName::Name(name) => json!(["name", document::fold_text(name)]),
        TargetName::ExternalId(id) => json!(["externalId", id]),
    };
    vault::hash_secret(&json!([connection, resource, name]).to_string())
}

/// A write as it can be sent again; for a read of a source, what to read again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPayload {
    pub method: String,
    /// Below the tenant's base URL, or the source's: the endpoint and the id as it is there.
    pub path: String,
    pub body: Option<String>,
}

/// A write that was refused or failed, as the SCIM interface or a sync run reports it.
#[derive(Debug, Clone)]
pub struct FailureReport {
    pub connection: Uuid,
    pub origin: Origin,
    /// The wanted operation, as the request log names it.
    pub operation: &'static str,
    pub resource: Option<&'static str>,
    /// The user or group, if the write names one by an id of the form of this server's ids.
    pub target: Option<Uuid>,
    /// The target's key by [`target_key`]; none if it is unknown.
    pub thing: Option<Vec<u8>>,
    /// The written parts of the target, as short hashes; see [`scope_key`].
    pub scope: Vec<String>,
    /// The name that the write gives to its target, for reviewers.
    pub label: Option<String>,
    /// Code of the refusal.
    pub reason: RefusalReason,
    pub scim_type: Option<&'static str>,
    /// The attribute that was refused, as a schema has it.
    pub field: Option<String>,
    /// What was sent, without its values.
    pub outline: Option<Value>,
    /// What a retry sends; none where there is nothing to send again, or everything is to be read
    /// again.
    pub payload: Option<RetryPayload>,
    pub request: Option<Uuid>,
    pub at: DateTime<Utc>,
}

impl FailureReport {
    fn cause(&self) -> Cause {
        cause::cause_of_reason(self.reason)
    }

    fn report_fingerprint(&self) -> Vec<u8> {
        let thing = self.thing.as_deref().map(hex::encode);
        let cause = sea_orm::ActiveEnum::to_value(&self.cause());
        failure_fingerprint(
            Some(self.connection),
            self.operation,
            thing.as_deref(),
            &self.scope.join(" "),
            &cause,
            self.field.as_deref(),
        )
    }

    /// The report that stands for all those which are counted together.
    fn into_collective(self) -> Self {
        Self {
            operation: "various",
            resource: None,
            target: None,
            thing: None,
            scope: Vec::new(),
            label: None,
            field: None,
            outline: None,
            payload: None,
            ..self
        }
    }
}

fn failure_fingerprint(
    connection: Option<Uuid>,
    operation: &str,
    thing: Option<&str>,
    scope: &str,
    cause: &str,
    field: Option<&str>,
) -> Vec<u8> {
    vault::hash_secret(&json!([connection, operation, thing, scope, cause, field]).to_string())
}

/// The short hash of a part of a target, for [`Report::written_scope`].
pub fn scope_key(kind: ScopePart<'_>) -> String {
    let short = |text: &str| {
        vault::hash_secret(text)
            .iter()
            .take(6)
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    match kind {
        ScopePart::Attribute(name) => format!("a{}", short(&name.to_ascii_lowercase())),
        ScopePart::Member(id) => format!("m{}", short(id)),
        ScopePart::Members => "M".into(),
    }
}

/// A part of a target that a write changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScopePart<'a> {
    /// An attribute, by its name.
    Attribute(&'a str),
    /// A member of a group, by its id.
    Member(&'a str),
    /// All members together.
    Members,
}

/// Whether a write of the parts `scope` (none = all) includes `part`.
fn scope_covers(scope: Option<&[String]>, part: &str) -> bool {
    scope.is_none_or(|scope| {
        scope.iter().any(|known| known == part || (known == "M" && part.starts_with('m')))
    })
}

/// Resolves or dismisses a failure, without a check of permissions, and deletes what was sent.
async fn finish_failure(
    cx: &Cx,
    id: Uuid,
    state: State,
    resolution: Resolution,
    note: Option<&str>,
) -> Result<Failure> {
    let done = cx
        .write(move |tx| {
            Box::pin(async move {
                let failure = lock_failure(tx, id).await?;
                if failure.finished_at.is_some() {
                    return Ok(Change::unchanged(failure));
                }
                let now = tx.now_after(Some(failure.last_at));
                let failure = Failure {
                    state,
                    resolution: Some(resolution),
                    note: note.map(Into::into),
                    payload: None,
                    next_attempt_at: None,
                    retry_request_id: None,
                    holder: None,
                    until: None,
                    finished_at: Some(now),
                    finished_by: Some(cx.actor.name().into()),
                    ..failure
                };
                super::save_row::<failure::Entity, failure::ActiveModel>(tx, failure.clone())
                    .await?;
                let entry = failure_finished_event(&failure, now);
                Ok(Change::recorded(failure, entry))
            })
        })
        .await?;
    cx.app.repeats.forget_failure(&(cx.organization(), done.fingerprint.clone()));
    Ok(done)
}

/// How a reviewer resolves a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResolutionChoice {
    FixedHere,
    FixedAtSource,
}

/// Resolves a failure. One that is finished already stays as it is.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Invalid`] for a note that is too long.
pub async fn resolve_failure(
    cx: &Cx,
    id: Uuid,
    choice: ResolutionChoice,
    note: Option<&str>,
) -> Result<Failure> {
    cx.allow(Action::Review, None)?;
    let note = note.map(|note| super::check_text("reason", note, 1_000)).transpose()?;
    let resolution = match choice {
        ResolutionChoice::FixedHere => Resolution::FixedHere,
        ResolutionChoice::FixedAtSource => Resolution::FixedAtSource,
    };
    finish_failure(cx, id, State::Resolved, resolution, note.as_deref()).await
}

/// Dismisses a failure: the write will not be done.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Invalid`] without a reason.
pub async fn dismiss_failure(cx: &Cx, id: Uuid, reason: &str) -> Result<Failure> {
    cx.allow(Action::Review, None)?;
    let reason = super::check_text("reason", reason, 1_000)?;
    finish_failure(cx, id, State::Dismissed, Resolution::Dismissed, Some(&reason)).await
}

/// Assigns a failure to a reviewer; `Some(None)` takes the assignment away, none leaves it.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Held`] for a failure that is finished.
pub async fn assign_failure(cx: &Cx, id: Uuid, to: Option<Option<&str>>) -> Result<Failure> {
    cx.allow(Action::Review, None)?;
    let to = match to {
        Some(to) => Some(to.map(|to| super::check_text("assignedTo", to, 200)).transpose()?),
        None => None,
    };
    let to = &to;
    cx.write(move |tx| {
        Box::pin(async move {
            let before = lock_unfinished_failure(tx, id).await?;
            let Some(to) = to.as_ref().filter(|to| before.assigned_to != **to) else {
                return Ok(Change::unchanged(before));
            };
            let now = tx.now_after(Some(before.last_at));
            let after = Failure { assigned_to: to.clone(), ..before.clone() };
            super::save_row::<failure::Entity, failure::ActiveModel>(tx, after.clone()).await?;
            let (was, is) =
                (json!({ "assignedTo": before.assigned_to }), json!({ "assignedTo": to }));
            let entry = failure_event(EventKind::FailureAssigned, &after, now, Some(was), Some(is));
            Ok(Change::recorded(after, entry))
        })
    })
    .await
}

/// Retries a failure, at once and in the background.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Held`] for a failure that is finished, and where there is nothing
/// to send again; [`Error::Forbidden`] for a write that gives a role, if the actor may not give it.
pub async fn retry_failure(cx: &Cx, id: Uuid) -> Result<Failure> {
    cx.allow(Action::Review, None)?;
    let failure = cx
        .write(move |tx| {
            Box::pin(async move {
                let before = lock_unfinished_failure(tx, id).await?;
                if before.state == State::Retrying {
                    return Ok(Change::unchanged(before));
                }
                if !is_retryable(&before) {
                    let why = "what was sent is not kept (it was too large, or it is many failures \
                               counted together): \
                               let the identity provider send it again";
                    return Err(Error::Held {
                        reason: RefusalReason::NothingToRetry,
                        why: why.into(),
                    });
                }
                check_may_retry(cx, tx, &before).await?;
                let mut followed = Vec::new();
                if let Some(delivery) = before.delivery_id {
                    let (_, entry) = signal::delivery::retry_in(tx, delivery).await?;
                    let (request_id, requested_at) = (cx.request_id, cx.requested_at);
                    followed.push(DerivedChange { request_id, requested_at, entry });
                }
                let now = tx.now_after(Some(before.last_at));
                // A delivery is tried again by those who tell its destination.
                let by_queue = before.origin != Origin::Delivery;
                let after = Failure {
                    state: State::Retrying,
                    next_attempt_at: by_queue.then_some(now),
                    retry_request_id: by_queue.then(Uuid::now_v7),
                    until: None,
                    ..before
                };
                super::save_row::<failure::Entity, failure::ActiveModel>(tx, after.clone()).await?;
                let details = json!({ "requestId": after.retry_request_id });
                let entry =
                    failure_event(EventKind::FailureRetried, &after, now, None, Some(details));
                Ok(Change::recorded(after, entry).followed_by(followed))
            })
        })
        .await?;
    match failure.origin {
        Origin::Request => cx.app.repeats.retries.notify_one(),
        Origin::Sync => cx.app.repeats.readings.notify_one(),
        Origin::Delivery => cx.app.signals.wake.notify_one(),
    }
    Ok(failure)
}

/// Refuses a retry that may give a role, unless the actor may give that role: the actor decides
/// that the old write is done now. Every reviewer may retry a write that only takes something away.
async fn check_may_retry(cx: &Cx, tx: &Tx<'_>, failure: &Failure) -> Result<()> {
    if failure.origin == Origin::Sync {
        // The retry reads the current state of the source, not an old write.
        return Ok(());
    }
    if failure.origin == Origin::Delivery {
        // What retrying the delivery itself needs (deliveryRetry).
        cx.allow(Action::ReadLedger, None)?;
        return cx.allow(Action::WriteConnection, None);
    }
    let connection = failure.connection_id.ok_or_else(|| Error::not_found(Noun::Connection))?;
    let takes_away = ["delete group", "remove members", "remove all members"]
        .contains(&failure.operation.as_str());
    match (failure.resource.as_deref(), failure.group_id) {
        (Some("Groups"), _) if takes_away => Ok(()),
        (Some("Groups"), Some(group)) => giving::check_group(cx, tx, group).await,
        (Some("Groups"), None) => giving::check_awaited(cx, tx, connection).await,
        (Some("Users"), _) if failure.operation == "create user" => {
            giving::check_connection(cx, tx, connection).await
        }
        _ => Ok(()),
    }
}

/// Whether the failure can be retried.
pub fn is_retryable(failure: &Failure) -> bool {
    let is_kept = match failure.origin {
        Origin::Request => failure.payload.is_some(),
        Origin::Sync => true,
        Origin::Delivery => failure.delivery_id.is_some(),
    };
    failure.finished_at.is_none() && is_kept
}

async fn lock_failure(tx: &Tx<'_>, id: Uuid) -> Result<Failure> {
    let query = tx.find::<failure::Entity>().filter(failure::Column::Id.eq(id));
    super::lock_row(tx, query).await?.ok_or_else(|| Error::not_found(Noun::Failure))
}

async fn lock_unfinished_failure(tx: &Tx<'_>, id: Uuid) -> Result<Failure> {
    let failure = lock_failure(tx, id).await?;
    match failure.finished_at {
        None => Ok(failure),
        Some(_) => Err(Error::Held {
            reason: RefusalReason::Finished,
            why: "this was resolved or dismissed already".into(),
        }),
    }
}

fn select_unfinished(cx: &Cx) -> Select<failure::Entity> {
    cx.find::<failure::Entity>().filter(failure::Column::FinishedAt.is_null())
}

/// The failures that are wanted: those that match all conditions; an empty list = any.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FailureQuery {
    pub states: Vec<State>,
    pub causes: Vec<Cause>,
    pub connection: Option<Uuid>,
    pub assigned_to: Option<String>,
    /// About this account.
    pub user: Option<Uuid>,
    /// What a reviewer reads as the name contains this, in any case of the letters A to Z.
    pub search: Option<String>,
    /// Seen from this instant on.
    pub seen_since: Option<DateTime<Utc>>,
}

fn select_failures(cx: &Cx, which: &FailureQuery) -> Select<failure::Entity> {
    let mut query = cx.find::<failure::Entity>();
    if !which.states.is_empty() {
        query = query.filter(failure::Column::State.is_in(which.states.iter().copied()));
    }
    if !which.causes.is_empty() {
        query = query.filter(failure::Column::Cause.is_in(which.causes.iter().copied()));
    }
    if let Some(id) = which.connection {
        query = query.filter(failure::Column::ConnectionId.eq(id));
    }
    if let Some(to) = &which.assigned_to {
        query = query.filter(failure::Column::AssignedTo.eq(to));
    }
    if let Some(user) = which.user {
        query = query.filter(failure::Column::UserId.eq(user));
    }
    if let Some(search) = &which.search {
        query = query.filter(paging::contains_text(cx, "failure.label", search));
    }
    if let Some(since) = which.seen_since {
        query = query.filter(failure::Column::LastAt.gte(since));
    }
    query
}

/// A page of failures, in the order of their first occurrence.
pub async fn list_failures(
    cx: &Cx,
    which: &FailureQuery,
    keyset: &Keyset<Uuid>,
) -> Result<Slice<Failure>> {
    cx.allow(Action::ReadIam, None)?;
    paging::fetch_page(cx, select_failures(cx, which), failure::Column::Id, keyset).await
}

/// A page of failures, each with its place in the order `by`.
pub async fn list_failures_ordered(
    cx: &Cx,
    which: &FailureQuery,
    by: OrderBy,
    keyset: &Keyset<OrderPlace>,
) -> Result<Slice<(Failure, OrderPlace)>> {
    cx.allow(Action::ReadIam, None)?;
    paging::fetch_ordered(cx, select_failures(cx, which), failure::Column::Id, by, keyset).await
}

/// How many there are.
pub async fn count_failures(cx: &Cx, which: &FailureQuery) -> Result<u64> {
    cx.allow(Action::ReadIam, None)?;
    Ok(select_failures(cx, which).count(cx.db()).await?)
}

/// Unfinished failures of one cause.
#[derive(Debug, Clone, PartialEq, FromQueryResult)]
pub struct CauseTally {
    pub cause: Cause,
    /// How many failures.
    pub n: i64,
    /// How many writes they stand for.
    pub writes: i64,
    pub first_at: DateTime<Utc>,
}

/// How many failures are unfinished, by cause.
pub async fn tally_by_cause(cx: &Cx) -> Result<Vec<CauseTally>> {
    cx.allow(Action::ReadIam, None)?;
    let query = select_unfinished(cx)
        .select_only()
        .column(failure::Column::Cause)
        .column_as(failure::Column::Id.count(), "n")
        .column_as(failure::Column::Count.sum().cast_as("bigint"), "writes")
        .column_as(failure::Column::FirstAt.min(), "first_at")
        .group_by(failure::Column::Cause)
        .order_by_asc(failure::Column::Cause);
    Ok(query.into_model::<CauseTally>().all(cx.db()).await?)
}

/// The failures among `ids`.
pub async fn failures_by_ids(cx: &Cx, ids: &[Uuid]) -> Result<Vec<Failure>> {
    cx.allow(Action::ReadIam, None)?;
    Ok(cx
        .find::<failure::Entity>()
        .filter(failure::Column::Id.is_in(ids.iter().copied()))
        .all(cx.db())
        .await?)
}

/// Dismisses the unfinished failures of a connection, inside its deletion; returns how many.
pub(super) async fn dismiss_failures_of_connection(
    tx: &Tx<'_>,
    connection: Uuid,
    now: DateTime<Utc>,
) -> Result<u64> {
    let done = failure::Entity::update_many()
        .set(dismissed_columns(Resolution::ConnectionDeleted, now))
        .filter(failure::Column::OrganizationId.eq(tx.organization()))
        .filter(failure::Column::ConnectionId.eq(connection))
        .filter(failure::Column::FinishedAt.is_null())
        .exec(&tx.db)
        .await?;
    Ok(done.rows_affected)
}

fn dismissed_columns(resolution: Resolution, now: DateTime<Utc>) -> failure::ActiveModel {
    failure::ActiveModel {
        state: Set(State::Dismissed),
        resolution: Set(Some(resolution)),
        payload: Set(None),
        next_attempt_at: Set(None),
        retry_request_id: Set(None),
        holder: Set(None),
        until: Set(None),
        finished_at: Set(Some(now)),
        ..Default::default()
    }
}

/// Finds the failures of accounts that are being erased, also by the accounts' names, and dismisses
/// them. The notes of their table name their personal columns, which are emptied after this.
pub(super) async fn erase_failures_of_users(
    tx: &Tx<'_>,
    users: &[Uuid],
    now: DateTime<Utc>,
) -> Result<()> {
    let connections: Vec<Uuid> = tx
        .find::<failure::Entity>()
        .filter(failure::Column::Thing.is_not_null())
        .select_only()
        .column(failure::Column::ConnectionId)
        .distinct()
        .into_tuple()
        .all(&tx.db)
        .await?;
    if !connections.is_empty() {
        let erased = tx
            .find::<user::Entity>()
            .filter(user::Column::Id.is_in(users.iter().copied()))
            .all(&tx.db)
            .await?;
        for account in erased {
            let names = connections.iter().flat_map(|connection| {
                let external = account.external_id.as_deref().map(TargetName::ExternalId);
                let names =
                    [Some(TargetName::Name(&account.user_name)), external].into_iter().flatten();
                names.map(|name| target_key(*connection, "Users", name))
            });
            failure::Entity::update_many()
                .col_expr(failure::Column::UserId, Expr::value(account.id))
                .filter(failure::Column::OrganizationId.eq(tx.organization()))
                .filter(failure::Column::Thing.is_in(names))
                .exec(&tx.db)
                .await?;
        }
    }
    failure::Entity::update_many()
        .set(dismissed_columns(Resolution::Erased, now))
        .filter(failure::Column::OrganizationId.eq(tx.organization()))
        .filter(failure::Column::UserId.is_in(users.iter().copied()))
        .filter(failure::Column::FinishedAt.is_null())
        .exec(&tx.db)
        .await?;
    Ok(())
}

/// Resolves failures that have passed by themselves, and deletes those that were finished long ago,
/// in every organization.
pub async fn forget_failures(app: &Arc<App>) -> Result<()> {
    #[derive(FromQueryResult)]
    struct PassedFailureRow {
        organization_id: Uuid,
        id: Uuid,
    }
    let now = app.clock.now();
    let text = "SELECT organization_id, id FROM failure WHERE finished_at IS NULL \
                AND cause = 'RATE_LIMITED' \
         AND origin = 'REQUEST' AND last_at < $1 LIMIT 1000";
    let before = [(now - RATE_LIMIT_QUIET_PERIOD).into()];
    let reason = "which failures have passed by themselves";
    let passed = app.statement_for_all_organizations(text, before, reason);
    for PassedFailureRow { organization_id, id } in
        PassedFailureRow::find_by_statement(passed).all(&app.store.read).await?
    {
        let cx = Cx::system(app.clone(), organization_id);
        finish_failure(&cx, id, State::Resolved, Resolution::Passed, None).await?;
    }
    failure::Entity::delete_many()
        .filter(failure::Column::FinishedAt.lt(now - RETENTION))
        .exec(&app.store.write)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_speaks_for_what_it_writes() {
        let parts =
            |parts: &[ScopePart<'_>]| parts.iter().map(|kind| scope_key(*kind)).collect::<Vec<_>>();
        let title = scope_key(ScopePart::Attribute("title"));
        let ada = scope_key(ScopePart::Member("ada"));
        assert!(scope_covers(None, &title) && scope_covers(None, &ada));
        assert!(scope_covers(Some(&parts(&[ScopePart::Attribute("TITLE")])), &title));
        assert!(!scope_covers(Some(&parts(&[ScopePart::Attribute("active")])), &title));
        assert!(scope_covers(Some(&parts(&[ScopePart::Members])), &ada));
        assert!(!scope_covers(Some(&parts(&[ScopePart::Members])), &title));
        assert!(!scope_covers(Some(&parts(&[ScopePart::Member("bob")])), &ada));
    }

    #[test]
    fn things_are_told_apart_by_connection_and_kind_and_not_by_case() {
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let ada = target_key(one, "Users", TargetName::Name("Ada"));
        assert_eq!(ada, target_key(one, "Users", TargetName::Name("ada")));
        for different in [
            target_key(other, "Users", TargetName::Name("ada")),
            target_key(one, "Groups", TargetName::Name("ada")),
            target_key(one, "Users", TargetName::ExternalId("ada")),
        ] {
            assert_ne!(ada, different);
        }
    }
}
