//! GraphQL over HTTP, after the specification of that name (GraphQL Foundation, working draft).
//!
//! Authentication comes first and is an extractor. Only then is the body read, the document judged
//! ([`limits`](super::limits)), and the operation run.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::http::GraphiQLSource;
use async_graphql::parser::parse_query;
use async_graphql::parser::types::{DocumentOperations, ExecutableDocument, OperationDefinition, OperationType};
use async_graphql::{ErrorExtensionValues, Request, ServerError, Value, Variables};
use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use serde_json::{Map, Value as Data, json};
use uuid::Uuid;

use super::auth::{self, Caller};
use super::limits::{self, Excess};
use super::{loaders, page, schema};
use crate::context::App;
use crate::error::Error;

/// Largest body, in bytes.
const MAX_BODY: usize = 1024 * 1024;
/// Longest time that an operation may take.
const MAX_TIME: Duration = Duration::from_secs(15);
/// Validation may find a mistake in every field; a person reads the first few.
const MAX_ERRORS: usize = 20;

/// `POST /graphql`.
pub async fn post(State(_): State<Arc<App>>, caller: Caller, headers: HeaderMap, body: Body) -> Response {
    let answer = answer_post(caller.clone(), &headers, body).await;
    finish(answer, caller.cx.request_id, &headers)
}

/// `GET /graphql`: queries, and a page to try them on for browsers.
pub async fn get(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    uri: Uri,
    caller: Result<Caller, Refusal>,
) -> Response {
    if wants_page(&headers, &uri) {
        let endpoint = format!("{}/graphql", app.config.public_url);
        return Html(GraphiQLSource::build().endpoint(&endpoint).title("rolecall").finish()).into_response();
    }
    let caller = match caller {
        Ok(caller) => caller,
        Err(refusal) => return refusal.into_response(),
    };
    let request_id = caller.cx.request_id;
    let answer = match Query::<HashMap<String, String>>::try_from_uri(&uri) {
        Ok(Query(parameters)) => answer_get(caller, &headers, parameters).await,
        Err(_) => Err(Fault::bad("the URL's query string is malformed")),
    };
    finish(answer, request_id, &headers)
}

/// Any other method.
pub async fn wrong_method(headers: HeaderMap) -> Response {
    let fault = Fault {
        status: StatusCode::METHOD_NOT_ALLOWED,
        code: "BAD_USER_INPUT",
        message: "use POST, or GET for queries".into(),
        allow: Some("GET, POST"),
        position: None,
    };
    finish(Err(fault), auth::request_id(&headers), &headers)
}

/// A request that is refused before there is a caller.
pub struct Refusal(Box<Response>);

impl Refusal {
    /// The answer to a request that could not be authenticated.
    pub fn of(error: &Error, request_id: Uuid, headers: &HeaderMap) -> Self {
        let (code, message) = page::words(error, request_id);
        let status = match error {
            Error::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            Error::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let fault = Fault { status, code, message, allow: None, position: None };
        let mut response = finish(Err(fault), request_id, headers);
        if status == StatusCode::UNAUTHORIZED {
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

/// A request that is answered without running anything.
struct Fault {
    status: StatusCode,
    code: &'static str,
    message: String,
    allow: Option<&'static str>,
    position: Option<async_graphql::Pos>,
}

impl Fault {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), allow: None, position: None }
    }

    /// Not a well-formed GraphQL-over-HTTP request.
    fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BAD_USER_INPUT", message)
    }
}

impl From<Excess> for Fault {
    fn from(excess: Excess) -> Self {
        match excess {
            Excess::TooComplex(message) => Self::new(StatusCode::BAD_REQUEST, "QUERY_TOO_COMPLEX", message),
            Excess::Invalid(message) => Self::new(StatusCode::BAD_REQUEST, "GRAPHQL_VALIDATION_FAILED", message),
        }
    }
}

/// What a well-formed request carries.
struct Ask {
    query: String,
    operation_name: Option<String>,
    variables: Variables,
}

/// An answer and its status where the media type is `application/graphql-response+json`.
type Answer = Result<(StatusCode, async_graphql::Response), Fault>;

