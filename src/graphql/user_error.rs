//! The mistakes in a mutation's input: all of them at once, each with a stable code, the reason in
//! more detail, and the path as the client wrote it. What must never enter: an error that no other
//! input would avoid.

use async_graphql::{Enum, SimpleObject};

use super::permission::needs;
use crate::error::{Error, Noun, RefusalReason, Result, Rule};

/// The kind of mistake for which a mutation was refused.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserErrorCode {
    /// The object does not exist in this organization.
    NotFound,
    /// Another object already has this value.
    Taken,
    /// A value is not valid.
    Invalid,
    /// The input has more entries than are allowed.
    TooMany,
    /// The object has changed since it was read.
    Stale,
    /// The current state does not allow it; `message` says what to change first.
    Held,
    /// rolecall does not support it.
    Unsupported,
}

/// The mistake in more detail than its code. New values can be added.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserErrorReason {
    /// The object does not exist in this organization.
    NotFound,
    /// Another object already has this value.
    Taken,
    /// The object has another version than `expectedVersion`.
    Stale,
    /// The preview would not do any more what it shows.
    PreviewStale,
    /// A value is out of range or has the wrong form.
    InvalidValue,
    /// A value is missing, or null where there must be one.
    Required,
    /// A text is longer than what is stored.
    TooLong,
    /// There are more entries than are allowed.
    TooMany,
    /// The value cannot be changed.
    ReadOnly,
    /// A SCIM filter is malformed or cannot be answered.
    InvalidFilter,
    /// A value is malformed.
    Malformed,
    /// rolecall does not support it.
    Unsupported,
    /// The personal data of the account was erased.
    AccountErased,
    /// The account was deleted.
    AccountRemoved,
    /// The account is suspended.
    AccountSuspended,
    /// The person has no account here.
    AccountUnknown,
    /// The domain of the user name is not one that the organization has proven to own.
    DomainNotProven,
    /// An assertion was issued later than now, by the clock of this server.
    IssuedInFuture,
    /// The account belongs to another person at the identity provider.
    OtherSubject,
    /// Sign-ins say who is in which group, which excludes SCIM.
    SignInIntegration,
    /// The proposal was accepted already.
    AlreadyAccepted,
    /// The account belongs to a connection already.
    AlreadyOwned,
    /// The same work is running already.
    AlreadyRunning,
    /// The connection is deactivated.
    ConnectionInactive,
    /// The connection owns it, or still owns accounts or groups.
    ConnectionOwns,
    /// The DNS did not answer.
    DnsUnavailable,
    /// Another organization has proven the domain.
    DomainProvenElsewhere,
    /// The DNS does not have the record that proves the domain.
    DomainRecordMissing,
    /// It has ended: a key or a token that expired or was revoked, or a grant.
    Ended,
    /// The organization uses Microsoft Entra ID's native integration, which excludes SCIM.
    EntraNativeIntegration,
    /// It was resolved, dismissed or ended already.
    Finished,
    /// The account is suspended.
    Inactive,
    /// It is still in use.
    InUse,
    /// A management role would be left without a holder.
    LastHolder,
    /// There are as many as there can be.
    LimitReached,
    /// The operator of this server has set no mail server.
    MailNotConfigured,
    /// There is no account that the connection could get.
    NothingToAdopt,
    /// There is nothing to delete.
    NothingToDelete,
    /// What was sent is not stored, so it cannot be sent again.
    NothingToRetry,
    /// The run does not wait for an approval.
    NotWaiting,
    /// There is no account.
    NoAccount,
    /// The identity provider lists the user as active.
    NoLeaver,
    /// Provisioning is turned off for the organization.
    OrganizationDisabled,
    /// Another connection owns it.
    OtherOwner,
    /// SCIM is turned off in this installation.
    PlatformDisabled,
    /// Provisioning was not released to the organization yet.
    ProvisioningNotReleased,
    /// The account is a break-glass account.
    ProtectedAccount,
    /// rolecall reads a source for this connection.
    Pulled,
    /// The account was renamed.
    Renamed,
    /// An earlier run has not ended.
    RunNotEnded,
    /// Too many jobs wait already.
    TooManyJobs,
    /// Too many setup links of the connection can be opened.
    TooManyLinks,
    /// Too many tokens of the connection are live.
    TooManyTokens,
    /// Too much is stored already.
    TooMuchStored,
    /// Other work of the same kind is being done.
    TurnTaken,
    /// The source cannot be reached.
    SourceUnavailable,
    /// The source refuses the credentials.
    SourceCredentials,
    /// Nothing can be read at the source's address.
    SourceAddress,
    /// The source's answer is not SCIM.
    SourceUnreadable,
    /// The assertion is signed with an algorithm that the connection does not allow.
    AssertionAlgorithm,
    /// Several connections accept such assertions: name one.
    AssertionAmbiguous,
    /// The assertion is for another application.
    AssertionAudience,
    /// The assertion does not say who the person is.
    AssertionClaim,
    /// The assertion has expired.
    AssertionExpired,
    /// No connection trusts the issuer of the assertion.
    AssertionIssuer,
    /// The issuer publishes no key with which the assertion was signed.
    AssertionKey,
    /// It is another kind of token than what a sign-in gives.
    AssertionKind,
    /// The assertion belongs to another request.
    AssertionNonce,
    /// The assertion is not valid yet: the issuer's clock is ahead.
    AssertionNotYetValid,
    /// The assertion was used before.
    AssertionReplayed,
    /// The signature of the assertion is wrong.
    AssertionSignature,
    /// The assertion is malformed.
    AssertionUnreadable,
    /// A reason that this version of the schema has no name for.
    Other,
}

