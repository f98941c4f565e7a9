//! Accounts: their creation, changes, suspension, deletion, and their return without their former
//! memberships and grants.

use chrono::{DateTime, Duration, Utc};
use entity::connection::DeletionPolicy;
use entity::user;
use sea_orm::sea_query::LockType;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbBackend, DerivePartialModel, QueryFilter,
    QueryOrder, QuerySelect,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

mod read;
mod row;

use crate::auth::policy::Action;
use crate::context::{Change, Cx, Tx};
use crate::domain::access::api_key;
use crate::domain::access::lockout_guard;
use crate::domain::access::lockout_guard::LastHolderGuard;
use crate::domain::directory::adoption;
use crate::domain::directory::schema_extension::resource_types;
use crate::domain::directory::search_word;
use crate::domain::interval;
use crate::domain::interval::IntervalTable;
use crate::domain::paging::ListTable;
use crate::error::{Error, Noun, Result};
use crate::identity::document;
use crate::identity::schema::ResourceType;
use crate::ledger;
use crate::ledger::{EventKind, EventSubject, NewEvent, WriteStep};

use read::find_user_with_groups;
pub use read::{
    GroupOfUser, UserQuery, UserWithGroups, count_users, get_user, get_user_with_groups,
    list_groups_of_user, list_users, search_users, sees_users, users_by_ids,
};
pub(in crate::domain) use row::write_user_columns;
use row::{
    complete_active, delete_search_keys, email_change_steps, email_keys, insert_emails,
    open_activation_step, store_user, user_from_document,
};

/// An account as the domain handles it: everything but the search copy of its document.
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
    /// A break-glass account: SCIM cannot suspend or delete it.
    pub protected: bool,
    /// The attributes, a JSON object as text.
    pub document: String,
    pub version: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub deleted_at: Option<DateTime<Utc>>,
}

const USER_COLUMNS: &str = "r.id, r.connection_id, r.external_id, r.user_name, r.display_name, \
                            r.active, r.protected, r.document, r.version, \
     r.created_at, r.updated_at, r.deleted_at";

const USER_TABLE: ListTable<User> =
    ListTable { name: "user", columns: Cow::Borrowed(USER_COLUMNS), id: |user| user.id };

impl User {
    /// The attributes, parsed.
    pub fn attributes(&self) -> Result<Map<String, Value>> {
        parse_document(&self.document)
    }

    /// One of the attributes; the others are not parsed.
    pub fn attribute(&self, name: &str) -> Result<Option<Value>> {
        let pieces: BTreeMap<String, &RawValue> = parse_document(&self.document)?;
        pieces.get(name).map(|piece| parse_document(piece.get())).transpose()
    }
}

pub(in crate::domain) fn parse_document<'a, T: Deserialize<'a>>(document: &'a str) -> Result<T> {
    serde_json::from_str(document)
        .map_err(|error| Error::Internal(format!("a stored document is damaged: {error}")))
}

/// Creates an account from `attributes`. The calling connection owns it; without a connection it
/// has no owner.
///
/// A connection that creates an account which it had before gets that account back: an inactive one
/// is reactivated, and one deleted within the connection's revival window is revived under its own
/// id, without its memberships and grants. The account is recognized by `externalId` alone, so a
/// recycled name inherits nothing. If another account has the name, the connection's adoption
/// policy decides ([`adoption`]).
///
/// # Errors
/// [`Error::Taken`] for a `userName` or `externalId` in use, [`Error::Invalid`] for attributes that
/// break the schema.
pub async fn create_user(cx: &Cx, attributes: Map<String, Value>) -> Result<User> {
    let owner = cx.confined_to();
    cx.allow(Action::WriteUser, owner)?;
    let types = resource_types(cx).await?;
    let ty = &types.user;
    let mut document = super::normalize_input(cx, ty, &Map::new(), attributes)?;
    let says_active = document.contains_key("active");
    document.entry("active").or_insert(true.into());
    match (insert_or_revive_user(cx, ty, owner, &document).await, owner) {
        (Err(Error::Taken { field: "userName" }), Some(owner)) => {
            if !says_active {
                document.remove("active");
            }
            adoption::resolve_conflict(cx, owner, ty, &document).await
        }
        (made, _) => made,
    }
}

