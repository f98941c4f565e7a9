//! What identity providers have read since it was last written down: who saw which user or group in full, and when;
//! kept in memory, and bounded. One that asks for the same thing again and again, and sees the same, is written down
//! once an hour.
//!
//! A list of everything costs nothing for each person on it: only that it was walked from its first page to its last is
//! remembered. Whatever is forgotten here, or seen by several replicas in part, was not read as far as anybody knows.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Duration, Utc};
use uuid::Uuid;

use crate::requests::hour;

pub use entity::last_read::Kind;

/// Users and groups that are known at once; beyond, what is written down is forgotten, and then everything.
const MAX_KNOWN: usize = 50_000;
/// Walks through lists that have not ended; beyond, all of them are forgotten.
const MAX_WALKS: usize = 2_000;
/// A walk that has not ended for so long is not waited for.
const LONGEST_WALK: Duration = Duration::days(1);

/// The reader: an identity provider, by its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reader {
    pub organization: Uuid,
    pub connection: Uuid,
}

/// What was read last, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    pub reader: Reader,
    pub kind: Kind,
    /// The user or group; nil = all of the kind.
    pub subject: Uuid,
    pub at: DateTime<Utc>,
    version: i64,
}

/// A page of a list of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// The places `from..to` of so many.
    Index { from: u64, to: u64, total: u64 },
    /// What comes after one place, up to another; none = the beginning, and the end.
    Cursor { after: Option<Uuid>, next: Option<Uuid> },
}

/// How far a walk has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Walk {
    began: DateTime<Utc>,
    last: Page,
}

impl Walk {
    /// Whether this page goes on where the walk is.
    fn leads_to(&self, page: Page) -> bool {
        match (self.last, page) {
            (Page::Index { to: reached, .. }, Page::Index { from, to, .. }) => from <= reached && to > reached,
            (Page::Cursor { next, .. }, Page::Cursor { after, .. }) => next == after,
            _ => false,
        }
    }

    /// Whether somebody has left a list that is counted through: then whoever stood behind may have moved up, unseen.
    fn has_shrunk(&self, page: Page) -> bool {
        match (self.last, page) {
            (Page::Index { total: before, .. }, Page::Index { total, .. }) => total < before,
            _ => false,
        }
    }
}

/// Remembers what is read.
#[derive(Debug, Default)]
pub struct Reads {
    kept: Mutex<Kept>,
    /// Held while what was taken is written: whoever gets it finds everything before it in the database.
    pub flush: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Kept {
    known: HashMap<(Uuid, Kind, Uuid), Known>,
    walks: HashMap<(Uuid, Kind), Walk>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    read: Read,
    written: bool,
}

impl Reads {
    /// A user or group was answered in full, as it was in this version.
    pub fn note(&self, reader: Reader, kind: Kind, subject: Uuid, version: i64, at: DateTime<Utc>) {
        self.lock().keep(Read { reader, kind, subject, at, version });
    }

    /// A page of the list of everything was answered in full.
    pub fn turn(&self, reader: Reader, kind: Kind, page: Page, at: DateTime<Utc>) {
        let key = (reader.connection, kind);
        let mut kept = self.lock();
        let began = match (page, kept.walks.get(&key)) {
            (Page::Index { from: 0, .. } | Page::Cursor { after: None, .. }, _) => at,
            (page, Some(walk)) if walk.has_shrunk(page) => {
                kept.walks.remove(&key);
                return;
            }
            (page, Some(walk)) if walk.leads_to(page) => walk.began,
            // The same page again, or one of another walk.
            _ => return,
        };
        let ends = match page {
            Page::Index { to, total, .. } => to >= total,
            Page::Cursor { next, .. } => next.is_none(),
        };
        if ends {
            kept.walks.remove(&key);
            // Each walk is another version of everything.
            kept.keep(Read { reader, kind, subject: Uuid::nil(), at: began, version: began.timestamp_micros() });
            return;
        }
        if kept.walks.len() >= MAX_WALKS && !kept.walks.contains_key(&key) {
            kept.walks.clear();
        }
        kept.walks.insert(key, Walk { began, last: page });
    }

    /// Takes what is to be written down. What was read in an hour that is over is forgotten.
    pub fn take(&self, now: DateTime<Utc>) -> Vec<Read> {
        let mut kept = self.lock();
        let mut taken = Vec::new();
        for known in kept.known.values_mut().filter(|known| !known.written) {
            known.written = true;
            taken.push(known.read);
        }
        kept.known.retain(|_, known| hour(known.read.at) == hour(now));
        kept.walks.retain(|_, walk| now - walk.began < LONGEST_WALK);
        taken
    }

