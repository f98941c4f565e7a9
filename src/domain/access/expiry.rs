//! Planned ends: mappings and grants whose time has passed give nothing from that instant on; a
//! little later their intervals are closed, each by an event that says so.

use chrono::{DateTime, Utc};
use sea_orm::FromQueryResult;
use std::sync::Arc;
use uuid::Uuid;

use crate::context::{App, Change, Cx};
use crate::domain::access::{role_grant, role_mapping};
use crate::error::Result;

/// The most mappings, and the most grants, that are closed in one sweep.
const BATCH_SIZE: u64 = 500;

#[derive(FromQueryResult)]
struct ExpiredRow {
    organization_id: Uuid,
    id: Uuid,
}

/// Closes the mappings and grants whose planned end has passed, in every organization; returns how
/// many.
pub async fn close_due(app: &Arc<App>) -> Result<u64> {
    let mut closed = 0;
    for (table, id) in [("role_mapping", "mapping_id"), ("role_grant", "id")] {
        for due in list_due(app, table, id).await? {
            let cx = &Cx::system(app.clone(), due.organization_id);
            closed += u64::from(
                cx.write(move |tx| {
                    Box::pin(async move {
                        match table {
                            "role_mapping" => {
                                has_ended(role_mapping::expire_mapping(tx, due.id).await?)
                            }
                            _ => has_ended(role_grant::expire_grant(tx, due.id).await?),
                        }
                    })
                })
                .await?,
            );
        }
    }
    Ok(closed)
}

/// Whether the change ended something.
fn has_ended<T>(change: Change<T>) -> Result<Change<bool>> {
    let changed = change.entry.is_some();
    Ok(change.map(|_| changed))
}

async fn list_due(app: &App, table: &str, id: &str) -> Result<Vec<ExpiredRow>> {
    let text = format!(
        "SELECT organization_id, {id} AS id FROM {table} WHERE until IS NULL AND expires_at <= $1 \
         ORDER BY expires_at LIMIT {BATCH_SIZE}"
    );
    let now: DateTime<Utc> = app.clock.now();
    let reason = "which mappings and grants have expired";
    let statement = app.statement_for_all_organizations(text, [now.into()], reason);
    Ok(ExpiredRow::find_by_statement(statement).all(&app.store.read).await?)
}
