//! Tokens in the documented forms of providers, handed over by an application: each ends with the
//! right memberships, roles and events.

use std::collections::BTreeSet;

use entity::organization::IntegrationMode;
use rolecall::domain::access::role_mapping::{MappingTarget, NewMapping};
use rolecall::domain::access::{role, role_mapping};
use rolecall::domain::directory::user;
use rolecall::domain::tenant::organization;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{TOKENS, key_with, prepare, submit, world};
use crate::issuers::{Issuer, Key};
use crate::world::World;

pub(super) async fn set_mode(world: &World, mode: IntegrationMode) {
    let settings =
        organization::OrganizationSettings { integration_mode: Some(mode), ..Default::default() };
    organization::update_organization(&world.system(), settings).await.unwrap();
}

/// A role for the members of a group of this connection that is not there yet.
pub(super) async fn await_group(
    world: &World,
    connection: Uuid,
    by_id: bool,
    value: &str,
    name: &str,
) {
    let cx = &world.system();
    let settings = role::RoleSettings { name: Some(name.into()), ..Default::default() };
    let role = role::create_role(cx, settings).await.unwrap().id;
    let target = MappingTarget::Awaited { connection, external_id: by_id, value: value.into() };
    let new = NewMapping { target, role, reason: None, expires_at: None };
    role_mapping::create_mapping(cx, new).await.unwrap();
}

/// The open memberships that sign-ins of this connection made, by a column of the groups.
pub(super) async fn claimed_groups(
    world: &World,
    connection: Uuid,
    column: &str,
) -> BTreeSet<String> {
    let sql = format!(
        "SELECT g.{column} AS name FROM membership m JOIN \"group\" g \
         ON g.organization_id = m.organization_id AND g.id = m.group_id \
         WHERE m.claimed_by = $1 AND m.until IS NULL"
    );
    let rows = world.rows(&sql, [connection.into()]).await;
    rows.iter().map(|row| row["name"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn documented_tokens_give_roles() {
    let world = world().await;
    // Accounts of Google count only inside proven domains.
    let domains = organization::OrganizationSettings {
        verified_domains: Some(vec!["acme.example".into()]),
        ..Default::default()
    };
    organization::update_organization(&world.system(), domains).await.unwrap();
    world.execute("UPDATE organization_domain SET state = 'PROVEN'", []).await;
    let app = key_with(&world.acme, "ASSERTION_WRITE").await;
    for (n, text) in TOKENS.into_iter().enumerate() {
        let recorded: Value = serde_json::from_str(text).unwrap();
        let name = recorded["userName"].as_str().unwrap();
        let source = recorded["source"].as_str().unwrap();
        let issuer = Issuer::start().await;
        let key = Key::new("RS256", "one");
        issuer.publishes(&[&key]);
        let (connection, token) = prepare(&world, &issuer, &key, &recorded).await;
        let entra = recorded["provider"] == "ENTRA_ID";
        let by_id = recorded["identity"].as_str().map_or(entra, |word| word == "EXTERNAL_ID");
        let attributes = json!({ "userName": name }).as_object().unwrap().clone();
        // The same person signs in at two of the connections.
        let _ = user::create_user(&world.system(), attributes).await;
        let expected: BTreeSet<String> = recorded["groups"]
            .as_array()
            .unwrap()
            .iter()
            .map(|group| group.as_str().unwrap().to_owned())
            .collect();
        let role = format!("Role {n}");
        if let Some(first) = expected.first() {
            await_group(&world, connection, by_id, first, &role).await;
        }
        let mode = if entra { IntegrationMode::EntraNative } else { IntegrationMode::SignIn };
        set_mode(&world, mode).await;
        let answer = submit(&world, "acme", &app, &token).await.is(200);
        assert_eq!(answer.body["userName"], name, "{source}");
        assert_eq!(answer.body["reason"], Value::Null, "{source}: {:#}", answer.body);
        assert_eq!(answer.body["groupsComplete"], recorded["complete"] != false, "{source}");
        assert_eq!(answer.body["unknownGroups"], json!([]), "{source}");
        let held = answer.body["roles"].as_array().unwrap();
        assert_eq!(held.contains(&json!(role)), !expected.is_empty(), "{source}: {held:?}");
        let column = if by_id { "external_id" } else { "display_name" };
        assert_eq!(claimed_groups(&world, connection, column).await, expected, "{source}");
        // One event tells of the person, and says who said it and what.
        let told = "SELECT payload FROM event WHERE action = 'user.claims_changed' \
                    AND actor_id = $1";
        let told = world.rows(told, [connection.to_string().into()]).await;
        assert_eq!(told.len(), 1, "{source}");
        let payload = &told[0]["payload"];
        let payload: Value = match payload.as_str() {
            Some(text) => serde_json::from_str(text).unwrap(),
            None => payload.clone(),
        };
        let joined = payload["after"]["groups"].as_array().map_or(0, Vec::len);
        assert_eq!(joined, expected.len(), "{source}: {payload:#}");
        let made = "\"group\" WHERE connection_id = $1";
        let made = world.count(made, [connection.into()]).await;
        assert_eq!(made, expected.len() as i64, "{source}");
        // Handed over again, it changes nothing.
        let before = world.everything().await;
        let again = submit(&world, "acme", &app, &token).await.is(200);
        assert_eq!(again.body, answer.body, "{source}");
        assert_eq!(world.everything().await, before, "{source}");
    }
    world.end().await;
}

#[tokio::test]
async fn subgroups_pass_for_no_other_group() {
    let world = world().await;
    let app = key_with(&world.acme, "ASSERTION_WRITE").await;
    let issuer = Issuer::start().await;
    let key = Key::new("RS256", "one");
    issuer.publishes(&[&key]);
    let text = include_str!("tokens/keycloak.json");
    let mut recorded: Value = serde_json::from_str(text).unwrap();
    recorded["claims"]["groups"] = json!(["/visitors/admins", "/visitors"]);
    let (connection, token) = prepare(&world, &issuer, &key, &recorded).await;
    world.scim().user("ada").await;
    await_group(&world, connection, false, "admins", "Administrator").await;
    await_group(&world, connection, false, "visitors/admins", "Host").await;
    set_mode(&world, IntegrationMode::SignIn).await;
    let answer = submit(&world, "acme", &app, &token).await.is(200);
    assert_eq!(answer.body["roles"], json!(["Host"]), "{:#}", answer.body);
    world.end().await;
}
