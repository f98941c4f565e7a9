//! Each account that gains or loses a role gets one event about it, whatever the change was.

use std::collections::BTreeMap;
use std::time::Duration;

use rolecall::context::Cx;
use rolecall::domain::access;
use rolecall::domain::access::role_mapping;
use rolecall::domain::access::role_mapping::{MappingTarget, NewMapping};
use rolecall::domain::access::{expiry, role};
use rolecall::domain::connection::delete;
use rolecall::domain::directory::{group, user};
use rolecall::identity::document::MemberChange;
use rolecall::ledger::EventKind;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::World;

async fn new_role(cx: &Cx, name: &str) -> Uuid {
    let settings = role::RoleSettings { name: Some(name.into()), ..Default::default() };
    role::create_role(cx, settings).await.unwrap().id
}

fn to_role(target: MappingTarget, role: Uuid) -> NewMapping {
    NewMapping { target, role, reason: None, expires_at: None }
}

/// Seals all changes so far and writes the events about them.
async fn announce(world: &World) {
    world.app.clock.advance(Duration::from_secs(60));
    world.sealed().await;
    loop {
        access::announce_changes(&world.app).await.unwrap();
        let cursor = world.count(
            "access_cursor c JOIN ledger_head h ON h.organization_id = c.organization_id \
                    AND h.seq = c.seq",
            [],
        );
        if cursor.await > 0 {
            return;
        }
        world.sealed().await;
        world.app.clock.advance(Duration::from_secs(60));
    }
}

/// The events about an account so far: the roles gained, lost and held since, by name.
async fn list_changes(world: &World, user: Uuid) -> Vec<String> {
    let sql = "SELECT payload FROM event WHERE organization_id = $1 AND subject_id = $2 AND \
               action = $3 ORDER BY pos";
    let values =
        [world.acme.organization.into(), user.into(), EventKind::UserAccessChanged.name().into()];
    let names = |roles: &Value| -> String {
        let mut names: Vec<&str> =
            roles.as_array().unwrap().iter().map(|role| role["name"].as_str().unwrap()).collect();
        names.sort_unstable();
        names.join(",")
    };
    let rows = world.rows(sql, values).await;
    rows.iter()
        .map(|row| {
            let payload: Value = serde_json::from_str(row["payload"].as_str().unwrap()).unwrap();
            let after = &payload["after"];
            let cause = after["cause"]["action"].as_str().unwrap();
            format!(
                "{cause} +{} -{} ={}",
                names(&after["gained"]),
                names(&after["lost"]),
                names(&after["roles"])
            )
        })
        .collect()
}

#[tokio::test]
async fn gained_and_lost_roles_are_recorded() {
    let world = World::new().await;
    let cx = &world.system();
    let (nurse, staff) = (new_role(cx, "Nurse").await, new_role(cx, "Staff").await);
    let (ada, bob) = (world.scim().user("ada").await, world.scim().user("bob").await);
    let ward = world.scim().group("Ward 3", &[ada]).await;
    let house = world.scim().group("House", &[]).await;
    announce(&world).await;
    assert!(list_changes(&world, ada).await.is_empty());

    let mapped = role_mapping::create_mapping(cx, to_role(MappingTarget::Group(ward), nurse))
        .await
        .unwrap()
        .mapping_id;
    let soon = Some(world.app.clock.now() + chrono::Duration::hours(1));
    role_mapping::create_mapping(
        cx,
        NewMapping { expires_at: soon, ..to_role(MappingTarget::Group(house), staff) },
    )
    .await
    .unwrap();
    let nest = json!([{ "op": "add", "path": "members", "value": [{ "value": ward }] }]);
    world.scim().patch(&format!("/Groups/{house}"), nest).await.is(200);
    let join = json!([{ "op": "add", "path": "members", "value": [{ "value": bob }] }]);
    world.scim().patch(&format!("/Groups/{ward}"), join).await.is(200);
    announce(&world).await;
    let joined =
        ["role_mapping.created +Nurse - =Nurse", "group.members_changed +Staff - =Nurse,Staff"];
    assert_eq!(list_changes(&world, ada).await, joined);
    assert_eq!(
        list_changes(&world, bob).await,
        ["group.members_changed +Nurse,Staff - =Nurse,Staff"]
    );

    let off = json!([{ "op": "replace", "path": "active", "value": false }]);
    world.scim().patch(&format!("/Users/{bob}"), off).await.is(200);
    role_mapping::remove_mapping(cx, mapped).await.unwrap();
    world.app.clock.advance(Duration::from_secs(3_600));
    expiry::close_due(&world.app).await.unwrap();
    announce(&world).await;
    let left = ["role_mapping.removed + -Nurse =Staff", "role_mapping.expired + -Staff ="];
    assert_eq!(list_changes(&world, ada).await[2..], left);
    assert_eq!(list_changes(&world, bob).await[1..], ["user.suspended + -Nurse,Staff ="]);

    // A mapping is restored, then its group is deleted.
    role_mapping::restore_mapping(cx, mapped, None).await.unwrap();
    world.scim().delete(&format!("/Groups/{ward}")).await.is(204);
    announce(&world).await;
    let gone = ["role_mapping.restored +Nurse - =Nurse", "group.deleted + -Nurse ="];
    assert_eq!(list_changes(&world, ada).await[4..], gone);
    // The event has the request id of the change that caused it.
    let suspended = "event f JOIN event c ON c.organization_id = f.organization_id AND c.request_id = f.request_id \
         WHERE f.action = 'user.access_changed' AND c.action = 'user.suspended'";
    assert_eq!(world.count(suspended, []).await, 1);
    world.end().await;
}

