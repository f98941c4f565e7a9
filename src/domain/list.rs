//! Pages: by keyset (stable and as fast at the end as at the beginning), over any table with a total order.

use std::borrow::Cow;

use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect,
    Select, Statement, Value,
};
use uuid::Uuid;

use super::event::{self, Owners};
use super::order::{self, By};
use super::schema::ResourceType;
use super::search::{self, AttrPath, Filter};
use crate::authz::Action;
use crate::context::{Cx, Tx};
use crate::error::Result;

/// Which part of an ordered list is wanted. Keys are exclusive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
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

/// What the lists of users and of groups need to know about their table.
#[derive(Debug)]
pub struct Table<M> {
    pub name: &'static str,
    /// The columns of `M`, read as `r.…`.
    pub columns: Cow<'static, str>,
    pub id: fn(&M) -> Uuid,
}

/// A filtered, sorted page over users or groups, as the SCIM door asks for it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Query {
    pub filter: Option<Filter>,
    /// Attribute and whether descending; ties and the default order are by id (age).
    pub sort: Option<(AttrPath, bool)>,
    pub from: From,
    /// Rows at most; zero asks for the total alone.
    pub limit: u64,
}

/// Where a page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// After this many rows: the slower the farther.
    Index(u64),
    /// At a place that an earlier page named: as fast at the end as at the beginning (RFC 9865).
    Cursor(Cursor),
}

impl Default for From {
    fn default() -> Self {
        Self::Index(0)
    }
}

/// A place in a list. A list sorted by an attribute is walked by number, every other one by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    pub place: Place,
    /// The total as it was when the walk began: counted once, not at every page.
    pub total: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Beginning,
    After(Uuid),
    Before(Uuid),
    Number(u64),
}

/// A page, how many rows the whole list has, and where the neighbouring pages of a walk by cursor are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<T> {
    pub rows: Vec<T>,
    pub total: u64,
    pub next: Option<Cursor>,
    pub previous: Option<Cursor>,
}

impl<T> Found<T> {
    /// The same page, each row made into something else.
    pub fn map<U>(self, make: impl FnMut(&T) -> Result<U>) -> Result<Found<U>> {
        let rows = self.rows.iter().map(make).collect::<Result<_>>()?;
        Ok(Found { rows, total: self.total, next: self.next, previous: self.previous })
    }
}

/// The live row `id` of `table` as it is now.
pub(super) async fn one<M: FromQueryResult>(cx: &Cx, table: &Table<M>, id: Uuid) -> Result<Option<M>> {
    let text = format!(
        r#"SELECT {} FROM "{}" r WHERE r.organization_id = $1 AND r.id = $2 AND r.deleted_at IS NULL"#,
        table.columns, table.name
    );
    Ok(along(cx, text, vec![cx.organization().into(), id.into()]).await?.pop())
}

/// The few rows that a statement finds by an index; whoever asks the same of other rows at the same time goes along.
pub(super) async fn along<M: FromQueryResult>(cx: &Cx, text: String, values: Vec<Value>) -> Result<Vec<M>> {
    let rows = cx.db().query_along(Statement::from_sql_and_values(cx.backend(), text, values)).await?;
    Ok(rows.iter().map(|row| M::from_query_result(row, "")).collect::<Result<_, _>>()?)
}

/// Runs `query` over the live rows of `table` that the actor may see.
pub async fn search<M: FromQueryResult>(
    cx: &Cx,
    table: &Table<M>,
    ty: &ResourceType,
    query: &Query,
) -> Result<Found<M>> {
    match (&query.from, &query.sort) {
        (From::Index(offset @ 1..), None) if query.filter.is_none() && query.limit > 0 => {
            far(cx, table, ty, *offset, query.limit).await
        }
        (From::Index(offset), _) => numbered(cx, table, ty, query, *offset, None).await,
        (From::Cursor(Cursor { place, total }), None) => walk(cx, table, ty, query, *place, *total).await,
        (From::Cursor(Cursor { place, total }), Some(_)) => {
            let offset = match place {
                Place::Number(offset) => *offset,
                _ => 0,
            };
            let mut found = numbered(cx, table, ty, query, offset, *total).await?;
            let at = |offset: u64| Some(Cursor { place: Place::Number(offset), total: Some(found.total) });
            let end = offset + found.rows.len() as u64;
            (found.next, found.previous) = (
                if end < found.total && !found.rows.is_empty() { at(end) } else { None },
                if offset > 0 { at(offset.saturating_sub(query.limit)) } else { None },
            );
            Ok(found)
        }
    }
}

