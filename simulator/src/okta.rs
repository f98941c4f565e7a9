//! The request bodies of Okta; `client.rs` sends them.
//!
//! Its peculiarities: a PUT of the whole resource that it has just read, `groups: []` and a
//! throw-away `password` on creation, pathless `replace` for `active` and for a group's name
//! (repeating the id), removal by `members[value eq "…"]`, and the group's name pushed again before
//! every change of its members.

use serde_json::{Map, Value, json};

use super::people::SimulatedPerson;
use super::{CORE_GROUP, CORE_USER, ENTERPRISE, NewMember, patch_body};

/// Members are sent in large batches.
pub const MEMBERS_PER_REQUEST: usize = 100;

/// The body that creates an account. Okta always sends a random password, which a server must not
/// accept for sign-in.
pub fn user_body(person: &SimulatedPerson) -> Value {
    let mut body = json!({
        "schemas": [CORE_USER, ENTERPRISE],
        "externalId": person.external_id,
        "locale": "en-US",
        "groups": [],
        "password": format!("tmp-{}", person.external_id),
        "active": true,
    });
    update_resource(&mut body, person);
    body
}

/// Writes Okta's data about the person into the resource that it has read; all other attributes
/// stay.
pub fn update_resource(resource: &mut Value, person: &SimulatedPerson) {
    let Some(resource) = resource.as_object_mut() else { return };
    resource.insert("userName".to_owned(), json!(person.user_name));
    resource.insert(
        "name".to_owned(),
        json!({ "givenName": person.given_name, "familyName": person.family_name }),
    );
    resource.insert("displayName".to_owned(), json!(person.display_name()));
    resource.insert("title".to_owned(), json!(person.title));
    resource.insert(
        "emails".to_owned(),
        json!([{ "primary": true, "value": person.user_name, "type": "work" }]),
    );
    let extension = resource.entry(ENTERPRISE).or_insert(Value::Null);
    if !extension.is_object() {
        *extension = Value::Object(Map::new());
    }
    if let Some(extension) = extension.as_object_mut() {
        extension.insert("employeeNumber".to_owned(), json!(person.employee_number));
        extension.insert("department".to_owned(), json!(person.department));
        match &person.manager {
            Some(id) => extension.insert("manager".to_owned(), json!({ "value": id })),
            None => extension.shift_remove("manager"),
        };
    }
}

/// The body that deactivates or activates an account.
pub fn active_body(active: bool) -> Value {
    patch_body(vec![json!({ "op": "replace", "value": { "active": active } })])
}

/// The body that creates a group.
pub fn group_body(name: &str) -> Value {
    json!({ "schemas": [CORE_GROUP], "displayName": name, "members": [] })
}

/// The body that sends a group's name, changed or not.
pub fn rename_body(id: &str, name: &str) -> Value {
    patch_body(vec![json!({ "op": "replace", "value": { "id": id, "displayName": name } })])
}

/// The body that adds members.
pub fn add_members_body(members: &[NewMember]) -> Value {
    patch_body(vec![json!({ "op": "add", "path": "members", "value": member_references(members) })])
}

/// The body that removes members.
pub fn remove_members_body(ids: &[String]) -> Value {
    patch_body(
        ids.iter()
            .map(|id| json!({ "op": "remove", "path": format!("members[value eq {}]", json!(id)) }))
            .collect(),
    )
}

/// The body of "Push now", which replaces all members.
pub fn replace_members_body(members: &[NewMember]) -> Value {
    patch_body(vec![
        json!({ "op": "replace", "path": "members", "value": member_references(members) }),
    ])
}

fn member_references(members: &[NewMember]) -> Vec<Value> {
    members.iter().map(|member| json!({ "value": member.id, "display": member.display })).collect()
}
