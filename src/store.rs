//! The database: opening it, its pools, its migrations. Nothing here knows what is stored.

use std::time::Duration;

use migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, DbErr};
use sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};

/// Connections held open to PostgreSQL by one process.
const POSTGRES_CONNECTIONS: u32 = 16;
/// SQLite readers; they never wait for the writer (write-ahead log).
const SQLITE_READERS: u32 = 4;

/// An open database: where to read and where to write. On PostgreSQL both are one pool; on SQLite all writes
/// go through one connection, so that they queue in order instead of polling a busy file.
#[derive(Debug, Clone)]
pub struct Store {
    pub read: DatabaseConnection,
    pub write: DatabaseConnection,
    url: String,
}

impl Store {
    /// Opens `sqlite://PATH` (made where missing) or `postgres://…`.
    ///
    /// # Errors
    /// The database's own error, or [`DbErr::Custom`] for a URL of another kind.
    pub async fn open(url: &str) -> Result<Self, DbErr> {
        if let Some(path) = url.strip_prefix("sqlite://") {
            if path.is_empty() || path.contains(":memory:") {
                return Err(DbErr::Custom(
                    "sqlite:// needs a file, for example sqlite:///var/lib/rolecall/rolecall.db".into(),
                ));
            }
            let file = format!("sqlite://{}?mode=rwc", path.split('?').next().unwrap_or(path));
            // The writer first: it makes the file and switches it to write-ahead logging.
            let write = Database::connect(sqlite(&file, 1)).await?;
            let read = Database::connect(sqlite(&file, SQLITE_READERS)).await?;
            return Ok(Self { read, write, url: url.into() });
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let mut options = ConnectOptions::new(url);
            options
                .max_connections(POSTGRES_CONNECTIONS)
                .acquire_timeout(Duration::from_secs(10))
                .test_before_acquire_if_idle_for(Duration::from_secs(30))
                .sqlx_logging(false)
                // A filter that would read a whole tenant is ended, not waited for.
                .map_sqlx_postgres_opts(|options| options.options([("statement_timeout", "30s")]));
            let pool = Database::connect(options).await?;
            return Ok(Self { read: pool.clone(), write: pool, url: url.into() });
        }
        Err(DbErr::Custom("the database URL must start with sqlite:// or postgres://".into()))
    }

    /// Which SQL dialect is spoken.
    pub fn backend(&self) -> DbBackend {
        self.write.get_database_backend()
    }

    /// Brings the tables up to date. Safe when several processes start at once: the first one works, the
    /// others wait and find nothing to do.
    ///
    /// # Errors
    /// The database's own error.
    pub async fn migrate(&self) -> Result<(), DbErr> {
        match self.backend() {
            DbBackend::Postgres => self.migrate_postgres().await,
            _ => self.migrate_sqlite().await,
        }
    }

    async fn migrate_postgres(&self) -> Result<(), DbErr> {
        // A session lock needs one session: a pool of its own, closed afterwards.
        let mut options = ConnectOptions::new(&self.url);
        options.max_connections(1).sqlx_logging(false);
        let single = Database::connect(options).await?;
        single.execute_unprepared("SELECT pg_advisory_lock(7216640711)").await?;
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
        let done = Migrator::up(&self.write, None).await;
        drop(file);
        done
    }

    /// Whether the database answers now.
    pub async fn ping(&self) -> bool {
        tokio::time::timeout(Duration::from_secs(2), self.read.ping()).await.is_ok_and(|pong| pong.is_ok())
    }

    /// Closes the pools; open statements finish first.
    pub async fn close(self) {
        // Closing twice (one pool on PostgreSQL) is harmless, and there is nobody left to tell of an error.
        let _ = self.write.close().await;
        let _ = self.read.close().await;
    }
}

fn sqlite(url: &str, connections: u32) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(Duration::from_secs(30))
        .test_before_acquire(false)
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(|options| {
            options
                .journal_mode(SqliteJournalMode::Wal)
                // A 2xx means that it is on disk, also after a power cut.
                .synchronous(SqliteSynchronous::Full)
                .busy_timeout(Duration::from_secs(15))
                .foreign_keys(true)
                .pragma("cache_size", "-16000")
                .pragma("temp_store", "memory")
        });
    options
}
