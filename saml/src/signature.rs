//! Signatures of responses and assertions: the one form that SAML uses, and nothing beside it.
//!
//! SAML wants an enveloped signature over the element that holds it, by its ID. So there are no
//! references elsewhere, no other transforms, no objects, and no keys of the document's own. What
//! a caller gets is the canonical text that was digested: reading anything else is not possible.

use aws_lc_rs::{digest, signature as algorithms};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bergshamra_c14n::{C14nMode, canonicalize_doc};
use bergshamra_xml::nodeset::NodeSet;
use uppsala::{Document, NodeId, NodeKind};

use crate::ResponseRefusal;
use crate::certificate::{Certificate, PublicKey};
use crate::namespace::{EXCLUSIVE_C14N, SIGNATURE};
use crate::xml::{attribute, child_elements, is_element, is_plain, text_of};

const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
/// The most bytes of a canonical text. That of a real response is about as long as the response.
const MAX_CANONICAL_BYTES: usize = 4 * 1024 * 1024;
/// More prefixes than this are in no real signature.
const MAX_PREFIXES: usize = 50;

/// Verifies the signature that stands in an element, and returns the canonical text of that
/// element without the signature: the very bytes that were digested.
pub fn verify_signature(
    document: &Document<'_>,
    signed: NodeId,
    signature: NodeId,
    certificates: &[Certificate],
) -> Result<String, ResponseRefusal> {
    let parts = read_parts(document, signed, signature)?;
    if canonical_bound(document, signed) > MAX_CANONICAL_BYTES {
        return Err(ResponseRefusal::TooManyElements);
    }

    let mut covered = NodeSet::tree_without_comments(signed, document);
    for inside in document.descendants(signature) {
        covered.remove_id(inside);
    }
    covered.remove_id(signature);
    let content = canonicalize_nodes(document, &covered, &parts.content_prefixes)?;
    let digest = digest::digest(parts.digest_algorithm, &content);
    if digest.as_ref() != parts.digest {
        return Err(ResponseRefusal::Digest);
    }

    let signed_info = NodeSet::tree_without_comments(parts.signed_info, document);
    let signed_info = canonicalize_nodes(document, &signed_info, &parts.signed_info_prefixes)?;
    let fits = certificates.iter().any(|certificate| {
        parts.method.verify_signature(&certificate.key, &signed_info, &parts.signature)
    });
    if !fits {
        return Err(ResponseRefusal::Signature);
    }
    String::from_utf8(content).map_err(|_| ResponseRefusal::Malformed)
}

/// More bytes than the canonical text of an element has, before anything is written: it may name a
/// namespace again for each element and each attribute, while the text names it once.
fn canonical_bound(document: &Document<'_>, signed: NodeId) -> usize {
    // The longest escape of a character: `&quot;`.
    const ESCAPED: usize = 6;
    let of_name = |name: &uppsala::QName<'_>| {
        let prefix = name.prefix.as_ref().map_or(0, |prefix| prefix.len());
        let namespace = name.namespace_uri.as_ref().map_or(0, |uri| uri.len() * ESCAPED);
        // `<p:n`, `</p:n>` and `xmlns:p=""`.
        3 * prefix + 2 * name.local_name.len() + namespace + 20
    };
    let inside = document.descendants(signed).into_iter().chain([signed]);
    inside
        .map(|node| match document.node_kind(node) {
            Some(NodeKind::Element(element)) => {
                let attributes = element.attributes.iter();
                let attributes =
                    attributes.map(|one| of_name(&one.name) + one.value.len() * ESCAPED);
                of_name(&element.name) + attributes.sum::<usize>()
            }
            Some(NodeKind::Text(text) | NodeKind::CData(text)) => text.len() * ESCAPED,
            _ => 0,
        })
        .sum()
}

fn canonicalize_nodes(
    document: &Document<'_>,
    nodes: &NodeSet,
    prefixes: &[String],
) -> Result<Vec<u8>, ResponseRefusal> {
    canonicalize_doc(document, C14nMode::Exclusive, Some(nodes), prefixes)
        .map_err(|_| ResponseRefusal::Malformed)
}

