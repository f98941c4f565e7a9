//! What a run could not carry over is work in the review queue, and ends like any other work there.

use std::time::{Duration, Instant};

use rolecall::domain::protection;
use serde_json::{Value, json};
use uuid::Uuid;

use super::hostile::{Hostile, person};
use super::{look, pulling, pulling_as, reader, start, sync};
use crate::database::Database;
use crate::process::{Server, bootstrap, kill_first, start_several};
use crate::world::{Tenant, World};

/// The failure of this label, once it is as it should be.
async fn until(world: &World, label: &str, right: impl Fn(&Value) -> bool) -> Value {
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
async fn who_could_not_be_carried_over_is_one_piece_of_work() {
    let here = reader().await;
    let (source, address) = Hostile::serve().await;
    source.lists(6);
    let connection = pulling(&here.acme, json!({ "baseUrl": address, "secret": "id+/" })).await;
    let rival = here.rival("p1").await;
    // A dry run says so and makes no work.
    assert_eq!(sync(&here.acme, &connection, "mode: DRY_RUN").await["state"], "SUCCEEDED");
    assert_eq!(here.failures().await, Vec::<Value>::new());
    for n in 1..=2 {
        let run = sync(&here.acme, &connection, "mode: FULL").await;
        assert_eq!((&run["state"], &run["users"]["failed"]), (&json!("SUCCEEDED"), &json!(1)), "{run:#}");
        let all = here.failures().await;
        assert_eq!((all.len(), &all[0]["count"]), (1, &json!(n)), "{all:#?}");
        assert_eq!(all[0]["lastRequestId"].as_str().unwrap().len(), 36);
    }
    let open = until(&here, "p1", |_| true).await;
    assert_eq!((&open["origin"], &open["operation"]), (&json!("SYNC"), &json!("create user")));
    assert_eq!((&open["cause"], &open["field"]), (&json!("UNIQUENESS"), &json!("userName")));
    assert_eq!((&open["user"]["userName"], &open["retryable"]), (&json!("p1"), &json!(true)), "who is in the way");
    assert_eq!(open["redactedRequest"]["userName"], "text of 2 characters");
    assert!(open["suggestion"]["text"].as_str().unwrap().contains("userName"), "{open:#}");

    // Tried too early; then the way is free.
    here.work("failureRetry", json!({ "id": open["id"] })).await;
    let open = until(&here, "p1", |it| it["attempts"] == 1).await;
    assert_eq!((&open["state"], &open["count"]), (&json!("OPEN"), &json!(3)), "{open:#}");
    here.remove(&rival).await;
    assert_eq!(here.work("failureRetry", json!({ "id": open["id"] })).await["state"], "RETRYING");
    let done = until(&here, "p1", |it| it["state"] == "RESOLVED").await;
    assert_eq!(done["resolution"], "RETRIED", "{done:#}");
    let found = here.rows("SELECT id FROM \"user\" WHERE external_id = 'r1'", []).await;
    let id: Uuid = found[0]["id"].as_str().unwrap().parse().unwrap();
    let made = here.rows("SELECT actor_kind FROM event WHERE subject_id = $1", [id.into()]).await;
    assert_eq!(made[0]["actor_kind"], "CONNECTION", "the connection itself made it");
    assert_eq!(here.count("failure WHERE payload IS NOT NULL", []).await, 0, "what was kept has gone with the work");

    // What any later run carries over is done …
    source.sets(2, "active", json!({ "no": "boolean" }));
    source.sets(3, "active", json!({ "no": "boolean" }));
    sync(&here.acme, &connection, "mode: FULL").await;
    let open = until(&here, "p2", |_| true).await;
    assert_eq!((&open["operation"], &open["cause"]), (&json!("update user"), &json!("INVALID_VALUE")), "{open:#}");
    source.sets(2, "active", json!(true));
    let one = sync(&here.acme, &connection, "mode: ONE_USER, remoteId: \"r2\"").await;
    assert_eq!(one["state"], "SUCCEEDED", "{one:#}");
    let done = until(&here, "p2", |it| it["state"] == "RESOLVED").await;
    assert_eq!(done["resolution"], "SUPERSEDED");
    assert_eq!(until(&here, "p3", |_| true).await["state"], "OPEN");
    // … and so is what a full run does not meet any more.
    source.people.lock().unwrap().remove(3);
    sync(&here.acme, &connection, "mode: FULL").await;
    assert_eq!(until(&here, "p3", |it| it["state"] == "RESOLVED").await["resolution"], "SUPERSEDED");

    // A protected account stays, and is removed by a retry when it is protected no longer.
    let found = here.rows("SELECT id FROM \"user\" WHERE external_id = 'r5'", []).await;
    let id: Uuid = found[0]["id"].as_str().unwrap().parse().unwrap();
    protection::set(&here.system(), id, true).await.unwrap();
    source.people.lock().unwrap().pop();
    sync(&here.acme, &connection, "mode: FULL").await;
    let open = until(&here, "p5", |_| true).await;
    assert_eq!((&open["operation"], &open["cause"]), (&json!("delete user"), &json!("PROTECTED")), "{open:#}");
    protection::set(&here.system(), id, false).await.unwrap();
    here.work("failureRetry", json!({ "id": open["id"] })).await;
    until(&here, "p5", |it| it["resolution"] == "RETRIED").await;
    assert_eq!(here.count("\"user\" WHERE external_id = 'r5' AND deleted_at IS NULL", []).await, 0);

    // A group is read again like a person.
    let members = json!([{ "value": "r0" }]);
    *source.groups.lock().unwrap() =
        vec![json!({ "id": "g", "displayName": "Ward", "externalId": "x", "members": [{ "value": { "no": 1 } }] })];
    sync(&here.acme, &connection, "mode: FULL").await;
    let open = until(&here, "Ward", |_| true).await;
    source.groups.lock().unwrap()[0]["members"] = members;
    here.work("failureRetry", json!({ "id": open["id"] })).await;
    until(&here, "Ward", |it| it["resolution"] == "RETRIED").await;
    assert_eq!(here.count("membership WHERE until IS NULL", []).await, 1);
    here.end().await;
}

#[tokio::test]
async fn a_retry_reads_no_farther_than_the_filter_of_the_users() {
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
    assert_eq!((&run["users"]["created"], &run["users"]["failed"]), (&json!(1), &json!(1)), "{run:#}");
    let live = async |name: &str| {
        let from = format!("\"user\" WHERE user_name = '{name}' AND deleted_at IS NULL");
        here.count(&from, []).await
    };
    // Somebody who is not to be read any more is not made by a retry …
    let open = until(&here, "ada", |_| true).await;
    title(ada, "Doctor").await;
    here.remove(&rival).await;
    here.work("failureRetry", json!({ "id": open["id"] })).await;
    let done = until(&here, "ada", |it| it["state"] == "RESOLVED").await;
    assert_eq!((&done["resolution"], live("ada").await), (&json!("SUPERSEDED"), 0), "{done:#}");
    // … and who could not be removed for the same reason, is.
    let found = here.rows("SELECT id FROM \"user\" WHERE user_name = 'bob'", []).await;
    let id: Uuid = found[0]["id"].as_str().unwrap().parse().unwrap();
    protection::set(&here.system(), id, true).await.unwrap();
    title(bob, "Doctor").await;
    title(ada, "Nurse").await;
    sync(&here.acme, &connection, "mode: FULL").await;
    let open = until(&here, "bob", |_| true).await;
    assert_eq!(open["operation"], "delete user", "{open:#}");
    protection::set(&here.system(), id, false).await.unwrap();
    here.work("failureRetry", json!({ "id": open["id"] })).await;
    until(&here, "bob", |it| it["resolution"] == "RETRIED").await;
    assert_eq!((live("bob").await, live("ada").await), (0, 1));
    source.end().await;
    here.end().await;
}

#[tokio::test]
async fn a_source_that_cannot_be_read_is_one_piece_of_work_for_each_cause() {
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
        let update = "mutation($c: ID!, $p: PullSourceInput!) { connectionUpdate(input: { id: $c, pull: $p })
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
    let told = |it: &Value| ["operation", "cause", "reason", "count", "state"].map(|name| it[name].clone());
    let expected = [
        ("NOT_PERMITTED", "SOURCE_CREDENTIALS", 2),
        ("INVALID_VALUE", "SOURCE_UNREADABLE", 1),
        ("TARGET_UNAVAILABLE", "SOURCE_UNAVAILABLE", 1),
    ];
    let expected =
        expected.map(|(cause, reason, n)| [json!("read source"), json!(cause), json!(reason), json!(n), json!("OPEN")]);
    assert_eq!(all.iter().map(told).collect::<Vec<_>>(), expected, "{all:#?}");
    assert_eq!(all[0]["suggestion"]["code"], "GIVE_SECRET");
    assert!(all[0]["nextAttemptAt"].is_null() && all[2]["nextAttemptAt"].is_string(), "{all:#?}");
    assert_eq!(here.told_of(&all[0]).await, ["failure.opened"], "repeats are counted and not told");

    // What passes is tried again on the schedule: the run begins by itself, and puts all of it right.
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
    assert_eq!(here.count("sync_run WHERE requested_by = 'a retry of a failure' AND state = 'SUCCEEDED'", []).await, 1);
    assert_eq!(here.told_of(&all[2]).await, ["failure.opened", "failure.retry_begun", "failure.resolved"]);
    let run = sync(&here.acme, &connection, "mode: FULL").await;
    assert_eq!(run["state"], "SUCCEEDED", "{run:#}");
    // What a run puts right is put right just after its end.
    let started = Instant::now();
    while !here.failures().await.iter().all(|it| it["state"] == "RESOLVED") {
        assert!(started.elapsed() < Duration::from_secs(30), "{:#?}", here.failures().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    here.end().await;
}

#[tokio::test]
async fn a_silent_source_keeps_no_retry_of_another_waiting() {
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
    let (one, two) = (until(&here, "one", |_| true).await, until(&here, "two", |_| true).await);
    here.work("failureRetry", json!({ "id": one["id"] })).await;
    here.work("failureRetry", json!({ "id": two["id"] })).await;
    until(&here, "two", |it| it["resolution"] == "RETRIED").await;
    let one = until(&here, "one", |it| it["attempts"] == 1).await;
    assert_eq!((&one["state"], &one["cause"]), (&json!("OPEN"), &json!("UNIQUENESS")), "{one:#}");
    here.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_outlives_the_server_that_made_it() {
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
        made: events(first: 1, filter: { action: \"user.created\" }) { totalCount } } }";
    let open = tenant.graphql(ask, json!({})).await["data"]["organization"]["failures"]["nodes"][0].clone();
    source.behaves("never answers for one");
    let retry = "mutation($id: ID!) { failureRetry(input: { id: $id }) { userErrors { message } } }";
    tenant.graphql(retry, json!({ "id": open["id"] })).await;
    // Whoever was asked begins at once; it dies in the middle.
    let began = Instant::now();
    while source.asked_for_one.load(std::sync::atomic::Ordering::Relaxed) == 0 {
        assert!(began.elapsed() < Duration::from_secs(10), "nobody tried");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    kill_first(&mut servers, &database, &allow).await;
    source.behaves("honest");
    let tenant = at(servers.last().unwrap());
    tokio::time::sleep(Duration::from_secs(6)).await;
    let seen = tenant.graphql(ask, json!({})).await["data"]["organization"].clone();
    assert_eq!(seen["failures"]["nodes"][0]["state"], "RETRYING", "it is the dead one's for a while: {seen:#}");
    // As if that while were over.
    let store = rolecall::store::Store::open(&database.url).await.unwrap();
    let over = sea_orm::Statement::from_string(store.backend(), "UPDATE failure SET until = first_at");
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
    assert_eq!(done["made"]["totalCount"], 3, "the rival, one by the run, one by the retry: {done:#}");
    drop(servers);
    database.drop().await;
}

#[tokio::test]
async fn a_source_silent_about_active_wakes_no_account() {
    let here = reader().await;
    let (source, address) = Hostile::serve().await;
    source.lists(3);
    let connection = pulling(&here.acme, json!({ "baseUrl": address, "secret": "id+/" })).await;
    source.sets(1, "active", json!(false));
    sync(&here.acme, &connection, "mode: FULL").await;
    let suspended = "\"user\" WHERE external_id = 'r1' AND active = FALSE AND document LIKE '%\"active\":false%'";
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
        assert_eq!((&run["users"]["updated"], &run["users"]["restored"]), (&json!(1), &json!(0)), "{run:#}");
        assert_eq!(here.count(suspended, []).await, 1);
    }
    here.end().await;
}
