//! An identity provider cannot lock out the administrators: a connection can change neither
//! break-glass accounts nor the last holder of a management role. Changes that an administrator
//! makes by hand are not refused here.
//!
//! Used around the part of a write that may remove access: [`LastHolderGuard::watch_holders`]
//! before it, [`LastHolderGuard::check_holders`] after it.

use entity::{organization, role};
use sea_orm::sea_query::LockType;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, QueryFilter,
    QuerySelect,
};
use uuid::Uuid;

use crate::auth::policy::Action;
use crate::context::{Change, Cx, Tx};
use crate::domain::directory::user::User;
use crate::domain::{access, paging};
use crate::error::{Error, RefusalReason, Result};
use crate::ledger::{EventKind, EventSubject, NewEvent};

/// The management roles that had a holder before the change.
#[derive(Debug)]
pub struct LastHolderGuard {
    held: Vec<role::Model>,
}

/// SQL: whether the account `r` is a break-glass account.
const IS_PROTECTED: &str = "r.protected = TRUE";

/// SQL: whether the organization `$1` has no management role, so that no change has to be watched.
pub const NO_MANAGEMENT_ROLE: &str = "NOT EXISTS (SELECT 1 FROM role w \
     WHERE w.organization_id = $1 AND w.management = TRUE AND w.deleted_at IS NULL \
     LIMIT 1 OFFSET 0)";

/// SQL: whether a connection's change that takes access from the user in the parameter `user` can
/// be refused by nothing here. Where it is false, the checks of this module decide.
pub fn nothing_to_guard(user: &str) -> String {
    format!(
        r#"NOT EXISTS (SELECT 1 FROM "user" r WHERE r.organization_id = $1 AND r.id = {user}
             AND {IS_PROTECTED} LIMIT 1 OFFSET 0) AND {NO_MANAGEMENT_ROLE}"#
    )
}

impl LastHolderGuard {
    /// Reads which management roles have a holder, before a change by a connection. Changes by
    /// other actors are not watched.
    pub async fn watch_holders(cx: &Cx, tx: &Tx<'_>) -> Result<Self> {
        match cx.confined_to() {
            Some(_) => Self::watch_always(cx, tx).await,
            None => Ok(Self { held: Vec::new() }),
        }
    }

    /// The same before a change by any actor, for actors that only carry out what an identity
    /// provider's list says.
    pub async fn watch_always(cx: &Cx, tx: &Tx<'_>) -> Result<Self> {
        let mut watch = Self { held: Vec::new() };
        let query = tx.find::<role::Entity>().filter(role::Column::Management.eq(true));
        let roles = query.filter(role::Column::DeletedAt.is_null()).all(&tx.db).await?;
        if !roles.is_empty() && tx.db.get_database_backend() == DbBackend::Postgres {
            // Of two changes at the same time, each must see the holders that the other one leaves.
            #[allow(clippy::disallowed_methods, reason = "locks the tenant of this write")]
            organization::Entity::find_by_id(tx.organization())
                .lock(LockType::NoKeyUpdate)
                .one(&tx.db)
                .await?;
        }
        for role in roles {
            if access::has_holder(cx, tx, role.id).await? {
                watch.held.push(role);
            }
        }
        Ok(watch)
    }

    /// Refuses the change if it left a management role without a holder.
    ///
    /// # Errors
    /// [`Error::Held`] naming the role.
    pub async fn check_holders(self, cx: &Cx, tx: &Tx<'_>) -> Result<()> {
        for role in self.held {
            if !access::has_holder(cx, tx, role.id).await? {
                let why = format!(
                    "this would take the management role {:?} away from its last holder; an \
                     administrator can give it to another account first",
                    role.name
                );
                return Err(Error::Held { reason: RefusalReason::LastHolder, why: why.into() });
            }
        }
        Ok(())
    }
}

