//! Cursors (RFC 9865): a place in a list as a word of unreserved characters, bound to the question it belongs to.
//!
//! A cursor is no secret and grants nothing: who may see what is judged afresh on every page.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use crate::domain::list::{Cursor, Place};
use crate::error::{Error, Result, Rule};

/// Bytes of the question's digest that a cursor carries.
const BOUND: usize = 8;
/// A total that was never counted.
const UNCOUNTED: u64 = u64::MAX;

/// Kind, place, total, digest of the question.
pub fn write(cursor: &Cursor, question: &str) -> String {
    let (kind, place) = match cursor.place {
        Place::Beginning => (0, 0),
        Place::After(id) => (1, id.as_u128()),
        Place::Before(id) => (2, id.as_u128()),
        Place::Number(number) => (3, u128::from(number)),
    };
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&place.to_be_bytes());
    bytes.extend_from_slice(&cursor.total.unwrap_or(UNCOUNTED).to_be_bytes());
    bytes.extend_from_slice(&bound(question));
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads what [`write`] wrote for the same question; the empty cursor is the first page.
pub fn read(text: &str, question: &str) -> Result<Cursor> {
    if text.is_empty() {
        return Ok(Cursor { place: Place::Beginning, total: None });
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| foreign())?;
    let (kind, rest) = bytes.split_first_chunk::<1>().ok_or_else(foreign)?;
    let (place, rest) = rest.split_first_chunk::<16>().ok_or_else(foreign)?;
    let (total, rest) = rest.split_first_chunk::<8>().ok_or_else(foreign)?;
    if rest != bound(question) {
        return Err(foreign());
    }
    let place = u128::from_be_bytes(*place);
    let place = match kind {
        [0] => Place::Beginning,
        [1] => Place::After(Uuid::from_u128(place)),
        [2] => Place::Before(Uuid::from_u128(place)),
        [3] => Place::Number(i32::try_from(place).map_err(|_| foreign())?.unsigned_abs().into()),
        _ => return Err(foreign()),
    };
    let total = u64::from_be_bytes(*total);
    Ok(Cursor { place, total: (total <= i64::MAX as u64).then_some(total) })
}

fn bound(question: &str) -> [u8; BOUND] {
    let mut bytes = [0; BOUND];
    let whole = digest(&SHA256, question.as_bytes());
    bytes.iter_mut().zip(whole.as_ref()).for_each(|(byte, from)| *byte = *from);
    bytes
}

fn foreign() -> Error {
    let why = "was not issued for this query; begin again with an empty cursor and the same parameters on every page";
    Error::broken(Rule::Cursor, "cursor", why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_for_its_own_question_only() {
        let id = Uuid::now_v7();
        for place in [Place::Beginning, Place::After(id), Place::Before(id), Place::Number(300)] {
            for total in [None, Some(0), Some(20_000)] {
                let cursor = Cursor { place, total };
                let text = write(&cursor, "userName sw \"a\"");
                assert_eq!(read(&text, "userName sw \"a\"").ok(), Some(cursor));
                assert!(read(&text, "userName sw \"b\"").is_err());
                assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
            }
        }
    }

    #[test]
    fn rubbish_is_refused() {
        for text in ["x", "AAAA", "%00", "AQ==", &"A".repeat(44), &"A".repeat(4_000)] {
            assert!(read(text, "").is_err(), "{text}");
        }
    }
}
