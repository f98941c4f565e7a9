//! Documents that are named by their SHA-256 instead of being sent: automatic persisted queries, as Apollo's clients
//! ask for them, and a list of the only operations that run.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::StatusCode;

use super::operation::Fault;

/// Documents that are remembered, and bytes of them all together; the oldest is forgotten first.
const MAX_DOCUMENTS: usize = 1_000;
const MAX_BYTES: usize = 8 * 1024 * 1024;

type Hash = [u8; 32];

/// The documents of this server process by their hashes.
#[derive(Debug)]
pub enum Documents {
    /// Whatever clients have sent before, with its hash.
    Any(Mutex<Remembered>),
    /// These and no others.
    Listed(HashMap<Hash, Arc<str>>),
}

#[derive(Debug, Default)]
pub struct Remembered {
    texts: HashMap<Hash, Arc<str>>,
    oldest_first: VecDeque<Hash>,
    bytes: usize,
}

impl Documents {
    /// The listed ones, if there is a list.
    pub fn new(listed: Option<&Vec<String>>) -> Self {
        match listed {
            Some(texts) => Self::Listed(texts.iter().map(|text| (hash(text), text.as_str().into())).collect()),
            None => Self::Any(Mutex::default()),
        }
    }

    /// Whether nothing else runs than what the operator listed.
    pub fn are_listed(&self) -> bool {
        matches!(self, Self::Listed(_))
    }

    /// The text to run for what a client sent: a text, a hash in hexadecimal, or both.
    ///
    /// # Errors
    /// A [`Fault`] if the text is not known, is not the hash's, or is not listed.
    pub fn resolve(&self, text: Option<String>, named: Option<&str>) -> Result<Arc<str>, Fault> {
        let refused = |code, message: &str| Fault::new(StatusCode::BAD_REQUEST, code, message);
        let unknown = || refused("PERSISTED_QUERY_NOT_FOUND", "PersistedQueryNotFound");
        let named = named.map(|named| parse(named).ok_or_else(unknown)).transpose()?;
        match (text, named, self) {
            (None, None, _) => Err(Fault::bad("query is missing")),
            (None, Some(named), Self::Listed(listed)) => listed.get(&named).cloned().ok_or_else(unknown),
            (None, Some(named), Self::Any(any)) => lock(any).texts.get(&named).cloned().ok_or_else(unknown),
            (Some(text), Some(named), _) if hash(&text) != named => {
                Err(refused("PERSISTED_QUERY_HASH_MISMATCH", "the query's SHA-256 is not the one that came with it"))
            }
            (Some(text), _, Self::Listed(listed)) => listed.get(&hash(&text)).cloned().ok_or_else(|| {
                refused("OPERATION_NOT_ALLOWED", "this server runs only the operations that its operator has listed")
            }),
            (Some(text), _, Self::Any(_)) => Ok(text.into()),
        }
    }

    /// Remembers a text that came with its hash and was found good.
    pub fn remember(&self, text: &Arc<str>) {
        let Self::Any(any) = self else { return };
        let named = hash(text);
        let mut any = lock(any);
        if any.texts.insert(named, text.clone()).is_some() {
            return;
        }
        any.oldest_first.push_back(named);
        any.bytes += text.len();
        while any.bytes > MAX_BYTES || any.texts.len() > MAX_DOCUMENTS {
            let Some(oldest) = any.oldest_first.pop_front() else { return };
            let forgotten = any.texts.remove(&oldest);
            any.bytes -= forgotten.map_or(0, |text| text.len());
        }
    }
}

fn lock(any: &Mutex<Remembered>) -> MutexGuard<'_, Remembered> {
    any.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hash(text: &str) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    hash
}

/// 64 hexadecimal digits.
fn parse(text: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in hash.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(hash)
}
