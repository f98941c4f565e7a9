//! What a judgement goes by: counted from the request log, the review queue, the tokens and the runs.

use std::collections::HashMap;

use chrono::{DateTime, Duration, Utc};
use entity::connection::{self, ConnectionKind, ConnectionStatus};
use entity::request_log::Outcome;
use sea_orm::{ColumnTrait, FromQueryResult, QueryFilter, Statement};
use uuid::Uuid;

use super::rhythm;
use crate::authz::Action;
use crate::context::Cx;
use crate::domain::failure::READ_SOURCE;
use crate::domain::organization::{self, Availability};
use crate::domain::sync::{self, Brief};
use crate::domain::{list, nearest_rank, pull_source, token};
use crate::error::Result;
use crate::requests;

/// Runs of a connection that are looked at, of those that read everything and of those that read what changed.
const RUNS: u64 = 100;
/// Changes of an organization that are looked at for how fast they were.
const CHANGES: i64 = 5_000;

/// What happened from an instant on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    pub since: DateTime<Utc>,
    pub operations: u64,
    pub failures: u64,
}

impl Window {
    fn of(since: DateTime<Utc>) -> Self {
        Self { since, operations: 0, failures: 0 }
    }

    fn add(&mut self, at: DateTime<Utc>, operations: u64, failures: u64) {
        if at >= self.since {
            self.operations += operations;
            self.failures += failures;
        }
    }

    /// Failures as a share of operations, 0 to 1.
    pub fn error_rate(&self) -> f64 {
        if self.operations == 0 { 0.0 } else { self.failures as f64 / self.operations as f64 }
    }
}

/// What is known of the runs that read a connection's source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Runs {
    /// How many have failed since one succeeded, and since one succeeded that read everything, where these begin by
    /// themselves: the greater number …
    pub failed_in_a_row: u32,
    /// … and whether it is that of those which read everything.
    pub full: bool,
    /// Whether those that read everything begin by themselves.
    pub full_by_schedule: bool,
    /// Users and groups that could not be carried over, and still wait in the review queue.
    pub left: u64,
    /// One waits to be approved.
    pub waiting: bool,
    /// One has not ended.
    pub running: bool,
    /// When the next ones begin by themselves, and how often they do.
    pub due: Vec<(DateTime<Utc>, Duration)>,
}

/// What a judgement goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signs {
    pub kind: ConnectionKind,
    pub active: bool,
    /// Whether the organization is served at all.
    pub served: bool,
    pub has_token: bool,
    /// When it was last heard, or last read its source.
    pub last_contact_at: Option<DateTime<Utc>>,
    /// When it last had success, as far as the log remembers.
    pub last_success_at: Option<DateTime<Utc>>,
    /// Silent for longer than its rhythm explains.
    pub silent: bool,
    /// Since the beginning of the hour of the clock before this one.
    pub hour: Window,
    /// Since the beginning of the hour of the clock a day ago.
    pub day: Window,
    /// What waits in the review queue …
    pub pending: u64,
    /// … and since when.
    pub oldest_pending_at: Option<DateTime<Utc>>,
    pub runs: Runs,
}

impl Signs {
    /// Nothing but the connection itself is known.
    pub fn new(row: &connection::Model, served: bool, now: DateTime<Utc>) -> Self {
        Self {
            kind: row.kind,
            active: row.status == ConnectionStatus::Active,
            served,
            has_token: false,
            last_contact_at: row.last_contact_at,
            last_success_at: None,
            silent: false,
            hour: Window::of(requests::hour(now) - Duration::hours(1)),
            day: Window::of(a_day_ago(now)),
            pending: 0,
            oldest_pending_at: None,
            runs: Runs::default(),
        }
    }
}

