//! What every SCIM request and answer has in common: the caller, the body, media types, errors, versions.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::body;
use super::log::Note;
use super::quirk::{self, Quirk, Quirks};
use crate::context::{App, Cx};
use crate::domain::document::Projection;
use crate::domain::extension::{Types, types};
use crate::domain::schema::ResourceType;
use crate::domain::{key, organization, token};
use crate::error::{Error, Result, Rule, UNAVAILABLE_RETRY_AFTER_SECONDS};
use crate::requests::Refusal;

/// Largest body of a single request, in bytes.
pub const MAX_BODY: usize = 1024 * 1024;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
const MEDIA_TYPE: &str = "application/scim+json";
const JSON: &str = "application/json";
const ERROR: &str = "urn:ietf:params:scim:api:messages:2.0:Error";

/// An authenticated caller: taken by every handler, first.
pub struct Caller {
    pub cx: Cx,
    /// The tenant's base URL, without a final slash.
    pub base_url: String,
    /// What users and groups look like in this tenant.
    pub types: Arc<Types>,
    /// What the request log will tell of this request.
    pub note: Note,
}

/// Work of rolecall's own that comes through this door: a write of a connection that is tried again. It is put into a
/// request by [`super::replay`], and never by what arrives over the network.
#[derive(Debug, Clone)]
pub struct Replay {
    pub cx: Cx,
    pub slug: String,
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Failure> {
        let note = Note::of(&parts.extensions);
        if let Some(Replay { cx, slug }) = parts.extensions.remove::<Replay>() {
            let types = types(&cx).await?;
            return Ok(Self { base_url: organization::base_url(app, &slug), cx, types, note });
        }
        let secret = bearer(&parts.headers).ok_or(Error::Unauthenticated(
            "send the connection's token as \"Authorization: Bearer <token>\" (RFC 6750)",
        ))?;
        if secret.starts_with(key::PREFIX) {
            return Err(API_KEY.into());
        }
        let slug = slug(parts)?;
        let from = parts.extensions.get::<axum::extract::ConnectInfo<std::net::SocketAddr>>();
        let from = from.map(|peer| peer.0.ip().to_string());
        let request_id = parts.extensions.get().map_or_else(|| request_id(&parts.headers), |RequestId(id)| *id);
        let presented = token::present(app, secret).await?;
        note.presented(presented.organization(), presented.connection());
        let cx = presented.admit(app, &slug, from, request_id)?;
        note.admitted(&cx);
        if readable(&parts.headers).is_none() {
            let why = "this server answers application/scim+json";
            return Err(Failure::plain(StatusCode::NOT_ACCEPTABLE, why));
        }
        let base_url = organization::base_url(app, &slug);
        let types = types(&cx).await?;
        note.reads(&types);
        Ok(Self { cx, base_url, types, note })
    }
}

/// What a client with an API key is told.
const API_KEY: Error = Error::Unauthenticated(
    "this is an API key (rck_), which opens the management API; send a token (rcs_) of the connection here",
);

/// The credential of RFC 6750; the scheme in any case.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, secret) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !secret.trim().is_empty()).then(|| secret.trim())
}

/// The tenant in `/scim/v2/{slug}`: read off the path, since fallbacks have no parameters of their own.
fn slug(parts: &Parts) -> Result<String> {
    let uri = parts.extensions.get::<axum::extract::OriginalUri>().map_or(&parts.uri, |original| &original.0);
    let rest = uri.path().split_once("/scim/v2/").map(|(_, rest)| rest);
    rest.and_then(|rest| rest.split('/').next())
        .map(Into::into)
        .ok_or_else(|| Error::not_found("the SCIM tenant in this URL"))
}

/// The id under which this request is written to the ledger and the log: the caller's, if it is a UUID.
pub fn request_id(headers: &HeaderMap) -> Uuid {
    let given = headers.get("x-request-id").and_then(|value| Uuid::try_parse_ascii(value.as_bytes()).ok());
    given.unwrap_or_else(Uuid::now_v7)
}

