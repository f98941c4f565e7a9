//! What all types share: global ids, pages with cursors, errors.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use async_graphql::{
    Context, ErrorExtensionValues, ID, InputValueError, InputValueResult, MaybeUndefined, Object,
    OutputType, Scalar, ScalarType, ServerError, SimpleObject, TypeName, Value,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use super::auth::ApiCaller;
use super::document_limits::MAX_PAGE_ROWS;
use super::error_code::ErrorCode;
pub use super::kinds::NodeKind;
use super::order::ListOrder;
use super::permission::needs;
pub use super::user_error::{EditField, FieldMap, UserError, split_edit_errors, split_user_errors};
use crate::context::Cx;
use crate::domain::paging::order::OrderBy;
use crate::domain::paging::{Keyset, Slice};
use crate::error::{Error, Noun, Result, Rule, UNAVAILABLE_RETRY_AFTER_SECONDS};

/// The context of the request, with which resolvers call the domain.
pub fn cx<'a>(ctx: &Context<'a>) -> Result<&'a Cx> {
    let caller = ctx
        .data::<ApiCaller>()
        .map_err(|_| Error::Internal("a request without a caller".into()))?;
    Ok(&caller.cx)
}

/// The global id of an object: its type and its UUID, in a form that is opaque to clients.
pub fn global_id(kind: NodeKind, id: Uuid) -> ID {
    ID(URL_SAFE_NO_PAD.encode(format!("{}:{id}", kind.type_name())))
}

/// The type and the UUID in a global id; none for anything that [`global_id`] does not produce.
pub fn parse_global_id(id: &ID) -> Option<(NodeKind, Uuid)> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(id.as_bytes()).ok()?).ok()?;
    let (name, uuid) = text.split_once(':')?;
    let kind = NodeKind::ALL.iter().copied().find(|kind| kind.type_name() == name)?;
    let uuid = Uuid::try_parse(uuid).ok()?;
    (global_id(kind, uuid) == *id).then_some((kind, uuid))
}

/// The UUID of an object of this type; none if the global id is of another type. The UUID itself,
/// as the command line prints it, is accepted too.
pub fn parse_id_of_kind(kind: NodeKind, id: &ID) -> Option<Uuid> {
    parse_plain_id(id)
        .or_else(|| parse_global_id(id).filter(|(found, _)| *found == kind).map(|(_, id)| id))
}

/// A UUID in the form in which rolecall prints it.
pub fn parse_plain_id(id: &ID) -> Option<Uuid> {
    Uuid::try_parse(id).ok().filter(|uuid| uuid.to_string() == id.as_str())
}

/// The UUID that an input names; `noun` is the object's name in errors.
///
/// # Errors
/// [`Error::NotFound`] for an id that is malformed or of another type, as for one that does not
/// exist.
pub fn parse_input_id(kind: NodeKind, id: &ID, noun: Noun) -> Result<Uuid> {
    parse_id_of_kind(kind, id).ok_or_else(|| Error::not_found(noun))
}

/// The UUIDs that a list of an input names. An id that is malformed or of another type becomes one
/// that no object has: the domain misses it at its place, together with whatever else it finds.
pub fn parse_listed_ids(kind: NodeKind, ids: &[ID]) -> Vec<Uuid> {
    ids.iter().map(|id| parse_possible_id(kind, id)).collect()
}

/// The same for a single id, where the domain reports it together with other mistakes.
pub fn parse_possible_id(kind: NodeKind, id: &ID) -> Uuid {
    parse_id_of_kind(kind, id).unwrap_or(Uuid::nil())
}

/// The most ids that a filter names.
pub const MAX_FILTER_IDS: usize = 100;
/// The longest text that a filter looks for.
const MAX_FILTER_TEXT: usize = 200;

/// The UUID that a field of a filter names. The outer option is none if nothing can match it: for
/// an id that is malformed or of another type.
#[allow(clippy::option_option, reason = "no filter, and a filter that matches nothing")]
pub fn parse_filter_id(kind: NodeKind, id: Option<&ID>) -> Option<Option<Uuid>> {
    match id {
        None => Some(None),
        Some(id) => parse_id_of_kind(kind, id).map(Some),
    }
}

/// The UUIDs that a filter names; ids that are malformed or of another type match nothing.
///
/// # Errors
/// [`Error::Invalid`] for more than [`MAX_FILTER_IDS`].
pub fn parse_filter_ids(kind: NodeKind, ids: Option<&[ID]>) -> Result<Option<Vec<Uuid>>> {
    let Some(ids) = ids else { return Ok(None) };
    if ids.len() > MAX_FILTER_IDS {
        let why = format!("must be at most {MAX_FILTER_IDS}");
        return Err(Error::broken(Rule::TooMany, "ids", why));
    }
    Ok(Some(ids.iter().filter_map(|id| parse_id_of_kind(kind, id)).collect()))
}

