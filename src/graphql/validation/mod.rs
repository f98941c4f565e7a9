//! Whether a document fits the schema, by the rules of the GraphQL specification (section 5) and
//! with the verdicts of its reference implementation, graphql-js: tests/clients compares them. The
//! library's own validation differs in some, and takes time that grows with the square of a
//! document.

mod overlap;
mod schema_index;
mod substitution;
mod suggestion;
#[cfg(test)]
mod tests;
mod values;
mod variables;

use std::collections::{HashMap, HashSet};

use async_graphql::parser::types::{
    Directive, ExecutableDocument, Field, FragmentDefinition, OperationType, Selection,
    SelectionSet,
};
use async_graphql::{Name, Pos, Positioned};
use async_graphql_value::Value;

use super::document_limits::DocumentRefusal;
use values::{LiteralCheck, ValuePlace};
use variables::SelectionScope;

pub use schema_index::{FieldInfo, SchemaIndex, TypeInfo, named_type};
pub use substitution::{merge_root_fields, omit_arguments};
pub use values::coerce_variables;

/// More mistakes than this are not looked for; a reader needs only the first few.
const MAX_FAULTS: usize = 20;

/// A mistake in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentFault {
    /// What is wrong, in words for people.
    pub message: String,
    /// Where it is.
    pub pos: Pos,
}

impl DocumentFault {
    fn new(message: impl Into<String>, pos: Pos) -> Self {
        Self { message: message.into(), pos }
    }
}

/// The mistakes in a document; none if it fits the schema. No fragment contains itself: this was
/// checked before.
///
/// # Errors
/// [`DocumentRefusal::TooComplex`] for a document that takes too long to check.
pub fn find_faults(
    index: &SchemaIndex,
    document: &ExecutableDocument,
) -> Result<Vec<DocumentFault>, DocumentRefusal> {
    let mut walk =
        ValidationWalk { index, document, faults: Vec::new(), scope: SelectionScope::default() };
    let mut fragments = HashMap::new();
    for (name, fragment) in &document.fragments {
        walk.check_fragment(&fragment.node);
        fragments.insert(name, std::mem::take(&mut walk.scope));
    }
    let mut unused: HashSet<&Name> = document.fragments.keys().collect();
    for (_, operation) in document.operations.iter() {
        let operation = &operation.node;
        let root = root_type(operation.ty);
        walk.check_directives(&operation.directives, DirectiveLocation::Operation);
        for definition in &operation.variable_definitions {
            walk.check_directives(&definition.node.directives, DirectiveLocation::Operation);
        }
        walk.check_selection_set(root, &operation.selection_set);
        let scope = std::mem::take(&mut walk.scope);
        for name in list_unseen_fragments(&scope.spreads, &fragments) {
            unused.remove(name);
        }
        let defaults = variables::default_literals(operation);
        for default in &defaults {
            variables::check_default(index, default, &mut walk.faults);
        }
        variables::check_variables(index, operation, &scope, &fragments, &mut walk.faults);
        if walk.faults.len() < MAX_FAULTS {
            overlap::check_overlaps(index, document, root, operation, &mut walk.faults)?;
        }
    }
    for name in unused {
        let pos = document.fragments.get(name).map(|fragment| fragment.pos).unwrap_or_default();
        walk.report(format!("the fragment \"{name}\" is never used"), pos);
    }
    let mut faults = walk.faults;
    faults.sort_by_key(|fault| (fault.pos.line, fault.pos.column));
    faults.truncate(MAX_FAULTS);
    Ok(faults)
}

/// The root type of an operation.
pub fn root_type(ty: OperationType) -> &'static str {
    match ty {
        OperationType::Query => "Query",
        OperationType::Mutation => "Mutation",
        OperationType::Subscription => "Subscription",
    }
}

/// The fragments that are reached from these, each once.
fn list_unseen_fragments<'a>(
    spreads: &[&'a Name],
    fragments: &HashMap<&'a Name, SelectionScope<'a>>,
) -> Vec<&'a Name> {
    let mut seen = HashSet::new();
    let mut reached = Vec::new();
    let mut open: Vec<&Name> = spreads.to_vec();
    while let Some(name) = open.pop() {
        if seen.insert(name) {
            reached.push(name);
            open.extend(fragments.get(name).into_iter().flat_map(|scope| &scope.spreads));
        }
    }
    reached
}

/// Where a directive stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DirectiveLocation {
    /// On a field or a fragment in a selection set.
    Selection,
    /// On an operation, on one of its variables, or on the definition of a fragment.
    Operation,
}

struct ValidationWalk<'a> {
    index: &'a SchemaIndex,
    document: &'a ExecutableDocument,
    faults: Vec<DocumentFault>,
    /// What the operation or the fragment that is walked contains.
    scope: SelectionScope<'a>,
}

impl<'a> ValidationWalk<'a> {
    fn report(&mut self, message: String, pos: Pos) {
        self.faults.push(DocumentFault::new(message, pos));
    }

    fn check_fragment(&mut self, fragment: &'a FragmentDefinition) {
        self.check_directives(&fragment.directives, DirectiveLocation::Operation);
        let on = &fragment.type_condition.node.on;
        if self.is_composite(on) {
            self.check_selection_set(&on.node, &fragment.selection_set);
        }
    }

