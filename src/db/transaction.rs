//! A transaction: a connection that is used by one write alone until it is committed or undone.

use sea_orm::{ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr, Statement};
use tokio::sync::{Mutex, MutexGuard, OwnedSemaphorePermit};

use super::QueryListener;
use super::pool::{ConnectionPool, PoolGuard};

/// An open transaction. Dropped without [`Transaction::commit`], it is undone.
#[derive(Debug)]
pub struct Transaction {
    connection: Box<Mutex<OpenTransaction>>,
    backend: DbBackend,
    listener: QueryListener,
    /// The part of the tenant's share that it takes.
    _permit: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
struct OpenTransaction {
    guard: PoolGuard,
    /// The error after which PostgreSQL would answer a `COMMIT` by a rollback, and without an
    /// error.
    aborted: Option<DbErr>,
}

impl Transaction {
    /// Begins one; on SQLite, a write.
    ///
    /// # Errors
    /// Why it could not begin. Nothing was done then.
    pub(super) async fn begin(
        pool: &ConnectionPool,
        backend: DbBackend,
        listener: &QueryListener,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Self, DbErr> {
        let mut guard = pool.acquire().await?;
        guard.begin().await?;
        let connection = Box::new(Mutex::new(OpenTransaction { guard, aborted: None }));
        Ok(Self { connection, backend, listener: listener.clone(), _permit: permit })
    }

    /// Makes everything durable. The answer comes from the database, and says that it did so
    /// outside any other transaction.
    ///
    /// # Errors
    /// The database's own. Whether the transaction was committed is then not known, unless the
    /// database refused.
    pub async fn commit(self) -> Result<(), DbErr> {
        let mut open = self.connection.into_inner();
        if let Some(error) = open.aborted {
            return Err(error);
        }
        open.guard.end_transaction("COMMIT").await
    }

    /// Undoes everything.
    ///
    /// # Errors
    /// The database's own; the connection is closed then, which undoes everything, too.
    pub async fn rollback(self) -> Result<(), DbErr> {
        self.connection.into_inner().guard.end_transaction("ROLLBACK").await
    }

    async fn lock_open(&self, statement: &str) -> Result<MutexGuard<'_, OpenTransaction>, DbErr> {
        self.listener.notify_query(statement);
        let open = self.connection.lock().await;
        match &open.aborted {
            Some(error) => Err(error.clone()),
            None => Ok(open),
        }
    }

    /// Keeps what ended the transaction. A constraint that SQLite upholds undoes its statement
    /// alone.
    fn note_failure<T>(
        &self,
        open: &mut OpenTransaction,
        answer: Result<T, DbErr>,
    ) -> Result<T, DbErr> {
        if let Err(error) = &answer
            && (self.backend == DbBackend::Postgres || open.guard.is_broken())
            && matches!(
                error,
                DbErr::Exec(RuntimeErr::SqlxError(_)) | DbErr::Query(RuntimeErr::SqlxError(_))
            )
        {
            open.aborted = Some(error.clone());
        }
        answer
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for Transaction {
    fn get_database_backend(&self) -> DbBackend {
        self.backend
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let mut open = self.lock_open(&statement.sql).await?;
        let answer = open.guard.execute(statement).await;
        self.note_failure(&mut open, answer)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        let mut open = self.lock_open(sql).await?;
        let answer = open.guard.execute_unprepared(sql).await;
        self.note_failure(&mut open, answer)
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let mut open = self.lock_open(&statement.sql).await?;
        let answer = open.guard.query_one(statement).await;
        self.note_failure(&mut open, answer)
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let mut open = self.lock_open(&statement.sql).await?;
        let answer = open.guard.query_all(statement).await;
        self.note_failure(&mut open, answer)
    }
}
