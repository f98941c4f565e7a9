//! The end of a sign-in over OpenID Connect: the browser comes back from the identity provider with
//! a code, which is exchanged for an ID token.
//!
//! Each connection has a redirect URI of its own, so that an answer of one provider never counts as
//! another's (RFC 9700 section 4.4.2). Connections that were made before there was one come back to
//! the address that the whole organization shared, as long as no other connection could be meant.

use std::sync::Arc;

use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{
    SignInEnding, SignInFlow, finish_sign_in, no_endpoint, no_flow, open_flow, open_organization,
    read_metadata, set_cookie, show,
};
use crate::auth::issuers::ProviderMetadata;
use crate::context::{App, Cx};
use crate::domain::connection::assertion_source;
use crate::domain::connection::assertion_source::AcceptingConnection;
use crate::error::{Error, RefusalReason, Result};
use crate::sign_in::answer::SignInFailure;
use crate::sign_in::oidc::{TokenVerifier, refused};
use crate::sign_in::submit;

/// The longest answer of a token endpoint.
const MAX_TOKEN_ANSWER: usize = 256 * 1024;

/// Where the identity provider of a connection sends browsers back to: to be registered there.
pub fn redirect_uri(app: &App, slug: &str, connection: Uuid) -> String {
    format!("{}/sign-in/{slug}/oidc/{connection}/callback", app.config.public_url)
}

/// The redirect URI that connections of an organization had before each had its own.
fn shared_redirect_uri(app: &App, slug: &str) -> String {
    format!("{}/sign-in/{slug}/callback", app.config.public_url)
}

/// Where the answer of a sign-in that begins now is to arrive.
pub(super) async fn choose_redirect(
    cx: &Cx,
    slug: &str,
    accepting: &AcceptingConnection,
) -> Result<String> {
    let is_older = !accepting.oidc_settings()?.own_redirect;
    if is_older && assertion_source::has_one_sign_in(cx).await? {
        return Ok(shared_redirect_uri(&cx.app, slug));
    }
    Ok(redirect_uri(&cx.app, slug, accepting.connection.id))
}

/// What the identity provider answers through the browser (RFC 6749 section 4.1.2, RFC 9207).
#[derive(Deserialize)]
pub(in crate::sign_in) struct CallbackQuery {
    code: Option<String>,
    state: Option<String>,
    iss: Option<String>,
    error: Option<String>,
}

/// `GET /sign-in/{slug}/oidc/{connection}/callback`: the browser comes back from the identity
/// provider of this connection.
pub(in crate::sign_in) async fn end_sign_in(
    State(app): State<Arc<App>>,
    Path((slug, connection)): Path<(String, String)>,
    Query(query): Query<CallbackQuery>,
    request: Request,
) -> Response {
    let done = async {
        let id = Uuid::try_parse(&connection).map_err(|_| no_flow())?;
        end_flow(&app, &slug, Some(id), query, request).await
    };
    let done = done.await;
    close_sign_in(&app, done)
}

/// `GET /sign-in/{slug}/callback`: the same for connections that were made before each connection
/// had a redirect URI of its own.
pub(in crate::sign_in) async fn end_shared_sign_in(
    State(app): State<Arc<App>>,
    Path(slug): Path<String>,
    Query(query): Query<CallbackQuery>,
    request: Request,
) -> Response {
    let done = end_flow(&app, &slug, None, query, request).await;
    close_sign_in(&app, done)
}

