//! Statements that many tasks need at the same time, batched into one.
//!
//! A small statement costs PostgreSQL less than what surrounds it: a round trip, opening tables and
//! indexes, a commit. So tasks that run the same query for different rows share one statement,
//! whose parameters are arrays with an element for each task. No task waits for others to join: a
//! query that comes while a statement runs goes into the next one. While a statement is slow,
//! because a row is locked or the disk is slow, another one runs beside it.
//!
//! A statement is one text for any number of queries: it begins with the values as rows of `q`
//! (`SqlBuilder::into_batched_parts`) and returns with each row the number of its query. An error
//! fails all queries of a statement; where one query's values may be the cause, each query runs
//! again alone. The connections join by nested loops over indexes, whatever the statistics say: a
//! batch is small, and tables grow while plans stay cached.

use std::collections::{HashMap, HashSet, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sea_orm::{DbErr, QueryResult, RuntimeErr, Value};
use sqlx::postgres::{PgArguments, PgConnectOptions, PgRow};
use sqlx::types::Json;
use sqlx::{Arguments, AssertSqlSafe, Row};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::field::Empty;
use tracing::{Instrument, Span};
use uuid::Uuid;

use super::database::{BATCHED_STATEMENT_TIMEOUT, QueryListener};
use super::failure::timed_out;
use super::pool::{ConnectionManager, ConnectionPool, PoolRegistry, query_failed};
use crate::trace_context::{SPAN_TARGET, TraceContext, follow_causes};

/// The most statements at once; all but one of them are slow.
const MAX_CONCURRENT: usize = 6;
/// A statement that runs for longer than this counts as slow.
const SLOW_AFTER: Duration = Duration::from_millis(10);
/// How long a query waits for its answer: for the statement before it, for a connection, and for
/// its own statement.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// The most queries in one statement.
const MAX_BATCH: usize = 32;

/// The queries that wait for each statement, and the connections that run them.
#[derive(Debug)]
pub(super) struct QueryBatcher {
    /// What its statements do, as `db.operation.name` has it.
    operation: &'static str,
    pool: ConnectionPool,
    waiting: Mutex<WaitingQueries>,
}

#[derive(Debug, Default)]
struct WaitingQueries {
    /// The queries that wait for each text; no list is empty.
    askers: HashMap<Arc<str>, VecDeque<PendingQuery>>,
    /// The texts with waiting queries, in the order of their waiting time, the longest first.
    order: VecDeque<Arc<str>>,
    /// How many workers run, and how many of them with a slow statement.
    running: usize,
    slow: usize,
}

#[derive(Debug)]
struct PendingQuery {
    values: Vec<Value>,
    /// The row that it writes: two queries that write the same row are not batched together.
    row: Option<Uuid>,
    /// It is never batched with others.
    alone: bool,
    /// The work that needs it.
    cause: Option<TraceContext>,
    answer: oneshot::Sender<BatchAnswer>,
}

#[derive(Debug)]
enum BatchAnswer {
    Rows(Vec<QueryResult>),
    Failed(DbErr),
    /// The whole batch was refused, perhaps because of another query: run it again alone.
    Again(Vec<Value>),
}

impl QueryBatcher {
    pub(super) fn new(
        operation: &'static str,
        options: PgConnectOptions,
        registry: &PoolRegistry,
    ) -> Result<Self, DbErr> {
        let options = options.options([
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
            ("enable_seqscan", "off"),
            ("jit", "off"),
            ("plan_cache_mode", "force_generic_plan"),
            // A query that waits for a locked row must not delay the others of its batch.
            ("lock_timeout", "200ms"),
        ]);
        let manager = ConnectionManager::postgres(options);
        let pool =
            ConnectionPool::new(manager, MAX_CONCURRENT, BATCHED_STATEMENT_TIMEOUT, registry)?;
        Ok(Self { operation, pool, waiting: Mutex::default() })
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    /// The rows that a batched statement returns for `values`; `row` is the row that it writes, if
    /// it writes one.
    pub(super) async fn submit_query(
        self: &Arc<Self>,
        listener: &QueryListener,
        text: &str,
        row: Option<Uuid>,
        mut values: Vec<Value>,
    ) -> Result<Vec<QueryResult>, DbErr> {
        for alone in [false, true] {
            let (answer, answered) = oneshot::channel();
            let cause = TraceContext::current();
            self.enqueue_query(listener, text, PendingQuery { values, row, alone, cause, answer });
            match timeout(ANSWER_TIMEOUT, answered).await {
                Ok(Ok(BatchAnswer::Rows(rows))) => return Ok(rows),
                Ok(Ok(BatchAnswer::Failed(error))) => return Err(error),
                Ok(Ok(BatchAnswer::Again(same))) => values = same,
                // The statement may still be running.
                Err(_) => return Err(query_failed(timed_out("a statement", ANSWER_TIMEOUT))),
                Ok(Err(_)) => break,
            }
        }
        Err(DbErr::Custom("a statement was given up".into()))
    }

    fn enqueue_query(self: &Arc<Self>, listener: &QueryListener, text: &str, asker: PendingQuery) {
        let mut waiting = self.lock_waiting();
        match waiting.askers.get_mut(text) {
            Some(askers) => askers.push_back(asker),
            None => {
                let text: Arc<str> = text.into();
                waiting.order.push_back(text.clone());
                waiting.askers.insert(text, [asker].into());
            }
        }
        self.see_to(&mut waiting, listener);
    }

    /// Starts a worker if queries wait and every running worker is slow.
    fn see_to(self: &Arc<Self>, waiting: &mut WaitingQueries, listener: &QueryListener) {
        if !waiting.order.is_empty()
            && waiting.running == waiting.slow
            && waiting.running < MAX_CONCURRENT
        {
            waiting.running += 1;
            let runner = BatchWorker { gather: self.clone(), at_work: true, slow: false };
            // In a task of its own: when a client disconnects, the answers of the others must not
            // be lost.
            tokio::spawn(runner.run_worker(listener.clone()));
        }
    }

    fn lock_waiting(&self) -> MutexGuard<'_, WaitingQueries> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn carry_out(
        &self,
        listener: &QueryListener,
        text: Arc<str>,
        mut askers: Vec<PendingQuery>,
    ) {
        // In one order everywhere, so that two statements do not wait for each other's rows.
        askers.sort_by_key(|asker| asker.row);
        let span = self.batch_span(&text, &mut askers);
        match self.execute_batch(listener, text, &askers).instrument(span.clone()).await {
            Ok(rows) => {
                for (asker, rows) in askers.into_iter().zip(rows) {
                    // The receiver is closed if the client has gone meanwhile.
                    let _ = asker.answer.send(BatchAnswer::Rows(rows));
                }
            }
            Err(error) => {
                span.record("otel.status_code", "ERROR");
                let again = askers.len() > 1 && of_one(&error);
                for asker in askers {
                    let answer = if again {
                        BatchAnswer::Again(asker.values)
                    } else {
                        BatchAnswer::Failed(error.clone())
                    };
                    let _ = asker.answer.send(answer);
                }
            }
        }
    }

    /// The span of a batch: a child of the first query's work, with links to that of the others.
    fn batch_span(&self, text: &str, askers: &mut [PendingQuery]) -> Span {
        let span = tracing::debug_span!(
            target: SPAN_TARGET,
            parent: None,
            "statement batch",
            otel.kind = "client",
            otel.name = Empty,
            otel.status_code = Empty,
            db.system.name = "postgresql",
            db.operation.name = Empty,
            db.operation.batch.size = Empty,
            // The text has no values: those are parameters.
            db.query.text = text,
        );
        if !span.is_disabled() {
            let batched = askers.len() > 1;
            let name =
                if batched { format!("BATCH {}", self.operation) } else { self.operation.into() };
            span.record("otel.name", &*name);
            span.record("db.operation.name", &*name);
            // By the conventions one operation is no batch.
            span.record("db.operation.batch.size", batched.then_some(askers.len()));
            follow_causes(&span, askers.iter_mut().filter_map(|asker| asker.cause.take()));
        }
        span
    }

    /// The rows of each query.
    async fn execute_batch(
        &self,
        listener: &QueryListener,
        text: Arc<str>,
        askers: &[PendingQuery],
    ) -> Result<Vec<Vec<QueryResult>>, DbErr> {
        let arguments = array_arguments(askers)?;
        listener.notify_query(&text);
        let mut connection = self.pool.acquire().await?;
        let found =
            connection.fetch_postgres(sqlx::query_with(AssertSqlSafe(text), arguments)).await;
        let mut rows: Vec<Vec<QueryResult>> = askers.iter().map(|_| Vec::new()).collect();
        for row in found.map_err(query_failed)? {
            let n: i64 = PgRow::try_get(&row, "n").map_err(query_failed)?;
            let of = usize::try_from(n - 1).ok().and_then(|n| rows.get_mut(n));
            of.ok_or_else(|| {
                DbErr::Custom(format!("a row for query {n} of the batch, which does not exist"))
            })?
            .push(row.into());
        }
        Ok(rows)
    }
}

/// A worker that runs waiting queries until there are none.
#[derive(Debug)]
struct BatchWorker {
    gather: Arc<QueryBatcher>,
    at_work: bool,
    slow: bool,
}

impl BatchWorker {
    async fn run_worker(mut self, listener: QueryListener) {
        while let Some((text, askers)) = self.next_batch() {
            let gather = self.gather.clone();
            let mut statement = pin!(gather.carry_out(&listener, text, askers));
            if timeout(SLOW_AFTER, &mut statement).await.is_err() {
                self.takes_long(&listener);
                statement.await;
            }
        }
    }

    fn takes_long(&mut self, listener: &QueryListener) {
        let mut waiting = self.gather.lock_waiting();
        waiting.slow += 1;
        self.slow = true;
        self.gather.see_to(&mut waiting, listener);
    }

    fn next_batch(&mut self) -> Option<(Arc<str>, Vec<PendingQuery>)> {
        let mut waiting = self.gather.lock_waiting();
        waiting.slow -= usize::from(std::mem::take(&mut self.slow));
        // With two workers, each batch would be half as large.
        let another = waiting.running - waiting.slow > 1;
        while !another && let Some(text) = waiting.order.pop_front() {
            let Some((text, askers)) = waiting.askers.remove_entry(&text) else { continue };
            let (together, later) = partition_batch(askers);
            if !later.is_empty() {
                waiting.order.push_back(text.clone());
                waiting.askers.insert(text.clone(), later);
            }
            if !together.is_empty() {
                return Some((text, together));
            }
        }
        waiting.running -= 1;
        self.at_work = false;
        None
    }
}

impl Drop for BatchWorker {
    fn drop(&mut self) {
        if self.at_work {
            let mut waiting = self.gather.lock_waiting();
            waiting.running -= 1;
            waiting.slow -= usize::from(self.slow);
        }
    }
}

/// Splits the queries into the next batch and those that stay. A query whose client has gone is
/// dropped.
fn partition_batch(askers: VecDeque<PendingQuery>) -> (Vec<PendingQuery>, VecDeque<PendingQuery>) {
    let (mut together, mut later): (Vec<PendingQuery>, _) = (Vec::new(), VecDeque::new());
    let mut rows = HashSet::new();
    for asker in askers.into_iter().filter(|asker| !asker.answer.is_closed()) {
        let full = match together.first() {
            Some(first) => first.alone || asker.alone || together.len() == MAX_BATCH,
            None => false,
        };
        if full || asker.row.is_some_and(|row| !rows.insert(row)) {
            later.push_back(asker);
        } else {
            together.push(asker);
        }
    }
    (together, later)
}

/// Whether the values of one query may be the cause of the error (SQLSTATE classes 22 and 23).
fn of_one(error: &DbErr) -> bool {
    let DbErr::Query(RuntimeErr::SqlxError(error)) = error else { return false };
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
}

/// An array for each value, with an element for each query.
fn array_arguments(askers: &[PendingQuery]) -> Result<PgArguments, DbErr> {
    let mut arguments = PgArguments::default();
    let Some(first) = askers.first() else { return Ok(arguments) };
    for (n, kind) in first.values.iter().enumerate() {
        let column = askers.iter().map(|asker| asker.values.get(n));
        macro_rules! array {
            ($kind:ident, $value:ident => $element:expr) => {{
                let elements = column.map(|value| match value {
                    Some(Value::$kind(Some($value))) => Some($element),
                    _ => None,
                });
                arguments.add(elements.collect::<Vec<_>>())
            }};
        }
        let added = match kind {
            Value::Bool(_) => array!(Bool, value => *value),
            Value::Int(_) => array!(Int, value => *value),
            Value::BigInt(_) => array!(BigInt, value => *value),
            Value::Uuid(_) => array!(Uuid, value => *value),
            Value::ChronoDateTimeUtc(_) => array!(ChronoDateTimeUtc, value => *value),
            Value::String(_) => array!(String, value => value.as_str()),
            Value::Bytes(_) => array!(Bytes, value => value.as_slice()),
            Value::Json(_) => array!(Json, value => Json(&**value)),
            other => return Err(DbErr::Custom(format!("no array is made of {other:?}"))),
        };
        added.map_err(|error| DbErr::Custom(error.to_string()))?;
    }
    Ok(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pending query and the receiver of its answer.
    fn asker(row: Option<u128>, alone: bool) -> (PendingQuery, oneshot::Receiver<BatchAnswer>) {
        let (answer, told) = oneshot::channel();
        let (row, cause) = (row.map(Uuid::from_u128), None);
        (PendingQuery { values: Vec::new(), row, alone, cause, answer }, told)
    }

    fn rows<'a>(askers: impl IntoIterator<Item = &'a PendingQuery>) -> Vec<u128> {
        askers.into_iter().filter_map(|asker| asker.row).map(|row| row.as_u128()).collect()
    }

    #[test]
    fn no_two_who_write_one_row_go_together() {
        let (askers, _told): (Vec<_>, Vec<_>) =
            [1, 2, 1, 3, 2, 1].map(|row| asker(Some(row), false)).into_iter().unzip();
        let (together, later) = partition_batch(askers.into());
        assert_eq!((rows(&together), rows(&later)), (vec![1, 2, 3], vec![1, 2, 1]));
        let (askers, _told): (Vec<_>, Vec<_>) =
            (0..MAX_BATCH + 3).map(|_| asker(None, false)).unzip();
        let (together, later) = partition_batch(askers.into());
        assert_eq!(
            (together.len(), later.len()),
            (MAX_BATCH, 3),
            "those who read go together, up to a number"
        );
    }

    #[test]
    fn lone_and_abandoned_queries_stay_apart() {
        let people = [(1, false), (2, true), (3, false), (4, true), (5, false)];
        let (askers, mut told): (Vec<_>, Vec<_>) =
            people.map(|(row, alone)| asker(Some(row), alone)).into_iter().unzip();
        drop(told.pop());
        let (together, later) = partition_batch(askers.into());
        assert_eq!((rows(&together), rows(&later)), (vec![1, 3], vec![2, 4]));
        let (together, later) = partition_batch(later);
        assert_eq!((rows(&together), rows(&later)), (vec![2], vec![4]));
    }
}