async fn numbered<M: FromQueryResult>(
    cx: &Cx,
    table: &Table<M>,
    ty: &ResourceType,
    query: &Query,
    offset: u64,
    total: Option<u64>,
) -> Result<Found<M>> {
    let (from, values) = matching(cx, table, ty, query.filter.as_ref(), Owners::Anybody)?;
    let order = match &query.sort {
        Some((path, descending)) => {
            let direction = if *descending { "DESC NULLS FIRST" } else { "ASC NULLS LAST" };
            format!("{} {direction}, r.id", search::order(path, ty, cx.backend())?)
        }
        None => "r.id".into(),
    };
    let mut rows = Vec::new();
    if query.limit > 0 {
        // A bound that PostgreSQL cannot see in the text is a guess, for which it plans every page anew.
        let page = |columns: &str| format!("SELECT {columns} {from} ORDER BY {order} LIMIT {}", query.limit);
        let (columns, mut values) = (&table.columns, values);
        let text = match offset {
            0 => page(columns),
            // Rows that are skipped are not read: their ids stand in an index.
            _ => {
                values.push((offset as i64).into());
                let ids = format!("{} OFFSET ${}", page("r.id"), values.len());
                let name = table.name;
                // From the page to its rows, not the other way round, which is how SQLite would have the order for nothing.
                format!(
                    r#"SELECT {columns} FROM ({ids}) AS page CROSS JOIN "{name}" r
                       WHERE r.organization_id = $1 AND r.id = page.id ORDER BY {order}"#
                )
            }
        };
        rows = match query.filter.as_ref().is_some_and(Filter::names_one) {
            true => along(cx, text, values).await?,
            false => {
                M::find_by_statement(Statement::from_sql_and_values(cx.backend(), text, values)).all(cx.db()).await?
            }
        };
    }
    let seen = rows.len() as u64;
    // A page that is not full is the last one: its end is the total, and nothing has to be counted.
    let ends = query.limit > 0 && seen < query.limit && (seen > 0 || offset == 0);
    let total = match total {
        Some(total) => total,
        None if ends => offset + seen,
        None => count(cx, table, ty, query.filter.as_ref(), Owners::Anybody).await?,
    };
    Ok(Found { rows, total, next: None, previous: None })
}

/// A page of everything by age, not at the beginning: the rows before it or those after it are skipped, whichever are
/// fewer, by the total of the same statement.
async fn far<M: FromQueryResult>(
    cx: &Cx,
    table: &Table<M>,
    ty: &ResourceType,
    offset: u64,
    limit: u64,
) -> Result<Found<M>> {
    let (from, mut values) = matching(cx, table, ty, None, Owners::Anybody)?;
    let owners = cx.confined_to().map_or(Owners::Anybody, Owners::Connection);
    let total = event::population_of(cx.backend(), table.name, owners, &mut values);
    values.push((offset as i64).into());
    let skip = values.len();
    let (columns, name) = (&table.columns, table.name);
    // How many rows forwards from the beginning, or backwards from the end, and how many to skip there.
    let text = format!(
        r#"WITH whole AS MATERIALIZED (SELECT {total} AS n), part AS MATERIALIZED (
             SELECT n, CASE WHEN ${skip} * 2 <= n THEN {limit} ELSE 0 END AS forwards,
               CASE WHEN ${skip} * 2 <= n OR n <= ${skip} THEN 0 WHEN n - ${skip} < {limit} THEN n - ${skip}
                 ELSE {limit} END AS backwards,
               CASE WHEN n - ${skip} > {limit} THEN n - ${skip} - {limit} ELSE 0 END AS behind FROM whole)
           SELECT {columns}, (SELECT n FROM part) AS total FROM (
             SELECT id FROM (SELECT r.id {from} ORDER BY r.id LIMIT (SELECT forwards FROM part) OFFSET ${skip}) AS early
             UNION ALL SELECT id FROM (SELECT r.id {from} ORDER BY r.id DESC
               LIMIT (SELECT backwards FROM part) OFFSET (SELECT behind FROM part)) AS late LIMIT {limit}
           ) AS page CROSS JOIN "{name}" r WHERE r.organization_id = $1 AND r.id = page.id ORDER BY r.id"#
    );
    let found = cx.db().query_all_raw(Statement::from_sql_and_values(cx.backend(), text, values)).await?;
    let total = match found.first() {
        Some(row) => row.try_get::<i64>("", "total")?.max(0).unsigned_abs(),
        None => event::population(cx, name, owners).await?,
    };
    let rows = found.iter().map(|row| M::from_query_result(row, "")).collect::<Result<_, _>>()?;
    Ok(Found { rows, total, next: None, previous: None })
}

async fn walk<M: FromQueryResult>(
    cx: &Cx,
    table: &Table<M>,
    ty: &ResourceType,
    query: &Query,
    place: Place,
    total: Option<u64>,
) -> Result<Found<M>> {
    let (after, before) = match place {
        Place::After(id) => (Some(id), None),
        Place::Before(id) => (None, Some(id)),
        Place::Beginning | Place::Number(_) => (None, None),
    };
    let wanted = Keyset { after, before, limit: query.limit, backward: before.is_some(), descending: false };
    let slice = keyset(cx, table, ty, query.filter.as_ref(), Owners::Anybody, &wanted).await?;
    let whole = !slice.has_previous && !slice.has_next;
    let total = match total {
        Some(total) => total,
        None if whole => slice.rows.len() as u64,
        None => count(cx, table, ty, query.filter.as_ref(), Owners::Anybody).await?,
    };
    let at = |place| Cursor { place, total: Some(total) };
    let next = slice.rows.last().filter(|_| slice.has_next).map(|row| at(Place::After((table.id)(row))));
    let previous = slice.rows.first().filter(|_| slice.has_previous).map(|row| at(Place::Before((table.id)(row))));
    Ok(Found { rows: slice.rows, total, next, previous })
}

