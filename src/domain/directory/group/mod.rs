//! Groups: their attributes and, as deltas, their members.
//!
//! Members are never loaded for a change: an edit names the members to add and to remove, so the
//! cost of a change depends on the change and not on the size of the group.

use chrono::{DateTime, Utc};
use entity::group;
use sea_orm::sea_query::LockType;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbBackend, DerivePartialModel, EntityTrait,
    QueryFilter, QuerySelect,
};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::BTreeSet;
use uuid::Uuid;

pub(in crate::domain) mod binding;
mod members;
mod read;
pub mod restore;
mod selection;

use crate::auth::policy::Action;
use crate::context::{Change, Cx, Tx};
use crate::domain::access::giving;
use crate::domain::access::lockout_guard;
use crate::domain::access::lockout_guard::LastHolderGuard;
use crate::domain::access::role_mapping;
use crate::domain::directory::schema_extension::resource_types;
use crate::domain::directory::search_word;
use crate::domain::interval;
use crate::domain::interval::{IntervalTable, MemberKind};
use crate::domain::paging;
use crate::domain::paging::ListTable;
use crate::error::{Error, Noun, Result};
use crate::identity::document;
use crate::identity::document::MemberChange;
use crate::identity::schema::ResourceType;
use crate::ledger;
use crate::ledger::{EventKind, EventSubject, NewEvent, WriteStep};

use members::{
    AppliedMemberDelta, MemberDelta, SingleMemberChange, apply_delta, can_be_member,
    lock_for_nesting,
};
pub(in crate::domain) use members::{check_nesting, lock_organization, moved_member_ids};
pub use read::{
    GroupQuery, NamedMember, count_groups, find_members_of_groups, get_group, groups_by_ids,
    has_at_most_users, list_groups, search_groups, sees_groups,
};
use selection::{is_selection, resolve_selections};

/// A group as the domain handles it: everything but the search copy of its document, and never its
/// members.
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

const GROUP_COLUMNS: &str = "r.id, r.connection_id, r.external_id, r.display_name, r.document, \
                             r.version, r.created_at, \
     r.updated_at, r.deleted_at";

const GROUP_TABLE: ListTable<Group> =
    ListTable { name: "group", columns: Cow::Borrowed(GROUP_COLUMNS), id: |group| group.id };

impl Group {
    /// The attributes, parsed.
    pub fn attributes(&self) -> Result<Map<String, Value>> {
        super::user::parse_document(&self.document)
    }
}

/// A wanted change of a group: attributes and members together are one change.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GroupEdit {
    /// The new attributes; none = as they are.
    pub attributes: Option<Map<String, Value>>,
    /// What to do to the members, in order. Absence never means empty.
    pub members: Vec<MemberChange>,
    /// The client named a version (a precondition): the edit is for that version alone.
    pub of_version: bool,
}

/// Refuses an actor that may write no group at all.
///
/// # Errors
/// [`Error::Forbidden`]
pub fn check_may_write_groups(cx: &Cx) -> Result<()> {
    cx.allow(Action::WriteGroup, cx.confined_to())
}

/// Creates a group. The calling connection owns it; without a connection it has no owner. Role
/// mappings that waited for it bind to it.
pub async fn create_group(
    cx: &Cx,
    attributes: Map<String, Value>,
    members: Vec<String>,
) -> Result<Group> {
    let owner = cx.confined_to();
    cx.allow(Action::WriteGroup, owner)?;
    let types = resource_types(cx).await?;
    let ty = &types.group;
    let document = &super::normalize_input(cx, ty, &Map::new(), attributes)?;
    let members = &[MemberChange::Add(members)];
    cx.write(move |tx| Box::pin(create_group_in(tx, ty, Uuid::now_v7(), owner, document, members)))
        .await
}

