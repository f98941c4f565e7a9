//! The request bodies of JumpCloud; `client.rs` sends them.
//!
//! Its peculiarities: a connection test that makes a user and a group and deletes both, no
//! externalId, the whole resource in every change of an account or a group, and a removal that
//! names members in a list beside it. Changes of one group are sent one after the other.

use serde_json::{Value, json};

use super::people::SimulatedPerson;
use super::{CORE_GROUP, CORE_USER, ENTERPRISE, patch_body};

/// A group is sent with all of its members.
pub const MEMBERS_PER_REQUEST: usize = usize::MAX;

/// The account of a person, with the server's id once it has one.
pub fn user_body(id: Option<&str>, person: &SimulatedPerson) -> Value {
    let mut body = json!({
        "schemas": [CORE_USER, ENTERPRISE],
        "userName": person.user_name,
        "emails": [{ "value": person.user_name, "type": "work", "primary": true }],
        "name": { "givenName": person.given_name, "familyName": person.family_name },
        "displayName": person.display_name(),
        "title": person.title,
        "active": true,
        ENTERPRISE: { "employeeNumber": person.employee_number, "department": person.department },
    });
    if let (Some(id), Some(fields)) = (id, body.as_object_mut()) {
        fields.insert("id".to_owned(), json!(id));
    }
    body
}

/// The account that the connection test makes, and changes afterwards.
pub fn test_user_body(id: Option<&str>, user_name: &str) -> Value {
    let given = if id.is_some() { "Tested" } else { "Test" };
    let mut body = json!({
        "schemas": [CORE_USER],
        "userName": user_name,
        "emails": [{ "value": user_name, "type": "work", "primary": true }],
        "name": { "givenName": given, "familyName": "Test" },
        "active": true,
    });
    if let (Some(id), Some(fields)) = (id, body.as_object_mut()) {
        fields.insert("id".to_owned(), json!(id));
    }
    body
}

/// The body that creates a group.
pub fn group_body(name: &str) -> Value {
    json!({ "schemas": [CORE_GROUP], "displayName": name, "members": [] })
}

/// The whole group with its members.
pub fn whole_group_body(id: &str, name: &str, members: &[String]) -> Value {
    json!({
        "schemas": [CORE_GROUP], "id": id, "displayName": name,
        "members": member_references(members),
    })
}

/// The body that removes these members, and not all members, although the path selects none.
pub fn remove_members_body(ids: &[String]) -> Value {
    patch_body(vec![json!({ "op": "remove", "path": "members", "value": member_references(ids) })])
}

fn member_references(ids: &[String]) -> Vec<Value> {
    ids.iter().map(|id| json!({ "value": id })).collect()
}
