//! The health of connections: how it is computed, which events a change writes, and the list of
//! items that need an administrator.

use std::time::Duration;

use chrono::{DateTime, Utc};
use rolecall::domain::connection::{health, request_log, scim_token};
use rolecall::domain::review;
use serde_json::{Value, json};

use crate::database::Database;
use crate::messages::assert_messages_have_parts;
use crate::process::{Server, bootstrap};
use crate::reconcile::upload;
use crate::world::World;

const HEALTH: &str = "{ organization { connections(first: 10) { nodes { name health {
    state since reasons { code message messageParts { code values } nextStep } lastContactAt lastSuccessAt
    lastHour { since operations failures errorRate } lastDay { operations failures }
    hours { since operations failures }
    pendingOperations oldestPendingAt medianEffectMilliseconds
} } } } }";

impl World {
    /// The health of Acme's connection.
    async fn health(&self) -> Value {
        request_log::flush_request_counts(&self.app).await.unwrap();
        scim_token::flush_credential_uses(&self.app).await.unwrap();
        review::flush_repeats(&self.app).await.unwrap();
        let answer = self.graphql(HEALTH, json!({})).await;
        assert_messages_have_parts(&answer);
        let nodes = &answer["data"]["organization"]["connections"]["nodes"];
        assert_eq!(nodes.as_array().map(Vec::len), Some(1), "{answer:#}");
        nodes[0]["health"].clone()
    }

    /// The state and the codes of its reasons.
    async fn verdict(&self) -> (String, Vec<String>) {
        let health = self.health().await;
        let codes = health["reasons"].as_array().unwrap().iter();
        let codes = codes.map(|reason| reason["code"].as_str().unwrap().to_owned()).collect();
        (health["state"].as_str().unwrap().to_owned(), codes)
    }

