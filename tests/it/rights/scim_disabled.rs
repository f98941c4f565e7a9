//! A server without SCIM, and an organization that uses another integration: each says why SCIM
//! cannot be used, and refuses to change it.

use serde_json::{Value, json};

use super::global;
use crate::world::World;

const OVERVIEW: &str = "{ organization { scim { availability { state code nextStep } state
    endpoints { baseUrl usersUrl groupsUrl } counts { users } } } }";

/// The SCIM part of the overview.
async fn overview(world: &World) -> Value {
    let answer = world.graphql(OVERVIEW, json!({})).await;
    let scim = answer["data"]["organization"]["scim"].clone();
    assert!(scim.is_object(), "{answer:#}");
    scim
}

/// The mutations that are refused while SCIM cannot be used. They change nothing.
async fn refuses_every_control(world: &World, word: &str) {
    let connection = json!(global("IdentitySource", world.acme.connection));
    let before = world.everything().await;
    for (mutation, input, ty) in [
        ("scimTokenIssue", json!({ "connectionId": connection }), "ScimTokenIssueInput"),
        ("scimTokenRotate", json!({ "connectionId": connection }), "ScimTokenRotateInput"),
        ("provisionedUsersDelete", json!({ "confirmCount": 1 }), "ProvisionedUsersDeleteInput"),
        ("connectionActivate", json!({ "id": connection }), "ConnectionActivateInput"),
        ("connectionDeactivate", json!({ "id": connection }), "ConnectionDeactivateInput"),
        ("connectionCreate", json!({ "name": "Another" }), "ConnectionCreateInput"),
    ] {
        let query = format!(
            "mutation($i: {ty}!) {{ {mutation}(input: $i) {{ userErrors {{ code message }} }} }}"
        );
        let answer = world.graphql(&query, json!({ "i": input })).await;
        let mistake = &answer["data"][mutation]["userErrors"][0];
        assert_eq!(mistake["code"], "HELD", "{mutation}: {answer:#}");
        assert!(mistake["message"].as_str().unwrap().contains(word), "{mutation}: {mistake}");
        assert_eq!(world.everything().await, before, "{mutation}");
    }
}

#[tokio::test]
async fn server_without_scim_refuses_changes() {
    let world = World::with(|config| config.scim_enabled = false).await;
    let shown = overview(&world).await;
    assert_eq!(shown["availability"]["state"], "PLATFORM_DISABLED");
    assert_eq!(shown["availability"]["code"], "PLATFORM_DISABLED");
    assert!(
        shown["availability"]["nextStep"].as_str().unwrap().contains("ROLECALL_SCIM_ENABLED"),
        "{shown}"
    );
    assert_eq!((&shown["state"], &shown["endpoints"]), (&Value::Null, &Value::Null));
    world.scim().get("/Users").await.refused(403, None);
    world.scim().post("/Users", json!({ "userName": "ada" })).await.refused(403, None);
    refuses_every_control(&world, "ROLECALL_SCIM_ENABLED").await;
    world.end().await;
}

#[tokio::test]
async fn native_integration_refuses_scim_changes() {
    let world = World::new().await;
    world.scim().user("ada").await;
    assert_eq!(overview(&world).await["availability"]["state"], "AVAILABLE");
    let mode =
        "mutation($m: IntegrationMode!) { organizationUpdate(input: { integrationMode: $m }) {
        userErrors { message } } }";
    world.graphql(mode, json!({ "m": "ENTRA_NATIVE" })).await;
    let shown = overview(&world).await;
    assert_eq!(shown["availability"]["code"], "ENTRA_NATIVE_INTEGRATION");
    assert!(
        shown["availability"]["nextStep"].as_str().unwrap().contains("integration mode"),
        "{shown}"
    );
    assert_eq!((&shown["state"], &shown["endpoints"]), (&Value::Null, &Value::Null));
    world.scim().get("/Users").await.refused(403, None);
    refuses_every_control(&world, "Entra ID").await;
    // When it is switched back, everything works as before.
    world.graphql(mode, json!({ "m": "SCIM" })).await;
    assert_eq!(overview(&world).await["state"], "ACTIVE");
    assert_eq!(world.scim().ids("/Users").await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn disabled_organization_pulls_no_source() {
    let world = World::with(|config| config.pull_private_addresses = true).await;
    let source = world.tenant("source", "Identity provider").await;
    source.scim.user("ada").await;
    let make =
        "mutation($p: PullSourceInput!) { connectionCreate(input: { name: \"Source\", pull: $p }) {
        connection { id } userErrors { message } } }";
    let pull =
        json!({ "baseUrl": source.scim.base, "secret": source.scim.token, "intervalMinutes": 60 });
    let made = world.graphql(make, json!({ "p": pull })).await;
    let connection = made["data"]["connectionCreate"]["connection"]["id"].clone();
    assert!(connection.is_string(), "{made:#}");
    let start = "mutation($c: ID!) { syncStart(input: { connectionId: $c, mode: FULL }) {
        syncRun { id } userErrors { code message } } }";
    let settings = "mutation($i: OrganizationUpdateInput!) { organizationUpdate(input: $i) { \
                    userErrors { message } } }";
    let attention = "{ organization { attention { kind count message } } }";
    for (off, on, word) in [
        (json!({ "scimEnabled": false }), json!({ "scimEnabled": true }), "scimEnabled"),
        (
            json!({ "integrationMode": "ENTRA_NATIVE" }),
            json!({ "integrationMode": "SCIM" }),
            "Entra ID",
        ),
    ] {
        world.graphql(settings, json!({ "i": off })).await;
        let refused = world.graphql(start, json!({ "c": connection })).await;
        let mistake = &refused["data"]["syncStart"]["userErrors"][0];
        assert_eq!(mistake["code"], "HELD", "{refused:#}");
        assert!(mistake["message"].as_str().unwrap().contains(word), "{mistake}");
        // The schedule begins no run either, and the ledger says why.
        world
            .execute("UPDATE pull_source SET next_run_at = $1", [world.app.clock.now().into()])
            .await;
        assert_eq!(rolecall::domain::sync::begin_due(&world.app).await.unwrap(), 0);
        let skipped = world.last_payload().await["after"]["reason"].clone();
        assert!(
            ["ORGANIZATION_DISABLED", "ENTRA_NATIVE_INTEGRATION"]
                .contains(&skipped.as_str().unwrap())
        );
        assert_eq!(world.count("sync_run", []).await, 0);
        let items =
            world.graphql(attention, json!({})).await["data"]["organization"]["attention"].clone();
        let held = items.as_array().unwrap().iter().find(|item| item["kind"] == "SOURCES_HELD");
        assert!(held.unwrap()["message"].as_str().unwrap().contains(word), "{items:#}");
        world.graphql(settings, json!({ "i": on })).await;
    }
    assert_eq!(
        world.count("\"user\" WHERE organization_id = $1", [world.acme.organization.into()]).await,
        0
    );
    let items =
        world.graphql(attention, json!({})).await["data"]["organization"]["attention"].clone();
    assert!(
        items.as_array().unwrap().iter().all(|item| item["kind"] != "SOURCES_HELD"),
        "{items:#}"
    );
    world.end().await;
}
