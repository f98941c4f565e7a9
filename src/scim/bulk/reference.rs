//! References to a resource that another operation creates (RFC 7644 section 3.7.2): `bulkId:NAME`
//! in place of an id, alone or at the end of a URL (`/Users/bulkId:NAME`), in any string of the
//! data.

use serde_json::Value;

use crate::error::Result;

const BULK_ID_PREFIX: &str = "bulkId:";

/// The text before the reference, and the name in the reference.
fn split_reference(text: &str) -> Option<(&str, &str)> {
    match text.strip_prefix(BULK_ID_PREFIX) {
        Some(name) => Some(("", name)),
        None => {
            let (before, name) = text.split_once("/bulkId:")?;
            Some((text.get(..=before.len())?, name))
        }
    }
}

/// The text with an id in place of its reference; `None` if it has no reference.
pub fn resolve_text(
    text: &str,
    lookup: &impl Fn(&str) -> Result<String>,
) -> Result<Option<String>> {
    split_reference(text).map(|(before, name)| Ok(format!("{before}{}", lookup(name)?))).transpose()
}

/// Replaces all references by ids.
pub fn resolve_references(
    value: &mut Value,
    lookup: &impl Fn(&str) -> Result<String>,
) -> Result<()> {
    match value {
        Value::String(text) => {
            if let Some(resolved) = resolve_text(text, lookup)? {
                *text = resolved;
            }
        }
        Value::Array(elements) => {
            elements.iter_mut().try_for_each(|element| resolve_references(element, lookup))?
        }
        Value::Object(fields) => {
            fields.values_mut().try_for_each(|field| resolve_references(field, lookup))?
        }
        _ => {}
    }
    Ok(())
}

/// Calls `see` with the name of every reference.
pub fn for_each_reference(value: &Value, see: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => {
            if let Some((_, name)) = split_reference(text) {
                see(name);
            }
        }
        Value::Array(elements) => {
            elements.iter().for_each(|element| for_each_reference(element, see))
        }
        Value::Object(fields) => fields.values().for_each(|field| for_each_reference(field, see)),
        _ => {}
    }
}

/// Whether there is a reference for which `test` holds.
pub fn has_reference(value: &Value, test: &impl Fn(&str) -> bool) -> bool {
    let mut found = false;
    for_each_reference(value, &mut |name| found |= test(name));
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::error::Error;

    #[test]
    fn references_are_found_wherever_they_stand_and_become_ids() {
        let mut value = json!({
            "displayName": "Tour guides (bulkId:none)",
            "members": [{ "value": "bulkId:a b/c", "$ref": "https://x.example/Users/bulkId:a \
                b/c" }, "bulkId:d"],
            "n": 1,
        });
        let mut seen = Vec::new();
        for_each_reference(&value, &mut |name| seen.push(name.to_owned()));
        assert_eq!(seen, ["a b/c", "a b/c", "d"]);
        assert!(
            has_reference(&value, &|name| name == "d")
                && !has_reference(&value, &|name| name == "none")
        );
        resolve_references(&mut value, &|name| Ok(name.len().to_string())).unwrap();
        assert_eq!(
            value,
            json!({
                "displayName": "Tour guides (bulkId:none)",
                "members": [{ "value": "5", "$ref": "https://x.example/Users/5" }, "1"],
                "n": 1,
            })
        );
    }

    #[test]
    fn a_reference_to_nothing_is_an_error() {
        let unknown = |_: &str| Err(Error::invalid("bulkId", "stands for nothing"));
        assert!(resolve_references(&mut json!([{ "value": ["bulkId:x"] }]), &unknown).is_err());
        assert!(resolve_references(&mut json!({ "value": "id:x" }), &unknown).is_ok());
    }
}
