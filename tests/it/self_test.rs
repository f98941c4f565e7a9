//! `scimSelfTest`: the server calls its own public URL, here through a real proxy with faults.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use rolecall::domain::connection::{request_log, scim_token, self_test};
use rolecall::domain::reconcile;
use serde_json::{Value, json};

use crate::messages::assert_messages_have_parts;
use crate::world::World;

const TEST: &str = "mutation($c: ID!) { scimSelfTest(input: { connectionId: $c }) {
    ok steps { code ok message nextStep messageParts { code } nextStepParts { code } }
    userErrors { code message } } }";
const STEPS: [&str; 9] = [
    "NAME_RESOLVED",
    "PORT_REACHED",
    "ANSWERED",
    "AUTHORIZATION_ARRIVED",
    "CONFIGURATION_READ",
    "USERS_LISTED",
    "GROUPS_LISTED",
    "FALSE_TOKEN_REFUSED",
    "EVENTS_DISCOVERED",
];

/// What a proxy does wrong.
#[derive(Debug, Clone)]
enum Fault {
    None,
    /// It removes the header Authorization.
    Strips,
    /// It asks the client for a password of its own.
    Basic,
    /// It puts a credential of its own in place of the client's.
    Replaces(Arc<OnceLock<String>>),
    Redirects,
    /// A sign-in page stands in front of everything.
    SignInPage,
    /// It lost the server behind it.
    NoUpstream,
    /// It adds a part to the path.
    LongerPath,
    /// Another installation answers.
    OtherServer,
    /// It leads nothing to the server that begins with `/.well-known`.
    NoWellKnown,
}

#[derive(Clone)]
struct Proxy {
    fault: Fault,
    upstream: Arc<OnceLock<String>>,
    http: reqwest::Client,
}

/// A server behind a proxy with this fault. Its public URL is the proxy's address.
async fn behind(fault: Fault) -> World {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let upstream = Arc::new(OnceLock::new());
    let proxy = Proxy { fault, upstream: upstream.clone(), http: reqwest::Client::new() };
    let router = Router::new().fallback(pass_on).with_state(proxy);
    tokio::spawn(axum::serve(listener, router).into_future());
    let world = World::with(|config| config.public_url = address).await;
    upstream.set(world.address.clone()).unwrap();
    world
}

async fn pass_on(State(proxy): State<Proxy>, request: Request) -> Response {
    let path = request.uri().path_and_query().unwrap().as_str();
    let mut headers = request.headers().clone();
    headers.remove(header::HOST);
    let mut url = format!("{}{path}", proxy.upstream.get().unwrap());
    match &proxy.fault {
        Fault::None => {}
        Fault::Strips => {
            headers.remove(header::AUTHORIZATION);
        }
        Fault::Basic => {
            let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"proxy\"")];
            return (StatusCode::UNAUTHORIZED, challenge).into_response();
        }
        Fault::Replaces(token) => {
            let own = format!("Bearer {}", token.get().unwrap());
            headers.insert(header::AUTHORIZATION, own.parse().unwrap());
        }
        Fault::Redirects => {
            let to = [(header::LOCATION, "https://example.com/")];
            return (StatusCode::MOVED_PERMANENTLY, to).into_response();
        }
        Fault::SignInPage => return "<html>Please sign in</html>".into_response(),
        Fault::NoUpstream => return StatusCode::BAD_GATEWAY.into_response(),
        Fault::NoWellKnown if path.starts_with("/.well-known") => {
            return StatusCode::NOT_FOUND.into_response();
        }
        Fault::NoWellKnown => {}
        Fault::LongerPath => url = format!("{}/inner{path}", proxy.upstream.get().unwrap()),
        Fault::OtherServer => {
            headers.insert(header::AUTHORIZATION, "Bearer rcs_unknown".parse().unwrap());
        }
    }
    let answer = proxy.http.request(request.method().clone(), url).headers(headers);
    let answer = answer.send().await.unwrap();
    let mut response = Response::builder().status(answer.status());
    *response.headers_mut().unwrap() = answer.headers().clone();
    response.body(Body::from(answer.bytes().await.unwrap())).unwrap()
}

async fn connection_id(world: &World) -> Value {
    let connections = "{ organization { connections(first: 1) { nodes { id } } } }";
    let found = world.graphql(connections, json!({})).await;
    found["data"]["organization"]["connections"]["nodes"][0]["id"].clone()
}

