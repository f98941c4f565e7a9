//! What a request of a sign-in is answered with: who it is, or why there is no answer.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::submit::SubmittedSignIn;
use crate::error::{Error, UNAVAILABLE_RETRY_AFTER_SECONDS};

/// The answer to the application.
pub(super) fn describe_sign_in(done: &SubmittedSignIn) -> Value {
    let SubmittedSignIn { connection, user_name, outcome } = done;
    let refusal = outcome.refusal.as_ref();
    let roles: Vec<_> = outcome.roles.iter().map(|role| &role.name).collect();
    json!({
        "userId": outcome.user,
        "userName": user_name,
        "active": outcome.active,
        "reason": refusal.map(|refusal| refusal.reason),
        "message": refusal.map(|refusal| &refusal.why),
        "roles": roles,
        "groupsComplete": outcome.groups_complete,
        "unknownGroups": outcome.unknown_groups,
        "connectionId": connection.id,
    })
}

/// A request that was not carried out: a status, a stable code, and the reason as text.
#[derive(Debug)]
pub struct SignInFailure {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// Seconds to wait before the same request may succeed.
    retry_after: Option<u64>,
}

impl SignInFailure {
    /// A refusal with a code that programs compare, and a text for people.
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after: None }
    }

    /// The same with the seconds to wait before a repetition.
    pub(super) fn after_seconds(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// Whether it says that something does not exist.
    pub(super) fn is_not_found(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }

    /// The same for a person who looks at it in a browser.
    pub(super) fn into_page(self) -> Response {
        let text = format!("Signing in did not work.\n\n{}\n\n({})\n", self.message, self.code);
        let mut response = (self.status, text).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }

    /// The failure of a request that took too long.
    pub(super) fn of_timeout() -> Self {
        let error = Error::Unavailable("a sign-in took too long".into());
        Self::from(error)
    }
}

impl From<Error> for SignInFailure {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            Error::Forbidden(_) => StatusCode::FORBIDDEN,
            Error::NotFound(_) | Error::NotFoundInList { .. } => StatusCode::NOT_FOUND,
            Error::Held { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Error::Invalid { .. }
            | Error::Several(_)
            | Error::InEdit { .. }
            | Error::Unsupported(_)
            | Error::Taken { .. }
            | Error::Stale { .. } => StatusCode::BAD_REQUEST,
            Error::Limited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Error::Busy(_) | Error::OutcomeUnknown { .. } | Error::Unavailable(_) => {
                tracing::warn!(%error, "a sign-in could not be carried out");
                StatusCode::SERVICE_UNAVAILABLE
            }
            Error::Internal(text) => {
                tracing::error!(error = %text, "a sign-in failed");
                let why = "something went wrong here; the server's log says what";
                return Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", why);
            }
        };
        let retry_after = match error {
            Error::Limited { seconds } => Some(seconds),
            Error::Busy(_) => Some(1),
            Error::Unavailable(_) => Some(UNAVAILABLE_RETRY_AFTER_SECONDS),
            _ => None,
        };
        Self { status, code: error.reason().as_str(), message: error.to_string(), retry_after }
    }
}

impl IntoResponse for SignInFailure {
    fn into_response(self) -> Response {
        let body = json!({ "code": self.code, "message": self.message });
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"rolecall\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}
