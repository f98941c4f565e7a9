//! Reads accounts: one, a list, and optionally the groups that they are in.

use chrono::{DateTime, Utc};
use sea_orm::{DbBackend, FromQueryResult};
use uuid::Uuid;

use super::{USER_COLUMNS, USER_TABLE, User};
use crate::auth::policy::Action;
use crate::context::Cx;
use crate::domain::access;
use crate::domain::access::AsOf;
use crate::domain::audit::subject_owners::SubjectOwners;
use crate::domain::directory::group::sees_groups;
use crate::domain::directory::schema_extension::resource_types;
use crate::domain::directory::search_word;
use crate::domain::paging;
use crate::domain::paging::order::{OrderBy, OrderPlace};
use crate::domain::paging::selection::{RowNarrowing, RowSelection};
use crate::domain::paging::{FoundPage, Keyset, ListQuery, ListTable, Slice};
use crate::error::{Error, Noun, Result};
use crate::identity::filter::Filter;

/// One live account that the actor may see.
pub async fn get_user(cx: &Cx, id: Uuid) -> Result<User> {
    Ok(get_user_with_groups(cx, id, false).await?.user)
}

/// Like [`get_user`]; `with_groups` also returns the account's groups, if the actor may see them.
pub async fn get_user_with_groups(cx: &Cx, id: Uuid, with_groups: bool) -> Result<UserWithGroups> {
    find_user_with_groups(cx, id, with_groups, Action::ReadUser).await
}

/// One live account, as it is now, to which the actor may do `action`.
pub(super) async fn find_user_with_groups(
    cx: &Cx,
    id: Uuid,
    with_groups: bool,
    action: Action,
) -> Result<UserWithGroups> {
    let found = paging::find_live(cx, &user_table_with_groups(cx, with_groups), id).await?;
    let found = found
        .filter(|row| cx.owns(row.user.connection_id))
        .ok_or_else(|| Error::not_found(Noun::User))?;
    cx.allow(action, found.user.connection_id)?;
    UserWithGroups::from_row(&found)
}

/// The live accounts among `ids` that the actor may see.
pub async fn users_by_ids(cx: &Cx, ids: &[Uuid]) -> Result<Vec<User>> {
    cx.allow(Action::ReadUser, cx.confined_to())?;
    let text = format!(
        "SELECT {USER_COLUMNS} FROM {} WHERE r.deleted_at IS NULL",
        paging::each_of(cx.backend(), (1, 2), "user", "r", "id")
    );
    let statement = cx.statement(text, [paging::bind_ids(ids)]);
    Ok(User::find_by_statement(statement).all(cx.db()).await?)
}

/// An account in a list, with the groups that it is in, by name.
#[derive(Debug, Clone, PartialEq)]
pub struct UserWithGroups {
    pub user: User,
    pub groups: Vec<GroupOfUser>,
}

#[derive(FromQueryResult)]
struct UserWithGroupsRow {
    #[sea_orm(nested)]
    user: User,
    /// Triples of id, name, and whether the account is in the group itself, as JSON.
    groups: Option<String>,
}

impl UserWithGroups {
    fn from_row(row: &UserWithGroupsRow) -> Result<Self> {
        let groups: Vec<(Uuid, String, bool)> = match &row.groups {
            Some(text) => {
                serde_json::from_str(text).map_err(|error| Error::Internal(error.to_string()))?
            }
            None => Vec::new(),
        };
        let of = |(id, display_name, direct)| GroupOfUser { id, display_name, direct };
        Ok(Self { user: row.user.clone(), groups: groups.into_iter().map(of).collect() })
    }
}

/// Whether the actor may see the accounts that it may write.
pub fn sees_users(cx: &Cx) -> bool {
    cx.allow(Action::ReadUser, cx.confined_to()).is_ok()
}

/// The table of accounts; `with_groups` also reads their groups, if the actor may see them.
fn user_table_with_groups(cx: &Cx, with_groups: bool) -> ListTable<UserWithGroupsRow> {
    // A connection sees only its own accounts and its own groups.
    let own =
        if cx.confined_to().is_some() { " AND g.connection_id = r.connection_id" } else { "" };
    // The query goes from the account to its groups, and from each group to the groups around it,
    // along indexes. Otherwise SQLite, which keeps no statistics, would scan all groups in order,
    // and so would PostgreSQL before it has statistics.
    let member = "SELECT m.group_id, TRUE FROM membership m \
         WHERE m.organization_id = r.organization_id AND m.user_id = r.id AND m.until IS NULL";
    let around = "group_nesting n \
         WHERE n.organization_id = r.organization_id AND n.member_id = a.id AND n.until IS NULL";
    let group = format!(
        r#""group" g WHERE g.organization_id = r.organization_id AND g.id = a.id
           AND g.deleted_at IS NULL{own}"#
    );
    let groups = match cx.backend() {
        _ if !(with_groups && sees_groups(cx)) => "NULL".into(),
        DbBackend::Postgres => format!(
            "(SELECT json_agg(json_build_array(a.id, g.display_name, a.direct) \
             ORDER BY g.display_name_key, a.id)::text \
              FROM (WITH RECURSIVE above(id, direct) AS ({member} UNION \
              SELECT n.group_id, FALSE FROM above a \
                CROSS JOIN LATERAL (SELECT n.group_id FROM {around} OFFSET 0) n) \
                SELECT id, bool_or(direct) AS direct FROM above GROUP BY id) a \
              CROSS JOIN LATERAL (SELECT g.display_name, g.display_name_key \
              FROM {group} OFFSET 0) g)"
        ),
        _ => format!(
            "(SELECT json_group_array(json_array(hex(id), display_name, json(iif(direct, 'true', \
             'false')))) FROM (\
              WITH RECURSIVE above(id, direct) AS ({member} UNION SELECT n.group_id, FALSE \
              FROM above a CROSS JOIN {around}) \
              SELECT a.id, g.display_name, max(a.direct) AS direct FROM above a CROSS JOIN {group} \
              GROUP BY a.id ORDER BY g.display_name_key, a.id))"
        ),
    };
    let columns = format!("{USER_COLUMNS}, {groups} AS groups").into();
    ListTable { name: "user", columns, id: |row: &UserWithGroupsRow| row.user.id }
}

