//! Bulk jobs: operations that were handed in together and are carried out one after another in the background.
//!
//! A job is what its lines were when they arrived; what a line means, the door knows that took it. Here is whose a job
//! is, how far it is, what came of it and how long that is kept. Whoever carries it out does so in [`run`]. A line's
//! input is gone as soon as the line was carried out: what stays are ids, codes and sentences.

pub mod run;

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use entity::{bulk_job, bulk_line};
use sea_orm::sea_query::{Condition, Expr};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, FromQueryResult, PaginatorTrait,
    QueryFilter, QueryOrder, QuerySelect, Select, Statement,
};
use serde_json::json;
use uuid::Uuid;

use super::list::{self, Keyset, Slice};
use crate::authz::{Action, Permission};
use crate::context::{App, Change, Cx, Tx};
use crate::error::{Error, Result};
use crate::ledger::{Entry, EventKind, Subject};

pub use bulk_job::{Model as Job, State};

/// Jobs of one organization that may be unfinished at once …
const MAX_OPEN: usize = 5;
/// … and of one caller, who leaves room for others.
const MAX_OPEN_OF_CALLER: usize = 3;
/// Bytes of lines that one organization may have stored in unfinished jobs.
pub const MAX_STORED: u64 = 128 * 1024 * 1024;
/// An upload of which nothing more has arrived for so long was given up.
const PATIENCE: Duration = Duration::minutes(1);
/// How long a job and its results are kept after its end.
const KEPT: Duration = Duration::days(30);
/// Lines of results read at once.
const PART: u64 = 500;

/// A line as it was handed in.
#[derive(Debug)]
pub struct NewLine {
    /// Its number in what was handed in.
    pub number: i64,
    pub input: Vec<u8>,
    /// The account that it is about, if it names one.
    pub user: Option<Uuid>,
}

/// Begins to take a job's lines in. `until` is when the caller's credential ends that cannot be asked again; `bytes` is
/// how many are announced, if any are.
///
/// # Errors
/// [`Error::Forbidden`] for a caller that may change nothing, [`Error::Held`] while too many of the organization's jobs
/// are not finished, or too much of them is stored.
pub async fn begin(cx: &Cx, until: Option<DateTime<Utc>>, bytes: Option<u64>) -> Result<Uuid> {
    if !cx.actor.permissions().any(Permission::changes) {
        return Err(Error::Forbidden("a bulk job needs a permission to change something".into()));
    }
    let now = cx.app.clock.now();
    let open = cx.find::<bulk_job::Entity>().filter(bulk_job::Column::FinishedAt.is_null());
    let mut given_up = Vec::new();
    // Uploads that were given up are in nobody's way.
    let ended = cx.app.database_time().is_to_come((bulk_job::Entity, bulk_job::Column::Until)).not();
    let dead = open.clone().filter(bulk_job::Column::State.eq(State::Uploading)).filter(ended);
    for job in dead.all(cx.db()).await? {
        given_up.push(job.id);
        discard(cx, job.id).await?;
    }
    let open: Vec<Job> = open.all(cx.db()).await?.into_iter().filter(|job| !given_up.contains(&job.id)).collect();
    let own = open.iter().filter(|job| is_own(cx, job)).count();
    if open.len() >= MAX_OPEN {
        let why = format!("{MAX_OPEN} bulk jobs of this organization are not finished; wait for one, or cancel it");
        return Err(Error::Held { reason: "TOO_MANY_JOBS", why: why.into() });
    }
    if own >= MAX_OPEN_OF_CALLER {
        let why = format!("{MAX_OPEN_OF_CALLER} bulk jobs of yours are not finished; wait for one, or cancel it");
        return Err(Error::Held { reason: "TOO_MANY_JOBS", why: why.into() });
    }
    check_stored(open.iter().map(|job| job.bytes.unsigned_abs()).sum::<u64>() + bytes.unwrap_or_default())?;
    let id = Uuid::now_v7();
    let held: Vec<_> = cx.actor.permissions().map(|permission| permission.name()).collect();
    let row = bulk_job::ActiveModel {
        organization_id: Set(cx.organization()),
        id: Set(id),
        state: Set(State::Uploading),
        actor_kind: Set(cx.actor.kind().into()),
        actor_id: Set(cx.actor.id().unwrap_or_default()),
        actor_name: Set(cx.actor.name().into()),
        permissions: Set(json!(held)),
        authorized_until: Set(until),
        lines: Set(0),
        bytes: Set(0),
        done: Set(0),
        failed: Set(0),
        until: Set(now + PATIENCE),
        created_at: Set(now),
        ..Default::default()
    };
    bulk_job::Entity::insert(row).exec_without_returning(&cx.app.store.write).await?;
    Ok(id)
}

