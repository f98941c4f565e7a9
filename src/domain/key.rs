//! API keys: what scripts and applications open the management API with. One organization each.

use chrono::{DateTime, Utc};
use entity::api_key;
use sea_orm::{ColumnTrait, Condition, EntityTrait, FromQueryResult, PaginatorTrait, QueryFilter};
use serde_json::json;
use std::sync::Arc;
use uuid::Uuid;

use super::list::{self, Keyset, Slice};
use crate::authz::{Action, Actor, Permission, Permissions};
use crate::context::{App, Change, Credential, Cx};
use crate::error::{Error, Result};
use crate::ledger::{Entry, Subject};
use crate::vault;

pub use api_key::Model as ApiKey;

/// What every API key begins with, so that scanners find one that leaked.
pub const PREFIX: &str = "rck_";

/// A key and, only at its making, the secret itself.
#[derive(Debug)]
pub struct Issued {
    pub key: ApiKey,
    pub secret: String,
}

/// Issues a key with chosen permissions. Nobody can give what they do not hold.
pub async fn issue(cx: &Cx, name: &str, permissions: Permissions, expires_at: Option<DateTime<Utc>>) -> Result<Issued> {
    cx.allow(Action::ManageToken, None)?;
    let name = super::text("name", name, 200)?;
    if let Some(missing) = permissions.iter().find(|permission| !cx.holds(**permission)) {
        return Err(Error::Forbidden(format!("you cannot give {missing}, which you do not hold").into()));
    }
    if permissions.contains(&Permission::PlatformAdmin) {
        return Err(Error::invalid("permissions", "a key belongs to one organization and cannot carry PLATFORM_ADMIN"));
    }
    if expires_at.is_some_and(|at| at <= cx.requested_at) {
        return Err(Error::invalid("expiresAt", "must be in the future"));
    }
    let secret = vault::new_secret(PREFIX)?;
    let (hash, last_four, name, permissions) = (&vault::hash(&secret), &vault::last_four(&secret), &name, &permissions);
    let key = cx
        .write(move |tx| {
            Box::pin(async move {
                let now = tx.now_after(None);
                let names: Vec<_> = permissions.iter().map(|permission| permission.name()).collect();
                let key = ApiKey {
                    organization_id: cx.organization(),
                    id: Uuid::now_v7(),
                    name: name.clone(),
                    hash: hash.clone(),
                    last_four: last_four.clone(),
                    permissions: json!(names),
                    created_at: now,
                    expires_at,
                    revoked_at: None,
                    last_used_at: None,
                };
                api_key::Entity::insert(api_key::ActiveModel::from(key.clone())).exec_without_returning(&tx.db).await?;
                let after =
                    json!({ "name": name, "permissions": names, "lastFour": key.last_four, "expiresAt": expires_at });
                let entry = entry("api_key.issued", &key, now, after);
                Ok(Change::made(key, entry))
            })
        })
        .await?;
    Ok(Issued { key, secret })
}

/// Kills a key from this instant on.
pub async fn revoke(cx: &Cx, id: Uuid) -> Result<ApiKey> {
    cx.allow(Action::ManageToken, None)?;
    cx.write(move |tx| {
        Box::pin(async move {
            let query = tx.find::<api_key::Entity>().filter(api_key::Column::Id.eq(id));
            let mut key = super::locked(tx, query).await?.ok_or_else(|| Error::not_found("the API key"))?;
            if key.revoked_at.is_some() {
                return Ok(Change::nothing(key));
            }
            let now = tx.now_after(Some(key.created_at));
            key.revoked_at = Some(now);
            super::save::<api_key::Entity, api_key::ActiveModel>(tx, key.clone()).await?;
            let entry = entry("api_key.revoked", &key, now, json!({ "name": key.name, "lastFour": key.last_four }));
            Ok(Change::made(key, entry))
        })
    })
    .await
}

/// All keys of the organization, oldest first. Never a secret.
pub async fn list(cx: &Cx, keyset: &Keyset<Uuid>) -> Result<Slice<ApiKey>> {
    cx.allow(Action::ManageToken, None)?;
    list::page(cx, cx.find::<api_key::Entity>(), api_key::Column::Id, keyset).await
}

/// How many keys there are, dead ones too.
pub async fn count(cx: &Cx) -> Result<u64> {
    cx.allow(Action::ManageToken, None)?;
    Ok(cx.find::<api_key::Entity>().count(cx.db()).await?)
}

/// How many keys open something at `now`.
pub async fn count_live(cx: &Cx, now: DateTime<Utc>) -> Result<u64> {
    cx.allow(Action::ManageToken, None)?;
    let query = cx.find::<api_key::Entity>().filter(api_key::Column::RevokedAt.is_null());
    let lasting = Condition::any().add(api_key::Column::ExpiresAt.is_null()).add(api_key::Column::ExpiresAt.gt(now));
    Ok(query.filter(lasting).count(cx.db()).await?)
}

/// The keys among `ids`.
pub async fn by_ids(cx: &Cx, ids: &[Uuid]) -> Result<Vec<ApiKey>> {
    cx.allow(Action::ManageToken, None)?;
    let query = cx.find::<api_key::Entity>().filter(api_key::Column::Id.is_in(ids.iter().copied()));
    Ok(query.all(cx.db()).await?)
}

/// Whether a key opens anything at `now`.
pub fn is_live(key: &ApiKey, now: DateTime<Utc>) -> bool {
    key.revoked_at.is_none() && key.expires_at.is_none_or(|at| at > now)
}

/// The permissions that a key's row names.
pub fn permissions(key: &ApiKey) -> Permissions {
    let names = key.permissions.as_array().into_iter().flatten();
    names.filter_map(|name| name.as_str()?.parse().ok()).collect()
}

/// Opens the management API for whoever presents a live key.
///
/// # Errors
/// [`Error::Unauthenticated`] for anything else.
pub async fn authenticate(app: &Arc<App>, secret: &str, request_id: Uuid) -> Result<Cx> {
    let now = app.clock.now();
    let found = app.store.ask_alike(GATE, vault::hash(secret)).await?;
    let gate = found.first().map(|row| Gate::from_query_result(row, "")).transpose()?;
    let Some(Gate { key, schema_version }) = gate.filter(|gate| is_live(&gate.key, now)) else {
        return Err(Error::Unauthenticated("the API key is unknown, expired or revoked"));
    };
    app.uses.note(Credential::ApiKey { organization: key.organization_id, id: key.id }, now, None);
    let actor = Actor::Key { id: key.id, permissions: permissions(&key), name: key.name };
    let mut cx = Cx::new(app.clone(), actor, key.organization_id, request_id);
    cx.schema_version = Some(schema_version);
    Ok(cx)
}

/// The key says which organization this is.
const GATE: &str =
    "SELECT k.*, o.schema_version FROM api_key k JOIN organization o ON o.id = k.organization_id WHERE k.hash = $1";

/// A key, and what else every request needs to know: one round trip.
#[derive(Debug, FromQueryResult)]
struct Gate {
    #[sea_orm(nested)]
    key: ApiKey,
    schema_version: i64,
}

fn entry(action: &'static str, key: &ApiKey, at: DateTime<Utc>, after: serde_json::Value) -> Entry {
    Entry {
        action,
        subject: Subject { kind: "api_key", id: key.id },
        connection: None,
        at,
        before: None,
        after: Some(after),
        population: 0,
    }
}
