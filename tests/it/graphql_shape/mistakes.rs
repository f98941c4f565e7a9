//! The mistakes in an input: all at once, each with its path as the client wrote it.

use serde_json::{Value, json};

use super::mutate;
use crate::world::World;

/// The paths of a payload's mistakes, dotted, sorted.
fn paths(payload: &Value) -> Vec<String> {
    let mistakes = payload["userErrors"].as_array().unwrap().iter();
    let mut paths: Vec<_> = mistakes
        .map(|mistake| {
            let path = mistake["path"].as_array().unwrap().iter();
            path.map(|part| part.as_str().unwrap()).collect::<Vec<_>>().join(".")
        })
        .collect();
    paths.sort();
    paths
}

#[tokio::test]
async fn all_mistakes_come_at_once() {
    let world = World::new().await;
    let tenant = &world.acme;
    let before = world.everything().await;
    let source = json!({ "baseUrl": "ftp://example.com", "shrinkPercent": 101, "pageSize": 0 });
    for (mutation, input, expected) in [
        (
            "connectionCreate",
            json!({ "name": " ", "revivalDays": -1, "pull": source }),
            vec![
                "input.name",
                "input.pull.baseUrl",
                "input.pull.pageSize",
                "input.pull.shrinkPercent",
                "input.revivalDays",
            ],
        ),
        (
            "roleCreate",
            json!({ "name": "", "permissions": ["good", "", "fine", "\u{7}"] }),
            vec!["input.name", "input.permissions.1", "input.permissions.3"],
        ),
        (
            "roleUpdate",
            json!({ "id": "none", "name": null, "management": null }),
            vec!["input.id", "input.management", "input.name"],
        ),
        (
            "roleGrantCreate",
            json!({ "userId": "none", "roleId": "none" }),
            vec!["input.roleId", "input.userId"],
        ),
        (
            "groupCreate",
            json!({ "displayName": "x", "memberIds": ["none", "neither"],
                "extensions": [{ "urn": "urn:none", "attributes": {} }] }),
            vec!["input.extensions.0.urn", "input.memberIds.0", "input.memberIds.1"],
        ),
        (
            "organizationUpdate",
            json!({ "name": "", "verifiedDomains": ["acme.example", "x", "y z.com"] }),
            vec!["input.name", "input.verifiedDomains.1", "input.verifiedDomains.2"],
        ),
        (
            "apiKeyUpdate",
            json!({ "id": "none", "name": null, "expiresAt": null }),
            vec!["input.expiresAt", "input.id", "input.name"],
        ),
        (
            "userUpdate",
            json!({ "id": "none", "userName": null }),
            vec!["input.id", "input.userName"],
        ),
        (
            "userCreate",
            json!({ "userName": "", "emails": [
                { "value": "a@x.example", "primary": true },
                { "value": "b@x.example", "primary": true },
            ], "title": "x".repeat(70_000) }),
            vec!["input.emails", "input.title", "input.userName"],
        ),
    ] {
        let refused = mutate(tenant, mutation, input, "__typename").await;
        assert_eq!(paths(&refused), expected, "{mutation}: {refused:#}");
        assert_eq!(world.everything().await, before, "{mutation}");
    }
    world.end().await;
}

