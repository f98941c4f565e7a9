//! Destinations are told of events: signed, at least once, in the order of each subject, and
//! without waiting for each other.

mod attacks;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rolecall::crypto::webhook::{is_signed_by, is_signed_with};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::database::Database;
use crate::messages::assert_messages_have_parts;
use crate::process::{bootstrap, kill_first, start_several};
use crate::world::{Scim, Tenant, World};

/// A message as it was received.
#[derive(Debug, Clone)]
struct Received {
    id: String,
    timestamp: i64,
    signatures: String,
    text: Vec<u8>,
    body: Value,
    at: Instant,
}

impl Received {
    fn action(&self) -> &str {
        self.body["type"].as_str().unwrap()
    }

    fn seq(&self) -> i64 {
        self.body["seq"].as_i64().unwrap()
    }

    fn subject(&self) -> Uuid {
        self.body["data"]["subject"]["id"].as_str().unwrap().parse().unwrap()
    }

    fn is_signed_by(&self, secret: &str) -> bool {
        let secret = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        is_signed_by(&secret, (&self.id, self.timestamp), &self.text, &self.signatures)
    }
}

/// How the receiver answers.
struct Behaviour {
    status: AtomicU16,
    /// Status for messages about one action only.
    refused: Mutex<Option<String>>,
    retry_after: Mutex<Option<String>>,
    endless: AtomicUsize,
    seen: AtomicUsize,
    received: Mutex<Vec<Received>>,
}

/// A server that receives webhooks.
#[derive(Clone)]
struct Receiver {
    url: String,
    behaviour: Arc<Behaviour>,
}

async fn receive(
    State(behaviour): State<Arc<Behaviour>>,
    headers: HeaderMap,
    text: Bytes,
) -> Response {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    behaviour.seen.fetch_add(1, Ordering::Relaxed);
    let body: Value = serde_json::from_slice(&text).unwrap();
    let refused = behaviour.refused.lock().unwrap().as_deref() == body["type"].as_str();
    let status = if refused { 500 } else { behaviour.status.load(Ordering::Relaxed) };
    if status < 300 {
        behaviour.received.lock().unwrap().push(Received {
            id: header("webhook-id"),
            timestamp: header("webhook-timestamp").parse().unwrap(),
            signatures: header("webhook-signature"),
            body,
            text: text.to_vec(),
            at: Instant::now(),
        });
    }
    let mut answer = Response::builder().status(status);
    if let Some(wait) = &*behaviour.retry_after.lock().unwrap() {
        answer = answer.header("retry-after", wait);
    }
    if status / 100 == 3 {
        answer = answer.header("location", "http://127.0.0.1:1/elsewhere");
    }
    if behaviour.endless.load(Ordering::Relaxed) > 0 {
        let chunks = futures_util::stream::repeat_with(|| {
            Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 65_536]))
        });
        return answer.body(Body::from_stream(chunks)).unwrap();
    }
    answer.body(Body::from("thanks, ada@example.org")).unwrap()
}

