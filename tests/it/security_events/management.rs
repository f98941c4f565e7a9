//! Streams are made, changed, paused and verified by their receiver, and by administrators.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use rolecall::auth::policy::Permission;
use rolecall::domain::access::api_key;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    CAEP, Client, POLL, Receiver, SCIM, SSF, act, destinations, event_of, key_with, suspend,
    type_of, wait_until, world,
};
use crate::world::{Answer, World};

#[tokio::test]
async fn receiver_needs_one_narrow_right() {
    let world = world().await;
    let client = Client::of_world(&world).await;
    let id = client.polled(json!({})).await;
    let held = [Permission::SignalReceive].into();
    let issued = api_key::issue_key(&world.system(), "receiver", held, None).await.unwrap();
    world.execute("UPDATE event_stream SET receiver_key_id = $1", [issued.key.id.into()]).await;
    let key = issued.secret;
    let narrow = Client { key, ..client.clone() };
    narrow.poll(&id, json!({ "returnImmediately": true })).await.is(200);
    narrow.call(Method::GET, &format!("status?stream_id={id}"), None).await.is(200);
    let all = narrow.call(Method::GET, "streams", None).await.is(200).body;
    assert_eq!(all.as_array().unwrap().len(), 1);
    let verify = json!({ "stream_id": id });
    narrow.call(Method::POST, "verification", Some(verify)).await.is(204);
    for (path, body) in [
        ("streams", json!({})),
        ("status", json!({ "stream_id": id, "status": "paused" })),
        ("subjects/add", json!({ "stream_id": id, "subject": { "format": "opaque", "id": "1" } })),
    ] {
        narrow.call(Method::POST, path, Some(body)).await.is(403);
    }
    let reader = Client { key: key_with(&world, &[Permission::IamRead]).await, ..client.clone() };
    reader.call(Method::GET, &format!("streams?stream_id={id}"), None).await.is(200);
    reader.poll(&id, json!({ "returnImmediately": true })).await.is(403);
    world.end().await;
}

#[tokio::test]
async fn streams_are_managed() {
    let world = world().await;
    let (client, receiver) = (Client::of_world(&world).await, Receiver::start().await);
    assert_eq!(client.call(Method::GET, "streams", None).await.is(200).body, json!([]));
    let requested = json!([format!("{SCIM}:prov:delete"), "urn:unknown"]);
    let made = client
        .create(json!({ "delivery": receiver.delivery(), "events_requested": requested,
            "description": "Billing", "aud": "https://app.example" }))
        .await;
    let id = made["stream_id"].as_str().unwrap();
    assert_eq!(made["events_requested"], requested);
    assert_eq!(made["events_delivered"], json!([format!("{SCIM}:prov:delete")]));
    assert_eq!(made["aud"], "https://app.example");
    let read = client.call(Method::GET, &format!("streams?stream_id={id}"), None).await.is(200);
    assert_eq!(read.body, made);
    assert_eq!(client.call(Method::GET, "streams", None).await.is(200).body, json!([made]));
    // PATCH keeps what it does not name, and refuses what is the transmitter's.
    let patch = json!({ "stream_id": id, "description": "Payroll", "iss": client.issuer });
    let patched = client.call(Method::PATCH, "streams", Some(patch)).await.is(200).body;
    assert_eq!(patched["description"], "Payroll");
    assert_eq!(patched["events_requested"], requested);
    for wrong in [
        json!({ "stream_id": id, "iss": "https://other.example" }),
        json!({ "stream_id": id, "aud": "https://other.example" }),
        json!({ "stream_id": id, "events_delivered": [] }),
        json!({ "stream_id": id, "delivery": { "method": "urn:ietf:rfc:1" } }),
        json!({ "stream_id": id, "events_requested": "all" }),
        json!({ "description": "x" }),
    ] {
        client.call(Method::PATCH, "streams", Some(wrong)).await.is(400);
    }
    // PUT takes away what it does not name: now it is polled, and told everything.
    let put = json!({ "stream_id": id, "aud": ["https://app.example"] });
    let put = client.call(Method::PUT, "streams", Some(put)).await.is(200).body;
    assert_eq!(put["delivery"]["method"], POLL);
    assert!(put.get("events_requested").is_none());
    assert_eq!(put["events_delivered"], put["events_supported"]);
    assert_eq!(
        world.events_of(id.parse().unwrap()).await,
        ["destination.created", "destination.updated", "destination.updated"]
    );
    let shown = destinations(&world).await.remove(0);
    let stream = &shown["stream"];
    assert_eq!((&shown["kind"], &shown["url"]), (&json!("EVENT_STREAM"), &Value::Null));
    assert_eq!(stream["streamId"], json!(id));
    assert_eq!(stream["issuer"], json!(client.issuer));
    assert_eq!(stream["deliveryMethod"], "POLL");
    assert_eq!(stream["pollUrl"], put["delivery"]["endpoint_url"]);
    assert_eq!(stream["eventTypesRequested"], Value::Null);
    assert_eq!(stream["signingAlgorithm"], "RS256");
    let url = format!("streams?stream_id={id}");
    client.call(Method::DELETE, &url, None).await.is(204);
    client.call(Method::DELETE, &url, None).await.is(404);
    client.call(Method::GET, &url, None).await.is(404);
    for table in ["event_stream", "destination", "delivery"] {
        assert_eq!(world.count(table, []).await, 0, "{table}");
    }
    world.end().await;
}

