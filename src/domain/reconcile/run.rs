//! Carrying a comparison out: one of a connection at a time. What it finds is written in parts, each in a transaction of
//! its own; one that died halfway has left true findings, and the next one goes over all of them.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Duration, Utc};
use entity::connection::{ConnectionKind, Model as Connection};
use entity::{finding, reconciliation, user};
use sea_orm::sea_query::{Expr, LockType, OnConflict};
use sea_orm::{
    ActiveEnum, ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder,
    QuerySelect, Select,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::by_hand::Knowledge;
use super::diff::{Columns, Differs};
use super::export::{self, Format, Reading};
use super::{
    Class, Counts, Finding, Kind, LIVE, Resolution, Run, RunState, Scope, Source, State, by_hand, compare, described,
    detail, entry, reads, resolve, run_entry, schedule,
};
use crate::authz::Action;
use crate::context::{Change, Cx, Followed, Tx};
use crate::domain::{connection, extension, locked, save};
use crate::error::{Error, Result};
use crate::ledger::{Entry, EventKind};
use crate::vault;

/// One that was not heard of for so long has died.
const PATIENCE: Duration = Duration::minutes(10);
/// How long a caller waits for the end of one that needs no export.
const ANSWER: std::time::Duration = std::time::Duration::from_secs(8);
/// Findings written at once.
const PART: usize = 200;
/// New findings of one comparison that are written down; all are counted.
const MAX_NEW: u64 = 10_000;

/// Something that differs, before it is written down.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub kind: Kind,
    /// What makes it the same the next time.
    pub identity: Value,
    pub thing: Option<Vec<u8>>,
    pub user: Option<Uuid>,
    pub group: Option<Uuid>,
    pub label: Option<String>,
    pub class: Option<Class>,
    pub leaver: bool,
    /// Whether the account can be used.
    pub active: bool,
    pub roles: i32,
    pub detail: BTreeMap<String, Differs>,
}

impl Found {
    pub(super) fn new(kind: Kind, identity: Value) -> Self {
        Self {
            kind,
            identity,
            thing: None,
            user: None,
            group: None,
            label: None,
            class: None,
            leaver: false,
            active: false,
            roles: 0,
            detail: BTreeMap::new(),
        }
    }

    fn key(&self) -> Vec<u8> {
        key(self.kind, &self.identity)
    }
}

/// By which the same difference is recognised.
pub(super) fn key(kind: Kind, identity: &Value) -> Vec<u8> {
    vault::hash(&json!([kind.to_value(), identity]).to_string())
}

/// What a comparison came to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub found: Vec<Found>,
    /// The kinds of findings that it would have seen: what it did not see of these is gone.
    pub covers: Vec<Kind>,
    /// What of accounts was compared; none = everything.
    pub columns: Option<Columns>,
    pub counts: Counts,
    /// What else is to be known of it.
    pub note: Option<String>,
    /// Why it is not believed: then nothing was found.
    pub refused: Option<String>,
}

/// Whether the caller may compare with what it uploads, asked before anything is read.
///
/// # Errors
/// [`Error::Forbidden`], [`Error::NotFound`]
pub async fn ready(cx: &Cx, id: Uuid) -> Result<Connection> {
    cx.allow(Action::WriteConnection, None)?;
    // Whoever may change a connection is told whether it is there.
    connection::get(&Cx::system(cx.app.clone(), cx.organization()), id).await
}

/// Compares with an export that somebody uploaded. `confirmed` says that it is whole, however much it lacks.
///
/// # Errors
/// [`Error::Invalid`] for what is no export, naming the first line at fault; [`Error::Held`] while another comparison of
/// the connection has not ended. One that is not believed is no error: its state says so.
pub async fn upload(cx: &Cx, id: Uuid, scope: Scope, format: Format, bytes: Vec<u8>, confirmed: bool) -> Result<Run> {
    ready(cx, id).await?;
    let types = extension::types(cx).await?;
    match scope {
        Scope::Memberships => {
            let read = tokio::task::spawn_blocking(move || export::members(format, &bytes, &types.group));
            let export = read.await.map_err(|error| Error::Internal(error.to_string()))??;
            let reading = export.reading.clone();
            let run = begin(cx, id, Source::Upload, scope, &reading, None).await?;
            end(cx, run, compare::memberships(cx, id, &export, confirmed).await).await
        }
        _ => {
            let read = tokio::task::spawn_blocking(move || export::people(format, &bytes, &types.user));
            let export = read.await.map_err(|error| Error::Internal(error.to_string()))??;
            let reading = export.reading.clone();
            let run = begin(cx, id, Source::Upload, scope, &reading, None).await?;
            end(cx, run, compare::users(cx, id, export, confirmed).await).await
        }
    }
}

