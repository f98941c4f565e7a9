//! API keys: the credentials of scripts and applications for the management API. Each key belongs
//! to one organization.

use chrono::{DateTime, Duration, Utc};
use entity::api_key::KeyPurpose;
use entity::{api_key, user};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, ExprTrait, FromQueryResult, PaginatorTrait,
    QueryFilter, QueryOrder, QuerySelect, Select,
};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::sync::Arc;
use uuid::Uuid;

use crate::auth::policy::{Action, Actor, Permission, Permissions};
use crate::context::{App, Change, Credential, Cx, Tx, clock};
use crate::crypto::vault;
use crate::domain::paging;
use crate::domain::paging::order::{OrderBy, OrderPlace};
use crate::domain::paging::{Keyset, Slice};
use crate::domain::tenant::organization::suspended_error;
use crate::error::{Error, Mistakes, Noun, RefusalReason, Result, mistakes};
use crate::ledger;
use crate::ledger::{EventKind, EventSubject, NewEvent, WriteStep};

pub use api_key::Model as ApiKey;

/// The beginning of every API key, by which scanners find a key that leaked.
pub const API_KEY_PREFIX: &str = "rck_";

/// Days after which the key of a bootstrap ends. A key that lives no longer needs no owner.
pub const BOOTSTRAP_DAYS: u16 = 30;
/// How long a session that a sign-in opened lasts without a use.
const SESSION_IDLE_LIMIT: Duration = Duration::hours(1);
/// The most keys without an owner that are read.
const MAX_OWNERLESS_LISTED: u64 = 1_000;
/// The most keys that end soon that are read.
const MAX_ENDING_LISTED: u64 = 200;

/// The owner of a key: the account or the person that is responsible for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyOwner {
    /// An account here: the key ends when the account is suspended, deleted or purged.
    Account(Uuid),
    /// A person, by the subject in an issuer's tokens. There is no account that shows when that
    /// person leaves, so the key does not end then.
    Subject(String),
}

/// A key that was just issued, and its secret. Only a hash of the secret is stored.
#[derive(Debug)]
pub struct IssuedKey {
    pub key: ApiKey,
    pub secret: String,
}

/// Issues a key with chosen permissions. It belongs to the person who requests it, or to the owner
/// of the key that requests it.
///
/// # Errors
/// As [`issue_to`].
pub async fn issue_key(
    cx: &Cx,
    name: &str,
    permissions: Permissions,
    expires_at: Option<DateTime<Utc>>,
) -> Result<IssuedKey> {
    issue_to(cx, name, permissions, expires_at, None).await
}

/// Issues a key with chosen permissions to `owner`; none = to the owner that [`issue_key`] chooses.
/// Without `expires_at` it gets the longest lifetime that is allowed.
///
/// # Errors
/// [`Error::Forbidden`] for a permission that the actor does not hold, [`Error::Invalid`] for an
/// end that is past or too far away and for an owner that is suspended, [`Error::NotFound`] for an
/// owner that does not exist.
pub async fn issue_to(
    cx: &Cx,
    name: &str,
    permissions: Permissions,
    expires_at: Option<DateTime<Utc>>,
    owner: Option<KeyOwner>,
) -> Result<IssuedKey> {
    cx.allow(Action::ManageToken, None)?;
    if let Some(missing) = permissions.iter().find(|permission| !cx.holds(**permission)) {
        let why = format!("you cannot give {missing}, which you do not hold");
        return Err(Error::lacks_permission(missing.name(), why));
    }
    let owner = match owner {
        Some(owner) => Some(owner),
        None => own_owner(cx).await?,
    };
    let end = check_end(cx, expires_at);
    let new_key = NewKey {
        name: name.trim().to_owned(),
        permissions,
        // A mistake here is told by the write, together with those in the owner.
        end: *end.as_ref().unwrap_or(&cx.requested_at),
        owner,
        purpose: KeyPurpose::Api,
        secret: vault::new_secret(API_KEY_PREFIX)?,
    };
    let new_key = &new_key;
    let key = cx
        .write(move |tx| {
            Box::pin(async move {
                let mut mistakes = Mistakes::default();
                mistakes.collect(check_texts(cx, &new_key.name, expires_at));
                if new_key.permissions.contains(&Permission::PlatformAdmin) {
                    let why = "a key belongs to one organization and cannot carry PLATFORM_ADMIN";
                    mistakes.add(Error::invalid("permissions", why));
                }
                mistakes.collect(lock_owner(cx, tx, new_key.owner.as_ref()).await);
                mistakes.refuse_any()?;
                let (key, entry) = insert_key(tx, new_key, tx.now_after(None)).await?;
                Ok(Change::recorded(key, entry))
            })
        })
        .await?;
    Ok(IssuedKey { key, secret: new_key.secret.clone() })
}

