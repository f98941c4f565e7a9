//! The cause of a failure, whether it passes by itself, and what to do about it.

use chrono::Duration;

use super::{Cause, Failure, Origin};
use crate::domain::connection::request_log;
use crate::error::RefusalReason;

/// How long after each failed attempt the next one follows, for causes that pass by themselves.
/// After the last attempt the failure waits for a reviewer.
pub const RETRY_DELAYS: [Duration; 5] = [
    Duration::minutes(1),
    Duration::minutes(5),
    Duration::minutes(30),
    Duration::hours(2),
    Duration::hours(12),
];

/// The cause of a refusal.
pub fn cause_of_reason(reason: RefusalReason) -> Cause {
    use RefusalReason as R;
    match reason {
        R::Taken => Cause::Uniqueness,
        R::Invalid | R::TooLong | R::Unreadable | R::MediaType | R::SourceUnreadable => {
            Cause::InvalidValue
        }
        R::NotFound | R::NoEndpoint | R::SourceAddress => Cause::NotFound,
        R::ProtectedAccount | R::LastHolder => Cause::Protected,
        R::Forbidden | R::SourceCredentials => Cause::NotPermitted,
        R::Unsupported | R::MethodNotAllowed => Cause::Unsupported,
        R::TooLarge => Cause::TooLarge,
        R::Busy | R::TargetUnavailable | R::SourceUnavailable => Cause::TargetUnavailable,
        R::RateLimited => Cause::RateLimited,
        R::Internal => Cause::Internal,
        // The state of the object, of its connection or of the organization does not allow it.
        R::AssertionAlgorithm
        | R::AssertionAmbiguous
        | R::AssertionAudience
        | R::AssertionClaim
        | R::AssertionExpired
        | R::AssertionIssuer
        | R::AssertionKey
        | R::AssertionKind
        | R::AssertionNonce
        | R::AssertionNotYetValid
        | R::AssertionReplayed
        | R::AssertionSignature
        | R::AssertionUnreadable
        | R::Stale
        | R::Conflict
        | R::Unauthenticated
        | R::Unavailable
        | R::OutcomeUnknown
        | R::AccountErased
        | R::AccountRemoved
        | R::AccountSuspended
        | R::AccountUnknown
        | R::DomainNotProven
        | R::IssuedInFuture
        | R::OtherSubject
        | R::SignInIntegration
        | R::AlreadyAccepted
        | R::AlreadyOwned
        | R::AlreadyRunning
        | R::ConnectionInactive
        | R::ConnectionOwns
        | R::DnsUnavailable
        | R::DomainProvenElsewhere
        | R::DomainRecordMissing
        | R::Ended
        | R::EntraNativeIntegration
        | R::Finished
        | R::Inactive
        | R::InUse
        | R::NothingToAdopt
        | R::NothingToDelete
        | R::NothingToRetry
        | R::NotWaiting
        | R::NoAccount
        | R::NoLeaver
        | R::OrganizationDisabled
        | R::OrganizationSuspended
        | R::OtherOwner
        | R::PlatformDisabled
        | R::PreviewStale
        | R::ProvisioningNotReleased
        | R::Pulled
        | R::Renamed
        | R::RunNotEnded
        | R::TooManyJobs
        | R::TooManyLinks
        | R::TooManyTokens
        | R::LimitReached
        | R::MailNotConfigured
        | R::TooMuchStored
        | R::TurnTaken
        | R::TokenMissing
        | R::TokenUnknown
        | R::TokenDead
        | R::CredentialMissing
        | R::CredentialUnknown
        | R::CredentialDead
        | R::CredentialKind
        | R::WrongTenant
        | R::NotAcceptable => Cause::Conflict,
    }
}

/// Whether the same write may succeed later without any change by an administrator.
pub fn passes_by_itself(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::TargetUnavailable | Cause::RateLimited | Cause::Conflict | Cause::Internal
    )
}

