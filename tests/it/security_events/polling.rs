//! A receiver that polls: what it is given, and what acknowledging does.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use reqwest::Method;
use rolecall::auth::policy::Permission;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Client, RISC, SCIM, act, destinations, event_of, key_with, suspend, type_of, world};

#[tokio::test]
async fn full_payload_tells_values_and_addresses() {
    let world = world().await;
    let client = Client::of_world(&world).await;
    let id = client
        .polled(json!({ "payload": "FULL", "subject_format": "email", "signing_alg": "ES256" }))
        .await;
    let body = json!({ "userName": "ada", "externalId": "e-1", "title": "Nurse",
        "emails": [{ "value": "ada@x.org", "primary": true }] });
    let person = world.scim().post("/Users", body).await.is(201).id();
    let group = world.scim().group("Nurses", &[person]).await;
    let change = json!([{ "op": "replace", "path": "title", "value": "Matron" },
        { "op": "remove", "path": "externalId" }]);
    world.scim().patch(&format!("/Users/{person}"), change).await.is(200);
    suspend(&world, person).await;
    let mut told: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut ack: Vec<String> = Vec::new();
    let began = Instant::now();
    while !told.contains_key(&format!("{RISC}/account-disabled")) {
        assert!(began.elapsed() < Duration::from_secs(20), "{told:#?}");
        let taken = client.take(&id, &ack).await;
        ack = taken.keys().cloned().collect();
        for claims in taken.into_values() {
            told.entry(type_of(&claims)).or_default().push(claims);
        }
    }
    let created = &told[&format!("{SCIM}:prov:create:full")];
    let data = &event_of(&created[0])["data"];
    assert_eq!((&data["userName"], &data["id"]), (&json!("ada"), &json!(person)));
    assert_eq!(data["schemas"][0], "urn:ietf:params:scim:schemas:core:2.0:User");
    let of_group =
        created.iter().find(|claims| event_of(claims)["data"]["displayName"] == "Nurses");
    assert_eq!(of_group.unwrap()["sub_id"]["uri"], format!("/Groups/{group}"));
    let patched = &told[&format!("{SCIM}:prov:patch:full")];
    let operations = event_of(&patched[0])["data"]["Operations"].as_array().unwrap();
    assert!(
        operations.contains(&json!({ "op": "replace", "path": "title", "value": "Matron" })),
        "{operations:?}"
    );
    assert!(operations.contains(&json!({ "op": "remove", "path": "externalId" })));
    let disabled = &told[&format!("{RISC}/account-disabled")];
    assert_eq!(disabled[0]["sub_id"], json!({ "format": "email", "email": "ada@x.org" }));
    // Who may not read people cannot have them told.
    let narrow = [Permission::IamWrite, Permission::AuditRead];
    let narrow = Client { key: key_with(&world, &narrow).await, ..client.clone() };
    let body = json!({ "payload": "FULL" });
    assert_eq!(
        narrow.call(Method::POST, "streams", Some(body)).await.is(403).body["err"],
        "access_denied"
    );
    narrow.create(json!({})).await;
    let body = json!({ "subject_format": "email" });
    client.call(Method::POST, "streams", Some(body)).await.is(400);
    world.end().await;
}

#[tokio::test]
async fn polled_tokens_wait_for_acknowledgement() {
    let world = world().await;
    let client = Client::of_world(&world).await;
    let name = format!("{SCIM}:prov:create:notice");
    let id = client.polled(json!({ "events_requested": [name, "urn:unknown"] })).await;
    for n in 0..3 {
        world.scim().user(&format!("person{n}@x.org")).await;
    }
    world.sealed().await;
    let first = client.take(&id, &[]).await;
    assert_eq!(first.len(), 3);
    // Nothing is lost that was not acknowledged, and it keeps its id.
    assert_eq!(client.take(&id, &[]).await, first);
    let body = json!({ "returnImmediately": true, "maxEvents": 2 });
    let some = client.poll(&id, body).await.is(200).body;
    assert_eq!(
        (some["sets"].as_object().unwrap().len(), &some["moreAvailable"]),
        (2, &json!(true))
    );
    // An acknowledgement alone.
    let jtis: Vec<&String> = first.keys().collect();
    let body = json!({ "maxEvents": 0, "ack": [jtis[0]] });
    assert_eq!(client.poll(&id, body).await.is(200).body["sets"], json!({}));
    assert_eq!(client.take(&id, &[]).await.len(), 2);
    // What the receiver cannot use is failed work, which a person can have handed out again.
    let report = json!({ "returnImmediately": true, "setErrs": { jtis[1]: {
        "err": "invalid_request", "description": "no such tenant" } } });
    let rest = client.poll(&id, report).await.is(200).body;
    assert_eq!(rest["sets"].as_object().unwrap().len(), 1);
    let shown = destinations(&world).await;
    let failed = shown[0]["deliveries"]["nodes"].as_array().unwrap().clone();
    let failed = failed.into_iter().find(|node| node["state"] == "FAILED").unwrap();
    assert_eq!(failed["message"], "The receiver refused it: invalid_request: no such tenant");
    act(&world, "deliveryRetry", &failed["id"]).await;
    let again = client.take(&id, &[jtis[2].clone()]).await;
    assert_eq!(again.keys().collect::<Vec<_>>(), [jtis[1]]);
    assert_eq!(client.take(&id, &[jtis[1].clone()]).await, BTreeMap::new());
    let shown = destinations(&world).await;
    let deliveries = shown[0]["deliveries"]["nodes"].as_array().unwrap();
    assert!(deliveries.iter().all(|node| node["state"] == "SUCCEEDED"), "{deliveries:#?}");
    world.end().await;
}

