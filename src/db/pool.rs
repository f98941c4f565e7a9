//! Connections: to PostgreSQL, and to SQLite's file. One statement or one transaction has a
//! connection for itself.
//!
//! SeaORM's own pool is sqlx's. It pings a connection each time that it is returned, a round trip
//! that costs as much as a small statement; it keeps a connection whose transaction control failed;
//! and it waits without end for a database that does not answer. Here a connection is pinged only
//! after it was idle for long. Every statement, every attempt to connect and every wait for a
//! connection has a deadline. A connection goes back to its pool only when it is known to be
//! outside a statement and outside a transaction; every other one is closed.
//!
//! What must never enter: anything about what is stored.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{
    Manager, Metrics, Object, Pool, PoolError, QueueMode, RecycleError, RecycleResult, TimeoutType,
};
use sea_orm::{ConnAcquireErr, DbErr, ExecResult, QueryResult, RuntimeErr, Statement};
use sea_query_sqlx::SqlxValues;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection, Database, Executor, IntoArguments, Row};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::failure::{
    is_locked, keeps_connection, lacks_slots, needs_closed_file, storage_failure, timed_out,
    waited_in_vain,
};
use super::health::StorageHealth;
use super::open_file::{OpenConnection, OpenFile};

/// A connection that was idle for longer is pinged before it is used.
const IDLE_BEFORE_PING: Duration = Duration::from_secs(30);
/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the ping of an idle connection may take.
const PING_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a statement or a transaction waits for a connection, attempts to connect included.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(6);
/// How long all statements and transactions of one request wait together: a client hears of an
/// outage in time, however many of them met it.
const REQUEST_WAIT_LIMIT: Duration = Duration::from_secs(10);
/// No other process keeps a lock on SQLite's file for so long.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);
/// After so long, an attempt to connect that failed for want of a free place is made again.
const CONNECT_RETRY_INTERVAL: Duration = Duration::from_millis(50);
/// How long a statement that was interrupted, or a transaction that was left open, may take to end.
const ABANDON_TIMEOUT: Duration = Duration::from_secs(3);
/// Statements whose plans a connection keeps.
const STATEMENT_CACHE_CAPACITY: usize = 250;
/// SQLite looks after so many steps of its virtual machine whether the statement is to be
/// interrupted.
const SQLITE_STEPS_BETWEEN_CHECKS: i32 = 20_000;

/// How a pool makes its connections.
#[derive(Debug)]
pub(super) enum ConnectionManager {
    Postgres(Box<PgConnectOptions>),
    Sqlite(Box<SqliteConnectOptions>, OpenFile),
}

impl ConnectionManager {
    pub(super) fn postgres(options: PgConnectOptions) -> Self {
        Self::Postgres(Box::new(options.statement_cache_capacity(STATEMENT_CACHE_CAPACITY)))
    }

    pub(super) fn sqlite(options: SqliteConnectOptions, registry: &PoolRegistry) -> Self {
        Self::Sqlite(Box::new(options), registry.file.clone())
    }
}

/// A connection, and what is known of its state.
#[derive(Debug)]
pub(super) struct PooledConnection {
    driver: DriverConnection,
    /// A statement is on its way.
    busy: bool,
    /// A transaction was begun and has not been ended.
    in_transaction: bool,
    /// An error was seen after which its state is not known.
    broken: bool,
    /// On SQLite, its place among the connections to the file.
    open: Option<OpenConnection>,
}

#[derive(Debug)]
enum DriverConnection {
    /// With the process id of the server's backend, to cancel what it does.
    Postgres(PgConnection, i32),
    /// With the flag that interrupts what it does.
    Sqlite(SqliteConnection, Arc<AtomicBool>),
}

impl PooledConnection {
    async fn ping(&mut self) -> Result<(), sqlx::Error> {
        match &mut self.driver {
            DriverConnection::Postgres(connection, _) => connection.ping().await,
            DriverConnection::Sqlite(connection, _) => connection.ping().await,
        }
    }

    /// Whether SQLite's file was to be closed completely since it was opened.
    fn is_outdated(&self) -> bool {
        self.open.as_ref().is_some_and(OpenConnection::is_outdated)
    }

    async fn close(self) {
        let closed = tokio::spawn(async move {
            // It is given up either way.
            let _ = match self.driver {
                DriverConnection::Postgres(connection, _) => connection.close().await,
                DriverConnection::Sqlite(connection, _) => connection.close().await,
            };
            drop(self.open);
        });
        let _ = timeout(ABANDON_TIMEOUT, closed).await;
    }
}

