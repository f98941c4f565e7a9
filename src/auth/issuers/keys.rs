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

use crate::auth::issuers::settings::KeySource;
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
    outbound: Arc<GuardedClient>,
    /// After this time keys are fetched again before they are used; none = something else fetches
    /// them regularly.
    max_age: Option<Duration>,
    known: Mutex<FetchedKeys>,
    /// Held during a fetch: a task that waits for it finds the keys fetched.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct FetchedKeys {
    /// None until the first set has come.
    keys: Option<Arc<[VerificationKey]>>,
    /// What the discovery document says, where there is one.
    metadata: Option<Arc<ProviderMetadata>>,
    tried_at: Option<DateTime<Utc>>,
    fetched_at: Option<DateTime<Utc>>,
}

/// What an issuer says about itself (OpenID Connect Discovery 1.0, section 3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderMetadata {
    pub jwks_url: Url,
    pub authorization_endpoint: Option<Url>,
    pub token_endpoint: Option<Url>,
    pub end_session_endpoint: Option<Url>,
    pub user_info_endpoint: Option<Url>,
    /// Whether it names itself in the answer to a sign-in (RFC 9207).
    pub names_issuer: bool,
    /// Whether the client can authenticate with its secret in the form.
    pub takes_secret_in_form: bool,
}

impl ProviderMetadata {
    fn of(document: &Value) -> Option<Self> {
        let address = |name: &str| Url::parse(document[name].as_str()?).ok();
        let methods = document["token_endpoint_auth_methods_supported"].as_array();
        let in_form = |methods: &Vec<Value>| {
            !methods.iter().any(|method| method == "client_secret_basic")
                && methods.iter().any(|method| method == "client_secret_post")
        };
        Some(Self {
            jwks_url: address("jwks_uri")?,
            authorization_endpoint: address("authorization_endpoint"),
            token_endpoint: address("token_endpoint"),
            end_session_endpoint: address("end_session_endpoint"),
            user_info_endpoint: address("userinfo_endpoint"),
            names_issuer: document["authorization_response_iss_parameter_supported"] == true,
            takes_secret_in_form: methods.is_some_and(in_form),
        })
    }
}

/// The keys, and what the issuer says about itself.
type FetchedSet = (Arc<[VerificationKey]>, Option<Arc<ProviderMetadata>>);

#[derive(Debug)]
struct VerificationKey {
    jwk: Jwk,
    decoding: DecodingKey,
}

impl IssuerKeys {
    /// The keys of `issuer`, which `outbound` fetches. Nothing is fetched yet.
    pub fn new(issuer: &str, source: KeySource, outbound: Arc<GuardedClient>) -> Self {
        Self {
            issuer: issuer.to_owned(),
            source,
            outbound,
            max_age: None,
            known: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// The same, for keys that are fetched only while they are used.
    pub fn with_max_age(self, max_age: Duration) -> Self {
        Self { max_age: Some(max_age), ..self }
    }

    /// Whether these are the keys of that issuer, from there.
    pub fn are_from(&self, issuer: &str, source: &KeySource) -> bool {
        self.issuer == issuer && self.source == *source
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
        self.refresh_old_keys(now).await;
        if let Some(found) = self.cached_keys().and_then(|keys| pick_key(&keys, id, algorithm)) {
            return Ok(Some(found));
        }
        self.refresh_keys(now).await;
        let keys = self.cached_keys().ok_or_else(|| self.no_keys_yet())?;
        Ok(pick_key(&keys, id, algorithm))
    }

    /// What the issuer says about itself; none where the address of its keys is set, so that no
    /// discovery document is read.
    ///
    /// # Errors
    /// [`Error::Busy`] while it has never been fetched.
    pub async fn provider_metadata(
        &self,
        now: DateTime<Utc>,
    ) -> Result<Option<Arc<ProviderMetadata>>> {
        if matches!(self.source, KeySource::Jwks(_)) {
            return Ok(None);
        }
        self.refresh_old_keys(now).await;
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner).metadata.clone();
        if known().is_none() {
            self.refresh_keys(now).await;
        }
        let found = known().ok_or_else(|| self.no_keys_yet())?;
        Ok(Some(found))
    }

    fn no_keys_yet(&self) -> Error {
        Error::Busy(format!("no keys of {} yet", self.issuer))
    }

    /// Fetches keys that are old, unless another task is doing it.
    async fn refresh_old_keys(&self, now: DateTime<Utc>) {
        let Some(max_age) = self.max_age else { return };
        let fetched = self.known.lock().unwrap_or_else(PoisonError::into_inner).fetched_at;
        if fetched.is_some_and(|at| now >= at + max_age)
            && let Ok(turn) = self.turn.try_lock()
        {
            self.fetch_in_turn(now).await;
            drop(turn);
        }
    }

    /// Fetches the keys, unless another task has just fetched them.
    pub async fn refresh_keys(&self, now: DateTime<Utc>) {
        let _turn = self.turn.lock().await;
        self.fetch_in_turn(now).await;
    }

    async fn fetch_in_turn(&self, now: DateTime<Utc>) {
        {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.tried_at.is_some_and(|tried| now < tried + MIN_FETCH_INTERVAL) {
                return;
            }
            known.tried_at = Some(now);
        }
        match self.fetch_keys().await {
            Ok((keys, metadata)) => {
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                (known.keys, known.metadata) = (Some(keys), metadata);
                known.fetched_at = Some(now);
            }
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

    async fn fetch_keys(&self) -> Result<FetchedSet, String> {
        let (jwks, metadata) = match &self.source {
            KeySource::Jwks(url) => (url.clone(), None),
            KeySource::Discovery(url) => {
                let metadata = self.fetch_metadata(url).await?;
                (metadata.jwks_url.clone(), Some(Arc::new(metadata)))
            }
        };
        Ok((self.fetch_key_set(&jwks).await?, metadata))
    }

    async fn fetch_key_set(&self, jwks: &Url) -> Result<Arc<[VerificationKey]>, String> {
        let document = self.fetch_document(jwks).await?;
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
    async fn fetch_metadata(&self, url: &Url) -> Result<ProviderMetadata, String> {
        let document = self.fetch_document(url).await?;
        if document["issuer"] != self.issuer.as_str() {
            return Err(format!(
                "{url}: is about the issuer {}, not {:?}",
                document["issuer"], self.issuer
            ));
        }
        ProviderMetadata::of(&document).ok_or_else(|| format!("{url}: names no jwks_uri"))
    }

    /// Reads the discovery document, for a test.
    ///
    /// # Errors
    /// One line for an administrator.
    pub async fn probe_metadata(&self) -> Result<Option<ProviderMetadata>, String> {
        match &self.source {
            KeySource::Jwks(_) => Ok(None),
            KeySource::Discovery(url) => self.fetch_metadata(url).await.map(Some),
        }
    }

    /// Reads the keys and counts those that fit one of the algorithms, for a test.
    ///
    /// # Errors
    /// One line for an administrator.
    pub async fn probe_keys(
        &self,
        metadata: Option<&ProviderMetadata>,
        algorithms: &[Algorithm],
    ) -> Result<usize, String> {
        let url = match (&self.source, metadata) {
            (_, Some(metadata)) => &metadata.jwks_url,
            (KeySource::Jwks(url) | KeySource::Discovery(url), None) => url,
        };
        let keys = self.fetch_key_set(url).await?;
        let fits = |key: &&VerificationKey| {
            algorithms.iter().any(|algorithm| key.allows_algorithm(*algorithm))
        };
        Ok(keys.iter().filter(fits).count())
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
