//! Who holds which role: previews of changes, explanations, past instants and restorations.

use std::collections::BTreeSet;
use std::time::Duration;

use rolecall::context::Cx;
use rolecall::domain::access;
use rolecall::domain::access::AsOf;
use rolecall::domain::access::role_grant;
use rolecall::domain::access::role_grant::NewGrant;
use rolecall::domain::access::role_mapping;
use rolecall::domain::access::role_mapping::{MappingTarget, NewMapping};
use rolecall::domain::access::{expiry, role};
use rolecall::domain::directory::user;
use rolecall::domain::paging::Keyset;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::World;

pub async fn new_role(cx: &Cx, name: &str, management: bool) -> Uuid {
    let settings = role::RoleSettings {
        name: Some(name.into()),
        management: Some(management),
        ..Default::default()
    };
    role::create_role(cx, settings).await.unwrap().id
}

pub fn to_role(target: MappingTarget, role: Uuid) -> NewMapping {
    NewMapping { target, role, reason: Some("rounds".into()), expires_at: None }
}

fn global(kind: &str, id: Uuid) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(format!("{kind}:{id}"))
}

const PREVIEW: &str = r#"mutation($edits: [AccessEditInput!]!) { accessPreview(input: { edits: $edits }) {
    userErrors { code path message }
    preview { id gainedCount lostCount warnings { kind userCount role { name } }
      gains(first: 10) { totalCount nodes { user { userName } role { name } } }
      losses(first: 1) { totalCount pageInfo { hasNextPage endCursor } nodes { user { userName } role { name } } } } } }"#;
const APPLY: &str = r#"mutation($input: AccessApplyInput!) { accessApply(input: $input) {
    userErrors { code path message } change { gainedCount lostCount event { action } } } }"#;

