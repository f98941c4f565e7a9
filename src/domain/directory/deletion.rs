//! Deletion of all provisioned accounts at once, with their personal data, and the restoration of
//! one deleted account that was not purged yet.

use chrono::{DateTime, Duration, Utc};
use entity::{connection, lease, user};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, ExprTrait, FromQueryResult,
    PaginatorTrait, QueryFilter, Select,
};
use serde_json::json;
use tracing::Instrument;
use uuid::Uuid;

use super::user::{self as accounts, User};
use crate::auth::policy::Action;
use crate::context::{Change, Cx, Lease, TASKS, Tx, in_background};
use crate::domain::access::{api_key, giving};
use crate::domain::directory::{erasure, group, schema_extension};
use crate::domain::interval;
use crate::domain::interval::IntervalTable;
use crate::domain::paging;
use crate::domain::paging::live_index::LiveIndex;
use crate::domain::paging::order::{OrderBy, OrderPlace};
use crate::domain::paging::{Keyset, Slice};
use crate::error::{Error, Noun, RefusalReason, Result};
use crate::identity::document;
use crate::ledger::{EventKind, EventSubject, NewEvent};

/// Accounts deleted in one transaction.
const BATCH_SIZE: usize = 500;
/// The name of the lease under which all provisioned accounts are deleted.
const LEASE_NAME: &str = "users.delete_all";
/// How long the lease lasts without a renewal. Every batch renews it; if a process dies, another
/// run may begin after this time.
const LEASE_DURATION: Duration = Duration::minutes(2);

/// Restores an account that was deleted and not purged, under its own id, as an administrator.
/// Memberships and grants are *not* restored: a restored account, like a recycled name, inherits
/// nothing.
///
/// # Errors
/// [`Error::NotFound`] unless the account is deleted and not purged, [`Error::Taken`] when another
/// account has its `userName` or `externalId` now.
pub async fn restore_user(cx: &Cx, id: Uuid) -> Result<User> {
    // The owning connection may not do this either: it creates the account again within its own
    // revival window.
    cx.allow(Action::WriteUser, None)?;
    let types = schema_extension::resource_types(cx).await?;
    let ty = &types.user;
    cx.write(move |tx| {
        Box::pin(async move {
            let query = tx
                .find::<user::Entity>()
                .filter(user::Column::Id.eq(id))
                .filter(user::Column::DeletedAt.is_not_null())
                .filter(user::Column::PurgedAt.is_null());
            let before = accounts::lock_user(tx, query)
                .await?
                .ok_or_else(|| Error::not_found(Noun::DeletedUser))?;
            if let Some(owner) = before.connection_id {
                giving::check_connection(cx, tx, owner).await?;
            }
            let document = before.attributes()?;
            accounts::revive_user(tx, ty, before, document, EventKind::UserRestored).await
        })
    })
    .await
}

/// The result of a deletion of all provisioned accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeletionOutcome {
    /// Accounts that were deleted and erased.
    pub count: u64,
    /// Break-glass accounts, which were not deleted.
    pub protected: u64,
}

/// Deletes every live account that a connection owns, of one connection or of all, and erases their
/// personal data at once: only a fresh sync brings them back. Accounts made by hand and protected
/// (break-glass) accounts are not touched. Accounts that are created while it runs stay.
///
/// `confirm_count` must be the number of such accounts at the start, protected ones included: the
/// number that the overview shows. One deletion runs at a time in an organization; what a run
/// deleted before it died stays deleted.
///
/// # Errors
/// [`Error::Invalid`] with the current number when `confirm_count` is another, [`Error::Held`]
/// while another deletion is running and where SCIM is not available.
pub async fn delete_provisioned_users(
    cx: &Cx,
    connection: Option<Uuid>,
    confirm_count: i64,
) -> Result<DeletionOutcome> {
    cx.allow(Action::EraseUser, None)?;
    crate::domain::connection::check_scim_available(cx).await?;
    if let Some(id) = connection {
        let known = cx
            .find::<connection::Entity>()
            .filter(connection::Column::Id.eq(id))
            .count(cx.db())
            .await?;
        if known == 0 {
            return Err(Error::not_found(Noun::Connection));
        }
    }
    // If the client disconnects, the deletion must still run to its end.
    let cx = cx.clone();
    let run = in_background(async move {
        let lease = take_lease(&cx).await?;
        let done = delete_confirmed_users(&cx, &lease, connection, confirm_count).await;
        let released = release_lease(&cx, &lease).await;
        let deleted = done?;
        released.map(|()| deleted)
    });
    tokio::spawn(run.in_current_span()).await.map_err(|error| Error::Internal(error.to_string()))?
}

