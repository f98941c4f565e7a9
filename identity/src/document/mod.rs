//! The JSON document of a user or a group, as clients write it, in one canonical form.
//!
//! A document holds everything that a client may write, under the names and in the order of the
//! schema's tables, and nothing else: `id`, `meta`, derived groups and members are stored in
//! columns and tables of their own, and a password is not stored at all. The differences between
//! clients (case, dotted names, strings for booleans) are removed here.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use chrono::{DateTime, NaiveDateTime};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value, json};

use super::schema::{
    AttributeKind, MemberMeaning, MutabilityRule, ResolvedAttribute, ResourceType, SchemaAttribute,
    SchemaDefinition, common_attributes,
};
use crate::error::{InvalidInput, Result, Rule};
use crate::filter::Filter;

mod folding;
mod immutable;
mod mistakes;
mod projection;
#[cfg(test)]
mod tests;

pub use folding::{WIDTH_RANGES, fold_text, former_fold};
pub use immutable::{check_immutable_values, keep_immutable_values};
pub use mistakes::find_mistakes;
pub use projection::Projection;

/// The longest string in a document, in bytes.
const MAX_STRING: usize = 64 * 1024;
/// The longest string that is also a key of an index, in characters.
const MAX_KEY: usize = 512;
/// The attributes whose strings are indexed.
const SEARCH_KEYS: [&str; 4] = ["userName", "externalId", "displayName", "emails.value"];
/// The most values of one attribute.
const MAX_ELEMENTS: usize = 1_000;
/// The largest document, in bytes. Without this limit many small additions could make a document
/// ever larger.
const MAX_DOCUMENT: usize = 512 * 1024;

/// One change of a group's members; ids are as the client wrote them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum MemberChange {
    Add(Vec<String>),
    Remove(Vec<String>),
    /// Removes the members whose `value` and `type` satisfy the filter.
    RemoveWhere(Filter),
    Clear,
    Replace(Vec<String>),
}

/// The instant that a dateTime names, in microseconds since the epoch. A time without a zone is
/// UTC.
pub fn parse_instant(text: &str) -> Option<i64> {
    let zoned = DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_micros());
    zoned.or_else(|| {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f")
            .ok()
            .map(|time| time.and_utc().timestamp_micros())
    })
}

/// The canonical document of a resource as a client wrote it. Names may be in upper or lower case,
/// dotted or qualified. Attributes that clients may not write or that no schema defines are left
/// out; the values of the others must have the right type. If a name comes twice, the last one
/// counts.
pub fn normalize_document(
    ty: &ResourceType,
    body: Map<String, Value>,
) -> Result<Map<String, Value>> {
    normalize_from(ty, &Map::new(), body)
}

/// The canonical document of `body`, a changed version of the canonical document `known`. Values
/// that are equal in both are not checked again.
pub fn normalize_from(
    ty: &ResourceType,
    known: &Map<String, Value>,
    body: Map<String, Value>,
) -> Result<Map<String, Value>> {
    let mut parts = Map::with_capacity(body.len());
    for (key, value) in body {
        match ty.locate_member(&key) {
            Some(MemberMeaning::Attribute(found)) => put_value(&mut parts, found, value)?,
            Some(MemberMeaning::Schema(schema)) => {
                for (key, value) in schema_object(schema, value)? {
                    if let Some(found) = ty.locate_in(schema, &key) {
                        put_value(&mut parts, found, value)?;
                    }
                }
            }
            None => {}
        }
    }
    assemble_document(ty, known, parts)
}

/// The members of an object that stands for all attributes of `schema`; none if it is null.
pub fn schema_object(schema: &SchemaDefinition, value: Value) -> Result<Map<String, Value>> {
    match value {
        Value::Object(members) => Ok(members),
        Value::Null => Ok(Map::new()),
        _ => Err(InvalidInput::invalid_value(schema.urn.clone(), "must be an object")),
    }
}

