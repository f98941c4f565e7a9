//! What receivers, other organizations and keys with few permissions cannot do.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::{CREATE, Receiver, act, create, state, wait_until, world};
use crate::database::Database;
use crate::process::{Server, bootstrap};
use crate::walk::codes;
use crate::world::{Tenant, World};

#[tokio::test]
async fn answers_without_end_are_cut() {
    let world = world().await;
    let receiver = Receiver::start().await;
    receiver.answer(200);
    receiver.behaviour.endless.store(1, Ordering::Relaxed);
    let (id, _) = create(&world.acme, &receiver.url, json!({})).await;
    wait_until("a delivery", async || {
        state(&world.acme, &id).await["deliveries"]["nodes"][0]["state"] == "SUCCEEDED"
    })
    .await;
    let shown = state(&world.acme, &id).await;
    let kept = shown["deliveries"]["nodes"][0]["response"].as_str().unwrap();
    assert!(kept.len() <= 1_024, "{}", kept.len());
    world.end().await;
}

#[tokio::test]
async fn redirects_and_private_addresses_are_refused() {
    let world = world().await;
    let receiver = Receiver::start().await;
    receiver.answer(302);
    let (id, _) = create(&world.acme, &receiver.url, json!({})).await;
    let refused = async |tenant: &Tenant, id: &str, why: &str| {
        wait_until(why, async || {
            let shown = state(tenant, id).await;
            shown["deliveries"]["nodes"][0]["message"].as_str().unwrap_or("").contains(why)
        })
        .await;
    };
    refused(&world.acme, &id, "redirects are not followed").await;
    world.end().await;
    // By default only public addresses are called, and only with TLS.
    let world = World::new().await;
    for url in [
        "http://hooks.example/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://localhost/",
        "https://user@hooks.example/",
        "https:///path",
        "https://hooks.example/#part",
        "ftp://hooks.example/",
        "",
    ] {
        let input = json!({ "kind": "WEBHOOK", "url": url, "description": "x" });
        let done = world.graphql(CREATE, json!({ "input": input })).await;
        let mistake = &done["data"]["destinationCreate"]["userErrors"][0];
        assert_eq!(mistake["code"], "INVALID", "{url}: {done:#}");
    }
    // A name is judged by what it leads to when it is called.
    let name = "https://ip6-localhost:9/";
    let (id, _) = create(&world.acme, name, json!({})).await;
    wait_until("a failure", async || {
        state(&world.acme, &id).await["deliveries"]["nodes"][0]["state"] == "WAITING"
    })
    .await;
    let shown = state(&world.acme, &id).await;
    let why = shown["deliveries"]["nodes"][0]["message"].as_str().unwrap();
    assert!(why.contains("not public") || why.contains("failed to lookup"), "{why}");
    world.end().await;
}

#[tokio::test]
async fn destinations_of_others_do_not_exist() {
    let world = world().await;
    let receiver = Receiver::start().await;
    let other = world.second_organization().await;
    let (id, _) = create(&other, &receiver.url, json!({})).await;
    for name in [
        "destinationUpdate",
        "destinationPause",
        "destinationResume",
        "destinationTest",
        "destinationDelete",
        "destinationRotateSecret",
    ] {
        let refused = act(&world.acme, name, &id, "").await;
        assert_eq!(refused["userErrors"][0]["code"], "NOT_FOUND", "{name}");
    }
    world.scim().user("ada@x.org").await;
    world.sealed().await;
    let own = other.scim.user("bo@x.org").await;
    wait_until("its own", async || !receiver.of(own).is_empty()).await;
    let organization = other.organization.to_string();
    assert!(receiver.received().iter().all(|told| told.body["organization"] == organization));
    world.end().await;
}

