//! A 2xx answer means that the change is on the disk: the server is killed while it works, and no
//! acknowledged change is lost.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::database::Database;
use crate::process::{Server, bootstrap, ok};
use crate::world::Scim;

/// What one client did to one account: how many steps it began, and how many were acknowledged.
#[derive(Debug)]
struct Life {
    id: Uuid,
    begun: usize,
    acknowledged: usize,
}

const JOINED: usize = 1;
const SUSPENDED: usize = 2;
const DELETED: usize = 3;

/// Creates accounts, adds them to a group, suspends them and deletes every second one, until the
/// server is gone.
async fn work(scim: Scim, group: Uuid, client: String, writes: Arc<AtomicUsize>) -> Vec<Life> {
    let mut lives = Vec::new();
    for n in 0.. {
        let name = format!("{client}-{n}");
        let body = json!({ "userName": name, "externalId": name });
        let Some(id) = attempt(&scim, "POST", "/Users", Some(body), 201).await else { break };
        writes.fetch_add(1, Ordering::Relaxed);
        lives.push(Life { id, begun: 0, acknowledged: 0 });
        let life = lives.last_mut().unwrap();
        let join = crate::world::patch(
            json!([{ "op": "add", "path": "members", "value": [{ "value": id }] }]),
        );
        let suspend =
            crate::world::patch(json!([{ "op": "replace", "path": "active", "value": false }]));
        let steps = [
            ("PATCH", format!("/Groups/{group}?attributes=displayName"), Some(join), 200),
            ("PATCH", format!("/Users/{id}"), Some(suspend), 200),
            ("DELETE", format!("/Users/{id}"), None, 204),
        ];
        for (method, path, body, status) in steps.into_iter().take(if n % 2 == 0 { 3 } else { 2 }) {
            life.begun += 1;
            if attempt(&scim, method, &path, body, status).await.is_none() {
                return lives;
            }
            life.acknowledged += 1;
            writes.fetch_add(1, Ordering::Relaxed);
        }
    }
    lives
}

