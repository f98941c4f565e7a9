//! Reading SCIM sources: the client ([`client`]), the test of a source ([`probe`]), what carries
//! out a sync run ([`sync_worker`]), and what reads again what failed ([`retry_worker`]); and the
//! test of this server's own public URL ([`self_test`]). It speaks to other servers and passes what
//! it read to the domain. What must never enter: a decision about which account belongs to a
//! person, or a query of the database.

mod client;
pub mod probe;
mod retry_worker;
pub mod self_test;
mod sync_worker;

pub use retry_worker::{ReadAttemptEnd, attempt_read};
pub use sync_worker::carry_out_run;
