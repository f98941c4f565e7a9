//! What a receiver that is pushed to gets, and what it may do wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    CAEP, Client, Keys, PUSH, RISC, Receiver, SCIM, act, destinations, event_of, suspend,
    wait_until, world,
};
use crate::database::Database;
use crate::process::{bootstrap, kill_first, start_several};
use crate::world::{Scim, World};

#[tokio::test]
async fn pushed_tokens_are_verified() {
    let world = world().await;
    let (client, receiver) = (Client::of_world(&world).await, Receiver::start().await);
    let mut delivery = receiver.delivery();
    delivery["authorization_header"] = "Bearer receiver-secret".into();
    let made = client.create(json!({ "delivery": delivery })).await;
    assert!(made["delivery"].get("authorization_header").is_none(), "{made:#}");
    let person = world.scim().user("ada@x.org").await;
    let off = json!([{ "op": "replace", "path": "active", "value": false }]);
    let answer = world.scim().patch(&format!("/Users/{person}"), off).await.is(200);
    let request = answer.header("x-request-id").to_owned();
    world.scim().delete(&format!("/Users/{person}")).await.is(204);
    let deleted = format!("{SCIM}:prov:delete");
    wait_until("the deletion", async || {
        !receiver.claims(&client, &deleted).await.is_empty()
            && receiver.claims(&client, &format!("{CAEP}/session-revoked")).await.len() >= 2
            && receiver.claims(&client, &format!("{RISC}/account-disabled")).await.len() >= 2
    })
    .await;
    let created = receiver.claims(&client, &format!("{SCIM}:prov:create:notice")).await;
    assert_eq!(
        created[0]["sub_id"],
        json!({ "format": "scim", "uri": format!("/Users/{person}") })
    );
    let names = event_of(&created[0])["attributes"].as_array().unwrap();
    assert!(names.contains(&json!("userName")) && names.contains(&json!("id")), "{names:?}");
    assert_eq!(created[0]["aud"], made["aud"]);
    let revoked = receiver.claims(&client, &format!("{CAEP}/session-revoked")).await;
    assert_eq!(
        revoked[0]["sub_id"],
        json!({ "format": "iss_sub", "iss": client.issuer, "sub": person.to_string() })
    );
    assert!(event_of(&revoked[0])["event_timestamp"].is_i64());
    // Tokens of one change have its request in common. Two deprovisionings of one person may arrive
    // in any order, so the suspension's token is not always the first.
    let off = receiver.claims(&client, &format!("{SCIM}:prov:deactivate")).await;
    assert_eq!(off.iter().map(|claims| &claims["txn"]).collect::<Vec<_>>(), [&json!(request)]);
    assert_eq!(revoked.iter().filter(|claims| claims["txn"] == json!(request)).count(), 1);
    for (token, header) in receiver.behaviour.received.lock().unwrap().iter() {
        assert_eq!(header.as_deref(), Some("Bearer receiver-secret"));
        // A message with references contains no name of a person.
        let claims = token.split('.').nth(1).unwrap();
        let claims =
            base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, claims);
        assert!(!String::from_utf8(claims.unwrap()).unwrap().contains("x.org"));
    }
    let stored = world.rows("SELECT push_authorization FROM event_stream", []).await;
    assert!(!stored[0].to_string().contains("receiver-secret"));
    world.end().await;
}