#[tokio::test]
async fn preview_shows_changes_before_they_apply() {
    let world = World::new().await;
    let cx = world.system();
    let scim = world.scim();
    let (ada, bob, cyd) = (scim.user("ada").await, scim.user("bob").await, scim.user("cyd").await);
    let ward = scim.group("Ward 3", &[ada, bob]).await;
    let office = scim.group("Office", &[bob, cyd]).await;
    let (nurse, chief) = (new_role(&cx, "Nurse", false).await, new_role(&cx, "Chief", true).await);
    let of_ward = role_mapping::create_mapping(&cx, to_role(MappingTarget::Group(ward), nurse))
        .await
        .unwrap()
        .mapping_id;

    let edits = json!([
        { "removeMapping": { "id": global("RoleMapping", of_ward) } },
        { "createMapping": { "groupId": global("Group", office), "roleId": global("Role", nurse) } },
        { "createGrant": { "userId": global("User", ada), "roleId": global("Role", chief), "reason": "deputy" } },
    ]);
    let before = world.count("event", []).await;
    let shown =
        world.graphql(PREVIEW, json!({ "edits": edits })).await["data"]["accessPreview"].clone();
    assert_eq!(shown["userErrors"], json!([]));
    let preview = &shown["preview"];
    let one =
        |user: &str, role: &str| json!({ "user": { "userName": user }, "role": { "name": role } });
    assert_eq!((&preview["gainedCount"], &preview["lostCount"]), (&json!(2), &json!(1)));
    assert_eq!(
        preview["gains"],
        json!({ "totalCount": 2, "nodes": [one("cyd", "Nurse"), one("ada", "Chief")] })
    );
    assert_eq!(preview["losses"]["nodes"], json!([one("ada", "Nurse")]));
    assert_eq!(
        preview["warnings"],
        json!([
            { "kind": "GAINS_MANAGEMENT_ROLE", "userCount": 1, "role": { "name": "Chief" } },
            { "kind": "MAPPING_ENDS", "userCount": 1, "role": { "name": "Nurse" } },
        ])
    );
    // A preview changes no access; it is only recorded.
    assert_eq!(world.count("role_mapping WHERE until IS NULL", []).await, 1);
    assert_eq!(world.count("role_grant", []).await, 0);
    assert_eq!(world.count("event", []).await, before + 1);

    // A new member joins the office: the preview is no longer right.
    let dan = scim.user("dan").await;
    let join = json!([{ "op": "add", "path": "members", "value": [{ "value": dan }] }]);
    scim.patch(&format!("/Groups/{office}"), join).await.is(200);
    let input = json!({ "input": { "previewId": preview["id"] } });
    let refused = world.graphql(APPLY, input).await["data"]["accessApply"].clone();
    assert_eq!(refused["userErrors"][0]["path"], json!(["input", "previewId"]), "{refused}");
    assert_eq!(refused["userErrors"][0]["code"], "STALE", "{refused}");
    assert!(
        refused["userErrors"][0]["message"].as_str().unwrap().contains("1 that it does not show"),
        "{refused}"
    );
    assert_eq!(world.count("role_grant", []).await, 0);

    let shown =
        world.graphql(PREVIEW, json!({ "edits": edits })).await["data"]["accessPreview"]["preview"]
            .clone();
    let input = json!({ "input": { "previewId": shown["id"] } });
    let done = world.graphql(APPLY, input.clone()).await["data"]["accessApply"].clone();
    let change =
        json!({ "gainedCount": 3, "lostCount": 1, "event": { "action": "ACCESS_CHANGED" } });
    assert_eq!(done, json!({ "userErrors": [], "change": change }));
    assert_eq!(world.last_payload().await["after"]["edits"].as_array().unwrap().len(), 3);
    // A preview can be applied once.
    let again = world.graphql(APPLY, input).await["data"]["accessApply"].clone();
    assert_eq!(again["userErrors"][0]["code"], "NOT_FOUND", "{again}");
    assert_eq!(
        world
            .count("access_preview_part WHERE preview_id IN (SELECT id FROM access_preview)", [])
            .await,
        2
    );

    // The change would remove the last holder of a management role. The preview warns, and an
    // administrator may still apply it.
    let granted = world.rows("SELECT id FROM role_grant", []).await;
    assert_eq!(granted.len(), 1);
    let list = r#"{ organization { roleGrants(first: 5) { totalCount nodes { id reason user { userName } role { name }
        grantedBy { action } } } } }"#;
    let grants = world.graphql(list, json!({})).await["data"]["organization"]["roleGrants"].clone();
    assert_eq!(grants["totalCount"], 1);
    assert_eq!(grants["nodes"][0]["grantedBy"]["action"], "ACCESS_CHANGED");
    let edits = json!([{ "removeGrant": { "id": grants["nodes"][0]["id"] } }]);
    let shown =
        world.graphql(PREVIEW, json!({ "edits": edits })).await["data"]["accessPreview"]["preview"]
            .clone();
    assert_eq!(shown["warnings"][0]["kind"], "LOSES_LAST_HOLDER", "{shown}");
    world.end().await;
}

#[tokio::test]
async fn all_edits_are_made_or_none() {
    let world = World::new().await;
    let cx = world.system();
    let group = world.scim().group("Ward 3", &[]).await;
    let nurse = new_role(&cx, "Nurse", false).await;
    let create = json!({ "createMapping": { "groupId": global("Group", group), "roleId": global("Role", nurse) } });
    let before = world.everything().await;
    let unknown = global("RoleGrant", Uuid::now_v7());
    for (edits, edit, field, code) in [
        (json!([create, create]), "createMapping", "groupId", "TAKEN"),
        (json!([create, { "removeGrant": { "id": unknown } }]), "removeGrant", "id", "NOT_FOUND"),
        (
            json!([create, { "removeMapping": { "id": "nonsense" } }]),
            "removeMapping",
            "id",
            "NOT_FOUND",
        ),
    ] {
        let place = json!(["input", "edits", "1", edit, field]);
        let done = world.graphql(APPLY, json!({ "input": { "edits": edits } })).await["data"]["accessApply"].clone();
        assert_eq!(done["userErrors"][0]["path"], place, "{done}");
        assert_eq!(done["userErrors"][0]["code"], code, "{done}");
        let shown =
            world.graphql(PREVIEW, json!({ "edits": edits })).await["data"]["accessPreview"]
                .clone();
        assert_eq!(shown["userErrors"][0]["path"], place, "{shown}");
        assert_eq!(shown["userErrors"][0]["code"], code, "{shown}");
        assert_eq!(world.everything().await, before);
    }
    let none =
        world.graphql(APPLY, json!({ "input": { "edits": [] } })).await["data"]["accessApply"]
            .clone();
    assert_eq!(none["userErrors"][0]["path"], json!(["input", "edits"]));
    let done = world.graphql(APPLY, json!({ "input": { "edits": [create] } })).await["data"]["accessApply"].clone();
    assert_eq!(
        done["change"],
        json!({ "gainedCount": 0, "lostCount": 0, "event": { "action": "ACCESS_CHANGED" } })
    );
    world.end().await;
}

