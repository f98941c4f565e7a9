//! The interface of all long work, and how a client follows it.

use std::borrow::Cow;

use async_graphql::registry::Registry;
use async_graphql::{
    ContextSelectionSet, ID, Interface, OutputType, Positioned, ServerResult, Value, parser,
};
use chrono::{DateTime, Utc};

use super::bulk::BulkJob;
use super::deletion::DeletionJob;
use super::job::{JobCounts, JobProgress, JobState};
use super::permission::needs;
use super::reconcile::ReconciliationObject;
use super::sync::SyncRun;
use crate::context::Cx;
use crate::domain::directory::deletion;
use crate::domain::{bulk, sync};
use crate::error::{Error, Noun, Result};
use crate::graphql::relay;
use crate::graphql::relay::{NodeKind, UserError};

/// Long work that goes on in the background. `jobProgress` follows it.
#[derive(Interface)]
#[graphql(
    name = "Job",
    field(
        name = "id",
        ty = "ID",
        desc = "The object's global id: opaque, and unique in the whole API.",
        directive = needs::apply(None)
    ),
    field(
        name = "state",
        ty = "JobState",
        desc = "The state of the job.",
        directive = needs::apply(None)
    ),
    field(
        name = "progress",
        ty = "JobProgress",
        desc = "How far the job is.",
        directive = needs::apply(None)
    ),
    field(
        name = "created_at",
        ty = "DateTime<Utc>",
        desc = "When it was requested.",
        directive = needs::apply(None)
    ),
    field(
        name = "started_at",
        ty = "Option<DateTime<Utc>>",
        desc = "When it began; null while it is QUEUED.",
        directive = needs::apply(None)
    ),
    field(
        name = "ended_at",
        ty = "Option<DateTime<Utc>>",
        desc = "When it ended; null while it has not ended.",
        directive = needs::apply(None)
    ),
    field(
        name = "counts",
        ty = "JobCounts",
        desc = "What it has done so far.",
        directive = needs::apply(None)
    ),
    field(
        name = "user_errors",
        ty = "Vec<UserError>",
        desc = "Why it ended early or was refused; empty if it did not and was not.",
        directive = needs::apply(None)
    )
)]
pub enum JobObject {
    SyncRun(SyncRun),
    BulkJob(BulkJob),
    Reconciliation(ReconciliationObject),
    DeletionJob(DeletionJob),
}

impl JobObject {
    /// The job with this global id.
    ///
    /// # Errors
    /// [`Error::NotFound`] also for a job that the caller may not see.
    pub async fn find_by_id(cx: &Cx, id: &ID) -> Result<Self> {
        let not_found = || Error::not_found(Noun::Job);
        let Some((kind, id)) = relay::parse_global_id(id) else { return Err(not_found()) };
        Ok(match kind {
            NodeKind::SyncRun => Self::SyncRun(SyncRun(sync::get_run(cx, id).await?)),
            NodeKind::BulkJob => Self::BulkJob(BulkJob(bulk::get_job(cx, id).await?)),
            NodeKind::Reconciliation => {
                let found = ReconciliationObject::find_by_id(cx, id).await?;
                Self::Reconciliation(found.ok_or_else(not_found)?)
            }
            NodeKind::DeletionJob => {
                Self::DeletionJob(DeletionJob(deletion::get_deletion(cx, id).await?))
            }
            _ => return Err(not_found()),
        })
    }

    /// What a follower is told of: it changes when something of the job changes.
    pub fn progress_mark(&self) -> JobMark {
        match self {
            Self::SyncRun(SyncRun(run)) => JobMark::new(run.state, &run.counts, run.finished_at),
            Self::BulkJob(BulkJob(job)) => JobMark::new(job.state, &job.done, job.finished_at),
            Self::Reconciliation(ReconciliationObject(run)) => {
                JobMark::new(run.state, &run.counts, run.finished_at)
            }
            Self::DeletionJob(DeletionJob(job)) => {
                JobMark::new(job.state, &job.done, job.finished_at)
            }
        }
    }
}

/// What changes when a job makes progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobMark {
    state: JobState,
    done: String,
    pub ended: bool,
}

impl JobMark {
    fn new(
        state: impl Into<JobState>,
        done: &impl ToString,
        ended_at: Option<DateTime<Utc>>,
    ) -> Self {
        Self { state: state.into(), done: done.to_string(), ended: ended_at.is_some() }
    }
}

/// Tells the schema that the interface `Job` implements `Node`, as its types do. The derive of an
/// interface cannot say so.
pub struct JobInterface;

impl OutputType for JobInterface {
    fn type_name() -> Cow<'static, str> {
        <JobObject as OutputType>::type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        registry.add_implements(&Self::type_name(), "Node");
        <JobObject as OutputType>::create_type_info(registry)
    }

    async fn resolve(
        &self,
        _: &ContextSelectionSet<'_>,
        _: &Positioned<parser::types::Field>,
    ) -> ServerResult<Value> {
        // No field has this type.
        Ok(Value::Null)
    }
}
