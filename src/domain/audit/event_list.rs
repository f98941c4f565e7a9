//! Lists of the ledger: which rows a filter selects, and how they are found.
//!
//! Every condition that selects few rows is looked up by an index that begins with the
//! organization. A list of several such conditions is read as one limited read for each, and the
//! pages of all of them are merged: so a page costs the same however long the ledger is.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbBackend, FromQueryResult};
use serde_json::Value;
use uuid::Uuid;

use super::event::Event;
use crate::auth::policy::Action;
use crate::context::sql::Placeholder;
use crate::context::{Cx, SqlBuilder};
use crate::domain::paging;
use crate::domain::paging::{Keyset, Slice};
use crate::error::Result;
use crate::ledger;
use crate::ledger::EventKind;

/// Kinds of events that are looked up one by one. A longer list is tested row by row.
const MAX_ACTION_READS: usize = 20;

/// The latest events that a search by name looks at. Names stand in the values only, which an
/// erasure empties, and have no index.
pub const MAX_NAMED_EVENTS: u64 = 20_000;

/// ` AND …`: true for every row `e`. Each index of lists has such a condition, so that it serves
/// only the statements that make it, whatever the statistics are.
fn index_condition(index: ListIndex) -> &'static str {
    match index {
        ListIndex::Other => "",
        ListIndex::Place => " AND e.action <> 'by place'",
        ListIndex::Action => " AND e.action <> 'by action'",
        ListIndex::Actor => " AND e.action <> 'by actor'",
        ListIndex::ActorKind => " AND e.action <> 'by actor kind'",
        ListIndex::Connection => " AND e.action <> 'by connection'",
    }
}

/// The index by which events are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ListIndex {
    /// One that other statements use, too.
    Other,
    Place,
    Action,
    Actor,
    ActorKind,
    Connection,
}

/// What a story is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorySubject {
    User(Uuid),
    Group(Uuid),
    Role(Uuid),
    /// Anything else: done to it, or by it.
    Other(Uuid),
}

/// Selects rows of the ledger; none and an empty list = all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LedgerFilter {
    /// One of these kinds.
    pub actions: Vec<EventKind>,
    /// None of these kinds.
    pub not_actions: Vec<EventKind>,
    pub subject: Option<Uuid>,
    /// About a subject whose name contained this at that time; the letters A to Z in any case.
    /// Lists and counts look for it among the latest [`MAX_NAMED_EVENTS`] that fulfil the rest.
    pub subject_name: Option<String>,
    /// About a subject of this kind, as the ledger names it.
    pub kind: Option<&'static str>,
    pub connection: Option<Uuid>,
    /// Made by this actor: the id of a connection or a key, or the subject of a person.
    pub actor: Option<String>,
    /// Made by an actor of this kind, as the ledger names it.
    pub actor_kind: Option<&'static str>,
    /// Written by this request.
    pub request: Option<Uuid>,
    /// Done to it, done by it, or about what belongs to it.
    pub concerns: Option<StorySubject>,
    /// From this instant on.
    pub since: Option<DateTime<Utc>>,
    /// Before this instant.
    pub until: Option<DateTime<Utc>>,
}

/// The columns of a row as [`Event`].
const EVENT_COLUMNS: &str = "e.pos, e.organization_id, e.id, e.seq, e.at, e.requested_at, \
                             e.actor_kind, e.actor_id, e.actor_name, e.action, e.subject_kind, \
                             e.subject_id, e.connection_id, e.request_id, e.payload, e.salt, \
                             e.digest, e.population, e.hash";

fn kinds_list(kinds: &[EventKind]) -> String {
    EventKind::sql_list(|kind| kinds.contains(&kind))
}

