//! Connections: how they are tested and deleted, and what happens to their accounts.

use std::time::Duration;

use rolecall::domain::audit::subject_owners::SubjectOwners;
use rolecall::domain::connection::delete;
use rolecall::domain::directory::user::UserQuery;
use rolecall::domain::directory::{deletion, user};
use rolecall::domain::tenant::organization;
use serde_json::{Value, json};

use crate::walk::codes;
use crate::world::{Tenant, World};

const TEST: &str = "{ organization { connections(first: 1) { nodes { id diagnosis { ok steps { check ok message nextStep }
    tokenExpiresAt recentFailures { meaning code nextStep } } } } } }";
const DELETE: &str =
    "mutation($id: ID!, $keep: Boolean) { connectionDelete(input: { id: $id, usersBecomeManual: $keep }) {
    deletedConnectionId manualUserCount manualGroupCount userErrors { code message } } }";

async fn id(tenant: &Tenant) -> Value {
    let found = tenant
        .graphql("{ organization { connections(first: 1) { nodes { id } } } }", json!({}))
        .await;
    found["data"]["organization"]["connections"]["nodes"][0]["id"].clone()
}

/// The checks that failed, and the whole result of the test.
async fn failing(world: &World) -> (Vec<String>, Value) {
    let answer = world.graphql(TEST, json!({})).await;
    let test = answer["data"]["organization"]["connections"]["nodes"][0]["diagnosis"].clone();
    let steps = test["steps"].as_array().unwrap_or_else(|| panic!("{answer:#}"));
    for step in steps {
        assert!(step["message"].as_str().is_some_and(|message| message.len() > 8), "{step}");
        assert!(
            step["ok"] == true || step["nextStep"].as_str().is_some_and(|next| next.len() > 8),
            "{step}"
        );
    }
    let failed = steps.iter().filter(|step| step["ok"] == false);
    let failed: Vec<_> = failed.map(|step| step["check"].as_str().unwrap().to_owned()).collect();
    assert_eq!(test["ok"], failed.is_empty());
    (failed, test)
}

#[tokio::test]
async fn connection_test_names_faults_and_remedies() {
    let world = World::new().await;
    let connection = id(&world.acme).await;
    assert_eq!(failing(&world).await.0, ["HEARD"], "no client has called yet");
    world.scim().user("ada").await;
    rolecall::domain::connection::scim_token::flush_credential_uses(&world.app).await.unwrap();
    let (failed, test) = failing(&world).await;
    assert_eq!((failed, &test["tokenExpiresAt"]), (vec![], &Value::Null));

    world.scim().post("/Users", json!({ "userName": "" })).await.is(400);
    rolecall::domain::connection::request_log::flush_request_counts(&world.app).await.unwrap();
    let (failed, test) = failing(&world).await;
    assert_eq!(failed, ["UNTROUBLED"]);
    assert_eq!(test["recentFailures"].as_array().unwrap().len(), 1, "{test:#}");
    world.days_pass(2);
    assert_eq!(failing(&world).await.0, Vec::<String>::new(), "that was long ago");

    let change = async |query: &str| {
        let answer = world.graphql(query, json!({ "id": connection })).await;
        assert_eq!(
            (codes(&answer), answer.to_string().contains("\"code\"")),
            (vec![], false),
            "{answer:#}"
        );
    };
    change(
        "mutation { organizationUpdate(input: { scimEnabled: false }) { userErrors { code } } }",
    )
    .await;
    change(
        "mutation($id: ID!) { connectionDeactivate(input: { id: $id }) { userErrors { code } } }",
    )
    .await;
    let revoke =
        "mutation($id: ID!) { scimTokenRevoke(input: { id: $id }) { userErrors { code } } }";
    let tokens = "{ organization { connections(first: 1) { nodes { tokens { id } } } } }";
    let tokens = world.graphql(tokens, json!({})).await;
    let token = &tokens["data"]["organization"]["connections"]["nodes"][0]["tokens"][0]["id"];
    world.graphql(revoke, json!({ "id": token })).await;
    assert_eq!(failing(&world).await.0, ["ENABLED", "ACTIVE", "TOKEN"], "all at once");
    let end = world.app.clock.now() + chrono::Duration::days(3);
    let issue = "mutation($id: ID!, $end: DateTime!) { scimTokenIssue(input: { connectionId: $id, \
                 expiresAt: $end }) { secret } }";
    world.graphql(issue, json!({ "id": connection, "end": end.to_rfc3339() })).await;
    let (failed, test) = failing(&world).await;
    assert_eq!(failed, ["ENABLED", "ACTIVE"]);
    assert!(test["tokenExpiresAt"].is_string(), "{test:#}");
    assert!(test["steps"][3]["nextStep"].is_string(), "it ends soon: {test:#}");
    world.end().await;
}

