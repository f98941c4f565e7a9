//! Sync runs: a connection's source is read and what it lists is carried over. Here is whose a run is, how far it is and
//! who may end it; what is carried over is decided in [`carry`], and whoever carries a run out holds it by [`claim`].

pub mod carry;
pub mod claim;
pub mod met;
mod subject;

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use entity::connection::{ConnectionKind, ConnectionStatus};
use entity::{pull_source, sync_run};
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveEnum, ColumnTrait, Condition, ConnectionTrait, EntityTrait, FromQueryResult, IntoActiveModel, PaginatorTrait,
    QueryFilter, Select, Statement,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::connection;
use super::list::{self, Keyset, Slice};
use super::member;
use super::{organization, reconcile};
use crate::authz::Action;
use crate::context::{App, Change, Cx, Followed, Tx};
use crate::error::{Error, Result};
use crate::ledger::{Entry, EventKind, Subject};

pub use sync_run::{Mode, Model as Run, State};

/// What became of the resources of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    pub read: u64,
    pub created: u64,
    pub updated: u64,
    pub suspended: u64,
    pub restored: u64,
    pub deleted: u64,
    pub unchanged: u64,
    pub failed: u64,
}

impl Tally {
    pub fn add(&mut self, other: Tally) {
        self.read += other.read;
        self.created += other.created;
        self.updated += other.updated;
        self.suspended += other.suspended;
        self.restored += other.restored;
        self.deleted += other.deleted;
        self.unchanged += other.unchanged;
        self.failed += other.failed;
    }
}

/// What a run has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    pub users: Tally,
    pub groups: Tally,
}

/// Something that a run could not carry over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// `user` or `group`
    pub kind: String,
    /// the resource's id at the source
    pub remote_id: String,
    pub why: String,
}

/// The most troubles that a run keeps; all of them are counted.
const MAX_TROUBLES: usize = 100;

/// Why nothing was compared by a run that was told to end.
const CANCELLED: &str = "the run that read the source was cancelled";

/// Whom a run of one person reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    UserName(String),
    ExternalId(String),
    RemoteId(String),
}

impl Target {
    fn check(&self) -> Result<()> {
        let (field, value) = match self {
            Self::UserName(value) => ("userName", value),
            Self::ExternalId(value) => ("externalId", value),
            Self::RemoteId(value) => ("remoteId", value),
        };
        super::text(field, value, 512).map(|_| ())
    }
}

/// The counts of a run, read.
pub fn counts(run: &Run) -> Counts {
    serde_json::from_value(run.counts.clone()).unwrap_or_default()
}

/// The troubles of a run, read.
pub fn troubles(run: &Run) -> Vec<Trouble> {
    serde_json::from_value(run.troubles.clone()).unwrap_or_default()
}

/// Begins a run of a connection that reads a source.
///
/// # Errors
/// [`Error::Held`] while another run of the connection has not ended, while it is deactivated, and while nothing may be
/// provisioned in the organization.
pub async fn start(cx: &Cx, connection: Uuid, mode: Mode, target: Option<Target>) -> Result<Run> {
    cx.allow(Action::WriteConnection, None)?;
    match (mode, &target) {
        (Mode::OneUser, Some(target)) => target.check()?,
        (Mode::OneUser, None) => {
            return Err(Error::invalid("userName", "name whom to read: by userName, externalId or remoteId"));
        }
        (_, Some(_)) => return Err(Error::invalid("userName", "only a run of mode ONE_USER reads one person")),
        _ => {}
    }
    let target = &target;
    let run = cx.write(move |tx| Box::pin(order(tx, cx, connection, mode, target.as_ref()))).await?;
    cx.app.syncs.notify_one();
    Ok(run)
}

/// Puts a run in the queue that somebody asked for.
///
/// # Errors
/// [`Error::Invalid`] for a connection that reads no source; [`Error::Held`] while another run of the connection has not
/// ended, or while it is deactivated.
pub(super) async fn order(
    tx: &Tx<'_>,
    cx: &Cx,
    connection: Uuid,
    mode: Mode,
    target: Option<&Target>,
) -> Result<Change<Run>> {
    let row = connection::live(tx, connection).await?;
    if row.kind != ConnectionKind::ScimPull {
        return Err(Error::invalid("connectionId", "this connection does not read a source"));
    }
    if row.status != ConnectionStatus::Active {
        let why = "the connection is deactivated; activate it first: connectionActivate";
        return Err(Error::Held { reason: "INACTIVE", why: why.into() });
    }
    organization::check_provisioning(cx).await?;
    begin(tx, connection, mode, target, cx.actor.name()).await?.ok_or_else(|| {
        let why = "another run of this connection has not ended; wait for it, or cancel it";
        Error::Held { reason: "RUN_NOT_ENDED", why: why.into() }
    })
}

