//! Many operations in one file: a caller uploads a file of lines, the server runs them in the
//! background, and the caller fetches a file of results.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rolecall::auth::policy::{Actor, Permission, Permissions};
use rolecall::context::Cx;
use rolecall::context::local_issuer;
use rolecall::db::Store;
use rolecall::domain::access::api_key;
use rolecall::domain::bulk as jobs;
use rolecall::domain::bulk::NewLine;
use rolecall::domain::directory::{erasure, user};
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::database::Database;
use crate::process::{Server, bootstrap};
use crate::socket::Events;
use crate::walk::codes;
use crate::world::{Answer, Scim, Tenant, World};

const JOB: &str = "query($id: ID!) { organization { bulkJob(id: $id) {
    id state lineCount doneCount failedCount userErrors { message } resultUrl createdBy { kind name } startedAt endedAt } } }";

/// Uploads a file with the organization's key.
pub async fn upload(tenant: &Tenant, lines: impl Into<String>) -> Answer {
    upload_as(tenant, &tenant.api_key, "application/jsonl", lines.into()).await
}

async fn upload_as(
    tenant: &Tenant,
    credential: &str,
    content_type: &str,
    body: impl Into<reqwest::Body>,
) -> Answer {
    let url = tenant.graphql.replace("/graphql", "/bulk");
    let request = reqwest::Client::new()
        .post(url)
        .bearer_auth(credential)
        .header("content-type", content_type);
    Answer::of(request.body(body).send().await.unwrap()).await
}

async fn job(tenant: &Tenant, credential: &str, id: &str) -> Value {
    let answer = tenant.graphql_as(credential, &[], JOB, json!({ "id": id })).await.body;
    answer["data"]["organization"]["bulkJob"].clone()
}

