//! Which actors may give a role. An actor that brings an account within reach of a role mapping
//! gives that role, so it needs the permission that a direct grant needs. A role whose permissions
//! have names of our own gives these to its holders where they sign in to the console, so who makes
//! such a role, or gives it in any way, must hold them, too. To remove an account from a group
//! gives no role, so it is never refused here: an off-boarding must not wait for a second
//! permission.
//!
//! A connection needs no permission: mappings are made for what its identity provider writes.

use chrono::{DateTime, Utc};
use sea_orm::{ColumnTrait, ConnectionTrait, QueryFilter};
use uuid::Uuid;

use crate::auth::policy::{Permission, Scope};
use crate::context::{Cx, Tx};
use crate::domain::access::permission_names::{names_permission, role_permissions};
use crate::domain::directory::MAX_NESTING_DEPTH;
use crate::domain::paging;
use crate::error::{Error, Result};

/// Whether the actor may bring accounts within reach of every role mapping, whatever role it gives.
pub(in crate::domain) fn may_give_every_role(cx: &Cx) -> bool {
    may_give_roles(cx) && missing_permissions(cx).is_empty()
}

/// Whether the actor may bring accounts within reach of a role mapping.
fn may_give_roles(cx: &Cx) -> bool {
    cx.confined_to().is_some() || cx.holds(Permission::AccessWrite)
}

/// Permissions that a role may give in the console, and the actor may not give.
fn missing_permissions(cx: &Cx) -> Vec<Permission> {
    if cx.confined_to().is_some() {
        return Vec::new();
    }
    let all = Permission::in_organization().into_iter();
    all.filter(|permission| !cx.holds(*permission)).collect()
}

/// Refuses to give permissions of the console that the actor does not hold: those of these names.
///
/// # Errors
/// [`Error::Forbidden`] naming the missing permission.
pub(in crate::domain) fn check_permission_names<'a>(
    cx: &Cx,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<()> {
    let missing = missing_permissions(cx);
    let named = |name: &str| missing.iter().find(|permission| permission.name() == name).copied();
    match names.into_iter().find_map(named) {
        Some(permission) => Err(console_error(permission)),
        None => Ok(()),
    }
}

/// Refuses to give a role whose permissions the actor does not hold, as far as they are ours.
///
/// # Errors
/// [`Error::Forbidden`] naming the missing permission.
pub(in crate::domain) fn check_role(cx: &Cx, given: &entity::role::Model) -> Result<()> {
    let names = role_permissions(given);
    check_permission_names(cx, names.iter().map(String::as_str))
}

/// Whether a planned end moves away, or is no more: what is given is given for longer.
pub(super) fn ends_later(after: Option<DateTime<Utc>>, before: Option<DateTime<Utc>>) -> bool {
    before.is_some_and(|before| after.is_none_or(|after| after > before))
}

fn console_error(permission: Permission) -> Error {
    let why = format!(
        "this needs the permission {permission}: a role with this name among its permissions \
         gives it in the console"
    );
    Error::lacks_permission(permission.name(), why)
}

/// SQL that is true for a mapping `x` whose role the actor may not give.
fn forbidden_mapping(cx: &Cx, tx: &Tx<'_>) -> String {
    if !may_give_roles(cx) {
        return "TRUE".into();
    }
    let backend = tx.db.get_database_backend();
    let named = missing_permissions(cx)
        .into_iter()
        .map(|permission| names_permission(backend, "p", &format!("'{}'", permission.name())));
    let named = named.collect::<Vec<_>>().join(" OR ");
    format!(
        "EXISTS (SELECT 1 FROM role p WHERE p.organization_id = $1 AND p.id = x.role_id \
         AND ({named}))"
    )
}

