//! The builder of raw statements: text and values together, for SQLite and PostgreSQL.
//!
//! A value gets its number when it is bound, so text that grows needs no counting, and no client's
//! text is ever part of a statement. Both databases read placeholders as `$1`, `$2`, …, and each
//! may stand in the text more than once. The text of a statement is the same for all values of one
//! shape, because plans are kept by text: so a list of ids is one value, however many ids it has.
//!
//! What must never enter: tables and columns of the product, except `organization_id`, which every
//! table has. Nothing here makes a `Statement`: the way from here to the database leads through
//! `Cx`, which binds the organization first, or through the ledger.

use std::fmt;
use std::fmt::Write as _;

use sea_orm::{DbBackend, Value};
use uuid::Uuid;

/// A raw statement while it is being written.
#[derive(Debug, Clone, Default)]
pub struct SqlBuilder {
    text: String,
    values: Vec<Value>,
}

/// The place of a bound value in the text: it is written as `$1`, `$2`, ….
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placeholder(usize);

impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}", self.0)
    }
}

/// Adds `value` to the values of a statement.
pub fn bind_value(values: &mut Vec<Value>, value: impl Into<Value>) -> Placeholder {
    values.push(value.into());
    Placeholder(values.len())
}

impl SqlBuilder {
    /// A statement without text whose first values are `values`: `$1`, `$2`, ….
    pub fn with_values(values: impl IntoIterator<Item = Value>) -> Self {
        Self { text: String::new(), values: values.into_iter().collect() }
    }

    /// An empty statement with room for `text` bytes and `values` values.
    pub fn with_capacity(text: usize, values: usize) -> Self {
        Self { text: String::with_capacity(text), values: Vec::with_capacity(values) }
    }

    /// Binds `value`; what is returned goes into the text wherever the value is meant.
    pub fn bind(&mut self, value: impl Into<Value>) -> Placeholder {
        bind_value(&mut self.values, value)
    }

    /// Binds `ids` as one value and returns SQL for "is one of these ids" ([`in_ids`]).
    pub fn bind_ids<'a>(
        &mut self,
        backend: DbBackend,
        ids: impl IntoIterator<Item = &'a Uuid>,
    ) -> String {
        let Placeholder(number) = self.bind(bind_ids(ids));
        in_ids(backend, number)
    }

    /// The values bound so far, for what binds values of its own ([`bind_value`]).
    pub fn values_mut(&mut self) -> &mut Vec<Value> {
        &mut self.values
    }

    /// Appends `text`, whose placeholders are those of this statement.
    pub fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Appends a piece of SQL that numbers its own `values` from `$1`.
    pub fn push_piece(&mut self, piece: &str, values: impl IntoIterator<Item = Value>) {
        self.push_renumbered(piece, "$", values);
    }

    /// The same inside a batched statement ([`batch_cte`]), where a value is a column of the row
    /// `q`.
    pub fn push_batched_piece(&mut self, piece: &str, values: impl IntoIterator<Item = Value>) {
        self.push_renumbered(piece, BATCH_COLUMN, values);
    }

    fn push_renumbered(
        &mut self,
        piece: &str,
        sign: &str,
        values: impl IntoIterator<Item = Value>,
    ) {
        let known = self.values.len();
        renumber_placeholders(&mut self.text, piece, sign, known);
        self.values.extend(values);
    }

    /// Binds each of `values` and appends them, separated by commas.
    pub fn push_values(&mut self, values: impl IntoIterator<Item = Value>) {
        self.push_list("$", values);
    }

    /// The same inside a batched statement.
    pub fn push_batched_values(&mut self, values: impl IntoIterator<Item = Value>) {
        self.push_list(BATCH_COLUMN, values);
    }

    fn push_list(&mut self, sign: &str, values: impl IntoIterator<Item = Value>) {
        let mut separator = "";
        for value in values {
            let Placeholder(number) = self.bind(value);
            let _ = write!(self.text, "{separator}{sign}{number}");
            separator = ", ";
        }
    }

    /// Whether there is no text yet.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The text, and the values of its placeholders.
    pub fn into_parts(self) -> (String, Vec<Value>) {
        (self.text, self.values)
    }

    /// The text of a batched statement with this text after [`batch_cte`], and one query's values.
    pub fn into_batched_parts(self) -> (String, Vec<Value>) {
        (format!("{}{}", batch_cte(self.values.len()), self.text), self.values)
    }
}

impl fmt::Write for SqlBuilder {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.text.push_str(text);
        Ok(())
    }
}

/// How the values of one query are named in a batched statement: `q.v1`, `q.v2`, ….
const BATCH_COLUMN: &str = "q.v";

/// How a batched statement begins: `q` has a row for each query, with its values from `v1` on, and
/// its number as `n`.
fn batch_cte(values: usize) -> String {
    let mut text = String::with_capacity(64 + values * 10);
    text.push_str("WITH q AS (SELECT * FROM unnest(");
    for n in 1..=values {
        let _ = write!(text, "{}${n}", if n == 1 { "" } else { ", " });
    }
    text.push_str(") WITH ORDINALITY AS q(");
    for n in 1..=values {
        let _ = write!(text, "v{n}, ");
    }
    text.push_str("n))");
    text
}

/// Appends a piece of a statement whose `$1` is the value `{sign}{known + 1}` of the whole.
fn renumber_placeholders(text: &mut String, piece: &str, sign: &str, known: usize) {
    let mut pieces = piece.split('$');
    text.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let digits = piece.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = piece.split_at(digits);
        let _ = match number.parse::<usize>() {
            Ok(number) => write!(text, "{sign}{}{rest}", number + known),
            Err(_) => write!(text, "${piece}"),
        };
    }
}