impl Receiver {
    async fn start() -> Self {
        let behaviour = Arc::new(Behaviour {
            status: AtomicU16::new(204),
            refused: Mutex::default(),
            retry_after: Mutex::default(),
            endless: AtomicUsize::new(0),
            seen: AtomicUsize::new(0),
            received: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let router = Router::new().fallback(receive).with_state(behaviour.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, behaviour }
    }

    fn answer(&self, status: u16) {
        self.behaviour.status.store(status, Ordering::Relaxed);
    }

    fn received(&self) -> Vec<Received> {
        self.behaviour.received.lock().unwrap().clone()
    }

    fn attempts(&self) -> usize {
        self.behaviour.seen.load(Ordering::Relaxed)
    }

    fn of(&self, subject: Uuid) -> Vec<Received> {
        self.received().into_iter().filter(|message| message.subject() == subject).collect()
    }
}

/// Waits until something is so.
async fn wait_until(what: &str, so: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !so().await {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn world() -> World {
    World::with(|config| config.signal_private_addresses = true).await
}

const CREATE: &str =
    "mutation($input: DestinationCreateInput!) { destinationCreate(input: $input) {
    destination { id state publicKey deliveredThrough } secret
    userErrors { code reason path message } } }";

async fn create(tenant: &Tenant, url: &str, more: Value) -> (String, String) {
    let mut input = json!({ "kind": "WEBHOOK", "url": url, "description": "Billing" });
    input.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    let done = tenant.graphql(CREATE, json!({ "input": input })).await;
    let made = &done["data"]["destinationCreate"];
    let id = made["destination"]["id"].as_str().unwrap_or_else(|| panic!("{done:#}"));
    (id.to_owned(), made["secret"].as_str().unwrap().to_owned())
}

/// A mutation of a destination or delivery by its id; returns its payload.
async fn act(tenant: &Tenant, name: &str, id: &str, more: &str) -> Value {
    let query = format!(
        "mutation($id: ID!) {{ {name}(input: {{ id: $id{more} }}) {{ userErrors {{ code reason \
         message }} }} }}"
    );
    let done = tenant.graphql(&query, json!({ "id": id })).await;
    assert_eq!(done["errors"], Value::Null, "{done:#}");
    done["data"][name].clone()
}

async fn ok(tenant: &Tenant, name: &str, id: &str, more: &str) {
    let done = act(tenant, name, id, more).await;
    assert_eq!(done["userErrors"], json!([]), "{name}: {done:#}");
}

async fn state(tenant: &Tenant, id: &str) -> Value {
    let query = "query($id: ID!) { organization { destination(id: $id) { state reason message messageParts { code }
        deliveredThrough deliveries(first: 100, orderBy: { field: EVENT_AT }) { nodes { id
        messageId state action seq attemptCount httpStatus response message messageParts { code } nextAt
        attempts { httpStatus message messageParts { code } } } } } } }";
    let answer = tenant.graphql(query, json!({ "id": id })).await;
    assert_eq!(answer["errors"], Value::Null, "{answer:#}");
    assert_messages_have_parts(&answer);
    answer["data"]["organization"]["destination"].clone()
}

async fn has_state(tenant: &Tenant, id: &str, wanted: &str) -> bool {
    state(tenant, id).await["state"] == wanted
}

/// A destination, and the delivery of a deletion to it, which waits; both are of no further effect.
/// Returns their global ids.
pub async fn furnish(tenant: &Tenant, name: &str) -> (String, String) {
    let filter = json!({ "eventActions": ["USER_DELETED"], "description": name });
    let (id, _) = create(tenant, "https://receiver.invalid/", filter).await;
    ok(tenant, "destinationReplay", &id, ", fromSeq: 1").await;
    let first = async || state(tenant, &id).await["deliveries"]["nodes"][0]["id"].clone();
    wait_until("a delivery", async || first().await.is_string()).await;
    ok(tenant, "destinationPause", &id, "").await;
    let delivery = first().await.as_str().unwrap().to_owned();
    (id, delivery)
}

