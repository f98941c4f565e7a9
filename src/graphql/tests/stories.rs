//! What administrators and scripts do, and what they see of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{crowd, id, open, person, server};
use crate::auth::policy::{Actor, Permission};
use crate::context::Cx;
use crate::domain::directory::deletion::job;
use crate::domain::directory::{group, user};
use crate::domain::tenant::lifecycle;
use crate::error::Error;
use crate::graphql::relay;
use crate::graphql::relay::NodeKind;

#[tokio::test]
async fn the_overview_is_one_query() {
    let server = server().await;
    let connection = server.connection("Entra").await;
    let provider = server.provider(connection);
    let ada = person(&provider, "ada").await;
    crowd(&provider, "Ward 1", &[ada]).await;
    person(&server.cx, "by-hand").await;
    let data = server
        .data(
            "{ organization { id slug name createdAt scimEnabled integrationMode scim {
                 availability { state code nextStep } state endpoints { baseUrl usersUrl \
                 groupsUrl }
                 counts { users groups asOf } lastContactAt tokenIssued recentActivity(first: 2) { \
                 action actor { kind } }
               } connections(first: 10) { totalCount nodes { name state userCount groupCount \
               tokens { lastFour } } } } }",
            json!({}),
        )
        .await;
    let scim = &data["organization"]["scim"];
    assert_eq!(
        scim["availability"],
        json!({ "state": "AVAILABLE", "code": null, "nextStep": null })
    );
    assert_eq!(scim["state"], "ACTIVE");
    assert_eq!(scim["endpoints"]["usersUrl"], "https://example.com/scim/v2/acme/Users");
    assert_eq!((&scim["counts"]["users"], &scim["counts"]["groups"]), (&json!(1), &json!(1)));
    assert_eq!(scim["tokenIssued"], false);
    assert_eq!(
        scim["recentActivity"][0],
        json!({ "action": "USER_CREATED", "actor": { "kind": "SYSTEM" } })
    );
    assert_eq!(scim["recentActivity"][1]["action"], "GROUP_CREATED");
    let entra = json!({
        "name": "Entra", "state": "ACTIVE", "userCount": 1, "groupCount": 1, "tokens": [],
    });
    assert_eq!(data["organization"]["connections"], json!({ "totalCount": 1, "nodes": [entra] }));
}

#[tokio::test]
async fn an_unavailable_scim_says_why_and_how_to_get_out() {
    let server = server().await;
    let update = "mutation { organizationUpdate(input: { integrationMode: ENTRA_NATIVE }) { \
                  userErrors { code }
        organization { integrationMode scim { state endpoints { baseUrl } availability { state \
        code } } } } }";
    let data = server.data(update, json!({})).await;
    let after = &data["organizationUpdate"]["organization"];
    assert_eq!(after["integrationMode"], "ENTRA_NATIVE");
    let reason = json!({ "state": "ENTRA_NATIVE_INTEGRATION", "code": "ENTRA_NATIVE_INTEGRATION" });
    assert_eq!(after["scim"], json!({ "state": null, "endpoints": null, "availability": reason }));
    let create = r#"mutation { connectionCreate(input: { name: "Okta" }) { connection { id } userErrors { code path } } }"#;
    let data = server.data(create, json!({})).await;
    let held = json!({ "connection": null, "userErrors": [{ "code": "HELD", "path": ["input"] }] });
    assert_eq!(data["connectionCreate"], held);
}