#[tokio::test]
async fn grants_and_mappings_end_when_planned() {
    let world = World::new().await;
    let cx = world.system();
    let ada = world.scim().user("ada").await;
    let (nurse, chief) = (new_role(&cx, "Nurse", false).await, new_role(&cx, "Chief", false).await);
    let ward = world.scim().group("Ward 3", &[ada]).await;
    let soon = Some(world.app.clock.now() + chrono::Duration::hours(1));
    let grant =
        NewGrant { user: ada, role: chief, reason: Some("night shift".into()), expires_at: soon };
    let grant = role_grant::create_grant(&cx, grant).await.unwrap();
    let mapping = NewMapping { expires_at: soon, ..to_role(MappingTarget::Group(ward), nurse) };
    let mapping = role_mapping::create_mapping(&cx, mapping).await.unwrap();
    let held = async || {
        access::of_users(&cx, &[ada], AsOf::Now)
            .await
            .unwrap()
            .remove(&ada)
            .unwrap_or_default()
            .len()
    };
    assert_eq!((held().await, expiry::close_due(&world.app).await.unwrap()), (2, 0));
    world.app.clock.advance(Duration::from_secs(3601));
    assert_eq!(held().await, 0);
    // This closes two, unless the server's own worker was quicker.
    expiry::close_due(&world.app).await.unwrap();
    assert_eq!(expiry::close_due(&world.app).await.unwrap(), 0);
    assert_eq!(world.events_of(grant.id).await, ["role_grant.created", "role_grant.expired"]);
    assert_eq!(
        world.events_of(mapping.mapping_id).await,
        ["role_mapping.created", "role_mapping.expired"]
    );
    world.end().await;
}

#[tokio::test]
async fn connections_can_have_default_roles() {
    let world = World::new().await;
    let cx = world.system();
    let (ada, by_hand) = (world.scim().user("ada").await, {
        let body = json!({ "userName": "guest" });
        user::create_user(&cx, body.as_object().unwrap().clone()).await.unwrap().id
    });
    let staff = new_role(&cx, "Staff", false).await;
    let create = r#"mutation($role: ID!, $connection: ID!) {
        roleMappingCreate(input: { roleId: $role, connectionId: $connection }) {
        userErrors { message } roleMapping { id state group { id } awaits { value } allUsersOf { name } } } }"#;
    let variables = json!({ "role": global("Role", staff), "connection": global("IdentitySource", world.acme.connection) });
    let made =
        world.graphql(create, variables).await["data"]["roleMappingCreate"]["roleMapping"].clone();
    assert_eq!(
        (&made["state"], &made["group"], &made["awaits"]),
        (&json!("ACTIVE"), &Value::Null, &Value::Null)
    );
    let holders = r#"query($role: ID!) { node(id: $role) { ... on Role { holders(first: 10) { totalCount nodes {
        user { userName } sources { kind direct group { id } mapping { allUsersOf { name } } } } } } } }"#;
    let found =
        world.graphql(holders, json!({ "role": global("Role", staff) })).await["data"]["node"]
            .clone();
    let found = &found["holders"];
    assert_eq!(
        (&found["totalCount"], &found["nodes"][0]["user"]["userName"]),
        (&json!(1), &json!("ada"))
    );
    assert_eq!(
        found["nodes"][0]["sources"][0]["mapping"]["allUsersOf"]["name"],
        made["allUsersOf"]["name"]
    );
    let held = access::of_users(&cx, &[ada, by_hand], AsOf::Now).await.unwrap();
    assert_eq!((held.get(&ada).map(Vec::len), held.get(&by_hand)), (Some(1), None));
    // An account that is created later has the role from the beginning.
    let bob = world.scim().user("bob").await;
    assert_eq!(access::of_users(&cx, &[bob], AsOf::Now).await.unwrap()[&bob].len(), 1);
    world.end().await;
}

