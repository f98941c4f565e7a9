//! What the console's answers share: security headers, conditional requests, codings, the form of
//! errors, and the check of where a request comes from.

use axum::Json;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde_json::json;
use uuid::Uuid;

use super::files::{ConsoleFile, ContentCoding};
use crate::context::App;
use crate::error::{Error, UNAVAILABLE_RETRY_AFTER_SECONDS};

/// The browser loads scripts, styles, fonts and data from this server only, and runs nothing that
/// stands in a page; no other page may frame it.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                                       img-src 'self' data:; font-src 'self'; connect-src 'self'; \
                                       base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The security headers of all answers.
const SECURITY_HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // The address of a page can contain names of people; links lead to vendors' consoles.
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=(), \
         clipboard-read=()",
    ),
];

/// The largest body of a redemption, in bytes.
const MAX_BODY_BYTES: usize = 4 * 1024;

/// Adds the security headers to an answer.
pub async fn add_security_headers(mut response: Response) -> Response {
    for (name, value) in SECURITY_HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The answer with a file: in the smallest coding that the client accepts, or 304 if the client has
/// it already.
pub fn build_file_response(file: &ConsoleFile, headers: &HeaderMap) -> Response {
    let coding = choose_coding(headers, file.codings());
    let tag = match coding.name() {
        Some(name) => format!("\"{}-{name}\"", file.version),
        None => format!("\"{}\"", file.version),
    };
    let mut response = if is_known(headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = file.encode(coding).into_response();
        let fields = response.headers_mut();
        fields.insert(header::CONTENT_TYPE, file.content_type.clone());
        if let Some(name) = coding.name() {
            fields.insert(header::CONTENT_ENCODING, HeaderValue::from_static(name));
        }
        response
    };
    let fields = response.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        fields.insert(header::ETAG, tag);
    }
    let caching = if file.is_hashed { "public, max-age=31536000, immutable" } else { "no-cache" };
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    if file.codings().len() > 1 {
        fields.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    response
}

/// Whether the client holds the version with this tag (RFC 9110 section 13.1.2).
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let lines = headers.get_all(header::IF_NONE_MATCH).iter();
    let mut tags = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
    tags.any(|known| {
        let known = known.trim();
        known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag
    })
}

/// The first of `offered` that the client likes best (RFC 9110 section 12.5.3). Without the header
/// a client gets the file as it is.
fn choose_coding(headers: &HeaderMap, offered: &'static [ContentCoding]) -> ContentCoding {
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter();
    let lines: Vec<_> = lines.filter_map(|line| line.to_str().ok()).collect();
    let wanted: Vec<(&str, f32)> =
        lines.iter().flat_map(|line| line.split(',')).map(parse_coding).collect();
    let quality = |name: &str| {
        let named = |name: &str| wanted.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        named(name).or_else(|| named("*")).map(|(_, quality)| *quality)
    };
    let mut best = (ContentCoding::Identity, 0.0);
    for coding in offered {
        let quality = match coding.name() {
            Some(name) => quality(name).unwrap_or_default(),
            // Always acceptable unless it is excluded, and better than nothing.
            None => quality("identity").unwrap_or(f32::MIN_POSITIVE),
        };
        if quality > best.1 {
            best = (*coding, quality);
        }
    }
    best.0
}

/// A coding and its quality, as `gzip;q=0.8`.
fn parse_coding(text: &str) -> (&str, f32) {
    let (name, parameters) = text.split_once(';').unwrap_or((text, ""));
    let quality = parameters.trim().strip_prefix("q=").map_or(Some(1.0), |q| q.trim().parse().ok());
    (name.trim(), quality.unwrap_or(0.0))
}

/// Why a request of the console failed, as the page shows it.
#[derive(Debug)]
pub struct ConsoleFailure {
    status: StatusCode,
    code: &'static str,
    message: String,
    next_step: &'static str,
    retry_after: Option<u64>,
}

impl ConsoleFailure {
    /// A failure with a code that clients compare, and what the person can do.
    pub fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<String>,
        next_step: &'static str,
    ) -> Self {
        Self { status, code, message: message.into(), next_step, retry_after: None }
    }

    fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message, REPORT_NEXT_STEP)
    }

    /// The failure of a request with this id. Details of internal errors go only to the log.
    pub fn from_error(error: &Error, request_id: Uuid) -> Self {
        let (status, code, next_step) = match error {
            Error::Limited { .. } => (
                StatusCode::TOO_MANY_REQUESTS,
                "RATE_LIMITED",
                "Wait a moment, and open the link again.",
            ),
            Error::Held { reason, .. } => (
                StatusCode::CONFLICT,
                reason.as_str(),
                "Ask the administrator who gave you the link.",
            ),
            Error::Forbidden(_) => {
                (StatusCode::FORBIDDEN, "FORBIDDEN", "Ask the administrator who gave you the link.")
            }
            Error::Unavailable(_) | Error::Busy(_) | Error::OutcomeUnknown { .. } => {
                tracing::warn!(%request_id, %error, "a request of the console failed");
                (
                    StatusCode::SERVICE_UNAVAILABLE,
                    "UNAVAILABLE",
                    "Wait a few seconds, and try again.",
                )
            }
            _ => {
                tracing::error!(%request_id, %error, "a request of the console failed");
                return Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "INTERNAL",
                    format!("Something went wrong here (request {request_id})."),
                    REPORT_NEXT_STEP,
                );
            }
        };
        let mut failure = Self::new(status, code, error.to_string(), next_step);
        failure.retry_after = match error {
            Error::Limited { seconds } => Some(*seconds),
            _ if status == StatusCode::SERVICE_UNAVAILABLE => Some(UNAVAILABLE_RETRY_AFTER_SECONDS),
            _ => None,
        };
        failure
    }
}

