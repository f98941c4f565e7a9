//! The variables of operations: defined, used, and allowed where they stand (GraphQL specification,
//! section 5.8).

use std::collections::{HashMap, HashSet};

use async_graphql::parser::types::{BaseType, OperationDefinition, Type};
use async_graphql::{Name, Pos};
use async_graphql_value::{ConstValue, Value};

use super::schema_index::{SchemaIndex, TypeInfo, named_type};
use super::values::{LiteralCheck, ValuePlace};
use super::{DocumentFault, list_unseen_fragments};

/// A place where a variable is used.
#[derive(Clone, Copy)]
pub struct VariableUse<'a> {
    pub name: &'a Name,
    pub place: ValuePlace<'a>,
}

/// What an operation or a fragment contains itself.
#[derive(Default)]
pub struct SelectionScope<'a> {
    pub uses: Vec<VariableUse<'a>>,
    /// The fragments that it spreads.
    pub spreads: Vec<&'a Name>,
}

/// Checks the variables of one operation, with those in the fragments that it spreads.
pub fn check_variables<'a>(
    index: &'a SchemaIndex,
    operation: &'a OperationDefinition,
    scope: &SelectionScope<'a>,
    fragments: &HashMap<&'a Name, SelectionScope<'a>>,
    faults: &mut Vec<DocumentFault>,
) {
    let mut defined = HashMap::new();
    for definition in &operation.variable_definitions {
        let pos = definition.pos;
        let definition = &definition.node;
        let name = &definition.name.node;
        let ty = &definition.var_type.node;
        if defined.insert(name.as_str(), definition).is_some() {
            faults.push(DocumentFault::new(format!("the variable ${name} is defined twice"), pos));
        }
        match index.find_type(named_type(ty)).map(TypeInfo::is_input) {
            Some(true) => {}
            Some(false) => {
                let message = format!("the variable ${name} cannot be of type \"{ty}\"");
                faults.push(DocumentFault::new(message, pos));
            }
            None => {
                let message = format!("unknown type \"{}\"", named_type(ty));
                faults.push(DocumentFault::new(message, definition.var_type.pos));
            }
        }
    }
    let mut used = HashSet::new();
    let reached = list_unseen_fragments(&scope.spreads, fragments);
    let scopes = reached.into_iter().filter_map(|name| fragments.get(name));
    for VariableUse { name, place } in std::iter::once(scope).chain(scopes).flat_map(|s| &s.uses) {
        used.insert(name.as_str());
        let Some(definition) = defined.get(name.as_str()) else {
            faults.push(DocumentFault::new(
                format!("the variable ${name} is not defined"),
                place.pos,
            ));
            continue;
        };
        let ty = &definition.var_type.node;
        if index.find_type(named_type(ty)).is_none() {
            continue;
        }
        let default = definition.default_value.as_ref().map(|value| &value.node);
        if let Some(expected) = place.ty
            && !is_allowed(ty, default, expected, place.has_default)
        {
            let message = format!(
                "the variable ${name} of type \"{ty}\" stands where \"{expected}\" is expected"
            );
            faults.push(DocumentFault::new(message, place.pos));
        }
        if place.is_one_of && ty.nullable {
            let message = format!(
                "the variable ${name} of type \"{ty}\" may be null and stands where exactly \
                         one field is given"
            );
            faults.push(DocumentFault::new(message, place.pos));
        }
    }
    for definition in &operation.variable_definitions {
        let name = &definition.node.name.node;
        if !used.contains(name.as_str()) {
            let message = format!("the variable ${name} is never used");
            faults.push(DocumentFault::new(message, definition.pos));
        }
    }
}

/// The default values of an operation's variables, as literals that can be checked.
pub fn default_literals(operation: &OperationDefinition) -> Vec<(&Name, &Type, Value, Pos)> {
    let definitions = operation.variable_definitions.iter().map(|definition| &definition.node);
    definitions
        .filter_map(|definition| {
            let default = definition.default_value.as_ref()?;
            let value = default.node.clone().into_value();
            Some((&definition.name.node, &definition.var_type.node, value, default.pos))
        })
        .collect()
}

/// Checks the default value of a variable.
pub fn check_default(
    index: &SchemaIndex,
    (name, ty, value, pos): &(&Name, &Type, Value, Pos),
    faults: &mut Vec<DocumentFault>,
) {
    let place = ValuePlace { ty: Some(*ty), has_default: false, is_one_of: false, pos: *pos };
    if index.find_type(named_type(ty)).is_some_and(TypeInfo::is_input) {
        LiteralCheck { index, faults, uses: &mut Vec::new() }.check(
            value,
            place,
            &format!("${name}"),
        );
    }
}

/// Whether a variable of this type may stand in a place of that one (section 5.8.5).
fn is_allowed(
    ty: &Type,
    default: Option<&ConstValue>,
    expected: &Type,
    place_has_default: bool,
) -> bool {
    if expected.nullable || !ty.nullable {
        return is_subtype(ty, expected);
    }
    let has_value = default.is_some_and(|default| *default != ConstValue::Null);
    (has_value || place_has_default)
        && is_subtype(ty, &Type { base: expected.base.clone(), nullable: true })
}

fn is_subtype(ty: &Type, of: &Type) -> bool {
    if ty.nullable && !of.nullable {
        return false;
    }
    match (&ty.base, &of.base) {
        (BaseType::List(item), BaseType::List(of)) => is_subtype(item, of),
        (BaseType::Named(name), BaseType::Named(of)) => name == of,
        _ => false,
    }
}