#[tokio::test]
async fn explain_lists_sources_and_gaps() {
    let world = World::new().await;
    let cx = world.system();
    let scim = world.scim();
    let (ada, bob) = (scim.user("ada").await, scim.user("bob").await);
    let ward = scim.group("Ward 3", &[ada]).await;
    let clinic = scim.group("Clinic", &[ward]).await;
    let (nurse, idle) = (new_role(&cx, "Nurse", false).await, new_role(&cx, "Idle", false).await);
    role_mapping::create_mapping(&cx, to_role(MappingTarget::Group(clinic), nurse)).await.unwrap();
    let explain = r#"query($user: ID!, $role: ID!) { node(id: $user) { ... on User { explain(roleId: $role) { holds
        sources { kind direct group { displayName } memberOf { displayName } mapping { reason }
          joinedBy { action actor { name } } givenBy { action } }
        gaps { kind mapping { group { displayName } } } } } } }"#;
    let ask = async |user: Uuid, role: Uuid| {
        let ids = json!({ "user": global("User", user), "role": global("Role", role) });
        world.graphql(explain, ids).await["data"]["node"]["explain"].clone()
    };
    let why = ask(ada, nurse).await;
    let source = &why["sources"][0];
    assert_eq!(
        (&why["holds"], &why["gaps"], &source["direct"]),
        (&json!(true), &json!([]), &json!(false)),
        "{why}"
    );
    assert_eq!(
        (&source["group"]["displayName"], &source["memberOf"]["displayName"]),
        (&json!("Clinic"), &json!("Ward 3"))
    );
    assert_eq!(
        (&source["joinedBy"]["action"], &source["givenBy"]["action"]),
        (&json!("GROUP_CREATED"), &json!("ROLE_MAPPING_CREATED"))
    );
    let clinic_gap =
        json!([{ "kind": "NOT_A_MEMBER", "mapping": { "group": { "displayName": "Clinic" } } }]);
    assert_eq!(ask(bob, nurse).await, json!({ "holds": false, "sources": [], "gaps": clinic_gap }));
    assert_eq!(
        ask(bob, idle).await["gaps"],
        json!([{ "kind": "NOTHING_GIVES_IT", "mapping": null }])
    );
    scim.patch(
        &format!("/Users/{ada}"),
        json!([{ "op": "replace", "path": "active", "value": false }]),
    )
    .await
    .is(200);
    assert_eq!(ask(ada, nurse).await["gaps"], json!([{ "kind": "SUSPENDED", "mapping": null }]));
    world.end().await;
}

#[tokio::test]
async fn deleted_role_has_no_holders() {
    let world = World::new().await;
    let cx = world.system();
    let ada = world.scim().user("ada").await;
    let ward = world.scim().group("Ward 3", &[ada]).await;
    let nurse = new_role(&cx, "Nurse", false).await;
    role_mapping::create_mapping(&cx, to_role(MappingTarget::Group(ward), nurse)).await.unwrap();
    role_grant::create_grant(
        &cx,
        NewGrant { user: ada, role: nurse, reason: None, expires_at: None },
    )
    .await
    .unwrap();
    assert_eq!(access::of_users(&cx, &[ada], AsOf::Now).await.unwrap()[&ada].len(), 2);
    let delete = "mutation($id: ID!) { roleDelete(input: { id: $id }) { deletedRoleId userErrors \
                  { code } } }";
    let done =
        world.graphql(delete, json!({ "id": global("Role", nurse) })).await["data"]["roleDelete"]
            .clone();
    assert_eq!(done, json!({ "deletedRoleId": global("Role", nurse), "userErrors": [] }));
    assert!(access::of_users(&cx, &[ada], AsOf::Now).await.unwrap().is_empty());
    assert_eq!(world.count("role_mapping WHERE until IS NULL", []).await, 0);
    let again =
        world.graphql(delete, json!({ "id": global("Role", nurse) })).await["data"]["roleDelete"]
            .clone();
    assert_eq!(again["userErrors"][0]["code"], "NOT_FOUND");
    new_role(&cx, "nurse", false).await;
    world.end().await;
}

