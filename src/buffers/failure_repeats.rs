//! What is known in memory of the review queue: which failures are known to be open, how often they came again since
//! that was last written down, and which things have open ones, so that a success costs no look at the database.
//!
//! What must never enter: a value of a request. Things and failures are hashes.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use tokio::sync::Notify;
use uuid::Uuid;

/// Failures that are told apart in memory; further ones go to the database each time.
const MAX_KNOWN: usize = 20_000;
/// Successes that wait to be written down; further ones are left to the next success of the same thing.
const MAX_SUCCESSES: usize = 20_000;

/// A failure by what makes it the same: the organization, and the hash of the rest.
pub type Failed = (Uuid, Vec<u8>);

/// How often a failure came again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeat {
    pub n: i64,
    pub last: DateTime<Utc>,
    pub request: Option<Uuid>,
}

/// A write that succeeded and may put something right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Success {
    pub organization: Uuid,
    pub connection: Uuid,
    pub thing: Vec<u8>,
    /// Which parts of the thing it wrote; none = all of it.
    pub scope: Option<Vec<String>>,
    pub at: DateTime<Utc>,
}

/// What was noted since the last flush.
#[derive(Debug, Default)]
pub struct Taken {
    pub repeats: Vec<(Failed, Repeat)>,
    pub successes: Vec<Success>,
}

/// Remembers what the next flush writes down.
#[derive(Debug, Default)]
pub struct Repeats {
    kept: Mutex<Kept>,
    /// Held while what was taken is written: the next to take it finds everything before it in the database.
    pub flush: tokio::sync::Mutex<()>,
    /// Whether anything is open at all: what most requests look at is this and nothing else.
    any: AtomicBool,
    /// Wakes whoever tries failed writes again.
    pub retries: Notify,
    /// Wakes whoever reads again what could not be carried over.
    pub readings: Notify,
}

#[derive(Debug, Default)]
struct Kept {
    known: HashMap<Failed, Option<Repeat>>,
    open: HashMap<Uuid, HashSet<Vec<u8>>>,
    /// What was opened here since the last [`Repeats::take`], which the database may not have told yet.
    fresh: Vec<(Uuid, Vec<u8>)>,
    successes: Vec<Success>,
}

impl Repeats {
    /// Counts a failure that is known to be open; false if it is not known.
    pub fn again(&self, failed: &Failed, at: DateTime<Utc>, request: Option<Uuid>) -> bool {
        let mut kept = self.lock();
        let Some(repeat) = kept.known.get_mut(failed) else { return false };
        add(repeat, Repeat { n: 1, last: at, request });
        true
    }

    /// The failure is open; `repeat` if this was not its first time.
    pub fn is_open(&self, failed: Failed, connection: Uuid, thing: Option<Vec<u8>>, repeat: Option<Repeat>) {
        let mut kept = self.lock();
        if kept.known.len() < MAX_KNOWN || kept.known.contains_key(&failed) || repeat.is_some() {
            let known = kept.known.entry(failed).or_default();
            if let Some(repeat) = repeat {
                add(known, repeat);
            }
        }
        if let Some(thing) = &thing {
            kept.fresh.push((connection, thing.clone()));
        }
        kept.open.entry(connection).or_default().extend(thing);
        self.any.store(true, Ordering::Relaxed);
    }

    /// How many things of a connection are known to have open failures.
    pub fn open_of(&self, connection: Uuid) -> usize {
        if !self.any.load(Ordering::Relaxed) {
            return 0;
        }
        self.lock().open.get(&connection).map_or(0, HashSet::len)
    }

    /// Whether a success of the connection may put something right.
    pub fn concerns(&self, connection: Uuid) -> bool {
        self.open_of(connection) > 0
    }

    /// Remembers a success, if the thing has open failures.
    pub fn succeeded(&self, success: Success) {
        let mut kept = self.lock();
        let open = kept.open.get(&success.connection).is_some_and(|things| things.contains(&success.thing));
        if open && kept.successes.len() < MAX_SUCCESSES {
            kept.successes.push(success);
        }
    }

    /// A failure was finished on this server: if it comes again, it is a new one.
    pub fn forget(&self, failed: &Failed) {
        self.lock().known.remove(failed);
    }

    /// Takes what was noted since the last call. What was known is asked of the database anew.
    pub fn take(&self) -> Taken {
        let mut kept = self.lock();
        kept.fresh.clear();
        let known = std::mem::take(&mut kept.known);
        let repeats = known.into_iter().filter_map(|(failed, repeat)| Some((failed, repeat?))).collect();
        Taken { repeats, successes: std::mem::take(&mut kept.successes) }
    }

    /// Gives back what was taken and could not be written.
    pub fn give_back(&self, taken: Taken) {
        let mut kept = self.lock();
        for (failed, repeat) in taken.repeats {
            add(kept.known.entry(failed).or_default(), repeat);
        }
        let later = std::mem::replace(&mut kept.successes, taken.successes);
        kept.successes.extend(later);
    }

    /// What has open failures, connection by connection, as the database had it since the last [`Repeats::take`].
    pub fn learn(&self, mut open: HashMap<Uuid, HashSet<Vec<u8>>>) {
        let mut kept = self.lock();
        for (connection, thing) in kept.fresh.drain(..) {
            open.entry(connection).or_default().insert(thing);
        }
        self.any.store(!open.is_empty(), Ordering::Relaxed);
        kept.open = open;
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(known: &mut Option<Repeat>, more: Repeat) {
    match known {
        None => *known = Some(more),
        Some(known) => {
            known.n += more.n;
            if more.last >= known.last {
                (known.last, known.request) = (more.last, more.request.or(known.request));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_counted_until_they_are_taken_and_successes_only_where_something_is_open() {
        let repeats = Repeats::default();
        let (failed, connection, thing) = ((Uuid::nil(), vec![1]), Uuid::from_u128(7), vec![9]);
        let at = DateTime::UNIX_EPOCH;
        assert!(!repeats.again(&failed, at, None) && !repeats.concerns(connection));
        repeats.is_open(failed.clone(), connection, Some(thing.clone()), None);
        assert!(repeats.again(&failed, at, None) && repeats.again(&failed, at, None));
        assert!(repeats.concerns(connection) && !repeats.concerns(Uuid::nil()));
        let success = |thing: Vec<u8>| Success { organization: Uuid::nil(), connection, thing, scope: None, at };
        repeats.succeeded(success(vec![8]));
        repeats.succeeded(success(thing));
        let taken = repeats.take();
        assert_eq!((taken.repeats[0].1.n, taken.successes.len()), (2, 1));
        repeats.give_back(taken);
        assert!(repeats.again(&failed, at, None));
        assert_eq!(repeats.take().repeats[0].1.n, 3);
        assert!(!repeats.again(&failed, at, None), "asked of the database anew");
    }
}
