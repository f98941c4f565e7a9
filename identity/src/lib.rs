//! The data model of SCIM (RFC 7643): schemas, documents, and filters over documents.
//!
//! Everything here is computed from its arguments alone. What must never enter: the database, the
//! clock, and messages of a protocol.

pub mod document;
pub mod error;
pub mod filter;
pub mod schema;