#[tokio::test]
async fn past_access_can_be_queried() {
    let world = World::new().await;
    let cx = world.system();
    let ada = world.scim().user("ada").await;
    let ward = world.scim().group("Ward 3", &[ada]).await;
    let nurse = new_role(&cx, "Nurse", false).await;
    role_mapping::create_mapping(&cx, to_role(MappingTarget::Group(ward), nurse)).await.unwrap();
    world.app.clock.advance(Duration::from_secs(60));
    let then = world.app.clock.now();
    world.app.clock.advance(Duration::from_secs(60));
    world.scim().delete(&format!("/Users/{ada}")).await.is(204);
    let roles = r#"query($role: ID!, $at: DateTime!) { organization { settledUntil } node(id: $role) { ... on Role {
        now: holders(first: 1) { totalCount } then: holders(first: 1, filter: { asOf: $at }) { totalCount nodes { sources { group { displayName } } } } } } }"#;
    let at = json!({ "role": global("Role", nurse), "at": then.to_rfc3339() });
    let found = world.graphql(roles, at.clone()).await["data"]["node"].clone();
    assert_eq!(
        (&found["now"]["totalCount"], &found["then"]["totalCount"]),
        (&json!(0), &json!(1)),
        "{found}"
    );
    assert_eq!(found["then"]["nodes"][0]["sources"][0]["group"]["displayName"], "Ward 3");
    let report = r#"query($at: DateTime!) { organization {
        now: accessReport(first: 10) { totalCount nodes { userId } }
        then: accessReport(first: 10, filter: { asOf: $at }) { totalCount nodes { userId user { id } roles { role { name } sources { kind } } } } } }"#;
    let found = world.graphql(report, at.clone()).await["data"]["organization"].clone();
    assert_eq!(found["now"], json!({ "totalCount": 0, "nodes": [] }));
    // The account is deleted by now; the report still names its id.
    let through = json!([{ "role": { "name": "Nurse" }, "sources": [{ "kind": "MAPPING" }] }]);
    let entry = json!({ "userId": global("User", ada), "user": null, "roles": through });
    assert_eq!(found["then"], json!({ "totalCount": 1, "nodes": [entry] }));
    let ahead = json!({ "role": global("Role", nurse), "at": (world.app.clock.now() + chrono::Duration::hours(1)).to_rfc3339() });
    let refused = world.graphql(roles, ahead).await;
    assert_eq!(refused["errors"][0]["extensions"]["code"], "BAD_USER_INPUT", "{refused}");
    world.end().await;
}

#[tokio::test]
async fn past_access_shows_deleted_roles() {
    let world = World::new().await;
    let cx = world.system();
    let ada = world.scim().user("ada").await;
    let ward = world.scim().group("Ward 3", &[ada]).await;
    let nurse = new_role(&cx, "Nurse", false).await;
    role_mapping::create_mapping(&cx, to_role(MappingTarget::Group(ward), nurse)).await.unwrap();
    world.app.clock.advance(Duration::from_secs(60));
    let then = world.app.clock.now();
    world.app.clock.advance(Duration::from_secs(60));
    role::delete_role(&cx, nurse, None).await.unwrap();
    let query = r#"query($user: ID!, $role: ID!, $at: DateTime!) { organization {
        accessReport(first: 10, filter: { asOf: $at, roleId: $role }) { totalCount nodes {
            roles { role { id name deletedAt } sources { kind } } } } }
        user: node(id: $user) { ... on User { now: roles { role { id } }
            then: roles(asOf: $at) { role { id name deletedAt } sources { kind } } } }
        role: node(id: $role) { id } }"#;
    let (user, role) = (global("User", ada), global("Role", nurse));
    let variables = json!({ "user": user, "role": role, "at": then.to_rfc3339() });
    let found = world.graphql(query, variables).await["data"].clone();
    let report = &found["organization"]["accessReport"];
    assert_eq!(report["totalCount"], 1, "{found}");
    let held = &report["nodes"][0]["roles"];
    assert_eq!(held[0]["role"]["name"], "Nurse", "{found}");
    assert_eq!(held[0]["role"]["id"], role);
    assert!(held[0]["role"]["deletedAt"].is_string(), "{found}");
    assert_eq!(held[0]["sources"], json!([{ "kind": "MAPPING" }]));
    assert_eq!(&found["user"]["then"], held);
    assert_eq!(found["user"]["now"], json!([]));
    assert_eq!(found["role"], json!(null));
    world.end().await;
}

