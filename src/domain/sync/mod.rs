//! Sync runs: the source of a connection is read, and what it lists is applied here. This module
//! has the runs, their progress, and how an administrator ends them. A server holds a run by
//! [`lease`]. [`local_rows`] reads what is here of a page, [`plan`] decides what is done, [`apply`]
//! does it, and [`shrink`] says when a person has to approve it.

pub mod apply;
mod failure_report;
pub mod lease;
pub mod local_rows;
pub mod plan;
pub mod shrink;

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use entity::connection::{ConnectionKind, ConnectionStatus};
use entity::{pull_source, sync_run};
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveEnum, ColumnTrait, Condition, ConnectionTrait, EntityTrait, FromQueryResult,
    IntoActiveModel, PaginatorTrait, QueryFilter, Select, Statement,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::connection;
use crate::auth::policy::Action;
use crate::context::{App, Change, Cx, DerivedChange, Tx};
use crate::domain::comparison;
use crate::domain::comparison::ComparisonEnd;
use crate::domain::directory::membership;
use crate::domain::paging;
use crate::domain::paging::order::{OrderBy, OrderPlace};
use crate::domain::paging::{Keyset, Slice};
use crate::domain::tenant::organization;
use crate::domain::tenant::organization::is_open_condition;
use crate::error::{Error, Noun, RefusalReason, Result};
use crate::ledger::{EventKind, EventSubject, NewEvent};
use plan::StepResult;

pub use sync_run::{Mode, Model as Run, State};

/// The counts of the resources of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SyncTally {
    pub read: u64,
    pub created: u64,
    pub updated: u64,
    pub suspended: u64,
    pub restored: u64,
    pub deleted: u64,
    pub unchanged: u64,
    pub failed: u64,
}

impl SyncTally {
    /// Adds the counts of another page or run.
    pub fn add(&mut self, other: SyncTally) {
        self.read += other.read;
        self.created += other.created;
        self.updated += other.updated;
        self.suspended += other.suspended;
        self.restored += other.restored;
        self.deleted += other.deleted;
        self.unchanged += other.unchanged;
        self.failed += other.failed;
    }

    /// Counts what a step did.
    fn count_result(&mut self, result: StepResult) {
        let count = match result {
            StepResult::Created => &mut self.created,
            StepResult::Updated => &mut self.updated,
            StepResult::Suspended => &mut self.suspended,
            StepResult::Restored => &mut self.restored,
            StepResult::Deleted => &mut self.deleted,
            StepResult::Unchanged => &mut self.unchanged,
        };
        *count += 1;
    }
}

/// The counts of a run so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunCounts {
    pub users: SyncTally,
    pub groups: SyncTally,
}

/// A resource that a run could not apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunTrouble {
    /// `user` or `group`
    pub kind: String,
    /// the resource's id at the source
    pub remote_id: String,
    /// the stable code of the error; none if there was none, and in runs of earlier versions
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    pub why: String,
}

/// The most troubles that a run keeps; all of them are counted.
const MAX_TROUBLES: usize = 100;

/// Why a comparison has no result whose run was cancelled.
const CANCELLED_REASON: &str = "the run that read the source was cancelled";

/// The person that a run of the mode ONE_USER reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SyncTarget {
    UserName(String),
    ExternalId(String),
    RemoteId(String),
}

impl SyncTarget {
    fn check_target(&self) -> Result<()> {
        let (field, value) = match self {
            Self::UserName(value) => ("userName", value),
            Self::ExternalId(value) => ("externalId", value),
            Self::RemoteId(value) => ("remoteId", value),
        };
        super::check_text(field, value, 512).map(|_| ())
    }
}

/// The counts of a run, parsed.
pub fn run_counts(run: &Run) -> RunCounts {
    serde_json::from_value(run.counts.clone()).unwrap_or_default()
}

