use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_graphql::parser::types::{TypeKind, TypeSystemDefinition};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use tower::ServiceExt;
use uuid::Uuid;

use super::page::{self, Kind};
use super::{router, sdl};
use crate::authz::{Actor, Permission, Permissions, Scope};
use crate::config::Config;
use crate::context::{App, Cx};
use crate::domain::{connection, group, key, organization, user};
use crate::error::Error;
use crate::jwt;

/// A server on an SQLite file of its own, with one organization and a key that may do everything there.
struct Server {
    app: Arc<App>,
    router: Router,
    key: String,
    cx: Cx,
    _folder: tempfile::TempDir,
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Reply {
    fn code(&self) -> &str {
        self.body.pointer("/errors/0/extensions/code").and_then(Value::as_str).unwrap_or_default()
    }

    fn at(&self, place: &str) -> &Value {
        self.body.pointer(place).unwrap_or(&Value::Null)
    }
}

async fn open(statements: Option<Arc<AtomicUsize>>) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        database_url: format!("sqlite://{}", folder.path().join("test.db").display()),
        data_dir: folder.path().to_owned(),
        master_key: None,
        public_url: "https://example.com".into(),
        scim_enabled: true,
        scim_rate_limit: 0,
    };
    let mut app = App::open(config).await.unwrap();
    if let Some(statements) = statements {
        let counted = &mut Arc::get_mut(&mut app).unwrap().store.read;
        counted.set_metric_callback(move |_| {
            statements.fetch_add(1, Ordering::Relaxed);
        });
    }
    let organization = organization::create(&app, Actor::System, "acme", "Acme").await.unwrap();
    let cx = Cx::system(app.clone(), organization.id);
    let key = key::issue(&cx, "all", Permission::in_organization(), None).await.unwrap().secret;
    Server { router: router(app.clone()), app, key, cx, _folder: folder }
}

async fn server() -> Server {
    open(None).await
}

impl Server {
    async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes)));
        Reply { status: parts.status, headers: parts.headers, body }
    }

    fn post(&self, credential: &str) -> axum::http::request::Builder {
        Request::post("/graphql")
            .header("authorization", format!("Bearer {credential}"))
            .header("content-type", "application/json")
            .header("accept", "application/graphql-response+json")
    }

    async fn ask_as(&self, credential: &str, query: &str, variables: Value) -> Reply {
        let body = json!({ "query": query, "variables": variables }).to_string();
        self.send(self.post(credential).body(body.into()).unwrap()).await
    }

    async fn ask(&self, query: &str) -> Reply {
        self.ask_as(&self.key, query, json!({})).await
    }

    /// Asks and expects an answer without errors; returns its data.
    async fn data(&self, query: &str, variables: Value) -> Value {
        let reply = self.ask_as(&self.key, query, variables).await;
        assert_eq!(reply.at("/errors"), &Value::Null, "{query}");
        assert_eq!(reply.status, StatusCode::OK);
        reply.body["data"].clone()
    }

    async fn key_with(&self, permissions: &[Permission]) -> String {
        let permissions = permissions.iter().copied().collect();
        key::issue(&self.cx, "some", permissions, None).await.unwrap().secret
    }

    async fn connection(&self, name: &str) -> Uuid {
        let settings = connection::Settings { name: Some(name.into()), ..Default::default() };
        connection::create(&self.cx, settings).await.unwrap().id
    }

    /// A context of an identity provider.
    fn provider(&self, connection: Uuid) -> Cx {
        let actor = Actor::Connection { id: connection, name: "IdP".into(), scopes: Scope::ALL.into_iter().collect() };
        Cx::new(self.app.clone(), actor, self.cx.organization(), Uuid::now_v7())
    }
}

async fn person(cx: &Cx, name: &str) -> Uuid {
    let body = json!({
        "userName": name, "displayName": format!("Nurse {name}"), "emails": [{ "value": format!("{name}@x.org") }],
    });
    user::create(cx, body.as_object().unwrap().clone()).await.unwrap().id
}

async fn crowd(cx: &Cx, name: &str, members: &[Uuid]) -> Uuid {
    let body = json!({ "displayName": name });
    let members = members.iter().map(Uuid::to_string).collect();
    group::create(cx, body.as_object().unwrap().clone(), members).await.unwrap().id
}

fn id(kind: Kind, id: Uuid) -> String {
    page::global(kind, id).0
}

#[test]
fn every_field_says_what_it_requires_and_everything_is_described() {
    let document = async_graphql::parser::parse_schema(sdl()).unwrap();
    let mut open = Vec::new();
    let mut mute = Vec::new();
    for definition in document.definitions {
        let TypeSystemDefinition::Type(ty) = definition else { continue };
        let ty = ty.node;
        let name = ty.name.node.to_string();
        if ty.description.is_none() {
            mute.push(name.clone());
        }
        let fields = match ty.kind {
            TypeKind::Object(object) => object.fields,
            TypeKind::Interface(interface) => interface.fields,
            TypeKind::Enum(values) => {
                let undescribed = values.values.iter().filter(|value| value.node.description.is_none());
                mute.extend(undescribed.map(|value| format!("{name}.{}", value.node.value.node)));
                continue;
            }
            TypeKind::InputObject(input) => {
                let undescribed = input.fields.iter().filter(|field| field.node.description.is_none());
                mute.extend(undescribed.map(|field| format!("{name}.{}", field.node.name.node)));
                continue;
            }
            _ => continue,
        };
        for field in fields {
            let field = field.node;
            let at = format!("{name}.{}", field.name.node);
            if !field.directives.iter().any(|directive| directive.node.name.node == "requires") {
                open.push(at.clone());
            }
            if field.description.is_none() {
                mute.push(at.clone());
            }
            let arguments = field.arguments.iter().filter(|argument| argument.node.description.is_none());
            mute.extend(arguments.map(|argument| format!("{at}({})", argument.node.name.node)));
        }
    }
    assert_eq!(open, Vec::<String>::new(), "fields without @requires");
    assert_eq!(mute, Vec::<String>::new(), "without a description");
}