/// The signs of live connections.
pub async fn read(cx: &Cx, ids: &[Uuid], now: DateTime<Utc>) -> Result<Vec<(Uuid, Signs)>> {
    let organization = organization::current(cx).await?;
    let available = Availability::of(&cx.app, organization.integration_mode) == Availability::Available;
    let served = available && organization.scim_enabled;
    let live = cx.find::<connection::Entity>().filter(connection::Column::DeletedAt.is_null());
    let rows = live.filter(connection::Column::Id.is_in(ids.iter().copied())).all(cx.db()).await?;
    let mut all: HashMap<Uuid, Signs> = rows.iter().map(|row| (row.id, Signs::new(row, served, now))).collect();
    for token in token::of_connections(cx, ids).await? {
        if let Some(signs) = all.get_mut(&token.connection_id) {
            signs.has_token |= token::is_live(&token, now);
        }
    }
    queue(cx, ids, &mut all).await?;
    log(cx, ids, &mut all, now).await?;
    runs(cx, &mut all).await?;
    for row in &rows {
        if let Some(signs) = all.get_mut(&row.id)
            && signs.kind != ConnectionKind::ScimPull
            && let Some(last) = signs.last_contact_at
            && now - last > rhythm::SHORTEST
        {
            // Nobody could hear it while it was deactivated, provisioning was off, or this server was down.
            let since = last.max(row.updated_at).max(organization.updated_at).max(cx.app.started_at);
            if now - since > rhythm::SHORTEST {
                signs.silent = rhythm::too_long(now, since, &hours(cx, row.id, last).await?);
            }
            signs.last_success_at = match signs.last_success_at {
                None => last_success(cx, row.id).await?,
                known => known,
            };
        }
    }
    Ok(rows.into_iter().filter_map(|row| all.remove(&row.id).map(|signs| (row.id, signs))).collect())
}

async fn queue(cx: &Cx, ids: &[Uuid], all: &mut HashMap<Uuid, Signs>) -> Result<()> {
    #[derive(FromQueryResult)]
    struct Waiting {
        connection_id: Uuid,
        n: i64,
        of_runs: i64,
        first_at: DateTime<Utc>,
    }
    let text = format!(
        "SELECT connection_id, count(*) AS n, min(first_at) AS first_at, \
           count(CASE WHEN origin = 'SYNC' AND operation <> $3 THEN 1 END) AS of_runs \
         FROM failure WHERE organization_id = $1 AND connection_id {} AND finished_at IS NULL GROUP BY connection_id",
        list::among(cx.backend(), 2)
    );
    let values = [cx.organization().into(), list::ids(ids), READ_SOURCE.into()];
    let rows = Waiting::find_by_statement(Statement::from_sql_and_values(cx.backend(), text, values));
    for Waiting { connection_id, n, of_runs, first_at } in rows.all(cx.db()).await? {
        if let Some(signs) = all.get_mut(&connection_id) {
            (signs.pending, signs.oldest_pending_at) = (n.unsigned_abs(), Some(first_at));
            signs.runs.left = of_runs.unsigned_abs();
        }
    }
    Ok(())
}

/// What the request log counted in the last day.
async fn log(cx: &Cx, ids: &[Uuid], all: &mut HashMap<Uuid, Signs>, now: DateTime<Utc>) -> Result<()> {
    #[derive(FromQueryResult)]
    struct Counted {
        connection_id: Uuid,
        hour: DateTime<Utc>,
        outcome: Outcome,
        reads: bool,
        n: i64,
        last_at: DateTime<Utc>,
    }
    let text = format!(
        "SELECT connection_id, hour, outcome, reads, CAST(sum(count) AS bigint) AS n, max(last_at) AS last_at FROM ( \
           SELECT connection_id, hour, outcome, (method IS NULL OR method IN ('GET', 'HEAD')) AS reads, count, last_at \
             FROM request_log WHERE organization_id = $1 AND connection_id {} AND hour >= $3) AS l \
         GROUP BY connection_id, hour, outcome, reads",
        list::among(cx.backend(), 2)
    );
    let since = a_day_ago(now);
    let values = [cx.organization().into(), list::ids(ids), since.into()];
    let rows = Counted::find_by_statement(Statement::from_sql_and_values(cx.backend(), text, values));
    for Counted { connection_id, hour, outcome, reads, n, last_at } in rows.all(cx.db()).await? {
        let Some(signs) = all.get_mut(&connection_id) else { continue };
        let n = n.unsigned_abs();
        // A question about what is not there is answered; a change of it is not made.
        let failed = match outcome {
            Outcome::Refused | Outcome::Failed => true,
            Outcome::NotFound => !reads,
            _ => false,
        };
        let failures = if failed { n } else { 0 };
        signs.hour.add(hour, n, failures);
        signs.day.add(hour, n, failures);
        if !failed {
            signs.last_success_at = signs.last_success_at.max(Some(last_at));
        }
    }
    Ok(())
}

fn a_day_ago(now: DateTime<Utc>) -> DateTime<Utc> {
    requests::hour(now) - Duration::hours(24)
}

