//! JSON web tokens (RFC 7519): what a person opens the management API with. They come from the issuers that the
//! configuration trusts ([`crate::issuers`]), or from the installation itself, as in development and in the demo.
//!
//! The local issuer's key pair is sealed in the database, so that all replicas share it. Its algorithm is pinned, and
//! times are judged by the clock of [`App`].

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Duration};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::authz::Permissions;
use crate::context::App;
use crate::error::{Error, Result};
use crate::issuers::{self, REFUSED};
use crate::signature;

pub use crate::issuers::Claims;

/// Whom our tokens are for (`aud`).
pub const AUDIENCE: &str = "rolecall";
/// The longest token that is looked at.
const MAX_LENGTH: usize = 16 * 1024;

#[derive(Serialize, Deserialize)]
struct Wire {
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

/// Signs a token that is good for `life`.
pub fn issue(app: &App, claims: &Claims, life: Duration) -> Result<String> {
    let now = app.clock.now();
    let wire = Wire {
        iss: app.config.public_url.clone(),
        aud: AUDIENCE.into(),
        sub: claims.subject.clone(),
        name: Some(claims.name.clone()),
        iat: now.timestamp(),
        nbf: Some(now.timestamp()),
        exp: (now + life).timestamp(),
        organizations: claims.organizations.iter().map(|(slug, held)| (slug.clone(), names(held))).collect(),
        permissions: names(&claims.permissions),
    };
    let key = EncodingKey::from_ed_der(app.vault.signing_key());
    let header = Header { kid: Some(key_id(app)), ..Header::new(Algorithm::EdDSA) };
    jsonwebtoken::encode(&header, &wire, &key)
        .map_err(|error| Error::Internal(format!("signing a token failed: {error}")))
}

/// What a token says, if somebody made it whom we trust, for us, and it is good now.
///
/// # Errors
/// [`REFUSED`] in every other case; [`Error::Busy`] while the issuer's keys were never to be had.
pub async fn verify(app: &App, token: &str) -> Result<Claims> {
    /// Who a token says has made it; not true until it is checked.
    #[derive(Deserialize)]
    struct Said {
        iss: String,
    }
    if token.len() > MAX_LENGTH {
        return Err(REFUSED);
    }
    let said: Said = jsonwebtoken::dangerous::insecure_decode_claims(token).map_err(|_| REFUSED)?;
    match said.iss == app.config.public_url {
        true => verify_own(app, token),
        false => app.issuers.verify(&said.iss, token, app.clock.now()).await,
    }
}

fn verify_own(app: &App, token: &str) -> Result<Claims> {
    // RFC 8725 section 3.1: the algorithm is ours to choose, never the token's.
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_issuer(&[&app.config.public_url]);
    validation.set_audience(&[AUDIENCE]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    // Judged below, by our own clock.
    validation.validate_exp = false;
    let key = DecodingKey::from_ed_der(app.vault.verifying_key());
    let wire = jsonwebtoken::decode::<Wire>(token, &key, &validation).map_err(|_| REFUSED)?.claims;
    if !issuers::good(wire.nbf, wire.exp, app.clock.now()) {
        return Err(REFUSED);
    }
    Ok(Claims {
        name: wire.name.unwrap_or_else(|| wire.sub.clone()),
        subject: wire.sub,
        organizations: wire.organizations.into_iter().map(|(slug, held)| (slug, known(&held))).collect(),
        permissions: known(&wire.permissions),
        until: DateTime::from_timestamp(wire.exp, 0),
    })
}

/// The local issuer's public key, for whoever else is to check its tokens (RFC 7517, RFC 8037).
pub fn jwks(app: &App) -> Value {
    let x = URL_SAFE_NO_PAD.encode(app.vault.verifying_key());
    let key = json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": key_id(app), "x": x });
    json!({ "keys": [key] })
}

fn key_id(app: &App) -> String {
    signature::key_id(app.vault.verifying_key())
}

fn names(permissions: &Permissions) -> Vec<String> {
    permissions.iter().map(|permission| permission.name().to_owned()).collect()
}

/// A name that is not one of ours gives nothing.
fn known(names: &[String]) -> Permissions {
    names.iter().filter_map(|name| name.parse().ok()).collect()
}
