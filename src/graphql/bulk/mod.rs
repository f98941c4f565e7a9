//! Many operations at once: a client uploads a file of them ([`upload`]), they are carried out line
//! by line in the background ([`run`]), and the client fetches a file of results ([`result`]). A
//! line names a mutation of the schema and its input ([`line`]), so the mutations are the same as
//! in requests. What must never enter: a second meaning of any operation.

mod line;
pub mod result;
pub mod run;
pub mod upload;

use async_graphql::{Context, ID, InputObject, Object};
use chrono::{DateTime, Utc};

use super::event::EventActor;
use super::job::{self, JobCounts, JobProgress, JobState};
use super::permission::{Permission, needs};
use crate::context::Cx;
use crate::domain::bulk;
use crate::domain::bulk::State;
use crate::error::{Error, Noun, Result, mistakes};
use crate::graphql::payload::mutation_payloads;
use crate::graphql::relay;
use crate::graphql::relay::{FieldMap, NodeKind, UserError};

const FIELD_MAP: FieldMap = FieldMap { nouns: &[(Noun::BulkJob, "id")], fields: &[] };

/// A bulk job as the schema shows it.
pub struct BulkJob(pub bulk::Job);

impl From<bulk::Job> for BulkJob {
    fn from(row: bulk::Job) -> Self {
        Self(row)
    }
}

impl BulkJob {
    /// The job with this id; none if there is none that the caller may see.
    pub async fn find_visible(cx: &Cx, id: uuid::Uuid) -> Result<Option<Self>> {
        match bulk::get_job(cx, id).await {
            Ok(row) => Ok(Some(Self(row))),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Operations that a client uploaded together (`POST /bulk`). They are carried out one after
/// another, each with the permissions that the caller has at that time.
#[Object]
impl BulkJob {
    /// The job's global id.
    #[graphql(directive = needs::apply(None))]
    pub async fn id(&self) -> ID {
        relay::global_id(NodeKind::BulkJob, self.0.id)
    }

    /// The state of the job. It succeeds when every line was carried out; some may have failed.
    #[graphql(directive = needs::apply(None))]
    pub async fn state(&self) -> JobState {
        self.0.state.into()
    }

    /// How many lines were carried out, of how many.
    #[graphql(directive = needs::apply(None))]
    pub async fn progress(&self) -> JobProgress {
        JobProgress::new(self.0.done.unsigned_abs(), Some(self.0.lines.unsigned_abs()))
    }

    /// How many lines were carried out, and how many of them failed.
    #[graphql(directive = needs::apply(None))]
    pub async fn counts(&self) -> JobCounts {
        JobCounts {
            read: job::to_long(self.0.done.unsigned_abs()),
            failed: job::to_long(self.0.failed.unsigned_abs()),
            ..JobCounts::default()
        }
    }

    /// Why rolecall ended it before its last line; empty if it did not.
    #[graphql(directive = needs::apply(None))]
    pub async fn user_errors(&self) -> Vec<UserError> {
        job::job_errors(self.0.state == State::Stopped, self.0.stopped_because.as_deref())
    }

    /// How many lines were uploaded, not counting blank ones.
    #[graphql(directive = needs::apply(None))]
    async fn line_count(&self) -> i32 {
        relay::to_graphql_int(self.0.lines.unsigned_abs())
    }

    /// How many lines were carried out, up to a second late.
    #[graphql(directive = needs::apply(None))]
    async fn done_count(&self) -> i32 {
        relay::to_graphql_int(self.0.done.unsigned_abs())
    }

    /// How many of those failed: their results hold mistakes or errors.
    #[graphql(directive = needs::apply(None))]
    async fn failed_count(&self) -> i32 {
        relay::to_graphql_int(self.0.failed.unsigned_abs())
    }

    /// The URL of the results: one JSON object for each line that was carried out, in the order of
    /// the lines. Fetch it with the same credential.
    #[graphql(directive = needs::apply(None))]
    async fn result_url(&self, ctx: &Context<'_>) -> Result<String> {
        let root = relay::cx(ctx)?.app.config.public_url.trim_end_matches('/');
        Ok(format!(
            "{root}/bulk/{}/result.jsonl",
            relay::global_id(NodeKind::BulkJob, self.0.id).as_str()
        ))
    }

    /// The caller that uploaded it.
    #[graphql(directive = needs::apply(Some(Permission::AuditRead)))]
    async fn created_by(&self) -> Option<EventActor> {
        Some(EventActor::from_ledger_columns(
            &self.0.actor_kind,
            Some(&self.0.actor_id),
            &self.0.actor_name,
        ))
    }

    /// When it was uploaded.
    #[graphql(directive = needs::apply(None))]
    pub async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// When its first line was begun; null while it is queued.
    #[graphql(directive = needs::apply(None))]
    pub async fn started_at(&self) -> Option<DateTime<Utc>> {
        self.0.started_at
    }

    /// When it ended; null while it has not.
    #[graphql(directive = needs::apply(None))]
    pub async fn ended_at(&self) -> Option<DateTime<Utc>> {
        self.0.finished_at
    }

    /// Until when the job and its results are kept; null while it has not ended.
    #[graphql(directive = needs::apply(None))]
    async fn expires_at(&self) -> Option<DateTime<Utc>> {
        self.0.expires_at
    }
}

/// The bulk job to cancel.
#[derive(InputObject)]
pub struct BulkJobCancelInput {
    /// The job's global id.
    id: ID,
    /// Why it is done; it is written to the ledger. At most 1,000 characters.
    reason: Option<String>,
}

mutation_payloads! {
    bulk_job_payloads;
    /// The job after the change; null if there were mistakes.
    bulk_job: BulkJob;
    /// The result of `bulkJobCancel`.
    BulkJobCancelPayload,
}

#[derive(Default)]
pub struct BulkJobMutation;

#[Object]
impl BulkJobMutation {
    /// Cancels a bulk job after its current line. Lines that were carried out are not undone. The
    /// job of another caller also needs IAM_WRITE.
    #[graphql(directive = needs::apply(None))]
    async fn bulk_job_cancel(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which job.")] input: BulkJobCancelInput,
    ) -> async_graphql::Result<Option<BulkJobCancelPayload>> {
        require_organization_cx(ctx)?;
        let done = async {
            let (cx, id) = mistakes::both(
                relay::cx_with_reason(ctx, input.reason.as_deref()),
                relay::parse_input_id(NodeKind::BulkJob, &input.id, Noun::BulkJob),
            )?;
            bulk::cancel_job(&cx, id).await
        };
        Ok(BulkJobCancelPayload::from_result(done.await, FIELD_MAP)?)
    }
}

/// The context of a request that needs no permission, but an organization.
fn require_organization_cx<'a>(ctx: &Context<'a>) -> async_graphql::Result<&'a Cx> {
    ctx.data::<super::auth::ApiCaller>()?.require_organization()?;
    Ok(relay::cx(ctx)?)
}
