//! Bulk jobs: operations that a client uploaded together. They are carried out one after another in
//! the background.
//!
//! A job stores its lines as they arrived; only the interface that accepted them knows what a line
//! means. This module holds a job's owner, progress, results and retention. The worker that carries
//! a job out uses [`run`]. The input of a line is deleted as soon as the line was carried out: only
//! ids, codes and messages stay.

pub mod run;

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use entity::{bulk_job, bulk_line};
use sea_orm::sea_query::{Condition, Expr};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, FromQueryResult,
    PaginatorTrait, QueryFilter, QueryOrder, QuerySelect, Select,
};
use serde_json::json;
use uuid::Uuid;

use crate::auth::policy::{Action, Permission};
use crate::context::{App, Change, Cx, Tx};
use crate::domain::paging;
use crate::domain::paging::order::{OrderBy, OrderPlace};
use crate::domain::paging::{Keyset, Slice};
use crate::error::{Error, Noun, RefusalReason, Result};
use crate::ledger::{EventKind, EventSubject, NewEvent};

pub use bulk_job::{Model as Job, State};

/// The most unfinished jobs of one organization …
const MAX_OPEN: usize = 5;
/// … and of one caller, so that other callers can start jobs too.
const MAX_OPEN_OF_CALLER: usize = 3;
/// The most bytes of lines that the unfinished jobs of one organization may hold.
pub const MAX_STORED: u64 = 128 * 1024 * 1024;
/// An upload counts as abandoned if nothing of it has arrived for so long.
const UPLOAD_TIMEOUT: Duration = Duration::minutes(1);
/// How long a job and its results are kept after its end.
const JOB_RETENTION: Duration = Duration::days(30);
/// Lines of results that are read at once.
const RESULTS_PER_READ: u64 = 500;

/// A line as the client uploaded it.
#[derive(Debug)]
pub struct NewLine {
    /// Its number in the upload.
    pub number: i64,
    pub input: Vec<u8>,
    /// The account that it is about, if it names one.
    pub user: Option<Uuid>,
}

/// Begins the upload of a job's lines. `until` is the end of the caller's credential, if the
/// credential cannot be checked again later; `bytes` is the announced size of the upload, if there
/// is one.
///
/// # Errors
/// [`Error::Forbidden`] for a caller that may change nothing, [`Error::Held`] while the
/// organization has too many unfinished jobs, or they hold too many bytes.
pub async fn begin_upload(
    cx: &Cx,
    until: Option<DateTime<Utc>>,
    bytes: Option<u64>,
) -> Result<Uuid> {
    if !cx.actor.permissions().any(Permission::allows_changes) {
        return Err(Error::Forbidden("a bulk job needs a permission to change something".into()));
    }
    let now = cx.app.clock.now();
    let open = cx.find::<bulk_job::Entity>().filter(bulk_job::Column::FinishedAt.is_null());
    let mut abandoned = Vec::new();
    // Abandoned uploads do not count as unfinished jobs.
    let ended =
        cx.app.database_time().is_to_come((bulk_job::Entity, bulk_job::Column::Until)).not();
    let dead = open.clone().filter(bulk_job::Column::State.eq(State::Uploading)).filter(ended);
    for job in dead.all(cx.db()).await? {
        abandoned.push(job.id);
        discard_upload(cx, job.id).await?;
    }
    let open: Vec<Job> =
        open.all(cx.db()).await?.into_iter().filter(|job| !abandoned.contains(&job.id)).collect();
    let own = open.iter().filter(|job| is_own(cx, job)).count();
    if open.len() >= MAX_OPEN {
        let why = format!(
            "{MAX_OPEN} bulk jobs of this organization are not finished; wait for one, or cancel it"
        );
        return Err(Error::Held { reason: RefusalReason::TooManyJobs, why: why.into() });
    }
    if own >= MAX_OPEN_OF_CALLER {
        let why = format!(
            "{MAX_OPEN_OF_CALLER} bulk jobs of yours are not finished; wait for one, or cancel it"
        );
        return Err(Error::Held { reason: RefusalReason::TooManyJobs, why: why.into() });
    }
    check_stored(
        open.iter().map(|job| job.bytes.unsigned_abs()).sum::<u64>() + bytes.unwrap_or_default(),
    )?;
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
        until: Set(now + UPLOAD_TIMEOUT),
        created_at: Set(now),
        ..Default::default()
    };
    bulk_job::Entity::insert(row).exec_without_returning(&cx.app.store.write).await?;
    Ok(id)
}

/// Refuses to store more than an organization may in unfinished jobs.
fn check_stored(bytes: u64) -> Result<()> {
    if bytes <= MAX_STORED {
        return Ok(());
    }
    let why = format!(
        "unfinished bulk jobs of this organization may hold {MAX_STORED} bytes together; wait for \
         one, or cancel it"
    );
    Err(Error::Held { reason: RefusalReason::TooMuchStored, why: why.into() })
}

