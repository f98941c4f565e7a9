//! What the server keeps in memory and writes later, in batches. A crash loses at most a few
//! seconds of it; nothing here is a change that a client was answered.
//!
//! What must never enter: anything that a decision about access depends on.

pub mod credential_usage;
pub mod failure_repeats;
pub mod last_reads;
pub mod request_counts;
pub mod task_outcomes;
pub mod write_behind;
