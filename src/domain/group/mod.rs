//! Groups: their attributes and, as deltas, their members.
//!
//! Members are never loaded to be changed: an edit names what to add and what to remove, so the cost of a
//! change depends on the change and not on the size of the group.

use chrono::{DateTime, Utc};
use entity::group;
use sea_orm::sea_query::LockType;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbBackend, DerivePartialModel, EntityTrait, QueryFilter,
    QuerySelect, Statement,
};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use uuid::Uuid;

mod members;
mod read;
mod selection;

use super::document::{self, MemberChange};
use super::extension::types;
use super::giving;
use super::list::{self, Table};
use super::mapping;
use super::protection::{self, Watch};
use super::schema::ResourceType;
use crate::authz::Action;
use crate::context::{Change, Cx, Tx};
use crate::error::{Error, Result};
use crate::ledger::{self, Entry, EventKind, INSTANT, Part, Subject};

use members::{Delta, Moved, One, apply, lock_for_nesting};
pub(super) use members::{OPEN, check_nesting, lock_organization, moved_by, open};
pub use read::{Member, by_ids, count, get, has_at_most, list, members_of, ordered, search, sees_groups};
use selection::{is_selection, resolve_selections};

/// How deep groups may stand in groups.
pub const MAX_NESTING: u32 = 16;

/// A group as the house handles it: everything but the search copy of its document, and never its members.
#[derive(Debug, Clone, PartialEq, DerivePartialModel)]
#[sea_orm(entity = "group::Entity")]
pub struct Group {
    pub id: Uuid,
    /// The owner; none = made by hand.
    pub connection_id: Option<Uuid>,
    pub external_id: Option<String>,
    pub display_name: String,
    /// The attributes without the members, a JSON object as text.
    pub document: String,
    pub version: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub deleted_at: Option<DateTime<Utc>>,
}

const COLUMNS: &str = "r.id, r.connection_id, r.external_id, r.display_name, r.document, r.version, r.created_at, \
     r.updated_at, r.deleted_at";

const TABLE: Table<Group> = Table { name: "group", columns: Cow::Borrowed(COLUMNS), id: |group| group.id };

impl Group {
    /// The attributes, parsed.
    pub fn attributes(&self) -> Result<Map<String, Value>> {
        super::user::parse(&self.document)
    }
}

/// What somebody wants of a group. Both parts together are one change.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GroupEdit {
    /// The new attributes; none = as they are.
    pub attributes: Option<Map<String, Value>>,
    /// What to do to the members, in order. Absence never means empty.
    pub members: Vec<MemberChange>,
    /// Somebody has judged the version: the edit is for that one alone.
    pub of_version: bool,
}

/// Refuses an actor that may write no group at all.
///
/// # Errors
/// [`Error::Forbidden`]
pub fn may_write(cx: &Cx) -> Result<()> {
    cx.allow(Action::WriteGroup, cx.confined_to())
}

/// Makes a group, owned by the calling connection or, for anybody else, by nobody. Role mappings that waited
/// for it bind to it.
pub async fn create(cx: &Cx, attributes: Map<String, Value>, members: Vec<String>) -> Result<Group> {
    let owner = cx.confined_to();
    cx.allow(Action::WriteGroup, owner)?;
    let types = types(cx).await?;
    let ty = &types.group;
    let document = &document::normalize(ty, attributes)?;
    let members = &[MemberChange::Add(members)];
    cx.write(move |tx| {
        Box::pin(async move {
            let delta = Delta::of(members)?;
            let organization_locked = lock_for_nesting(tx, &delta, owner).await?;
            let now = tx.now_after(None);
            let group = Group {
                id: Uuid::now_v7(),
                connection_id: owner,
                version: 1,
                created_at: now,
                updated_at: now,
                deleted_at: None,
                ..facts(document)?
            };
            let row = group::ActiveModel {
                organization_id: Set(tx.organization()),
                id: Set(group.id),
                connection_id: Set(owner),
                created_at: Set(now),
                deleted_at: Set(None),
                ..columns(ty, &group, document)
            };
            group::Entity::insert(row).exec_without_returning(&tx.db).await?;
            let moved = apply(tx, &group, &delta, organization_locked, now).await?;
            let bound = mapping::bind(tx, &group).await?;
            let mut after = document.clone();
            moved.tell(&mut Map::new(), &mut after);
            if !bound.is_empty() {
                after.insert("mappingsBound".into(), json!(bound));
            }
            let entry = entry(EventKind::GroupCreated, &group, None, Some(Value::Object(after)));
            Ok(Change::made(group, entry))
        })
    })
    .await
}

