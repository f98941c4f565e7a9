//! Fields that come under one name in a response must be one field (GraphQL specification, section
//! 5.3.2), and fields of different objects must have values of one shape, so that clients with
//! types can read them.
//!
//! The fields of a response are grouped by name and compared with the first of their group, level
//! by level; a group that was compared before is not compared again. So the work grows with the
//! document and not with its square, and what documents that are made to be slow still find is cut
//! off by a limit.

use std::collections::{BTreeMap, HashMap, HashSet};

use async_graphql::parser::types::{
    BaseType, ExecutableDocument, Field, OperationDefinition, Selection, SelectionSet, Type,
};
use async_graphql::{Name, Pos};

use super::DocumentFault;
use super::schema_index::{FieldInfo, SchemaIndex, TypeInfo, named_type};
use crate::graphql::document_limits::DocumentRefusal;

/// The most fields that are looked at for one document, counted each time.
const MAX_COMPARED_FIELDS: usize = 50_000;

/// A field with the type that it is selected on.
#[derive(Clone, Copy)]
struct SelectedField<'a> {
    field: &'a Field,
    pos: Pos,
    parent: &'a str,
    info: Option<&'a FieldInfo>,
}

impl SelectedField<'_> {
    /// Tells the fields of a document apart. Each has one parent type.
    fn identity(&self) -> usize {
        std::ptr::from_ref(self.field).addr()
    }
}

/// What a group of fields is compared for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum FieldComparison {
    /// Their values have one shape.
    Shape,
    /// They are one field with one set of arguments.
    Identity,
}

/// Compares the fields of one operation.
///
/// # Errors
/// [`DocumentRefusal::TooComplex`] for a document in which more would have to be compared than is
/// allowed.
pub fn check_overlaps<'a>(
    index: &'a SchemaIndex,
    document: &'a ExecutableDocument,
    root: &'a str,
    operation: &'a OperationDefinition,
    faults: &mut Vec<DocumentFault>,
) -> Result<(), DocumentRefusal> {
    let mut walk = OverlapWalk { index, document, compared: HashSet::new(), looked_at: 0, faults };
    let mut fields = Vec::new();
    walk.collect_fields(root, &operation.selection_set.node, &mut HashSet::new(), &mut fields)?;
    walk.compare_fields(FieldComparison::Shape, &fields)?;
    walk.compare_fields(FieldComparison::Identity, &fields)
}

struct OverlapWalk<'a, 'b> {
    index: &'a SchemaIndex,
    document: &'a ExecutableDocument,
    /// The sets of fields that were compared.
    compared: HashSet<(FieldComparison, Vec<usize>)>,
    looked_at: usize,
    faults: &'b mut Vec<DocumentFault>,
}

