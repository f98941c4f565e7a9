//! Groups: their attributes and, as deltas, their members.
//!
//! Members are never loaded to be changed: an edit names what to add and what to remove, so the cost of a
//! change depends on the change and not on the size of the group.

use chrono::{DateTime, Utc};
use entity::{group, organization};
use sea_orm::sea_query::LockType;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbBackend, DerivePartialModel, EntityTrait, FromQueryResult,
    QueryFilter, QuerySelect, Statement,
};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use uuid::Uuid;

use super::document::{self, MemberChange};
use super::event::Owners;
use super::extension::types;
use super::list::{self, Found, Keyset, Query, Slice, Table};
use super::mapping;
use super::order::{By, Place};
use super::protection::{self, Watch};
use super::schema::ResourceType;
use super::search::Filter;
use crate::authz::Action;
use crate::context::{Change, Cx, Tx};
use crate::error::{Error, Result};
use crate::ledger::{self, Entry, INSTANT, Part, Subject};

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
            let entry = entry("group.created", &group, None, Some(Value::Object(after)));
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
            let delta = Delta::of(&edit.members)?;
            let as_it_is = match edit.attributes {
                Some(attributes) => document::normalize(ty, attributes)? == before.attributes()?,
                None => true,
            };
            match delta.only_one() {
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
    let delta = Delta::of(&edit.members)?;
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
    let mut action = "group.members_changed";
    if old != document {
        action = "group.updated";
        if let (Value::Object(before), Value::Object(after)) = ledger::difference(&old, &document) {
            (was, is) = (before, after);
        }
        let bound = mapping::bind(tx, &after).await?;
        if !bound.is_empty() {
            is.insert("mappingsBound".into(), json!(bound));
        }
    }
    moved.tell(&mut was, &mut is);
    let entry = entry(action, &after, Some(Value::Object(was)), Some(Value::Object(is)));
    Ok(Change::made(after, entry))
}

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
    let member = "EXISTS (SELECT 1 FROM membership m WHERE m.organization_id = $1 AND m.group_id = $2 AND m.user_id = $5 AND m.until IS NULL)";
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
            let protected =
                r#"EXISTS (SELECT 1 FROM "user" r WHERE r.organization_id = $1 AND r.id = $5 AND r.protected = TRUE)"#;
            condition.push_str(&format!(" AND NOT {protected} AND {}", protection::NOBODY_WATCHED));
        }
        let set = format!("membership SET until = {INSTANT}, closed_by = $4");
        let open = "organization_id = $1 AND group_id = $2 AND user_id = $3 AND until IS NULL";
        (condition, Part::update(&set, open, ids(&[tx.event.into()])).that_must_touch())
    };
    let values =
        vec![tx.organization().into(), before.id.into(), before.connection_id.into(), now.into(), user.into()];
    let main = Part::count(r#""group""#, condition, values, user);
    let after = Group { updated_at: now, ..before };
    let (mut was, mut is) = (Map::new(), Map::new());
    Moved::of(one).tell(&mut was, &mut is);
    let entry = entry("group.members_changed", &after, Some(Value::Object(was)), Some(Value::Object(is)));
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
    let memberships = close_all(tx, "membership", "group_id = $4", id, now).await?;
    let nestings = close_all(tx, "group_nesting", "(group_id = $4 OR member_id = $4)", id, now).await?;
    let mappings = close_all(tx, "role_mapping", "group_id = $4", id, now).await?;
    watch.end(cx, tx).await?;
    let before = json!({
        "attributes": group.attributes()?, "memberships": memberships, "nestings": nestings, "mappings": mappings,
    });
    let entry = Entry { at: now, ..entry("group.deleted", &group, Some(before), None) };
    Ok(Change::made((), entry))
}

