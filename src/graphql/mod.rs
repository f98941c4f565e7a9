//! The management door: GraphQL at `/graphql`, for admin frontends and scripts.
//!
//! This wing translates and decides nothing: a query becomes reads of `domain`, a mutation becomes one call of it,
//! errors become codes. What every field needs stands on the field ([`auth`]), what a document may cost in
//! [`limits`], ids, pages and errors in [`page`], how many rows become one statement in [`loaders`]. An
//! [`operation`] arrives over [`http`], as an event stream ([`sse`]) or over a [`websocket`], is perhaps named by a
//! hash ([`persisted`]), and is paid for ([`budget`]); then there is one file a noun. Many operations at once come as a
//! file ([`bulk`]). What must never enter: a database query, a rule about who may do what.

mod access;
mod adoption;
mod auth;
mod budget;
mod bulk;
mod change;
mod checkup;
mod connection;
mod deletion;
mod event;
mod evidence;
mod extension;
mod failure;
mod grant;
mod graphiql;
mod group;
mod health;
mod http;
mod key;
mod leaver;
pub mod limits;
mod loaders;
mod mapping;
mod needs;
mod node;
mod operation;
mod order;
mod organization;
mod overview;
mod page;
mod persisted;
mod reconcile;
mod replay;
mod request_log;
mod restoration;
mod role;
mod sse;
mod streams;
mod subscription;
mod sync;
#[cfg(test)]
mod tests;
mod token;
mod user;
mod viewer;
mod websocket;

use std::sync::{Arc, LazyLock};

use async_graphql::{MergedObject, SDLExportOptions};
use axum::Router;
use axum::routing::{get, post};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::context::App;

pub use bulk::run::work;

/// What can be read.
#[derive(MergedObject, Default)]
struct Query(viewer::ViewerQuery, organization::OrganizationQuery, node::NodeQuery);

/// What can be done. One mutation is one logical action; mistakes that a person can correct are in `userErrors`.
#[derive(MergedObject, Default)]
struct Mutation(
    organization::OrganizationMutation,
    connection::ConnectionMutation,
    token::TokenMutation,
    key::ApiKeyMutation,
    user::UserMutation,
    deletion::DeletionMutation,
    restoration::RestorationMutation,
    adoption::AdoptionMutation,
    group::GroupMutation,
    role::RoleMutation,
    mapping::RoleMappingMutation,
    grant::RoleGrantMutation,
    change::AccessMutation,
    extension::SchemaExtensionMutation,
    bulk::BulkJobMutation,
    failure::FailureMutation,
    sync::SyncMutation,
    reconcile::ReconciliationMutation,
);

type Schema = async_graphql::Schema<Query, Mutation, subscription::Subscription>;

type Builder = async_graphql::SchemaBuilder<Query, Mutation, subscription::Subscription>;

fn builder() -> Builder {
    Schema::build(Query::default(), Mutation::default(), subscription::Subscription)
        .override_output_type_description::<DateTime<Utc>>("An instant as RFC 3339 writes it, in UTC.")
        .override_output_type_description::<Uuid>("A UUID as RFC 9562 writes it.")
        .override_output_type_description::<serde_json::Value>("Any JSON value.")
}

/// The schema is the same for every request: built once.
fn schema() -> &'static Schema {
    static SCHEMA: LazyLock<Schema> = LazyLock::new(|| builder().extension(auth::Gate).finish());
    &SCHEMA
}

/// The same without the gatekeeper, for queries that [`needs`] has let through as a whole.
fn open_schema() -> &'static Schema {
    static SCHEMA: LazyLock<Schema> = LazyLock::new(|| builder().finish());
    &SCHEMA
}

/// The whole schema in the schema definition language, with what every field requires.
pub fn sdl() -> String {
    schema().sdl_with_options(SDLExportOptions::new().prefer_single_line_descriptions().use_space_ident())
}

/// What every request over this door shares.
struct Door {
    app: Arc<App>,
    streams: Arc<streams::Streams>,
    documents: persisted::Documents,
    budgets: budget::Budgets,
}

/// Bytes of an upload that cost as much as a field.
const BYTES_PER_COST: u64 = 128;

impl Door {
    /// Takes what an upload of so many bytes costs off its caller's budget, before any of it is stored.
    ///
    /// # Errors
    /// A [`Fault`](operation::Fault) with the seconds until there is enough again.
    fn charge(&self, caller: &auth::Caller, bytes: u64) -> Result<(), operation::Fault> {
        self.budgets.take(&caller.principal(), bytes / BYTES_PER_COST + 1).map(|_| ())
    }
}

/// `/graphql`, the files of the page there, bulk jobs, exports to reconcile with, and the exports of evidence.
pub fn router(app: Arc<App>) -> Router {
    let documents = persisted::Documents::new(app.config.graphql.operations.as_ref());
    let budgets = budget::Budgets::new(app.config.graphql.cost_limit);
    let door = Arc::new(Door { app, streams: Arc::default(), documents, budgets });
    Router::new()
        .route("/graphql", get(http::get).post(http::post).fallback(http::wrong_method))
        .route("/graphql/assets/{name}", get(graphiql::asset))
        .route("/bulk", post(bulk::upload::post))
        .route("/bulk/{id}/result.jsonl", get(bulk::result::get))
        .route("/reconciliations", post(reconcile::upload::post))
        .route("/evidence/checkpoint", get(evidence::checkpoint))
        .route("/evidence/{report}", get(evidence::export))
        .with_state(door)
}
