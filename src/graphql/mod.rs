//! The management API: GraphQL at `/graphql`, for admin frontends and scripts.
//!
//! This module translates and decides nothing: a query becomes reads of `domain`, a mutation
//! becomes one call of it, errors become codes. Every field declares the permission that it needs
//! ([`permission`]). A text becomes a [`document`]; its form has limits ([`document_limits`]), it
//! must fit the schema ([`validation`]), and its [`cost`] is limited. Ids, pages and errors are in
//! [`relay`] and [`error_code`]; [`loaders`] combine the reads of many rows into one statement. A
//! request arrives over [`http`], as an event stream ([`sse`]) or over a [`websocket`]. Its
//! document may be named by a hash ([`persisted`]), it is charged to the caller's [`budget`], and
//! [`execute`] runs it. The other files hold one noun each. Many operations at once come as a file
//! ([`bulk`]). What must never enter: a database query, a rule about who may do what.

mod access;
mod adoption;
mod alert;
mod api_key;
mod assertion_source;
mod assertion_submit;
mod auth;
mod budget;
mod bulk;
mod change_set;
mod connection;
mod cors;
pub mod cost;
mod decision;
mod deletion;
mod delivery;
mod destination;
mod diagnostics;
pub mod document;
pub mod document_limits;
mod domain;
pub mod error_code;
mod event;
mod event_action;
mod event_stream;
mod evidence;
mod execute;
mod extension_values;
mod failure;
mod failure_cause;
mod graphiql;
mod group;
mod health;
mod http;
mod idempotency;
mod invitation;
mod job;
mod job_object;
mod kinds;
mod leaver;
mod ledger_chain;
mod list_filter;
mod list_states;
mod loaders;
mod many;
mod many_mutations;
mod message_part;
mod node;
mod node_reference;
mod order;
mod organization;
mod overview;
mod payload;
mod permission;
mod permission_guard;
mod permission_notes;
mod persisted;
mod platform;
mod reconcile;
mod relay;
mod request_log;
mod restoration;
mod role;
mod role_grant;
mod role_mapping;
mod saml_key;
mod saml_source;
mod schema_extension;
mod scim_endpoints;
mod scim_token;
mod self_test;
mod setup_link;
mod sse;
mod streams;
mod subscription;
mod sync;
#[cfg(test)]
mod tests;
mod user;
mod user_error;
mod user_filter;
pub mod validation;
mod viewer;
mod websocket;

use std::sync::{Arc, LazyLock};

use async_graphql::{MergedObject, SDLExportOptions, ValidationMode};
use axum::Router;
use axum::routing::{get, post};
use chrono::{DateTime, Utc};
use tower::util::option_layer;
use uuid::Uuid;

use crate::context::App;

pub use bulk::run::carry_out_job;

/// The root of all queries.
#[derive(MergedObject, Default)]
#[graphql(name = "Query")]
struct QueryRoot(
    viewer::ViewerQuery,
    organization::OrganizationQuery,
    platform::PlatformQuery,
    node::NodeQuery,
);

/// The root of all mutations. One mutation is one logical action; mistakes that a person can
/// correct are in `userErrors`.
#[derive(MergedObject, Default)]
#[graphql(name = "Mutation")]
struct MutationRoot(
    viewer::ViewerMutation,
    organization::OrganizationMutation,
    platform::PlatformMutation,
    connection::ConnectionMutation,
    assertion_source::AssertionSourceMutation,
    saml_key::SamlKeyMutation,
    assertion_submit::AssertionMutation,
    scim_token::TokenMutation,
    self_test::SelfTestMutation,
    setup_link::SetupLinkMutation,
    api_key::ApiKeyMutation,
    user::UserMutation,
    deletion::DeletionMutation,
    restoration::RestorationMutation,
    adoption::AdoptionMutation,
    group::GroupMutation,
    role::RoleMutation,
    role_mapping::RoleMappingMutation,
    role_grant::RoleGrantMutation,
    change_set::AccessMutation,
    schema_extension::SchemaExtensionMutation,
    alert::AlertMutation,
    leaver::RevocationMutation,
    bulk::BulkJobMutation,
    failure::FailureMutation,
    many_mutations::ManyMutation,
    sync::SyncMutation,
    reconcile::ReconciliationMutation,
    destination::DestinationMutation,
    delivery::DeliveryMutation,
    domain::DomainMutation,
    invitation::InvitationMutation,
);

