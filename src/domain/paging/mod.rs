//! Pages: by keyset (stable and as fast at the end as at the beginning), over any table with a
//! total order.

mod filter_dialect;
pub mod filter_sql;
mod keyset;
pub(in crate::domain) mod live_index;
pub mod order;
pub mod selection;

use std::borrow::Cow;

use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbBackend, EntityTrait, FromQueryResult, QueryFilter,
    QueryOrder, QuerySelect, Select, Statement, Value,
};
use uuid::Uuid;

use crate::auth::policy::Action;
use crate::context::SqlBuilder;
use crate::context::{Cx, Tx};
// How statements about many ids are written; each list of the domain needs it.
pub use crate::context::sql::{bind_ids, each_of, in_ids, join_each, wanted_ids, where_found};
use crate::domain::audit::event;
use crate::domain::audit::subject_owners::SubjectOwners;
use crate::domain::paging::live_index::LiveIndex;
use crate::domain::paging::order::OrderBy;
use crate::domain::paging::selection::RowSelection;
use crate::error::Result;
use crate::identity::filter::{AttrPath, Filter};
use crate::identity::schema::ResourceType;
pub use keyset::{Keyset, Slice, to_slice};
pub use order::fetch_ordered;

/// One page of `query` ordered by a unique column.
pub async fn fetch_page<E, M, K>(
    cx: &Cx,
    query: Select<E>,
    key: E::Column,
    keyset: &Keyset<K>,
) -> Result<Slice<M>>
where
    E: EntityTrait<Model = M>,
    M: FromQueryResult + Send + Sync,
    K: Into<Value> + Clone,
{
    let rows = select_page(query, key, keyset).all(cx.db()).await?;
    Ok(to_slice(rows, keyset))
}

/// The rows of a page and one more, which shows whether rows follow the page; for [`to_slice`].
pub fn select_page<E: EntityTrait, K: Into<Value> + Clone>(
    query: Select<E>,
    key: E::Column,
    keyset: &Keyset<K>,
) -> Select<E> {
    let mut query = query;
    let (low, high) = if keyset.descending {
        (&keyset.before, &keyset.after)
    } else {
        (&keyset.after, &keyset.before)
    };
    if let Some(low) = low {
        query = query.filter(key.gt(low.clone()));
    }
    if let Some(high) = high {
        query = query.filter(key.lt(high.clone()));
    }
    let query = if keyset.descending != keyset.backward {
        query.order_by_desc(key)
    } else {
        query.order_by_asc(key)
    };
    query.limit(keyset.limit + 1)
}

/// The table of a list of users or of groups.
#[derive(Debug)]
pub struct ListTable<M> {
    pub name: &'static str,
    /// The columns of `M`, read as `r.…`.
    pub columns: Cow<'static, str>,
    pub id: fn(&M) -> Uuid,
}

/// A filtered, sorted page of users or groups, as a SCIM request selects it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ListQuery {
    pub filter: Option<Filter>,
    /// Attribute and whether descending; ties and the default order are by id (age).
    pub sort: Option<(AttrPath, bool)>,
    pub from: PageStart,
    /// The most rows; zero selects the total alone.
    pub limit: u64,
}

/// Where a page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageStart {
    /// After this many rows: slower for a greater number.
    Index(u64),
    /// At a place that an earlier page returned: as fast at the end as at the beginning (RFC 9865).
    Cursor(ListCursor),
}

impl Default for PageStart {
    fn default() -> Self {
        Self::Index(0)
    }
}

/// A place in a list. In a list sorted by an attribute it is a number of rows, in every other one
/// an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListCursor {
    pub place: CursorPlace,
    /// The total at the first page, so that it is not counted again at every page.
    pub total: Option<u64>,
}

/// Where the page of a cursor is: at the beginning, after or before the row of an id, or, where the
/// rows are sorted, from the row of a number on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CursorPlace {
    Beginning,
    After(Uuid),
    Before(Uuid),
    Number(u64),
}

/// A page, how many rows the whole list has, and the cursors of the neighbouring pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundPage<T> {
    pub rows: Vec<T>,
    pub total: u64,
    pub next: Option<ListCursor>,
    pub previous: Option<ListCursor>,
}

impl<T> FoundPage<T> {
    /// The same page, with each row converted by `make`.
    pub fn map<U>(self, make: impl FnMut(&T) -> Result<U>) -> Result<FoundPage<U>> {
        let rows = self.rows.iter().map(make).collect::<Result<_>>()?;
        Ok(FoundPage { rows, total: self.total, next: self.next, previous: self.previous })
    }
}