#[tokio::test]
async fn every_event_is_told_in_order() {
    let world = world().await;
    let receiver = Receiver::start().await;
    world.scim().user("before").await;
    world.sealed().await;
    let (id, secret) = create(&world.acme, &receiver.url, json!({})).await;
    let mut people = Vec::new();
    for n in 0..5 {
        let person = world.scim().user(&format!("person{n}@x.org")).await;
        for title in ["Nurse", "Head nurse", "Matron"] {
            let change = json!([{ "op": "replace", "path": "title", "value": title }]);
            world.scim().patch(&format!("/Users/{person}"), change).await.is(200);
        }
        people.push(person);
    }
    wait_until("20 messages", async || {
        people.iter().map(|person| receiver.of(*person).len()).sum::<usize>() == 20
    })
    .await;
    for person in &people {
        let seqs: Vec<i64> = receiver.of(*person).iter().map(Received::seq).collect();
        assert!(seqs.is_sorted(), "{seqs:?}");
    }
    // Nothing is missing between the first and the last place, and nothing came twice.
    let told: BTreeMap<i64, Received> =
        receiver.received().into_iter().map(|message| (message.seq(), message)).collect();
    let (first, last) = (*told.keys().next().unwrap(), *told.keys().last().unwrap());
    assert_eq!(told.len() as i64, last - first + 1);
    assert_eq!(told[&first].action(), "destination.created");
    assert_eq!(receiver.received().len(), told.len());
    let key = world
        .graphql(
            "query($id: ID!) { organization { destination(id: $id) { publicKey } } }",
            json!({ "id": id }),
        )
        .await;
    let key = key["data"]["organization"]["destination"]["publicKey"].as_str().unwrap().to_owned();
    let public = STANDARD.decode(key.strip_prefix("whpk_").unwrap()).unwrap();
    for message in told.values() {
        assert!(message.is_signed_by(&secret));
        let head = (message.id.as_str(), message.timestamp);
        assert!(is_signed_with(&public, head, &message.text, &message.signatures));
        assert!(message.id.starts_with("msg_"));
        // References have no names.
        assert!(!String::from_utf8_lossy(&message.text).contains("x.org"), "{}", message.body);
    }
    let sets = format!("{}/signals/acme/jwks.json", world.address);
    let set: Value =
        serde_json::from_str(&reqwest::get(sets).await.unwrap().text().await.unwrap()).unwrap();
    assert_eq!(set["keys"][0]["crv"], "Ed25519");
    // What came of it is listed once it is written down.
    wait_until("the cursor", async || {
        state(&world.acme, &id).await["deliveredThrough"].as_i64().unwrap() >= last
    })
    .await;
    let shown = state(&world.acme, &id).await;
    let shown = &shown["deliveries"]["nodes"][0];
    assert_eq!((&shown["state"], &shown["httpStatus"]), (&json!("SUCCEEDED"), &json!(204)));
    assert_eq!(shown["messageId"], json!(told[&first].id));
    world.end().await;
}

#[tokio::test]
async fn full_payload_tells_values() {
    let world = world().await;
    let receiver = Receiver::start().await;
    let more = json!({ "payload": "FULL", "eventActions": ["USER_CREATED"] });
    create(&world.acme, &receiver.url, more).await;
    let person = world.scim().user("ada@x.org").await;
    world.scim().delete(&format!("/Users/{person}")).await.is(204);
    wait_until("a message", async || !receiver.received().is_empty()).await;
    let told = receiver.received();
    assert_eq!(told.len(), 1, "the filter is for one kind");
    assert!(told[0].body["data"]["after"].to_string().contains("ada@x.org"), "{:#}", told[0].body);
    world.end().await;
}

#[tokio::test]
async fn failed_delivery_keeps_its_id() {
    let world = world().await;
    let (broken, sound) = (Receiver::start().await, Receiver::start().await);
    broken.answer(503);
    let (id, _) = create(&world.acme, &broken.url, json!({})).await;
    create(&world.acme, &sound.url, json!({})).await;
    let person = world.scim().user("ada@x.org").await;
    // A destination that fails delays no other.
    wait_until("the other", async || !sound.of(person).is_empty()).await;
    wait_until("an attempt", async || {
        state(&world.acme, &id).await["deliveries"]["nodes"][0]["state"] == "WAITING"
    })
    .await;
    let waiting = state(&world.acme, &id).await["deliveries"]["nodes"][0].clone();
    assert_eq!(waiting["httpStatus"], 503);
    assert_eq!(waiting["response"], "thanks, ***");
    assert!(waiting["nextAt"].is_string());
    broken.answer(200);
    ok(&world.acme, "deliveryRetry", waiting["id"].as_str().unwrap(), "").await;
    world.app.clock.advance(Duration::from_secs(60));
    wait_until("recovery", async || !broken.of(person).is_empty()).await;
    let first = broken.received().remove(0);
    assert_eq!(json!(first.id), waiting["messageId"]);
    wait_until("success", async || {
        let shown = state(&world.acme, &id).await;
        shown["deliveries"]["nodes"].as_array().unwrap().iter().all(|d| d["state"] == "SUCCEEDED")
    })
    .await;
    world.end().await;
}

