//! No client reaches another tenant's data: every route with every wrong credential, and every
//! parameter that takes an id with the id of another tenant.

use std::collections::BTreeMap;

use reqwest::Method;
use rolecall::context::Cx;
use rolecall::domain::connection;
use rolecall::domain::tenant::organization;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::imports;
use crate::routes::{self, METHODS};
use crate::world::{Answer, Scim, World, patch};

/// Where raw statements are about all organizations, and how many there are: they look for work that
/// is due anywhere, count for the operator, or write rows that each name their organization.
const FOR_ALL_ORGANIZATIONS: [(&str, usize); 29] = [
    ("context::clock", 1),
    ("domain::access::change_events", 1),
    ("domain::access::change_set", 1),
    ("domain::access::expiry", 1),
    ("domain::access::invitation", 2),
    ("domain::access::invitation::mail", 1),
    ("domain::alert::evaluation", 2),
    ("domain::alert::recipient", 1),
    ("domain::bulk", 1),
    ("domain::connection::assertion_source::metadata_refresh", 1),
    ("domain::connection::delete", 1),
    ("domain::connection::health::monitor", 2),
    ("domain::directory::deletion::job", 1),
    ("domain::directory::erasure", 1),
    ("domain::directory::name_key", 4),
    ("domain::reconcile::clash", 1),
    ("domain::reconcile::reads", 1),
    ("domain::reconcile::resolve", 1),
    ("domain::reconcile::schedule", 1),
    ("domain::review", 1),
    ("domain::review::record", 1),
    ("domain::sign_in::directory_lookup", 1),
    ("domain::sign_in::evidence", 1),
    ("domain::sign_in::expiry", 2),
    ("domain::signal::stream::notice", 1),
    ("domain::signal::work", 1),
    ("domain::sync", 1),
    ("domain::sync::lease", 1),
    ("domain::tenant::domain", 1),
];

/// Below or beside `Cx`: they make statements themselves.
const MAKERS: [&str; 6] =
    ["db", "ledger", "crypto", "context::statement", "context::clock", "domain::sync"];

