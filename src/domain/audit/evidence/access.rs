//! Who held which role at an instant, and through what.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use entity::{event, group, role, role_grant, role_mapping, user};
use sea_orm::{ColumnTrait, ExprTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect};
use serde_json::Value;
use uuid::Uuid;

use super::{BATCH, Batch, Place, id, instant, makers, maybe};
use crate::context::Cx;
use crate::domain::access::{self, Holding, Moment};
use crate::domain::event::values;
use crate::error::Result;
use crate::ledger::EventKind;

pub const COLUMNS: &[&str] = &[
    "user_id",
    "user_name",
    "display_name",
    "role_id",
    "role",
    "permissions",
    "source",
    "mapped_group",
    "member_of_group",
    "mapping_id",
    "grant_id",
    "member_since",
    "member_made_by",
    "given_since",
    "given_by",
    "given_under_request",
    "expires_at",
];

#[derive(FromQueryResult)]
struct Account {
    id: Uuid,
    user_name: String,
    display_name: Option<String>,
}

#[derive(FromQueryResult)]
struct Named {
    id: Uuid,
    name: String,
}

/// Accounts by id, deleted ones too: they may have held something then.
pub async fn read(cx: &Cx, at: DateTime<Utc>, from: Option<Place>) -> Result<Batch> {
    let mut query = cx.find::<user::Entity>().select_only().columns([
        user::Column::Id,
        user::Column::UserName,
        user::Column::DisplayName,
    ]);
    if let Some(Place::AfterId(after)) = from {
        query = query.filter(user::Column::Id.gt(after));
    }
    let query = query.order_by_asc(user::Column::Id).limit(BATCH);
    let accounts = query.into_model::<Account>().all(cx.db()).await?;
    let next = accounts.last().filter(|_| accounts.len() as u64 == BATCH).map(|account| Place::AfterId(account.id));
    let ids: Vec<Uuid> = accounts.iter().map(|account| account.id).collect();
    let mut held = access::of_users(cx, &ids, Moment::At(at)).await?;

    let all = || held.values().flatten();
    let wanted: BTreeSet<Uuid> = all().flat_map(|row| [row.group_id, row.member_of]).flatten().collect();
    let groups = cx.find::<group::Entity>().select_only().column(group::Column::Id);
    let groups = groups.column_as(group::Column::DisplayName, "name").filter(group::Column::Id.is_in(wanted));
    let groups = names(groups.into_model::<Named>().all(cx.db()).await?);
    let roles: BTreeSet<Uuid> = all().map(|row| row.role_id).collect();
    let roles = roles_at(cx, roles, at).await?;
    let ends = planned_ends(cx, all(), at).await?;
    let makers =
        makers(cx, all().flat_map(|row| [row.joined_by, Some(row.given_by)]).flatten().collect::<BTreeSet<_>>())
            .await?;

    let name = |id: Option<Uuid>| -> Value { id.and_then(|id| groups.get(&id).cloned()).into() };
    let mut rows = Vec::new();
    for account in accounts {
        for row in held.remove(&account.id).unwrap_or_default() {
            let (joined, given) = (row.joined_by.and_then(|by| makers.get(&by)), makers.get(&row.given_by));
            rows.push(vec![
                id(account.id),
                account.user_name.clone().into(),
                account.display_name.clone().into(),
                id(row.role_id),
                roles.get(&row.role_id).map(|role| role.name.clone()).into(),
                roles.get(&row.role_id).map(|role| role.permissions.clone()).into(),
                if row.mapping_id.is_some() { "MAPPING" } else { "GRANT" }.into(),
                name(row.group_id),
                name(row.member_of),
                row.mapping_id.map_or(Value::Null, id),
                row.grant_id.map_or(Value::Null, id),
                joined.map_or(Value::Null, |maker| instant(maker.at)),
                joined.map(|maker| maker.actor_name.clone()).into(),
                given.map_or(Value::Null, |maker| instant(maker.at)),
                given.map(|maker| maker.actor_name.clone()).into(),
                given.map_or(Value::Null, |maker| id(maker.request_id)),
                maybe(row.mapping_id.or(row.grant_id).and_then(|through| ends.get(&through).copied())),
            ]);
        }
    }
    Ok(Batch { rows, next })
}

/// What a role was called and permitted.
struct Role {
    name: Value,
    permissions: Value,
}

/// These roles as they were at an instant: as they are now, but for what was changed since.
async fn roles_at(cx: &Cx, ids: BTreeSet<Uuid>, at: DateTime<Utc>) -> Result<HashMap<Uuid, Role>> {
    let roles = cx.find::<role::Entity>().filter(role::Column::Id.is_in(ids.iter().copied())).all(cx.db()).await?;
    let mut roles: HashMap<Uuid, Role> = roles
        .into_iter()
        .map(|role| (role.id, Role { name: role.name.into(), permissions: role.permissions }))
        .collect();
    let since = cx
        .find::<event::Entity>()
        .filter(event::Column::SubjectId.is_in(ids))
        .filter(event::Column::Action.eq(EventKind::RoleUpdated.name()))
        .filter(event::Column::At.gt(at))
        .order_by_desc(event::Column::Pos);
    for change in since.all(cx.db()).await? {
        let Some(role) = roles.get_mut(&change.subject_id) else { continue };
        let (before, _) = values(&change);
        for (name, now) in [("name", &mut role.name), ("permissions", &mut role.permissions)] {
            if let Some(was) = before.as_ref().and_then(|before| before.get(name)) {
                *now = was.clone();
            }
        }
    }
    Ok(roles)
}

/// When the mappings and grants among these are planned to end, as it was planned at an instant; by their ids.
async fn planned_ends(
    cx: &Cx,
    held: impl Iterator<Item = &Holding>,
    at: DateTime<Utc>,
) -> Result<HashMap<Uuid, DateTime<Utc>>> {
    let (mut mappings, mut grants) = (BTreeSet::new(), BTreeSet::new());
    for row in held {
        mappings.extend(row.mapping_id);
        grants.extend(row.grant_id);
    }
    let mappings = cx
        .find::<role_mapping::Entity>()
        .filter(role_mapping::Column::MappingId.is_in(mappings))
        .filter(role_mapping::Column::ExpiresAt.is_not_null())
        .filter(role_mapping::Column::Since.lte(at))
        .filter(role_mapping::Column::Until.is_null().or(role_mapping::Column::Until.gt(at)));
    let grants = cx
        .find::<role_grant::Entity>()
        .filter(role_grant::Column::Id.is_in(grants))
        .filter(role_grant::Column::ExpiresAt.is_not_null());
    let mappings = mappings.all(cx.db()).await?.into_iter().map(|row| (row.mapping_id, row.expires_at));
    let grants = grants.all(cx.db()).await?.into_iter().map(|row| (row.id, row.expires_at));
    Ok(mappings.chain(grants).filter_map(|(id, end)| Some((id, end?))).collect())
}

fn names(rows: Vec<Named>) -> HashMap<Uuid, String> {
    rows.into_iter().map(|row| (row.id, row.name)).collect()
}
