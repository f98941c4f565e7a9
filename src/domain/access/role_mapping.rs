//! Role mappings: a group's members hold a role. Records in their own right, with reason and history.
//!
//! A mapping keeps its id through all its edits; each state it was in is an interval. Nothing is copied to
//! users, so an edit takes effect in its own transaction whatever the size of the group.

use chrono::{DateTime, Utc};
use entity::role_mapping::{self, MatchAttribute};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveEnum, ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, FromQueryResult, PaginatorTrait, QueryFilter,
    QueryOrder, QuerySelect, Select, Statement,
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use uuid::Uuid;

use super::document;
use super::group::Group;
use super::list::{self, Keyset, Slice};
use crate::authz::Action;
use crate::context::{Change, Cx, Tx};
use crate::error::{Error, Result};
use crate::ledger::{self, Entry, EventKind, Subject};

/// A mapping in one of its states: the current one, or the last before it was removed.
pub use role_mapping::Model as Mapping;

/// Whom a mapping speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// The members of this group.
    Group(Uuid),
    /// Those of a group of this connection that may not have arrived yet; the mapping binds to it once, by id.
    Awaited { connection: Uuid, external_id: bool, value: String },
    /// Everybody whom this connection owns: its default role.
    Everybody(Uuid),
}

/// A mapping to be made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewMapping {
    pub target: Target,
    pub role: Uuid,
    pub reason: Option<String>,
    /// A planned end, honoured by every reader.
    pub expires_at: Option<DateTime<Utc>>,
}

/// What to change about a mapping; none = as it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Edit {
    pub group: Option<Uuid>,
    pub role: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub reason: Option<Option<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub expires_at: Option<Option<DateTime<Utc>>>,
}

/// What is there, null or not, as opposed to what is left out.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

/// Makes a mapping.
///
/// # Errors
/// [`Error::Taken`] when the same group already maps to the same role.
pub async fn create(cx: &Cx, new: NewMapping) -> Result<Mapping> {
    let new = &new;
    cx.write(move |tx| Box::pin(create_in(cx, tx, new))).await
}

pub(super) async fn create_in(cx: &Cx, tx: &Tx<'_>, new: &NewMapping) -> Result<Change<Mapping>> {
    cx.allow(Action::WriteAccess, None)?;
    let reason = check_reason(new.reason.as_deref())?;
    check_expiry(cx, new.expires_at)?;
    super::role::live(tx, new.role).await?;
    let mut row = Mapping {
        organization_id: cx.organization(),
        id: Uuid::now_v7(),
        mapping_id: Uuid::now_v7(),
        group_id: None,
        connection_id: None,
        match_attribute: None,
        match_value: None,
        role_id: new.role,
        reason,
        expires_at: new.expires_at,
        since: tx.now_after(None),
        until: None,
        opened_by: tx.event,
        closed_by: None,
    };
    match &new.target {
        Target::Group(id) => row.group_id = Some(group(tx, *id).await?),
        Target::Awaited { connection, external_id, value } => {
            super::connection::live(tx, *connection).await?;
            let value = super::text("value", value, 512)?;
            let (attribute, value) = match external_id {
                true => (MatchAttribute::ExternalId, value),
                false => (MatchAttribute::DisplayName, document::fold(&value)),
            };
            row.group_id = arrived(tx, *connection, attribute, &value).await?;
            row.connection_id = Some(*connection);
            row.match_attribute = Some(attribute);
            row.match_value = Some(value);
        }
        Target::Everybody(connection) => {
            super::connection::live(tx, *connection).await?;
            row.connection_id = Some(*connection);
            row.match_attribute = Some(MatchAttribute::Everybody);
            row.match_value = Some(String::new());
        }
    }
    open(tx, &row).await?;
    let entry = entry(EventKind::RoleMappingCreated, &row, row.since, None, Some(Value::Object(describe(&row))));
    Ok(Change::made(row, entry))
}

