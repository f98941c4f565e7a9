//! A database of its own for every test: a temporary SQLite file or, with
//! `ROLECALL_TEST_DATABASE=postgres`, a fresh database beside the one that `ROLECALL_TEST_POSTGRES`
//! names.

use std::path::{Path, PathBuf};

use rolecall::config::{Config, GraphqlSettings, KeySource};
use rolecall::context::App;
use sea_orm::{ConnectionTrait, DatabaseConnection};
use tempfile::TempDir;
use tokio::sync::OnceCell;

/// The key of every database that the tests make in their own process.
pub const MASTER_KEY: &str = "dGhlIG1hc3RlciBrZXkgb2YgYWxsIG91ciB0ZXN0cyE=";

/// A database and the folder beside it.
pub struct Database {
    pub url: String,
    pub data_dir: TempDir,
}

/// Whether this run is about PostgreSQL.
pub fn on_postgres() -> bool {
    match std::env::var("ROLECALL_TEST_DATABASE").as_deref() {
        Ok("postgres") => true,
        Err(_) | Ok("sqlite") => false,
        Ok(other) => panic!("ROLECALL_TEST_DATABASE must be sqlite or postgres, not {other:?}"),
    }
}

impl Database {
    /// A database without a table in it.
    pub async fn empty() -> Self {
        Self::make("").await
    }

    /// A database with all tables and the keys under [`MASTER_KEY`]: a copy of one that is made
    /// once a run.
    pub async fn ready() -> Self {
        static TEMPLATE: OnceCell<Database> = OnceCell::const_new();
        let template = TEMPLATE
            .get_or_init(|| async {
                let template = Self::empty().await;
                let app = App::open(template.config()).await.unwrap();
                app.store.clone().close().await;
                template
            })
            .await;
        if on_postgres() {
            return Self::make(&format!("TEMPLATE {}", template.name())).await;
        }
        let copy = Self::empty().await;
        std::fs::copy(template.file(), copy.file()).unwrap();
        copy
    }

    async fn make(options: &str) -> Self {
        let data_dir = tempfile::Builder::new().prefix("rolecall-test").tempdir().unwrap();
        if !on_postgres() {
            let url = format!("sqlite://{}", data_dir.path().join("rolecall.db").display());
            return Self { url, data_dir };
        }
        let name = format!("rolecall_{}", uuid::Uuid::new_v4().simple());
        let server = std::env::var("ROLECALL_TEST_POSTGRES")
            .expect("ROLECALL_TEST_POSTGRES names the server");
        administrator()
            .await
            .execute_unprepared(&format!("CREATE DATABASE {name} {options}"))
            .await
            .unwrap();
        let (address, _) = server.rsplit_once('/').unwrap();
        Self { url: format!("{address}/{name}"), data_dir }
    }

    pub fn name(&self) -> &str {
        self.url.rsplit('/').next().unwrap()
    }

    fn file(&self) -> PathBuf {
        self.data_dir.path().join("rolecall.db")
    }

    pub fn folder(&self) -> &Path {
        self.data_dir.path()
    }

    pub fn config(&self) -> Config {
        Config {
            database_url: self.url.clone(),
            data_dir: self.folder().to_owned(),
            master_key: KeySource::Text(MASTER_KEY.into()),
            new_master_key: None,
            public_url: "https://scim.example".into(),
            scim_enabled: true,
            metrics: false,
            scim_rate_limit: 100_000,
            decision_rate_limit: 100_000,
            pull_private_addresses: false,
            pull_timeout: rolecall::config::DEFAULT_PULL_TIMEOUT,
            signal_private_addresses: false,
            api_key_days: rolecall::config::DEFAULT_API_KEY_DAYS,
            // Tests that walk the whole schema spend more than any client.
            graphql: GraphqlSettings { cost_limit: 0, ..GraphqlSettings::default() },
            issuers: Vec::new(),
            trusted_proxies: Default::default(),
            // A port that refuses at once: no test asks the DNS of this machine.
            dns_server: Some(([127, 0, 0, 1], 9).into()),
            smtp: None,
        }
    }

    /// Frees what the test used. A failed test does not get here; the end of the run cleans up
    /// after it.
    pub async fn drop(self) {
        if on_postgres() {
            let statement = format!("DROP DATABASE {} WITH (FORCE)", self.name());
            administrator().await.execute_unprepared(&statement).await.unwrap();
        }
    }
}

/// A connection to the server that `ROLECALL_TEST_POSTGRES` names.
pub async fn administrator() -> DatabaseConnection {
    let mut options =
        sea_orm::ConnectOptions::new(std::env::var("ROLECALL_TEST_POSTGRES").unwrap());
    options.max_connections(1).sqlx_logging(false);
    sea_orm::Database::connect(options).await.unwrap()
}
