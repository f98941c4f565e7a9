//! Whoever gains or loses a role is told of, once, whatever the change was that did it.

use std::collections::BTreeMap;
use std::time::Duration;

use rolecall::context::Cx;
use rolecall::domain::document::MemberChange;
use rolecall::domain::mapping::{self, NewMapping, Target};
use rolecall::domain::{access, disconnect, expiry, group, role, user};
use rolecall::ledger::EventKind;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::World;

async fn new_role(cx: &Cx, name: &str) -> Uuid {
    let settings = role::Settings { name: Some(name.into()), ..Default::default() };
    role::create(cx, settings).await.unwrap().id
}

fn to_role(target: Target, role: Uuid) -> NewMapping {
    NewMapping { target, role, reason: None, expires_at: None }
}

/// Settles everything so far and has it told.
async fn announce(world: &World) {
    world.app.clock.advance(Duration::from_secs(60));
    world.sealed().await;
    loop {
        access::announce(&world.app).await.unwrap();
        let cursor = world
            .count("access_cursor c JOIN ledger_head h ON h.organization_id = c.organization_id AND h.seq = c.seq", []);
        if cursor.await > 0 {
            return;
        }
        world.sealed().await;
        world.app.clock.advance(Duration::from_secs(60));
    }
}

/// What was told of an account so far: gained, lost and the roles since, by name.
async fn told(world: &World, user: Uuid) -> Vec<String> {
    let sql = "SELECT payload FROM event WHERE organization_id = $1 AND subject_id = $2 AND action = $3 ORDER BY pos";
    let values = [world.acme.organization.into(), user.into(), EventKind::UserAccessChanged.name().into()];
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
            format!("{cause} +{} -{} ={}", names(&after["gained"]), names(&after["lost"]), names(&after["roles"]))
        })
        .collect()
}

#[tokio::test]
async fn every_way_to_a_role_and_from_it_is_told() {
    let world = World::new().await;
    let cx = &world.system();
    let (nurse, staff) = (new_role(cx, "Nurse").await, new_role(cx, "Staff").await);
    let (ada, bob) = (world.scim().user("ada").await, world.scim().user("bob").await);
    let ward = world.scim().group("Ward 3", &[ada]).await;
    let house = world.scim().group("House", &[]).await;
    announce(&world).await;
    assert!(told(&world, ada).await.is_empty());

    let mapped = mapping::create(cx, to_role(Target::Group(ward), nurse)).await.unwrap().mapping_id;
    let soon = Some(world.app.clock.now() + chrono::Duration::hours(1));
    mapping::create(cx, NewMapping { expires_at: soon, ..to_role(Target::Group(house), staff) }).await.unwrap();
    let nest = json!([{ "op": "add", "path": "members", "value": [{ "value": ward }] }]);
    world.scim().patch(&format!("/Groups/{house}"), nest).await.is(200);
    let join = json!([{ "op": "add", "path": "members", "value": [{ "value": bob }] }]);
    world.scim().patch(&format!("/Groups/{ward}"), join).await.is(200);
    announce(&world).await;
    let joined = ["role_mapping.created +Nurse - =Nurse", "group.members_changed +Staff - =Nurse,Staff"];
    assert_eq!(told(&world, ada).await, joined);
    assert_eq!(told(&world, bob).await, ["group.members_changed +Nurse,Staff - =Nurse,Staff"]);

    let off = json!([{ "op": "replace", "path": "active", "value": false }]);
    world.scim().patch(&format!("/Users/{bob}"), off).await.is(200);
    mapping::remove(cx, mapped).await.unwrap();
    world.app.clock.advance(Duration::from_secs(3_600));
    expiry::close_due(&world.app).await.unwrap();
    announce(&world).await;
    let left = ["role_mapping.removed + -Nurse =Staff", "role_mapping.expired + -Staff ="];
    assert_eq!(told(&world, ada).await[2..], left);
    assert_eq!(told(&world, bob).await[1..], ["user.suspended + -Nurse,Staff ="]);

    // A restored mapping, then the group itself goes.
    mapping::restore(cx, mapped, None).await.unwrap();
    world.scim().delete(&format!("/Groups/{ward}")).await.is(204);
    announce(&world).await;
    let gone = ["role_mapping.restored +Nurse - =Nurse", "group.deleted + -Nurse ="];
    assert_eq!(told(&world, ada).await[4..], gone);
    // Under the request that did it.
    let suspended = "event f JOIN event c ON c.organization_id = f.organization_id AND c.request_id = f.request_id \
         WHERE f.action = 'user.access_changed' AND c.action = 'user.suspended'";
    assert_eq!(world.count(suspended, []).await, 1);
    world.end().await;
}

