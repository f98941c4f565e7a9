//! Conventions of the command line: JSON for scripts, completions, no colors in files, addresses as
//! people write them, and errors that name their cause.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, Database as Connections};
use serde_json::Value;

use crate::database::Database;
use crate::process::{Server, bootstrap, ok, rolecall, run};

fn parse(text: &str) -> Value {
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn audit_commands_print_json() {
    let database = Database::empty().await;
    bootstrap(&database);
    let verified = parse(&ok(&database, &["audit", "verify", "--json"]));
    assert_eq!(verified["intact"], true);
    let ledger = &verified["organizations"][0];
    assert_eq!(ledger["organization"], "acme");
    assert_eq!((&ledger["intact"], &ledger["fault"]), (&true.into(), &Value::Null));
    assert_eq!(ledger["sealed"], verified["events"]);
    assert_eq!(ledger["signed"]["sequence"], ledger["sealed"]);

    // A checkpoint of another organization says nothing about this one.
    ok(&database, &["bootstrap", "--organization", "globex"]);
    let file = database.folder().join("checkpoint");
    let checkpoint = ok(&database, &["audit", "checkpoint", "--organization", "acme"]);
    std::fs::write(&file, checkpoint).unwrap();
    let file = file.to_str().unwrap();
    let verified = parse(&ok(&database, &["audit", "verify", "--json", "--attestation", file]));
    assert_eq!(verified["organizations"][0]["attested_sequence"], ledger["sealed"]);
    assert_eq!(verified["organizations"][1]["attested_sequence"], Value::Null);

    let key = ok(&database, &["audit", "key"]);
    let key = format!("--key={}", key.trim());
    let checked = parse(&ok(&database, &["audit", "check", file, &key, "--json"]));
    assert_eq!(checked["genuine"], true);
    assert_eq!(checked["claims"]["organization"], "acme");
    assert_eq!(checked["claims"]["sequence"], ledger["sealed"]);

    // A broken chain is printed, and is a failure, too.
    let db = Connections::connect(database.url.as_str()).await.unwrap();
    db.execute_unprepared("UPDATE event SET actor_name = 'another one'").await.unwrap();
    db.close().await.unwrap();
    let output = run(&database, &["audit", "verify", "--json", "--organization", "acme"]);
    assert_eq!(output.status.code(), Some(1));
    let verified = parse(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(verified["intact"], false);
    assert_eq!(verified["organizations"][0]["intact"], false);
    assert!(verified["organizations"][0]["fault"].is_string(), "{verified}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, "error: 1 of 1 chains are broken\n");
    database.drop().await;
}

#[tokio::test]
async fn keys_commands_print_json() {
    let database = Database::empty().await;
    bootstrap(&database);
    let made = parse(&ok(&database, &["keys", "rotate-signing", "--at-once", "--json"]));
    let listed = parse(&ok(&database, &["keys", "public", "--json"]));
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!(listed[0]["signs_from"], made["signs_from"]);
    let text = ok(&database, &["keys", "public"]);
    let first: Vec<_> = text.lines().next().unwrap().split(' ').take(2).collect();
    assert_eq!(listed[0]["id"], first[0]);
    assert_eq!(listed[0]["public_key"], first[1]);

    let key = database.folder().join("next.key");
    let key = ["--new-master-key-file", key.to_str().unwrap()];
    ok(&database, &[&["keys", "rotate", "prepare"][..], &key].concat());
    let finish = [&["keys", "rotate", "finish", "--json"][..], &key].concat();
    let finished = parse(&ok(&database, &finish));
    assert_eq!(finished["data_keys"], 1, "one organization");
    assert!(finished["signing_keys"].as_u64() >= Some(1), "{finished}");
    database.drop().await;
}

#[tokio::test]
async fn localhost_needs_no_scheme() {
    let database = Database::empty().await;
    let made = bootstrap(&database);
    let server = Server::begin_on(&database, "localhost", &[]);
    server.ready().await;
    let url = format!("{}/scim/v2/acme", server.address.trim_start_matches("http://"));
    let args = [
        "simulate",
        "--json",
        "--base-url",
        &url,
        "--token",
        made["scim"]["token"].as_str().unwrap(),
        "--users",
        "5",
        "--movers",
        "0",
        "--leavers",
        "1",
    ];
    let output = run(&database, &args);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.starts_with(&format!("connecting to http://{url}\n")), "{said}");
    assert!(said.contains("\nhired 5/5\n") && !said.contains('\u{1b}'), "{said:?}");
    let report = parse(&String::from_utf8(output.stdout).unwrap());
    assert_eq!((&report["created"], &report["left"]), (&5.into(), &1.into()));
    assert_eq!(report["refused"], Value::Array(Vec::new()));
    assert!(report["elapsed_seconds"].as_f64() > Some(0.0), "{report}");

    let shown = ok(
        &database,
        &["bootstrap", "--organization", "globex", "--public-url", "localhost:8080/pp"],
    );
    assert!(shown.contains("http://localhost:8080/pp/scim/v2/globex"), "{shown}");
    database.drop().await;
}

#[tokio::test]
async fn simulation_errors_name_their_cause() {
    let database = Database::empty().await;
    let made = bootstrap(&database);
    let server = Server::start(&database).await;
    let simulate = |base_url: &str, token: &str| {
        let output = run(&database, &["simulate", "--base-url", base_url, "--token", token]);
        assert_eq!(output.status.code(), Some(1), "{base_url}");
        let said = String::from_utf8(output.stderr).unwrap();
        let error = said.lines().last().unwrap().to_owned();
        assert!(error.starts_with("error: "), "{said}");
        error
    };
    let token = made["scim"]["token"].as_str().unwrap();
    let right = format!("{}/scim/v2/acme", server.address);
    let said = simulate(&right, "rcs_wrong");
    assert!(said.contains("refused the token") && said.contains("401"), "{said}");
    assert!(!said.contains("base-url") && !said.contains("rcs_wrong"), "{said}");
    for wrong in ["/scim/v3/acme", "/scim/v2/globex", ""] {
        let said = simulate(&format!("{}{wrong}", server.address), token);
        assert!(said.contains("no SCIM server at") && said.contains("--base-url"), "{said}");
        assert!(!said.contains("token"), "{said}");
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let said = simulate(&format!("http://{free}/scim/v2/acme"), token);
    assert!(said.contains(&format!("nothing listens at {free}")), "{said}");
    database.drop().await;
}

#[tokio::test]
async fn completions_exist_for_each_shell() {
    let database = Database::empty().await;
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = ok(&database, &["completions", shell]);
        for word in ["rolecall", "bootstrap", "rotate-signing", "new-credentials"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let script = ok(&database, &["completions", "bash"]);
    let test = format!(
        "{script}\nCOMP_WORDS=(rolecall aud); COMP_CWORD=1; _rolecall rolecall aud rolecall\n\
         printf %s \"${{COMPREPLY[*]}}\""
    );
    let completed = Command::new("bash").args(["-c", &test]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&completed.stdout), "audit", "{completed:?}");
    assert_eq!(run(&database, &["completions", "csh"]).status.code(), Some(2));
    database.drop().await;
}

#[tokio::test]
async fn log_file_has_no_colors() {
    let database = Database::empty().await;
    let log = database.folder().join("log");
    let mut command = rolecall(&database, &["serve"]);
    command.env("ROLECALL_LOG", "info").env_remove("NO_COLOR").stdout(Stdio::null());
    let mut child = command.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
    let began = Instant::now();
    let text = loop {
        let text = std::fs::read_to_string(&log).unwrap();
        if text.contains("ready") || began.elapsed() > Duration::from_secs(30) {
            break text;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(text.contains("ready") && !text.contains('\u{1b}'), "{text:?}");
    database.drop().await;
}
