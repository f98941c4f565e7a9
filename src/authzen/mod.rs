//! The AuthZEN interface (OpenID Authorization API 1.0): backends of applications ask here whether
//! a person may do something.
//!
//! This module translates and decides nothing: a question becomes a call into `domain`, and its
//! result becomes AuthZEN JSON. The role permission `charts:read` is the action `read` on resources
//! of the type `charts`; the ids of resources are accepted and not looked at. Every handler takes a
//! [`DecisionCaller`](http::DecisionCaller), so no handler runs before the credential is checked.
//! What must never enter: a database query, a rule about access.

mod entity;
mod evaluation;
mod http;
mod metadata;
mod search;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::context::{App, run_within};
use http::DecisionFailure;

/// The time limit of a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The endpoints, below the public URL.
const EVALUATION_PATH: &str = "/access/v1/evaluation";
const EVALUATIONS_PATH: &str = "/access/v1/evaluations";
const SUBJECT_SEARCH_PATH: &str = "/access/v1/search/subject";
const ACTION_SEARCH_PATH: &str = "/access/v1/search/action";
/// The metadata, at the root of the public URL's host.
const METADATA_PATH: &str = "/.well-known/authzen-configuration";

/// The routes: decisions, searches, and the metadata that names them.
pub fn build_router(app: Arc<App>) -> Router {
    let questions = Router::new()
        .route(EVALUATION_PATH, post(evaluation::handle_evaluation))
        .route(EVALUATIONS_PATH, post(evaluation::handle_evaluations))
        .route(SUBJECT_SEARCH_PATH, post(search::handle_subject_search))
        .route(ACTION_SEARCH_PATH, post(search::handle_action_search))
        .method_not_allowed_fallback(refuse_method)
        .layer(middleware::from_fn(limit_time));
    let mut routes = questions.route(METADATA_PATH, get(metadata::handle_metadata));
    // Where the public URL has a path, the well-known part stands before that path (RFC 8615).
    if let Some(path) = metadata::public_path(&app) {
        routes = routes.route(&format!("{METADATA_PATH}{path}"), get(metadata::handle_metadata));
    }
    routes.layer(middleware::from_fn(http::echo_request_id)).with_state(app)
}

/// Ends a request that takes too long. It changes nothing, so it can be sent again.
async fn limit_time(request: Request, next: Next) -> Response {
    match run_within(REQUEST_TIMEOUT, next.run(request)).await {
        Some(response) => response,
        None => {
            let why = format!("it took longer than {} s", REQUEST_TIMEOUT.as_secs());
            DecisionFailure::new(StatusCode::SERVICE_UNAVAILABLE, why).into_response()
        }
    }
}

async fn refuse_method() -> Response {
    let failure = DecisionFailure::new(StatusCode::METHOD_NOT_ALLOWED, "send a POST request");
    let mut response = failure.into_response();
    response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("POST"));
    response
}