fn put_value(
    parts: &mut Map<String, Value>,
    found: ResolvedAttribute<'_>,
    value: Value,
) -> Result<()> {
    if found.read_only() || !is_stored(found.attribute) {
        return Ok(());
    }
    let Some(section) = extension_section(parts, found.extension) else { return Ok(()) };
    let attribute = found.attribute;
    let Some(known) = section.remove(&attribute.name) else {
        if found.sub.is_none() {
            // The usual case: the attribute comes once, as a whole.
            section.insert(attribute.name.clone(), value);
            return Ok(());
        }
        return put_more(section, found, None, value);
    };
    let whole = ResolvedAttribute { sub: None, ..found };
    let known = canonical_value(attribute, &whole.canonical_path(), known)?;
    put_more(section, found, known, value)
}

/// Adds a value to an attribute that came in several parts, such as `name` and `name.givenName`.
fn put_more(
    section: &mut Map<String, Value>,
    found: ResolvedAttribute<'_>,
    known: Option<Value>,
    value: Value,
) -> Result<()> {
    let (at, attribute) = (found.canonical_path(), found.attribute);
    let more = match found.sub {
        None => canonical_value(attribute, &at, value)?,
        Some(_) if attribute.multi_valued => {
            return Err(InvalidInput::invalid_value(
                at,
                "does not say which of the values it belongs to",
            ));
        }
        Some(sub) => canonical_value(sub, &at, value)?.map(|value| json!({ &sub.name: value })),
    };
    let all = match (known, more) {
        (Some(Value::Object(mut known)), Some(Value::Object(more))) => {
            known.extend(more);
            Some(Value::Object(known))
        }
        (known, more) => more.or(known),
    };
    if let Some(all) = all {
        section.insert(attribute.name.clone(), all);
    }
    Ok(())
}

/// The object that holds the attributes of an extension; it is added if it is missing. Without an
/// extension, the document itself.
pub fn extension_section<'a>(
    document: &'a mut Map<String, Value>,
    extension: Option<&str>,
) -> Option<&'a mut Map<String, Value>> {
    match extension {
        None => Some(document),
        Some(urn) => {
            document.entry(urn).or_insert_with(|| Value::Object(Map::new())).as_object_mut()
        }
    }
}

/// Whether documents keep the attribute: `schemas` is computed and members have their own table.
pub fn is_stored(attribute: &SchemaAttribute) -> bool {
    let writable =
        !matches!(attribute.mutability, MutabilityRule::ReadOnly | MutabilityRule::WriteOnly);
    writable && attribute.name != "schemas" && attribute.name != "members"
}

fn assemble_document(
    ty: &ResourceType,
    known: &Map<String, Value>,
    mut parts: Map<String, Value>,
) -> Result<Map<String, Value>> {
    let mut document = Map::with_capacity(parts.len() + 1);
    let mut schemas = vec![Value::from(ty.core.urn.as_str())];
    document.insert("schemas".into(), Value::Null);
    take_value(
        &mut parts,
        Some(known),
        common_attributes().iter().chain(&ty.core.attributes),
        "",
        &mut document,
    )?;
    for schema in &ty.extensions {
        let Some(Value::Object(mut own)) = parts.remove(&schema.urn) else { continue };
        let mut section = Map::with_capacity(own.len());
        let known = known.get(&schema.urn).and_then(Value::as_object);
        take_value(
            &mut own,
            known,
            schema.attributes.iter(),
            &format!("{}:", schema.urn),
            &mut section,
        )?;
        if !section.is_empty() {
            schemas.push(schema.urn.as_str().into());
            document.insert(schema.urn.clone(), section.into());
        }
    }
    document.insert("schemas".into(), schemas.into());
    check_size(ty, &document)?;
    Ok(document)
}

/// Refuses a document that is too large.
pub fn check_size(ty: &ResourceType, document: &Map<String, Value>) -> Result<()> {
    if object_size(document) > MAX_DOCUMENT {
        return Err(InvalidInput::of_rule(
            Rule::TooMany,
            ty.name,
            format!("holds more than {MAX_DOCUMENT} bytes"),
        ));
    }
    Ok(())
}

