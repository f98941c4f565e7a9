//! A source that fails again and again is read less and less often, until a run succeeds.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::hostile::Hostile;
use super::{pulling, reader, sync};
use crate::world::World;

async fn look(here: &World, connection: &Value) -> (String, String, DateTime<Utc>) {
    let query = "query($c: ID!) { node(id: $c) { ... on IdentitySource {
        health { state reasons { code } } pull { nextRunAt } } } }";
    let answer = here.graphql(query, json!({ "c": connection })).await;
    let node = &answer["data"]["node"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let next =
        node["pull"]["nextRunAt"].as_str().unwrap_or_else(|| panic!("{answer:#}")).parse().unwrap();
    (text(&node["health"]["state"]), text(&node["health"]["reasons"][0]["code"]), next)
}

#[tokio::test]
async fn failing_source_is_read_less_often() {
    let here = reader().await;
    let (source, address) = Hostile::serve().await;
    source.lists(3);
    let pull = json!({ "baseUrl": address, "secret": "wrong", "intervalMinutes": 60 });
    let connection = pulling(&here.acme, pull.clone()).await;
    assert_eq!(look(&here, &connection).await.0, "INACTIVE");
    for (state, code) in
        [("DEGRADED", "RUN_FAILED"), ("DEGRADED", "RUN_FAILED"), ("QUARANTINED", "RUNS_FAIL")]
    {
        assert_eq!(sync(&here.acme, &connection, "mode: FULL").await["state"], "FAILED");
        let (found, why, _) = look(&here, &connection).await;
        assert_eq!((found.as_str(), why.as_str()), (state, code));
    }
    // The next scheduled run begins as planned. The run after it is planned later than the
    // interval.
    let planned = look(&here, &connection).await.2;
    here.app.clock.advance(Duration::from_secs(61 * 60));
    let started = Instant::now();
    let next = loop {
        let next = look(&here, &connection).await.2;
        if next > planned {
            break next;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "no run began");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let wait = next - here.app.clock.now();
    assert!(
        wait > chrono::Duration::minutes(110) && wait <= chrono::Duration::minutes(120),
        "{wait}"
    );
    while here.count("sync_run WHERE finished_at IS NULL", []).await > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    let update =
        "mutation($c: ID!, $p: PullSourceUpdateInput!) { connectionUpdate(input: { id: $c, pull: $p })
        { userErrors { message } } }";
    let right = json!({ "baseUrl": address, "secret": "id+/", "intervalMinutes": 60 });
    here.graphql(update, json!({ "c": connection, "p": right })).await;
    assert_eq!(sync(&here.acme, &connection, "mode: FULL").await["state"], "SUCCEEDED");
    let (state, _, next) = look(&here, &connection).await;
    assert_ne!(state, "QUARANTINED");
    // The schedule returns to its interval.
    assert!(next - here.app.clock.now() <= chrono::Duration::minutes(60), "{next}");
    here.end().await;
}

#[tokio::test]
async fn failing_full_runs_cause_a_quarantine() {
    let here = reader().await;
    let (source, address) = Hostile::serve().await;
    source.lists(3);
    let pull = json!({ "baseUrl": address, "secret": "id+/", "intervalMinutes": 60, "incrementalMinutes": 20 });
    let connection = pulling(&here.acme, pull).await;
    source.behaves("counts wrongly");
    for _ in 0..3 {
        assert_eq!(sync(&here.acme, &connection, "mode: FULL").await["state"], "FAILED");
    }
    assert_eq!(sync(&here.acme, &connection, "mode: INCREMENTAL").await["state"], "SUCCEEDED");
    let (state, code, _) = look(&here, &connection).await;
    assert_eq!((state.as_str(), code.as_str()), ("QUARANTINED", "RUNS_FAIL"));
    let open = here.failures().await;
    assert_eq!(
        (open.len(), &open[0]["state"], &open[0]["count"]),
        (1, &json!("OPEN"), &json!(3)),
        "{open:#?}"
    );

    // The retry repeats the full run, which is the one that failed.
    source.behaves("honest");
    here.work("failureRetry", json!({ "id": open[0]["id"] })).await;
    let started = Instant::now();
    while here.failures().await[0]["state"] != "RESOLVED" {
        assert!(started.elapsed() < Duration::from_secs(30), "{:#?}", here.failures().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let again = "sync_run WHERE mode = 'FULL' AND requested_by = 'a retry of a failure' AND state \
                 = 'SUCCEEDED'";
    assert_eq!(here.count(again, []).await, 1);
    let (state, code, _) = look(&here, &connection).await;
    assert!(!["RUNS_FAIL", "RUN_FAILED"].contains(&code.as_str()), "{state} {code}");
    here.end().await;
}