#[test]
fn the_published_schema_is_the_schema() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema.graphql");
    let published = std::fs::read_to_string(path).unwrap_or_default();
    assert!(published == sdl(), "schema.graphql is stale: cargo run -- schema > schema.graphql");
}

#[test]
fn ids_are_opaque_and_only_ours() {
    let own = Uuid::now_v7();
    let user = page::global(Kind::User, own);
    assert_eq!(page::parse(&user), Some((Kind::User, own)));
    assert_eq!(page::id_of(Kind::Group, &user), None);
    for foreign in ["", "User", "VXNlcg", &own.to_string(), &format!("{}=", user.0), "VXNlcjp4", "💥"] {
        assert_eq!(page::parse(&foreign.into()), None, "{foreign}");
    }
}

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
                 availability { state reasonCode message } status endpoints { baseUrl usersUrl groupsUrl }
                 counts { users groups asOf } lastContactAt tokenIssued recentActivity(first: 2) { action actor { kind } }
               } connections(first: 10) { totalCount nodes { name status userCount groupCount tokens { lastFour } } } } }",
            json!({}),
        )
        .await;
    let scim = &data["organization"]["scim"];
    assert_eq!(scim["availability"], json!({ "state": "AVAILABLE", "reasonCode": null, "message": null }));
    assert_eq!(scim["status"], "ACTIVE");
    assert_eq!(scim["endpoints"]["usersUrl"], "https://example.com/scim/v2/acme/Users");
    assert_eq!((&scim["counts"]["users"], &scim["counts"]["groups"]), (&json!(1), &json!(1)));
    assert_eq!(scim["tokenIssued"], false);
    assert_eq!(scim["recentActivity"][0], json!({ "action": "user.created", "actor": { "kind": "SYSTEM" } }));
    assert_eq!(scim["recentActivity"][1]["action"], "group.created");
    let entra = json!({ "name": "Entra", "status": "ACTIVE", "userCount": 1, "groupCount": 1, "tokens": [] });
    assert_eq!(data["organization"]["connections"], json!({ "totalCount": 1, "nodes": [entra] }));
}

#[tokio::test]
async fn an_unavailable_scim_says_why_and_how_to_get_out() {
    let server = server().await;
    let update = "mutation { organizationUpdate(input: { integrationMode: ENTRA_NATIVE }) { userErrors { code }
        organization { integrationMode scim { status endpoints { baseUrl } availability { state reasonCode } } } } }";
    let data = server.data(update, json!({})).await;
    let after = &data["organizationUpdate"]["organization"];
    assert_eq!(after["integrationMode"], "ENTRA_NATIVE");
    let reason = json!({ "state": "ENTRA_NATIVE_INTEGRATION", "reasonCode": "ENTRA_NATIVE_INTEGRATION" });
    assert_eq!(after["scim"], json!({ "status": null, "endpoints": null, "availability": reason }));
    let create =
        r#"mutation { connectionCreate(input: { name: "Okta" }) { connection { id } userErrors { code field } } }"#;
    let data = server.data(create, json!({})).await;
    let held = json!({ "connection": null, "userErrors": [{ "code": "HELD", "field": ["input"] }] });
    assert_eq!(data["connectionCreate"], held);
}

#[tokio::test]
async fn a_connection_lives_through_the_api() {
    let server = server().await;
    let create = r#"mutation { connectionCreate(input: { name: " Okta ", provider: OKTA }) {
        connection { id name provider status version } userErrors { code field message } } }"#;
    let created = server.data(create, json!({})).await["connectionCreate"].clone();
    assert_eq!(created["connection"]["name"], "Okta");
    let taken = server.data(create, json!({})).await["connectionCreate"].clone();
    assert_eq!(taken["connection"], Value::Null);
    assert_eq!(taken["userErrors"][0]["code"], "TAKEN");
    assert_eq!(taken["userErrors"][0]["field"], json!(["input", "name"]));
    let id = created["connection"]["id"].clone();

    let issue =
        "mutation($id: ID!) { scimTokenIssue(input: { connectionId: $id }) { secret scimToken { id lastFour live } } }";
    let issued = server.data(issue, json!({ "id": id })).await["scimTokenIssue"].clone();
    let secret = issued["secret"].as_str().unwrap();
    assert!(secret.starts_with("rcs_") && secret.ends_with(issued["scimToken"]["lastFour"].as_str().unwrap()));

    let rotate = "mutation($id: ID!) { scimTokenRotate(input: { connectionId: $id }) { secret userErrors { code } } }";
    assert_ne!(server.data(rotate, json!({ "id": id })).await["scimTokenRotate"]["secret"], issued["secret"]);
    let tokens = "query($id: ID!) { organization { connection(id: $id) { tokens { live } } } }";
    let tokens = server.data(tokens, json!({ "id": id })).await["organization"]["connection"]["tokens"].clone();
    assert_eq!(tokens, json!([{ "live": true }, { "live": false }]));

    let off = "mutation($id: ID!) { connectionDeactivate(input: { id: $id }) { connection { status version } } }";
    let off = server.data(off, json!({ "id": id })).await["connectionDeactivate"]["connection"].clone();
    assert_eq!(off, json!({ "status": "INACTIVE", "version": 2 }));
    let status = server.data("{ organization { scim { status } } }", json!({})).await;
    assert_eq!(status["organization"]["scim"]["status"], "INACTIVE");
    let events = "{ organization { events(first: 4) { nodes { action } } } }";
    let events = server.data(events, json!({})).await["organization"]["events"]["nodes"].clone();
    let actions: Vec<_> = events.as_array().unwrap().iter().map(|event| event["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["connection.deactivated", "scim_token.rotated", "scim_token.issued", "connection.created"]);
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
    let inner = server.data(wards, json!({ "ada": ada["id"] })).await["inner"]["group"]["id"].clone();
    let wards = r#"mutation($inner: ID!) { outer: groupCreate(input: { displayName: "Wards", memberIds: [$inner] }) { group { id memberCount } } }"#;
    let outer = server.data(wards, json!({ "inner": inner })).await["outer"]["group"].clone();
    assert_eq!(outer["memberCount"], 1);
    let map = r#"mutation($group: ID!, $role: ID!) { roleMappingCreate(input: { groupId: $group, roleId: $role, reason: "care" }) {
        roleMapping { id state reason group { displayName } role { name mappings { id } } } userErrors { message } } }"#;
    let variables = json!({ "group": outer["id"], "role": made["role"]["role"]["id"] });
    let mapping = server.data(map, variables.clone()).await["roleMappingCreate"]["roleMapping"].clone();
    assert_eq!((&mapping["state"], &mapping["group"]["displayName"]), (&json!("ACTIVE"), &json!("Wards")));
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
            "mutation($id: ID!) {{ done: roleMapping{action}(input: {{ id: $id }}) {{ roleMapping {{ id state }} }} }}"
        );
        let done = server.data(&change, json!({ "id": mapping["id"] })).await["done"]["roleMapping"].clone();
        assert_eq!(done, json!({ "id": mapping["id"], "state": state }));
        let held = server.data(roles, json!({})).await["organization"]["user"]["roles"].clone();
        assert_eq!(held.as_array().unwrap().len(), roles_left);
    }
    let suspend = "mutation($id: ID!) { userSuspend(input: { id: $id }) { user { active roles { role { name } } } } }";
    let suspended = server.data(suspend, json!({ "id": ada["id"] })).await["userSuspend"]["user"].clone();
    assert_eq!(suspended, json!({ "active": false, "roles": [] }));
}

