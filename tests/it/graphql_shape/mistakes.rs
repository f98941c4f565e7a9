//! The mistakes in an input: all at once, each with its path as the client wrote it.

use serde_json::{Value, json};
use uuid::Uuid;

use super::mutate;
use crate::rights::global;
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
async fn entries_of_lists_have_their_places() {
    let world = World::new().await;
    let tenant = &world.acme;
    let ada = global("User", world.scim().user("ada").await);
    let missing = |kind: &str| global(kind, Uuid::now_v7());
    let role = mutate(tenant, "roleCreate", json!({ "name": "Nurse" }), "role { id }").await;
    let role = role["role"]["id"].clone();
    let group = json!({ "displayName": "Ward" });
    let group = mutate(tenant, "groupCreate", group, "group { id }").await["group"]["id"].clone();
    let source = json!(global("IdentitySource", world.acme.connection));
    let before = world.everything().await;
    let long = "x".repeat(1_000);
    let past = "2001-01-01T00:00:00Z";
    for (mutation, input, expected) in [
        (
            "invitationCreate",
            json!({ "email": "no address", "expiresAt": past,
                "roles": ["none", role, missing("Role")], "groups": [group, missing("Group")] }),
            vec![
                "input.email",
                "input.expiresAt",
                "input.groups.1",
                "input.roles.0",
                "input.roles.2",
            ],
        ),
        (
            "invitationsCreate",
            json!({ "emails": [], "roles": [role, "none"] }),
            vec!["input.emails", "input.roles.1"],
        ),
        (
            "destinationCreate",
            json!({ "kind": "WEBHOOK", "url": "ftp://a.example", "description": "",
                "ownerUserId": "none",
                "connectionIds": ["none", source, missing("IdentitySource")] }),
            vec![
                "input.connectionIds.0",
                "input.connectionIds.2",
                "input.description",
                "input.ownerUserId",
                "input.url",
            ],
        ),
        (
            "destinationCreate",
            json!({ "kind": "EVENT_STREAM", "description": "x", "receiverKeyId": "none",
                "connectionIds": [source, "none"], "stream": { "eventTypes": ["a", long] } }),
            vec!["input.connectionIds.1", "input.receiverKeyId", "input.stream.eventTypes.1"],
        ),
        (
            "destinationCreate",
            json!({ "kind": "WEBHOOK", "url": "https://a.example", "description": "x",
                "eventActions": ["USER_CREATED", "OTHER"] }),
            vec!["input.eventActions.1"],
        ),
        (
            "destinationUpdate",
            json!({ "id": "none", "url": "ftp://a.example", "receiverKeyId": "none",
                "connectionIds": [source, "none"] }),
            vec!["input.connectionIds.1", "input.id", "input.receiverKeyId", "input.url"],
        ),
        (
            "schemaExtensionRegister",
            json!({ "urn": "x", "resource": "USER", "name": "", "attributes": [
                { "name": "good" },
                { "name": "a b", "canonicalValues": ["fine", ""] },
                { "name": "c", "type": "COMPLEX", "subAttributes": [{ "name": "x" }, { "name": "id" }] },
                { "name": "d", "type": "COMPLEX" },
            ] }),
            vec![
                "input.attributes.1.canonicalValues.1",
                "input.attributes.1.name",
                "input.attributes.2.subAttributes.1.name",
                "input.attributes.3.subAttributes",
                "input.name",
                "input.urn",
            ],
        ),
        (
            "groupCreate",
            json!({ "displayName": "x", "memberIds": [ada, missing("User"), missing("Group")] }),
            vec!["input.memberIds.1", "input.memberIds.2"],
        ),
        (
            "groupAddMembers",
            json!({ "id": group, "memberIds": [ada, missing("User")] }),
            vec!["input.memberIds.1"],
        ),
        (
            "groupAddMembers",
            json!({ "id": group, "memberIds": [missing("User")] }),
            vec!["input.memberIds.0"],
        ),
        (
            "userCreate",
            json!({ "userName": "", "emails": [{ "value": "a@x.example" }, { "value": long }] }),
            vec!["input.emails.1.value", "input.userName"],
        ),
        (
            "userUpdate",
            json!({ "id": ada, "emails": [{ "value": long }, { "value": "a@x.example" }] }),
            vec!["input.emails.0.value"],
        ),
    ] {
        let refused = mutate(tenant, mutation, input, "__typename").await;
        assert_eq!(paths(&refused), expected, "{mutation}: {refused:#}");
        assert_eq!(world.everything().await, before, "{mutation}");
    }
    // What is missing is missing, in a list too.
    let input = json!({ "email": "a@x.example", "roles": [role, missing("Role")] });
    let refused = mutate(tenant, "invitationCreate", input, "__typename").await;
    let mistake = &refused["userErrors"][0];
    assert_eq!((&mistake["code"], &mistake["reason"]), (&json!("NOT_FOUND"), &json!("NOT_FOUND")));
    world.end().await;
}

#[tokio::test]
async fn objects_and_values_are_judged_together() {
    let world = World::new().await;
    let tenant = &world.acme;
    let past = "2001-01-01T00:00:00Z";
    let nobody = global("User", Uuid::now_v7());
    let before = world.everything().await;
    for (mutation, input, expected) in [
        (
            "apiKeyIssue",
            json!({ "name": " ", "permissions": ["IAM_READ"], "ownerUserId": nobody, "expiresAt": past }),
            vec!["input.expiresAt", "input.name", "input.ownerUserId"],
        ),
        (
            "apiKeyIssue",
            json!({ "name": "", "permissions": [], "ownerUserId": "none" }),
            vec!["input.name", "input.ownerUserId"],
        ),
        (
            "apiKeyIssue",
            json!({ "name": "", "permissions": [], "ownerUserId": "none", "ownerSubject": "x" }),
            vec!["input.name", "input.ownerSubject"],
        ),
        (
            "apiKeyUpdate",
            json!({ "id": "none", "name": "", "expiresAt": past, "ownerUserId": nobody }),
            vec!["input.expiresAt", "input.id", "input.name", "input.ownerUserId"],
        ),
        (
            "scimTokenIssue",
            json!({ "connectionId": "none", "scopes": [], "expiresAt": past }),
            vec!["input.connectionId", "input.expiresAt", "input.scopes"],
        ),
        (
            "setupLinkCreate",
            json!({ "connectionId": "none", "expiresAt": past }),
            vec!["input.connectionId", "input.expiresAt"],
        ),
        (
            "roleUpdate",
            json!({ "id": "none", "name": "", "permissions": ["a", ""] }),
            vec!["input.id", "input.name", "input.permissions.1"],
        ),
        (
            "roleGrantCreate",
            json!({ "userId": nobody, "roleId": "none", "expiresAt": past, "reason": "" }),
            vec!["input.expiresAt", "input.reason", "input.roleId", "input.userId"],
        ),
        (
            "roleGrantUpdate",
            json!({ "id": "none", "expiresAt": past }),
            vec!["input.expiresAt", "input.id"],
        ),
        (
            "roleMappingCreate",
            json!({ "roleId": global("Role", Uuid::now_v7()), "expiresAt": past,
                "groupId": global("Group", Uuid::now_v7()) }),
            vec!["input.expiresAt", "input.groupId", "input.roleId"],
        ),
        (
            "operatorAccessGrant",
            json!({ "until": past, "reason": "" }),
            vec!["input.reason", "input.until"],
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