type GraphqlSchema = async_graphql::Schema<
    QueryRoot,
    MutationRoot,
    permission_notes::LastRoot<subscription::SubscriptionRoot>,
>;

/// The schema is the same for every request: built once.
fn schema() -> &'static GraphqlSchema {
    static SCHEMA: LazyLock<GraphqlSchema> = LazyLock::new(|| {
        GraphqlSchema::build(
            QueryRoot::default(),
            MutationRoot::default(),
            permission_notes::LastRoot(subscription::SubscriptionRoot),
        )
        .override_output_type_description::<DateTime<Utc>>(
            "An instant as RFC 3339 writes it, in UTC.",
        )
        .override_output_type_description::<Uuid>("A UUID as RFC 9562 writes it.")
        .override_output_type_description::<serde_json::Value>("Any JSON value.")
        // The documents were validated before: see `validation`.
        .validation_mode(ValidationMode::Fast)
        .register_output_type::<job_object::JobInterface>()
        .data(node::NODE_FINDER)
        .extension(permission_guard::PermissionGuardFactory)
        .finish()
    });
    &SCHEMA
}

/// The whole schema in the schema definition language, with the permission that every field
/// requires.
pub fn export_sdl() -> String {
    schema().sdl_with_options(
        SDLExportOptions::new().prefer_single_line_descriptions().use_space_ident(),
    )
}

/// What all requests to the management API share.
struct GraphqlState {
    app: Arc<App>,
    streams: Arc<streams::OpenStreams>,
    documents: persisted::PersistedDocuments,
    budgets: budget::CallerBudgets,
}

/// Bytes of an upload that cost as much as a field.
const BYTES_PER_COST: u64 = 128;

impl GraphqlState {
    /// Charges an upload of this many bytes to its caller's budget, before any of it is stored.
    ///
    /// # Errors
    /// A [`RequestError`](execute::RequestError) with the seconds until the budget is sufficient
    /// again.
    fn charge_upload(
        &self,
        caller: &auth::ApiCaller,
        bytes: u64,
    ) -> Result<(), execute::RequestError> {
        self.budgets.charge_cost(&caller.principal(), bytes / BYTES_PER_COST + 1).map(|_| ())
    }
}

/// The routes: `/graphql` and the files of GraphiQL, bulk jobs, uploads of exports to reconcile
/// with, and exports of evidence.
pub fn build_graphql_router(app: Arc<App>) -> Router {
    let documents = persisted::PersistedDocuments::new(app.config.graphql.operations.as_ref());
    let cors = cors::build_cors_layer(app.config.graphql.origins.header_values());
    let budgets = budget::CallerBudgets::new(app.config.graphql.cost_limit);
    let door = Arc::new(GraphqlState { app, streams: Arc::default(), documents, budgets });
    Router::new()
        .route(
            "/graphql",
            get(http::get_graphql).post(http::post_graphql).fallback(http::refuse_method),
        )
        .route("/graphql/assets/{name}", get(graphiql::serve_asset))
        .route("/bulk", post(bulk::upload::post_bulk_job))
        .route("/bulk/{id}/result.jsonl", get(bulk::result::get_bulk_result))
        .route("/reconciliations", post(reconcile::upload::post_reconciliation))
        .route("/evidence/checkpoint", get(evidence::get_checkpoint))
        .route("/evidence/{report}", get(evidence::get_report))
        .with_state(door)
        .layer(option_layer(cors))
}