/// The troubles of a run, parsed.
pub fn run_troubles(run: &Run) -> Vec<RunTrouble> {
    serde_json::from_value(run.troubles.clone()).unwrap_or_default()
}

/// Begins a run of a connection that reads a source.
///
/// # Errors
/// [`Error::Held`] while another run of the connection has not ended, while the connection is
/// deactivated, and while provisioning is not available in the organization.
pub async fn start_run(
    cx: &Cx,
    connection: Uuid,
    mode: Mode,
    target: Option<SyncTarget>,
) -> Result<Run> {
    cx.allow(Action::WriteConnection, None)?;
    match (mode, &target) {
        (Mode::OneUser, Some(target)) => target.check_target()?,
        (Mode::OneUser, None) => {
            return Err(Error::invalid(
                "userName",
                "name the person to read: by userName, externalId or remoteId",
            ));
        }
        (_, Some(_)) => {
            return Err(Error::invalid("userName", "only a run of mode ONE_USER reads one person"));
        }
        _ => {}
    }
    let target = &target;
    let run =
        cx.write(move |tx| Box::pin(queue_run(tx, cx, connection, mode, target.as_ref()))).await?;
    cx.app.queued_by.note_current(run.id);
    cx.app.syncs.notify_one();
    Ok(run)
}

/// Puts a requested run in the queue.
///
/// # Errors
/// [`Error::Invalid`] for a connection that reads no source; [`Error::Held`] while another run of
/// the connection has not ended, or while the connection is deactivated.
pub(super) async fn queue_run(
    tx: &Tx<'_>,
    cx: &Cx,
    connection: Uuid,
    mode: Mode,
    target: Option<&SyncTarget>,
) -> Result<Change<Run>> {
    let row = connection::lock_live_connection(tx, connection).await?;
    if row.kind != ConnectionKind::ScimPull {
        return Err(Error::invalid("connectionId", "this connection does not read a source"));
    }
    if row.status != ConnectionStatus::Active {
        let why = "the connection is deactivated; activate it first: connectionActivate";
        return Err(Error::Held { reason: RefusalReason::Inactive, why: why.into() });
    }
    organization::check_provisioning(cx).await?;
    begin_run(tx, connection, mode, target, cx.actor.name()).await?.ok_or_else(|| {
        let why = "another run of this connection has not ended; wait for it, or cancel it";
        Error::Held { reason: RefusalReason::RunNotEnded, why: why.into() }
    })
}

/// Puts a run in the queue, unless the connection has one that has not ended.
async fn begin_run(
    tx: &Tx<'_>,
    connection: Uuid,
    mode: Mode,
    target: Option<&SyncTarget>,
    by: &str,
) -> Result<Option<Change<Run>>> {
    let now = tx.now_after(None);
    let run = Run {
        organization_id: tx.organization(),
        id: Uuid::now_v7(),
        connection_id: connection,
        mode,
        state: State::Queued,
        cancelling: false,
        approved: false,
        target: target.map(|target| json!(target)),
        checkpoint: json!({}),
        counts: json!(RunCounts::default()),
        troubles: json!([]),
        reason: None,
        requested_by: by.to_owned(),
        holder: None,
        until: DateTime::UNIX_EPOCH,
        created_at: now,
        started_at: None,
        finished_at: None,
    };
    let inserted = sync_run::Entity::insert(run.clone().into_active_model())
        .on_conflict(OnConflict::new().do_nothing().to_owned())
        .exec_without_returning(&tx.db)
        .await?;
    if inserted == 0 {
        return Ok(None);
    }
    let entry =
        run_event(EventKind::SyncRunRequested, &run, now, json!({ "mode": mode.to_value() }));
    Ok(Some(Change::recorded(run, entry)))
}

/// After this many failed runs in a row the schedule is slowed down.
pub const RUNS_FAIL: u32 = 3;
/// Runs that are read to count the failed ones.
const RUNS_COMPARED_FOR_SPEED: u64 = 20;

