//! One way to a database: statements by themselves, batched statements, transactions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sea_orm::{ConnAcquireErr, ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, Statement, Value};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use uuid::Uuid;

use super::failure::{DatabaseFailure, judge_failure};
use super::gather::{Gather, askers, numbered};
use super::pool::{ConnectionManager, ConnectionPool, PoolRegistry, wait_within_request};
use super::transaction::Transaction;

/// A statement by itself or in a transaction may take so long. PostgreSQL's own limit is a second shorter, so that this
/// one is met only where the server does not answer at all.
pub(super) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// A batched statement finds few rows by an index, and others wait behind it.
pub(super) const BATCHED_STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that was lost before a statement says so at once.
const LOST_AT_ONCE: Duration = Duration::from_secs(1);

/// A database: statements, and the beginning of transactions.
#[derive(Debug, Clone)]
pub struct Db {
    backend: DbBackend,
    statements: ConnectionPool,
    transactions: ConnectionPool,
    /// On PostgreSQL, for those who do the same with different rows.
    batched: Option<Batched>,
    /// What one tenant may use of the pools at once; none for work that belongs to no tenant.
    share: Option<Share>,
    listener: Listener,
}

/// The share of one tenant, so that its work leaves the others their speed.
#[derive(Debug, Clone)]
struct Share {
    statements: Arc<Semaphore>,
    transactions: Arc<Semaphore>,
}

/// Waits for a part of the tenant's share.
async fn take_share(share: Option<&Arc<Semaphore>>) -> Result<Option<OwnedSemaphorePermit>, DbErr> {
    let Some(share) = share else { return Ok(None) };
    let permit = wait_within_request(|limit| timeout(limit, share.clone().acquire_owned())).await;
    permit.ok().and_then(Result::ok).map(Some).ok_or(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout))
}

#[derive(Debug, Clone)]
struct Batched {
    reads: Arc<Gather>,
    writes: Arc<Gather>,
}

/// What hears of statements, if anything does.
#[derive(Clone, Default)]
pub(super) struct Listener(Option<Arc<Hear>>);

type Hear = dyn Fn(&str) + Send + Sync;

impl Listener {
    pub(super) fn hear(&self, statement: &str) {
        if let Some(listener) = &self.0 {
            listener(statement);
        }
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Listener")
    }
}

impl Db {
    /// A way to PostgreSQL: `statements` single statements and `transactions` transactions at once.
    ///
    /// # Errors
    /// When a pool cannot be made.
    pub(super) fn postgres(
        options: &PgConnectOptions,
        statements: usize,
        transactions: usize,
        registry: &PoolRegistry,
    ) -> Result<Self, DbErr> {
        let pool = |size| {
            let manager = ConnectionManager::postgres(limited(options.clone(), STATEMENT_TIMEOUT));
            ConnectionPool::new(manager, size, STATEMENT_TIMEOUT, registry)
        };
        let batched = || Gather::new(limited(options.clone(), BATCHED_STATEMENT_TIMEOUT), registry).map(Arc::new);
        Ok(Self {
            backend: DbBackend::Postgres,
            statements: pool(statements)?,
            transactions: pool(transactions)?,
            batched: Some(Batched { reads: batched()?, writes: batched()? }),
            share: None,
            listener: Listener::default(),
        })
    }

    /// A way to SQLite over `size` connections: one for what writes.
    ///
    /// # Errors
    /// When the pool cannot be made.
    pub(super) fn sqlite(options: SqliteConnectOptions, size: usize, registry: &PoolRegistry) -> Result<Self, DbErr> {
        let pool = ConnectionPool::new(ConnectionManager::sqlite(options), size, STATEMENT_TIMEOUT, registry)?;
        Ok(Self {
            backend: DbBackend::Sqlite,
            statements: pool.clone(),
            transactions: pool,
            batched: None,
            share: None,
            listener: Listener::default(),
        })
    }

    /// The same database over `size` connections of its own, for work that must not wait for others.
    ///
    /// # Errors
    /// When the pool cannot be made.
    pub(super) fn postgres_apart(
        options: &PgConnectOptions,
        size: usize,
        registry: &PoolRegistry,
    ) -> Result<Self, DbErr> {
        let manager = ConnectionManager::postgres(limited(options.clone(), BATCHED_STATEMENT_TIMEOUT));
        let pool = ConnectionPool::new(manager, size, BATCHED_STATEMENT_TIMEOUT, registry)?;
        Ok(Self {
            backend: DbBackend::Postgres,
            statements: pool.clone(),
            transactions: pool,
            batched: None,
            share: None,
            listener: Listener::default(),
        })
    }

    /// The same database for one tenant, which may use three quarters of its connections at once, or half where there
    /// are many.
    pub(super) fn for_tenant(&self) -> Self {
        let share = |size: usize| Arc::new(Semaphore::new(if size > 4 { size / 2 } else { (size * 3 / 4).max(1) }));
        let share =
            Share { statements: share(self.statements.max_size()), transactions: share(self.transactions.max_size()) };
        Self { share: Some(share), ..self.clone() }
    }

    /// Tells `listener` the text of each statement from now on, for tests that count them.
    pub fn overhear(&mut self, listener: impl Fn(&str) + Send + Sync + 'static) {
        self.listener = Listener(Some(Arc::new(listener)));
    }

    /// Begins a transaction, for the one place where writes begin, and for the ledger.
    ///
    /// # Errors
    /// The database's own.
    pub async fn begin(&self) -> Result<Transaction, DbErr> {
        let permit = take_share(self.share.as_ref().map(|share| &share.transactions)).await?;
        Transaction::begin(&self.transactions, self.backend, &self.listener, permit).await
    }

