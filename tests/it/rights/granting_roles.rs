//! No caller can give a role or scope that it may not give itself: neither by a token, nor through
//! a group that is mapped to a role.

use rolecall::auth::policy::{Permission, Scope};
use rolecall::domain::access::role_mapping;
use rolecall::domain::access::role_mapping::MappingTarget;
use rolecall::domain::connection;
use rolecall::domain::directory::group;
use rolecall::domain::directory::group::GroupEdit;
use rolecall::identity::document::MemberChange;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{error_code, global, map_to_role};
use crate::bulk::key_with;
use crate::world::World;

const ISSUE: &str =
    "mutation($i: ScimTokenIssueInput!) { scimTokenIssue(input: $i) { scimToken { id } secret
    userErrors { code path message } } }";
const ROTATE: &str = "mutation($i: ScimTokenRotateInput!) { scimTokenRotate(input: $i) { secret
    userErrors { code message } } }";
const ADD: &str = "mutation($i: GroupAddMembersInput!) { groupAddMembers(input: $i) { group { id }
    userErrors { code message } } }";
const REMOVE: &str =
    "mutation($i: GroupRemoveMembersInput!) { groupRemoveMembers(input: $i) { group { id }
    userErrors { code message } } }";

/// The permissions that a caller needs to issue a token with each scope.
const PERMISSIONS: [(Scope, &[Permission]); 4] = [
    (Scope::UsersRead, &[Permission::UserRead]),
    (Scope::UsersWrite, &[Permission::UserWrite]),
    (Scope::GroupsRead, &[Permission::IamRead]),
    (Scope::GroupsWrite, &[Permission::UserWrite, Permission::AccessWrite]),
];

#[tokio::test]
async fn issuing_a_token_requires_its_permissions() {
    let world = World::new().await;
    let connection = global("IdentitySource", world.acme.connection);
    let tokens = world.count("scim_token", []).await;
    for (scope, needed) in PERMISSIONS {
        let input = json!({ "i": { "connectionId": connection, "scopes": [scope.name()] } });
        for missing in needed {
            let held: Vec<_> = Permission::in_organization()
                .into_iter()
                .filter(|permission| permission != missing)
                .collect();
            let key = key_with(&world, &held).await.secret;
            let refused = world.acme.graphql_as(&key, &[], ISSUE, input.clone()).await.body;
            assert_eq!(
                error_code(&refused),
                "FORBIDDEN",
                "{} without {missing}: {refused}",
                scope.name()
            );
            let words = refused["errors"][0]["message"].as_str().unwrap();
            assert!(words.contains(scope.name()) && words.contains(missing.name()), "{words}");
        }
        assert_eq!(world.count("scim_token", []).await, tokens);
    }
    for (scope, needed) in PERMISSIONS {
        let held: Vec<_> = needed.iter().copied().chain([Permission::TokenManage]).collect();
        let key = key_with(&world, &held).await.secret;
        let input = json!({ "i": { "connectionId": connection, "scopes": [scope.name()] } });
        let issued = world.acme.graphql_as(&key, &[], ISSUE, input).await.body;
        assert!(
            issued["data"]["scimTokenIssue"]["secret"].is_string(),
            "{}: {issued}",
            scope.name()
        );
    }
    // A token without a list of scopes has all of them.
    let key = key_with(&world, &[Permission::TokenManage, Permission::UserRead]).await.secret;
    let input = json!({ "i": { "connectionId": connection } });
    assert_eq!(error_code(&world.acme.graphql_as(&key, &[], ISSUE, input).await.body), "FORBIDDEN");
    world.end().await;
}

#[tokio::test]
async fn rotating_a_token_requires_its_permissions() {
    let world = World::new().await;
    let input = json!({ "i": { "connectionId": global("IdentitySource", world.acme.connection) } });
    let key = key_with(&world, &[Permission::TokenManage]).await.secret;
    let refused = world.acme.graphql_as(&key, &[], ROTATE, input.clone()).await.body;
    assert_eq!(error_code(&refused), "FORBIDDEN", "{refused}");
    world.scim().get("/Users").await.is(200);
    assert_eq!(world.count("scim_token WHERE retires_at IS NOT NULL", []).await, 0);
    let held: Vec<_> = Permission::in_organization()
        .into_iter()
        .filter(|held| *held != Permission::DeleteAll)
        .collect();
    let key = key_with(&world, &held).await.secret;
    let done = world.acme.graphql_as(&key, &[], ROTATE, input).await.body;
    assert!(done["data"]["scimTokenRotate"]["secret"].is_string(), "{done}");
    world.end().await;
}