#[tokio::test]
async fn a_mapping_may_wait_for_its_group() {
    let server = server().await;
    let connection = server.connection("Okta").await;
    let role = server.data(r#"mutation { roleCreate(input: { name: "Nurse" }) { role { id } } }"#, json!({})).await;
    let map = r#"mutation($role: ID!, $connection: ID!) { roleMappingCreate(input: { roleId: $role,
        awaits: { connectionId: $connection, attribute: DISPLAY_NAME, value: "Ward 9" } }) {
        roleMapping { id state group { id } awaits { attribute value connection { name } } } } }"#;
    let variables =
        json!({ "role": role["roleCreate"]["role"]["id"], "connection": id(Kind::IdentitySource, connection) });
    let mapping = server.data(map, variables).await["roleMappingCreate"]["roleMapping"].clone();
    assert_eq!((&mapping["state"], &mapping["group"]), (&json!("WAITING"), &Value::Null));
    assert_eq!(mapping["awaits"]["connection"]["name"], "Okta");
    crowd(&server.provider(connection), "WARD 9", &[]).await;
    let node =
        "query($id: ID!) { node(id: $id) { ... on RoleMapping { state awaits { value } group { displayName } } } }";
    let bound = server.data(node, json!({ "id": mapping["id"] })).await["node"].clone();
    assert_eq!(bound, json!({ "state": "ACTIVE", "awaits": null, "group": { "displayName": "WARD 9" } }));
}

#[tokio::test]
async fn user_errors_name_the_argument_that_is_to_blame() {
    let server = server().await;
    let nobody = id(Kind::Role, Uuid::now_v7());
    let cases = [
        (r#"roleCreate(input: { name: " " })"#, "INVALID", json!(["input", "name"])),
        (
            r#"userCreate(input: { userName: "a", emails: [{ value: "b", primary: true }, { value: "c", primary: true }] })"#,
            "INVALID",
            json!(["input", "emails", "primary"]),
        ),
        (r#"userSuspend(input: { id: "nonsense" })"#, "NOT_FOUND", json!(["input", "id"])),
        (&format!(r#"roleUpdate(input: {{ id: "{nobody}" }})"#), "NOT_FOUND", json!(["input", "id"])),
        (&format!(r#"roleMappingCreate(input: {{ roleId: "{nobody}" }})"#), "INVALID", json!(["input", "groupId"])),
        (
            &format!(r#"groupCreate(input: {{ displayName: "x", memberIds: ["{nobody}"] }})"#),
            "INVALID",
            json!(["input", "memberIds"]),
        ),
        (
            r#"apiKeyIssue(input: { name: "x", permissions: [], expiresAt: "2001-01-01T00:00:00Z" })"#,
            "INVALID",
            json!(["input", "expiresAt"]),
        ),
    ];
    for (call, code, field) in cases {
        let query = format!("mutation {{ done: {call} {{ userErrors {{ code field message }} }} }}");
        let errors = server.data(&query, json!({})).await["done"]["userErrors"].clone();
        assert_eq!((&errors[0]["code"], &errors[0]["field"]), (&json!(code), &field), "{call}");
    }
}

#[tokio::test]
async fn a_user_is_edited_in_parts_and_only_if_unchanged() {
    let server = server().await;
    let ada = id(Kind::User, person(&server.cx, "ada").await);
    let edit = r#"mutation($id: ID!, $version: Int) { userUpdate(input: { id: $id, expectedVersion: $version,
        displayName: null, title: "Countess", familyName: "Byron" }) {
        user { userName displayName title familyName emails { value } version } userErrors { code field } } }"#;
    let edited = server.data(edit, json!({ "id": ada, "version": 1 })).await["userUpdate"]["user"].clone();
    let expected = json!({ "userName": "ada", "displayName": null, "title": "Countess", "familyName": "Byron",
        "emails": [{ "value": "ada@x.org" }], "version": 2 });
    assert_eq!(edited, expected);
    let stale = server.data(edit, json!({ "id": ada, "version": 1 })).await["userUpdate"].clone();
    assert_eq!(stale["userErrors"], json!([{ "code": "STALE", "field": ["input", "expectedVersion"] }]));
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
    let read = async |variables: Value| server.data(page, variables).await["organization"]["users"].clone();
    let names = |page: &Value| -> Vec<String> {
        page["nodes"].as_array().unwrap().iter().map(|node| node["userName"].as_str().unwrap().into()).collect()
    };
    let first = read(json!({ "first": 2 })).await;
    assert_eq!((names(&first), &first["totalCount"]), (vec!["a".to_owned(), "b".into()], &json!(5)));
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
    let okta = id(Kind::IdentitySource, connection);
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
            "{{ organization {{ users(first: 9, filter: {{ {filter} }}) {{ totalCount nodes {{ userName }} }} }} }}"
        );
        let users = server.data(&query, json!({})).await["organization"]["users"].clone();
        let expected: Vec<_> = names.iter().map(|name| json!({ "userName": name })).collect();
        assert_eq!(users, json!({ "totalCount": names.len(), "nodes": expected }), "{filter}");
    }
    let groups = r#"{ organization { groups(first: 9, filter: { displayNameStartsWith: "w" }) { nodes { displayName
        members(first: 5) { totalCount nodes { ... on User { userName } } } } } } }"#;
    let ward = json!({ "displayName": "Ward 1", "members": { "totalCount": 1, "nodes": [{ "userName": "ada" }] } });
    assert_eq!(server.data(groups, json!({})).await["organization"]["groups"]["nodes"], json!([ward]));
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
    let query = "query($after: String) { organization { groups(first: 9) { nodes { displayName memberCount
        members(first: 2, after: $after) { pageInfo { hasNextPage endCursor }
          nodes { __typename ... on User { userName } ... on Group { displayName } } } } } } }";
    let groups = server.data(query, json!({})).await["organization"]["groups"]["nodes"].clone();
    assert_eq!(groups[0]["memberCount"], 3);
    assert_eq!(groups[0]["members"]["pageInfo"]["hasNextPage"], true);
    assert_eq!(groups[0]["members"]["nodes"][1], json!({ "__typename": "User", "userName": "b" }));
    assert_eq!(groups[1]["members"]["pageInfo"]["hasNextPage"], false);
    assert_eq!(groups[1]["members"]["nodes"][1], json!({ "__typename": "Group", "displayName": "inner" }));
    let after = groups[0]["members"]["pageInfo"]["endCursor"].clone();
    let rest = server.data(query, json!({ "after": after })).await["organization"]["groups"]["nodes"].clone();
    assert_eq!(rest[0]["members"]["nodes"], json!([{ "__typename": "User", "userName": "c" }]));
}

