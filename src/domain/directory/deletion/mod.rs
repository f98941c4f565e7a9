//! Deletion of all provisioned accounts at once, with their personal data, and the restoration of
//! one deleted account that was not purged yet.

use chrono::{DateTime, Utc};
use entity::{connection, deletion_job, user};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, ExprTrait, PaginatorTrait, QueryFilter,
    Select,
};
use serde_json::json;
use uuid::Uuid;

pub mod job;

use super::user::{self as accounts, User};
use crate::auth::policy::Action;
use crate::context::{Change, Cx, Tx};
use crate::domain::access::giving;
use crate::domain::directory::schema_extension;
use crate::domain::paging;
use crate::domain::paging::live_index::LiveIndex;
use crate::domain::paging::order::{OrderBy, OrderPlace};
use crate::domain::paging::{Keyset, Slice};
use crate::error::{Error, Noun, RefusalReason, Result};
use crate::identity::document;
use crate::ledger::{EventKind, EventSubject, NewEvent};

pub use deletion_job::{Model as DeletionJob, State};

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

/// Begins a job that deletes every live account that a connection owns, of one connection or of
/// all, and erases their personal data: only a fresh sync brings them back. Accounts made by hand
/// and protected (break-glass) accounts are not touched. Accounts that are created while it runs
/// stay.
///
/// `confirm_count` must be the number of such accounts now, protected ones included: the number
/// that the overview shows. One deletion runs at a time in an organization.
///
/// # Errors
/// [`Error::Invalid`] with the current number when `confirm_count` is another, [`Error::Held`]
/// while another deletion is running and where SCIM is not available.
pub async fn begin_deletion(
    cx: &Cx,
    connection: Option<Uuid>,
    confirm_count: i64,
) -> Result<DeletionJob> {
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
    let begun = cx
        .write(move |tx| {
            Box::pin(async move {
                // While one deletes, the number of accounts that is confirmed is wrong, too.
                let open = tx
                    .find::<deletion_job::Entity>()
                    .filter(deletion_job::Column::FinishedAt.is_null());
                if open.count(&tx.db).await? > 0 {
                    return Err(already_running());
                }
                let now = tx.now_after(None);
                let id = Uuid::now_v7();
                let mut job = new_job(cx, id, connection, now);
                job.protected = count_protected(tx, connection).await?;
                job.total = list_targets(tx, id, connection).await?;
                let found = job.total + job.protected;
                if found != confirm_count {
                    let why =
                        format!("is not the number of provisioned accounts, which is now {found}");
                    return Err(Error::invalid("confirmCount", why));
                }
                deletion_job::Entity::insert(deletion_job::ActiveModel::from(job.clone()))
                    .exec_without_returning(&tx.db)
                    .await?;
                let after = json!({
                    "connectionId": connection, "total": job.total, "protected": job.protected,
                });
                let entry = deletion_event(EventKind::DeletionRequested, id, now, after);
                Ok(Change::recorded(job, entry))
            })
        })
        .await;
    let job = begun.map_err(|error| match error {
        Error::Taken { field: OPEN_DELETION } => already_running(),
        error => error,
    })?;
    cx.app.queued_by.note_current(job.id);
    cx.app.deletions.notify_one();
    Ok(job)
}

/// A job of which nothing is done, with the permissions that its actor holds now.
fn new_job(cx: &Cx, id: Uuid, connection: Option<Uuid>, now: DateTime<Utc>) -> DeletionJob {
    let permissions: Vec<_> = cx.actor.permissions().map(|held| held.name()).collect();
    DeletionJob {
        organization_id: cx.organization(),
        id,
        connection_id: connection,
        state: State::Queued,
        actor_kind: cx.actor.kind().into(),
        actor_id: cx.actor.id().unwrap_or_default(),
        actor_name: cx.actor.name().into(),
        permissions: json!(permissions),
        request_id: cx.request_id,
        total: 0,
        protected: 0,
        done: 0,
        stopped_because: None,
        holder: None,
        until: DateTime::UNIX_EPOCH,
        created_at: now,
        started_at: None,
        finished_at: None,
    }
}

/// What [`Error::Taken`] calls the only unfinished deletion of an organization.
const OPEN_DELETION: &str = "deletion";

/// SQL: the condition on the live accounts `r` that a connection owns; `connection` is the value of
/// that number.
fn is_provisioned(backend: DbBackend, connection: Option<&str>) -> String {
    let owner = connection.map_or("IS NOT NULL".to_owned(), |connection| format!("= {connection}"));
    format!(
        "r.organization_id = $1 AND r.deleted_at IS NULL{} AND r.connection_id {owner}",
        LiveIndex::Owner.index_condition(backend)
    )
}

