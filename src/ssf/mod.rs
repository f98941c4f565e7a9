//! The Shared Signals Framework 1.0: receivers manage their streams of security event tokens here,
//! and poll them (RFC 8936). Each organization is a transmitter of its own.
//!
//! This module translates and decides nothing: a request becomes a call into `domain::signal`.
//! Every handler but those of public metadata takes a [`StreamCaller`](http::StreamCaller), so no
//! handler runs before the credential is checked. What must never enter: a database query, a key.

mod http;
mod metadata;
mod poll;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::context::{App, run_within};
use http::StreamFailure;

/// The time limit of a request; a poll may wait for events a part of it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(40);
/// The metadata of a transmitter, before the path of its issuer (SSF section 7.2).
const METADATA_PATH: &str = "/.well-known/ssf-configuration";

/// The routes: metadata, keys, the management of streams, and polling.
pub fn build_router(app: Arc<App>) -> Router {
    let managed = Router::new()
        .route(
            "/ssf/{organization}/streams",
            get(stream::handle_read)
                .post(stream::handle_create)
                .patch(stream::handle_update)
                .put(stream::handle_replace)
                .delete(stream::handle_delete),
        )
        .route(
            "/ssf/{organization}/status",
            get(stream::handle_read_status).post(stream::handle_update_status),
        )
        .route("/ssf/{organization}/subjects/add", post(stream::handle_add_subject))
        .route("/ssf/{organization}/subjects/remove", post(stream::handle_remove_subject))
        .route("/ssf/{organization}/verification", post(stream::handle_verification))
        .route("/ssf/{organization}/streams/{id}/poll", post(poll::handle_poll))
        .method_not_allowed_fallback(refuse_method)
        .layer(middleware::from_fn(limit_time));
    let mut routes = managed
        .route(&format!("{METADATA_PATH}/ssf/{{organization}}"), get(metadata::handle_metadata))
        .route("/ssf/{organization}/jwks.json", get(metadata::handle_keys));
    // Where the public URL has a path, the well-known part stands before that path (RFC 8615).
    if let Some(path) = public_path(&app) {
        let whole = format!("{METADATA_PATH}{path}/ssf/{{organization}}");
        routes = routes.route(&whole, get(metadata::handle_metadata));
    }
    routes.with_state(app)
}

/// The path of the public URL, if it has one: `/pp`.
fn public_path(app: &App) -> Option<String> {
    app.config.public_url.splitn(4, '/').nth(3).map(|path| format!("/{path}"))
}

async fn limit_time(request: Request, next: Next) -> Response {
    match run_within(REQUEST_TIMEOUT, next.run(request)).await {
        Some(response) => response,
        None => {
            let why = format!("it took longer than {} s", REQUEST_TIMEOUT.as_secs());
            StreamFailure::new(StatusCode::SERVICE_UNAVAILABLE, why).into_response()
        }
    }
}

async fn refuse_method() -> StreamFailure {
    let why = "this endpoint does not take that method";
    StreamFailure::new(StatusCode::METHOD_NOT_ALLOWED, why)
}
