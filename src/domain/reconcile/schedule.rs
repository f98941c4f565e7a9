//! Scheduled comparisons: with the source for a connection that reads one, otherwise with the last
//! write.

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use entity::connection::{self as stored, ConnectionKind};
use entity::reconciliation_schedule;
use sea_orm::{ColumnTrait, EntityTrait, FromQueryResult, IntoActiveModel, QueryFilter};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{IdpView, run, source};
use crate::auth::policy::Action;
use crate::context::{App, Change, Cx, Tx};
use crate::domain::tenant::organization::is_open_condition;
use crate::domain::{connection, lock_row, save_row};
use crate::error::{Error, RefusalReason, Result};
use crate::ledger::{EventKind, EventSubject, NewEvent};

pub use reconciliation_schedule::Model as Schedule;

/// The interval of a schedule in minutes: from a quarter of an hour to 93 days.
const INTERVAL_MINUTES: std::ops::RangeInclusive<i32> = 15..=60 * 24 * 93;
/// Schedules that one turn handles.
const BATCH_SIZE: u64 = 100;

/// Sets how often a connection is compared by its schedule; `Some(None)` ends the schedule, none
/// leaves it.
///
/// # Errors
/// [`Error::Invalid`] for an interval out of bounds.
pub async fn set_schedule(
    cx: &Cx,
    id: Uuid,
    interval_minutes: Option<Option<i32>>,
) -> Result<stored::Model> {
    cx.allow(Action::WriteConnection, None)?;
    if interval_minutes.flatten().is_some_and(|minutes| !INTERVAL_MINUTES.contains(&minutes)) {
        let (least, most) = (INTERVAL_MINUTES.start(), INTERVAL_MINUTES.end());
        return Err(Error::invalid(
            "intervalMinutes",
            format!("must be between {least} and {most}"),
        ));
    }
    cx.write(move |tx| {
        Box::pin(async move {
            let connection = connection::lock_live_connection(tx, id).await?;
            let known = find_locked(tx, id).await?;
            let before = known.as_ref().map(|known| known.interval_minutes);
            let Some(interval_minutes) = interval_minutes.filter(|minutes| before != *minutes)
            else {
                return Ok(Change::unchanged(connection));
            };
            let now = tx.now_after(None);
            match interval_minutes {
                None => delete_schedule(tx, id).await?,
                Some(minutes) => {
                    let row = Schedule {
                        organization_id: tx.organization(),
                        connection_id: id,
                        interval_minutes: minutes,
                        next_run_at: now + Duration::minutes(minutes.into()),
                    };
                    match known {
                        Some(_) => save_row::<reconciliation_schedule::Entity, _>(tx, row).await?,
                        None => {
                            let insert =
                                reconciliation_schedule::Entity::insert(row.into_active_model());
                            insert.exec_without_returning(&tx.db).await?;
                        }
                    }
                }
            }
            let describe =
                |minutes: Option<i32>| Some(json!({ "reconciliationIntervalMinutes": minutes }));
            let entry = NewEvent {
                before: describe(before),
                ..schedule_event(EventKind::ConnectionUpdated, id, now, describe(interval_minutes))
            };
            Ok(Change::recorded(connection, entry))
        })
    })
    .await
}

/// The schedules of these connections, of those that have one.
pub async fn schedules_of(cx: &Cx, connections: &[Uuid]) -> Result<Vec<Schedule>> {
    cx.allow(Action::ReadIam, None)?;
    let query = cx.find::<reconciliation_schedule::Entity>();
    let ids = connections.iter().copied();
    Ok(query.filter(reconciliation_schedule::Column::ConnectionId.is_in(ids)).all(cx.db()).await?)
}

