//! The command line, on which scripts depend.

use chrono::{DateTime, Utc};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use sea_orm::{ConnectionTrait, Database as Connections};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::database::{Database, MASTER_KEY};
use crate::process::{Server, bootstrap, ok, rolecall, run};
use crate::world::Answer;

/// The exit status of a command whose arguments or settings are wrong.
const USAGE: i32 = 2;
/// The exit status of a command that failed for another reason.
const FAILURE: i32 = 1;

/// The single line that a command prints when it cannot start.
#[track_caller]
fn complaint(mut command: std::process::Command, status: i32) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.stdout, b"");
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(status), "{text}");
    assert_eq!(text.trim_end().lines().count(), 1, "one line, not {text:?}");
    assert!(text.starts_with("error: "), "{text}");
    assert!(!text.contains("panicked") && text.len() > 20, "{text}");
    text
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn bootstrap_prints_the_first_credentials() {
    let database = Database::empty().await;
    let flags = [
        "bootstrap",
        "--organization",
        "acme",
        "--connection",
        "Entra",
        "--provider",
        "ENTRA_ID",
        "--json",
    ];
    let public = [flags.as_slice(), &["--public-url", "https://id.example/pp/"]].concat();
    let printed = ok(&database, &public);
    assert_eq!(printed.trim_end().lines().count(), 1);
    let made: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(keys(&made), ["organization", "connection", "scim", "graphql", "made", "live"]);
    assert_eq!(keys(&made["organization"]), ["id", "slug"]);
    assert_eq!(keys(&made["connection"]), ["id", "name"]);
    assert_eq!(keys(&made["scim"]), ["base_url", "users_url", "groups_url", "token"]);
    assert_eq!(keys(&made["graphql"]), ["url", "api_key", "api_key_expires_at", "other_live_keys"]);
    assert_eq!(made["graphql"]["other_live_keys"], 0);
    assert_eq!(
        (&made["organization"]["slug"], &made["connection"]["name"]),
        (&"acme".into(), &"Entra".into())
    );
    assert_eq!(made["scim"]["base_url"], "https://id.example/pp/scim/v2/acme");
    assert_eq!(made["scim"]["users_url"], "https://id.example/pp/scim/v2/acme/Users");
    assert_eq!(made["scim"]["groups_url"], "https://id.example/pp/scim/v2/acme/Groups");
    assert_eq!(made["graphql"]["url"], "https://id.example/pp/graphql");

    assert_eq!(
        (&made["made"]["organization"], &made["made"]["connection"]),
        (&json!(true), &json!(true))
    );
    assert_eq!((&made["live"]["scim_tokens"], &made["live"]["api_keys"]), (&json!(1), &json!(1)));

    // A second run prints what exists, and makes another token and key only with --new-credentials.
    let refused = complaint(rolecall(&database, &flags), FAILURE);
    for word in ["acme", "Entra", "1 live SCIM token", "1 live API key", "--new-credentials"] {
        assert!(refused.contains(word), "{word}: {refused}");
    }
    let other = [flags.as_slice(), &["--new-credentials"]].concat();
    let other = other.into_iter().map(|flag| if flag == "ENTRA_ID" { "OKTA" } else { flag });
    let other = complaint(rolecall(&database, &other.collect::<Vec<_>>()), FAILURE);
    assert!(other.contains("ENTRA_ID") && other.contains("OKTA"), "{other}");
    let more = [
        "bootstrap",
        "--organization",
        "acme",
        "--connection",
        "Entra",
        "--json",
        "--new-credentials",
    ];
    let again: Value = serde_json::from_str(&ok(&database, &more)).unwrap();
    assert_eq!(
        (&again["made"]["organization"], &again["made"]["connection"]),
        (&json!(false), &json!(false))
    );
    assert_eq!((&again["live"]["scim_tokens"], &again["live"]["api_keys"]), (&json!(2), &json!(2)));
    assert_eq!(
        (&again["organization"], &again["connection"]),
        (&made["organization"], &made["connection"])
    );
    assert_ne!(again["scim"]["token"], made["scim"]["token"]);
    assert_ne!(again["graphql"]["api_key"], made["graphql"]["api_key"]);
    assert_eq!(again["graphql"]["other_live_keys"], 1);
    let end = |made: &Value| {
        made["graphql"]["api_key_expires_at"].as_str().unwrap().parse::<DateTime<Utc>>().unwrap()
    };
    #[allow(
        clippy::disallowed_methods,
        reason = "what the program of another process has said is compared with now"
    )]
    let now = Utc::now();
    let days = |made: &Value| (end(made) - now).num_hours() as f64 / 24.0;
    assert!((days(&made) - 30.0).abs() < 1.0, "{made}");
    let longer = [more.as_slice(), &["--key-days", "90"]].concat();
    let longer: Value = serde_json::from_str(&ok(&database, &longer)).unwrap();
    assert!((days(&longer) - 90.0).abs() < 1.0, "{longer}");
    let server = Server::start(&database).await;
    for bootstrapped in [&made, &again] {
        server.scim(bootstrapped).get("/Users").await.is(200);
    }
    // Another connection gets credentials of its own.
    let text = ok(
        &database,
        &["bootstrap", "--organization", "acme", "--connection", "Okta", "--provider", "OKTA"],
    );
    assert!(text.contains("SCIM token") && !text.contains('{'));
    assert!(text.contains("acme (found)") && text.contains("Okta (made)"), "{text}");
    assert!(
        text.contains("SCIM tokens of the connection: 1, API keys of the organization: 4"),
        "{text}"
    );
    assert!(text.contains("ends on "), "{text}");
    database.drop().await;
}