/// The requester of a run that the retry of a failure begins.
const RETRY_REQUESTER: &str = "a retry of a failure";

/// The facts about a run that its schedule and the connection's health need.
#[derive(Debug, Clone, PartialEq, FromQueryResult)]
pub struct RunBrief {
    pub connection_id: Uuid,
    pub mode: Mode,
    pub state: State,
    pub counts: Value,
    pub requested_by: String,
    pub finished_at: Option<DateTime<Utc>>,
}

/// How many runs have failed since one succeeded; `runs` are the latest first. A failed retry is
/// the same failure once more. With `full`, only full runs count: a source that lists its changes
/// may still fail to list everything.
pub fn failed_in_a_row(runs: &[RunBrief], full: bool) -> u32 {
    let whole =
        runs.iter().filter(|run| run.mode == Mode::Full || run.mode == Mode::Incremental && !full);
    let since = whole.take_while(|run| run.state != State::Succeeded);
    since.filter(|run| run.state == State::Failed && run.requested_by != RETRY_REQUESTER).count()
        as u32
}

/// The latest full and incremental runs of each of these connections, the latest first: at most
/// `most` of either mode.
pub async fn list_briefs(cx: &Cx, connections: &[Uuid], most: u64) -> Result<Vec<RunBrief>> {
    cx.allow(Action::ReadIam, None)?;
    briefs_in(cx.db(), cx.organization(), connections, most).await
}

async fn briefs_in(
    db: &impl ConnectionTrait,
    organization: Uuid,
    connections: &[Uuid],
    most: u64,
) -> Result<Vec<RunBrief>> {
    let backend = db.get_database_backend();
    // The lower bound of the ids is read first, so that no more rows are read than needed.
    let text = format!(
        "WITH latest AS (SELECT c.id AS connection_id, m.mode, coalesce( \
             (SELECT l.id FROM sync_run l WHERE l.organization_id = $1 \
             AND l.connection_id = c.id AND l.mode = m.mode \
               ORDER BY l.id DESC LIMIT 1 OFFSET {most}), $3) AS before \
           FROM connection c CROSS JOIN (SELECT 'FULL' AS mode UNION ALL \
           SELECT 'INCREMENTAL') AS m \
           WHERE c.organization_id = $1 AND c.id {among}) \
         SELECT r.connection_id, r.mode, r.state, r.counts, r.requested_by, r.finished_at \
         FROM latest \
         JOIN sync_run r ON r.organization_id = $1 AND r.connection_id = latest.connection_id \
           AND r.mode = latest.mode AND r.id > latest.before ORDER BY r.id DESC",
        among = paging::in_ids(backend, 2),
    );
    let values = [organization.into(), paging::bind_ids(connections), Uuid::nil().into()];
    #[allow(clippy::disallowed_methods, reason = "the organization is the first value")]
    let statement = Statement::from_sql_and_values(backend, text, values);
    Ok(RunBrief::find_by_statement(statement).all(db).await?)
}

/// How long a schedule waits: its interval; in quarantine twice as long after each further failure,
/// up to a day.
fn schedule_delay(interval_minutes: i32, failed: u32) -> Duration {
    let interval = Duration::minutes(interval_minutes.into());
    let longest = interval.max(Duration::days(1));
    let doublings = (failed + 1).saturating_sub(RUNS_FAIL).min(16);
    (interval * (1 << doublings)).min(longest)
}

