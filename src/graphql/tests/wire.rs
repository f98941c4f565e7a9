//! The wire: who is let in, what is understood, what is refused, and how that is told.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, StatusCode};
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{person, server};
use crate::authz::{Actor, Permission, Permissions};
use crate::domain::organization;
use crate::graphql::page::{self, Kind};
use crate::jwt;

#[test]
fn ids_are_opaque_and_only_ours() {
    let own = Uuid::now_v7();
    let user = page::global(Kind::User, own);
    assert_eq!(page::parse(&user), Some((Kind::User, own)));
    assert_eq!(page::id_of(Kind::Group, &user), None);
    for foreign in ["", "User", "VXNlcg", &own.to_string(), &format!("{}=", user.0), "VXNlcjp4", "💥"] {
        assert_eq!(page::parse(&foreign.into()), None, "{foreign}");
    }
}

fn claims(organizations: &[(&str, &[Permission])]) -> jwt::Claims {
    let organizations: BTreeMap<String, Permissions> =
        organizations.iter().map(|(slug, held)| ((*slug).into(), held.iter().copied().collect())).collect();
    jwt::Claims { subject: "u-1".into(), name: "Ada".into(), organizations, permissions: Permissions::new() }
}

#[tokio::test]
async fn a_person_enters_the_organization_that_the_token_names() {
    let server = server().await;
    organization::create(&server.app, Actor::System, "other", "Other").await.unwrap();
    let hour = chrono::Duration::hours(1);
    let query = "{ viewer { kind name permissions organizations { slug permissions } } organization { slug } }";
    let one = jwt::issue(&server.app, &claims(&[("acme", &[Permission::IamRead])]), hour).unwrap();
    let reply = server.ask_as(&one, query, json!({})).await;
    let held = json!([{ "slug": "acme", "permissions": ["IAM_READ"] }]);
    let viewer = json!({ "kind": "PERSON", "name": "Ada", "permissions": ["IAM_READ"], "organizations": held });
    assert_eq!(reply.body["data"], json!({ "viewer": viewer, "organization": { "slug": "acme" } }));

    let two = claims(&[("acme", &[]), ("other", &[Permission::IamRead, Permission::AccessWrite])]);
    let two = jwt::issue(&server.app, &two, hour).unwrap();
    let reply = server.ask_as(&two, "{ organization { slug } }", json!({})).await;
    assert_eq!(reply.code(), "BAD_USER_INPUT");
    assert!(reply.at("/errors/0/message").as_str().unwrap().contains("acme, other"));
    let write = r#"mutation { roleCreate(input: { name: "x" }) { role { id } } }"#;
    assert_eq!(server.ask_as(&two, write, json!({})).await.code(), "BAD_USER_INPUT");
    for (slug, code) in [("other", ""), ("nowhere", "NOT_FOUND")] {
        let body = json!({ "query": "{ organization { slug roles(first: 1) { totalCount } } }" }).to_string();
        let request = server.post(&two).header("rolecall-organization", slug).body(body.into()).unwrap();
        let reply = server.send(request).await;
        assert_eq!(reply.code(), code, "{slug}: {}", reply.body);
    }
}

