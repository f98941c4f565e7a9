//! The database: opening it, its pools, its migrations. Nothing here knows what is stored.

mod alike;
mod gather;
mod kept;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use migration::{Migrator, MigratorTrait};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseTransaction, DbBackend, DbErr, QueryResult,
    SqliteTransactionMode, Statement, TransactionOptions,
};
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};
use uuid::Uuid;

use alike::Alike;
pub use gather::{askers, numbered};
pub use kept::{Db, Way};

/// Connections to PostgreSQL that one process lends for a statement …
const STATEMENT_CONNECTIONS: usize = 12;
/// … and those that it holds for a transaction.
const TRANSACTION_CONNECTIONS: u32 = 8;
/// SQLite readers; they never wait for the writer (write-ahead log).
const SQLITE_READERS: usize = 4;
/// What SQLite's writer keeps of the file, and what each reader does: the operating system has it all in memory anyway.
const SQLITE_WRITER_CACHE: &str = "-4000";
const SQLITE_READER_CACHE: &str = "-2000";
/// How often a process asks whether another one has ended its migration.
const MIGRATION_POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Writes on SQLite that go to the disk together: so many that waiting for the disk is a small part of each.
const SQLITE_BATCH: usize = 64;

/// An open database: where to read and where to write. On PostgreSQL both are one pool; on SQLite all writes
/// go through one connection, so that they queue in order instead of polling a busy file.
#[derive(Debug, Clone)]
pub struct Store {
    pub read: Db,
    pub write: Db,
    batches: Arc<Batches>,
    alike: Arc<Alike>,
    url: String,
}

/// The transaction that writes on SQLite share: whoever holds it writes, and leaves it to the next.
#[derive(Debug, Default)]
struct Batches {
    open: Arc<Mutex<Option<Batch>>>,
    /// When the open one began, in microseconds; 0 = none is open.
    since: AtomicI64,
}

/// Writes on SQLite that become durable together. Whoever loses it, by a panic or because its client has gone, undoes
/// all of it: then the others, none of whom has been answered, write again.
#[derive(Debug)]
pub struct Batch {
    pub db: DatabaseTransaction,
    answers: Vec<oneshot::Sender<Result<(), DbErr>>>,
    /// Whether the last write in it has a savepoint still.
    savepoint: bool,
}

/// The turn of one write in a [`Batch`].
#[derive(Debug)]
pub struct BatchTurn {
    place: OwnedMutexGuard<Option<Batch>>,
    answers: Vec<oneshot::Sender<Result<(), DbErr>>>,
    savepoint: bool,
}

impl Batch {
    /// Ends it: everything in it is on disk, or nothing.
    async fn end(self) {
        if self.answers.is_empty() {
            // Nothing was written; what else goes wrong shows at the next beginning.
            let _ = self.db.rollback().await;
            return;
        }
        let done = self.db.commit().await;
        for answer in self.answers {
            // Whoever has gone meanwhile does not hear it.
            let _ = answer.send(done.clone());
        }
    }
}

