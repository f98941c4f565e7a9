//! Accounts: made, changed, suspended, deleted, and brought back without what they once held.

use chrono::{DateTime, Duration, Utc};
use entity::connection::DeletionPolicy;
use entity::user;
use sea_orm::sea_query::LockType;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbBackend, DerivePartialModel, QueryFilter, QueryOrder,
    QuerySelect, Statement,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

mod read;
mod row;

use super::extension::types;
use super::list::{self, Table};
use super::protection::{self, Watch};
use super::schema::ResourceType;
use super::{adoption, document, key};
use crate::authz::Action;
use crate::context::{Change, Cx, Tx};
use crate::error::{Error, Result};
use crate::ledger::{self, Entry, EventKind, Part, Subject};

use read::one;
pub use read::{GroupOf, Listed, by_ids, count, get, groups_of, list, listed, ordered, search, sees_users};
use row::{
    activation_closed, activation_opened, close_activation, complete_active, email_keys, emails_changed, facts,
    insert_emails, store,
};
pub(super) use row::{delete_emails, open_activations, write};

/// An account as the house handles it: everything but the search copy of its document.
#[derive(Debug, Clone, PartialEq, DerivePartialModel)]
#[sea_orm(entity = "user::Entity")]
pub struct User {
    pub id: Uuid,
    /// The owner; none = made by hand.
    pub connection_id: Option<Uuid>,
    pub external_id: Option<String>,
    pub user_name: String,
    pub display_name: Option<String>,
    pub active: bool,
    /// A break-glass account: out of SCIM's reach.
    pub protected: bool,
    /// The attributes, a JSON object as text.
    pub document: String,
    pub version: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub deleted_at: Option<DateTime<Utc>>,
}

const COLUMNS: &str = "r.id, r.connection_id, r.external_id, r.user_name, r.display_name, r.active, r.protected, r.document, r.version, \
     r.created_at, r.updated_at, r.deleted_at";

const TABLE: Table<User> = Table { name: "user", columns: Cow::Borrowed(COLUMNS), id: |user| user.id };

impl User {
    /// The attributes, parsed.
    pub fn attributes(&self) -> Result<Map<String, Value>> {
        parse(&self.document)
    }

    /// One of the attributes; the others are passed over.
    pub fn attribute(&self, name: &str) -> Result<Option<Value>> {
        let pieces: BTreeMap<String, &RawValue> = parse(&self.document)?;
        pieces.get(name).map(|piece| parse(piece.get())).transpose()
    }
}

pub(super) fn parse<'a, T: Deserialize<'a>>(document: &'a str) -> Result<T> {
    serde_json::from_str(document).map_err(|error| Error::Internal(format!("a stored document is damaged: {error}")))
}

/// Makes an account of `attributes`, owned by the calling connection or, for anybody else, by nobody.
///
/// A connection that creates somebody it knows gets that account back: an inactive one is reactivated, one
/// deleted within the connection's revival window is revived under its own id, without its memberships and
/// grants. It is known by `externalId` alone, so a recycled name inherits nothing; what becomes of a name that
/// somebody else's account bears is the connection's adoption policy ([`adoption`]).
///
/// # Errors
/// [`Error::Taken`] for a `userName` or `externalId` in use, [`Error::Invalid`] for attributes that break the schema.
pub async fn create(cx: &Cx, attributes: Map<String, Value>) -> Result<User> {
    let owner = cx.confined_to();
    cx.allow(Action::WriteUser, owner)?;
    let types = types(cx).await?;
    let ty = &types.user;
    let mut document = document::normalize(ty, attributes)?;
    let says_active = document.contains_key("active");
    document.entry("active").or_insert(true.into());
    match (make(cx, ty, owner, &document).await, owner) {
        (Err(Error::Taken { field: "userName" }), Some(owner)) => {
            if !says_active {
                document.remove("active");
            }
            adoption::meet(cx, owner, ty, &document).await
        }
        (made, _) => made,
    }
}

