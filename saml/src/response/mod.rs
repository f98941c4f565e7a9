//! Verifying responses.
//!
//! The order is the defence. First come the limits and what no response needs (document types,
//! entities, processing instructions), then the parser, then the structure: exactly one assertion,
//! directly in the response, and signatures only directly in these two. Then the signatures, over
//! the element that holds them. What is read afterwards is the canonical text that was digested,
//! parsed by the same parser; of the rest of the document nothing can do more than refuse it.

mod assertion;

use std::collections::HashSet;

use aws_lc_rs::digest;
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use chrono::{DateTime, TimeDelta, Utc};
use uppsala::{Document, NodeId};

use crate::ResponseRefusal;
use crate::certificate::Certificate;
use crate::encryption::decrypt_assertion;
use crate::namespace::{ASSERTION, PROTOCOL, SIGNATURE};
use crate::service_key::ServiceKey;
use crate::signature::verify_signature;
use crate::xml::{
    XmlFault, attribute, child_elements, children_named, escape_text, is_element, only_child,
    parse_document, text_of,
};

pub use assertion::{Assertion, Attribute};

/// A response with a thousand groups has about 150 KB.
pub const MAX_RESPONSE_BYTES: usize = 256 * 1024;

/// What a response must fit.
pub struct ResponseExpectation<'a> {
    /// The entity id of the identity provider.
    pub identity_provider: &'a str,
    /// Its certificates: only their keys verify, whatever the document carries.
    pub certificates: &'a [Certificate],
    /// The entity ids under which the identity provider knows the service.
    pub audiences: &'a [String],
    /// The addresses at which the service takes responses.
    pub recipients: &'a [String],
    pub request: ExpectedRequest<'a>,
    pub now: DateTime<Utc>,
    /// By how much the clocks may differ.
    pub skew: TimeDelta,
    /// The service's keys, for encrypted assertions.
    pub keys: &'a [ServiceKey],
}

/// Which request a response must answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedRequest<'a> {
    /// The request with this id.
    Id(&'a str),
    /// None: the identity provider began the sign-in. The response must not name one.
    Unsolicited,
}

/// Decodes the value of the form field `SAMLResponse`.
pub fn decode_response(field: &str) -> Result<String, ResponseRefusal> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    if field.len() > MAX_RESPONSE_BYTES * 3 / 2 {
        return Err(ResponseRefusal::TooLarge(MAX_RESPONSE_BYTES));
    }
    let packed: String = field.chars().filter(|each| !each.is_ascii_whitespace()).collect();
    let bytes = LENIENT.decode(packed).map_err(|_| ResponseRefusal::NotBase64)?;
    String::from_utf8(bytes).map_err(|_| ResponseRefusal::NotBase64)
}

/// Verifies the text of a response, and returns what its assertion says.
pub fn verify_response(
    text: &str,
    expected: &ResponseExpectation<'_>,
) -> Result<Assertion, ResponseRefusal> {
    if text.len() > MAX_RESPONSE_BYTES {
        return Err(ResponseRefusal::TooLarge(MAX_RESPONSE_BYTES));
    }
    let document = parse_text(text)?;
    let root = root_of(&document)?;
    if !is_element(&document, root, PROTOCOL, "Response")
        || attribute(&document, root, "Version") != Some("2.0")
    {
        return Err(ResponseRefusal::NotAResponse);
    }
    let mut ids = HashSet::new();
    check_ids(&document, root, &mut ids)?;
    let structure = read_structure(&document, root)?;

    // Read before any signature: an error has no assertion and often no signature, and a forged
    // status can only make a sign-in fail.
    check_status(&document, root)?;
    let holder = structure.assertion.ok_or(ResponseRefusal::Incomplete("an assertion"))?;

    let response_text = structure
        .response_signature
        .map(|signature| verify_signature(&document, root, signature, expected.certificates))
        .transpose()?;
    match &response_text {
        Some(signed) => {
            let signed = parse_text(signed)?;
            check_envelope(&signed, root_of(&signed)?, expected)?;
        }
        // Not signed, so this check can only refuse. The assertion repeats what is believed.
        None => check_envelope(&document, root, expected)?,
    }

    let assertion_text = match holder {
        AssertionElement::Plain { assertion, signature: Some(signature) } => {
            verify_signature(&document, assertion, signature, expected.certificates)?
        }
        AssertionElement::Plain { signature: None, .. } => {
            response_text.clone().ok_or(ResponseRefusal::Unsigned)?
        }
        AssertionElement::Encrypted(node) => {
            read_encrypted(&document, node, response_text.as_deref(), &mut ids, expected)?
        }
    };
    let signed = parse_text(&assertion_text)?;
    let assertion = find_assertion(&signed, root_of(&signed)?)?;
    let fingerprint = digest::digest(&digest::SHA256, assertion_text.as_bytes());
    assertion::read_assertion(&signed, assertion, fingerprint.as_ref(), expected)
}

