//! Unusual ways to write the value of an operation, and what such a value means.

use serde_json::Value;

use crate::identity::document;
use crate::identity::schema::{AttributeKind, SchemaAttribute};

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

/// What a list of one means for a single-valued attribute: the SDK of scim-for-keycloak writes
/// `["de"]` for `"de"`. `None` for every other value, and where such a list is usual.
pub fn single_in_list<'a>(target: &SchemaAttribute, value: &'a Value) -> Option<&'a Value> {
    let [only] = value.as_array()?.as_slice() else { return None };
    let fits = only.is_object() || target.kind != AttributeKind::Complex;
    (!target.multi_valued && !document::is_pointer(target) && fits).then_some(only)
}

/// The value of a single-valued attribute that came as a list of one, as an object with a `value`,
/// or as both: Entra ID has written `[{"$ref": null, "value": "de"}]`.
pub fn single_value<'a>(target: &SchemaAttribute, value: &'a Value) -> &'a Value {
    if target.multi_valued {
        return value;
    }
    let value = single_in_list(target, value).unwrap_or(value);
    document::wrapped_value(target, value).unwrap_or(value)
}
