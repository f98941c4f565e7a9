//! Access seen from a role.

use std::collections::BTreeSet;

use sea_orm::{ConnectionTrait, FromQueryResult, Statement, Value};
use uuid::Uuid;

use super::Moment;
use super::walk::Walk;
use crate::authz::Action;
use crate::context::{Cx, Tx};
use crate::domain::list::{self, Keyset, Slice};
use crate::error::Result;

/// Where the holders of a role, or of any, come from. Rows of a group, or of a connection all of whose accounts hold it.
const SOURCES: &str = r#"
WITH RECURSIVE source(group_id, connection_id, depth) AS (
  SELECT x.group_id, CASE WHEN x.match_attribute = 'EVERYBODY' THEN x.connection_id END, 0 FROM role_mapping x
    WHERE x.organization_id = $1{of x} AND {open x} AND (x.expires_at IS NULL OR x.expires_at > $2)
  UNION
  SELECT n.member_id, {no_id}, s.depth + 1 FROM source s
    JOIN group_nesting n ON n.organization_id = $1 AND n.group_id = s.group_id AND {open n}
    WHERE s.depth < {depth})"#;

/// Who holds this role, or any where there is none: the condition on an interval, whose fourth value the role is.
fn of(alias: &str, role: Option<Uuid>) -> String {
    role.map_or_else(String::new, |_| format!(" AND {alias}.role_id = $4"))
}

/// What a role, or any, is mapped to, groups within groups included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sources {
    pub groups: BTreeSet<Uuid>,
    /// All of whose accounts hold it.
    pub connections: BTreeSet<Uuid>,
}

pub(super) async fn sources<C: ConnectionTrait>(
    cx: &Cx,
    db: &C,
    role: Option<Uuid>,
    moment: Moment,
) -> Result<Sources> {
    let text =
        format!("{SOURCES} SELECT DISTINCT group_id, connection_id FROM source").replace("{of x}", &of("x", role));
    let text = moment.fill(&text, cx.backend());
    let mut values = moment.values(cx);
    values.extend(role.map(Value::from));
    read_sources(cx, db, text, values).await
}

/// Reads rows of a group, or of a connection all of whose accounts are meant.
pub(super) async fn read_sources<C: ConnectionTrait>(
    cx: &Cx,
    db: &C,
    text: String,
    values: Vec<Value>,
) -> Result<Sources> {
    let mut sources = Sources::default();
    // One without either is a mapping that waits for its group.
    for row in Source::find_by_statement(Statement::from_sql_and_values(cx.backend(), text, values)).all(db).await? {
        sources.groups.extend(row.group_id);
        sources.connections.extend(row.connection_id);
    }
    Ok(sources)
}

/// The accounts of these sources and of direct grants of the role, or of any, as rows of `user_id`, once for each way;
/// and the statement's values. What there is nothing of is not asked for: it would be looked for everywhere.
pub(super) fn ways(cx: &Cx, role: Option<Uuid>, sources: &Sources, moment: Moment) -> (String, Vec<Value>) {
    let mut values = moment.values(cx);
    values.extend(role.map(Value::from));
    let mut text = format!(
        "SELECT g.user_id FROM role_grant g WHERE g.organization_id = $1{} AND {{open g}} \
           AND (g.expires_at IS NULL OR g.expires_at > $2)",
        of("g", role)
    );
    if !sources.groups.is_empty() {
        values.push(list::ids(&sources.groups));
        let among = list::among(cx.backend(), values.len());
        text.push_str(&format!(
            " UNION ALL SELECT m.user_id FROM membership m \
               WHERE m.organization_id = $1 AND m.group_id {among} AND {{open m}}"
        ));
    }
    if !sources.connections.is_empty() {
        values.push(list::ids(&sources.connections));
        let among = list::among(cx.backend(), values.len());
        text.push_str(&format!(" UNION ALL SELECT o.id FROM {{owned}} AS o WHERE o.connection_id {among}"));
    }
    (moment.fill(&text, cx.backend()), values)
}

/// Whether anybody holds `role` as this write sees it.
pub(in crate::domain) async fn has_holder(cx: &Cx, tx: &Tx<'_>, role: Uuid) -> Result<bool> {
    let sources = sources(cx, &tx.db, Some(role), Moment::Now).await?;
    let (ways, values) = ways(cx, Some(role), &sources, Moment::Now);
    let text = format!("SELECT w.user_id FROM ({ways}) AS w {} LIMIT 1", Moment::Now.only_usable("w.user_id"));
    Ok(tx.db.query_one_raw(Statement::from_sql_and_values(cx.backend(), text, values)).await?.is_some())
}

/// How many accounts hold `role`, or any role where none is named, or held it.
pub async fn count_holders(cx: &Cx, role: Option<Uuid>, moment: Moment) -> Result<u64> {
    cx.allow(Action::ReadIam, None)?;
    let sources = sources(cx, cx.db(), role, moment).await?;
    let (ways, values) = ways(cx, role, &sources, moment);
    let text =
        format!("SELECT count(DISTINCT w.user_id) AS total FROM ({ways}) AS w {}", moment.only_usable("w.user_id"));
    let row = cx.db().query_one_raw(Statement::from_sql_and_values(cx.backend(), text, values)).await?;
    let total: i64 = row.map_or(Ok(0), |row| row.try_get("", "total"))?;
    Ok(total.unsigned_abs())
}

#[derive(FromQueryResult)]
struct Source {
    group_id: Option<Uuid>,
    connection_id: Option<Uuid>,
}

/// A page of the accounts that hold `role`, or any role where none is named, or held it, by id. Each source is walked
/// along an index no farther than the page needs, so a page costs the same whoever else holds the role.
pub async fn holders(cx: &Cx, role: Option<Uuid>, moment: Moment, keyset: &Keyset<Uuid>) -> Result<Slice<Uuid>> {
    cx.allow(Action::ReadIam, None)?;
    let sources = sources(cx, cx.db(), role, moment).await?;
    let mut values = moment.values(cx);
    values.extend(role.map(Value::from));
    let (low, high) = match keyset.descending {
        false => (keyset.after, keyset.before),
        true => (keyset.before, keyset.after),
    };
    let descending = keyset.descending != keyset.backward;
    let mut walk = Walk::new(values, low, high, descending, keyset.limit + 1);
    let usable = |id: &str| format!(r#"JOIN "user" u ON u.organization_id = $1 AND u.id = {id} AND {{usable}}"#);
    walk.arm(
        "g.user_id",
        &format!(
            "role_grant g {} WHERE g.organization_id = $1{} AND {{open g}} AND (g.expires_at IS NULL OR g.expires_at > $2)",
            usable("g.user_id"),
            of("g", role)
        ),
    );
    walk.members(cx.backend(), &sources.groups, &usable("m.user_id"), &moment.parts("m"));
    if !sources.connections.is_empty() {
        let among = walk.among(cx.backend(), &sources.connections);
        walk.arm("o.id", &format!("{{owned}} AS o {} WHERE o.connection_id {among}", usable("o.id")));
    }
    let mut rows: Vec<Uuid> = walk.read(cx, cx.db(), moment).await?.into_iter().collect();
    if descending {
        rows.reverse();
    }
    Ok(list::cut(rows, keyset))
}
