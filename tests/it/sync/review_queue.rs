//! A person or group that a run could not process becomes a failure in the review queue, and ends
//! like any other failure there.

use std::time::{Duration, Instant};

use rolecall::domain::access::lockout_guard;
use serde_json::{Value, json};
use uuid::Uuid;

use super::hostile::{Hostile, person};
use super::{look, pulling, pulling_as, reader, start, sync};
use crate::database::Database;
use crate::process::{Server, bootstrap, kill_first, start_several};
use crate::world::{Tenant, World};

/// The failure with this label, when it satisfies `right`.
async fn wait_until(world: &World, label: &str, right: impl Fn(&Value) -> bool) -> Value {
    let started = Instant::now();
    loop {
        let all = world.failures().await;
        match all.iter().rfind(|failure| failure["label"] == label) {
            Some(failure) if right(failure) => return failure.clone(),
            _ => assert!(started.elapsed() < Duration::from_secs(20), "{label}: {all:#?}"),
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

#[tokio::test]
async fn failed_person_becomes_one_failure() {
    let here = reader().await;
    let (source, address) = Hostile::serve().await;
    source.lists(6);
    let connection = pulling(&here.acme, json!({ "baseUrl": address, "secret": "id+/" })).await;
    let rival = here.rival("p1").await;
    // A dry run reports it and makes no failure.
    assert_eq!(sync(&here.acme, &connection, "mode: DRY_RUN").await["state"], "SUCCEEDED");
    assert_eq!(here.failures().await, Vec::<Value>::new());
    for n in 1..=2 {
        let run = sync(&here.acme, &connection, "mode: FULL").await;
        assert_eq!(
            (&run["state"], &run["users"]["failed"]),
            (&json!("SUCCEEDED"), &json!(1)),
            "{run:#}"
        );
        let all = here.failures().await;
        assert_eq!((all.len(), &all[0]["count"]), (1, &json!(n)), "{all:#?}");
        assert_eq!(all[0]["lastRequestId"].as_str().unwrap().len(), 36);
    }
    let open = wait_until(&here, "p1", |_| true).await;
    assert_eq!((&open["origin"], &open["operation"]), (&json!("SYNC"), &json!("create user")));
    assert_eq!((&open["cause"], &open["field"]), (&json!("UNIQUENESS"), &json!("userName")));
    assert_eq!(
        (&open["user"]["userName"], &open["retryable"]),
        (&json!("p1"), &json!(true)),
        "the account that has the name"
    );
    assert_eq!(open["redactedRequest"]["userName"], "text of 2 characters");
    assert!(open["suggestion"]["message"].as_str().unwrap().contains("userName"), "{open:#}");

    // The first retry comes too early. Then the name becomes free.
    here.work("failureRetry", json!({ "id": open["id"] })).await;
    let open = wait_until(&here, "p1", |it| it["attempts"] == 1).await;
    assert_eq!((&open["state"], &open["count"]), (&json!("OPEN"), &json!(3)), "{open:#}");
    here.remove(&rival).await;
    assert_eq!(here.work("failureRetry", json!({ "id": open["id"] })).await["state"], "RETRYING");
    let done = wait_until(&here, "p1", |it| it["state"] == "RESOLVED").await;
    assert_eq!(done["resolution"], "RETRIED", "{done:#}");
    let found = here.rows("SELECT id FROM \"user\" WHERE external_id = 'r1'", []).await;
    let id: Uuid = found[0]["id"].as_str().unwrap().parse().unwrap();
    let made = here.rows("SELECT actor_kind FROM event WHERE subject_id = $1", [id.into()]).await;
    assert_eq!(made[0]["actor_kind"], "CONNECTION", "the connection itself made it");
    assert_eq!(
        here.count("failure WHERE payload IS NOT NULL", []).await,
        0,
        "the stored request was deleted with the failure"
    );

    // A later run that succeeds with the person resolves the failure …
    source.sets(2, "active", json!({ "no": "boolean" }));
    source.sets(3, "active", json!({ "no": "boolean" }));
    sync(&here.acme, &connection, "mode: FULL").await;
    let open = wait_until(&here, "p2", |_| true).await;
    assert_eq!(
        (&open["operation"], &open["cause"]),
        (&json!("update user"), &json!("INVALID_VALUE")),
        "{open:#}"
    );
    source.sets(2, "active", json!(true));
    let one = sync(&here.acme, &connection, "mode: ONE_USER, remoteId: \"r2\"").await;
    assert_eq!(one["state"], "SUCCEEDED", "{one:#}");
    let done = wait_until(&here, "p2", |it| it["state"] == "RESOLVED").await;
    assert_eq!(done["resolution"], "SUPERSEDED");
    assert_eq!(wait_until(&here, "p3", |_| true).await["state"], "OPEN");
    // … and so does a full run that no longer lists it.
    source.people.lock().unwrap().remove(3);
    sync(&here.acme, &connection, "mode: FULL").await;
    assert_eq!(
        wait_until(&here, "p3", |it| it["state"] == "RESOLVED").await["resolution"],
        "SUPERSEDED"
    );

    // A protected account is not deleted. A retry deletes it when the protection has ended.
    let found = here.rows("SELECT id FROM \"user\" WHERE external_id = 'r5'", []).await;
    let id: Uuid = found[0]["id"].as_str().unwrap().parse().unwrap();
    lockout_guard::set_protection(&here.system(), id, true, None).await.unwrap();
    source.people.lock().unwrap().pop();
    sync(&here.acme, &connection, "mode: FULL").await;
    let open = wait_until(&here, "p5", |_| true).await;
    assert_eq!(
        (&open["operation"], &open["cause"]),
        (&json!("delete user"), &json!("PROTECTED")),
        "{open:#}"
    );
    lockout_guard::set_protection(&here.system(), id, false, None).await.unwrap();
    here.work("failureRetry", json!({ "id": open["id"] })).await;
    wait_until(&here, "p5", |it| it["resolution"] == "RETRIED").await;
    assert_eq!(here.count("\"user\" WHERE external_id = 'r5' AND deleted_at IS NULL", []).await, 0);

    // A retry reads a group again as it reads a person.
    let members = json!([{ "value": "r0" }]);
    *source.groups.lock().unwrap() = vec![
        json!({ "id": "g", "displayName": "Ward", "externalId": "x", "members": [{ "value": { "no": 1 } }] }),
    ];
    sync(&here.acme, &connection, "mode: FULL").await;
    let open = wait_until(&here, "Ward", |_| true).await;
    source.groups.lock().unwrap()[0]["members"] = members;
    here.work("failureRetry", json!({ "id": open["id"] })).await;
    wait_until(&here, "Ward", |it| it["resolution"] == "RETRIED").await;
    assert_eq!(here.count("membership WHERE until IS NULL", []).await, 1);
    here.end().await;
}

#[tokio::test]
async fn retry_respects_the_user_filter() {
    let (source, here) = (World::new().await, reader().await);
    let title = async |id: Uuid, title: &str| {
        let change = json!([{ "op": "replace", "path": "title", "value": title }]);
        source.scim().patch(&format!("/Users/{id}"), change).await.is(200);
    };
    let (ada, bob) = (source.scim().user("ada").await, source.scim().user("bob").await);
    title(ada, "Nurse").await;
    title(bob, "Nurse").await;
    let rival = here.rival("ada").await;
    let mut pull = super::of(source.scim());
    pull["userFilter"] = "title eq \"Nurse\"".into();
    let connection = pulling(&here.acme, pull).await;
    let run = sync(&here.acme, &connection, "mode: FULL").await;
    assert_eq!(
        (&run["users"]["created"], &run["users"]["failed"]),
        (&json!(1), &json!(1)),
        "{run:#}"
    );
    let live = async |name: &str| {
        let from = format!("\"user\" WHERE user_name = '{name}' AND deleted_at IS NULL");
        here.count(&from, []).await
    };
    // A retry does not create a person that the filter now excludes …
    let open = wait_until(&here, "ada", |_| true).await;
    title(ada, "Doctor").await;
    here.remove(&rival).await;
    here.work("failureRetry", json!({ "id": open["id"] })).await;
    let done = wait_until(&here, "ada", |it| it["state"] == "RESOLVED").await;
    assert_eq!((&done["resolution"], live("ada").await), (&json!("SUPERSEDED"), 0), "{done:#}");
    // … and deletes an account that the filter excludes, when its protection has ended.
    let found = here.rows("SELECT id FROM \"user\" WHERE user_name = 'bob'", []).await;
    let id: Uuid = found[0]["id"].as_str().unwrap().parse().unwrap();
    lockout_guard::set_protection(&here.system(), id, true, None).await.unwrap();
    title(bob, "Doctor").await;
    title(ada, "Nurse").await;
    sync(&here.acme, &connection, "mode: FULL").await;
    let open = wait_until(&here, "bob", |_| true).await;
    assert_eq!(open["operation"], "delete user", "{open:#}");
    lockout_guard::set_protection(&here.system(), id, false, None).await.unwrap();
    here.work("failureRetry", json!({ "id": open["id"] })).await;
    wait_until(&here, "bob", |it| it["resolution"] == "RETRIED").await;
    assert_eq!((live("bob").await, live("ada").await), (0, 1));
    source.end().await;
    here.end().await;
}

#[tokio::test]
async fn unreadable_source_makes_failures_by_cause() {
    let here = World::with(|config| {
        config.pull_private_addresses = true;
        config.pull_timeout = 1;
    })
    .await;
    let (source, address) = Hostile::serve().await;
    source.lists(3);
    let pull = json!({ "baseUrl": address, "secret": "id+/" });
    let connection = pulling(&here.acme, pull.clone()).await;
    let secret = async |secret: &str| {
        let mut pull = pull.clone();
        pull["secret"] = secret.into();
        let update = "mutation($c: ID!, $p: PullSourceUpdateInput!) { connectionUpdate(input: { id: $c, pull: $p })
            { userErrors { message } } }";
        here.graphql(update, json!({ "c": connection, "p": pull })).await;
    };
    secret("wrong").await;
    for _ in 0..2 {
        assert_eq!(sync(&here.acme, &connection, "mode: FULL").await["state"], "FAILED");
    }
    secret("id+/").await;
    source.behaves("counts wrongly");
    assert_eq!(sync(&here.acme, &connection, "mode: FULL").await["state"], "FAILED");
    source.behaves("is down");
    assert_eq!(sync(&here.acme, &connection, "mode: INCREMENTAL").await["state"], "FAILED");
    let all = here.failures().await;
    let told =
        |it: &Value| ["operation", "cause", "code", "count", "state"].map(|name| it[name].clone());
    let expected = [
        ("NOT_PERMITTED", "SOURCE_CREDENTIALS", 2),
        ("INVALID_VALUE", "SOURCE_UNREADABLE", 1),
        ("TARGET_UNAVAILABLE", "SOURCE_UNAVAILABLE", 1),
    ];
    let expected = expected.map(|(cause, reason, n)| {
        [json!("read source"), json!(cause), json!(reason), json!(n), json!("OPEN")]
    });
    assert_eq!(all.iter().map(told).collect::<Vec<_>>(), expected, "{all:#?}");
    assert_eq!(all[0]["suggestion"]["code"], "GIVE_SECRET");
    assert!(all[0]["nextAttemptAt"].is_null() && all[2]["nextAttemptAt"].is_string(), "{all:#?}");
    assert_eq!(
        here.told_of(&all[0]).await,
        ["FAILURE_OPENED"],
        "repeats are counted and leave no event"
    );

    // Temporary failures are retried on schedule: a run begins by itself and resolves them.
    source.behaves("honest");
    here.app.clock.advance(Duration::from_secs(61));
    let started = Instant::now();
    let all = loop {
        let all = here.failures().await;
        if all.iter().all(|it| it["state"] == "RESOLVED" || it["cause"] != "TARGET_UNAVAILABLE") {
            break all;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{all:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(all[2]["resolution"], "SUPERSEDED", "{all:#?}");
    assert_eq!(
        here.count(
            "sync_run WHERE requested_by = 'a retry of a failure' AND state = 'SUCCEEDED'",
            []
        )
        .await,
        1
    );
    assert_eq!(
        here.told_of(&all[2]).await,
        ["FAILURE_OPENED", "FAILURE_RETRY_BEGUN", "FAILURE_RESOLVED"]
    );
    let run = sync(&here.acme, &connection, "mode: FULL").await;
    assert_eq!(run["state"], "SUCCEEDED", "{run:#}");
    // A run resolves failures just after its end.
    let started = Instant::now();
    while !here.failures().await.iter().all(|it| it["state"] == "RESOLVED") {
        assert!(started.elapsed() < Duration::from_secs(30), "{:#?}", here.failures().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    here.end().await;
}

#[tokio::test]
async fn silent_source_delays_no_other_retry() {
    let here = World::with(|config| {
        config.pull_private_addresses = true;
        config.pull_timeout = 2;
    })
    .await;
    let mut connections = Vec::new();
    for name in ["one", "two"] {
        let (source, address) = Hostile::serve().await;
        let mut person = person(7);
        person["userName"] = name.into();
        *source.people.lock().unwrap() = vec![person];
        let rival = here.rival(name).await;
        let pull = json!({ "baseUrl": address, "secret": "id+/" });
        let connection = pulling_as(&here.acme, name, pull).await;
        sync(&here.acme, &connection, "mode: FULL").await;
        here.remove(&rival).await;
        connections.push((source, connection));
    }
    connections[0].0.behaves("never answers for one");
    let (one, two) =
        (wait_until(&here, "one", |_| true).await, wait_until(&here, "two", |_| true).await);
    here.work("failureRetry", json!({ "id": one["id"] })).await;
    here.work("failureRetry", json!({ "id": two["id"] })).await;
    wait_until(&here, "two", |it| it["resolution"] == "RETRIED").await;
    let one = wait_until(&here, "one", |it| it["attempts"] == 1).await;
    assert_eq!((&one["state"], &one["cause"]), (&json!("OPEN"), &json!("UNIQUENESS")), "{one:#}");
    here.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry_survives_a_killed_server() {
    let (source, address) = Hostile::serve().await;
    source.lists(2);
    let database = Database::empty().await;
    let bootstrapped = bootstrap(&database);
    let allow = [("ROLECALL_PULL_PRIVATE_ADDRESSES", "true")];
    let mut servers = start_several(&database, 3, &allow).await;
    let at = |server: &Server| Tenant {
        organization: Uuid::nil(),
        connection: Uuid::nil(),
        api_key: bootstrapped["graphql"]["api_key"].as_str().unwrap().to_owned(),
        scim: server.scim(&bootstrapped),
        graphql: format!("{}/graphql", server.address),
    };
    let tenant = at(&servers[0]);
    let connection = pulling(&tenant, json!({ "baseUrl": address, "secret": "id+/" })).await;
    let create = "mutation { userCreate(input: { userName: \"p1\" }) { user { id } } }";
    let rival = tenant.graphql(create, json!({})).await["data"]["userCreate"]["user"]["id"].clone();
    let run = start(&tenant, &connection, "mode: FULL").await;
    super::ended(&tenant, &run).await;
    assert_eq!(look(&tenant, &run).await["users"]["failed"], 1);
    let delete = "mutation($id: ID!) { userDelete(input: { id: $id }) { userErrors { message } } }";
    tenant.graphql(delete, json!({ "id": rival })).await;
    let ask = "{ organization { failures(first: 5) { nodes { id state resolution attempts } }
        made: events(first: 1, filter: { actions: [USER_CREATED] }) { totalCount } } }";
    let open = tenant.graphql(ask, json!({})).await["data"]["organization"]["failures"]["nodes"][0]
        .clone();
    source.behaves("never answers for one");
    let retry =
        "mutation($id: ID!) { failureRetry(input: { id: $id }) { userErrors { message } } }";
    tenant.graphql(retry, json!({ "id": open["id"] })).await;
    // The first server begins the retry at once, and is killed in the middle.
    let began = Instant::now();
    while source.asked_for_one.load(std::sync::atomic::Ordering::Relaxed) == 0 {
        assert!(began.elapsed() < Duration::from_secs(10), "no server began the retry");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    kill_first(&mut servers, &database, &allow).await;
    source.behaves("honest");
    let tenant = at(servers.last().unwrap());
    tokio::time::sleep(Duration::from_secs(6)).await;
    let seen = tenant.graphql(ask, json!({})).await["data"]["organization"].clone();
    assert_eq!(
        seen["failures"]["nodes"][0]["state"], "RETRYING",
        "the dead server's lease is still valid: {seen:#}"
    );
    // The lease of the dead server expires.
    let store = rolecall::db::Store::open_database(&database.url).await.unwrap();
    let over =
        sea_orm::Statement::from_string(store.backend(), "UPDATE failure SET until = first_at");
    sea_orm::ConnectionTrait::execute_raw(&store.write, over).await.unwrap();
    store.close().await;
    let done = loop {
        let seen = tenant.graphql(ask, json!({})).await["data"]["organization"].clone();
        if seen["failures"]["nodes"][0]["state"] == "RESOLVED" {
            break seen;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{seen:#}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(done["failures"]["nodes"][0]["resolution"], "RETRIED", "{done:#}");
    assert_eq!(
        done["made"]["totalCount"], 3,
        "the rival, one by the run, one by the retry: {done:#}"
    );
    drop(servers);
    database.drop().await;
}

#[tokio::test]
async fn absent_active_reactivates_no_account() {
    let here = reader().await;
    let (source, address) = Hostile::serve().await;
    source.lists(3);
    let connection = pulling(&here.acme, json!({ "baseUrl": address, "secret": "id+/" })).await;
    source.sets(1, "active", json!(false));
    sync(&here.acme, &connection, "mode: FULL").await;
    let suspended = "\"user\" WHERE external_id = 'r1' AND active = FALSE AND document LIKE \
                     '%\"active\":false%'";
    assert_eq!(here.count(suspended, []).await, 1);
    for (title, active) in [("a", None), ("b", Some(Value::Null))] {
        source.sets(1, "title", json!(title));
        {
            let mut people = source.people.lock().unwrap();
            let person = people[1].as_object_mut().unwrap();
            person.remove("active");
            person.extend(active.map(|active| ("active".to_owned(), active)));
        }
        let run = sync(&here.acme, &connection, "mode: FULL").await;
        assert_eq!(
            (&run["users"]["updated"], &run["users"]["restored"]),
            (&json!(1), &json!(0)),
            "{run:#}"
        );
        assert_eq!(here.count(suspended, []).await, 1);
    }
    here.end().await;
}
