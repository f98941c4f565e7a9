//! What a webhook gets of an event: a JSON document with a version.

use chrono::{DateTime, SecondsFormat, Utc};
use entity::destination::Payload;
use sea_orm::FromQueryResult;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::ledger::{EventKind, SessionEffect};

/// The version of the document. Members are added without a new one.
pub const BODY_VERSION: u32 = 1;

/// A member of the document.
#[derive(Debug, Clone, Copy)]
pub struct MessageField {
    /// Where it stands, with dots between the names.
    pub path: &'static str,
    /// Whether only destinations with `payload: FULL` get it.
    pub only_full: bool,
    pub description: &'static str,
}

impl MessageField {
    const fn always(path: &'static str, description: &'static str) -> Self {
        Self { path, only_full: false, description }
    }

    const fn only_full(path: &'static str, description: &'static str) -> Self {
        Self { path, only_full: true, description }
    }
}

/// Every member of the document, for the documentation; a test compares it with what is sent.
pub const MESSAGE_FIELDS: &[MessageField] = &[
    MessageField::always(
        "version",
        "The version of the document: 1. Members are added without a new one.",
    ),
    MessageField::always("type", "What happened: the name of the event."),
    MessageField::always("timestamp", "The instant of the change (RFC 3339, UTC)."),
    MessageField::always("organization", "The id of the organization."),
    MessageField::always(
        "seq",
        "The place of the event in the ledger. Ignore a message about a subject if you have \
         processed one with a greater `seq` about the same subject.",
    ),
    MessageField::always("data.eventId", "The id of the event."),
    MessageField::always("data.subject.kind", "What the event is about, for example `user`."),
    MessageField::always(
        "data.subject.id",
        "The id of the subject; the nil UUID if there are many, which `data.subjects` lists.",
    ),
    MessageField::always("data.subjects", "The ids of all subjects; only of an event about many."),
    MessageField::always(
        "data.connectionId",
        "The id of the connection that owns the subject; null if none does.",
    ),
    MessageField::always(
        "data.requestId",
        "The id of the request, as in `X-Request-Id` of its response.",
    ),
    MessageField::always(
        "data.deprovisioning",
        "Whether accounts cannot be used any more after the event.",
    ),
    MessageField::always(
        "data.sessionEffect",
        "What it means for the sessions of the account: `session-revoked`, \
         `token-claims-change`, or null for nothing.",
    ),
    MessageField::always(
        "data.actor.kind",
        "Who did it: `CONNECTION`, `API_KEY`, `PERSON` or `SYSTEM`.",
    ),
    MessageField::only_full(
        "data.actor.id",
        "The id of the actor: of a connection or a key; of a person, the subject of the \
         token; null for rolecall itself.",
    ),
    MessageField::only_full("data.actor.name", "The name of the actor at that time."),
    MessageField::only_full(
        "data.before",
        "The values before the change, only those that changed; null if there was nothing \
         before.",
    ),
    MessageField::only_full(
        "data.after",
        "The values after the change, and the reason that was given; null if there is nothing \
         after.",
    ),
    MessageField::only_full(
        "data.name",
        "The name of the subject at that time, if the values do not contain it; null otherwise.",
    ),
    MessageField::only_full(
        "data.erased",
        "Whether the values are gone because a person was erased.",
    ),
];

/// An event as it stands in the chain, to be delivered.
#[derive(Debug, Clone, FromQueryResult)]
pub struct ChainedEvent {
    pub id: Uuid,
    pub seq: i64,
    pub at: DateTime<Utc>,
    pub action: String,
    pub subject_kind: String,
    pub subject_id: Uuid,
    pub connection_id: Option<Uuid>,
    pub request_id: Uuid,
    pub actor_kind: String,
    pub actor_id: Option<String>,
    pub actor_name: String,
    /// The values before and after (JSON); none after an erasure.
    pub payload: Option<String>,
}

impl ChainedEvent {
    /// Whether an account, or several, cannot be used any more after it.
    pub fn is_deprovisioning(&self) -> bool {
        EventKind::parse(&self.action).is_some_and(EventKind::is_deprovisioning)
    }

    /// What it means for the sessions of its subject; none for nothing.
    pub fn session_effect(&self) -> Option<SessionEffect> {
        let effect = EventKind::parse(&self.action)?.session_effect_of(self.values().as_ref());
        Some(effect).filter(|effect| *effect != SessionEffect::None)
    }

    fn values(&self) -> Option<Value> {
        self.payload.as_deref().and_then(|text| serde_json::from_str(text).ok())
    }
}

/// The id of the message about an event to a destination: the same for every attempt. Messages of
/// one destination are in the order of their events.
pub fn delivery_id(destination: Uuid, event: Uuid) -> Uuid {
    let digest = crate::crypto::vault::hash_secret(&format!("{destination}/{event}"));
    let mut bytes = *event.as_bytes();
    for (byte, from) in bytes.iter_mut().zip(digest).skip(8) {
        *byte = from;
    }
    // The variant that every UUID of RFC 9562 has.
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    Uuid::from_bytes(bytes)
}

/// The id of a message as its header says it.
pub fn message_id(delivery: Uuid) -> String {
    format!("msg_{}", delivery.simple())
}

