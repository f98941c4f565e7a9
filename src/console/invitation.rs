//! The page of an invitation, and `POST /invitation/redeem`, which uses its link.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::http::{self, ConsoleFailure};
use crate::context::{App, CallerIds};
use crate::domain::access::invitation::{InvitationRefused, redeem_link};
use crate::domain::connection::request_log;
use crate::error::RefusalReason;

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
struct Redemption {
    secret: String,
}

/// Uses the link, which it can be once.
pub async fn redeem_invitation(
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
    let Redemption { secret } = http::read_json(&parts.headers, body).await?;
    let redeemed = redeem_link(&app, &secret, request_id).await.map_err(|refused| {
        let reason = match &refused {
            InvitationRefused::Unknown => Some((None, RefusalReason::CredentialUnknown)),
            InvitationRefused::Ended(organization) => {
                Some((Some(*organization), RefusalReason::CredentialDead))
            }
            InvitationRefused::Failed(_) => None,
        };
        if let Some((organization, reason)) = reason {
            let interface = INTERFACE_NAME;
            request_log::note_failed_sign_in(&app, organization, "", reason, interface, source);
        }
        describe_refusal(&refused, request_id)
    })?;
    if let Some(caller) = caller {
        caller.note_caller(redeemed.organization_id, None);
    }
    let body = json!({
        "organizationName": redeemed.organization,
        "accepted": redeemed.accepted,
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
