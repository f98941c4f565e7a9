//! Memberships that SCIM and people made and that sign-in claims set aside: they come back when the
//! organization leaves the mode in which claims say who is in which group.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use entity::assertion_source;
use sea_orm::sea_query::LockType;
use sea_orm::{ConnectionTrait, DbBackend, FromQueryResult, QueryOrder, QuerySelect};
use uuid::Uuid;

use crate::context::Tx;
use crate::domain::interval;
use crate::domain::interval::ClaimedInterval;
use crate::error::Result;

/// Memberships that one statement opens again.
const ROWS_PER_STATEMENT: usize = 500;

/// Makes sign-ins wait until a change of the mode is done: each of them locks its source.
pub(in crate::domain) async fn lock_sources(tx: &Tx<'_>) -> Result<()> {
    if tx.db.get_database_backend() == DbBackend::Postgres {
        let query = tx.find::<assertion_source::Entity>();
        let query = query.order_by_asc(assertion_source::Column::ConnectionId);
        query.lock(LockType::Update).all(&tx.db).await?;
    }
    Ok(())
}

#[derive(FromQueryResult)]
struct TouchedGroup {
    group_id: Uuid,
}

#[derive(FromQueryResult)]
struct AsideRow {
    group_id: Uuid,
    user_id: Uuid,
}

/// Ends the memberships that claims made, and opens those again that claims set aside, as far as
/// the account and the group are still there. Returns the groups.
pub(in crate::domain) async fn return_memberships(
    tx: &Tx<'_>,
    now: DateTime<Utc>,
) -> Result<BTreeSet<Uuid>> {
    let text = "SELECT DISTINCT group_id FROM membership WHERE organization_id = $1 \
                AND until IS NULL AND claimed_by IS NOT NULL";
    let rows = TouchedGroup::find_by_statement(tx.statement(text, [])).all(&tx.db).await?;
    let mut groups: BTreeSet<Uuid> = rows.into_iter().map(|row| row.group_id).collect();
    let text = "UPDATE membership SET until = CASE WHEN since > $2 THEN since ELSE $2 END, \
                closed_by = $3 WHERE organization_id = $1 AND until IS NULL \
                AND claimed_by IS NOT NULL";
    tx.db.execute_raw(tx.statement(text, [now.into(), tx.event.into()])).await?;
    let text = r#"SELECT DISTINCT m.user_id, m.group_id FROM membership m
        JOIN "user" u ON u.organization_id = $1 AND u.id = m.user_id AND u.deleted_at IS NULL
        JOIN "group" g ON g.organization_id = $1 AND g.id = m.group_id AND g.deleted_at IS NULL
        WHERE m.organization_id = $1 AND m.set_aside = TRUE ORDER BY m.user_id, m.group_id"#;
    let aside = AsideRow::find_by_statement(tx.statement(text, [])).all(&tx.db).await?;
    groups.extend(aside.iter().map(|row| row.group_id));
    for rows in aside.chunk_by(|one, other| one.user_id == other.user_id) {
        for part in rows.chunks(ROWS_PER_STATEMENT) {
            let Some(first) = part.first() else { continue };
            let claimed =
                ClaimedInterval { user: first.user_id, connection: None, expires_at: None };
            let part = part.iter().map(|row| &row.group_id);
            interval::open_by_claims(tx, claimed, part, now).await?;
        }
    }
    let text = "UPDATE membership SET set_aside = FALSE WHERE organization_id = $1 \
                AND set_aside = TRUE";
    tx.db.execute_raw(tx.statement(text, [])).await?;
    if !groups.is_empty() {
        interval::raise_versions(tx, &groups, now).await?;
    }
    Ok(groups)
}
