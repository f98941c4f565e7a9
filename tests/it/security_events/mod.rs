//! Streams of security event tokens, with a receiver that is written from the specifications alone
//! (SSF 1.0, RFC 8417, 8935, 8936, 9967) and verifies with a library that the server does not sign
//! with.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use reqwest::Method;
use rolecall::auth::policy::{Permission, Permissions};
use rolecall::domain::access::api_key;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{Answer, World};

mod deferred;
mod delivery;
mod management;
mod polling;

const SCIM: &str = "urn:ietf:params:scim:event";
const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type";
const RISC: &str = "https://schemas.openid.net/secevent/risc/event-type";
const SSF: &str = "https://schemas.openid.net/secevent/ssf/event-type";
const PUSH: &str = "urn:ietf:rfc:8935";
const POLL: &str = "urn:ietf:rfc:8936";

/// Waits until something is so.
async fn wait_until(what: &str, so: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !so().await {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A receiver's side: it manages streams of one organization with a key.
#[derive(Clone)]
struct Client {
    http: reqwest::Client,
    /// Where the server really listens.
    address: String,
    issuer: String,
    slug: String,
    key: String,
}

impl Client {
    /// Discovers the transmitter of an organization by its metadata.
    async fn discover(address: &str, slug: &str, key: &str) -> Self {
        let http = reqwest::Client::new();
        let url = format!("{address}/.well-known/ssf-configuration/ssf/{slug}");
        let metadata = Answer::of(http.get(url).send().await.unwrap()).await.is(200);
        assert_eq!(metadata.header("content-type"), "application/json");
        let metadata = metadata.body;
        assert_eq!(metadata["spec_version"], "1_0");
        assert_eq!(metadata["delivery_methods_supported"], json!([PUSH, POLL]));
        assert_eq!(metadata["default_subjects"], "ALL");
        let issuer = metadata["issuer"].as_str().unwrap().to_owned();
        for name in ["jwks_uri", "configuration_endpoint", "status_endpoint"] {
            let url = metadata[name].as_str().unwrap();
            assert!(url.starts_with(&format!("{issuer}/")), "{name}: {url}");
        }
        let (address, slug, key) = (address.to_owned(), slug.to_owned(), key.to_owned());
        Self { http, address, issuer, slug, key }
    }

    async fn of_world(world: &World) -> Self {
        Self::discover(&world.address, "acme", &world.acme.api_key).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let url = format!("{}/ssf/{}/{path}", self.address, self.slug);
        let mut request = self.http.request(method, url).bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        Answer::of(request.send().await.unwrap()).await
    }

    async fn create(&self, body: Value) -> Value {
        let made = self.call(Method::POST, "streams", Some(body)).await.is(201).body;
        assert_eq!(made["iss"], json!(self.issuer));
        made
    }

    /// A stream that is polled; returns its id.
    async fn polled(&self, more: Value) -> String {
        let made = self.create(more).await;
        assert_eq!(made["delivery"]["method"], POLL);
        let id = made["stream_id"].as_str().unwrap().to_owned();
        let url = made["delivery"]["endpoint_url"].as_str().unwrap();
        assert_eq!(url, format!("{}/streams/{id}/poll", self.issuer));
        id
    }

    async fn poll(&self, id: &str, body: Value) -> Answer {
        self.call(Method::POST, &format!("streams/{id}/poll"), Some(body)).await
    }

    /// What a poll that does not wait hands out, verified.
    async fn take(&self, id: &str, ack: &[String]) -> BTreeMap<String, Value> {
        let body = json!({ "returnImmediately": true, "ack": ack });
        let answer = self.poll(id, body).await.is(200).body;
        let keys = self.keys().await;
        let sets = answer["sets"].as_object().unwrap();
        let verify = |(jti, token): (&String, &Value)| {
            let claims = keys.verify(token.as_str().unwrap());
            assert_eq!(claims["jti"], json!(jti));
            assert_eq!(claims["iss"], json!(self.issuer));
            (jti.clone(), claims)
        };
        sets.iter().map(verify).collect()
    }

    /// Takes and acknowledges until as many events of this type have come.
    async fn take_all(&self, id: &str, name: &str, count: usize) -> Vec<Value> {
        let (mut found, mut ack) = (Vec::new(), Vec::new());
        let began = Instant::now();
        while found.len() < count || !ack.is_empty() {
            assert!(began.elapsed() < Duration::from_secs(20), "{name}: {found:#?}");
            let taken = self.take(id, &ack).await;
            ack = taken.keys().cloned().collect();
            found.extend(taken.into_values().filter(|claims| type_of(claims) == name));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        found
    }

    async fn keys(&self) -> Keys {
        let url = format!("{}/ssf/{}/jwks.json", self.address, self.slug);
        let answer = Answer::of(self.http.get(url).send().await.unwrap()).await.is(200);
        Keys(serde_json::from_value(answer.body).unwrap())
    }
}

/// The one type of a token's events.
fn type_of(claims: &Value) -> String {
    let events = claims["events"].as_object().unwrap();
    assert_eq!(events.len(), 1, "{claims:#}");
    events.keys().next().unwrap().clone()
}

fn event_of(claims: &Value) -> &Value {
    &claims["events"][type_of(claims)]
}

/// A key set, with which tokens are verified.
struct Keys(JwkSet);

impl Keys {
    fn try_verify(&self, token: &str) -> Option<Value> {
        let header = jsonwebtoken::decode_header(token).ok()?;
        assert_eq!(header.typ.as_deref(), Some("secevent+jwt"));
        let key = self.0.find(header.kid.as_deref()?)?;
        let algorithm = match key.common.key_algorithm?.to_string().as_str() {
            "RS256" => Algorithm::RS256,
            "ES256" => Algorithm::ES256,
            other => panic!("{other}"),
        };
        let mut validation = Validation::new(algorithm);
        validation.required_spec_claims.clear();
        (validation.validate_exp, validation.validate_aud) = (false, false);
        let key = DecodingKey::from_jwk(key).ok()?;
        let claims = jsonwebtoken::decode::<Value>(token, &key, &validation).ok()?.claims;
        // SSF section 4.1: none of these.
        for name in ["exp", "sub"] {
            assert_eq!(claims.get(name), None, "{claims:#}");
        }
        assert!(claims["iat"].is_i64() && claims["txn"].is_string(), "{claims:#}");
        Some(claims)
    }

    fn verify(&self, token: &str) -> Value {
        self.try_verify(token).unwrap_or_else(|| panic!("not verified: {token}"))
    }
}

/// How the receiver answers, and what it got.
struct Behaviour {
    status: AtomicU16,
    body: Mutex<String>,
    endless: AtomicBool,
    seen: AtomicUsize,
    received: Mutex<Vec<(String, Option<String>)>>,
}

/// A server that tokens are pushed to.
#[derive(Clone)]
struct Receiver {
    url: String,
    behaviour: Arc<Behaviour>,
}

async fn receive(
    State(behaviour): State<Arc<Behaviour>>,
    headers: HeaderMap,
    token: Bytes,
) -> Response {
    behaviour.seen.fetch_add(1, Ordering::Relaxed);
    assert_eq!(headers["content-type"], "application/secevent+jwt");
    assert_eq!(headers["accept"], "application/json");
    let status = behaviour.status.load(Ordering::Relaxed);
    if status == 202 {
        let token = String::from_utf8(token.to_vec()).unwrap();
        let header = headers.get("authorization").map(|text| text.to_str().unwrap().to_owned());
        behaviour.received.lock().unwrap().push((token, header));
    }
    let mut answer = Response::builder().status(status);
    if status / 100 == 3 {
        answer = answer.header("location", "http://127.0.0.1:1/elsewhere");
    }
    if behaviour.endless.load(Ordering::Relaxed) {
        let chunks = futures_util::stream::repeat_with(|| {
            Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 65_536]))
        });
        return answer.body(Body::from_stream(chunks)).unwrap();
    }
    answer.body(Body::from(behaviour.body.lock().unwrap().clone())).unwrap()
}

