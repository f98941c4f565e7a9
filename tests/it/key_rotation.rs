//! Rotation of the master key and of signing keys. After each write of a rotation every secret is
//! readable.

use std::time::Duration;

use rolecall::auth::policy::{Actor, Permission};
use rolecall::config::KeySource;
use rolecall::context::App;
use rolecall::context::local_issuer;
use rolecall::crypto::vault::{ReplicaAnnouncement, RotationStep, Vault};
use rolecall::domain::tenant::{lifecycle, organization};
use rolecall::ledger;
use rolecall::ledger::attestation;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::database::{Database, MASTER_KEY};
use crate::process::{Server, bootstrap, ok, rolecall, run};
use crate::world::{Answer, World};

const NEW_MASTER_KEY: &str = "dGhlIG5leHQgbWFzdGVyIGtleSBvZiBvdXIgdGVzdHM=";

fn text(key: &str) -> KeySource {
    KeySource::Text(key.into())
}

/// Opens the vault as a process with these keys does.
async fn unlock(app: &App, key: &str, new: Option<&str>) -> Result<Vault, String> {
    let config = rolecall::config::Config {
        master_key: text(key),
        new_master_key: new.map(text),
        ..app.config.clone()
    };
    Vault::open_vault(&app.store, &config, app.clock.now()).await
}

#[tokio::test]
async fn secrets_stay_readable_during_a_rotation() {
    let database = Database::ready().await;
    let app = App::open(database.config()).await.unwrap();
    let mut secrets = Vec::new();
    for number in 0..5 {
        let slug = format!("tenant-{number}");
        let made = lifecycle::create_organization(&app, Actor::System, (&slug, &slug), "first", 30)
            .await
            .unwrap()
            .organization;
        let row = Uuid::new_v4();
        let sealed = app.vault.seal(made.id, &made.data_key, row, slug.as_bytes()).unwrap();
        secrets.push((slug, made.id, row, sealed));
    }
    let signed_before = app.vault.signing_key(app.clock.now()).unwrap().id().to_owned();
    let readable = async |vault: &Vault| {
        for (slug, id, row, sealed) in &secrets {
            let now = organization::by_slug(&app, slug).await.unwrap().unwrap();
            assert_eq!(
                vault.unseal(*id, &now.data_key, *row, sealed).unwrap(),
                slug.as_bytes(),
                "{slug}"
            );
        }
        assert_eq!(vault.signing_key(app.clock.now()).unwrap().id(), signed_before);
    };

    // A rotation needs a key that was prepared and that differs from the present one.
    let both = unlock(&app, MASTER_KEY, Some(NEW_MASTER_KEY)).await.unwrap();
    assert!(both.advance_rotation(&app.store, &mut None).await.unwrap_err().contains("prepare"));
    let same = unlock(&app, MASTER_KEY, Some(MASTER_KEY)).await.unwrap();
    assert!(same.prepare_rotation(&app.store).await.is_err());
    assert!(
        app.vault.prepare_rotation(&app.store).await.unwrap_err().contains("--new-master-key-file")
    );
    both.prepare_rotation(&app.store).await.unwrap();
    readable(&app.vault).await;

    let mut steps = Vec::new();
    loop {
        // A process that starts again does not know how far the rotation has come.
        let again = unlock(&app, MASTER_KEY, Some(NEW_MASTER_KEY)).await.unwrap();
        readable(&again).await;
        readable(&both).await;
        let alone = unlock(&app, NEW_MASTER_KEY, None).await;
        assert!(
            alone.is_err(),
            "the new key alone does not open everything before the end: {steps:?}"
        );
        let step = again.advance_rotation(&app.store, &mut None).await.unwrap();
        steps.push(step);
        if step == RotationStep::Switched {
            // From now on a new tenant's key is sealed with the new master key. A server that has
            // the old key alone cannot do that.
            assert!(app.vault.new_data_key(&app.store.write, Uuid::new_v4()).await.is_err());
            assert!(both.prepare_rotation(&app.store).await.unwrap_err().contains("finish"));
            assert!(
                both.rotate_signing_key(&app.store, app.clock.now(), false)
                    .await
                    .unwrap_err()
                    .contains("finish")
            );
        }
        if step == RotationStep::Finished {
            break;
        }
    }
    assert_eq!(
        both.advance_rotation(&app.store, &mut None).await.unwrap(),
        RotationStep::Finished,
        "the rotation is finished already"
    );
    let count = |wanted| steps.iter().filter(|step| **step == wanted).count();
    assert_eq!(
        (
            count(RotationStep::Switched),
            count(RotationStep::DataKey),
            count(RotationStep::SigningKey)
        ),
        (1, 5, 1),
        "{steps:?}"
    );
    readable(&both).await;
    let new = unlock(&app, NEW_MASTER_KEY, None).await.unwrap();
    readable(&new).await;
    assert!(unlock(&app, MASTER_KEY, None).await.unwrap_err().contains("another master key"));
    app.store.clone().close().await;
    database.drop().await;
}

