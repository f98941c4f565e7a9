//! What happens in an organization, and what waits for somebody.

use async_graphql::{Context, ID, Object};

use super::super::auth::{Permission, requires};
use super::super::bulk::BulkJob;
use super::super::event::{Event, EventFilter, EventOrder};
use super::super::extension::SchemaExtension;
use super::super::failure::{Failure, FailureCount, FailureFilter, FailureOrder};
use super::super::health::{self, AttentionItem};
use super::super::key::ApiKey;
use super::super::loaders::{self, FailureId, FindingId, SyncRunId};
use super::super::page::{self, Kind, Page, Window};
use super::super::reconcile::{Finding, FindingFilter, FindingOrder, Reconciliation};
use super::super::request_log::{RequestLogEntry, RequestLogFilter};
use super::super::sync::SyncRun;
use crate::domain::{bulk, event, extension, failure, key, reconcile, request_log, sync};
use crate::error::Result;
/// What happens in an organization, and what waits for somebody.
#[derive(Default)]
pub struct Work;

#[Object]
impl Work {
    /// The ledger: every change ever made here.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn events(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match all of it.")] filter: Option<EventFilter>,
        #[graphql(desc = "In which order.", default)] order: EventOrder,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<Page<Event>>> {
        let cx = page::cx(ctx)?;
        let keyset = Window { first, after, last, before }.keyset(order == EventOrder::NewestFirst)?;
        let Some(which) = filter.unwrap_or_default().compile() else { return Ok(Some(Page::empty())) };
        let total = if page::counted(ctx) { event::count(cx, &which).await? } else { 0 };
        let rows = event::list(cx, &which, &keyset).await?;
        Ok(Some(Page::new(rows.map(Into::into), |row: &Event| row.0.pos, total)))
    }

    /// The schemas that the organization added to its users and groups, oldest first; at most 20.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn schema_extensions(&self, ctx: &Context<'_>) -> Result<Option<Vec<SchemaExtension>>> {
        let rows = extension::all(page::cx(ctx)?).await?;
        Ok(Some(rows.into_iter().map(Into::into).collect()))
    }

    /// What needs an administrator now: everything that waits for a decision or is about to go wrong, the most urgent
    /// first. Each item says what to do.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn attention(&self, ctx: &Context<'_>) -> Result<Vec<AttentionItem>> {
        health::attention(ctx).await
    }

    /// The request log: what identity providers meant, what became of it and what to do next, newest first; kept for
    /// 30 days.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn request_log(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match all of it.")] filter: Option<RequestLogFilter>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<Page<RequestLogEntry>>> {
        let cx = page::cx(ctx)?;
        let keyset = Window { first, after, last, before }.keyset(true)?;
        let Some(which) = filter.unwrap_or_default().compile() else { return Ok(Some(Page::empty())) };
        let total = if page::counted(ctx) { request_log::count(cx, which).await? } else { 0 };
        let rows = request_log::list(cx, which, &keyset).await?;
        Ok(Some(Page::new(rows.map(Into::into), |row: &RequestLogEntry| row.0.id, total)))
    }

    /// The review queue: what connections wanted and was refused or failed.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn failures(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match all of it.")] filter: Option<FailureFilter>,
        #[graphql(desc = "In which order.", default)] order: FailureOrder,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<Page<Failure>>> {
        let cx = page::cx(ctx)?;
        let keyset = Window { first, after, last, before }.keyset(order == FailureOrder::NewestFirst)?;
        let Some(which) = filter.unwrap_or_default().compile() else { return Ok(Some(Page::empty())) };
        let total = if page::counted(ctx) { failure::count(cx, &which).await? } else { 0 };
        let rows = failure::list(cx, &which, &keyset).await?;
        Ok(Some(Page::new(rows.map(Into::into), |row: &Failure| row.0.id, total)))
    }

    /// One failure; null if there is none with this id.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn failure(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The failure's global id.")] id: ID,
    ) -> async_graphql::Result<Option<Failure>> {
        let Some(id) = page::id_of(Kind::Failure, &id) else { return Ok(None) };
        Ok(loaders::one(ctx, FailureId(id)).await?.map(Into::into))
    }

    /// How much of the review queue is unfinished, by cause.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn failure_counts(&self, ctx: &Context<'_>) -> Result<Option<Vec<FailureCount>>> {
        Ok(Some(failure::tally(page::cx(ctx)?).await?.into_iter().map(Into::into).collect()))
    }

    /// The bulk jobs that the caller handed in, the latest first; with IAM_READ everybody's. Kept for 30 days.
    #[graphql(directive = requires::apply(None))]
    async fn bulk_jobs(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<Page<BulkJob>>> {
        let cx = page::cx(ctx)?;
        let keyset = Window { first, after, last, before }.keyset(true)?;
        let total = if page::counted(ctx) { bulk::count(cx).await? } else { 0 };
        let rows = bulk::list(cx, &keyset).await?;
        Ok(Some(Page::new(rows.map(Into::into), |row: &BulkJob| row.0.id, total)))
    }

    /// The runs that read the sources of connections, the latest first.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn sync_runs(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<Page<SyncRun>>> {
        let cx = page::cx(ctx)?;
        let keyset = Window { first, after, last, before }.keyset(true)?;
        let total = if page::counted(ctx) { sync::count(cx).await? } else { 0 };
        let rows = sync::list(cx, None, &keyset).await?;
        Ok(Some(Page::new(rows.map(Into::into), |row: &SyncRun| row.0.id, total)))
    }

    /// Comparisons of connections with what their identity providers say, the latest first.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn reconciliations(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those of this connection.")] connection_id: Option<ID>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<Page<Reconciliation>>> {
        let cx = page::cx(ctx)?;
        let keyset = Window { first, after, last, before }.keyset(true)?;
        let connection = match connection_id {
            Some(id) => match page::id_of(Kind::IdentitySource, &id) {
                Some(id) => Some(id),
                None => return Ok(Some(Page::empty())),
            },
            None => None,
        };
        let total = if page::counted(ctx) { reconcile::count_runs(cx, connection).await? } else { 0 };
        let rows = reconcile::list_runs(cx, connection, &keyset).await?;
        Ok(Some(Page::new(rows.map(Into::into), |row: &Reconciliation| row.0.id, total)))
    }

    /// One comparison; null if there is none with this id.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn reconciliation(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The reconciliation's global id.")] id: ID,
    ) -> Result<Option<Reconciliation>> {
        let Some(id) = page::id_of(Kind::Reconciliation, &id) else { return Ok(None) };
        Reconciliation::find(page::cx(ctx)?, id).await
    }

    /// Differences between what is here and what identity providers say, as comparisons found them.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    #[allow(clippy::too_many_arguments, reason = "callers name the arguments of a GraphQL field")]
    async fn findings(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match all of it.")] filter: Option<FindingFilter>,
        #[graphql(desc = "In which order.", default)] order: FindingOrder,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<Page<Finding>>> {
        let cx = page::cx(ctx)?;
        let keyset = Window { first, after, last, before }.keyset(order == FindingOrder::NewestFirst)?;
        let Some(which) = filter.unwrap_or_default().compile() else { return Ok(Some(Page::empty())) };
        let total = if page::counted(ctx) { reconcile::count(cx, &which).await? } else { 0 };
        let rows = reconcile::list(cx, &which, &keyset).await?;
        Ok(Some(Page::new(rows.map(Into::into), |row: &Finding| row.0.id, total)))
    }

    /// One finding; null if there is none with this id.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn finding(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The finding's global id.")] id: ID,
    ) -> async_graphql::Result<Option<Finding>> {
        let Some(id) = page::id_of(Kind::Finding, &id) else { return Ok(None) };
        Ok(loaders::one(ctx, FindingId(id)).await?.map(Into::into))
    }

    /// One run; null if there is none with this id.
    #[graphql(directive = requires::apply(Some(Permission::IamRead)))]
    async fn sync_run(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The run's global id.")] id: ID,
    ) -> async_graphql::Result<Option<SyncRun>> {
        let Some(id) = page::id_of(Kind::SyncRun, &id) else { return Ok(None) };
        Ok(loaders::one(ctx, SyncRunId(id)).await?.map(Into::into))
    }

    /// One bulk job; null if there is none with this id that the caller may see.
    #[graphql(directive = requires::apply(None))]
    async fn bulk_job(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The job's global id.")] id: ID,
    ) -> Result<Option<BulkJob>> {
        let Some(id) = page::id_of(Kind::BulkJob, &id) else { return Ok(None) };
        BulkJob::find(page::cx(ctx)?, id).await
    }

    /// The API keys, oldest first, revoked ones too. Never a secret.
    #[graphql(directive = requires::apply(Some(Permission::TokenManage)))]
    async fn api_keys(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Rows from the start, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Begin after this cursor.")] after: Option<String>,
        #[graphql(desc = "Rows from the end, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "End before this cursor.")] before: Option<String>,
    ) -> Result<Option<Page<ApiKey>>> {
        let cx = page::cx(ctx)?;
        let keyset = Window { first, after, last, before }.keyset(false)?;
        let total = if page::counted(ctx) { key::count(cx).await? } else { 0 };
        let rows = key::list(cx, &keyset).await?;
        Ok(Some(Page::new(rows.map(Into::into), |row: &ApiKey| row.0.id, total)))
    }
}
