//! The SCIM door (RFC 7643, RFC 7644): identity providers write users and groups here.
//!
//! This wing translates and decides nothing: a request becomes a call into `domain`, an answer becomes SCIM
//! JSON. Every handler takes a [`wire::Caller`], so nothing runs before the credential was judged. What must
//! never enter: a database query, a rule about access.

mod bulk;
pub mod cursor;
mod discovery;
pub mod filter;
mod groups;
mod log;
mod meaning;
pub mod patch;
mod query;
mod quirk;
mod root;
pub mod schema;
mod users;
mod wire;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, OriginalUri, Request};
use axum::http::Uri;
use axum::middleware;
use axum::routing::{get, post};

use crate::context::App;
use crate::error::{Error, Result};
use wire::{Caller, Failure};

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
    Router::new()
        .nest("/scim/v2/{slug}", tenant)
        .layer(middleware::from_fn_with_state(app.clone(), log::listen))
        .layer(middleware::from_fn(wire::name_media_type))
        .with_state(app)
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
