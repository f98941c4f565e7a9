//! Responses by implementations of others are read as they were meant, or refused for a reason.

#![allow(clippy::disallowed_methods, reason = "a test has no clock of its own")]

mod common;

use chrono::{DateTime, TimeDelta, Utc};
use common::{ASSERTION, BOTH, ISSUER, RESPONSE, Setting, assertion_of, fixture, made_at};
use saml::{
    AuthnRequest, ExpectedRequest, MAX_RELAY_STATE_BYTES, MetadataFault, RedirectFault,
    ResponseRefusal, ServiceKey, ServiceProvider, decode_response, read_identity_provider,
    write_service_provider,
};

const GROUPS: &str = "http://schemas.microsoft.com/ws/2008/06/identity/claims/groups";

#[test]
fn samlp_responses_are_read() {
    for text in [ASSERTION, RESPONSE, BOTH] {
        let said = Setting::default().verify(text).unwrap();
        assert_eq!(said.name_id, "0a1b2c3d");
        assert_eq!(
            said.name_id_format.as_deref(),
            Some("urn:oasis:names:tc:SAML:2.0:nameid-format:persistent")
        );
        assert_eq!(said.issuer, ISSUER);
        assert_eq!(said.values(GROUPS).unwrap(), ["one", "two & <three>"]);
        assert_eq!(
            said.value("http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress"),
            Some("ada@example.com")
        );
        assert_eq!(said.values("absent"), None);
        assert!((said.issued_at - made_at()).abs() < TimeDelta::seconds(5));
        assert_eq!(said.expires_at, said.issued_at + TimeDelta::hours(1));
    }
}

#[test]
fn signxml_responses_are_read() {
    for text in [
        fixture!("signxml_response"),
        fixture!("signxml_assertion"),
        fixture!("signxml_curve"),
        fixture!("signxml_pss"),
        fixture!("xmlsec_prefixes"),
    ] {
        let said = Setting::default().verify(text).unwrap();
        // A comment and a CDATA section are inside of the name.
        assert_eq!(said.name_id, "ada@example.com.org");
        assert_eq!(said.session_index.as_deref(), Some("_s"));
        // Keycloak's way: one attribute for each value.
        assert_eq!(said.values("Role").unwrap(), ["manage", "view <all>"]);
        assert_eq!(said.values("roles").unwrap(), ["manage", "view <all>"]);
        assert_eq!(said.values("empty").unwrap(), [""; 0]);
        assert_eq!(said.authenticated_at + TimeDelta::minutes(10), said.issued_at);
    }
}

#[test]
fn pysaml2_responses_are_read() {
    let said = Setting::default().verify(fixture!("pysaml2_both")).unwrap();
    assert_eq!(said.values("memberOf").unwrap(), ["one", "two"]);
    assert_eq!(said.value("mail"), Some("ada@example.com"));
}

#[test]
fn encrypted_assertions_are_read() {
    let setting = Setting { keys: vec![common::service_key()], ..Setting::default() };
    for text in [fixture!("samlp_encrypted"), fixture!("samlp_encrypted_response")] {
        let said = setting.verify(text).unwrap();
        assert_eq!(said.name_id, "0a1b2c3d");
        assert_eq!(said.values(GROUPS).unwrap().len(), 2);
        assert_eq!(Setting::default().verify(text), Err(ResponseRefusal::Decryption));
    }
    let unsigned = setting.verify(fixture!("samlp_encrypted_unsigned"));
    assert_eq!(unsigned, Err(ResponseRefusal::Unsigned));
    assert_eq!(setting.verify(fixture!("samlp_encrypted_cbc")), Err(ResponseRefusal::Algorithm));

    let now = made_at();
    let (key, certificate) = ServiceKey::generate_key("other", now).unwrap();
    let other = ServiceKey::read_key(&key, &certificate).unwrap();
    let mut wrong = Setting { keys: vec![other], ..Setting::default() };
    assert_eq!(wrong.verify(fixture!("samlp_encrypted")), Err(ResponseRefusal::Decryption));
    // While keys rotate, both decrypt.
    wrong.keys.push(common::service_key());
    assert!(wrong.verify(fixture!("samlp_encrypted")).is_ok());
}

#[test]
fn one_text_has_one_fingerprint() {
    let setting = Setting::default();
    let first = setting.verify(BOTH).unwrap();
    assert_eq!(setting.verify(BOTH).unwrap().fingerprint, first.fingerprint);
    assert_ne!(setting.verify(ASSERTION).unwrap().fingerprint, first.fingerprint);
}

