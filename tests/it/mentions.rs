//! Names of the objects that the values of events name by their ids.

use serde_json::{Value, json};

use crate::world::World;

const EVENTS: &str =
    "query($f: EventFilter!) { organization { events(first: 10, filter: $f) { nodes {
    action before after mentions { value subjectKind subjectId subjectName } } } } }";

async fn events(world: &World, filter: Value) -> Vec<Value> {
    let answer = world.graphql(EVENTS, json!({ "f": filter })).await;
    let nodes = &answer["data"]["organization"]["events"]["nodes"];
    nodes.as_array().unwrap_or_else(|| panic!("{answer:#}")).clone()
}

#[tokio::test]
async fn members_are_called_as_then() {
    let world = World::new().await;
    let scim = world.scim();
    let ada = scim.user("ada@acme.example").await;
    let group = scim.group("Pilots", &[]).await;
    let path = format!("/Groups/{group}");
    let add = json!([{ "op": "add", "path": "members", "value": [{ "value": ada }] }]);
    scim.patch(&path, add).await.is(200);
    let rename = json!([{ "op": "replace", "path": "displayName", "value": "Ada the Great" }]);
    scim.patch(&format!("/Users/{ada}"), rename).await.is(200);
    let remove = json!([{ "op": "remove", "path": format!("members[value eq \"{ada}\"]") }]);
    scim.patch(&path, remove).await.is(200);
    scim.delete(&format!("/Users/{ada}")).await.is(204);
    let moves = events(&world, json!({ "actions": ["GROUP_MEMBERS_CHANGED"] })).await;
    let names: Vec<&Value> =
        moves.iter().map(|event| &event["mentions"][0]["subjectName"]).collect();
    assert_eq!(names, ["Ada the Great", "ada@acme.example"], "{moves:#?}");
    for event in &moves {
        let one = &event["mentions"][0];
        assert_eq!(event["mentions"].as_array().map(Vec::len), Some(1), "{event:#}");
        assert_eq!((&one["value"], &one["subjectKind"]), (&json!(ada), &json!("USER")));
        assert!(one["subjectId"].is_string(), "{event:#}");
    }
    world.end().await;
}

#[tokio::test]
async fn erased_member_has_no_name() {
    let world = World::new().await;
    let scim = world.scim();
    let ada = scim.user("ada@acme.example").await;
    scim.group("Pilots", &[ada]).await;
    let find = "{ organization { user(userName: \"ada@acme.example\") { id } } }";
    let found = world.graphql(find, json!({})).await;
    let id = &found["data"]["organization"]["user"]["id"];
    scim.delete(&format!("/Users/{ada}")).await.is(204);
    let purge = "mutation($id: ID!) { userPurge(input: { id: $id }) { userErrors { message } } }";
    let purged = world.graphql(purge, json!({ "id": id })).await;
    assert_eq!(purged["data"]["userPurge"]["userErrors"], json!([]), "{purged:#}");
    for event in events(&world, json!({ "subjectKind": "GROUP" })).await {
        for one in event["mentions"].as_array().unwrap() {
            assert!(one["subjectName"].is_null() || one["subjectKind"] != "USER", "{event:#}");
        }
    }
    world.end().await;
}
