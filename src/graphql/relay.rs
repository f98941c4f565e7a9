//! What all nouns share: global ids, pages with cursors, errors.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use async_graphql::{
    Context, Enum, ErrorExtensionValues, ID, InputValueError, InputValueResult, Object, OutputType, Scalar, ScalarType,
    ServerError, SimpleObject, TypeName, Value,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use super::auth::{Caller, requires};
use crate::context::Cx;
use crate::domain::list::{Keyset, Slice};
use crate::error::{Error, Result, Rule, UNAVAILABLE_RETRY_AFTER_SECONDS};

/// The most rows of one page.
pub const MAX_PAGE: i32 = 100;

/// Where a resolver reads.
pub fn cx<'a>(ctx: &Context<'a>) -> Result<&'a Cx> {
    let caller = ctx.data::<Caller>().map_err(|_| Error::Internal("a request without a caller".into()))?;
    Ok(&caller.cx)
}

/// The types that have a global id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Organization,
    IdentitySource,
    ScimToken,
    ApiKey,
    User,
    Group,
    Role,
    RoleMapping,
    RoleGrant,
    AccessPreview,
    SchemaExtension,
    AdoptionProposal,
    BulkJob,
    Failure,
    SyncRun,
    Reconciliation,
    Finding,
    Event,
}

impl Kind {
    const ALL: [Kind; 18] = [
        Self::Organization,
        Self::IdentitySource,
        Self::ScimToken,
        Self::ApiKey,
        Self::User,
        Self::Group,
        Self::Role,
        Self::RoleMapping,
        Self::RoleGrant,
        Self::AccessPreview,
        Self::SchemaExtension,
        Self::AdoptionProposal,
        Self::BulkJob,
        Self::Failure,
        Self::SyncRun,
        Self::Reconciliation,
        Self::Finding,
        Self::Event,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Organization => "Organization",
            Self::IdentitySource => "IdentitySource",
            Self::ScimToken => "ScimToken",
            Self::ApiKey => "ApiKey",
            Self::User => "User",
            Self::Group => "Group",
            Self::Role => "Role",
            Self::RoleMapping => "RoleMapping",
            Self::RoleGrant => "RoleGrant",
            Self::AccessPreview => "AccessPreview",
            Self::SchemaExtension => "SchemaExtension",
            Self::AdoptionProposal => "AdoptionProposal",
            Self::BulkJob => "BulkJob",
            Self::Failure => "Failure",
            Self::SyncRun => "SyncRun",
            Self::Reconciliation => "Reconciliation",
            Self::Finding => "Finding",
            Self::Event => "Event",
        }
    }
}

/// The id that a thing has in the whole API: its type and its own id, opaque.
pub fn global(kind: Kind, id: Uuid) -> ID {
    ID(URL_SAFE_NO_PAD.encode(format!("{}:{id}", kind.name())))
}

/// What a global id stands for; none for anything that [`global`] does not make.
pub fn parse(id: &ID) -> Option<(Kind, Uuid)> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(id.as_bytes()).ok()?).ok()?;
    let (name, uuid) = text.split_once(':')?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name)?;
    let uuid = Uuid::try_parse(uuid).ok()?;
    (global(kind, uuid) == *id).then_some((kind, uuid))
}

/// The own id of a thing of this kind; none if the global id is not one of its kind. The own id itself, as the command
/// line prints it, will do where the kind is known.
pub fn id_of(kind: Kind, id: &ID) -> Option<Uuid> {
    plain(id).or_else(|| parse(id).filter(|(found, _)| *found == kind).map(|(_, id)| id))
}

/// An own id in the spelling that we hand out.
pub fn plain(id: &ID) -> Option<Uuid> {
    Uuid::try_parse(id).ok().filter(|uuid| uuid.to_string() == id.as_str())
}

/// The own id that an input names; `what` is the thing in the domain's words.
///
/// # Errors
/// [`Error::NotFound`]: an id that stands for nothing is not told from one that stands for another's thing.
pub fn id(kind: Kind, id: &ID, what: &'static str) -> Result<Uuid> {
    id_of(kind, id).ok_or_else(|| Error::not_found(what))
}

