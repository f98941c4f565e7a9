//! Assertions that are truly signed and say something odd, and envelopes that are forged around
//! them. The identity provider of these tests writes canonical text, so it needs no
//! canonicalization.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use saml::{
    Assertion, Certificate, ExpectedRequest, ResponseExpectation, ResponseRefusal, ServiceKey,
    verify_response,
};

const ISSUER: &str = "https://idp.test/metadata";
const AUDIENCE: &str = "https://rolecall.test/saml/metadata";
const CONSUMER: &str = "https://rolecall.test/saml/consume";
const BEARER: &str = "urn:oasis:names:tc:SAML:2.0:cm:bearer";

struct IdentityProvider {
    key: KeyPair,
    certificate: Certificate,
}

/// The parts of an assertion and of its envelope; tests change some.
#[derive(Clone)]
struct Parts {
    assertion_attributes: String,
    issuer: String,
    subject: String,
    conditions: String,
    statements: String,
    envelope_attributes: String,
    envelope_begin: String,
    status: String,
}

fn now() -> DateTime<Utc> {
    "2026-11-30T10:00:00Z".parse().unwrap()
}

/// An instant so many seconds from now.
fn at(seconds: i64) -> String {
    (now() + TimeDelta::seconds(seconds)).format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn confirmation(method: &str, recipient: &str, request: &str, end: &str) -> String {
    format!(
        "<saml:SubjectConfirmation Method=\"{method}\"><saml:SubjectConfirmationData \
         InResponseTo=\"{request}\" NotOnOrAfter=\"{end}\" Recipient=\"{recipient}\">\
         </saml:SubjectConfirmationData></saml:SubjectConfirmation>"
    )
}

fn good_confirmation() -> String {
    confirmation(BEARER, CONSUMER, "_q", &at(300))
}

fn subject(inside: &str) -> String {
    format!("<saml:Subject><saml:NameID>ada</saml:NameID>{inside}</saml:Subject>")
}

fn conditions(inside: &str) -> String {
    let (begin, end) = (at(-30), at(300));
    format!(
        "<saml:Conditions NotBefore=\"{begin}\" NotOnOrAfter=\"{end}\">{inside}</saml:Conditions>"
    )
}

fn restriction(audiences: &[&str]) -> String {
    let audiences: String =
        audiences.iter().map(|one| format!("<saml:Audience>{one}</saml:Audience>")).collect();
    format!("<saml:AudienceRestriction>{audiences}</saml:AudienceRestriction>")
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            assertion_attributes: format!("ID=\"_a\" IssueInstant=\"{}\" Version=\"2.0\"", at(0)),
            issuer: format!("<saml:Issuer>{ISSUER}</saml:Issuer>"),
            subject: subject(&good_confirmation()),
            conditions: conditions(&restriction(&[AUDIENCE])),
            statements: format!(
                "<saml:AuthnStatement AuthnInstant=\"{}\"></saml:AuthnStatement>",
                at(-60)
            ),
            envelope_attributes: format!(
                "Destination=\"{CONSUMER}\" ID=\"_r\" InResponseTo=\"_q\" Version=\"2.0\""
            ),
            envelope_begin: format!(
                "<saml:Issuer xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\">{ISSUER}\
                 </saml:Issuer>"
            ),
            status: "urn:oasis:names:tc:SAML:2.0:status:Success".into(),
        }
    }
}

impl IdentityProvider {
    fn new() -> Self {
        let (key, certificate) = ServiceKey::generate_key("idp", now()).unwrap();
        Self {
            key: KeyPair::from_pkcs8(&key).unwrap(),
            certificate: Certificate::from_base64(&STANDARD.encode(certificate)).unwrap(),
        }
    }

