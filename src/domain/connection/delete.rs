//! The end of a connection: its tokens are dead at once, and what it still owns becomes nobody's, so that people keep
//! their accounts when a company leaves its identity provider.
//!
//! The connection is gone in one write. What it owned is given up afterwards, a batch a write: whatever is left when a
//! process dies in between, and whatever a request that was under way still created, a worker gives up later.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use entity::{activation, adoption_proposal, connection, group, role_mapping, scim_token, user};
use sea_orm::sea_query::{Expr, LockType};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, FromQueryResult, PaginatorTrait, QueryFilter, QuerySelect,
    Statement,
};
use serde_json::json;
use uuid::Uuid;

use super::connection::Connection;
use super::{failure, list, pull_source, reconcile, user as accounts};
use crate::authz::Action;
use crate::context::{App, Change, Cx, Tx};
use crate::error::{Error, Result};
use crate::ledger::{Entry, EventKind, Subject};

/// Things given up in one transaction.
const BATCH: u64 = 500;

/// What a connection left behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Left {
    /// Live accounts that are nobody's now.
    pub users: u64,
    /// Live groups that are nobody's now.
    pub groups: u64,
}

/// Deletes a connection. Its tokens open nothing from this instant on, mappings that wait for one of its groups are
/// removed, and what it proposed to adopt is dismissed.
///
/// # Errors
/// [`Error::Held`] while it owns live accounts or groups, unless they are to become nobody's.
pub async fn delete(cx: &Cx, id: Uuid, leave_behind: bool) -> Result<Left> {
    cx.allow(Action::WriteConnection, None)?;
    if leave_behind {
        cx.allow(Action::WriteUser, None)?;
    }
    close(cx, id, leave_behind).await?;
    give_up(cx, id).await
}

/// Marks the connection deleted, with all that only it could use.
async fn close(cx: &Cx, id: Uuid, leave_behind: bool) -> Result<()> {
    cx.write(move |tx| {
        Box::pin(async move {
            let before = lock(tx, id).await?;
            if !leave_behind {
                unused(tx, id).await?;
            }
            let now = tx.now_after(Some(before.updated_at));
            let tokens = scim_token::Entity::update_many()
                .col_expr(scim_token::Column::RevokedAt, Expr::value(now))
                .filter(scim_token::Column::OrganizationId.eq(tx.organization()))
                .filter(scim_token::Column::ConnectionId.eq(id))
                .filter(scim_token::Column::RevokedAt.is_null())
                .exec(&tx.db)
                .await?;
            let waiting = role_mapping::Entity::update_many()
                .col_expr(role_mapping::Column::Until, Expr::value(now))
                .col_expr(role_mapping::Column::ClosedBy, Expr::value(tx.event))
                .filter(role_mapping::Column::OrganizationId.eq(tx.organization()))
                .filter(role_mapping::Column::ConnectionId.eq(id))
                .filter(role_mapping::Column::GroupId.is_null())
                .filter(role_mapping::Column::Until.is_null())
                .exec(&tx.db)
                .await?;
            let proposals = adoption_proposal::Entity::update_many()
                .col_expr(adoption_proposal::Column::State, Expr::value("DISMISSED"))
                .col_expr(adoption_proposal::Column::DecidedAt, Expr::value(now))
                .filter(adoption_proposal::Column::OrganizationId.eq(tx.organization()))
                .filter(adoption_proposal::Column::ConnectionId.eq(id))
                .filter(adoption_proposal::Column::State.eq("PENDING"))
                .exec(&tx.db)
                .await?;
            pull_source::end_schedule(tx, id).await?;
            let failures = failure::leave(tx, id, now).await?;
            let findings = reconcile::leave(tx, id, now).await?;
            let after = Connection { version: before.version + 1, updated_at: now, deleted_at: Some(now), ..before };
            let told = json!({
                "name": after.name, "tokensRevoked": tokens.rows_affected, "mappingsRemoved": waiting.rows_affected,
                "proposalsDismissed": proposals.rows_affected, "failuresDismissed": failures, "findingsClosed": findings,
            });
            super::save::<connection::Entity, connection::ActiveModel>(tx, after).await?;
            let entry = Entry {
                kind: EventKind::ConnectionDeleted,
                subject: Subject { kind: "connection", id },
                connection: Some(id),
                at: now,
                before: Some(told),
                after: None,
                population: 0,
            };
            Ok(Change::made((), entry))
        })
    })
    .await
}

/// The live connection, locked so that nothing can be created for it meanwhile: what belongs to it holds it by its
/// foreign key.
async fn lock(tx: &Tx<'_>, id: Uuid) -> Result<Connection> {
    let query = tx
        .find::<connection::Entity>()
        .filter(connection::Column::Id.eq(id))
        .filter(connection::Column::DeletedAt.is_null());
    let query = match tx.db.get_database_backend() {
        DbBackend::Postgres => query.lock(LockType::Update),
        _ => query,
    };
    query.one(&tx.db).await?.ok_or_else(|| Error::not_found("the connection"))
}