/// Gives every group that one of `members`, users or groups, is about to leave a new version: what clients have of it
/// is no longer so. Called before the intervals are closed.
pub(super) async fn renew_around(tx: &Tx<'_>, members: &[Uuid], now: DateTime<Utc>) -> Result<()> {
    let backend = tx.db.get_database_backend();
    // Locked in one order, so that two leavers of the same groups do not wait for each other.
    let lock = if backend == DbBackend::Postgres { "ORDER BY g.id FOR NO KEY UPDATE" } else { "" };
    let among = list::among(backend, 3);
    let text = format!(
        r#"UPDATE "group" SET version = version + 1, updated_at = CASE WHEN updated_at > $1 THEN updated_at ELSE $1 END
           WHERE organization_id = $2 AND id IN (
             SELECT g.id FROM "group" g WHERE g.organization_id = $2 AND g.deleted_at IS NULL AND g.id IN (
               SELECT group_id FROM membership WHERE organization_id = $2 AND until IS NULL AND user_id {among}
               UNION ALL
               SELECT group_id FROM group_nesting WHERE organization_id = $2 AND until IS NULL AND member_id {among})
             {lock})"#
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

/// One live group that the actor may see.
pub async fn get(cx: &Cx, id: Uuid) -> Result<Group> {
    let group = list::one(cx, &TABLE, id).await?.filter(|group| cx.sees(group.connection_id));
    let group = group.ok_or_else(|| Error::not_found("the group"))?;
    cx.allow(Action::ReadGroup, group.connection_id)?;
    Ok(group)
}

/// The live groups among `ids` that the actor may see.
pub async fn by_ids(cx: &Cx, ids: &[Uuid]) -> Result<Vec<Group>> {
    cx.allow(Action::ReadGroup, cx.confined_to())?;
    let text = format!(
        r#"SELECT {COLUMNS} FROM "group" r WHERE r.organization_id = $1 AND r.deleted_at IS NULL AND r.id {}"#,
        list::among(cx.backend(), 2)
    );
    let statement = Statement::from_sql_and_values(cx.backend(), text, [cx.organization().into(), list::ids(ids)]);
    Ok(Group::find_by_statement(statement).all(cx.db()).await?)
}

/// A numbered page of live groups that the actor may see.
pub async fn search(cx: &Cx, query: &Query) -> Result<Found<Group>> {
    cx.allow(Action::ReadGroup, cx.confined_to())?;
    list::search(cx, &TABLE, &types(cx).await?.group, query).await
}

/// Live groups that `filter` matches, oldest first.
pub async fn list(cx: &Cx, filter: Option<&Filter>, owners: Owners, keyset: &Keyset<Uuid>) -> Result<Slice<Group>> {
    cx.allow(Action::ReadGroup, cx.confined_to())?;
    list::keyset(cx, &TABLE, &types(cx).await?.group, filter, owners, keyset).await
}

/// The same in another order, each with its place.
pub async fn ordered(
    cx: &Cx,
    filter: Option<&Filter>,
    owners: Owners,
    by: By,
    keyset: &Keyset<Place>,
) -> Result<Slice<(Group, Place)>> {
    cx.allow(Action::ReadGroup, cx.confined_to())?;
    list::ordered(cx, &TABLE, &types(cx).await?.group, (filter, owners), by, keyset).await
}

/// How many live groups `filter` matches.
pub async fn count(cx: &Cx, filter: Option<&Filter>, owners: Owners) -> Result<u64> {
    cx.allow(Action::ReadGroup, cx.confined_to())?;
    list::count(cx, &TABLE, &types(cx).await?.group, filter, owners).await
}

/// A direct member of a group.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct Member {
    pub group_id: Uuid,
    pub id: Uuid,
    /// Whether the member is itself a group.
    pub is_group: bool,
    pub display: Option<String>,
}

/// The direct members of each of these groups, on wish with what they are called: users first, then groups, each by id.
pub async fn members_of(cx: &Cx, groups: &[Uuid], named: bool) -> Result<HashMap<Uuid, Vec<Member>>> {
    cx.allow(Action::ReadGroup, cx.confined_to())?;
    let (among, values) = match groups {
        [one] => ("= $2".into(), (*one).into()),
        _ => (list::among(cx.backend(), 2), list::ids(groups)),
    };
    let [user, user_name, group, group_name] = match named {
        true => [
            r#"JOIN "user" u ON u.organization_id = m.organization_id AND u.id = m.user_id"#,
            "coalesce(u.display_name, u.user_name)",
            r#"JOIN "group" g ON g.organization_id = n.organization_id AND g.id = n.member_id"#,
            "g.display_name",
        ],
        false => ["", "NULL", "", "NULL"],
    };
    let text = format!(
        r#"SELECT m.group_id, m.user_id AS id, FALSE AS is_group, {user_name} AS display
           FROM membership m {user} WHERE m.organization_id = $1 AND m.until IS NULL AND m.group_id {among}
           UNION ALL
           SELECT n.group_id, n.member_id, TRUE, {group_name} FROM group_nesting n {group}
           WHERE n.organization_id = $1 AND n.until IS NULL AND n.group_id {among}
           ORDER BY 1, 3, 2"#
    );
    let values = vec![cx.organization().into(), values];
    let rows: Vec<Member> = match groups.len() {
        1 => list::along(cx, text, values).await?,
        _ => Member::find_by_statement(Statement::from_sql_and_values(cx.backend(), text, values)).all(cx.db()).await?,
    };
    let mut members: HashMap<Uuid, Vec<Member>> = HashMap::new();
    for row in rows {
        members.entry(row.group_id).or_default().push(row);
    }
    Ok(members)
}

/// Whether a group has at most `limit` direct members; looks at no more than that.
pub async fn has_at_most(cx: &Cx, id: Uuid, limit: u64) -> Result<bool> {
    cx.allow(Action::ReadGroup, cx.confined_to())?;
    let text = format!(
        "SELECT 1 FROM membership WHERE organization_id = $1 AND group_id = $2 AND until IS NULL LIMIT 1 OFFSET {limit}"
    );
    let values = [cx.organization().into(), id.into()];
    Ok(cx.db().query_along(Statement::from_sql_and_values(cx.backend(), text, values)).await?.is_empty())
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

/// What a list of member changes comes to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Delta {
    /// Everybody who is not added goes.
    empty_first: bool,
    add: BTreeSet<Uuid>,
    remove: BTreeSet<Uuid>,
}

impl Delta {
    fn of(changes: &[MemberChange]) -> Result<Self> {
        let mut delta = Self::default();
        for change in changes {
            match change {
                MemberChange::Add(ids) => {
                    for id in ids {
                        let id = parse(id).ok_or_else(|| unknown_member(id))?;
                        delta.remove.remove(&id);
                        delta.add.insert(id);
                    }
                }
                // Removing what is not there, or never could be, changes nothing.
                MemberChange::Remove(ids) => {
                    for id in ids.iter().filter_map(|id| parse(id)) {
                        delta.add.remove(&id);
                        delta.remove.insert(id);
                    }
                }
                MemberChange::Clear => delta = Self { empty_first: true, ..Self::default() },
                MemberChange::Replace(ids) => {
                    let add =
                        ids.iter().map(|id| parse(id).ok_or_else(|| unknown_member(id))).collect::<Result<_>>()?;
                    delta = Self { empty_first: true, add, remove: BTreeSet::new() };
                }
            }
        }
        Ok(delta)
    }

    fn takes_away(&self) -> bool {
        self.empty_first || !self.remove.is_empty()
    }

    fn only_one(&self) -> Option<One> {
        match (self.empty_first, self.add.len(), self.remove.len()) {
            (false, 1, 0) => self.add.first().copied().map(One::Comes),
            (false, 0, 1) => self.remove.first().copied().map(One::Goes),
            _ => None,
        }
    }

    fn is_empty(&self) -> bool {
        !self.empty_first && self.add.is_empty() && self.remove.is_empty()
    }
}

/// A delta of one member.
#[derive(Debug, Clone, Copy)]
enum One {
    Comes(Uuid),
    Goes(Uuid),
}

fn parse(id: &str) -> Option<Uuid> {
    // Only the form that we hand out: what is compared is what is stored.
    Uuid::try_parse(id).ok().filter(|uuid| uuid.to_string().eq_ignore_ascii_case(id))
}

fn unknown_member(id: &str) -> Error {
    let shown: String = id.chars().take(64).collect();
    Error::invalid("members", format!("no user or group here has the id {shown:?}"))
}

/// Who really came and went.
#[derive(Debug, Default)]
struct Moved {
    added: Vec<Uuid>,
    removed: Vec<Uuid>,
}

impl Moved {
    fn of(one: One) -> Self {
        match one {
            One::Comes(who) => Self { added: vec![who], removed: Vec::new() },
            One::Goes(who) => Self { added: Vec::new(), removed: vec![who] },
        }
    }

    fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }

    fn tell(mut self, before: &mut Map<String, Value>, after: &mut Map<String, Value>) {
        self.added.sort_unstable();
        self.removed.sort_unstable();
        if !self.removed.is_empty() {
            before.insert("members".into(), json!(self.removed));
        }
        if !self.added.is_empty() {
            after.insert("members".into(), json!(self.added));
        }
    }
}