/// SQL that joins the rows of `table`, as `alias`, for each row before it: they are looked up by
/// `condition`, never joined in the other direction. PostgreSQL needs the OFFSET for that, SQLite
/// the CROSS JOIN.
pub fn join_each(backend: DbBackend, table: &str, alias: &str, condition: &str) -> String {
    match backend {
        DbBackend::Postgres => {
            format!(
                "CROSS JOIN LATERAL (SELECT * FROM \"{table}\" {alias} WHERE {condition} OFFSET \
                 0) AS {alias}"
            )
        }
        _ => format!("CROSS JOIN \"{table}\" {alias} ON {condition}"),
    }
}

/// SQL that joins the rows of `table`, as `alias`, that have one of the ids in `$ids` in `column`
/// and belong to the organization `$organization`, in the order of the ids; for FROM. On
/// PostgreSQL, a comparison with a list ([`in_ids`]) may be planned as a scan of the whole
/// organization.
pub fn each_of(
    backend: DbBackend,
    (organization, ids): (usize, usize),
    table: &str,
    alias: &str,
    column: &str,
) -> String {
    let condition =
        format!("{alias}.organization_id = ${organization} AND {alias}.{column} = wanted.id");
    format!("{} {}", wanted_ids(backend, ids), join_each(backend, table, alias, &condition))
}

/// The ids in `$n` as rows `wanted` of one column `id`, in their order; for FROM.
pub fn wanted_ids(backend: DbBackend, n: usize) -> String {
    match backend {
        DbBackend::Postgres => {
            format!(
                "(SELECT id::uuid AS id FROM jsonb_array_elements_text(${n}) AS ids(id) ORDER BY \
                 1) AS wanted"
            )
        }
        _ => format!("(SELECT unhex(value) AS id FROM json_each(${n})) AS wanted"),
    }
}

/// SQL for after SET in an `UPDATE … AS r` of the rows whose `organization_id` and `id` the
/// `select` finds. Each row is looked up, whatever the statistics of the table are.
pub fn where_found(backend: DbBackend, select: &str) -> String {
    match backend {
        DbBackend::Postgres => format!(
            "FROM ({select} OFFSET 0) AS found \
             WHERE r.organization_id = ANY(ARRAY[found.organization_id]) AND r.id = found.id"
        ),
        _ => format!("WHERE (r.organization_id, r.id) IN ({select})"),
    }
}

/// SQL for "is one of these ids". The ids are bound as one value at `$n`, so that the statement is
/// the same for any number of them.
pub fn in_ids(backend: DbBackend, n: usize) -> String {
    match backend {
        DbBackend::Postgres => {
            format!("= ANY(ARRAY(SELECT id::uuid FROM jsonb_array_elements_text(${n}) AS ids(id)))")
        }
        _ => format!("IN (SELECT unhex(value) FROM json_each(${n}))"),
    }
}

/// The value to bind for [`in_ids`].
pub fn bind_ids<'a>(ids: impl IntoIterator<Item = &'a Uuid>) -> Value {
    serde_json::Value::from_iter(ids.into_iter().map(|id| id.simple().to_string())).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_numbered_as_bound() {
        let mut sql = SqlBuilder::with_values([1.into()]);
        let (second, third) = (sql.bind(2), sql.bind(3));
        sql.push(&format!("SELECT {third}, $1, {second}"));
        assert_eq!(
            sql.into_parts(),
            ("SELECT $3, $1, $2".into(), vec![1.into(), 2.into(), 3.into()])
        );
    }

    #[test]
    fn pieces_follow_the_values_before() {
        let mut sql = SqlBuilder::default();
        sql.push_piece("SELECT $1, '$.a', $2, $1", [1.into(), 2.into()]);
        sql.push_piece("; SELECT $2, $1", [3.into(), 4.into()]);
        sql.push("; SELECT ").push_values([5.into(), 6.into()]);
        let (text, values) = sql.into_parts();
        assert_eq!(text, "SELECT $1, '$.a', $2, $1; SELECT $4, $3; SELECT $5, $6");
        assert_eq!(values, [1, 2, 3, 4, 5, 6].map(Value::from));
    }

    #[test]
    fn batched_values_are_columns() {
        let mut sql = SqlBuilder::default();
        sql.push_batched_piece(" SELECT $1, '$.a', $2 FROM q", [1.into(), 2.into()]);
        sql.push(" UNION SELECT ").push_batched_values([3.into(), 4.into()]);
        let (text, values) = sql.into_batched_parts();
        assert_eq!(
            text,
            "WITH q AS (SELECT * FROM unnest($1, $2, $3, $4) WITH ORDINALITY \
             AS q(v1, v2, v3, v4, n)) SELECT q.v1, '$.a', q.v2 FROM q UNION SELECT q.v3, q.v4"
        );
        assert_eq!(values.len(), 4);
    }

    #[test]
    fn lists_of_any_length_share_text() {
        for backend in [DbBackend::Sqlite, DbBackend::Postgres] {
            let texts = [0, 1, 40].map(|length| {
                let ids = vec![Uuid::nil(); length];
                let mut sql = SqlBuilder::with_values([1.into()]);
                let among = sql.bind_ids(backend, &ids);
                assert!(among.contains("($2)"), "{among}");
                sql.push("SELECT 1 WHERE id ").push(&among);
                let (text, values) = sql.into_parts();
                assert_eq!(values.len(), 2);
                text
            });
            assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
        }
    }
}