/// What a destination receives of `event`: the bytes of a JSON document.
pub fn build_body(organization: Uuid, event: &ChainedEvent, payload: Payload) -> Vec<u8> {
    let mut data = json!({
        "eventId": event.id,
        "subject": { "kind": event.subject_kind, "id": event.subject_id },
        "connectionId": event.connection_id,
        "requestId": event.request_id,
        "deprovisioning": event.is_deprovisioning(),
        "sessionEffect": event.session_effect().map(SessionEffect::name),
        "actor": { "kind": event.actor_kind },
    });
    // Many subjects: ids are no personal data, and an application unassigns what they owned.
    if event.subject_id.is_nil() {
        let ids = event.values().map(|values| values["before"]["ids"].clone());
        data["subjects"] = ids.filter(Value::is_array).unwrap_or_else(|| json!([]));
    }
    if payload == Payload::Full {
        data["actor"] = json!({
            "kind": event.actor_kind, "id": event.actor_id, "name": event.actor_name,
        });
        let values = event.values();
        let part = |name: &str| values.as_ref().and_then(|values| values.get(name)).cloned();
        data["before"] = part("before").into();
        data["after"] = part("after").into();
        data["name"] = part("name").into();
        data["erased"] = values.is_none().into();
    }
    let body = json!({
        "version": BODY_VERSION,
        "type": event.action,
        "timestamp": event.at.to_rfc3339_opts(SecondsFormat::Micros, true),
        "organization": organization,
        "seq": event.seq,
        "data": data,
    });
    body.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suspension() -> ChainedEvent {
        ChainedEvent {
            id: Uuid::now_v7(),
            seq: 7,
            at: DateTime::from_timestamp_micros(1_700_000_000_000_001).unwrap(),
            action: "user.suspended".into(),
            subject_kind: "user".into(),
            subject_id: Uuid::now_v7(),
            connection_id: None,
            request_id: Uuid::now_v7(),
            actor_kind: "PERSON".into(),
            actor_id: Some("ada@example.org".into()),
            actor_name: "Ada Lovelace".into(),
            payload: Some(r#"{"before": {"userName": "bo@example.org"}, "after": {}}"#.into()),
        }
    }

    #[test]
    fn references_have_no_names() {
        let body = build_body(Uuid::now_v7(), &suspension(), Payload::Reference);
        let text = String::from_utf8(body).unwrap();
        assert!(!text.contains("example.org") && !text.contains("Ada"), "{text}");
        let body: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(body["type"], "user.suspended");
        assert_eq!(body["timestamp"], "2023-11-14T22:13:20.000001Z");
        assert_eq!(body["data"]["deprovisioning"], true);
        assert_eq!(body["data"]["sessionEffect"], "session-revoked");
    }

    /// The paths of the values in a document, but for what is inside the values of a change.
    fn paths(value: &Value, path: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(members) if !["data.before", "data.after"].contains(&path) => {
                for (name, value) in members {
                    let dot = if path.is_empty() { "" } else { "." };
                    paths(value, &format!("{path}{dot}{name}"), found);
                }
            }
            _ => found.push(path.to_owned()),
        }
    }

    #[test]
    fn every_field_is_documented() {
        let of_many = ChainedEvent { subject_id: Uuid::nil(), ..suspension() };
        for payload in [Payload::Reference, Payload::Full] {
            let body = build_body(Uuid::now_v7(), &of_many, payload);
            let mut found = Vec::new();
            paths(&serde_json::from_slice(&body).unwrap(), "", &mut found);
            let shown = |field: &&MessageField| payload == Payload::Full || !field.only_full;
            let mut told: Vec<_> =
                MESSAGE_FIELDS.iter().filter(shown).map(|field| field.path.to_owned()).collect();
            found.sort();
            told.sort();
            assert_eq!(found, told);
        }
    }

    #[test]
    fn deletion_of_all_lists_ids() {
        let ids = json!([Uuid::now_v7(), Uuid::now_v7()]);
        let event = ChainedEvent {
            action: "users.deleted_all".into(),
            subject_id: Uuid::nil(),
            payload: Some(json!({ "before": { "ids": ids }, "after": null }).to_string()),
            ..suspension()
        };
        let body = build_body(Uuid::now_v7(), &event, Payload::Reference);
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["data"]["subjects"], ids);
        assert_eq!(body["data"]["sessionEffect"], "session-revoked");
    }

    #[test]
    fn full_tells_values_until_erased() {
        let event = suspension();
        let read = |event: &ChainedEvent| -> Value {
            serde_json::from_slice(&build_body(Uuid::nil(), event, Payload::Full)).unwrap()
        };
        assert_eq!(read(&event)["data"]["before"]["userName"], "bo@example.org");
        let erased = read(&ChainedEvent { payload: None, ..event });
        assert_eq!(erased["data"]["before"], Value::Null);
        assert_eq!(erased["data"]["erased"], true);
    }

    #[test]
    fn id_depends_on_both() {
        let (one, other, event) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
        assert_eq!(delivery_id(one, event), delivery_id(one, event));
        assert_ne!(delivery_id(one, event), delivery_id(other, event));
        assert_ne!(delivery_id(one, event), delivery_id(one, Uuid::now_v7()));
    }
}