#[tokio::test]
async fn destination_create_makes_a_stream() {
    let world = world().await;
    let client = Client::of_world(&world).await;
    let create = "mutation($i: DestinationCreateInput!) { destinationCreate(input: $i) { secret
        destination { stream { streamId audience eventTypesRequested } }
        userErrors { path message } } }";
    let stream = json!({ "audience": "https://app.example", "signingAlgorithm": "ES256",
        "eventTypes": [format!("{CAEP}/session-revoked")], "subjectFormat": "OPAQUE" });
    let input = json!({ "kind": "EVENT_STREAM", "description": "Portal", "stream": stream });
    let done = world.graphql(create, json!({ "i": input })).await;
    let made = &done["data"]["destinationCreate"];
    assert_eq!((&made["userErrors"], &made["secret"]), (&json!([]), &Value::Null), "{done:#}");
    let id = made["destination"]["stream"]["streamId"].as_str().unwrap();
    let person = world.scim().user("ada@x.org").await;
    suspend(&world, person).await;
    let told = client.take_all(id, &format!("{CAEP}/session-revoked"), 1).await;
    assert_eq!(told[0]["sub_id"], json!({ "format": "opaque", "id": person.to_string() }));
    assert_eq!(told[0]["aud"], "https://app.example");
    let input = json!({ "kind": "WEBHOOK", "url": "https://hooks.example/", "description": "x",
        "stream": {} });
    let done = world.graphql(create, json!({ "i": input })).await;
    let errors = &done["data"]["destinationCreate"]["userErrors"];
    assert_eq!(errors[0]["path"], json!(["input", "stream"]), "{done:#}");
    world.end().await;
}

#[tokio::test]
async fn verification_repeats_the_state() {
    let world = world().await;
    let (client, receiver) = (Client::of_world(&world).await, Receiver::start().await);
    // Whatever it has requested.
    let made =
        client.create(json!({ "delivery": receiver.delivery(), "events_requested": [] })).await;
    let id = made["stream_id"].as_str().unwrap();
    let verify = json!({ "stream_id": id, "state": "VGhpcyBp" });
    client.call(Method::POST, "verification", Some(verify.clone())).await.is(204);
    let name = format!("{SSF}/verification");
    wait_until("the verification", async || !receiver.claims(&client, &name).await.is_empty())
        .await;
    let told = receiver.claims(&client, &name).await.remove(0);
    assert_eq!(told["sub_id"], json!({ "format": "opaque", "id": id }));
    assert_eq!(event_of(&told), &json!({ "state": "VGhpcyBp" }));
    let often = client.call(Method::POST, "verification", Some(verify.clone())).await.is(429);
    assert!(often.header("retry-after").parse::<u32>().unwrap() <= 6);
    world.app.clock.advance(Duration::from_secs(10));
    client.call(Method::POST, "verification", Some(verify)).await.is(204);
    let long = json!({ "stream_id": id, "state": "x".repeat(2_000) });
    client.call(Method::POST, "verification", Some(long)).await.is(400);
    assert_eq!(receiver.tokens().len(), receiver.claims(&client, &name).await.len());
    world.end().await;
}

