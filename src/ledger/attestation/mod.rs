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
use serde::{Deserialize, Serialize};

use crate::context::App;
use crate::ledger::hex;
use crate::signature;

pub use file::{check_file, last_line};

/// What an attestation is about: the `typ` of its header.
pub const TYPE: &str = "rolecall-attestation+jws";

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

/// Signs an attestation.
///
/// # Errors
/// What the signing library says; never of a sound key.
pub fn sign(app: &App, claims: &Claims) -> Result<String, String> {
    signature::sign(&app.vault, app.clock.now(), TYPE, claims)
}

/// What `attestation` says, if the holder of `key` (the public key, 32 bytes in base64url) has signed it.
///
/// # Errors
/// What is wrong, in words for a person.
pub fn check(key: &str, attestation: &str) -> Result<Claims, String> {
    let key = URL_SAFE_NO_PAD.decode(key.trim()).map_err(|_| "the key is not base64url".to_owned())?;
    signature::check(&key, TYPE, attestation)
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
    signature::check_by_any(&app.vault, |key| check_file(&key.public_text(), bytes))
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
