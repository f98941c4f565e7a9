//! Pages: by keyset (stable and as fast at the end as at the beginning), over any table with a total order.

use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect,
    Select, Statement, Value,
};
use uuid::Uuid;

use super::schema::ResourceType;
use super::search::{self, AttrPath, Filter};
use crate::context::Cx;
use crate::error::Result;

/// Which part of an ordered list is wanted. Keys are exclusive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keyset<K> {
    pub after: Option<K>,
    pub before: Option<K>,
    /// Rows at most.
    pub limit: u64,
    /// Take from the end instead of from the beginning.
    pub backward: bool,
    /// List from the greatest key down.
    pub descending: bool,
}

/// A part of a list, always in the list's own order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice<T> {
    pub rows: Vec<T>,
    pub has_previous: bool,
    pub has_next: bool,
}

impl<T> Slice<T> {
    /// The same part, each row made into something else.
    pub fn map<U>(self, make: impl FnMut(T) -> U) -> Slice<U> {
        Slice {
            rows: self.rows.into_iter().map(make).collect(),
            has_previous: self.has_previous,
            has_next: self.has_next,
        }
    }
}

/// One page of `query` ordered by a unique column.
pub async fn page<E, M, K>(cx: &Cx, query: Select<E>, key: E::Column, keyset: &Keyset<K>) -> Result<Slice<M>>
where
    E: EntityTrait<Model = M>,
    M: FromQueryResult + Send + Sync,
    K: Into<Value> + Clone,
{
    let rows = select(query, key, keyset).all(cx.db()).await?;
    Ok(cut(rows, keyset))
}

/// The rows of a page and one more, which tells whether the list goes on; for [`cut`].
pub fn select<E: EntityTrait, K: Into<Value> + Clone>(
    query: Select<E>,
    key: E::Column,
    keyset: &Keyset<K>,
) -> Select<E> {
    let mut query = query;
    let (low, high) = match keyset.descending {
        false => (&keyset.after, &keyset.before),
        true => (&keyset.before, &keyset.after),
    };
    if let Some(low) = low {
        query = query.filter(key.gt(low.clone()));
    }
    if let Some(high) = high {
        query = query.filter(key.lt(high.clone()));
    }
    let query = match keyset.descending != keyset.backward {
        false => query.order_by_asc(key),
        true => query.order_by_desc(key),
    };
    query.limit(keyset.limit + 1)
}

/// Makes a [`Slice`] of what [`select`] found.
pub fn cut<T, K>(mut rows: Vec<T>, keyset: &Keyset<K>) -> Slice<T> {
    let more = rows.len() as u64 > keyset.limit;
    rows.truncate(keyset.limit as usize);
    if keyset.backward {
        rows.reverse();
        return Slice { rows, has_previous: more, has_next: keyset.before.is_some() };
    }
    Slice { rows, has_previous: keyset.after.is_some(), has_next: more }
}

/// A filtered, sorted, numbered page over users or groups, as the SCIM door asks for it.
#[derive(Debug, Clone, Default)]
pub struct Query {
    pub filter: Option<Filter>,
    /// Attribute and whether descending; ties and the default order are by id (age).
    pub sort: Option<(AttrPath, bool)>,
    /// Rows to skip.
    pub offset: u64,
    /// Rows at most; zero asks for the total alone.
    pub limit: u64,
}

/// A numbered page and how many rows the whole list has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<T> {
    pub rows: Vec<T>,
    pub total: u64,
}

/// Runs `query` over the live rows of `table` that the actor may see. `columns` are read as `r.…`.
pub async fn search<M: FromQueryResult>(
    cx: &Cx,
    table: &str,
    columns: &str,
    ty: &ResourceType,
    query: &Query,
) -> Result<Found<M>> {
    let (from, values) = matching(cx, table, ty, query.filter.as_ref())?;
    let order = match &query.sort {
        Some((path, descending)) => {
            let direction = if *descending { "DESC NULLS FIRST" } else { "ASC NULLS LAST" };
            format!("{} {direction}, r.id", search::order(path, ty, cx.backend())?)
        }
        None => "r.id".into(),
    };
    let mut rows = Vec::new();
    if query.limit > 0 {
        let text = format!("SELECT {columns} {from} ORDER BY {order} LIMIT {} OFFSET {}", query.limit, query.offset);
        rows = M::find_by_statement(Statement::from_sql_and_values(cx.backend(), text, values.clone()))
            .all(cx.db())
            .await?;
    }
    let seen = rows.len() as u64;
    // A page that is not full is the last one: its end is the total, and nothing has to be counted.
    if query.limit > 0 && seen < query.limit && (seen > 0 || query.offset == 0) {
        return Ok(Found { rows, total: query.offset + seen });
    }
    let count = Statement::from_sql_and_values(cx.backend(), format!("SELECT count(*) AS total {from}"), values);
    let total: i64 = match cx.db().query_one_raw(count).await? {
        Some(row) => row.try_get("", "total")?,
        None => 0,
    };
    Ok(Found { rows, total: total.unsigned_abs() })
}

/// A page by id of the live rows of `table` that the actor may see and `filter` matches.
pub async fn keyset<M: FromQueryResult>(
    cx: &Cx,
    table: &str,
    columns: &str,
    ty: &ResourceType,
    filter: Option<&Filter>,
    keyset: &Keyset<Uuid>,
) -> Result<Slice<M>> {
    let (mut text, mut values) = matching(cx, table, ty, filter)?;
    let (low, high) = match keyset.descending {
        false => (keyset.after, keyset.before),
        true => (keyset.before, keyset.after),
    };
    for (operator, bound) in [(">", low), ("<", high)] {
        if let Some(bound) = bound {
            values.push(bound.into());
            text.push_str(&format!(" AND r.id {operator} ${}", values.len()));
        }
    }
    let direction = if keyset.descending == keyset.backward { "ASC" } else { "DESC" };
    let text = format!("SELECT {columns} {text} ORDER BY r.id {direction} LIMIT {}", keyset.limit + 1);
    let rows = M::find_by_statement(Statement::from_sql_and_values(cx.backend(), text, values)).all(cx.db()).await?;
    Ok(cut(rows, keyset))
}

/// `FROM … WHERE …` over the live rows of `table` that the actor may see and `filter` matches.
fn matching(cx: &Cx, table: &str, ty: &ResourceType, filter: Option<&Filter>) -> Result<(String, Vec<Value>)> {
    let mut values: Vec<Value> = vec![cx.organization().into()];
    let mut text = format!(r#"FROM "{table}" r WHERE r.organization_id = $1 AND r.deleted_at IS NULL"#);
    if let Some(connection) = cx.confined_to() {
        values.push(connection.into());
        text.push_str(" AND r.connection_id = $2");
    }
    if let Some(filter) = filter {
        let sql = search::compile(filter, ty, cx.backend(), values.len())?;
        text.push_str(&format!(" AND ({})", sql.text));
        values.extend(sql.values);
    }
    Ok((text, values))
}

/// SQL for "is one of these ids", the ids bound as one value at `$n`: one statement for any number of them.
pub fn among(backend: DbBackend, n: usize) -> String {
    match backend {
        DbBackend::Postgres => format!("= ANY(ARRAY(SELECT id::uuid FROM jsonb_array_elements_text(${n}) AS ids(id)))"),
        _ => format!("IN (SELECT unhex(value) FROM json_each(${n}))"),
    }
}

/// The value to bind for [`among`].
pub fn ids<'a>(ids: impl IntoIterator<Item = &'a Uuid>) -> Value {
    serde_json::Value::from_iter(ids.into_iter().map(|id| id.simple().to_string())).into()
}