#[tokio::test]
async fn a_connection_lives_through_the_api() {
    let server = server().await;
    let create = r#"mutation { connectionCreate(input: { name: " Okta ", provider: OKTA }) {
        connection { id name provider state version } userErrors { code path message } } }"#;
    let created = server.data(create, json!({})).await["connectionCreate"].clone();
    assert_eq!(created["connection"]["name"], "Okta");
    let taken = server.data(create, json!({})).await["connectionCreate"].clone();
    assert_eq!(taken["connection"], Value::Null);
    assert_eq!(taken["userErrors"][0]["code"], "TAKEN");
    assert_eq!(taken["userErrors"][0]["path"], json!(["input", "name"]));
    let id = created["connection"]["id"].clone();

    let issue = "mutation($id: ID!) { scimTokenIssue(input: { connectionId: $id }) { secret \
                 scimToken { id lastFour live } } }";
    let issued = server.data(issue, json!({ "id": id })).await["scimTokenIssue"].clone();
    let secret = issued["secret"].as_str().unwrap();
    assert!(
        secret.starts_with("rcs_")
            && secret.ends_with(issued["scimToken"]["lastFour"].as_str().unwrap())
    );

    let rotate = "mutation($id: ID!) { scimTokenRotate(input: { connectionId: $id }) { secret \
                  userErrors { code } } }";
    assert_ne!(
        server.data(rotate, json!({ "id": id })).await["scimTokenRotate"]["secret"],
        issued["secret"]
    );
    let tokens = "query($id: ID!) { organization { connection(id: $id) { tokens { live } } } }";
    let tokens =
        server.data(tokens, json!({ "id": id })).await["organization"]["connection"]["tokens"]
            .clone();
    assert_eq!(tokens, json!([{ "live": true }, { "live": false }]));

    let off = "mutation($id: ID!) { connectionDeactivate(input: { id: $id }) { connection { \
               state version } } }";
    let off =
        server.data(off, json!({ "id": id })).await["connectionDeactivate"]["connection"].clone();
    assert_eq!(off, json!({ "state": "INACTIVE", "version": 2 }));
    let status = server.data("{ organization { scim { state } } }", json!({})).await;
    assert_eq!(status["organization"]["scim"]["state"], "INACTIVE");
    let events = "{ organization { events(first: 4) { nodes { action } } } }";
    let events = server.data(events, json!({})).await["organization"]["events"]["nodes"].clone();
    let actions: Vec<_> =
        events.as_array().unwrap().iter().map(|event| event["action"].as_str().unwrap()).collect();
    assert_eq!(
        actions,
        ["CONNECTION_DEACTIVATED", "SCIM_TOKEN_ROTATED", "SCIM_TOKEN_ISSUED", "CONNECTION_CREATED"]
    );
}

#[tokio::test]
async fn a_mapping_gives_a_role_and_tells_through_what() {
    let server = server().await;
    let create = r#"mutation {
        ada: userCreate(input: { userName: "ada", givenName: "Ada", department: "Engines",
          emails: [{ value: "ada@x.org", type: "work", primary: true }] }) { user { id givenName department emails { value type primary } } }
        role: roleCreate(input: { name: "Nurse", permissions: ["ward.enter"], priority: 3 }) { role { id permissions } } }"#;
    let made = server.data(create, json!({})).await;
    let ada = &made["ada"]["user"];
    assert_eq!(ada["emails"], json!([{ "value": "ada@x.org", "type": "work", "primary": true }]));
    assert_eq!((&ada["givenName"], &ada["department"]), (&json!("Ada"), &json!("Engines")));
    let wards = r#"mutation($ada: ID!) { inner: groupCreate(input: { displayName: "Ward 1", memberIds: [$ada] }) { group { id } } }"#;
    let inner =
        server.data(wards, json!({ "ada": ada["id"] })).await["inner"]["group"]["id"].clone();
    let wards = r#"mutation($inner: ID!) { outer: groupCreate(input: { displayName: "Wards", memberIds: [$inner] }) { group { id memberCount } } }"#;
    let outer = server.data(wards, json!({ "inner": inner })).await["outer"]["group"].clone();
    assert_eq!(outer["memberCount"], 1);
    let map = r#"mutation($group: ID!, $role: ID!) { roleMappingCreate(input: { groupId: $group, roleId: $role, reason: "care" }) {
        roleMapping { id state reason group { displayName } role { name mappings { id } } } userErrors { message } } }"#;
    let variables = json!({ "group": outer["id"], "role": made["role"]["role"]["id"] });
    let mapping =
        server.data(map, variables.clone()).await["roleMappingCreate"]["roleMapping"].clone();
    assert_eq!(
        (&mapping["state"], &mapping["group"]["displayName"]),
        (&json!("ACTIVE"), &json!("Wards"))
    );
    let twice = server.data(map, variables).await["roleMappingCreate"].clone();
    assert_eq!(twice["roleMapping"], Value::Null);

    let roles = r#"{ organization { user(userName: "ADA") { roles { role { name }
        sources { kind group { displayName } memberOf { displayName } mapping { id reason } } } } } }"#;
    let held = server.data(roles, json!({})).await["organization"]["user"]["roles"].clone();
    let through = json!({ "kind": "MAPPING", "group": { "displayName": "Wards" }, "memberOf": { "displayName": "Ward 1" },
        "mapping": { "id": mapping["id"], "reason": "care" } });
    assert_eq!(held, json!([{ "role": { "name": "Nurse" }, "sources": [through] }]));

    for (action, state, roles_left) in [("Remove", "REMOVED", 0), ("Restore", "ACTIVE", 1)] {
        let change = format!(
            "mutation($id: ID!) {{ done: roleMapping{action}(input: {{ id: $id }}) {{ roleMapping \
             {{ id state }} }} }}"
        );
        let done =
            server.data(&change, json!({ "id": mapping["id"] })).await["done"]["roleMapping"]
                .clone();
        assert_eq!(done, json!({ "id": mapping["id"], "state": state }));
        let held = server.data(roles, json!({})).await["organization"]["user"]["roles"].clone();
        assert_eq!(held.as_array().unwrap().len(), roles_left);
    }
    let suspend = "mutation($id: ID!) { userSuspend(input: { id: $id }) { user { active roles { \
                   role { name } } } } }";
    let suspended =
        server.data(suspend, json!({ "id": ada["id"] })).await["userSuspend"]["user"].clone();
    assert_eq!(suspended, json!({ "active": false, "roles": [] }));
}

