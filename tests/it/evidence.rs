//! Evidence for auditors: reports are exported, signed and checked without the server, and a
//! checkpoint shows when the end of the ledger is missing.

use std::time::Duration;

use rolecall::auth::policy::Permission;
use rolecall::domain::access::role_mapping;
use rolecall::domain::access::role_mapping::{MappingTarget, NewMapping};
use rolecall::domain::access::{api_key, role};
use rolecall::ledger;
use rolecall::ledger::attestation;
use serde_json::{Value, json};

use crate::world::World;

async fn export(world: &World, credential: &str, path: &str) -> (u16, String) {
    let url = world.acme.graphql.replace("/graphql", &format!("/evidence/{path}"));
    let answer = world.scim().http.get(url).bearer_auth(credential).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// A ward with two nurses, one of which leaves. Returns an instant at which both were there.
async fn ward(world: &World) -> String {
    let cx = world.system();
    let ada = world.scim().user("ada").await;
    let bob = world
        .scim()
        .post("/Users", json!({ "userName": "bob", "displayName": "=1+1, \"Bob\"" }))
        .await
        .is(201)
        .id();
    let ward = world.scim().group("Ward 3", &[ada, bob]).await;
    let settings = role::RoleSettings { name: Some("Nurse".into()), ..Default::default() };
    let role = role::create_role(&cx, settings).await.unwrap().id;
    let new = NewMapping {
        target: MappingTarget::Group(ward),
        role,
        reason: Some("rounds".into()),
        expires_at: None,
    };
    role_mapping::create_mapping(&cx, new).await.unwrap();
    world.app.clock.advance(Duration::from_secs(60));
    let both = world.app.clock.now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    world.app.clock.advance(Duration::from_secs(60));
    world
        .scim()
        .patch(
            &format!("/Users/{bob}"),
            json!([{ "op": "replace", "path": "active", "value": false }]),
        )
        .await
        .is(200);
    world.app.clock.advance(Duration::from_secs(60));
    world.sealed().await;
    both
}

#[tokio::test]
async fn past_access_is_exported_and_signed() {
    let world = World::new().await;
    let both = ward(&world).await;
    let public = attestation::public_key(&world.app.vault, world.app.clock.now());
    let key = &world.acme.api_key;

    let (status, file) = export(&world, key, &format!("access.jsonl?asOf={both}")).await;
    assert_eq!(status, 200, "{file}");
    let lines: Vec<Value> = file.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        (lines.len(), &lines[0]["report"], &lines[0]["parameters"]["asOf"]),
        (4, &json!("access"), &json!(both))
    );
    assert!(lines[0]["controls"].as_array().unwrap().contains(&json!("SOC 2 CC6.3")));
    let of = |name: &str| lines.iter().find(|line| line["user_name"] == name).unwrap();
    for (column, value) in [
        ("role", "Nurse"),
        ("source", "MAPPING"),
        ("mapped_group", "Ward 3"),
        ("member_made_by", "Identity provider"),
    ] {
        assert_eq!(of("bob")[column], value, "{column}");
    }
    let claims = attestation::check_file(&public, file.as_bytes()).unwrap();
    let signed = claims.export.unwrap();
    assert_eq!(
        (claims.organization.as_str(), signed.report.as_str(), signed.rows),
        ("acme", "access", 2)
    );
    let hash =
        ledger::hash_at(&world.app.store, world.acme.organization, claims.sequence).await.unwrap();
    assert_eq!(hash.map(|hash| hex::encode(&hash)), Some(claims.hash));

    // Today one of them is left. In CSV a name that begins with `=` is quoted, so that no
    // spreadsheet runs it as a formula.
    let (_, now) = export(&world, key, "access.csv").await;
    assert_eq!(now.lines().count(), 3, "{now}");
    assert!(now.starts_with("user_id,user_name,") && now.contains(",ada,"), "{now}");
    let (_, then) = export(&world, key, &format!("access.csv?asOf={both}")).await;
    assert!(then.contains("\"'=1+1, \"\"Bob\"\"\""), "{then}");
    attestation::check_file(&public, then.as_bytes()).unwrap();

    for forged in [
        file.replace("Nurse", "Chief"),
        file.lines()
            .filter(|line| !line.contains("\"bob\""))
            .map(|line| format!("{line}\n"))
            .collect(),
        file.rsplit_once("{\"attestation").unwrap().0.to_owned(),
    ] {
        attestation::check_file(&public, forged.as_bytes()).unwrap_err();
    }
    attestation::check_file(&"A".repeat(43), file.as_bytes()).unwrap_err();
    world.end().await;
}

#[tokio::test]
async fn past_access_shows_past_permissions() {
    let world = World::new().await;
    let both = ward(&world).await;
    let query = "{ organization { roles(first: 1) { nodes { id } } } }";
    let role =
        world.graphql(query, json!({})).await["data"]["organization"]["roles"]["nodes"][0]["id"]
            .clone();
    for permissions in [vec!["ward.read"], vec!["ward.read", "ward.write"]] {
        let update = "mutation($id: ID!, $permissions: [String!]!) { roleUpdate(input: { id: $id, permissions: $permissions }) \
                      { userErrors { code } } }";
        let done = world.graphql(update, json!({ "id": role, "permissions": permissions })).await;
        assert_eq!(done["data"]["roleUpdate"]["userErrors"], json!([]), "{done:#}");
        world.app.clock.advance(Duration::from_secs(60));
        world.sealed().await;
    }
    let held = async |path: &str| {
        let (status, file) = export(&world, &world.acme.api_key, path).await;
        assert_eq!(status, 200, "{file}");
        let row: Value = serde_json::from_str(file.lines().nth(1).unwrap()).unwrap();
        row["permissions"].clone()
    };
    assert_eq!(held(&format!("access.jsonl?asOf={both}")).await, json!([]));
    assert_eq!(held("access.jsonl").await, json!(["ward.read", "ward.write"]));
    world.end().await;
}

