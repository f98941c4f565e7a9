//! Tests over real HTTP, each with a server and a database of its own, on SQLite or PostgreSQL.
//! They check the status, the body, the rows and the events; almost all of them verify the ledger
//! at the end.

#![allow(clippy::disallowed_methods, reason = "tests look at the rows behind the server's back")]

mod access;
mod access_change_events;
mod access_log;
mod access_model;
mod adoption;
mod audit;
mod authz;
mod bad_input;
mod bad_input_graphql;
mod budget;
mod bulk;
mod cli;
mod combined_writes;
mod command_conventions;
mod concurrent_access_edits;
mod concurrent_clients;
mod connections;
mod cors;
mod crash;
mod database;
mod deletion;
mod demo;
mod dialects;
mod documentation;
mod evidence;
mod examples;
mod failures;
mod forgeries;
mod fuzz;
mod graphql_shape;
mod health;
mod heavy_filters;
mod http_listener;
mod idempotency;
mod imports;
mod issuers;
mod key_rotation;
mod leases;
mod list_order;
mod lists;
mod operator;
mod parity;
mod plans;
mod process;
mod random_queries;
mod reconcile;
mod replicas;
mod reported_figures;
mod request_log;
mod rights;
mod routes;
mod schema_extensions;
mod scim_bulk;
mod scim_clients;
mod scim_groups;
mod scim_lists;
mod scim_users;
mod sdl;
mod socket;
mod storage_faults;
mod subscriptions;
mod sync;
mod tasks;
mod tenancy;
mod tenancy_graphql;
mod time_limits;
mod tour;
#[cfg(feature = "otlp")]
mod traces;
mod walk;
mod world;
