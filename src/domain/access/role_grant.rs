//! Direct grants: somebody holds a role without any group, with a reason and often an end. They stand beside what
//! mappings give and are never overwritten by it.

use chrono::{DateTime, Utc};
use entity::{role_grant, user};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QuerySelect, Select};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::list::{self, Keyset, Slice};
use super::mapping::{check_expiry, check_reason};
use crate::authz::Action;
use crate::context::{Change, Cx, Tx};
use crate::error::{Error, Result};
use crate::ledger::{Entry, EventKind, Subject};

/// A grant; one that ended has `until`.
pub use role_grant::Model as Grant;

/// A grant to be made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewGrant {
    pub user: Uuid,
    pub role: Uuid,
    pub reason: Option<String>,
    /// A planned end, honoured by every reader.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Grants a role to an account.
///
/// # Errors
/// [`Error::Taken`] when the account already has a grant of the role.
pub async fn create(cx: &Cx, new: NewGrant) -> Result<Grant> {
    let new = &new;
    cx.write(move |tx| Box::pin(create_in(cx, tx, new))).await
}

pub(super) async fn create_in(cx: &Cx, tx: &Tx<'_>, new: &NewGrant) -> Result<Change<Grant>> {
    cx.allow(Action::WriteAccess, None)?;
    let reason = check_reason(new.reason.as_deref())?;
    check_expiry(cx, new.expires_at)?;
    let account = tx.find::<user::Entity>().filter(user::Column::Id.eq(new.user));
    let account = super::locked(tx, account.filter(user::Column::DeletedAt.is_null())).await?;
    account.ok_or_else(|| Error::not_found("the user"))?;
    super::role::live(tx, new.role).await?;
    let row = Grant {
        organization_id: cx.organization(),
        id: Uuid::now_v7(),
        user_id: new.user,
        role_id: new.role,
        reason,
        expires_at: new.expires_at,
        since: tx.now_after(None),
        until: None,
        opened_by: tx.event,
        closed_by: None,
    };
    role_grant::Entity::insert(role_grant::ActiveModel::from(row.clone())).exec_without_returning(&tx.db).await?;
    let entry = entry(EventKind::RoleGrantCreated, &row, row.since, None, Some(Value::Object(describe(&row))));
    Ok(Change::made(row, entry))
}

/// Ends a grant.
pub async fn remove(cx: &Cx, id: Uuid) -> Result<Grant> {
    cx.write(move |tx| Box::pin(remove_in(cx, tx, id))).await
}

pub(super) async fn remove_in(cx: &Cx, tx: &Tx<'_>, id: Uuid) -> Result<Change<Grant>> {
    cx.allow(Action::WriteAccess, None)?;
    end(tx, id, EventKind::RoleGrantRemoved).await
}

/// Who holds a role by a direct grant.
pub(super) async fn users_of(tx: &Tx<'_>, role: Uuid) -> Result<Vec<Uuid>> {
    let granted = tx.find::<role_grant::Entity>().filter(role_grant::Column::RoleId.eq(role));
    let granted = granted.filter(role_grant::Column::Until.is_null()).select_only().column(role_grant::Column::UserId);
    Ok(granted.into_tuple().all(&tx.db).await?)
}

/// Ends a grant whose planned end has passed.
pub(super) async fn expire(tx: &Tx<'_>, id: Uuid) -> Result<Change<Grant>> {
    // Nothing changes the end of a grant once it is made.
    end(tx, id, EventKind::RoleGrantExpired).await
}

/// Ends a grant under the action's name, unless it has ended.
async fn end(tx: &Tx<'_>, id: Uuid, kind: EventKind) -> Result<Change<Grant>> {
    let query = tx.find::<role_grant::Entity>().filter(role_grant::Column::Id.eq(id));
    let mut row = super::locked(tx, query).await?.ok_or_else(|| Error::not_found("the grant"))?;
    if row.until.is_some() {
        return Ok(Change::nothing(row));
    }
    let now = tx.now_after(Some(row.since));
    role_grant::Entity::update_many()
        .col_expr(role_grant::Column::Until, Expr::value(now))
        .col_expr(role_grant::Column::ClosedBy, Expr::value(tx.event))
        .filter(role_grant::Column::OrganizationId.eq(tx.organization()))
        .filter(role_grant::Column::Id.eq(id))
        .exec(&tx.db)
        .await?;
    row.until = Some(now);
    row.closed_by = Some(tx.event);
    let entry = entry(kind, &row, now, Some(Value::Object(describe(&row))), None);
    Ok(Change::made(row, entry))
}

/// The grants among `ids`, ended ones too.
pub async fn by_ids(cx: &Cx, ids: &[Uuid]) -> Result<Vec<Grant>> {
    cx.allow(Action::ReadIam, None)?;
    let query = cx.find::<role_grant::Entity>().filter(role_grant::Column::Id.is_in(ids.iter().copied()));
    Ok(query.all(cx.db()).await?)
}

/// Which grants are wanted; none = all.
#[derive(Debug, Clone, Copy, Default)]
pub struct Which {
    pub user: Option<Uuid>,
    pub role: Option<Uuid>,
    /// Ended ones too.
    pub ended: bool,
}

/// Grants, oldest first.
pub async fn list(cx: &Cx, which: Which, keyset: &Keyset<Uuid>) -> Result<Slice<Grant>> {
    cx.allow(Action::ReadIam, None)?;
    list::page(cx, matching(cx, which), role_grant::Column::Id, keyset).await
}

/// How many grants there are.
pub async fn count(cx: &Cx, which: Which) -> Result<u64> {
    cx.allow(Action::ReadIam, None)?;
    Ok(matching(cx, which).count(cx.db()).await?)
}

fn matching(cx: &Cx, which: Which) -> Select<role_grant::Entity> {
    let mut query = cx.find::<role_grant::Entity>();
    if let Some(user) = which.user {
        query = query.filter(role_grant::Column::UserId.eq(user));
    }
    if let Some(role) = which.role {
        query = query.filter(role_grant::Column::RoleId.eq(role));
    }
    match which.ended {
        true => query,
        false => query.filter(role_grant::Column::Until.is_null()),
    }
}

fn describe(row: &Grant) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("userId".into(), row.user_id.to_string().into());
    map.insert("roleId".into(), row.role_id.to_string().into());
    map.insert("reason".into(), row.reason.clone().into());
    map.insert("expiresAt".into(), row.expires_at.map(|at| at.to_rfc3339()).into());
    map
}

fn entry(kind: EventKind, row: &Grant, at: DateTime<Utc>, before: Option<Value>, after: Option<Value>) -> Entry {
    let subject = Subject { kind: "role_grant", id: row.id };
    Entry { kind, subject, connection: None, at, before, after, population: 0 }
}
