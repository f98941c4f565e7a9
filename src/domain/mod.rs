//! The domain decides. One file a noun; both doors call it and nothing else changes data.
//!
//! What must never enter: HTTP, GraphQL or SCIM messages, and calls to the outside. Every write is one
//! [`Cx::write`](crate::context::Cx::write), every read starts at [`Cx::find`](crate::context::Cx::find).

pub mod access;
pub mod adoption;
pub mod attention;
pub mod bulk;
pub mod change;
pub mod checkup;
pub mod connection;
pub mod deletion;
pub mod disconnect;
pub mod document;
pub mod erasure;
pub mod event;
pub mod evidence;
pub mod expiry;
pub mod extension;
pub mod failure;
mod giving;
pub mod grant;
pub mod group;
pub mod health;
pub mod idempotency;
pub mod key;
pub mod list;
pub mod mapping;
pub mod member;
pub mod name_key;
pub mod order;
pub mod organization;
pub mod protection;
pub mod pull_source;
pub mod reconcile;
pub mod request_log;
pub mod restoration;
pub mod role;
pub mod schema;
pub mod search;
pub mod sync;
pub mod token;
pub mod user;

use sea_orm::sea_query::LockType;
use sea_orm::{ActiveModelTrait, DbBackend, EntityTrait, IntoActiveModel, QuerySelect, Select};

use crate::context::Tx;
use crate::error::{Error, Result};

/// The row that `query` finds, locked until the write ends (SQLite has one writer and needs no lock).
async fn locked<E: EntityTrait>(tx: &Tx<'_>, query: Select<E>) -> Result<Option<E::Model>> {
    let query = match sea_orm::ConnectionTrait::get_database_backend(&tx.db) {
        // Weak enough that rows naming this one by foreign key need not wait: keys never change.
        DbBackend::Postgres if tx.locks => query.lock(LockType::NoKeyUpdate),
        _ => query,
    };
    Ok(query.one(&tx.db).await?)
}

/// Writes every column of a row that was read under the lock.
async fn save<E, A>(tx: &Tx<'_>, row: E::Model) -> Result<()>
where
    E: EntityTrait,
    E::Model: IntoActiveModel<A>,
    A: ActiveModelTrait<Entity = E> + sea_orm::ActiveModelBehavior + Send,
{
    E::update(row.into_active_model().reset_all()).exec(&tx.db).await?;
    Ok(())
}

/// A text that people will read: trimmed, not empty, at most `most` characters, no control characters.
fn text(field: &'static str, value: &str, most: usize) -> Result<String> {
    let value = value.trim();
    if value.is_empty() {
        return Err(Error::invalid(field, "must not be empty"));
    }
    if value.chars().count() > most {
        return Err(Error::invalid(field, format!("must have at most {most} characters")));
    }
    if value.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        return Err(Error::invalid(field, "must not contain control characters"));
    }
    Ok(value.to_owned())
}

/// The percentile of times in order: one that was really measured. None where nothing was.
fn nearest_rank(times: &[i64], percent: usize) -> Option<i64> {
    times.get((times.len() * percent).div_ceil(100).saturating_sub(1)).copied()
}
