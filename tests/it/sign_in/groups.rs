//! Which groups are meant by what a provider lists: those that SCIM or people made, by name or by
//! id, and mappings that wait for them.

use super::*;

/// A group that SCIM made while it was the source, with this external id.
async fn scim_group(world: &World, name: &str, external_id: &str) -> Uuid {
    let body = json!({ "displayName": name, "externalId": external_id, "members": [] });
    world.scim().post("/Groups", body).await.is(201).id()
}

/// Sign-ins of a connection that identifies groups so, where SCIM has made a group before.
async fn after_scim(identity: GroupIdentity) -> (SignIns, Uuid) {
    let rules = SourceRules { identity, ..Default::default() };
    let sign_ins = SignIns::new(IntegrationMode::Scim, rules).await;
    let group = scim_group(&sign_ins.world, "Ward 3", "g-ward-3").await;
    set_mode(&sign_ins.world, IntegrationMode::SignIn).await;
    (sign_ins, group)
}

async fn members(world: &World, group: Uuid) -> i64 {
    world.count("membership WHERE group_id = $1 AND until IS NULL", [group.into()]).await
}

#[tokio::test]
async fn names_join_groups_of_scim() {
    let (sign_ins, group) = after_scim(GroupIdentity::DisplayName).await;
    let world = &sign_ins.world;
    new_account(world, "ada").await;
    let at = |seconds| world.app.clock.now() + TimeDelta::seconds(seconds);
    let first = sign_ins.accept(complete("ada", &["  WARD 3"], at(0))).await;
    assert_eq!((reason(&first), first.changed), (None, true));
    assert_eq!(members(world, group).await, 1);
    assert_eq!(world.count("\"group\"", []).await, 1, "no second group of the name is made");
    // A group that gets another name stays the one that the key means.
    set_mode(world, IntegrationMode::Scim).await;
    let rename = json!([{ "op": "replace", "path": "displayName", "value": "Ward three" }]);
    world.scim().patch(&format!("/Groups/{group}"), rename).await.is(200);
    set_mode(world, IntegrationMode::SignIn).await;
    sign_ins.accept(complete("ada", &["Ward 3"], at(1))).await;
    assert_eq!((members(world, group).await, world.count("\"group\"", []).await), (1, 1));
    // An unknown name is a new group of the connection.
    sign_ins.accept(complete("ada", &["Night shift"], at(2))).await;
    assert_eq!(members(world, group).await, 0);
    let made = "\"group\" WHERE connection_id = $1";
    assert_eq!(world.count(made, [sign_ins.connection.into()]).await, 1);
    sign_ins.end().await;
}

#[tokio::test]
async fn ids_join_known_groups_only() {
    let (sign_ins, group) = after_scim(GroupIdentity::Id).await;
    let world = &sign_ins.world;
    new_account(world, "ada").await;
    let unknown = Uuid::new_v4().to_string();
    let known = group.to_string().to_uppercase();
    let now = world.app.clock.now();
    let keys = [known.as_str(), unknown.as_str(), "Ward 3"];
    let outcome = sign_ins.accept(complete("ada", &keys, now)).await;
    assert_eq!((reason(&outcome), outcome.changed), (None, true));
    let mut left = [unknown.clone(), "ward 3".to_owned()];
    left.sort_unstable();
    assert_eq!(outcome.unknown_groups, left);
    assert_eq!(members(world, group).await, 1);
    assert_eq!(world.count("\"group\"", []).await, 1, "an id makes no group");
    // A group of another organization is unknown here.
    let other = world.second_organization().await;
    let theirs = other.scim.group("theirs", &[]).await;
    let at = now + TimeDelta::seconds(1);
    let outcome = sign_ins.accept(complete("ada", &[&theirs.to_string()], at)).await;
    assert_eq!(outcome.unknown_groups, [theirs.to_string()]);
    assert_eq!(members(world, theirs).await, 0);
    sign_ins.end().await;
}

#[tokio::test]
async fn waiting_mappings_bind_to_known_groups() {
    for identity in [GroupIdentity::ExternalId, GroupIdentity::DisplayName] {
        let (sign_ins, group) = after_scim(identity).await;
        let world = &sign_ins.world;
        let ada = new_account(world, "ada").await;
        let (key, by_id) = match identity {
            GroupIdentity::ExternalId => ("g-ward-3", true),
            _ => ("Ward 3", false),
        };
        map_role_by(world, sign_ins.connection, by_id, key, "Nurse").await;
        let now = world.app.clock.now();
        let first = sign_ins.accept(complete("ada", &[key], now)).await;
        assert_eq!(role_names(&first), ["Nurse"], "{identity:?}");
        let mapped = "role_mapping WHERE until IS NULL AND group_id = $1";
        assert_eq!(world.count(mapped, [group.into()]).await, 1);
        let events = world.events_of(group).await;
        assert_eq!(events, ["group.created", "group.updated"], "the binding is in the ledger");
        // A mapping that comes later binds at the next sign-in.
        map_role_by(world, sign_ins.connection, by_id, key, "Clerk").await;
        let later = now + TimeDelta::seconds(1);
        let second = sign_ins.accept(complete("ada", &[key], later)).await;
        assert_eq!(role_names(&second), ["Clerk", "Nurse"], "{identity:?}");
        // Each gain of access is told.
        world.sealed().await;
        for _ in 0..200 {
            let told = "event WHERE action = 'user.access_changed'";
            if world.count(told, []).await == 2 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        let told = "event WHERE action = 'user.access_changed' AND subject_id = $1";
        assert_eq!(world.count(told, [ada.into()]).await, 2);
        sign_ins.end().await;
    }
}

#[tokio::test]
async fn evidence_binds_no_mappings() {
    let sign_ins = SignIns::new(IntegrationMode::Scim, SourceRules::default()).await;
    let world = &sign_ins.world;
    new_account(world, "ada").await;
    scim_group(world, "Ward 3", "g-ward-3").await;
    map_role(world, sign_ins.connection, "g-ward-3", "Nurse").await;
    let before = world.count("event", []).await;
    let outcome = sign_ins.accept(complete("ada", &["g-ward-3"], world.app.clock.now())).await;
    assert_eq!((role_names(&outcome), outcome.changed), (vec![], false));
    let waiting = "role_mapping WHERE until IS NULL AND group_id IS NULL";
    assert_eq!(world.count(waiting, []).await, 1);
    let bound = "event WHERE action = 'group.updated'";
    assert_eq!(world.count(bound, []).await, 0);
    assert!(world.count("event", []).await >= before);
    sign_ins.end().await;
}
