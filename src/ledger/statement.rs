//! How a change goes to the database together with its ledger row.

use std::borrow::Cow;
use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use entity::event;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement, Value as Sql};
use uuid::Uuid;

use crate::db::sql::bind_value;
use crate::db::{Lease, SqlBuilder};

/// A statement that goes to the database together with the ledger row of its change.
///
/// The first one of a change writes the row that the change is about, with its `version` and
/// `updated_at`; its `$2` is that row's id. It touches exactly one row or, when something else
/// happened meanwhile, none, and then nothing else is written either. Values are numbered from
/// `$1`. Later parts find the instant that the first one wrote as [`FIRST_STEP_INSTANT`].
#[derive(Debug)]
pub struct WriteStep {
    verb: StepKind,
    /// Everything before the condition, but for what it reads from.
    head: Cow<'static, str>,
    /// What it reads from beside the values.
    from: &'static str,
    condition: Cow<'static, str>,
    values: Vec<Sql>,
    must_touch: bool,
    /// The value that changes of the same row in one batch must not share.
    apart: Option<Uuid>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StepKind {
    Insert,
    Update,
    Delete,
    /// An update that only gives its row a new version for each change.
    Count,
}

/// Whether a change at the instant `at` can still be written on PostgreSQL: it is not long before
/// the transaction began, by the database's clock, nor before an instant of which the past was
/// answered.
fn is_unsettled(at: &str) -> String {
    format!(
        "{at} > now() - interval '500 milliseconds' AND {at} > coalesce((SELECT at FROM \
         settled_mark), '-infinity')"
    )
}

/// In a part written without locks: when the first part was written.
pub const FIRST_STEP_INSTANT: &str = "(SELECT at FROM p0)";

impl WriteStep {
    /// `INSERT INTO {into} SELECT {select} WHERE {condition}`.
    pub fn insert(
        into: &str,
        select: &str,
        condition: impl Into<Cow<'static, str>>,
        values: impl IntoIterator<Item = Sql>,
    ) -> Self {
        Self::new(
            StepKind::Insert,
            format!("INSERT INTO {into} SELECT {select}").into(),
            condition,
            values,
        )
    }

    /// `UPDATE {head} WHERE {condition}`, where the head is a table, `SET` and what is set.
    pub fn update(
        head: &str,
        condition: impl Into<Cow<'static, str>>,
        values: impl IntoIterator<Item = Sql>,
    ) -> Self {
        Self::new(StepKind::Update, format!("UPDATE {head}").into(), condition, values)
    }

    /// Gives the live row `$2` of organization `$1` in `table`, which is still owned by `$3`, a new
    /// version at `$4`, if `condition` holds. Several changes of one batch may do that to one row,
    /// and each gets a version of its own, unless they share `apart`. Only without locks.
    pub fn bump_version(
        table: &'static str,
        condition: String,
        values: Vec<Sql>,
        apart: Uuid,
    ) -> Self {
        Self { apart: Some(apart), ..Self::new(StepKind::Count, table.into(), condition, values) }
    }

    /// `DELETE FROM {table} WHERE {condition}`.
    pub fn delete(
        table: &str,
        condition: impl Into<Cow<'static, str>>,
        values: impl IntoIterator<Item = Sql>,
    ) -> Self {
        Self::new(StepKind::Delete, format!("DELETE FROM {table}").into(), condition, values)
    }

    fn new(
        verb: StepKind,
        head: Cow<'static, str>,
        condition: impl Into<Cow<'static, str>>,
        values: impl IntoIterator<Item = Sql>,
    ) -> Self {
        let values = values.into_iter().collect();
        Self {
            verb,
            head,
            from: "",
            condition: condition.into(),
            values,
            must_touch: false,
            apart: None,
        }
    }

    /// What it reads from beside its values.
    pub fn reading_from(self, from: &'static str) -> Self {
        Self { from, ..self }
    }

    /// Without locks, a later part that everything fails with if it finds nothing to write.
    pub fn that_must_touch(self) -> Self {
        Self { must_touch: true, ..self }
    }

    /// Touches nothing when this reaches the database long after `at`: readers of the past rely on
    /// it that what is written now did not happen before they asked.
    pub fn only_soon_after(&mut self, at: DateTime<Utc>) {
        let at = bind_value(&mut self.values, at);
        self.only_if(&is_unsettled(&at.to_string()));
    }

    /// Touches nothing unless `lease` is held, and keeps it held until what is written is
    /// committed.
    pub fn only_while(&mut self, lease: &Lease) {
        let query = lease.held_row_query(DbBackend::Postgres, &mut self.values);
        self.only_if(&format!("EXISTS ({query})"));
    }

