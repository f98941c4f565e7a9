//! Evaluates a filter on one folded document.

use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

use super::typed::{TypedFilter, ValueTest, compare_text, in_element, type_filter};
use super::{CompareOp, Filter};
use crate::error::Result;
use crate::schema::{ResourceType, SchemaAttribute};

/// Whether `folded`, a search document, satisfies the filter.
///
/// A search document has no `id`, `meta`, `groups` and `members`. The caller may add them, under
/// their canonical names and with dates as integer microseconds. `ne` is true if no value is equal,
/// so also if there is no value.
pub fn matches_document(
    filter: &Filter,
    ty: &ResourceType,
    folded: &Map<String, Value>,
) -> Result<bool> {
    Ok(node_holds(&type_filter(filter, ty)?, &ValueScope::Document(folded)))
}

/// Which elements of `attribute`, folded like a search document, satisfy a filter in brackets. An
/// invalid filter is an error even if there are no elements.
pub fn matching_elements(
    filter: &Filter,
    attribute: &SchemaAttribute,
    folded: &[Value],
) -> Result<Vec<bool>> {
    let node = in_element(filter, attribute, &|place, test| Ok(TypedFilter::Leaf(place, test)))?;
    Ok(folded.iter().map(|element| node_holds(&node, &ValueScope::Element(element))).collect())
}

/// The value in which the names of a node are looked up.
enum ValueScope<'a> {
    Document(&'a Map<String, Value>),
    Element(&'a Value),
}

impl<'a> ValueScope<'a> {
    fn value_at(&self, place: &[&str]) -> Option<&'a Value> {
        let (first, rest) = match (self, place) {
            (ValueScope::Document(document), [first, rest @ ..]) => (document.get(*first)?, rest),
            (ValueScope::Document(_), []) => return None,
            (ValueScope::Element(element), rest) => (*element, rest),
        };
        rest.iter().try_fold(first, |value, name| value.as_object()?.get(*name))
    }
}

fn node_holds(node: &TypedFilter, scope: &ValueScope) -> bool {
    match node {
        TypedFilter::All(list) => list.iter().all(|inner| node_holds(inner, scope)),
        TypedFilter::Any(list) => list.iter().any(|inner| node_holds(inner, scope)),
        TypedFilter::Not(inner) => !node_holds(inner, scope),
        TypedFilter::Always(answer) => *answer,
        TypedFilter::Leaf(place, test) => {
            let value = scope.value_at(place);
            // An account whose document has no `active` is active.
            if let (["active"], ValueTest::Boolean(wanted), None, ValueScope::Document(_)) =
                (place.as_slice(), test, value, scope)
            {
                return *wanted;
            }
            value.is_some_and(|value| passes_test(value, test))
        }
        TypedFilter::Element(place, inner) => {
            let elements = scope.value_at(place).and_then(Value::as_array);
            elements.is_some_and(|list| {
                list.iter().any(|element| node_holds(inner, &ValueScope::Element(element)))
            })
        }
    }
}

fn passes_test(value: &Value, test: &ValueTest) -> bool {
    match test {
        ValueTest::Present => is_present(value),
        ValueTest::Text(op, operand) => {
            value.as_str().is_some_and(|text| compare_text(*op, text, operand))
        }
        ValueTest::Boolean(wanted) => value.as_bool() == Some(*wanted),
        ValueTest::Number(op, operand) => value
            .as_number()
            .is_some_and(|number| satisfies_order(*op, compare_numbers(number, operand))),
        ValueTest::Instant(op, operand) => {
            value.as_i64().is_some_and(|micros| satisfies_order(*op, Some(micros.cmp(operand))))
        }
    }
}

// RFC 7644 section 3.4.2.2, "pr": a value that is neither null nor empty.
fn is_present(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

fn compare_numbers(left: &Number, right: &Number) -> Option<Ordering> {
    match (left.as_i64(), right.as_i64()) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
    }
}

fn satisfies_order(op: CompareOp, order: Option<Ordering>) -> bool {
    match op {
        CompareOp::Eq => order == Some(Ordering::Equal),
        CompareOp::Gt => order == Some(Ordering::Greater),
        CompareOp::Ge => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        CompareOp::Lt => order == Some(Ordering::Less),
        CompareOp::Le => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        // Typing has turned `ne` into a negation and refused the others for numbers.
        CompareOp::Ne | CompareOp::Co | CompareOp::Sw | CompareOp::Ew => false,
    }
}