#[tokio::test]
async fn bootstrap_works_beside_a_running_server() {
    let database = Database::empty().await;
    let server = Server::start(&database).await;
    let made = bootstrap(&database);
    let scim = server.scim(&made);
    let id = scim.user("ada").await;
    let more =
        ok(&database, &["bootstrap", "--organization", "acme", "--json", "--new-credentials"]);
    server.scim(&serde_json::from_str(&more).unwrap()).get(&format!("/Users/{id}")).await.is(200);
    let wrong = run(&database, &["bootstrap", "--organization", "Not A Slug", "--json"]);
    assert!(!wrong.status.success() && String::from_utf8_lossy(&wrong.stderr).contains("slug"));
    database.drop().await;
}

#[tokio::test]
async fn bad_configuration_prints_one_line() {
    let database = Database::empty().await;
    let with = |args: &[&str], settings: &[(&str, &str)]| {
        let mut command = rolecall(&database, args);
        command.envs(settings.iter().copied());
        complaint(command, USAGE)
    };
    let failing = |args: &[&str], settings: &[(&str, &str)]| {
        let mut command = rolecall(&database, args);
        command.envs(settings.iter().copied());
        complaint(command, FAILURE)
    };
    for url in ["mysql://localhost/x", "/var/lib/x.db", "sqlite://", "sqlite://:memory:", ""] {
        assert!(with(&["serve"], &[("ROLECALL_DATABASE_URL", url)]).contains("sqlite://"), "{url}");
    }
    for url in ["sqlite:///proc/nowhere/x.db", "postgres://unknown:secret-word@127.0.0.1:1/x"] {
        let said = failing(&["serve"], &[("ROLECALL_DATABASE_URL", url)]);
        assert!(said.contains("cannot") && !said.contains("secret-word"), "{said}");
    }
    for url in [
        "nonsense",
        "ftp://example.com",
        "https://example.com/?x=1",
        "https://u:p@example.com",
        "//x",
    ] {
        assert!(with(&["serve", "--public-url", url], &[]).contains("--public-url"), "{url}");
    }
    for listen in ["nowhere", "127.0.0.1", "127.0.0.1:99999", "localhost"] {
        assert!(with(&["serve", "--listen", listen], &[]).contains("--listen"), "{listen}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    assert!(failing(&["serve", "--listen", &listen], &[]).contains(&listen));
    assert!(with(&["serve"], &[("ROLECALL_SCIM_ENABLED", "perhaps")]).contains("--scim-enabled"));
    let manifest = database.folder().join("operations.json");
    let flags = ["serve", "--graphql-operations", manifest.to_str().unwrap()];
    assert!(failing(&flags, &[]).contains("--graphql-operations"), "there is no such file");
    for text in [
        "",
        "{}",
        "[]",
        "{\"operations\": []}",
        "{\"abc\": \"{ __typename }\"}",
        "{\"operations\": [{\"id\": \"x\"}]}",
    ] {
        std::fs::write(&manifest, text).unwrap();
        assert!(failing(&flags, &[]).contains("--graphql-operations"), "{text}");
    }
    for key in ["short", "not base64 at all!", ""] {
        assert!(
            failing(&["serve"], &[("ROLECALL_MASTER_KEY", key)]).contains("ROLECALL_MASTER_KEY"),
            "{key}"
        );
    }
    let file = database.folder().join("issuers.json");
    for text in [
        "",
        "{}",
        r#"{ "issuers": [{ "issuer": "x", "audience": "x", "organizations": ["acme"] }] }"#,
    ] {
        std::fs::write(&file, text).unwrap();
        assert!(
            failing(&["serve"], &[("ROLECALL_ISSUERS", file.to_str().unwrap())])
                .contains("issuers.json"),
            "{text}"
        );
    }
    assert!(failing(&["serve", "--issuers", "nowhere.json"], &[]).contains("nowhere.json"));
    assert!(
        with(&["bootstrap", "--organization", "acme", "--provider", "ACME"], &[])
            .contains("--provider")
    );
    for origins in ["*", "null", "admin.example.com", "https://a.example/", "https://a.example:443"]
    {
        let said = with(&["serve", "--allow-origin", origins], &[]);
        assert!(said.contains("--allow-origin"), "{origins}: {said}");
        let said = with(&["serve"], &[("ROLECALL_ALLOW_ORIGIN", origins)]);
        assert!(said.contains("--allow-origin"), "{origins}: {said}");
    }
    for networks in ["10.0.0.0/40", "proxy.example", "0.0.0.0/0", "::/0"] {
        assert!(
            with(&["serve", "--trusted-proxies", networks], &[]).contains("--trusted-proxies"),
            "{networks}"
        );
    }
    for url in [
        "postgres://u:secret-word@db.example/x?sslmode=prefer",
        "postgres://u:secret-word@db.example/x?sslmode=allow",
    ] {
        let said = with(&["serve"], &[("ROLECALL_DATABASE_URL", url)]);
        assert!(said.contains("sslmode=require") && !said.contains("secret-word"), "{said}");
    }
    let both = [("ROLECALL_MASTER_KEY", MASTER_KEY), ("ROLECALL_MASTER_KEY_FILE", "master.key")];
    assert!(with(&["serve"], &both).contains("--master-key-file"));
    for url in ["acme", "ftp://127.0.0.1/scim", "scim.example:80/x", ""] {
        let said = with(&["simulate", "--token", "x", "--base-url", url], &[]);
        assert!(said.contains("--base-url"), "{said}");
    }
    assert!(with(&["bootstrap", "--organization", "No Slug"], &[]).contains("slug"));
    bootstrap(&database);
    assert!(with(&["keys", "rotate", "prepare"], &[]).contains("--new-master-key-file"));
    assert!(
        failing(&["audit", "verify", "--organization", "elsewhere"], &[]).contains("elsewhere")
    );
    database.drop().await;
}

#[tokio::test]
async fn another_master_key_is_refused() {
    let database = Database::empty().await;
    bootstrap(&database);
    let file = database.folder().join("master.key");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let key = std::fs::read_to_string(&file).unwrap();
    assert_eq!(ok(&database, &["migrate"]), "the database is up to date\n");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), key);

    let mut other = rolecall(&database, &["serve"]);
    other.env("ROLECALL_MASTER_KEY", MASTER_KEY);
    let said = complaint(other, FAILURE);
    assert!(said.contains("another master key"), "{said}");
    std::fs::remove_file(&file).unwrap();
    assert!(complaint(rolecall(&database, &["serve"]), FAILURE).contains("master key"));
    assert!(!file.exists(), "a lost key is not replaced by a new one");
    let mut same = rolecall(&database, &["audit", "verify"]);
    assert!(same.env("ROLECALL_MASTER_KEY", key.trim()).output().unwrap().status.success());
    database.drop().await;
}

