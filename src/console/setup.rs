//! `POST /setup/redeem` opens a setup link, and `GET /setup/status` shows how far the identity
//! provider has come.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use entity::connection::ConnectionKind;
use serde::Deserialize;
use serde_json::{Value, json};

use super::http::ConsoleFailure;
use super::link_request::LinkRequest;
use crate::context::App;
use crate::domain::connection::setup_link::{SetupOpening, SetupRefused, open_link};
use crate::domain::connection::setup_progress::{SetupFailure, SetupProgress, read_progress};
use crate::domain::connection::{kind_name as connection_kind_name, provider_name};
use crate::domain::tenant::organization;
use crate::message_parts;
use crate::request_head::bearer_token;

/// The name of this interface in the list of failed sign-ins.
const INTERFACE_NAME: &str = "setup link";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetupRedemption {
    secret: String,
}

/// Counts a refusal as a failed sign-in, and says what the person can do.
fn refuse_setup(link: &LinkRequest, refused: &SetupRefused) -> ConsoleFailure {
    link.note_failed_sign_in(refused.failed_sign_in());
    match refused {
        SetupRefused::Failed(error) => ConsoleFailure::from_error(error, link.request_id),
        SetupRefused::Unknown => ConsoleFailure::new(
            StatusCode::NOT_FOUND,
            "LINK_UNKNOWN",
            "This server made no such link. Perhaps a part of the address was lost.",
            "Copy the whole link once more, or ask for another one.",
        ),
        SetupRefused::Ended(_) => ConsoleFailure::new(
            StatusCode::GONE,
            "LINK_ENDED",
            "This link has expired, or was revoked.",
            "Ask the administrator who gave you the link for another one.",
        ),
    }
}

/// Opens the link. No answer is cached, because it may contain a token.
pub async fn redeem_setup_link(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ConsoleFailure> {
    let (link, SetupRedemption { secret }) =
        LinkRequest::begin_with_body(app, INTERFACE_NAME, request).await?;
    let opened = open_link(&link.app, &secret, link.request_id).await;
    let opening = opened.map_err(|refused| refuse_setup(&link, &refused))?;
    link.note_caller(opening.organization.id, Some(opening.connection.id));
    Ok(Json(describe_opening(&link.app, &opening)).into_response())
}

fn describe_opening(app: &App, opening: &SetupOpening) -> Value {
    let SetupOpening { link, organization, connection, token, token_secret, .. } = opening;
    let base_url = match connection.kind {
        ConnectionKind::ScimPush => Some(organization::base_url(app, &organization.slug)),
        // rolecall reads a source there, and nothing is entered at the other end.
        ConnectionKind::ScimPull | ConnectionKind::Assertion => None,
    };
    let resources = |kind: &str| base_url.as_ref().map(|url| format!("{url}/{kind}"));
    json!({
        "session": opening.session,
        "sessionExpiresAt": opening.session_ends_at,
        "expiresAt": link.expires_at,
        "kind": connection_kind_name(connection),
        "provider": provider_name(connection),
        "connectionName": connection.name,
        "organizationName": organization.name,
        "baseUrl": base_url,
        "usersUrl": resources("Users"),
        "groupsUrl": resources("Groups"),
        "token": token_secret,
        "tokenLastFour": token.as_ref().map(|token| &token.last_four),
        "tokenIssuedAt": token.as_ref().map(|token| token.created_at),
    })
}

/// Shows the progress of the connection whose link opened the session.
pub async fn get_setup_status(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ConsoleFailure> {
    let link = LinkRequest::begin(app, INTERFACE_NAME, &request)?;
    let Some(session) = bearer_token(request.headers()) else {
        return Err(ConsoleFailure::new(
            StatusCode::UNAUTHORIZED,
            "SESSION_MISSING",
            "The request has no session.",
            "Open the link once more.",
        ));
    };
    let progress = read_progress(&link.app, session, link.request_id).await;
    let progress = progress.map_err(|refused| match refused {
        SetupRefused::Failed(_) => refuse_setup(&link, &refused),
        _ => {
            link.note_failed_sign_in(refused.failed_sign_in());
            ConsoleFailure::new(
                StatusCode::UNAUTHORIZED,
                "SESSION_ENDED",
                "The session of this page is over, or its link has ended.",
                "Open the link once more, or ask for another one.",
            )
        }
    })?;
    Ok(Json(describe_progress(&progress)).into_response())
}

fn describe_progress(progress: &SetupProgress) -> Value {
    json!({
        "firstRequestAt": progress.first_request_at,
        "lastRequestAt": progress.last_request_at,
        "firstUserAt": progress.first_user_at,
        "firstGroupAt": progress.first_group_at,
        "requests": progress.requests,
        "accounts": progress.accounts,
        "groups": progress.groups,
        "recentFailures": progress.failures.iter().map(describe_failure).collect::<Vec<_>>(),
        "linkEndsAt": progress.link_ends_at,
    })
}

fn describe_failure(failure: &SetupFailure) -> Value {
    json!({
        "at": failure.at,
        "status": failure.status,
        "code": failure.code,
        "request": failure.request,
        "meaning": failure.meaning,
        "outcome": failure.outcome,
        "count": failure.count,
        "message": failure.message,
        "nextStep": failure.next_step,
        "nextStepParts": message_parts::read_optional_parts(failure.next_step.as_deref()),
    })
}
