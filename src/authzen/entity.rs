//! The entities of a request: its subject, its action and its resource (section 5 of the
//! specification). Members that are not known here are ignored.

use serde_json::{Map, Value};

use crate::domain::access::decision::DecisionSubject;

/// The type of the subjects that are known here.
pub const USER_TYPE: &str = "user";

/// A mistake in a request, in words.
pub type RequestMistake = String;

/// A JSON object of a request, or of the defaults of several requests.
pub type JsonMembers = Map<String, Value>;

/// The entity `name` of a request, completed from the request's defaults: the entity replaces the
/// default one as a whole, but for `required` members that it lacks. None if both are missing.
pub fn merge_entity(
    request: &JsonMembers,
    defaults: Option<&JsonMembers>,
    name: &str,
    required: &[&str],
) -> Result<Option<JsonMembers>, RequestMistake> {
    let own = read_object(request, name)?;
    let default = defaults.map_or(Ok(None), |defaults| read_object(defaults, name))?;
    let Some(own) = own else { return Ok(default.cloned()) };
    let mut merged = own.clone();
    for member in required {
        if let (false, Some(value)) =
            (merged.contains_key(*member), default.and_then(|default| default.get(*member)))
        {
            merged.insert((*member).into(), value.clone());
        }
    }
    Ok(Some(merged))
}

/// The object `name` in `members`; none if it is missing.
pub fn read_object<'a>(
    members: &'a JsonMembers,
    name: &str,
) -> Result<Option<&'a JsonMembers>, RequestMistake> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(format!("{name} must be an object")),
    }
}

/// The required string `{entity}.{name}`.
pub fn read_text<'a>(
    members: &'a JsonMembers,
    entity: &str,
    name: &str,
) -> Result<&'a str, RequestMistake> {
    match members.get(name) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        Some(Value::String(_)) => Err(format!("{entity}.{name} must not be empty")),
        None | Some(Value::Null) => Err(format!("{entity}.{name} is missing")),
        Some(_) => Err(format!("{entity}.{name} must be a string")),
    }
}

/// The person that a subject means.
///
/// # Errors
/// A [`RequestMistake`] only if the subject is not well formed: an unknown person is no mistake.
pub fn read_subject(subject: &JsonMembers) -> Result<DecisionSubject, RequestMistake> {
    let (kind, id) = (read_text(subject, "subject", "type")?, read_text(subject, "subject", "id")?);
    let properties = read_object(subject, "properties")?;
    if kind != USER_TYPE {
        return Ok(DecisionSubject::Unknown);
    }
    match properties.and_then(|properties| properties.get("connectionId")) {
        None => Ok(DecisionSubject::parse(id)),
        Some(connection) => {
            Ok(DecisionSubject::of_connection(connection.as_str().unwrap_or_default(), id))
        }
    }
}

/// The name of the permission for an action on a resource.
pub fn permission_name(resource_type: &str, action: &str) -> String {
    format!("{resource_type}:{action}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn subject_is_read_with_properties() {
        let subject = |value: Value| read_subject(value.as_object().unwrap());
        let name = subject(json!({ "type": "user", "id": "Ada" }));
        assert_eq!(name, Ok(DecisionSubject::UserName("Ada".into())));
        let connection = "00000000-0000-0000-0000-000000000007";
        let properties = json!({ "connectionId": connection, "more": 1 });
        assert_eq!(
            subject(json!({ "type": "user", "id": "x-1", "properties": properties })),
            Ok(DecisionSubject::of_connection(connection, "x-1"))
        );
        let nowhere = json!({ "type": "user", "id": "x", "properties": { "connectionId": 1 } });
        assert_eq!(subject(nowhere), Ok(DecisionSubject::Unknown));
        let device = subject(json!({ "type": "device", "id": "x" }));
        assert_eq!(device, Ok(DecisionSubject::Unknown));
        assert!(subject(json!({ "type": "user", "id": 1 })).is_err());
    }

    #[test]
    fn required_members_come_from_defaults() {
        let request = json!({ "resource": { "id": "2", "properties": { "a": 1 } } });
        let defaults = json!({ "resource": { "type": "t", "id": "1", "extra": 1 }, "action": { "name": "n" } });
        let (request, defaults) = (request.as_object().unwrap(), defaults.as_object());
        let resource = merge_entity(request, defaults, "resource", &["type", "id"]).unwrap();
        let expected = json!({ "type": "t", "id": "2", "properties": { "a": 1 } });
        assert_eq!(resource.map(Value::Object), Some(expected));
        let action = merge_entity(request, defaults, "action", &["name"]).unwrap();
        assert_eq!(action.map(Value::Object), Some(json!({ "name": "n" })));
        assert_eq!(merge_entity(request, defaults, "subject", &[]).unwrap(), None);
    }
}
