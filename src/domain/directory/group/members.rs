//! Changes of a group's members: never the whole list, always the members to add and to remove.

use chrono::{DateTime, Utc};
use entity::organization;
use sea_orm::sea_query::LockType;
use sea_orm::{ConnectionTrait, DbBackend, EntityTrait, QuerySelect};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use uuid::Uuid;

use super::Group;
use crate::context::Tx;
use crate::domain::directory::MAX_NESTING_DEPTH;
use crate::domain::interval::MemberKind;
use crate::domain::{interval, paging};
use crate::error::{Error, Mistakes, Result};
use crate::identity::document::MemberChange;
use crate::ledger::NewEvent;

/// The most members that do not exist of which a person is told.
const MAX_STRANGERS: usize = 20;

/// The combined effect of a list of member changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct MemberDelta {
    /// Every member that is not in `add` is removed.
    pub(super) empty_first: bool,
    pub(super) add: BTreeSet<Uuid>,
    pub(super) remove: BTreeSet<Uuid>,
    /// The ids to add in the order of the one list that names them, for which a mistake in one says
    /// its place. Empty if there are several lists, and for connections.
    listed: Vec<Uuid>,
}

impl MemberDelta {
    /// The combined effect of the changes that an actor wants; `owner` is the connection that it is
    /// confined to. A SCIM error names the attribute and no place in it.
    pub(super) fn wanted_by(owner: Option<Uuid>, changes: &[MemberChange]) -> Result<Self> {
        let mut delta = Self::from_changes(changes)?;
        if let ([MemberChange::Add(ids) | MemberChange::Replace(ids)], None) = (changes, owner) {
            delta.listed = ids.iter().filter_map(|id| parse_member_id(id)).collect();
        }
        Ok(delta)
    }

    /// Refuses members that do not exist: for a person all of them, up to [`MAX_STRANGERS`].
    fn refuse_strangers<'a>(&self, strangers: impl Iterator<Item = &'a Uuid>) -> Result<()> {
        let mut mistakes = Mistakes::default();
        for stranger in strangers.take(if self.listed.is_empty() { 1 } else { MAX_STRANGERS }) {
            let error = unknown_member(&stranger.to_string());
            let place = self.listed.iter().position(|id| id == stranger);
            mistakes.add(match place {
                Some(place) => error.at_place("members", place),
                None => error,
            });
        }
        mistakes.refuse_any()
    }

    pub(super) fn from_changes(changes: &[MemberChange]) -> Result<Self> {
        let mut delta = Self::default();
        for change in changes {
            match change {
                MemberChange::Add(ids) => {
                    for id in ids {
                        let id = parse_member_id(id).ok_or_else(|| unknown_member(id))?;
                        delta.remove.remove(&id);
                        delta.add.insert(id);
                    }
                }
                // Removing an id that is not a member, or not an id of ours, changes nothing.
                MemberChange::Remove(ids) => {
                    for id in ids.iter().filter_map(|id| parse_member_id(id)) {
                        delta.add.remove(&id);
                        delta.remove.insert(id);
                    }
                }
                MemberChange::RemoveWhere(_) => {
                    return Err(Error::Internal("a selection of members was not resolved".into()));
                }
                MemberChange::Clear => delta = Self { empty_first: true, ..Self::default() },
                MemberChange::Replace(ids) => {
                    let add = ids
                        .iter()
                        .map(|id| parse_member_id(id).ok_or_else(|| unknown_member(id)))
                        .collect::<Result<_>>()?;
                    delta = Self { empty_first: true, add, ..Self::default() };
                }
            }
        }
        Ok(delta)
    }

    pub(super) fn removes_members(&self) -> bool {
        self.empty_first || !self.remove.is_empty()
    }

    pub(super) fn single_change(&self) -> Option<SingleMemberChange> {
        match (self.empty_first, self.add.len(), self.remove.len()) {
            (false, 1, 0) => self.add.first().copied().map(SingleMemberChange::Comes),
            (false, 0, 1) => self.remove.first().copied().map(SingleMemberChange::Goes),
            _ => None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.empty_first && self.add.is_empty() && self.remove.is_empty()
    }
}