#[tokio::test]
async fn deprovisioning_waits_for_nothing() {
    let world = world().await;
    let receiver = Receiver::start().await;
    let person = world.scim().user("ada@x.org").await;
    world.sealed().await;
    let (id, _) = create(&world.acme, &receiver.url, json!({})).await;
    *receiver.behaviour.refused.lock().unwrap() = Some("user.updated".into());
    let title = json!([{ "op": "replace", "path": "title", "value": "Nurse" }]);
    world.scim().patch(&format!("/Users/{person}"), title).await.is(200);
    wait_until("a failure", async || {
        let nodes = state(&world.acme, &id).await["deliveries"]["nodes"].clone();
        nodes.as_array().unwrap().iter().any(|node| node["state"] == "WAITING")
    })
    .await;
    let left = Instant::now();
    let gone = json!([{ "op": "replace", "path": "active", "value": false }]);
    world.scim().patch(&format!("/Users/{person}"), gone).await.is(200);
    wait_until("the deprovisioning", async || !receiver.of(person).is_empty()).await;
    let told = receiver.of(person).remove(0);
    assert_eq!(told.action(), "user.suspended");
    assert_eq!(told.body["data"]["deprovisioning"], true);
    assert!(told.at - left < Duration::from_secs(2), "{:?}", told.at - left);
    world.end().await;
}

#[tokio::test]
async fn deprovisioning_follows_a_recovery_at_once() {
    let world = world().await;
    let receiver = Receiver::start().await;
    let person = world.scim().user("ada@x.org").await;
    receiver.answer(500);
    let (id, _) = create(&world.acme, &receiver.url, json!({})).await;
    let gone = json!([{ "op": "replace", "path": "active", "value": false }]);
    world.scim().patch(&format!("/Users/{person}"), gone).await.is(200);
    wait_until("FAILING", async || has_state(&world.acme, &id, "FAILING").await).await;
    let items = "{ organization { attention { kind message nextStep } } }";
    let items = world.graphql(items, json!({})).await;
    let items = items["data"]["organization"]["attention"].clone();
    assert!(items.as_array().unwrap().iter().any(|item| item["kind"] == "DESTINATION"), "{items}");
    let recovered = Instant::now();
    receiver.answer(200);
    wait_until("the deprovisioning", async || !receiver.of(person).is_empty()).await;
    let told = receiver.of(person).remove(0);
    assert!(told.at - recovered < Duration::from_secs(2), "{:?}", told.at - recovered);
    wait_until("ACTIVE", async || has_state(&world.acme, &id, "ACTIVE").await).await;
    world.end().await;
}

#[tokio::test]
async fn gone_receiver_is_paused() {
    let world = world().await;
    let receiver = Receiver::start().await;
    receiver.answer(410);
    let (id, _) = create(&world.acme, &receiver.url, json!({})).await;
    wait_until("PAUSED", async || has_state(&world.acme, &id, "PAUSED").await).await;
    assert_eq!(state(&world.acme, &id).await["reason"], "GONE");
    let refused = act(&world.acme, "destinationTest", &id, "").await;
    assert_eq!(refused["userErrors"][0]["code"], "HELD");
    // It is told of what happened meanwhile.
    let person = world.scim().user("ada@x.org").await;
    receiver.answer(200);
    ok(&world.acme, "destinationResume", &id, "").await;
    wait_until("the event", async || !receiver.of(person).is_empty()).await;
    world.end().await;
}

