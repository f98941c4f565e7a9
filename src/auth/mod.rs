//! Who may do what, and which issuers are trusted to say who a person is.
//!
//! What must never enter: the database.

pub mod issuers;
pub mod policy;