/// The entity id that a response names as its issuer. Nothing was checked: it is good for nothing
/// but finding the settings with which the response is verified.
pub fn read_issuer(text: &str) -> Result<String, ResponseRefusal> {
    if text.len() > MAX_RESPONSE_BYTES {
        return Err(ResponseRefusal::TooLarge(MAX_RESPONSE_BYTES));
    }
    let document = parse_text(text)?;
    let root = root_of(&document)?;
    if !is_element(&document, root, PROTOCOL, "Response") {
        return Err(ResponseRefusal::NotAResponse);
    }
    let of_assertion = only_child(&document, root, ASSERTION, "Assertion")
        .and_then(|assertion| only_child(&document, assertion, ASSERTION, "Issuer"));
    only_child(&document, root, ASSERTION, "Issuer")
        .or(of_assertion)
        .map(|issuer| text_of(&document, issuer))
        .ok_or(ResponseRefusal::Issuer)
}

fn parse_text(text: &str) -> Result<Document<'_>, ResponseRefusal> {
    parse_document(text).map_err(|fault| match fault {
        XmlFault::MarkupDeclaration => ResponseRefusal::MarkupDeclaration,
        XmlFault::Malformed => ResponseRefusal::Malformed,
        XmlFault::TooManyElements => ResponseRefusal::TooManyElements,
    })
}

fn root_of(document: &Document<'_>) -> Result<NodeId, ResponseRefusal> {
    document.document_element().ok_or(ResponseRefusal::Malformed)
}

/// No two elements may have the same id, whatever the attribute's spelling or namespace is.
fn check_ids(
    document: &Document<'_>,
    root: NodeId,
    ids: &mut HashSet<String>,
) -> Result<(), ResponseRefusal> {
    for node in document.descendants(root).into_iter().chain([root]) {
        let Some(element) = document.element(node) else { continue };
        let mut own: Option<&str> = None;
        for attribute in &element.attributes {
            let name = &*attribute.name.local_name;
            if !name.eq_ignore_ascii_case("id") && !name.eq_ignore_ascii_case("assertionid") {
                continue;
            }
            // One element may say its id in two ways only if it says the same.
            if own.replace(&attribute.value).is_some_and(|other| other != &*attribute.value) {
                return Err(ResponseRefusal::DuplicateId);
            }
        }
        if own.is_some_and(|id| !ids.insert(id.to_owned())) {
            return Err(ResponseRefusal::DuplicateId);
        }
    }
    Ok(())
}

/// Where the assertion and the signature of the response are.
struct ResponseStructure {
    response_signature: Option<NodeId>,
    assertion: Option<AssertionElement>,
}

enum AssertionElement {
    Plain { assertion: NodeId, signature: Option<NodeId> },
    Encrypted(NodeId),
}

