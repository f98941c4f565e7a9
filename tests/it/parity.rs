//! The same change over SCIM and over GraphQL leaves the same rows and the same event, except for
//! the actor, ids and times.

use base64::Engine;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::World;

/// A person and a group with a member. There are two equal ones: the first is changed over SCIM,
/// the other over GraphQL.
struct Twin {
    name: &'static str,
    user: Uuid,
    member: Uuid,
    group: Uuid,
}

impl Twin {
    async fn new(world: &World, name: &'static str) -> Self {
        let body = |name: String| {
            json!({
                "userName": name, "externalId": name, "displayName": "Ada", "title": "Nurse",
                "emails": [{ "value": format!("{name}@x.org"), "type": "work" }],
            })
        };
        let user = world.scim().post("/Users", body(format!("{name}-user"))).await.is(201).id();
        let member = world.scim().post("/Users", body(format!("{name}-member"))).await.is(201).id();
        Self { name, user, member, group: world.scim().group("Ward", &[member]).await }
    }

    /// Everything that a change could have written, without the twin's own ids and names.
    async fn traces(&self, world: &World) -> Value {
        let columns = "user_name, user_name_key, display_name, active, version, document";
        let user = world
            .rows(&format!("SELECT {columns} FROM \"user\" WHERE id = $1"), [self.user.into()])
            .await;
        let columns = "display_name, display_name_key, version, document";
        let group = world
            .rows(&format!("SELECT {columns} FROM \"group\" WHERE id = $1"), [self.group.into()])
            .await;
        let mut counts = json!({});
        for (table, column, id) in [
            ("membership", "group_id", self.group),
            ("membership", "user_id", self.user),
            ("activation", "user_id", self.user),
            ("user_email", "user_id", self.user),
        ] {
            counts[format!("{table} by {column}")] =
                world.count(&format!("{table} WHERE {column} = $1"), [id.into()]).await.into();
            if table != "user_email" {
                let open = format!("{table} WHERE {column} = $1 AND until IS NULL");
                counts[format!("open {table} by {column}")] =
                    world.count(&open, [id.into()]).await.into();
            }
        }
        for table in ["user", "group"] {
            let deleted = format!("\"{table}\" WHERE id IN ($1, $2) AND deleted_at IS NOT NULL");
            counts[format!("deleted {table}")] =
                world.count(&deleted, [self.user.into(), self.group.into()]).await.into();
        }
        let told = "SELECT action, subject_kind, payload FROM event WHERE subject_id IN ($1, $2) \
                    ORDER BY pos";
        let events = world.rows(told, [self.user.into(), self.group.into()]).await;
        let connection = "event WHERE subject_id IN ($1, $2) AND connection_id = $3";
        let owned = world
            .count(connection, [self.user.into(), self.group.into(), world.acme.connection.into()])
            .await;
        let traces = json!({ "user": user, "group": group, "counts": counts, "events": events, "owned events": owned });
        let mut text = traces.to_string();
        for (id, name) in [(self.user, "USER"), (self.member, "MEMBER"), (self.group, "GROUP")] {
            text = text.replace(&id.to_string(), name);
        }
        serde_json::from_str(&text.replace(self.name, "NAME")).unwrap()
    }
}

fn global(kind: &str, id: Uuid) -> String {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(format!("{kind}:{id}"))
}

/// Makes one change over each interface, each on its own twin, and compares the traces.
async fn same(
    name: &str,
    scim: impl AsyncFn(&World, &Twin),
    mutation: &str,
    input: impl Fn(&Twin) -> Value,
    prepare: impl AsyncFn(&World, &Twin),
) {
    let world = World::new().await;
    let (one, other) = (Twin::new(&world, "first").await, Twin::new(&world, "other").await);
    for twin in [&one, &other] {
        prepare(&world, twin).await;
    }
    assert_eq!(
        one.traces(&world).await,
        other.traces(&world).await,
        "{name}: twins before the change"
    );
    let before = world.count("event", []).await;

    scim(&world, &one).await;
    let by_scim = world.rows("SELECT actor_kind FROM event ORDER BY pos DESC LIMIT 1", []).await;
    assert_eq!(by_scim[0]["actor_kind"], "CONNECTION", "{name}");

    let kind = format!("{}{}Input", mutation[..1].to_uppercase(), &mutation[1..]);
    let query = format!(
        "mutation($input: {kind}!) {{ {mutation}(input: $input) {{ userErrors {{ code message }} \
         }} }}"
    );
    let answer = world.graphql(&query, json!({ "input": input(&other) })).await;
    assert_eq!(answer["data"][mutation]["userErrors"], json!([]), "{name}: {answer:#}");
    let by_graphql = world.rows("SELECT actor_kind FROM event ORDER BY pos DESC LIMIT 1", []).await;
    assert_eq!(by_graphql[0]["actor_kind"], "API_KEY", "{name}");

    assert_eq!(world.count("event", []).await, before + 2, "{name}: one event each");
    assert_eq!(one.traces(&world).await, other.traces(&world).await, "{name}");
    world.end().await;
}

