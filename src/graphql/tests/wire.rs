//! The transports: authentication, what is accepted, what is refused, and the responses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, StatusCode};
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use tower::ServiceExt;
use uuid::Uuid;

use super::{configured, crowd, id, open, person, server};
use crate::auth::policy::{Actor, Permission, Permissions};
use crate::config::GraphqlSettings;
use crate::context::local_issuer;
use crate::domain::tenant::lifecycle;
use crate::graphql::relay;
use crate::graphql::relay::NodeKind;

#[test]
fn ids_are_opaque_and_only_ours() {
    let own = Uuid::now_v7();
    let user = relay::global_id(NodeKind::User, own);
    assert_eq!(relay::parse_global_id(&user), Some((NodeKind::User, own)));
    assert_eq!(relay::parse_id_of_kind(NodeKind::Group, &user), None);
    for foreign in
        ["", "User", "VXNlcg", &own.to_string(), &format!("{}=", user.0), "VXNlcjp4", "💥"]
    {
        assert_eq!(relay::parse_global_id(&foreign.into()), None, "{foreign}");
    }
}

fn claims(organizations: &[(&str, &[Permission])]) -> local_issuer::IssuerClaims {
    let organizations: BTreeMap<String, Permissions> = organizations
        .iter()
        .map(|(slug, held)| ((*slug).into(), held.iter().copied().collect()))
        .collect();
    local_issuer::IssuerClaims {
        subject: "u-1".into(),
        name: "Ada".into(),
        organizations,
        permissions: Permissions::new(),
        until: None,
    }
}

#[tokio::test]
async fn a_person_enters_the_organization_that_the_token_names() {
    let server = server().await;
    lifecycle::create_organization(&server.app, Actor::System, ("other", "Other"), "first", 30)
        .await
        .unwrap();
    let hour = chrono::Duration::hours(1);
    let query = "{ viewer { kind name permissions organizations { slug permissions } } \
                 organization { slug } }";
    let one =
        local_issuer::issue_token(&server.app, &claims(&[("acme", &[Permission::IamRead])]), hour)
            .unwrap();
    let reply = server.ask_as(&one, query, json!({})).await;
    let held = json!([{ "slug": "acme", "permissions": ["IAM_READ"] }]);
    let viewer = json!({
        "kind": "PERSON", "name": "Ada", "permissions": ["IAM_READ"], "organizations": held,
    });
    assert_eq!(reply.body["data"], json!({ "viewer": viewer, "organization": { "slug": "acme" } }));

    let two = claims(&[("acme", &[]), ("other", &[Permission::IamRead, Permission::AccessWrite])]);
    let two = local_issuer::issue_token(&server.app, &two, hour).unwrap();
    let reply = server.ask_as(&two, "{ organization { slug } }", json!({})).await;
    assert_eq!(reply.code(), "BAD_USER_INPUT");
    assert!(reply.at("/errors/0/message").as_str().unwrap().contains("acme, other"));
    let write = r#"mutation { roleCreate(input: { name: "x" }) { role { id } } }"#;
    assert_eq!(server.ask_as(&two, write, json!({})).await.code(), "BAD_USER_INPUT");
    for (slug, code) in [("other", ""), ("nowhere", "NOT_FOUND")] {
        let body = json!({ "query": "{ organization { slug roles(first: 1) { totalCount } } }" })
            .to_string();
        let request =
            server.post(&two).header("rolecall-organization", slug).body(body.into()).unwrap();
        let reply = server.send(request).await;
        assert_eq!(reply.code(), code, "{slug}: {}", reply.body);
    }
}

