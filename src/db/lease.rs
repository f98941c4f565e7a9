//! Leases: the right of one server to carry something out. A lease is taken and checked by the
//! database's clock, and each write under it succeeds only while its holder holds it: a server that
//! takes a lease over waits for the write in progress, and the previous holder writes nothing after
//! that.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::sea_query::{Expr, ExprTrait, IntoColumnRef};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement, TryGetable, Value};
use uuid::Uuid;

use super::Store;
use super::sql::bind_value;

/// A table whose rows are leases, or have one.
#[derive(Debug)]
pub struct LeaseTable {
    name: &'static str,
    /// The column that, within an organization, names a row.
    key: &'static str,
    /// Whether a row can still be held.
    open: &'static str,
    /// Whether no process holds an open row, by the database's clock: `{now}` stands for its time.
    free: &'static str,
}

/// [`LeaseTable::free`] of rows that are made with the end of a lease.
const FREE_AFTER_END: &str = "until <= {now}";
/// [`LeaseTable::free`] of rows that have no end of a lease until they are claimed.
const FREE_WITHOUT_END: &str = "(until IS NULL OR until <= {now})";

/// Jobs of many operations.
pub static BULK_JOBS: LeaseTable =
    LeaseTable { name: "bulk_job", key: "id", open: "finished_at IS NULL", free: FREE_AFTER_END };
/// Runs that read the source of a connection.
pub static SYNC_RUNS: LeaseTable =
    LeaseTable { name: "sync_run", key: "id", open: "finished_at IS NULL", free: FREE_AFTER_END };
/// Deletions of all accounts that came through SCIM.
pub static DELETION_JOBS: LeaseTable = LeaseTable {
    name: "deletion_job",
    key: "id",
    open: "finished_at IS NULL",
    free: FREE_AFTER_END,
};
/// SCIM requests that are carried out after their answer.
pub static ASYNC_REQUESTS: LeaseTable =
    LeaseTable { name: "async_request", key: "id", open: "TRUE", free: FREE_AFTER_END };
/// Failed writes that are tried again.
pub static FAILURES: LeaseTable =
    LeaseTable { name: "failure", key: "id", open: "finished_at IS NULL", free: FREE_WITHOUT_END };
/// Requests with an idempotency key. What a request began may go on after its answer was kept.
pub static IDEMPOTENCY_KEYS: LeaseTable =
    LeaseTable { name: "idempotency", key: "name", open: "TRUE", free: FREE_AFTER_END };
/// Tasks that run once at a time in an organization.
pub static TASKS: LeaseTable =
    LeaseTable { name: "lease", key: "name", open: "TRUE", free: FREE_AFTER_END };
/// Tasks that run once at a time in the whole installation.
static INSTALLATION_TASKS: LeaseTable =
    LeaseTable { name: "task_lease", key: "name", open: "TRUE", free: FREE_AFTER_END };

/// What a claim asks and changes beside the lease itself.
#[derive(Debug)]
pub struct LeaseClaim {
    /// How long the lease lasts unless it is renewed.
    pub lasts: TimeDelta,
    /// What makes a row due.
    pub due: String,
    /// The values of `due`, from $1 on.
    pub due_values: Vec<Value>,
    /// What is changed with the claim, as assignments; may be empty.
    pub set: String,
    /// The values of `set`, numbered after those of `due`.
    pub set_values: Vec<Value>,
}

/// A row that was claimed from a queue.
#[derive(Debug)]
pub struct ClaimedRow {
    pub organization: Uuid,
    pub id: Uuid,
    pub lease: Lease,
}

/// A lease that was taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Lease {
    table: &'static LeaseTable,
    /// None for what the whole installation does once.
    organization: Option<Uuid>,
    key: Value,
    holder: Uuid,
}