/// Puts a run in the queue, unless the connection has one that has not ended.
async fn begin(
    tx: &Tx<'_>,
    connection: Uuid,
    mode: Mode,
    target: Option<&Target>,
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
        counts: json!(Counts::default()),
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
    let entry = entry(EventKind::SyncRunRequested, &run, now, json!({ "mode": mode.to_value() }));
    Ok(Some(Change::made(run, entry)))
}

/// Runs that fail one after the other before the schedule is slowed down.
pub const RUNS_FAIL: u32 = 3;
/// Runs that are looked at for it.
const SLOWEST: u64 = 20;

/// Who asks for a run that a failure in the review queue has begun again.
const RETRY: &str = "a retry of a failure";

/// A run, without all that is kept of it.
#[derive(Debug, Clone, PartialEq, FromQueryResult)]
pub struct Brief {
    pub connection_id: Uuid,
    pub mode: Mode,
    pub state: State,
    pub counts: Value,
    pub requested_by: String,
    pub finished_at: Option<DateTime<Utc>>,
}

/// How many runs have failed since one succeeded; `runs` are the latest first. A retry that fails is the same failure
/// once more. With `full`, only runs count that were to read everything: who can be asked for changes may still not be
/// read to the end.
pub fn failed_in_a_row(runs: &[Brief], full: bool) -> u32 {
    let whole = runs.iter().filter(|run| run.mode == Mode::Full || run.mode == Mode::Incremental && !full);
    let since = whole.take_while(|run| run.state != State::Succeeded);
    since.filter(|run| run.state == State::Failed && run.requested_by != RETRY).count() as u32
}

/// The latest runs of each of these connections that read a whole source or what changed in it, the latest first: so
/// many of either kind.
pub async fn briefs(cx: &Cx, connections: &[Uuid], most: u64) -> Result<Vec<Brief>> {
    cx.allow(Action::ReadIam, None)?;
    briefs_in(cx.db(), cx.organization(), connections, most).await
}

async fn briefs_in(
    db: &impl ConnectionTrait,
    organization: Uuid,
    connections: &[Uuid],
    most: u64,
) -> Result<Vec<Brief>> {
    let backend = db.get_database_backend();
    // From where on is looked up first, so that no more rows are read than are wanted.
    let text = format!(
        "WITH latest AS (SELECT c.id AS connection_id, m.mode, coalesce( \
             (SELECT l.id FROM sync_run l WHERE l.organization_id = $1 AND l.connection_id = c.id AND l.mode = m.mode \
               ORDER BY l.id DESC LIMIT 1 OFFSET {most}), $3) AS before \
           FROM connection c CROSS JOIN (SELECT 'FULL' AS mode UNION ALL SELECT 'INCREMENTAL') AS m \
           WHERE c.organization_id = $1 AND c.id {among}) \
         SELECT r.connection_id, r.mode, r.state, r.counts, r.requested_by, r.finished_at FROM latest \
         JOIN sync_run r ON r.organization_id = $1 AND r.connection_id = latest.connection_id \
           AND r.mode = latest.mode AND r.id > latest.before ORDER BY r.id DESC",
        among = list::among(backend, 2),
    );
    let values = [organization.into(), list::ids(connections), Uuid::nil().into()];
    Ok(Brief::find_by_statement(Statement::from_sql_and_values(backend, text, values)).all(db).await?)
}

/// How long a schedule waits: its interval; in quarantine twice as long after every further failure, up to a day.
fn wait(interval_minutes: i32, failed: u32) -> Duration {
    let interval = Duration::minutes(interval_minutes.into());
    let longest = interval.max(Duration::days(1));
    let doublings = (failed + 1).saturating_sub(RUNS_FAIL).min(16);
    (interval * (1 << doublings)).min(longest)
}

