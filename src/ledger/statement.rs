//! How a change goes to the database together with its ledger row.

use std::borrow::Cow;
use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use entity::event;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement, Value as Sql};
use uuid::Uuid;

use crate::store::{Lease, askers, numbered};

/// A statement that goes to the database together with the ledger row of its change.
///
/// The first one of a change writes the row that the change is about, with its `version` and `updated_at`; its `$2` is that
/// row's id. It touches exactly one row or, when something else happened meanwhile, none, and then nothing else is written
/// either. Values are numbered from `$1`. Later parts find the instant that the first one wrote as [`INSTANT`].
#[derive(Debug)]
pub struct Part {
    verb: Verb,
    /// Everything before the condition, but for what it reads from.
    head: Cow<'static, str>,
    /// What it reads from beside the values.
    from: &'static str,
    condition: Cow<'static, str>,
    values: Vec<Sql>,
    must_touch: bool,
    /// What several who write the same row must not have in common.
    apart: Option<Uuid>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Insert,
    Update,
    Delete,
    /// An update that only gives its row a new version, for each of those who write it.
    Count,
}

/// Whether a change at the instant `at` can still be written on PostgreSQL: it is not long before the transaction began,
/// by the database's clock, nor before an instant of which the past was answered.
fn is_unsettled(at: &str) -> String {
    format!(
        "{at} > now() - interval '500 milliseconds' AND {at} > coalesce((SELECT at FROM settled_mark), '-infinity')"
    )
}

/// In a part written without locks: when the first part was written.
pub const INSTANT: &str = "(SELECT at FROM p0)";

impl Part {
    /// `INSERT INTO {into} SELECT {select} WHERE {condition}`.
    pub fn insert(
        into: &str,
        select: &str,
        condition: impl Into<Cow<'static, str>>,
        values: impl IntoIterator<Item = Sql>,
    ) -> Self {
        Self::new(Verb::Insert, format!("INSERT INTO {into} SELECT {select}").into(), condition, values)
    }

    /// `UPDATE {head} WHERE {condition}`, where the head is a table, `SET` and what is set.
    pub fn update(head: &str, condition: impl Into<Cow<'static, str>>, values: impl IntoIterator<Item = Sql>) -> Self {
        Self::new(Verb::Update, format!("UPDATE {head}").into(), condition, values)
    }

    /// Gives the live row `$2` of organization `$1` in `table`, which is still owned by `$3`, a new version at `$4`, if
    /// `condition` holds. Many may do that to one row in one statement, and each gets a version of its own, unless they
    /// have `apart` in common. Only without locks.
    pub fn count(table: &'static str, condition: String, values: Vec<Sql>, apart: Uuid) -> Self {
        Self { apart: Some(apart), ..Self::new(Verb::Count, table.into(), condition, values) }
    }

    /// `DELETE FROM {table} WHERE {condition}`.
    pub fn delete(table: &str, condition: impl Into<Cow<'static, str>>, values: impl IntoIterator<Item = Sql>) -> Self {
        Self::new(Verb::Delete, format!("DELETE FROM {table}").into(), condition, values)
    }

    fn new(
        verb: Verb,
        head: Cow<'static, str>,
        condition: impl Into<Cow<'static, str>>,
        values: impl IntoIterator<Item = Sql>,
    ) -> Self {
        let values = values.into_iter().collect();
        Self { verb, head, from: "", condition: condition.into(), values, must_touch: false, apart: None }
    }

    /// What an insert reads from beside its values.
    pub fn from(self, from: &'static str) -> Self {
        Self { from, ..self }
    }

    /// Without locks, a later part that everything fails with if it finds nothing to write.
    pub fn that_must_touch(self) -> Self {
        Self { must_touch: true, ..self }
    }

    /// Touches nothing when this reaches the database long after `at`: readers of the past rely on it that what is
    /// written now did not happen before they asked.
    pub fn only_soon_after(&mut self, at: DateTime<Utc>) {
        self.values.push(at.into());
        self.only_if(&is_unsettled(&format!("${}", self.values.len())));
    }

    /// Touches nothing unless `lease` is held, and keeps it held until what is written is committed.
    pub fn only_while(&mut self, lease: &Lease) {
        let query = lease.query(DbBackend::Postgres, &mut self.values);
        self.only_if(&format!("EXISTS ({query})"));
    }

