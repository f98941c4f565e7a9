//! A running server with an organization in it, and helpers that show what a request has changed.

use std::sync::Arc;
use std::time::Duration;

use entity::connection::Provider;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use rolecall::cli::bootstrap;
use rolecall::cli::bootstrap::BootstrapResult;
use rolecall::config::Config;
use rolecall::context::{App, Cx};
use rolecall::ledger::EventKind;
use rolecall::{ledger, server};
use sea_orm::{ConnectionTrait, DbBackend, FromQueryResult, Statement, Value as Sql};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::database::Database;

/// A server with the organization `acme`.
pub struct World {
    pub app: Arc<App>,
    pub acme: Tenant,
    /// `http://127.0.0.1:PORT`
    pub address: String,
    database: Database,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<JoinHandle<std::io::Result<()>>>,
}

/// An organization with one connection, its token and an API key.
pub struct Tenant {
    pub organization: Uuid,
    pub connection: Uuid,
    pub api_key: String,
    pub scim: Scim,
    pub graphql: String,
}

impl World {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// A server with settings of its own.
    pub async fn with(settings: impl FnOnce(&mut Config)) -> Self {
        Self::on(Database::ready().await, settings, |_| {}).await
    }

    /// A server on this database. `prepare` is called before the server starts.
    pub async fn on(
        database: Database,
        settings: impl FnOnce(&mut Config),
        prepare: impl FnOnce(&mut App),
    ) -> Self {
        let mut config = database.config();
        settings(&mut config);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        // Where SCIM is off, no connection can be made. So it is made before SCIM is switched off.
        let mut acme = None;
        if !config.scim_enabled {
            let before = App::open(Config { scim_enabled: true, ..config.clone() }).await.unwrap();
            acme = Some(Tenant::bootstrap(&before, &address, "acme", "Identity provider").await);
            before.store.clone().close().await;
        }
        let mut app = App::open(config).await.unwrap();
        prepare(Arc::get_mut(&mut app).unwrap());
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(server::run_server(app.clone(), listener, async move {
            let _ = stopped.await;
        }));
        let acme = match acme {
            Some(acme) => acme,
            None => Tenant::bootstrap(&app, &address, "acme", "Identity provider").await,
        };
        Self { app, acme, address, database, stop: Some(stop), serving: Some(serving) }
    }

    /// Acme's identity provider.
    pub fn scim(&self) -> &Scim {
        &self.acme.scim
    }

    /// Another organization, or another connection of one.
    pub async fn tenant(&self, slug: &str, connection: &str) -> Tenant {
        Tenant::bootstrap(&self.app, &self.address, slug, connection).await
    }

    pub async fn second_organization(&self) -> Tenant {
        self.tenant("globex", "Identity provider").await
    }

    /// rolecall itself, acting in acme.
    pub fn system(&self) -> Cx {
        Cx::system(self.app.clone(), self.acme.organization)
    }