#[test]
fn raw_statements_name_their_organization() {
    let mut for_all = BTreeMap::new();
    for (module, file) in imports::all_modules() {
        let (module, code) = (module.join("::"), imports::code(&file));
        let within = |maker: &&str| {
            module
                .strip_prefix(*maker)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        if !MAKERS.iter().any(within) {
            assert!(!code.contains("Statement::from_"), "{module} makes a statement without Cx");
        }
        let count = code.matches(".statement_for_all_organizations(").count();
        if count > 0 {
            for_all.insert(module, count);
        }
    }
    let known = FOR_ALL_ORGANIZATIONS.map(|(module, count)| (module.to_owned(), count));
    assert_eq!(for_all, BTreeMap::from(known), "a list of statements about all organizations");
}

/// A body that each method accepts for a user or a group.
fn body_for(method: &Method) -> Option<Value> {
    match *method {
        Method::POST | Method::PUT => {
            Some(json!({ "userName": "intruder", "displayName": "intruder", "members": [] }))
        }
        Method::PATCH => {
            Some(patch(json!([{ "op": "replace", "path": "displayName", "value": "intruder" }])))
        }
        _ => None,
    }
}

/// Tries every route and method; returns how many requests that were.
async fn sweep(scim: &Scim, ids: &[Uuid], check: impl Fn(&Method, &str, Answer)) -> usize {
    let mut tried = 0;
    for id in ids {
        for path in routes::concrete(&id.to_string()) {
            for method in METHODS {
                let answer = scim.send(method.clone(), &path, body_for(&method), &[]).await;
                check(&method, &path, answer);
                tried += 1;
            }
        }
    }
    tried
}

/// A refusal with this status; in SCIM's form unless the method forbids a body.
fn refusal(status: u16) -> impl Fn(&Method, &str, Answer) {
    move |method, path, answer| {
        assert_eq!(answer.status.as_u16(), status, "{method} {path}: {}", answer.body);
        assert_eq!(answer.header("www-authenticate").is_empty(), status != 401, "{method} {path}");
        if *method != Method::HEAD {
            answer.refused(status, None);
        }
    }
}

#[tokio::test]
async fn every_route_refuses_wrong_credentials() {
    let world = World::new().await;
    let globex = world.second_organization().await;
    let user = world.scim().user("ada").await;
    let ids = [user, world.scim().group("Ward 3", &[user]).await];
    let mut dead = Vec::new();
    for column in ["revoked_at", "expires_at", "retires_at"] {
        let tenant = world.tenant("acme", column).await;
        let statement = format!("UPDATE scim_token SET {column} = $1 WHERE connection_id = $2");
        world.execute(&statement, [world.app.clock.now().into(), tenant.connection.into()]).await;
        dead.push(tenant.scim.token);
    }
    let asleep = world.tenant("acme", "Asleep").await;
    connection::deactivate_connection(&world.system(), asleep.connection, None).await.unwrap();
    let unknown =
        Scim { base: world.scim().base.replace("acme", "unknown"), ..world.scim().clone() };

    let before = world.everything().await;
    let acme = world.scim();
    let credentials = [
        ("no token", acme.with_token(""), 401),
        (
            "a wrong token",
            acme.with_token("rcs_0000000000000000000000000000000000000000000000000"),
            401,
        ),
        ("a revoked token", acme.with_token(&dead[0]), 401),
        ("an expired token", acme.with_token(&dead[1]), 401),
        ("a token that was rotated away", acme.with_token(&dead[2]), 401),
        ("an API key", acme.with_token(&world.acme.api_key), 401),
        ("another organization's token", acme.with_token(&globex.scim.token), 404),
        ("an unknown organization", unknown, 404),
        ("a deactivated connection", acme.with_token(&asleep.scim.token), 403),
    ];
    for (name, scim, status) in credentials {
        let tried = sweep(&scim, &ids, refusal(status)).await;
        assert!(tried > 200, "{name}: {tried}");
        assert_eq!(world.everything().await, before, "{name}");
    }
    world.end().await;
}

#[tokio::test]
async fn disabled_scim_closes_every_route() {
    use entity::organization::IntegrationMode;
    let world = World::new().await;
    let ids = [world.scim().user("ada").await];
    let off =
        organization::OrganizationSettings { scim_enabled: Some(false), ..Default::default() };
    let native = organization::OrganizationSettings {
        scim_enabled: Some(true),
        integration_mode: Some(IntegrationMode::EntraNative),
        ..Default::default()
    };
    for settings in [off, native] {
        organization::update_organization(&world.system(), settings).await.unwrap();
        let before = world.everything().await;
        sweep(world.scim(), &ids, refusal(403)).await;
        // Authentication comes before any answer about the organization.
        sweep(&world.scim().with_token("rcs_wrong"), &ids, refusal(401)).await;
        assert_eq!(world.everything().await, before);
    }
    world.end().await;
}

/// The other tenant's user, group and all its ids.
struct Theirs {
    user: Uuid,
    group: Uuid,
    all: Vec<Uuid>,
}

impl Theirs {
    async fn new(tenant: &crate::world::Tenant) -> Self {
        let user = tenant.scim.user("secret.person").await;
        let group = tenant.scim.group("Secret group", &[user]).await;
        Self { user, group, all: vec![user, group, tenant.organization, tenant.connection] }
    }
}

#[tokio::test]
async fn foreign_ids_are_not_found() {
    let world = World::new().await;
    let mine = world.scim().user("ada").await;
    let group = world.scim().group("Ward 3", &[mine]).await;
    // Another connection of the same organization is as separate as another organization.
    let strangers = [world.second_organization().await, world.tenant("acme", "Second").await];
    for stranger in &strangers {
        let theirs = Theirs::new(stranger).await;
        let before = world.everything().await;
        for id in &theirs.all {
            for path in routes::of_resource(&id.to_string()) {
                for method in [Method::GET, Method::PUT, Method::PATCH, Method::DELETE] {
                    let answer =
                        world.scim().send(method.clone(), &path, body_for(&method), &[]).await;
                    let text = answer.refused(404, None).body.to_string();
                    assert!(
                        !text.to_lowercase().contains("secret") && !text.contains(&id.to_string()),
                        "{text}"
                    );
                }
            }
        }
        // An unknown id is refused with the same message.
        for method in [Method::GET, Method::PUT, Method::PATCH, Method::DELETE] {
            let ask = async |id: Uuid| {
                let answer = world
                    .scim()
                    .send(method.clone(), &format!("/Users/{id}"), body_for(&method), &[])
                    .await;
                answer.refused(404, None).body
            };
            assert_eq!(ask(Uuid::now_v7()).await, ask(theirs.user).await, "{method}");
        }

        for search in [
            format!("id eq \"{}\"", theirs.user),
            "userName eq \"secret.person\"".into(),
            "externalId eq \"x-secret.person\"".into(),
            "userName pr".into(),
            "not (userName eq \"ada\")".into(),
            format!("groups.value eq \"{}\"", theirs.group),
        ] {
            let answer = world.scim().post("/Users/.search", json!({ "filter": search })).await;
            assert!(
                answer.status != 200 || !answer.body.to_string().contains("secret"),
                "{search}: {}",
                answer.body
            );
        }
        for search in [
            format!("members.value eq \"{}\"", theirs.user),
            format!("members[value eq \"{}\"]", theirs.user),
            format!("id eq \"{}\"", theirs.group),
            "displayName co \"ecret\"".into(),
        ] {
            let answer =
                world.scim().post("/Groups/.search", json!({ "filter": search })).await.is(200);
            assert_eq!(answer.body["totalResults"], 0, "{search}");
        }
        let answer = world.scim().post("/.search", json!({})).await.is(200);
        assert_eq!(answer.body["totalResults"], 2);

        // Their accounts cannot be added to a group here.
        for id in [theirs.user, theirs.group] {
            let add = json!([{ "op": "add", "path": "members", "value": [{ "value": id }] }]);
            world
                .scim()
                .patch(&format!("/Groups/{group}"), add)
                .await
                .refused(400, Some("invalidValue"));
        }
        assert_eq!(world.everything().await, before);

        // Their own client still reaches their data.
        stranger.scim.get(&format!("/Users/{}", theirs.user)).await.is(200);
        stranger.scim.get(&format!("/Groups/{}", theirs.group)).await.is(200);
        stranger.scim.delete(&format!("/Groups/{}", theirs.group)).await.is(204);
        stranger.scim.delete(&format!("/Users/{}", theirs.user)).await.is(204);
    }
    world.end().await;
}

#[tokio::test]
async fn manual_groups_are_hidden_from_connections() {
    use rolecall::domain::directory::{group, user};
    use rolecall::identity::document::MemberChange;
    let world = World::new().await;
    let mine = world.scim().user("ada").await;
    let theirs = world.tenant("acme", "Second").await.scim.user("secret.person").await;
    // A group made by hand may contain every account of the organization. The connection sees only
    // its own account.
    let system: Cx = world.system();
    let fields = |value: Value| value.as_object().unwrap().clone();
    let by_hand = group::create_group(&system, fields(json!({ "displayName": "By hand" })), vec![])
        .await
        .unwrap();
    let both = vec![mine.to_string(), theirs.to_string()];
    let edit = group::GroupEdit { members: vec![MemberChange::Add(both)], ..Default::default() };
    group::change_group(&system, by_hand.id, |_| Ok(edit.clone())).await.unwrap();
    user::create_user(&system, fields(json!({ "userName": "manual" }))).await.unwrap();
    world.scim().get(&format!("/Groups/{}", by_hand.id)).await.refused(404, None);
    assert_eq!(world.scim().ids("/Groups").await, Vec::<Uuid>::new());
    assert_eq!(world.scim().ids("/Users").await, [mine]);
    let me = world.scim().get(&format!("/Users/{mine}")).await.is(200);
    assert_eq!(me.body["groups"], Value::Null, "a connection hears only of its own groups");
    world
        .scim()
        .post("/Users", json!({ "userName": "MANUAL" }))
        .await
        .refused(409, Some("uniqueness"));
    world.end().await;
}