#[derive(Debug, FromQueryResult)]
struct DeletionTarget {
    id: Uuid,
    connection_id: Uuid,
    protected: bool,
}

async fn delete_confirmed_users(
    cx: &Cx,
    lease: &Lease,
    connection: Option<Uuid>,
    confirm_count: i64,
) -> Result<DeletionOutcome> {
    let targets = find_deletion_targets(cx, connection).await?;
    if targets.len() as i64 != confirm_count {
        let why =
            format!("is not the number of provisioned accounts, which is now {}", targets.len());
        return Err(Error::invalid("confirmCount", why));
    }
    let (protected, targets): (Vec<_>, Vec<_>) =
        targets.into_iter().partition(|target| target.protected);
    let mut deleted = DeletionOutcome { count: 0, protected: protected.len() as u64 };
    lease
        .update_if_held(&cx.app.store.write, "total = $1", vec![(targets.len() as i64).into()])
        .await?;
    // A ledger row counts for one connection.
    for owned in targets.chunk_by(|one, next| one.connection_id == next.connection_id) {
        for batch in owned.chunks(BATCH_SIZE) {
            let ids: Vec<Uuid> = batch.iter().map(|target| target.id).collect();
            let Some(owner) = batch.first().map(|target| target.connection_id) else { continue };
            deleted.count += delete_batch(cx, lease, owner, &ids).await?;
        }
    }
    Ok(deleted)
}

/// The live accounts that a connection owns. Ids are small: a million of them fit into memory, and
/// no account is deleted that was not counted.
async fn find_deletion_targets(cx: &Cx, connection: Option<Uuid>) -> Result<Vec<DeletionTarget>> {
    let mut sql = cx.sql([]);
    sql.push(&format!(
        r#"SELECT id, connection_id, protected FROM "user" r WHERE organization_id = $1
           AND deleted_at IS NULL{}
           AND connection_id IS NOT NULL"#,
        LiveIndex::Owner.index_condition(cx.backend())
    ));
    if let Some(connection) = connection {
        let connection = sql.bind(connection);
        sql.push(&format!(" AND connection_id = {connection}"));
    }
    sql.push(" ORDER BY connection_id, id");
    let statement = cx.build_statement(sql);
    Ok(DeletionTarget::find_by_statement(statement).all(cx.db()).await?)
}

#[derive(Debug, FromQueryResult)]
struct LockedUser {
    id: Uuid,
    updated_at: DateTime<Utc>,
}

/// Deletes and erases those of these accounts that are still live, unprotected and of this owner;
/// returns how many.
async fn delete_batch(cx: &Cx, lease: &Lease, owner: Uuid, ids: &[Uuid]) -> Result<u64> {
    cx.write(move |tx| {
        Box::pin(async move {
            renew_lease(cx, tx, lease, ids.len()).await?;
            let accounts = lock_users(tx, owner, ids).await?;
            if accounts.is_empty() {
                return Ok(Change::unchanged(0));
            }
            let now = tx.now_after(accounts.iter().map(|account| account.updated_at).max());
            let ids: Vec<Uuid> = accounts.iter().map(|account| account.id).collect();
            interval::close_of_users(tx, IntervalTable::Activation, &ids, now).await?;
            group::bump_versions_around(tx, &ids, now).await?;
            let memberships =
                interval::close_of_users(tx, IntervalTable::Membership, &ids, now).await?;
            let grants = interval::close_of_users(tx, IntervalTable::RoleGrant, &ids, now).await?;
            let keys = api_key::end_with(tx, &ids, now).await?;
            erasure::erase_users(tx, &ids, now).await?;
            cx.app.store.note_erasure();
            let count = ids.len();
            let entry = NewEvent {
                kind: EventKind::UsersDeletedAll,
                // Many subjects: the payload lists them, by ids without names.
                subject: EventSubject { kind: "user", id: Uuid::nil() },
                connection: Some(owner),
                at: now,
                before: Some(json!({
                    "ids": ids, "memberships": memberships, "grants": grants, "apiKeysEnded": keys,
                })),
                after: None,
                population: -(count as i64),
                name: None,
            };
            Ok(Change::recorded(count as u64, entry))
        })
    })
    .await
}

async fn lock_users(tx: &Tx<'_>, owner: Uuid, ids: &[Uuid]) -> Result<Vec<LockedUser>> {
    let backend = tx.db.get_database_backend();
    let lock = if backend == DbBackend::Postgres { "FOR NO KEY UPDATE" } else { "" };
    let text = format!(
        r#"SELECT id, updated_at FROM "user" WHERE organization_id = $1 AND connection_id = $2
           AND deleted_at IS NULL
            AND protected = FALSE AND id {} ORDER BY id {lock}"#,
        paging::in_ids(backend, 3)
    );
    let values = [owner.into(), paging::bind_ids(ids)];
    Ok(LockedUser::find_by_statement(tx.statement(text, values)).all(&tx.db).await?)
}

