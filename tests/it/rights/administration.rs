//! Roles, protected accounts, keys and secrets, as an administrator manages them.

use entity::connection::DeletionPolicy;
use rolecall::auth::policy::Permission;
use rolecall::domain::access::role;
use rolecall::domain::access::role::RoleSettings;
use rolecall::domain::access::role_mapping;
use rolecall::domain::access::role_mapping::MappingTarget;
use rolecall::domain::connection;
use rolecall::domain::connection::scim_token;
use rolecall::domain::directory::erasure;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{global, map_to_role};
use crate::bulk::key_with;
use crate::database::on_postgres;
use crate::world::{Scim, World};

/// Calls a mutation with one input of its own type; returns the payload.
async fn mutate(world: &World, name: &str, input: Value, shown: &str) -> Value {
    let ty = format!("{}{}Input", name[..1].to_uppercase(), &name[1..]);
    let query = format!(
        "mutation($i: {ty}!) {{ {name}(input: $i) {{ {shown} userErrors {{ code path message }} \
         }} }}"
    );
    let answer = world.graphql(&query, json!({ "i": input })).await;
    assert!(answer["data"][name].is_object(), "{answer:#}");
    answer["data"][name].clone()
}

/// Makes a role with this priority; returns its global id.
async fn make_role(world: &World, name: &str, priority: Option<i32>) -> Value {
    let input = json!({ "name": name, "priority": priority });
    mutate(world, "roleCreate", input, "role { id }").await["role"]["id"].clone()
}

#[tokio::test]
async fn mapping_update_moves_the_role() {
    let world = World::new().await;
    let (ada, bob) = (world.scim().user("ada").await, world.scim().user("bob").await);
    let (one, two) =
        (world.scim().group("One", &[ada]).await, world.scim().group("Two", &[bob]).await);
    let (_, mapping) = map_to_role(&world.system(), "Nurse", MappingTarget::Group(one)).await;
    let doctor = make_role(&world, "Doctor", None).await;
    let holds = async |user: Uuid| {
        let query =
            "query($id: ID!) { organization { user(id: $id) { roles { role { name } } } } }";
        let answer = world.graphql(query, json!({ "id": global("User", user) })).await;
        answer["data"]["organization"]["user"]["roles"].clone()
    };
    let shown = "roleMapping { id group { displayName } role { name } reason expiresAt }";
    let end = world.app.clock.now() + chrono::Duration::days(1);
    let input = json!({ "id": global("RoleMapping", mapping), "groupId": global("Group", two), "roleId": doctor,
        "reason": "moved", "expiresAt": end });
    let moved = mutate(&world, "roleMappingUpdate", input, shown).await["roleMapping"].clone();
    assert_eq!(
        (&moved["group"]["displayName"], &moved["role"]["name"]),
        (&json!("Two"), &json!("Doctor"))
    );
    assert_eq!(
        (&moved["id"], &moved["reason"]),
        (&json!(global("RoleMapping", mapping)), &json!("moved"))
    );
    assert_eq!(holds(ada).await, json!([]));
    assert_eq!(holds(bob).await, json!([{ "role": { "name": "Doctor" } }]));
    let payload = world.last_payload().await;
    assert_eq!(payload["after"]["reason"], "moved", "{payload}");
    assert_eq!(world.events_of(mapping).await, ["role_mapping.created", "role_mapping.updated"]);
    let states = "role_mapping WHERE mapping_id = $1";
    assert_eq!(world.count(states, [mapping.into()]).await, 2, "the state before is kept");
    // `null` clears a value, an absent field keeps it, and an update without a change writes no
    // row.
    let input = json!({ "id": global("RoleMapping", mapping), "expiresAt": null });
    let kept =
        mutate(&world, "roleMappingUpdate", input.clone(), shown).await["roleMapping"].clone();
    assert_eq!((&kept["expiresAt"], &kept["reason"]), (&Value::Null, &json!("moved")));
    mutate(&world, "roleMappingUpdate", input, shown).await;
    assert_eq!(world.count(states, [mapping.into()]).await, 3);
    role_mapping::remove_mapping(&world.system(), mapping).await.unwrap();
    let gone = json!({ "id": global("RoleMapping", mapping), "reason": "x" });
    assert_eq!(
        mutate(&world, "roleMappingUpdate", gone, shown).await["userErrors"][0]["code"],
        "NOT_FOUND"
    );
    world.end().await;
}