/// What is wrong, as a text that never has a value of the request.
pub fn describe_failure(failure: &Failure) -> String {
    let field = failure.field.as_deref();
    if failure.origin == Origin::Delivery {
        return "the destination did not take the event for three days".into();
    }
    match (failure.cause, RefusalReason::parse(&failure.reason)) {
        (_, Some(RefusalReason::SourceUnreadable)) => "the source's answer is not SCIM, or does \
            not end"
            .into(),
        (_, Some(RefusalReason::SourceAddress)) => {
            "nothing can be read at the source's address, or the source does not support the \
             request"
                .into()
        }
        (_, Some(RefusalReason::SourceCredentials)) => "the source refuses the connection's \
            credentials"
            .into(),
        (Cause::RateLimited, _) if failure.origin == Origin::Sync => "the source allows fewer \
            requests"
            .into(),
        (Cause::Uniqueness, _) => format!("{} is already in use here", field.unwrap_or("a value")),
        (Cause::InvalidValue, Some(RefusalReason::TooLong)) => {
            format!("{} is longer than this server can store", field.unwrap_or("a value"))
        }
        (Cause::InvalidValue, _) => match field {
            Some(field) => format!("{field} cannot be accepted as it was sent"),
            None => "the message cannot be accepted as it was sent".into(),
        },
        (Cause::NotFound, _) => "the user or group is not here or does not belong to this \
                                 connection"
            .into(),
        (Cause::Protected, Some(RefusalReason::LastHolder)) => {
            "it would take a management role away from its last holder".into()
        }
        (Cause::Protected, _) => "it would change a protected (break-glass) account".into(),
        (Cause::NotPermitted, _) => "the token lacks the scope that it needs".into(),
        (Cause::Conflict, _) => "the state of the user or group did not allow it".into(),
        (Cause::Unsupported, _) => "this server does not support it".into(),
        (Cause::TooLarge, _) => "it is larger than this server accepts".into(),
        (Cause::RateLimited, _) => "the connection sent more requests than its limit".into(),
        (Cause::TargetUnavailable, _) => "the other server could not be reached or was too \
            busy"
            .into(),
        (Cause::Internal, _) => "an error happened inside this server".into(),
    }
}

/// What most probably resolves the failure: a code for programs, and a text for reviewers.
pub fn suggest_fix(failure: &Failure) -> (&'static str, String) {
    if let Some((code, text)) = suggest_source_fix(failure) {
        return (code, text.into());
    }
    let code = match (failure.cause, RefusalReason::parse(&failure.reason)) {
        (Cause::Uniqueness, _) => "FIND_THE_RIGHT_ONE",
        (Cause::InvalidValue, Some(RefusalReason::Invalid | RefusalReason::TooLong)) => {
            "CHANGE_ATTRIBUTE_MAPPING"
        }
        (Cause::NotFound, Some(RefusalReason::NoEndpoint)) => "CHECK_BASE_URL",
        (Cause::NotFound, _) => "SEND_AGAIN",
        (Cause::Protected, Some(RefusalReason::LastHolder)) => "ADD_HOLDER",
        (Cause::Protected, _) => "TAKE_OUT_OF_SCOPE",
        (Cause::NotPermitted, _) => "ISSUE_TOKEN_WITH_SCOPE",
        (Cause::Unsupported | Cause::InvalidValue, _) => "CHANGE_PROVIDER_SETTINGS",
        (Cause::TooLarge, _) => "SEND_LESS_AT_ONCE",
        (Cause::RateLimited, _) => "SEND_MORE_SLOWLY",
        (Cause::Conflict | Cause::TargetUnavailable, _) => "RETRY",
        (Cause::Internal, _) => "TELL_OPERATOR",
    };
    let sender = match failure.origin {
        Origin::Request => request_log::IDENTITY_PROVIDER,
        Origin::Sync => request_log::IDENTITY_SOURCE,
        Origin::Delivery => {
            let text = "See what the destination answered (deliveryId), put its receiver right, \
                        and retry (failureRetry); or dismiss it, if it need not be delivered.";
            return ("RETRY", text.into());
        }
    };
    let (scim_type, field) = (failure.scim_type.as_deref(), failure.field.as_deref());
    (code, request_log::remedy_for_refusal(&failure.reason, scim_type, field, sender))
}

fn suggest_source_fix(failure: &Failure) -> Option<(&'static str, &'static str)> {
    Some(match RefusalReason::parse(&failure.reason) {
        Some(RefusalReason::SourceUnavailable) => (
            "RETRY",
            "Look at the source's own log, and retry (failureRetry) when the source works.",
        ),
        Some(RefusalReason::SourceCredentials) => (
            "GIVE_SECRET",
            "Give the connection a valid secret (connectionUpdate with pull.secret), and let it \
             read users and groups at \
             the source; pullSourceTest says whether that helped.",
        ),
        Some(RefusalReason::SourceAddress) => (
            "CHECK_BASE_URL",
            "Correct the base URL, the filter or the page size; pullSourceTest says what is wrong.",
        ),
        Some(RefusalReason::SourceUnreadable) => (
            "CHECK_SOURCE",
            "Look at what the source answers at the base URL; the reason of the sync run says \
             what was wrong with it.",
        ),
        Some(RefusalReason::RateLimited) if failure.origin == Origin::Sync => {
            ("ASK_LESS_OFTEN", "Let runs begin less often, or have the source's limit raised.")
        }
        _ => return None,
    })
}
