//! What a stream tells of an event: security event tokens (RFC 8417) with events of SCIM (RFC
//! 9967), CAEP and RISC. What must never enter: a database, a key.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::{DateTime, Utc};
use entity::destination::Payload;
use entity::event_stream::SubjectFormat;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::domain::signal::payload::{ChainedEvent, delivery_id};
use crate::ledger::{EventKind, SessionEffect};

/// A subject comes into the feed of a stream (RFC 9967).
pub const FEED_ADD: &str = "urn:ietf:params:scim:event:feed:add";
/// A subject leaves the feed of a stream (RFC 9967).
pub const FEED_REMOVE: &str = "urn:ietf:params:scim:event:feed:remove";
const CREATE_NOTICE: &str = "urn:ietf:params:scim:event:prov:create:notice";
const CREATE_FULL: &str = "urn:ietf:params:scim:event:prov:create:full";
const PATCH_NOTICE: &str = "urn:ietf:params:scim:event:prov:patch:notice";
const PATCH_FULL: &str = "urn:ietf:params:scim:event:prov:patch:full";
const PUT_NOTICE: &str = "urn:ietf:params:scim:event:prov:put:notice";
const PUT_FULL: &str = "urn:ietf:params:scim:event:prov:put:full";
const DELETE: &str = "urn:ietf:params:scim:event:prov:delete";
const ACTIVATE: &str = "urn:ietf:params:scim:event:prov:activate";
const DEACTIVATE: &str = "urn:ietf:params:scim:event:prov:deactivate";
/// A deferred request of SCIM is done (RFC 9967).
pub const ASYNC_RESPONSE: &str = "urn:ietf:params:scim:event:misc:asyncresp";
const SESSION_REVOKED: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
const CLAIMS_CHANGE: &str =
    "https://schemas.openid.net/secevent/caep/event-type/token-claims-change";
const CREDENTIAL_CHANGE: &str =
    "https://schemas.openid.net/secevent/caep/event-type/credential-change";
const ACCOUNT_DISABLED: &str =
    "https://schemas.openid.net/secevent/risc/event-type/account-disabled";
const ACCOUNT_ENABLED: &str = "https://schemas.openid.net/secevent/risc/event-type/account-enabled";
const ACCOUNT_PURGED: &str = "https://schemas.openid.net/secevent/risc/event-type/account-purged";
const VERIFICATION: &str = "https://schemas.openid.net/secevent/ssf/event-type/verification";
const STREAM_UPDATED: &str = "https://schemas.openid.net/secevent/ssf/event-type/stream-updated";

/// The types of events of SCIM that a stream can carry.
pub const SCIM_EVENTS: [&str; 12] = [
    FEED_ADD,
    FEED_REMOVE,
    CREATE_NOTICE,
    CREATE_FULL,
    PATCH_NOTICE,
    PATCH_FULL,
    PUT_NOTICE,
    PUT_FULL,
    DELETE,
    ACTIVATE,
    DEACTIVATE,
    ASYNC_RESPONSE,
];
/// The other types of events that a stream can carry.
const ACCOUNT_EVENTS: [&str; 6] = [
    SESSION_REVOKED,
    CLAIMS_CHANGE,
    CREDENTIAL_CHANGE,
    ACCOUNT_DISABLED,
    ACCOUNT_ENABLED,
    ACCOUNT_PURGED,
];
/// The types that tell values: they need the payload FULL.
const FULL_EVENTS: [&str; 3] = [CREATE_FULL, PATCH_FULL, PUT_FULL];
/// The schemas of resources, for events that tell one.
const USER_SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const GROUP_SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
const PATCH_SCHEMA: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
/// Members of the values of an event that are no attributes.
const NO_ATTRIBUTES: [&str; 5] = ["reason", "because", "cause", "schemas", "meta"];

/// The types of events that a stream with this payload can tell.
pub fn supported_events(payload: Payload) -> Vec<&'static str> {
    let all = SCIM_EVENTS.into_iter().chain(ACCOUNT_EVENTS);
    all.filter(|name| payload == Payload::Full || !FULL_EVENTS.contains(name)).collect()
}

