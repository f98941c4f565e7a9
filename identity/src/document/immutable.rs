//! Immutable attributes (RFC 7643 section 7): set once, and never changed by a client afterwards.

use serde_json::{Map, Value};

use crate::error::{InvalidInput, Result, Rule};
use crate::schema::{MutabilityRule, ResourceType, SchemaAttribute, SchemaDefinition};

/// Adds to `document`, which replaces `known`, the immutable values that it leaves out (RFC 7644
/// section 3.5.1).
pub fn keep_immutable_values(
    ty: &ResourceType,
    known: &Map<String, Value>,
    document: &mut Map<String, Value>,
) {
    for schema in &ty.extensions {
        for (attribute, value) in set_values(schema, known) {
            let section = document.entry(schema.urn.as_str());
            let section = section.or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(section) = section {
                section.entry(attribute.name.as_str()).or_insert_with(|| value.clone());
            }
        }
    }
}

/// Refuses a document that changes or removes an immutable value of `known`.
///
/// # Errors
/// [`Rule::Mutability`].
pub fn check_immutable_values(
    ty: &ResourceType,
    known: &Map<String, Value>,
    document: &Map<String, Value>,
) -> Result<()> {
    for schema in &ty.extensions {
        let section = document.get(&schema.urn);
        for (attribute, value) in set_values(schema, known) {
            let now = section.and_then(|section| section.get(&attribute.name));
            if !now.is_some_and(|now| are_same_values(value, now)) {
                return Err(changed_value(format!("{}:{}", schema.urn, attribute.name)));
            }
        }
        // A value with an immutable part can be removed as a whole, but not edited in that part.
        for attribute in schema.attributes.iter().filter(|attribute| !attribute.multi_valued) {
            let part_of = |document: &Map<String, Value>, part: &str| {
                document.get(&schema.urn)?.get(&attribute.name)?.get(part).cloned()
            };
            let stays = section.and_then(|section| section.get(&attribute.name)).is_some();
            for part in attribute.sub_attributes.iter().filter(|part| stays && is_immutable(part)) {
                let was = part_of(known, &part.name);
                if was.is_some() && was != part_of(document, &part.name) {
                    return Err(changed_value(format!(
                        "{}:{}.{}",
                        schema.urn, attribute.name, part.name
                    )));
                }
            }
        }
    }
    Ok(())
}

fn is_immutable(attribute: &SchemaAttribute) -> bool {
    attribute.mutability == MutabilityRule::Immutable
}

/// The immutable attributes of an extension that have a value. The core schemas have none that a
/// document holds.
fn set_values<'a>(
    schema: &'a SchemaDefinition,
    known: &'a Map<String, Value>,
) -> impl Iterator<Item = (&'a SchemaAttribute, &'a Value)> {
    let section = known.get(&schema.urn);
    schema
        .attributes
        .iter()
        .filter(|attribute| is_immutable(attribute))
        .filter_map(move |attribute| Some((attribute, section?.get(&attribute.name)?)))
}

/// RFC 7643 section 2.4: the values of a multi-valued attribute have no order.
fn are_same_values(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().all(|value| other.contains(value))
        }
        _ => one == other,
    }
}

fn changed_value(at: String) -> InvalidInput {
    InvalidInput::of_rule(Rule::Mutability, at, "is immutable: it cannot be changed once it is set")
}
