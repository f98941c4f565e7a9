//! A part of an ordered list: which one is asked for, and what was found.

/// Selects a part of an ordered list. Keys are exclusive.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Keyset<K> {
    pub after: Option<K>,
    pub before: Option<K>,
    /// The most rows.
    pub limit: u64,
    /// Take from the end instead of from the beginning.
    pub backward: bool,
    /// List from the greatest key down.
    pub descending: bool,
}

impl<K> Default for Keyset<K> {
    fn default() -> Self {
        Self { after: None, before: None, limit: 0, backward: false, descending: false }
    }
}

/// A part of a list, always in the list's own order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice<T> {
    pub rows: Vec<T>,
    pub has_previous: bool,
    pub has_next: bool,
}

impl<T> Slice<T> {
    /// The page of an empty list.
    pub fn empty() -> Self {
        Self { rows: Vec::new(), has_previous: false, has_next: false }
    }

    /// The same part, with each row converted by `make`.
    pub fn map<U>(self, make: impl FnMut(T) -> U) -> Slice<U> {
        Slice {
            rows: self.rows.into_iter().map(make).collect(),
            has_previous: self.has_previous,
            has_next: self.has_next,
        }
    }
}

/// Makes a [`Slice`] of the rows that one statement found: one more than the page has, where there
/// are more.
pub fn to_slice<T, K>(mut rows: Vec<T>, keyset: &Keyset<K>) -> Slice<T> {
    let more = rows.len() as u64 > keyset.limit;
    rows.truncate(keyset.limit as usize);
    if keyset.backward {
        rows.reverse();
        return Slice { rows, has_previous: more, has_next: keyset.before.is_some() };
    }
    Slice { rows, has_previous: keyset.after.is_some(), has_next: more }
}