async fn make(cx: &Cx, ty: &ResourceType, owner: Option<Uuid>, document: &Map<String, Value>) -> Result<User> {
    cx.write_at_once(move |tx| {
        Box::pin(async move {
            // Without locks, the statement itself sees to it that nobody is known by this externalId.
            if !tx.locks {
                return insert(tx, ty, owner, document.clone());
            }
            if let Some(known) = known(tx, owner, document::external_id(document)).await? {
                return match known.deleted_at {
                    None if known.active => Err(Error::Taken { field: "externalId" }),
                    None => {
                        let active = document::active(document) == Some(true);
                        let kind = if active { EventKind::UserReactivated } else { EventKind::UserUpdated };
                        let old = known.attributes()?;
                        update(tx, ty, known, &old, document.clone(), kind)
                    }
                    Some(_) => revive(tx, ty, known, document.clone(), EventKind::UserRevived).await,
                };
            }
            insert(tx, ty, owner, document.clone())
        })
    })
    .await
}

/// True where the connection `$3` knows nobody by the external id `$4`. Live and deleted ones have an index each; asked for
/// both at once, a database would walk through all. An OFFSET keeps PostgreSQL from joining with a whole table.
const UNKNOWN: &str = r#"NOT EXISTS (SELECT 1 FROM "user" k
      WHERE k.organization_id = $1 AND k.connection_id = $3 AND k.external_id = $4 AND k.deleted_at IS NULL
      LIMIT 1 OFFSET 0)
    AND NOT EXISTS (SELECT 1 FROM "user" k
      WHERE k.organization_id = $1 AND k.connection_id = $3 AND k.external_id = $4 AND k.deleted_at IS NOT NULL
      LIMIT 1 OFFSET 0)"#;

/// The account that `owner` means by `external_id`: a live one, or else one that may still come back.
async fn known(tx: &Tx<'_>, owner: Option<Uuid>, external_id: Option<&str>) -> Result<Option<User>> {
    let (Some(owner), Some(external_id)) = (owner, external_id) else { return Ok(None) };
    // Nearly always nobody is, which one statement finds out.
    let anybody = format!("SELECT 1 WHERE NOT ({UNKNOWN})");
    let nobody = sea_orm::Value::Uuid(None);
    let values = [tx.organization().into(), nobody, owner.into(), external_id.into()];
    let backend = tx.db.get_database_backend();
    if tx.db.query_one_raw(Statement::from_sql_and_values(backend, anybody, values)).await?.is_none() {
        return Ok(None);
    }
    let query = tx
        .find::<user::Entity>()
        .filter(user::Column::ConnectionId.eq(owner))
        .filter(user::Column::ExternalId.eq(external_id));
    let live = locked(tx, query.clone().filter(user::Column::DeletedAt.is_null())).await?;
    if live.is_some() {
        return Ok(live);
    }
    let deleted = query.filter(user::Column::DeletedAt.is_not_null()).order_by_desc(user::Column::DeletedAt);
    let Some(found) = locked(tx, deleted).await? else { return Ok(None) };
    let Some(deleted_at) = found.deleted_at else { return Ok(Some(found)) };
    let connection = super::connection::unlocked(tx, owner).await?;
    let window = Duration::days(connection.revival_days.into());
    Ok((deleted_at + window > tx.now_after(None)).then_some(found))
}

fn insert(tx: &Tx<'_>, ty: &ResourceType, owner: Option<Uuid>, document: Map<String, Value>) -> Result<Change<User>> {
    let now = tx.now_after(None);
    let user = User {
        id: Uuid::now_v7(),
        connection_id: owner,
        version: 1,
        created_at: now,
        updated_at: now,
        deleted_at: None,
        ..facts(&document, true)?
    };
    let unknown = match (tx.locks, owner, &user.external_id) {
        (false, Some(_), Some(_)) => UNKNOWN,
        _ => "TRUE",
    };
    let row = r#""user" (organization_id, id, connection_id, external_id, user_name, user_name_key, display_name,
        display_name_key, active, protected, document, search, version, created_at, updated_at)"#;
    let select = "$1, $2, $3, $4, $5, $6, $7, $8, $9, FALSE, $10, $11, $12, $13, $13";
    let values = [
        tx.organization().into(),
        user.id.into(),
        owner.into(),
        user.external_id.clone().into(),
        user.user_name.clone().into(),
        document::fold(&user.user_name).into(),
        user.display_name.clone().into(),
        user.display_name.as_deref().map(document::fold).into(),
        user.active.into(),
        user.document.clone().into(),
        Value::Object(document::search_document(ty, &document)).into(),
        user.version.into(),
        now.into(),
    ];
    let mut parts = vec![Part::insert(row, select, unknown, values)];
    parts.extend(emails_changed(tx, user.id, &BTreeSet::new(), &email_keys(&document)));
    if user.active {
        parts.push(activation_opened(tx, user.id, user.connection_id, now));
    }
    let entry = entry(EventKind::UserCreated, &user, None, Some(Value::Object(document)));
    Ok(Change::of_parts(user, entry, parts))
}