#[tokio::test]
async fn a_mapping_may_wait_for_its_group() {
    let server = server().await;
    let connection = server.connection("Okta").await;
    let role = server
        .data(r#"mutation { roleCreate(input: { name: "Nurse" }) { role { id } } }"#, json!({}))
        .await;
    let map = r#"mutation($role: ID!, $connection: ID!) { roleMappingCreate(input: { roleId: $role,
        awaits: { connectionId: $connection, attribute: DISPLAY_NAME, value: "Ward 9" } }) {
        roleMapping { id state group { id } awaits { attribute value connection { name } } } } }"#;
    let variables = json!({
        "role": role["roleCreate"]["role"]["id"],
        "connection": id(NodeKind::IdentitySource, connection),
    });
    let mapping = server.data(map, variables).await["roleMappingCreate"]["roleMapping"].clone();
    assert_eq!((&mapping["state"], &mapping["group"]), (&json!("WAITING"), &Value::Null));
    assert_eq!(mapping["awaits"]["connection"]["name"], "Okta");
    crowd(&server.provider(connection), "WARD 9", &[]).await;
    let node = "query($id: ID!) { node(id: $id) { ... on RoleMapping { state awaits { value } \
                group { displayName } } } }";
    let bound = server.data(node, json!({ "id": mapping["id"] })).await["node"].clone();
    assert_eq!(
        bound,
        json!({ "state": "ACTIVE", "awaits": null, "group": { "displayName": "WARD 9" } })
    );

    // The identity provider deletes the group and creates it anew: the restored mapping binds to
    // the new one.
    let group_id = |node: &Value| {
        relay::parse_global_id(&node["group"]["id"].as_str().unwrap().into())
            .map(|(_, id)| id)
            .unwrap()
    };
    let whole = "query($id: ID!) { node(id: $id) { ... on RoleMapping { state group { id } } } }";
    let old = server.data(whole, json!({ "id": mapping["id"] })).await["node"].clone();
    group::delete_group(&server.provider(connection), group_id(&old), |_| Ok(())).await.unwrap();
    let restore = "mutation($id: ID!) { roleMappingRestore(input: { id: $id }) { roleMapping { \
                   state group { id } } userErrors { code } } }";
    let waiting =
        server.data(restore, json!({ "id": mapping["id"] })).await["roleMappingRestore"].clone();
    assert_eq!(
        waiting,
        json!({ "roleMapping": { "state": "WAITING", "group": null }, "userErrors": [] })
    );
    let new = crowd(&server.provider(connection), "Ward 9", &[]).await;
    let bound = server.data(whole, json!({ "id": mapping["id"] })).await["node"].clone();
    assert_eq!((&bound["state"], group_id(&bound)), (&json!("ACTIVE"), new));
}