impl Manager for ConnectionManager {
    type Type = PooledConnection;
    type Error = sqlx::Error;

    async fn create(&self) -> Result<PooledConnection, sqlx::Error> {
        let mut open = None;
        let driver = match self {
            Self::Postgres(options) => {
                let mut connection = PgConnection::connect_with(options).await?;
                let row = connection.fetch_one("SELECT pg_backend_pid()").await?;
                DriverConnection::Postgres(connection, row.try_get(0)?)
            }
            Self::Sqlite(options, file) => {
                open = Some(file.count_connection().await);
                let mut connection = SqliteConnection::connect_with(options).await?;
                let interrupt = Arc::new(AtomicBool::new(false));
                let interrupted = interrupt.clone();
                connection
                    .lock_handle()
                    .await?
                    .set_progress_handler(SQLITE_STEPS_BETWEEN_CHECKS, move || {
                        !interrupted.load(Ordering::Relaxed)
                    });
                DriverConnection::Sqlite(connection, interrupt)
            }
        };
        Ok(PooledConnection { driver, busy: false, in_transaction: false, broken: false, open })
    }

    async fn recycle(
        &self,
        connection: &mut PooledConnection,
        metrics: &Metrics,
    ) -> RecycleResult<sqlx::Error> {
        if connection.busy || connection.broken || connection.in_transaction {
            return Err(RecycleError::message("its state is not known"));
        }
        if metrics.last_used() > IDLE_BEFORE_PING {
            connection.ping().await?;
        }
        Ok(())
    }
}

/// All pools of a process on one database: they share its connection slots, and its known health.
#[derive(Debug, Clone, Default)]
pub(super) struct PoolRegistry {
    pools: Arc<Mutex<Vec<Pool<ConnectionManager>>>>,
    health: StorageHealth,
    /// Counts how often every connection was distrusted. One that was taken before is closed when
    /// it comes back.
    generation: Arc<AtomicU64>,
    /// SQLite's file, if that is the database.
    file: OpenFile,
}

impl PoolRegistry {
    /// What the pools have learned of the database.
    pub(super) fn health(&self) -> StorageHealth {
        self.health.clone()
    }

    /// Closes every connection, those in use when they come back: the database did not answer on
    /// one of them and is not known to be there on the others, or the process itself holds a lock
    /// that only closing the file gives up, or SQLite read nonsense: once the file is closed
    /// completely, everything is read from it anew.
    pub(super) fn distrust_all(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
        self.file.begin_closing();
        self.close_idle();
    }

    /// Closes the idle connections of all pools, for another pool that needs a slot.
    fn close_idle(&self) {
        self.close_idle_longer_than(Duration::ZERO);
    }

    /// Closes the connections that were idle for longer than `age`. Other processes may need their
    /// slots.
    pub(super) fn close_idle_longer_than(&self, age: Duration) {
        for pool in self.pools.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            for connection in pool.retain(|_, metrics| metrics.last_used() < age).removed {
                close_detached(connection);
            }
        }
    }
}

/// Closes a connection without keeping its user waiting.
fn close_detached(connection: PooledConnection) {
    // Without a runtime the process ends, and the connection with it.
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(connection.close());
    }
}

/// Connections that are made when they are needed. The one that was used last is used first: its
/// server process has warm caches.
#[derive(Debug, Clone)]
pub(super) struct ConnectionPool {
    pool: Pool<ConnectionManager>,
    registry: PoolRegistry,
    /// How long a statement may take.
    statement_timeout: Duration,
}