/// Whom a row about a group's members tells to have come or gone, users and groups alike.
pub(super) fn moved_by(entry: &Entry) -> Vec<Uuid> {
    let sides = [&entry.before, &entry.after].into_iter().flatten();
    let ids = sides.filter_map(|side| side["members"].as_array()).flatten();
    ids.filter_map(|id| id.as_str()?.parse().ok()).collect()
}

/// Whoever may change the nesting of groups takes the organization's lock, so that two changes cannot close a
/// circle between them. Returns the added ids that are groups.
async fn lock_for_nesting(tx: &Tx<'_>, delta: &Delta, owner: Option<Uuid>) -> Result<BTreeSet<Uuid>> {
    if delta.add.is_empty() {
        return Ok(BTreeSet::new());
    }
    let groups = live_ids(tx, "group", &delta.add, owner, false).await?;
    if !groups.is_empty() {
        lock_organization(tx).await?;
    }
    Ok(groups)
}

/// Makes whoever else changes the nesting of groups wait; on SQLite all do anyway.
pub(super) async fn lock_organization(tx: &Tx<'_>) -> Result<()> {
    if tx.db.get_database_backend() == DbBackend::Postgres {
        #[allow(clippy::disallowed_methods, reason = "locks the tenant of this write")]
        organization::Entity::find_by_id(tx.organization()).lock(LockType::NoKeyUpdate).one(&tx.db).await?;
    }
    Ok(())
}

