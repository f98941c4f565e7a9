//! GraphQL over HTTP, as in the specification of that name (GraphQL Foundation, working draft).
//!
//! Authentication is an extractor and comes first. Only then is the body read and prepared as an
//! [`Operation`](super::execute::Operation). What must never enter: what an operation does.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::parser::types::OperationType;
use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Query, State};
use axum::http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use headers_accept::Accept;
use mediatype::{MediaType, Name, ReadParams, Value, names};
use serde_json::{Map, Value as Data};
use uuid::Uuid;

use super::auth::ApiCaller;
use crate::error::{Error, UNAVAILABLE_RETRY_AFTER_SECONDS};
use crate::graphql::error_code::ErrorCode;
use crate::graphql::execute;
use crate::graphql::execute::{ExecutionResult, GraphqlRequest, OperationResponse, RequestError};
use crate::graphql::{GraphqlState, graphiql, idempotency, sse, websocket};
use crate::request_head;

/// The largest body of a request, in bytes.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// `POST /graphql`.
pub async fn post_graphql(
    State(door): State<Arc<GraphqlState>>,
    caller: ApiCaller,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let ask = read_body_request(&headers, body).await;
    run_request(&door, caller, ask, &Method::POST, &headers).await
}

/// `GET /graphql`: queries, GraphiQL for browsers, and the upgrade to a WebSocket.
pub async fn get_graphql(
    State(door): State<Arc<GraphqlState>>,
    headers: HeaderMap,
    uri: Uri,
    extensions: Extensions,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    caller: Result<ApiCaller, CallerRejection>,
) -> Response {
    if is_websocket_upgrade(&headers) {
        return match (upgrade, caller) {
            (Err(rejection), _) => rejection.into_response(),
            // Browsers cannot set headers on a WebSocket; they send the credential in
            // `connection_init`.
            (Ok(_), Err(refusal)) if headers.contains_key(header::AUTHORIZATION) => {
                refusal.into_response()
            }
            (Ok(upgrade), caller) => {
                websocket::accept_upgrade(door, upgrade, caller.ok(), &extensions)
            }
        };
    }
    if wants_page(&headers, &uri) {
        return graphiql::serve_page();
    }
    match caller {
        Ok(caller) => {
            run_request(&door, caller, parse_query_request(&headers, &uri), &Method::GET, &headers)
                .await
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// Refuses any other method.
pub async fn refuse_method(headers: HeaderMap) -> Response {
    let fault = RequestError {
        allow: Some("GET, POST"),
        ..RequestError::new(
            StatusCode::METHOD_NOT_ALLOWED,
            ErrorCode::BadUserInput,
            "use POST, or GET for queries",
        )
    };
    build_response(Err(fault), request_head::request_id(&headers), &headers)
}

/// The response to a request whose caller could not be authenticated.
pub struct CallerRejection(Box<Response>);

impl CallerRejection {
    /// The response for an error of authentication; a 401 has the challenge of RFC 6750.
    pub fn from_error(error: &Error, request_id: Uuid, headers: &HeaderMap) -> Self {
        let fault = RequestError::from_error(error, request_id);
        let unauthorized = fault.status == StatusCode::UNAUTHORIZED;
        let mut response = build_response(Err(fault), request_id, headers);
        if unauthorized {
            let challenge = if headers.contains_key(header::AUTHORIZATION) {
                "Bearer realm=\"rolecall\", error=\"invalid_token\""
            } else {
                "Bearer realm=\"rolecall\""
            };
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        Self(Box::new(response))
    }
}

impl IntoResponse for CallerRejection {
    fn into_response(self) -> Response {
        *self.0
    }
}

/// The `Content-Length` of a request, in bytes; none if the header is missing or malformed.
pub fn parse_content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The response to a request of which nothing was run.
pub fn build_error_response(
    fault: RequestError,
    request_id: Uuid,
    headers: &HeaderMap,
) -> Response {
    build_response(Err(fault), request_id, headers)
}

async fn read_body_request(
    headers: &HeaderMap,
    body: Body,
) -> Result<GraphqlRequest, RequestError> {
    if !accepts_event_stream(headers) {
        negotiate_media_type(headers)?;
    }
    // A form of another site can send text and multipart without a CORS preflight, but not JSON.
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !is_json(content_type) {
        let message = "send the request as application/json in UTF-8";
        return Err(RequestError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ErrorCode::BadUserInput,
            message,
        ));
    }
    let read =
        tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY_BYTES)).await.map_err(|_| {
            let message = format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs());
            RequestError::new(StatusCode::REQUEST_TIMEOUT, ErrorCode::BadUserInput, message)
        })?;
    let bytes = read.map_err(|_| {
        let message =
            format!("the body is larger than {MAX_BODY_BYTES} bytes, or did not arrive in full");
        RequestError::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::BadUserInput, message)
    })?;
    // The first character tells a batch, so that it is refused without parsing it.
    if bytes.trim_ascii_start().starts_with(b"[") {
        return Err(RequestError::bad_request(
            "batches are not supported; send one operation in one request",
        ));
    }
    match serde_json::from_slice(&bytes) {
        Ok(Data::Object(body)) => GraphqlRequest::from_body(body),
        Ok(_) => Err(RequestError::bad_request("the body must be a JSON object")),
        Err(error) => Err(RequestError::bad_request(format!("the body is not JSON: {error}"))),
    }
}