impl ConnectionPool {
    /// A pool of at most `size` connections, whose statements may take `statement_timeout`.
    ///
    /// # Errors
    /// When the pool cannot be made.
    pub(super) fn new(
        manager: ConnectionManager,
        size: usize,
        statement_timeout: Duration,
        registry: &PoolRegistry,
    ) -> Result<Self, DbErr> {
        let pool = Pool::builder(manager)
            .max_size(size)
            .queue_mode(QueueMode::Lifo)
            .create_timeout(Some(CONNECT_TIMEOUT))
            .recycle_timeout(Some(PING_TIMEOUT))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| DbErr::Custom(error.to_string()))?;
        registry.pools.lock().unwrap_or_else(PoisonError::into_inner).push(pool.clone());
        Ok(Self { pool, registry: registry.clone(), statement_timeout })
    }

    /// How many connections it may have.
    pub(super) fn max_size(&self) -> usize {
        self.pool.status().max_size
    }

    /// Waits for a connection. Where the database has no place left, idle connections of the other
    /// pools are closed, and the attempt is made again.
    ///
    /// # Errors
    /// Why there is none, after six seconds at most. Nothing was sent to the database then.
    pub(super) async fn acquire(&self) -> Result<PoolGuard, DbErr> {
        wait_within_request(|limit| self.acquire_within(limit)).await
    }

    async fn acquire_within(&self, limit: Duration) -> Result<PoolGuard, DbErr> {
        // A request whose time to wait is over gets none, even if one is free: its next statement
        // might wait for the same lock again.
        if limit.is_zero() {
            return Err(no_connection());
        }
        let until = Instant::now() + limit;
        let mut last = None;
        loop {
            match timeout_at(until, self.pool.get()).await {
                // It was being opened when all were to be closed.
                Ok(Ok(object)) if object.is_outdated() => {
                    close_detached(Object::take(object));
                    continue;
                }
                Ok(Ok(object)) => {
                    let generation = self.registry.generation.load(Ordering::Relaxed);
                    return Ok(PoolGuard { object: Some(object), pool: self.clone(), generation });
                }
                Ok(Err(PoolError::Backend(error))) if lacks_slots(&error) => {
                    self.registry.close_idle();
                    last = Some(error);
                }
                Ok(Err(PoolError::Backend(error))) => {
                    // What stands in the way of a new connection may be what the open ones share.
                    if needs_closed_file(&error) {
                        self.registry.health.report_failure(error.to_string());
                        self.registry.distrust_all();
                    }
                    return Err(DbErr::Conn(RuntimeErr::SqlxError(error.into())));
                }
                Ok(Err(PoolError::Timeout(TimeoutType::Create))) => {
                    last = Some(timed_out("an attempt to connect", CONNECT_TIMEOUT));
                }
                Ok(Err(PoolError::Closed)) => {
                    return Err(DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed));
                }
                Err(_) | Ok(Err(PoolError::Timeout(_))) => {
                    return Err(last.map_or_else(no_connection, connect_failed));
                }
                Ok(Err(error)) => return Err(DbErr::Custom(error.to_string())),
            }
            if Instant::now() + CONNECT_RETRY_INTERVAL >= until {
                return Err(last.map_or_else(no_connection, connect_failed));
            }
            sleep(CONNECT_RETRY_INTERVAL).await;
        }
    }

    /// Closes the idle connections and waits until each is closed: one to SQLite may be the last,
    /// which puts the write-ahead log back into the file. Every other connection closes when it
    /// comes back.
    pub(super) async fn close(&self) {
        for connection in self.pool.retain(|_, _| false).removed {
            connection.close().await;
        }
        self.pool.close();
    }
}

fn no_connection() -> DbErr {
    DbErr::ConnectionAcquire(ConnAcquireErr::Timeout)
}

fn connect_failed(error: sqlx::Error) -> DbErr {
    DbErr::Conn(RuntimeErr::SqlxError(error.into()))
}

/// A connection in use. It goes back to its pool when it is dropped outside a statement and outside
/// a transaction.
#[derive(Debug)]
pub(super) struct PoolGuard {
    /// Taken only by `drop`.
    object: Option<Object<ConnectionManager>>,
    pool: ConnectionPool,
    /// The registry's, when it was taken.
    generation: u64,
}

/// Carries out `$call` on the connection of either database, within the time that a statement has.
macro_rules! on_driver {
    ($guard:ident, $connection:ident => $call:expr) => {{
        let (pool, limit) = ($guard.pool.clone(), $guard.pool.statement_timeout);
        let began = Instant::now();
        let connection = $guard.begin_statement().map_err(query_failed)?;
        let answer = match &mut connection.driver {
            DriverConnection::Postgres($connection, _) => {
                timeout(limit, async { $call }).await.ok()
            }
            DriverConnection::Sqlite($connection, interrupt) => {
                run_interruptible(limit, interrupt, async { $call }).await
            }
        };
        pool.end_statement(connection, answer, began)
    }};
}

impl PoolGuard {
    fn begin_statement(&mut self) -> Result<&mut PooledConnection, sqlx::Error> {
        let connection = self.object.as_deref_mut().ok_or(sqlx::Error::PoolClosed)?;
        if connection.busy || connection.broken {
            return Err(sqlx::Error::WorkerCrashed);
        }
        connection.busy = true;
        Ok(connection)
    }

