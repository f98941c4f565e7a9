//! The auditor's commands on ledgers and files that were changed by an attacker. Genuine data
//! passes, forged data fails, and the commands say what they cannot know.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use entity::{event, ledger_head};
use sea_orm::{
    ColumnTrait, ConnectionTrait, Database as Connections, DatabaseConnection, EntityTrait,
    QueryFilter, QueryOrder, Statement, Value as Sql,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::database::{Database, on_postgres};
use crate::process::{Server, bootstrap, ok, run};
use crate::world::Answer;

/// A ledger that a server has written before it stopped in order.
struct Ledger {
    database: Database,
    made: Value,
    db: DatabaseConnection,
}

impl Ledger {
    /// Three accounts, of which one was erased.
    async fn written() -> Self {
        let database = Database::empty().await;
        let made = bootstrap(&database);
        let db = Connections::connect(database.url.as_str()).await.unwrap();
        let ledger = Self { database, made, db };
        ledger
            .serve(async |server| {
                let scim = server.scim(&ledger.made);
                for name in ["ada", "cyd"] {
                    scim.user(name).await;
                }
                purge(server, &ledger.made, "ben").await;
            })
            .await;
        ledger
    }

    /// Runs a server while `story` runs.
    async fn serve(&self, story: impl AsyncFnOnce(&Server)) {
        let mut server = Server::start(&self.database).await;
        story(&server).await;
        server.terminate();
        assert_eq!(server.exit_code().await, Some(0));
    }

    async fn execute(&self, text: &str, values: impl IntoIterator<Item = Sql>) {
        let statement =
            Statement::from_sql_and_values(self.db.get_database_backend(), text, values);
        assert!(self.db.execute_raw(statement).await.unwrap().rows_affected() > 0, "{text}");
    }

    async fn events(&self) -> Vec<event::Model> {
        #[allow(clippy::disallowed_methods, reason = "a look at the rows behind the server's back")]
        event::Entity::find().order_by_asc(event::Column::Seq).all(&self.db).await.unwrap()
    }

    /// Computes the chain anew over the rows as they are now. An attacker can do that who knows the
    /// code but not the key.
    async fn compute_chain_anew(&self, with_actor_name: bool) {
        let links = if on_postgres() { "chain" } else { "event" };
        let (mut hash, mut organization) = (vec![0; 32], Uuid::nil());
        let rows = self.events().await;
        for (n, row) in rows.iter().enumerate() {
            let seq = n as i64 + 1;
            hash = hash_of(&hash, row, seq, with_actor_name);
            organization = row.organization_id;
            let text = format!("UPDATE {links} SET hash = $1 WHERE pos = $2");
            self.execute(&text, [hash.clone().into(), row.pos.into()]).await;
        }
        let text = "UPDATE ledger_head SET seq = $1, hash = $2 WHERE organization_id = $3";
        self.execute(text, [(rows.len() as i64).into(), hash.into(), organization.into()]).await;
    }

    /// The output of `audit verify`, and whether it succeeded.
    fn verify(&self, flags: &[&str]) -> (bool, String) {
        let output = run(&self.database, &[&["audit", "verify"], flags].concat());
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    #[track_caller]
    fn is_broken(&self, why: &str) {
        let (good, said) = self.verify(&[]);
        assert!(!good && said.starts_with("acme: BROKEN") && said.contains(why), "{said}");
    }

    #[track_caller]
    fn is_intact(&self) -> String {
        let (good, said) = self.verify(&[]);
        assert!(good && said.starts_with("acme: intact, "), "{said}");
        said
    }

    async fn end(self) {
        self.db.close().await.unwrap();
        self.database.drop().await;
    }
}

/// The hash of a row of the ledger.
fn hash_of(before: &[u8], row: &event::Model, seq: i64, with_actor_name: bool) -> Vec<u8> {
    let numbers =
        [seq, row.at.timestamp_micros(), row.requested_at.timestamp_micros(), row.population];
    let [seq, at, requested_at, population] = numbers.map(i64::to_be_bytes);
    let mut parts: Vec<&[u8]> =
        vec![before, row.organization_id.as_bytes(), &seq, row.id.as_bytes(), &at];
    parts.extend([
        &requested_at[..],
        row.actor_kind.as_bytes(),
        row.actor_id.as_deref().unwrap_or_default().as_bytes(),
    ]);
    parts.extend([row.action.as_bytes(), row.subject_kind.as_bytes(), row.subject_id.as_bytes()]);
    parts.push(row.connection_id.as_ref().map_or(&[][..], |id| id.as_bytes()));
    parts.extend([row.request_id.as_bytes(), &row.digest[..], &population[..]]);
    if with_actor_name {
        parts.push(row.actor_name.as_bytes());
    }
    let bytes: Vec<u8> = parts
        .iter()
        .flat_map(|part| [&(part.len() as u64).to_be_bytes()[..], part].concat())
        .collect();
    digest(&SHA256, &bytes).as_ref().to_vec()
}

async fn graphql(server: &Server, made: &Value, query: &str, variables: Value) -> Value {
    let request = reqwest::Client::new().post(format!("{}/graphql", server.address));
    let request = request.bearer_auth(made["graphql"]["api_key"].as_str().unwrap());
    let request = request.header("content-type", "application/json");
    let body = json!({ "query": query, "variables": variables }).to_string();
    let answer = Answer::of(request.body(body).send().await.unwrap()).await.is(200).body;
    assert!(answer.get("errors").is_none(), "{answer:#}");
    answer["data"].clone()
}

/// Creates an account, deletes it and erases it.
async fn purge(server: &Server, made: &Value, name: &str) {
    let id = server.scim(made).user(name).await;
    let query = "query($name: String!) { organization { user(userName: $name) { id } } }";
    let found = graphql(server, made, query, json!({ "name": name })).await;
    server.scim(made).delete(&format!("/Users/{id}")).await.is(204);
    let purge = "mutation($id: ID!) { userPurge(input: { id: $id }) { userErrors { code } } }";
    let id = &found["organization"]["user"]["id"];
    let done = graphql(server, made, purge, json!({ "id": id })).await;
    assert_eq!(done["userPurge"]["userErrors"], json!([]));
}

async fn export(server: &Server, made: &Value, path: &str) -> Vec<u8> {
    let request = reqwest::Client::new().get(format!("{}/evidence/{path}", server.address));
    let answer =
        request.bearer_auth(made["graphql"]["api_key"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.bytes().await.unwrap().to_vec()
}

#[tokio::test]
async fn verify_says_what_it_cannot_know() {
    let ledger = Ledger::written().await;
    let said = ledger.is_intact();
    let events = ledger.events().await.len();
    assert!(
        said.contains(&format!("signed: from the beginning up to sequence {events}, at ")),
        "{said}"
    );
    assert!(
        said.contains("erased: the values of ") && said.contains("accounted for by an erasure"),
        "{said}"
    );
    assert!(
        said.contains("not known: whether events after sequence") && said.contains("--attestation"),
        "{said}"
    );
    assert!(said.contains(&format!("checked 1 organizations, {events} events")), "{said}");
    assert!(!said.contains("not signed yet") && !said.contains("actor names"), "{said}");
    ledger.end().await;

    let database = Database::empty().await;
    Server::start(&database).await;
    let none = run(&database, &["audit", "verify"]);
    assert!(
        !none.status.success() && String::from_utf8_lossy(&none.stderr).contains("no organization")
    );
    assert!(
        ok(&database, &["audit", "verify", "--allow-empty"]).contains("checked 0 organizations")
    );
    database.drop().await;
}

#[tokio::test]
async fn emptied_rows_need_an_erasure() {
    let ledger = Ledger::written().await;
    let copy = "CREATE TABLE kept_events AS SELECT pos, payload, salt, actor_name FROM event";
    ledger.db.execute_unprepared(copy).await.unwrap();
    let restore = "UPDATE event SET payload = b.payload, salt = b.salt, actor_name = b.actor_name \
                   FROM kept_events b WHERE b.pos = event.pos";
    for (forgery, why) in [
        ("UPDATE event SET payload = NULL, salt = NULL", "no later erasure"),
        (
            "UPDATE event SET payload = NULL, salt = NULL WHERE action = 'user.purged'",
            "no later erasure",
        ),
        (
            "UPDATE event SET payload = NULL, salt = NULL WHERE action = 'organization.created'",
            "no later erasure",
        ),
        ("UPDATE event SET payload = NULL, salt = NULL, actor_name = 'eve'", "does not follow"),
        ("UPDATE event SET actor_name = 'eve' WHERE payload IS NULL", "does not follow"),
        ("UPDATE event SET salt = NULL WHERE action = 'user.purged'", "half lost"),
    ] {
        ledger.execute(forgery, []).await;
        ledger.is_broken(why);
        ledger.execute(restore, []).await;
        ledger.is_intact();
    }
    ledger.end().await;
}

#[tokio::test]
async fn recomputed_chain_does_not_verify() {
    let ledger = Ledger::written().await;
    for with_actor_name in [true, false] {
        ledger.execute("UPDATE event SET actor_id = 'eve' WHERE action = 'user.created'", []).await;
        ledger.compute_chain_anew(with_actor_name).await;
        ledger.is_broken("not the one whose head was signed");
    }
    // A server does not sign the new chain either.
    ledger
        .serve(async |server| {
            server.scim(&ledger.made).user("dan").await;
        })
        .await;
    ledger.is_broken("not the one whose head was signed");
    // Removing or changing the signature does not help either.
    ledger.compute_chain_anew(true).await;
    ledger
        .db
        .execute_unprepared("CREATE TABLE signed_before AS SELECT * FROM signed_head")
        .await
        .unwrap();
    for (forgery, why) in [
        ("UPDATE signed_head SET seq = seq - 1", "that of another head"),
        ("UPDATE signed_head SET signature = replace(signature, '.', '.A')", "does not hold"),
        ("DELETE FROM signed_head", "signature over the chain's head is missing"),
    ] {
        ledger.execute(forgery, []).await;
        ledger.is_broken(why);
        ledger.db.execute_unprepared("DELETE FROM signed_head").await.unwrap();
        ledger.execute("INSERT INTO signed_head SELECT * FROM signed_before", []).await;
    }
    ledger.execute("DELETE FROM signed_head", []).await;
    ledger.serve(async |_| {}).await;
    ledger.is_broken("signature over the chain's head is missing");
    ledger.end().await;
}

#[tokio::test]
async fn unchained_and_removed_rows_are_found() {
    let ledger = Ledger::written().await;
    // The last row must not be an erasure: an erased row without its erasure would be reported
    // first.
    let add_user = async |server: &Server| {
        server.scim(&ledger.made).user("dan").await;
    };
    ledger.serve(add_user).await;
    let events = ledger.events().await;
    let last = events.last().unwrap();
    let links = if on_postgres() { "chain" } else { "event" };
    #[allow(clippy::disallowed_methods, reason = "a look at the rows behind the server's back")]
    let head = ledger_head::Entity::find()
        .filter(ledger_head::Column::OrganizationId.eq(last.organization_id))
        .one(&ledger.db)
        .await
        .unwrap()
        .unwrap();

    // The head is set back: an attacker could then change the rows after it unnoticed.
    let before = &events[events.len() - 2];
    let set_head = "UPDATE ledger_head SET seq = $1, hash = $2";
    ledger.execute(set_head, [before.seq.into(), before.hash.clone().into()]).await;
    ledger.is_broken("behind the recorded head");
    // A row that is not in the chain.
    ledger.execute(set_head, [head.seq.into(), head.hash.clone().into()]).await;
    ledger.is_intact();
    let strange = "INSERT INTO event (organization_id, id, at, requested_at, actor_kind, actor_name, action, subject_kind, \
        subject_id, request_id, digest, population) SELECT organization_id, request_id, at, requested_at, actor_kind, \
        actor_name, action, subject_kind, subject_id, request_id, digest, population FROM event WHERE pos = $1";
    ledger.execute(strange, [last.pos.into()]).await;
    ledger.is_broken("outside the chain");
    ledger.execute("DELETE FROM event WHERE pos > $1", [last.pos.into()]).await;
    ledger.is_intact();
    // The last row is removed, and the head is set back to the one before.
    if on_postgres() {
        ledger.execute(&format!("DELETE FROM {links} WHERE pos = $1"), [last.pos.into()]).await;
    }
    ledger.execute("DELETE FROM event WHERE pos = $1", [last.pos.into()]).await;
    ledger.execute(set_head, [before.seq.into(), before.hash.clone().into()]).await;
    ledger.is_broken("its end was cut off");
    ledger.end().await;
}

#[tokio::test]
async fn unsigned_ledger_verifies_and_gets_signed() {
    let ledger = Ledger::written().await;
    ledger.compute_chain_anew(false).await;
    ledger.execute("DELETE FROM signed_head", []).await;
    let said = ledger.is_intact();
    assert!(said.contains("signed: never"), "{said}");
    assert!(said.contains("not known: whether the actor names"), "{said}");
    let before = ledger.events().await.len();

    ledger
        .serve(async |server| {
            server.scim(&ledger.made).user("dan").await;
        })
        .await;
    let said = ledger.is_intact();
    let after = ledger.events().await.len();
    assert!(after > before);
    assert!(said.contains(&format!("signed: up to sequence {after}, at ")), "{said}");
    assert!(
        said.contains("signatures begin at sequence ") && said.contains("is not known"),
        "{said}"
    );
    ledger.execute("UPDATE event SET actor_id = 'eve' WHERE action = 'user.created'", []).await;
    ledger.compute_chain_anew(false).await;
    ledger.is_broken("not the one whose head was signed");
    ledger.end().await;
}

#[tokio::test]
async fn audit_check_accepts_only_genuine_files() {
    let ledger = Ledger::written().await;
    let mut files = Vec::new();
    ledger
        .serve(async |server| {
            for path in
                ["access.csv", "changes.csv", "changes.jsonl", "leavers.csv", "mappings.jsonl"]
            {
                files.push((path, export(server, &ledger.made, path).await));
            }
        })
        .await;
    files.push((
        "checkpoint",
        ok(&ledger.database, &["audit", "checkpoint", "--organization", "acme"]).into_bytes(),
    ));
    let key = ok(&ledger.database, &["audit", "key"]);
    let check = |bytes: &[u8], key: &str| {
        let file = ledger.database.folder().join("kept");
        std::fs::write(&file, bytes).unwrap();
        let output =
            run(&ledger.database, &["audit", "check", file.to_str().unwrap(), "--key", key]);
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    };
    let verify = |bytes: &[u8]| {
        let file = ledger.database.folder().join("kept");
        std::fs::write(&file, bytes).unwrap();
        ledger.verify(&["--attestation", file.to_str().unwrap()]).0
    };
    let checkpoint = files.last().unwrap().1.clone();
    for (path, file) in &files {
        let (good, said) = check(file, &key);
        assert!(good && said.contains("genuine") && said.contains("acme"), "{path}: {said}");
        assert!(verify(file), "{path}");
        // A key may begin with a hyphen.
        let (good, said) = check(file, &format!("-{}", &"A".repeat(42)));
        assert!(!good && said.contains("another key"), "{said}");
        let mut altered = file.clone();
        let middle = altered.len() / 2;
        altered[middle] = if altered[middle] == b'x' { b'y' } else { b'x' };
        for forged in [
            altered,
            [file.as_slice(), &checkpoint].concat(),
            [file.as_slice(), b"more\r\n"].concat(),
        ] {
            assert!(!check(&forged, &key).0 && !verify(&forged), "{path}");
        }
        let mangled =
            [b"\xEF\xBB\xBF".to_vec(), String::from_utf8_lossy(file).replace("\r\n", "\n").into()]
                .concat();
        let (good, said) = check(&mangled, &key);
        assert!(!good, "{said}");
        if *path != "checkpoint" {
            assert!(said.contains("line ends"), "{said}");
        }
    }
    let (good, said) =
        check(br#"{ "errors": [{ "message": "this needs the permission AUDIT_READ" }] }"#, &key);
    assert!(
        !good && said.contains("error that the server answered") && said.contains("AUDIT_READ"),
        "{said}"
    );
    let (good, said) = check(b"<html><body>Bad Gateway</body></html>", &key);
    assert!(!good && said.contains("web page"), "{said}");
    assert!(check(b"", &key).1.contains("empty"));
    // An empty file is not accepted as an attestation.
    let (_, said) = ledger.verify(&["--attestation", "/dev/null"]);
    assert!(!said.contains("intact"), "{said}");
    ledger.end().await;
}

#[tokio::test]
async fn kept_attestation_shows_a_rollback() {
    let ledger = Ledger::written().await;
    for table in ["ledger_head", "signed_head"] {
        let copy = format!("CREATE TABLE {table}_before AS SELECT * FROM {table}");
        ledger.db.execute_unprepared(&copy).await.unwrap();
    }
    let before = ledger.events().await;
    let last = before.last().unwrap().pos;
    let kept = |name: &str, bytes: &[u8]| {
        let file = ledger.database.folder().join(name);
        std::fs::write(&file, bytes).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let checkpoint = |slug: &str| {
        ok(&ledger.database, &["audit", "checkpoint", "--organization", slug]).into_bytes()
    };
    let early = kept("early", &checkpoint("acme"));
    let key = ok(&ledger.database, &["audit", "key"]);
    let mut report = String::new();
    ledger
        .serve(async |server| {
            server.scim(&ledger.made).user("dan").await;
            // A row that is not in the chain yet is not attested yet.
            let reaches = format!("at sequence {}", before.len());
            let began = Instant::now();
            while report.is_empty()
                || ok(&ledger.database, &["audit", "check", &report, "--key", &key])
                    .contains(&reaches)
            {
                assert!(
                    began.elapsed() < Duration::from_secs(30),
                    "the change has no place in the chain"
                );
                report = kept("report", &export(server, &ledger.made, "changes.csv").await);
            }
        })
        .await;
    let late = kept("late", &checkpoint("acme"));
    let (good, said) =
        ledger.verify(&["--attestation", &early, "--attestation", &late, "--attestation", &report]);
    assert!(
        good && said.starts_with("acme: intact, ")
            && said.contains("the files that were kept reach to"),
        "{said}"
    );

    // The database is put back to an earlier state together with its signature: it is consistent in
    // itself.
    if on_postgres() {
        ledger.execute("DELETE FROM chain WHERE pos > $1", [last.into()]).await;
    }
    ledger.execute("DELETE FROM event WHERE pos > $1", [last.into()]).await;
    for table in ["ledger_head", "signed_head"] {
        ledger.execute(&format!("DELETE FROM {table}"), []).await;
        ledger.execute(&format!("INSERT INTO {table} SELECT * FROM {table}_before"), []).await;
    }
    assert!(ledger.is_intact().contains("--attestation"));
    assert!(ledger.verify(&["--attestation", &early]).0);
    for file in [&late, &report] {
        let (good, said) = ledger.verify(&["--attestation", &early, "--attestation", file]);
        assert!(
            !good && said.starts_with("acme: BROKEN") && said.contains("attests another chain"),
            "{said}"
        );
        assert!(said.contains(file.as_str()), "{said}");
    }
    // A file of another organization or of another installation does not count for this one.
    ok(&ledger.database, &["bootstrap", "--organization", "globex", "--json"]);
    let theirs = kept("theirs", &checkpoint("globex"));
    let verify = |flags: &[&str]| {
        let output = run(&ledger.database, &[&["audit", "verify"], flags].concat());
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert!(verify(&["--attestation", &theirs]).0);
    let (good, said) = verify(&["--organization", "acme", "--attestation", &theirs]);
    assert!(!good && said.contains("globex") && said.contains("not checked"), "{said}");
    let elsewhere = Database::empty().await;
    bootstrap(&elsewhere);
    let strange = ok(&elsewhere, &["audit", "checkpoint", "--organization", "acme"]);
    let (good, said) = verify(&["--attestation", &kept("strange", strange.as_bytes())]);
    assert!(!good && said.contains("another key"), "{said}");
    elsewhere.drop().await;
    ledger.end().await;
}

#[tokio::test]
async fn data_files_are_readable_by_owner() {
    let database = Database::empty().await;
    let made = bootstrap(&database);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let all = || {
        let files = std::fs::read_dir(database.folder()).unwrap();
        files.map(|file| file.unwrap().path()).collect::<Vec<_>>()
    };
    // The modes that an earlier version set.
    std::fs::set_permissions(database.folder(), PermissionsExt::from_mode(0o755)).unwrap();
    for file in all() {
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    }
    let mut server = Server::start(&database).await;
    server.scim(&made).user("ada").await;
    assert_eq!(mode(database.folder()), 0o700);
    let files = all();
    assert!(
        on_postgres() || files.iter().any(|file| file.to_string_lossy().ends_with("-wal")),
        "{files:?}"
    );
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    server.terminate();
    assert_eq!(server.exit_code().await, Some(0));
    database.drop().await;
}

#[tokio::test]
async fn erased_name_is_in_no_file() {
    let database = Database::empty().await;
    let made = bootstrap(&database);
    let mut server = Server::start(&database).await;
    let scim = server.scim(&made);
    for n in 0..30 {
        scim.user(&format!("another-{n}")).await;
    }
    purge(&server, &made, "needle-in-the-file").await;
    for n in 30..60 {
        scim.user(&format!("another-{n}")).await;
    }
    server.terminate();
    assert_eq!(server.exit_code().await, Some(0));
    for file in std::fs::read_dir(database.folder()).unwrap() {
        let path = file.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let found =
            bytes.windows(18).any(|window| window.eq_ignore_ascii_case(b"needle-in-the-file"));
        assert!(!found, "{}", path.display());
    }
    ok(&database, &["audit", "verify"]);
    database.drop().await;
}