/// The hours in which a connection was heard, up to the last.
async fn hours(cx: &Cx, connection: Uuid, last: DateTime<Utc>) -> Result<Vec<DateTime<Utc>>> {
    #[derive(FromQueryResult)]
    struct Heard {
        hour: DateTime<Utc>,
    }
    let text = "SELECT DISTINCT hour FROM request_log WHERE organization_id = $1 AND connection_id = $2 \
         AND hour >= $3 ORDER BY hour";
    let since: DateTime<Utc> = last - rhythm::MEMORY;
    let values = [cx.organization().into(), connection.into(), since.into()];
    let rows = Heard::find_by_statement(Statement::from_sql_and_values(cx.backend(), text, values));
    Ok(rows.all(cx.db()).await?.into_iter().map(|row| row.hour).collect())
}

async fn last_success(cx: &Cx, connection: Uuid) -> Result<Option<DateTime<Utc>>> {
    #[derive(FromQueryResult)]
    struct Last {
        at: Option<DateTime<Utc>>,
    }
    let good = "organization_id = $1 AND connection_id = $2 AND outcome NOT IN ('REFUSED', 'FAILED', 'NOT_FOUND')";
    let text = format!(
        "SELECT max(last_at) AS at FROM request_log WHERE {good} \
         AND hour = (SELECT hour FROM request_log WHERE {good} ORDER BY hour DESC LIMIT 1)"
    );
    let values = [cx.organization().into(), connection.into()];
    let row = Last::find_by_statement(Statement::from_sql_and_values(cx.backend(), text, values)).one(cx.db());
    Ok(row.await?.and_then(|row| row.at))
}

/// What the runs of connections that read a source came to.
async fn runs(cx: &Cx, all: &mut HashMap<Uuid, Signs>) -> Result<()> {
    let pulling: Vec<Uuid> =
        all.iter().filter(|(_, signs)| signs.kind == ConnectionKind::ScimPull).map(|(id, _)| *id).collect();
    for source in pull_source::of_connections(cx, &pulling).await? {
        if let Some(signs) = all.get_mut(&source.connection_id) {
            let schedules = [
                (source.next_run_at, source.interval_minutes),
                (source.next_incremental_at, source.incremental_minutes),
            ];
            let due = |(at, minutes): (Option<_>, Option<i32>)| Some((at?, Duration::minutes(minutes?.into())));
            signs.runs.due = schedules.into_iter().filter_map(due).collect();
            signs.runs.full_by_schedule = source.interval_minutes.is_some();
        }
    }
    let mut found: HashMap<Uuid, Vec<Brief>> = HashMap::new();
    for run in sync::briefs(cx, &pulling, RUNS).await? {
        found.entry(run.connection_id).or_default().push(run);
    }
    for id in pulling {
        if let Some(signs) = all.get_mut(&id) {
            tell(signs, found.get(&id).map_or(&[], Vec::as_slice));
        }
    }
    Ok(())
}

/// `runs` are the latest first.
fn tell(signs: &mut Signs, runs: &[Brief]) {
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
        let counts: sync::Counts = serde_json::from_value(run.counts.clone()).unwrap_or_default();
        let failed = counts.users.failed + counts.groups.failed;
        // A run that failed as a whole is one failure.
        let lost = u64::from(run.state == State::Failed);
        let read = counts.users.read + counts.groups.read;
        signs.hour.add(at, read + lost, failed + lost);
        signs.day.add(at, read + lost, failed + lost);
    }
}

/// How long the changes of each of these connections took in the last day from the request until they held: the median
/// in microseconds, of those that are among the organization's latest 5,000 changes.
pub async fn effects(cx: &Cx, ids: &[Uuid]) -> Result<HashMap<Uuid, i64>> {
    cx.allow(Action::ReadIam, None)?;
    #[derive(FromQueryResult)]
    struct Change {
        connection_id: Uuid,
        requested_at: DateTime<Utc>,
        at: DateTime<Utc>,
    }
    let text = format!(
        "SELECT connection_id, requested_at, at FROM event_sealed WHERE organization_id = $1 AND connection_id {} \
         AND actor_kind = 'CONNECTION' AND at >= $3 \
         AND seq > (SELECT seq FROM ledger_head WHERE organization_id = $1) - {CHANGES}",
        list::among(cx.backend(), 2)
    );
    let since: DateTime<Utc> = cx.app.clock.now() - Duration::hours(24);
    let values = [cx.organization().into(), list::ids(ids), since.into()];
    let rows = Change::find_by_statement(Statement::from_sql_and_values(cx.backend(), text, values));
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
