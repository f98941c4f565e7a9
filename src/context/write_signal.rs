//! What wakes the worker that follows every write, and which writes the workers follow.

use tokio::sync::Notify;

use crate::trace_context::{PendingCauses, TraceContext};

/// Wakes one worker after writes.
#[derive(Debug, Default)]
pub struct WriteSignal {
    notify: Notify,
    causes: PendingCauses,
    /// The same for the worker that records changes of access, which waits until they are settled.
    unannounced: PendingCauses,
}

impl WriteSignal {
    /// Tells the worker of a write of the current request.
    pub fn notify_write(&self) {
        self.causes.add_current();
        self.unannounced.add_current();
        self.notify.notify_one();
    }

    /// What a write notifies.
    pub fn notification(&self) -> &Notify {
        &self.notify
    }

    /// The requests that wrote since the last call.
    pub fn take_causes(&self) -> Vec<TraceContext> {
        self.causes.take_causes()
    }

    /// The requests that wrote since changes of access were recorded last.
    pub fn take_unannounced(&self) -> Vec<TraceContext> {
        self.unannounced.take_causes()
    }
}
