//! Groups: members are added and removed as differences, in groups of any size and with many
//! clients at once.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{Scim, World, patch};

fn at(id: Uuid) -> String {
    format!("/Groups/{id}")
}

fn values(ids: &[Uuid]) -> Value {
    ids.iter().map(|id| json!({ "value": id })).collect()
}

async fn users(scim: &Scim, count: usize) -> Vec<Uuid> {
    let mut ids = Vec::new();
    for n in 0..count {
        ids.push(scim.user(&format!("user{n}")).await);
    }
    ids
}

/// `(all rows, open rows)` of the group's memberships.
async fn memberships(world: &World, group: Uuid) -> (i64, i64) {
    let all = world.count("membership WHERE group_id = $1", [group.into()]).await;
    (all, world.count("membership WHERE group_id = $1 AND until IS NULL", [group.into()]).await)
}

#[tokio::test]
async fn group_is_created_with_its_members() {
    let world = World::new().await;
    let people = users(world.scim(), 2).await;
    let body = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": "Ward 3", "externalId": "g-3",
        "members": values(&people),
    });
    let answer = world.scim().post("/Groups", body).await.is(201);
    let id = answer.id();
    assert_eq!(answer.header("location"), format!("https://scim.example/scim/v2/acme/Groups/{id}"));
    assert_eq!(answer.header("etag"), "W/\"1\"");
    assert_eq!(
        answer.body["members"][0],
        json!({
            "value": people[0], "$ref": format!("https://scim.example/scim/v2/acme/Users/{}", people[0]),
            "type": "User",
        }),
        "names are returned on request"
    );
    let named = world.scim().get(&format!("{}?attributes=members.display", at(id))).await.is(200);
    assert_eq!(named.body["members"][0]["display"], "user0");
    assert_eq!(answer.body, world.scim().get(&at(id)).await.is(200).body);
    assert_eq!(memberships(&world, id).await, (2, 2));
    assert_eq!(world.events_of(id).await, ["group.created"]);
    assert_eq!(world.last_payload().await["after"]["members"], json!(people));
    let narrow =
        world.scim().get(&format!("{}?excludedAttributes=members", at(id))).await.is(200).body;
    assert_eq!((&narrow["members"], &narrow["displayName"]), (&Value::Null, &json!("Ward 3")));
    world.end().await;
}

#[tokio::test]
async fn members_change_by_differences() {
    let world = World::new().await;
    let people = users(world.scim(), 4).await;
    let group = world.scim().group("Ward 3", &people[..2]).await;
    let operations = json!([
        { "op": "add", "path": "members", "value": values(&people[1..3]) },
        { "op": "remove", "path": format!("members[value eq \"{}\"]", people[0]) },
    ]);
    let answer = world.scim().patch(&at(group), operations).await.is(200);
    assert_eq!(world.scim().members(group).await, people[1..3]);
    assert_eq!(
        answer.body["members"].as_array().unwrap().len(),
        2,
        "a small group is answered in full"
    );
    assert_eq!(memberships(&world, group).await, (3, 2), "only what changed was touched");
    let told = world.last_payload().await;
    assert_eq!(
        told,
        json!({
            "before": { "members": [people[0]] },
            "after": { "members": [people[2]] },
            "name": "Ward 3",
        })
    );
    // Entra ID without its compatibility flag: a list beside `remove` means these members, not all.
    let operations = json!([{ "op": "Remove", "path": "members", "value": values(&people[1..2]) }]);
    world.scim().patch(&at(group), operations).await.is(200);
    assert_eq!(world.scim().members(group).await, people[2..3]);
    let operations = json!([{ "op": "replace", "path": "members", "value": values(&people[2..]) }]);
    world.scim().patch(&at(group), operations).await.is(200);
    assert_eq!(world.scim().members(group).await, people[2..]);
    assert_eq!(memberships(&world, group).await, (4, 2), "a member that stays keeps its interval");
    world.scim().patch(&at(group), json!([{ "op": "remove", "path": "members" }])).await.is(200);
    assert_eq!(memberships(&world, group).await, (4, 0));
    let told = world.events_of(group).await;
    assert_eq!(told[1..], ["group.members_changed"; 4]);
    let closed = "membership m JOIN event e ON e.id = m.closed_by AND e.subject_id = m.group_id";
    assert_eq!(world.count(closed, []).await, 4, "every end names its event");
    world.end().await;
}