#[tokio::test]
async fn receiver_can_ask_for_silence() {
    let world = world().await;
    let receiver = Receiver::start().await;
    receiver.answer(429);
    *receiver.behaviour.retry_after.lock().unwrap() = Some("600".into());
    let (id, _) = create(&world.acme, &receiver.url, json!({})).await;
    wait_until("an attempt", async || receiver.attempts() > 0).await;
    let tried = receiver.attempts();
    let person = world.scim().user("ada@x.org").await;
    wait_until("it is written down", async || {
        state(&world.acme, &id).await["deliveries"]["nodes"][0]["state"] == "WAITING"
    })
    .await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(receiver.attempts(), tried);
    receiver.answer(200);
    *receiver.behaviour.retry_after.lock().unwrap() = None;
    world.app.clock.advance(Duration::from_secs(601));
    wait_until("the event", async || !receiver.of(person).is_empty()).await;
    world.end().await;
}

#[tokio::test]
async fn delivery_ends_after_three_days() {
    let world = world().await;
    let receiver = Receiver::start().await;
    receiver.answer(500);
    let filter = json!({ "eventActions": ["USER_CREATED"] });
    let (id, _) = create(&world.acme, &receiver.url, filter).await;
    for n in 0..6 {
        world.scim().user(&format!("person{n}@x.org")).await;
    }
    wait_until("FAILING", async || {
        world.app.clock.advance(Duration::from_secs(6));
        has_state(&world.acme, &id, "FAILING").await
    })
    .await;
    wait_until("DISABLED", async || {
        world.app.clock.advance(Duration::from_secs(8 * 60 * 60));
        has_state(&world.acme, &id, "DISABLED").await
    })
    .await;
    let shown = state(&world.acme, &id).await;
    assert_eq!(shown["reason"], "GAVE_UP");
    let nodes = shown["deliveries"]["nodes"].as_array().unwrap();
    assert!(nodes.iter().any(|node| node["state"] == "FAILED"), "{shown:#}");
    let told =
        world.rows("SELECT action FROM event WHERE action = 'destination.disabled'", []).await;
    assert_eq!(told.len(), 1);
    // What was given up waits for a reviewer.
    let (count, failure) = given_up(&world).await;
    assert!(count >= 1, "{failure:#}");
    assert_eq!(
        (&failure["origin"], &failure["state"], &failure["cause"], &failure["connection"]),
        (&json!("DELIVERY"), &json!("OPEN"), &json!("TARGET_UNAVAILABLE"), &Value::Null)
    );
    assert_eq!((&failure["destinationId"], &failure["retryable"]), (&json!(id), &json!(true)));
    assert!(failure["label"].as_str().unwrap().ends_with("@x.org"), "{failure:#}");
    assert!(failure["message"].as_str().unwrap().contains("three days"), "{failure:#}");
    let opened = "event WHERE action = 'failure.opened' AND subject_kind = 'failure'";
    assert_eq!(world.count(opened, []).await, count);
    // A destination that is told nothing cannot be tried again.
    let failed = failure["id"].as_str().unwrap();
    let refused = act(&world.acme, "failureRetry", failed, "").await;
    assert_eq!(refused["userErrors"][0]["code"], "HELD", "{refused:#}");
    receiver.answer(200);
    ok(&world.acme, "destinationResume", &id, "").await;
    wait_until("what waited", async || receiver.received().len() >= 5).await;
    ok(&world.acme, "failureRetry", failed, "").await;
    wait_until("the end of the failure", async || given_up(&world).await.0 == count - 1).await;
    let query = "query($f: ID!) { node(id: $f) { ... on Failure { state resolution } } }";
    let ended = world.graphql(query, json!({ "f": failed })).await;
    let wanted = json!({ "state": "RESOLVED", "resolution": "RETRIED" });
    assert_eq!(ended["data"]["node"], wanted, "{ended:#}");
    world.end().await;
}