#[tokio::test]
async fn roles_and_keys_are_told() {
    let world = world().await;
    let client = Client::of_world(&world).await;
    let id = client.polled(json!({})).await;
    let person = world.scim().user("ada@x.org").await;
    let issue = "mutation($u: ID!) { apiKeyIssue(input: { name: \"k\", permissions: [IAM_READ],
        ownerUserId: $u }) { apiKey { id } userErrors { message } } }";
    let key = world.graphql(issue, json!({ "u": person.to_string() })).await;
    let key = key["data"]["apiKeyIssue"]["apiKey"]["id"].clone();
    assert!(key.is_string(), "{key:#}");
    act(&world, "apiKeyRevoke", &key).await;
    let changes = client.take_all(&id, &format!("{CAEP}/credential-change"), 2).await;
    let types: BTreeSet<_> =
        changes.iter().map(|claims| event_of(claims)["change_type"].as_str().unwrap()).collect();
    assert_eq!(types, BTreeSet::from(["create", "revoke"]));
    assert!(changes.iter().all(|claims| claims["sub_id"]["sub"] == json!(person)));
    let role = "mutation { roleCreate(input: { name: \"Nurse\", permissions: [\"a:b\"] }) {
        role { id } } }";
    let role = world.graphql(role, json!({})).await["data"]["roleCreate"]["role"]["id"].clone();
    let grant = "mutation($u: ID!, $r: ID!) { roleGrantCreate(input: { userId: $u, roleId: $r }) {
        roleGrant { id } } }";
    let grant = world.graphql(grant, json!({ "u": person.to_string(), "r": role })).await;
    let grant = grant["data"]["roleGrantCreate"]["roleGrant"]["id"].clone();
    let told = client.take_all(&id, &format!("{CAEP}/token-claims-change"), 1).await;
    assert_eq!(event_of(&told[0])["claims"], json!({ "roles": ["Nurse"] }));
    act(&world, "roleGrantRemove", &grant).await;
    // With the last role the sessions end.
    let told = client.take_all(&id, &format!("{CAEP}/session-revoked"), 1).await;
    assert_eq!(told[0]["sub_id"]["sub"], json!(person));
    world.end().await;
}

#[tokio::test]
async fn keys_that_end_with_accounts_are_told() {
    let world = world().await;
    let client = Client::of_world(&world).await;
    let id = client.polled(json!({})).await;
    let issue = "mutation($u: ID!) { apiKeyIssue(input: { name: \"k\", permissions: [IAM_READ],
        ownerUserId: $u }) { apiKey { id } userErrors { message } } }";
    let mut people = Vec::new();
    for name in ["suspended@x.org", "deleted@x.org", "with-all@x.org"] {
        let person = world.scim().user(name).await;
        let key = world.graphql(issue, json!({ "u": person.to_string() })).await;
        assert!(key["data"]["apiKeyIssue"]["apiKey"]["id"].is_string(), "{key:#}");
        people.push(person);
    }
    let keyless = world.scim().user("keyless@x.org").await;
    let off = json!([{ "op": "replace", "path": "active", "value": false }]);
    for person in [people[0], keyless] {
        world.scim().patch(&format!("/Users/{person}"), off.clone()).await.is(200);
    }
    world.scim().delete(&format!("/Users/{}", people[1])).await.is(204);
    let all = "mutation { provisionedUsersDelete(input: { confirmCount: 3 }) {
        userErrors { code message } } }";
    let all = world.graphql(all, json!({})).await;
    let errors = &all["data"]["provisionedUsersDelete"]["userErrors"];
    assert_eq!(errors, &json!([]), "{all:#}");
    // Three were issued, and three have ended; the account without a key has no such token.
    let changes = client.take_all(&id, &format!("{CAEP}/credential-change"), 6).await;
    let ended: BTreeSet<_> = changes
        .iter()
        .filter(|claims| event_of(claims)["change_type"] == "revoke")
        .map(|claims| claims["sub_id"]["sub"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ended, people.iter().map(ToString::to_string).collect(), "{changes:#?}");
    world.end().await;
}