/// The live row `id` of `table` as it is now.
pub(super) async fn find_live<M: FromQueryResult>(
    cx: &Cx,
    table: &ListTable<M>,
    id: Uuid,
) -> Result<Option<M>> {
    let text = format!(
        r#"SELECT {} FROM "{}" r WHERE r.organization_id = $1 AND r.id = $2
           AND r.deleted_at IS NULL"#,
        table.columns, table.name
    );
    Ok(query_along_text(cx, cx.statement(text, [id.into()])).await?.pop())
}

/// The few rows that a statement finds by an index. It is combined with the same statements of
/// other requests at the same time.
pub(super) async fn query_along_text<M: FromQueryResult>(
    cx: &Cx,
    statement: Statement,
) -> Result<Vec<M>> {
    let rows = cx.db().query_batched(statement).await?;
    Ok(rows.iter().map(|row| M::from_query_result(row, "")).collect::<Result<_, _>>()?)
}

/// Runs `query` over the live rows of `table` that the actor may see.
pub async fn search_list<M: FromQueryResult>(
    cx: &Cx,
    table: &ListTable<M>,
    ty: &ResourceType,
    query: &ListQuery,
) -> Result<FoundPage<M>> {
    match (&query.from, &query.sort) {
        (PageStart::Index(offset @ 1..), None) if query.filter.is_none() && query.limit > 0 => {
            page_from_nearer_end(cx, table, ty, *offset, query.limit).await
        }
        (PageStart::Index(offset), _) => numbered_page(cx, table, ty, query, *offset, None).await,
        (PageStart::Cursor(ListCursor { place, total }), None) => {
            cursor_page(cx, table, ty, query, *place, *total).await
        }
        (PageStart::Cursor(ListCursor { place, total }), Some(_)) => {
            let offset = match place {
                CursorPlace::Number(offset) => *offset,
                _ => 0,
            };
            let mut found = numbered_page(cx, table, ty, query, offset, *total).await?;
            let at = |offset: u64| {
                Some(ListCursor { place: CursorPlace::Number(offset), total: Some(found.total) })
            };
            let end = offset + found.rows.len() as u64;
            (found.next, found.previous) = (
                if end < found.total && !found.rows.is_empty() { at(end) } else { None },
                if offset > 0 { at(offset.saturating_sub(query.limit)) } else { None },
            );
            Ok(found)
        }
    }
}

async fn numbered_page<M: FromQueryResult>(
    cx: &Cx,
    table: &ListTable<M>,
    ty: &ResourceType,
    query: &ListQuery,
    offset: u64,
    total: Option<u64>,
) -> Result<FoundPage<M>> {
    let mut sql = cx.sql([]);
    let filter = query.filter.as_ref();
    let from = matching_clause(cx, table, ty, RowSelection::by_filter(filter), true, &mut sql)?;
    let order = match &query.sort {
        Some((path, descending)) => {
            let direction = if *descending { "DESC NULLS FIRST" } else { "ASC NULLS LAST" };
            format!("{} {direction}, r.id", filter_sql::compile_order(path, ty, cx.backend())?)
        }
        None => id_order(cx, RowSelection::by_filter(query.filter.as_ref())).into(),
    };
    let mut rows = Vec::new();
    if query.limit > 0 {
        // The LIMIT is part of the text. For a bound value PostgreSQL would guess it and plan every
        // page again.
        let page = |columns: &str| {
            format!("SELECT {columns} {from} ORDER BY {order} LIMIT {}", query.limit)
        };
        let columns = &table.columns;
        let text = match offset {
            0 => page(columns),
            // Rows that are skipped are not read: an index contains their ids.
            _ => {
                let ids = format!("{} OFFSET {}", page("r.id"), sql.bind(offset as i64));
                let name = table.name;
                // The join leads from the page to its rows. SQLite would join in the other
                // direction, to get the order without sorting.
                let row =
                    join_each(cx.backend(), name, "r", "r.organization_id = $1 AND r.id = page.id");
                format!("SELECT {columns} FROM ({ids}) AS page {row} ORDER BY {order}")
            }
        };
        sql.push(&text);
        let statement = cx.build_statement(sql);
        rows = if filter.is_some_and(Filter::names_one) {
            query_along_text(cx, statement).await?
        } else {
            M::find_by_statement(statement).all(cx.db()).await?
        };
    }
    let seen = rows.len() as u64;
    // A page that is not full is the last one, so its end is the total and no count is needed.
    let ends = query.limit > 0 && seen < query.limit && (seen > 0 || offset == 0);
    let total = match total {
        Some(total) => total,
        None if ends => offset + seen,
        None => {
            count_matching(cx, table, ty, RowSelection::by_filter(query.filter.as_ref())).await?
        }
    };
    Ok(FoundPage { rows, total, next: None, previous: None })
}

