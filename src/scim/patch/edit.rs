//! Applies one operation to one attribute.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::PatchVerb;
use crate::error::{Error, Result, Rule};
use crate::identity::document::{
    canonical_value, element_identity, is_pointer, is_primary, merge_values, search_value,
};
use crate::identity::filter::{CompareOp, Filter, FilterLiteral, matching_elements};
use crate::identity::schema::{AttributeKind, MutabilityRule, ResolvedAttribute, SchemaAttribute};

/// The new value of a single-valued attribute; no `value` means it is removed.
pub fn edit_single_value(
    found: ResolvedAttribute<'_>,
    current: Option<Value>,
    value: Option<&Value>,
) -> Result<Option<Value>> {
    let attribute = found.attribute;
    let at = found.canonical_path();
    let pointer = is_pointer(attribute);
    match (found.sub, value) {
        // RFC 7644 section 3.5.2.2: a single value is removed.
        (None, None) => Ok(None),
        // The `value` of `manager` says which user it is. A new `value` replaces all parts, so that
        // nothing of another manager remains.
        (Some(sub), None) if pointer && sub.name == "value" => Ok(None),
        (Some(sub), Some(value)) if pointer && sub.name == "value" => {
            let at = ResolvedAttribute { sub: None, ..found }.canonical_path();
            Ok(canonical_value(attribute, &at, json!({ "value": value }))?)
        }
        (None, Some(value)) if pointer && names_value(value) => {
            Ok(canonical_value(attribute, &at, value.clone())?)
        }
        // RFC 7644 section 3.5.2.3: of a complex attribute, the parts that the value names are
        // replaced.
        (None, Some(Value::Object(fields))) if attribute.kind == AttributeKind::Complex => {
            let mut object = object_or_empty(current);
            merge_fields(attribute, &at, &mut object, fields)?;
            Ok(Some(object.into()))
        }
        // RFC 7644 sections 3.5.2.1 and 3.5.2.3: the value of a single-valued attribute is
        // replaced.
        (None, Some(value)) => Ok(canonical_value(attribute, &at, value.clone())?),
        (Some(sub), value) => {
            let mut object = object_or_empty(current);
            set_sub_attribute(sub, &at, &mut object, value)?;
            Ok((!object.is_empty()).then_some(object.into()))
        }
    }
}

fn names_value(given: &Value) -> bool {
    given
        .as_object()
        .is_none_or(|fields| fields.keys().any(|key| key.eq_ignore_ascii_case("value")))
}