impl PartialEq for LeaseTable {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl LeaseTable {
    /// Claims the first due row that no process holds, in the order of the column `order`.
    ///
    /// # Errors
    /// The database's own.
    pub async fn claim_next<C: ConnectionTrait>(
        &'static self,
        db: &C,
        time: DatabaseTime,
        claim: &LeaseClaim,
        order: &str,
    ) -> Result<Option<ClaimedRow>, DbErr> {
        let backend = db.get_database_backend();
        loop {
            let mut values = claim.due_values.clone();
            let free = self.free_condition(time, &mut values);
            let Self { name, key, open, .. } = self;
            let text = format!(
                "SELECT organization_id, {key} FROM {name} WHERE {open} AND {free} AND {} \
                 ORDER BY {order} LIMIT 1",
                claim.due
            );
            let next = Statement::from_sql_and_values(backend, text, values);
            let Some(row) = db.query_one_raw(next).await? else { return Ok(None) };
            let (organization, id) = (row.try_get("", "organization_id")?, row.try_get("", key)?);
            let lease = Lease::new(self, organization, id, Uuid::now_v7());
            if lease.claim_row(db, time, claim).await? {
                return Ok(Some(ClaimedRow { organization, id, lease }));
            }
            // Another replica was faster: there may be more.
        }
    }

    /// [`LeaseTable::free`] with its value, which is added to `values`.
    fn free_condition(&self, time: DatabaseTime, values: &mut Vec<Value>) -> String {
        self.free.replace("{now}", &time.current_timestamp_sql(values))
    }
}

impl Lease {
    /// The lease on the row `key` of `table`, which `holder` has taken.
    pub fn new(
        table: &'static LeaseTable,
        organization: Uuid,
        key: impl Into<Value>,
        holder: Uuid,
    ) -> Self {
        Self { table, organization: Some(organization), key: key.into(), holder }
    }

    /// Who has taken it.
    pub fn holder(&self) -> Uuid {
        self.holder
    }

    /// The condition that finds the lease's row; its values are added to `values`.
    fn row_condition(&self, values: &mut Vec<Value>) -> String {
        let mut condition = String::new();
        if let Some(organization) = self.organization {
            values.push(organization.into());
            condition = format!("organization_id = ${} AND ", values.len());
        }
        values.push(self.key.clone());
        format!("{condition}{} = ${}", self.table.key, values.len())
    }

    /// The condition that finds the lease's row while it is held; its values are added to `values`.
    pub fn held_condition(&self, values: &mut Vec<Value>) -> String {
        let row = self.row_condition(values);
        values.push(self.holder.into());
        format!("{row} AND holder = ${} AND {}", values.len(), self.table.open)
    }

    /// Claims the lease's row for its holder; false if the row is not due or is held.
    ///
    /// # Errors
    /// The database's own.
    pub async fn claim_row<C: ConnectionTrait>(
        &self,
        db: &C,
        time: DatabaseTime,
        claim: &LeaseClaim,
    ) -> Result<bool, DbErr> {
        let mut values = [claim.due_values.as_slice(), claim.set_values.as_slice()].concat();
        let until = time.timestamp_after_sql(claim.lasts, &mut values);
        let row = self.row_condition(&mut values);
        let free = self.table.free_condition(time, &mut values);
        values.push(self.holder.into());
        let text = format!(
            "UPDATE {} SET {}, holder = ${} WHERE {row} AND {} AND {free} AND {}",
            self.table.name,
            with_end(&until, &claim.set),
            values.len(),
            self.table.open,
            claim.due
        );
        let take = Statement::from_sql_and_values(db.get_database_backend(), text, values);
        Ok(db.execute_raw(take).await?.rows_affected() > 0)
    }

