//! Nobody is locked out by an identity provider: break-glass accounts and the last holder of a management role
//! are out of a connection's reach. What an administrator does by hand is not held back.
//!
//! Used around the part of a write that may take access away: [`Watch::begin`] before, [`Watch::end`] after.

use entity::{organization, role};
use sea_orm::sea_query::LockType;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, QueryFilter, QuerySelect, Statement,
};
use uuid::Uuid;

use super::user::User;
use super::{access, list};
use crate::authz::Action;
use crate::context::{Change, Cx, Tx};
use crate::error::{Error, Result};
use crate::ledger::{Entry, EventKind, Subject};

/// The management roles that had a holder before the change.
#[derive(Debug)]
pub struct Watch {
    held: Vec<role::Model>,
}

/// True where no connection is watched, because the organization `$1` has no management role.
pub const NOBODY_WATCHED: &str = "NOT EXISTS (SELECT 1 FROM role w WHERE w.organization_id = $1 AND w.management = TRUE AND w.deleted_at IS NULL LIMIT 1 OFFSET 0)";

impl Watch {
    /// Looks at who holds what before a change by a connection; nobody else is watched.
    pub async fn begin(cx: &Cx, tx: &Tx<'_>) -> Result<Self> {
        match cx.confined_to() {
            Some(_) => Self::of_everybody(cx, tx).await,
            None => Ok(Self { held: Vec::new() }),
        }
    }

    /// The same before a change by whomever: one who only carries out what an identity provider's list says.
    pub async fn of_everybody(cx: &Cx, tx: &Tx<'_>) -> Result<Self> {
        let mut watch = Self { held: Vec::new() };
        let query = tx.find::<role::Entity>().filter(role::Column::Management.eq(true));
        let roles = query.filter(role::Column::DeletedAt.is_null()).all(&tx.db).await?;
        if !roles.is_empty() && tx.db.get_database_backend() == DbBackend::Postgres {
            // Two changes at once must not each leave the other's holder as the last one.
            #[allow(clippy::disallowed_methods, reason = "locks the tenant of this write")]
            organization::Entity::find_by_id(tx.organization()).lock(LockType::NoKeyUpdate).one(&tx.db).await?;
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
    pub async fn end(self, cx: &Cx, tx: &Tx<'_>) -> Result<()> {
        for role in self.held {
            if !access::has_holder(cx, tx, role.id).await? {
                let why = format!(
                    "this would take the management role {:?} away from its last holder; an administrator can give it to \
                     somebody else first",
                    role.name
                );
                return Err(Error::Held { reason: "LAST_HOLDER", why: why.into() });
            }
        }
        Ok(())
    }
}

/// Refuses what a connection wants to take from break-glass accounts.
///
/// # Errors
/// [`Error::Held`].
pub async fn spare(cx: &Cx, tx: &Tx<'_>, users: &[Uuid]) -> Result<()> {
    match cx.confined_to() {
        Some(_) => spare_always(tx, users).await,
        None => Ok(()),
    }
}

/// The same of whomever: one who only carries out what an identity provider's list says.
///
/// # Errors
/// [`Error::Held`].
pub async fn spare_always(tx: &Tx<'_>, users: &[Uuid]) -> Result<()> {
    if users.is_empty() {
        return Ok(());
    }
    let backend = tx.db.get_database_backend();
    let text =
        format!("SELECT 1 FROM {} WHERE r.protected = TRUE LIMIT 1", list::each_of(backend, (1, 2), "user", "r", "id"));
    let values = [tx.organization().into(), list::ids(users)];
    match tx.db.query_one_raw(Statement::from_sql_and_values(backend, text, values)).await? {
        Some(_) => Err(protected()),
        None => Ok(()),
    }
}

/// Refuses a connection that wants to remove a group with break-glass accounts in it.
///
/// # Errors
/// [`Error::Held`].
pub async fn spare_members(cx: &Cx, tx: &Tx<'_>, group: Uuid) -> Result<()> {
    if cx.confined_to().is_none() {
        return Ok(());
    }
    let member = "m.organization_id = $1 AND m.user_id = r.id AND m.group_id = $2 AND m.until IS NULL";
    let member = list::each(tx.db.get_database_backend(), "membership", "m", member);
    // There are few protected accounts, and an index of them.
    let text =
        format!(r#"SELECT 1 FROM "user" r {member} WHERE r.organization_id = $1 AND r.protected = TRUE LIMIT 1"#);
    let values = [tx.organization().into(), group.into()];
    match tx.db.query_one_raw(Statement::from_sql_and_values(tx.db.get_database_backend(), text, values)).await? {
        Some(_) => Err(protected()),
        None => Ok(()),
    }
}

/// The refusal for a break-glass account.
pub fn protected() -> Error {
    let why = "this is a protected (break-glass) account, which an identity provider cannot suspend, delete or take out of \
               its groups; an administrator can lift the protection";
    Error::Held { reason: "PROTECTED_ACCOUNT", why: why.into() }
}

/// Makes an account a break-glass account, or an ordinary one again.
pub async fn set(cx: &Cx, id: Uuid, protect: bool) -> Result<User> {
    cx.allow(Action::WriteAccess, None)?;
    cx.write(move |tx| {
        Box::pin(async move {
            let mut user = super::user::live(tx, cx, id, Action::WriteAccess).await?;
            if user.protected == protect {
                return Ok(Change::nothing(user));
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
            super::user::write(tx, id, row).await?;
            let kind = if protect { EventKind::UserProtected } else { EventKind::UserUnprotected };
            let entry = Entry {
                kind,
                subject: Subject { kind: "user", id },
                connection: user.connection_id,
                at: user.updated_at,
                before: None,
                after: None,
                population: 0,
            };
            Ok(Change::made(user, entry))
        })
    })
    .await
}
