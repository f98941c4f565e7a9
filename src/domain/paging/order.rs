//! Lists in another order than by age: by the first column of an index, and rows with equal values
//! by id. Pages are taken by keyset, so they are stable and as fast at the end as at the beginning.
//!
//! Rows without a value come after all others, and are read by a statement of their own: an index
//! finds either part, not both at once.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, FromQueryResult, QueryResult, Value};
use serde_json::json;
use uuid::Uuid;

use super::live_index::LiveIndex;
use crate::context::Cx;
use crate::context::SqlBuilder;
use crate::domain::paging::{Keyset, Slice, to_slice};
use crate::error::{Error, Result, Rule};

/// The orders that a list can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderBy {
    UserName,
    DisplayName,
    Updated,
    RoleName,
    Priority,
}

impl OrderBy {
    const ALL: [Self; 5] =
        [Self::UserName, Self::DisplayName, Self::Updated, Self::RoleName, Self::Priority];

    /// The column, which is also its name in cursors.
    fn order_column(self) -> &'static str {
        match self {
            Self::UserName => "user_name_key",
            Self::DisplayName => "display_name_key",
            Self::Updated => "updated_at",
            Self::RoleName => "name_key",
            Self::Priority => "priority",
        }
    }

    /// The index of users or groups that has this order.
    fn order_index(self) -> Option<LiveIndex> {
        match self {
            Self::UserName => Some(LiveIndex::UserName),
            Self::DisplayName => Some(LiveIndex::DisplayName),
            Self::Updated => Some(LiveIndex::Change),
            Self::RoleName | Self::Priority => None,
        }
    }

    fn row_key(self, row: &QueryResult) -> Result<Option<OrderKey>> {
        Ok(match self {
            Self::UserName | Self::DisplayName | Self::RoleName => {
                row.try_get::<Option<String>>("", "order_key")?.map(OrderKey::Text)
            }
            Self::Updated => {
                row.try_get::<Option<DateTime<Utc>>>("", "order_key")?.map(OrderKey::Instant)
            }
            Self::Priority => row.try_get::<Option<i32>>("", "order_key")?.map(OrderKey::Number),
        })
    }
}

/// A value that rows are ordered by.
#[derive(Debug, Clone, PartialEq, Eq)]
enum OrderKey {
    Text(String),
    Instant(DateTime<Utc>),
    Number(i32),
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
        let key = match (by, key) {
            (_, serde_json::Value::Null) => None,
            (
                OrderBy::UserName | OrderBy::DisplayName | OrderBy::RoleName,
                serde_json::Value::String(text),
            ) if !text.contains('\0') => Some(OrderKey::Text(text)),
            (OrderBy::Updated, at) => Some(OrderKey::Instant(
                at.as_i64().and_then(DateTime::from_timestamp_micros).ok_or(())?,
            )),
            (OrderBy::Priority, number) => Some(OrderKey::Number(
                number.as_i64().and_then(|number| number.try_into().ok()).ok_or(())?,
            )),
            _ => return Err(()),
        };
        Ok(Self { by, key, id })
    }
}

/// One page of the rows `from` (`FROM … r WHERE …`, whose values are bound in `bound`), each with
/// its place.
///
/// # Errors
/// [`Error::Invalid`] for a cursor of a list in another order.
pub(in crate::domain) async fn fetch_ordered_page<M: FromQueryResult>(
    cx: &Cx,
    columns: &str,
    (from, bound): (String, SqlBuilder),
    by: OrderBy,
    keyset: &Keyset<OrderPlace>,
) -> Result<Slice<(M, OrderPlace)>> {
    for (name, place) in [("after", &keyset.after), ("before", &keyset.before)] {
        if place.as_ref().is_some_and(|place| place.by != by) {
            return Err(Error::broken(
                Rule::Cursor,
                name,
                "is a cursor of a list in another order",
            ));
        }
    }
    let (low, high) = if keyset.descending {
        (&keyset.before, &keyset.after)
    } else {
        (&keyset.after, &keyset.before)
    };
    let up = keyset.descending == keyset.backward;
    let mut rows: Vec<(M, OrderPlace)> = Vec::new();
    for valued in if up { [true, false] } else { [false, true] } {
        // A place among the rows without a value comes after all rows with one.
        let beyond = |place: &Option<OrderPlace>, here: bool| {
            place.as_ref().is_some_and(|place| place.key.is_some() == here)
        };
        let missing = keyset.limit + 1 - rows.len() as u64;
        if missing == 0 || (valued && beyond(low, false)) || (!valued && beyond(high, true)) {
            continue;
        }
        let column = by.order_column();
        let mut text = format!(
            "SELECT {columns}, r.{column} AS order_key {from}{} AND r.{column} IS {}",
            by.order_index().map_or("", |index| index.index_condition(cx.backend())),
            if valued { "NOT NULL" } else { "NULL" }
        );
        let mut sql = bound.clone();
        for (operator, place) in [(">", low), ("<", high)] {
            let Some(place) = place.as_ref().filter(|place| place.key.is_some() == valued) else {
                continue;
            };
            let compared = match place.key.clone() {
                Some(key) => {
                    let (key, id) = (sql.bind(key), sql.bind(place.id));
                    format!("(r.{column}, r.id) {operator} ({key}, {id})")
                }
                None => format!("r.id {operator} {}", sql.bind(place.id)),
            };
            text.push_str(&format!(" AND {compared}"));
        }
        let direction = if up { "ASC" } else { "DESC" };
        let order = if valued {
            format!("r.{column} {direction}, r.id {direction}")
        } else {
            format!("r.id {direction}")
        };
        text.push_str(&format!(" ORDER BY {order} LIMIT {missing}"));
        sql.push(&text);
        for row in cx.db().query_all_raw(cx.build_statement(sql)).await? {
            let place = OrderPlace { by, key: by.row_key(&row)?, id: row.try_get("", "id")? };
            rows.push((M::from_query_result(&row, "")?, place));
        }
    }
    Ok(to_slice(rows, keyset))
}
