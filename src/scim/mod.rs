//! The SCIM door (RFC 7643, RFC 7644): identity providers write users and groups here.
//!
//! This wing translates and decides nothing: a request becomes a call into `domain`, an answer becomes SCIM
//! JSON. Every handler takes a [`wire::Caller`], so nothing runs before the credential was judged. What must
//! never enter: a database query, a rule about access.

mod body;
#[cfg(test)]
mod broken_tests;
mod bulk;
pub mod cursor;
mod discovery;
mod fault;
pub mod filter;
mod groups;
mod log;
mod meaning;
pub mod patch;
mod query;
mod quirk;
mod reads;
mod root;
pub mod schema;
mod users;
mod wire;
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

use crate::context::{App, Cx, within};
use crate::domain::extension::types;
use crate::domain::failure::Payload;
use crate::error::{Error, Result};
use crate::requests::Refusal;
use wire::{Caller, Failure, Replay};

/// How long a request may take in all …
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// … and one with a body of more than 1 MiB.
const LARGE_REQUEST_TIMEOUT: Duration = Duration::from_secs(120);

/// Everything below `/scim/v2/{slug}`.
pub fn router(app: Arc<App>) -> Router {
    let tenant = Router::new()
        .route("/", get(root::list))
        .route("/.search", post(root::search))
        .route("/Users", get(users::list).post(users::create))
        .route("/Users/.search", post(users::search))
        .route("/Users/{id}", get(users::get).put(users::replace).patch(users::patch).delete(users::delete))
        .route("/Groups", get(groups::list).post(groups::create))
        .route("/Groups/.search", post(groups::search))
        .route("/Groups/{id}", get(groups::get).put(groups::replace).patch(groups::patch).delete(groups::delete))
        .route("/ServiceProviderConfig", get(discovery::service_provider_config))
        .route("/ResourceTypes", get(discovery::resource_types))
        .route("/ResourceTypes/{name}", get(discovery::resource_type))
        .route("/Schemas", get(discovery::schemas))
        .route("/Schemas/{urn}", get(discovery::schema))
        .route("/Me", axum::routing::any(not_offered))
        .route("/Bulk", post(bulk::run).layer(DefaultBodyLimit::max(bulk::MAX_PAYLOAD)))
        .fallback(nowhere)
        .method_not_allowed_fallback(wrong_method);
    listened_to(tenant, app)
}

/// What stands around every handler: whatever becomes of a request, also of one that breaks its handler off, is
/// counted and, if it is work for somebody, put into the review queue.
fn listened_to(tenant: Router<Arc<App>>, app: Arc<App>) -> Router {
    Router::new()
        .nest("/scim/v2/{slug}", tenant)
        .layer(middleware::from_fn(limit_time))
        .layer(CatchPanicLayer::custom(|_: Box<dyn Any + Send>| broken_off()))
        .layer(middleware::from_fn_with_state(app.clone(), log::listen))
        .layer(middleware::from_fn(wire::name_media_type))
        .layer(middleware::from_fn(wire::name_request))
        .with_state(app)
}

/// Ends a request that takes too long, and answers after what it had begun in the database was undone.
async fn limit_time(mut request: Request, next: middleware::Next) -> Response {
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let is_large = length.is_none_or(|length: usize| length > wire::MAX_BODY) && request.method() != Method::GET;
    let limit = if is_large { LARGE_REQUEST_TIMEOUT } else { REQUEST_TIMEOUT };
    let reads = request.method() == Method::GET || request.uri().path().ends_with("/.search");
    // The same id in the answer, in the ledger and in the log.
    let request_id = wire::request_id(request.headers());
    if let Ok(value) = HeaderValue::from_str(&request_id.to_string()) {
        request.headers_mut().insert("x-request-id", value);
    }
    match within(limit, next.run(request)).await {
        Some(response) => response,
        None if reads => {
            Failure::from(Error::Busy(format!("it took longer than {} s", limit.as_secs()))).into_response()
        }
        None => Failure::from(Error::OutcomeUnknown { request_id }).into_response(),
    }
}

/// The answer of a handler that did not come to its end: a transaction that was open is undone.
fn broken_off() -> Response {
    tracing::error!("a SCIM request was broken off by a fault of ours");
    Failure::plain(StatusCode::INTERNAL_SERVER_ERROR, "something went wrong here").into_response()
}

/// What became of a write that was done again.
#[derive(Debug, Clone)]
pub enum Replayed {
    Done,
    Refused(Refusal),
}

/// Does a write again, as the connection whose `cx` this is: the same code as when it arrives over the network, behind
/// the credential.
///
/// # Errors
/// [`Error::Internal`] for a write that is no request.
pub async fn replay(cx: &Cx, slug: &str, write: &Payload) -> Result<Replayed> {
    let fault = |error: axum::http::Error| Error::Internal(error.to_string());
    let request = Request::builder().method(write.method.as_str()).uri(format!("/scim/v2/{slug}{}", write.path));
    let request = request.header(header::CONTENT_TYPE, "application/scim+json");
    let mut request = request.body(write.body.clone().map_or_else(Body::empty, Body::from)).map_err(fault)?;
    request.extensions_mut().insert(Replay { cx: cx.clone(), slug: slug.to_owned() });
    let response = match router(cx.app.clone()).oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let status = response.status();
    // What was to be deleted and is not there is as it should be.
    if status.is_success() || (write.method == "DELETE" && status == StatusCode::NOT_FOUND) {
        return Ok(Replayed::Done);
    }
    let unknown = Refusal { reason: "INTERNAL", scim_type: None, field: None };
    let mut refusal = response.extensions().get::<Refusal>().cloned().unwrap_or(unknown);
    let types = types(cx).await?;
    refusal.field = refusal.field.and_then(|field| log::known(Some(&types), field));
    Ok(Replayed::Refused(refusal))
}

/// Takes the slashes away that say nothing: clients put `/Users` behind a base URL that somebody pasted with a final
/// slash. To be called before a request is routed.
pub async fn without_spare_slashes(mut request: Request) -> Request {
    let uri = request.uri();
    let path = uri.path();
    if !path.contains("/scim/v2/") || !(path.contains("//") || path.ends_with('/')) {
        return request;
    }
    let mut tidy: String = path.split('/').filter(|part| !part.is_empty()).flat_map(|part| ["/", part]).collect();
    uri.query().iter().for_each(|query| tidy.extend(["?", query]));
    if let Ok(uri) = Uri::try_from(tidy) {
        request.extensions_mut().insert(OriginalUri(uri.clone()));
        *request.uri_mut() = uri;
    }
    request
}

/// RFC 7644 section 3.11: `/Me` of a token that stands for no user; section 3.12: an unsupported operation is 501.
async fn not_offered(_: Caller) -> Result<(), Failure> {
    Err(Error::Unsupported("this endpoint is not offered; see ServiceProviderConfig".into()).into())
}

async fn nowhere(_: Caller) -> Result<(), Failure> {
    Err(Error::not_found("this endpoint").into())
}

async fn wrong_method(_: Caller) -> Result<(), Failure> {
    Err(Failure::method_not_allowed())
}
