//! The page of an invitation, and `POST /invitation/redeem`, which uses its link.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::http::ConsoleFailure;
use super::link_request::LinkRequest;
use crate::context::App;
use crate::domain::access::invitation::{InvitationRefused, redeem_link};

/// The name of this interface in the list of failed sign-ins.
const INTERFACE_NAME: &str = "invitation";

/// The page needs no build: it is one text and a button.
const PAGE: &str = include_str!("../../assets/invitation/page.html");
const SCRIPT: &str = include_str!("../../assets/invitation/page.js");
const STYLE: &str = include_str!("../../assets/invitation/page.css");

fn serve_text(content_type: &'static str, text: &'static str) -> Response {
    let fields = [(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-cache")];
    (fields, text).into_response()
}

/// The page. It shows nothing of the invitation, whose secret the server does not get with it.
pub async fn get_page() -> Response {
    serve_text("text/html; charset=utf-8", PAGE)
}

/// The page's script.
pub async fn get_script() -> Response {
    serve_text("text/javascript; charset=utf-8", SCRIPT)
}

/// The page's style.
pub async fn get_style() -> Response {
    serve_text("text/css; charset=utf-8", STYLE)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InvitationRedemption {
    secret: String,
}

/// Uses the link, which it can be once.
pub async fn redeem_invitation(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ConsoleFailure> {
    let (link, InvitationRedemption { secret }) =
        LinkRequest::begin_with_body(app, INTERFACE_NAME, request).await?;
    let redeemed = redeem_link(&link.app, &secret, link.request_id).await.map_err(|refused| {
        link.note_failed_sign_in(refused.failed_sign_in());
        describe_refusal(&refused, link.request_id)
    })?;
    link.note_caller(redeemed.organization_id, None);
    let body = json!({
        "organizationName": redeemed.organization,
        "expiresAt": redeemed.expires_at,
    });
    Ok(Json(body).into_response())
}

fn describe_refusal(refused: &InvitationRefused, request_id: Uuid) -> ConsoleFailure {
    match refused {
        InvitationRefused::Unknown => ConsoleFailure::new(
            StatusCode::NOT_FOUND,
            "LINK_UNKNOWN",
            "This server made no such link. Perhaps a part of the address was lost.",
            "Copy the whole link once more, or ask for another invitation.",
        ),
        InvitationRefused::Ended(_) => ConsoleFailure::new(
            StatusCode::GONE,
            "LINK_ENDED",
            "This link was used already, has expired, or was revoked. It works once.",
            "Sign in with the address that was invited, or ask for another invitation.",
        ),
        InvitationRefused::Failed(error) => ConsoleFailure::from_error(error, request_id),
    }
}
