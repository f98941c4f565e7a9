//! Deletion beyond one account at a time, and the way back: everybody who came through SCIM goes at once and for
//! good; one deleted account that was not purged yet returns.

use chrono::{DateTime, Duration, Utc};
use entity::{connection, lease, user};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, FromQueryResult, PaginatorTrait, QueryFilter, Select,
    Statement,
};
use serde_json::json;
use uuid::Uuid;

use super::list::{self, Keyset, Slice};
use super::live_index::LiveIndex;
use super::user::{self as accounts, User};
use super::{erasure, extension, giving, group, key};
use crate::authz::Action;
use crate::context::{Change, Cx, Tx};
use crate::context::{Lease, TASKS};
use crate::error::{Error, Result};
use crate::ledger::{Entry, EventKind, Subject};

/// Accounts deleted in one transaction.
const BATCH: usize = 500;
/// The name of the lease under which everybody is deleted.
const TASK: &str = "users.delete_all";
/// A run that has not been heard of for so long has died with its process; every batch is a sign of life.
const LEASE: Duration = Duration::minutes(2);

/// Brings back an account that was deleted and not purged, under its own id, as an administrator. Memberships and
/// grants are *not* restored: a returning account, like a recycled name, inherits nothing.
///
/// # Errors
/// [`Error::NotFound`] unless the account is deleted and not purged, [`Error::Taken`] when its `userName` or
/// `externalId` has gone to somebody else.
pub async fn restore(cx: &Cx, id: Uuid) -> Result<User> {
    // Not even the connection that owns it: it has a window of its own, and creates the account again.
    cx.allow(Action::WriteUser, None)?;
    let types = extension::types(cx).await?;
    let ty = &types.user;
    cx.write(move |tx| {
        Box::pin(async move {
            let query = tx
                .find::<user::Entity>()
                .filter(user::Column::Id.eq(id))
                .filter(user::Column::DeletedAt.is_not_null())
                .filter(user::Column::PurgedAt.is_null());
            let before = accounts::locked(tx, query).await?.ok_or_else(|| Error::not_found("the deleted user"))?;
            if let Some(owner) = before.connection_id {
                giving::check_connection(cx, tx, owner).await?;
            }
            let document = before.attributes()?;
            accounts::revive(tx, ty, before, document, EventKind::UserRestored).await
        })
    })
    .await
}

/// What became of a deletion of everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deleted {
    /// Accounts that are gone for good.
    pub count: u64,
    /// Break-glass accounts, which were left alone.
    pub protected: u64,
}

/// Deletes every live account that came through SCIM, of one connection or of all, and erases their personal data
/// at once: there is no way back but a fresh sync. Accounts made by hand are not touched, nor are protected
/// (break-glass) ones, whoever owns them. Whoever arrives while it runs stays.
///
/// `confirm_count` must be the number of such accounts at the start, protected ones included: the number that the
/// overview shows. It runs once at a time in an organization; what a run that died has deleted stays deleted.
///
/// # Errors
/// [`Error::Invalid`] with the current number when `confirm_count` is another, [`Error::Held`] while it is running and
/// where SCIM is not available.
pub async fn delete_all(cx: &Cx, connection: Option<Uuid>, confirm_count: i64) -> Result<Deleted> {
    cx.allow(Action::EraseUser, None)?;
    super::connection::available(cx).await?;
    if let Some(id) = connection {
        let known = cx.find::<connection::Entity>().filter(connection::Column::Id.eq(id)).count(cx.db()).await?;
        if known == 0 {
            return Err(Error::not_found("the connection"));
        }
    }
    // A caller that hangs up must not leave half of everybody behind.
    let cx = cx.clone();
    let run = tokio::spawn(async move {
        let lease = take_lease(&cx).await?;
        let done = everybody(&cx, &lease, connection, confirm_count).await;
        let released = release_lease(&cx, &lease).await;
        let deleted = done?;
        released.map(|()| deleted)
    });
    run.await.map_err(|error| Error::Internal(error.to_string()))?
}

