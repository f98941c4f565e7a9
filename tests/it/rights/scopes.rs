//! A scope of a SCIM token, or a permission, shows no data of another one.

use rolecall::auth::policy::{Permission, Scope};
use rolecall::domain::connection::scim_token;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{error_code, global};
use crate::bulk::key_with;
use crate::world::{Scim, World};

/// A client with a token of these scopes.
async fn with_scopes(world: &World, scopes: &[Scope]) -> Scim {
    let scopes = scopes.iter().copied().collect();
    let issued =
        scim_token::issue_token(&world.system(), world.acme.connection, Some(scopes), None)
            .await
            .unwrap();
    world.scim().with_token(&issued.secret)
}

#[tokio::test]
async fn member_names_require_users_read() {
    let world = World::new().await;
    let ada = world.scim().user("ada.secret").await;
    let inner = world.scim().group("Inner", &[]).await;
    let group = world.scim().group("Ward", &[ada, inner]).await;
    let (alone, both) = (
        with_scopes(&world, &[Scope::GroupsRead]).await,
        with_scopes(&world, &[Scope::GroupsRead, Scope::UsersRead]).await,
    );
    let search = json!({ "attributes": ["members.display", "members.value"] });
    for path in [
        format!("/Groups/{group}?attributes=members.display"),
        "/Groups?attributes=members.display,members".into(),
    ] {
        let shown = alone.get(&path).await.is(200).body.to_string();
        assert!(!shown.contains("ada.secret") && shown.contains("Inner"), "{path}: {shown}");
        let shown = both.get(&path).await.is(200).body.to_string();
        assert!(shown.contains("ada.secret"), "{path}: {shown}");
    }
    let found = alone.post("/Groups/.search", search.clone()).await.is(200).body.to_string();
    assert!(!found.contains("ada.secret"), "{found}");
    assert!(
        both.post("/Groups/.search", search).await.is(200).body.to_string().contains("ada.secret")
    );
    world.end().await;
}

/// The answer has no body. Its headers name the resource's location and its version.
fn shows_nothing(answer: &crate::world::Answer, id: Uuid) {
    assert_eq!(answer.body, Value::Null);
    assert!(answer.header("location").ends_with(&id.to_string()), "{:?}", answer.headers);
    assert!(answer.header("etag").starts_with("W/"), "{:?}", answer.headers);
}

#[tokio::test]
async fn write_only_token_gets_no_body() {
    let world = World::new().await;
    let user = world.scim().user("ada").await;
    let group = world.scim().group("Ward", &[user]).await;
    for (kind, id, scope) in
        [("Users", user, Scope::UsersWrite), ("Groups", group, Scope::GroupsWrite)]
    {
        let (read, writes) = match scope {
            Scope::UsersWrite => {
                (Scope::UsersRead, json!({ "userName": "ada", "externalId": "x-ada" }))
            }
            _ => (Scope::GroupsRead, json!({ "displayName": "Ward" })),
        };
        // The same holds for a token with every scope except the right to read this kind.
        let others: Vec<Scope> = Scope::ALL.into_iter().filter(|other| *other != read).collect();
        for scim in [with_scopes(&world, &[scope]).await, with_scopes(&world, &others).await] {
            let rename = json!([{ "op": "replace", "path": "displayName", "value": "Ward" }]);
            for query in ["", "?attributes=displayName,userName", "?excludedAttributes=meta"] {
                let path = format!("/{kind}/{id}{query}");
                shows_nothing(&scim.patch(&path, rename.clone()).await.is(204), id);
                shows_nothing(&scim.put(&path, writes.clone()).await.is(204), id);
            }
            let new = json!({ "userName": "new", "displayName": "New" });
            let made = scim.post(&format!("/{kind}?attributes=userName"), new).await.is(201);
            let id = made.header("location").rsplit('/').next().unwrap().parse().unwrap();
            shows_nothing(&made, id);
            scim.delete(&format!("/{kind}/{id}")).await.is(204);
            let operation = json!({ "method": "PATCH", "path": format!("/{kind}/{}", if kind == "Users" { user } else { group }),
                "data": { "Operations": rename } });
            let bulk = json!({ "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],
                "Operations": [operation] });
            let answer = scim.post("/Bulk", bulk).await.is(200).body;
            assert!(answer["Operations"][0]["response"].is_null(), "{answer}");
        }
    }
    world.end().await;
}

#[tokio::test]
async fn filters_require_read_scopes() {
    let world = World::new().await;
    let ada = world.scim().user("ada").await;
    let group = world.scim().group("Ward", &[ada]).await;
    let users = with_scopes(&world, &[Scope::UsersRead]).await;
    let all = with_scopes(&world, &[Scope::UsersRead, Scope::GroupsRead]).await;
    for filter in [
        format!("groups.value eq \"{group}\""),
        format!("groups eq \"{group}\""),
        format!("userName eq \"ada\" and not (GROUPS[value eq \"{group}\"])"),
        format!(
            "userName pr and (title pr or urn:ietf:params:scim:schemas:core:2.0:User:groups.value \
             eq \"{group}\")"
        ),
        "groups pr".into(),
    ] {
        users.post("/Users/.search", json!({ "filter": filter })).await.refused(403, None);
        let encoded: String = filter.bytes().map(|byte| format!("%{byte:02x}")).collect();
        users.get(&format!("/Users?filter={encoded}")).await.refused(403, None);
        all.post("/Users/.search", json!({ "filter": filter })).await.is(200);
    }
    // An account shows no groups to this token, whatever attributes the request names.
    for path in [
        format!("/Users/{ada}"),
        format!("/Users/{ada}?attributes=groups"),
        "/Users?attributes=groups".into(),
    ] {
        let shown = users.get(&path).await.is(200).body.to_string();
        assert!(!shown.contains(&group.to_string()) && !shown.contains("Ward"), "{path}: {shown}");
    }
    // A conditional request does not reveal whether a resource exists.
    let groups = with_scopes(&world, &[Scope::GroupsRead]).await;
    let tags = [("if-none-match", "*")];
    groups
        .send(reqwest::Method::GET, &format!("/Users/{ada}"), None, &tags)
        .await
        .refused(403, None);
    world.end().await;
}

#[tokio::test]
async fn connection_filter_requires_iam_read() {
    let world = World::new().await;
    world.scim().user("ada").await;
    let list = "query($f: UserFilter) { organization { users(first: 5, filter: $f) { nodes { \
                userName } } } }";
    let filter =
        json!({ "f": { "connectionId": global("IdentitySource", world.acme.connection) } });
    let reader = key_with(&world, &[Permission::UserRead]).await.secret;
    let refused = world.acme.graphql_as(&reader, &[], list, filter.clone()).await.body;
    assert_eq!(error_code(&refused), "FORBIDDEN", "{refused}");
    let found = world
        .acme
        .graphql_as(&reader, &[], list, json!({ "f": { "provisioned": true } }))
        .await
        .body;
    assert_eq!(found["data"]["organization"]["users"]["nodes"][0]["userName"], "ada", "{found}");
    let both = key_with(&world, &[Permission::UserRead, Permission::IamRead]).await.secret;
    let found = world.acme.graphql_as(&both, &[], list, filter).await.body;
    assert_eq!(found["data"]["organization"]["users"]["nodes"][0]["userName"], "ada", "{found}");
    world.end().await;
}
