//! Issuers of tokens that the configuration trusts: their keys are fetched and kept ([`keys`]), their tokens checked,
//! and their claims given a meaning here ([`claims`]).
//!
//! What must never enter: a token's own word about how it is to be checked. The algorithms, the audience and the
//! organizations that an issuer may speak for are the operator's settings.

mod claims;
mod keys;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use jsonwebtoken::{Validation, decode_header};
use serde_json::{Map, Value};

use crate::config::issuers::Issuer;
use crate::error::{Error, Result};
use keys::Keys;

pub use claims::Claims;

/// What is said of every token that is not accepted: a forger does not learn what was wrong.
pub const REFUSED: Error = Error::Unauthenticated("the token is malformed, not ours, expired or not yet valid");

/// How far two clocks may be apart.
const LEEWAY_SECONDS: i64 = 60;

/// The issuers that are trusted beside the installation's own.
#[derive(Debug)]
pub struct Issuers(Vec<(Issuer, Keys)>);

impl Issuers {
    /// Those of the configuration. Nothing is fetched yet.
    ///
    /// # Errors
    /// One line for the operator.
    pub fn new(settings: &[Issuer]) -> Result<Self, String> {
        let with_keys = |issuer: &Issuer| Ok((issuer.clone(), Keys::new(issuer)?));
        settings.iter().map(with_keys).collect::<Result<_, String>>().map(Self)
    }

    /// What a token says that names `issuer` as the one who made it, if that is true and it is good at `now`.
    ///
    /// # Errors
    /// [`REFUSED`], or [`Error::Busy`] while the issuer's keys were never to be had.
    pub async fn verify(&self, issuer: &str, token: &str, now: DateTime<Utc>) -> Result<Claims> {
        let (issuer, keys) = self.0.iter().find(|(known, _)| known.url == issuer).ok_or(REFUSED)?;
        let header = decode_header(token).map_err(|_| REFUSED)?;
        // RFC 7515 section 4.1.11: extensions that must be understood, of which we understand none.
        // RFC 8725 section 3.1: the algorithm is ours to choose, never the token's.
        if header.crit.is_some() || !issuer.algorithms.contains(&header.alg) {
            return Err(REFUSED);
        }
        let key = keys.find(header.kid.as_deref(), header.alg, now).await?.ok_or(REFUSED)?;
        let mut validation = Validation::new(header.alg);
        validation.set_issuer(&[&issuer.url]);
        validation.set_audience(&issuer.audience);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        // Judged below, by our own clock.
        validation.validate_exp = false;
        let token = jsonwebtoken::decode::<Map<String, Value>>(token, &key, &validation).map_err(|_| REFUSED)?.claims;
        let (begun, ends) = (instant(&token, "nbf")?, instant(&token, "exp")?.ok_or(REFUSED)?);
        if !good(begun, ends, now) {
            return Err(REFUSED);
        }
        let until = DateTime::from_timestamp(ends, 0);
        claims::of(issuer, &token).map(|claims| Claims { until, ..claims }).ok_or(REFUSED)
    }

    /// Fetches the keys of all issuers.
    pub async fn refresh(&self, now: DateTime<Utc>) {
        join_all(self.0.iter().map(|(_, keys)| keys.refresh(now))).await;
    }
}

/// Whether a token with these times is good at `now` (RFC 7519 sections 4.1.4 and 4.1.5).
pub fn good(begins: Option<i64>, ends: i64, now: DateTime<Utc>) -> bool {
    let now = now.timestamp();
    begins.is_none_or(|at| at <= now.saturating_add(LEEWAY_SECONDS)) && ends.saturating_add(LEEWAY_SECONDS) > now
}

/// RFC 7519 section 2, NumericDate: seconds, with a fraction or without.
fn instant(token: &Map<String, Value>, name: &str) -> Result<Option<i64>> {
    let Some(value) = token.get(name) else { return Ok(None) };
    let seconds = value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds.floor() as i64));
    seconds.map(Some).ok_or(REFUSED)
}