#[tokio::test]
async fn user_errors_name_the_argument_that_is_to_blame() {
    let server = server().await;
    let missing = id(NodeKind::Role, Uuid::now_v7());
    let cases = [
        (r#"roleCreate(input: { name: " " })"#, "INVALID", json!(["input", "name"])),
        (
            r#"userCreate(input: { userName: "a", emails: [{ value: "b", primary: true }, { value: "c", primary: true }] })"#,
            "INVALID",
            json!(["input", "emails"]),
        ),
        (r#"userSuspend(input: { id: "nonsense" })"#, "NOT_FOUND", json!(["input", "id"])),
        (
            &format!(r#"roleUpdate(input: {{ id: "{missing}" }})"#),
            "NOT_FOUND",
            json!(["input", "id"]),
        ),
        (
            &format!(r#"roleMappingCreate(input: {{ roleId: "{missing}" }})"#),
            "INVALID",
            json!(["input", "groupId"]),
        ),
        (
            &format!(r#"groupCreate(input: {{ displayName: "x", memberIds: ["{missing}"] }})"#),
            "INVALID",
            json!(["input", "memberIds", "0"]),
        ),
        (
            r#"apiKeyIssue(input: { name: "x", permissions: [], expiresAt: "2001-01-01T00:00:00Z" })"#,
            "INVALID",
            json!(["input", "expiresAt"]),
        ),
    ];
    for (call, code, field) in cases {
        let query = format!("mutation {{ done: {call} {{ userErrors {{ code path message }} }} }}");
        let errors = server.data(&query, json!({})).await["done"]["userErrors"].clone();
        assert_eq!((&errors[0]["code"], &errors[0]["path"]), (&json!(code), &field), "{call}");
    }
}

#[tokio::test]
async fn a_user_is_edited_in_parts_and_only_if_unchanged() {
    let server = server().await;
    let ada = id(NodeKind::User, person(&server.cx, "ada").await);
    let edit = r#"mutation($id: ID!, $version: Int) { userUpdate(input: { id: $id, expectedVersion: $version,
        displayName: null, title: "Countess", familyName: "Byron" }) {
        user { userName displayName title familyName emails { value } version } userErrors { code path } } }"#;
    let edited =
        server.data(edit, json!({ "id": ada, "version": 1 })).await["userUpdate"]["user"].clone();
    let expected = json!({ "userName": "ada", "displayName": "ada", "title": "Countess", "familyName": "Byron",
        "emails": [{ "value": "ada@x.org" }], "version": 2 });
    assert_eq!(edited, expected);
    let stale = server.data(edit, json!({ "id": ada, "version": 1 })).await["userUpdate"].clone();
    assert_eq!(
        stale["userErrors"],
        json!([{ "code": "STALE", "path": ["input", "expectedVersion"] }])
    );
    let delete = "mutation($id: ID!) { userDelete(input: { id: $id }) { deletedUserId } }";
    assert_eq!(server.data(delete, json!({ "id": ada })).await["userDelete"]["deletedUserId"], ada);
    let gone = server.data("query($id: ID!) { node(id: $id) { id } }", json!({ "id": ada })).await;
    assert_eq!(gone["node"], Value::Null);
}

#[tokio::test]
async fn pages_go_both_ways_and_count_only_when_asked() {
    let server = server().await;
    for name in ["a", "b", "c", "d", "e"] {
        person(&server.cx, name).await;
    }
    let page = "query($first: Int, $after: String, $last: Int, $before: String) { organization {
        users(first: $first, after: $after, last: $last, before: $before) {
          totalCount edges { cursor node { userName } } nodes { userName }
          pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } } }";
    let read = async |variables: Value| {
        server.data(page, variables).await["organization"]["users"].clone()
    };
    let names = |page: &Value| -> Vec<String> {
        page["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|node| node["userName"].as_str().unwrap().into())
            .collect()
    };
    let first = read(json!({ "first": 2 })).await;
    assert_eq!(
        (names(&first), &first["totalCount"]),
        (vec!["a".to_owned(), "b".into()], &json!(5))
    );
    assert_eq!(first["pageInfo"]["hasNextPage"], true);
    assert_eq!(first["pageInfo"]["hasPreviousPage"], false);
    let second = read(json!({ "first": 2, "after": first["pageInfo"]["endCursor"] })).await;
    assert_eq!(names(&second), ["c", "d"]);
    let last = read(json!({ "last": 2 })).await;
    assert_eq!(names(&last), ["d", "e"]);
    assert_eq!(last["pageInfo"]["hasNextPage"], false);
    let back = read(json!({ "last": 2, "before": last["pageInfo"]["startCursor"] })).await;
    assert_eq!(names(&back), ["b", "c"]);
    for wrong in [
        json!({}),
        json!({ "first": 1, "last": 1 }),
        json!({ "first": 0 }),
        json!({ "first": 101 }),
        json!({ "first": 1, "after": "x" }),
    ] {
        let reply = server.ask_as(&server.key, page, wrong.clone()).await;
        assert_eq!((reply.status, reply.code()), (StatusCode::OK, "BAD_USER_INPUT"), "{wrong}");
        assert_eq!(reply.at("/data/organization/users"), &Value::Null);
    }
}

#[tokio::test]
async fn filters_narrow_lists() {
    let server = server().await;
    let connection = server.connection("Okta").await;
    let provider = server.provider(connection);
    let (ada, bo) = (person(&provider, "ada").await, person(&server.cx, "bo").await);
    crowd(&provider, "Ward 1", &[ada]).await;
    crowd(&server.cx, "Yard", &[bo]).await;
    let okta = id(NodeKind::IdentitySource, connection);
    let cases = [
        (r#"userName: "ADA""#.to_owned(), vec!["ada"]),
        (r#"userNameStartsWith: "B""#.into(), vec!["bo"]),
        (r#"email: "Bo@X.org""#.into(), vec!["bo"]),
        (r#"displayNameContains: "nurse""#.into(), vec!["ada", "bo"]),
        (r#"active: false"#.into(), vec![]),
        (r#"provisioned: true"#.into(), vec!["ada"]),
        (r#"provisioned: false, active: true"#.into(), vec!["bo"]),
        (format!(r#"connectionId: "{okta}""#), vec!["ada"]),
        (r#"connectionId: "nonsense""#.into(), vec![]),
    ];
    for (filter, names) in cases {
        let query = format!(
            "{{ organization {{ users(first: 9, filter: {{ {filter} }}) {{ totalCount nodes {{ \
             userName }} }} }} }}"
        );
        let users = server.data(&query, json!({})).await["organization"]["users"].clone();
        let expected: Vec<_> = names.iter().map(|name| json!({ "userName": name })).collect();
        assert_eq!(users, json!({ "totalCount": names.len(), "nodes": expected }), "{filter}");
    }
    let groups = r#"{ organization { groups(first: 9, filter: { displayNameStartsWith: "w" }) { nodes { displayName
        members(first: 5) { totalCount nodes { ... on User { userName } } } } } } }"#;
    let ward = json!({
        "displayName": "Ward 1", "members": { "totalCount": 1, "nodes": [{ "userName": "ada" }] },
    });
    assert_eq!(
        server.data(groups, json!({})).await["organization"]["groups"]["nodes"],
        json!([ward])
    );
}

#[tokio::test]
async fn members_are_paged_for_many_groups_at_once() {
    let server = server().await;
    let mut people = Vec::new();
    for name in ["a", "b", "c", "d"] {
        people.push(person(&server.cx, name).await);
    }
    let inner = crowd(&server.cx, "inner", &people[..3]).await;
    crowd(&server.cx, "outer", &[people[3], inner]).await;
    let query =
        "query($after: String) { organization { groups(first: 9) { nodes { displayName memberCount
        members(first: 2, after: $after) { pageInfo { hasNextPage endCursor }
          nodes { __typename ... on User { userName } ... on Group { displayName } } } } } } }";
    let groups = server.data(query, json!({})).await["organization"]["groups"]["nodes"].clone();
    assert_eq!(groups[0]["memberCount"], 3);
    assert_eq!(groups[0]["members"]["pageInfo"]["hasNextPage"], true);
    assert_eq!(groups[0]["members"]["nodes"][1], json!({ "__typename": "User", "userName": "b" }));
    assert_eq!(groups[1]["members"]["pageInfo"]["hasNextPage"], false);
    assert_eq!(
        groups[1]["members"]["nodes"][1],
        json!({ "__typename": "Group", "displayName": "inner" })
    );
    let after = groups[0]["members"]["pageInfo"]["endCursor"].clone();
    let rest =
        server.data(query, json!({ "after": after })).await["organization"]["groups"]["nodes"]
            .clone();
    assert_eq!(rest[0]["members"]["nodes"], json!([{ "__typename": "User", "userName": "c" }]));
}

#[tokio::test]
async fn a_page_of_people_with_all_they_hold_takes_seven_statements() {
    let statements = Arc::new(AtomicUsize::new(0));
    let server = open(Some(statements.clone())).await;
    let mut people = Vec::new();
    for number in 0..50 {
        people.push(person(&server.cx, &format!("nurse-{number}")).await);
    }
    for number in 0..10 {
        let ward = crowd(&server.cx, &format!("Ward {number}"), &people).await;
        let map = format!(
            r#"mutation {{ roleCreate(input: {{ name: "Role {number}" }}) {{ role {{ id }} }} }}"#
        );
        let role = server.data(&map, json!({})).await["roleCreate"]["role"]["id"].clone();
        let map = "mutation($group: ID!, $role: ID!) { roleMappingCreate(input: { groupId: \
                   $group, roleId: $role }) { userErrors { code } } }";
        server.data(map, json!({ "group": id(NodeKind::Group, ward), "role": role })).await;
    }
    let query = "{ organization { users(first: 50) { nodes { userName emails { value }
        groups(first: 10) { nodes { displayName } }
        roles { role { name } sources { mapping { id reason } group { displayName } } } } } } }";
    statements.store(0, Ordering::Relaxed);
    let data = server.data(query, json!({})).await;
    let taken = statements.load(Ordering::Relaxed);
    let last = &data["organization"]["users"]["nodes"][49];
    assert_eq!(last["groups"]["nodes"].as_array().unwrap().len(), 10);
    assert_eq!(last["roles"].as_array().unwrap().len(), 10);
    assert_eq!(last["roles"][9]["sources"][0]["group"]["displayName"], "Ward 9");
    // One of the statements checks the key.
    assert!(taken <= 8, "{taken} statements");
}

