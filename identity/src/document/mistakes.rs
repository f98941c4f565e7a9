//! All mistakes in a document, for people who can correct them at once.

use serde_json::{Map, Value};

use super::{canonical_value, normalize_from};
use crate::error::InvalidInput;
use crate::schema::{MemberMeaning, ResourceType};

/// The most mistakes that are listed.
const MAX_MISTAKES: usize = 20;

/// The mistakes in `body`, a changed version of the canonical document `known`: each value with a
/// mistake is put aside, and the rest is read again. Empty for a document without a mistake.
pub fn find_mistakes(
    ty: &ResourceType,
    known: &Map<String, Value>,
    body: &Map<String, Value>,
) -> Vec<InvalidInput> {
    let mut body = body.clone();
    let mut found: Vec<InvalidInput> = Vec::new();
    let mut filled = Vec::new();
    while let Err(mistake) = normalize_from(ty, known, body.clone()) {
        let field = mistake.field.clone();
        let again = found.iter().any(|earlier| earlier.field == field);
        if found.len() >= MAX_MISTAKES || filled.contains(&field) {
            break;
        }
        if again {
            // A value that is required cannot be left out.
            body.insert(field.to_string(), "x".into());
            filled.push(field);
        } else {
            match mistakes_in_list(ty, &body, &field) {
                places if places.is_empty() => found.push(mistake),
                places => found.extend(places.into_iter().take(MAX_MISTAKES - found.len())),
            }
            if !take_field(&mut body, &field) {
                break;
            }
        }
    }
    found
}

/// The mistakes in the elements of the list that `field` is about, each with its place behind the
/// name of the list. None if it is no list, or if only the list as a whole is wrong.
fn mistakes_in_list(
    ty: &ResourceType,
    body: &Map<String, Value>,
    field: &str,
) -> Vec<InvalidInput> {
    let outer = field.split('.').next().unwrap_or_default();
    let given = body.iter().find(|(key, _)| key.eq_ignore_ascii_case(outer));
    let Some((_, Value::Array(elements))) = given else { return Vec::new() };
    let Some(MemberMeaning::Attribute(attribute)) = ty.locate_member(outer) else {
        return Vec::new();
    };
    let at = attribute.canonical_path();
    let mistake_at = |(place, element): (usize, &Value)| {
        let alone = Value::Array(vec![element.clone()]);
        let mistake = canonical_value(attribute.attribute, &at, alone).err()?;
        let rest = mistake.field.strip_prefix(at.as_str())?.to_owned();
        Some(InvalidInput { field: format!("{at}.{place}{rest}").into(), ..mistake })
    };
    elements.iter().enumerate().filter_map(mistake_at).collect()
}

/// Takes the value of a field out of a document; false if it is not there.
fn take_field(body: &mut Map<String, Value>, field: &str) -> bool {
    let same = |key: &String, name: &str| key.eq_ignore_ascii_case(name);
    let section = body.keys().find(|key| {
        let head = field.get(..key.len()).filter(|_| key.starts_with("urn:"));
        head.is_some_and(|head| head.eq_ignore_ascii_case(key))
    });
    if let Some(section) = section.cloned() {
        let rest = field.get(section.len()..).unwrap_or_default().trim_start_matches([':', '.']);
        let name = rest.split('.').next().unwrap_or_default();
        let inner = body.get_mut(&section).and_then(Value::as_object_mut);
        return match inner.filter(|_| !name.is_empty()) {
            Some(inner) => {
                let count = inner.len();
                inner.retain(|key, _| !same(key, name));
                inner.len() < count
            }
            None => body.remove(&section).is_some(),
        };
    }
    let mut names = field.split('.');
    let (outer, inner) = (names.next().unwrap_or_default(), names.next());
    let key = body.keys().find(|key| same(key, outer)).cloned();
    let Some(key) = key else {
        // The value is missing: it is filled in, so that the rest can be read.
        body.insert(field.to_owned(), "x".into());
        return true;
    };
    if let (Some(inner), Some(Value::Object(object))) = (inner, body.get_mut(&key)) {
        let count = object.len();
        object.retain(|key, _| !same(key, inner));
        return object.len() < count;
    }
    body.remove(&key).is_some()
}
