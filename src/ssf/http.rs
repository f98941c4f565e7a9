//! What all requests share: the caller, the body, and errors.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::context::{App, Cx};
use crate::domain::tenant::organization;
use crate::error::{Error, Noun, UNAVAILABLE_RETRY_AFTER_SECONDS};
use crate::request_head;

/// The largest body of a request, in bytes.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// The name of this interface in the list of failed sign-ins.
const INTERFACE_NAME: &str = "SSF";

/// An authenticated caller of an organization's transmitter.
#[derive(Debug)]
pub struct StreamCaller {
    pub cx: Cx,
    /// The organization's slug.
    pub slug: String,
}

impl FromRequestParts<Arc<App>> for StreamCaller {
    type Rejection = StreamFailure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, StreamFailure> {
        let (headers, extensions) = (&parts.headers, &parts.extensions);
        let cx = request_head::authenticate_api_key(
            app,
            headers,
            extensions,
            INTERFACE_NAME,
            CREDENTIAL_NEEDED,
        )
        .await?;
        let key = cx.actor.id().and_then(|id| Uuid::try_parse(&id).ok()).unwrap_or_default();
        app.stream_limits.take_request(key)?;
        let named = RawPathParams::from_request_parts(parts, app).await;
        let named = named.map_err(|_| Error::not_found(Noun::Endpoint))?;
        let slug = named.iter().find(|(name, _)| *name == "organization");
        let slug = slug.map(|(_, slug)| slug.to_owned()).unwrap_or_default();
        // For a key of another organization this one does not exist.
        let own = organization::current_organization(&cx).await?;
        if own.slug != slug {
            return Err(Error::not_found(Noun::Organization).into());
        }
        Ok(Self { cx, slug })
    }
}

/// The error for a client without a credential that is accepted here.
const CREDENTIAL_NEEDED: &str = "send an API key (rck_) with the permission SIGNAL_RECEIVE or \
     IAM_WRITE as \"Authorization: Bearer <key>\" (RFC 6750)";

/// A JSON object as the request's body. A handler takes it as its last argument.
pub struct StreamBody(pub Map<String, Value>);

impl FromRequest<Arc<App>> for StreamBody {
    type Rejection = StreamFailure;

    async fn from_request(request: Request, _: &Arc<App>) -> Result<Self, StreamFailure> {
        read_object(request.into_body()).await.map(Self)
    }
}

async fn read_object(body: Body) -> Result<Map<String, Value>, StreamFailure> {
    let bad = |why: String| StreamFailure::new(StatusCode::BAD_REQUEST, why);
    let bytes = to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| {
        let why = format!("the body is larger than {MAX_BODY_BYTES} bytes, or did not arrive");
        StreamFailure::new(StatusCode::PAYLOAD_TOO_LARGE, why)
    })?;
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(bad("the body must be a JSON object".into())),
        Err(error) => {
            let (line, column) = (error.line(), error.column());
            Err(bad(format!("the body is not JSON: line {line}, column {column}")))
        }
    }
}

/// The required string `name` of a request.
pub fn read_text<'a>(body: &'a Map<String, Value>, name: &str) -> Result<&'a str, StreamFailure> {
    read_optional_text(body, name)?
        .ok_or_else(|| StreamFailure::bad_request(format!("{name} is missing")))
}

/// The string `name` of a request; none if it is missing.
pub fn read_optional_text<'a>(
    body: &'a Map<String, Value>,
    name: &str,
) -> Result<Option<&'a str>, StreamFailure> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(StreamFailure::bad_request(format!("{name} must be a string"))),
    }
}

/// The id of a stream. Text that is no id of this server is answered like a stream that is not
/// there.
pub fn parse_stream(text: &str) -> Result<Uuid, StreamFailure> {
    Uuid::try_parse(text)
        .ok()
        .filter(|id| id.to_string() == text)
        .ok_or_else(|| Error::not_found(Noun::Destination).into())
}

/// The answer with this JSON document.
pub fn json_response(status: StatusCode, body: &Value) -> Response {
    let json = HeaderValue::from_static("application/json");
    (status, [(header::CONTENT_TYPE, json)], body.to_string()).into_response()
}

/// A request that was refused: a status, a code, and the reason as text.
#[derive(Debug)]
pub struct StreamFailure {
    status: StatusCode,
    message: String,
    /// Seconds to wait before the same request may succeed.
    retry_after: Option<u64>,
}

impl StreamFailure {
    /// A refusal with a text for people.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), retry_after: None }
    }

    /// A mistake in the request.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// The code of RFC 8935 section 2.4 that fits best.
    fn code(&self) -> &'static str {
        match self.status {
            StatusCode::UNAUTHORIZED => "authentication_failed",
            StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => "access_denied",
            _ => "invalid_request",
        }
    }
}

impl From<Error> for StreamFailure {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            Error::Forbidden(_) => StatusCode::FORBIDDEN,
            Error::NotFound(_) | Error::NotFoundInList { .. } => StatusCode::NOT_FOUND,
            Error::Held { .. } | Error::Taken { .. } => StatusCode::CONFLICT,
            Error::Invalid { .. }
            | Error::Several(_)
            | Error::InEdit { .. }
            | Error::Unsupported(_)
            | Error::Stale { .. } => StatusCode::BAD_REQUEST,
            Error::Limited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Error::Busy(_) | Error::OutcomeUnknown { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Error::Unavailable(text) => {
                tracing::warn!(error = %text, "a request of a receiver failed because the \
                    database cannot be used");
                StatusCode::SERVICE_UNAVAILABLE
            }
            Error::Internal(text) => {
                tracing::error!(error = %text, "a request of a receiver failed");
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

impl IntoResponse for StreamFailure {
    fn into_response(self) -> Response {
        let body = json!({ "err": self.code(), "description": self.message });
        let mut response = json_response(self.status, &body);
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
