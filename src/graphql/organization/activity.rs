//! The activity in an organization: events, requests, failures, findings, runs and jobs.

use async_graphql::{Context, ID, Object};

use super::super::api_key::ApiKeyObject;
use super::super::bulk::BulkJob;
use super::super::deletion::DeletionJob;
use super::super::destination::{DestinationFilter, DestinationObject};
use super::super::event::{EventFilter, EventObject};
use super::super::failure::{FailureCount, FailureFilter, FailureObject};
use super::super::health::{self, AttentionItem};
use super::super::list_filter::{
    ApiKeyFilter, BulkJobFilter, DeletionJobFilter, ReconciliationFilter, SetupLinkFilter,
    SyncRunFilter,
};
use super::super::loaders::{self, DestinationId, FailureId, FindingId, SyncRunId};
use super::super::order::{
    ApiKeyOrder, BulkJobOrder, DeletionJobOrder, DestinationOrder, EventOrder, FailureOrder,
    FindingOrder, ListOrder, ReconciliationOrder, RequestLogEntryOrder, SetupLinkOrder,
    SyncRunOrder,
};
use super::super::permission::{Permission, needs};
use super::super::reconcile::{FindingFilter, FindingObject, ReconciliationObject};
use super::super::request_log::{RequestLogEntry, RequestLogEntryFilter};
use super::super::schema_extension::SchemaExtension;
use super::super::setup_link::SetupLinkObject;
use super::super::sync::SyncRun;
use crate::domain::access::api_key;
use crate::domain::audit::event;
use crate::domain::connection::{request_log, setup_link};
use crate::domain::directory::{deletion, schema_extension};
use crate::domain::signal::destination;
use crate::domain::{bulk, reconcile, review, sync};
use crate::error::Result;
use crate::graphql::relay;
use crate::graphql::relay::{NodeKind, PageArguments, RelayPage};
/// The activity in an organization: events, requests, failures, findings, runs and jobs.
#[derive(Default)]
pub struct OrganizationActivity;

#[Object(name = "Work")]
impl OrganizationActivity {
    /// The ledger: every change that was ever made in the organization, the latest first unless
    /// ordered otherwise.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn events(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match every field of it.")] filter: Option<EventFilter>,
        #[graphql(desc = "In which order; a cursor belongs to the order that it came with.")]
        order_by: Option<EventOrder>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<RelayPage<EventObject>>> {
        let cx = relay::cx(ctx)?;
        let order = order_by.map_or(ListOrder::NEWEST_FIRST, Into::into);
        let keyset =
            PageArguments { first, after, last, before }.to_keyset(ctx, order.descending)?;
        let Some(which) = filter.unwrap_or_default().into_domain_filter()? else {
            return Ok(Some(RelayPage::empty()));
        };
        let total = if relay::selects_total_count(ctx) {
            event::count_events(cx, &which).await?
        } else {
            0
        };
        let rows = event::list_events(cx, &which, &keyset).await?;
        Ok(Some(RelayPage::new(rows.map(Into::into), |row: &EventObject| row.0.pos, total)))
    }

