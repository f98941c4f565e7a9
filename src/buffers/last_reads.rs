//! What identity providers have read since the last flush: which of them saw which user or group in
//! full, and when; kept in memory, and bounded. Repeated reads of an unchanged object are written
//! once an hour.
//!
//! A full list costs no memory for each person on it: only the fact that a client read it from the
//! first page to the last is kept. A read that is forgotten here, or whose pages went to several
//! replicas, counts as not read.

use std::collections::HashMap;

use chrono::{DateTime, Duration, Utc};
use uuid::Uuid;

use crate::buffers::request_counts::hour_of;
use crate::buffers::write_behind::{BufferContent, WriteBehind};

pub use entity::last_read::Kind;

/// Users and groups that are kept at once; beyond that, reads that are written already are
/// forgotten, and then all.
const MAX_KNOWN: usize = 50_000;
/// Unfinished traversals of lists; beyond that, all of them are forgotten.
const MAX_WALKS: usize = 2_000;
/// A traversal that has not ended after this time is dropped.
const LONGEST_WALK: Duration = Duration::days(1);

/// The reader: an identity provider, by its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListReader {
    pub organization: Uuid,
    pub connection: Uuid,
}

/// What was read last, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastRead {
    pub reader: ListReader,
    pub kind: Kind,
    /// The user or group; nil = all of the kind.
    pub subject: Uuid,
    pub at: DateTime<Utc>,
    version: i64,
}

/// A page of a list of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListPage {
    /// The places `from..to` of so many.
    Index { from: u64, to: u64, total: u64 },
    /// What comes after one place, up to another; none = the beginning, and the end.
    Cursor { after: Option<Uuid>, next: Option<Uuid> },
}

/// How far a traversal has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ListTraversal {
    began: DateTime<Utc>,
    last: ListPage,
}

impl ListTraversal {
    /// Whether this page continues the traversal.
    fn leads_to(&self, page: ListPage) -> bool {
        match (self.last, page) {
            (ListPage::Index { to: reached, .. }, ListPage::Index { from, to, .. }) => {
                from <= reached && to > reached
            }
            (ListPage::Cursor { next, .. }, ListPage::Cursor { after, .. }) => next == after,
            _ => false,
        }
    }

    /// Whether a list that is read by index has become shorter: then the users after the removed
    /// one have moved up, and the client may have missed one.
    fn has_shrunk(&self, page: ListPage) -> bool {
        match (self.last, page) {
            (ListPage::Index { total: before, .. }, ListPage::Index { total, .. }) => {
                total < before
            }
            _ => false,
        }
    }
}

/// Remembers what is read.
pub type LastReads = WriteBehind<KnownReads>;

/// What was read in this hour, written or not.
#[derive(Debug, Default)]
pub struct KnownReads {
    known: HashMap<(Uuid, Kind, Uuid), KnownRead>,
    walks: HashMap<(Uuid, Kind), ListTraversal>,
}

#[derive(Debug, Clone, Copy)]
struct KnownRead {
    read: LastRead,
    written: bool,
}

impl LastReads {
    /// A user or group was answered in full, as it was in this version.
    pub fn note_read(
        &self,
        reader: ListReader,
        kind: Kind,
        subject: Uuid,
        version: i64,
        at: DateTime<Utc>,
    ) {
        self.lock().keep_read(LastRead { reader, kind, subject, at, version });
    }

    /// A page of the list of everything was answered in full.
    pub fn note_list_page(
        &self,
        reader: ListReader,
        kind: Kind,
        page: ListPage,
        at: DateTime<Utc>,
    ) {
        let key = (reader.connection, kind);
        let mut kept = self.lock();
        let began = match (page, kept.walks.get(&key)) {
            (ListPage::Index { from: 0, .. } | ListPage::Cursor { after: None, .. }, _) => at,
            (page, Some(walk)) if walk.has_shrunk(page) => {
                kept.walks.remove(&key);
                return;
            }
            (page, Some(walk)) if walk.leads_to(page) => walk.began,
            // The same page again, or a page of another traversal.
            _ => return,
        };
        let ends = match page {
            ListPage::Index { to, total, .. } => to >= total,
            ListPage::Cursor { next, .. } => next.is_none(),
        };
        if ends {
            kept.walks.remove(&key);
            // Each traversal is another version of the full list.
            kept.keep_read(LastRead {
                reader,
                kind,
                subject: Uuid::nil(),
                at: began,
                version: began.timestamp_micros(),
            });
            return;
        }
        if kept.walks.len() >= MAX_WALKS && !kept.walks.contains_key(&key) {
            kept.walks.clear();
        }
        kept.walks.insert(key, ListTraversal { began, last: page });
    }
}

impl BufferContent for KnownReads {
    type Batch = Vec<LastRead>;

    /// What was read in an hour that is over is forgotten.
    fn drain(&mut self, now: DateTime<Utc>) -> Vec<LastRead> {
        let mut taken = Vec::new();
        for known in self.known.values_mut().filter(|known| !known.written) {
            known.written = true;
            taken.push(known.read);
        }
        self.known.retain(|_, known| hour_of(known.read.at) == hour_of(now));
        self.walks.retain(|_, walk| now - walk.began < LONGEST_WALK);
        taken
    }

    fn restore(&mut self, rest: Vec<LastRead>) {
        for read in rest {
            match self.known.get_mut(&read_key(&read)) {
                Some(known) => known.written = false,
                None => self.keep_read(read),
            }
        }
    }
}

fn read_key(read: &LastRead) -> (Uuid, Kind, Uuid) {
    (read.reader.connection, read.kind, read.subject)
}

