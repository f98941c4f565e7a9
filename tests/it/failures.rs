//! The review queue: a refused or failed write becomes one failure, which is retried, resolved,
//! superseded or dismissed.

use std::time::{Duration, Instant};

use rolecall::domain::access::lockout_guard;
use rolecall::domain::connection;
use rolecall::domain::directory::erasure;
use rolecall::domain::review;
use rolecall::domain::review::Origin;
use rolecall::domain::review::run;
use rolecall::domain::review::run::SkippedAttempt;
use rolecall::scim;
use rolecall::scim::ScimReplayOutcome;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::messages::assert_messages_have_parts;
use crate::world::World;

const FIELDS: &str =
    "id origin operation label cause code field message messageParts { code }
    suggestion { code message messageParts { code } } redactedRequest count state
    resolution reason assignedTo retryable attempts nextAttemptAt lastRequestId user { userName } connection { name }";

impl World {
    /// The review queue, oldest first.
    pub async fn failures(&self) -> Vec<Value> {
        review::flush_repeats(&self.app).await.unwrap();
        let query = format!(
            "{{ organization {{ failures(first: 50, orderBy: {{ field: FIRST_AT }}) {{ totalCount nodes {{ \
             {FIELDS} }} }} }} }}"
        );
        let answer = self.graphql(&query, json!({})).await;
        assert_messages_have_parts(&answer);
        let page = &answer["data"]["organization"]["failures"];
        let nodes = page["nodes"].as_array().unwrap_or_else(|| panic!("{answer:#}")).clone();
        assert_eq!(page["totalCount"], nodes.len());
        nodes
    }

    /// The only failure.
    async fn failure(&self) -> Value {
        let mut all = self.failures().await;
        assert_eq!(all.len(), 1, "{all:#?}");
        all.remove(0)
    }

    /// Calls a mutation of the review queue; returns the failure afterwards, or the error.
    pub async fn work(&self, mutation: &str, input: Value) -> Value {
        let ty = format!("{}{}Input", mutation[..1].to_uppercase(), &mutation[1..]);
        let query = format!(
            "mutation($i: {ty}!) {{ {mutation}(input: $i) {{ failure {{ {FIELDS} }} userErrors {{ \
             code path message }} }} }}"
        );
        let answer = self.graphql(&query, json!({ "i": input })).await;
        let payload = &answer["data"][mutation];
        assert!(payload.is_object(), "{answer:#}");
        match payload["failure"].is_null() {
            true => payload["userErrors"][0].clone(),
            false => payload["failure"].clone(),
        }
    }

    /// The only failure, once it is in this state.
    async fn wait_until(&self, state: &str) -> Value {
        for _ in 0..600 {
            let failure = self.failure().await;
            if failure["state"] == state {
                return failure;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("it did not become {state}: {:#}", self.failure().await);
    }

    /// The ledger's events about a failure.
    pub async fn told_of(&self, failure: &Value) -> Vec<String> {
        let query =
            "query($id: ID!) { organization { events(first: 50, orderBy: { field: AT }, filter: { subjectId: $id })
            { nodes { action } } } }";
        let answer = self.graphql(query, json!({ "id": failure["id"] })).await;
        let nodes = answer["data"]["organization"]["events"]["nodes"].as_array();
        let nodes = nodes.unwrap_or_else(|| panic!("{answer:#}"));
        nodes.iter().map(|event| event["action"].as_str().unwrap().to_owned()).collect()
    }

    /// Makes an account by hand whose name the identity provider wants.
    pub async fn rival(&self, name: &str) -> Value {
        let create =
            "mutation($n: String!) { userCreate(input: { userName: $n }) { user { id } } }";
        self.graphql(create, json!({ "n": name })).await["data"]["userCreate"]["user"]["id"].clone()
    }

    pub async fn remove(&self, user: &Value) {
        let delete =
            "mutation($id: ID!) { userDelete(input: { id: $id }) { userErrors { message } } }";
        let answer = self.graphql(delete, json!({ "id": user })).await;
        assert_eq!(answer["data"]["userDelete"]["userErrors"], json!([]), "{answer:#}");
    }
}

