//! How Okta speaks: what it puts into a request, nothing of how the request travels.
//!
//! Its marks: a PUT of the whole resource that it has just read, `groups: []` and a throw-away `password` on creation,
//! pathless `replace` for `active` and for a group's name (repeating the id), removal by
//! `members[value eq "…"]`, and the group's name pushed again before every change of its members.

use serde_json::{Map, Value, json};

use super::people::Person;
use super::{CORE_GROUP, CORE_USER, ENTERPRISE, Member, patch};

/// Members travel in large batches.
pub const MEMBERS_PER_REQUEST: usize = 100;

/// The body that creates an account. Okta always invents a password; nobody may ever sign in with it.
pub fn user(person: &Person) -> Value {
    let mut body = json!({
        "schemas": [CORE_USER, ENTERPRISE],
        "externalId": person.external_id,
        "locale": "en-US",
        "groups": [],
        "password": format!("tmp-{}", person.external_id),
        "active": true,
    });
    update(&mut body, person);
    body
}

/// Writes what Okta knows of the person into the resource that it has read; whatever else was there, stays.
pub fn update(resource: &mut Value, person: &Person) {
    let Some(resource) = resource.as_object_mut() else { return };
    resource.insert("userName".to_owned(), json!(person.user_name));
    resource.insert("name".to_owned(), json!({ "givenName": person.given_name, "familyName": person.family_name }));
    resource.insert("displayName".to_owned(), json!(person.display_name()));
    resource.insert("title".to_owned(), json!(person.title));
    resource.insert("emails".to_owned(), json!([{ "primary": true, "value": person.user_name, "type": "work" }]));
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

/// Deactivation, or its undoing.
pub fn active(active: bool) -> Value {
    patch(vec![json!({ "op": "replace", "value": { "active": active } })])
}

/// The body that creates a group.
pub fn group(name: &str) -> Value {
    json!({ "schemas": [CORE_GROUP], "displayName": name, "members": [] })
}

/// A group's name, new or not.
pub fn rename(id: &str, name: &str) -> Value {
    patch(vec![json!({ "op": "replace", "value": { "id": id, "displayName": name } })])
}

/// Members who come.
pub fn add(members: &[Member]) -> Value {
    patch(vec![json!({ "op": "add", "path": "members", "value": references(members) })])
}

/// Members who go.
pub fn remove(ids: &[String]) -> Value {
    patch(ids.iter().map(|id| json!({ "op": "remove", "path": format!("members[value eq {}]", json!(id)) })).collect())
}

/// "Push now": these are the members, all of them.
pub fn replace(members: &[Member]) -> Value {
    patch(vec![json!({ "op": "replace", "path": "members", "value": references(members) })])
}

fn references(members: &[Member]) -> Vec<Value> {
    members.iter().map(|member| json!({ "value": member.id, "display": member.display })).collect()
}