#[test]
fn weak_or_foreign_signatures_are_refused() {
    let setting = Setting::default();
    assert_eq!(setting.verify(fixture!("samlp_unsigned")), Err(ResponseRefusal::Unsigned));
    assert_eq!(setting.verify(fixture!("samlp_sha1")), Err(ResponseRefusal::Algorithm));
    assert_eq!(setting.verify(fixture!("samlp_sha1_digest")), Err(ResponseRefusal::Algorithm));
    // It carries the certificate that verifies it; that counts for nothing.
    assert_eq!(setting.verify(fixture!("samlp_stranger")), Err(ResponseRefusal::Signature));
    let stranger = Setting {
        certificates: common::read_pem(include_str!("fixtures/stranger.pem")),
        ..Setting::default()
    };
    assert!(stranger.verify(fixture!("samlp_stranger")).is_ok());
    assert_eq!(stranger.verify(ASSERTION), Err(ResponseRefusal::Signature));
    let none = Setting { certificates: Vec::new(), ..Setting::default() };
    assert_eq!(none.verify(ASSERTION), Err(ResponseRefusal::Signature));
}

#[test]
fn algorithms_cannot_be_confused() {
    // Verifying with the public key as a secret, with less or with nothing.
    for method in [
        "http://www.w3.org/2000/09/xmldsig#hmac-sha1",
        "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256",
        "http://www.w3.org/2000/09/xmldsig#rsa-sha1",
        "http://www.w3.org/2000/09/xmldsig#dsa-sha1",
        "http://www.w3.org/2001/04/xmldsig-more#rsa-md5",
        "none",
        "",
    ] {
        let text = ASSERTION.replace("http://www.w3.org/2001/04/xmldsig-more#rsa-sha256", method);
        assert_eq!(Setting::default().verify(&text), Err(ResponseRefusal::Algorithm), "{method}");
    }
    let curve = ASSERTION.replace("#rsa-sha256", "#ecdsa-sha256");
    assert_eq!(Setting::default().verify(&curve), Err(ResponseRefusal::Signature));
}

#[test]
fn expectations_are_checked() {
    let setting = Setting { identity_provider: "https://other.test".into(), ..Setting::default() };
    for text in [ASSERTION, RESPONSE] {
        assert_eq!(setting.verify(text), Err(ResponseRefusal::Issuer));
        let other = Setting { audiences: vec!["https://other.test".into()], ..Setting::default() };
        assert_eq!(other.verify(text), Err(ResponseRefusal::Audience));
        let other = Setting { recipients: vec!["https://other.test".into()], ..Setting::default() };
        assert_eq!(other.verify(text), Err(ResponseRefusal::Destination));
        let other = Setting { request: Some("_another".into()), ..Setting::default() };
        assert_eq!(other.verify(text), Err(ResponseRefusal::Request));
        let other = Setting { request: None, ..Setting::default() };
        assert_eq!(other.verify(text), Err(ResponseRefusal::UnexpectedRequest));
        // The envelope is not signed, so what it leaves out stands in the assertion.
        if text == ASSERTION {
            let text = text.replacen(" InResponseTo=\"_request\"", "", 1);
            assert_eq!(other.verify(&text), Err(ResponseRefusal::UnexpectedRequest));
            let text = text.replacen("Destination=\"https://rolecall.test/saml/consume\"", "", 1);
            let other =
                Setting { recipients: vec!["https://other.test".into()], ..Setting::default() };
            assert!(matches!(other.verify(&text), Err(ResponseRefusal::Confirmation(_))));
        }
    }
    let unsolicited = fixture!("samlp_unsolicited");
    assert_eq!(Setting::default().verify(unsolicited), Err(ResponseRefusal::Request));
    let begun_there = Setting { request: None, ..Setting::default() };
    assert!(begun_there.verify(unsolicited).is_ok());
}

#[test]
fn times_are_checked_with_the_skew() {
    let at = |offset: TimeDelta| {
        Setting { now: made_at() + offset, ..Setting::default() }.verify(ASSERTION)
    };
    assert_eq!(at(TimeDelta::minutes(-2)), Err(ResponseRefusal::NotYetValid));
    assert!(at(TimeDelta::seconds(-50)).is_ok());
    assert!(at(TimeDelta::seconds(3_600 + 50)).is_ok());
    assert_eq!(at(TimeDelta::minutes(62)), Err(ResponseRefusal::Expired));
    assert_eq!(at(TimeDelta::days(400)), Err(ResponseRefusal::Expired));
}

#[test]
fn failed_sign_ins_are_said() {
    let text = "<samlp:Response xmlns:samlp=\"urn:oasis:names:tc:SAML:2.0:protocol\" ID=\"a\" \
                Version=\"2.0\"><samlp:Status><samlp:StatusCode \
                Value=\"urn:oasis:names:tc:SAML:2.0:status:Responder\"><samlp:StatusCode \
                Value=\"urn:oasis:names:tc:SAML:2.0:status:AuthnFailed\"/></samlp:StatusCode>\
                </samlp:Status></samlp:Response>";
    let refusal = Setting::default().verify(text).unwrap_err();
    assert_eq!(refusal, ResponseRefusal::Status("AuthnFailed".into()));
}