    /// Waits until every change so far is in the chain, so that a subscription that begins now gets
    /// later changes only. (A call of the sealer is not enough: it returns at once when another one
    /// is running.)
    pub async fn sealed(&self) {
        while self.count("unsealed", []).await > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The settings of another server on the same database.
    pub fn config(&self) -> rolecall::config::Config {
        self.database.config()
    }

    fn statement(&self, sql: &str, values: impl IntoIterator<Item = Sql>) -> Statement {
        Statement::from_sql_and_values(self.app.store.backend(), sql, values)
    }

    /// The rows that a query finds, each as a JSON object. The query must name columns of tables:
    /// on SQLite the value of an expression has no type.
    pub async fn rows(&self, sql: &str, values: impl IntoIterator<Item = Sql>) -> Vec<Value> {
        let query = sea_orm::JsonValue::find_by_statement(self.statement(sql, values));
        query.all(&self.app.store.read).await.unwrap()
    }

    /// The only number that a query finds.
    async fn number(&self, sql: &str, values: impl IntoIterator<Item = Sql>) -> i64 {
        let row =
            self.app.store.read.query_one_raw(self.statement(sql, values)).await.unwrap().unwrap();
        row.try_get_by_index(0).unwrap()
    }

    /// How many rows `FROM …` has.
    pub async fn count(&self, from: &str, values: impl IntoIterator<Item = Sql>) -> i64 {
        self.number(&format!("SELECT count(*) FROM {from}"), values).await
    }

    /// Changes the database directly.
    pub async fn execute(&self, sql: &str, values: impl IntoIterator<Item = Sql>) {
        self.app.store.write.execute_raw(self.statement(sql, values)).await.unwrap();
    }

    /// How many rows each table has that a request could change, and the sums of their versions.
    pub async fn everything(&self) -> Value {
        let mut all = json!({});
        let tables = match self.app.store.backend() {
            DbBackend::Postgres => "SELECT tablename FROM pg_tables WHERE schemaname = 'public'",
            _ => "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'",
        };
        for row in self.app.store.read.query_all_raw(self.statement(tables, [])).await.unwrap() {
            let table: String = row.try_get_by_index(0).unwrap();
            // Rows of these come and go by background work.
            let is_bookkeeping =
                entity::all_tables().any(|notes| notes.table == table && notes.is_bookkeeping);
            if !is_bookkeeping {
                all[&table] = self.count(&format!("\"{table}\""), []).await.into();
            }
        }
        for (name, sum) in SUMS {
            all[name] = self.number(&format!("SELECT {sum}"), []).await.into();
        }
        all
    }

    /// The events about one subject, oldest first.
    pub async fn events_of(&self, subject: Uuid) -> Vec<String> {
        let rows = self
            .rows("SELECT action FROM event WHERE subject_id = $1 ORDER BY pos", [subject.into()])
            .await;
        rows.iter().map(|row| row["action"].as_str().unwrap().to_owned()).collect()
    }

    /// The payload of the last event that is not about the review queue: `{"before": …, "after":
    /// …}`.
    pub async fn last_payload(&self) -> Value {
        let last =
            "SELECT payload FROM event WHERE subject_kind <> 'failure' ORDER BY pos DESC LIMIT 1";
        let rows = self.rows(last, []).await;
        serde_json::from_str(rows[0]["payload"].as_str().unwrap()).unwrap()
    }

    /// A request to acme's management API with acme's key; returns the answer.
    pub async fn graphql(&self, query: &str, variables: Value) -> Value {
        self.acme.graphql(query, variables).await
    }

    /// Advances the server's clock.
    pub fn days_pass(&self, days: u64) {
        self.app.clock.advance(Duration::from_secs(days * 24 * 60 * 60));
    }

    /// Verifies every chain in the database from its beginning.
    async fn verify(&self) {
        for row in self.rows("SELECT DISTINCT action FROM event", []).await {
            assert!(
                row["action"].as_str().and_then(EventKind::parse).is_some(),
                "{row} has no kind"
            );
        }
        for row in self.rows("SELECT slug FROM organization", []).await {
            let slug = row["slug"].as_str().unwrap();
            let organization = rolecall::domain::tenant::organization::by_slug(&self.app, slug)
                .await
                .unwrap()
                .unwrap();
            let verdict = ledger::verify_chain(&self.app.store, organization.id).await.unwrap();
            assert_eq!(verdict.broken, None, "the ledger of {slug}");
            let events =
                self.count("event WHERE organization_id = $1", [organization.id.into()]).await;
            assert_eq!((verdict.sealed, verdict.unsealed), (events, 0), "the ledger of {slug}");
        }
    }

    /// Stops the server and its workers; the database stays.
    pub async fn stop(&mut self) {
        let Some(stop) = self.stop.take() else { return };
        stop.send(()).unwrap();
        self.serving.take().unwrap().await.unwrap().unwrap();
    }

    /// A second server on the same database, after the first one has stopped.
    pub async fn restart(self) -> Self {
        self.restart_with(|_| {}).await
    }

    /// The same with these settings.
    pub async fn restart_with(mut self, settings: impl FnOnce(&mut Config)) -> Self {
        self.stop().await;
        self.app.store.clone().close().await;
        Self::on(self.database, settings, |_| {}).await
    }

    /// The end of every test: the ledger is intact, and the server stops in order.
    pub async fn end(mut self) {
        self.stop().await;
        self.verify().await;
        self.app.store.clone().close().await;
        self.database.drop().await;
    }
}

/// The table of events with a condition, for [`World::count`]: without those that follow from
/// earlier changes, which come at any time.
macro_rules! events_of_changes {
    () => {
        "event WHERE action NOT IN ('user.access_changed', 'failure.opened', 'destination.failing', \
         'destination.recovered', 'alert.raised', 'alert.resolved', 'connection.health_changed')"
    };
}
pub(crate) use events_of_changes;

/// Sums that change when a row changes and no row is added.
const SUMS: [(&str, &str); 9] = [
    ("events of changes", concat!("count(*) FROM ", events_of_changes!())),
    ("failures that are finished", "count(*) FROM failure WHERE finished_at IS NOT NULL"),
    (
        "failures that are assigned or retried",
        "count(*) FROM failure WHERE assigned_to IS NOT NULL OR state = 'RETRYING'",
    ),
    ("findings that are not open", "count(*) FROM finding WHERE state <> 'OPEN'"),
    ("versions of users", "CAST(coalesce(sum(version), 0) AS bigint) FROM \"user\""),
    ("versions of groups", "CAST(coalesce(sum(version), 0) AS bigint) FROM \"group\""),
    ("versions of connections", "CAST(coalesce(sum(version), 0) AS bigint) FROM connection"),
    ("live users", "count(*) FROM \"user\" WHERE deleted_at IS NULL"),
    ("open memberships", "count(*) FROM membership WHERE until IS NULL"),
];

impl Tenant {
    async fn bootstrap(app: &Arc<App>, address: &str, slug: &str, connection: &str) -> Self {
        let made: BootstrapResult =
            bootstrap::run_for(app, slug, connection, Provider::Generic, app.config.api_key_days)
                .await
                .unwrap();
        // The key has an owner, so that nothing needs attention at first.
        let owned = "UPDATE api_key SET owner_subject = 'operator' WHERE organization_id = $1 AND \
                     owner_user_id IS NULL";
        let values = [made.organization.id.into()];
        let owned = Statement::from_sql_and_values(app.store.backend(), owned, values);
        app.store.write.execute_raw(owned).await.unwrap();
        Self {
            organization: made.organization.id,
            connection: made.connection.id,
            api_key: made.graphql.api_key,
            scim: Scim::new(&format!("{address}/scim/v2/{slug}"), &made.scim.token),
            graphql: format!("{address}/graphql"),
        }
    }

