//! Access to a database: single statements, batched statements, transactions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sea_orm::{
    ConnAcquireErr, ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, Statement, Value,
};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use uuid::Uuid;

use super::batching::QueryBatcher;
use super::failure::{DatabaseFailure, judge_failure};
use super::pool::{
    ConnectionManager, ConnectionPool, PoolGuard, PoolRegistry, is_in_background,
    wait_within_request,
};
use super::sql::SqlBuilder;
use super::transaction::Transaction;

/// A statement by itself or in a transaction may take so long. PostgreSQL's own limit is a second
/// shorter, so that this one is met only where the server does not answer at all.
pub(super) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// A batched statement finds few rows by an index, and others wait behind it.
pub(super) const BATCHED_STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that was lost before a statement says so at once.
const LOST_AT_ONCE: Duration = Duration::from_secs(1);

/// How many connections a process opens for single statements, and how many for transactions.
#[derive(Debug, Clone, Copy)]
pub(super) struct PoolSizes {
    pub(super) statements: usize,
    pub(super) transactions: usize,
}

/// A database: statements, and the beginning of transactions.
#[derive(Debug, Clone)]
pub struct Db {
    backend: DbBackend,
    requests: PoolPair,
    /// For background work, which uses other connections than requests.
    background: PoolPair,
    /// On PostgreSQL, for equal queries on different rows.
    batched: Option<BatchedQueries>,
    /// What one tenant may use of the pools at once; none for work that belongs to no tenant.
    share: Option<TenantShare>,
    listener: QueryListener,
}

/// The connections of single statements and those of transactions: a transaction that also reads by
/// single statements never waits for a connection that another transaction keeps.
#[derive(Debug, Clone)]
struct PoolPair {
    statements: ConnectionPool,
    transactions: ConnectionPool,
}

impl PoolPair {
    /// One pool for both.
    fn from_one_pool(pool: ConnectionPool) -> Self {
        Self { statements: pool.clone(), transactions: pool }
    }
}

/// The share of one tenant, so that its work does not slow down the others.
#[derive(Debug, Clone)]
struct TenantShare {
    requests: SharePermits,
    background: SharePermits,
}

/// How many connections of each pool one tenant may use at once.
#[derive(Debug, Clone)]
struct SharePermits {
    statements: Arc<Semaphore>,
    transactions: Arc<Semaphore>,
}

impl SharePermits {
    /// Three quarters of the connections, or half where there are many.
    fn for_pools(pools: &PoolPair) -> Self {
        let share = |size: usize| {
            Arc::new(Semaphore::new(if size > 4 { size / 2 } else { (size * 3 / 4).max(1) }))
        };
        Self {
            statements: share(pools.statements.max_size()),
            transactions: share(pools.transactions.max_size()),
        }
    }
}

/// Waits for a part of the tenant's share.
async fn take_share(share: Option<&Arc<Semaphore>>) -> Result<Option<OwnedSemaphorePermit>, DbErr> {
    let Some(share) = share else { return Ok(None) };
    let permit = wait_within_request(|limit| timeout(limit, share.clone().acquire_owned())).await;
    permit
        .ok()
        .and_then(Result::ok)
        .map(Some)
        .ok_or(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout))
}

#[derive(Debug, Clone)]
struct BatchedQueries {
    reads: Arc<QueryBatcher>,
    writes: Arc<QueryBatcher>,
}

/// The listener that gets each statement, if there is one.
#[derive(Clone, Default)]
pub(super) struct QueryListener(Option<Arc<QueryHook>>);

type QueryHook = dyn Fn(&str) + Send + Sync;

impl QueryListener {
    pub(super) fn notify_query(&self, statement: &str) {
        if let Some(listener) = &self.0 {
            listener(statement);
        }
    }
}

impl std::fmt::Debug for QueryListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Listener")
    }
}

impl Db {
    /// Opens PostgreSQL.
    ///
    /// # Errors
    /// When a pool cannot be made.
    pub(super) fn open_postgres(
        options: &PgConnectOptions,
        requests: PoolSizes,
        background: PoolSizes,
        registry: &PoolRegistry,
    ) -> Result<Self, DbErr> {
        let pool = |size| {
            let manager = ConnectionManager::postgres(apply_server_limits(
                options.clone(),
                STATEMENT_TIMEOUT,
            ));
            ConnectionPool::new(manager, size, STATEMENT_TIMEOUT, registry)
        };
        let pools = |sizes: PoolSizes| {
            Ok::<_, DbErr>(PoolPair {
                statements: pool(sizes.statements)?,
                transactions: pool(sizes.transactions)?,
            })
        };
        let batched = |operation| {
            QueryBatcher::new(
                operation,
                apply_server_limits(options.clone(), BATCHED_STATEMENT_TIMEOUT),
                registry,
            )
            .map(Arc::new)
        };
        Ok(Self {
            backend: DbBackend::Postgres,
            requests: pools(requests)?,
            background: pools(background)?,
            // Each write inserts at least its row of the ledger.
            batched: Some(BatchedQueries { reads: batched("SELECT")?, writes: batched("INSERT")? }),
            share: None,
            listener: QueryListener::default(),
        })
    }