    async fn attention(&self) -> Vec<Value> {
        review::flush_repeats(&self.app).await.unwrap();
        request_log::flush_request_counts(&self.app).await.unwrap();
        scim_token::flush_credential_uses(&self.app).await.unwrap();
        let query = "{ organization { attention { kind urgency message nextStep count at cause
            connection { name } syncRun { id } } } }";
        let answer = self.graphql(query, json!({})).await;
        answer["data"]["organization"]["attention"]
            .as_array()
            .unwrap_or_else(|| panic!("{answer:#}"))
            .clone()
    }

    async fn kinds(&self) -> Vec<String> {
        self.attention()
            .await
            .iter()
            .map(|item| item["kind"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn is(verdict: &(String, Vec<String>), state: &str, codes: &[&str]) {
    assert_eq!(verdict.0, state, "{verdict:?}");
    assert_eq!(verdict.1, codes);
}

fn hours(n: u64) -> Duration {
    Duration::from_secs(n * 3_600)
}

#[tokio::test]
async fn health_follows_recent_operations() {
    let world = World::new().await;
    is(&world.verdict().await, "INACTIVE", &["NEVER_HEARD"]);
    // The state is stored. A new connection is inactive at first, which is no event.
    assert_eq!(health::monitor_connections(&world.app).await.unwrap(), 0);
    let figures = health::read_installation_metrics(&world.app).await.unwrap();
    let of = |state: &str| {
        let all = figures
            .iter()
            .filter(|(metric, _, word, _)| *metric == "rolecall_connections" && word == state);
        all.map(|figure| figure.3).sum::<u64>()
    };
    assert_eq!((of("INACTIVE"), of("HEALTHY")), (1, 0), "{figures:?}");
    assert!(world.health().await["since"].is_string());
    let ada = world.scim().user("ada@acme.example").await;
    let health = world.health().await;
    assert_eq!(
        (&health["state"], &health["reasons"]),
        (&json!("HEALTHY"), &json!([])),
        "{health:#}"
    );
    assert_eq!(
        (&health["lastHour"]["operations"], &health["lastHour"]["failures"]),
        (&json!(1), &json!(0))
    );
    assert!(health["lastContactAt"].is_string() && health["lastSuccessAt"].is_string());
    world.sealed().await;
    let median = world.health().await["medianEffectMilliseconds"].as_f64().unwrap();
    assert!((0.0..60_000.0).contains(&median), "{median}");

    // A read of an unknown resource is no failure; a change of one is.
    for n in 0..5 {
        world.scim().get(&format!("/Users/{ada}")).await.is(200);
        world.scim().get("/Users/0190b2c6-0000-7000-8000-000000000000").await.is(404);
        let absent_user = format!("/Users/0190b2c6-0000-7000-8000-00000000000{n}");
        world
            .scim()
            .patch(&absent_user, json!([{ "op": "replace", "path": "active", "value": false }]))
            .await
            .is(404);
    }
    let health = world.health().await;
    assert_eq!(
        (&health["lastHour"]["operations"], &health["lastHour"]["failures"]),
        (&json!(16), &json!(5))
    );
    assert_eq!(
        (&health["lastDay"]["operations"], &health["lastDay"]["failures"]),
        (&json!(16), &json!(5))
    );
    assert_eq!(health["pendingOperations"], 5);
    is(&world.verdict().await, "DEGRADED", &["ERRORS_IN_HOUR"]);
    let text = health["reasons"][0]["message"].as_str().unwrap();
    assert!(text.starts_with("5 of 16 operations failed since "), "{text}");

    // Three hours later the failures are no longer recent. A day later the open work has waited too
    // long.
    world.app.clock.advance(hours(3));
    is(&world.verdict().await, "HEALTHY", &[]);
    world.app.clock.advance(hours(22));
    is(&world.verdict().await, "DEGRADED", &["WORK_WAITS"]);

    let off =
        "mutation { organizationUpdate(input: { scimEnabled: false }) { userErrors { message } } }";
    world.graphql(off, json!({})).await;
    is(&world.verdict().await, "INACTIVE", &["PROVISIONING_OFF"]);
    world.end().await;
}

/// The operations and failures of an hour, or of several together.
fn sum_of_hours(hours: &[Value]) -> (u64, u64) {
    let sum = |name: &str| hours.iter().map(|hour| hour[name].as_u64().unwrap()).sum();
    (sum("operations"), sum("failures"))
}

#[tokio::test]
async fn each_hour_has_its_counts() {
    let world = World::new().await;
    let per_hour = async || world.health().await["hours"].as_array().unwrap().clone();
    let instant = |hour: &Value| hour["since"].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
    assert_eq!(sum_of_hours(&per_hour().await), (0, 0));
    world.scim().user("ada@acme.example").await;
    world.scim().post("/Users", json!({ "userName": "" })).await.is(400);
    let early = per_hour().await;
    assert_eq!((early.len(), sum_of_hours(&early)), (24, (2, 1)));
    for pair in early.windows(2) {
        assert_eq!(instant(&pair[1]) - instant(&pair[0]), chrono::Duration::hours(1));
    }
    // What was counted stays with its hour, while new operations count in theirs.
    world.app.clock.advance(hours(3));
    world.scim().user("bob@acme.example").await;
    let late = per_hour().await;
    assert_eq!((late.len(), sum_of_hours(&late)), (24, (3, 1)));
    assert_eq!(sum_of_hours(&late[..21]), (2, 1), "{late:#?}");
    assert_eq!(instant(&late[0]) - instant(&early[0]), chrono::Duration::hours(3));
    // A day later only the hours since then are left.
    world.app.clock.advance(hours(22));
    assert_eq!(sum_of_hours(&per_hour().await), (1, 0));
    world.end().await;
}

#[tokio::test]
async fn failing_connection_is_quarantined() {
    let world = World::new().await;
    world.scim().user("ada@acme.example").await;
    world.app.clock.advance(hours(30));
    for n in 0..12 {
        world
            .scim()
            .post("/Users", json!({ "userName": "", "externalId": format!("e-{n}") }))
            .await
            .is(400);
    }
    is(&world.verdict().await, "QUARANTINED", &["EVERYTHING_FAILS"]);
    assert_eq!(health::monitor_connections(&world.app).await.unwrap(), 1);
    let events = world.events_of(world.acme.connection).await;
    assert_eq!(
        events.iter().filter(|action| *action == "connection.health_changed").count(),
        1,
        "{events:?}"
    );
    let payload = world.last_payload().await;
    assert_eq!(
        payload["after"],
        json!({ "health": "QUARANTINED", "reasons": ["EVERYTHING_FAILS"] }),
        "{payload:#}"
    );
    assert!(world.health().await["since"].is_string());
    // The state is the same as before, so there is no second event.
    assert_eq!(health::monitor_connections(&world.app).await.unwrap(), 0);

    // One success ends the quarantine. The share of errors is still too high for a while.
    world.scim().user("bob@acme.example").await;
    is(&world.verdict().await, "DEGRADED", &["ERRORS_IN_HOUR"]);
    assert_eq!(health::monitor_connections(&world.app).await.unwrap(), 1);
    let payload = world.last_payload().await;
    assert_eq!(payload["before"]["health"], "QUARANTINED", "{payload:#}");
    assert_eq!(payload["after"]["health"], "DEGRADED");
    world.end().await;
}

#[tokio::test]
async fn long_silence_stalls_the_connection() {
    let world = World::new().await;
    // Ten days with a call every twelve hours.
    for _ in 0..20 {
        world.scim().get("/Users?filter=userName%20eq%20%22ada%22").await.is(200);
        request_log::flush_request_counts(&world.app).await.unwrap();
        scim_token::flush_credential_uses(&world.app).await.unwrap();
        world.app.clock.advance(hours(12));
    }
    is(&world.verdict().await, "HEALTHY", &[]);
    world.app.clock.advance(hours(13));
    is(&world.verdict().await, "STALLED", &["SILENT"]);
    assert_eq!(health::monitor_connections(&world.app).await.unwrap(), 1);
    assert_eq!(world.attention().await[0]["urgency"], "CRITICAL");
    // The log of these calls is deleted; the connection is still silent.
    world.app.clock.advance(hours(24 * 25));
    request_log::delete_old_rows(&world.app).await.unwrap();
    is(&world.verdict().await, "STALLED", &["SILENT"]);
    world.scim().get("/Users?filter=userName%20eq%20%22ada%22").await.is(200);
    is(&world.verdict().await, "HEALTHY", &[]);
    assert_eq!(health::monitor_connections(&world.app).await.unwrap(), 1);
    world.end().await;
}

#[tokio::test]
async fn attention_lists_work_with_next_steps() {
    let world = World::new().await;
    let [item] = &world.attention().await[..] else {
        panic!("one item: a connection that has had no call")
    };
    assert_eq!(
        (&item["kind"], &item["urgency"]),
        (&json!("CONNECTION"), &json!("NOTICE")),
        "{item:#}"
    );
    world.scim().user("ada@acme.example").await;
    assert_eq!(world.kinds().await, Vec::<String>::new(), "nothing needs attention");

    // A refused account, twice: one failure and one proposal.
    let create = "mutation { userCreate(input: { userName: \"bob@acme.example\" }) { userErrors { \
                  message } } }";
    world.graphql(create, json!({})).await;
    let bob = json!({ "userName": "bob@acme.example" });
    world.scim().post("/Users", bob.clone()).await.is(409);
    world.scim().post("/Users", bob).await.is(409);
    let items = world.attention().await;
    assert_eq!(world.kinds().await, ["FAILURES", "PROPOSALS"], "{items:#?}");
    assert_eq!((&items[0]["cause"], &items[0]["count"]), (&json!("UNIQUENESS"), &json!(1)));
    assert_eq!(items[0]["connection"]["name"], "Identity provider");

    // An export lists her as inactive. She left there but is active here, and that comes first.
    let find = "{ organization { connections(first: 1) { nodes { id } } } }";
    let found = world.graphql(find, json!({})).await;
    let id = &found["data"]["organization"]["connections"]["nodes"][0]["id"];
    let export = "userName,active\nada@acme.example,false\n";
    upload(&world.acme, id.as_str().unwrap(), "kind=users", "text/csv", export).await.is(200);
    let items = world.attention().await;
    assert_eq!(world.kinds().await[0], "FINDINGS", "{items:#?}");
    assert_eq!(
        (&items[0]["urgency"], &items[0]["count"]),
        (&json!("CRITICAL"), &json!(1)),
        "{items:#?}"
    );

    // The only token is rotated with an overlap, and the new one is revoked: the old one expires in
    // two days.
    let rotate = "mutation($id: ID!) { scimTokenRotate(input: { connectionId: $id, overlapSeconds: 172800 }) {
        scimToken { id } userErrors { message } } }";
    let rotated = world.graphql(rotate, json!({ "id": id })).await;
    let fresh = &rotated["data"]["scimTokenRotate"]["scimToken"]["id"];
    assert!(fresh.is_string(), "{rotated:#}");
    let revoke =
        "mutation($id: ID!) { scimTokenRevoke(input: { id: $id }) { userErrors { message } } }";
    world.graphql(revoke, json!({ "id": fresh })).await;
    let item = |items: Vec<Value>, kind: &str| {
        let found = items.iter().find(|item| item["kind"] == kind);
        found.unwrap_or_else(|| panic!("no {kind}: {items:#?}")).clone()
    };
    assert_eq!(item(world.attention().await, "TOKEN_ENDS")["urgency"], "CRITICAL");
    world.days_pass(3);
    let silent = item(world.attention().await, "CONNECTION");
    assert_eq!(silent["urgency"], "CRITICAL", "{silent:#}");
    assert!(silent["message"].as_str().unwrap().contains("It has no live token"), "{silent:#}");
    assert!(silent["nextStep"].as_str().unwrap().contains("scimTokenIssue"));
    world.end().await;
}

#[tokio::test]
async fn expired_lease_passes_to_another_replica() {
    let world = World::new().await;
    let (one, other) = (uuid::Uuid::now_v7(), uuid::Uuid::now_v7());
    let minute = chrono::Duration::minutes(1);
    let lease = async |holder| {
        world
            .app
            .store
            .take_task_lease("test", holder, world.app.database_time(), minute)
            .await
            .unwrap()
    };
    let pass = |seconds| world.app.clock.advance(Duration::from_secs(seconds));
    assert!(lease(one).await && !lease(other).await);
    pass(30);
    assert!(lease(one).await, "the holder renews it");
    pass(40);
    assert!(!lease(other).await);
    pass(40);
    assert!(lease(other).await && !lease(one).await);
    world.end().await;
}

#[tokio::test]
async fn metrics_contain_no_names() {
    let database = Database::empty().await;
    let bootstrapped = bootstrap(&database);
    let address = format!("127.0.0.1:{}", 20_000 + uuid::Uuid::new_v4().as_u128() % 12_000);
    let server = Server::begin(&database, &[("ROLECALL_METRICS_LISTEN", &address)]);
    server.ready().await;
    let scim = server.scim(&bootstrapped);
    scim.user("ada@acme.example").await;
    scim.post("/Users", json!({ "userName": "ada@acme.example" })).await.is(409);
    scim.get("/Elsewhere/ada").await.is(404);
    let scrape = || async {
        let answer = reqwest::get(format!("http://{address}/metrics")).await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.text().await.unwrap()
    };
    let mut text = scrape().await;
    // The log is written every five seconds.
    for _ in 0..300 {
        let written = ["CREATED", "REFUSED"].map(|outcome| {
            text.contains(&format!(
                "rolecall_scim_operations_total{{resource=\"Users\",outcome=\"{outcome}\"}} 1"
            ))
        });
        if written == [true, true] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        text = scrape().await;
    }
    for line in [
        "rolecall_scim_operations_total{resource=\"Users\",outcome=\"CREATED\"} 1",
        "rolecall_scim_operations_total{resource=\"Users\",outcome=\"REFUSED\"} 1",
        "rolecall_connections{state=\"STALLED\"} 0",
        "rolecall_failures_unfinished{cause=\"UNIQUENESS\"} 1",
        "http_server_request_duration_seconds_count{http_request_method=\"POST\",http_route=\"/scim/v2/{slug}/Users\",\
         http_response_status_code=\"201\"} 1",
        "http_route=\"/scim/v2/{slug}/Users\",http_response_status_code=\"409\"} 1",
    ] {
        assert!(text.contains(line), "{line} is missing from\n{text}");
    }
    assert!(text.contains("process_resident_memory_bytes"), "{text}");
    assert!(
        !text.contains("ada") && !text.contains("acme") && !text.contains("Elsewhere"),
        "{text}"
    );
    // The address of the API has no metrics.
    let other = reqwest::get(format!("{}/metrics", server.address)).await.unwrap();
    assert_eq!(other.status(), 404);
    drop(server);
    database.drop().await;
}
