//! The SCIM interface (RFC 7643, RFC 7644): identity providers write users and groups here.
//!
//! This module translates and decides nothing: a request becomes a call into `domain`, and its
//! result becomes SCIM JSON. Every handler takes a [`ScimCaller`], so no handler runs before the
//! credential is checked. What must never enter: a database query, a rule about access.

mod async_response;
mod body;
#[cfg(test)]
mod broken_tests;
mod bulk;
pub mod cursor;
mod discovery;
mod entity_tag;
pub mod filter_syntax;
mod groups;
mod http;
pub mod observe;
pub mod patch;
mod query;
mod reads;
mod root;
pub mod schema;
mod users;
use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, OriginalUri, Request};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use tower::ServiceExt;
use tower_http::catch_panic::CatchPanicLayer;
use uuid::Uuid;

use crate::buffers::request_counts::RequestRefusal;
use crate::context::{App, Cx, run_within};
use crate::domain::directory::schema_extension::resource_types;
use crate::domain::review::RetryPayload;
use crate::error::{Error, Noun, RefusalReason, Result};
use crate::request_head;
use http::{ScimCaller, ScimFailure, ScimReplay};

pub use async_response::carry_out_request;

/// The time limit of a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The time limit of a write whose body has more than 1 MiB or an unknown length.
const LARGE_REQUEST_TIMEOUT: Duration = Duration::from_secs(120);

/// The routes below `/scim/v2/{slug}`.
pub fn build_router(app: Arc<App>) -> Router {
    let tenant = Router::new()
        .route("/", get(root::handle_list_resources))
        .route("/.search", post(root::handle_search_resources))
        .route("/Users", get(users::handle_list_users).post(users::handle_create_user))
        .route("/Users/.search", post(users::handle_search_users))
        .route(
            "/Users/{id}",
            get(users::handle_get_user)
                .put(users::handle_replace_user)
                .patch(users::handle_patch_user)
                .delete(users::handle_delete_user),
        )
        .route("/Groups", get(groups::handle_list_groups).post(groups::handle_create_group))
        .route("/Groups/.search", post(groups::handle_search_groups))
        .route(
            "/Groups/{id}",
            get(groups::handle_get_group)
                .put(groups::handle_replace_group)
                .patch(groups::handle_patch_group)
                .delete(groups::handle_delete_group),
        )
        .route("/ServiceProviderConfig", get(discovery::handle_service_provider_config))
        .route("/ResourceTypes", get(discovery::handle_list_resource_types))
        .route("/ResourceTypes/{name}", get(discovery::handle_get_resource_type))
        .route("/Schemas", get(discovery::handle_list_schemas))
        .route("/Schemas/{urn}", get(discovery::handle_get_schema))
        .route("/Me", axum::routing::any(not_offered))
        .route(
            "/Bulk",
            post(bulk::handle_bulk).layer(DefaultBodyLimit::max(bulk::MAX_PAYLOAD_BYTES)),
        )
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method);
    with_observability(tenant, app)
}

/// Adds the layers around every handler. They count each request, also one whose handler panics,
/// and put a failed write that an administrator must look at into the review queue.
fn with_observability(tenant: Router<Arc<App>>, app: Arc<App>) -> Router {
    Router::new()
        .nest("/scim/v2/{slug}", tenant)
        .layer(middleware::from_fn_with_state(app.clone(), async_response::respond_async))
        .layer(middleware::from_fn(limit_time))
        .layer(CatchPanicLayer::custom(|_: Box<dyn Any + Send>| handler_panicked()))
        .layer(middleware::from_fn_with_state(app.clone(), observe::request_record::record_request))
        .layer(middleware::from_fn(http::set_media_type))
        .layer(middleware::from_fn(http::set_request_id))
        .with_state(app)
}

/// Ends a request that takes too long. The answer is sent after its open transaction was undone.
async fn limit_time(mut request: Request, next: middleware::Next) -> Response {
    let limit = time_limit(&request);
    let reads = request.method() == Method::GET || request.uri().path().ends_with("/.search");
    // The answer, the ledger and the log show the same id.
    let request_id = request_head::request_id(request.headers());
    if let Ok(value) = HeaderValue::from_str(&request_id.to_string()) {
        request.headers_mut().insert("x-request-id", value);
    }
    answer_in_time(limit, reads, request_id, next.run(request)).await
}

fn time_limit(request: &Request) -> Duration {
    let length = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let is_large = length.is_none_or(|length: usize| length > http::MAX_BODY)
        && request.method() != Method::GET;
    if is_large { LARGE_REQUEST_TIMEOUT } else { REQUEST_TIMEOUT }
}

