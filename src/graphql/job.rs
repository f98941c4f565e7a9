//! What all long work has in common: sync runs, bulk jobs, reconciliations and deletions. A client
//! follows each of them in the same way. Their interface is in
//! [`job_object`](super::job_object).

use async_graphql::{Enum, SimpleObject};
use entity::{bulk_job, deletion_job, reconciliation, sync_run};

use super::permission::needs;
use super::user_error::{UserErrorCode, UserErrorReason};
use crate::graphql::relay::{Long, UserError};

/// The state of a job.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// It waits until a server starts it.
    Queued,
    /// It is running.
    Running,
    /// It waits for an administrator's approval.
    Waiting,
    /// It was cancelled, and ends in a moment.
    Cancelling,
    /// It came to its end. Single parts of it may have failed; `counts` says how many.
    Succeeded,
    /// It did not begin, because what it was given seems to be incomplete; `userErrors` says why.
    Refused,
    /// It ended early; `userErrors` says why.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl JobState {
    /// The state of a sync run; none for a state that no run has.
    pub fn to_sync_state(self) -> Option<sync_run::State> {
        Some(match self {
            Self::Queued => sync_run::State::Queued,
            Self::Running => sync_run::State::Running,
            Self::Waiting => sync_run::State::Waiting,
            Self::Succeeded => sync_run::State::Succeeded,
            Self::Failed => sync_run::State::Failed,
            Self::Cancelled => sync_run::State::Cancelled,
            Self::Cancelling | Self::Refused => return None,
        })
    }

    /// The state of a bulk job; none for a state that no bulk job has.
    pub fn to_bulk_state(self) -> Option<bulk_job::State> {
        Some(match self {
            Self::Queued => bulk_job::State::Queued,
            Self::Running => bulk_job::State::Running,
            Self::Cancelling => bulk_job::State::Cancelling,
            Self::Succeeded => bulk_job::State::Completed,
            Self::Failed => bulk_job::State::Stopped,
            Self::Cancelled => bulk_job::State::Cancelled,
            Self::Waiting | Self::Refused => return None,
        })
    }

    /// The state of a comparison; none for a state that no comparison has.
    pub fn to_comparison_state(self) -> Option<reconciliation::State> {
        Some(match self {
            Self::Running => reconciliation::State::Running,
            Self::Succeeded => reconciliation::State::Succeeded,
            Self::Refused => reconciliation::State::Refused,
            Self::Failed => reconciliation::State::Failed,
            Self::Queued | Self::Waiting | Self::Cancelling | Self::Cancelled => return None,
        })
    }

    /// The state of a deletion; none for a state that no deletion has.
    pub fn to_deletion_state(self) -> Option<deletion_job::State> {
        Some(match self {
            Self::Queued => deletion_job::State::Queued,
            Self::Running => deletion_job::State::Running,
            Self::Succeeded => deletion_job::State::Completed,
            Self::Failed => deletion_job::State::Stopped,
            Self::Waiting | Self::Cancelling | Self::Cancelled | Self::Refused => return None,
        })
    }

    /// The stored states of a filter; empty = any. None if no job of the kind has one of them.
    pub fn to_stored_states<S>(
        states: Option<Vec<Self>>,
        to_stored: impl Fn(Self) -> Option<S>,
    ) -> Option<Vec<S>> {
        let states = states.unwrap_or_default();
        let any = states.is_empty();
        let stored: Vec<S> = states.into_iter().filter_map(to_stored).collect();
        (any || !stored.is_empty()).then_some(stored)
    }
}

impl From<sync_run::State> for JobState {
    fn from(state: sync_run::State) -> Self {
        match state {
            sync_run::State::Queued => Self::Queued,
            sync_run::State::Running => Self::Running,
            sync_run::State::Waiting => Self::Waiting,
            sync_run::State::Succeeded => Self::Succeeded,
            sync_run::State::Failed => Self::Failed,
            sync_run::State::Cancelled => Self::Cancelled,
        }
    }
}

impl From<bulk_job::State> for JobState {
    fn from(state: bulk_job::State) -> Self {
        match state {
            // A job is not visible while its lines are still arriving.
            bulk_job::State::Uploading | bulk_job::State::Queued => Self::Queued,
            bulk_job::State::Running => Self::Running,
            bulk_job::State::Cancelling => Self::Cancelling,
            bulk_job::State::Completed => Self::Succeeded,
            bulk_job::State::Cancelled => Self::Cancelled,
            bulk_job::State::Stopped => Self::Failed,
        }
    }
}

impl From<reconciliation::State> for JobState {
    fn from(state: reconciliation::State) -> Self {
        match state {
            reconciliation::State::Running => Self::Running,
            reconciliation::State::Succeeded => Self::Succeeded,
            reconciliation::State::Refused => Self::Refused,
            reconciliation::State::Failed => Self::Failed,
        }
    }
}

impl From<deletion_job::State> for JobState {
    fn from(state: deletion_job::State) -> Self {
        match state {
            deletion_job::State::Queued => Self::Queued,
            deletion_job::State::Running => Self::Running,
            deletion_job::State::Completed => Self::Succeeded,
            deletion_job::State::Stopped => Self::Failed,
        }
    }
}

/// How far a job is.
#[derive(SimpleObject)]
pub struct JobProgress {
    /// How many parts of it are done, a moment late.
    #[graphql(directive = needs::apply(None))]
    pub done: Long,
    /// How many parts it has; null if that is not known before its end.
    #[graphql(directive = needs::apply(None))]
    pub total: Option<Long>,
}

impl JobProgress {
    pub fn new(done: u64, total: Option<u64>) -> Self {
        Self { done: to_long(done), total: total.map(to_long) }
    }
}

/// What a job has done so far. What a job of its kind never does is 0.
#[derive(SimpleObject)]
pub struct JobCounts {
    /// How many it has looked at.
    #[graphql(directive = needs::apply(None))]
    pub read: Long,
    /// How many it has created.
    #[graphql(directive = needs::apply(None))]
    pub created: Long,
    /// How many it has changed.
    #[graphql(directive = needs::apply(None))]
    pub updated: Long,
    /// How many it has deleted.
    #[graphql(directive = needs::apply(None))]
    pub deleted: Long,
    /// How many it has left as they were: because nothing had to be done, or because they are
    /// protected.
    #[graphql(directive = needs::apply(None))]
    pub kept: Long,
    /// How many failed.
    #[graphql(directive = needs::apply(None))]
    pub failed: Long,
}

impl Default for JobCounts {
    fn default() -> Self {
        let none = || Long(0);
        Self {
            read: none(),
            created: none(),
            updated: none(),
            deleted: none(),
            kept: none(),
            failed: none(),
        }
    }
}

/// A count as the schema shows it.
pub fn to_long(count: u64) -> Long {
    Long(i64::try_from(count).unwrap_or(i64::MAX))
}

/// Why a job ended early or was refused, from the words that it stored.
pub fn job_errors(failed: bool, why: Option<&str>) -> Vec<UserError> {
    match why {
        Some(why) if failed => vec![UserError {
            code: UserErrorCode::Held,
            reason: UserErrorReason::Other,
            message: why.to_owned(),
            next_step: None,
            path: Vec::new(),
        }],
        _ => Vec::new(),
    }
}
