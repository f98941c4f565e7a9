//! Intervals: rows that begin and end, and do not vanish. Memberships, nestings, mappings, grants
//! and activity are such rows.
//!
//! An interval is open while it has no `until`. Of one key (a user in a group, a group mapped to a
//! role, …) at most one interval is open; an index of each table holds that. `opened_by` and
//! `closed_by` name the events that did it, and the instants are those of these events. The instant
//! of a change follows every boundary of what it changes, because the row that guards the intervals
//! is locked, and was last changed at the latest boundary ([`Tx::now_after`]). Where no row guards
//! them, an interval that began after the instant gets a length of zero ([`close_unguarded`]).
//!
//! What must never enter: who may open or close what, and what else follows from it.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use entity::activation;
use sea_orm::{ConnectionTrait, DbBackend, EntityTrait, Set, Statement, Value};
use serde_json::json;
use uuid::Uuid;

use crate::context::{Tx, sql};
use crate::error::Result;
use crate::ledger::{FIRST_STEP_INSTANT, WriteStep};

/// A table whose rows are intervals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntervalTable {
    /// A user in a group.
    Membership,
    /// A group in a group.
    GroupNesting,
    /// A role that the members of a group hold.
    RoleMapping,
    /// A role that an account holds by itself.
    RoleGrant,
    /// An account that may be used, with its owner.
    Activation,
}

impl IntervalTable {
    /// The table's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Membership => "membership",
            Self::GroupNesting => "group_nesting",
            Self::RoleMapping => "role_mapping",
            Self::RoleGrant => "role_grant",
            Self::Activation => "activation",
        }
    }
}

/// What is a member of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberKind {
    User,
    Group,
}

impl MemberKind {
    /// Where the members' intervals are.
    pub fn table(self) -> IntervalTable {
        match self {
            Self::User => IntervalTable::Membership,
            Self::Group => IntervalTable::GroupNesting,
        }
    }

    /// The column that names the member.
    pub fn column(self) -> &'static str {
        match self {
            Self::User => "user_id",
            Self::Group => "member_id",
        }
    }
}

/// SQL: whether an interval is open.
pub const IS_OPEN: &str = "until IS NULL";

/// SQL: whether the interval of a group's member is open, where it is found by its group: in the
/// words that the index by group has on PostgreSQL.
pub const IS_OPEN_IN_GROUP: &str = "until IS NULL AND since > '-infinity'";

/// [`IS_OPEN_IN_GROUP`] of the interval `alias`.
pub fn is_open_in_group(alias: &str) -> String {
    format!("{alias}.until IS NULL AND {alias}.since > '-infinity'")
}

/// SQL, ` AND …` behind [`is_open_in_group`]: on PostgreSQL, only the index by group fits. `prefix`
/// is the alias with its dot, or nothing; `member` is the column that names the member.
///
/// The index by member has the same columns. A connection of PostgreSQL keeps the height of each
/// index since it last used that index, so the one that it did not use while a table grew looks
/// cheaper. The condition of the index by group implies this one, so a scan of that index does not
/// evaluate it; the planner adds the price of the second half, which is never evaluated, to a scan
/// of any other index. SQLite plans by the text alone.
pub fn only_by_group(backend: DbBackend, prefix: &str, member: &str) -> String {
    match backend {
        DbBackend::Postgres => format!(
            " AND ({prefix}since > '-infinity' OR to_tsvector('simple', {prefix}{member}::text) \
             IS NULL)"
        ),
        _ => String::new(),
    }
}

/// SQL: whether the interval `alias` is open at the instant `at`, with the changes of this instant.
pub fn is_open_at(alias: &str, at: &str) -> String {
    format!("{alias}.since <= {at} AND ({alias}.{IS_OPEN} OR {alias}.until > {at})")
}

/// SQL: whether the interval `alias` is open at the instant `at` without the changes of `event`.
pub fn is_open_without(alias: &str, at: &str, event: &str) -> String {
    format!(
        "{alias}.since <= {at} AND {alias}.opened_by <> {event} AND {}",
        ends_after(alias, at, event)
    )
}

/// SQL: whether the interval `alias` is open just before `event`, whose instant is `at`, or just
/// after it.
pub fn is_open_around(alias: &str, at: &str, event: &str) -> String {
    format!("{alias}.since <= {at} AND {}", ends_after(alias, at, event))
}

/// SQL: whether an interval ends after the instant `at`, or by the event `event`. The condition
/// names ended intervals apart, so that a planner sees that the indexes of the past contain them.
fn ends_after(alias: &str, at: &str, event: &str) -> String {
    format!("({alias}.{IS_OPEN} OR {})", has_ended_after(alias, at, event))
}

