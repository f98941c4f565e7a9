//! The service provider's own key: it decrypts assertions and signs requests.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use chrono::{DateTime, TimeDelta, Utc};
use x509_cert::der::asn1::{Any, BitString, UtcTime};
use x509_cert::der::{Decode, Encode, Tag};
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{AlgorithmIdentifierOwned, ObjectIdentifier, SubjectPublicKeyInfoOwned};
use x509_cert::time::{Time, Validity};

use crate::certificate::{Certificate, CertificateFault};

/// Identity providers take the certificate as a container of the key; a long validity spares
/// administrators a rotation that no key needs.
const VALID_YEARS: i64 = 10;

/// The service provider's key with its certificate.
pub struct ServiceKey {
    signing: KeyPair,
    pub(crate) decrypting: OaepPrivateDecryptingKey,
    pub certificate: Certificate,
}

/// Why there is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("The key of the service provider cannot be made or read.")]
pub struct ServiceKeyFault;

impl From<CertificateFault> for ServiceKeyFault {
    fn from(_: CertificateFault) -> Self {
        Self
    }
}

impl ServiceKey {
    /// Makes a key of RSA with 2,048 bits, and a certificate that it signs itself. Returns the
    /// key in PKCS #8 and the certificate in DER.
    pub fn generate_key(
        name: &str,
        now: DateTime<Utc>,
    ) -> Result<(Vec<u8>, Vec<u8>), ServiceKeyFault> {
        let key = KeyPair::generate(KeySize::Rsa2048).map_err(|_| ServiceKeyFault)?;
        let pkcs8 = AsDer::<Pkcs8V1Der<'_>>::as_der(&key).map_err(|_| ServiceKeyFault)?;
        let certificate = make_certificate(&key, name, now).ok_or(ServiceKeyFault)?;
        Ok((pkcs8.as_ref().to_vec(), certificate))
    }

    /// Reads what [`ServiceKey::generate_key`] made.
    pub fn read_key(pkcs8: &[u8], certificate: &[u8]) -> Result<Self, ServiceKeyFault> {
        let signing = KeyPair::from_pkcs8(pkcs8).map_err(|_| ServiceKeyFault)?;
        let decrypting = PrivateDecryptingKey::from_pkcs8(pkcs8).map_err(|_| ServiceKeyFault)?;
        Ok(Self {
            signing,
            decrypting: OaepPrivateDecryptingKey::new(decrypting).map_err(|_| ServiceKeyFault)?,
            certificate: Certificate::from_der(certificate)?,
        })
    }

    /// Signs with RSA and SHA-256.
    pub(crate) fn sign_message(&self, message: &[u8]) -> Result<Vec<u8>, ServiceKeyFault> {
        sign_message(&self.signing, message).ok_or(ServiceKeyFault)
    }
}

fn sign_message(key: &KeyPair, message: &[u8]) -> Option<Vec<u8>> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).ok()?;
    Some(signature)
}

/// A certificate of version 1, signed by its own key: it needs no extensions.
fn make_certificate(key: &KeyPair, name: &str, now: DateTime<Utc>) -> Option<Vec<u8>> {
    let public = AsDer::<PublicKeyX509Der<'_>>::as_der(key.public_key()).ok()?;
    let algorithm = AlgorithmIdentifierOwned {
        // sha256WithRSAEncryption
        oid: ObjectIdentifier::new("1.2.840.113549.1.1.11").ok()?,
        parameters: Some(Any::new(Tag::Null, Vec::new()).ok()?),
    };
    // Commas and the like have a meaning in the text form of names.
    let plain: String = name
        .chars()
        .map(|each| if each.is_ascii_alphanumeric() || "-.:/_".contains(each) { each } else { '-' })
        .take(64)
        .collect();
    let subject: x509_cert::name::Name = format!("CN={plain}").parse().ok()?;
    let time = |instant: DateTime<Utc>| {
        let seconds = std::time::Duration::from_secs(u64::try_from(instant.timestamp()).ok()?);
        UtcTime::from_unix_duration(seconds).ok().map(Time::UtcTime)
    };
    let mut serial = [0; 16];
    aws_lc_rs::rand::fill(&mut serial).ok()?;
    // Positive, and without a leading zero.
    serial[0] = serial[0] & 0x3f | 0x40;
    let body = x509_cert::TbsCertificate {
        version: x509_cert::Version::V1,
        serial_number: SerialNumber::new(&serial).ok()?,
        signature: algorithm.clone(),
        issuer: subject.clone(),
        validity: Validity {
            not_before: time(now - TimeDelta::days(1))?,
            not_after: time(now + TimeDelta::days(VALID_YEARS * 365))?,
        },
        subject,
        subject_public_key_info: SubjectPublicKeyInfoOwned::from_der(public.as_ref()).ok()?,
        issuer_unique_id: None,
        subject_unique_id: None,
        extensions: None,
    };
    let signature = sign_message(key, &body.to_der().ok()?)?;
    let certificate = x509_cert::Certificate {
        tbs_certificate: body,
        signature_algorithm: algorithm,
        signature: BitString::from_bytes(&signature).ok()?,
    };
    certificate.to_der().ok()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test has no clock of its own")]
mod tests {
    use super::*;

    #[test]
    fn own_key_can_be_read() {
        let now = Utc::now();
        let (key, certificate) = ServiceKey::generate_key("https://a.test/sp, x", now).unwrap();
        let key = ServiceKey::read_key(&key, &certificate).unwrap();
        assert!(key.certificate.not_before < now);
        assert!(key.certificate.not_after > now + TimeDelta::days(3_000));
        let signature = key.sign_message(b"a").unwrap();
        let crate::certificate::PublicKey::Rsa(public) = &key.certificate.key else { panic!() };
        aws_lc_rs::signature::UnparsedPublicKey::new(
            &aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256,
            public,
        )
        .verify(b"a", &signature)
        .unwrap();
    }
}