    /// The assertion with its signature.
    fn sign(&self, parts: &Parts) -> String {
        let Parts { assertion_attributes, issuer, subject, conditions, statements, .. } = parts;
        let assertion = format!(
            "<saml:Assertion xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\" \
             {assertion_attributes}>{issuer}{subject}{conditions}{statements}</saml:Assertion>"
        );
        // Comments are no part of what is signed.
        let canonical = assertion.replace("<!---->", "");
        let digest = STANDARD.encode(digest(&SHA256, canonical.as_bytes()));
        let info = format!(
            "<ds:SignedInfo xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\">\
             <ds:CanonicalizationMethod Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\">\
             </ds:CanonicalizationMethod><ds:SignatureMethod \
             Algorithm=\"http://www.w3.org/2001/04/xmldsig-more#rsa-sha256\">\
             </ds:SignatureMethod><ds:Reference URI=\"#{}\"><ds:Transforms><ds:Transform \
             Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"></ds:Transform>\
             <ds:Transform Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"></ds:Transform>\
             </ds:Transforms><ds:DigestMethod \
             Algorithm=\"http://www.w3.org/2001/04/xmlenc#sha256\"></ds:DigestMethod>\
             <ds:DigestValue>{digest}</ds:DigestValue></ds:Reference></ds:SignedInfo>",
            id_of(assertion_attributes)
        );
        let mut signature = vec![0; self.key.public_modulus_len()];
        let random = SystemRandom::new();
        self.key.sign(&RSA_PKCS1_SHA256, &random, info.as_bytes(), &mut signature).unwrap();
        let signature = format!(
            "<ds:Signature xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\">{info}\
             <ds:SignatureValue>{}</ds:SignatureValue></ds:Signature>",
            STANDARD.encode(signature)
        );
        assertion.replacen("</saml:Issuer>", &format!("</saml:Issuer>{signature}"), 1)
    }

    fn respond(&self, parts: &Parts) -> String {
        wrap(parts, &self.sign(parts))
    }

    fn verify(&self, text: &str) -> Result<Assertion, ResponseRefusal> {
        let (audiences, recipients) = ([AUDIENCE.to_owned()], [CONSUMER.to_owned()]);
        verify_response(
            text,
            &ResponseExpectation {
                identity_provider: ISSUER,
                certificates: std::slice::from_ref(&self.certificate),
                audiences: &audiences,
                recipients: &recipients,
                request: ExpectedRequest::Id("_q"),
                now: now(),
                skew: TimeDelta::seconds(60),
                keys: &[],
            },
        )
    }

    /// The answer to a response with these parts.
    fn judge(&self, change: impl FnOnce(&mut Parts)) -> Result<Assertion, ResponseRefusal> {
        let mut parts = Parts::default();
        change(&mut parts);
        self.verify(&self.respond(&parts))
    }
}

fn id_of(attributes: &str) -> &str {
    attributes.split_once("ID=\"").unwrap().1.split_once('"').unwrap().0
}

/// The envelope around something.
fn wrap(parts: &Parts, inside: &str) -> String {
    let Parts { envelope_attributes, envelope_begin, status, .. } = parts;
    format!(
        "<samlp:Response xmlns:samlp=\"urn:oasis:names:tc:SAML:2.0:protocol\" \
         {envelope_attributes}>{envelope_begin}<samlp:Status><samlp:StatusCode Value=\"{status}\"/>\
         </samlp:Status>{inside}</samlp:Response>"
    )
}

#[test]
fn ordinary_assertions_are_accepted() {
    let provider = IdentityProvider::new();
    let said = provider.judge(|_| {}).unwrap();
    assert_eq!((said.name_id.as_str(), said.id.as_str()), ("ada", "_a"));
    // Optional parts of the envelope may be absent: the assertion repeats what is believed.
    let said = provider.judge(|parts| {
        parts.envelope_attributes = "ID=\"_r\" Version=\"2.0\"".into();
        parts.envelope_begin = String::new();
    });
    assert!(said.is_ok());
}