/// The text that a filter looks for.
///
/// # Errors
/// [`Error::Invalid`] for a text that is empty or too long.
pub fn check_filter_text(field: &'static str, text: Option<String>) -> Result<Option<String>> {
    let Some(text) = text else { return Ok(None) };
    if text.trim().is_empty() {
        return Err(Error::invalid(field, "must not be empty"));
    }
    if text.chars().count() > MAX_FILTER_TEXT {
        let why = format!("must have at most {MAX_FILTER_TEXT} characters");
        return Err(Error::invalid(field, why));
    }
    if text.contains('\0') {
        return Err(Error::invalid(field, "must not contain the character NUL"));
    }
    Ok(Some(text))
}

/// A whole number of up to 64 bits, as a JSON number.
pub struct Long(pub i64);

/// A whole number of up to 64 bits, written as a JSON number.
#[Scalar]
impl ScalarType for Long {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::Number(number) => {
                number.as_i64().map(Long).ok_or_else(|| InputValueError::expected_type(value))
            }
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        self.0.into()
    }
}

/// The page that a client requests, by the arguments of a Relay connection.
#[derive(Debug, Clone, Default)]
pub struct PageArguments {
    pub first: Option<i32>,
    pub after: Option<String>,
    pub last: Option<i32>,
    pub before: Option<String>,
}

impl PageArguments {
    /// The page as the domain takes it.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless exactly one of `first` and `last` is given, between 1 and
    /// [`MAX_PAGE_ROWS`], and the cursors are rolecall's.
    pub fn to_keyset<K: FromStr>(&self, ctx: &Context<'_>, descending: bool) -> Result<Keyset<K>> {
        let cx = cx(ctx)?;
        let (name, rows, backward) = match (self.first, self.last) {
            (Some(first), None) => ("first", first, false),
            (None, Some(last)) => ("last", last, true),
            _ => return Err(Error::invalid("first", "give exactly one of first and last")),
        };
        if !(1..=MAX_PAGE_ROWS).contains(&rows) {
            return Err(Error::invalid(name, format!("must be between 1 and {MAX_PAGE_ROWS}")));
        }
        Ok(Keyset {
            after: decode_cursor(cx, "after", self.after.as_deref())?,
            before: decode_cursor(cx, "before", self.before.as_deref())?,
            limit: rows.unsigned_abs().into(),
            backward,
            descending,
        })
    }
}

/// A request for a page of a list that has an order: what the domain needs to find the page.
pub struct ListRequest<'a, K> {
    pub cx: &'a Cx,
    pub by: OrderBy,
    pub keyset: Keyset<K>,
    counts: bool,
}

impl<'a, K: FromStr + Display> ListRequest<'a, K> {
    /// The request of a field with these arguments.
    ///
    /// # Errors
    /// As [`PageArguments::to_keyset`].
    pub fn new(ctx: &Context<'a>, order: ListOrder, page: PageArguments) -> Result<Self> {
        let keyset = page.to_keyset(ctx, order.descending)?;
        Ok(Self { cx: cx(ctx)?, by: order.by, keyset, counts: selects_total_count(ctx) })
    }

    /// The page of these rows. The whole list is counted only if the client selected that. Callers
    /// box both futures: an object's frame on the stack has room for those of all its fields.
    ///
    /// # Errors
    /// Those of the domain.
    pub async fn fetch_page<R, T: OutputType + From<R>>(
        &self,
        count: impl Future<Output = Result<u64>>,
        rows: impl Future<Output = Result<Slice<(R, K)>>>,
    ) -> Result<Option<RelayPage<T>>> {
        let total = if self.counts { count.await? } else { 0 };
        Ok(Some(RelayPage::from_keyed_rows(rows.await?, total)))
    }
}

/// The cursor of a place in a list of the request's organization. It shows nothing of the place.
fn encode_cursor(ctx: &Context<'_>, place: &str) -> Result<String> {
    let cx = cx(ctx)?;
    cx.app.vault.seal_cursor(cx.organization(), place)
}

fn decode_cursor<K: FromStr>(
    cx: &Cx,
    name: &'static str,
    cursor: Option<&str>,
) -> Result<Option<K>> {
    let decode = |cursor| cx.app.vault.open_cursor(cx.organization(), cursor)?.parse().ok();
    let unknown = || {
        let why = "is not a cursor of this list; leave it out to begin with the first page";
        Error::broken(Rule::Cursor, name, why)
    };
    cursor.map(|cursor| decode(cursor).ok_or_else(unknown)).transpose()
}

/// Whether the client selected `totalCount`. Counting is expensive, so it is done only then.
pub fn selects_total_count(ctx: &Context<'_>) -> bool {
    ctx.look_ahead().field("totalCount").exists()
}