impl LedgerFilter {
    /// ` AND …`: the conditions on the row `e` but for those that the reads of a list are divided
    /// by. Values are bound to `sql`.
    fn write_conditions(&self, with_actions: bool, sql: &mut SqlBuilder) -> String {
        let mut text = String::new();
        let mut add = |condition: String| {
            text.push_str(" AND ");
            text.push_str(&condition);
        };
        match self.actions.as_slice() {
            _ if !with_actions => {}
            [] => {}
            [one] => add(format!("e.action = '{}'", one.name())),
            some => add(format!("e.action IN {}", kinds_list(some))),
        }
        if !self.not_actions.is_empty() {
            add(format!("e.action NOT IN {}", kinds_list(&self.not_actions)));
        }
        if let Some(subject) = self.subject {
            add(format!("e.subject_id = {}", sql.bind(subject)));
        }
        if let Some(kind) = self.kind {
            add(format!("e.subject_kind = '{kind}'"));
        }
        if let Some(connection) = self.connection {
            add(format!("e.connection_id = {}", sql.bind(connection)));
        }
        if let Some(actor) = &self.actor {
            add(format!("e.actor_id = {}", sql.bind(actor.as_str())));
        }
        // The kind is part of the text, so that the partial index of rare kinds can be used.
        match self.actor_kind {
            None => {}
            Some("CONNECTION") => add("e.actor_kind = 'CONNECTION'".into()),
            Some(kind) => add(format!("e.actor_kind = '{kind}' AND e.actor_kind <> 'CONNECTION'")),
        }
        if let Some(request) = self.request {
            add(format!("e.request_id = {}", sql.bind(request)));
        }
        if let Some(since) = self.since {
            add(format!("e.at >= {}", sql.bind(since)));
        }
        if let Some(until) = self.until {
            add(format!("e.at < {}", sql.bind(until)));
        }
        text
    }

    /// The condition on the name of the subject of the row `e`; none = any.
    fn name_condition(&self, backend: DbBackend, sql: &mut SqlBuilder) -> Option<String> {
        let name = self.subject_name.as_ref()?.to_ascii_lowercase();
        // The values are read as text first: most of them have the name nowhere.
        let quoted = Value::from(name.as_str()).to_string();
        let [anywhere, name] = [&quoted[1..quoted.len() - 1], &name].map(|text| sql.bind(text));
        let contains = |text: &str, part: &Placeholder| match backend {
            DbBackend::Postgres => format!("strpos(lower({text} COLLATE \"C\"), {part}) > 0"),
            _ => format!("instr(lower({text}), {part}) > 0"),
        };
        Some(format!(
            "CASE WHEN {} THEN {} ELSE FALSE END",
            contains("e.payload", &anywhere),
            contains(&ledger::subject_name_sql(backend), &name)
        ))
    }

    /// Refuses a search by name by those who may not read names.
    pub(super) fn check_readable(&self, cx: &Cx) -> Result<()> {
        if self.subject_name.is_some() {
            cx.allow(Action::ReadUser, None)?;
        }
        Ok(())
    }

    /// The index that finds the fewest rows.
    fn narrowest_index(&self) -> ListIndex {
        if self.subject.is_some() || self.request.is_some() {
            ListIndex::Other
        } else if self.actor.is_some() {
            ListIndex::Actor
        } else if self.actions.len() == 1 {
            ListIndex::Action
        } else if self.connection.is_some() {
            ListIndex::Connection
        } else if self.actor_kind.is_some_and(|kind| kind != "CONNECTION") {
            ListIndex::ActorKind
        } else {
            ListIndex::Place
        }
    }

    /// Whether one condition finds few rows already.
    fn is_narrow(&self) -> bool {
        self.subject.is_some() || self.actor.is_some() || self.request.is_some()
    }
}

