//! Comparisons that begin by themselves: with the source where a connection reads one, with the last write otherwise.

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use entity::connection::{self as stored, ConnectionKind};
use entity::reconciliation_schedule;
use sea_orm::{ColumnTrait, EntityTrait, FromQueryResult, IntoActiveModel, QueryFilter, Statement};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Knowledge, run, source};
use crate::authz::Action;
use crate::context::{App, Change, Cx, Tx};
use crate::domain::{connection, locked, save};
use crate::error::{Error, Result};
use crate::ledger::{Entry, EventKind, Subject};

pub use reconciliation_schedule::Model as Schedule;

/// How often a comparison may begin by itself, in minutes: every quarter of an hour to every 93 days.
const INTERVAL_MINUTES: std::ops::RangeInclusive<i32> = 15..=60 * 24 * 93;
/// Schedules that are looked at in one turn.
const BATCH_SIZE: u64 = 100;

/// Sets how often a connection is compared by itself; none = never.
///
/// # Errors
/// [`Error::Invalid`] for an interval out of bounds.
pub async fn set_schedule(cx: &Cx, id: Uuid, interval_minutes: Option<i32>) -> Result<stored::Model> {
    cx.allow(Action::WriteConnection, None)?;
    if interval_minutes.is_some_and(|minutes| !INTERVAL_MINUTES.contains(&minutes)) {
        let (least, most) = (INTERVAL_MINUTES.start(), INTERVAL_MINUTES.end());
        return Err(Error::invalid("intervalMinutes", format!("must be between {least} and {most}")));
    }
    cx.write(move |tx| {
        Box::pin(async move {
            let connection = connection::live(tx, id).await?;
            let known = find_locked(tx, id).await?;
            let before = known.as_ref().map(|known| known.interval_minutes);
            if before == interval_minutes {
                return Ok(Change::nothing(connection));
            }
            let now = tx.now_after(None);
            match interval_minutes {
                None => delete(tx, id).await?,
                Some(minutes) => {
                    let row = Schedule {
                        organization_id: tx.organization(),
                        connection_id: id,
                        interval_minutes: minutes,
                        next_run_at: now + Duration::minutes(minutes.into()),
                    };
                    match known {
                        Some(_) => save::<reconciliation_schedule::Entity, _>(tx, row).await?,
                        None => {
                            let insert = reconciliation_schedule::Entity::insert(row.into_active_model());
                            insert.exec_without_returning(&tx.db).await?;
                        }
                    }
                }
            }
            let told = |minutes: Option<i32>| Some(json!({ "reconciliationIntervalMinutes": minutes }));
            let entry =
                Entry { before: told(before), ..entry(EventKind::ConnectionUpdated, id, now, told(interval_minutes)) };
            Ok(Change::made(connection, entry))
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

/// Begins the comparisons whose time has come, in every organization. Of any number of replicas one begins each.
pub async fn begin_due(app: &Arc<App>) -> Result<()> {
    #[derive(FromQueryResult)]
    struct Due {
        organization_id: Uuid,
        connection_id: Uuid,
    }
    let now: DateTime<Utc> = app.clock.now();
    let text = format!(
        "SELECT organization_id, connection_id FROM reconciliation_schedule WHERE next_run_at <= $1 \
         ORDER BY next_run_at LIMIT {BATCH_SIZE}"
    );
    let due = Statement::from_sql_and_values(app.store.backend(), text, [now.into()]);
    for Due { organization_id, connection_id } in Due::find_by_statement(due).all(&app.store.read).await? {
        let cx = Cx::system(app.clone(), organization_id);
        if let Err(error) = begin_one(&cx, connection_id, now).await {
            // It stays due, and the others go on.
            tracing::warn!(%error, connection = %connection_id, "a comparison whose time has come did not begin");
        }
    }
    Ok(())
}

async fn begin_one(cx: &Cx, id: Uuid, now: DateTime<Utc>) -> Result<()> {
    let query = cx.find::<stored::Entity>().filter(stored::Column::Id.eq(id));
    let Some(connection) = query.one(&cx.app.store.write).await? else { return Ok(()) };
    let begun = match connection.kind {
        ConnectionKind::ScimPull => source::start_in_turn(cx, id, false, Some(now)).await,
        _ => run::start_in_turn(cx, id, Knowledge::Written, Some(now)).await,
    };
    match begun {
        // What is under way ends, and then this one begins.
        Ok(_) | Err(Error::Held { reason: TURN_TAKEN | "RUN_NOT_ENDED", .. }) => Ok(()),
        Err(Error::Held { reason, .. }) => {
            cx.write(move |tx| {
                Box::pin(async move {
                    take_turn(tx, id, Some(now)).await?;
                    let after = Some(json!({ "reason": reason }));
                    let skipped = entry(EventKind::ConnectionReconciliationSkipped, id, tx.now_after(None), after);
                    Ok(Change::made((), skipped))
                })
            })
            .await
        }
        Err(error) => Err(error),
    }
}

/// The reason code of a turn that another replica has taken.
const TURN_TAKEN: &str = "TURN_TAKEN";

/// Moves the schedule on, in the transaction that begins the comparison; none = it was asked for by a person.
///
/// # Errors
/// [`Error::Held`] when another replica was quicker.
pub(super) async fn take_turn(tx: &Tx<'_>, id: Uuid, due: Option<DateTime<Utc>>) -> Result<()> {
    let Some(now) = due else { return Ok(()) };
    let Some(mut row) = find_locked(tx, id).await?.filter(|row| row.next_run_at <= now) else {
        return Err(Error::Held { reason: TURN_TAKEN, why: "another server has begun it".into() });
    };
    row.next_run_at = now + Duration::minutes(row.interval_minutes.into());
    save::<reconciliation_schedule::Entity, _>(tx, row).await
}

async fn find_locked(tx: &Tx<'_>, id: Uuid) -> Result<Option<Schedule>> {
    let query = tx.find::<reconciliation_schedule::Entity>();
    locked(tx, query.filter(reconciliation_schedule::Column::ConnectionId.eq(id))).await
}

/// Deletes the schedule of a connection, if it has one.
pub(super) async fn delete(tx: &Tx<'_>, id: Uuid) -> Result<()> {
    reconciliation_schedule::Entity::delete_many()
        .filter(reconciliation_schedule::Column::OrganizationId.eq(tx.organization()))
        .filter(reconciliation_schedule::Column::ConnectionId.eq(id))
        .exec(&tx.db)
        .await?;
    Ok(())
}

fn entry(kind: EventKind, id: Uuid, at: DateTime<Utc>, after: Option<Value>) -> Entry {
    let subject = Subject { kind: "connection", id };
    Entry { kind, subject, connection: Some(id), at, before: None, after, population: 0 }
}
