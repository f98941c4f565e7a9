//! Issuers of tokens that the configuration trusts: their keys are fetched and kept ([`keys`]),
//! their tokens checked, and their claims given a meaning here ([`claims`]).
//!
//! What must never enter: settings that a token brings for its own check. The algorithms, the
//! audience and the organizations that an issuer may speak for are the operator's settings.

mod claims;
mod key_rings;
mod keys;
pub mod settings;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use jsonwebtoken::{Validation, decode_header};
use serde_json::{Map, Value};

use crate::auth::issuers::settings::TrustedIssuer;
use crate::error::{Error, Result};
use crate::http_client::GuardedClient;

pub use claims::IssuerClaims;
pub use key_rings::KeyRings;
pub use keys::{IssuerKeys, ProviderMetadata};

/// The answer for every token that is not accepted: a forger does not learn what was wrong.
pub const TOKEN_REFUSED: Error =
    Error::Unauthenticated("the token is malformed, not ours, expired or not yet valid");

/// How far two clocks may be apart.
const LEEWAY_SECONDS: i64 = 60;

/// The issuers that are trusted beside the installation's own.
#[derive(Debug)]
pub struct Issuers(Vec<(TrustedIssuer, IssuerKeys)>);

impl Issuers {
    /// Those of the configuration. Nothing is fetched yet.
    ///
    /// # Errors
    /// One line for the operator.
    pub fn new(settings: &[TrustedIssuer]) -> Result<Self, String> {
        let with_keys = |issuer: &TrustedIssuer| {
            let outbound = Arc::new(GuardedClient::new(issuer.allow_private_addresses)?);
            let keys = IssuerKeys::new(&issuer.url, issuer.keys.clone(), outbound);
            Ok((issuer.clone(), keys))
        };
        settings.iter().map(with_keys).collect::<Result<_, String>>().map(Self)
    }

    /// The claims of a token that names `issuer` as its issuer, if `issuer` signed it and it is
    /// valid at `now`.
    ///
    /// # Errors
    /// [`TOKEN_REFUSED`], or [`Error::Busy`] while the issuer's keys have never been fetched.
    pub async fn verify_issued_token(
        &self,
        issuer: &str,
        token: &str,
        now: DateTime<Utc>,
    ) -> Result<IssuerClaims> {
        let (issuer, keys) =
            self.0.iter().find(|(known, _)| known.url == issuer).ok_or(TOKEN_REFUSED)?;
        let header = decode_header(token).map_err(|_| TOKEN_REFUSED)?;
        // RFC 7515 section 4.1.11: extensions that must be understood, of which this server
        // supports none. RFC 8725 section 3.1: this server chooses the algorithm, never the token.
        if header.crit.is_some() || !issuer.algorithms.contains(&header.alg) {
            return Err(TOKEN_REFUSED);
        }
        let key =
            keys.find_key(header.kid.as_deref(), header.alg, now).await?.ok_or(TOKEN_REFUSED)?;
        let mut validation = Validation::new(header.alg);
        validation.set_issuer(&[&issuer.url]);
        validation.set_audience(&issuer.audience);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        // Checked below, by the clock of this server.
        validation.validate_exp = false;
        let token = jsonwebtoken::decode::<Map<String, Value>>(token, &key, &validation)
            .map_err(|_| TOKEN_REFUSED)?
            .claims;
        let (begun, ends) =
            (numeric_date(&token, "nbf")?, numeric_date(&token, "exp")?.ok_or(TOKEN_REFUSED)?);
        if !is_within_lifetime(begun, ends, now) {
            return Err(TOKEN_REFUSED);
        }
        let until = DateTime::from_timestamp(ends, 0);
        claims::read_claims(issuer, &token)
            .map(|claims| IssuerClaims { until, ..claims })
            .ok_or(TOKEN_REFUSED)
    }

    /// Fetches the keys of all issuers.
    pub async fn refresh_all_keys(&self, now: DateTime<Utc>) {
        join_all(self.0.iter().map(|(_, keys)| keys.refresh_keys(now))).await;
    }
}

/// Whether a token with these times is valid at `now` (RFC 7519 sections 4.1.4 and 4.1.5).
pub fn is_within_lifetime(begins: Option<i64>, ends: i64, now: DateTime<Utc>) -> bool {
    let now = now.timestamp();
    begins.is_none_or(|at| at <= now.saturating_add(LEEWAY_SECONDS))
        && ends.saturating_add(LEEWAY_SECONDS) > now
}

/// RFC 7519 section 2, NumericDate: seconds, with a fraction or without.
fn numeric_date(token: &Map<String, Value>, name: &str) -> Result<Option<i64>> {
    let Some(value) = token.get(name) else { return Ok(None) };
    let seconds = value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds.floor() as i64));
    seconds.map(Some).ok_or(TOKEN_REFUSED)
}