async fn nothing(_: &World, _: &Twin) {}

async fn patch(world: &World, path: String, operations: Value) {
    world.scim().patch(&path, operations).await.is(200);
}

#[tokio::test]
async fn adding_members_leaves_equal_traces() {
    let add = async |world: &World, twin: &Twin| {
        let operations = json!([{ "op": "add", "path": "members", "value": [{ "value": twin.user }, { "value": twin.member }] }]);
        patch(world, format!("/Groups/{}", twin.group), operations).await;
    };
    let input = |twin: &Twin| json!({ "id": global("Group", twin.group), "memberIds": [global("User", twin.user), global("User", twin.member)] });
    same("a member joins", add, "groupAddMembers", input, nothing).await;
}

#[tokio::test]
async fn removing_members_leaves_equal_traces() {
    let remove = async |world: &World, twin: &Twin| {
        let operations =
            json!([{ "op": "remove", "path": format!("members[value eq \"{}\"]", twin.member) }]);
        patch(world, format!("/Groups/{}", twin.group), operations).await;
    };
    let input = |twin: &Twin| json!({ "id": global("Group", twin.group), "memberIds": [global("User", twin.member)] });
    same("a member leaves", remove, "groupRemoveMembers", input, nothing).await;
}

#[tokio::test]
async fn renaming_groups_leaves_equal_traces() {
    let rename = async |world: &World, twin: &Twin| {
        let operations = json!([{ "op": "replace", "value": { "displayName": "Ward 3" } }]);
        patch(world, format!("/Groups/{}", twin.group), operations).await;
    };
    let input = |twin: &Twin| json!({ "id": global("Group", twin.group), "displayName": "Ward 3" });
    same("a group is renamed", rename, "groupUpdate", input, nothing).await;
}

#[tokio::test]
async fn suspending_users_leaves_equal_traces() {
    let active = |active: bool| {
        async move |world: &World, twin: &Twin| {
            let operations = json!([{ "op": "replace", "path": "active", "value": active }]);
            patch(world, format!("/Users/{}", twin.user), operations).await;
        }
    };
    let input = |twin: &Twin| json!({ "id": global("User", twin.user) });
    same("a person is suspended", active(false), "userSuspend", input, nothing).await;
    same("a person is reactivated", active(true), "userReactivate", input, active(false)).await;
}

#[tokio::test]
async fn updating_users_leaves_equal_traces() {
    let retitle = async |world: &World, twin: &Twin| {
        let operations = json!([{ "op": "replace", "path": "title", "value": "Chief" }]);
        patch(world, format!("/Users/{}", twin.user), operations).await;
    };
    let input = |twin: &Twin| json!({ "id": global("User", twin.user), "title": "Chief" });
    same("a person has a new title", retitle, "userUpdate", input, nothing).await;
}

#[tokio::test]
async fn deleting_leaves_equal_traces() {
    let join = async |world: &World, twin: &Twin| {
        let operations =
            json!([{ "op": "add", "path": "members", "value": [{ "value": twin.user }] }]);
        patch(world, format!("/Groups/{}", twin.group), operations).await;
    };
    let delete_user = async |world: &World, twin: &Twin| {
        world.scim().delete(&format!("/Users/{}", twin.user)).await.is(204);
    };
    let delete_group = async |world: &World, twin: &Twin| {
        world.scim().delete(&format!("/Groups/{}", twin.group)).await.is(204);
    };
    let user = |twin: &Twin| json!({ "id": global("User", twin.user) });
    let group = |twin: &Twin| json!({ "id": global("Group", twin.group) });
    same("a person is deleted", delete_user, "userDelete", user, join).await;
    same("a group is deleted", delete_group, "groupDelete", group, join).await;
}
