//! Tests over real HTTP, each with a server and a database of its own, on SQLite or PostgreSQL.
//! They check the status, the body, the rows and the events; almost all of them verify the ledger
//! at the end.

#![allow(clippy::disallowed_methods, reason = "tests look at the rows behind the server's back")]

mod access;
mod access_change_events;
mod access_log;
mod access_model;
mod adoption;
mod alerts;
mod assertions;
mod audit;
mod authz;
mod authzen;
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
mod console;
mod cors;
mod crash;
mod database;
mod deletion;
mod demo;
mod dialects;
mod documentation;
mod domains;
mod evidence;
mod examples;
mod failures;
mod forgeries;
mod frontend_pages;
mod fuzz;
mod giving;
mod graphql_shape;
mod health;
mod heavy_filters;
mod http_listener;
mod idempotency;
mod imports;
mod invitations;
mod issuers;
mod key_rotation;
mod leases;
mod list_order;
mod lists;
mod many;
mod operator;
mod parity;
mod plans;
mod platform;
mod process;
mod random_queries;
mod reconcile;
mod replicas;
mod reported_figures;
mod request_log;
mod revocation;
mod rights;
mod routes;
mod saml_sign_ins;
mod saml_upkeep;
mod schema_extensions;
mod scim_bulk;
mod scim_clients;
mod scim_groups;
mod scim_lists;
mod scim_users;
mod screens;
mod sdl;
mod security_events;
mod self_test;
mod setup_links;
mod sign_in;
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
mod webhooks;
mod world;

/// What the stories of single kinds of things add to the tests that look at all kinds.
const KIND_STORIES: &[walk::KindStory] = &[domains::STORY];
