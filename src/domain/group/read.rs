//! Groups as they are read: one, a list, and the members of some.

use sea_orm::{FromQueryResult, Statement};
use std::collections::HashMap;
use uuid::Uuid;

use super::{COLUMNS, Group, TABLE};
use crate::authz::Action;
use crate::context::Cx;
use crate::domain::event::Owners;
use crate::domain::extension::types;
use crate::domain::list::{self, Found, Keyset, Query, Slice};
use crate::domain::order::{By, Place};
use crate::domain::search::Filter;
use crate::domain::user::sees_users;
use crate::error::{Error, Result};

/// Whether the actor may see the groups that it may write.
pub fn sees_groups(cx: &Cx) -> bool {
    cx.allow(Action::ReadGroup, cx.confined_to()).is_ok()
}

/// One live group that the actor may see.
pub async fn get(cx: &Cx, id: Uuid) -> Result<Group> {
    let group = list::one(cx, &TABLE, id).await?.filter(|group| cx.sees(group.connection_id));
    let group = group.ok_or_else(|| Error::not_found("the group"))?;
    cx.allow(Action::ReadGroup, group.connection_id)?;
    Ok(group)
}

/// The live groups among `ids` that the actor may see.
pub async fn by_ids(cx: &Cx, ids: &[Uuid]) -> Result<Vec<Group>> {
    cx.allow(Action::ReadGroup, cx.confined_to())?;
    let text = format!(
        r#"SELECT {COLUMNS} FROM "group" r WHERE r.organization_id = $1 AND r.deleted_at IS NULL AND r.id {}"#,
        list::among(cx.backend(), 2)
    );
    let statement = Statement::from_sql_and_values(cx.backend(), text, [cx.organization().into(), list::ids(ids)]);
    Ok(Group::find_by_statement(statement).all(cx.db()).await?)
}

/// A numbered page of live groups that the actor may see.
pub async fn search(cx: &Cx, query: &Query) -> Result<Found<Group>> {
    cx.allow(Action::ReadGroup, cx.confined_to())?;
    list::search(cx, &TABLE, &types(cx).await?.group, query).await
}

/// Live groups that `filter` matches, oldest first.
pub async fn list(cx: &Cx, filter: Option<&Filter>, owners: Owners, keyset: &Keyset<Uuid>) -> Result<Slice<Group>> {
    cx.allow(Action::ReadGroup, cx.confined_to())?;
    list::keyset(cx, &TABLE, &types(cx).await?.group, filter, owners, keyset).await
}

/// The same in another order, each with its place.
pub async fn ordered(
    cx: &Cx,
    filter: Option<&Filter>,
    owners: Owners,
    by: By,
    keyset: &Keyset<Place>,
) -> Result<Slice<(Group, Place)>> {
    cx.allow(Action::ReadGroup, cx.confined_to())?;
    list::ordered(cx, &TABLE, &types(cx).await?.group, (filter, owners), by, keyset).await
}

/// How many live groups `filter` matches.
pub async fn count(cx: &Cx, filter: Option<&Filter>, owners: Owners) -> Result<u64> {
    cx.allow(Action::ReadGroup, cx.confined_to())?;
    list::count(cx, &TABLE, &types(cx).await?.group, filter, owners).await
}

/// A direct member of a group.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct Member {
    pub group_id: Uuid,
    pub id: Uuid,
    /// Whether the member is itself a group.
    pub is_group: bool,
    pub display: Option<String>,
}

/// The direct members of each of these groups, on wish with what they are called: users first, then groups, each by id.
/// What users are called is told to who may read users.
pub async fn members_of(cx: &Cx, groups: &[Uuid], named: bool) -> Result<HashMap<Uuid, Vec<Member>>> {
    cx.allow(Action::ReadGroup, cx.confined_to())?;
    let (among, values) = match groups {
        [one] => ("= $2".into(), (*one).into()),
        _ => (list::among(cx.backend(), 2), list::ids(groups)),
    };
    let [user, user_name] = match named && sees_users(cx) {
        true => [
            r#"JOIN "user" u ON u.organization_id = m.organization_id AND u.id = m.user_id"#,
            "coalesce(u.display_name, u.user_name)",
        ],
        false => ["", "NULL"],
    };
    let [group, group_name] = match named {
        true => [r#"JOIN "group" g ON g.organization_id = n.organization_id AND g.id = n.member_id"#, "g.display_name"],
        false => ["", "NULL"],
    };
    let text = format!(
        r#"SELECT m.group_id, m.user_id AS id, FALSE AS is_group, {user_name} AS display
           FROM membership m {user} WHERE m.organization_id = $1 AND m.until IS NULL AND m.group_id {among}
           UNION ALL
           SELECT n.group_id, n.member_id, TRUE, {group_name} FROM group_nesting n {group}
           WHERE n.organization_id = $1 AND n.until IS NULL AND n.group_id {among}
           ORDER BY 1, 3, 2"#
    );
    let values = vec![cx.organization().into(), values];
    let rows: Vec<Member> = match groups.len() {
        1 => list::along(cx, text, values).await?,
        _ => Member::find_by_statement(Statement::from_sql_and_values(cx.backend(), text, values)).all(cx.db()).await?,
    };
    let mut members: HashMap<Uuid, Vec<Member>> = HashMap::new();
    for row in rows {
        members.entry(row.group_id).or_default().push(row);
    }
    Ok(members)
}

/// Whether a group has at most `limit` direct members; looks at no more than that.
pub async fn has_at_most(cx: &Cx, id: Uuid, limit: u64) -> Result<bool> {
    cx.allow(Action::ReadGroup, cx.confined_to())?;
    let text = format!(
        "SELECT 1 FROM membership WHERE organization_id = $1 AND group_id = $2 AND until IS NULL LIMIT 1 OFFSET {limit}"
    );
    let values = [cx.organization().into(), id.into()];
    Ok(cx.db().query_along(Statement::from_sql_and_values(cx.backend(), text, values)).await?.is_empty())
}