/// [`create_group`] inside a write that does more; `document` is canonical.
pub(in crate::domain) async fn create_group_in(
    tx: &Tx<'_>,
    ty: &ResourceType,
    id: Uuid,
    owner: Option<Uuid>,
    document: &Map<String, Value>,
    members: &[MemberChange],
) -> Result<Change<Group>> {
    let delta = MemberDelta::wanted_by(owner, members)?;
    let organization_locked = lock_for_nesting(tx, &delta, owner).await?;
    let now = tx.now_after(None);
    let group = Group {
        id,
        connection_id: owner,
        version: 1,
        created_at: now,
        updated_at: now,
        deleted_at: None,
        ..group_from_document(document)?
    };
    let row = group::ActiveModel {
        organization_id: Set(tx.organization()),
        id: Set(group.id),
        connection_id: Set(owner),
        created_at: Set(now),
        deleted_at: Set(None),
        ..document_columns(ty, &group, document)
    };
    group::Entity::insert(row).exec_without_returning(&tx.db).await?;
    let words = search_word::group_words(document);
    search_word::change_words(tx, "group", group.id, &BTreeSet::new(), &words).await?;
    let moved = apply_delta(tx, &group, &delta, organization_locked, now).await?;
    let bound = role_mapping::bind_waiting_mappings(tx, &group).await?;
    let mut after = document.clone();
    moved.record_in_payload(&mut Map::new(), &mut after);
    if !bound.is_empty() {
        after.insert("mappingsBound".into(), json!(bound));
    }
    let entry = group_event(EventKind::GroupCreated, &group, None, Some(Value::Object(after)));
    Ok(Change::recorded(group, entry))
}

/// Changes a group. `edit` gets the group under the lock; it may run again, so it must be pure.
pub async fn change_group(
    cx: &Cx,
    id: Uuid,
    edit: impl Fn(&Group) -> Result<GroupEdit> + Send + Sync,
) -> Result<Group> {
    let edit = &edit;
    let types = resource_types(cx).await?;
    let ty = &types.group;
    cx.write_optimistically(
        move |tx| Box::pin(prepare_small_change(cx, tx, ty, id, edit)),
        move |tx| Box::pin(change_group_in(cx, tx, ty, id, edit)),
    )
    .await
}

/// A change that needs no lock: nothing, or one member that comes or goes. None for every other.
async fn prepare_small_change(
    cx: &Cx,
    tx: &Tx<'_>,
    ty: &ResourceType,
    id: Uuid,
    edit: &(impl Fn(&Group) -> Result<GroupEdit> + Send + Sync),
) -> Result<Option<Change<Group>>> {
    let before = lock_live_group(tx, cx, id).await?;
    let edit = edit(&before)?;
    if edit.members.iter().any(is_selection) {
        return Ok(None);
    }
    let delta = MemberDelta::from_changes(&edit.members)?;
    if let Some(attributes) = edit.attributes
        && document::normalize_document(ty, attributes)? != before.attributes()?
    {
        return Ok(None);
    }
    if delta.is_empty() {
        return Ok(Some(Change::unchanged(before)));
    }
    let Some(one) = delta.single_change().filter(|_| !edit.of_version) else { return Ok(None) };
    // Whether the actor may add a member is checked under locks, unless the actor may give any
    // role.
    let needs_check =
        matches!(one, SingleMemberChange::Comes(_)) && !giving::may_give_every_role(cx);
    Ok((!needs_check).then(|| change_one_member(tx, cx, before, one)))
}