#[tokio::test]
async fn a_field_that_may_not_be_seen_is_null_with_its_error() {
    let server = server().await;
    let ada = person(&server.cx, "ada").await;
    crowd(&server.cx, "Ward", &[ada]).await;
    let reader = server.key_with(&[Permission::IamRead]).await;
    let query =
        "{ organization { slug users(first: 1) { nodes { id } } groups(first: 1) { nodes { \
                 displayName members(first: 1) { totalCount } } }
        apiKeys(first: 1) { totalCount } events(first: 1) { totalCount } } }";
    let reply = server.ask_as(&reader, query, json!({})).await;
    assert_eq!(reply.status, StatusCode::OK);
    let ward = json!({ "displayName": "Ward", "members": null });
    let expected = json!({
        "slug": "acme", "users": null, "groups": { "nodes": [ward] }, "apiKeys": null,
        "events": null,
    });
    assert_eq!(reply.body["data"]["organization"], expected);
    let errors = reply.body["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 4);
    for error in errors {
        assert_eq!(error["extensions"]["code"], "FORBIDDEN");
        assert!(error["message"].as_str().unwrap().starts_with("this needs the permission "));
    }
    let personal = errors
        .iter()
        .find(|error| error["path"] == json!(["organization", "groups", "nodes", 0, "members"]));
    assert_eq!(personal.unwrap()["message"], "this needs the permission USER_READ");

    let empty = server.key_with(&[]).await;
    let reply = server
        .ask_as(&empty, "{ viewer { permissions } organization { scim { state } } }", json!({}))
        .await;
    assert_eq!(
        reply.body["data"],
        json!({ "viewer": { "permissions": [] }, "organization": { "scim": null } })
    );
    let write = r#"mutation { roleCreate(input: { name: "x" }) { role { id } } }"#;
    let reply = server.ask_as(&reader, write, json!({})).await;
    assert_eq!((reply.code(), reply.at("/data/roleCreate")), ("FORBIDDEN", &Value::Null));
    let roles = server.data("{ organization { roles(first: 1) { totalCount } } }", json!({})).await;
    assert_eq!(roles["organization"]["roles"]["totalCount"], 0);
}