    pub(super) async fn execute(&mut self, statement: Statement) -> Result<ExecResult, DbErr> {
        let done = on_driver!(self, connection => {
            connection.execute(bind_statement(statement)).await.map(Into::into)
        });
        done.map_err(exec_failed)
    }

    pub(super) async fn query_one(
        &mut self,
        statement: Statement,
    ) -> Result<Option<QueryResult>, DbErr> {
        let found = on_driver!(self, connection => {
            let row = connection.fetch_optional(bind_statement(statement)).await;
            row.map(|row| row.map(Into::into))
        });
        found.map_err(query_failed)
    }

    pub(super) async fn query_all(
        &mut self,
        statement: Statement,
    ) -> Result<Vec<QueryResult>, DbErr> {
        let found = on_driver!(self, connection => {
            let rows = connection.fetch_all(bind_statement(statement)).await;
            rows.map(|rows| rows.into_iter().map(Into::into).collect())
        });
        found.map_err(query_failed)
    }

    /// Executes text without values, which may hold several statements.
    pub(super) async fn execute_unprepared(&mut self, sql: &str) -> Result<ExecResult, DbErr> {
        let text = AssertSqlSafe(sql.to_owned());
        let done = on_driver!(self, connection => {
            connection.execute(sqlx::raw_sql(text)).await.map(Into::into)
        });
        done.map_err(exec_failed)
    }

    /// Rows of PostgreSQL's own kind.
    pub(super) async fn fetch_postgres(
        &mut self,
        query: Query<'_, sqlx::Postgres, sqlx::postgres::PgArguments>,
    ) -> Result<Vec<sqlx::postgres::PgRow>, sqlx::Error> {
        let (pool, limit) = (self.pool.clone(), self.pool.statement_timeout);
        let began = Instant::now();
        let connection = self.begin_statement()?;
        let answer = match &mut connection.driver {
            DriverConnection::Postgres(connection, _) => {
                timeout(limit, connection.fetch_all(query)).await.ok()
            }
            DriverConnection::Sqlite(..) => Some(Err(sqlx::Error::Configuration(
                "statements are batched on PostgreSQL alone".into(),
            ))),
        };
        pool.end_statement(connection, answer, began)
    }

    /// Begins a transaction. SQLite refuses to begin one inside another, and so does every later
    /// step of it.
    pub(super) async fn begin(&mut self) -> Result<(), DbErr> {
        let begin = match self.object.as_deref().map(|connection| &connection.driver) {
            Some(DriverConnection::Sqlite(..)) => "BEGIN IMMEDIATE",
            _ => "BEGIN",
        };
        // Even when the answer does not come, it may have begun.
        if let Some(connection) = self.object.as_deref_mut() {
            connection.in_transaction = true;
        }
        // SQLite tries for ten seconds to get a lock that the operating system refuses. A request
        // that has waited for its turn before does not wait for all of that. What is given up is
        // ended like the work of a client that has gone.
        let waits = Instant::now();
        let begun = wait_within_request(async |limit| {
            timeout(limit, self.execute_unprepared(begin)).await.ok()
        });
        let Some(begun) = begun.await else {
            if begin != "BEGIN" && waits.elapsed() > LOCK_PATIENCE {
                self.pool.registry.health.report_failure("the file stays locked");
                self.pool.registry.distrust_all();
            }
            return Err(no_connection());
        };
        if let Err(error) = &begun {
            self.mark_broken();
            if is_locked(error) {
                // No other process holds the lock for this long. After a failed unlock, this
                // process keeps SQLite's lock until it has closed the file completely.
                self.pool.registry.health.report_failure("the file stays locked");
                self.pool.registry.distrust_all();
            }
        }
        begun.map(drop)
    }

    /// Ends a transaction by `COMMIT` or `ROLLBACK`. Neither succeeds outside a transaction on
    /// SQLite. After an error the connection is closed, which undoes what is still open.
    pub(super) async fn end_transaction(&mut self, statement: &'static str) -> Result<(), DbErr> {
        let ended = self.execute_unprepared(statement).await;
        match (&ended, self.object.as_deref_mut()) {
            (Ok(_), Some(connection)) => connection.in_transaction = false,
            _ => self.mark_broken(),
        }
        ended.map(drop)
    }

    /// Whether an error was seen after which the connection is closed.
    pub(super) fn is_broken(&self) -> bool {
        self.object.as_deref().is_none_or(|connection| connection.broken)
    }