#[test]
fn document_types_and_bombs_are_refused() {
    let begin = std::time::Instant::now();
    for prolog in [
        "<!DOCTYPE a>",
        "<!DOCTYPE a SYSTEM \"file:///etc/passwd\">",
        "<!DOCTYPE a [<!ENTITY x SYSTEM \"http://127.0.0.1/\">]>",
        "<!DOCTYPE a [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">\
         <!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;&b;\"><!ENTITY d \"&c;&c;&c;&c;&c;&c;\">]>",
        "<?xml version=\"1.0\"?><!DOCTYPE a>",
        "<!-- a --><!DOCTYPE a>",
        "<?xml version=\"1.0\" encoding=\"utf-7\"?>",
        "<?a?>",
    ] {
        let text = format!("{prolog}{BOTH}");
        assert_eq!(
            Setting::default().verify(&text),
            Err(ResponseRefusal::MarkupDeclaration),
            "{prolog}"
        );
    }
    let deep = format!("{}{}", "<a>".repeat(40_000), "</a>".repeat(40_000));
    assert!(matches!(Setting::default().verify(&deep), Err(ResponseRefusal::TooLarge(_))));
    let deep = format!("{}{}", "<a>".repeat(9_000), "</a>".repeat(9_000));
    assert_eq!(Setting::default().verify(&deep), Err(ResponseRefusal::Malformed));
    assert!(begin.elapsed() < std::time::Duration::from_secs(1));
}

#[test]
fn form_values_are_decoded() {
    assert_eq!(decode_response("PGE+\r\nPC9h Pg").unwrap(), "<a></a>");
    assert_eq!(decode_response("PGE+PC9hPg==").unwrap(), "<a></a>");
    assert_eq!(decode_response("%3C"), Err(ResponseRefusal::NotBase64));
    assert_eq!(decode_response("//79"), Err(ResponseRefusal::NotBase64));
    assert!(matches!(decode_response(&"A".repeat(600_000)), Err(ResponseRefusal::TooLarge(_))));
}

#[test]
fn comments_in_names_change_nothing() {
    // Signed without the comment, delivered with it: the digest is the same, and so is the name.
    let text = ASSERTION.replace("0a1b2c3d", "0a1b<!-- x -->2c3d");
    assert_eq!(Setting::default().verify(&text).unwrap().name_id, "0a1b2c3d");
    let text = RESPONSE.replace("ada@example.com", "ada@example.com<!---->");
    let said = Setting::default().verify(&text).unwrap();
    assert_eq!(
        said.value("http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress"),
        Some("ada@example.com")
    );
    // Inside of a signature, comments are refused.
    let (before, after) = ASSERTION.split_once("<DigestValue>").unwrap();
    let text = format!("{before}<DigestValue><!-- x -->{after}");
    assert!(matches!(Setting::default().verify(&text), Err(ResponseRefusal::SignatureForm(_))));
}

#[test]
fn own_metadata_can_be_read_by_others() {
    let text = write_service_provider(&ServiceProvider {
        entity_id: "https://rolecall.test/?a=1&b=2",
        consumer_url: "https://rolecall.test/consume",
        certificates: &[common::certificates()[0].to_base64()],
        name_id_format: Some("urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"),
    });
    assert!(text.contains("entityID=\"https://rolecall.test/?a=1&amp;b=2\""));
    assert!(text.contains("<md:KeyDescriptor use=\"encryption\">"));
    assert_eq!(
        read_identity_provider(&text, None, Utc::now()),
        Err(MetadataFault::NoIdentityProvider)
    );
}

fn metadata(inside: &str, attributes: &str) -> String {
    format!(
        "<EntityDescriptor xmlns=\"urn:oasis:names:tc:SAML:2.0:metadata\" entityID=\"{ISSUER}\" \
         {attributes}><IDPSSODescriptor WantAuthnRequestsSigned=\"true\" \
         protocolSupportEnumeration=\"urn:oasis:names:tc:SAML:2.0:protocol\">{inside}\
         <NameIDFormat>urn:x</NameIDFormat><SingleSignOnService \
         Binding=\"urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST\" \
         Location=\"https://idp.test/post\"/><SingleSignOnService \
         Binding=\"urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect\" \
         Location=\"https://idp.test/sso?tenant=1\"/></IDPSSODescriptor></EntityDescriptor>"
    )
}

