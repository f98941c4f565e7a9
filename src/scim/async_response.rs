//! `Prefer: respond-async` (RFC 9967 section 2.5.1): a write of one user or group, or a Bulk
//! request, is accepted with 202 and carried out after its answer. It is done where the
//! organization has a stream of security event tokens, which tells the result, for each operation
//! of a Bulk request its own; elsewhere a write is answered as ever.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tower::ServiceExt;
use uuid::Uuid;

use crate::context::{App, Cx};
use crate::domain::connection::async_request;
use crate::domain::connection::async_request::bulk::DeferredBulk;
use crate::domain::connection::async_request::{AsyncOutcome, AsyncPayload};
use crate::domain::signal::stream;
use crate::error::{Error, Result};
use crate::scim::bulk;
use crate::scim::http;
use crate::scim::http::{MAX_BODY, ScimCaller, ScimFailure, ScimReplay};

const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
const SET_TXN: HeaderName = HeaderName::from_static("set-txn");
/// The preference (RFC 7240 section 4.1).
const RESPOND_ASYNC: &str = "respond-async";
/// The endpoint of many operations.
const BULK: &str = "Bulk";

/// A write that is to be answered before it is carried out.
struct WantedWrite {
    slug: String,
    /// The endpoint, and the id of a resource.
    path: String,
}

/// Runs around every request of a tenant.
pub async fn respond_async(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let Some(wanted) = wanted_write(&request) else { return next.run(request).await };
    match stream::has_streams(&app, &wanted.slug).await {
        Ok(true) => {}
        Ok(false) => return next.run(request).await,
        Err(error) => return ScimFailure::from(error).into_response(),
    }
    accept_write(&app, wanted, request).await.unwrap_or_else(IntoResponse::into_response)
}

fn wanted_write(request: &Request) -> Option<WantedWrite> {
    let prefers = prefers_async(request.headers());
    if !prefers || request.extensions().get::<ScimReplay>().is_some() {
        return None;
    }
    let (_, path) = request.uri().path().split_once("/scim/v2/")?;
    let (slug, path) = path.split_once('/')?;
    let (endpoint, id) = path.split_once('/').map_or((path, None), |(a, b)| (a, Some(b)));
    let known = matches!(endpoint, "Users" | "Groups" | BULK);
    let fits = match (request.method(), id) {
        (&Method::POST, None) => true,
        _ if endpoint == BULK => false,
        (&Method::PUT | &Method::PATCH | &Method::DELETE, Some(id)) => {
            !id.is_empty() && !id.contains('/')
        }
        _ => false,
    };
    (known && fits).then(|| WantedWrite { slug: slug.to_owned(), path: format!("/{path}") })
}

fn prefers_async(headers: &HeaderMap) -> bool {
    let values = headers.get_all(PREFER).into_iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .filter_map(|preference| preference.split(';').next())
        .any(|name| name.trim().eq_ignore_ascii_case(RESPOND_ASYNC))
}

