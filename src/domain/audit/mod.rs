//! The ledger as administrators read it: events, and reports for auditors.

pub mod event;
mod event_list;
pub mod evidence;
pub mod revocation;
pub mod subject_owners;
