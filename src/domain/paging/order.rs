//! Lists in any order: by one column, and rows with equal values by id. Pages are taken by keyset,
//! so they are stable and as fast at the end as at the beginning.
//!
//! Rows without a value come after all others, and are read by a statement of their own: an index
//! finds either part, not both at once.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, ExprTrait, FromQueryResult, ModelTrait,
    QueryFilter, QueryOrder, QueryResult, QuerySelect, Select, Value,
};
use serde_json::json;
use uuid::Uuid;

use super::keyset::{Keyset, Slice, to_slice};
use super::live_index::LiveIndex;
use crate::context::Cx;
use crate::context::SqlBuilder;
use crate::error::{Error, Result, Rule};

/// The orders that a list can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OrderBy {
    /// By id, which is the order of creation.
    #[default]
    Age,
    UserName,
    DisplayName,
    Updated,
    /// The folded name of a role.
    RoleName,
    Priority,
    /// The name of a connection or of an API key.
    Name,
    Deleted,
    Expires,
    LastUsed,
    /// The last of many occurrences.
    LastAt,
    /// When a difference was last seen.
    LastSeen,
}

/// What the values of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyKind {
    Text,
    Instant,
    Number,
}

impl OrderBy {
    const ALL: [Self; 12] = [
        Self::Age,
        Self::UserName,
        Self::DisplayName,
        Self::Updated,
        Self::RoleName,
        Self::Priority,
        Self::Name,
        Self::Deleted,
        Self::Expires,
        Self::LastUsed,
        Self::LastAt,
        Self::LastSeen,
    ];

    /// The column, which is also its name in cursors.
    fn order_column(self) -> &'static str {
        match self {
            Self::Age => "id",
            Self::UserName => "user_name_key",
            Self::DisplayName => "display_name_key",
            Self::Updated => "updated_at",
            Self::RoleName => "name_key",
            Self::Priority => "priority",
            Self::Name => "name",
            Self::Deleted => "deleted_at",
            Self::Expires => "expires_at",
            Self::LastUsed => "last_used_at",
            Self::LastAt => "last_at",
            Self::LastSeen => "last_seen_at",
        }
    }

    fn key_kind(self) -> KeyKind {
        match self {
            Self::UserName | Self::DisplayName | Self::RoleName | Self::Name => KeyKind::Text,
            Self::Priority => KeyKind::Number,
            Self::Age
            | Self::Updated
            | Self::Deleted
            | Self::Expires
            | Self::LastUsed
            | Self::LastAt
            | Self::LastSeen => KeyKind::Instant,
        }
    }

    /// Whether a row may lack the value.
    fn is_nullable(self) -> bool {
        matches!(self, Self::DisplayName | Self::Priority | Self::Expires | Self::LastUsed)
    }

    /// The index of users or groups that has this order.
    pub(super) fn order_index(self) -> Option<LiveIndex> {
        match self {
            Self::UserName => Some(LiveIndex::UserName),
            Self::DisplayName => Some(LiveIndex::DisplayName),
            Self::Updated => Some(LiveIndex::Change),
            _ => None,
        }
    }

    fn row_key(self, row: &QueryResult) -> Result<Option<OrderKey>> {
        Ok(match self.key_kind() {
            KeyKind::Text => row.try_get::<Option<String>>("", "order_key")?.map(OrderKey::Text),
            KeyKind::Instant => {
                row.try_get::<Option<DateTime<Utc>>>("", "order_key")?.map(OrderKey::Instant)
            }
            KeyKind::Number => row.try_get::<Option<i32>>("", "order_key")?.map(OrderKey::Number),
        })
    }
}

/// A value that rows are ordered by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum OrderKey {
    Text(String),
    Instant(DateTime<Utc>),
    Number(i32),
}

impl OrderKey {
    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::String(text) => text.map(Self::Text),
            Value::ChronoDateTimeUtc(at) => at.map(Self::Instant),
            Value::Int(number) => number.map(Self::Number),
            _ => None,
        }
    }
}

