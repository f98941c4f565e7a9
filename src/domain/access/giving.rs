//! Which actors may give a role by indirect means. An actor that brings an account within reach of
//! a role mapping gives that role, so it needs the permission that a direct grant needs. To remove
//! an account from a group gives no role, so it is never refused here: an off-boarding must not
//! wait for a second permission.
//!
//! A connection needs no permission: mappings are made for what its identity provider writes.

use sea_orm::ConnectionTrait;
use uuid::Uuid;

use crate::auth::policy::{Permission, Scope};
use crate::context::{Cx, Tx};
use crate::domain::directory::group::MAX_NESTING_DEPTH;
use crate::error::{Error, Result};

/// Whether the actor may bring accounts within reach of a role mapping.
pub(in crate::domain) fn may_give_roles(cx: &Cx) -> bool {
    cx.confined_to().is_some() || cx.holds(Permission::AccessWrite)
}

/// Refuses to add members to `group` if that gives them a role: the group, or one that contains it,
/// is mapped to a role, or a mapping waits for it.
///
/// # Errors
/// [`Error::Forbidden`] naming the missing permission.
pub(in crate::domain) async fn check_group(cx: &Cx, tx: &Tx<'_>, group: Uuid) -> Result<()> {
    if may_give_roles(cx) {
        return Ok(());
    }
    let text = format!(
        r#"WITH RECURSIVE above(id, depth) AS (
             SELECT g.id, 0 FROM "group" g WHERE g.organization_id = $1 AND g.id = $2
             UNION SELECT n.group_id, a.depth + 1 FROM above a JOIN group_nesting n
               ON n.organization_id = $1 AND n.member_id = a.id AND n.until IS NULL
               WHERE a.depth <= {MAX_NESTING_DEPTH})
           SELECT 1 FROM above a JOIN role_mapping x ON x.organization_id = $1 AND x.group_id = a.id
             WHERE x.until IS NULL AND (x.expires_at IS NULL OR x.expires_at > $3)
           UNION ALL
           SELECT 1 FROM above a JOIN "group" g ON g.organization_id = $1 AND g.id = a.id
             JOIN role_mapping x ON x.organization_id = $1 AND x.connection_id = g.connection_id
             WHERE x.group_id IS NULL AND x.until IS NULL AND (x.expires_at IS NULL
             OR x.expires_at > $3)
               AND ((x.match_attribute = 'EXTERNAL_ID' AND x.match_value = g.external_id)
                 OR (x.match_attribute = 'DISPLAY_NAME' AND x.match_value = g.display_name_key))
           LIMIT 1"#
    );
    let values = [group.into(), cx.app.clock.now().into()];
    refuse_if_found(tx, text, values, "its members hold a role by a role mapping").await
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
    if may_give_roles(cx) {
        return Ok(());
    }
    let text = "SELECT 1 FROM role_mapping x WHERE x.organization_id = $1 \
                AND x.connection_id = $2 AND x.group_id IS NULL \
         AND x.match_attribute = 'EVERYBODY' AND x.until IS NULL AND (x.expires_at IS NULL \
         OR x.expires_at > $3) LIMIT 1";
    let values = [connection.into(), cx.app.clock.now().into()];
    refuse_if_found(tx, text.into(), values, "all accounts of its connection hold a role").await
}

/// Refuses to create a group of `connection` if a role mapping waits for a group of this
/// connection.
///
/// # Errors
/// [`Error::Forbidden`] naming the missing permission.
pub(in crate::domain) async fn check_awaited(cx: &Cx, tx: &Tx<'_>, connection: Uuid) -> Result<()> {
    if may_give_roles(cx) {
        return Ok(());
    }
    let text = "SELECT 1 FROM role_mapping x WHERE x.organization_id = $1 \
                AND x.connection_id = $2 AND x.group_id IS NULL \
         AND x.match_attribute <> 'EVERYBODY' AND x.until IS NULL AND (x.expires_at IS NULL \
         OR x.expires_at > $3) LIMIT 1";
    let values = [connection.into(), cx.app.clock.now().into()];
    refuse_if_found(tx, text.into(), values, "a role mapping waits for a group of this connection")
        .await
}

/// Refuses a change that bound waiting role mappings to a group.
///
/// # Errors
/// [`Error::Forbidden`] naming the missing permission.
pub(in crate::domain) fn check_bound(cx: &Cx, bound: &[Uuid]) -> Result<()> {
    if bound.is_empty() || may_give_roles(cx) {
        Ok(())
    } else {
        Err(forbidden_error("a role mapping waits for a group of this name"))
    }
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
        if *scope == Scope::UsersWrite {
            check_connection(cx, tx, connection).await?;
        }
    }
    Ok(())
}

async fn refuse_if_found<const N: usize>(
    tx: &Tx<'_>,
    text: String,
    values: [sea_orm::Value; N],
    why: &str,
) -> Result<()> {
    match tx.db.query_one_raw(tx.statement(text, values)).await? {
        Some(_) => Err(forbidden_error(why)),
        None => Ok(()),
    }
}

fn forbidden_error(why: &str) -> Error {
    let permission = Permission::AccessWrite;
    let why = format!("this needs the permission {permission}: {why}");
    Error::lacks_permission(permission.name(), why)
}