#[tokio::test]
async fn writer_without_read_gets_the_id() {
    let server = server().await;
    let writer = server.key_with(&[Permission::UserWrite]).await;
    let create = r#"mutation { userCreate(input: { userName: "ada" }) { user { id } userErrors { code } } }"#;
    let reply = server.ask_as(&writer, create, json!({})).await;
    assert_eq!(reply.at("/errors"), &Value::Null);
    assert!(reply.at("/data/userCreate/user/id").is_string());
    let create = r#"mutation { userCreate(input: { userName: "bo" }) { user { id userName } } }"#;
    let reply = server.ask_as(&writer, create, json!({})).await;
    assert_eq!((reply.code(), reply.at("/data/userCreate/user")), ("FORBIDDEN", &Value::Null));
}

#[tokio::test]
async fn another_organization_does_not_exist() {
    let server = server().await;
    let other =
        lifecycle::create_organization(&server.app, Actor::System, ("other", "Other"), "first", 30)
            .await
            .unwrap()
            .organization;
    let there = Cx::system(server.app.clone(), other.id);
    let (user, group) = (person(&there, "eve").await, crowd(&there, "Theirs", &[]).await);
    let ids = [
        id(NodeKind::User, user),
        id(NodeKind::Group, group),
        id(NodeKind::Organization, other.id),
        id(NodeKind::User, group),
        "nonsense".into(),
    ];
    let data =
        server.data("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", json!({ "ids": ids })).await;
    assert_eq!(data["nodes"], json!([null, null, null, null, null]));
    let query = "query($user: ID!, $group: ID!) { node(id: $user) { id }
        organization { user(id: $user) { id } group(id: $group) { id } } }";
    let data = server.data(query, json!({ "user": ids[0], "group": ids[1] })).await;
    assert_eq!(data, json!({ "node": null, "organization": { "user": null, "group": null } }));
    let suspend = "mutation($id: ID!) { userSuspend(input: { id: $id }) { user { id } userErrors \
                   { code } } }";
    let data = server.data(suspend, json!({ "id": ids[0] })).await;
    assert_eq!(
        data["userSuspend"],
        json!({ "user": null, "userErrors": [{ "code": "NOT_FOUND" }] })
    );
    assert!(user::get_user(&there, user).await.unwrap().active);
}