/// The first step that failed, if one did. The steps before it succeeded, and none came after it.
async fn failing_step(world: &World) -> Option<Value> {
    let answer = world.graphql(TEST, json!({ "c": connection_id(world).await })).await;
    assert_messages_have_parts(&answer);
    let test = &answer["data"]["scimSelfTest"];
    let steps = test["steps"].as_array().unwrap_or_else(|| panic!("{answer:#}"));
    let codes: Vec<_> = steps.iter().map(|step| step["code"].as_str().unwrap()).collect();
    assert_eq!(codes, STEPS[..steps.len()], "{answer:#}");
    let (last, before) = steps.split_last().unwrap();
    assert!(before.iter().all(|step| step["ok"] == true && step["nextStep"].is_null()));
    assert!(steps.iter().all(|step| step["message"].as_str().unwrap().len() > 8), "{answer:#}");
    assert_eq!(test["ok"], last["ok"]);
    if last["ok"] == true {
        assert_eq!(steps.len(), STEPS.len(), "{answer:#}");
        return None;
    }
    assert!(last["nextStep"].as_str().unwrap().len() > 8, "{answer:#}");
    Some(last.clone())
}

#[tokio::test]
async fn self_test_leaves_no_trace() {
    let world = behind(Fault::None).await;
    world.scim().user("ada").await;
    scim_token::flush_credential_uses(&world.app).await.unwrap();
    request_log::flush_request_counts(&world.app).await.unwrap();
    world.execute("UPDATE connection SET last_contact_at = NULL", []).await;
    world.execute("DELETE FROM request_log", []).await;
    world.execute("DELETE FROM last_read", []).await;
    let before = world.everything().await;
    assert_eq!(failing_step(&world).await, None);
    scim_token::flush_credential_uses(&world.app).await.unwrap();
    request_log::flush_request_counts(&world.app).await.unwrap();
    reconcile::reads::flush_reads(&world.app).await.unwrap();
    assert_eq!(world.count("request_log", []).await, 0, "no request of the identity provider");
    assert_eq!(world.count("last_read", []).await, 0, "the identity provider read nothing");
    assert_eq!(world.count("connection WHERE last_contact_at IS NOT NULL", []).await, 0);
    let mut after = world.everything().await;
    assert_eq!(after["scim_token"], before["scim_token"], "its tokens are removed");
    let events = &mut after["events of changes"];
    assert_eq!(events.as_i64(), before["events of changes"].as_i64().map(|n| n + 1));
    *events = before["events of changes"].clone();
    assert_eq!(after, before);
    let told = world.events_of(world.acme.connection).await;
    assert_eq!(told.last().unwrap(), "connection.self_test_started");
    let payload = world.last_payload().await;
    assert_eq!(payload["after"]["scopes"], json!(["USERS_READ", "GROUPS_READ"]), "{payload:#}");
    world.end().await;
}

#[tokio::test]
async fn stripped_authorization_is_told_apart() {
    for (fault, code, word) in [
        (Fault::Strips, "AUTHORIZATION_ARRIVED", "removes"),
        (Fault::Basic, "AUTHORIZATION_ARRIVED", "removes"),
        (Fault::OtherServer, "CONFIGURATION_READ", "401"),
    ] {
        let world = behind(fault.clone()).await;
        let failed = failing_step(&world).await.unwrap();
        assert_eq!(failed["code"], code, "{fault:?}: {failed:#}");
        assert!(failed["message"].as_str().unwrap().contains(word), "{fault:?}: {failed:#}");
        assert_eq!(world.count("scim_token WHERE purpose <> 'IDENTITY_PROVIDER'", []).await, 0);
        world.end().await;
    }
}

#[tokio::test]
async fn faults_of_proxies_are_named() {
    for (fault, code, remedy) in [
        (Fault::Redirects, "CONFIGURATION_READ", "redirect"),
        (Fault::SignInPage, "CONFIGURATION_READ", "sign-in page"),
        (Fault::NoUpstream, "CONFIGURATION_READ", "upstream"),
        (Fault::LongerPath, "CONFIGURATION_READ", "path"),
    ] {
        let world = behind(fault.clone()).await;
        let failed = failing_step(&world).await.unwrap();
        assert_eq!(failed["code"], code, "{fault:?}: {failed:#}");
        assert!(failed["nextStep"].as_str().unwrap().contains(remedy), "{fault:?}: {failed:#}");
        world.end().await;
    }
    let token = Arc::new(OnceLock::new());
    let world = behind(Fault::Replaces(token.clone())).await;
    token.set(world.scim().token.clone()).unwrap();
    let failed = failing_step(&world).await.unwrap();
    assert_eq!(failed["code"], "FALSE_TOKEN_REFUSED", "{failed:#}");
    world.end().await;
}