/// Finds assertion and signatures, and refuses any of them elsewhere.
fn read_structure(
    document: &Document<'_>,
    root: NodeId,
) -> Result<ResponseStructure, ResponseRefusal> {
    let mut plain = Vec::new();
    let mut encrypted = Vec::new();
    let mut signatures = Vec::new();
    for node in document.descendants(root) {
        if node == root {
            continue;
        }
        if is_element(document, node, ASSERTION, "Assertion") {
            plain.push(node);
        } else if is_element(document, node, ASSERTION, "EncryptedAssertion") {
            encrypted.push(node);
        } else if is_element(document, node, SIGNATURE, "Signature") {
            signatures.push(node);
        } else if is_element(document, node, PROTOCOL, "Response") {
            return Err(ResponseRefusal::Structure);
        }
    }
    let (holder, assertion) = match (&plain[..], &encrypted[..]) {
        ([], []) => (None, None),
        ([node], []) => (Some(*node), Some(*node)),
        ([], [node]) => (Some(*node), None),
        _ => return Err(ResponseRefusal::Structure),
    };
    if holder.is_some_and(|node| document.parent(node) != Some(root)) {
        return Err(ResponseRefusal::Structure);
    }
    let mut response_signature = None;
    let mut assertion_signature = None;
    for signature in signatures {
        let parent = document.parent(signature);
        let place = if parent == Some(root) {
            &mut response_signature
        } else if parent.is_some() && parent == assertion {
            &mut assertion_signature
        } else {
            return Err(ResponseRefusal::Structure);
        };
        if place.replace(signature).is_some() {
            return Err(ResponseRefusal::Structure);
        }
    }
    let assertion = match (holder, assertion) {
        (None, _) => None,
        (Some(_), Some(assertion)) => {
            Some(AssertionElement::Plain { assertion, signature: assertion_signature })
        }
        (Some(node), None) => Some(AssertionElement::Encrypted(node)),
    };
    Ok(ResponseStructure { response_signature, assertion })
}

/// The identity provider must say that the sign-in succeeded.
fn check_status(document: &Document<'_>, root: NodeId) -> Result<(), ResponseRefusal> {
    const PREFIX: &str = "urn:oasis:names:tc:SAML:2.0:status:";
    let code = only_child(document, root, PROTOCOL, "Status")
        .and_then(|status| only_child(document, status, PROTOCOL, "StatusCode"))
        .ok_or(ResponseRefusal::Incomplete("a status"))?;
    let value = attribute(document, code, "Value").unwrap_or_default();
    if value.strip_prefix(PREFIX) == Some("Success") {
        return Ok(());
    }
    let inner = only_child(document, code, PROTOCOL, "StatusCode")
        .and_then(|inner| attribute(document, inner, "Value"))
        .unwrap_or(value);
    // Codes are words; anything else is not repeated.
    let name = inner.strip_prefix(PREFIX).unwrap_or("unknown");
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).take(60).collect();
    Err(ResponseRefusal::Status(name))
}

/// Checks what the response says around its assertion.
fn check_envelope(
    document: &Document<'_>,
    response: NodeId,
    expected: &ResponseExpectation<'_>,
) -> Result<(), ResponseRefusal> {
    match children_named(document, response, ASSERTION, "Issuer")[..] {
        [] => {}
        [issuer] if text_of(document, issuer) == expected.identity_provider => {}
        _ => return Err(ResponseRefusal::Issuer),
    }
    if let Some(destination) = attribute(document, response, "Destination")
        && !expected.recipients.iter().any(|own| own == destination)
    {
        return Err(ResponseRefusal::Destination);
    }
    match (expected.request, attribute(document, response, "InResponseTo")) {
        (ExpectedRequest::Unsolicited, None) | (ExpectedRequest::Id(_), None) => Ok(()),
        (ExpectedRequest::Unsolicited, Some(_)) => Err(ResponseRefusal::UnexpectedRequest),
        (ExpectedRequest::Id(id), Some(answered)) if id == answered => Ok(()),
        (ExpectedRequest::Id(_), Some(_)) => Err(ResponseRefusal::Request),
    }
}