impl UserErrorReason {
    fn of_error(error: &Error) -> Self {
        match error {
            Error::Invalid { rule, .. } => Self::of_rule(*rule),
            error => Self::of_refusal(error.reason()),
        }
    }

    fn of_rule(rule: Rule) -> Self {
        match rule {
            Rule::Value => Self::InvalidValue,
            Rule::Required => Self::Required,
            Rule::Length => Self::TooLong,
            Rule::Mutability => Self::ReadOnly,
            Rule::Filter => Self::InvalidFilter,
            Rule::TooMany => Self::TooMany,
            Rule::Syntax | Rule::Path | Rule::NoTarget | Rule::Cursor | Rule::Count => {
                Self::Malformed
            }
        }
    }

    /// The reason of a refusal, as the schema names it.
    pub fn of_refusal(reason: RefusalReason) -> Self {
        use RefusalReason as R;
        match reason {
            R::NotFound => Self::NotFound,
            R::Taken | R::Conflict => Self::Taken,
            R::Stale => Self::Stale,
            R::PreviewStale => Self::PreviewStale,
            R::TooLong => Self::TooLong,
            R::Invalid => Self::InvalidValue,
            R::TooLarge => Self::TooMany,
            R::Unreadable | R::MediaType => Self::Malformed,
            R::Unsupported => Self::Unsupported,
            R::AccountErased => Self::AccountErased,
            R::AccountRemoved => Self::AccountRemoved,
            R::AccountSuspended => Self::AccountSuspended,
            R::AccountUnknown => Self::AccountUnknown,
            R::DomainNotProven => Self::DomainNotProven,
            R::IssuedInFuture => Self::IssuedInFuture,
            R::OtherSubject => Self::OtherSubject,
            R::SignInIntegration => Self::SignInIntegration,
            R::AlreadyAccepted => Self::AlreadyAccepted,
            R::AlreadyOwned => Self::AlreadyOwned,
            R::AlreadyRunning => Self::AlreadyRunning,
            R::ConnectionInactive => Self::ConnectionInactive,
            R::ConnectionOwns => Self::ConnectionOwns,
            R::DnsUnavailable => Self::DnsUnavailable,
            R::DomainProvenElsewhere => Self::DomainProvenElsewhere,
            R::DomainRecordMissing => Self::DomainRecordMissing,
            R::Ended => Self::Ended,
            R::EntraNativeIntegration => Self::EntraNativeIntegration,
            R::Finished => Self::Finished,
            R::Inactive => Self::Inactive,
            R::InUse => Self::InUse,
            R::LastHolder => Self::LastHolder,
            R::LimitReached => Self::LimitReached,
            R::MailNotConfigured => Self::MailNotConfigured,
            R::NothingToAdopt => Self::NothingToAdopt,
            R::NothingToDelete => Self::NothingToDelete,
            R::NothingToRetry => Self::NothingToRetry,
            R::NotWaiting => Self::NotWaiting,
            R::NoAccount => Self::NoAccount,
            R::NoLeaver => Self::NoLeaver,
            R::OrganizationDisabled => Self::OrganizationDisabled,
            R::OtherOwner => Self::OtherOwner,
            R::PlatformDisabled => Self::PlatformDisabled,
            R::ProvisioningNotReleased => Self::ProvisioningNotReleased,
            R::ProtectedAccount => Self::ProtectedAccount,
            R::Renamed => Self::Renamed,
            R::RunNotEnded => Self::RunNotEnded,
            R::TooManyJobs => Self::TooManyJobs,
            R::TooManyLinks => Self::TooManyLinks,
            R::TooManyTokens => Self::TooManyTokens,
            R::TooMuchStored => Self::TooMuchStored,
            R::TurnTaken => Self::TurnTaken,
            R::Pulled => Self::Pulled,
            R::SourceUnavailable => Self::SourceUnavailable,
            R::SourceCredentials => Self::SourceCredentials,
            R::SourceAddress => Self::SourceAddress,
            R::SourceUnreadable => Self::SourceUnreadable,
            R::AssertionAlgorithm => Self::AssertionAlgorithm,
            R::AssertionAmbiguous => Self::AssertionAmbiguous,
            R::AssertionAudience => Self::AssertionAudience,
            R::AssertionClaim => Self::AssertionClaim,
            R::AssertionExpired => Self::AssertionExpired,
            R::AssertionIssuer => Self::AssertionIssuer,
            R::AssertionKey => Self::AssertionKey,
            R::AssertionKind => Self::AssertionKind,
            R::AssertionNonce => Self::AssertionNonce,
            R::AssertionNotYetValid => Self::AssertionNotYetValid,
            R::AssertionReplayed => Self::AssertionReplayed,
            R::AssertionSignature => Self::AssertionSignature,
            R::AssertionUnreadable => Self::AssertionUnreadable,
            // These end a request as a whole, or are about messages over SCIM.
            R::Forbidden
            | R::Unauthenticated
            | R::OrganizationSuspended
            | R::Busy
            | R::RateLimited
            | R::Unavailable
            | R::OutcomeUnknown
            | R::Internal
            | R::TokenMissing
            | R::TokenUnknown
            | R::TokenDead
            | R::CredentialMissing
            | R::CredentialUnknown
            | R::CredentialDead
            | R::CredentialKind
            | R::WrongTenant
            | R::NoEndpoint
            | R::MethodNotAllowed
            | R::NotAcceptable
            | R::TargetUnavailable => Self::Other,
        }
    }

