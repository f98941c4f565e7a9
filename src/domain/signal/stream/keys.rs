//! The key pairs of a stream. A new one is published before it signs, and an old one stays
//! published for a while after it has signed last, so that a receiver with a copy of the key set
//! can verify every token.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Duration, Utc};
use entity::event_stream;
use entity::event_stream::SigningAlgorithm;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::context::Cx;
use crate::crypto::event_token::{NewTokenKey, TokenAlgorithm, TokenSigner, new_token_key};
use crate::domain::tenant::organization;
use crate::error::{Error, Result};

/// How long a new key is published before it signs, if the overlap allows: longer than a copy of
/// the key set may be kept.
const PUBLISHED_AHEAD: Duration = Duration::minutes(10);

/// A key pair of a stream as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredKey {
    /// The public half, a member of a key set (RFC 7517).
    pub public: Value,
    /// The private half, sealed, in base64.
    pub sealed: String,
    pub signs_from: DateTime<Utc>,
    /// Until when it is published; none for the newest key.
    pub until: Option<DateTime<Utc>>,
}

/// The algorithm of tokens that a stream has chosen.
pub fn token_algorithm(algorithm: SigningAlgorithm) -> TokenAlgorithm {
    match algorithm {
        SigningAlgorithm::Rs256 => TokenAlgorithm::Rs256,
        SigningAlgorithm::Es256 => TokenAlgorithm::Es256,
    }
}

/// Makes a key pair on a thread that may take its time.
pub(super) async fn make_key(algorithm: SigningAlgorithm) -> Result<NewTokenKey> {
    let algorithm = token_algorithm(algorithm);
    let made = tokio::task::spawn_blocking(move || new_token_key(algorithm)).await;
    made.map_err(|error| Error::Internal(error.to_string()))?.map_err(Error::Internal)
}

/// The key as it is stored, sealed for the stream `id`.
pub(super) async fn seal_key(
    cx: &Cx,
    id: Uuid,
    key: &NewTokenKey,
    signs_from: DateTime<Utc>,
) -> Result<StoredKey> {
    let data_key = organization::current_organization(cx).await?.data_key;
    let sealed = cx.app.vault.seal(cx.organization(), &data_key, id, &key.private)?;
    let (public, sealed) = (key.public.clone(), STANDARD.encode(sealed));
    Ok(StoredKey { public, sealed, signs_from, until: None })
}

/// The key pairs of a stream, the oldest first.
pub fn stored_keys(row: &event_stream::Model) -> Result<Vec<StoredKey>> {
    serde_json::from_value(row.signing_keys.clone())
        .map_err(|_| Error::Internal("the keys of a stream are damaged".into()))
}

/// The keys of a stream with one more, which the others are published beside for `overlap`.
pub(super) fn add_key(
    mut keys: Vec<StoredKey>,
    new: StoredKey,
    now: DateTime<Utc>,
    overlap: Duration,
) -> Vec<StoredKey> {
    keys.retain(|key| key.until.is_none_or(|until| until > now));
    let until = now + overlap;
    for key in &mut keys {
        key.until = Some(key.until.map_or(until, |known| known.min(until)));
    }
    keys.retain(|key| key.until.is_none_or(|until| until > now));
    let ahead = PUBLISHED_AHEAD.min(overlap / 2);
    keys.push(StoredKey { signs_from: now + ahead, ..new });
    keys
}

/// The private keys of a stream, opened, each with the instant from which on it signs.
#[derive(Debug, Clone)]
pub struct StreamSigners {
    signers: Vec<(DateTime<Utc>, Arc<TokenSigner>)>,
}

impl StreamSigners {
    /// Opens the keys of a stream by its organization's data key.
    ///
    /// # Errors
    /// [`Error::Internal`] for a key that is damaged.
    pub fn open_keys(cx: &Cx, data_key: &[u8], row: &event_stream::Model) -> Result<Self> {
        let damaged = || Error::Internal("a key of a stream is damaged".into());
        let mut signers = Vec::new();
        for key in stored_keys(row)? {
            let sealed = STANDARD.decode(&key.sealed).map_err(|_| damaged())?;
            let vault = &cx.app.vault;
            let private = vault.unseal(cx.organization(), data_key, row.destination_id, &sealed)?;
            let id = key.public["kid"].as_str().ok_or_else(damaged)?;
            let name = key.public["alg"].as_str().and_then(TokenAlgorithm::from_name);
            let signer = TokenSigner::from_private_key(name.ok_or_else(damaged)?, id, &private)
                .map_err(Error::Internal)?;
            signers.push((key.signs_from, Arc::new(signer)));
        }
        if signers.is_empty() { Err(damaged()) } else { Ok(Self { signers }) }
    }

    /// The key that signs at `now`: the newest one whose time has come.
    pub fn current(&self, now: DateTime<Utc>) -> Result<&TokenSigner> {
        let begun = self.signers.iter().rev().find(|(from, _)| *from <= now);
        // A clock that is behind the one that made the only key is no reason not to sign.
        let found = begun.or(self.signers.first());
        found
            .map(|(_, signer)| signer.as_ref())
            .ok_or_else(|| Error::Internal("a stream has no key".into()))
    }
}
