//! Signing in here, for the console and for applications that have no sign-in of their own: the
//! code flow of OpenID Connect with PKCE (RFC 7636).
//!
//! What belongs to one sign-in (state, nonce, verifier, where it ends) is in a cookie that only
//! this server can read. The browser gets nothing that says who the person is: the console gets a
//! link that works once, an application a code that it redeems with its own key. A sign-in ends at
//! an address that the connection names, or in the console, and nowhere else.
//!
//! Each connection has a redirect URI of its own, so that an answer of one provider never counts as
//! another's (RFC 9700 section 4.4.2). Connections that were made before there was one come back to
//! the address that the whole organization shared, as long as no other connection could be meant.

pub(super) mod saml_service;
mod user_info;

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use axum::Json;
use axum::extract::{Path, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::Duration;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use self::user_info::ask_user_info;
use super::answer::{SignInFailure, describe_sign_in};
use super::http::{authenticate_key, check_organization};
use super::oidc::{TokenVerifier, refusal_error};
use super::submit;
use super::submit::SubmittedSignIn;
use crate::auth::issuers::ProviderMetadata;
use crate::auth::policy::{Action, Actor};
use crate::context::{App, Cx};
use crate::crypto::vault;
use crate::domain::access::{console_link, console_session};
use crate::domain::connection::assertion_source;
use crate::domain::connection::assertion_source::{AcceptingConnection, Protocol, SignInEnds};
use crate::domain::sign_in::SignInOutcome;
use crate::domain::sign_in::code;
use crate::domain::sign_in::provider_session;
use crate::domain::sign_in::provider_session::ProviderSession;
use crate::domain::tenant::organization;
use crate::domain::tenant::organization::{Organization, suspended_error};
use crate::error::{Error, RefusalReason, Result};
use crate::request_head;
use crate::request_head::{client_ip, request_id};

/// How long a person may take at the identity provider.
const FLOW_LIFETIME: Duration = Duration::minutes(10);
/// The longest state of an application.
const MAX_STATE_LENGTH: usize = 1_000;
/// The longest cookie that is looked at.
const MAX_COOKIE_LENGTH: usize = 8 * 1024;
/// The longest answer of a token endpoint.
const MAX_TOKEN_ANSWER: usize = 256 * 1024;
/// The largest body of a redemption.
const MAX_REDEMPTION_BYTES: usize = 8 * 1024;
/// The name of this interface in the list of failed sign-ins.
const INTERFACE_NAME: &str = "sign-in code";

/// What belongs to one sign-in, between its begin and its end.
#[derive(Serialize, Deserialize)]
struct SignInFlow {
    state: String,
    nonce: String,
    verifier: String,
    /// Where the identity provider sends the browser back to (OpenID Connect only).
    redirect_uri: String,
    /// Where the application waits; none = the console.
    redirect_url: Option<String>,
    /// What the application wants back.
    application_state: Option<String>,
    expires_at: i64,
}

/// What the address of a sign-in's begin can say.
#[derive(Deserialize)]
pub(super) struct BeginQuery {
    /// The connection, by its UUID; none = the only one that fits.
    connection: Option<String>,
    redirect_url: Option<String>,
    state: Option<String>,
}

/// `GET /sign-in/{slug}`: sends the browser to the identity provider.
pub(super) async fn begin_sign_in(
    State(app): State<Arc<App>>,
    Path(slug): Path<String>,
    Query(query): Query<BeginQuery>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let done = async {
        let cx = open_organization(&app, &slug, &parts).await?.0;
        let accepting = choose_connection(&cx, &query).await?;
        accepting.check_active()?;
        check_end(&accepting.sign_in_ends()?, query.redirect_url.as_deref())?;
        if query.state.as_ref().is_some_and(|state| state.len() > MAX_STATE_LENGTH) {
            let why = format!("must have at most {MAX_STATE_LENGTH} characters");
            return Err(Error::invalid("state", why).into());
        }
        match accepting.source.protocol {
            Protocol::Oidc => start_flow(&cx, &slug, &accepting, query).await,
            Protocol::Saml => saml_service::start_flow(&cx, &accepting, query).await,
        }
    };
    answer_browser(done.await)
}

async fn start_flow(
    cx: &Cx,
    slug: &str,
    accepting: &AcceptingConnection,
    query: BeginQuery,
) -> Result<Response, SignInFailure> {
    let verifier = TokenVerifier::of_connection(cx, accepting)?;
    let settings = verifier.settings();
    let metadata = read_metadata(cx, &verifier).await?;
    let mut url = metadata.authorization_endpoint.clone().ok_or_else(no_endpoint)?;
    check_browser_address(cx, &url)?;
    let flow = SignInFlow {
        state: random_text()?,
        nonce: random_text()?,
        verifier: random_text()?,
        redirect_uri: choose_redirect(cx, slug, accepting).await?,
        redirect_url: query.redirect_url,
        application_state: query.state,
        expires_at: (cx.app.clock.now() + FLOW_LIFETIME).timestamp(),
    };
    let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, flow.verifier.as_bytes()));
    url.query_pairs_mut()
        .append_pair("response_type", "code")
        .append_pair("client_id", &settings.client_id)
        .append_pair("redirect_uri", &flow.redirect_uri)
        .append_pair("scope", &settings.scopes.join(" "))
        .append_pair("state", &flow.state)
        .append_pair("nonce", &flow.nonce)
        .append_pair("code_challenge", &challenge)
        .append_pair("code_challenge_method", "S256");
    let cookie = seal_flow(cx, accepting, &flow).await?;
    let cookie = set_cookie(&cx.app, &cookie, FLOW_LIFETIME.num_seconds(), "Lax");
    Ok(redirect_with_cookie(&url, &cookie)?)
}