/// Refuses while the connection owns something that is live.
async fn unused(tx: &Tx<'_>, id: Uuid) -> Result<()> {
    let users = tx.find::<user::Entity>().filter(user::Column::ConnectionId.eq(id));
    let users = users.filter(user::Column::DeletedAt.is_null()).count(&tx.db).await?;
    let groups = tx.find::<group::Entity>().filter(group::Column::ConnectionId.eq(id));
    let groups = groups.filter(group::Column::DeletedAt.is_null()).count(&tx.db).await?;
    if users + groups == 0 {
        return Ok(());
    }
    let why = format!(
        "the connection still owns {users} accounts and {groups} groups: have the identity provider remove them, or \
         delete it with usersBecomeManual, and they stay as if made by hand"
    );
    Err(Error::Held { reason: "CONNECTION_OWNS", why: why.into() })
}

/// A kind of thing that a connection owns.
struct Kind {
    table: &'static str,
    subject: &'static str,
    kind: EventKind,
    /// What of it is given up: deleted accounts too, as long as they can come back.
    which: &'static str,
}

const KINDS: [Kind; 2] = [
    Kind { table: "user", subject: "user", kind: EventKind::UsersReleased, which: "purged_at IS NULL" },
    Kind { table: "group", subject: "group", kind: EventKind::GroupsReleased, which: "deleted_at IS NULL" },
];

/// Makes everything that the connection owns nobody's.
async fn give_up(cx: &Cx, id: Uuid) -> Result<Left> {
    let mut left = [0, 0];
    for (kind, left) in KINDS.iter().zip(&mut left) {
        loop {
            let (done, live) = give_up_batch(cx, id, kind).await?;
            *left += live;
            if done < BATCH {
                break;
            }
        }
    }
    let [users, groups] = left;
    Ok(Left { users, groups })
}

#[derive(Debug, FromQueryResult)]
struct Owned {
    id: Uuid,
    updated_at: DateTime<Utc>,
    deleted_at: Option<DateTime<Utc>>,
}

/// Gives up some; how many, and how many of them are live.
async fn give_up_batch(cx: &Cx, connection: Uuid, owned: &'static Kind) -> Result<(u64, u64)> {
    cx.write(move |tx| {
        Box::pin(async move {
            let Kind { table, subject, kind, which } = *owned;
            let backend = tx.db.get_database_backend();
            let lock = if backend == DbBackend::Postgres { "FOR NO KEY UPDATE" } else { "" };
            let text = format!(
                r#"SELECT id, updated_at, deleted_at FROM "{table}" WHERE organization_id = $1 AND connection_id = $2
                    AND {which} ORDER BY id LIMIT {BATCH} {lock}"#
            );
            let values = [tx.organization().into(), connection.into()];
            let owned = Statement::from_sql_and_values(backend, text, values);
            let owned = Owned::find_by_statement(owned).all(&tx.db).await?;
            if owned.is_empty() {
                return Ok(Change::nothing((0, 0)));
            }
            let now = tx.now_after(owned.iter().map(|one| one.updated_at).max());
            let ids: Vec<Uuid> = owned.iter().map(|one| one.id).collect();
            let text = format!(
                r#"UPDATE "{table}" SET connection_id = NULL, version = version + 1, updated_at = $2
                    WHERE organization_id = $1 AND id {}"#,
                list::among(backend, 3)
            );
            let values = [tx.organization().into(), now.into(), list::ids(&ids)];
            tx.db.execute_raw(Statement::from_sql_and_values(backend, text, values)).await?;
            if table == "user" {
                change_owner(tx, &ids, now).await?;
            }
            let live = owned.iter().filter(|one| one.deleted_at.is_none()).count() as i64;
            let entry = Entry {
                kind,
                // Many subjects: the payload lists them, by ids that tell nobody's name.
                subject: Subject { kind: subject, id: Uuid::nil() },
                connection: Some(connection),
                at: now,
                before: Some(json!({ "ids": ids, "connectionId": connection })),
                after: Some(json!({ "connectionId": null })),
                population: -live,
            };
            Ok(Change::made((ids.len() as u64, live.unsigned_abs()), entry))
        })
    })
    .await
}

/// From now on those of these accounts that are active are active as nobody's.
async fn change_owner(tx: &Tx<'_>, ids: &[Uuid], now: DateTime<Utc>) -> Result<()> {
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
    accounts::close_held(tx, "activation", &active, now).await?;
    accounts::open_activations(tx, &active, None, now).await
}

#[derive(Debug, FromQueryResult)]
struct Gone {
    organization_id: Uuid,
    id: Uuid,
}

/// Gives up what deleted connections still own, in every organization.
pub async fn give_up_rest(app: &Arc<App>) -> Result<()> {
    let owns = |table: &str| {
        format!(
            r#"EXISTS (SELECT 1 FROM "{table}" o WHERE o.organization_id = c.organization_id AND o.connection_id = c.id
                AND o.deleted_at IS NULL)"#
        )
    };
    let text = format!(
        "SELECT c.organization_id, c.id FROM connection c WHERE c.deleted_at IS NOT NULL AND ({} OR {})",
        owns("user"),
        owns("group")
    );
    let gone = Statement::from_string(app.store.backend(), text);
    for Gone { organization_id, id } in Gone::find_by_statement(gone).all(&app.store.read).await? {
        give_up(&Cx::system(app.clone(), organization_id), id).await?;
    }
    Ok(())
}