/// The current mapping that stands in the way of one of this target and role, if there is one.
pub async fn rival(cx: &Cx, target: &Target, role: Uuid) -> Result<Option<Mapping>> {
    cx.allow(Action::WriteAccess, None)?;
    let query = cx.find::<role_mapping::Entity>().filter(role_mapping::Column::Until.is_null());
    let query = query.filter(role_mapping::Column::RoleId.eq(role));
    let query = match target {
        Target::Group(id) => query.filter(role_mapping::Column::GroupId.eq(*id)),
        Target::Awaited { connection, external_id, value } => {
            let (attribute, value) = match external_id {
                true => (MatchAttribute::ExternalId, value.trim().to_owned()),
                false => (MatchAttribute::DisplayName, document::fold(value.trim())),
            };
            let query = query.filter(role_mapping::Column::ConnectionId.eq(*connection));
            let query = query.filter(role_mapping::Column::MatchAttribute.eq(attribute));
            query.filter(role_mapping::Column::MatchValue.eq(value))
        }
        Target::Everybody(connection) => query
            .filter(role_mapping::Column::ConnectionId.eq(*connection))
            .filter(role_mapping::Column::MatchAttribute.eq(MatchAttribute::Everybody)),
    };
    Ok(query.one(cx.db()).await?)
}

/// Edits a current mapping: its state until now ends, the next begins, in one instant.
pub async fn edit(cx: &Cx, mapping_id: Uuid, edit: Edit) -> Result<Mapping> {
    let edit = &edit;
    cx.write(move |tx| Box::pin(edit_in(cx, tx, mapping_id, edit))).await
}

pub(super) async fn edit_in(cx: &Cx, tx: &Tx<'_>, mapping_id: Uuid, edit: &Edit) -> Result<Change<Mapping>> {
    cx.allow(Action::WriteAccess, None)?;
    let reason = edit.reason.as_ref().map(|reason| check_reason(reason.as_deref())).transpose()?;
    if let Some(at) = edit.expires_at {
        check_expiry(cx, at)?;
    }
    let before = locked(tx, mapping_id).await?.filter(|row| row.until.is_none());
    let before = before.ok_or_else(|| Error::not_found("the mapping"))?;
    let mut after = before.clone();
    if let Some(id) = edit.group {
        after.group_id = Some(group(tx, id).await?);
        if after.match_attribute == Some(MatchAttribute::Everybody) {
            (after.connection_id, after.match_attribute, after.match_value) = (None, None, None);
        }
    }
    if let Some(id) = edit.role {
        after.role_id = super::role::live(tx, id).await?.id;
    }
    after.reason = reason.unwrap_or(after.reason);
    after.expires_at = edit.expires_at.unwrap_or(after.expires_at);
    if after == before {
        return Ok(Change::nothing(before));
    }
    let after = replace(tx, &before, after).await?;
    let (was, is) = ledger::difference(&describe(&before), &describe(&after));
    let entry = entry(EventKind::RoleMappingUpdated, &after, after.since, Some(was), Some(is));
    Ok(Change::made(after, entry))
}

/// Ends one state of a mapping and begins the next in the same instant.
async fn replace(tx: &Tx<'_>, before: &Mapping, after: Mapping) -> Result<Mapping> {
    let now = tx.now_after(Some(before.since));
    close(tx, before, now).await?;
    let after = Mapping { id: Uuid::now_v7(), since: now, opened_by: tx.event, ..after };
    open(tx, &after).await?;
    Ok(after)
}

/// Ends a mapping; it can be restored.
pub async fn remove(cx: &Cx, mapping_id: Uuid) -> Result<Mapping> {
    cx.write(move |tx| Box::pin(remove_in(cx, tx, mapping_id))).await
}

pub(super) async fn remove_in(cx: &Cx, tx: &Tx<'_>, mapping_id: Uuid) -> Result<Change<Mapping>> {
    cx.allow(Action::WriteAccess, None)?;
    end(tx, mapping_id, EventKind::RoleMappingRemoved).await
}

/// Ends a mapping under the action's name, unless it has ended.
pub(super) async fn end(tx: &Tx<'_>, mapping_id: Uuid, kind: EventKind) -> Result<Change<Mapping>> {
    let mut row = locked(tx, mapping_id).await?.ok_or_else(|| Error::not_found("the mapping"))?;
    if row.until.is_some() {
        return Ok(Change::nothing(row));
    }
    let now = tx.now_after(Some(row.since));
    close(tx, &row, now).await?;
    row.until = Some(now);
    row.closed_by = Some(tx.event);
    let entry = entry(kind, &row, now, Some(Value::Object(describe(&row))), None);
    Ok(Change::made(row, entry))
}