#[tokio::test]
async fn a_proposal_is_read_and_decided() {
    let server = server().await;
    let manual = person(&server.cx, "ada").await;
    let connection = server.connection("Okta").await;
    let body = json!({
        "userName": "ADA", "title": "Countess", "emails": [{ "value": "ada@evil.example" }],
    });
    let refused =
        user::create_user(&server.provider(connection), body.as_object().unwrap().clone()).await;
    assert!(matches!(refused, Err(Error::Taken { field: "userName" })), "{refused:?}");

    let query =
        "query($state: AdoptionProposalState!) { organization { adoptionProposals(first: 5, \
                 filter: { states: [$state] }) {
        totalCount nodes { id state cause attempts attributes reason user { id } connection { id \
        adoptionPolicy } } } } }";
    let data = server.data(query, json!({ "state": "PENDING" })).await;
    let page = &data["organization"]["adoptionProposals"];
    assert_eq!(page["totalCount"], 1);
    let found = &page["nodes"][0];
    assert_eq!(
        (&found["state"], &found["cause"], &found["attempts"]),
        (&json!("PENDING"), &json!("POLICY"), &json!(1))
    );
    assert_eq!(
        (&found["attributes"]["title"], &found["reason"]),
        (&json!("Countess"), &Value::Null)
    );
    assert_eq!(found["user"]["id"], id(NodeKind::User, manual));
    let owner =
        json!({ "id": id(NodeKind::IdentitySource, connection), "adoptionPolicy": "PROPOSE" });
    assert_eq!(found["connection"], owner);
    let node = "query($id: ID!) { node(id: $id) { id ... on AdoptionProposal { state } } }";
    assert_eq!(server.data(node, json!({ "id": found["id"] })).await["node"]["state"], "PENDING");

    let mutation = |name: &str| {
        format!(
            "mutation($id: ID!) {{ {name}(input: {{ id: $id, reason: \"asked her\" }}) {{
                adoptionProposal {{ state reason }} userErrors {{ code path }} }} }}"
        )
    };
    let (accept, dismiss) =
        (mutation("adoptionProposalAccept"), mutation("adoptionProposalDismiss"));
    let without: Vec<_> = Permission::in_organization()
        .into_iter()
        .filter(|p| *p != Permission::ReviewWrite)
        .collect();
    let reader = server.key_with(&without).await;
    for mutation in [&accept, &dismiss] {
        assert_eq!(
            server.ask_as(&reader, mutation, json!({ "id": found["id"] })).await.code(),
            "FORBIDDEN"
        );
        let foreign = server.data(mutation, json!({ "id": id(NodeKind::User, manual) })).await;
        let payload = foreign.as_object().unwrap().values().next().unwrap();
        let expected = json!({
            "adoptionProposal": null,
            "userErrors": [{ "code": "NOT_FOUND", "path": ["input", "id"] }],
        });
        assert_eq!(payload, &expected);
    }
    let done = server.data(&dismiss, json!({ "id": found["id"] })).await;
    let expected = json!({
        "adoptionProposal": { "state": "DISMISSED", "reason": "asked her" }, "userErrors": [],
    });
    assert_eq!(done["adoptionProposalDismiss"], expected);
    let done = server.data(&accept, json!({ "id": found["id"] })).await;
    assert_eq!(done["adoptionProposalAccept"]["adoptionProposal"]["state"], "ACCEPTED");
    let adopted = user::get_user(&server.cx, manual).await.unwrap();
    assert_eq!((adopted.connection_id, adopted.user_name.as_str()), (Some(connection), "ada"));
    let data = server.data(query, json!({ "state": "PENDING" })).await;
    assert_eq!(data["organization"]["adoptionProposals"], json!({ "totalCount": 0, "nodes": [] }));
}

#[tokio::test]
async fn adoption_policy_is_a_setting() {
    let server = server().await;
    let connection = id(NodeKind::IdentitySource, server.connection("Okta").await);
    let update = "mutation($id: ID!) { connectionUpdate(input: { id: $id, adoptionPolicy: LINK }) {
        connection { adoptionPolicy } userErrors { code } } }";
    let data = server.data(update, json!({ "id": connection })).await;
    assert_eq!(data["connectionUpdate"]["connection"]["adoptionPolicy"], "LINK");
    let update =
        "mutation($domains: [String!]) { organizationUpdate(input: { verifiedDomains: $domains }) {
        organization { verifiedDomains } userErrors { code path } } }";
    let data = server.data(update, json!({ "domains": ["Example.ORG"] })).await;
    assert_eq!(
        data["organizationUpdate"]["organization"]["verifiedDomains"],
        json!(["example.org"])
    );
    let data = server.data(update, json!({ "domains": ["example.org", "org"] })).await;
    let refused = json!({ "code": "INVALID", "path": ["input", "verifiedDomains", "1"] });
    assert_eq!(data["organizationUpdate"]["userErrors"], json!([refused]));
    let data = server.data("{ organization { verifiedDomains } }", json!({})).await;
    assert_eq!(data["organization"]["verifiedDomains"], json!(["example.org"]));
}