/// The id in the answer, or the nil id if it has none; `None` when the server is gone.
async fn attempt(
    scim: &Scim,
    method: &str,
    path: &str,
    body: Option<serde_json::Value>,
    status: u16,
) -> Option<Uuid> {
    let request =
        scim.request(method.parse().unwrap(), path).header("content-type", "application/scim+json");
    let response =
        request.body(body.map(|body| body.to_string()).unwrap_or_default()).send().await.ok()?;
    assert_eq!(response.status().as_u16(), status, "{method} {path}");
    // The status arrived, so the change was acknowledged, even if the body was cut off. The id is
    // not known then.
    let body: serde_json::Value =
        serde_json::from_str(&response.text().await.ok()?).unwrap_or_default();
    Some(body["id"].as_str().map_or(Uuid::nil(), |id| id.parse().unwrap()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_server_keeps_acknowledged_writes() {
    let database = Database::empty().await;
    let bootstrapped = bootstrap(&database);
    let mut server = Server::start(&database).await;
    let group = server.scim(&bootstrapped).group("Ward", &[]).await;
    let mut lives = Vec::new();
    for round in 0..2 {
        let writes = Arc::new(AtomicUsize::new(0));
        let client =
            |n| work(server.scim(&bootstrapped), group, format!("r{round}c{n}"), writes.clone());
        let clients: Vec<_> = (0..8).map(|n| tokio::spawn(client(n))).collect();
        let started = Instant::now();
        while writes.load(Ordering::Relaxed) < 100 {
            assert!(started.elapsed() < Duration::from_secs(60), "{writes:?} writes in a minute");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.kill();
        for client in clients {
            lives.extend(client.await.unwrap());
        }
        server = Server::start(&database).await;
    }

    let scim = server.scim(&bootstrapped);
    let members: HashSet<Uuid> = scim.members(group).await.into_iter().collect();
    for life in &lives {
        let answer = scim.get(&format!("/Users/{}", life.id)).await;
        if life.acknowledged >= DELETED {
            answer.refused(404, None);
            assert!(!members.contains(&life.id));
        } else if life.begun < DELETED {
            let answer = answer.is(200);
            assert!(life.acknowledged < SUSPENDED || answer.body["active"] == false, "{life:?}");
            assert!(life.begun >= SUSPENDED || answer.body["active"] == true, "{life:?}");
            assert!(life.acknowledged < JOINED || members.contains(&life.id), "{life:?}");
        }
    }
    // The server accepts writes again.
    let new = scim.user("afterwards").await;
    scim.patch(
        &format!("/Groups/{group}"),
        json!([{ "op": "replace", "path": "members", "value": [{ "value": new }] }]),
    )
    .await
    .is(200);
    server.terminate();
    assert_eq!(server.exit_code().await, Some(0));
    let verdict = ok(&database, &["audit", "verify"]);
    let events: usize = verdict.split(' ').nth(2).unwrap().parse().unwrap();
    let written: usize = lives.iter().map(|life| 1 + life.acknowledged).sum();
    assert!(
        verdict.starts_with("acme: intact, ") && events >= written,
        "{written} writes, but {verdict}"
    );
    database.drop().await;
}

/// Connections of the deletion, each with so many accounts: a batch is of one connection.
const OWNERS: usize = 12;
const ACCOUNTS_OF_EACH: usize = 6;

async fn ask(server: &Server, bootstrapped: &Value, query: &str, variables: Value) -> Value {
    let request = reqwest::Client::new()
        .post(format!("{}/graphql", server.address))
        .bearer_auth(bootstrapped["graphql"]["api_key"].as_str().unwrap())
        .header("content-type", "application/json")
        .body(json!({ "query": query, "variables": variables }).to_string());
    let answer: Value =
        serde_json::from_str(&request.send().await.unwrap().text().await.unwrap()).unwrap();
    assert!(answer["errors"].is_null(), "{answer:#}");
    answer["data"].clone()
}

async fn number(db: &DatabaseConnection, sql: &str) -> i64 {
    let statement = Statement::from_string(db.get_database_backend(), sql);
    db.query_one_raw(statement).await.unwrap().unwrap().try_get_by_index(0).unwrap()
}

/// Creates the accounts of one further connection.
async fn provision(server: &Server, bootstrapped: &Value, owner: usize) {
    let make =
        "mutation($n: String!) { connectionCreate(input: { name: $n }) { connection { id } } }";
    let made = ask(server, bootstrapped, make, json!({ "n": format!("Owner {owner}") })).await;
    let issue = "mutation($c: ID!) { scimTokenIssue(input: { connectionId: $c }) { secret } }";
    let connection = made["connectionCreate"]["connection"]["id"].clone();
    let issued = ask(server, bootstrapped, issue, json!({ "c": connection })).await;
    let token = issued["scimTokenIssue"]["secret"].as_str().unwrap();
    let scim = Scim::new(&format!("{}/scim/v2/acme", server.address), token);
    for n in 0..ACCOUNTS_OF_EACH {
        scim.user(&format!("o{owner}n{n}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_deletion_is_completed_once() {
    let database = Database::empty().await;
    let bootstrapped = bootstrap(&database);
    let mut server = Server::start(&database).await;
    for owner in 0..OWNERS {
        provision(&server, &bootstrapped, owner).await;
    }
    let db = sea_orm::Database::connect(&database.url).await.unwrap();
    let total = (OWNERS * ACCOUNTS_OF_EACH) as i64;
    let delete = "mutation($n: Int!) { provisionedUsersDelete(input: { confirmCount: $n }) {
        job { id } userErrors { message } } }";
    let begun = ask(&server, &bootstrapped, delete, json!({ "n": total })).await;
    let job = begun["provisionedUsersDelete"]["job"]["id"].clone();
    assert!(job.is_string(), "{begun:#}");
    let started = Instant::now();
    while number(&db, "SELECT done FROM deletion_job").await == 0 {
        assert!(started.elapsed() < Duration::from_secs(30), "nothing is deleted");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    server.kill();
    let done = number(&db, "SELECT done FROM deletion_job").await;
    assert!(0 < done && done < total, "killed after {done} of {total}");
    let erased = "SELECT count(*) FROM \"user\" WHERE purged_at IS NOT NULL";
    assert_eq!(number(&db, erased).await, done, "a batch is counted with its transaction");
    // The lease of the killed server ends.
    db.execute_unprepared("UPDATE deletion_job SET until = created_at").await.unwrap();

    let mut server = Server::start(&database).await;
    let look = "query($j: ID!) { node(id: $j) { ... on DeletionJob { state counts { deleted failed } } } }";
    let ended = loop {
        let seen = ask(&server, &bootstrapped, look, json!({ "j": job })).await["node"].clone();
        if seen["state"] == "SUCCEEDED" {
            break seen;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{seen:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(ended["counts"], json!({ "deleted": total, "failed": 0 }));
    assert_eq!(number(&db, erased).await, total);
    // Each account is in one event: as many are listed as there are, and none twice.
    let statement = Statement::from_string(
        db.get_database_backend(),
        "SELECT payload FROM event WHERE action = 'users.deleted_all'",
    );
    let mut listed = Vec::new();
    for row in db.query_all_raw(statement).await.unwrap() {
        let payload: String = row.try_get_by_index(0).unwrap();
        let payload: Value = serde_json::from_str(&payload).unwrap();
        let ids = payload["before"]["ids"].as_array().unwrap().clone();
        listed.extend(ids.into_iter().map(|id| id.as_str().unwrap().to_owned()));
    }
    let different: HashSet<&String> = listed.iter().collect();
    assert_eq!((listed.len(), different.len()), (total as usize, total as usize));
    drop(db);
    server.terminate();
    assert_eq!(server.exit_code().await, Some(0));
    assert!(ok(&database, &["audit", "verify"]).starts_with("acme: intact, "));
    database.drop().await;
}