/// Refuses to add members to `group` if that gives them a role: the group, or one that contains it,
/// is mapped to a role, or a mapping waits for it.
///
/// # Errors
/// [`Error::Forbidden`] naming the missing permission.
pub(in crate::domain) async fn check_group(cx: &Cx, tx: &Tx<'_>, group: Uuid) -> Result<()> {
    if may_give_every_role(cx) {
        return Ok(());
    }
    let forbidden = forbidden_mapping(cx, tx);
    let text = format!(
        r#"WITH RECURSIVE above(id, depth) AS (
             SELECT g.id, 0 FROM "group" g WHERE g.organization_id = $1 AND g.id = $2
             UNION SELECT n.group_id, a.depth + 1 FROM above a JOIN group_nesting n
               ON n.organization_id = $1 AND n.member_id = a.id AND n.until IS NULL
               WHERE a.depth <= {MAX_NESTING_DEPTH})
           SELECT x.role_id FROM above a
             JOIN role_mapping x ON x.organization_id = $1 AND x.group_id = a.id
             WHERE x.until IS NULL AND (x.expires_at IS NULL OR x.expires_at > $3) AND {forbidden}
           UNION ALL
           SELECT x.role_id FROM above a JOIN "group" g ON g.organization_id = $1 AND g.id = a.id
             JOIN role_mapping x ON x.organization_id = $1 AND x.connection_id = g.connection_id
             WHERE x.group_id IS NULL AND x.until IS NULL AND (x.expires_at IS NULL
             OR x.expires_at > $3)
               AND ((x.match_attribute = 'EXTERNAL_ID' AND x.match_value = g.external_id)
                 OR (x.match_attribute = 'DISPLAY_NAME' AND x.match_value = g.display_name_key))
               AND {forbidden}
           LIMIT 1"#
    );
    let values = [group.into(), cx.app.clock.now().into()];
    refuse_if_found(cx, tx, text, values, "its members hold a role by a role mapping").await
}

/// Refuses to give an account to `connection` if the connection has a default role, which all of
/// its accounts hold.
///
/// # Errors
/// [`Error::Forbidden`] naming the missing permission.
pub(in crate::domain) async fn check_connection(
    cx: &Cx,
    tx: &Tx<'_>,
    connection: Uuid,
) -> Result<()> {
    if may_give_every_role(cx) {
        return Ok(());
    }
    let forbidden = forbidden_mapping(cx, tx);
    let text = format!(
        "SELECT x.role_id FROM role_mapping x WHERE x.organization_id = $1 \
         AND x.connection_id = $2 AND x.group_id IS NULL \
         AND x.match_attribute = 'EVERYBODY' AND x.until IS NULL AND (x.expires_at IS NULL \
         OR x.expires_at > $3) AND {forbidden} LIMIT 1"
    );
    let values = [connection.into(), cx.app.clock.now().into()];
    refuse_if_found(cx, tx, text, values, "all accounts of its connection hold a role").await
}

/// Refuses to create a group of `connection` if a role mapping waits for a group of this
/// connection.
///
/// # Errors
/// [`Error::Forbidden`] naming the missing permission.
pub(in crate::domain) async fn check_awaited(cx: &Cx, tx: &Tx<'_>, connection: Uuid) -> Result<()> {
    if may_give_every_role(cx) {
        return Ok(());
    }
    let forbidden = forbidden_mapping(cx, tx);
    let text = format!(
        "SELECT x.role_id FROM role_mapping x WHERE x.organization_id = $1 \
         AND x.connection_id = $2 AND x.group_id IS NULL \
         AND x.match_attribute <> 'EVERYBODY' AND x.until IS NULL AND (x.expires_at IS NULL \
         OR x.expires_at > $3) AND {forbidden} LIMIT 1"
    );
    let values = [connection.into(), cx.app.clock.now().into()];
    let why = "a role mapping waits for a group of this connection";
    refuse_if_found(cx, tx, text, values, why).await
}

/// Refuses a change that bound waiting role mappings to a group.
///
/// # Errors
/// [`Error::Forbidden`] naming the missing permission.
pub(in crate::domain) async fn check_bound(cx: &Cx, tx: &Tx<'_>, bound: &[Uuid]) -> Result<()> {
    if bound.is_empty() || may_give_every_role(cx) {
        return Ok(());
    }
    let text = format!(
        "SELECT x.role_id FROM role_mapping x WHERE x.organization_id = $1 \
         AND x.mapping_id {} AND x.until IS NULL AND {} LIMIT 1",
        paging::in_ids(tx.db.get_database_backend(), 2),
        forbidden_mapping(cx, tx)
    );
    let values = [paging::bind_ids(bound)];
    let why = "a role mapping waits for a group of this name";
    refuse_if_found(cx, tx, text, values, why).await
}