/// Which of `ids` are live rows of `table` with this owner (a group made by hand takes anybody's). Users are
/// share-locked, so that nobody is deleted while being added.
async fn live_ids(
    tx: &Tx<'_>,
    table: &str,
    ids: &BTreeSet<Uuid>,
    owner: Option<Uuid>,
    lock: bool,
) -> Result<BTreeSet<Uuid>> {
    let backend = tx.db.get_database_backend();
    let mut values = vec![tx.organization().into(), list::ids(ids)];
    let mut text = format!(
        r#"SELECT r.id FROM "{table}" r WHERE r.organization_id = $1 AND r.deleted_at IS NULL AND r.id {}"#,
        list::among(backend, 2)
    );
    if let Some(owner) = owner {
        values.push(owner.into());
        text.push_str(" AND r.connection_id = $3");
    }
    if lock && backend == DbBackend::Postgres {
        text.push_str(" ORDER BY r.id FOR SHARE OF r");
    }
    let rows = tx.db.query_all_raw(Statement::from_sql_and_values(backend, text, values)).await?;
    Ok(rows.iter().map(|row| row.try_get("", "id")).collect::<Result<_, _>>()?)
}

async fn apply(tx: &Tx<'_>, group: &Group, delta: &Delta, groups: BTreeSet<Uuid>, now: DateTime<Utc>) -> Result<Moved> {
    let mut moved = Moved::default();
    if delta.is_empty() {
        return Ok(moved);
    }
    let users: BTreeSet<Uuid> = delta.add.difference(&groups).copied().collect();
    if !users.is_empty() {
        let live = live_ids(tx, "user", &users, group.connection_id, true).await?;
        if let Some(stranger) = users.difference(&live).next() {
            return Err(unknown_member(&stranger.to_string()));
        }
    }
    if !groups.is_empty() {
        check_nesting(tx, group.id, &groups).await?;
    }
    for (table, column, add) in [("membership", "user_id", &users), ("group_nesting", "member_id", &groups)] {
        moved.removed.extend(close(tx, table, column, group.id, delta, now).await?);
        if !add.is_empty() {
            moved.added.extend(open(tx, table, column, group.id, add, now).await?);
        }
    }
    Ok(moved)
}

/// Ends the open intervals that the delta takes away; returns whose.
async fn close(
    tx: &Tx<'_>,
    table: &str,
    column: &str,
    group: Uuid,
    delta: &Delta,
    now: DateTime<Utc>,
) -> Result<Vec<Uuid>> {
    let backend = tx.db.get_database_backend();
    let (which, ids) = match delta.empty_first {
        true => (format!("NOT ({column} {})", list::among(backend, 5)), list::ids(&delta.add)),
        false if delta.remove.is_empty() => return Ok(Vec::new()),
        false => (format!("{column} {}", list::among(backend, 5)), list::ids(&delta.remove)),
    };
    let statement = Statement::from_sql_and_values(
        backend,
        format!(
            "UPDATE {table} SET until = $1, closed_by = $2 \
             WHERE organization_id = $3 AND group_id = $4 AND until IS NULL AND {which} RETURNING {column} AS id"
        ),
        [now.into(), tx.event.into(), tx.organization().into(), group.into(), ids],
    );
    let rows = tx.db.query_all_raw(statement).await?;
    Ok(rows.iter().map(|row| row.try_get("", "id")).collect::<Result<_, _>>()?)
}