    /// What a person can do next; none where the message says it.
    fn next_step(self) -> Option<&'static str> {
        Some(match self {
            Self::NotFound => "Read the list again: the object may have been deleted.",
            Self::Taken => "Choose another value, or change the object that has this one.",
            Self::Stale => "Read the object again, and decide whether your change still fits.",
            Self::PreviewStale => "Make a new preview of the same edits, and read it again.",
            Self::Required => "Give a value.",
            Self::TooLong | Self::TooMany => "Send less in one call.",
            Self::ConnectionInactive => "Activate the connection first.",
            Self::EntraNativeIntegration | Self::SignInIntegration => {
                "Change the organization's integration mode first."
            }
            Self::AccountRemoved => "Restore the account, or create one by hand.",
            Self::AccountErased | Self::AccountUnknown => "Create an account first.",
            Self::AccountSuspended => "Reactivate the account first.",
            Self::DomainNotProven => "Prove that the organization owns the domain.",
            Self::IssuedInFuture => "Compare the clocks of the two servers.",
            Self::OtherSubject => "Give one of the two people another user name.",
            Self::Inactive => "Reactivate the account first.",
            Self::LastHolder => "Give the role to another account first.",
            Self::OrganizationDisabled => "Turn provisioning on first.",
            Self::PlatformDisabled | Self::ProvisioningNotReleased => {
                "Ask the operator of this installation."
            }
            Self::DnsUnavailable => "Try again in some minutes.",
            Self::DomainRecordMissing => {
                "Add the record at the provider of your DNS, and try again when it is seen."
            }
            Self::ProtectedAccount => "Make it an ordinary account first.",
            Self::RunNotEnded | Self::AlreadyRunning | Self::TurnTaken => {
                "Wait until the other one has ended, or cancel it."
            }
            Self::TooManyJobs => "Wait until an earlier job has ended.",
            Self::TooManyLinks => "Revoke a setup link first.",
            Self::TooManyTokens => "Revoke a token first.",
            Self::LimitReached => "Remove one first.",
            Self::MailNotConfigured => "Ask the operator of this server.",
            Self::SourceUnavailable | Self::SourceAddress | Self::SourceUnreadable => {
                "Check the address of the source, and test it again."
            }
            Self::AssertionAlgorithm => "Allow the algorithm at the connection, if it is meant.",
            Self::AssertionAmbiguous => "Name the connection.",
            Self::AssertionAudience => {
                "Add the audience to the connection, if the application belongs to it."
            }
            Self::AssertionIssuer => {
                "Compare the issuer in the assertion with the settings of the connection."
            }
            Self::AssertionKey => {
                "Test the connection (assertionSourceTest): perhaps its keys cannot be read."
            }
            Self::AssertionClaim => {
                "Compare the names of the claims at the connection with the assertion."
            }
            Self::AssertionKind => "Send the ID token of the sign-in.",
            Self::AssertionNotYetValid => "Set the clocks of both servers.",
            Self::AssertionExpired | Self::AssertionReplayed | Self::AssertionNonce => {
                "Let the person sign in again."
            }
            Self::SourceCredentials => "Give the connection a new secret.",
            Self::InvalidValue
            | Self::ReadOnly
            | Self::InvalidFilter
            | Self::Malformed
            | Self::Unsupported
            | Self::AlreadyAccepted
            | Self::AlreadyOwned
            | Self::ConnectionOwns
            | Self::DomainProvenElsewhere
            | Self::Ended
            | Self::Finished
            | Self::InUse
            | Self::NothingToAdopt
            | Self::NothingToDelete
            | Self::NothingToRetry
            | Self::NotWaiting
            | Self::NoAccount
            | Self::NoLeaver
            | Self::OtherOwner
            | Self::Pulled
            | Self::Renamed
            | Self::TooMuchStored
            | Self::AssertionSignature
            | Self::AssertionUnreadable
            | Self::Other => return None,
        })
    }
}

