//! What a change does to the members of a group: never a list of them, always who comes and who goes.

use chrono::{DateTime, Utc};
use entity::organization;
use sea_orm::sea_query::LockType;
use sea_orm::{ConnectionTrait, DbBackend, EntityTrait, QuerySelect, Statement};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use uuid::Uuid;

use super::{Group, MAX_NESTING};
use crate::context::Tx;
use crate::domain::document::MemberChange;
use crate::domain::list;
use crate::error::{Error, Result};
use crate::ledger::Entry;

/// What is open of a group's members, as the index says it that finds them by their group.
pub(in crate::domain) const OPEN: &str = "until IS NULL AND since > '-infinity'";

/// What a list of member changes comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Delta {
    /// Everybody who is not added goes.
    pub(super) empty_first: bool,
    pub(super) add: BTreeSet<Uuid>,
    pub(super) remove: BTreeSet<Uuid>,
}

impl Delta {
    pub(super) fn of(changes: &[MemberChange]) -> Result<Self> {
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
                MemberChange::RemoveWhere(_) => {
                    return Err(Error::Internal("a selection of members was not resolved".into()));
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

    pub(super) fn takes_away(&self) -> bool {
        self.empty_first || !self.remove.is_empty()
    }

    pub(super) fn only_one(&self) -> Option<One> {
        match (self.empty_first, self.add.len(), self.remove.len()) {
            (false, 1, 0) => self.add.first().copied().map(One::Comes),
            (false, 0, 1) => self.remove.first().copied().map(One::Goes),
            _ => None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.empty_first && self.add.is_empty() && self.remove.is_empty()
    }
}

/// A delta of one member.
#[derive(Debug, Clone, Copy)]
pub(super) enum One {
    Comes(Uuid),
    Goes(Uuid),
}

pub(super) fn parse(id: &str) -> Option<Uuid> {
    // Only the form that we hand out: what is compared is what is stored.
    Uuid::try_parse(id).ok().filter(|uuid| uuid.to_string().eq_ignore_ascii_case(id))
}

pub(super) fn unknown_member(id: &str) -> Error {
    let shown: String = id.chars().take(64).collect();
    Error::invalid("members", format!("no user or group here has the id {shown:?}"))
}

/// Who really came and went.
#[derive(Debug, Default)]
pub(super) struct Moved {
    pub(super) added: Vec<Uuid>,
    pub(super) removed: Vec<Uuid>,
}

impl Moved {
    pub(super) fn of(one: One) -> Self {
        match one {
            One::Comes(who) => Self { added: vec![who], removed: Vec::new() },
            One::Goes(who) => Self { added: Vec::new(), removed: vec![who] },
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }

    pub(super) fn tell(mut self, before: &mut Map<String, Value>, after: &mut Map<String, Value>) {
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
pub(in crate::domain) fn moved_by(entry: &Entry) -> Vec<Uuid> {
    let sides = [&entry.before, &entry.after].into_iter().flatten();
    let ids = sides.filter_map(|side| side["members"].as_array()).flatten();
    ids.filter_map(|id| id.as_str()?.parse().ok()).collect()
}

/// Whoever may change the nesting of groups takes the organization's lock, so that two changes cannot close a
/// circle between them. Returns the added ids that are groups.
pub(super) async fn lock_for_nesting(tx: &Tx<'_>, delta: &Delta, owner: Option<Uuid>) -> Result<BTreeSet<Uuid>> {
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
pub(in crate::domain) async fn lock_organization(tx: &Tx<'_>) -> Result<()> {
    if tx.db.get_database_backend() == DbBackend::Postgres {
        #[allow(clippy::disallowed_methods, reason = "locks the tenant of this write")]
        organization::Entity::find_by_id(tx.organization()).lock(LockType::NoKeyUpdate).one(&tx.db).await?;
    }
    Ok(())
}

/// Which of `ids` are live rows of `table` with this owner (a group made by hand takes anybody's). Users are
/// share-locked, so that nobody is deleted while being added.
pub(super) async fn live_ids(
    tx: &Tx<'_>,
    table: &str,
    ids: &BTreeSet<Uuid>,
    owner: Option<Uuid>,
    lock: bool,
) -> Result<BTreeSet<Uuid>> {
    let backend = tx.db.get_database_backend();
    let mut values = vec![tx.organization().into(), list::ids(ids)];
    let mut text =
        format!("SELECT r.id FROM {} WHERE r.deleted_at IS NULL", list::each_of(backend, (1, 2), table, "r", "id"));
    if let Some(owner) = owner {
        values.push(owner.into());
        text.push_str(" AND r.connection_id = $3");
    }
    if lock && backend == DbBackend::Postgres {
        // In the order of their ids, in which they are looked up.
        text.push_str(" FOR SHARE OF r");
    }
    let rows = tx.db.query_all_raw(Statement::from_sql_and_values(backend, text, values)).await?;
    Ok(rows.iter().map(|row| row.try_get("", "id")).collect::<Result<_, _>>()?)
}

pub(super) async fn apply(
    tx: &Tx<'_>,
    group: &Group,
    delta: &Delta,
    groups: BTreeSet<Uuid>,
    now: DateTime<Utc>,
) -> Result<Moved> {
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
pub(super) async fn close(
    tx: &Tx<'_>,
    table: &str,
    column: &str,
    group: Uuid,
    delta: &Delta,
    now: DateTime<Utc>,
) -> Result<Vec<Uuid>> {
    let backend = tx.db.get_database_backend();
    let (found, ids) = match delta.empty_first {
        true => {
            // A list is compared value by value on PostgreSQL; a subquery is hashed, however long it is.
            let kept = match backend {
                DbBackend::Postgres => "IN (SELECT id::uuid FROM jsonb_array_elements_text($5) AS ids(id))".into(),
                _ => list::among(backend, 5),
            };
            let found = format!(
                "SELECT organization_id, id FROM {table} \
                 WHERE organization_id = $3 AND group_id = $4 AND {OPEN} AND NOT ({column} {kept})"
            );
            (found, list::ids(&delta.add))
        }
        false if delta.remove.is_empty() => return Ok(Vec::new()),
        false => {
            let condition = format!(
                "m.organization_id = $3 AND m.group_id = $4 AND m.{column} = wanted.id AND m.until IS NULL \
                 AND m.since > '-infinity'"
            );
            let (wanted, member) = (list::wanted(backend, 5), list::each(backend, table, "m", &condition));
            (format!("SELECT m.organization_id, m.id FROM {wanted} {member}"), list::ids(&delta.remove))
        }
    };
    let statement = Statement::from_sql_and_values(
        backend,
        format!(
            "UPDATE {table} AS r SET until = $1, closed_by = $2 {} AND r.until IS NULL RETURNING {column} AS id",
            list::where_found(backend, &found)
        ),
        [now.into(), tx.event.into(), tx.organization().into(), group.into(), ids],
    );
    let rows = tx.db.query_all_raw(statement).await?;
    Ok(rows.iter().map(|row| row.try_get("", "id")).collect::<Result<_, _>>()?)
}

/// Opens an interval for each of `add` that has none open; returns whose were opened.
pub(in crate::domain) async fn open(
    tx: &Tx<'_>,
    table: &str,
    column: &str,
    group: Uuid,
    add: &BTreeSet<Uuid>,
    now: DateTime<Utc>,
) -> Result<Vec<Uuid>> {
    let backend = tx.db.get_database_backend();
    let pairs: Vec<_> = add.iter().map(|id| [Uuid::now_v7().simple().to_string(), id.simple().to_string()]).collect();
    // The index of what is open, by its condition, which on SQLite is shorter.
    let (pairs_sql, pair, open) = match backend {
        DbBackend::Postgres => {
            ("jsonb_array_elements($5) AS pair(value)", ["(value->>0)::uuid", "(value->>1)::uuid"], OPEN)
        }
        _ => ("json_each($5)", ["unhex(value->>0)", "unhex(value->>1)"], "until IS NULL"),
    };
    let statement = Statement::from_sql_and_values(
        backend,
        // `WHERE TRUE` keeps SQLite from reading ON CONFLICT as part of a join.
        format!(
            "INSERT INTO {table} (organization_id, id, group_id, {column}, since, opened_by) \
             SELECT $1, {}, $2, {}, $3, $4 FROM {pairs_sql} WHERE TRUE \
             ON CONFLICT (organization_id, group_id, {column}) WHERE {open} DO NOTHING RETURNING {column} AS id",
            pair[0], pair[1]
        ),
        [tx.organization().into(), group.into(), now.into(), tx.event.into(), json!(pairs).into()],
    );
    let rows = tx.db.query_all_raw(statement).await?;
    Ok(rows.iter().map(|row| row.try_get("", "id")).collect::<Result<_, _>>()?)
}

/// Refuses a nesting that would close a circle or stand deeper than [`MAX_NESTING`].
pub(in crate::domain) async fn check_nesting(tx: &Tx<'_>, group: Uuid, members: &BTreeSet<Uuid>) -> Result<()> {
    let backend = tx.db.get_database_backend();
    // Down from the new members: reaching the group itself would be a circle. Up from the group: how deep it is.
    let text = format!(
        "WITH RECURSIVE below(id, depth) AS ( \
           SELECT r.id, 1 FROM \"group\" r WHERE r.organization_id = $1 AND r.id {among} \
           UNION SELECT n.member_id, b.depth + 1 FROM below b {member} WHERE b.depth <= {MAX_NESTING}), \
         above(id, depth) AS ( \
           SELECT r.id, 0 FROM \"group\" r WHERE r.organization_id = $1 AND r.id = $3 \
           UNION SELECT n.group_id, a.depth + 1 FROM above a {group} WHERE a.depth <= {MAX_NESTING}) \
         SELECT (SELECT count(*) FROM below WHERE id = $3) AS circles, \
                (SELECT max(depth) FROM below) + (SELECT max(depth) FROM above) AS depth",
        among = list::among(backend, 2),
        member = list::each(
            backend,
            "group_nesting",
            "n",
            "n.organization_id = $1 AND n.group_id = b.id AND n.until IS NULL AND n.since > '-infinity'"
        ),
        group = list::each(
            backend,
            "group_nesting",
            "n",
            "n.organization_id = $1 AND n.member_id = a.id AND n.until IS NULL"
        ),
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
