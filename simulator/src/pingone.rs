//! The request bodies of PingOne; `client.rs` sends them.
//!
//! Its peculiarities: discovery before anything else, a filter whose operator is written `Eq`, the
//! whole profile in every change, and members that are merged by an operation without a path whose
//! answer is to have their ids only.

use serde_json::{Value, json};

use super::people::SimulatedPerson;
use super::{CORE_GROUP, CORE_USER, ENTERPRISE, NewMember, patch_body};

/// Members are sent in large batches.
pub const MEMBERS_PER_REQUEST: usize = 100;

/// The profile of a person, with the server's id once it has one.
pub fn user_body(id: Option<&str>, person: &SimulatedPerson) -> Value {
    let mut enterprise = json!({
        "employeeNumber": person.employee_number,
        "department": person.department,
        "costCenter": "42",
    });
    if let (Some(manager), Some(fields)) = (&person.manager, enterprise.as_object_mut()) {
        fields.insert("manager".to_owned(), json!({ "value": manager }));
    }
    let mut body = json!({
        "schemas": [CORE_USER, ENTERPRISE],
        "userName": person.user_name,
        "externalId": person.external_id,
        "active": true,
        "name": { "givenName": person.given_name, "familyName": person.family_name },
        "displayName": person.display_name(),
        "title": person.title,
        "emails": [{ "value": person.user_name, "type": "work" }],
        ENTERPRISE: enterprise,
    });
    if let (Some(id), Some(fields)) = (id, body.as_object_mut()) {
        fields.insert("id".to_owned(), json!(id));
    }
    body
}

/// The body that creates a group.
pub fn group_body(name: &str, external_id: &str) -> Value {
    json!({ "schemas": [CORE_GROUP], "displayName": name, "externalId": external_id })
}

/// The body that merges members into a group.
pub fn add_members_body(members: &[NewMember]) -> Value {
    let members: Vec<_> =
        members.iter().map(|member| json!({ "value": member.id, "type": "User" })).collect();
    patch_body(vec![json!({ "op": "add", "value": { "members": members } })])
}
