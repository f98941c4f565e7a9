//! SAML 2.0 for a service provider: identity providers' metadata, our own metadata and requests,
//! and the verification of responses.
//!
//! No database, no network and no clock: callers hand over texts, keys and the time. What a
//! response says is read only from the text that a verified digest covers, by the one parser that
//! read the response itself.

mod certificate;
mod encryption;
mod metadata;
mod refusal;
mod request;
mod response;
mod service_key;
mod signature;
mod xml;

pub use certificate::{Certificate, CertificateFault, MAX_CERTIFICATES};
pub use metadata::{
    IdentityProvider, MAX_METADATA_BYTES, MetadataFault, ServiceProvider, read_identity_provider,
    write_service_provider,
};
pub use refusal::ResponseRefusal;
pub use request::{AuthnRequest, MAX_RELAY_STATE_BYTES, RedirectFault};
pub use response::{
    Assertion, Attribute, ExpectedRequest, MAX_RESPONSE_BYTES, ResponseExpectation,
    decode_response, read_issuer, verify_response,
};
pub use service_key::{ServiceKey, ServiceKeyFault};

/// Namespaces of the documents.
pub(crate) mod namespace {
    pub const PROTOCOL: &str = "urn:oasis:names:tc:SAML:2.0:protocol";
    pub const ASSERTION: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
    pub const METADATA: &str = "urn:oasis:names:tc:SAML:2.0:metadata";
    pub const SIGNATURE: &str = "http://www.w3.org/2000/09/xmldsig#";
    pub const ENCRYPTION: &str = "http://www.w3.org/2001/04/xmlenc#";
    pub const ENCRYPTION_11: &str = "http://www.w3.org/2009/xmlenc11#";
    pub const EXCLUSIVE_C14N: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
}

/// The binding of requests: a redirect of the browser.
pub(crate) const HTTP_REDIRECT: &str = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect";
/// The binding of responses: a form that the browser posts.
pub(crate) const HTTP_POST: &str = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST";