#[tokio::test]
async fn verify_finds_changes_made_by_sql() {
    let database = Database::empty().await;
    let made = bootstrap(&database);
    let mut server = Server::start(&database).await;
    let scim = server.scim(&made);
    scim.user("ada").await;
    let id = scim.user("ben").await;
    scim.user("cyd").await;
    server.terminate();
    assert_eq!(server.exit_code().await, Some(0));
    let intact = ok(&database, &["audit", "verify"]);
    assert_eq!(ok(&database, &["audit", "verify", "--organization", "acme"]), intact);
    assert!(intact.starts_with("acme: intact, ") && !intact.contains("not sealed"), "{intact}");

    let db = Connections::connect(database.url.as_str()).await.unwrap();
    // On PostgreSQL the chain is a table of its own.
    let (wrong_hash, links) = match crate::database::on_postgres() {
        true => ("'\\x00'::bytea", "chain"),
        false => ("x'00'", "event"),
    };
    let subject = sea_orm::Value::from(id);
    let forgeries = [
        ("event", "payload = replace(payload, 'ben', 'eve')".to_owned()),
        ("event", "action = 'user.deleted'".into()),
        ("event", "actor_id = 'another one'".into()),
        ("event", "actor_name = 'another one'".into()),
        ("event", format!("digest = {wrong_hash}")),
        (links, format!("hash = {wrong_hash}")),
        (links, "seq = seq + 100".into()),
        ("event", "payload = NULL".into()),
    ];
    for table in BTreeSet::from(["event", links]) {
        let copy = format!("CREATE TABLE {table}_before AS SELECT * FROM {table}");
        db.execute_unprepared(&copy).await.unwrap();
    }
    let write = async |table: &str, what: String| {
        let text = format!(
            "UPDATE {table} SET {what} WHERE pos IN (SELECT pos FROM event WHERE subject_id = $1)"
        );
        let statement = sea_orm::Statement::from_sql_and_values(
            db.get_database_backend(),
            text,
            [subject.clone()],
        );
        db.execute_raw(statement).await.unwrap();
    };
    for (table, forgery) in forgeries {
        write(table, forgery.clone()).await;
        let verdict = run(&database, &["audit", "verify"]);
        assert!(!verdict.status.success(), "{forgery}");
        assert!(String::from_utf8_lossy(&verdict.stdout).starts_with("acme: BROKEN"), "{forgery}");
        let forged = forgery.split(' ').next().unwrap_or_default();
        write(
            table,
            format!("{forged} = (SELECT {forged} FROM {table}_before b WHERE b.pos = {table}.pos)"),
        )
        .await;
        assert_eq!(ok(&database, &["audit", "verify"]), intact);
    }
    db.execute_unprepared("DELETE FROM event WHERE pos = (SELECT max(pos) FROM event)")
        .await
        .unwrap();
    assert!(!run(&database, &["audit", "verify"]).status.success(), "the newest row is missing");
    db.close().await.unwrap();
    database.drop().await;
}