/// Refuses to store more than an organization may in unfinished jobs.
fn check_stored(bytes: u64) -> Result<()> {
    match bytes <= MAX_STORED {
        true => Ok(()),
        false => {
            let why = format!(
                "unfinished bulk jobs of this organization may hold {MAX_STORED} bytes together; wait for one, or cancel it"
            );
            Err(Error::Held { reason: "TOO_MUCH_STORED", why: why.into() })
        }
    }
}

/// Takes further lines in.
///
/// # Errors
/// [`Error::NotFound`] if the upload was given up meanwhile, [`Error::Held`] if the organization stores too much.
pub async fn append(cx: &Cx, job: Uuid, lines: Vec<NewLine>) -> Result<()> {
    let bytes: usize = lines.iter().map(|line| line.input.len()).sum();
    let stored = cx.find::<bulk_job::Entity>().filter(bulk_job::Column::FinishedAt.is_null());
    let stored: Vec<i64> =
        stored.select_only().column(bulk_job::Column::Bytes).into_tuple().all(&cx.app.store.write).await?;
    check_stored(stored.iter().sum::<i64>().unsigned_abs() + bytes as u64)?;
    let alive = bulk_job::Entity::update_many()
        .col_expr(bulk_job::Column::Until, cx.app.database_time().expression(PATIENCE))
        .col_expr(bulk_job::Column::Bytes, Expr::col(bulk_job::Column::Bytes).add(bytes as i64))
        .filter(uploading(cx, job));
    if alive.exec(&cx.app.store.write).await?.rows_affected == 0 {
        return Err(Error::not_found("the bulk job"));
    }
    let rows = lines.into_iter().map(|line| bulk_line::ActiveModel {
        organization_id: Set(cx.organization()),
        job_id: Set(job),
        line: Set(line.number),
        request_id: Set(Uuid::now_v7()),
        user_id: Set(line.user),
        input: Set(Some(line.input)),
        failed: Set(false),
        result: Set(None),
        words: Set(None),
    });
    bulk_line::Entity::insert_many(rows).exec_without_returning(&cx.app.store.write).await?;
    Ok(())
}

/// All lines are here: the job waits for its turn.
pub async fn submit(cx: &Cx, job: Uuid, lines: i64) -> Result<Job> {
    let submitted = cx
        .write(move |tx| {
            Box::pin(async move {
                let mut row = locked(tx, job).await?;
                if row.state != State::Uploading {
                    return Err(Error::not_found("the bulk job"));
                }
                let now = tx.now_after(Some(row.created_at));
                (row.state, row.lines, row.until) = (State::Queued, lines, DateTime::UNIX_EPOCH);
                super::save::<bulk_job::Entity, bulk_job::ActiveModel>(tx, row.clone()).await?;
                let entry = entry(EventKind::BulkJobCreated, job, now, json!({ "lines": lines }));
                Ok(Change::made(row, entry))
            })
        })
        .await?;
    cx.app.jobs.notify_one();
    Ok(submitted)
}

/// Forgets an upload that came to nothing.
pub async fn discard(cx: &Cx, job: Uuid) -> Result<()> {
    let given_up = bulk_job::Entity::update_many()
        .col_expr(bulk_job::Column::Until, Expr::value(DateTime::UNIX_EPOCH))
        .filter(uploading(cx, job));
    if given_up.exec(&cx.app.store.write).await?.rows_affected > 0 {
        delete(&cx.app, cx.organization(), job).await?;
    }
    Ok(())
}

fn uploading(cx: &Cx, job: Uuid) -> Condition {
    of(cx.organization(), job).add(bulk_job::Column::State.eq(State::Uploading))
}

fn of(organization: Uuid, job: Uuid) -> Condition {
    Condition::all().add(bulk_job::Column::OrganizationId.eq(organization)).add(bulk_job::Column::Id.eq(job))
}

async fn locked(tx: &Tx<'_>, job: Uuid) -> Result<Job> {
    let query = tx.find::<bulk_job::Entity>().filter(bulk_job::Column::Id.eq(job));
    super::locked(tx, query).await?.ok_or_else(|| Error::not_found("the bulk job"))
}

fn entry(kind: EventKind, job: Uuid, at: DateTime<Utc>, after: serde_json::Value) -> Entry {
    Entry {
        kind,
        subject: Subject { kind: "bulk_job", id: job },
        connection: None,
        at,
        before: None,
        after: Some(after),
        population: 0,
    }
}

/// The jobs that the caller may see: its own, and everybody's if it may see how the organization is run.
fn visible(cx: &Cx) -> Select<bulk_job::Entity> {
    let arrived = cx.find::<bulk_job::Entity>().filter(bulk_job::Column::State.ne(State::Uploading));
    match cx.allow(Action::ReadIam, None) {
        Ok(()) => arrived,
        Err(_) => arrived
            .filter(bulk_job::Column::ActorKind.eq(cx.actor.kind()))
            .filter(bulk_job::Column::ActorId.eq(cx.actor.id().unwrap_or_default())),
    }
}