#[tokio::test]
async fn absent_members_stay() {
    let world = World::new().await;
    let people = users(world.scim(), 2).await;
    let group = world.scim().group("Ward 3", &people).await;
    let rename = json!([{ "op": "replace", "value": { "id": group, "displayName": "Ward 4" } }]);
    world.scim().patch(&at(group), rename).await.is(200);
    assert_eq!(world.events_of(group).await, ["group.created", "group.updated"]);
    let told = world.last_payload().await;
    assert_eq!(
        told,
        json!({
            "before": { "displayName": "Ward 3" },
            "after": { "displayName": "Ward 4" },
            "name": "Ward 4",
        }),
        "a rename touches no member"
    );
    world.scim().put(&at(group), json!({ "displayName": "Ward 5" })).await.is(200);
    world.scim().put(&at(group), json!({ "displayName": "Ward 5", "members": null })).await.is(200);
    assert_eq!(world.scim().members(group).await, people);
    assert_eq!(memberships(&world, group).await, (2, 2));
    // Only an explicit empty list removes all members.
    world.scim().put(&at(group), json!({ "displayName": "Ward 5", "members": [] })).await.is(200);
    assert_eq!(memberships(&world, group).await, (2, 0));
    world
        .scim()
        .put(&at(group), json!({ "displayName": "Ward 5", "members": values(&people) }))
        .await
        .is(200);
    world
        .scim()
        .patch(&at(group), json!([{ "op": "replace", "path": "members", "value": [] }]))
        .await
        .is(200);
    assert_eq!(memberships(&world, group).await, (4, 0));
    world.end().await;
}

#[tokio::test]
async fn only_own_accounts_become_members() {
    let world = World::new().await;
    let mine = world.scim().user("mine").await;
    let group = world.scim().group("Ward 3", &[mine]).await;
    let theirs = world.tenant("acme", "Second").await.scim.user("theirs").await;
    let foreign = world.second_organization().await.scim.user("foreign").await;
    let before = world.everything().await;
    let strangers = [
        theirs.to_string(),
        foreign.to_string(),
        Uuid::now_v7().to_string(),
        "unknown".into(),
        group.simple().to_string(),
    ];
    for stranger in strangers {
        let value = json!([{ "value": mine }, { "value": stranger }]);
        for op in ["add", "replace"] {
            let operations = json!([{ "op": op, "path": "members", "value": value }]);
            world.scim().patch(&at(group), operations).await.refused(400, Some("invalidValue"));
        }
        let body = json!({ "displayName": "Ward 3", "members": value });
        world.scim().put(&at(group), body.clone()).await.refused(400, Some("invalidValue"));
        world.scim().post("/Groups", body).await.refused(400, Some("invalidValue"));
        // Removing an account that is not a member changes nothing and is no error.
        let operations =
            json!([{ "op": "remove", "path": "members", "value": [{ "value": stranger }] }]);
        world.scim().patch(&at(group), operations).await.is(200);
    }
    assert_eq!(world.everything().await, before);
    world.end().await;
}

