//! Signing in here with SAML: our metadata, our request by a redirect, and the form with which the
//! browser brings the response (the assertion consumer service).

use std::sync::Arc;

use ::saml::AuthnRequest;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use reqwest::Url;

use super::{
    BeginQuery, FLOW_LIFETIME, SignInEnding, SignInFlow, answer_browser, check_browser_address,
    find_offered, finish_sign_in, open_flow, open_organization, random_text, redirect_with_cookie,
    seal_flow, set_cookie,
};
use crate::context::{App, Cx};
use crate::domain::connection::assertion_source::AcceptingConnection;
use crate::error::Error;
use crate::sign_in::answer::SignInFailure;
use crate::sign_in::http::SamlForm;
use crate::sign_in::saml::{ResponseVerifier, ServiceAddresses, write_own_metadata};
use crate::sign_in::{saml, submit};

/// `GET /sign-in/{slug}/saml/{connection}/metadata`: what identity providers read about us.
pub(in crate::sign_in) async fn show_metadata(
    State(app): State<Arc<App>>,
    Path((slug, connection)): Path<(String, String)>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let done = async {
        let cx = open_organization(&app, &slug, &parts).await?.0;
        let accepting = find_offered(&cx, &connection).await?;
        let id = accepting.connection.id;
        let settings = accepting.saml_settings()?;
        let addresses = ServiceAddresses::of_connection(&cx, id).await?;
        let text = write_own_metadata(&settings, &addresses);
        let mut response = text.into_response();
        let kind = HeaderValue::from_static("application/samlmetadata+xml");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        Ok::<_, SignInFailure>(response)
    };
    answer_browser(done.await)
}

/// Sends the browser to the identity provider with a request.
pub(super) async fn start_flow(
    cx: &Cx,
    accepting: &AcceptingConnection,
    query: BeginQuery,
) -> Result<Response, SignInFailure> {
    let verifier = ResponseVerifier::of_connection(cx, accepting).await?;
    let settings = verifier.settings();
    let destination = settings.sign_in_url.as_deref().ok_or_else(|| {
        Error::Unsupported(
            "the identity provider's metadata name no address that takes requests by a redirect"
                .into(),
        )
    })?;
    let flow = SignInFlow {
        state: random_text()?,
        // The id of the request: what the response must answer. It begins as XML wants it.
        nonce: format!("_{}", random_text()?),
        verifier: String::new(),
        redirect_uri: String::new(),
        redirect_url: query.redirect_url,
        application_state: query.state,
        expires_at: (cx.app.clock.now() + FLOW_LIFETIME).timestamp(),
    };
    let request = AuthnRequest {
        id: &flow.nonce,
        issued_at: cx.app.clock.now(),
        issuer: &verifier.addresses().metadata_url,
        destination,
        consumer_url: &verifier.addresses().consumer_url,
        name_id_format: settings.name_id_format.as_deref(),
    };
    let key = verifier.key().filter(|_| settings.wants_signed_requests);
    let url = request
        .to_redirect(Some(&flow.state), key)
        .map_err(|fault| Error::Internal(fault.to_string()))?;
    let url = Url::parse(&url).map_err(|error| Error::Internal(error.to_string()))?;
    check_browser_address(cx, &url)?;
    let cookie = seal_flow(cx, accepting, &flow).await?;
    // The response comes as a form that the identity provider's page posts.
    let cookie = set_cookie(&cx.app, &cookie, FLOW_LIFETIME.num_seconds(), "None");
    Ok(redirect_with_cookie(&url, &cookie)?)
}

/// `POST /sign-in/{slug}/saml/{connection}/consume`: the browser brings a response.
pub(in crate::sign_in) async fn consume_response(
    State(app): State<Arc<App>>,
    Path((slug, connection)): Path<(String, String)>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let done = async {
        let (cx, organization) = open_organization(&app, &slug, &parts).await?;
        let accepting = find_offered(&cx, &connection).await?;
        let id = accepting.connection.id;
        let form = SamlForm::receive_form(body).await?;
        // Without a sign-in that began in this browser, it can only have begun at the identity
        // provider, which the connection must allow; and then the response answers no request.
        let flow = open_flow(&cx, &organization, &parts.headers).ok();
        let flow = flow.filter(|(begun_at, flow)| {
            *begun_at == id && form.relay_state.as_deref() == Some(flow.state.as_str())
        });
        let flow = flow.map(|(_, flow)| flow);
        let accepted = async {
            accepting.check_active()?;
            let request = flow.as_ref().map(|flow| flow.nonce.as_str());
            let verified = saml::verify_response(&cx, &accepting, &form.response, request).await?;
            submit::accept_response(&cx, &accepting, verified, None).await
        };
        let accepted = accepted.await;
        submit::note_sign_in(&cx, Some(&accepting.connection), accepted.as_ref());
        let outcome = accepted?;
        let (target, state) = match flow {
            Some(flow) => (flow.redirect_url, flow.application_state),
            None => (None, None),
        };
        let ending = SignInEnding { redirect_url: target, application_state: state, session: None };
        finish_sign_in(&cx, &accepting, outcome, ending).await
    };
    let mut response = answer_browser(done.await);
    // Whatever came of it: this sign-in is over.
    if !response.headers().contains_key(header::SET_COOKIE)
        && let Ok(cookie) = HeaderValue::from_str(&set_cookie(&app, "", 0, "Lax"))
    {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}