#[tokio::test]
async fn a_default_role_comes_and_goes_with_whose_an_account_is() {
    let world = World::new().await;
    let cx = &world.system();
    let staff = new_role(cx, "Staff").await;
    let ada = world.scim().user("ada").await;
    mapping::create(cx, to_role(Target::Everybody(world.acme.connection), staff)).await.unwrap();
    let guest = json!({ "userName": "guest" });
    let guest = user::create(cx, guest.as_object().unwrap().clone()).await.unwrap().id;
    announce(&world).await;
    assert_eq!(told(&world, ada).await, ["role_mapping.created +Staff - =Staff"]);
    assert!(told(&world, guest).await.is_empty());
    let then = world.app.clock.now();
    world.app.clock.advance(Duration::from_secs(60));

    disconnect::delete(cx, world.acme.connection, true).await.unwrap();
    announce(&world).await;
    assert_eq!(told(&world, ada).await[1..], ["connection.deleted + -Staff ="]);
    assert!(told(&world, guest).await.is_empty());
    // Who held it on that day is still known, though the account is nobody's now.
    let moment = access::moment(cx, Some(then)).await.unwrap();
    assert_eq!(access::of_users(cx, &[ada, guest], moment).await.unwrap().into_keys().collect::<Vec<_>>(), [ada]);
    assert_eq!(access::count_holders(cx, Some(staff), moment).await.unwrap(), 1);
    let keyset = rolecall::domain::list::Keyset { limit: 5, ..Default::default() };
    assert_eq!(access::holders(cx, Some(staff), moment, &keyset).await.unwrap().rows, [ada]);
    world.end().await;
}

#[tokio::test]
async fn a_large_group_is_told_page_by_page_and_nobody_twice() {
    let world = World::with(|config| config.scim_rate_limit = 0).await;
    let cx = &world.system();
    let role = new_role(cx, "Nurse").await;
    let mut people = Vec::new();
    for number in 0..1_300 {
        let body = json!({ "userName": format!("u{number}") });
        people.push(user::create(cx, body.as_object().unwrap().clone()).await.unwrap().id);
    }
    let ids = people.iter().map(Uuid::to_string).collect();
    let ward = json!({ "displayName": "Ward" });
    let ward = group::create(cx, ward.as_object().unwrap().clone(), ids).await.unwrap().id;
    announce(&world).await;
    mapping::create(cx, to_role(Target::Group(ward), role)).await.unwrap();
    world.app.clock.advance(Duration::from_secs(60));
    world.sealed().await;
    // Several at once, and each is torn off again and again; the server's own worker is at it too.
    for wait in 1..40 {
        let torn = Duration::from_millis(wait * 7);
        let (one, other) = (access::announce(&world.app), access::announce(&world.app));
        let _ = tokio::join!(tokio::time::timeout(torn, one), tokio::time::timeout(torn, other));
    }
    let leave = vec![MemberChange::Remove(vec![people[7].to_string()])];
    let edit = group::GroupEdit { members: leave, ..group::GroupEdit::default() };
    group::change(cx, ward, |_| Ok(edit.clone())).await.unwrap();
    announce(&world).await;
    let sql = "SELECT subject_id FROM event WHERE organization_id = $1 AND action = $2";
    let rows = world.rows(sql, [world.acme.organization.into(), EventKind::UserAccessChanged.name().into()]).await;
    let mut counted: BTreeMap<String, usize> = BTreeMap::new();
    for row in &rows {
        *counted.entry(row["subject_id"].to_string()).or_default() += 1;
    }
    assert_eq!((rows.len(), counted.len()), (people.len() + 1, people.len()));
    assert_eq!(told(&world, people[7]).await.len(), 2);
    assert_eq!(told(&world, people[1_299]).await, ["role_mapping.created +Nurse - =Nurse"]);
    world.end().await;
}
