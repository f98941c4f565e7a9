//! Deletes a connection: its tokens are revoked at once, and what it still owns has no owner any
//! more, so that people keep their accounts when a company leaves its identity provider.
//!
//! One write deletes the connection. What it owned is released afterwards, one batch a write. A
//! worker later releases what is left when a process dies in between, and what a request created
//! that was still running.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use entity::scim_token::TokenPurpose;
use entity::{activation, adoption_proposal, connection, group, scim_token, user};
use sea_orm::sea_query::{Expr, LockType};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, FromQueryResult, PaginatorTrait,
    QueryFilter, QuerySelect,
};
use serde_json::json;
use uuid::Uuid;

use crate::auth::policy::Action;
use crate::context::{App, Change, Cx, Tx};
use crate::domain::connection::Connection;
use crate::domain::connection::pull_source;
use crate::domain::interval;
use crate::domain::interval::IntervalTable;
use crate::domain::{paging, reconcile, review};
use crate::error::{Error, Noun, RefusalReason, Result};
use crate::ledger::{EventKind, EventSubject, NewEvent};

/// Accounts or groups released in one transaction.
const BATCH_SIZE: u64 = 500;

/// What a deleted connection owned and released.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReleasedCounts {
    /// Live accounts that have no owner now.
    pub users: u64,
    /// Live groups that have no owner now.
    pub groups: u64,
    /// Memberships that sign-ins made and that end, or that stay as if made by hand.
    pub claimed: u64,
}

/// Deletes a connection. Its tokens are refused from this instant on, role mappings that wait for
/// one of its groups are removed, and its adoption proposals are dismissed.
///
/// # Errors
/// [`Error::Held`] while it owns live accounts or groups, unless `leave_behind` releases them.
/// [`Error::Stale`] if it has another version than `expected`.
pub async fn delete_connection(
    cx: &Cx,
    id: Uuid,
    leave_behind: bool,
    expected: Option<i64>,
) -> Result<ReleasedCounts> {
    cx.allow(Action::WriteConnection, None)?;
    if leave_behind {
        cx.allow(Action::WriteUser, None)?;
    }
    let claimed = mark_connection_deleted(cx, id, leave_behind, expected).await?;
    let released = release_owned(cx, id).await?;
    Ok(ReleasedCounts { claimed, ..released })
}

/// Marks the connection deleted, with all that only it could use. Returns how many memberships its
/// sign-ins had made.
async fn mark_connection_deleted(
    cx: &Cx,
    id: Uuid,
    leave_behind: bool,
    expected: Option<i64>,
) -> Result<u64> {
    cx.write(move |tx| {
        Box::pin(async move {
            let before = lock_connection_for_deletion(tx, id).await?;
            crate::domain::check_version(expected, before.version)?;
            if !leave_behind {
                check_owns_nothing(tx, id).await?;
            }
            let now = tx.now_after(Some(before.updated_at));
            let tokens = revoke_tokens(tx, id, now).await?;
            let waiting = "connection_id = $4 AND group_id IS NULL";
            let waiting =
                interval::close_where(tx, IntervalTable::RoleMapping, waiting, id, now).await?;
            let proposals = dismiss_proposals(tx, id, now).await?;
            pull_source::end_schedule(tx, id).await?;
            let failures = review::dismiss_failures_of_connection(tx, id, now).await?;
            let findings = reconcile::close_findings_of_connection(tx, id, now).await?;
            let claimed = settle_claimed_memberships(tx, id, leave_behind, now).await?;
            let after = Connection {
                version: before.version + 1,
                updated_at: now,
                deleted_at: Some(now),
                ..before
            };
            let mut details = json!({
                "name": after.name, "tokensRevoked": tokens,
                "mappingsRemoved": waiting,
                "proposalsDismissed": proposals, "failuresDismissed": failures,
                "findingsClosed": findings,
            });
            if claimed > 0 {
                let what = if leave_behind { "membershipsKept" } else { "membershipsEnded" };
                details[what] = claimed.into();
            }
            crate::domain::save_row::<connection::Entity, connection::ActiveModel>(tx, after)
                .await?;
            let entry = NewEvent {
                kind: EventKind::ConnectionDeleted,
                subject: EventSubject { kind: "connection", id },
                connection: Some(id),
                at: now,
                before: Some(details),
                after: None,
                population: 0,
                name: None,
            };
            Ok(Change::recorded(claimed, entry))
        })
    })
    .await
}

/// Revokes the tokens of the identity provider; returns how many were live.
async fn revoke_tokens(tx: &Tx<'_>, id: Uuid, now: DateTime<Utc>) -> Result<u64> {
    let tokens = scim_token::Entity::update_many()
        .col_expr(scim_token::Column::RevokedAt, Expr::value(now))
        .filter(scim_token::Column::OrganizationId.eq(tx.organization()))
        .filter(scim_token::Column::ConnectionId.eq(id))
        .filter(scim_token::Column::Purpose.eq(TokenPurpose::IdentityProvider))
        .filter(scim_token::Column::RevokedAt.is_null())
        .exec(&tx.db)
        .await?;
    Ok(tokens.rows_affected)
}

