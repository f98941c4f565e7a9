//! The one error of the house: few kinds, no HTTP, no SQL.
//!
//! The domain says *what* is wrong, in words an administrator understands. `scim/wire.rs` and
//! `graphql/page.rs` are the only two places that translate it for the outside.

use std::borrow::Cow;

use uuid::Uuid;

/// Everything that can go wrong with a request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The thing does not exist, or belongs to somebody else: the two are one answer.
    #[error("{0} was not found")]
    NotFound(Cow<'static, str>),
    /// Another live thing already bears this value.
    #[error("{field} is already in use")]
    Taken { field: &'static str },
    /// The caller's precondition (version) no longer holds.
    #[error("the resource has changed since it was read (its version is now {version})")]
    Stale { version: i64 },
    /// The input cannot be accepted.
    #[error("{field}: {why}")]
    Invalid { rule: Rule, field: Cow<'static, str>, why: Cow<'static, str> },
    /// The caller is known and may not do this.
    #[error("{0}")]
    Forbidden(Cow<'static, str>),
    /// The caller is not known.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// Understood, but not offered here.
    #[error("{0}")]
    Unsupported(Cow<'static, str>),
    /// Refused for now by a state that somebody can change (deactivated, protected, held for approval).
    #[error("{why}")]
    Held { reason: &'static str, why: Cow<'static, str> },
    /// Too many writes want the same thing at once; the same request may succeed in a moment.
    #[error("the server is busy; try again in a moment")]
    Busy(String),
    /// More requests than the caller's share; nothing was done.
    #[error("too many requests; try again in {seconds} s")]
    Limited { seconds: u64 },
    /// The database cannot be used at present: it is not reached, has no place left or did not answer in time. The text
    /// goes to the log, never to the caller.
    #[error("the database cannot be used at present; try again in a few seconds")]
    Unavailable(String),
    /// The connection to the database was lost while it committed the write of this request.
    #[error(
        "the database did not confirm this change: it may or may not have been made; before you send it again, read \
         what is there now, or look for the request {request_id} in the ledger"
    )]
    OutcomeUnknown { request_id: Uuid },
    /// A fault of ours or of the database. The text goes to the log, never to the caller.
    #[error("internal error: {0}")]
    Internal(String),
}

/// Which rule an [`Error::Invalid`] broke. The names follow the `scimType` values of RFC 7644, table 9.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A value is missing, of the wrong type or out of range.
    Value,
    /// A text is longer than what is kept.
    Length,
    /// The message as a whole is malformed.
    Syntax,
    /// A PATCH path is malformed or names no attribute.
    Path,
    /// A PATCH path matched nothing that could be changed.
    NoTarget,
    /// An attribute may not be changed by the caller.
    Mutability,
    /// A filter is malformed or cannot be answered.
    Filter,
    /// More than a cap allows.
    TooMany,
    /// A paging cursor that this server did not issue.
    Cursor,
    /// A page size that paging by cursor does not offer.
    Count,
}

impl Rule {
    /// The rule's name in RFC 7644 table 9 and RFC 9865 section 2.3.
    pub fn name(self) -> &'static str {
        match self {
            Self::Value | Self::Length => "invalidValue",
            Self::Syntax => "invalidSyntax",
            Self::Path => "invalidPath",
            Self::NoTarget => "noTarget",
            Self::Mutability => "mutability",
            Self::Filter => "invalidFilter",
            Self::TooMany => "tooMany",
            Self::Cursor => "invalidCursor",
            Self::Count => "invalidCount",
        }
    }
}

/// After so long a client may try again what met a database that cannot be used.
pub const UNAVAILABLE_RETRY_AFTER_SECONDS: u64 = 2;

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A stable code of what went wrong, as the request log and the review queue have it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "NOT_FOUND",
            Self::Taken { .. } => "TAKEN",
            Self::Stale { .. } => "STALE",
            Self::Invalid { rule: Rule::Length, .. } => "TOO_LONG",
            Self::Invalid { .. } => "INVALID",
            Self::Forbidden(_) => "FORBIDDEN",
            Self::Held { reason, .. } => reason,
            Self::Unauthenticated(_) => "UNAUTHENTICATED",
            Self::Unsupported(_) => "UNSUPPORTED",
            Self::Busy(_) => "BUSY",
            Self::Limited { .. } => "RATE_LIMITED",
            Self::Unavailable(_) => "UNAVAILABLE",
            Self::OutcomeUnknown { .. } => "OUTCOME_UNKNOWN",
            Self::Internal(_) => "INTERNAL",
        }
    }

    /// The rule that was broken, by its name, and what broke it: as somebody else may have called it.
    pub fn blame(&self) -> (Option<&'static str>, Option<Cow<'static, str>>) {
        match self {
            Self::Taken { field } => (Some("uniqueness"), Some(Cow::Borrowed(*field))),
            Self::Invalid { rule, field, .. } => (Some(rule.name()), Some(field.clone())),
            _ => (None, None),
        }
    }

    /// A value that cannot be accepted, and why.
    pub fn invalid(field: impl Into<Cow<'static, str>>, why: impl Into<Cow<'static, str>>) -> Self {
        Self::broken(Rule::Value, field, why)
    }

    /// Like [`Error::invalid`], naming the rule that was broken.
    pub fn broken(rule: Rule, field: impl Into<Cow<'static, str>>, why: impl Into<Cow<'static, str>>) -> Self {
        Self::Invalid { rule, field: field.into(), why: why.into() }
    }

    /// `what` was not found in the caller's organization.
    pub fn not_found(what: impl Into<Cow<'static, str>>) -> Self {
        Self::NotFound(what.into())
    }
}
