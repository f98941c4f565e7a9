//! The core of all buffers: what is noted under a lock, drained, written in one batch, and put back
//! where it could not be written.

use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

/// What a buffer keeps, and how it is taken out and put back.
pub trait BufferContent: Default {
    /// What is written at once.
    type Batch;

    /// Takes what was noted since the last call. `now` says what is too old to be kept.
    fn drain(&mut self, now: DateTime<Utc>) -> Self::Batch;

    /// Puts back what was drained and could not be written. What was noted meanwhile is later.
    fn restore(&mut self, rest: Self::Batch);
}

/// A buffer: noted in memory, written in batches.
#[derive(Debug, Default)]
pub struct WriteBehind<T> {
    noted: Mutex<T>,
    /// Held while a batch is written: a task that gets it finds all earlier ones in the database.
    writing: tokio::sync::Mutex<()>,
}

impl<T: BufferContent> WriteBehind<T> {
    /// What is noted, to read it or to add to it.
    pub(super) fn lock(&self) -> MutexGuard<'_, T> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what was noted since the last call.
    pub fn drain(&self, now: DateTime<Utc>) -> T::Batch {
        self.lock().drain(now)
    }

    /// Puts back what was drained and could not be written.
    pub fn restore(&self, rest: T::Batch) {
        self.lock().restore(rest);
    }

    /// Writes what was noted since the last flush, after every flush that has begun. `write`
    /// removes from the batch what it has written; if it fails, the rest is written by the next
    /// flush.
    ///
    /// # Errors
    /// Those of `write`.
    pub async fn flush<E>(
        &self,
        now: DateTime<Utc>,
        write: impl AsyncFnOnce(&mut T::Batch) -> Result<(), E>,
    ) -> Result<(), E> {
        let _alone = self.writing.lock().await;
        let mut batch = self.drain(now);
        let written = write(&mut batch).await;
        if written.is_err() {
            self.restore(batch);
        }
        written
    }
}
