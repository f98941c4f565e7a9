//! The same question asked by many at the same time, asked once.
//!
//! An identity provider sends its requests side by side under one token, and each of them has to be let in. Whoever asks
//! is answered by a statement that began after it asked, never by an older one: what was revoked before a request came
//! opens nothing for it. Those who wait for their turn share the statement that comes next.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sea_orm::{ConnAcquireErr, ConnectionTrait, DbErr, QueryResult, Statement};
use tokio::time::timeout;

use super::Db;

/// How long a question waits for the statement before it, which cannot answer it.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// A question: its text, and the value of its `$1`.
type Key = (&'static str, Vec<u8>);

/// The questions that are being asked.
#[derive(Debug, Default)]
pub(super) struct Alike(Mutex<HashMap<Key, Arc<Question>>>);

#[derive(Debug, Default)]
struct Question {
    /// How many have asked so far.
    asked: AtomicU64,
    /// Held during a statement, which has a time limit.
    answer: tokio::sync::Mutex<Answer>,
}

/// The last answer, and how many had asked when its statement began.
#[derive(Debug)]
struct Answer {
    covers: u64,
    rows: Result<Arc<Vec<QueryResult>>, DbErr>,
}

impl Default for Answer {
    /// Nobody's.
    fn default() -> Self {
        Self { covers: 0, rows: Ok(Arc::default()) }
    }
}

/// Somebody who asks; the last one takes the question away.
struct Asker<'a> {
    alike: &'a Alike,
    key: Key,
    question: Arc<Question>,
}

impl Alike {
    pub(super) async fn ask(
        &self,
        db: &Db,
        text: &'static str,
        value: Vec<u8>,
    ) -> Result<Arc<Vec<QueryResult>>, DbErr> {
        let key = (text, value);
        let question = self.lock().entry(key.clone()).or_default().clone();
        let asker = Asker { alike: self, key, question };
        let Question { asked, answer } = &*asker.question;
        let before_me = asked.fetch_add(1, Ordering::SeqCst);
        let mut answer = timeout(LOCK_TIMEOUT, answer.lock())
            .await
            .map_err(|_| DbErr::ConnectionAcquire(ConnAcquireErr::Timeout))?;
        if answer.covers <= before_me {
            let covers = asked.load(Ordering::SeqCst);
            let (text, value) = asker.key.clone();
            let statement = Statement::from_sql_and_values(db.get_database_backend(), text, [value.into()]);
            // An error is shared too: one that takes long must not be waited for by one after another.
            *answer = Answer { covers, rows: db.query_again_if_lost(statement).await.map(Arc::new) };
        }
        answer.rows.clone()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Question>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Asker<'_> {
    fn drop(&mut self) {
        let mut open = self.alike.lock();
        // The map's and this one's: nobody else can get one meanwhile.
        if Arc::strong_count(&self.question) == 2 {
            open.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{DatabaseTime, Store};

    const TEXT: &str = "SELECT count(*) AS n FROM task_lease WHERE CAST($1 AS BLOB) IS NOT NULL";

    async fn store(folder: &tempfile::TempDir) -> Store {
        let store = Store::open(&format!("sqlite://{}", folder.path().join("alike.db").display())).await.unwrap();
        store.migrate().await.unwrap();
        store
    }

    fn count(rows: &[QueryResult]) -> i64 {
        rows.first().unwrap().try_get("", "n").unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_happened_before_somebody_asked_is_in_the_answer() {
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
                        store.ask_alike(TEXT, vec![1]).await.unwrap();
                    }
                })
            })
            .collect();
        for n in 1..=200_i64 {
            let (name, zero) = (format!("task {n}"), chrono::TimeDelta::zero());
            let time = DatabaseTime::new(store.backend(), chrono::DateTime::UNIX_EPOCH, zero);
            assert!(store.lease(&name, uuid::Uuid::nil(), time, zero).await.unwrap());
            assert_eq!(count(&store.ask_alike(TEXT, vec![1]).await.unwrap()), n);
        }
        others.send_replace(true);
        for one in crowd {
            one.await.unwrap();
        }
        assert!(store.alike.lock().is_empty(), "nobody asks any more");
    }

    #[tokio::test]
    async fn those_who_wait_share_a_statement_and_whoever_goes_leaves_the_others_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = store(&folder).await;
        let heard = Arc::new(AtomicU64::new(0));
        let count = heard.clone();
        store.authentication.overhear(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
        });
        let statements = || heard.swap(0, Ordering::SeqCst);
        let ask = |value: u8| store.ask_alike(TEXT, vec![value]);
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
        assert_eq!(statements(), 1, "sixteen wait, and somebody who gave up");
        futures_util::future::join_all((0..16).map(ask)).await;
        assert_eq!(statements(), 16, "other values are other questions");
        {
            const WRONG: &str = "SELECT nothing FROM nowhere WHERE $1 IS NULL";
            let before = hold(&store, WRONG);
            let turn = before.answer.lock().await;
            let mut crowd = futures_util::future::join_all((0..16).map(|_| store.ask_alike(WRONG, vec![1])));
            assert!(futures_util::poll!(&mut crowd).is_pending());
            drop(turn);
            drop(before);
            assert!(crowd.await.iter().all(Result::is_err));
        }
        assert_eq!(statements(), 1, "what fails, fails once for all sixteen");
        assert!(store.alike.lock().is_empty());
    }

    /// The question of that text with the value 1, as if somebody had begun to ask it.
    fn hold(store: &Store, text: &'static str) -> Arc<Question> {
        store.alike.lock().entry((text, vec![1])).or_default().clone()
    }
}
