//! The signals that decide the health of a connection: counted from the request log, the review
//! queue, the tokens and the runs.

use std::collections::HashMap;

use chrono::{DateTime, Duration, Utc};
use entity::connection::{self, ConnectionKind, ConnectionStatus};
use entity::request_log::Outcome;
use sea_orm::{ColumnTrait, FromQueryResult, QueryFilter};
use uuid::Uuid;

use crate::auth::policy::Action;
use crate::buffers::request_counts;
use crate::context::Cx;
use crate::domain::connection::assertion_source::metadata_refresh;
use crate::domain::connection::health::silence;
use crate::domain::connection::{pull_source, scim_token};
use crate::domain::review::READ_SOURCE_OPERATION;
use crate::domain::sync;
use crate::domain::sync::RunBrief;
use crate::domain::tenant::organization;
use crate::domain::tenant::organization::InboundAvailability;
use crate::domain::{nearest_rank, paging};
use crate::error::Result;

/// The latest runs of a connection that are read, of full and of incremental runs each.
const MAX_RUNS: u64 = 100;
/// The latest changes of an organization that are read for the time that they took.
const MAX_CHANGES: i64 = 5_000;
/// The hours of the clock that are told apart, the current one included.
const HOURS_TOLD_APART: i64 = 24;

/// Operations and failures from an instant on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HealthWindow {
    pub since: DateTime<Utc>,
    pub operations: u64,
    pub failures: u64,
}

impl HealthWindow {
    fn since_instant(since: DateTime<Utc>) -> Self {
        Self { since, operations: 0, failures: 0 }
    }

    fn add_operations(&mut self, at: DateTime<Utc>, operations: u64, failures: u64) {
        if at >= self.since {
            self.operations += operations;
            self.failures += failures;
        }
    }

    /// Adds to the one of `hours` in which `at` lies.
    fn add_to_hour(hours: &mut [Self], at: DateTime<Utc>, operations: u64, failures: u64) {
        let begin = request_counts::hour_of(at);
        if let Some(hour) = hours.iter_mut().find(|hour| hour.since == begin) {
            hour.operations += operations;
            hour.failures += failures;
        }
    }

    /// Failures as a share of operations, 0 to 1.
    pub fn error_rate(&self) -> f64 {
        if self.operations == 0 { 0.0 } else { self.failures as f64 / self.operations as f64 }
    }
}

/// The signals of the runs that read a connection's source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunSignals {
    /// How many runs failed since the last success. Where full runs have a schedule, their own
    /// number counts if it is greater.
    pub failed_in_a_row: u32,
    /// Whether `failed_in_a_row` is the number of the full runs.
    pub full: bool,
    /// Whether full runs have a schedule.
    pub full_by_schedule: bool,
    /// Users and groups that could not be applied and still wait in the review queue.
    pub left: u64,
    /// A run waits for approval.
    pub waiting: bool,
    /// A run has not ended.
    pub running: bool,
    /// When the next scheduled runs begin, and their intervals.
    pub due: Vec<(DateTime<Utc>, Duration)>,
}

/// The signals that decide the health of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthSignals {
    pub kind: ConnectionKind,
    pub active: bool,
    /// Whether SCIM is available and turned on for the organization.
    pub served: bool,
    pub has_token: bool,
    /// When it last sent a request, or a run last read its source.
    pub last_contact_at: Option<DateTime<Utc>>,
    /// When a request or run last succeeded, as far as the log goes back.
    pub last_success_at: Option<DateTime<Utc>>,
    /// Whether it has sent no request for longer than usual.
    pub silent: bool,
    /// Since the beginning of the hour of the clock before this one.
    pub hour: HealthWindow,
    /// Since the beginning of the hour of the clock a day ago.
    pub day: HealthWindow,
    /// Each of the last 24 hours of the clock by itself, the oldest first.
    pub hours: Vec<HealthWindow>,
    /// Failures that wait in the review queue.
    pub pending: u64,
    /// Since when the oldest of them waits.
    pub oldest_pending_at: Option<DateTime<Utc>>,
    pub runs: RunSignals,
    /// Why the metadata of its identity provider cannot be read.
    pub metadata: Option<MetadataTrouble>,
}

/// Metadata of an identity provider that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataTrouble {
    pub since: DateTime<Utc>,
    /// A sentence for administrators.
    pub message: String,
}

impl HealthSignals {
    /// Counts operations of the instant `at` in each period that it lies in.
    fn add_operations(&mut self, at: DateTime<Utc>, operations: u64, failures: u64) {
        self.hour.add_operations(at, operations, failures);
        self.day.add_operations(at, operations, failures);
        HealthWindow::add_to_hour(&mut self.hours, at, operations, failures);
    }

