//! Work under a lease: each write of a context with a lease succeeds only while the lease is held;
//! the write's own transaction or statement checks that. So a server that lost its lease writes
//! nothing after another server has taken over.

use super::{Cx, WriteFailure};
use crate::db::{Executor, Lease};
use crate::error::{Error, Result};
use crate::ledger::WriteStep;

impl Cx {
    /// Every write from here on, also of copies made before, holds only while `lease` is held. A
    /// second lease of one context is not taken.
    pub fn set_fence(&self, lease: Lease) {
        // Each context is made for one piece of work.
        let _ = self.fence.set(lease);
    }

    /// The same context, fenced by `lease`.
    pub fn with_fence(self, lease: Lease) -> Self {
        self.set_fence(lease);
        self
    }

    /// Fails unless the context's lease, if it has one, is held to the end of the transaction.
    pub(super) async fn check_fence(&self, db: &Executor<'_>) -> Result<(), WriteFailure> {
        let Some(lease) = self.fence.get() else { return Ok(()) };
        // No further try: the lease does not come back.
        if lease.is_held(db).await? { Ok(()) } else { Err(WriteFailure::Final(lease_lost())) }
    }

    /// Lets the statement of a quick write hold only while the context's lease is held.
    pub(super) fn fence_statement(&self, first: Option<&mut WriteStep>) {
        if let (Some(lease), Some(first)) = (self.fence.get(), first) {
            first.only_while(lease);
        }
    }
}

/// The error of work that another server has taken over.
pub fn lease_lost() -> Error {
    Error::Busy("another server has taken this work over".into())
}