/// A whole number of up to 64 bits, as a JSON number.
pub struct Long(pub i64);

/// A whole number of up to 64 bits, written as a JSON number.
#[Scalar]
impl ScalarType for Long {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::Number(number) => number.as_i64().map(Long).ok_or_else(|| InputValueError::expected_type(value)),
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        self.0.into()
    }
}

/// A page as a client asks for it.
#[derive(Debug, Clone, Default)]
pub struct Window {
    pub first: Option<i32>,
    pub after: Option<String>,
    pub last: Option<i32>,
    pub before: Option<String>,
}

impl Window {
    /// The page in the domain's words.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless exactly one of `first` and `last` is there, between 1 and [`MAX_PAGE`], and the
    /// cursors are ours.
    pub fn keyset<K: FromStr>(&self, descending: bool) -> Result<Keyset<K>> {
        let (name, rows, backward) = match (self.first, self.last) {
            (Some(first), None) => ("first", first, false),
            (None, Some(last)) => ("last", last, true),
            _ => return Err(Error::invalid("first", "give exactly one of first and last")),
        };
        if !(1..=MAX_PAGE).contains(&rows) {
            return Err(Error::invalid(name, format!("must be between 1 and {MAX_PAGE}")));
        }
        Ok(Keyset {
            after: key("after", self.after.as_deref())?,
            before: key("before", self.before.as_deref())?,
            limit: rows.unsigned_abs().into(),
            backward,
            descending,
        })
    }
}

fn cursor(key: impl Display) -> String {
    URL_SAFE_NO_PAD.encode(key.to_string())
}

fn key<K: FromStr>(name: &'static str, cursor: Option<&str>) -> Result<Option<K>> {
    let decode = |cursor| String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?.parse().ok();
    let unknown = || Error::broken(Rule::Cursor, name, "is not a cursor of this server");
    cursor.map(|cursor| decode(cursor).ok_or_else(unknown)).transpose()
}

/// Whether the client asked for `totalCount`: counting costs, so only then is it done.
pub fn counted(ctx: &Context<'_>) -> bool {
    ctx.look_ahead().field("totalCount").exists()
}

/// Where a page stands in its list.
#[derive(SimpleObject)]
pub struct PageInfo {
    /// Whether rows follow this page.
    #[graphql(directive = requires::apply(None))]
    has_next_page: bool,
    /// Whether rows precede this page.
    #[graphql(directive = requires::apply(None))]
    has_previous_page: bool,
    /// Cursor of the first row; pass it as `before` to go back.
    #[graphql(directive = requires::apply(None))]
    start_cursor: Option<String>,
    /// Cursor of the last row; pass it as `after` to go on.
    #[graphql(directive = requires::apply(None))]
    end_cursor: Option<String>,
}

/// A row of a page, with its place.
#[derive(SimpleObject)]
#[graphql(name_type)]
pub struct Edge<T: OutputType> {
    /// The row's place in the list.
    #[graphql(directive = requires::apply(None))]
    cursor: String,
    /// The row.
    #[graphql(directive = requires::apply(None))]
    node: T,
}

impl<T: OutputType> TypeName for Edge<T> {
    fn type_name() -> Cow<'static, str> {
        format!("{}Edge", T::type_name()).into()
    }
}

/// A page of a list.
pub struct Page<T: OutputType> {
    edges: Vec<Edge<T>>,
    has_previous: bool,
    has_next: bool,
    total: u64,
}

impl<T: OutputType> TypeName for Page<T> {
    fn type_name() -> Cow<'static, str> {
        format!("{}Connection", T::type_name()).into()
    }
}

impl<T: OutputType> Page<T> {
    /// A page of these rows; `key` gives the cursor, `total` is looked at only where it was asked for.
    pub fn new<K: Display>(slice: Slice<T>, key: impl Fn(&T) -> K, total: u64) -> Self {
        let Slice { rows, has_previous, has_next } = slice;
        let edges = rows.into_iter().map(|node| Edge { cursor: cursor(key(&node)), node }).collect();
        Self { edges, has_previous, has_next, total }
    }