/// How many break-glass accounts would stay.
async fn count_protected(tx: &Tx<'_>, connection: Option<Uuid>) -> Result<i64> {
    let owner = connection.map_or("IS NOT NULL", |_| "= $2");
    let text = format!(
        r#"SELECT count(*) AS total FROM "user" r WHERE r.organization_id = $1
           AND r.protected = TRUE AND r.deleted_at IS NULL AND r.connection_id {owner}"#
    );
    let statement = tx.statement(text, connection.map(Into::into));
    let row = tx.db.query_one_raw(statement).await?;
    Ok(row.map_or(Ok(0), |row| row.try_get("", "total"))?)
}

/// Lists the accounts to delete; returns how many there are.
async fn list_targets(tx: &Tx<'_>, job: Uuid, connection: Option<Uuid>) -> Result<i64> {
    let backend = tx.db.get_database_backend();
    let text = format!(
        r#"INSERT INTO deletion_target (organization_id, job_id, connection_id, user_id)
           SELECT $1, $2, r.connection_id, r.id FROM "user" r WHERE {} AND r.protected = FALSE"#,
        is_provisioned(backend, connection.map(|_| "$3"))
    );
    let values = [Some(job.into()), connection.map(Into::into)].into_iter().flatten();
    let listed = tx.db.execute_raw(tx.statement(text, values)).await?.rows_affected();
    Ok(i64::try_from(listed).unwrap_or(i64::MAX))
}

async fn lock_job(tx: &Tx<'_>, id: Uuid) -> Result<DeletionJob> {
    let query = tx.find::<deletion_job::Entity>().filter(deletion_job::Column::Id.eq(id));
    let found = crate::domain::lock_row(tx, query).await?;
    found.ok_or_else(|| Error::not_found(Noun::Deletion))
}

fn deletion_event(
    kind: EventKind,
    id: Uuid,
    at: DateTime<Utc>,
    after: serde_json::Value,
) -> NewEvent {
    let subject = EventSubject { kind: "deletion", id };
    NewEvent {
        kind,
        subject,
        connection: None,
        at,
        before: None,
        after: Some(after),
        population: 0,
        name: None,
    }
}

/// A caller that may delete, or read the organization's settings, sees deletions.
fn check_visible(cx: &Cx) -> Result<()> {
    cx.allow(Action::EraseUser, None).or_else(|_| cx.allow(Action::ReadIam, None))
}

/// One deletion, also after its end.
pub async fn get_deletion(cx: &Cx, id: Uuid) -> Result<DeletionJob> {
    check_visible(cx)?;
    let query = cx.find::<deletion_job::Entity>().filter(deletion_job::Column::Id.eq(id));
    query.one(cx.db()).await?.ok_or_else(|| Error::not_found(Noun::Deletion))
}

/// The deletion of all provisioned accounts that has not ended yet, if there is one.
pub async fn unfinished_deletion(cx: &Cx) -> Result<Option<DeletionJob>> {
    check_visible(cx)?;
    let open = cx.find::<deletion_job::Entity>().filter(deletion_job::Column::FinishedAt.is_null());
    Ok(open.one(cx.db()).await?)
}

/// The wanted deletions: those that match all conditions; empty or none = any.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeletionQuery {
    pub connection: Option<Uuid>,
    pub states: Vec<deletion_job::State>,
}

fn select_deletions(cx: &Cx, which: &DeletionQuery) -> Select<deletion_job::Entity> {
    let mut jobs = cx.find::<deletion_job::Entity>();
    if let Some(connection) = which.connection {
        jobs = jobs.filter(deletion_job::Column::ConnectionId.eq(connection));
    }
    if !which.states.is_empty() {
        jobs = jobs.filter(deletion_job::Column::State.is_in(which.states.iter().copied()));
    }
    jobs
}

/// A page of the deletions that are remembered, each with its place in the order `by`.
pub async fn list_deletions(
    cx: &Cx,
    which: &DeletionQuery,
    by: OrderBy,
    keyset: &Keyset<OrderPlace>,
) -> Result<Slice<(DeletionJob, OrderPlace)>> {
    check_visible(cx)?;
    let jobs = select_deletions(cx, which);
    paging::fetch_ordered(cx, jobs, deletion_job::Column::Id, by, keyset).await
}

/// How many deletions are remembered.
pub async fn count_deletions(cx: &Cx, which: &DeletionQuery) -> Result<u64> {
    check_visible(cx)?;
    Ok(select_deletions(cx, which).count(cx.db()).await?)
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