#[tokio::test]
async fn nested_groups_never_form_a_circle() {
    let world = World::new().await;
    let person = world.scim().user("ada").await;
    let inner = world.scim().group("Ward 3", &[person]).await;
    let middle = world.scim().group("Surgery", &[inner]).await;
    let outer = world.scim().group("Hospital", &[middle, person]).await;
    let answer = world
        .scim()
        .get(&format!("{}?attributes=members.type,members.display", at(outer)))
        .await
        .is(200);
    let kinds: Vec<_> = answer.body["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| (&m["type"], &m["display"]))
        .collect();
    assert_eq!(kinds, [(&json!("User"), &json!("ada")), (&json!("Group"), &json!("Surgery"))]);
    let before = world.everything().await;
    for (into, member) in [(inner, inner), (inner, middle), (inner, outer), (middle, outer)] {
        let operations = json!([{ "op": "add", "path": "members", "value": values(&[member]) }]);
        let answer =
            world.scim().patch(&at(into), operations).await.refused(400, Some("invalidValue"));
        assert!(answer.body["detail"].as_str().unwrap().contains("contain itself"));
    }
    assert_eq!(world.everything().await, before);
    world.scim().delete(&at(middle)).await.is(204);
    assert_eq!(world.scim().members(outer).await, [person]);
    assert_eq!(world.count("group_nesting WHERE until IS NULL", []).await, 0);
    assert_eq!(world.last_payload().await["before"]["nestings"], 2);
    world.end().await;
}

#[tokio::test]
async fn nesting_is_limited_to_sixteen() {
    let world = World::new().await;
    let mut top = world.scim().group("0", &[]).await;
    for depth in 1..=16 {
        top = world.scim().group(&depth.to_string(), &[top]).await;
    }
    let body = json!({ "displayName": "17", "members": values(&[top]) });
    let answer = world.scim().post("/Groups", body).await.refused(400, Some("invalidValue"));
    assert!(answer.body["detail"].as_str().unwrap().contains("16"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_nesting_makes_no_circle() {
    let world = World::new().await;
    for round in 0..5 {
        let a = world.scim().group(&format!("a{round}"), &[]).await;
        let b = world.scim().group(&format!("b{round}"), &[]).await;
        let nest = |into: Uuid, member: Uuid| {
            let scim = world.scim().clone();
            let operations =
                json!([{ "op": "add", "path": "members", "value": values(&[member]) }]);
            async move { scim.patch(&at(into), operations).await.status.as_u16() }
        };
        let (one, other) = tokio::join!(nest(a, b), nest(b, a));
        let mut statuses = [one, other];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 400]);
    }
    assert_eq!(world.count("group_nesting", []).await, 5);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrently_added_members_are_all_kept() {
    let world = World::new().await;
    let people = users(world.scim(), 64).await;
    let group = world.scim().group("Large ward", &[]).await;
    let clients = people.chunks(4).map(|chunk| {
        let (scim, chunk) = (world.scim().clone(), chunk.to_vec());
        tokio::spawn(async move {
            for id in chunk {
                let operations =
                    json!([{ "op": "add", "path": "members", "value": [{ "value": id }] }]);
                scim.patch(&at(group), operations).await.is(200);
            }
        })
    });
    for client in futures_util::future::join_all(clients).await {
        client.unwrap();
    }
    assert_eq!(world.scim().members(group).await, people);
    assert_eq!(memberships(&world, group).await, (64, 64));
    assert_eq!(world.scim().get(&at(group)).await.body["meta"]["version"], "W/\"65\"");
    assert_eq!(world.events_of(group).await.len(), 65, "one event a change");
    world.end().await;
}

#[tokio::test]
async fn repeated_change_changes_nothing() {
    let world = World::new().await;
    let people = users(world.scim(), 2).await;
    let group = world.scim().group("Ward 3", &people).await;
    let before = world.everything().await;
    let shown = world.scim().get(&at(group)).await.body;
    for operations in [
        json!([{ "op": "add", "path": "members", "value": values(&people) }]),
        json!([{ "op": "replace", "path": "members", "value": values(&people) }]),
        json!([{ "op": "replace", "path": "displayName", "value": "Ward 3" }]),
        json!([{ "op": "remove", "path": format!("members[value eq \"{}\"]", Uuid::now_v7()) }]),
    ] {
        assert_eq!(world.scim().patch(&at(group), operations).await.is(200).body, shown);
    }
    assert_eq!(world.scim().put(&at(group), shown.clone()).await.is(200).body, shown);
    assert_eq!(world.everything().await, before);
    world.end().await;
}

#[tokio::test]
async fn stale_group_version_is_refused() {
    let world = World::new().await;
    let person = world.scim().user("ada").await;
    let group = world.scim().group("Ward 3", &[]).await;
    let add = Some(patch(json!([{ "op": "add", "path": "members", "value": values(&[person]) }])));
    let send = |method: reqwest::Method, body, tag| {
        let (scim, path) = (world.scim(), at(group));
        let header = if method == reqwest::Method::GET { "if-none-match" } else { "if-match" };
        async move { scim.send(method, &path, body, &[(header, tag)]).await }
    };
    use reqwest::Method;
    send(Method::GET, None, "W/\"1\"").await.is(304);
    send(Method::PATCH, add.clone(), "W/\"1\"").await.is(200);
    send(Method::GET, None, "W/\"1\"").await.is(200);
    let before = world.everything().await;
    send(Method::PATCH, add, "W/\"1\"").await.refused(412, None);
    send(Method::PUT, Some(json!({ "displayName": "x", "members": [] })), "W/\"1\"")
        .await
        .refused(412, None);
    send(Method::DELETE, None, "W/\"1\"").await.refused(412, None);
    assert_eq!(world.everything().await, before);
    send(Method::DELETE, None, "W/\"2\"").await.is(204);
    world.end().await;
}

#[tokio::test]
async fn deleted_member_changes_the_groups_version() {
    let world = World::new().await;
    let scim = world.scim();
    let people = users(scim, 2).await;
    let ward = scim.group("Ward 3", &people).await;
    let clinic = scim.group("Clinic", &[ward]).await;
    let empty = scim.group("Empty", &[]).await;
    let fresh = |group: Uuid, version: u32| {
        let tag = format!("W/\"{version}\"");
        let path = at(group);
        async move {
            scim.send(reqwest::Method::GET, &path, None, &[("if-none-match", &tag)])
                .await
                .status
                .as_u16()
        }
    };
    scim.delete(&format!("/Users/{}", people[0])).await.is(204);
    assert_eq!(
        (fresh(ward, 1).await, fresh(ward, 2).await, fresh(clinic, 1).await),
        (200, 304, 304)
    );
    scim.delete(&at(ward)).await.is(204);
    assert_eq!(
        (fresh(clinic, 1).await, fresh(clinic, 2).await, fresh(empty, 1).await),
        (200, 304, 304)
    );
    world.end().await;
}

#[tokio::test]
async fn foreign_groups_cannot_be_filtered_by() {
    let world = World::new().await;
    let person = world.scim().user("ada").await;
    let group = world.scim().group("Ward 3", &[person]).await;
    let filter = format!("/Users?filter=groups.value%20eq%20%22{group}%22");
    assert_eq!(world.scim().ids(&filter).await, [person]);
    // The state after a group of another owner has added the account.
    world.execute(r#"UPDATE "group" SET connection_id = NULL WHERE id = $1"#, [group.into()]).await;
    assert!(world.scim().ids(&filter).await.is_empty());
    assert!(world.scim().ids("/Users?filter=groups%20pr").await.is_empty());
    world.end().await;
}

#[tokio::test]
async fn large_group_is_not_returned() {
    let world = World::new().await;
    let people = users(world.scim(), 102).await;
    let group = world.scim().group("Large ward", &people[..100]).await;
    let add = |id: Uuid| json!([{ "op": "add", "path": "members", "value": values(&[id]) }]);
    let answer = world.scim().patch(&at(group), add(people[100])).await.is(204);
    assert_eq!((answer.header("etag"), &answer.body), ("W/\"2\"", &Value::Null));
    // RFC 7644 section 3.5.2: a request that names attributes gets the resource.
    let narrow = format!("{}?attributes=displayName", at(group));
    let answer = world.scim().patch(&narrow, add(people[101])).await.is(200);
    assert_eq!(
        (&answer.body["displayName"], &answer.body["members"]),
        (&json!("Large ward"), &Value::Null)
    );
    assert_eq!(world.scim().members(group).await, people);
    world.end().await;
}

#[tokio::test]
async fn deleted_group_leaves_its_members() {
    let world = World::new().await;
    let people = users(world.scim(), 2).await;
    let body = json!({ "displayName": "Ward 3", "externalId": "g-3", "members": values(&people) });
    let group = world.scim().post("/Groups", body.clone()).await.is(201).id();
    world.scim().post("/Groups", body.clone()).await.refused(409, Some("uniqueness"));
    world.scim().delete(&at(group)).await.is(204);
    world.scim().get(&at(group)).await.refused(404, None);
    world.scim().delete(&at(group)).await.refused(404, None);
    world
        .scim()
        .patch(&at(group), json!([{ "op": "remove", "path": "members" }]))
        .await
        .refused(404, None);
    assert!(world.scim().ids("/Groups").await.is_empty());
    assert_eq!(world.scim().ids("/Users").await, people);
    assert_eq!(
        world.scim().get(&format!("/Users/{}", people[0])).await.body["groups"],
        Value::Null
    );
    assert_eq!(memberships(&world, group).await, (2, 0));
    assert_eq!(world.events_of(group).await, ["group.created", "group.deleted"]);
    let again = world.scim().post("/Groups", body).await.is(201).id();
    assert_ne!(again, group);
    assert_eq!(world.scim().members(again).await, people);
    world.end().await;
}

#[tokio::test]
async fn groups_share_names_not_external_ids() {
    let world = World::new().await;
    let first = world.scim().group("Ward 3", &[]).await;
    let second = world.scim().group("Ward 3", &[]).await;
    let name = |id: Uuid, value: &str| {
        let operations = json!([{ "op": "replace", "path": "externalId", "value": value }]);
        let scim = world.scim().clone();
        async move { scim.patch(&at(id), operations).await }
    };
    name(first, "g-1").await.is(200);
    name(second, "g-1").await.refused(409, Some("uniqueness"));
    name(second, "G-1").await.is(200);
    let operations = json!([{ "op": "replace", "path": "externalId", "value": null }]);
    let answer = world.scim().patch(&at(first), operations).await.is(200);
    assert_eq!(answer.body["externalId"], Value::Null, "null unlinks");
    name(second, "g-1").await.is(200);
    world.end().await;
}
