//! Traces over OTLP: a collector in the test gets what a server exports. They need the feature `otlp`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use reqwest::Method;
use serde_json::json;

use crate::database::{Database, on_postgres};
use crate::process::{Server, bootstrap};
use crate::socket::Socket;

/// A span as it was exported.
#[derive(Debug, Clone, Default)]
struct ExportedSpan {
    trace: String,
    id: String,
    parent: String,
    name: String,
    attributes: HashMap<String, String>,
    /// The traces of its links.
    links: Vec<String>,
}

/// What came to the collector.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Bytes>>>);

impl Collector {
    /// Listens; returns its address.
    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new().route("/v1/traces", post(take_export)).with_state(self.clone());
        tokio::spawn(axum::serve(listener, routes).into_future());
        address
    }

    fn bodies(&self) -> Vec<Bytes> {
        self.0.lock().unwrap().clone()
    }

    fn spans(&self) -> Vec<ExportedSpan> {
        self.bodies().iter().flat_map(|body| decode_export(body)).collect()
    }

    /// Waits for a span.
    async fn wait_for(&self, wanted: impl Fn(&ExportedSpan) -> bool) -> ExportedSpan {
        let began = Instant::now();
        loop {
            if let Some(found) = self.spans().into_iter().find(&wanted) {
                return found;
            }
            assert!(began.elapsed() < Duration::from_secs(10), "{:#?}", self.spans());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn take_export(State(collector): State<Collector>, headers: HeaderMap, body: Bytes) {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    assert!(!headers.contains_key("traceparent"), "exporting makes no spans of its own");
    collector.0.lock().unwrap().push(body);
}

/// The fields of a message in protobuf's encoding, with the bytes of those that have a length.
fn decode_fields(mut bytes: &[u8]) -> Vec<(u64, &[u8])> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let (byte, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let start = bytes;
        let length = match key & 7 {
            0 => {
                varint(&mut bytes);
                start.len() - bytes.len()
            }
            1 => 8,
            2 => {
                let length = varint(&mut bytes) as usize;
                fields.push((key >> 3, &bytes[..length]));
                bytes = &bytes[length..];
                continue;
            }
            5 => 4,
            other => panic!("wire type {other}"),
        };
        fields.push((key >> 3, &start[..length]));
        bytes = &start[length..];
    }
    fields
}

/// ExportTraceServiceRequest: resource spans (1), in them scope spans (2), in them spans (2).
fn decode_export(body: &[u8]) -> Vec<ExportedSpan> {
    let inside = |bytes, number| {
        decode_fields(bytes).into_iter().filter(move |field| field.0 == number).map(|field| field.1)
    };
    inside(body, 1)
        .flat_map(|resource| inside(resource, 2))
        .flat_map(|scope| inside(scope, 2))
        .map(decode_span)
        .collect()
}

fn decode_span(bytes: &[u8]) -> ExportedSpan {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let field = |bytes, number| {
        decode_fields(bytes).into_iter().find(|field| field.0 == number).map(|field| field.1)
    };
    let mut span = ExportedSpan::default();
    for (number, value) in decode_fields(bytes) {
        match number {
            1 => span.trace = hex(value),
            2 => span.id = hex(value),
            4 => span.parent = hex(value),
            5 => span.name = text(value),
            9 => {
                let any = field(value, 2).unwrap_or_default();
                // A text is field 1, an integer field 3.
                let said = match field(any, 3) {
                    Some(integer) => integer[0].to_string(),
                    None => text(field(any, 1).unwrap_or_default()),
                };
                span.attributes.insert(text(field(value, 1).unwrap()), said);
            }
            13 => span.links.push(hex(field(value, 1).unwrap())),
            _ => {}
        }
    }
    span
}

/// The trace and the span of a client.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_leads_from_request_to_job() {
    let collector = Collector::default();
    let endpoint = collector.start().await;
    let database = Database::empty().await;
    let made = bootstrap(&database);
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint), ("OTEL_BSP_SCHEDULE_DELAY", "50")];
    let mut server = Server::begin(&database, &settings);
    server.ready().await;
    let scim = server.scim(&made);
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    let person = json!({
        "userName": "ada.lovelace@example.com", "displayName": "Ada Lovelace", "externalId": "ada-1",
        "name": { "familyName": "Lovelace", "givenName": "Ada" },
        "emails": [{ "value": "countess@example.com", "primary": true }],
    });
    let headers = [("traceparent", &*traceparent)];
    let created =
        scim.send(Method::POST, "/Users", Some(person.clone()), &headers).await.is(201).id();

    let request = collector.wait_for(|span| span.parent == PARENT).await;
    assert_eq!((&*request.trace, &*request.name), (TRACE, "POST /scim/v2/{slug}/Users"));
    let attribute = |name: &str| request.attributes.get(name).map_or("-", String::as_str);
    assert_eq!(attribute("http.request.method"), "POST");
    assert_eq!(attribute("http.route"), "/scim/v2/{slug}/Users");
    assert_eq!(attribute("url.scheme"), "http");
    assert_eq!(attribute("rolecall.organization_id"), made["organization"]["id"].as_str().unwrap());
    assert_eq!(attribute("rolecall.connection_id"), made["connection"]["id"].as_str().unwrap());
    assert_eq!(attribute("rolecall.request_id").len(), 36);

    let follows = |span: &ExportedSpan| span.trace == TRACE && span.parent == request.id;
    let system = if on_postgres() { "postgresql" } else { "sqlite" };
    let write = if on_postgres() { "INSERT" } else { "COMMIT" };
    let batch = collector.wait_for(|span| follows(span) && span.name == write).await;
    assert_eq!(batch.attributes["db.system.name"], system);
    let job = collector.wait_for(|span| follows(span) && span.name == "seal ledgers").await;
    assert_eq!(job.attributes["rolecall.job.name"], "seal ledgers");

    // Everything else that may name a person: failures, searches, other interfaces, members.
    scim.post("/Users", person).await.is(409);
    scim.get("/Users?filter=emails.value%20eq%20%22countess%40example.com%22").await.is(200);
    scim.get("/Users/ada.lovelace@example.com").await.is(404);
    scim.group("Analytical Engine", &[created]).await;
    let key = made["graphql"]["api_key"].as_str().unwrap();
    let query = json!({
        "query": "query($name: String!) { users(first: 3, filter: $name) { nodes { userName } } }",
        "variables": { "name": "userName eq \"ada.lovelace@example.com\"" },
    });
    let asked = reqwest::Client::new().post(format!("{}/graphql", server.address));
    asked.bearer_auth(key).json(&query).send().await.unwrap();
    scim.delete(&format!("/Users/{created}")).await.is(204);
    server.terminate();
    assert_eq!(server.exit_code().await, Some(0));

    // What was left is exported before the process ends.
    let names: Vec<String> = collector.spans().into_iter().map(|span| span.name).collect();
    for name in ["POST /graphql", "DELETE /scim/v2/{slug}/Users/{id}"] {
        assert!(names.iter().any(|it| it == name), "{name}: {names:?}");
    }
    let token = made["scim"]["token"].as_str().unwrap();
    let personal = ["lovelace", "countess", "example.com", "ada-1", "analytical", token, key];
    for body in collector.bodies() {
        let text = String::from_utf8_lossy(&body).to_lowercase();
        for word in personal {
            assert!(!text.contains(&word.to_lowercase()), "{word} was exported: {text}");
        }
    }
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batch_is_linked_with_every_request() {
    let collector = Collector::default();
    let endpoint = collector.start().await;
    let database = Database::empty().await;
    let made = bootstrap(&database);
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint), ("OTEL_BSP_SCHEDULE_DELAY", "50")];
    let mut server = Server::begin(&database, &settings);
    server.ready().await;
    let scim = server.scim(&made);
    let writes = (0..60).map(|n| {
        let scim = scim.clone();
        async move { scim.user(&format!("person {n}")).await }
    });
    futures_util::future::join_all(writes).await;
    server.terminate();
    assert_eq!(server.exit_code().await, Some(0));
    let spans = collector.spans();
    let requests: Vec<_> =
        spans.iter().filter(|span| span.name == "POST /scim/v2/{slug}/Users").collect();
    assert_eq!(requests.len(), 60);
    let batches: Vec<_> = spans
        .iter()
        .filter(|span| span.attributes.contains_key("db.operation.batch.size"))
        .collect();
    assert!(!batches.is_empty(), "{spans:#?}");
    for batch in batches {
        assert_ne!(batch.parent, "", "{batch:?}");
        if on_postgres() {
            let size: usize = batch.attributes["db.operation.batch.size"].parse().unwrap();
            assert_eq!(batch.links.len() + 1, size, "{batch:?}");
        }
        for linked in &batch.links {
            assert!(spans.iter().any(|span| span.trace == *linked), "{batch:?}");
        }
    }
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn later_work_leads_to_its_requests() {
    let collector = Collector::default();
    let endpoint = collector.start().await;
    let database = Database::empty().await;
    let made = bootstrap(&database);
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint), ("OTEL_BSP_SCHEDULE_DELAY", "50")];
    let mut server = Server::begin(&database, &settings);
    server.ready().await;
    let ada = server.scim(&made).user("ada.lovelace@example.com").await;
    let key = made["graphql"]["api_key"].as_str().unwrap();

    // Operations on a socket: each has a span of its own, linked with the request that opened it.
    let mut socket = Socket::of(&server.address, key).await;
    socket
        .subscribe(
            "1",
            "mutation { roleCreate(input: { name: \"Analyst\" }) { role { id } userErrors { code } } }",
        )
        .await;
    let role = socket.next("1").await["data"]["roleCreate"]["role"]["id"].clone();
    let opened = collector.wait_for(|span| span.name == "GET /graphql").await;
    let operation = collector.wait_for(|span| span.name == "GraphQL operation on a socket").await;
    assert_eq!(operation.links, [opened.trace]);
    let organization = made["organization"]["id"].as_str().unwrap();
    assert_eq!(operation.attributes["rolecall.organization_id"], organization);
    assert_eq!(operation.attributes["rolecall.request_id"].len(), 36);
    let write = |span: &ExportedSpan| span.parent == operation.id;
    collector.wait_for(write).await;

    // The events about gained roles follow later, in a job of several requests.
    let grant = json!({
        "query": "mutation($user: ID!, $role: ID!) { roleGrantCreate(input: { userId: $user, \
                  roleId: $role }) { userErrors { code } } }",
        "variables": { "user": ada, "role": role },
    });
    let asked = reqwest::Client::new().post(format!("{}/graphql", server.address));
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let asked = asked.bearer_auth(key).header("traceparent", parent).json(&grant);
    let answer: serde_json::Value = asked.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["data"]["roleGrantCreate"]["userErrors"], json!([]), "{answer:#}");
    let announced = |span: &ExportedSpan| {
        span.name == "announce access changes" && span.links.contains(&TRACE.to_owned())
    };
    collector.wait_for(announced).await;
    drop(socket);
    server.terminate();
    assert_eq!(server.exit_code().await, Some(0));
    database.drop().await;
}