    /// The schemas that the organization added to its users and groups, oldest first; at most 20.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn schema_extensions(&self, ctx: &Context<'_>) -> Result<Option<Vec<SchemaExtension>>> {
        let rows = schema_extension::list_extensions(relay::cx(ctx)?).await?;
        Ok(Some(rows.into_iter().map(Into::into).collect()))
    }

    /// What an administrator should act on now: everything that waits for a decision or will soon
    /// fail, the most urgent first. Each item says what to do.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn attention(&self, ctx: &Context<'_>) -> Result<Option<Vec<AttentionItem>>> {
        health::list_attention_items(ctx).await.map(Some)
    }

    /// The request log: what identity providers wanted, the outcome and what to do next, newest
    /// first unless ordered otherwise. Entries are kept for 30 days.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn request_log(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match every field of it.")] filter: Option<
            RequestLogEntryFilter,
        >,
        #[graphql(desc = "In which order; a cursor belongs to the order that it came with.")]
        order_by: Option<RequestLogEntryOrder>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<RelayPage<RequestLogEntry>>> {
        let order = order_by.map_or(ListOrder::NEWEST_FIRST, Into::into);
        let list =
            relay::ListRequest::new(ctx, order, PageArguments { first, after, last, before })?;
        let cx = list.cx;
        let Some(which) = filter.unwrap_or_default().into_domain_query()? else {
            return Ok(Some(RelayPage::empty()));
        };
        let rows =
            Box::pin(request_log::list_request_log_ordered(cx, which, list.by, &list.keyset));
        list.fetch_page(Box::pin(request_log::count_request_log(cx, which)), rows).await
    }

    /// The review queue: writes of connections that were refused or failed, the latest first unless
    /// ordered otherwise.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn failures(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match every field of it.")] filter: Option<FailureFilter>,
        #[graphql(desc = "In which order; a cursor belongs to the order that it came with.")]
        order_by: Option<FailureOrder>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<RelayPage<FailureObject>>> {
        let order = order_by.map_or(ListOrder::NEWEST_FIRST, Into::into);
        let list =
            relay::ListRequest::new(ctx, order, PageArguments { first, after, last, before })?;
        let cx = list.cx;
        let filter = filter.unwrap_or_default();
        filter.check_permission(cx)?;
        let Some(which) = filter.into_domain_query()? else {
            return Ok(Some(RelayPage::empty()));
        };
        let rows = Box::pin(review::list_failures_ordered(cx, &which, list.by, &list.keyset));
        list.fetch_page(Box::pin(review::count_failures(cx, &which)), rows).await
    }

    /// One failure; null if there is none with this id.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn failure(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The failure's global id.")] id: ID,
    ) -> async_graphql::Result<Option<FailureObject>> {
        let Some(id) = relay::parse_id_of_kind(NodeKind::Failure, &id) else { return Ok(None) };
        Ok(loaders::load_one(ctx, FailureId(id)).await?.map(Into::into))
    }

    /// How many failures in the review queue are unfinished, by cause.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn failure_counts(&self, ctx: &Context<'_>) -> Result<Option<Vec<FailureCount>>> {
        Ok(Some(
            review::tally_by_cause(relay::cx(ctx)?).await?.into_iter().map(Into::into).collect(),
        ))
    }

    /// The bulk jobs of the caller, the latest first unless ordered otherwise; with IAM_READ those
    /// of all callers. Kept for 30 days.
    #[graphql(directive = needs::apply(None))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn bulk_jobs(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match every field of it.")] filter: Option<BulkJobFilter>,
        #[graphql(desc = "In which order; a cursor belongs to the order that it came with.")]
        order_by: Option<BulkJobOrder>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<RelayPage<BulkJob>>> {
        let order = order_by.map_or(ListOrder::NEWEST_FIRST, Into::into);
        let list =
            relay::ListRequest::new(ctx, order, PageArguments { first, after, last, before })?;
        let cx = list.cx;
        let Some(states) = filter.unwrap_or_default().into_domain_states() else {
            return Ok(Some(RelayPage::empty()));
        };
        let rows = Box::pin(bulk::list_jobs(cx, &states, list.by, &list.keyset));
        list.fetch_page(Box::pin(bulk::count_jobs(cx, &states)), rows).await
    }

    /// The deletions of all provisioned users, the latest first unless ordered otherwise. Ended
    /// ones are remembered for a while.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn deletion_jobs(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match every field of it.")] filter: Option<
            DeletionJobFilter,
        >,
        #[graphql(desc = "In which order; a cursor belongs to the order that it came with.")]
        order_by: Option<DeletionJobOrder>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<RelayPage<DeletionJob>>> {
        let order = order_by.map_or(ListOrder::NEWEST_FIRST, Into::into);
        let list =
            relay::ListRequest::new(ctx, order, PageArguments { first, after, last, before })?;
        let cx = list.cx;
        let Some(which) = filter.unwrap_or_default().into_domain_query()? else {
            return Ok(Some(RelayPage::empty()));
        };
        let rows = Box::pin(deletion::list_deletions(cx, &which, list.by, &list.keyset));
        list.fetch_page(Box::pin(deletion::count_deletions(cx, &which)), rows).await
    }

    /// The sync runs of all connections, the latest first unless ordered otherwise.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn sync_runs(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match every field of it.")] filter: Option<SyncRunFilter>,
        #[graphql(desc = "In which order; a cursor belongs to the order that it came with.")]
        order_by: Option<SyncRunOrder>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<RelayPage<SyncRun>>> {
        let order = order_by.map_or(ListOrder::NEWEST_FIRST, Into::into);
        let list =
            relay::ListRequest::new(ctx, order, PageArguments { first, after, last, before })?;
        let cx = list.cx;
        let Some(which) = filter.unwrap_or_default().into_domain_query()? else {
            return Ok(Some(RelayPage::empty()));
        };
        let rows = Box::pin(sync::list_runs(cx, &which, list.by, &list.keyset));
        list.fetch_page(Box::pin(sync::count_runs(cx, &which)), rows).await
    }

    /// The reconciliations: comparisons of connections with what their identity providers say, the
    /// latest first unless ordered otherwise.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn reconciliations(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match every field of it.")] filter: Option<
            ReconciliationFilter,
        >,
        #[graphql(desc = "In which order; a cursor belongs to the order that it came with.")]
        order_by: Option<ReconciliationOrder>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<RelayPage<ReconciliationObject>>> {
        let order = order_by.map_or(ListOrder::NEWEST_FIRST, Into::into);
        let list =
            relay::ListRequest::new(ctx, order, PageArguments { first, after, last, before })?;
        let cx = list.cx;
        let Some(which) = filter.unwrap_or_default().into_domain_query()? else {
            return Ok(Some(RelayPage::empty()));
        };
        let rows = Box::pin(reconcile::list_runs(cx, &which, list.by, &list.keyset));
        list.fetch_page(Box::pin(reconcile::count_runs(cx, &which)), rows).await
    }

    /// One reconciliation; null if there is none with this id.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn reconciliation(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The reconciliation's global id.")] id: ID,
    ) -> Result<Option<ReconciliationObject>> {
        let Some(id) = relay::parse_id_of_kind(NodeKind::Reconciliation, &id) else {
            return Ok(None);
        };
        ReconciliationObject::find_by_id(relay::cx(ctx)?, id).await
    }

    /// The findings of reconciliations: differences between rolecall and the identity providers,
    /// the latest first unless ordered otherwise.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn findings(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match every field of it.")] filter: Option<FindingFilter>,
        #[graphql(desc = "In which order; a cursor belongs to the order that it came with.")]
        order_by: Option<FindingOrder>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<RelayPage<FindingObject>>> {
        let order = order_by.map_or(ListOrder::NEWEST_FIRST, Into::into);
        let list =
            relay::ListRequest::new(ctx, order, PageArguments { first, after, last, before })?;
        let cx = list.cx;
        let Some(which) = filter.unwrap_or_default().into_domain_query()? else {
            return Ok(Some(RelayPage::empty()));
        };
        let rows = Box::pin(reconcile::list_findings(cx, &which, list.by, &list.keyset));
        list.fetch_page(Box::pin(reconcile::count_findings(cx, &which)), rows).await
    }

    /// One finding; null if there is none with this id.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn finding(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The finding's global id.")] id: ID,
    ) -> async_graphql::Result<Option<FindingObject>> {
        let Some(id) = relay::parse_id_of_kind(NodeKind::Finding, &id) else { return Ok(None) };
        Ok(loaders::load_one(ctx, FindingId(id)).await?.map(Into::into))
    }

    /// One sync run; null if there is none with this id.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn sync_run(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The run's global id.")] id: ID,
    ) -> async_graphql::Result<Option<SyncRun>> {
        let Some(id) = relay::parse_id_of_kind(NodeKind::SyncRun, &id) else { return Ok(None) };
        Ok(loaders::load_one(ctx, SyncRunId(id)).await?.map(Into::into))
    }

    /// One bulk job; null if there is none with this id that the caller may see.
    #[graphql(directive = needs::apply(None))]
    async fn bulk_job(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The job's global id.")] id: ID,
    ) -> Result<Option<BulkJob>> {
        let Some(id) = relay::parse_id_of_kind(NodeKind::BulkJob, &id) else { return Ok(None) };
        BulkJob::find_visible(relay::cx(ctx)?, id).await
    }

    /// The setup links, the latest first unless ordered otherwise, ended ones too. Secrets are
    /// never among the fields.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn setup_links(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match every field of it.")] filter: Option<
            SetupLinkFilter,
        >,
        #[graphql(desc = "In which order; a cursor belongs to the order that it came with.")]
        order_by: Option<SetupLinkOrder>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<RelayPage<SetupLinkObject>>> {
        let order = order_by.map_or(ListOrder::NEWEST_FIRST, Into::into);
        let list =
            relay::ListRequest::new(ctx, order, PageArguments { first, after, last, before })?;
        let cx = list.cx;
        let Some(which) = filter.unwrap_or_default().into_domain_query()? else {
            return Ok(Some(RelayPage::empty()));
        };
        let rows = Box::pin(setup_link::list_links(cx, &which, list.by, &list.keyset));
        list.fetch_page(Box::pin(setup_link::count_links(cx, &which)), rows).await
    }

    /// The API keys, oldest first unless ordered otherwise, revoked ones too. Secrets are never
    /// among the fields.
    #[graphql(directive = needs::apply(Some(Permission::TokenManage)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn api_keys(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match every field of it.")] filter: Option<ApiKeyFilter>,
        #[graphql(desc = "In which order; a cursor belongs to the order that it came with.")]
        order_by: Option<ApiKeyOrder>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<RelayPage<ApiKeyObject>>> {
        let order = order_by.map_or(ListOrder::OLDEST_FIRST, Into::into);
        let list =
            relay::ListRequest::new(ctx, order, PageArguments { first, after, last, before })?;
        let cx = list.cx;
        let Some(which) = filter.unwrap_or_default().into_domain_query()? else {
            return Ok(Some(RelayPage::empty()));
        };
        let rows = Box::pin(api_key::list_keys(cx, &which, list.by, &list.keyset));
        list.fetch_page(Box::pin(api_key::count_keys(cx, &which)), rows).await
    }

    /// The destinations that are told of the organization's events, oldest first unless ordered
    /// otherwise. Secrets are never among the fields.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn destinations(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match every field of it.")] filter: Option<
            DestinationFilter,
        >,
        #[graphql(desc = "In which order; a cursor belongs to the order that it came with.")]
        order_by: Option<DestinationOrder>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<RelayPage<DestinationObject>>> {
        let order = order_by.map_or(ListOrder::OLDEST_FIRST, Into::into);
        let list =
            relay::ListRequest::new(ctx, order, PageArguments { first, after, last, before })?;
        let cx = list.cx;
        let which = filter.unwrap_or_default().into_domain_query()?;
        let rows = Box::pin(destination::list_destinations(cx, &which, list.by, &list.keyset));
        list.fetch_page(Box::pin(destination::count_destinations(cx, &which)), rows).await
    }

    /// The destination with this global id; null if the organization has no such destination.
    #[graphql(directive = needs::apply(Some(Permission::IamRead)))]
    async fn destination(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The destination's global id.")] id: ID,
    ) -> async_graphql::Result<Option<DestinationObject>> {
        let Some(id) = relay::parse_id_of_kind(NodeKind::Destination, &id) else {
            return Ok(None);
        };
        Ok(loaders::load_one(ctx, DestinationId(id)).await?.map(Into::into))
    }
}
