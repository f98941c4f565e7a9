//! The parts that all SCIM requests and answers share: the caller, the body, media types, errors.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::body;
use super::entity_tag::EntityTag;
use crate::buffers::request_counts::RequestRefusal;
use crate::context::{App, CallerIds, Cx};
use crate::domain::access::api_key;
use crate::domain::connection::scim_token;
use crate::domain::directory::schema_extension::{ResourceTypes, resource_types};
use crate::domain::tenant::organization;
use crate::error::{Error, Noun, RefusalReason, Result, Rule, UNAVAILABLE_RETRY_AFTER_SECONDS};
use crate::identity::document::Projection;
use crate::identity::schema::ResourceType;
use crate::request_head::{bearer_token, client_ip, request_id};
use crate::scim::observe::quirk;
use crate::scim::observe::quirk::{Quirk, Quirks};
use crate::scim::observe::request_record::ScimRequestRecord;

/// Largest body of a single request, in bytes.
pub const MAX_BODY: usize = 1024 * 1024;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
const SCIM_MEDIA_TYPE: &str = "application/scim+json";
const JSON_MEDIA_TYPE: &str = "application/json";
const ERROR_URN: &str = "urn:ietf:params:scim:api:messages:2.0:Error";

/// An authenticated caller. Every handler takes it as its first argument.
pub struct ScimCaller {
    pub cx: Cx,
    /// The tenant's base URL, without a final slash.
    pub base_url: String,
    /// The resource types of this tenant.
    pub types: Arc<ResourceTypes>,
    /// The record of this request for the request log.
    pub note: ScimRequestRecord,
}

/// Marks a connection's write that this server itself sends: a retry, or what it accepted before.
/// Only [`super::replay_write`] and [`super::async_response::carry_out_request`] put it into a
/// request; a request from the network never has it.
#[derive(Debug, Clone)]
pub struct ScimReplay {
    pub cx: Cx,
    pub slug: String,
    /// Whether it is recorded like a request of the identity provider.
    pub recorded: bool,
}

impl FromRequestParts<Arc<App>> for ScimCaller {
    type Rejection = ScimFailure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ScimFailure> {
        let note = ScimRequestRecord::from_extensions(&parts.extensions);
        if let Some(ScimReplay { cx, slug, recorded }) = parts.extensions.remove::<ScimReplay>() {
            let types = resource_types(&cx).await?;
            if let Some(connection) = cx.confined_to().filter(|_| recorded) {
                note.set_connection(cx.organization(), connection);
                note.set_caller(&cx);
                note.set_types(&types);
            }
            return Ok(Self { base_url: organization::base_url(app, &slug), cx, types, note });
        }
        let secret = bearer_token(&parts.headers).ok_or_else(ScimFailure::no_credential)?;
        if secret.starts_with(api_key::API_KEY_PREFIX) {
            return Err(API_KEY_REFUSED.into());
        }
        let slug = tenant_slug(parts)?;
        let from = client_ip(&parts.extensions).map(|address| address.to_string());
        let request_id =
            parts.extensions.get().map_or_else(|| request_id(&parts.headers), |RequestId(id)| *id);
        let presented = scim_token::find_presented_token(app, secret).await?;
        let (organization, connection) = (presented.organization_id(), presented.connection_id());
        if presented.is_self_test() {
            note.leave_out();
        } else {
            note.set_connection(organization, connection);
        }
        if let Some(ids) = parts.extensions.get::<CallerIds>() {
            ids.note_caller(organization, Some(connection));
        }
        let cx = presented.admit_request(app, &slug, from, request_id)?;
        note.set_caller(&cx);
        if accepted_media_type(&parts.headers).is_none() {
            let why = "this server answers application/scim+json";
            return Err(ScimFailure::from_status(StatusCode::NOT_ACCEPTABLE, why));
        }
        let base_url = organization::base_url(app, &slug);
        let types = resource_types(&cx).await?;
        note.set_types(&types);
        Ok(Self { cx, base_url, types, note })
    }
}

/// The answer to a client that sends an API key.
const API_KEY_REFUSED: Error = Error::Unauthenticated(
    "this is an API key (rck_), which is for the management API; send a token (rcs_) of the \
     connection here",
);

/// The tenant in `/scim/v2/{slug}`. It is read from the path because fallback handlers have no path
/// parameters.
fn tenant_slug(parts: &Parts) -> Result<String> {
    let uri = parts
        .extensions
        .get::<axum::extract::OriginalUri>()
        .map_or(&parts.uri, |original| &original.0);
    let rest = uri.path().split_once("/scim/v2/").map(|(_, rest)| rest);
    rest.and_then(|rest| rest.split('/').next())
        .map(Into::into)
        .ok_or_else(|| Error::not_found(Noun::ScimTenant))
}