#[tokio::test]
async fn stopping_server_finishes_its_requests() {
    let database = Database::empty().await;
    let made = bootstrap(&database);
    let mut server = Server::start(&database).await;
    assert_eq!(reqwest::get(format!("{}/healthz", server.address)).await.unwrap().status(), 200);
    let body = r#"{"userName": "ada"}"#;
    let head = format!(
        "POST /scim/v2/acme/Users HTTP/1.1\r\nhost: x\r\nauthorization: Bearer \
         {}\r\ncontent-length: {}\r\n\r\n",
        made["scim"]["token"].as_str().unwrap(),
        body.len()
    );
    let mut slow =
        tokio::net::TcpStream::connect(server.address.trim_start_matches("http://")).await.unwrap();
    slow.write_all(head.as_bytes()).await.unwrap();
    slow.write_all(&body.as_bytes()[..5]).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    server.terminate();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(
        reqwest::get(format!("{}/healthz", server.address)).await.is_err(),
        "new connections are refused"
    );
    slow.write_all(&body.as_bytes()[5..]).await.unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert_eq!(server.exit_code().await, Some(0));
    let log = database.folder().join("rolecall.db-wal");
    assert!(!log.exists(), "SQLite's file is complete without its log");
    let server = Server::start(&database).await;
    let found = server.scim(&made).get("/Users?filter=userName%20eq%20%22ada%22").await.is(200);
    assert_eq!(found.body["totalResults"], 1);
    database.drop().await;
}

#[tokio::test]
async fn schema_command_prints_schema_graphql() {
    let database = Database::empty().await;
    let published = include_str!("../../schema.graphql");
    assert_eq!(
        ok(&database, &["schema"]),
        published,
        "schema.graphql is stale: rolecall schema > schema.graphql"
    );
    database.drop().await;
}

#[tokio::test]
async fn manifest_allows_only_listed_operations() {
    let database = Database::empty().await;
    let made = bootstrap(&database);
    let listed = "{ organization { slug } }";
    let hash = "2e954b0cc9fcf156cfcc7c0acd005871aa636b0cf5edbab7917cba0841231603";
    let manifest = database.folder().join("operations.json");
    let apollo = json!([{ "id": hash, "name": "Slug", "type": "query", "body": listed }]);
    for text in [
        json!({ hash: listed }),
        json!({ "format": "apollo-persisted-query-manifest", "operations": apollo }),
    ] {
        std::fs::write(&manifest, text.to_string()).unwrap();
        let settings = [("ROLECALL_GRAPHQL_OPERATIONS", manifest.to_str().unwrap())];
        let server = Server::begin(&database, &settings);
        server.ready().await;
        let ask = async |body: Value| {
            let request = reqwest::Client::new().post(format!("{}/graphql", server.address));
            let request = request.bearer_auth(made["graphql"]["api_key"].as_str().unwrap());
            let request = request.header("content-type", "application/json").body(body.to_string());
            Answer::of(request.send().await.unwrap()).await.is(200).body
        };
        let named = ask(json!({ "documentId": format!("sha256:{hash}") })).await;
        assert_eq!(named["data"]["organization"]["slug"], "acme", "{named:#}");
        assert_eq!(ask(json!({ "query": listed })).await["data"], named["data"]);
        let other = ask(json!({ "query": "{ organization { name } }" })).await;
        assert_eq!(other["errors"][0]["extensions"]["code"], "OPERATION_NOT_ALLOWED");
    }
    database.drop().await;
}
