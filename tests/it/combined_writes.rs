//! Writes that the server combines, in one transaction on SQLite and in one statement on
//! PostgreSQL: each of them succeeds or fails by itself.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;
use rolecall::context::{Change, Cx};
use rolecall::error::{Error, Result};
use rolecall::ledger::{EventKind, EventSubject, NewEvent};
use sea_orm::{ConnectionTrait, Statement};
use serde_json::json;
use uuid::Uuid;

use crate::database::on_postgres;
use crate::world::World;

/// How a write ends after it has written.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Holds,
    Fails,
    Panics,
    /// Its client goes away while it runs.
    Abandoned,
}

const FATES: [Fate; 4] = [Fate::Holds, Fate::Fails, Fate::Panics, Fate::Abandoned];

fn noted(at: DateTime<Utc>) -> NewEvent {
    NewEvent {
        kind: EventKind::AccessPreviewed,
        subject: EventSubject { kind: "test", id: Uuid::now_v7() },
        connection: None,
        at,
        before: None,
        after: None,
        population: 0,
        name: None,
    }
}

async fn write(cx: &Cx, fate: Fate) -> Result<()> {
    cx.write(move |tx| {
        Box::pin(async move {
            tx.db
                .execute_unprepared("UPDATE organization SET schema_version = schema_version + 1")
                .await?;
            match fate {
                Fate::Holds => {}
                Fate::Fails => {
                    return Err(Error::invalid("this", "is refused after it has written"));
                }
                Fate::Panics => panic!("a write panics, as it is meant to"),
                Fate::Abandoned => tokio::time::sleep(Duration::from_secs(60)).await,
            }
            Ok(Change::recorded((), noted(tx.now_after(None))))
        })
    })
    .await
}