async fn insert_or_revive_user(
    cx: &Cx,
    ty: &ResourceType,
    owner: Option<Uuid>,
    document: &Map<String, Value>,
) -> Result<User> {
    cx.write_optimistically(
        // The statement itself checks that no account has this externalId.
        move |tx| Box::pin(async move { insert_user(tx, ty, owner, document.clone()).map(Some) }),
        move |tx| Box::pin(insert_or_revive_user_in(tx, ty, owner, document)),
    )
    .await
}

async fn insert_or_revive_user_in(
    tx: &Tx<'_>,
    ty: &ResourceType,
    owner: Option<Uuid>,
    document: &Map<String, Value>,
) -> Result<Change<User>> {
    let Some(known) = find_known_user(tx, owner, document::external_id(document)).await? else {
        return insert_user(tx, ty, owner, document.clone());
    };
    match known.deleted_at {
        None if known.active => Err(Error::Taken { field: "externalId" }),
        None => {
            let active = document::active_flag(document) == Some(true);
            let kind = if active { EventKind::UserReactivated } else { EventKind::UserUpdated };
            let old = known.attributes()?;
            replace_document(tx, ty, known, &old, document.clone(), kind)
        }
        Some(_) => revive_user(tx, ty, known, document.clone(), EventKind::UserRevived).await,
    }
}

/// True where the connection `$3` has no account with the external id `$4`. Live and deleted
/// accounts have an index each; a database would scan the whole table for both at once. An OFFSET
/// keeps PostgreSQL from joining with a whole table.
const UNKNOWN_EXTERNAL_ID_SQL: &str = r#"NOT EXISTS (SELECT 1 FROM "user" k
      WHERE k.organization_id = $1 AND k.connection_id = $3 AND k.external_id = $4
      AND k.deleted_at IS NULL
      LIMIT 1 OFFSET 0)
    AND NOT EXISTS (SELECT 1 FROM "user" k
      WHERE k.organization_id = $1 AND k.connection_id = $3 AND k.external_id = $4
      AND k.deleted_at IS NOT NULL
      LIMIT 1 OFFSET 0)"#;

/// The account that `owner` means by `external_id`: a live one, or else one that may still come
/// back.
async fn find_known_user(
    tx: &Tx<'_>,
    owner: Option<Uuid>,
    external_id: Option<&str>,
) -> Result<Option<User>> {
    let (Some(owner), Some(external_id)) = (owner, external_id) else { return Ok(None) };
    // There is nearly always no such account, and one statement finds that out.
    let is_known = format!("SELECT 1 WHERE NOT ({UNKNOWN_EXTERNAL_ID_SQL})");
    let unused = sea_orm::Value::Uuid(None);
    let values = [unused, owner.into(), external_id.into()];
    if tx.db.query_one_raw(tx.statement(is_known, values)).await?.is_none() {
        return Ok(None);
    }
    let query = tx
        .find::<user::Entity>()
        .filter(user::Column::ConnectionId.eq(owner))
        .filter(user::Column::ExternalId.eq(external_id));
    let live = lock_user(tx, query.clone().filter(user::Column::DeletedAt.is_null())).await?;
    if live.is_some() {
        return Ok(live);
    }
    let deleted =
        query.filter(user::Column::DeletedAt.is_not_null()).order_by_desc(user::Column::DeletedAt);
    let Some(found) = lock_user(tx, deleted).await? else { return Ok(None) };
    let Some(deleted_at) = found.deleted_at else { return Ok(Some(found)) };
    let connection = crate::domain::connection::find_unlocked_connection(tx, owner).await?;
    let window = Duration::days(connection.revival_days.into());
    Ok((deleted_at + window > tx.now_after(None)).then_some(found))
}