#[tokio::test]
async fn rotation_waits_for_old_key_servers() {
    let database = Database::ready().await;
    let app = App::open(database.config()).await.unwrap();
    let both = unlock(&app, MASTER_KEY, Some(NEW_MASTER_KEY)).await.unwrap();
    both.prepare_rotation(&app.store).await.unwrap();
    let (old_server, new_server) = (Uuid::new_v4(), Uuid::new_v4());
    assert_eq!(
        app.vault.announce_replica(&app.store, old_server).await.unwrap(),
        ReplicaAnnouncement::Made
    );
    assert_eq!(
        both.announce_replica(&app.store, new_server).await.unwrap(),
        ReplicaAnnouncement::Made
    );
    let refused = both.advance_rotation(&app.store, &mut None).await.unwrap_err();
    assert!(
        refused.contains(&old_server.to_string()) && !refused.contains(&new_server.to_string()),
        "{refused}"
    );
    // A server that has sent no heartbeat for a minute no longer blocks the rotation.
    let silent = sea_orm::Statement::from_sql_and_values(
        app.store.backend(),
        "UPDATE replica SET seen_at = seen_at - 61 WHERE id = $1",
        [old_server.into()],
    );
    sea_orm::ConnectionTrait::execute_raw(&app.store.write, silent).await.unwrap();
    assert_eq!(both.advance_rotation(&app.store, &mut None).await.unwrap(), RotationStep::Switched);
    assert_eq!(
        app.vault.announce_replica(&app.store, old_server).await.unwrap(),
        ReplicaAnnouncement::KeyExchanged
    );
    while both.advance_rotation(&app.store, &mut None).await.unwrap() != RotationStep::Finished {}
    app.store.clone().close().await;
    database.drop().await;
}

#[tokio::test]
async fn killed_rotation_can_be_finished() {
    let database = Database::ready().await;
    let app = App::open(database.config()).await.unwrap();
    for number in 0..120 {
        let slug = format!("tenant-{number}");
        lifecycle::create_organization(&app, Actor::System, (&slug, &slug), "first", 30)
            .await
            .unwrap();
    }
    let keys = [("ROLECALL_MASTER_KEY", MASTER_KEY), ("ROLECALL_NEW_MASTER_KEY", NEW_MASTER_KEY)];
    let prepared = rolecall(&database, &["keys", "rotate", "prepare"]).envs(keys).output().unwrap();
    assert!(prepared.status.success(), "{}", String::from_utf8_lossy(&prepared.stderr));
    let mut killed = 0;
    for milliseconds in (30..).step_by(15) {
        let mut finish = rolecall(&database, &["keys", "rotate", "finish"]);
        let mut finish = finish.envs(keys).stdout(std::process::Stdio::null()).spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        let ended = finish.try_wait().unwrap();
        finish.kill().unwrap();
        finish.wait().unwrap();
        if let Some(status) = ended {
            assert!(status.success());
            break;
        }
        killed += 1;
        assert!(killed < 200, "it does not come to an end");
        let vault = unlock(&app, MASTER_KEY, Some(NEW_MASTER_KEY)).await.unwrap();
        for organization in organization::list_all(&app).await.unwrap() {
            vault.seal(organization.id, &organization.data_key, Uuid::nil(), b"x").unwrap();
        }
    }
    assert!(killed > 0);
    let vault = unlock(&app, NEW_MASTER_KEY, None).await.unwrap();
    for organization in organization::list_all(&app).await.unwrap() {
        vault.seal(organization.id, &organization.data_key, Uuid::nil(), b"x").unwrap();
    }
    app.store.clone().close().await;
    database.drop().await;
}

