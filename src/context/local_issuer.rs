//! JSON web tokens (RFC 7519), with which people sign in to the management API. They come from the
//! issuers that the configuration trusts ([`crate::auth::issuers`]), or from the installation
//! itself, as in development and in the demo.
//!
//! The key pairs that the installation signs with are sealed in the database, so that all replicas
//! share it. Its algorithm is pinned, and times are judged by the clock of [`App`].

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Duration};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::auth::issuers;
use crate::auth::issuers::TOKEN_REFUSED;
use crate::auth::policy::Permissions;
use crate::context::App;
use crate::crypto::vault::SigningKey;
use crate::error::{Error, Result};

pub use crate::auth::issuers::IssuerClaims;

/// The audience of the installation's own tokens (`aud`).
pub const AUDIENCE: &str = "rolecall";
/// The longest token that is looked at.
const MAX_LENGTH: usize = 16 * 1024;

#[derive(Serialize, Deserialize)]
struct TokenClaims {
    iss: String,
    aud: String,
    sub: String,
    #[serde(default)]
    name: Option<String>,
    iat: i64,
    #[serde(default)]
    nbf: Option<i64>,
    exp: i64,
    #[serde(default)]
    organizations: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    permissions: Vec<String>,
}

/// Signs a token that is valid for `life`.
pub fn issue_token(app: &App, claims: &IssuerClaims, life: Duration) -> Result<String> {
    let now = app.clock.now();
    let wire = TokenClaims {
        iss: app.config.public_url.clone(),
        aud: AUDIENCE.into(),
        sub: claims.subject.clone(),
        name: Some(claims.name.clone()),
        iat: now.timestamp(),
        nbf: Some(now.timestamp()),
        exp: (now + life).timestamp(),
        organizations: claims
            .organizations
            .iter()
            .map(|(slug, held)| (slug.clone(), permission_names(held)))
            .collect(),
        permissions: permission_names(&claims.permissions),
    };
    let key = app.vault.signing_key(now)?;
    let header = Header { kid: Some(key.id().into()), ..Header::new(Algorithm::EdDSA) };
    jsonwebtoken::encode(&header, &wire, &EncodingKey::from_ed_der(key.private()))
        .map_err(|error| Error::Internal(format!("signing a token failed: {error}")))
}

/// The claims of a token, if a trusted issuer signed it for this installation and it is valid now.
///
/// # Errors
/// [`TOKEN_REFUSED`] in every other case; [`Error::Busy`] while the issuer's keys have never been
/// fetched.
pub async fn verify_token(app: &App, token: &str) -> Result<IssuerClaims> {
    /// The issuer that a token names; not trusted until the signature is checked.
    #[derive(Deserialize)]
    struct UnverifiedIssuer {
        iss: String,
    }
    if token.len() > MAX_LENGTH {
        return Err(TOKEN_REFUSED);
    }
    let said: UnverifiedIssuer =
        jsonwebtoken::dangerous::insecure_decode_claims(token).map_err(|_| TOKEN_REFUSED)?;
    if said.iss == app.config.public_url {
        verify_own(app, token)
    } else {
        app.issuers.verify_issued_token(&said.iss, token, app.clock.now()).await
    }
}

fn verify_own(app: &App, token: &str) -> Result<IssuerClaims> {
    // RFC 8725 section 3.1: this server chooses the algorithm, never the token.
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_issuer(&[&app.config.public_url]);
    validation.set_audience(&[AUDIENCE]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    // Checked below, by the clock of this server.
    validation.validate_exp = false;
    let now = app.clock.now();
    let named = jsonwebtoken::decode_header(token).ok().and_then(|header| header.kid);
    let key = named
        .and_then(|id| app.vault.verifying_key(&id))
        .filter(|key| key.opens_at(now))
        .ok_or(TOKEN_REFUSED)?;
    let key = DecodingKey::from_ed_der(key.public());
    let wire = jsonwebtoken::decode::<TokenClaims>(token, &key, &validation)
        .map_err(|_| TOKEN_REFUSED)?
        .claims;
    if !issuers::is_within_lifetime(wire.nbf, wire.exp, now) {
        return Err(TOKEN_REFUSED);
    }
    Ok(IssuerClaims {
        name: wire.name.unwrap_or_else(|| wire.sub.clone()),
        subject: wire.sub,
        organizations: wire
            .organizations
            .into_iter()
            .map(|(slug, held)| (slug, parse_permissions(&held)))
            .collect(),
        permissions: parse_permissions(&wire.permissions),
        until: DateTime::from_timestamp(wire.exp, 0),
    })
}

/// The installation's public keys, for other programs that check its signatures (RFC 7517, RFC
/// 8037): the present key, the next one, and all earlier ones, because evidence is kept longer than
/// the key that signed it is used. The newest key comes first.
pub fn public_keys(app: &App) -> Value {
    let public = |key: &SigningKey| {
        let x = URL_SAFE_NO_PAD.encode(key.public());
        json!({
            "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": key.id(), "x": x,
        })
    };
    json!({
        "keys": app.vault.verifying_keys().iter().rev().map(|key| public(key)).collect::<Vec<_>>(),
    })
}

fn permission_names(permissions: &Permissions) -> Vec<String> {
    permissions.iter().map(|permission| permission.name().to_owned()).collect()
}

/// An unknown name grants nothing.
fn parse_permissions(names: &[String]) -> Permissions {
    names.iter().filter_map(|name| name.parse().ok()).collect()
}
