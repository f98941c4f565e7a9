//! What an operation costs: the charge to its caller's budget, and the limit of one operation.
//!
//! Only the operation that is run counts. A leaf is free, an object costs 1, a list as much as the
//! rows that are asked for. docs/graphql/cost.md explains it to clients; a test compares the
//! figures there with those here.

use std::collections::HashMap;

use async_graphql::parser::types::{
    ExecutableDocument, Field, OperationDefinition, Selection, SelectionSet,
};
use async_graphql::{Name, Variables};
use async_graphql_value::{ConstValue, Value};

use super::document_limits::{DocumentRefusal, MAX_PAGE_ROWS};
use super::validation::{FieldInfo, SchemaIndex, TypeInfo, named_type, root_type};

/// The most that an operation may cost.
pub const MAX_COST: u64 = 10_000;
/// The most that the introspection in an operation may cost. It is not a part of the other limit.
pub const MAX_INTROSPECTION_COST: u64 = 200;
/// The cost of the whole schema, and of one type.
pub const SCHEMA_COST: u64 = 100;
pub const TYPE_COST: u64 = 10;
/// The cost of an object.
pub const OBJECT_COST: u64 = 1;
/// The cost of counting with a statement of its own.
pub const COUNT_COST: u64 = 10;
/// The cost of a filter that compares a value of the rows themselves.
pub const VALUE_FILTER_COST: u64 = 1;
/// The cost of a filter that searches in text, or that looks into other tables.
pub const SEARCH_FILTER_COST: u64 = 10;

/// The fields that count with a statement of their own, beside `totalCount` of every page.
pub const COUNTED_FIELDS: [(&str, &str); 7] = [
    ("Group", "memberCount"),
    ("IdentitySource", "userCount"),
    ("IdentitySource", "claimedMembershipCount"),
    ("IdentitySource", "groupCount"),
    ("Organization", "failureCounts"),
    ("ScimCounts", "users"),
    ("ScimCounts", "groups"),
];

/// The names of filters that search in text, or that look into other tables. What stands inside one
/// is charged beside it.
pub const SEARCHING_FILTERS: [&str; 10] = [
    "search",
    "subjectName",
    "concerns",
    "group",
    "user",
    "role",
    "roleId",
    "transitive",
    "membersAtLeast",
    "membersAtMost",
];

/// The cost of an operation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OperationCost {
    total: u64,
    introspection: u64,
    depth: u32,
}

impl OperationCost {
    /// The whole cost, which the caller is charged.
    pub fn total_cost(self) -> u64 {
        self.total.saturating_add(self.introspection)
    }

    /// The value of `extensions.cost` in a response.
    pub fn to_value(self) -> async_graphql::Value {
        async_graphql::value!({
            "requested": self.total_cost(), "limit": MAX_COST, "depth": self.depth
        })
    }
}

/// Computes the cost of an operation that fits the schema; `values` are its coerced variables.
///
/// # Errors
/// [`DocumentRefusal::TooComplex`] for a cost above the limit.
pub fn compute_cost(
    index: &SchemaIndex,
    document: &ExecutableDocument,
    operation: &OperationDefinition,
    values: &Variables,
    depth: u32,
) -> Result<OperationCost, DocumentRefusal> {
    let mut walk =
        CostWalk { index, document, values, fragments: HashMap::new(), introspection: 0 };
    let sum = walk.sum_selection_set(root_type(operation.ty), &operation.selection_set.node);
    let cost = OperationCost { total: sum.total(), introspection: walk.introspection, depth };
    for (what, is, most) in [
        ("cost", cost.total, MAX_COST),
        ("cost of introspection", cost.introspection, MAX_INTROSPECTION_COST),
    ] {
        if is > most {
            return Err(DocumentRefusal::over_limit(what, is, most));
        }
    }
    Ok(cost)
}

/// The cost of a selection. A page multiplies a part of it by its rows.
#[derive(Debug, Clone, Copy, Default)]
struct SelectionCost {
    /// What is charged once.
    once: u64,
    /// What is charged for each row of the page around it.
    each: u64,
}

impl SelectionCost {
    fn total(self) -> u64 {
        self.once.saturating_add(self.each)
    }

    fn add(&mut self, other: Self) {
        self.once = self.once.saturating_add(other.once);
        self.each = self.each.saturating_add(other.each);
    }
}

struct CostWalk<'a> {
    index: &'a SchemaIndex,
    document: &'a ExecutableDocument,
    values: &'a Variables,
    /// The cost of each fragment, which is computed once.
    fragments: HashMap<&'a Name, SelectionCost>,
    introspection: u64,
}

impl<'a> CostWalk<'a> {
    fn sum_selection_set(&mut self, parent: &str, set: &'a SelectionSet) -> SelectionCost {
        let mut sum = SelectionCost::default();
        for item in &set.items {
            sum.add(match &item.node {
                Selection::Field(field) => self.sum_field(parent, &field.node),
                Selection::InlineFragment(inline) => {
                    let on = inline.node.type_condition.as_ref();
                    let parent = on.map_or(parent, |condition| condition.node.on.node.as_str());
                    self.sum_selection_set(parent, &inline.node.selection_set.node)
                }
                Selection::FragmentSpread(spread) => {
                    self.sum_fragment(&spread.node.fragment_name.node)
                }
            });
        }
        sum
    }

    fn sum_fragment(&mut self, name: &'a Name) -> SelectionCost {
        if let Some(sum) = self.fragments.get(name) {
            return *sum;
        }
        let Some(fragment) = self.document.fragments.get(name) else {
            return SelectionCost::default();
        };
        let on = &fragment.node.type_condition.node.on.node;
        let sum = self.sum_selection_set(on, &fragment.node.selection_set.node);
        self.fragments.insert(name, sum);
        sum
    }

