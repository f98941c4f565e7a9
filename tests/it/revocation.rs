//! The end of a leaver's sessions: which events tell of it, and what applications confirm.

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use chrono::{SecondsFormat, TimeDelta};
use rolecall::auth::policy::Permission;
use rolecall::domain::access::api_key;
use rolecall::domain::alert;
use serde_json::{Value, json};

use crate::world::World;

const CONFIRM: &str = "mutation($u: ID!, $at: DateTime!) { revocationConfirm(input: { userId: $u, \
    endedAt: $at }) { confirmation { userId endedAt confirmedAt } userErrors { path reason } } }";

/// A key that may confirm, and nothing else.
async fn confirming_key(world: &World, name: &str) -> String {
    let held = [Permission::RevocationConfirm].into();
    api_key::issue_key(&world.system(), name, held, None).await.unwrap().secret
}

impl World {
    async fn confirm(&self, key: &str, user: &Value, seconds: i64) -> Value {
        let at = self.app.clock.now() + TimeDelta::seconds(seconds);
        let at = at.to_rfc3339_opts(SecondsFormat::Micros, true);
        let input = json!({ "u": user, "at": at });
        let answer = self.acme.graphql_as(key, &[], CONFIRM, input).await.body;
        answer["data"]["revocationConfirm"].clone()
    }

    async fn leavers(&self) -> Vec<Value> {
        let query = "{ organization { leavers(first: 10) { nodes { userId userCount milliseconds \
            confirmedCount sessionsEndedAt confirmationMilliseconds event { action sessionEffect } \
            destinationCount receiptMilliseconds confirmations { userId endedAt event { action actor { name } } } } } \
            revocationTimes { count confirmed { count withinObjective longestMilliseconds } } } }";
        let answer = self.graphql(query, json!({})).await;
        let found = &answer["data"]["organization"];
        let mut rows =
            found["leavers"]["nodes"].as_array().unwrap_or_else(|| panic!("{answer:#}")).clone();
        rows.push(found["revocationTimes"].clone());
        rows
    }
}