impl From<OrderKey> for Value {
    fn from(key: OrderKey) -> Self {
        match key {
            OrderKey::Text(text) => text.into(),
            OrderKey::Instant(at) => at.into(),
            OrderKey::Number(number) => number.into(),
        }
    }
}

/// A row's place in an ordered list. A cursor holds its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderPlace {
    by: OrderBy,
    key: Option<OrderKey>,
    id: Uuid,
}

impl OrderPlace {
    /// The place of a row in the order of creation.
    pub fn by_age(id: Uuid) -> Self {
        Self { by: OrderBy::Age, key: None, id }
    }
}

impl fmt::Display for OrderPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = match &self.key {
            None => serde_json::Value::Null,
            Some(OrderKey::Text(text)) => json!(text),
            Some(OrderKey::Instant(at)) => json!(at.timestamp_micros()),
            Some(OrderKey::Number(number)) => json!(number),
        };
        write!(f, "{}", json!([self.by.order_column(), key, self.id]))
    }
}

impl FromStr for OrderPlace {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (column, key, id): (String, serde_json::Value, Uuid) =
            serde_json::from_str(text).map_err(|_| ())?;
        let by = OrderBy::ALL.into_iter().find(|by| by.order_column() == column).ok_or(())?;
        let key = match (by.key_kind(), key) {
            (_, serde_json::Value::Null) if by == OrderBy::Age || by.is_nullable() => None,
            (KeyKind::Text, serde_json::Value::String(text)) if !text.contains('\0') => {
                Some(OrderKey::Text(text))
            }
            (KeyKind::Instant, at) if by != OrderBy::Age => Some(OrderKey::Instant(
                at.as_i64().and_then(DateTime::from_timestamp_micros).ok_or(())?,
            )),
            (KeyKind::Number, number) => Some(OrderKey::Number(
                number.as_i64().and_then(|number| number.try_into().ok()).ok_or(())?,
            )),
            _ => return Err(()),
        };
        Ok(Self { by, key, id })
    }
}

/// The page of a list without a filter by age, by the same places as every other order.
impl Keyset<OrderPlace> {
    /// The keyset over ids alone, for a list by age.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a cursor of a list in another order.
    pub fn to_id_keyset(&self) -> Result<Keyset<Uuid>> {
        check_places(OrderBy::Age, self)?;
        Ok(Keyset {
            after: self.after.as_ref().map(|place| place.id),
            before: self.before.as_ref().map(|place| place.id),
            limit: self.limit,
            backward: self.backward,
            descending: self.descending,
        })
    }
}

/// The rows of a list by age, each with its place.
pub fn place_by_age<T>(slice: Slice<T>, id: impl Fn(&T) -> Uuid) -> Slice<(T, OrderPlace)> {
    slice.map(|row| {
        let place = OrderPlace::by_age(id(&row));
        (row, place)
    })
}

fn check_places(by: OrderBy, keyset: &Keyset<OrderPlace>) -> Result<()> {
    for (name, place) in [("after", &keyset.after), ("before", &keyset.before)] {
        if place.as_ref().is_some_and(|place| place.by != by) {
            let why = "is a cursor of a list in another order";
            return Err(Error::broken(Rule::Cursor, name, why));
        }
    }
    Ok(())
}

/// A part of an ordered list, which one statement reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ListPart {
    /// All rows, by id.
    ById,
    /// The rows with a value.
    Valued,
    /// The rows without one, which come last, by id.
    Valueless,
}

/// How the statements of one page are read.
struct OrderedRead<'k> {
    by: OrderBy,
    low: Option<&'k OrderPlace>,
    high: Option<&'k OrderPlace>,
    ascending: bool,
    /// One more than the page has.
    wanted: u64,
}

impl<'k> OrderedRead<'k> {
    fn new(by: OrderBy, keyset: &'k Keyset<OrderPlace>) -> Result<Self> {
        check_places(by, keyset)?;
        let (low, high) = if keyset.descending {
            (&keyset.before, &keyset.after)
        } else {
            (&keyset.after, &keyset.before)
        };
        Ok(Self {
            by,
            low: low.as_ref(),
            high: high.as_ref(),
            ascending: keyset.descending == keyset.backward,
            wanted: keyset.limit + 1,
        })
    }

