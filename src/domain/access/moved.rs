//! What a change did to access: who gained which role, and who lost it.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, FromQueryResult, Statement};
use uuid::Uuid;

use super::{Moment, holdings_of};
use crate::context::Cx;
use crate::error::Result;

/// Somebody who gained or lost a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moved {
    pub gained: bool,
    pub role_id: Uuid,
    pub user_id: Uuid,
}

#[derive(FromQueryResult)]
struct Row {
    user_id: Uuid,
    gained: bool,
}

#[derive(FromQueryResult)]
struct Role {
    role_id: Uuid,
}

/// Who gained and who lost a role by `event`, whose instant was `at`: through the mappings that it opened or closed,
/// and these `users`, whom it concerned themselves. Exact, and read from the intervals, so it tells the same inside
/// the write and ever after.
pub async fn moved<C: ConnectionTrait>(
    cx: &Cx,
    db: &C,
    event: Uuid,
    at: DateTime<Utc>,
    users: &[Uuid],
) -> Result<BTreeSet<Moved>> {
    let backend = cx.backend();
    let mut moved = BTreeSet::new();
    let text =
        "SELECT DISTINCT role_id FROM role_mapping WHERE organization_id = $1 AND (opened_by = $2 OR closed_by = $2)";
    let values = [cx.organization().into(), event.into()];
    let roles = Role::find_by_statement(Statement::from_sql_and_values(backend, text, values)).all(db).await?;
    for Role { role_id } in roles {
        let mut values = Moment::Without(at, event).values(cx);
        values.push(role_id.into());
        for row in
            Row::find_by_statement(Statement::from_sql_and_values(backend, difference(cx), values)).all(db).await?
        {
            moved.insert(Moved { gained: row.gained, role_id, user_id: row.user_id });
        }
    }
    if !users.is_empty() {
        let mut held = [BTreeSet::new(), BTreeSet::new()];
        for (held, moment) in held.iter_mut().zip([Moment::Without(at, event), Moment::At(at)]) {
            held.extend(holdings_of(cx, db, users, moment).await?.into_iter().map(|row| (row.role_id, row.user_id)));
        }
        let [before, after] = held;
        let told = |gained: bool| move |&(role_id, user_id): &(Uuid, Uuid)| Moved { gained, role_id, user_id };
        moved.extend(after.difference(&before).map(told(true)));
        moved.extend(before.difference(&after).map(told(false)));
    }
    Ok(moved)
}

/// Access to the role `$4` after the event `$3` of the instant `$2` and without it, for everybody whom the mappings
/// concern that the event opened or closed.
fn difference(cx: &Cx) -> String {
    let (before, after) = (Moment::Without(DateTime::UNIX_EPOCH, Uuid::nil()), Moment::At(DateTime::UNIX_EPOCH));
    let side = |moment: Moment| {
        let text = r#"
        SELECT m.user_id FROM {source} s JOIN membership m ON m.organization_id = $1 AND m.group_id = s.group_id AND {open m}
          WHERE m.user_id IN (SELECT user_id FROM concerned)
        UNION SELECT o.id FROM {source} s JOIN {owned} AS o ON o.connection_id = s.connection_id
          WHERE o.id IN (SELECT user_id FROM concerned)
        UNION SELECT g.user_id FROM role_grant g WHERE g.organization_id = $1 AND g.role_id = $4 AND {open g}
          AND (g.expires_at IS NULL OR g.expires_at > $2) AND g.user_id IN (SELECT user_id FROM concerned)"#;
        let source = if moment == before { "was" } else { "is_now" };
        moment.fill(text, cx.backend()).replace("{source}", source)
    };
    let sources = |name: &str, which: &str, moment: Moment| {
        let text = r#"{name}(group_id, connection_id, depth) AS (
          SELECT x.group_id, CASE WHEN x.match_attribute = 'EVERYBODY' THEN x.connection_id END, 0 FROM role_mapping x
            WHERE x.organization_id = $1 AND x.role_id = $4 AND {which}
          UNION
          SELECT n.member_id, {no_id}, s.depth + 1 FROM {name} s
            JOIN group_nesting n ON n.organization_id = $1 AND n.group_id = s.group_id AND {open n} WHERE s.depth < {depth})"#;
        moment.fill(&text.replace("{which}", which), cx.backend()).replace("{name}", name)
    };
    let standing = "{open x} AND (x.expires_at IS NULL OR x.expires_at > $2)";
    format!(
        r#"WITH RECURSIVE {touched}, {was}, {is_now},
        concerned(user_id) AS (
          SELECT DISTINCT w.user_id FROM (
            SELECT m.user_id FROM touched s JOIN membership m ON m.organization_id = $1 AND m.group_id = s.group_id
              AND {open}
            UNION ALL
            SELECT o.id FROM touched s JOIN {owned} AS o ON o.connection_id = s.connection_id
          ) AS w JOIN "user" u ON u.organization_id = $1 AND u.id = w.user_id AND {usable}),
        before_it(user_id) AS ({side_before}),
        after_it(user_id) AS ({side_after})
        SELECT user_id, TRUE AS gained FROM (SELECT user_id FROM after_it EXCEPT SELECT user_id FROM before_it) AS gains
        UNION ALL
        SELECT user_id, FALSE FROM (SELECT user_id FROM before_it EXCEPT SELECT user_id FROM after_it) AS losses"#,
        touched = sources("touched", "(x.opened_by = $3 OR x.closed_by = $3)", after),
        was = sources("was", standing, before),
        is_now = sources("is_now", standing, after),
        open = after.open("m", "$2", "$3"),
        usable = after.usable("$2", "$3"),
        owned = after.owned(),
        side_before = side(before),
        side_after = side(after),
    )
}