    /// A request to the management API with the organization's key; returns the whole answer with
    /// its errors.
    pub async fn graphql(&self, query: &str, variables: Value) -> Value {
        self.graphql_as(&self.api_key, &[], query, variables).await.body
    }

    /// A request to the management API with any credential.
    pub async fn graphql_as(
        &self,
        credential: &str,
        headers: &[(&'static str, &str)],
        query: &str,
        variables: Value,
    ) -> Answer {
        let body = json!({ "query": query, "variables": variables });
        let mut request = self.scim.http.post(&self.graphql).bearer_auth(credential);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.header("content-type", "application/json").body(body.to_string());
        Answer::of(request.send().await.unwrap()).await
    }
}

/// A SCIM client with a token.
#[derive(Clone)]
pub struct Scim {
    pub http: reqwest::Client,
    pub base: String,
    pub token: String,
}

/// The server's answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Scim {
    pub fn new(base: &str, token: &str) -> Self {
        // The server closes idle connections; a request that meets the close would be lost.
        let http = reqwest::Client::builder().pool_idle_timeout(Duration::from_secs(10)).build();
        Self { http: http.unwrap(), base: base.into(), token: token.into() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None, &[]).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(body), &[]).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PUT, path, Some(body), &[]).await
    }

    /// A PATCH of these operations.
    pub async fn patch(&self, path: &str, operations: Value) -> Answer {
        self.send(Method::PATCH, path, Some(patch(operations)), &[]).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None, &[]).await
    }

    /// A request with the token and nothing else.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token)
    }

    /// The same client with another token.
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.into(), ..self.clone() }
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request =
                request.header("content-type", "application/scim+json").body(body.to_string());
        }
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            request = request.header(name, HeaderValue::from_str(value).unwrap());
        }
        Answer::of(request.send().await.unwrap()).await
    }

    /// Creates a user of this name; returns its id.
    pub async fn user(&self, name: &str) -> Uuid {
        self.post("/Users", json!({ "userName": name, "externalId": format!("x-{name}") }))
            .await
            .is(201)
            .id()
    }

    /// Creates a group with these members; returns its id.
    pub async fn group(&self, name: &str, members: &[Uuid]) -> Uuid {
        let members: Vec<_> = members.iter().map(|id| json!({ "value": id })).collect();
        self.post("/Groups", json!({ "displayName": name, "members": members })).await.is(201).id()
    }

    /// The members of a group, as its resource lists them.
    pub async fn members(&self, group: Uuid) -> Vec<Uuid> {
        let answer = self.get(&format!("/Groups/{group}")).await.is(200);
        let members = answer.body["members"].as_array().into_iter().flatten();
        members.map(|member| member["value"].as_str().unwrap().parse().unwrap()).collect()
    }

    /// The ids that a list finds, in its order.
    pub async fn ids(&self, path: &str) -> Vec<Uuid> {
        let answer = self.get(path).await.is(200);
        let resources = answer.body["Resources"].as_array().unwrap();
        resources.iter().map(|resource| resource["id"].as_str().unwrap().parse().unwrap()).collect()
    }
}