/// How many failures of deliveries wait, and the first of them.
async fn given_up(world: &World) -> (i64, Value) {
    let query = "{ organization { failures(first: 50, filter: { states: [OPEN, RETRYING] }) {
        totalCount nodes { id origin state cause label message retryable destinationId
          connection { id } deliveryId } } } }";
    let seen = world.graphql(query, json!({})).await;
    let found = &seen["data"]["organization"]["failures"];
    let count = found["totalCount"].as_i64().unwrap_or_else(|| panic!("{seen:#}"));
    (count, found["nodes"][0].clone())
}

#[tokio::test]
async fn given_up_deliveries_are_reviewed() {
    let world = world().await;
    let receiver = Receiver::start().await;
    *receiver.behaviour.refused.lock().unwrap() = Some("user.created".into());
    let (id, _) = create(&world.acme, &receiver.url, json!({})).await;
    world.scim().user("ada@x.org").await;
    // The receiver takes other events meanwhile, so the destination stays.
    for _ in 0..12 {
        world.app.clock.advance(Duration::from_secs(8 * 60 * 60));
        world.scim().group("Ward", &[]).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    wait_until("a failure", async || {
        world.app.clock.advance(Duration::from_secs(8 * 60 * 60));
        given_up(&world).await.0 > 0
    })
    .await;
    let (count, failure) = given_up(&world).await;
    assert_eq!((count, &failure["label"]), (1, &json!("ada@x.org")));
    // Attention leads to the review queue.
    let query = "{ organization { attention { kind count nextStep } } }";
    let seen = world.graphql(query, json!({})).await;
    let items = seen["data"]["organization"]["attention"].as_array().unwrap();
    let item = items.iter().find(|item| item["kind"] == "DELIVERIES");
    assert_eq!(item.unwrap_or_else(|| panic!("{seen:#}"))["count"], 1);
    // Dismissed, it is over; its destination goes on.
    let text = "mutation($i: ID!) { failureDismiss(input: { id: $i, reason: \"not needed\" }) { \
                failure { state } userErrors { message } } }";
    let done = world.graphql(text, json!({ "i": failure["id"] })).await;
    assert_eq!(done["data"]["failureDismiss"]["failure"]["state"], "DISMISSED", "{done:#}");
    assert_eq!(given_up(&world).await.0, 0);
    // With a destination go the failures of its deliveries.
    world.execute("UPDATE failure SET finished_at = NULL, state = 'OPEN'", []).await;
    assert_eq!(given_up(&world).await.0, 1);
    ok(&world.acme, "destinationDelete", &id, "").await;
    let rows = world.rows("SELECT state, resolution FROM failure", []).await;
    assert_eq!(rows[0], json!({ "state": "DISMISSED", "resolution": "DESTINATION_DELETED" }));
    world.end().await;
}

#[tokio::test]
async fn destinations_are_limited() {
    let world = world().await;
    let (id, _) = create(&world.acme, "https://hooks.example/0", json!({})).await;
    // The other 98 are copies of the first one.
    let columns = world.rows("SELECT * FROM destination", []).await;
    let names: Vec<String> =
        columns[0].as_object().unwrap().keys().map(|name| format!("\"{name}\"")).collect();
    let values: Vec<String> = names
        .iter()
        .map(|name| if name == "\"id\"" { "$1".to_owned() } else { name.clone() })
        .collect();
    let copy = format!(
        "INSERT INTO destination ({}) SELECT {} FROM destination LIMIT 1",
        names.join(", "),
        values.join(", ")
    );
    for _ in 0..98 {
        world.execute(&copy, [Uuid::now_v7().into()]).await;
    }
    create(&world.acme, "https://hooks.example/99", json!({})).await;
    let input =
        json!({ "kind": "WEBHOOK", "url": "https://hooks.example/100", "description": "x" });
    let refused = world.graphql(CREATE, json!({ "input": input })).await;
    let mistake = &refused["data"]["destinationCreate"]["userErrors"][0];
    assert_eq!((&mistake["code"], &mistake["reason"]), (&json!("HELD"), &json!("TOO_MUCH_STORED")));
    assert_eq!(world.count("destination", []).await, 100);
    // The limit is each organization's own, and a deletion makes room.
    let theirs = world.second_organization().await;
    create(&theirs, "https://hooks.example/", json!({})).await;
    ok(&world.acme, "destinationDelete", &id, "").await;
    create(&world.acme, "https://hooks.example/100", json!({})).await;
    world.end().await;
}

#[tokio::test]
async fn secret_rotates_with_an_overlap() {
    let world = world().await;
    let receiver = Receiver::start().await;
    let filter = json!({ "eventActions": ["USER_CREATED"] });
    let (id, old) = create(&world.acme, &receiver.url, filter).await;
    let rotate = "mutation($id: ID!) { destinationRotateSecret(input: { id: $id,
        overlapSeconds: 3600 }) { secret userErrors { message } } }";
    let rotated = world.graphql(rotate, json!({ "id": id })).await;
    let new = rotated["data"]["destinationRotateSecret"]["secret"].as_str().unwrap().to_owned();
    assert_ne!(new, old);
    let ada = world.scim().user("ada@x.org").await;
    wait_until("during", async || !receiver.of(ada).is_empty()).await;
    let told = receiver.of(ada).remove(0);
    assert!(told.is_signed_by(&new) && told.is_signed_by(&old));
    assert_eq!(told.signatures.matches("v1,").count(), 2);
    world.app.clock.advance(Duration::from_secs(3_601));
    let bo = world.scim().user("bo@x.org").await;
    wait_until("after", async || !receiver.of(bo).is_empty()).await;
    let told = receiver.of(bo).remove(0);
    assert!(told.is_signed_by(&new) && !told.is_signed_by(&old));
    // No secret is in the ledger, nor in the row as text.
    for (table, column) in [("event", "payload"), ("destination", "url")] {
        for row in world.rows(&format!("SELECT {column} FROM {table}"), []).await {
            assert!(!row.to_string().contains("whsec_"), "{row}");
        }
    }
    world.end().await;
}