fn is_own(cx: &Cx, job: &Job) -> bool {
    job.actor_kind == cx.actor.kind() && Some(&job.actor_id) == cx.actor.id().as_ref()
}

/// One job.
///
/// # Errors
/// [`Error::NotFound`] also for a job that the caller may not see.
pub async fn get(cx: &Cx, id: Uuid) -> Result<Job> {
    let found = visible(cx).filter(bulk_job::Column::Id.eq(id)).one(cx.db()).await?;
    found.ok_or_else(|| Error::not_found("the bulk job"))
}

/// The jobs that the caller may see, the latest first.
pub async fn list(cx: &Cx, keyset: &Keyset<Uuid>) -> Result<Slice<Job>> {
    list::page(cx, visible(cx), bulk_job::Column::Id, keyset).await
}

/// How many jobs the caller may see.
pub async fn count(cx: &Cx) -> Result<u64> {
    Ok(visible(cx).count(cx.db()).await?)
}

/// Tells a job to end after the line that it is at. What was done stays done.
///
/// # Errors
/// [`Error::NotFound`] for a job that the caller may not see, [`Error::Forbidden`] for another's, unless the caller
/// runs the organization, [`Error::Held`] when it has ended.
pub async fn cancel(cx: &Cx, id: Uuid) -> Result<Job> {
    if !is_own(cx, &get(cx, id).await?) {
        cx.allow(Action::WriteConnection, None)?;
    }
    let job = cx
        .write(move |tx| {
            Box::pin(async move {
                let mut row = locked(tx, id).await?;
                if row.finished_at.is_some() {
                    return Err(Error::Held { reason: "ENDED", why: "the bulk job has ended already".into() });
                }
                if row.state == State::Cancelling {
                    return Ok(Change::nothing(row));
                }
                row.state = State::Cancelling;
                super::save::<bulk_job::Entity, bulk_job::ActiveModel>(tx, row.clone()).await?;
                let entry = entry(EventKind::BulkJobCancelled, id, tx.now_after(Some(row.created_at)), json!({}));
                Ok(Change::made(row, entry))
            })
        })
        .await?;
    cx.app.jobs.notify_one();
    Ok(job)
}

/// What came of a line.
#[derive(Debug, FromQueryResult)]
pub struct Done {
    pub line: i64,
    pub request_id: Uuid,
    pub result: String,
    /// The sentences of the result; none if they may have told of somebody who was erased since.
    pub words: Option<String>,
}

/// What came of the lines that were carried out, some of them after the line `after`; an empty part is the end.
///
/// # Errors
/// [`Error::NotFound`] for a job that the caller may not see.
pub async fn results(cx: &Cx, job: &Job, after: i64) -> Result<Vec<Done>> {
    let rows = cx.find::<bulk_line::Entity>().filter(bulk_line::Column::JobId.eq(job.id));
    let rows = rows.filter(bulk_line::Column::Line.gt(after)).filter(bulk_line::Column::Result.is_not_null());
    Ok(rows.order_by_asc(bulk_line::Column::Line).limit(PART).into_model().all(cx.db()).await?)
}

/// Empties the sentences of the organization's results: they may repeat what a line said of anybody, and cannot be
/// searched for one person's data. The lines that are about erased accounts are in
/// [`PERSONAL`](super::erasure::PERSONAL).
pub(super) async fn erase(tx: &Tx<'_>) -> Result<()> {
    let text = "UPDATE bulk_line SET words = NULL WHERE organization_id = $1 AND words IS NOT NULL";
    let values = [tx.organization().into()];
    tx.db.execute_raw(Statement::from_sql_and_values(tx.db.get_database_backend(), text, values)).await?;
    Ok(())
}

/// Forgets the jobs whose time is over, and uploads that were given up, in every organization. Returns how many.
pub async fn forget(app: &Arc<App>) -> Result<u64> {
    #[derive(FromQueryResult)]
    struct Old {
        organization_id: Uuid,
        id: Uuid,
    }
    let mut values = vec![app.clock.now().into()];
    let text = format!(
        "SELECT organization_id, id FROM bulk_job WHERE expires_at <= $1 \
         OR (finished_at IS NULL AND state = 'UPLOADING' AND until <= {}) LIMIT 100",
        app.database_time().now(&mut values)
    );
    let statement = Statement::from_sql_and_values(app.store.backend(), text, values);
    let old = Old::find_by_statement(statement).all(&app.store.read).await?;
    for Old { organization_id, id } in &old {
        delete(app, *organization_id, *id).await?;
    }
    Ok(old.len() as u64)
}

async fn delete(app: &App, organization: Uuid, job: Uuid) -> Result<()> {
    let lines = bulk_line::Entity::delete_many()
        .filter(bulk_line::Column::OrganizationId.eq(organization))
        .filter(bulk_line::Column::JobId.eq(job));
    lines.exec(&app.store.write).await?;
    bulk_job::Entity::delete_many().filter(of(organization, job)).exec(&app.store.write).await?;
    Ok(())
}
