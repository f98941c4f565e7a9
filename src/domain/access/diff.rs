//! The effect of a change on access: which accounts gained which roles, and which lost them.

use std::collections::{BTreeSet, HashSet};

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, FromQueryResult};
use uuid::Uuid;

use super::holders::{RoleSources, find_sources, holder_ways};
use super::{AsOf, holdings_of};
use crate::context::Cx;
use crate::domain::access::account_union::AccountUnion;
use crate::domain::directory::MAX_NESTING_DEPTH;
use crate::domain::interval;
use crate::domain::paging;
use crate::error::Result;

/// Accounts whose access is compared in one statement.
const ACCOUNTS_PER_COMPARISON: usize = 5_000;
/// The greatest LIMIT that a statement may have.
const MAX_ROWS: u64 = i64::MAX.unsigned_abs();

/// An account that gained or lost a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoleMove {
    pub gained: bool,
    pub role_id: Uuid,
    pub user_id: Uuid,
}

#[derive(FromQueryResult)]
struct DiffRole {
    role_id: Uuid,
}

/// The accounts that gained or lost a role by `event`, whose instant was `at`. Compared are the
/// accounts of the mappings that it opened or closed, these `users`, which it concerned directly,
/// and the accounts that are or were members of these `groups`. The result is exact. It is read
/// from the intervals, so it is the same inside the write and at any later time.
pub async fn find_role_moves<C: ConnectionTrait>(
    cx: &Cx,
    db: &C,
    event: Uuid,
    at: DateTime<Utc>,
    mut users: Vec<Uuid>,
    groups: &[Uuid],
) -> Result<BTreeSet<RoleMove>> {
    if !groups.is_empty() {
        let none = BTreeSet::new();
        let groups = &groups.iter().copied().collect();
        let people = ConcernedAccounts { event, at, groups, connections: &none, users: &none };
        users.extend(people.page_of_accounts(cx, db, None, usize::MAX).await?);
        users.sort_unstable();
        users.dedup();
    }
    let mut moved = BTreeSet::new();
    let text = "SELECT DISTINCT role_id FROM role_mapping WHERE organization_id = $1 AND \
                (opened_by = $2 OR closed_by = $2)";
    let values = [event.into()];
    let roles = DiffRole::find_by_statement(cx.statement(text, values)).all(db).await?;
    for DiffRole { role_id } in roles {
        moved.extend(through_mappings(cx, db, event, at, role_id).await?);
    }
    for users in users.chunks(ACCOUNTS_PER_COMPARISON) {
        let mut held = [BTreeSet::new(), BTreeSet::new()];
        for (held, moment) in held.iter_mut().zip([AsOf::Without(at, event), AsOf::At(at)]) {
            held.extend(
                holdings_of(cx, db, users, moment)
                    .await?
                    .into_iter()
                    .map(|row| (row.role_id, row.user_id)),
            );
        }
        let [before, after] = held;
        let to_move = |gained: bool| {
            move |&(role_id, user_id): &(Uuid, Uuid)| RoleMove { gained, role_id, user_id }
        };
        moved.extend(after.difference(&before).map(to_move(true)));
        moved.extend(before.difference(&after).map(to_move(false)));
    }
    Ok(moved)
}

/// The accounts whose roles a change may have changed: those that were in these groups, or in
/// groups nested in them, just before it or just after it; those that these connections owned then;
/// and these users.
pub(super) struct ConcernedAccounts<'a> {
    pub event: Uuid,
    pub at: DateTime<Utc>,
    pub groups: &'a BTreeSet<Uuid>,
    pub connections: &'a BTreeSet<Uuid>,
    pub users: &'a BTreeSet<Uuid>,
}

#[derive(FromQueryResult)]
struct DiffRow {
    id: Uuid,
}

impl ConcernedAccounts<'_> {
    /// The first `limit` of these accounts after `after`, by id.
    pub async fn page_of_accounts<C: ConnectionTrait>(
        &self,
        cx: &Cx,
        db: &C,
        after: Option<Uuid>,
        limit: usize,
    ) -> Result<Vec<Uuid>> {
        let moment = AsOf::Without(self.at, self.event);
        let mut walk = AccountUnion::new(
            moment.begin_sql(cx),
            after,
            None,
            false,
            u64::try_from(limit).unwrap_or(u64::MAX).min(MAX_ROWS),
        );
        let groups = self.all_groups(cx, db).await?;
        let begun = "m.since <= $2";
        let parts = [
            format!("{begun} AND m.{}", interval::IS_OPEN),
            format!("{begun} AND {}", interval::has_ended_after("m", "$2", "$3")),
        ];
        walk.add_members(cx.backend(), &groups, "", &parts);
        if !self.connections.is_empty() {
            let among = walk.bind_ids(cx.backend(), self.connections);
            let owned = interval::is_open_around("v", "$2", "$3");
            walk.add_arm(
                "v.user_id",
                &format!(
                    "activation v WHERE v.organization_id = $1 AND v.connection_id {among} \
                          AND {owned}"
                ),
            );
        }
        if !self.users.is_empty() {
            let among = walk.bind_ids(cx.backend(), self.users);
            walk.add_arm(
                "u.id",
                &format!(r#""user" u WHERE u.organization_id = $1 AND u.id {among}"#),
            );
        }
        Ok(walk.read_accounts(cx, db, moment).await?.into_iter().collect())
    }

    /// The groups with those nested in them, just before the event or just after it.
    async fn all_groups<C: ConnectionTrait>(&self, cx: &Cx, db: &C) -> Result<BTreeSet<Uuid>> {
        if self.groups.is_empty() {
            return Ok(BTreeSet::new());
        }
        let nested = format!(
            "n.organization_id = $1 AND n.group_id = s.group_id AND {}",
            interval::is_open_around("n", "$2", "$3")
        );
        let text = format!(
            r#"WITH RECURSIVE root(group_id, depth) AS (
              SELECT r.id, 0 FROM "group" r WHERE r.organization_id = $1 AND r.id {groups}
              UNION
              SELECT n.member_id, s.depth + 1 FROM root s {nested}
                WHERE s.depth < {MAX_NESTING_DEPTH})
            SELECT DISTINCT group_id AS id FROM root"#,
            groups = paging::in_ids(cx.backend(), 4),
            nested = paging::join_each(cx.backend(), "group_nesting", "n", &nested),
        );
        let values = [self.at.into(), self.event.into(), paging::bind_ids(self.groups)];
        let rows = DiffRow::find_by_statement(cx.statement(text, values)).all(db).await?;
        Ok(rows.into_iter().map(|row| row.id).collect())
    }
}