/// Makes an account. In a write with locks, the caller has seen that no account has its externalId.
pub(in crate::domain) fn insert_user(
    tx: &Tx<'_>,
    ty: &ResourceType,
    owner: Option<Uuid>,
    document: Map<String, Value>,
) -> Result<Change<User>> {
    let now = tx.now_after(None);
    let user = User {
        id: Uuid::now_v7(),
        connection_id: owner,
        version: 1,
        created_at: now,
        updated_at: now,
        deleted_at: None,
        ..user_from_document(&document, true)?
    };
    let unknown = match (tx.locks, owner, &user.external_id) {
        (false, Some(_), Some(_)) => UNKNOWN_EXTERNAL_ID_SQL,
        _ => "TRUE",
    };
    let row = r#""user" (organization_id, id, connection_id, external_id, user_name, user_name_key,
        display_name, display_name_key, active, protected, document, search, version, created_at,
        updated_at)"#;
    let select = "$1, $2, $3, $4, $5, $6, $7, $8, $9, FALSE, $10, $11, $12, $13, $13";
    let values = [
        tx.organization().into(),
        user.id.into(),
        owner.into(),
        user.external_id.clone().into(),
        user.user_name.clone().into(),
        document::fold_text(&user.user_name).into(),
        user.display_name.clone().into(),
        user.display_name.as_deref().map(document::fold_text).into(),
        user.active.into(),
        user.document.clone().into(),
        Value::Object(document::search_document(ty, &document)).into(),
        user.version.into(),
        now.into(),
    ];
    let mut parts = vec![WriteStep::insert(row, select, unknown, values)];
    parts.extend(email_change_steps(tx, user.id, &BTreeSet::new(), &email_keys(&document)));
    let words = search_word::user_words(&document);
    parts.extend(search_word::word_change_steps(tx, "user", user.id, &BTreeSet::new(), &words));
    if user.active {
        parts.push(open_activation_step(tx, user.id, user.connection_id, now));
    }
    let entry = user_event(EventKind::UserCreated, &user, None, Some(Value::Object(document)));
    Ok(Change::of_parts(user, entry, parts))
}

/// Changes an account. `edit` gets the account and its attributes under the lock, and returns the
/// new attributes, or none for no change. It may run again, so it must be pure.
pub async fn change_user(
    cx: &Cx,
    id: Uuid,
    edit: impl Fn(&User, &Map<String, Value>) -> Result<Option<Map<String, Value>>> + Send + Sync,
) -> Result<User> {
    Ok(change_user_with_groups(cx, id, false, edit).await?.user)
}

/// Like [`change_user`]; `with_groups` also returns the account's groups, if the actor may see
/// them.
pub async fn change_user_with_groups(
    cx: &Cx,
    id: Uuid,
    with_groups: bool,
    edit: impl Fn(&User, &Map<String, Value>) -> Result<Option<Map<String, Value>>> + Send + Sync,
) -> Result<UserWithGroups> {
    let edit = &edit;
    let types = resource_types(cx).await?;
    let ty = &types.user;
    let (user, groups) = cx
        .write_optimistically(
            move |tx| {
                Box::pin(async move {
                    let UserWithGroups { user, groups } =
                        find_user_with_groups(cx, id, with_groups, Action::WriteUser).await?;
                    let change = prepare_change(tx, cx, ty, user, edit).await?;
                    Ok(Some(change.map(|user| (user, Some(groups)))))
                })
            },
            move |tx| {
                Box::pin(async move {
                    let user = lock_live_user(tx, cx, id, Action::WriteUser).await?;
                    let change = prepare_change(tx, cx, ty, user, edit).await?;
                    Ok(change.map(|user| (user, None)))
                })
            },
        )
        .await?;
    let groups = match groups {
        Some(groups) => groups,
        None if with_groups => list_groups_of_user(cx, id).await?,
        None => Vec::new(),
    };
    Ok(UserWithGroups { user, groups })
}

