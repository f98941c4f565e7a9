//! GraphQL over HTTP, after the specification of that name (GraphQL Foundation, working draft).
//!
//! Authentication comes first and is an extractor. Only then is the body read, and what it asks made an
//! [`Operation`](super::operation::Operation). What must never enter: what an operation means.

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
use serde_json::{Map, Value as Data};
use uuid::Uuid;

use super::auth::{self, Caller};
use super::operation::{self, Answer, Ask, Fault, Reply};
use super::{Door, graphiql, replay, sse, websocket};
use crate::error::{Error, UNAVAILABLE_RETRY_AFTER_SECONDS};

/// Largest body, in bytes.
const MAX_BODY: usize = 1024 * 1024;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// `POST /graphql`.
pub async fn post(State(door): State<Arc<Door>>, caller: Caller, headers: HeaderMap, body: Body) -> Response {
    let ask = ask_of_body(&headers, body).await;
    answer(&door, caller, ask, &Method::POST, &headers).await
}

/// `GET /graphql`: queries, a page to try them on for browsers, and the way to a WebSocket.
pub async fn get(
    State(door): State<Arc<Door>>,
    headers: HeaderMap,
    uri: Uri,
    extensions: Extensions,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    caller: Result<Caller, Refusal>,
) -> Response {
    if opens_socket(&headers) {
        return match (upgrade, caller) {
            (Err(rejection), _) => rejection.into_response(),
            // Browsers cannot set the header on a socket: they say later who they are.
            (Ok(_), Err(refusal)) if headers.contains_key(header::AUTHORIZATION) => refusal.into_response(),
            (Ok(upgrade), caller) => websocket::open(door, upgrade, caller.ok(), &extensions),
        };
    }
    if wants_page(&headers, &uri) {
        return graphiql::page();
    }
    match caller {
        Ok(caller) => answer(&door, caller, ask_of_query(&headers, &uri), &Method::GET, &headers).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// Any other method.
pub async fn wrong_method(headers: HeaderMap) -> Response {
    let fault = Fault {
        allow: Some("GET, POST"),
        ..Fault::new(StatusCode::METHOD_NOT_ALLOWED, "BAD_USER_INPUT", "use POST, or GET for queries")
    };
    finish(Err(fault), auth::request_id(&headers), &headers)
}

/// A request that is refused before there is a caller.
pub struct Refusal(Box<Response>);

impl Refusal {
    /// The answer to a request that could not be authenticated.
    pub fn of(error: &Error, request_id: Uuid, headers: &HeaderMap) -> Self {
        let fault = Fault::of(error, request_id);
        let unauthorized = fault.status == StatusCode::UNAUTHORIZED;
        let mut response = finish(Err(fault), request_id, headers);
        if unauthorized {
            let challenge = match headers.contains_key(header::AUTHORIZATION) {
                true => "Bearer realm=\"rolecall\", error=\"invalid_token\"",
                false => "Bearer realm=\"rolecall\"",
            };
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        Self(Box::new(response))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        *self.0
    }
}

/// How many bytes a request announces as its body; none if it does not say.
pub fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The answer to a request of which nothing was run.
pub fn refused(fault: Fault, request_id: Uuid, headers: &HeaderMap) -> Response {
    finish(Err(fault), request_id, headers)
}

async fn ask_of_body(headers: &HeaderMap, body: Body) -> Result<Ask, Fault> {
    if !reads_events(headers) {
        media_type(headers)?;
    }
    // A form in a foreign page can send text and multipart, but not JSON, without asking first.
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !is_json(content_type) {
        let message = "send the request as application/json in UTF-8";
        return Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "BAD_USER_INPUT", message));
    }
    let read = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY)).await.map_err(|_| {
        let message = format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs());
        Fault::new(StatusCode::REQUEST_TIMEOUT, "BAD_USER_INPUT", message)
    })?;
    let bytes = read.map_err(|_| {
        let message = format!("the body is larger than {MAX_BODY} bytes, or did not arrive in full");
        Fault::new(StatusCode::PAYLOAD_TOO_LARGE, "BAD_USER_INPUT", message)
    })?;
    // A batch shows by its first character; what is in it is not worth the time of reading it.
    if bytes.trim_ascii_start().starts_with(b"[") {
        return Err(Fault::bad("batches are not offered; send one operation in one request"));
    }
    match serde_json::from_slice(&bytes) {
        Ok(Data::Object(body)) => Ask::of(body),
        Ok(_) => Err(Fault::bad("the body must be a JSON object")),
        Err(error) => Err(Fault::bad(format!("the body is not JSON: {error}"))),
    }
}

fn ask_of_query(headers: &HeaderMap, uri: &Uri) -> Result<Ask, Fault> {
    if !reads_events(headers) {
        media_type(headers)?;
    }
    let Query(parameters) = Query::<HashMap<String, String>>::try_from_uri(uri)
        .map_err(|_| Fault::bad("the URL's query string is malformed"))?;
    let mut body = Map::new();
    for (name, text) in parameters {
        let value = match name.as_str() {
            "variables" | "extensions" => {
                serde_json::from_str(&text).map_err(|_| Fault::bad(format!("the parameter {name} must be JSON")))?
            }
            _ => Data::String(text),
        };
        body.insert(name, value);
    }
    Ask::of(body)
}

