//! Every change: its actor, its subject, its instant and its request.

use chrono::{DateTime, Utc};
use entity::event;
use sea_orm::{ColumnTrait, QueryFilter, QueryOrder, QuerySelect};
use serde_json::Value;

use super::{ROWS_PER_BATCH, ReportBatch, ReportPlace, id_cell, instant_cell};
use crate::context::Cx;
use crate::error::Result;

/// The columns of the report on changes: a row for each event.
pub const CHANGE_COLUMNS: &[&str] = &[
    "ledger_sequence",
    "event_id",
    "at",
    "actor_kind",
    "actor_id",
    "actor_name",
    "action",
    "subject_kind",
    "subject_id",
    "connection_id",
    "requested_at",
    "request_id",
    "hash",
];

/// The next rows of the report on changes: events from `from` (included) to `to` (excluded), by
/// age. `actor` = only those of this person, key or connection.
///
/// # Errors
/// Those of the database.
pub async fn read_changes(
    cx: &Cx,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    actor: Option<&str>,
    place: Option<ReportPlace>,
) -> Result<ReportBatch> {
    let mut query = cx
        .find::<event::Entity>()
        .filter(event::Column::At.gte(from))
        .filter(event::Column::At.lt(to));
    if let Some(actor) = actor {
        query = query.filter(event::Column::ActorId.eq(actor));
    }
    if let Some(ReportPlace::AfterPos(pos)) = place {
        query = query.filter(event::Column::Pos.gt(pos));
    }
    let events = query.order_by_asc(event::Column::Pos).limit(ROWS_PER_BATCH).all(cx.db()).await?;
    let next = events
        .last()
        .filter(|_| events.len() as u64 == ROWS_PER_BATCH)
        .map(|event| ReportPlace::AfterPos(event.pos));
    let rows = events.into_iter().map(|event| {
        vec![
            event.seq.into(),
            id_cell(event.id),
            instant_cell(event.at),
            event.actor_kind.into(),
            event.actor_id.into(),
            event.actor_name.into(),
            event.action.into(),
            event.subject_kind.into(),
            if event.subject_id.is_nil() { Value::Null } else { id_cell(event.subject_id) },
            event.connection_id.map_or(Value::Null, id_cell),
            instant_cell(event.requested_at),
            id_cell(event.request_id),
            event.hash.as_deref().map(hex::encode).into(),
        ]
    });
    Ok(ReportBatch { rows: rows.collect(), next })
}