/// A page of the unfiltered list by age, not at the beginning. The statement also finds the total,
/// and skips the rows before the page or those after it, whichever are fewer.
async fn page_from_nearer_end<M: FromQueryResult>(
    cx: &Cx,
    table: &ListTable<M>,
    ty: &ResourceType,
    offset: u64,
    limit: u64,
) -> Result<FoundPage<M>> {
    let mut sql = cx.sql([]);
    let from = matching_clause(cx, table, ty, RowSelection::default(), true, &mut sql)?;
    let owners = cx.confined_to().map_or(SubjectOwners::Any, SubjectOwners::Connection);
    let total = event::population_of(cx.backend(), table.name, owners, &mut sql);
    let skip = sql.bind(offset as i64);
    let (columns, name) = (&table.columns, table.name);
    let row = join_each(cx.backend(), name, "r", "r.organization_id = $1 AND r.id = page.id");
    // How many rows to read forwards from the beginning, or backwards from the end, and how many to
    // skip there.
    sql.push(&format!(
        r#"WITH whole AS MATERIALIZED (SELECT {total} AS n), part AS MATERIALIZED (
             SELECT n, CASE WHEN {skip} * 2 <= n THEN {limit} ELSE 0 END AS forwards,
               CASE WHEN {skip} * 2 <= n OR n <= {skip} THEN 0 WHEN n - {skip} < {limit}
               THEN n - {skip}
                 ELSE {limit} END AS backwards,
               CASE WHEN n - {skip} > {limit} THEN n - {skip} - {limit} ELSE 0 END AS behind
               FROM whole)
           SELECT {columns}, (SELECT n FROM part) AS total FROM (
             SELECT id FROM (SELECT r.id {from} ORDER BY r.id LIMIT (SELECT forwards
             FROM part) OFFSET {skip}) AS early
             UNION ALL SELECT id FROM (SELECT r.id {from} ORDER BY r.id DESC
               LIMIT (SELECT backwards FROM part) OFFSET (SELECT behind FROM part)) AS late
               LIMIT {limit}
           ) AS page {row} ORDER BY r.id"#
    ));
    let found = cx.db().query_all_raw(cx.build_statement(sql)).await?;
    let total = match found.first() {
        Some(row) => row.try_get::<i64>("", "total")?.max(0).unsigned_abs(),
        None => event::count_population(cx, name, owners).await?,
    };
    let rows = found.iter().map(|row| M::from_query_result(row, "")).collect::<Result<_, _>>()?;
    Ok(FoundPage { rows, total, next: None, previous: None })
}

async fn cursor_page<M: FromQueryResult>(
    cx: &Cx,
    table: &ListTable<M>,
    ty: &ResourceType,
    query: &ListQuery,
    place: CursorPlace,
    total: Option<u64>,
) -> Result<FoundPage<M>> {
    let (after, before) = match place {
        CursorPlace::After(id) => (Some(id), None),
        CursorPlace::Before(id) => (None, Some(id)),
        CursorPlace::Beginning | CursorPlace::Number(_) => (None, None),
    };
    let wanted =
        Keyset { after, before, limit: query.limit, backward: before.is_some(), descending: false };
    let selection = RowSelection::by_filter(query.filter.as_ref());
    let slice = keyset_page(cx, table, ty, selection, &wanted).await?;
    let whole = !slice.has_previous && !slice.has_next;
    let total = match total {
        Some(total) => total,
        None if whole => slice.rows.len() as u64,
        None => {
            count_matching(cx, table, ty, RowSelection::by_filter(query.filter.as_ref())).await?
        }
    };
    let at = |place| ListCursor { place, total: Some(total) };
    let next = slice
        .rows
        .last()
        .filter(|_| slice.has_next)
        .map(|row| at(CursorPlace::After((table.id)(row))));
    let previous = slice
        .rows
        .first()
        .filter(|_| slice.has_previous)
        .map(|row| at(CursorPlace::Before((table.id)(row))));
    Ok(FoundPage { rows: slice.rows, total, next, previous })
}

