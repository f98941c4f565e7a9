//! Encrypted assertions: RSA-OAEP for the key, AES-GCM for the text.
//!
//! CBC is not offered. It does not authenticate the text, so an attacker who sends changed texts
//! and watches the answers can learn the text (a padding oracle).

use aws_lc_rs::aead::{
    AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, Algorithm, LessSafeKey, NONCE_LEN, Nonce,
    UnboundKey,
};
use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OAEP_SHA512_MGF1SHA512,
    OaepAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use uppsala::{Document, NodeId};

use crate::ResponseRefusal;
use crate::namespace::{ENCRYPTION, ENCRYPTION_11, SIGNATURE};
use crate::service_key::ServiceKey;
use crate::xml::{attribute, children_named, is_plain, only_child, text_of};

/// One key for each recipient: us, and others that the identity provider named.
const MAX_KEYS: usize = 4;

/// Decrypts an `EncryptedAssertion` into the text of an assertion.
pub fn decrypt_assertion(
    document: &Document<'_>,
    encrypted: NodeId,
    keys: &[ServiceKey],
) -> Result<String, ResponseRefusal> {
    if !is_plain(document, encrypted) {
        return Err(ResponseRefusal::Decryption);
    }
    let data = only_child(document, encrypted, ENCRYPTION, "EncryptedData")
        .ok_or(ResponseRefusal::Decryption)?;
    let algorithm = match algorithm_of(document, data)? {
        "http://www.w3.org/2009/xmlenc11#aes128-gcm" => &AES_128_GCM,
        "http://www.w3.org/2009/xmlenc11#aes192-gcm" => &AES_192_GCM,
        "http://www.w3.org/2009/xmlenc11#aes256-gcm" => &AES_256_GCM,
        _ => return Err(ResponseRefusal::Algorithm),
    };
    let ciphertext = cipher_value(document, data)?;

    // The key stands in the data's KeyInfo, or beside the data.
    let mut candidates = children_named(document, encrypted, ENCRYPTION, "EncryptedKey");
    for info in children_named(document, data, SIGNATURE, "KeyInfo") {
        candidates.extend(children_named(document, info, ENCRYPTION, "EncryptedKey"));
    }
    if candidates.len() > MAX_KEYS {
        return Err(ResponseRefusal::Decryption);
    }
    for candidate in candidates {
        let transport = transport_of(document, candidate)?;
        let wrapped = cipher_value(document, candidate)?;
        for key in keys {
            // Which of the steps fails is not told apart.
            if let Some(text) = decrypt_text(key, transport, &wrapped, algorithm, &ciphertext) {
                return Ok(text);
            }
        }
    }
    Err(ResponseRefusal::Decryption)
}

fn decrypt_text(
    key: &ServiceKey,
    transport: &'static OaepAlgorithm,
    wrapped: &[u8],
    algorithm: &'static Algorithm,
    ciphertext: &[u8],
) -> Option<String> {
    let mut unwrapped = vec![0; key.decrypting.min_output_size()];
    let secret = key.decrypting.decrypt(transport, wrapped, &mut unwrapped, None).ok()?;
    let opener = LessSafeKey::new(UnboundKey::new(algorithm, secret).ok()?);
    let (nonce, sealed) = ciphertext.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut sealed = sealed.to_vec();
    let plain = opener.open_in_place(nonce, Aad::empty(), &mut sealed).ok()?;
    String::from_utf8(plain.to_vec()).ok()
}

fn algorithm_of<'d>(document: &'d Document<'_>, node: NodeId) -> Result<&'d str, ResponseRefusal> {
    let method = only_child(document, node, ENCRYPTION, "EncryptionMethod")
        .ok_or(ResponseRefusal::Algorithm)?;
    attribute(document, method, "Algorithm").ok_or(ResponseRefusal::Algorithm)
}

/// RSA-OAEP as the element names it: the digest and the mask's digest must be the same one.
fn transport_of(
    document: &Document<'_>,
    node: NodeId,
) -> Result<&'static OaepAlgorithm, ResponseRefusal> {
    let method = only_child(document, node, ENCRYPTION, "EncryptionMethod")
        .ok_or(ResponseRefusal::Algorithm)?;
    if !children_named(document, method, ENCRYPTION, "OAEPparams").is_empty() {
        return Err(ResponseRefusal::Algorithm);
    }
    let digest = match only_child(document, method, SIGNATURE, "DigestMethod") {
        None => "http://www.w3.org/2000/09/xmldsig#sha1",
        Some(digest) => {
            attribute(document, digest, "Algorithm").ok_or(ResponseRefusal::Algorithm)?
        }
    };
    let mask = match only_child(document, method, ENCRYPTION_11, "MGF") {
        None => "http://www.w3.org/2009/xmlenc11#mgf1sha1",
        Some(mask) => attribute(document, mask, "Algorithm").ok_or(ResponseRefusal::Algorithm)?,
    };
    // SHA-1 is accepted here, where it is the default: collisions do not help against OAEP.
    match (algorithm_of(document, node)?, digest, mask) {
        (
            "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p"
            | "http://www.w3.org/2009/xmlenc11#rsa-oaep",
            "http://www.w3.org/2000/09/xmldsig#sha1",
            "http://www.w3.org/2009/xmlenc11#mgf1sha1",
        ) => Ok(&OAEP_SHA1_MGF1SHA1),
        (
            "http://www.w3.org/2009/xmlenc11#rsa-oaep",
            "http://www.w3.org/2001/04/xmlenc#sha256",
            "http://www.w3.org/2009/xmlenc11#mgf1sha256",
        ) => Ok(&OAEP_SHA256_MGF1SHA256),
        (
            "http://www.w3.org/2009/xmlenc11#rsa-oaep",
            "http://www.w3.org/2001/04/xmldsig-more#sha384",
            "http://www.w3.org/2009/xmlenc11#mgf1sha384",
        ) => Ok(&OAEP_SHA384_MGF1SHA384),
        (
            "http://www.w3.org/2009/xmlenc11#rsa-oaep",
            "http://www.w3.org/2001/04/xmlenc#sha512",
            "http://www.w3.org/2009/xmlenc11#mgf1sha512",
        ) => Ok(&OAEP_SHA512_MGF1SHA512),
        _ => Err(ResponseRefusal::Algorithm),
    }
}

fn cipher_value(document: &Document<'_>, node: NodeId) -> Result<Vec<u8>, ResponseRefusal> {
    let value = only_child(document, node, ENCRYPTION, "CipherData")
        .and_then(|data| only_child(document, data, ENCRYPTION, "CipherValue"))
        .ok_or(ResponseRefusal::Decryption)?;
    let packed: String =
        text_of(document, value).chars().filter(|each| !each.is_ascii_whitespace()).collect();
    STANDARD.decode(packed).map_err(|_| ResponseRefusal::Decryption)
}