#[tokio::test]
async fn one_write_has_one_instant() {
    let world = World::new().await;
    let (cx, tries) = (world.system(), &AtomicU32::new(0));
    // A row that it locks late was changed a second after its instant, this many times.
    let overtake = |times: u32| {
        let (cx, tries) = (&cx, tries);
        cx.write(move |tx| {
            Box::pin(async move {
                let version = "UPDATE organization SET schema_version = schema_version + 1";
                tx.db.execute_unprepared(version).await?;
                let first = tx.now_after(None);
                let late = tries.fetch_add(1, SeqCst) < times;
                let changed = first + TimeDelta::seconds(if late { 1 } else { -1 });
                let second = tx.now_after(Some(changed));
                assert!(second > changed, "{second} does not follow {changed}");
                Ok(Change::recorded((first, second, tx.now_after(Some(first))), noted(second)))
            })
        })
    };
    let version = "SELECT schema_version FROM organization";
    let before = world.rows(version, []).await[0]["schema_version"].as_i64().unwrap();
    let (first, second, third) = overtake(1).await.unwrap();
    assert_eq!((tries.swap(0, SeqCst), first, third), (2, second, second));
    let (first, second, third) = overtake(3).await.unwrap();
    assert_eq!((tries.swap(0, SeqCst), first, third), (4, second, second));
    let after = world.rows(version, []).await[0]["schema_version"].as_i64().unwrap();
    assert_eq!(after - before, 2, "an attempt that is repeated is undone first");
    let given_up = overtake(100).await;
    assert!(
        matches!(given_up, Err(Error::Busy(_))),
        "{given_up:?}: a write gives up after some attempts"
    );
    assert_eq!(world.count("event WHERE action = 'access.previewed'", []).await, 2);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn group_changes_have_distinct_instants() {
    let world = World::new().await;
    let (ada, ben) = (world.scim().user("ada").await, world.scim().user("ben").await);
    let group = world.scim().group("Ward", &[]).await;
    // Another replica, whose clock is ahead, has changed the group.
    let ahead = world.app.clock.now() + TimeDelta::seconds(30);
    let text = r#"UPDATE "group" SET updated_at = $1"#;
    let ahead = Statement::from_sql_and_values(world.app.store.backend(), text, [ahead.into()]);
    world.app.store.write.execute_raw(ahead).await.unwrap();
    for (op, user) in [("add", ada), ("add", ben), ("remove", ada), ("add", ada)] {
        let operation = match op {
            "add" => json!({ "op": "add", "path": "members", "value": [{ "value": user }] }),
            _ => json!({ "op": "remove", "path": format!("members[value eq \"{user}\"]") }),
        };
        let answer = world.scim().patch(&format!("/Groups/{group}"), json!([operation])).await;
        assert!(answer.status.is_success(), "{:#}", answer.body);
    }
    let told = world
        .rows("SELECT at FROM event WHERE action = 'group.members_changed' ORDER BY at", [])
        .await;
    let instants: BTreeSet<String> = told.iter().map(|row| row["at"].to_string()).collect();
    assert_eq!((told.len(), instants.len()), (4, 4), "{instants:?}");
    let empty = world.count("membership WHERE until IS NOT NULL AND until <= since", []).await;
    assert_eq!(empty, 0, "no membership ends before it begins");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_write_affects_no_other_write() {
    let world = World::new().await;
    let version = "SELECT schema_version FROM organization";
    let before = world.rows(version, []).await[0]["schema_version"].as_i64().unwrap();
    let writing = (0..80).map(|n| {
        let (cx, fate) = (world.system(), FATES[n % 4]);
        let patience =
            Duration::from_millis(if fate == Fate::Abandoned { 20 + n as u64 * 5 } else { 60_000 });
        tokio::spawn(async move { (fate, tokio::time::timeout(patience, write(&cx, fate)).await) })
    });
    let mut held = 0;
    for done in join_all(writing).await {
        match done {
            Ok((Fate::Holds, Ok(Ok(())))) => held += 1,
            Ok((Fate::Fails, Ok(Err(Error::Invalid { .. })))) | Ok((Fate::Abandoned, Err(_))) => {}
            Err(panicked) if panicked.is_panic() => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(held, 20);
    let after = world.rows(version, []).await[0]["schema_version"].as_i64().unwrap();
    assert_eq!(after - before, held, "exactly the writes that succeed are kept");
    assert_eq!(world.count("event WHERE action = 'access.previewed'", []).await, held);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_equal_names_succeeds() {
    let world = World::new().await;
    let scim = world.scim();
    let want = |n: usize| {
        let name =
            if n.is_multiple_of(2) { format!("person-{n}") } else { "shared-name".to_owned() };
        async move { scim.post("/Users", json!({ "userName": name })).await.status.as_u16() }
    };
    let mut told = join_all((0..60).map(want)).await;
    told.sort_unstable();
    assert_eq!(told, [vec![201; 31], vec![409; 29]].concat());
    assert_eq!(world.count("\"user\" WHERE deleted_at IS NULL", []).await, 31);
    assert_eq!(world.count("event WHERE action = 'user.created'", []).await, 31);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_concurrent_change_gets_its_answer() {
    let world = World::new().await;
    let scim = world.scim();
    let people =
        join_all((0..40).map(|n| async move { scim.user(&format!("person-{n}")).await })).await;
    let titled = join_all(people.iter().enumerate().map(|(n, id)| async move {
        let title = json!([{ "op": "replace", "path": "title", "value": format!("title {n}") }]);
        let (known, missing) = (format!("/Users/{id}"), format!("/Users/{}", Uuid::now_v7()));
        let (changed, missing) =
            tokio::join!(scim.patch(&known, title.clone()), scim.patch(&missing, title));
        (changed, missing.status.as_u16())
    }))
    .await;
    for (n, (changed, missing)) in titled.into_iter().enumerate() {
        assert_eq!(missing, 404);
        let changed = changed.is(200);
        assert_eq!(changed.body["id"], people[n].to_string());
        assert_eq!(changed.body["userName"], format!("person-{n}"));
        assert_eq!(changed.body["title"], format!("title {n}"));
    }
    let found = join_all((0..60).map(|n| async move {
        let found =
            scim.get(&format!("/Users?filter=userName%20eq%20%22person-{n}%22")).await.is(200);
        found.body["Resources"]
            .as_array()
            .map(|found| found.iter().map(|one| one["id"].clone()).collect::<Vec<_>>())
    }))
    .await;
    for (n, found) in found.into_iter().enumerate() {
        let expected: Vec<_> = people.get(n).map(|id| json!(id.to_string())).into_iter().collect();
        assert_eq!(found.unwrap_or_default(), expected, "person-{n}");
    }
    assert_eq!(world.count("event WHERE action = 'user.updated'", []).await, 40);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_one_row_are_ordered() {
    let world = World::new().await;
    let scim = world.scim();
    let ada = scim.user("ada").await;
    let told = join_all((0..24).map(|n| async move {
        let number = json!([{ "op": "replace", "path": "title", "value": format!("title {n}") }]);
        scim.patch(&format!("/Users/{ada}"), number).await.is(200).body["meta"]["version"]
            .to_string()
    }))
    .await;
    let versions: std::collections::BTreeSet<_> = told.into_iter().collect();
    assert_eq!(versions.len(), 24, "each change makes a version of its own");
    assert_eq!(world.rows("SELECT version FROM \"user\"", []).await[0]["version"], 25);
    assert_eq!(world.events_of(ada).await.len(), 25);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn locked_row_delays_no_other_write() {
    if !on_postgres() {
        return;
    }
    let world = World::new().await;
    let scim = world.scim();
    let people =
        join_all((0..12).map(|n| async move { scim.user(&format!("person-{n}")).await })).await;
    let (locked, free) = people.split_first().unwrap();
    let db = world.app.store.write.begin_transaction().await.unwrap();
    db.execute_unprepared(&format!("SELECT 1 FROM \"user\" WHERE id = '{locked}' FOR UPDATE"))
        .await
        .unwrap();
    let off = |id: &Uuid| {
        let path = format!("/Users/{id}");
        async move {
            scim.patch(&path, json!([{ "op": "replace", "path": "active", "value": false }])).await
        }
    };
    let mut waiting = Box::pin(off(locked));
    let others = join_all(free.iter().map(off));
    tokio::select! {
        done = &mut waiting => panic!("written while it was locked: {}", done.status),
        done = others => done.into_iter().for_each(|done| drop(done.is(200))),
    }
    db.rollback().await.unwrap();
    assert_eq!((&mut waiting).await.is(200).body["active"], false);
    drop(waiting);
    assert_eq!(world.count("activation WHERE until IS NULL", []).await, 0);
    world.end().await;
}
