//! The review queue in memory: which failures are open, how often they occurred again since the
//! last flush, and which objects have open failures, so that a successful write needs no query.
//!
//! What must never enter: a value of a request. Objects and failures are hashes.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, Utc};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::buffers::write_behind::{BufferContent, WriteBehind};

/// Failures that are told apart in memory; further ones go to the database each time.
const MAX_KNOWN: usize = 20_000;
/// Successes that wait to be written down; further ones wait for the next success on the same
/// object.
const MAX_SUCCESSES: usize = 20_000;

/// A failure by what makes it the same: the organization, and the hash of the rest.
pub type FailureKey = (Uuid, Vec<u8>);

/// How often a failure occurred again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepeatCount {
    pub n: i64,
    pub last: DateTime<Utc>,
    pub request: Option<Uuid>,
}

/// A successful write that may resolve failures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SucceededWrite {
    pub organization: Uuid,
    pub connection: Uuid,
    pub thing: Vec<u8>,
    /// Which parts of the object it wrote; none = all of it.
    pub scope: Option<Vec<String>>,
    pub at: DateTime<Utc>,
}

/// What was noted since the last flush.
#[derive(Debug, Default)]
pub struct DrainedRepeats {
    pub repeats: Vec<(FailureKey, RepeatCount)>,
    pub successes: Vec<SucceededWrite>,
}

/// Remembers what the next flush writes down.
#[derive(Debug, Default)]
pub struct FailureRepeats {
    pub buffer: WriteBehind<KnownFailures>,
    /// Whether any failure is open: most requests check only this.
    any: AtomicBool,
    /// Wakes the worker that retries failed writes.
    pub retries: Notify,
    /// Wakes the worker that reads again from sources what could not be applied.
    pub readings: Notify,
}

/// What is known about failures since the last flush.
#[derive(Debug, Default)]
pub struct KnownFailures {
    known: HashMap<FailureKey, Option<RepeatCount>>,
    open: HashMap<Uuid, HashSet<Vec<u8>>>,
    /// What was opened here since the last flush began, which the last reload may not contain yet.
    fresh: Vec<(Uuid, Vec<u8>)>,
    successes: Vec<SucceededWrite>,
}

impl FailureRepeats {
    /// Counts a failure that is known to be open; false if it is not known.
    pub fn count_repeat(
        &self,
        failed: &FailureKey,
        at: DateTime<Utc>,
        request: Option<Uuid>,
    ) -> bool {
        let mut kept = self.buffer.lock();
        let Some(repeat) = kept.known.get_mut(failed) else { return false };
        add_repeat(repeat, RepeatCount { n: 1, last: at, request });
        true
    }

    /// The failure is open; `repeat` if this was not its first time.
    pub fn is_open(
        &self,
        failed: FailureKey,
        connection: Uuid,
        thing: Option<Vec<u8>>,
        repeat: Option<RepeatCount>,
    ) {
        let mut kept = self.buffer.lock();
        if kept.known.len() < MAX_KNOWN || kept.known.contains_key(&failed) || repeat.is_some() {
            let known = kept.known.entry(failed).or_default();
            if let Some(repeat) = repeat {
                add_repeat(known, repeat);
            }
        }
        if let Some(thing) = &thing {
            kept.fresh.push((connection, thing.clone()));
        }
        kept.open.entry(connection).or_default().extend(thing);
        self.any.store(true, Ordering::Relaxed);
    }

    /// How many objects of a connection are known to have open failures.
    pub fn open_of(&self, connection: Uuid) -> usize {
        if !self.any.load(Ordering::Relaxed) {
            return 0;
        }
        self.buffer.lock().open.get(&connection).map_or(0, HashSet::len)
    }

    /// Whether a successful write of the connection may resolve a failure.
    pub fn has_open_failures(&self, connection: Uuid) -> bool {
        self.open_of(connection) > 0
    }

    /// Notes a success, if the object has open failures.
    pub fn note_success(&self, success: SucceededWrite) {
        let mut kept = self.buffer.lock();
        let open = kept
            .open
            .get(&success.connection)
            .is_some_and(|things| things.contains(&success.thing));
        if open && kept.successes.len() < MAX_SUCCESSES {
            kept.successes.push(success);
        }
    }

    /// A failure was finished on this server: if it comes again, it is a new one.
    pub fn forget_failure(&self, failed: &FailureKey) {
        self.buffer.lock().known.remove(failed);
    }

    /// What has open failures, connection by connection, as the database had it since the last
    /// flush began.
    pub fn reload(&self, mut open: HashMap<Uuid, HashSet<Vec<u8>>>) {
        let mut kept = self.buffer.lock();
        for (connection, thing) in kept.fresh.drain(..) {
            open.entry(connection).or_default().insert(thing);
        }
        self.any.store(!open.is_empty(), Ordering::Relaxed);
        kept.open = open;
    }
}

impl BufferContent for KnownFailures {
    type Batch = DrainedRepeats;

    /// What was known is asked of the database anew.
    fn drain(&mut self, _now: DateTime<Utc>) -> DrainedRepeats {
        self.fresh.clear();
        let known = std::mem::take(&mut self.known);
        let repeats =
            known.into_iter().filter_map(|(failed, repeat)| Some((failed, repeat?))).collect();
        DrainedRepeats { repeats, successes: std::mem::take(&mut self.successes) }
    }

    fn restore(&mut self, rest: DrainedRepeats) {
        for (failed, repeat) in rest.repeats {
            add_repeat(self.known.entry(failed).or_default(), repeat);
        }
        let later = std::mem::replace(&mut self.successes, rest.successes);
        self.successes.extend(later);
    }
}

fn add_repeat(known: &mut Option<RepeatCount>, more: RepeatCount) {
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
        let repeats = FailureRepeats::default();
        let (failed, connection, thing) = ((Uuid::nil(), vec![1]), Uuid::from_u128(7), vec![9]);
        let at = DateTime::UNIX_EPOCH;
        assert!(!repeats.count_repeat(&failed, at, None) && !repeats.has_open_failures(connection));
        repeats.is_open(failed.clone(), connection, Some(thing.clone()), None);
        assert!(repeats.count_repeat(&failed, at, None) && repeats.count_repeat(&failed, at, None));
        assert!(repeats.has_open_failures(connection) && !repeats.has_open_failures(Uuid::nil()));
        let success = |thing: Vec<u8>| SucceededWrite {
            organization: Uuid::nil(),
            connection,
            thing,
            scope: None,
            at,
        };
        repeats.note_success(success(vec![8]));
        repeats.note_success(success(thing));
        let taken = repeats.buffer.drain(at);
        assert_eq!((taken.repeats[0].1.n, taken.successes.len()), (2, 1));
        repeats.buffer.restore(taken);
        assert!(repeats.count_repeat(&failed, at, None));
        assert_eq!(repeats.buffer.drain(at).repeats[0].1.n, 3);
        assert!(!repeats.count_repeat(&failed, at, None), "asked of the database anew");
    }
}