/// Puts a run in the queue for every connection whose schedule is due, in every organization: an
/// incremental run if only that schedule is due, otherwise a full one. Only one replica does it.
pub async fn begin_due(app: &Arc<App>) -> Result<u64> {
    #[derive(FromQueryResult)]
    struct DueSchedule {
        organization_id: Uuid,
        connection_id: Uuid,
    }
    let now: DateTime<Utc> = app.clock.now();
    let open = is_open_condition("pull_source");
    let text = format!(
        "SELECT organization_id, connection_id FROM pull_source WHERE next_run_at <= $1 AND {open} \
         UNION SELECT organization_id, connection_id FROM pull_source \
         WHERE next_incremental_at <= $1 AND {open} LIMIT 100"
    );
    let statement =
        app.statement_for_all_organizations(text, [now.into()], "which schedules are due");
    let mut begun = 0;
    for DueSchedule { organization_id, connection_id } in
        DueSchedule::find_by_statement(statement).all(&app.store.read).await?
    {
        let cx = Cx::system(app.clone(), organization_id);
        let cx = &cx;
        let queued = cx.write(move |tx| Box::pin(begin_due_run(tx, cx, connection_id, now)));
        match queued.await {
            Ok(queued) => begun += u64::from(queued),
            // It stays due; the other connections do not wait for it.
            Err(error) => {
                tracing::warn!(%error, connection = %connection_id, "a scheduled sync run did not \
                                                                     begin")
            }
        }
    }
    if begun > 0 {
        app.syncs.notify_one();
    }
    Ok(begun)
}

/// Begins the run that a connection's schedule asks for and plans the next one; false if there is
/// none to begin. A run that is skipped leaves an event.
async fn begin_due_run(
    tx: &Tx<'_>,
    cx: &Cx,
    connection_id: Uuid,
    now: DateTime<Utc>,
) -> Result<Change<bool>> {
    let query = tx.find::<pull_source::Entity>();
    let query = query.filter(pull_source::Column::ConnectionId.eq(connection_id));
    let due = [pull_source::Column::NextRunAt, pull_source::Column::NextIncrementalAt];
    let query =
        query.filter(due.into_iter().fold(Condition::any(), |any, it| any.add(it.lte(now))));
    // Another replica was faster.
    let Some(mut source) = super::lock_row(tx, query).await? else {
        return Ok(Change::unchanged(false));
    };
    let runs =
        briefs_in(&tx.db, tx.organization(), &[connection_id], RUNS_COMPARED_FOR_SPEED).await?;
    let next = |minutes: Option<i32>, full| {
        minutes.map(|minutes| now + schedule_delay(minutes, failed_in_a_row(&runs, full)))
    };
    let full_is_due = source.next_run_at.is_some_and(|at| at <= now);
    let mode = if full_is_due { Mode::Full } else { Mode::Incremental };
    if mode == Mode::Full {
        source.next_run_at = next(source.interval_minutes, true);
    }
    // A full run also reads what changed.
    source.next_incremental_at = next(source.incremental_minutes, false);
    super::save_row::<pull_source::Entity, pull_source::ActiveModel>(tx, source).await?;
    let live = connection::find_unlocked_connection(tx, connection_id).await?;
    let skipped = match organization::check_provisioning(cx).await {
        _ if live.status != ConnectionStatus::Active || live.deleted_at.is_some() => {
            Some(RefusalReason::Inactive)
        }
        Err(Error::Held { reason, .. }) => Some(reason),
        Err(error) => return Err(error),
        Ok(()) => None,
    };
    let begun = match skipped {
        None => begin_run(tx, connection_id, mode, None, "the connection's schedule").await?,
        Some(_) => None,
    };
    match begun {
        Some(change) => Ok(change.map(|_| true)),
        None => {
            let reason = skipped.unwrap_or(RefusalReason::RunNotEnded);
            let entry = skipped_event(connection_id, reason, tx.now_after(None));
            Ok(Change::recorded(false, entry))
        }
    }
}

fn skipped_event(connection_id: Uuid, reason: RefusalReason, at: DateTime<Utc>) -> NewEvent {
    let why = json!({
        "reason": reason.as_str(),
    });
    let subject = EventSubject { kind: "connection", id: connection_id };
    NewEvent {
        kind: EventKind::ConnectionSyncSkipped,
        subject,
        connection: Some(connection_id),
        at,
        before: None,
        after: Some(why),
        population: 0,
        name: None,
    }
}

