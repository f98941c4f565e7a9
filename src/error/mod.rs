//! The error type of the whole program: few kinds, no HTTP, no SQL.
//!
//! The domain says *what* is wrong, in words an administrator understands. `scim/http.rs` and
//! `graphql/relay.rs` are the only two places that translate it for clients.

pub mod mistakes;
mod refusal_reason;

use std::borrow::Cow;
use std::fmt;

use uuid::Uuid;

pub use mistakes::Mistakes;
pub use refusal_reason::RefusalReason;

/// Everything that can go wrong with a request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object does not exist, or the caller may not see it: both give the same answer.
    #[error("{0} was not found")]
    NotFound(Noun),
    /// An object that a list of the input names does not exist, or the caller may not see it.
    #[error("{noun} was not found")]
    NotFoundInList { noun: Noun, list: &'static str, place: usize },
    /// Another live object already has this value.
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
    Forbidden(Denial),
    /// The caller is not known.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// Understood, but not offered here.
    #[error("{0}")]
    Unsupported(Cow<'static, str>),
    /// Refused because of a state that an administrator can change (deactivated, protected, waiting
    /// for approval).
    #[error("{why}")]
    Held { reason: RefusalReason, why: Cow<'static, str> },
    /// Too many writes change the same object at once; the same request may succeed in a moment.
    #[error("the server is busy; try again in a moment")]
    Busy(String),
    /// More requests than the caller's share; nothing was done.
    #[error("too many requests; try again in {seconds} s")]
    Limited { seconds: u64 },
    /// The database cannot be used at present: it is unreachable, has no space left or did not
    /// answer in time. The text goes to the log, never to the caller.
    #[error("the database cannot be used at present; try again in a few seconds")]
    Unavailable(String),
    /// The connection to the database was lost while it committed the write of this request.
    #[error(
        "the database did not confirm this change: it may or may not have been made; before you \
         send it again, read \
         what is there now, or look for the request {request_id} in the ledger"
    )]
    OutcomeUnknown { request_id: Uuid },
    /// Several mistakes in one input: at least two, none of them of this kind.
    #[error("{}", join_messages(.0))]
    Several(Vec<Error>),
    /// A mistake in one of several edits that are made together.
    #[error("edit {index}: {error}")]
    InEdit { index: usize, error: Box<Error> },
    /// A fault of this program or of the database. The text goes to the log, never to the caller.
    #[error("internal error: {0}")]
    Internal(String),
}

fn join_messages(errors: &[Error]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Why a known caller may not do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    why: Cow<'static, str>,
    permission: Option<&'static str>,
}

impl Denial {
    /// The permission that the caller lacks, if it is one.
    pub fn permission(&self) -> Option<&'static str> {
        self.permission
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl From<String> for Denial {
    fn from(why: String) -> Self {
        Self { why: why.into(), permission: None }
    }
}

impl From<&'static str> for Denial {
    fn from(why: &'static str) -> Self {
        Self { why: why.into(), permission: None }
    }
}

/// An object that an error speaks of, as clients know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noun {
    Alert,
    ApiKey,
    BulkJob,
    Connection,
    DeletedGroup,
    DeletedUser,
    Deletion,
    Delivery,
    Destination,
    Endpoint,
    Failure,
    Finding,
    Grant,
    Group,
    Invitation,
    Job,
    Leaver,
    MailRecipient,
    Mapping,
    Organization,
    Owner,
    Preview,
    Proposal,
    Reconciliation,
    Report,
    Resource,
    ResourceType,
    Role,
    Schema,
    SchemaExtension,
    ScimTenant,
    SetupLink,
    SyncRun,
    Token,
    User,
    /// One that a single file of the domain speaks of, which says here what it is called.
    Named(&'static str),
}

impl fmt::Display for Noun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alert => "the alert",
            Self::ApiKey => "the API key",
            Self::BulkJob => "the bulk job",
            Self::Connection => "the connection",
            Self::DeletedGroup => "the deleted group",
            Self::DeletedUser => "the deleted user",
            Self::Deletion => "the deletion",
            Self::Delivery => "the delivery",
            Self::Destination => "the destination",
            Self::Endpoint => "this endpoint",
            Self::Failure => "the failure",
            Self::Finding => "the finding",
            Self::Grant => "the grant",
            Self::Group => "the group",
            Self::Invitation => "the invitation",
            Self::Job => "the job",
            Self::Leaver => "the leaver",
            Self::MailRecipient => "the recipient",
            Self::Mapping => "the mapping",
            Self::Organization => "the organization",
            Self::Owner => "the owner",
            Self::Preview => "the preview",
            Self::Proposal => "the proposal",
            Self::Reconciliation => "the reconciliation",
            Self::Report => "the report",
            Self::Resource => "the resource",
            Self::ResourceType => "the resource type",
            Self::Role => "the role",
            Self::Schema => "the schema",
            Self::SchemaExtension => "the schema extension",
            Self::ScimTenant => "the SCIM tenant in this URL",
            Self::SetupLink => "the setup link",
            Self::SyncRun => "the sync run",
            Self::Token => "the token",
            Self::User => "the user",
            Self::Named(name) => name,
        })
    }
}

/// After this time a client may repeat a request that failed because the database was unavailable.
pub const UNAVAILABLE_RETRY_AFTER_SECONDS: u64 = 2;