    /// The parts to read, in their order.
    fn parts(&self) -> &'static [ListPart] {
        match (self.by, self.by.is_nullable(), self.ascending) {
            (OrderBy::Age, ..) => &[ListPart::ById],
            (_, false, _) => &[ListPart::Valued],
            (_, true, true) => &[ListPart::Valued, ListPart::Valueless],
            (_, true, false) => &[ListPart::Valueless, ListPart::Valued],
        }
    }

    /// Whether the page begins after, or ends before, this part.
    fn skips(&self, part: ListPart) -> bool {
        match part {
            ListPart::ById => false,
            ListPart::Valued => self.low.is_some_and(|place| place.key.is_none()),
            ListPart::Valueless => self.high.is_some_and(|place| place.key.is_some()),
        }
    }

    /// The bounds inside this part, each with its operator.
    fn bounds(&self, part: ListPart) -> impl Iterator<Item = (&'static str, &'k OrderPlace)> {
        [(">", self.low), ("<", self.high)].into_iter().filter_map(move |(operator, place)| {
            let inside = |place: &&OrderPlace| match part {
                ListPart::ById => true,
                ListPart::Valued => place.key.is_some(),
                ListPart::Valueless => place.key.is_none(),
            };
            Some((operator, place.filter(inside)?))
        })
    }
}

/// One page of the rows `from` (`FROM … r WHERE …`, whose values are bound in `bound`), each with
/// its place. `by_id` is the order of ids, if it is not `r.id`. If the rows are few and found by
/// an index of their own, they are sorted: the index of the order is not used, because it would be
/// read until enough of the few have come by.
///
/// # Errors
/// [`Error::Invalid`] for a cursor of a list in another order.
pub(in crate::domain) async fn fetch_ordered_page<M: FromQueryResult>(
    cx: &Cx,
    columns: &str,
    (from, bound): (String, SqlBuilder),
    (by, by_id, few): (OrderBy, &str, bool),
    keyset: &Keyset<OrderPlace>,
) -> Result<Slice<(M, OrderPlace)>> {
    let read = OrderedRead::new(by, keyset)?;
    let column = by.order_column();
    let direction = if read.ascending { "ASC" } else { "DESC" };
    // On SQLite the sign keeps a column from being read along an index.
    let sign = if few && cx.backend() == DbBackend::Sqlite { "+" } else { "" };
    let index = by.order_index().filter(|_| !few);
    let index = index.map_or("", |index| index.index_condition(cx.backend()));
    let mut rows: Vec<(M, OrderPlace)> = Vec::new();
    for part in read.parts() {
        let missing = read.wanted - rows.len() as u64;
        if missing == 0 || read.skips(*part) {
            continue;
        }
        let mut text = match part {
            ListPart::ById => format!("SELECT {columns} {from}"),
            _ => format!(
                "SELECT {columns}, r.{column} AS order_key {from}{index} \
                 AND {sign}r.{column} IS {}",
                if *part == ListPart::Valued { "NOT NULL" } else { "NULL" }
            ),
        };
        let mut sql = bound.clone();
        for (operator, place) in read.bounds(*part) {
            let compared = match (part, place.key.clone()) {
                (ListPart::Valued, Some(key)) => {
                    let (key, id) = (sql.bind(key), sql.bind(place.id));
                    format!("({sign}r.{column}, {sign}r.id) {operator} ({key}, {id})")
                }
                _ => format!("r.id {operator} {}", sql.bind(place.id)),
            };
            text.push_str(&format!(" AND {compared}"));
        }
        let order = match part {
            ListPart::Valued => {
                format!("{sign}r.{column} {direction}, {sign}r.id {direction}")
            }
            ListPart::ById => format!("{sign}{by_id} {direction}"),
            ListPart::Valueless => format!("{sign}r.id {direction}"),
        };
        text.push_str(&format!(" ORDER BY {order} LIMIT {missing}"));
        sql.push(&text);
        for row in cx.db().query_all_raw(cx.build_statement(sql)).await? {
            let key = if *part == ListPart::Valued { by.row_key(&row)? } else { None };
            let place = OrderPlace { by, key, id: row.try_get("", "id")? };
            rows.push((M::from_query_result(&row, "")?, place));
        }
    }
    Ok(to_slice(rows, keyset))
}