#[tokio::test]
async fn only_a_good_credential_opens_the_door() {
    let server = server().await;
    let hour = chrono::Duration::hours(1);
    let good = local_issuer::issue_token(&server.app, &claims(&[("acme", &[])]), hour).unwrap();
    let (head, rest) = good.split_once('.').unwrap();
    let (body, signature) = rest.split_once('.').unwrap();
    // {"alg":"none"} and {"alg":"HS256"}
    let unsigned = format!("eyJhbGciOiJub25lIn0.{body}.");
    let confused = format!("eyJhbGciOiJIUzI1NiJ9.{body}.{signature}");
    let altered = format!("{head}.{body}A.{signature}");
    let elsewhere =
        local_issuer::issue_token(&super::server().await.app, &claims(&[("acme", &[])]), hour)
            .unwrap();
    let credentials =
        ["", "x", "rck_nope", "a.b.c", &unsigned, &confused, &altered, &elsewhere, "rcs_nope"];
    for credential in credentials {
        let reply = server.ask_as(credential, "{ viewer { name } }", json!({})).await;
        assert_eq!(
            (reply.status, reply.code()),
            (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"),
            "{credential}"
        );
        assert!(reply.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
        assert_eq!(reply.at("/data"), &Value::Null);
    }
    let reply = server.send(Request::post("/graphql").body(Body::from("{}")).unwrap()).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert_eq!(server.ask_as(&good, "{ viewer { name } }", json!({})).await.status, StatusCode::OK);
    server.app.clock.advance(Duration::from_secs(3600 + 20));
    assert_eq!(server.ask_as(&good, "{ viewer { name } }", json!({})).await.status, StatusCode::OK);
    server.app.clock.advance(Duration::from_secs(41));
    assert_eq!(
        server.ask_as(&good, "{ viewer { name } }", json!({})).await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn the_wire_is_graphql_over_http() {
    let server = server().await;
    let send = async |method: &str, uri: &str, headers: &[(&str, &str)], body: &str| {
        let mut request = Request::builder().method(method).uri(uri);
        request = request.header("authorization", format!("bEARER {}", server.key));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        server.send(request.body(Body::from(body.to_owned())).unwrap()).await
    };
    const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");
    const MODERN: (&str, &str) =
        ("accept", "application/graphql-response+json, application/json;q=0.5");
    const PLAIN: (&str, &str) = ("accept", "application/json");
    let query =
        r#"{"query":"{ viewer { name } }","variables":null,"operationName":null,"extensions":{}}"#;

    let reply = send("POST", "/graphql", &[JSON, MODERN], query).await;
    assert_eq!(reply.headers["content-type"], "application/graphql-response+json; charset=utf-8");
    assert_eq!(reply.at("/data/viewer/name"), "all");
    assert!(reply.at("/extensions/cost/requested").as_u64().unwrap() > 0);
    for accept in [&[JSON][..], &[JSON, ("accept", "*/*")], &[JSON, PLAIN]] {
        let reply = send("POST", "/graphql", accept, query).await;
        assert_eq!(reply.headers["content-type"], "application/json; charset=utf-8");
    }
    for (accept, expected) in [
        ("text/csv", None),
        ("text/csv, */*;q=0.1", Some("application/json")),
        ("application/*", Some("application/json")),
        ("application/json;q=0", None),
        ("application/json;q=0, */*", Some("application/graphql-response+json")),
        ("application/json;q=0.4, application/*;q=0.5", Some("application/graphql-response+json")),
        ("APPLICATION/JSON;Q=1", Some("application/json")),
        ("not a media type", Some("application/json")),
    ] {
        let reply = send("POST", "/graphql", &[JSON, ("accept", accept)], query).await;
        match expected {
            None => assert_eq!(reply.status, StatusCode::NOT_ACCEPTABLE, "{accept}"),
            Some(expected) => {
                let content_type = reply.headers["content-type"].to_str().unwrap();
                assert_eq!(content_type, format!("{expected}; charset=utf-8"), "{accept}");
            }
        }
    }
    for content_type in
        ["text/plain", "multipart/form-data; boundary=x", "application/json; charset=latin1"]
    {
        let reply = send("POST", "/graphql", &[("content-type", content_type)], query).await;
        assert_eq!(reply.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type}");
    }
    assert_eq!(
        send("POST", "/graphql", &[], query).await.status,
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    );

    for (body, code) in [
        (r#"{"query":"{ nope"}"#, "GRAPHQL_PARSE_FAILED"),
        (r#"{"query":"{ nope }"}"#, "GRAPHQL_VALIDATION_FAILED"),
        (r#"{"query":"query($id: ID!) { node(id: $id) { id } }"}"#, "GRAPHQL_VALIDATION_FAILED"),
        (
            r#"{"query":"query($id: ID!) { node(id: $id) { id } }","variables":{"id":{"a":1}}}"#,
            "GRAPHQL_VALIDATION_FAILED",
        ),
        (
            r#"{"query":"query a { viewer { name } } query b { viewer { name } }"}"#,
            "GRAPHQL_VALIDATION_FAILED",
        ),
        (
            r#"{"query":"query a { viewer { name } }","operationName":"b"}"#,
            "GRAPHQL_VALIDATION_FAILED",
        ),
    ] {
        let modern = send("POST", "/graphql", &[JSON, MODERN], body).await;
        assert_eq!(
            (modern.status, modern.code()),
            (StatusCode::BAD_REQUEST, code),
            "{body}: {}",
            modern.body
        );
        assert!(modern.body.get("data").is_none(), "{body}");
        let plain = send("POST", "/graphql", &[JSON, PLAIN], body).await;
        assert_eq!(plain.status, StatusCode::OK, "{body}");
    }
    for body in [
        "",
        "{",
        "[]",
        "[{}]",
        "7",
        "{}",
        r#"{"query":7}"#,
        r#"{"query":"{a}","variables":"x"}"#,
        r#"{"query":"{a}","operationName":1}"#,
        r#"{"query":"{a}","extensions":"x"}"#,
        r#"{"query":"{a}","variables":{"a":"\u0000"}}"#,
    ] {
        for accept in [MODERN, PLAIN] {
            let reply = send("POST", "/graphql", &[JSON, accept], body).await;
            assert_eq!(
                (reply.status, reply.code()),
                (StatusCode::BAD_REQUEST, "BAD_USER_INPUT"),
                "{body}"
            );
        }
    }
    let reply =
        send("GET", "/graphql?query=%7B%20viewer%20%7B%20name%20%7D%20%7D", &[MODERN], "").await;
    assert_eq!(reply.at("/data/viewer/name"), "all");
    let reply = send(
        "GET",
        "/graphql?query=mutation%7BroleCreate(input:%7Bname:%22x%22%7D)%7Brole%7Bid%7D%7D%7D",
        &[],
        "",
    )
    .await;
    assert_eq!(
        (reply.status, &reply.headers["allow"]),
        (StatusCode::METHOD_NOT_ALLOWED, &"POST".parse().unwrap())
    );
    let reply = send("DELETE", "/graphql", &[], "").await;
    assert_eq!(
        (reply.status, &reply.headers["allow"]),
        (StatusCode::METHOD_NOT_ALLOWED, &"GET, POST".parse().unwrap())
    );

    let large = format!(
        r#"{{"query":"{{ viewer {{ name }} }}","variables":{{"a":"{}"}}}}"#,
        "x".repeat(1 << 20)
    );
    assert_eq!(
        send("POST", "/graphql", &[JSON], &large).await.status,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    let request_id = Uuid::now_v7().to_string();
    let reply = send("POST", "/graphql", &[JSON, ("x-request-id", &request_id)], query).await;
    assert_eq!(reply.headers["x-request-id"], request_id.as_str());
    let page = server
        .send(
            Request::get("/graphql")
                .header("accept", "text/html,*/*;q=0.8")
                .body(Body::empty())
                .unwrap(),
        )
        .await;
    assert!(page.body.as_str().unwrap().contains("<html"));
}

#[tokio::test]
async fn bombs_are_refused_at_once() {
    let statements = Arc::new(AtomicUsize::new(0));
    let server = open(Some(statements.clone())).await;
    let doubling: String = (0..40)
        .map(|n| format!("fragment F{n} on Query {{ ...F{} ...F{} }} ", n + 1, n + 1))
        .collect();
    let chained: String =
        (0..900).map(|n| format!("fragment F{n} on Query {{ ...F{} }} ", n + 1)).collect();
    let list = "organization { connections(first: 100) { nodes { tokens { id } } } }";
    let aliased =
        |count: usize, what: &str| (0..count).map(|n| format!("a{n}: {what} ")).collect::<String>();
    const COMPLEX: &str = "QUERY_TOO_COMPLEX";
    const INVALID: &str = "GRAPHQL_VALIDATION_FAILED";
    let documents = [
        (format!("{}name{}", "{ organization ".repeat(20), "}".repeat(20)), COMPLEX),
        ("{a".repeat(9_000), COMPLEX),
        (format!("{{ node(id: {}1{}) {{ id }} }}", "[".repeat(9_000), "]".repeat(9_000)), COMPLEX),
        (format!("{{ {} }}", aliased(60, "viewer { name }")), COMPLEX),
        (format!("{{ viewer {{ {} }} }}", aliased(60, "name")), COMPLEX),
        (format!("{{ viewer {{ {} }} }}", aliased(4_000, "name")), COMPLEX),
        (format!("{{ {} }}", "viewer { name } ".repeat(21)), COMPLEX),
        (format!("{{ viewer {{ {} }} }}", "name ".repeat(11_000)), COMPLEX),
        (format!("{{ viewer {{ name {} }} }}", "@include(if: true) ".repeat(60)), COMPLEX),
        (format!("{{ viewer {{ name {} }} }}", "@include(if: true) ".repeat(3_000)), COMPLEX),
        (format!("{{ viewer {{ name {} }} }}", "@x ".repeat(20_000)), COMPLEX),
        (format!("{{ ...F0 }} {doubling} fragment F40 on Query {{ viewer {{ name }} }}"), COMPLEX),
        (format!("{{ viewer {{ name }} }} {doubling} fragment F40 on Query {{ viewer {{ name }} \
                  }}"), INVALID),
        (format!("{{ ...F0 }} {doubling}"), INVALID),
        (format!("{{ ...F0 }} {chained} fragment F900 on Query {{ viewer {{ name }} }}"), COMPLEX),
        ("{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }".into(), INVALID),
        ("{ ...A } fragment A on Query { ... { viewer { ...B } } } fragment B on Viewer { ...A \
          }".into(), INVALID),
        ("{ organization { groups(first: 100) { nodes { members(first: 100) { nodes { ... on User \
          { id } } } } } } }".into(), COMPLEX),
        ("{ organization { groups { nodes { members { nodes { ... on User { id } } } } } } \
          }".into(), COMPLEX),
        ("{ organization { groups(first: 2147483647) { nodes { members(first: 2147483647) { nodes \
          { ... on User { id } } } } } } }".into(), COMPLEX),
        ("{ organization { users(first: 2147483647) { nodes { id } } } }".into(), "BAD_USER_INPUT"),
        ("{ organization { users(first: 99999999999999999999) { nodes { id } } } \
          }".into(), INVALID),
        ("{ __schema { types { fields { type { fields { type { fields { name } } } } } } } \
          }".into(), COMPLEX),
        (format!("{{ {} }}", aliased(40, "__schema { types { fields { args { name } type { ofType \
            { name } } } } }")), COMPLEX),
        (format!("{{ {list} }} #{}", "x".repeat(70_000)), COMPLEX),
        (format!("{{ {} }}", "nope ".repeat(3_000)), COMPLEX),
    ];
    let mut bombs: Vec<_> = documents
        .into_iter()
        .map(|(query, code)| (json!({ "query": query }).to_string(), code))
        .collect();
    let batch = vec![json!({ "query": "{ viewer { name } }" }); 10_000];
    bombs.push((json!(batch).to_string(), "BAD_USER_INPUT"));
    bombs.push(("[".repeat(500_000), "BAD_USER_INPUT"));
    bombs.push((
        json!({ "query": "{ viewer { name } }", "variables": { "a": "x".repeat(2_000_000) } })
            .to_string(),
        "BAD_USER_INPUT",
    ));
    let ids = json!({ "query": "query($i: [ID!]!) { nodes(ids: $i) { id } \
                                }", "variables": { "i": vec!["VXNlcjp4"; 20_000] } });
    bombs.push((ids.to_string(), COMPLEX));
    for (bomb, code) in bombs {
        let shown: String = bomb.chars().take(120).collect();
        // The machine may be busy with something else; a document that gets past the limits is slow
        // every time.
        let mut best = Duration::MAX;
        for _ in 0..5 {
            let before = statements.load(Ordering::Relaxed);
            let begun = Instant::now();
            let reply =
                server.send(server.post(&server.key).body(bomb.clone().into()).unwrap()).await;
            best = best.min(begun.elapsed());
            assert_eq!(reply.code(), code, "{shown}: {}", reply.body);
            assert_eq!(
                statements.load(Ordering::Relaxed) - before,
                1,
                "{shown}: only the credential is looked up"
            );
        }
        assert!(best < Duration::from_millis(50), "{shown} took {best:?}");
    }
}

#[tokio::test]
async fn a_caller_who_spends_too_much_waits() {
    let server =
        configured(GraphqlSettings { cost_limit: 100, ..GraphqlSettings::default() }, None).await;
    let query = "{ organization { users(first: 20) { nodes { id } } } }";
    let reply = server.ask(query).await;
    assert_eq!(reply.at("/extensions/cost/requested"), 22);
    assert_eq!(reply.at("/extensions/budget"), &json!({ "perMinute": 100, "remaining": 78 }));
    for _ in 0..3 {
        assert_eq!(server.ask(query).await.status, StatusCode::OK);
    }
    let reply = server.ask(query).await;
    assert_eq!((reply.status, reply.code()), (StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED"));
    let wait = reply.at("/errors/0/extensions/retryAfterSeconds").as_u64().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(reply.headers["retry-after"], wait.to_string().as_str());
    // Another caller has a budget of their own.
    let other = server.key_with(&[Permission::UserRead]).await;
    assert_eq!(server.ask_as(&other, query, json!({})).await.status, StatusCode::OK);
    // A cost above the whole budget is refused, too.
    let dear = "{ organization { users(first: 100) { nodes { id } } } }";
    assert_eq!(server.ask_as(&other, dear, json!({})).await.code(), "RATE_LIMITED");
    let unlimited =
        configured(GraphqlSettings { cost_limit: 0, ..GraphqlSettings::default() }, None).await;
    assert_eq!(unlimited.ask(query).await.at("/extensions/budget"), &Value::Null);
}

#[tokio::test]
async fn the_schema_can_be_kept_from_being_asked_for() {
    let server =
        configured(GraphqlSettings { introspection: false, ..GraphqlSettings::default() }, None)
            .await;
    for query in [
        "{ __schema { types { name } } }",
        "{ __type(name: \"User\") { name } }",
        "{ viewer { name } s: __schema { queryType { name } } }",
        "{ ...A } fragment A on Query { ... { __schema { types { name } } } }",
    ] {
        let reply = server.ask(query).await;
        assert_eq!(
            (reply.status, reply.code()),
            (StatusCode::BAD_REQUEST, "INTROSPECTION_DISABLED"),
            "{query}"
        );
    }
    let data = server.data("{ __typename viewer { __typename name } }", json!({})).await;
    assert_eq!(data["viewer"], json!({ "__typename": "Viewer", "name": "all" }));
}

/// SHA-256 in hexadecimal.
fn sha256(text: &str) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_document_is_sent_once_and_then_named() {
    let server = server().await;
    let send = async |body: Value| {
        server.send(server.post(&server.key).body(body.to_string().into()).unwrap()).await
    };
    let apollo = |hash: &str| json!({ "persistedQuery": { "version": 1, "sha256Hash": hash } });
    let query =
        "query Name($n: String) { viewer { name } organization { user(userName: $n) { id } } }";
    let hash = sha256(query);
    let named = json!({ "extensions": apollo(&hash), "variables": { "n": "x" } });
    let reply = send(named.clone()).await;
    assert_eq!(
        (reply.status, reply.code()),
        (StatusCode::BAD_REQUEST, "PERSISTED_QUERY_NOT_FOUND")
    );
    assert_eq!(
        reply.at("/errors/0/message"),
        "PersistedQueryNotFound",
        "the word that clients wait for"
    );
    let other = json!({ "query": "{ viewer { kind } }", "extensions": apollo(&hash) });
    assert_eq!(send(other).await.code(), "PERSISTED_QUERY_HASH_MISMATCH");
    assert_eq!(
        send(named.clone()).await.code(),
        "PERSISTED_QUERY_NOT_FOUND",
        "no client can register another document"
    );
    let both = json!({ "query": query, "extensions": apollo(&hash) });
    assert_eq!(send(both).await.at("/data/viewer/name"), "all");
    assert_eq!(send(named.clone()).await.at("/data/viewer/name"), "all");
    let upper = json!({ "extensions": apollo(&hash.to_uppercase()) });
    assert_eq!(send(upper).await.at("/data/viewer/name"), "all");
    let appendix = json!({ "documentId": format!("sha256:{hash}") });
    assert_eq!(send(appendix).await.at("/data/viewer/name"), "all");
    let uri = format!(
        "/graphql?extensions={}",
        apollo(&hash).to_string().replace('"', "%22").replace('{', "%7B").replace('}', "%7D")
    );
    let get = Request::get(uri).header("authorization", format!("Bearer {}", server.key));
    assert_eq!(server.send(get.body(Body::empty()).unwrap()).await.at("/data/viewer/name"), "all");
    // The permission is checked each time, not only when the document was first sent.
    let reader = server.key_with(&[]).await;
    let request = server.post(&reader).body(named.to_string().into()).unwrap();
    assert_eq!(server.send(request).await.code(), "FORBIDDEN");
    for extension in
        [json!({ "version": 2, "sha256Hash": hash }), json!({ "version": 1 }), json!(7)]
    {
        let body = json!({ "extensions": { "persistedQuery": extension } });
        assert_eq!(send(body).await.code(), "PERSISTED_QUERY_NOT_SUPPORTED");
    }
    for unknown in ["", "x", "é", &hash[1..]] {
        assert_eq!(
            send(json!({ "extensions": apollo(unknown) })).await.code(),
            "PERSISTED_QUERY_NOT_FOUND"
        );
    }
    // A refused document is not cached, and the cache has a limit.
    let bad = "{ nope";
    let body = json!({ "query": bad, "extensions": apollo(&sha256(bad)) });
    assert_eq!(send(body).await.code(), "GRAPHQL_PARSE_FAILED");
    assert_eq!(
        send(json!({ "extensions": apollo(&sha256(bad)) })).await.code(),
        "PERSISTED_QUERY_NOT_FOUND"
    );
    for n in 0..1_000 {
        let filler = format!("{{ viewer {{ a{n}: name }} }}");
        send(json!({ "query": filler, "extensions": apollo(&sha256(&filler)) })).await;
    }
    assert_eq!(send(named).await.code(), "PERSISTED_QUERY_NOT_FOUND", "the oldest was forgotten");
}

#[tokio::test]
async fn a_list_of_operations_leaves_no_others() {
    let listed = "query Name { viewer { name } }";
    let server = configured(
        GraphqlSettings { operations: Some(vec![listed.into()]), ..GraphqlSettings::default() },
        None,
    )
    .await;
    let send = async |body: Value| {
        server.send(server.post(&server.key).body(body.to_string().into()).unwrap()).await
    };
    let hash = json!({ "persistedQuery": { "version": 1, "sha256Hash": sha256(listed) } });
    assert_eq!(send(json!({ "extensions": hash })).await.at("/data/viewer/name"), "all");
    assert_eq!(send(json!({ "query": listed })).await.at("/data/viewer/name"), "all");
    for other in [
        "{ viewer { name } }",
        "query Name { viewer { name } } ",
        "{ __schema { queryType { name } } }",
        "{",
    ] {
        let reply = send(json!({ "query": other })).await;
        assert_eq!(
            (reply.status, reply.code()),
            (StatusCode::BAD_REQUEST, "OPERATION_NOT_ALLOWED"),
            "{other}"
        );
        let hash = json!({ "persistedQuery": { "version": 1, "sha256Hash": sha256(other) } });
        assert_eq!(
            send(json!({ "query": other, "extensions": hash })).await.code(),
            "OPERATION_NOT_ALLOWED"
        );
        assert_eq!(send(json!({ "extensions": hash })).await.code(), "PERSISTED_QUERY_NOT_FOUND");
    }
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere() {
    let server = server().await;
    let get = async |uri: &str| {
        let request =
            Request::get(uri).header("accept", "text/html,*/*;q=0.8").body(Body::empty()).unwrap();
        server.router.clone().oneshot(request).await.unwrap()
    };
    let page = get("/graphql").await;
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    for source in policy.split([';', ' ']).filter(|word| !word.is_empty() && !word.contains('-')) {
        assert!(["'none'", "'self'", "data:"].contains(&source), "{source}");
    }
    let page = axum::body::to_bytes(page.into_body(), 1 << 20).await.unwrap();
    let page = std::str::from_utf8(&page).unwrap();
    assert!(!page.contains("//") && !page.contains("<script>"), "{page}");
    let files =
        page.split(['"', '\'']).filter(|word| word.starts_with("graphql/")).collect::<Vec<_>>();
    assert_eq!(files.len(), 6, "{files:?}");
    let mut size = 0;
    for file in files {
        let asset = get(&format!("/{file}")).await;
        assert_eq!(asset.status(), StatusCode::OK, "{file}");
        let media = if file.ends_with(".css") { "text/css" } else { "text/javascript" };
        assert!(asset.headers()["content-type"].to_str().unwrap().starts_with(media), "{file}");
        assert_eq!(asset.headers()["x-content-type-options"], "nosniff");
        let compressed = asset.headers().contains_key("content-encoding");
        let bytes = axum::body::to_bytes(asset.into_body(), 1 << 20).await.unwrap();
        size += bytes.len();
        assert!(compressed || !std::str::from_utf8(&bytes).unwrap().contains("://"), "{file}");
    }
    assert!(size < 1024 * 1024, "{size}");
    assert_eq!(get("/graphql/assets/other.js").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn cost_follows_the_rows_that_are_asked_for() {
    let server = server().await;
    let cost = async |query: &str, variables: Value| {
        let reply = server.ask_as(&server.key, query, variables).await;
        reply.at("/extensions/cost/requested").as_u64().unwrap_or_else(|| panic!("{}", reply.body))
    };
    assert_eq!(cost("{ viewer { name } }", json!({})).await, 1);
    assert_eq!(cost("{ organization { users(first: 10) { nodes { id } } } }", json!({})).await, 12);
    assert_eq!(
        cost(
            "{ organization { users(first: 10) { edges { node { id } } totalCount } } }",
            json!({})
        )
        .await,
        22
    );
    let query = "query($n: Int) { organization { users(first: $n) { ...Rows } } } fragment Rows \
                 on UserConnection { nodes { id } }";
    assert_eq!(cost(query, json!({ "n": 3 })).await, 5);
    assert_eq!(cost(query, json!({ "n": -3 })).await, 102);
    assert_eq!(cost(query, json!({})).await, 102);
    assert_eq!(
        cost("query($i: [ID!]!) { nodes(ids: $i) { id } }", json!({ "i": ["a", "b"] })).await,
        2
    );
    let events = "{ organization { scim { recentActivity(first: 5) { action at } } } }";
    assert_eq!(cost(events, json!({})).await, 7);
    // The example of docs/graphql/cost.md.
    let page = include_str!("../../../docs/graphql/cost.md");
    let (_, example) = page.split_once("```graphql").unwrap();
    let (example, told) = example.split_once("```").unwrap();
    let requested = cost(example, json!({})).await;
    assert!(told.contains(&format!("It costs {requested}.")), "{requested}");
    // What another operation in the document would cost does not matter.
    let dear = "groups(first: 100) { nodes { members(first: 100) { nodes { id } } } }";
    let two = format!("query a {{ viewer {{ name }} }} query b {{ organization {{ {dear} }} }}");
    let body = json!({ "query": two, "operationName": "a" }).to_string();
    let reply = server.send(server.post(&server.key).body(body.into()).unwrap()).await;
    assert_eq!(reply.at("/extensions/cost/requested"), 1);
    let body = json!({ "query": two, "operationName": "b" }).to_string();
    let reply = server.send(server.post(&server.key).body(body.into()).unwrap()).await;
    assert_eq!(reply.code(), "QUERY_TOO_COMPLEX");
}

#[tokio::test]
async fn introspection_by_the_tools_works() {
    let server = server().await;
    let types = "fragment T on __Type { kind name ofType { kind name ofType { kind name ofType { \
                 kind name ofType { kind name } } } } }";
    let query = format!(
        "query {{ __schema {{ queryType {{ name }} mutationType {{ name }} types {{ kind name \
         description
          fields(includeDeprecated: true) {{ name description args {{ name type {{ ...T }} \
          defaultValue }} type {{ ...T }} }}
          inputFields {{ name type {{ ...T }} }} interfaces {{ ...T }} enumValues {{ name }} \
          possibleTypes {{ ...T }} }}
          directives {{ name locations args {{ name type {{ ...T }} }} }} }} }} {types}"
    );
    let data = server.data(&query, json!({})).await;
    let names: Vec<_> = data["__schema"]["types"]
        .as_array()
        .unwrap()
        .iter()
        .map(|ty| ty["name"].as_str().unwrap())
        .collect();
    assert!(names.contains(&"IdentitySourceConnection") && names.contains(&"Permission"));
}

#[tokio::test]
async fn faults_inside_stay_inside() {
    let server = server().await;
    person(&server.cx, "ada").await;
    let damage = r#"UPDATE "user" SET document = 'not JSON'"#;
    server.app.store.write.execute_unprepared(damage).await.unwrap();
    let reply = server.ask("{ organization { slug users(first: 1) { nodes { title } } } }").await;
    assert_eq!((reply.status, reply.code()), (StatusCode::OK, "INTERNAL"));
    assert_eq!(
        reply.at("/data"),
        &json!({ "organization": { "slug": "acme", "users": { "nodes": [{ "title": null }] } } })
    );
    assert_eq!(reply.at("/errors/0/message"), "internal error");
    assert_eq!(
        reply.at("/errors/0/extensions/requestId"),
        reply.headers["x-request-id"].to_str().unwrap()
    );
}

#[tokio::test]
async fn a_mutation_is_written_once_for_each_time_it_shall_run() {
    let server = server().await;
    let create = r#"roleCreate(input: { name: "Nurse" }) { role { name } }"#;
    for twice in [
        format!("mutation {{ {create} {create} }}"),
        format!("mutation {{ {create} ...Again }} fragment Again on Mutation {{ {create} }}"),
        format!(
            "mutation {{ ...Again ... {{ ...Again }} }} fragment Again on Mutation {{ {create} }}"
        ),
    ] {
        let reply = server.ask(&twice.replace("\"Nurse\"", &format!("\"{}\"", twice.len()))).await;
        assert_eq!(reply.status, StatusCode::OK, "{twice}");
        assert!(reply.at("/data/roleCreate/role/name").is_string(), "{}", reply.body);
    }
    // Each document selects one mutation, though it says so twice.
    let count = "{ organization { roles(first: 1) { totalCount } } }";
    assert_eq!(server.data(count, json!({})).await["organization"]["roles"]["totalCount"], 3);
    let conflict = r#"mutation { roleCreate(input: { name: "A" }) { role { id } } roleCreate(input: { name: "B" }) { role { id } } }"#;
    assert_eq!(server.ask(conflict).await.code(), "GRAPHQL_VALIDATION_FAILED");
    server
        .data(
            &format!(r#"mutation {{ a: {create} b: roleCreate(input: {{ name: "Cook" }}) {{ role {{ id }} }} }}"#),
            json!({}),
        )
        .await;
    assert_eq!(server.data(count, json!({})).await["organization"]["roles"]["totalCount"], 5);
}

/// The document as Apollo Client sends it: with `__typename` in each selection set but the root's.
fn with_typenames(text: &str) -> String {
    let mut shown = String::new();
    let mut depth = 0;
    let mut in_arguments = 0;
    for letter in text.chars() {
        match letter {
            '(' => in_arguments += 1,
            ')' => in_arguments -= 1,
            _ => {}
        }
        if in_arguments == 0 && letter == '{' {
            depth += 1;
        }
        if in_arguments == 0 && letter == '}' {
            if depth > 1 {
                shown.push_str(" __typename ");
            }
            depth -= 1;
        }
        shown.push(letter);
    }
    shown
}

#[tokio::test]
async fn added_typenames_change_no_verdict() {
    let server = server().await;
    let fields = |count: usize| "name ".repeat(count);
    let pages = |first: u32| {
        format!(
            "{{ organization {{ groups(first: {first}) {{ nodes {{ members(first: 97) {{ nodes {{ \
             id }} }} }} }} }} }}"
        )
    };
    for (text, code) in [
        (pages(100), ""),
        (pages(101), "BAD_USER_INPUT"),
        (pages(100).replace("97", "100"), "QUERY_TOO_COMPLEX"),
        (format!("{{ viewer {{ {} }} }}", fields(1_995)), ""),
        (format!("{{ viewer {{ {} }} }}", fields(1_996)), "QUERY_TOO_COMPLEX"),
    ] {
        for text in [text.clone(), with_typenames(&text)] {
            let reply = server.ask(&text).await;
            let shown: String = text.chars().take(120).collect();
            assert_eq!(reply.code(), code, "{shown}: {}", reply.at("/errors"));
        }
    }
    let cost = async |text: &str| server.ask(text).await.at("/extensions/cost/requested").clone();
    assert_eq!(cost(&pages(3)).await, cost(&with_typenames(&pages(3))).await);
    // One for each selection set is free, and no more.
    let many = format!("{{ viewer {{ {} }} }}", "__typename ".repeat(2_100));
    assert_eq!(server.ask(&many).await.code(), "QUERY_TOO_COMPLEX");
}

#[tokio::test]
async fn an_omitted_variable_leaves_the_default() {
    let server = server().await;
    person(&server.cx, "ada").await;
    person(&server.cx, "bob").await;
    let query = "query($direction: OrderDirection, $order: UserOrder, $after: String, \
                 $seconds: Int) { organization { revocationTimes(objectiveSeconds: $seconds) { count } \
                 sorted: users(first: 2, after: $after, orderBy: { field: USER_NAME, direction: $direction }) \
                 { nodes { userName } } \
                 plain: users(first: 2, orderBy: $order) { totalCount } } }";
    let left_out = server.data(query, json!({})).await;
    assert_eq!(
        left_out["organization"]["sorted"]["nodes"],
        json!([{ "userName": "ada" }, { "userName": "bob" }])
    );
    assert_eq!(left_out["organization"]["plain"]["totalCount"], 2);
    let given = server.data(query, json!({ "direction": "DESC", "seconds": 5 })).await;
    assert_eq!(
        given["organization"]["sorted"]["nodes"],
        json!([{ "userName": "bob" }, { "userName": "ada" }])
    );
    // Null is a value, and not the same as leaving it out.
    let reply = server.ask_as(&server.key, query, json!({ "seconds": null })).await;
    assert_eq!(reply.at("/errors/0/path"), &json!(["organization", "revocationTimes"]));
}

#[tokio::test]
async fn errors_name_the_permission_and_the_whole_path() {
    let server = server().await;
    let (ada, bob) = (person(&server.cx, "ada").await, person(&server.cx, "bob").await);
    let ward = crowd(&server.cx, "Ward", &[ada, bob]).await;
    let blind = server.key_with(&[Permission::IamRead]).await;
    let query = "query($ids: [ID!]!) { nodes(ids: $ids) { id ... on Principal { displayName } } \
                 organization { slug users(first: 1) { totalCount } } }";
    let ids = json!({ "ids": [id(NodeKind::Group, ward), id(NodeKind::User, ada)] });
    let reply = server.ask_as(&blind, query, ids).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.at("/data/nodes/0/displayName"), "Ward");
    assert_eq!(
        (reply.at("/data/nodes/1"), reply.at("/data/organization/users")),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(reply.at("/data/organization/slug"), "acme");
    let errors = reply.at("/errors").as_array().unwrap();
    let mut paths: Vec<_> = errors.iter().map(|error| error["path"].clone()).collect();
    paths.sort_by_key(ToString::to_string);
    assert_eq!(paths, [json!(["nodes", 1]), json!(["organization", "users"])]);
    for error in errors {
        let expected = json!({ "code": "FORBIDDEN", "permission": "USER_READ" });
        assert_eq!(error["extensions"], expected, "{error}");
    }
    // In a list of a page, the error names the row.
    let query = "{ organization { users(first: 2) { nodes { userName groups(first: 1) { nodes { displayName } } } } } }";
    let reader = server.key_with(&[Permission::UserRead]).await;
    let reply = server.ask_as(&reader, query, json!({})).await;
    let errors = reply.at("/errors").as_array().unwrap();
    let expected = json!(["organization", "users", "nodes", 1, "groups"]);
    assert!(errors.iter().any(|error| error["path"] == expected), "{errors:?}");
}
