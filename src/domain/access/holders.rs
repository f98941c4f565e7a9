//! Access seen from a role.

use std::collections::BTreeSet;

use sea_orm::{ConnectionTrait, FromQueryResult, Statement};
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

/// The accounts of those sources and of direct grants, once for each way.
const WAYS: &str = r#",
way(user_id) AS (
  SELECT m.user_id FROM source s JOIN membership m ON m.organization_id = $1 AND m.group_id = s.group_id AND {open m}
  UNION ALL
  SELECT o.id FROM source s JOIN {owned} AS o ON o.connection_id = s.connection_id
  UNION ALL
  SELECT g.user_id FROM role_grant g WHERE g.organization_id = $1 AND g.role_id = $4 AND {open g}
    AND (g.expires_at IS NULL OR g.expires_at > $2))
SELECT {what} FROM way w JOIN "user" u ON u.organization_id = $1 AND u.id = w.user_id AND {usable}"#;

/// Whether anybody holds `role` as this write sees it.
pub(in crate::domain) async fn has_holder(cx: &Cx, tx: &Tx<'_>, role: Uuid) -> Result<bool> {
    let text = format!("{SOURCES}{WAYS} LIMIT 1").replace("{what}", "w.user_id");
    let mut values = Moment::Now.values(cx);
    values.push(role.into());
    let statement = Statement::from_sql_and_values(cx.backend(), Moment::Now.fill(&text, cx.backend()), values);
    Ok(tx.db.query_one_raw(statement).await?.is_some())
}

/// How many accounts hold `role`, or held it.
pub async fn count_holders(cx: &Cx, role: Uuid, moment: Moment) -> Result<u64> {
    cx.allow(Action::ReadIam, None)?;
    let text = format!("{SOURCES}{WAYS}").replace("{what}", "count(DISTINCT w.user_id) AS total");
    let mut values = moment.values(cx);
    values.push(role.into());
    let statement = Statement::from_sql_and_values(cx.backend(), moment.fill(&text, cx.backend()), values);
    let row = cx.db().query_one_raw(statement).await?;
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
    let backend = cx.backend();
    let mut values = moment.values(cx);
    values.push(role.into());
    let text = moment.fill(&format!("{SOURCES} SELECT DISTINCT group_id, connection_id FROM source"), backend);
    let sources = Source::find_by_statement(Statement::from_sql_and_values(backend, text, values.clone()));
    let sources = sources.all(cx.db()).await?;

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
    let last = sources.len();
    for (index, source) in sources.into_iter().enumerate() {
        match source {
            Source { group_id: Some(group), .. } => {
                values.push(group.into());
                let from = format!(
                    r#"membership m JOIN "user" u ON u.organization_id = $1 AND u.id = m.user_id AND {{usable}}
                       WHERE m.organization_id = $1 AND m.group_id = ${} AND {{open m}}"#,
                    values.len()
                );
                arms.push(arm("m.user_id", &from));
            }
            Source { connection_id: Some(connection), .. } => {
                values.push(connection.into());
                let from = format!(
                    r#"{{owned}} AS o JOIN "user" u ON u.organization_id = $1 AND u.id = o.id AND {{usable}}
                       WHERE o.connection_id = ${}"#,
                    values.len()
                );
                arms.push(arm("o.id", &from));
            }
            // A mapping that waits for its group.
            _ => {}
        }
        if arms.len() >= AT_ONCE && index + 1 < last {
            found.extend(read(cx, moment, &mut arms, &values).await?);
        }
    }
    found.extend(read(cx, moment, &mut arms, &values).await?);
    let mut rows: Vec<Uuid> = found.into_iter().collect();
    if direction == "DESC" {
        rows.reverse();
    }
    Ok(list::cut(rows, keyset))
}

async fn read(cx: &Cx, moment: Moment, arms: &mut Vec<String>, values: &[sea_orm::Value]) -> Result<Vec<Uuid>> {
    let text = moment.fill(&std::mem::take(arms).join(" UNION ALL "), cx.backend());
    let statement = Statement::from_sql_and_values(cx.backend(), text, values.iter().cloned());
    let rows = Account::find_by_statement(statement).all(cx.db()).await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}