/// Refuses a name and an end that no new key can have.
///
/// # Errors
/// [`Error::Invalid`], or both.
pub fn check_texts(cx: &Cx, name: &str, expires_at: Option<DateTime<Utc>>) -> Result<()> {
    let name = crate::domain::check_text("name", name, 200);
    mistakes::both(name, check_end(cx, expires_at)).map(drop)
}

/// A key to insert, with its secret.
#[derive(Debug)]
pub(in crate::domain) struct NewKey {
    name: String,
    permissions: Permissions,
    end: DateTime<Utc>,
    owner: Option<KeyOwner>,
    purpose: KeyPurpose,
    pub secret: String,
}

impl NewKey {
    /// A key without an owner.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an end that is past or too far away.
    pub fn with_permissions(
        cx: &Cx,
        name: &str,
        permissions: Permissions,
        expires_at: Option<DateTime<Utc>>,
    ) -> Result<Self> {
        let end = check_end(cx, expires_at)?;
        let secret = vault::new_secret(API_KEY_PREFIX)?;
        let purpose = KeyPurpose::Api;
        Ok(Self { name: name.into(), permissions, end, owner: None, purpose, secret })
    }

    /// The same key, for another purpose.
    pub fn with_purpose(self, purpose: KeyPurpose) -> Self {
        Self { purpose, ..self }
    }

    /// The same key, which ends with this owner.
    pub fn with_owner(self, owner: Option<KeyOwner>) -> Self {
        Self { owner, ..self }
    }
}

/// Inserts a key; returns its row and the event about it.
pub(in crate::domain) async fn insert_key(
    tx: &Tx<'_>,
    new: &NewKey,
    now: DateTime<Utc>,
) -> Result<(ApiKey, NewEvent)> {
    let names: Vec<_> = new.permissions.iter().map(|permission| permission.name()).collect();
    let key = ApiKey {
        organization_id: tx.organization(),
        id: Uuid::now_v7(),
        name: new.name.clone(),
        purpose: new.purpose,
        hash: vault::hash_secret(&new.secret),
        last_four: vault::last_four(&new.secret),
        permissions: json!(names),
        created_at: now,
        expires_at: Some(new.end),
        revoked_at: None,
        last_used_at: None,
        owner_user_id: owner_account(&new.owner),
        owner_subject: owner_subject(&new.owner),
    };
    api_key::Entity::insert(api_key::ActiveModel::from(key.clone()))
        .exec_without_returning(&tx.db)
        .await?;
    let after = json!({
        "name": key.name, "permissions": names, "lastFour": key.last_four,
        "expiresAt": key.expires_at, "ownerUserId": key.owner_user_id,
        "ownerSubject": key.owner_subject,
    });
    let entry = key_event(EventKind::ApiKeyIssued, &key, now, after);
    Ok((key, entry))
}

/// The end of a key that is requested with `expires_at`; none = the latest end that is allowed.
fn check_end(cx: &Cx, expires_at: Option<DateTime<Utc>>) -> Result<DateTime<Utc>> {
    let days = cx.app.config.api_key_days;
    let latest = cx.requested_at + Duration::days(days.into());
    match expires_at {
        None => Ok(latest),
        Some(at) if at <= cx.requested_at => {
            Err(Error::invalid("expiresAt", "must be in the future"))
        }
        Some(at) if at > latest => {
            let why = format!("must be within {days} days, the longest life of a key here");
            Err(Error::invalid("expiresAt", why))
        }
        Some(at) => Ok(clock::to_stored_precision(at)),
    }
}

