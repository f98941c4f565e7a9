//! The servers that are measured, each a process of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use hyper::Method;
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::Client;
use crate::machine::{self, Cpu};
use crate::{Args, Result};

/// The kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Kind {
    Floor,
    Postgres,
    Sqlite,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Postgres => "PostgreSQL",
            Self::Sqlite => "SQLite",
        }
    }
}

/// A running server.
pub struct Target {
    pub kind: Kind,
    /// Requests at a time.
    pub clients: usize,
    /// Megabytes of memory before the first request.
    pub idle: f64,
    pub address: String,
    pub scim_token: String,
    pub api_key: String,
    /// The groups that workloads change, by how many members they have.
    pub groups: BTreeMap<u64, String>,
    /// A group for the workloads that do not depend on its size.
    pub spare_group: String,
    /// The mapping that a workload edits.
    pub mapping: String,
    /// A role that accounts hold.
    pub role: String,
    /// A group whose members are in ten groups.
    pub ward: String,
    /// The global id of the connection; empty on the floor.
    pub connection: String,
    /// A second connection to the database, to fill it.
    pub db: DatabaseConnection,
    child: Child,
    /// The first process of PostgreSQL.
    postgres: Option<u32>,
    url: String,
    folder: TempDir,
    program: PathBuf,
}

