//! Lists of the management API: each has one filter and one order, each field of a filter narrows
//! as it says, each order is total, and pages of either direction are parts of the whole list.
//!
//! The lists, filters and orders are read from the schema. A new field of a filter needs a case in
//! [`filters::CASES`]; a new order needs none.

pub mod filters;
mod search;
mod stories;
mod tokens;

use std::collections::BTreeSet;

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{TypeKind, TypeSystemDefinition};
use serde_json::{Value, json};

use crate::sdl::named;
use crate::walk;
use crate::walk::codes;
use crate::world::World;

/// A field that has pages.
#[derive(Debug, Clone)]
struct List {
    object: String,
    field: String,
    arguments: BTreeSet<String>,
    filter: Option<String>,
    order: Option<String>,
}

/// The parts of the schema that lists are made of.
struct Lists {
    lists: Vec<List>,
    /// Input objects: their names, and their fields.
    inputs: Vec<(String, Vec<String>)>,
    /// Enums: their names, and their values.
    enums: Vec<(String, Vec<String>)>,
}

impl Lists {
    fn read() -> Self {
        let document = parse_schema(rolecall::graphql::export_sdl()).unwrap();
        let mut all = Self { lists: Vec::new(), inputs: Vec::new(), enums: Vec::new() };
        for definition in document.definitions {
            let TypeSystemDefinition::Type(definition) = definition else { continue };
            let name = definition.node.name.node.to_string();
            match definition.node.kind {
                TypeKind::Object(object) => {
                    for field in object.fields {
                        let field = field.node;
                        if !named(&field.ty.node).ends_with("Connection") {
                            continue;
                        }
                        let argument = |wanted: &str| {
                            let found = field
                                .arguments
                                .iter()
                                .find(|argument| argument.node.name.node == wanted);
                            found.map(|argument| named(&argument.node.ty.node).to_owned())
                        };
                        all.lists.push(List {
                            object: name.clone(),
                            field: field.name.node.to_string(),
                            filter: argument("filter"),
                            order: argument("orderBy"),
                            arguments: field
                                .arguments
                                .iter()
                                .map(|argument| argument.node.name.node.to_string())
                                .collect(),
                        });
                    }
                }
                TypeKind::InputObject(input) => {
                    let fields = input.fields.iter().map(|field| field.node.name.node.to_string());
                    all.inputs.push((name, fields.collect()));
                }
                TypeKind::Enum(values) => {
                    let values =
                        values.values.iter().map(|value| value.node.value.node.to_string());
                    all.enums.push((name, values.collect()));
                }
                _ => {}
            }
        }
        all
    }

    fn fields_of(&self, input: &str) -> &[String] {
        let found = self.inputs.iter().find(|(name, _)| name == input);
        &found.unwrap_or_else(|| panic!("no input {input}")).1
    }

    fn values_of(&self, order: &str) -> &[String] {
        let name = format!("{order}Field");
        let found = self.enums.iter().find(|(known, _)| *known == name);
        &found.unwrap_or_else(|| panic!("no enum {name}")).1
    }
}

/// The rows of a preview are numbered once, when it is made, and have one order.
const NUMBERED: [&str; 2] = ["gains", "losses"];

#[test]
fn every_list_has_filter_and_order() {
    let all = Lists::read();
    assert!(all.lists.len() >= 25, "{}", all.lists.len());
    let relay = ["after", "before", "first", "last"];
    for list in &all.lists {
        if list.object == "AccessPreview" && NUMBERED.contains(&list.field.as_str()) {
            continue;
        }
        let wanted = relay.iter().chain(["filter", "orderBy"].iter());
        let wanted: BTreeSet<String> = wanted.map(|name| (*name).to_owned()).collect();
        assert_eq!(list.arguments, wanted, "{}.{}", list.object, list.field);
        let (filter, order) = (list.filter.clone().unwrap(), list.order.clone().unwrap());
        assert!(filter.ends_with("Filter"), "{filter}");
        assert!(order.ends_with("Order"), "{order}");
        assert_eq!(all.fields_of(&order), ["field", "direction"], "{order}");
        assert!(!all.values_of(&order).is_empty(), "{order}");
    }
}

/// How a list is asked for: what stands before and after it.
struct Place {
    before: String,
    after: &'static str,
    /// The way from `data` to the list.
    pointer: &'static str,
}

/// Where a list of an object stands; none for objects that are reached in no test.
fn place_of(object: &str, ids: &walk::Ids) -> Option<Place> {
    if object == "Organization" {
        let before = "{ organization {".into();
        return Some(Place { before, after: "} }", pointer: "/data/organization" });
    }
    let id = ids.get(object)?;
    let before = format!("{{ node(id: \"{id}\") {{ ... on {object} {{");
    Some(Place { before, after: "} } }", pointer: "/data/node" })
}

/// What identifies a row of a list.
fn row_key(list: &str) -> &'static str {
    match list {
        "accessReport" => "userId",
        "requestLog" => "firstAt lastAt meaning outcome code field count",
        "leavers" => "event { id }",
        "holders" => "user { id }",
        "members" => "... on User { id } ... on Group { id }",
        "deletedUsers" => DELETED_USER_KEY,
        "deletedGroups" => DELETED_GROUP_KEY,
        _ => "id",
    }
}

