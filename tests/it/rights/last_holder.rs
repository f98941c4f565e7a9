//! The last holder of a management role cannot be removed: not through nested groups, not together
//! with other holders in one request, and not by two requests at the same time.

use futures_util::future::join;
use rolecall::domain::access::role;
use rolecall::domain::access::role::RoleSettings;
use rolecall::domain::access::role_mapping::MappingTarget;
use serde_json::{Value, json};
use uuid::Uuid;

use super::map_to_role;
use crate::world::{Scim, World};

/// Gives the members of this group a management role.
async fn manage(world: &World, group: Uuid) {
    let (role, _) = map_to_role(&world.system(), "Chief", MappingTarget::Group(group)).await;
    let management = RoleSettings { management: Some(true), ..RoleSettings::default() };
    role::update_role(&world.system(), role, management, None).await.unwrap();
}

fn member(id: Uuid) -> Value {
    json!({ "value": id })
}

fn active(active: bool) -> Value {
    json!([{ "op": "replace", "path": "active", "value": active }])
}

fn remove(id: Uuid) -> Value {
    json!([{ "op": "remove", "path": format!("members[value eq \"{id}\"]") }])
}

async fn suspend(scim: &Scim, user: Uuid) -> u16 {
    scim.patch(&format!("/Users/{user}"), active(false)).await.status.as_u16()
}

#[tokio::test]
async fn nested_groups_keep_a_last_holder() {
    let world = World::new().await;
    let scim = world.scim();
    let ada = scim.user("ada").await;
    let inner = scim.group("Inner", &[ada]).await;
    let middle = scim.group("Middle", &[inner]).await;
    let outer = scim.group("Outer", &[middle]).await;
    let empty = scim.group("Empty", &[]).await;
    manage(&world, outer).await;
    let before = world.everything().await;
    for (what, answer) in [
        ("the member is removed", scim.patch(&format!("/Groups/{inner}"), remove(ada)).await),
        (
            "the inner group is removed",
            scim.patch(&format!("/Groups/{middle}"), remove(inner)).await,
        ),
        (
            "the middle group is removed",
            scim.patch(&format!("/Groups/{outer}"), remove(middle)).await,
        ),
        ("the inner group is deleted", scim.delete(&format!("/Groups/{inner}")).await),
        ("the middle group is deleted", scim.delete(&format!("/Groups/{middle}")).await),
        ("the outer group is deleted", scim.delete(&format!("/Groups/{outer}")).await),
        (
            "another group takes the place",
            scim.put(
                &format!("/Groups/{outer}"),
                json!({ "displayName": "Outer", "members": [member(empty)] }),
            )
            .await,
        ),
    ] {
        assert_eq!(answer.status, 403, "{what}: {}", answer.body);
        answer.refused(403, None);
        assert_eq!(world.everything().await, before, "{what}");
    }
    // When another path to the role exists, the first one may be removed.
    scim.patch(
        &format!("/Groups/{outer}"),
        json!([{ "op": "add", "path": "members", "value": [member(ada)] }]),
    )
    .await
    .is(200);
    scim.delete(&format!("/Groups/{inner}")).await.is(204);
    scim.patch(&format!("/Groups/{outer}"), remove(ada)).await.refused(403, None);
    world.end().await;
}

#[tokio::test]
async fn all_holders_cannot_be_removed_together() {
    let world = World::new().await;
    let scim = world.scim();
    let (ada, bob, eve) = (scim.user("ada").await, scim.user("bob").await, scim.user("eve").await);
    let chiefs = scim.group("Chiefs", &[ada, bob]).await;
    manage(&world, chiefs).await;
    let path = format!("/Groups/{chiefs}");
    let before = world.everything().await;
    let both = json!([remove(ada)[0], remove(bob)[0]]);
    scim.patch(&path, both).await.refused(403, None);
    scim.patch(&path, json!([{ "op": "remove", "path": "members" }])).await.refused(403, None);
    scim.put(&path, json!({ "displayName": "Chiefs", "members": [] })).await.refused(403, None);
    assert_eq!(world.everything().await, before);
    // Of two operations in one request the first leaves a holder and succeeds; the second does not,
    // and is refused.
    let off = |user: Uuid| {
        let data = json!({ "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": active(false) });
        json!({ "method": "PATCH", "path": format!("/Users/{user}"), "data": data })
    };
    let bulk = json!({ "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],
        "Operations": [off(ada), off(bob)] });
    let done = scim.post("/Bulk", bulk).await.is(200);
    let statuses: Vec<_> =
        done.body["Operations"].as_array().unwrap().iter().map(|one| &one["status"]).collect();
    assert_eq!(statuses, ["200", "403"], "{}", done.body);
    // A new holder in the same request counts.
    scim.put(&path, json!({ "displayName": "Chiefs", "members": [member(eve)] })).await.is(200);
    assert_eq!(scim.members(chiefs).await, [eve]);
    assert_eq!(suspend(scim, eve).await, 403);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_holders_always_stays() {
    let world = World::new().await;
    let scim = world.scim();
    let (ada, bob) = (scim.user("ada").await, scim.user("bob").await);
    let chiefs = scim.group("Chiefs", &[ada, bob]).await;
    let deputies = scim.group("Deputies", &[]).await;
    manage(&world, chiefs).await;
    let path = format!("/Groups/{chiefs}");
    let back = json!([{ "op": "add", "path": "members", "value": [member(ada), member(bob), member(deputies)] }]);
    for round in 0..24 {
        let leave = async |user: Uuid| scim.patch(&path, remove(user)).await.status.as_u16();
        // Both are removed at the same time, each in one of two ways.
        let statuses = match round % 3 {
            0 => join(suspend(scim, ada), suspend(scim, bob)).await,
            1 => join(suspend(scim, ada), leave(bob)).await,
            _ => join(leave(ada), leave(bob)).await,
        };
        let gone = [statuses.0, statuses.1]
            .into_iter()
            .filter(|status| [200, 204].contains(status))
            .count();
        assert!(gone <= 1, "round {round}: {statuses:?}");
        assert!(gone == 1 || statuses == (403, 403), "round {round}: {statuses:?}");
        let held = "membership m JOIN \"user\" u ON u.organization_id = m.organization_id AND u.id = m.user_id \
                    WHERE m.until IS NULL AND u.active AND m.group_id = $1";
        assert_eq!(world.count(held, [chiefs.into()]).await, 2 - gone as i64, "round {round}");
        for user in [ada, bob] {
            scim.patch(&format!("/Users/{user}"), active(true)).await.is(200);
        }
        scim.patch(&path, back.clone()).await;
        assert_eq!(world.count(held, [chiefs.into()]).await, 2, "round {round}");
    }
    world.end().await;
}