/// Begins a run of this mode again; false while another run of the connection has not ended.
pub async fn begin_run_again(cx: &Cx, connection: Uuid, mode: Mode) -> Result<bool> {
    let begun = cx
        .write(move |tx| {
            Box::pin(async move {
                let begun = begin_run(tx, connection, mode, None, RETRY_REQUESTER).await?;
                Ok(begun.map_or(Change::unchanged(false), |change| change.map(|_| true)))
            })
        })
        .await?;
    cx.app.syncs.notify_one();
    Ok(begun)
}

/// The connection's run that has not ended.
pub async fn find_unfinished_run(cx: &Cx, connection: Uuid) -> Result<Option<Uuid>> {
    let runs = select_runs(cx).filter(sync_run::Column::ConnectionId.eq(connection));
    let run = runs.filter(sync_run::Column::FinishedAt.is_null()).one(&cx.app.store.write).await?;
    Ok(run.map(|run| run.id))
}

fn select_runs(cx: &Cx) -> Select<sync_run::Entity> {
    cx.find::<sync_run::Entity>()
}

/// One run.
pub async fn get_run(cx: &Cx, id: Uuid) -> Result<Run> {
    cx.allow(Action::ReadIam, None)?;
    select_runs(cx)
        .filter(sync_run::Column::Id.eq(id))
        .one(cx.db())
        .await?
        .ok_or_else(|| Error::not_found(Noun::SyncRun))
}

/// The runs among `ids`.
pub async fn by_ids(cx: &Cx, ids: &[Uuid]) -> Result<Vec<Run>> {
    cx.allow(Action::ReadIam, None)?;
    Ok(select_runs(cx).filter(sync_run::Column::Id.is_in(ids.iter().copied())).all(cx.db()).await?)
}

/// The wanted runs: those that match all conditions; an empty list = any.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunQuery {
    pub connection: Option<Uuid>,
    pub states: Vec<State>,
    pub modes: Vec<Mode>,
    /// Runs that were asked for from this instant on.
    pub since: Option<DateTime<Utc>>,
    /// Runs that were asked for before this instant.
    pub until: Option<DateTime<Utc>>,
}

fn select_wanted_runs(cx: &Cx, which: &RunQuery) -> Select<sync_run::Entity> {
    let mut runs = select_runs(cx);
    if let Some(connection) = which.connection {
        runs = runs.filter(sync_run::Column::ConnectionId.eq(connection));
    }
    if !which.states.is_empty() {
        runs = runs.filter(sync_run::Column::State.is_in(which.states.iter().copied()));
    }
    if !which.modes.is_empty() {
        runs = runs.filter(sync_run::Column::Mode.is_in(which.modes.iter().copied()));
    }
    if let Some(since) = which.since {
        runs = runs.filter(sync_run::Column::CreatedAt.gte(since));
    }
    if let Some(until) = which.until {
        runs = runs.filter(sync_run::Column::CreatedAt.lt(until));
    }
    runs
}

/// A page of runs, each with its place in the order `by`.
pub async fn list_runs(
    cx: &Cx,
    which: &RunQuery,
    by: OrderBy,
    keyset: &Keyset<OrderPlace>,
) -> Result<Slice<(Run, OrderPlace)>> {
    cx.allow(Action::ReadIam, None)?;
    paging::fetch_ordered(cx, select_wanted_runs(cx, which), sync_run::Column::Id, by, keyset).await
}

/// How many runs there are.
pub async fn count_runs(cx: &Cx, which: &RunQuery) -> Result<u64> {
    cx.allow(Action::ReadIam, None)?;
    Ok(select_wanted_runs(cx, which).count(cx.db()).await?)
}