const DELETED_USER_KEY: &str = "deletedAt userName";
const DELETED_GROUP_KEY: &str = "deletedAt displayName";

/// One page of a list: its edges, `pageInfo` and `totalCount`.
async fn page(world: &World, place: &Place, list: &str, arguments: &str, row: &str) -> Value {
    let query = format!(
        "{} {list}({arguments}) {{ totalCount edges {{ cursor node {{ {row} }} }}
           pageInfo {{ hasNextPage hasPreviousPage }} }} {}",
        place.before, place.after
    );
    let answer = world.graphql(&query, json!({})).await;
    assert_eq!(codes(&answer), Vec::<&str>::new(), "{query}\n{answer:#}");
    answer.pointer(place.pointer).unwrap()[list].clone()
}

/// All rows of a list, read in pages of a hundred.
async fn all_nodes(world: &World, place: &Place, list: &str, row: &str) -> Vec<Value> {
    let mut found = Vec::new();
    let mut after = String::new();
    loop {
        let part = page(world, place, list, &format!("first: 100{after}"), row).await;
        found.extend(nodes(&part));
        if part["pageInfo"]["hasNextPage"] != true {
            return found;
        }
        let last = part["edges"][99]["cursor"].as_str().unwrap();
        after = format!(", after: \"{last}\"");
    }
}

fn nodes(page: &Value) -> Vec<Value> {
    page["edges"].as_array().unwrap().iter().map(|edge| edge["node"].clone()).collect()
}

/// Reads a list in pages of two, from the beginning or from the end; always in the list's order.
async fn read_in_pages(
    world: &World,
    place: &Place,
    list: &str,
    selection: &str,
    backward: bool,
) -> Vec<Value> {
    let row = row_key(list);
    let mut found: Vec<Value> = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let (rows, bound, more) = match backward {
            false => ("first: 2", "after", "hasNextPage"),
            true => ("last: 2", "before", "hasPreviousPage"),
        };
        let bound = cursor.map_or_else(String::new, |cursor| format!(", {bound}: \"{cursor}\""));
        let part = page(world, place, list, &format!("{rows}{bound}{selection}"), row).await;
        let edges = part["edges"].as_array().unwrap().clone();
        match backward {
            false => found.extend(nodes(&part)),
            true => {
                found.splice(0..0, nodes(&part));
            }
        }
        let end = if backward { edges.first() } else { edges.last() };
        if part["pageInfo"][more] != true {
            return found;
        }
        cursor =
            Some(end.expect("a page with more is not empty")["cursor"].as_str().unwrap().into());
    }
}

/// A world with some rows in every list.
async fn furnished() -> (World, walk::Ids) {
    let world = World::new().await;
    let ids = walk::furnish(&world.acme, "ada").await;
    walk::furnish(&world.acme, "ben").await;
    walk::furnish(&world.acme, "cleo").await;
    (world, ids)
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_total_in_pages() {
    let (world, ids) = furnished().await;
    let all = Lists::read();
    let mut read = 0;
    for list in &all.lists {
        let (Some(order), Some(place)) = (&list.order, place_of(&list.object, &ids)) else {
            continue;
        };
        let (name, row) = (list.field.as_str(), row_key(&list.field));
        for field in all.values_of(order) {
            let by = |direction: &str| {
                format!(", orderBy: {{ field: {field}, direction: {direction} }}")
            };
            // Members of both kinds have one order; accounts alone have all.
            let kind = if name == "members" { ", filter: { kind: USER }" } else { "" };
            let mut up = by("ASC");
            up.push_str(kind);
            let mut down = by("DESC");
            down.push_str(kind);
            let title = format!("{}.{name} by {field}", list.object);
            // Of the ledger, only a part: it is longer than a page.
            let whole = page(&world, &place, name, &format!("first: 100{up}"), row).await;
            if whole["pageInfo"]["hasNextPage"] == true {
                assert_eq!(name, "events", "{title} fits on a page");
                continue;
            }
            let ascending = nodes(&whole);
            assert_eq!(whole["totalCount"], ascending.len(), "{title}");
            let distinct: BTreeSet<String> = ascending.iter().map(Value::to_string).collect();
            assert_eq!(distinct.len(), ascending.len(), "{title}: a row stands twice");
            let falling = page(&world, &place, name, &format!("first: 100{down}"), row).await;
            let mut reversed = nodes(&falling);
            reversed.reverse();
            assert_eq!(reversed, ascending, "{title}: DESC is the reverse of ASC");
            for (selection, expected) in [(&up, &ascending), (&down, &nodes(&falling))] {
                for backward in [false, true] {
                    let paged = read_in_pages(&world, &place, name, selection, backward).await;
                    assert_eq!(&paged, expected, "{title}, backward: {backward}");
                }
            }
            read += 1;
        }
    }
    assert!(read >= 40, "{read} orders were read");
    world.end().await;
}