/// The cursors at the ends of a page, and whether rows precede and follow it.
#[derive(SimpleObject)]
pub struct PageInfo {
    /// Whether rows follow this page.
    #[graphql(directive = needs::apply(None))]
    has_next_page: bool,
    /// Whether rows precede this page.
    #[graphql(directive = needs::apply(None))]
    has_previous_page: bool,
    /// Cursor of the first row; pass it as `before` to get the previous page. Null for an empty
    /// page.
    #[graphql(directive = needs::apply(None))]
    start_cursor: Option<String>,
    /// Cursor of the last row; pass it as `after` to get the next page. Null for an empty page.
    #[graphql(directive = needs::apply(None))]
    end_cursor: Option<String>,
}

/// A row of a page, with its place in the list.
pub struct PageEdge<T: OutputType> {
    place: String,
    node: T,
}

/// A row of a page, with its cursor.
#[Object(name_type)]
impl<T: OutputType> PageEdge<T> {
    /// The row's cursor, for `after` and `before`.
    #[graphql(directive = needs::apply(None))]
    async fn cursor(&self, ctx: &Context<'_>) -> Result<String> {
        encode_cursor(ctx, &self.place)
    }

    /// The row.
    #[graphql(directive = needs::apply(None))]
    async fn node(&self) -> &T {
        &self.node
    }
}

impl<T: OutputType> TypeName for PageEdge<T> {
    fn type_name() -> Cow<'static, str> {
        format!("{}Edge", T::type_name()).into()
    }
}

/// A page of a list.
pub struct RelayPage<T: OutputType> {
    edges: Vec<PageEdge<T>>,
    has_previous: bool,
    has_next: bool,
    total: u64,
}

impl<T: OutputType> TypeName for RelayPage<T> {
    fn type_name() -> Cow<'static, str> {
        format!("{}Connection", T::type_name()).into()
    }
}

impl<T: OutputType> RelayPage<T> {
    /// A page of these rows. `key` gives the cursor; `total` is only used if the client selected
    /// it.
    pub fn new<K: Display>(slice: Slice<T>, key: impl Fn(&T) -> K, total: u64) -> Self {
        let Slice { rows, has_previous, has_next } = slice;
        let edges =
            rows.into_iter().map(|node| PageEdge { place: key(&node).to_string(), node }).collect();
        Self { edges, has_previous, has_next, total }
    }

    /// A page of rows that come with the keys of their cursors.
    pub fn from_keyed_rows<R: Into<T>, K: Display>(slice: Slice<(R, K)>, total: u64) -> Self {
        let Slice { rows, has_previous, has_next } = slice;
        let edges = rows
            .into_iter()
            .map(|(row, place)| PageEdge { place: place.to_string(), node: row.into() })
            .collect();
        Self { edges, has_previous, has_next, total }
    }

    /// The same page, with each row converted by `make`.
    pub fn map<U: OutputType>(self, make: impl Fn(T) -> U) -> RelayPage<U> {
        let Self { edges, has_previous, has_next, total } = self;
        let edge = |PageEdge { place, node }: PageEdge<T>| PageEdge { place, node: make(node) };
        let edges = edges.into_iter().map(edge).collect();
        RelayPage { edges, has_previous, has_next, total }
    }

    /// The page of an empty list.
    pub fn empty() -> Self {
        Self { edges: Vec::new(), has_previous: false, has_next: false, total: 0 }
    }
}

/// A page of a list. Give exactly one of `first` and `last`, at most 100 rows.
#[Object(name_type)]
impl<T: OutputType> RelayPage<T> {
    /// The rows with their cursors.
    #[graphql(directive = needs::apply(None))]
    async fn edges(&self) -> &[PageEdge<T>] {
        &self.edges
    }

    /// The rows without their cursors.
    #[graphql(directive = needs::apply(None))]
    async fn nodes(&self) -> Vec<&T> {
        self.edges.iter().map(|edge| &edge.node).collect()
    }

    /// The cursors at the ends of this page, and whether rows precede and follow it.
    #[graphql(directive = needs::apply(None))]
    async fn page_info(&self, ctx: &Context<'_>) -> Result<PageInfo> {
        let cursor = |edge: Option<&PageEdge<T>>| {
            edge.map(|edge| encode_cursor(ctx, &edge.place)).transpose()
        };
        Ok(PageInfo {
            has_next_page: self.has_next,
            has_previous_page: self.has_previous,
            start_cursor: cursor(self.edges.first())?,
            end_cursor: cursor(self.edges.last())?,
        })
    }

    /// How many rows the whole list has. Counted only when selected; costs more than a field.
    #[graphql(directive = needs::apply(None))]
    async fn total_count(&self) -> i32 {
        to_graphql_int(self.total)
    }
}