#[tokio::test]
async fn unreachable_public_url_is_named() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let free = silent.local_addr().unwrap();
    drop(silent);
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let no_tls = plain.local_addr().unwrap();
    let page = Router::new().fallback(|| async { "no TLS here" });
    tokio::spawn(axum::serve(plain, page).into_future());
    for (url, code) in [
        ("https://nowhere.invalid".to_owned(), "NAME_RESOLVED"),
        (format!("http://{free}"), "PORT_REACHED"),
        (format!("https://{no_tls}"), "ANSWERED"),
    ] {
        let world = World::with(|config| config.public_url = url.clone()).await;
        let failed = failing_step(&world).await.unwrap();
        assert_eq!(failed["code"], code, "{url}: {failed:#}");
        world.end().await;
    }
}

#[tokio::test]
async fn self_test_token_reads_for_a_minute() {
    let world = World::new().await;
    let cx = world.system();
    let test = self_test::begin_self_test(&cx, world.acme.connection).await.unwrap();
    let caller = world.scim().with_token(&test.valid_token);
    caller.get("/Users").await.is(200);
    caller.post("/Users", json!({ "userName": "ada" })).await.is(403);
    caller.post("/Groups", json!({ "displayName": "Ward 3" })).await.is(403);
    world.scim().with_token(&test.false_token).get("/Users").await.is(401);
    let shown = "{ organization { connections(first: 1) { nodes { tokens { id } } } } }";
    let shown = world.graphql(shown, json!({})).await;
    let tokens = &shown["data"]["organization"]["connections"]["nodes"][0]["tokens"];
    assert_eq!(tokens.as_array().unwrap().len(), 1, "the identity provider's own: {shown:#}");
    world.app.clock.advance(std::time::Duration::from_secs(61));
    caller.get("/Users").await.is(401);
    // The next test removes what is left of this one, and ends with its own tokens.
    let next = self_test::begin_self_test(&cx, world.acme.connection).await.unwrap();
    let tokens = "scim_token WHERE purpose = 'SELF_TEST'";
    assert_eq!(world.count(tokens, []).await, 2);
    self_test::end_self_test(&cx, &next).await.unwrap();
    assert_eq!(world.count(tokens, []).await, 0);
    world.end().await;
}

#[tokio::test]
async fn self_test_says_what_is_off() {
    let world = behind(Fault::None).await;
    let connection = connection_id(&world).await;
    let stop = "mutation($c: ID!) { connectionDeactivate(input: { id: $c }) { userErrors { \
                code } } }";
    world.graphql(stop, json!({ "c": connection })).await;
    let failed = failing_step(&world).await.unwrap();
    assert_eq!(failed["code"], "CONFIGURATION_READ");
    assert!(failed["message"].as_str().unwrap().contains("deactivated"), "{failed:#}");
    let source = "mutation { connectionCreate(input: { name: \"Source\", pull: {
        baseUrl: \"https://example.com/scim/v2\", secret: \"x\" } }) { connection { id } } }";
    let made = world.graphql(source, json!({})).await;
    let source = &made["data"]["connectionCreate"]["connection"]["id"];
    let refused = world.graphql(TEST, json!({ "c": source })).await;
    let refused = &refused["data"]["scimSelfTest"];
    assert_eq!(refused["steps"], Value::Null, "{refused:#}");
    assert_eq!(refused["userErrors"][0]["code"], "INVALID", "{refused:#}");
    world.end().await;
}

#[tokio::test]
async fn metadata_for_receivers_is_tested() {
    let world = behind(Fault::NoWellKnown).await;
    assert_eq!(failing_step(&world).await, None, "no receiver needs it");
    let create = "mutation { destinationCreate(input: { kind: EVENT_STREAM, description: \"x\" }) {
        userErrors { message } } }";
    let done = world.graphql(create, json!({})).await;
    assert_eq!(done["data"]["destinationCreate"]["userErrors"], json!([]), "{done:#}");
    let failed = failing_step(&world).await.unwrap();
    assert_eq!(failed["code"], "EVENTS_DISCOVERED", "{failed:#}");
    assert!(failed["nextStep"].as_str().unwrap().contains("ssf-configuration"), "{failed:#}");
    world.end().await;
}