    /// A page of rows that come with their places.
    pub fn placed<R: Into<T>, K: Display>(slice: Slice<(R, K)>, total: u64) -> Self {
        let Slice { rows, has_previous, has_next } = slice;
        let edges = rows.into_iter().map(|(row, place)| Edge { cursor: cursor(place), node: row.into() }).collect();
        Self { edges, has_previous, has_next, total }
    }

    /// The page of a list that nothing is in.
    pub fn empty() -> Self {
        Self { edges: Vec::new(), has_previous: false, has_next: false, total: 0 }
    }
}

/// A page of a list. Ask for exactly one of `first` and `last`, at most 100 rows.
#[Object(name_type)]
impl<T: OutputType> Page<T> {
    /// The rows with their cursors.
    #[graphql(directive = requires::apply(None))]
    async fn edges(&self) -> &[Edge<T>] {
        &self.edges
    }

    /// The rows, for those who need no cursors.
    #[graphql(directive = requires::apply(None))]
    async fn nodes(&self) -> Vec<&T> {
        self.edges.iter().map(|edge| &edge.node).collect()
    }

    /// Where this page stands in the list.
    #[graphql(directive = requires::apply(None))]
    async fn page_info(&self) -> PageInfo {
        PageInfo {
            has_next_page: self.has_next,
            has_previous_page: self.has_previous,
            start_cursor: self.edges.first().map(|edge| edge.cursor.clone()),
            end_cursor: self.edges.last().map(|edge| edge.cursor.clone()),
        }
    }

    /// How many rows the whole list has. Counted only when selected; costs more than a field.
    #[graphql(directive = requires::apply(None))]
    async fn total_count(&self) -> i32 {
        count(self.total)
    }
}

/// A count as GraphQL's `Int`, which ends at 2³¹ − 1.
pub fn count(total: u64) -> i32 {
    i32::try_from(total).unwrap_or(i32::MAX)
}

/// Why a mutation did not do what it was asked.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserErrorCode {
    /// The thing does not exist here.
    NotFound,
    /// Another thing already bears this value.
    Taken,
    /// A value cannot be accepted.
    Invalid,
    /// More than is allowed.
    TooMany,
    /// The thing has changed since it was read.
    Stale,
    /// Refused for now by a state that somebody can change.
    Held,
    /// Understood, but not offered here.
    Unsupported,
}

/// A mistake in a mutation's input that a person can correct.
#[derive(SimpleObject)]
pub struct UserError {
    /// What kind of mistake; stable, for programs.
    #[graphql(directive = requires::apply(None))]
    pub code: UserErrorCode,
    /// The path to the argument that is to blame, for example `["input", "name"]`.
    #[graphql(directive = requires::apply(None))]
    pub field: Vec<String>,
    /// What is wrong, in words for people.
    #[graphql(directive = requires::apply(None))]
    pub message: String,
}

/// Which part of a mutation's input the domain means by a name or a missing thing, dotted.
pub type Blame = &'static [(&'static str, &'static str)];