/// A stream, as far as its tokens depend on it.
#[derive(Debug, Clone)]
pub struct StreamView {
    pub id: Uuid,
    pub issuer: String,
    pub audience: String,
    pub payload: Payload,
    pub subject_format: SubjectFormat,
    /// The types of events that it tells.
    pub types: BTreeSet<&'static str>,
    /// Whether it tells of the events of some connections only.
    pub confined: bool,
    /// The accounts and groups of which its receiver does not want to hear.
    pub removed: HashSet<Uuid>,
}

/// What is known of the account or group of an event, beyond the event.
#[derive(Debug, Clone, Default)]
pub struct SubjectDetails {
    pub external_id: Option<String>,
    pub email: Option<String>,
    /// The resource as it is now, without what only the server adds.
    pub document: Option<Map<String, Value>>,
    /// When API keys of the account ended together with it.
    pub keys_ended_at: BTreeSet<DateTime<Utc>>,
}

/// A token that is not signed yet.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenDraft {
    /// Its place among the tokens of the event, whatever the stream has requested.
    pub number: usize,
    /// The token's id (`jti`): the same for every attempt.
    pub id: String,
    pub claims: Value,
}

/// The id of the token `number` of a delivery.
pub fn token_id(delivery: Uuid, number: usize) -> String {
    format!("{}.{number}", delivery.simple())
}

/// The delivery and the number of a token's id; none for an id that is not of this server.
pub fn parse_token_id(id: &str) -> Option<(Uuid, usize)> {
    let (delivery, number) = id.split_once('.')?;
    let delivery = Uuid::try_parse(delivery).ok()?;
    let number: usize = number.parse().ok()?;
    (token_id(delivery, number) == id).then_some((delivery, number))
}

