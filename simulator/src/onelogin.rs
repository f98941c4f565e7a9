//! The request bodies of OneLogin; `client.rs` sends them.
//!
//! Its peculiarities: the whole template in every POST and PUT, with empty strings for what a
//! person does not have; groups that are made by name only; and a new member that is one object and
//! not a list.

use serde_json::{Value, json};

use super::people::SimulatedPerson;
use super::{CORE_USER, ENTERPRISE, patch_body};

/// A member goes in a request of its own.
pub const MEMBERS_PER_REQUEST: usize = 1;

/// The template, filled in for a person. It says nothing about whether the account is active.
pub fn user_body(person: &SimulatedPerson) -> Value {
    let manager = person.manager.clone().unwrap_or_default();
    json!({
        "schemas": [CORE_USER, ENTERPRISE],
        "userName": person.user_name,
        "externalId": person.external_id,
        "name": { "givenName": person.given_name, "familyName": person.family_name },
        "displayName": person.display_name(),
        "title": person.title,
        "emails": [{ "value": person.user_name, "type": "work", "primary": true }],
        "phoneNumbers": [{ "value": "", "type": "work" }],
        ENTERPRISE: {
            "employeeNumber": person.employee_number,
            "department": person.department,
            "manager": { "displayName": "", "value": manager },
        },
    })
}

/// The body that creates a group.
pub fn group_body(name: &str) -> Value {
    json!({ "displayName": name })
}

/// The body that adds one member.
pub fn add_member_body(id: &str) -> Value {
    patch_body(vec![json!({ "op": "add", "path": "members", "value": { "value": id } })])
}
