//! Requests of web pages that come from another origin (CORS, Fetch standard section 3.2), for the
//! origins that the operator lists.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

/// How long a browser may remember the answer to a preflight. Chromium remembers none for longer.
const PREFLIGHT_LIFETIME: Duration = Duration::from_secs(2 * 60 * 60);

/// The headers of answers that a page's script may read, beside those that it always may.
const EXPOSED_HEADERS: [HeaderName; 6] = [
    HeaderName::from_static("x-request-id"),
    header::RETRY_AFTER,
    HeaderName::from_static("idempotency-replayed"),
    header::CONTENT_DISPOSITION,
    header::WWW_AUTHENTICATE,
    header::ALLOW,
];

/// Answers preflights, before anything asks for a credential, and marks the other answers; none if
/// no origin is listed.
///
/// Credentials are bearer tokens, which a page sends by itself and a browser never adds. So a page
/// may send any header, and cookies are not allowed.
pub fn build_cors_layer(origins: &[HeaderValue]) -> Option<CorsLayer> {
    (!origins.is_empty()).then(|| {
        CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins.iter().cloned()))
            .allow_methods([Method::GET, Method::POST])
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers(EXPOSED_HEADERS)
            .max_age(PREFLIGHT_LIFETIME)
    })
}
