//! What is seen of each request from outside: its span, and one line of the access log. Both name
//! the request, its organization and its connection by their ids, and the route by its template: a
//! path may name a person, and a query does.

use std::fmt;
use std::time::Instant;

use axum::body::HttpBody;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use tracing::field::Empty;
use tracing::{Instrument, Span};
use uuid::Uuid;

use crate::context::{CallerIds, SentRequestId};
use crate::trace_context::{SPAN_TARGET, TraceContext};

/// The target of the access log.
const ACCESS_TARGET: &str = "rolecall::access";

/// The header with a request's id.
const REQUEST_ID_HEADER: &str = "x-request-id";

/// Runs around every request.
pub async fn trace_request(mut request: Request, next: Next) -> Response {
    if let Some(sent) = request.headers().get(REQUEST_ID_HEADER) {
        let sent = SentRequestId(sent.as_bytes().to_vec());
        request.extensions_mut().insert(sent);
    }
    let mut line = AccessLine {
        began: Instant::now(),
        method: known_method(request.method()),
        route: request.extensions().get::<MatchedPath>().cloned(),
        request_id: settle_request_id(request.headers_mut()),
        ids: CallerIds::default(),
        status: None,
        bytes: None,
    };
    let span = request_span(&line);
    if let Some(parent) = TraceContext::from_headers(request.headers()) {
        parent.adopt_span(&span);
    }
    request.extensions_mut().insert(line.ids.clone());
    let response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("error.type", status.as_str());
        span.record("otel.status_code", "ERROR");
    }
    line.status = Some(status.as_u16());
    line.bytes = response.body().size_hint().exact();
    response
}

fn request_span(line: &AccessLine) -> Span {
    let AccessLine { method, request_id, .. } = line;
    tracing::info_span!(
        target: SPAN_TARGET,
        parent: None,
        "request",
        otel.kind = "server",
        otel.name = %RequestSpanName(line),
        otel.status_code = Empty,
        http.request.method = method,
        http.route = line.route(),
        http.response.status_code = Empty,
        url.scheme = "http",
        "error.type" = Empty,
        rolecall.request_id = %request_id,
        rolecall.organization_id = Empty,
        rolecall.connection_id = Empty,
    )
}

/// The name that the conventions give the span. It is put together only where it is exported.
struct RequestSpanName<'a>(&'a AccessLine);

impl fmt::Display for RequestSpanName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.method)?;
        match self.0.route() {
            Some(route) => write!(f, " {route}"),
            None => Ok(()),
        }
    }
}

/// The line of the access log. It is written when the request ends, also when the client goes away
/// before it has an answer: then there is no status.
struct AccessLine {
    began: Instant,
    method: &'static str,
    route: Option<MatchedPath>,
    request_id: Uuid,
    ids: CallerIds,
    status: Option<u16>,
    bytes: Option<u64>,
}

impl AccessLine {
    fn route(&self) -> Option<&str> {
        self.route.as_ref().map(MatchedPath::as_str)
    }
}

impl Drop for AccessLine {
    fn drop(&mut self) {
        tracing::info!(
            target: ACCESS_TARGET,
            parent: None,
            method = self.method,
            route = self.route(),
            status = self.status,
            duration_ms = self.began.elapsed().as_micros() as f64 / 1000.0,
            request_id = %self.request_id,
            organization_id = self.ids.organization().map(display),
            connection_id = self.ids.connection().map(display),
            bytes = self.bytes,
        );
    }
}

/// The id of a request: the client's, if it is a UUID, or else a new one. The request has it as a
/// header from now on, so that the interfaces find the same.
fn settle_request_id(headers: &mut HeaderMap) -> Uuid {
    let given = headers
        .get(REQUEST_ID_HEADER)
        .and_then(|value| Uuid::try_parse_ascii(value.as_bytes()).ok());
    given.unwrap_or_else(|| {
        let id = Uuid::now_v7();
        let mut text = Uuid::encode_buffer();
        if let Ok(value) = HeaderValue::from_str(id.hyphenated().encode_lower(&mut text)) {
            headers.insert(REQUEST_ID_HEADER, value);
        }
        id
    })
}

/// A method as metrics and traces name it: a client can send any word.
pub fn known_method(method: &Method) -> &'static str {
    let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    methods.into_iter().find(|name| *name == method.as_str()).unwrap_or("_OTHER")
}