/// One page of the rows that `query` selects, each with its place. `id` is the column of their
/// ids.
///
/// # Errors
/// [`Error::Invalid`] for a cursor of a list in another order.
pub async fn fetch_ordered<E>(
    cx: &Cx,
    query: Select<E>,
    id: E::Column,
    by: OrderBy,
    keyset: &Keyset<OrderPlace>,
) -> Result<Slice<(E::Model, OrderPlace)>>
where
    E: EntityTrait,
    E::Model: ModelTrait<Entity = E> + Send + Sync,
    E::Column: FromStr,
{
    let read = OrderedRead::new(by, keyset)?;
    let name = if by == OrderBy::Age { None } else { Some(by.order_column()) };
    let column = match name.map(E::Column::from_str) {
        None => id,
        Some(Ok(column)) => column,
        Some(Err(_)) => {
            return Err(Error::Internal(format!("a list has no order by {}", by.order_column())));
        }
    };
    let pair = || Expr::tuple([column.into_expr(), id.into_expr()]);
    let mut rows: Vec<(E::Model, OrderPlace)> = Vec::new();
    for part in read.parts() {
        let missing = read.wanted - rows.len() as u64;
        if missing == 0 || read.skips(*part) {
            continue;
        }
        let mut page = match part {
            ListPart::ById => query.clone(),
            // Also where every row has a value: on SQLite the indexes of orders have the condition,
            // so that they serve no other statement.
            ListPart::Valued => query.clone().filter(column.is_not_null()),
            ListPart::Valueless => query.clone().filter(column.is_null()),
        };
        for (operator, place) in read.bounds(*part) {
            page = match (part, place.key.clone()) {
                (ListPart::Valued, Some(key)) => {
                    let bound = Expr::tuple([Expr::value(key), Expr::value(place.id)]);
                    let beyond = if operator == ">" { pair().gt(bound) } else { pair().lt(bound) };
                    page.filter(beyond)
                }
                _ if operator == ">" => page.filter(id.gt(place.id)),
                _ => page.filter(id.lt(place.id)),
            };
        }
        let order = if read.ascending { sea_orm::Order::Asc } else { sea_orm::Order::Desc };
        if *part == ListPart::Valued {
            page = page.order_by(column, order.clone());
        }
        for row in page.order_by(id, order).limit(missing).all(cx.db()).await? {
            let Value::Uuid(Some(row_id)) = row.get(id) else {
                return Err(Error::Internal("a row has no id".into()));
            };
            let key = match part {
                ListPart::Valued => OrderKey::from_value(row.get(column)),
                _ => None,
            };
            rows.push((row, OrderPlace { by, key, id: row_id }));
        }
    }
    Ok(to_slice(rows, keyset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_back() {
        let id = Uuid::now_v7();
        let at = DateTime::from_timestamp_micros(1_700_000_000_000_001).unwrap();
        let keys = [
            (OrderBy::Age, None),
            (OrderBy::UserName, Some(OrderKey::Text("ada".into()))),
            (OrderBy::Expires, None),
            (OrderBy::Expires, Some(OrderKey::Instant(at))),
            (OrderBy::Priority, Some(OrderKey::Number(-4))),
        ];
        for (by, key) in keys {
            let place = OrderPlace { by, key, id };
            assert_eq!(place.to_string().parse(), Ok(place));
        }
        for wrong in [
            json!(["id", "ada", id]),
            json!(["user_name_key", null, id]),
            json!(["user_name_key", "a\0b", id]),
            json!(["updated_at", "ada", id]),
            json!(["hash", null, id]),
        ] {
            assert_eq!(wrong.to_string().parse::<OrderPlace>(), Err(()), "{wrong}");
        }
    }
}
