//! Role mappings: a group's members hold a role. A mapping is a record of its own, with a reason
//! and a history.
//!
//! A mapping keeps its id through all its edits; each of its states is an interval. Nothing is
//! copied to users, so an edit takes effect in its own transaction, however large the group is.

use chrono::{DateTime, Utc};
use entity::role_mapping::{self, MatchAttribute};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveEnum, ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, FromQueryResult,
    PaginatorTrait, QueryFilter, QueryOrder, QuerySelect, Select,
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use uuid::Uuid;

use crate::auth::policy::Action;
use crate::context::{Change, Cx, Tx, clock};
use crate::domain::access::giving;
use crate::domain::directory::group::Group;
use crate::domain::interval;
use crate::domain::interval::IntervalTable;
use crate::domain::paging;
use crate::domain::paging::order::{OrderBy, OrderPlace};
use crate::domain::paging::{Keyset, Slice};
use crate::error::{Error, Noun, Result, mistakes};
use crate::identity::document;
use crate::ledger;
use crate::ledger::{EventKind, EventSubject, NewEvent};

/// A mapping in one of its states: the current one, or the last before it was removed.
pub use role_mapping::Model as Mapping;

/// The accounts that a mapping is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MappingTarget {
    /// The members of this group.
    Group(Uuid),
    /// The members of a group of this connection that may not exist yet; the mapping binds to it
    /// once, by id.
    Awaited { connection: Uuid, external_id: bool, value: String },
    /// All accounts that this connection owns: its default role.
    #[serde(rename = "Everybody")]
    AllUsers(Uuid),
}

/// A mapping to create.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewMapping {
    pub target: MappingTarget,
    pub role: Uuid,
    pub reason: Option<String>,
    /// A planned end, honoured by every reader.
    pub expires_at: Option<DateTime<Utc>>,
}

/// The changes of a mapping; none = unchanged.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct MappingEdit {
    pub group: Option<Uuid>,
    pub role: Option<Uuid>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "deserialize_given"
    )]
    pub reason: Option<Option<String>>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "deserialize_given"
    )]
    pub expires_at: Option<Option<DateTime<Utc>>>,
}

/// A value that is given, null or not, as opposed to one that is left out.
fn deserialize_given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    value: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

/// Creates a mapping.
///
/// # Errors
/// [`Error::Taken`] if the same group is mapped to the same role already.
pub async fn create_mapping(cx: &Cx, new: NewMapping) -> Result<Mapping> {
    let new = &new;
    cx.write(move |tx| Box::pin(create_in(cx, tx, new))).await
}

pub(in crate::domain) async fn create_in(
    cx: &Cx,
    tx: &Tx<'_>,
    new: &NewMapping,
) -> Result<Change<Mapping>> {
    cx.allow(Action::WriteAccess, None)?;
    let texts =
        mistakes::both(check_reason(new.reason.as_deref()), check_expiry(cx, new.expires_at));
    let role = super::role::find_live_role(tx, new.role).await;
    let ((reason, ()), (role, ())) =
        mistakes::both(texts, mistakes::both(role, check_target(tx, &new.target).await))?;
    giving::check_role(cx, &role)?;
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
        expires_at: new.expires_at.map(clock::to_stored_precision),
        since: tx.now_after(None),
        until: None,
        opened_by: tx.event,
        closed_by: None,
    };
    match &new.target {
        MappingTarget::Group(id) => row.group_id = Some(*id),
        MappingTarget::Awaited { connection, external_id, value } => {
            let value = crate::domain::check_text("value", value, 512)?;
            let (attribute, value) = if *external_id {
                (MatchAttribute::ExternalId, value)
            } else {
                (MatchAttribute::DisplayName, document::fold_text(&value))
            };
            row.group_id = find_arrived_group(tx, *connection, attribute, &value).await?;
            row.connection_id = Some(*connection);
            row.match_attribute = Some(attribute);
            row.match_value = Some(value);
        }
        MappingTarget::AllUsers(connection) => {
            row.connection_id = Some(*connection);
            row.match_attribute = Some(MatchAttribute::AllUsers);
            row.match_value = Some(String::new());
        }
    }
    open_mapping(tx, &row).await?;
    let entry = mapping_event(
        tx,
        EventKind::RoleMappingCreated,
        &row,
        row.since,
        None,
        Some(Value::Object(describe_mapping(&row))),
    )
    .await?;
    Ok(Change::recorded(row, entry))
}

