//! One line of the access log for each request, without personal data; JSON where it is asked for.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::database::Database;
use crate::process::{Server, bootstrap};

/// Runs a server while it gets a few requests; returns what was bootstrapped and its log.
async fn log_of_requests(settings: &[(&str, &str)]) -> (Value, String) {
    let database = Database::empty().await;
    let made = bootstrap(&database);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut server = Server::begin_with_log(&database, settings, &path);
    server.ready().await;
    let scim = server.scim(&made);
    let person = json!({
        "userName": "ada.lovelace@example.com", "displayName": "Ada Lovelace",
        "emails": [{ "value": "countess@example.com", "primary": true }],
    });
    scim.send(reqwest::Method::POST, "/Users", Some(person), &[("x-request-id", REQUEST_ID)])
        .await
        .is(201);
    scim.get("/Users?filter=userName%20eq%20%22ada.lovelace%40example.com%22").await.is(200);
    scim.get("/Users/ada.lovelace@example.com").await.is(404);
    scim.with_token("rcs_nothing").get("/Groups").await.is(401);
    scim.get("/ada.lovelace@example.com").await.is(404);
    let http = reqwest::Client::new();
    let sent = http
        .post(format!("{}/graphql?name=Lovelace", server.address))
        .bearer_auth(made["graphql"]["api_key"].as_str().unwrap())
        .json(&json!({ "query": "{ viewer { organization { slug } } }" }))
        .send();
    assert_eq!(sent.await.unwrap().status(), 200);
    let elsewhere = http.get(format!("{}/Lovelace", server.address)).send().await.unwrap();
    assert_eq!(elsewhere.status(), 404);
    server.terminate();
    assert_eq!(server.exit_code().await, Some(0));
    let log = fs::read_to_string(&path).unwrap();
    database.drop().await;
    (made, log)
}

const REQUEST_ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

#[tokio::test(flavor = "multi_thread")]
async fn each_request_leaves_one_line() {
    let (made, log) = log_of_requests(&[("ROLECALL_LOG_FORMAT", "json")]).await;
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let access: Vec<&Value> = lines
        .iter()
        .filter(|line| line["target"] == "rolecall::access" && line["route"] != "/readyz")
        .collect();
    let said: Vec<String> = access
        .iter()
        .map(|line| {
            let word = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
            format!("{} {} {}", word("method"), word("route"), line["status"])
        })
        .collect();
    assert_eq!(
        said,
        [
            "POST /scim/v2/{slug}/Users 201",
            "GET /scim/v2/{slug}/Users 200",
            "GET /scim/v2/{slug}/Users/{id} 404",
            "GET /scim/v2/{slug}/Groups 401",
            "GET - 404",
            "POST /graphql 200",
            "GET - 404",
        ],
        "{log}"
    );
    let (created, sign_in, graphql) = (access[0], access[3], access[5]);
    assert_eq!(created["request_id"], REQUEST_ID);
    assert_eq!(created["level"], "INFO");
    assert!(created["duration_ms"].as_f64().unwrap() > 0.0, "{created}");
    assert!(created["bytes"].as_u64().unwrap() > 100, "{created}");
    for line in &access {
        line["request_id"].as_str().unwrap().parse::<Uuid>().unwrap();
    }
    let organization = &made["organization"]["id"];
    assert_eq!(
        (&created["organization_id"], &created["connection_id"]),
        (organization, &made["connection"]["id"])
    );
    assert_eq!(&graphql["organization_id"], organization);
    assert_eq!(
        (&graphql["connection_id"], &sign_in["organization_id"]),
        (&Value::Null, &Value::Null)
    );
    for personal in ["lovelace", "countess", "rcs_", "rck_"] {
        assert!(!log.to_lowercase().contains(personal), "{personal}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn file_gets_lines_without_colours() {
    let (made, log) = log_of_requests(&[]).await;
    assert!(!log.contains('\u{1b}'), "{log}");
    let line = log.lines().find(|line| line.contains(REQUEST_ID)).unwrap();
    let owner = format!(
        "request_id={REQUEST_ID} organization_id={} connection_id={}",
        made["organization"]["id"].as_str().unwrap(),
        made["connection"]["id"].as_str().unwrap()
    );
    assert!(line.contains(" INFO rolecall::access: ") && line.contains(&owner), "{line}");
    for personal in ["lovelace", "countess", "rcs_", "rck_"] {
        assert!(!log.to_lowercase().contains(personal), "{personal}: {log}");
    }
}

#[tokio::test]
async fn unread_log_blocks_no_request() {
    let database = Database::empty().await;
    bootstrap(&database);
    let (mut server, unread) = Server::begin_with_unread_log(&database);
    server.ready().await;
    let http = reqwest::Client::new();
    // A pipe holds 64 KiB: a few hundred lines.
    for _ in 0..1500 {
        let sent = http.get(format!("{}/readyz", server.address)).send();
        let answer = tokio::time::timeout(Duration::from_secs(5), sent).await;
        assert_eq!(answer.expect("the log holds up a request").unwrap().status(), 200);
    }
    server.terminate();
    assert_eq!(server.exit_code().await, Some(0));
    drop(unread);
    database.drop().await;
}
