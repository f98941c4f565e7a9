//! What happens while a comparison is carried out: somebody decides, a server dies, or there is too much.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rolecall::domain::reconcile::source::Theirs;
use rolecall::domain::sync::met::{Group, Met, Moved, Person};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{EXPORT, about, connection, csv, differing, findings, resolve, somebody, told};
use crate::walk::codes;
use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_decides_while_a_comparison_looks() {
    let world = World::new().await;
    let names: Vec<String> = (0..12).map(|n| format!("person{n}")).collect();
    for name in &names {
        somebody(&world, name, "Nurse").await;
    }
    somebody(&world, "stays", "Nurse").await;
    let export: String = names.iter().map(|name| format!("{name},False\n")).collect();
    let export = format!("userName,active\nstays,True\n{export}");
    csv(&world, export.clone()).await.is(200);
    for (n, name) in names.iter().enumerate() {
        let finding = about(&world, name).await;
        let choice = if n % 2 == 0 { "choice: SUSPEND" } else { "choice: DELETE" };
        let decided = async {
            tokio::time::sleep(Duration::from_millis(3 * n as u64)).await;
            resolve(&world, &finding, choice).await
        };
        let (compared, answer) = tokio::join!(csv(&world, export.clone()), decided);
        assert_eq!(compared.status, 200, "{:#}", compared.body);
        let payload = &answer["data"]["findingResolve"];
        assert_eq!(
            (&payload["userErrors"], &payload["finding"]["state"]),
            (&json!([]), &json!("RESOLVED")),
            "{answer:#}"
        );
        // What it saw before the decision says nothing against it.
        assert_eq!(about(&world, name).await["state"], "RESOLVED", "{name}");
    }
    let actions = told(&world).await;
    let count = |action: &str| actions.iter().filter(|told| *told == action).count();
    assert_eq!([count("finding.opened"), count("finding.resolved"), count("finding.reopened")], [12, 12, 0]);
    let answer = csv(&world, export).await.is(200);
    let counts = &answer.body["reconciliation"]["counts"];
    assert_eq!((&counts["opened"], &counts["reopened"]), (&json!(0), &json!(0)), "{counts:#}");
    world.end().await;
}

#[tokio::test]
async fn a_decision_outlives_a_comparison_that_had_begun_before() {
    let world = differing().await;
    csv(&world, EXPORT).await.is(200);
    resolve(&world, &about(&world, "left").await, "choice: SUSPEND").await;
    // As a comparison sees it that read the account before the decision, and writes after it.
    let on = "UPDATE \"user\" SET active = TRUE WHERE user_name = 'left'";
    world.execute(on, []).await;
    let later = world.app.clock.now() + chrono::Duration::minutes(1);
    world.execute("UPDATE finding SET decided_at = $1 WHERE state = 'RESOLVED'", [later.into()]).await;
    csv(&world, EXPORT).await.is(200);
    assert_eq!(about(&world, "left").await["state"], "RESOLVED");
    // One that begins later knows better: somebody has turned the account on again.
    world.app.clock.advance(Duration::from_secs(120));
    csv(&world, EXPORT).await.is(200);
    assert_eq!(about(&world, "left").await["state"], "OPEN");
    world.end().await;
}

/// So many that a comparison takes a while to write them down.
const MANY: usize = 3_000;

async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !so().await {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_comparison_that_is_alive_keeps_its_place_and_one_that_is_taken_for_dead_writes_no_more() {
    let world = World::new().await;
    somebody(&world, "ada", "Nurse").await;
    let rows: String = (0..MANY).map(|n| format!("missing{n}\n")).collect();
    let export = format!("userName\nada\n{rows}");
    let begun = async || {
        let before = world.count("finding", []).await;
        until("nothing is written", async || world.count("finding", []).await > before).await;
    };
    // However long it takes: each part that it writes says that it is alive.
    let watched = async {
        begun().await;
        for _ in 0..2 {
            world.app.clock.advance(Duration::from_secs(7 * 60));
            let due = world.app.clock.now() + chrono::Duration::minutes(9);
            until("it is not renewed", async || {
                world.count("reconciliation WHERE until > $1", [due.into()]).await == 1
            })
            .await;
        }
        let start = "mutation($c: ID!) { reconciliationStart(input: { connectionId: $c }) { userErrors { code } } }";
        world.graphql(start, json!({ "c": connection(&world).await })).await
    };
    let (compared, second) = tokio::join!(csv(&world, export.clone()), watched);
    assert_eq!(compared.body["reconciliation"]["counts"]["opened"], MANY, "{:#}", compared.body);
    assert_eq!(second["data"]["reconciliationStart"]["userErrors"][0]["code"], "HELD", "{second:#}");
    assert_eq!(world.count("reconciliation", []).await, 1);

    // Another server took it for dead.
    world.execute("DELETE FROM finding", []).await;
    let taken = async {
        begun().await;
        let now = world.app.clock.now();
        let dead = "UPDATE reconciliation SET state = 'FAILED', finished_at = $1 WHERE finished_at IS NULL";
        world.execute(dead, [now.into()]).await;
    };
    let (refused, ()) = tokio::join!(csv(&world, export), taken);
    let refused = refused.is(409);
    assert_eq!(codes(&refused.body), ["HELD"], "{:#}", refused.body);
    assert!(refused.body.to_string().contains("another took its place"), "{:#}", refused.body);
    let written = world.count("finding", []).await;
    assert!(written > 0 && written < MANY as i64, "{written}");
    assert_eq!(world.count("reconciliation WHERE finished_at IS NULL", []).await, 0);
    world.end().await;
}

#[tokio::test]
async fn a_source_is_compared_up_to_its_bounds() {
    let world = World::new().await;
    let nobody = || Theirs::of(world.system(), world.acme.connection);
    let same = |range: std::ops::Range<u32>| Met {
        people: range.map(|n| (n.to_string(), Person::Same)).collect(),
        ..Met::default()
    };
    let mut theirs = nobody();
    assert_eq!(theirs.take(same(0..250_000)).await.unwrap(), Ok(()));
    // Who is listed twice is one person.
    assert_eq!(theirs.take(same(0..10)).await.unwrap(), Ok(()));
    let why = theirs.take(same(250_000..250_001)).await.unwrap().unwrap_err();
    assert!(why.contains("more than 250000 people or groups"), "{why}");

    // Sixteen bytes each: 32 MiB, and one more.
    let members: BTreeSet<Uuid> = (0..65_536).map(Uuid::from_u128).collect();
    let group = |n: u128, come: &BTreeSet<Uuid>| Met {
        groups: vec![(
            n.to_string(),
            Group::Shown { here: Uuid::from_u128(n), moved: Moved { come: come.clone(), ..Moved::default() } },
        )],
        ..Met::default()
    };
    let mut theirs = nobody();
    for n in 0..32 {
        assert_eq!(theirs.take(group(n, &members)).await.unwrap(), Ok(()), "{n} MiB");
    }
    let one = BTreeSet::from([Uuid::nil()]);
    let why = theirs.take(group(32, &one)).await.unwrap().unwrap_err();
    assert!(why.contains("more than 33554432 bytes") && why.contains("mode FULL"), "{why}");
    assert_eq!(findings(&world, "").await, Vec::<Value>::new());
    world.end().await;
}
