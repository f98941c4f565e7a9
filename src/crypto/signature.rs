//! Signed statements: compact JWS (RFC 7515) under Ed25519 (RFC 8037), with the installation's own
//! key. What must never enter: what a statement says.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::crypto::vault::{SigningKey, Vault, key_id};

/// The algorithm of every signature here, as a header names it.
const ALGORITHM: &str = "EdDSA";
/// The error text for a signature that names another key.
const ANOTHER_KEY: &str =
    "it was signed with another key than this one: by another installation, or it is forged";
/// Bytes of a public key.
const KEY_BYTES: usize = 32;

/// The header of everything that is signed here, and of nothing else: what chooses another key or
/// another algorithm (`jwk`, `jku`, `x5c`), or another reading of the payload (`crit`, `b64`), is
/// refused unread.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JwsHeader {
    typ: String,
    alg: String,
    /// Which key has signed. Statements from before 2026-11-28 do not say it.
    kid: Option<String>,
}

/// Signs a statement of the kind `typ`.
///
/// # Errors
/// The signing library's own; never for a valid key.
pub fn sign_statement<T: Serialize>(
    vault: &Vault,
    now: DateTime<Utc>,
    typ: &str,
    statement: &T,
) -> Result<String, String> {
    let key = vault.signing_key(now).map_err(|error| error.to_string())?;
    let header = Header {
        typ: Some(typ.into()),
        kid: Some(key.id().into()),
        ..Header::new(Algorithm::EdDSA)
    };
    jsonwebtoken::encode(&header, statement, &EncodingKey::from_ed_der(key.private()))
        .map_err(|error| format!("signing failed: {error}"))
}

/// What a check says with whichever key of this installation has signed, the newest first; keys are
/// kept for ever.
///
/// # Errors
/// What is wrong, in words for a person.
pub fn check_by_any<T>(
    vault: &Vault,
    check: impl Fn(&SigningKey) -> Result<T, String>,
) -> Result<T, String> {
    let mut wrong = ANOTHER_KEY.to_owned();
    for key in vault.verifying_keys().iter().rev() {
        match check(key) {
            Err(why) if why == ANOTHER_KEY => {}
            Err(why) => wrong = why,
            genuine => return genuine,
        }
    }
    Err(wrong)
}

/// What a statement of the kind `typ` says, if the holder of `key` (the public key, 32 bytes) has
/// signed it.
///
/// # Errors
/// What is wrong, in words for a person.
pub fn check_statement<T: DeserializeOwned + Clone>(
    key: &[u8],
    typ: &str,
    statement: &str,
) -> Result<T, String> {
    if key.len() != KEY_BYTES {
        return Err(format!("the key has {} bytes; a public key has {KEY_BYTES}", key.len()));
    }
    let damaged = || "the attestation is damaged".to_owned();
    let head = statement
        .split('.')
        .next()
        .and_then(|head| URL_SAFE_NO_PAD.decode(head).ok())
        .ok_or_else(damaged)?;
    let head: JwsHeader = serde_json::from_slice(&head).map_err(|_| damaged())?;
    if head.typ != typ {
        return Err("this is signed, but it is no attestation".into());
    }
    if head.alg != ALGORITHM {
        return Err(format!("the attestation is damaged: its algorithm must be {ALGORITHM}"));
    }
    if let Some(kid) = &head.kid
        && *kid != key_id(key)
    {
        return Err(ANOTHER_KEY.into());
    }
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let decoded = jsonwebtoken::decode::<T>(statement, &DecodingKey::from_ed_der(key), &validation);
    let refused = match head.kid {
        Some(_) => "the signature is not that of this key: the attestation was altered or forged",
        None => {
            "the signature is not that of this key: another key has signed it, or it was altered \
             or forged"
        }
    };
    Ok(decoded.map_err(|_| refused.to_owned())?.claims)
}