fn object_size(object: &Map<String, Value>) -> usize {
    object.iter().map(|(key, value)| key.len() + value_size(value)).sum()
}

fn value_size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(elements) => elements.iter().map(value_size).sum(),
        Value::Object(fields) => object_size(fields),
        _ => 1,
    }
}

fn take_value<'a>(
    parts: &mut Map<String, Value>,
    known: Option<&Map<String, Value>>,
    attributes: impl Iterator<Item = &'a SchemaAttribute>,
    prefix: &str,
    into: &mut Map<String, Value>,
) -> Result<()> {
    for attribute in attributes.filter(|attribute| is_stored(attribute)) {
        let given = parts.remove(&attribute.name).unwrap_or_default();
        if given.is_null() && !attribute.required {
            continue;
        }
        if known.is_some_and(|known| known.get(&attribute.name) == Some(&given)) {
            into.insert(attribute.name.clone(), given);
            continue;
        }
        let at = format!("{prefix}{}", attribute.name);
        match canonical_value(attribute, &at, given)? {
            Some(value) => {
                one_primary(&at, &value)?;
                into.insert(attribute.name.clone(), value);
            }
            None if attribute.required => {
                return Err(InvalidInput::invalid_value(at, "is required"));
            }
            None => {}
        }
    }
    Ok(())
}

/// RFC 7643 section 2.4: the primary value is true for at most one value.
fn one_primary(at: &str, value: &Value) -> Result<()> {
    let primaries =
        value.as_array().into_iter().flatten().filter(|element| is_primary(element)).count();
    if primaries > 1 {
        return Err(InvalidInput::invalid_value(
            format!("{at}.primary"),
            "is true for more than one value",
        ));
    }
    Ok(())
}

/// Whether the element of a multi-valued attribute is the preferred one.
pub fn is_primary(element: &Value) -> bool {
    element.get("primary") == Some(&Value::Bool(true))
}

/// The canonical form of a value of `attribute`; `None` if the value means "unassigned" (RFC 7643
/// section 2.5). `at` is the attribute's full name, for messages.
pub fn canonical_value(
    attribute: &SchemaAttribute,
    at: &str,
    value: Value,
) -> Result<Option<Value>> {
    if !attribute.multi_valued {
        // Some clients send `manager` as an array of one object.
        return match value {
            Value::Array(mut one) if is_pointer(attribute) && one.len() <= 1 => {
                canonical_single(attribute, at, one.pop().unwrap_or_default())
            }
            value => canonical_single(attribute, at, value),
        };
    }
    let given = match value {
        Value::Null => return Ok(None),
        Value::Array(given) => given,
        one => vec![one],
    };
    let mut elements = Vec::new();
    for value in given {
        let value = unwrap_plain(attribute, value);
        elements.extend(canonical_single(attribute, at, value)?);
    }
    let elements = merge_values(attribute, at, Vec::new(), elements)?;
    Ok((!elements.is_empty()).then_some(Value::Array(elements)))
}

/// Whether an element of an attribute with plain values came as an object: `{"value": "1"}` for
/// `"1"`, perhaps with the labels that elements have by default (RFC 7643 section 2.4).
pub fn wraps_plain(attribute: &SchemaAttribute, element: &Value) -> bool {
    attribute.multi_valued && wrapped_value(attribute, element).is_some()
}

/// The plain value in such an object, whether the attribute has one value or several.
pub fn wrapped_value<'a>(attribute: &SchemaAttribute, element: &'a Value) -> Option<&'a Value> {
    let label = |key: &String| {
        ["value", "type", "primary", "display", "$ref"]
            .iter()
            .any(|it| it.eq_ignore_ascii_case(key))
    };
    if attribute.kind == AttributeKind::Complex {
        return None;
    }
    let fields = element.as_object().filter(|fields| fields.keys().all(label))?;
    fields.iter().find(|(key, _)| key.eq_ignore_ascii_case("value")).map(|(_, value)| value)
}