/// For each of these connections, a page of its runs.
pub async fn of_connections(
    cx: &Cx,
    connections: &[Uuid],
    keyset: &Keyset<Uuid>,
) -> Result<HashMap<Uuid, Slice<Run>>> {
    cx.allow(Action::ReadIam, None)?;
    let mut sql = cx.sql([paging::bind_ids(connections)]);
    let bounds = paging::keyset_bounds("r.id", keyset, &mut sql);
    sql.push(&format!(
        "SELECT * FROM ( \
           SELECT r.*, row_number() OVER (PARTITION BY r.connection_id \
           ORDER BY r.id {order}) AS place FROM sync_run r \
           WHERE r.organization_id = $1 AND r.connection_id {among}{bounds}) AS page \
         WHERE place <= {limit} ORDER BY connection_id, place",
        order = paging::keyset_direction(keyset),
        among = paging::in_ids(cx.backend(), 2),
        limit = keyset.limit + 1,
    ));
    let rows = Run::find_by_statement(cx.build_statement(sql)).all(cx.db()).await?;
    Ok(membership::collect_slices(rows.into_iter().map(|run| (run.connection_id, run)), keyset))
}

/// How many runs each of these connections has.
pub async fn counts_of(cx: &Cx, connections: &[Uuid]) -> Result<HashMap<Uuid, u64>> {
    cx.allow(Action::ReadIam, None)?;
    let text = "SELECT connection_id AS id, count(*) AS total FROM sync_run \
         WHERE organization_id = $1 AND connection_id {among} GROUP BY connection_id";
    membership::count_by_id(cx, text, connections).await
}

/// The latest successful run of each of these connections; dry runs do not count.
pub async fn last_of(cx: &Cx, connections: &[Uuid]) -> Result<Vec<Run>> {
    cx.allow(Action::ReadIam, None)?;
    let text = format!(
        "SELECT r.* FROM sync_run r WHERE r.organization_id = $1 AND r.connection_id {} \
         AND r.id = ( \
           SELECT l.id FROM sync_run l WHERE l.organization_id = $1 \
           AND l.connection_id = r.connection_id \
             AND l.state = 'SUCCEEDED' AND l.mode <> 'DRY_RUN' ORDER BY l.id DESC LIMIT 1)",
        paging::in_ids(cx.backend(), 2)
    );
    let statement = cx.statement(text, [paging::bind_ids(connections)]);
    Ok(Run::find_by_statement(statement).all(cx.db()).await?)
}

/// Cancels a run. What it has applied stays.
///
/// # Errors
/// [`Error::Held`] when it has ended.
pub async fn cancel_run(cx: &Cx, id: Uuid) -> Result<Run> {
    cx.allow(Action::WriteConnection, None)?;
    let run = cx
        .write(move |tx| {
            Box::pin(async move {
                let mut run = lock_open_run(tx, id).await?;
                if run.cancelling {
                    return Ok(Change::unchanged(run));
                }
                let now = tx.now_after(Some(run.created_at));
                let mut compared = None;
                if run.state == State::Running {
                    run.cancelling = true;
                } else {
                    (run.state, run.finished_at, run.target) = (State::Cancelled, Some(now), None);
                    let end = ComparisonEnd::of_failure(CANCELLED_REASON);
                    let reading = (run.connection_id, run.id);
                    compared = comparison::close_waiting(tx, reading, &end).await?;
                }
                super::save_row::<sync_run::Entity, sync_run::ActiveModel>(tx, run.clone()).await?;
                let entry = run_event(EventKind::SyncRunCancelled, &run, now, json!({}));
                let mut change = Change::recorded(run, entry);
                let (request_id, requested_at) = (tx.request_id(), cx.requested_at);
                let followed =
                    compared.map(|entry| DerivedChange { request_id, requested_at, entry });
                change.followed.extend(followed);
                Ok(change)
            })
        })
        .await?;
    cx.app.syncs.notify_one();
    Ok(run)
}

