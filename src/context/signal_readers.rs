//! The workers of this server that deliver events to the destinations of organizations.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use uuid::Uuid;

/// What a worker has to know: how far the ledger of its organization goes, and a number that
/// changes with the settings of its destinations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReaderNews {
    pub head: i64,
    pub revision: (i64, i64, i64),
}

/// The workers of this server, one for each organization that it works for.
#[derive(Debug, Default)]
pub struct SignalReaders {
    /// Wakes the search for organizations with something to deliver.
    pub wake: Notify,
    running: Mutex<HashMap<Uuid, watch::Sender<ReaderNews>>>,
}

impl SignalReaders {
    /// Tells the worker of an organization; false where there is none.
    pub fn tell_reader(&self, organization: Uuid, news: ReaderNews) -> bool {
        let mut running = self.lock_running();
        match running.get(&organization) {
            Some(worker) if worker.receiver_count() > 0 => {
                worker.send_if_modified(|known| {
                    let changed = *known != news;
                    *known = news;
                    changed
                });
                true
            }
            _ => {
                running.remove(&organization);
                false
            }
        }
    }

    /// The news for a new worker of an organization, from now on.
    pub fn begin(&self, organization: Uuid, news: ReaderNews) -> watch::Receiver<ReaderNews> {
        let (sender, receiver) = watch::channel(news);
        self.lock_running().insert(organization, sender);
        receiver
    }

    fn lock_running(&self) -> MutexGuard<'_, HashMap<Uuid, watch::Sender<ReaderNews>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