/// Refuses a change by a connection that takes something from break-glass accounts.
///
/// # Errors
/// [`Error::Held`].
pub async fn refuse_if_protected(cx: &Cx, tx: &Tx<'_>, users: &[Uuid]) -> Result<()> {
    match cx.confined_to() {
        Some(_) => spare_always(tx, users).await,
        None => Ok(()),
    }
}

/// The same for a change by any actor, for actors that only carry out what an identity provider's
/// list says.
///
/// # Errors
/// [`Error::Held`].
pub async fn spare_always(tx: &Tx<'_>, users: &[Uuid]) -> Result<()> {
    if users.is_empty() {
        return Ok(());
    }
    let backend = tx.db.get_database_backend();
    let text = format!(
        "SELECT 1 FROM {} WHERE {IS_PROTECTED} LIMIT 1",
        paging::each_of(backend, (1, 2), "user", "r", "id")
    );
    let values = [paging::bind_ids(users)];
    match tx.db.query_one_raw(tx.statement(text, values)).await? {
        Some(_) => Err(protected_error()),
        None => Ok(()),
    }
}

/// Refuses the deletion of a group by a connection if break-glass accounts are members of it.
///
/// # Errors
/// [`Error::Held`].
pub async fn spare_members(cx: &Cx, tx: &Tx<'_>, group: Uuid) -> Result<()> {
    if cx.confined_to().is_none() {
        return Ok(());
    }
    let member =
        "m.organization_id = $1 AND m.user_id = r.id AND m.group_id = $2 AND m.until IS NULL";
    let member = paging::join_each(tx.db.get_database_backend(), "membership", "m", member);
    // There are few protected accounts, and an index of them.
    let text = format!(
        r#"SELECT 1 FROM "user" r {member} WHERE r.organization_id = $1 AND {IS_PROTECTED}
           LIMIT 1"#
    );
    let values = [group.into()];
    match tx.db.query_one_raw(tx.statement(text, values)).await? {
        Some(_) => Err(protected_error()),
        None => Ok(()),
    }
}

/// The refusal for a break-glass account.
pub fn protected_error() -> Error {
    let why = "this is a protected (break-glass) account, which an identity provider cannot \
               suspend, delete or take out of its groups; an administrator can lift the \
               protection";
    Error::Held { reason: RefusalReason::ProtectedAccount, why: why.into() }
}

/// Makes an account a break-glass account, or an ordinary one again. Claims of sign-ins that grow
/// old take no group from a break-glass account.
///
/// # Errors
/// [`Error::Stale`] if it has another version than `expected`.
pub async fn set_protection(
    cx: &Cx,
    id: Uuid,
    protect: bool,
    expected: Option<i64>,
) -> Result<User> {
    cx.allow(Action::WriteAccess, None)?;
    cx.write(move |tx| {
        Box::pin(async move {
            let mut user =
                crate::domain::directory::user::lock_live_user(tx, cx, id, Action::WriteAccess)
                    .await?;
            crate::domain::check_version(expected, user.version)?;
            if user.protected == protect {
                return Ok(Change::unchanged(user));
            }
            user.protected = protect;
            user.version += 1;
            user.updated_at = tx.now_after(Some(user.updated_at));
            let row = entity::user::ActiveModel {
                protected: Set(protect),
                version: Set(user.version),
                updated_at: Set(user.updated_at),
                ..Default::default()
            };
            crate::domain::directory::user::write_user_columns(tx, id, row).await?;
            if protect {
                let text = "UPDATE membership SET expires_at = NULL WHERE organization_id = $1 \
                            AND user_id = $2 AND until IS NULL AND expires_at IS NOT NULL";
                tx.db.execute_raw(tx.statement(text, [id.into()])).await?;
            }
            let kind = if protect { EventKind::UserProtected } else { EventKind::UserUnprotected };
            let entry = NewEvent {
                kind,
                subject: EventSubject { kind: "user", id },
                connection: user.connection_id,
                at: user.updated_at,
                before: None,
                after: None,
                population: 0,
                name: Some(user.display_name.as_ref().unwrap_or(&user.user_name).clone()),
            };
            Ok(Change::recorded(user, entry))
        })
    })
    .await
}
