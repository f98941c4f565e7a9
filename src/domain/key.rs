//! API keys: what scripts and applications open the management API with. One organization each.

use chrono::{DateTime, Duration, Utc};
use entity::{api_key, user};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, ExprTrait, FromQueryResult, PaginatorTrait, QueryFilter,
    QueryOrder, QuerySelect, Statement,
};
use serde_json::json;
use std::sync::Arc;
use uuid::Uuid;

use super::list::{self, Keyset, Slice};
use crate::authz::{Action, Actor, Permission, Permissions};
use crate::context::{App, Change, Credential, Cx, Tx};
use crate::error::{Error, Result};
use crate::ledger::{Entry, EventKind, Part, Subject};
use crate::vault;

pub use api_key::Model as ApiKey;

/// What every API key begins with, so that scanners find one that leaked.
pub const PREFIX: &str = "rck_";

/// Days after which the key of a bootstrap ends. A key that lives no longer needs no owner.
pub const BOOTSTRAP_DAYS: u16 = 30;
/// Keys without an owner that are looked at.
const OWNERLESS: u64 = 1_000;

/// Who answers for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// An account here: the key ends when the account is suspended, deleted or purged.
    Account(Uuid),
    /// A person, by the subject that an issuer's tokens name. No account tells when that person leaves.
    Subject(String),
}

/// A key and, only at its making, the secret itself.
#[derive(Debug)]
pub struct Issued {
    pub key: ApiKey,
    pub secret: String,
}

/// Issues a key with chosen permissions for whoever asks: a person, or the owner of the key that asks.
///
/// # Errors
/// As [`issue_to`].
pub async fn issue(cx: &Cx, name: &str, permissions: Permissions, expires_at: Option<DateTime<Utc>>) -> Result<Issued> {
    issue_to(cx, name, permissions, expires_at, None).await
}

/// Issues a key with chosen permissions to `owner`; none = to whoever asks. Without `expires_at` it lives as long as a
/// key may.
///
/// # Errors
/// [`Error::Forbidden`] for a permission that the actor does not hold, [`Error::Invalid`] for an end that is past or too
/// far away and for an owner that is suspended, [`Error::NotFound`] for an owner that is not there.
pub async fn issue_to(
    cx: &Cx,
    name: &str,
    permissions: Permissions,
    expires_at: Option<DateTime<Utc>>,
    owner: Option<Owner>,
) -> Result<Issued> {
    cx.allow(Action::ManageToken, None)?;
    let name = super::text("name", name, 200)?;
    if let Some(missing) = permissions.iter().find(|permission| !cx.holds(**permission)) {
        return Err(Error::Forbidden(format!("you cannot give {missing}, which you do not hold").into()));
    }
    if permissions.contains(&Permission::PlatformAdmin) {
        return Err(Error::invalid("permissions", "a key belongs to one organization and cannot carry PLATFORM_ADMIN"));
    }
    let end = Some(checked_end(cx, expires_at)?);
    let owner = &match owner {
        Some(owner) => Some(owner),
        None => own_owner(cx).await?,
    };
    let secret = vault::new_secret(PREFIX)?;
    let (hash, last_four, name, permissions) = (&vault::hash(&secret), &vault::last_four(&secret), &name, &permissions);
    let key = cx
        .write(move |tx| {
            Box::pin(async move {
                lock_owner(cx, tx, owner.as_ref()).await?;
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
                    expires_at: end,
                    revoked_at: None,
                    last_used_at: None,
                    owner_user_id: account(owner),
                    owner_subject: subject(owner),
                };
                api_key::Entity::insert(api_key::ActiveModel::from(key.clone())).exec_without_returning(&tx.db).await?;
                let after = json!({
                    "name": name, "permissions": names, "lastFour": key.last_four, "expiresAt": end,
                    "ownerUserId": key.owner_user_id, "ownerSubject": key.owner_subject,
                });
                let entry = entry(EventKind::ApiKeyIssued, &key, now, after);
                Ok(Change::made(key, entry))
            })
        })
        .await?;
    Ok(Issued { key, secret })
}

/// When a key ends that shall end at `expires_at`; none = as late as it may.
fn checked_end(cx: &Cx, expires_at: Option<DateTime<Utc>>) -> Result<DateTime<Utc>> {
    let days = cx.app.config.api_key_days;
    let latest = cx.requested_at + Duration::days(days.into());
    match expires_at {
        None => Ok(latest),
        Some(at) if at <= cx.requested_at => Err(Error::invalid("expiresAt", "must be in the future")),
        Some(at) if at > latest => {
            let why = format!("must be within {days} days, the longest life of a key here");
            Err(Error::invalid("expiresAt", why))
        }
        Some(at) => Ok(at),
    }
}