async fn answer_in_time(
    limit: Duration,
    reads: bool,
    request_id: Uuid,
    answer: impl Future<Output = Response>,
) -> Response {
    match run_within(limit, answer).await {
        Some(response) => response,
        None if reads => {
            ScimFailure::from(Error::Busy(format!("it took longer than {} s", limit.as_secs())))
                .into_response()
        }
        None => ScimFailure::from(Error::OutcomeUnknown { request_id }).into_response(),
    }
}

/// The answer if a handler panicked. Its open transaction is undone.
fn handler_panicked() -> Response {
    tracing::error!("a SCIM handler panicked");
    ScimFailure::from_status(StatusCode::INTERNAL_SERVER_ERROR, "something went wrong here")
        .into_response()
}

/// The outcome of a write that was retried.
#[derive(Debug, Clone)]
pub enum ScimReplayOutcome {
    Done,
    Refused(RequestRefusal),
}

/// Retries a write as the connection of `cx`. It runs the same code as a write that arrives over
/// the network, after the check of the credential.
///
/// # Errors
/// [`Error::Internal`] if `write` is not a valid request.
pub async fn replay_write(cx: &Cx, slug: &str, write: &RetryPayload) -> Result<ScimReplayOutcome> {
    let fault = |error: axum::http::Error| Error::Internal(error.to_string());
    let request = Request::builder()
        .method(write.method.as_str())
        .uri(format!("/scim/v2/{slug}{}", write.path));
    let request = request.header(header::CONTENT_TYPE, "application/scim+json");
    let mut request =
        request.body(write.body.clone().map_or_else(Body::empty, Body::from)).map_err(fault)?;
    let replay = ScimReplay { cx: cx.clone(), slug: slug.to_owned(), recorded: false };
    request.extensions_mut().insert(replay);
    let response = match build_router(cx.app.clone()).oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let status = response.status();
    // A resource that was to be deleted and does not exist needs no further work.
    if status.is_success() || (write.method == "DELETE" && status == StatusCode::NOT_FOUND) {
        return Ok(ScimReplayOutcome::Done);
    }
    let unknown = RequestRefusal { reason: RefusalReason::Internal, scim_type: None, field: None };
    let mut refusal = response.extensions().get::<RequestRefusal>().cloned().unwrap_or(unknown);
    let types = resource_types(cx).await?;
    refusal.field =
        refusal.field.and_then(|field| observe::request_record::known_field(Some(&types), field));
    Ok(ScimReplayOutcome::Refused(refusal))
}

/// Removes repeated and final slashes: clients append `/Users` to a base URL that an administrator
/// pasted with a final slash. Must be called before a request is routed.
pub async fn remove_extra_slashes(mut request: Request) -> Request {
    let uri = request.uri();
    let path = uri.path();
    if !path.contains("/scim/v2/") || !(path.contains("//") || path.ends_with('/')) {
        return request;
    }
    let mut tidy: String =
        path.split('/').filter(|part| !part.is_empty()).flat_map(|part| ["/", part]).collect();
    uri.query().iter().for_each(|query| tidy.extend(["?", query]));
    if let Ok(uri) = Uri::try_from(tidy) {
        request.extensions_mut().insert(OriginalUri(uri.clone()));
        *request.uri_mut() = uri;
    }
    request
}

/// RFC 7644 section 3.11: `/Me` has no meaning for a token that belongs to no user; section 3.12:
/// an unsupported operation is answered 501.
async fn not_offered(_: ScimCaller) -> Result<(), ScimFailure> {
    Err(Error::Unsupported("this endpoint is not offered; see ServiceProviderConfig".into()).into())
}

async fn not_found(_: ScimCaller) -> Result<(), ScimFailure> {
    Err(Error::not_found(Noun::Endpoint).into())
}

async fn wrong_method(_: ScimCaller) -> Result<(), ScimFailure> {
    Err(ScimFailure::method_not_allowed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_bodies_get_more_time() {
        let limit = |method: Method, length: Option<usize>| {
            let mut request = Request::new(Body::empty());
            *request.method_mut() = method;
            request.headers_mut().extend(length.map(|n| (header::CONTENT_LENGTH, n.into())));
            time_limit(&request).as_secs()
        };
        assert_eq!(limit(Method::GET, None), 30);
        assert_eq!(limit(Method::POST, Some(1_048_576)), 30);
        assert_eq!(limit(Method::PATCH, Some(1_048_577)), 120);
        assert_eq!(limit(Method::PUT, None), 120, "chunked");
    }

    #[tokio::test]
    async fn slow_requests_end_with_503() {
        let limit = Duration::from_millis(20);
        for (reads, says) in [(true, "the server is busy"), (false, "may or may not have been")] {
            let id = Uuid::now_v7();
            let answer = answer_in_time(limit, reads, id, std::future::pending()).await;
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
            let text = axum::body::to_bytes(answer.into_body(), 10_000).await.unwrap();
            let text = String::from_utf8_lossy(&text);
            assert!(text.contains(says), "{text}");
        }
    }
}