/// The answer for the browser. Whatever came of it: this sign-in is over.
fn close_sign_in(app: &App, done: Result<Response, SignInFailure>) -> Response {
    let mut response = show(done);
    if !response.headers().contains_key(header::SET_COOKIE)
        && let Ok(cookie) = HeaderValue::from_str(&set_cookie(app, "", 0, "Lax"))
    {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// Ends the sign-in of this browser, if the answer came to the address that it was asked for.
async fn end_flow(
    app: &Arc<App>,
    slug: &str,
    answered: Option<Uuid>,
    query: CallbackQuery,
    request: Request,
) -> Result<Response, SignInFailure> {
    let (parts, _) = request.into_parts();
    let opened = open_organization(app, slug, &parts).await;
    // No browser began a sign-in where there is nothing.
    let (cx, organization) = opened
        .map_err(|failure| if failure.is_not_found() { no_flow().into() } else { failure })?;
    let (connection, flow) = open_flow(&cx, &organization, &parts.headers)?;
    let accepting = assertion_source::find_accepting(&cx, connection).await?;
    accepting.check_active()?;
    let arrived = match answered {
        Some(id) => redirect_uri(app, slug, id),
        None => {
            check_shared(&cx, slug, &accepting).await?;
            shared_redirect_uri(app, slug)
        }
    };
    if flow.redirect_uri != arrived {
        return Err(foreign_answer().into());
    }
    complete_flow(&cx, &accepting, flow, query).await
}

/// Refuses the shared address where it does not say whose answer this is.
async fn check_shared(cx: &Cx, slug: &str, accepting: &AcceptingConnection) -> Result<()> {
    if assertion_source::has_one_sign_in(cx).await? {
        return Ok(());
    }
    let own = redirect_uri(&cx.app, slug, accepting.connection.id);
    let why = format!(
        "several connections offer sign-ins, so each has a redirect URI of its own: register {own} \
         at the identity provider"
    );
    Err(Error::Held { reason: RefusalReason::AssertionAmbiguous, why: why.into() })
}

fn foreign_answer() -> Error {
    refused(RefusalReason::AssertionNonce, "this is not the answer to the sign-in of this browser")
}

async fn complete_flow(
    cx: &Cx,
    accepting: &AcceptingConnection,
    flow: SignInFlow,
    query: CallbackQuery,
) -> Result<Response, SignInFailure> {
    if query.state.as_deref() != Some(flow.state.as_str()) {
        return Err(foreign_answer().into());
    }
    if query.error.is_some() {
        let why = "the identity provider did not sign the person in";
        return Err(refused(RefusalReason::Unauthenticated, why).into());
    }
    let verifier = TokenVerifier::of_connection(cx, accepting)?;
    let metadata = read_metadata(cx, &verifier).await?;
    // RFC 9207: an answer of another issuer is not taken for this one's.
    let issuer = verifier.settings().issuer.as_str();
    let issuer_fits = query.iss.as_deref().map_or(!metadata.names_issuer, |iss| iss == issuer);
    if !issuer_fits {
        return Err(foreign_answer().into());
    }
    let code = query.code.as_deref().ok_or_else(foreign_answer)?;
    let done = async {
        let token = redeem_at_provider(cx, accepting, &verifier, &metadata, code, &flow).await?;
        let now = cx.app.clock.now();
        let (verified, session) = verifier.verify_sign_in(&token, Some(&flow.nonce), now).await?;
        let outcome = submit::accept_verified(cx, accepting, verified).await?;
        Ok::<_, Error>((outcome, session))
    };
    let done = done.await;
    let outcome = done.as_ref().map(|(outcome, _)| outcome);
    submit::note_sign_in(cx, Some(&accepting.connection), outcome);
    let (outcome, session) = done?;
    let ending = SignInEnding {
        redirect_url: flow.redirect_url,
        application_state: flow.application_state,
        session,
    };
    finish_sign_in(cx, accepting, outcome, ending).await
}

/// Exchanges the code at the identity provider for an ID token.
async fn redeem_at_provider(
    cx: &Cx,
    accepting: &AcceptingConnection,
    verifier: &TokenVerifier<'_>,
    metadata: &ProviderMetadata,
    code: &str,
    flow: &SignInFlow,
) -> Result<String> {
    let url = metadata.token_endpoint.as_ref().ok_or_else(no_endpoint)?;
    let client_id = verifier.settings().client_id.as_str();
    let secret = assertion_source::open_secret(cx, &accepting.connection).await?;
    let mut fields = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", flow.redirect_uri.as_str()),
        ("code_verifier", flow.verifier.as_str()),
    ];
    let mut authorization = None;
    match &secret {
        None => fields.push(("client_id", client_id)),
        Some(secret) if metadata.takes_secret_in_form => {
            fields.extend([("client_id", client_id), ("client_secret", secret.as_str())]);
        }
        Some(secret) => {
            let word = |text: &str| {
                let encoded = crate::http_client::encode_form(&[("", text)]);
                encoded.trim_start_matches('=').to_owned()
            };
            let pair = format!("{}:{}", word(client_id), word(secret));
            authorization = Some(format!("Basic {}", STANDARD.encode(pair)));
        }
    }
    let outbound = cx.app.key_rings.outbound();
    let answer = outbound
        .post_form(url, &fields, authorization.as_deref(), MAX_TOKEN_ANSWER)
        .await
        .map_err(|why| {
            tracing::warn!(connection = %accepting.connection.id, why, "a token endpoint failed");
            Error::Held {
                reason: RefusalReason::SourceUnavailable,
                why: "the identity provider could not be asked; sign in again in a moment".into(),
            }
        })?;
    let document: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if answer.status != StatusCode::OK {
        let status = answer.status;
        tracing::warn!(connection = %accepting.connection.id, %status, "a code was refused");
        let why = "the identity provider refused the code of this sign-in; sign in again";
        return Err(refused(RefusalReason::SourceCredentials, why));
    }
    document["id_token"].as_str().map(Into::into).ok_or_else(|| {
        refused(RefusalReason::AssertionUnreadable, "the identity provider gave no ID token")
    })
}