/// Stores further lines of an upload.
///
/// # Errors
/// [`Error::NotFound`] if the upload was discarded as abandoned, [`Error::Held`] if the
/// organization's unfinished jobs hold too many bytes.
pub async fn append_lines(cx: &Cx, job: Uuid, lines: Vec<NewLine>) -> Result<()> {
    let bytes: usize = lines.iter().map(|line| line.input.len()).sum();
    let stored = cx.find::<bulk_job::Entity>().filter(bulk_job::Column::FinishedAt.is_null());
    let stored: Vec<i64> = stored
        .select_only()
        .column(bulk_job::Column::Bytes)
        .into_tuple()
        .all(&cx.app.store.write)
        .await?;
    check_stored(stored.iter().sum::<i64>().unsigned_abs() + bytes as u64)?;
    let alive = bulk_job::Entity::update_many()
        .col_expr(
            bulk_job::Column::Until,
            cx.app.database_time().timestamp_expression(UPLOAD_TIMEOUT),
        )
        .col_expr(bulk_job::Column::Bytes, Expr::col(bulk_job::Column::Bytes).add(bytes as i64))
        .filter(is_uploading(cx, job));
    if alive.exec(&cx.app.store.write).await?.rows_affected == 0 {
        return Err(Error::not_found(Noun::BulkJob));
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

/// Ends the upload: all lines are stored, and the job waits for its turn.
pub async fn submit_job(cx: &Cx, job: Uuid, lines: i64) -> Result<Job> {
    let submitted = cx
        .write(move |tx| {
            Box::pin(async move {
                let mut row = lock_job(tx, job).await?;
                if row.state != State::Uploading {
                    return Err(Error::not_found(Noun::BulkJob));
                }
                let now = tx.now_after(Some(row.created_at));
                (row.state, row.lines, row.until) = (State::Queued, lines, DateTime::UNIX_EPOCH);
                super::save_row::<bulk_job::Entity, bulk_job::ActiveModel>(tx, row.clone()).await?;
                let entry =
                    job_event(EventKind::BulkJobCreated, job, now, json!({ "lines": lines }));
                Ok(Change::recorded(row, entry))
            })
        })
        .await?;
    cx.app.queued_by.note_current(job);
    cx.app.jobs.notify_one();
    Ok(submitted)
}

/// Deletes an upload that did not become a job.
pub async fn discard_upload(cx: &Cx, job: Uuid) -> Result<()> {
    let discarded = bulk_job::Entity::update_many()
        .col_expr(bulk_job::Column::Until, Expr::value(DateTime::UNIX_EPOCH))
        .filter(is_uploading(cx, job));
    if discarded.exec(&cx.app.store.write).await?.rows_affected > 0 {
        delete_job(&cx.app, cx.organization(), job).await?;
    }
    Ok(())
}

fn is_uploading(cx: &Cx, job: Uuid) -> Condition {
    is_of_job(cx.organization(), job).add(bulk_job::Column::State.eq(State::Uploading))
}

fn is_of_job(organization: Uuid, job: Uuid) -> Condition {
    Condition::all()
        .add(bulk_job::Column::OrganizationId.eq(organization))
        .add(bulk_job::Column::Id.eq(job))
}

async fn lock_job(tx: &Tx<'_>, job: Uuid) -> Result<Job> {
    let query = tx.find::<bulk_job::Entity>().filter(bulk_job::Column::Id.eq(job));
    super::lock_row(tx, query).await?.ok_or_else(|| Error::not_found(Noun::BulkJob))
}

fn job_event(kind: EventKind, job: Uuid, at: DateTime<Utc>, after: serde_json::Value) -> NewEvent {
    NewEvent {
        kind,
        subject: EventSubject { kind: "bulk_job", id: job },
        connection: None,
        at,
        before: None,
        after: Some(after),
        population: 0,
        name: None,
    }
}

/// The jobs that the caller may see: its own, and those of all callers with the permission to read
/// the organization's settings.
fn select_visible_jobs(cx: &Cx) -> Select<bulk_job::Entity> {
    let arrived =
        cx.find::<bulk_job::Entity>().filter(bulk_job::Column::State.ne(State::Uploading));
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
pub async fn get_job(cx: &Cx, id: Uuid) -> Result<Job> {
    let found = select_visible_jobs(cx).filter(bulk_job::Column::Id.eq(id)).one(cx.db()).await?;
    found.ok_or_else(|| Error::not_found(Noun::BulkJob))
}

fn select_wanted_jobs(cx: &Cx, states: &[State]) -> Select<bulk_job::Entity> {
    let jobs = select_visible_jobs(cx);
    if states.is_empty() {
        return jobs;
    }
    jobs.filter(bulk_job::Column::State.is_in(states.iter().copied()))
}

/// The jobs in these states that the caller may see; an empty list = any state.
pub async fn list_jobs(
    cx: &Cx,
    states: &[State],
    by: OrderBy,
    keyset: &Keyset<OrderPlace>,
) -> Result<Slice<(Job, OrderPlace)>> {
    let jobs = select_wanted_jobs(cx, states);
    paging::fetch_ordered(cx, jobs, bulk_job::Column::Id, by, keyset).await
}

/// How many jobs in these states the caller may see.
pub async fn count_jobs(cx: &Cx, states: &[State]) -> Result<u64> {
    Ok(select_wanted_jobs(cx, states).count(cx.db()).await?)
}

/// Cancels a job after its current line. Lines that were carried out are not undone.
///
/// # Errors
/// [`Error::NotFound`] for a job that the caller may not see, [`Error::Forbidden`] for the job of
/// another caller without the permission to change the organization, [`Error::Held`] if it has
/// ended.
pub async fn cancel_job(cx: &Cx, id: Uuid) -> Result<Job> {
    if !is_own(cx, &get_job(cx, id).await?) {
        cx.allow(Action::WriteConnection, None)?;
    }
    let job = cx
        .write(move |tx| {
            Box::pin(async move {
                let mut row = lock_job(tx, id).await?;
                if row.finished_at.is_some() {
                    return Err(Error::Held {
                        reason: RefusalReason::Ended,
                        why: "the bulk job has ended already".into(),
                    });
                }
                if row.state == State::Cancelling {
                    return Ok(Change::unchanged(row));
                }
                row.state = State::Cancelling;
                super::save_row::<bulk_job::Entity, bulk_job::ActiveModel>(tx, row.clone()).await?;
                let entry = job_event(
                    EventKind::BulkJobCancelled,
                    id,
                    tx.now_after(Some(row.created_at)),
                    json!({}),
                );
                Ok(Change::recorded(row, entry))
            })
        })
        .await?;
    cx.app.jobs.notify_one();
    Ok(job)
}

/// The result of a line.
#[derive(Debug, FromQueryResult)]
pub struct LineResult {
    pub line: i64,
    pub request_id: Uuid,
    pub result: String,
    /// The messages of the result; none if they may have contained data of a person who was erased
    /// since.
    pub words: Option<String>,
}

/// Results of lines that were carried out, some of those after the line `after`; an empty list is
/// the end.
///
/// # Errors
/// [`Error::NotFound`] for a job that the caller may not see.
pub async fn list_results(cx: &Cx, job: &Job, after: i64) -> Result<Vec<LineResult>> {
    let rows = cx.find::<bulk_line::Entity>().filter(bulk_line::Column::JobId.eq(job.id));
    let rows = rows
        .filter(bulk_line::Column::Line.gt(after))
        .filter(bulk_line::Column::Result.is_not_null());
    Ok(rows
        .order_by_asc(bulk_line::Column::Line)
        .limit(RESULTS_PER_READ)
        .into_model()
        .all(cx.db())
        .await?)
}

/// Deletes the messages of the organization's results. They may repeat a line's data about any
/// person, and cannot be searched for the data of one person. Of the lines about erased accounts,
/// the notes of their table name the personal columns.
pub(super) async fn erase_results(tx: &Tx<'_>) -> Result<()> {
    let text = "UPDATE bulk_line SET words = NULL WHERE organization_id = $1 AND words IS NOT NULL";
    tx.db.execute_raw(tx.statement(text, [])).await?;
    Ok(())
}

/// Deletes the jobs whose retention is over, and abandoned uploads, in every organization. Returns
/// how many.
pub async fn forget_expired_jobs(app: &Arc<App>) -> Result<u64> {
    #[derive(FromQueryResult)]
    struct ExpiredJob {
        organization_id: Uuid,
        id: Uuid,
    }
    let mut values = vec![app.clock.now().into()];
    let text = format!(
        "SELECT organization_id, id FROM bulk_job WHERE expires_at <= $1 \
         OR (finished_at IS NULL AND state = 'UPLOADING' AND until <= {}) LIMIT 100",
        app.database_time().current_timestamp_sql(&mut values)
    );
    let reason = "which jobs have expired";
    let statement = app.statement_for_all_organizations(text, values, reason);
    let old = ExpiredJob::find_by_statement(statement).all(&app.store.read).await?;
    for ExpiredJob { organization_id, id } in &old {
        delete_job(app, *organization_id, *id).await?;
    }
    Ok(old.len() as u64)
}

async fn delete_job(app: &App, organization: Uuid, job: Uuid) -> Result<()> {
    let lines = bulk_line::Entity::delete_many()
        .filter(bulk_line::Column::OrganizationId.eq(organization))
        .filter(bulk_line::Column::JobId.eq(job));
    lines.exec(&app.store.write).await?;
    bulk_job::Entity::delete_many()
        .filter(is_of_job(organization, job))
        .exec(&app.store.write)
        .await?;
    Ok(())
}
