//! `POST /console/redeem`: exchanges the code of a console link for a session.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::http::{self, ConsoleFailure};
use crate::context::{App, CallerIds};
use crate::domain::access::console_link;
use crate::domain::access::console_link::LinkRefused;
use crate::domain::connection::request_log;

/// The name of this interface in the list of failed sign-ins.
const INTERFACE_NAME: &str = "console link";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Redemption {
    code: String,
}

/// Redeems the code. No answer is cached, because each may contain a credential.
pub async fn redeem_console_link(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ConsoleFailure> {
    http::check_origin(&app, request.headers())?;
    let request_id = http::request_id(&request);
    let source = http::client_ip(request.extensions());
    let limited = |error| ConsoleFailure::from_error(&error, request_id);
    app.redemption_limits.take_from_address(source).map_err(limited)?;
    let caller = request.extensions().get::<CallerIds>().cloned();
    let (parts, body) = request.into_parts();
    let Redemption { code } = http::read_json(&parts.headers, body).await?;
    let session = console_link::redeem_link(&app, &code, request_id).await.map_err(|refused| {
        if let Some((organization, reason)) = refused.failed_sign_in() {
            let interface = INTERFACE_NAME;
            request_log::note_failed_sign_in(&app, organization, "", reason, interface, source);
        }
        describe_refusal(&refused, request_id)
    })?;
    if let Some(caller) = caller {
        caller.note_caller(session.organization.id, None);
    }
    let body = json!({
        "token": session.token,
        "organization": session.organization.slug,
        "expiresAt": session.expires_at,
    });
    Ok(Json(body).into_response())
}

fn describe_refusal(refused: &LinkRefused, request_id: uuid::Uuid) -> ConsoleFailure {
    const ANOTHER: &str = "Make another link with `rolecall console-link`, or sign in with an API \
                           key.";
    match refused {
        LinkRefused::Unknown => ConsoleFailure::new(
            StatusCode::NOT_FOUND,
            "LINK_UNKNOWN",
            "This server made no such link. Perhaps a part of the address was lost.",
            ANOTHER,
        ),
        LinkRefused::Ended(_) => ConsoleFailure::new(
            StatusCode::GONE,
            "LINK_ENDED",
            "This link was used already, or its 15 minutes are over. It works once.",
            ANOTHER,
        ),
        LinkRefused::Failed(error) => ConsoleFailure::from_error(error, request_id),
    }
}