/// The job once it has ended.
pub async fn ended(tenant: &Tenant, id: &str) -> Value {
    let started = Instant::now();
    loop {
        let job = job(tenant, &tenant.api_key, id).await;
        if !job["endedAt"].is_null() {
            return job;
        }
        assert!(started.elapsed() < Duration::from_secs(180), "{job:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn id_of(answer: &Answer) -> String {
    answer.body["bulkJob"]["id"].as_str().unwrap_or_else(|| panic!("{:#}", answer.body)).to_owned()
}

async fn fetch(tenant: &Tenant, credential: &str, id: &str) -> reqwest::Response {
    let url = tenant.graphql.replace("/graphql", &format!("/bulk/{id}/result.jsonl"));
    reqwest::Client::new().get(url).bearer_auth(credential).send().await.unwrap()
}

/// The lines of the file of results.
async fn results(tenant: &Tenant, id: &str) -> Vec<Value> {
    let response = fetch(tenant, &tenant.api_key, id).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/jsonl");
    response.text().await.unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn line(operation: &str, input: Value) -> String {
    json!({ "operation": operation, "input": input }).to_string()
}

fn people(from: usize, to: usize) -> String {
    (from..to)
        .map(|n| line("userCreate", json!({ "userName": format!("nurse.{n}") })) + "\n")
        .collect()
}

pub async fn key_with(world: &World, permissions: &[Permission]) -> api_key::IssuedKey {
    api_key::issue_key(&world.system(), "some", permissions.iter().copied().collect(), None)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_run_in_order_with_results() {
    let world = World::new().await;
    let before = world.count("event", []).await;
    let mut lines = vec![
        line("roleCreate", json!({ "name": "Nurse", "permissions": ["charts:read"] })),
        String::new(),
    ];
    lines.extend((0..1_600).map(|n| {
        line(
            "userCreate",
            json!({ "userName": format!("nurse.{n}"), "emails": [{ "value": format!("n{n}@acme.example") }] }),
        )
    }));
    lines.extend(
        (0..200).map(|n| line("groupCreate", json!({ "displayName": format!("Ward {n}") }))),
    );
    // The same names again, in another case: they are taken.
    lines.extend((0..193).map(|n| line("userCreate", json!({ "userName": format!("NURSE.{n}") }))));
    let garbage = [
        ("not json", "BAD_USER_INPUT"),
        ("{\"operation\": \"userCreate\"}", "BAD_USER_INPUT"),
        ("{\"operation\": \"userCreate\", \"input\": {}, \"more\": 1}", "BAD_USER_INPUT"),
        ("{\"operation\": \"userBurn\", \"input\": {}}", "GRAPHQL_VALIDATION_FAILED"),
        (
            "{\"operation\": \"userCreate\", \"input\": {\"userName\": 7}}",
            "GRAPHQL_VALIDATION_FAILED",
        ),
        (
            "{\"operation\": \"userCreate\", \"input\": {\"userName\": \"a\\u0000b\"}}",
            "BAD_USER_INPUT",
        ),
        (
            "{\"operation\": \"apiKeyIssue\", \"input\": {\"name\": \"x\", \"permissions\": []}}",
            "BAD_USER_INPUT",
        ),
    ];
    lines.extend(garbage.iter().map(|(line, _)| (*line).to_owned()));
    let answer = upload(&world.acme, lines.join("\r\n")).await.is(202);
    assert_eq!(answer.body["bulkJob"]["lineCount"], 2_001, "{:#}", answer.body);
    let id = id_of(&answer);
    let job = ended(&world.acme, &id).await;
    assert_eq!(
        (&job["state"], &job["lineCount"], &job["doneCount"]),
        (&json!("SUCCEEDED"), &json!(2_001), &json!(2_001))
    );
    assert_eq!(job["failedCount"], 200, "{job:#}");
    assert_eq!(job["createdBy"]["kind"], "API_KEY");

    let results = results(&world.acme, &id).await;
    let numbers: Vec<i64> = results.iter().map(|result| result["line"].as_i64().unwrap()).collect();
    assert_eq!(
        numbers,
        std::iter::once(1).chain(3..=2_002).collect::<Vec<_>>(),
        "blank lines are counted and skipped"
    );
    assert_eq!(results[0]["operation"], "roleCreate");
    assert!(results[0]["payload"]["role"]["id"].is_string(), "{:#}", results[0]);
    assert_eq!(results[0]["payload"]["userErrors"], json!([]));
    for taken in &results[1_801..1_994] {
        let mistake = &taken["payload"]["userErrors"][0];
        assert_eq!(
            (&mistake["code"], &mistake["path"]),
            (&json!("TAKEN"), &json!(["input", "userName"])),
            "{taken:#}"
        );
        assert_eq!(mistake["message"], "userName is already in use");
        assert!(taken["payload"]["user"].is_null());
    }
    for (result, (line, code)) in results[1_994..].iter().zip(garbage) {
        assert_eq!(result["errors"][0]["code"], code, "{line}: {result:#}");
        assert!(
            result["errors"][0]["message"].as_str().is_some_and(|words| words.len() > 8),
            "{result:#}"
        );
    }
    // Each change is in the ledger, with the request id that the result names and the caller that
    // uploaded the file.
    assert_eq!(world.count("\"user\" WHERE connection_id IS NULL", []).await, 1_600);
    assert_eq!(world.count("\"group\"", []).await, 200);
    assert_eq!(world.count("api_key", []).await, 1);
    let rows = world.rows(
        "SELECT action, actor_kind FROM event WHERE request_id = $1",
        [results[1]["requestId"].as_str().unwrap().parse::<Uuid>().unwrap().into()],
    );
    assert_eq!(rows.await, [json!({ "action": "user.created", "actor_kind": "API_KEY" })]);
    assert_eq!(world.count("event", []).await, before + 1_801 + 2, "and two for the job itself");
    // The input is not kept.
    assert_eq!(
        world.count("bulk_line WHERE input IS NOT NULL OR user_id IS NOT NULL", []).await,
        0
    );
    assert_eq!(world.count("bulk_line WHERE result LIKE '%nurse%'", []).await, 0);
    // A month after its end the job is deleted together with its results.
    world.days_pass(31);
    rolecall::domain::bulk::forget_expired_jobs(&world.app).await.unwrap();
    assert_eq!(world.count("bulk_job", []).await + world.count("bulk_line", []).await, 0);
    world.end().await;
}

#[tokio::test]
async fn cancelled_job_leaves_the_rest_undone() {
    let world = World::new().await;
    let id = id_of(&upload(&world.acme, people(0, 20_000)).await.is(202));
    let query = "subscription($id: ID!) { jobProgress(id: $id) { state progress { done } } }";
    let body = json!({ "query": query, "variables": { "id": id } });
    let mut events = Events::post(&world.address, &world.acme.api_key, body).await;
    let mut heard = vec![];
    let cancel = "mutation($id: ID!) { bulkJobCancel(input: { id: $id }) { bulkJob { state } \
                  userErrors { code } } }";
    while let Some((name, answer)) = events.next().await {
        if name == "complete" {
            break;
        }
        let progress = answer["data"]["jobProgress"].clone();
        let done = progress["progress"]["done"].as_i64().unwrap_or_else(|| panic!("{answer:#}"));
        if done > 0 && !heard.iter().any(|(_, done)| *done > 0) {
            let answer = world.graphql(cancel, json!({ "id": id })).await;
            assert_eq!(
                answer["data"]["bulkJobCancel"]["bulkJob"]["state"], "CANCELLING",
                "{answer:#}"
            );
        }
        heard.push((progress["state"].as_str().unwrap().to_owned(), done));
    }
    assert!(heard.is_sorted_by_key(|(_, done)| *done), "{heard:?}");
    assert_eq!(heard.last().unwrap().0, "CANCELLED");
    let job = ended(&world.acme, &id).await;
    let done = job["doneCount"].as_i64().unwrap();
    assert!((1..20_000).contains(&done), "{job:#}");
    assert_eq!(world.count("\"user\"", []).await, done);
    assert_eq!(results(&world.acme, &id).await.len() as i64, done);
    assert_eq!(world.count("bulk_line", []).await, done, "what was not done is forgotten");
    let again = world.graphql(cancel, json!({ "id": id })).await;
    assert_eq!(again["data"]["bulkJobCancel"]["userErrors"][0]["code"], "HELD");
    let told = world
        .rows("SELECT action FROM event WHERE subject_kind = 'bulk_job' ORDER BY pos", [])
        .await;
    assert_eq!(
        told.iter().map(|row| row["action"].as_str().unwrap()).collect::<Vec<_>>(),
        ["bulk_job.created", "bulk_job.cancelled", "bulk_job.ended"]
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_server_runs_each_line_once() {
    let database = Database::empty().await;
    let made = bootstrap(&database);
    let mut server = Server::start(&database).await;
    let tenant = |server: &Server| Tenant {
        organization: Uuid::nil(),
        connection: Uuid::nil(),
        api_key: made["graphql"]["api_key"].as_str().unwrap().into(),
        scim: Scim::new(&server.address, ""),
        graphql: format!("{}/graphql", server.address),
    };
    // Two groups may have the same name, so a line that is done twice shows.
    let lines: String = (0..1_500)
        .map(|n| line("groupCreate", json!({ "displayName": format!("Ward {n}") })) + "\n")
        .collect();
    let id = id_of(&upload(&tenant(&server), lines).await.is(202));
    let mut seen = 0;
    for _ in 0..2 {
        let started = Instant::now();
        while job(&tenant(&server), &tenant(&server).api_key, &id).await["doneCount"]
            .as_i64()
            .unwrap()
            <= seen
        {
            assert!(started.elapsed() < Duration::from_secs(60), "no line is run");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        server.kill();
        // The lease of the dead run expires.
        let store = Store::open_database(&database.url).await.unwrap();
        store.write.execute_unprepared("UPDATE bulk_job SET until = created_at").await.unwrap();
        store.close().await;
        server = Server::start(&database).await;
        seen = job(&tenant(&server), &tenant(&server).api_key, &id).await["doneCount"]
            .as_i64()
            .unwrap();
        assert!(seen > 0 && seen < 1_500, "killed in the middle, after {seen}");
    }
    let tenant = tenant(&server);
    let job = ended(&tenant, &id).await;
    assert_eq!((&job["state"], &job["doneCount"]), (&json!("SUCCEEDED"), &json!(1_500)), "{job:#}");
    let results = results(&tenant, &id).await;
    assert_eq!(
        results.iter().map(|result| result["line"].as_i64().unwrap()).collect::<Vec<_>>(),
        (1..=1_500).collect::<Vec<_>>()
    );
    let lost = results.iter().filter(|result| result["errors"][0]["code"] == "RESULT_LOST").count();
    assert!(lost <= 2 && job["failedCount"] == lost, "{lost} lost: {job:#}");
    let count = "{ organization { groups(first: 1) { totalCount } events(first: 1, filter: { \
                 actions: [GROUP_CREATED] }) { totalCount } } }";
    let counted = tenant.graphql(count, json!({})).await["data"]["organization"].clone();
    assert_eq!(
        counted,
        json!({ "groups": { "totalCount": 1_500 }, "events": { "totalCount": 1_500 } })
    );
    server.terminate();
    assert_eq!(server.exit_code().await, Some(0));
    database.drop().await;
}

#[tokio::test]
async fn dead_runs_lines_are_not_repeated() {
    let world = World::new().await;
    let group = line("groupCreate", json!({ "displayName": "Ward 3" }));
    let id = id_of(&upload(&world.acme, group.clone()).await.is(202));
    ended(&world.acme, &id).await;
    // The state after a server died after the change and before the result …
    let undo = "UPDATE bulk_line SET result = NULL, failed = FALSE, input = $1";
    world.execute(undo, [group.clone().into_bytes().into()]).await;
    world
        .execute(
            "UPDATE bulk_job SET finished_at = NULL, expires_at = NULL, state = 'RUNNING', \
                  until = created_at",
            [],
        )
        .await;
    world.app.jobs.notify_one();
    assert_eq!(ended(&world.acme, &id).await["failedCount"], 1);
    assert_eq!(results(&world.acme, &id).await[0]["errors"][0]["code"], "RESULT_LOST");
    assert_eq!(world.count("\"group\"", []).await, 1);
    // … and before the change.
    world.execute(undo, [group.into_bytes().into()]).await;
    world.execute("UPDATE bulk_line SET request_id = $1", [Uuid::now_v7().into()]).await;
    world
        .execute(
            "UPDATE bulk_job SET finished_at = NULL, expires_at = NULL, state = 'RUNNING', \
                  until = created_at",
            [],
        )
        .await;
    world.app.jobs.notify_one();
    assert_eq!(ended(&world.acme, &id).await["failedCount"], 0);
    assert!(results(&world.acme, &id).await[0]["payload"]["group"]["id"].is_string());
    assert_eq!(world.count("\"group\"", []).await, 2);
    world.end().await;
}

#[tokio::test]
async fn permissions_are_checked_at_each_line() {
    let world = World::new().await;
    // A line needs the same permissions as its caller.
    let reader = key_with(&world, &[Permission::ReviewWrite]).await;
    let id = id_of(
        &upload_as(&world.acme, &reader.secret, "application/x-ndjson", people(0, 3)).await.is(202),
    );
    assert_eq!(ended(&world.acme, &id).await["failedCount"], 3);
    for result in results(&world.acme, &id).await {
        assert_eq!(result["errors"][0]["code"], "FORBIDDEN");
        assert!(
            result["errors"][0]["message"].as_str().unwrap().contains("USER_WRITE"),
            "{result:#}"
        );
    }
    assert_eq!(world.count("\"user\"", []).await, 0);

    // The key is revoked, or loses a permission, while the job runs.
    for (set, word) in [
        ("revoked_at = created_at", "revoked"),
        ("permissions = '[\"IAM_READ\"]'", "lost a permission"),
    ] {
        let writer = key_with(&world, &[Permission::UserWrite, Permission::IamRead]).await;
        let id = id_of(
            &upload_as(&world.acme, &writer.secret, "application/jsonl", people(0, 20_000))
                .await
                .is(202),
        );
        while job(&world.acme, &world.acme.api_key, &id).await["doneCount"] == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        world
            .execute(&format!("UPDATE api_key SET {set} WHERE id = $1"), [writer.key.id.into()])
            .await;
        let job = ended(&world.acme, &id).await;
        assert_eq!(job["state"], "FAILED");
        assert!(job["userErrors"][0]["message"].as_str().unwrap().contains(word), "{job:#}");
        assert!(job["doneCount"].as_i64().unwrap() < 20_000);
        assert_eq!(world.count("bulk_line WHERE result IS NULL", []).await, 0);
    }

    // A person's token is not stored; its permissions hold until the time at which it expires.
    let organizations =
        BTreeMap::from([("acme".to_owned(), Permissions::from([Permission::UserWrite]))]);
    let claims =
        local_issuer::IssuerClaims { subject: "ada".into(), organizations, ..Default::default() };
    let token = local_issuer::issue_token(&world.app, &claims, chrono::Duration::hours(1)).unwrap();
    let id = id_of(
        &upload_as(&world.acme, &token, "application/jsonl", people(30_000, 50_000)).await.is(202),
    );
    let own = job(&world.acme, &token, &id).await;
    assert!(["QUEUED", "RUNNING"].contains(&own["state"].as_str().unwrap()), "{own:#}");
    world.app.clock.advance(Duration::from_secs(2 * 60 * 60));
    let job = ended(&world.acme, &id).await;
    assert!(job["userErrors"][0]["message"].as_str().unwrap().contains("expired"), "{job:#}");
    world.end().await;
}

#[tokio::test]
async fn callers_see_only_their_own_jobs() {
    let world = World::new().await;
    let globex = world.second_organization().await;
    let mine = key_with(&world, &[Permission::UserWrite]).await.secret;
    let other = key_with(&world, &[Permission::UserWrite, Permission::UserRead]).await.secret;
    let reader = key_with(&world, &[Permission::IamRead]).await.secret;
    let id = id_of(&upload_as(&world.acme, &mine, "application/jsonl", people(0, 1)).await.is(202));
    ended(&world.acme, &id).await;
    let all = "{ organization { bulkJobs(first: 5) { totalCount nodes { id } } } }";
    let cancel = "mutation($id: ID!) { bulkJobCancel(input: { id: $id }) { userErrors { code } } }";
    for (credential, sees, code) in [
        (&mine, 1, "HELD"),
        (&reader, 1, "FORBIDDEN"),
        (&other, 0, "NOT_FOUND"),
        (&globex.api_key, 0, "NOT_FOUND"),
    ] {
        assert_eq!(job(&world.acme, credential, &id).await.is_null(), sees == 0);
        let listed = world.acme.graphql_as(credential, &[], all, json!({})).await.body;
        let jobs = &listed["data"]["organization"]["bulkJobs"];
        assert_eq!(jobs["totalCount"], sees, "{listed:#}");
        assert_eq!(jobs["nodes"].as_array().unwrap().len(), sees);
        let response = fetch(&world.acme, credential, &id).await;
        assert_eq!(response.status(), if sees == 1 { 200 } else { 404 });
        let answer = world.acme.graphql_as(credential, &[], cancel, json!({ "id": id })).await.body;
        let refusal =
            answer["data"]["bulkJobCancel"]["userErrors"][0]["code"]
                .as_str()
                .or(codes(&answer).first().copied());
        assert_eq!(refusal, Some(code), "{answer:#}");
    }
    for credential in ["", "rck_wrong", &world.scim().token] {
        assert_eq!(fetch(&world.acme, credential, &id).await.status(), 401);
        upload_as(&world.acme, credential, "application/jsonl", people(0, 1)).await.is(401);
    }
    assert_eq!(fetch(&world.acme, &mine, "nonsense").await.status(), 404);
    world.end().await;
}

#[tokio::test]
async fn oversized_uploads_are_refused() {
    let world = World::new().await;
    let long = line("userCreate", json!({ "userName": "x".repeat(300_000) }));
    let refused = upload(&world.acme, format!("{}{long}\n", people(0, 3))).await.is(413);
    assert_eq!(codes(&refused.body), ["BAD_USER_INPUT"]);
    assert!(
        refused.body["errors"][0]["message"].as_str().unwrap().starts_with("line 4 "),
        "{:#}",
        refused.body
    );
    let many = "{}\n".repeat(100_001);
    upload(&world.acme, many).await.is(413);
    for (content_type, body, status) in [
        ("application/json", people(0, 1), 415),
        ("text/plain", people(0, 1), 415),
        ("", people(0, 1), 415),
        ("application/jsonl", String::new(), 400),
        ("application/jsonl; charset=utf-8", " \n\n".into(), 400),
    ] {
        let refused =
            upload_as(&world.acme, &world.acme.api_key, content_type, body).await.is(status);
        assert_eq!(codes(&refused.body), ["BAD_USER_INPUT"]);
    }
    assert_eq!(world.count("bulk_job", []).await + world.count("bulk_line", []).await, 0);
    assert_eq!(world.count("\"user\"", []).await, 0);

    // Five uploads at a time. An upload that was given up blocks no other, and is deleted.
    let of = |id: Uuid| {
        let actor =
            Actor::Key { id, name: "some".into(), permissions: [Permission::UserWrite].into() };
        Cx::new(world.app.clone(), actor, world.acme.organization, Uuid::now_v7())
    };
    let one = of(Uuid::now_v7());
    for _ in 0..3 {
        jobs::begin_upload(&one, None, None).await.unwrap();
    }
    // One caller may not take all places.
    assert!(jobs::begin_upload(&one, None, None).await.unwrap_err().to_string().contains("yours"));
    for _ in 0..2 {
        jobs::begin_upload(&of(Uuid::now_v7()), None, None).await.unwrap();
    }
    let refused = upload(&world.acme, people(0, 1)).await.is(409);
    assert_eq!(codes(&refused.body), ["HELD"]);
    world.app.clock.advance(Duration::from_secs(61));
    let id = id_of(&upload(&world.acme, people(0, 1)).await.is(202));
    assert_eq!(ended(&world.acme, &id).await["state"], "SUCCEEDED");
    // The uploads that were given up were deleted when the next upload began.
    assert_eq!(jobs::forget_expired_jobs(&world.app).await.unwrap(), 0);
    assert_eq!(world.count("bulk_job", []).await, 1);
    world.end().await;
}

#[tokio::test]
async fn manifest_server_takes_no_bulk_files() {
    let world =
        World::with(|config| config.graphql.operations = Some(vec!["{ viewer { name } }".into()]))
            .await;
    let refused = upload(&world.acme, people(0, 1)).await.is(403);
    assert_eq!(codes(&refused.body), ["OPERATION_NOT_ALLOWED"]);
    assert_eq!(world.count("bulk_job", []).await, 0);
    world.end().await;
}

#[tokio::test]
async fn erasure_empties_bulk_lines_and_results() {
    let world = World::new().await;
    let cx = world.system();
    let body = json!({ "userName": "needle" }).as_object().unwrap().clone();
    let ada = user::create_user(&cx, body).await.unwrap().id;
    let found =
        world.graphql("{ organization { user(userName: \"needle\") { id } } }", json!({})).await;
    let global = found["data"]["organization"]["user"]["id"].clone();
    // A result repeats text of its line, …
    let wrong = line("userUpdate", json!({ "id": global, "givenName": { "needle": "needle" } }));
    let said = id_of(&upload(&world.acme, wrong).await.is(202));
    ended(&world.acme, &said).await;
    // … and further lines about the same account are waiting.
    let lines = [line("userUpdate", json!({ "id": global, "title": "needle" })), people(0, 1)];
    let waiting =
        jobs::begin_upload(&cx, Some(world.app.clock.now() + chrono::Duration::hours(1)), None)
            .await
            .unwrap();
    let lines = lines.iter().zip([Some(ada), None]).enumerate();
    let lines = lines.map(|(n, (line, user))| NewLine {
        number: n as i64 + 1,
        input: line.clone().into_bytes(),
        user,
    });
    jobs::append_lines(&cx, waiting, lines.collect()).await.unwrap();
    user::delete_user(&cx, ada, |_| Ok(())).await.unwrap();
    erasure::purge_user(&cx, ada).await.unwrap();
    assert_eq!(world.count("bulk_line WHERE words IS NOT NULL", []).await, 0);
    assert_eq!(
        world.count("bulk_line WHERE input IS NOT NULL", []).await,
        1,
        "the line about another account"
    );
    let result = results(&world.acme, &said).await.remove(0);
    assert_eq!(
        (&result["line"], &result["errors"][0]["message"]),
        (&json!(1), &Value::Null),
        "{result:#}"
    );
    assert!(result["errors"][0]["code"].is_string());
    // The emptied line fails when the job reaches it. (The system is no caller, so a person takes
    // its place.)
    world
        .execute(
            "UPDATE bulk_job SET actor_kind = 'PERSON', permissions = '[\"USER_WRITE\"]' WHERE id \
             = $1",
            [waiting.into()],
        )
        .await;
    jobs::submit_job(&cx, waiting, 2).await.unwrap();
    let listed =
        world.graphql("{ organization { bulkJobs(first: 1) { nodes { id } } } }", json!({})).await;
    let id =
        listed["data"]["organization"]["bulkJobs"]["nodes"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(ended(&world.acme, &id).await["failedCount"], 1);
    let results = results(&world.acme, &id).await;
    assert_eq!(results[0]["errors"][0]["code"], "NOT_FOUND", "{results:#?}");
    assert!(results[1]["payload"]["user"]["id"].is_string(), "{results:#?}");
    world.end().await;
}