/// The algorithms that sign.
#[derive(Clone, Copy)]
enum SignatureMethod {
    Rsa(&'static algorithms::RsaParameters),
    EllipticCurve { bits: u16, algorithm: &'static algorithms::EcdsaVerificationAlgorithm },
}

impl SignatureMethod {
    fn from_uri(uri: &str) -> Result<Self, ResponseRefusal> {
        Ok(match uri {
            "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256" => {
                Self::Rsa(&algorithms::RSA_PKCS1_2048_8192_SHA256)
            }
            "http://www.w3.org/2001/04/xmldsig-more#rsa-sha384" => {
                Self::Rsa(&algorithms::RSA_PKCS1_2048_8192_SHA384)
            }
            "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512" => {
                Self::Rsa(&algorithms::RSA_PKCS1_2048_8192_SHA512)
            }
            "http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1" => {
                Self::Rsa(&algorithms::RSA_PSS_2048_8192_SHA256)
            }
            "http://www.w3.org/2007/05/xmldsig-more#sha384-rsa-MGF1" => {
                Self::Rsa(&algorithms::RSA_PSS_2048_8192_SHA384)
            }
            "http://www.w3.org/2007/05/xmldsig-more#sha512-rsa-MGF1" => {
                Self::Rsa(&algorithms::RSA_PSS_2048_8192_SHA512)
            }
            "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256" => {
                Self::EllipticCurve { bits: 256, algorithm: &algorithms::ECDSA_P256_SHA256_FIXED }
            }
            "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384" => {
                Self::EllipticCurve { bits: 384, algorithm: &algorithms::ECDSA_P384_SHA384_FIXED }
            }
            "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512" => {
                Self::EllipticCurve { bits: 521, algorithm: &algorithms::ECDSA_P521_SHA512_FIXED }
            }
            _ => return Err(ResponseRefusal::Algorithm),
        })
    }

    /// Whether the key is of the method's kind and the signature is right.
    fn verify_signature(self, key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
        match (self, key) {
            (Self::Rsa(parameters), PublicKey::Rsa(bytes)) => {
                algorithms::UnparsedPublicKey::new(parameters, bytes)
                    .verify(message, signature)
                    .is_ok()
            }
            (
                Self::EllipticCurve { bits, algorithm },
                PublicKey::EllipticCurve { bits: key_bits, point },
            ) if bits == *key_bits => algorithms::UnparsedPublicKey::new(algorithm, point)
                .verify(message, signature)
                .is_ok(),
            _ => false,
        }
    }
}

/// What a signature of the accepted form says.
struct SignatureParts {
    signed_info: NodeId,
    signed_info_prefixes: Vec<String>,
    content_prefixes: Vec<String>,
    method: SignatureMethod,
    digest_algorithm: &'static digest::Algorithm,
    digest: Vec<u8>,
    signature: Vec<u8>,
}

/// Reads the signature, element for element: what is not expected is refused.
fn read_parts(
    document: &Document<'_>,
    signed: NodeId,
    node: NodeId,
) -> Result<SignatureParts, ResponseRefusal> {
    // A comment inside of a digest or a value would be read by one program and skipped by another.
    if !is_plain(document, node) {
        return Err(ResponseRefusal::SignatureForm("comments or CDATA inside of it"));
    }
    let (signed_info, value) = match child_elements(document, node)[..] {
        [info, value] => (info, value),
        [info, value, keys] if is_element(document, keys, SIGNATURE, "KeyInfo") => (info, value),
        _ => return Err(ResponseRefusal::SignatureForm("other elements than SAML allows")),
    };
    expect_element(document, signed_info, "SignedInfo")?;
    expect_element(document, value, "SignatureValue")?;

    let [canonicalization, method, reference] = child_elements(document, signed_info)[..] else {
        return Err(ResponseRefusal::SignatureForm("not exactly one reference"));
    };
    expect_element(document, canonicalization, "CanonicalizationMethod")?;
    expect_element(document, method, "SignatureMethod")?;
    expect_element(document, reference, "Reference")?;
    let signed_info_prefixes = read_canonicalization(document, canonicalization)?;
    if !child_elements(document, method).is_empty() {
        return Err(ResponseRefusal::Algorithm);
    }
    let method = SignatureMethod::from_uri(algorithm_of(document, method)?)?;

    let id = attribute(document, signed, "ID").filter(|id| !id.is_empty());
    let target = attribute(document, reference, "URI").and_then(|uri| uri.strip_prefix('#'));
    if id.is_none() || id != target {
        return Err(ResponseRefusal::SignatureForm("a reference to another element than its own"));
    }
    let [transforms, digest_method, digest_value] = child_elements(document, reference)[..] else {
        return Err(ResponseRefusal::SignatureForm("a reference of another form"));
    };
    expect_element(document, transforms, "Transforms")?;
    expect_element(document, digest_method, "DigestMethod")?;
    expect_element(document, digest_value, "DigestValue")?;
    let [enveloped, canonical] = child_elements(document, transforms)[..] else {
        return Err(ResponseRefusal::SignatureForm("other transforms than SAML allows"));
    };
    expect_element(document, enveloped, "Transform")?;
    expect_element(document, canonical, "Transform")?;
    if algorithm_of(document, enveloped)? != ENVELOPED
        || !child_elements(document, enveloped).is_empty()
    {
        return Err(ResponseRefusal::SignatureForm("other transforms than SAML allows"));
    }
    let content_prefixes = read_canonicalization(document, canonical)?;
    let digest_algorithm = match algorithm_of(document, digest_method)? {
        "http://www.w3.org/2001/04/xmlenc#sha256" => &digest::SHA256,
        "http://www.w3.org/2001/04/xmldsig-more#sha384" => &digest::SHA384,
        "http://www.w3.org/2001/04/xmlenc#sha512" => &digest::SHA512,
        _ => return Err(ResponseRefusal::Algorithm),
    };
    Ok(SignatureParts {
        signed_info,
        signed_info_prefixes,
        content_prefixes,
        method,
        digest_algorithm,
        digest: read_base64(document, digest_value)?,
        signature: read_base64(document, value)?,
    })
}

fn expect_element(
    document: &Document<'_>,
    node: NodeId,
    name: &str,
) -> Result<(), ResponseRefusal> {
    if is_element(document, node, SIGNATURE, name) {
        Ok(())
    } else {
        Err(ResponseRefusal::SignatureForm("other elements than SAML allows"))
    }
}

fn algorithm_of<'d>(document: &'d Document<'_>, node: NodeId) -> Result<&'d str, ResponseRefusal> {
    attribute(document, node, "Algorithm").ok_or(ResponseRefusal::Algorithm)
}

/// Checks that it is the exclusive canonicalization, and reads the prefixes that it includes.
fn read_canonicalization(
    document: &Document<'_>,
    node: NodeId,
) -> Result<Vec<String>, ResponseRefusal> {
    if algorithm_of(document, node)? != EXCLUSIVE_C14N {
        return Err(ResponseRefusal::Algorithm);
    }
    match child_elements(document, node)[..] {
        [] => Ok(Vec::new()),
        [list] if is_element(document, list, EXCLUSIVE_C14N, "InclusiveNamespaces") => {
            let prefixes: Vec<String> = attribute(document, list, "PrefixList")
                .unwrap_or_default()
                .split_ascii_whitespace()
                .map(ToOwned::to_owned)
                .collect();
            if prefixes.len() > MAX_PREFIXES {
                return Err(ResponseRefusal::SignatureForm("too many prefixes"));
            }
            Ok(prefixes)
        }
        _ => Err(ResponseRefusal::SignatureForm("another canonicalization")),
    }
}

fn read_base64(document: &Document<'_>, node: NodeId) -> Result<Vec<u8>, ResponseRefusal> {
    if !child_elements(document, node).is_empty() {
        return Err(ResponseRefusal::SignatureForm("elements inside of a value"));
    }
    let packed: String =
        text_of(document, node).chars().filter(|each| !each.is_ascii_whitespace()).collect();
    STANDARD
        .decode(packed)
        .map_err(|_| ResponseRefusal::SignatureForm("a value that is not base64"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::parse_document;

    #[test]
    fn repeated_namespaces_are_counted() {
        let bound = |namespace: &str, count: usize| {
            let elements = "<p:a/>".repeat(count);
            let text = format!("<r xmlns:p=\"{namespace}\">{elements}</r>");
            let document = parse_document(&text).unwrap();
            let root = document.document_element().unwrap();
            let nodes = NodeSet::tree_without_comments(root, &document);
            let written = canonicalize_nodes(&document, &nodes, &[]).unwrap().len();
            let bound = canonical_bound(&document, root);
            assert!(written <= bound, "{written} {bound}");
            bound
        };
        assert!(bound(&"u".repeat(250), 15_000) > MAX_CANONICAL_BYTES);
        assert!(bound("urn:oasis:names:tc:SAML:2.0:assertion", 9_000) < MAX_CANONICAL_BYTES);
    }
}