pub use identity::error::Rule;

/// A result whose error is one of the domain.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl From<identity::error::InvalidInput> for Error {
    fn from(input: identity::error::InvalidInput) -> Self {
        let identity::error::InvalidInput { rule, field, why } = input;
        Self::Invalid { rule, field, why }
    }
}

impl Error {
    /// A stable code of what went wrong, as the request log and the review queue have it.
    pub fn reason(&self) -> RefusalReason {
        match self {
            Self::NotFound(_) | Self::NotFoundInList { .. } => RefusalReason::NotFound,
            Self::Taken { .. } => RefusalReason::Taken,
            Self::Stale { .. } => RefusalReason::Stale,
            Self::Invalid { rule: Rule::Length, .. } => RefusalReason::TooLong,
            Self::Invalid { .. } => RefusalReason::Invalid,
            Self::Forbidden(_) => RefusalReason::Forbidden,
            Self::Held { reason, .. } => *reason,
            Self::Unauthenticated(_) => RefusalReason::Unauthenticated,
            Self::Unsupported(_) => RefusalReason::Unsupported,
            Self::Busy(_) => RefusalReason::Busy,
            Self::Limited { .. } => RefusalReason::RateLimited,
            Self::Unavailable(_) => RefusalReason::Unavailable,
            Self::OutcomeUnknown { .. } => RefusalReason::OutcomeUnknown,
            Self::Several(errors) => {
                errors.first().map_or(RefusalReason::Invalid, |error| error.reason())
            }
            Self::InEdit { error, .. } => error.reason(),
            Self::Internal(_) => RefusalReason::Internal,
        }
    }

    /// The rule that was broken, by its name, and the field that broke it, by the name that the
    /// client used.
    pub fn blame(&self) -> (Option<&'static str>, Option<Cow<'static, str>>) {
        match self {
            Self::Taken { field } => (Some("uniqueness"), Some(Cow::Borrowed(*field))),
            Self::Invalid { rule, field, .. } => (Some(rule.name()), Some(field.clone())),
            Self::Several(errors) => errors.first().map_or((None, None), Self::blame),
            Self::InEdit { error, .. } => error.blame(),
            _ => (None, None),
        }
    }

    /// Whether another input, or another state of what it is about, would avoid this error.
    pub fn is_mistake(&self) -> bool {
        match self {
            Self::NotFound(_)
            | Self::NotFoundInList { .. }
            | Self::Taken { .. }
            | Self::Stale { .. }
            | Self::Invalid { .. }
            | Self::Held { .. }
            | Self::Unsupported(_) => true,
            Self::Several(errors) => errors.iter().all(Self::is_mistake),
            Self::InEdit { error, .. } => error.is_mistake(),
            Self::Forbidden(_)
            | Self::Unauthenticated(_)
            | Self::Busy(_)
            | Self::Limited { .. }
            | Self::Unavailable(_)
            | Self::OutcomeUnknown { .. }
            | Self::Internal(_) => false,
        }
    }

    /// Refuses null for a value that cannot be taken away.
    pub fn not_nullable(field: impl Into<Cow<'static, str>>) -> Self {
        Self::broken(Rule::Required, field, "cannot be null; leave it out to keep it as it is")
    }

    /// A value that cannot be accepted, and why.
    pub fn invalid(field: impl Into<Cow<'static, str>>, why: impl Into<Cow<'static, str>>) -> Self {
        Self::broken(Rule::Value, field, why)
    }

    /// Like [`Error::invalid`], naming the rule that was broken.
    pub fn broken(
        rule: Rule,
        field: impl Into<Cow<'static, str>>,
        why: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::Invalid { rule, field: field.into(), why: why.into() }
    }

    /// The caller lacks this permission; `why` says it in words.
    pub fn lacks_permission(permission: &'static str, why: impl Into<Cow<'static, str>>) -> Self {
        Self::Forbidden(Denial { why: why.into(), permission: Some(permission) })
    }

    /// The same mistake, in one entry of the list that it is about. It is told of its field, which
    /// is the list itself or a field of the entry.
    pub fn at_place(self, list: &'static str, place: usize) -> Self {
        match self {
            Self::NotFound(noun) => Self::NotFoundInList { noun, list, place },
            Self::Invalid { rule, field, why } if field == list => {
                Self::Invalid { rule, field: format!("{list}.{place}").into(), why }
            }
            Self::Invalid { rule, field, why } => {
                Self::Invalid { rule, field: format!("{list}.{place}.{field}").into(), why }
            }
            Self::Several(errors) => {
                Self::Several(errors.into_iter().map(|error| error.at_place(list, place)).collect())
            }
            error => error,
        }
    }

    /// The same mistakes; those in the list `list` are about its entry at `place`.
    pub fn name_place(self, list: &'static str, place: usize) -> Self {
        match self {
            Self::Invalid { ref field, .. } if field == list => self.at_place(list, place),
            Self::Several(errors) => Self::Several(
                errors.into_iter().map(|error| error.name_place(list, place)).collect(),
            ),
            error => error,
        }
    }

    /// The object was not found in the caller's organization.
    pub fn not_found(noun: Noun) -> Self {
        Self::NotFound(noun)
    }
}