#[tokio::test]
async fn leavers_mappings_and_changes_are_reported() {
    let world = World::new().await;
    ward(&world).await;
    let key = &world.acme.api_key;
    let rows = async |path: &str| {
        let (status, file) = export(&world, key, path).await;
        assert_eq!(status, 200, "{file}");
        let lines: Vec<Value> =
            file.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        lines[1..lines.len() - 1].to_vec()
    };
    let left = rows("leavers.jsonl").await;
    assert_eq!(
        (left.len(), &left[0]["user_name"], &left[0]["active_now"]),
        (1, &json!("bob"), &json!(false))
    );
    assert!(left[0]["milliseconds_to_revocation"].as_f64().is_some_and(|took| took < 60_000.0));
    let mapped = rows("mappings.jsonl").await;
    assert_eq!(
        (mapped.len(), &mapped[0]["group"], &mapped[0]["reason"]),
        (1, &json!("Ward 3"), &json!("rounds"))
    );
    assert_eq!((&mapped[0]["made_by"], &mapped[0]["until"]), (&json!("rolecall"), &Value::Null));
    let all = rows("changes.jsonl").await;
    // The exports are events, too, and come later.
    assert_eq!(all.len() as i64, world.count("event WHERE action NOT LIKE 'evidence.%'", []).await);
    let theirs = rows(&format!("changes.jsonl?actor={}", world.acme.connection)).await;
    assert!(
        !theirs.is_empty() && theirs.iter().all(|row| row["actor_name"] == "Identity provider")
    );
    assert!(rows("changes.jsonl?to=2001-01-01T00:00:00Z").await.is_empty());

    let query = r#"{ organization { leavers(first: 5) { totalCount nodes { userName userCount activeNow milliseconds event { action } } }
        revocationTimes(objectiveSeconds: 3600) { count withinObjective longestMilliseconds }
        roleMappings(first: 1) { nodes { history { since until reason begunBy { action } endedBy { action } } } } } }"#;
    let found = world.graphql(query, json!({})).await["data"]["organization"].clone();
    assert_eq!(
        (&found["leavers"]["totalCount"], &found["leavers"]["nodes"][0]["userName"]),
        (&json!(1), &json!("bob"))
    );
    assert_eq!(
        (&found["revocationTimes"]["count"], &found["revocationTimes"]["withinObjective"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        found["roleMappings"]["nodes"][0]["history"][0]["begunBy"]["action"],
        "ROLE_MAPPING_CREATED"
    );
    world.end().await;
}

#[tokio::test]
async fn evidence_requires_its_permissions() {
    let world = World::new().await;
    let globex = world.second_organization().await;
    ward(&world).await;
    for missing in [Permission::AuditRead, Permission::UserRead, Permission::IamRead] {
        let others =
            Permission::in_organization().into_iter().filter(|held| *held != missing).collect();
        let issued =
            api_key::issue_key(&world.system(), "all but one", others, None).await.unwrap();
        let (status, body) = export(&world, &issued.secret, "access.csv").await;
        assert_eq!(status, 403, "{body}");
        assert!(body.contains(missing.name()) && !body.contains("ada"), "{body}");
    }
    for wrong in ["", "rck_wrong", &world.scim().token] {
        assert_eq!(export(&world, wrong, "access.csv").await.0, 401);
        assert_eq!(export(&world, wrong, "checkpoint").await.0, 401);
    }
    let (status, theirs) = export(&world, &globex.api_key, "access.csv").await;
    assert_eq!((status, theirs.lines().count()), (200, 2), "{theirs}");
    for (path, status) in [
        ("nonsense.csv", 404),
        ("access.xml", 404),
        ("access.csv?asOf=yesterday", 400),
        ("access.csv?asOf=2999-01-01T00:00:00Z", 400),
        ("access.csv?from=2001-01-01T00:00:00Z", 400),
    ] {
        assert_eq!(export(&world, &world.acme.api_key, path).await.0, status, "{path}");
    }
    world.end().await;
}

#[tokio::test]
async fn checkpoint_shows_a_removed_end() {
    let world = World::new().await;
    ward(&world).await;
    let (_, checkpoint) = export(&world, &world.acme.api_key, "checkpoint").await;
    let claims = attestation::check_file(
        &attestation::public_key(&world.app.vault, world.app.clock.now()),
        checkpoint.as_bytes(),
    )
    .unwrap();
    let (store, acme) = (&world.app.store, world.acme.organization);
    let hash = ledger::hash_at(store, acme, claims.sequence).await.unwrap().unwrap();
    assert_eq!((hex::encode(&hash), claims.export), (claims.hash.clone(), None));

    // An attacker with access to the database removes the last change and sets the head back: the
    // chain itself is consistent.
    world
        .execute(
            "DELETE FROM event WHERE pos = (SELECT pos FROM event_sealed WHERE organization_id = \
             $1 AND seq = $2)",
            [acme.into(), claims.sequence.into()],
        )
        .await;
    let before = ledger::hash_at(store, acme, claims.sequence - 1).await.unwrap().unwrap();
    let values = [(claims.sequence - 1).into(), before.into(), acme.into()];
    world
        .execute("UPDATE ledger_head SET seq = $1, hash = $2 WHERE organization_id = $3", values)
        .await;
    assert_eq!(ledger::verify_chain(store, acme).await.unwrap().broken, None);
    // But the chain no longer contains the checkpoint.
    assert_eq!(ledger::hash_at(store, acme, claims.sequence).await.unwrap(), None);
    world.end().await;
}