/// Refuses a target that cannot be.
async fn check_target(tx: &Tx<'_>, target: &MappingTarget) -> Result<()> {
    match target {
        MappingTarget::Group(id) => check_live_group(tx, *id).await.map(drop),
        MappingTarget::Awaited { connection, value, .. } => {
            let value = crate::domain::check_text("value", value, 512);
            let connection = crate::domain::connection::lock_live_connection(tx, *connection).await;
            mistakes::both(value, connection).map(drop)
        }
        MappingTarget::AllUsers(connection) => {
            crate::domain::connection::lock_live_connection(tx, *connection).await.map(drop)
        }
    }
}

/// The current mapping of this target and role, if there is one: it prevents another one.
pub async fn find_rival(cx: &Cx, target: &MappingTarget, role: Uuid) -> Result<Option<Mapping>> {
    cx.allow(Action::WriteAccess, None)?;
    let query = cx.find::<role_mapping::Entity>().filter(role_mapping::Column::Until.is_null());
    let query = query.filter(role_mapping::Column::RoleId.eq(role));
    let query = match target {
        MappingTarget::Group(id) => query.filter(role_mapping::Column::GroupId.eq(*id)),
        MappingTarget::Awaited { connection, external_id, value } => {
            let (attribute, value) = if *external_id {
                (MatchAttribute::ExternalId, value.trim().to_owned())
            } else {
                (MatchAttribute::DisplayName, document::fold_text(value.trim()))
            };
            let query = query.filter(role_mapping::Column::ConnectionId.eq(*connection));
            let query = query.filter(role_mapping::Column::MatchAttribute.eq(attribute));
            query.filter(role_mapping::Column::MatchValue.eq(value))
        }
        MappingTarget::AllUsers(connection) => query
            .filter(role_mapping::Column::ConnectionId.eq(*connection))
            .filter(role_mapping::Column::MatchAttribute.eq(MatchAttribute::AllUsers)),
    };
    Ok(query.one(cx.db()).await?)
}

/// Edits a current mapping: its state ends, and the next one begins at the same instant.
pub async fn edit_mapping(cx: &Cx, mapping_id: Uuid, edit: MappingEdit) -> Result<Mapping> {
    let edit = &edit;
    cx.write(move |tx| Box::pin(edit_in(cx, tx, mapping_id, edit))).await
}

pub(in crate::domain) async fn edit_in(
    cx: &Cx,
    tx: &Tx<'_>,
    mapping_id: Uuid,
    edit: &MappingEdit,
) -> Result<Change<Mapping>> {
    cx.allow(Action::WriteAccess, None)?;
    let texts = mistakes::both(
        edit.reason.as_ref().map(|reason| check_reason(reason.as_deref())).transpose(),
        edit.expires_at.map_or(Ok(()), |at| check_expiry(cx, at)),
    );
    let before = lock_mapping(tx, mapping_id).await?.filter(|row| row.until.is_none());
    let before = before.ok_or_else(|| Error::not_found(Noun::Mapping));
    let ((reason, ()), before) = mistakes::both(texts, before)?;
    let mut after = before.clone();
    if let Some(id) = edit.group {
        after.group_id = Some(check_live_group(tx, id).await?);
        if after.match_attribute == Some(MatchAttribute::AllUsers) {
            (after.connection_id, after.match_attribute, after.match_value) = (None, None, None);
        }
    }
    if let Some(id) = edit.role {
        after.role_id = super::role::find_live_role(tx, id).await?.id;
    }
    after.reason = reason.unwrap_or(after.reason);
    after.expires_at = match edit.expires_at {
        Some(end) => end.map(clock::to_stored_precision),
        None => after.expires_at,
    };
    if after == before {
        return Ok(Change::unchanged(before));
    }
    let gives = after.role_id != before.role_id
        || after.group_id != before.group_id
        || giving::ends_later(after.expires_at, before.expires_at);
    if gives {
        giving::check_role(cx, &super::role::find_live_role(tx, after.role_id).await?)?;
    }
    let after = replace_mapping(tx, &before, after).await?;
    let (was, is) = ledger::changed_members(&describe_mapping(&before), &describe_mapping(&after));
    let entry =
        mapping_event(tx, EventKind::RoleMappingUpdated, &after, after.since, Some(was), Some(is))
            .await?;
    Ok(Change::recorded(after, entry))
}