fn parse_query_request(headers: &HeaderMap, uri: &Uri) -> Result<GraphqlRequest, RequestError> {
    if !accepts_event_stream(headers) {
        negotiate_media_type(headers)?;
    }
    let Query(parameters) = Query::<HashMap<String, String>>::try_from_uri(uri)
        .map_err(|_| RequestError::bad_request("the URL's query string is malformed"))?;
    let mut body = Map::new();
    for (name, text) in parameters {
        let value = match name.as_str() {
            "variables" | "extensions" => serde_json::from_str(&text).map_err(|_| {
                RequestError::bad_request(format!("the parameter {name} must be JSON"))
            })?,
            _ => Data::String(text),
        };
        body.insert(name, value);
    }
    GraphqlRequest::from_body(body)
}

/// Runs a request and responds in a media type that the client accepts: a subscription as an event
/// stream, a query or mutation as an event stream only if the client accepts nothing else.
async fn run_request(
    door: &Arc<GraphqlState>,
    caller: ApiCaller,
    ask: Result<GraphqlRequest, RequestError>,
    method: &Method,
    headers: &HeaderMap,
) -> Response {
    let request_id = caller.cx.request_id;
    let events = accepts_event_stream(headers);
    let only_events = events && negotiate_media_type(headers).is_err();
    let prepared = ask
        .and_then(|ask| Ok(ask.with_idempotency_key(idempotency::find_key_header(headers)?)))
        .and_then(|ask| execute::prepare_operation(door, caller.clone(), ask))
        .and_then(|operation| match operation.kind {
            OperationType::Mutation if method == Method::GET => Err(RequestError {
                allow: Some("POST"),
                ..RequestError::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    ErrorCode::BadUserInput,
                    "only queries can be sent with GET; use POST",
                )
            }),
            OperationType::Subscription if !events => {
                let message =
                    "a subscription is answered with text/event-stream, or over a WebSocket";
                Err(RequestError::new(StatusCode::NOT_ACCEPTABLE, ErrorCode::BadUserInput, message))
            }
            _ => Ok(operation),
        });
    match prepared {
        Ok(operation) if only_events || operation.kind == OperationType::Subscription => {
            match sse::stream_responses(&door.streams, caller, operation.spawn_responses()) {
                Ok(response) => response,
                Err(fault) => build_response(Err(fault), request_id, headers),
            }
        }
        Ok(operation) => build_response(operation.run_with_key().await, request_id, headers),
        Err(fault) if only_events && fault.code.is_about_document() => {
            sse::refuse_operation(&fault, request_id)
        }
        Err(fault) => build_response(Err(fault), request_id, headers),
    }
}

static JSON: MediaType<'_> = MediaType::new(names::APPLICATION, names::JSON);
static GRAPHQL_JSON: MediaType<'_> =
    MediaType::from_parts(names::APPLICATION, GRAPHQL_RESPONSE, Some(names::JSON), &[]);
const GRAPHQL_RESPONSE: Name<'_> = Name::new_unchecked("graphql-response");
const EVENT_STREAM: MediaType<'_> = MediaType::new(names::TEXT, names::EVENT_STREAM);
const HTML: MediaType<'_> = MediaType::new(names::TEXT, names::HTML);

/// What the client accepts; none if it does not say so, or says it in a malformed header.
fn parse_accept(headers: &HeaderMap) -> Option<Accept> {
    let values = headers.get_all(header::ACCEPT).iter();
    let texts: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
    texts.join(", ").parse().ok().filter(|_| !texts.is_empty())
}