/// How many live rows of `table` the actor may see and `selection` has. Without any condition no
/// rows are counted, because sums are stored.
pub async fn count_matching<M>(
    cx: &Cx,
    table: &ListTable<M>,
    ty: &ResourceType,
    selection: RowSelection<'_>,
) -> Result<u64> {
    if selection.is_whole() {
        let owners = cx.confined_to().map_or(selection.owners, SubjectOwners::Connection);
        return event::count_population(cx, table.name, owners).await;
    }
    let mut sql = cx.sql([]);
    let from = matching_clause(cx, table, ty, selection, true, &mut sql)?;
    sql.push("SELECT count(*) AS total ").push(&from);
    let total: i64 = match cx.db().query_one_raw(cx.build_statement(sql)).await? {
        Some(row) => row.try_get("", "total")?,
        None => 0,
    };
    Ok(total.unsigned_abs())
}

/// A page by id of the live rows of `table` that the actor may see and `selection` has.
pub async fn keyset_page<M: FromQueryResult>(
    cx: &Cx,
    table: &ListTable<M>,
    ty: &ResourceType,
    selection: RowSelection<'_>,
    keyset: &Keyset<Uuid>,
) -> Result<Slice<M>> {
    let mut sql = cx.sql([]);
    let from = matching_clause(cx, table, ty, selection, true, &mut sql)?;
    let bounds = keyset_bounds("r.id", keyset, &mut sql);
    let (order, direction) = (id_order(cx, selection), keyset_direction(keyset));
    sql.push(&format!(
        "SELECT {} {from}{bounds} ORDER BY {order} {direction} LIMIT {}",
        table.columns,
        keyset.limit + 1
    ));
    let rows = M::find_by_statement(cx.build_statement(sql)).all(cx.db()).await?;
    Ok(to_slice(rows, keyset))
}

/// `AND …`: the bounds that a keyset sets for `column`.
pub(super) fn keyset_bounds<K: Into<Value> + Clone>(
    column: &str,
    keyset: &Keyset<K>,
    sql: &mut SqlBuilder,
) -> String {
    let (low, high) = if keyset.descending {
        (&keyset.before, &keyset.after)
    } else {
        (&keyset.after, &keyset.before)
    };
    let mut text = String::new();
    for (operator, bound) in [(">", low), ("<", high)] {
        if let Some(bound) = bound {
            text.push_str(&format!(" AND {column} {operator} {}", sql.bind(bound.clone())));
        }
    }
    text
}

/// The direction in which a keyset reads.
pub(super) fn keyset_direction<K>(keyset: &Keyset<K>) -> &'static str {
    if keyset.descending == keyset.backward { "ASC" } else { "DESC" }
}

/// The same as [`keyset_page`] in any order, each row with its place in it.
pub(super) async fn ordered_page<M: FromQueryResult>(
    cx: &Cx,
    table: &ListTable<M>,
    ty: &ResourceType,
    selection: RowSelection<'_>,
    by: OrderBy,
    keyset: &Keyset<order::OrderPlace>,
) -> Result<Slice<(M, order::OrderPlace)>> {
    let mut sql = cx.sql([]);
    let mut from = matching_clause(cx, table, ty, selection, by == OrderBy::Age, &mut sql)?;
    let by_id = id_order(cx, selection);
    if by == OrderBy::Age && selection.is_walked() && cx.backend() == DbBackend::Postgres {
        from.push_str(ANY_ID);
    }
    let how = (by, by_id, selection.finds_few(by));
    order::fetch_ordered_page(cx, &table.columns, (from, sql), how, keyset).await
}

/// True for every row. PostgreSQL, which believes that a table without statistics is small, would
/// otherwise test and sort all rows of the organization; so it reads them along the index of ids.
const ANY_ID: &str = " AND r.id > '00000000-0000-0000-0000-000000000000' \
                      AND r.id < 'ffffffff-ffff-ffff-ffff-ffffffffffff'";

