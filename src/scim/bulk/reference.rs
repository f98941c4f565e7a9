//! References to what another operation creates (RFC 7644 section 3.7.2): `bulkId:NAME` in place of an id, alone
//! or at the end of a URL (`/Users/bulkId:NAME`), as any string of the data.

use serde_json::Value;

use crate::error::Result;

const PREFIX: &str = "bulkId:";

/// What stands before the reference, and the name that it refers to.
fn parse(text: &str) -> Option<(&str, &str)> {
    match text.strip_prefix(PREFIX) {
        Some(name) => Some(("", name)),
        None => {
            let (before, name) = text.split_once("/bulkId:")?;
            Some((text.get(..=before.len())?, name))
        }
    }
}

/// The text with an id for its reference; none if it has no reference.
pub fn resolve_text(text: &str, lookup: &impl Fn(&str) -> Result<String>) -> Result<Option<String>> {
    parse(text).map(|(before, name)| Ok(format!("{before}{}", lookup(name)?))).transpose()
}

/// Puts ids in the place of all references.
pub fn resolve(value: &mut Value, lookup: &impl Fn(&str) -> Result<String>) -> Result<()> {
    match value {
        Value::String(text) => {
            if let Some(resolved) = resolve_text(text, lookup)? {
                *text = resolved;
            }
        }
        Value::Array(elements) => elements.iter_mut().try_for_each(|element| resolve(element, lookup))?,
        Value::Object(fields) => fields.values_mut().try_for_each(|field| resolve(field, lookup))?,
        _ => {}
    }
    Ok(())
}

/// Calls `see` with the name of every reference.
pub fn each(value: &Value, see: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => {
            if let Some((_, name)) = parse(text) {
                see(name);
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| each(element, see)),
        Value::Object(fields) => fields.values().for_each(|field| each(field, see)),
        _ => {}
    }
}

/// Whether there is a reference for which `test` holds.
pub fn any(value: &Value, test: &impl Fn(&str) -> bool) -> bool {
    let mut found = false;
    each(value, &mut |name| found |= test(name));
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
            "members": [{ "value": "bulkId:a b/c", "$ref": "https://x.example/Users/bulkId:a b/c" }, "bulkId:d"],
            "n": 1,
        });
        let mut seen = Vec::new();
        each(&value, &mut |name| seen.push(name.to_owned()));
        assert_eq!(seen, ["a b/c", "a b/c", "d"]);
        assert!(any(&value, &|name| name == "d") && !any(&value, &|name| name == "none"));
        resolve(&mut value, &|name| Ok(name.len().to_string())).unwrap();
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
        let nobody = |_: &str| Err(Error::invalid("bulkId", "stands for nothing"));
        assert!(resolve(&mut json!([{ "value": ["bulkId:x"] }]), &nobody).is_err());
        assert!(resolve(&mut json!({ "value": "id:x" }), &nobody).is_ok());
    }
}
