//! The routes of sign-ins. `POST /assertions/{slug}`: an application's backend hands over what it
//! got at a sign-in, and is told who it is and which roles the person has now.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;

use super::answer::{SignInFailure, describe_sign_in};
use super::logout::receive_logout;
use super::relying_party;
use super::relying_party::saml_service;
use super::repeat;
use super::submit::{SubmittedAssertion, parse_connection, submit_assertion};
use crate::context::{App, Cx, run_within};
use crate::domain::tenant::organization;
use crate::error::{Error, Noun, Result};
use crate::request_head;

/// The name of this interface in the list of failed sign-ins.
const INTERFACE_NAME: &str = "assertions";
/// The largest body, in bytes. A response of SAML has some 10 KiB.
const MAX_BODY_BYTES: usize = 512 * 1024;
/// The longest idempotency key.
const MAX_IDEMPOTENCY_KEY: usize = 255;
/// The time limit of a request. It may fetch the keys of an identity provider.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// The routes.
pub fn build_router(app: Arc<App>) -> Router {
    Router::new()
        .route("/assertions/{slug}", post(post_assertion).fallback(refuse_method))
        .route("/sign-in/{slug}", get(relying_party::begin_sign_in))
        .route("/sign-in/{slug}/callback", get(relying_party::end_shared_sign_in))
        .route("/sign-in/{slug}/oidc/{connection}/callback", get(relying_party::end_sign_in))
        .route("/sign-in/{slug}/sign-out", get(relying_party::sign_out))
        .route("/sign-in/{slug}/redeem", post(relying_party::redeem_code).fallback(refuse_method))
        .route("/sign-in/{slug}/saml/{connection}/metadata", get(saml_service::show_metadata))
        .route(
            "/sign-in/{slug}/saml/{connection}/consume",
            post(saml_service::consume_response).fallback(refuse_method),
        )
        .route(
            "/sign-in/{slug}/oidc/{connection}/logout",
            post(receive_logout).fallback(refuse_method),
        )
        .layer(middleware::from_fn(limit_time))
        .with_state(app)
}

/// Ends a request that takes too long. What was handed over can be handed over again.
async fn limit_time(request: Request, next: Next) -> Response {
    match run_within(REQUEST_TIMEOUT, next.run(request)).await {
        Some(response) => response,
        None => SignInFailure::of_timeout().into_response(),
    }
}

async fn refuse_method() -> Response {
    let failure = SignInFailure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "METHOD_NOT_ALLOWED",
        "send a POST request",
    );
    let mut response = failure.into_response();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    response
}

#[derive(Deserialize)]
struct AssertionQuery {
    /// The connection, by its UUID.
    connection: Option<String>,
}

async fn post_assertion(
    State(app): State<Arc<App>>,
    Path(slug): Path<String>,
    query: Query<AssertionQuery>,
    request: Request,
) -> Result<Response, SignInFailure> {
    let (parts, body) = request.into_parts();
    let cx = authenticate_key(&app, &parts.headers, &parts.extensions, INTERFACE_NAME).await?;
    check_organization(&cx, &slug).await?;
    let named = query.connection.as_deref().map(parse_connection).transpose()?;
    let key = read_idempotency_key(&parts.headers)?;
    let assertion = read_assertion(&parts.headers, body, key.clone()).await?;
    if let Some(key) = key {
        return repeat::answer_once(cx, named, assertion, &key).await;
    }
    let done = submit_assertion(&cx, named, &assertion).await?;
    Ok(Json(describe_sign_in(&done)).into_response())
}

/// Refuses an address that is not the caller's organization's: it does not exist.
pub(super) async fn check_organization(cx: &Cx, slug: &str) -> Result<()> {
    if organization::current_organization(cx).await?.slug == slug {
        Ok(())
    } else {
        Err(Error::not_found(Noun::Organization))
    }
}

