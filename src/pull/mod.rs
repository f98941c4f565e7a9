//! Reading the SCIM sources of others: the client ([`client`]), what a look at a source finds ([`probe`]), carrying
//! runs out ([`run`]), and reading again what failed ([`again`]). It speaks to the outside and hands over to the domain what it read. What must never enter: a
//! decision about whose account somebody is, or a query.

mod again;
mod client;
pub mod probe;
mod run;

pub use again::work as read_again;
pub use run::work;
