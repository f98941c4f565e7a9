//! The review queue: every write of a connection that was refused or failed is a piece of work, until it is done or
//! somebody decides that it will not be done. Nothing fails silently.
//!
//! The first time is written before the write's answer, in a transaction of its own; what comes again is counted in
//! [`crate::repeats`] and written in batches, and so is a success that puts something right. [`run`] tries again.
//!
//! What must never enter: a value of a request in the clear, but for the name that tells reviewers whom it is about.

mod cause;
mod ledger;
pub mod outline;
mod record;
pub mod run;

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use entity::{failure, user};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, ExprTrait, FromQueryResult, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect, Select, Statement,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::list::{self, Keyset, Slice};
use super::{connection, document, giving};
use crate::authz::Action;
use crate::context::{App, Change, Cx, Tx};
use crate::error::{Error, Result};
use crate::ledger::{EventKind, hex};
use crate::vault;
use ledger::{closed, entry};

pub use cause::{SCHEDULE, suggestion, words};
pub use failure::{Cause, Model as Failure, Origin, Resolution, State};
pub use record::{flush, report, supersede, supersede_before};

/// The largest write that is kept for a retry, in bytes.
pub const MAX_PAYLOAD: usize = 256 * 1024;
/// Things of one connection with open failures that are told apart; the failures of further ones are counted together.
const MAX_OPEN: usize = 5_000;
/// A finished failure is forgotten after this.
const KEPT: Duration = Duration::days(90);
/// What comes of too many requests has passed when it did not come again for this long.
const PASSED: Duration = Duration::hours(1);
/// Characters of a label.
pub const MAX_LABEL: usize = 200;
/// What a run wants that reads a source.
pub const READ_SOURCE: &str = "read source";
/// The part that stands for all of a thing.
pub const WHOLE: &str = "*";
/// Failures that one call can have tried again.
pub const MAX_RETRIES: u64 = 500;

/// What a write is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name<'a> {
    /// Something that is there, by the id that this server gave it.
    Id(Uuid),
    /// Something that was to be created, by its name.
    Name(&'a str),
    /// The same, by the identifier of whoever creates it.
    ExternalId(&'a str),
}

/// What identifies the thing that a write of `connection` is about, without telling its name.
pub fn thing(connection: Uuid, resource: &str, name: Name<'_>) -> Vec<u8> {
    let name = match name {
        Name::Id(id) => json!(["id", id]),
        Name::Name(name) => json!(["name", document::fold(name)]),
        Name::ExternalId(id) => json!(["externalId", id]),
    };
    vault::hash(&json!([connection, resource, name]).to_string())
}

/// A write as it can be done again. Of what was read from a source: where it is read again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    pub method: String,
    /// Below the tenant's base URL, or the source's: the endpoint and the id as it is there.
    pub path: String,
    pub body: Option<String>,
}

/// A write that was refused or failed, as whoever noticed tells it.
#[derive(Debug, Clone)]
pub struct Report {
    pub connection: Uuid,
    pub origin: Origin,
    /// What was wanted, in the words of the request log.
    pub operation: &'static str,
    pub resource: Option<&'static str>,
    /// The user or group, if the write names one by an id that could be ours.
    pub target: Option<Uuid>,
    /// By [`thing`]; none if it cannot be told.
    pub thing: Option<Vec<u8>>,
    /// Which parts of the thing, as short hashes; see [`covers`].
    pub scope: Vec<String>,
    /// The name that the write gives to what it is about, for reviewers.
    pub label: Option<String>,
    /// Code of the refusal.
    pub reason: &'static str,
    pub scim_type: Option<&'static str>,
    /// The attribute that was refused, as a schema has it.
    pub field: Option<String>,
    /// What was sent, without its values.
    pub outline: Option<Value>,
    /// What a retry needs; none where there is nothing to send again, or everything is to be read again.
    pub payload: Option<Payload>,
    pub request: Option<Uuid>,
    pub at: DateTime<Utc>,
}

impl Report {
    fn cause(&self) -> Cause {
        cause::of(self.reason)
    }

    fn fingerprint(&self) -> Vec<u8> {
        let thing = self.thing.as_deref().map(hex);
        let cause = sea_orm::ActiveEnum::to_value(&self.cause());
        fingerprint(
            self.connection,
            self.operation,
            thing.as_deref(),
            &self.scope.join(" "),
            &cause,
            self.field.as_deref(),
        )
    }