/// The media type of the answer: SCIM's own type (RFC 7644 section 3.1) if the client accepts it,
/// or else plain JSON. `None` if the client accepts neither.
fn accepted_media_type(headers: &HeaderMap) -> Option<&'static str> {
    let given = headers.get_all(header::ACCEPT).iter();
    let ranges: Vec<&str> = given
        .flat_map(|accept| accept.to_str().unwrap_or("*/*").split(','))
        .map(str::trim)
        .filter(|range| !range.is_empty())
        .collect();
    // RFC 9110 section 12.5.1: a client that names nothing accepts anything.
    if ranges.is_empty() {
        return Some(SCIM_MEDIA_TYPE);
    }
    let reads = |wanted: &str| {
        ranges.iter().any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let named = parts.next().is_some_and(|it| it.eq_ignore_ascii_case(wanted));
            named && !parts.any(is_weight_of_zero)
        })
    };
    if ["*/*", "application/*", SCIM_MEDIA_TYPE].into_iter().any(reads) {
        Some(SCIM_MEDIA_TYPE)
    } else {
        reads(JSON_MEDIA_TYPE).then_some(JSON_MEDIA_TYPE)
    }
}

/// RFC 9110 section 12.4.2: a weight of zero means "not acceptable".
fn is_weight_of_zero(parameter: &str) -> bool {
    let weight = parameter.split_once('=').filter(|(name, _)| name.eq_ignore_ascii_case("q"));
    weight.is_some_and(|(_, weight)| weight.trim_matches(['0', '.']).is_empty())
}

/// The id of a request: the same in the ledger, the request log and the answer.
#[derive(Debug, Clone, Copy)]
struct RequestId(Uuid);

/// Runs around every SCIM request: adds the id of the request to the answer, whatever the status.
pub async fn set_request_id(mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    request.extensions_mut().insert(RequestId(id));
    let mut response = next.run(request).await;
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert("x-request-id", value);
    }
    response
}

/// Runs around every SCIM request: sets the media type that the client accepts.
pub async fn set_media_type(request: Request, next: Next) -> Response {
    let readable = accepted_media_type(request.headers());
    let mut response = next.run(request).await;
    if let (Some(name), Some(named)) =
        (readable, response.headers_mut().get_mut(header::CONTENT_TYPE))
    {
        *named = HeaderValue::from_static(name);
    }
    response
}

/// A JSON object as the request's body. A handler takes it as its last argument.
pub struct ScimBody(pub Map<String, Value>);

impl FromRequest<Arc<App>> for ScimBody {
    type Rejection = ScimFailure;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ScimFailure> {
        let (note, headers) = (
            ScimRequestRecord::from_extensions(request.extensions()),
            quirk::header_quirks(request.headers()),
        );
        let bytes = read_payload(request, app, MAX_BODY).await?;
        note.set_received_body(&bytes, None);
        let object = parse_object(&bytes)?;
        note.record_body(headers, &object);
        Ok(Self(object))
    }
}

/// Parses a body that must be a JSON object.
///
/// # Errors
/// [`Rule::Syntax`] for any other body.
pub fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>> {
    // Only a group can have a larger body, and only because of its members.
    let parsed = if bytes.len() > MAX_BODY {
        body::parse_thinned(bytes)
    } else {
        serde_json::from_slice(bytes)
    };
    match parsed {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Error::broken(Rule::Syntax, "body", "must be a JSON object")),
        Err(error) => Err(not_json("body", &error)),
    }
}

/// Reads the body, without a byte order mark. `max` is the route's limit in bytes, which the error
/// text names.
pub async fn read_payload(
    request: Request,
    app: &Arc<App>,
    max: usize,
) -> Result<Bytes, ScimFailure> {
    check_media_type(request.headers())?;
    let note = ScimRequestRecord::from_extensions(request.extensions());
    let bytes =
        Bytes::from_request(request, app).await.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => too_large(max),
            status => ScimFailure::from_status(status, "the body could not be read"),
        })?;
    Ok(strip_byte_order_mark(bytes, &note))
}

/// The refusal of a body above `max` bytes.
pub fn too_large(max: usize) -> ScimFailure {
    ScimFailure::too_large(format!("a request here may have at most {max} bytes"))
}

