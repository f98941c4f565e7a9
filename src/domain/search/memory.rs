//! What a filter means for one folded document.

use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

use super::typed::{Node, Test, compare_text, in_element, typed};
use super::{Filter, Op};
use crate::domain::schema::{Attribute, ResourceType};
use crate::error::Result;

/// Whether `folded`, a search document, satisfies the filter.
///
/// What a search document does not hold (`id`, `meta`, `groups`, `members`) is found if the caller put it there, in
/// canonical names with dates as integer microseconds. `ne` holds when no value equals, so also when there is none.
pub fn matches(filter: &Filter, ty: &ResourceType, folded: &Map<String, Value>) -> Result<bool> {
    Ok(holds(&typed(filter, ty)?, &Scope::Document(folded)))
}

/// Which elements of `attribute`, folded like a search document, satisfy a filter that stood in brackets. A filter
/// that means nothing is an error even if there are no elements.
pub fn matching_elements(filter: &Filter, attribute: &Attribute, folded: &[Value]) -> Result<Vec<bool>> {
    let node = in_element(filter, attribute, &|place, test| Ok(Node::Leaf(place, test)))?;
    Ok(folded.iter().map(|element| holds(&node, &Scope::Element(element))).collect())
}

/// What the names of a node start from.
enum Scope<'a> {
    Document(&'a Map<String, Value>),
    Element(&'a Value),
}

impl<'a> Scope<'a> {
    fn get(&self, place: &[&str]) -> Option<&'a Value> {
        let (first, rest) = match (self, place) {
            (Scope::Document(document), [first, rest @ ..]) => (document.get(*first)?, rest),
            (Scope::Document(_), []) => return None,
            (Scope::Element(element), rest) => (*element, rest),
        };
        rest.iter().try_fold(first, |value, name| value.as_object()?.get(*name))
    }
}

fn holds(node: &Node, scope: &Scope) -> bool {
    match node {
        Node::All(list) => list.iter().all(|inner| holds(inner, scope)),
        Node::Any(list) => list.iter().any(|inner| holds(inner, scope)),
        Node::Not(inner) => !holds(inner, scope),
        Node::Always(answer) => *answer,
        Node::Leaf(place, test) => {
            let value = scope.get(place);
            // An account whose document does not say is active.
            if let (["active"], Test::Boolean(wanted), None, Scope::Document(_)) =
                (place.as_slice(), test, value, scope)
            {
                return *wanted;
            }
            value.is_some_and(|value| passes(value, test))
        }
        Node::Element(place, inner) => {
            let elements = scope.get(place).and_then(Value::as_array);
            elements.is_some_and(|list| list.iter().any(|element| holds(inner, &Scope::Element(element))))
        }
    }
}

fn passes(value: &Value, test: &Test) -> bool {
    match test {
        Test::Present => present(value),
        Test::Text(op, operand) => value.as_str().is_some_and(|text| compare_text(*op, text, operand)),
        Test::Boolean(wanted) => value.as_bool() == Some(*wanted),
        Test::Number(op, operand) => value.as_number().is_some_and(|number| ordered(*op, order(number, operand))),
        Test::Instant(op, operand) => value.as_i64().is_some_and(|micros| ordered(*op, Some(micros.cmp(operand)))),
    }
}

// RFC 7644 section 3.4.2.2, "pr": a value that is neither null nor empty.
fn present(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

fn order(left: &Number, right: &Number) -> Option<Ordering> {
    match (left.as_i64(), right.as_i64()) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
    }
}

fn ordered(op: Op, order: Option<Ordering>) -> bool {
    match op {
        Op::Eq => order == Some(Ordering::Equal),
        Op::Gt => order == Some(Ordering::Greater),
        Op::Ge => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        Op::Lt => order == Some(Ordering::Less),
        Op::Le => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        // Typing has turned `ne` into a negation and refused the others for numbers.
        Op::Ne | Op::Co | Op::Sw | Op::Ew => false,
    }
}
