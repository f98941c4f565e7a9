//! Mutations with the header `Idempotency-Key`: a repeat gets the first answer and has no second
//! effect.

use std::collections::BTreeMap;
use std::time::Duration;

use rolecall::auth::policy::{Permission, Permissions};
use rolecall::context::local_issuer;
use serde_json::{Value, json};

use crate::socket::{Events, Socket};
use crate::walk::codes;
use crate::world::{Answer, World};

const CREATE: &str = "mutation($name: String!) { roleCreate(input: { name: $name }) {
    role { id name } userErrors { code } } }";

async fn send(world: &World, key: &str, query: &str, variables: Value) -> Answer {
    world.acme.graphql_as(&world.acme.api_key, &[("idempotency-key", key)], query, variables).await
}

#[track_caller]
fn replayed(answer: &Answer) -> bool {
    match answer.header("idempotency-replayed") {
        "" => false,
        value => {
            assert_eq!((value, answer.status.as_u16()), ("true", 200), "{:#}", answer.body);
            true
        }
    }
}

#[tokio::test]
async fn repeat_gets_the_first_answer() {
    let world = World::new().await;
    let first = send(&world, "k-1", CREATE, json!({ "name": "Nurse" })).await.is(200);
    assert!(
        !replayed(&first) && first.body["data"]["roleCreate"]["role"]["name"] == "Nurse",
        "{:#}",
        first.body
    );
    let after = world.everything().await;
    for _ in 0..3 {
        let again = send(&world, "k-1", CREATE, json!({ "name": "Nurse" })).await.is(200);
        assert!(replayed(&again));
        assert_eq!(again.body, first.body);
    }
    // An answer with user errors is stored, too.
    let taken = send(&world, "k-2", CREATE, json!({ "name": "Nurse" })).await.is(200);
    assert_eq!(taken.body["data"]["roleCreate"]["userErrors"][0]["code"], "TAKEN");
    assert_eq!(send(&world, "k-2", CREATE, json!({ "name": "Nurse" })).await.body, taken.body);
    assert_eq!(world.everything().await, after);

    // The key belongs to one request only.
    let named =
        format!("query Q {{ viewer {{ name }} }} {}", CREATE.replace("mutation", "mutation M"));
    for (query, variables) in [
        (CREATE, json!({ "name": "Doctor" })),
        (&CREATE.replace("id name", "name"), json!({ "name": "Nurse" })),
    ] {
        let refused = send(&world, "k-1", query, variables).await.is(422);
        assert_eq!(codes(&refused.body), ["IDEMPOTENCY_KEY_REUSED"]);
    }
    let body = json!({ "query": named, "operationName": "M", "variables": { "name": "Nurse" } });
    let request = reqwest::Client::new()
        .post(format!("{}/graphql", world.address))
        .bearer_auth(&world.acme.api_key);
    let request =
        request.header("content-type", "application/json").header("idempotency-key", "k-1");
    Answer::of(request.body(body.to_string()).send().await.unwrap()).await.is(422);
    assert_eq!(world.everything().await, after);

    // A day later the answer is deleted.
    world.days_pass(1);
    let fresh = send(&world, "k-1", CREATE, json!({ "name": "Doctor" })).await.is(200);
    assert!(
        !replayed(&fresh) && fresh.body["data"]["roleCreate"]["role"]["name"] == "Doctor",
        "{:#}",
        fresh.body
    );
    world.end().await;
}

