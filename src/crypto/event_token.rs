//! Key pairs that sign security event tokens (RFC 8417), and the signing: RS256 with 2048 bits, or
//! ES256. What must never enter: what a token says.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::vault::hash_secret;

/// The media type of a token, in its header (RFC 8417 section 2.3).
const TOKEN_TYPE: &str = "secevent+jwt";

/// An algorithm of signatures (RFC 7518).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenAlgorithm {
    Rs256,
    Es256,
}

impl TokenAlgorithm {
    /// The name in a token's header.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        }
    }

    /// The algorithm of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Rs256, Self::Es256].into_iter().find(|algorithm| algorithm.name() == name)
    }
}

/// A new key pair: the private key as PKCS#8, and the public key as a member of a key set.
#[derive(Clone)]
pub struct NewTokenKey {
    pub private: Vec<u8>,
    pub public: Value,
}

impl fmt::Debug for NewTokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewTokenKey({})", self.public["kid"])
    }
}

/// Makes a key pair. An RSA key takes a fraction of a second of one core.
///
/// # Errors
/// One line, when the system has no randomness.
pub fn new_token_key(algorithm: TokenAlgorithm) -> Result<NewTokenKey, String> {
    let fault = |_| "cannot make a signing key".to_owned();
    match algorithm {
        TokenAlgorithm::Rs256 => {
            let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(fault)?;
            let der: Pkcs8V1Der<'_> = pair.as_der().map_err(fault)?;
            let modulus = pair.public_key().modulus();
            let exponent = pair.public_key().exponent();
            let n = URL_SAFE_NO_PAD.encode(modulus.big_endian_without_leading_zero());
            let e = URL_SAFE_NO_PAD.encode(exponent.big_endian_without_leading_zero());
            let thumbprint = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
            let public = json!({
                "kty": "RSA", "use": "sig", "alg": "RS256", "kid": thumbprint_of(&thumbprint),
                "n": n, "e": e,
            });
            Ok(NewTokenKey { private: der.as_ref().to_vec(), public })
        }
        TokenAlgorithm::Es256 => {
            let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
            let private =
                EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).map_err(fault)?;
            let pair = EcdsaKeyPair::from_pkcs8(algorithm, private.as_ref())
                .map_err(|_| "cannot make a signing key".to_owned())?;
            // The point as SEC 1 writes it: 4, x, y.
            let point = pair.public_key().as_ref();
            let (Some(x), Some(y)) = (point.get(1..33), point.get(33..65)) else {
                return Err("cannot make a signing key".into());
            };
            let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
            let thumbprint = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
            let public = json!({
                "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256",
                "kid": thumbprint_of(&thumbprint), "x": x, "y": y,
            });
            Ok(NewTokenKey { private: private.as_ref().to_vec(), public })
        }
    }
}

/// The thumbprint of a key (RFC 7638).
fn thumbprint_of(members: &str) -> String {
    URL_SAFE_NO_PAD.encode(hash_secret(members))
}

/// A private key that signs tokens.
pub struct TokenSigner {
    id: String,
    pair: SigningPair,
}

enum SigningPair {
    Rsa(Box<RsaKeyPair>),
    Ecdsa(Box<EcdsaKeyPair>),
}

impl fmt::Debug for TokenSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenSigner({})", self.id)
    }
}

impl TokenSigner {
    /// The signer of a private key (PKCS#8), whose public half is named `id` in the key set.
    ///
    /// # Errors
    /// One line, when the key is damaged.
    pub fn from_private_key(
        algorithm: TokenAlgorithm,
        id: &str,
        private: &[u8],
    ) -> Result<Self, String> {
        let damaged = |_| "a signing key is damaged".to_owned();
        let pair = match algorithm {
            TokenAlgorithm::Rs256 => {
                SigningPair::Rsa(Box::new(RsaKeyPair::from_pkcs8(private).map_err(damaged)?))
            }
            TokenAlgorithm::Es256 => {
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, private);
                SigningPair::Ecdsa(Box::new(pair.map_err(damaged)?))
            }
        };
        Ok(Self { id: id.to_owned(), pair })
    }

    /// The token with these claims, in its compact form (RFC 7515).
    ///
    /// # Errors
    /// One line, when signing fails.
    pub fn sign_claims(&self, claims: &Value) -> Result<String, String> {
        let failed = |_| "signing a token failed".to_owned();
        let algorithm = match self.pair {
            SigningPair::Rsa(_) => TokenAlgorithm::Rs256,
            SigningPair::Ecdsa(_) => TokenAlgorithm::Es256,
        };
        let header = json!({ "typ": TOKEN_TYPE, "alg": algorithm.name(), "kid": self.id });
        let content = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let random = SystemRandom::new();
        let signature = match &self.pair {
            SigningPair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, content.as_bytes(), &mut signature)
                    .map_err(failed)?;
                signature
            }
            SigningPair::Ecdsa(pair) => {
                pair.sign(&random, content.as_bytes()).map_err(failed)?.as_ref().to_vec()
            }
        };
        Ok(format!("{content}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::jwk::Jwk;
    use jsonwebtoken::{Algorithm, DecodingKey, Validation};

    use super::*;

    #[test]
    fn public_key_verifies_a_token() {
        for (algorithm, known) in
            [(TokenAlgorithm::Rs256, Algorithm::RS256), (TokenAlgorithm::Es256, Algorithm::ES256)]
        {
            let key = new_token_key(algorithm).unwrap();
            let id = key.public["kid"].as_str().unwrap();
            let signer = TokenSigner::from_private_key(algorithm, id, &key.private).unwrap();
            let token = signer.sign_claims(&json!({ "aud": "a", "jti": "1" })).unwrap();
            let jwk: Jwk = serde_json::from_value(key.public.clone()).unwrap();
            let mut validation = Validation::new(known);
            validation.set_audience(&["a"]);
            validation.required_spec_claims.clear();
            let decoding = DecodingKey::from_jwk(&jwk).unwrap();
            let read = jsonwebtoken::decode::<Value>(&token, &decoding, &validation).unwrap();
            assert_eq!(read.claims["jti"], "1");
            assert_eq!(read.header.typ.as_deref(), Some(TOKEN_TYPE));
            assert_eq!(jsonwebtoken::decode_header(&token).unwrap().kid.as_deref(), Some(id));
            let other: Jwk =
                serde_json::from_value(new_token_key(algorithm).unwrap().public).unwrap();
            let other = DecodingKey::from_jwk(&other).unwrap();
            assert!(jsonwebtoken::decode::<Value>(&token, &other, &validation).is_err());
        }
    }
}