    fn sum_field(&mut self, parent: &str, field: &'a Field) -> SelectionCost {
        let name = field.name.node.as_str();
        let introspection = match name {
            "__schema" => SCHEMA_COST,
            "__type" => TYPE_COST,
            _ => 0,
        };
        if introspection > 0 {
            self.introspection = self.introspection.saturating_add(introspection);
            return SelectionCost::default();
        }
        let Some(info) = self.index.find_field(parent, name) else {
            return SelectionCost::default();
        };
        let ty = named_type(&info.ty);
        let count = if is_counted(parent, name) { COUNT_COST } else { 0 };
        if !self.index.find_type(ty).is_some_and(TypeInfo::is_composite) {
            return SelectionCost { once: count, each: 0 };
        }
        let below = self.sum_selection_set(ty, &field.selection_set.node);
        let is_page = is_page_type(parent);
        match name {
            "edges" | "nodes" if is_page => {
                return SelectionCost {
                    once: count,
                    each: below.total().saturating_add(OBJECT_COST),
                };
            }
            // The row is charged by its edge.
            "node" if parent.ends_with("Edge") => return below,
            _ => {}
        }
        let object = below.total().saturating_add(OBJECT_COST);
        let filter = self.filter_cost(field);
        let once = match row_multiplier(info) {
            RowMultiplier::Page if is_page_type(ty) => {
                let rows = below.each.saturating_mul(self.requested_rows(field, info));
                rows.saturating_add(below.once).saturating_add(OBJECT_COST)
            }
            RowMultiplier::Page => object.saturating_mul(self.requested_rows(field, info)),
            RowMultiplier::Ids => object.saturating_mul(self.requested_ids(field)),
            RowMultiplier::One => object,
        };
        SelectionCost { once: once.saturating_add(count).saturating_add(filter), each: 0 }
    }

    /// What the filter of a list costs, by the fields that it has.
    fn filter_cost(&self, field: &Field) -> u64 {
        field.get_argument("filter").map_or(0, |filter| self.filter_value_cost(&filter.node))
    }

    fn filter_value_cost(&self, filter: &Value) -> u64 {
        match filter {
            Value::Object(fields) => fields
                .iter()
                .map(|(name, value)| cost_of_filter(name) + self.filter_value_cost(value))
                .sum(),
            Value::Variable(name) => self.values.get(name).map_or(0, given_filter_cost),
            _ => 0,
        }
    }

    /// How many rows of a page are requested. Anything but a number between 1 and the limit counts
    /// as the limit.
    fn requested_rows(&self, field: &Field, info: &FieldInfo) -> u64 {
        let asked = ["first", "last"].into_iter().filter_map(|name| {
            let default = info.arguments.get(name).and_then(|argument| argument.default.as_ref());
            match field.get_argument(name).map(|value| &value.node) {
                Some(Value::Number(number)) => number.as_u64(),
                Some(Value::Variable(name)) => match self.values.get(name) {
                    Some(ConstValue::Number(number)) => number.as_u64(),
                    _ => None,
                },
                _ => match default {
                    Some(ConstValue::Number(number)) => number.as_u64(),
                    _ => None,
                },
            }
        });
        let cap = u64::from(MAX_PAGE_ROWS.unsigned_abs());
        asked.max().filter(|rows| (1..=cap).contains(rows)).unwrap_or(cap)
    }

    /// How many ids are given.
    fn requested_ids(&self, field: &Field) -> u64 {
        let asked = match field.get_argument("ids").map(|value| &value.node) {
            Some(Value::List(ids)) => Some(ids.len()),
            Some(Value::Variable(name)) => match self.values.get(name) {
                Some(ConstValue::List(ids)) => Some(ids.len()),
                _ => None,
            },
            _ => None,
        };
        asked.map_or(u64::from(MAX_PAGE_ROWS.unsigned_abs()), |ids| ids as u64)
    }
}

/// What a filter costs that came as a variable.
fn given_filter_cost(filter: &ConstValue) -> u64 {
    match filter {
        ConstValue::Object(fields) => {
            fields.iter().map(|(name, value)| cost_of_filter(name) + given_filter_cost(value)).sum()
        }
        _ => 0,
    }
}

fn cost_of_filter(name: &str) -> u64 {
    if SEARCHING_FILTERS.contains(&name) { SEARCH_FILTER_COST } else { VALUE_FILTER_COST }
}

/// How a field multiplies what is below it.
enum RowMultiplier {
    /// By `first` and `last`.
    Page,
    /// By the number of `ids`.
    Ids,
    One,
}

fn row_multiplier(info: &FieldInfo) -> RowMultiplier {
    let is_list = !matches!(info.ty.base, async_graphql::parser::types::BaseType::Named(_));
    if info.arguments.contains_key("first") {
        RowMultiplier::Page
    } else if is_list && info.arguments.contains_key("ids") {
        RowMultiplier::Ids
    } else {
        RowMultiplier::One
    }
}

fn is_page_type(ty: &str) -> bool {
    ty.ends_with("Connection")
}

/// Whether a field counts with a statement of its own.
pub fn is_counted(ty: &str, field: &str) -> bool {
    (field == "totalCount" && is_page_type(ty)) || COUNTED_FIELDS.contains(&(ty, field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_fields_are_in_the_schema() {
        let index = SchemaIndex::of_server();
        for (ty, field) in COUNTED_FIELDS {
            assert!(index.find_field(ty, field).is_some(), "{ty}.{field}");
        }
    }
}
