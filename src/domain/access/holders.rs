//! Access seen from a role.

use std::collections::BTreeSet;

use sea_orm::{ConnectionTrait, FromQueryResult, Statement, Value};
use uuid::Uuid;

use super::Moment;
use crate::authz::Action;
use crate::context::{Cx, Tx};
use crate::domain::list::{self, Keyset, Slice};
use crate::error::Result;

/// Sources read in one statement; SQLite joins at most 500 selects.
const AT_ONCE: usize = 100;

/// Where a role's holders come from: `$4` the role. Rows of a group, or of a connection all of whose accounts hold it.
const SOURCES: &str = r#"
WITH RECURSIVE source(group_id, connection_id, depth) AS (
  SELECT x.group_id, CASE WHEN x.match_attribute = 'EVERYBODY' THEN x.connection_id END, 0 FROM role_mapping x
    WHERE x.organization_id = $1 AND x.role_id = $4 AND {open x} AND (x.expires_at IS NULL OR x.expires_at > $2)
  UNION
  SELECT n.member_id, {no_id}, s.depth + 1 FROM source s
    JOIN group_nesting n ON n.organization_id = $1 AND n.group_id = s.group_id AND {open n}
    WHERE s.depth < {depth})"#;

/// What a role is mapped to, groups within groups included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sources {
    pub groups: BTreeSet<Uuid>,
    /// All of whose accounts hold it.
    pub connections: BTreeSet<Uuid>,
}

pub(super) async fn sources<C: ConnectionTrait>(cx: &Cx, db: &C, role: Uuid, moment: Moment) -> Result<Sources> {
    let text = moment.fill(&format!("{SOURCES} SELECT DISTINCT group_id, connection_id FROM source"), cx.backend());
    let mut values = moment.values(cx);
    values.push(role.into());
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

/// The accounts of these sources and of direct grants of the role `$4`, as rows of `user_id`, once for each way; and
/// the statement's values. What there is nothing of is not asked for: it would be looked for everywhere.
pub(super) fn ways(cx: &Cx, role: Uuid, sources: &Sources, moment: Moment) -> (String, Vec<Value>) {
    let mut values = moment.values(cx);
    values.push(role.into());
    let mut text = "SELECT g.user_id FROM role_grant g WHERE g.organization_id = $1 AND g.role_id = $4 AND {open g} \
         AND (g.expires_at IS NULL OR g.expires_at > $2)"
        .to_owned();
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
    let sources = sources(cx, &tx.db, role, Moment::Now).await?;
    let (ways, values) = ways(cx, role, &sources, Moment::Now);
    let text = format!("SELECT w.user_id FROM ({ways}) AS w {} LIMIT 1", Moment::Now.only_usable("w.user_id"));
    Ok(tx.db.query_one_raw(Statement::from_sql_and_values(cx.backend(), text, values)).await?.is_some())
}

/// How many accounts hold `role`, or held it.
pub async fn count_holders(cx: &Cx, role: Uuid, moment: Moment) -> Result<u64> {
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

#[derive(FromQueryResult)]
struct Account {
    id: Uuid,
}

/// A page of the accounts that hold `role`, or held it, by id. Each source is walked along an index no farther than
/// the page needs, so a page costs the same whoever else holds the role.
pub async fn holders(cx: &Cx, role: Uuid, moment: Moment, keyset: &Keyset<Uuid>) -> Result<Slice<Uuid>> {
    cx.allow(Action::ReadIam, None)?;
    let mut values = moment.values(cx);
    values.push(role.into());
    let sources = sources(cx, cx.db(), role, moment).await?;

    let (low, high) = match keyset.descending {
        false => (keyset.after, keyset.before),
        true => (keyset.before, keyset.after),
    };
    let mut bounds = String::new();
    for (operator, bound) in [(">", low), ("<", high)] {
        if let Some(bound) = bound {
            values.push(bound.into());
            bounds.push_str(&format!(" AND {{id}} {operator} ${}", values.len()));
        }
    }
    let direction = if keyset.descending == keyset.backward { "ASC" } else { "DESC" };
    let limit = keyset.limit + 1;
    let arm = |id: &str, from: &str| {
        let bounds = bounds.replace("{id}", id);
        format!("SELECT * FROM (SELECT {id} AS id FROM {from}{bounds} ORDER BY {id} {direction} LIMIT {limit}) AS arm")
    };
    let granted = arm(
        "g.user_id",
        r#"role_grant g JOIN "user" u ON u.organization_id = $1 AND u.id = g.user_id AND {usable}
           WHERE g.organization_id = $1 AND g.role_id = $4 AND {open g} AND (g.expires_at IS NULL OR g.expires_at > $2)"#,
    );
    let mut found = BTreeSet::new();
    let mut arms = vec![granted];
    let sources = sources
        .groups
        .into_iter()
        .map(|group| {
            (
                group,
                "m.user_id",
                r#"membership m JOIN "user" u ON u.organization_id = $1 AND u.id = m.user_id AND {usable}
                WHERE m.organization_id = $1 AND {open m} AND m.group_id = "#,
            )
        })
        .chain(sources.connections.into_iter().map(|connection| {
            (
                connection,
                "o.id",
                r#"{owned} AS o JOIN "user" u ON u.organization_id = $1 AND u.id = o.id AND {usable}
                WHERE o.connection_id = "#,
            )
        }));
    for (source, id, from) in sources {
        if arms.len() >= AT_ONCE {
            found.extend(read(cx, moment, &mut arms, &values).await?);
        }
        values.push(source.into());
        arms.push(arm(id, &format!("{from}${}", values.len())));
    }
    found.extend(read(cx, moment, &mut arms, &values).await?);
    let mut rows: Vec<Uuid> = found.into_iter().collect();
    if direction == "DESC" {
        rows.reverse();
    }
    Ok(list::cut(rows, keyset))
}

async fn read(cx: &Cx, moment: Moment, arms: &mut Vec<String>, values: &[Value]) -> Result<Vec<Uuid>> {
    let text = moment.fill(&std::mem::take(arms).join(" UNION ALL "), cx.backend());
    let statement = Statement::from_sql_and_values(cx.backend(), text, values.iter().cloned());
    let rows = Account::find_by_statement(statement).all(cx.db()).await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}
