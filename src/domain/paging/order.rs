//! Lists in another order than by age: by a column that an index leads with, and by id where that is the same. Pages
//! are taken by keyset, so they are stable and as fast at the end as at the beginning.
//!
//! Rows without a value come after all others, in a part of their own: an index finds either part, not both at once.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, FromQueryResult, QueryResult, Statement, Value};
use serde_json::json;
use uuid::Uuid;

use super::list::{Keyset, Slice, cut};
use super::live_index::LiveIndex;
use crate::context::Cx;
use crate::error::{Error, Result, Rule};

/// What a list can be ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    UserName,
    DisplayName,
    Updated,
    RoleName,
    Priority,
}

impl By {
    const ALL: [Self; 5] = [Self::UserName, Self::DisplayName, Self::Updated, Self::RoleName, Self::Priority];

    /// The column, which is also its name in cursors.
    fn column(self) -> &'static str {
        match self {
            Self::UserName => "user_name_key",
            Self::DisplayName => "display_name_key",
            Self::Updated => "updated_at",
            Self::RoleName => "name_key",
            Self::Priority => "priority",
        }
    }

    /// The index of users or groups that has this order.
    fn index(self) -> Option<LiveIndex> {
        match self {
            Self::UserName => Some(LiveIndex::UserName),
            Self::DisplayName => Some(LiveIndex::DisplayName),
            Self::Updated => Some(LiveIndex::Change),
            Self::RoleName | Self::Priority => None,
        }
    }

    fn key(self, row: &QueryResult) -> Result<Option<Key>> {
        Ok(match self {
            Self::UserName | Self::DisplayName | Self::RoleName => {
                row.try_get::<Option<String>>("", "order_key")?.map(Key::Text)
            }
            Self::Updated => row.try_get::<Option<DateTime<Utc>>>("", "order_key")?.map(Key::Instant),
            Self::Priority => row.try_get::<Option<i32>>("", "order_key")?.map(Key::Number),
        })
    }
}

/// A value that rows are ordered by.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    Text(String),
    Instant(DateTime<Utc>),
    Number(i32),
}

impl From<Key> for Value {
    fn from(key: Key) -> Self {
        match key {
            Key::Text(text) => text.into(),
            Key::Instant(at) => at.into(),
            Key::Number(number) => number.into(),
        }
    }
}

/// A row's place in an ordered list; its text is what a cursor holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    by: By,
    key: Option<Key>,
    id: Uuid,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = match &self.key {
            None => serde_json::Value::Null,
            Some(Key::Text(text)) => json!(text),
            Some(Key::Instant(at)) => json!(at.timestamp_micros()),
            Some(Key::Number(number)) => json!(number),
        };
        write!(f, "{}", json!([self.by.column(), key, self.id]))
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (column, key, id): (String, serde_json::Value, Uuid) = serde_json::from_str(text).map_err(|_| ())?;
        let by = By::ALL.into_iter().find(|by| by.column() == column).ok_or(())?;
        let key = match (by, key) {
            (_, serde_json::Value::Null) => None,
            (By::UserName | By::DisplayName | By::RoleName, serde_json::Value::String(text))
                if !text.contains('\0') =>
            {
                Some(Key::Text(text))
            }
            (By::Updated, at) => Some(Key::Instant(at.as_i64().and_then(DateTime::from_timestamp_micros).ok_or(())?)),
            (By::Priority, number) => {
                Some(Key::Number(number.as_i64().and_then(|number| number.try_into().ok()).ok_or(())?))
            }
            _ => return Err(()),
        };
        Ok(Self { by, key, id })
    }
}

/// One page of the rows `from` (`FROM … r WHERE …`, with `values`), each with its place.
///
/// # Errors
/// [`Error::Invalid`] for a cursor of a list in another order.
pub(super) async fn page<M: FromQueryResult>(
    cx: &Cx,
    columns: &str,
    (from, values): (String, Vec<Value>),
    by: By,
    keyset: &Keyset<Place>,
) -> Result<Slice<(M, Place)>> {
    for (name, place) in [("after", &keyset.after), ("before", &keyset.before)] {
        if place.as_ref().is_some_and(|place| place.by != by) {
            return Err(Error::broken(Rule::Cursor, name, "is a cursor of a list in another order"));
        }
    }
    let (low, high) = match keyset.descending {
        false => (&keyset.after, &keyset.before),
        true => (&keyset.before, &keyset.after),
    };
    let up = keyset.descending == keyset.backward;
    let mut rows: Vec<(M, Place)> = Vec::new();
    for valued in if up { [true, false] } else { [false, true] } {
        // A place among rows without a value lies behind all that have one.
        let beyond =
            |place: &Option<Place>, here: bool| place.as_ref().is_some_and(|place| place.key.is_some() == here);
        let missing = keyset.limit + 1 - rows.len() as u64;
        if missing == 0 || (valued && beyond(low, false)) || (!valued && beyond(high, true)) {
            continue;
        }
        let column = by.column();
        let mut text = format!(
            "SELECT {columns}, r.{column} AS order_key {from}{} AND r.{column} IS {}",
            by.index().map_or("", |index| index.condition(cx.backend())),
            if valued { "NOT NULL" } else { "NULL" }
        );
        let mut values = values.clone();
        for (operator, bound) in [(">", low), ("<", high)] {
            let Some(place) = bound.as_ref().filter(|place| place.key.is_some() == valued) else { continue };
            let compared = match place.key.clone() {
                Some(key) => {
                    values.push(key.into());
                    format!("(r.{column}, r.id) {operator} (${}, ${})", values.len(), values.len() + 1)
                }
                None => format!("r.id {operator} ${}", values.len() + 1),
            };
            values.push(place.id.into());
            text.push_str(&format!(" AND {compared}"));
        }
        let direction = if up { "ASC" } else { "DESC" };
        let order =
            if valued { format!("r.{column} {direction}, r.id {direction}") } else { format!("r.id {direction}") };
        text.push_str(&format!(" ORDER BY {order} LIMIT {missing}"));
        for row in cx.db().query_all_raw(Statement::from_sql_and_values(cx.backend(), text, values)).await? {
            let place = Place { by, key: by.key(&row)?, id: row.try_get("", "id")? };
            rows.push((M::from_query_result(&row, "")?, place));
        }
    }
    Ok(cut(rows, keyset))
}
