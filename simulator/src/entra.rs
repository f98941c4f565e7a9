//! The request bodies of Microsoft Entra ID without its `aadOptscim062020` flag; `client.rs` sends
//! them.
//!
//! Its peculiarities: capitalised `op`, booleans as the strings "True" and "False", one operation
//! per mapped attribute with a path, a manager as a bare string, `$ref: null` on members, and
//! removal by `path: "members"` with a value array.

use serde_json::{Value, json};

use super::people::SimulatedPerson;
use super::{CORE_GROUP, CORE_USER, ENTERPRISE, patch_body};

/// The schema that Entra ID adds to every new group.
const MICROSOFT_GROUP: &str =
    "http://schemas.microsoft.com/2006/11/ResourceManagement/ADSCIM/2.0/Group";

/// Members are sent in small batches: one change of a large group becomes many requests, several of
/// them at the same time.
pub const MEMBERS_PER_REQUEST: usize = 5;

/// The body that creates an account.
pub fn user_body(person: &SimulatedPerson) -> Value {
    let mut enterprise = json!({
        "employeeNumber": person.employee_number,
        "department": person.department,
    });
    if let (Some(manager), Some(object)) = (&person.manager, enterprise.as_object_mut()) {
        object.insert("manager".to_owned(), json!(manager));
    }
    json!({
        "schemas": [CORE_USER, ENTERPRISE],
        "externalId": person.external_id,
        "userName": person.user_name,
        "active": true,
        "displayName": person.display_name(),
        "emails": [{ "primary": true, "type": "work", "value": person.user_name }],
        "meta": { "resourceType": "User" },
        "name": {
            "formatted": person.display_name(),
            "familyName": person.family_name,
            "givenName": person.given_name,
        },
        "title": person.title,
        "roles": [],
        ENTERPRISE: enterprise,
    })
}

/// One operation for every mapped attribute that differs from `before`; for every attribute if
/// `before` is unknown (an account that was found, not created). `None` if nothing differs.
pub fn update_body(before: Option<&SimulatedPerson>, now: &SimulatedPerson) -> Option<Value> {
    let old = before.map(mapped_attributes);
    let mut operations = Vec::new();
    for (place, (path, value)) in mapped_attributes(now).into_iter().enumerate() {
        let previous = match &old {
            Some(old) => old.get(place).and_then(|(_, value)| value.clone()),
            None => value.clone(),
        };
        match (previous, value) {
            (Some(old), Some(new)) if before.is_some() && old == new => {}
            (Some(_), Some(new)) => {
                operations.push(json!({ "op": "Replace", "path": path, "value": new }))
            }
            (None, Some(new)) => {
                operations.push(json!({ "op": "Add", "path": path, "value": new }))
            }
            (Some(_), None) => operations.push(json!({ "op": "Remove", "path": path })),
            (None, None) => {}
        }
    }
    (!operations.is_empty()).then(|| patch_body(operations))
}

fn mapped_attributes(person: &SimulatedPerson) -> [(String, Option<String>); 9] {
    [
        ("userName".to_owned(), Some(person.user_name.clone())),
        ("displayName".to_owned(), Some(person.display_name())),
        ("title".to_owned(), Some(person.title.to_owned())),
        ("emails[type eq \"work\"].value".to_owned(), Some(person.user_name.clone())),
        ("name.givenName".to_owned(), Some(person.given_name.clone())),
        ("name.familyName".to_owned(), Some(person.family_name.clone())),
        (format!("{ENTERPRISE}:employeeNumber"), Some(person.employee_number.clone())),
        (format!("{ENTERPRISE}:department"), Some(person.department.to_owned())),
        (format!("{ENTERPRISE}:manager"), person.manager.clone()),
    ]
}

/// The soft delete, or its reversal.
pub fn active_body(active: bool) -> Value {
    let value = if active { "True" } else { "False" };
    patch_body(vec![json!({ "op": "Replace", "path": "active", "value": value })])
}

/// The body that creates a group: always without members, and with an additional schema of
/// Microsoft.
pub fn group_body(name: &str, external_id: &str) -> Value {
    json!({
        "schemas": [CORE_GROUP, MICROSOFT_GROUP],
        "externalId": external_id,
        "displayName": name,
        "meta": { "resourceType": "Group" },
    })
}

/// The body that changes a group's name.
pub fn rename_body(name: &str) -> Value {
    patch_body(vec![json!({ "op": "Replace", "path": "displayName", "value": name })])
}

/// The body that adds members.
pub fn add_members_body(ids: &[String]) -> Value {
    patch_body(vec![json!({ "op": "Add", "path": "members", "value": member_references(ids) })])
}

/// The body that removes these members, and not all members, although the path selects none.
pub fn remove_members_body(ids: &[String]) -> Value {
    patch_body(vec![json!({ "op": "Remove", "path": "members", "value": member_references(ids) })])
}

fn member_references(ids: &[String]) -> Vec<Value> {
    ids.iter().map(|id| json!({ "$ref": null, "value": id })).collect()
}