#[tokio::test]
async fn receiver_is_told_of_a_pause() {
    let world = world().await;
    let (client, receiver) = (Client::of_world(&world).await, Receiver::start().await);
    let pushed = client.create(json!({ "delivery": receiver.delivery() })).await;
    let polled = client.polled(json!({})).await;
    for shown in destinations(&world).await {
        act(&world, "destinationPause", &shown["id"]).await;
    }
    let name = format!("{SSF}/stream-updated");
    wait_until("the pause", async || !receiver.claims(&client, &name).await.is_empty()).await;
    let told = receiver.claims(&client, &name).await.remove(0);
    assert_eq!(event_of(&told)["status"], "paused");
    assert_eq!(told["sub_id"], json!({ "format": "opaque", "id": pushed["stream_id"] }));
    let notice = client.take(&polled, &[]).await;
    let told: Vec<String> = notice.values().map(type_of).collect();
    assert_eq!(told, std::slice::from_ref(&name));
    world.scim().user("ada@x.org").await;
    world.sealed().await;
    let jtis: Vec<String> = notice.into_keys().collect();
    assert_eq!(client.take(&polled, &jtis).await, BTreeMap::new());
    let status = format!("status?stream_id={polled}");
    let status = client.call(Method::GET, &status, None).await.is(200).body;
    assert_eq!(status["status"], "paused");
    for shown in destinations(&world).await {
        act(&world, "destinationResume", &shown["id"]).await;
    }
    // What happened meanwhile was held.
    let created = format!("{SCIM}:prov:create:notice");
    assert_eq!(client.take_all(&polled, &created, 1).await.len(), 1);
    wait_until("the end of the pause", async || {
        let told = receiver.claims(&client, &name).await;
        told.iter().any(|claims| event_of(claims)["status"] == "enabled")
            && !receiver.claims(&client, &created).await.is_empty()
    })
    .await;
    world.end().await;
}

#[tokio::test]
async fn receiver_sets_its_status() {
    let world = world().await;
    let client = Client::of_world(&world).await;
    let id = client.polled(json!({})).await;
    let set = async |status: &str| {
        let body = json!({ "stream_id": id, "status": status, "reason": "maintenance" });
        let answer = client.call(Method::POST, "status", Some(body)).await.is(200).body;
        assert_eq!(answer["status"], status);
    };
    let created = format!("{SCIM}:prov:create:notice");
    set("paused").await;
    world.scim().user("held@x.org").await;
    world.sealed().await;
    assert_eq!(client.take(&id, &[]).await, BTreeMap::new());
    let shown = destinations(&world).await.remove(0);
    assert_eq!((&shown["state"], &shown["reason"]), (&json!("PAUSED"), &json!("PAUSED")));
    set("enabled").await;
    assert_eq!(client.take_all(&id, &created, 1).await.len(), 1);
    // A disabled stream holds nothing.
    set("disabled").await;
    world.scim().user("dropped@x.org").await;
    world.sealed().await;
    set("enabled").await;
    let kept = world.scim().user("kept@x.org").await;
    let told = client.take_all(&id, &created, 1).await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["sub_id"]["uri"], format!("/Users/{kept}"));
    let body = json!({ "stream_id": id, "status": "gone" });
    client.call(Method::POST, "status", Some(body)).await.is(400);
    world.end().await;
}

#[tokio::test]
async fn subjects_come_and_go() {
    let world = world().await;
    let client = Client::of_world(&world).await;
    let id = client.polled(json!({})).await;
    let body = json!({ "userName": "ada", "emails": [{ "value": "ada@x.org" }] });
    let ada = world.scim().post("/Users", body).await.is(201).id();
    let bo = world.scim().user("bo@x.org").await;
    client.take_all(&id, &format!("{SCIM}:prov:create:notice"), 2).await;
    let change = async |path: &str, subject: Value, status: u16| {
        let body = json!({ "stream_id": id, "subject": subject });
        client.call(Method::POST, path, Some(body)).await.is(status);
    };
    change("subjects/remove", json!({ "format": "email", "email": "ADA@x.org" }), 204).await;
    let removed = client.take_all(&id, &format!("{SCIM}:feed:remove"), 1).await;
    assert_eq!(removed[0]["sub_id"]["uri"], format!("/Users/{ada}"));
    suspend(&world, ada).await;
    suspend(&world, bo).await;
    let name = format!("{CAEP}/session-revoked");
    let told = client.take_all(&id, &name, 1).await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["sub_id"]["sub"], json!(bo));
    // A subject that does not exist is answered like one that does.
    let unknown = json!({ "format": "opaque", "id": Uuid::now_v7() });
    change("subjects/remove", unknown.clone(), 204).await;
    change("subjects/add", unknown, 200).await;
    change("subjects/add", json!({ "format": "phone_number" }), 400).await;
    change("subjects/add", json!({ "format": "scim", "uri": format!("/Users/{ada}") }), 200).await;
    let added = client.take_all(&id, &format!("{SCIM}:feed:add"), 1).await;
    assert_eq!(added[0]["sub_id"]["uri"], format!("/Users/{ada}"));
    world.scim().delete(&format!("/Users/{ada}")).await.is(204);
    assert_eq!(client.take_all(&id, &name, 1).await[0]["sub_id"]["sub"], json!(ada));
    world.end().await;
}