/// What answers are called so that the client reads them: SCIM's own type (RFC 7644 section 3.1) wherever it will do,
/// and JSON to a client that speaks of nothing else.
fn readable(headers: &HeaderMap) -> Option<&'static str> {
    let Some(accept) = headers.get(header::ACCEPT) else { return Some(MEDIA_TYPE) };
    let accept = accept.to_str().unwrap_or("*/*");
    let reads = |range: &str| {
        accept.split(',').filter_map(|it| it.split(';').next()).any(|it| it.trim().eq_ignore_ascii_case(range))
    };
    match ["*/*", "application/*", MEDIA_TYPE].into_iter().any(reads) {
        true => Some(MEDIA_TYPE),
        false => reads(JSON).then_some(JSON),
    }
}

/// The id of a request; the ledger, the request log and the answer name the same.
#[derive(Debug, Clone, Copy)]
struct RequestId(Uuid);

/// Around every SCIM request: whatever its status, the answer says under which id the request was recorded.
pub async fn name_request(mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    request.extensions_mut().insert(RequestId(id));
    let mut response = next.run(request).await;
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert("x-request-id", value);
    }
    response
}

/// Around every SCIM request: names the answer by the type that the client reads.
pub async fn name_media_type(request: Request, next: Next) -> Response {
    let readable = readable(request.headers());
    let mut response = next.run(request).await;
    if let (Some(name), Some(named)) = (readable, response.headers_mut().get_mut(header::CONTENT_TYPE)) {
        *named = HeaderValue::from_static(name);
    }
    response
}

/// A JSON object as the request's body; taken last.
pub struct Body(pub Map<String, Value>);

impl FromRequest<Arc<App>> for Body {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Failure> {
        let (note, headers) = (Note::of(request.extensions()), quirk::of_headers(request.headers()));
        let bytes = payload(request, app, MAX_BODY).await?;
        note.sent(&bytes, None);
        let object = parse_object(&bytes)?;
        note.body(headers, &object);
        Ok(Self(object))
    }
}

/// The JSON object that a body holds.
///
/// # Errors
/// [`Rule::Syntax`] for anything else.
pub fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>> {
    // Only a group may be larger than this, and only by its members.
    let parsed = if bytes.len() > MAX_BODY { body::parse_thinned(bytes) } else { serde_json::from_slice(bytes) };
    match parsed {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Error::broken(Rule::Syntax, "body", "must be a JSON object")),
        Err(error) => Err(not_json("body", &error)),
    }
}

/// The body as it came, without a byte order mark. `max` is what the route's limit is, for the refusal to say.
pub async fn payload(request: Request, app: &Arc<App>, max: usize) -> Result<Bytes, Failure> {
    check_media_type(request.headers())?;
    let note = Note::of(request.extensions());
    let bytes = Bytes::from_request(request, app).await.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => too_large(max),
        status => Failure::plain(status, "the body could not be read"),
    })?;
    Ok(without_mark(bytes, &note))
}

/// The refusal of a body above `max` bytes.
pub fn too_large(max: usize) -> Failure {
    Failure::too_large(format!("a request here may have at most {max} bytes"))
}

/// RFC 8259 section 8.1 lets a parser ignore a byte order mark.
pub fn without_mark(bytes: Bytes, note: &Note) -> Bytes {
    let marked = bytes.starts_with(BYTE_ORDER_MARK);
    note.departs(Quirks::one_if(Quirk::ByteOrderMark, marked));
    if marked { bytes.slice(BYTE_ORDER_MARK.len()..) } else { bytes }
}