impl Target {
    /// Starts a server on a store of its own.
    pub async fn start(kind: Kind, args: &Args, postgres: &str, groups: &[u64]) -> Result<Self> {
        let server = args.server.as_path();
        let folder = tempfile::Builder::new().prefix("rolecall-bench").tempdir()?;
        let url = match kind {
            Kind::Sqlite => format!("sqlite://{}", folder.path().join("rolecall.db").display()),
            Kind::Floor | Kind::Postgres => {
                let name = format!("bench_{}", uuid::Uuid::new_v4().simple());
                Database::connect(postgres)
                    .await?
                    .execute_unprepared(&format!("CREATE DATABASE {name}"))
                    .await?;
                postgres
                    .rsplit_once('/')
                    .map(|(server, _)| format!("{server}/{name}"))
                    .unwrap_or_default()
            }
        };
        // The port is free now, and below 32768, where no outgoing connection has its port.
        let address = format!("127.0.0.1:{}", 20_000 + uuid::Uuid::new_v4().as_u128() % 12_000);
        let (mut scim_token, mut api_key) = (String::new(), String::new());
        let mut command = match kind {
            Kind::Floor => {
                let mut floor = Command::new(std::env::current_exe()?);
                floor.args(["--floor", &url, "--listen", &address]);
                floor
            }
            Kind::Postgres | Kind::Sqlite => {
                let output = rolecall(
                    server,
                    &url,
                    &folder,
                    &["bootstrap", "--organization", "acme", "--json"],
                )
                .output()?;
                let made: Value = serde_json::from_slice(&output.stdout)
                    .map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned())?;
                scim_token = made["scim"]["token"].as_str().unwrap_or_default().into();
                api_key = made["graphql"]["api_key"].as_str().unwrap_or_default().into();
                // One caller sends all requests, so there is no limit for a caller.
                let unlimited = [
                    "--scim-rate-limit",
                    "0",
                    "--graphql-cost-limit",
                    "0",
                    "--decision-rate-limit",
                    "0",
                ];
                rolecall(
                    server,
                    &url,
                    &folder,
                    &[&["serve", "--listen", &address], &unlimited[..]].concat(),
                )
            }
        };
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let started = Instant::now();
        while tokio::net::TcpStream::connect(&address).await.is_err() {
            if started.elapsed() > Duration::from_secs(60) {
                return Err(format!("{}: the server does not come up", kind.name()).into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let db = Database::connect(match kind {
            Kind::Sqlite => format!("{url}?mode=rwc"),
            Kind::Floor | Kind::Postgres => url.clone(),
        });
        let db = db.await?;
        let postgres = match db.get_database_backend() {
            DbBackend::Postgres => {
                let mine = number(&db, "SELECT pg_backend_pid()::bigint").await?;
                Some(machine::parent(mine as u32)?)
            }
            _ => None,
        };
        let idle = machine::memory(child.id())?;
        let clients = args.clients.unwrap_or(if kind == Kind::Sqlite { 8 } else { 16 });
        let mut target = Self {
            kind,
            clients,
            idle,
            address,
            scim_token,
            api_key,
            groups: BTreeMap::new(),
            spare_group: String::new(),
            mapping: String::new(),
            role: String::new(),
            ward: String::new(),
            connection: String::new(),
            db,
            child,
            postgres,
            url,
            folder,
            program: server.into(),
        };
        target.spare_group = target.make_group("Spare").await?;
        for members in groups {
            let group = target.make_group(&format!("Group of {members}")).await?;
            target.groups.insert(*members, group);
        }
        Ok(target)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The CPU time used so far.
    pub fn cpu(&self) -> Result<Cpu> {
        let database = self.postgres.map(machine::cpu_of_family).transpose()?;
        Ok(Cpu { server: machine::cpu(self.pid())?, database: database.unwrap_or_default() })
    }

    /// Waits until the background work that requests caused is done: it is a part of their cost.
    pub async fn settle(&self) -> Result<()> {
        tokio::time::sleep(Duration::from_millis(200)).await;
        if self.kind == Kind::Postgres {
            while number(&self.db, "SELECT count(*) FROM (SELECT 1 FROM unsealed LIMIT 1) AS tail")
                .await?
                > 0
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    /// Sends one request that must succeed.
    pub async fn ask(&self, method: Method, path: &str, body: Value) -> Result<Value> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, answer) = Client::connect(self).await?.send(method, path, body).await?;
        if !status.is_success() {
            return Err(format!("{}: {path}: {status} {answer}", self.kind.name()).into());
        }
        Ok(if answer.is_empty() { Value::Null } else { serde_json::from_str(&answer)? })
    }

    /// Makes a group without members; returns its id.
    pub async fn make_group(&self, name: &str) -> Result<String> {
        let body = json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": name, "externalId": name,
        });
        let made = self.ask(Method::POST, "/scim/v2/acme/Groups", body).await?;
        Ok(made["id"].as_str().unwrap_or_default().into())
    }

    /// How many members a group of rolecall's has.
    pub async fn members(&self, group: &str) -> Result<u64> {
        let id = match self.kind {
            Kind::Sqlite => format!("x'{}'", group.replace('-', "")),
            Kind::Floor | Kind::Postgres => format!("'{group}'"),
        };
        let query =
            format!("SELECT count(*) FROM membership WHERE group_id = {id} AND until IS NULL");
        Ok(number(&self.db, &query).await?.unsigned_abs())
    }

    /// Verifies the ledger: it must hold everything that was measured, and its chain must be
    /// intact.
    pub async fn verify(mut self) -> Result<()> {
        if self.kind == Kind::Floor {
            return Ok(());
        }
        self.settle().await?;
        self.stop();
        let output =
            rolecall(&self.program, &self.url, &self.folder, &["audit", "verify"]).output()?;
        if !output.status.success() {
            return Err(format!(
                "{}: {}",
                self.kind.name(),
                String::from_utf8_lossy(&output.stdout)
            )
            .into());
        }
        Ok(())
    }

    fn stop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.stop();
    }
}

fn rolecall(program: &Path, url: &str, folder: &TempDir, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ROLECALL_")) {
        command.env_remove(name);
    }
    command
        .args(args)
        .env("ROLECALL_DATABASE_URL", url)
        .env("ROLECALL_DATA_DIR", folder.path())
        .env("ROLECALL_LOG", "warn");
    command
}

/// The one number that a query finds.
pub async fn number(db: &DatabaseConnection, sql: &str) -> Result<i64> {
    let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), sql)).await?;
    Ok(row.ok_or("no row")?.try_get_by_index(0)?)
}