#[test]
fn one_fitting_confirmation_is_needed() {
    let provider = IdentityProvider::new();
    let with = |inside: &str| provider.judge(|parts| parts.subject = subject(inside));
    let good = good_confirmation();
    let elsewhere = confirmation(BEARER, "https://else.test/saml", "_q", &at(300));
    let other_request = confirmation(BEARER, CONSUMER, "_other", &at(300));
    let late = confirmation(BEARER, CONSUMER, "_q", &at(-61));
    let long = confirmation(BEARER, CONSUMER, "_q", &at(90_000));
    let holder = "urn:oasis:names:tc:SAML:2.0:cm:holder-of-key";
    let holder = confirmation(holder, CONSUMER, "_q", &at(300));
    let vouched = "urn:oasis:names:tc:SAML:2.0:cm:sender-vouches";
    let vouched = confirmation(vouched, CONSUMER, "_q", &at(300));
    // SAML core, section 2.4.1: one of several is enough, but it must fit in all parts.
    for inside in [
        format!("{elsewhere}{good}"),
        format!("{good}{late}"),
        format!("{holder}{vouched}{other_request}{good}"),
    ] {
        assert!(with(&inside).is_ok(), "{inside}");
    }
    let no_end = good.replace(&format!(" NotOnOrAfter=\"{}\"", at(300)), "");
    let no_recipient = good.replace(&format!(" Recipient=\"{CONSUMER}\""), "");
    let no_request = good.replace("InResponseTo=\"_q\" ", "");
    let early = good.replace("NotOnOrAfter", &format!("NotBefore=\"{}\" NotOnOrAfter", at(61)));
    let data = good.split_once("<saml:SubjectConfirmationData").unwrap().1;
    let data = data.split_once("</saml:SubjectConfirmation>").unwrap().0;
    let data = format!("<saml:SubjectConfirmationData{data}");
    let doubled = good.replace(&data, &format!("{data}{data}"));
    let empty = good.replace(&data, "");
    for (why, inside) in [
        ("none", String::new()),
        ("another recipient", elsewhere.clone()),
        ("another request", other_request.clone()),
        ("an end that has passed", late.clone()),
        ("a long life", long),
        ("no bearer", format!("{holder}{vouched}")),
        ("no end", no_end),
        ("no recipient", no_recipient),
        ("no request", no_request),
        ("a later begin", early),
        ("its data twice", doubled),
        ("no data", empty),
        // Each fits in a part; together they must not.
        ("parts that fit together only", format!("{elsewhere}{other_request}{late}")),
    ] {
        assert!(with(&inside).is_err(), "{why}: {inside}");
    }
}

#[test]
fn audiences_must_name_us() {
    let provider = IdentityProvider::new();
    let with = |inside: &str| provider.judge(|parts| parts.conditions = conditions(inside));
    let us = restriction(&[AUDIENCE]);
    let other = restriction(&["https://else.test"]);
    assert!(with(&restriction(&["https://else.test", AUDIENCE])).is_ok());
    assert!(with(&format!("{us}<saml:OneTimeUse></saml:OneTimeUse>")).is_ok());
    for (why, inside) in [
        ("no restriction", String::new()),
        ("an empty restriction", restriction(&[])),
        ("an empty audience", restriction(&[""])),
        ("another audience", other.clone()),
        ("ours and another, both of which count", format!("{us}{other}")),
        ("an empty one beside ours", format!("{us}{}", restriction(&[]))),
        ("a longer name", restriction(&[&format!("{AUDIENCE}/")])),
        ("another case", restriction(&[&AUDIENCE.to_uppercase()])),
        ("ours in another place", format!("{other}<saml:Audience>{AUDIENCE}</saml:Audience>")),
    ] {
        let answer = with(&inside).unwrap_err();
        assert!(
            matches!(answer, ResponseRefusal::Audience | ResponseRefusal::Condition),
            "{why}: {answer}"
        );
    }
    let unknown = format!("{us}<saml:Condition></saml:Condition>");
    assert_eq!(with(&unknown), Err(ResponseRefusal::Condition));
    let none = provider.judge(|parts| parts.conditions = String::new());
    assert!(matches!(none, Err(ResponseRefusal::Incomplete(_))));
    let twice = provider.judge(|parts| parts.conditions = conditions(&us).repeat(2));
    assert!(twice.is_err());
}

#[test]
fn odd_assertions_are_refused() {
    let provider = IdentityProvider::new();
    let good = Parts::default();
    let person = subject(&good_confirmation());
    let name = "<saml:NameID>ada</saml:NameID>";
    let with_subject = |subject: String| Parts { subject, ..good.clone() };
    let with_statements = |statements: String| Parts { statements, ..good.clone() };
    let with_issuer = |issuer: String| Parts { issuer, ..good.clone() };
    let with_attributes =
        |assertion_attributes: String| Parts { assertion_attributes, ..good.clone() };
    let two_names = person.replace(name, &format!("{name}<saml:NameID>eve</saml:NameID>"));
    let over = format!(" SessionNotOnOrAfter=\"{}\"></saml:AuthnStatement>", at(-61));
    let sealed = "<saml:AttributeStatement><saml:EncryptedAttribute></saml:EncryptedAttribute>\
                  </saml:AttributeStatement>";
    let two_issuers = format!("{}<saml:Issuer>https://evil.test</saml:Issuer>", good.issuer);
    for (why, parts) in [
        ("two subjects", { with_subject(format!("{person}{}", person.replace(">ada<", ">eve<"))) }),
        ("no subject", with_subject(String::new())),
        ("two names", with_subject(two_names)),
        ("no name", with_subject(person.replace(name, ""))),
        ("an empty name", with_subject(person.replace(">ada<", "><"))),
        ("a name of elements", with_subject(person.replace(">ada<", "><saml:x></saml:x><"))),
        ("an encrypted name", {
            with_subject(person.replace(name, "<saml:EncryptedID></saml:EncryptedID>"))
        }),
        ("two issuers", with_issuer(two_issuers)),
        ("another issuer", with_issuer(good.issuer.replace("idp.test", "evil.test"))),
        ("version 1.1", with_attributes(good.assertion_attributes.replace("2.0", "1.1"))),
        ("a later issue", with_attributes(good.assertion_attributes.replace(&at(0), &at(61)))),
        ("no issue", with_attributes(good.assertion_attributes.replace(&at(0), ""))),
        ("no statement", with_statements(String::new())),
        ("a later statement", with_statements(good.statements.replace(&at(-60), &at(61)))),
        ("a session that is over", {
            with_statements(good.statements.replace("></saml:AuthnStatement>", &over))
        }),
        ("an encrypted attribute", with_statements(format!("{}{sealed}", good.statements))),
    ] {
        let answer = provider.verify(&provider.respond(&parts));
        assert!(answer.is_err(), "{why} was accepted: {answer:?}");
    }
}