    /// Claims the lease's row for its holder for `lasts`, and makes the row if it is missing; false
    /// if another holds it. `reset` are further columns and what they become, as SQL.
    ///
    /// # Errors
    /// The database's own.
    pub async fn claim_or_make_row<C: ConnectionTrait>(
        &self,
        db: &C,
        time: DatabaseTime,
        lasts: TimeDelta,
        reset: &[(&str, &str)],
    ) -> Result<bool, DbErr> {
        let LeaseTable { name, key, .. } = self.table;
        let mut values = Vec::new();
        let (mut columns, mut placeholders) = (key.to_string(), "$1".to_owned());
        if let Some(organization) = self.organization {
            values.push(organization.into());
            (columns, placeholders) = (format!("organization_id, {key}"), "$1, $2".to_owned());
        }
        values.extend([self.key.clone(), self.holder.into()]);
        let holder = values.len();
        let (now, until) =
            (time.current_timestamp_sql(&mut values), time.timestamp_after_sql(lasts, &mut values));
        let names: String = reset.iter().map(|(column, _)| format!(", {column}")).collect();
        let made: String = reset.iter().map(|(_, value)| format!(", {value}")).collect();
        let set: String =
            reset.iter().map(|(column, _)| format!(", {column} = excluded.{column}")).collect();
        let text = format!(
            "INSERT INTO {name} ({columns}, holder, until{names}) \
             VALUES ({placeholders}, ${holder}, {until}{made}) ON CONFLICT ({columns}) \
             DO UPDATE SET holder = excluded.holder, until = excluded.until{set} \
             WHERE {name}.until <= {now} OR {name}.holder = excluded.holder"
        );
        let take = Statement::from_sql_and_values(db.get_database_backend(), text, values);
        Ok(db.execute_raw(take).await?.rows_affected() > 0)
    }

    /// Extends the lease to `lasts` from now on, and changes its row by `set`, assignments that may
    /// be empty; false when it is not held any more. The values of `set` are the first ones of
    /// `values`.
    ///
    /// # Errors
    /// The database's own.
    pub async fn renew<C: ConnectionTrait>(
        &self,
        db: &C,
        time: DatabaseTime,
        lasts: TimeDelta,
        set: &str,
        mut values: Vec<Value>,
    ) -> Result<bool, DbErr> {
        let until = time.timestamp_after_sql(lasts, &mut values);
        self.update_if_held(db, &with_end(&until, set), values).await
    }

    /// [`Lease::renew`], and what `column` of the row then contains; none when the lease is not
    /// held any more.
    ///
    /// # Errors
    /// The database's own.
    pub async fn renew_and_read<C: ConnectionTrait, T: TryGetable>(
        &self,
        db: &C,
        time: DatabaseTime,
        lasts: TimeDelta,
        set: &str,
        mut values: Vec<Value>,
        column: &str,
    ) -> Result<Option<T>, DbErr> {
        let until = time.timestamp_after_sql(lasts, &mut values);
        let text = self.update_text(&with_end(&until, set), &mut values);
        let text = format!("{text} RETURNING {column}");
        let renew = Statement::from_sql_and_values(db.get_database_backend(), text, values);
        db.query_one_raw(renew).await?.map(|row| row.try_get("", column)).transpose()
    }

    /// Ends the lease, so that another process can claim the row at once; changes the row by `set`
    /// as [`Lease::renew`] does.
    ///
    /// # Errors
    /// The database's own.
    pub async fn release<C: ConnectionTrait>(
        &self,
        db: &C,
        time: DatabaseTime,
        set: &str,
        values: Vec<Value>,
    ) -> Result<(), DbErr> {
        self.renew(db, time, TimeDelta::zero(), set, values).await?;
        Ok(())
    }

    /// Deletes the lease's row while it is held.
    ///
    /// # Errors
    /// The database's own.
    pub async fn delete_row<C: ConnectionTrait>(&self, db: &C) -> Result<(), DbErr> {
        let mut values = Vec::new();
        let condition = self.held_condition(&mut values);
        let text = format!("DELETE FROM {} WHERE {condition}", self.table.name);
        let delete = Statement::from_sql_and_values(db.get_database_backend(), text, values);
        db.execute_raw(delete).await?;
        Ok(())
    }

    /// A query that finds a row while the lease is held. On PostgreSQL it keeps others from taking
    /// the lease over until the end of the transaction.
    pub fn held_row_query(&self, backend: DbBackend, values: &mut Vec<Value>) -> String {
        let lock = if backend == DbBackend::Postgres { " FOR SHARE" } else { "" };
        format!("SELECT 1 FROM {} WHERE {}{lock}", self.table.name, self.held_condition(values))
    }

