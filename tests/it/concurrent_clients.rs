//! Many clients at once: no change that was answered with success is lost or made twice.

use std::collections::HashSet;

use futures_util::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{Scim, World, patch};

/// Creates users with few requests.
async fn users(scim: &Scim, prefix: &str, many: usize) -> Vec<Uuid> {
    let operation = |number| {
        let name = format!("{prefix}-{number}");
        json!({ "method": "POST", "path": "/Users", "bulkId": name, "data": { "userName": name } })
    };
    let mut ids = Vec::new();
    for part in (0..many).collect::<Vec<_>>().chunks(100) {
        let operations: Vec<Value> = part.iter().map(operation).collect();
        let schemas = ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"];
        let answer = scim
            .post("/Bulk", json!({ "schemas": schemas, "Operations": operations }))
            .await
            .is(200);
        ids.extend(answer.body["Operations"].as_array().unwrap().iter().map(|result| {
            let location = result["location"].as_str().unwrap_or_else(|| panic!("{result}"));
            location.rsplit('/').next().unwrap().parse::<Uuid>().unwrap()
        }));
    }
    ids
}

fn add(id: Uuid) -> Value {
    json!([{ "op": "add", "path": "members", "value": [{ "value": id }] }])
}

fn remove(id: Uuid) -> Value {
    json!([{ "op": "remove", "path": format!("members[value eq \"{id}\"]") }])
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_member_changes_are_all_kept() {
    let world = World::new().await;
    let scim = world.scim();
    let (joiners, leavers) = (users(scim, "joiner", 100).await, users(scim, "leaver", 100).await);
    let [wanted, unwanted] = users(scim, "shared", 2).await[..] else { panic!("two users") };
    let members_before: Vec<Uuid> = leavers.iter().copied().chain([unwanted]).collect();
    let ward = scim.group("Ward", &members_before).await;
    let path = format!("/Groups/{ward}");

    // Each client adds one user and removes another. All clients add the same third user and remove
    // the same fourth one.
    let client = |joiner, leaver| {
        let path = &path;
        async move {
            let came = scim.patch(path, add(joiner)).await.is(204).header("etag").to_owned();
            scim.patch(path, add(wanted)).await.is(204);
            let went = scim.patch(path, remove(leaver)).await.is(204).header("etag").to_owned();
            scim.patch(path, remove(unwanted)).await.is(204);
            [came, went]
        }
    };
    let versions =
        join_all(joiners.iter().zip(&leavers).map(|(joiner, leaver)| client(*joiner, *leaver)))
            .await;
    let versions: HashSet<String> = versions.into_iter().flatten().collect();
    assert_eq!(
        versions.len(),
        200,
        "each change has a version of its own, and its client received it"
    );

    let expected: HashSet<Uuid> = joiners.iter().copied().chain([wanted]).collect();
    let members = scim.members(ward).await;
    assert_eq!(members.len(), expected.len());
    assert_eq!(members.into_iter().collect::<HashSet<_>>(), expected);
    // One interval for each user that was ever a member, closed for those that were removed. One
    // event for each change: a hundred additions, a hundred removals, and the two that all clients
    // wanted.
    let of = |rest: &str| format!("membership WHERE group_id = $1 AND {rest}");
    assert_eq!(world.count(&of("until IS NULL"), [ward.into()]).await, 101);
    assert_eq!(
        world.count(&of("until IS NOT NULL AND closed_by IS NOT NULL"), [ward.into()]).await,
        101
    );
    let events = world.events_of(ward).await;
    assert_eq!(events.iter().filter(|action| *action == "group.members_changed").count(), 202);
    let version = world.rows("SELECT version FROM \"group\" WHERE id = $1", [ward.into()]).await;
    assert_eq!(version[0]["version"].as_i64(), Some(events.len() as i64), "{version:?}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_adds_make_one_membership() {
    let world = World::new().await;
    let scim = world.scim();
    let [ada] = users(scim, "ada", 1).await[..] else { panic!("one user") };
    let ward = scim.group("Ward", &[]).await;
    let path = format!("/Groups/{ward}?attributes=meta");
    let client = |first: usize| {
        let path = &path;
        async move {
            let mut versions = Vec::new();
            for n in 0..10 {
                let change = if (first + n).is_multiple_of(2) { add(ada) } else { remove(ada) };
                versions
                    .push(scim.patch(path, change).await.is(200).body["meta"]["version"].clone());
            }
            versions
        }
    };
    let versions: Vec<Value> = join_all((0..16).map(client)).await.into_iter().flatten().collect();

    let boundaries = world
        .rows(
            "SELECT since, until FROM membership WHERE group_id = $1 ORDER BY since, until",
            [ward.into()],
        )
        .await;
    let instant = |row: &Value, name: &str| row[name].as_str().map(str::to_owned);
    for pair in boundaries.windows(2) {
        let (end, next) = (instant(&pair[0], "until"), instant(&pair[1], "since"));
        assert!(end.is_some() && end <= next, "{pair:?}");
    }
    let told = "SELECT at, payload FROM event WHERE subject_id = $1 AND action = \
                'group.members_changed' ORDER BY pos";
    let told = world.rows(told, [ward.into()]).await;
    let moved =
        boundaries.iter().map(|row| 1 + usize::from(!row["until"].is_null())).sum::<usize>();
    assert_eq!(told.len(), moved, "one event for each time that the user was added or removed");
    for (n, row) in told.iter().enumerate() {
        let came = row["payload"].as_str().unwrap().contains("\"after\":{\"members\"");
        assert_eq!(came, n.is_multiple_of(2), "additions and removals alternate: {told:#?}");
    }
    assert!(told.is_sorted_by_key(|row| instant(row, "at")));
    // Each change has a version of its own, which its client received.
    let seen: HashSet<String> = versions.iter().map(ToString::to_string).collect();
    assert!(
        (moved..=moved + 1).contains(&seen.len()),
        "{} versions of {moved} changes",
        seen.len()
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_change_of_a_version_succeeds() {
    let world = World::new().await;
    let scim = world.scim();
    let people = users(scim, "nurse", 16).await;
    let ward = scim.group("Ward", &[]).await;
    let path = format!("/Groups/{ward}");
    let change = |id: &Uuid| {
        let (body, path) = (patch(add(*id)), &path);
        async move {
            scim.send(reqwest::Method::PATCH, path, Some(body), &[("if-match", "W/\"1\"")])
                .await
                .status
                .as_u16()
        }
    };
    let mut statuses = join_all(people.iter().map(change)).await;
    statuses.sort_unstable();
    assert_eq!((statuses[0], statuses[1], statuses[15]), (200, 412, 412), "{statuses:?}");
    assert_eq!(scim.members(ward).await.len(), 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_from_many_clients_are_kept() {
    let world = World::new().await;
    let scim = world.scim();
    let people = users(scim, "nurse", 320).await;
    let ward = scim.group("Ward", &[]).await;
    let path = format!("/Groups/{ward}");
    let client = |part: &[Uuid]| {
        let (part, path) = (part.to_vec(), &path);
        async move {
            for id in part {
                assert!(scim.patch(path, add(id)).await.status.is_success());
            }
        }
    };
    join_all(people.chunks(20).map(client)).await;
    let members: HashSet<Uuid> = scim.members(ward).await.into_iter().collect();
    assert_eq!(members, people.into_iter().collect());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_equal_creates_succeeds() {
    let world = World::new().await;
    let scim = world.scim();
    let ada = |number: usize| {
        // The case of a name makes no difference.
        let name = if number.is_multiple_of(2) { "ada@acme.example" } else { "Ada@ACME.example" };
        scim.post("/Users", json!({ "userName": name, "externalId": format!("x-{number}") }))
    };
    let answers = join_all((0..20).map(ada)).await;
    let (created, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status == 201);
    assert_eq!(created.len(), 1);
    assert_eq!(refused.len(), 19);
    for answer in refused {
        answer.refused(409, Some("uniqueness"));
    }
    assert_eq!(scim.ids("/Users").await, [created[0].id()]);
    assert_eq!(world.count("\"user\"", []).await, 1);
    assert_eq!(world.events_of(created[0].id()).await, ["user.created"]);
    world.end().await;
}