/// SQL: whether an interval has ended, but after the instant `at` or by the event `event`.
pub fn has_ended_after(alias: &str, at: &str, event: &str) -> String {
    format!("{alias}.until IS NOT NULL AND ({alias}.until > {at} OR {alias}.closed_by = {event})")
}

/// Opens an interval of activity for each of these accounts, with `owner` as their owner.
pub async fn open_activations(
    tx: &Tx<'_>,
    users: &[Uuid],
    owner: Option<Uuid>,
    now: DateTime<Utc>,
) -> Result<()> {
    let rows = users.iter().map(|user| activation::ActiveModel {
        organization_id: Set(tx.organization()),
        id: Set(Uuid::now_v7()),
        user_id: Set(*user),
        connection_id: Set(owner),
        since: Set(now),
        until: Set(None),
        opened_by: Set(tx.event),
        closed_by: Set(None),
    });
    activation::Entity::insert_many(rows).exec_without_returning(&tx.db).await?;
    Ok(())
}

/// Opens an interval in `group` for each of `add` that has none open; returns those that got one.
pub async fn open_members(
    tx: &Tx<'_>,
    kind: MemberKind,
    group: Uuid,
    add: &BTreeSet<Uuid>,
    now: DateTime<Utc>,
) -> Result<Vec<Uuid>> {
    let (table, column) = (kind.table().name(), kind.column());
    let pairs: Vec<_> = add
        .iter()
        .map(|id| [Uuid::now_v7().simple().to_string(), id.simple().to_string()])
        .collect();
    // The conflict target names the index of open intervals by its condition, which is shorter on
    // SQLite.
    let (pairs_sql, pair, open) = match tx.db.get_database_backend() {
        DbBackend::Postgres => (
            "jsonb_array_elements($5) AS pair(value)",
            ["(value->>0)::uuid", "(value->>1)::uuid"],
            IS_OPEN_IN_GROUP,
        ),
        _ => ("json_each($5)", ["unhex(value->>0)", "unhex(value->>1)"], IS_OPEN),
    };
    let statement = tx.statement(
        // `WHERE TRUE` keeps SQLite from reading ON CONFLICT as part of a join.
        format!(
            "INSERT INTO {table} (organization_id, id, group_id, {column}, since, opened_by) \
             SELECT $1, {}, $2, {}, $3, $4 FROM {pairs_sql} WHERE TRUE \
             ON CONFLICT (organization_id, group_id, {column}) WHERE {open} DO NOTHING \
             RETURNING {column} AS id",
            pair[0], pair[1]
        ),
        [group.into(), now.into(), tx.event.into(), json!(pairs).into()],
    );
    read_ids(tx, statement).await
}

/// Opens one interval, whose key has these columns, together with the change's first step: at the
/// instant `since`, or else at the one that the first step writes.
pub fn open_step<const N: usize>(
    tx: &Tx<'_>,
    table: IntervalTable,
    key: [(&str, Value); N],
    since: Option<DateTime<Utc>>,
) -> WriteStep {
    let mut step = tx.sql([]);
    let (mut columns, mut select) = (String::new(), format!("$1, {}", step.bind(Uuid::now_v7())));
    for (column, value) in key {
        columns.push_str(&format!("{column}, "));
        select.push_str(&format!(", {}", step.bind(value)));
    }
    let since = match since {
        Some(since) => step.bind(since).to_string(),
        None => FIRST_STEP_INSTANT.into(),
    };
    select.push_str(&format!(", {since}, {}", step.bind(tx.event)));
    let into = format!("{} (organization_id, id, {columns}since, opened_by)", table.name());
    WriteStep::insert(&into, &select, "TRUE", step.into_parts().1)
}

/// SQL for after `UPDATE … SET`: the interval ends at `$2` by the event `$3`.
const CLOSE: &str = "until = $2, closed_by = $3";

