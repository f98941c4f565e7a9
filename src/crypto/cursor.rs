//! Cursors of pages, sealed: what a page ends with, such as a person's name, is not for the logs
//! and bookmarks in which clients keep cursors.
//!
//! Equal places give equal cursors, on every replica: the nonce is made of the place (as AES-SIV
//! does, RFC 5297), so nothing but equality shows. A cursor opens only for the organization that it
//! was made for. What must never enter: anything that must stay readable for long, because a new
//! master key ends all cursors.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

/// Bytes of a nonce.
const NONCE_LENGTH: usize = 12;

/// The keys that seal cursors, made of the installation's master key.
#[derive(Debug)]
pub struct CursorKey {
    seal: LessSafeKey,
    nonce: hmac::Key,
}

impl CursorKey {
    /// The keys for this master key; none if the cipher refuses it.
    pub fn from_master_key(master: &[u8; 32]) -> Option<Self> {
        let derive = |label: &[u8]| hmac::sign(&hmac::Key::new(HMAC_SHA256, master), label);
        let seal = UnboundKey::new(&AES_256_GCM, derive(b"rolecall cursor seal").as_ref()).ok()?;
        let nonce = hmac::Key::new(HMAC_SHA256, derive(b"rolecall cursor nonce").as_ref());
        Some(Self { seal: LessSafeKey::new(seal), nonce })
    }

    /// The cursor of a place in a list of `organization`.
    pub fn seal_place(&self, organization: Uuid, place: &str) -> Option<String> {
        let mut context = hmac::Context::with_key(&self.nonce);
        context.update(organization.as_bytes());
        context.update(place.as_bytes());
        let tag = context.sign();
        let nonce = tag.as_ref().get(..NONCE_LENGTH)?;
        let mut bytes = place.as_bytes().to_vec();
        let with = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let aad = Aad::from(organization.as_bytes());
        self.seal.seal_in_place_append_tag(with, aad, &mut bytes).ok()?;
        Some(URL_SAFE_NO_PAD.encode([nonce, &bytes].concat()))
    }

    /// The place of a cursor; none for one that was altered, or made elsewhere.
    pub fn open_cursor(&self, organization: Uuid, cursor: &str) -> Option<String> {
        let sealed = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (nonce, bytes) = sealed.split_at_checked(NONCE_LENGTH)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut bytes = bytes.to_vec();
        let aad = Aad::from(organization.as_bytes());
        let place = self.seal.open_in_place(nonce, aad, &mut bytes).ok()?;
        String::from_utf8(place.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_opens_only_at_home() {
        let key = CursorKey::from_master_key(&[7; 32]).unwrap();
        let (acme, globex) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let cursor = key.seal_place(acme, "name:Ada Lovelace").unwrap();
        assert_eq!(key.seal_place(acme, "name:Ada Lovelace").unwrap(), cursor);
        assert_ne!(key.seal_place(globex, "name:Ada Lovelace").unwrap(), cursor);
        assert_eq!(key.open_cursor(acme, &cursor).as_deref(), Some("name:Ada Lovelace"));
        assert_eq!(key.open_cursor(globex, &cursor), None);
        let other = CursorKey::from_master_key(&[8; 32]).unwrap();
        assert_eq!(other.open_cursor(acme, &cursor), None);
        let bytes = URL_SAFE_NO_PAD.decode(&cursor).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("Ada"));
        for place in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[place] ^= 1;
            assert_eq!(key.open_cursor(acme, &URL_SAFE_NO_PAD.encode(altered)), None);
        }
    }
}