impl Receiver {
    async fn start() -> Self {
        let behaviour = Arc::new(Behaviour {
            status: AtomicU16::new(202),
            body: Mutex::default(),
            endless: AtomicBool::new(false),
            seen: AtomicUsize::new(0),
            received: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/events", listener.local_addr().unwrap());
        let router = Router::new().fallback(receive).with_state(behaviour.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, behaviour }
    }

    fn answer(&self, status: u16) {
        self.behaviour.status.store(status, Ordering::Relaxed);
    }

    fn tokens(&self) -> Vec<String> {
        let received = self.behaviour.received.lock().unwrap();
        received.iter().map(|(token, _)| token.clone()).collect()
    }

    /// The verified claims of what it got, of one type.
    async fn claims(&self, client: &Client, name: &str) -> Vec<Value> {
        let keys = client.keys().await;
        let all = self.tokens().into_iter().map(|token| keys.verify(&token));
        all.filter(|claims| type_of(claims) == name).collect()
    }

    fn delivery(&self) -> Value {
        json!({ "method": PUSH, "endpoint_url": self.url })
    }
}

async fn world() -> World {
    World::with(|config| config.signal_private_addresses = true).await
}

/// A key with these permissions.
async fn key_with(world: &World, permissions: &[Permission]) -> String {
    let held: Permissions = permissions.iter().copied().collect();
    api_key::issue_key(&world.system(), "receiver", held, None).await.unwrap().secret
}

async fn suspend(world: &World, person: Uuid) {
    let off = json!([{ "op": "replace", "path": "active", "value": false }]);
    world.scim().patch(&format!("/Users/{person}"), off).await.is(200);
}

const DESTINATIONS: &str = "{ organization { destinations(first: 10) { nodes { id kind state reason
    url stream { streamId issuer audience deliveryMethod pollUrl eventTypesRequested
    eventTypesDelivered subjectFormat signingAlgorithm signingKeyIds }
    deliveries(first: 50) { nodes { id state action attemptCount message httpStatus } } } } } }";

async fn destinations(world: &World) -> Vec<Value> {
    let answer = world.graphql(DESTINATIONS, json!({})).await;
    let nodes = answer["data"]["organization"]["destinations"]["nodes"].as_array();
    nodes.unwrap_or_else(|| panic!("{answer:#}")).clone()
}

async fn act(world: &World, name: &str, id: &Value) {
    let query = format!(
        "mutation($id: ID!) {{ {name}(input: {{ id: $id }}) {{ userErrors {{ message }} }} }}"
    );
    let done = world.graphql(&query, json!({ "id": id })).await;
    assert_eq!(done["data"][name]["userErrors"], json!([]), "{done:#}");
}