/// Where the identity provider of a connection sends browsers back to: to be registered there.
pub fn redirect_uri(app: &App, slug: &str, connection: Uuid) -> String {
    format!("{}/sign-in/{slug}/oidc/{connection}/callback", app.config.public_url)
}

/// The redirect URI that connections of an organization had before each had its own.
fn shared_redirect_uri(app: &App, slug: &str) -> String {
    format!("{}/sign-in/{slug}/callback", app.config.public_url)
}

/// Where the answer of a sign-in that begins now is to arrive.
async fn choose_redirect(cx: &Cx, slug: &str, accepting: &AcceptingConnection) -> Result<String> {
    let is_older = !accepting.oidc_settings()?.own_redirect;
    if is_older && assertion_source::has_one_sign_in(cx).await? {
        return Ok(shared_redirect_uri(&cx.app, slug));
    }
    Ok(redirect_uri(&cx.app, slug, accepting.connection.id))
}

/// What the identity provider answers through the browser (RFC 6749 section 4.1.2, RFC 9207).
#[derive(Deserialize)]
pub(super) struct CallbackQuery {
    code: Option<String>,
    state: Option<String>,
    iss: Option<String>,
    error: Option<String>,
}

/// `GET /sign-in/{slug}/oidc/{connection}/callback`: the browser comes back from the identity
/// provider of this connection.
pub(super) async fn end_sign_in(
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
pub(super) async fn end_shared_sign_in(
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
    let mut response = answer_browser(done);
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
    refusal_error(
        RefusalReason::AssertionNonce,
        "this is not the answer to the sign-in of this browser",
    )
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
        return Err(refusal_error(RefusalReason::Unauthenticated, why).into());
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
        let ProviderTokens { id_token, access_token } =
            redeem_at_provider(cx, accepting, &verifier, &metadata, code, &flow).await?;
        let now = cx.app.clock.now();
        let token = verifier.verify_token(&id_token, Some(&flow.nonce), now).await?;
        let access_token = access_token.as_deref();
        let asked =
            ask_user_info(cx, accepting, &verifier, &metadata, &token, access_token).await?;
        let read = verifier.read_sign_in(&token, asked.said());
        let (verified, session) = read.map_err(|error| asked.explain(error))?;
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

/// What an identity provider gives for a code.
struct ProviderTokens {
    id_token: String,
    /// None where it gave none that can be sent as it is.
    access_token: Option<String>,
}

impl ProviderTokens {
    fn of_answer(answer: &Value) -> Option<Self> {
        let text = |name: &str| answer[name].as_str().map(ToOwned::to_owned);
        // RFC 6749 section 7.1: a token of a type that is not understood is not used.
        let bearer = answer["token_type"].as_str();
        let bearer = bearer.is_none_or(|kind| kind.eq_ignore_ascii_case("bearer"));
        let access_token = text("access_token").filter(|_| bearer);
        Some(Self { id_token: text("id_token")?, access_token })
    }
}

/// Exchanges the code at the identity provider for tokens.
async fn redeem_at_provider(
    cx: &Cx,
    accepting: &AcceptingConnection,
    verifier: &TokenVerifier<'_>,
    metadata: &ProviderMetadata,
    code: &str,
    flow: &SignInFlow,
) -> Result<ProviderTokens> {
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
        return Err(refusal_error(RefusalReason::SourceCredentials, why));
    }
    ProviderTokens::of_answer(&document).ok_or_else(|| {
        refusal_error(RefusalReason::AssertionUnreadable, "the identity provider gave no ID token")
    })
}

/// Where a sign-in ends, and where it came from.
#[derive(Default)]
struct SignInEnding {
    /// Where the application waits; none = the console.
    redirect_url: Option<String>,
    /// What the application wants back.
    application_state: Option<String>,
    /// The session at the identity provider, if it names one.
    session: Option<ProviderSession>,
}

/// Sends the browser of a person who has signed in to where the sign-in was to end.
async fn finish_sign_in(
    cx: &Cx,
    accepting: &AcceptingConnection,
    outcome: SignInOutcome,
    ending: SignInEnding,
) -> Result<Response, SignInFailure> {
    let SignInEnding { redirect_url, application_state, session } = ending;
    let Some(user) = outcome.user.filter(|_| outcome.active) else {
        let refusal =
            outcome.refusal.map(|refusal| Error::Held { reason: refusal.reason, why: refusal.why });
        let other = || refusal_error(RefusalReason::Inactive, "the account is suspended");
        return Err(refusal.unwrap_or_else(other).into());
    };
    cx.app.sign_in_limits.take_request(user)?;
    // The settings may have changed while the person was at the identity provider.
    let ends = accepting.sign_in_ends()?;
    check_end(&ends, redirect_url.as_deref())?;
    let mut mark = None;
    let target = match &redirect_url {
        Some(target) => {
            let code = code::issue_code(cx, accepting.connection.id, user, target).await?;
            let mut url = Url::parse(target).map_err(|_| no_endpoint())?;
            url.query_pairs_mut().append_pair("code", &code);
            if let Some(state) = &application_state {
                url.query_pairs_mut().append_pair("state", state);
            }
            url
        }
        None => {
            let most = &ends.console_permissions;
            let permissions = console_session::permissions_by_roles(cx, user, most).await?;
            if permissions.is_empty() {
                let why = "none of your roles opens the console: an administrator can give you one";
                return Err(refusal_error(RefusalReason::Forbidden, why).into());
            }
            let link = console_link::create_sign_in_link(cx, user, permissions).await?;
            if let Some(session) = &session {
                let connection = accepting.connection.id;
                provider_session::note_session(cx, connection, &link.link, session).await?;
            }
            mark = Some(set_link_mark(&cx.app, &link.code));
            Url::parse(&link.url(&cx.app)).map_err(|_| no_endpoint())?
        }
    };
    let mut response = redirect_with_cookie(&target, &set_cookie(&cx.app, "", 0, "Lax"))?;
    if let Some(cookie) = mark.and_then(|text| HeaderValue::from_str(&text).ok()) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// `GET /sign-in/{slug}/sign-out`: ends the session at the identity provider, which asks the
/// person. The session here is ended before, by the mutation `signOut`.
pub(super) async fn sign_out(
    State(app): State<Arc<App>>,
    Path(slug): Path<String>,
    Query(query): Query<BeginQuery>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let done = async {
        let cx = open_organization(&app, &slug, &parts).await?.0;
        let query = BeginQuery { redirect_url: None, state: None, ..query };
        let accepting = choose_connection(&cx, &query).await?;
        let home = format!("{}/sign-in", app.config.public_url);
        let mut target = Url::parse(&home).map_err(|_| no_endpoint())?;
        // Single logout of SAML is not offered: the browser comes back here at once.
        if accepting.source.protocol == Protocol::Oidc {
            let verifier = TokenVerifier::of_connection(&cx, &accepting)?;
            let metadata = read_metadata(&cx, &verifier).await?;
            if let Some(url) = &metadata.end_session_endpoint {
                check_browser_address(&cx, url)?;
                target = url.clone();
                target
                    .query_pairs_mut()
                    .append_pair("client_id", &verifier.settings().client_id)
                    .append_pair("post_logout_redirect_uri", &home);
            }
        }
        Ok::<_, SignInFailure>(redirect_with_cookie(&target, &set_cookie(&app, "", 0, "Lax"))?)
    };
    answer_browser(done.await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct CodeRedemption {
    code: String,
    redirect_url: String,
}

/// `POST /sign-in/{slug}/redeem`: an application exchanges its code for who signed in.
pub(super) async fn redeem_code(
    State(app): State<Arc<App>>,
    Path(slug): Path<String>,
    request: Request,
) -> Result<Response, SignInFailure> {
    let (parts, body) = request.into_parts();
    let cx = authenticate_key(&app, &parts.headers, &parts.extensions, INTERFACE_NAME).await?;
    check_organization(&cx, &slug).await?;
    cx.allow(Action::SubmitAssertion, None)?;
    if let Some(key) = cx.actor.id().and_then(|id| Uuid::try_parse(&id).ok()) {
        app.assertion_limits.take_request(key)?;
    }
    let unreadable = || {
        let why = "send {\"code\": …, \"redirectUrl\": …} as application/json";
        SignInFailure::new(StatusCode::BAD_REQUEST, "UNREADABLE", why)
    };
    let bytes = axum::body::to_bytes(body, MAX_REDEMPTION_BYTES).await.map_err(|_| unreadable())?;
    // The error would repeat what was sent, which is a secret.
    let sent: CodeRedemption = serde_json::from_slice(&bytes).map_err(|_| unreadable())?;
    let (connection, outcome) = code::redeem_code(&cx, &sent.code, &sent.redirect_url).await?;
    let user_name = submit::read_user_name(&cx, outcome.user).await?;
    Ok(Json(describe_sign_in(&SubmittedSignIn { connection, user_name, outcome })).into_response())
}

/// The organization of an address, if this client may take another step.
async fn open_organization(
    app: &Arc<App>,
    slug: &str,
    parts: &Parts,
) -> Result<(Cx, Organization), SignInFailure> {
    app.sign_in_limits.take_from_address(client_ip(&parts.extensions))?;
    let found = organization::by_slug(app, slug).await?.ok_or_else(no_sign_in)?;
    if found.suspended_at.is_some() {
        return Err(suspended_error().into());
    }
    let cx = Cx::new(app.clone(), Actor::System, found.id, request_id(&parts.headers));
    Ok((cx, found))
}

/// The connection that is named, or the only one that can end where this sign-in is to end.
async fn choose_connection(
    cx: &Cx,
    query: &BeginQuery,
) -> Result<AcceptingConnection, SignInFailure> {
    if let Some(named) = &query.connection {
        return find_offered(cx, named).await;
    }
    let mut fitting = Vec::new();
    for protocol in [Protocol::Oidc, Protocol::Saml] {
        for accepting in assertion_source::list_accepting(cx, protocol).await? {
            let ends = accepting.sign_in_ends()?;
            if accepting.check_active().is_ok()
                && check_end(&ends, query.redirect_url.as_deref()).is_ok()
            {
                fitting.push(accepting);
            }
        }
    }
    let mut fitting = fitting.into_iter();
    match (fitting.next(), fitting.next()) {
        (Some(accepting), None) => Ok(accepting),
        (None, _) => Err(no_sign_in()),
        _ => {
            let why = "several connections offer this sign-in: name one (?connection=)";
            Err(refusal_error(RefusalReason::AssertionAmbiguous, why).into())
        }
    }
}

/// The same for an organization, a connection and a sign-in that do not exist: strangers are not
/// told which organizations do.
fn no_sign_in() -> SignInFailure {
    let why = "this organization offers no such sign-in; its administrator can set one up";
    SignInFailure::new(StatusCode::NOT_FOUND, "NOT_FOUND", why)
}

/// The connection that an address names, by its UUID.
async fn find_offered(cx: &Cx, named: &str) -> Result<AcceptingConnection, SignInFailure> {
    let id = Uuid::try_parse(named).map_err(|_| no_sign_in())?;
    match assertion_source::find_accepting(cx, id).await {
        Err(Error::NotFound(_)) => Err(no_sign_in()),
        found => Ok(found?),
    }
}

/// Refuses a sign-in that would end where the connection does not allow it to.
fn check_end(ends: &SignInEnds, redirect_url: Option<&str>) -> Result<()> {
    match redirect_url {
        Some(url) if ends.redirect_urls.iter().any(|known| known == url) => Ok(()),
        Some(_) => Err(Error::invalid("redirect_url", "is not among those of the connection")),
        None if ends.console_permissions.is_empty() => {
            Err(Error::Unsupported("sign-ins of this connection do not open the console".into()))
        }
        None => Ok(()),
    }
}

async fn read_metadata(cx: &Cx, verifier: &TokenVerifier<'_>) -> Result<Arc<ProviderMetadata>> {
    let found = verifier.keys().provider_metadata(cx.app.clock.now()).await?;
    found.ok_or_else(no_endpoint)
}

fn no_endpoint() -> Error {
    Error::Unsupported(
        "the identity provider's discovery document does not say where to sign in; while \
         jwksUri is set, none is read"
            .into(),
    )
}

/// A browser is sent to web addresses only.
fn check_browser_address(cx: &Cx, url: &Url) -> Result<()> {
    let plain = cx.app.config.pull_private_addresses && url.scheme() == "http";
    if url.scheme() == "https" || plain { Ok(()) } else { Err(no_endpoint()) }
}

fn random_text() -> Result<String> {
    Ok(URL_SAFE_NO_PAD.encode(vault::random_bytes::<32>()?))
}

/// The cookie's value: the connection, and what belongs to the sign-in, which opens only with it.
async fn seal_flow(cx: &Cx, accepting: &AcceptingConnection, flow: &SignInFlow) -> Result<String> {
    let text = serde_json::to_vec(flow).map_err(|error| Error::Internal(error.to_string()))?;
    let key = organization::current_organization(cx).await?.data_key;
    let id = accepting.connection.id;
    let sealed = cx.app.vault.seal(cx.organization(), &key, id, &text)?;
    Ok(format!("{id}.{}", URL_SAFE_NO_PAD.encode(sealed)))
}

fn no_flow() -> Error {
    let why = "this browser began no sign-in here, or began it too long ago; sign in again";
    refusal_error(RefusalReason::Ended, why)
}

/// What belongs to the sign-in of this browser, if it has not taken too long.
fn open_flow(
    cx: &Cx,
    organization: &Organization,
    headers: &HeaderMap,
) -> Result<(Uuid, SignInFlow)> {
    let over = no_flow;
    let name = cookie_name(&cx.app);
    let mut cookies = request_head::find_cookies(headers, name);
    let cookie = cookies.find(|value| value.len() <= MAX_COOKIE_LENGTH);
    let (id, sealed) = cookie.and_then(|value| value.split_once('.')).ok_or_else(over)?;
    let id = Uuid::try_parse(id).map_err(|_| over())?;
    let sealed = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| over())?;
    let text = cx.app.vault.unseal(cx.organization(), &organization.data_key, id, &sealed);
    let flow: SignInFlow =
        serde_json::from_slice(&text.map_err(|_| over())?).map_err(|_| over())?;
    if flow.expires_at <= cx.app.clock.now().timestamp() {
        return Err(over());
    }
    Ok((id, flow))
}

/// Over TLS, the name keeps other hosts of the domain from setting the cookie (RFC 6265bis).
fn cookie_name(app: &App) -> &'static str {
    if app.config.public_url.starts_with("https://") {
        "__Host-rolecall-sign-in"
    } else {
        "rolecall-sign-in"
    }
}

/// The cookie without which the link of a sign-in opens nothing.
fn set_link_mark(app: &App, code: &str) -> String {
    let (name, value) = (console_link::mark_cookie_name(app), console_link::browser_mark(code));
    let seconds = console_link::SIGN_IN_LINK_LIFETIME.num_seconds();
    write_cookie(app, name, &value, seconds, "Lax")
}

/// `same_site` is `Lax`, or `None` for a cookie that must come with a form that another site posts:
/// it is then sent over TLS only.
fn set_cookie(app: &App, value: &str, seconds: i64, same_site: &str) -> String {
    write_cookie(app, cookie_name(app), value, seconds, same_site)
}

fn write_cookie(app: &App, name: &str, value: &str, seconds: i64, same_site: &str) -> String {
    let secure = if app.config.public_url.starts_with("https://") { "; Secure" } else { "" };
    // Without TLS (a trial on one's own machine), browsers refuse `None`, and treat a cookie
    // without the word as `Lax` only after two minutes.
    let same_site = match (same_site, secure) {
        ("None", "") => String::new(),
        (word, _) => format!("; SameSite={word}"),
    };
    format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly{same_site}{secure}")
}

fn redirect_with_cookie(url: &Url, cookie: &str) -> Result<Response> {
    let value = |text: &str| {
        HeaderValue::from_str(text).map_err(|_| Error::Internal("a header of a redirect".into()))
    };
    let mut response = StatusCode::SEE_OTHER.into_response();
    response.headers_mut().insert(header::LOCATION, value(url.as_str())?);
    response.headers_mut().insert(header::SET_COOKIE, value(cookie)?);
    Ok(response)
}

/// The answer for a browser: it shows a text and nothing else, and tells no other site the address.
fn answer_browser(done: Result<Response, SignInFailure>) -> Response {
    let mut response = done.unwrap_or_else(SignInFailure::into_page);
    let fields = [
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in fields {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
