//! How far the ledgers go that subscriptions follow.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use uuid::Uuid;

/// The end of each ledger that a subscription follows. A subscription is woken when its ledger
/// grows, and then reads the new rows.
#[derive(Debug, Default)]
pub struct LedgerHeads {
    known: Mutex<HashMap<Uuid, watch::Sender<i64>>>,
    /// Wakes the worker that reads the ends of the ledgers.
    pub sealed: Notify,
}

impl LedgerHeads {
    /// The end of an organization's chain from now on; `seq` is where it is known to be.
    pub fn subscribe_head(&self, organization: Uuid, seq: i64) -> watch::Receiver<i64> {
        let mut known = self.lock_heads();
        let head = known.entry(organization).or_default();
        let receiver = head.subscribe();
        raise_head(head, seq);
        receiver
    }

    /// The organizations with a subscription; the others are forgotten.
    pub fn followed_organizations(&self) -> Vec<Uuid> {
        let mut known = self.lock_heads();
        known.retain(|_, head| head.receiver_count() > 0);
        known.keys().copied().collect()
    }

    /// Tells those who follow an organization how far its chain goes.
    pub fn publish_head(&self, organization: Uuid, seq: i64) {
        if let Some(head) = self.lock_heads().get(&organization) {
            raise_head(head, seq);
        }
    }

    fn lock_heads(&self) -> MutexGuard<'_, HashMap<Uuid, watch::Sender<i64>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Chains only grow: a reading that comes late changes nothing.
fn raise_head(head: &watch::Sender<i64>, seq: i64) {
    head.send_if_modified(|known| {
        let grown = seq > *known;
        *known = seq.max(*known);
        grown
    });
}
