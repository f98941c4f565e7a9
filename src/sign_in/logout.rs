//! `POST /sign-in/{slug}/oidc/{connection}/logout`: an OpenID provider says that a person's session
//! there is over, and the sessions of the console that came from it end (OpenID Connect
//! Back-Channel Logout 1.0).

use std::sync::Arc;

use axum::Json;
use axum::body::to_bytes;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use entity::request_log::Outcome;
use serde_json::json;

use super::oidc::TokenVerifier;
use super::submit::{note_request, parse_connection};
use crate::auth::policy::Actor;
use crate::context::{App, Cx};
use crate::domain::connection::assertion_source;
use crate::domain::connection::assertion_source::AcceptingConnection;
use crate::domain::sign_in::provider_session::end_sessions;
use crate::domain::sign_in::replay;
use crate::domain::tenant::organization;
use crate::domain::tenant::organization::suspended_error;
use crate::error::{Error, Noun, Result};
use crate::request_head::{client_ip, request_id};

/// The largest body: a token of 64 KiB, encoded.
const MAX_BODY_BYTES: usize = 80 * 1024;

/// Answers as section 2.8 of the standard says: 200 once the sessions have ended, 400 for what is
/// not to be believed. No answer may be stored.
pub(super) async fn receive_logout(
    State(app): State<Arc<App>>,
    Path((slug, connection)): Path<(String, String)>,
    request: Request,
) -> Response {
    let done = end_named_sessions(&app, &slug, &connection, request).await;
    let mut response = match done {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => refuse_logout(error),
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn end_named_sessions(
    app: &Arc<App>,
    slug: &str,
    connection: &str,
    request: Request,
) -> Result<()> {
    let (parts, body) = request.into_parts();
    app.assertion_limits.take_from_address(client_ip(&parts.extensions))?;
    let token = read_logout_token(body).await?;
    let found = organization::by_slug(app, slug).await?;
    let found = found.ok_or_else(|| Error::not_found(Noun::Organization))?;
    if found.suspended_at.is_some() {
        return Err(suspended_error());
    }
    let cx = Cx::new(app.clone(), Actor::System, found.id, request_id(&parts.headers));
    let id = parse_connection(connection)?;
    // A connection that was deactivated may still have sessions.
    let accepting = assertion_source::find_accepting(&cx, id).await?;
    let done = verify_and_end(&cx, &accepting, &token).await;
    let (outcome, refusal) = match &done {
        Ok(0) => (Outcome::Unchanged, None),
        Ok(_) => (Outcome::Updated, None),
        Err(error @ (Error::Busy(_) | Error::Unavailable(_) | Error::Internal(_))) => {
            (Outcome::Failed, Some(error.reason()))
        }
        Err(error) => (Outcome::Refused, Some(error.reason())),
    };
    note_request(&cx, Some(&accepting.connection), "sign out", outcome, refusal, None);
    done.map(drop)
}

async fn verify_and_end(cx: &Cx, accepting: &AcceptingConnection, token: &str) -> Result<u64> {
    let connection = accepting.connection.id;
    let verifier = TokenVerifier::of_connection(cx, accepting)?;
    let logout = verifier.verify_logout_token(token, cx.app.clock.now()).await?;
    let id = format!("logout {}", logout.id);
    replay::use_once(cx, connection, &id, logout.fingerprint, logout.expires_at).await?;
    let ended = end_sessions(cx, connection, &logout.ended).await;
    if ended.is_err() {
        // The provider may say it again.
        replay::forget_use(cx, connection, &id).await?;
    }
    ended
}

/// The field `logout_token` of a form, which stands there once.
async fn read_logout_token(body: axum::body::Body) -> Result<String> {
    let unreadable = || Error::invalid("logout_token", "send it once, as a field of a form");
    let bytes = to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| unreadable())?;
    let mut found = url::form_urlencoded::parse(&bytes)
        .filter(|(name, _)| name == "logout_token")
        .map(|(_, value)| value.into_owned());
    match (found.next(), found.next()) {
        (Some(token), None) if !token.is_empty() => Ok(token),
        _ => Err(unreadable()),
    }
}

/// The refusal in the form of OAuth 2.0, which the standard asks for.
fn refuse_logout(error: Error) -> Response {
    let failure = |status: StatusCode, code: &str, why: &str| {
        (status, Json(json!({ "error": code, "error_description": why }))).into_response()
    };
    match &error {
        Error::Limited { seconds } => {
            let text = error.to_string();
            let mut response =
                failure(StatusCode::TOO_MANY_REQUESTS, "temporarily_unavailable", &text);
            response.headers_mut().insert(header::RETRY_AFTER, (*seconds).into());
            response
        }
        Error::Busy(_) | Error::Unavailable(_) | Error::OutcomeUnknown { .. } => {
            tracing::warn!(%error, "a logout could not be carried out");
            let text = error.to_string();
            failure(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", &text)
        }
        Error::Internal(text) => {
            tracing::error!(error = %text, "a logout failed");
            let why = "something went wrong here; the server's log says what";
            failure(StatusCode::INTERNAL_SERVER_ERROR, "server_error", why)
        }
        error => failure(StatusCode::BAD_REQUEST, "invalid_request", &error.to_string()),
    }
}
