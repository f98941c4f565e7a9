//! Memberships of many users or groups at once: one statement answers for a whole page of a list.

use sea_orm::FromQueryResult;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use uuid::Uuid;

use super::group::Group;
use crate::auth::policy::Action;
use crate::context::Cx;
use crate::domain::interval::{IS_OPEN_IN_GROUP, only_by_group};
use crate::domain::paging;
use crate::domain::paging::{Keyset, Slice};
use crate::error::Result;

/// Groups whose members are read in one statement; SQLite joins at most 500 selects.
const MAX_GROUPS_PER_STATEMENT: usize = 100;

/// A direct member of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromQueryResult)]
pub struct DirectMember {
    pub group_id: Uuid,
    pub id: Uuid,
    /// Whether the member is itself a group.
    pub is_group: bool,
}

#[derive(FromQueryResult)]
struct UserGroupRow {
    user_id: Uuid,
    group_id: Uuid,
}

#[derive(FromQueryResult)]
struct MemberCountRow {
    id: Uuid,
    total: i64,
}

/// For each of these accounts, a page of the groups that it is directly in, by id. Each group is
/// read once, however many of the accounts are in it.
pub async fn groups_of_users(
    cx: &Cx,
    users: &[Uuid],
    keyset: &Keyset<Uuid>,
) -> Result<HashMap<Uuid, Slice<Arc<Group>>>> {
    cx.allow(Action::ReadGroup, None)?;
    let mut sql = cx.sql([paging::bind_ids(users)]);
    let bounds = paging::keyset_bounds("m.group_id", keyset, &mut sql);
    sql.push(&format!(
        r#"SELECT user_id, group_id FROM (
             SELECT m.user_id, m.group_id, row_number() OVER (PARTITION BY m.user_id
             ORDER BY m.group_id {order}) AS place
             FROM {memberships} {group} WHERE m.until IS NULL{bounds}) AS page
           WHERE place <= {limit} ORDER BY user_id, place"#,
        order = paging::keyset_direction(keyset),
        memberships = paging::each_of(cx.backend(), (1, 2), "membership", "m", "user_id"),
        group = paging::join_each(
            cx.backend(),
            "group",
            "r",
            "r.organization_id = m.organization_id AND r.id = m.group_id AND r.deleted_at IS NULL"
        ),
        limit = keyset.limit + 1,
    ));
    let places = UserGroupRow::find_by_statement(cx.build_statement(sql)).all(cx.db()).await?;
    let ids: BTreeSet<Uuid> = places.iter().map(|place| place.group_id).collect();
    let ids: Vec<Uuid> = ids.into_iter().collect();
    let groups = super::group::groups_by_ids(cx, &ids).await?;
    let groups: HashMap<Uuid, Arc<Group>> =
        groups.into_iter().map(|group| (group.id, Arc::new(group))).collect();
    let rows = places
        .iter()
        .filter_map(|place| Some((place.user_id, groups.get(&place.group_id)?.clone())));
    Ok(collect_slices(rows, keyset))
}

/// For each of these groups, a page of its direct members, users and groups alike, by id.
pub async fn members_of_groups(
    cx: &Cx,
    groups: &[Uuid],
    keyset: &Keyset<Uuid>,
) -> Result<HashMap<Uuid, Slice<DirectMember>>> {
    cx.allow(Action::ReadGroup, None)?;
    cx.allow(Action::ReadUser, None)?;
    let mut rows = Vec::new();
    for groups in groups.chunks(MAX_GROUPS_PER_STATEMENT) {
        let mut sql = cx.sql([]);
        let users_bounds = paging::keyset_bounds("user_id", keyset, &mut sql);
        let groups_bounds = paging::keyset_bounds("member_id", keyset, &mut sql);
        let direction = paging::keyset_direction(keyset);
        let rest = format!("ORDER BY 2 {direction} LIMIT {}", keyset.limit + 1);
        let [user_by_group, group_by_group] =
            ["user_id", "member_id"].map(|member| only_by_group(cx.backend(), "", member));
        // One limited index scan for each group: a window function would sort all members of the
        // largest group.
        let selects: Vec<String> = groups
            .iter()
            .map(|group| {
                let group = sql.bind(*group);
                format!(
                    "SELECT * FROM (SELECT group_id, id, is_group FROM ( \
                       SELECT * FROM (SELECT group_id, user_id AS id, FALSE AS is_group \
                       FROM membership \
                         WHERE organization_id = $1 AND group_id = {group} \
                         AND {IS_OPEN_IN_GROUP}{user_by_group}{users_bounds} {rest}) AS u \
                       UNION ALL \
                       SELECT * FROM (SELECT group_id, member_id, TRUE FROM group_nesting \
                         WHERE organization_id = $1 AND group_id = {group} \
                         AND {IS_OPEN_IN_GROUP}{group_by_group}{groups_bounds} {rest}) AS g \
                     ) AS both_kinds {rest}) AS one_group"
                )
            })
            .collect();
        sql.push(&selects.join(" UNION ALL "));
        let statement = cx.build_statement(sql);
        rows.extend(DirectMember::find_by_statement(statement).all(cx.db()).await?);
    }
    rows.sort_unstable_by_key(|row| row.id);
    if keyset.descending != keyset.backward {
        rows.reverse();
    }
    Ok(collect_slices(rows.into_iter().map(|row| (row.group_id, row)), keyset))
}

/// How many groups each of these accounts is directly in.
pub async fn count_groups_of_users(cx: &Cx, users: &[Uuid]) -> Result<HashMap<Uuid, u64>> {
    cx.allow(Action::ReadGroup, None)?;
    let text = "SELECT user_id AS id, count(*) AS total FROM membership \
         WHERE organization_id = $1 AND until IS NULL AND user_id {among} GROUP BY user_id";
    count_by_id(cx, text, users).await
}

/// How many direct members each of these groups has.
pub async fn count_members_of_groups(cx: &Cx, groups: &[Uuid]) -> Result<HashMap<Uuid, u64>> {
    cx.allow(Action::ReadGroup, None)?;
    let text = "SELECT group_id AS id, count(*) AS total FROM ( \
           SELECT group_id FROM membership WHERE organization_id = $1 AND until IS NULL \
           AND group_id {among} \
           UNION ALL \
           SELECT group_id FROM group_nesting WHERE organization_id = $1 AND until IS NULL \
           AND group_id {among} \
         ) AS members GROUP BY group_id";
    count_by_id(cx, text, groups).await
}

pub(in crate::domain) async fn count_by_id(
    cx: &Cx,
    text: &str,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, u64>> {
    let text = text.replace("{among}", &paging::in_ids(cx.backend(), 2));
    let values = [paging::bind_ids(ids)];
    let rows = MemberCountRow::find_by_statement(cx.statement(text, values)).all(cx.db()).await?;
    Ok(rows.into_iter().map(|row| (row.id, row.total.unsigned_abs())).collect())
}

pub(in crate::domain) fn collect_slices<T>(
    rows: impl Iterator<Item = (Uuid, T)>,
    keyset: &Keyset<Uuid>,
) -> HashMap<Uuid, Slice<T>> {
    let mut found: HashMap<Uuid, Vec<T>> = HashMap::new();
    for (of, row) in rows {
        found.entry(of).or_default().push(row);
    }
    found.into_iter().map(|(of, rows)| (of, paging::to_slice(rows, keyset))).collect()
}