#[tokio::test]
async fn pause_resume_and_replay_lose_nothing() {
    let world = world().await;
    let receiver = Receiver::start().await;
    let filter = json!({ "eventActions": ["USER_CREATED"] });
    let (id, _) = create(&world.acme, &receiver.url, filter).await;
    let ada = world.scim().user("ada@x.org").await;
    wait_until("before", async || receiver.of(ada).len() == 1).await;
    ok(&world.acme, "destinationPause", &id, "").await;
    let bo = world.scim().user("bo@x.org").await;
    world.sealed().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(receiver.of(bo).is_empty());
    ok(&world.acme, "destinationResume", &id, "").await;
    wait_until("meanwhile", async || !receiver.of(bo).is_empty()).await;
    let first = receiver.of(ada)[0].seq();
    ok(&world.acme, "destinationReplay", &id, &format!(", fromSeq: {first}")).await;
    wait_until("again", async || receiver.of(ada).len() >= 2 && receiver.of(bo).len() >= 2).await;
    let told = receiver.of(ada);
    assert!(told.iter().all(|again| again.id == told[0].id), "a message keeps its id");
    let before = receiver.of(bo).len();
    ok(&world.acme, "destinationReplay", &id, ", since: \"2020-01-01T00:00:00Z\"").await;
    wait_until("from the beginning", async || receiver.of(bo).len() > before).await;
    for wrong in [", fromSeq: 0", ", fromSeq: 100000", ""] {
        let refused = act(&world.acme, "destinationReplay", &id, wrong).await;
        assert_eq!(refused["userErrors"][0]["code"], "INVALID", "{wrong}");
    }
    ok(&world.acme, "destinationDelete", &id, "").await;
    assert_eq!(world.count("delivery", []).await, 0);
    world.end().await;
}

