//! Ordered lists: every page, from either end, is the same part of the sorted list.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::walk::codes;
use crate::world::World;

/// The value by which a row is ordered, from its node; `None` if it has none.
type Key = fn(&Value) -> Option<String>;

fn text(node: &Value, name: &str) -> Option<String> {
    node[name].as_str().map(str::to_lowercase)
}

const LISTS: [(&str, &str, &str, Key); 7] = [
    ("users", "USER_NAME", "userName", |node| text(node, "userName")),
    ("users", "DISPLAY_NAME", "displayName", |node| text(&node["attributes"], "displayName")),
    ("users", "UPDATED_AT", "updatedAt", |node| text(node, "updatedAt")),
    ("groups", "DISPLAY_NAME", "displayName", |node| text(node, "displayName")),
    ("groups", "UPDATED_AT", "updatedAt", |node| text(node, "updatedAt")),
    ("roles", "NAME", "name", |node| text(node, "name")),
    ("roles", "PRIORITY", "priority", |node| node["priority"].as_i64().map(|n| format!("{n:05}"))),
];

async fn furnish(world: &World) {
    // Equal values, missing values, different cases, and letters that locales sort differently.
    let names = [
        Some("Zoe"),
        None,
        Some("ada"),
        Some("Ada"),
        Some("\u{e9}mile"),
        None,
        Some("bob"),
        Some("ada"),
        Some("Z"),
    ];
    for (at, name) in names.into_iter().enumerate() {
        let made = world.graphql(
            "mutation($n: String!, $d: String, $g: String!, $r: String!, $p: Int) {
               userCreate(input: { userName: $n, displayName: $d }) { userErrors { message } }
               groupCreate(input: { displayName: $g }) { userErrors { message } }
               roleCreate(input: { name: $r, priority: $p }) { userErrors { message } } }",
            json!({ "n": format!("{}{at}", if at % 2 == 0 { "User" } else { "user" }), "d": name,
                "g": name.unwrap_or("Ward"), "r": format!("{}-{at}", name.unwrap_or("Role")),
                "p": (at % 3 > 0).then_some((at * 7) % 50) }),
        );
        let made = made.await;
        assert!(!made.to_string().contains("message"), "{made:#}");
    }
}

async fn page(world: &World, list: &str, order: &str, window: &str) -> Value {
    let fields = match list {
        "users" => "userName attributes updatedAt",
        "groups" => "displayName updatedAt",
        _ => "name priority",
    };
    let query = format!(
        "{{ organization {{ {list}(orderBy: {order}, {window}) {{ totalCount edges {{ cursor node {{ id {fields} }} }}
           pageInfo {{ hasNextPage hasPreviousPage }} }} }} }}"
    );
    let answer = world.graphql(&query, json!({})).await;
    assert_eq!(codes(&answer), Vec::<&str>::new(), "{query}\n{answer:#}");
    answer["data"]["organization"][list].clone()
}

fn ids(page: &Value) -> Vec<String> {
    let edges = page["edges"].as_array().unwrap();
    edges.iter().map(|edge| edge["node"]["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_match_the_sorted_list() {
    let world = World::new().await;
    furnish(&world).await;
    for (list, field, _, key) in LISTS {
        // The expected order: all rows by creation, then sorted in memory. The sort is stable, so
        // equal values stay in the order of creation.
        let all = page(&world, list, "{ field: CREATED_AT }", "first: 100").await;
        let mut nodes: Vec<Value> =
            all["edges"].as_array().unwrap().iter().map(|edge| edge["node"].clone()).collect();
        assert!(nodes.len() >= 9);
        nodes.sort_by_key(|node| (key(node).is_none(), key(node)));
        for direction in ["ASC", "DESC"] {
            let order = format!("{{ field: {field}, direction: {direction} }}");
            if direction == "DESC" {
                nodes.reverse();
            }
            let sorted: Vec<String> =
                nodes.iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect();
            let whole = page(&world, list, &order, "first: 100").await;
            assert_eq!(ids(&whole), sorted, "{list} by {order}");
            assert_eq!(whole["totalCount"], sorted.len());
            let cursors: Vec<String> = whole["edges"]
                .as_array()
                .unwrap()
                .iter()
                .map(|edge| edge["cursor"].as_str().unwrap().to_owned())
                .collect();
            // Any window, from either end, between any two cursors.
            let windows = (
                any::<bool>(),
                1..6usize,
                prop::option::of(0..9usize),
                prop::option::of(0..9usize),
            );
            let config = Config { cases: 12, failure_persistence: None, ..Config::default() };
            tokio::task::block_in_place(|| {
                TestRunner::new(config).run(&windows, |(backward, rows, after, before)| {
                    let mut window = format!("{}: {rows}", if backward { "last" } else { "first" });
                    for (name, at) in [("after", after), ("before", before)] {
                        if let Some(at) = at {
                            window.push_str(&format!(", {name}: \"{}\"", cursors[at]));
                        }
                    }
                    let (from, to) = (after.map_or(0, |at| at + 1), before.unwrap_or(sorted.len()));
                    let part = sorted.get(from..to).unwrap_or_default();
                    let wanted = match backward {
                        true => &part[part.len().saturating_sub(rows)..],
                        false => &part[..rows.min(part.len())],
                    };
                    let found = tokio::runtime::Handle::current()
                        .block_on(page(&world, list, &order, &window));
                    prop_assert_eq!(ids(&found), wanted, "{} by {} {}", list, order, window);
                    let goes_on = &found["pageInfo"]
                        [if backward { "hasPreviousPage" } else { "hasNextPage" }];
                    prop_assert_eq!(
                        goes_on,
                        wanted.len() < part.len(),
                        "{} by {} {}",
                        list,
                        order,
                        window
                    );
                    Ok(())
                })
            })
            .unwrap();
        }
    }
    world.end().await;
}

#[tokio::test]
async fn cursor_is_valid_for_one_order() {
    let world = World::new().await;
    furnish(&world).await;
    let first = page(&world, "users", "{ field: USER_NAME }", "first: 1").await;
    let cursor = first["edges"][0]["cursor"].as_str().unwrap();
    for order in [
        "{ field: DISPLAY_NAME }",
        "{ field: UPDATED_AT, direction: DESC }",
        "{ field: CREATED_AT }",
    ] {
        let query = format!(
            "{{ organization {{ users(orderBy: {order}, first: 1, after: \"{cursor}\") {{ nodes \
             {{ id }} }} }} }}"
        );
        assert_eq!(codes(&world.graphql(&query, json!({})).await), ["BAD_USER_INPUT"], "{order}");
    }
    // A row that is created between two pages is shown once.
    world
        .graphql(
            "mutation { userCreate(input: { userName: \"AAA\" }) { userErrors { code } } }",
            json!({}),
        )
        .await;
    let next =
        page(&world, "users", "{ field: USER_NAME }", &format!("first: 100, after: \"{cursor}\""))
            .await;
    assert_eq!(ids(&next).len(), 8, "{next:#}");
    // Filters work with every order.
    let query = "{ organization { users(first: 10, filter: { provisioned: false }, orderBy: { field: USER_NAME, direction: DESC }) {
        nodes { userName } } } }";
    let answer = world.graphql(query, json!({})).await;
    assert_eq!(
        answer["data"]["organization"]["users"]["nodes"][0]["userName"], "User8",
        "{answer:#}"
    );
    world.end().await;
}
