//! Several servers on one PostgreSQL database. SQLite allows one server only.

use serde_json::{Value, json};

use crate::database::{Database, MASTER_KEY, on_postgres};
use crate::process::{Server, bootstrap, rolecall};
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
