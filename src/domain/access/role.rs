//! Roles: what the application allows their holders, by the application's own permission names.

use chrono::{DateTime, Utc};
use entity::role;
use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, Select};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use uuid::Uuid;

use crate::auth::policy::Action;
use crate::context::{Change, Cx, Tx};
use crate::domain::access::giving;
use crate::domain::interval;
use crate::domain::interval::IntervalTable;
use crate::domain::paging;
use crate::domain::paging::order::{OrderBy, OrderPlace};
use crate::domain::paging::{Keyset, Slice};
use crate::error::{Error, Mistakes, Noun, Result, Rule, mistakes};
use crate::identity::document;
use crate::ledger;
use crate::ledger::{EventKind, EventSubject, NewEvent};

pub use super::permission_names::role_permissions;
pub use role::Model as Role;

/// The most permissions of one role.
const MAX_PERMISSIONS: usize = 1_000;

/// The attributes of a role to create or change; none = the default, or unchanged.
#[derive(Debug, Clone, Default)]
pub struct RoleSettings {
    pub name: Option<String>,
    pub description: Option<Option<String>>,
    pub permissions: Option<Vec<String>>,
    /// Precedence for an application that supports one role per user: the lower number wins, ties
    /// are refused.
    pub priority: Option<Option<i32>>,
    /// Whether this role manages the application: SCIM cannot remove its last holder.
    pub management: Option<bool>,
}

impl RoleSettings {
    /// Refuses settings that no role can have.
    fn check_values(&self, tx: &Tx<'_>) -> Result<()> {
        self.apply_to(&mut blank_role(tx, DateTime::UNIX_EPOCH))
    }

    fn apply_to(&self, role: &mut Role) -> Result<()> {
        let mut mistakes = Mistakes::default();
        if let Some(name) = &self.name
            && let Some(name) = mistakes.collect(crate::domain::check_text("name", name, 200))
        {
            role.name_key = document::fold_text(&name);
            role.name = name;
        }
        if let Some(description) = &self.description {
            let text = description
                .as_deref()
                .map(|text| crate::domain::check_text("description", text, 2_000))
                .transpose();
            role.description = mistakes.collect(text).flatten();
        }
        if let Some(permissions) = &self.permissions {
            let names = check_permission_names(permissions);
            role.permissions = json!(mistakes.collect(names));
        }
        mistakes.refuse_any()?;
        if let Some(priority) = self.priority {
            role.priority = priority;
        }
        role.management = self.management.unwrap_or(role.management);
        Ok(())
    }
}

/// A new role that has no name yet.
fn blank_role(tx: &Tx<'_>, now: DateTime<Utc>) -> Role {
    Role {
        organization_id: tx.organization(),
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
    }
}

/// The names of permissions, each once. A mistake in one names its place in the list.
fn check_permission_names(names: &[String]) -> Result<BTreeSet<String>> {
    if names.len() > MAX_PERMISSIONS {
        let why = format!("must be at most {MAX_PERMISSIONS}");
        return Err(Error::broken(Rule::TooMany, "permissions", why));
    }
    let checked = mistakes::each("permissions", names, |name| {
        crate::domain::check_text("permissions", name, 200)
    });
    Ok(checked?.into_iter().collect())
}

/// Creates a role.
///
/// # Errors
/// [`Error::Taken`] for a name (in any case) or a priority that a live role has,
/// [`Error::Forbidden`] for a permission of ours that the actor does not hold.
pub async fn create_role(cx: &Cx, settings: RoleSettings) -> Result<Role> {
    cx.allow(Action::WriteAccess, None)?;
    let settings = &settings;
    cx.write(move |tx| {
        Box::pin(async move {
            let mut role = blank_role(tx, tx.now_after(None));
            settings.apply_to(&mut role)?;
            giving::check_role(cx, &role)?;
            if role.name.is_empty() {
                return Err(Error::invalid("name", "must not be empty"));
            }
            role::Entity::insert(role::ActiveModel::from(role.clone()))
                .exec_without_returning(&tx.db)
                .await?;
            let entry = role_event(
                EventKind::RoleCreated,
                &role,
                None,
                Some(Value::Object(describe_role(&role))),
            );
            Ok(Change::recorded(role, entry))
        })
    })
    .await
}

/// Changes a role.
///
/// # Errors
/// [`Error::Stale`] if it has another version than `expected`, [`Error::Forbidden`] for a new
/// permission of ours that the actor does not hold.
pub async fn update_role(
    cx: &Cx,
    id: Uuid,
    settings: RoleSettings,
    expected: Option<i64>,
) -> Result<Role> {
    cx.allow(Action::WriteAccess, None)?;
    let settings = &settings;
    cx.write(move |tx| {
        Box::pin(async move {
            let before = find_live_role(tx, id).await;
            let (before, ()) = mistakes::both(before, settings.check_values(tx))?;
            crate::domain::check_version(expected, before.version)?;
            let mut after = before.clone();
            settings.apply_to(&mut after)?;
            if after == before {
                return Ok(Change::unchanged(before));
            }
            // Its holders keep what they have: judged is what they get.
            let had = role_permissions(&before);
            let gets = role_permissions(&after);
            let gets = gets.iter().filter(|name| !had.contains(name)).map(String::as_str);
            giving::check_permission_names(cx, gets)?;
            after.version += 1;
            after.updated_at = tx.now_after(Some(before.updated_at));
            crate::domain::save_row::<role::Entity, role::ActiveModel>(tx, after.clone()).await?;
            let (was, is) =
                ledger::changed_members(&describe_role(&before), &describe_role(&after));
            let entry = role_event(EventKind::RoleUpdated, &after, Some(was), Some(is));
            Ok(Change::recorded(after, entry))
        })
    })
    .await
}