/// How many live rows of `table` the actor may see and `filter` matches. All of an owner's need no counting.
pub async fn count<M>(
    cx: &Cx,
    table: &Table<M>,
    ty: &ResourceType,
    filter: Option<&Filter>,
    owners: Owners,
) -> Result<u64> {
    if filter.is_none() {
        let owners = cx.confined_to().map_or(owners, Owners::Connection);
        return event::population(cx, table.name, owners).await;
    }
    let (from, values) = matching(cx, table, ty, filter, owners)?;
    let count = Statement::from_sql_and_values(cx.backend(), format!("SELECT count(*) AS total {from}"), values);
    let total: i64 = match cx.db().query_one_raw(count).await? {
        Some(row) => row.try_get("", "total")?,
        None => 0,
    };
    Ok(total.unsigned_abs())
}

/// A page by id of the live rows of `table` that the actor may see and `filter` matches.
pub async fn keyset<M: FromQueryResult>(
    cx: &Cx,
    table: &Table<M>,
    ty: &ResourceType,
    filter: Option<&Filter>,
    owners: Owners,
    keyset: &Keyset<Uuid>,
) -> Result<Slice<M>> {
    let (mut text, mut values) = matching(cx, table, ty, filter, owners)?;
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
    let text = format!("SELECT {} {text} ORDER BY r.id {direction} LIMIT {}", table.columns, keyset.limit + 1);
    let rows = M::find_by_statement(Statement::from_sql_and_values(cx.backend(), text, values)).all(cx.db()).await?;
    Ok(cut(rows, keyset))
}

/// The same in another order than by age.
pub(super) async fn ordered<M: FromQueryResult>(
    cx: &Cx,
    table: &Table<M>,
    ty: &ResourceType,
    (filter, owners): (Option<&Filter>, Owners),
    by: By,
    keyset: &Keyset<order::Place>,
) -> Result<Slice<(M, order::Place)>> {
    order::page(cx, &table.columns, matching(cx, table, ty, filter, owners)?, by, keyset).await
}

/// `FROM … WHERE …` over the live rows of `table` that the actor may see and `filter` matches.
fn matching<M>(
    cx: &Cx,
    table: &Table<M>,
    ty: &ResourceType,
    filter: Option<&Filter>,
    owners: Owners,
) -> Result<(String, Vec<Value>)> {
    let mut values: Vec<Value> = vec![cx.organization().into()];
    let mut text = format!(r#"FROM "{}" r WHERE r.organization_id = $1 AND r.deleted_at IS NULL"#, table.name);
    match cx.confined_to().map_or(owners, Owners::Connection) {
        Owners::Anybody => {}
        Owners::Nobody => text.push_str(" AND r.connection_id IS NULL"),
        Owners::Connections => text.push_str(" AND r.connection_id IS NOT NULL"),
        Owners::Connection(id) => {
            values.push(id.into());
            text.push_str(" AND r.connection_id = $2");
        }
    }
    if let Some(filter) = filter {
        check_readable(cx, table.name, ty, filter)?;
        let sql = search::compile(filter, ty, cx.backend(), values.len(), cx.confined_to().is_some())?;
        text.push_str(&format!(" AND ({})", sql.text));
        values.extend(sql.values);
    }
    Ok((text, values))
}

/// Refuses a filter on what the actor may not read: the groups of users, and what users are called in groups.
fn check_readable(cx: &Cx, table: &str, ty: &ResourceType, filter: &Filter) -> Result<()> {
    let mut checked = Ok(());
    filter.visit(ty, &mut |attribute, sub| {
        let action = match (table, attribute, sub) {
            ("user", "groups", _) => Action::ReadGroup,
            ("group", "members", Some("display")) => Action::ReadUser,
            _ => return,
        };
        if checked.is_ok() {
            checked = cx.allow(action, cx.confined_to());
        }
    });
    checked
}

/// Whether a live row of `table` has anything under the top-level key `urn` of its document.
pub(super) async fn any_has(tx: &Tx<'_>, table: &str, urn: &str) -> Result<bool> {
    let backend = tx.db.get_database_backend();
    let has = match backend {
        DbBackend::Postgres => "jsonb_exists(r.search, $2)",
        _ => "EXISTS (SELECT 1 FROM json_each(r.search) WHERE key = $2)",
    };
    let text =
        format!(r#"SELECT 1 FROM "{table}" r WHERE r.organization_id = $1 AND r.deleted_at IS NULL AND {has} LIMIT 1"#);
    let values = [tx.organization().into(), urn.into()];
    Ok(tx.db.query_one_raw(Statement::from_sql_and_values(backend, text, values)).await?.is_some())
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