/// Ends a mapping whose planned end has passed by now.
pub(super) async fn expire(tx: &Tx<'_>, mapping_id: Uuid) -> Result<Change<Mapping>> {
    let row = locked(tx, mapping_id).await?.ok_or_else(|| Error::not_found("the mapping"))?;
    match row.expires_at {
        Some(at) if at <= tx.now_after(None) => end(tx, mapping_id, EventKind::RoleMappingExpired).await,
        _ => Ok(Change::nothing(row)),
    }
}

/// Takes a removed mapping up again as it last was, or onto another group. Where its group is gone and it once
/// waited for it, it waits again, or binds to the group of that name that is there now.
///
/// # Errors
/// [`Error::NotFound`] when its group or role is gone, [`Error::Taken`] when the same pair was mapped anew.
pub async fn restore(cx: &Cx, mapping_id: Uuid, onto: Option<Uuid>) -> Result<Mapping> {
    cx.write(move |tx| Box::pin(restore_in(cx, tx, mapping_id, onto))).await
}

pub(super) async fn restore_in(cx: &Cx, tx: &Tx<'_>, mapping_id: Uuid, onto: Option<Uuid>) -> Result<Change<Mapping>> {
    cx.allow(Action::WriteAccess, None)?;
    let last = locked(tx, mapping_id).await?.ok_or_else(|| Error::not_found("the mapping"))?;
    if let Some(id) = onto {
        group(tx, id).await?;
    }
    let Some(ended) = last.until else {
        return match onto.is_none() || onto == last.group_id {
            true => Ok(Change::nothing(last)),
            false => Err(Error::invalid("the group", "cannot be changed here: the mapping is not removed")),
        };
    };
    super::role::live(tx, last.role_id).await?;
    let mut group_id = onto.or(last.group_id);
    if let Some(id) = group_id {
        group_id = match (group(tx, id).await, last.connection_id, last.match_attribute, &last.match_value) {
            (Err(Error::NotFound(_)), Some(connection), Some(attribute), Some(value)) if onto.is_none() => {
                arrived(tx, connection, attribute, value).await?
            }
            (found, ..) => Some(found?),
        };
    }
    let now = tx.now_after(Some(ended));
    let expires_at = last.expires_at.filter(|at| *at > now);
    let row = Mapping {
        id: Uuid::now_v7(),
        group_id,
        since: now,
        until: None,
        opened_by: tx.event,
        closed_by: None,
        expires_at,
        ..last
    };
    open(tx, &row).await?;
    let entry = entry(EventKind::RoleMappingRestored, &row, now, None, Some(Value::Object(describe(&row))));
    Ok(Change::made(row, entry))
}

/// Binds the mappings that waited for this group; returns which. Called inside the write that brings the group
/// or changes its name.
pub(super) async fn bind(tx: &Tx<'_>, group: &Group) -> Result<Vec<Uuid>> {
    let Some(connection) = group.connection_id else { return Ok(Vec::new()) };
    let text = "SELECT * FROM role_mapping WHERE organization_id = $1 AND connection_id = $2 AND group_id IS NULL AND until IS NULL \
           AND ((match_attribute = 'EXTERNAL_ID' AND match_value = $3) OR (match_attribute = 'DISPLAY_NAME' AND match_value = $4)) \
           AND NOT EXISTS (SELECT 1 FROM role_mapping b WHERE b.organization_id = role_mapping.organization_id \
             AND b.group_id = $5 AND b.role_id = role_mapping.role_id AND b.until IS NULL) ORDER BY mapping_id";
    let text = match tx.db.get_database_backend() {
        DbBackend::Postgres => format!("{text} FOR NO KEY UPDATE"),
        _ => text.to_owned(),
    };
    let values = [
        tx.organization().into(),
        connection.into(),
        group.external_id.clone().into(),
        document::fold(&group.display_name).into(),
        group.id.into(),
    ];
    let statement = Statement::from_sql_and_values(tx.db.get_database_backend(), text, values);
    let mut bound = Vec::new();
    // Two that waited for the same group with the same role: the first is bound, the other goes on waiting.
    let mut roles = BTreeSet::new();
    for waiting in Mapping::find_by_statement(statement).all(&tx.db).await? {
        if roles.insert(waiting.role_id) {
            replace(tx, &waiting, Mapping { group_id: Some(group.id), ..waiting.clone() }).await?;
            bound.push(waiting.mapping_id);
        }
    }
    Ok(bound)
}

