//! A caller cannot give what it does not hold: roles that name our own permissions, and sources that
//! decide who is in mapped groups. No server goes on with what it holds of a suspended organization.

use rolecall::auth::policy::Permission;
use rolecall::domain::tenant::lifecycle;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::bulk::key_with;
use crate::world::World;

/// Sends one mutation with this input; the whole answer.
async fn send(world: &World, key: &str, name: &str, input: Value, shown: &str) -> Value {
    let mut ty = name.to_owned();
    ty[..1].make_ascii_uppercase();
    let text = format!(
        "mutation($i: {ty}Input!) {{ r: {name}(input: $i) {{ {shown} userErrors {{ message }} }} }}"
    );
    world.acme.graphql_as(key, &[], &text, json!({ "i": input })).await.body
}

/// As [`send`], for what must be done; the payload.
async fn check_done(world: &World, key: &str, name: &str, input: Value, shown: &str) -> Value {
    let answer = send(world, key, name, input, shown).await;
    assert_eq!(answer["data"]["r"]["userErrors"], json!([]), "{name}: {answer:#}");
    answer["data"]["r"].clone()
}

/// As [`send`], for what must be refused for want of this permission.
async fn check_refusal(world: &World, key: &str, name: &str, input: Value, permission: &str) {
    let answer = send(world, key, name, input, "").await;
    let error = &answer["errors"][0];
    assert_eq!(error["extensions"]["code"], "FORBIDDEN", "{name}: {answer:#}");
    assert!(error["message"].as_str().unwrap().contains(permission), "{name}: {answer:#}");
}

const NARROW: [Permission; 4] =
    [Permission::IamRead, Permission::UserRead, Permission::UserWrite, Permission::AccessWrite];

#[tokio::test]
async fn unheld_permissions_cannot_be_given() {
    let world = World::new().await;
    let all = world.acme.api_key.clone();
    let key = key_with(&world, &NARROW).await.secret;
    let named = |names: &[&str]| json!({ "name": names.join(" "), "permissions": names });
    check_refusal(&world, &key, "roleCreate", named(&["DELETE_ALL"]), "DELETE_ALL").await;
    // What the actor holds, and names of applications, can be given.
    let own =
        check_done(&world, &key, "roleCreate", named(&["USER_READ", "charts"]), "role { id }")
            .await;
    let own = &own["role"]["id"];
    let more = json!({ "id": own, "permissions": ["USER_READ", "TOKEN_MANAGE"] });
    check_refusal(&world, &key, "roleUpdate", more.clone(), "TOKEN_MANAGE").await;
    let boss = check_done(&world, &all, "roleCreate", named(&["DELETE_ALL"]), "role { id }").await;
    let boss = &boss["role"]["id"];
    // What others gave to a role stays, and may be taken away.
    let renamed = json!({ "id": boss, "description": "all of it" });
    check_done(&world, &key, "roleUpdate", renamed, "").await;
    let ada = json!({ "userName": "ada" });
    let ada = check_done(&world, &key, "userCreate", ada, "user { id }").await;
    let ada = &ada["user"]["id"];
    let grant = json!({ "userId": ada, "roleId": boss });
    check_refusal(&world, &key, "roleGrantCreate", grant.clone(), "DELETE_ALL").await;
    let end = "2099-01-01T00:00:00Z";
    let short = json!({ "userId": ada, "roleId": boss, "expiresAt": end });
    let given = check_done(&world, &all, "roleGrantCreate", short, "roleGrant { id }").await;
    let given = &given["roleGrant"]["id"];
    let longer = json!({ "id": given, "expiresAt": null });
    check_refusal(&world, &key, "roleGrantUpdate", longer, "DELETE_ALL").await;
    let sooner = json!({ "id": given, "expiresAt": "2098-01-01T00:00:00Z" });
    check_done(&world, &key, "roleGrantUpdate", sooner, "").await;
    check_done(&world, &key, "roleGrantRemove", json!({ "id": given }), "").await;
    let edits = json!({ "edits": [{ "createGrant": grant }] });
    let answer = send(&world, &key, "accessApply", edits, "").await;
    assert!(answer.to_string().contains("DELETE_ALL"), "{answer:#}");
    let group = json!({ "displayName": "Bosses" });
    let group = check_done(&world, &key, "groupCreate", group, "group { id }").await;
    let group = &group["group"]["id"];
    let mapping = json!({ "groupId": group, "roleId": boss });
    check_refusal(&world, &key, "roleMappingCreate", mapping.clone(), "DELETE_ALL").await;
    let mine = json!({ "groupId": group, "roleId": own });
    let mine = check_done(&world, &key, "roleMappingCreate", mine, "roleMapping { id }").await;
    let other = json!({ "id": mine["roleMapping"]["id"], "roleId": boss });
    check_refusal(&world, &key, "roleMappingUpdate", other, "DELETE_ALL").await;
    let joins = json!({ "id": group, "memberIds": [ada] });
    let mapped = check_done(&world, &all, "roleMappingCreate", mapping, "roleMapping { id }").await;
    check_refusal(&world, &key, "groupAddMembers", joins.clone(), "DELETE_ALL").await;
    let invited = json!({ "email": "ada@example.org", "groups": [group] });
    check_refusal(&world, &key, "invitationCreate", invited, "DELETE_ALL").await;
    let invited = json!({ "email": "ada@example.org", "roles": [boss] });
    check_refusal(&world, &key, "invitationCreate", invited, "DELETE_ALL").await;
    let removed = json!({ "id": mapped["roleMapping"]["id"] });
    check_done(&world, &key, "roleMappingRemove", removed.clone(), "").await;
    check_refusal(&world, &key, "roleMappingRestore", removed, "DELETE_ALL").await;
    check_done(&world, &key, "groupAddMembers", joins, "").await;
    world.end().await;
}

