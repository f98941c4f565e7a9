//! rolecall: access follows the identity provider.
//!
//! # Layout
//!
//! Imports run one way:
//! `main → cli → server → {graphql, scim, authzen, ssf, console, jobs} → domain → context →
//! ledger → {auth, crypto, db, identity, buffers} → error`. The interfaces never use each other;
//! `domain` never names HTTP, GraphQL or SCIM messages and never calls out. A test
//! (`tests/it/imports.rs`) holds this.
//!
//! | module | what it is for |
//! |---|---|
//! | [`scim`] | SCIM 2.0 for identity providers: requests become calls of the domain |
//! | [`graphql`] | the management API for administrators and scripts |
//! | [`authzen`] | decisions for applications: whether a person may do something |
//! | [`ssf`] | streams of security event tokens: receivers manage and poll them |
//! | [`console`] | the files of the web application; one-time links |
//! | [`jobs`] | background work: one table of tasks and queues, and the loops that run them |
//! | [`server`] | routes, health checks, metrics, orderly shutdown |
//! | [`domain`] | all rules and decisions; one file or folder for each noun |
//! | [`scim_client`] | reading SCIM servers |
//! | [`sign_in`] | verifying what identity providers say at sign-ins; signing people in |
//! | [`event_delivery`] | delivering events to destinations: webhooks, security event tokens |
//! | [`context`] | the caller and its organization; the only ways to read and to write |
//! | [`ledger`] | one row for each change, chained by hashes; attestations, checked offline |
//! | [`identity`] | the data model of SCIM: schemas, documents, filters; pure; a crate of its own |
//! | [`auth`] | the policy, and the issuers that are trusted to identify a person |
//! | [`crypto`] | the master key, data keys, signing keys |
//! | [`db`] | connections, transactions, raw statements, leases; knows no domain tables |
//! | [`buffers`] | counts and last uses, kept in memory and written in batches |
//! | [`config`], [`error`] | the settings; the errors that the domain knows |
//! | [`http_client`] | the only way to call other servers |
//! | [`dns_client`] | the only way to look up records of domains |
//! | `mail_client` | the only way to send mail |
//! | [`http_listener`] | connections of clients: accepted, limited, closed |
//! | `request_head` | the caller, the id and the address that a request names |
//! | [`message_parts`] | what a message says, as stable codes |
//! | [`trace_context`] | where work stands in a trace; the spans that several modules make |
//! | [`cli`] | the command line and the demo |
//! | `saml` | SAML 2.0: responses verified, metadata, requests; a crate of its own |
//! | `simulator` | a simulated identity provider; a crate of its own, which knows no other |
//!
//! # Two requests
//!
//! ```text
//! PATCH /scim/v2/acme/Groups/{id}
//!   → scim/groups.rs: parse into operations
//!   → domain::directory::group::change_group(&cx, id, |group| precondition & patch → GroupEdit)
//!   → Cx::write: one transaction: lock, allow, apply the change, ledger row
//!     (one member, on PostgreSQL: one statement, Cx::write_optimistically)
//! mutation groupAddMembers
//!   → graphql/group.rs: input → GroupEdit
//!   → domain::directory::group::change_group(&cx, id, |_| edit)   … the same transaction
//! ```

pub mod auth;
pub mod authzen;
pub mod buffers;
pub mod cli;
pub mod config;
pub mod console;
pub mod context;
pub mod crypto;
pub mod db;
pub mod dns_client;
pub mod domain;
pub mod error;
pub mod event_delivery;
pub mod graphql;
pub mod http_client;
pub mod http_listener;
pub use identity;
pub mod jobs;
pub mod ledger;
mod mail_client;
pub mod message_parts;
mod request_head;
pub mod scim;
pub mod scim_client;
pub mod server;
pub mod sign_in;
pub mod ssf;
pub mod trace_context;
