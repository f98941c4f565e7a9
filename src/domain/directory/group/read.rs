//! Reads groups: one, a list, and the members of some.

use chrono::{DateTime, Utc};
use sea_orm::FromQueryResult;
use std::collections::HashMap;
use uuid::Uuid;

use super::{GROUP_COLUMNS, GROUP_TABLE, Group};
use crate::auth::policy::Action;
use crate::context::Cx;
use crate::domain::audit::subject_owners::SubjectOwners;
use crate::domain::directory::schema_extension::resource_types;
use crate::domain::directory::search_word;
use crate::domain::directory::user::sees_users;
use crate::domain::interval::{IS_OPEN_IN_GROUP, is_open_in_group};
use crate::domain::paging;
use crate::domain::paging::order::{OrderBy, OrderPlace};
use crate::domain::paging::selection::{MemberOf, RowNarrowing, RowSelection};
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

/// The groups that a list has: those that match all parts; none = any.
#[derive(Debug, Clone, Default)]
pub struct GroupQuery {
    pub filter: Option<Filter>,
    pub owners: SubjectOwners,
    /// Each of its words begins a word of the group's name, or its external id.
    pub search: Option<String>,
    pub external_id: Option<String>,
    pub ids: Option<Vec<Uuid>>,
    /// Groups that contain this; true = also through other groups.
    pub member: Option<(MemberOf, bool)>,
    /// Groups that are nested in this one.
    pub parent: Option<Uuid>,
    /// Groups that are mapped to this role.
    pub role: Option<Uuid>,
    /// The fewest and the most direct members.
    pub size: (Option<u64>, Option<u64>),
    pub updated_since: Option<DateTime<Utc>>,
}

impl GroupQuery {
    /// The conditions beside the filter and the owner; none if nothing fulfils them. `all` = every
    /// row is read, not only a page.
    async fn narrow_rows(&self, cx: &Cx, all: bool) -> Result<Option<Vec<RowNarrowing>>> {
        let mut narrow = Vec::new();
        if let Some(search) = &self.search {
            match search_word::narrow_by_search(cx, "group", search, all).await? {
                Some(words) => narrow.extend(words),
                None => return Ok(None),
            }
        }
        if let Some(id) = &self.external_id {
            narrow.push(RowNarrowing::WholeWord(search_word::id_word(id)));
            narrow.push(RowNarrowing::ExternalId(id.clone()));
        }
        if let Some((member, transitive)) = self.member {
            narrow.push(RowNarrowing::Contains { member, transitive });
        }
        narrow.extend(self.parent.map(RowNarrowing::NestedIn));
        narrow.extend(self.role.map(RowNarrowing::MappedTo));
        narrow.extend(self.ids.clone().map(RowNarrowing::Ids));
        narrow.extend(self.updated_since.map(RowNarrowing::UpdatedSince));
        let (least, most) = self.size;
        if least.is_some() || most.is_some() {
            narrow.push(RowNarrowing::Size { least, most });
        }
        Ok(Some(narrow))
    }
}

/// Live groups that `query` selects, in the order `by`, each with its place in it.
pub async fn list_groups(
    cx: &Cx,
    query: &GroupQuery,
    by: OrderBy,
    keyset: &Keyset<OrderPlace>,
) -> Result<Slice<(Group, OrderPlace)>> {
    cx.allow(Action::ReadGroup, cx.confined_to())?;
    let Some(narrow) = query.narrow_rows(cx, false).await? else { return Ok(Slice::empty()) };
    let selection =
        RowSelection { filter: query.filter.as_ref(), owners: query.owners, narrow: &narrow };
    let ty = &resource_types(cx).await?.group;
    paging::ordered_page(cx, &GROUP_TABLE, ty, selection, by, keyset).await
}

/// How many live groups `query` selects.
pub async fn count_groups(cx: &Cx, query: &GroupQuery) -> Result<u64> {
    cx.allow(Action::ReadGroup, cx.confined_to())?;
    let Some(narrow) = query.narrow_rows(cx, true).await? else { return Ok(0) };
    let selection =
        RowSelection { filter: query.filter.as_ref(), owners: query.owners, narrow: &narrow };
    paging::count_matching(cx, &GROUP_TABLE, &resource_types(cx).await?.group, selection).await
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