#[tokio::test]
async fn telling_needs_the_right_to_read() {
    let world = world().await;
    let issue = "mutation($p: [Permission!]!) { apiKeyIssue(input: { name: \"k\", permissions: $p,
        ownerSubject: \"x\" }) { secret userErrors { message } } }";
    for (permissions, payload, allowed) in [
        (json!(["IAM_READ", "IAM_WRITE"]), "REFERENCE", false),
        (json!(["IAM_READ", "IAM_WRITE", "AUDIT_READ"]), "REFERENCE", true),
        (json!(["IAM_READ", "IAM_WRITE", "AUDIT_READ"]), "FULL", false),
        (json!(["IAM_READ", "IAM_WRITE", "AUDIT_READ", "USER_READ"]), "FULL", true),
    ] {
        let key = world.graphql(issue, json!({ "p": permissions })).await;
        let key = key["data"]["apiKeyIssue"]["secret"].as_str().unwrap().to_owned();
        let input = json!({ "kind": "WEBHOOK", "url": "https://hooks.example/",
            "description": "x", "payload": payload });
        let done = world.acme.graphql_as(&key, &[], CREATE, json!({ "input": input })).await.body;
        if allowed {
            assert!(done["data"]["destinationCreate"]["secret"].is_string(), "{done:#}");
        } else {
            assert_eq!(codes(&done), ["FORBIDDEN"], "{done:#}");
        }
    }
    world.end().await;
}

#[tokio::test]
async fn replayed_answer_has_no_secret() {
    let world = world().await;
    let input = json!({ "kind": "WEBHOOK", "url": "https://hooks.example/", "description": "x" });
    let send = async || {
        let headers = [("idempotency-key", "once")];
        let key = &world.acme.api_key;
        world.acme.graphql_as(key, &headers, CREATE, json!({ "input": input })).await.body
    };
    let (first, second) = (send().await, send().await);
    assert!(first["data"]["destinationCreate"]["secret"].is_string(), "{first:#}");
    assert_eq!(second["data"]["destinationCreate"]["secret"], Value::Null, "{second:#}");
    assert_eq!(
        first["data"]["destinationCreate"]["destination"],
        second["data"]["destinationCreate"]["destination"]
    );
    assert_eq!(world.count("destination", []).await, 1);
    world.end().await;
}

#[tokio::test]
async fn secrets_stay_out_of_logs() {
    let database = Database::empty().await;
    let bootstrapped = bootstrap(&database);
    let log = database.folder().join("server.log");
    let settings = [("ROLECALL_SIGNAL_PRIVATE_ADDRESSES", "true")];
    let mut server = Server::begin_with_log(&database, &settings, &log);
    server.ready().await;
    let receiver = Receiver::start().await;
    receiver.answer(500);
    let key = bootstrapped["graphql"]["api_key"].as_str().unwrap();
    let post = async |path: &str, body: Value| -> Value {
        let url = format!("{}{path}", server.address);
        let request = reqwest::Client::new().post(url).bearer_auth(key);
        let request = request.header("content-type", "application/json").body(body.to_string());
        let text = request.send().await.unwrap().text().await.unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let input = json!({ "kind": "WEBHOOK", "url": receiver.url, "description": "x" });
    let query = json!({ "query": CREATE, "variables": { "input": input } });
    let made = post("/graphql", query).await["data"]["destinationCreate"].clone();
    let rotate = "mutation($i: ID!) { destinationRotateSecret(input: { id: $i }) { secret } }";
    let query = json!({ "query": rotate, "variables": { "i": made["destination"]["id"] } });
    let rotated = post("/graphql", query).await["data"]["destinationRotateSecret"].clone();
    // A stream that nobody answers, with what its receiver expects in the header.
    let delivery = json!({ "method": "urn:ietf:rfc:8935", "endpoint_url": "http://127.0.0.1:1/",
        "authorization_header": "Bearer of-the-receiver" });
    let stream = post("/ssf/acme/streams", json!({ "delivery": delivery })).await;
    assert!(stream["stream_id"].is_string(), "{stream:#}");
    let person = server.scim(&bootstrapped).user("ada@x.org").await;
    wait_until("attempts", async || receiver.attempts() >= 2).await;
    server.terminate();
    assert_eq!(server.exit_code().await, Some(0));
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(!text.is_empty());
    let token = bootstrapped["scim"]["token"].as_str().unwrap();
    let secrets = [&made["secret"], &rotated["secret"]].map(|secret| secret.as_str().unwrap());
    for secret in [secrets[0], secrets[1], "of-the-receiver", key, token] {
        let bare = secret.trim_start_matches("whsec_");
        assert!(!text.contains(bare), "{secret} of {person} is in the log");
    }
    drop(server);
    database.drop().await;
}