/// Changes an account. `edit` sees it and its attributes under the lock and returns its new ones, or none to leave it as
/// it is; it may run again, so it must be pure.
pub async fn change(
    cx: &Cx,
    id: Uuid,
    edit: impl Fn(&User, &Map<String, Value>) -> Result<Option<Map<String, Value>>> + Send + Sync,
) -> Result<User> {
    Ok(change_listed(cx, id, false, edit).await?.user)
}

/// The same, on wish with the account's groups where the actor may see those.
pub async fn change_listed(
    cx: &Cx,
    id: Uuid,
    with_groups: bool,
    edit: impl Fn(&User, &Map<String, Value>) -> Result<Option<Map<String, Value>>> + Send + Sync,
) -> Result<Listed> {
    let edit = &edit;
    let types = types(cx).await?;
    let ty = &types.user;
    let (user, groups) = cx
        .write_at_once(move |tx| {
            Box::pin(async move {
                let (before, groups) = match tx.locks {
                    true => (live(tx, cx, id, Action::WriteUser).await?, None),
                    false => {
                        let Listed { user, groups } = one(cx, id, with_groups, Action::WriteUser).await?;
                        (user, Some(groups))
                    }
                };
                Ok(changed(tx, cx, ty, before, edit).await?.map(|user| (user, groups)))
            })
        })
        .await?;
    let groups = match groups {
        Some(groups) => groups,
        None if with_groups => groups_of(cx, id).await?,
        None => Vec::new(),
    };
    Ok(Listed { user, groups })
}

async fn changed(
    tx: &Tx<'_>,
    cx: &Cx,
    ty: &ResourceType,
    before: User,
    edit: &(impl Fn(&User, &Map<String, Value>) -> Result<Option<Map<String, Value>>> + Send + Sync),
) -> Result<Change<User>> {
    let old = before.attributes()?;
    let Some(attributes) = edit(&before, &old)? else { return Ok(Change::nothing(before)) };
    let mut document = document::normalize_from(ty, &old, attributes)?;
    complete_active(&mut document, before.active);
    let kind = match (before.active, document::active(&document).unwrap_or(before.active)) {
        (true, false) => EventKind::UserSuspended,
        (false, true) => EventKind::UserReactivated,
        _ => EventKind::UserUpdated,
    };
    if kind != EventKind::UserSuspended {
        return update(tx, ty, before, &old, document, kind);
    }
    if before.protected && cx.confined_to().is_some() {
        return Err(protection::protected());
    }
    if cx.confined_to().is_none() {
        return update(tx, ty, before, &old, document, kind);
    }
    if !tx.locks {
        let mut change = update(tx, ty, before, &old, document, kind)?;
        if let Some(main) = change.parts.first_mut() {
            main.only_if(protection::NOBODY_WATCHED);
        }
        return Ok(change);
    }
    let watch = Watch::begin(cx, tx).await?;
    let mut change = update(tx, ty, before, &old, document, kind)?;
    // The watch looks at what the change has done, so that is written now.
    change.write_now(tx).await?;
    watch.end(cx, tx).await?;
    Ok(change)
}

/// Puts `document` in the place of `old`, unless they are the same.
fn update(
    tx: &Tx<'_>,
    ty: &ResourceType,
    before: User,
    old: &Map<String, Value>,
    document: Map<String, Value>,
    kind: EventKind,
) -> Result<Change<User>> {
    if *old == document {
        return Ok(Change::nothing(before));
    }
    let owner = before.connection_id;
    rewrite(tx, ty, before, owner, old, document, kind)
}