#[tokio::test]
async fn edits_name_all_their_mistakes() {
    let world = World::new().await;
    let tenant = &world.acme;
    let role = mutate(tenant, "roleCreate", json!({ "name": "Nurse" }), "role { id }").await;
    let role = role["role"]["id"].clone();
    let before = world.everything().await;
    let edits = json!([
        { "createMapping": { "roleId": "none", "connectionId": "none" } },
        { "createMapping": { "roleId": role, "awaits": {
            "connectionId": "none", "attribute": "DISPLAY_NAME", "value": "x" } } },
        { "deleteRole": { "id": role, "reason": "" } },
        { "removeMembers": { "id": "none", "memberIds": ["none"] } },
    ]);
    let expected = [
        "input.edits.0.createMapping.connectionId",
        "input.edits.0.createMapping.roleId",
        "input.edits.1.createMapping.awaits.connectionId",
        "input.edits.3.removeMembers.id",
        "input.edits.3.removeMembers.memberIds.0",
    ];
    let shown = mutate(tenant, "accessPreview", json!({ "edits": edits }), "__typename").await;
    assert_eq!(paths(&shown), expected, "{shown:#}");
    let refused = mutate(tenant, "accessApply", json!({ "edits": edits }), "__typename").await;
    assert_eq!(paths(&refused), expected, "{refused:#}");
    // The domain finds the mistakes of the edits that can be read.
    let unknown = crate::rights::global("Group", uuid::Uuid::now_v7());
    let edits = json!([
        { "deleteRole": { "id": role, "reason": "" } },
        { "deleteRole": { "id": role, "expectedVersion": 9 } },
        { "deleteGroup": { "id": unknown } },
    ]);
    let refused = mutate(tenant, "accessApply", json!({ "edits": edits }), "__typename").await;
    assert_eq!(paths(&refused), ["input.edits.0.deleteRole.reason"], "{refused:#}");
    let edits = json!([
        { "deleteRole": { "id": role, "expectedVersion": 9 } },
        { "deleteGroup": { "id": unknown } },
    ]);
    let refused = mutate(tenant, "accessApply", json!({ "edits": edits }), "__typename").await;
    let expected = ["input.edits.0.deleteRole.expectedVersion", "input.edits.1.deleteGroup.id"];
    assert_eq!(paths(&refused), expected, "{refused:#}");
    let codes: Vec<_> =
        refused["userErrors"].as_array().unwrap().iter().map(|one| &one["code"]).collect();
    assert_eq!(codes, ["STALE", "NOT_FOUND"]);
    assert_eq!(world.everything().await, before);
    world.end().await;
}

#[tokio::test]
async fn edits_keep_their_reasons() {
    let world = World::new().await;
    let tenant = &world.acme;
    let role = mutate(tenant, "roleCreate", json!({ "name": "Nurse" }), "role { id }").await;
    let edits = json!([{ "deleteRole": { "id": role["role"]["id"], "reason": "not needed" } }]);
    let shown = mutate(tenant, "accessPreview", json!({ "edits": edits }), "preview { id }").await;
    let input = json!({ "previewId": shown["preview"]["id"] });
    let done = mutate(tenant, "accessApply", input, "change { lostCount }").await;
    assert_eq!(done["userErrors"], json!([]), "{done:#}");
    let payload = world.last_payload().await;
    assert_eq!(payload["after"]["edits"][0]["after"]["reason"], "not needed", "{payload:#}");
    world.end().await;
}

#[tokio::test]
async fn outdated_preview_is_stale() {
    let world = World::new().await;
    let tenant = &world.acme;
    let role = mutate(tenant, "roleCreate", json!({ "name": "Nurse" }), "role { id }").await;
    let role = role["role"]["id"].clone();
    let edits = json!([{ "deleteRole": { "id": role } }]);
    let shown = mutate(tenant, "accessPreview", json!({ "edits": edits }), "preview { id }").await;
    mutate(tenant, "roleDelete", json!({ "id": role }), "__typename").await;
    let input = json!({ "previewId": shown["preview"]["id"] });
    let refused = mutate(tenant, "accessApply", input, "__typename").await;
    let mistake = &refused["userErrors"][0];
    assert_eq!(
        (&mistake["code"], &mistake["reason"], &mistake["path"]),
        (&json!("STALE"), &json!("PREVIEW_STALE"), &json!(["input", "previewId"])),
        "{refused:#}"
    );
    assert!(mistake["nextStep"].as_str().unwrap().contains("new preview"), "{mistake}");
    world.end().await;
}