/// A delta of one member.
#[derive(Debug, Clone, Copy)]
pub(super) enum SingleMemberChange {
    Comes(Uuid),
    Goes(Uuid),
}

pub(super) fn parse_member_id(id: &str) -> Option<Uuid> {
    // Only the form that this server sends, so that the compared text is the stored one.
    Uuid::try_parse(id).ok().filter(|uuid| uuid.to_string().eq_ignore_ascii_case(id))
}

pub(super) fn unknown_member(id: &str) -> Error {
    let shown: String = id.chars().take(64).collect();
    Error::invalid("members", format!("no user or group here has the id {shown:?}"))
}

/// The members that were really added and removed.
#[derive(Debug, Default)]
pub(super) struct AppliedMemberDelta {
    pub(super) added: Vec<Uuid>,
    pub(super) removed: Vec<Uuid>,
}

impl AppliedMemberDelta {
    pub(super) fn from_single_change(one: SingleMemberChange) -> Self {
        match one {
            SingleMemberChange::Comes(user) => Self { added: vec![user], removed: Vec::new() },
            SingleMemberChange::Goes(user) => Self { added: Vec::new(), removed: vec![user] },
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }

    pub(super) fn record_in_payload(
        mut self,
        before: &mut Map<String, Value>,
        after: &mut Map<String, Value>,
    ) {
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

/// The ids of the members, users and groups, that were added or removed according to an event of a
/// group.
pub(in crate::domain) fn moved_member_ids(entry: &NewEvent) -> Vec<Uuid> {
    let sides = [&entry.before, &entry.after].into_iter().flatten();
    let ids = sides.filter_map(|side| side["members"].as_array()).flatten();
    ids.filter_map(|id| id.as_str()?.parse().ok()).collect()
}

/// Takes the organization's lock if the change adds groups, so that two changes at once cannot make
/// a cycle. Returns the added ids that are groups.
pub(super) async fn lock_for_nesting(
    tx: &Tx<'_>,
    delta: &MemberDelta,
    owner: Option<Uuid>,
) -> Result<BTreeSet<Uuid>> {
    if delta.add.is_empty() {
        return Ok(BTreeSet::new());
    }
    let groups = find_live_ids(tx, "group", &delta.add, owner, false).await?;
    if !groups.is_empty() {
        lock_organization(tx).await?;
    }
    Ok(groups)
}

/// Makes other changes of the nesting of groups wait; on SQLite, all writes wait anyway.
pub(in crate::domain) async fn lock_organization(tx: &Tx<'_>) -> Result<()> {
    if tx.db.get_database_backend() == DbBackend::Postgres {
        #[allow(clippy::disallowed_methods, reason = "locks the tenant of this write")]
        organization::Entity::find_by_id(tx.organization())
            .lock(LockType::NoKeyUpdate)
            .one(&tx.db)
            .await?;
    }
    Ok(())
}

/// SQL: whether the user or group `r` can be a member of a group whose owner is the parameter
/// `owner`. It must be live and have the same owner. A group without an owner, made by hand, takes
/// all.
pub(super) fn can_be_member(owner: &str) -> String {
    format!("r.deleted_at IS NULL AND ({owner} IS NULL OR r.connection_id = {owner})")
}

/// Which of `ids` are rows of `table` that can be members of a group with this owner. `lock`
/// share-locks them, so that no user is deleted while being added.
pub(super) async fn find_live_ids(
    tx: &Tx<'_>,
    table: &str,
    ids: &BTreeSet<Uuid>,
    owner: Option<Uuid>,
    lock: bool,
) -> Result<BTreeSet<Uuid>> {
    let backend = tx.db.get_database_backend();
    let mut sql = tx.sql([paging::bind_ids(ids)]);
    let owner = sql.bind(owner);
    sql.push(&format!(
        "SELECT r.id FROM {} WHERE {}",
        paging::each_of(backend, (1, 2), table, "r", "id"),
        can_be_member(&owner.to_string())
    ));
    if lock && backend == DbBackend::Postgres {
        // In the order of their ids, in which they are looked up.
        sql.push(" FOR SHARE OF r");
    }
    let rows = tx.db.query_all_raw(tx.build_statement(sql)).await?;
    Ok(rows.iter().map(|row| row.try_get("", "id")).collect::<Result<_, _>>()?)
}

pub(super) async fn apply_delta(
    tx: &Tx<'_>,
    group: &Group,
    delta: &MemberDelta,
    groups: BTreeSet<Uuid>,
    now: DateTime<Utc>,
) -> Result<AppliedMemberDelta> {
    let mut moved = AppliedMemberDelta::default();
    if delta.is_empty() {
        return Ok(moved);
    }
    let users: BTreeSet<Uuid> = delta.add.difference(&groups).copied().collect();
    if !users.is_empty() {
        let live = find_live_ids(tx, "user", &users, group.connection_id, true).await?;
        delta.refuse_strangers(users.difference(&live))?;
    }
    if !groups.is_empty() {
        check_nesting(tx, group.id, &groups).await?;
    }
    for (kind, add) in [(MemberKind::User, &users), (MemberKind::Group, &groups)] {
        moved.removed.extend(close_removed(tx, kind, group.id, delta, now).await?);
        if !add.is_empty() {
            moved.added.extend(interval::open_members(tx, kind, group.id, add, now).await?);
        }
    }
    Ok(moved)
}

/// Ends the open intervals of the members that the delta removes; returns the ids of those members.
async fn close_removed(
    tx: &Tx<'_>,
    kind: MemberKind,
    group: Uuid,
    delta: &MemberDelta,
    now: DateTime<Utc>,
) -> Result<Vec<Uuid>> {
    if delta.empty_first {
        interval::close_members_except(tx, kind, group, &delta.add, now).await
    } else if delta.remove.is_empty() {
        Ok(Vec::new())
    } else {
        interval::close_members(tx, kind, group, &delta.remove, now).await
    }
}

/// Refuses a nesting that would make a cycle or be deeper than [`MAX_NESTING`].
pub(in crate::domain) async fn check_nesting(
    tx: &Tx<'_>,
    group: Uuid,
    members: &BTreeSet<Uuid>,
) -> Result<()> {
    let backend = tx.db.get_database_backend();
    // Down from the new members: reaching the group itself would be a cycle. Up from the group: how
    // deep it is.
    let text = format!(
        "WITH RECURSIVE below(id, depth) AS ( \
           SELECT r.id, 1 FROM \"group\" r WHERE r.organization_id = $1 AND r.id {among} \
           UNION SELECT n.member_id, b.depth + 1 FROM below b {member} \
           WHERE b.depth <= {MAX_NESTING_DEPTH}), \
         above(id, depth) AS ( \
           SELECT r.id, 0 FROM \"group\" r WHERE r.organization_id = $1 AND r.id = $3 \
           UNION SELECT n.group_id, a.depth + 1 FROM above a {group} \
           WHERE a.depth <= {MAX_NESTING_DEPTH}) \
         SELECT (SELECT count(*) FROM below WHERE id = $3) AS circles, \
                (SELECT max(depth) FROM below) + (SELECT max(depth) FROM above) AS depth",
        among = paging::in_ids(backend, 2),
        member = paging::join_each(
            backend,
            "group_nesting",
            "n",
            &format!(
                "n.organization_id = $1 AND n.group_id = b.id AND {}",
                interval::is_open_in_group("n")
            )
        ),
        group = paging::join_each(
            backend,
            "group_nesting",
            "n",
            "n.organization_id = $1 AND n.member_id = a.id AND n.until IS NULL"
        ),
    );
    let values = [paging::bind_ids(members), group.into()];
    let statement = tx.statement(text, values);
    let Some(row) = tx.db.query_one_raw(statement).await? else { return Ok(()) };
    if row.try_get::<i64>("", "circles")? > 0 {
        return Err(Error::invalid(
            "members",
            "a group cannot contain itself, directly or through other groups",
        ));
    }
    let depth: i64 = match tx.db.get_database_backend() {
        DbBackend::Postgres => row.try_get::<i32>("", "depth")?.into(),
        _ => row.try_get("", "depth")?,
    };
    if depth > i64::from(MAX_NESTING_DEPTH) {
        return Err(Error::invalid(
            "members",
            format!("groups can be nested at most {MAX_NESTING_DEPTH} levels deep"),
        ));
    }
    Ok(())
}
