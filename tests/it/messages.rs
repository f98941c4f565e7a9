//! Messages of the API by stable codes, with which clients say them in other languages.

use rolecall::message_parts::{MessagePart, SENTENCES, read_parts};
use serde_json::Value;

/// Panics unless each message in an answer has its parts, where these were asked for.
#[track_caller]
pub fn assert_messages_have_parts(answer: &Value) {
    match answer {
        Value::Object(fields) => {
            for (text, parts) in [
                ("message", "messageParts"),
                ("nextStep", "nextStepParts"),
                ("lastCheckError", "lastCheckErrorParts"),
            ] {
                if let (Some(Value::String(text)), Some(parts)) =
                    (fields.get(text), fields.get(parts))
                {
                    assert_ne!(parts, &Value::Array(Vec::new()), "no code says: {text}");
                }
            }
            fields.values().for_each(assert_messages_have_parts);
        }
        Value::Array(items) => items.iter().for_each(assert_messages_have_parts),
        _ => {}
    }
}

/// The parts of a message, each as its code and values.
fn parts_of(message: &str) -> Vec<String> {
    let shown = |part: &MessagePart| {
        let words: Vec<&str> =
            std::iter::once(&part.code).chain(&part.values).map(String::as_str).collect();
        words.join(" | ")
    };
    read_parts(message).iter().map(shown).collect()
}

#[test]
fn each_sentence_has_its_code() {
    for (code, template) in SENTENCES {
        let inner = "2 of 3 accounts";
        let said = template.replace("{&}", inner).replace("{#}", "9").replace("{}", "seven");
        let parts = read_parts(&said);
        assert_eq!(parts.last().map(|part| part.code.as_str()), Some(*code), "{said}: {parts:?}");
    }
}

#[test]
fn joined_sentences_are_told_apart() {
    assert_eq!(
        parts_of(
            "the source no longer lists 20 of 30 accounts and 2 of 12 groups and cannot be asked \
             for them (Groups: the source answered 500 Internal Server Error: it broke; badly, \
             tried 3 times), and their removal needs an approval; none was removed. If they have \
             really gone: syncApprove; otherwise syncCancel, and look at the source"
        ),
        [
            "ACCOUNTS_ABSENT | 20 | 30",
            "GROUPS_ABSENT | 2 | 12",
            "SOURCE_ANSWERED_WHY | Groups | 500 Internal Server Error | it broke; badly",
            "TRIED | 3",
            "ROWS_UNASKED",
            "REMOVAL_NEEDS_APPROVAL",
        ]
    );
    assert_eq!(
        parts_of(
            "Users: the source answered 401 Unauthorized; give a valid secret: connectionUpdate \
             with pull.secret"
        ),
        ["SOURCE_ANSWERED | Users | 401 Unauthorized", "GIVE_SECRET"]
    );
    assert_eq!(
        parts_of("the token: something of another server, tried 3 times"),
        ["QUOTED | something of another server", "TOKEN_OF_SOURCE", "TRIED | 3"]
    );
}

#[test]
fn unknown_message_has_no_parts() {
    assert_eq!(parts_of(""), [""; 0]);
    assert_eq!(parts_of("something else; entirely"), [""; 0]);
    assert_eq!(parts_of(&"the run ended; ".repeat(10_000)), [""; 0]);
}

#[test]
fn hostile_message_is_read_quickly() {
    let began = std::time::Instant::now();
    for joint in ["; ", ": ", " and ", ", tried "] {
        parts_of(&format!("Users: the source answered 500: {}", joint.repeat(800)));
    }
    assert!(began.elapsed() < std::time::Duration::from_secs(1), "{:?}", began.elapsed());
}