impl<'a> OverlapWalk<'a, '_> {
    /// Adds the fields of a selection set, with those in its fragments.
    fn collect_fields(
        &mut self,
        parent: &'a str,
        set: &'a SelectionSet,
        fragments: &mut HashSet<&'a Name>,
        fields: &mut Vec<SelectedField<'a>>,
    ) -> Result<(), DocumentRefusal> {
        self.looked_at += set.items.len();
        if self.looked_at > MAX_COMPARED_FIELDS {
            let message = "the query merges too many fields under the same names";
            return Err(DocumentRefusal::TooComplex(message.into()));
        }
        for item in &set.items {
            match &item.node {
                Selection::Field(field) => fields.push(SelectedField {
                    field: &field.node,
                    pos: field.node.name.pos,
                    parent,
                    info: self.index.find_field(parent, &field.node.name.node),
                }),
                Selection::InlineFragment(inline) => {
                    let on = inline.node.type_condition.as_ref();
                    let parent = on.map_or(parent, |condition| condition.node.on.node.as_str());
                    self.collect_fields(
                        parent,
                        &inline.node.selection_set.node,
                        fragments,
                        fields,
                    )?;
                }
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name.node;
                    if let Some(fragment) = self.document.fragments.get(name)
                        && fragments.insert(name)
                    {
                        let parent = fragment.node.type_condition.node.on.node.as_str();
                        let set = &fragment.node.selection_set.node;
                        self.collect_fields(parent, set, fragments, fields)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Compares the fields of one level, and then those below them.
    fn compare_fields(
        &mut self,
        comparison: FieldComparison,
        fields: &[SelectedField<'a>],
    ) -> Result<(), DocumentRefusal> {
        let mut identities: Vec<usize> = fields.iter().map(SelectedField::identity).collect();
        identities.sort_unstable();
        identities.dedup();
        if !self.compared.insert((comparison, identities)) {
            return Ok(());
        }
        let mut groups: Vec<Vec<SelectedField<'a>>> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        for field in fields {
            let key = field.field.response_key().node.as_str();
            let place = *places.entry(key).or_insert(groups.len());
            match groups.get_mut(place) {
                Some(group) => group.push(*field),
                None => groups.push(vec![*field]),
            }
        }
        for group in groups {
            match comparison {
                FieldComparison::Shape => self.compare_group(comparison, &group)?,
                FieldComparison::Identity => {
                    for group in self.split_by_object(&group) {
                        self.compare_group(comparison, &group)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The fields that one object may have: those of each type of objects, each with those of the
    /// interfaces.
    fn split_by_object(&self, group: &[SelectedField<'a>]) -> Vec<Vec<SelectedField<'a>>> {
        let (concrete, shared): (Vec<SelectedField<'a>>, Vec<SelectedField<'a>>) =
            group.iter().partition(|field| self.index.is_object(field.parent));
        let mut objects: BTreeMap<&str, Vec<SelectedField<'a>>> = BTreeMap::new();
        for field in concrete {
            objects.entry(field.parent).or_insert_with(|| shared.clone()).push(field);
        }
        if objects.is_empty() { vec![shared] } else { objects.into_values().collect() }
    }

    fn compare_group(
        &mut self,
        comparison: FieldComparison,
        group: &[SelectedField<'a>],
    ) -> Result<(), DocumentRefusal> {
        if let Some((first, others)) = group.split_first() {
            for other in others {
                if let Some(reason) = self.find_conflict(comparison, first, other) {
                    let key = &first.field.response_key().node;
                    let message = format!(
                        "the fields \"{key}\" conflict, because {reason}; give each an alias of \
                         its own"
                    );
                    self.faults.push(DocumentFault::new(message, other.pos));
                    return Ok(());
                }
            }
        }
        let mut below = Vec::new();
        let mut fragments = HashSet::new();
        for SelectedField { field, info, .. } in group {
            if let Some(info) = info {
                let set = &field.selection_set.node;
                self.collect_fields(named_type(&info.ty), set, &mut fragments, &mut below)?;
            }
        }
        if below.is_empty() { Ok(()) } else { self.compare_fields(comparison, &below) }
    }

    /// Why two fields cannot come under one name.
    fn find_conflict(
        &self,
        comparison: FieldComparison,
        one: &SelectedField<'a>,
        other: &SelectedField<'a>,
    ) -> Option<String> {
        match comparison {
            FieldComparison::Shape => {
                let (one, other) = (&one.info?.ty, &other.info?.ty);
                self.differs_in_shape(one, other)
                    .then(|| format!("one is of type \"{one}\" and one of type \"{other}\""))
            }
            FieldComparison::Identity => {
                let (name, other_name) = (&one.field.name.node, &other.field.name.node);
                if name != other_name {
                    return Some(format!("\"{name}\" and \"{other_name}\" are different fields"));
                }
                let has_same = one.field.arguments.len() == other.field.arguments.len()
                    && one.field.arguments.iter().all(|(argument, value)| {
                        let known = other.field.get_argument(&argument.node);
                        known.is_some_and(|known| known.node == value.node)
                    });
                (!has_same).then(|| "their arguments differ".to_owned())
            }
        }
    }

    fn differs_in_shape(&self, one: &Type, other: &Type) -> bool {
        if one.nullable != other.nullable {
            return true;
        }
        match (&one.base, &other.base) {
            (BaseType::List(one), BaseType::List(other)) => self.differs_in_shape(one, other),
            (BaseType::Named(one), BaseType::Named(other)) => {
                let is_composite =
                    |name: &str| self.index.find_type(name).is_some_and(TypeInfo::is_composite);
                one != other && !(is_composite(one) && is_composite(other))
            }
            _ => true,
        }
    }
}