#[tokio::test]
async fn a_page_of_people_with_all_they_hold_takes_six_statements() {
    let statements = Arc::new(AtomicUsize::new(0));
    let server = open(Some(statements.clone())).await;
    let mut people = Vec::new();
    for number in 0..50 {
        people.push(person(&server.cx, &format!("nurse-{number}")).await);
    }
    for number in 0..10 {
        let ward = crowd(&server.cx, &format!("Ward {number}"), &people).await;
        let map = format!(r#"mutation {{ roleCreate(input: {{ name: "Role {number}" }}) {{ role {{ id }} }} }}"#);
        let role = server.data(&map, json!({})).await["roleCreate"]["role"]["id"].clone();
        let map = "mutation($group: ID!, $role: ID!) { roleMappingCreate(input: { groupId: $group, roleId: $role }) { userErrors { code } } }";
        server.data(map, json!({ "group": id(Kind::Group, ward), "role": role })).await;
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
    // One more judges the key.
    assert!(taken <= 7, "{taken} statements");
}

#[tokio::test]
async fn a_field_that_may_not_be_seen_is_null_with_its_error() {
    let server = server().await;
    let ada = person(&server.cx, "ada").await;
    crowd(&server.cx, "Ward", &[ada]).await;
    let reader = server.key_with(&[Permission::IamRead]).await;
    let query = "{ organization { slug users(first: 1) { nodes { id } } groups(first: 1) { nodes { displayName members(first: 1) { totalCount } } }
        apiKeys(first: 1) { totalCount } events(first: 1) { totalCount } } }";
    let reply = server.ask_as(&reader, query, json!({})).await;
    assert_eq!(reply.status, StatusCode::OK);
    let ward = json!({ "displayName": "Ward", "members": null });
    let expected =
        json!({ "slug": "acme", "users": null, "groups": { "nodes": [ward] }, "apiKeys": null, "events": null });
    assert_eq!(reply.body["data"]["organization"], expected);
    let errors = reply.body["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 4);
    for error in errors {
        assert_eq!(error["extensions"]["code"], "FORBIDDEN");
        assert!(error["message"].as_str().unwrap().starts_with("this needs the permission "));
    }
    let personal =
        errors.iter().find(|error| error["path"] == json!(["organization", "groups", "nodes", 0, "members"]));
    assert_eq!(personal.unwrap()["message"], "this needs the permission USER_READ");

    let nobody = server.key_with(&[]).await;
    let reply = server.ask_as(&nobody, "{ viewer { permissions } organization { scim { status } } }", json!({})).await;
    assert_eq!(reply.body["data"], json!({ "viewer": { "permissions": [] }, "organization": { "scim": null } }));
    let write = r#"mutation { roleCreate(input: { name: "x" }) { role { id } } }"#;
    let reply = server.ask_as(&reader, write, json!({})).await;
    assert_eq!((reply.code(), reply.at("/data/roleCreate")), ("FORBIDDEN", &Value::Null));
    let roles = server.data("{ organization { roles(first: 1) { totalCount } } }", json!({})).await;
    assert_eq!(roles["organization"]["roles"]["totalCount"], 0);
}

#[tokio::test]
async fn whoever_writes_without_reading_learns_the_id_alone() {
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
    let other = organization::create(&server.app, Actor::System, "other", "Other").await.unwrap();
    let there = Cx::system(server.app.clone(), other.id);
    let (user, group) = (person(&there, "eve").await, crowd(&there, "Theirs", &[]).await);
    let ids = [
        id(Kind::User, user),
        id(Kind::Group, group),
        id(Kind::Organization, other.id),
        id(Kind::User, group),
        "nonsense".into(),
    ];
    let data = server.data("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", json!({ "ids": ids })).await;
    assert_eq!(data["nodes"], json!([null, null, null, null, null]));
    let query = "query($user: ID!, $group: ID!) { node(id: $user) { id }
        organization { user(id: $user) { id } group(id: $group) { id } } }";
    let data = server.data(query, json!({ "user": ids[0], "group": ids[1] })).await;
    assert_eq!(data, json!({ "node": null, "organization": { "user": null, "group": null } }));
    let suspend = "mutation($id: ID!) { userSuspend(input: { id: $id }) { user { id } userErrors { code } } }";
    let data = server.data(suspend, json!({ "id": ids[0] })).await;
    assert_eq!(data["userSuspend"], json!({ "user": null, "userErrors": [{ "code": "NOT_FOUND" }] }));
    assert!(user::get(&there, user).await.unwrap().active);
}

