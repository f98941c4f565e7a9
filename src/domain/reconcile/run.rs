//! Runs comparisons, one of a connection at a time. Findings are written in parts, each part in its
//! own transaction. A comparison that died halfway has left true findings, and the next one checks
//! all of them.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Duration, Utc};
use entity::connection::{ConnectionKind, Model as Connection};
use entity::{finding, reconciliation, user};
use sea_orm::sea_query::{Expr, LockType, OnConflict};
use sea_orm::{
    ActiveEnum, ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, IntoActiveModel, QueryFilter,
    QueryOrder, QuerySelect, Select,
};
use serde_json::{Value, json};
use tracing::Instrument;
use uuid::Uuid;

use super::diff::{AttributeDifference, ExportColumns};
use super::difference::{ComparisonOutcome, Difference};
use super::export::{self, ExportFormat, RowReading};
use super::gone_manager;
use crate::auth::policy::Action;
use crate::context::{Change, Cx, DerivedChange, Tx, in_background};
use crate::domain::comparison::{ComparisonEnd, comparison_event, finish_locked};
use crate::domain::directory::schema_extension;
use crate::domain::reconcile::last_known::IdpView;
use crate::domain::reconcile::{
    ComparisonCounts, Finding, Kind, Resolution, Run, RunState, Scope, Source, State,
    UNFINISHED_CONDITION, compare, describe_finding, finding_detail, finding_event, last_known,
    reads, reopened_finding, schedule,
};
use crate::domain::{connection, lock_row, save_row};
use crate::error::{Error, RefusalReason, Result};
use crate::ledger::{EventKind, NewEvent};

/// A comparison that was not renewed for this time counts as dead.
const COMPARISON_TIMEOUT: Duration = Duration::minutes(10);
/// How long a caller waits for the end of a comparison that needs no export.
const ANSWER_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(8);
/// Findings written in one transaction.
const FINDINGS_PER_WRITE: usize = 200;
/// New findings that one comparison writes; all differences are counted.
const MAX_NEW: u64 = 10_000;

/// Returns the connection if the caller may compare it. Called before anything is read.
///
/// # Errors
/// [`Error::Forbidden`], [`Error::NotFound`]
pub async fn check_comparable(cx: &Cx, id: Uuid) -> Result<Connection> {
    cx.allow(Action::WriteConnection, None)?;
    // A caller that may change connections may learn whether this one exists.
    connection::get_connection(&Cx::system(cx.app.clone(), cx.organization()), id).await
}

/// Compares with an export that an administrator uploaded. `confirmed` says that the export is
/// complete, however much it lacks.
///
/// # Errors
/// [`Error::Invalid`] for what is no export, naming the first line at fault; [`Error::Held`] while
/// another comparison of the connection has not ended. An export that lacks too much is no error:
/// the state of the comparison says so.
pub async fn compare_upload(
    cx: &Cx,
    id: Uuid,
    scope: Scope,
    format: ExportFormat,
    bytes: Vec<u8>,
    confirmed: bool,
) -> Result<Run> {
    check_comparable(cx, id).await?;
    let types = schema_extension::resource_types(cx).await?;
    match scope {
        Scope::Memberships => {
            let read = tokio::task::spawn_blocking(move || {
                export::read_members(format, &bytes, &types.group)
            });
            let export = read.await.map_err(|error| Error::Internal(error.to_string()))??;
            let reading = export.reading.clone();
            let run = begin_comparison(cx, id, Source::Upload, scope, &reading, None).await?;
            end_comparison(cx, run, compare::compare_memberships(cx, id, &export, confirmed).await)
                .await
        }
        _ => {
            let read = tokio::task::spawn_blocking(move || {
                export::read_people(format, &bytes, &types.user)
            });
            let export = read.await.map_err(|error| Error::Internal(error.to_string()))??;
            let reading = export.reading.clone();
            let run = begin_comparison(cx, id, Source::Upload, scope, &reading, None).await?;
            end_comparison(cx, run, compare::compare_users(cx, id, export, confirmed).await).await
        }
    }
}

/// Compares with what the identity provider wrote last, or read last, as the ledger has it.
///
/// Returns when the comparison has ended, or after a few seconds while it is still running.
///
/// # Errors
/// [`Error::Held`] while another comparison of the connection has not ended; [`Error::Invalid`] for
/// [`IdpView::Read`] of a connection that reads a source.
pub async fn start_comparison(cx: &Cx, id: Uuid, knowledge: IdpView) -> Result<Run> {
    start_in_turn(cx, id, knowledge, None).await
}

