//! What the head of a request says of its caller, the same for all interfaces: the bearer token,
//! the cookies, the id, the address, and the caller that an API key stands for.
//!
//! What must never enter: how an interface answers.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderMap, HeaderName, header};
use uuid::Uuid;

use crate::context::{App, CallerIds, Cx};
use crate::domain::access::api_key::KeyRefused;
use crate::domain::access::{api_key, console_session};
use crate::domain::connection::request_log;
use crate::error::{Error, RefusalReason, Result};

/// The header with the id of a request.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The bearer token of RFC 6750.
pub fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    parse_bearer(headers.get(header::AUTHORIZATION)?.to_str().ok()?)
}

/// The bearer token in the value of the header `Authorization`; the name of the scheme may be in
/// upper or lower case.
pub fn parse_bearer(value: &str) -> Option<&str> {
    let (scheme, secret) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !secret.trim().is_empty()).then(|| secret.trim())
}

/// The values of the cookies with this name, in the order of the request (RFC 6265 section 5.4).
pub fn find_cookies<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';')).filter_map(move |pair| {
        let (known, value) = pair.trim().split_once('=')?;
        (known == name).then_some(value)
    })
}

/// The id of a request in the ledger and the log: the client's, if it is a UUID, or else a new one.
pub fn request_id(headers: &HeaderMap) -> Uuid {
    let given =
        headers.get(REQUEST_ID).and_then(|value| Uuid::try_parse_ascii(value.as_bytes()).ok());
    given.unwrap_or_else(Uuid::now_v7)
}

/// The address of the client, if it is known.
pub fn client_ip(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip())
}

/// The caller that the API key in a request stands for. `interface` is the interface's name in the
/// list of failed sign-ins, and `needed` is the error for a client without an API key.
///
/// # Errors
/// `needed`, or why the key is not accepted. Both are counted as failed sign-ins.
pub async fn authenticate_api_key(
    app: &Arc<App>,
    headers: &HeaderMap,
    extensions: &Extensions,
    interface: &'static str,
    needed: &'static str,
) -> Result<Cx> {
    let source = client_ip(extensions);
    let refuse = |organization: Option<Uuid>, reason: RefusalReason, error: Error| {
        request_log::note_failed_sign_in(app, organization, "", reason, interface, source);
        error
    };
    let credential_needed = Error::Unauthenticated(needed);
    let Some(secret) = bearer_token(headers) else {
        return Err(refuse(None, RefusalReason::CredentialMissing, credential_needed));
    };
    if !secret.starts_with(api_key::API_KEY_PREFIX) {
        return Err(refuse(None, RefusalReason::CredentialKind, credential_needed));
    }
    let caller = api_key::authenticate_key(app, secret, request_id(headers)).await;
    let cx = caller.map_err(|refused| match &refused {
        KeyRefused::Unknown => refuse(None, RefusalReason::CredentialUnknown, refused.into()),
        KeyRefused::Ended(organization) => {
            refuse(Some(*organization), RefusalReason::CredentialDead, refused.into())
        }
        KeyRefused::Suspended | KeyRefused::Failed(_) => refused.into(),
    })?;
    if let Some(ids) = extensions.get::<CallerIds>() {
        ids.note_caller(cx.organization(), None);
    }
    // A session of the console has what the person's roles give now.
    console_session::limit_to_roles(cx).await
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn cookies_are_found_by_their_name() {
        let mut headers = HeaderMap::new();
        for line in ["a=1; mark=first;other-mark=x", "mark=se=cond; mark ; MARK=3", "mark="] {
            headers.append(header::COOKIE, line.parse().unwrap());
        }
        headers.append(header::COOKIE, HeaderValue::from_bytes(b"mark=\xff").unwrap());
        let found = |name| find_cookies(&headers, name).collect::<Vec<_>>();
        assert_eq!(found("mark"), ["first", "se=cond", ""]);
        assert_eq!(found("a"), ["1"]);
        assert!(found("b").is_empty());
    }
}
