//! Which accounts held which roles at an instant, and through what.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use entity::{event, group, role, role_grant, role_mapping, user};
use sea_orm::{ColumnTrait, ExprTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect};
use serde_json::Value;
use uuid::Uuid;

use super::{
    ROWS_PER_BATCH, ReportBatch, ReportPlace, find_makers, id_cell, instant_cell,
    optional_instant_cell,
};
use crate::context::Cx;
use crate::domain::access;
use crate::domain::access::{AsOf, RoleSource};
use crate::domain::audit::event::event_values;
use crate::error::Result;
use crate::ledger::EventKind;

/// The columns of the report on access: a row for each way in which an account held a role.
pub const ACCESS_COLUMNS: &[&str] = &[
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
struct EvidenceAccount {
    id: Uuid,
    user_name: String,
    display_name: Option<String>,
}

#[derive(FromQueryResult)]
struct NamedRow {
    id: Uuid,
    name: String,
}

/// Accounts by id, deleted ones too, because they may have held a role then.
pub async fn read_access(
    cx: &Cx,
    at: DateTime<Utc>,
    from: Option<ReportPlace>,
) -> Result<ReportBatch> {
    let mut query = cx.find::<user::Entity>().select_only().columns([
        user::Column::Id,
        user::Column::UserName,
        user::Column::DisplayName,
    ]);
    if let Some(ReportPlace::AfterId(after)) = from {
        query = query.filter(user::Column::Id.gt(after));
    }
    let query = query.order_by_asc(user::Column::Id).limit(ROWS_PER_BATCH);
    let accounts = query.into_model::<EvidenceAccount>().all(cx.db()).await?;
    let next = accounts
        .last()
        .filter(|_| accounts.len() as u64 == ROWS_PER_BATCH)
        .map(|account| ReportPlace::AfterId(account.id));
    let ids: Vec<Uuid> = accounts.iter().map(|account| account.id).collect();
    let mut held = access::of_users(cx, &ids, AsOf::At(at)).await?;

    let all = || held.values().flatten();
    let wanted: BTreeSet<Uuid> =
        all().flat_map(|row| [row.group_id, row.member_of]).flatten().collect();
    let groups = cx.find::<group::Entity>().select_only().column(group::Column::Id);
    let groups = groups
        .column_as(group::Column::DisplayName, "name")
        .filter(group::Column::Id.is_in(wanted));
    let groups = name_by_id(groups.into_model::<NamedRow>().all(cx.db()).await?);
    let roles: BTreeSet<Uuid> = all().map(|row| row.role_id).collect();
    let roles = roles_at(cx, roles, at).await?;
    let ends = planned_ends(cx, all(), at).await?;
    let makers = find_makers(
        cx,
        all()
            .flat_map(|row| [row.joined_by, Some(row.given_by)])
            .flatten()
            .collect::<BTreeSet<_>>(),
    )
    .await?;

    let name = |id: Option<Uuid>| -> Value { id.and_then(|id| groups.get(&id).cloned()).into() };
    let mut rows = Vec::new();
    for account in accounts {
        for row in held.remove(&account.id).unwrap_or_default() {
            let (joined, given) =
                (row.joined_by.and_then(|by| makers.get(&by)), makers.get(&row.given_by));
            rows.push(vec![
                id_cell(account.id),
                account.user_name.clone().into(),
                account.display_name.clone().into(),
                id_cell(row.role_id),
                roles.get(&row.role_id).map(|role| role.name.clone()).into(),
                roles.get(&row.role_id).map(|role| role.permissions.clone()).into(),
                if row.mapping_id.is_some() { "MAPPING" } else { "GRANT" }.into(),
                name(row.group_id),
                name(row.member_of),
                row.mapping_id.map_or(Value::Null, id_cell),
                row.grant_id.map_or(Value::Null, id_cell),
                joined.map_or(Value::Null, |maker| instant_cell(maker.at)),
                joined.map(|maker| maker.actor_name.clone()).into(),
                given.map_or(Value::Null, |maker| instant_cell(maker.at)),
                given.map(|maker| maker.actor_name.clone()).into(),
                given.map_or(Value::Null, |maker| id_cell(maker.request_id)),
                optional_instant_cell(
                    row.mapping_id.or(row.grant_id).and_then(|through| ends.get(&through).copied()),
                ),
            ]);
        }
    }
    Ok(ReportBatch { rows, next })
}

/// The name and the permissions that a role had.
struct PastRole {
    name: Value,
    permissions: Value,
}

/// These roles as they were at an instant: as they are now, without the changes since then.
async fn roles_at(
    cx: &Cx,
    ids: BTreeSet<Uuid>,
    at: DateTime<Utc>,
) -> Result<HashMap<Uuid, PastRole>> {
    let roles = cx
        .find::<role::Entity>()
        .filter(role::Column::Id.is_in(ids.iter().copied()))
        .all(cx.db())
        .await?;
    let mut roles: HashMap<Uuid, PastRole> = roles
        .into_iter()
        .map(|role| (role.id, PastRole { name: role.name.into(), permissions: role.permissions }))
        .collect();
    let since = cx
        .find::<event::Entity>()
        .filter(event::Column::SubjectId.is_in(ids))
        .filter(event::Column::Action.eq(EventKind::RoleUpdated.name()))
        .filter(event::Column::At.gt(at))
        .order_by_desc(event::Column::Pos);
    for change in since.all(cx.db()).await? {
        let Some(role) = roles.get_mut(&change.subject_id) else { continue };
        let (before, _) = event_values(&change);
        for (name, now) in [("name", &mut role.name), ("permissions", &mut role.permissions)] {
            if let Some(was) = before.as_ref().and_then(|before| before.get(name)) {
                *now = was.clone();
            }
        }
    }
    Ok(roles)
}

/// The planned ends of these mappings and grants as they were at an instant, by their ids.
async fn planned_ends(
    cx: &Cx,
    held: impl Iterator<Item = &RoleSource>,
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
    let mappings =
        mappings.all(cx.db()).await?.into_iter().map(|row| (row.mapping_id, row.expires_at));
    let grants = grants.all(cx.db()).await?.into_iter().map(|row| (row.id, row.expires_at));
    Ok(mappings.chain(grants).filter_map(|(id, end)| Some((id, end?))).collect())
}

fn name_by_id(rows: Vec<NamedRow>) -> HashMap<Uuid, String> {
    rows.into_iter().map(|row| (row.id, row.name)).collect()
}