    /// Whether the lease is held, to the end of the transaction.
    ///
    /// # Errors
    /// The database's own.
    pub async fn is_held<C: ConnectionTrait>(&self, db: &C) -> Result<bool, DbErr> {
        let (backend, mut values) = (db.get_database_backend(), Vec::new());
        let text = self.held_row_query(backend, &mut values);
        Ok(db.query_one_raw(Statement::from_sql_and_values(backend, text, values)).await?.is_some())
    }

    /// Changes the lease's row by `set` while it is held. The values of `set` are the first ones of
    /// `values`. False when it is not held any more.
    ///
    /// # Errors
    /// The database's own.
    pub async fn update_if_held<C: ConnectionTrait>(
        &self,
        db: &C,
        set: &str,
        mut values: Vec<Value>,
    ) -> Result<bool, DbErr> {
        let text = self.update_text(set, &mut values);
        let update = Statement::from_sql_and_values(db.get_database_backend(), text, values);
        Ok(db.execute_raw(update).await?.rows_affected() > 0)
    }

    fn update_text(&self, set: &str, values: &mut Vec<Value>) -> String {
        format!("UPDATE {} SET {set} WHERE {}", self.table.name, self.held_condition(values))
    }
}

/// Assignments that set the end of a lease beside `set`, which may be empty.
fn with_end(until: &str, set: &str) -> String {
    let comma = if set.is_empty() { "" } else { ", " };
    format!("until = {until}{comma}{set}")
}

impl Store {
    /// Takes or extends the lease on a task of the whole installation for `lasts`; false while
    /// another process holds it. A process that has died loses it after that time.
    ///
    /// # Errors
    /// The database's own.
    pub async fn take_task_lease(
        &self,
        task: &str,
        holder: Uuid,
        time: DatabaseTime,
        lasts: TimeDelta,
    ) -> Result<bool, DbErr> {
        let lease =
            Lease { table: &INSTALLATION_TASKS, organization: None, key: task.into(), holder };
        lease.claim_or_make_row(&self.write, time, lasts, &[]).await
    }
}

/// The database's time, as an expression of SQL. What tests have added to the time is in it;
/// SQLite, which is one process on one machine, gets the process's.
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

    fn timestamp_value(self, after: TimeDelta) -> Value {
        match self.backend {
            DbBackend::Postgres => {
                (self.ahead + after).num_microseconds().unwrap_or_default().into()
            }
            _ => (self.now + after).into(),
        }
    }

    fn timestamp_sql(self, micros: &str) -> String {
        match self.backend {
            DbBackend::Postgres => {
                format!("(clock_timestamp() + CAST({micros} AS bigint) * interval '1 microsecond')")
            }
            _ => micros.to_owned(),
        }
    }

    /// The instant `after` from now; its value is added to `values`.
    pub fn timestamp_after_sql(self, after: TimeDelta, values: &mut Vec<Value>) -> String {
        let value = bind_value(values, self.timestamp_value(after));
        self.timestamp_sql(&value.to_string())
    }

    /// Now; its value is added to `values`.
    pub fn current_timestamp_sql(self, values: &mut Vec<Value>) -> String {
        self.timestamp_after_sql(TimeDelta::zero(), values)
    }

    /// [`DatabaseTime::timestamp_after_sql`] for a statement that SeaQuery builds.
    pub fn timestamp_expression(self, after: TimeDelta) -> Expr {
        match self.backend {
            DbBackend::Postgres => {
                Expr::cust_with_values(self.timestamp_sql("$1"), [self.timestamp_value(after)])
            }
            _ => Expr::value(self.timestamp_value(after)),
        }
    }

    /// Whether the instant in `column` has passed.
    pub fn has_passed(self, column: impl IntoColumnRef) -> Expr {
        Expr::col(column).lte(self.timestamp_expression(TimeDelta::zero()))
    }

    /// Whether the instant in `column` is still to come.
    pub fn is_to_come(self, column: impl IntoColumnRef) -> Expr {
        Expr::col(column).gt(self.timestamp_expression(TimeDelta::zero()))
    }
}
