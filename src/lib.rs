//! rolecall: access follows the identity provider.
//!
//! # The map
//!
//! Imports run one way: `main → cli → {graphql, scim, workers} → domain → context → {authz, error, ledger,
//! store, vault, issuers, entity}`. `graphql` and `scim` never see each other; `domain` never names HTTP, GraphQL or
//! SCIM messages and never calls out. A test (`walls`) holds this.
//!
//! | room | what it is for |
//! |---|---|
//! | [`scim`] | the door of identity providers: SCIM 2.0 requests become calls into the domain |
//! | [`graphql`] | the door of administrators and scripts: the management API |
//! | [`domain`] | one file a noun; everything that decides |
//! | [`context`] | who asks, for which organization; the one way to read and the one way to write |
//! | [`authz`] | the whole policy |
//! | [`requests`], [`repeats`], [`reads`] | what requests came to, what failed again, and what was read, kept in memory until it is written down |
//! | [`ledger`] | one row a change, chained by hashes |
//! | [`attest`], `signature`, [`audit`] | what is signed so that it can be checked offline, and the auditor's commands |
//! | [`pull`] | reading the SCIM sources of others |
//! | [`workers`] | what happens in the background |
//! | [`jwt`], [`issuers`], [`outbound`] | who vouches for people: the installation and the issuers it trusts, called in the one way to call out |
//! | [`store`], [`vault`], [`config`], `private_files` | the database, the keys, the settings, and who may read their files |
//! | [`keys`] | the commands that exchange keys for others |
//! | [`cli`], [`simulate`], [`demo`], [`bootstrap`], [`server`] | the command line, and what it starts |
//! | [`http_listener`] | connections of clients: accepted, limited, closed |
//! | `peer` | where a request comes from, behind proxies |
//! | [`metrics`] | figures for whoever watches the installation |
//! | [`installation`] | whether there is an installation at a place, and which server may run on it |
//! | [`progress`], [`output`] | a line that says how far something is, and what commands print |
//!
//! # Two journeys
//!
//! ```text
//! PATCH /scim/v2/acme/Groups/{id}  → scim/groups.rs: parse into operations
//!                                  → domain::group::change(&cx, id, |group| precondition & patch → GroupEdit)
//!                                  → Cx::write: one transaction: lock, allow, apply the delta, ledger row
//!                                    (one member, on PostgreSQL: one statement, Cx::write_at_once)
//! mutation groupAddMembers         → graphql/group.rs: input → GroupEdit
//!                                  → domain::group::change(&cx, id, |_| edit)      … the same transaction
//! ```

pub mod attest;
pub mod audit;
pub mod authz;
pub mod bootstrap;
pub mod cli;
pub mod config;
pub mod context;
pub mod demo;
pub mod domain;
pub mod error;
pub mod graphql;
pub mod http_listener;
pub mod installation;
pub mod issuers;
pub mod jwt;
pub mod keys;
pub mod ledger;
pub mod metrics;
pub mod outbound;
pub mod output;
mod peer;
mod private_files;
pub mod progress;
pub mod pull;
pub mod reads;
pub mod repeats;
pub mod requests;
pub mod scim;
pub mod server;
mod signature;
pub mod simulate;
pub mod store;
pub mod vault;
pub mod workers;