#[tokio::test]
async fn keys_rotate_with_overlap() {
    let world = world().await;
    let (client, receiver) = (Client::of_world(&world).await, Receiver::start().await);
    client.create(json!({ "delivery": receiver.delivery() })).await;
    client.polled(json!({ "signing_alg": "ES256" })).await;
    let before = client.keys().await;
    assert_eq!(before.0.keys.len(), 2);
    let verified = |keys: &Keys| {
        receiver.tokens().iter().map(|token| keys.try_verify(token).is_some()).collect::<Vec<_>>()
    };
    world.scim().user("one@x.org").await;
    wait_until("one", async || !receiver.tokens().is_empty()).await;
    let id = destinations(&world).await;
    let id = id.iter().find(|shown| shown["url"].is_string()).unwrap()["id"].clone();
    act(&world, "destinationRotateSecret", &id).await;
    let after = client.keys().await;
    assert_eq!(after.0.keys.len(), 3, "the new key is published");
    world.scim().user("two@x.org").await;
    let created = format!("{SCIM}:prov:create:notice");
    wait_until("two", async || receiver.claims(&client, &created).await.len() == 2).await;
    // A copy of the key set from before still verifies what is signed now.
    assert!(verified(&before).into_iter().all(|known| known));
    world.app.clock.advance(Duration::from_secs(11 * 60));
    world.scim().user("three@x.org").await;
    wait_until("three", async || receiver.claims(&client, &created).await.len() == 3).await;
    let known = verified(&before);
    assert!(known[0] && !known[known.len() - 1], "{known:?}");
    assert!(verified(&after).into_iter().all(|known| known));
    world.app.clock.advance(Duration::from_secs(86_400));
    assert_eq!(client.keys().await.0.keys.len(), 2);
    // No private half is readable where it is stored.
    let stored = world.rows("SELECT signing_keys FROM event_stream", []).await;
    assert!(!json!(stored).to_string().contains("\"d\""));
    world.end().await;
}

#[tokio::test]
async fn failed_push_is_repeated_with_its_id() {
    let world = world().await;
    let (client, receiver) = (Client::of_world(&world).await, Receiver::start().await);
    client.create(json!({ "delivery": receiver.delivery() })).await;
    let person = world.scim().user("ada@x.org").await;
    let created = format!("{SCIM}:prov:create:notice");
    wait_until("the creation", async || !receiver.claims(&client, &created).await.is_empty()).await;
    receiver.answer(400);
    *receiver.behaviour.body.lock().unwrap() =
        r#"{"err":"invalid_key","description":"unknown"}"#.into();
    suspend(&world, person).await;
    wait_until("a failure", async || {
        let shown = destinations(&world).await;
        let nodes = shown[0]["deliveries"]["nodes"].as_array().unwrap().clone();
        nodes.iter().any(|node| {
            node["state"] == "WAITING"
                && node["message"].as_str().unwrap_or_default().ends_with(": invalid_key")
        })
    })
    .await;
    receiver.answer(202);
    let deactivated = format!("{SCIM}:prov:deactivate");
    wait_until("the suspension", async || {
        !receiver.claims(&client, &deactivated).await.is_empty()
            && !receiver.claims(&client, &format!("{RISC}/account-disabled")).await.is_empty()
    })
    .await;
    // RFC 8417: one token has one id, and one id one token.
    let keys = client.keys().await;
    let mut by_id: BTreeMap<String, String> = BTreeMap::default();
    for token in receiver.tokens() {
        let jti = keys.verify(&token)["jti"].as_str().unwrap().to_owned();
        assert_eq!(*by_id.entry(jti).or_insert(token.clone()), token);
    }
    world.end().await;
}

#[tokio::test]
async fn hostile_receivers_are_endured() {
    let world = world().await;
    let (client, receiver) = (Client::of_world(&world).await, Receiver::start().await);
    client.create(json!({ "delivery": receiver.delivery() })).await;
    receiver.behaviour.endless.store(true, Ordering::Relaxed);
    let person = world.scim().user("ada@x.org").await;
    let created = format!("{SCIM}:prov:create:notice");
    wait_until("a token", async || !receiver.claims(&client, &created).await.is_empty()).await;
    receiver.behaviour.endless.store(false, Ordering::Relaxed);
    // Redirects are not followed.
    receiver.answer(307);
    suspend(&world, person).await;
    wait_until("a failure", async || {
        let shown = destinations(&world).await;
        shown[0]["deliveries"].to_string().contains("redirects are not followed")
    })
    .await;
    receiver.answer(410);
    wait_until("PAUSED", async || destinations(&world).await[0]["state"] == "PAUSED").await;
    for wrong in [
        json!({ "method": PUSH }),
        json!({ "method": PUSH, "endpoint_url": "ftp://x.example/" }),
        json!({ "method": PUSH, "endpoint_url": "https://x.example/",
            "authorization_header": "a\nb" }),
        json!({ "method": PUSH, "endpoint_url": "https://user@x.example/" }),
        json!("push"),
    ] {
        let body = json!({ "delivery": wrong });
        client.call(Method::POST, "streams", Some(body)).await.is(400);
    }
    world.end().await;
}