    /// Gives back what was taken and could not be written.
    pub fn give_back(&self, reads: impl IntoIterator<Item = Read>) {
        let mut kept = self.lock();
        for read in reads {
            match kept.known.get_mut(&key(&read)) {
                Some(known) => known.written = false,
                None => kept.keep(read),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(read: &Read) -> (Uuid, Kind, Uuid) {
    (read.reader.connection, read.kind, read.subject)
}

impl Kept {
    fn keep(&mut self, read: Read) {
        match self.known.get_mut(&key(&read)) {
            // It has seen that already, or something later.
            Some(Known { read: before, .. }) if before.version > read.version => {}
            Some(Known { read: before, .. }) if before.version == read.version && hour(before.at) == hour(read.at) => {}
            Some(known) => *known = Known { read, written: false },
            None => {
                if self.known.len() >= MAX_KNOWN {
                    self.known.retain(|_, known| !known.written);
                }
                if self.known.len() >= MAX_KNOWN {
                    self.known.clear();
                }
                self.known.insert(key(&read), Known { read, written: false });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READER: Reader = Reader { organization: Uuid::nil(), connection: Uuid::max() };

    fn minute(n: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 - 1_700_000_000 % 3_600, 0).unwrap() + Duration::minutes(n)
    }

    fn somebody(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn taken(reads: &Reads, n: i64) -> Vec<(Uuid, DateTime<Utc>)> {
        let mut taken: Vec<_> = reads.take(minute(n)).into_iter().map(|read| (read.subject, read.at)).collect();
        taken.sort();
        taken
    }

    #[test]
    fn what_is_seen_again_is_written_once_an_hour_and_what_is_new_at_once() {
        let reads = Reads::default();
        let note = |version, n| reads.note(READER, Kind::User, somebody(1), version, minute(n));
        note(1, 1);
        note(1, 2);
        assert_eq!(taken(&reads, 3), [(somebody(1), minute(1))]);
        note(1, 4);
        assert_eq!(taken(&reads, 5), []);
        note(2, 6);
        note(2, 7);
        // An answer that was made before that one, and comes after it.
        note(1, 8);
        assert_eq!(taken(&reads, 9), [(somebody(1), minute(6))]);
        note(2, 61);
        assert_eq!(taken(&reads, 62), [(somebody(1), minute(61))]);
        assert_eq!(taken(&reads, 121), []);
        assert!(reads.lock().known.is_empty());
    }

    #[test]
    fn what_could_not_be_written_is_not_lost() {
        let reads = Reads::default();
        reads.note(READER, Kind::User, somebody(1), 1, minute(1));
        reads.note(READER, Kind::Group, somebody(1), 1, minute(1));
        let lost = reads.take(minute(2));
        reads.note(READER, Kind::User, somebody(1), 2, minute(3));
        reads.give_back(lost);
        assert_eq!(taken(&reads, 4), [(somebody(1), minute(1)), (somebody(1), minute(3))]);
    }

    #[test]
    fn the_memory_is_bounded() {
        let reads = Reads::default();
        for n in 0..120_000 {
            reads.note(READER, Kind::User, somebody(n), 1, minute(1));
            assert!(reads.lock().known.len() <= MAX_KNOWN);
            if n == 40_000 {
                reads.take(minute(2));
            }
        }
        // What is written down is forgotten first.
        assert_eq!(reads.take(minute(2)).len(), 120_000 - 40_001 - MAX_KNOWN);
        for n in 0..10_000 {
            let reader = Reader { organization: Uuid::nil(), connection: somebody(n) };
            reads.turn(reader, Kind::User, Page::Index { from: 0, to: 1, total: 2 }, minute(1));
            assert!(reads.lock().walks.len() <= MAX_WALKS);
        }
        reads.take(minute(25 * 60));
        assert!(reads.lock().walks.is_empty());
    }

    #[test]
    fn a_walk_counts_when_no_page_of_it_is_missing() {
        let index = |from, to, total| Page::Index { from, to, total };
        let cursor = |after: u128, next: u128| Page::Cursor {
            after: (after > 0).then(|| somebody(after)),
            next: (next > 0).then(|| somebody(next)),
        };
        let all = [(Uuid::nil(), minute(0))];
        for (pages, whole) in [
            (vec![index(0, 5, 5)], true),
            (vec![index(0, 0, 0)], true),
            (vec![index(0, 2, 5), index(2, 4, 5), index(4, 5, 5)], true),
            // Somebody came; a page was asked for twice, or overlaps.
            (vec![index(0, 2, 5), index(2, 4, 6), index(1, 3, 6), index(3, 6, 6)], true),
            (vec![index(0, 2, 5)], false),
            (vec![index(0, 2, 5), index(4, 5, 5)], false),
            (vec![index(2, 4, 5), index(4, 5, 5)], false),
            // Somebody left, and whoever stood behind has moved up.
            (vec![index(0, 2, 5), index(2, 4, 4)], false),
            (vec![cursor(0, 0)], true),
            (vec![cursor(0, 7), cursor(7, 9), cursor(7, 9), cursor(9, 0)], true),
            (vec![cursor(0, 7), cursor(9, 0)], false),
            (vec![cursor(0, 7), index(2, 5, 5)], false),
        ] {
            let reads = Reads::default();
            for (n, page) in pages.iter().enumerate() {
                reads.turn(READER, Kind::User, *page, minute(n as i64));
            }
            assert_eq!(taken(&reads, 30), if whole { &all[..] } else { &[] }, "{pages:?}");
        }
    }

    #[test]
    fn a_walk_that_begins_again_counts_from_there_and_each_is_told() {
        let reads = Reads::default();
        let page = |from, n| reads.turn(READER, Kind::User, Page::Index { from, to: from + 2, total: 4 }, minute(n));
        page(0, 0);
        page(0, 1);
        page(2, 2);
        assert_eq!(taken(&reads, 3), [(Uuid::nil(), minute(1))]);
        page(0, 4);
        page(2, 5);
        assert_eq!(taken(&reads, 6), [(Uuid::nil(), minute(4))]);
        page(2, 7);
        assert_eq!(taken(&reads, 8), []);
    }
}