/// Puts a run in the queue for every connection whose time has come, in every organization: a full one, or one that
/// reads what changed, if only its time has come. Of any number of replicas one does it.
pub async fn begin_due(app: &Arc<App>) -> Result<u64> {
    #[derive(FromQueryResult)]
    struct Due {
        organization_id: Uuid,
        connection_id: Uuid,
    }
    let now: DateTime<Utc> = app.clock.now();
    let text = "SELECT organization_id, connection_id FROM pull_source WHERE next_run_at <= $1 \
         UNION SELECT organization_id, connection_id FROM pull_source WHERE next_incremental_at <= $1 LIMIT 100";
    let statement = Statement::from_sql_and_values(app.store.backend(), text, [now.into()]);
    let mut begun = 0;
    for Due { organization_id, connection_id } in Due::find_by_statement(statement).all(&app.store.read).await? {
        let cx = Cx::system(app.clone(), organization_id);
        let cx = &cx;
        let queued = cx.write(move |tx| {
            Box::pin(async move {
                let query = tx.find::<pull_source::Entity>();
                let query = query.filter(pull_source::Column::ConnectionId.eq(connection_id));
                let due = [pull_source::Column::NextRunAt, pull_source::Column::NextIncrementalAt];
                let query = query.filter(due.into_iter().fold(Condition::any(), |any, it| any.add(it.lte(now))));
                // Another replica was quicker.
                let Some(mut source) = super::locked(tx, query).await? else { return Ok(Change::nothing(false)) };
                let runs = briefs_in(&tx.db, tx.organization(), &[connection_id], SLOWEST).await?;
                let next = |minutes: Option<i32>, full| {
                    minutes.map(|minutes| now + wait(minutes, failed_in_a_row(&runs, full)))
                };
                let mode = match source.next_run_at.is_some_and(|at| at <= now) {
                    true => Mode::Full,
                    false => Mode::Incremental,
                };
                if mode == Mode::Full {
                    source.next_run_at = next(source.interval_minutes, true);
                }
                // A full run brings what changed, too.
                source.next_incremental_at = next(source.incremental_minutes, false);
                super::save::<pull_source::Entity, pull_source::ActiveModel>(tx, source).await?;
                let live = connection::unlocked(tx, connection_id).await?;
                let skipped = match organization::check_provisioning(cx).await {
                    _ if live.status != ConnectionStatus::Active || live.deleted_at.is_some() => Some("INACTIVE"),
                    Err(Error::Held { reason, .. }) => Some(reason),
                    Err(error) => return Err(error),
                    Ok(()) => None,
                };
                let begun = match skipped {
                    None => begin(tx, connection_id, mode, None, "the connection's schedule").await?,
                    Some(_) => None,
                };
                match begun {
                    Some(change) => Ok(change.map(|_| true)),
                    None => {
                        let at = tx.now_after(None);
                        let why = json!({ "reason": skipped.unwrap_or("RUN_NOT_ENDED") });
                        let subject = Subject { kind: "connection", id: connection_id };
                        let entry = Entry {
                            kind: EventKind::ConnectionSyncSkipped,
                            subject,
                            connection: Some(connection_id),
                            at,
                            before: None,
                            after: Some(why),
                            population: 0,
                        };
                        Ok(Change::made(false, entry))
                    }
                }
            })
        });
        match queued.await {
            Ok(queued) => begun += u64::from(queued),
            // It stays due, and keeps nobody else waiting.
            Err(error) => {
                tracing::warn!(%error, connection = %connection_id, "a sync whose time has come did not begin")
            }
        }
    }
    if begun > 0 {
        app.syncs.notify_one();
    }
    Ok(begun)
}

/// Begins a run of this mode once more; false while one of the connection has not ended.
pub async fn again(cx: &Cx, connection: Uuid, mode: Mode) -> Result<bool> {
    let begun = cx
        .write(move |tx| {
            Box::pin(async move {
                let begun = begin(tx, connection, mode, None, RETRY).await?;
                Ok(begun.map_or(Change::nothing(false), |change| change.map(|_| true)))
            })
        })
        .await?;
    cx.app.syncs.notify_one();
    Ok(begun)
}

/// The connection's run that has not ended.
pub async fn unfinished(cx: &Cx, connection: Uuid) -> Result<Option<Uuid>> {
    let runs = of(cx).filter(sync_run::Column::ConnectionId.eq(connection));
    let run = runs.filter(sync_run::Column::FinishedAt.is_null()).one(&cx.app.store.write).await?;
    Ok(run.map(|run| run.id))
}

