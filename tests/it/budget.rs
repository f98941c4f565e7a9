//! How many statements requests may need: no more than is written here, and not more because a
//! group is large.
//!
//! The router is called without the network and without the background workers, so every statement
//! that is counted belongs to the request. Statements that begin or end a transaction are not
//! counted.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use entity::connection::Provider;
use entity::{membership, user};
use rolecall::cli::bootstrap;
use rolecall::cli::bootstrap::BootstrapResult;
use rolecall::context::{App, Cx};
use rolecall::{ledger, server};
use sea_orm::{ActiveModelTrait, ConnectionTrait, DbBackend, EntityTrait, Statement};
use serde_json::{Value, json};
use tower::ServiceExt;
use uuid::Uuid;

use crate::database::Database;
use crate::world::patch;

/// A server whose statements are counted.
struct Meter {
    app: Arc<App>,
    router: Router,
    made: BootstrapResult,
    statements: Arc<Mutex<Vec<String>>>,
    database: Database,
}

/// The answer to a request, and the text of each statement that it needed.
struct Metered {
    status: u16,
    body: Value,
    statements: Vec<String>,
}

impl Meter {
    async fn new() -> Self {
        let database = Database::ready().await;
        let mut app = App::open(database.config()).await.unwrap();
        let statements = Arc::new(Mutex::new(Vec::new()));
        let store = &mut Arc::get_mut(&mut app).unwrap().store;
        for connection in [&mut store.read, &mut store.write, &mut store.authentication] {
            let statements = statements.clone();
            connection
                .on_query(move |statement| statements.lock().unwrap().push(statement.to_owned()));
        }
        let made = bootstrap::run_bootstrap(&app, "acme", "Identity provider", Provider::Generic)
            .await
            .unwrap();
        Self { router: server::build_router(app.clone()), app, made, statements, database }
    }

    async fn send(&self, method: &str, path: &str, credential: &str, body: Value) -> Metered {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {credential}"))
            .header("content-type", "application/json")
            .body(if body.is_null() { Body::empty() } else { body.to_string().into() })
            .unwrap();
        self.statements.lock().unwrap().clear();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let body =
            if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        Metered { status, body, statements: std::mem::take(&mut *self.statements.lock().unwrap()) }
    }

    async fn scim(&self, method: &str, path: &str, body: Value) -> Metered {
        self.send(method, &format!("/scim/v2/acme{path}"), &self.made.scim.token, body).await
    }

    async fn graphql(&self, query: &str, variables: Value) -> Metered {
        let body = json!({ "query": query, "variables": variables });
        let answer = self.send("POST", "/graphql", &self.made.graphql.api_key, body).await.is(200);
        assert_eq!(answer.body.get("errors"), None, "{}", answer.body);
        answer
    }

    async fn user(&self, name: &str) -> Uuid {
        let emails =
            json!([{ "value": format!("{name}@acme.example"), "type": "work", "primary": true }]);
        let body = json!({ "userName": name, "externalId": format!("x-{name}"), "emails": emails });
        self.scim("POST", "/Users", body).await.is(201).id()
    }

    async fn group(&self, name: &str, members: &[Uuid]) -> Uuid {
        let members: Vec<_> = members.iter().map(|id| json!({ "value": id })).collect();
        self.scim("POST", "/Groups", json!({ "displayName": name, "members": members }))
            .await
            .is(201)
            .id()
    }

    /// Makes a group larger directly in the database: copies of `member` join it.
    async fn add_copies_of(&self, group: Uuid, member: Uuid, more: usize) {
        let cx = Cx::system(self.app.clone(), self.made.organization.id);
        let db = &self.app.store.write;
        let find = |rows: Vec<user::Model>| rows.into_iter().find(|row| row.id == member).unwrap();
        let original = find(cx.find::<user::Entity>().all(db).await.unwrap());
        let belongs = cx.find::<membership::Entity>().one(db).await.unwrap().unwrap();
        let ids: Vec<Uuid> = (0..more).map(|_| Uuid::now_v7()).collect();
        for ids in ids.chunks(500) {
            let copies = ids.iter().map(|id| {
                let (name, external_id) = (id.to_string(), Some(id.to_string()));
                let row = user::Model {
                    id: *id,
                    user_name: name.clone(),
                    user_name_key: name,
                    external_id,
                    ..original.clone()
                };
                user::ActiveModel::from(row).reset_all()
            });
            user::Entity::insert_many(copies).exec_without_returning(db).await.unwrap();
            let join = ids.iter().map(|id| {
                let row = membership::Model {
                    id: Uuid::now_v7(),
                    group_id: group,
                    user_id: *id,
                    ..belongs.clone()
                };
                membership::ActiveModel::from(row).reset_all()
            });
            membership::Entity::insert_many(join).exec_without_returning(db).await.unwrap();
        }
    }

