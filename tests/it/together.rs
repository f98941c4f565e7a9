//! Writes that go to the disk together, as they do on SQLite: each of them holds or fails by itself.

use std::time::Duration;

use futures_util::future::join_all;
use rolecall::context::{Change, Cx};
use rolecall::error::{Error, Result};
use rolecall::ledger::{Entry, Subject};
use sea_orm::ConnectionTrait;
use serde_json::json;
use uuid::Uuid;

use crate::world::World;

/// What becomes of a write once it has written.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Holds,
    Fails,
    Panics,
    /// Its client goes away meanwhile.
    Abandoned,
}

const FATES: [Fate; 4] = [Fate::Holds, Fate::Fails, Fate::Panics, Fate::Abandoned];

async fn write(cx: &Cx, fate: Fate) -> Result<()> {
    cx.write(move |tx| {
        Box::pin(async move {
            tx.db.execute_unprepared("UPDATE organization SET schema_version = schema_version + 1").await?;
            match fate {
                Fate::Holds => {}
                Fate::Fails => return Err(Error::invalid("this", "is refused after it has written")),
                Fate::Panics => panic!("a write panics, as it is meant to"),
                Fate::Abandoned => tokio::time::sleep(Duration::from_secs(60)).await,
            }
            let entry = Entry {
                action: "test.noted",
                subject: Subject { kind: "test", id: Uuid::now_v7() },
                connection: None,
                at: tx.now_after(None),
                before: None,
                after: None,
                population: 0,
            };
            Ok(Change::made((), entry))
        })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_fails_panics_or_is_abandoned_takes_no_other_down() {
    let world = World::new().await;
    let version = "SELECT schema_version FROM organization";
    let before = world.rows(version, []).await[0]["schema_version"].as_i64().unwrap();
    let writing = (0..80).map(|n| {
        let (cx, fate) = (world.system(), FATES[n % 4]);
        let patience = Duration::from_millis(if fate == Fate::Abandoned { 20 + n as u64 * 5 } else { 60_000 });
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
    assert_eq!(after - before, held, "what is told to hold holds, and nothing else");
    assert_eq!(world.count("event WHERE action = 'test.noted'", []).await, held);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_those_who_want_one_name_at_once_one_gets_it_and_the_rest_is_refused_alone() {
    let world = World::new().await;
    let scim = world.scim();
    let want = |n: usize| {
        let name = if n.is_multiple_of(2) { format!("person-{n}") } else { "everybodys".to_owned() };
        async move { scim.post("/Users", json!({ "userName": name })).await.status.as_u16() }
    };
    let mut told = join_all((0..60).map(want)).await;
    told.sort_unstable();
    assert_eq!(told, [vec![201; 31], vec![409; 29]].concat());
    assert_eq!(world.count("\"user\" WHERE deleted_at IS NULL", []).await, 31);
    assert_eq!(world.count("event WHERE action = 'user.created'", []).await, 31);
    world.end().await;
}