impl KnownReads {
    fn keep_read(&mut self, read: LastRead) {
        match self.known.get_mut(&read_key(&read)) {
            // The reader has seen this version already, or a later one.
            Some(KnownRead { read: before, .. }) if before.version > read.version => {}
            Some(KnownRead { read: before, .. })
                if before.version == read.version && hour_of(before.at) == hour_of(read.at) => {}
            Some(known) => *known = KnownRead { read, written: false },
            None => {
                if self.known.len() >= MAX_KNOWN {
                    self.known.retain(|_, known| !known.written);
                }
                if self.known.len() >= MAX_KNOWN {
                    self.known.clear();
                }
                self.known.insert(read_key(&read), KnownRead { read, written: false });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READER: ListReader = ListReader { organization: Uuid::nil(), connection: Uuid::max() };

    fn minute(n: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 - 1_700_000_000 % 3_600, 0).unwrap()
            + Duration::minutes(n)
    }

    fn resource_id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn taken(reads: &LastReads, n: i64) -> Vec<(Uuid, DateTime<Utc>)> {
        let mut taken: Vec<_> =
            reads.drain(minute(n)).into_iter().map(|read| (read.subject, read.at)).collect();
        taken.sort();
        taken
    }

    #[test]
    fn what_is_seen_again_is_written_once_an_hour_and_what_is_new_at_once() {
        let reads = LastReads::default();
        let note =
            |version, n| reads.note_read(READER, Kind::User, resource_id(1), version, minute(n));
        note(1, 1);
        note(1, 2);
        assert_eq!(taken(&reads, 3), [(resource_id(1), minute(1))]);
        note(1, 4);
        assert_eq!(taken(&reads, 5), []);
        note(2, 6);
        note(2, 7);
        // An answer that was made before that one, and comes after it.
        note(1, 8);
        assert_eq!(taken(&reads, 9), [(resource_id(1), minute(6))]);
        note(2, 61);
        assert_eq!(taken(&reads, 62), [(resource_id(1), minute(61))]);
        assert_eq!(taken(&reads, 121), []);
        assert!(reads.lock().known.is_empty());
    }

    #[test]
    fn what_could_not_be_written_is_not_lost() {
        let reads = LastReads::default();
        reads.note_read(READER, Kind::User, resource_id(1), 1, minute(1));
        reads.note_read(READER, Kind::Group, resource_id(1), 1, minute(1));
        let lost = reads.drain(minute(2));
        reads.note_read(READER, Kind::User, resource_id(1), 2, minute(3));
        reads.restore(lost);
        assert_eq!(taken(&reads, 4), [(resource_id(1), minute(1)), (resource_id(1), minute(3))]);
    }

    #[test]
    fn the_memory_is_bounded() {
        let reads = LastReads::default();
        for n in 0..120_000 {
            reads.note_read(READER, Kind::User, resource_id(n), 1, minute(1));
            assert!(reads.lock().known.len() <= MAX_KNOWN);
            if n == 40_000 {
                reads.drain(minute(2));
            }
        }
        // What is written down is forgotten first.
        assert_eq!(reads.drain(minute(2)).len(), 120_000 - 40_001 - MAX_KNOWN);
        for n in 0..10_000 {
            let reader = ListReader { organization: Uuid::nil(), connection: resource_id(n) };
            reads.note_list_page(
                reader,
                Kind::User,
                ListPage::Index { from: 0, to: 1, total: 2 },
                minute(1),
            );
            assert!(reads.lock().walks.len() <= MAX_WALKS);
        }
        reads.drain(minute(25 * 60));
        assert!(reads.lock().walks.is_empty());
    }

    #[test]
    fn a_walk_counts_when_no_page_of_it_is_missing() {
        let index = |from, to, total| ListPage::Index { from, to, total };
        let cursor = |after: u128, next: u128| ListPage::Cursor {
            after: (after > 0).then(|| resource_id(after)),
            next: (next > 0).then(|| resource_id(next)),
        };
        let all = [(Uuid::nil(), minute(0))];
        for (pages, whole) in [
            (vec![index(0, 5, 5)], true),
            (vec![index(0, 0, 0)], true),
            (vec![index(0, 2, 5), index(2, 4, 5), index(4, 5, 5)], true),
            // A resource was added; a page was read twice, or overlaps.
            (vec![index(0, 2, 5), index(2, 4, 6), index(1, 3, 6), index(3, 6, 6)], true),
            (vec![index(0, 2, 5)], false),
            (vec![index(0, 2, 5), index(4, 5, 5)], false),
            (vec![index(2, 4, 5), index(4, 5, 5)], false),
            // A resource was removed, and the later ones have moved forward.
            (vec![index(0, 2, 5), index(2, 4, 4)], false),
            (vec![cursor(0, 0)], true),
            (vec![cursor(0, 7), cursor(7, 9), cursor(7, 9), cursor(9, 0)], true),
            (vec![cursor(0, 7), cursor(9, 0)], false),
            (vec![cursor(0, 7), index(2, 5, 5)], false),
        ] {
            let reads = LastReads::default();
            for (n, page) in pages.iter().enumerate() {
                reads.note_list_page(READER, Kind::User, *page, minute(n as i64));
            }
            assert_eq!(taken(&reads, 30), if whole { &all[..] } else { &[] }, "{pages:?}");
        }
    }

    #[test]
    fn a_walk_that_begins_again_counts_from_there_and_each_is_told() {
        let reads = LastReads::default();
        let page = |from, n| {
            reads.note_list_page(
                READER,
                Kind::User,
                ListPage::Index { from, to: from + 2, total: 4 },
                minute(n),
            )
        };
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