pub(in crate::domain) async fn change_group_in(
    cx: &Cx,
    tx: &Tx<'_>,
    ty: &ResourceType,
    id: Uuid,
    edit: &(impl Fn(&Group) -> Result<GroupEdit> + Send + Sync),
) -> Result<Change<Group>> {
    let before = lock_live_group(tx, cx, id).await?;
    let edit = edit(&before)?;
    let changes = resolve_selections(tx, ty, id, edit.members).await?;
    let delta = MemberDelta::wanted_by(cx.confined_to(), &changes)?;
    let organization_locked = lock_for_nesting(tx, &delta, before.connection_id).await?;
    let now = tx.now_after(Some(before.updated_at));
    let old = before.attributes()?;
    let document = match edit.attributes {
        Some(attributes) => super::normalize_input(cx, ty, &Map::new(), attributes)?,
        None => old.clone(),
    };
    let watch = if delta.removes_members() {
        Some(LastHolderGuard::watch_holders(cx, tx).await?)
    } else {
        None
    };
    let moved = apply_delta(tx, &before, &delta, organization_locked, now).await?;
    if let Some(watch) = watch {
        lockout_guard::refuse_if_protected(cx, tx, &moved.removed).await?;
        watch.check_holders(cx, tx).await?;
    }
    if !moved.added.is_empty() {
        giving::check_group(cx, tx, id).await?;
    }
    if old == document && moved.is_empty() {
        return Ok(Change::unchanged(before));
    }
    let after = Group {
        id: before.id,
        connection_id: before.connection_id,
        version: before.version + 1,
        created_at: before.created_at,
        updated_at: now,
        deleted_at: None,
        ..group_from_document(&document)?
    };
    let row = if old == document {
        group::ActiveModel {
            version: Set(after.version),
            updated_at: Set(now),
            ..Default::default()
        }
    } else {
        document_columns(ty, &after, &document)
    };
    write_group_columns(tx, id, row).await?;
    let (kind, mut was, mut is) = if old == document {
        (EventKind::GroupMembersChanged, Map::new(), Map::new())
    } else {
        let (was, is) = follow_document(cx, tx, &after, &old, &document).await?;
        (EventKind::GroupUpdated, was, is)
    };
    moved.record_in_payload(&mut was, &mut is);
    let entry = group_event(kind, &after, Some(Value::Object(was)), Some(Value::Object(is)));
    Ok(Change::recorded(after, entry))
}

/// Changes what follows from a group's document: its search words, and the role mappings that wait
/// for such a group. Returns the changed values before and after.
async fn follow_document(
    cx: &Cx,
    tx: &Tx<'_>,
    after: &Group,
    old: &Map<String, Value>,
    document: &Map<String, Value>,
) -> Result<(Map<String, Value>, Map<String, Value>)> {
    let (mut was, mut is) = (Map::new(), Map::new());
    let (lost, won) = (search_word::group_words(old), search_word::group_words(document));
    search_word::change_words(tx, "group", after.id, &lost, &won).await?;
    if let (Value::Object(before), Value::Object(after)) = ledger::changed_members(old, document) {
        (was, is) = (before, after);
    }
    let bound = role_mapping::bind_waiting_mappings(tx, after).await?;
    giving::check_bound(cx, tx, &bound).await?;
    if !bound.is_empty() {
        is.insert("mappingsBound".into(), json!(bound));
    }
    Ok((was, is))
}

/// Adds or removes one user, which is the most frequent change of groups. It needs no lock: other
/// changes of the group at the same time do not matter, and the statement that writes also checks
/// whether the user can be added or removed.
fn change_one_member(
    tx: &Tx<'_>,
    cx: &Cx,
    before: Group,
    one: SingleMemberChange,
) -> Change<Group> {
    let now = tx.now_after(Some(before.updated_at));
    let (user, come) = match one {
        SingleMemberChange::Comes(user) => (user, true),
        SingleMemberChange::Goes(user) => (user, false),
    };
    let member = format!(
        "EXISTS (SELECT 1 FROM membership m WHERE m.organization_id = $1 AND m.group_id = $2 \
         AND m.user_id = $5 AND {} LIMIT 1 OFFSET 0)",
        interval::is_open_in_group("m")
    );
    let (condition, moved) = if come {
        // Share-locked, so that the user is not deleted while being added; before the group, in the
        // same order as a deletion locks them.
        let condition = format!(
            r#"NOT {member} AND EXISTS (SELECT 1 FROM "user" r WHERE r.organization_id = $1
               AND r.id = $5 AND {} FOR SHARE)"#,
            can_be_member("$3")
        );
        let key = [("group_id", before.id.into()), ("user_id", user.into())];
        (condition, interval::open_step(tx, IntervalTable::Membership, key, None))
    } else {
        let mut condition = member;
        if cx.confined_to().is_some() {
            condition.push_str(" AND ");
            condition.push_str(&lockout_guard::nothing_to_guard("$5"));
        }
        (condition, interval::close_membership_step(tx, before.id, user))
    };
    let values = vec![
        tx.organization().into(),
        before.id.into(),
        before.connection_id.into(),
        now.into(),
        user.into(),
    ];
    let main = WriteStep::bump_version(r#""group""#, condition, values, user);
    let after = Group { updated_at: now, ..before };
    let (mut was, mut is) = (Map::new(), Map::new());
    AppliedMemberDelta::from_single_change(one).record_in_payload(&mut was, &mut is);
    let entry = group_event(
        EventKind::GroupMembersChanged,
        &after,
        Some(Value::Object(was)),
        Some(Value::Object(is)),
    );
    Change::of_parts(after, entry, vec![main, moved]).settled_by(|group, written| {
        (group.version, group.updated_at) = (written.version, written.at);
    })
}

