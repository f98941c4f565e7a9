//! What a destination is told of an event: a JSON document with a version.

use chrono::{DateTime, SecondsFormat, Utc};
use entity::destination::Payload;
use sea_orm::FromQueryResult;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::ledger::{EventKind, SessionEffect};

/// The version of the document. Members are added without a new one.
pub const BODY_VERSION: u32 = 1;

/// An event as it stands in the chain, to be told.
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

/// What a destination is told of `event`: the bytes of a JSON document.
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
