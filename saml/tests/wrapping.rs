//! Signature wrapping: the published families, made from responses that were truly signed.

mod common;

use common::{ASSERTION, BOTH, RESPONSE, Setting, assertion_of, cut, evil_assertion, signature_of};
use proptest::prelude::*;
use saml::ResponseRefusal;

/// Every variant with what it is called.
fn variants() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (source, text) in [("assertion", ASSERTION), ("both", BOTH)] {
        for (name, variant) in wrap_assertion(text) {
            all.push((format!("{name} of {source}"), variant));
        }
    }
    for (source, text) in [("response", RESPONSE), ("both", BOTH)] {
        for (name, variant) in wrap_response(text) {
            all.push((format!("{name} of {source}"), variant));
        }
    }
    all
}

/// What wraps the signature of the response (XSW 1 and 2, and others).
fn wrap_response(text: &str) -> Vec<(&'static str, String)> {
    let signature = signature_of(text);
    let original = text.replacen(signature, "", 1);
    let evil = text.replacen(cut(text, "ID=\"", "\" "), "ID=\"_evil_response\" ", 1).replacen(
        assertion_of(text),
        &evil_assertion(assertion_of(&with_signature(text))),
        1,
    );
    let inside = |place: &str| {
        let moved = signature.replace("</Signature>", &format!("{place}</Signature>"));
        evil.replacen(signature, &moved, 1)
    };
    let (head, tail) = evil.split_once(signature).unwrap();
    let end = "</samlp:Response>";
    vec![
        ("XSW1", inside(&original)),
        ("XSW1 with an object", inside(&format!("<Object>{original}</Object>"))),
        ("XSW2", format!("{head}{original}{signature}{tail}")),
        ("XSW2 behind", format!("{head}{signature}{original}{tail}")),
        ("original in extensions", {
            let extensions = format!("<samlp:Extensions>{original}</samlp:Extensions>");
            format!("{head}{signature}{extensions}{tail}")
        }),
        ("original inside of the evil one", evil.replace(end, &format!("{original}{end}"))),
        ("evil inside of the original", text.replace(end, &format!("{evil}{end}"))),
        ("same ids", evil.replace("_evil_response", &id_of(text))),
        ("evil alone", evil.clone()),
        ("evil unsigned", evil.replacen(signature, "", 1)),
        ("wrapper around", format!("<a>{text}</a>")),
        ("assertion replaced", text.replace("0a1b2c3d", "evil")),
        ("reference to nothing", evil.replacen(&format!("#{}", id_of(text)), "", 1)),
        ("reference to all", evil.replacen(&target_of(signature), "URI=\"\"", 1)),
        ("reference by pointer", {
            let pointer = format!("URI=\"#xpointer(id('{}'))\"", id_of(text));
            evil.replacen(&target_of(signature), &pointer, 1)
        }),
    ]
}

/// `evil_assertion` cuts a signature out, and that of `RESPONSE` has none.
fn with_signature(text: &str) -> String {
    let inside = assertion_of(text);
    if inside.contains("<Signature") {
        text.to_owned()
    } else {
        text.replacen("</saml:Assertion>", "<Signature></Signature></saml:Assertion>", 1)
    }
}

/// The attribute that names what is signed.
fn target_of(signature: &str) -> String {
    format!(
        "URI=\"#{}\"",
        cut(signature, "URI=\"#", "\">").trim_start_matches("URI=\"#").trim_end_matches("\">")
    )
}

fn id_of(text: &str) -> String {
    cut(text, "ID=\"", "\" ").trim_start_matches("ID=\"").trim_end_matches("\" ").to_owned()
}