#[tokio::test]
async fn existing_mapping_is_named_when_repeated() {
    let world = World::new().await;
    let group = world.scim().group("One", &[]).await;
    let (role, mapping) = map_to_role(&world.system(), "Nurse", MappingTarget::Group(group)).await;
    let connection = world.acme.connection;
    let awaits = json!({ "connectionId": global("IdentitySource", connection), "attribute": "DISPLAY_NAME", "value": "New" });
    let connection_id = json!(global("IdentitySource", connection));
    for (field, value) in [
        ("groupId", json!(global("Group", group))),
        ("awaits", awaits),
        ("connectionId", connection_id),
    ] {
        let input = json!({ "roleId": global("Role", role), field: value });
        let first = mutate(&world, "roleMappingCreate", input.clone(), "roleMapping { id }").await;
        let there = first["roleMapping"]["id"]
            .as_str()
            .map_or_else(|| global("RoleMapping", mapping), Into::into);
        let again = mutate(&world, "roleMappingCreate", input, "roleMapping { id }").await;
        let mistake = &again["userErrors"][0];
        assert_eq!(
            (&mistake["code"], &mistake["path"]),
            (&json!("TAKEN"), &json!(["input", field])),
            "{again}"
        );
        assert!(mistake["message"].as_str().unwrap().contains(&there), "{mistake}");
    }
    world.end().await;
}

#[tokio::test]
async fn primary_role_has_the_lowest_priority() {
    let world = World::new().await;
    let ada = world.scim().user("ada").await;
    let (low, high, none) = (
        make_role(&world, "Low", Some(20)).await,
        make_role(&world, "High", Some(10)).await,
        make_role(&world, "None", None).await,
    );
    let tie =
        mutate(&world, "roleCreate", json!({ "name": "Tie", "priority": 10 }), "role { id }").await;
    assert_eq!(
        (&tie["userErrors"][0]["code"], &tie["userErrors"][0]["path"]),
        (&json!("TAKEN"), &json!(["input", "priority"]))
    );
    let tie =
        mutate(&world, "roleUpdate", json!({ "id": low, "priority": 10 }), "role { id }").await;
    assert_eq!(tie["userErrors"][0]["code"], "TAKEN", "{tie}");
    let primary = async || {
        let query =
            "query($id: ID!) { organization { user(id: $id) { primaryRole { role { name } } } } }";
        let answer = world.graphql(query, json!({ "id": global("User", ada) })).await;
        answer["data"]["organization"]["user"]["primaryRole"]["role"]["name"].clone()
    };
    assert_eq!(primary().await, Value::Null);
    for (role, expected) in [(none, Value::Null), (low, json!("Low")), (high, json!("High"))] {
        let input = json!({ "userId": global("User", ada), "roleId": role, "reason": "test" });
        let made = mutate(&world, "roleGrantCreate", input, "roleGrant { id }").await;
        assert_eq!(made["userErrors"], json!([]), "{made}");
        if expected != Value::Null {
            assert_eq!(primary().await, expected);
        }
    }
    world.end().await;
}