/// Splits what a domain function answered into a mutation's two halves: the thing, or the user's mistakes.
///
/// # Errors
/// What no input could make right stays an error of the whole field.
pub fn outcome<T>(done: Result<T>, blame: Blame) -> Result<(Option<T>, Vec<UserError>)> {
    let error = match done {
        Ok(value) => return Ok((Some(value), Vec::new())),
        Err(error) => error,
    };
    let (code, name) = match &error {
        Error::NotFound(what) => (UserErrorCode::NotFound, blamed(blame, what).unwrap_or_default()),
        Error::Taken { field } => (UserErrorCode::Taken, blamed(blame, field).unwrap_or(field)),
        Error::Stale { .. } => (UserErrorCode::Stale, "expectedVersion"),
        Error::Invalid { rule: Rule::TooMany, field, .. } => {
            (UserErrorCode::TooMany, blamed(blame, field).unwrap_or(field))
        }
        Error::Invalid { field, .. } => (UserErrorCode::Invalid, blamed(blame, field).unwrap_or(field)),
        Error::Held { .. } => (UserErrorCode::Held, ""),
        Error::Unsupported(_) => (UserErrorCode::Unsupported, ""),
        Error::Forbidden(_)
        | Error::Unauthenticated(_)
        | Error::Busy(_)
        | Error::Limited { .. }
        | Error::Unavailable(_)
        | Error::OutcomeUnknown { .. }
        | Error::Internal(_) => return Err(error),
    };
    let path = name.split('.').filter(|part| !part.is_empty()).map(Into::into);
    let field = std::iter::once("input".to_owned()).chain(path).collect();
    Ok((None, vec![UserError { code, field, message: error.to_string() }]))
}

fn blamed(blame: Blame, name: &str) -> Option<&'static str> {
    blame.iter().find(|(known, _)| *known == name).map(|(_, field)| *field)
}

/// An error of the domain as async-graphql carries it until [`translate`] puts it into words.
pub fn faulty(error: Error) -> async_graphql::Error {
    error.into()
}

/// The code and the words of an error, for the outside. What went wrong inside goes to the log alone.
pub fn words(error: &Error, request_id: Uuid) -> (&'static str, String) {
    let code = match error {
        Error::Unauthenticated(_) => "UNAUTHENTICATED",
        Error::Forbidden(_) => "FORBIDDEN",
        Error::NotFound(_) => "NOT_FOUND",
        Error::Invalid { .. } | Error::Unsupported(_) => "BAD_USER_INPUT",
        Error::Taken { .. } | Error::Stale { .. } => "CONFLICT",
        Error::Held { .. } => "HELD",
        Error::Limited { .. } => "BUSY",
        Error::Busy(text) => {
            tracing::warn!(%request_id, text, "a write gave up after several attempts");
            "BUSY"
        }
        Error::Unavailable(text) => {
            tracing::warn!(%request_id, text, "a request met a database that cannot be used");
            "UNAVAILABLE"
        }
        Error::OutcomeUnknown { .. } => "OUTCOME_UNKNOWN",
        Error::Internal(text) => {
            tracing::error!(%request_id, text, "internal error");
            return ("INTERNAL", "internal error".into());
        }
    };
    (code, error.to_string())
}

/// What the executor says of a value that it cannot read, with the form that is wanted where it does not tell.
pub fn explained(message: &str) -> String {
    let message = shortened(message);
    match message.contains("\"DateTime\"") {
        true => {
            format!("{message}: write an instant with its time and offset, for example 2026-12-31T00:00:00Z (RFC 3339)")
        }
        false => message,
    }
}

/// Puts an error of an executed operation into words. Whatever is not the domain's own comes from reading an
/// argument.
pub fn translate(error: &mut ServerError, request_id: Uuid) {
    let own = error.source::<Error>().or_else(|| error.source::<Arc<Error>>().map(AsRef::as_ref));
    let (code, message) = match own {
        Some(own) => words(own, request_id),
        None => ("BAD_USER_INPUT", explained(&error.message)),
    };
    error.message = message;
    error.source = None;
    let extensions = error.extensions.get_or_insert_with(ErrorExtensionValues::default);
    extensions.set("code", code);
    if matches!(code, "INTERNAL" | "UNAVAILABLE" | "OUTCOME_UNKNOWN") {
        extensions.set("requestId", request_id.to_string());
    }
    if matches!(code, "UNAVAILABLE" | "OUTCOME_UNKNOWN") {
        extensions.set("retryAfterSeconds", UNAVAILABLE_RETRY_AFTER_SECONDS);
    }
}

/// A message that repeats what the client sent, cut to a length that can be read.
pub fn shortened(message: &str) -> String {
    const MOST: usize = 300;
    match message.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", message.get(..end).unwrap_or_default()),
        None => message.to_owned(),
    }
}