/// Begins the scheduled comparisons that are due, in every organization. Only one replica begins
/// each of them.
pub async fn begin_due(app: &Arc<App>) -> Result<()> {
    #[derive(FromQueryResult)]
    struct DueComparison {
        organization_id: Uuid,
        connection_id: Uuid,
    }
    let now: DateTime<Utc> = app.clock.now();
    let text = format!(
        "SELECT organization_id, connection_id FROM reconciliation_schedule \
         WHERE next_run_at <= $1 AND {} \
         ORDER BY next_run_at LIMIT {BATCH_SIZE}",
        is_open_condition("reconciliation_schedule")
    );
    let reason = "which comparisons are due";
    let due = app.statement_for_all_organizations(text, [now.into()], reason);
    for DueComparison { organization_id, connection_id } in
        DueComparison::find_by_statement(due).all(&app.store.read).await?
    {
        let cx = Cx::system(app.clone(), organization_id);
        if let Err(error) = begin_one(&cx, connection_id, now).await {
            // It stays due; the other comparisons begin.
            tracing::warn!(%error, connection = %connection_id, "a scheduled comparison did not \
                                                                 begin");
        }
    }
    Ok(())
}

async fn begin_one(cx: &Cx, id: Uuid, now: DateTime<Utc>) -> Result<()> {
    let query = cx.find::<stored::Entity>().filter(stored::Column::Id.eq(id));
    let Some(connection) = query.one(&cx.app.store.write).await? else { return Ok(()) };
    let begun = match connection.kind {
        ConnectionKind::ScimPull => source::start_in_turn(cx, id, false, Some(now)).await,
        _ => run::start_in_turn(cx, id, IdpView::Written, Some(now)).await,
    };
    match begun {
        // Another server has begun it, or another run is under way. Then it stays due and begins
        // after that run.
        Ok(_)
        | Err(Error::Held {
            reason: RefusalReason::TurnTaken | RefusalReason::RunNotEnded, ..
        }) => Ok(()),
        Err(Error::Held { reason, .. }) => {
            cx.write(move |tx| {
                Box::pin(async move {
                    take_turn(tx, id, Some(now)).await?;
                    let after = Some(json!({ "reason": reason }));
                    let skipped = schedule_event(
                        EventKind::ConnectionReconciliationSkipped,
                        id,
                        tx.now_after(None),
                        after,
                    );
                    Ok(Change::recorded((), skipped))
                })
            })
            .await
        }
        Err(error) => Err(error),
    }
}

/// Sets the next time of the schedule, in the transaction that begins the comparison. `due` is none
/// for a comparison that an administrator started.
///
/// # Errors
/// [`Error::Held`] when another replica was faster.
pub(super) async fn take_turn(tx: &Tx<'_>, id: Uuid, due: Option<DateTime<Utc>>) -> Result<()> {
    let Some(now) = due else { return Ok(()) };
    let Some(mut row) = find_locked(tx, id).await?.filter(|row| row.next_run_at <= now) else {
        return Err(Error::Held {
            reason: RefusalReason::TurnTaken,
            why: "another server has begun this comparison".into(),
        });
    };
    row.next_run_at = now + Duration::minutes(row.interval_minutes.into());
    save_row::<reconciliation_schedule::Entity, _>(tx, row).await
}

async fn find_locked(tx: &Tx<'_>, id: Uuid) -> Result<Option<Schedule>> {
    let query = tx.find::<reconciliation_schedule::Entity>();
    lock_row(tx, query.filter(reconciliation_schedule::Column::ConnectionId.eq(id))).await
}

/// Deletes the schedule of a connection, if it has one.
pub(super) async fn delete_schedule(tx: &Tx<'_>, id: Uuid) -> Result<()> {
    reconciliation_schedule::Entity::delete_many()
        .filter(reconciliation_schedule::Column::OrganizationId.eq(tx.organization()))
        .filter(reconciliation_schedule::Column::ConnectionId.eq(id))
        .exec(&tx.db)
        .await?;
    Ok(())
}

fn schedule_event(kind: EventKind, id: Uuid, at: DateTime<Utc>, after: Option<Value>) -> NewEvent {
    let subject = EventSubject { kind: "connection", id };
    NewEvent {
        kind,
        subject,
        connection: Some(id),
        at,
        before: None,
        after,
        population: 0,
        name: None,
    }
}