async fn read_assertion(
    headers: &HeaderMap,
    body: Body,
    idempotency_key: Option<String>,
) -> Result<SubmittedAssertion, SignInFailure> {
    let bytes = to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| {
        let why = format!("the body is larger than {MAX_BODY_BYTES} bytes, or did not arrive");
        SignInFailure::new(StatusCode::PAYLOAD_TOO_LARGE, "TOO_LARGE", why)
    })?;
    let media_type = headers.get(header::CONTENT_TYPE);
    let media_type = media_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/jwt" => {
            let token = String::from_utf8(bytes.to_vec()).map_err(|_| {
                SignInFailure::new(StatusCode::BAD_REQUEST, "UNREADABLE", "the body is not a JWT")
            })?;
            Ok(SubmittedAssertion::IdToken(token.trim().to_owned()))
        }
        "application/x-www-form-urlencoded" => {
            let form = SamlForm::read_form(&bytes)?;
            Ok(SubmittedAssertion::SamlResponse {
                response: form.response,
                request_id: form.request_id,
                idempotency_key,
            })
        }
        _ => Err(SignInFailure::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "MEDIA_TYPE",
            "send an ID token as application/jwt, or a response of SAML as the field SAMLResponse \
             of a form (application/x-www-form-urlencoded)",
        )),
    }
}

/// The fields of a form with a response of SAML.
pub(super) struct SamlForm {
    pub response: String,
    /// Set by the application: the id of its request.
    pub request_id: Option<String>,
    /// Set by the identity provider: what came with our request.
    pub relay_state: Option<String>,
}

impl SamlForm {
    /// Reads a form in which each field stands once.
    pub(super) fn read_form(bytes: &[u8]) -> Result<Self, SignInFailure> {
        let (mut response, mut request_id, mut relay_state) = (None, None, None);
        for (name, value) in url::form_urlencoded::parse(bytes) {
            let place = match name.as_ref() {
                "SAMLResponse" => &mut response,
                "requestId" => &mut request_id,
                "RelayState" => &mut relay_state,
                _ => continue,
            };
            if place.replace(value.into_owned()).is_some() {
                let why = format!("the form has the field {name} twice");
                return Err(SignInFailure::new(StatusCode::BAD_REQUEST, "UNREADABLE", why));
            }
        }
        let response = response.ok_or_else(|| {
            let why = "the form has no field SAMLResponse";
            SignInFailure::new(StatusCode::BAD_REQUEST, "UNREADABLE", why)
        })?;
        let request_id = request_id.filter(|id| !id.is_empty());
        Ok(Self { response, request_id, relay_state })
    }

    /// Reads the body of a browser's request.
    pub(super) async fn receive_form(body: Body) -> Result<Self, SignInFailure> {
        let bytes = to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| {
            let why = format!("the body is larger than {MAX_BODY_BYTES} bytes, or did not arrive");
            SignInFailure::new(StatusCode::PAYLOAD_TOO_LARGE, "TOO_LARGE", why)
        })?;
        Self::read_form(&bytes)
    }
}

fn read_idempotency_key(headers: &HeaderMap) -> Result<Option<String>, SignInFailure> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let wrong = || {
        let why = format!("Idempotency-Key must be 1 to {MAX_IDEMPOTENCY_KEY} visible characters");
        SignInFailure::new(StatusCode::BAD_REQUEST, "INVALID", why)
    };
    let key = value.to_str().map_err(|_| wrong())?;
    if key.is_empty() || key.len() > MAX_IDEMPOTENCY_KEY {
        return Err(wrong());
    }
    Ok(Some(key.to_owned()))
}

/// Authenticates an application by its API key. Failed sign-ins are counted.
pub(super) async fn authenticate_key(
    app: &Arc<App>,
    headers: &HeaderMap,
    extensions: &Extensions,
    interface: &'static str,
) -> Result<Cx, SignInFailure> {
    let needed = CREDENTIAL_NEEDED;
    Ok(request_head::authenticate_api_key(app, headers, extensions, interface, needed).await?)
}

/// The error for a client without a credential that is accepted here.
const CREDENTIAL_NEEDED: &str = "send an API key (rck_) with the permission ASSERTION_WRITE as \
     \"Authorization: Bearer <key>\" (RFC 6750)";
