//! `POST /console/redeem`: exchanges the code of a console link for a session.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::http::ConsoleFailure;
use super::link_request::LinkRequest;
use crate::context::App;
use crate::domain::access::console_link;
use crate::domain::access::console_link::LinkRefused;

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
    let (link, Redemption { code }) =
        LinkRequest::begin_with_body(app, INTERFACE_NAME, request).await?;
    let redeemed = console_link::redeem_link(&link.app, &code, link.request_id).await;
    let session = redeemed.map_err(|refused| {
        link.note_failed_sign_in(refused.failed_sign_in());
        describe_refusal(&refused, link.request_id)
    })?;
    link.note_caller(session.organization.id, None);
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