fn key_descriptor(usage: &str, certificate: &str) -> String {
    format!(
        "<KeyDescriptor{usage}><KeyInfo xmlns=\"http://www.w3.org/2000/09/xmldsig#\"><X509Data>\
         <X509Certificate>\n{certificate}\n</X509Certificate></X509Data></KeyInfo>\
         </KeyDescriptor>"
    )
}

#[test]
fn metadata_of_identity_providers_are_read() {
    let now = made_at();
    let [first, second] = &common::certificates()[..] else { panic!() };
    let inside = [
        key_descriptor(" use=\"signing\"", &first.to_base64()),
        key_descriptor("", &second.to_base64()),
        key_descriptor(" use=\"signing\"", &first.to_base64()),
        key_descriptor(" use=\"encryption\"", "unread"),
    ]
    .concat();
    let text = metadata(&inside, "validUntil=\"2999-01-01T00:00:00Z\"");
    let provider = read_identity_provider(&text, None, now).unwrap();
    assert_eq!(provider.entity_id, ISSUER);
    assert_eq!(provider.certificates, common::certificates());
    assert_eq!(provider.redirect_url.as_deref(), Some("https://idp.test/sso?tenant=1"));
    assert!(provider.wants_signed_requests);
    assert_eq!(provider.name_id_formats, ["urn:x"]);
    assert!(provider.certificates[0].not_after > now + TimeDelta::days(3_000));
    assert_eq!(provider.certificates[0].fingerprint().len(), 64);

    let list = format!(
        "<EntitiesDescriptor xmlns=\"urn:oasis:names:tc:SAML:2.0:metadata\">{text}{}\
         </EntitiesDescriptor>",
        text.replace(ISSUER, "https://second.test")
    );
    assert_eq!(read_identity_provider(&list, None, now), Err(MetadataFault::Several));
    let chosen = read_identity_provider(&list, Some("https://second.test"), now).unwrap();
    assert_eq!(chosen.entity_id, "https://second.test");
    for (text, fault) in [
        (metadata("", ""), MetadataFault::NoCertificate),
        (metadata(&key_descriptor("", "AAAA"), ""), MetadataFault::Certificate),
        (metadata(&inside, "validUntil=\"2020-01-01T00:00:00Z\""), MetadataFault::Expired),
        ("<a/>".to_owned(), MetadataFault::NotMetadata),
        ("<a".to_owned(), MetadataFault::Malformed),
        (format!("<!DOCTYPE a>{text}"), MetadataFault::MarkupDeclaration),
        (text.replace("https://idp.test/sso", "javascript:x"), MetadataFault::Address),
    ] {
        assert_eq!(read_identity_provider(&text, None, now), Err(fault));
    }
}

#[test]
fn requests_are_redirects() {
    let now: DateTime<Utc> = "2026-11-30T01:02:03Z".parse().unwrap();
    let request = AuthnRequest {
        id: "_1",
        issued_at: now,
        issuer: "https://rolecall.test/a&b",
        destination: "https://idp.test/sso?tenant=1",
        consumer_url: "https://rolecall.test/consume",
        name_id_format: None,
    };
    let text = request.to_xml();
    assert!(text.contains("<saml:Issuer>https://rolecall.test/a&amp;b</saml:Issuer>"), "{text}");
    let url = request.to_redirect(Some("a b"), Some(&common::service_key())).unwrap();
    assert!(url.starts_with("https://idp.test/sso?tenant=1&SAMLRequest="), "{url}");
    assert!(url.contains("&RelayState=a%20b&SigAlg=http%3A%2F%2Fwww.w3.org%2F2001"), "{url}");
    assert!(url.contains("&Signature="));
    assert!(!request.to_redirect(None, None).unwrap().contains("Signature"));
    let (longest, longer) =
        ("s".repeat(MAX_RELAY_STATE_BYTES), "s".repeat(MAX_RELAY_STATE_BYTES + 1));
    assert!(request.to_redirect(Some(&longest), None).unwrap().ends_with(&longest));
    assert_eq!(request.to_redirect(Some(&longer), None), Err(RedirectFault::RelayState));
}

#[test]
fn assertions_of_another_service_are_refused() {
    // A response that was really signed for another service, put into an envelope for us.
    let text = BOTH.replacen(&BOTH[..0], "", 1);
    let inside = assertion_of(&text);
    let envelope = ASSERTION.replace(assertion_of(ASSERTION), inside);
    let other = Setting { audiences: vec!["https://else.test".into()], ..Setting::default() };
    assert_eq!(other.verify(&envelope), Err(ResponseRefusal::Audience));
    assert_eq!(ExpectedRequest::Unsolicited, ExpectedRequest::Unsolicited);
}
