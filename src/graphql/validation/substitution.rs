//! Changes to a valid document that make the library run it as the specification says.

use std::collections::HashSet;

use async_graphql::parser::types::{
    Directive, DocumentOperations, ExecutableDocument, Field, OperationDefinition, OperationType,
    Selection, SelectionSet,
};
use async_graphql::{Name, Positioned, Variables};
use async_graphql_value::indexmap::IndexMap;
use async_graphql_value::{ConstValue, Value};

use super::DocumentFault;

/// Takes out the arguments whose value is a variable that was left out, so that their defaults
/// apply (section 6.4.1); the library would read them as null. `values` are the coerced variables
/// of the operation.
pub fn omit_arguments(document: &mut ExecutableDocument, name: Option<&str>, values: &Variables) {
    if let Some(operation) = chosen_operation(document, name) {
        let defined = &operation.variable_definitions;
        if defined.iter().all(|definition| values.contains_key(&definition.node.name.node)) {
            return;
        }
        omit_in_selection(&mut operation.selection_set.node, values);
    }
    for fragment in document.fragments.values_mut() {
        omit_in_selection(&mut fragment.node.selection_set.node, values);
    }
}

fn omit_in_selection(set: &mut SelectionSet, values: &Variables) {
    for item in &mut set.items {
        match &mut item.node {
            Selection::Field(field) => {
                let is_given = |value: &Value| match value {
                    Value::Variable(name) => values.contains_key(name),
                    _ => true,
                };
                field.node.arguments.retain(|(_, value)| is_given(&value.node));
                omit_in_selection(&mut field.node.selection_set.node, values);
            }
            Selection::InlineFragment(inline) => {
                omit_in_selection(&mut inline.node.selection_set.node, values);
            }
            Selection::FragmentSpread(_) => {}
        }
    }
}

/// Makes one field of those that the root of an operation selects under one name (section 6.3.2):
/// the library would run each of them, and of a subscription it would ignore the fragments.
///
/// # Errors
/// A [`DocumentFault`] for a subscription that does not select exactly one field (section 5.2.4.1).
pub fn merge_root_fields(
    document: &mut ExecutableDocument,
    name: Option<&str>,
    values: &Variables,
) -> Result<(), DocumentFault> {
    let Some(operation) = chosen_operation(document, name) else { return Ok(()) };
    let kind = operation.ty;
    let pos = operation.selection_set.pos;
    let set = std::mem::take(&mut operation.selection_set.node);
    if kind == OperationType::Subscription
        && has_root_directives(document, &set, &mut HashSet::new())
    {
        let message = "the root of a subscription cannot have directives";
        return Err(DocumentFault::new(message, pos));
    }
    let mut merged: IndexMap<Name, Positioned<Field>> = IndexMap::new();
    collect_root_fields(document, &set, values, &mut HashSet::new(), &mut merged);
    if kind == OperationType::Subscription {
        let is_single = merged.len() == 1
            && merged.values().all(|field| !field.node.name.node.starts_with("__"));
        if !is_single {
            let message = "a subscription selects exactly one field, and not one of introspection";
            return Err(DocumentFault::new(message, pos));
        }
    }
    if let Some(operation) = chosen_operation(document, name) {
        let items = merged.into_values().map(|field| {
            let pos = field.pos;
            Positioned::new(Selection::Field(field), pos)
        });
        operation.selection_set.node.items = items.collect();
    }
    Ok(())
}

/// Whether a directive stands on a selection of the root, also in its fragments.
fn has_root_directives(
    document: &ExecutableDocument,
    set: &SelectionSet,
    fragments: &mut HashSet<Name>,
) -> bool {
    set.items.iter().any(|item| {
        let below = match &item.node {
            Selection::Field(_) => None,
            Selection::InlineFragment(inline) => Some(&inline.node.selection_set.node),
            Selection::FragmentSpread(spread) => {
                let name = &spread.node.fragment_name.node;
                let fragment =
                    document.fragments.get(name).filter(|_| fragments.insert(name.clone()));
                fragment.map(|fragment| &fragment.node.selection_set.node)
            }
        };
        !item.node.directives().is_empty()
            || below.is_some_and(|below| has_root_directives(document, below, fragments))
    })
}

fn collect_root_fields(
    document: &ExecutableDocument,
    set: &SelectionSet,
    values: &Variables,
    fragments: &mut HashSet<Name>,
    merged: &mut IndexMap<Name, Positioned<Field>>,
) {
    for item in &set.items {
        if !is_included(item.node.directives(), values) {
            continue;
        }
        match &item.node {
            Selection::Field(field) => {
                let key = field.node.response_key().node.clone();
                match merged.get_mut(&key) {
                    Some(known) => {
                        let more = field.node.selection_set.node.items.iter().cloned();
                        known.node.selection_set.node.items.extend(more);
                    }
                    None => {
                        let mut field = field.clone();
                        field.node.directives.clear();
                        merged.insert(key, field);
                    }
                }
            }
            Selection::InlineFragment(inline) => {
                let set = &inline.node.selection_set.node;
                collect_root_fields(document, set, values, fragments, merged);
            }
            Selection::FragmentSpread(spread) => {
                let name = &spread.node.fragment_name.node;
                if let Some(fragment) = document.fragments.get(name)
                    && fragments.insert(name.clone())
                {
                    let set = &fragment.node.selection_set.node;
                    collect_root_fields(document, set, values, fragments, merged);
                }
            }
        }
    }
}

/// What `@skip` and `@include` say.
fn is_included(directives: &[Positioned<Directive>], values: &Variables) -> bool {
    directives.iter().all(|directive| {
        let condition = match directive.node.get_argument("if").map(|value| &value.node) {
            Some(Value::Boolean(condition)) => *condition,
            Some(Value::Variable(name)) => {
                matches!(values.get(name), Some(ConstValue::Boolean(true)))
            }
            _ => false,
        };
        match directive.node.name.node.as_str() {
            "skip" => !condition,
            "include" => condition,
            _ => true,
        }
    })
}

fn chosen_operation<'a>(
    document: &'a mut ExecutableDocument,
    name: Option<&str>,
) -> Option<&'a mut OperationDefinition> {
    let operation = match &mut document.operations {
        DocumentOperations::Single(operation) => Some(operation),
        DocumentOperations::Multiple(operations) => match name {
            Some(name) => operations.get_mut(name),
            None => operations.values_mut().next(),
        },
    };
    operation.map(|operation| &mut operation.node)
}
