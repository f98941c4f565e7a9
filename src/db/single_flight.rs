//! Equal queries at the same time, run once.
//!
//! An identity provider sends requests in parallel with one token, and each of them has to be
//! authenticated. A query is answered by a statement that began after the query was submitted,
//! never by an older one: so a token that was revoked before a request came is refused. Queries
//! that wait share the next statement.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sea_orm::{ConnAcquireErr, ConnectionTrait, DbErr, QueryResult, Statement};
use tokio::time::timeout;

use super::Db;

/// How long a query waits for the statement before it, which began too early to answer it.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// A query: its text, and the value of its `$1`.
type QueryKey = (&'static str, Vec<u8>);

/// The queries that are in progress.
#[derive(Debug, Default)]
pub(super) struct SingleFlight(Mutex<HashMap<QueryKey, Arc<InFlight>>>);

#[derive(Debug, Default)]
struct InFlight {
    /// How many callers there were so far.
    asked: AtomicU64,
    /// Held during a statement, which has a time limit.
    answer: tokio::sync::Mutex<SharedAnswer>,
}

/// The last answer, and how many callers there were when its statement began.
#[derive(Debug)]
struct SharedAnswer {
    covers: u64,
    rows: Result<Arc<Vec<QueryResult>>, DbErr>,
}

impl Default for SharedAnswer {
    /// The answer for no caller yet.
    fn default() -> Self {
        Self { covers: 0, rows: Ok(Arc::default()) }
    }
}

/// A caller that waits; the last one removes the query from the map.
struct WaiterGuard<'a> {
    alike: &'a SingleFlight,
    key: QueryKey,
    question: Arc<InFlight>,
}

impl SingleFlight {
    pub(super) async fn query_shared(
        &self,
        db: &Db,
        text: &'static str,
        value: Vec<u8>,
    ) -> Result<Arc<Vec<QueryResult>>, DbErr> {
        let key = (text, value);
        let question = self.lock_in_flight().entry(key.clone()).or_default().clone();
        let asker = WaiterGuard { alike: self, key, question };
        let InFlight { asked, answer } = &*asker.question;
        let before_me = asked.fetch_add(1, Ordering::SeqCst);
        let mut answer = timeout(LOCK_TIMEOUT, answer.lock())
            .await
            .map_err(|_| DbErr::ConnectionAcquire(ConnAcquireErr::Timeout))?;
        if answer.covers <= before_me {
            let covers = asked.load(Ordering::SeqCst);
            let (text, value) = asker.key.clone();
            let statement =
                Statement::from_sql_and_values(db.get_database_backend(), text, [value.into()]);
            // An error is shared too: one that takes long must not be waited for by one after
            // another.
            *answer = SharedAnswer {
                covers,
                rows: db.query_again_if_lost(statement).await.map(Arc::new),
            };
        }
        answer.rows.clone()
    }

    fn lock_in_flight(&self) -> MutexGuard<'_, HashMap<QueryKey, Arc<InFlight>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for WaiterGuard<'_> {
    fn drop(&mut self) {
        let mut open = self.alike.lock_in_flight();
        // The two references are the map's and this one: no other caller can get one meanwhile.
        if Arc::strong_count(&self.question) == 2 {
            open.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{DatabaseTime, Store};

    const TEXT: &str = "SELECT count(*) AS n FROM task_lease WHERE CAST($1 AS BLOB) IS NOT NULL";

    async fn store(folder: &tempfile::TempDir) -> Store {
        let store =
            Store::open_database(&format!("sqlite://{}", folder.path().join("alike.db").display()))
                .await
                .unwrap();
        store.apply_migrations().await.unwrap();
        store
    }

    fn count(rows: &[QueryResult]) -> i64 {
        rows.first().unwrap().try_get("", "n").unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_answer_includes_all_earlier_writes() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        // Others ask all the time, so that there is nearly always a question on its way.
        let (asking, others) = (store.clone(), tokio::sync::watch::Sender::new(false));
        let stop = others.subscribe();
        let crowd: Vec<_> = (0..8)
            .map(|_| {
                let (store, stop) = (asking.clone(), stop.clone());
                tokio::spawn(async move {
                    while !*stop.borrow() {
                        store.query_coalesced(TEXT, vec![1]).await.unwrap();
                    }
                })
            })
            .collect();
        for n in 1..=200_i64 {
            let (name, zero) = (format!("task {n}"), chrono::TimeDelta::zero());
            let time = DatabaseTime::new(store.backend(), chrono::DateTime::UNIX_EPOCH, zero);
            assert!(store.take_task_lease(&name, uuid::Uuid::nil(), time, zero).await.unwrap());
            assert_eq!(count(&store.query_coalesced(TEXT, vec![1]).await.unwrap()), n);
        }
        others.send_replace(true);
        for one in crowd {
            one.await.unwrap();
        }
        assert!(store.alike.lock_in_flight().is_empty(), "no query is in flight");
    }

    #[tokio::test]
    async fn waiting_callers_share_one_statement() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = store(&folder).await;
        let heard = Arc::new(AtomicU64::new(0));
        let count = heard.clone();
        store.authentication.on_query(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
        });
        let statements = || heard.swap(0, Ordering::SeqCst);
        let ask = |value: u8| store.query_coalesced(TEXT, vec![value]);
        {
            let before = hold(&store, TEXT);
            let turn = before.answer.lock().await;
            let mut gone = Box::pin(ask(1));
            let mut crowd = futures_util::future::join_all((0..16).map(|_| ask(1)));
            assert!(futures_util::poll!(&mut gone).is_pending());
            assert!(futures_util::poll!(&mut crowd).is_pending());
            drop(gone);
            drop(turn);
            drop(before);
            assert!(crowd.await.iter().all(Result::is_ok));
        }
        assert_eq!(statements(), 1, "sixteen callers wait, and one gave up");
        futures_util::future::join_all((0..16).map(ask)).await;
        assert_eq!(statements(), 16, "other values are other questions");
        {
            const WRONG: &str = "SELECT nothing FROM nowhere WHERE $1 IS NULL";
            let before = hold(&store, WRONG);
            let turn = before.answer.lock().await;
            let mut crowd = futures_util::future::join_all(
                (0..16).map(|_| store.query_coalesced(WRONG, vec![1])),
            );
            assert!(futures_util::poll!(&mut crowd).is_pending());
            drop(turn);
            drop(before);
            assert!(crowd.await.iter().all(Result::is_err));
        }
        assert_eq!(statements(), 1, "what fails, fails once for all sixteen");
        assert!(store.alike.lock_in_flight().is_empty());
    }

    /// The query with this text and the value 1, as if a caller had begun it.
    fn hold(store: &Store, text: &'static str) -> Arc<InFlight> {
        store.alike.lock_in_flight().entry((text, vec![1])).or_default().clone()
    }
}
