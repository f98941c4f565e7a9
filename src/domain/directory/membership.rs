//! Who is in which group, asked for many at once: one statement answers a whole page of a list.

use sea_orm::{FromQueryResult, Statement, Value};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use uuid::Uuid;

use super::group::Group;
use super::group::OPEN;
use super::list::{self, Keyset, Slice};
use crate::authz::Action;
use crate::context::Cx;
use crate::error::Result;

/// Groups whose members are read in one statement; SQLite joins at most 500 selects.
const AT_ONCE: usize = 100;

/// A direct member of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromQueryResult)]
pub struct Place {
    pub group_id: Uuid,
    pub id: Uuid,
    /// Whether the member is itself a group.
    pub is_group: bool,
}

#[derive(FromQueryResult)]
struct In {
    user_id: Uuid,
    group_id: Uuid,
}

#[derive(FromQueryResult)]
struct Count {
    id: Uuid,
    total: i64,
}

/// For each of these accounts, a page of the groups that it is directly in, by id. Each group is read once, however many
/// of them are in it.
pub async fn groups_of_users(
    cx: &Cx,
    users: &[Uuid],
    keyset: &Keyset<Uuid>,
) -> Result<HashMap<Uuid, Slice<Arc<Group>>>> {
    cx.allow(Action::ReadGroup, None)?;
    let mut values: Vec<Value> = vec![cx.organization().into(), list::ids(users)];
    let bounds = bounds("m.group_id", keyset, &mut values);
    let text = format!(
        r#"SELECT user_id, group_id FROM (
             SELECT m.user_id, m.group_id, row_number() OVER (PARTITION BY m.user_id ORDER BY m.group_id {order}) AS place
             FROM {memberships} {group} WHERE m.until IS NULL{bounds}) AS page
           WHERE place <= {limit} ORDER BY user_id, place"#,
        order = direction(keyset),
        memberships = list::each_of(cx.backend(), (1, 2), "membership", "m", "user_id"),
        group = list::each(
            cx.backend(),
            "group",
            "r",
            "r.organization_id = m.organization_id AND r.id = m.group_id AND r.deleted_at IS NULL"
        ),
        limit = keyset.limit + 1,
    );
    let places = In::find_by_statement(Statement::from_sql_and_values(cx.backend(), text, values)).all(cx.db()).await?;
    let ids: BTreeSet<Uuid> = places.iter().map(|place| place.group_id).collect();
    let ids: Vec<Uuid> = ids.into_iter().collect();
    let groups = super::group::by_ids(cx, &ids).await?;
    let groups: HashMap<Uuid, Arc<Group>> = groups.into_iter().map(|group| (group.id, Arc::new(group))).collect();
    let rows = places.iter().filter_map(|place| Some((place.user_id, groups.get(&place.group_id)?.clone())));
    Ok(slices(rows, keyset))
}

/// For each of these groups, a page of its direct members, users and groups alike, by id.
pub async fn of_groups(cx: &Cx, groups: &[Uuid], keyset: &Keyset<Uuid>) -> Result<HashMap<Uuid, Slice<Place>>> {
    cx.allow(Action::ReadGroup, None)?;
    cx.allow(Action::ReadUser, None)?;
    let mut rows = Vec::new();
    for groups in groups.chunks(AT_ONCE) {
        let mut values: Vec<Value> = vec![cx.organization().into()];
        let users_bounds = bounds("user_id", keyset, &mut values);
        let groups_bounds = bounds("member_id", keyset, &mut values);
        let rest = format!("ORDER BY 2 {} LIMIT {}", direction(keyset), keyset.limit + 1);
        // One limited walk over an index for each group: a window function would sort all members of the largest.
        let selects: Vec<String> = groups
            .iter()
            .map(|group| {
                values.push((*group).into());
                let n = values.len();
                format!(
                    "SELECT * FROM (SELECT group_id, id, is_group FROM ( \
                       SELECT * FROM (SELECT group_id, user_id AS id, FALSE AS is_group FROM membership \
                         WHERE organization_id = $1 AND group_id = ${n} AND {OPEN}{users_bounds} {rest}) AS u \
                       UNION ALL \
                       SELECT * FROM (SELECT group_id, member_id, TRUE FROM group_nesting \
                         WHERE organization_id = $1 AND group_id = ${n} AND {OPEN}{groups_bounds} {rest}) AS g \
                     ) AS both_kinds {rest}) AS one_group"
                )
            })
            .collect();
        let statement = Statement::from_sql_and_values(cx.backend(), selects.join(" UNION ALL "), values);
        rows.extend(Place::find_by_statement(statement).all(cx.db()).await?);
    }
    rows.sort_unstable_by_key(|row| row.id);
    if keyset.descending != keyset.backward {
        rows.reverse();
    }
    Ok(slices(rows.into_iter().map(|row| (row.group_id, row)), keyset))
}

/// How many groups each of these accounts is directly in.
pub async fn group_counts(cx: &Cx, users: &[Uuid]) -> Result<HashMap<Uuid, u64>> {
    cx.allow(Action::ReadGroup, None)?;
    let text = "SELECT user_id AS id, count(*) AS total FROM membership \
         WHERE organization_id = $1 AND until IS NULL AND user_id {among} GROUP BY user_id";
    counts(cx, text, users).await
}

/// How many direct members each of these groups has.
pub async fn member_counts(cx: &Cx, groups: &[Uuid]) -> Result<HashMap<Uuid, u64>> {
    cx.allow(Action::ReadGroup, None)?;
    let text = "SELECT group_id AS id, count(*) AS total FROM ( \
           SELECT group_id FROM membership WHERE organization_id = $1 AND until IS NULL AND group_id {among} \
           UNION ALL \
           SELECT group_id FROM group_nesting WHERE organization_id = $1 AND until IS NULL AND group_id {among} \
         ) AS members GROUP BY group_id";
    counts(cx, text, groups).await
}

pub(super) async fn counts(cx: &Cx, text: &str, ids: &[Uuid]) -> Result<HashMap<Uuid, u64>> {
    let text = text.replace("{among}", &list::among(cx.backend(), 2));
    let values = [cx.organization().into(), list::ids(ids)];
    let rows =
        Count::find_by_statement(Statement::from_sql_and_values(cx.backend(), text, values)).all(cx.db()).await?;
    Ok(rows.into_iter().map(|row| (row.id, row.total.unsigned_abs())).collect())
}

/// `AND …` for what a keyset leaves out by `column`.
pub(super) fn bounds(column: &str, keyset: &Keyset<Uuid>, values: &mut Vec<Value>) -> String {
    let (low, high) = match keyset.descending {
        false => (keyset.after, keyset.before),
        true => (keyset.before, keyset.after),
    };
    let mut text = String::new();
    for (operator, bound) in [(">", low), ("<", high)] {
        if let Some(bound) = bound {
            values.push(bound.into());
            text.push_str(&format!(" AND {column} {operator} ${}", values.len()));
        }
    }
    text
}

pub(super) fn direction(keyset: &Keyset<Uuid>) -> &'static str {
    if keyset.descending == keyset.backward { "ASC" } else { "DESC" }
}

pub(super) fn slices<T>(rows: impl Iterator<Item = (Uuid, T)>, keyset: &Keyset<Uuid>) -> HashMap<Uuid, Slice<T>> {
    let mut found: HashMap<Uuid, Vec<T>> = HashMap::new();
    for (of, row) in rows {
        found.entry(of).or_default().push(row);
    }
    found.into_iter().map(|(of, rows)| (of, list::cut(rows, keyset))).collect()
}
