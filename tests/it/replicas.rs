//! Several servers on one PostgreSQL database. SQLite allows one server only.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::database::{Database, MASTER_KEY, on_postgres};
use crate::process::{Server, bootstrap, rolecall};
use crate::saml_sign_ins::{FORM, IdentityProvider, Said, form_body};
use crate::world::Answer;

#[tokio::test]
async fn servers_can_start_together() {
    if !on_postgres() {
        return;
    }
    let database = Database::empty().await;
    let key = [("ROLECALL_MASTER_KEY", MASTER_KEY)];
    let servers: Vec<_> = (0..3).map(|_| Server::begin(&database, &key)).collect();
    for server in &servers {
        server.ready().await;
    }
    let mut command = rolecall(&database, &["bootstrap", "--organization", "acme", "--json"]);
    let made: Value = serde_json::from_slice(&command.envs(key).output().unwrap().stdout).unwrap();
    let id = servers[0].scim(&made).user("ada").await;
    for server in &servers {
        server.scim(&made).get(&format!("/Users/{id}")).await.is(200);
    }
    for mut server in servers {
        server.terminate();
        assert_eq!(server.exit_code().await, Some(0));
    }
    let verdict = rolecall(&database, &["audit", "verify"]).envs(key).output().unwrap();
    assert!(verdict.status.success());
    database.drop().await;
}

#[tokio::test]
async fn rotation_takes_effect_on_every_server() {
    if !on_postgres() {
        return;
    }
    let database = Database::empty().await;
    let made = bootstrap(&database);
    let (one, other) = (Server::start(&database).await, Server::start(&database).await);
    for server in [&one, &other] {
        server.scim(&made).get("/Users").await.is(200);
    }
    let ask = async |query: &str| {
        let request = reqwest::Client::new().post(format!("{}/graphql", one.address));
        let request = request.bearer_auth(made["graphql"]["api_key"].as_str().unwrap());
        let request = request
            .header("content-type", "application/json")
            .body(json!({ "query": query }).to_string());
        Answer::of(request.send().await.unwrap()).await.is(200).body
    };
    let id = &ask("{ organization { connections(first: 1) { nodes { id } } } \
                   }")
    .await["data"]["organization"]["connections"]["nodes"][0]["id"];
    let rotated = ask(&format!(
        "mutation {{ scimTokenRotate(input: {{ connectionId: {id} }}) {{ secret }} }}"
    ))
    .await;
    let secret = rotated["data"]["scimTokenRotate"]["secret"]
        .as_str()
        .unwrap_or_else(|| panic!("{rotated:#}"));
    for server in [&other, &one] {
        server.scim(&made).get("/Users").await.refused(401, None);
        server.scim(&made).with_token(secret).get("/Users").await.is(200);
    }
    // The same holds when the whole connection is deactivated.
    ask(&format!(
        "mutation {{ connectionDeactivate(input: {{ id: {id} }}) {{ userErrors {{ code }} }} }}"
    ))
    .await;
    other.scim(&made).with_token(secret).get("/Users").await.refused(403, None);
    drop((one, other));
    database.drop().await;
}

#[tokio::test]
async fn replayed_response_counts_on_one_server() {
    if !on_postgres() {
        return;
    }
    let database = Database::empty().await;
    let made = bootstrap(&database);
    let servers = [Server::start(&database).await, Server::start(&database).await];
    let http = reqwest::Client::new();
    let ask = async |query: &str, variables: Value| {
        let request = http.post(format!("{}/graphql", servers[0].address));
        let request = request.bearer_auth(made["graphql"]["api_key"].as_str().unwrap());
        let request = request.json(&json!({ "query": query, "variables": variables }));
        Answer::of(request.send().await.unwrap()).await.is(200).body["data"].clone()
    };
    let provider = IdentityProvider::new();
    let (entity, consumer) = ("https://app.example", "https://app.example/acs");
    let saml = json!({ "metadata": { "xml": provider.metadata() }, "audiences": [entity],
        "recipients": [consumer] });
    let create = "mutation($i: ConnectionCreateInput!) { connectionCreate(input: $i) { userErrors { \
                  message } } }";
    let input = json!({ "name": "SAML", "provider": "GENERIC", "assertion": { "saml": saml } });
    let connected = ask(create, json!({ "i": input })).await;
    assert_eq!(connected["connectionCreate"]["userErrors"], json!([]), "{connected:#}");
    let issue = "mutation { apiKeyIssue(input: { name: \"app\", permissions: [ASSERTION_WRITE] }) { \
                 secret } }";
    let issued = ask(issue, json!({})).await;
    let key = issued["apiKeyIssue"]["secret"].as_str().unwrap();
    let ada = servers[1].scim(&made).user("ada").await;
    let submit = async |server: &Server, response: &str, repeatable: Option<&str>| {
        let mut request = http.post(format!("{}/assertions/acme", server.address));
        if let Some(repeatable) = repeatable {
            request = request.header("idempotency-key", repeatable);
        }
        let body = form_body(&[("SAMLResponse", response), ("requestId", "_q")]);
        let request = request.bearer_auth(key).header("content-type", FORM).body(body);
        Answer::of(request.send().await.unwrap()).await
    };
    let respond = |id: &str| provider.respond(&Said::of_ada(id, entity, consumer, "_q"));
    // One after the other, and at once.
    let response = respond("_1");
    let first = submit(&servers[0], &response, None).await.is(200);
    assert_eq!(first.body["userId"], json!(ada), "{:#}", first.body);
    let replayed = submit(&servers[1], &response, None).await.is(422);
    assert_eq!(replayed.body["code"], "ASSERTION_REPLAYED", "{:#}", replayed.body);
    let response = respond("_2");
    let racing = (0..8).map(|n| submit(&servers[n % 2], &response, None));
    let answers = join_all(racing).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    // The same submission, repeated at the other server, gets its answer.
    let response = respond("_3");
    let first = submit(&servers[0], &response, Some("k")).await.is(200);
    let again = submit(&servers[1], &response, Some("k")).await.is(200);
    assert_eq!(again.body, first.body);
    drop(servers);
    database.drop().await;
}