/// Refuses a body that says that it is no JSON.
pub fn check_media_type(headers: &HeaderMap) -> Result<(), Failure> {
    if let Some(given) = headers.get(header::CONTENT_TYPE) {
        let essence = given.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
        // Okta and others send plain JSON (RFC 7644 section 3.1 asks for the SCIM type).
        if ![MEDIA_TYPE, JSON].iter().any(|known| essence.eq_ignore_ascii_case(known)) {
            let why = "send application/scim+json or application/json";
            return Err(Failure::plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
        }
    }
    Ok(())
}

/// What is said of text that cannot be parsed.
pub fn not_json(field: &'static str, error: &serde_json::Error) -> Error {
    let why = format!("is not JSON: line {}, column {}", error.line(), error.column());
    Error::broken(Rule::Syntax, field, why)
}

/// The id in a path. What could not be one of our ids names nothing.
pub fn id(text: &str, noun: &'static str) -> Result<Uuid> {
    Uuid::try_parse(text).ok().filter(|id| id.to_string() == text).ok_or_else(|| Error::not_found(noun))
}

/// The preconditions of RFC 7644 section 3.14.
#[derive(Debug, Clone, Default)]
pub struct Preconditions {
    if_match: Option<String>,
    if_none_match: Option<String>,
}

impl Preconditions {
    pub fn of(headers: &HeaderMap) -> Self {
        // What is no text names no version, and is no reason to drop the precondition.
        let text = |name: HeaderName| Some(String::from_utf8_lossy(headers.get(name)?.as_bytes()).into_owned());
        Self { if_match: text(header::IF_MATCH), if_none_match: text(header::IF_NONE_MATCH) }
    }

    /// RFC 7644 section 3.7: the version of an operation stands for If-Match.
    pub fn on_version(version: Option<String>) -> Self {
        Self { if_match: version, if_none_match: None }
    }

    /// Whether there are any.
    pub fn any(&self) -> bool {
        self.if_match.is_some() || self.if_none_match.is_some()
    }

    /// Whether a change of `version` may go ahead (RFC 9110 section 13.1.1); judged under the row's lock.
    pub fn check(&self, version: i64) -> Result<()> {
        let matches = self.if_match.as_deref().is_none_or(|tags| lists(tags, version));
        let unseen = self.if_none_match.as_deref().is_none_or(|tags| !lists(tags, version));
        if matches && unseen { Ok(()) } else { Err(Error::Stale { version }) }
    }

    /// Whether the client already has `version` (RFC 9110 section 13.1.2).
    pub fn not_modified(&self, version: i64) -> bool {
        self.if_none_match.as_deref().is_some_and(|tags| lists(tags, version))
    }
}

/// Whether a list of entity tags names `version`; weak and strong spellings are the same to us.
fn lists(tags: &str, version: i64) -> bool {
    tags.split(',').map(str::trim).any(|tag| {
        let opaque = tag.strip_prefix("W/").unwrap_or(tag);
        tag == "*" || opaque == format!("\"{version}\"")
    })
}

/// The weak entity tag of a version.
pub fn etag(version: i64) -> String {
    format!("W/\"{version}\"")
}

/// A date as SCIM writes it: UTC, to the microsecond, so that it can be compared with again.
pub fn date(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// An answer that is already JSON text.
pub fn answer(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE))], body).into_response()
}