/// The owner of a key that the actor issues without naming an owner. None for rolecall's own work,
/// and for an actor with a key that has no owner.
async fn own_owner(cx: &Cx) -> Result<Option<KeyOwner>> {
    match &cx.actor {
        Actor::Person { subject, .. } => Ok(Some(KeyOwner::Subject(subject.clone()))),
        Actor::Key { .. } => Ok(find_own_key(cx).await?.as_ref().and_then(key_owner)),
        Actor::Connection { .. } | Actor::System => Ok(None),
    }
}

/// Refuses an owner that cannot own a key. The row of the owner's account is locked until the write
/// ends, so that no key outlives the account.
async fn lock_owner(cx: &Cx, tx: &Tx<'_>, owner: Option<&KeyOwner>) -> Result<()> {
    match owner {
        Some(KeyOwner::Account(id)) => {
            let query = tx.find::<user::Entity>().filter(user::Column::Id.eq(*id));
            let account =
                crate::domain::lock_row(tx, query.filter(user::Column::DeletedAt.is_null()))
                    .await?;
            let account = account
                .filter(|_| cx.confined_to().is_none())
                .ok_or_else(|| Error::not_found(Noun::Owner))?;
            if account.active {
                Ok(())
            } else {
                Err(Error::invalid("ownerUserId", "is suspended, and a key ends with its owner"))
            }
        }
        Some(KeyOwner::Subject(subject)) => {
            crate::domain::check_text("ownerSubject", subject, 500).map(|_| ())
        }
        None => Ok(()),
    }
}

fn owner_account(owner: &Option<KeyOwner>) -> Option<Uuid> {
    match owner {
        Some(KeyOwner::Account(id)) => Some(*id),
        _ => None,
    }
}

fn owner_subject(owner: &Option<KeyOwner>) -> Option<String> {
    match owner {
        Some(KeyOwner::Subject(subject)) => Some(subject.clone()),
        _ => None,
    }
}

/// The owner of a key: the account or the person that is responsible for it.
pub fn key_owner(key: &ApiKey) -> Option<KeyOwner> {
    let account = key.owner_user_id.map(KeyOwner::Account);
    account.or_else(|| key.owner_subject.clone().map(KeyOwner::Subject))
}

/// The changes of a key; none = unchanged.
#[derive(Debug, Clone, Default)]
pub struct KeyEdit {
    pub name: Option<String>,
    pub expires_at: Option<DateTime<Utc>>,
    /// From now on the key ends with this owner.
    pub owner: Option<KeyOwner>,
}

/// Changes the name, the end or the owner of a live key. Its secret stays the same, so it never
/// lives longer than a new key could have from the day on which it was issued.
///
/// # Errors
/// [`Error::NotFound`] for a key or an owner that does not exist, [`Error::Held`] for a key that
/// has ended, [`Error::Invalid`] for an end that is past or too far away, [`Error::Forbidden`] for
/// a later end of a key with permissions that the actor does not hold.
pub async fn update_key(cx: &Cx, id: Uuid, edit: KeyEdit) -> Result<ApiKey> {
    cx.allow(Action::ManageToken, None)?;
    let edit = &edit;
    cx.write(move |tx| {
        Box::pin(async move {
            let mut mistakes = Mistakes::default();
            let name = edit.name.as_deref();
            let name = name.map(|name| crate::domain::check_text("name", name, 200)).transpose();
            let name = mistakes.collect(name).flatten();
            if edit.expires_at.is_some_and(|at| at <= cx.requested_at) {
                mistakes.add(Error::invalid("expiresAt", "must be in the future"));
            }
            mistakes.collect(lock_owner(cx, tx, edit.owner.as_ref()).await);
            let before = mistakes.collect(lock_key(tx, id).await);
            mistakes.refuse_any()?;
            let before = before.ok_or_else(|| Error::not_found(Noun::ApiKey))?;
            let now = tx.now_after(Some(before.created_at));
            if !is_live(&before, now) {
                return Err(Error::Held {
                    reason: RefusalReason::Ended,
                    why: "the API key has ended already".into(),
                });
            }
            let mut after = before.clone();
            after.name = name.unwrap_or(after.name);
            if let Some(end) = edit.expires_at {
                check_new_end(cx, &before, end)?;
                after.expires_at = Some(clock::to_stored_precision(end));
            }
            if edit.owner.is_some() {
                (after.owner_user_id, after.owner_subject) =
                    (owner_account(&edit.owner), owner_subject(&edit.owner));
            }
            if after == before {
                return Ok(Change::unchanged(before));
            }
            crate::domain::save_row::<api_key::Entity, api_key::ActiveModel>(tx, after.clone())
                .await?;
            let (was, is) = ledger::changed_members(&describe_key(&before), &describe_key(&after));
            let only_owner = before.name == after.name && before.expires_at == after.expires_at;
            let kind =
                if only_owner { EventKind::ApiKeyAssigned } else { EventKind::ApiKeyUpdated };
            let entry = NewEvent { before: Some(was), ..key_event(kind, &after, now, is) };
            Ok(Change::recorded(after, entry))
        })
    })
    .await
}

