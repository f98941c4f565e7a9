//! Organizations, and the answers that are stored for repeated requests.

pub mod domain;
pub mod idempotency;
pub mod lifecycle;
pub mod organization;