    /// The signals that the connection's own row gives.
    pub fn new(row: &connection::Model, served: bool, now: DateTime<Utc>) -> Self {
        let this_hour = request_counts::hour_of(now);
        let hours = (0..HOURS_TOLD_APART)
            .rev()
            .map(|ago| HealthWindow::since_instant(this_hour - Duration::hours(ago)));
        Self {
            kind: row.kind,
            active: row.status == ConnectionStatus::Active,
            served,
            has_token: false,
            last_contact_at: row.last_contact_at,
            last_success_at: None,
            silent: false,
            hour: HealthWindow::since_instant(this_hour - Duration::hours(1)),
            day: HealthWindow::since_instant(a_day_ago(now)),
            hours: hours.collect(),
            pending: 0,
            oldest_pending_at: None,
            runs: RunSignals::default(),
            metadata: None,
        }
    }
}

/// The signals of live connections.
pub async fn read_signals(
    cx: &Cx,
    ids: &[Uuid],
    now: DateTime<Utc>,
) -> Result<Vec<(Uuid, HealthSignals)>> {
    let organization = organization::current_organization(cx).await?;
    let available = InboundAvailability::of_organization(&cx.app, &organization)
        == InboundAvailability::Available;
    let served = |kind: ConnectionKind| {
        let usable = match kind {
            // Sign-ins do not need SCIM, but what the operator turned off is off.
            ConnectionKind::Assertion => {
                cx.app.config.scim_enabled && organization.provisioning_released
            }
            ConnectionKind::ScimPush | ConnectionKind::ScimPull => available,
        };
        usable && organization.scim_enabled
    };
    let live = cx.find::<connection::Entity>().filter(connection::Column::DeletedAt.is_null());
    let rows = live.filter(connection::Column::Id.is_in(ids.iter().copied())).all(cx.db()).await?;
    let mut all: HashMap<Uuid, HealthSignals> =
        rows.iter().map(|row| (row.id, HealthSignals::new(row, served(row.kind), now))).collect();
    for token in scim_token::tokens_of_connections(cx, ids).await? {
        if let Some(signs) = all.get_mut(&token.connection_id) {
            signs.has_token |= scim_token::is_live(&token, now);
        }
    }
    add_queue_signals(cx, ids, &mut all).await?;
    add_log_signals(cx, ids, &mut all, now).await?;
    load_run_signals(cx, &mut all).await?;
    load_metadata_signals(cx, &mut all).await?;
    for row in &rows {
        if let Some(signs) = all.get_mut(&row.id)
            && signs.kind == ConnectionKind::ScimPush
            && let Some(last) = signs.last_contact_at
            && now - last > silence::MIN_SILENCE
        {
            // No request could come while the connection was deactivated, provisioning was off, or
            // this server was down.
            let since =
                last.max(row.updated_at).max(organization.updated_at).max(cx.app.started_at);
            if now - since > silence::MIN_SILENCE {
                signs.silent =
                    silence::is_too_long(now, since, &hours_with_requests(cx, row.id, last).await?);
            }
            signs.last_success_at = match signs.last_success_at {
                None => find_last_success(cx, row.id).await?,
                known => known,
            };
        }
    }
    Ok(rows
        .into_iter()
        .filter_map(|row| all.remove(&row.id).map(|signs| (row.id, signs)))
        .collect())
}

async fn add_queue_signals(
    cx: &Cx,
    ids: &[Uuid],
    all: &mut HashMap<Uuid, HealthSignals>,
) -> Result<()> {
    #[derive(FromQueryResult)]
    struct QueueSignalRow {
        connection_id: Uuid,
        n: i64,
        of_runs: i64,
        first_at: DateTime<Utc>,
    }
    let text = format!(
        "SELECT connection_id, count(*) AS n, min(first_at) AS first_at, \
           count(CASE WHEN origin = 'SYNC' AND operation <> $3 THEN 1 END) AS of_runs \
         FROM failure WHERE organization_id = $1 AND connection_id {} \
         AND finished_at IS NULL GROUP BY connection_id",
        paging::in_ids(cx.backend(), 2)
    );
    let values = [paging::bind_ids(ids), READ_SOURCE_OPERATION.into()];
    let rows = QueueSignalRow::find_by_statement(cx.statement(text, values));
    for QueueSignalRow { connection_id, n, of_runs, first_at } in rows.all(cx.db()).await? {
        if let Some(signs) = all.get_mut(&connection_id) {
            (signs.pending, signs.oldest_pending_at) = (n.unsigned_abs(), Some(first_at));
            signs.runs.left = of_runs.unsigned_abs();
        }
    }
    Ok(())
}

