//! Decisions for applications: the core levels of AuthZEN's certification scenario that need no
//! ids of resources, and that a decision is never older than the last answered change.

use std::time::Duration;

use reqwest::Method;
use rolecall::auth::policy::Permission;
use rolecall::context::App;
use rolecall::domain::access::api_key;
use rolecall::server;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{Answer, World};

/// A backend of an application, with a key that opens decisions and nothing else.
struct Backend {
    http: reqwest::Client,
    address: String,
    key: String,
}

impl Backend {
    async fn new(world: &World) -> Self {
        let held = [Permission::DecisionRead].into();
        let key = api_key::issue_key(&world.system(), "backend", held, None).await.unwrap().secret;
        Self { http: reqwest::Client::new(), address: world.address.clone(), key }
    }

    fn request(&self, path: &str) -> reqwest::RequestBuilder {
        self.http.request(Method::POST, format!("{}{path}", self.address)).bearer_auth(&self.key)
    }

    async fn ask(&self, path: &str, body: Value) -> Answer {
        let request = self.request(path).header("content-type", "application/json");
        Answer::of(request.body(body.to_string()).send().await.unwrap()).await
    }

    async fn evaluate(&self, body: Value) -> Value {
        let answer = self.ask("/access/v1/evaluation", body).await.is(200);
        assert_eq!(answer.header("content-type"), "application/json");
        answer.body
    }

    async fn allows(&self, subject: &str, permission: &str) -> bool {
        let (kind, action) = permission.split_once(':').unwrap();
        self.evaluate(question(subject, action, kind)).await["decision"].as_bool().unwrap()
    }

    async fn batch(&self, body: Value) -> Vec<bool> {
        let answer = self.ask("/access/v1/evaluations", body).await.is(200);
        let list = answer.body["evaluations"].as_array();
        let list = list.unwrap_or_else(|| panic!("{:#}", answer.body));
        list.iter().map(|one| one["decision"].as_bool().unwrap()).collect()
    }

    async fn search(&self, what: &str, body: Value) -> Answer {
        self.ask(&format!("/access/v1/search/{what}"), body).await
    }
}

fn question(subject: &str, action: &str, kind: &str) -> Value {
    json!({
        "subject": { "type": "user", "id": subject }, "action": { "name": action },
        "resource": { "type": kind, "id": "record-1" },
    })
}

/// The fixture of the scenario: alice reads and writes records, bob reads them.
async fn fixture(world: &World) -> (Uuid, Uuid) {
    let (alice, bob) = (world.scim().user("alice").await, world.scim().user("bob").await);
    let readers = world.scim().group("Readers", &[alice, bob]).await;
    let reader = new_role(world, "Reader", &["record:read"]).await;
    let writer = new_role(world, "Writer", &["record:write", "charts:read"]).await;
    let map = "mutation($g: ID!, $r: ID!) { roleMappingCreate(input: { groupId: $g, roleId: $r }) \
               { userErrors { message } } }";
    let mapped = world.graphql(map, json!({ "g": readers.to_string(), "r": reader })).await;
    assert_eq!(mapped["data"]["roleMappingCreate"]["userErrors"], json!([]), "{mapped:#}");
    grant(world, alice, &writer).await;
    (alice, bob)
}

async fn new_role(world: &World, name: &str, permissions: &[&str]) -> String {
    let make = "mutation($n: String!, $p: [String!]!) { roleCreate(input: { name: $n, \
                permissions: $p }) { role { id } } }";
    let made = world.graphql(make, json!({ "n": name, "p": permissions })).await;
    made["data"]["roleCreate"]["role"]["id"].as_str().unwrap().to_owned()
}