/// Like [`start_comparison`]; `due` is the present time if a schedule begins the comparison.
pub(super) async fn start_in_turn(
    cx: &Cx,
    id: Uuid,
    knowledge: IdpView,
    due: Option<DateTime<Utc>>,
) -> Result<Run> {
    let connection = check_comparable(cx, id).await?;
    let source = match knowledge {
        IdpView::Written => Source::LastWrite,
        IdpView::Read if connection.kind == ConnectionKind::ScimPull => {
            let why = "this connection reads a source, so no identity provider reads accounts \
                       through it; compare it with SOURCE";
            return Err(Error::invalid("source", why));
        }
        IdpView::Read => Source::LastRead,
    };
    // Reads that this replica has answered count from now on.
    reads::flush_reads(&cx.app).await?;
    let run =
        begin_comparison(cx, id, source, Scope::Everything, &RowReading::default(), due).await?;
    let reader = Cx::system(cx.app.clone(), cx.organization());
    // A comparison that has begun runs to its end, even if the caller disconnects.
    let (cx, begun, stopping) = (cx.clone(), run.clone(), cx.app.stopping.subscribe());
    let work = in_background(async move {
        let done =
            end_comparison(&cx, run, last_known::compare_last_known(&reader, id, knowledge).await)
                .await;
        drop(stopping);
        done
    });
    match tokio::time::timeout(ANSWER_TIMEOUT, tokio::spawn(work.in_current_span())).await {
        Ok(done) => done.map_err(|error| Error::Internal(error.to_string()))?,
        Err(_) => Ok(begun),
    }
}

async fn begin_comparison(
    cx: &Cx,
    id: Uuid,
    source: Source,
    scope: Scope,
    reading: &RowReading,
    due: Option<DateTime<Utc>>,
) -> Result<Run> {
    cx.write(move |tx| {
        Box::pin(async move {
            connection::lock_live_connection(tx, id).await?;
            schedule::take_turn(tx, id, due).await?;
            let counts = ComparisonCounts {
                rows: reading.rows,
                unread: reading.unread,
                ..ComparisonCounts::default()
            };
            let troubles = json!(reading.troubles);
            open_comparison(
                tx,
                cx,
                ComparisonRequest {
                    connection: id,
                    source,
                    scope,
                    counts,
                    troubles,
                    sync_run: None,
                },
            )
            .await
        })
    })
    .await
}

/// A comparison to begin.
pub(super) struct ComparisonRequest {
    pub connection: Uuid,
    pub source: Source,
    pub scope: Scope,
    pub counts: ComparisonCounts,
    pub troubles: Value,
    /// The run that reads the source to compare with.
    pub sync_run: Option<Uuid>,
}