    /// Whether a fragment can be on this type; reports it otherwise.
    fn is_composite(&mut self, on: &Positioned<Name>) -> bool {
        let message = match self.index.find_type(&on.node).map(TypeInfo::is_composite) {
            Some(true) => return true,
            Some(false) => format!("a fragment cannot be on the type \"{}\"", on.node),
            None => format!("unknown type \"{}\"", on.node),
        };
        self.report(message, on.pos);
        false
    }

    fn check_selection_set(&mut self, parent: &'a str, set: &'a Positioned<SelectionSet>) {
        for item in &set.node.items {
            if self.faults.len() >= MAX_FAULTS {
                return;
            }
            self.check_directives(item.node.directives(), DirectiveLocation::Selection);
            match &item.node {
                Selection::Field(field) => self.check_field(parent, &field.node),
                Selection::InlineFragment(inline) => {
                    let mut on = parent;
                    if let Some(condition) = &inline.node.type_condition {
                        let condition = &condition.node.on;
                        if !self.is_composite(condition) {
                            continue;
                        }
                        on = &condition.node;
                        self.check_spread(parent, on, condition.pos);
                    }
                    self.check_selection_set(on, &inline.node.selection_set);
                }
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name;
                    match self.document.fragments.get(&name.node) {
                        None => {
                            self.report(format!("unknown fragment \"{}\"", name.node), name.pos)
                        }
                        Some(fragment) => {
                            self.scope.spreads.push(&name.node);
                            let on = &fragment.node.type_condition.node.on.node;
                            if self.index.find_type(on).is_some_and(TypeInfo::is_composite) {
                                self.check_spread(parent, on, name.pos);
                            }
                        }
                    }
                }
            }
        }
    }

    fn check_spread(&mut self, parent: &str, on: &str, pos: Pos) {
        if !self.index.can_overlap(parent, on) {
            let message =
                format!("a fragment on \"{on}\" stands in \"{parent}\", which is never one");
            self.report(message, pos);
        }
    }

    fn check_field(&mut self, parent: &'a str, field: &'a Field) {
        let name = &field.name;
        let Some(info) = self.index.find_field(parent, &name.node) else {
            let message = format!(
                "unknown field \"{}\" on type \"{parent}\"{}",
                name.node,
                self.suggest_field(parent, &name.node)
            );
            self.report(message, name.pos);
            return;
        };
        let at = format!("{parent}.{}", name.node);
        self.check_arguments(&field.arguments, &info.arguments, &at, name.pos);
        let ty = named_type(&info.ty);
        let is_empty = field.selection_set.node.items.is_empty();
        match self.index.find_type(ty).is_some_and(TypeInfo::is_composite) {
            true if is_empty => {
                let message = format!(
                    "the field \"{}\" of type \"{}\" needs a selection",
                    name.node, info.ty
                );
                self.report(message, name.pos);
            }
            true => self.check_selection_set(ty, &field.selection_set),
            false if !is_empty => {
                let message =
                    format!("the field \"{}\" of type \"{}\" has no fields", name.node, info.ty);
                self.report(message, name.pos);
            }
            false => {}
        }
    }

    fn check_arguments(
        &mut self,
        given: &'a [(Positioned<Name>, Positioned<Value>)],
        known: &'a HashMap<String, schema_index::InputInfo>,
        at: &str,
        pos: Pos,
    ) {
        let mut seen = HashSet::new();
        for (name, value) in given {
            if !seen.insert(name.node.as_str()) {
                self.report(format!("the argument \"{}\" is given twice", name.node), name.pos);
            }
            let Some(info) = known.get(name.node.as_str()) else {
                self.report(format!("unknown argument \"{}\" of {at}", name.node), name.pos);
                continue;
            };
            let place = ValuePlace {
                ty: Some(&info.ty),
                has_default: info.default.is_some(),
                is_one_of: false,
                pos: value.pos,
            };
            let mut check = LiteralCheck {
                index: self.index,
                faults: &mut self.faults,
                uses: &mut self.scope.uses,
            };
            check.check(&value.node, place, &name.node);
        }
        for (name, info) in known {
            if info.is_required() && !seen.contains(name.as_str()) {
                let message = format!(
                    "the argument \"{name}\" of type \"{}\" of {at} is required but not provided",
                    info.ty
                );
                self.report(message, pos);
            }
        }
    }

    fn check_directives(
        &mut self,
        directives: &'a [Positioned<Directive>],
        location: DirectiveLocation,
    ) {
        let mut seen = HashSet::new();
        for directive in directives {
            let pos = directive.pos;
            let Directive { name, arguments } = &directive.node;
            match name.node.as_str() {
                "skip" | "include" if location == DirectiveLocation::Selection => {
                    if !seen.insert(name.node.as_str()) {
                        self.report(format!("the directive @{} is given twice", name.node), pos);
                    }
                    let known = schema_index::condition_argument();
                    self.check_arguments(arguments, known, &format!("@{}", name.node), pos);
                }
                "skip" | "include" | "deprecated" | "specifiedBy" | "oneOf" | "needs" => {
                    self.report(format!("the directive @{} cannot stand here", name.node), pos);
                }
                unknown => self.report(format!("unknown directive @{unknown}"), pos),
            }
        }
    }

    /// A field that the writer may have meant.
    fn suggest_field(&self, ty: &str, wrong: &str) -> String {
        let close = self.index.field_names(ty).filter_map(|name| {
            let distance = suggestion::edit_distance(name, wrong);
            (distance <= wrong.len().max(name.len()) / 3 + 1).then_some((distance, name))
        });
        close.min().map(|(_, name)| format!("; did you mean \"{name}\"?")).unwrap_or_default()
    }
}
