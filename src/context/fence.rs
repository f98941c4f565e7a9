//! Work under a lease: each write of a context that was given one holds only while the lease is held, judged in the
//! write's own transaction or statement. So whoever was away for too long does nothing after another has gone on.

use super::{Cx, Failure};
use crate::error::{Error, Result};
use crate::ledger::Part;
use crate::store::{Lease, Way};

impl Cx {
    /// Every write from here on, also of copies made before, holds only while `lease` is held. A second lease of one
    /// context is not taken.
    pub fn fence(&self, lease: Lease) {
        // Each context is made for one piece of work.
        let _ = self.fence.set(lease);
    }

    /// The same context, fenced by `lease`.
    pub fn fenced(self, lease: Lease) -> Self {
        self.fence(lease);
        self
    }

    /// Fails unless the context's lease, if it has one, is held to the end of the transaction.
    pub(super) async fn check_fence(&self, db: &Way<'_>) -> Result<(), Failure> {
        let Some(lease) = self.fence.get() else { return Ok(()) };
        // No further try: the lease does not come back.
        if lease.is_held(db).await? { Ok(()) } else { Err(Failure::Final(lease_lost())) }
    }

    /// Lets the statement of a quick write hold only while the context's lease is held.
    pub(super) fn fence_statement(&self, first: Option<&mut Part>) {
        if let (Some(lease), Some(first)) = (self.fence.get(), first) {
            first.only_while(lease);
        }
    }
}

/// What work is told that another server has taken over.
pub fn lease_lost() -> Error {
    Error::Busy("another server has taken this work over".into())
}