/// Removes a byte order mark; RFC 8259 section 8.1 lets a parser ignore it.
pub fn strip_byte_order_mark(bytes: Bytes, note: &ScimRequestRecord) -> Bytes {
    let marked = bytes.starts_with(BYTE_ORDER_MARK);
    note.add_quirks(Quirks::only_if(Quirk::ByteOrderMark, marked));
    if marked { bytes.slice(BYTE_ORDER_MARK.len()..) } else { bytes }
}

/// Refuses a body whose media type is not JSON, and one that is compressed.
pub fn check_media_type(headers: &HeaderMap) -> Result<(), ScimFailure> {
    let coding = headers.get(header::CONTENT_ENCODING);
    if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let why = "send the body without a content coding";
        return Err(ScimFailure::from_status(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
    }
    if let Some(given) = headers.get(header::CONTENT_TYPE) {
        let essence =
            given.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
        // Okta and others send plain JSON (RFC 7644 section 3.1 asks for the SCIM type).
        if ![SCIM_MEDIA_TYPE, JSON_MEDIA_TYPE]
            .iter()
            .any(|known| essence.eq_ignore_ascii_case(known))
        {
            let why = "send application/scim+json or application/json";
            return Err(ScimFailure::from_status(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
        }
    }
    Ok(())
}

/// The error for text that is not JSON.
pub fn not_json(field: &'static str, error: &serde_json::Error) -> Error {
    if error.to_string().starts_with("recursion limit exceeded") {
        return Error::broken(Rule::Syntax, field, "is nested too deeply");
    }
    let why = format!("is not JSON: line {}, column {}", error.line(), error.column());
    Error::broken(Rule::Syntax, field, why)
}

/// Parses the id in a path. Text that is not an id of this server is answered as not found.
pub fn parse_id(text: &str, noun: Noun) -> Result<Uuid> {
    Uuid::try_parse(text)
        .ok()
        .filter(|id| id.to_string() == text)
        .ok_or_else(|| Error::not_found(noun))
}

/// A date as SCIM writes it: UTC, to the microsecond, so that it can be compared with again.
pub fn format_date(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// An answer that is already JSON text.
pub fn json_response(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static(SCIM_MEDIA_TYPE))], body)
        .into_response()
}

/// The answer with a single resource, its version and its location.
pub fn resource_response(
    status: StatusCode,
    body: String,
    tag: &EntityTag,
    location: &str,
) -> Response {
    let mut response = json_response(status, body);
    for (name, value) in [(header::ETAG, tag.as_str()), (header::LOCATION, location)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// The answer to a client that already has what it asks for (RFC 7644 section 3.14).
pub fn not_modified_response(tag: &EntityTag) -> Response {
    (StatusCode::NOT_MODIFIED, [(header::ETAG, tag.as_str())]).into_response()
}

/// The answer to a write by a token that may not read the resource: its location and its version,
/// and no body.
pub fn empty_response(status: StatusCode, version: i64, location: &str) -> Response {
    let tag = EntityTag::of_version(version);
    let mut response = resource_response(status, String::new(), &tag, location);
    response.headers_mut().remove(header::CONTENT_TYPE);
    response
}

/// An error as a SCIM client receives it.
#[derive(Debug, Clone)]
pub struct ScimFailure {
    pub status: StatusCode,
    /// The same error as codes, for the request log.
    pub refusal: RequestRefusal,
    pub detail: String,
    /// Seconds to wait before the same request may succeed.
    retry_after: Option<u64>,
    /// How to authenticate, for a 401.
    challenge: &'static str,
}

/// The challenge to a request whose token is not accepted.
const TOKEN_REFUSED: &str = "Bearer realm=\"SCIM\", error=\"invalid_token\"";
/// The challenge to a request without a bearer token. RFC 6750 section 3.1: it has no error code.
/// The self-test of the public URL tells by it that a proxy removes the header.
const TOKEN_MISSING: &str = "Bearer realm=\"SCIM\"";

impl ScimFailure {
    /// An error by the rules of HTTP, which has no scimType.
    pub fn from_status(status: StatusCode, detail: impl Into<String>) -> Self {
        let reason = match status {
            StatusCode::METHOD_NOT_ALLOWED => RefusalReason::MethodNotAllowed,
            StatusCode::NOT_ACCEPTABLE => RefusalReason::NotAcceptable,
            StatusCode::PAYLOAD_TOO_LARGE => RefusalReason::TooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => RefusalReason::MediaType,
            StatusCode::CONFLICT => RefusalReason::Conflict,
            StatusCode::INTERNAL_SERVER_ERROR => RefusalReason::Internal,
            _ => RefusalReason::Unreadable,
        };
        let refusal = RequestRefusal { reason, scim_type: None, field: None };
        let detail = detail.into();
        Self { status, refusal, detail, retry_after: None, challenge: TOKEN_REFUSED }
    }

    /// The answer to a request without a bearer token.
    fn no_credential() -> Self {
        let error = Error::Unauthenticated(
            "send the connection's token as \"Authorization: Bearer <token>\" (RFC 6750)",
        );
        Self { challenge: TOKEN_MISSING, ..Self::from(error) }
    }

    /// 405: the endpoint exists and does not take the method.
    pub fn method_not_allowed() -> Self {
        Self::from_status(StatusCode::METHOD_NOT_ALLOWED, "this endpoint does not take that method")
    }

    /// 413: the request is larger than this server reads; `detail` says which limit it exceeds.
    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::from_status(StatusCode::PAYLOAD_TOO_LARGE, detail)
    }

    /// RFC 7644 section 3.12.
    pub fn error_body(&self) -> Value {
        let mut body = json!({
            "schemas": [ERROR_URN], "status": self.status.as_u16().to_string(),
            "detail": self.detail,
        });
        if let Some(scim_type) = self.refusal.scim_type {
            body["scimType"] = scim_type.into();
        }
        body
    }
}

impl From<Error> for ScimFailure {
    /// RFC 7644 section 3.12.
    fn from(error: Error) -> Self {
        // A SCIM response has room for one mistake.
        let error = match error {
            Error::Several(mut errors) if !errors.is_empty() => errors.swap_remove(0),
            Error::InEdit { error, .. } => *error,
            error => error,
        };
        let status = match &error {
            Error::Several(_) | Error::InEdit { .. } => StatusCode::BAD_REQUEST,
            Error::NotFound(_) | Error::NotFoundInList { .. } => StatusCode::NOT_FOUND,
            Error::Taken { .. } => StatusCode::CONFLICT,
            Error::Stale { .. } => StatusCode::PRECONDITION_FAILED,
            Error::Invalid { .. } => StatusCode::BAD_REQUEST,
            Error::Forbidden(_) | Error::Held { .. } => StatusCode::FORBIDDEN,
            Error::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            Error::Unsupported(_) => StatusCode::NOT_IMPLEMENTED,
            Error::Busy(_) | Error::OutcomeUnknown { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Error::Unavailable(text) => {
                tracing::warn!(error = %text, "a SCIM request failed because the database cannot \
                    be used");
                StatusCode::SERVICE_UNAVAILABLE
            }
            Error::Limited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Error::Internal(text) => {
                tracing::error!(error = %text, "a SCIM request failed");
                return Self::from_status(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "something went wrong here; the server's log names this request's X-Request-Id",
                );
            }
        };
        let (reason, (scim_type, field)) = (error.reason(), error.blame());
        let retry_after = match error {
            Error::Limited { seconds } => Some(seconds),
            Error::Busy(_) => Some(1),
            Error::Unavailable(_) | Error::OutcomeUnknown { .. } => {
                Some(UNAVAILABLE_RETRY_AFTER_SECONDS)
            }
            _ => None,
        };
        let refusal = RequestRefusal { reason, scim_type, field };
        let detail = error.to_string();
        Self { status, refusal, detail, retry_after, challenge: TOKEN_REFUSED }
    }
}

impl IntoResponse for ScimFailure {
    fn into_response(self) -> Response {
        let mut response = json_response(self.status, self.error_body().to_string());
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(self.challenge));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response.extensions_mut().insert(self.refusal);
        response
    }
}

/// A resource as JSON text: the stored document and the attributes that the server adds. Without a
/// projection the document is copied as bytes and not parsed.
pub fn compose_resource(
    document: &str,
    added: Map<String, Value>,
    ty: &ResourceType,
    projection: &Projection,
) -> serde_json::Result<String> {
    let everything =
        projection.only.is_empty() && projection.except.is_empty() && ty.returns_all_it_stores();
    match document.strip_suffix('}') {
        Some(open) if everything && open.len() > 1 => {
            let added = serde_json::to_string(&added)?;
            Ok(format!("{open},{}", added.get(1..).unwrap_or("}")))
        }
        _ => {
            let mut whole: Map<String, Value> = serde_json::from_str(document)?;
            whole.extend(added);
            projection.apply_to(ty, &mut whole);
            serde_json::to_string(&whole)
        }
    }
}
