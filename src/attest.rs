//! Attestations: what the ledger and exports say, signed with the installation's own key, so that it can be checked
//! later without trust in the database or in whoever handed the file over.
//!
//! An attestation is a compact JWS (RFC 7515) under Ed25519 (RFC 8037). It carries where the chain of the ledger
//! ended: whoever keeps one can tell later that nothing before it was altered and that no tail was cut off. What must
//! never enter: a read of the database.

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use crate::context::App;
use crate::ledger::hex;

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

/// Signs.
///
/// # Errors
/// What the signing library says; never of a sound key.
pub fn sign(app: &App, claims: &Claims) -> Result<String, String> {
    let mut header = Header::new(Algorithm::EdDSA);
    header.typ = Some(TYPE.into());
    let key = app.vault.signing_key(app.clock.now()).map_err(|error| error.to_string())?;
    header.kid = Some(key.id().into());
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_ed_der(key.private()))
        .map_err(|error| format!("signing failed: {error}"))
}

/// What `attestation` says, if the holder of `key` (the public key, 32 bytes in base64url) has signed it.
///
/// # Errors
/// What is wrong, in words for a person.
pub fn check(key: &str, attestation: &str) -> Result<Claims, String> {
    let key = URL_SAFE_NO_PAD.decode(key.trim()).map_err(|_| "the key is not base64url".to_owned())?;
    let header = jsonwebtoken::decode_header(attestation).map_err(|_| "the attestation is damaged".to_owned())?;
    if header.typ.as_deref() != Some(TYPE) {
        return Err("this is signed, but it is no attestation".into());
    }
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let decoded = jsonwebtoken::decode::<Claims>(attestation, &DecodingKey::from_ed_der(&key), &validation);
    Ok(decoded
        .map_err(|_| "the signature is not that of this key: the attestation was altered or forged".to_owned())?
        .claims)
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
    let mut wrong = "this installation has no key".to_owned();
    for key in app.vault.verifying_keys().iter().rev() {
        match check_file(&key.public_text(), bytes) {
            Ok(claims) => return Ok(claims),
            Err(why) => wrong = why,
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

/// Checks a file that was exported: its bytes against the attestation in its last line, and that against `key`. A
/// checkpoint, which is an attestation alone, is checked just so.
///
/// # Errors
/// What is wrong, in words for a person.
pub fn check_file(key: &str, bytes: &[u8]) -> Result<Claims, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "the file is not text".to_owned())?;
    let end = text.trim_end_matches(['\r', '\n']);
    let last = end.rfind('\n').map_or(0, |at| at + 1);
    let line = end.get(last..).unwrap_or_default();
    let claims =
        check(key, attestation_in(line).ok_or("there is no attestation in the last line: the file was cut off")?)?;
    let Some(export) = &claims.export else { return Ok(claims) };
    let mut digest = Digest::default();
    digest.update(bytes.get(..last).unwrap_or_default());
    match digest.finish() == export.sha256 {
        true => Ok(claims),
        false => Err("the rows are not those that were signed: the file was altered".into()),
    }
}

/// The attestation in a line: bare, as a member of JSON, or as the second field of a CSV record.
fn attestation_in(line: &str) -> Option<&str> {
    let start = line.find("eyJ")?;
    let found = line.get(start..)?;
    let end = found.find(|c: char| !(c.is_ascii_alphanumeric() || ['-', '_', '.'].contains(&c))).unwrap_or(found.len());
    found.get(..end)
}
