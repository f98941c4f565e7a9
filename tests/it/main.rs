//! Stories over real HTTP, each with a server and a database of its own, on SQLite or PostgreSQL. They do
//! something and then look at the status, the body, the rows and the events; all end with the ledger verified.

mod adoption;
mod authz;
mod bad_input;
mod cli;
mod crash;
mod database;
mod deletion;
mod demo;
mod dialects;
mod process;
mod replicas;
mod routes;
mod scim_bulk;
mod scim_groups;
mod scim_lists;
mod scim_users;
mod tenancy;
mod tour;
mod walls;
mod world;
