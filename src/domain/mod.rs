//! The domain holds all rules, one file for each noun. GraphQL and SCIM call it, and nothing else
//! changes data.
//!
//! What must never enter: HTTP, GraphQL or SCIM messages, and calls to the outside. Every write is
//! one [`Cx::write`](crate::context::Cx::write), every read starts at
//! [`Cx::find`](crate::context::Cx::find), or at [`Cx::statement`](crate::context::Cx::statement)
//! where it is a raw statement.

pub mod access;
pub mod alert;
pub mod audit;
pub mod bulk;
pub mod comparison;
pub mod connection;
pub mod directory;
mod interval;
pub mod mail_text;
pub mod outside_url;
pub mod paging;
pub mod reconcile;
pub mod review;
mod set_aside;
pub mod sign_in;
pub mod signal;
#[allow(clippy::disallowed_methods, reason = "its raw statements do not go through Cx yet")]
pub mod sync;
pub mod tenant;

use sea_orm::sea_query::LockType;
use sea_orm::{ActiveModelTrait, DbBackend, EntityTrait, IntoActiveModel, QuerySelect, Select};

use crate::context::Tx;
use crate::error::{Error, Result, Rule};

/// The row that `query` finds, locked until the write ends. SQLite has one writer and needs no
/// lock.
async fn lock_row<E: EntityTrait>(tx: &Tx<'_>, query: Select<E>) -> Result<Option<E::Model>> {
    let query = match sea_orm::ConnectionTrait::get_database_backend(&tx.db) {
        // A weak lock, because keys never change: rows with a foreign key to this one need not
        // wait.
        DbBackend::Postgres if tx.locks => query.lock(LockType::NoKeyUpdate),
        _ => query,
    };
    Ok(query.one(&tx.db).await?)
}

/// The rows that `query` finds, locked like [`lock_row`] does.
async fn lock_rows<E: EntityTrait>(tx: &Tx<'_>, query: Select<E>) -> Result<Vec<E::Model>> {
    let query = match sea_orm::ConnectionTrait::get_database_backend(&tx.db) {
        DbBackend::Postgres if tx.locks => query.lock(LockType::NoKeyUpdate),
        _ => query,
    };
    Ok(query.all(&tx.db).await?)
}

/// Writes every column of a row that was read under the lock.
async fn save_row<E, A>(tx: &Tx<'_>, row: E::Model) -> Result<()>
where
    E: EntityTrait,
    E::Model: IntoActiveModel<A>,
    A: ActiveModelTrait<Entity = E> + sea_orm::ActiveModelBehavior + Send,
{
    E::update(row.into_active_model().reset_all()).exec(&tx.db).await?;
    Ok(())
}

/// Refuses unless an object still has the version that the client has read; none = any version.
///
/// # Errors
/// [`Error::Stale`] with the version of now.
pub fn check_version(expected: Option<i64>, version: i64) -> Result<()> {
    match expected {
        Some(expected) if expected != version => Err(Error::Stale { version }),
        _ => Ok(()),
    }
}

/// The longest reason that a person can give for a change.
const MAX_REASON_LENGTH: usize = 1_000;

/// The reason that a person gives for a change, as the ledger keeps it.
///
/// # Errors
/// [`Error::Invalid`] for one that is empty or too long.
pub fn check_change_reason(reason: Option<&str>) -> Result<Option<String>> {
    reason.map(|reason| check_text("reason", reason, MAX_REASON_LENGTH)).transpose()
}

/// A text for people to read: trimmed, not empty, at most `most` characters, no control characters.
fn check_text(field: &'static str, value: &str, most: usize) -> Result<String> {
    let value = value.trim();
    if value.is_empty() {
        return Err(Error::invalid(field, "must not be empty"));
    }
    if value.chars().count() > most {
        let why = format!("must have at most {most} characters");
        return Err(Error::broken(Rule::Length, field, why));
    }
    if value.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        return Err(Error::invalid(field, "must not contain control characters"));
    }
    Ok(value.to_owned())
}

/// The percentile of sorted times: one of the measured values. None if there are none.
fn nearest_rank(times: &[i64], percent: usize) -> Option<i64> {
    times.get((times.len() * percent).div_ceil(100).saturating_sub(1)).copied()
}
