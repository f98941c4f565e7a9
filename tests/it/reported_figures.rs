//! Figures on screens: how long leavers kept their access, when a source was last read, who held
//! which role on a day, and when something was counted.

use std::time::Duration;

use chrono::{DateTime, Utc};
use rolecall::domain::access::role;
use rolecall::domain::access::role_mapping;
use rolecall::domain::access::role_mapping::MappingTarget;
use rolecall::domain::directory::user;
use serde_json::{Value, json};

use crate::rights::{global, map_to_role};
use crate::world::World;

const TIMES: &str = "query($since: DateTime, $until: DateTime, $objective: Int!) { organization {
    revocationTimes(since: $since, until: $until, objectiveSeconds: $objective) { count withinObjective
        medianMilliseconds p95Milliseconds p99Milliseconds longestMilliseconds } } }";

#[tokio::test]
async fn percentiles_include_every_leaver() {
    let world = World::new().await;
    let times = async |since: Option<DateTime<Utc>>, objective: i32| {
        let variables = json!({ "since": since, "until": null, "objective": objective });
        let answer = world.graphql(TIMES, variables).await;
        answer["data"]["organization"]["revocationTimes"].clone()
    };
    let none = json!({ "count": 0, "withinObjective": 0, "medianMilliseconds": 0.0, "p95Milliseconds": 0.0,
        "p99Milliseconds": 0.0, "longestMilliseconds": 0.0 });
    assert_eq!(times(None, 60).await, none);

    // Forty leavers. Each one waited another number of minutes, in mixed order. Half of them are
    // deleted.
    let mut people = Vec::new();
    for n in 0..40 {
        people.push(world.scim().user(&format!("person-{n}")).await);
    }
    for (n, person) in people.iter().enumerate() {
        let minutes = (n as u64 * 17) % 40 + 1;
        // The request arrives now; its write follows minutes later.
        let cx = world.system();
        world.app.clock.advance(Duration::from_secs(minutes * 60));
        if n % 2 == 0 {
            user::delete_user(&cx, *person, |_| Ok(())).await.unwrap();
        } else {
            let suspend = |_: &user::User, known: &serde_json::Map<String, Value>| {
                let mut document = known.clone();
                document.insert("active".into(), false.into());
                Ok(Some(document))
            };
            user::change_user(&cx, *person, suspend).await.unwrap();
        }
    }
    // Nearest rank: the 20th, the 38th and the 40th of forty. The time of the write itself is
    // added.
    let found = times(None, 10 * 60 + 30).await;
    assert_eq!((&found["count"], &found["withinObjective"]), (&json!(40), &json!(10)), "{found}");
    for (figure, minutes) in [
        ("medianMilliseconds", 20.0),
        ("p95Milliseconds", 38.0),
        ("p99Milliseconds", 40.0),
        ("longestMilliseconds", 40.0),
    ] {
        let beyond = found[figure].as_f64().unwrap() - minutes * 60_000.0;
        assert!((0.0..30_000.0).contains(&beyond), "{figure}: {found}");
    }
    // Only leavers since then count, and none of another organization.
    let now = world.app.clock.now();
    assert_eq!(times(Some(now), 60).await, none);
    let globex = world.second_organization().await;
    let theirs = globex.graphql(TIMES, json!({ "objective": 60 })).await;
    assert_eq!(theirs["data"]["organization"]["revocationTimes"], none);
    let negative = world.graphql(TIMES, json!({ "objective": -1 })).await;
    assert_eq!(negative["errors"][0]["extensions"]["code"], "BAD_USER_INPUT", "{negative:#}");
    world.end().await;
}