#[tokio::test]
async fn source_decides_only_for_givers() {
    let world = World::with(|config| config.pull_private_addresses = true).await;
    let all = world.acme.api_key.clone();
    let writer = key_with(&world, &[Permission::IamRead, Permission::IamWrite]).await.secret;
    let pull = json!({ "baseUrl": "http://127.0.0.1:9/good", "secret": "good" });
    let make = |name: &str| json!({ "name": name, "pull": pull });
    check_refusal(&world, &writer, "connectionCreate", make("mine"), "USER_WRITE").await;
    let made =
        check_done(&world, &all, "connectionCreate", make("source"), "connection { id }").await;
    let id = &made["connection"]["id"];
    let change = |pull: Value| json!({ "id": id, "pull": pull });
    let moved = change(json!({ "baseUrl": "http://127.0.0.1:9/evil", "secret": "mine" }));
    check_refusal(&world, &writer, "connectionUpdate", moved.clone(), "USER_WRITE").await;
    let secret = change(json!({ "secret": "mine" }));
    check_refusal(&world, &writer, "connectionUpdate", secret, "USER_WRITE").await;
    let filter = change(json!({ "userFilter": "active eq true" }));
    check_refusal(&world, &writer, "connectionUpdate", filter, "USER_WRITE").await;
    // How often it is read is not who is in it.
    let rhythm = change(json!({ "intervalMinutes": 60 }));
    check_done(&world, &writer, "connectionUpdate", rhythm, "").await;
    // Who may give roles gives those that it holds.
    let giver = [&NARROW[..], &[Permission::IamWrite]].concat();
    let giver = key_with(&world, &giver).await.secret;
    let role = json!({ "name": "Director", "permissions": ["DELETE_ALL"] });
    let role = check_done(&world, &all, "roleCreate", role, "role { id }").await;
    let awaited = json!({ "connectionId": id, "attribute": "DISPLAY_NAME", "value": "Directors" });
    let mapping = json!({ "roleId": role["role"]["id"], "awaits": awaited });
    let mapping =
        check_done(&world, &all, "roleMappingCreate", mapping, "roleMapping { id }").await;
    check_refusal(&world, &giver, "connectionUpdate", moved.clone(), "DELETE_ALL").await;
    let ended = json!({ "id": mapping["roleMapping"]["id"] });
    check_done(&world, &all, "roleMappingRemove", ended, "").await;
    check_done(&world, &giver, "connectionUpdate", moved, "").await;
    world.end().await;
}

#[tokio::test]
async fn only_givers_name_identity_provider() {
    let world = World::new().await;
    let all = world.acme.api_key.clone();
    let writer = key_with(&world, &[Permission::IamRead, Permission::IamWrite]).await.secret;
    let accept = |name: &str| {
        let oidc = json!({ "issuer": "https://login.example", "clientId": "rolecall" });
        json!({ "name": name, "provider": "GENERIC", "assertion": { "oidc": oidc } })
    };
    check_refusal(&world, &writer, "connectionCreate", accept("mine"), "USER_WRITE").await;
    let made =
        check_done(&world, &all, "connectionCreate", accept("login"), "connection { id }").await;
    let oidc = json!({ "issuer": "https://login.evil.example" });
    let other = json!({ "id": made["connection"]["id"], "assertion": { "oidc": oidc } });
    check_refusal(&world, &writer, "connectionUpdate", other, "USER_WRITE").await;
    world.end().await;
}

#[tokio::test]
async fn suspension_takes_away_waiting_requests() {
    let world = World::new().await;
    let text = "INSERT INTO async_request (organization_id, id, connection_id, scopes, payload, \
                tries, holder, until, created_at) VALUES ($1, $2, $3, '[]', $4, 1, $5, $6, $6)";
    let now = world.app.clock.now();
    let (organization, connection) = (world.acme.organization, world.acme.connection);
    world
        .execute(
            text,
            [
                organization.into(),
                Uuid::now_v7().into(),
                connection.into(),
                vec![1_u8].into(),
                Uuid::now_v7().into(),
                (now + chrono::Duration::hours(1)).into(),
            ],
        )
        .await;
    lifecycle::suspend_organization(&world.system(), "acme", "unpaid").await.unwrap();
    assert_eq!(world.count("async_request WHERE holder IS NOT NULL", []).await, 0);
    assert_eq!(world.count("async_request", []).await, 1, "it waits");
    world.end().await;
}