#[tokio::test]
async fn only_a_good_credential_opens_the_door() {
    let server = server().await;
    let hour = chrono::Duration::hours(1);
    let good = jwt::issue(&server.app, &claims(&[("acme", &[])]), hour).unwrap();
    let (head, rest) = good.split_once('.').unwrap();
    let (body, signature) = rest.split_once('.').unwrap();
    // {"alg":"none"} and {"alg":"HS256"}
    let unsigned = format!("eyJhbGciOiJub25lIn0.{body}.");
    let confused = format!("eyJhbGciOiJIUzI1NiJ9.{body}.{signature}");
    let altered = format!("{head}.{body}A.{signature}");
    let elsewhere = jwt::issue(&super::server().await.app, &claims(&[("acme", &[])]), hour).unwrap();
    let credentials = ["", "x", "rck_nope", "a.b.c", &unsigned, &confused, &altered, &elsewhere, "rcs_nope"];
    for credential in credentials {
        let reply = server.ask_as(credential, "{ viewer { name } }", json!({})).await;
        assert_eq!((reply.status, reply.code()), (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"), "{credential}");
        assert!(reply.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
        assert_eq!(reply.at("/data"), &Value::Null);
    }
    let reply = server.send(Request::post("/graphql").body(Body::from("{}")).unwrap()).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert_eq!(server.ask_as(&good, "{ viewer { name } }", json!({})).await.status, StatusCode::OK);
    server.app.clock.advance(Duration::from_secs(3600 + 20));
    assert_eq!(server.ask_as(&good, "{ viewer { name } }", json!({})).await.status, StatusCode::OK);
    server.app.clock.advance(Duration::from_secs(41));
    assert_eq!(server.ask_as(&good, "{ viewer { name } }", json!({})).await.status, StatusCode::UNAUTHORIZED);
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
    const MODERN: (&str, &str) = ("accept", "application/graphql-response+json, application/json;q=0.5");
    const PLAIN: (&str, &str) = ("accept", "application/json");
    let query = r#"{"query":"{ viewer { name } }","variables":null,"operationName":null,"extensions":{}}"#;

    let reply = send("POST", "/graphql", &[JSON, MODERN], query).await;
    assert_eq!(reply.headers["content-type"], "application/graphql-response+json; charset=utf-8");
    assert_eq!(reply.at("/data/viewer/name"), "all");
    assert!(reply.at("/extensions/cost/requested").as_u64().unwrap() > 0);
    for accept in [&[JSON][..], &[JSON, ("accept", "*/*")], &[JSON, PLAIN]] {
        let reply = send("POST", "/graphql", accept, query).await;
        assert_eq!(reply.headers["content-type"], "application/json; charset=utf-8");
    }
    let reply = send("POST", "/graphql", &[JSON, ("accept", "text/csv")], query).await;
    assert_eq!(reply.status, StatusCode::NOT_ACCEPTABLE);
    for content_type in ["text/plain", "multipart/form-data; boundary=x", "application/json; charset=latin1"] {
        let reply = send("POST", "/graphql", &[("content-type", content_type)], query).await;
        assert_eq!(reply.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type}");
    }
    assert_eq!(send("POST", "/graphql", &[], query).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);

    for (body, code) in [
        (r#"{"query":"{ nope"}"#, "GRAPHQL_PARSE_FAILED"),
        (r#"{"query":"{ nope }"}"#, "GRAPHQL_VALIDATION_FAILED"),
        (r#"{"query":"query($id: ID!) { node(id: $id) { id } }"}"#, "GRAPHQL_VALIDATION_FAILED"),
        (
            r#"{"query":"query($id: ID!) { node(id: $id) { id } }","variables":{"id":{"a":1}}}"#,
            "GRAPHQL_VALIDATION_FAILED",
        ),
        (r#"{"query":"query a { viewer { name } } query b { viewer { name } }"}"#, "GRAPHQL_VALIDATION_FAILED"),
        (r#"{"query":"query a { viewer { name } }","operationName":"b"}"#, "GRAPHQL_VALIDATION_FAILED"),
    ] {
        let modern = send("POST", "/graphql", &[JSON, MODERN], body).await;
        assert_eq!((modern.status, modern.code()), (StatusCode::BAD_REQUEST, code), "{body}: {}", modern.body);
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
            assert_eq!((reply.status, reply.code()), (StatusCode::BAD_REQUEST, "BAD_USER_INPUT"), "{body}");
        }
    }
    let reply = send("GET", "/graphql?query=%7B%20viewer%20%7B%20name%20%7D%20%7D", &[MODERN], "").await;
    assert_eq!(reply.at("/data/viewer/name"), "all");
    let reply =
        send("GET", "/graphql?query=mutation%7BroleCreate(input:%7Bname:%22x%22%7D)%7Brole%7Bid%7D%7D%7D", &[], "")
            .await;
    assert_eq!((reply.status, &reply.headers["allow"]), (StatusCode::METHOD_NOT_ALLOWED, &"POST".parse().unwrap()));
    let reply = send("DELETE", "/graphql", &[], "").await;
    assert_eq!(
        (reply.status, &reply.headers["allow"]),
        (StatusCode::METHOD_NOT_ALLOWED, &"GET, POST".parse().unwrap())
    );

    let large = format!(r#"{{"query":"{{ viewer {{ name }} }}","variables":{{"a":"{}"}}}}"#, "x".repeat(1 << 20));
    assert_eq!(send("POST", "/graphql", &[JSON], &large).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let request_id = Uuid::now_v7().to_string();
    let reply = send("POST", "/graphql", &[JSON, ("x-request-id", &request_id)], query).await;
    assert_eq!(reply.headers["x-request-id"], request_id.as_str());
    let page = server
        .send(Request::get("/graphql").header("accept", "text/html,*/*;q=0.8").body(Body::empty()).unwrap())
        .await;
    assert!(page.body.as_str().unwrap().contains("<html"));
}

#[tokio::test]
async fn bombs_are_refused_at_once() {
    let server = server().await;
    let doubling: String =
        (0..40).map(|n| format!("fragment F{n} on Query {{ ...F{} ...F{} }} ", n + 1, n + 1)).collect();
    let chained: String = (0..900).map(|n| format!("fragment F{n} on Query {{ ...F{} }} ", n + 1)).collect();
    let list = "organization { connections(first: 100) { nodes { tokens { id } } } }";
    let bombs = [
        (format!("{}name{}", "{ organization ".repeat(20), "}".repeat(20)), "QUERY_TOO_COMPLEX"),
        ("{a".repeat(9_000), "QUERY_TOO_COMPLEX"),
        (format!("{{ node(id: {}1{}) {{ id }} }}", "[".repeat(9_000), "]".repeat(9_000)), "QUERY_TOO_COMPLEX"),
        (format!("{{ {} }}", (0..60).map(|n| format!("a{n}: viewer {{ name }} ")).collect::<String>()), "QUERY_TOO_COMPLEX"),
        (format!("{{ viewer {{ {} }} }}", (0..60).map(|n| format!("a{n}: name ")).collect::<String>()), "QUERY_TOO_COMPLEX"),
        (format!("{{ {} }}", "viewer { name } ".repeat(21)), "QUERY_TOO_COMPLEX"),
        (format!("{{ viewer {{ name {} }} }}", "@include(if: true) ".repeat(60)), "QUERY_TOO_COMPLEX"),
        (format!("{{ ...F0 }} {doubling} fragment F40 on Query {{ viewer {{ name }} }}"), "QUERY_TOO_COMPLEX"),
        (format!("{{ viewer {{ name }} }} {doubling} fragment F40 on Query {{ viewer {{ name }} }}"), "QUERY_TOO_COMPLEX"),
        (format!("{{ ...F0 }} {doubling}"), "GRAPHQL_VALIDATION_FAILED"),
        (format!("{{ ...F0 }} {chained} fragment F900 on Query {{ viewer {{ name }} }}"), "QUERY_TOO_COMPLEX"),
        ("{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }".into(), "GRAPHQL_VALIDATION_FAILED"),
        ("{ organization { groups(first: 100) { nodes { members(first: 100) { nodes { ... on User { id } } } } } } }".into(),
         "QUERY_TOO_COMPLEX"),
        ("{ organization { groups { nodes { members { nodes { ... on User { id } } } } } } }".into(), "QUERY_TOO_COMPLEX"),
        (format!("{{ {} }}", "__schema { types { fields { type { fields { type { fields { name } } } } } } }"), "QUERY_TOO_COMPLEX"),
        (format!("{{ {list} }} #{}", "x".repeat(70_000)), "QUERY_TOO_COMPLEX"),
        (format!("{{ {} }}", "nope ".repeat(3_000)), "QUERY_TOO_COMPLEX"),
    ];
    for (bomb, code) in bombs {
        let begun = Instant::now();
        let reply = server.ask(&bomb).await;
        let took = begun.elapsed();
        let shown: String = bomb.chars().take(120).collect();
        assert_eq!((reply.status, reply.code()), (StatusCode::BAD_REQUEST, code), "{shown}: {}", reply.body);
        assert!(took < Duration::from_millis(500), "{shown} took {took:?}");
    }
}

#[tokio::test]
async fn cost_follows_the_rows_that_are_asked_for() {
    let server = server().await;
    let cost = async |query: &str, variables: Value| {
        let reply = server.ask_as(&server.key, query, variables).await;
        reply.at("/extensions/cost/requested").as_u64().unwrap_or_else(|| panic!("{}", reply.body))
    };
    assert_eq!(cost("{ viewer { name } }", json!({})).await, 2);
    assert_eq!(cost("{ organization { users(first: 10) { nodes { id } } } }", json!({})).await, 22);
    assert_eq!(cost("{ organization { users(first: 10) { edges { node { id } } totalCount } } }", json!({})).await, 43);
    let query = "query($n: Int) { organization { users(first: $n) { ...Rows } } } fragment Rows on UserConnection { nodes { id } }";
    assert_eq!(cost(query, json!({ "n": 3 })).await, 8);
    assert_eq!(cost(query, json!({ "n": -3 })).await, 202);
    assert_eq!(cost(query, json!({})).await, 202);
    assert_eq!(cost("query($i: [ID!]!) { nodes(ids: $i) { id } }", json!({ "i": ["a", "b"] })).await, 3);
    let events = "{ organization { scim { recentActivity(first: 5) { action at } } } }";
    assert_eq!(cost(events, json!({})).await, 13);
}

#[tokio::test]
async fn introspection_by_the_tools_works() {
    let server = server().await;
    let types = "fragment T on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } }";
    let query = format!(
        "query {{ __schema {{ queryType {{ name }} mutationType {{ name }} types {{ kind name description
          fields(includeDeprecated: true) {{ name description args {{ name type {{ ...T }} defaultValue }} type {{ ...T }} }}
          inputFields {{ name type {{ ...T }} }} interfaces {{ ...T }} enumValues {{ name }} possibleTypes {{ ...T }} }}
          directives {{ name locations args {{ name type {{ ...T }} }} }} }} }} {types}"
    );
    let data = server.data(&query, json!({})).await;
    let names: Vec<_> =
        data["__schema"]["types"].as_array().unwrap().iter().map(|ty| ty["name"].as_str().unwrap()).collect();
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
    assert_eq!(reply.at("/errors/0/extensions/requestId"), reply.headers["x-request-id"].to_str().unwrap());
}

#[tokio::test]
async fn a_mutation_is_written_once_for_each_time_it_shall_run() {
    let server = server().await;
    let create = r#"roleCreate(input: { name: "Nurse" }) { role { name } }"#;
    for twice in [
        format!("mutation {{ {create} {create} }}"),
        format!("mutation {{ {create} ...Again }} fragment Again on Mutation {{ {create} }}"),
        format!("mutation {{ ...Again ... {{ ...Again }} }} fragment Again on Mutation {{ {create} }}"),
    ] {
        let reply = server.ask(&twice).await;
        assert_eq!((reply.status, reply.code()), (StatusCode::BAD_REQUEST, "GRAPHQL_VALIDATION_FAILED"), "{twice}");
    }
    let count = "{ organization { roles(first: 1) { totalCount } } }";
    assert_eq!(server.data(count, json!({})).await["organization"]["roles"]["totalCount"], 0);
    server
        .data(
            &format!(r#"mutation {{ a: {create} b: roleCreate(input: {{ name: "Cook" }}) {{ role {{ id }} }} }}"#),
            json!({}),
        )
        .await;
    assert_eq!(server.data(count, json!({})).await["organization"]["roles"]["totalCount"], 2);
}