/// The subject of a token.
#[derive(Debug, Clone, Copy)]
enum TokenSubject {
    /// A resource of SCIM, by its endpoint and id; a nil id = the endpoint itself.
    Resource(&'static str, Uuid),
    /// An account, in the format that the stream has chosen.
    Account(Uuid),
    /// The stream itself.
    Stream,
}

/// One thing to tell: the types that may tell it, the best first, and what each says.
struct TokenStatement {
    subject: TokenSubject,
    content: Vec<(&'static str, Value)>,
}

impl TokenStatement {
    fn of(subject: TokenSubject, name: &'static str, content: Value) -> Self {
        Self { subject, content: vec![(name, content)] }
    }
}

/// The tokens that a stream tells of an event.
pub fn build_tokens(
    stream: &StreamView,
    event: &ChainedEvent,
    known: &BTreeMap<Uuid, SubjectDetails>,
) -> Vec<TokenDraft> {
    let delivery = delivery_id(stream.id, event.id);
    let mut drafts = Vec::new();
    for (number, statement) in list_statements(stream, event, known).into_iter().enumerate() {
        let TokenStatement { subject, content } = statement;
        if let TokenSubject::Resource(_, id) | TokenSubject::Account(id) = subject
            && stream.removed.contains(&id)
            && !is_about_stream(stream, event)
        {
            continue;
        }
        let always = matches!(subject, TokenSubject::Stream);
        let Some((name, content)) =
            content.into_iter().find(|(name, _)| always || stream.types.contains(name))
        else {
            continue;
        };
        let id = token_id(delivery, number);
        let claims = json!({
            "jti": id, "iss": stream.issuer, "aud": stream.audience,
            "iat": event.at.timestamp(), "toe": event.at.timestamp(),
            "txn": transaction_of(event),
            "sub_id": subject_identifier(stream, subject, known),
            "events": { name: content },
        });
        drafts.push(TokenDraft { number, id, claims });
    }
    drafts
}

/// The token that tells a receiver that its stream has another status, which it did not ask for.
pub fn build_notice(
    stream: &StreamView,
    id: Uuid,
    at: chrono::DateTime<chrono::Utc>,
    status: &str,
    reason: Option<&str>,
) -> TokenDraft {
    let mut content = json!({ "status": status });
    if let Some(reason) = reason {
        content["reason"] = reason.into();
    }
    let token = token_id(id, 0);
    let claims = json!({
        "jti": token, "iss": stream.issuer, "aud": stream.audience, "iat": at.timestamp(),
        "txn": id, "sub_id": { "format": "opaque", "id": stream.id },
        "events": { STREAM_UPDATED: content },
    });
    TokenDraft { number: 0, id: token, claims }
}

/// Whether an event is about the stream itself.
fn is_about_stream(stream: &StreamView, event: &ChainedEvent) -> bool {
    event.subject_id == stream.id
}

/// What an event's tokens have in common (`txn`).
fn transaction_of(event: &ChainedEvent) -> String {
    match EventKind::parse(&event.action) {
        Some(EventKind::ScimRequestCompleted) => {
            let values = event_values(event);
            let named = values["after"]["txn"].as_str();
            named.map_or_else(|| event.request_id.to_string(), Into::into)
        }
        _ => event.request_id.to_string(),
    }
}

fn event_values(event: &ChainedEvent) -> Value {
    event.payload.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// The accounts and groups of which more must be known to tell an event in full.
pub fn detail_subjects(stream: &StreamView, event: &ChainedEvent) -> Vec<(&'static str, Uuid)> {
    if stream.payload != Payload::Full {
        return Vec::new();
    }
    match event.subject_kind.as_str() {
        "user" if !event.subject_id.is_nil() => vec![("user", event.subject_id)],
        "group" => vec![("group", event.subject_id)],
        "api_key" => {
            owner_of_key(&event_values(event)).map(|id| ("user", id)).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// The accounts whose API keys may have ended with them, where the event does not list the keys of
/// each.
pub fn possible_key_owners(event: &ChainedEvent) -> Vec<Uuid> {
    match EventKind::parse(&event.action) {
        Some(EventKind::UserSuspended) => vec![event.subject_id],
        Some(EventKind::UsersDeletedAll) => {
            let values = event_values(event);
            let any =
                values["before"]["apiKeysEnded"].as_array().is_some_and(|ids| !ids.is_empty());
            if any { listed_accounts(&values) } else { Vec::new() }
        }
        _ => Vec::new(),
    }
}

/// The accounts that an event about many lists.
fn listed_accounts(values: &Value) -> Vec<Uuid> {
    let ids = values["before"]["ids"].as_array().into_iter().flatten();
    ids.filter_map(|id| id.as_str()?.parse().ok()).collect()
}

fn owner_of_key(values: &Value) -> Option<Uuid> {
    values["after"]["ownerUserId"].as_str()?.parse().ok()
}

fn list_statements(
    stream: &StreamView,
    event: &ChainedEvent,
    known: &BTreeMap<Uuid, SubjectDetails>,
) -> Vec<TokenStatement> {
    let Some(kind) = EventKind::parse(&event.action) else { return Vec::new() };
    let values = event_values(event);
    let id = event.subject_id;
    let user = TokenSubject::Resource("Users", id);
    let group = TokenSubject::Resource("Groups", id);
    let account = TokenSubject::Account(id);
    let at = json!({ "event_timestamp": event.at.timestamp() });
    let revoked = || {
        let content = json!({
            "event_timestamp": event.at.timestamp(), "initiating_entity": initiator_of(event),
        });
        TokenStatement::of(account, SESSION_REVOKED, content)
    };
    // Tokens about keys stand last, so that the other tokens of an event keep their numbers.
    let ended_keys = || {
        let with_keys = possible_key_owners(event).into_iter().filter(|owner| {
            // Where nothing was read, there may be keys.
            known.get(owner).is_none_or(|known| known.keys_ended_at.contains(&event.at))
        });
        with_keys.map(|owner| key_change(TokenSubject::Account(owner), event)).collect::<Vec<_>>()
    };
    let document = || known.get(&id).and_then(|known| known.document.as_ref());
    match kind {
        EventKind::UserCreated => vec![describe_creation(stream, user, &values)],
        EventKind::GroupCreated => vec![describe_creation(stream, group, &values)],
        EventKind::UserUpdated => vec![describe_change(stream, user, &values, document())],
        EventKind::GroupUpdated | EventKind::GroupMembersChanged => {
            vec![describe_change(stream, group, &values, document())]
        }
        EventKind::UserSuspended => [
            TokenStatement::of(user, DEACTIVATE, json!({})),
            revoked(),
            TokenStatement::of(account, ACCOUNT_DISABLED, json!({})),
            describe_change(stream, user, &values, document()),
        ]
        .into_iter()
        .chain(ended_keys())
        .collect(),
        EventKind::UserReactivated => vec![
            TokenStatement::of(user, ACTIVATE, json!({})),
            TokenStatement::of(account, ACCOUNT_ENABLED, json!({})),
            describe_change(stream, user, &values, document()),
        ],
        EventKind::UserDeleted => {
            let mut statements = vec![
                TokenStatement::of(user, DELETE, json!({})),
                revoked(),
                TokenStatement::of(account, ACCOUNT_DISABLED, json!({})),
            ];
            let keys = values["before"]["apiKeysEnded"].as_array();
            statements
                .extend(keys.filter(|keys| !keys.is_empty()).map(|_| key_change(account, event)));
            statements
        }
        EventKind::UserPurged => {
            vec![TokenStatement::of(account, ACCOUNT_PURGED, json!({})), revoked()]
        }
        EventKind::UserRestored | EventKind::UserRevived => vec![
            TokenStatement::of(user, FEED_ADD, json!({})),
            TokenStatement::of(account, ACCOUNT_ENABLED, json!({})),
        ],
        EventKind::UserAdopted if stream.confined => {
            vec![TokenStatement::of(user, FEED_ADD, json!({}))]
        }
        EventKind::UserAdopted => vec![describe_change(stream, user, &values, document())],
        EventKind::GroupDeleted => vec![TokenStatement::of(group, DELETE, json!({}))],
        EventKind::GroupRestored => vec![TokenStatement::of(group, FEED_ADD, json!({}))],
        EventKind::UserAccessChanged => match event.session_effect() {
            Some(SessionEffect::Revoked) => vec![revoked()],
            _ => vec![TokenStatement::of(account, CLAIMS_CHANGE, claims_change(event, &values))],
        },
        EventKind::UsersDeletedAll => {
            let deleted = listed_accounts(&values).into_iter().flat_map(|id| {
                let account = TokenSubject::Account(id);
                [
                    TokenStatement::of(TokenSubject::Resource("Users", id), DELETE, json!({})),
                    TokenStatement::of(account, SESSION_REVOKED, at.clone()),
                    TokenStatement::of(account, ACCOUNT_PURGED, json!({})),
                ]
            });
            deleted.chain(ended_keys()).collect()
        }
        EventKind::ApiKeyIssued | EventKind::ApiKeyRevoked => owner_of_key(&values)
            .map(|owner| key_change(TokenSubject::Account(owner), event))
            .into_iter()
            .collect(),
        EventKind::ScimRequestCompleted => vec![async_response(&values)],
        EventKind::DestinationTested if is_about_stream(stream, event) => {
            let state = values["after"]["state"].as_str();
            let content = state.map_or_else(|| json!({}), |state| json!({ "state": state }));
            vec![TokenStatement::of(TokenSubject::Stream, VERIFICATION, content)]
        }
        EventKind::DestinationSubjectAdded | EventKind::DestinationSubjectRemoved
            if is_about_stream(stream, event) =>
        {
            let name = match kind {
                EventKind::DestinationSubjectAdded => FEED_ADD,
                _ => FEED_REMOVE,
            };
            let after = &values["after"];
            let endpoint = if after["subjectKind"] == "group" { "Groups" } else { "Users" };
            let subject = after["subjectId"].as_str().and_then(|id| id.parse().ok());
            let statement = subject.map(|id| {
                TokenStatement::of(TokenSubject::Resource(endpoint, id), name, json!({}))
            });
            statement.into_iter().collect()
        }
        _ => Vec::new(),
    }
}

fn initiator_of(event: &ChainedEvent) -> &'static str {
    match event.actor_kind.as_str() {
        "PERSON" | "API_KEY" => "admin",
        _ => "system",
    }
}

fn key_change(account: TokenSubject, event: &ChainedEvent) -> TokenStatement {
    let change = if event.action == EventKind::ApiKeyIssued.name() { "create" } else { "revoke" };
    let content = json!({
        "credential_type": "api-key", "change_type": change,
        "event_timestamp": event.at.timestamp(), "initiating_entity": initiator_of(event),
    });
    TokenStatement::of(account, CREDENTIAL_CHANGE, content)
}

/// The roles that a token of the account claims now.
fn claims_change(event: &ChainedEvent, values: &Value) -> Value {
    let roles = values["after"]["roles"].as_array().into_iter().flatten();
    let names: Vec<&Value> = roles.map(|role| &role["name"]).filter(|n| n.is_string()).collect();
    json!({ "claims": { "roles": names }, "event_timestamp": event.at.timestamp() })
}

/// The result of a SCIM request that was carried out after its answer (RFC 9967 section 2.5.1.3).
fn async_response(values: &Value) -> TokenStatement {
    let after = &values["after"];
    let mut content = Map::new();
    for name in ["method", "bulkId", "version", "status", "location", "response"] {
        if let Some(value) = after.get(name).filter(|value| !value.is_null()) {
            content.insert(name.into(), value.clone());
        }
    }
    let endpoint = if after["endpoint"] == "Groups" { "Groups" } else { "Users" };
    let id = after["resourceId"].as_str().and_then(|id| id.parse().ok()).unwrap_or_default();
    TokenStatement::of(TokenSubject::Resource(endpoint, id), ASYNC_RESPONSE, content.into())
}

/// The names of the attributes that an event tells of.
fn attribute_names(values: &Value) -> Vec<String> {
    let part = |name: &str| values[name].as_object().into_iter().flatten();
    let names: BTreeSet<&String> =
        part("before").chain(part("after")).map(|(name, _)| name).collect();
    names.into_iter().filter(|name| is_attribute(name)).cloned().collect()
}

fn is_attribute(name: &str) -> bool {
    !NO_ATTRIBUTES.contains(&name)
}

fn describe_creation(stream: &StreamView, subject: TokenSubject, values: &Value) -> TokenStatement {
    let mut content = Vec::new();
    if let (Payload::Full, Some(after)) = (stream.payload, values["after"].as_object()) {
        content.push((CREATE_FULL, json!({ "data": resource_of(subject, after) })));
    }
    let mut names = attribute_names(values);
    names.insert(0, "id".into());
    content.push((CREATE_NOTICE, json!({ "attributes": names })));
    TokenStatement { subject, content }
}

/// A resource as the endpoint of SCIM would show it.
fn resource_of(subject: TokenSubject, attributes: &Map<String, Value>) -> Value {
    let TokenSubject::Resource(endpoint, id) = subject else { return Value::Null };
    let mut shown: Map<String, Value> = attributes
        .iter()
        .filter(|(name, _)| *name == "schemas" || is_attribute(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let schema = if endpoint == "Groups" { GROUP_SCHEMA } else { USER_SCHEMA };
    shown.entry("schemas").or_insert_with(|| json!([schema]));
    shown.insert("id".into(), id.to_string().into());
    if endpoint == "Groups"
        && let Some(members) = shown.get_mut("members")
    {
        *members = member_values(members);
    }
    shown.into()
}

/// Members as SCIM writes them, from a list of ids.
fn member_values(ids: &Value) -> Value {
    let ids = ids.as_array().into_iter().flatten();
    ids.map(|id| if id.is_string() { json!({ "value": id }) } else { id.clone() }).collect()
}

fn describe_change(
    stream: &StreamView,
    subject: TokenSubject,
    values: &Value,
    document: Option<&Map<String, Value>>,
) -> TokenStatement {
    let mut content = Vec::new();
    if stream.payload == Payload::Full && values.is_object() {
        let operations = patch_operations(values);
        let data = json!({ "schemas": [PATCH_SCHEMA], "Operations": operations });
        content.push((PATCH_FULL, json!({ "data": data })));
        if let Some(document) = document {
            content.push((PUT_FULL, json!({ "data": resource_of(subject, document) })));
        }
    }
    let names = attribute_names(values);
    content.push((PATCH_NOTICE, json!({ "attributes": names })));
    content.push((PUT_NOTICE, json!({ "attributes": names })));
    TokenStatement { subject, content }
}

/// The operations of a PATCH (RFC 7644 section 3.5.2) that make the change of an event.
fn patch_operations(values: &Value) -> Vec<Value> {
    let mut operations = Vec::new();
    let empty = Map::new();
    let before = values["before"].as_object().unwrap_or(&empty);
    let after = values["after"].as_object().unwrap_or(&empty);
    let members = |values: &Map<String, Value>| {
        let ids = values.get("members").and_then(Value::as_array).cloned();
        // The ids of those who came or went, and no list of all.
        ids.filter(|ids| ids.iter().all(Value::is_string)).unwrap_or_default()
    };
    for id in members(before) {
        let path = format!("members[value eq {id}]");
        operations.push(json!({ "op": "remove", "path": path }));
    }
    let added = members(after);
    if !added.is_empty() {
        let value = member_values(&added.into());
        operations.push(json!({ "op": "add", "path": "members", "value": value }));
    }
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        if is_attribute(name) && name != "members" {
            operations.push(json!({ "op": "remove", "path": name }));
        }
    }
    for (name, value) in after {
        if is_attribute(name) && name != "members" {
            let change = if value.is_null() {
                json!({ "op": "remove", "path": name })
            } else {
                json!({ "op": "replace", "path": name, "value": value })
            };
            operations.push(change);
        }
    }
    operations
}

fn subject_identifier(
    stream: &StreamView,
    subject: TokenSubject,
    known: &BTreeMap<Uuid, SubjectDetails>,
) -> Value {
    match subject {
        TokenSubject::Stream => json!({ "format": "opaque", "id": stream.id }),
        TokenSubject::Resource(endpoint, id) if id.is_nil() => {
            // A request that made nothing: what it was sent to.
            json!({ "format": "scim", "uri": format!("/{endpoint}") })
        }
        TokenSubject::Resource(endpoint, id) => {
            let mut named = json!({ "format": "scim", "uri": format!("/{endpoint}/{id}") });
            // A client chooses it; it may be the name or address of a person.
            let external = known.get(&id).and_then(|known| known.external_id.as_ref());
            if let (Payload::Full, Some(external)) = (stream.payload, external) {
                named["externalId"] = external.clone().into();
            }
            named
        }
        TokenSubject::Account(id) => {
            let email = known.get(&id).and_then(|known| known.email.as_ref());
            match (stream.subject_format, stream.payload, email) {
                (SubjectFormat::Email, Payload::Full, Some(email)) => {
                    json!({ "format": "email", "email": email })
                }
                (SubjectFormat::Opaque, ..) => json!({ "format": "opaque", "id": id }),
                _ => json!({ "format": "iss_sub", "iss": stream.issuer, "sub": id }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn stream(payload: Payload, types: &[&'static str]) -> StreamView {
        StreamView {
            id: Uuid::now_v7(),
            issuer: "https://rolecall.example/ssf/acme".into(),
            audience: "https://app.example".into(),
            payload,
            subject_format: SubjectFormat::Email,
            types: types.iter().copied().collect(),
            confined: false,
            removed: HashSet::new(),
        }
    }

    fn event(action: &str, subject: Uuid, payload: Value) -> ChainedEvent {
        ChainedEvent {
            id: Uuid::now_v7(),
            seq: 7,
            at: DateTime::from_timestamp_micros(1_700_000_000_000_001).unwrap(),
            action: action.into(),
            subject_kind: action.split('.').next().unwrap().into(),
            subject_id: subject,
            connection_id: None,
            request_id: Uuid::now_v7(),
            actor_kind: "CONNECTION".into(),
            actor_id: None,
            actor_name: "Okta".into(),
            payload: Some(payload.to_string()),
        }
    }

    fn types_of(drafts: &[TokenDraft]) -> Vec<String> {
        let name = |draft: &TokenDraft| {
            draft.claims["events"].as_object().unwrap().keys().next().unwrap().clone()
        };
        drafts.iter().map(name).collect()
    }

    #[test]
    fn reference_tells_names_of_attributes() {
        let stream = stream(Payload::Reference, &supported_events(Payload::Reference));
        let person = Uuid::now_v7();
        let values = json!({ "before": null, "after": {
            "schemas": [USER_SCHEMA], "userName": "ada@x.org", "externalId": "ada@x.org" } });
        let drafts =
            build_tokens(&stream, &event("user.created", person, values), &BTreeMap::new());
        assert_eq!(types_of(&drafts), [CREATE_NOTICE]);
        let claims = &drafts[0].claims;
        assert_eq!(
            claims["events"][CREATE_NOTICE]["attributes"],
            json!(["id", "externalId", "userName"])
        );
        assert_eq!(
            claims["sub_id"],
            json!({ "format": "scim", "uri": format!("/Users/{person}") })
        );
        assert!(claims.get("exp").is_none() && claims.get("sub").is_none());
        assert!(!claims.to_string().contains("x.org"), "{claims}");
    }

    #[test]
    fn suspension_is_told_in_each_language() {
        let mut stream = stream(Payload::Full, &supported_events(Payload::Full));
        let person = Uuid::now_v7();
        let values = json!({ "before": { "active": true }, "after": { "active": false } });
        let event = event("user.suspended", person, values);
        let details = SubjectDetails { email: Some("ada@x.org".into()), ..Default::default() };
        let known = BTreeMap::from([(person, details)]);
        let drafts = build_tokens(&stream, &event, &known);
        assert_eq!(types_of(&drafts), [DEACTIVATE, SESSION_REVOKED, ACCOUNT_DISABLED, PATCH_FULL]);
        assert_eq!(drafts[1].claims["sub_id"], json!({ "format": "email", "email": "ada@x.org" }));
        assert_eq!(
            drafts[3].claims["events"][PATCH_FULL]["data"]["Operations"],
            json!([{ "op": "replace", "path": "active", "value": false }])
        );
        // Numbers stay the same whatever is requested.
        stream.types = [ACCOUNT_DISABLED].into();
        let one = build_tokens(&stream, &event, &known);
        assert_eq!(one, [drafts[2].clone()]);
        assert_eq!(parse_token_id(&one[0].id), Some((delivery_id(stream.id, event.id), 2)));
        stream.removed.insert(person);
        assert_eq!(build_tokens(&stream, &event, &known), []);
    }

    #[test]
    fn members_come_and_go_as_operations() {
        let stream = stream(Payload::Full, &[PATCH_FULL]);
        let (came, went) = (Uuid::now_v7(), Uuid::now_v7());
        let values = json!({ "before": { "members": [went] }, "after": { "members": [came] } });
        let event = event("group.members_changed", Uuid::now_v7(), values);
        let drafts = build_tokens(&stream, &event, &BTreeMap::new());
        assert_eq!(
            drafts[0].claims["events"][PATCH_FULL]["data"]["Operations"],
            json!([
                { "op": "remove", "path": format!("members[value eq \"{went}\"]") },
                { "op": "add", "path": "members", "value": [{ "value": came }] },
            ])
        );
    }

    #[test]
    fn deletion_of_all_tells_each_account() {
        let stream = stream(Payload::Reference, &[SESSION_REVOKED, DELETE]);
        let ids = [Uuid::now_v7(), Uuid::now_v7()];
        let values = json!({ "before": { "ids": ids }, "after": null });
        let event = ChainedEvent {
            subject_id: Uuid::nil(),
            ..event("users.deleted_all", Uuid::nil(), values)
        };
        let drafts = build_tokens(&stream, &event, &BTreeMap::new());
        assert_eq!(drafts.iter().map(|draft| draft.number).collect::<Vec<_>>(), [0, 1, 3, 4]);
        assert_eq!(drafts[3].claims["sub_id"]["sub"], json!(ids[1]));
    }

    #[test]
    fn foreign_ids_of_tokens_are_none() {
        for id in ["", ".", "x.0", "0198.1", "00000000-0000-0000-0000-000000000001.0"] {
            assert_eq!(parse_token_id(id), None, "{id}");
        }
        let id = Uuid::now_v7();
        assert_eq!(parse_token_id(&format!("{}.01", id.simple())), None);
        assert_eq!(parse_token_id(&token_id(id, 1)), Some((id, 1)));
    }
}
