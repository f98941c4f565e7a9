//! A group that another connection knows by a key of its own: the mappings that wait for the key
//! there bind to the group, also where SCIM or a person made it.

use entity::group;
use entity::role_mapping::MatchAttribute;
use sea_orm::sea_query::LockType;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbBackend, QueryFilter, QuerySelect,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Group, group_event, write_group_columns};
use crate::context::{Change, Tx};
use crate::domain::access::role_mapping;
use crate::error::Result;
use crate::ledger::EventKind;

/// Binds to group `id` the mappings that wait at `connection` for a group with this key. The
/// ledger tells of it as of a change of the group. False if there was nothing to bind.
pub(in crate::domain) async fn bind_key(
    tx: &Tx<'_>,
    id: Uuid,
    connection: Uuid,
    attribute: MatchAttribute,
    key: &str,
) -> Result<Change<bool>> {
    let query = tx.find::<group::Entity>().filter(group::Column::Id.eq(id));
    let query = query.filter(group::Column::DeletedAt.is_null());
    let query = match tx.db.get_database_backend() {
        DbBackend::Postgres => query.lock(LockType::NoKeyUpdate),
        _ => query,
    };
    let Some(before) = query.into_partial_model::<Group>().one(&tx.db).await? else {
        return Ok(Change::unchanged(false));
    };
    let now = tx.now_after(Some(before.updated_at));
    let group = Group { version: before.version + 1, updated_at: now, ..before };
    let named = |wanted: MatchAttribute| (attribute == wanted).then_some(key);
    let (external_id, name_key) =
        (named(MatchAttribute::ExternalId), named(MatchAttribute::DisplayName));
    let bound =
        role_mapping::bind_mappings_of(tx, connection, group.id, external_id, name_key).await?;
    if bound.is_empty() {
        return Ok(Change::unchanged(false));
    }
    let row = group::ActiveModel {
        version: Set(group.version),
        updated_at: Set(now),
        ..Default::default()
    };
    write_group_columns(tx, id, row).await?;
    let mut after = Map::new();
    after.insert("mappingsBound".into(), json!(bound));
    let (before, after) = (Some(Value::Object(Map::new())), Some(Value::Object(after)));
    Ok(Change::recorded(true, group_event(EventKind::GroupUpdated, &group, before, after)))
}
