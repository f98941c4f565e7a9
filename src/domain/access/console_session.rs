//! Sessions of the console that a sign-in opened: what the person may do follows the person's roles
//! at each request, up to what the connection allows.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::decision;
use super::decision::DecisionSubject;
use crate::auth::policy::{Actor, Permission, Permissions};
use crate::context::Cx;
use crate::error::Result;

/// Those of `most` that the roles of an account name.
///
/// # Errors
/// Those of the database.
pub async fn permissions_by_roles(
    cx: &Cx,
    account: Uuid,
    most: &Permissions,
) -> Result<Permissions> {
    let reader = Cx::system(cx.app.clone(), cx.organization());
    let subject = DecisionSubject::Account(account);
    let named: BTreeSet<String> = decision::list_permissions(&reader, &subject, "").await?;
    let most = most & &Permission::in_organization();
    Ok(most.into_iter().filter(|permission| named.contains(permission.name())).collect())
}

/// The same caller; in a session that a sign-in opened, with the permissions that the person's
/// roles name now.
///
/// # Errors
/// Those of the database.
pub async fn limit_to_roles(mut cx: Cx) -> Result<Cx> {
    let Some(account) = cx.session_of else { return Ok(cx) };
    if let Actor::Key { permissions, .. } = &cx.actor {
        let left = permissions_by_roles(&cx, account, permissions).await?;
        if let Actor::Key { permissions, .. } = &mut cx.actor {
            *permissions = left;
        }
    }
    Ok(cx)
}