/// A mistake in a mutation's input that a person can correct.
#[derive(SimpleObject, Debug, Clone, PartialEq, Eq)]
pub struct UserError {
    /// The kind of mistake, as a stable code for programs.
    #[graphql(directive = needs::apply(None))]
    pub code: UserErrorCode,
    /// The mistake in more detail, as a stable code for programs.
    #[graphql(directive = needs::apply(None))]
    pub reason: UserErrorReason,
    /// What is wrong, in words for people.
    #[graphql(directive = needs::apply(None))]
    pub message: String,
    /// What a person can do next, in words for people; null where `message` says it.
    #[graphql(directive = needs::apply(None))]
    pub next_step: Option<String>,
    /// The path to the argument that the mistake is in, as the client wrote it, for example
    /// `["input", "pull", "baseUrl"]`, or `["input", "edits", "0", "createMapping", "roleId"]`.
    #[graphql(directive = needs::apply(None))]
    pub path: Vec<String>,
}

/// The fields of a mutation's input that the domain's errors are about, as dotted paths.
#[derive(Debug, Clone, Copy)]
pub struct FieldMap {
    /// Which field names the object of an [`Error::NotFound`].
    pub nouns: &'static [(Noun, &'static str)],
    /// Which field holds the value that the domain calls otherwise.
    pub fields: &'static [(&'static str, &'static str)],
}