/// Compares with what the identity provider wrote last, or read last, as the ledger tells.
///
/// It answers when the comparison has ended, or after a while with one that is still being carried out.
///
/// # Errors
/// [`Error::Held`] while another comparison of the connection has not ended; [`Error::Invalid`] for what is read by one
/// that reads a source itself.
pub async fn start(cx: &Cx, id: Uuid, knowledge: Knowledge) -> Result<Run> {
    start_in_turn(cx, id, knowledge, None).await
}

/// As [`start`], in the turn of a schedule that was `due` then.
pub(super) async fn start_in_turn(cx: &Cx, id: Uuid, knowledge: Knowledge, due: Option<DateTime<Utc>>) -> Result<Run> {
    let connection = ready(cx, id).await?;
    let source = match knowledge {
        Knowledge::Written => Source::LastWrite,
        Knowledge::Read if connection.kind == ConnectionKind::ScimPull => {
            let why = "nobody reads what is here through a connection that reads a source; compare it with SOURCE";
            return Err(Error::invalid("source", why));
        }
        Knowledge::Read => Source::LastRead,
    };
    // What this replica has answered is known to it.
    reads::flush(&cx.app).await?;
    let run = begin(cx, id, source, Scope::Everything, &Reading::default(), due).await?;
    let reader = Cx::system(cx.app.clone(), cx.organization());
    // One that has begun comes to its end, also when the caller has hung up.
    let (cx, begun, stopping) = (cx.clone(), run.clone(), cx.app.stopping.subscribe());
    let work = tokio::spawn(async move {
        let done = end(&cx, run, by_hand::compare(&reader, id, knowledge).await).await;
        drop(stopping);
        done
    });
    match tokio::time::timeout(ANSWER, work).await {
        Ok(done) => done.map_err(|error| Error::Internal(error.to_string()))?,
        Err(_) => Ok(begun),
    }
}

async fn begin(
    cx: &Cx,
    id: Uuid,
    source: Source,
    scope: Scope,
    reading: &Reading,
    due: Option<DateTime<Utc>>,
) -> Result<Run> {
    cx.write(move |tx| {
        Box::pin(async move {
            connection::live(tx, id).await?;
            schedule::take_turn(tx, id, due).await?;
            let counts = Counts { rows: reading.rows, unread: reading.unread, ..Counts::default() };
            let troubles = json!(reading.troubles);
            open(tx, cx, Asked { connection: id, source, scope, counts, troubles, sync_run: None }).await
        })
    })
    .await
}

/// A comparison that is asked for.
pub(super) struct Asked {
    pub connection: Uuid,
    pub source: Source,
    pub scope: Scope,
    pub counts: Counts,
    pub troubles: Value,
    /// The run that reads what is to be compared with.
    pub sync_run: Option<Uuid>,
}

/// Opens a comparison of a connection that the caller has locked.
pub(super) async fn open(tx: &Tx<'_>, cx: &Cx, asked: Asked) -> Result<Change<Run>> {
    let Asked { connection, source, scope, counts, troubles, sync_run } = asked;
    let now = tx.now_after(None);
    let time = cx.app.database_time();
    let open = tx.find::<reconciliation::Entity>().filter(reconciliation::Column::ConnectionId.eq(connection));
    let open = open.filter(reconciliation::Column::FinishedAt.is_null());
    if let Some(mut other) = locked(tx, open.clone()).await? {
        let expired = time.has_passed((reconciliation::Entity, reconciliation::Column::Until));
        // One with a source ends with the run that reads it, which outlives servers.
        if other.sync_run_id.is_some() || open.filter(expired).one(&tx.db).await?.is_none() {
            let why = "another reconciliation of this connection has not ended; wait for it";
            return Err(Error::Held { reason: "RUN_NOT_ENDED", why: why.into() });
        }
        (other.state, other.finished_at) = (RunState::Failed, Some(now));
        other.reason = Some("the server that carried it out died; begin it again".into());
        save::<reconciliation::Entity, reconciliation::ActiveModel>(tx, other).await?;
    }
    let run = Run {
        organization_id: tx.organization(),
        id: Uuid::now_v7(),
        connection_id: connection,
        source,
        scope,
        state: RunState::Running,
        requested_by: cx.actor.name().to_owned(),
        counts: json!(counts),
        troubles,
        reason: None,
        sync_run_id: sync_run,
        until: now + PATIENCE,
        started_at: now,
        finished_at: None,
    };
    let inserted = reconciliation::Entity::insert(run.clone().into_active_model())
        .on_conflict(OnConflict::new().do_nothing().to_owned())
        .exec_without_returning(&tx.db)
        .await?;
    if inserted == 0 {
        return Err(Error::Busy("another reconciliation began at the same time".into()));
    }
    renew(tx, cx, &run).await?;
    let told = json!({ "source": source.to_value(), "scope": scope.to_value() });
    let entry = run_entry(EventKind::ReconciliationStarted, &run, now, told);
    Ok(Change::made(run, entry))
}

