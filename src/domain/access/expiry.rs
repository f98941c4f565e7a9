//! Planned ends: mappings and grants whose time has passed give nothing from that instant on; a little later their
//! intervals are closed, each by an event that says so.

use chrono::{DateTime, Utc};
use sea_orm::{FromQueryResult, Statement};
use std::sync::Arc;
use uuid::Uuid;

use super::{grant, mapping};
use crate::context::{App, Change, Cx};
use crate::error::Result;

/// Closed in one sweep.
const AT_ONCE: u64 = 500;

#[derive(FromQueryResult)]
struct Due {
    organization_id: Uuid,
    id: Uuid,
}

/// Closes what has passed its planned end, in every organization; returns how many.
pub async fn close_due(app: &Arc<App>) -> Result<u64> {
    let mut closed = 0;
    for (table, id) in [("role_mapping", "mapping_id"), ("role_grant", "id")] {
        for due in due(app, table, id).await? {
            let cx = &Cx::system(app.clone(), due.organization_id);
            closed += u64::from(
                cx.write(move |tx| {
                    Box::pin(async move {
                        match table {
                            "role_mapping" => told(mapping::expire(tx, due.id).await?),
                            _ => told(grant::expire(tx, due.id).await?),
                        }
                    })
                })
                .await?,
            );
        }
    }
    Ok(closed)
}

/// Whether there was something to end.
fn told<T>(change: Change<T>) -> Result<Change<bool>> {
    let changed = change.entry.is_some();
    Ok(change.map(|_| changed))
}

async fn due(app: &App, table: &str, id: &str) -> Result<Vec<Due>> {
    let text = format!(
        "SELECT organization_id, {id} AS id FROM {table} WHERE until IS NULL AND expires_at <= $1 \
         ORDER BY expires_at LIMIT {AT_ONCE}"
    );
    let now: DateTime<Utc> = app.clock.now();
    let statement = Statement::from_sql_and_values(app.store.backend(), text, [now.into()]);
    Ok(Due::find_by_statement(statement).all(&app.store.read).await?)
}
