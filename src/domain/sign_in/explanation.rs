//! Which sign-in said that an account is in a group.

use chrono::{DateTime, Utc};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use crate::auth::policy::Action;
use crate::context::Cx;
use crate::error::Result;

/// A membership that a sign-in made.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct ClaimedMembership {
    pub connection_id: Uuid,
    /// The name of the connection.
    pub name: String,
    /// When the latest list was issued that has the group.
    pub said_at: DateTime<Utc>,
    /// From then on it gives no role; none = it has no planned end.
    pub expires_at: Option<DateTime<Utc>>,
}

/// What said that `user` is in `group`, if a sign-in did by the event `joined_by`; none for a
/// membership that SCIM or a person made.
///
/// # Errors
/// Errors of the database.
pub async fn claim_behind(
    cx: &Cx,
    user: Uuid,
    group: Uuid,
    joined_by: Uuid,
) -> Result<Option<ClaimedMembership>> {
    cx.allow(Action::ReadIam, None)?;
    let text = "SELECT c.id AS connection_id, c.name, m.expires_at, \
                CASE WHEN m.until IS NULL THEN coalesce(s.listed_at, m.since) ELSE m.since END \
                AS said_at FROM membership m \
                JOIN connection c ON c.organization_id = $1 AND c.id = m.claimed_by \
                LEFT JOIN sign_in s ON s.organization_id = $1 AND s.user_id = m.user_id \
                AND s.connection_id = m.claimed_by \
                WHERE m.organization_id = $1 AND m.user_id = $2 AND m.group_id = $3 \
                AND m.opened_by = $4 LIMIT 1";
    let values = [user.into(), group.into(), joined_by.into()];
    let found = ClaimedMembership::find_by_statement(cx.statement(text, values));
    Ok(found.one(cx.db()).await?)
}