fn of(cx: &Cx) -> Select<sync_run::Entity> {
    cx.find::<sync_run::Entity>()
}

/// One run.
pub async fn get(cx: &Cx, id: Uuid) -> Result<Run> {
    cx.allow(Action::ReadIam, None)?;
    of(cx).filter(sync_run::Column::Id.eq(id)).one(cx.db()).await?.ok_or_else(|| Error::not_found("the sync run"))
}

/// The runs among `ids`.
pub async fn by_ids(cx: &Cx, ids: &[Uuid]) -> Result<Vec<Run>> {
    cx.allow(Action::ReadIam, None)?;
    Ok(of(cx).filter(sync_run::Column::Id.is_in(ids.iter().copied())).all(cx.db()).await?)
}

/// The runs of one connection or of all.
pub async fn list(cx: &Cx, connection: Option<Uuid>, keyset: &Keyset<Uuid>) -> Result<Slice<Run>> {
    cx.allow(Action::ReadIam, None)?;
    let mut runs = of(cx);
    if let Some(connection) = connection {
        runs = runs.filter(sync_run::Column::ConnectionId.eq(connection));
    }
    list::page(cx, runs, sync_run::Column::Id, keyset).await
}

/// How many runs there are.
pub async fn count(cx: &Cx) -> Result<u64> {
    cx.allow(Action::ReadIam, None)?;
    Ok(of(cx).count(cx.db()).await?)
}

/// For each of these connections, a page of its runs.
pub async fn of_connections(cx: &Cx, connections: &[Uuid], keyset: &Keyset<Uuid>) -> Result<HashMap<Uuid, Slice<Run>>> {
    cx.allow(Action::ReadIam, None)?;
    let mut values = vec![cx.organization().into(), list::ids(connections)];
    let bounds = member::bounds("r.id", keyset, &mut values);
    let text = format!(
        "SELECT * FROM ( \
           SELECT r.*, row_number() OVER (PARTITION BY r.connection_id ORDER BY r.id {order}) AS place FROM sync_run r \
           WHERE r.organization_id = $1 AND r.connection_id {among}{bounds}) AS page \
         WHERE place <= {limit} ORDER BY connection_id, place",
        order = member::direction(keyset),
        among = list::among(cx.backend(), 2),
        limit = keyset.limit + 1,
    );
    let rows = Run::find_by_statement(Statement::from_sql_and_values(cx.backend(), text, values)).all(cx.db()).await?;
    Ok(member::slices(rows.into_iter().map(|run| (run.connection_id, run)), keyset))
}

/// How many runs each of these connections has.
pub async fn counts_of(cx: &Cx, connections: &[Uuid]) -> Result<HashMap<Uuid, u64>> {
    cx.allow(Action::ReadIam, None)?;
    let text = "SELECT connection_id AS id, count(*) AS total FROM sync_run \
         WHERE organization_id = $1 AND connection_id {among} GROUP BY connection_id";
    member::counts(cx, text, connections).await
}

/// The latest run that succeeded of each of these connections; a dry run is none.
pub async fn last_of(cx: &Cx, connections: &[Uuid]) -> Result<Vec<Run>> {
    cx.allow(Action::ReadIam, None)?;
    let text = format!(
        "SELECT r.* FROM sync_run r WHERE r.organization_id = $1 AND r.connection_id {} AND r.id = ( \
           SELECT l.id FROM sync_run l WHERE l.organization_id = $1 AND l.connection_id = r.connection_id \
             AND l.state = 'SUCCEEDED' AND l.mode <> 'DRY_RUN' ORDER BY l.id DESC LIMIT 1)",
        list::among(cx.backend(), 2)
    );
    let values = [cx.organization().into(), list::ids(connections)];
    let statement = Statement::from_sql_and_values(cx.backend(), text, values);
    Ok(Run::find_by_statement(statement).all(cx.db()).await?)
}