impl FieldMap {
    /// Each name is the field's own.
    pub const EMPTY: Self = Self { nouns: &[], fields: &[] };

    fn find_noun(self, noun: Noun) -> Option<&'static str> {
        self.nouns.iter().find(|(known, _)| *known == noun).map(|(_, field)| *field)
    }

    fn find_field(self, name: &str) -> Option<&'static str> {
        self.fields.iter().find(|(known, _)| *known == name).map(|(_, field)| *field)
    }

    /// The dotted path that a name of the domain stands for. A mistake in an entry of a list is
    /// named `list.place`, perhaps with more behind it: the list may have another name here.
    fn place_of(self, name: &str) -> String {
        if let Some(field) = self.find_field(name) {
            return field.to_owned();
        }
        let mut dots = name.match_indices('.').map(|(at, _)| at);
        let in_list = dots.find_map(|at| {
            let (list, rest) = (name.get(..at)?, name.get(at..)?);
            let is_place = rest.get(1..)?.starts_with(|c: char| c.is_ascii_digit());
            let field = self.find_field(list).filter(|_| is_place)?;
            Some(format!("{field}{rest}"))
        });
        in_list.unwrap_or_else(|| name.to_owned())
    }

    /// The parts of the path below `input` to what the error is about.
    fn path_of(self, error: &Error) -> Vec<String> {
        let name = match error {
            Error::NotFound(noun) => self.find_noun(*noun).unwrap_or_default().to_owned(),
            Error::NotFoundInList { list, place, .. } => self.place_of(&format!("{list}.{place}")),
            Error::Taken { field } => self.place_of(field),
            Error::Stale { .. } => "expectedVersion".to_owned(),
            Error::Held { reason: RefusalReason::PreviewStale, .. } => "previewId".to_owned(),
            Error::Invalid { field, .. } => self.place_of(field),
            _ => String::new(),
        };
        name.split('.').filter(|part| !part.is_empty()).map(Into::into).collect()
    }
}