#[tokio::test]
async fn last_sync_is_a_complete_run() {
    let world = World::with(|config| config.pull_private_addresses = true).await;
    let source = world.tenant("source", "Identity provider").await;
    source.scim.user("ada").await;
    let make = "mutation($n: String!, $p: PullSourceInput!) { connectionCreate(input: { name: $n, pull: $p }) {
        connection { id } userErrors { message } } }";
    let pull = json!({ "baseUrl": source.scim.base, "secret": source.scim.token });
    let made = world.graphql(make, json!({ "n": "Source", "p": pull })).await;
    let connection = made["data"]["connectionCreate"]["connection"]["id"].clone();
    assert!(connection.is_string(), "{made:#}");
    let sync = async |mode: &str| {
        let start =
            "mutation($c: ID!, $m: SyncMode!) { syncStart(input: { connectionId: $c, mode: $m }) {
            syncRun { id } userErrors { message } } }";
        let begun = world.graphql(start, json!({ "c": connection, "m": mode })).await;
        let run = begun["data"]["syncStart"]["syncRun"]["id"].clone();
        assert!(run.is_string(), "{begun:#}");
        (run.clone(), crate::sync::ended(&world.acme, &run).await["state"].clone())
    };
    // Each connection shows its own run. The first connection reads no source and has none.
    let last = async || {
        let query = "{ organization { connections(first: 5) { nodes { id userCount lastSync {
            id mode endedAt users { created unchanged } } } } } }";
        let answer = world.graphql(query, json!({})).await;
        let all =
            answer["data"]["organization"]["connections"]["nodes"].as_array().unwrap().clone();
        assert_eq!(all.len(), 2, "{answer:#}");
        let (own, others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|node| node["id"] == connection);
        assert_eq!(others[0]["lastSync"], Value::Null);
        own[0].clone()
    };
    assert_eq!(last().await["lastSync"], Value::Null);
    // A dry run is not a read of the source.
    assert_eq!(sync("DRY_RUN").await.1, "SUCCEEDED");
    assert_eq!(last().await["lastSync"], Value::Null);
    let (first, state) = sync("FULL").await;
    assert_eq!(state, "SUCCEEDED");
    let shown = last().await;
    assert_eq!((&shown["lastSync"]["id"], &shown["userCount"]), (&first, &json!(1)), "{shown}");
    assert_eq!(shown["lastSync"]["users"], json!({ "created": 1, "unchanged": 0 }));
    let at: DateTime<Utc> = shown["lastSync"]["endedAt"].as_str().unwrap().parse().unwrap();
    assert!(at <= world.app.clock.now());
    // A failed run is none either, however late it was.
    world
        .execute(
            "UPDATE scim_token SET revoked_at = $1 WHERE organization_id = $2",
            [at.into(), source.organization.into()],
        )
        .await;
    assert_eq!(sync("FULL").await.1, "FAILED");
    assert_eq!(last().await["lastSync"]["id"], first);
    world
        .execute(
            "UPDATE scim_token SET revoked_at = NULL WHERE organization_id = $1",
            [source.organization.into()],
        )
        .await;
    source.scim.user("bob").await;
    let (second, state) = sync("INCREMENTAL").await;
    assert_eq!(state, "SUCCEEDED");
    let shown = last().await;
    assert_eq!(
        (&shown["lastSync"]["id"], &shown["lastSync"]["mode"]),
        (&second, &json!("INCREMENTAL")),
        "{shown}"
    );
    assert_eq!(shown["userCount"], 2);
    world.end().await;
}

