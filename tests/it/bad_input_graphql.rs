//! For any bad input to the management API the answer is a clear GraphQL error, nothing changes,
//! nothing internal is shown, and the server keeps running.

use serde_json::{Value, json};

use crate::sdl::Route;
use crate::walk::{Walk, codes, furnish, has_mistakes};
use crate::world::{Answer, World};

async fn send(world: &World, content_type: &str, body: Vec<u8>) -> Answer {
    let request = world
        .scim()
        .http
        .post(format!("{}/graphql", world.address))
        .bearer_auth(&world.acme.api_key);
    Answer::of(request.header("content-type", content_type).body(body).send().await.unwrap()).await
}

/// A refusal in GraphQL's form: a code and a message, and no internal error.
#[track_caller]
fn check_refusal(what: &str, answer: &Value) {
    let codes = codes(answer);
    assert!(!codes.is_empty(), "{what}: {answer:#}");
    assert!(codes.iter().all(|code| !["none", "INTERNAL"].contains(code)), "{what}: {answer:#}");
    assert!(
        answer["errors"][0]["message"].as_str().is_some_and(|words| words.len() > 8),
        "{what}: {answer:#}"
    );
}

#[tokio::test]
async fn malformed_graphql_request_is_refused() {
    let world = World::new().await;
    furnish(&world.acme, "mine").await;
    let before = world.everything().await;
    let query = |text: &str| json!({ "query": text }).to_string().into_bytes();
    let make = "mutation($n: String!) { roleCreate(input: { name: $n }) { role { id } } }";
    let deep = format!("{{ viewer {}{} }}", "{ viewer ".repeat(20_000), "}".repeat(20_000));
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", b"".into()),
        ("no JSON", b"{".into()),
        ("no object", b"\"{ __typename }\"".into()),
        ("null", b"null".into()),
        ("a batch", b"[{\"query\":\"{ __typename }\"}]".into()),
        ("no query", b"{}".into()),
        ("a query that is a number", b"{\"query\":7}".into()),
        ("an empty query", query("")),
        (
            "variables that are a list",
            json!({ "query": "{ __typename }", "variables": [1] }).to_string().into_bytes(),
        ),
        (
            "an operation that is not there",
            json!({ "query": "{ __typename }", "operationName": "x" }).to_string().into_bytes(),
        ),
        ("invalid UTF-8", b"{\"query\":\"{ \xff }\"}".into()),
        ("100,000 brackets", [b"{\"query\":".as_slice(), &b"[".repeat(100_000)].concat()),
        ("brackets in the query", query(&"{".repeat(100_000))),
        (
            "brackets in a value",
            query(&format!("{{ node(id: {}) {{ id }} }}", "[".repeat(100_000))),
        ),
        ("a deep query", query(&deep)),
        ("a NUL in the query", query("{ viewer\0 { name } }")),
        ("an unknown field", query("{ noSuchThing }")),
        ("no selection", query("{ organization }")),
        ("a missing argument", query("mutation { roleCreate { role { id } } }")),
        ("a missing variable", query(make)),
        (
            "a variable of another type",
            json!({ "query": make, "variables": { "n": 7 } }).to_string().into_bytes(),
        ),
        (
            "a huge number",
            query("{ organization { users(first: 99999999999999999999) { totalCount } } }"),
        ),
        ("a negative page", query("{ organization { users(first: -1) { totalCount } } }")),
        ("a page without a size", query("{ organization { users { totalCount } } }")),
        (
            "a broken cursor",
            query("{ organization { users(first: 1, after: \"%00\") { totalCount } } }"),
        ),
        ("a subscription", query("subscription { x }")),
    ];
    for (what, body) in bodies {
        let answer = send(&world, "application/json", body).await;
        assert!(
            answer.status.is_client_error() || answer.status == 200,
            "{what}: {} {}",
            answer.status,
            answer.body
        );
        check_refusal(what, &answer.body);
        assert!(
            answer.body.to_string().len() < 10_000,
            "{what}: a refusal does not repeat the request"
        );
    }
    let large = query(&format!("{{ viewer {{ name }} }} #{}", "x".repeat(10 * 1024 * 1024)));
    check_refusal("10 MB", &send(&world, "application/json", large).await.is(413).body);
    for media in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/graphql",
    ] {
        check_refusal(media, &send(&world, media, query("{ __typename }")).await.is(415).body);
    }
    for method in ["PUT", "PATCH", "DELETE"] {
        let request = world
            .scim()
            .http
            .request(method.parse().unwrap(), format!("{}/graphql", world.address));
        let answer =
            Answer::of(request.bearer_auth(&world.acme.api_key).body("{}").send().await.unwrap())
                .await;
        check_refusal(method, &answer.is(405).body);
    }
    let change = "mutation%7BroleCreate(input:%7Bname:%22x%22%7D)%7Brole%7Bid%7D%7D%7D";
    let request = world.scim().http.get(format!("{}/graphql?query={change}", world.address));
    let answer = Answer::of(request.bearer_auth(&world.acme.api_key).send().await.unwrap()).await;
    check_refusal("a mutation by GET", &answer.is(405).body);
    assert_eq!(world.everything().await, before);
    world.end().await;
}

