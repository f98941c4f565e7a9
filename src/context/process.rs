//! What a process keeps in memory for all its requests: each connection's share, how far ledgers go that
//! somebody follows, and which credentials were used.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use crate::error::{Error, Result};

/// Requests per second and connection, with bursts of two seconds' worth.
#[derive(Debug)]
pub struct Limits(Option<(NonZeroU32, DefaultKeyedRateLimiter<Uuid>)>);

impl Limits {
    pub(super) fn new(per_second: u32) -> Self {
        Self(NonZeroU32::new(per_second).map(|rate| {
            let burst = rate.saturating_add(rate.get());
            (burst, RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst)))
        }))
    }

    /// Takes one request off a connection's share.
    ///
    /// # Errors
    /// [`Error::Limited`] with the seconds until there is one again.
    pub fn take(&self, connection: Uuid) -> Result<()> {
        self.take_many(connection, 1)
    }

    /// Takes the operations of one request, which has been taken, off a connection's share: all or none. What is
    /// more than a share ever holds takes all of it.
    ///
    /// # Errors
    /// [`Error::Limited`] with the seconds until there are so many again.
    pub fn take_operations(&self, connection: Uuid, operations: usize) -> Result<()> {
        let further = operations.saturating_sub(1);
        let Some((burst, _)) = &self.0 else { return Ok(()) };
        self.take_many(connection, u32::try_from(further).unwrap_or(u32::MAX).min(burst.get() - 1))
    }

    fn take_many(&self, connection: Uuid, requests: u32) -> Result<()> {
        let (Some((_, limiter)), Some(requests)) = (&self.0, NonZeroU32::new(requests)) else { return Ok(()) };
        // The outer result is about what exceeds a burst, which is not asked for.
        limiter.check_key_n(&connection, requests).unwrap_or(Ok(())).map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now());
            Error::Limited { seconds: wait.as_secs() + 1 }
        })
    }
}

/// How far the ledger of each organization goes, as far as somebody follows it. Whoever follows is woken when it
/// grows, and then reads.
#[derive(Debug, Default)]
pub struct Heads {
    known: Mutex<HashMap<Uuid, watch::Sender<i64>>>,
    /// Wakes whoever looks how far the ledgers go.
    pub sealed: Notify,
}

impl Heads {
    /// The end of an organization's chain from now on; `seq` is where it is known to be.
    pub fn follow(&self, organization: Uuid, seq: i64) -> watch::Receiver<i64> {
        let mut known = self.lock();
        let head = known.entry(organization).or_default();
        let receiver = head.subscribe();
        raise(head, seq);
        receiver
    }

    /// The organizations that somebody follows; the others are forgotten.
    pub fn followed(&self) -> Vec<Uuid> {
        let mut known = self.lock();
        known.retain(|_, head| head.receiver_count() > 0);
        known.keys().copied().collect()
    }

    /// Tells those who follow an organization how far its chain goes.
    pub fn tell(&self, organization: Uuid, seq: i64) {
        if let Some(head) = self.lock().get(&organization) {
            raise(head, seq);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, watch::Sender<i64>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Chains only grow: a reading that comes late changes nothing.
fn raise(head: &watch::Sender<i64>, seq: i64) {
    head.send_if_modified(|known| {
        let grown = seq > *known;
        *known = seq.max(*known);
        grown
    });
}

/// Which credential was used when and from where: kept in memory, written in batches.
#[derive(Debug, Default)]
pub struct Uses(Mutex<HashMap<Credential, Use>>);

/// A credential, with the connection it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Credential {
    ScimToken { organization: Uuid, id: Uuid, connection: Uuid },
    ApiKey { organization: Uuid, id: Uuid },
}

/// One use of a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    pub at: DateTime<Utc>,
    pub from: Option<String>,
}

impl Uses {
    /// Remembers the latest use.
    pub fn note(&self, credential: Credential, at: DateTime<Utc>, from: Option<String>) {
        self.lock().insert(credential, Use { at, from });
    }

    /// Takes everything noted since the last call.
    pub fn take(&self) -> HashMap<Credential, Use> {
        std::mem::take(&mut *self.lock())
    }

    /// Gives back what was taken and could not be written. A use that was noted meanwhile is later.
    pub fn give_back(&self, uses: impl IntoIterator<Item = (Credential, Use)>) {
        let mut known = self.lock();
        for (credential, used) in uses {
            known.entry(credential).or_insert(used);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Credential, Use>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The write that was answered last. Once a second a worker reads it back over another connection.
#[derive(Debug, Default)]
pub struct LastCommit(Mutex<Option<(Uuid, Uuid)>>);

impl LastCommit {
    /// Notes that the ledger row `event` of an organization was committed.
    pub fn note(&self, organization: Uuid, event: Uuid) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((organization, event));
    }

    /// Takes what was noted since the last call: an organization, and its ledger row.
    pub fn take(&self) -> Option<(Uuid, Uuid)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
