//! What one operation makes of one attribute.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::Verb;
use crate::domain::document::{canonical, identity, is_pointer, is_primary, merge, search_value};
use crate::domain::schema::{Attribute, Kind, Mutability, Resolved};
use crate::domain::search::{Filter, Literal, Op, matching_elements};
use crate::error::{Error, Result, Rule};

/// The new value of a single-valued attribute; no `value` means it is removed.
pub fn one(found: Resolved<'_>, current: Option<Value>, value: Option<&Value>) -> Result<Option<Value>> {
    let attribute = found.attribute;
    let at = found.path();
    let pointer = is_pointer(attribute);
    match (found.sub, value) {
        // RFC 7644 section 3.5.2.2: a single value is removed.
        (None, None) => Ok(None),
        // Where `manager` points decides all that is known about it, so nothing of another manager stays behind.
        (Some(sub), None) if pointer && sub.name == "value" => Ok(None),
        (Some(sub), Some(value)) if pointer && sub.name == "value" => {
            canonical(attribute, &Resolved { sub: None, ..found }.path(), json!({ "value": value }))
        }
        (None, Some(value)) if pointer && names_value(value) => canonical(attribute, &at, value.clone()),
        // RFC 7644 section 3.5.2.3: of a complex attribute, the parts that the value names are replaced.
        (None, Some(Value::Object(fields))) if attribute.kind == Kind::Complex => {
            let mut object = object(current);
            overlay(attribute, &at, &mut object, fields)?;
            Ok(Some(object.into()))
        }
        // RFC 7644 sections 3.5.2.1 and 3.5.2.3: the value of a single-valued attribute is replaced.
        (None, Some(value)) => canonical(attribute, &at, value.clone()),
        (Some(sub), value) => {
            let mut object = object(current);
            set(sub, &at, &mut object, value)?;
            Ok((!object.is_empty()).then_some(object.into()))
        }
    }
}

fn names_value(given: &Value) -> bool {
    given.as_object().is_none_or(|fields| fields.keys().any(|key| key.eq_ignore_ascii_case("value")))
}

