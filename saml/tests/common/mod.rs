//! The fixtures, made by implementations of others (`fixtures/make.sh`), and what they must fit.
#![allow(dead_code, reason = "each test program uses its part")]

use chrono::{DateTime, TimeDelta, Utc};
use saml::{
    Assertion, Certificate, ExpectedRequest, ResponseExpectation, ResponseRefusal, ServiceKey,
    verify_response,
};

pub const ISSUER: &str = "https://idp.test/metadata";

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/", $name, ".xml"))
    };
}
#[allow(unused_imports, reason = "as above")]
pub(crate) use fixture;

pub const BOTH: &str = fixture!("samlp_both");
pub const ASSERTION: &str = fixture!("samlp_assertion");
pub const RESPONSE: &str = fixture!("samlp_response");

/// When the fixtures were made.
pub fn made_at() -> DateTime<Utc> {
    let (_, rest) = BOTH.split_once("IssueInstant=\"").unwrap();
    let (text, _) = rest.split_once('"').unwrap();
    text.parse().unwrap()
}

pub fn certificates() -> Vec<Certificate> {
    let mut all = read_pem(include_str!("../fixtures/idp.pem"));
    all.extend(read_pem(include_str!("../fixtures/curve.pem")));
    all
}

/// The certificates of a file in PEM.
pub fn read_pem(text: &str) -> Vec<Certificate> {
    let blocks = text.split("-----BEGIN CERTIFICATE-----").skip(1);
    let inside = blocks.map(|block| block.split_once("-----END CERTIFICATE-----").unwrap().0);
    inside.map(|inside| Certificate::from_base64(inside).unwrap()).collect()
}

pub fn service_key() -> ServiceKey {
    ServiceKey::read_key(
        include_bytes!("../fixtures/service.key.der"),
        include_bytes!("../fixtures/service.der"),
    )
    .unwrap()
}

/// All that a response has to fit; tests change a part.
pub struct Setting {
    pub identity_provider: String,
    pub certificates: Vec<Certificate>,
    pub audiences: Vec<String>,
    pub recipients: Vec<String>,
    pub request: Option<String>,
    pub now: DateTime<Utc>,
    pub keys: Vec<ServiceKey>,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            identity_provider: ISSUER.to_owned(),
            certificates: certificates(),
            audiences: vec!["https://rolecall.test/saml/metadata".to_owned()],
            recipients: vec!["https://rolecall.test/saml/consume".to_owned()],
            request: Some("_request".to_owned()),
            now: made_at() + TimeDelta::seconds(10),
            keys: Vec::new(),
        }
    }
}

impl Setting {
    pub fn verify(&self, text: &str) -> Result<Assertion, ResponseRefusal> {
        verify_response(
            text,
            &ResponseExpectation {
                identity_provider: &self.identity_provider,
                certificates: &self.certificates,
                audiences: &self.audiences,
                recipients: &self.recipients,
                request: match &self.request {
                    Some(id) => ExpectedRequest::Id(id),
                    None => ExpectedRequest::Unsolicited,
                },
                now: self.now,
                skew: TimeDelta::seconds(60),
                keys: &self.keys,
            },
        )
    }
}

/// The text between two marks, with them.
pub fn cut<'t>(text: &'t str, begin: &str, end: &str) -> &'t str {
    let from = text.find(begin).unwrap_or_else(|| panic!("no {begin}"));
    let to = text[from..].find(end).unwrap_or_else(|| panic!("no {end}")) + from + end.len();
    &text[from..to]
}

/// The assertion of a response of samlp.
pub fn assertion_of(text: &str) -> &str {
    cut(text, "<saml:Assertion", "</saml:Assertion>")
}

/// The signature of a text of samlp: the first one.
pub fn signature_of(text: &str) -> &str {
    cut(text, "<Signature", "</Signature>")
}

/// An assertion with another name, another id and without a signature.
pub fn evil_assertion(original: &str) -> String {
    original
        .replace(signature_of(original), "")
        .replace(cut(original, "ID=\"", "\" "), "ID=\"_evil\" ")
        .replace("0a1b2c3d", "evil")
        .replace("ada@example.com", "evil@example.com")
}
