//! API keys have an owner and an expiry, and end in the same transaction in which their owner is
//! suspended or deleted.

use chrono::{DateTime, Duration, Utc};
use rolecall::auth::policy::Permission;
use rolecall::domain::access::api_key;
use rolecall::domain::access::api_key::KeyOwner;
use rolecall::domain::connection::scim_token;
use rolecall::domain::directory::user;
use serde_json::{Value, json};
use uuid::Uuid;

use super::global;
use crate::world::World;

const ISSUE: &str = "mutation($i: ApiKeyIssueInput!) { apiKeyIssue(input: $i) { secret
    apiKey { id live expiresAt ownerUserId ownerSubject } userErrors { code path message } } }";
const ASSIGN: &str = "mutation($i: ApiKeyUpdateInput!) { apiKeyUpdate(input: $i) {
    apiKey { ownerUserId ownerSubject } userErrors { code path message } } }";
const ATTENTION: &str = "{ organization { attention { kind count } } }";

/// Issues a key for this account and returns its secret.
async fn key_of(world: &World, owner: Uuid) -> String {
    let permissions = [Permission::IamRead].into();
    let owner = Some(KeyOwner::Account(owner));
    api_key::issue_to(&world.system(), "script", permissions, None, owner).await.unwrap().secret
}

/// Whether the secret opens the management API.
async fn is_accepted(world: &World, secret: &str) -> bool {
    world.acme.graphql_as(secret, &[], "{ viewer { kind } }", json!({})).await.status == 200
}

/// How many ended keys the event of the last deletion names.
async fn count_ended_keys(world: &World) -> usize {
    let payload = world.last_payload().await;
    payload["before"]["apiKeysEnded"].as_array().map_or(0, Vec::len)
}

#[tokio::test]
async fn suspending_an_owner_ends_its_keys() {
    let world = World::new().await;
    let scim = world.scim();
    let active = |active: bool| json!([{ "op": "replace", "path": "active", "value": active }]);

    // Suspended by the identity provider, with PATCH, PUT and Bulk, and by hand.
    let (ada, bob) = (scim.user("ada").await, scim.user("bob").await);
    let (of_ada, of_bob) = (key_of(&world, ada).await, key_of(&world, bob).await);
    assert!(is_accepted(&world, &of_ada).await && is_accepted(&world, &of_bob).await);
    scim.patch(&format!("/Users/{ada}"), active(false)).await.is(200);
    assert!(!is_accepted(&world, &of_ada).await && is_accepted(&world, &of_bob).await);
    // A reactivated account does not get its key back.
    scim.patch(&format!("/Users/{ada}"), active(true)).await.is(200);
    assert!(!is_accepted(&world, &of_ada).await);
    scim.put(&format!("/Users/{bob}"), json!({ "userName": "bob", "active": false })).await.is(200);
    assert!(!is_accepted(&world, &of_bob).await);
    let of_ada = key_of(&world, ada).await;
    let bulk = json!({ "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": [
        { "method": "PATCH", "path": format!("/Users/{ada}"), "data": { "Operations": active(false) } }] });
    scim.post("/Bulk", bulk).await.is(200);
    assert!(!is_accepted(&world, &of_ada).await);
    let cyd = scim.user("cyd").await;
    let of_cyd = key_of(&world, cyd).await;
    let suspend = "mutation($id: ID!) { userSuspend(input: { id: $id }) { userErrors { code } } }";
    world.graphql(suspend, json!({ "id": global("User", cyd) })).await;
    assert!(!is_accepted(&world, &of_cyd).await);

    // Deleted by the identity provider, by hand, and together with all provisioned accounts.
    let (dan, eve, fay) = (scim.user("dan").await, scim.user("eve").await, scim.user("fay").await);
    let keys = [key_of(&world, dan).await, key_of(&world, eve).await, key_of(&world, fay).await];
    scim.delete(&format!("/Users/{dan}")).await.is(204);
    assert_eq!(count_ended_keys(&world).await, 1);
    user::delete_user(&world.system(), eve, |_| Ok(())).await.unwrap();
    assert!(
        !is_accepted(&world, &keys[0]).await
            && !is_accepted(&world, &keys[1]).await
            && is_accepted(&world, &keys[2]).await
    );
    let provisioned =
        world.count("\"user\" WHERE connection_id IS NOT NULL AND deleted_at IS NULL", []).await;
    crate::deletion::delete_all(&world.system(), None, provisioned).await.unwrap();
    assert!(!is_accepted(&world, &keys[2]).await);
    assert_eq!(
        world.count("api_key WHERE owner_user_id IS NOT NULL AND revoked_at IS NULL", []).await,
        0
    );
    world.end().await;
}