/// Deletes a group: it is in no list any more, and its memberships, nestings and mappings end. Each
/// closed interval names the event, so that all of it can be restored.
pub async fn delete_group(
    cx: &Cx,
    id: Uuid,
    check: impl Fn(&Group) -> Result<()> + Send + Sync,
) -> Result<()> {
    let check = &check;
    cx.write(move |tx| Box::pin(delete_group_in(cx, tx, id, check))).await
}

pub(in crate::domain) async fn delete_group_in(
    cx: &Cx,
    tx: &Tx<'_>,
    id: Uuid,
    check: &(impl Fn(&Group) -> Result<()> + Send + Sync),
) -> Result<Change<()>> {
    let group = lock_live_group(tx, cx, id).await?;
    check(&group)?;
    let now = tx.now_after(Some(group.updated_at));
    let row = group::ActiveModel {
        deleted_at: Set(Some(now)),
        updated_at: Set(now),
        version: Set(group.version + 1),
        ..Default::default()
    };
    lockout_guard::spare_members(cx, tx, id).await?;
    let watch = LastHolderGuard::watch_holders(cx, tx).await?;
    write_group_columns(tx, id, row).await?;
    search_word::delete_words(tx, "group", id).await?;
    bump_versions_around(tx, &[id], now).await?;
    let memberships = interval::close_all_members(tx, MemberKind::User, id, now).await?;
    let inner = interval::close_all_members(tx, MemberKind::Group, id, now).await?;
    let nestings = inner
        + interval::close_where(tx, IntervalTable::GroupNesting, "member_id = $4", id, now).await?;
    let mappings =
        interval::close_where(tx, IntervalTable::RoleMapping, "group_id = $4", id, now).await?;
    watch.check_holders(cx, tx).await?;
    let before = json!({
        "attributes": group.attributes()?, "memberships": memberships, "nestings": nestings,
        "mappings": mappings,
    });
    let entry =
        NewEvent { at: now, ..group_event(EventKind::GroupDeleted, &group, Some(before), None) };
    Ok(Change::recorded((), entry))
}