/// Dismisses the pending proposals to adopt accounts; returns how many there were.
async fn dismiss_proposals(tx: &Tx<'_>, id: Uuid, now: DateTime<Utc>) -> Result<u64> {
    let proposals = adoption_proposal::Entity::update_many()
        .col_expr(adoption_proposal::Column::State, Expr::value("DISMISSED"))
        .col_expr(adoption_proposal::Column::DecidedAt, Expr::value(now))
        .filter(adoption_proposal::Column::OrganizationId.eq(tx.organization()))
        .filter(adoption_proposal::Column::ConnectionId.eq(id))
        .filter(adoption_proposal::Column::State.eq("PENDING"))
        .exec(&tx.db)
        .await?;
    Ok(proposals.rows_affected)
}

/// Settles the memberships that sign-ins of a connection made, and that no sign-in says any more.
/// They give no role from this instant on, and are closed a little later, as claims that are too
/// old. Where what the connection owns stays, they stay, too, as if made by hand.
async fn settle_claimed_memberships(
    tx: &Tx<'_>,
    connection: Uuid,
    leave_behind: bool,
    now: DateTime<Utc>,
) -> Result<u64> {
    let change =
        if leave_behind { "claimed_by = NULL, expires_at = NULL" } else { "expires_at = $3" };
    let text = format!(
        "UPDATE membership SET {change} WHERE organization_id = $1 AND until IS NULL \
         AND claimed_by IS NOT NULL AND claimed_by = $2 \
         AND (expires_at IS NULL OR expires_at > $3)"
    );
    let values = [connection.into(), now.into()];
    Ok(tx.db.execute_raw(tx.statement(text, values)).await?.rows_affected())
}

/// How many memberships the sign-ins of each of these connections made, which its deletion ends.
///
/// # Errors
/// Those of the database.
pub async fn count_claimed_memberships(cx: &Cx, ids: &[Uuid]) -> Result<Vec<(Uuid, u64)>> {
    #[derive(FromQueryResult)]
    struct ClaimedCountRow {
        claimed_by: Uuid,
        n: i64,
    }
    cx.allow(Action::ReadIam, None)?;
    let text = format!(
        "SELECT claimed_by, count(*) AS n FROM membership WHERE organization_id = $1 \
         AND until IS NULL AND claimed_by IS NOT NULL AND claimed_by {} \
         AND (expires_at IS NULL OR expires_at > $3) GROUP BY claimed_by",
        paging::in_ids(cx.backend(), 2)
    );
    let now: DateTime<Utc> = cx.app.clock.now();
    let values = [paging::bind_ids(ids), now.into()];
    let rows = ClaimedCountRow::find_by_statement(cx.statement(text, values));
    let rows = rows.all(cx.db()).await?.into_iter();
    Ok(rows.map(|row| (row.claimed_by, row.n.unsigned_abs())).collect())
}

/// The live connection, locked so that nothing can be created for it meanwhile: every insert for it
/// locks its row, by the foreign key.
async fn lock_connection_for_deletion(tx: &Tx<'_>, id: Uuid) -> Result<Connection> {
    let query = tx
        .find::<connection::Entity>()
        .filter(connection::Column::Id.eq(id))
        .filter(connection::Column::DeletedAt.is_null());
    let query = match tx.db.get_database_backend() {
        DbBackend::Postgres => query.lock(LockType::Update),
        _ => query,
    };
    query.one(&tx.db).await?.ok_or_else(|| Error::not_found(Noun::Connection))
}

/// Refuses while the connection owns live accounts or groups.
async fn check_owns_nothing(tx: &Tx<'_>, id: Uuid) -> Result<()> {
    let users = tx.find::<user::Entity>().filter(user::Column::ConnectionId.eq(id));
    let users = users.filter(user::Column::DeletedAt.is_null()).count(&tx.db).await?;
    let groups = tx.find::<group::Entity>().filter(group::Column::ConnectionId.eq(id));
    let groups = groups.filter(group::Column::DeletedAt.is_null()).count(&tx.db).await?;
    if users + groups == 0 {
        return Ok(());
    }
    let why = format!(
        "the connection still owns {users} accounts and {groups} groups: have the identity \
         provider remove them, or delete it with usersBecomeManual, and they stay as accounts and \
         groups without an owner"
    );
    Err(Error::Held { reason: RefusalReason::ConnectionOwns, why: why.into() })
}

/// A kind of resource that a connection owns.
struct OwnedKind {
    table: &'static str,
    subject: &'static str,
    kind: EventKind,
    /// SQL for the rows that are released: deleted accounts too, as long as they can be restored.
    which: &'static str,
}

