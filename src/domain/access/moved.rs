//! What a change did to access: who gained which role, and who lost it.

use std::collections::{BTreeSet, HashSet};

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, FromQueryResult, Statement};
use uuid::Uuid;

use super::holders::{Sources, sources, ways};
use super::walk::Walk;
use super::{Moment, ends_after, holdings_of};
use crate::context::Cx;
use crate::domain::group::MAX_NESTING;
use crate::domain::list;
use crate::error::Result;

/// Accounts whose access is compared at once.
const PEOPLE: usize = 5_000;
/// As many as a statement may ask for.
const MOST: u64 = i64::MAX.unsigned_abs();

/// Somebody who gained or lost a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moved {
    pub gained: bool,
    pub role_id: Uuid,
    pub user_id: Uuid,
}

#[derive(FromQueryResult)]
struct Role {
    role_id: Uuid,
}

/// Who gained and who lost a role by `event`, whose instant was `at`: through the mappings that it opened or closed,
/// these `users`, whom it concerned themselves, and whoever is in these `groups`, or was. Exact, and read from the
/// intervals, so it tells the same inside the write and ever after.
pub async fn moved<C: ConnectionTrait>(
    cx: &Cx,
    db: &C,
    event: Uuid,
    at: DateTime<Utc>,
    mut users: Vec<Uuid>,
    groups: &[Uuid],
) -> Result<BTreeSet<Moved>> {
    let backend = cx.backend();
    if !groups.is_empty() {
        let none = BTreeSet::new();
        let groups = &groups.iter().copied().collect();
        let people = Concerned { event, at, groups, connections: &none, users: &none };
        users.extend(people.page(cx, db, None, usize::MAX).await?);
        users.sort_unstable();
        users.dedup();
    }
    let mut moved = BTreeSet::new();
    let text =
        "SELECT DISTINCT role_id FROM role_mapping WHERE organization_id = $1 AND (opened_by = $2 OR closed_by = $2)";
    let values = [cx.organization().into(), event.into()];
    let roles = Role::find_by_statement(Statement::from_sql_and_values(backend, text, values)).all(db).await?;
    for Role { role_id } in roles {
        moved.extend(through_mappings(cx, db, event, at, role_id).await?);
    }
    for users in users.chunks(PEOPLE) {
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

/// Whom a change may have moved: whoever was in these groups, or in groups within them, just before it or just after;
/// whose account was these connections'; and these accounts.
pub(super) struct Concerned<'a> {
    pub event: Uuid,
    pub at: DateTime<Utc>,
    pub groups: &'a BTreeSet<Uuid>,
    pub connections: &'a BTreeSet<Uuid>,
    pub users: &'a BTreeSet<Uuid>,
}

#[derive(FromQueryResult)]
struct Row {
    id: Uuid,
}

impl Concerned<'_> {
    /// The first `limit` of them after `after`, by id.
    pub async fn page<C: ConnectionTrait>(
        &self,
        cx: &Cx,
        db: &C,
        after: Option<Uuid>,
        limit: usize,
    ) -> Result<Vec<Uuid>> {
        let moment = Moment::Without(self.at, self.event);
        let values = moment.values(cx);
        let mut walk = Walk::new(values, after, None, false, u64::try_from(limit).unwrap_or(u64::MAX).min(MOST));
        let groups = self.all_groups(cx, db).await?;
        let begun = "m.since <= $2";
        let parts = [
            format!("{begun} AND m.until IS NULL"),
            format!("{begun} AND m.until IS NOT NULL AND (m.until > $2 OR m.closed_by = $3)"),
        ];
        walk.members(cx.backend(), &groups, "", &parts);
        if !self.connections.is_empty() {
            let among = walk.among(cx.backend(), self.connections);
            let owned = touches("v");
            walk.arm(
                "v.user_id",
                &format!("activation v WHERE v.organization_id = $1 AND v.connection_id {among} AND {owned}"),
            );
        }
        if !self.users.is_empty() {
            let among = walk.among(cx.backend(), self.users);
            walk.arm("u.id", &format!(r#""user" u WHERE u.organization_id = $1 AND u.id {among}"#));
        }
        Ok(walk.read(cx, db, moment).await?.into_iter().collect())
    }

    /// The groups with those within them, just before the event or just after.
    async fn all_groups<C: ConnectionTrait>(&self, cx: &Cx, db: &C) -> Result<BTreeSet<Uuid>> {
        if self.groups.is_empty() {
            return Ok(BTreeSet::new());
        }
        let text = format!(
            r#"WITH RECURSIVE root(group_id, depth) AS (
              SELECT r.id, 0 FROM "group" r WHERE r.organization_id = $1 AND r.id {groups}
              UNION
              SELECT n.member_id, s.depth + 1 FROM root s
                JOIN group_nesting n ON n.organization_id = $1 AND n.group_id = s.group_id AND {nested}
                WHERE s.depth < {MAX_NESTING})
            SELECT DISTINCT group_id AS id FROM root"#,
            groups = list::among(cx.backend(), 4),
            nested = touches("n"),
        );
        let values = [cx.organization().into(), self.at.into(), self.event.into(), list::ids(self.groups)];
        let rows = Row::find_by_statement(Statement::from_sql_and_values(cx.backend(), text, values)).all(db).await?;
        Ok(rows.into_iter().map(|row| row.id).collect())
    }
}

/// Who gained and lost `role` by the mappings that the event opened or closed. Whoever is reached by these is compared;
/// the role's other sources only tell who holds it anyway.
async fn through_mappings<C: ConnectionTrait>(
    cx: &Cx,
    db: &C,
    event: Uuid,
    at: DateTime<Utc>,
    role: Uuid,
) -> Result<Vec<Moved>> {
    let touched = touched(cx, db, event, at, role).await?;
    let mut sides = Vec::new();
    for moment in [Moment::Without(at, event), Moment::At(at)] {
        let all = sources(cx, db, Some(role), moment).await?;
        let part = |touched: &BTreeSet<Uuid>, all: &BTreeSet<Uuid>| touched.intersection(all).copied().collect();
        let rest = |touched: &BTreeSet<Uuid>, all: &BTreeSet<Uuid>| all.difference(touched).copied().collect();
        let reached = Sources {
            groups: part(&touched.groups, &all.groups),
            connections: part(&touched.connections, &all.connections),
        };
        let rest = Sources {
            groups: rest(&touched.groups, &all.groups),
            connections: rest(&touched.connections, &all.connections),
        };
        sides.push((moment, members(cx, db, role, &reached, moment).await?, rest));
    }
    let concerned: HashSet<Uuid> = sides.iter().flat_map(|(_, reached, _)| reached.iter().copied()).collect();
    for (moment, held, rest) in &mut sides {
        let others = members(cx, db, role, rest, *moment).await?;
        held.extend(others.into_iter().filter(|user| concerned.contains(user)));
    }
    let [(_, before, _), (_, after, _)] = &sides[..] else { return Ok(Vec::new()) };
    let changed: Vec<Uuid> =
        concerned.into_iter().filter(|user| before.contains(user) != after.contains(user)).collect();
    let mut moved = Vec::new();
    for users in changed.chunks(PEOPLE) {
        let moment = Moment::At(at);
        let text = format!(
            "SELECT v.user_id AS id FROM activation v WHERE v.organization_id = $1 AND v.user_id {} AND {}",
            list::among(cx.backend(), 4),
            moment.open("v", "$2", "$3")
        );
        let mut values = moment.values(cx);
        values.push(list::ids(users));
        let usable = Row::find_by_statement(Statement::from_sql_and_values(cx.backend(), text, values));
        moved.extend(usable.all(db).await?.into_iter().map(|Row { id }| Moved {
            gained: after.contains(&id),
            role_id: role,
            user_id: id,
        }));
    }
    Ok(moved)
}

async fn members<C: ConnectionTrait>(
    cx: &Cx,
    db: &C,
    role: Uuid,
    sources: &Sources,
    moment: Moment,
) -> Result<HashSet<Uuid>> {
    let (ways, values) = ways(cx, Some(role), sources, moment);
    let text = format!("SELECT w.user_id AS id FROM ({ways}) AS w");
    let rows = Row::find_by_statement(Statement::from_sql_and_values(cx.backend(), text, values)).all(db).await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// The groups, and the connections all of whose accounts, that the mappings of `role` are for which the event opened or
/// closed; with the groups within them, just before it or just after.
async fn touched<C: ConnectionTrait>(cx: &Cx, db: &C, event: Uuid, at: DateTime<Utc>, role: Uuid) -> Result<Sources> {
    let text = format!(
        "WITH RECURSIVE touched(group_id, connection_id, depth) AS ( \
           SELECT x.group_id, CASE WHEN x.match_attribute = 'EVERYBODY' THEN x.connection_id END, 0 FROM role_mapping x \
             WHERE x.organization_id = $1 AND x.role_id = $4 AND (x.opened_by = $3 OR x.closed_by = $3) \
           UNION \
           SELECT n.member_id, {{no_id}}, t.depth + 1 FROM touched t \
             JOIN group_nesting n ON n.organization_id = $1 AND n.group_id = t.group_id AND {} \
             WHERE t.depth < {{depth}}) \
         SELECT DISTINCT group_id, connection_id FROM touched",
        touches("n")
    );
    let moment = Moment::Without(at, event);
    let mut values = moment.values(cx);
    values.push(role.into());
    let text = moment.fill(&text, cx.backend());
    super::holders::read_sources(cx, db, text, values).await
}

/// Whether an interval is open just before the event `$3` or just after it; `$2` is its instant.
fn touches(alias: &str) -> String {
    format!("{alias}.since <= $2 AND {}", ends_after(alias, "$2", "$3"))
}