/// The mappings that `event` has ended and that have no current state, each with its role, by age.
pub(super) async fn ended_by(tx: &Tx<'_>, event: Uuid) -> Result<Vec<(Uuid, Uuid)>> {
    let query = tx.find::<role_mapping::Entity>().filter(role_mapping::Column::ClosedBy.eq(event));
    let query = query.filter(Expr::cust(LATEST)).filter(role_mapping::Column::Until.is_not_null());
    let ended = query.order_by_asc(role_mapping::Column::MappingId).all(&tx.db).await?;
    Ok(ended.into_iter().map(|row| (row.mapping_id, row.role_id)).collect())
}

/// One mapping in its current or last state.
pub async fn get(cx: &Cx, mapping_id: Uuid) -> Result<Mapping> {
    by_ids(cx, &[mapping_id]).await?.pop().ok_or_else(|| Error::not_found("the mapping"))
}

/// These mappings, each in its current or last state.
pub async fn by_ids(cx: &Cx, mapping_ids: &[Uuid]) -> Result<Vec<Mapping>> {
    cx.allow(Action::ReadIam, None)?;
    let query =
        cx.find::<role_mapping::Entity>().filter(role_mapping::Column::MappingId.is_in(mapping_ids.iter().copied()));
    Ok(query.filter(Expr::cust(LATEST)).all(cx.db()).await?)
}

/// Mappings by age; removed ones too where asked for.
pub async fn list(cx: &Cx, removed: bool, keyset: &Keyset<Uuid>) -> Result<Slice<Mapping>> {
    cx.allow(Action::ReadIam, None)?;
    list::page(cx, listed(cx, removed), role_mapping::Column::MappingId, keyset).await
}

/// How many mappings there are; removed ones too where asked for.
pub async fn count(cx: &Cx, removed: bool) -> Result<u64> {
    cx.allow(Action::ReadIam, None)?;
    Ok(listed(cx, removed).count(cx.db()).await?)
}

fn listed(cx: &Cx, removed: bool) -> Select<role_mapping::Entity> {
    let query = cx.find::<role_mapping::Entity>();
    match removed {
        true => query.filter(Expr::cust(LATEST)),
        false => query.filter(role_mapping::Column::Until.is_null()),
    }
}

/// Every state that a mapping was ever in, oldest first; at most a thousand.
pub async fn history(cx: &Cx, mapping_id: Uuid) -> Result<Vec<Mapping>> {
    cx.allow(Action::ReadIam, None)?;
    let query = cx.find::<role_mapping::Entity>().filter(role_mapping::Column::MappingId.eq(mapping_id));
    let query = query.order_by_asc(role_mapping::Column::Since).order_by_asc(role_mapping::Column::Id).limit(1_000);
    Ok(query.all(cx.db()).await?)
}

/// The current mappings of these groups.
pub async fn of_groups(cx: &Cx, groups: &[Uuid]) -> Result<Vec<Mapping>> {
    cx.allow(Action::ReadIam, None)?;
    let query = cx.find::<role_mapping::Entity>().filter(role_mapping::Column::Until.is_null());
    let query = query.filter(role_mapping::Column::GroupId.is_in(groups.iter().copied()));
    Ok(query.order_by_asc(role_mapping::Column::MappingId).all(cx.db()).await?)
}

/// The current mappings to these roles.
pub async fn of_roles(cx: &Cx, roles: &[Uuid]) -> Result<Vec<Mapping>> {
    cx.allow(Action::ReadIam, None)?;
    let query = cx.find::<role_mapping::Entity>().filter(role_mapping::Column::Until.is_null());
    let query = query.filter(role_mapping::Column::RoleId.is_in(roles.iter().copied()));
    Ok(query.order_by_asc(role_mapping::Column::MappingId).all(cx.db()).await?)
}

/// A row that no later state of the same mapping follows.
const LATEST: &str = "NOT EXISTS (SELECT 1 FROM role_mapping later WHERE later.organization_id = role_mapping.organization_id \
     AND later.mapping_id = role_mapping.mapping_id \
     AND (later.since > role_mapping.since OR (later.since = role_mapping.since AND later.id > role_mapping.id)))";