    /// Touches nothing unless `condition` holds.
    pub fn only_if(&mut self, condition: &str) {
        self.condition = format!("{} AND {condition}", self.condition).into();
    }

    /// The value that other changes of the same batch must not share with this one, where it is not
    /// the row alone.
    pub(super) fn conflict_key(&self) -> Option<Uuid> {
        self.apart
    }

    fn to_sql(&self) -> String {
        let from = if self.from.is_empty() { "" } else { " FROM " };
        format!("{}{from}{} WHERE {}", self.head, self.from, self.condition)
    }

    /// The text where `source` says which rows it is for.
    fn text_for(&self, source: &str) -> String {
        let word = if self.verb == StepKind::Delete { "USING" } else { "FROM" };
        let comma = if self.from.is_empty() { "" } else { ", " };
        let condition = match self.verb {
            StepKind::Insert => self.condition.clone(),
            _ => with_index(&self.condition).into(),
        };
        format!("{} {word} {source}{comma}{} WHERE {condition}", self.head, self.from)
    }
}

/// A condition that uses an index for each query of a batch. The organization, with which every
/// index begins, is compared with a list of one: then no index has an order that fits a join.
/// PostgreSQL would walk through the whole table in that order while the table is small, and keep
/// to it.
fn with_index(condition: &str) -> String {
    const ORGANIZATION_CONDITION: &str = "organization_id = $";
    let mut pieces = condition.split(ORGANIZATION_CONDITION);
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (number, rest) = piece.split_at(piece.bytes().take_while(u8::is_ascii_digit).count());
        let _ = write!(text, "organization_id = ANY(ARRAY[${number}]){rest}");
    }
    text
}

/// The columns of a ledger row that are written with it, but for its instant.
const EVENT_COLUMNS: &str = "organization_id, id, requested_at, actor_kind, actor_id, actor_name, \
                             subject_kind, \
     subject_id, connection_id, request_id, payload, salt, digest, population, action";

