//! Documents that clients name by their SHA-256 instead of sending them: automatic persisted
//! queries, as Apollo's clients use them, and a list of the operations that are allowed.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::StatusCode;

use crate::graphql::error_code::ErrorCode;
use crate::graphql::execute::RequestError;

/// The most documents that are cached, and the most bytes of all of them; the oldest is removed
/// first.
const MAX_CACHED_DOCUMENTS: usize = 1_000;
const MAX_CACHED_BYTES: usize = 8 * 1024 * 1024;

type DocumentHash = [u8; 32];

/// The documents of this server process by their hashes.
#[derive(Debug)]
pub enum PersistedDocuments {
    /// Every document is allowed. Those that clients sent with their hash are cached.
    Any(Mutex<DocumentCache>),
    /// Only these documents are allowed.
    Listed(HashMap<DocumentHash, Arc<str>>),
}

#[derive(Debug, Default)]
pub struct DocumentCache {
    texts: HashMap<DocumentHash, Arc<str>>,
    oldest_first: VecDeque<DocumentHash>,
    bytes: usize,
}

impl PersistedDocuments {
    /// The documents of the operator's list; without a list, an empty cache.
    pub fn new(listed: Option<&Vec<String>>) -> Self {
        match listed {
            Some(texts) => Self::Listed(
                texts.iter().map(|text| (hash_document(text), text.as_str().into())).collect(),
            ),
            None => Self::Any(Mutex::default()),
        }
    }

    /// Whether only the documents that the operator listed are allowed.
    pub fn is_allow_list(&self) -> bool {
        matches!(self, Self::Listed(_))
    }

    /// The document to run for what a client sent: a text, a hash in hexadecimal, or both.
    ///
    /// # Errors
    /// A [`RequestError`] if the hash is not known, if it is not the hash of the text, or if the
    /// text is not listed.
    pub fn resolve_document(
        &self,
        text: Option<String>,
        named: Option<&str>,
    ) -> Result<Arc<str>, RequestError> {
        let refused =
            |code, message: &str| RequestError::new(StatusCode::BAD_REQUEST, code, message);
        let unknown = || refused(ErrorCode::PersistedQueryNotFound, "PersistedQueryNotFound");
        let named = named.map(|named| parse_hash(named).ok_or_else(unknown)).transpose()?;
        match (text, named, self) {
            (None, None, _) => Err(RequestError::bad_request("query is missing")),
            (None, Some(named), Self::Listed(listed)) => {
                listed.get(&named).cloned().ok_or_else(unknown)
            }
            (None, Some(named), Self::Any(any)) => {
                lock_cache(any).texts.get(&named).cloned().ok_or_else(unknown)
            }
            (Some(text), Some(named), _) if hash_document(&text) != named => Err(refused(
                ErrorCode::PersistedQueryHashMismatch,
                "the query's SHA-256 is not the one that came with it",
            )),
            (Some(text), _, Self::Listed(listed)) => {
                listed.get(&hash_document(&text)).cloned().ok_or_else(|| {
                    refused(
                        ErrorCode::OperationNotAllowed,
                        "this server runs only the operations that its operator has listed",
                    )
                })
            }
            (Some(text), _, Self::Any(_)) => Ok(text.into()),
        }
    }

    /// Caches a valid document that came with its hash.
    pub fn cache_document(&self, text: &Arc<str>) {
        let Self::Any(any) = self else { return };
        let named = hash_document(text);
        let mut any = lock_cache(any);
        if any.texts.insert(named, text.clone()).is_some() {
            return;
        }
        any.oldest_first.push_back(named);
        any.bytes += text.len();
        while any.bytes > MAX_CACHED_BYTES || any.texts.len() > MAX_CACHED_DOCUMENTS {
            let Some(oldest) = any.oldest_first.pop_front() else { return };
            let forgotten = any.texts.remove(&oldest);
            any.bytes -= forgotten.map_or(0, |text| text.len());
        }
    }
}

fn lock_cache(any: &Mutex<DocumentCache>) -> MutexGuard<'_, DocumentCache> {
    any.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hash_document(text: &str) -> DocumentHash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    hash
}

/// Parses a hash of 64 hexadecimal digits.
fn parse_hash(text: &str) -> Option<DocumentHash> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).ok().map(|()| hash)
}