/// Refuses an end that a key may not get.
fn check_new_end(cx: &Cx, key: &ApiKey, end: DateTime<Utc>) -> Result<()> {
    let days = cx.app.config.api_key_days;
    if key.expires_at.is_none_or(|known| end <= known) {
        return Ok(());
    }
    let missing = key_permissions(key).into_iter().find(|permission| !cx.holds(*permission));
    if let Some(missing) = missing {
        let why = format!("you cannot prolong a key with {missing}, which you do not hold");
        return Err(Error::lacks_permission(missing.name(), why));
    }
    if end > key.created_at + Duration::days(days.into()) {
        let why = format!(
            "must be within {days} days after the key was issued, the longest life of a key here"
        );
        return Err(Error::invalid("expiresAt", why));
    }
    Ok(())
}

fn describe_key(key: &ApiKey) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("name".into(), key.name.clone().into());
    map.insert("expiresAt".into(), json!(key.expires_at));
    map.insert("ownerUserId".into(), json!(key.owner_user_id));
    map.insert("ownerSubject".into(), json!(key.owner_subject));
    map
}

async fn lock_key(tx: &Tx<'_>, id: Uuid) -> Result<ApiKey> {
    let query = tx.find::<api_key::Entity>().filter(api_key::Column::Id.eq(id));
    crate::domain::lock_row(tx, query).await?.ok_or_else(|| Error::not_found(Noun::ApiKey))
}

/// Ends the keys of an account, as a step of the change that suspends or deletes the account. The
/// ledger has no event of its own for this: the event of that change names the account, and the row
/// of a key names its owner.
pub(in crate::domain) fn ended_with(tx: &Tx<'_>, account: Uuid, now: DateTime<Utc>) -> WriteStep {
    let live = "organization_id = $2 AND owner_user_id = $3 AND revoked_at IS NULL";
    WriteStep::update(
        "api_key SET revoked_at = $1",
        live,
        [now.into(), tx.organization().into(), account.into()],
    )
}

/// Ends the keys of accounts that are suspended or deleted; returns the ids of the keys.
pub(in crate::domain) async fn end_with(
    tx: &Tx<'_>,
    accounts: &[Uuid],
    now: DateTime<Utc>,
) -> Result<Vec<Uuid>> {
    let text = format!(
        "UPDATE api_key SET revoked_at = $2 WHERE organization_id = $1 AND revoked_at IS NULL \
         AND owner_user_id {} \
         RETURNING id",
        paging::in_ids(tx.db.get_database_backend(), 3)
    );
    let values = [now.into(), paging::bind_ids(accounts)];
    let rows = tx.db.query_all_raw(tx.statement(text, values)).await?;
    let mut ids: Vec<Uuid> =
        rows.iter().map(|row| row.try_get("", "id")).collect::<Result<_, _>>()?;
    ids.sort_unstable();
    Ok(ids)
}