#[tokio::test]
async fn private_addresses_are_refused() {
    let world = World::new().await;
    let client = Client::of_world(&world).await;
    for url in ["http://127.0.0.1:1/", "https://127.0.0.1/", "https://[::1]/", "https://localhost/"]
    {
        let body = json!({ "delivery": { "method": PUSH, "endpoint_url": url } });
        client.call(Method::POST, "streams", Some(body)).await.is(400);
    }
    // A name that leads to a private address is refused when it is called.
    let body =
        json!({ "delivery": { "method": PUSH, "endpoint_url": "https://ip6-localhost:9/" } });
    client.create(body).await;
    world.scim().user("ada@x.org").await;
    wait_until("a failure", async || {
        let shown = destinations(&world).await;
        shown[0]["deliveries"]["nodes"][0]["state"] == "WAITING"
    })
    .await;
    let shown = destinations(&world).await;
    assert_eq!(shown[0]["deliveries"]["nodes"][0]["httpStatus"], Value::Null);
    world.end().await;
}

#[tokio::test]
async fn killed_server_loses_no_token() {
    let database = Database::empty().await;
    let made = bootstrap(&database);
    let settings = [("ROLECALL_SIGNAL_PRIVATE_ADDRESSES", "true")];
    let mut servers = start_several(&database, 2, &settings).await;
    let key = made["graphql"]["api_key"].as_str().unwrap().to_owned();
    let token = made["scim"]["token"].as_str().unwrap().to_owned();
    let receiver = Receiver::start().await;
    let client = Client::discover(&servers[0].address, "acme", &key).await;
    let created = format!("{SCIM}:prov:create:notice");
    let wanted = json!({ "events_requested": [created] });
    let polled = client.polled(wanted.clone()).await;
    let mut push = wanted;
    push["delivery"] = receiver.delivery();
    client.create(push).await;
    let scim = Scim::new(&format!("{}/scim/v2/acme", client.address), &token);
    let mut people = BTreeSet::new();
    for n in 0..15 {
        people.insert(format!("/Users/{}", scim.user(&format!("before{n}@x.org")).await));
    }
    let first = client.take(&polled, &[]).await;
    wait_until("some", async || receiver.tokens().len() > 3).await;
    kill_first(&mut servers, &database, &settings).await;
    // Each of these servers names itself in its public URL.
    let client = Client::discover(&servers[servers.len() - 1].address, "acme", &key).await;
    let scim = Scim::new(&format!("{}/scim/v2/acme", client.address), &token);
    for n in 0..15 {
        people.insert(format!("/Users/{}", scim.user(&format!("after{n}@x.org")).await));
    }
    let uri = |claims: &Value| claims["sub_id"]["uri"].as_str().unwrap().to_owned();
    let mut told: BTreeMap<String, String> = BTreeMap::new();
    let mut ack = Vec::new();
    let began = Instant::now();
    while told.len() < people.len() || !ack.is_empty() {
        assert!(began.elapsed() < Duration::from_secs(20), "{} of {}", told.len(), people.len());
        let taken = client.take(&polled, &ack).await;
        told.extend(taken.iter().map(|(jti, claims)| (uri(claims), jti.clone())));
        ack = taken.into_keys().collect();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(told.keys().cloned().collect::<BTreeSet<_>>(), people);
    // What was handed out before the kill came again with the same id.
    for (jti, claims) in first {
        assert_eq!(told[&uri(&claims)], jti);
    }
    wait_until("all 30", async || {
        let claims = receiver.claims(&client, &created).await;
        claims.iter().map(uri).collect::<BTreeSet<_>>() == people
    })
    .await;
    drop(servers);
    database.drop().await;
}
