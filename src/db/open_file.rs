//! How many connections this process has open to SQLite's file. What they share, the locks and the
//! index of the log, is made anew only when all of them are closed at the same time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// How long new connections wait for the end of all others: work that holds one connection and
/// needs another must not wait for itself.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// SQLite's file, as this process has it open.
#[derive(Debug, Clone, Default)]
pub(super) struct OpenFile(Arc<FileState>);

#[derive(Debug, Default)]
struct FileState {
    counts: Mutex<ConnectionCounts>,
    /// How often the file was to be closed completely.
    closings: AtomicU64,
    closed: Notify,
}

#[derive(Debug, Default)]
struct ConnectionCounts {
    open: usize,
    /// Until when new connections wait for the end of all others.
    closing_until: Option<Instant>,
}

/// A connection to the file, until it is dropped.
#[derive(Debug)]
pub(super) struct OpenConnection {
    file: Arc<FileState>,
    closings: u64,
}

impl OpenFile {
    /// From now on no connection opens before all others are closed, or a second has passed.
    pub(super) fn begin_closing(&self) {
        self.0.closings.fetch_add(1, Ordering::AcqRel);
        self.0.lock_counts().closing_until = Some(Instant::now() + CLOSE_WAIT);
    }

    /// Counts a connection that is about to be opened, when it may be.
    pub(super) async fn count_connection(&self) -> OpenConnection {
        loop {
            let mut closed = std::pin::pin!(self.0.closed.notified());
            closed.as_mut().enable();
            let until = {
                let mut counts = self.0.lock_counts();
                match counts.closing_until.filter(|until| Instant::now() < *until) {
                    Some(until) if counts.open > 0 => until,
                    _ => {
                        counts.closing_until = None;
                        counts.open += 1;
                        let closings = self.0.closings.load(Ordering::Acquire);
                        return OpenConnection { file: self.0.clone(), closings };
                    }
                }
            };
            // Whichever comes first, the counts say what holds.
            let _ = timeout_at(until, closed).await;
        }
    }
}

impl FileState {
    fn lock_counts(&self) -> MutexGuard<'_, ConnectionCounts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenConnection {
    /// Whether the file was to be closed completely since this connection was opened.
    pub(super) fn is_outdated(&self) -> bool {
        self.closings != self.file.closings.load(Ordering::Acquire)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let mut counts = self.file.lock_counts();
        counts.open -= 1;
        if counts.open == 0 {
            self.file.closed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn new_connections_wait_for_the_last() {
        let file = OpenFile::default();
        let (first, second) = (file.count_connection().await, file.count_connection().await);
        file.begin_closing();
        assert!(first.is_outdated() && second.is_outdated());
        let mut third = Box::pin(file.count_connection());
        assert!(third.as_mut().now_or_never().is_none());
        drop(first);
        assert!(third.as_mut().now_or_never().is_none(), "one is still open");
        drop(second);
        let third = third.now_or_never().expect("all are closed");
        assert!(!third.is_outdated());
        assert!(file.count_connection().now_or_never().is_some(), "the file is open again");
    }

    #[tokio::test]
    async fn connections_that_stay_open_delay_others_briefly() {
        let file = OpenFile::default();
        let stays = file.count_connection().await;
        let began = Instant::now();
        file.begin_closing();
        let other = file.count_connection().await;
        let waited = began.elapsed();
        assert!(waited >= CLOSE_WAIT && waited < CLOSE_WAIT * 5, "{waited:?}");
        assert!(stays.is_outdated() && !other.is_outdated());
    }
}
