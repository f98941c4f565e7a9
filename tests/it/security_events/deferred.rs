//! SCIM writes that are answered before they are carried out (RFC 9967).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use reqwest::Method;
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Client, SCIM, event_of, world};
use crate::database::Database;
use crate::process::{Server, bootstrap, ok};
use crate::world::{Answer, Scim, World};

const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";

impl Client {
    /// A SCIM write that is to be answered before it is carried out.
    async fn defer(world: &World, method: Method, path: &str, body: Option<Value>) -> Answer {
        Self::defer_at(world.scim(), method, path, body).await
    }

    async fn defer_at(scim: &Scim, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = scim.request(method, path).header("prefer", "respond-async");
        if let Some(body) = body {
            request = request.header("content-type", "application/scim+json");
            request = request.body(body.to_string());
        }
        Answer::of(request.send().await.unwrap()).await
    }
}

#[tokio::test]
async fn deferred_writes_are_carried_out_in_order() {
    let world = world().await;
    let client = Client::of_world(&world).await;
    let ada = json!({ "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "userName": "ada@x.org" });
    // No stream receives results yet, so the server answers writes at once.
    let now = Client::defer(&world, Method::POST, "/Users", Some(ada.clone())).await.is(201);
    let config = world.scim().get("/ServiceProviderConfig").await.is(200).body;
    assert_eq!(config.get("securityEvents"), None);
    world.scim().delete(&format!("/Users/{}", now.id())).await.is(204);
    let id = client.polled(json!({})).await;
    let config = world.scim().get("/ServiceProviderConfig").await.is(200).body;
    assert_eq!(config["securityEvents"]["asyncRequest"], "request");
    let uris = config["securityEvents"]["eventUris"].as_array().unwrap();
    assert!(uris.contains(&json!(format!("{SCIM}:misc:asyncresp"))), "{uris:?}");

    let mut bo = ada.clone();
    bo["userName"] = "bo@x.org".into();
    let accepted = Client::defer(&world, Method::POST, "/Users", Some(bo.clone())).await.is(202);
    let txn = accepted.header("set-txn").to_owned();
    assert_eq!(accepted.header("preference-applied"), "respond-async");
    assert!(accepted.header("location").ends_with("/scim/v2/acme/Users"));
    // The same again cannot be done.
    let again = Client::defer(&world, Method::POST, "/Users", Some(bo)).await.is(202);
    let name = format!("{SCIM}:misc:asyncresp");
    let told = client.take_all(&id, &name, 2).await;
    let of = |txn: &str| told.iter().find(|claims| claims["txn"] == txn).unwrap();
    let done = of(&txn);
    let person = done["sub_id"]["uri"].as_str().unwrap().to_owned();
    assert_eq!(
        (&event_of(done)["method"], &event_of(done)["status"]),
        (&json!("POST"), &json!("201")),
        "{done:#}"
    );
    assert_eq!(event_of(done)["version"], "W/\"1\"");
    let refused = event_of(of(again.header("set-txn")));
    assert_eq!(refused["status"], "409");
    assert_eq!(refused["response"]["scimType"], "uniqueness");
    assert_eq!(refused["response"]["status"], "409");
    let change = crate::world::patch(json!([{ "op": "replace", "path": "title", "value": "x" }]));
    Client::defer(&world, Method::PATCH, &person, Some(change)).await.is(202);
    Client::defer(&world, Method::DELETE, &person, None).await.is(202);
    let told = client.take_all(&id, &name, 2).await;
    let statuses: BTreeSet<_> =
        told.iter().map(|claims| event_of(claims)["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, BTreeSet::from(["200", "204"]));
    world.scim().get(&person).await.is(404);
    // What was sent is not kept.
    assert_eq!(world.count("async_request", []).await, 0);
    // A mistake that can be seen at once is answered at once.
    Client::defer(&world, Method::POST, "/Users", Some(json!([]))).await.is(400);
    let request = world.scim().with_token("rcs_wrong").request(Method::POST, "/Users");
    let request = request.header("prefer", "respond-async").body("{}");
    Answer::of(request.send().await.unwrap()).await.is(401);
    // Deferred failures are reviewed like others.
    let failures = "{ organization { failures(first: 5) { nodes { reason } } } }";
    let failures = world.graphql(failures, json!({})).await;
    let nodes = failures["data"]["organization"]["failures"]["nodes"].as_array();
    assert!(nodes.is_some_and(|nodes| !nodes.is_empty()), "{failures:#}");
    world.end().await;
}

#[tokio::test]
async fn deferred_write_is_done_once() {
    let world = world().await;
    let client = Client::of_world(&world).await;
    let id = client.polled(json!({})).await;
    let body = json!({ "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "userName": "ada@x.org", "externalId": "e-1" });
    let accepted = Client::defer(&world, Method::POST, "/Users", Some(body)).await.is(202);
    let txn: Uuid = accepted.header("set-txn").parse().unwrap();
    let name = format!("{SCIM}:misc:asyncresp");
    let told = client.take_all(&id, &name, 1).await;
    // As if the run had died after the write and before it was noted: the request is there again.
    let sent = json!({ "userName": "ada@x.org" }).to_string();
    let payload = json!({ "method": "POST", "path": "/Users", "body": sent,
        "if_match": null, "if_none_match": null });
    accept_again(&world, txn, payload).await;
    let again = client.take_all(&id, &name, 1).await;
    assert_eq!(event_of(&again[0])["status"], "201");
    assert_eq!(again[0]["sub_id"], told[0]["sub_id"]);
    assert_eq!(world.count("\"user\"", []).await, 1);
    world.end().await;
}

#[tokio::test]
async fn deferred_write_ends_with_its_token() {
    let world = world().await;
    let client = Client::of_world(&world).await;
    let id = client.polled(json!({})).await;
    let body = json!({ "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "userName": "ada@x.org" });
    let global =
        world.graphql("{ organization { connections(first: 1) { nodes { id } } } }", json!({}));
    let global = global.await["data"]["organization"]["connections"]["nodes"][0]["id"].clone();
    let issue = "mutation($c: ID!) { scimTokenIssue(input: { connectionId: $c }) { scimToken { id } \
                 secret } }";
    let revoke =
        "mutation($t: ID!) { scimTokenRevoke(input: { id: $t }) { userErrors { message } } }";
    for (ends, status) in [("revoked", "401"), ("expired", "401"), ("narrowed", "403")] {
        let issued = world.graphql(issue, json!({ "c": global })).await;
        let issued = &issued["data"]["scimTokenIssue"];
        let token = world.scim().with_token(issued["secret"].as_str().unwrap());
        // An earlier request of the connection is still being carried out, so this one waits.
        let earlier = Uuid::from_u128(1);
        let text = "INSERT INTO async_request (organization_id, id, connection_id, scopes, payload, \
                    tries, holder, until, created_at) VALUES ($1, $2, $3, '[]', $4, 1, $2, $5, $5)";
        let later = world.app.clock.now() + chrono::Duration::days(2);
        let (organization, connection) = (world.acme.organization, world.acme.connection);
        let payload: Vec<u8> = vec![1];
        let values = [organization.into(), earlier.into(), connection.into(), payload.into()];
        world.execute(text, values.into_iter().chain([later.into()])).await;
        let request = token.request(Method::POST, "/Users").header("prefer", "respond-async");
        let request = request.header("content-type", "application/scim+json");
        let accepted = request.body(body.to_string()).send().await.unwrap();
        let accepted = Answer::of(accepted).await.is(202);
        match ends {
            "revoked" => {
                let done = world.graphql(revoke, json!({ "t": issued["scimToken"]["id"] })).await;
                assert_eq!(done["data"]["scimTokenRevoke"]["userErrors"], json!([]), "{done:#}");
            }
            "expired" => {
                let text =
                    "UPDATE scim_token SET expires_at = $1 WHERE purpose = 'IDENTITY_PROVIDER'";
                world.execute(text, [world.app.clock.now().into()]).await;
            }
            _ => {
                let text = "UPDATE scim_token SET scopes = '[\"USERS_READ\"]'";
                world.execute(text, []).await;
            }
        }
        world.execute("DELETE FROM async_request WHERE id = $1", [earlier.into()]).await;
        world.app.async_requests.notify_one();
        let told = client.take_all(&id, &format!("{SCIM}:misc:asyncresp"), 1).await;
        assert_eq!(told[0]["txn"], accepted.header("set-txn"), "{ends}");
        assert_eq!(event_of(&told[0])["status"], status, "{ends}: {told:#?}");
        assert_eq!(world.count("\"user\"", []).await, 0, "{ends}");
        assert_eq!(world.count("async_request", []).await, 0, "{ends}");
    }
    world.end().await;
}

/// The request is there again, as if the run that carried it out had died before it noted that.
async fn accept_again(world: &World, txn: Uuid, payload: Value) {
    let cx = world.system();
    let data_key: Vec<u8> =
        rolecall::domain::tenant::organization::current_organization(&cx).await.unwrap().data_key;
    let sealed =
        world.app.vault.seal(cx.organization(), &data_key, txn, payload.to_string().as_bytes());
    let scopes = "[\"USERS_WRITE\",\"GROUPS_WRITE\"]";
    let scopes = match world.app.store.backend() {
        sea_orm::DbBackend::Postgres => format!("'{scopes}'::jsonb"),
        _ => format!("'{scopes}'"),
    };
    let insert = format!(
        "INSERT INTO async_request (organization_id, id, connection_id, scopes, payload, tries, \
         until, created_at) SELECT organization_id, $1, $2, {scopes}, $3, 1, created_at, \
         created_at FROM destination LIMIT 1"
    );
    let key = world.acme.connection;
    world.execute(&insert, [txn.into(), key.into(), sealed.unwrap().into()]).await;
    world.app.async_requests.notify_one();
}

fn new_user(name: &str) -> Value {
    json!({ "schemas": [USER], "userName": name })
}

fn bulk(operations: &[Value], more: Value) -> Value {
    let mut body = json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": operations,
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// The status of each operation, by its place, of the request with this id.
fn statuses(told: &[Value], txn: &str) -> BTreeMap<usize, String> {
    let mut found = BTreeMap::new();
    for claims in told {
        let named = claims["txn"].as_str().unwrap();
        let Some(place) = named.strip_prefix(txn).and_then(|rest| rest.strip_prefix(':')) else {
            continue;
        };
        let status = event_of(claims)["status"].as_str().unwrap().to_owned();
        assert_eq!(found.insert(place.parse().unwrap(), status), None, "{named} came twice");
    }
    found
}

#[tokio::test]
async fn deferred_bulk_tells_each_operation() {
    let world = world().await;
    let client = Client::of_world(&world).await;
    let id = client.polled(json!({})).await;
    let name = format!("{SCIM}:misc:asyncresp");
    let operations = [
        json!({ "method": "POST", "path": "/Groups", "bulkId": "g", "data": {
            "displayName": "Nurses", "members": [{ "value": "bulkId:u" }] } }),
        json!({ "method": "POST", "path": "/Users", "bulkId": "u", "data": new_user("a@x.org") }),
        json!({ "method": "POST", "path": "/Users", "bulkId": "v", "data": new_user("a@x.org") }),
        json!({ "method": "DELETE", "path": format!("/Users/{}", Uuid::now_v7()) }),
        json!({ "method": "PATCH", "path": "/Users/bulkId:u", "data":
            crate::world::patch(json!([{ "op": "replace", "path": "title", "value": "x" }])) }),
        json!({ "method": "LIST", "path": "/Users" }),
    ];
    let send = async |body: Value| {
        let answer = Client::defer(&world, Method::POST, "/Bulk", Some(body)).await.is(202);
        assert_eq!(answer.header("preference-applied"), "respond-async");
        answer.header("set-txn").to_owned()
    };
    let txn = send(bulk(&operations, json!({}))).await;
    let told = client.take_all(&id, &name, operations.len()).await;
    let expected = ["201", "201", "409", "404", "200", "400"].map(str::to_owned);
    assert_eq!(statuses(&told, &txn), expected.into_iter().enumerate().collect());
    let of = |place: usize| {
        let txn = json!(format!("{txn}:{place}"));
        told.iter().find(|claims| claims["txn"] == txn).unwrap()
    };
    let (group, user) = (&of(0)["sub_id"]["uri"], &of(1)["sub_id"]["uri"]);
    let members = world.scim().get(group.as_str().unwrap()).await.is(200).body["members"].clone();
    assert!(user.as_str().unwrap().ends_with(members[0]["value"].as_str().unwrap()));
    assert_eq!(event_of(of(4))["method"], "PATCH");
    assert_eq!(event_of(of(2))["response"]["scimType"], "uniqueness");
    assert!(event_of(of(1))["location"].as_str().unwrap().ends_with(user.as_str().unwrap()));
    // What is not attempted has a result, too: somebody waits for it.
    let wrong = json!({ "method": "DELETE", "path": format!("/Users/{}", Uuid::now_v7()) });
    let right = json!({ "method": "POST", "path": "/Users", "bulkId": "w",
        "data": new_user("w@x.org") });
    let stopped = [wrong, right];
    let txn = send(bulk(&stopped, json!({ "failOnErrors": 1 }))).await;
    let told = client.take_all(&id, &name, stopped.len()).await;
    let expected = ["404", "424"].map(str::to_owned);
    assert_eq!(statuses(&told, &txn), expected.into_iter().enumerate().collect());
    assert_eq!(world.count("async_request", []).await, 0);
    // A message that cannot be told apart is refused at once.
    for body in [json!({}), bulk(&[], json!({})), bulk(&stopped, json!({ "failOnErrors": "x" }))] {
        Client::defer(&world, Method::POST, "/Bulk", Some(body)).await.is(400);
    }
    world.end().await;
}

#[tokio::test]
async fn deferred_bulk_goes_on_where_it_died() {
    let world = world().await;
    let client = Client::of_world(&world).await;
    let id = client.polled(json!({})).await;
    let name = format!("{SCIM}:misc:asyncresp");
    let create = |name: &str| json!({ "method": "POST", "path": "/Users", "bulkId": name, "data": new_user(name) });
    let first = [create("a"), create("b")];
    let body = bulk(&first, json!({}));
    let accepted = Client::defer(&world, Method::POST, "/Bulk", Some(body)).await.is(202);
    let txn: Uuid = accepted.header("set-txn").parse().unwrap();
    client.take_all(&id, &name, 2).await;
    // A third operation, which refers to the first, was not reached before the run died.
    let group = json!({ "method": "POST", "path": "/Groups", "bulkId": "g", "data": {
        "displayName": "Both", "members": [{ "value": "bulkId:a" }, { "value": "bulkId:b" }] } });
    let all = [first[0].clone(), first[1].clone(), group];
    let listed: Vec<Value> = ["Users", "Users", "Groups"]
        .iter()
        .map(|endpoint| json!({ "method": "POST", "endpoint": endpoint }))
        .collect();
    let sent = bulk(&all, json!({})).to_string();
    let payload = json!({ "method": "POST", "path": "/Bulk", "body": sent, "if_match": null,
        "if_none_match": null, "operations": listed });
    accept_again(&world, txn, payload).await;
    let told = client.take_all(&id, &name, 1).await;
    assert_eq!(statuses(&told, &txn.to_string()), BTreeMap::from([(2, "201".to_owned())]));
    let made = event_of(&told[0])["location"].as_str().unwrap().rsplit('/').next().unwrap();
    let group = world.scim().get(&format!("/Groups/{made}")).await.is(200).body;
    assert_eq!(group["members"].as_array().unwrap().len(), 2);
    assert_eq!(world.count("\"user\"", []).await, 2);
    world.end().await;
}

async fn number(db: &DatabaseConnection, sql: &str) -> i64 {
    let statement = Statement::from_string(db.get_database_backend(), sql);
    db.query_one_raw(statement).await.unwrap().unwrap().try_get_by_index(0).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_server_completes_deferred_writes() {
    let database = Database::empty().await;
    let bootstrapped = bootstrap(&database);
    let mut server = Server::start(&database).await;
    let key = bootstrapped["graphql"]["api_key"].as_str().unwrap();
    let mut client = Client::discover(&server.address, "acme", key).await;
    let name = format!("{SCIM}:misc:asyncresp");
    let id = client.polled(json!({ "events_requested": [name] })).await;
    let db = sea_orm::Database::connect(&database.url).await.unwrap();
    // Each result that must come, with its status.
    let mut expected = BTreeMap::new();
    let mut people = 0;
    for round in 0..3 {
        let scim = server.scim(&bootstrapped);
        for n in 0..5 {
            let body = new_user(&format!("r{round}n{n}"));
            let sent = Client::defer_at(&scim, Method::POST, "/Users", Some(body)).await.is(202);
            expected.insert(sent.header("set-txn").to_owned(), "201");
        }
        let mut operations: Vec<Value> = (0..30)
            .map(|n| {
                let name = format!("r{round}b{n}");
                json!({ "method": "POST", "path": "/Users", "bulkId": name,
                    "data": new_user(&name) })
            })
            .collect();
        operations.push(json!({ "method": "POST", "path": "/Users", "bulkId": "again",
            "data": new_user(&format!("r{round}n0")) }));
        let body = Some(bulk(&operations, json!({})));
        let sent = Client::defer_at(&scim, Method::POST, "/Bulk", body).await.is(202);
        for place in 0..operations.len() {
            let status = if place < 30 { "201" } else { "409" };
            expected.insert(format!("{}:{place}", sent.header("set-txn")), status);
        }
        people += 35;
        // In the middle of the single requests, of the operations, and of what comes after them.
        let until = people - 35 + [3, 15, 33][round];
        let began = Instant::now();
        while number(&db, "SELECT count(*) FROM \"user\"").await < until {
            assert!(began.elapsed() < Duration::from_secs(30), "nothing is carried out");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        server.kill();
        // The lease of the killed server ends.
        db.execute_unprepared("UPDATE async_request SET until = created_at").await.unwrap();
        server = Server::start(&database).await;
    }
    // The issuer is the address, which is another one now.
    client = Client::discover(&server.address, "acme", key).await;
    let mut results: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for claims in client.take_all(&id, &name, expected.len()).await {
        let txn = claims["txn"].as_str().unwrap().to_owned();
        assert_eq!(event_of(&claims)["status"], *expected.get(&txn).unwrap(), "{claims:#}");
        results.entry(txn).or_default().insert(claims["jti"].as_str().unwrap().to_owned());
    }
    assert_eq!(results.len(), expected.len());
    assert!(results.values().all(|tokens| tokens.len() == 1), "{results:#?}");
    // Each was carried out once, and nothing waits any more.
    for sql in ["\"user\"", "event WHERE action = 'user.created'"] {
        assert_eq!(number(&db, &format!("SELECT count(*) FROM {sql}")).await, people, "{sql}");
    }
    assert_eq!(number(&db, "SELECT count(*) FROM async_request").await, 0);
    assert_eq!(client.take(&id, &[]).await, BTreeMap::new());
    drop(db);
    server.terminate();
    assert_eq!(server.exit_code().await, Some(0));
    assert!(ok(&database, &["audit", "verify"]).starts_with("acme: intact, "));
    database.drop().await;
}