#[tokio::test]
async fn poll_waits_for_events() {
    let world = world().await;
    let client = Client::of_world(&world).await;
    let name = format!("{SCIM}:prov:create:notice");
    let id = client.polled(json!({ "events_requested": [name] })).await;
    let waiting = {
        let (client, id) = (client.clone(), id.clone());
        tokio::spawn(async move { client.poll(&id, json!({})).await.is(200).body })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());
    let began = Instant::now();
    world.scim().user("ada@x.org").await;
    let answer = waiting.await.unwrap();
    assert_eq!(answer["sets"].as_object().unwrap().len(), 1, "{answer:#}");
    assert!(began.elapsed() < Duration::from_secs(5));
    for wrong in [
        json!({ "maxEvents": -1 }),
        json!({ "ack": "x" }),
        json!({ "ack": [1] }),
        json!({ "setErrs": [] }),
        json!({ "returnImmediately": "no" }),
    ] {
        let refused = client.poll(&id, wrong).await.is(400);
        assert_eq!(refused.body["err"], "invalid_request");
    }
    world.end().await;
}

#[tokio::test]
async fn forged_acknowledgements_do_nothing() {
    let world = world().await;
    let other = world.second_organization().await;
    let client = Client::of_world(&world).await;
    let name = format!("{SCIM}:prov:create:notice");
    let wanted = json!({ "events_requested": [name] });
    let (id, twin) = (client.polled(wanted.clone()).await, client.polled(wanted).await);
    world.scim().user("ada@x.org").await;
    world.sealed().await;
    let mine = client.take(&id, &[]).await;
    let jti = mine.keys().next().unwrap().clone();
    let (delivery, _) = jti.split_once('.').unwrap();
    let forged = [
        "".to_owned(),
        "1".into(),
        format!("{delivery}.1"),
        format!("{delivery}.00"),
        format!("{}.0", Uuid::now_v7().simple()),
        format!("{}.0", Uuid::parse_str(delivery).unwrap()),
        "x".repeat(10_000),
    ];
    assert_eq!(client.take(&id, &forged).await, mine);
    // The id of a token of another stream of the same organization.
    client.take(&twin, std::slice::from_ref(&jti)).await;
    assert_eq!(client.take(&id, &[]).await, mine);
    // Another organization: neither its address nor its key opens the stream.
    let address = world.address.clone();
    let slug = other.slug().await;
    let foreign = Client::discover(&address, &slug, &other.api_key).await;
    foreign.poll(&id, json!({ "ack": [jti], "returnImmediately": true })).await.is(404);
    let misled = Client { slug: "acme".into(), ..foreign.clone() };
    misled.poll(&id, json!({ "ack": [jti], "returnImmediately": true })).await.is(404);
    let body = json!({ "stream_id": id, "status": "disabled" });
    for (method, path, body) in [
        (Method::GET, format!("streams?stream_id={id}"), None),
        (Method::DELETE, format!("streams?stream_id={id}"), None),
        (Method::GET, format!("status?stream_id={id}"), None),
        (Method::POST, "status".into(), Some(body)),
        (Method::PATCH, "streams".into(), Some(json!({ "stream_id": id }))),
        (Method::PUT, "streams".into(), Some(json!({ "stream_id": id }))),
        (Method::POST, "verification".into(), Some(json!({ "stream_id": id }))),
    ] {
        let answer = foreign.call(method.clone(), &path, body.clone()).await;
        assert_eq!(answer.status, 404, "{method} {path}: {:#}", answer.body);
        misled.call(method, &path, body).await.is(404);
    }
    assert_eq!(client.take(&id, &[]).await, mine);
    let nobody = Client { key: "rck_nobody".into(), ..client.clone() };
    assert_eq!(nobody.poll(&id, json!({})).await.is(401).body["err"], "authentication_failed");
    world.end().await;
}

impl crate::world::Tenant {
    /// The slug of the organization.
    async fn slug(&self) -> String {
        let answer = self.graphql("{ organization { slug } }", json!({})).await;
        answer["data"]["organization"]["slug"].as_str().unwrap().to_owned()
    }
}