/// Puts `document` in the place of `old`, for the same owner or a new one.
pub(super) fn rewrite(
    tx: &Tx<'_>,
    ty: &ResourceType,
    before: User,
    owner: Option<Uuid>,
    old: &Map<String, Value>,
    mut document: Map<String, Value>,
    kind: EventKind,
) -> Result<Change<User>> {
    complete_active(&mut document, before.active);
    let now = tx.now_after(Some(before.updated_at));
    let after = User {
        id: before.id,
        connection_id: owner,
        protected: before.protected,
        version: before.version + 1,
        created_at: before.created_at,
        updated_at: now,
        deleted_at: None,
        ..facts(&document, before.active)?
    };
    let set = r#""user" SET connection_id = $3, external_id = $4, user_name = $5,
        user_name_key = CASE WHEN user_name = $5 THEN user_name_key ELSE $6 END, display_name = $7,
        display_name_key = $8, active = $9, document = $10, search = $11, version = $12, updated_at = $13"#;
    let unchanged = "organization_id = $1 AND id = $2 AND version = $14 AND deleted_at IS NULL";
    let values = [
        tx.organization().into(),
        after.id.into(),
        after.connection_id.into(),
        after.external_id.clone().into(),
        after.user_name.clone().into(),
        document::fold(&after.user_name).into(),
        after.display_name.clone().into(),
        after.display_name.as_deref().map(document::fold).into(),
        after.active.into(),
        after.document.clone().into(),
        Value::Object(document::search_document(ty, &document)).into(),
        after.version.into(),
        now.into(),
        before.version.into(),
    ];
    let mut parts = vec![Part::update(set, unchanged, values)];
    if old.get("emails") != document.get("emails") {
        parts.extend(emails_changed(tx, after.id, &email_keys(old), &email_keys(&document)));
    }
    if (before.active, before.connection_id) != (after.active, after.connection_id) {
        if before.active {
            parts.push(activation_closed(tx, after.id, now));
        }
        if after.active {
            parts.push(activation_opened(tx, after.id, after.connection_id, now));
        }
    }
    if before.active && !after.active {
        parts.push(key::ended_with(tx, after.id, now));
    }
    let (was, is) = ledger::difference(old, &document);
    let entry = entry(kind, &after, Some(was), Some(is));
    Ok(Change::of_parts(after, entry, parts))
}

/// Brings a deleted account back under its own id; what it held stays closed.
pub(super) async fn revive(
    tx: &Tx<'_>,
    ty: &ResourceType,
    before: User,
    mut document: Map<String, Value>,
    kind: EventKind,
) -> Result<Change<User>> {
    complete_active(&mut document, before.active);
    let now = tx.now_after(before.deleted_at);
    let after = User {
        id: before.id,
        connection_id: before.connection_id,
        protected: before.protected,
        version: before.version + 1,
        created_at: before.created_at,
        updated_at: now,
        deleted_at: None,
        ..facts(&document, before.active)?
    };
    store(tx, ty, &after, &document).await?;
    insert_emails(tx, after.id, &document).await?;
    if after.active {
        open_activations(tx, &[after.id], after.connection_id, now).await?;
    }
    let entry = entry(kind, &after, None, Some(Value::Object(document)));
    Ok(Change::made(after, entry))
}

/// Closes an account: it is gone from every list, its name is free, and everything it held has ended. The
/// connection's policy says whether its data is purged later. `check` sees the account under the lock.
pub async fn delete(cx: &Cx, id: Uuid, check: impl Fn(&User) -> Result<()> + Send + Sync) -> Result<()> {
    let check = &check;
    cx.write(move |tx| {
        Box::pin(async move {
            let user = live(tx, cx, id, Action::WriteUser).await?;
            check(&user)?;
            if user.protected && cx.confined_to().is_some() {
                return Err(protection::protected());
            }
            let watch = Watch::begin(cx, tx).await?;
            let change = delete_in(tx, user).await?;
            watch.end(cx, tx).await?;
            Ok(change)
        })
    })
    .await
}