#[tokio::test]
async fn killed_server_loses_no_event() {
    let database = Database::empty().await;
    let made = bootstrap(&database);
    let settings = [("ROLECALL_SIGNAL_PRIVATE_ADDRESSES", "true")];
    let mut servers = start_several(&database, 2, &settings).await;
    let receiver = Receiver::start().await;
    let tenant = |address: &str| Tenant {
        organization: Uuid::nil(),
        connection: Uuid::nil(),
        api_key: made["graphql"]["api_key"].as_str().unwrap().to_owned(),
        scim: Scim::new(
            &format!("{address}/scim/v2/acme"),
            made["scim"]["token"].as_str().unwrap(),
        ),
        graphql: format!("{address}/graphql"),
    };
    let acme = tenant(&servers[0].address);
    let (id, _) = create(&acme, &receiver.url, json!({})).await;
    for n in 0..20 {
        acme.scim.user(&format!("before{n}@x.org")).await;
    }
    wait_until("some", async || receiver.received().len() > 5).await;
    kill_first(&mut servers, &database, &settings).await;
    let acme = tenant(&servers[servers.len() - 1].address);
    for n in 0..20 {
        acme.scim.user(&format!("after{n}@x.org")).await;
    }
    let events = "{ organization { events(first: 100) { nodes { seq action } } } }";
    let count = async || {
        let answer = acme.graphql(events, json!({})).await;
        let nodes = answer["data"]["organization"]["events"]["nodes"].as_array().unwrap().clone();
        nodes.iter().filter(|node| node["action"] == "USER_CREATED").count()
    };
    assert_eq!(count().await, 40);
    wait_until("all 40", async || {
        let told: HashMap<_, _> = receiver
            .received()
            .into_iter()
            .filter(|told| told.action() == "user.created")
            .map(|told| (told.seq(), told.id))
            .collect();
        told.len() == 40
    })
    .await;
    // What came twice came with the same id.
    let mut ids: HashMap<i64, String> = HashMap::new();
    for told in receiver.received() {
        assert_eq!(*ids.entry(told.seq()).or_insert(told.id.clone()), told.id);
    }
    assert!(has_state(&acme, &id, "ACTIVE").await);
    drop(servers);
    database.drop().await;
}

/// The examples in a language that the guide shows.
fn example_of(language: &str) -> String {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(page.join("docs/guides/hear-about-changes.md")).unwrap();
    let (_, rest) = page.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("\n```").unwrap().0.to_owned()
}

#[tokio::test]
async fn shown_receivers_verify() {
    let world = world().await;
    let receiver = Receiver::start().await;
    let (_, secret) = create(&world.acme, &receiver.url, json!({})).await;
    wait_until("a message", async || !receiver.received().is_empty()).await;
    let told = receiver.received().remove(0);
    let headers = json!({
        "webhook-id": told.id, "webhook-timestamp": told.timestamp.to_string(),
        "webhook-signature": told.signatures,
    });
    let text = String::from_utf8(told.text.clone()).unwrap();
    let (secret, headers, text) =
        (json!(secret).to_string(), headers.to_string(), json!(text).to_string());
    let node = format!(
        "{}\nconst [s, h, b] = [{secret}, {headers}, {text}];\nprocess.exit(verify(s, h, b) && \
         !verify(s, h, b + ' ') && !verify('whsec_AAAA', h, b) ? 0 : 1);",
        example_of("js")
    );
    let python = format!(
        "{}\ns, h, b = {secret}, {headers}, {text}.encode()\nraise SystemExit(0 if verify(s, h, \
         b) and not verify(s, h, b + b' ') and not verify('whsec_AAAA', h, b) else 1)",
        example_of("python")
    );
    for (program, arguments) in
        [("node", vec!["--input-type=module", "-e", &node]), ("python3", vec!["-c", &python])]
    {
        let Ok(done) = std::process::Command::new(program).args(&arguments).output() else {
            assert!(std::env::var("CI").is_err(), "{program} is missing");
            continue;
        };
        assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
    }
    world.end().await;
}