    /// The rows of a SELECT for one who asks. On PostgreSQL, those who ask the same of other rows at the same time share a
    /// statement that began after they asked. For what finds few rows by an index: anything else keeps the others waiting.
    ///
    /// # Errors
    /// The database's own.
    pub async fn query_along(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let Some(batched) = &self.batched else { return self.query_all_raw(statement).await };
        let values = statement.values.map(|values| values.0).unwrap_or_default();
        let mut text = askers(values.len());
        // The OFFSET keeps each asker's rows apart: PostgreSQL would join with the whole table while that is small.
        text.push_str(" SELECT q.n, found.* FROM q, LATERAL (SELECT * FROM (");
        numbered(&mut text, &statement.sql, "q.v", 0);
        text.push_str(") AS wanted OFFSET 0) AS found");
        let began = Instant::now();
        match Box::pin(batched.reads.ask(&self.listener, &text, None, values.clone())).await {
            Err(error) if judge_failure(&error) == DatabaseFailure::Unknown && began.elapsed() < LOST_AT_ONCE => {
                Box::pin(batched.reads.ask(&self.listener, &text, None, values)).await
            }
            answer => answer,
        }
    }

    /// The rows that a statement of [`askers`](super::askers) answers to one who brings `values` and writes `row`.
    ///
    /// # Errors
    /// The database's own, and [`DbErr::Custom`] on SQLite. When the database refused, nothing was written for this one.
    pub async fn write_along(&self, text: &str, row: Uuid, values: Vec<Value>) -> Result<Vec<QueryResult>, DbErr> {
        let batched =
            self.batched.as_ref().ok_or_else(|| DbErr::Custom("statements are batched on PostgreSQL alone".into()))?;
        Box::pin(batched.writes.ask(&self.listener, text, Some(row), values)).await
    }

    /// The rows of a SELECT. Where the connection was lost, which it may have been while it was idle, the question is
    /// asked again over another one.
    ///
    /// # Errors
    /// The database's own.
    pub(super) async fn query_again_if_lost(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let began = Instant::now();
        match self.query_all_raw(statement.clone()).await {
            Err(error) if judge_failure(&error) == DatabaseFailure::Unknown && began.elapsed() < LOST_AT_ONCE => {
                self.query_all_raw(statement).await
            }
            answer => answer,
        }
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn ping(&self) -> Result<(), DbErr> {
        self.execute_raw(Statement::from_string(self.backend, "SELECT 1")).await.map(drop)
    }

    /// Closes everything; open statements finish first.
    pub(super) async fn close(&self) {
        self.statements.close().await;
        self.transactions.close().await;
        if let Some(batched) = &self.batched {
            batched.reads.close().await;
            batched.writes.close().await;
        }
    }
}

/// PostgreSQL's own limits. A session whose client has gone without a word is ended by the server, with the locks that
/// it holds.
fn limited(options: PgConnectOptions, statement_timeout: Duration) -> PgConnectOptions {
    let milliseconds = (statement_timeout - Duration::from_secs(1)).as_millis().to_string();
    options.options([
        ("statement_timeout", milliseconds.as_str()),
        // Plans are kept while tables grow: one that reads a table whole was good only while it was small.
        ("enable_seqscan", "off"),
        // What has no index at all would look so dear that it is compiled first.
        ("jit", "off"),
        ("idle_in_transaction_session_timeout", "10000"),
        ("client_connection_check_interval", "2000"),
        ("tcp_keepalives_idle", "15"),
        ("tcp_keepalives_interval", "5"),
        ("tcp_keepalives_count", "3"),
        ("tcp_user_timeout", "20000"),
    ])
}

#[async_trait::async_trait]
impl ConnectionTrait for Db {
    fn get_database_backend(&self) -> DbBackend {
        self.backend
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.listener.hear(&statement.sql);
        let _permit = take_share(self.share.as_ref().map(|share| &share.statements)).await?;
        self.statements.acquire().await?.execute(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.listener.hear(sql);
        let _permit = take_share(self.share.as_ref().map(|share| &share.statements)).await?;
        self.statements.acquire().await?.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.listener.hear(&statement.sql);
        let _permit = take_share(self.share.as_ref().map(|share| &share.statements)).await?;
        self.statements.acquire().await?.query_one(statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.listener.hear(&statement.sql);
        let _permit = take_share(self.share.as_ref().map(|share| &share.statements)).await?;
        self.statements.acquire().await?.query_all(statement).await
    }
}

/// Where the statements of a write go: straight to the database, or into a transaction.
#[derive(Debug)]
pub enum Way<'a> {
    /// Each for itself.
    Plain(&'a Db),
    /// All or none.
    Transaction(Transaction),
}

#[async_trait::async_trait]
impl ConnectionTrait for Way<'_> {
    fn get_database_backend(&self) -> DbBackend {
        match self {
            Self::Plain(db) => db.get_database_backend(),
            Self::Transaction(db) => db.get_database_backend(),
        }
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        match self {
            Self::Plain(db) => db.execute_raw(statement).await,
            Self::Transaction(db) => db.execute_raw(statement).await,
        }
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        match self {
            Self::Plain(db) => db.execute_unprepared(sql).await,
            Self::Transaction(db) => db.execute_unprepared(sql).await,
        }
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        match self {
            Self::Plain(db) => db.query_one_raw(statement).await,
            Self::Transaction(db) => db.query_one_raw(statement).await,
        }
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        match self {
            Self::Plain(db) => db.query_all_raw(statement).await,
            Self::Transaction(db) => db.query_all_raw(statement).await,
        }
    }
}