/// The accounts that gained or lost `role` by the mappings that the event opened or closed. Only
/// accounts that these mappings reach are compared; the role's other sources show which of them
/// hold it anyway.
async fn through_mappings<C: ConnectionTrait>(
    cx: &Cx,
    db: &C,
    event: Uuid,
    at: DateTime<Utc>,
    role: Uuid,
) -> Result<Vec<RoleMove>> {
    let touched = find_touched_groups(cx, db, event, at, role).await?;
    let mut sides = Vec::new();
    for moment in [AsOf::Without(at, event), AsOf::At(at)] {
        let all = find_sources(cx, db, Some(role), moment).await?;
        let part = |touched: &BTreeSet<Uuid>, all: &BTreeSet<Uuid>| {
            touched.intersection(all).copied().collect()
        };
        let rest = |touched: &BTreeSet<Uuid>, all: &BTreeSet<Uuid>| {
            all.difference(touched).copied().collect()
        };
        let reached = RoleSources {
            groups: part(&touched.groups, &all.groups),
            connections: part(&touched.connections, &all.connections),
        };
        let rest = RoleSources {
            groups: rest(&touched.groups, &all.groups),
            connections: rest(&touched.connections, &all.connections),
        };
        sides.push((moment, find_members(cx, db, role, &reached, moment).await?, rest));
    }
    let concerned: HashSet<Uuid> =
        sides.iter().flat_map(|(_, reached, _)| reached.iter().copied()).collect();
    for (moment, held, rest) in &mut sides {
        let others = find_members(cx, db, role, rest, *moment).await?;
        held.extend(others.into_iter().filter(|user| concerned.contains(user)));
    }
    let [(_, before, _), (_, after, _)] = &sides[..] else { return Ok(Vec::new()) };
    let changed: Vec<Uuid> = concerned
        .into_iter()
        .filter(|user| before.contains(user) != after.contains(user))
        .collect();
    let mut moved = Vec::new();
    for users in changed.chunks(ACCOUNTS_PER_COMPARISON) {
        let moment = AsOf::At(at);
        let mut sql = moment.begin_sql(cx);
        let among = sql.bind_ids(cx.backend(), users);
        sql.push(&format!(
            "SELECT v.user_id AS id FROM activation v WHERE v.organization_id = $1 AND v.user_id \
             {among} AND {}",
            moment.open_condition("v", "$2", "$3")
        ));
        let usable = DiffRow::find_by_statement(cx.build_statement(sql));
        moved.extend(usable.all(db).await?.into_iter().map(|DiffRow { id }| RoleMove {
            gained: after.contains(&id),
            role_id: role,
            user_id: id,
        }));
    }
    Ok(moved)
}

async fn find_members<C: ConnectionTrait>(
    cx: &Cx,
    db: &C,
    role: Uuid,
    sources: &RoleSources,
    moment: AsOf,
) -> Result<HashSet<Uuid>> {
    let (ways, mut sql) = holder_ways(cx, Some(role), sources, moment);
    sql.push(&format!("SELECT w.user_id AS id FROM ({ways}) AS w"));
    let rows = DiffRow::find_by_statement(cx.build_statement(sql)).all(db).await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// The groups and the connections of the mappings of `role` that the event opened or closed; with
/// the groups nested in them just before it or just after it.
async fn find_touched_groups<C: ConnectionTrait>(
    cx: &Cx,
    db: &C,
    event: Uuid,
    at: DateTime<Utc>,
    role: Uuid,
) -> Result<RoleSources> {
    let text = format!(
        "WITH RECURSIVE touched(group_id, connection_id, depth) AS ( \
           SELECT x.group_id, CASE WHEN x.match_attribute = 'EVERYBODY' \
           THEN x.connection_id END, 0 FROM role_mapping x \
             WHERE x.organization_id = $1 AND x.role_id = $4 AND (x.opened_by = $3 \
             OR x.closed_by = $3) \
           UNION \
           SELECT n.member_id, {{no_id}}, t.depth + 1 FROM touched t \
             JOIN group_nesting n ON n.organization_id = $1 AND n.group_id = t.group_id AND {} \
             WHERE t.depth < {{depth}}) \
         SELECT DISTINCT group_id, connection_id FROM touched",
        interval::is_open_around("n", "$2", "$3")
    );
    let moment = AsOf::Without(at, event);
    let mut sql = moment.begin_sql(cx);
    sql.bind(role);
    sql.push(&moment.fill_template(&text, cx.backend()));
    super::holders::read_sources(cx, db, sql).await
}