/// The message of a PATCH (RFC 7644 section 3.5.2).
/// A size that an environment variable sets, for long trials.
pub fn count_of(setting: &str, default: usize) -> usize {
    let Ok(count) = std::env::var(setting) else { return default };
    count.parse().unwrap_or_else(|_| panic!("{setting} is not a number: {count}"))
}

pub fn patch(operations: Value) -> Value {
    json!({ "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations })
}

impl Answer {
    pub async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = match text.is_empty() {
            true => Value::Null,
            false => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        };
        Self { status, headers, body }
    }

    /// Fails, showing the answer, unless the status is this one.
    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{:#}", self.body);
        self
    }

    /// The answer must be a refusal in SCIM's form (RFC 7644 section 3.12) with a message.
    #[track_caller]
    pub fn refused(self, status: u16, scim_type: Option<&str>) -> Self {
        let answer = self.is(status);
        assert_eq!(answer.header("content-type"), "application/scim+json");
        assert_eq!(answer.body["schemas"], json!(["urn:ietf:params:scim:api:messages:2.0:Error"]));
        assert_eq!(answer.body["status"], status.to_string());
        assert_eq!(answer.body["scimType"].as_str(), scim_type, "{}", answer.body);
        assert!(
            answer.body["detail"].as_str().is_some_and(|detail| detail.len() > 8),
            "{}",
            answer.body
        );
        answer
    }

    #[track_caller]
    pub fn id(&self) -> Uuid {
        self.body["id"]
            .as_str()
            .unwrap_or_else(|| panic!("no id in {:#}", self.body))
            .parse()
            .unwrap()
    }

    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}
