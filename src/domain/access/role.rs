//! Roles: what the application lets somebody do, by its own permission names.

use entity::role;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter, Statement};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use uuid::Uuid;

use super::document;
use super::list::{self, Keyset, Slice};
use super::order::{self, By, Place};
use crate::authz::Action;
use crate::context::{Change, Cx, Tx};
use crate::error::{Error, Result};
use crate::ledger::{self, Entry, EventKind, Subject};

pub use role::Model as Role;

/// What somebody wants a role to be; none = the default, or as it is.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub name: Option<String>,
    pub description: Option<Option<String>>,
    pub permissions: Option<Vec<String>>,
    /// Precedence where one role is needed: the lower number wins, ties are refused.
    pub priority: Option<Option<i32>>,
    /// Whether this role manages the application: its last holder is out of SCIM's reach.
    pub management: Option<bool>,
}

impl Settings {
    fn apply(&self, role: &mut Role) -> Result<()> {
        if let Some(name) = &self.name {
            role.name = super::text("name", name, 200)?;
            role.name_key = document::fold(&role.name);
        }
        if let Some(description) = &self.description {
            role.description =
                description.as_deref().map(|text| super::text("description", text, 2_000)).transpose()?;
        }
        if let Some(permissions) = &self.permissions {
            if permissions.len() > 1_000 {
                return Err(Error::invalid("permissions", "must be at most 1000"));
            }
            let names = permissions.iter().map(|name| super::text("permissions", name, 200));
            role.permissions = json!(names.collect::<Result<BTreeSet<_>>>()?);
        }
        if let Some(priority) = self.priority {
            role.priority = priority;
        }
        role.management = self.management.unwrap_or(role.management);
        Ok(())
    }
}

/// Makes a role.
///
/// # Errors
/// [`Error::Taken`] for a name (in any case) or a priority that a live role has.
pub async fn create(cx: &Cx, settings: Settings) -> Result<Role> {
    cx.allow(Action::WriteAccess, None)?;
    let settings = &settings;
    cx.write(move |tx| {
        Box::pin(async move {
            let now = tx.now_after(None);
            let mut role = Role {
                organization_id: cx.organization(),
                id: Uuid::now_v7(),
                name: String::new(),
                name_key: String::new(),
                description: None,
                permissions: json!([]),
                priority: None,
                management: false,
                version: 1,
                created_at: now,
                updated_at: now,
                deleted_at: None,
            };
            settings.apply(&mut role)?;
            if role.name.is_empty() {
                return Err(Error::invalid("name", "must not be empty"));
            }
            role::Entity::insert(role::ActiveModel::from(role.clone())).exec_without_returning(&tx.db).await?;
            let entry = entry(EventKind::RoleCreated, &role, None, Some(Value::Object(describe(&role))));
            Ok(Change::made(role, entry))
        })
    })
    .await
}

/// Changes a role.
pub async fn update(cx: &Cx, id: Uuid, settings: Settings) -> Result<Role> {
    cx.allow(Action::WriteAccess, None)?;
    let settings = &settings;
    cx.write(move |tx| {
        Box::pin(async move {
            let before = live(tx, id).await?;
            let mut after = before.clone();
            settings.apply(&mut after)?;
            if after == before {
                return Ok(Change::nothing(before));
            }
            after.version += 1;
            after.updated_at = tx.now_after(Some(before.updated_at));
            super::save::<role::Entity, role::ActiveModel>(tx, after.clone()).await?;
            let (was, is) = ledger::difference(&describe(&before), &describe(&after));
            let entry = entry(EventKind::RoleUpdated, &after, Some(was), Some(is));
            Ok(Change::made(after, entry))
        })
    })
    .await
}

/// Removes a role: nobody holds it any more, and its mappings and grants have ended. Its name is free.
pub async fn delete(cx: &Cx, id: Uuid) -> Result<Role> {
    cx.write(move |tx| Box::pin(delete_in(cx, tx, id))).await
}

