//! Signals: events go to programs outside. A destination belongs to an organization and gets its
//! events. Each destination reads the ledger with a cursor of its own; there is no
//! queue. What must never enter: a call to the outside, which [`crate::event_delivery`] makes.

pub mod delivery;
pub mod destination;
pub mod filter;
pub mod payload;
pub mod secret;
pub mod stream;
mod webhook_keys;
pub mod work;

pub use destination::Destination;