/// The owner of what the actor issues for itself; none for rolecall's own work and for a key without an owner.
async fn own_owner(cx: &Cx) -> Result<Option<Owner>> {
    match &cx.actor {
        Actor::Person { subject, .. } => Ok(Some(Owner::Subject(subject.clone()))),
        Actor::Key { id, .. } => {
            let key = cx.find::<api_key::Entity>().filter(api_key::Column::Id.eq(*id)).one(cx.db()).await?;
            Ok(key.as_ref().and_then(owner))
        }
        Actor::Connection { .. } | Actor::System => Ok(None),
    }
}

/// Refuses an owner that cannot answer for a key. An account stays as it is until the write ends, so that no key
/// outlives it.
async fn lock_owner(cx: &Cx, tx: &Tx<'_>, owner: Option<&Owner>) -> Result<()> {
    match owner {
        Some(Owner::Account(id)) => {
            let query = tx.find::<user::Entity>().filter(user::Column::Id.eq(*id));
            let account = super::locked(tx, query.filter(user::Column::DeletedAt.is_null())).await?;
            let account =
                account.filter(|_| cx.confined_to().is_none()).ok_or_else(|| Error::not_found("the owner"))?;
            match account.active {
                true => Ok(()),
                false => Err(Error::invalid("ownerUserId", "is suspended, and a key ends with its owner")),
            }
        }
        Some(Owner::Subject(subject)) => super::text("ownerSubject", subject, 500).map(|_| ()),
        None => Ok(()),
    }
}

fn account(owner: &Option<Owner>) -> Option<Uuid> {
    match owner {
        Some(Owner::Account(id)) => Some(*id),
        _ => None,
    }
}

fn subject(owner: &Option<Owner>) -> Option<String> {
    match owner {
        Some(Owner::Subject(subject)) => Some(subject.clone()),
        _ => None,
    }
}

/// Who answers for a key.
pub fn owner(key: &ApiKey) -> Option<Owner> {
    let account = key.owner_user_id.map(Owner::Account);
    account.or_else(|| key.owner_subject.clone().map(Owner::Subject))
}

/// Gives a live key another owner. It ends with that one from now on.
///
/// # Errors
/// [`Error::NotFound`] for a key or an owner that is not there, [`Error::Held`] for a key that has ended.
pub async fn assign(cx: &Cx, id: Uuid, to: Owner) -> Result<ApiKey> {
    cx.allow(Action::ManageToken, None)?;
    let to = &Some(to);
    cx.write(move |tx| {
        Box::pin(async move {
            lock_owner(cx, tx, to.as_ref()).await?;
            let query = tx.find::<api_key::Entity>().filter(api_key::Column::Id.eq(id));
            let mut key = super::locked(tx, query).await?.ok_or_else(|| Error::not_found("the API key"))?;
            let now = tx.now_after(Some(key.created_at));
            if !is_live(&key, now) {
                return Err(Error::Held { reason: "ENDED", why: "the API key has ended already".into() });
            }
            if owner(&key) == *to {
                return Ok(Change::nothing(key));
            }
            (key.owner_user_id, key.owner_subject) = (account(to), subject(to));
            super::save::<api_key::Entity, api_key::ActiveModel>(tx, key.clone()).await?;
            let after = json!({ "ownerUserId": key.owner_user_id, "ownerSubject": key.owner_subject });
            let entry = entry(EventKind::ApiKeyAssigned, &key, now, after);
            Ok(Change::made(key, entry))
        })
    })
    .await
}

/// The end of the keys of an account, as a part of the change that takes the account out of use. The ledger tells it by
/// that change: it names the account, and who owns a key stands in the key's own rows.
pub(super) fn ended_with(tx: &Tx<'_>, account: Uuid, now: DateTime<Utc>) -> Part {
    let live = "organization_id = $2 AND owner_user_id = $3 AND revoked_at IS NULL";
    Part::update("api_key SET revoked_at = $1", live, [now.into(), tx.organization().into(), account.into()])
}

