//! Unusual ways to write the value of an operation, and what such a value means.

use serde_json::Value;

/// Parses an object or list that came as JSON text: scim-for-keycloak writes objects so, alone or
/// in a list. `None` for every other value.
pub fn parse_json_text(value: &Value) -> Option<Value> {
    match value {
        Value::String(text) => parse_container(text),
        Value::Array(elements) => {
            let parse = |element: &Value| {
                element.as_str().and_then(parse_container).filter(Value::is_object)
            };
            let parsed: Vec<Option<Value>> = elements.iter().map(parse).collect();
            if parsed.iter().all(Option::is_none) {
                return None;
            }
            Some(
                parsed
                    .into_iter()
                    .zip(elements)
                    .map(|(parsed, given)| parsed.unwrap_or_else(|| given.clone()))
                    .collect(),
            )
        }
        _ => None,
    }
}

fn parse_container(text: &str) -> Option<Value> {
    text.trim_start().starts_with(['{', '[']).then(|| serde_json::from_str(text).ok()).flatten()
}

/// The object in a list of one object: SAP writes a list where the target is a single element.
pub fn only_element(value: &Value) -> Option<&Value> {
    match value.as_array()?.as_slice() {
        [only] if only.is_object() => Some(only),
        _ => None,
    }
}