#[tokio::test]
async fn default_role_token_requires_access_write() {
    let world = World::new().await;
    map_to_role(&world.system(), "Staff", MappingTarget::AllUsers(world.acme.connection)).await;
    let input = json!({ "i": { "connectionId": global("IdentitySource", world.acme.connection),
        "scopes": ["USERS_WRITE"] } });
    let key = key_with(&world, &[Permission::TokenManage, Permission::UserWrite]).await.secret;
    let refused = world.acme.graphql_as(&key, &[], ISSUE, input.clone()).await.body;
    assert_eq!(error_code(&refused), "FORBIDDEN", "{refused}");
    let held = [Permission::TokenManage, Permission::UserWrite, Permission::AccessWrite];
    let key = key_with(&world, &held).await.secret;
    let issued = world.acme.graphql_as(&key, &[], ISSUE, input).await.body;
    assert!(issued["data"]["scimTokenIssue"]["secret"].is_string(), "{issued}");
    world.end().await;
}

/// An organization with a caller who may write users but not give roles.
struct Story {
    world: World,
    writer: String,
    giver: String,
    ada: Uuid,
}

impl Story {
    async fn new() -> Self {
        let world = World::new().await;
        let writer = key_with(&world, &[Permission::UserWrite]).await.secret;
        let giver =
            key_with(&world, &[Permission::UserWrite, Permission::AccessWrite]).await.secret;
        let ada = world.scim().user("ada").await;
        Self { world, writer, giver, ada }
    }

    /// Adding a member is refused for the caller who may only write users, and succeeds for one who
    /// may also give roles.
    async fn is_refused_to_writer_alone(&self, group: Uuid, member: &str) {
        let before = self.world.everything().await;
        let input = json!({ "i": { "id": global("Group", group), "memberIds": [member] } });
        let refused = self.world.acme.graphql_as(&self.writer, &[], ADD, input.clone()).await.body;
        assert_eq!(error_code(&refused), "FORBIDDEN", "{refused}");
        assert!(
            refused["errors"][0]["message"].as_str().unwrap().contains("ACCESS_WRITE"),
            "{refused}"
        );
        assert_eq!(self.world.everything().await, before);
        let done = self.world.acme.graphql_as(&self.giver, &[], ADD, input).await.body;
        assert_eq!(done["data"]["groupAddMembers"]["userErrors"], json!([]), "{done}");
    }
}

#[tokio::test]
async fn mapped_group_member_requires_access_write() {
    let story = Story::new().await;
    let (world, scim, cx) = (&story.world, story.world.scim(), story.world.system());
    let ada = global("User", story.ada);
    let mapped = scim.group("Mapped", &[]).await;
    map_to_role(&cx, "Nurse", MappingTarget::Group(mapped)).await;
    story.is_refused_to_writer_alone(mapped, &ada).await;
    // Removing a member gives no role, so it needs no more than the right to write users.
    let input = json!({ "i": { "id": global("Group", mapped), "memberIds": [ada] } });
    let removed = world.acme.graphql_as(&story.writer, &[], REMOVE, input).await.body;
    assert_eq!(removed["data"]["groupRemoveMembers"]["userErrors"], json!([]), "{removed}");

    // The same holds for a group inside the mapped group, and for adding such a group.
    let (inner, other) = (scim.group("Inner", &[]).await, scim.group("Other", &[]).await);
    story.is_refused_to_writer_alone(mapped, &global("Group", inner)).await;
    story.is_refused_to_writer_alone(inner, &ada).await;
    story.is_refused_to_writer_alone(inner, &global("Group", other)).await;
    story.is_refused_to_writer_alone(other, &ada).await;

    // A group without a mapping, or whose mapping has ended, needs no more than before.
    let plain = scim.group("Plain", &[]).await;
    let input = json!({ "i": { "id": global("Group", plain), "memberIds": [ada] } });
    let done = world.acme.graphql_as(&story.writer, &[], ADD, input).await.body;
    assert_eq!(done["data"]["groupAddMembers"]["userErrors"], json!([]), "{done}");
    let past = scim.group("Past", &[]).await;
    let (_, ended) = map_to_role(&cx, "Past", MappingTarget::Group(past)).await;
    role_mapping::remove_mapping(&cx, ended).await.unwrap();
    let input = json!({ "i": { "id": global("Group", past), "memberIds": [ada] } });
    let done = world.acme.graphql_as(&story.writer, &[], ADD, input).await.body;
    assert_eq!(done["data"]["groupAddMembers"]["userErrors"], json!([]), "{done}");
    story.world.end().await;
}

