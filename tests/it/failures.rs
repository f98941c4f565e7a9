//! Nothing fails silently: what is refused or fails becomes one piece of work, which is tried again, put right,
//! overtaken or dismissed.

use std::time::{Duration, Instant};

use rolecall::domain::erasure;
use rolecall::domain::failure::run::{self, End};
use rolecall::domain::failure::{self, Origin};
use rolecall::domain::{connection, protection};
use rolecall::scim::{self, Replayed};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::World;

const FIELDS: &str =
    "id origin operation label cause reason field message suggestion { code text } redactedRequest count state
    resolution note assignedTo retryable attempts nextAttemptAt lastRequestId user { userName } connection { name }";

impl World {
    /// The review queue, oldest first.
    pub async fn failures(&self) -> Vec<Value> {
        failure::flush(&self.app).await.unwrap();
        let query = format!(
            "{{ organization {{ failures(first: 50, order: OLDEST_FIRST) {{ totalCount nodes {{ {FIELDS} }} }} }} }}"
        );
        let answer = self.graphql(&query, json!({})).await;
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

    /// Works on the review queue; the failure afterwards.
    pub async fn work(&self, mutation: &str, input: Value) -> Value {
        let ty = format!("{}{}Input", mutation[..1].to_uppercase(), &mutation[1..]);
        let query = format!(
            "mutation($i: {ty}!) {{ {mutation}(input: $i) {{ failure {{ {FIELDS} }} userErrors {{ code field message }} }} }}"
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
    async fn until(&self, state: &str) -> Value {
        for _ in 0..600 {
            let failure = self.failure().await;
            if failure["state"] == state {
                return failure;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("it did not become {state}: {:#}", self.failure().await);
    }

    /// What the ledger tells of a failure.
    pub async fn told_of(&self, failure: &Value) -> Vec<String> {
        let query =
            "query($id: ID!) { organization { events(first: 50, order: OLDEST_FIRST, filter: { subjectId: $id })
            { nodes { action } } } }";
        let answer = self.graphql(query, json!({ "id": failure["id"] })).await;
        let nodes = answer["data"]["organization"]["events"]["nodes"].as_array();
        let nodes = nodes.unwrap_or_else(|| panic!("{answer:#}"));
        nodes.iter().map(|event| event["action"].as_str().unwrap().to_owned()).collect()
    }

    /// An account by hand that stands in the identity provider's way.
    pub async fn rival(&self, name: &str) -> Value {
        let create = "mutation($n: String!) { userCreate(input: { userName: $n }) { user { id } } }";
        self.graphql(create, json!({ "n": name })).await["data"]["userCreate"]["user"]["id"].clone()
    }

    pub async fn remove(&self, user: &Value) {
        let delete = "mutation($id: ID!) { userDelete(input: { id: $id }) { userErrors { message } } }";
        let answer = self.graphql(delete, json!({ "id": user })).await;
        assert_eq!(answer["data"]["userDelete"]["userErrors"], json!([]), "{answer:#}");
    }
}

fn ada() -> Value {
    json!({ "userName": "Ada@acme.example", "externalId": "a-1", "active": true, "name": { "familyName": "Okafor" } })
}

#[tokio::test]
async fn a_refused_account_is_one_piece_of_work_however_often_it_comes() {
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
    assert_eq!(failure["user"]["userName"], "ada@acme.example", "who is in the way");
    assert_eq!(failure["suggestion"]["code"], "FIND_THE_RIGHT_ONE");
    assert_eq!(failure["redactedRequest"]["name"]["familyName"], "text of 6 characters");
    assert_eq!(failure["nextAttemptAt"], Value::Null, "it does not pass by itself");
    // Another reason, another person: other work.
    let wrong = json!({ "userName": "bob", "emails": "no list of objects", "active": { "x": 1 } });
    world.scim().post("/Users", wrong).await.is(400);
    assert_eq!(world.failures().await.len(), 2);
    let counts = "{ organization { failureCounts { cause failures writes } } }";
    let counts = &world.graphql(counts, json!({})).await["data"]["organization"]["failureCounts"];
    assert!(
        counts.as_array().unwrap().contains(&json!({ "cause": "UNIQUENESS", "failures": 1, "writes": 5 })),
        "{counts}"
    );
    assert_eq!(world.told_of(&failure).await, ["failure.opened"], "repeats are counted and not told");
    world.end().await;
}

#[tokio::test]
async fn once_the_way_is_free_a_retry_makes_the_account_and_the_ledger_says_how() {
    let world = World::new().await;
    let rival = world.rival("ada@acme.example").await;
    world.scim().post("/Users", ada()).await.is(409);
    let open = world.failure().await;
    // Tried too early: refused in turn, and still open.
    assert_eq!(world.work("failureRetry", json!({ "id": open["id"] })).await["state"], "RETRYING");
    for _ in 0..600 {
        if world.failure().await["attempts"] == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let open = world.failure().await;
    assert_eq!((&open["state"], &open["attempts"], &open["count"]), (&json!("OPEN"), &json!(1), &json!(2)));
    world.remove(&rival).await;
    world.work("failureRetry", json!({ "id": open["id"] })).await;
    let done = world.until("RESOLVED").await;
    assert_eq!((&done["resolution"], &done["retryable"]), (&json!("RETRIED"), &json!(false)));
    let shown = world.scim().get("/Users?filter=userName%20eq%20%22ada@acme.example%22").await.is(200);
    assert_eq!(shown.body["Resources"][0]["name"]["familyName"], "Okafor", "under the connection's own token");
    let id: Uuid = shown.body["Resources"][0]["id"].as_str().unwrap().parse().unwrap();
    let made =
        world.rows("SELECT actor_kind, actor_id, request_id FROM event WHERE subject_id = $1", [id.into()]).await;
    assert_eq!(made[0]["actor_kind"], "CONNECTION");
    assert_eq!(made[0]["actor_id"], world.acme.connection.to_string());
    let told = world.told_of(&done).await;
    assert_eq!(
        told,
        ["failure.opened", "failure.retried", "failure.retry_failed", "failure.retried", "failure.resolved"]
    );
    // What was sent is gone with the work.
    assert_eq!(world.count("failure WHERE payload IS NOT NULL", []).await, 0);
    let again = world.work("failureRetry", json!({ "id": done["id"] })).await;
    assert_eq!(again["code"], "HELD", "{again}");
    world.end().await;
}

#[tokio::test]
async fn what_the_identity_provider_does_later_overtakes_the_failure() {
    let world = World::new().await;
    let rival = world.rival("ada@acme.example").await;
    world.scim().post("/Users", ada()).await.is(409);
    world.remove(&rival).await;
    let id = world.scim().post("/Users", ada()).await.is(201).id();
    let done = world.until("RESOLVED").await;
    assert_eq!(done["resolution"], "SUPERSEDED");
    // Part of a thing is put right by that part alone.
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
async fn somebody_takes_the_work_and_ends_it_with_a_reason() {
    let world = World::new().await;
    world.rival("ada@acme.example").await;
    world.scim().post("/Users", ada()).await.is(409);
    let open = world.failure().await;
    let taken = world.work("failureAssign", json!({ "id": open["id"], "assignedTo": "eve@acme.example" })).await;
    assert_eq!(taken["assignedTo"], "eve@acme.example");
    let refused = world.work("failureDismiss", json!({ "id": open["id"], "reason": "  " })).await;
    assert_eq!(refused["field"], json!(["input", "reason"]));
    let done = world.work("failureDismiss", json!({ "id": open["id"], "reason": "a test account" })).await;
    assert_eq!((&done["state"], &done["note"]), (&json!("DISMISSED"), &json!("a test account")));
    assert_eq!(world.told_of(&done).await, ["failure.opened", "failure.assigned", "failure.dismissed"]);
    // The same again is work again.
    world.scim().post("/Users", ada()).await.is(409);
    let all = world.failures().await;
    assert_eq!((all.len(), &all[1]["state"], &all[1]["count"]), (2, &json!("OPEN"), &json!(1)));
    let input = json!({ "id": all[1]["id"], "fix": "FIXED_AT_SOURCE", "note": "renamed there" });
    assert_eq!(world.work("failureResolve", input).await["resolution"], "FIXED_AT_SOURCE");
    world.end().await;
}

#[tokio::test]
async fn an_erasure_reaches_what_was_refused_about_the_person() {
    let world = World::new().await;
    let rival = world.tenant("acme", "Rival").await;
    let body = json!({ "userName": "needle-ada", "externalId": "needle-1", "displayName": "needle" });
    // Refused for what is wrong with it, before there was an account …
    let mut wrong = body.clone();
    wrong["active"] = json!({ "no": "boolean" });
    world.scim().post("/Users", wrong).await.is(400);
    let id = rival.scim.post("/Users", body.clone()).await.is(201).id();
    // … and refused because there was one.
    world.scim().post("/Users", body).await.is(409);
    let wrong = json!([{ "op": "replace", "path": "emails", "value": "needle" }]);
    rival.scim.patch(&format!("/Users/{id}"), wrong).await;
    rival.scim.delete(&format!("/Users/{id}")).await.is(204);
    assert!(world.failures().await.len() >= 2);
    assert!(world.count("failure WHERE label LIKE '%needle%'", []).await >= 2);
    erasure::purge(&world.system(), id).await.unwrap();
    assert_eq!(world.count("failure WHERE label IS NOT NULL OR payload IS NOT NULL OR thing IS NOT NULL", []).await, 0);
    assert_eq!(world.count("failure WHERE finished_at IS NULL", []).await, 0);
    for failure in world.failures().await {
        assert_eq!((&failure["resolution"], &failure["label"]), (&json!("ERASED"), &Value::Null));
        assert!(!failure.to_string().contains("needle"), "{failure}");
    }
    world.end().await;
}

#[tokio::test]
async fn operations_of_a_bulk_fail_for_themselves() {
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
    let told: Vec<_> =
        all.iter().map(|it| (it["operation"].as_str().unwrap(), it["label"].as_str().unwrap())).collect();
    assert_eq!(all.len(), 2, "{all:#?}");
    assert!(
        told.contains(&("create user", "Ada@acme.example")) && told.contains(&("create group", "Ward 3")),
        "{told:?}"
    );
    assert!(all.iter().all(|failure| failure["retryable"] == true), "{all:#?}");
    world.end().await;
}

#[tokio::test]
async fn what_is_no_work_does_not_become_any() {
    let world = World::new().await;
    let id = world.scim().user("ada").await;
    world.scim().get(&format!("/Users/{}", Uuid::now_v7())).await.is(404);
    world.scim().get("/Users?filter=nonsense").await.is(400);
    world.scim().delete(&format!("/Users/{}", Uuid::now_v7())).await.is(404);
    world.scim().with_token("rcs_wrong").post("/Users", ada()).await.is(401);
    let stale = [("if-match", "W/\"99\"")];
    let body = json!({ "userName": "ada" });
    world.scim().send(reqwest::Method::PUT, &format!("/Users/{id}"), Some(body), &stale).await.is(412);
    connection::deactivate(&world.system(), world.acme.connection).await.unwrap();
    world.scim().post("/Users", ada()).await.is(403);
    assert_eq!(world.failures().await, Vec::<Value>::new());
    world.end().await;
}

#[tokio::test]
async fn a_protected_account_and_a_deleted_connection() {
    let world = World::new().await;
    let id = world.scim().user("break-glass").await;
    protection::set(&world.system(), id, true).await.unwrap();
    world.scim().delete(&format!("/Users/{id}")).await.is(403);
    let open = world.failure().await;
    assert_eq!((&open["cause"], &open["operation"]), (&json!("PROTECTED"), &json!("delete user")));
    assert_eq!(open["label"], "break-glass");
    protection::set(&world.system(), id, false).await.unwrap();
    let delete = "mutation($id: ID!) { connectionDelete(input: { id: $id, usersBecomeManual: true })
        { userErrors { message } } }";
    let connections = "{ organization { connections(first: 1) { nodes { id } } } }";
    let connections = world.graphql(connections, json!({})).await;
    let connection = &connections["data"]["organization"]["connections"]["nodes"][0]["id"];
    world.graphql(delete, json!({ "id": connection })).await;
    let done = world.failure().await;
    assert_eq!((&done["state"], &done["resolution"]), (&json!("DISMISSED"), &json!("CONNECTION_DELETED")));
    world.end().await;
}

/// A write that failed for a cause that passes, as if the database had been busy.
async fn passing(world: &World) -> Value {
    let rival = world.rival("ada@acme.example").await;
    world.scim().post("/Users", ada()).await.is(409);
    world.remove(&rival).await;
    let soon = world.app.clock.now() + chrono::Duration::minutes(1);
    let text = "UPDATE failure SET cause = 'TARGET_UNAVAILABLE', reason = 'BUSY', field = NULL, next_attempt_at = $1";
    world.execute(text, [soon.into()]).await;
    world.failure().await
}

#[tokio::test]
async fn what_passes_is_tried_again_on_the_schedule() {
    let world = World::new().await;
    let open = passing(&world).await;
    assert!(open["nextAttemptAt"].is_string(), "{open:#}");
    assert!(run::claim(&world.app, Origin::Request, &[]).await.unwrap().is_none(), "not yet");
    world.app.clock.advance(Duration::from_secs(61));
    world.app.repeats.retries.notify_one();
    let done = world.until("RESOLVED").await;
    assert_eq!(done["resolution"], "RETRIED");
    assert_eq!(world.scim().ids("/Users?filter=externalId%20eq%20%22a-1%22").await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn an_attempt_that_died_is_not_made_twice() {
    let mut world = World::new().await;
    passing(&world).await;
    // Away from the server's own workers, which would be quicker.
    world.stop().await;
    world.app.clock.advance(Duration::from_secs(61));
    // Three servers look at once: one has it.
    let claims = futures_util::future::join_all((0..3).map(|_| run::claim(&world.app, Origin::Request, &[]))).await;
    let mut claims: Vec<_> = claims.into_iter().filter_map(|claim| claim.unwrap()).collect();
    assert_eq!(claims.len(), 1);
    let claim = claims.remove(0);
    let attempt = claim.attempt().await.unwrap().unwrap();
    let done = scim::replay(&attempt.cx, "acme", &attempt.payload).await.unwrap();
    assert!(matches!(done, Replayed::Done), "{done:?}");
    // It dies before it says so. When its time is over another one comes, and finds that it was done.
    drop(claim);
    assert!(run::claim(&world.app, Origin::Request, &[]).await.unwrap().is_none());
    world.app.clock.advance(Duration::from_secs(121));
    let claim = run::claim(&world.app, Origin::Request, &[]).await.unwrap().unwrap();
    let end = claim.attempt().await.unwrap().err();
    assert_eq!(end, Some(End::Done(failure::Resolution::Retried)));
    claim.done(failure::Resolution::Retried).await.unwrap();
    assert_eq!(world.count("\"user\" WHERE external_id = 'a-1'", []).await, 1);
    // The server has stopped, and seals nothing any more.
    rolecall::ledger::seal(&world.app.store).await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn too_many_requests_are_one_piece_of_work_that_passes() {
    let world = World::with(|config| config.scim_rate_limit = 1).await;
    for n in 0..20 {
        world.scim().post("/Users", json!({ "userName": format!("person-{n}") })).await;
    }
    let mut failure = world.failure().await;
    assert_eq!((&failure["cause"], &failure["retryable"]), (&json!("RATE_LIMITED"), &json!(false)));
    // The server writes down how often it came, too, and may be at it now.
    let asked = Instant::now();
    while failure["count"].as_i64().unwrap() <= 5 {
        assert!(asked.elapsed() < Duration::from_secs(10), "{failure:#}");
        tokio::time::sleep(Duration::from_millis(25)).await;
        failure = world.failure().await;
    }
    world.app.clock.advance(Duration::from_secs(2 * 60 * 60));
    failure::forget(&world.app).await.unwrap();
    assert_eq!(world.failure().await["resolution"], "PASSED");
    world.end().await;
}
