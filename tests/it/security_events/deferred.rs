//! SCIM writes that are answered before they are carried out (RFC 9967).

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Client, SCIM, said, world};
use crate::world::{Answer, World};

impl Client {
    /// A SCIM write that is to be answered before it is carried out.
    async fn defer(world: &World, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = world.scim().request(method, path).header("prefer", "respond-async");
        if let Some(body) = body {
            request = request.header("content-type", "application/scim+json");
            request = request.body(body.to_string());
        }
        Answer::of(request.send().await.unwrap()).await
    }
}

#[tokio::test]
async fn deferred_writes_are_carried_out_in_order() {
    let world = world().await;
    let client = Client::of_world(&world).await;
    let ada = json!({ "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "userName": "ada@x.org" });
    // No stream receives results yet, so the server answers writes at once.
    let now = Client::defer(&world, Method::POST, "/Users", Some(ada.clone())).await.is(201);
    let config = world.scim().get("/ServiceProviderConfig").await.is(200).body;
    assert_eq!(config.get("securityEvents"), None);
    world.scim().delete(&format!("/Users/{}", now.id())).await.is(204);
    let id = client.polled(json!({})).await;
    let config = world.scim().get("/ServiceProviderConfig").await.is(200).body;
    assert_eq!(config["securityEvents"]["asyncRequest"], "request");
    let uris = config["securityEvents"]["eventUris"].as_array().unwrap();
    assert!(uris.contains(&json!(format!("{SCIM}:misc:asyncresp"))), "{uris:?}");

    let mut bo = ada.clone();
    bo["userName"] = "bo@x.org".into();
    let accepted = Client::defer(&world, Method::POST, "/Users", Some(bo.clone())).await.is(202);
    let txn = accepted.header("set-txn").to_owned();
    assert_eq!(accepted.header("preference-applied"), "respond-async");
    assert!(accepted.header("location").ends_with("/scim/v2/acme/Users"));
    // The same again cannot be done.
    let again = Client::defer(&world, Method::POST, "/Users", Some(bo)).await.is(202);
    let name = format!("{SCIM}:misc:asyncresp");
    let told = client.take_all(&id, &name, 2).await;
    let of = |txn: &str| told.iter().find(|claims| claims["txn"] == txn).unwrap();
    let done = of(&txn);
    let person = done["sub_id"]["uri"].as_str().unwrap().to_owned();
    assert_eq!(
        (&said(done)["method"], &said(done)["status"]),
        (&json!("POST"), &json!("201")),
        "{done:#}"
    );
    assert_eq!(said(done)["version"], "W/\"1\"");
    let refused = said(of(again.header("set-txn")));
    assert_eq!(refused["status"], "409");
    assert_eq!(refused["response"]["scimType"], "uniqueness");
    assert_eq!(refused["response"]["status"], "409");
    let change = crate::world::patch(json!([{ "op": "replace", "path": "title", "value": "x" }]));
    Client::defer(&world, Method::PATCH, &person, Some(change)).await.is(202);
    Client::defer(&world, Method::DELETE, &person, None).await.is(202);
    let told = client.take_all(&id, &name, 2).await;
    let statuses: BTreeSet<_> =
        told.iter().map(|claims| said(claims)["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, BTreeSet::from(["200", "204"]));
    world.scim().get(&person).await.is(404);
    // What was sent is not kept.
    assert_eq!(world.count("async_request", []).await, 0);
    // A mistake that can be seen at once is answered at once.
    Client::defer(&world, Method::POST, "/Users", Some(json!([]))).await.is(400);
    let request = world.scim().with_token("rcs_wrong").request(Method::POST, "/Users");
    let request = request.header("prefer", "respond-async").body("{}");
    Answer::of(request.send().await.unwrap()).await.is(401);
    // Deferred failures are reviewed like others.
    let failures = "{ organization { failures(first: 5) { nodes { reason } } } }";
    let failures = world.graphql(failures, json!({})).await;
    let nodes = failures["data"]["organization"]["failures"]["nodes"].as_array();
    assert!(nodes.is_some_and(|nodes| !nodes.is_empty()), "{failures:#}");
    world.end().await;
}

#[tokio::test]
async fn deferred_write_is_done_once() {
    let world = world().await;
    let client = Client::of_world(&world).await;
    let id = client.polled(json!({})).await;
    let body = json!({ "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "userName": "ada@x.org", "externalId": "e-1" });
    let accepted = Client::defer(&world, Method::POST, "/Users", Some(body)).await.is(202);
    let txn: Uuid = accepted.header("set-txn").parse().unwrap();
    let name = format!("{SCIM}:misc:asyncresp");
    let told = client.take_all(&id, &name, 1).await;
    // As if the run had died after the write and before it was noted: the request is there again.
    let key = world.acme.connection;
    let cx = world.system();
    let data_key: Vec<u8> =
        rolecall::domain::tenant::organization::current_organization(&cx).await.unwrap().data_key;
    let sent = json!({ "userName": "ada@x.org" }).to_string();
    let payload = json!({ "method": "POST", "path": "/Users", "body": sent,
        "if_match": null, "if_none_match": null });
    let sealed =
        world.app.vault.seal(cx.organization(), &data_key, txn, payload.to_string().as_bytes());
    let scopes = match world.app.store.backend() {
        sea_orm::DbBackend::Postgres => "'[\"USERS_WRITE\"]'::jsonb",
        _ => "'[\"USERS_WRITE\"]'",
    };
    let insert = format!(
        "INSERT INTO async_request (organization_id, id, connection_id, scopes, payload, tries, \
         until, created_at) SELECT organization_id, $1, $2, {scopes}, $3, 1, created_at, \
         created_at FROM destination LIMIT 1"
    );
    world.execute(&insert, [txn.into(), key.into(), sealed.unwrap().into()]).await;
    world.app.async_requests.notify_one();
    let again = client.take_all(&id, &name, 1).await;
    assert_eq!(said(&again[0])["status"], "201");
    assert_eq!(again[0]["sub_id"], told[0]["sub_id"]);
    assert_eq!(world.count("\"user\"", []).await, 1);
    world.end().await;
}

#[tokio::test]
async fn deferred_write_ends_with_its_token() {
    let world = world().await;
    let client = Client::of_world(&world).await;
    let id = client.polled(json!({})).await;
    let body = json!({ "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "userName": "ada@x.org" });
    let global =
        world.graphql("{ organization { connections(first: 1) { nodes { id } } } }", json!({}));
    let global = global.await["data"]["organization"]["connections"]["nodes"][0]["id"].clone();
    let issue = "mutation($c: ID!) { scimTokenIssue(input: { connectionId: $c }) { scimToken { id } \
                 secret } }";
    let revoke =
        "mutation($t: ID!) { scimTokenRevoke(input: { id: $t }) { userErrors { message } } }";
    for (ends, status) in [("revoked", "401"), ("expired", "401"), ("narrowed", "403")] {
        let issued = world.graphql(issue, json!({ "c": global })).await;
        let issued = &issued["data"]["scimTokenIssue"];
        let token = world.scim().with_token(issued["secret"].as_str().unwrap());
        // An earlier request of the connection is still being carried out, so this one waits.
        let earlier = Uuid::from_u128(1);
        let text = "INSERT INTO async_request (organization_id, id, connection_id, scopes, payload, \
                    tries, holder, until, created_at) VALUES ($1, $2, $3, '[]', $4, 1, $2, $5, $5)";
        let later = world.app.clock.now() + chrono::Duration::days(2);
        let (organization, connection) = (world.acme.organization, world.acme.connection);
        let payload: Vec<u8> = vec![1];
        let values = [organization.into(), earlier.into(), connection.into(), payload.into()];
        world.execute(text, values.into_iter().chain([later.into()])).await;
        let request = token.request(Method::POST, "/Users").header("prefer", "respond-async");
        let request = request.header("content-type", "application/scim+json");
        let accepted = request.body(body.to_string()).send().await.unwrap();
        let accepted = Answer::of(accepted).await.is(202);
        match ends {
            "revoked" => {
                let done = world.graphql(revoke, json!({ "t": issued["scimToken"]["id"] })).await;
                assert_eq!(done["data"]["scimTokenRevoke"]["userErrors"], json!([]), "{done:#}");
            }
            "expired" => {
                let text =
                    "UPDATE scim_token SET expires_at = $1 WHERE purpose = 'IDENTITY_PROVIDER'";
                world.execute(text, [world.app.clock.now().into()]).await;
            }
            _ => {
                let text = "UPDATE scim_token SET scopes = '[\"USERS_READ\"]'";
                world.execute(text, []).await;
            }
        }
        world.execute("DELETE FROM async_request WHERE id = $1", [earlier.into()]).await;
        world.app.async_requests.notify_one();
        let told = client.take_all(&id, &format!("{SCIM}:misc:asyncresp"), 1).await;
        assert_eq!(told[0]["txn"], accepted.header("set-txn"), "{ends}");
        assert_eq!(said(&told[0])["status"], status, "{ends}: {told:#?}");
        assert_eq!(world.count("\"user\"", []).await, 0, "{ends}");
        assert_eq!(world.count("async_request", []).await, 0, "{ends}");
    }
    world.end().await;
}