/// Closes the open intervals for which `which` holds, a condition on `id`, which is its `$4`;
/// returns how many. A row that was locked, and whose last change `now` follows, guards them.
pub async fn close_where(
    tx: &Tx<'_>,
    table: IntervalTable,
    which: &str,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<u64> {
    let table = table.name();
    let text =
        format!("UPDATE {table} SET {CLOSE} WHERE organization_id = $1 AND {which} AND {IS_OPEN}");
    let statement = tx.statement(text, [now.into(), tx.event.into(), id.into()]);
    Ok(tx.db.execute_raw(statement).await?.rows_affected())
}

/// The same where others may open such intervals meanwhile: one that began after `now` ends when it
/// began.
pub async fn close_unguarded(
    tx: &Tx<'_>,
    table: IntervalTable,
    which: &str,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<u64> {
    let text = format!(
        "UPDATE {} SET until = CASE WHEN since > $2 THEN since ELSE $2 END, closed_by = $3 \
         WHERE organization_id = $1 AND {which} AND {IS_OPEN}",
        table.name()
    );
    let statement = tx.statement(text, [now.into(), tx.event.into(), id.into()]);
    Ok(tx.db.execute_raw(statement).await?.rows_affected())
}

/// Closes one interval, which is open and locked.
pub async fn close_row(
    tx: &Tx<'_>,
    table: IntervalTable,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<()> {
    let text =
        format!("UPDATE {} SET {CLOSE} WHERE organization_id = $1 AND id = $4", table.name());
    let statement = tx.statement(text, [now.into(), tx.event.into(), id.into()]);
    tx.db.execute_raw(statement).await?;
    Ok(())
}

/// Closes every open interval of these accounts; returns how many.
pub async fn close_of_users(
    tx: &Tx<'_>,
    table: IntervalTable,
    users: &[Uuid],
    now: DateTime<Utc>,
) -> Result<u64> {
    let (backend, table) = (tx.db.get_database_backend(), table.name());
    let held = sql::each_of(backend, (1, 4), table, "m", "user_id");
    let open = format!("SELECT m.organization_id, m.id FROM {held} WHERE m.{IS_OPEN}");
    let text = format!(
        "UPDATE {table} AS r SET {CLOSE} {} AND r.closed_by IS NULL",
        sql::where_found(backend, &open)
    );
    let values = [now.into(), tx.event.into(), sql::bind_ids(users)];
    Ok(tx.db.execute_raw(tx.statement(text, values)).await?.rows_affected())
}

/// Closes the open intervals in `group` of the members `gone`; returns those that had one.
pub async fn close_members(
    tx: &Tx<'_>,
    kind: MemberKind,
    group: Uuid,
    gone: &BTreeSet<Uuid>,
    now: DateTime<Utc>,
) -> Result<Vec<Uuid>> {
    let backend = tx.db.get_database_backend();
    let condition = format!(
        "m.organization_id = $1 AND m.group_id = $4 AND m.{} = wanted.id AND {}",
        kind.column(),
        is_open_in_group("m")
    );
    let found = format!(
        "SELECT m.organization_id, m.id FROM {} {}",
        sql::wanted_ids(backend, 5),
        sql::join_each(backend, kind.table().name(), "m", &condition)
    );
    close_found(tx, kind, group, &found, gone, now).await
}

/// Closes the open intervals of all members of `group`, which is locked; returns how many.
pub async fn close_all_members(
    tx: &Tx<'_>,
    kind: MemberKind,
    group: Uuid,
    now: DateTime<Utc>,
) -> Result<u64> {
    close_where(tx, kind.table(), "group_id = $4 AND since > '-infinity'", group, now).await
}

/// Closes the open intervals in `group` of all members but `kept`; returns those that had one.
pub async fn close_members_except(
    tx: &Tx<'_>,
    kind: MemberKind,
    group: Uuid,
    kept: &BTreeSet<Uuid>,
    now: DateTime<Utc>,
) -> Result<Vec<Uuid>> {
    let backend = tx.db.get_database_backend();
    // PostgreSQL compares a list value by value; a subquery is hashed, however long it is.
    let among = match backend {
        DbBackend::Postgres => {
            "IN (SELECT id::uuid FROM jsonb_array_elements_text($5) AS ids(id))".into()
        }
        _ => sql::in_ids(backend, 5),
    };
    let found = format!(
        "SELECT organization_id, id FROM {} WHERE organization_id = $1 AND group_id = $4 \
         AND {IS_OPEN_IN_GROUP} AND NOT ({} {among})",
        kind.table().name(),
        kind.column()
    );
    close_found(tx, kind, group, &found, kept, now).await
}

/// Closes the open intervals that `found` finds with the group `$4` and the members `$5`.
async fn close_found(
    tx: &Tx<'_>,
    kind: MemberKind,
    group: Uuid,
    found: &str,
    members: &BTreeSet<Uuid>,
    now: DateTime<Utc>,
) -> Result<Vec<Uuid>> {
    let text = format!(
        "UPDATE {} AS r SET {CLOSE} {} AND r.{IS_OPEN} RETURNING {} AS id",
        kind.table().name(),
        sql::where_found(tx.db.get_database_backend(), found),
        kind.column()
    );
    let values = [now.into(), tx.event.into(), group.into(), sql::bind_ids(members)];
    read_ids(tx, tx.statement(text, values)).await
}

/// Closes the activity of `user` at `now`, together with the change's first step.
pub fn close_activation_step(tx: &Tx<'_>, user: Uuid, now: DateTime<Utc>) -> WriteStep {
    let open = format!("organization_id = $1 AND user_id = $4 AND {IS_OPEN}");
    let values = tx.sql([now.into(), tx.event.into(), user.into()]).into_parts().1;
    WriteStep::update(&format!("activation SET {CLOSE}"), open, values)
}

/// The open interval of the user `$3` in the group `$2`, for FROM, on PostgreSQL: found by the
/// index of open intervals.
const OPEN_MEMBERSHIP: &str = "LATERAL (SELECT m.organization_id, m.id FROM membership m \
     WHERE m.organization_id = $1 AND m.group_id = $2 AND m.user_id = $3 AND m.until IS NULL \
     AND m.since > '-infinity' OFFSET 0) AS open";

/// Closes the membership of `user` in `group` at the instant that the change's first step writes;
/// everything fails if there is none. Only without locks.
pub fn close_membership_step(tx: &Tx<'_>, group: Uuid, user: Uuid) -> WriteStep {
    let set = format!("membership AS r SET until = {FIRST_STEP_INSTANT}, closed_by = $4");
    let open = format!(
        "r.organization_id = ANY(ARRAY[open.organization_id]) AND r.id = open.id AND r.{IS_OPEN}"
    );
    let values = tx.sql([group.into(), user.into(), tx.event.into()]).into_parts().1;
    WriteStep::update(&set, open, values).reading_from(OPEN_MEMBERSHIP).that_must_touch()
}

async fn read_ids(tx: &Tx<'_>, statement: Statement) -> Result<Vec<Uuid>> {
    let rows = tx.db.query_all_raw(statement).await?;
    Ok(rows.iter().map(|row| row.try_get("", "id")).collect::<Result<_, _>>()?)
}

/// Closes memberships, which are open and whose groups are locked, because claims say otherwise.
/// Those that claims did not make are set aside.
pub async fn close_by_claims(tx: &Tx<'_>, ids: &[Uuid], now: DateTime<Utc>) -> Result<()> {
    let text = format!(
        "UPDATE membership SET {CLOSE}, \
         set_aside = CASE WHEN claimed_by IS NULL THEN TRUE ELSE set_aside END \
         WHERE organization_id = $1 AND id {} AND {IS_OPEN}",
        sql::in_ids(tx.db.get_database_backend(), 4)
    );
    let values = [now.into(), tx.event.into(), sql::bind_ids(ids)];
    tx.db.execute_raw(tx.statement(text, values)).await?;
    Ok(())
}

/// What made a membership that claims made, and its planned end.
#[derive(Debug, Clone, Copy)]
pub struct ClaimedInterval {
    pub user: Uuid,
    pub connection: Option<Uuid>,
    pub expires_at: Option<DateTime<Utc>>,
}

/// Opens a membership of one account in each of these groups, which are locked.
pub async fn open_by_claims(
    tx: &Tx<'_>,
    claimed: ClaimedInterval,
    groups: impl Iterator<Item = &Uuid>,
    now: DateTime<Utc>,
) -> Result<()> {
    let pairs: Vec<_> =
        groups.map(|id| [Uuid::now_v7().simple().to_string(), id.simple().to_string()]).collect();
    let (pairs_sql, pair, open) = match tx.db.get_database_backend() {
        DbBackend::Postgres => (
            "jsonb_array_elements($7) AS pair(value)",
            ["(value->>0)::uuid", "(value->>1)::uuid"],
            IS_OPEN_IN_GROUP,
        ),
        _ => ("json_each($7)", ["unhex(value->>0)", "unhex(value->>1)"], IS_OPEN),
    };
    let text = format!(
        "INSERT INTO membership (organization_id, id, group_id, user_id, since, opened_by, \
         claimed_by, expires_at) SELECT $1, {}, {}, $2, $3, $4, $5, $6 FROM {pairs_sql} WHERE TRUE \
         ON CONFLICT (organization_id, group_id, user_id) WHERE {open} DO NOTHING",
        pair[0], pair[1]
    );
    let values = [
        claimed.user.into(),
        now.into(),
        tx.event.into(),
        claimed.connection.into(),
        claimed.expires_at.into(),
        json!(pairs).into(),
    ];
    tx.db.execute_raw(tx.statement(text, values)).await?;
    Ok(())
}

/// Cached representations of these groups are no longer right.
pub async fn raise_versions(
    tx: &Tx<'_>,
    groups: &BTreeSet<Uuid>,
    now: DateTime<Utc>,
) -> Result<()> {
    let text = format!(
        "UPDATE \"group\" SET version = version + 1, \
         updated_at = CASE WHEN updated_at > $2 THEN updated_at ELSE $2 END \
         WHERE organization_id = $1 AND id {}",
        sql::in_ids(tx.db.get_database_backend(), 3)
    );
    tx.db.execute_raw(tx.statement(text, [now.into(), sql::bind_ids(groups)])).await?;
    Ok(())
}