/// The current or last state of a mapping, locked. Whoever waited for the lock of a state that has ended meanwhile
/// takes the one that followed.
async fn locked(tx: &Tx<'_>, mapping_id: Uuid) -> Result<Option<Mapping>> {
    let query = tx.find::<role_mapping::Entity>().filter(role_mapping::Column::MappingId.eq(mapping_id));
    // The first state stays the first whoever edits: all of them queue there, and each finds the latest state free.
    super::locked(tx, query.clone().order_by_asc(role_mapping::Column::Since)).await?;
    let query = query.order_by_desc(role_mapping::Column::Since).order_by_desc(role_mapping::Column::Id);
    loop {
        let held = super::locked(tx, query.clone()).await?;
        // A statement of its own sees what was committed while the one before waited.
        let latest = query.clone().one(&tx.db).await?;
        if held.as_ref().map(|row| row.id) == latest.map(|row| row.id) {
            return Ok(held);
        }
    }
}

/// The id of a live group, share-locked by the foreign key of what is about to name it.
async fn group(tx: &Tx<'_>, id: Uuid) -> Result<Uuid> {
    use entity::group;
    let query = tx.find::<group::Entity>().filter(group::Column::Id.eq(id)).filter(group::Column::DeletedAt.is_null());
    super::locked(tx, query).await?.map(|row| row.id).ok_or_else(|| Error::not_found("the group"))
}

/// The group that a mapping is about to wait for, if it is already here. A display name need not be unique: the
/// oldest group bearing it is meant.
async fn arrived(tx: &Tx<'_>, connection: Uuid, attribute: MatchAttribute, value: &str) -> Result<Option<Uuid>> {
    use entity::group;
    let column = match attribute {
        MatchAttribute::ExternalId => group::Column::ExternalId,
        MatchAttribute::DisplayName => group::Column::DisplayNameKey,
        // Whoever speaks of everybody waits for no group.
        MatchAttribute::Everybody => return Ok(None),
    };
    let query = tx
        .find::<group::Entity>()
        .filter(group::Column::ConnectionId.eq(connection))
        .filter(column.eq(value))
        .filter(group::Column::DeletedAt.is_null())
        .order_by_asc(group::Column::Id);
    Ok(super::locked(tx, query).await?.map(|row| row.id))
}

async fn open(tx: &Tx<'_>, row: &Mapping) -> Result<()> {
    role_mapping::Entity::insert(role_mapping::ActiveModel::from(row.clone())).exec_without_returning(&tx.db).await?;
    Ok(())
}

async fn close(tx: &Tx<'_>, row: &Mapping, now: DateTime<Utc>) -> Result<()> {
    role_mapping::Entity::update_many()
        .col_expr(role_mapping::Column::Until, Expr::value(now))
        .col_expr(role_mapping::Column::ClosedBy, Expr::value(tx.event))
        .filter(role_mapping::Column::OrganizationId.eq(tx.organization()))
        .filter(role_mapping::Column::Id.eq(row.id))
        .exec(&tx.db)
        .await?;
    Ok(())
}

pub(super) fn check_reason(reason: Option<&str>) -> Result<Option<String>> {
    reason.map(|reason| super::text("reason", reason, 2_000)).transpose()
}

pub(super) fn check_expiry(cx: &Cx, at: Option<DateTime<Utc>>) -> Result<()> {
    match at {
        Some(at) if at <= cx.requested_at => Err(Error::invalid("expiresAt", "must be in the future")),
        _ => Ok(()),
    }
}

fn describe(row: &Mapping) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("groupId".into(), row.group_id.map(|id| id.to_string()).into());
    map.insert("roleId".into(), row.role_id.to_string().into());
    map.insert("reason".into(), row.reason.clone().into());
    map.insert("expiresAt".into(), row.expires_at.map(|at| at.to_rfc3339()).into());
    match (&row.match_attribute, &row.match_value) {
        (Some(MatchAttribute::Everybody), _) => {
            map.insert("everybodyOf".into(), row.connection_id.map(|id| id.to_string()).into());
        }
        (Some(attribute), Some(value)) => {
            map.insert("awaits".into(), format!("{} {value}", attribute.to_value()).into());
        }
        _ => {}
    }
    map
}

fn entry(kind: EventKind, row: &Mapping, at: DateTime<Utc>, before: Option<Value>, after: Option<Value>) -> Entry {
    let subject = Subject { kind: "role_mapping", id: row.mapping_id };
    Entry { kind, subject, connection: row.connection_id, at, before, after, population: 0 }
}