/// What wraps the signature of the assertion (XSW 3 to 8, and others).
fn wrap_assertion(text: &str) -> Vec<(&'static str, String)> {
    // The response's own signature would refuse all of them by its digest alone.
    let text = &if signature_of(text) == signature_of(assertion_of(text)) {
        text.to_owned()
    } else {
        text.replacen(signature_of(text), "", 1)
    };
    let original = assertion_of(text);
    let signature = signature_of(original);
    let unsigned = original.replace(signature, "");
    let evil = evil_assertion(original);
    let place = |new: String| text.replace(original, &new);
    let end = "</saml:Assertion>";
    let within = |outer: &str, inner: &str| outer.replace(end, &format!("{inner}{end}"));
    let object = |inner: &str| {
        signature.replace("</Signature>", &format!("<Object>{inner}</Object></Signature>"))
    };
    // The signature stands behind the issuer.
    let behind_issuer = |outer: &str, inner: &str| {
        outer.replacen("</saml:Issuer>", &format!("</saml:Issuer>{inner}"), 1)
    };
    vec![
        ("XSW3", place(format!("{evil}{original}"))),
        ("XSW3 behind", place(format!("{original}{evil}"))),
        ("XSW4", place(within(&evil, original))),
        ("XSW4 first", place(behind_issuer(&evil, original))),
        ("XSW5", place(format!("{}{unsigned}", behind_issuer(&evil, signature)))),
        ("XSW6", place(behind_issuer(&evil, &object(&unsigned)))),
        ("XSW7", {
            let extensions = format!("<samlp:Extensions>{evil}</samlp:Extensions>");
            place(format!("{extensions}{original}"))
        }),
        ("XSW7 with the original", {
            let extensions = format!("<samlp:Extensions>{original}</samlp:Extensions>");
            place(format!("{extensions}{evil}"))
        }),
        ("XSW8", place(behind_issuer(original, &object(&evil)).replacen(signature, "", 1))),
        ("XSW8 with the original", place(behind_issuer(&evil, &object(original)))),
        ("advice", place(within(original, &format!("<saml:Advice>{evil}</saml:Advice>")))),
        ("advice of the evil one", {
            place(within(&evil, &format!("<saml:Advice>{original}</saml:Advice>")))
        }),
        ("in an attribute", {
            let (before, after) = evil.split_once("<saml:AttributeValue").unwrap();
            let (_, after) = after.split_once('>').unwrap();
            place(format!("{before}<saml:AttributeValue>{original}{after}"))
        }),
        ("same id", place(format!("{}{original}", evil.replace("_evil", &id_of(original))))),
        ("same id in the other case", {
            let twin = evil.replace("ID=\"_evil\"", &format!("Id=\"{}\"", id_of(original)));
            place(format!("{original}{twin}"))
        }),
        ("signature moved", place(behind_issuer(&evil, signature))),
        ("signature twice", place(behind_issuer(original, signature))),
        ("other prefix", {
            let evil = evil.replace("saml:", "s:").replace("xmlns:saml", "xmlns:s");
            place(format!("{evil}{original}"))
        }),
        ("other namespace", {
            let evil = evil.replace("SAML:2.0:assertion\"", "SAML:2.0:assertion/\"");
            place(within(&evil, original))
        }),
        ("encrypted beside", {
            let encrypted = "<saml:EncryptedAssertion \
                             xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\"/>";
            place(format!("{encrypted}{original}"))
        }),
        ("evil unsigned", place(evil.clone())),
        ("name replaced", text.replace("0a1b2c3d", "evil")),
        ("group added", {
            text.replace(
                "</saml:AttributeValue>",
                "</saml:AttributeValue><saml:AttributeValue \
                          xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\">evil\
                          </saml:AttributeValue>",
            )
        }),
        ("no transforms", text.replace(cut(text, "<Transforms>", "</Transforms>"), "")),
        ("path transform", {
            text.replace(
                "http://www.w3.org/2000/09/xmldsig#enveloped-signature",
                "http://www.w3.org/TR/1999/REC-xpath-19991116",
            )
        }),
        ("style transform", {
            text.replacen(
                "<Transforms>",
                "<Transforms><Transform Algorithm=\"http://www.w3.org/TR/1999/REC-xslt-19991116\"/>",
                1,
            )
        }),
        ("two references", {
            let reference = cut(text, "<Reference", "</Reference>");
            text.replace(reference, &format!("{reference}{reference}"))
        }),
        ("no reference", text.replace(cut(text, "<Reference", "</Reference>"), "")),
        ("two signed infos", {
            let info = cut(text, "<SignedInfo", "</SignedInfo>");
            text.replace(info, &format!("{info}{info}"))
        }),
        ("two values", {
            let value = cut(text, "<DigestValue", "</DigestValue>");
            text.replace(value, &format!("<DigestValue>AAAA</DigestValue>{value}"))
        }),
        ("empty values", {
            text.replace(cut(text, "<SignatureValue>", "</SignatureValue>"), "<SignatureValue/>")
        }),
    ]
}

