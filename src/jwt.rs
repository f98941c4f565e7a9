//! JSON web tokens of the local issuer (RFC 7519): what a person opens the management API with where no other
//! issuer is configured, as in development and in the demo.
//!
//! The key pair is the installation's own, sealed in its database, so that all replicas share it. The algorithm
//! is pinned, and times are judged by the clock of [`App`].

use std::collections::BTreeMap;

use chrono::Duration;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use crate::authz::Permissions;
use crate::context::App;
use crate::error::{Error, Result};

/// Whom our tokens are for (`aud`).
pub const AUDIENCE: &str = "rolecall";
/// How far two clocks may be apart.
const LEEWAY_SECONDS: i64 = 60;
/// The longest token that is looked at.
const MAX_LENGTH: usize = 16 * 1024;

/// What a token says about a person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// Who this is, for as long as the issuer exists.
    pub subject: String,
    /// A name for people to read.
    pub name: String,
    /// What the person may do, by the slug of the organization.
    pub organizations: BTreeMap<String, Permissions>,
    /// What the person may do in every organization that the token names, and on the installation as a whole.
    pub permissions: Permissions,
}

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
    jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &wire, &key)
        .map_err(|error| Error::Internal(format!("signing a token failed: {error}")))
}

/// What a token says, if it is ours, for us, and good now.
///
/// # Errors
/// [`Error::Unauthenticated`] in every other case; the words do not tell a forger what was wrong.
pub fn verify(app: &App, token: &str) -> Result<Claims> {
    const REFUSED: Error = Error::Unauthenticated("the token is malformed, not ours, expired or not yet valid");
    if token.len() > MAX_LENGTH {
        return Err(REFUSED);
    }
    // RFC 8725 section 3.1: the algorithm is ours to choose, never the token's.
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_issuer(&[&app.config.public_url]);
    validation.set_audience(&[AUDIENCE]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    // Judged below, by our own clock.
    validation.validate_exp = false;
    let key = DecodingKey::from_ed_der(app.vault.verifying_key());
    let wire = jsonwebtoken::decode::<Wire>(token, &key, &validation).map_err(|_| REFUSED)?.claims;
    let now = app.clock.now().timestamp();
    let begun = wire.nbf.is_none_or(|at| at <= now.saturating_add(LEEWAY_SECONDS));
    if !begun || wire.exp.saturating_add(LEEWAY_SECONDS) <= now {
        return Err(REFUSED);
    }
    Ok(Claims {
        name: wire.name.unwrap_or_else(|| wire.sub.clone()),
        subject: wire.sub,
        organizations: wire.organizations.into_iter().map(|(slug, held)| (slug, known(&held))).collect(),
        permissions: known(&wire.permissions),
    })
}

fn names(permissions: &Permissions) -> Vec<String> {
    permissions.iter().map(|permission| permission.name().to_owned()).collect()
}

/// A name that is not one of ours gives nothing.
fn known(names: &[String]) -> Permissions {
    names.iter().filter_map(|name| name.parse().ok()).collect()
}
