//! The screens of docs/examples/screens: each is one query that shows a populated organization with
//! all names, and costs little.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::walk;
use crate::walk::Ids;
use crate::world::World;

/// The cost that a screen stays below.
const MAX_COST: i64 = 1_000;

/// A screen, its variables, and what must be seen on it: names of objects, so that no second query
/// is needed.
struct Screen {
    file: &'static str,
    variables: Value,
    shows: &'static [&'static str],
}

fn all_screens(ids: &Ids) -> Vec<Screen> {
    let connection = json!({ "connectionId": ids["IdentitySource"] });
    let screen =
        |file, variables: &Value, shows| Screen { file, variables: variables.clone(), shows };
    let none = json!({});
    vec![
        screen("overview", &none, &["Identity provider", "acme source"]),
        screen("configuration", &connection, &["Identity provider", "TOKEN"]),
        screen("users", &none, &["acme.person", "acme.by.hand", "acme group", "Identity provider"]),
        screen("user", &json!({ "id": ids["User"] }), &["acme.person", "acme group"]),
        screen("group", &json!({ "id": ids["Group"] }), &["acme.person", "acme group"]),
        screen("mapping-editor", &none, &["acme group", "Identity provider", "acme source"]),
        screen("health", &none, &["Identity provider", "acme source"]),
        screen("review-queue", &none, &["acme.by.hand", "Identity provider"]),
        screen("audit", &none, &["Identity provider", "acme.person", "acme group"]),
        screen("access-report", &none, &["acme.person", "acme group"]),
        screen("rotation", &connection, &["Identity provider"]),
        screen("delete-all", &none, &["Identity provider"]),
        screen("keys", &none, &["IAM_READ", "acme.person"]),
        screen("runs-and-findings", &none, &["acme source", "Identity provider", "acme.missing"]),
    ]
}

/// All texts in an answer.
fn collect_texts<'a>(value: &'a Value, texts: &mut BTreeSet<&'a str>) {
    match value {
        Value::String(text) => {
            texts.insert(text);
        }
        Value::Array(items) => items.iter().for_each(|item| collect_texts(item, texts)),
        Value::Object(members) => members.values().for_each(|it| collect_texts(it, texts)),
        _ => {}
    }
}

#[tokio::test]
async fn screens_are_one_cheap_query() {
    let world = World::new().await;
    let ids = walk::furnish(&world.acme, "acme").await;
    let owned = "UPDATE api_key SET owner_subject = NULL, owner_user_id = \
                 (SELECT id FROM \"user\" WHERE user_name = 'acme.person')";
    world.execute(owned, []).await;
    world.sealed().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples/screens");
    let screens = all_screens(&ids);
    let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
    let files: BTreeSet<_> = files.map(|name| name.into_string().unwrap()).collect();
    let listed = screens.iter().map(|screen| format!("{}.graphql", screen.file));
    assert_eq!(files, listed.collect(), "each screen is tested");
    let mut faults = Vec::new();
    for Screen { file, variables, shows } in screens {
        let query = std::fs::read_to_string(folder.join(format!("{file}.graphql"))).unwrap();
        let answer = world.graphql(&query, variables).await;
        if !answer["errors"].is_null() {
            faults.push(format!("{file}: {:#}", answer["errors"]));
            continue;
        }
        let cost = answer["extensions"]["cost"]["requested"].as_i64().unwrap();
        if cost >= MAX_COST {
            faults.push(format!("{file}: costs {cost}"));
        }
        let mut texts = BTreeSet::new();
        collect_texts(&answer["data"], &mut texts);
        let missing: Vec<_> = shows.iter().filter(|name| !texts.contains(**name)).collect();
        if !missing.is_empty() {
            faults.push(format!("{file}: does not show {missing:?}: {:#}", answer["data"]));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    world.end().await;
}