#[test]
fn wrapped_signatures_are_refused() {
    let variants = variants();
    assert!(variants.len() > 70, "{}", variants.len());
    for (name, text) in variants {
        let answer = Setting::default().verify(&text);
        assert!(answer.is_err(), "{name} was accepted: {answer:?}\n{text}");
        // Each is a wrapping, not a text that no parser reads.
        assert_ne!(answer, Err(ResponseRefusal::Malformed), "{name}\n{text}");
    }
}

#[test]
fn originals_of_the_variants_are_accepted() {
    for text in [ASSERTION, RESPONSE, BOTH] {
        assert!(Setting::default().verify(text).is_ok());
    }
    // The response's signature is left out of `BOTH` where the assertion's is wrapped.
    let without = BOTH.replacen(signature_of(BOTH), "", 1);
    assert!(Setting::default().verify(&without).is_ok());
}

/// Pieces that attackers put into documents.
fn pieces() -> Vec<String> {
    let mut pieces: Vec<String> = [
        "<!-- x -->",
        "<![CDATA[evil]]>",
        "evil",
        "&amp;",
        "&#x65;",
        "<saml:NameID xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\">evil</saml:NameID>",
        " ID=\"_evil\"",
        " xmlns=\"urn:oasis:names:tc:SAML:2.0:assertion\"",
        " xmlns:saml=\"urn:x\"",
        "</saml:Assertion>",
        "<Object/>",
        "\u{0}",
        "\r\n",
        "\u{feff}",
    ]
    .map(ToOwned::to_owned)
    .into();
    for text in [ASSERTION, RESPONSE, BOTH] {
        pieces.push(assertion_of(text).to_owned());
        pieces.push(signature_of(text).to_owned());
        pieces.push(text.to_owned());
    }
    pieces.push(evil_assertion(assertion_of(ASSERTION)));
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Whatever is cut out of a signed response or put into it: it is refused, or says the same.
    #[test]
    fn changed_responses_never_say_anything_else(
        source in 0..3_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..30_usize, any::<prop::sample::Index>(), any::<bool>()), 1..6),
    ) {
        let original = [ASSERTION, RESPONSE, BOTH][source];
        let truth = Setting::default().verify(original).unwrap();
        let pieces = pieces();
        let mut text: Vec<char> = original.chars().collect();
        for (place, length, piece, copied) in changes {
            let from = place.index(text.len() + 1);
            let to = (from + length).min(text.len());
            let new: Vec<char> = if copied {
                piece.get(&pieces).chars().collect()
            } else {
                Vec::new()
            };
            text.splice(from..to, new);
        }
        let text: String = text.into_iter().collect();
        if let Ok(said) = Setting::default().verify(&text) {
            prop_assert_eq!(said.name_id, truth.name_id);
            prop_assert_eq!(said.attributes, truth.attributes);
            prop_assert_eq!(said.fingerprint, truth.fingerprint);
        }
    }

    /// No text makes the reader panic.
    #[test]
    fn any_text_is_answered(text in "\\PC{0,300}") {
        prop_assert!(Setting::default().verify(&text).is_err());
    }
}
