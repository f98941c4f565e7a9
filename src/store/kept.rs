//! Connections that are lent for one statement each: to PostgreSQL, and to SQLite's readers.
//!
//! Why not SeaORM's own pool: it is sqlx's, which asks a connection for a sign of life whenever it is given back, a round
//! trip after each statement, as dear as a small statement itself. Here a connection is asked only if it was idle for
//! long. One that was left in the middle of a statement, because its client has gone, is given up. Transactions, and so
//! all that writes on SQLite, go on with SeaORM's pool.

use std::sync::Arc;
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{Manager, Metrics, Object, Pool, PoolError, QueueMode, RecycleResult};
use sea_orm::{
    ConnAcquireErr, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, ExecResult,
    QueryResult, RuntimeErr, Statement, TransactionOptions, TransactionTrait, Value,
};
use sea_query_sqlx::SqlxValues;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection, Database, Executor, IntoArguments};
use uuid::Uuid;

use super::gather::{Gather, askers, numbered};

/// A connection that was idle for so long may be dead.
const IDLE: Duration = Duration::from_secs(30);
/// How long a statement waits for a connection.
const WAIT: Duration = Duration::from_secs(10);
/// Statements whose plans a connection keeps.
const STATEMENTS: usize = 250;

/// A database: statements, and the beginning of transactions.
#[derive(Debug, Clone)]
pub struct Db {
    pool: DatabaseConnection,
    kept: Option<Kepts>,
    listener: Listener,
}

/// The ways for single statements.
#[derive(Debug, Clone)]
struct Kepts {
    /// For each by itself.
    each: Pool<Connections>,
    /// On PostgreSQL, for those who do the same with different rows.
    gathered: Option<Gathered>,
}

#[derive(Debug, Clone)]
struct Gathered {
    reads: Arc<Gather>,
    writes: Arc<Gather>,
}

/// Who hears of statements, if anybody does.
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

/// How a connection is made and used again.
#[derive(Debug)]
pub(super) enum Connections {
    Postgres(PgConnectOptions),
    Sqlite(SqliteConnectOptions),
}

/// A connection, and whether a statement is on its way.
#[derive(Debug)]
pub(super) struct Kept {
    connection: Either,
    busy: bool,
}

/// A connection to one of the two.
#[derive(Debug)]
enum Either {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

impl Connections {
    pub(super) fn postgres(options: PgConnectOptions) -> Self {
        Self::Postgres(options.statement_cache_capacity(STATEMENTS))
    }
}

impl Manager for Connections {
    type Type = Kept;
    type Error = sqlx::Error;

    async fn create(&self) -> Result<Kept, sqlx::Error> {
        let connection = match self {
            Self::Postgres(options) => Either::Postgres(PgConnection::connect_with(options).await?),
            Self::Sqlite(options) => Either::Sqlite(SqliteConnection::connect_with(options).await?),
        };
        Ok(Kept { connection, busy: false })
    }

    async fn recycle(&self, kept: &mut Kept, metrics: &Metrics) -> RecycleResult<sqlx::Error> {
        if metrics.last_used() > IDLE {
            match &mut kept.connection {
                Either::Postgres(connection) => connection.ping().await?,
                Either::Sqlite(connection) => connection.ping().await?,
            }
        }
        Ok(())
    }
}

/// A connection on loan. It goes back only when its statement has been answered.
pub(super) struct Loan(Option<Object<Connections>>);

impl Loan {
    fn connection(&mut self) -> Result<&mut Either, DbErr> {
        let kept = self.0.as_mut().ok_or_else(|| DbErr::Custom("a connection was given back".into()))?;
        kept.busy = true;
        Ok(&mut kept.connection)
    }

    /// The connection, where only PostgreSQL is spoken.
    pub(super) fn postgres(&mut self) -> Result<&mut PgConnection, DbErr> {
        match self.connection()? {
            Either::Postgres(connection) => Ok(connection),
            Either::Sqlite(_) => Err(no_gathering()),
        }
    }

    /// The statement was answered: by rows, or by an error of the database's.
    pub(super) fn answered<T>(mut self, answer: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        if let Some(kept) = &mut self.0 {
            kept.busy = answer.as_ref().is_err_and(|error| error.as_database_error().is_none());
        }
        answer
    }