    fn mark_broken(&mut self) {
        if let Some(connection) = self.object.as_deref_mut() {
            connection.broken = true;
        }
    }
}

impl ConnectionPool {
    /// Notes how a statement that `began` then has ended; none where it did not end in time.
    fn end_statement<T>(
        &self,
        connection: &mut PooledConnection,
        answer: Option<Result<T, sqlx::Error>>,
        began: Instant,
    ) -> Result<T, sqlx::Error> {
        let Some(answer) = answer else {
            // The database's own time limit is shorter: so the server does not answer any more.
            connection.broken = true;
            self.registry.distrust_all();
            return Err(timed_out("a statement", self.statement_timeout));
        };
        connection.busy = false;
        // SQLite tries for ten seconds to get a lock that the operating system refuses, and
        // PostgreSQL waits for a lock as long as a statement may take.
        if answer.as_ref().is_err_and(waited_in_vain) {
            RequestConnections::note_waited(began.elapsed());
        }
        if let Err(error) = &answer
            && !keeps_connection(error)
        {
            connection.broken = true;
            if let Some(reason) = storage_failure(error) {
                self.registry.health.report_failure(reason);
            }
            if error.as_database_error().is_none() || needs_closed_file(error) {
                self.registry.distrust_all();
            }
        }
        answer
    }
}

/// The answer of a statement on SQLite, which is interrupted when it takes longer than `limit`;
/// none where it does not even end then.
async fn run_interruptible<T>(
    limit: Duration,
    interrupt: &AtomicBool,
    statement: impl Future<Output = Result<T, sqlx::Error>>,
) -> Option<Result<T, sqlx::Error>> {
    let mut statement = std::pin::pin!(statement);
    if let Ok(answer) = timeout(limit, &mut statement).await {
        return Some(answer);
    }
    interrupt.store(true, Ordering::Relaxed);
    let answer = timeout(ABANDON_TIMEOUT, &mut statement).await.ok();
    interrupt.store(false, Ordering::Relaxed);
    answer
}

impl Drop for PoolGuard {
    fn drop(&mut self) {
        let Some(object) = self.object.take() else { return };
        let distrusted = self.generation != self.pool.registry.generation.load(Ordering::Relaxed);
        if object.broken || (distrusted && !object.busy && !object.in_transaction) {
            close_detached(Object::take(object));
        } else if object.busy || object.in_transaction {
            match tokio::runtime::Handle::try_current() {
                Ok(runtime) => RequestConnections::note_abandoned(
                    runtime.spawn(end_abandoned_work(object, self.pool.clone())),
                ),
                Err(_) => drop(Object::take(object)),
            }
        }
    }
}

tokio::task_local! {
    static REQUEST: RequestConnections;
    static BACKGROUND: ();
}

/// Carries out `work` over the connections of background work. A task that it spawns is not part of
/// it: the task says so itself.
pub fn in_background<F: Future>(work: F) -> impl Future<Output = F::Output> + use<F> {
    BACKGROUND.scope((), work)
}

/// Whether this is background work.
pub(super) fn is_in_background() -> bool {
    BACKGROUND.try_with(|()| ()).is_ok()
}

/// What one request does with connections.
#[derive(Debug, Clone, Default)]
pub struct RequestConnections {
    /// What ends the statements and transactions that it left behind when it was broken off.
    abandoned: Arc<Mutex<Vec<JoinHandle<()>>>>,
    waits: Arc<Mutex<RequestWaits>>,
}

/// How long a request has waited for connections. Parts of it that wait at the same time wait once.
#[derive(Debug, Default)]
struct RequestWaits {
    ended: Duration,
    waiting: usize,
    since: Option<Instant>,
}

/// A wait of a request, until it is dropped.
struct RequestWait(Arc<Mutex<RequestWaits>>);

impl RequestWait {
    /// Begins one; tells how much time the request has left to wait.
    fn begin(waits: Arc<Mutex<RequestWaits>>) -> (Self, Duration) {
        let left = {
            let mut waits = waits.lock().unwrap_or_else(PoisonError::into_inner);
            waits.waiting += 1;
            let since = *waits.since.get_or_insert_with(Instant::now);
            REQUEST_WAIT_LIMIT.saturating_sub(waits.ended + since.elapsed())
        };
        (Self(waits), left)
    }
}