/// What the request log counted in the last day.
async fn add_log_signals(
    cx: &Cx,
    ids: &[Uuid],
    all: &mut HashMap<Uuid, HealthSignals>,
    now: DateTime<Utc>,
) -> Result<()> {
    #[derive(FromQueryResult)]
    struct LogCountRow {
        connection_id: Uuid,
        hour: DateTime<Utc>,
        outcome: Outcome,
        reads: bool,
        n: i64,
        last_at: DateTime<Utc>,
    }
    let text = format!(
        "SELECT connection_id, hour, outcome, reads, CAST(sum(count) AS bigint) AS n, \
         max(last_at) AS last_at FROM ( \
           SELECT connection_id, hour, outcome, (method IS NULL \
           OR method IN ('GET', 'HEAD')) AS reads, count, last_at \
             FROM request_log WHERE organization_id = $1 AND connection_id {} AND hour >= $3) AS l \
         GROUP BY connection_id, hour, outcome, reads",
        paging::in_ids(cx.backend(), 2)
    );
    let since = a_day_ago(now);
    let values = [paging::bind_ids(ids), since.into()];
    let rows = LogCountRow::find_by_statement(cx.statement(text, values));
    for LogCountRow { connection_id, hour, outcome, reads, n, last_at } in rows.all(cx.db()).await?
    {
        let Some(signs) = all.get_mut(&connection_id) else { continue };
        let n = n.unsigned_abs();
        // A read of a missing resource gets its answer, but a write to one fails.
        let failed = match outcome {
            Outcome::Refused | Outcome::Failed => true,
            Outcome::NotFound => !reads,
            _ => false,
        };
        let failures = if failed { n } else { 0 };
        signs.add_operations(hour, n, failures);
        if !failed {
            signs.last_success_at = signs.last_success_at.max(Some(last_at));
        }
    }
    Ok(())
}

fn a_day_ago(now: DateTime<Utc>) -> DateTime<Utc> {
    request_counts::hour_of(now) - Duration::hours(24)
}

/// The hours in which a connection sent requests, up to `last`.
async fn hours_with_requests(
    cx: &Cx,
    connection: Uuid,
    last: DateTime<Utc>,
) -> Result<Vec<DateTime<Utc>>> {
    #[derive(FromQueryResult)]
    struct RequestHourRow {
        hour: DateTime<Utc>,
    }
    let text = "SELECT DISTINCT hour FROM request_log WHERE organization_id = $1 \
                AND connection_id = $2 \
         AND hour >= $3 ORDER BY hour";
    let since: DateTime<Utc> = last - silence::RHYTHM_MEMORY;
    let values = [connection.into(), since.into()];
    let rows = RequestHourRow::find_by_statement(cx.statement(text, values));
    Ok(rows.all(cx.db()).await?.into_iter().map(|row| row.hour).collect())
}

async fn find_last_success(cx: &Cx, connection: Uuid) -> Result<Option<DateTime<Utc>>> {
    #[derive(FromQueryResult)]
    struct LastSuccessRow {
        at: Option<DateTime<Utc>>,
    }
    let good = "organization_id = $1 AND connection_id = $2 AND outcome NOT IN ('REFUSED', \
                'FAILED', 'NOT_FOUND')";
    let text = format!(
        "SELECT max(last_at) AS at FROM request_log WHERE {good} \
         AND hour = (SELECT hour FROM request_log WHERE {good} ORDER BY hour DESC LIMIT 1)"
    );
    let values = [connection.into()];
    let row = LastSuccessRow::find_by_statement(cx.statement(text, values)).one(cx.db());
    Ok(row.await?.and_then(|row| row.at))
}

/// Reads the signals of the runs of connections that read a source.
async fn load_run_signals(cx: &Cx, all: &mut HashMap<Uuid, HealthSignals>) -> Result<()> {
    let pulling: Vec<Uuid> = all
        .iter()
        .filter(|(_, signs)| signs.kind == ConnectionKind::ScimPull)
        .map(|(id, _)| *id)
        .collect();
    for source in pull_source::sources_of_connections(cx, &pulling).await? {
        if let Some(signs) = all.get_mut(&source.connection_id) {
            let schedules = [
                (source.next_run_at, source.interval_minutes),
                (source.next_incremental_at, source.incremental_minutes),
            ];
            let due = |(at, minutes): (Option<_>, Option<i32>)| {
                Some((at?, Duration::minutes(minutes?.into())))
            };
            signs.runs.due = schedules.into_iter().filter_map(due).collect();
            signs.runs.full_by_schedule = source.interval_minutes.is_some();
        }
    }
    let mut found: HashMap<Uuid, Vec<RunBrief>> = HashMap::new();
    for run in sync::list_briefs(cx, &pulling, MAX_RUNS).await? {
        found.entry(run.connection_id).or_default().push(run);
    }
    for id in pulling {
        if let Some(signs) = all.get_mut(&id) {
            add_run_signals(signs, found.get(&id).map_or(&[], Vec::as_slice));
        }
    }
    Ok(())
}