#[tokio::test]
async fn connection_with_accounts_is_not_deleted() {
    let world = World::new().await;
    let connection = id(&world.acme).await;
    let ada = world.scim().user("ada").await;
    let group = world.scim().group("Ward 3", &[ada]).await;
    let before = world.everything().await;
    let held = world.graphql(DELETE, json!({ "id": connection })).await["data"]["connectionDelete"]
        .clone();
    assert_eq!(
        (&held["deletedConnectionId"], &held["userErrors"][0]["code"]),
        (&Value::Null, &json!("HELD"))
    );
    assert!(
        held["userErrors"][0]["message"].as_str().unwrap().contains("1 accounts and 1 groups"),
        "{held}"
    );
    assert_eq!(world.everything().await, before);
    world.scim().delete(&format!("/Groups/{group}")).await.is(204);
    world.scim().delete(&format!("/Users/{ada}")).await.is(204);
    let done = world.graphql(DELETE, json!({ "id": connection })).await["data"]["connectionDelete"]
        .clone();
    assert_eq!(done["deletedConnectionId"], connection, "{done:#}");
    assert_eq!(
        (&done["manualUserCount"], &done["manualGroupCount"]),
        (&json!(0), &json!(0)),
        "both were deleted before"
    );
    world.scim().get("/Users").await.refused(401, None);
    // The connection no longer exists, for any request.
    let again =
        world.graphql(DELETE, json!({ "id": connection })).await["data"]["connectionDelete"]
            .clone();
    assert_eq!(again["userErrors"][0]["code"], "NOT_FOUND");
    assert_eq!(id(&world.acme).await, Value::Null);
    // An account that was deleted before can still be restored. It has no connection then.
    let back = deletion::restore_user(&world.system(), ada).await.unwrap();
    assert_eq!(back.connection_id, None);
    assert_eq!(world.events_of(world.acme.connection).await.last().unwrap(), "connection.deleted");
    world.end().await;
}