    async fn end(self) {
        ledger::seal_ledgers(&self.app.store).await.unwrap();
        let verdict =
            ledger::verify_chain(&self.app.store, self.made.organization.id).await.unwrap();
        assert_eq!(verdict.broken, None);
        drop(self.router);
        self.app.store.clone().close().await;
        self.database.drop().await;
    }
}

impl Metered {
    #[track_caller]
    fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:#}", self.body);
        self
    }

    #[track_caller]
    fn id(&self) -> Uuid {
        self.body["id"].as_str().unwrap().parse().unwrap()
    }

    /// Fails and prints the statements if there are more than this. On SQLite a write also seals
    /// the ledger and updates the counters; on PostgreSQL workers do that.
    #[track_caller]
    fn within(self, on_sqlite: usize, on_postgres: usize) -> Self {
        let most = if crate::database::on_postgres() { on_postgres } else { on_sqlite };
        let count = self.statements.len();
        assert!(
            (1..=most).contains(&count),
            "{count} statements, not {most}:\n{}",
            self.statements.join("\n")
        );
        self
    }

    /// Whether any statement reads memberships.
    fn looks_at_members(&self) -> bool {
        self.statements
            .iter()
            .any(|sql| sql.contains("membership") || sql.contains("group_nesting"))
    }
}

fn add(member: Uuid) -> Value {
    patch(json!([{ "op": "add", "path": "members", "value": [{ "value": member }] }]))
}

fn remove(member: Uuid) -> Value {
    patch(json!([{ "op": "remove", "path": format!("members[value eq \"{member}\"]") }]))
}

#[tokio::test]
async fn group_size_never_raises_the_cost() {
    let meter = Meter::new().await;
    let (ada, ben) = (meter.user("ada").await, meter.user("ben").await);
    let (small, large) = (meter.group("small", &[ada]).await, meter.group("large", &[ada]).await);
    meter.add_copies_of(small, ada, 9).await;
    meter.add_copies_of(large, ada, 4_999).await;
    let whole = meter.scim("GET", &format!("/Groups/{large}"), Value::Null).await.is(200);
    assert_eq!(whole.body["members"].as_array().unwrap().len(), 5_000);

    let mut costs = Vec::new();
    for group in [small, large] {
        let path = format!("/Groups/{group}?excludedAttributes=members");
        let added = meter.scim("PATCH", &path, add(ben)).await.is(200).within(9, 3);
        let removed = meter.scim("PATCH", &path, remove(ben)).await.is(200).within(10, 3);
        costs.push((added.statements, removed.statements));
    }
    assert_eq!(costs[0], costs[1]);
    meter.end().await;
}

#[tokio::test]
async fn unrequested_members_are_not_read() {
    let meter = Meter::new().await;
    let ada = meter.user("ada").await;
    let group = meter.group("engines", &[ada]).await;
    for path in [
        format!("/Groups/{group}?"),
        "/Groups?".to_owned(),
        "/Groups?filter=displayName%20eq%20%22engines%22&".into(),
    ] {
        for thin in
            ["excludedAttributes=members", "attributes=displayName", "attributes=id,externalId"]
        {
            let answer = meter.scim("GET", &format!("{path}{thin}"), Value::Null).await.is(200);
            assert!(!answer.looks_at_members(), "{path}{thin}: {:#?}", answer.statements);
            assert!(
                answer.body.to_string().contains(&group.to_string())
                    && !answer.body.to_string().contains(&ada.to_string())
            );
        }
        let answer = meter.scim("GET", &path, Value::Null).await.is(200);
        assert!(
            answer.looks_at_members() && answer.body.to_string().contains(&ada.to_string()),
            "{path}"
        );
    }
    let path = format!("/Users/{ada}?excludedAttributes=groups");
    assert!(!meter.scim("GET", &path, Value::Null).await.is(200).looks_at_members());
    meter.end().await;
}

