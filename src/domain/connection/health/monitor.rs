//! Checks the health of every connection from time to time, stores the result, and writes an event
//! when a state changes.

use std::collections::HashMap;
use std::sync::Arc;

use entity::{connection, connection_health, failure, sync_run};
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{
    ActiveEnum, ColumnTrait, EntityTrait, FromQueryResult, Iterable, QueryFilter, QuerySelect,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{HealthAssessment, State};
use crate::context::{App, Change, Cx};
use crate::domain::tenant::organization::is_open_condition;
use crate::domain::{lock_row, save_row};
use crate::error::Result;
use crate::ledger::{EventKind, EventSubject, NewEvent};

/// Connections that are judged together.
const BATCH_SIZE: usize = 200;

/// The stored health of these connections.
pub async fn stored_health(cx: &Cx, ids: &[Uuid]) -> Result<Vec<connection_health::Model>> {
    let query = cx.find::<connection_health::Entity>();
    Ok(query
        .filter(connection_health::Column::ConnectionId.is_in(ids.iter().copied()))
        .all(cx.db())
        .await?)
}

/// Checks every connection of every organization; returns how many have another state now.
pub async fn monitor_connections(app: &Arc<App>) -> Result<u64> {
    #[derive(FromQueryResult)]
    struct OrganizationIdRow {
        organization_id: Uuid,
    }
    let text = format!(
        "SELECT DISTINCT organization_id FROM connection WHERE deleted_at IS NULL AND {}",
        is_open_condition("connection")
    );
    let reason = "which organizations have connections";
    let tenants =
        OrganizationIdRow::find_by_statement(app.statement_for_all_organizations(text, [], reason));
    let mut changed = 0;
    for OrganizationIdRow { organization_id } in tenants.all(&app.store.read).await? {
        let cx = &Cx::system(app.clone(), organization_id);
        match monitor_organization(cx).await {
            Ok(n) => changed += n,
            // The connections of other organizations are still checked.
            Err(error) => {
                tracing::warn!(%error, organization = %organization_id, "judging connections \
                    failed")
            }
        }
    }
    Ok(changed)
}

/// Checks every connection of one organization; returns how many have another state now.
async fn monitor_organization(cx: &Cx) -> Result<u64> {
    let live = cx.find::<connection::Entity>().filter(connection::Column::DeletedAt.is_null());
    let ids: Vec<Uuid> =
        live.select_only().column(connection::Column::Id).into_tuple().all(cx.db()).await?;
    let mut changed = 0;
    for ids in ids.chunks(BATCH_SIZE) {
        for health in super::health_of_connections(cx, ids).await? {
            changed += u64::from(store_health(cx, &health).await?);
        }
    }
    Ok(changed)
}

/// Stores the health of a connection; returns whether its state has changed. A connection that was
/// always healthy has no row. That a new one is inactive at first is stored without an event, and
/// so are other reasons for the same state.
async fn store_health(cx: &Cx, health: &HealthAssessment) -> Result<bool> {
    let reasons: Value = health.reasons.iter().map(|reason| reason.code()).collect();
    match &health.known {
        None if health.state == State::Healthy => return Ok(false),
        None if health.state == State::Inactive => {
            store_first(cx, health, reasons).await?;
            return Ok(false);
        }
        Some(row) if row.state == health.state => {
            if row.reasons != reasons {
                store_reasons(cx, health, reasons).await?;
            }
            return Ok(false);
        }
        _ => {}
    }
    let reasons = &reasons;
    cx.write(move |tx| {
        Box::pin(async move {
            let column = connection_health::Column::ConnectionId;
            let query = tx.find::<connection_health::Entity>().filter(column.eq(health.connection));
            let before = lock_row(tx, query).await?;
            if before.as_ref().is_some_and(|row| row.state == health.state) {
                return Ok(Change::unchanged(false));
            }
            let row = connection_health::Model {
                organization_id: tx.organization(),
                connection_id: health.connection,
                state: health.state,
                reasons: reasons.clone(),
                since_at: tx.now_after(before.as_ref().map(|row| row.since_at)),
            };
            let entry = health_event(before.as_ref(), &row);
            match before {
                Some(_) => {
                    save_row::<connection_health::Entity, connection_health::ActiveModel>(tx, row)
                        .await?
                }
                None => {
                    let row = connection_health::ActiveModel::from(row);
                    connection_health::Entity::insert(row).exec_without_returning(&tx.db).await?;
                }
            }
            Ok(Change::recorded(true, entry))
        })
    })
    .await
}

/// Stores the first state of a connection, without an event.
async fn store_first(cx: &Cx, health: &HealthAssessment, reasons: Value) -> Result<()> {
    let row = connection_health::Model {
        organization_id: cx.organization(),
        connection_id: health.connection,
        state: health.state,
        reasons,
        since_at: cx.app.clock.now(),
    };
    connection_health::Entity::insert(connection_health::ActiveModel::from(row))
        .on_conflict(OnConflict::new().do_nothing().to_owned())
        .exec_without_returning(&cx.app.store.write)
        .await?;
    Ok(())
}

/// Stores other reasons for the state that is known, without an event.
async fn store_reasons(cx: &Cx, health: &HealthAssessment, reasons: Value) -> Result<()> {
    connection_health::Entity::update_many()
        .col_expr(connection_health::Column::Reasons, Expr::value(reasons))
        .filter(connection_health::Column::OrganizationId.eq(cx.organization()))
        .filter(connection_health::Column::ConnectionId.eq(health.connection))
        .filter(connection_health::Column::State.eq(health.state))
        .exec(&cx.app.store.write)
        .await?;
    Ok(())
}

fn health_event(
    before: Option<&connection_health::Model>,
    row: &connection_health::Model,
) -> NewEvent {
    let describe = |row: &connection_health::Model| {
        json!({
            "health": row.state.to_value(), "reasons": row.reasons,
        })
    };
    NewEvent {
        kind: EventKind::ConnectionHealthChanged,
        subject: EventSubject { kind: "connection", id: row.connection_id },
        connection: Some(row.connection_id),
        at: row.since_at,
        before: before.map(describe),
        after: Some(describe(row)),
        population: 0,
        name: None,
    }
}

/// A figure of the whole installation: the metric's name, its label, the label's value, and how
/// many.
pub type InstallationMetric = (&'static str, &'static str, String, u64);

/// Metrics of the whole installation that are read from the database, for its operator.
pub async fn read_installation_metrics(app: &App) -> Result<Vec<InstallationMetric>> {
    let states = State::iter().map(|state| state.to_value());
    let causes = failure::Cause::iter().map(|cause| cause.to_value());
    let running = [sync_run::State::Queued, sync_run::State::Running, sync_run::State::Waiting];
    let mut figures = Vec::new();
    let all: [(&str, &str, Vec<String>, &str); 4] = [
        (
            "rolecall_connections",
            "state",
            states.collect(),
            "SELECT coalesce(h.state, CASE WHEN c.status = 'ACTIVE' THEN 'HEALTHY' \
             ELSE 'INACTIVE' END) AS word, \
             count(*) AS n FROM connection c LEFT \
             JOIN connection_health h ON h.organization_id = c.organization_id \
             AND h.connection_id = c.id WHERE c.deleted_at IS NULL GROUP BY word",
        ),
        (
            "rolecall_failures_unfinished",
            "cause",
            causes.collect(),
            "SELECT cause AS word, count(*) AS n FROM failure WHERE finished_at IS NULL GROUP BY \
             cause",
        ),
        (
            "rolecall_sync_runs_unfinished",
            "state",
            running.iter().map(ActiveEnum::to_value).collect(),
            "SELECT state AS word, count(*) AS n FROM sync_run WHERE finished_at IS NULL GROUP BY \
             state",
        ),
        (
            "rolecall_ledger_unsealed",
            "state",
            vec!["UNSEALED".into()],
            "SELECT 'UNSEALED' AS word, count(*) AS n FROM unsealed",
        ),
    ];
    for (metric, label, names, text) in all {
        let reason = "metrics of the whole installation";
        let rows = app.statement_for_all_organizations(text, [], reason);
        let rows = LabelCountRow::find_by_statement(rows);
        let found: HashMap<String, i64> =
            rows.all(&app.store.read).await?.into_iter().map(|row| (row.word, row.n)).collect();
        // Zeros are reported as well: a missing metric looks like a server that is down.
        figures.extend(names.into_iter().map(|name| {
            let n = found.get(&name).copied().unwrap_or_default().unsigned_abs();
            (metric, label, name, n)
        }));
    }
    Ok(figures)
}

#[derive(FromQueryResult)]
struct LabelCountRow {
    word: String,
    n: i64,
}