/// Live keys without an owner, oldest first. At most [`MAX_OWNERLESS_LISTED`].
pub(in crate::domain) async fn list_without_owner(cx: &Cx) -> Result<Vec<ApiKey>> {
    let now = cx.app.clock.now();
    let query = cx.find::<api_key::Entity>().filter(api_key::Column::RevokedAt.is_null());
    // A session of the console ends within hours.
    let query = query.filter(api_key::Column::Purpose.eq(KeyPurpose::Api));
    let query = query
        .filter(api_key::Column::OwnerUserId.is_null())
        .filter(api_key::Column::OwnerSubject.is_null());
    let query = query.order_by_asc(api_key::Column::Id).limit(MAX_OWNERLESS_LISTED);
    Ok(query.all(cx.db()).await?.into_iter().filter(|key| is_live(key, now)).collect())
}

/// [`list_without_owner`] without those whose lifetime is at most that of a bootstrap's key.
pub(in crate::domain) async fn list_ownerless(cx: &Cx) -> Result<Vec<ApiKey>> {
    let brief = Duration::days(BOOTSTRAP_DAYS.into());
    let lasting = |key: &ApiKey| key.expires_at.is_none_or(|end| end - key.created_at > brief);
    Ok(list_without_owner(cx).await?.into_iter().filter(lasting).collect())
}

/// Live keys for clients that were issued before `issued`, or not used since `used`, the oldest
/// first. At most [`MAX_ENDING_LISTED`].
pub(in crate::domain) async fn list_aged(
    cx: &Cx,
    issued: DateTime<Utc>,
    used: DateTime<Utc>,
) -> Result<Vec<ApiKey>> {
    use api_key::Column;
    let unused = Column::LastUsedAt
        .lt(used)
        .or(Column::LastUsedAt.is_null().and(Column::CreatedAt.lt(used)));
    let query = cx
        .find::<api_key::Entity>()
        .filter(Column::RevokedAt.is_null())
        .filter(Column::Purpose.eq(KeyPurpose::Api))
        .filter(Column::ExpiresAt.is_null().or(Column::ExpiresAt.gt(cx.app.clock.now())))
        .filter(Column::CreatedAt.lt(issued).or(unused));
    Ok(query.order_by_asc(Column::Id).limit(MAX_ENDING_LISTED).all(cx.db()).await?)
}

/// Live keys that end before this instant, the first end first. At most [`MAX_ENDING_LISTED`].
pub(in crate::domain) async fn list_ending(cx: &Cx, before: DateTime<Utc>) -> Result<Vec<ApiKey>> {
    let column = api_key::Column::ExpiresAt;
    let query = cx.find::<api_key::Entity>().filter(api_key::Column::RevokedAt.is_null());
    let query = query.filter(column.gt(cx.app.clock.now())).filter(column.lt(before));
    let query = query.order_by_asc(column).order_by_asc(api_key::Column::Id);
    Ok(query.limit(MAX_ENDING_LISTED).all(cx.db()).await?)
}

/// Revokes a key: it is refused from this instant on.
pub async fn revoke_key(cx: &Cx, id: Uuid) -> Result<ApiKey> {
    cx.allow(Action::ManageToken, None)?;
    cx.write(move |tx| {
        Box::pin(async move {
            let key = lock_key(tx, id).await?;
            end_key(tx, key).await
        })
    })
    .await
}

/// Revokes a key that was read under its lock, unless it was revoked before.
async fn end_key(tx: &Tx<'_>, mut key: ApiKey) -> Result<Change<ApiKey>> {
    if key.revoked_at.is_some() {
        return Ok(Change::unchanged(key));
    }
    let now = tx.now_after(Some(key.created_at));
    key.revoked_at = Some(now);
    crate::domain::save_row::<api_key::Entity, api_key::ActiveModel>(tx, key.clone()).await?;
    let after = json!({
        "name": key.name, "lastFour": key.last_four, "ownerUserId": key.owner_user_id,
    });
    let entry = key_event(EventKind::ApiKeyRevoked, &key, now, after);
    Ok(Change::recorded(key, entry))
}

/// The key that the actor uses; none for an actor without a key.
pub async fn find_own_key(cx: &Cx) -> Result<Option<ApiKey>> {
    let Actor::Key { id, .. } = &cx.actor else { return Ok(None) };
    Ok(cx.find::<api_key::Entity>().filter(api_key::Column::Id.eq(*id)).one(cx.db()).await?)
}

