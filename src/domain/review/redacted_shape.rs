//! What was sent, without its values: names of attributes that a schema has, and the kind and length of what they were
//! given.

use serde_json::{Map, Value};

use crate::domain::schema::{Attribute, Place, ResourceType};

/// Values of one message whose shape is told.
pub const MAX_SHAPES: usize = 300;
/// Values of one list whose shape is told.
pub const MAX_ELEMENTS: usize = 20;
/// Stands for a name that no schema has.
const UNKNOWN: &str = "(unknown attribute)";

/// The outline of a resource, or of a part of one; `left` counts down from [`MAX_SHAPES`].
pub fn attributes(ty: &ResourceType, fields: &Map<String, Value>, left: &mut usize) -> Map<String, Value> {
    let mut told = Map::new();
    for (key, value) in fields {
        let (name, value) = match ty.locate(key) {
            _ if key.eq_ignore_ascii_case("schemas") => continue,
            Some(Place::Attribute(found)) => {
                (found.path(), shape(value, Some(found.sub.unwrap_or(found.attribute)), left))
            }
            Some(Place::Schema(schema)) => {
                let inner =
                    value.as_object().into_iter().flatten().map(|(key, value)| match ty.locate_in(schema, key) {
                        Some(found) => {
                            let attribute = found.sub.unwrap_or(found.attribute);
                            (attribute.name.clone(), shape(value, Some(attribute), left))
                        }
                        None => (UNKNOWN.into(), shape(value, None, left)),
                    });
                (schema.urn.clone(), Value::Object(inner.collect()))
            }
            None => (UNKNOWN.into(), shape(value, None, left)),
        };
        told.insert(name, value);
    }
    told
}

/// What kind of value it is, and how long.
pub fn shape(value: &Value, attribute: Option<&Attribute>, left: &mut usize) -> Value {
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
            let mut told: Vec<_> = elements.iter().take(MAX_ELEMENTS).map(|one| shape(one, attribute, left)).collect();
            if elements.len() > MAX_ELEMENTS {
                told.push(format!("and {} more", elements.len() - MAX_ELEMENTS).into());
            }
            told.into()
        }
        Value::Object(fields) => {
            let told = fields.iter().take(MAX_ELEMENTS).map(|(key, value)| {
                let sub = attribute.and_then(|attribute| attribute.sub(key));
                (sub.map_or(UNKNOWN, |sub| &sub.name).to_owned(), shape(value, None, left))
            });
            Value::Object(told.collect())
        }
    }
}