#[tokio::test]
async fn default_role_ends_with_its_connection() {
    let world = World::new().await;
    let cx = &world.system();
    let staff = new_role(cx, "Staff").await;
    let ada = world.scim().user("ada").await;
    role_mapping::create_mapping(
        cx,
        to_role(MappingTarget::AllUsers(world.acme.connection), staff),
    )
    .await
    .unwrap();
    let guest = json!({ "userName": "guest" });
    let guest = user::create_user(cx, guest.as_object().unwrap().clone()).await.unwrap().id;
    announce(&world).await;
    assert_eq!(list_changes(&world, ada).await, ["role_mapping.created +Staff - =Staff"]);
    assert!(list_changes(&world, guest).await.is_empty());
    let then = world.app.clock.now();
    world.app.clock.advance(Duration::from_secs(60));

    delete::delete_connection(cx, world.acme.connection, true, None).await.unwrap();
    announce(&world).await;
    assert_eq!(list_changes(&world, ada).await[1..], ["connection.deleted + -Staff ="]);
    assert!(list_changes(&world, guest).await.is_empty());
    // Past access is still known, though the connection no longer owns the account.
    let moment = access::resolve_moment(cx, Some(then)).await.unwrap();
    assert_eq!(
        access::of_users(cx, &[ada, guest], moment).await.unwrap().into_keys().collect::<Vec<_>>(),
        [ada]
    );
    assert_eq!(access::count_holders(cx, Some(staff), moment).await.unwrap(), 1);
    let keyset = rolecall::domain::paging::Keyset { limit: 5, ..Default::default() };
    assert_eq!(access::list_holders(cx, Some(staff), moment, &keyset).await.unwrap().rows, [ada]);
    world.end().await;
}

#[tokio::test]
async fn large_group_gets_one_event_each() {
    let world = World::with(|config| config.scim_rate_limit = 0).await;
    let cx = &world.system();
    let role = new_role(cx, "Nurse").await;
    let mut people = Vec::new();
    for number in 0..1_300 {
        let body = json!({ "userName": format!("u{number}") });
        people.push(user::create_user(cx, body.as_object().unwrap().clone()).await.unwrap().id);
    }
    let ids = people.iter().map(Uuid::to_string).collect();
    let ward = json!({ "displayName": "Ward" });
    let ward = group::create_group(cx, ward.as_object().unwrap().clone(), ids).await.unwrap().id;
    announce(&world).await;
    role_mapping::create_mapping(cx, to_role(MappingTarget::Group(ward), role)).await.unwrap();
    world.app.clock.advance(Duration::from_secs(60));
    world.sealed().await;
    // Two runs at a time, each cancelled again and again; the server's own worker runs at the same
    // time.
    for wait in 1..40 {
        let torn = Duration::from_millis(wait * 7);
        let (one, other) =
            (access::announce_changes(&world.app), access::announce_changes(&world.app));
        let _ = tokio::join!(tokio::time::timeout(torn, one), tokio::time::timeout(torn, other));
    }
    let leave = vec![MemberChange::Remove(vec![people[7].to_string()])];
    let edit = group::GroupEdit { members: leave, ..group::GroupEdit::default() };
    group::change_group(cx, ward, |_| Ok(edit.clone())).await.unwrap();
    announce(&world).await;
    let sql = "SELECT subject_id FROM event WHERE organization_id = $1 AND action = $2";
    let rows = world
        .rows(sql, [world.acme.organization.into(), EventKind::UserAccessChanged.name().into()])
        .await;
    let mut counted: BTreeMap<String, usize> = BTreeMap::new();
    for row in &rows {
        *counted.entry(row["subject_id"].to_string()).or_default() += 1;
    }
    assert_eq!((rows.len(), counted.len()), (people.len() + 1, people.len()));
    assert_eq!(list_changes(&world, people[7]).await.len(), 2);
    assert_eq!(list_changes(&world, people[1_299]).await, ["role_mapping.created +Nurse - =Nurse"]);
    world.end().await;
}
