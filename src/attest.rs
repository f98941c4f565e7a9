//! Attestations: what the ledger and exports say, signed with the installation's own key, so that it can be checked
//! later without trust in the database or in whoever handed the file over.
//!
//! An attestation is a compact JWS (RFC 7515) under Ed25519 (RFC 8037). It carries where the chain of the ledger
//! ended: whoever keeps one can tell later that nothing before it was altered and that no tail was cut off. What must
//! never enter: a read of the database.

mod file;

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::context::App;
use crate::ledger::hex;
use crate::vault::key_id;

pub use file::{check_file, last_line};

/// What an attestation is about: the `typ` of its header.
pub const TYPE: &str = "rolecall-attestation+jws";

/// The algorithm of every signature here, as a header names it.
const ALGORITHM: &str = "EdDSA";

/// What is said of a signature that names another key.
const ANOTHER_KEY: &str = "it was signed with another key than this one: by another installation, or it is forged";

/// What is attested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The installation, by its public address.
    pub iss: String,
    /// When it was signed, in seconds since the epoch.
    pub iat: i64,
    /// The organization's slug.
    pub organization: String,
    /// The number of the last row in the organization's chain.
    pub sequence: i64,
    /// That row's hash, in hexadecimal.
    pub hash: String,
    /// The export that this stands under; none for a checkpoint of the ledger alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export: Option<Export>,
}

/// An export, bound to its attestation by a digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// The report's name.
    pub report: String,
    /// What was asked for: instants and names, as they were understood.
    pub parameters: serde_json::Value,
    /// The controls that it is evidence for.
    pub controls: Vec<String>,
    /// How many rows it has.
    pub rows: u64,
    /// SHA-256 over every byte before the attestation's line, in hexadecimal.
    pub sha256: String,
}

/// The header of everything that is signed here, and of nothing else: what chooses another key or another algorithm
/// (`jwk`, `jku`, `x5c`), or another reading of the payload (`crit`, `b64`), is refused unread.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    typ: String,
    alg: String,
    /// RFC 7638: which key has signed. Attestations before 2026-11-28 do not say it.
    kid: Option<String>,
}

/// Signs an attestation.
///
/// # Errors
/// What the signing library says; never of a sound key.
pub fn sign(app: &App, claims: &Claims) -> Result<String, String> {
    sign_as(app, TYPE, claims)
}

/// Signs a statement of the kind `typ`.
///
/// # Errors
/// What the signing library says; never of a sound key.
pub(crate) fn sign_as<T: Serialize>(app: &App, typ: &str, statement: &T) -> Result<String, String> {
    let key = app.vault.signing_key(app.clock.now()).map_err(|error| error.to_string())?;
    let header = Header { typ: Some(typ.into()), kid: Some(key.id().into()), ..Header::new(Algorithm::EdDSA) };
    jsonwebtoken::encode(&header, statement, &EncodingKey::from_ed_der(key.private()))
        .map_err(|error| format!("signing failed: {error}"))
}

/// What `attestation` says, if the holder of `key` (the public key, 32 bytes in base64url) has signed it.
///
/// # Errors
/// What is wrong, in words for a person.
pub fn check(key: &str, attestation: &str) -> Result<Claims, String> {
    let key = URL_SAFE_NO_PAD.decode(key.trim()).map_err(|_| "the key is not base64url".to_owned())?;
    check_as(&key, TYPE, attestation)
}

/// What a statement of the kind `typ` says, if the holder of `key` (the public key, 32 bytes) has signed it.
///
/// # Errors
/// What is wrong, in words for a person.
pub(crate) fn check_as<T: DeserializeOwned + Clone>(key: &[u8], typ: &str, statement: &str) -> Result<T, String> {
    if key.len() != 32 {
        return Err(format!("the key has {} bytes; a public key has 32", key.len()));
    }
    let damaged = || "the attestation is damaged".to_owned();
    let head = statement.split('.').next().and_then(|head| URL_SAFE_NO_PAD.decode(head).ok()).ok_or_else(damaged)?;
    let head: Head = serde_json::from_slice(&head).map_err(|_| damaged())?;
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
        None => "the signature is not that of this key: another key has signed it, or it was altered or forged",
    };
    Ok(decoded.map_err(|_| refused.to_owned())?.claims)
}

/// The public key that checks this installation's attestations, in base64url.
pub fn public_key(app: &App) -> String {
    app.vault.signing_key(app.clock.now()).map(|key| key.public_text()).unwrap_or_default()
}

/// Checks a file as [`check_file`] does, against every key that this installation has ever signed with.
///
/// # Errors
/// What is wrong, in words for a person.
pub fn check_own_file(app: &App, bytes: &[u8]) -> Result<Claims, String> {
    let mut wrong = ANOTHER_KEY.to_owned();
    for key in app.vault.verifying_keys().iter().rev() {
        match check_file(&key.public_text(), bytes) {
            Err(why) if why == ANOTHER_KEY => {}
            Err(why) => wrong = why,
            genuine => return genuine,
        }
    }
    Err(wrong)
}

/// What a statement of the kind `typ` says, if this installation has signed it with any of its keys.
///
/// # Errors
/// What is wrong, in words for a person.
pub(crate) fn check_own<T: DeserializeOwned + Clone>(app: &App, typ: &str, statement: &str) -> Result<T, String> {
    let mut wrong = ANOTHER_KEY.to_owned();
    for key in app.vault.verifying_keys().iter().rev() {
        match check_as(key.public(), typ, statement) {
            Err(why) if why == ANOTHER_KEY => {}
            Err(why) => wrong = why,
            genuine => return genuine,
        }
    }
    Err(wrong)
}

/// A digest that grows with what is written.
pub struct Digest(Context);

impl Default for Digest {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl Digest {
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// In hexadecimal.
    pub fn finish(self) -> String {
        hex(self.0.finish().as_ref())
    }
}