#[tokio::test]
async fn applications_confirm_the_end_of_sessions() {
    let world = World::new().await;
    let ada = world.scim().user("ada@acme.example").await;
    let (wiki, chart) =
        (confirming_key(&world, "wiki").await, confirming_key(&world, "chart").await);
    let off = json!([{ "op": "replace", "path": "active", "value": false }]);
    let id = json!(ada);
    let early = world.confirm(&wiki, &id, 0).await;
    assert_eq!(early["userErrors"][0]["reason"], "NO_LEAVER", "{early:#}");
    world.scim().patch(&format!("/Users/{ada}"), off).await.is(200);
    let before = world.confirm(&wiki, &id, -120).await;
    assert_eq!(before["userErrors"][0]["path"], json!(["input", "endedAt"]), "{before:#}");
    let future = world.confirm(&wiki, &id, 120).await;
    assert_eq!(future["userErrors"][0]["path"], json!(["input", "endedAt"]), "{future:#}");

    let [leaver, times] = &world.leavers().await[..] else { panic!("one leaver") };
    assert_eq!(
        (
            &leaver["confirmedCount"],
            &leaver["sessionsEndedAt"],
            &leaver["confirmationMilliseconds"]
        ),
        (&json!(0), &Value::Null, &Value::Null)
    );
    assert_eq!(leaver["event"]["sessionEffect"], "SESSION_REVOKED");
    assert_eq!((&times["count"], &times["confirmed"]["count"]), (&json!(1), &json!(0)));

    world.app.clock.advance(Duration::from_secs(30));
    assert_eq!(world.confirm(&wiki, &id, 0).await["userErrors"], json!([]));
    world.app.clock.advance(Duration::from_secs(60));
    assert_eq!(world.confirm(&chart, &id, 0).await["userErrors"], json!([]));
    let [leaver, times] = &world.leavers().await[..] else { panic!("one leaver") };
    assert_eq!(leaver["confirmedCount"], 1);
    let took = leaver["confirmationMilliseconds"].as_f64().unwrap();
    // The application that was last counts.
    assert!((90_000.0..95_000.0).contains(&took), "{took}");
    assert_eq!(
        (&times["confirmed"]["count"], &times["confirmed"]["withinObjective"]),
        (&json!(1), &json!(1))
    );
    let said = leaver["confirmations"].as_array().unwrap();
    let mut names: Vec<&str> =
        said.iter().map(|row| row["event"]["actor"]["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["chart", "wiki"]);
    // The same again changes nothing, and leaves no event.
    let kept = "event WHERE action = 'revocation.confirmed'";
    assert_eq!(world.count(kept, []).await, 2);
    let again = said[0]["endedAt"].clone();
    let input = json!({ "u": id, "at": again });
    let keys = [&wiki, &chart];
    for key in keys {
        world.acme.graphql_as(key, &[], CONFIRM, input.clone()).await;
    }
    assert_eq!(world.count(kept, []).await, 3);
    assert_eq!(world.count("revocation_confirmation", []).await, 2);

    // Another organization has no such account, and other keys may not say so.
    let globex = world.second_organization().await;
    let foreign = globex.graphql(CONFIRM, input.clone()).await;
    let reason = &foreign["data"]["revocationConfirm"]["userErrors"][0]["reason"];
    assert_eq!(reason, "NOT_FOUND", "{foreign:#}");
    let held = [Permission::DecisionRead].into();
    let other = api_key::issue_key(&world.system(), "other", held, None).await.unwrap().secret;
    let refused = world.acme.graphql_as(&other, &[], CONFIRM, input).await.body;
    assert_eq!(refused["errors"][0]["extensions"]["code"], "FORBIDDEN", "{refused:#}");
    world.end().await;
}

#[tokio::test]
async fn key_of_leaver_ends_at_once() {
    let world = World::new().await;
    let ada = world.scim().user("ada@acme.example").await;
    let owner = api_key::KeyOwner::Account(ada);
    let held = [Permission::IamRead].into();
    let key = api_key::issue_to(&world.system(), "hers", held, None, Some(owner)).await.unwrap();
    let query = "{ organization { slug } }";
    world.acme.graphql_as(&key.secret, &[], query, json!({})).await.is(200);
    world.scim().delete(&format!("/Users/{ada}")).await.is(204);
    world.acme.graphql_as(&key.secret, &[], query, json!({})).await.is(401);
    let ended = "api_key WHERE revoked_at IS NOT NULL";
    assert_eq!(world.count(ended, []).await, 1);
    world.end().await;
}

/// An application that hears of leavers and answers with this status.
async fn application(status: Arc<AtomicU16>) -> (String, Arc<Mutex<Vec<Value>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let kept = heard.clone();
    let receive = move |body: axum::Json<Value>| {
        let (status, kept) = (status.load(Ordering::Relaxed), kept.clone());
        async move {
            kept.lock().unwrap().push(body.0);
            StatusCode::from_u16(status).unwrap()
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback(receive);
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, heard)
}

#[tokio::test]
async fn receipt_and_confirmation_are_kept_apart() {
    let world = World::with(|config| config.signal_private_addresses = true).await;
    let status = Arc::new(AtomicU16::new(500));
    let (url, heard) = application(status.clone()).await;
    let create = "mutation($u: String!) { destinationCreate(input: { kind: WEBHOOK, url: $u,
        description: \"Wiki\", eventActions: [USER_SUSPENDED] }) { destination { id }
        userErrors { message } } }";
    let made = world.graphql(create, json!({ "u": url })).await;
    assert_eq!(made["data"]["destinationCreate"]["userErrors"], json!([]), "{made:#}");
    let ada = world.scim().user("ada@acme.example").await;
    let off = json!([{ "op": "replace", "path": "active", "value": false }]);
    world.scim().patch(&format!("/Users/{ada}"), off).await.is(200);

    let query = "{ organization { leavers(first: 1) { nodes { destinationCount receivedCount
        handedAt receivedAt receiptMilliseconds confirmedCount
        deliveries { id state receivedAt destination { description } } } }
        attention { kind message nextStep }
        revocationTimes { received { count withinObjective objectiveSeconds } } } }";
    let look = async || {
        let answer = world.graphql(query, json!({})).await;
        assert_eq!(answer["errors"], Value::Null, "{answer:#}");
        answer["data"]["organization"].clone()
    };
    let leaver = async || look().await["leavers"]["nodes"][0].clone();
    let began = std::time::Instant::now();
    while leaver().await["destinationCount"] == 0 {
        assert!(began.elapsed() < Duration::from_secs(20), "no delivery");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let message = heard.lock().unwrap()[0].clone();
    assert_eq!(message["data"]["sessionEffect"], "session-revoked", "{message:#}");
    assert_eq!(message["data"]["subject"]["id"], json!(ada));
    let failed = leaver().await;
    assert_eq!(
        (&failed["receivedCount"], &failed["receivedAt"], &failed["confirmedCount"]),
        (&json!(0), &Value::Null, &json!(0))
    );
    assert!(failed["handedAt"].is_string(), "{failed:#}");
    assert_eq!(failed["deliveries"][0]["destination"]["description"], "Wiki");

    // Five minutes later it is told to administrators.
    let unheard = |shown: &Value| {
        let items = shown["attention"].as_array().unwrap().clone();
        items.into_iter().find(|item| item["kind"] == "REVOCATION_NOT_RECEIVED")
    };
    assert!(unheard(&look().await).is_none());
    world.app.clock.advance(Duration::from_secs(301));
    let item = unheard(&look().await).expect("an item");
    assert!(item["message"].as_str().unwrap().contains("\"Wiki\" has not taken 1 message"));
    assert!(item["nextStep"].as_str().unwrap().contains("deliveryRetry"));
    alert::evaluate_organization(&world.system()).await.unwrap();
    let raised = "alert WHERE kind = 'REVOCATION_NOT_RECEIVED' AND resolved_at IS NULL";
    assert_eq!(world.count(raised, []).await, 1);

    status.store(204, Ordering::Relaxed);
    let retry = "mutation($d: ID!) { deliveryRetry(input: { id: $d }) { userErrors { message } } }";
    let id = &leaver().await["deliveries"][0]["id"];
    let again = world.graphql(retry, json!({ "d": id })).await;
    let done = &again["data"]["deliveryRetry"]["userErrors"];
    // It may have been tried again meanwhile by itself.
    assert!(done == &json!([]) || done[0]["message"].is_string(), "{again:#}");
    let began = std::time::Instant::now();
    while leaver().await["receivedCount"] == 0 {
        assert!(began.elapsed() < Duration::from_secs(20), "not received");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let shown = look().await;
    let received = &shown["leavers"]["nodes"][0];
    assert!(received["receivedAt"].is_string() && received["receiptMilliseconds"].is_number());
    // Nothing is confirmed by that.
    assert_eq!(received["confirmedCount"], 0);
    let times = &shown["revocationTimes"]["received"];
    assert_eq!(
        (&times["count"], &times["withinObjective"], &times["objectiveSeconds"]),
        (&json!(1), &json!(0), &json!(300))
    );
    assert!(unheard(&shown).is_none());
    alert::evaluate_organization(&world.system()).await.unwrap();
    assert_eq!(world.count(raised, []).await, 0);
    world.end().await;
}