fn ada() -> Value {
    json!({ "userName": "Ada@acme.example", "externalId": "a-1", "active": true, "name": { "familyName": "Okafor" } })
}

#[tokio::test]
async fn repeated_refusals_count_as_one_failure() {
    let world = World::new().await;
    world.rival("ada@acme.example").await;
    for _ in 0..5 {
        world.scim().post("/Users", ada()).await.refused(409, Some("uniqueness"));
    }
    let failure = world.failure().await;
    assert_eq!(failure["operation"], "create user");
    assert_eq!((&failure["cause"], &failure["field"]), (&json!("UNIQUENESS"), &json!("userName")));
    assert_eq!((&failure["count"], &failure["state"]), (&json!(5), &json!("OPEN")));
    assert_eq!(failure["label"], "Ada@acme.example");
    assert_eq!(failure["user"]["userName"], "ada@acme.example", "the account that has the name");
    assert_eq!(failure["suggestion"]["code"], "FIND_THE_RIGHT_ONE");
    assert_eq!(failure["redactedRequest"]["name"]["familyName"], "text of 6 characters");
    assert_eq!(failure["nextAttemptAt"], Value::Null, "it is not retried by itself");
    // Another reason and another person make another failure.
    let wrong = json!({ "userName": "bob", "emails": "no list of objects", "active": { "x": 1 } });
    world.scim().post("/Users", wrong).await.is(400);
    assert_eq!(world.failures().await.len(), 2);
    let counts = "{ organization { failureCounts { cause failures writes } } }";
    let counts = &world.graphql(counts, json!({})).await["data"]["organization"]["failureCounts"];
    assert!(
        counts
            .as_array()
            .unwrap()
            .contains(&json!({ "cause": "UNIQUENESS", "failures": 1, "writes": 5 })),
        "{counts}"
    );
    assert_eq!(
        world.told_of(&failure).await,
        ["FAILURE_OPENED"],
        "repeats are counted and leave no event"
    );
    world.end().await;
}

