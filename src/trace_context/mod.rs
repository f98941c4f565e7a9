//! Where a piece of work stands in a trace, and the spans that several modules make.
//!
//! Spans are made with `tracing`. The span of a request is at level `info`, so that lines of the
//! log name the request; all other spans are at level `debug` and exist only where traces are
//! exported. Work that follows from a request later, or for several requests at once, keeps a
//! [`TraceContext`] of each: a span that was kept would not end. What must never enter an attribute
//! of a span: a value that a client sent, except the ids that name a request or a thing of ours.

#[cfg(not(feature = "otlp"))]
mod absent;
#[cfg(feature = "otlp")]
mod exported;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tracing::Span;
use tracing::field::Empty;
use uuid::Uuid;

#[cfg(not(feature = "otlp"))]
pub use absent::TraceContext;
#[cfg(feature = "otlp")]
pub use exported::TraceContext;

/// The target of every span; nothing else is exported.
pub const SPAN_TARGET: &str = "rolecall::span";

/// The most causes that are kept for one piece of work; those beyond are in no trace of it.
const MAX_CAUSES: usize = 32;
/// The most queued jobs whose causes are kept; another server may have done the oldest.
const MAX_QUEUED_JOBS: usize = 1000;

impl TraceContext {
    /// Where the current work stands; none where no traces are exported.
    pub fn current() -> Option<Self> {
        Self::from_span(&Span::current())
    }
}

/// Makes `span` a child of the first cause, and links it with the others.
pub fn follow_causes(span: &Span, causes: impl IntoIterator<Item = TraceContext>) {
    for (n, cause) in causes.into_iter().enumerate() {
        if n == 0 {
            cause.adopt_span(span);
        } else {
            cause.link_span(span);
        }
    }
}

/// The span of one run of a job, which follows from `causes`.
pub fn job_span(name: &'static str, causes: impl IntoIterator<Item = TraceContext>) -> Span {
    let span = tracing::debug_span!(
        target: SPAN_TARGET,
        parent: None,
        "job",
        otel.name = name,
        rolecall.job.name = name,
        rolecall.request_id = Empty,
        rolecall.organization_id = Empty,
        rolecall.connection_id = Empty,
    );
    follow_causes(&span, causes);
    span
}

/// The causes of work that waits to be done.
#[derive(Debug, Default)]
pub struct PendingCauses(Mutex<Vec<TraceContext>>);

impl PendingCauses {
    /// Adds the current work.
    pub fn add_current(&self) {
        let Some(cause) = TraceContext::current() else { return };
        let mut causes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if causes.len() < MAX_CAUSES {
            causes.push(cause);
        }
    }

    /// The causes so far; those that follow belong to the next run.
    pub fn take_causes(&self) -> Vec<TraceContext> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The requests that queued jobs which have an id.
#[derive(Debug, Default)]
pub struct QueuedJobCauses(Mutex<HashMap<Uuid, TraceContext>>);

impl QueuedJobCauses {
    /// Notes that the current work queued `job`.
    pub fn note_current(&self, job: Uuid) {
        let Some(cause) = TraceContext::current() else { return };
        let mut causes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if causes.len() >= MAX_QUEUED_JOBS {
            causes.clear();
        }
        causes.insert(job, cause);
    }

    /// What queued `job`, if that was on this server since its start.
    pub fn take_cause(&self, job: Uuid) -> Option<TraceContext> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&job)
    }
}