#[tokio::test]
async fn usual_requests_stay_within_their_budget() {
    let meter = Meter::new().await;
    // The first request also loads what the server keeps in memory afterwards.
    meter.user("first").await;
    let body = json!({ "userName": "ada", "externalId": "x", "emails": [{ "value": "ada@acme.example" }] });
    let ada = meter.scim("POST", "/Users", body).await.is(201).within(10, 2).id();
    let found = meter
        .scim("GET", "/Users?filter=userName%20eq%20%22ada%22", Value::Null)
        .await
        .is(200)
        .within(2, 2);
    assert_eq!(found.body["totalResults"], 1);
    let missing = "/Users?filter=externalId%20eq%20%22missing%22";
    meter.scim("GET", missing, Value::Null).await.is(200).within(2, 2);
    let path = format!("/Users/{ada}");
    meter.scim("GET", &path, Value::Null).await.is(200).within(3, 3);
    let replace = |name: &str, value: Value| {
        patch(json!([{ "op": "replace", "path": name, "value": value }]))
    };
    meter.scim("PATCH", &path, replace("title", json!("Countess"))).await.is(200).within(7, 4);
    // Nothing changes, so nothing is written.
    meter.scim("PATCH", &path, replace("title", json!("Countess"))).await.is(200).within(3, 3);
    meter.scim("PATCH", &path, replace("active", json!(false))).await.is(200).within(9, 4);
    meter.scim("DELETE", &path, Value::Null).await.is(204).within(15, 12);
    meter.end().await;
}

/// SQLite keeps no statistics, so it chooses the order of joins without knowing the sizes of
/// tables.
#[tokio::test]
async fn usual_requests_scan_nothing_on_sqlite() {
    if crate::database::on_postgres() {
        return;
    }
    let meter = Meter::new().await;
    let ada = meter.user("ada").await;
    let group = meter.group("engines", &[ada]).await;
    let (user, group, title) =
        (format!("/Users/{ada}"), format!("/Groups/{group}"), json!("Countess"));
    let replace = |name: &str, value: &Value| {
        patch(json!([{ "op": "replace", "path": name, "value": value }]))
    };
    let requests = [
        (
            "POST",
            "/Users",
            json!({ "userName": "ben", "externalId": "x-ben", "emails": [{ "value": "ben@acme.example" }] }),
        ),
        ("GET", "/Users?filter=userName%20eq%20%22ada%22", Value::Null),
        ("GET", "/Users?filter=externalId%20eq%20%22x-ada%22", Value::Null),
        ("GET", "/Users?filter=emails.value%20eq%20%22ada@acme.example%22", Value::Null),
        ("GET", "/Users?startIndex=1&count=100", Value::Null),
        ("GET", "/Users?startIndex=2&count=1", Value::Null),
        ("GET", "/Users?cursor&count=1", Value::Null),
        ("GET", "/Groups?startIndex=2&count=1", Value::Null),
        ("GET", "/Groups?filter=displayName%20eq%20%22engines%22", Value::Null),
        ("GET", &user, Value::Null),
        ("PATCH", &user, replace("title", &title)),
        ("PATCH", &user, replace("active", &json!(false))),
        ("PATCH", &group, remove(ada)),
        ("PATCH", &group, add(ada)),
        ("GET", &group, Value::Null),
    ];
    for (method, path, body) in requests {
        let answer = meter.scim(method, path, body).await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {}", answer.body);
        for statement in answer.statements {
            let plans =
                statement.split("; ").filter(|one| !one.is_empty() && !one.contains("SAVEPOINT"));
            for one in plans {
                let explain =
                    Statement::from_string(DbBackend::Sqlite, format!("EXPLAIN QUERY PLAN {one}"));
                for step in meter.app.store.read.query_all_raw(explain).await.unwrap() {
                    let step: String = step.try_get("", "detail").unwrap();
                    assert!(!walks(&step), "{method} {path}: {step}\n{one}");
                }
            }
        }
    }
    meter.end().await;
}

/// Whether a step of a plan reads all rows of a large table, or all rows that an organization has
/// in it.
fn walks(step: &str) -> bool {
    let large = ["user", "group", "membership", "activation", "event"];
    let of = |name: &str| {
        large.iter().any(|table| {
            name.starts_with(table) || name.starts_with(&format!("sqlite_autoindex_{table}_"))
        })
    };
    let words: Vec<&str> = step.split(' ').collect();
    let index = words.iter().position(|word| *word == "INDEX").and_then(|at| words.get(at + 1));
    match (words.first(), index) {
        // It is empty: on SQLite every row is sealed when it is written.
        (_, Some(&"event_unsealed")) => false,
        (Some(&"SEARCH"), Some(index)) => of(index) && step.ends_with("(organization_id=?)"),
        (Some(&"SCAN"), Some(index)) => of(index),
        (Some(&"SCAN"), None) => words.get(1).is_some_and(|table| large.contains(table)),
        _ => false,
    }
}