/// Runs what is asked and answers in the form that the client reads: a subscription as an event stream, anything else
/// so only if the client reads nothing else.
async fn answer(
    door: &Arc<Door>,
    caller: Caller,
    ask: Result<Ask, Fault>,
    method: &Method,
    headers: &HeaderMap,
) -> Response {
    let request_id = caller.cx.request_id;
    let events = reads_events(headers);
    let only_events = events && media_type(headers).is_err();
    let prepared = ask
        .and_then(|ask| Ok(ask.keyed(replay::key_of(headers)?)))
        .and_then(|ask| operation::prepare(door, caller.clone(), ask))
        .and_then(|operation| match operation.kind {
            OperationType::Mutation if method == Method::GET => Err(Fault {
                allow: Some("POST"),
                ..Fault::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "BAD_USER_INPUT",
                    "only queries can be sent with GET; use POST",
                )
            }),
            OperationType::Subscription if !events => {
                let message = "a subscription is answered with text/event-stream, or over a WebSocket";
                Err(Fault::new(StatusCode::NOT_ACCEPTABLE, "BAD_USER_INPUT", message))
            }
            _ => Ok(operation),
        });
    match prepared {
        Ok(operation) if only_events || operation.kind == OperationType::Subscription => {
            match sse::stream(&door.streams, caller, operation.answers()) {
                Ok(response) => response,
                Err(fault) => finish(Err(fault), request_id, headers),
            }
        }
        Ok(operation) => finish(operation.run().await, request_id, headers),
        Err(fault) if only_events && operation::is_about_document(fault.code) => sse::refusal(&fault, request_id),
        Err(fault) => finish(Err(fault), request_id, headers),
    }
}

const GRAPHQL: &str = "application/graphql-response+json";
const JSON: &str = "application/json";

const EVENTS: &str = "text/event-stream";

fn ranges(headers: &HeaderMap) -> Vec<(String, f32)> {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accept.flat_map(|value| value.split(',')).filter_map(range).collect()
}

/// Whether a request without a credential only opens the page to try queries on, or a socket.
pub fn begins_anonymously(method: &Method, headers: &HeaderMap, uri: &Uri) -> bool {
    method == Method::GET && (opens_socket(headers) || wants_page(headers, uri))
}

fn opens_socket(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Whether the client names event streams among what it reads.
pub fn reads_events(headers: &HeaderMap) -> bool {
    ranges(headers).iter().any(|(name, quality)| name == EVENTS && *quality > 0.0)
}

/// Section "Accept": which media type the client reads better; without a preference it is plain JSON.
fn media_type(headers: &HeaderMap) -> Result<&'static str, Fault> {
    let ranges = ranges(headers);
    if ranges.is_empty() {
        return Ok(JSON);
    }
    // The more specific range decides (RFC 9110 section 12.5.1).
    let quality = |name: &str| {
        let of = |wanted: &str| ranges.iter().find(|(range, _)| range == wanted).map(|(_, quality)| *quality);
        of(name)
            .map(|quality| (quality, true))
            .or_else(|| of("application/*").or_else(|| of("*/*")).map(|q| (q, false)))
    };
    let graphql = quality(GRAPHQL).filter(|(quality, _)| *quality > 0.0);
    let json = quality(JSON).filter(|(quality, _)| *quality > 0.0);
    match (graphql, json) {
        (Some((graphql, named)), Some((json, _))) if graphql > json || (graphql >= json && named) => Ok(GRAPHQL),
        (_, Some(_)) => Ok(JSON),
        (Some(_), None) => Ok(GRAPHQL),
        (None, None) => {
            let message = format!("answers come as {GRAPHQL} or {JSON}");
            Err(Fault::new(StatusCode::NOT_ACCEPTABLE, "BAD_USER_INPUT", message))
        }
    }
}

/// A media range in lower case with its quality.
fn range(text: &str) -> Option<(String, f32)> {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().filter(|name| !name.is_empty())?.to_ascii_lowercase();
    let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    Some((name, quality.map_or(1.0, |quality| quality.parse().unwrap_or(0.0))))
}

fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(|part| part.trim().to_ascii_lowercase());
    let json = parts.next().is_some_and(|name| name == JSON);
    let charset = parts.find_map(|part| part.strip_prefix("charset=").map(|name| name.trim_matches('"').to_owned()));
    json && charset.is_none_or(|charset| charset == "utf-8" || charset == "utf8")
}

/// A browser that opens the address, as opposed to a client that sends a query.
fn wants_page(headers: &HeaderMap, uri: &Uri) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let html = accept.split(',').filter_map(range).any(|(name, quality)| name == "text/html" && quality > 0.0);
    html && !uri.query().unwrap_or_default().split('&').any(|part| part.starts_with("query="))
}

/// Section "Response": the status, the media type, the body.
fn finish(answer: Answer, request_id: Uuid, headers: &HeaderMap) -> Response {
    let media = media_type(headers).unwrap_or(GRAPHQL);
    let (mut allow, mut retry_after) = (None, None);
    let Reply { status, body, replayed } = answer.unwrap_or_else(|fault| {
        (allow, retry_after) = (fault.allow, fault.retry_after);
        Reply { status: fault.status, body: operation::Body::error(fault.to_json(request_id)), replayed: false }
    });
    // "application/json": a well-formed request is 200, whatever becomes of its document. What failed before
    // there was a document keeps its status.
    let about_document = |body: &operation::Body| {
        let code = body.errors.first().and_then(|error| error.pointer("/extensions/code")).and_then(Data::as_str);
        code.is_some_and(operation::is_about_document)
    };
    let status = match status {
        StatusCode::BAD_REQUEST if media == JSON && about_document(&body) => StatusCode::OK,
        // Nothing came of it, for a reason that passes: a client and a proxy see it in the status, too.
        StatusCode::OK if body.met_outage() => {
            retry_after = Some(UNAVAILABLE_RETRY_AFTER_SECONDS);
            StatusCode::SERVICE_UNAVAILABLE
        }
        status => status,
    };
    let mut response = (status, Json(body)).into_response();
    let fields = response.headers_mut();
    let content_type = if media == GRAPHQL {
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