/// Tries every way in which an identity provider could remove the last holder.
#[tokio::test]
async fn last_holder_survives_every_scim_request() {
    let world = World::new().await;
    let scim = world.scim();
    let (ada, bob) = (scim.user("ada").await, scim.user("bob").await);
    let chiefs = scim.group("Chiefs", &[ada]).await;
    let (role, _) = map_to_role(&world.system(), "Chief", MappingTarget::Group(chiefs)).await;
    let management = RoleSettings { management: Some(true), ..RoleSettings::default() };
    role::update_role(&world.system(), role, management, None).await.unwrap();
    let (user, group) = (format!("/Users/{ada}"), format!("/Groups/{chiefs}"));
    let off = json!([{ "op": "replace", "path": "active", "value": false }]);
    let bulk = |method: &str, path: &str, data: Value| {
        json!({ "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],
            "Operations": [{ "method": method, "path": path, "data": data }] })
    };
    let held = async |scim: &Scim, name: &str| {
        let before = world.everything().await;
        let empty = json!({ "displayName": "Chiefs", "members": [] });
        for answer in [
            scim.patch(&user, off.clone()).await,
            scim.put(&user, json!({ "userName": "ada", "active": false })).await,
            scim.delete(&user).await,
            scim.patch(&group, json!([{ "op": "remove", "path": "members" }])).await,
            scim.patch(
                &group,
                json!([{ "op": "remove", "path": format!("members[value eq \"{ada}\"]") }]),
            )
            .await,
            scim.patch(
                &group,
                json!([{ "op": "replace", "path": "members", "value": [{ "value": bob }] }]),
            )
            .await,
            scim.put(&group, empty.clone()).await,
            scim.delete(&group).await,
        ] {
            let refused = answer.refused(403, None);
            assert!(
                refused.body["detail"].as_str().unwrap().contains("\"Chief\""),
                "{}",
                refused.body
            );
            assert_eq!(world.everything().await, before, "{name}");
        }
        let patch = |operations: &Value| json!({ "Operations": operations });
        for (method, path, data) in [
            ("PATCH", &user, patch(&off)),
            ("PUT", &user, json!({ "userName": "ada", "active": false })),
            ("DELETE", &user, Value::Null),
            ("PATCH", &group, patch(&json!([{ "op": "remove", "path": "members" }]))),
            ("PUT", &group, empty),
            ("DELETE", &group, Value::Null),
        ] {
            let answer = scim.post("/Bulk", bulk(method, path, data)).await.is(200);
            assert_eq!(
                answer.body["Operations"][0]["status"], "403",
                "{method} {path}: {}",
                answer.body
            );
            assert_eq!(world.everything().await, before, "{name}: {method} {path}");
        }
    };
    // `bob` is not active, so he cannot replace the last holder.
    scim.patch(&format!("/Users/{bob}"), off.clone()).await.is(200);
    held(scim, "the last holder").await;
    // With a second active holder the first may be suspended.
    scim.patch(
        &format!("/Users/{bob}"),
        json!([{ "op": "replace", "path": "active", "value": true }]),
    )
    .await
    .is(200);
    scim.patch(&group, json!([{ "op": "add", "path": "members", "value": [{ "value": bob }] }]))
        .await
        .is(200);
    scim.patch(&user, off).await.is(200);
    world.end().await;
}

#[tokio::test]
async fn protected_account_refuses_scim_changes() {
    let world = World::new().await;
    let ada = world.scim().user("ada").await;
    let off = json!([{ "op": "replace", "path": "active", "value": false }]);
    let shown = "user { protected version }";
    let input = json!({ "id": global("User", ada) });
    let protected = mutate(&world, "userProtect", input.clone(), shown).await;
    assert_eq!(protected["user"], json!({ "protected": true, "version": 2 }), "{protected}");
    mutate(&world, "userProtect", input.clone(), shown).await;
    assert_eq!(
        world.events_of(ada).await,
        ["user.created", "user.protected"],
        "a repeat is no change"
    );
    world.scim().patch(&format!("/Users/{ada}"), off.clone()).await.refused(403, None);
    world.scim().delete(&format!("/Users/{ada}")).await.refused(403, None);
    let key = key_with(&world, &[Permission::UserWrite]).await.secret;
    let lift = "mutation($id: ID!) { userUnprotect(input: { id: $id }) { user { id } } }";
    let refused =
        world.acme.graphql_as(&key, &[], lift, json!({ "id": global("User", ada) })).await.body;
    assert_eq!(super::error_code(&refused), "FORBIDDEN");
    let lifted = mutate(&world, "userUnprotect", input, shown).await;
    assert_eq!(lifted["user"]["protected"], false);
    world.scim().patch(&format!("/Users/{ada}"), off).await.is(200);
    assert_eq!(
        world.events_of(ada).await,
        ["user.created", "user.protected", "user.unprotected", "user.suspended"]
    );
    world.end().await;
}

