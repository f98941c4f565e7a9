//! Leases: the right of one server to carry something out. A lease is taken and judged by the database's clock, and
//! each step under it holds only while its holder does: whoever takes a lease over waits for the step that is being
//! written, and no step of the holder before is written after that.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::sea_query::{Expr, ExprTrait, IntoColumnRef};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement, Value};
use uuid::Uuid;

use super::Store;

/// A table whose rows are leases, or have one.
#[derive(Debug)]
pub struct LeaseTable {
    name: &'static str,
    /// The column that, within an organization, names a row.
    key: &'static str,
    /// Whether a row can still be held.
    open: &'static str,
}

/// Jobs of many operations.
pub static BULK_JOBS: LeaseTable = LeaseTable { name: "bulk_job", key: "id", open: "finished_at IS NULL" };
/// Runs that read the source of a connection.
pub static SYNC_RUNS: LeaseTable = LeaseTable { name: "sync_run", key: "id", open: "finished_at IS NULL" };
/// Failed writes that are tried again.
pub static FAILURES: LeaseTable = LeaseTable { name: "failure", key: "id", open: "finished_at IS NULL" };
/// Requests with an idempotency key. What a request began may go on after its answer was kept.
pub static IDEMPOTENCY_KEYS: LeaseTable = LeaseTable { name: "idempotency", key: "name", open: "TRUE" };
/// Tasks that run once at a time in an organization.
pub static TASKS: LeaseTable = LeaseTable { name: "lease", key: "name", open: "TRUE" };

/// A lease that was taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Lease {
    table: &'static LeaseTable,
    organization: Uuid,
    key: Value,
    holder: Uuid,
}

impl PartialEq for LeaseTable {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Lease {
    /// The lease on the row `key` of `table`, which `holder` has taken.
    pub fn new(table: &'static LeaseTable, organization: Uuid, key: impl Into<Value>, holder: Uuid) -> Self {
        Self { table, organization, key: key.into(), holder }
    }

    /// Who has taken it.
    pub fn holder(&self) -> Uuid {
        self.holder
    }

    /// The condition that finds the lease's row while it is held; its values are added to `values`.
    pub fn condition(&self, values: &mut Vec<Value>) -> String {
        let first = values.len() + 1;
        values.extend([self.organization.into(), self.key.clone(), self.holder.into()]);
        let LeaseTable { key, open, .. } = self.table;
        format!("organization_id = ${first} AND {key} = ${} AND holder = ${} AND {open}", first + 1, first + 2)
    }

    /// A query that finds a row while the lease is held. On PostgreSQL it keeps others from taking the lease over until
    /// the end of the transaction.
    pub fn query(&self, backend: DbBackend, values: &mut Vec<Value>) -> String {
        let lock = if backend == DbBackend::Postgres { " FOR SHARE" } else { "" };
        format!("SELECT 1 FROM {} WHERE {}{lock}", self.table.name, self.condition(values))
    }

    /// Whether the lease is held, to the end of the transaction.
    ///
    /// # Errors
    /// The database's own.
    pub async fn is_held<C: ConnectionTrait>(&self, db: &C) -> Result<bool, DbErr> {
        let (backend, mut values) = (db.get_database_backend(), Vec::new());
        let text = self.query(backend, &mut values);
        Ok(db.query_one_raw(Statement::from_sql_and_values(backend, text, values)).await?.is_some())
    }

    /// Changes the lease's row by `set` while it is held: extends or releases it, and notes what goes with that. The
    /// row's values of `set` are the first ones of `values`. False when it is not held any more.
    ///
    /// # Errors
    /// The database's own.
    pub async fn update<C: ConnectionTrait>(&self, db: &C, set: &str, mut values: Vec<Value>) -> Result<bool, DbErr> {
        let text = self.update_text(set, &mut values);
        let update = Statement::from_sql_and_values(db.get_database_backend(), text, values);
        Ok(db.execute_raw(update).await?.rows_affected() > 0)
    }

    /// The statement of [`Lease::update`].
    pub fn update_text(&self, set: &str, values: &mut Vec<Value>) -> String {
        format!("UPDATE {} SET {set} WHERE {}", self.table.name, self.condition(values))
    }
}

impl Store {
    /// Takes or keeps the right to do a task of the whole installation's for so long; false while another process has it.
    /// One that has died loses it then.
    ///
    /// # Errors
    /// The database's own.
    pub async fn lease(&self, task: &str, holder: Uuid, time: DatabaseTime, lasts: TimeDelta) -> Result<bool, DbErr> {
        let mut values = vec![task.into(), holder.into()];
        let (now, until) = (time.now(&mut values), time.after(lasts, &mut values));
        let text = format!(
            "INSERT INTO task_lease (name, holder, until) VALUES ($1, $2, {until}) ON CONFLICT (name) \
             DO UPDATE SET holder = excluded.holder, until = excluded.until \
             WHERE task_lease.until <= {now} OR task_lease.holder = excluded.holder"
        );
        let take = Statement::from_sql_and_values(self.backend(), text, values);
        Ok(self.write.execute_raw(take).await?.rows_affected() > 0)
    }
}

/// The database's time, as an expression of SQL. What tests have added to the time is in it; SQLite, which is one
/// process on one machine, is told the process's.
#[derive(Debug, Clone, Copy)]
pub struct DatabaseTime {
    backend: DbBackend,
    now: DateTime<Utc>,
    ahead: TimeDelta,
}

impl DatabaseTime {
    pub(crate) fn new(backend: DbBackend, now: DateTime<Utc>, ahead: TimeDelta) -> Self {
        Self { backend, now, ahead }
    }

    fn value(self, after: TimeDelta) -> Value {
        match self.backend {
            DbBackend::Postgres => (self.ahead + after).num_microseconds().unwrap_or_default().into(),
            _ => (self.now + after).into(),
        }
    }

    fn text(self, number: usize) -> String {
        match self.backend {
            DbBackend::Postgres => {
                format!("(clock_timestamp() + CAST(${number} AS bigint) * interval '1 microsecond')")
            }
            _ => format!("${number}"),
        }
    }

    /// The instant `after` from now; its value is added to `values`.
    pub fn after(self, after: TimeDelta, values: &mut Vec<Value>) -> String {
        values.push(self.value(after));
        self.text(values.len())
    }

    /// Now; its value is added to `values`.
    pub fn now(self, values: &mut Vec<Value>) -> String {
        self.after(TimeDelta::zero(), values)
    }

    /// [`DatabaseTime::after`] where a statement is built.
    pub fn expression(self, after: TimeDelta) -> Expr {
        match self.backend {
            DbBackend::Postgres => Expr::cust_with_values(self.text(1), [self.value(after)]),
            _ => Expr::value(self.value(after)),
        }
    }

    /// Whether the instant in `column` has passed.
    pub fn has_passed(self, column: impl IntoColumnRef) -> Expr {
        Expr::col(column).lte(self.expression(TimeDelta::zero()))
    }

    /// Whether the instant in `column` is still to come.
    pub fn is_to_come(self, column: impl IntoColumnRef) -> Expr {
        Expr::col(column).gt(self.expression(TimeDelta::zero()))
    }
}
