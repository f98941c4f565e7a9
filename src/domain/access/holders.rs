//! The access of a role: the accounts that hold it.

use std::collections::BTreeSet;

use sea_orm::{ConnectionTrait, FromQueryResult};
use uuid::Uuid;

use super::AsOf;
use crate::auth::policy::Action;
use crate::context::SqlBuilder;
use crate::context::{Cx, Tx};
use crate::domain::access::account_union::AccountUnion;
use crate::domain::paging;
use crate::domain::paging::{Keyset, Slice};
use crate::error::Result;

/// SQL: the sources of the holders of a role, or of any role: rows of a group, or of a connection
/// whose accounts all hold it. From each group only its own nestings are read (`{nested}`).
const SELECT_SOURCES: &str = r#"
WITH RECURSIVE source(group_id, connection_id, depth) AS (
  SELECT x.group_id, CASE WHEN x.match_attribute = 'EVERYBODY' THEN x.connection_id END, 0
  FROM role_mapping x
    WHERE x.organization_id = $1{of x} AND {open x} AND (x.expires_at IS NULL OR x.expires_at > $2)
  UNION
  SELECT n.member_id, {no_id}, s.depth + 1 FROM source s {nested}
    WHERE s.depth < {depth})"#;

/// SQL: the condition that an interval is about `role`, which is the value `$4`; empty if there is
/// none.
fn role_condition(alias: &str, role: Option<Uuid>) -> String {
    role.map_or_else(String::new, |_| format!(" AND {alias}.role_id = $4"))
}

/// The sources of a role, or of any role: what is mapped to it, nested groups included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::domain) struct RoleSources {
    pub groups: BTreeSet<Uuid>,
    /// Connections whose accounts all hold it.
    pub connections: BTreeSet<Uuid>,
}

pub(in crate::domain) async fn find_sources<C: ConnectionTrait>(
    cx: &Cx,
    db: &C,
    role: Option<Uuid>,
    moment: AsOf,
) -> Result<RoleSources> {
    let nested = paging::join_each(
        cx.backend(),
        "group_nesting",
        "n",
        "n.organization_id = $1 AND n.group_id = s.group_id AND {open n}",
    );
    let text = format!("{SELECT_SOURCES} SELECT DISTINCT group_id, connection_id FROM source")
        .replace("{nested}", &nested)
        .replace("{of x}", &role_condition("x", role));
    let mut sql = begin_role_sql(cx, role, moment);
    sql.push(&moment.fill_template(&text, cx.backend()));
    read_sources(cx, db, sql).await
}

/// [`AsOf::begin_sql`], with the role as `$4` where the statement is about one.
fn begin_role_sql(cx: &Cx, role: Option<Uuid>, moment: AsOf) -> SqlBuilder {
    let mut sql = moment.begin_sql(cx);
    if let Some(role) = role {
        sql.bind(role);
    }
    sql
}

/// Reads rows of a group, or of a connection with all of its accounts.
pub(super) async fn read_sources<C: ConnectionTrait>(
    cx: &Cx,
    db: &C,
    sql: SqlBuilder,
) -> Result<RoleSources> {
    let mut sources = RoleSources::default();
    // A row without either is a mapping that waits for its group.
    for row in HolderSourceRow::find_by_statement(cx.build_statement(sql)).all(db).await? {
        sources.groups.extend(row.group_id);
        sources.connections.extend(row.connection_id);
    }
    Ok(sources)
}

/// SQL: the accounts of these sources and of direct grants of the role, or of any role, as rows of
/// `user_id`, one for each way to hold it; and the statement that its values are bound to. A kind
/// of source that is empty is left out, because the database would search all rows for it.
pub(super) fn holder_ways(
    cx: &Cx,
    role: Option<Uuid>,
    sources: &RoleSources,
    moment: AsOf,
) -> (String, SqlBuilder) {
    let mut sql = begin_role_sql(cx, role, moment);
    let mut text = format!(
        "SELECT g.user_id FROM role_grant g WHERE g.organization_id = $1{} AND {{open g}} \
           AND (g.expires_at IS NULL OR g.expires_at > $2)",
        role_condition("g", role)
    );
    if !sources.groups.is_empty() {
        let among = sql.bind_ids(cx.backend(), &sources.groups);
        text.push_str(&format!(
            " UNION ALL SELECT m.user_id FROM membership m \
               WHERE m.organization_id = $1 AND m.group_id {among} AND {{open m}} \
               AND (m.expires_at IS NULL OR m.expires_at > $2)"
        ));
    }
    if !sources.connections.is_empty() {
        let among = sql.bind_ids(cx.backend(), &sources.connections);
        text.push_str(&format!(
            " UNION ALL SELECT o.id FROM {{owned}} AS o WHERE o.connection_id {among}"
        ));
    }
    (moment.fill_template(&text, cx.backend()), sql)
}

