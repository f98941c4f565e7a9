//! Attestations: what the ledger and exports say, signed with the installation's own key, so that
//! an auditor can check it later without trust in the database or in the person who delivered the
//! file.
//!
//! An attestation is a compact JWS (RFC 7515) under Ed25519 (RFC 8037). It contains the end of the
//! ledger's chain: an auditor who keeps one can prove later that no earlier row was altered and
//! that no rows were cut off at the end. What must never enter: a read of the database.

mod file;

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::crypto::signature;
use crate::crypto::vault::Vault;

pub use file::{check_file, last_line};

/// What an attestation is about: the `typ` of its header.
pub const ATTESTATION_TYPE: &str = "rolecall-attestation+jws";

/// What is attested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttestationClaims {
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
    pub export: Option<AttestedExport>,
}

/// An export, bound to its attestation by a digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttestedExport {
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
/// The signing library's own; never for a valid key.
pub fn sign_attestation(
    vault: &Vault,
    now: DateTime<Utc>,
    claims: &AttestationClaims,
) -> Result<String, String> {
    signature::sign_statement(vault, now, ATTESTATION_TYPE, claims)
}

/// What `attestation` says, if the holder of `key` (the public key, 32 bytes in base64url) has
/// signed it.
///
/// # Errors
/// What is wrong, in words for a person.
pub fn check_attestation(key: &str, attestation: &str) -> Result<AttestationClaims, String> {
    let key =
        URL_SAFE_NO_PAD.decode(key.trim()).map_err(|_| "the key is not base64url".to_owned())?;
    signature::check_statement(&key, ATTESTATION_TYPE, attestation)
}

/// The public key that checks this installation's attestations, in base64url.
pub fn public_key(vault: &Vault, now: DateTime<Utc>) -> String {
    vault.signing_key(now).map(|key| key.public_text()).unwrap_or_default()
}

/// Checks a file as [`check_file`] does, against every key that this installation has ever signed
/// with.
///
/// # Errors
/// What is wrong, in words for a person.
pub fn check_own_file(vault: &Vault, bytes: &[u8]) -> Result<AttestationClaims, String> {
    signature::check_by_any(vault, |key| check_file(&key.public_text(), bytes))
}

/// A digest that grows with what is written.
pub struct ExportDigest(Context);

impl Default for ExportDigest {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl ExportDigest {
    /// Adds the next bytes of the file.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// In hexadecimal.
    pub fn finish_hex(self) -> String {
        hex::encode(self.0.finish().as_ref())
    }
}