/// Tells a run to end. What it carried over stays.
///
/// # Errors
/// [`Error::Held`] when it has ended.
pub async fn cancel(cx: &Cx, id: Uuid) -> Result<Run> {
    cx.allow(Action::WriteConnection, None)?;
    let run = cx
        .write(move |tx| {
            Box::pin(async move {
                let mut run = open(tx, id).await?;
                if run.cancelling {
                    return Ok(Change::nothing(run));
                }
                let now = tx.now_after(Some(run.created_at));
                let mut compared = None;
                if run.state == State::Running {
                    run.cancelling = true;
                } else {
                    (run.state, run.finished_at, run.target) = (State::Cancelled, Some(now), None);
                    compared = reconcile::source::close(tx, &run, Err(CANCELLED)).await?;
                }
                super::save::<sync_run::Entity, sync_run::ActiveModel>(tx, run.clone()).await?;
                let entry = entry(EventKind::SyncRunCancelled, &run, now, json!({}));
                let mut change = Change::made(run, entry);
                let (request_id, requested_at) = (tx.request_id(), cx.requested_at);
                let told = compared.map(|entry| Followed { request_id, requested_at, entry });
                change.followed.extend(told);
                Ok(change)
            })
        })
        .await?;
    cx.app.syncs.notify_one();
    Ok(run)
}

/// Lets a run go on that waits to be told that it may remove so many.
///
/// # Errors
/// [`Error::Held`] unless it waits.
pub async fn approve(cx: &Cx, id: Uuid) -> Result<Run> {
    cx.allow(Action::WriteConnection, None)?;
    let run = cx
        .write(move |tx| {
            Box::pin(async move {
                let mut run = open(tx, id).await?;
                if run.state != State::Waiting {
                    return Err(Error::Held { reason: "NOT_WAITING", why: "this run does not wait".into() });
                }
                let now = tx.now_after(Some(run.created_at));
                (run.state, run.approved, run.until) = (State::Queued, true, DateTime::UNIX_EPOCH);
                super::save::<sync_run::Entity, sync_run::ActiveModel>(tx, run.clone()).await?;
                let entry = entry(EventKind::SyncRunApproved, &run, now, json!({ "reason": run.reason }));
                Ok(Change::made(run, entry))
            })
        })
        .await?;
    cx.app.syncs.notify_one();
    Ok(run)
}

async fn open(tx: &Tx<'_>, id: Uuid) -> Result<Run> {
    let query = tx.find::<sync_run::Entity>().filter(sync_run::Column::Id.eq(id));
    let run = super::locked(tx, query).await?.ok_or_else(|| Error::not_found("the sync run"))?;
    match run.finished_at {
        None => Ok(run),
        Some(_) => Err(Error::Held { reason: "ENDED", why: "the sync run has ended already".into() }),
    }
}

fn entry(kind: EventKind, run: &Run, at: DateTime<Utc>, after: Value) -> Entry {
    Entry {
        kind,
        subject: Subject { kind: "sync_run", id: run.id },
        connection: Some(run.connection_id),
        at,
        before: None,
        after: Some(after),
        population: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_in_quarantine_waits_twice_as_long_after_every_failure_and_a_day_at_most() {
        let minutes = |interval, failed| wait(interval, failed).num_minutes();
        assert_eq!([0, 1, 2, 3, 4, 5].map(|failed| minutes(60, failed)), [60, 60, 60, 120, 240, 480]);
        assert_eq!(minutes(60, 20), 24 * 60);
        assert_eq!(minutes(60 * 24 * 7, 20), 60 * 24 * 7, "never more often than the schedule itself");
    }

    #[test]
    fn full_runs_are_counted_for_themselves_and_retries_are_not() {
        use Mode::{Full, Incremental};
        use State::{Cancelled, Failed, Succeeded};
        let count = |runs: &[(Mode, State, &str)], full| {
            let run = |(mode, state, by): &(Mode, State, &str)| Brief {
                connection_id: Uuid::nil(),
                mode: *mode,
                state: *state,
                counts: json!({}),
                requested_by: (*by).to_owned(),
                finished_at: None,
            };
            failed_in_a_row(&runs.iter().map(run).collect::<Vec<_>>(), full)
        };
        let hiding =
            [(Incremental, Succeeded, ""), (Full, Failed, ""), (Incremental, Succeeded, ""), (Full, Failed, "")];
        assert_eq!((count(&hiding, false), count(&hiding, true)), (0, 2));
        let outage = [(Full, Failed, RETRY), (Full, Cancelled, ""), (Full, Failed, ""), (Full, Succeeded, "")];
        assert_eq!((count(&outage, false), count(&outage, true)), (1, 1));
        assert_eq!(count(&[(Full, Succeeded, RETRY), (Full, Failed, "")], true), 0, "a retry that succeeds ends it");
    }
}