#[tokio::test]
async fn master_key_rotates_without_an_outage() {
    let database = Database::empty().await;
    let made = bootstrap(&database);
    let before = ok(&database, &["audit", "checkpoint", "--organization", "acme"]);
    let new = database.folder().join("new.key");
    let new_key = ["--new-master-key-file", new.to_str().unwrap()];
    let with_new = |args: &[&'static str]| -> Vec<String> {
        [args, &new_key].concat().iter().map(|word| (*word).into()).collect()
    };
    let run_with = |args: &[&'static str]| {
        let args = with_new(args);
        run(&database, &args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let server = Server::start(&database).await;
    assert!(run_with(&["keys", "rotate", "prepare"]).status.success());
    assert!(new.exists(), "a key that is missing is made");
    let refused = run_with(&["keys", "rotate", "finish"]);
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("without the new master key"),
        "the server holds the old one"
    );
    server.terminate();
    drop(server);
    let both = [("ROLECALL_NEW_MASTER_KEY_FILE", new.to_str().unwrap())];
    // A killed server blocks the rotation for a minute, so the test removes its row.
    let db = sea_orm::Database::connect(database.url.as_str()).await.unwrap();
    sea_orm::ConnectionTrait::execute_unprepared(&db, "DELETE FROM replica").await.unwrap();
    db.close().await.unwrap();
    let server = Server::begin(&database, &both);
    server.ready().await;
    let finished = run_with(&["keys", "rotate", "finish"]);
    assert!(finished.status.success(), "{}", String::from_utf8_lossy(&finished.stderr));
    server.scim(&made).user("ada").await;
    drop(server);
    // From now on the new key alone opens the database, and earlier signatures are still valid.
    std::fs::rename(&new, database.folder().join("master.key")).unwrap();
    let file = database.folder().join("before.jws");
    std::fs::write(&file, before).unwrap();
    ok(&database, &["audit", "verify", "--attestation", file.to_str().unwrap()]);
    let server = Server::start(&database).await;
    server.scim(&made).user("ben").await;
    database.drop().await;
}

fn claims() -> local_issuer::IssuerClaims {
    local_issuer::IssuerClaims {
        subject: "ada".into(),
        organizations: [("acme".to_owned(), [Permission::IamRead].into())].into(),
        ..Default::default()
    }
}

/// The status of a request with a person's token.
async fn ask_as(world: &World, token: &str) -> Value {
    let answer = world.acme.graphql_as(token, &[], "{ viewer { __typename } }", json!({})).await;
    answer.status.as_u16().into()
}

#[tokio::test]
async fn old_evidence_verifies_after_key_rotation() {
    let world = World::new().await;
    let (app, now) = (&world.app, || world.app.clock.now());
    let published = async || {
        let answer = Answer::of(
            reqwest::get(format!("{}/.well-known/jwks.json", world.address)).await.unwrap(),
        )
        .await;
        let keys = answer.is(200).body["keys"].as_array().unwrap().clone();
        keys.into_iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let first = app.vault.signing_key(now()).unwrap();
    let old_token = local_issuer::issue_token(app, &claims(), chrono::Duration::hours(20)).unwrap();
    let (sequence, hash) = ledger::chain_end(&app.store, world.acme.organization).await.unwrap();
    let evidence = attestation::AttestationClaims {
        iss: app.config.public_url.clone(),
        iat: now().timestamp(),
        organization: "acme".into(),
        sequence,
        hash: hex::encode(&hash),
        export: None,
    };
    let old_evidence =
        attestation::sign_attestation(&app.vault, app.clock.now(), &evidence).unwrap();

    app.vault.rotate_signing_key(&app.store, now(), false).await.unwrap();
    app.vault.read_signing_keys(&app.store, now()).await.unwrap();
    let known = published().await;
    assert_eq!(
        (known.len(), known.last().unwrap().as_str()),
        (2, first.id()),
        "both are published at once"
    );
    assert_eq!(
        app.vault.signing_key(now()).unwrap().id(),
        first.id(),
        "and the old one signs still"
    );
    assert!(
        app.vault
            .rotate_signing_key(&app.store, now(), false)
            .await
            .unwrap_err()
            .contains("already")
    );
    app.clock.advance(Duration::from_secs(2 * 60 * 60));
    let second = app.vault.signing_key(now()).unwrap();
    assert_eq!(second.id(), known[0]);
    let new_token = local_issuer::issue_token(app, &claims(), chrono::Duration::hours(1)).unwrap();
    for token in [&old_token, &new_token] {
        assert_eq!(ask_as(&world, token).await, 200);
    }

    // After a key has leaked, only tokens of the third key are accepted.
    app.vault.rotate_signing_key(&app.store, now(), true).await.unwrap();
    app.vault.read_signing_keys(&app.store, now()).await.unwrap();
    let third_token =
        local_issuer::issue_token(app, &claims(), chrono::Duration::hours(1)).unwrap();
    for (token, status) in [(&old_token, 401), (&new_token, 401), (&third_token, 200)] {
        assert_eq!(ask_as(&world, token).await, status);
    }
    assert_eq!(published().await.len(), 3, "public keys are kept for ever");
    let sealed = world.count("signing_key WHERE sealed IS NOT NULL", []).await;
    assert_eq!(sealed, 1, "private ones are not");
    assert_eq!(
        attestation::check_own_file(&app.vault, old_evidence.as_bytes()),
        Ok(evidence.clone())
    );
    assert_eq!(
        attestation::check_file(&first.public_text(), old_evidence.as_bytes()),
        Ok(evidence)
    );
    world.end().await;
}