/// Ends the keys of accounts that go; returns which.
pub(super) async fn end_with(tx: &Tx<'_>, accounts: &[Uuid], now: DateTime<Utc>) -> Result<Vec<Uuid>> {
    let backend = tx.db.get_database_backend();
    let text = format!(
        "UPDATE api_key SET revoked_at = $1 WHERE organization_id = $2 AND revoked_at IS NULL AND owner_user_id {} \
         RETURNING id",
        list::among(backend, 3)
    );
    let values = [now.into(), tx.organization().into(), list::ids(accounts)];
    let rows = tx.db.query_all_raw(Statement::from_sql_and_values(backend, text, values)).await?;
    let mut ids: Vec<Uuid> = rows.iter().map(|row| row.try_get("", "id")).collect::<Result<_, _>>()?;
    ids.sort_unstable();
    Ok(ids)
}

/// Live keys that nobody answers for, but for those that live as briefly as the key of a bootstrap, oldest first. At most
/// [`OWNERLESS`].
pub(super) async fn ownerless(cx: &Cx) -> Result<Vec<ApiKey>> {
    let now = cx.app.clock.now();
    let query = cx.find::<api_key::Entity>().filter(api_key::Column::RevokedAt.is_null());
    let query = query.filter(api_key::Column::OwnerUserId.is_null()).filter(api_key::Column::OwnerSubject.is_null());
    let query = query.order_by_asc(api_key::Column::Id).limit(OWNERLESS);
    let brief = Duration::days(BOOTSTRAP_DAYS.into());
    let lasting = |key: &ApiKey| is_live(key, now) && key.expires_at.is_none_or(|end| end - key.created_at > brief);
    Ok(query.all(cx.db()).await?.into_iter().filter(lasting).collect())
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
            let entry =
                entry(EventKind::ApiKeyRevoked, &key, now, json!({ "name": key.name, "lastFour": key.last_four }));
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
    let lasting = api_key::Column::ExpiresAt.is_null().or(api_key::Column::ExpiresAt.gt(now));
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

/// Why a key opens nothing.
#[derive(Debug)]
pub enum Refused {
    /// No key has this secret.
    Unknown,
    /// A key of this organization has, and it has ended.
    Ended(Uuid),
    /// Nobody can tell now.
    Failed(Error),
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unknown | Refused::Ended(_) => Self::Unauthenticated("the API key is unknown, expired or revoked"),
            Refused::Failed(error) => error,
        }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<DbErr> for Refused {
    fn from(error: DbErr) -> Self {
        Self::Failed(error.into())
    }
}

/// Opens the management API for whoever presents a live key.
///
/// # Errors
/// [`Refused`] for anything else; callers hear the same of an unknown key and of one that has ended.
pub async fn authenticate(app: &Arc<App>, secret: &str, request_id: Uuid) -> Result<Cx, Refused> {
    let now = app.clock.now();
    let found = app.store.ask_alike(GATE, vault::hash(secret)).await?;
    let gate = found.first().map(|row| Gate::from_query_result(row, "")).transpose()?;
    let Some(Gate { key, schema_version, owner_usable }) = gate else { return Err(Refused::Unknown) };
    if !is_live(&key, now) || owner_usable == 0 {
        return Err(Refused::Ended(key.organization_id));
    }
    app.uses.note(Credential::ApiKey { organization: key.organization_id, id: key.id }, now, None);
    let actor = Actor::Key { id: key.id, permissions: permissions(&key), name: key.name };
    let mut cx = Cx::new(app.clone(), actor, key.organization_id, request_id);
    cx.schema_version = Some(schema_version);
    Ok(cx)
}

/// The key says which organization this is. It opens nothing while its owner is out of use, whatever its own row says.
const GATE: &str = r#"SELECT k.*, o.schema_version,
       CASE WHEN k.owner_user_id IS NULL OR (SELECT count(*) FROM "user" u WHERE u.organization_id = k.organization_id
         AND u.id = k.owner_user_id AND u.active = TRUE AND u.deleted_at IS NULL) > 0 THEN 1 ELSE 0 END AS owner_usable
     FROM api_key k JOIN organization o ON o.id = k.organization_id WHERE k.hash = $1"#;

/// A key, and what else every request needs to know: one round trip.
#[derive(Debug, FromQueryResult)]
struct Gate {
    #[sea_orm(nested)]
    key: ApiKey,
    schema_version: i64,
    /// 0 where the owner's account is out of use.
    owner_usable: i32,
}

fn entry(kind: EventKind, key: &ApiKey, at: DateTime<Utc>, after: serde_json::Value) -> Entry {
    Entry {
        kind,
        subject: Subject { kind: "api_key", id: key.id },
        connection: None,
        at,
        before: None,
        after: Some(after),
        population: 0,
    }
}