#[tokio::test]
async fn full_user_page_takes_five_statements() {
    let meter = Meter::new().await;
    let mut users = Vec::new();
    for n in 0..50 {
        users.push(meter.user(&format!("u{n}")).await);
    }
    let role = "mutation { roleCreate(input: { name: \"Nurse\", permissions: [\"charts:read\"] }) \
                { role { id } } }";
    let role =
        meter.graphql(role, json!({})).await.body["data"]["roleCreate"]["role"]["id"].clone();
    for n in 0..10 {
        meter.group(&format!("g{n}"), &users).await;
    }
    let groups =
        meter.graphql("{ organization { groups(first: 100) { nodes { id } } } }", json!({})).await;
    for group in groups.body["data"]["organization"]["groups"]["nodes"].as_array().unwrap() {
        let map = "mutation($input: RoleMappingCreateInput!) { roleMappingCreate(input: $input) { \
                   userErrors { message } } }";
        let input = json!({ "input": { "groupId": group["id"], "roleId": role } });
        let made = meter.graphql(map, input).await;
        assert_eq!(
            made.body["data"]["roleMappingCreate"]["userErrors"],
            json!([]),
            "{}",
            made.body
        );
    }
    let alone = meter.graphql("{ __typename }", json!({})).await;
    let page = "{ organization { users(first: 50) { nodes {
        userName emails { value } groups(first: 10) { nodes { displayName } } roles { role { name } }
    } } } }";
    let answer = meter.graphql(page, json!({})).await;
    let nodes = answer.body["data"]["organization"]["users"]["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 50);
    for node in nodes {
        assert_eq!(node["groups"]["nodes"].as_array().unwrap().len(), 10);
        assert_eq!(
            (node["roles"][0]["role"]["name"].as_str(), node["emails"].as_array().unwrap().len()),
            (Some("Nurse"), 1)
        );
    }
    let most = alone.statements.len() + 5;
    answer.within(most, most);
    meter.end().await;
}

#[tokio::test]
async fn decision_takes_one_statement() {
    let meter = Meter::new().await;
    let ada = meter.user("ada").await;
    meter.user("ben").await;
    let group = meter.group("engines", &[ada]).await;
    let role = "mutation { roleCreate(input: { name: \"Nurse\", permissions: [\"charts:read\"] }) \
                { role { id } } }";
    let role =
        meter.graphql(role, json!({})).await.body["data"]["roleCreate"]["role"]["id"].clone();
    let map = "mutation($g: ID!, $r: ID!) { roleMappingCreate(input: { groupId: $g, roleId: $r }) \
               { userErrors { message } } }";
    meter.graphql(map, json!({ "g": group.to_string(), "r": role })).await;
    let question = |subject: &str, action: &str| {
        json!({ "subject": { "type": "user", "id": subject }, "action": { "name": action },
                "resource": { "type": "charts", "id": "1" } })
    };
    let ask = async |path: &str, body: Value| {
        let key = &meter.made.graphql.api_key;
        let answer = meter.send("POST", &format!("/access/v1/{path}"), key, body).await.is(200);
        // A list of people walks the groups that are in the role's groups; a decision walks nothing.
        let list = path == "search/subject";
        for statement in answer.statements.iter().filter(|_| !list) {
            if meter.app.store.backend() == DbBackend::Sqlite {
                let explain = Statement::from_string(
                    DbBackend::Sqlite,
                    format!("EXPLAIN QUERY PLAN {statement}"),
                );
                for step in meter.app.store.read.query_all_raw(explain).await.unwrap() {
                    let step: String = step.try_get("", "detail").unwrap();
                    assert!(!walks(&step), "{path}: {step}\n{statement}");
                }
            }
        }
        answer
    };
    // The first statement finds the key.
    let external = format!("{}/x-ada", meter.made.connection.id);
    for subject in ["ada", &ada.to_string(), &external] {
        let answer = ask("evaluation", question(subject, "read")).await.within(2, 2);
        assert_eq!(answer.body["decision"], true, "{subject}");
    }
    // Many questions about one person take no more.
    let evaluations: Vec<_> = (0..50).map(|n| question("ada", &format!("{n}"))).collect();
    ask("evaluations", json!({ "evaluations": evaluations })).await.within(2, 2);
    ask("search/action", question("ada", "read")).await.within(2, 2);
    ask("search/subject", question("ada", "read")).await.within(5, 5);
    // Another person is one more on SQLite; on PostgreSQL both may share one.
    let two = json!({ "evaluations": [question("ada", "read"), question("ben", "read")] });
    let answer = ask("evaluations", two).await.within(3, 3);
    assert_eq!(answer.body["evaluations"][0]["decision"], true);
    assert_eq!(answer.body["evaluations"][1]["decision"], false);
    let decision = "{ organization { decision(subject: \"ada\", permission: \"charts:read\") { \
                    allowed reason } } }";
    let answer = meter.graphql(decision, json!({})).await.within(2, 2);
    assert_eq!(answer.body["data"]["organization"]["decision"]["allowed"], true);
    meter.end().await;
}
