//! What happens during a comparison: an administrator decides, a server dies, or the source is too
//! large.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rolecall::domain::reconcile::source::SourcePicture;
use rolecall::domain::sync::plan::{
    ListedDocument, LocalRow, MovedMembers, PagePlan, StepAction, SyncKind, SyncStep,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    EXPORT, connection, create_person, csv, differing, find_by_label, findings,
    list_finding_events, resolve,
};
use crate::walk::codes;
use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decisions_survive_a_running_comparison() {
    let world = World::new().await;
    let names: Vec<String> = (0..12).map(|n| format!("person{n}")).collect();
    for name in &names {
        create_person(&world, name, "Nurse").await;
    }
    create_person(&world, "stays", "Nurse").await;
    let export: String = names.iter().map(|name| format!("{name},False\n")).collect();
    let export = format!("userName,active\nstays,True\n{export}");
    csv(&world, export.clone()).await.is(200);
    for (n, name) in names.iter().enumerate() {
        let finding = find_by_label(&world, name).await;
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
        // The comparison read the account before the decision, so it does not reopen the finding.
        assert_eq!(find_by_label(&world, name).await["state"], "RESOLVED", "{name}");
    }
    let actions = list_finding_events(&world).await;
    let count = |action: &str| actions.iter().filter(|told| *told == action).count();
    assert_eq!(
        [count("finding.opened"), count("finding.resolved"), count("finding.reopened")],
        [12, 12, 0]
    );
    let answer = csv(&world, export).await.is(200);
    let counts = &answer.body["reconciliation"]["counts"];
    assert_eq!((&counts["opened"], &counts["reopened"]), (&json!(0), &json!(0)), "{counts:#}");
    world.end().await;
}

#[tokio::test]
async fn decisions_survive_an_earlier_comparison() {
    let world = differing().await;
    csv(&world, EXPORT).await.is(200);
    resolve(&world, &find_by_label(&world, "left").await, "choice: SUSPEND").await;
    // The state as a comparison sees it that read the account before the decision and writes after
    // it.
    let on = "UPDATE \"user\" SET active = TRUE WHERE user_name = 'left'";
    world.execute(on, []).await;
    let later = world.app.clock.now() + chrono::Duration::minutes(1);
    world
        .execute("UPDATE finding SET decided_at = $1 WHERE state = 'RESOLVED'", [later.into()])
        .await;
    csv(&world, EXPORT).await.is(200);
    assert_eq!(find_by_label(&world, "left").await["state"], "RESOLVED");
    // A comparison that begins later reopens the finding: the account was activated again.
    world.app.clock.advance(Duration::from_secs(120));
    csv(&world, EXPORT).await.is(200);
    assert_eq!(find_by_label(&world, "left").await["state"], "OPEN");
    world.end().await;
}

/// So many findings that it takes a comparison some time to write them.
const MANY: usize = 3_000;

async fn wait_until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !so().await {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn comparison_without_its_lease_stops_writing() {
    let world = World::new().await;
    create_person(&world, "ada", "Nurse").await;
    let rows: String = (0..MANY).map(|n| format!("missing{n}\n")).collect();
    let export = format!("userName\nada\n{rows}");
    let begun = async || {
        let before = world.count("finding", []).await;
        wait_until("nothing is written", async || world.count("finding", []).await > before).await;
    };
    // Each part that the comparison writes renews its lease, so it may take any time.
    let watched = async {
        begun().await;
        for _ in 0..2 {
            world.app.clock.advance(Duration::from_secs(7 * 60));
            let due = world.app.clock.now() + chrono::Duration::minutes(9);
            wait_until("it is not renewed", async || {
                world.count("reconciliation WHERE until > $1", [due.into()]).await == 1
            })
            .await;
        }
        let start = "mutation($c: ID!) { reconciliationStart(input: { connectionId: $c }) { \
                     userErrors { code } } }";
        world.graphql(start, json!({ "c": connection(&world).await })).await
    };
    let (compared, second) = tokio::join!(csv(&world, export.clone()), watched);
    assert_eq!(compared.body["reconciliation"]["counts"]["opened"], MANY, "{:#}", compared.body);
    assert_eq!(
        second["data"]["reconciliationStart"]["userErrors"][0]["code"], "HELD",
        "{second:#}"
    );
    assert_eq!(world.count("reconciliation", []).await, 1);

    // Another server declares the comparison dead.
    world.execute("DELETE FROM finding", []).await;
    let taken = async {
        begun().await;
        let now = world.app.clock.now();
        let dead = "UPDATE reconciliation SET state = 'FAILED', finished_at = $1 WHERE \
                    finished_at IS NULL";
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
async fn too_large_sources_are_not_compared() {
    let world = World::new().await;
    let empty = || SourcePicture::of(world.system(), world.acme.connection);
    let row =
        |n: u128| LocalRow { id: Uuid::from_u128(n), version: 1, active: true, applied: None };
    let same = |range: std::ops::Range<u128>| {
        let step = |n: u128| SyncStep {
            kind: SyncKind::User,
            remote_id: n.to_string(),
            action: StepAction::Skip { here: row(n) },
        };
        PagePlan { steps: range.map(step).collect(), lists_members: false }
    };
    let mut theirs = empty();
    assert_eq!(theirs.take_page(&same(0..250_000), 0).await.unwrap(), Ok(()));
    // A person that is listed twice counts once.
    assert_eq!(theirs.take_page(&same(0..10), 0).await.unwrap(), Ok(()));
    let why = theirs.take_page(&same(250_000..250_001), 0).await.unwrap().unwrap_err();
    assert!(why.contains("more than 250000 people or groups"), "{why}");

    // Sixteen bytes for each: 32 MiB, and one more.
    let members: BTreeSet<Uuid> = (0..65_536).map(Uuid::from_u128).collect();
    let group = |n: u128, come: &BTreeSet<Uuid>| {
        let document =
            ListedDocument { attributes: Map::new(), digest: Vec::new(), incomplete: false };
        let moved = MovedMembers { come: come.clone(), ..MovedMembers::default() };
        let action = StepAction::UpdateGroup { here: row(n), document, moved, silent: false };
        let step = SyncStep { kind: SyncKind::Group, remote_id: n.to_string(), action };
        PagePlan { steps: vec![step], lists_members: true }
    };
    let mut theirs = empty();
    for n in 0..32 {
        assert_eq!(theirs.take_page(&group(n, &members), 0).await.unwrap(), Ok(()), "{n} MiB");
    }
    let one = BTreeSet::from([Uuid::nil()]);
    let why = theirs.take_page(&group(32, &one), 0).await.unwrap().unwrap_err();
    assert!(why.contains("more than 33554432 bytes") && why.contains("mode FULL"), "{why}");
    assert_eq!(findings(&world, "").await, Vec::<Value>::new());
    world.end().await;
}
