//! What stood in the way, whether it passes by itself, and what to do about it.

use chrono::Duration;

use super::{Cause, Failure, Origin};
use crate::domain::request_log;

/// How long after each failed attempt the next one follows, for causes that pass by themselves. After the last one
/// the work waits for somebody.
pub const SCHEDULE: [Duration; 5] =
    [Duration::minutes(1), Duration::minutes(5), Duration::minutes(30), Duration::hours(2), Duration::hours(12)];

/// The cause that the code of a refusal stands for.
pub fn of(reason: &str) -> Cause {
    match reason {
        "TAKEN" => Cause::Uniqueness,
        "INVALID" | "TOO_LONG" | "UNREADABLE" | "MEDIA_TYPE" | "SOURCE_UNREADABLE" => Cause::InvalidValue,
        "NOT_FOUND" | "NO_ENDPOINT" | "SOURCE_ADDRESS" => Cause::NotFound,
        "PROTECTED_ACCOUNT" | "LAST_HOLDER" => Cause::Protected,
        "FORBIDDEN" | "SOURCE_CREDENTIALS" => Cause::NotPermitted,
        "UNSUPPORTED" | "METHOD_NOT_ALLOWED" => Cause::Unsupported,
        "TOO_LARGE" => Cause::TooLarge,
        "BUSY" | "TARGET_UNAVAILABLE" | "SOURCE_UNAVAILABLE" => Cause::TargetUnavailable,
        "RATE_LIMITED" => Cause::RateLimited,
        "INTERNAL" => Cause::Internal,
        _ => Cause::Conflict,
    }
}

/// Whether the same write may succeed later though nobody does anything.
pub fn passes(cause: Cause) -> bool {
    matches!(cause, Cause::TargetUnavailable | Cause::RateLimited | Cause::Conflict | Cause::Internal)
}

/// What is wrong, in our words: never a value of the request.
pub fn words(failure: &Failure) -> String {
    let field = failure.field.as_deref();
    match (failure.cause, failure.reason.as_str()) {
        (_, "SOURCE_UNREADABLE") => "what the source answers is not SCIM, or does not come to an end".into(),
        (_, "SOURCE_ADDRESS") => {
            "the source's address leads to nothing that can be read, or it cannot do what is asked".into()
        }
        (_, "SOURCE_CREDENTIALS") => "the source does not take the connection's credentials".into(),
        (Cause::RateLimited, _) if failure.origin == Origin::Sync => "the source wants to be asked less often".into(),
        (Cause::Uniqueness, _) => format!("{} is already in use here", field.unwrap_or("a value")),
        (Cause::InvalidValue, "TOO_LONG") => format!("{} is longer than can be kept", field.unwrap_or("a value")),
        (Cause::InvalidValue, _) => match field {
            Some(field) => format!("{field} cannot be accepted as it was sent"),
            None => "the message cannot be accepted as it was sent".into(),
        },
        (Cause::NotFound, _) => "what it is about, or refers to, is not here or not this connection's".into(),
        (Cause::Protected, "LAST_HOLDER") => "it would take a management role away from its last holder".into(),
        (Cause::Protected, _) => "it reaches for a protected (break-glass) account".into(),
        (Cause::NotPermitted, _) => "the token lacks the scope that it needs".into(),
        (Cause::Conflict, _) => "the state of what was to be changed stood in the way".into(),
        (Cause::Unsupported, _) => "it is not offered here".into(),
        (Cause::TooLarge, _) => "it is larger than this server takes".into(),
        (Cause::RateLimited, _) => "more requests came than the connection's share".into(),
        (Cause::TargetUnavailable, _) => "the server at the other end was not to be reached or too busy".into(),
        (Cause::Internal, _) => "something went wrong inside this server".into(),
    }
}

/// What most probably puts it right: a code for programs, and words for people.
pub fn suggestion(failure: &Failure) -> (&'static str, String) {
    if let Some((code, text)) = of_source(failure) {
        return (code, text.into());
    }
    let code = match (failure.cause, failure.reason.as_str()) {
        (Cause::Uniqueness, _) => "FIND_THE_RIGHT_ONE",
        (Cause::InvalidValue, "INVALID" | "TOO_LONG") => "CHANGE_ATTRIBUTE_MAPPING",
        (Cause::NotFound, "NO_ENDPOINT") => "CHECK_BASE_URL",
        (Cause::NotFound, _) => "SEND_AGAIN",
        (Cause::Protected, "LAST_HOLDER") => "ADD_HOLDER",
        (Cause::Protected, _) => "TAKE_OUT_OF_SCOPE",
        (Cause::NotPermitted, _) => "ISSUE_TOKEN_WITH_SCOPE",
        (Cause::Unsupported | Cause::InvalidValue, _) => "CHANGE_PROVIDER_SETTINGS",
        (Cause::TooLarge, _) => "SEND_LESS_AT_ONCE",
        (Cause::RateLimited, _) => "SEND_MORE_SLOWLY",
        (Cause::Conflict | Cause::TargetUnavailable, _) => "RETRY",
        (Cause::Internal, _) => "TELL_OPERATOR",
    };
    let text = request_log::remedy(&failure.reason, failure.scim_type.as_deref(), failure.field.as_deref());
    match failure.origin {
        Origin::Request => (code, text),
        // What a connection reads by itself stands where its identity provider would.
        Origin::Sync => (code, text.replace("dentity provider", "dentity source")),
    }
}

fn of_source(failure: &Failure) -> Option<(&'static str, &'static str)> {
    Some(match failure.reason.as_str() {
        "SOURCE_UNAVAILABLE" => {
            ("RETRY", "Look at the source's own log, and have it tried again when the source works: failureRetry.")
        }
        "SOURCE_CREDENTIALS" => (
            "GIVE_SECRET",
            "Give the connection a valid secret (connectionUpdate with pull.secret), and let it read users and groups at \
             the source; connectionTest says whether that did it.",
        ),
        "SOURCE_ADDRESS" => {
            ("CHECK_BASE_URL", "Correct the base URL, the filter or the page size; connectionTest says what is wrong.")
        }
        "SOURCE_UNREADABLE" => (
            "CHECK_SOURCE",
            "Look at what the source answers at the base URL; the reason of the sync run says what was wrong with it.",
        ),
        "RATE_LIMITED" if failure.origin == Origin::Sync => {
            ("ASK_LESS_OFTEN", "Let runs begin less often, or have the source's limit raised.")
        }
        _ => return None,
    })
}