#[tokio::test]
async fn metadata_stands_before_the_path() {
    let world = World::with(|config| config.public_url = "https://id.example/pp".into()).await;
    let http = reqwest::Client::new();
    for path in ["/pp/ssf/acme", "/ssf/acme"] {
        let url = format!("{}/.well-known/ssf-configuration{path}", world.address);
        let metadata = Answer::of(http.get(url).send().await.unwrap()).await.is(200).body;
        assert_eq!(metadata["issuer"], "https://id.example/pp/ssf/acme");
        assert_eq!(metadata["jwks_uri"], "https://id.example/pp/ssf/acme/jwks.json");
    }
    // Strangers are not told which organizations exist.
    for path in ["/.well-known/ssf-configuration/ssf/SLUG", "/ssf/SLUG/jwks.json"] {
        let ask = async |slug: &str| {
            let url = format!("{}{}", world.address, path.replace("SLUG", slug));
            let answer = Answer::of(http.get(url).send().await.unwrap()).await;
            (answer.status, answer.body.to_string().replace(slug, "SLUG"))
        };
        assert_eq!(ask("nobody").await, ask("acme").await, "{path}");
        assert_eq!(ask("nobody").await.0, 200, "{path}");
    }
    let url = format!("{}/.well-known/ssf-configuration/ssf/No_Slug", world.address);
    assert_eq!(http.get(url).send().await.unwrap().status(), 404);
    let url = format!("{}/pp/ssf/acme/streams", world.address);
    assert_eq!(http.get(url).send().await.unwrap().status(), 401);
    world.end().await;
}

#[tokio::test]
async fn receiver_polls_its_own_stream() {
    let world = world().await;
    let client = Client::of_world(&world).await;
    let (mine, other) = (client.polled(json!({})).await, client.polled(json!({})).await);
    let full = client.polled(json!({ "payload": "FULL" })).await;
    let held = [Permission::SignalReceive].into();
    let issued = api_key::issue_key(&world.system(), "receiver", held, None).await.unwrap();
    let narrow = Client { key: issued.secret, ..client.clone() };
    let now = json!({ "returnImmediately": true });
    narrow.poll(&mine, now.clone()).await.is(404);
    // An administrator names the key; it takes nothing more than that stream.
    let id = |kind: &str, id: &str| URL_SAFE_NO_PAD.encode(format!("{kind}:{id}"));
    let bind = "mutation($d: ID!, $k: ID) { destinationUpdate(input: { id: $d, receiverKeyId: $k \
                }) { destination { stream { receiverKeyId } } userErrors { message } } }";
    let key = id("ApiKey", &issued.key.id.to_string());
    let bound = json!({ "d": id("Destination", &mine), "k": key });
    let bound = world.graphql(bind, bound).await["data"]["destinationUpdate"].clone();
    assert_eq!(bound["destination"]["stream"]["receiverKeyId"], json!(key), "{bound:#}");
    narrow.poll(&mine, now.clone()).await.is(200);
    let seen = narrow.call(Method::GET, "streams", None).await.is(200).body;
    assert_eq!(seen.as_array().unwrap().len(), 1, "{seen:#}");
    for id in [&other, &full] {
        narrow.poll(id, json!({ "returnImmediately": true, "ack": ["x"] })).await.is(404);
        narrow.call(Method::GET, &format!("streams?stream_id={id}"), None).await.is(404);
        narrow.call(Method::GET, &format!("status?stream_id={id}"), None).await.is(404);
        let verify = json!({ "stream_id": id });
        narrow.call(Method::POST, "verification", Some(verify)).await.is(404);
    }
    // Personal data need their own permission, also for an administrator.
    let writer = Client { key: key_with(&world, &[Permission::IamWrite]).await, ..client.clone() };
    writer.poll(&other, now.clone()).await.is(200);
    writer.poll(&full, now.clone()).await.is(403);
    client.poll(&full, now).await.is(200);
    world.end().await;
}

#[tokio::test]
async fn moved_stream_forgets_authorization_header() {
    let world = world().await;
    let (client, receiver) = (Client::of_world(&world).await, Receiver::start().await);
    let mut delivery = receiver.delivery();
    delivery["authorization_header"] = "Bearer receiver-secret".into();
    let made = client.create(json!({ "delivery": delivery })).await;
    let id = URL_SAFE_NO_PAD.encode(format!("Destination:{}", made["stream_id"].as_str().unwrap()));
    let edit = "mutation($i: DestinationUpdateInput!) { destinationUpdate(input: $i) {
        userErrors { message } } }";
    let kept = async || world.count("event_stream WHERE push_authorization IS NOT NULL", []).await;
    world.graphql(edit, json!({ "i": { "id": id, "description": "same" } })).await;
    assert_eq!(kept().await, 1);
    let url = format!("{}/elsewhere", receiver.url);
    let moved = world.graphql(edit, json!({ "i": { "id": id, "url": url } })).await;
    assert_eq!(moved["data"]["destinationUpdate"]["userErrors"], json!([]), "{moved:#}");
    assert_eq!(kept().await, 0);
    world.end().await;
}