fn unwrap_plain(attribute: &SchemaAttribute, element: Value) -> Value {
    match wrapped_value(attribute, &element) {
        Some(value) if attribute.multi_valued => value.clone(),
        _ => element,
    }
}

/// Whether the attribute refers to one other resource, as `manager` does: a single object with a
/// `value`.
pub fn is_pointer(attribute: &SchemaAttribute) -> bool {
    !attribute.multi_valued && attribute.sub_attribute("value").is_some()
}

/// The canonical form of one value of an attribute, whether it is single-valued or multi-valued.
fn canonical_single(attribute: &SchemaAttribute, at: &str, value: Value) -> Result<Option<Value>> {
    let wrong = |expected: &'static str| Err(InvalidInput::invalid_value(at.to_owned(), expected));
    let value = match (attribute.kind, value) {
        (_, Value::Null) => return Ok(None),
        (AttributeKind::Complex, value) => return canonical_complex(attribute, at, value),
        (AttributeKind::Boolean, Value::Bool(value)) => Value::Bool(value),
        (AttributeKind::Boolean, Value::String(text)) if text.eq_ignore_ascii_case("true") => {
            Value::Bool(true)
        }
        (AttributeKind::Boolean, Value::String(text)) if text.eq_ignore_ascii_case("false") => {
            Value::Bool(false)
        }
        (AttributeKind::Boolean, _) => return wrong("must be true or false"),
        (AttributeKind::Integer, Value::Number(number)) if !number.is_f64() => {
            Value::Number(number)
        }
        (AttributeKind::Integer, given) => match given.as_str().and_then(number_in_text) {
            Some(number) if !number.is_f64() => Value::Number(number),
            _ => return wrong("must be a whole number"),
        },
        (AttributeKind::Decimal, Value::Number(number)) => Value::Number(number),
        (AttributeKind::Decimal, given) => match given.as_str().and_then(number_in_text) {
            Some(number) => Value::Number(number),
            None => return wrong("must be a number"),
        },
        (_, Value::String(text)) => return canonical_string(attribute, at, text),
        _ => return wrong("must be a string"),
    };
    Ok(Some(value))
}

/// The number in a text, decimals rounded correctly: clients whose templates hold only texts write
/// `"7"` for 7.
pub fn number_in_text(text: &str) -> Option<Number> {
    let text = text.trim();
    let number = serde_json::from_str::<Number>(text).ok()?;
    if number.is_f64() { Number::from_f64(text.parse().ok()?) } else { Some(number) }
}

fn canonical_string(attribute: &SchemaAttribute, at: &str, text: String) -> Result<Option<Value>> {
    let wrong = |why: String| Err(InvalidInput::invalid_value(at.to_owned(), why));
    if text.contains('\0') {
        return wrong("must not contain the character NUL".into());
    }
    let too_long = |why: String| Err(InvalidInput::of_rule(Rule::Length, at.to_owned(), why));
    if text.len() > MAX_STRING {
        return too_long(format!("is longer than {MAX_STRING} bytes"));
    }
    let text = if attribute.required { text.trim().to_owned() } else { text };
    if attribute.required && text.is_empty() {
        return wrong("must not be empty".into());
    }
    if SEARCH_KEYS.contains(&at) && text.chars().count() > MAX_KEY {
        return too_long(format!("is longer than {MAX_KEY} characters"));
    }
    match attribute.kind {
        AttributeKind::DateTime if parse_instant(&text).is_none() => {
            wrong("must be a date and time as in 2024-05-01T08:30:00Z".into())
        }
        AttributeKind::Binary if !is_base64(&text) => wrong("must be in base64".into()),
        // All resources without an external id would share the empty one.
        _ if attribute.name == "externalId" && text.is_empty() => Ok(None),
        _ => Ok(Some(Value::String(text))),
    }
}

/// RFC 7643 section 2.3.6: the padding may be left out.
fn is_base64(text: &str) -> bool {
    const LENIENT_BASE64: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&STANDARD, LENIENT_BASE64).decode(text).is_ok()
}