fn object_or_empty(current: Option<Value>) -> Map<String, Value> {
    match current {
        Some(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

fn merge_fields(
    attribute: &SchemaAttribute,
    at: &str,
    object: &mut Map<String, Value>,
    fields: &Map<String, Value>,
) -> Result<()> {
    for (key, value) in fields {
        if let Some(sub) =
            attribute.sub_attribute(key).filter(|sub| sub.mutability != MutabilityRule::ReadOnly)
        {
            set_sub_attribute(sub, &format!("{at}.{}", sub.name), object, Some(value))?;
        }
    }
    Ok(())
}

fn set_sub_attribute(
    sub: &SchemaAttribute,
    at: &str,
    object: &mut Map<String, Value>,
    value: Option<&Value>,
) -> Result<()> {
    match canonical_value(sub, at, value.cloned().unwrap_or_default())? {
        Some(value) => {
            object.insert(sub.name.clone(), value);
        }
        None => {
            object.remove(&sub.name);
        }
    }
    Ok(())
}

/// The new values of a multi-valued attribute; `None` if none are left.
pub fn edit_values(
    verb: PatchVerb,
    found: ResolvedAttribute<'_>,
    filter: Option<&Filter>,
    elements: Vec<Value>,
    value: Option<&Value>,
) -> Result<Option<Value>> {
    let elements = match (filter, found.sub) {
        (None, None) => {
            edit_all_values(verb, found.attribute, &found.canonical_path(), elements, value)?
        }
        _ => edit_selected_values(verb, found, filter, elements, value)?,
    };
    Ok((!elements.is_empty()).then_some(Value::Array(elements)))
}

/// The new values if the target is the attribute as a whole.
fn edit_all_values(
    verb: PatchVerb,
    attribute: &SchemaAttribute,
    at: &str,
    mut elements: Vec<Value>,
    value: Option<&Value>,
) -> Result<Vec<Value>> {
    let given = match canonical_value(attribute, at, value.cloned().unwrap_or_default())? {
        Some(Value::Array(given)) => given,
        _ => Vec::new(),
    };
    match (verb, value) {
        // RFC 7644 section 3.5.2.2: without a filter, all values are removed.
        (PatchVerb::Remove, None | Some(Value::Null)) => Ok(Vec::new()),
        // Values in a `remove` are the values to remove.
        (PatchVerb::Remove, Some(value)) => {
            if given.is_empty() && value.as_array().is_none_or(|list| !list.is_empty()) {
                return Err(Error::invalid(at.to_owned(), "does not say which values to remove"));
            }
            let gone: HashSet<String> =
                given.iter().map(|element| element_identity(attribute, element)).collect();
            elements.retain(|element| {
                let untyped = element
                    .get("value")
                    .map(|value| element_identity(attribute, &json!({ "value": value })));
                !gone.contains(&element_identity(attribute, element))
                    && untyped.is_none_or(|key| !gone.contains(&key))
            });
            Ok(elements)
        }
        // RFC 7644 section 3.5.2.3: without a filter, all values are replaced.
        (PatchVerb::Replace, _) => Ok(given),
        // RFC 7644 section 3.5.2.1: the values are added; a value that exists is not listed twice.
        (PatchVerb::Add, _) => {
            if given.iter().any(is_primary) {
                elements.iter_mut().for_each(clear_primary);
            }
            Ok(merge_values(attribute, at, elements, given)?)
        }
    }
}

/// RFC 7644 section 3.5.2: only the new primary value stays primary.
fn clear_primary(element: &mut Value) {
    if is_primary(element)
        && let Some(fields) = element.as_object_mut()
    {
        fields.insert("primary".into(), false.into());
    }
}

/// The new values if the target is what a filter selects, or, without a filter, a sub-attribute of
/// every value.
fn edit_selected_values(
    verb: PatchVerb,
    found: ResolvedAttribute<'_>,
    filter: Option<&Filter>,
    elements: Vec<Value>,
    value: Option<&Value>,
) -> Result<Vec<Value>> {
    let attribute = found.attribute;
    let selected = match filter {
        None => vec![true; elements.len()],
        Some(filter) => {
            let folded: Vec<Value> =
                elements.iter().map(|element| search_value(attribute, element)).collect();
            matching_elements(filter, attribute, &folded)?
        }
    };
    let (mut hits, mut others) = (Vec::new(), Vec::new());
    for (place, (element, hit)) in elements.into_iter().zip(selected).enumerate() {
        let side = if hit { &mut hits } else { &mut others };
        side.push((place, element));
    }
    match (value, found.sub) {
        // RFC 7644 section 3.5.2.2: the selected values, or their sub-attribute, are removed; it is
        // no error if none is selected.
        (_, None) if verb == PatchVerb::Remove => hits.clear(),
        (Some(Value::Null), None) => hits.clear(),
        (_, Some(sub)) if verb == PatchVerb::Remove => {
            for (_, element) in &mut hits {
                element.as_object_mut().and_then(|fields| fields.remove(&sub.name));
            }
        }
        (value, sub) => {
            let value = value.unwrap_or(&Value::Null);
            if hits.is_empty() && !value.is_null() {
                hits.push((others.len(), new_element(found, filter)?));
            }
            for (_, element) in &mut hits {
                write_element(attribute, sub, &found.canonical_path(), element, value)?;
            }
            if hits.iter().any(|(_, element)| is_primary(element)) {
                others.iter_mut().for_each(|(_, element)| clear_primary(element));
            }
        }
    }
    hits.extend(others);
    hits.sort_by_key(|(place, _)| *place);
    Ok(hits.into_iter().map(|(_, element)| element).collect())
}

fn write_element(
    attribute: &SchemaAttribute,
    sub: Option<&SchemaAttribute>,
    at: &str,
    element: &mut Value,
    value: &Value,
) -> Result<()> {
    match (element, sub, value) {
        (Value::Object(fields), Some(sub), value) => {
            set_sub_attribute(sub, at, fields, Some(value))
        }
        // RFC 7644 section 3.5.2.3: the parts that the operation names are replaced in a selected
        // value; the other parts stay, as in any complex attribute.
        (Value::Object(fields), None, Value::Object(given)) => {
            merge_fields(attribute, at, fields, given)
        }
        (Value::Object(_), None, _) => Err(Error::invalid(at.to_owned(), "must be an object")),
        (element, ..) => {
            if let Some(Value::Array(mut one)) = canonical_value(attribute, at, value.clone())?
                && let Some(value) = one.pop()
            {
                *element = value;
            }
            Ok(())
        }
    }
}

/// The new element if a filter selects none. RFC 7644 section 3.5.2.3 demands noTarget, but Entra
/// ID relies on `emails[type eq "work"].value` to create a missing address. So an element is
/// created if the filter only says which labels it has.
fn new_element(found: ResolvedAttribute<'_>, filter: Option<&Filter>) -> Result<Value> {
    let mut fields = Map::new();
    let at = ResolvedAttribute { sub: None, ..found }.canonical_path();
    if let Some(filter) = filter
        && !collect_labels(found.attribute, &at, filter, &mut fields)?
    {
        return Err(Error::broken(Rule::NoTarget, at, "the filter selects none of the values"));
    }
    Ok(fields.into())
}

/// Puts the labels, `type` and `primary`, that a filter demands by equality into `fields`; false if
/// it demands anything else.
fn collect_labels(
    attribute: &SchemaAttribute,
    at: &str,
    filter: &Filter,
    fields: &mut Map<String, Value>,
) -> Result<bool> {
    match filter {
        Filter::And(parts) => {
            for part in parts {
                if !collect_labels(attribute, at, part, fields)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Filter::Compare(path, CompareOp::Eq, literal)
            if path.sub.is_none() && path.schema.is_none() =>
        {
            let label = attribute
                .sub_attribute(&path.name)
                .filter(|sub| ["type", "primary"].contains(&sub.name.as_str()));
            let Some(sub) = label else { return Ok(false) };
            let literal = match literal {
                FilterLiteral::Null => Value::Null,
                FilterLiteral::Bool(value) => Value::Bool(*value),
                FilterLiteral::Number(value) => Value::Number(value.clone()),
                FilterLiteral::String(value) => Value::String(value.clone()),
            };
            let known = fields.get(&sub.name).cloned();
            set_sub_attribute(sub, &format!("{at}.{}", sub.name), fields, Some(&literal))?;
            Ok(known.is_none_or(|known| fields.get(&sub.name) == Some(&known)))
        }
        _ => Ok(false),
    }
}
