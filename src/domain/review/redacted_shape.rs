//! The shape of a message without its values: the names of attributes that a schema has, and the
//! type and length of their values.

use serde_json::{Map, Value};

use crate::identity::schema::{MemberMeaning, ResourceType, SchemaAttribute};

/// Values of one message whose shape is recorded.
pub const MAX_SHAPES: usize = 300;
/// Values of one list whose shape is recorded.
pub const MAX_ELEMENTS: usize = 20;
/// Stands for a name that no schema has.
const UNKNOWN_ATTRIBUTE: &str = "(unknown attribute)";

/// The shape of a resource, or of a part of one; `left` counts down from [`MAX_SHAPES`].
pub fn resource_shape(
    ty: &ResourceType,
    fields: &Map<String, Value>,
    left: &mut usize,
) -> Map<String, Value> {
    let mut redacted = Map::new();
    for (key, value) in fields {
        let (name, value) = match ty.locate_member(key) {
            _ if key.eq_ignore_ascii_case("schemas") => continue,
            Some(MemberMeaning::Attribute(found)) => (
                found.canonical_path(),
                value_shape(value, Some(found.sub.unwrap_or(found.attribute)), left),
            ),
            Some(MemberMeaning::Schema(schema)) => {
                let inner = value.as_object().into_iter().flatten().map(|(key, value)| {
                    match ty.locate_in(schema, key) {
                        Some(found) => {
                            let attribute = found.sub.unwrap_or(found.attribute);
                            (attribute.name.clone(), value_shape(value, Some(attribute), left))
                        }
                        None => (UNKNOWN_ATTRIBUTE.into(), value_shape(value, None, left)),
                    }
                });
                (schema.urn.clone(), Value::Object(inner.collect()))
            }
            None => (UNKNOWN_ATTRIBUTE.into(), value_shape(value, None, left)),
        };
        redacted.insert(name, value);
    }
    redacted
}

/// The type and length of a value.
pub fn value_shape(value: &Value, attribute: Option<&SchemaAttribute>, left: &mut usize) -> Value {
    if *left == 0 {
        return "…".into();
    }
    *left -= 1;
    match value {
        Value::Null => Value::Null,
        Value::Bool(_) => "true or false".into(),
        Value::Number(_) => "number".into(),
        Value::String(text) => format!("text of {} characters", text.chars().count()).into(),
        Value::Array(elements) => {
            let mut redacted: Vec<_> = elements
                .iter()
                .take(MAX_ELEMENTS)
                .map(|one| value_shape(one, attribute, left))
                .collect();
            if elements.len() > MAX_ELEMENTS {
                redacted.push(format!("and {} more", elements.len() - MAX_ELEMENTS).into());
            }
            redacted.into()
        }
        Value::Object(fields) => {
            let redacted = fields.iter().take(MAX_ELEMENTS).map(|(key, value)| {
                let sub = attribute.and_then(|attribute| attribute.sub_attribute(key));
                (
                    sub.map_or(UNKNOWN_ATTRIBUTE, |sub| &sub.name).to_owned(),
                    value_shape(value, None, left),
                )
            });
            Value::Object(redacted.collect())
        }
    }
}