async fn prepare_change<E>(
    tx: &Tx<'_>,
    cx: &Cx,
    ty: &ResourceType,
    before: User,
    edit: &E,
) -> Result<Change<User>>
where
    E: Fn(&User, &Map<String, Value>) -> Result<Option<Map<String, Value>>> + Send + Sync,
{
    let old = before.attributes()?;
    let Some(attributes) = edit(&before, &old)? else { return Ok(Change::unchanged(before)) };
    let mut document = super::normalize_input(cx, ty, &old, attributes)?;
    complete_active(&mut document, before.active);
    let kind = match (before.active, document::active_flag(&document).unwrap_or(before.active)) {
        (true, false) => EventKind::UserSuspended,
        (false, true) => EventKind::UserReactivated,
        _ => EventKind::UserUpdated,
    };
    if kind != EventKind::UserSuspended {
        return replace_document(tx, ty, before, &old, document, kind);
    }
    if before.protected && cx.confined_to().is_some() {
        return Err(lockout_guard::protected_error());
    }
    if cx.confined_to().is_none() {
        return replace_document(tx, ty, before, &old, document, kind);
    }
    if !tx.locks {
        let mut change = replace_document(tx, ty, before, &old, document, kind)?;
        if let Some(main) = change.parts.first_mut() {
            main.only_if(lockout_guard::NO_MANAGEMENT_ROLE);
        }
        return Ok(change);
    }
    let watch = LastHolderGuard::watch_holders(cx, tx).await?;
    let mut change = replace_document(tx, ty, before, &old, document, kind)?;
    // The guard checks the state after the change, so the change is written now.
    change.write_now(tx).await?;
    watch.check_holders(cx, tx).await?;
    Ok(change)
}

/// Replaces `old` by `document`, unless they are equal.
fn replace_document(
    tx: &Tx<'_>,
    ty: &ResourceType,
    before: User,
    old: &Map<String, Value>,
    document: Map<String, Value>,
    kind: EventKind,
) -> Result<Change<User>> {
    if *old == document {
        return Ok(Change::unchanged(before));
    }
    let owner = before.connection_id;
    rewrite_user(tx, ty, before, owner, old, document, kind)
}

/// Replaces `old` by `document`, for the same owner or a new one.
pub(in crate::domain) fn rewrite_user(
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
        ..user_from_document(&document, before.active)?
    };
    let set = r#""user" SET connection_id = $3, external_id = $4, user_name = $5,
        user_name_key = CASE WHEN user_name = $5 THEN user_name_key ELSE $6 END, display_name = $7,
        display_name_key = $8, active = $9, document = $10, search = $11, version = $12,
        updated_at = $13"#;
    let unchanged = "organization_id = $1 AND id = $2 AND version = $14 AND deleted_at IS NULL";
    let values = [
        tx.organization().into(),
        after.id.into(),
        after.connection_id.into(),
        after.external_id.clone().into(),
        after.user_name.clone().into(),
        document::fold_text(&after.user_name).into(),
        after.display_name.clone().into(),
        after.display_name.as_deref().map(document::fold_text).into(),
        after.active.into(),
        after.document.clone().into(),
        Value::Object(document::search_document(ty, &document)).into(),
        after.version.into(),
        now.into(),
        before.version.into(),
    ];
    let mut parts = vec![WriteStep::update(set, unchanged, values)];
    if old.get("emails") != document.get("emails") {
        parts.extend(email_change_steps(tx, after.id, &email_keys(old), &email_keys(&document)));
    }
    let (lost, won) = (search_word::user_words(old), search_word::user_words(&document));
    parts.extend(search_word::word_change_steps(tx, "user", after.id, &lost, &won));
    if (before.active, before.connection_id) != (after.active, after.connection_id) {
        if before.active {
            parts.push(interval::close_activation_step(tx, after.id, now));
        }
        if after.active {
            parts.push(open_activation_step(tx, after.id, after.connection_id, now));
        }
    }
    if before.active && !after.active {
        parts.push(api_key::ended_with(tx, after.id, now));
    }
    let (was, is) = ledger::changed_members(old, &document);
    let entry = user_event(kind, &after, Some(was), Some(is));
    Ok(Change::of_parts(after, entry, parts))
}

/// Restores a deleted account under its own id. Its former memberships and grants stay ended.
pub(in crate::domain) async fn revive_user(
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
        ..user_from_document(&document, before.active)?
    };
    store_user(tx, ty, &after, &document).await?;
    insert_emails(tx, after.id, &document).await?;
    let words = search_word::user_words(&document);
    search_word::change_words(tx, "user", after.id, &BTreeSet::new(), &words).await?;
    if after.active {
        interval::open_activations(tx, &[after.id], after.connection_id, now).await?;
    }
    let entry = user_event(kind, &after, None, Some(Value::Object(document)));
    Ok(Change::recorded(after, entry))
}

