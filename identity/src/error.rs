//! Why an input cannot be accepted.

use std::borrow::Cow;

/// Which rule an [`InvalidInput`] broke. The names follow the `scimType` values of RFC 7644,
/// table 9.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A value is missing, of the wrong type or out of range.
    Value,
    /// A value is missing or null where there must be one.
    Required,
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
            Self::Value | Self::Required | Self::Length => "invalidValue",
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

/// An input that breaks a rule of the data model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct InvalidInput {
    pub rule: Rule,
    /// The attribute or parameter, by the name that the client used.
    pub field: Cow<'static, str>,
    pub why: Cow<'static, str>,
}

/// A result whose error is an input that cannot be accepted.
pub type Result<T, E = InvalidInput> = std::result::Result<T, E>;

impl InvalidInput {
    /// A value that cannot be accepted, and why.
    pub fn invalid_value(
        field: impl Into<Cow<'static, str>>,
        why: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::of_rule(Rule::Value, field, why)
    }

    /// Like [`InvalidInput::invalid_value`], naming the rule that was broken.
    pub fn of_rule(
        rule: Rule,
        field: impl Into<Cow<'static, str>>,
        why: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { rule, field: field.into(), why: why.into() }
    }
}
