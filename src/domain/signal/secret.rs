//! The secrets of a destination: what its messages are signed with. They are stored sealed, and the
//! text of a secret is shown once.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use entity::destination::Model as Destination;
use serde_json::{Value, json};

use crate::context::Cx;
use crate::crypto::vault;
use crate::crypto::webhook::MessageKeys;
use crate::domain::tenant::organization;
use crate::error::{Error, Result};

/// How a secret begins (Standard Webhooks).
const SECRET_PREFIX: &str = "whsec_";
/// How a public key begins (Standard Webhooks).
const PUBLIC_KEY_PREFIX: &str = "whpk_";

/// A new secret as its receiver is given it.
pub(super) fn new_secret() -> Result<String> {
    Ok(format!("{SECRET_PREFIX}{}", STANDARD.encode(vault::random_bytes::<32>()?)))
}

/// A new key pair: the private key as PKCS#8, and the public key.
pub(super) fn new_key_pair() -> Result<(Vec<u8>, Vec<u8>)> {
    let fault = || Error::Internal("cannot make a signing key".into());
    let private = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| fault())?;
    let pair = Ed25519KeyPair::from_pkcs8(private.as_ref()).map_err(|_| fault())?;
    Ok((private.as_ref().to_vec(), pair.public_key().as_ref().to_vec()))
}

/// The public key as a receiver is given it.
pub fn public_key_text(key: &[u8]) -> String {
    format!("{PUBLIC_KEY_PREFIX}{}", STANDARD.encode(key))
}

/// The public key as a member of a key set (RFC 7517, RFC 8037).
pub fn public_jwk(key: &[u8]) -> Value {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    json!({
        "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
        "kid": vault::key_id(key), "x": URL_SAFE_NO_PAD.encode(key),
    })
}

/// Seals `secret` for the destination `id`.
pub(super) async fn seal_secret(cx: &Cx, id: uuid::Uuid, secret: &[u8]) -> Result<Vec<u8>> {
    let key = organization::current_organization(cx).await?.data_key;
    cx.app.vault.seal(cx.organization(), &key, id, secret)
}

/// What messages to a destination are signed with at `now`, by an organization's data key.
pub(super) fn message_keys(
    cx: &Cx,
    data_key: &[u8],
    row: &Destination,
    now: DateTime<Utc>,
) -> Result<MessageKeys> {
    let unseal = |sealed: &[u8]| cx.app.vault.unseal(cx.organization(), data_key, row.id, sealed);
    let previous = row.previous_secret.as_ref();
    let previous = previous.filter(|_| row.previous_until.is_some_and(|until| until > now));
    let mut secrets = Vec::new();
    for sealed in row.secret.iter().chain(previous) {
        let text = String::from_utf8(unseal(sealed)?).unwrap_or_default();
        let encoded = text.strip_prefix(SECRET_PREFIX).unwrap_or_default();
        let bytes = STANDARD.decode(encoded);
        secrets.push(bytes.map_err(|_| Error::Internal("a sealed secret is damaged".into()))?);
    }
    let private = row.private_key.as_deref().map(unseal).transpose()?;
    Ok(MessageKeys { secrets, private })
}