    /// Touches nothing unless `condition` holds.
    pub fn only_if(&mut self, condition: &str) {
        self.condition = format!("{} AND {condition}", self.condition).into();
    }

    /// What others who go along must not have in common with this, where it is not the row alone.
    pub(super) fn apart(&self) -> Option<Uuid> {
        self.apart
    }

    fn text(&self) -> String {
        let from = if self.from.is_empty() { "" } else { " FROM " };
        format!("{}{from}{} WHERE {}", self.head, self.from, self.condition)
    }

    /// The text where `source` says which rows it is for.
    fn text_for(&self, source: &str) -> String {
        let word = if self.verb == Verb::Delete { "USING" } else { "FROM" };
        let comma = if self.from.is_empty() { "" } else { ", " };
        format!("{} {word} {source}{comma}{} WHERE {}", self.head, self.from, self.condition)
    }
}

/// The columns of a ledger row that are written with it, but for its instant.
const COLUMNS: &str = "organization_id, id, requested_at, actor_kind, actor_id, actor_name, subject_kind, \
     subject_id, connection_id, request_id, payload, salt, digest, population, action";

fn values(row: event::Model) -> [Sql; 15] {
    [
        row.organization_id.into(),
        row.id.into(),
        row.requested_at.into(),
        row.actor_kind.into(),
        row.actor_id.into(),
        row.actor_name.into(),
        row.subject_kind.into(),
        row.subject_id.into(),
        row.connection_id.into(),
        row.request_id.into(),
        row.payload.into(),
        row.salt.into(),
        row.digest.into(),
        row.population.into(),
        row.action.into(),
    ]
}

/// How events are inserted as `e`, so that they can be …
pub(super) const TOLD: &str = " RETURNING organization_id, pos)";
/// … put on the list of those not chained yet.
pub(super) const LISTED: &str = "INSERT INTO unsealed (organization_id, pos) SELECT organization_id, pos FROM e";