#[tokio::test]
async fn past_roles_do_not_change() {
    let world = World::new().await;
    let cx = world.system();
    let ada = world.scim().user("ada").await;
    let ward = world.scim().group("Ward 3", &[ada]).await;
    let minute = Duration::from_secs(60);
    let mut instants = Vec::new();
    // An instant between two changes, a minute from either.
    let mut pass = || {
        world.app.clock.advance(minute);
        instants.push(world.app.clock.now());
        world.app.clock.advance(minute);
    };
    pass();
    let (nurse, mapped) = map_to_role(&cx, "Nurse", MappingTarget::Group(ward)).await;
    pass();
    let off = json!([{ "op": "replace", "path": "active", "value": false }]);
    world.scim().patch(&format!("/Users/{ada}"), off).await.is(200);
    pass();
    let on = json!([{ "op": "replace", "path": "active", "value": true }]);
    world.scim().patch(&format!("/Users/{ada}"), on).await.is(200);
    pass();
    role_mapping::remove_mapping(&cx, mapped).await.unwrap();
    pass();
    let query = "query($u: ID!, $a: DateTime!, $b: DateTime!, $c: DateTime!, $d: DateTime!, $e: DateTime!) {
        organization { user(id: $u) { a: roles(asOf: $a) { role { name } } b: roles(asOf: $b) { role { name } }
            c: roles(asOf: $c) { role { name } } d: roles(asOf: $d) { role { name } }
            e: roles(asOf: $e) { role { name } } now: roles { role { name } } } } }";
    let variables = json!({ "u": global("User", ada), "a": instants[0], "b": instants[1], "c": instants[2],
        "d": instants[3], "e": instants[4] });
    let ask = async || {
        world.graphql(query, variables.clone()).await["data"]["organization"]["user"].clone()
    };
    let held = json!([{ "role": { "name": "Nurse" } }]);
    let before = ask().await;
    assert_eq!(before, json!({ "a": [], "b": held, "c": [], "d": held, "e": [], "now": [] }));
    // Later changes do not change past answers, except for the role's name.
    map_to_role(&cx, "Doctor", MappingTarget::Group(ward)).await;
    let renamed = role::RoleSettings { name: Some("Matron".into()), ..Default::default() };
    role::update_role(&cx, nurse, renamed, None).await.unwrap();
    let held = json!([{ "role": { "name": "Matron" } }]);
    let now = json!([{ "role": { "name": "Doctor" } }]);
    assert_eq!(ask().await, json!({ "a": [], "b": held, "c": [], "d": held, "e": [], "now": now }));
    // The future may still change, so a question about it is refused.
    let ahead = world.app.clock.now() + chrono::Duration::minutes(5);
    let later = "query($u: ID!, $at: DateTime!) { organization { user(id: $u) { roles(asOf: $at) \
                 { role { name } } } } }";
    let refused = world.graphql(later, json!({ "u": global("User", ada), "at": ahead })).await;
    let error = &refused["errors"][0];
    assert_eq!(error["extensions"]["code"], "BAD_USER_INPUT", "{refused:#}");
    assert!(error["message"].as_str().unwrap().contains("settled"), "{error}");
    world.end().await;
}

#[tokio::test]
async fn counts_have_an_instant() {
    let world = World::new().await;
    let counts = async || {
        let query = "{ organization { scim { counts { users groups asOf } } } }";
        let answer = world.graphql(query, json!({})).await;
        let counts = answer["data"]["organization"]["scim"]["counts"].clone();
        let at: DateTime<Utc> = counts["asOf"].as_str().unwrap().parse().unwrap();
        (counts["users"].clone(), counts["groups"].clone(), at)
    };
    let ada = world.scim().user("ada").await;
    world.scim().group("Ward 3", &[ada]).await;
    let by_hand =
        "mutation { userCreate(input: { userName: \"by-hand\" }) { userErrors { message } } }";
    world.graphql(by_hand, json!({})).await;
    let began = world.app.clock.now();
    let (users, groups, at) = counts().await;
    assert_eq!((users, groups), (json!(1), json!(1)), "an account made by hand is not counted");
    assert!(at >= began && at <= world.app.clock.now(), "{at}");
    world.days_pass(1);
    world.scim().delete(&format!("/Users/{ada}")).await.is(204);
    let (users, groups, later) = counts().await;
    assert_eq!((users, groups), (json!(0), json!(1)));
    assert!(later - at >= chrono::Duration::days(1), "{at} {later}");
    world.end().await;
}