#[derive(Debug, FromQueryResult)]
struct Target {
    id: Uuid,
    connection_id: Uuid,
    protected: bool,
}

async fn everybody(cx: &Cx, lease: &Lease, connection: Option<Uuid>, confirm_count: i64) -> Result<Deleted> {
    let targets = targets(cx, connection).await?;
    if targets.len() as i64 != confirm_count {
        let why = format!("is not the number of provisioned accounts, which is now {}", targets.len());
        return Err(Error::invalid("confirmCount", why));
    }
    let (protected, targets): (Vec<_>, Vec<_>) = targets.into_iter().partition(|target| target.protected);
    let mut deleted = Deleted { count: 0, protected: protected.len() as u64 };
    lease.update(&cx.app.store.write, "total = $1", vec![(targets.len() as i64).into()]).await?;
    // A ledger row counts for one connection.
    for owned in targets.chunk_by(|one, next| one.connection_id == next.connection_id) {
        for batch in owned.chunks(BATCH) {
            let ids: Vec<Uuid> = batch.iter().map(|target| target.id).collect();
            let Some(owner) = batch.first().map(|target| target.connection_id) else { continue };
            deleted.count += delete_batch(cx, lease, owner, &ids).await?;
        }
    }
    Ok(deleted)
}

/// Who is live and came through SCIM. Ids are small: a million of them fit into memory, and nobody is deleted who
/// was not counted.
async fn targets(cx: &Cx, connection: Option<Uuid>) -> Result<Vec<Target>> {
    let mut values = vec![cx.organization().into()];
    let mut text = format!(
        r#"SELECT id, connection_id, protected FROM "user" r WHERE organization_id = $1 AND deleted_at IS NULL{}
           AND connection_id IS NOT NULL"#,
        LiveIndex::Owner.condition(cx.backend())
    );
    if let Some(connection) = connection {
        values.push(connection.into());
        text.push_str(" AND connection_id = $2");
    }
    text.push_str(" ORDER BY connection_id, id");
    let statement = Statement::from_sql_and_values(cx.backend(), text, values);
    Ok(Target::find_by_statement(statement).all(cx.db()).await?)
}

#[derive(Debug, FromQueryResult)]
struct Locked {
    id: Uuid,
    updated_at: DateTime<Utc>,
}

/// Deletes and erases those of these accounts that are still as they were counted; returns how many.
async fn delete_batch(cx: &Cx, lease: &Lease, owner: Uuid, ids: &[Uuid]) -> Result<u64> {
    cx.write(move |tx| {
        Box::pin(async move {
            renew_lease(cx, tx, lease, ids.len()).await?;
            let accounts = lock(tx, owner, ids).await?;
            if accounts.is_empty() {
                return Ok(Change::nothing(0));
            }
            let now = tx.now_after(accounts.iter().map(|account| account.updated_at).max());
            let ids: Vec<Uuid> = accounts.iter().map(|account| account.id).collect();
            accounts::close_held(tx, "activation", &ids, now).await?;
            group::renew_around(tx, &ids, now).await?;
            let memberships = accounts::close_held(tx, "membership", &ids, now).await?;
            let grants = accounts::close_held(tx, "role_grant", &ids, now).await?;
            let keys = key::end_with(tx, &ids, now).await?;
            erasure::erase(tx, &ids, now).await?;
            cx.app.store.note_erasure();
            let count = ids.len();
            let entry = Entry {
                kind: EventKind::UsersDeletedAll,
                // Many subjects: the payload lists them, by ids that tell nobody's name.
                subject: Subject { kind: "user", id: Uuid::nil() },
                connection: Some(owner),
                at: now,
                before: Some(json!({
                    "ids": ids, "memberships": memberships, "grants": grants, "apiKeysEnded": keys,
                })),
                after: None,
                population: -(count as i64),
            };
            Ok(Change::made(count as u64, entry))
        })
    })
    .await
}