    /// Opens SQLite for reading, with `requests` connections, and `background` further ones for
    /// background work.
    ///
    /// # Errors
    /// When a pool cannot be made.
    pub(super) fn sqlite_readers(
        options: &SqliteConnectOptions,
        requests: usize,
        background: usize,
        registry: &PoolRegistry,
    ) -> Result<Self, DbErr> {
        let background = sqlite_pool(options.clone(), background, registry)?;
        Ok(Self {
            background: PoolPair::from_one_pool(background),
            ..Self::open_sqlite(options.clone(), requests, registry)?
        })
    }

    /// Opens SQLite with `size` connections: one for the writer.
    ///
    /// # Errors
    /// When the pool cannot be made.
    pub(super) fn open_sqlite(
        options: SqliteConnectOptions,
        size: usize,
        registry: &PoolRegistry,
    ) -> Result<Self, DbErr> {
        let pools = PoolPair::from_one_pool(sqlite_pool(options, size, registry)?);
        Ok(Self {
            backend: DbBackend::Sqlite,
            requests: pools.clone(),
            background: pools,
            batched: None,
            share: None,
            listener: QueryListener::default(),
        })
    }

    /// The same database over `size` connections of its own, for work that must not wait for
    /// others.
    ///
    /// # Errors
    /// When the pool cannot be made.
    pub(super) fn postgres_apart(
        options: &PgConnectOptions,
        size: usize,
        registry: &PoolRegistry,
    ) -> Result<Self, DbErr> {
        let manager = ConnectionManager::postgres(apply_server_limits(
            options.clone(),
            BATCHED_STATEMENT_TIMEOUT,
        ));
        let pools = PoolPair::from_one_pool(ConnectionPool::new(
            manager,
            size,
            BATCHED_STATEMENT_TIMEOUT,
            registry,
        )?);
        Ok(Self {
            backend: DbBackend::Postgres,
            requests: pools.clone(),
            background: pools,
            batched: None,
            share: None,
            listener: QueryListener::default(),
        })
    }

    /// The same database for one tenant, which may use three quarters of its connections at once,
    /// or half where there are many.
    pub(super) fn for_tenant(&self) -> Self {
        let share = TenantShare {
            requests: SharePermits::for_pools(&self.requests),
            background: SharePermits::for_pools(&self.background),
        };
        Self { share: Some(share), ..self.clone() }
    }

    /// Tells `listener` the text of each statement from now on, for tests that count them.
    pub fn on_query(&mut self, listener: impl Fn(&str) + Send + Sync + 'static) {
        self.listener = QueryListener(Some(Arc::new(listener)));
    }

    /// The pools of requests, or of background work, and what the tenant may use of them.
    fn select_pools(&self) -> (&PoolPair, Option<&SharePermits>) {
        let share = self.share.as_ref();
        if is_in_background() {
            (&self.background, share.map(|share| &share.background))
        } else {
            (&self.requests, share.map(|share| &share.requests))
        }
    }

    /// A connection for one statement, with the part of the tenant's share that it takes.
    async fn acquire_statement_connection(
        &self,
    ) -> Result<(PoolGuard, Option<OwnedSemaphorePermit>), DbErr> {
        let (pools, permits) = self.select_pools();
        let permit = take_share(permits.map(|permits| &permits.statements)).await?;
        Ok((pools.statements.acquire().await?, permit))
    }

    /// Begins a transaction, for the one place where writes begin, and for the ledger.
    ///
    /// # Errors
    /// The database's own.
    pub async fn begin_transaction(&self) -> Result<Transaction, DbErr> {
        let (pools, permits) = self.select_pools();
        let permit = take_share(permits.map(|permits| &permits.transactions)).await?;
        Transaction::begin(&pools.transactions, self.backend, &self.listener, permit).await
    }