#[tokio::test]
async fn awaited_group_name_requires_access_write() {
    let story = Story::new().await;
    let (world, cx) = (&story.world, story.world.system());
    let group = world.scim().group("Ward", &[story.ada]).await;
    let awaited = MappingTarget::Awaited {
        connection: world.acme.connection,
        external_id: false,
        value: "Chiefs".into(),
    };
    let (role, _) = map_to_role(&cx, "Chief", awaited).await;
    let rename = "mutation($i: GroupUpdateInput!) { groupUpdate(input: $i) { group { id } \
                  userErrors { code } } }";
    let input = json!({ "i": { "id": global("Group", group), "displayName": "chiefs" } });
    let before = world.everything().await;
    let refused = world.acme.graphql_as(&story.writer, &[], rename, input.clone()).await.body;
    assert_eq!(error_code(&refused), "FORBIDDEN", "{refused}");
    assert_eq!(world.everything().await, before);
    let done = world.acme.graphql_as(&story.giver, &[], rename, input).await.body;
    assert_eq!(done["data"]["groupUpdate"]["userErrors"], json!([]), "{done}");
    assert_eq!(
        world
            .count("role_mapping WHERE role_id = $1 AND group_id IS NOT NULL", [role.into()])
            .await,
        1
    );
    story.world.end().await;
}

#[tokio::test]
async fn bulk_line_requires_access_write() {
    let story = Story::new().await;
    let world = &story.world;
    let mapped = world.scim().group("Mapped", &[]).await;
    map_to_role(&world.system(), "Nurse", MappingTarget::Group(mapped)).await;
    let input = json!({ "id": global("Group", mapped), "memberIds": [global("User", story.ada)] });
    let line = json!({ "operation": "groupAddMembers", "input": input }).to_string();
    let url = world.acme.graphql.replace("/graphql", "/bulk");
    let request = reqwest::Client::new().post(url).bearer_auth(&story.writer);
    let taken =
        request.header("content-type", "application/jsonl").body(line).send().await.unwrap();
    assert_eq!(taken.status(), 202);
    let taken: Value = serde_json::from_str(&taken.text().await.unwrap()).unwrap();
    let job = crate::bulk::ended(&world.acme, taken["bulkJob"]["id"].as_str().unwrap()).await;
    assert_eq!((&job["doneCount"], &job["failedCount"]), (&json!(1), &json!(1)), "{job}");
    assert_eq!(world.count("membership", []).await, 0);
    story.world.end().await;
}

#[tokio::test]
async fn restore_and_adoption_require_access_write() {
    let world = World::new().await;
    let cx = world.system();
    let connection = world.acme.connection;
    let deleted = world.scim().user("gone").await;
    world.scim().delete(&format!("/Users/{deleted}")).await.is(204);
    let policy = connection::ConnectionSettings {
        adoption_policy: Some(entity::connection::AdoptionPolicy::Propose),
        ..Default::default()
    };
    connection::update_connection(&cx, connection, policy, Default::default(), None).await.unwrap();
    world.rival("ada@acme.example").await;
    world
        .scim()
        .post("/Users", json!({ "userName": "ada@acme.example" }))
        .await
        .refused(409, Some("uniqueness"));
    let list = "{ organization { adoptionProposals(first: 1) { nodes { id } } } }";
    let proposal =
        world.graphql(list, json!({})).await["data"]["organization"]["adoptionProposals"]["nodes"]
            [0]["id"]
            .clone();
    map_to_role(&cx, "Staff", MappingTarget::AllUsers(connection)).await;

    let restore = "mutation($id: ID!) { userRestore(input: { id: $id }) { userErrors { code } } }";
    let accept =
        "mutation($id: ID!) { adoptionProposalAccept(input: { id: $id }) { userErrors { code } } }";
    let held: Vec<_> = Permission::in_organization()
        .into_iter()
        .filter(|held| *held != Permission::AccessWrite)
        .collect();
    let key = key_with(&world, &held).await.secret;
    for (mutation, id) in [(restore, json!(global("User", deleted))), (accept, proposal)] {
        let before = world.everything().await;
        let refused = world.acme.graphql_as(&key, &[], mutation, json!({ "id": id })).await.body;
        assert_eq!(error_code(&refused), "FORBIDDEN", "{refused}");
        assert_eq!(world.everything().await, before);
        let done = world.graphql(mutation, json!({ "id": id })).await;
        assert!(done["errors"].is_null() && !done.to_string().contains("\"code\""), "{done}");
    }
    world.end().await;
}