async fn grant(world: &World, user: Uuid, role: &str) -> String {
    let grant = "mutation($u: ID!, $r: ID!) { roleGrantCreate(input: { userId: $u, roleId: $r }) \
                 { roleGrant { id } } }";
    let made = world.graphql(grant, json!({ "u": user.to_string(), "r": role })).await;
    made["data"]["roleGrantCreate"]["roleGrant"]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn authzen_basic_core_holds() {
    let world = World::new().await;
    fixture(&world).await;
    let backend = Backend::new(&world).await;
    for (subject, action, expected) in
        [("alice", "read", true), ("alice", "write", true), ("bob", "read", true)]
    {
        let answer = backend.evaluate(question(subject, action, "record")).await;
        assert_eq!(answer["decision"], expected, "{subject} {action}");
    }
    let denied = backend.evaluate(question("bob", "write", "record")).await;
    assert_eq!(denied["decision"], false);
    assert_eq!(denied["context"]["reason"], "NOT_GRANTED");
    // What is not known is ignored.
    let mut full = question("alice", "read", "record");
    full["context"] = json!({ "time": "2025-06-27T18:03-07:00", "ip": "192.168.1.1" });
    full["subject"]["properties"] = json!({ "department": "Sales", "role": "manager" });
    full["action"]["properties"] = json!({ "method": "GET" });
    full["resource"]["properties"] = json!({ "status": "active", "owner": "bob" });
    full["foo"] = json!("bar");
    full["futureField"] = json!({ "nested": true });
    for _ in 0..3 {
        assert_eq!(backend.evaluate(full.clone()).await, json!({ "decision": true }));
    }
    // A missing or wrong member is answered with 400 and a text.
    let remove = |entity: &str, member: Option<&str>| {
        let mut body = question("alice", "read", "record");
        match member {
            Some(member) => body[entity].as_object_mut().unwrap().remove(member),
            None => body.as_object_mut().unwrap().remove(entity),
        };
        body
    };
    let mut wrong = vec![remove("subject", None), remove("action", None), remove("resource", None)];
    wrong.extend([remove("subject", Some("type")), remove("subject", Some("id"))]);
    wrong.extend([remove("action", Some("name"))]);
    wrong.extend([remove("resource", Some("type")), remove("resource", Some("id"))]);
    let mut text_subject = question("alice", "read", "record");
    text_subject["subject"] = json!("alice");
    let mut number = question("alice", "read", "record");
    number["action"]["name"] = json!(123);
    wrong.extend([text_subject, number, json!([]), json!("x")]);
    for body in wrong {
        let answer = backend.ask("/access/v1/evaluation", body.clone()).await.is(400);
        assert!(answer.body.as_str().is_some_and(|text| text.len() > 8), "{body}: {answer:?}");
    }
    let body = question("alice", "read", "record").to_string();
    for (media_type, body) in [
        ("text/plain", body.as_str()),
        ("application/scim+json", body.as_str()),
        ("application/json", "{"),
        ("application/json", ""),
    ] {
        let request = backend.request("/access/v1/evaluation").header("content-type", media_type);
        let answer = Answer::of(request.body(body.to_owned()).send().await.unwrap()).await;
        answer.is(400);
    }
    world.end().await;
}

#[tokio::test]
async fn request_id_is_repeated_as_sent() {
    let world = World::new().await;
    fixture(&world).await;
    let backend = Backend::new(&world).await;
    let id = Uuid::now_v7().to_string();
    for sent in [id.as_str(), "any text, 7", "BFE9EB29-AB87-4CA3-BE83-A1D5D8305716"] {
        for (path, status) in [("/access/v1/evaluation", 200), ("/access/v1/nowhere", 404)] {
            let request = backend.request(path).header("content-type", "application/json");
            let request = request.header("x-request-id", sent);
            let body = question("alice", "read", "record").to_string();
            let answer = Answer::of(request.body(body).send().await.unwrap()).await.is(status);
            if status == 200 {
                assert_eq!(answer.header("x-request-id"), sent);
            }
        }
    }
    let answer =
        backend.ask("/access/v1/evaluation", question("alice", "read", "record")).await.is(200);
    assert!(Uuid::try_parse(answer.header("x-request-id")).is_ok());
    world.end().await;
}

#[tokio::test]
async fn authzen_batch_core_holds() {
    let world = World::new().await;
    fixture(&world).await;
    let backend = Backend::new(&world).await;
    let record = |id: &str| json!({ "type": "record", "id": id });
    let (alice, bob) =
        (json!({ "type": "user", "id": "alice" }), json!({ "type": "user", "id": "bob" }));
    let by_resource = json!({
        "subject": alice, "action": { "name": "read" }, "context": { "time": "now" },
        "evaluations": [
            { "resource": record("record-1") },
            { "resource": record("record-2"), "context": { "source": "override" } },
        ],
    });
    assert_eq!(backend.batch(by_resource).await, [true, true]);
    let by_action = json!({
        "subject": bob, "resource": record("record-1"),
        "evaluations": [{ "action": { "name": "read" } }, { "action": { "name": "write" } }],
    });
    assert_eq!(backend.batch(by_action.clone()).await, [true, false]);
    let complete = json!({ "evaluations": [
        question("alice", "read", "record"), question("bob", "write", "record"),
    ] });
    assert_eq!(backend.batch(complete).await, [true, false]);
    // Required members that an entity lacks come from the default one.
    let merged = json!({
        "subject": alice, "action": { "name": "write" }, "resource": { "type": "record" },
        "evaluations": [{ "resource": { "id": "record-1" } }, { "resource": record("record-2") }],
    });
    assert_eq!(backend.batch(merged).await, [true, true]);
    // A mistake in one question is an answer of its own.
    let broken = json!({
        "subject": alice, "action": { "name": "read" },
        "evaluations": [{ "resource": record("record-1") }, {}, 7, { "resource": "x" }],
    });
    let answer = backend.ask("/access/v1/evaluations", broken.clone()).await.is(200).body;
    assert_eq!(backend.batch(broken).await, [true, false, false, false]);
    assert_eq!(answer["evaluations"][1]["context"]["error"]["status"], 400);
    assert!(answer.get("decision").is_none());
    // Without questions of its own it is the single request.
    for evaluations in [None, Some(json!([]))] {
        let mut body = question("alice", "read", "record");
        if let Some(evaluations) = evaluations {
            body["evaluations"] = evaluations;
        }
        let answer = backend.ask("/access/v1/evaluations", body).await.is(200);
        assert_eq!(answer.body, json!({ "decision": true }));
    }
    // Each semantic ends where it says.
    let mut ordered = json!({
        "subject": bob, "resource": record("record-1"),
        "evaluations": [
            { "action": { "name": "read" } }, { "action": { "name": "write" } },
            { "action": { "name": "read" } }, { "action": { "name": "delete" } },
        ],
    });
    for (semantic, expected) in [
        ("execute_all", &[true, false, true, false][..]),
        ("deny_on_first_deny", &[true, false]),
        ("permit_on_first_permit", &[true]),
    ] {
        ordered["options"] = json!({ "evaluations_semantic": semantic, "more": 1 });
        assert_eq!(backend.batch(ordered.clone()).await, expected, "{semantic}");
    }
    ordered["options"] = json!({ "evaluations_semantic": "sometimes" });
    backend.ask("/access/v1/evaluations", ordered).await.is(400);
    let many = json!({ "evaluations": vec![json!({}); 1_001] });
    backend.ask("/access/v1/evaluations", many).await.is(400);
    backend.ask("/access/v1/evaluations", json!({ "evaluations": {} })).await.is(400);
    world.end().await;
}

#[tokio::test]
async fn subject_is_named_in_each_form() {
    let world = World::new().await;
    let (alice, _) = fixture(&world).await;
    let backend = Backend::new(&world).await;
    let global = {
        use base64::Engine;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(format!("User:{alice}"))
    };
    let connection = world.acme.connection;
    let external = format!("{connection}/x-alice");
    for subject in ["alice", "ALICE", &alice.to_string(), &global, &external] {
        assert!(backend.allows(subject, "record:write").await, "{subject}");
        let ask = "query($s: String!) { organization { decision(subject: $s, permission: \
                   \"record:write\") { allowed reason message roles { name } } } }";
        let answer = world.graphql(ask, json!({ "s": subject })).await;
        let decision = &answer["data"]["organization"]["decision"];
        assert_eq!(decision["allowed"], true, "{answer:#}");
        assert_eq!(decision["reason"], "GRANTED");
        assert_eq!(decision["roles"], json!([{ "name": "Writer" }]));
    }
    let mut by_property = question("x-alice", "write", "record");
    by_property["subject"]["properties"] = json!({ "connectionId": connection });
    assert_eq!(backend.evaluate(by_property.clone()).await["decision"], true);
    by_property["subject"]["properties"] = json!({ "connectionId": Uuid::now_v7() });
    assert_eq!(backend.evaluate(by_property).await["decision"], false);
    // Whoever does not exist, here or at all, may do nothing; that is no error.
    let globex = world.second_organization().await;
    let theirs = globex.scim.user("theirs").await;
    let theirs_external = format!("{}/x-theirs", globex.connection);
    let long = "x".repeat(2_000);
    for subject in ["absent", "theirs", &theirs.to_string(), &theirs_external, "a\u{0}b", &long] {
        let answer = backend.evaluate(question(subject, "read", "record")).await;
        assert_eq!(answer["decision"], false, "{subject}");
        assert_eq!(answer["context"]["reason"], "UNKNOWN_SUBJECT", "{subject}");
    }
    for permission in ["record:a\u{0}b", &format!("record:{long}"), "RECORD:write"] {
        assert!(!backend.allows("alice", permission).await);
    }
    let device = json!({
        "subject": { "type": "device", "id": "alice" }, "action": { "name": "read" },
        "resource": { "type": "record", "id": "1" },
    });
    assert_eq!(backend.evaluate(device).await["decision"], false);
    world.end().await;
}

#[tokio::test]
async fn next_decision_sees_each_change() {
    let world = World::new().await;
    let (alice, bob) = fixture(&world).await;
    // A second server on the same database.
    let other = App::open(world.config()).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (here, mut there) = (Backend::new(&world).await, Backend::new(&world).await);
    there.address = format!("http://{}", listener.local_addr().unwrap());
    let router = server::build_router(other.clone());
    let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let both = async |subject: &str, permission: &str, expected: bool| {
        assert_eq!(here.allows(subject, permission).await, expected, "{subject} {permission}");
        assert_eq!(there.allows(subject, permission).await, expected, "{subject} {permission}");
    };
    both("bob", "charts:read", false).await;
    let viewer = new_role(&world, "Viewer", &["charts:read"]).await;
    let granted = grant(&world, bob, &viewer).await;
    both("bob", "charts:read", true).await;
    let remove = "mutation($id: ID!) { roleGrantRemove(input: { id: $id }) { userErrors { \
                  message } } }";
    world.graphql(remove, json!({ "id": granted })).await;
    both("bob", "charts:read", false).await;
    let update = "mutation($id: ID!) { roleUpdate(input: { id: $id, permissions: [\"a:b\"] }) { \
                  userErrors { message } } }";
    grant(&world, bob, &viewer).await;
    both("bob", "charts:read", true).await;
    world.graphql(update, json!({ "id": viewer })).await;
    both("bob", "charts:read", false).await;
    both("bob", "a:b", true).await;
    // Through a group within a group.
    let (outer, inner) =
        (world.scim().group("Outer", &[]).await, world.scim().group("Inner", &[bob]).await);
    let nester = new_role(&world, "Nester", &["nest:see"]).await;
    let map = "mutation($g: ID!, $r: ID!) { roleMappingCreate(input: { groupId: $g, roleId: $r }) \
               { userErrors { message } } }";
    world.graphql(map, json!({ "g": outer.to_string(), "r": nester })).await;
    both("bob", "nest:see", false).await;
    let nest = json!([{ "op": "add", "path": "members",
                        "value": [{ "value": inner.to_string(), "type": "Group" }] }]);
    world.scim().patch(&format!("/Groups/{outer}"), nest).await;
    both("bob", "nest:see", true).await;
    // All accounts of a connection.
    let everyone = new_role(&world, "Everyone", &["all:see"]).await;
    let map = "mutation($c: ID!, $r: ID!) { roleMappingCreate(input: { connectionId: $c, roleId: \
               $r }) { userErrors { message } } }";
    let connection = world.acme.connection.to_string();
    let mapped = world.graphql(map, json!({ "c": connection, "r": everyone })).await;
    assert!(mapped.get("errors").is_none(), "{mapped:#}");
    both("alice", "all:see", true).await;
    // A suspended account may do nothing, and a deleted one is unknown.
    let suspend = json!([{ "op": "replace", "path": "active", "value": false }]);
    world.scim().patch(&format!("/Users/{alice}"), suspend).await;
    both("alice", "record:write", false).await;
    let answer = there.evaluate(question("alice", "write", "record")).await;
    assert_eq!(answer["context"]["reason"], "SUSPENDED");
    world.scim().delete(&format!("/Users/{bob}")).await.is(204);
    let answer = there.evaluate(question("bob", "see", "nest")).await;
    assert_eq!(answer["context"]["reason"], "UNKNOWN_SUBJECT");
    serving.abort();
    other.store.clone().close().await;
    world.end().await;
}

#[tokio::test]
async fn grant_ends_at_its_planned_end() {
    let world = World::new().await;
    let (_, bob) = fixture(&world).await;
    let backend = Backend::new(&world).await;
    let role = new_role(&world, "Deputy", &["ward:lead"]).await;
    let end = world.app.clock.now() + chrono::Duration::hours(30);
    let grant = "mutation($u: ID!, $r: ID!, $e: DateTime!) { roleGrantCreate(input: { userId: $u, \
                 roleId: $r, expiresAt: $e }) { userErrors { message } } }";
    let variables = json!({ "u": bob.to_string(), "r": role, "e": end });
    let made = world.graphql(grant, variables).await;
    assert_eq!(made["data"]["roleGrantCreate"]["userErrors"], json!([]), "{made:#}");
    assert!(backend.allows("bob", "ward:lead").await);
    world.app.clock.advance(Duration::from_secs(31 * 60 * 60));
    assert!(!backend.allows("bob", "ward:lead").await);
    world.end().await;
}

#[tokio::test]
async fn authzen_searches_page_through_results() {
    let world = World::new().await;
    let (alice, _) = fixture(&world).await;
    let backend = Backend::new(&world).await;
    let mut who = json!({
        "subject": { "type": "user", "id": "ignored" }, "action": { "name": "read" },
        "resource": { "type": "record", "id": "record-1" }, "context": { "time": "now" },
    });
    let answer = backend.search("subject", who.clone()).await.is(200);
    let both = json!([{ "type": "user", "id": "alice" }, { "type": "user", "id": "bob" }]);
    assert_eq!(answer.body["results"], both);
    assert_eq!(answer.body["page"], json!({ "next_token": "", "count": 2 }));
    // One page after another, each person once, also if two roles name the permission.
    let again = new_role(&world, "Second", &["record:read"]).await;
    grant(&world, alice, &again).await;
    let mut found = Vec::new();
    let mut token = String::new();
    loop {
        who["page"] = json!({ "limit": 1, "token": token });
        let answer = backend.search("subject", who.clone()).await.is(200).body;
        let results = answer["results"].as_array().unwrap();
        found.extend(results.iter().map(|one| one["id"].as_str().unwrap().to_owned()));
        token = answer["page"]["next_token"].as_str().unwrap().to_owned();
        assert!(results.len() <= 1 && found.len() <= 2, "{found:?}");
        if token.is_empty() {
            break;
        }
        // A token belongs to its question.
        let mut other = who.clone();
        other["action"]["name"] = json!("write");
        other["page"]["token"] = json!(token);
        backend.search("subject", other).await.is(400);
    }
    assert_eq!(found, ["alice", "bob"]);
    for page in [json!({ "token": "x" }), json!({ "limit": 0 }), json!({ "limit": "a" }), json!(1)]
    {
        who["page"] = page;
        backend.search("subject", who.clone()).await.is(400);
    }
    // What a person may do.
    let what = |subject: &str| {
        json!({ "subject": { "type": "user", "id": subject },
                "resource": { "type": "record", "id": "record-1" } })
    };
    let answer = backend.search("action", what("alice")).await.is(200).body;
    assert_eq!(answer["results"], json!([{ "name": "read" }, { "name": "write" }]));
    let mut paged = what("alice");
    paged["page"] = json!({ "limit": 1 });
    let first = backend.search("action", paged.clone()).await.is(200).body;
    assert_eq!(first["results"], json!([{ "name": "read" }]));
    paged["page"] = json!({ "token": first["page"]["next_token"] });
    let second = backend.search("action", paged).await.is(200).body;
    assert_eq!(second["results"], json!([{ "name": "write" }]));
    assert_eq!(second["page"]["next_token"], "");
    // Nothing is found of what is unknown.
    let none = backend.search("action", what("nonexistent-user")).await.is(200).body;
    assert_eq!(none["results"], json!([]));
    who["page"] = json!({});
    who["subject"]["type"] = json!("spaceship");
    assert_eq!(backend.search("subject", who.clone()).await.is(200).body["results"], json!([]));
    // A suspended person may do nothing.
    let suspend = json!([{ "op": "replace", "path": "active", "value": false }]);
    world.scim().patch(&format!("/Users/{alice}"), suspend).await;
    assert_eq!(backend.search("action", what("alice")).await.is(200).body["results"], json!([]));
    who["subject"]["type"] = json!("user");
    let left = backend.search("subject", who.clone()).await.is(200).body;
    assert_eq!(left["results"], json!([{ "type": "user", "id": "bob" }]));
    // Missing members.
    for (what, missing) in [("subject", "action"), ("subject", "resource"), ("action", "resource")]
    {
        let mut body = who.clone();
        body.as_object_mut().unwrap().remove(missing);
        backend.search(what, body).await.is(400);
    }
    who["resource"].as_object_mut().unwrap().remove("id");
    backend.search("subject", who).await.is(400);
    world.end().await;
}

#[tokio::test]
async fn metadata_names_the_endpoints() {
    let world = World::with(|config| config.public_url = "https://id.example/pp".into()).await;
    for path in ["", "/pp"] {
        let url = format!("{}/.well-known/authzen-configuration{path}", world.address);
        let answer = Answer::of(reqwest::get(url).await.unwrap()).await.is(200);
        assert!(answer.header("content-type").starts_with("application/json"));
        assert_eq!(answer.body["policy_decision_point"], "https://id.example/pp");
        for (name, end) in [
            ("access_evaluation_endpoint", "evaluation"),
            ("access_evaluations_endpoint", "evaluations"),
            ("search_subject_endpoint", "search/subject"),
            ("search_action_endpoint", "search/action"),
        ] {
            assert_eq!(answer.body[name], format!("https://id.example/pp/access/v1/{end}"));
            let http = reqwest::Client::new();
            let path = format!("{}/pp/access/v1/{end}", world.address);
            let answer = Answer::of(http.post(path).send().await.unwrap()).await;
            answer.is(401);
        }
        assert_eq!(answer.body.get("search_resource_endpoint"), None);
    }
    world.end().await;
}

#[tokio::test]
async fn decisions_need_their_permission() {
    let world = World::new().await;
    fixture(&world).await;
    let mut backend = Backend::new(&world).await;
    let paths = ["evaluation", "evaluations", "search/subject", "search/action"];
    let narrow = backend.key.clone();
    // The narrow permission opens nothing else.
    let users = "{ organization { users(first: 1) { nodes { id } } } }";
    let answer = world.acme.graphql_as(&narrow, &[], users, json!({})).await;
    assert_eq!(answer.body["errors"][0]["extensions"]["code"], "FORBIDDEN");
    let held: Vec<_> = Permission::in_organization()
        .into_iter()
        .filter(|permission| *permission != Permission::DecisionRead)
        .collect();
    let others = held.into_iter().collect();
    let issued = api_key::issue_key(&world.system(), "x", others, None).await.unwrap();
    backend.key = issued.secret;
    for path in paths {
        let path = format!("/access/v1/{path}");
        let answer = backend.ask(&path, question("alice", "read", "record")).await.is(403);
        assert!(answer.body.as_str().unwrap().contains("DECISION_READ"));
    }
    for key in ["", "rck_wrong", &world.scim().token, "x.y.z"] {
        backend.key = key.into();
        for path in paths {
            let path = format!("/access/v1/{path}");
            let answer = backend.ask(&path, question("alice", "read", "record")).await.is(401);
            assert!(answer.header("www-authenticate").starts_with("Bearer"));
            assert!(answer.body.as_str().unwrap().len() > 8);
        }
    }
    backend.key = narrow;
    let wrong = backend.http.get(format!("{}/access/v1/evaluation", world.address));
    let answer = Answer::of(wrong.send().await.unwrap()).await.is(405);
    assert_eq!(answer.header("allow"), "POST");
    let large = backend.request("/access/v1/evaluation").header("content-type", "application/json");
    let answer = Answer::of(large.body(" ".repeat(2 << 20)).send().await.unwrap()).await;
    answer.is(413);
    world.end().await;
}

#[tokio::test]
async fn key_asks_only_as_often_as_allowed() {
    let world = World::with(|config| config.decision_rate_limit = 1).await;
    fixture(&world).await;
    let backend = Backend::new(&world).await;
    let ask = || backend.ask("/access/v1/evaluation", question("alice", "read", "record"));
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(ask().await.status.as_u16());
    }
    assert_eq!(statuses[0], 200);
    assert!(statuses.contains(&429), "{statuses:?}");
    let limited = loop {
        let answer = ask().await;
        if answer.status.as_u16() == 429 {
            break answer;
        }
    };
    assert!(limited.header("retry-after").parse::<u64>().unwrap() >= 1);
    // Another key has a share of its own.
    let other = Backend::new(&world).await;
    assert!(other.allows("alice", "record:read").await);
    world.end().await;
}
