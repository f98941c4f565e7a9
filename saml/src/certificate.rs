//! Certificates of identity providers.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use x509_cert::der::{Decode, Encode};

/// An identity provider that rotates has two; more than this are not kept.
pub const MAX_CERTIFICATES: usize = 10;
/// A certificate with a key of 8,192 bits has about 3 KB.
const MAX_CERTIFICATE_BYTES: usize = 16 * 1024;

/// A certificate with which an identity provider signs. Only its key counts, as the SAML profile
/// for the interoperability of metadata says: the administrator who configured it vouches for it,
/// and not an authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    pub(crate) key: PublicKey,
    pub not_before: DateTime<Utc>,
    pub not_after: DateTime<Utc>,
}

/// The public key of a certificate, by kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PublicKey {
    /// `RSAPublicKey` in DER.
    Rsa(Vec<u8>),
    /// An uncompressed point, of a curve of so many bits.
    EllipticCurve { bits: u16, point: Vec<u8> },
}

/// Why a certificate is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    #[error("It is not a certificate in PEM or base64.")]
    Unreadable,
    #[error("Its key is neither RSA of 2,048 bits or more nor on P-256, P-384 or P-521.")]
    Key,
}

impl Certificate {
    /// Reads the DER form.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateFault> {
        if der.len() > MAX_CERTIFICATE_BYTES {
            return Err(CertificateFault::Unreadable);
        }
        let certificate =
            x509_cert::Certificate::from_der(der).map_err(|_| CertificateFault::Unreadable)?;
        let body = &certificate.tbs_certificate;
        let instant = |time: x509_cert::time::Time| {
            let seconds = i64::try_from(time.to_unix_duration().as_secs()).ok()?;
            DateTime::from_timestamp(seconds, 0)
        };
        Ok(Self {
            der: der.to_vec(),
            key: read_key(&body.subject_public_key_info)?,
            not_before: instant(body.validity.not_before).ok_or(CertificateFault::Unreadable)?,
            not_after: instant(body.validity.not_after).ok_or(CertificateFault::Unreadable)?,
        })
    }

    /// Reads base64 of the DER form, as metadata have it, with or without lines.
    pub fn from_base64(text: &str) -> Result<Self, CertificateFault> {
        if text.len() > 2 * MAX_CERTIFICATE_BYTES {
            return Err(CertificateFault::Unreadable);
        }
        let packed: String = text.chars().filter(|each| !each.is_ascii_whitespace()).collect();
        let der = STANDARD.decode(packed).map_err(|_| CertificateFault::Unreadable)?;
        Self::from_der(&der)
    }

    /// Base64 of the DER form, on one line.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(&self.der)
    }

    /// SHA-256 of the DER form, in hexadecimal, as consoles of identity providers show it.
    pub fn fingerprint(&self) -> String {
        hex::encode(digest::digest(&digest::SHA256, &self.der))
    }
}

/// The key, if it is of a kind and strength that is accepted.
fn read_key(
    info: &x509_cert::spki::SubjectPublicKeyInfoOwned,
) -> Result<PublicKey, CertificateFault> {
    let bits = info.subject_public_key.as_bytes().ok_or(CertificateFault::Key)?.to_vec();
    match info.algorithm.oid.to_string().as_str() {
        "1.2.840.113549.1.1.1" => {
            // The modulus alone has 256 bytes at 2,048 bits.
            if bits.len() < 256 {
                return Err(CertificateFault::Key);
            }
            Ok(PublicKey::Rsa(bits))
        }
        "1.2.840.10045.2.1" => {
            let parameters = info.algorithm.parameters.as_ref().ok_or(CertificateFault::Key)?;
            let curve = parameters
                .to_der()
                .ok()
                .and_then(|der| x509_cert::spki::ObjectIdentifier::from_der(&der).ok())
                .ok_or(CertificateFault::Key)?;
            let size = match curve.to_string().as_str() {
                "1.2.840.10045.3.1.7" => 256,
                "1.3.132.0.34" => 384,
                "1.3.132.0.35" => 521,
                _ => return Err(CertificateFault::Key),
            };
            Ok(PublicKey::EllipticCurve { bits: size, point: bits })
        }
        _ => Err(CertificateFault::Key),
    }
}
