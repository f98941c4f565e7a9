//! The SCIM tokens of a connection, which are few and have no pages: their filter and their order.

use serde_json::{Value, json};

use super::Lists;
use crate::walk::codes;
use crate::world::World;

async fn tokens(world: &World, arguments: &str) -> Vec<Value> {
    let query = format!(
        "{{ organization {{ connections(first: 1) {{ nodes {{ tokens{arguments} {{
           id live scopes expiresAt lastUsedAt revokedAt }} }} }} }} }}"
    );
    let answer = world.graphql(&query, json!({})).await;
    assert_eq!(codes(&answer), Vec::<&str>::new(), "{query}: {answer:#}");
    let list = &answer["data"]["organization"]["connections"]["nodes"][0]["tokens"];
    list.as_array().unwrap().clone()
}

/// A filter's field, the filter as text, and which tokens it lets through.
type FilterCase = (&'static str, &'static str, fn(&Value) -> bool);

/// What keeps a token in the list, for each field of the filter.
const CASES: &[FilterCase] = &[
    ("live", "live: true", |token| token["live"] == true),
    ("live", "live: false", |token| token["live"] == false),
    ("scopes", "scopes: [USERS_WRITE]", |token| token.to_string().contains("USERS_WRITE")),
    ("expiresBefore", "expiresBefore: \"{soon}\"", |token| token["expiresAt"].is_string()),
    ("usedSince", "usedSince: \"{past}\"", |token| token["lastUsedAt"].is_string()),
];

#[tokio::test(flavor = "multi_thread")]
async fn tokens_have_filter_and_order() {
    let world = World::new().await;
    world.scim().user("ada").await;
    let connection = "{ organization { connections(first: 1) { nodes { id } } } }";
    let connection = world.graphql(connection, json!({})).await;
    let connection = &connection["data"]["organization"]["connections"]["nodes"][0]["id"];
    let issue = "mutation($c: ID!, $s: [ScimScope!], $e: DateTime) { scimTokenIssue(input: {
        connectionId: $c, scopes: $s, expiresAt: $e }) { scimToken { id } } }";
    let now = world.app.clock.now();
    let end = |days| (now + chrono::Duration::days(days)).to_rfc3339();
    for (scopes, expires) in [
        (json!(["USERS_READ"]), json!(end(2))),
        (json!(["USERS_READ", "GROUPS_READ"]), json!(end(1))),
        (json!(["USERS_READ"]), Value::Null),
    ] {
        let input = json!({ "c": connection, "s": scopes, "e": expires });
        assert_eq!(codes(&world.graphql(issue, input).await), Vec::<&str>::new());
    }
    let newest = tokens(&world, "").await[0]["id"].clone();
    let revoke = "mutation($t: ID!) { scimTokenRevoke(input: { id: $t }) { scimToken { id } } }";
    world.graphql(revoke, json!({ "t": newest })).await;
    let started = std::time::Instant::now();
    while tokens(&world, "").await.iter().all(|token| token["lastUsedAt"].is_null()) {
        assert!(started.elapsed().as_secs() < 20, "the use is not written");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }

    let all = tokens(&world, "").await;
    assert_eq!(all.len(), 4);
    let (soon, past) = (end(3), end(-1));
    for (_, filter, keep) in CASES {
        let filter = filter.replace("{soon}", &soon).replace("{past}", &past);
        let found = tokens(&world, &format!("(filter: {{ {filter} }})")).await;
        let wanted: Vec<Value> = all.iter().filter(|token| keep(token)).cloned().collect();
        assert!(!wanted.is_empty() && wanted.len() < all.len(), "{filter}: {wanted:?}");
        assert_eq!(found, wanted, "{filter}");
    }
    let schema = Lists::read();
    let cases: Vec<&str> = CASES.iter().map(|(field, ..)| *field).collect();
    for field in schema.fields_of("ScimTokenFilter") {
        assert!(cases.contains(&field.as_str()), "no case for ScimTokenFilter.{field}");
    }
    for field in schema.values_of("ScimTokenOrder") {
        let by =
            |direction: &str| format!("(orderBy: {{ field: {field}, direction: {direction} }})");
        let up = tokens(&world, &by("ASC")).await;
        let mut down = tokens(&world, &by("DESC")).await;
        down.reverse();
        assert_eq!(up, down, "{field}");
        assert_eq!(up.len(), 4, "{field}");
    }
    let by_end = tokens(&world, "(orderBy: { field: EXPIRES_AT })").await;
    let ends: Vec<bool> = by_end.iter().map(|token| token["expiresAt"].is_string()).collect();
    assert_eq!(ends, [true, true, false, false], "those without an end come last");
    assert!(by_end[0]["expiresAt"].as_str() < by_end[1]["expiresAt"].as_str());
    world.end().await;
}