/// Whether any account holds `role` as this write sees it.
pub(in crate::domain) async fn has_holder(cx: &Cx, tx: &Tx<'_>, role: Uuid) -> Result<bool> {
    has_holder_at(cx, tx, role, AsOf::Now).await
}

/// The same at another moment.
pub(in crate::domain) async fn has_holder_at(
    cx: &Cx,
    tx: &Tx<'_>,
    role: Uuid,
    moment: AsOf,
) -> Result<bool> {
    let moment = moment.pin_instant(cx);
    let sources = find_sources(cx, &tx.db, Some(role), moment).await?;
    let (ways, mut sql) = holder_ways(cx, Some(role), &sources, moment);
    sql.push(&format!(
        "SELECT w.user_id FROM ({ways}) AS w {} LIMIT 1",
        moment.only_usable("w.user_id")
    ));
    Ok(tx.db.query_one_raw(cx.build_statement(sql)).await?.is_some())
}

/// How many accounts hold `role`, or held it; if `role` is none, any role.
pub async fn count_holders(cx: &Cx, role: Option<Uuid>, moment: AsOf) -> Result<u64> {
    cx.allow(Action::ReadIam, None)?;
    let moment = moment.pin_instant(cx);
    let sources = find_sources(cx, cx.db(), role, moment).await?;
    let (ways, mut sql) = holder_ways(cx, role, &sources, moment);
    sql.push(&format!(
        "SELECT count(DISTINCT w.user_id) AS total FROM ({ways}) AS w {}",
        moment.only_usable("w.user_id")
    ));
    let row = cx.db().query_one_raw(cx.build_statement(sql)).await?;
    let total: i64 = row.map_or(Ok(0), |row| row.try_get("", "total"))?;
    Ok(total.unsigned_abs())
}

#[derive(FromQueryResult)]
struct HolderSourceRow {
    group_id: Option<Uuid>,
    connection_id: Option<Uuid>,
}

/// A page of the accounts that hold `role`, or held it, by id; if `role` is none, any role. Each
/// source is read along an index no farther than the page needs, so the cost of a page does not
/// depend on how many other accounts hold the role.
pub async fn list_holders(
    cx: &Cx,
    role: Option<Uuid>,
    moment: AsOf,
    keyset: &Keyset<Uuid>,
) -> Result<Slice<Uuid>> {
    cx.allow(Action::ReadIam, None)?;
    list_holders_unchecked(cx, role, moment, keyset).await
}

/// [`list_holders`] for a caller that was allowed to ask in another way.
pub(super) async fn list_holders_unchecked(
    cx: &Cx,
    role: Option<Uuid>,
    moment: AsOf,
    keyset: &Keyset<Uuid>,
) -> Result<Slice<Uuid>> {
    let moment = moment.pin_instant(cx);
    let sources = find_sources(cx, cx.db(), role, moment).await?;
    let sql = begin_role_sql(cx, role, moment);
    let (low, high) = if keyset.descending {
        (keyset.before, keyset.after)
    } else {
        (keyset.after, keyset.before)
    };
    let descending = keyset.descending != keyset.backward;
    let mut walk = AccountUnion::new(sql, low, high, descending, keyset.limit + 1);
    let usable = |id: &str| {
        format!(r#"JOIN "user" u ON u.organization_id = $1 AND u.id = {id} AND {{usable}}"#)
    };
    walk.add_arm(
        "g.user_id",
        &format!(
            "role_grant g {} WHERE g.organization_id = $1{} AND {{open g}} AND (g.expires_at IS \
             NULL OR g.expires_at > $2)",
            usable("g.user_id"),
            role_condition("g", role)
        ),
    );
    walk.add_members(
        cx.backend(),
        &sources.groups,
        &usable("m.user_id"),
        &moment
            .open_condition_parts("m")
            .iter()
            .map(|part| format!("{part} AND (m.expires_at IS NULL OR m.expires_at > $2)"))
            .collect::<Vec<_>>(),
    );
    if !sources.connections.is_empty() {
        let among = walk.bind_ids(cx.backend(), &sources.connections);
        walk.add_arm(
            "o.id",
            &format!("{{owned}} AS o {} WHERE o.connection_id {among}", usable("o.id")),
        );
    }
    let mut rows: Vec<Uuid> = walk.read_accounts(cx, cx.db(), moment).await?.into_iter().collect();
    if descending {
        rows.reverse();
    }
    Ok(paging::to_slice(rows, keyset))
}