/// The only assertion of a verified text: the text's root, or a child of the response.
fn find_assertion(document: &Document<'_>, root: NodeId) -> Result<NodeId, ResponseRefusal> {
    if is_element(document, root, ASSERTION, "Assertion") {
        return Ok(root);
    }
    only_child(document, root, ASSERTION, "Assertion").ok_or(ResponseRefusal::Structure)
}

/// Decrypts the assertion and verifies its signature. Without one, the response's signature must
/// have covered the encrypted text.
fn read_encrypted(
    document: &Document<'_>,
    node: NodeId,
    response_text: Option<&str>,
    ids: &mut HashSet<String>,
    expected: &ResponseExpectation<'_>,
) -> Result<String, ResponseRefusal> {
    let (text, declarations) = match response_text {
        Some(signed) => {
            let signed = parse_text(signed)?;
            let response = root_of(&signed)?;
            let node = only_child(&signed, response, ASSERTION, "EncryptedAssertion")
                .ok_or(ResponseRefusal::Structure)?;
            let text = decrypt_assertion(&signed, node, expected.keys)?;
            (text, declarations_at(&signed, node))
        }
        None => {
            let text = decrypt_assertion(document, node, expected.keys)?;
            (text, declarations_at(document, node))
        }
    };
    // Some programs encrypt a text that uses prefixes of the elements around it.
    let wrapped = format!("<context{declarations}>{}</context>", without_declaration(&text));
    let inner = parse_text(&wrapped)?;
    let root = root_of(&inner)?;
    let [assertion] = child_elements(&inner, root)[..] else {
        return Err(ResponseRefusal::Structure);
    };
    if !is_element(&inner, assertion, ASSERTION, "Assertion") {
        return Err(ResponseRefusal::Structure);
    }
    check_ids(&inner, root, ids)?;
    let mut signature = None;
    for inside in inner.descendants(assertion) {
        if inside == assertion {
            continue;
        }
        if is_element(&inner, inside, ASSERTION, "Assertion")
            || is_element(&inner, inside, ASSERTION, "EncryptedAssertion")
            || is_element(&inner, inside, PROTOCOL, "Response")
        {
            return Err(ResponseRefusal::Structure);
        }
        if is_element(&inner, inside, SIGNATURE, "Signature")
            && (inner.parent(inside) != Some(assertion) || signature.replace(inside).is_some())
        {
            return Err(ResponseRefusal::Structure);
        }
    }
    match signature {
        Some(signature) => verify_signature(&inner, assertion, signature, expected.certificates),
        // The signature covered the ciphertext, and its tag covers this text.
        None if response_text.is_some() => Ok(inner.node_to_xml(assertion)),
        None => Err(ResponseRefusal::Unsigned),
    }
}

/// The namespaces in scope at an element, as declarations.
fn declarations_at(document: &Document<'_>, node: NodeId) -> String {
    let mut seen: HashSet<&str> = HashSet::new();
    let mut text = String::new();
    for around in [node].into_iter().chain(document.ancestors(node)) {
        let Some(element) = document.element(around) else { continue };
        for (prefix, uri) in &element.namespace_declarations {
            if !seen.insert(prefix) {
                continue;
            }
            if prefix.is_empty() {
                text.push_str(&format!(" xmlns=\"{}\"", escape_text(uri)));
            } else {
                text.push_str(&format!(" xmlns:{prefix}=\"{}\"", escape_text(uri)));
            }
        }
    }
    text
}

fn without_declaration(text: &str) -> &str {
    let text = text.trim_start_matches('\u{feff}').trim_start();
    match text.strip_prefix("<?xml").and_then(|rest| rest.split_once("?>")) {
        Some((_, rest)) => rest,
        None => text,
    }
}