#[tokio::test]
async fn hard_deleted_account_is_purged_later() {
    let world = World::new().await;
    let hard = connection::ConnectionSettings {
        deletion_policy: Some(DeletionPolicy::Hard),
        revival_days: Some(7),
        ..Default::default()
    };
    connection::update_connection(
        &world.system(),
        world.acme.connection,
        hard,
        Default::default(),
        None,
    )
    .await
    .unwrap();
    let (ada, bob) = (world.scim().user("ada").await, world.scim().user("bob").await);
    world.scim().delete(&format!("/Users/{ada}")).await.is(204);
    assert_eq!(erasure::purge_due_users(&world.app).await.unwrap(), 0);
    world.app.clock.advance(std::time::Duration::from_secs(6 * 24 * 3_600));
    assert_eq!(erasure::purge_due_users(&world.app).await.unwrap(), 0);
    let named = "\"user\" WHERE id = $1 AND user_name = 'ada'";
    assert_eq!(world.count(named, [ada.into()]).await, 1);
    world.days_pass(2);
    // The server's own worker may be quicker.
    erasure::purge_due_users(&world.app).await.unwrap();
    assert_eq!(world.count(named, [ada.into()]).await, 0);
    assert_eq!(
        world.count("\"user\" WHERE id = $1 AND purged_at IS NOT NULL", [ada.into()]).await,
        1
    );
    assert_eq!(world.events_of(ada).await.last().unwrap(), "user.purged");
    assert_eq!(world.scim().ids("/Users").await, [bob]);
    assert_eq!(erasure::purge_due_users(&world.app).await.unwrap(), 0);
    world.end().await;
}

#[tokio::test]
async fn token_shows_its_last_use() {
    let world = World::new().await;
    let issued =
        scim_token::issue_token(&world.system(), world.acme.connection, None, None).await.unwrap();
    let shown = async || {
        scim_token::flush_credential_uses(&world.app).await.unwrap();
        let query = "{ organization { connections(first: 1) { nodes { tokens { lastFour \
                     lastUsedAt lastUsedFrom } } } } }";
        let answer = world.graphql(query, json!({})).await;
        let tokens = answer["data"]["organization"]["connections"]["nodes"][0]["tokens"]
            .as_array()
            .unwrap()
            .clone();
        tokens.into_iter().find(|token| token["lastFour"] == issued.token.last_four).unwrap()
    };
    assert_eq!(
        (&shown().await["lastUsedAt"], &shown().await["lastUsedFrom"]),
        (&Value::Null, &Value::Null)
    );
    let before = world.app.clock.now();
    world.scim().with_token(&issued.secret).get("/Users").await.is(200);
    let used = shown().await;
    let at: chrono::DateTime<chrono::Utc> = used["lastUsedAt"].as_str().unwrap().parse().unwrap();
    assert!(at >= before && at <= world.app.clock.now(), "{used}");
    assert_eq!(used["lastUsedFrom"], "127.0.0.1");
    world.days_pass(1);
    world.scim().with_token(&issued.secret).get("/Users").await.is(200);
    let later: chrono::DateTime<chrono::Utc> =
        shown().await["lastUsedAt"].as_str().unwrap().parse().unwrap();
    assert!(later > at);
    world.end().await;
}

#[tokio::test]
async fn last_use_survives_a_database_outage() {
    let world = World::new().await;
    let key = key_with(&world, &[Permission::IamRead]).await;
    let last_uses = async || {
        let query = "{ organization { apiKeys(first: 9) { nodes { lastFour lastUsedAt } }
            connections(first: 1) { nodes { lastContactAt tokens { lastUsedAt } } } } }";
        let found = world.graphql(query, json!({})).await["data"]["organization"].clone();
        let keys = found["apiKeys"]["nodes"].as_array().unwrap().clone();
        let used = keys.into_iter().find(|shown| shown["lastFour"] == key.key.last_four).unwrap()["lastUsedAt"].clone();
        let connection = &found["connections"]["nodes"][0];
        [used, connection["lastContactAt"].clone(), connection["tokens"][0]["lastUsedAt"].clone()]
    };
    assert_eq!(last_uses().await, [Value::Null, Value::Null, Value::Null]);
    let began = world.app.clock.now();
    world.acme.graphql_as(&key.secret, &[], "{ viewer { kind } }", json!({})).await.is(200);
    world.scim().get("/Users").await.is(200);
    let ended = world.app.clock.now();
    // For a while nothing can be written.
    for table in ["scim_token", "api_key"] {
        world.execute(&format!("ALTER TABLE {table} RENAME TO {table}_away"), []).await;
    }
    // The server's own worker may try at the same time. It also keeps what it could not write.
    for _ in 0..3 {
        let _ = scim_token::flush_credential_uses(&world.app).await;
    }
    for table in ["scim_token", "api_key"] {
        world.execute(&format!("ALTER TABLE {table}_away RENAME TO {table}"), []).await;
    }
    let mut found = [const { Value::Null }; 3];
    for _ in 0..100 {
        scim_token::flush_credential_uses(&world.app).await.unwrap();
        found = last_uses().await;
        if found.iter().all(Value::is_string) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    for used in found {
        let at: chrono::DateTime<chrono::Utc> = used.as_str().unwrap().parse().unwrap();
        assert!(at >= began && at <= ended, "{began} {at} {ended}");
    }
    world.end().await;
}