async fn accept_write(
    app: &Arc<App>,
    wanted: WantedWrite,
    request: Request,
) -> Result<Response, ScimFailure> {
    let (mut parts, body) = request.into_parts();
    let caller = ScimCaller::from_request_parts(&mut parts, app).await?;
    let is_bulk = wanted.path.trim_start_matches('/') == BULK;
    let most = if is_bulk { bulk::MAX_PAYLOAD_BYTES } else { MAX_BODY };
    let mut operations = Vec::new();
    let body = match parts.method {
        Method::DELETE => None,
        _ => {
            http::check_media_type(&parts.headers)?;
            let bytes = to_bytes(body, most).await.map_err(|_| http::too_large(most))?;
            let bytes = http::strip_byte_order_mark(bytes, &caller.note);
            if is_bulk {
                operations = bulk::list_deferred_operations(&caller, &bytes)?;
            } else {
                http::parse_object(&bytes)?;
            }
            Some(String::from_utf8_lossy(&bytes).into_owned())
        }
    };
    // A header that is not text names no version, but the precondition must not be dropped.
    let text = |name: HeaderName| {
        let value = parts.headers.get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let payload = AsyncPayload {
        method: parts.method.to_string(),
        path: wanted.path,
        body,
        if_match: text(header::IF_MATCH),
        if_none_match: text(header::IF_NONE_MATCH),
        operations,
    };
    // It is recorded when it is carried out.
    caller.note.leave_out();
    let id = async_request::accept_request(&caller.cx, &payload).await?;
    let mut response = StatusCode::ACCEPTED.into_response();
    let location = format!("{}{}", caller.base_url, payload.path);
    for (name, value) in [
        (SET_TXN, id.to_string()),
        (PREFERENCE_APPLIED, RESPOND_ASYNC.to_owned()),
        (header::LOCATION, location),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

/// Carries out a request that was accepted before, as the connection of `cx`. It runs the same code
/// as one that arrives over the network, after the check of the credential. `bulk` has what earlier
/// runs did of a Bulk request.
///
/// # Errors
/// [`Error::Internal`] if it is not a valid request.
pub async fn carry_out_request(
    cx: &Cx,
    slug: &str,
    payload: &AsyncPayload,
    bulk: Option<Arc<DeferredBulk>>,
) -> Result<AsyncOutcome> {
    let fault = |error: axum::http::Error| Error::Internal(error.to_string());
    let mut request = Request::builder()
        .method(payload.method.as_str())
        .uri(format!("/scim/v2/{slug}{}", payload.path))
        .header(header::CONTENT_TYPE, "application/scim+json")
        .header("x-request-id", cx.request_id.to_string());
    let conditions =
        [(header::IF_MATCH, &payload.if_match), (header::IF_NONE_MATCH, &payload.if_none_match)];
    for (name, value) in conditions {
        if let Some(value) = value {
            request = request.header(name, value);
        }
    }
    let body = payload.body.clone().map_or_else(Body::empty, Body::from);
    let mut request = request.body(body).map_err(fault)?;
    let replay = ScimReplay { cx: cx.clone(), slug: slug.to_owned(), recorded: true };
    request.extensions_mut().insert(replay);
    if let Some(bulk) = bulk {
        request.extensions_mut().insert(bulk);
    }
    let response = match super::build_router(cx.app.clone()).oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let header = |name: HeaderName| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
    let location = header(header::LOCATION);
    let named = location.as_deref().unwrap_or(&payload.path);
    let resource = named.rsplit('/').next().and_then(|id| Uuid::try_parse(id).ok());
    let refusal = response.extensions().get::<crate::buffers::request_counts::RequestRefusal>();
    Ok(AsyncOutcome {
        status: response.status().as_u16(),
        version: header(header::ETAG),
        scim_type: refusal.and_then(|refusal| refusal.scim_type).map(Into::into),
        location,
        resource,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(method: Method, path: &str, prefer: &str) -> Option<String> {
        let request = Request::builder().method(method).uri(path).header(PREFER, prefer);
        wanted_write(&request.body(Body::empty()).unwrap()).map(|wanted| wanted.path)
    }

    #[test]
    fn writes_are_deferred() {
        let later = |method, path| wanted(method, path, "return=minimal, Respond-Async; x=1");
        assert_eq!(later(Method::POST, "/scim/v2/acme/Users").unwrap(), "/Users");
        assert_eq!(later(Method::PUT, "/pp/scim/v2/acme/Groups/1").unwrap(), "/Groups/1");
        assert_eq!(later(Method::DELETE, "/scim/v2/acme/Users/1").unwrap(), "/Users/1");
        assert_eq!(later(Method::POST, "/scim/v2/acme/Bulk").unwrap(), "/Bulk");
        for (method, path) in [
            (Method::GET, "/scim/v2/acme/Users"),
            (Method::PUT, "/scim/v2/acme/Bulk"),
            (Method::DELETE, "/scim/v2/acme/Bulk/1"),
            (Method::POST, "/scim/v2/acme/Users/.search"),
            (Method::PUT, "/scim/v2/acme/Users"),
            (Method::DELETE, "/scim/v2/acme/Users/1/x"),
        ] {
            assert_eq!(later(method, path), None, "{path}");
        }
        assert_eq!(wanted(Method::POST, "/scim/v2/acme/Users", "wait=10"), None);
    }
}
