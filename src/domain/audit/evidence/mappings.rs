//! Every state of every mapping: the group, the role, the reason, the times and the actors.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use sea_orm::FromQueryResult;
use serde_json::Value;
use uuid::Uuid;

use super::{
    ROWS_PER_BATCH, ReportBatch, ReportPlace, find_makers, id_cell, instant_cell,
    optional_instant_cell,
};
use crate::context::Cx;
use crate::error::Result;

/// The columns of the report on role mappings: a row for each state of a mapping.
pub const MAPPING_COLUMNS: &[&str] = &[
    "mapping_id",
    "group_id",
    "group",
    "role_id",
    "role",
    "reason",
    "expires_at",
    "since",
    "made_by",
    "made_under_request",
    "until",
    "ended_by",
    "ended_under_request",
];

#[derive(FromQueryResult)]
struct MappingState {
    id: Uuid,
    mapping_id: Uuid,
    group_id: Option<Uuid>,
    group_name: Option<String>,
    role_id: Uuid,
    role_name: String,
    reason: Option<String>,
    expires_at: Option<DateTime<Utc>>,
    since: DateTime<Utc>,
    until: Option<DateTime<Utc>>,
    opened_by: Uuid,
    closed_by: Option<Uuid>,
}

/// The next rows of the report on role mappings: states that were in force at some time from `from`
/// (included) to `to` (excluded).
///
/// # Errors
/// Those of the database.
pub async fn read_mappings(
    cx: &Cx,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    place: Option<ReportPlace>,
) -> Result<ReportBatch> {
    let after = match place {
        Some(ReportPlace::AfterId(id)) => id,
        _ => Uuid::nil(),
    };
    let text = format!(
        r#"SELECT x.id, x.mapping_id, x.group_id, g.display_name AS group_name, x.role_id,
           o.name AS role_name, x.reason,
             x.expires_at, x.since, x.until, x.opened_by, x.closed_by
           FROM role_mapping x JOIN role o ON o.organization_id = x.organization_id
           AND o.id = x.role_id
           LEFT JOIN "group" g ON g.organization_id = x.organization_id AND g.id = x.group_id
           WHERE x.organization_id = $1 AND x.id > $2 AND x.since < $3 AND (x.until IS NULL
           OR x.until >= $4)
           ORDER BY x.id LIMIT {ROWS_PER_BATCH}"#
    );
    let values = [after.into(), to.into(), from.into()];
    let statement = cx.statement(text, values);
    let states = MappingState::find_by_statement(statement).all(cx.db()).await?;
    let next = states
        .last()
        .filter(|_| states.len() as u64 == ROWS_PER_BATCH)
        .map(|state| ReportPlace::AfterId(state.id));
    let events: BTreeSet<Uuid> = states
        .iter()
        .flat_map(|state| [Some(state.opened_by), state.closed_by])
        .flatten()
        .collect();
    let makers = find_makers(cx, events).await?;
    let rows = states.into_iter().map(|state| {
        let (made, ended) =
            (makers.get(&state.opened_by), state.closed_by.and_then(|by| makers.get(&by)));
        vec![
            id_cell(state.mapping_id),
            state.group_id.map_or(Value::Null, id_cell),
            state.group_name.into(),
            id_cell(state.role_id),
            state.role_name.into(),
            state.reason.into(),
            optional_instant_cell(state.expires_at),
            instant_cell(state.since),
            made.map(|maker| maker.actor_name.clone()).into(),
            made.map_or(Value::Null, |maker| id_cell(maker.request_id)),
            optional_instant_cell(state.until),
            ended.map(|maker| maker.actor_name.clone()).into(),
            ended.map_or(Value::Null, |maker| id_cell(maker.request_id)),
        ]
    });
    Ok(ReportBatch { rows: rows.collect(), next })
}
