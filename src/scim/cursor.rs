//! Cursors (RFC 9865): a position in a list as text of unreserved characters, bound to one query.
//!
//! A cursor is no secret and grants nothing: every page checks the rights of the caller again.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use crate::domain::paging::{CursorPlace, ListCursor};
use crate::error::{Error, Result, Rule};

/// How many bytes of the query's digest a cursor carries.
const QUERY_DIGEST_BYTES: usize = 8;
/// Stands for a total that was not counted.
const UNCOUNTED_TOTAL: u64 = u64::MAX;

/// Writes a cursor: kind, position, total and digest of the query.
pub fn encode_cursor(cursor: &ListCursor, question: &str) -> String {
    let (kind, place) = match cursor.place {
        CursorPlace::Beginning => (0, 0),
        CursorPlace::After(id) => (1, id.as_u128()),
        CursorPlace::Before(id) => (2, id.as_u128()),
        CursorPlace::Number(number) => (3, u128::from(number)),
    };
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&place.to_be_bytes());
    bytes.extend_from_slice(&cursor.total.unwrap_or(UNCOUNTED_TOTAL).to_be_bytes());
    bytes.extend_from_slice(&query_digest(question));
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads a cursor that [`encode_cursor`] wrote for the same query; the empty cursor is the first
/// page.
pub fn decode_cursor(text: &str, question: &str) -> Result<ListCursor> {
    if text.is_empty() {
        return Ok(ListCursor { place: CursorPlace::Beginning, total: None });
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| mismatched_cursor())?;
    let (kind, rest) = bytes.split_first_chunk::<1>().ok_or_else(mismatched_cursor)?;
    let (place, rest) = rest.split_first_chunk::<16>().ok_or_else(mismatched_cursor)?;
    let (total, rest) = rest.split_first_chunk::<8>().ok_or_else(mismatched_cursor)?;
    if rest != query_digest(question) {
        return Err(mismatched_cursor());
    }
    let place = u128::from_be_bytes(*place);
    let place = match kind {
        [0] => CursorPlace::Beginning,
        [1] => CursorPlace::After(Uuid::from_u128(place)),
        [2] => CursorPlace::Before(Uuid::from_u128(place)),
        [3] => CursorPlace::Number(
            i32::try_from(place).map_err(|_| mismatched_cursor())?.unsigned_abs().into(),
        ),
        _ => return Err(mismatched_cursor()),
    };
    let total = u64::from_be_bytes(*total);
    Ok(ListCursor { place, total: (total <= i64::MAX as u64).then_some(total) })
}

fn query_digest(question: &str) -> [u8; QUERY_DIGEST_BYTES] {
    let mut bytes = [0; QUERY_DIGEST_BYTES];
    let whole = digest(&SHA256, question.as_bytes());
    bytes.iter_mut().zip(whole.as_ref()).for_each(|(byte, from)| *byte = *from);
    bytes
}

fn mismatched_cursor() -> Error {
    let why = "was not issued for this query; begin again with an empty cursor and the same \
               parameters on every page";
    Error::broken(Rule::Cursor, "cursor", why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_for_its_own_question_only() {
        let id = Uuid::now_v7();
        for place in [
            CursorPlace::Beginning,
            CursorPlace::After(id),
            CursorPlace::Before(id),
            CursorPlace::Number(300),
        ] {
            for total in [None, Some(0), Some(20_000)] {
                let cursor = ListCursor { place, total };
                let text = encode_cursor(&cursor, "userName sw \"a\"");
                assert_eq!(decode_cursor(&text, "userName sw \"a\"").ok(), Some(cursor));
                assert!(decode_cursor(&text, "userName sw \"b\"").is_err());
                assert!(
                    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
                );
            }
        }
    }

    #[test]
    fn rubbish_is_refused() {
        for text in ["x", "AAAA", "%00", "AQ==", &"A".repeat(44), &"A".repeat(4_000)] {
            assert!(decode_cursor(text, "").is_err(), "{text}");
        }
    }
}