#[tokio::test]
async fn role_giving_retry_requires_access_write() {
    let world = World::new().await;
    let cx = world.system();
    let mapped = world.scim().group("Mapped", &[]).await;
    map_to_role(&cx, "Nurse", MappingTarget::Group(mapped)).await;
    let stranger = Uuid::now_v7();
    let add = json!([{ "op": "add", "path": "members", "value": [{ "value": stranger }] }]);
    world.scim().patch(&format!("/Groups/{mapped}"), add).await.is(400);
    let failure = world.failures().await.remove(0)["id"].clone();
    let retry = "mutation($id: ID!) { failureRetry(input: { id: $id }) { failure { state } \
                 userErrors { code } } }";
    let retry_all = "mutation { failuresRetry(input: { filter: {} }) { doneCount skipped { reason count } userErrors { code } } }";
    let reviewer = key_with(&world, &[Permission::ReviewWrite, Permission::IamRead]).await.secret;
    let refused = world.acme.graphql_as(&reviewer, &[], retry, json!({ "id": failure })).await.body;
    assert_eq!(error_code(&refused), "FORBIDDEN", "{refused}");
    let passed_over = world.acme.graphql_as(&reviewer, &[], retry_all, json!({})).await.body;
    let skipped = json!([{ "reason": "FORBIDDEN", "count": 1 }]);
    assert_eq!(passed_over["data"]["failuresRetry"]["doneCount"], 0, "{passed_over}");
    assert_eq!(passed_over["data"]["failuresRetry"]["skipped"], skipped, "{passed_over}");
    let held = [Permission::ReviewWrite, Permission::IamRead, Permission::AccessWrite];
    let giver = key_with(&world, &held).await.secret;
    let done = world.acme.graphql_as(&giver, &[], retry, json!({ "id": failure })).await.body;
    assert_eq!(done["data"]["failureRetry"]["userErrors"], json!([]), "{done}");
    // A retry that gives no role needs no more than the right to review.
    world.scim().post("/Users", json!({ "userName": "x".repeat(3000) })).await.is(400);
    let failures = world.failures().await;
    let other = failures.iter().find(|failure| failure["operation"] == "create user").unwrap();
    let done =
        world.acme.graphql_as(&reviewer, &[], retry, json!({ "id": other["id"] })).await.body;
    assert_eq!(done["data"]["failureRetry"]["userErrors"], json!([]), "{done}");
    world.end().await;
}

#[tokio::test]
async fn identity_provider_needs_no_extra_permission() {
    let world = World::new().await;
    let cx = world.system();
    let ada = world.scim().user("ada").await;
    let mapped = world.scim().group("Mapped", &[]).await;
    map_to_role(&cx, "Nurse", MappingTarget::Group(mapped)).await;
    let add = json!([{ "op": "add", "path": "members", "value": [{ "value": ada }] }]);
    world.scim().patch(&format!("/Groups/{mapped}"), add).await.is(200);
    // The server itself needs no permission either.
    let bob = world.scim().user("bob").await;
    let edit = GroupEdit {
        members: vec![MemberChange::Add(vec![bob.to_string()])],
        ..GroupEdit::default()
    };
    group::change_group(&cx, mapped, |_| Ok(edit.clone())).await.unwrap();
    assert_eq!(world.scim().members(mapped).await.len(), 2);
    world.end().await;
}