/// How an input writes one of its edits: the field that holds it, and what its fields mean.
pub type EditField = (&'static str, FieldMap);

/// The mistakes that an error stands for.
///
/// # Errors
/// The error itself, if no other input would avoid it.
fn collect_user_errors(
    error: Error,
    map: FieldMap,
    edits: &[EditField],
    prefix: &[String],
    into: &mut Vec<UserError>,
) -> Result<()> {
    if !error.is_mistake() {
        return Err(match error {
            Error::InEdit { error, .. } => *error,
            error => error,
        });
    }
    let code = match error {
        Error::Several(errors) => {
            return errors
                .into_iter()
                .try_for_each(|error| collect_user_errors(error, map, edits, prefix, into));
        }
        Error::InEdit { index, error } => {
            let (name, map) = edits.get(index).copied().unwrap_or(("", FieldMap::EMPTY));
            let steps = ["edits".to_owned(), index.to_string(), name.to_owned()];
            let prefix: Vec<String> = prefix.iter().cloned().chain(steps).collect();
            return collect_user_errors(*error, map, &[], &prefix, into);
        }
        Error::NotFound(_) | Error::NotFoundInList { .. } => UserErrorCode::NotFound,
        Error::Taken { .. } => UserErrorCode::Taken,
        Error::Stale { .. } | Error::Held { reason: RefusalReason::PreviewStale, .. } => {
            UserErrorCode::Stale
        }
        Error::Invalid { rule: Rule::TooMany, .. } => UserErrorCode::TooMany,
        Error::Held { .. } => UserErrorCode::Held,
        Error::Unsupported(_) => UserErrorCode::Unsupported,
        _ => UserErrorCode::Invalid,
    };
    let reason = UserErrorReason::of_error(&error);
    into.push(UserError {
        code,
        reason,
        message: error.to_string(),
        next_step: reason.next_step().map(Into::into),
        path: prefix.iter().cloned().chain(map.path_of(&error)).collect(),
    });
    Ok(())
}

/// Splits the result of a domain function into the two parts of a payload: the object, or the
/// mistakes in the input.
///
/// # Errors
/// An error that no other input would avoid stays an error of the whole field.
pub fn split_user_errors<T>(done: Result<T>, map: FieldMap) -> Result<(Option<T>, Vec<UserError>)> {
    split_edit_errors(done, map, &[])
}

/// The same for an input with edits that are made together; `edits` says how each is written.
///
/// # Errors
/// As [`split_user_errors`].
pub fn split_edit_errors<T>(
    done: Result<T>,
    map: FieldMap,
    edits: &[EditField],
) -> Result<(Option<T>, Vec<UserError>)> {
    match done {
        Ok(value) => Ok((Some(value), Vec::new())),
        Err(error) => {
            let mut mistakes = Vec::new();
            collect_user_errors(error, map, edits, &["input".to_owned()], &mut mistakes)?;
            Ok((None, mistakes))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: FieldMap = FieldMap {
        nouns: &[(Noun::Role, "roleId")],
        fields: &[("baseUrl", "pull.baseUrl"), ("saml.audiences", "assertion.saml.audiences")],
    };

    fn paths(error: Error, edits: &[EditField]) -> Vec<Vec<String>> {
        let (done, mistakes) = split_edit_errors(Err::<(), _>(error), MAP, edits).unwrap();
        assert!(done.is_none());
        mistakes.into_iter().map(|mistake| mistake.path).collect()
    }

    #[test]
    fn several_mistakes_keep_their_paths() {
        let several = Error::Several(vec![
            Error::NotFound(Noun::Role),
            Error::invalid("baseUrl", "is no URL"),
            Error::Taken { field: "name" },
        ]);
        let expected = [vec!["input", "roleId"], vec!["input", "pull", "baseUrl"]];
        let found = paths(several, &[]);
        assert_eq!(
            found[..2],
            expected.map(|path| path.iter().map(|s| s.to_string()).collect::<Vec<_>>())
        );
        assert_eq!(found[2], ["input", "name"]);
    }

    #[test]
    fn entries_of_lists_keep_their_paths() {
        let several = Error::Several(vec![
            Error::not_found(Noun::Role).at_place("roles", 2),
            Error::invalid("saml.audiences", "is empty").at_place("saml.audiences", 0),
            Error::invalid("name", "is empty").at_place("attributes", 11),
        ]);
        let expected = [
            vec!["input", "roles", "2"],
            vec!["input", "assertion", "saml", "audiences", "0"],
            vec!["input", "attributes", "11", "name"],
        ];
        assert_eq!(paths(several, &[]), expected);
    }

    #[test]
    fn an_edit_keeps_code_and_path() {
        let error = Error::InEdit { index: 1, error: Box::new(Error::NotFound(Noun::Role)) };
        let edits = [("removeGrant", FieldMap::EMPTY), ("createMapping", MAP)];
        let (_, mistakes) = split_edit_errors(Err::<(), _>(error), MAP, &edits).unwrap();
        assert_eq!(mistakes[0].path, ["input", "edits", "1", "createMapping", "roleId"]);
        assert_eq!(mistakes[0].code, UserErrorCode::NotFound);
    }

    #[test]
    fn an_error_of_the_server_stays_one() {
        let inner = Error::Forbidden("no".into());
        let error = Error::InEdit { index: 0, error: Box::new(inner) };
        assert!(matches!(split_user_errors(Err::<(), _>(error), MAP), Err(Error::Forbidden(_))));
    }
}