#[tokio::test]
async fn deleted_connection_can_leave_its_accounts() {
    let world = World::new().await;
    let other = world.tenant("acme", "Other").await;
    let theirs = other.scim.user("zoe").await;
    let connection = id(&world.acme).await;
    let ada = world.scim().user("ada").await;
    let group = world.scim().group("Ward 3", &[ada]).await;
    let found =
        world.graphql("{ organization { groups(first: 1) { nodes { id } } } }", json!({})).await;
    let map =
        "mutation($g: ID!, $c: ID!) { roleCreate(input: { name: \"Nurse\" }) { role { id } } }";
    let role =
        world.graphql(&map.replace("($g: ID!, $c: ID!) ", ""), json!({})).await["data"]["roleCreate"]["role"]["id"]
            .clone();
    let map = "mutation($g: ID!, $r: ID!, $c: ID!) {
        one: roleMappingCreate(input: { groupId: $g, roleId: $r }) { userErrors { message } }
        two: roleMappingCreate(input: { roleId: $r, awaits: { connectionId: $c, attribute: DISPLAY_NAME, value: \"Later\" } }) {
          userErrors { message } } }";
    let ward = &found["data"]["organization"]["groups"]["nodes"][0]["id"];
    let mapped = world.graphql(map, json!({ "g": ward, "r": role, "c": connection })).await;
    assert!(!mapped.to_string().contains("message"), "{mapped:#}");
    let roles = "{ organization { user(userName: \"ada\") { origin version roles { role { name } \
                 } connection { id } } } }";
    let before = world.graphql(roles, json!({})).await["data"]["organization"]["user"].clone();
    assert_eq!(
        (&before["origin"], &before["roles"][0]["role"]["name"]),
        (&json!("SCIM"), &json!("Nurse"))
    );
    let cx = world.system();
    assert_eq!(organization::provisioned_users(&cx, None).await.unwrap(), 2);

    let done =
        world.graphql(DELETE, json!({ "id": connection, "keep": true })).await["data"]["connectionDelete"].clone();
    assert_eq!(
        (&done["manualUserCount"], &done["manualGroupCount"]),
        (&json!(1), &json!(1)),
        "{done:#}"
    );
    world.scim().get("/Users").await.refused(401, None);
    other.scim.get(&format!("/Users/{theirs}")).await.is(200);
    let after = world.graphql(roles, json!({})).await["data"]["organization"]["user"].clone();
    assert_eq!((&after["origin"], &after["connection"]), (&json!("MANUAL"), &Value::Null));
    assert_eq!(after["roles"], before["roles"], "the group stays, and gives its role");
    assert!(after["version"].as_i64() > before["version"].as_i64());
    assert_eq!(
        world.count("role_mapping WHERE until IS NULL AND group_id IS NULL", []).await,
        0,
        "no mapping waits for a group"
    );
    // The counts agree, both before and after the rows are part of the chain.
    for _ in 0..2 {
        let [all, users, groups] = [
            user::count_users(&cx, &UserQuery::default()).await.unwrap(),
            organization::provisioned_users(&cx, None).await.unwrap(),
            organization::provisioned_groups(&cx, None).await.unwrap(),
        ];
        let by_hand = user::count_users(
            &cx,
            &UserQuery { owners: SubjectOwners::None, ..Default::default() },
        )
        .await
        .unwrap();
        assert_eq!((all, users, groups, by_hand), (2, 1, 0, 1));
        world.sealed().await;
    }
    let told = world
        .rows("SELECT action FROM event WHERE action LIKE '%.released' ORDER BY pos", [])
        .await;
    assert_eq!(
        told,
        [json!({ "action": "users.released" }), json!({ "action": "groups.released" })]
    );
    // An object that a running request still wrote for the connection is released later.
    world
        .execute(
            "UPDATE \"group\" SET connection_id = $1 WHERE id = $2",
            [world.acme.connection.into(), group.into()],
        )
        .await;
    delete::release_rest(&world.app).await.unwrap();
    assert_eq!(
        world.count("\"group\" WHERE connection_id IS NULL AND id = $1", [group.into()]).await,
        1
    );
    // A new connection may take the name and adopt the accounts.
    world.tenant("acme", "Identity provider").await;
    world.end().await;
}

#[tokio::test]
async fn keeping_accounts_requires_user_write() {
    let world = World::new().await;
    world.scim().user("ada").await;
    let issue = "mutation { apiKeyIssue(input: { name: \"some\", permissions: [IAM_READ, \
                 IAM_WRITE] }) { secret } }";
    let key = world.graphql(issue, json!({})).await["data"]["apiKeyIssue"]["secret"]
        .as_str()
        .unwrap()
        .to_owned();
    let connection = id(&world.acme).await;
    let answer =
        world.acme.graphql_as(&key, &[], DELETE, json!({ "id": connection, "keep": true })).await;
    assert_eq!(codes(&answer.body), ["FORBIDDEN"], "{:#}", answer.body);
    world.scim().get("/Users").await.is(200);
    world.end().await;
}

#[tokio::test]
async fn deleted_users_are_listed_until_purged() {
    let world = World::new().await;
    let list = "query($after: String) { organization { deletedUsers(first: 2, after: $after) { totalCount
        nodes { userId userName displayName deletedAt purgeAfter connection { name } } pageInfo { endCursor hasNextPage } } } }";
    let mut people = Vec::new();
    for name in ["ada", "ben", "cleo", "dora"] {
        people.push(world.scim().user(name).await);
    }
    for person in &people[..3] {
        world.scim().delete(&format!("/Users/{person}")).await.is(204);
    }
    let page = async |after: Value| {
        world.graphql(list, json!({ "after": after })).await["data"]["organization"]["deletedUsers"]
            .clone()
    };
    let first = page(Value::Null).await;
    assert_eq!(
        (&first["totalCount"], &first["pageInfo"]["hasNextPage"]),
        (&json!(3), &json!(true)),
        "{first:#}"
    );
    assert_eq!(first["nodes"][0]["userName"], "ada");
    assert_eq!(first["nodes"][0]["connection"]["name"], "Identity provider");
    assert!(
        first["nodes"][0]["deletedAt"].is_string() && first["nodes"][0]["purgeAfter"].is_null()
    );
    let second = page(first["pageInfo"]["endCursor"].clone()).await;
    assert_eq!(second["nodes"][0]["userName"], "cleo");
    let restore = "mutation($id: ID!) { userRestore(input: { id: $id }) { user { userName } } }";
    let back = world.graphql(restore, json!({ "id": first["nodes"][0]["userId"] })).await;
    assert_eq!(back["data"]["userRestore"]["user"]["userName"], "ada", "{back:#}");
    rolecall::domain::directory::erasure::purge_user(&world.system(), people[1]).await.unwrap();
    let left = page(Value::Null).await;
    assert_eq!(
        (&left["totalCount"], &left["nodes"][0]["userName"]),
        (&json!(1), &json!("cleo")),
        "{left:#}"
    );
    world.end().await;
}

#[tokio::test]
async fn running_deletion_reports_its_progress() {
    let world = World::new().await;
    let ask = async || {
        let answer = world
            .graphql("{ organization { scim { runningDeletion { id state progress { done total } } } } }", json!({}))
            .await;
        answer["data"]["organization"]["scim"]["runningDeletion"].clone()
    };
    assert_eq!(ask().await, Value::Null);
    let cx = world.system();
    let people = 1_200;
    for at in 0..people {
        let body = json!({ "userName": format!("user{at}") });
        user::create_user(&cx, body.as_object().unwrap().clone()).await.unwrap();
    }
    world.execute("UPDATE \"user\" SET connection_id = $1", [world.acme.connection.into()]).await;
    let run = tokio::spawn(async move { crate::deletion::delete_all(&cx, None, people).await });
    let mut seen = Vec::new();
    while !run.is_finished() {
        let progress = ask().await["progress"].clone();
        if !progress.is_null() && !seen.contains(&progress) {
            seen.push(progress);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(run.await.unwrap().unwrap().count, people as u64);
    assert!(seen.iter().any(|progress| progress["total"] == people), "{seen:?}");
    let done: Vec<_> = seen.iter().map(|progress| progress["done"].as_i64().unwrap()).collect();
    assert!(done.is_sorted() && done.iter().all(|done| *done <= people), "{done:?}");
    assert_eq!(ask().await, Value::Null);
    world.end().await;
}