/// A single resource with its version and place.
pub fn resource(status: StatusCode, body: String, version: i64, location: &str) -> Response {
    let mut response = answer(status, body);
    for (name, value) in [(header::ETAG, etag(version)), (header::LOCATION, location.to_owned())] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// The answer to a write by a token that may not read the resource: its place and its version, and no body.
pub fn unread(status: StatusCode, version: i64, location: &str) -> Response {
    let mut response = resource(status, String::new(), version, location);
    response.headers_mut().remove(header::CONTENT_TYPE);
    response
}

/// A refusal on its way out.
#[derive(Debug, Clone)]
pub struct Failure {
    pub status: StatusCode,
    /// The same in codes, for the request log.
    pub refusal: Refusal,
    pub detail: String,
    /// Seconds to wait before the same request may succeed.
    retry_after: Option<u64>,
}

impl Failure {
    /// A refusal by HTTP's own rules, which has no scimType.
    pub fn plain(status: StatusCode, detail: impl Into<String>) -> Self {
        let reason = match status {
            StatusCode::METHOD_NOT_ALLOWED => "METHOD_NOT_ALLOWED",
            StatusCode::NOT_ACCEPTABLE => "NOT_ACCEPTABLE",
            StatusCode::PAYLOAD_TOO_LARGE => "TOO_LARGE",
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "MEDIA_TYPE",
            StatusCode::CONFLICT => "CONFLICT",
            StatusCode::INTERNAL_SERVER_ERROR => "INTERNAL",
            _ => "UNREADABLE",
        };
        let refusal = Refusal { reason, scim_type: None, field: None };
        Self { status, refusal, detail: detail.into(), retry_after: None }
    }

    pub fn method_not_allowed() -> Self {
        Self::plain(StatusCode::METHOD_NOT_ALLOWED, "this endpoint does not take that method")
    }

    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::plain(StatusCode::PAYLOAD_TOO_LARGE, detail)
    }

    /// RFC 7644 section 3.12.
    pub fn body(&self) -> Value {
        let mut body = json!({ "schemas": [ERROR], "status": self.status.as_u16().to_string(), "detail": self.detail });
        if let Some(scim_type) = self.refusal.scim_type {
            body["scimType"] = scim_type.into();
        }
        body
    }
}

impl From<Error> for Failure {
    /// RFC 7644 section 3.12.
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::NotFound(_) => StatusCode::NOT_FOUND,
            Error::Taken { .. } => StatusCode::CONFLICT,
            Error::Stale { .. } => StatusCode::PRECONDITION_FAILED,
            Error::Invalid { .. } => StatusCode::BAD_REQUEST,
            Error::Forbidden(_) | Error::Held { .. } => StatusCode::FORBIDDEN,
            Error::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            Error::Unsupported(_) => StatusCode::NOT_IMPLEMENTED,
            Error::Busy(_) | Error::OutcomeUnknown { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Error::Unavailable(text) => {
                tracing::warn!(error = %text, "a SCIM request met a database that cannot be used");
                StatusCode::SERVICE_UNAVAILABLE
            }
            Error::Limited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Error::Internal(text) => {
                tracing::error!(error = %text, "a SCIM request failed");
                return Self::plain(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "something went wrong here; the server's log names this request's X-Request-Id",
                );
            }
        };
        let (reason, (scim_type, field)) = (error.reason(), error.blame());
        let retry_after = match error {
            Error::Limited { seconds } => Some(seconds),
            Error::Busy(_) => Some(1),
            Error::Unavailable(_) | Error::OutcomeUnknown { .. } => Some(UNAVAILABLE_RETRY_AFTER_SECONDS),
            _ => None,
        };
        let refusal = Refusal { reason, scim_type, field };
        Self { status, refusal, detail: error.to_string(), retry_after }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = answer(self.status, self.body().to_string());
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = "Bearer realm=\"SCIM\", error=\"invalid_token\"";
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response.extensions_mut().insert(self.refusal);
        response
    }
}

/// A resource as text: the stored document and what the server adds to it. Without a projection the document
/// is moved as bytes and never looked into.
pub fn compose(
    document: &str,
    added: Map<String, Value>,
    ty: &ResourceType,
    projection: &Projection,
) -> serde_json::Result<String> {
    let everything = projection.only.is_empty() && projection.except.is_empty() && ty.returns_all_it_stores();
    match document.strip_suffix('}') {
        Some(open) if everything && open.len() > 1 => {
            let added = serde_json::to_string(&added)?;
            Ok(format!("{open},{}", added.get(1..).unwrap_or("}")))
        }
        _ => {
            let mut whole: Map<String, Value> = serde_json::from_str(document)?;
            whole.extend(added);
            projection.apply(ty, &mut whole);
            serde_json::to_string(&whole)
        }
    }
}