const RESTORE: &str = "mutation($input: RoleMappingRestoreInput!) { roleMappingRestore(input: $input) {
    roleMapping { state group { displayName } history { since until } } userErrors { code path message } } }";

#[tokio::test]
async fn restored_mapping_gives_its_role_again() {
    let world = World::new().await;
    let cx = world.system();
    let (ada, bob) = (world.scim().user("ada").await, world.scim().user("bob").await);
    let ward = world.scim().group("Ward 3", &[ada]).await;
    let office = world.scim().group("Office", &[bob]).await;
    let nurse = new_role(&cx, "Nurse", false).await;
    let map = role_mapping::create_mapping(&cx, to_role(MappingTarget::Group(ward), nurse))
        .await
        .unwrap()
        .mapping_id;
    let holders = async || {
        let page = Keyset { limit: 10, ..Default::default() };
        access::list_holders(&cx, Some(nurse), AsOf::Now, &page).await.unwrap().rows
    };
    let restore = async |input: Value| {
        world.graphql(RESTORE, json!({ "input": input })).await["data"]["roleMappingRestore"]
            .clone()
    };
    let id = global("RoleMapping", map);
    role_mapping::remove_mapping(&cx, map).await.unwrap();
    assert!(holders().await.is_empty());
    let done = restore(json!({ "id": id })).await;
    assert_eq!(done["roleMapping"]["state"], "ACTIVE", "{done:#}");
    assert_eq!(
        done["roleMapping"]["history"].as_array().unwrap().len(),
        2,
        "the history keeps the gap: {done:#}"
    );
    assert_eq!(holders().await, [ada]);
    assert_eq!(
        world.events_of(map).await,
        ["role_mapping.created", "role_mapping.removed", "role_mapping.restored"]
    );
    // Restoring it again changes nothing and writes no row.
    let before = world.everything().await;
    assert_eq!(restore(json!({ "id": id })).await["userErrors"], json!([]));
    assert_eq!(world.everything().await, before);

    // When another mapping has taken its place, it can be restored for another group only.
    role_mapping::remove_mapping(&cx, map).await.unwrap();
    role_mapping::create_mapping(&cx, to_role(MappingTarget::Group(ward), nurse)).await.unwrap();
    let before = world.everything().await;
    let taken = restore(json!({ "id": id })).await;
    assert_eq!(
        (&taken["roleMapping"], &taken["userErrors"][0]["code"]),
        (&Value::Null, &json!("TAKEN")),
        "{taken:#}"
    );
    assert_eq!(world.everything().await, before);
    let moved = restore(json!({ "id": id, "groupId": global("Group", office) })).await;
    assert_eq!(moved["roleMapping"]["group"]["displayName"], "Office", "{moved:#}");
    let mut both = holders().await;
    both.sort_unstable();
    assert_eq!(both, BTreeSet::from([ada, bob]).into_iter().collect::<Vec<_>>());
    // A mapping cannot be restored when its role is deleted.
    role::delete_role(&cx, nurse, None).await.unwrap();
    let gone = restore(json!({ "id": id })).await;
    assert_eq!(gone["userErrors"][0]["code"], "NOT_FOUND", "{gone:#}");
    world.end().await;
}

const RESTORE_GROUP: &str = "mutation($id: ID!) { groupRestore(input: { id: $id }) {
    group { displayName memberCount } userErrors { code path message } } }";