    /// The rows of a SELECT. On PostgreSQL, equal queries for other rows at the same time share a
    /// statement that begins after each of them was submitted. Only for queries that find few rows
    /// by an index: any other query would delay the rest of its batch.
    ///
    /// # Errors
    /// The database's own.
    pub async fn query_batched(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let Some(batched) = &self.batched else { return self.query_all_raw(statement).await };
        let values = statement.values.map(|values| values.0).unwrap_or_default();
        let mut sql = SqlBuilder::with_capacity(128 + statement.sql.len(), 0);
        // The OFFSET keeps the rows of each query apart: PostgreSQL would join with the whole table
        // while that is small.
        sql.push(" SELECT q.n, found.* FROM q, LATERAL (SELECT * FROM (");
        sql.push_batched_piece(&statement.sql, values);
        sql.push(") AS wanted OFFSET 0) AS found");
        let (text, values) = sql.into_batched_parts();
        let began = Instant::now();
        match Box::pin(batched.reads.submit_query(&self.listener, &text, None, values.clone()))
            .await
        {
            Err(error)
                if judge_failure(&error) == DatabaseFailure::Unknown
                    && began.elapsed() < LOST_AT_ONCE =>
            {
                Box::pin(batched.reads.submit_query(&self.listener, &text, None, values)).await
            }
            answer => answer,
        }
    }

    /// The rows that a statement of [`SqlBuilder::into_batched_parts`] returns for `values`, where
    /// it writes `row`.
    ///
    /// # Errors
    /// The database's own, and [`DbErr::Custom`] on SQLite. When the database refused, nothing was
    /// written for this one.
    pub async fn write_batched(
        &self,
        text: &str,
        row: Uuid,
        values: Vec<Value>,
    ) -> Result<Vec<QueryResult>, DbErr> {
        let batched = self
            .batched
            .as_ref()
            .ok_or_else(|| DbErr::Custom("statements are batched on PostgreSQL alone".into()))?;
        Box::pin(batched.writes.submit_query(&self.listener, text, Some(row), values)).await
    }

    /// The rows of a SELECT. Where the connection was lost, which it may have been while it was
    /// idle, the query is run again over another one.
    ///
    /// # Errors
    /// The database's own.
    pub(super) async fn query_again_if_lost(
        &self,
        statement: Statement,
    ) -> Result<Vec<QueryResult>, DbErr> {
        let began = Instant::now();
        match self.query_all_raw(statement.clone()).await {
            Err(error)
                if judge_failure(&error) == DatabaseFailure::Unknown
                    && began.elapsed() < LOST_AT_ONCE =>
            {
                self.query_all_raw(statement).await
            }
            answer => answer,
        }
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// Why it does not answer.
    pub async fn ping(&self) -> Result<(), DbErr> {
        self.execute_raw(Statement::from_string(self.backend, "SELECT 1")).await.map(drop)
    }

    /// Closes everything; open statements finish first.
    pub(super) async fn close(&self) {
        for pools in [&self.background, &self.requests] {
            pools.statements.close().await;
            pools.transactions.close().await;
        }
        if let Some(batched) = &self.batched {
            batched.reads.close().await;
            batched.writes.close().await;
        }
    }
}

fn sqlite_pool(
    options: SqliteConnectOptions,
    size: usize,
    registry: &PoolRegistry,
) -> Result<ConnectionPool, DbErr> {
    ConnectionPool::new(
        ConnectionManager::sqlite(options, registry),
        size,
        STATEMENT_TIMEOUT,
        registry,
    )
}

/// PostgreSQL's own limits. The server ends a session whose client has disappeared, with the locks
/// that it holds.
fn apply_server_limits(options: PgConnectOptions, statement_timeout: Duration) -> PgConnectOptions {
    let milliseconds = (statement_timeout - Duration::from_secs(1)).as_millis().to_string();
    options.options([
        ("statement_timeout", milliseconds.as_str()),
        // Plans are cached while tables grow: a plan that scans a whole table is good only while
        // the table is small.
        ("enable_seqscan", "off"),
        // A query without an index has such high estimated costs that PostgreSQL would compile it
        // first.
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
        self.listener.notify_query(&statement.sql);
        let (mut connection, _permit) = self.acquire_statement_connection().await?;
        connection.execute(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.listener.notify_query(sql);
        let (mut connection, _permit) = self.acquire_statement_connection().await?;
        connection.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.listener.notify_query(&statement.sql);
        let (mut connection, _permit) = self.acquire_statement_connection().await?;
        connection.query_one(statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.listener.notify_query(&statement.sql);
        let (mut connection, _permit) = self.acquire_statement_connection().await?;
        connection.query_all(statement).await
    }
}

/// Where the statements of a write go: straight to the database, or into a transaction.
#[derive(Debug)]
pub enum Executor<'a> {
    /// Each statement is committed by itself.
    Plain(&'a Db),
    /// All statements are committed together, or none.
    Transaction(Transaction),
}

#[async_trait::async_trait]
impl ConnectionTrait for Executor<'_> {
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