/// Opens an interval for each of `add` that has none open; returns whose were opened.
pub(super) async fn open(
    tx: &Tx<'_>,
    table: &str,
    column: &str,
    group: Uuid,
    add: &BTreeSet<Uuid>,
    now: DateTime<Utc>,
) -> Result<Vec<Uuid>> {
    let backend = tx.db.get_database_backend();
    let pairs: Vec<_> = add.iter().map(|id| [Uuid::now_v7().simple().to_string(), id.simple().to_string()]).collect();
    let (pairs_sql, pair) = match backend {
        DbBackend::Postgres => ("jsonb_array_elements($5) AS pair(value)", ["(value->>0)::uuid", "(value->>1)::uuid"]),
        _ => ("json_each($5)", ["unhex(value->>0)", "unhex(value->>1)"]),
    };
    let statement = Statement::from_sql_and_values(
        backend,
        // `WHERE TRUE` keeps SQLite from reading ON CONFLICT as part of a join.
        format!(
            "INSERT INTO {table} (organization_id, id, group_id, {column}, since, opened_by) \
             SELECT $1, {}, $2, {}, $3, $4 FROM {pairs_sql} WHERE TRUE \
             ON CONFLICT (organization_id, group_id, {column}) WHERE until IS NULL DO NOTHING RETURNING {column} AS id",
            pair[0], pair[1]
        ),
        [tx.organization().into(), group.into(), now.into(), tx.event.into(), json!(pairs).into()],
    );
    let rows = tx.db.query_all_raw(statement).await?;
    Ok(rows.iter().map(|row| row.try_get("", "id")).collect::<Result<_, _>>()?)
}

/// Refuses a nesting that would close a circle or stand deeper than [`MAX_NESTING`].
pub(super) async fn check_nesting(tx: &Tx<'_>, group: Uuid, members: &BTreeSet<Uuid>) -> Result<()> {
    // Down from the new members: reaching the group itself would be a circle. Up from the group: how deep it is.
    let text = format!(
        "WITH RECURSIVE below(id, depth) AS ( \
           SELECT r.id, 1 FROM \"group\" r WHERE r.organization_id = $1 AND r.id {among} \
           UNION SELECT n.member_id, b.depth + 1 FROM below b JOIN group_nesting n \
             ON n.organization_id = $1 AND n.group_id = b.id AND n.until IS NULL WHERE b.depth <= {MAX_NESTING}), \
         above(id, depth) AS ( \
           SELECT r.id, 0 FROM \"group\" r WHERE r.organization_id = $1 AND r.id = $3 \
           UNION SELECT n.group_id, a.depth + 1 FROM above a JOIN group_nesting n \
             ON n.organization_id = $1 AND n.member_id = a.id AND n.until IS NULL WHERE a.depth <= {MAX_NESTING}) \
         SELECT (SELECT count(*) FROM below WHERE id = $3) AS circles, \
                (SELECT max(depth) FROM below) + (SELECT max(depth) FROM above) AS depth",
        among = list::among(tx.db.get_database_backend(), 2)
    );
    let values = [tx.organization().into(), list::ids(members), group.into()];
    let statement = Statement::from_sql_and_values(tx.db.get_database_backend(), text, values);
    let Some(row) = tx.db.query_one_raw(statement).await? else { return Ok(()) };
    if row.try_get::<i64>("", "circles")? > 0 {
        return Err(Error::invalid("members", "a group cannot contain itself, directly or through other groups"));
    }
    let depth: i64 = match tx.db.get_database_backend() {
        DbBackend::Postgres => row.try_get::<i32>("", "depth")?.into(),
        _ => row.try_get("", "depth")?,
    };
    if depth > i64::from(MAX_NESTING) {
        return Err(Error::invalid("members", format!("groups may stand at most {MAX_NESTING} deep in each other")));
    }
    Ok(())
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

fn entry(action: &'static str, group: &Group, before: Option<Value>, after: Option<Value>) -> Entry {
    let subject = Subject { kind: "group", id: group.id };
    let population = match action {
        "group.created" => 1,
        "group.deleted" => -1,
        _ => 0,
    };
    Entry { action, subject, connection: group.connection_id, at: group.updated_at, before, after, population }
}
