//! Subscriptions to the ledger over both transports: no event is lost or repeated, and no client
//! gets events of another organization.

use std::time::{Duration, Instant};

use rolecall::auth::policy::Permission;
use rolecall::context::App;
use rolecall::context::local_issuer;
use rolecall::domain::access::api_key;
use rolecall::domain::connection;
use rolecall::server;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::bulk;
use crate::database::Database;
use crate::process::{Server, bootstrap};
use crate::sdl::Schema;
use crate::socket::{Events, Socket};
use crate::walk::codes;
use crate::world::World;

const FOLLOW: &str =
    "subscription($after: Long) { events(after: $after) { seq action subjectKind } }";

fn seq(answer: &Value) -> i64 {
    answer["data"]["events"]["seq"].as_i64().unwrap_or_else(|| panic!("{answer:#}"))
}

/// The end of acme's chain: a subscription after it gets every later event, even when the server
/// starts late.
async fn end(world: &World) -> i64 {
    world.sealed().await;
    world.count("event WHERE organization_id = $1", [world.acme.organization.into()]).await
}

async fn key_with(world: &World, permissions: &[Permission]) -> api_key::IssuedKey {
    api_key::issue_key(&world.system(), "some", permissions.iter().copied().collect(), None)
        .await
        .unwrap()
}