/// The order of ids. If a selection finds few rows by an index, PostgreSQL must not use the index
/// of ids for the order instead. So the same order is written in a form that no index has.
fn id_order(cx: &Cx, selection: RowSelection<'_>) -> &'static str {
    match cx.backend() {
        DbBackend::Postgres if selection.uses_index() => "uuid_send(r.id)",
        _ => "r.id",
    }
}

/// `FROM … WHERE …` over the live rows of `table` that the actor may see and `selection` has, for
/// the order of their ids or for another one. `sql` gets the values, and has only the organization
/// bound before.
fn matching_clause<M>(
    cx: &Cx,
    table: &ListTable<M>,
    ty: &ResourceType,
    selection: RowSelection<'_>,
    by_id: bool,
    sql: &mut SqlBuilder,
) -> Result<String> {
    let owners = selection.owners;
    let mut text =
        format!(r#"FROM "{}" r WHERE r.organization_id = $1 AND r.deleted_at IS NULL"#, table.name);
    // SQLite believes that an index by owner finds fewer rows than that of protected rows. With a
    // sign before the column it does not use the former.
    let hidden = selection.is_protected() && cx.backend() == DbBackend::Sqlite;
    let owner = if hidden { "+r.connection_id" } else { "r.connection_id" };
    match cx.confined_to().map_or(owners, SubjectOwners::Connection) {
        SubjectOwners::Any => {}
        SubjectOwners::None => text.push_str(&format!(" AND {owner} IS NULL")),
        SubjectOwners::Connections => text.push_str(&format!(" AND {owner} IS NOT NULL")),
        SubjectOwners::Connection(id) => {
            text.push_str(&format!(" AND {owner} = {}", sql.bind(id)));
        }
    }
    // Rows of an owner are read along the index of owners, unless a filter has an index that finds
    // fewer rows, or the order needs another index.
    let owned = cx.confined_to().is_some() || owners != SubjectOwners::Any;
    if owned && by_id && !selection.uses_index() {
        text.push_str(LiveIndex::Owner.index_condition(cx.backend()));
    }
    if let Some(filter) = selection.filter {
        check_readable(cx, table.name, ty, filter)?;
        let confined = cx.confined_to().is_some();
        let condition = filter_sql::compile_filter(filter, ty, cx.backend(), sql, confined)?;
        text.push_str(&format!(" AND ({condition})"));
    }
    for narrowing in selection.narrow {
        let condition = narrowing.write_condition(table.name, cx.backend(), sql);
        text.push_str(&format!(" AND {condition}"));
    }
    Ok(text)
}

/// Refuses a filter on attributes that the actor may not read: the groups of users, and the names
/// of users in groups.
fn check_readable(cx: &Cx, table: &str, ty: &ResourceType, filter: &Filter) -> Result<()> {
    let mut checked = Ok(());
    filter.visit_attributes(ty, &mut |attribute, sub| {
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

/// Whether a live row of `table` has a value under the top-level key `urn` of its document.
pub(super) async fn any_has(tx: &Tx<'_>, table: &str, urn: &str) -> Result<bool> {
    let has = match tx.db.get_database_backend() {
        DbBackend::Postgres => "jsonb_exists(r.search, $2)",
        _ => "EXISTS (SELECT 1 FROM json_each(r.search) WHERE key = $2)",
    };
    let text = format!(
        r#"SELECT 1 FROM "{table}" r WHERE r.organization_id = $1 AND r.deleted_at IS NULL
           AND {has} LIMIT 1"#
    );
    Ok(tx.db.query_one_raw(tx.statement(text, [urn.into()])).await?.is_some())
}

/// A condition: one of these holds.
pub fn any_of(conditions: impl Iterator<Item = Condition>) -> Condition {
    conditions.fold(Condition::any(), Condition::add)
}

/// A condition: `column` contains `text`; the letters A to Z in any case.
pub fn contains_text(cx: &Cx, column: &str, text: &str) -> Expr {
    let text = text.to_lowercase();
    match cx.backend() {
        DbBackend::Postgres => {
            Expr::cust_with_values(format!("strpos(lower({column}), $1) > 0"), [text])
        }
        _ => Expr::cust_with_values(format!("instr(lower({column}), ?) > 0"), [text]),
    }
}

/// A condition: the JSON array `column` has the text `element`.
pub fn has_element(cx: &Cx, column: &str, element: &str) -> Expr {
    match cx.backend() {
        DbBackend::Postgres => {
            Expr::cust_with_values(format!("jsonb_exists({column}, $1)"), [element])
        }
        _ => Expr::cust_with_values(
            format!("EXISTS (SELECT 1 FROM json_each({column}) WHERE value = ?)"),
            [element],
        ),
    }
}
