//! Whether the database takes writes. Every connection reports here; readiness, attention and metrics read it.

use std::sync::{Arc, Mutex, PoisonError};

/// What stands in the way of writes, in one line for an operator; none while nothing is known to.
#[derive(Debug, Clone, Default)]
pub struct StorageHealth(Arc<Mutex<Option<String>>>);

impl StorageHealth {
    /// Notes what stands in the way. The first reason stays, and is logged once.
    pub fn report_failure(&self, reason: impl Into<String>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none() {
            let reason = reason.into();
            tracing::error!(reason, "the database does not take writes");
            *known = Some(reason);
        }
    }

    /// Notes that a write was committed and read back.
    pub fn report_recovery(&self) {
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            tracing::info!("the database takes writes again");
        }
    }

    /// What stands in the way of writes.
    pub fn failure(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