const OWNED_KINDS: [OwnedKind; 2] = [
    OwnedKind {
        table: "user",
        subject: "user",
        kind: EventKind::UsersReleased,
        which: "purged_at IS NULL",
    },
    OwnedKind {
        table: "group",
        subject: "group",
        kind: EventKind::GroupsReleased,
        which: "deleted_at IS NULL",
    },
];

/// Takes the owner from everything that the connection owns.
async fn release_owned(cx: &Cx, id: Uuid) -> Result<ReleasedCounts> {
    let mut left = [0, 0];
    for (kind, left) in OWNED_KINDS.iter().zip(&mut left) {
        loop {
            let (done, live) = release_batch(cx, id, kind).await?;
            *left += live;
            if done < BATCH_SIZE {
                break;
            }
        }
    }
    let [users, groups] = left;
    Ok(ReleasedCounts { users, groups, claimed: 0 })
}

#[derive(Debug, FromQueryResult)]
struct OwnedRow {
    id: Uuid,
    updated_at: DateTime<Utc>,
    deleted_at: Option<DateTime<Utc>>,
}

/// Releases one batch; returns how many, and how many of them are live.
async fn release_batch(cx: &Cx, connection: Uuid, owned: &'static OwnedKind) -> Result<(u64, u64)> {
    cx.write(move |tx| {
        Box::pin(async move {
            let OwnedKind { table, subject, kind, which } = *owned;
            let backend = tx.db.get_database_backend();
            let lock = if backend == DbBackend::Postgres { "FOR NO KEY UPDATE" } else { "" };
            let text = format!(
                r#"SELECT id, updated_at, deleted_at FROM "{table}" WHERE organization_id = $1
                   AND connection_id = $2
                    AND {which} ORDER BY id LIMIT {BATCH_SIZE} {lock}"#
            );
            let values = [connection.into()];
            let owned = tx.statement(text, values);
            let owned = OwnedRow::find_by_statement(owned).all(&tx.db).await?;
            if owned.is_empty() {
                return Ok(Change::unchanged((0, 0)));
            }
            let now = tx.now_after(owned.iter().map(|one| one.updated_at).max());
            let ids: Vec<Uuid> = owned.iter().map(|one| one.id).collect();
            let text = format!(
                r#"UPDATE "{table}" SET connection_id = NULL, version = version + 1, updated_at = $2
                    WHERE organization_id = $1 AND id {}"#,
                paging::in_ids(backend, 3)
            );
            let values = [now.into(), paging::bind_ids(&ids)];
            tx.db.execute_raw(tx.statement(text, values)).await?;
            if table == "user" {
                clear_activation_owner(tx, &ids, now).await?;
            }
            let live = owned.iter().filter(|one| one.deleted_at.is_none()).count() as i64;
            let entry = NewEvent {
                kind,
                // Many subjects: the payload lists them, by ids without names.
                subject: EventSubject { kind: subject, id: Uuid::nil() },
                connection: Some(connection),
                at: now,
                before: Some(json!({ "ids": ids, "connectionId": connection })),
                after: Some(json!({ "connectionId": null })),
                population: -live,
                name: None,
            };
            Ok(Change::recorded((ids.len() as u64, live.unsigned_abs()), entry))
        })
    })
    .await
}

/// From now on, those of these accounts that are active are active without an owner.
async fn clear_activation_owner(tx: &Tx<'_>, ids: &[Uuid], now: DateTime<Utc>) -> Result<()> {
    let active: Vec<Uuid> = tx
        .find::<activation::Entity>()
        .filter(activation::Column::UserId.is_in(ids.iter().copied()))
        .filter(activation::Column::Until.is_null())
        .select_only()
        .column(activation::Column::UserId)
        .into_tuple()
        .all(&tx.db)
        .await?;
    if active.is_empty() {
        return Ok(());
    }
    interval::close_of_users(tx, IntervalTable::Activation, &active, now).await?;
    interval::open_activations(tx, &active, None, now).await
}

#[derive(Debug, FromQueryResult)]
struct DeletedConnectionRow {
    organization_id: Uuid,
    id: Uuid,
}

/// Releases what deleted connections still own, in every organization.
pub async fn release_rest(app: &Arc<App>) -> Result<()> {
    let owns = |table: &str| {
        format!(
            r#"EXISTS (SELECT 1 FROM "{table}" o WHERE o.organization_id = c.organization_id
               AND o.connection_id = c.id
                AND o.deleted_at IS NULL)"#
        )
    };
    let text = format!(
        "SELECT c.organization_id, c.id FROM connection c WHERE c.deleted_at IS NOT NULL AND ({} \
         OR {})",
        owns("user"),
        owns("group")
    );
    let reason = "which deleted connections still own something";
    let gone = app.statement_for_all_organizations(text, [], reason);
    for DeletedConnectionRow { organization_id, id } in
        DeletedConnectionRow::find_by_statement(gone).all(&app.store.read).await?
    {
        release_owned(&Cx::system(app.clone(), organization_id), id).await?;
    }
    Ok(())
}