/// A page of live accounts that the actor may see; `with_groups` also returns their groups, if the
/// actor may see them.
pub async fn search_users(
    cx: &Cx,
    query: &ListQuery,
    with_groups: bool,
) -> Result<FoundPage<UserWithGroups>> {
    cx.allow(Action::ReadUser, cx.confined_to())?;
    paging::search_list(
        cx,
        &user_table_with_groups(cx, with_groups),
        &resource_types(cx).await?.user,
        query,
    )
    .await?
    .map(UserWithGroups::from_row)
}

/// The accounts that a list has: those that match all parts; none = any.
#[derive(Debug, Clone, Default)]
pub struct UserQuery {
    pub filter: Option<Filter>,
    pub owners: SubjectOwners,
    /// Each of its words begins a word of the account: of its names, its addresses, its external id
    /// or its employee number.
    pub search: Option<String>,
    /// Exactly this department, in any case.
    pub department: Option<String>,
    pub external_id: Option<String>,
    pub ids: Option<Vec<Uuid>>,
    /// Members of this group; true = also through groups in it.
    pub group: Option<(Uuid, bool)>,
    /// Members of this group, too: the list is about them.
    pub within: Option<(Uuid, bool)>,
    /// Holders of this role.
    pub role: Option<Uuid>,
    /// Holders of this role, too: the list is about them.
    pub holding: Option<Uuid>,
    pub protected: Option<bool>,
    pub updated_since: Option<DateTime<Utc>>,
}

impl UserQuery {
    /// The conditions beside the filter and the owner; none if nothing fulfils them. `all` = every
    /// row is read, not only a page.
    async fn narrow_rows(&self, cx: &Cx, all: bool) -> Result<Option<Vec<RowNarrowing>>> {
        let mut narrow = Vec::new();
        if self.group.is_some() || self.role.is_some() {
            cx.allow(Action::ReadIam, None)?;
        }
        if let Some(search) = &self.search {
            match search_word::narrow_by_search(cx, "user", search, all).await? {
                Some(words) => narrow.extend(words),
                None => return Ok(None),
            }
        }
        if let Some(department) = &self.department {
            narrow.push(RowNarrowing::WholeWord(search_word::department_word(department)));
        }
        if let Some(id) = &self.external_id {
            narrow.push(RowNarrowing::WholeWord(search_word::id_word(id)));
            narrow.push(RowNarrowing::ExternalId(id.clone()));
        }
        for (group, transitive) in self.group.into_iter().chain(self.within) {
            narrow.push(RowNarrowing::InGroup { group, transitive });
        }
        for role in self.role.into_iter().chain(self.holding) {
            // One instant for both statements: what is planned to end may end between them.
            let at = cx.app.clock.now();
            let sources = access::find_sources(cx, cx.db(), Some(role), AsOf::Planned(at)).await?;
            narrow.push(RowNarrowing::Holds {
                role,
                groups: sources.groups.into_iter().collect(),
                connections: sources.connections.into_iter().collect(),
                at,
            });
        }
        narrow.extend(self.ids.clone().map(RowNarrowing::Ids));
        narrow.extend(self.protected.map(RowNarrowing::Protected));
        narrow.extend(self.updated_since.map(RowNarrowing::UpdatedSince));
        Ok(Some(narrow))
    }
}

/// Live accounts that `query` selects, in the order `by`, each with its place in it.
pub async fn list_users(
    cx: &Cx,
    query: &UserQuery,
    by: OrderBy,
    keyset: &Keyset<OrderPlace>,
) -> Result<Slice<(User, OrderPlace)>> {
    cx.allow(Action::ReadUser, cx.confined_to())?;
    let Some(narrow) = query.narrow_rows(cx, false).await? else { return Ok(Slice::empty()) };
    let selection =
        RowSelection { filter: query.filter.as_ref(), owners: query.owners, narrow: &narrow };
    let ty = &resource_types(cx).await?.user;
    paging::ordered_page(cx, &USER_TABLE, ty, selection, by, keyset).await
}

/// How many live accounts `query` selects.
pub async fn count_users(cx: &Cx, query: &UserQuery) -> Result<u64> {
    cx.allow(Action::ReadUser, cx.confined_to())?;
    let Some(narrow) = query.narrow_rows(cx, true).await? else { return Ok(0) };
    let selection =
        RowSelection { filter: query.filter.as_ref(), owners: query.owners, narrow: &narrow };
    paging::count_matching(cx, &USER_TABLE, &resource_types(cx).await?.user, selection).await
}

/// A group that an account is in.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupOfUser {
    pub id: Uuid,
    pub display_name: String,
    /// Whether the account is a member of the group itself, not only of a group within it.
    pub direct: bool,
}

/// The groups that a live account is in, by name, if the actor may see them.
pub async fn list_groups_of_user(cx: &Cx, user: Uuid) -> Result<Vec<GroupOfUser>> {
    let found = paging::find_live(cx, &user_table_with_groups(cx, true), user).await?;
    found.map_or(Ok(Vec::new()), |row| Ok(UserWithGroups::from_row(&row)?.groups))
}
