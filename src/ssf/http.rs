//! What all requests share: the caller, the body, and errors.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::context::{App, CallerIds, Cx};
use crate::domain::access::api_key::KeyRefused;
use crate::domain::access::{api_key, console_session};
use crate::domain::connection::request_log;
use crate::domain::tenant::organization;
use crate::error::{Error, Noun, RefusalReason, UNAVAILABLE_RETRY_AFTER_SECONDS};

/// The largest body of a request, in bytes.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// The name of this interface in the list of failed sign-ins.
const INTERFACE_NAME: &str = "SSF";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

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
        let cx = authenticate_caller(parts, app).await?;
        if let Some(ids) = parts.extensions.get::<CallerIds>() {
            ids.note_caller(cx.organization(), None);
        }
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

async fn authenticate_caller(parts: &Parts, app: &Arc<App>) -> Result<Cx, StreamFailure> {
    let refuse = |organization: Option<Uuid>, reason: RefusalReason, error: Error| {
        let source = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let source = source.map(|peer| peer.0.ip());
        request_log::note_failed_sign_in(app, organization, "", reason, INTERFACE_NAME, source);
        StreamFailure::from(error)
    };
    let Some(secret) = bearer_token(&parts.headers) else {
        return Err(refuse(None, RefusalReason::CredentialMissing, CREDENTIAL_NEEDED));
    };
    if !secret.starts_with(api_key::API_KEY_PREFIX) {
        return Err(refuse(None, RefusalReason::CredentialKind, CREDENTIAL_NEEDED));
    }
    let caller = api_key::authenticate_key(app, secret, request_id(&parts.headers)).await;
    let cx = caller.map_err(|refused| match &refused {
        KeyRefused::Unknown => refuse(None, RefusalReason::CredentialUnknown, refused.into()),
        KeyRefused::Ended(organization) => {
            refuse(Some(*organization), RefusalReason::CredentialDead, refused.into())
        }
        KeyRefused::Suspended | KeyRefused::Failed(_) => StreamFailure::from(Error::from(refused)),
    })?;
    // A session of the console has what the person's roles give now.
    console_session::limit_to_roles(cx).await.map_err(StreamFailure::from)
}

/// The error for a client without a credential that is accepted here.
const CREDENTIAL_NEEDED: Error = Error::Unauthenticated(
    "send an API key (rck_) with the permission SIGNAL_RECEIVE or IAM_WRITE as \"Authorization: \
     Bearer <key>\" (RFC 6750)",
);

fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, secret) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !secret.trim().is_empty()).then(|| secret.trim())
}

/// The id of a request in the log: the client's, if it is a UUID.
fn request_id(headers: &HeaderMap) -> Uuid {
    let given =
        headers.get(REQUEST_ID).and_then(|value| Uuid::try_parse_ascii(value.as_bytes()).ok());
    given.unwrap_or_else(Uuid::now_v7)
}

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
            Error::NotFound(_) => StatusCode::NOT_FOUND,
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