impl BatchTurn {
    /// Keeps what this write did, or undoes it, and lets the next write begin. A write that is kept is done when the
    /// returned receiver says so; when it is told nothing, it was undone and may be tried again.
    ///
    /// # Errors
    /// The database's own; then the whole batch is undone.
    pub async fn end(
        mut self,
        db: DatabaseTransaction,
        keep: bool,
    ) -> Result<Option<oneshot::Receiver<Result<(), DbErr>>>, DbErr> {
        // The first one of a batch has nothing before it to be spared.
        let alone = self.answers.is_empty();
        match (keep, alone) {
            (true, _) => {}
            (false, true) => {
                db.rollback().await?;
                return Ok(None);
            }
            (false, false) => db.execute_unprepared("ROLLBACK TO one; RELEASE one").await.map(|_| ())?,
        }
        let told = keep.then(|| {
            let (answer, told) = oneshot::channel();
            self.answers.push(answer);
            told
        });
        *self.place = Some(Batch { db, answers: self.answers, savepoint: self.savepoint && keep });
        Ok(told)
    }
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
            let mut options = ConnectOptions::new(&file);
            options
                .max_connections(1)
                .min_connections(1)
                .acquire_timeout(Duration::from_secs(30))
                .test_before_acquire(false)
                .sqlx_logging(false)
                .map_sqlx_sqlite_opts(|options| sqlite(options, SQLITE_WRITER_CACHE));
            let write = Database::connect(options).await?;
            let options: SqliteConnectOptions = file.parse().map_err(|error| DbErr::Custom(format!("{error}")))?;
            let options = sqlite(options, SQLITE_READER_CACHE).disable_statement_logging();
            let read = Db::sqlite(write.clone(), options, SQLITE_READERS)?;
            let write = Db::of(write);
            return Ok(Self { read, write, batches: Arc::default(), alike: Arc::default(), url: url.into() });
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let limits = [
                // A filter that would read a whole tenant is ended, not waited for.
                ("statement_timeout", "30s"),
                // Plans are kept while tables grow: one that reads a table whole was good only while it was small.
                ("enable_seqscan", "off"),
                // What has no index at all would look so dear that it is compiled first.
                ("jit", "off"),
            ];
            let mut options = ConnectOptions::new(url);
            options
                .max_connections(TRANSACTION_CONNECTIONS)
                .acquire_timeout(Duration::from_secs(10))
                .test_before_acquire_if_idle_for(Duration::from_secs(30))
                .sqlx_logging(false)
                .map_sqlx_postgres_opts(move |options| options.options(limits));
            let pool = Database::connect(options).await?;
            let options: PgConnectOptions = url.parse().map_err(|error| DbErr::Custom(format!("{error}")))?;
            let options = options.options(limits).disable_statement_logging();
            let pool = Db::postgres(pool, options, STATEMENT_CONNECTIONS)?;
            return Ok(Self {
                read: pool.clone(),
                write: pool,
                batches: Arc::default(),
                alike: Arc::default(),
                url: url.into(),
            });
        }
        Err(DbErr::Custom("the database URL must start with sqlite:// or postgres://".into()))
    }

    /// Which SQL dialect is spoken.
    pub fn backend(&self) -> DbBackend {
        self.write.get_database_backend()
    }

    /// The rows that `text` finds for its `$1`. Whoever asks the same at the same time shares a statement with others, one
    /// that began after it asked.
    ///
    /// # Errors
    /// The database's own error.
    pub async fn ask_alike(&self, text: &'static str, value: Vec<u8>) -> Result<Arc<Vec<QueryResult>>, DbErr> {
        self.alike.ask(&self.read, text, value).await
    }

    /// Begins a write on SQLite, at `micros`. Whoever waits for its turn meanwhile writes into the same transaction, in
    /// a savepoint of its own, and one commit makes all of it durable: it costs as much as one write's.
    ///
    /// # Errors
    /// The database's own error.
    pub async fn turn(&self, micros: i64) -> Result<(BatchTurn, DatabaseTransaction), DbErr> {
        let mut place = self.batches.open.clone().lock_owned().await;
        if place.as_ref().is_some_and(|batch| batch.answers.len() >= SQLITE_BATCH)
            && let Some(full) = place.take()
        {
            full.end().await;
        }
        if let Some(Batch { db, answers, savepoint: before }) = place.take() {
            let savepoint = !answers.is_empty();
            match (savepoint, before) {
                (false, _) => {}
                (true, false) => db.execute_unprepared("SAVEPOINT one").await.map(|_| ())?,
                // The savepoint of the write before, which was kept.
                (true, true) => db.execute_unprepared("RELEASE one; SAVEPOINT one").await.map(|_| ())?,
            }
            return Ok((BatchTurn { place, answers, savepoint }, db));
        }
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..Default::default()
        };
        #[allow(clippy::disallowed_methods, reason = "the one place where writes on SQLite begin")]
        let db = self.write.begin_with_options(options).await?;
        self.batches.since.store(micros, Ordering::Release);
        // It queues behind those who wait already: they come along, and whoever comes later is the next batch's.
        let batches = self.batches.clone();
        tokio::spawn(async move {
            let mut place = batches.open.lock().await;
            if let Some(batch) = place.take() {
                batch.end().await;
            }
            batches.since.store(0, Ordering::Release);
        });
        Ok((BatchTurn { place, answers: Vec::new(), savepoint: false }, db))
    }

    /// When what is being written on SQLite began, in microseconds, if anything is.
    pub fn writing_since(&self) -> Option<i64> {
        Some(self.batches.since.load(Ordering::Acquire)).filter(|since| *since != 0)
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
        // Asked for again and again: one that waits in a statement would hold up an index that is built concurrently.
        let lock = "SELECT pg_try_advisory_lock(7216640711) AS held";
        loop {
            let row = single.query_one_raw(Statement::from_string(DbBackend::Postgres, lock)).await?;
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
        let done = Migrator::up(self.write.whole(), None).await;
        drop(file);
        done
    }

    /// Whether the database answers now.
    pub async fn ping(&self) -> bool {
        tokio::time::timeout(Duration::from_secs(2), self.read.ping()).await.is_ok_and(|pong| pong.is_ok())
    }

    /// Takes or keeps the right to do a task of the whole installation's until `until`; false while another process has
    /// it. One that has died loses it then.
    ///
    /// # Errors
    /// The database's own.
    pub async fn lease(
        &self,
        task: &str,
        holder: Uuid,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<bool, DbErr> {
        let text = "INSERT INTO task_lease (name, holder, until) VALUES ($1, $2, $3) ON CONFLICT (name) \
             DO UPDATE SET holder = excluded.holder, until = excluded.until \
             WHERE task_lease.until <= $4 OR task_lease.holder = excluded.holder";
        let values = [task.into(), holder.into(), until.into(), now.into()];
        let done = self.write.execute_raw(Statement::from_sql_and_values(self.backend(), text, values)).await?;
        Ok(done.rows_affected() > 0)
    }

    /// Closes the pools; open statements finish first. What SQLite leaves behind is one whole file, unless another process
    /// has it open.
    pub async fn close(self) {
        // Closing twice (one pool on PostgreSQL) is harmless, and there is nobody left to tell of an error. SQLite's reader
        // knows the writer's pool, too.
        let _ = self.read.close().await;
        let _ = self.write.close().await;
    }
}

/// `cache`: what the connection may keep of the file, in KiB with a minus, as SQLite has it.
fn sqlite(options: SqliteConnectOptions, cache: &'static str) -> SqliteConnectOptions {
    options
        .journal_mode(SqliteJournalMode::Wal)
        // A 2xx means that it is on disk, also after a power cut.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(15))
        .foreign_keys(true)
        // A page of a list, so that the thread that reads it need not wait for whoever takes the rows.
        .row_buffer_size(256)
        .pragma("cache_size", cache)
        .pragma("temp_store", "memory")
}
