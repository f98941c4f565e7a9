//! The whole policy as a table, so that each change of it shows in a diff; and what a token with
//! one scope may do.

use std::collections::BTreeMap;
use std::fmt::Write;

use rolecall::auth::policy::{Action, Actor, Permission, Scope, allows};
use rolecall::domain::access::api_key;
use rolecall::domain::connection::scim_token;
use serde_json::json;
use uuid::Uuid;

use crate::sdl::{Route, Schema};
use crate::walk::{Walk, codes, furnish};
use crate::world::World;

const KEPT: &str = include_str!("authz.txt");

/// Every kind of caller: with each permission and each scope alone, with all of them, and with
/// none.
fn actors() -> Vec<(String, Actor)> {
    let id = Uuid::from_u128(1);
    let connection = |scopes: &[Scope]| Actor::Connection {
        id,
        name: String::new(),
        scopes: scopes.iter().copied().collect(),
    };
    let key = |permissions: &[Permission]| Actor::Key {
        id,
        name: String::new(),
        permissions: permissions.iter().copied().collect(),
    };
    let person = |permissions: &[Permission]| Actor::Person {
        subject: String::new(),
        name: String::new(),
        permissions: permissions.iter().copied().collect(),
    };
    let mut actors = vec![("system".into(), Actor::System)];
    actors.push(("connection, all scopes".into(), connection(&Scope::ALL)));
    actors.extend(
        Scope::ALL.map(|scope| (format!("connection, {}", scope.name()), connection(&[scope]))),
    );
    actors.push(("connection, no scope".into(), connection(&[])));
    actors.push(("key, all permissions".into(), key(&Permission::ALL)));
    actors.extend(
        Permission::ALL.map(|permission| (format!("key, {permission}"), key(&[permission]))),
    );
    actors.push(("person, all permissions".into(), person(&Permission::ALL)));
    actors.extend(
        Permission::ALL.map(|permission| (format!("person, {permission}"), person(&[permission]))),
    );
    actors.push(("person, no permission".into(), person(&[])));
    actors
}

#[test]
fn policy_equals_the_table() {
    let own = Some(Uuid::from_u128(1));
    let stranger = Some(Uuid::from_u128(2));
    let mut table = String::from(
        "own = a thing of the connection with the actor's id, other = of another one, hand = made \
         by hand\n",
    );
    for (name, actor) in actors() {
        let may: Vec<String> = Action::ALL
            .iter()
            .filter_map(|action| {
                let whose = [("own", own), ("other", stranger), ("hand", None)];
                let whose: Vec<_> = whose
                    .iter()
                    .filter(|(_, owner)| allows(&actor, *action, *owner))
                    .map(|(name, _)| *name)
                    .collect();
                match whose.len() {
                    0 => None,
                    3 => Some(format!("{action:?}")),
                    _ => Some(format!("{action:?} ({})", whose.join(", "))),
                }
            })
            .collect();
        let may = if may.is_empty() { "nothing".into() } else { may.join(", ") };
        writeln!(table, "{name}: {may}").unwrap();
    }
    assert!(
        table == KEPT,
        "the policy differs from tests/it/authz.txt; if that is meant, the file must \
         become:\n{table}"
    );
}

#[tokio::test]
async fn token_does_only_what_scopes_allow() {
    let world = World::new().await;
    let user = world.scim().user("ada").await;
    let group = world.scim().group("Ward 3", &[user]).await;
    for scope in Scope::ALL {
        let system = world.system();
        let issued =
            scim_token::issue_token(&system, world.acme.connection, Some([scope].into()), None)
                .await
                .unwrap();
        let scim = world.scim().with_token(&issued.secret);
        for (kind, id, read, write) in [
            ("Users", user, Scope::UsersRead, Scope::UsersWrite),
            ("Groups", group, Scope::GroupsRead, Scope::GroupsWrite),
        ] {
            for path in [format!("/{kind}"), format!("/{kind}/{id}")] {
                let answer = scim.get(&path).await;
                match scope == read {
                    true => drop(answer.is(200)),
                    false => drop(answer.refused(403, None)),
                }
            }
            let rename = json!([{ "op": "replace", "path": "displayName", "value": scope.name() }]);
            let renamed = scim.patch(&format!("/{kind}/{id}"), rename).await;
            if scope == write {
                assert!(
                    renamed.status.is_success(),
                    "a change that was made is answered with success: {}",
                    renamed.body
                );
                assert_eq!(
                    world.scim().get(&format!("/{kind}/{id}")).await.body["displayName"],
                    scope.name()
                );
                continue;
            }
            renamed.refused(403, None);
            let body = json!({ "userName": "x", "displayName": "x" });
            scim.put(&format!("/{kind}/{id}"), body.clone()).await.refused(403, None);
            scim.post(&format!("/{kind}"), body).await.refused(403, None);
            scim.delete(&format!("/{kind}/{id}")).await.refused(403, None);
        }
    }
    assert_eq!(world.events_of(user).await, ["user.created", "user.updated"]);
    assert_eq!(world.events_of(group).await, ["group.created", "group.updated"]);
    assert_eq!(
        world.scim().get(&format!("/Users/{user}")).await.body["groups"][0]["value"],
        group.to_string()
    );
    world.end().await;
}

#[tokio::test]
async fn every_field_requires_its_permission() {
    let world = World::new().await;
    let own = furnish(&world.acme, "mine").await;
    let mut walk = Walk { depth: 0, ..Walk::new(&world.acme, own) };
    let mut without = BTreeMap::new();
    for permission in Permission::ALL {
        let others =
            Permission::in_organization().into_iter().filter(|held| *held != permission).collect();
        let issued =
            api_key::issue_key(&world.system(), "all but one", others, None).await.unwrap();
        without.insert(permission, issued.secret);
    }
    let before = world.everything().await;
    let schema = Schema::new();
    let mut closed = 0;
    for object in schema.readable().chain(["Mutation"]) {
        let (kind, route) = match object {
            "Mutation" => ("mutation", Some(Route::default())),
            _ => ("query", schema.route(object)),
        };
        let Some(route) = route else { continue };
        for field in schema.fields(object) {
            // When the route needs the permission already, the field itself cannot be tried.
            let Some(permission) =
                field.permission.filter(|permission| !route.permissions.contains(permission))
            else {
                continue;
            };
            walk.key = without[&permission].clone();
            let (title, value, answer) = walk.call(kind, &route, field, &[], &json!(null)).await;
            let title = format!("{object}, {title} without {permission}");
            let codes = codes(&answer);
            let refused = !codes.is_empty() && codes.iter().all(|code| *code == "FORBIDDEN");
            assert!(value.is_null() && refused, "{title}: {answer:#}");
            let words = answer["errors"][0]["message"].as_str().unwrap();
            assert!(
                words.contains(permission.name()),
                "{title}: a refusal names the missing permission: {words}"
            );
            closed += 1;
        }
    }
    // No field leads to a deletion that has ended.
    let created = "query($id: ID!) { node(id: $id) { ... on DeletionJob { createdBy { name } } } }";
    let ask = json!({ "id": walk.own["DeletionJob"] });
    let key = &without[&Permission::AuditRead];
    let answer = world.acme.graphql_as(key, &[], created, ask).await.body;
    assert_eq!(codes(&answer), ["FORBIDDEN"], "{answer:#}");
    assert!(closed > 50, "{closed}");
    assert_eq!(world.everything().await, before);
    world.end().await;
}
