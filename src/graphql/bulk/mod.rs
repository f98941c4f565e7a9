//! Many operations at once: a file of them is handed in ([`upload`]), carried out line by line in the background
//! ([`run`]) and answered with a file of results ([`result`]). A line names a mutation of the schema and its input
//! ([`line`]), so there is nothing else to learn. What must never enter: a second meaning of any operation.

mod line;
pub mod result;
pub mod run;
pub mod upload;

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};
use chrono::{DateTime, Utc};

use super::auth::{Permission, requires};
use super::event::EventActor;
use super::page::{self, Blame, Kind, UserError};
use crate::context::Cx;
use crate::domain::bulk::{self, State};
use crate::error::{Error, Result};

const BLAME: Blame = &[("the bulk job", "id")];

/// How far a bulk job is.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum BulkJobStatus {
    /// It waits for its turn: an organization's jobs are carried out one after another.
    Queued,
    /// Its lines are being carried out.
    Running,
    /// It was cancelled, and ends after the line that it is at.
    Cancelling,
    /// Every line was carried out; some may have failed.
    Completed,
    /// It was cancelled before its last line.
    Cancelled,
    /// It ended by itself before its last line; `stoppedBecause` says why.
    Stopped,
}

impl From<State> for BulkJobStatus {
    fn from(state: State) -> Self {
        match state {
            // Nobody sees a job while its lines are still arriving.
            State::Uploading | State::Queued => Self::Queued,
            State::Running => Self::Running,
            State::Cancelling => Self::Cancelling,
            State::Completed => Self::Completed,
            State::Cancelled => Self::Cancelled,
            State::Stopped => Self::Stopped,
        }
    }
}

/// A bulk job as the schema shows it.
pub struct BulkJob(pub bulk::Job);

impl From<bulk::Job> for BulkJob {
    fn from(row: bulk::Job) -> Self {
        Self(row)
    }
}

impl BulkJob {
    /// The job with this id; none if there is none that the caller may see.
    pub async fn find(cx: &Cx, id: uuid::Uuid) -> Result<Option<Self>> {
        match bulk::get(cx, id).await {
            Ok(row) => Ok(Some(Self(row))),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Operations that were handed in together (`POST /bulk`) and are carried out one after another, each with the
/// permissions that whoever handed them in has by then.
#[Object]
impl BulkJob {
    /// The job's global id.
    #[graphql(directive = requires::apply(None))]
    pub async fn id(&self) -> ID {
        page::global(Kind::BulkJob, self.0.id)
    }

    /// How far it is.
    #[graphql(directive = requires::apply(None))]
    async fn status(&self) -> BulkJobStatus {
        self.0.state.into()
    }

    /// How many lines were handed in, blank ones aside.
    #[graphql(directive = requires::apply(None))]
    async fn line_count(&self) -> i32 {
        page::count(self.0.lines.unsigned_abs())
    }

    /// How many lines were carried out; up to a second late.
    #[graphql(directive = requires::apply(None))]
    async fn done_count(&self) -> i32 {
        page::count(self.0.done.unsigned_abs())
    }

    /// How many of those failed: their results hold mistakes or errors.
    #[graphql(directive = requires::apply(None))]
    async fn failed_count(&self) -> i32 {
        page::count(self.0.failed.unsigned_abs())
    }

    /// Why it ended by itself before its last line, in words for people; null if it did not.
    #[graphql(directive = requires::apply(None))]
    async fn stopped_because(&self) -> Option<&str> {
        self.0.stopped_because.as_deref()
    }

    /// Where the results are: one JSON object for each line that was carried out, in their order. Fetch it with the
    /// same credential.
    #[graphql(directive = requires::apply(None))]
    async fn result_url(&self, ctx: &Context<'_>) -> Result<String> {
        let root = page::cx(ctx)?.app.config.public_url.trim_end_matches('/');
        Ok(format!("{root}/bulk/{}/result.jsonl", page::global(Kind::BulkJob, self.0.id).as_str()))
    }

    /// Who handed it in.
    #[graphql(directive = requires::apply(Some(Permission::AuditRead)))]
    async fn created_by(&self) -> Option<EventActor> {
        Some(EventActor::of(&self.0.actor_kind, Some(&self.0.actor_id), &self.0.actor_name))
    }

    /// When it was handed in.
    #[graphql(directive = requires::apply(None))]
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// When its first line was begun; null while it waits.
    #[graphql(directive = requires::apply(None))]
    async fn started_at(&self) -> Option<DateTime<Utc>> {
        self.0.started_at
    }

    /// When it ended; null while it has not.
    #[graphql(directive = requires::apply(None))]
    async fn finished_at(&self) -> Option<DateTime<Utc>> {
        self.0.finished_at
    }

    /// Until when the job and its results are kept; null while it has not ended.
    #[graphql(directive = requires::apply(None))]
    async fn expires_at(&self) -> Option<DateTime<Utc>> {
        self.0.expires_at
    }
}

/// Which job to cancel.
#[derive(InputObject)]
pub struct BulkJobCancelInput {
    /// The job's global id.
    id: ID,
}

/// What became of a change of a bulk job.
#[derive(SimpleObject)]
pub struct BulkJobPayload {
    /// The job after the change; null if there were mistakes.
    #[graphql(directive = requires::apply(None))]
    bulk_job: Option<BulkJob>,
    /// Mistakes in the input; empty if it was done.
    #[graphql(directive = requires::apply(None))]
    user_errors: Vec<UserError>,
}

#[derive(Default)]
pub struct BulkJobMutation;

#[Object]
impl BulkJobMutation {
    /// Ends a bulk job after the line that it is at; what was done stays done. Another's job also takes IAM_WRITE.
    #[graphql(directive = requires::apply(None))]
    async fn bulk_job_cancel(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which job.")] input: BulkJobCancelInput,
    ) -> async_graphql::Result<Option<BulkJobPayload>> {
        let cx = inside(ctx)?;
        let done = async { bulk::cancel(cx, page::id(Kind::BulkJob, &input.id, "the bulk job")?).await }.await;
        let (done, user_errors) = page::outcome(done, BLAME)?;
        Ok(Some(BulkJobPayload { bulk_job: done.map(Into::into), user_errors }))
    }
}

/// The organization of a request that needs no permission, but to be in one.
fn inside<'a>(ctx: &Context<'a>) -> async_graphql::Result<&'a Cx> {
    ctx.data::<super::auth::Caller>()?.inside()?;
    Ok(page::cx(ctx)?)
}