/// Gives a new version to every group that contains one of `members` (users or groups), because
/// those are about to leave it: cached representations are no longer right. Called before the
/// intervals are closed.
pub(in crate::domain) async fn bump_versions_around(
    tx: &Tx<'_>,
    members: &[Uuid],
    now: DateTime<Utc>,
) -> Result<()> {
    let backend = tx.db.get_database_backend();
    let direct = paging::each_of(backend, (1, 3), "membership", "m", "user_id");
    let nested = paging::each_of(backend, (1, 3), "group_nesting", "n", "member_id");
    let around = format!(
        "(SELECT m.group_id FROM {direct} WHERE m.until IS NULL \
          UNION SELECT n.group_id FROM {nested} WHERE n.until IS NULL ORDER BY 1) AS around"
    );
    let condition = "g.organization_id = $1 AND g.id = around.group_id AND g.deleted_at IS NULL";
    let group = match backend {
        // Locked in one order, so that two deletions of members of the same groups do not deadlock.
        DbBackend::Postgres => format!(
            r#"CROSS JOIN LATERAL (SELECT g.* FROM "group" g
               WHERE {condition} OFFSET 0 FOR NO KEY UPDATE) AS g"#
        ),
        _ => paging::join_each(backend, "group", "g", condition),
    };
    let found = format!("SELECT g.organization_id, g.id FROM {around} {group}");
    let text = format!(
        r#"UPDATE "group" AS r SET version = version + 1,
             updated_at = CASE WHEN updated_at > $2 THEN updated_at ELSE $2 END {}"#,
        paging::where_found(backend, &found)
    );
    tx.db.execute_raw(tx.statement(text, [now.into(), paging::bind_ids(members)])).await?;
    Ok(())
}

/// The live group `id`, locked for this write; the actor must be allowed to change it.
async fn lock_live_group(tx: &Tx<'_>, cx: &Cx, id: Uuid) -> Result<Group> {
    let query = tx
        .find::<group::Entity>()
        .filter(group::Column::Id.eq(id))
        .filter(group::Column::DeletedAt.is_null());
    let group = match tx.db.get_database_backend() {
        _ if !tx.locks => paging::find_live(cx, &GROUP_TABLE, id).await?,
        DbBackend::Postgres => {
            query.lock(LockType::NoKeyUpdate).into_partial_model::<Group>().one(&tx.db).await?
        }
        _ => query.into_partial_model::<Group>().one(&tx.db).await?,
    };
    let group = group
        .filter(|group| cx.owns(group.connection_id))
        .ok_or_else(|| Error::not_found(Noun::Group))?;
    cx.allow(Action::WriteGroup, group.connection_id)?;
    Ok(group)
}

/// The group with the columns that repeat parts of its document.
fn group_from_document(document: &Map<String, Value>) -> Result<Group> {
    let name = document::display_name(document)
        .ok_or_else(|| Error::invalid("displayName", "is required"))?;
    Ok(Group {
        id: Uuid::nil(),
        connection_id: None,
        external_id: document::external_id(document).map(Into::into),
        display_name: name.into(),
        document: serde_json::to_string(document)
            .map_err(|error| Error::Internal(error.to_string()))?,
        version: 0,
        created_at: DateTime::UNIX_EPOCH,
        updated_at: DateTime::UNIX_EPOCH,
        deleted_at: None,
    })
}

/// The columns that follow from a document and its version.
fn document_columns(
    ty: &ResourceType,
    group: &Group,
    document: &Map<String, Value>,
) -> group::ActiveModel {
    group::ActiveModel {
        external_id: Set(group.external_id.clone()),
        display_name: Set(group.display_name.clone()),
        display_name_key: Set(document::fold_text(&group.display_name)),
        document: Set(group.document.clone()),
        search: Set(Value::Object(document::search_document(ty, document))),
        version: Set(group.version),
        updated_at: Set(group.updated_at),
        ..Default::default()
    }
}

pub(in crate::domain) async fn write_group_columns(
    tx: &Tx<'_>,
    id: Uuid,
    row: group::ActiveModel,
) -> Result<()> {
    group::Entity::update_many()
        .set(row)
        .filter(group::Column::OrganizationId.eq(tx.organization()))
        .filter(group::Column::Id.eq(id))
        .exec(&tx.db)
        .await?;
    Ok(())
}

fn group_event(
    kind: EventKind,
    group: &Group,
    before: Option<Value>,
    after: Option<Value>,
) -> NewEvent {
    let subject = EventSubject { kind: "group", id: group.id };
    NewEvent {
        kind,
        subject,
        connection: group.connection_id,
        at: group.updated_at,
        before,
        after,
        population: kind.population_change(),
        name: Some(group.display_name.clone()),
    }
}