/// Deletes a role and ends its mappings and grants: no account holds it any more. Its name can be
/// used again.
///
/// # Errors
/// [`Error::Stale`] if it has another version than `expected`.
pub async fn delete_role(cx: &Cx, id: Uuid, expected: Option<i64>) -> Result<Role> {
    cx.write(move |tx| Box::pin(delete_in(cx, tx, id, expected))).await
}

pub(in crate::domain) async fn delete_in(
    cx: &Cx,
    tx: &Tx<'_>,
    id: Uuid,
    expected: Option<i64>,
) -> Result<Change<Role>> {
    cx.allow(Action::WriteAccess, None)?;
    let mut role = find_live_role(tx, id).await?;
    crate::domain::check_version(expected, role.version)?;
    let now = tx.now_after(Some(role.updated_at));
    let mut ended = Vec::new();
    for table in [IntervalTable::RoleMapping, IntervalTable::RoleGrant] {
        ended.push(interval::close_unguarded(tx, table, "role_id = $4", id, now).await?);
    }
    role.version += 1;
    role.updated_at = now;
    role.deleted_at = Some(now);
    crate::domain::save_row::<role::Entity, role::ActiveModel>(tx, role.clone()).await?;
    let mut before = describe_role(&role);
    before.insert("mappings".into(), json!(ended.first()));
    before.insert("grants".into(), json!(ended.last()));
    let entry = role_event(EventKind::RoleDeleted, &role, Some(Value::Object(before)), None);
    Ok(Change::recorded(role, entry))
}

/// The live role `id`, locked for this write.
pub(in crate::domain) async fn find_live_role(tx: &Tx<'_>, id: Uuid) -> Result<Role> {
    let query = tx
        .find::<role::Entity>()
        .filter(role::Column::Id.eq(id))
        .filter(role::Column::DeletedAt.is_null());
    crate::domain::lock_row(tx, query).await?.ok_or_else(|| Error::not_found(Noun::Role))
}

/// The live roles among `ids`.
pub async fn by_ids(cx: &Cx, ids: &[Uuid]) -> Result<Vec<Role>> {
    cx.allow(Action::ReadIam, None)?;
    let query = cx.find::<role::Entity>().filter(role::Column::DeletedAt.is_null());
    Ok(query.filter(role::Column::Id.is_in(ids.iter().copied())).all(cx.db()).await?)
}

/// The roles among `ids`, deleted ones included: who held a role earlier stays known.
pub async fn list_ever_existing(cx: &Cx, ids: &[Uuid]) -> Result<Vec<Role>> {
    cx.allow(Action::ReadIam, None)?;
    let query = cx.find::<role::Entity>();
    Ok(query.filter(role::Column::Id.is_in(ids.iter().copied())).all(cx.db()).await?)
}

/// One live role.
pub async fn get_role(cx: &Cx, id: Uuid) -> Result<Role> {
    by_ids(cx, &[id]).await?.pop().ok_or_else(|| Error::not_found(Noun::Role))
}

/// The wanted roles: those that match all conditions; none = any.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RoleQuery {
    /// The name contains this, in any case.
    pub search: Option<String>,
    /// Roles with this permission of the application.
    pub permission: Option<String>,
    pub management: Option<bool>,
    pub ids: Option<Vec<Uuid>>,
}

fn select_roles(cx: &Cx, which: &RoleQuery) -> Select<role::Entity> {
    let mut query = cx.find::<role::Entity>().filter(role::Column::DeletedAt.is_null());
    if let Some(search) = &which.search {
        let folded = document::fold_text(search);
        query = query.filter(paging::contains_text(cx, "role.name_key", &folded));
    }
    if let Some(permission) = &which.permission {
        query = query.filter(paging::has_element(cx, "role.permissions", permission));
    }
    if let Some(management) = which.management {
        query = query.filter(role::Column::Management.eq(management));
    }
    if let Some(ids) = &which.ids {
        query = query.filter(role::Column::Id.is_in(ids.iter().copied()));
    }
    query
}

/// A page of live roles, each with its place in the order `by`.
pub async fn list_roles(
    cx: &Cx,
    which: &RoleQuery,
    by: OrderBy,
    keyset: &Keyset<OrderPlace>,
) -> Result<Slice<(Role, OrderPlace)>> {
    cx.allow(Action::ReadIam, None)?;
    paging::fetch_ordered(cx, select_roles(cx, which), role::Column::Id, by, keyset).await
}

/// How many live roles there are.
pub async fn count_roles(cx: &Cx, which: &RoleQuery) -> Result<u64> {
    cx.allow(Action::ReadIam, None)?;
    Ok(select_roles(cx, which).count(cx.db()).await?)
}

fn describe_role(role: &Role) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("name".into(), role.name.clone().into());
    map.insert("description".into(), role.description.clone().into());
    map.insert("permissions".into(), role.permissions.clone());
    map.insert("priority".into(), role.priority.into());
    map.insert("management".into(), role.management.into());
    map
}

fn role_event(
    kind: EventKind,
    role: &Role,
    before: Option<Value>,
    after: Option<Value>,
) -> NewEvent {
    NewEvent {
        kind,
        subject: EventSubject { kind: "role", id: role.id },
        connection: None,
        at: role.updated_at,
        before,
        after,
        population: 0,
        name: Some(role.name.clone()),
    }
}
