//! Who holds which role, and through what: computed from current memberships, mappings and grants at every
//! question, never stored. [`DEFINITION`] is the one place that says what access is.

use sea_orm::{ConnectionTrait, FromQueryResult, Statement};
use std::collections::HashMap;
use uuid::Uuid;

use super::group::MAX_NESTING;
use super::list;
use crate::authz::Action;
use crate::context::{Cx, Tx};
use crate::error::Result;

/// One way in which somebody holds a role.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct Holding {
    pub user_id: Uuid,
    pub role_id: Uuid,
    /// The mapping that gives it; none for a direct grant.
    pub mapping_id: Option<Uuid>,
    /// The group that is mapped.
    pub group_id: Option<Uuid>,
    /// The group that the account is itself in; another than `group_id` where groups stand in groups.
    pub member_of: Option<Uuid>,
    /// The direct grant that gives it; none for a mapping.
    pub grant_id: Option<Uuid>,
}

/// Access, as rows of [`Holding`]: `$1` the organization, `$2` the instant for planned ends; `{users}` restricts
/// whose. Suspended and deleted accounts hold nothing.
const DEFINITION: &str = r#"
WITH RECURSIVE account(id) AS (
  SELECT u.id FROM "user" u WHERE u.organization_id = $1 AND u.active = TRUE AND u.deleted_at IS NULL AND u.id {users}),
reach(user_id, group_id, member_of, depth) AS (
  SELECT m.user_id, m.group_id, m.group_id, 0 FROM account a
    JOIN membership m ON m.organization_id = $1 AND m.user_id = a.id AND m.until IS NULL
  UNION
  SELECT r.user_id, n.group_id, r.member_of, r.depth + 1 FROM reach r
    JOIN group_nesting n ON n.organization_id = $1 AND n.member_id = r.group_id AND n.until IS NULL
    WHERE r.depth < {depth})
SELECT r.user_id, x.role_id, x.mapping_id, r.group_id, r.member_of, {no_id} AS grant_id FROM reach r
  JOIN role_mapping x ON x.organization_id = $1 AND x.group_id = r.group_id AND x.until IS NULL
    AND (x.expires_at IS NULL OR x.expires_at > $2)
  JOIN role o ON o.organization_id = $1 AND o.id = x.role_id AND o.deleted_at IS NULL
UNION
SELECT g.user_id, g.role_id, {no_id}, {no_id}, {no_id}, g.id FROM account a
  JOIN role_grant g ON g.organization_id = $1 AND g.user_id = a.id AND g.until IS NULL
    AND (g.expires_at IS NULL OR g.expires_at > $2)
  JOIN role o ON o.organization_id = $1 AND o.id = g.role_id AND o.deleted_at IS NULL
ORDER BY 1, 2"#;

/// What each of these accounts holds now.
pub async fn of_users(cx: &Cx, users: &[Uuid]) -> Result<HashMap<Uuid, Vec<Holding>>> {
    cx.allow(Action::ReadIam, None)?;
    let no_id = if cx.backend() == sea_orm::DbBackend::Postgres { "NULL::uuid" } else { "NULL" };
    let text = DEFINITION
        .replace("{users}", &list::among(cx.backend(), 3))
        .replace("{depth}", &MAX_NESTING.to_string())
        .replace("{no_id}", no_id);
    let values = [cx.organization().into(), cx.app.clock.now().into(), list::ids(users)];
    let rows =
        Holding::find_by_statement(Statement::from_sql_and_values(cx.backend(), text, values)).all(cx.db()).await?;
    let mut holdings: HashMap<Uuid, Vec<Holding>> = HashMap::new();
    for row in rows {
        holdings.entry(row.user_id).or_default().push(row);
    }
    Ok(holdings)
}

/// The same access seen from a role: `$1` the organization, `$2` the instant for planned ends, `$3` the role. Rows
/// of `user_id`, once for each way.
const HOLDERS: &str = r#"
WITH RECURSIVE source(group_id, depth) AS (
  SELECT x.group_id, 0 FROM role_mapping x
    WHERE x.organization_id = $1 AND x.role_id = $3 AND x.until IS NULL AND x.group_id IS NOT NULL
      AND (x.expires_at IS NULL OR x.expires_at > $2)
  UNION
  SELECT n.member_id, s.depth + 1 FROM source s
    JOIN group_nesting n ON n.organization_id = $1 AND n.group_id = s.group_id AND n.until IS NULL
    WHERE s.depth < {depth}),
way(user_id) AS (
  SELECT m.user_id FROM source s
    JOIN membership m ON m.organization_id = $1 AND m.group_id = s.group_id AND m.until IS NULL
  UNION ALL
  SELECT g.user_id FROM role_grant g WHERE g.organization_id = $1 AND g.role_id = $3 AND g.until IS NULL
    AND (g.expires_at IS NULL OR g.expires_at > $2))
SELECT w.user_id FROM way w
  JOIN "user" u ON u.organization_id = $1 AND u.id = w.user_id AND u.active = TRUE AND u.deleted_at IS NULL"#;

/// Whether anybody holds `role` as this write sees it.
pub(super) async fn has_holder(cx: &Cx, tx: &Tx<'_>, role: Uuid) -> Result<bool> {
    let text = format!("{} LIMIT 1", HOLDERS.replace("{depth}", &MAX_NESTING.to_string()));
    let values = [cx.organization().into(), tx.now_after(None).into(), role.into()];
    Ok(tx.db.query_one_raw(Statement::from_sql_and_values(cx.backend(), text, values)).await?.is_some())
}