/// Writes down what was found, and how it went.
async fn end(cx: &Cx, run: Run, outcome: Result<Outcome>) -> Result<Run> {
    let done = match outcome {
        Ok(Outcome { refused: Some(why), counts, .. }) => finish(cx, &run, RunState::Refused, counts, Some(why)).await,
        Ok(outcome) => match keep(cx, &run, outcome).await {
            Ok((counts, note)) => finish(cx, &run, RunState::Succeeded, counts, note).await,
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    if done.is_err() {
        let why = "something went wrong here; begin it again".to_owned();
        finish(cx, &run, RunState::Failed, super::counts(&run), Some(why)).await?;
    }
    done
}

async fn finish(cx: &Cx, run: &Run, state: RunState, counts: Counts, reason: Option<String>) -> Result<Run> {
    let (id, reason) = (run.id, &reason);
    cx.write(move |tx| {
        Box::pin(async move {
            let open = tx.find::<reconciliation::Entity>().filter(reconciliation::Column::Id.eq(id));
            let open = open.filter(reconciliation::Column::FinishedAt.is_null());
            let row = locked(tx, open).await?.ok_or_else(taken_for_dead)?;
            let (done, entry) = finished(tx, row, state, counts, reason.clone()).await?;
            Ok(Change::made(done, entry))
        })
    })
    .await
}

/// Writes down how a comparison went that the caller has locked.
pub(super) async fn finished(
    tx: &Tx<'_>,
    run: Run,
    state: RunState,
    counts: Counts,
    reason: Option<String>,
) -> Result<(Run, Entry)> {
    let now = tx.now_after(Some(run.started_at));
    let known = super::counts(&run);
    let (rows, unread) = (known.rows.max(counts.rows), known.unread.max(counts.unread));
    let counts = Counts { rows, unread, ..counts };
    let done = Run { state, counts: json!(counts), reason, finished_at: Some(now), ..run };
    save::<reconciliation::Entity, reconciliation::ActiveModel>(tx, done.clone()).await?;
    let kind = match state {
        RunState::Succeeded => EventKind::ReconciliationSucceeded,
        RunState::Refused => EventKind::ReconciliationRefused,
        _ => EventKind::ReconciliationFailed,
    };
    let entry = run_entry(kind, &done, now, json!({ "counts": counts }));
    Ok((done, entry))
}

fn taken_for_dead() -> Error {
    let why = "this reconciliation was not heard of for so long that another took its place; wait for that one";
    Error::Held { reason: "RUN_NOT_ENDED", why: why.into() }
}

/// Says that a comparison is alive, beside what it writes; fails when another has taken its place.
async fn renew(tx: &Tx<'_>, cx: &Cx, run: &Run) -> Result<()> {
    let renewed = reconciliation::Entity::update_many()
        .col_expr(reconciliation::Column::Until, cx.app.database_time().expression(PATIENCE))
        .filter(reconciliation::Column::OrganizationId.eq(tx.organization()))
        .filter(reconciliation::Column::Id.eq(run.id))
        .filter(reconciliation::Column::FinishedAt.is_null())
        .exec(&tx.db)
        .await?;
    if renewed.rows_affected == 0 { Err(taken_for_dead()) } else { Ok(()) }
}

/// Writes down what was found, and that what was not seen again is gone.
pub(super) async fn keep(cx: &Cx, run: &Run, outcome: Outcome) -> Result<(Counts, Option<String>)> {
    let Outcome { found, covers, columns, mut counts, mut note, .. } = outcome;
    for part in found.chunks(PART) {
        let room = MAX_NEW.saturating_sub(counts.opened);
        let columns = columns.as_ref();
        let written = cx.write(move |tx| Box::pin(seen(tx, cx, run, part, columns, room))).await?;
        counts.opened += written.opened;
        counts.reopened += written.reopened;
    }
    if counts.opened >= MAX_NEW {
        let more = format!("only the first {MAX_NEW} new findings were written down; deal with them and compare again");
        note = Some(note.map_or(more.clone(), |note| format!("{note}; {more}")));
    }
    for kind in covers {
        loop {
            let columns = columns.as_ref();
            let (looked, gone) = cx.write(move |tx| Box::pin(not_seen(tx, cx, run, kind, columns))).await?;
            counts.gone += gone;
            if looked < PART as u64 {
                break;
            }
        }
    }
    Ok((counts, note))
}

/// So long a decision may take from its instant until others see it.
const ON_ITS_WAY: Duration = Duration::seconds(30);

#[derive(Debug, Clone, Copy, Default)]
struct Written {
    opened: u64,
    reopened: u64,
}

fn told(tx: &Tx<'_>, cx: &Cx, entry: Entry) -> Followed {
    Followed { request_id: tx.request_id(), requested_at: cx.requested_at, entry }
}

async fn seen(
    tx: &Tx<'_>,
    cx: &Cx,
    run: &Run,
    part: &[Found],
    columns: Option<&Columns>,
    room: u64,
) -> Result<Change<Written>> {
    // Of a connection that was deleted meanwhile nothing is found any more.
    connection::live(tx, run.connection_id).await?;
    let keys: Vec<Vec<u8>> = part.iter().map(Found::key).collect();
    let query = tx
        .find::<finding::Entity>()
        .filter(finding::Column::ConnectionId.eq(run.connection_id))
        .filter(finding::Column::Source.eq(run.source))
        .filter(finding::Column::Key.is_in(keys.clone()))
        .order_by_asc(finding::Column::Id);
    let mut known: HashMap<Vec<u8>, Finding> =
        all_locked(tx, query).await?.into_iter().map(|row| (row.key.clone(), row)).collect();
    let put_right = put_right(tx, run, known.values()).await?;
    let now = tx.now_after(Some(run.started_at));
    renew(tx, cx, run).await?;
    let (mut written, mut fresh, mut events) = (Written::default(), Vec::new(), Vec::new());
    for (found, key) in part.iter().zip(keys) {
        match known.remove(&key) {
            Some(before) => {
                let after = again(found, &before, run, columns, (put_right.contains(&before.id), now));
                let reopened = before.state != State::Open && after.state == State::Open;
                if reopened {
                    written.reopened += 1;
                    events.push(told(tx, cx, entry(EventKind::FindingReopened, &after, now, described(&after))));
                }
                save::<finding::Entity, finding::ActiveModel>(tx, after).await?;
            }
            None if written.opened < room => {
                written.opened += 1;
                let row = new(tx, found, key, run, now);
                events.push(told(tx, cx, entry(EventKind::FindingOpened, &row, now, described(&row))));
                fresh.push(row.into_active_model());
            }
            None => {}
        }
    }
    if !fresh.is_empty() {
        finding::Entity::insert_many(fresh).exec_without_returning(&tx.db).await?;
    }
    Ok(kept(run, now, part.len(), written, events))
}

/// A change of findings. What only came again has no row of its own in the ledger: one tells of all of them.
fn kept<T>(run: &Run, now: DateTime<Utc>, looked: usize, value: T, events: Vec<Followed>) -> Change<T> {
    match events.is_empty() {
        false => Change::followed(value, events),
        true => {
            Change::made(value, run_entry(EventKind::ReconciliationSeenAgain, run, now, json!({ "findings": looked })))
        }
    }
}

async fn all_locked(tx: &Tx<'_>, query: Select<finding::Entity>) -> Result<Vec<Finding>> {
    let query = match tx.db.get_database_backend() {
        DbBackend::Postgres => query.lock(LockType::NoKeyUpdate),
        _ => query,
    };
    Ok(query.all(&tx.db).await?)
}

fn new(tx: &Tx<'_>, found: &Found, key: Vec<u8>, run: &Run, now: DateTime<Utc>) -> Finding {
    Finding {
        organization_id: tx.organization(),
        id: Uuid::now_v7(),
        connection_id: run.connection_id,
        source: run.source,
        kind: found.kind,
        key,
        thing: found.thing.clone(),
        user_id: found.user,
        group_id: found.group,
        label: found.label.clone(),
        class: found.class,
        leaver: found.leaver,
        roles_held: found.roles,
        detail: json!(found.detail),
        state: State::Open,
        resolution: None,
        reason: None,
        accepted_until: None,
        count: 1,
        first_seen_at: now,
        last_seen_at: now,
        last_run_id: run.id,
        decided_at: None,
        decided_by: None,
    }
}

/// Of findings that were decided about just before the comparison began, those whose account is not in use: the decision
/// was on its way, and what the comparison saw was not what it did.
async fn put_right(tx: &Tx<'_>, run: &Run, known: impl Iterator<Item = &Finding>) -> Result<HashSet<Uuid>> {
    let decided = run.started_at - ON_ITS_WAY..run.started_at;
    let doubtful = known.filter(|finding| {
        finding.state == State::Resolved && finding.decided_at.is_some_and(|at| decided.contains(&at))
    });
    let doubtful: Vec<(Uuid, Uuid)> = doubtful.filter_map(|finding| Some((finding.id, finding.user_id?))).collect();
    if doubtful.is_empty() {
        return Ok(HashSet::new());
    }
    let in_use = tx
        .find::<user::Entity>()
        .filter(user::Column::Id.is_in(doubtful.iter().map(|(_, user)| *user)))
        .filter(user::Column::DeletedAt.is_null())
        .filter(user::Column::Active.eq(true));
    let in_use: Vec<Uuid> = in_use.select_only().column(user::Column::Id).into_tuple().all(&tx.db).await?;
    Ok(doubtful.into_iter().filter(|(_, user)| !in_use.contains(user)).map(|(finding, _)| finding).collect())
}

/// What a finding is after it was seen again. An acceptance holds for what was accepted and no longer than it was said; a
/// suspended account that nobody has turned on again stays put right.
fn again(
    found: &Found,
    before: &Finding,
    run: &Run,
    columns: Option<&Columns>,
    (put_right, now): (bool, DateTime<Utc>),
) -> Finding {
    let mut what = found.detail.clone();
    for (name, differs) in uncompared(before, columns) {
        what.entry(name).or_insert(differs);
    }
    let same = what == detail(before) && found.leaver == before.leaver;
    let stays = match before.state {
        State::Open => true,
        State::Accepted => same && before.accepted_until.is_none_or(|end| end > now),
        // What was seen before the decision says nothing against it.
        State::Resolved if before.decided_at.is_some_and(|at| at >= run.started_at) || put_right => true,
        State::Resolved => before.resolution == Some(Resolution::Suspended) && !found.active,
        State::Gone => false,
    };
    let mut after = Finding {
        thing: found.thing.clone(),
        user_id: found.user,
        label: found.label.clone(),
        class: found.class,
        leaver: found.leaver,
        roles_held: found.roles,
        detail: json!(what),
        // One that was begun again after an interruption has seen it already.
        count: before.count + i64::from(before.last_run_id != run.id),
        last_seen_at: now,
        last_run_id: run.id,
        ..before.clone()
    };
    if !stays {
        after = resolve::reopened(after);
    }
    after
}

/// What of a finding this comparison does not speak about.
fn uncompared(before: &Finding, columns: Option<&Columns>) -> Vec<(String, Differs)> {
    match (before.kind, columns) {
        (Kind::Drifted, Some(columns)) => {
            detail(before).into_iter().filter(|(name, _)| !columns.names.contains(name)).collect()
        }
        _ => Vec::new(),
    }
}

/// Closes findings of `kind` that this comparison would have seen; how many it looked at, and how many are gone.
async fn not_seen(
    tx: &Tx<'_>,
    cx: &Cx,
    run: &Run,
    kind: Kind,
    columns: Option<&Columns>,
) -> Result<Change<(u64, u64)>> {
    let query = tx
        .find::<finding::Entity>()
        .filter(finding::Column::ConnectionId.eq(run.connection_id))
        .filter(finding::Column::Source.eq(run.source))
        .filter(finding::Column::Kind.eq(kind))
        .filter(Expr::cust(LIVE))
        .filter(finding::Column::LastRunId.ne(run.id))
        .order_by_asc(finding::Column::Id)
        .limit(PART as u64);
    let rows = all_locked(tx, query).await?;
    if rows.is_empty() {
        return Ok(Change::nothing((0, 0)));
    }
    let now = tx.now_after(Some(run.started_at));
    renew(tx, cx, run).await?;
    let (looked, mut gone, mut events) = (rows.len() as u64, 0, Vec::new());
    for before in rows {
        let left: BTreeMap<_, _> = uncompared(&before, columns).into_iter().collect();
        let after = match left.is_empty() {
            true => {
                gone += 1;
                Finding { state: State::Gone, decided_at: Some(now), last_run_id: run.id, ..before }
            }
            false => Finding { detail: json!(left), last_run_id: run.id, ..before },
        };
        if after.state == State::Gone {
            events.push(told(tx, cx, entry(EventKind::FindingGone, &after, now, described(&after))));
        }
        save::<finding::Entity, finding::ActiveModel>(tx, after).await?;
    }
    Ok(kept(run, now, looked as usize, (looked, gone), events))
}