/// Makes this the only run in the organization, over all replicas.
async fn take_lease(cx: &Cx) -> Result<Lease> {
    let lease = Lease::new(&TASKS, cx.organization(), LEASE_NAME, Uuid::new_v4());
    let (db, time) = (&cx.app.store.write, cx.app.database_time());
    let reset = [("done", "0"), ("total", "NULL")];
    if lease.claim_or_make_row(db, time, LEASE_DURATION, &reset).await? {
        Ok(lease)
    } else {
        Err(already_running())
    }
}

/// Renews the lease, and counts `done` more accounts when this write is committed. Fails when
/// another run holds the lease.
async fn renew_lease(cx: &Cx, tx: &Tx<'_>, lease: &Lease, done: usize) -> Result<()> {
    let (time, values) = (cx.app.database_time(), vec![(done as i64).into()]);
    if lease.renew(&tx.db, time, LEASE_DURATION, "done = done + $1", values).await? {
        Ok(())
    } else {
        Err(already_running())
    }
}

async fn release_lease(cx: &Cx, lease: &Lease) -> Result<()> {
    Ok(lease.delete_row(&cx.app.store.write).await?)
}

/// The progress of a deletion of all provisioned accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeletionProgress {
    pub done: u64,
    /// None while the accounts are still being counted.
    pub total: Option<u64>,
}

/// The deletion of all provisioned accounts that is running in the organization now, if there is
/// one.
pub async fn current_deletion(cx: &Cx) -> Result<Option<DeletionProgress>> {
    cx.allow(Action::ReadIam, None)?;
    let alive = cx.app.database_time().is_to_come((lease::Entity, lease::Column::Until));
    #[allow(
        clippy::disallowed_methods,
        reason = "the organization is named; a lease has no id of its own"
    )]
    let run = lease::Entity::find_by_id((cx.organization(), LEASE_NAME.to_owned()))
        .filter(alive)
        .one(cx.db())
        .await?;
    Ok(run.map(|run| DeletionProgress {
        done: run.done.unsigned_abs(),
        total: run.total.map(i64::unsigned_abs),
    }))
}

pub use user::Model as Account;

/// The wanted deleted accounts or groups: those that match all conditions; none = any.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeletedQuery {
    /// The user name or the name for people to read contains this, in any case.
    pub search: Option<String>,
    pub connection: Option<Uuid>,
    /// Deleted from this instant on.
    pub since: Option<DateTime<Utc>>,
    /// Deleted before this instant.
    pub until: Option<DateTime<Utc>>,
}

/// A page of the deleted accounts that can still be restored, each with its place in the order
/// `by`.
pub async fn list_restorable_users(
    cx: &Cx,
    which: &DeletedQuery,
    by: OrderBy,
    keyset: &Keyset<OrderPlace>,
) -> Result<Slice<(Account, OrderPlace)>> {
    cx.allow(Action::ReadUser, None)?;
    paging::fetch_ordered(cx, select_deleted_users(cx, which), user::Column::Id, by, keyset).await
}

/// How many deleted accounts can still be restored.
pub async fn count_restorable_users(cx: &Cx, which: &DeletedQuery) -> Result<u64> {
    cx.allow(Action::ReadUser, None)?;
    Ok(select_deleted_users(cx, which).count(cx.db()).await?)
}

fn select_deleted_users(cx: &Cx, which: &DeletedQuery) -> Select<user::Entity> {
    let mut deleted = cx.find::<user::Entity>().filter(user::Column::DeletedAt.is_not_null());
    deleted = deleted.filter(user::Column::PurgedAt.is_null());
    if let Some(search) = &which.search {
        let folded = document::fold_text(search);
        let names = paging::contains_text(cx, r#""user".user_name_key"#, &folded);
        deleted = deleted.filter(names.or(paging::contains_text(
            cx,
            r#""user".display_name_key"#,
            &folded,
        )));
    }
    if let Some(connection) = which.connection {
        deleted = deleted.filter(user::Column::ConnectionId.eq(connection));
    }
    if let Some(since) = which.since {
        deleted = deleted.filter(user::Column::DeletedAt.gte(since));
    }
    if let Some(until) = which.until {
        deleted = deleted.filter(user::Column::DeletedAt.lt(until));
    }
    deleted
}

fn already_running() -> Error {
    Error::Held {
        reason: RefusalReason::AlreadyRunning,
        why: "a deletion of all provisioned users is already running here".into(),
    }
}
