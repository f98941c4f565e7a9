//! The request bodies of Google Workspace; `client.rs` sends them.
//!
//! Its peculiarities: ids of digits only, empty lists and nulls for what a person does not have,
//! and a name that is patched in part. It sends accounts only: groups choose who is in scope, and
//! do not arrive.

use serde_json::{Value, json};

use super::people::SimulatedPerson;
use super::{CORE_USER, ENTERPRISE, patch_body};

/// The body that creates an account.
pub fn user_body(person: &SimulatedPerson) -> Value {
    json!({
        "schemas": [CORE_USER, ENTERPRISE],
        "userName": person.user_name,
        "externalId": person.external_id,
        "active": true,
        "name": { "givenName": person.given_name, "familyName": person.family_name },
        "displayName": person.display_name(),
        "title": person.title,
        "emails": [{ "value": person.user_name, "primary": true, "type": "work" }],
        "addresses": [],
        "phoneNumbers": null,
        ENTERPRISE: { "department": person.department, "employeeNumber": person.employee_number },
    })
}

/// The body that sends the attributes that differ from `before`, or all of them if it is unknown;
/// `None` if nothing differs.
pub fn update_body(before: Option<&SimulatedPerson>, now: &SimulatedPerson) -> Option<Value> {
    let mut operations = Vec::new();
    let mut replace = |differs: bool, path: String, value: Value| {
        if differs {
            operations.push(json!({ "op": "replace", "path": path, "value": value }));
        }
    };
    let differs = |of: fn(&SimulatedPerson) -> &str| before.is_none_or(|old| of(old) != of(now));
    replace(differs(|it| &it.user_name), "userName".to_owned(), json!(now.user_name));
    let family = json!({ "familyName": now.family_name });
    replace(differs(|it| &it.family_name), "name".to_owned(), family);
    replace(differs(|it| it.title), "title".to_owned(), json!(now.title));
    let department = format!("{ENTERPRISE}:department");
    replace(differs(|it| it.department), department, json!(now.department));
    (!operations.is_empty()).then(|| patch_body(operations))
}