#[tokio::test]
async fn people_are_deleted_restored_and_erased_through_the_api() {
    let server = server().await;
    let connection = server.connection("Okta").await;
    let provider = server.provider(connection);
    let (ada, bob) = (person(&provider, "ada").await, person(&provider, "bob").await);
    let manual = person(&server.cx, "manual").await;
    user::delete_user(&server.cx, ada, |_| Ok(())).await.unwrap();

    let restore = "mutation($id: ID!) { userRestore(input: { id: $id }) { user { userName } \
                   userErrors { code path } } }";
    let data = server.data(restore, json!({ "id": id(NodeKind::User, ada) })).await;
    assert_eq!(data["userRestore"], json!({ "user": { "userName": "ada" }, "userErrors": [] }));
    let purge = "mutation($id: ID!) { userPurge(input: { id: $id }) { purgedUserId userErrors { \
                 code path } } }";
    let data = server.data(purge, json!({ "id": id(NodeKind::User, ada) })).await;
    let not_deleted = json!([{ "code": "NOT_FOUND", "path": ["input", "id"] }]);
    assert_eq!(data["userPurge"], json!({ "purgedUserId": null, "userErrors": not_deleted }));
    user::delete_user(&server.cx, bob, |_| Ok(())).await.unwrap();
    let data = server.data(purge, json!({ "id": id(NodeKind::User, bob) })).await;
    assert_eq!(
        data["userPurge"],
        json!({ "purgedUserId": id(NodeKind::User, bob), "userErrors": [] })
    );

    let delete = "mutation($count: Int!, $connection: ID) { provisionedUsersDelete(
        input: { confirmCount: $count, connectionId: $connection }) {
        job { state counts { deleted kept } } userErrors { code path message } } }";
    let without: Vec<_> =
        Permission::in_organization().into_iter().filter(|p| *p != Permission::DeleteAll).collect();
    let others = server.key_with(&without).await;
    assert_eq!(server.ask_as(&others, delete, json!({ "count": 1 })).await.code(), "FORBIDDEN");
    assert_eq!(
        server.ask_as(&others, purge, json!({ "id": id(NodeKind::User, bob) })).await.code(),
        "FORBIDDEN"
    );
    for wrong in [0, 2, -1] {
        let data = server.data(delete, json!({ "count": wrong })).await;
        let error = &data["provisionedUsersDelete"]["userErrors"][0];
        assert_eq!(
            (&error["code"], &error["path"]),
            (&json!("INVALID"), &json!(["input", "confirmCount"]))
        );
        assert!(error["message"].as_str().unwrap().contains("now 1"), "{error}");
    }
    let variables = json!({ "count": 1, "connection": id(NodeKind::IdentitySource, manual) });
    let data = server.data(delete, variables).await;
    assert_eq!(
        data["provisionedUsersDelete"]["userErrors"][0]["path"],
        json!(["input", "connectionId"])
    );
    let variables = json!({ "count": 1, "connection": id(NodeKind::IdentitySource, connection) });
    let data = server.data(delete, variables).await;
    let job = json!({ "state": "QUEUED", "counts": { "deleted": 0, "kept": 0 } });
    assert_eq!(data["provisionedUsersDelete"], json!({ "job": job, "userErrors": [] }));
    let claim = job::claim_next_deletion(&server.app).await.unwrap().unwrap();
    while claim.delete_next_batch().await.unwrap() == job::BatchOutcome::More {}
    let left = "{ organization { scim { counts { users } } users(first: 5) { nodes { userName } }
        events(first: 3) { nodes { action subjectKind subjectId } } } }";
    let data = server.data(left, json!({})).await;
    assert_eq!(data["organization"]["scim"]["counts"]["users"], 0);
    assert_eq!(data["organization"]["users"]["nodes"], json!([{ "userName": "manual" }]));
    let told = &data["organization"]["events"]["nodes"];
    let actions: Vec<_> = told.as_array().unwrap().iter().map(|row| &row["action"]).collect();
    assert_eq!(actions, ["DELETION_COMPLETED", "USERS_DELETED_ALL", "DELETION_REQUESTED"]);
    assert_eq!(
        told[1],
        json!({ "action": "USERS_DELETED_ALL", "subjectKind": "USER", "subjectId": null })
    );
    assert_eq!(told[0]["subjectKind"], "DELETION");
}
