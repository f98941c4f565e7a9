//! Statements that many ask for at the same time, gathered into one.
//!
//! A small statement costs PostgreSQL less than what surrounds it: a round trip, opening tables and indexes, a commit. So
//! those who ask the same of different rows share one statement, whose parameters are arrays with an element for each of
//! them. Nobody waits for company: whoever comes while a statement is on its way goes along with the next one. One that
//! takes long, because a row is locked or the disk is slow, gets another beside it.
//!
//! A statement is one text for any number of askers: it begins with [`askers`] and says for each row that it answers whose
//! it is. Whoever is refused takes the others along; where that may be one asker's fault, each asks again alone. The
//! connections join by nested loops over indexes, whatever the statistics say: askers are few, and tables grow faster
//! than plans do.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt::Write as _;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sea_orm::{DbErr, QueryResult, RuntimeErr, Value};
use sqlx::postgres::{PgArguments, PgConnectOptions, PgRow};
use sqlx::types::Json;
use sqlx::{Arguments, AssertSqlSafe, Row};
use tokio::sync::oneshot;
use tokio::time::timeout;
use uuid::Uuid;

use super::db::{BATCHED_STATEMENT_TIMEOUT, Listener};
use super::failure::timed_out;
use super::pool::{ConnectionManager, ConnectionPool, PoolRegistry, query_failed};

/// Statements at once, when all but one take long.
const AT_ONCE: usize = 6;
/// What takes longer than this takes long.
const LONG: Duration = Duration::from_millis(10);
/// How long one that asks waits for its answer: for a statement before it, for a connection, and for its own.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Askers in one statement.
const MOST: usize = 32;

/// How a gathered statement begins: `q` has a row for each asker, with its values from `v1` on, and its number as `n`.
pub fn askers(values: usize) -> String {
    let mut text = String::with_capacity(64 + values * 10);
    text.push_str("WITH q AS (SELECT * FROM unnest(");
    for n in 1..=values {
        let _ = write!(text, "{}${n}", if n == 1 { "" } else { ", " });
    }
    text.push_str(") WITH ORDINALITY AS q(");
    for n in 1..=values {
        let _ = write!(text, "v{n}, ");
    }
    text.push_str("n))");
    text
}

/// Appends a piece of a statement whose `$1` is the value `{sign}{known + 1}` of the whole.
pub fn numbered(text: &mut String, piece: &str, sign: &str, known: usize) {
    let mut pieces = piece.split('$');
    text.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let digits = piece.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = piece.split_at(digits);
        let _ = match number.parse::<usize>() {
            Ok(number) => write!(text, "{sign}{}{rest}", number + known),
            Err(_) => write!(text, "${piece}"),
        };
    }
}

/// Who waits for which statement, and the connections that carry them out.
#[derive(Debug)]
pub(super) struct Gather {
    pool: ConnectionPool,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Those who wait for each text; none is empty.
    askers: HashMap<Arc<str>, VecDeque<Asker>>,
    /// The texts that somebody waits for, the longest first.
    order: VecDeque<Arc<str>>,
    /// How many are at work, and how many of them with a statement that takes long.
    running: usize,
    slow: usize,
}

#[derive(Debug)]
struct Asker {
    values: Vec<Value>,
    /// The row that it writes: two who write the same one do not go together.
    row: Option<Uuid>,
    /// Goes with nobody.
    alone: bool,
    answer: oneshot::Sender<Answer>,
}

#[derive(Debug)]
enum Answer {
    Rows(Vec<QueryResult>),
    Failed(DbErr),
    /// All of them were refused, perhaps for the sake of another: ask again alone.
    Again(Vec<Value>),
}

