//! Several servers on one database.

use serde_json::Value;

use crate::database::{Database, MASTER_KEY};
use crate::process::{Server, rolecall};

#[tokio::test]
async fn servers_that_start_at_once_on_an_empty_database_share_it() {
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