fn event_values(row: event::Model) -> [Sql; 15] {
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

/// The end of the insert of events as `e`: it returns what [`INSERT_UNSEALED`] needs.
pub(super) const RETURNING_PLACE: &str = " RETURNING organization_id, pos)";
/// Adds the inserted events to the list of rows that are not chained yet.
pub(super) const INSERT_UNSEALED: &str =
    "INSERT INTO unsealed (organization_id, pos) SELECT organization_id, pos FROM e";

/// Writes the parts of a change one by one, inside its transaction; false when the first one found
/// nothing to write.
pub(crate) async fn run_steps<C: ConnectionTrait>(
    db: &C,
    parts: impl IntoIterator<Item = WriteStep, IntoIter: Send> + Send,
) -> Result<bool, DbErr> {
    let backend = db.get_database_backend();
    for (n, part) in parts.into_iter().enumerate() {
        let written = db
            .execute_raw(Statement::from_sql_and_values(backend, part.to_sql(), part.values))
            .await?;
        if n == 0 && written.rows_affected() == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Parts that need no look at each other's outcome, for SQLite: several statements in one go.
pub(super) fn one_after_the_other(parts: impl IntoIterator<Item = WriteStep>) -> Statement {
    let mut sql = SqlBuilder::with_capacity(1_024, 32);
    for part in parts {
        sql.push_piece(&part.to_sql(), part.values);
        sql.push("; ");
    }
    let (text, values) = sql.into_parts();
    Statement::from_sql_and_values(DbBackend::Sqlite, text, values)
}

/// A ledger row that has its place in the chain, for SQLite.
pub(super) fn linked_event_step(row: event::Model) -> WriteStep {
    let chained = [row.at.into(), row.seq.into(), row.hash.clone().into()];
    let values = event_values(row).into_iter().chain(chained);
    let numbers: Vec<String> = (1..=18).map(|n| format!("${n}")).collect();
    WriteStep::insert(
        &format!("event ({EVENT_COLUMNS}, at, seq, hash)"),
        &numbers.join(", "),
        "TRUE",
        values,
    )
}

/// The parts of a change and its ledger row as one statement, inside a transaction. The ledger row
/// is not written unless the first part found its row, whose instant is the change's, and the
/// instant is not settled yet.
pub(super) fn combined(parts: Vec<WriteStep>, row: event::Model) -> Statement {
    let mut sql = SqlBuilder::with_capacity(4_096, 64);
    let (mut at, mut from) = (None, "");
    for (n, part) in parts.into_iter().enumerate() {
        let _ = write!(sql, "{}p{n} AS (", if n == 0 { "WITH " } else { ", " });
        sql.push_piece(&part.to_sql(), part.values);
        if n == 0 {
            sql.push(" RETURNING version, updated_at AS at)");
            (at, from) = (Some("p0.at".to_owned()), " FROM p0");
        } else {
            sql.push(" AND EXISTS (SELECT FROM p0))");
        }
    }
    sql.push(if sql.is_empty() { "WITH e AS (" } else { ", e AS (" });
    let _ = write!(sql, "INSERT INTO event ({EVENT_COLUMNS}, at) SELECT ");
    let instant = row.at;
    sql.push_values(event_values(row));
    let at = at.unwrap_or_else(|| sql.bind(instant).to_string());
    let _ =
        write!(sql, ", {at}{from} WHERE {}{RETURNING_PLACE} {INSERT_UNSEALED}", is_unsettled(&at));
    let (text, values) = sql.into_parts();
    Statement::from_sql_and_values(DbBackend::Postgres, text, values)
}

/// The first step of a batch of changes that only increase the version of their row: the row is
/// written once, and its version grows by the number of changes that succeed. Its instant follows
/// the last one of the row, as [`Tx::now_after`] has it.
///
/// [`Tx::now_after`]: crate::context::Tx::now_after
fn push_counting_step(sql: &mut SqlBuilder, part: WriteStep) {
    sql.push(", able AS (SELECT n, v1, v2, v3, v4 FROM q WHERE ");
    sql.push_batched_piece(&part.condition, part.values);
    let table = &part.head;
    // Rows are locked in one order everywhere.
    let _ = write!(
        sql,
        "), done AS (UPDATE {table} r SET version = r.version + c.askers, \
             updated_at = greatest(r.updated_at + interval '1 microsecond', c.at) \
           FROM (SELECT v1, v2, v3, count(*) AS askers, max(v4) AS at FROM able \
           GROUP BY v1, v2, v3 ORDER BY v2, v3) AS c \
           WHERE r.organization_id = ANY(ARRAY[c.v1]) AND r.id = c.v2 AND r.deleted_at IS NULL \
           AND r.connection_id IS NOT DISTINCT FROM c.v3 \
           RETURNING c.v2, c.v3, r.version - c.askers AS before, r.updated_at AS at), \
         p0(n, written, at) AS (SELECT able.n, \
         done.before + row_number() OVER (PARTITION BY able.v2 ORDER BY able.n), done.at \
           FROM done JOIN able ON able.v2 = done.v2 AND able.v3 IS NOT DISTINCT FROM done.v3)"
    );
}

/// The same for many changes of one shape, each of another row, outside a transaction. It answers
/// with the version and the instant of each change whose first part found its row; nothing is
/// written for the others.
pub(super) fn batched(parts: Vec<WriteStep>, row: event::Model) -> (String, Vec<Sql>) {
    let mut sql = SqlBuilder::with_capacity(4_096, 64);
    let mut at = String::from("p0.at");
    for (n, part) in parts.into_iter().enumerate() {
        if part.verb == StepKind::Count {
            push_counting_step(&mut sql, part);
            continue;
        }
        // The rows of an insert do not carry the query's number; their id identifies it.
        let (name, found) = match (n, part.verb) {
            (0, StepKind::Insert) => ("made".into(), " RETURNING id, version, updated_at"),
            (0, _) => ("p0(n, written, at)".into(), " RETURNING q.n, version, updated_at"),
            _ if part.must_touch => (format!("p{n}"), " RETURNING 1"),
            _ => (format!("p{n}"), ""),
        };
        let _ = write!(sql, ", {name} AS (");
        let source = if n == 0 { "q" } else { "q JOIN p0 USING (n)" };
        let piece = part.text_for(source).replace(FIRST_STEP_INSTANT, "p0.at");
        sql.push_batched_piece(&piece, part.values);
        let _ = write!(sql, "{found})");
        if name == "made" {
            sql.push(
                ", p0(n, written, at) AS (SELECT q.n, made.version, made.updated_at FROM made \
                 JOIN q ON q.v2 = made.id)",
            );
        }
        if part.must_touch {
            // No row of the ledger is without an instant: the statement fails.
            at = format!(
                "CASE WHEN (SELECT count(*) FROM p{n}) = (SELECT count(*) FROM p0) THEN {at} END"
            );
        }
    }
    let _ = write!(sql, ", e AS (INSERT INTO event ({EVENT_COLUMNS}, at) SELECT ");
    sql.push_batched_values(event_values(row));
    let _ = write!(
        sql,
        ", {at} FROM q JOIN p0 USING (n){RETURNING_PLACE}, listed AS ({INSERT_UNSEALED}) SELECT n, \
         written AS version, at FROM p0"
    );
    sql.into_batched_parts()
}
