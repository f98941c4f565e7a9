//! Stories over real HTTP, each with a server and a database of its own, on SQLite or PostgreSQL. They do
//! something and then look at the status, the body, the rows and the events; all end with the ledger verified.

mod adoption;
mod authz;
mod bad_input;
mod bad_input_graphql;
mod budget;
mod cli;
mod crash;
mod crowd;
mod database;
mod deletion;
mod demo;
mod dialects;
mod fuzz;
mod idempotency;
mod issuers;
mod parity;
mod process;
mod random_queries;
mod replicas;
mod request_log;
mod routes;
mod schema_extensions;
mod scim_bulk;
mod scim_groups;
mod scim_lists;
mod scim_users;
mod sdl;
mod socket;
mod subscriptions;
mod tenancy;
mod tenancy_graphql;
mod tour;
mod walk;
mod walls;
mod world;