impl Drop for RequestWait {
    fn drop(&mut self) {
        let mut waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waits.waiting -= 1;
        if waits.waiting == 0 {
            let last = waits.since.take().map_or(Duration::ZERO, |since| since.elapsed());
            waits.ended += last;
        }
    }
}

impl RequestConnections {
    /// Carries out a request, whose waits are counted and whose abandoned statements are noted
    /// here.
    pub fn scope_request<F: Future>(&self, request: F) -> impl Future<Output = F::Output> + use<F> {
        REQUEST.scope(self.clone(), request)
    }

    /// Waits until everything that was abandoned is cancelled and undone.
    pub async fn end_abandoned(&self) {
        let ending =
            std::mem::take(&mut *self.abandoned.lock().unwrap_or_else(PoisonError::into_inner));
        for handle in ending {
            // Its own time limits end it.
            let _ = handle.await;
        }
    }

    /// Counts a wait that has ended, unless it is counted already as a part of another one.
    fn note_waited(waited: Duration) {
        // Background work has no limit of this kind.
        let _ = REQUEST.try_with(|request| {
            let mut waits = request.waits.lock().unwrap_or_else(PoisonError::into_inner);
            if waits.waiting == 0 {
                waits.ended += waited;
            }
        });
    }

    fn note_abandoned(handle: JoinHandle<()>) {
        // Work that no request waits for goes on by itself.
        let _ = REQUEST.try_with(|request| {
            request.abandoned.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
        });
    }
}

/// Waits for something that the database gives, for so long as one wait may take and the request
/// has left.
pub(super) async fn wait_within_request<F: Future>(wait: impl FnOnce(Duration) -> F) -> F::Output {
    let Ok(waits) = REQUEST.try_with(|request| request.waits.clone()) else {
        return wait(ACQUIRE_TIMEOUT).await;
    };
    let (_wait, left) = RequestWait::begin(waits);
    wait(left.min(ACQUIRE_TIMEOUT)).await
}

/// Ends what a client left behind that has gone: its statement is cancelled and its transaction
/// undone. The connection keeps its slot in the pool until then, so that clients that disconnect do
/// not open more and more connections.
async fn end_abandoned_work(mut object: Object<ConnectionManager>, pool: ConnectionPool) {
    let connection = &mut *object;
    let ended = async {
        if connection.busy {
            match &connection.driver {
                DriverConnection::Postgres(_, backend) => {
                    cancel_backend(pool.pool.manager(), *backend).await?
                }
                DriverConnection::Sqlite(_, interrupt) => interrupt.store(true, Ordering::Relaxed),
            }
            // Answered only when the statement has ended.
            connection.ping().await?;
            if let DriverConnection::Sqlite(_, interrupt) = &connection.driver {
                interrupt.store(false, Ordering::Relaxed);
            }
        }
        if connection.in_transaction {
            match &mut connection.driver {
                DriverConnection::Postgres(connection, _) => {
                    connection.execute("ROLLBACK").await.map(drop)?
                }
                DriverConnection::Sqlite(connection, _) => {
                    connection.execute("ROLLBACK").await.map(drop)?
                }
            }
        }
        Ok::<_, sqlx::Error>(())
    };
    match timeout(ABANDON_TIMEOUT, ended).await {
        Ok(Ok(())) => {
            let connection = &mut *object;
            (connection.busy, connection.in_transaction) = (false, false);
        }
        _ => Object::take(object).close().await,
    }
}

/// Asks PostgreSQL to cancel what a backend does, over a connection of its own.
async fn cancel_backend(manager: &ConnectionManager, backend: i32) -> Result<(), sqlx::Error> {
    let ConnectionManager::Postgres(options) = manager else { return Ok(()) };
    let mut connection = PgConnection::connect_with(options).await?;
    connection.execute(sqlx::query("SELECT pg_cancel_backend($1)").bind(backend)).await?;
    connection.close().await
}

fn bind_statement<D: Database>(statement: Statement) -> Query<'static, D, SqlxValues>
where
    SqlxValues: IntoArguments<D>,
{
    // Every statement consists of text from the source code; values are bound.
    let values = statement.values.unwrap_or(sea_orm::Values(Vec::new()));
    sqlx::query_with(AssertSqlSafe(statement.sql), SqlxValues(values))
}

fn exec_failed(error: sqlx::Error) -> DbErr {
    DbErr::Exec(RuntimeErr::SqlxError(error.into()))
}

pub(super) fn query_failed(error: sqlx::Error) -> DbErr {
    DbErr::Query(RuntimeErr::SqlxError(error.into()))
}