/// Changes a group. `edit` sees it under the lock; it may run again, so it must be pure.
pub async fn change(cx: &Cx, id: Uuid, edit: impl Fn(&Group) -> Result<GroupEdit> + Send + Sync) -> Result<Group> {
    let edit = &edit;
    let types = types(cx).await?;
    let ty = &types.group;
    cx.write_at_once(move |tx| {
        Box::pin(async move {
            if tx.locks {
                return change_in(cx, tx, ty, id, edit).await;
            }
            let before = live(tx, cx, id).await?;
            let edit = edit(&before)?;
            if edit.members.iter().any(is_selection) {
                return Err(tx.needs_locks());
            }
            let delta = Delta::of(&edit.members)?;
            let as_it_is = match edit.attributes {
                Some(attributes) => document::normalize(ty, attributes)? == before.attributes()?,
                None => true,
            };
            match delta.only_one() {
                // Whether somebody may be added is seen under locks, unless the actor may give any role.
                Some(One::Comes(_)) if !giving::may_give_roles(cx) => Err(tx.needs_locks()),
                Some(one) if as_it_is && !edit.of_version => Ok(one_member(tx, cx, before, one)),
                None if as_it_is && delta.is_empty() => Ok(Change::nothing(before)),
                _ => Err(tx.needs_locks()),
            }
        })
    })
    .await
}

pub(super) async fn change_in(
    cx: &Cx,
    tx: &Tx<'_>,
    ty: &ResourceType,
    id: Uuid,
    edit: &(impl Fn(&Group) -> Result<GroupEdit> + Send + Sync),
) -> Result<Change<Group>> {
    let before = live(tx, cx, id).await?;
    let edit = edit(&before)?;
    let delta = Delta::of(&resolve_selections(tx, ty, id, edit.members).await?)?;
    let organization_locked = lock_for_nesting(tx, &delta, before.connection_id).await?;
    let now = tx.now_after(Some(before.updated_at));
    let old = before.attributes()?;
    let document = match edit.attributes {
        Some(attributes) => document::normalize(ty, attributes)?,
        None => old.clone(),
    };
    let watch = match delta.takes_away() {
        true => Some(Watch::begin(cx, tx).await?),
        false => None,
    };
    let moved = apply(tx, &before, &delta, organization_locked, now).await?;
    if let Some(watch) = watch {
        protection::spare(cx, tx, &moved.removed).await?;
        watch.end(cx, tx).await?;
    }
    if !moved.added.is_empty() {
        giving::check_group(cx, tx, id).await?;
    }
    if old == document && moved.is_empty() {
        return Ok(Change::nothing(before));
    }
    let after = Group {
        id: before.id,
        connection_id: before.connection_id,
        version: before.version + 1,
        created_at: before.created_at,
        updated_at: now,
        deleted_at: None,
        ..facts(&document)?
    };
    let row = match old == document {
        false => columns(ty, &after, &document),
        true => group::ActiveModel { version: Set(after.version), updated_at: Set(now), ..Default::default() },
    };
    write(tx, id, row).await?;
    let (mut was, mut is) = (Map::new(), Map::new());
    let mut kind = EventKind::GroupMembersChanged;
    if old != document {
        kind = EventKind::GroupUpdated;
        if let (Value::Object(before), Value::Object(after)) = ledger::difference(&old, &document) {
            (was, is) = (before, after);
        }
        let bound = mapping::bind(tx, &after).await?;
        giving::check_bound(cx, &bound)?;
        if !bound.is_empty() {
            is.insert("mappingsBound".into(), json!(bound));
        }
    }
    moved.tell(&mut was, &mut is);
    let entry = entry(kind, &after, Some(Value::Object(was)), Some(Value::Object(is)));
    Ok(Change::made(after, entry))
}

/// The open interval of the user `$3` in the group `$2`, for FROM, on PostgreSQL: looked up by the index of what is open.
const OPEN_MEMBERSHIP: &str = "LATERAL (SELECT m.organization_id, m.id FROM membership m WHERE m.organization_id = $1 \
     AND m.group_id = $2 AND m.user_id = $3 AND m.until IS NULL AND m.since > '-infinity' OFFSET 0) AS open";

