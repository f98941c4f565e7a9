//! JSON web tokens (RFC 7519): what a person opens the management API with. They come from the issuers that the
//! configuration trusts ([`crate::issuers`]), or from the installation itself, as in development and in the demo.
//!
//! The key pairs that the installation signs with are sealed in the database, so that all replicas share it. Its algorithm is pinned, and
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
use crate::vault::SigningKey;

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
    let key = app.vault.signing_key(now)?;
    let header = Header { kid: Some(key.id().into()), ..Header::new(Algorithm::EdDSA) };
    jsonwebtoken::encode(&header, &wire, &EncodingKey::from_ed_der(key.private()))
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
    let now = app.clock.now();
    let named = jsonwebtoken::decode_header(token).ok().and_then(|header| header.kid);
    let key = named.and_then(|id| app.vault.verifying_key(&id)).filter(|key| key.opens_at(now)).ok_or(REFUSED)?;
    let key = DecodingKey::from_ed_der(key.public());
    let wire = jsonwebtoken::decode::<Wire>(token, &key, &validation).map_err(|_| REFUSED)?.claims;
    if !issuers::good(wire.nbf, wire.exp, now) {
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

/// The installation's public keys, for whoever else is to check what it signs (RFC 7517, RFC 8037): the one that signs,
/// the one that will, and all that have, since evidence outlives the key that signed it. The newest comes first.
pub fn jwks(app: &App) -> Value {
    let public = |key: &SigningKey| {
        let x = URL_SAFE_NO_PAD.encode(key.public());
        json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": key.id(), "x": x })
    };
    json!({ "keys": app.vault.verifying_keys().iter().rev().map(|key| public(key)).collect::<Vec<_>>() })
}

fn names(permissions: &Permissions) -> Vec<String> {
    permissions.iter().map(|permission| permission.name().to_owned()).collect()
}

/// A name that is not one of ours gives nothing.
fn known(names: &[String]) -> Permissions {
    names.iter().filter_map(|name| name.parse().ok()).collect()
}
