//! Keys: sealing of secrets, signatures, and the exchange of the master key.
//!
//! What must never enter: knowledge of what is sealed or signed.

pub mod cursor;
pub mod event_token;
pub(crate) mod signature;
pub mod vault;
pub mod webhook;