/// Ends the console session that the actor uses. Its own credential is all that it takes.
///
/// # Errors
/// [`Error::Unsupported`] for another credential: it is not only this session's.
pub async fn end_own_session(cx: &Cx) -> Result<ApiKey> {
    let Actor::Key { id, .. } = cx.actor else { return Err(NO_SESSION) };
    cx.write(move |tx| {
        Box::pin(async move {
            let key = lock_key(tx, id).await?;
            match key.purpose {
                KeyPurpose::ConsoleSession => end_key(tx, key).await,
                KeyPurpose::Api => Err(NO_SESSION),
            }
        })
    })
    .await
}

/// Ends a session of the console, because it ended where it came from. Returns whether it was live.
pub(super) async fn end_session_in(tx: &Tx<'_>, id: Uuid) -> Result<Change<bool>> {
    let key = lock_key(tx, id).await?;
    let live = is_live(&key, tx.now_after(Some(key.created_at)));
    if !live || key.purpose != KeyPurpose::ConsoleSession {
        return Ok(Change::unchanged(false));
    }
    Ok(end_key(tx, key).await?.map(|_| true))
}

const NO_SESSION: Error = Error::Unsupported(Cow::Borrowed(
    "only a session of the console ends like this; an API key is revoked with apiKeyRevoke, and a \
     token of an issuer ends by itself",
));

/// The wanted keys: those that match all conditions; none = any.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KeyQuery {
    /// The name contains this, in any case of the letters A to Z.
    pub search: Option<String>,
    /// Keys that are valid now (true), or ended (false).
    pub valid: Option<bool>,
    /// Keys that belong to this account.
    pub owner: Option<Uuid>,
    /// Keys that end before this instant.
    pub expires_before: Option<DateTime<Utc>>,
}

fn select_keys(cx: &Cx, which: &KeyQuery) -> Select<api_key::Entity> {
    let mut keys = cx.find::<api_key::Entity>();
    if let Some(search) = &which.search {
        keys = keys.filter(paging::contains_text(cx, "api_key.name", search));
    }
    let lasting = || {
        api_key::Column::ExpiresAt.is_null().or(api_key::Column::ExpiresAt.gt(cx.app.clock.now()))
    };
    keys = match which.valid {
        Some(true) => keys.filter(api_key::Column::RevokedAt.is_null()).filter(lasting()),
        Some(false) => keys.filter(api_key::Column::RevokedAt.is_not_null().or(lasting().not())),
        None => keys,
    };
    if let Some(owner) = which.owner {
        keys = keys.filter(api_key::Column::OwnerUserId.eq(owner));
    }
    if let Some(end) = which.expires_before {
        keys = keys.filter(api_key::Column::ExpiresAt.lt(end));
    }
    keys
}

/// A page of keys, ended ones included, each with its place in the order `by`. Never a secret.
pub async fn list_keys(
    cx: &Cx,
    which: &KeyQuery,
    by: OrderBy,
    keyset: &Keyset<OrderPlace>,
) -> Result<Slice<(ApiKey, OrderPlace)>> {
    cx.allow(Action::ManageToken, None)?;
    paging::fetch_ordered(cx, select_keys(cx, which), api_key::Column::Id, by, keyset).await
}

/// How many keys there are, ended ones included.
pub async fn count_keys(cx: &Cx, which: &KeyQuery) -> Result<u64> {
    cx.allow(Action::ManageToken, None)?;
    Ok(select_keys(cx, which).count(cx.db()).await?)
}

/// How many keys are live at `now`.
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

/// Whether a key is live at `now`: it has neither expired nor been revoked.
pub fn is_live(key: &ApiKey, now: DateTime<Utc>) -> bool {
    key.revoked_at.is_none() && key.expires_at.is_none_or(|at| at > now)
}

/// The permissions that a key's row names.
pub fn key_permissions(key: &ApiKey) -> Permissions {
    let names = key.permissions.as_array().into_iter().flatten();
    names.filter_map(|name| name.as_str()?.parse().ok()).collect()
}

