//! The ledger as administrators read it: events, and reports for auditors.

pub mod event;
pub mod evidence;
