//! The write that was answered last.

use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

/// The write that was answered last. Once a second a worker reads it back over another connection.
#[derive(Debug, Default)]
pub struct LastCommit(Mutex<Option<(Uuid, Uuid)>>);

impl LastCommit {
    /// Notes that the ledger row `event` of an organization was committed.
    pub fn note_commit(&self, organization: Uuid, event: Uuid) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((organization, event));
    }

    /// Takes what was noted since the last call: an organization, and its ledger row.
    pub fn take_commit(&self) -> Option<(Uuid, Uuid)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
