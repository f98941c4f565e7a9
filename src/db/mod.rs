//! The database: opening it, its pools, its migrations. Nothing here knows what is stored.

#![allow(
    clippy::disallowed_methods,
    reason = "statements about leases, locks and the connection itself; all others come from Cx"
)]

mod batching;
mod database;
mod erased;
mod failure;
mod group_commit;
mod health;
mod lease;
mod open_file;
mod pool;
pub mod probe;
mod single_flight;
pub mod sql;
mod transaction;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use migration::{Migrator, MigratorTrait};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, DbErr, QueryResult,
    SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait,
};
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use uuid::Uuid;

pub use database::{Db, Executor};
use database::{PoolSizes, QueryListener};
pub use failure::{DatabaseFailure, judge_failure};
use group_commit::GroupCommit;
pub use group_commit::{CommitResult, WriteSlot};
pub use health::StorageHealth;
pub use lease::{
    ASYNC_REQUESTS, BULK_JOBS, ClaimedRow, DELETION_JOBS, DatabaseTime, FAILURES, IDEMPOTENCY_KEYS,
    Lease, LeaseClaim, LeaseTable, SYNC_RUNS, TASKS,
};
use pool::PoolRegistry;
pub use pool::{RequestConnections, in_background};
use single_flight::SingleFlight;
pub use sql::SqlBuilder;
pub use transaction::Transaction;

/// Connections to PostgreSQL that one process opens for requests, for background work, and for
/// authentication, which must not wait for either.
const REQUEST_CONNECTIONS: PoolSizes = PoolSizes { statements: 12, transactions: 8 };
const BACKGROUND_CONNECTIONS: PoolSizes = PoolSizes { statements: 3, transactions: 3 };
const AUTHENTICATION_CONNECTIONS: usize = 2;
/// SQLite readers; they never wait for the writer (write-ahead log). One more is kept for
/// authentication.
const SQLITE_READERS: usize = 4;
const SQLITE_BACKGROUND_READERS: usize = 2;
/// What SQLite's writer keeps of the file, and what each reader does: the operating system has it
/// all in memory anyway.
const SQLITE_WRITER_CACHE: &str = "-4000";
const SQLITE_READER_CACHE: &str = "-2000";
/// How long SQLite waits for a lock that another process holds on the file.
const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection to PostgreSQL that was idle for longer is closed: other processes may need its
/// slot.
const MAX_IDLE: Duration = Duration::from_secs(60);
/// How long the ping for readiness may take.
const READINESS_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a database that cannot be used yet is looked at while the server starts.
const FIRST_READINESS_INTERVAL: Duration = Duration::from_millis(100);
/// How often a process asks whether another one has ended its migration.
const MIGRATION_POLL_INTERVAL: Duration = Duration::from_millis(200);

/// An open database: where to read and where to write. On PostgreSQL both are one; on SQLite all
/// writes go through one connection, so that they queue in order instead of polling a busy file.
#[derive(Debug, Clone)]
pub struct Store {
    pub read: Db,
    pub write: Db,
    /// For the queries that authenticate a request.
    pub authentication: Db,
    pub health: StorageHealth,
    group_commit: Arc<GroupCommit>,
    alike: Arc<SingleFlight>,
    /// Whether values were erased whose remains may still be in the file.
    erased: Arc<AtomicBool>,
    registry: PoolRegistry,
    /// The access of each tenant that was seen, with its share.
    tenants: Arc<Mutex<HashMap<Uuid, Arc<Db>>>>,
    url: String,
}

impl Store {
    /// Opens `sqlite://PATH` (made where missing) or `postgres://…`.
    ///
    /// # Errors
    /// The database's own error, or [`DbErr::Custom`] for a URL of another kind.
    pub async fn open_database(url: &str) -> Result<Self, DbErr> {
        if let Some(path) = url.strip_prefix("sqlite://") {
            if path.is_empty() || path.contains(":memory:") {
                return Err(DbErr::Custom(
                    "sqlite:// needs a file, for example sqlite:///var/lib/rolecall/rolecall.db"
                        .into(),
                ));
            }
            let file = format!("sqlite://{}?mode=rwc", path.split('?').next().unwrap_or(path));
            let options: SqliteConnectOptions =
                file.parse().map_err(|error| DbErr::Custom(format!("{error}")))?;
            let options =
                |cache| sqlite_options(options.clone(), cache).disable_statement_logging();
            let registry = PoolRegistry::default();
            let store = Self {
                write: Db::open_sqlite(options(SQLITE_WRITER_CACHE), 1, &registry)?,
                read: Db::sqlite_readers(
                    &options(SQLITE_READER_CACHE),
                    SQLITE_READERS,
                    SQLITE_BACKGROUND_READERS,
                    &registry,
                )?,
                authentication: Db::open_sqlite(options(SQLITE_READER_CACHE), 1, &registry)?,
                health: registry.health(),
                group_commit: Arc::default(),
                alike: Arc::default(),
                erased: Arc::default(),
                registry,
                tenants: Arc::default(),
                url: url.into(),
            };
            // The writer first: it makes the file and switches it to write-ahead logging.
            store.write.ping().await?;
            return Ok(store);
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let options: PgConnectOptions =
                url.parse().map_err(|error| DbErr::Custom(format!("{error}")))?;
            let options = options.disable_statement_logging();
            let registry = PoolRegistry::default();
            let db = Db::open_postgres(
                &options,
                REQUEST_CONNECTIONS,
                BACKGROUND_CONNECTIONS,
                &registry,
            )?;
            let store = Self {
                read: db.clone(),
                write: db,
                authentication: Db::postgres_apart(
                    &options,
                    AUTHENTICATION_CONNECTIONS,
                    &registry,
                )?,
                health: registry.health(),
                group_commit: Arc::default(),
                alike: Arc::default(),
                erased: Arc::default(),
                registry,
                tenants: Arc::default(),
                url: url.into(),
            };
            // An unreachable database is reported at once, with its reason: the migrations would
            // only report a timeout.
            store.write.ping().await?;
            return Ok(store);
        }
        Err(DbErr::Custom("the database URL must start with sqlite:// or postgres://".into()))
    }