#[tokio::test]
async fn keys_belong_to_one_caller() {
    let world = World::new().await;
    let globex = world.second_organization().await;
    let token = |permissions: &[Permission]| {
        let permissions: Permissions = permissions.iter().copied().collect();
        let organizations = BTreeMap::from([
            ("acme".to_owned(), permissions.clone()),
            ("globex".into(), permissions),
        ]);
        let claims = local_issuer::IssuerClaims {
            subject: "ada".into(),
            organizations,
            ..Default::default()
        };
        local_issuer::issue_token(&world.app, &claims, chrono::Duration::hours(1)).unwrap()
    };
    let key = ("idempotency-key", "the-same");
    let name = json!({ "name": "Nurse" });
    let ada = token(&[Permission::AccessWrite, Permission::IamRead]);
    let mut answers = Vec::new();
    for (credential, slug) in [
        (&world.acme.api_key, "acme"),
        (&globex.api_key, "globex"),
        (&ada, "acme"),
        (&ada, "globex"),
    ] {
        let headers = [key, ("rolecall-organization", slug)];
        let answer =
            world.acme.graphql_as(credential, &headers, CREATE, name.clone()).await.is(200);
        assert!(!replayed(&answer), "{:#}", answer.body);
        answers.push(answer.body);
    }
    let headers = [key, ("rolecall-organization", "acme")];
    let again = world.acme.graphql_as(&ada, &headers, CREATE, name.clone()).await;
    assert!(replayed(&again) && again.body == answers[2]);
    let less = token(&[Permission::AccessWrite]);
    let refused = world.acme.graphql_as(&less, &headers, CREATE, name).await.is(422);
    assert_eq!(codes(&refused.body), ["IDEMPOTENCY_KEY_REUSED"]);
    world.end().await;
}

#[tokio::test]
async fn refused_requests_store_no_answer() {
    let world = World::new().await;
    let token = |permission| {
        let organizations = BTreeMap::from([("acme".to_owned(), Permissions::from([permission]))]);
        let claims = local_issuer::IssuerClaims {
            subject: "ada".into(),
            organizations,
            ..Default::default()
        };
        local_issuer::issue_token(&world.app, &claims, chrono::Duration::hours(1)).unwrap()
    };
    let key = [("idempotency-key", "k")];
    let ask = async |credential: &str, query: &str| {
        world.acme.graphql_as(credential, &key, query, json!({ "name": "Nurse" })).await
    };
    let refused = ask(&token(Permission::UserRead), CREATE).await.is(200);
    assert_eq!(codes(&refused.body), ["FORBIDDEN"]);
    assert_eq!(
        codes(&ask(&world.acme.api_key, "mutation { nonsense }").await.body),
        ["GRAPHQL_VALIDATION_FAILED"]
    );
    assert_eq!(world.count("idempotency", []).await, 0, "neither answer is stored");
    let allowed = token(Permission::AccessWrite);
    let done = ask(
        &allowed,
        "mutation { roleCreate(input: { name: \"Nurse\" }) { userErrors { code } } }",
    )
    .await;
    assert!(!replayed(&done.is(200)));
    assert_eq!(world.count("role", []).await, 1);
    // A query needs no key, and its answer is not stored.
    for _ in 0..2 {
        assert!(!replayed(&ask(&world.acme.api_key, "{ viewer { name } }").await.is(200)));
    }
    for wrong in ["", "two words", "tab\tbed", "\u{e9}", &"k".repeat(256)] {
        let headers = [("idempotency-key", wrong)];
        let answer = world
            .acme
            .graphql_as(&world.acme.api_key, &headers, CREATE, json!({ "name": "X" }))
            .await
            .is(400);
        assert_eq!(codes(&answer.body), ["BAD_USER_INPUT"], "{wrong:?}");
    }
    assert!(!replayed(
        &send(&world, &"k".repeat(255), CREATE, json!({ "name": "Y" })).await.is(200)
    ));
    assert_eq!(world.count("role", []).await, 2);
    world.end().await;
}

#[tokio::test]
async fn stored_answers_contain_no_secrets() {
    // The server finds secrets in answers by the field's name.
    let sdl = rolecall::graphql::export_sdl();
    let field_after =
        |at: usize| sdl[at..].lines().find(|line| line.contains("@needs")).unwrap_or_default();
    let shown: Vec<_> =
        sdl.match_indices("shown only in this response").map(|(at, _)| field_after(at)).collect();
    assert!(
        shown.len() >= 2 && shown.iter().all(|field| field.starts_with("  secret: ")),
        "{shown:?}"
    );
    let world = World::new().await;
    let issue = r#"mutation {
        one: apiKeyIssue(input: { name: "script", permissions: [IAM_READ] }) { shown: secret apiKey { name } }
        roleCreate(input: { name: "Nurse" }) { role { name } } }"#;
    let first = send(&world, "k", issue, json!({})).await.is(200);
    let secret = first.body["data"]["one"]["shown"]
        .as_str()
        .unwrap_or_else(|| panic!("{:#}", first.body))
        .to_owned();
    assert!(secret.starts_with("rck_"));
    let keys = world.count("api_key", []).await;
    let again = send(&world, "k", issue, json!({})).await;
    assert!(replayed(&again));
    let kept = json!({ "one": { "shown": null, "apiKey": { "name": "script" } }, "roleCreate": { "role": { "name": "Nurse" } } });
    assert_eq!(again.body["data"], kept);
    assert_eq!(codes(&again.body), ["SECRET_WITHHELD"]);
    assert_eq!(again.body["errors"][0]["path"], json!(["one", "shown"]));
    assert_eq!(world.count("api_key", []).await, keys);
    assert_eq!(
        world.count("idempotency WHERE answer LIKE $1", [format!("%{secret}%").into()]).await,
        0
    );
    world.end().await;
}

