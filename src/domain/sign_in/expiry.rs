//! Claims that are too old: the memberships that they made give no role from their planned end on;
//! a little later they are closed, by an event that says so.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use entity::{membership, user};
use sea_orm::{ColumnTrait, FromQueryResult, QueryFilter};
use serde_json::json;
use uuid::Uuid;

use crate::context::{App, Change, Cx};
use crate::domain::directory::user as account;
use crate::domain::interval;
use crate::error::Result;
use crate::ledger::{EventKind, EventSubject, NewEvent};

/// The most accounts whose old claims end in one sweep.
const BATCH_SIZE: u64 = 500;

#[derive(FromQueryResult)]
struct DueAccount {
    organization_id: Uuid,
    user_id: Uuid,
}

/// Ends the memberships whose claims are too old, in every organization; returns of how many
/// accounts.
///
/// # Errors
/// Errors of the database.
pub async fn end_old_claims(app: &Arc<App>) -> Result<u64> {
    let text = format!(
        "SELECT DISTINCT organization_id, user_id FROM (SELECT organization_id, user_id \
         FROM membership WHERE until IS NULL AND expires_at <= $1 ORDER BY expires_at \
         LIMIT {BATCH_SIZE}) AS due"
    );
    let now: DateTime<Utc> = app.clock.now();
    let reason = "whose claims of sign-ins are too old";
    let statement = app.statement_for_all_organizations(text, [now.into()], reason);
    let mut ended = 0;
    for due in DueAccount::find_by_statement(statement).all(&app.store.read).await? {
        let cx = &Cx::system(app.clone(), due.organization_id);
        ended += u64::from(end_claims_of(cx, due.user_id).await?);
    }
    Ok(ended)
}

async fn end_claims_of(cx: &Cx, id: Uuid) -> Result<bool> {
    cx.write(move |tx| {
        Box::pin(async move {
            let query = tx.find::<user::Entity>().filter(user::Column::Id.eq(id));
            let Some(account) = account::lock_user(tx, query).await? else {
                return Ok(Change::unchanged(false));
            };
            let query = tx.find::<membership::Entity>();
            let query = query.filter(membership::Column::UserId.eq(id));
            let query = query.filter(membership::Column::Until.is_null());
            let query = query.filter(membership::Column::ExpiresAt.lte(cx.app.clock.now()));
            let rows = crate::domain::lock_rows(tx, query).await?;
            let groups: BTreeSet<Uuid> = rows.iter().map(|row| row.group_id).collect();
            if groups.is_empty() {
                return Ok(Change::unchanged(false));
            }
            let latest = rows.iter().map(|row| row.since).max();
            let now = tx.now_after(latest.max(Some(account.updated_at)));
            interval::raise_versions(tx, &groups, now).await?;
            let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
            interval::close_by_claims(tx, &ids, now).await?;
            let entry = NewEvent {
                kind: EventKind::UserClaimsExpired,
                subject: EventSubject { kind: "user", id },
                connection: account.connection_id,
                at: now,
                before: Some(json!({ "groups": groups })),
                after: Some(json!({ "groups": [] })),
                population: 0,
                name: Some(account.display_name.as_ref().unwrap_or(&account.user_name).clone()),
            };
            Ok(Change::recorded(true, entry))
        })
    })
    .await
}