/// Ends one state of a mapping and begins the next in the same instant.
async fn replace_mapping(tx: &Tx<'_>, before: &Mapping, after: Mapping) -> Result<Mapping> {
    let now = tx.now_after(Some(before.since));
    interval::close_row(tx, IntervalTable::RoleMapping, before.id, now).await?;
    let after = Mapping { id: Uuid::now_v7(), since: now, opened_by: tx.event, ..after };
    open_mapping(tx, &after).await?;
    Ok(after)
}

/// Ends a mapping; it can be restored.
pub async fn remove_mapping(cx: &Cx, mapping_id: Uuid) -> Result<Mapping> {
    cx.write(move |tx| Box::pin(remove_in(cx, tx, mapping_id))).await
}

pub(in crate::domain) async fn remove_in(
    cx: &Cx,
    tx: &Tx<'_>,
    mapping_id: Uuid,
) -> Result<Change<Mapping>> {
    cx.allow(Action::WriteAccess, None)?;
    end_mapping(tx, mapping_id, EventKind::RoleMappingRemoved).await
}

/// Ends a mapping with an event of this kind, unless it has ended.
pub(in crate::domain) async fn end_mapping(
    tx: &Tx<'_>,
    mapping_id: Uuid,
    kind: EventKind,
) -> Result<Change<Mapping>> {
    let mut row =
        lock_mapping(tx, mapping_id).await?.ok_or_else(|| Error::not_found(Noun::Mapping))?;
    if row.until.is_some() {
        return Ok(Change::unchanged(row));
    }
    let now = tx.now_after(Some(row.since));
    interval::close_row(tx, IntervalTable::RoleMapping, row.id, now).await?;
    row.until = Some(now);
    row.closed_by = Some(tx.event);
    let entry =
        mapping_event(tx, kind, &row, now, Some(Value::Object(describe_mapping(&row))), None)
            .await?;
    Ok(Change::recorded(row, entry))
}

/// Ends a mapping whose planned end has passed by now.
pub(in crate::domain) async fn expire_mapping(
    tx: &Tx<'_>,
    mapping_id: Uuid,
) -> Result<Change<Mapping>> {
    let row = lock_mapping(tx, mapping_id).await?.ok_or_else(|| Error::not_found(Noun::Mapping))?;
    match row.expires_at {
        Some(at) if at <= tx.now_after(None) => {
            end_mapping(tx, mapping_id, EventKind::RoleMappingExpired).await
        }
        _ => Ok(Change::unchanged(row)),
    }
}

/// Restores a removed mapping with its last state, or for another group. If its group was deleted
/// and it once waited for that group, it waits again, or binds to the group that has the name now.
///
/// # Errors
/// [`Error::NotFound`] if its group or role was deleted, [`Error::Taken`] if the same pair was
/// mapped again since.
pub async fn restore_mapping(cx: &Cx, mapping_id: Uuid, onto: Option<Uuid>) -> Result<Mapping> {
    cx.write(move |tx| Box::pin(restore_in(cx, tx, mapping_id, onto))).await
}