/// What to do about a fault of a program.
const REPORT_NEXT_STEP: &str = "Tell the operator of this server.";

impl IntoResponse for ConsoleFailure {
    fn into_response(self) -> Response {
        let Self { status, code, message, next_step, retry_after } = self;
        let body = json!({ "code": code, "message": message, "nextStep": next_step });
        let mut response = (status, Json(body)).into_response();
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The JSON object in the body of a redemption.
///
/// # Errors
/// A [`ConsoleFailure`] for another media type, a body that is too large, and another form.
pub async fn read_json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
) -> Result<T, ConsoleFailure> {
    let media_type = headers.get(header::CONTENT_TYPE);
    let media_type = media_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    // A form of another site cannot send this type.
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(ConsoleFailure::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "MEDIA_TYPE",
            "Send the request as application/json.",
            REPORT_NEXT_STEP,
        ));
    }
    let bytes: Bytes = to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| {
        ConsoleFailure::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "TOO_LARGE",
            format!("The body is larger than {MAX_BODY_BYTES} bytes, or did not arrive."),
            REPORT_NEXT_STEP,
        )
    })?;
    // The error would repeat what was sent, which is a secret.
    serde_json::from_slice(&bytes)
        .map_err(|_| ConsoleFailure::bad_request("The body is not the JSON object that is needed."))
}

/// Refuses a request that a page of another site makes a browser send. Browsers say where a request
/// comes from; other clients do not, and need no protection from pages.
///
/// # Errors
/// A [`ConsoleFailure`] with 403.
pub fn check_origin(app: &App, headers: &HeaderMap) -> Result<(), ConsoleFailure> {
    let text = |name: &HeaderName| {
        headers.get(name).map(|value| value.to_str().unwrap_or("unreadable").to_owned())
    };
    let site = text(&HeaderName::from_static("sec-fetch-site"));
    let same_site = site.as_deref().is_none_or(|site| matches!(site, "same-origin" | "none"));
    let same_origin = match text(&header::ORIGIN).as_deref() {
        None => true,
        // A page that sends no referrer may send no origin either; then the other header decides.
        Some("null") => site.as_deref() == Some("same-origin"),
        Some(origin) => is_own_origin(app, headers, origin),
    };
    if same_site && same_origin {
        return Ok(());
    }
    Err(ConsoleFailure::new(
        StatusCode::FORBIDDEN,
        "FOREIGN_ORIGIN",
        "A page of another site sent this request, so nothing was done.",
        "Open the link in a new tab.",
    ))
}

/// Whether an origin is that of the public URL, or that of the address that the browser used.
fn is_own_origin(app: &App, headers: &HeaderMap, origin: &str) -> bool {
    let authority = |url: &str| Uri::try_from(url).ok()?.into_parts().authority;
    let Some(sent) = authority(origin) else { return false };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    host.is_some_and(|host| host.eq_ignore_ascii_case(sent.as_str()))
        || authority(&app.config.public_url).is_some_and(|own| {
            let secure = |url: &str| url.starts_with("https://");
            own == sent && secure(origin) == secure(&app.config.public_url)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &[ContentCoding] =
        &[ContentCoding::Brotli, ContentCoding::Gzip, ContentCoding::Identity];

    #[test]
    fn best_accepted_coding_is_chosen() {
        for (accepted, chosen) in [
            (None, ContentCoding::Identity),
            (Some("gzip, deflate, br, zstd"), ContentCoding::Brotli),
            (Some("gzip"), ContentCoding::Gzip),
            (Some("GZIP;q=0.5"), ContentCoding::Gzip),
            (Some("br;q=0, gzip"), ContentCoding::Gzip),
            (Some("br;q=0.1, gzip;q=0.9"), ContentCoding::Gzip),
            (Some("*"), ContentCoding::Brotli),
            (Some("*;q=0, identity"), ContentCoding::Identity),
            (Some("zstd"), ContentCoding::Identity),
            (Some("identity"), ContentCoding::Identity),
            (Some(""), ContentCoding::Identity),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accepted) = accepted {
                headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(accepted));
            }
            assert_eq!(choose_coding(&headers, ALL), chosen, "{accepted:?}");
        }
    }
}