fn canonical_complex(attribute: &SchemaAttribute, at: &str, value: Value) -> Result<Option<Value>> {
    let given = match value {
        Value::Object(given) => given,
        // Clients shorten `{"value": "x"}` to `"x"`.
        Value::String(text) if attribute.sub_attribute("value").is_some() => {
            Map::from_iter([("value".into(), text.into())])
        }
        _ => return Err(InvalidInput::invalid_value(at.to_owned(), "must be an object")),
    };
    let mut values = vec![Value::Null; attribute.sub_attributes.len()];
    for (key, value) in given {
        let same = |sub: &SchemaAttribute| sub.name.eq_ignore_ascii_case(&key);
        if let Some(slot) =
            attribute.sub_attributes.iter().position(same).and_then(|index| values.get_mut(index))
        {
            *slot = value;
        }
    }
    let mut object = Map::with_capacity(values.len());
    for (sub, value) in attribute.sub_attributes.iter().zip(values) {
        // Some clients remove a value with an empty string.
        let cleared = sub.name == "value" && value == "";
        if value.is_null() || cleared || sub.mutability == MutabilityRule::ReadOnly {
            continue;
        }
        if let Some(value) = canonical_value(sub, &format!("{at}.{}", sub.name), value)? {
            object.insert(sub.name.clone(), value);
        }
    }
    // `type` and `primary` only label a value, so without a value the object is empty.
    let says_nothing = object.keys().all(|key| key == "type" || key == "primary");
    Ok((!says_nothing).then_some(Value::Object(object)))
}

/// The values of a multi-valued attribute after more were added. A value that exists is updated and
/// not listed twice (RFC 7643 section 2.4: one value of a type appears once).
pub fn merge_values(
    attribute: &SchemaAttribute,
    at: &str,
    elements: Vec<Value>,
    more: Vec<Value>,
) -> Result<Vec<Value>> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut merged: Vec<Value> = Vec::with_capacity(elements.len() + more.len());
    for element in elements.into_iter().chain(more) {
        match places.entry(element_identity(attribute, &element)) {
            Entry::Vacant(place) => {
                place.insert(merged.len());
                merged.push(element);
            }
            Entry::Occupied(place) => match (merged.get_mut(*place.get()), element) {
                (Some(Value::Object(known)), Value::Object(more)) => known.extend(more),
                (Some(known), element) => *known = element,
                (None, _) => {}
            },
        }
    }
    if merged.len() > MAX_ELEMENTS {
        return Err(InvalidInput::of_rule(
            Rule::TooMany,
            at.to_owned(),
            format!("has more than {MAX_ELEMENTS} values"),
        ));
    }
    Ok(merged)
}

/// The identity of an element: its value and type or, without a value, all its fields.
pub fn element_identity(attribute: &SchemaAttribute, element: &Value) -> String {
    let folded = |name| Some(search_value(attribute.sub_attribute(name)?, element.get(name)?));
    match folded("value") {
        Some(value) => Value::from(vec![value, folded("type").unwrap_or_default()]).to_string(),
        None => search_value(attribute, element).to_string(),
    }
}

/// The copy of a document that filters are evaluated on: text folded unless its case matters, dates
/// as microseconds since the epoch.
pub fn search_document(ty: &ResourceType, document: &Map<String, Value>) -> Map<String, Value> {
    let mut folded = Map::with_capacity(document.len());
    for (key, value) in document {
        match ty.locate_member(key) {
            Some(MemberMeaning::Attribute(found)) => {
                folded.insert(key.clone(), search_value(found.attribute, value));
            }
            Some(MemberMeaning::Schema(schema)) => {
                let known = |key: &str| ty.locate_in(schema, key).map(|found| found.attribute);
                if let Some(fields) = value.as_object() {
                    folded.insert(key.clone(), search_fields(known, fields));
                }
            }
            None => {}
        }
    }
    folded
}