fn object(current: Option<Value>) -> Map<String, Value> {
    match current {
        Some(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

fn overlay(
    attribute: &Attribute,
    at: &str,
    object: &mut Map<String, Value>,
    fields: &Map<String, Value>,
) -> Result<()> {
    for (key, value) in fields {
        if let Some(sub) = attribute.sub(key).filter(|sub| sub.mutability != Mutability::ReadOnly) {
            set(sub, &format!("{at}.{}", sub.name), object, Some(value))?;
        }
    }
    Ok(())
}

fn set(sub: &Attribute, at: &str, object: &mut Map<String, Value>, value: Option<&Value>) -> Result<()> {
    match canonical(sub, at, value.cloned().unwrap_or_default())? {
        Some(value) => {
            object.insert(sub.name.clone(), value);
        }
        None => {
            object.remove(&sub.name);
        }
    }
    Ok(())
}

/// The new values of a multi-valued attribute; nothing if none are left.
pub fn many(
    verb: Verb,
    found: Resolved<'_>,
    filter: Option<&Filter>,
    elements: Vec<Value>,
    value: Option<&Value>,
) -> Result<Option<Value>> {
    let elements = match (filter, found.sub) {
        (None, None) => all(verb, found.attribute, &found.path(), elements, value)?,
        _ => some(verb, found, filter, elements, value)?,
    };
    Ok((!elements.is_empty()).then_some(Value::Array(elements)))
}

/// The attribute as a whole is the target.
fn all(
    verb: Verb,
    attribute: &Attribute,
    at: &str,
    mut elements: Vec<Value>,
    value: Option<&Value>,
) -> Result<Vec<Value>> {
    let given = match canonical(attribute, at, value.cloned().unwrap_or_default())? {
        Some(Value::Array(given)) => given,
        _ => Vec::new(),
    };
    match (verb, value) {
        // RFC 7644 section 3.5.2.2: without a filter, all values are removed.
        (Verb::Remove, None | Some(Value::Null)) => Ok(Vec::new()),
        // Values beside `remove` are the ones to remove.
        (Verb::Remove, Some(value)) => {
            if given.is_empty() && value.as_array().is_none_or(|list| !list.is_empty()) {
                return Err(Error::invalid(at.to_owned(), "does not say which values to remove"));
            }
            let gone: HashSet<String> = given.iter().map(|element| identity(attribute, element)).collect();
            elements.retain(|element| {
                let untyped = element.get("value").map(|value| identity(attribute, &json!({ "value": value })));
                !gone.contains(&identity(attribute, element)) && untyped.is_none_or(|key| !gone.contains(&key))
            });
            Ok(elements)
        }
        // RFC 7644 section 3.5.2.3: without a filter, all values are replaced.
        (Verb::Replace, _) => Ok(given),
        // RFC 7644 section 3.5.2.1: the values are added; what is there already is not listed twice.
        (Verb::Add, _) => {
            if given.iter().any(is_primary) {
                elements.iter_mut().for_each(demote);
            }
            merge(attribute, at, elements, given)
        }
    }
}

/// RFC 7644 section 3.5.2: a new primary value takes the place of the old one.
fn demote(element: &mut Value) {
    if is_primary(element)
        && let Some(fields) = element.as_object_mut()
    {
        fields.insert("primary".into(), false.into());
    }
}

/// The values that a filter selects are the target, or, without one, a sub-attribute of every value.
fn some(
    verb: Verb,
    found: Resolved<'_>,
    filter: Option<&Filter>,
    elements: Vec<Value>,
    value: Option<&Value>,
) -> Result<Vec<Value>> {
    let attribute = found.attribute;
    let selected = match filter {
        None => vec![true; elements.len()],
        Some(filter) => {
            let folded: Vec<Value> = elements.iter().map(|element| search_value(attribute, element)).collect();
            matching_elements(filter, attribute, &folded)?
        }
    };
    let (mut hits, mut others) = (Vec::new(), Vec::new());
    for (place, (element, hit)) in elements.into_iter().zip(selected).enumerate() {
        let side = if hit { &mut hits } else { &mut others };
        side.push((place, element));
    }
    match (value, found.sub) {
        // RFC 7644 section 3.5.2.2: the selected values, or their sub-attribute, are removed; nothing selected is
        // nothing to do.
        (_, None) if verb == Verb::Remove => hits.clear(),
        (Some(Value::Null), None) => hits.clear(),
        (_, Some(sub)) if verb == Verb::Remove => {
            for (_, element) in &mut hits {
                element.as_object_mut().and_then(|fields| fields.remove(&sub.name));
            }
        }
        (value, sub) => {
            let value = value.unwrap_or(&Value::Null);
            if hits.is_empty() && !value.is_null() {
                hits.push((others.len(), template(found, filter)?));
            }
            for (_, element) in &mut hits {
                write(attribute, sub, &found.path(), element, value)?;
            }
            if hits.iter().any(|(_, element)| is_primary(element)) {
                others.iter_mut().for_each(|(_, element)| demote(element));
            }
        }
    }
    hits.extend(others);
    hits.sort_by_key(|(place, _)| *place);
    Ok(hits.into_iter().map(|(_, element)| element).collect())
}

fn write(attribute: &Attribute, sub: Option<&Attribute>, at: &str, element: &mut Value, value: &Value) -> Result<()> {
    match (element, sub, value) {
        (Value::Object(fields), Some(sub), value) => set(sub, at, fields, Some(value)),
        // RFC 7644 section 3.5.2.3: a selected value takes what the operation names; what it does not mention stays,
        // as in any complex attribute.
        (Value::Object(fields), None, Value::Object(given)) => overlay(attribute, at, fields, given),
        (Value::Object(_), None, _) => Err(Error::invalid(at.to_owned(), "must be an object")),
        (element, ..) => {
            if let Some(Value::Array(mut one)) = canonical(attribute, at, value.clone())?
                && let Some(value) = one.pop()
            {
                *element = value;
            }
            Ok(())
        }
    }
}

/// The element to begin with when a filter selects nothing. RFC 7644 section 3.5.2.3 answers noTarget, but Entra ID
/// relies on `emails[type eq "work"].value` to make the address where there is none; so that is done if the filter
/// only says which label the element must have.
fn template(found: Resolved<'_>, filter: Option<&Filter>) -> Result<Value> {
    let mut fields = Map::new();
    let at = Resolved { sub: None, ..found }.path();
    if let Some(filter) = filter
        && !pin(found.attribute, &at, filter, &mut fields)?
    {
        return Err(Error::broken(Rule::NoTarget, at, "the filter selects none of the values"));
    }
    Ok(fields.into())
}

/// Writes down the labels, `type` and `primary`, that a filter demands by equality; false if it demands anything else.
fn pin(attribute: &Attribute, at: &str, filter: &Filter, fields: &mut Map<String, Value>) -> Result<bool> {
    match filter {
        Filter::And(parts) => {
            for part in parts {
                if !pin(attribute, at, part, fields)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Filter::Compare(path, Op::Eq, literal) if path.sub.is_none() && path.schema.is_none() => {
            let label = attribute.sub(&path.name).filter(|sub| ["type", "primary"].contains(&sub.name.as_str()));
            let Some(sub) = label else { return Ok(false) };
            let literal = match literal {
                Literal::Null => Value::Null,
                Literal::Bool(value) => Value::Bool(*value),
                Literal::Number(value) => Value::Number(value.clone()),
                Literal::String(value) => Value::String(value.clone()),
            };
            let known = fields.get(&sub.name).cloned();
            set(sub, &format!("{at}.{}", sub.name), fields, Some(&literal))?;
            Ok(known.is_none_or(|known| fields.get(&sub.name) == Some(&known)))
        }
        _ => Ok(false),
    }
}
