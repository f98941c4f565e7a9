//! Accounts as they are read: one, a list, on wish with the groups that they are in.

use sea_orm::{DbBackend, FromQueryResult, Statement};
use uuid::Uuid;

use super::{COLUMNS, TABLE, User};
use crate::authz::Action;
use crate::context::Cx;
use crate::domain::event::Owners;
use crate::domain::extension::types;
use crate::domain::group::sees_groups;
use crate::domain::list::{self, Found, Keyset, Query, Slice, Table};
use crate::domain::order::{By, Place};
use crate::domain::search::Filter;
use crate::error::{Error, Result};

/// One live account that the actor may see.
pub async fn get(cx: &Cx, id: Uuid) -> Result<User> {
    Ok(listed(cx, id, false).await?.user)
}

/// The same, on wish with its groups where the actor may see those.
pub async fn listed(cx: &Cx, id: Uuid, with_groups: bool) -> Result<Listed> {
    one(cx, id, with_groups, Action::ReadUser).await
}

/// One live account, as it is now, to which the actor may do `action`.
pub(super) async fn one(cx: &Cx, id: Uuid, with_groups: bool, action: Action) -> Result<Listed> {
    let found = list::one(cx, &listed_table(cx, with_groups), id).await?;
    let found = found.filter(|row| cx.sees(row.user.connection_id)).ok_or_else(|| Error::not_found("the user"))?;
    cx.allow(action, found.user.connection_id)?;
    Listed::of(&found)
}

/// The live accounts among `ids` that the actor may see.
pub async fn by_ids(cx: &Cx, ids: &[Uuid]) -> Result<Vec<User>> {
    cx.allow(Action::ReadUser, cx.confined_to())?;
    let text = format!(
        r#"SELECT {COLUMNS} FROM "user" r WHERE r.organization_id = $1 AND r.deleted_at IS NULL AND r.id {}"#,
        list::among(cx.backend(), 2)
    );
    let statement = Statement::from_sql_and_values(cx.backend(), text, [cx.organization().into(), list::ids(ids)]);
    Ok(User::find_by_statement(statement).all(cx.db()).await?)
}

/// An account in a list, with the groups that it is in, by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    pub user: User,
    pub groups: Vec<GroupOf>,
}

#[derive(FromQueryResult)]
struct ListedRow {
    #[sea_orm(nested)]
    user: User,
    /// Triples of id, name, and whether the account is in the group itself, as JSON.
    groups: Option<String>,
}

impl Listed {
    fn of(row: &ListedRow) -> Result<Self> {
        let groups: Vec<(Uuid, String, bool)> = match &row.groups {
            Some(text) => serde_json::from_str(text).map_err(|error| Error::Internal(error.to_string()))?,
            None => Vec::new(),
        };
        let of = |(id, display_name, direct)| GroupOf { id, display_name, direct };
        Ok(Self { user: row.user.clone(), groups: groups.into_iter().map(of).collect() })
    }
}

/// Whether the actor may see the accounts that it may write.
pub fn sees_users(cx: &Cx) -> bool {
    cx.allow(Action::ReadUser, cx.confined_to()).is_ok()
}

/// Accounts, on wish with their groups where the actor may see those.
fn listed_table(cx: &Cx, with_groups: bool) -> Table<ListedRow> {
    // A connection sees its own accounts, and of their groups its own.
    let own = if cx.confined_to().is_some() { " AND g.connection_id = r.connection_id" } else { "" };
    // From the account to its groups and from each to those around it, along indexes: SQLite, which keeps no statistics,
    // would walk through all groups in their order, and so would PostgreSQL before it has any.
    let member = "SELECT m.group_id, TRUE FROM membership m \
         WHERE m.organization_id = r.organization_id AND m.user_id = r.id AND m.until IS NULL";
    let around = "group_nesting n \
         WHERE n.organization_id = r.organization_id AND n.member_id = a.id AND n.until IS NULL";
    let group = format!(
        r#""group" g WHERE g.organization_id = r.organization_id AND g.id = a.id AND g.deleted_at IS NULL{own}"#
    );
    let groups = match cx.backend() {
        _ if !(with_groups && sees_groups(cx)) => "NULL".into(),
        DbBackend::Postgres => format!(
            "(SELECT json_agg(json_build_array(a.id, g.display_name, a.direct) ORDER BY g.display_name_key, a.id)::text \
              FROM (WITH RECURSIVE above(id, direct) AS ({member} UNION SELECT n.group_id, FALSE FROM above a \
                CROSS JOIN LATERAL (SELECT n.group_id FROM {around} OFFSET 0) n) \
                SELECT id, bool_or(direct) AS direct FROM above GROUP BY id) a \
              CROSS JOIN LATERAL (SELECT g.display_name, g.display_name_key FROM {group} OFFSET 0) g)"
        ),
        _ => format!(
            "(SELECT json_group_array(json_array(hex(id), display_name, json(iif(direct, 'true', 'false')))) FROM (\
              WITH RECURSIVE above(id, direct) AS ({member} UNION SELECT n.group_id, FALSE FROM above a CROSS JOIN {around}) \
              SELECT a.id, g.display_name, max(a.direct) AS direct FROM above a CROSS JOIN {group} \
              GROUP BY a.id ORDER BY g.display_name_key, a.id))"
        ),
    };
    let columns = format!("{COLUMNS}, {groups} AS groups").into();
    Table { name: "user", columns, id: |row: &ListedRow| row.user.id }
}

/// A page of live accounts that the actor may see, on wish with their groups where the actor may see those.
pub async fn search(cx: &Cx, query: &Query, with_groups: bool) -> Result<Found<Listed>> {
    cx.allow(Action::ReadUser, cx.confined_to())?;
    list::search(cx, &listed_table(cx, with_groups), &types(cx).await?.user, query).await?.map(Listed::of)
}

/// Live accounts that `filter` matches, oldest first.
pub async fn list(cx: &Cx, filter: Option<&Filter>, owners: Owners, keyset: &Keyset<Uuid>) -> Result<Slice<User>> {
    cx.allow(Action::ReadUser, cx.confined_to())?;
    list::keyset(cx, &TABLE, &types(cx).await?.user, filter, owners, keyset).await
}

/// The same in another order, each with its place.
pub async fn ordered(
    cx: &Cx,
    filter: Option<&Filter>,
    owners: Owners,
    by: By,
    keyset: &Keyset<Place>,
) -> Result<Slice<(User, Place)>> {
    cx.allow(Action::ReadUser, cx.confined_to())?;
    list::ordered(cx, &TABLE, &types(cx).await?.user, (filter, owners), by, keyset).await
}

/// How many live accounts `filter` matches.
pub async fn count(cx: &Cx, filter: Option<&Filter>, owners: Owners) -> Result<u64> {
    cx.allow(Action::ReadUser, cx.confined_to())?;
    list::count(cx, &TABLE, &types(cx).await?.user, filter, owners).await
}

/// A group that an account is in.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupOf {
    pub id: Uuid,
    pub display_name: String,
    /// Whether the account is a member of the group itself, not only of a group within it.
    pub direct: bool,
}

/// The groups that a live account is in, by name, where the actor may see those.
pub async fn groups_of(cx: &Cx, user: Uuid) -> Result<Vec<GroupOf>> {
    let found = list::one(cx, &listed_table(cx, true), user).await?;
    found.map_or(Ok(Vec::new()), |row| Ok(Listed::of(&row)?.groups))
}
