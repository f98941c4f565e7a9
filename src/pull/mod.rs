//! Reading the SCIM sources of others: the client ([`client`]), what a look at a source finds ([`probe`]), and carrying
//! runs out ([`run`]). It speaks to the outside and hands over to the domain what it read. What must never enter: a
//! decision about whose account somebody is, or a query.

mod client;
pub mod probe;
mod run;

pub use run::work;
