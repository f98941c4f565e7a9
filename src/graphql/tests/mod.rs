//! The GraphQL API on an SQLite file: a harness, and what holds for the whole schema.

mod gates;
mod stories;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_graphql::parser::types::{TypeKind, TypeSystemDefinition};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;
use uuid::Uuid;

use super::{build_graphql_router, export_sdl};
use crate::auth::policy::{Actor, Permission, Scope};
use crate::config::{Config, GraphqlSettings, KeySource};
use crate::context::{App, Cx};
use crate::domain::access::api_key;
use crate::domain::connection;
use crate::domain::directory::{group, user};
use crate::domain::tenant::lifecycle;
use crate::graphql::relay;
use crate::graphql::relay::NodeKind;

/// A server on an SQLite file of its own, with one organization and a key that may do everything
/// there.
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
    configured(GraphqlSettings::default(), statements).await
}

async fn configured(graphql: GraphqlSettings, statements: Option<Arc<AtomicUsize>>) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        database_url: format!("sqlite://{}", folder.path().join("test.db").display()),
        data_dir: folder.path().to_owned(),
        master_key: KeySource::File(folder.path().join("master.key")),
        new_master_key: None,
        public_url: "https://example.com".into(),
        scim_enabled: true,
        metrics: false,
        scim_rate_limit: 0,
        decision_rate_limit: 0,
        pull_private_addresses: false,
        pull_timeout: crate::config::DEFAULT_PULL_TIMEOUT,
        signal_private_addresses: false,
        api_key_days: crate::config::DEFAULT_API_KEY_DAYS,
        graphql,
        issuers: Vec::new(),
        trusted_proxies: Default::default(),
        dns_server: None,
        smtp: None,
    };
    let mut app = App::open(config).await.unwrap();
    if let Some(statements) = statements {
        let store = &mut Arc::get_mut(&mut app).unwrap().store;
        for connection in [&mut store.read, &mut store.authentication] {
            let statements = statements.clone();
            connection.on_query(move |_| {
                statements.fetch_add(1, Ordering::Relaxed);
            });
        }
    }
    let organization =
        lifecycle::create_organization(&app, Actor::System, ("acme", "Acme"), "first", 30)
            .await
            .unwrap()
            .organization;
    let cx = Cx::system(app.clone(), organization.id);
    let key =
        api_key::issue_key(&cx, "all", Permission::in_organization(), None).await.unwrap().secret;
    Server { router: build_graphql_router(app.clone()), app, key, cx, _folder: folder }
}

async fn server() -> Server {
    open(None).await
}

impl Server {
    async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes)));
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

    /// Sends a query and expects a response without errors; returns its data.
    async fn data(&self, query: &str, variables: Value) -> Value {
        let reply = self.ask_as(&self.key, query, variables).await;
        assert_eq!(reply.at("/errors"), &Value::Null, "{query}");
        assert_eq!(reply.status, StatusCode::OK);
        reply.body["data"].clone()
    }

    async fn key_with(&self, permissions: &[Permission]) -> String {
        let permissions = permissions.iter().copied().collect();
        api_key::issue_key(&self.cx, "some", permissions, None).await.unwrap().secret
    }

    async fn connection(&self, name: &str) -> Uuid {
        let settings =
            connection::ConnectionSettings { name: Some(name.into()), ..Default::default() };
        connection::create_connection(&self.cx, settings, Default::default()).await.unwrap().id
    }

    /// A context of an identity provider.
    fn provider(&self, connection: Uuid) -> Cx {
        let actor = Actor::Connection {
            id: connection,
            name: "IdP".into(),
            scopes: Scope::ALL.into_iter().collect(),
        };
        Cx::new(self.app.clone(), actor, self.cx.organization(), Uuid::now_v7())
    }
}

async fn person(cx: &Cx, name: &str) -> Uuid {
    let body = json!({
        "userName": name, "displayName": format!("Nurse {name}"),
        "emails": [{ "value": format!("{name}@x.org") }],
    });
    user::create_user(cx, body.as_object().unwrap().clone()).await.unwrap().id
}

async fn crowd(cx: &Cx, name: &str, members: &[Uuid]) -> Uuid {
    let body = json!({ "displayName": name });
    let members = members.iter().map(Uuid::to_string).collect();
    group::create_group(cx, body.as_object().unwrap().clone(), members).await.unwrap().id
}

fn id(kind: NodeKind, id: Uuid) -> String {
    relay::global_id(kind, id).0
}

#[test]
fn every_field_says_what_it_requires_and_everything_is_described() {
    let document = async_graphql::parser::parse_schema(export_sdl()).unwrap();
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
                let undescribed =
                    values.values.iter().filter(|value| value.node.description.is_none());
                mute.extend(undescribed.map(|value| format!("{name}.{}", value.node.value.node)));
                continue;
            }
            TypeKind::InputObject(input) => {
                let undescribed =
                    input.fields.iter().filter(|field| field.node.description.is_none());
                mute.extend(undescribed.map(|field| format!("{name}.{}", field.node.name.node)));
                continue;
            }
            _ => continue,
        };
        for field in fields {
            let field = field.node;
            let at = format!("{name}.{}", field.name.node);
            let needs =
                field.directives.iter().find(|directive| directive.node.name.node == "needs");
            if needs.is_none() {
                open.push(at.clone());
            }
            match field.description.as_ref().map(|description| &description.node) {
                None => mute.push(at.clone()),
                Some(description) => {
                    let permission = needs.and_then(|needs| needs.node.get_argument("permission"));
                    if let Some(permission) = permission {
                        let note = format!("Needs `{}`.", permission.node);
                        assert!(description.ends_with(&note), "{at}: {description}");
                    }
                }
            }
            let arguments =
                field.arguments.iter().filter(|argument| argument.node.description.is_none());
            mute.extend(arguments.map(|argument| format!("{at}({})", argument.node.name.node)));
        }
    }
    assert_eq!(open, Vec::<String>::new(), "fields without @needs");
    assert_eq!(mute, Vec::<String>::new(), "without a description");
}

#[test]
fn the_published_schema_is_the_schema() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema.graphql");
    let published = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        published == export_sdl(),
        "schema.graphql is stale: cargo run -- schema > schema.graphql"
    );
}