fn claims(organizations: &[(&str, &[Permission])]) -> jwt::Claims {
    let organizations: BTreeMap<String, Permissions> =
        organizations.iter().map(|(slug, held)| ((*slug).into(), held.iter().copied().collect())).collect();
    jwt::Claims { subject: "u-1".into(), name: "Ada".into(), organizations, permissions: Permissions::new() }
}

#[tokio::test]
async fn a_person_enters_the_organization_that_the_token_names() {
    let server = server().await;
    organization::create(&server.app, Actor::System, "other", "Other").await.unwrap();
    let hour = chrono::Duration::hours(1);
    let query = "{ viewer { kind name permissions organizations { slug permissions } } organization { slug } }";
    let one = jwt::issue(&server.app, &claims(&[("acme", &[Permission::IamRead])]), hour).unwrap();
    let reply = server.ask_as(&one, query, json!({})).await;
    let held = json!([{ "slug": "acme", "permissions": ["IAM_READ"] }]);
    let viewer = json!({ "kind": "PERSON", "name": "Ada", "permissions": ["IAM_READ"], "organizations": held });
    assert_eq!(reply.body["data"], json!({ "viewer": viewer, "organization": { "slug": "acme" } }));

    let two = claims(&[("acme", &[]), ("other", &[Permission::IamRead, Permission::AccessWrite])]);
    let two = jwt::issue(&server.app, &two, hour).unwrap();
    let reply = server.ask_as(&two, "{ organization { slug } }", json!({})).await;
    assert_eq!(reply.code(), "BAD_USER_INPUT");
    assert!(reply.at("/errors/0/message").as_str().unwrap().contains("acme, other"));
    let write = r#"mutation { roleCreate(input: { name: "x" }) { role { id } } }"#;
    assert_eq!(server.ask_as(&two, write, json!({})).await.code(), "BAD_USER_INPUT");
    for (slug, code) in [("other", ""), ("nowhere", "NOT_FOUND")] {
        let body = json!({ "query": "{ organization { slug roles(first: 1) { totalCount } } }" }).to_string();
        let request = server.post(&two).header("rolecall-organization", slug).body(body.into()).unwrap();
        let reply = server.send(request).await;
        assert_eq!(reply.code(), code, "{slug}: {}", reply.body);
    }
}