#[tokio::test]
async fn interrupted_request_is_not_run_twice() {
    let world = World::new().await;
    let (done, mistaken) = (json!({ "name": "Nurse" }), json!({ "name": "" }));
    send(&world, "done", CREATE, done.clone()).await.is(200);
    send(&world, "mistaken", CREATE, mistaken.clone()).await.is(200);
    // As if both requests were still running, …
    world.execute("UPDATE idempotency SET done = FALSE, answer = NULL", []).await;
    for (key, variables) in [("done", &done), ("mistaken", &mistaken)] {
        let refused = send(&world, key, CREATE, variables.clone()).await.is(409);
        assert_eq!(codes(&refused.body), ["IDEMPOTENCY_KEY_IN_USE"]);
        assert_eq!(refused.header("retry-after"), "1");
    }
    // … and as if the server had died since: what is in the ledger was done, and the rest was not.
    world.app.clock.advance(Duration::from_secs(31));
    let refused = send(&world, "done", CREATE, done).await.is(409);
    assert_eq!(codes(&refused.body), ["IDEMPOTENCY_ANSWER_GONE"]);
    assert_eq!(refused.header("retry-after"), "");
    let before = world.everything().await;
    let run = send(&world, "mistaken", CREATE, mistaken.clone()).await.is(200);
    assert!(
        !replayed(&run) && run.body["data"]["roleCreate"]["userErrors"][0]["code"] == "INVALID",
        "{:#}",
        run.body
    );
    assert!(replayed(&send(&world, "mistaken", CREATE, mistaken).await));
    assert_eq!(world.everything().await, before);
    world.end().await;
}

#[tokio::test]
async fn concurrent_repeats_have_one_effect() {
    let world = World::new().await;
    let repeats = (0..12).map(|_| send(&world, "k", CREATE, json!({ "name": "Nurse" })));
    let answers = futures_util::future::join_all(repeats).await;
    let ran: Vec<_> =
        answers.iter().filter(|answer| answer.status == 200 && !replayed(answer)).collect();
    assert_eq!(ran.len(), 1, "{answers:#?}");
    for answer in &answers {
        let told = answer.status == 409 && codes(&answer.body) == ["IDEMPOTENCY_KEY_IN_USE"];
        assert!(told || answer.body == ran[0].body, "{:#}", answer.body);
    }
    assert_eq!(world.count("event WHERE action = 'role.created'", []).await, 1);
    world.end().await;
}