/// One user comes or goes, which is nearly all that happens to groups. Whoever else changes the group meanwhile does not
/// matter; whether the user is one that can come or go is found out by the statement that writes.
fn one_member(tx: &Tx<'_>, cx: &Cx, before: Group, one: One) -> Change<Group> {
    let now = tx.now_after(Some(before.updated_at));
    let (user, come) = match one {
        One::Comes(user) => (user, true),
        One::Goes(user) => (user, false),
    };
    let ids = |more: &[sea_orm::Value]| {
        let ids: [sea_orm::Value; 3] = [tx.organization().into(), before.id.into(), user.into()];
        ids.into_iter().chain(more.iter().cloned()).collect::<Vec<_>>()
    };
    let member = "EXISTS (SELECT 1 FROM membership m WHERE m.organization_id = $1 AND m.group_id = $2 AND m.user_id = $5 AND m.until IS NULL \
         AND m.since > '-infinity' LIMIT 1 OFFSET 0)";
    let (condition, moved) = if come {
        // Share-locked, so that nobody is deleted while being added; before the group, as whoever deletes does it.
        let condition = format!(
            r#"NOT {member} AND EXISTS (SELECT 1 FROM "user" r WHERE r.organization_id = $1 AND r.id = $5 AND r.deleted_at IS NULL
                 AND ($3 IS NULL OR r.connection_id = $3) FOR SHARE)"#
        );
        let row = "membership (organization_id, id, group_id, user_id, since, opened_by)";
        let select = format!("$1, $4, $2, $3, {INSTANT}, $5");
        (condition, Part::insert(row, &select, "TRUE", ids(&[Uuid::now_v7().into(), tx.event.into()])))
    } else {
        let mut condition = member.to_owned();
        if cx.confined_to().is_some() {
            let protected = r#"EXISTS (SELECT 1 FROM "user" r WHERE r.organization_id = $1 AND r.id = $5 AND r.protected = TRUE LIMIT 1 OFFSET 0)"#;
            condition.push_str(&format!(" AND NOT {protected} AND {}", protection::NOBODY_WATCHED));
        }
        let set = format!("membership AS r SET until = {INSTANT}, closed_by = $4");
        let open = "r.organization_id = ANY(ARRAY[open.organization_id]) AND r.id = open.id AND r.until IS NULL";
        (condition, Part::update(&set, open, ids(&[tx.event.into()])).from(OPEN_MEMBERSHIP).that_must_touch())
    };
    let values = vec![tx.organization().into(), before.id.into(), before.connection_id.into(), now.into(), user.into()];
    let main = Part::count(r#""group""#, condition, values, user);
    let after = Group { updated_at: now, ..before };
    let (mut was, mut is) = (Map::new(), Map::new());
    Moved::of(one).tell(&mut was, &mut is);
    let entry = entry(EventKind::GroupMembersChanged, &after, Some(Value::Object(was)), Some(Value::Object(is)));
    Change::of_parts(after, entry, vec![main, moved]).settled_by(|group, written| {
        (group.version, group.updated_at) = (written.version, written.at);
    })
}

/// Removes a group: it is gone from every list, and its memberships, nestings and mappings have ended; each
/// closed interval names the event, so that all of it can be brought back.
pub async fn delete(cx: &Cx, id: Uuid, check: impl Fn(&Group) -> Result<()> + Send + Sync) -> Result<()> {
    let check = &check;
    cx.write(move |tx| Box::pin(delete_in(cx, tx, id, check))).await
}

pub(super) async fn delete_in(
    cx: &Cx,
    tx: &Tx<'_>,
    id: Uuid,
    check: &(impl Fn(&Group) -> Result<()> + Send + Sync),
) -> Result<Change<()>> {
    let group = live(tx, cx, id).await?;
    check(&group)?;
    let now = tx.now_after(Some(group.updated_at));
    let row = group::ActiveModel {
        deleted_at: Set(Some(now)),
        updated_at: Set(now),
        version: Set(group.version + 1),
        ..Default::default()
    };
    protection::spare_members(cx, tx, id).await?;
    let watch = Watch::begin(cx, tx).await?;
    write(tx, id, row).await?;
    renew_around(tx, &[id], now).await?;
    let memberships = close_all(tx, "membership", "group_id = $4 AND since > '-infinity'", id, now).await?;
    let inner = close_all(tx, "group_nesting", "group_id = $4 AND since > '-infinity'", id, now).await?;
    let nestings = inner + close_all(tx, "group_nesting", "member_id = $4", id, now).await?;
    let mappings = close_all(tx, "role_mapping", "group_id = $4", id, now).await?;
    watch.end(cx, tx).await?;
    let before = json!({
        "attributes": group.attributes()?, "memberships": memberships, "nestings": nestings, "mappings": mappings,
    });
    let entry = Entry { at: now, ..entry(EventKind::GroupDeleted, &group, Some(before), None) };
    Ok(Change::made((), entry))
}

