//! Signatures of messages after Standard Webhooks: `v1` with a shared secret, `v1a` with a key
//! pair. What must never enter: what a message says.

use std::fmt;

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What the messages to one receiver are signed with.
#[derive(Clone, Default)]
pub struct MessageKeys {
    /// The secret, and the one before while both are valid.
    pub secrets: Vec<Vec<u8>>,
    /// The Ed25519 key (PKCS#8).
    pub private: Option<Vec<u8>>,
}

impl fmt::Debug for MessageKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MessageKeys(sealed)")
    }
}

/// What is signed: a message with the id and the instant that its headers name.
fn signed_content(id: &str, timestamp: i64, body: &[u8]) -> Vec<u8> {
    let mut content = format!("{id}.{timestamp}.").into_bytes();
    content.extend_from_slice(body);
    content
}

impl MessageKeys {
    /// The header `webhook-signature` of a message.
    ///
    /// # Errors
    /// One line, when the private key is damaged.
    pub fn sign_message(&self, id: &str, timestamp: i64, body: &[u8]) -> Result<String, String> {
        let content = signed_content(id, timestamp, body);
        let mut signatures: Vec<String> = self
            .secrets
            .iter()
            .map(|secret| {
                let tag = hmac::sign(&hmac::Key::new(HMAC_SHA256, secret), &content);
                format!("v1,{}", STANDARD.encode(tag))
            })
            .collect();
        if let Some(private) = &self.private {
            let pair = Ed25519KeyPair::from_pkcs8(private)
                .map_err(|_| "a signing key is damaged".to_owned())?;
            signatures.push(format!("v1a,{}", STANDARD.encode(pair.sign(&content))));
        }
        Ok(signatures.join(" "))
    }
}

/// Whether one of the signatures of a message is by this secret.
pub fn is_signed_by(
    secret: &[u8],
    (id, timestamp): (&str, i64),
    body: &[u8],
    signatures: &str,
) -> bool {
    let (key, content) = (hmac::Key::new(HMAC_SHA256, secret), signed_content(id, timestamp, body));
    signatures.split(' ').filter_map(|part| part.strip_prefix("v1,")).any(|signature| {
        STANDARD
            .decode(signature)
            .is_ok_and(|signature| hmac::verify(&key, &content, &signature).is_ok())
    })
}

/// Whether one of the signatures of a message is by the private half of this key.
pub fn is_signed_with(
    public: &[u8],
    (id, timestamp): (&str, i64),
    body: &[u8],
    signatures: &str,
) -> bool {
    let content = signed_content(id, timestamp, body);
    signatures.split(' ').filter_map(|part| part.strip_prefix("v1a,")).any(|signature| {
        STANDARD.decode(signature).is_ok_and(|signature| {
            UnparsedPublicKey::new(&ED25519, public).verify(&content, &signature).is_ok()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_message_has_the_known_signature() {
        // The example of the specification.
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let keys = MessageKeys { secrets: vec![secret.clone()], private: None };
        let (id, at, body) =
            ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        let signed = keys.sign_message(id, at, body).unwrap();
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert!(is_signed_by(&secret, (id, at), body, &signed));
        assert!(!is_signed_by(&secret, (id, at + 1), body, &signed));
        assert!(!is_signed_by(&secret, (id, at), b"{}", &signed));
    }
}