fn search_fields<'a>(
    known: impl Fn(&str) -> Option<&'a SchemaAttribute>,
    fields: &Map<String, Value>,
) -> Value {
    let mut folded = Map::with_capacity(fields.len());
    for (key, value) in fields {
        if let Some(attribute) = known(key) {
            folded.insert(key.clone(), search_value(attribute, value));
        }
    }
    Value::Object(folded)
}

/// A canonical value of `attribute`, or one element of it, in the form of [`search_document`].
pub fn search_value(attribute: &SchemaAttribute, value: &Value) -> Value {
    match value {
        Value::Array(elements) => {
            elements.iter().map(|element| search_value(attribute, element)).collect()
        }
        Value::Object(fields) => search_fields(|key| attribute.sub_attribute(key), fields),
        Value::String(text) => match attribute.kind {
            AttributeKind::DateTime => parse_instant(text).map_or(Value::Null, Value::from),
            _ if attribute.case_exact => value.clone(),
            _ => Value::String(fold_text(text)),
        },
        other => other.clone(),
    }
}

/// The name that a user signs in with.
pub fn user_name(document: &Map<String, Value>) -> Option<&str> {
    document.get("userName")?.as_str()
}

/// The identifier that the client gave the resource.
pub fn external_id(document: &Map<String, Value>) -> Option<&str> {
    document.get("externalId")?.as_str()
}

/// The name to show.
pub fn display_name(document: &Map<String, Value>) -> Option<&str> {
    document.get("displayName")?.as_str()
}

/// Whether the user may sign in; `None` if the document has no `active`.
pub fn active_flag(document: &Map<String, Value>) -> Option<bool> {
    document.get("active")?.as_bool()
}

/// The e-mail addresses, the preferred one first.
pub fn email_addresses(document: &Map<String, Value>) -> Vec<&str> {
    let mut elements: Vec<&Value> =
        document.get("emails").and_then(Value::as_array).into_iter().flatten().collect();
    elements.sort_by_key(|element| !is_primary(element));
    elements.into_iter().filter_map(|element| element.get("value")?.as_str()).collect()
}

/// The members that the body of a group lists. `None` if it has no list: only an explicit list,
/// empty or not, replaces the members of a group.
pub fn listed_member_ids(
    ty: &ResourceType,
    body: &Map<String, Value>,
) -> Result<Option<Vec<String>>> {
    let mut named = None;
    for (key, value) in body {
        match ty.locate_member(key) {
            Some(MemberMeaning::Attribute(found))
                if found.attribute.name == "members" && found.sub.is_none() =>
            {
                named = member_ids(value)?.or(named);
            }
            Some(MemberMeaning::Schema(schema)) if schema.urn == ty.core.urn => {
                if let Some(inner) = value.as_object() {
                    let direct = inner.iter().find(|(key, _)| key.eq_ignore_ascii_case("members"));
                    named = direct.map_or(Ok(None), |(_, value)| member_ids(value))?.or(named);
                }
            }
            _ => {}
        }
    }
    Ok(named)
}

/// The ids in a list of members. Clients write a member as an object or a string, and a single
/// member also without a list. `None` if the value is null.
pub fn member_ids(value: &Value) -> Result<Option<Vec<String>>> {
    match value {
        Value::Null => Ok(None),
        Value::Array(members) => {
            members.iter().map(member_id).collect::<Result<Vec<_>>>().map(Some)
        }
        one => Ok(Some(vec![member_id(one)?])),
    }
}

fn member_id(member: &Value) -> Result<String> {
    let id = match member {
        Value::String(id) => Some(id),
        Value::Object(fields) => fields.iter().find_map(|(key, value)| match value {
            Value::String(id) if key.eq_ignore_ascii_case("value") => Some(id),
            _ => None,
        }),
        _ => None,
    };
    id.filter(|id| !id.trim().is_empty()).map(|id| id.trim().to_owned()).ok_or_else(|| {
        InvalidInput::invalid_value(
            "members.value",
            "is required: the id of the member on this server",
        )
    })
}