    async fn execute(mut self, statement: Statement) -> Result<ExecResult, DbErr> {
        let done = match self.connection()? {
            Either::Postgres(connection) => connection.execute(query(statement)).await.map(Into::into),
            Either::Sqlite(connection) => connection.execute(query(statement)).await.map(Into::into),
        };
        self.answered(done).map_err(|error| DbErr::Exec(RuntimeErr::SqlxError(error.into())))
    }

    async fn query_one(mut self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let found = match self.connection()? {
            Either::Postgres(connection) => {
                connection.fetch_optional(query(statement)).await.map(|row| row.map(Into::into))
            }
            Either::Sqlite(connection) => {
                connection.fetch_optional(query(statement)).await.map(|row| row.map(Into::into))
            }
        };
        self.answered(found).map_err(failed)
    }

    async fn query_all(mut self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let found = match self.connection()? {
            Either::Postgres(connection) => connection.fetch_all(query(statement)).await.map(known),
            Either::Sqlite(connection) => connection.fetch_all(query(statement)).await.map(known),
        };
        self.answered(found).map_err(failed)
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(kept) = self.0.take_if(|kept| kept.busy) {
            drop(Object::take(kept));
        }
    }
}

impl Db {
    /// Everything goes through SeaORM's pool.
    pub fn of(pool: DatabaseConnection) -> Self {
        Self { pool, kept: None, listener: Listener::default() }
    }

    /// Statements go through connections to PostgreSQL of their own, `most` at once.
    ///
    /// # Errors
    /// When a pool cannot be made.
    pub fn postgres(pool: DatabaseConnection, options: PgConnectOptions, most: usize) -> Result<Self, DbErr> {
        let gathered = Gathered {
            reads: Arc::new(Gather::new(options.clone())?),
            writes: Arc::new(Gather::new(options.clone())?),
        };
        let each = self::pool(Connections::postgres(options), most)?;
        Ok(Self { pool, kept: Some(Kepts { each, gathered: Some(gathered) }), listener: Listener::default() })
    }

    /// Statements go through connections to SQLite of their own, `most` at once; `pool` is where transactions begin.
    ///
    /// # Errors
    /// When the pool cannot be made.
    pub fn sqlite(pool: DatabaseConnection, options: SqliteConnectOptions, most: usize) -> Result<Self, DbErr> {
        let each = self::pool(Connections::Sqlite(options), most)?;
        Ok(Self { pool, kept: Some(Kepts { each, gathered: None }), listener: Listener::default() })
    }

    /// SeaORM's own pool, for the tool that migrates.
    pub(super) fn whole(&self) -> &DatabaseConnection {
        &self.pool
    }

    /// Tells `listener` the text of each statement from now on, for tests that count them.
    pub fn overhear(&mut self, listener: impl Fn(&str) + Send + Sync + 'static) {
        let listener = Listener(Some(Arc::new(listener)));
        self.listener = listener.clone();
        self.pool.set_metric_callback(move |info| listener.hear(&info.statement.sql));
    }

    /// Begins a transaction, for the one place where writes begin, and for the ledger.
    ///
    /// # Errors
    /// The database's own.
    #[allow(clippy::disallowed_methods, reason = "the way to the places that may")]
    pub async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        self.pool.begin().await
    }

    /// The same with options.
    ///
    /// # Errors
    /// The database's own.
    #[allow(clippy::disallowed_methods, reason = "the way to the places that may")]
    pub async fn begin_with_options(&self, options: TransactionOptions) -> Result<DatabaseTransaction, DbErr> {
        self.pool.begin_with_options(options).await
    }

    /// The rows of a SELECT for one who asks. On PostgreSQL, those who ask the same of other rows at the same time share a
    /// statement that began after they asked. For what finds few rows by an index: anything else keeps the others waiting.
    ///
    /// # Errors
    /// The database's own.
    pub async fn query_along(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let Some(gathered) = self.gathered() else { return self.query_all_raw(statement).await };
        let values = statement.values.map(|values| values.0).unwrap_or_default();
        let mut text = askers(values.len());
        // The OFFSET keeps each asker's rows apart: PostgreSQL would join with the whole table while that is small.
        text.push_str(" SELECT q.n, found.* FROM q, LATERAL (SELECT * FROM (");
        numbered(&mut text, &statement.sql, "q.v", 0);
        text.push_str(") AS wanted OFFSET 0) AS found");
        gathered.reads.ask(&self.listener, &text, None, values).await
    }