    /// Which SQL dialect is spoken.
    pub fn backend(&self) -> DbBackend {
        self.write.get_database_backend()
    }

    /// The access of a tenant to the database, with its share.
    pub fn for_tenant(&self, organization: Uuid) -> Arc<Db> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        tenants.entry(organization).or_insert_with(|| Arc::new(self.read.for_tenant())).clone()
    }

    /// The rows that `text` finds for its `$1`. Equal queries at the same time share one statement,
    /// which begins after each of them was submitted.
    ///
    /// # Errors
    /// The database's own error.
    pub async fn query_coalesced(
        &self,
        text: &'static str,
        value: Vec<u8>,
    ) -> Result<Arc<Vec<QueryResult>>, DbErr> {
        Box::pin(self.alike.query_shared(&self.authentication, text, value)).await
    }

    /// Begins a write on SQLite, at `micros`. Writes that wait for their turn meanwhile join the
    /// same transaction, in a savepoint of their own, and one commit makes all of them durable: it
    /// costs as much as one write's.
    ///
    /// # Errors
    /// The database's own error. Nothing of this write was done then.
    pub async fn begin_write(&self, micros: i64) -> Result<(WriteSlot, Transaction), DbErr> {
        Box::pin(self.group_commit.begin_write(&self.write, micros)).await
    }

    /// When what is being written on SQLite began, in microseconds, if anything is.
    pub fn oldest_open_write(&self) -> Option<i64> {
        self.group_commit.oldest_open_write()
    }

    /// Brings the tables up to date. Safe when several processes start at once: the first one
    /// works, the others wait and find nothing to do.
    ///
    /// # Errors
    /// The database's own error.
    pub async fn apply_migrations(&self) -> Result<(), DbErr> {
        match self.backend() {
            DbBackend::Postgres => self.migrate_postgres().await,
            _ => self.migrate_sqlite().await,
        }
    }

    /// Refuses unless the tables are those of this program.
    ///
    /// # Errors
    /// One line for the operator: the tables are older or newer, or cannot be read.
    pub async fn require_current_tables(&self) -> Result<(), String> {
        let text = "SELECT version FROM seaql_migrations";
        let rows = self.read.query_all_raw(Statement::from_string(self.backend(), text)).await;
        let rows = rows.map_err(|error| format!("cannot read the database's version: {error}"))?;
        let applied: HashSet<String> =
            rows.iter().filter_map(|row| row.try_get("", "version").ok()).collect();
        let known: HashSet<String> =
            Migrator::migrations().iter().map(|migration| migration.name().into()).collect();
        if !applied.is_subset(&known) {
            return Err(
                "the database was changed by a newer version of rolecall: use that version".into(),
            );
        }
        if applied != known {
            return Err("the database is of an older version of rolecall: stop its servers, then \
                        run `rolecall migrate` or start the new servers"
                .into());
        }
        Ok(())
    }

    async fn migrate_postgres(&self) -> Result<(), DbErr> {
        // A session lock needs one session: a pool of its own, closed afterwards.
        let mut options = ConnectOptions::new(&self.url);
        options.max_connections(1).sqlx_logging(false);
        let single = Database::connect(options).await?;
        // Polled: a session that waits inside a statement would block an index that is built
        // concurrently.
        let lock = "SELECT pg_try_advisory_lock(7216640711) AS held";
        loop {
            let row =
                single.query_one_raw(Statement::from_string(DbBackend::Postgres, lock)).await?;
            if row.is_some_and(|row| row.try_get("", "held").unwrap_or(false)) {
                break;
            }
            tokio::time::sleep(MIGRATION_POLL_INTERVAL).await;
        }
        let done = Migrator::up(&single, None).await;
        single.close().await?;
        done
    }

    async fn migrate_sqlite(&self) -> Result<(), DbErr> {
        let path = self.url.trim_start_matches("sqlite://").split('?').next().unwrap_or_default();
        let lock = format!("{path}.migrate");
        let custom = |error: std::io::Error| DbErr::Custom(format!("{lock}: {error}"));
        let file = std::fs::File::create(&lock).map_err(custom)?;
        let file = tokio::task::spawn_blocking(move || file.lock().map(|()| file))
            .await
            .map_err(|error| DbErr::Custom(error.to_string()))?
            .map_err(custom)?;
        let mut options = ConnectOptions::new(&self.url);
        options
            .max_connections(1)
            .sqlx_logging(false)
            .map_sqlx_sqlite_opts(|options| sqlite_options(options, SQLITE_WRITER_CACHE));
        let single = Database::connect(options).await?;
        let done = apply_to_sqlite(&single).await;
        single.close().await?;
        drop(file);
        done
    }

    /// Whether the database answers and takes writes now.
    ///
    /// # Errors
    /// One line for an operator.
    pub async fn check_ready(&self) -> Result<(), String> {
        match tokio::time::timeout(READINESS_TIMEOUT, self.read.ping()).await {
            Err(_) => {
                return Err(format!(
                    "the database did not answer within {} s",
                    READINESS_TIMEOUT.as_secs()
                ));
            }
            Ok(Err(error)) => return Err(format!("the database does not answer: {error}")),
            Ok(Ok(())) => {}
        }
        match self.health.current_failure() {
            Some(reason) => Err(format!("the database does not take writes: {reason}")),
            None => Ok(()),
        }
    }

    /// Waits until the database answers and takes writes for the first time.
    ///
    /// # Errors
    /// One line for an operator, if it still does not after `limit`.
    pub async fn await_ready(&self, limit: Duration) -> Result<(), String> {
        let until = tokio::time::Instant::now() + limit;
        loop {
            match self.check_ready().await {
                Err(_) if tokio::time::Instant::now() < until => {
                    tokio::time::sleep(FIRST_READINESS_INTERVAL).await;
                }
                ready_or_late => return ready_or_late,
            }
        }
    }

    /// Writes, commits and reads back over another connection, to find out whether a database that
    /// refused writes takes them again.
    ///
    /// # Errors
    /// Why it does not take writes.
    pub async fn probe_writes(&self) -> Result<(), DbErr> {
        let mark = Uuid::now_v7();
        let text = "INSERT INTO task_lease (name, holder, until) VALUES ('write probe', $1, $2) \
             ON CONFLICT (name) DO UPDATE SET holder = excluded.holder";
        let transaction = self.write.begin_transaction().await?;
        let values = [mark.into(), chrono::DateTime::UNIX_EPOCH.into()];
        transaction
            .execute_raw(Statement::from_sql_and_values(self.backend(), text, values))
            .await?;
        transaction.commit().await?;
        let text = "SELECT holder FROM task_lease WHERE name = 'write probe' AND holder = $1";
        let read = Statement::from_sql_and_values(self.backend(), text, [mark.into()]);
        match self.authentication.query_one_raw(read).await? {
            Some(_) => Ok(()),
            None => {
                Err(DbErr::Custom("what was committed is not there on another connection".into()))
            }
        }
    }

    /// Closes connections that the process does not need at present; PostgreSQL has few connection
    /// slots for all processes.
    pub fn close_idle_connections(&self) {
        if self.backend() == DbBackend::Postgres {
            self.registry.close_idle_longer_than(MAX_IDLE);
        }
    }

    /// Closes every idle connection, because a commit that one of them confirmed was not found.
    pub fn distrust_connections(&self) {
        self.registry.distrust_all();
    }

    /// Closes the pools; open statements finish first. What SQLite leaves behind is one whole file,
    /// unless another process has it open.
    pub async fn close(self) {
        // Closing twice (one pool on PostgreSQL) is harmless. Readers before the writer, which is
        // the last on the file.
        self.authentication.close().await;
        self.read.close().await;
        self.write.close().await;
    }
}

/// Applies what is missing in one transaction: an upgrade that fails, for example because the disk
/// is full, or that is killed, changes nothing, and can begin again.
async fn apply_to_sqlite(single: &DatabaseConnection) -> Result<(), DbErr> {
    if Migrator::get_pending_migrations(single).await?.is_empty() {
        return Ok(());
    }
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    let transaction = single.begin_with_options(options).await?;
    Migrator::up(&transaction, None).await?;
    transaction.commit().await
}

/// `cache`: what the connection may keep of the file, in KiB with a minus, as SQLite has it.
fn sqlite_options(options: SqliteConnectOptions, cache: &'static str) -> SqliteConnectOptions {
    options
        .journal_mode(SqliteJournalMode::Wal)
        // A 2xx means that it is on disk, also after a power cut.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(SQLITE_BUSY_TIMEOUT)
        .foreign_keys(true)
        // A page of a list, so that the thread that reads it need not wait for the task that takes
        // the rows.
        .row_buffer_size(256)
        .pragma("cache_size", cache)
        // What an erasure takes away is overwritten, and not only no longer found.
        .pragma("secure_delete", "on")
        .pragma("temp_store", "memory")
}