/// Deletes an account: it is in no list any more, its name is free, and its memberships, grants and
/// API keys end. The connection's policy says whether its data is purged later. `check` gets the
/// account under the lock.
pub async fn delete_user(
    cx: &Cx,
    id: Uuid,
    check: impl Fn(&User) -> Result<()> + Send + Sync,
) -> Result<()> {
    let check = &check;
    cx.write(move |tx| {
        Box::pin(async move {
            let user = lock_live_user(tx, cx, id, Action::WriteUser).await?;
            check(&user)?;
            if user.protected && cx.confined_to().is_some() {
                return Err(lockout_guard::protected_error());
            }
            let watch = LastHolderGuard::watch_holders(cx, tx).await?;
            let change = delete_locked_user(tx, user).await?;
            watch.check_holders(cx, tx).await?;
            Ok(change)
        })
    })
    .await
}

/// [`delete_user`] for an account that is locked already, without the lockout guard.
pub(in crate::domain) async fn delete_locked_user(tx: &Tx<'_>, user: User) -> Result<Change<()>> {
    let id = user.id;
    let now = tx.now_after(Some(user.updated_at));
    let purge_after = match user.connection_id {
        Some(owner) => {
            let connection = crate::domain::connection::find_unlocked_connection(tx, owner).await?;
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
    write_user_columns(tx, id, row).await?;
    delete_search_keys(tx, id).await?;
    interval::close_of_users(tx, IntervalTable::Activation, &[id], now).await?;
    super::group::bump_versions_around(tx, &[id], now).await?;
    let memberships = interval::close_of_users(tx, IntervalTable::Membership, &[id], now).await?;
    let grants = interval::close_of_users(tx, IntervalTable::RoleGrant, &[id], now).await?;
    let keys = api_key::end_with(tx, &[id], now).await?;
    let before = json!({
        "attributes": user.attributes()?, "memberships": memberships, "grants": grants,
        "apiKeysEnded": keys,
    });
    let entry =
        NewEvent { at: now, ..user_event(EventKind::UserDeleted, &user, Some(before), None) };
    Ok(Change::recorded((), entry))
}

/// Suspends an account that is locked already, without the lockout guard.
pub(in crate::domain) async fn suspend_locked_user(
    tx: &Tx<'_>,
    ty: &ResourceType,
    user: User,
) -> Result<Change<User>> {
    if !user.active {
        return Ok(Change::unchanged(user));
    }
    let old = user.attributes()?;
    let mut document = old.clone();
    document.insert("active".into(), false.into());
    let document = document::normalize_document(ty, document)?;
    replace_document(tx, ty, user, &old, document, EventKind::UserSuspended)
}

/// The live account `id`, locked for this write; the actor must be allowed to do `action` to it.
pub(in crate::domain) async fn lock_live_user(
    tx: &Tx<'_>,
    cx: &Cx,
    id: Uuid,
    action: Action,
) -> Result<User> {
    let query = tx
        .find::<user::Entity>()
        .filter(user::Column::Id.eq(id))
        .filter(user::Column::DeletedAt.is_null());
    let user = lock_user(tx, query).await?;
    let user = user
        .filter(|user| cx.owns(user.connection_id))
        .ok_or_else(|| Error::not_found(Noun::User))?;
    cx.allow(action, user.connection_id)?;
    Ok(user)
}

/// The account that `query` finds, locked for this write.
pub(in crate::domain) async fn lock_user(
    tx: &Tx<'_>,
    query: sea_orm::Select<user::Entity>,
) -> Result<Option<User>> {
    let query = match tx.db.get_database_backend() {
        DbBackend::Postgres => query.lock(LockType::NoKeyUpdate),
        _ => query,
    };
    Ok(query.into_partial_model::<User>().one(&tx.db).await?)
}

fn user_event(
    kind: EventKind,
    user: &User,
    before: Option<Value>,
    after: Option<Value>,
) -> NewEvent {
    let subject = EventSubject { kind: "user", id: user.id };
    // An event that tells all attributes tells the name, too.
    let named = || user.display_name.as_ref().unwrap_or(&user.user_name).clone();
    let name = (!kind.brings_account_back() && kind != EventKind::UserDeleted).then(named);
    NewEvent {
        kind,
        subject,
        connection: user.connection_id,
        at: user.updated_at,
        before,
        after,
        population: kind.population_change(),
        name,
    }
}