    /// The one that stands for all that are not told apart.
    fn together(self) -> Self {
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

fn fingerprint(
    connection: Uuid,
    operation: &str,
    thing: Option<&str>,
    scope: &str,
    cause: &str,
    field: Option<&str>,
) -> Vec<u8> {
    vault::hash(&json!([connection, operation, thing, scope, cause, field]).to_string())
}

/// A part of a thing, as [`Report::scope`] names it. An attribute by its name; a member of a group by its id.
pub fn part(kind: Part<'_>) -> String {
    let short = |text: &str| vault::hash(text).iter().take(6).map(|byte| format!("{byte:02x}")).collect::<String>();
    match kind {
        Part::Attribute(name) => format!("a{}", short(&name.to_ascii_lowercase())),
        Part::Member(id) => format!("m{}", short(id)),
        Part::Members => "M".into(),
    }
}

/// See [`part`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    Attribute(&'a str),
    Member(&'a str),
    /// All members together.
    Members,
}

/// Whether a write of the parts `scope` (none = all) says anything about `part`.
fn says(scope: Option<&[String]>, part: &str) -> bool {
    scope.is_none_or(|scope| scope.iter().any(|known| known == part || (known == "M" && part.starts_with('m'))))
}

/// Ends the work, whoever decides. What was sent is forgotten.
async fn finish(cx: &Cx, id: Uuid, state: State, resolution: Resolution, note: Option<&str>) -> Result<Failure> {
    let done = cx
        .write(move |tx| {
            Box::pin(async move {
                let failure = lock(tx, id).await?;
                if failure.finished_at.is_some() {
                    return Ok(Change::nothing(failure));
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
                super::save::<failure::Entity, failure::ActiveModel>(tx, failure.clone()).await?;
                let entry = closed(&failure, now);
                Ok(Change::made(failure, entry))
            })
        })
        .await?;
    cx.app.repeats.forget(&(cx.organization(), done.fingerprint.clone()));
    Ok(done)
}

/// How a person ends the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    FixedHere,
    FixedAtSource,
}

/// The work is done. One that is finished already stays as it is.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Invalid`] for a note that is too long.
pub async fn resolve(cx: &Cx, id: Uuid, choice: Choice, note: Option<&str>) -> Result<Failure> {
    cx.allow(Action::Review, None)?;
    let note = note.map(|note| super::text("note", note, 1_000)).transpose()?;
    let resolution = match choice {
        Choice::FixedHere => Resolution::FixedHere,
        Choice::FixedAtSource => Resolution::FixedAtSource,
    };
    finish(cx, id, State::Resolved, resolution, note.as_deref()).await
}

/// The work will not be done.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Invalid`] without a reason.
pub async fn dismiss(cx: &Cx, id: Uuid, reason: &str) -> Result<Failure> {
    cx.allow(Action::Review, None)?;
    let reason = super::text("reason", reason, 1_000)?;
    finish(cx, id, State::Dismissed, Resolution::Dismissed, Some(&reason)).await
}

/// Says who looks after it; none = nobody.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Held`] for work that is finished.
pub async fn assign(cx: &Cx, id: Uuid, to: Option<&str>) -> Result<Failure> {
    cx.allow(Action::Review, None)?;
    let to = &to.map(|to| super::text("assignedTo", to, 200)).transpose()?;
    cx.write(move |tx| {
        Box::pin(async move {
            let before = live(tx, id).await?;
            if before.assigned_to == *to {
                return Ok(Change::nothing(before));
            }
            let now = tx.now_after(Some(before.last_at));
            let after = Failure { assigned_to: to.clone(), ..before.clone() };
            super::save::<failure::Entity, failure::ActiveModel>(tx, after.clone()).await?;
            let (was, is) = (json!({ "assignedTo": before.assigned_to }), json!({ "assignedTo": to }));
            let entry = entry(EventKind::FailureAssigned, &after, now, Some(was), Some(is));
            Ok(Change::made(after, entry))
        })
    })
    .await
}

/// Has it tried again, at once and in the background.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Held`] for work that is finished, and where there is nothing to send again;
/// [`Error::Forbidden`] for a write that gives a role and an actor who may not give one.
pub async fn retry(cx: &Cx, id: Uuid) -> Result<Failure> {
    cx.allow(Action::Review, None)?;
    let failure = cx
        .write(move |tx| {
            Box::pin(async move {
                let before = live(tx, id).await?;
                if before.state == State::Retrying {
                    return Ok(Change::nothing(before));
                }
                if !retryable(&before) {
                    let why = "what was sent is not kept (it was too large, or it is many failures counted together): \
                               let the identity provider send it again";
                    return Err(Error::Held { reason: "NOTHING_TO_RETRY", why: why.into() });
                }
                check_given(cx, tx, &before).await?;
                let now = tx.now_after(Some(before.last_at));
                let after = Failure {
                    state: State::Retrying,
                    next_attempt_at: Some(now),
                    retry_request_id: Some(Uuid::now_v7()),
                    until: None,
                    ..before
                };
                super::save::<failure::Entity, failure::ActiveModel>(tx, after.clone()).await?;
                let told = json!({ "requestId": after.retry_request_id });
                let entry = entry(EventKind::FailureRetried, &after, now, None, Some(told));
                Ok(Change::made(after, entry))
            })
        })
        .await?;
    match failure.origin {
        Origin::Request => cx.app.repeats.retries.notify_one(),
        Origin::Sync => cx.app.repeats.readings.notify_one(),
    }
    Ok(failure)
}

/// Has several tried again, at most [`MAX_RETRIES`]; returns how many.
///
/// # Errors
/// As [`list`]; one that cannot be tried again, or that the actor may not have tried again, is passed over.
pub async fn retry_all(cx: &Cx, which: &Which) -> Result<u64> {
    cx.allow(Action::Review, None)?;
    if let Some(id) = which.connection {
        connection::get(cx, id).await?;
    }
    let open = matching(cx, which).filter(failure::Column::State.eq(State::Open));
    let open = open.order_by_asc(failure::Column::Id).limit(MAX_RETRIES).all(cx.db()).await?;
    let mut told = 0;
    for failure in open.iter().filter(|failure| retryable(failure)) {
        match retry(cx, failure.id).await {
            Ok(_) => told += 1,
            Err(Error::Held { .. } | Error::NotFound(_) | Error::Forbidden(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(told)
}

/// Refuses a retry that may give a role, unless the actor may give one: whoever has an old write done now decides that
/// it is done. What only takes away is retried by every reviewer.
async fn check_given(cx: &Cx, tx: &Tx<'_>, failure: &Failure) -> Result<()> {
    if failure.origin == Origin::Sync {
        // What is read again is what the source says now.
        return Ok(());
    }
    let takes_away = ["delete group", "remove members", "remove all members"].contains(&failure.operation.as_str());
    match (failure.resource.as_deref(), failure.group_id) {
        (Some("Groups"), _) if takes_away => Ok(()),
        (Some("Groups"), Some(group)) => giving::check_group(cx, tx, group).await,
        (Some("Groups"), None) => giving::check_awaited(cx, tx, failure.connection_id).await,
        (Some("Users"), _) if failure.operation == "create user" => {
            giving::check_connection(cx, tx, failure.connection_id).await
        }
        _ => Ok(()),
    }
}

/// Whether there is something to try again.
pub fn retryable(failure: &Failure) -> bool {
    failure.finished_at.is_none() && (failure.payload.is_some() || failure.origin == Origin::Sync)
}

async fn lock(tx: &Tx<'_>, id: Uuid) -> Result<Failure> {
    let query = tx.find::<failure::Entity>().filter(failure::Column::Id.eq(id));
    super::locked(tx, query).await?.ok_or_else(|| Error::not_found("the failure"))
}

async fn live(tx: &Tx<'_>, id: Uuid) -> Result<Failure> {
    let failure = lock(tx, id).await?;
    match failure.finished_at {
        None => Ok(failure),
        Some(_) => Err(Error::Held { reason: "FINISHED", why: "this was resolved or dismissed already".into() }),
    }
}

fn unfinished(cx: &Cx) -> Select<failure::Entity> {
    cx.find::<failure::Entity>().filter(failure::Column::FinishedAt.is_null())
}

/// Which failures are wanted: those that match all of it; an empty list = any.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Which {
    pub states: Vec<State>,
    pub causes: Vec<Cause>,
    pub connection: Option<Uuid>,
    pub assigned_to: Option<String>,
}

fn matching(cx: &Cx, which: &Which) -> Select<failure::Entity> {
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
    query
}

/// A page of failures, in the order in which they first came.
pub async fn list(cx: &Cx, which: &Which, keyset: &Keyset<Uuid>) -> Result<Slice<Failure>> {
    cx.allow(Action::ReadIam, None)?;
    list::page(cx, matching(cx, which), failure::Column::Id, keyset).await
}

/// How many there are.
pub async fn count(cx: &Cx, which: &Which) -> Result<u64> {
    cx.allow(Action::ReadIam, None)?;
    Ok(matching(cx, which).count(cx.db()).await?)
}

/// Unfinished failures of one cause.
#[derive(Debug, Clone, PartialEq, FromQueryResult)]
pub struct Tally {
    pub cause: Cause,
    /// Pieces of work.
    pub n: i64,
    /// The writes that they stand for.
    pub writes: i64,
    pub first_at: DateTime<Utc>,
}

/// How much is unfinished, by cause.
pub async fn tally(cx: &Cx) -> Result<Vec<Tally>> {
    cx.allow(Action::ReadIam, None)?;
    let query = unfinished(cx)
        .select_only()
        .column(failure::Column::Cause)
        .column_as(failure::Column::Id.count(), "n")
        .column_as(failure::Column::Count.sum().cast_as("bigint"), "writes")
        .column_as(failure::Column::FirstAt.min(), "first_at")
        .group_by(failure::Column::Cause)
        .order_by_asc(failure::Column::Cause);
    Ok(query.into_model::<Tally>().all(cx.db()).await?)
}

/// The failures among `ids`.
pub async fn by_ids(cx: &Cx, ids: &[Uuid]) -> Result<Vec<Failure>> {
    cx.allow(Action::ReadIam, None)?;
    Ok(cx.find::<failure::Entity>().filter(failure::Column::Id.is_in(ids.iter().copied())).all(cx.db()).await?)
}

/// What a deleted connection wanted will not be done. Called inside its deletion; returns how many.
pub(super) async fn leave(tx: &Tx<'_>, connection: Uuid, now: DateTime<Utc>) -> Result<u64> {
    let done = failure::Entity::update_many()
        .set(ended(Resolution::ConnectionDeleted, now))
        .filter(failure::Column::OrganizationId.eq(tx.organization()))
        .filter(failure::Column::ConnectionId.eq(connection))
        .filter(failure::Column::FinishedAt.is_null())
        .exec(&tx.db)
        .await?;
    Ok(done.rows_affected)
}

fn ended(resolution: Resolution, now: DateTime<Utc>) -> failure::ActiveModel {
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

/// Finds what is about accounts that are being erased, also by the names that they bear, and ends it. Their columns
/// are in [`PERSONAL`](super::erasure::PERSONAL), and are emptied after this.
pub(super) async fn erase(tx: &Tx<'_>, users: &[Uuid], now: DateTime<Utc>) -> Result<()> {
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
        let erased =
            tx.find::<user::Entity>().filter(user::Column::Id.is_in(users.iter().copied())).all(&tx.db).await?;
        for account in erased {
            let names = connections.iter().flat_map(|connection| {
                let external = account.external_id.as_deref().map(Name::ExternalId);
                let names = [Some(Name::Name(&account.user_name)), external].into_iter().flatten();
                names.map(|name| thing(*connection, "Users", name))
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
        .set(ended(Resolution::Erased, now))
        .filter(failure::Column::OrganizationId.eq(tx.organization()))
        .filter(failure::Column::UserId.is_in(users.iter().copied()))
        .filter(failure::Column::FinishedAt.is_null())
        .exec(&tx.db)
        .await?;
    Ok(())
}

/// Ends what has passed by itself, and forgets what was finished long ago, in every organization.
pub async fn forget(app: &Arc<App>) -> Result<()> {
    #[derive(FromQueryResult)]
    struct Old {
        organization_id: Uuid,
        id: Uuid,
    }
    let now = app.clock.now();
    let text = "SELECT organization_id, id FROM failure WHERE finished_at IS NULL AND cause = 'RATE_LIMITED' \
         AND origin = 'REQUEST' AND last_at < $1 LIMIT 1000";
    let passed = Statement::from_sql_and_values(app.store.backend(), text, [(now - PASSED).into()]);
    for Old { organization_id, id } in Old::find_by_statement(passed).all(&app.store.read).await? {
        let cx = Cx::system(app.clone(), organization_id);
        finish(&cx, id, State::Resolved, Resolution::Passed, None).await?;
    }
    failure::Entity::delete_many().filter(failure::Column::FinishedAt.lt(now - KEPT)).exec(&app.store.write).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_speaks_for_what_it_writes() {
        let parts = |parts: &[Part<'_>]| parts.iter().map(|kind| part(*kind)).collect::<Vec<_>>();
        let title = part(Part::Attribute("title"));
        let ada = part(Part::Member("ada"));
        assert!(says(None, &title) && says(None, &ada));
        assert!(says(Some(&parts(&[Part::Attribute("TITLE")])), &title));
        assert!(!says(Some(&parts(&[Part::Attribute("active")])), &title));
        assert!(says(Some(&parts(&[Part::Members])), &ada));
        assert!(!says(Some(&parts(&[Part::Members])), &title));
        assert!(!says(Some(&parts(&[Part::Member("bob")])), &ada));
    }

    #[test]
    fn things_are_told_apart_by_connection_and_kind_and_not_by_case() {
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let ada = thing(one, "Users", Name::Name("Ada"));
        assert_eq!(ada, thing(one, "Users", Name::Name("ada")));
        for different in [
            thing(other, "Users", Name::Name("ada")),
            thing(one, "Groups", Name::Name("ada")),
            thing(one, "Users", Name::ExternalId("ada")),
        ] {
            assert_ne!(ada, different);
        }
    }
}
