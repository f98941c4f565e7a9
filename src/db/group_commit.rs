//! Writes on SQLite that go to the disk together. There is one writer; writes that wait for their
//! turn while another one is at work join its transaction, each in a savepoint of its own, and one
//! commit makes all of them durable.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use sea_orm::{ConnAcquireErr, ConnectionTrait, DbErr};
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};
use tokio::time::timeout;
use tracing::Span;
use tracing::field::Empty;

use super::database::Db;
use super::pool::wait_within_request;
use super::transaction::Transaction;
use crate::trace_context::{SPAN_TARGET, TraceContext};

/// Writes that one commit makes durable: so many that waiting for the disk is a small part of each.
const MAX_BATCH: usize = 64;

/// The transaction that writes on SQLite share. The write that holds the lock is at work.
#[derive(Debug, Default)]
pub(super) struct GroupCommit {
    open: Arc<Mutex<Option<WriteBatch>>>,
    /// When the open one began, in microseconds; 0 = none is open.
    since: AtomicI64,
}

/// Answers to a write: whether the commit that made it durable succeeded.
pub type CommitResult = oneshot::Receiver<Result<(), DbErr>>;

/// Writes that become durable together. Dropped, it undoes all of them: none of their clients has
/// been answered, and each of them writes again.
#[derive(Debug)]
struct WriteBatch {
    transaction: Transaction,
    answers: Vec<oneshot::Sender<Result<(), DbErr>>>,
    /// Whether the last write in it has a savepoint still.
    savepoint: bool,
    /// From the beginning of the transaction to its end.
    span: Span,
}

/// The turn of one write in a batch.
#[derive(Debug)]
pub struct WriteSlot {
    place: OwnedMutexGuard<Option<WriteBatch>>,
    answers: Vec<oneshot::Sender<Result<(), DbErr>>>,
    savepoint: bool,
    span: Span,
}

impl WriteBatch {
    /// Ends it: everything in it is on disk, or nothing. Every write is answered after the
    /// database's own answer.
    async fn finish_batch(self) {
        if self.answers.is_empty() {
            // Nothing was written. A connection that cannot even undo nothing is closed.
            let _ = self.transaction.rollback().await;
            return;
        }
        let batched = self.answers.len() > 1;
        self.span.record("db.operation.batch.size", batched.then_some(self.answers.len()));
        let done = self.transaction.commit().await;
        if done.is_err() {
            self.span.record("otel.status_code", "ERROR");
        }
        for answer in self.answers {
            // The receiver is closed if the client has gone meanwhile.
            let _ = answer.send(done.clone());
        }
    }
}

impl WriteSlot {
    /// Keeps what this write did, or undoes it, and lets the next write begin. A write that is kept
    /// is done when the returned receiver says so; when the receiver is closed without a result, it
    /// was rolled back and may be tried again.
    ///
    /// # Errors
    /// The database's own; then the whole batch is undone.
    pub async fn finish_write(
        mut self,
        transaction: Transaction,
        keep: bool,
    ) -> Result<Option<CommitResult>, DbErr> {
        // Before the first write of a batch there is nothing to keep.
        let alone = self.answers.is_empty();
        if !keep && alone {
            transaction.rollback().await?;
            return Ok(None);
        }
        if !keep {
            transaction.execute_unprepared("ROLLBACK TO one; RELEASE one").await?;
        }
        let committed = keep.then(|| {
            let (answer, committed) = oneshot::channel();
            self.answers.push(answer);
            committed
        });
        *self.place = Some(WriteBatch {
            transaction,
            answers: self.answers,
            savepoint: self.savepoint && keep,
            span: self.span,
        });
        Ok(committed)
    }
}

impl GroupCommit {
    /// Begins a write at `micros`, in the open batch or in a new one.
    ///
    /// # Errors
    /// The database's own. Nothing of this write was done then.
    pub(super) async fn begin_write(
        self: &Arc<Self>,
        db: &Db,
        micros: i64,
    ) -> Result<(WriteSlot, Transaction), DbErr> {
        let mut place = wait_within_request(|limit| timeout(limit, self.open.clone().lock_owned()))
            .await
            .map_err(|_| DbErr::ConnectionAcquire(ConnAcquireErr::Timeout))?;
        if place.as_ref().is_some_and(|batch| batch.answers.len() >= MAX_BATCH)
            && let Some(full) = place.take()
        {
            full.finish_batch().await;
        }
        if let Some(WriteBatch { transaction, answers, savepoint: before, span }) = place.take() {
            if let Some(cause) = TraceContext::current() {
                cause.link_span(&span);
            }
            let savepoint = !answers.is_empty();
            match (savepoint, before) {
                (false, _) => {}
                (true, false) => transaction.execute_unprepared("SAVEPOINT one").await.map(drop)?,
                // The savepoint of the write before, which was kept.
                (true, true) => {
                    transaction.execute_unprepared("RELEASE one; SAVEPOINT one").await.map(drop)?
                }
            }
            return Ok((WriteSlot { place, answers, savepoint, span }, transaction));
        }
        let span = batch_span();
        let transaction = db.begin_transaction().await?;
        self.since.store(micros, Ordering::Release);
        // It queues behind the writes that wait already: they join the batch, and a later one is
        // the next batch's.
        let this = self.clone();
        tokio::spawn(async move {
            let mut place = this.open.lock().await;
            if let Some(batch) = place.take() {
                batch.finish_batch().await;
            }
            this.since.store(0, Ordering::Release);
        });
        Ok((WriteSlot { place, answers: Vec::new(), savepoint: false, span }, transaction))
    }

    /// When the open batch began, in microseconds, if one is open.
    pub(super) fn oldest_open_write(&self) -> Option<i64> {
        Some(self.since.load(Ordering::Acquire)).filter(|since| *since != 0)
    }
}

/// The span of a batch: a child of the work that writes first. That of later writes is linked.
fn batch_span() -> Span {
    let span = tracing::debug_span!(
        target: SPAN_TARGET,
        parent: None,
        "statement batch",
        otel.kind = "client",
        otel.name = "COMMIT",
        otel.status_code = Empty,
        db.system.name = "sqlite",
        db.operation.name = "COMMIT",
        db.operation.batch.size = Empty,
    );
    if let Some(cause) = TraceContext::current() {
        cause.adopt_span(&span);
    }
    span
}