/// Reads which metadata of identity providers cannot be read.
async fn load_metadata_signals(cx: &Cx, all: &mut HashMap<Uuid, HealthSignals>) -> Result<()> {
    let accepting: Vec<Uuid> = all
        .iter()
        .filter(|(_, signs)| signs.kind == ConnectionKind::Assertion)
        .map(|(id, _)| *id)
        .collect();
    if accepting.is_empty() {
        return Ok(());
    }
    for refresh in metadata_refresh::refreshes_of_connections(cx, &accepting).await? {
        let failing = metadata_refresh::is_failing(&refresh);
        let since = refresh.failing_since.filter(|_| failing);
        if let (Some(signs), Some(since)) = (all.get_mut(&refresh.connection_id), since) {
            let message = refresh.message.unwrap_or_default();
            signs.metadata = Some(MetadataTrouble { since, message });
        }
    }
    Ok(())
}

/// Adds the signals of `runs`, which are in order, the latest first.
fn add_run_signals(signs: &mut HealthSignals, runs: &[RunBrief]) {
    use sync::State;
    signs.runs.waiting = runs.iter().any(|run| run.state == State::Waiting);
    signs.runs.running = runs.iter().any(|run| run.finished_at.is_none());
    let ended = || runs.iter().filter_map(|run| Some((run, run.finished_at?)));
    let (all, full) = (sync::failed_in_a_row(runs, false), sync::failed_in_a_row(runs, true));
    signs.runs.full = signs.runs.full_by_schedule && full > all;
    signs.runs.failed_in_a_row = if signs.runs.full { full } else { all };
    let succeeded = ended().find(|(run, _)| run.state == State::Succeeded);
    signs.last_success_at = succeeded.map(|(_, at)| at);
    signs.last_contact_at = ended().next().map(|(_, at)| at);
    for (run, at) in ended() {
        let counts: sync::RunCounts =
            serde_json::from_value(run.counts.clone()).unwrap_or_default();
        let failed = counts.users.failed + counts.groups.failed;
        // A run that failed as a whole is one failure.
        let lost = u64::from(run.state == State::Failed);
        let read = counts.users.read + counts.groups.read;
        signs.add_operations(at, read + lost, failed + lost);
    }
}

/// How long the changes of each of these connections took in the last day, from the request until
/// they were in effect: the median in microseconds, of those among the organization's latest 5,000
/// changes.
pub async fn median_effect_times(cx: &Cx, ids: &[Uuid]) -> Result<HashMap<Uuid, i64>> {
    cx.allow(Action::ReadIam, None)?;
    #[derive(FromQueryResult)]
    struct ChangeTimeRow {
        connection_id: Uuid,
        requested_at: DateTime<Utc>,
        at: DateTime<Utc>,
    }
    let text = format!(
        "SELECT connection_id, requested_at, at FROM event_sealed WHERE organization_id = $1 \
         AND connection_id {} \
         AND actor_kind = 'CONNECTION' AND at >= $3 \
         AND seq > (SELECT seq FROM ledger_head WHERE organization_id = $1) - {MAX_CHANGES}",
        paging::in_ids(cx.backend(), 2)
    );
    let since: DateTime<Utc> = cx.app.clock.now() - Duration::hours(24);
    let values = [paging::bind_ids(ids), since.into()];
    let rows = ChangeTimeRow::find_by_statement(cx.statement(text, values));
    let mut times: HashMap<Uuid, Vec<i64>> = HashMap::new();
    for row in rows.all(cx.db()).await? {
        let took = (row.at - row.requested_at).num_microseconds().unwrap_or(i64::MAX).max(0);
        times.entry(row.connection_id).or_default().push(took);
    }
    let median = |(id, mut times): (Uuid, Vec<i64>)| {
        times.sort_unstable();
        Some((id, nearest_rank(&times, 50)?))
    };
    Ok(times.into_iter().filter_map(median).collect())
}