/// Whether the client accepts a media type by its name, not only by a wildcard.
fn accepts_by_name(headers: &HeaderMap, media_type: &MediaType) -> bool {
    parse_accept(headers).is_some_and(|accept| {
        accept.media_types().any(|listed| listed.essence() == *media_type)
            && accept.negotiate([media_type]).is_some()
    })
}

/// Whether a request may come without a credential, because it opens GraphiQL or a WebSocket.
pub fn allows_missing_credential(method: &Method, headers: &HeaderMap, uri: &Uri) -> bool {
    method == Method::GET && (is_websocket_upgrade(headers) || wants_page(headers, uri))
}

fn is_websocket_upgrade(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Whether the client accepts event streams.
pub fn accepts_event_stream(headers: &HeaderMap) -> bool {
    accepts_by_name(headers, &EVENT_STREAM)
}

/// The media type that the client prefers (section "Accept"); `application/json` if it has no
/// preference.
fn negotiate_media_type(headers: &HeaderMap) -> Result<&'static MediaType<'static>, RequestError> {
    let available = [&JSON, &GRAPHQL_JSON];
    let Some(accept) = parse_accept(headers) else { return Ok(&JSON) };
    accept.negotiate(available).ok_or_else(|| {
        let message = format!("answers come as {GRAPHQL_JSON} or {JSON}");
        RequestError::new(StatusCode::NOT_ACCEPTABLE, ErrorCode::BadUserInput, message)
    })
}

/// Whether a body is JSON in UTF-8, by its `Content-Type`.
fn is_json(content_type: &str) -> bool {
    let Ok(media_type) = MediaType::parse(content_type) else { return false };
    let charset = media_type.get_param(names::CHARSET);
    let is_utf8 = |charset: Value| {
        let charset = charset.unquoted_str();
        charset.eq_ignore_ascii_case("utf-8") || charset.eq_ignore_ascii_case("utf8")
    };
    media_type.essence() == JSON && charset.is_none_or(is_utf8)
}

/// Whether a browser opens the address, as opposed to a client that sends a query.
fn wants_page(headers: &HeaderMap, uri: &Uri) -> bool {
    let html = accepts_by_name(headers, &HTML);
    html && !uri.query().unwrap_or_default().split('&').any(|part| part.starts_with("query="))
}

/// The response with its status, media type and body (section "Response").
fn build_response(answer: ExecutionResult, request_id: Uuid, headers: &HeaderMap) -> Response {
    let media = negotiate_media_type(headers).unwrap_or(&GRAPHQL_JSON);
    let (mut allow, mut retry_after) = (None, None);
    let OperationResponse { status, body, replayed } = answer.unwrap_or_else(|fault| {
        (allow, retry_after) = (fault.allow, fault.retry_after);
        OperationResponse { status: fault.status, body: fault.to_body(request_id), replayed: false }
    });
    // With `application/json` a well-formed request has status 200, also if its document is
    // refused. A failure before there was a document keeps its status.
    let about_document = |body: &execute::ResponseBody| {
        let code = body
            .errors
            .first()
            .and_then(|error| error.pointer("/extensions/code"))
            .and_then(Data::as_str);
        code.and_then(ErrorCode::from_name).is_some_and(ErrorCode::is_about_document)
    };
    let status = match status {
        StatusCode::BAD_REQUEST if *media == JSON && about_document(&body) => StatusCode::OK,
        // Nothing was done, because the database is unavailable: the status tells clients and
        // proxies.
        StatusCode::OK if body.is_database_outage() => {
            retry_after = Some(UNAVAILABLE_RETRY_AFTER_SECONDS);
            StatusCode::SERVICE_UNAVAILABLE
        }
        status => status,
    };
    let mut response = (status, Json(body)).into_response();
    let fields = response.headers_mut();
    let content_type = if *media == GRAPHQL_JSON {
        "application/graphql-response+json; charset=utf-8"
    } else {
        "application/json; charset=utf-8"
    };
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(allow) = allow {
        fields.insert(header::ALLOW, HeaderValue::from_static(allow));
    }
    if let Some(seconds) = retry_after {
        fields.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if replayed {
        fields.insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    if let Ok(id) = HeaderValue::from_str(&request_id.to_string()) {
        fields.insert("x-request-id", id);
    }
    response
}