/// Opens a comparison of a connection that the caller has locked.
pub(super) async fn open_comparison(
    tx: &Tx<'_>,
    cx: &Cx,
    asked: ComparisonRequest,
) -> Result<Change<Run>> {
    let ComparisonRequest { connection, source, scope, counts, troubles, sync_run } = asked;
    let now = tx.now_after(None);
    let time = cx.app.database_time();
    let open = tx
        .find::<reconciliation::Entity>()
        .filter(reconciliation::Column::ConnectionId.eq(connection));
    let open = open.filter(reconciliation::Column::FinishedAt.is_null());
    if let Some(mut other) = lock_row(tx, open.clone()).await? {
        let expired = time.has_passed((reconciliation::Entity, reconciliation::Column::Until));
        // A comparison with a source ends with the run that reads the source. Another server
        // continues that run when one dies.
        if other.sync_run_id.is_some() || open.filter(expired).one(&tx.db).await?.is_none() {
            let why = "another reconciliation of this connection has not ended; wait for it";
            return Err(Error::Held { reason: RefusalReason::RunNotEnded, why: why.into() });
        }
        (other.state, other.finished_at) = (RunState::Failed, Some(now));
        other.reason = Some("the server that ran this reconciliation died; start it again".into());
        save_row::<reconciliation::Entity, reconciliation::ActiveModel>(tx, other).await?;
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
        until: now + COMPARISON_TIMEOUT,
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
    renew_comparison(tx, cx, &run).await?;
    let details = json!({ "source": source.to_value(), "scope": scope.to_value() });
    let entry = comparison_event(EventKind::ReconciliationStarted, &run, now, details);
    Ok(Change::recorded(run, entry))
}

/// Writes the findings and the result of a comparison.
async fn end_comparison(cx: &Cx, run: Run, outcome: Result<ComparisonOutcome>) -> Result<Run> {
    let done = match outcome {
        Ok(ComparisonOutcome { refused: Some(why), counts, .. }) => {
            let end = ComparisonEnd { state: RunState::Refused, counts, reason: Some(why) };
            finish_comparison(cx, &run, &end).await
        }
        Ok(outcome) => match keep_outcome(cx, &run, outcome).await {
            Ok((counts, reason)) => {
                let end = ComparisonEnd { state: RunState::Succeeded, counts, reason };
                finish_comparison(cx, &run, &end).await
            }
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    if done.is_err() {
        let why = "an error happened inside this server; start the reconciliation again";
        let counts = super::comparison_counts(&run);
        finish_comparison(cx, &run, &ComparisonEnd { counts, ..ComparisonEnd::of_failure(why) })
            .await?;
    }
    done
}

async fn finish_comparison(cx: &Cx, run: &Run, end: &ComparisonEnd) -> Result<Run> {
    let id = run.id;
    cx.write(move |tx| {
        Box::pin(async move {
            let open =
                tx.find::<reconciliation::Entity>().filter(reconciliation::Column::Id.eq(id));
            let open = open.filter(reconciliation::Column::FinishedAt.is_null());
            let row = lock_row(tx, open).await?.ok_or_else(comparison_replaced_error)?;
            let (done, entry) = finish_locked(tx, row, end).await?;
            Ok(Change::recorded(done, entry))
        })
    })
    .await
}

fn comparison_replaced_error() -> Error {
    let why = "this reconciliation showed no progress for so long that another took its place; \
               wait for that one";
    Error::Held { reason: RefusalReason::RunNotEnded, why: why.into() }
}

/// Renews the lease of a comparison, in the transaction of its writes; fails when another
/// comparison has taken its place.
async fn renew_comparison(tx: &Tx<'_>, cx: &Cx, run: &Run) -> Result<()> {
    let renewed = reconciliation::Entity::update_many()
        .col_expr(
            reconciliation::Column::Until,
            cx.app.database_time().timestamp_expression(COMPARISON_TIMEOUT),
        )
        .filter(reconciliation::Column::OrganizationId.eq(tx.organization()))
        .filter(reconciliation::Column::Id.eq(run.id))
        .filter(reconciliation::Column::FinishedAt.is_null())
        .exec(&tx.db)
        .await?;
    if renewed.rows_affected == 0 { Err(comparison_replaced_error()) } else { Ok(()) }
}

/// Writes the findings, and closes those that were not seen again.
pub(super) async fn keep_outcome(
    cx: &Cx,
    run: &Run,
    outcome: ComparisonOutcome,
) -> Result<(ComparisonCounts, Option<String>)> {
    let ComparisonOutcome { mut found, mut covers, columns, mut counts, mut note, .. } = outcome;
    if run.scope != Scope::Memberships {
        found.extend(gone_manager::find_gone_managers(cx, run.connection_id).await?);
        covers.push(Kind::ManagerGone);
    }
    for part in found.chunks(FINDINGS_PER_WRITE) {
        let room = MAX_NEW.saturating_sub(counts.opened);
        let columns = columns.as_ref();
        let written =
            cx.write(move |tx| Box::pin(record_seen(tx, cx, run, part, columns, room))).await?;
        counts.opened += written.opened;
        counts.reopened += written.reopened;
    }
    if counts.opened >= MAX_NEW {
        let more = format!(
            "only the first {MAX_NEW} new findings were written; decide about them and compare \
             again"
        );
        note = Some(note.map_or(more.clone(), |note| format!("{note}; {more}")));
    }
    for kind in covers {
        loop {
            let columns = columns.as_ref();
            let (looked, gone) =
                cx.write(move |tx| Box::pin(not_seen(tx, cx, run, kind, columns))).await?;
            counts.gone += gone;
            if looked < FINDINGS_PER_WRITE as u64 {
                break;
            }
        }
    }
    Ok((counts, note))
}

/// The longest time from the instant of a decision until other transactions see it.
const ON_ITS_WAY: Duration = Duration::seconds(30);

#[derive(Debug, Clone, Copy, Default)]
struct WrittenFinding {
    opened: u64,
    reopened: u64,
}

fn finding_change(tx: &Tx<'_>, cx: &Cx, entry: NewEvent) -> DerivedChange {
    DerivedChange { request_id: tx.request_id(), requested_at: cx.requested_at, entry }
}

async fn record_seen(
    tx: &Tx<'_>,
    cx: &Cx,
    run: &Run,
    part: &[Difference],
    columns: Option<&ExportColumns>,
    room: u64,
) -> Result<Change<WrittenFinding>> {
    // A connection that was deleted meanwhile gets no findings.
    connection::lock_live_connection(tx, run.connection_id).await?;
    let keys: Vec<Vec<u8>> = part.iter().map(Difference::difference_key).collect();
    let query = tx
        .find::<finding::Entity>()
        .filter(finding::Column::ConnectionId.eq(run.connection_id))
        .filter(finding::Column::Source.eq(run.source))
        .filter(finding::Column::Key.is_in(keys.clone()))
        .order_by_asc(finding::Column::Id);
    let mut known: HashMap<Vec<u8>, Finding> =
        all_locked(tx, query).await?.into_iter().map(|row| (row.key.clone(), row)).collect();
    let already_fixed = find_already_fixed(tx, run, known.values()).await?;
    let now = tx.now_after(Some(run.started_at));
    renew_comparison(tx, cx, run).await?;
    let (mut written, mut fresh, mut events) = (WrittenFinding::default(), Vec::new(), Vec::new());
    for (found, key) in part.iter().zip(keys) {
        match known.remove(&key) {
            Some(before) => {
                let after = finding_after_recurrence(
                    found,
                    &before,
                    run,
                    columns,
                    (already_fixed.contains(&before.id), now),
                );
                let reopened = before.state != State::Open && after.state == State::Open;
                if reopened {
                    written.reopened += 1;
                    events.push(finding_change(
                        tx,
                        cx,
                        finding_event(
                            EventKind::FindingReopened,
                            &after,
                            now,
                            describe_finding(&after),
                        ),
                    ));
                }
                save_row::<finding::Entity, finding::ActiveModel>(tx, after).await?;
            }
            None if written.opened < room => {
                written.opened += 1;
                let row = new(tx, found, key, run, now);
                events.push(finding_change(
                    tx,
                    cx,
                    finding_event(EventKind::FindingOpened, &row, now, describe_finding(&row)),
                ));
                fresh.push(row.into_active_model());
            }
            None => {}
        }
    }
    if !fresh.is_empty() {
        finding::Entity::insert_many(fresh).exec_without_returning(&tx.db).await?;
    }
    Ok(keep_change(run, now, part.len(), written, events))
}

/// A change of findings. Findings that only occurred again have no event each: one event stands for
/// all of them.
fn keep_change<T>(
    run: &Run,
    now: DateTime<Utc>,
    looked: usize,
    value: T,
    events: Vec<DerivedChange>,
) -> Change<T> {
    if !events.is_empty() {
        return Change::derived(value, events);
    }
    let after = json!({ "findings": looked });
    Change::recorded(value, comparison_event(EventKind::ReconciliationSeenAgain, run, now, after))
}

async fn all_locked(tx: &Tx<'_>, query: Select<finding::Entity>) -> Result<Vec<Finding>> {
    let query = match tx.db.get_database_backend() {
        DbBackend::Postgres => query.lock(LockType::NoKeyUpdate),
        _ => query,
    };
    Ok(query.all(&tx.db).await?)
}

fn new(tx: &Tx<'_>, found: &Difference, key: Vec<u8>, run: &Run, now: DateTime<Utc>) -> Finding {
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

/// The findings that were resolved just before the comparison began and whose account is not in
/// use. Other transactions could not see the decision yet, so the comparison saw the state before
/// it.
async fn find_already_fixed(
    tx: &Tx<'_>,
    run: &Run,
    known: impl Iterator<Item = &Finding>,
) -> Result<HashSet<Uuid>> {
    let decided = run.started_at - ON_ITS_WAY..run.started_at;
    let doubtful = known.filter(|finding| {
        finding.state == State::Resolved
            && finding.decided_at.is_some_and(|at| decided.contains(&at))
    });
    let doubtful: Vec<(Uuid, Uuid)> =
        doubtful.filter_map(|finding| Some((finding.id, finding.user_id?))).collect();
    if doubtful.is_empty() {
        return Ok(HashSet::new());
    }
    let in_use = tx
        .find::<user::Entity>()
        .filter(user::Column::Id.is_in(doubtful.iter().map(|(_, user)| *user)))
        .filter(user::Column::DeletedAt.is_null())
        .filter(user::Column::Active.eq(true));
    let in_use: Vec<Uuid> =
        in_use.select_only().column(user::Column::Id).into_tuple().all(&tx.db).await?;
    Ok(doubtful
        .into_iter()
        .filter(|(_, user)| !in_use.contains(user))
        .map(|(finding, _)| finding)
        .collect())
}

/// The finding after it was seen again. An acceptance holds for the accepted difference only, and
/// until its end. A finding that was resolved by a suspension stays resolved until the account is
/// active again.
fn finding_after_recurrence(
    found: &Difference,
    before: &Finding,
    run: &Run,
    columns: Option<&ExportColumns>,
    (already_fixed, now): (bool, DateTime<Utc>),
) -> Finding {
    let mut what = found.detail.clone();
    for (name, differs) in uncompared_attributes(before, columns) {
        what.entry(name).or_insert(differs);
    }
    let same = what == finding_detail(before) && found.leaver == before.leaver;
    let stays = match before.state {
        State::Open => true,
        State::Accepted => same && before.accepted_until.is_none_or(|end| end > now),
        // The comparison began before the decision, so it says nothing against it.
        State::Resolved
            if before.decided_at.is_some_and(|at| at >= run.started_at) || already_fixed =>
        {
            true
        }
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
        // A comparison that began again after an interruption has counted it already.
        count: before.count + i64::from(before.last_run_id != run.id),
        last_seen_at: now,
        last_run_id: run.id,
        ..before.clone()
    };
    if !stays {
        after = reopened_finding(after);
    }
    after
}

/// The attributes of a finding that this comparison did not compare.
fn uncompared_attributes(
    before: &Finding,
    columns: Option<&ExportColumns>,
) -> Vec<(String, AttributeDifference)> {
    match (before.kind, columns) {
        (Kind::Drifted, Some(columns)) => finding_detail(before)
            .into_iter()
            .filter(|(name, _)| !columns.names.contains(name))
            .collect(),
        _ => Vec::new(),
    }
}

/// Closes findings of `kind` that this comparison would have seen. Returns how many it checked, and
/// how many are gone.
async fn not_seen(
    tx: &Tx<'_>,
    cx: &Cx,
    run: &Run,
    kind: Kind,
    columns: Option<&ExportColumns>,
) -> Result<Change<(u64, u64)>> {
    let query = tx
        .find::<finding::Entity>()
        .filter(finding::Column::ConnectionId.eq(run.connection_id))
        .filter(finding::Column::Source.eq(run.source))
        .filter(finding::Column::Kind.eq(kind))
        .filter(Expr::cust(UNFINISHED_CONDITION))
        .filter(finding::Column::LastRunId.ne(run.id))
        .order_by_asc(finding::Column::Id)
        .limit(FINDINGS_PER_WRITE as u64);
    let rows = all_locked(tx, query).await?;
    if rows.is_empty() {
        return Ok(Change::unchanged((0, 0)));
    }
    let now = tx.now_after(Some(run.started_at));
    renew_comparison(tx, cx, run).await?;
    let (looked, mut gone, mut events) = (rows.len() as u64, 0, Vec::new());
    for before in rows {
        let left: BTreeMap<_, _> = uncompared_attributes(&before, columns).into_iter().collect();
        let after = if left.is_empty() {
            gone += 1;
            Finding { state: State::Gone, decided_at: Some(now), last_run_id: run.id, ..before }
        } else {
            Finding { detail: json!(left), last_run_id: run.id, ..before }
        };
        if after.state == State::Gone {
            events.push(finding_change(
                tx,
                cx,
                finding_event(EventKind::FindingGone, &after, now, describe_finding(&after)),
            ));
        }
        save_row::<finding::Entity, finding::ActiveModel>(tx, after).await?;
    }
    Ok(keep_change(run, now, looked as usize, (looked, gone), events))
}