#[tokio::test]
async fn erasure_deletes_stored_answers() {
    let world = World::new().await;
    let create =
        "mutation { userCreate(input: { userName: \"needle\" }) { user { id userName } } }";
    let id = send(&world, "k", create, json!({})).await.is(200).body["data"]["userCreate"]["user"]
        ["id"]
        .clone();
    assert_eq!(world.count("idempotency WHERE answer LIKE '%needle%'", []).await, 1);
    let delete = "mutation($id: ID!) { userDelete(input: { id: $id }) { userErrors { code } } }";
    world.graphql(delete, json!({ "id": id })).await;
    let purge = "mutation($id: ID!) { userPurge(input: { id: $id }) { purgedUserId } }";
    let purged = send(&world, "purge", purge, json!({ "id": id })).await.is(200);
    assert_eq!(purged.body["data"]["userPurge"]["purgedUserId"], id, "{:#}", purged.body);
    assert_eq!(world.count("idempotency WHERE answer LIKE '%needle%'", []).await, 0);
    let gone = send(&world, "k", create, json!({})).await.is(409);
    assert_eq!(codes(&gone.body), ["IDEMPOTENCY_ANSWER_GONE"]);
    assert_eq!(world.count("\"user\" WHERE deleted_at IS NULL", []).await, 0);
    // The answer to the erasure names no person and stays. An answer to a request that also does
    // something else is not stored.
    assert!(replayed(&send(&world, "purge", purge, json!({ "id": id })).await));
    let body = json!({ "userName": "needle.two" });
    let user = rolecall::domain::directory::user::create_user(
        &world.system(),
        body.as_object().unwrap().clone(),
    )
    .await
    .unwrap();
    let found = world
        .graphql("{ organization { user(userName: \"needle.two\") { id } } }", json!({}))
        .await;
    let both = "mutation($id: ID!) { userUpdate(input: { id: $id, title: \"Dr\" }) { user { userName } }
        userDelete(input: { id: $id }) { userErrors { code } } userPurge(input: { id: $id }) { purgedUserId } }";
    let id = &found["data"]["organization"]["user"]["id"];
    let answer = send(&world, "both", both, json!({ "id": id })).await.is(200);
    assert_eq!(answer.body["data"]["userPurge"]["purgedUserId"], *id, "{:#}", answer.body);
    assert_eq!(
        world.count("\"user\" WHERE id = $1 AND purged_at IS NOT NULL", [user.id.into()]).await,
        1
    );
    assert_eq!(world.count("idempotency WHERE answer LIKE '%needle%'", []).await, 0);
    send(&world, "both", both, json!({ "id": id })).await.is(409);
    world.end().await;
}

#[tokio::test]
async fn every_transport_accepts_a_key() {
    let world = World::new().await;
    let key = &world.acme.api_key;
    let request = |key: &str| json!({ "query": CREATE, "variables": { "name": "Nurse" }, "extensions": { "idempotencyKey": key } });
    let post = async |body: Value, header: Option<&'static str>| {
        let request = reqwest::Client::new().post(&world.acme.graphql).bearer_auth(key);
        let request =
            header.into_iter().fold(request, |request, key| request.header("idempotency-key", key));
        Answer::of(
            request
                .header("content-type", "application/json")
                .body(body.to_string())
                .send()
                .await
                .unwrap(),
        )
        .await
    };
    let first = post(request("k"), None).await.is(200);
    assert!(
        !replayed(&first) && first.body["data"]["roleCreate"]["role"]["name"] == "Nurse",
        "{:#}",
        first.body
    );
    assert!(replayed(&post(request("k"), None).await));
    assert!(
        replayed(&send(&world, "k", CREATE, json!({ "name": "Nurse" })).await),
        "the header says the same"
    );
    assert!(
        replayed(&post(request("other"), Some("k")).await),
        "and takes precedence over the body"
    );
    let mut socket = Socket::of(&world.address, key).await;
    for id in ["a", "b"] {
        socket.say(json!({ "id": id, "type": "subscribe", "payload": request("k") })).await;
        assert_eq!(socket.next(id).await, first.body);
        assert_eq!(socket.hear().await, json!({ "id": id, "type": "complete" }));
    }
    let mut events = Events::post(&world.address, key, request("k")).await;
    assert_eq!(events.answer().await, first.body);
    // Each transport reports the refusal in its own form.
    let mut different = request("k");
    different["variables"]["name"] = json!("Doctor");
    socket.say(json!({ "id": "c", "type": "subscribe", "payload": different })).await;
    let refused = socket.hear().await;
    assert_eq!(
        (&refused["type"], &refused["payload"][0]["extensions"]["code"]),
        (&json!("error"), &json!("IDEMPOTENCY_KEY_REUSED"))
    );
    for wrong in ["two words", ""] {
        assert_eq!(codes(&post(request(wrong), None).await.is(400).body), ["BAD_USER_INPUT"]);
    }
    assert_eq!(world.count("role", []).await, 1);
    drop((socket, events));
    world.end().await;
}
