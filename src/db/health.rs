//! Whether the database takes writes. Every connection reports here; readiness, attention and
//! metrics read it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A recovery counts only this long after the last failure: on a full disk a small write may find
/// room while others do not.
const CALM_BEFORE_RECOVERY: Duration = Duration::from_secs(1);

/// Why the database does not take writes, in one line for an operator; none while it takes them.
#[derive(Debug, Clone, Default)]
pub struct StorageHealth(Arc<Mutex<Option<StorageFailure>>>);

#[derive(Debug)]
struct StorageFailure {
    reason: String,
    last_seen: Instant,
}

impl StorageHealth {
    /// Notes why writes fail. The first reason is kept, and is logged once.
    pub fn report_failure(&self, reason: impl Into<String>) {
        let mut known = self.lock_failure();
        if let Some(failure) = &mut *known {
            failure.last_seen = Instant::now();
            return;
        }
        let reason = reason.into();
        tracing::error!(reason, "the database does not take writes");
        *known = Some(StorageFailure { reason, last_seen: Instant::now() });
    }

    /// Notes that a write was committed and read back.
    pub fn report_recovery(&self) {
        if self
            .lock_failure()
            .take_if(|failure| failure.last_seen.elapsed() >= CALM_BEFORE_RECOVERY)
            .is_some()
        {
            tracing::info!("the database takes writes again");
        }
    }

    /// Why the database does not take writes.
    pub fn current_failure(&self) -> Option<String> {
        self.lock_failure().as_ref().map(|failure| failure.reason.clone())
    }

    fn lock_failure(&self) -> MutexGuard<'_, Option<StorageFailure>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