#[test]
fn secret_ends_with_its_checksum() {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    for prefix in ["rcs_", "rck_"] {
        let secret = rolecall::crypto::vault::new_secret(prefix).unwrap();
        assert!(secret.starts_with(prefix) && secret.len() == prefix.len() + 49, "{secret}");
        let (body, sum) = secret.split_at(secret.len() - 6);
        let expected: Vec<u8> = rolecall::crypto::vault::hash_secret(body)
            .iter()
            .take(6)
            .map(|byte| LETTERS[usize::from(byte % 62)])
            .collect();
        assert_eq!(sum.as_bytes(), expected);
        assert!(secret[4..].bytes().all(|byte| byte.is_ascii_alphanumeric()), "{secret}");
    }
}

/// Everything that the server has stored: the files of its folder, and every row of PostgreSQL.
async fn all_stored(world: &World) -> Vec<u8> {
    let mut stored = Vec::new();
    for file in std::fs::read_dir(world.config().data_dir).unwrap() {
        stored.extend(std::fs::read(file.unwrap().path()).unwrap());
    }
    if on_postgres() {
        let tables =
            "SELECT CAST(tablename AS text) AS name FROM pg_tables WHERE schemaname = 'public'";
        for table in world.rows(tables, []).await {
            let rows = format!(
                "SELECT CAST(t AS text) AS row FROM \"{}\" t",
                table["name"].as_str().unwrap()
            );
            stored.extend(json!(world.rows(&rows, []).await).to_string().bytes());
        }
    }
    stored
}

#[tokio::test]
async fn secrets_are_stored_hashed_or_sealed() {
    let world = World::new().await;
    let globex = world.second_organization().await;
    let make =
        "mutation($p: PullSourceInput!) { connectionCreate(input: { name: \"Source\", pull: $p }) {
        connection { id } userErrors { message } } }";
    let pull = json!({ "baseUrl": "https://source.example/scim/v2", "secret": "open-sesame-4711" });
    let made = world.graphql(make, json!({ "p": pull })).await;
    assert_eq!(made["data"]["connectionCreate"]["userErrors"], json!([]), "{made:#}");
    // No secret is in a file or a row, neither as text nor as bytes.
    let stored = all_stored(&world).await;
    let holds = |text: &str| {
        stored.windows(text.len()).any(|window| window.eq_ignore_ascii_case(text.as_bytes()))
    };
    assert!(holds("source.example"), "a value that is not secret is found");
    for secret in
        [world.acme.api_key.as_str(), &world.scim().token, &globex.api_key, "open-sesame-4711"]
    {
        let bytes: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        assert!(!holds(secret) && !holds(&bytes), "a secret is stored in clear text");
    }
    let hash = rolecall::crypto::vault::hash_secret(&world.acme.api_key);
    assert_eq!(world.count("api_key WHERE hash = $1", [hash.into()]).await, 1);
    // A value that one organization has sealed cannot be opened with another organization's key,
    // nor for another row.
    let vault = &world.app.vault;
    let key_of = async |organization: Uuid| {
        let cx = rolecall::context::Cx::system(world.app.clone(), organization);
        rolecall::domain::tenant::organization::current_organization(&cx).await.unwrap().data_key
    };
    let (acme, other) = (world.acme.organization, globex.organization);
    let (acme_key, other_key, row) = (key_of(acme).await, key_of(other).await, Uuid::now_v7());
    let sealed = vault.seal(acme, &acme_key, row, b"open-sesame-4711").unwrap();
    assert_eq!(vault.unseal(acme, &acme_key, row, &sealed).unwrap(), b"open-sesame-4711");
    assert!(vault.unseal(other, &other_key, row, &sealed).is_err());
    assert!(vault.unseal(other, &acme_key, row, &sealed).is_err());
    assert!(vault.unseal(acme, &other_key, row, &sealed).is_err());
    assert!(vault.unseal(acme, &acme_key, Uuid::now_v7(), &sealed).is_err());
    world.end().await;
}

