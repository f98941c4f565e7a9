//! What all requests share: the caller, the body, errors, and the id of a request.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::context::{App, Cx, SentRequestId};
use crate::error::{Error, UNAVAILABLE_RETRY_AFTER_SECONDS};
use crate::request_head;
use crate::request_head::REQUEST_ID;

/// The largest body of a request, in bytes.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// The name of this interface in the list of failed sign-ins.
const INTERFACE_NAME: &str = "AuthZEN";

/// An authenticated caller, and the JSON object that it sent.
pub struct DecisionCaller {
    pub cx: Cx,
    pub body: Map<String, Value>,
}

impl DecisionCaller {
    /// Takes the questions of a request off the share of its key. One was taken already.
    ///
    /// # Errors
    /// 429 with the seconds to wait.
    pub fn take_questions(&self, questions: usize) -> Result<(), DecisionFailure> {
        let key = key_id(&self.cx);
        Ok(self.cx.app.decision_limits.take_operations(key, questions)?)
    }
}

fn key_id(cx: &Cx) -> Uuid {
    cx.actor.id().and_then(|id| Uuid::try_parse(&id).ok()).unwrap_or_default()
}

impl FromRequest<Arc<App>> for DecisionCaller {
    type Rejection = DecisionFailure;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, DecisionFailure> {
        let (parts, body) = request.into_parts();
        let cx = request_head::authenticate_api_key(
            app,
            &parts.headers,
            &parts.extensions,
            INTERFACE_NAME,
            CREDENTIAL_NEEDED,
        )
        .await?;
        app.decision_limits.take_request(key_id(&cx))?;
        let body = read_object(&parts.headers, body).await?;
        Ok(Self { cx, body })
    }
}

/// The error for a client without a credential that is accepted here.
const CREDENTIAL_NEEDED: &str = "send an API key (rck_) with the permission DECISION_READ as \
     \"Authorization: Bearer <key>\" (RFC 6750)";

/// The JSON object in a body. The specification answers every other body with 400.
async fn read_object(
    headers: &HeaderMap,
    body: Body,
) -> Result<Map<String, Value>, DecisionFailure> {
    let bad = |why: String| DecisionFailure::new(StatusCode::BAD_REQUEST, why);
    let media_type = headers.get(header::CONTENT_TYPE);
    let media_type = media_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(bad("send the request as application/json".into()));
    }
    let bytes = to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| {
        let why = format!("the body is larger than {MAX_BODY_BYTES} bytes, or did not arrive");
        DecisionFailure::new(StatusCode::PAYLOAD_TOO_LARGE, why)
    })?;
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(bad("the body must be a JSON object".into())),
        Err(error) => Err(bad(format!(
            "the body is not JSON: line {}, column {}",
            error.line(),
            error.column()
        ))),
    }
}

/// Runs around every request: the answer has the id of the request as the client sent it, whatever
/// it is.
pub async fn echo_request_id(request: Request, next: Next) -> Response {
    let sent = request.extensions().get::<SentRequestId>();
    let sent = sent.and_then(|sent| HeaderValue::from_bytes(&sent.0).ok());
    let id = sent.or_else(|| request.headers().get(REQUEST_ID).cloned());
    let mut response = next.run(request).await;
    if let Some(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// The answer with this JSON text.
pub fn json_response(body: String) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

/// A request that was not answered with a decision: a status, and the reason as text.
#[derive(Debug)]
pub struct DecisionFailure {
    status: StatusCode,
    message: String,
    /// Seconds to wait before the same request may succeed.
    retry_after: Option<u64>,
}

impl DecisionFailure {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), retry_after: None }
    }

    /// A mistake in the request.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }
}

impl From<Error> for DecisionFailure {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            Error::Forbidden(_) | Error::Held { .. } => StatusCode::FORBIDDEN,
            Error::NotFound(_) | Error::NotFoundInList { .. } => StatusCode::NOT_FOUND,
            Error::Invalid { .. }
            | Error::Several(_)
            | Error::InEdit { .. }
            | Error::Unsupported(_)
            | Error::Taken { .. }
            | Error::Stale { .. } => StatusCode::BAD_REQUEST,
            Error::Limited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Error::Busy(_) | Error::OutcomeUnknown { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Error::Unavailable(text) => {
                tracing::warn!(error = %text, "a decision failed because the database cannot be \
                    used");
                StatusCode::SERVICE_UNAVAILABLE
            }
            Error::Internal(text) => {
                tracing::error!(error = %text, "a decision failed");
                let why =
                    "something went wrong here; the server's log names this request's X-Request-ID";
                return Self::new(StatusCode::INTERNAL_SERVER_ERROR, why);
            }
        };
        let retry_after = match error {
            Error::Limited { seconds } => Some(seconds),
            Error::Busy(_) => Some(1),
            Error::Unavailable(_) => Some(UNAVAILABLE_RETRY_AFTER_SECONDS),
            _ => None,
        };
        Self { status, message: error.to_string(), retry_after }
    }
}

impl IntoResponse for DecisionFailure {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.message).into_response();
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
