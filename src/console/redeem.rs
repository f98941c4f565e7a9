//! `POST /console/redeem`: exchanges the code of a console link for a session.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::http::ConsoleFailure;
use super::link_request::LinkRequest;
use crate::context::App;
use crate::domain::access::console_link;
use crate::domain::access::console_link::LinkRefused;
use crate::request_head;

/// The name of this interface in the list of failed sign-ins.
const INTERFACE_NAME: &str = "console link";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkRedemption {
    code: String,
}

/// Redeems the code. No answer is cached, because each may contain a credential.
pub async fn redeem_console_link(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ConsoleFailure> {
    let headers = request.headers().clone();
    let (link, LinkRedemption { code }) =
        LinkRequest::begin_with_body(app, INTERFACE_NAME, request).await?;
    let same_browser = has_browser_mark(&link.app, &headers, &code);
    let redeemed = console_link::redeem_link(&link.app, &code, same_browser, link.request_id).await;
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

/// Whether a request comes from the browser in which a sign-in made the link of this code.
fn has_browser_mark(app: &App, headers: &HeaderMap, code: &str) -> bool {
    let mark = console_link::browser_mark(code);
    let mut marks = request_head::find_cookies(headers, console_link::mark_cookie_name(app));
    marks.any(|known| known == mark)
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
        LinkRefused::OtherBrowser(_) => ConsoleFailure::new(
            StatusCode::FORBIDDEN,
            "LINK_OF_OTHER_BROWSER",
            "This link belongs to a sign-in in another browser, or its minute is over.",
            "Sign in in this browser.",
        ),
        LinkRefused::Failed(error) => ConsoleFailure::from_error(error, request_id),
    }
}