/// One of the reads that a list is divided into.
enum LedgerRead {
    /// The rows `e` that fulfil the condition, found by the index.
    Where(String, ListIndex),
    /// The rows `e` of which a column is among the ids that a statement selects.
    Among { ids: String, column: &'static str },
}

impl LedgerRead {
    /// `SELECT pos FROM …` without an order; `conditions` and `bounds` begin with AND.
    fn to_sql(&self, backend: DbBackend, conditions: &str) -> String {
        match self {
            Self::Where(own, index) => format!(
                "SELECT e.pos FROM event e WHERE e.organization_id = $1 AND {own}{}{conditions}",
                index_condition(*index)
            ),
            Self::Among { ids, column } => {
                // The order makes PostgreSQL take the index that has it, also without statistics.
                let order = if backend == DbBackend::Postgres { " ORDER BY e.pos" } else { "" };
                let row = format!("e.organization_id = $1 AND e.{column} = i.id{order}");
                format!(
                    "SELECT e.pos FROM (SELECT DISTINCT id FROM ({ids}) AS ids \
                     WHERE id IS NOT NULL) AS i {} WHERE TRUE{conditions}",
                    paging::join_each(backend, "event", "e", &row)
                )
            }
        }
    }
}

/// The reads of a list; none = it is one read of all rows.
async fn divide_reads(
    cx: &Cx,
    which: &LedgerFilter,
    sql: &mut SqlBuilder,
) -> Result<Option<Vec<LedgerRead>>> {
    let Some(story) = which.concerns else {
        let each = (2..=MAX_ACTION_READS).contains(&which.actions.len()) && !which.is_narrow();
        let by_action = |kind: &EventKind| {
            LedgerRead::Where(format!("e.action = '{}'", kind.name()), ListIndex::Action)
        };
        return Ok(each.then(|| which.actions.iter().map(by_action).collect()));
    };
    let (StorySubject::User(id)
    | StorySubject::Group(id)
    | StorySubject::Role(id)
    | StorySubject::Other(id)) = story;
    let place = sql.bind(id);
    let mut reads = vec![LedgerRead::Where(format!("e.subject_id = {place}"), ListIndex::Other)];
    let by_actor = |sql: &mut SqlBuilder, id: Uuid| {
        let condition = format!("e.actor_id = {}", sql.bind(id.to_string()));
        LedgerRead::Where(condition, ListIndex::Actor)
    };
    // What opened or closed an interval of it: grants, memberships, mappings.
    let intervals = |tables: &[(&str, &str)]| {
        let ends = tables.iter().flat_map(|(table, column)| {
            ["opened_by", "closed_by"].map(|end| {
                format!(
                    "SELECT {end} AS id FROM {table} WHERE organization_id = $1 \
                     AND {column} = {place}"
                )
            })
        });
        let ids = ends.collect::<Vec<_>>().join(" UNION ALL ");
        LedgerRead::Among { ids, column: "id" }
    };
    match story {
        StorySubject::User(_) => {
            reads.push(intervals(&[
                ("membership", "user_id"),
                ("role_grant", "user_id"),
                ("activation", "user_id"),
            ]));
            let cases = ["failure", "finding", "role_grant"].map(|table| {
                format!("SELECT id FROM {table} WHERE organization_id = $1 AND user_id = {place}")
            });
            reads.push(LedgerRead::Among { ids: cases.join(" UNION ALL "), column: "subject_id" });
            for key in keys_of_user(cx, id).await? {
                let condition = format!("e.subject_id = {}", sql.bind(key));
                reads.push(LedgerRead::Where(condition, ListIndex::Other));
                reads.push(by_actor(sql, key));
            }
        }
        // A group that becomes a member of this one is an event of this one.
        StorySubject::Group(_) => {
            reads.push(intervals(&[("group_nesting", "member_id"), ("role_mapping", "group_id")]));
        }
        StorySubject::Role(_) => {
            reads.push(intervals(&[("role_mapping", "role_id"), ("role_grant", "role_id")]));
        }
        StorySubject::Other(_) => reads.push(by_actor(sql, id)),
    }
    Ok(Some(reads))
}

#[derive(FromQueryResult)]
struct OwnedKeyRow {
    id: Uuid,
}

/// The most API keys of an account whose acts belong to its story.
const MAX_KEYS_OF_USER: u64 = 20;

async fn keys_of_user(cx: &Cx, user: Uuid) -> Result<Vec<Uuid>> {
    let text = format!(
        "SELECT id FROM api_key WHERE organization_id = $1 AND owner_user_id = $2 \
         ORDER BY id DESC LIMIT {MAX_KEYS_OF_USER}"
    );
    let rows = OwnedKeyRow::find_by_statement(cx.statement(text, [user.into()]));
    Ok(rows.all(cx.db()).await?.into_iter().map(|row| row.id).collect())
}

/// The rows `e` of the ledger at the places that `places` selects as `pos`; for FROM. On PostgreSQL
/// each place is looked up by itself, in both tables of the view: with a list of places, the whole
/// ledger might be read.
fn rows_at_places(backend: DbBackend, places: &str) -> String {
    let index = index_condition(ListIndex::Place);
    if backend != DbBackend::Postgres {
        return format!(
            "event_sealed e WHERE e.organization_id = $1{index} AND e.pos IN ({places})"
        );
    }
    let columns = EVENT_COLUMNS.replace("e.seq", "c.seq").replace("e.hash", "c.hash");
    format!(
        "(SELECT {columns} FROM ({places}) AS found \
         CROSS JOIN LATERAL (SELECT * FROM event e WHERE e.organization_id = $1{index} \
         AND e.pos = found.pos OFFSET 0) AS e \
         LEFT JOIN LATERAL (SELECT * FROM chain c WHERE c.organization_id = $1 \
         AND c.pos = e.pos OFFSET 0) AS c ON TRUE) AS e"
    )
}

/// The rows `e` of the ledger among the latest that `conditions` select, each read of a list by
/// itself, with the values; for FROM, up to the beginning of a condition.
fn latest_rows(
    backend: DbBackend,
    which: &LedgerFilter,
    reads: Option<&[LedgerRead]>,
    conditions: &str,
) -> String {
    let end = format!("ORDER BY e.pos DESC LIMIT {MAX_NAMED_EVENTS}");
    let each = |read: &LedgerRead| {
        format!("SELECT pos FROM ({} {end}) AS part", read.to_sql(backend, conditions))
    };
    let places = match reads {
        None => format!(
            "SELECT e.pos FROM event e WHERE e.organization_id = $1{}{conditions} {end}",
            index_condition(which.narrowest_index())
        ),
        Some(reads) => format!(
            "SELECT pos FROM ({}) AS each_read ORDER BY pos DESC LIMIT {MAX_NAMED_EVENTS}",
            reads.iter().map(each).collect::<Vec<_>>().join(" UNION ")
        ),
    };
    let index = index_condition(ListIndex::Place);
    if backend != DbBackend::Postgres {
        return format!("event e WHERE e.organization_id = $1{index} AND e.pos IN ({places}) AND");
    }
    format!(
        "({places}) AS latest CROSS JOIN LATERAL (SELECT * FROM event e \
         WHERE e.organization_id = $1{index} AND e.pos = latest.pos OFFSET 0) AS e WHERE"
    )
}

/// A page of the ledger in the order of `pos`.
pub async fn list_events(
    cx: &Cx,
    which: &LedgerFilter,
    keyset: &Keyset<i64>,
) -> Result<Slice<Event>> {
    cx.allow(Action::ReadLedger, None)?;
    which.check_readable(cx)?;
    let mut sql = cx.sql([]);
    let reads = divide_reads(cx, which, &mut sql).await?;
    let by_action = reads.is_some() && which.concerns.is_none();
    let conditions = which.write_conditions(!by_action, &mut sql);
    let bounds = paging::keyset_bounds("e.pos", keyset, &mut sql);
    let direction = paging::keyset_direction(keyset);
    let end = format!("ORDER BY e.pos {direction} LIMIT {}", keyset.limit + 1);
    let name = which.name_condition(cx.backend(), &mut sql);
    let found = match (name, reads) {
        (Some(name), reads) => {
            let latest = latest_rows(cx.backend(), which, reads.as_deref(), &conditions);
            let places = format!("SELECT e.pos FROM {latest} {name}{bounds} {end}");
            rows_at_places(cx.backend(), &places)
        }
        (None, None) => {
            let index = index_condition(which.narrowest_index());
            format!("event_sealed e WHERE e.organization_id = $1{index}{conditions}{bounds}")
        }
        (None, Some(reads)) => {
            let each = |read: &LedgerRead| {
                let read = read.to_sql(cx.backend(), &format!("{conditions}{bounds}"));
                format!("SELECT pos FROM ({read} {end}) AS part")
            };
            let all = reads.iter().map(each).collect::<Vec<_>>().join(" UNION ");
            rows_at_places(cx.backend(), &all)
        }
    };
    sql.push(&format!("SELECT {EVENT_COLUMNS} FROM {found} {end}"));
    let rows = Event::find_by_statement(cx.build_statement(sql)).all(cx.db()).await?;
    Ok(paging::to_slice(rows, keyset))
}

/// How many rows of the ledger match.
pub async fn count_events(cx: &Cx, which: &LedgerFilter) -> Result<u64> {
    cx.allow(Action::ReadLedger, None)?;
    which.check_readable(cx)?;
    let mut sql = cx.sql([]);
    let reads = match which.concerns {
        Some(_) => divide_reads(cx, which, &mut sql).await?,
        None => None,
    };
    let conditions = which.write_conditions(true, &mut sql);
    let name = which.name_condition(cx.backend(), &mut sql);
    match (name, reads) {
        (Some(name), reads) => {
            let latest = latest_rows(cx.backend(), which, reads.as_deref(), &conditions);
            sql.push(&format!("SELECT count(*) AS total FROM {latest} {name}"))
        }
        (None, None) => sql.push(&format!(
            "SELECT count(*) AS total FROM event e WHERE e.organization_id = $1{}{conditions}",
            index_condition(which.narrowest_index())
        )),
        (None, Some(reads)) => {
            let each = |read: &LedgerRead| {
                format!(
                    "SELECT pos FROM ({} ORDER BY e.pos) AS part",
                    read.to_sql(cx.backend(), &conditions)
                )
            };
            let all = reads.iter().map(each).collect::<Vec<_>>().join(" UNION ");
            sql.push(&format!("SELECT count(*) AS total FROM ({all}) AS found"))
        }
    };
    let row = cx.db().query_one_raw(cx.build_statement(sql)).await?;
    let total: i64 = row.map_or(Ok(0), |row| row.try_get("", "total"))?;
    Ok(total.unsigned_abs())
}

/// The first rows that match among those at the places `after` to `until` of the chain, in its
/// order.
pub(super) async fn list_chained(
    cx: &Cx,
    which: &LedgerFilter,
    (after, until): (i64, i64),
    most: u64,
) -> Result<Vec<Event>> {
    let mut sql = cx.sql([]);
    let reads = match which.concerns {
        Some(_) => divide_reads(cx, which, &mut sql).await?,
        None => None,
    };
    let conditions = which.write_conditions(true, &mut sql);
    let story = reads.map_or_else(String::new, |reads| {
        let each = |read: &LedgerRead| read.to_sql(cx.backend(), "");
        let all = reads.iter().map(each).collect::<Vec<_>>().join(" UNION ");
        match cx.backend() {
            DbBackend::Postgres => format!(" AND e.pos = ANY(ARRAY({all}))"),
            _ => format!(" AND e.pos IN ({all})"),
        }
    });
    let name = which.name_condition(cx.backend(), &mut sql);
    let named = name.map_or_else(String::new, |name| format!(" AND {name}"));
    let (after, until) = (sql.bind(after), sql.bind(until));
    sql.push(&format!(
        "SELECT {EVENT_COLUMNS} FROM event_sealed e \
         WHERE e.organization_id = $1{conditions}{named}{story} AND e.seq > {after} \
         AND e.seq <= {until} ORDER BY e.seq ASC LIMIT {most}"
    ));
    Ok(Event::find_by_statement(cx.build_statement(sql)).all(cx.db()).await?)
}