async fn lock(tx: &Tx<'_>, owner: Uuid, ids: &[Uuid]) -> Result<Vec<Locked>> {
    let backend = tx.db.get_database_backend();
    let lock = if backend == DbBackend::Postgres { "FOR NO KEY UPDATE" } else { "" };
    let text = format!(
        r#"SELECT id, updated_at FROM "user" WHERE organization_id = $1 AND connection_id = $2 AND deleted_at IS NULL
            AND protected = FALSE AND id {} ORDER BY id {lock}"#,
        list::among(backend, 3)
    );
    let values = [tx.organization().into(), owner.into(), list::ids(ids)];
    Ok(Locked::find_by_statement(Statement::from_sql_and_values(backend, text, values)).all(&tx.db).await?)
}

/// Makes this the one run in the organization, on whatever replica.
async fn take_lease(cx: &Cx) -> Result<Lease> {
    let (time, holder) = (cx.app.database_time(), Uuid::new_v4());
    let mut values = vec![cx.organization().into(), TASK.into(), holder.into()];
    let (now, until) = (time.now(&mut values), time.after(LEASE, &mut values));
    let text = format!(
        "INSERT INTO lease (organization_id, name, holder, until, done) VALUES ($1, $2, $3, {until}, 0) \
         ON CONFLICT (organization_id, name) DO UPDATE SET holder = excluded.holder, until = excluded.until, \
           done = excluded.done, total = NULL WHERE lease.until <= {now}"
    );
    let take = Statement::from_sql_and_values(cx.backend(), text, values);
    match cx.app.store.write.execute_raw(take).await?.rows_affected() {
        0 => Err(running()),
        _ => Ok(Lease::new(&TASKS, cx.organization(), TASK, holder)),
    }
}

/// Says that the run is alive, and has `done` more when this write is committed; fails when another run holds the lease.
async fn renew_lease(cx: &Cx, tx: &Tx<'_>, lease: &Lease, done: usize) -> Result<()> {
    let mut values = vec![(done as i64).into()];
    let until = cx.app.database_time().after(LEASE, &mut values);
    match lease.update(&tx.db, &format!("until = {until}, done = done + $1"), values).await? {
        true => Ok(()),
        false => Err(running()),
    }
}

async fn release_lease(cx: &Cx, lease: &Lease) -> Result<()> {
    let mut values = Vec::new();
    let text = format!("DELETE FROM lease WHERE {}", lease.condition(&mut values));
    cx.app.store.write.execute_raw(Statement::from_sql_and_values(cx.backend(), text, values)).await?;
    Ok(())
}

/// How far a deletion of everybody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub done: u64,
    /// None while it is still being counted.
    pub total: Option<u64>,
}

/// The deletion of everybody that is running in the organization now; none if there is none.
pub async fn running_now(cx: &Cx) -> Result<Option<Progress>> {
    cx.allow(Action::ReadIam, None)?;
    let alive = cx.app.database_time().is_to_come((lease::Entity, lease::Column::Until));
    #[allow(clippy::disallowed_methods, reason = "the organization is named; a lease has no id of its own")]
    let run = lease::Entity::find_by_id((cx.organization(), TASK.to_owned())).filter(alive).one(cx.db()).await?;
    Ok(run.map(|run| Progress { done: run.done.unsigned_abs(), total: run.total.map(i64::unsigned_abs) }))
}

pub use user::Model as Account;

/// Deleted accounts that can still come back, in the order in which they were made.
pub async fn restorable(cx: &Cx, keyset: &Keyset<Uuid>) -> Result<Slice<Account>> {
    cx.allow(Action::ReadUser, None)?;
    list::page(cx, deleted(cx), user::Column::Id, keyset).await
}

/// How many deleted accounts can still come back.
pub async fn count_restorable(cx: &Cx) -> Result<u64> {
    cx.allow(Action::ReadUser, None)?;
    Ok(deleted(cx).count(cx.db()).await?)
}

fn deleted(cx: &Cx) -> Select<user::Entity> {
    let deleted = cx.find::<user::Entity>().filter(user::Column::DeletedAt.is_not_null());
    deleted.filter(user::Column::PurgedAt.is_null())
}

fn running() -> Error {
    Error::Held { reason: "ALREADY_RUNNING", why: "a deletion of all provisioned users is already running here".into() }
}