impl Gather {
    pub(super) fn new(options: PgConnectOptions, registry: &PoolRegistry) -> Result<Self, DbErr> {
        let options = options.options([
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
            ("enable_seqscan", "off"),
            ("jit", "off"),
            ("plan_cache_mode", "force_generic_plan"),
            // Whoever waits for a row that somebody else has locked must not keep the others waiting.
            ("lock_timeout", "200ms"),
        ]);
        let manager = ConnectionManager::postgres(options);
        let pool = ConnectionPool::new(manager, AT_ONCE, BATCHED_STATEMENT_TIMEOUT, registry)?;
        Ok(Self { pool, waiting: Mutex::default() })
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    /// The rows that a gathered statement answers to one who brings `values` and writes `row`, if it writes.
    pub(super) async fn ask(
        self: &Arc<Self>,
        listener: &Listener,
        text: &str,
        row: Option<Uuid>,
        mut values: Vec<Value>,
    ) -> Result<Vec<QueryResult>, DbErr> {
        for alone in [false, true] {
            let (answer, told) = oneshot::channel();
            self.queue(listener, text, Asker { values, row, alone, answer });
            match timeout(ANSWER_TIMEOUT, told).await {
                Ok(Ok(Answer::Rows(rows))) => return Ok(rows),
                Ok(Ok(Answer::Failed(error))) => return Err(error),
                Ok(Ok(Answer::Again(same))) => values = same,
                // It may be on its way.
                Err(_) => return Err(query_failed(timed_out("a statement", ANSWER_TIMEOUT))),
                Ok(Err(_)) => break,
            }
        }
        Err(DbErr::Custom("a statement was given up".into()))
    }

    fn queue(self: &Arc<Self>, listener: &Listener, text: &str, asker: Asker) {
        let mut waiting = self.lock();
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

    /// Sees to it that somebody is there for those who wait.
    fn see_to(self: &Arc<Self>, waiting: &mut Waiting, listener: &Listener) {
        if !waiting.order.is_empty() && waiting.running == waiting.slow && waiting.running < AT_ONCE {
            waiting.running += 1;
            let runner = Runner { gather: self.clone(), at_work: true, slow: false };
            // Apart from who asks: one who goes away in the middle must not take the others' answers along.
            tokio::spawn(runner.run(listener.clone()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn carry_out(&self, listener: &Listener, text: Arc<str>, mut askers: Vec<Asker>) {
        // In one order everywhere, so that two statements do not wait for each other's rows.
        askers.sort_by_key(|asker| asker.row);
        match self.execute(listener, text, &askers).await {
            Ok(rows) => {
                for (asker, rows) in askers.into_iter().zip(rows) {
                    // Whoever has gone meanwhile does not hear it.
                    let _ = asker.answer.send(Answer::Rows(rows));
                }
            }
            Err(error) => {
                let again = askers.len() > 1 && of_one(&error);
                for asker in askers {
                    let answer = if again { Answer::Again(asker.values) } else { Answer::Failed(error.clone()) };
                    let _ = asker.answer.send(answer);
                }
            }
        }
    }

    /// The rows of each asker.
    async fn execute(
        &self,
        listener: &Listener,
        text: Arc<str>,
        askers: &[Asker],
    ) -> Result<Vec<Vec<QueryResult>>, DbErr> {
        let arguments = arguments(askers)?;
        listener.hear(&text);
        let mut connection = self.pool.acquire().await?;
        let found = connection.fetch_postgres(sqlx::query_with(AssertSqlSafe(text), arguments)).await;
        let mut rows: Vec<Vec<QueryResult>> = askers.iter().map(|_| Vec::new()).collect();
        for row in found.map_err(query_failed)? {
            let n: i64 = PgRow::try_get(&row, "n").map_err(query_failed)?;
            let of = usize::try_from(n - 1).ok().and_then(|n| rows.get_mut(n));
            of.ok_or_else(|| DbErr::Custom(format!("an answer to asker {n}, whom there is not")))?.push(row.into());
        }
        Ok(rows)
    }
}

/// One that carries out what is waited for, until nothing is.
#[derive(Debug)]
struct Runner {
    gather: Arc<Gather>,
    at_work: bool,
    slow: bool,
}

impl Runner {
    async fn run(mut self, listener: Listener) {
        while let Some((text, askers)) = self.next() {
            let gather = self.gather.clone();
            let mut statement = pin!(gather.carry_out(&listener, text, askers));
            if timeout(LONG, &mut statement).await.is_err() {
                self.takes_long(&listener);
                statement.await;
            }
        }
    }

    fn takes_long(&mut self, listener: &Listener) {
        let mut waiting = self.gather.lock();
        waiting.slow += 1;
        self.slow = true;
        self.gather.see_to(&mut waiting, listener);
    }

    fn next(&mut self) -> Option<(Arc<str>, Vec<Asker>)> {
        let mut waiting = self.gather.lock();
        waiting.slow -= usize::from(std::mem::take(&mut self.slow));
        // Two would have half the company each.
        let another = waiting.running - waiting.slow > 1;
        while !another && let Some(text) = waiting.order.pop_front() {
            let Some((text, askers)) = waiting.askers.remove_entry(&text) else { continue };
            let (together, later) = company(askers);
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

impl Drop for Runner {
    fn drop(&mut self) {
        if self.at_work {
            let mut waiting = self.gather.lock();
            waiting.running -= 1;
            waiting.slow -= usize::from(self.slow);
        }
    }
}

/// Who goes together, and who goes later. Whoever is not there any more goes nowhere.
fn company(askers: VecDeque<Asker>) -> (Vec<Asker>, VecDeque<Asker>) {
    let (mut together, mut later): (Vec<Asker>, _) = (Vec::new(), VecDeque::new());
    let mut rows = HashSet::new();
    for asker in askers.into_iter().filter(|asker| !asker.answer.is_closed()) {
        let full = match together.first() {
            Some(first) => first.alone || asker.alone || together.len() == MOST,
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

/// Whether one asker's values may be what the database refused (SQLSTATE classes 22 and 23).
fn of_one(error: &DbErr) -> bool {
    let DbErr::Query(RuntimeErr::SqlxError(error)) = error else { return false };
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
}

/// An array for each value, with an element for each asker.
fn arguments(askers: &[Asker]) -> Result<PgArguments, DbErr> {
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

    /// Somebody who asks, and who is told.
    fn asker(row: Option<u128>, alone: bool) -> (Asker, oneshot::Receiver<Answer>) {
        let (answer, told) = oneshot::channel();
        (Asker { values: Vec::new(), row: row.map(Uuid::from_u128), alone, answer }, told)
    }

    fn rows<'a>(askers: impl IntoIterator<Item = &'a Asker>) -> Vec<u128> {
        askers.into_iter().filter_map(|asker| asker.row).map(|row| row.as_u128()).collect()
    }

    #[test]
    fn no_two_who_write_one_row_go_together() {
        let (askers, _told): (Vec<_>, Vec<_>) =
            [1, 2, 1, 3, 2, 1].map(|row| asker(Some(row), false)).into_iter().unzip();
        let (together, later) = company(askers.into());
        assert_eq!((rows(&together), rows(&later)), (vec![1, 2, 3], vec![1, 2, 1]));
        let (askers, _told): (Vec<_>, Vec<_>) = (0..MOST + 3).map(|_| asker(None, false)).unzip();
        let (together, later) = company(askers.into());
        assert_eq!((together.len(), later.len()), (MOST, 3), "those who read go together, up to a number");
    }

    #[test]
    fn whoever_goes_alone_goes_alone_and_whoever_has_gone_not_at_all() {
        let people = [(1, false), (2, true), (3, false), (4, true), (5, false)];
        let (askers, mut told): (Vec<_>, Vec<_>) =
            people.map(|(row, alone)| asker(Some(row), alone)).into_iter().unzip();
        drop(told.pop());
        let (together, later) = company(askers.into());
        assert_eq!((rows(&together), rows(&later)), (vec![1, 3], vec![2, 4]));
        let (together, later) = company(later);
        assert_eq!((rows(&together), rows(&later)), (vec![2], vec![4]));
    }

    #[test]
    fn values_are_counted_on_and_other_dollars_are_left_alone() {
        let mut text = askers(2);
        numbered(&mut text, " SELECT $1, '$.a', $12 FROM q", "q.v", 3);
        assert_eq!(
            text,
            "WITH q AS (SELECT * FROM unnest($1, $2) WITH ORDINALITY AS q(v1, v2, n)) SELECT q.v4, '$.a', q.v15 FROM q"
        );
    }
}