#[tokio::test]
async fn mutations_refuse_unstorable_texts() {
    let world = World::new().await;
    let own = furnish(&world.acme, "mine").await;
    let before = world.everything().await;
    let walk = Walk::new(&world.acme, own);
    let mut tried = 0;
    for field in walk.schema.fields("Mutation") {
        for place in walk.schema.places(&field.arguments, &["String", "ID"]) {
            for text in ["nul\0nul".to_owned(), "\0".into(), "x".repeat(100_000)] {
                let (title, value, answer) =
                    walk.call("mutation", &Route::default(), field, &place, &json!(text)).await;
                assert!(
                    codes(&answer).iter().all(|code| *code != "INTERNAL"),
                    "{title}: {answer:#}"
                );
                assert!(value.is_null() || has_mistakes(&value), "{title}: {answer:#}");
                assert_eq!(world.everything().await, before, "{title}");
                tried += 1;
            }
        }
    }
    assert!(tried > 120, "{tried}");
    world.end().await;
}

#[tokio::test]
async fn strange_texts_in_queries_fail_cleanly() {
    let world = World::new().await;
    let own = furnish(&world.acme, "mine").await;
    let walk = Walk::new(&world.acme, own);
    let mut tried = 0;
    for object in walk.schema.readable() {
        for field in walk.schema.fields(object) {
            for place in walk.schema.places(&field.arguments, &["String", "ID"]) {
                let Some(route) = walk.schema.route(object) else { continue };
                for text in ["nul\0nul", "", "%", "' OR 1=1 --", "\u{1F600}", "\\", "VXNlcjp4"] {
                    let (title, _, answer) =
                        walk.call("query", &route, field, &place, &json!(text)).await;
                    assert!(
                        codes(&answer).iter().all(|code| *code != "INTERNAL"),
                        "{title} {text:?}: {answer:#}"
                    );
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 100, "{tried}");
    world.end().await;
}

#[tokio::test]
async fn extreme_numbers_and_dates_fail_cleanly() {
    let world = World::new().await;
    let own = furnish(&world.acme, "mine").await;
    let walk = Walk::new(&world.acme, own);
    let dates = [
        "0001-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "9999-12-31T23:59:59.999999999Z",
        "+262000-01-01T00:00:00Z",
    ];
    let mut calls = 0;
    for field in walk.schema.fields("Mutation") {
        for place in walk.schema.places(&field.arguments, &["Int", "Long"]) {
            for number in [i64::from(i32::MIN), -1, 0, i64::from(i32::MAX), i64::MAX] {
                let (title, _, answer) =
                    walk.call("mutation", &Route::default(), field, &place, &json!(number)).await;
                calls += 1;
                assert!(
                    codes(&answer).iter().all(|code| *code != "INTERNAL"),
                    "{title} {number}: {answer:#}"
                );
            }
        }
        for place in walk.schema.places(&field.arguments, &["DateTime"]) {
            for date in dates {
                let (title, _, answer) =
                    walk.call("mutation", &Route::default(), field, &place, &json!(date)).await;
                calls += 1;
                assert!(
                    codes(&answer).iter().all(|code| *code != "INTERNAL"),
                    "{title} {date}: {answer:#}"
                );
            }
        }
    }
    assert!(calls > 100, "{calls} calls");
    world.end().await;
}

#[tokio::test]
async fn date_without_time_is_refused() {
    let world = World::new().await;
    let own = furnish(&world.acme, "mine").await;
    let before = world.everything().await;
    let walk = Walk::new(&world.acme, own);
    let says_the_form = |title: &str, answer: &Value| {
        let error = &answer["errors"][0];
        assert_eq!(error["extensions"]["code"], "BAD_USER_INPUT", "{title}: {answer:#}");
        assert!(
            error["message"].as_str().unwrap().contains("2026-12-31T00:00:00Z"),
            "{title}: {error}"
        );
    };
    let mut tried = Vec::new();
    for (kind, objects) in
        [("mutation", vec!["Mutation"]), ("query", walk.schema.readable().collect())]
    {
        for object in objects {
            for field in walk.schema.fields(object) {
                for place in walk.schema.places(&field.arguments, &["DateTime"]) {
                    let route = if kind == "query" {
                        walk.schema.route(object)
                    } else {
                        Some(Route::default())
                    };
                    let Some(route) = route else { continue };
                    let (title, _, answer) =
                        walk.call(kind, &route, field, &place, &json!("2026-12-31")).await;
                    says_the_form(&title, &answer);
                    tried.push(title);
                }
            }
        }
    }
    for wanted in [
        "apiKeyIssue: input.expiresAt",
        "roleGrantCreate: input.expiresAt",
        "accessReport: filter.asOf",
    ] {
        assert!(tried.iter().any(|title| title.ends_with(wanted)), "{wanted}: {tried:?}");
    }
    // A date in the document itself is checked before anything runs.
    let make = "mutation { apiKeyIssue(input: { name: \"x\", permissions: [IAM_READ], expiresAt: \"2026-12-31\" }) {
        secret userErrors { message } } }";
    let answer = world.graphql(make, json!({})).await;
    assert!(
        answer["errors"][0]["message"].as_str().unwrap().contains("2026-12-31T00:00:00Z"),
        "{answer:#}"
    );
    assert_eq!(world.everything().await, before);
    world.end().await;
}