#[tokio::test]
async fn retry_succeeds_when_cause_is_gone() {
    let world = World::new().await;
    let rival = world.rival("ada@acme.example").await;
    world.scim().post("/Users", ada()).await.is(409);
    let open = world.failure().await;
    // The account is still in the way: the retry is refused, and the failure stays open.
    assert_eq!(world.work("failureRetry", json!({ "id": open["id"] })).await["state"], "RETRYING");
    for _ in 0..600 {
        if world.failure().await["attempts"] == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let open = world.failure().await;
    assert_eq!(
        (&open["state"], &open["attempts"], &open["count"]),
        (&json!("OPEN"), &json!(1), &json!(2))
    );
    world.remove(&rival).await;
    world.work("failureRetry", json!({ "id": open["id"] })).await;
    let done = world.wait_until("RESOLVED").await;
    assert_eq!((&done["resolution"], &done["retryable"]), (&json!("RETRIED"), &json!(false)));
    let shown =
        world.scim().get("/Users?filter=userName%20eq%20%22ada@acme.example%22").await.is(200);
    assert_eq!(
        shown.body["Resources"][0]["name"]["familyName"], "Okafor",
        "under the connection's own token"
    );
    let id: Uuid = shown.body["Resources"][0]["id"].as_str().unwrap().parse().unwrap();
    let made = world
        .rows(
            "SELECT actor_kind, actor_id, request_id FROM event WHERE subject_id = $1",
            [id.into()],
        )
        .await;
    assert_eq!(made[0]["actor_kind"], "CONNECTION");
    assert_eq!(made[0]["actor_id"], world.acme.connection.to_string());
    let told = world.told_of(&done).await;
    assert_eq!(
        told,
        [
            "FAILURE_OPENED",
            "FAILURE_RETRIED",
            "FAILURE_RETRY_FAILED",
            "FAILURE_RETRIED",
            "FAILURE_RESOLVED"
        ]
    );
    // The stored request is deleted when the failure is resolved.
    assert_eq!(world.count("failure WHERE payload IS NOT NULL", []).await, 0);
    let again = world.work("failureRetry", json!({ "id": done["id"] })).await;
    assert_eq!(again["code"], "HELD", "{again}");
    world.end().await;
}

#[tokio::test]
async fn later_write_supersedes_the_failure() {
    let world = World::new().await;
    let rival = world.rival("ada@acme.example").await;
    world.scim().post("/Users", ada()).await.is(409);
    world.remove(&rival).await;
    let id = world.scim().post("/Users", ada()).await.is(201).id();
    let done = world.wait_until("RESOLVED").await;
    assert_eq!(done["resolution"], "SUPERSEDED");
    // A later write resolves the failure only if it changes the same attribute.
    let wrong = json!([{ "op": "replace", "path": "active", "value": "perhaps" }]);
    world.scim().patch(&format!("/Users/{id}"), wrong).await.is(400);
    let title = json!([{ "op": "replace", "path": "title", "value": "Nurse" }]);
    world.scim().patch(&format!("/Users/{id}"), title).await.is(200);
    assert_eq!(world.failures().await[1]["state"], "OPEN");
    let right = json!([{ "op": "replace", "path": "active", "value": false }]);
    world.scim().patch(&format!("/Users/{id}"), right).await.is(200);
    for _ in 0..400 {
        if world.failures().await[1]["state"] == "RESOLVED" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(world.failures().await[1]["resolution"], "SUPERSEDED");
    world.end().await;
}

#[tokio::test]
async fn failures_are_assigned_dismissed_and_resolved() {
    let world = World::new().await;
    world.rival("ada@acme.example").await;
    world.scim().post("/Users", ada()).await.is(409);
    let open = world.failure().await;
    let taken = world
        .work("failureAssign", json!({ "id": open["id"], "assignedTo": "eve@acme.example" }))
        .await;
    assert_eq!(taken["assignedTo"], "eve@acme.example");
    let refused = world.work("failureDismiss", json!({ "id": open["id"], "reason": "  " })).await;
    assert_eq!(refused["path"], json!(["input", "reason"]));
    let done =
        world.work("failureDismiss", json!({ "id": open["id"], "reason": "a test account" })).await;
    assert_eq!((&done["state"], &done["reason"]), (&json!("DISMISSED"), &json!("a test account")));
    assert_eq!(
        world.told_of(&done).await,
        ["FAILURE_OPENED", "FAILURE_ASSIGNED", "FAILURE_DISMISSED"]
    );
    // The same request after a dismissal opens a new failure.
    world.scim().post("/Users", ada()).await.is(409);
    let all = world.failures().await;
    assert_eq!((all.len(), &all[1]["state"], &all[1]["count"]), (2, &json!("OPEN"), &json!(1)));
    let input = json!({ "id": all[1]["id"], "fix": "FIXED_AT_SOURCE", "reason": "renamed there" });
    assert_eq!(world.work("failureResolve", input).await["resolution"], "FIXED_AT_SOURCE");
    world.end().await;
}

#[tokio::test]
async fn erasure_empties_failures() {
    let world = World::new().await;
    let rival = world.tenant("acme", "Rival").await;
    let body =
        json!({ "userName": "needle-ada", "externalId": "needle-1", "displayName": "needle" });
    // Refused because its content is wrong, before an account existed …
    let mut wrong = body.clone();
    wrong["active"] = json!({ "no": "boolean" });
    world.scim().post("/Users", wrong).await.is(400);
    let id = rival.scim.post("/Users", body.clone()).await.is(201).id();
    // … and refused because the account existed.
    world.scim().post("/Users", body).await.is(409);
    let wrong = json!([{ "op": "replace", "path": "emails", "value": "needle" }]);
    rival.scim.patch(&format!("/Users/{id}"), wrong).await;
    rival.scim.delete(&format!("/Users/{id}")).await.is(204);
    assert!(world.failures().await.len() >= 2);
    assert!(world.count("failure WHERE label LIKE '%needle%'", []).await >= 2);
    erasure::purge_user(&world.system(), id).await.unwrap();
    assert_eq!(
        world
            .count(
                "failure WHERE label IS NOT NULL OR payload IS NOT NULL OR thing IS NOT NULL",
                []
            )
            .await,
        0
    );
    assert_eq!(world.count("failure WHERE finished_at IS NULL", []).await, 0);
    for failure in world.failures().await {
        assert_eq!((&failure["resolution"], &failure["label"]), (&json!("ERASED"), &Value::Null));
        assert!(!failure.to_string().contains("needle"), "{failure}");
    }
    world.end().await;
}

#[tokio::test]
async fn bulk_operations_fail_separately() {
    let world = World::new().await;
    world.rival("ada@acme.example").await;
    let bulk = json!({ "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": [
        { "method": "POST", "bulkId": "a", "path": "/Users", "data": ada() },
        { "method": "POST", "bulkId": "b", "path": "/Users", "data": { "userName": "bob" } },
        { "method": "POST", "bulkId": "g", "path": "/Groups",
          "data": { "displayName": "Ward 3", "members": [{ "value": Uuid::now_v7() }] } },
    ] });
    world.scim().post("/Bulk", bulk).await.is(200);
    let all = world.failures().await;
    let told: Vec<_> = all
        .iter()
        .map(|it| (it["operation"].as_str().unwrap(), it["label"].as_str().unwrap()))
        .collect();
    assert_eq!(all.len(), 2, "{all:#?}");
    assert!(
        told.contains(&("create user", "Ada@acme.example"))
            && told.contains(&("create group", "Ward 3")),
        "{told:?}"
    );
    assert!(all.iter().all(|failure| failure["retryable"] == true), "{all:#?}");
    world.end().await;
}

#[tokio::test]
async fn harmless_refusals_open_no_failure() {
    let world = World::new().await;
    let id = world.scim().user("ada").await;
    world.scim().get(&format!("/Users/{}", Uuid::now_v7())).await.is(404);
    world.scim().get("/Users?filter=nonsense").await.is(400);
    world.scim().delete(&format!("/Users/{}", Uuid::now_v7())).await.is(404);
    world.scim().with_token("rcs_wrong").post("/Users", ada()).await.is(401);
    let stale = [("if-match", "W/\"99\"")];
    let body = json!({ "userName": "ada" });
    world
        .scim()
        .send(reqwest::Method::PUT, &format!("/Users/{id}"), Some(body), &stale)
        .await
        .is(412);
    connection::deactivate_connection(&world.system(), world.acme.connection, None).await.unwrap();
    world.scim().post("/Users", ada()).await.is(403);
    assert_eq!(world.failures().await, Vec::<Value>::new());
    world.end().await;
}

#[tokio::test]
async fn deleted_connection_dismisses_its_failures() {
    let world = World::new().await;
    let id = world.scim().user("break-glass").await;
    lockout_guard::set_protection(&world.system(), id, true, None).await.unwrap();
    world.scim().delete(&format!("/Users/{id}")).await.is(403);
    let open = world.failure().await;
    assert_eq!((&open["cause"], &open["operation"]), (&json!("PROTECTED"), &json!("delete user")));
    assert_eq!(open["label"], "break-glass");
    lockout_guard::set_protection(&world.system(), id, false, None).await.unwrap();
    let delete =
        "mutation($id: ID!) { connectionDelete(input: { id: $id, usersBecomeManual: true })
        { userErrors { message } } }";
    let connections = "{ organization { connections(first: 1) { nodes { id } } } }";
    let connections = world.graphql(connections, json!({})).await;
    let connection = &connections["data"]["organization"]["connections"]["nodes"][0]["id"];
    world.graphql(delete, json!({ "id": connection })).await;
    let done = world.failure().await;
    assert_eq!(
        (&done["state"], &done["resolution"]),
        (&json!("DISMISSED"), &json!("CONNECTION_DELETED"))
    );
    world.end().await;
}

/// A write that failed for a temporary cause, as if the database had been busy.
async fn passing(world: &World) -> Value {
    let rival = world.rival("ada@acme.example").await;
    world.scim().post("/Users", ada()).await.is(409);
    world.remove(&rival).await;
    let soon = world.app.clock.now() + chrono::Duration::minutes(1);
    let text = "UPDATE failure SET cause = 'TARGET_UNAVAILABLE', reason = 'BUSY', field = NULL, \
                next_attempt_at = $1";
    world.execute(text, [soon.into()]).await;
    world.failure().await
}

#[tokio::test]
async fn temporary_failures_are_retried_on_schedule() {
    let world = World::new().await;
    let open = passing(&world).await;
    assert!(open["nextAttemptAt"].is_string(), "{open:#}");
    assert!(
        run::claim_next_failure(&world.app, Origin::Request, &[]).await.unwrap().is_none(),
        "not yet"
    );
    world.app.clock.advance(Duration::from_secs(61));
    world.app.repeats.retries.notify_one();
    let done = world.wait_until("RESOLVED").await;
    assert_eq!(done["resolution"], "RETRIED");
    assert_eq!(world.scim().ids("/Users?filter=externalId%20eq%20%22a-1%22").await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn attempt_of_dead_server_is_unrepeated() {
    let mut world = World::new().await;
    passing(&world).await;
    // The server stops, because its own workers would be quicker.
    world.stop().await;
    world.app.clock.advance(Duration::from_secs(61));
    // Three servers claim the failure at the same time: one gets it.
    let claims = futures_util::future::join_all(
        (0..3).map(|_| run::claim_next_failure(&world.app, Origin::Request, &[])),
    )
    .await;
    let mut claims: Vec<_> = claims.into_iter().filter_map(|claim| claim.unwrap()).collect();
    assert_eq!(claims.len(), 1);
    let claim = claims.remove(0);
    let attempt = claim.prepare_attempt().await.unwrap().unwrap();
    let done = scim::replay_write(&attempt.cx, "acme", &attempt.payload).await.unwrap();
    assert!(matches!(done, ScimReplayOutcome::Done), "{done:?}");
    // The first server dies before it reports success. When its lease has expired, another one
    // claims the failure and finds that the write was made.
    drop(claim);
    assert!(run::claim_next_failure(&world.app, Origin::Request, &[]).await.unwrap().is_none());
    world.app.clock.advance(Duration::from_secs(121));
    let claim = run::claim_next_failure(&world.app, Origin::Request, &[]).await.unwrap().unwrap();
    let end = claim.prepare_attempt().await.unwrap().err();
    assert_eq!(end, Some(SkippedAttempt::Done(review::Resolution::Retried)));
    claim.mark_done(review::Resolution::Retried).await.unwrap();
    assert_eq!(world.count("\"user\" WHERE external_id = 'a-1'", []).await, 1);
    // The server has stopped, so the test seals the ledger itself.
    rolecall::ledger::seal_ledgers(&world.app.store).await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn rate_limited_writes_are_one_failure() {
    let world = World::with(|config| config.scim_rate_limit = 1).await;
    for n in 0..20 {
        world.scim().post("/Users", json!({ "userName": format!("person-{n}") })).await;
    }
    let mut failure = world.failure().await;
    assert_eq!((&failure["cause"], &failure["retryable"]), (&json!("RATE_LIMITED"), &json!(false)));
    // The server's own worker also writes the counts and may be at it now.
    let asked = Instant::now();
    while failure["count"].as_i64().unwrap() <= 5 {
        assert!(asked.elapsed() < Duration::from_secs(10), "{failure:#}");
        tokio::time::sleep(Duration::from_millis(25)).await;
        failure = world.failure().await;
    }
    world.app.clock.advance(Duration::from_secs(2 * 60 * 60));
    review::forget_failures(&world.app).await.unwrap();
    assert_eq!(world.failure().await["resolution"], "PASSED");
    world.end().await;
}
