//! The metadata of this policy decision point (section 11 of the specification).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::authzen::{ACTION_SEARCH_PATH, EVALUATION_PATH, EVALUATIONS_PATH, SUBJECT_SEARCH_PATH};
use crate::context::App;

/// The path of the public URL, if it has one: `/pp`.
pub fn public_path(app: &App) -> Option<String> {
    app.config.public_url.splitn(4, '/').nth(3).map(|path| format!("/{path}"))
}

/// `GET /.well-known/authzen-configuration`. It needs no credential, and is the same for all
/// organizations: the key of a request decides about whose people it is.
pub async fn handle_metadata(State(app): State<Arc<App>>) -> Response {
    let base = &app.config.public_url;
    let url = |path: &str| format!("{base}{path}");
    let metadata = json!({
        "policy_decision_point": base,
        "access_evaluation_endpoint": url(EVALUATION_PATH),
        "access_evaluations_endpoint": url(EVALUATIONS_PATH),
        "search_subject_endpoint": url(SUBJECT_SEARCH_PATH),
        "search_action_endpoint": url(ACTION_SEARCH_PATH),
    });
    let caching = HeaderValue::from_static("public, max-age=3600");
    ([(header::CACHE_CONTROL, caching)], Json(metadata)).into_response()
}
