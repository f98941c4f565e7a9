//! The public keys of one issuer (RFC 7517). They are fetched in the background again and again,
//! and at once when a token names a key that is not known yet; but never more often than
//! [`MIN_FETCH_INTERVAL`], so that a forger who invents key names cannot make this server send
//! requests. While the issuer cannot be reached, the last good set stays in use.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Duration, Utc};
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use reqwest::Url;
use serde_json::Value;

use crate::auth::issuers::settings::{KeySource, TrustedIssuer};
use crate::error::{Error, Result};
use crate::http_client::GuardedClient;

/// The shortest time between two fetches.
const MIN_FETCH_INTERVAL: Duration = Duration::seconds(10);
/// The longest document that is read.
const MAX_DOCUMENT: usize = 256 * 1024;
/// The most keys of one issuer that are looked at.
const MAX_KEYS: usize = 100;

/// An issuer's keys.
#[derive(Debug)]
pub struct IssuerKeys {
    issuer: String,
    source: KeySource,
    outbound: GuardedClient,
    known: Mutex<FetchedKeys>,
    /// Held during a fetch: a task that waits for it finds the keys fetched.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct FetchedKeys {
    /// None until the first set has come.
    keys: Option<Arc<[VerificationKey]>>,
    tried_at: Option<DateTime<Utc>>,
}

#[derive(Debug)]
struct VerificationKey {
    jwk: Jwk,
    decoding: DecodingKey,
}

impl IssuerKeys {
    /// Nothing is fetched yet.
    ///
    /// # Errors
    /// One line for the operator.
    pub fn new(issuer: &TrustedIssuer) -> Result<Self, String> {
        Ok(Self {
            issuer: issuer.url.clone(),
            source: issuer.keys.clone(),
            outbound: GuardedClient::new(issuer.allow_private_addresses)?,
            known: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        })
    }

    /// The key that a token of this algorithm was signed with, if the issuer has it.
    ///
    /// # Errors
    /// [`Error::Busy`] while no set of keys has ever been fetched.
    pub async fn find_key(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
        now: DateTime<Utc>,
    ) -> Result<Option<DecodingKey>> {
        if let Some(found) = self.cached_keys().and_then(|keys| pick_key(&keys, id, algorithm)) {
            return Ok(Some(found));
        }
        self.refresh_keys(now).await;
        let keys = self
            .cached_keys()
            .ok_or_else(|| Error::Busy(format!("no keys of {} yet", self.issuer)))?;
        Ok(pick_key(&keys, id, algorithm))
    }

    /// Fetches the keys, unless another task has just fetched them.
    pub async fn refresh_keys(&self, now: DateTime<Utc>) {
        let _turn = self.turn.lock().await;
        {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.tried_at.is_some_and(|tried| now < tried + MIN_FETCH_INTERVAL) {
                return;
            }
            known.tried_at = Some(now);
        }
        match self.fetch_keys().await {
            Ok(keys) => self.known.lock().unwrap_or_else(PoisonError::into_inner).keys = Some(keys),
            Err(why) => {
                tracing::warn!(
                    issuer = self.issuer,
                    why,
                    "fetching an issuer's keys failed; it is tried again"
                )
            }
        }
    }

    fn cached_keys(&self) -> Option<Arc<[VerificationKey]>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).keys.clone()
    }

    async fn fetch_keys(&self) -> Result<Arc<[VerificationKey]>, String> {
        let jwks = match &self.source {
            KeySource::Jwks(url) => url.clone(),
            KeySource::Discovery(url) => self.discover_jwks_url(url).await?,
        };
        let document = self.fetch_document(&jwks).await?;
        let keys =
            document["keys"].as_array().ok_or_else(|| format!("{jwks}: no keys in the answer"))?;
        let keys: Arc<[VerificationKey]> =
            keys.iter().take(MAX_KEYS).filter_map(VerificationKey::of).collect();
        // With an empty set, every token of this issuer would be refused: the previous set stays in
        // use.
        if keys.is_empty() {
            Err(format!("{jwks}: none of the keys can be used"))
        } else {
            Ok(keys)
        }
    }

    /// OpenID Connect Discovery 1.0, section 4.3: the document must be this issuer's own.
    async fn discover_jwks_url(&self, url: &Url) -> Result<Url, String> {
        let document = self.fetch_document(url).await?;
        if document["issuer"] != self.issuer.as_str() {
            return Err(format!(
                "{url}: is about the issuer {}, not {:?}",
                document["issuer"], self.issuer
            ));
        }
        let jwks = document["jwks_uri"].as_str().and_then(|text| Url::parse(text).ok());
        jwks.ok_or_else(|| format!("{url}: names no jwks_uri"))
    }

    async fn fetch_document(&self, url: &Url) -> Result<Value, String> {
        let bytes = self.outbound.get_bytes(url, MAX_DOCUMENT).await?;
        serde_json::from_slice(&bytes).map_err(|_| format!("{url}: the answer is not JSON"))
    }
}

/// The key of this name, or the only one that fits where the token names none.
fn pick_key(
    keys: &[VerificationKey],
    id: Option<&str>,
    algorithm: Algorithm,
) -> Option<DecodingKey> {
    let mut fitting = keys.iter().filter(|key| key.allows_algorithm(algorithm));
    let found = match id {
        Some(id) => fitting.find(|key| key.jwk.common.key_id.as_deref() == Some(id)),
        None => fitting.next().filter(|_| fitting.next().is_none()),
    };
    found.map(|key| key.decoding.clone())
}

impl VerificationKey {
    /// None where the type of the key is unknown here (RFC 7517 section 5: such keys are ignored).
    fn of(value: &Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
        let decoding = DecodingKey::from_jwk(&jwk).ok()?;
        Some(Self { jwk, decoding })
    }

    /// Whether it may check signatures of this algorithm (RFC 8725 section 3.1: a key is used with
    /// one algorithm only, if it names one).
    fn allows_algorithm(&self, algorithm: Algorithm) -> bool {
        let common = &self.jwk.common;
        let signs =
            common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature)
                && common
                    .key_operations
                    .as_ref()
                    .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
        let named = common.key_algorithm.is_none_or(|named| named == KeyAlgorithm::from(algorithm));
        let family = match (&self.jwk.algorithm, algorithm) {
            (AlgorithmParameters::RSA(_), algorithm) => algorithm.family() == AlgorithmFamily::Rsa,
            (AlgorithmParameters::EllipticCurve(key), Algorithm::ES256) => {
                key.curve == EllipticCurve::P256
            }
            (AlgorithmParameters::EllipticCurve(key), Algorithm::ES384) => {
                key.curve == EllipticCurve::P384
            }
            (AlgorithmParameters::OctetKeyPair(key), Algorithm::EdDSA) => {
                key.curve == EllipticCurve::Ed25519
            }
            _ => false,
        };
        signs && named && family
    }
}