#[tokio::test]
async fn keys_need_an_active_owner() {
    let world = World::new().await;
    let ada = world.scim().user("ada").await;
    let issue = async |input: Value| {
        let mut whole = json!({ "name": "script", "permissions": ["IAM_READ"] });
        whole.as_object_mut().unwrap().extend(input.as_object().unwrap().clone());
        world.graphql(ISSUE, json!({ "i": whole })).await["data"]["apiKeyIssue"].clone()
    };
    let made = issue(json!({ "ownerUserId": global("User", ada) })).await;
    assert_eq!(made["apiKey"]["ownerUserId"], global("User", ada), "{made}");
    let made = issue(json!({ "ownerSubject": "https://id.example#ada" })).await;
    assert_eq!(made["apiKey"]["ownerSubject"], "https://id.example#ada", "{made}");
    let id = made["apiKey"]["id"].clone();
    // A key that is issued with another key gets the same owner.
    let of_ada = api_key::issue_to(
        &world.system(),
        "ada's",
        Permission::in_organization(),
        None,
        Some(KeyOwner::Account(ada)),
    )
    .await
    .unwrap();
    let input = json!({ "i": { "name": "another", "permissions": ["IAM_READ"] } });
    let passed = world.acme.graphql_as(&of_ada.secret, &[], ISSUE, input).await.body;
    assert_eq!(
        passed["data"]["apiKeyIssue"]["apiKey"]["ownerUserId"],
        global("User", ada),
        "{passed}"
    );
    assert_eq!(issue(json!({})).await["apiKey"]["ownerSubject"], "operator");

    let both = issue(json!({ "ownerUserId": global("User", ada), "ownerSubject": "ada" })).await;
    assert_eq!(both["userErrors"][0]["path"], json!(["input", "ownerSubject"]), "{both}");
    let unknown_owner = issue(json!({ "ownerUserId": global("User", Uuid::now_v7()) })).await;
    assert_eq!(
        unknown_owner["userErrors"][0]["path"],
        json!(["input", "ownerUserId"]),
        "{unknown_owner}"
    );
    world
        .scim()
        .patch(
            &format!("/Users/{ada}"),
            json!([{ "op": "replace", "path": "active", "value": false }]),
        )
        .await;
    for answer in [
        issue(json!({ "ownerUserId": global("User", ada) })).await,
        world
            .graphql(ASSIGN, json!({ "i": { "id": id, "ownerUserId": global("User", ada) } }))
            .await["data"]["apiKeyUpdate"]
            .clone(),
    ] {
        assert_eq!(answer["userErrors"][0]["path"], json!(["input", "ownerUserId"]), "{answer}");
    }

    // Keys without an owner need attention until an administrator assigns one.
    let count = async || {
        let attention =
            world.graphql(ATTENTION, json!({})).await["data"]["organization"]["attention"].clone();
        let items = attention.as_array().unwrap().clone();
        items
            .iter()
            .find(|item| item["kind"] == "KEYS_WITHOUT_OWNER")
            .map(|item| item["count"].as_i64().unwrap())
    };
    assert_eq!(count().await, None);
    let bob = world.scim().user("bob").await;
    let ownerless =
        api_key::issue_key(&world.system(), "ownerless", [Permission::IamRead].into(), None)
            .await
            .unwrap()
            .key
            .id;
    let brief = Some(world.app.clock.now() + Duration::days(30));
    api_key::issue_key(&world.system(), "brief", [Permission::IamRead].into(), brief)
        .await
        .unwrap();
    assert_eq!(count().await, Some(1));
    let input =
        json!({ "i": { "id": global("ApiKey", ownerless), "ownerUserId": global("User", bob) } });
    let assigned = world.graphql(ASSIGN, input).await["data"]["apiKeyUpdate"].clone();
    assert_eq!(assigned["apiKey"]["ownerUserId"], global("User", bob), "{assigned}");
    assert_eq!(count().await, None);
    world.end().await;
}