#[tokio::test]
async fn only_a_good_credential_opens_the_door() {
    let server = server().await;
    let hour = chrono::Duration::hours(1);
    let good = jwt::issue(&server.app, &claims(&[("acme", &[])]), hour).unwrap();
    let (head, rest) = good.split_once('.').unwrap();
    let (body, signature) = rest.split_once('.').unwrap();
    // {"alg":"none"} and {"alg":"HS256"}
    let unsigned = format!("eyJhbGciOiJub25lIn0.{body}.");
    let confused = format!("eyJhbGciOiJIUzI1NiJ9.{body}.{signature}");
    let altered = format!("{head}.{}A.{signature}", body.trim_end_matches(|_: char| false));
    let credentials = ["", "x", "rck_nope", "a.b.c", &unsigned, &confused, &altered, "rcs_nope"];
    for credential in credentials {
        let reply = server.ask_as(credential, "{ viewer { name } }", json!({})).await;
        assert_eq!((reply.status, reply.code()), (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"), "{credential}");
        assert!(reply.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
        assert_eq!(reply.at("/data"), &Value::Null);
    }
    let reply = server.send(Request::post("/graphql").body(Body::from("{}")).unwrap()).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert_eq!(server.ask_as(&good, "{ viewer { name } }", json!({})).await.status, StatusCode::OK);
    server.app.clock.advance(Duration::from_secs(3600 + 59));
    assert_eq!(server.ask_as(&good, "{ viewer { name } }", json!({})).await.status, StatusCode::OK);
    server.app.clock.advance(Duration::from_secs(2));
    assert_eq!(server.ask_as(&good, "{ viewer { name } }", json!({})).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_wire_is_graphql_over_http() {
    let server = server().await;
    let send = async |method: &str, uri: &str, headers: &[(&str, &str)], body: &str| {
        let mut request = Request::builder().method(method).uri(uri);
        request = request.header("authorization", format!("bEARER {}", server.key));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        server.send(request.body(Body::from(body.to_owned())).unwrap()).await
    };
    const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");
    const MODERN: (&str, &str) = ("accept", "application/graphql-response+json, application/json;q=0.5");
    const PLAIN: (&str, &str) = ("accept", "application/json");
    let query = r#"{"query":"{ viewer { name } }","variables":null,"operationName":null,"extensions":{}}"#;

    let reply = send("POST", "/graphql", &[JSON, MODERN], query).await;
    assert_eq!(reply.headers["content-type"], "application/graphql-response+json; charset=utf-8");
    assert_eq!(reply.at("/data/viewer/name"), "all");
    assert!(reply.at("/extensions/cost/requested").as_u64().unwrap() > 0);
    for accept in [&[JSON][..], &[JSON, ("accept", "*/*")], &[JSON, PLAIN]] {
        let reply = send("POST", "/graphql", accept, query).await;
        assert_eq!(reply.headers["content-type"], "application/json; charset=utf-8");
    }
    let reply = send("POST", "/graphql", &[JSON, ("accept", "text/csv")], query).await;
    assert_eq!(reply.status, StatusCode::NOT_ACCEPTABLE);
    for content_type in ["text/plain", "multipart/form-data; boundary=x", "application/json; charset=latin1"] {
        let reply = send("POST", "/graphql", &[("content-type", content_type)], query).await;
        assert_eq!(reply.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type}");
    }
    assert_eq!(send("POST", "/graphql", &[], query).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);

    for (body, code) in [
        (r#"{"query":"{ nope"}"#, "GRAPHQL_PARSE_FAILED"),
        (r#"{"query":"{ nope }"}"#, "GRAPHQL_VALIDATION_FAILED"),
        (r#"{"query":"query($id: ID!) { node(id: $id) { id } }"}"#, "GRAPHQL_VALIDATION_FAILED"),
        (
            r#"{"query":"query($id: ID!) { node(id: $id) { id } }","variables":{"id":{"a":1}}}"#,
            "GRAPHQL_VALIDATION_FAILED",
        ),
        (r#"{"query":"query a { viewer { name } } query b { viewer { name } }"}"#, "GRAPHQL_VALIDATION_FAILED"),
        (r#"{"query":"query a { viewer { name } }","operationName":"b"}"#, "GRAPHQL_VALIDATION_FAILED"),
    ] {
        let modern = send("POST", "/graphql", &[JSON, MODERN], body).await;
        assert_eq!((modern.status, modern.code()), (StatusCode::BAD_REQUEST, code), "{body}: {}", modern.body);
        assert!(modern.body.get("data").is_none(), "{body}");
        let plain = send("POST", "/graphql", &[JSON, PLAIN], body).await;
        assert_eq!(plain.status, StatusCode::OK, "{body}");
    }
    for body in [
        "",
        "{",
        "[]",
        "[{}]",
        "7",
        "{}",
        r#"{"query":7}"#,
        r#"{"query":"{a}","variables":"x"}"#,
        r#"{"query":"{a}","operationName":1}"#,
        r#"{"query":"{a}","extensions":"x"}"#,
        r#"{"query":"{a}","variables":{"a":"\u0000"}}"#,
    ] {
        for accept in [MODERN, PLAIN] {
            let reply = send("POST", "/graphql", &[JSON, accept], body).await;
            assert_eq!((reply.status, reply.code()), (StatusCode::BAD_REQUEST, "BAD_USER_INPUT"), "{body}");
        }
    }
    let reply = send("GET", "/graphql?query=%7B%20viewer%20%7B%20name%20%7D%20%7D", &[MODERN], "").await;
    assert_eq!(reply.at("/data/viewer/name"), "all");
    let reply =
        send("GET", "/graphql?query=mutation%7BroleCreate(input:%7Bname:%22x%22%7D)%7Brole%7Bid%7D%7D%7D", &[], "")
            .await;
    assert_eq!((reply.status, &reply.headers["allow"]), (StatusCode::METHOD_NOT_ALLOWED, &"POST".parse().unwrap()));
    let reply = send("DELETE", "/graphql", &[], "").await;
    assert_eq!(
        (reply.status, &reply.headers["allow"]),
        (StatusCode::METHOD_NOT_ALLOWED, &"GET, POST".parse().unwrap())
    );

    let large = format!(r#"{{"query":"{{ viewer {{ name }} }}","variables":{{"a":"{}"}}}}"#, "x".repeat(1 << 20));
    assert_eq!(send("POST", "/graphql", &[JSON], &large).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let request_id = Uuid::now_v7().to_string();
    let reply = send("POST", "/graphql", &[JSON, ("x-request-id", &request_id)], query).await;
    assert_eq!(reply.headers["x-request-id"], request_id.as_str());
    let page = server
        .send(Request::get("/graphql").header("accept", "text/html,*/*;q=0.8").body(Body::empty()).unwrap())
        .await;
    assert!(page.body.as_str().unwrap().contains("<html"));
}

#[tokio::test]
async fn bombs_are_refused_at_once() {
    let server = server().await;
    let doubling: String =
        (0..40).map(|n| format!("fragment F{n} on Query {{ ...F{} ...F{} }} ", n + 1, n + 1)).collect();
    let chained: String = (0..900).map(|n| format!("fragment F{n} on Query {{ ...F{} }} ", n + 1)).collect();
    let list = "organization { connections(first: 100) { nodes { tokens { id } } } }";
    let bombs = [
        (format!("{}name{}", "{ organization ".repeat(20), "}".repeat(20)), "QUERY_TOO_COMPLEX"),
        ("{a".repeat(9_000), "QUERY_TOO_COMPLEX"),
        (format!("{{ node(id: {}1{}) {{ id }} }}", "[".repeat(9_000), "]".repeat(9_000)), "QUERY_TOO_COMPLEX"),
        (format!("{{ {} }}", (0..60).map(|n| format!("a{n}: viewer {{ name }} ")).collect::<String>()), "QUERY_TOO_COMPLEX"),
        (format!("{{ viewer {{ {} }} }}", (0..60).map(|n| format!("a{n}: name ")).collect::<String>()), "QUERY_TOO_COMPLEX"),
        (format!("{{ {} }}", "viewer { name } ".repeat(21)), "QUERY_TOO_COMPLEX"),
        (format!("{{ viewer {{ name {} }} }}", "@include(if: true) ".repeat(60)), "QUERY_TOO_COMPLEX"),
        (format!("{{ ...F0 }} {doubling} fragment F40 on Query {{ viewer {{ name }} }}"), "QUERY_TOO_COMPLEX"),
        (format!("{{ viewer {{ name }} }} {doubling} fragment F40 on Query {{ viewer {{ name }} }}"), "QUERY_TOO_COMPLEX"),
        (format!("{{ ...F0 }} {doubling}"), "GRAPHQL_VALIDATION_FAILED"),
        (format!("{{ ...F0 }} {chained} fragment F900 on Query {{ viewer {{ name }} }}"), "QUERY_TOO_COMPLEX"),
        ("{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }".into(), "GRAPHQL_VALIDATION_FAILED"),
        ("{ organization { groups(first: 100) { nodes { members(first: 100) { nodes { ... on User { id } } } } } } }".into(),
         "QUERY_TOO_COMPLEX"),
        ("{ organization { groups { nodes { members { nodes { ... on User { id } } } } } } }".into(), "QUERY_TOO_COMPLEX"),
        (format!("{{ {} }}", "__schema { types { fields { type { fields { type { fields { name } } } } } } }"), "QUERY_TOO_COMPLEX"),
        (format!("{{ {list} }} #{}", "x".repeat(70_000)), "QUERY_TOO_COMPLEX"),
        (format!("{{ {} }}", "nope ".repeat(3_000)), "QUERY_TOO_COMPLEX"),
    ];
    for (bomb, code) in bombs {
        let begun = Instant::now();
        let reply = server.ask(&bomb).await;
        let took = begun.elapsed();
        let shown: String = bomb.chars().take(120).collect();
        assert_eq!((reply.status, reply.code()), (StatusCode::BAD_REQUEST, code), "{shown}: {}", reply.body);
        assert!(took < Duration::from_millis(500), "{shown} took {took:?}");
    }
}

#[tokio::test]
async fn cost_follows_the_rows_that_are_asked_for() {
    let server = server().await;
    let cost = async |query: &str, variables: Value| {
        let reply = server.ask_as(&server.key, query, variables).await;
        reply.at("/extensions/cost/requested").as_u64().unwrap_or_else(|| panic!("{}", reply.body))
    };
    assert_eq!(cost("{ viewer { name } }", json!({})).await, 2);
    assert_eq!(cost("{ organization { users(first: 10) { nodes { id } } } }", json!({})).await, 22);
    assert_eq!(cost("{ organization { users(first: 10) { edges { node { id } } totalCount } } }", json!({})).await, 43);
    let query = "query($n: Int) { organization { users(first: $n) { ...Rows } } } fragment Rows on UserConnection { nodes { id } }";
    assert_eq!(cost(query, json!({ "n": 3 })).await, 8);
    assert_eq!(cost(query, json!({ "n": -3 })).await, 202);
    assert_eq!(cost(query, json!({})).await, 202);
    assert_eq!(cost("query($i: [ID!]!) { nodes(ids: $i) { id } }", json!({ "i": ["a", "b"] })).await, 3);
    let events = "{ organization { scim { recentActivity(first: 5) { action at } } } }";
    assert_eq!(cost(events, json!({})).await, 13);
}

#[tokio::test]
async fn introspection_by_the_tools_works() {
    let server = server().await;
    let types = "fragment T on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } }";
    let query = format!(
        "query {{ __schema {{ queryType {{ name }} mutationType {{ name }} types {{ kind name description
          fields(includeDeprecated: true) {{ name description args {{ name type {{ ...T }} defaultValue }} type {{ ...T }} }}
          inputFields {{ name type {{ ...T }} }} interfaces {{ ...T }} enumValues {{ name }} possibleTypes {{ ...T }} }}
          directives {{ name locations args {{ name type {{ ...T }} }} }} }} }} {types}"
    );
    let data = server.data(&query, json!({})).await;
    let names: Vec<_> =
        data["__schema"]["types"].as_array().unwrap().iter().map(|ty| ty["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"IdentitySourceConnection") && names.contains(&"Permission"));
}

#[tokio::test]
async fn faults_inside_stay_inside() {
    let server = server().await;
    person(&server.cx, "ada").await;
    let damage = r#"UPDATE "user" SET document = 'not JSON'"#;
    server.app.store.write.execute_unprepared(damage).await.unwrap();
    let reply = server.ask("{ organization { slug users(first: 1) { nodes { title } } } }").await;
    assert_eq!((reply.status, reply.code()), (StatusCode::OK, "INTERNAL"));
    assert_eq!(
        reply.at("/data"),
        &json!({ "organization": { "slug": "acme", "users": { "nodes": [{ "title": null }] } } })
    );
    assert_eq!(reply.at("/errors/0/message"), "internal error");
    assert_eq!(reply.at("/errors/0/extensions/requestId"), reply.headers["x-request-id"].to_str().unwrap());
}

#[tokio::test]
async fn a_proposal_is_read_and_decided() {
    let server = server().await;
    let manual = person(&server.cx, "ada").await;
    let connection = server.connection("Okta").await;
    let body = json!({ "userName": "ADA", "title": "Countess", "emails": [{ "value": "ada@evil.example" }] });
    let refused = user::create(&server.provider(connection), body.as_object().unwrap().clone()).await;
    assert!(matches!(refused, Err(Error::Taken { field: "userName" })), "{refused:?}");

    let query = "query($state: AdoptionProposalState) { organization { adoptionProposals(first: 5, state: $state) {
        totalCount nodes { id state cause attempts attributes reason user { id } connection { id adoptionPolicy } } } } }";
    let data = server.data(query, json!({ "state": "PENDING" })).await;
    let page = &data["organization"]["adoptionProposals"];
    assert_eq!(page["totalCount"], 1);
    let found = &page["nodes"][0];
    assert_eq!(
        (&found["state"], &found["cause"], &found["attempts"]),
        (&json!("PENDING"), &json!("POLICY"), &json!(1))
    );
    assert_eq!((&found["attributes"]["title"], &found["reason"]), (&json!("Countess"), &Value::Null));
    assert_eq!(found["user"]["id"], id(Kind::User, manual));
    let owner = json!({ "id": id(Kind::IdentitySource, connection), "adoptionPolicy": "PROPOSE" });
    assert_eq!(found["connection"], owner);
    let node = "query($id: ID!) { node(id: $id) { id ... on AdoptionProposal { state } } }";
    assert_eq!(server.data(node, json!({ "id": found["id"] })).await["node"]["state"], "PENDING");

    let mutation = |name: &str| {
        format!(
            "mutation($id: ID!) {{ {name}(input: {{ id: $id, reason: \"asked her\" }}) {{
                proposal {{ state reason }} userErrors {{ code field }} }} }}"
        )
    };
    let (accept, dismiss) = (mutation("adoptionProposalAccept"), mutation("adoptionProposalDismiss"));
    let without: Vec<_> = Permission::in_organization().into_iter().filter(|p| *p != Permission::ReviewWrite).collect();
    let reader = server.key_with(&without).await;
    for mutation in [&accept, &dismiss] {
        assert_eq!(server.ask_as(&reader, mutation, json!({ "id": found["id"] })).await.code(), "FORBIDDEN");
        let foreign = server.data(mutation, json!({ "id": id(Kind::User, manual) })).await;
        let payload = foreign.as_object().unwrap().values().next().unwrap();
        let expected = json!({ "proposal": null, "userErrors": [{ "code": "NOT_FOUND", "field": ["input", "id"] }] });
        assert_eq!(payload, &expected);
    }
    let done = server.data(&dismiss, json!({ "id": found["id"] })).await;
    let expected = json!({ "proposal": { "state": "DISMISSED", "reason": "asked her" }, "userErrors": [] });
    assert_eq!(done["adoptionProposalDismiss"], expected);
    let done = server.data(&accept, json!({ "id": found["id"] })).await;
    assert_eq!(done["adoptionProposalAccept"]["proposal"]["state"], "ACCEPTED");
    let adopted = user::get(&server.cx, manual).await.unwrap();
    assert_eq!((adopted.connection_id, adopted.user_name.as_str()), (Some(connection), "ada"));
    let data = server.data(query, json!({ "state": "PENDING" })).await;
    assert_eq!(data["organization"]["adoptionProposals"], json!({ "totalCount": 0, "nodes": [] }));
}

#[tokio::test]
async fn whom_a_connection_may_link_is_a_setting() {
    let server = server().await;
    let connection = id(Kind::IdentitySource, server.connection("Okta").await);
    let update = "mutation($id: ID!) { connectionUpdate(input: { id: $id, adoptionPolicy: LINK }) {
        connection { adoptionPolicy } userErrors { code } } }";
    let data = server.data(update, json!({ "id": connection })).await;
    assert_eq!(data["connectionUpdate"]["connection"]["adoptionPolicy"], "LINK");
    let update = "mutation($domains: [String!]) { organizationUpdate(input: { verifiedDomains: $domains }) {
        organization { verifiedDomains } userErrors { code field } } }";
    let data = server.data(update, json!({ "domains": ["Example.ORG"] })).await;
    assert_eq!(data["organizationUpdate"]["organization"]["verifiedDomains"], json!(["example.org"]));
    let data = server.data(update, json!({ "domains": ["example.org", "org"] })).await;
    let refused = json!({ "code": "INVALID", "field": ["input", "verifiedDomains"] });
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
    user::delete(&server.cx, ada, |_| Ok(())).await.unwrap();

    let restore =
        "mutation($id: ID!) { userRestore(input: { id: $id }) { user { userName } userErrors { code field } } }";
    let data = server.data(restore, json!({ "id": id(Kind::User, ada) })).await;
    assert_eq!(data["userRestore"], json!({ "user": { "userName": "ada" }, "userErrors": [] }));
    let purge = "mutation($id: ID!) { userPurge(input: { id: $id }) { purgedUserId userErrors { code field } } }";
    let data = server.data(purge, json!({ "id": id(Kind::User, ada) })).await;
    let not_deleted = json!([{ "code": "NOT_FOUND", "field": ["input", "id"] }]);
    assert_eq!(data["userPurge"], json!({ "purgedUserId": null, "userErrors": not_deleted }));
    user::delete(&server.cx, bob, |_| Ok(())).await.unwrap();
    let data = server.data(purge, json!({ "id": id(Kind::User, bob) })).await;
    assert_eq!(data["userPurge"], json!({ "purgedUserId": id(Kind::User, bob), "userErrors": [] }));

    let delete = "mutation($count: Int!, $connection: ID) { provisionedUsersDelete(
        input: { confirmCount: $count, connectionId: $connection }) {
        deletedCount protectedCount userErrors { code field message } } }";
    let without: Vec<_> = Permission::in_organization().into_iter().filter(|p| *p != Permission::DeleteAll).collect();
    let others = server.key_with(&without).await;
    assert_eq!(server.ask_as(&others, delete, json!({ "count": 1 })).await.code(), "FORBIDDEN");
    assert_eq!(server.ask_as(&others, purge, json!({ "id": id(Kind::User, bob) })).await.code(), "FORBIDDEN");
    for wrong in [0, 2, -1] {
        let data = server.data(delete, json!({ "count": wrong })).await;
        let error = &data["provisionedUsersDelete"]["userErrors"][0];
        assert_eq!((&error["code"], &error["field"]), (&json!("INVALID"), &json!(["input", "confirmCount"])));
        assert!(error["message"].as_str().unwrap().contains("now 1"), "{error}");
    }
    let variables = json!({ "count": 1, "connection": id(Kind::IdentitySource, manual) });
    let data = server.data(delete, variables).await;
    assert_eq!(data["provisionedUsersDelete"]["userErrors"][0]["field"], json!(["input", "connectionId"]));
    let variables = json!({ "count": 1, "connection": id(Kind::IdentitySource, connection) });
    let data = server.data(delete, variables).await;
    let expected = json!({ "deletedCount": 1, "protectedCount": 0, "userErrors": [] });
    assert_eq!(data["provisionedUsersDelete"], expected);
    let left = "{ organization { scim { counts { users } } users(first: 5) { nodes { userName } }
        events(first: 1) { nodes { action subjectKind subjectId } } } }";
    let data = server.data(left, json!({})).await;
    assert_eq!(data["organization"]["scim"]["counts"]["users"], 0);
    assert_eq!(data["organization"]["users"]["nodes"], json!([{ "userName": "manual" }]));
    let told = json!([{ "action": "users.deleted_all", "subjectKind": "USER", "subjectId": null }]);
    assert_eq!(data["organization"]["events"]["nodes"], told);
}