#[tokio::test]
async fn restored_group_gives_its_roles_again() {
    let world = World::new().await;
    let cx = world.system();
    let (ada, bob, eve) = (
        world.scim().user("ada").await,
        world.scim().user("bob").await,
        world.scim().user("eve").await,
    );
    let (nurse, staff) = (new_role(&cx, "Nurse", false).await, new_role(&cx, "Staff", false).await);
    let ward = world.scim().group("Ward 3", &[ada, bob]).await;
    let house = world.scim().group("House", &[]).await;
    let nest = json!([{ "op": "add", "path": "members", "value": [{ "value": ward }] }]);
    world.scim().patch(&format!("/Groups/{house}"), nest).await.is(200);
    role_mapping::create_mapping(&cx, to_role(MappingTarget::Group(ward), nurse)).await.unwrap();
    role_mapping::create_mapping(&cx, to_role(MappingTarget::Group(house), staff)).await.unwrap();
    let held = async |user: Uuid| {
        let held = access::of_users(&cx, &[user], AsOf::Now)
            .await
            .unwrap()
            .remove(&user)
            .unwrap_or_default();
        held.into_iter().map(|row| row.role_id).collect::<BTreeSet<_>>()
    };
    let both = BTreeSet::from([nurse, staff]);
    assert_eq!(held(ada).await, both);

    // The preview shows who would lose what when the group is deleted.
    let edits = json!([{ "deleteGroup": { "id": global("Group", ward) } }]);
    let shown =
        world.graphql(PREVIEW, json!({ "edits": edits })).await["data"]["accessPreview"]["preview"]
            .clone();
    assert_eq!((&shown["gainedCount"], &shown["lostCount"]), (&json!(0), &json!(4)), "{shown:#}");
    assert_eq!(held(ada).await, both);

    world.scim().delete(&format!("/Groups/{ward}")).await.is(204);
    world.scim().delete(&format!("/Users/{bob}")).await.is(204);
    assert!(held(ada).await.is_empty());
    let listed = "{ organization { deletedGroups(first: 5) { totalCount nodes { groupId displayName \
                  deletedAt connection { name } } } } }";
    let listed =
        world.graphql(listed, json!({})).await["data"]["organization"]["deletedGroups"].clone();
    assert_eq!(
        (&listed["totalCount"], &listed["nodes"][0]["displayName"]),
        (&json!(1), &json!("Ward 3"))
    );
    let id = listed["nodes"][0]["groupId"].clone();

    // Ada would get both roles back and Eve would get them, too. Bob is deleted.
    let edits = json!([
        { "restoreGroup": { "id": id } },
        { "addMembers": { "id": id, "memberIds": [global("User", eve)] } },
    ]);
    let shown =
        world.graphql(PREVIEW, json!({ "edits": edits })).await["data"]["accessPreview"]["preview"]
            .clone();
    assert_eq!((&shown["gainedCount"], &shown["lostCount"]), (&json!(4), &json!(0)), "{shown:#}");
    assert!(held(ada).await.is_empty());
    let made = world.graphql(APPLY, json!({ "input": { "previewId": shown["id"] } })).await["data"]
        ["accessApply"]
        .clone();
    assert_eq!(made["change"]["gainedCount"], 4, "{made:#}");
    assert_eq!((held(ada).await, held(eve).await), (both.clone(), both.clone()));
    assert_eq!(world.scim().members(ward).await.len(), 2);
    let kept = world.scim().get("/Groups?count=0").await.is(200);
    assert_eq!(kept.body["totalResults"], 2);

    // `groupRestore` does the same without a preview, and only a deleted group can be restored.
    world.scim().delete(&format!("/Groups/{ward}")).await.is(204);
    let back =
        world.graphql(RESTORE_GROUP, json!({ "id": id })).await["data"]["groupRestore"].clone();
    assert_eq!(
        (&back["group"]["displayName"], &back["group"]["memberCount"]),
        (&json!("Ward 3"), &json!(2)),
        "{back:#}"
    );
    assert_eq!(held(ada).await, both);
    let again =
        world.graphql(RESTORE_GROUP, json!({ "id": id })).await["data"]["groupRestore"].clone();
    assert_eq!(again["userErrors"][0]["code"], "NOT_FOUND", "{again:#}");

    // A deleted role ends its grants, too.
    let new = NewGrant { user: eve, role: nurse, reason: None, expires_at: None };
    role_grant::create_grant(&cx, new).await.unwrap();
    let edits = json!([
        { "removeMembers": { "id": id, "memberIds": [global("User", eve)] } },
        { "deleteRole": { "id": global("Role", nurse) } },
    ]);
    let shown =
        world.graphql(PREVIEW, json!({ "edits": edits })).await["data"]["accessPreview"]["preview"]
            .clone();
    assert_eq!((&shown["gainedCount"], &shown["lostCount"]), (&json!(0), &json!(3)), "{shown:#}");
    world.end().await;
}