#[test]
fn envelopes_around_signed_assertions_are_checked() {
    let provider = IdentityProvider::new();
    let good = Parts::default();
    let changed = |from: &str, to: &str| {
        let mut parts = good.clone();
        parts.envelope_attributes = parts.envelope_attributes.replace(from, to);
        provider.verify(&provider.respond(&parts))
    };
    assert_eq!(changed(CONSUMER, "https://else.test"), Err(ResponseRefusal::Destination));
    assert_eq!(
        changed("InResponseTo=\"_q\"", "InResponseTo=\"_x\""),
        Err(ResponseRefusal::Request)
    );
    assert_eq!(changed("Version=\"2.0\"", "Version=\"1.1\""), Err(ResponseRefusal::NotAResponse));
    assert_eq!(changed("ID=\"_r\"", "ID=\"_a\""), Err(ResponseRefusal::DuplicateId));
    let other = provider.judge(|parts| {
        parts.envelope_begin = parts.envelope_begin.replace("idp.test", "evil.test");
    });
    assert_eq!(other, Err(ResponseRefusal::Issuer));
    let failed = "urn:oasis:names:tc:SAML:2.0:status:Requester";
    let failed = provider.judge(|parts| parts.status = failed.into());
    assert!(matches!(failed, Err(ResponseRefusal::Status(_))));
    // What is added beside or around a signed assertion.
    let signed = provider.sign(&good);
    let unsigned = {
        let (before, rest) = signed.split_once("<ds:Signature").unwrap();
        let after = rest.split_once("</ds:Signature>").unwrap().1;
        format!("{before}{after}").replace("\"_a\"", "\"_b\"").replace(">ada<", ">eve<")
    };
    let stranger = IdentityProvider::new();
    let other = Parts {
        assertion_attributes: good.assertion_attributes.replace("_a", "_b"),
        subject: good.subject.replace(">ada<", ">eve<"),
        ..good.clone()
    };
    let also_signed = provider.sign(&other);
    let by_stranger = stranger.sign(&other);
    for (why, inside) in [
        ("an unsigned one before", format!("{unsigned}{signed}")),
        ("an unsigned one behind", format!("{signed}{unsigned}")),
        ("another signed one", format!("{signed}{also_signed}")),
        ("a stranger's", format!("{by_stranger}{signed}")),
        ("the same twice", format!("{signed}{signed}")),
        ("only an unsigned one", unsigned.clone()),
        ("only a stranger's", by_stranger.clone()),
        ("nothing", String::new()),
        ("an unsigned one in a status", {
            format!("<samlp:StatusDetail>{unsigned}</samlp:StatusDetail>{signed}")
        }),
    ] {
        let answer = provider.verify(&wrap(&good, &inside));
        assert!(answer.is_err(), "{why} was accepted: {answer:?}");
    }
}

#[test]
fn comments_cut_no_name() {
    let provider = IdentityProvider::new();
    // As in CVE-2017-11427 and its family: the name is read whole, or not at all.
    for (name, whole) in
        [("ada<!---->.evil.test", "ada.evil.test"), ("<!---->ada", "ada"), ("ada<!---->", "ada")]
    {
        let said = provider
            .judge(|parts| parts.subject = parts.subject.replace(">ada<", &format!(">{name}<")));
        assert_eq!(said.unwrap().name_id, whole);
    }
}