pub(super) async fn delete_in(cx: &Cx, tx: &Tx<'_>, id: Uuid) -> Result<Change<Role>> {
    cx.allow(Action::WriteAccess, None)?;
    let mut role = live(tx, id).await?;
    let now = tx.now_after(Some(role.updated_at));
    let mut ended = Vec::new();
    for table in ["role_mapping", "role_grant"] {
        let text = format!(
            "UPDATE {table} SET until = CASE WHEN since > $1 THEN since ELSE $1 END, closed_by = $2 \
             WHERE organization_id = $3 AND role_id = $4 AND until IS NULL"
        );
        let values = [now.into(), tx.event.into(), tx.organization().into(), id.into()];
        let statement = Statement::from_sql_and_values(tx.db.get_database_backend(), text, values);
        ended.push(tx.db.execute_raw(statement).await?.rows_affected());
    }
    role.version += 1;
    role.updated_at = now;
    role.deleted_at = Some(now);
    super::save::<role::Entity, role::ActiveModel>(tx, role.clone()).await?;
    let mut before = describe(&role);
    before.insert("mappings".into(), json!(ended.first()));
    before.insert("grants".into(), json!(ended.last()));
    let entry = entry(EventKind::RoleDeleted, &role, Some(Value::Object(before)), None);
    Ok(Change::made(role, entry))
}

/// The live role `id`, locked for this write.
pub(super) async fn live(tx: &Tx<'_>, id: Uuid) -> Result<Role> {
    let query = tx.find::<role::Entity>().filter(role::Column::Id.eq(id)).filter(role::Column::DeletedAt.is_null());
    super::locked(tx, query).await?.ok_or_else(|| Error::not_found("the role"))
}

/// The live roles among `ids`.
pub async fn by_ids(cx: &Cx, ids: &[Uuid]) -> Result<Vec<Role>> {
    cx.allow(Action::ReadIam, None)?;
    let query = cx.find::<role::Entity>().filter(role::Column::DeletedAt.is_null());
    Ok(query.filter(role::Column::Id.is_in(ids.iter().copied())).all(cx.db()).await?)
}

/// One live role.
pub async fn get(cx: &Cx, id: Uuid) -> Result<Role> {
    by_ids(cx, &[id]).await?.pop().ok_or_else(|| Error::not_found("the role"))
}

/// Live roles, oldest first.
pub async fn list(cx: &Cx, keyset: &Keyset<Uuid>) -> Result<Slice<Role>> {
    cx.allow(Action::ReadIam, None)?;
    let query = cx.find::<role::Entity>().filter(role::Column::DeletedAt.is_null());
    list::page(cx, query, role::Column::Id, keyset).await
}

/// The same in another order, each with its place.
pub async fn ordered(cx: &Cx, by: By, keyset: &Keyset<Place>) -> Result<Slice<(Role, Place)>> {
    cx.allow(Action::ReadIam, None)?;
    let live = "FROM role r WHERE r.organization_id = $1 AND r.deleted_at IS NULL";
    order::page(cx, "r.*", (live.into(), vec![cx.organization().into()]), by, keyset).await
}

/// How many live roles there are.
pub async fn count(cx: &Cx) -> Result<u64> {
    cx.allow(Action::ReadIam, None)?;
    Ok(cx.find::<role::Entity>().filter(role::Column::DeletedAt.is_null()).count(cx.db()).await?)
}

/// The permission names that a role's row holds.
pub fn permissions(role: &Role) -> Vec<String> {
    role.permissions.as_array().into_iter().flatten().filter_map(|name| Some(name.as_str()?.to_owned())).collect()
}

fn describe(role: &Role) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("name".into(), role.name.clone().into());
    map.insert("description".into(), role.description.clone().into());
    map.insert("permissions".into(), role.permissions.clone());
    map.insert("priority".into(), role.priority.into());
    map.insert("management".into(), role.management.into());
    map
}

fn entry(kind: EventKind, role: &Role, before: Option<Value>, after: Option<Value>) -> Entry {
    Entry {
        kind,
        subject: Subject { kind: "role", id: role.id },
        connection: None,
        at: role.updated_at,
        before,
        after,
        population: 0,
    }
}