/// Gives every group that one of `members`, users or groups, is about to leave a new version: what clients have of it
/// is no longer so. Called before the intervals are closed.
pub(super) async fn renew_around(tx: &Tx<'_>, members: &[Uuid], now: DateTime<Utc>) -> Result<()> {
    let backend = tx.db.get_database_backend();
    let direct = list::each_of(backend, (2, 3), "membership", "m", "user_id");
    let nested = list::each_of(backend, (2, 3), "group_nesting", "n", "member_id");
    let around = format!(
        "(SELECT m.group_id FROM {direct} WHERE m.until IS NULL \
          UNION SELECT n.group_id FROM {nested} WHERE n.until IS NULL ORDER BY 1) AS around"
    );
    let condition = "g.organization_id = $2 AND g.id = around.group_id AND g.deleted_at IS NULL";
    let group = match backend {
        // Locked in one order, so that two leavers of the same groups do not wait for each other.
        DbBackend::Postgres => format!(
            r#"CROSS JOIN LATERAL (SELECT g.* FROM "group" g WHERE {condition} OFFSET 0 FOR NO KEY UPDATE) AS g"#
        ),
        _ => list::each(backend, "group", "g", condition),
    };
    let found = format!("SELECT g.organization_id, g.id FROM {around} {group}");
    let text = format!(
        r#"UPDATE "group" AS r SET version = version + 1,
             updated_at = CASE WHEN updated_at > $1 THEN updated_at ELSE $1 END {}"#,
        list::where_found(backend, &found)
    );
    let values = [now.into(), tx.organization().into(), list::ids(members)];
    tx.db.execute_raw(Statement::from_sql_and_values(backend, text, values)).await?;
    Ok(())
}

async fn close_all(tx: &Tx<'_>, table: &str, which: &str, id: Uuid, now: DateTime<Utc>) -> Result<u64> {
    let statement = Statement::from_sql_and_values(
        tx.db.get_database_backend(),
        format!(
            "UPDATE {table} SET until = $1, closed_by = $2 WHERE organization_id = $3 AND {which} AND until IS NULL"
        ),
        [now.into(), tx.event.into(), tx.organization().into(), id.into()],
    );
    Ok(tx.db.execute_raw(statement).await?.rows_affected())
}

/// The live group `id`, locked for this write; the actor must be allowed to change it.
async fn live(tx: &Tx<'_>, cx: &Cx, id: Uuid) -> Result<Group> {
    let query = tx.find::<group::Entity>().filter(group::Column::Id.eq(id)).filter(group::Column::DeletedAt.is_null());
    let group = match tx.db.get_database_backend() {
        _ if !tx.locks => list::one(cx, &TABLE, id).await?,
        DbBackend::Postgres => query.lock(LockType::NoKeyUpdate).into_partial_model::<Group>().one(&tx.db).await?,
        _ => query.into_partial_model::<Group>().one(&tx.db).await?,
    };
    let group = group.filter(|group| cx.sees(group.connection_id)).ok_or_else(|| Error::not_found("the group"))?;
    cx.allow(Action::WriteGroup, group.connection_id)?;
    Ok(group)
}

/// What the columns repeat of a document.
fn facts(document: &Map<String, Value>) -> Result<Group> {
    let name = document::display_name(document).ok_or_else(|| Error::invalid("displayName", "is required"))?;
    Ok(Group {
        id: Uuid::nil(),
        connection_id: None,
        external_id: document::external_id(document).map(Into::into),
        display_name: name.into(),
        document: serde_json::to_string(document).map_err(|error| Error::Internal(error.to_string()))?,
        version: 0,
        created_at: DateTime::UNIX_EPOCH,
        updated_at: DateTime::UNIX_EPOCH,
        deleted_at: None,
    })
}

/// The columns that follow from a document and its version.
fn columns(ty: &ResourceType, group: &Group, document: &Map<String, Value>) -> group::ActiveModel {
    group::ActiveModel {
        external_id: Set(group.external_id.clone()),
        display_name: Set(group.display_name.clone()),
        display_name_key: Set(document::fold(&group.display_name)),
        document: Set(group.document.clone()),
        search: Set(Value::Object(document::search_document(ty, document))),
        version: Set(group.version),
        updated_at: Set(group.updated_at),
        ..Default::default()
    }
}

pub(super) async fn write(tx: &Tx<'_>, id: Uuid, row: group::ActiveModel) -> Result<()> {
    group::Entity::update_many()
        .set(row)
        .filter(group::Column::OrganizationId.eq(tx.organization()))
        .filter(group::Column::Id.eq(id))
        .exec(&tx.db)
        .await?;
    Ok(())
}

fn entry(kind: EventKind, group: &Group, before: Option<Value>, after: Option<Value>) -> Entry {
    let subject = Subject { kind: "group", id: group.id };
    Entry {
        kind,
        subject,
        connection: group.connection_id,
        at: group.updated_at,
        before,
        after,
        population: kind.population(),
    }
}