async fn answer_post(caller: Caller, headers: &HeaderMap, body: Body) -> Answer {
    media_type(headers)?;
    // A form in a foreign page can send text and multipart, but not JSON, without asking first.
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !is_json(content_type) {
        let message = "send the request as application/json in UTF-8";
        return Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "BAD_USER_INPUT", message));
    }
    let bytes = to_bytes(body, MAX_BODY).await.map_err(|_| {
        let message = format!("the body is larger than {MAX_BODY} bytes, or did not arrive in full");
        Fault::new(StatusCode::PAYLOAD_TOO_LARGE, "BAD_USER_INPUT", message)
    })?;
    let body = match serde_json::from_slice(&bytes) {
        Ok(Data::Object(body)) => body,
        Ok(Data::Array(_)) => return Err(Fault::bad("batches are not offered; send one operation in one request")),
        Ok(_) => return Err(Fault::bad("the body must be a JSON object")),
        Err(error) => return Err(Fault::bad(format!("the body is not JSON: {error}"))),
    };
    run(caller, ask(body)?, &Method::POST).await
}

async fn answer_get(caller: Caller, headers: &HeaderMap, parameters: HashMap<String, String>) -> Answer {
    media_type(headers)?;
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
    run(caller, ask(body)?, &Method::GET).await
}

/// Section "Request parameters" of the specification.
fn ask(mut body: Map<String, Data>) -> Result<Ask, Fault> {
    if body.values().any(has_nul) {
        return Err(Fault::bad("strings must not contain the character NUL"));
    }
    let query = match body.remove("query") {
        Some(Data::String(query)) => query,
        Some(Data::Null) | None => return Err(Fault::bad("query is missing")),
        Some(_) => return Err(Fault::bad("query must be a string")),
    };
    let operation_name = match body.remove("operationName") {
        Some(Data::String(name)) if !name.is_empty() => Some(name),
        Some(Data::String(_) | Data::Null) | None => None,
        Some(_) => return Err(Fault::bad("operationName must be a string")),
    };
    let variables = match body.remove("variables") {
        Some(variables @ Data::Object(_)) => Variables::from_json(variables),
        Some(Data::Null) | None => Variables::default(),
        Some(_) => return Err(Fault::bad("variables must be an object")),
    };
    match body.remove("extensions") {
        Some(Data::Object(_) | Data::Null) | None => Ok(Ask { query, operation_name, variables }),
        Some(_) => Err(Fault::bad("extensions must be an object")),
    }
}

/// PostgreSQL cannot hold NUL in text. The depth of `value` is bounded by the parser of JSON.
fn has_nul(value: &Data) -> bool {
    match value {
        Data::String(text) => text.contains('\0'),
        Data::Array(values) => values.iter().any(has_nul),
        Data::Object(fields) => fields.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        _ => false,
    }
}

async fn run(caller: Caller, ask: Ask, method: &Method) -> Answer {
    limits::check_text(&ask.query)?;
    let document = parse_query(&ask.query).map_err(|error| Fault {
        position: error.positions().next(),
        ..Fault::new(StatusCode::BAD_REQUEST, "GRAPHQL_PARSE_FAILED", syntax(&error.to_string()))
    })?;
    let cost = limits::check_document(&document, &ask.variables)?;
    let operation = chosen(&document, ask.operation_name.as_deref())?;
    if method == Method::GET && operation.ty != OperationType::Query {
        return Err(Fault {
            allow: Some("POST"),
            ..Fault::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "BAD_USER_INPUT",
                "only queries can be sent with GET; use POST",
            )
        });
    }
    provided(operation, &ask.variables)?;
    let request_id = caller.cx.request_id;
    let mut request = Request::new(ask.query).variables(ask.variables).data(cost);
    if let Some(name) = ask.operation_name.filter(|_| matches!(document.operations, DocumentOperations::Multiple(_))) {
        request = request.operation_name(name);
    }
    request = loaders::attach(request, &caller.cx).data(caller);
    request.set_parsed_query(document);
    let Ok(mut response) = tokio::time::timeout(MAX_TIME, schema().execute(request)).await else {
        tracing::warn!(%request_id, "an operation took too long");
        let message = format!("the operation took longer than {} seconds", MAX_TIME.as_secs());
        return Err(Fault::new(StatusCode::SERVICE_UNAVAILABLE, "BUSY", message));
    };
    // The cost is reported by whoever executes: without it, validation refused the document.
    if response.extensions.contains_key("cost") {
        return Ok((StatusCode::OK, response));
    }
    response.errors.truncate(MAX_ERRORS);
    for error in &mut response.errors {
        error.message = page::shortened(&error.message);
        error.extensions.get_or_insert_with(ErrorExtensionValues::default).set("code", "GRAPHQL_VALIDATION_FAILED");
    }
    Ok((StatusCode::BAD_REQUEST, response))
}