#[tokio::test]
async fn key_lifetime_is_limited() {
    let world = World::with(|config| config.api_key_days = 90).await;
    let now = world.app.clock.now();
    let issue = async |end: Option<DateTime<Utc>>| {
        let input =
            json!({ "i": { "name": "script", "permissions": ["IAM_READ"], "expiresAt": end } });
        world.acme.graphql(ISSUE, input).await["data"]["apiKeyIssue"].clone()
    };
    let made = issue(None).await;
    let end: DateTime<Utc> = made["apiKey"]["expiresAt"].as_str().unwrap().parse().unwrap();
    assert!(end > now + Duration::days(89) && end < now + Duration::days(91), "{made}");
    let late = issue(Some(now + Duration::days(91))).await;
    assert_eq!(late["userErrors"][0]["path"], json!(["input", "expiresAt"]), "{late}");
    assert!(late["userErrors"][0]["message"].as_str().unwrap().contains("90 days"), "{late}");
    assert_eq!(rolecall::config::DEFAULT_API_KEY_DAYS, 365);
    world.end().await;
}

#[tokio::test]
async fn upgrade_keeps_old_keys_live() {
    let mut world = World::new().await;
    world.stop().await;
    // The schema before the upgrade, in which a key had no end.
    for text in [
        "DROP INDEX api_key_owner",
        "ALTER TABLE api_key DROP COLUMN owner_user_id",
        "ALTER TABLE api_key DROP COLUMN owner_subject",
        "UPDATE api_key SET expires_at = NULL",
        "DELETE FROM seaql_migrations WHERE version LIKE '%key_owner'",
    ] {
        world.execute(text, []).await;
    }
    world.app.store.apply_migrations().await.unwrap();
    let keys = api_key::list_keys(
        &world.system(),
        &api_key::KeyQuery::default(),
        rolecall::domain::paging::order::OrderBy::Age,
        &rolecall::domain::paging::Keyset { limit: 10, ..Default::default() },
    )
    .await;
    let keys: Vec<_> = keys.unwrap().rows.into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys.len(), 1);
    let (end, year) = (keys[0].expires_at.unwrap(), world.app.clock.now() + Duration::days(365));
    assert!(end > year - Duration::minutes(10) && end < year + Duration::minutes(10), "{end}");
    assert!(api_key::is_live(&keys[0], world.app.clock.now()) && keys[0].owner_user_id.is_none());
    world.end().await;
}

#[tokio::test]
async fn connection_has_at_most_twenty_tokens() {
    let world = World::new().await;
    let cx = world.system();
    let connection = world.acme.connection;
    for _ in 1..20 {
        scim_token::issue_token(&cx, connection, None, None).await.unwrap();
    }
    let refused = scim_token::issue_token(&cx, connection, None, None).await.unwrap_err();
    assert!(refused.to_string().contains("20 tokens"), "{refused}");
    let overlap = scim_token::rotate_tokens(&cx, connection, Some(Duration::hours(1)), None)
        .await
        .unwrap_err();
    assert!(overlap.to_string().contains("20 tokens"), "{overlap}");
    // A rotation that replaces all tokens is always possible.
    scim_token::rotate_tokens(&cx, connection, None, None).await.unwrap();
    scim_token::issue_token(&cx, connection, None, None).await.unwrap();
    world.end().await;
}