    /// The rows that a statement of [`askers`](super::askers) answers to one who brings `values` and writes `row`.
    ///
    /// # Errors
    /// The database's own, and [`DbErr::Custom`] on SQLite. When the database refused, nothing was written for this one.
    pub async fn write_along(&self, text: &str, row: Uuid, values: Vec<Value>) -> Result<Vec<QueryResult>, DbErr> {
        let gathered = self.gathered().ok_or_else(no_gathering)?;
        gathered.writes.ask(&self.listener, text, Some(row), values).await
    }

    fn gathered(&self) -> Option<&Gathered> {
        self.kept.as_ref().and_then(|kept| kept.gathered.as_ref())
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn ping(&self) -> Result<(), DbErr> {
        self.execute_raw(Statement::from_string(self.get_database_backend(), "SELECT 1")).await.map(|_| ())
    }

    /// Closes everything; open statements finish first.
    ///
    /// # Errors
    /// The database's own.
    pub async fn close(self) -> Result<(), DbErr> {
        if let Some(kept) = &self.kept {
            close(&kept.each).await;
        }
        if let Some(gathered) = self.gathered() {
            gathered.reads.close().await;
            gathered.writes.close().await;
        }
        self.pool.close().await
    }
}

/// Closes the connections that nobody has on loan, and waits until each is closed: one to SQLite may be the last, which
/// puts the write-ahead log back into the file. Whatever is on loan closes when it comes back.
pub(super) async fn close(pool: &Pool<Connections>) {
    for kept in pool.retain(|_, _| false).removed {
        // It is given up either way.
        let _ = match kept.connection {
            Either::Postgres(connection) => connection.close().await,
            Either::Sqlite(connection) => connection.close().await,
        };
    }
    pool.close();
}

/// Connections that are made when they are needed, `most` at once. The one that was used last is lent first: its server
/// process has everything at hand.
pub(super) fn pool(connections: Connections, most: usize) -> Result<Pool<Connections>, DbErr> {
    Pool::builder(connections)
        .max_size(most)
        .queue_mode(QueueMode::Lifo)
        .wait_timeout(Some(WAIT))
        .create_timeout(Some(WAIT))
        .recycle_timeout(Some(WAIT))
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(|error| DbErr::Custom(error.to_string()))
}

pub(super) async fn lend(kept: &Pool<Connections>) -> Result<Loan, DbErr> {
    match kept.get().await {
        Ok(object) => Ok(Loan(Some(object))),
        Err(PoolError::Timeout(_)) => Err(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout)),
        Err(PoolError::Closed) => Err(DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed)),
        Err(PoolError::Backend(error)) => Err(DbErr::Conn(RuntimeErr::SqlxError(error.into()))),
        Err(error) => Err(DbErr::Custom(error.to_string())),
    }
}

fn query<D: Database>(statement: Statement) -> Query<'static, D, SqlxValues>
where
    SqlxValues: IntoArguments<D>,
{
    // Every statement of the house is made of text that stands in its source; values are bound.
    let values = statement.values.unwrap_or(sea_orm::Values(Vec::new()));
    sqlx::query_with(AssertSqlSafe(statement.sql), SqlxValues(values))
}

/// Rows as SeaORM has them.
fn known<R: Into<QueryResult>>(rows: Vec<R>) -> Vec<QueryResult> {
    rows.into_iter().map(Into::into).collect()
}

fn no_gathering() -> DbErr {
    DbErr::Custom("statements are gathered on PostgreSQL alone".into())
}

pub(super) fn failed(error: sqlx::Error) -> DbErr {
    DbErr::Query(RuntimeErr::SqlxError(error.into()))
}

#[async_trait::async_trait]
impl ConnectionTrait for Db {
    fn get_database_backend(&self) -> DbBackend {
        self.pool.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let Some(kept) = &self.kept else { return self.pool.execute_raw(statement).await };
        self.listener.hear(&statement.sql);
        lend(&kept.each).await?.execute(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.pool.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let Some(kept) = &self.kept else { return self.pool.query_one_raw(statement).await };
        self.listener.hear(&statement.sql);
        lend(&kept.each).await?.query_one(statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let Some(kept) = &self.kept else { return self.pool.query_all_raw(statement).await };
        self.listener.hear(&statement.sql);
        lend(&kept.each).await?.query_all(statement).await
    }
}

/// Where the statements of a write go: straight to the database, or into a transaction.
#[derive(Debug)]
pub enum Way<'a> {
    /// Each for itself.
    Plain(&'a Db),
    /// All or none.
    Transaction(DatabaseTransaction),
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