pub(in crate::domain) async fn restore_in(
    cx: &Cx,
    tx: &Tx<'_>,
    mapping_id: Uuid,
    onto: Option<Uuid>,
) -> Result<Change<Mapping>> {
    cx.allow(Action::WriteAccess, None)?;
    let last =
        lock_mapping(tx, mapping_id).await?.ok_or_else(|| Error::not_found(Noun::Mapping))?;
    if let Some(id) = onto {
        check_live_group(tx, id).await?;
    }
    let Some(ended) = last.until else {
        return if onto.is_none() || onto == last.group_id {
            Ok(Change::unchanged(last))
        } else {
            Err(Error::invalid("the group", "cannot be changed here: the mapping is not removed"))
        };
    };
    giving::check_role(cx, &super::role::find_live_role(tx, last.role_id).await?)?;
    let mut group_id = onto.or(last.group_id);
    if let Some(id) = group_id {
        group_id = match (
            check_live_group(tx, id).await,
            last.connection_id,
            last.match_attribute,
            &last.match_value,
        ) {
            (Err(Error::NotFound(_)), Some(connection), Some(attribute), Some(value))
                if onto.is_none() =>
            {
                find_arrived_group(tx, connection, attribute, value).await?
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
    open_mapping(tx, &row).await?;
    let entry = mapping_event(
        tx,
        EventKind::RoleMappingRestored,
        &row,
        now,
        None,
        Some(Value::Object(describe_mapping(&row))),
    )
    .await?;
    Ok(Change::recorded(row, entry))
}

/// Binds the mappings that wait for this group; returns their ids. Called inside the write that
/// creates the group or changes its name.
pub(in crate::domain) async fn bind_waiting_mappings(
    tx: &Tx<'_>,
    group: &Group,
) -> Result<Vec<Uuid>> {
    let Some(connection) = group.connection_id else { return Ok(Vec::new()) };
    let name_key = document::fold_text(&group.display_name);
    let external_id = group.external_id.as_deref();
    bind_mappings_of(tx, connection, group.id, external_id, Some(&name_key)).await
}

/// Binds the mappings that wait at `connection` for a group with this external id or this folded
/// name to `group`, which may be another connection's; returns their ids.
pub(in crate::domain) async fn bind_mappings_of(
    tx: &Tx<'_>,
    connection: Uuid,
    group: Uuid,
    external_id: Option<&str>,
    name_key: Option<&str>,
) -> Result<Vec<Uuid>> {
    let text = "SELECT * FROM role_mapping WHERE organization_id = $1 AND connection_id = $2 \
                AND group_id IS NULL AND until IS NULL \
           AND ((match_attribute = 'EXTERNAL_ID' AND match_value = $3) \
           OR (match_attribute = 'DISPLAY_NAME' AND match_value = $4)) \
           AND NOT EXISTS (SELECT 1 FROM role_mapping b \
           WHERE b.organization_id = role_mapping.organization_id \
             AND b.group_id = $5 AND b.role_id = role_mapping.role_id AND b.until IS NULL) \
             ORDER BY mapping_id";
    let text = match tx.db.get_database_backend() {
        DbBackend::Postgres => format!("{text} FOR NO KEY UPDATE"),
        _ => text.to_owned(),
    };
    let values = [
        connection.into(),
        external_id.map(str::to_owned).into(),
        name_key.map(str::to_owned).into(),
        group.into(),
    ];
    let statement = tx.statement(text, values);
    let mut bound = Vec::new();
    // If two mappings wait for this group with the same role, the first is bound and the other one
    // keeps waiting.
    let mut roles = BTreeSet::new();
    for waiting in Mapping::find_by_statement(statement).all(&tx.db).await? {
        if roles.insert(waiting.role_id) {
            replace_mapping(tx, &waiting, Mapping { group_id: Some(group), ..waiting.clone() })
                .await?;
            bound.push(waiting.mapping_id);
        }
    }
    Ok(bound)
}

/// The mappings that `event` has ended and that have no current state, each with its role, by age.
pub(in crate::domain) async fn ended_by(tx: &Tx<'_>, event: Uuid) -> Result<Vec<(Uuid, Uuid)>> {
    let query = tx.find::<role_mapping::Entity>().filter(role_mapping::Column::ClosedBy.eq(event));
    let query =
        query.filter(Expr::cust(LATEST_STATE)).filter(role_mapping::Column::Until.is_not_null());
    let ended = query.order_by_asc(role_mapping::Column::MappingId).all(&tx.db).await?;
    Ok(ended.into_iter().map(|row| (row.mapping_id, row.role_id)).collect())
}

/// These mappings, each in its current or last state.
pub async fn by_ids(cx: &Cx, mapping_ids: &[Uuid]) -> Result<Vec<Mapping>> {
    cx.allow(Action::ReadIam, None)?;
    let query = cx
        .find::<role_mapping::Entity>()
        .filter(role_mapping::Column::MappingId.is_in(mapping_ids.iter().copied()));
    Ok(query.filter(Expr::cust(LATEST_STATE)).all(cx.db()).await?)
}

/// The wanted mappings: those that match all conditions; none = any.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct MappingQuery {
    /// Removed ones too.
    pub removed: bool,
    pub role: Option<Uuid>,
    pub group: Option<Uuid>,
    /// Mappings that wait for a group of this connection, or that are for all of its accounts.
    pub connection: Option<Uuid>,
    /// Those with a planned end before this instant.
    pub expires_before: Option<DateTime<Utc>>,
}

/// A page of mappings, each with its place in the order `by`.
pub async fn list_mappings(
    cx: &Cx,
    which: MappingQuery,
    by: OrderBy,
    keyset: &Keyset<OrderPlace>,
) -> Result<Slice<(Mapping, OrderPlace)>> {
    cx.allow(Action::ReadIam, None)?;
    let id = role_mapping::Column::MappingId;
    paging::fetch_ordered(cx, select_mappings(cx, which), id, by, keyset).await
}

/// How many mappings there are.
pub async fn count_mappings(cx: &Cx, which: MappingQuery) -> Result<u64> {
    cx.allow(Action::ReadIam, None)?;
    Ok(select_mappings(cx, which).count(cx.db()).await?)
}

fn select_mappings(cx: &Cx, which: MappingQuery) -> Select<role_mapping::Entity> {
    let mut query = cx.find::<role_mapping::Entity>();
    if let Some(role) = which.role {
        query = query.filter(role_mapping::Column::RoleId.eq(role));
    }
    if let Some(group) = which.group {
        query = query.filter(role_mapping::Column::GroupId.eq(group));
    }
    if let Some(connection) = which.connection {
        query = query.filter(role_mapping::Column::ConnectionId.eq(connection));
    }
    if let Some(end) = which.expires_before {
        query = query.filter(role_mapping::Column::ExpiresAt.lt(end));
    }
    if which.removed {
        query.filter(Expr::cust(LATEST_STATE))
    } else {
        query.filter(role_mapping::Column::Until.is_null())
    }
}

/// Every state that a mapping was ever in, oldest first; at most a thousand.
pub async fn mapping_history(cx: &Cx, mapping_id: Uuid) -> Result<Vec<Mapping>> {
    cx.allow(Action::ReadIam, None)?;
    let query =
        cx.find::<role_mapping::Entity>().filter(role_mapping::Column::MappingId.eq(mapping_id));
    let query = query
        .order_by_asc(role_mapping::Column::Since)
        .order_by_asc(role_mapping::Column::Id)
        .limit(1_000);
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
const LATEST_STATE: &str = "NOT EXISTS (SELECT 1 FROM role_mapping later \
                            WHERE later.organization_id = role_mapping.organization_id \
     AND later.mapping_id = role_mapping.mapping_id \
     AND (later.since > role_mapping.since OR (later.since = role_mapping.since \
     AND later.id > role_mapping.id)))";

/// The current or last state of a mapping, locked. A write that waited for the lock of a state that
/// ended meanwhile takes the state that followed.
async fn lock_mapping(tx: &Tx<'_>, mapping_id: Uuid) -> Result<Option<Mapping>> {
    let query =
        tx.find::<role_mapping::Entity>().filter(role_mapping::Column::MappingId.eq(mapping_id));
    // No edit changes which state is the first. So all edits queue for its lock, and each one finds
    // the latest state unlocked.
    crate::domain::lock_row(tx, query.clone().order_by_asc(role_mapping::Column::Since)).await?;
    let query =
        query.order_by_desc(role_mapping::Column::Since).order_by_desc(role_mapping::Column::Id);
    loop {
        let held = crate::domain::lock_row(tx, query.clone()).await?;
        // A new statement sees what was committed while the previous one waited.
        let latest = query.clone().one(&tx.db).await?;
        if held.as_ref().map(|row| row.id) == latest.map(|row| row.id) {
            return Ok(held);
        }
    }
}

/// The id of a live group, whose row stays locked until the write ends.
async fn check_live_group(tx: &Tx<'_>, id: Uuid) -> Result<Uuid> {
    use entity::group;
    let query = tx
        .find::<group::Entity>()
        .filter(group::Column::Id.eq(id))
        .filter(group::Column::DeletedAt.is_null());
    crate::domain::lock_row(tx, query)
        .await?
        .map(|row| row.id)
        .ok_or_else(|| Error::not_found(Noun::Group))
}

/// The group that a mapping would wait for, if it exists already. A display name need not be
/// unique: the oldest group with the name is taken.
async fn find_arrived_group(
    tx: &Tx<'_>,
    connection: Uuid,
    attribute: MatchAttribute,
    value: &str,
) -> Result<Option<Uuid>> {
    use entity::group;
    let column = match attribute {
        MatchAttribute::ExternalId => group::Column::ExternalId,
        MatchAttribute::DisplayName => group::Column::DisplayNameKey,
        // A mapping for all users of a connection waits for no group.
        MatchAttribute::AllUsers => return Ok(None),
    };
    let query = tx
        .find::<group::Entity>()
        .filter(group::Column::ConnectionId.eq(connection))
        .filter(column.eq(value))
        .filter(group::Column::DeletedAt.is_null())
        .order_by_asc(group::Column::Id);
    Ok(crate::domain::lock_row(tx, query).await?.map(|row| row.id))
}

async fn open_mapping(tx: &Tx<'_>, row: &Mapping) -> Result<()> {
    role_mapping::Entity::insert(role_mapping::ActiveModel::from(row.clone()))
        .exec_without_returning(&tx.db)
        .await?;
    Ok(())
}

pub(in crate::domain) fn check_reason(reason: Option<&str>) -> Result<Option<String>> {
    reason.map(|reason| crate::domain::check_text("reason", reason, 2_000)).transpose()
}

pub(in crate::domain) fn check_expiry(cx: &Cx, at: Option<DateTime<Utc>>) -> Result<()> {
    match at {
        Some(at) if at <= cx.requested_at => {
            Err(Error::invalid("expiresAt", "must be in the future"))
        }
        _ => Ok(()),
    }
}

fn describe_mapping(row: &Mapping) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("groupId".into(), row.group_id.map(|id| id.to_string()).into());
    map.insert("roleId".into(), row.role_id.to_string().into());
    map.insert("reason".into(), row.reason.clone().into());
    map.insert("expiresAt".into(), row.expires_at.map(|at| at.to_rfc3339()).into());
    match (&row.match_attribute, &row.match_value) {
        (Some(MatchAttribute::AllUsers), _) => {
            map.insert("everybodyOf".into(), row.connection_id.map(|id| id.to_string()).into());
        }
        (Some(attribute), Some(value)) => {
            map.insert("awaits".into(), format!("{} {value}", attribute.to_value()).into());
        }
        _ => {}
    }
    map
}

async fn mapping_event(
    tx: &Tx<'_>,
    kind: EventKind,
    row: &Mapping,
    at: DateTime<Utc>,
    before: Option<Value>,
    after: Option<Value>,
) -> Result<NewEvent> {
    let subject = EventSubject { kind: "role_mapping", id: row.mapping_id };
    Ok(NewEvent {
        kind,
        subject,
        connection: row.connection_id,
        at,
        before,
        after,
        population: 0,
        name: mapping_name(tx, row).await?,
    })
}

/// What a mapping is called: the group, or what it waits for, or the connection of all accounts;
/// and the role.
async fn mapping_name(tx: &Tx<'_>, row: &Mapping) -> Result<Option<String>> {
    #[derive(FromQueryResult)]
    struct NameRow {
        target: Option<String>,
        role: Option<String>,
    }
    let (target, id) = match (row.group_id, row.match_attribute) {
        (Some(group), _) => ("display_name FROM \"group\"", Some(group)),
        (None, Some(MatchAttribute::AllUsers)) => ("name FROM connection", row.connection_id),
        _ => ("name FROM connection", None),
    };
    let text = format!(
        "SELECT (SELECT {target} WHERE organization_id = $1 AND id = $2) AS target, \
         (SELECT name FROM role WHERE organization_id = $1 AND id = $3) AS role"
    );
    let statement = tx.statement(text, [id.into(), row.role_id.into()]);
    let Some(names) = NameRow::find_by_statement(statement).one(&tx.db).await? else {
        return Ok(None);
    };
    let target = names.target.or_else(|| row.match_value.clone());
    Ok(target.zip(names.role).map(|(target, role)| format!("{target} → {role}")))
}
