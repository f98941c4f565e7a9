//! Reads groups: one, a list, and the members of some.

use sea_orm::FromQueryResult;
use std::collections::HashMap;
use uuid::Uuid;

use super::{GROUP_COLUMNS, GROUP_TABLE, Group};
use crate::auth::policy::Action;
use crate::context::Cx;
use crate::domain::audit::event::SubjectOwners;
use crate::domain::directory::schema_extension::resource_types;
use crate::domain::directory::user::sees_users;
use crate::domain::interval::{IS_OPEN_IN_GROUP, is_open_in_group};
use crate::domain::paging;
use crate::domain::paging::order::{OrderBy, OrderPlace};
use crate::domain::paging::{FoundPage, Keyset, ListQuery, Slice};
use crate::error::{Error, Noun, Result};
use crate::identity::filter::Filter;

/// Whether the actor may see the groups that it may write.
pub fn sees_groups(cx: &Cx) -> bool {
    cx.allow(Action::ReadGroup, cx.confined_to()).is_ok()
}

/// One live group that the actor may see.
pub async fn get_group(cx: &Cx, id: Uuid) -> Result<Group> {
    let group =
        paging::find_live(cx, &GROUP_TABLE, id).await?.filter(|group| cx.owns(group.connection_id));
    let group = group.ok_or_else(|| Error::not_found(Noun::Group))?;
    cx.allow(Action::ReadGroup, group.connection_id)?;
    Ok(group)
}

/// The live groups among `ids` that the actor may see.
pub async fn groups_by_ids(cx: &Cx, ids: &[Uuid]) -> Result<Vec<Group>> {
    cx.allow(Action::ReadGroup, cx.confined_to())?;
    let text = format!(
        "SELECT {GROUP_COLUMNS} FROM {} WHERE r.deleted_at IS NULL",
        paging::each_of(cx.backend(), (1, 2), "group", "r", "id")
    );
    let statement = cx.statement(text, [paging::bind_ids(ids)]);
    Ok(Group::find_by_statement(statement).all(cx.db()).await?)
}

/// A numbered page of live groups that the actor may see.
pub async fn search_groups(cx: &Cx, query: &ListQuery) -> Result<FoundPage<Group>> {
    cx.allow(Action::ReadGroup, cx.confined_to())?;
    paging::search_list(cx, &GROUP_TABLE, &resource_types(cx).await?.group, query).await
}

/// Live groups that `filter` matches, oldest first.
pub async fn list_groups(
    cx: &Cx,
    filter: Option<&Filter>,
    owners: SubjectOwners,
    keyset: &Keyset<Uuid>,
) -> Result<Slice<Group>> {
    cx.allow(Action::ReadGroup, cx.confined_to())?;
    paging::keyset_page(cx, &GROUP_TABLE, &resource_types(cx).await?.group, filter, owners, keyset)
        .await
}

/// Like [`list_groups`], in the order `by`; each group comes with its place in that order.
pub async fn list_groups_ordered(
    cx: &Cx,
    filter: Option<&Filter>,
    owners: SubjectOwners,
    by: OrderBy,
    keyset: &Keyset<OrderPlace>,
) -> Result<Slice<(Group, OrderPlace)>> {
    cx.allow(Action::ReadGroup, cx.confined_to())?;
    paging::ordered_page(
        cx,
        &GROUP_TABLE,
        &resource_types(cx).await?.group,
        (filter, owners),
        by,
        keyset,
    )
    .await
}

/// How many live groups `filter` matches.
pub async fn count_groups(cx: &Cx, filter: Option<&Filter>, owners: SubjectOwners) -> Result<u64> {
    cx.allow(Action::ReadGroup, cx.confined_to())?;
    paging::count_matching(cx, &GROUP_TABLE, &resource_types(cx).await?.group, filter, owners).await
}

/// A direct member of a group.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct NamedMember {
    pub group_id: Uuid,
    pub id: Uuid,
    /// Whether the member is itself a group.
    pub is_group: bool,
    pub display: Option<String>,
}

/// The direct members of each of these groups: users first, then groups, each by id. `named` adds
/// their display names; those of users only if the actor may read users.
pub async fn find_members_of_groups(
    cx: &Cx,
    groups: &[Uuid],
    named: bool,
) -> Result<HashMap<Uuid, Vec<NamedMember>>> {
    cx.allow(Action::ReadGroup, cx.confined_to())?;
    let (among, values) = match groups {
        [one] => ("= $2".into(), (*one).into()),
        _ => (paging::in_ids(cx.backend(), 2), paging::bind_ids(groups)),
    };
    let [user, user_name]: [String; 2] = if named && sees_users(cx) {
        [
            paging::join_each(
                cx.backend(),
                "user",
                "u",
                "u.organization_id = m.organization_id AND u.id = m.user_id",
            ),
            "coalesce(u.display_name, u.user_name)".into(),
        ]
    } else {
        ["".into(), "NULL".into()]
    };
    let [group, group_name]: [String; 2] = if named {
        [
            paging::join_each(
                cx.backend(),
                "group",
                "g",
                "g.organization_id = n.organization_id AND g.id = n.member_id",
            ),
            "g.display_name".into(),
        ]
    } else {
        ["".into(), "NULL".into()]
    };
    let text = format!(
        r#"SELECT m.group_id, m.user_id AS id, FALSE AS is_group, {user_name} AS display
           FROM membership m {user} WHERE m.organization_id = $1 AND {open_user}
             AND m.group_id {among}
           UNION ALL
           SELECT n.group_id, n.member_id, TRUE, {group_name} FROM group_nesting n {group}
           WHERE n.organization_id = $1 AND {open_group} AND n.group_id {among}
           ORDER BY 1, 3, 2"#,
        open_user = is_open_in_group("m"),
        open_group = is_open_in_group("n"),
    );
    let statement = cx.statement(text, [values]);
    let rows: Vec<NamedMember> = match groups.len() {
        1 => paging::query_along_text(cx, statement).await?,
        _ => NamedMember::find_by_statement(statement).all(cx.db()).await?,
    };
    let mut members: HashMap<Uuid, Vec<NamedMember>> = HashMap::new();
    for row in rows {
        members.entry(row.group_id).or_default().push(row);
    }
    Ok(members)
}

/// Whether a group has at most `limit` users as direct members; reads no more rows than that.
pub async fn has_at_most_users(cx: &Cx, id: Uuid, limit: u64) -> Result<bool> {
    cx.allow(Action::ReadGroup, cx.confined_to())?;
    let text = format!(
        "SELECT 1 FROM membership WHERE organization_id = $1 AND group_id = $2 AND \
         {IS_OPEN_IN_GROUP} LIMIT 1 OFFSET {limit}"
    );
    let values = [id.into()];
    Ok(cx.db().query_batched(cx.statement(text, values)).await?.is_empty())
}