/// Lets a run continue that waits for the approval of its removals.
///
/// # Errors
/// [`Error::Held`] unless it waits.
pub async fn approve_run(cx: &Cx, id: Uuid) -> Result<Run> {
    cx.allow(Action::WriteConnection, None)?;
    let run = cx
        .write(move |tx| {
            Box::pin(async move {
                let mut run = lock_open_run(tx, id).await?;
                if run.state != State::Waiting {
                    return Err(Error::Held {
                        reason: RefusalReason::NotWaiting,
                        why: "this run does not wait".into(),
                    });
                }
                let now = tx.now_after(Some(run.created_at));
                (run.state, run.approved, run.until) = (State::Queued, true, DateTime::UNIX_EPOCH);
                super::save_row::<sync_run::Entity, sync_run::ActiveModel>(tx, run.clone()).await?;
                let entry = run_event(
                    EventKind::SyncRunApproved,
                    &run,
                    now,
                    json!({ "reason": run.reason }),
                );
                Ok(Change::recorded(run, entry))
            })
        })
        .await?;
    cx.app.queued_by.note_current(id);
    cx.app.syncs.notify_one();
    Ok(run)
}

async fn lock_open_run(tx: &Tx<'_>, id: Uuid) -> Result<Run> {
    let query = tx.find::<sync_run::Entity>().filter(sync_run::Column::Id.eq(id));
    let run = super::lock_row(tx, query).await?.ok_or_else(|| Error::not_found(Noun::SyncRun))?;
    match run.finished_at {
        None => Ok(run),
        Some(_) => Err(Error::Held {
            reason: RefusalReason::Ended,
            why: "the sync run has ended already".into(),
        }),
    }
}

fn run_event(kind: EventKind, run: &Run, at: DateTime<Utc>, after: Value) -> NewEvent {
    NewEvent {
        kind,
        subject: EventSubject { kind: "sync_run", id: run.id },
        connection: Some(run.connection_id),
        at,
        before: None,
        after: Some(after),
        population: 0,
        name: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_in_quarantine_waits_twice_as_long_after_every_failure_and_a_day_at_most() {
        let minutes = |interval, failed| schedule_delay(interval, failed).num_minutes();
        assert_eq!(
            [0, 1, 2, 3, 4, 5].map(|failed| minutes(60, failed)),
            [60, 60, 60, 120, 240, 480]
        );
        assert_eq!(minutes(60, 20), 24 * 60);
        assert_eq!(
            minutes(60 * 24 * 7, 20),
            60 * 24 * 7,
            "never more often than the schedule itself"
        );
    }

    #[test]
    fn full_runs_are_counted_for_themselves_and_retries_are_not() {
        use Mode::{Full, Incremental};
        use State::{Cancelled, Failed, Succeeded};
        let count = |runs: &[(Mode, State, &str)], full| {
            let run = |(mode, state, by): &(Mode, State, &str)| RunBrief {
                connection_id: Uuid::nil(),
                mode: *mode,
                state: *state,
                counts: json!({}),
                requested_by: (*by).to_owned(),
                finished_at: None,
            };
            failed_in_a_row(&runs.iter().map(run).collect::<Vec<_>>(), full)
        };
        let hiding = [
            (Incremental, Succeeded, ""),
            (Full, Failed, ""),
            (Incremental, Succeeded, ""),
            (Full, Failed, ""),
        ];
        assert_eq!((count(&hiding, false), count(&hiding, true)), (0, 2));
        let outage = [
            (Full, Failed, RETRY_REQUESTER),
            (Full, Cancelled, ""),
            (Full, Failed, ""),
            (Full, Succeeded, ""),
        ];
        assert_eq!((count(&outage, false), count(&outage, true)), (1, 1));
        assert_eq!(
            count(&[(Full, Succeeded, RETRY_REQUESTER), (Full, Failed, "")], true),
            0,
            "a retry that succeeds ends it"
        );
    }
}