/// Writes the parts of a change one by one, inside its transaction; false when the first one found nothing to write.
pub(crate) async fn write<C: ConnectionTrait>(
    db: &C,
    parts: impl IntoIterator<Item = Part, IntoIter: Send> + Send,
) -> Result<bool, DbErr> {
    let backend = db.get_database_backend();
    for (n, part) in parts.into_iter().enumerate() {
        let written = db.execute_raw(Statement::from_sql_and_values(backend, part.text(), part.values)).await?;
        if n == 0 && written.rows_affected() == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Parts that need no look at each other's outcome, for SQLite: several statements in one go.
pub(super) fn one_after_the_other(parts: impl IntoIterator<Item = Part>) -> Statement {
    let mut text = String::with_capacity(1_024);
    let mut known: Vec<Sql> = Vec::with_capacity(32);
    for part in parts {
        numbered(&mut text, &part.text(), "$", known.len());
        text.push_str("; ");
        known.extend(part.values);
    }
    Statement::from_sql_and_values(DbBackend::Sqlite, text, known)
}

/// A ledger row that has its place in the chain, for SQLite.
pub(super) fn linked(row: event::Model) -> Part {
    let chained = [row.at.into(), row.seq.into(), row.hash.clone().into()];
    let values = values(row).into_iter().chain(chained);
    let numbers: Vec<String> = (1..=18).map(|n| format!("${n}")).collect();
    Part::insert(&format!("event ({COLUMNS}, at, seq, hash)"), &numbers.join(", "), "TRUE", values)
}

/// The parts of a change and its ledger row as one statement, inside a transaction. The ledger row is not written unless
/// the first part found its row, whose instant is the change's, and the instant is not settled yet.
pub(super) fn together(parts: Vec<Part>, row: event::Model) -> Statement {
    let mut text = String::with_capacity(4_096);
    let mut known: Vec<Sql> = Vec::with_capacity(64);
    let (mut at, mut from) = (String::new(), "");
    for (n, part) in parts.into_iter().enumerate() {
        text.push_str(if n == 0 { "WITH " } else { ", " });
        text.push_str(&format!("p{n} AS ("));
        numbered(&mut text, &part.text(), "$", known.len());
        if n == 0 {
            text.push_str(" RETURNING version, updated_at AS at)");
            (at, from) = ("p0.at".into(), " FROM p0");
        } else {
            text.push_str(" AND EXISTS (SELECT FROM p0))");
        }
        known.extend(part.values);
    }
    let first = known.len();
    let instant = row.at;
    known.extend(values(row));
    if from.is_empty() {
        known.push(instant.into());
        at = format!("${}", known.len());
    }
    text.push_str(if text.is_empty() { "WITH e AS (" } else { ", e AS (" });
    let _ = write!(text, "INSERT INTO event ({COLUMNS}, at) SELECT ");
    for n in first + 1..=first + 15 {
        let _ = write!(text, "${n}, ");
    }
    let _ = write!(text, "{at}{from} WHERE {}{TOLD} {LISTED}", is_unsettled(&at));
    Statement::from_sql_and_values(DbBackend::Postgres, text, known)
}

/// The first part of a change that only counts on the version of its row, gathered: the row is written once, whoever is
/// able to goes into its version. Its instant follows the last one of the row, as [`Tx::now_after`] has it.
///
/// [`Tx::now_after`]: crate::context::Tx::now_after
fn counted(part: &Part) -> String {
    let mut condition = String::with_capacity(512);
    numbered(&mut condition, &part.condition, "q.v", 0);
    let table = &part.head;
    // Rows are locked in one order everywhere.
    format!(
        "able AS (SELECT n, v1, v2, v3, v4 FROM q WHERE {condition}), \
         done AS (UPDATE {table} r SET version = r.version + c.askers, \
             updated_at = greatest(r.updated_at + interval '1 microsecond', c.at) \
           FROM (SELECT v1, v2, v3, count(*) AS askers, max(v4) AS at FROM able GROUP BY v1, v2, v3 ORDER BY v2, v3) AS c \
           WHERE r.organization_id = c.v1 AND r.id = c.v2 AND r.deleted_at IS NULL AND r.connection_id IS NOT DISTINCT FROM c.v3 \
           RETURNING c.v2, c.v3, r.version - c.askers AS before, r.updated_at AS at), \
         p0(n, written, at) AS (SELECT able.n, done.before + row_number() OVER (PARTITION BY able.v2 ORDER BY able.n), done.at \
           FROM done JOIN able ON able.v2 = done.v2 AND able.v3 IS NOT DISTINCT FROM done.v3)"
    )
}

/// The same for many changes of one shape, each of another row ([`askers`]), outside a transaction. It answers with the
/// version and the instant of each change whose first part found its row; nothing is written for the others.
pub(super) fn gathered(parts: Vec<Part>, row: event::Model) -> (String, Vec<Sql>) {
    let mut text = String::with_capacity(4_096);
    let mut known: Vec<Sql> = Vec::with_capacity(64);
    let mut at = String::from("p0.at");
    for (n, part) in parts.into_iter().enumerate() {
        if part.verb == Verb::Count {
            let _ = write!(text, ", {}", counted(&part));
            known.extend(part.values);
            continue;
        }
        // What an insert wrote does not tell for whom; its id does.
        let (name, found) = match (n, part.verb) {
            (0, Verb::Insert) => ("made".into(), " RETURNING id, version, updated_at"),
            (0, _) => ("p0(n, written, at)".into(), " RETURNING q.n, version, updated_at"),
            _ if part.must_touch => (format!("p{n}"), " RETURNING 1"),
            _ => (format!("p{n}"), ""),
        };
        let _ = write!(text, ", {name} AS (");
        let source = if n == 0 { "q" } else { "q JOIN p0 USING (n)" };
        numbered(&mut text, &part.text_for(source).replace(INSTANT, "p0.at"), "q.v", known.len());
        let _ = write!(text, "{found})");
        if name == "made" {
            text.push_str(
                ", p0(n, written, at) AS (SELECT q.n, made.version, made.updated_at FROM made JOIN q ON q.v2 = made.id)",
            );
        }
        if part.must_touch {
            // No row of the ledger is without an instant: the statement fails.
            at = format!("CASE WHEN (SELECT count(*) FROM p{n}) = (SELECT count(*) FROM p0) THEN {at} END");
        }
        known.extend(part.values);
    }
    let first = known.len();
    known.extend(values(row));
    let _ = write!(text, ", e AS (INSERT INTO event ({COLUMNS}, at) SELECT ");
    for n in first + 1..=first + 15 {
        let _ = write!(text, "q.v{n}, ");
    }
    let _ = write!(
        text,
        "{at} FROM q JOIN p0 USING (n){TOLD}, listed AS ({LISTED}) SELECT n, written AS version, at FROM p0"
    );
    (format!("{}{text}", askers(known.len())), known)
}