/// Refuses to decide who writes the groups of `connection` if that gives a role that the actor may
/// not give: one that these groups, or groups that contain them, are mapped to.
async fn check_groups_of(cx: &Cx, tx: &Tx<'_>, connection: Uuid) -> Result<()> {
    if may_give_every_role(cx) {
        return Ok(());
    }
    check_awaited(cx, tx, connection).await?;
    // From the mappings down: few roles have permissions of the console.
    let forbidden = forbidden_mapping(cx, tx);
    let text = format!(
        r#"WITH RECURSIVE below(id, role_id, depth) AS (
             SELECT x.group_id, x.role_id, 0 FROM role_mapping x WHERE x.organization_id = $1
               AND x.group_id IS NOT NULL AND x.until IS NULL
               AND (x.expires_at IS NULL OR x.expires_at > $3) AND {forbidden}
             UNION SELECT n.member_id, b.role_id, b.depth + 1 FROM below b JOIN group_nesting n
               ON n.organization_id = $1 AND n.group_id = b.id AND n.until IS NULL
               WHERE b.depth <= {MAX_NESTING_DEPTH})
           SELECT b.role_id FROM below b JOIN "group" g ON g.organization_id = $1 AND g.id = b.id
             WHERE g.connection_id = $2 AND g.deleted_at IS NULL LIMIT 1"#
    );
    let values = [connection.into(), cx.app.clock.now().into()];
    let why = "members of groups of this connection hold a role by a role mapping";
    refuse_if_found(cx, tx, text, values, why).await
}

/// Refuses to decide where the accounts and groups of `connection` come from, unless the actor may
/// issue a SCIM token of it with all scopes: who names the source writes what it says.
///
/// # Errors
/// [`Error::Forbidden`] naming the missing permission.
pub(in crate::domain) async fn check_directory_source(
    cx: &Cx,
    tx: &Tx<'_>,
    connection: Uuid,
) -> Result<()> {
    let needed = [Permission::UserWrite, Permission::AccessWrite];
    if let Some(missing) = needed.into_iter().find(|permission| !cx.holds(*permission)) {
        let why = format!(
            "this needs the permission {missing}: who says where a connection takes people and \
             groups from decides who holds the roles that these are mapped to"
        );
        return Err(Error::lacks_permission(missing.name(), why));
    }
    check_connection(cx, tx, connection).await?;
    check_groups_of(cx, tx, connection).await
}

/// Refuses to issue a SCIM token of `connection` that allows more than the actor may do. A token
/// that writes groups gives the roles that they are mapped to; one that writes users gives the
/// connection's default role, if it has one.
///
/// # Errors
/// [`Error::Forbidden`] naming the scope and the missing permission.
pub(in crate::domain) async fn check_scopes<'a>(
    cx: &Cx,
    tx: &Tx<'_>,
    connection: Uuid,
    scopes: impl IntoIterator<Item = &'a Scope>,
) -> Result<()> {
    for scope in scopes {
        let missing = scope.permissions().iter().find(|permission| !cx.holds(**permission));
        if let Some(missing) = missing {
            let why = format!(
                "a token with the scope {} takes the permission {missing}, which you do not hold",
                scope.name()
            );
            return Err(Error::lacks_permission(missing.name(), why));
        }
        match scope {
            Scope::UsersWrite => check_connection(cx, tx, connection).await?,
            Scope::GroupsWrite => check_groups_of(cx, tx, connection).await?,
            Scope::UsersRead | Scope::GroupsRead => {}
        }
    }
    Ok(())
}

/// Refuses, for `why`, if the statement finds a role.
async fn refuse_if_found<const N: usize>(
    cx: &Cx,
    tx: &Tx<'_>,
    text: String,
    values: [sea_orm::Value; N],
    why: &str,
) -> Result<()> {
    let Some(found) = tx.db.query_one_raw(tx.statement(text, values)).await? else {
        return Ok(());
    };
    if may_give_roles(cx) {
        let given = tx.find::<entity::role::Entity>();
        let given =
            given.filter(entity::role::Column::Id.eq(found.try_get::<Uuid>("", "role_id")?));
        if let Some(given) = given.one(&tx.db).await? {
            return check_role(cx, &given);
        }
    }
    let permission = Permission::AccessWrite;
    let why = format!("this needs the permission {permission}: {why}");
    Err(Error::lacks_permission(permission.name(), why))
}