#[tokio::test]
async fn revoked_key_is_refused() {
    let world = World::new().await;
    let key = key_with(&world, &[Permission::IamRead]).await;
    let ask =
        async || world.acme.graphql_as(&key.secret, &[], "{ viewer { kind } }", json!({})).await;
    ask().await.is(200);
    let input = json!({ "id": global("ApiKey", key.key.id) });
    let revoked = mutate(&world, "apiKeyRevoke", input.clone(), "apiKey { live revokedAt }").await;
    assert_eq!(revoked["apiKey"]["live"], false);
    let at = revoked["apiKey"]["revokedAt"].clone();
    assert!(at.is_string(), "{revoked}");
    ask().await.is(401);
    let again = mutate(&world, "apiKeyRevoke", input, "apiKey { revokedAt }").await;
    assert_eq!(again["apiKey"]["revokedAt"], at, "a repeat is no change");
    assert_eq!(world.events_of(key.key.id).await, ["api_key.issued", "api_key.revoked"]);
    let unknown = json!({ "id": global("ApiKey", Uuid::now_v7()) });
    assert_eq!(
        mutate(&world, "apiKeyRevoke", unknown, "apiKey { id }").await["userErrors"][0]["code"],
        "NOT_FOUND"
    );
    world.end().await;
}

#[tokio::test]
async fn removed_grant_gives_no_role() {
    let world = World::new().await;
    let ada = world.scim().user("ada").await;
    let role = make_role(&world, "Nurse", None).await;
    let input = json!({ "userId": global("User", ada), "roleId": role, "reason": "test" });
    let made = mutate(&world, "roleGrantCreate", input, "roleGrant { id }").await;
    let id = made["roleGrant"]["id"].clone();
    let holds = async || {
        let query =
            "query($id: ID!) { organization { user(id: $id) { roles { role { name } } } } }";
        let answer = world.graphql(query, json!({ "id": global("User", ada) })).await;
        answer["data"]["organization"]["user"]["roles"].as_array().unwrap().len()
    };
    assert_eq!(holds().await, 1);
    let removed = mutate(&world, "roleGrantRemove", json!({ "id": id }), "roleGrant { id }").await;
    assert_eq!(removed["userErrors"], json!([]), "{removed}");
    assert_eq!(holds().await, 0);
    assert_eq!(world.count("role_grant WHERE until IS NOT NULL", []).await, 1);
    assert_eq!(world.count("event WHERE action = 'role_grant.removed'", []).await, 1);
    world.end().await;
}

#[tokio::test]
async fn failures_of_a_cause_retry_together() {
    let world = World::new().await;
    let mut rivals = Vec::new();
    for name in ["ada", "bob"] {
        rivals.push(world.rival(name).await);
        world
            .scim()
            .post("/Users", json!({ "userName": name }))
            .await
            .refused(409, Some("uniqueness"));
    }
    world.scim().post("/Users", json!({ "userName": "x".repeat(3_000) })).await.is(400);
    assert_eq!(world.failures().await.len(), 3);
    for rival in &rivals {
        world.remove(rival).await;
    }
    let retried = mutate(
        &world,
        "failuresRetry",
        json!({ "filter": { "causes": ["UNIQUENESS"] } }),
        "doneCount",
    )
    .await;
    assert_eq!(retried["doneCount"], 2, "{retried}");
    for _ in 0..400 {
        let open = world
            .failures()
            .await
            .into_iter()
            .filter(|failure| failure["state"] != "RESOLVED")
            .count();
        if open == 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    let failures = world.failures().await;
    let resolved = failures.iter().filter(|failure| failure["resolution"] == "RETRIED").count();
    assert_eq!(resolved, 2, "{failures:#?}");
    assert_eq!(world.scim().ids("/Users").await.len(), 2);
    world.end().await;
}
