//! What a receiver reads without a credential: the transmitter's metadata (SSF section 7) and the
//! keys of its tokens.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::http::{StreamFailure, json_response};
use crate::context::App;
use crate::domain::signal::stream;
use crate::error::{Error, Noun};

/// How a delivery is named: push (RFC 8935) and poll (RFC 8936).
pub const PUSH_METHOD: &str = "urn:ietf:rfc:8935";
pub const POLL_METHOD: &str = "urn:ietf:rfc:8936";

/// `GET /.well-known/ssf-configuration/ssf/{organization}`.
pub async fn handle_metadata(
    State(app): State<Arc<App>>,
    Path(slug): Path<String>,
) -> Result<Response, StreamFailure> {
    if !stream::may_be_issuer(&slug) {
        return Err(Error::not_found(Noun::Organization).into());
    }
    let issuer = stream::issuer(&app, &slug);
    let url = |path: &str| format!("{issuer}/{path}");
    let metadata = json!({
        "spec_version": "1_0",
        "issuer": issuer,
        "jwks_uri": url("jwks.json"),
        "delivery_methods_supported": [PUSH_METHOD, POLL_METHOD],
        "configuration_endpoint": url("streams"),
        "status_endpoint": url("status"),
        "add_subject_endpoint": url("subjects/add"),
        "remove_subject_endpoint": url("subjects/remove"),
        "verification_endpoint": url("verification"),
        // A bearer token (RFC 6750); which ones are accepted is in the documentation.
        "authorization_schemes": [{ "spec_urn": "urn:ietf:rfc:6750" }],
        "default_subjects": "ALL",
    });
    Ok(with_caching(json_response(StatusCode::OK, &metadata), "public, max-age=3600"))
}

/// `GET /ssf/{organization}/jwks.json`.
pub async fn handle_keys(
    State(app): State<Arc<App>>,
    Path(slug): Path<String>,
) -> Result<Response, StreamFailure> {
    let keys = stream::public_key_set(&app, &slug).await?;
    Ok(with_caching(json_response(StatusCode::OK, &keys), "public, max-age=300"))
}

fn with_caching(mut response: Response, policy: &'static str) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(policy));
    response.into_response()
}
