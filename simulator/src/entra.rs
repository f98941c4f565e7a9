//! How Microsoft Entra ID speaks, without its `aadOptscim062020` flag: what it puts into a request, nothing of how
//! the request travels.
//!
//! Its marks: capitalised `op`, booleans as the strings "True" and "False", one operation per mapped attribute with a
//! path, a manager as a bare string, `$ref: null` on members, and removal by `path: "members"` with a value array.

use serde_json::{Value, json};

use super::people::Person;
use super::{CORE_GROUP, CORE_USER, ENTERPRISE, patch};

/// Members travel in small batches: one change of a large group becomes many requests, several at once.
pub const MEMBERS_PER_REQUEST: usize = 5;

/// The body that creates an account.
pub fn user(person: &Person) -> Value {
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

/// One operation for every mapped attribute that differs from what was sent before; all of them where that is unknown
/// (an account that was found, not made). `None` when there is nothing to say.
pub fn changes(before: Option<&Person>, now: &Person) -> Option<Value> {
    let old = before.map(mapped);
    let mut operations = Vec::new();
    for (place, (path, value)) in mapped(now).into_iter().enumerate() {
        let previous = match &old {
            Some(old) => old.get(place).and_then(|(_, value)| value.clone()),
            None => value.clone(),
        };
        match (previous, value) {
            (Some(old), Some(new)) if before.is_some() && old == new => {}
            (Some(_), Some(new)) => operations.push(json!({ "op": "Replace", "path": path, "value": new })),
            (None, Some(new)) => operations.push(json!({ "op": "Add", "path": path, "value": new })),
            (Some(_), None) => operations.push(json!({ "op": "Remove", "path": path })),
            (None, None) => {}
        }
    }
    (!operations.is_empty()).then(|| patch(operations))
}

fn mapped(person: &Person) -> [(String, Option<String>); 9] {
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

/// The soft delete, or its undoing.
pub fn active(active: bool) -> Value {
    let value = if active { "True" } else { "False" };
    patch(vec![json!({ "op": "Replace", "path": "active", "value": value })])
}

/// The body that creates a group: always without members, and with a schema of Microsoft's own.
pub fn group(name: &str, external_id: &str) -> Value {
    json!({
        "schemas": [CORE_GROUP, "http://schemas.microsoft.com/2006/11/ResourceManagement/ADSCIM/2.0/Group"],
        "externalId": external_id,
        "displayName": name,
        "meta": { "resourceType": "Group" },
    })
}

/// A group's new name.
pub fn rename(name: &str) -> Value {
    patch(vec![json!({ "op": "Replace", "path": "displayName", "value": name })])
}

/// Members who come.
pub fn add(ids: &[String]) -> Value {
    patch(vec![json!({ "op": "Add", "path": "members", "value": references(ids) })])
}

/// Members who go: these, and not all, although the path names no one.
pub fn remove(ids: &[String]) -> Value {
    patch(vec![json!({ "op": "Remove", "path": "members", "value": references(ids) })])
}

fn references(ids: &[String]) -> Vec<Value> {
    ids.iter().map(|id| json!({ "$ref": null, "value": id })).collect()
}