/// A count as GraphQL's `Int`; a greater one becomes 2³¹ − 1.
pub fn to_graphql_int(total: u64) -> i32 {
    i32::try_from(total).unwrap_or(i32::MAX)
}

/// An error of the domain as an error of async-graphql, until [`translate_error`] gives it a code
/// and a message.
pub fn to_graphql_error(error: Error) -> async_graphql::Error {
    error.into()
}

/// The code and the message of an error for clients. Details of internal errors go only to the log.
pub fn public_message(error: &Error, request_id: Uuid) -> (ErrorCode, String) {
    let code = match error {
        Error::Unauthenticated(_) => ErrorCode::Unauthenticated,
        Error::Forbidden(_) => ErrorCode::Forbidden,
        Error::NotFound(_) | Error::NotFoundInList { .. } => ErrorCode::NotFound,
        Error::Invalid { .. }
        | Error::Unsupported(_)
        | Error::Several(_)
        | Error::InEdit { .. } => ErrorCode::BadUserInput,
        Error::Taken { .. } | Error::Stale { .. } => ErrorCode::Conflict,
        Error::Held { .. } => ErrorCode::Held,
        Error::Limited { .. } => ErrorCode::Busy,
        Error::Busy(text) => {
            tracing::warn!(%request_id, text, "a write gave up after several attempts");
            ErrorCode::Busy
        }
        Error::Unavailable(text) => {
            tracing::warn!(%request_id, text, "a request failed because the database is \
                unavailable");
            ErrorCode::Unavailable
        }
        Error::OutcomeUnknown { .. } => ErrorCode::OutcomeUnknown,
        Error::Internal(text) => {
            tracing::error!(%request_id, text, "internal error");
            return (ErrorCode::Internal, "internal error".into());
        }
    };
    (code, error.to_string())
}

/// The executor's message about a value that it cannot parse, with the expected form of an instant,
/// which the executor does not mention.
pub fn explain_value_error(message: &str) -> String {
    let message = shorten_message(message);
    if message.contains("\"DateTime\"") {
        format!(
            "{message}: write an instant with its time and offset, for example \
             2026-12-31T00:00:00Z (RFC 3339)"
        )
    } else {
        message
    }
}

/// Gives an error of an executed operation its code and message. An error that is not the domain's
/// comes from parsing an argument.
pub fn translate_error(error: &mut ServerError, request_id: Uuid) {
    let own = error.source::<Error>().or_else(|| error.source::<Arc<Error>>().map(AsRef::as_ref));
    let (code, message) = match own {
        Some(own) => public_message(own, request_id),
        None => (ErrorCode::BadUserInput, explain_value_error(&error.message)),
    };
    let permission = match own {
        Some(Error::Forbidden(denial)) => denial.permission(),
        _ => None,
    };
    error.message = message;
    error.source = None;
    let extensions = error.extensions.get_or_insert_with(ErrorExtensionValues::default);
    if let Some(permission) = permission {
        extensions.set("permission", permission);
    }
    extensions.set("code", code.name());
    if code.names_request() {
        extensions.set("requestId", request_id.to_string());
    }
    if matches!(code, ErrorCode::Unavailable | ErrorCode::OutcomeUnknown) {
        extensions.set("retryAfterSeconds", UNAVAILABLE_RETRY_AFTER_SECONDS);
    }
}

/// Cuts a message that repeats what the client sent to a readable length.
pub fn shorten_message(message: &str) -> String {
    const MAX_CHARACTERS: usize = 300;
    match message.char_indices().nth(MAX_CHARACTERS) {
        Some((end, _)) => format!("{}…", message.get(..end).unwrap_or_default()),
        None => message.to_owned(),
    }
}

/// The value of an argument of an update: none if it is left out, so that the old value stays.
///
/// # Errors
/// [`Error::Invalid`] for null: the value cannot be taken away.
pub fn refuse_null<T>(field: &'static str, value: MaybeUndefined<T>) -> Result<Option<T>> {
    match value {
        MaybeUndefined::Undefined => Ok(None),
        MaybeUndefined::Null => Err(Error::not_nullable(field)),
        MaybeUndefined::Value(value) => Ok(Some(value)),
    }
}

/// The context of a mutation that takes something away: its events say why.
///
/// # Errors
/// [`Error::Invalid`] for a reason that is empty or too long.
pub fn cx_with_reason(ctx: &Context<'_>, reason: Option<&str>) -> Result<Cx> {
    Ok(cx(ctx)?.with_reason(crate::domain::check_change_reason(reason)?))
}

/// The `expectedVersion` of an input as the domain takes it.
pub fn to_version(expected: Option<i32>) -> Option<i64> {
    expected.map(i64::from)
}
