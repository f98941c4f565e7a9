//! Accounts whose manager was deleted. rolecall does not change what the identity provider wrote,
//! so the reference stays, and a finding tells of it until the identity provider names another one.

use std::collections::{BTreeMap, HashSet};

use entity::user;
use sea_orm::{ColumnTrait, QueryFilter, QueryOrder, QuerySelect};
use serde_json::{Value, json};
use uuid::Uuid;

use super::Kind;
use super::diff::AttributeDifference;
use super::difference::Difference;
use crate::context::Cx;
use crate::error::Result;
use crate::identity::schema::ENTERPRISE_SCHEMA;

/// Accounts that are read at once.
const ACCOUNTS_PER_READ: u64 = 500;

/// An account that names a manager, by the manager's id here.
struct ManagedAccount {
    id: Uuid,
    user_name: String,
    active: bool,
    manager: Uuid,
}

/// The live accounts of a connection whose manager is an account that was deleted.
pub(super) async fn find_gone_managers(cx: &Cx, connection: Uuid) -> Result<Vec<Difference>> {
    let mut found = Vec::new();
    let mut after = Uuid::nil();
    loop {
        let rows: Vec<(Uuid, String, bool, String)> = cx
            .find::<user::Entity>()
            .filter(user::Column::DeletedAt.is_null())
            .filter(user::Column::ConnectionId.eq(connection))
            .filter(user::Column::Id.gt(after))
            // Most accounts name none, and their documents need not be read.
            .filter(user::Column::Document.contains("\"manager\""))
            .order_by_asc(user::Column::Id)
            .limit(ACCOUNTS_PER_READ)
            .select_only()
            .columns([
                user::Column::Id,
                user::Column::UserName,
                user::Column::Active,
                user::Column::Document,
            ])
            .into_tuple()
            .all(cx.db())
            .await?;
        let Some((last, ..)) = rows.last() else { return Ok(found) };
        after = *last;
        let managed: Vec<ManagedAccount> = rows
            .into_iter()
            .filter_map(|(id, user_name, active, document)| {
                let manager = manager_of(&document)?;
                Some(ManagedAccount { id, user_name, active, manager })
            })
            .collect();
        let managers: HashSet<Uuid> = managed.iter().map(|account| account.manager).collect();
        let gone: HashSet<Uuid> = cx
            .find::<user::Entity>()
            .filter(user::Column::Id.is_in(managers))
            .filter(user::Column::DeletedAt.is_not_null())
            .select_only()
            .column(user::Column::Id)
            .into_tuple()
            .all(cx.db())
            .await?
            .into_iter()
            .collect();
        let of_gone = managed.into_iter().filter(|account| gone.contains(&account.manager));
        found.extend(of_gone.map(describe_account));
    }
}

/// The manager's id, if it is one of ours: identity providers write what they were given.
fn manager_of(document: &str) -> Option<Uuid> {
    let document: Value = serde_json::from_str(document).ok()?;
    document[ENTERPRISE_SCHEMA]["manager"]["value"].as_str()?.parse().ok()
}

fn describe_account(account: ManagedAccount) -> Difference {
    let ours = Some(account.manager.to_string().into());
    Difference {
        user: Some(account.id),
        label: Some(account.user_name),
        active: account.active,
        detail: BTreeMap::from([("manager".to_owned(), AttributeDifference::of(None, ours))]),
        ..Difference::new(Kind::ManagerGone, json!(["id", account.id]))
    }
}