/// Why a key is refused.
#[derive(Debug)]
pub enum KeyRefused {
    /// No key has this secret.
    Unknown,
    /// A key of this organization has this secret, and it has ended.
    Ended(Uuid),
    /// The operator has suspended the organization of the key.
    Suspended,
    /// The server could not check the key.
    Failed(Error),
}

impl From<KeyRefused> for Error {
    fn from(refused: KeyRefused) -> Self {
        match refused {
            KeyRefused::Unknown | KeyRefused::Ended(_) => {
                Self::Unauthenticated("the API key is unknown, expired or revoked")
            }
            KeyRefused::Suspended => suspended_error(),
            KeyRefused::Failed(error) => error,
        }
    }
}

impl From<Error> for KeyRefused {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<DbErr> for KeyRefused {
    fn from(error: DbErr) -> Self {
        Self::Failed(error.into())
    }
}

/// Authenticates a request to the management API by its API key.
///
/// # Errors
/// [`KeyRefused`] unless the key is live. Clients get the same error for an unknown key as for one
/// that has ended.
pub async fn authenticate_key(
    app: &Arc<App>,
    secret: &str,
    request_id: Uuid,
) -> Result<Cx, KeyRefused> {
    let now = app.clock.now();
    let found = app.store.query_coalesced(SELECT_KEY_GATE, vault::hash_secret(secret)).await?;
    let gate = found.first().map(|row| KeyGate::from_query_result(row, "")).transpose()?;
    let Some(KeyGate { key, schema_version, owner_usable, suspended_at }) = gate else {
        return Err(KeyRefused::Unknown);
    };
    if !is_live(&key, now) || owner_usable == 0 {
        return Err(KeyRefused::Ended(key.organization_id));
    }
    if suspended_at.is_some() {
        return Err(KeyRefused::Suspended);
    }
    let session_of = key.owner_user_id.filter(|_| key.purpose == KeyPurpose::ConsoleSession);
    if session_of.is_some() && is_idle(&key, now) {
        return Err(KeyRefused::Ended(key.organization_id));
    }
    app.uses.note_use(
        Credential::ApiKey { organization: key.organization_id, id: key.id },
        now,
        None,
    );
    let actor = Actor::Key { id: key.id, permissions: key_permissions(&key), name: key.name };
    let mut cx = Cx::new(app.clone(), actor, key.organization_id, request_id);
    cx.schema_version = Some(schema_version);
    cx.session_of = session_of;
    Ok(cx)
}

/// Whether a session was not used for so long that it is over. Uses are written every few seconds.
fn is_idle(key: &ApiKey, now: DateTime<Utc>) -> bool {
    let used_at = key.last_used_at.unwrap_or(key.created_at);
    now - used_at > SESSION_IDLE_LIMIT && now - key.created_at > SESSION_IDLE_LIMIT
}

/// The key decides the organization. It is refused while its owner's account is suspended or
/// deleted, even if its own row is live.
const SELECT_KEY_GATE: &str = r#"SELECT k.*, o.schema_version, o.suspended_at,
       CASE WHEN k.owner_user_id IS NULL OR (SELECT count(*) FROM "user" u
       WHERE u.organization_id = k.organization_id
         AND u.id = k.owner_user_id AND u.active = TRUE AND u.deleted_at IS NULL) > 0 THEN 1
         ELSE 0 END AS owner_usable
     FROM api_key k JOIN organization o ON o.id = k.organization_id WHERE k.hash = $1"#;

/// A key, and the other values that every request needs, in one round trip.
#[derive(Debug, FromQueryResult)]
struct KeyGate {
    #[sea_orm(nested)]
    key: ApiKey,
    schema_version: i64,
    /// 0 if the owner's account is suspended or deleted.
    owner_usable: i32,
    /// The organization is closed since then.
    suspended_at: Option<DateTime<Utc>>,
}

fn key_event(
    kind: EventKind,
    key: &ApiKey,
    at: DateTime<Utc>,
    after: serde_json::Value,
) -> NewEvent {
    NewEvent {
        kind,
        subject: EventSubject { kind: "api_key", id: key.id },
        connection: None,
        at,
        before: None,
        after: Some(after),
        population: 0,
        name: Some(key.name.clone()),
    }
}