/// The first line of what the parser says, without the piece of the document that it repeats.
fn syntax(message: &str) -> String {
    let expected = message.lines().filter_map(|line| line.trim().strip_prefix("= ")).next();
    format!("the query is not GraphQL: {}", page::shortened(expected.unwrap_or("syntax error")))
}

/// GraphQL specification, section 6.1: which operation is meant.
fn chosen<'a>(document: &'a ExecutableDocument, name: Option<&str>) -> Result<&'a OperationDefinition, Fault> {
    let invalid = |message: &str| Fault::new(StatusCode::BAD_REQUEST, "GRAPHQL_VALIDATION_FAILED", message);
    let mut operations = document.operations.iter();
    match name {
        Some(name) => operations
            .find(|(found, _)| found.is_some_and(|found| found == name))
            .map(|(_, operation)| &operation.node)
            .ok_or_else(|| invalid("no operation in the document has the name in operationName")),
        None => match (operations.next(), operations.next()) {
            (Some((_, only)), None) => Ok(&only.node),
            _ => Err(invalid("the document has several operations; say which with operationName")),
        },
    }
}

/// GraphQL specification, section 6.1.2: a variable that must be there, is.
fn provided(operation: &OperationDefinition, variables: &Variables) -> Result<(), Fault> {
    for definition in &operation.variable_definitions {
        let definition = &definition.node;
        let required = !definition.var_type.node.nullable;
        let missing = match variables.get(&definition.name.node) {
            Some(value) => *value == Value::Null,
            None => definition.default_value.is_none(),
        };
        if required && missing {
            let message = format!("the variable ${} is required", page::shortened(&definition.name.node));
            return Err(Fault::new(StatusCode::BAD_REQUEST, "GRAPHQL_VALIDATION_FAILED", message));
        }
    }
    Ok(())
}

const GRAPHQL: &str = "application/graphql-response+json";
const JSON: &str = "application/json";

/// Section "Accept": which media type the client reads better; without a preference it is plain JSON.
fn media_type(headers: &HeaderMap) -> Result<&'static str, Fault> {
    let accept: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let ranges: Vec<(String, f32)> = accept.iter().flat_map(|value| value.split(',')).filter_map(range).collect();
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
    let mut allow = None;
    let (status, body) = match answer {
        Ok((status, response)) => (status, response_json(response)),
        Err(fault) => {
            allow = fault.allow;
            (fault.status, fault_json(fault, request_id))
        }
    };
    // "application/json": a well-formed request is 200, whatever becomes of its document. What failed before
    // there was a document keeps its status.
    let about_document = |body: &Data| {
        let code = body.pointer("/errors/0/extensions/code").and_then(Data::as_str).unwrap_or_default();
        matches!(code, "GRAPHQL_PARSE_FAILED" | "GRAPHQL_VALIDATION_FAILED" | "QUERY_TOO_COMPLEX")
    };
    let status = match status {
        StatusCode::BAD_REQUEST if media == JSON && about_document(&body) => StatusCode::OK,
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
    // Answers hold personal data and, once, secrets.
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(allow) = allow {
        fields.insert(header::ALLOW, HeaderValue::from_static(allow));
    }
    if let Ok(id) = HeaderValue::from_str(&request_id.to_string()) {
        fields.insert("x-request-id", id);
    }
    response
}

fn response_json(response: async_graphql::Response) -> Data {
    let executed = response.extensions.contains_key("cost");
    let mut body = Map::new();
    if !response.errors.is_empty() {
        body.insert("errors".into(), response.errors.iter().map(error_json).collect());
    }
    // A document that was refused has no data entry at all; one that was run has one, even if it is null.
    if executed {
        body.insert("data".into(), response.data.into_json().unwrap_or_default());
    }
    if !response.extensions.is_empty() {
        body.insert("extensions".into(), serde_json::to_value(&response.extensions).unwrap_or_default());
    }
    Data::Object(body)
}

fn error_json(error: &ServerError) -> Data {
    serde_json::to_value(error).unwrap_or_default()
}

fn fault_json(fault: Fault, request_id: Uuid) -> Data {
    let mut error = json!({ "message": fault.message, "extensions": { "code": fault.code } });
    if let Some(position) = fault.position {
        error["locations"] = json!([{ "line": position.line, "column": position.column }]);
    }
    if fault.code == "INTERNAL" {
        error["extensions"]["requestId"] = json!(request_id);
    }
    json!({ "errors": [error] })
}