#[tokio::test]
async fn each_event_arrives_once_in_order() {
    let world = World::new().await;
    let key = &world.acme.api_key;
    let mut socket = Socket::of(&world.address, key).await;
    socket
        .say(json!({ "id": "a", "type": "subscribe", "payload": { "query": FOLLOW, "variables": { "after": 0 } } }))
        .await;
    let mut events =
        Events::post(&world.address, key, json!({ "query": FOLLOW, "variables": { "after": 0 } }))
            .await;
    assert_eq!(events.headers()["cache-control"], "no-store");
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let scim = world.scim().clone();
            tokio::spawn(async move {
                for n in 0..15 {
                    scim.user(&format!("nurse.{writer}.{n}")).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let all =
        world.count("event WHERE organization_id = $1", [world.acme.organization.into()]).await;
    assert!(all >= 120);
    for expected in 1..=all {
        assert_eq!(seq(&socket.next("a").await), expected);
        assert_eq!(seq(&events.answer().await), expected);
    }
    // After a reconnect the client names the last position that it has seen.
    drop(socket);
    world.scim().user("late").await;
    let mut socket = Socket::of(&world.address, key).await;
    let again = json!({ "query": FOLLOW, "variables": { "after": all } });
    socket.say(json!({ "id": "b", "type": "subscribe", "payload": again })).await;
    let heard = socket.next("b").await;
    assert_eq!(
        heard["data"]["events"],
        json!({ "seq": all + 1, "action": "USER_CREATED", "subjectKind": "USER" })
    );
    assert!(heard["extensions"]["cost"]["requested"].as_i64().unwrap() > 0);
    assert_eq!(seq(&events.answer().await), all + 1);
    world.end().await;
}

#[tokio::test]
async fn events_of_other_replicas_arrive() {
    let world = World::new().await;
    let other = App::open(world.config()).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(server::run_server(other.clone(), listener, async move {
        let _ = stopped.await;
    }));
    world.sealed().await;
    let mut far = Socket::of(&address, &world.acme.api_key).await;
    far.subscribe("a", "subscription { events { seq action } }").await;
    assert!(far.is_quiet(Duration::from_millis(300)).await, "without `after` it is from now on");
    for name in ["ada", "ben", "cyd"] {
        world.scim().user(name).await;
    }
    let begun = Instant::now();
    let first = seq(&far.next("a").await);
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!([seq(&far.next("a").await), seq(&far.next("a").await)], [first + 1, first + 2]);
    stop.send(()).unwrap();
    assert_eq!(far.closed().await, 1012);
    serving.await.unwrap().unwrap();
    other.store.clone().close().await;
    world.end().await;
}

#[tokio::test]
async fn filter_limits_the_events() {
    let world = World::new().await;
    let ada = world.scim().user("ada").await;
    let id = world.graphql("{ organization { user(userName: \"ada\") { id } } }", json!({})).await;
    let id = id["data"]["organization"]["user"]["id"].as_str().unwrap().to_owned();
    let mut socket = Socket::of(&world.address, &world.acme.api_key).await;
    socket
        .subscribe(
            "a",
            &format!(
                "subscription {{ events(after: 0, filter: {{ subjectId: \"{id}\" \
                                  }}) {{ action }} }}"
            ),
        )
        .await;
    assert_eq!(socket.next("a").await["data"]["events"]["action"], "USER_CREATED");
    world.scim().user("ben").await;
    world.scim().delete(&format!("/Users/{ada}")).await.is(204);
    assert_eq!(socket.next("a").await["data"]["events"]["action"], "USER_DELETED");
    socket.say(json!({ "id": "a", "type": "complete" })).await;
    for (wrong, code) in [
        ("after: -1", "BAD_USER_INPUT"),
        ("after: 1000000", "BAD_USER_INPUT"),
        ("filter: { subjectId: \"x\" }", "BAD_USER_INPUT"),
        ("after: \"x\"", "GRAPHQL_VALIDATION_FAILED"),
    ] {
        socket.subscribe("b", &format!("subscription {{ events({wrong}) {{ seq }} }}")).await;
        let refused = socket.hear().await;
        assert_eq!(
            (&refused["type"], &refused["id"]),
            (&json!("error"), &json!("b")),
            "{wrong}: {refused:#}"
        );
        assert_eq!(refused["payload"][0]["extensions"]["code"], code, "{wrong}");
    }
    world.end().await;
}

#[tokio::test]
async fn connection_changes_are_reported() {
    let world = World::new().await;
    let globex = world.second_organization().await;
    let watcher = key_with(&world, &[Permission::IamRead]).await.secret;
    let here = end(&world).await;
    let follow = format!(
        "subscription {{ connectionChanged(after: {here}) {{ seq action connection {{ name state \
         }} }} }}"
    );
    let mut events = Events::post(&world.address, &watcher, json!({ "query": follow })).await;
    let theirs = rolecall::context::Cx::system(world.app.clone(), globex.organization);
    connection::deactivate_connection(&theirs, globex.connection, None).await.unwrap();
    world.scim().user("ada").await;
    connection::deactivate_connection(&world.system(), world.acme.connection, None).await.unwrap();
    let seen = events.answer().await["data"]["connectionChanged"].clone();
    assert_eq!(seen["action"], "CONNECTION_DEACTIVATED");
    assert_eq!(seen["connection"], json!({ "name": "Identity provider", "state": "INACTIVE" }));
    // A broken connection loses no event.
    drop(events);
    connection::activate_connection(&world.system(), world.acme.connection, None).await.unwrap();
    let again = format!(
        "subscription {{ connectionChanged(after: {}) {{ action connection {{ state }} }} }}",
        seen["seq"]
    );
    let mut events = Events::post(&world.address, &watcher, json!({ "query": again })).await;
    let seen = events.answer().await["data"]["connectionChanged"].clone();
    assert_eq!(
        seen,
        json!({ "action": "CONNECTION_ACTIVATED", "connection": { "state": "ACTIVE" } })
    );
    // This caller may not read the ledger itself.
    let mut closed = Events::post(
        &world.address,
        &watcher,
        json!({ "query": "subscription { events { seq } }" }),
    )
    .await;
    assert_eq!(codes(&closed.answer().await), ["FORBIDDEN"]);
    assert_eq!(closed.next().await, Some(("complete".into(), Value::Null)));
    world.end().await;
}

#[tokio::test]
async fn every_subscription_requires_its_permission() {
    let world = World::new().await;
    let schema = Schema::new();
    let fields = schema.fields("Subscription");
    assert!(fields.len() >= 2);
    let job = bulk::upload(&world.acme, "{}").await.is(202).body["bulkJob"]["id"].clone();
    for field in fields {
        let Some(permission) = field.permission else {
            // Without a required permission the owner decides: for other callers the job does not
            // exist.
            let stranger = key_with(&world, &[Permission::UserRead]).await;
            let mut socket = Socket::of(&world.address, &stranger.secret).await;
            let selected = schema.selection(crate::sdl::named(&field.ty), 0);
            socket
                .subscribe("a", &format!("subscription {{ {}(id: {job}) {selected} }}", field.name))
                .await;
            let refused = socket.hear().await;
            assert_eq!(
                refused["payload"][0]["extensions"]["code"], "NOT_FOUND",
                "{}: {refused:#}",
                field.name
            );
            continue;
        };
        let others: Vec<_> =
            Permission::in_organization().into_iter().filter(|held| *held != permission).collect();
        let issued = key_with(&world, &others).await;
        let arguments = if field.arguments.iter().any(|it| it.name == "id") {
            format!("(id: {job})")
        } else {
            String::new()
        };
        let selected = schema.selection(crate::sdl::named(&field.ty), 0);
        let query = format!("subscription {{ {}{arguments} {selected} }}", field.name);
        let mut socket = Socket::of(&world.address, &issued.secret).await;
        socket.subscribe("a", &query).await;
        let refused = socket.hear().await;
        assert_eq!(
            refused["payload"][0]["extensions"]["code"], "FORBIDDEN",
            "{query}: {refused:#}"
        );
        let words = refused["payload"][0]["message"].as_str().unwrap();
        assert!(words.contains(permission.name()), "{words}");
    }
    // Fields inside an event require their own permission.
    let reader = key_with(&world, &[Permission::AuditRead]).await;
    let query = json!({ "query": "subscription { events(after: 0) { seq after } }" });
    let answer = Events::post(&world.address, &reader.secret, query).await.answer().await;
    assert_eq!(codes(&answer), ["FORBIDDEN"]);
    assert_eq!(answer["data"]["events"], json!({ "seq": 1, "after": null }));
    world.end().await;
}

#[tokio::test]
async fn subscriptions_stay_within_the_organization() {
    let world = World::new().await;
    let globex = world.second_organization().await;
    let follow = format!("subscription {{ events(after: {}) {{ seq after }} }}", end(&world).await);
    let mut socket = Socket::of(&world.address, &world.acme.api_key).await;
    socket.subscribe("a", &follow).await;
    assert!(socket.is_quiet(Duration::from_millis(200)).await);
    globex.scim.user("zzsecret").await;
    world.scim().user("ada").await;
    let heard = socket.next("a").await;
    assert!(
        heard.to_string().contains("ada") && !heard.to_string().contains("zzsecret"),
        "{heard:#}"
    );
    let foreign = format!("subscription {{ connectionChanged(connectionId: {}) {{ seq }} }}", {
        let found = globex
            .graphql("{ organization { connections(first: 1) { nodes { id } } } }", json!({}))
            .await;
        found["data"]["organization"]["connections"]["nodes"][0]["id"].clone()
    });
    socket.subscribe("b", &foreign).await;
    assert_eq!(socket.hear().await["payload"][0]["extensions"]["code"], "NOT_FOUND");
    world.end().await;
}

#[tokio::test]
async fn revoked_credential_ends_its_streams() {
    let world = World::new().await;
    let issued = key_with(&world, &[Permission::AuditRead, Permission::IamRead]).await;
    let claims = local_issuer::IssuerClaims {
        subject: "ada".into(),
        organizations: [("acme".to_owned(), Permission::in_organization())].into(),
        ..Default::default()
    };
    let token = local_issuer::issue_token(&world.app, &claims, chrono::Duration::hours(1)).unwrap();
    let follow = &format!("subscription {{ events(after: {}) {{ seq }} }}", end(&world).await);
    let mut sockets = Vec::new();
    for credential in [&issued.secret, &token] {
        let mut socket = Socket::of(&world.address, credential).await;
        socket.subscribe("a", follow).await;
        sockets.push(socket);
    }
    let mut events = Events::post(&world.address, &issued.secret, json!({ "query": follow })).await;
    let mut busy = Socket::of(&world.address, &issued.secret).await;
    let mut lasting = Socket::of(&world.address, &world.acme.api_key).await;
    lasting.subscribe("a", follow).await;

    api_key::revoke_key(&world.system(), issued.key.id).await.unwrap();
    let revoked = Instant::now();
    // The next operation is refused at once, and the socket is closed.
    busy.subscribe("x", "{ viewer { name } }").await;
    assert_eq!(busy.closed().await, 4403);
    world.days_pass(1);
    assert_eq!(seq(&events.answer().await), seq(&lasting.next("a").await));
    assert_eq!(codes(&events.answer().await), ["UNAUTHENTICATED"]);
    assert_eq!(events.next().await, None);
    for mut socket in sockets {
        assert_eq!(socket.closed().await, 4403);
    }
    assert!(revoked.elapsed() < Duration::from_secs(10));
    world.scim().user("later").await;
    assert!(seq(&lasting.next("a").await) > 0, "other streams go on");
    world.end().await;
}

#[tokio::test]
async fn stopping_server_closes_subscriptions() {
    let database = Database::empty().await;
    let made = bootstrap(&database);
    let mut server = Server::start(&database).await;
    let key = made["graphql"]["api_key"].as_str().unwrap();
    let mut socket = Socket::of(&server.address, key).await;
    socket.subscribe("a", "subscription { events { seq } }").await;
    let mut silent = Socket::fresh(&server.address).await;
    let query = json!({ "query": "subscription { events { seq } }" });
    let mut events = Events::post(&server.address, key, query).await;
    server.terminate();
    let asked = Instant::now();
    assert_eq!((socket.closed().await, silent.closed().await), (1012, 1012));
    assert_eq!(events.next().await, None, "no `complete`: the client should reconnect");
    assert_eq!(server.exit_code().await, Some(0));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    database.drop().await;
}

#[tokio::test]
async fn websocket_follows_the_protocol() {
    let world = World::new().await;
    let (address, key) = (&world.address, &world.acme.api_key);
    let late = Socket::fresh(address).await;

    let mut foreign = Socket::open(address, &[]).await;
    assert_eq!(foreign.closed().await, 4406);
    let mut eager = Socket::fresh(address).await;
    eager.subscribe("a", "{ viewer { name } }").await;
    assert_eq!(eager.closed().await, 4401);
    for payload in [
        json!({}),
        json!({ "Authorization": "Bearer rck_wrong" }),
        json!({ "authToken": world.scim().token }),
    ] {
        let mut stranger = Socket::fresh(address).await;
        stranger.say(json!({ "type": "connection_init", "payload": payload })).await;
        assert_eq!(stranger.closed().await, 4403, "{payload}");
    }
    for payload in [
        json!({ "authorization": format!("bearer {key}") }),
        json!({ "authToken": key }),
        json!({ "headers": { "Authorization": format!("Bearer {key}"), "Rolecall-Organization": "acme" } }),
    ] {
        let mut known = Socket::fresh(address).await;
        known.say(json!({ "type": "ping" })).await;
        assert_eq!(known.hear().await, json!({ "type": "pong" }), "before anything else, too");
        known.say(json!({ "type": "connection_init", "payload": payload })).await;
        assert_eq!(known.hear().await, json!({ "type": "connection_ack" }));
        known.say(json!({ "type": "connection_init" })).await;
        assert_eq!(known.closed().await, 4429);
    }
    let bearer = format!("Bearer {key}");
    let upgrade =
        [("sec-websocket-protocol", "graphql-transport-ws"), ("authorization", bearer.as_str())];
    let mut known = Socket::open(address, &upgrade).await;
    known.say(json!({ "type": "connection_init" })).await;
    assert_eq!(known.hear().await, json!({ "type": "connection_ack" }));

    for nonsense in [
        "",
        "{",
        "7",
        "[]",
        "{}",
        r#"{"type":"unheard"}"#,
        r#"{"type":"subscribe"}"#,
        r#"{"type":"subscribe","id":7}"#,
        r#"{"type":"subscribe","id":"","payload":{}}"#,
        r#"{"type":"subscribe","id":"a","payload":"x"}"#,
        r#"{"type":"complete"}"#,
        r#"{"type":"connection_ack"}"#,
    ] {
        let mut socket = Socket::of(address, key).await;
        socket.say_text(nonsense).await;
        assert_eq!(socket.closed().await, 4400, "{nonsense}");
    }
    let mut socket = Socket::of(address, key).await;
    socket.say_bytes(b"{}").await;
    assert_eq!(socket.closed().await, 4400);
    let mut socket = Socket::of(address, key).await;
    socket.subscribe("same", "subscription { events { seq } }").await;
    socket.subscribe("same", "subscription { events { seq } }").await;
    assert_eq!(socket.closed().await, 4409);
    let mut socket = Socket::of(address, key).await;
    socket.subscribe("a", &format!("{{ viewer {{ name }} }} #{}", "x".repeat(300 * 1024))).await;
    assert_eq!(socket.closed().await, 1009);

    let mut late = late;
    assert_eq!(late.closed().await, 4408);
    world.end().await;
}

#[tokio::test]
async fn websocket_carries_queries_and_mutations() {
    let world = World::new().await;
    let mut socket = Socket::of(&world.address, &world.acme.api_key).await;
    socket.subscribe("q", "{ organization { slug } }").await;
    assert_eq!(socket.next("q").await["data"]["organization"]["slug"], "acme");
    assert_eq!(socket.hear().await, json!({ "id": "q", "type": "complete" }));
    // The operation's id can be used again.
    socket
        .subscribe("q", "mutation { roleCreate(input: { name: \"Nurse\" }) { role { name } } }")
        .await;
    assert_eq!(socket.next("q").await["data"]["roleCreate"]["role"]["name"], "Nurse");
    assert_eq!(socket.hear().await["type"], "complete");
    let everything =
        "subscription { ...All } fragment All on Subscription { ... { events(after: 0) { seq } } }";
    socket.subscribe("s", everything).await;
    assert_eq!(seq(&socket.next("s").await), 1);
    socket.say(json!({ "id": "s", "type": "complete" })).await;
    let mut leaver = Socket::of(&world.address, &world.acme.api_key).await;
    leaver.subscribe("s", everything).await;
    assert!(leaver.leave().await, "a client that closes is answered");

    let mut refused = async |query: &str| {
        socket.subscribe("bad", query).await;
        let mut message = socket.hear().await;
        // Skips messages that were sent before the other operation ended.
        while message["id"] == "s" {
            message = socket.hear().await;
        }
        assert_eq!(
            (&message["type"], &message["id"]),
            (&json!("error"), &json!("bad")),
            "{query}: {message:#}"
        );
        message["payload"][0]["extensions"]["code"].as_str().unwrap().to_owned()
    };
    for (query, code) in [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("{ nope }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { nope }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { __typename }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { events { seq } connectionChanged { seq } }", "GRAPHQL_VALIDATION_FAILED"),
        (
            "subscription { ...A ...B } fragment A on Subscription { events { seq } } fragment B \
             on Subscription { connectionChanged { seq } }",
            "GRAPHQL_VALIDATION_FAILED",
        ),
        ("subscription { events @skip(if: false) { seq } }", "GRAPHQL_VALIDATION_FAILED"),
        (
            "{ organization { users(first: 100) { nodes { groups(first: 100) { nodes { id } } } } \
             } }",
            "QUERY_TOO_COMPLEX",
        ),
    ] {
        assert_eq!(refused(query).await, code, "{query}");
    }
    let deep = format!(
        "{}name{}",
        "subscription { events ".to_owned() + &"{ actor ".repeat(20),
        "}".repeat(21)
    );
    assert_eq!(refused(&deep).await, "QUERY_TOO_COMPLEX");
    world.end().await;
}

#[tokio::test]
async fn event_stream_works_for_its_clients() {
    let world = World::new().await;
    let key = &world.acme.api_key;
    let mut events =
        Events::post(&world.address, key, json!({ "query": "{ organization { slug } }" })).await;
    assert_eq!(events.answer().await["data"]["organization"]["slug"], "acme");
    assert_eq!(events.next().await, Some(("complete".into(), Value::Null)));
    assert_eq!(events.next().await, None);
    // A refused document is reported by an event, because the client reads nothing else.
    for (query, code) in
        [("{", "GRAPHQL_PARSE_FAILED"), ("subscription { nope }", "GRAPHQL_VALIDATION_FAILED")]
    {
        let mut events = Events::post(&world.address, key, json!({ "query": query })).await;
        assert_eq!(codes(&events.answer().await), [code]);
        assert_eq!(events.next().await, Some(("complete".into(), Value::Null)));
    }
    let get = |query: &str, accept: &'static str| {
        let url = reqwest::Url::parse_with_params(
            &format!("{}/graphql", world.address),
            [("query", query)],
        )
        .unwrap();
        world.scim().http.get(url).header("accept", accept).bearer_auth(key).send()
    };
    let mut events = Events::of(
        get("subscription { events(after: 0) { seq } }", "text/event-stream").await.unwrap(),
    );
    assert_eq!(seq(&events.answer().await), 1);
    // Clients that accept every type get a query as JSON and a subscription as events.
    let everything =
        "application/graphql-response+json, application/json, text/event-stream, multipart/mixed";
    let answer = get("{ viewer { name } }", everything).await.unwrap();
    assert!(
        answer.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("application/graphql-response+json")
    );
    let mut events =
        Events::of(get("subscription { events(after: 0) { seq } }", everything).await.unwrap());
    assert_eq!(seq(&events.answer().await), 1);
    assert_eq!(
        get("subscription { events { seq } }", "application/json").await.unwrap().status(),
        406
    );
    let change = "mutation { roleCreate(input: { name: \"x\" }) { role { id } } }";
    assert_eq!(get(change, "text/event-stream").await.unwrap().status(), 405);
    let anonymous = world
        .scim()
        .http
        .post(format!("{}/graphql", world.address))
        .header("accept", "text/event-stream");
    assert_eq!(anonymous.send().await.unwrap().status(), 401);

    let mut held = Vec::new();
    let refused = loop {
        let answer = get("subscription { events { seq } }", "text/event-stream").await.unwrap();
        if answer.status() != 200 {
            break answer;
        }
        held.push(answer);
        assert!(held.len() < 100, "the number of streams of one caller is limited");
    };
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().contains_key("retry-after"));
    drop(held);
    world.end().await;
}

#[tokio::test]
async fn exhausted_budget_delays_events() {
    // One event costs 1, and the budget is 30 a minute: thirty events at once, and then one every
    // two seconds.
    let world = World::with(|config| config.graphql.cost_limit = 30).await;
    for n in 0..40 {
        world.scim().user(&format!("nurse.{n}")).await;
    }
    world.sealed().await;
    let follower = key_with(&world, &[Permission::AuditRead]).await.secret;
    let mut socket = Socket::of(&world.address, &follower).await;
    socket.subscribe("a", "subscription { events(after: 0) { seq } }").await;
    for expected in 1..=30 {
        assert_eq!(seq(&socket.next("a").await), expected);
    }
    assert!(socket.is_quiet(Duration::from_millis(500)).await);
    assert_eq!(seq(&socket.next("a").await), 31, "later, and not lost");
    let refused =
        world.acme.graphql_as(&follower, &[], "{ viewer { name } }", json!({})).await.is(429);
    assert_eq!(codes(&refused.body), ["RATE_LIMITED"]);
    world.end().await;
}

#[tokio::test]
async fn many_subscriptions_get_every_event() {
    let world = World::new().await;
    world.sealed().await;
    let mut sockets = Vec::new();
    for _ in 0..20 {
        sockets.push(Socket::of(&world.address, &world.acme.api_key).await);
    }
    // Many more subscriptions than there are connections to the database.
    for socket in &mut sockets {
        for id in 0..10 {
            socket
                .subscribe(
                    &id.to_string(),
                    "subscription { events(after: 0) { seq after actor { name } } }",
                )
                .await;
        }
    }
    let before =
        world.count("event WHERE organization_id = $1", [world.acme.organization.into()]).await;
    // Some of the sockets read nothing for a while.
    let (reading, idle) = sockets.split_at_mut(10);
    for n in 0..20 {
        world.scim().user(&format!("nurse.{n}")).await;
    }
    for socket in reading.iter_mut().chain(idle) {
        let mut heard = [0; 10];
        for _ in 0..10 * (before + 20) {
            let message = socket.hear().await;
            let at: usize = message["id"].as_str().unwrap().parse().unwrap();
            heard[at] += 1;
            assert_eq!(seq(&message["payload"]), heard[at]);
        }
        assert_eq!(heard, [before + 20; 10]);
    }
    world.end().await;
}
