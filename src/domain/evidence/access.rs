//! Who held which role at an instant, and through what.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use entity::{group, role, user};
use sea_orm::{ColumnTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect};
use serde_json::Value;
use uuid::Uuid;

use super::{BATCH, Batch, Place, id, instant, makers};
use crate::context::Cx;
use crate::domain::access::{self, Moment};
use crate::error::Result;

pub const COLUMNS: &[&str] = &[
    "user_id",
    "user_name",
    "display_name",
    "role_id",
    "role",
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
    let roles = cx
        .find::<role::Entity>()
        .select_only()
        .columns([role::Column::Id, role::Column::Name])
        .filter(role::Column::Id.is_in(roles));
    let roles = names(roles.into_model::<Named>().all(cx.db()).await?);
    let makers =
        makers(cx, all().flat_map(|row| [row.joined_by, Some(row.given_by)]).flatten().collect::<BTreeSet<_>>())
            .await?;

    let name =
        |names: &HashMap<Uuid, String>, id: Option<Uuid>| -> Value { id.and_then(|id| names.get(&id).cloned()).into() };
    let mut rows = Vec::new();
    for account in accounts {
        for row in held.remove(&account.id).unwrap_or_default() {
            let (joined, given) = (row.joined_by.and_then(|by| makers.get(&by)), makers.get(&row.given_by));
            rows.push(vec![
                id(account.id),
                account.user_name.clone().into(),
                account.display_name.clone().into(),
                id(row.role_id),
                name(&roles, Some(row.role_id)),
                if row.mapping_id.is_some() { "MAPPING" } else { "GRANT" }.into(),
                name(&groups, row.group_id),
                name(&groups, row.member_of),
                row.mapping_id.map_or(Value::Null, id),
                row.grant_id.map_or(Value::Null, id),
                joined.map_or(Value::Null, |maker| instant(maker.at)),
                joined.map(|maker| maker.actor_name.clone()).into(),
                given.map_or(Value::Null, |maker| instant(maker.at)),
                given.map(|maker| maker.actor_name.clone()).into(),
                given.map_or(Value::Null, |maker| id(maker.request_id)),
            ]);
        }
    }
    Ok(Batch { rows, next })
}

fn names(rows: Vec<Named>) -> HashMap<Uuid, String> {
    rows.into_iter().map(|row| (row.id, row.name)).collect()
}