/// [`delete`] of an account that is locked, whoever is watched.
pub(super) async fn delete_in(tx: &Tx<'_>, user: User) -> Result<Change<()>> {
    let id = user.id;
    let now = tx.now_after(Some(user.updated_at));
    let purge_after = match user.connection_id {
        Some(owner) => {
            let connection = super::connection::unlocked(tx, owner).await?;
            let hard = connection.deletion_policy == DeletionPolicy::Hard;
            hard.then(|| now + Duration::days(connection.revival_days.into()))
        }
        None => None,
    };
    let row = user::ActiveModel {
        deleted_at: Set(Some(now)),
        updated_at: Set(now),
        purge_after: Set(purge_after),
        version: Set(user.version + 1),
        ..Default::default()
    };
    write(tx, id, row).await?;
    delete_emails(tx, id).await?;
    close_activation(tx, id, now).await?;
    super::group::renew_around(tx, &[id], now).await?;
    let memberships = close_held(tx, "membership", &[id], now).await?;
    let grants = close_held(tx, "role_grant", &[id], now).await?;
    let keys = key::end_with(tx, &[id], now).await?;
    let before = json!({
        "attributes": user.attributes()?, "memberships": memberships, "grants": grants, "apiKeysEnded": keys,
    });
    let entry = Entry { at: now, ..entry(EventKind::UserDeleted, &user, Some(before), None) };
    Ok(Change::made((), entry))
}

/// Turns an account off that is locked, whoever is watched.
pub(super) async fn suspend_in(tx: &Tx<'_>, ty: &ResourceType, user: User) -> Result<Change<User>> {
    if !user.active {
        return Ok(Change::nothing(user));
    }
    let old = user.attributes()?;
    let mut document = old.clone();
    document.insert("active".into(), false.into());
    let document = document::normalize(ty, document)?;
    update(tx, ty, user, &old, document, EventKind::UserSuspended)
}

/// Ends every open interval of these accounts in `table`; returns how many.
pub(super) async fn close_held(tx: &Tx<'_>, table: &str, users: &[Uuid], now: DateTime<Utc>) -> Result<u64> {
    let backend = tx.db.get_database_backend();
    let held = list::each_of(backend, (3, 4), table, "m", "user_id");
    let open = format!("SELECT m.organization_id, m.id FROM {held} WHERE m.until IS NULL");
    let text = format!(
        "UPDATE {table} AS r SET until = $1, closed_by = $2 {} AND r.closed_by IS NULL",
        list::where_found(backend, &open)
    );
    let values = [now.into(), tx.event.into(), tx.organization().into(), list::ids(users)];
    Ok(tx.db.execute_raw(Statement::from_sql_and_values(backend, text, values)).await?.rows_affected())
}

/// The live account `id`, locked for this write; the actor must be allowed to do `action` to it.
pub(super) async fn live(tx: &Tx<'_>, cx: &Cx, id: Uuid, action: Action) -> Result<User> {
    let query = tx.find::<user::Entity>().filter(user::Column::Id.eq(id)).filter(user::Column::DeletedAt.is_null());
    let user = locked(tx, query).await?;
    let user = user.filter(|user| cx.sees(user.connection_id)).ok_or_else(|| Error::not_found("the user"))?;
    cx.allow(action, user.connection_id)?;
    Ok(user)
}

/// The account that `query` finds, locked for this write.
pub(super) async fn locked(tx: &Tx<'_>, query: sea_orm::Select<user::Entity>) -> Result<Option<User>> {
    let query = match tx.db.get_database_backend() {
        DbBackend::Postgres => query.lock(LockType::NoKeyUpdate),
        _ => query,
    };
    Ok(query.into_partial_model::<User>().one(&tx.db).await?)
}

fn entry(kind: EventKind, user: &User, before: Option<Value>, after: Option<Value>) -> Entry {
    let subject = Subject { kind: "user", id: user.id };
    Entry {
        kind,
        subject,
        connection: user.connection_id,
        at: user.updated_at,
        before,
        after,
        population: kind.population(),
    }
}
