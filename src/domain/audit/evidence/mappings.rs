//! Which group was mapped to which role, when, why and by whom: every state of every mapping.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use sea_orm::{FromQueryResult, Statement};
use serde_json::Value;
use uuid::Uuid;

use super::{BATCH, Batch, Place, id, instant, makers, maybe};
use crate::context::Cx;
use crate::error::Result;

pub const COLUMNS: &[&str] = &[
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
struct State {
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

pub async fn read(cx: &Cx, from: DateTime<Utc>, to: DateTime<Utc>, place: Option<Place>) -> Result<Batch> {
    let after = match place {
        Some(Place::AfterId(id)) => id,
        _ => Uuid::nil(),
    };
    let text = format!(
        r#"SELECT x.id, x.mapping_id, x.group_id, g.display_name AS group_name, x.role_id, o.name AS role_name, x.reason,
             x.expires_at, x.since, x.until, x.opened_by, x.closed_by
           FROM role_mapping x JOIN role o ON o.organization_id = x.organization_id AND o.id = x.role_id
           LEFT JOIN "group" g ON g.organization_id = x.organization_id AND g.id = x.group_id
           WHERE x.organization_id = $1 AND x.id > $2 AND x.since < $3 AND (x.until IS NULL OR x.until >= $4)
           ORDER BY x.id LIMIT {BATCH}"#
    );
    let values = [cx.organization().into(), after.into(), to.into(), from.into()];
    let statement = Statement::from_sql_and_values(cx.backend(), text, values);
    let states = State::find_by_statement(statement).all(cx.db()).await?;
    let next = states.last().filter(|_| states.len() as u64 == BATCH).map(|state| Place::AfterId(state.id));
    let events: BTreeSet<Uuid> =
        states.iter().flat_map(|state| [Some(state.opened_by), state.closed_by]).flatten().collect();
    let makers = makers(cx, events).await?;
    let rows = states.into_iter().map(|state| {
        let (made, ended) = (makers.get(&state.opened_by), state.closed_by.and_then(|by| makers.get(&by)));
        vec![
            id(state.mapping_id),
            state.group_id.map_or(Value::Null, id),
            state.group_name.into(),
            id(state.role_id),
            state.role_name.into(),
            state.reason.into(),
            maybe(state.expires_at),
            instant(state.since),
            made.map(|maker| maker.actor_name.clone()).into(),
            made.map_or(Value::Null, |maker| id(maker.request_id)),
            maybe(state.until),
            ended.map(|maker| maker.actor_name.clone()).into(),
            ended.map_or(Value::Null, |maker| id(maker.request_id)),
        ]
    });
    Ok(Batch { rows: rows.collect(), next })
}
