//! What a background task is: what it does, when, and which servers do it.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use crate::context::App;
use crate::error::Result;
use crate::trace_context::TraceContext;

/// A background task.
#[derive(Debug)]
pub struct Task {
    /// Its name in metrics, in the log and in `rolecall tasks`.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub description: &'static str,
    /// It runs at least this often.
    pub period: Duration,
    /// What else makes it run, at once.
    pub activator: Option<Activator>,
    pub replicas: Replicas,
}

/// What makes a task run before its period is over.
#[derive(Debug)]
pub struct Activator {
    /// What has happened, as the end of a sentence that begins with "when".
    pub event: &'static str,
    /// What the event notifies.
    pub notify: fn(&App) -> &Notify,
    /// How long the task waits for more such events, so that one run serves all of them.
    pub delay: Duration,
    /// The requests whose events have come since the last run, as far as traces are exported.
    pub causes: fn(&App) -> Vec<TraceContext>,
}

/// Which of the servers on one database do a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replicas {
    /// Each for itself.
    Each,
    /// One at a time, which renews its lease with each run. A server that has not renewed it for
    /// this long loses it.
    OneAtATime(TimeDelta),
    /// Each, but every item of the work has a lease, which one server holds at a time.
    OneForEachItem,
}

/// One run of a periodic task.
pub(super) type TaskRun = for<'a> fn(&'a Arc<App>) -> BoxFuture<'a, Result<()>>;

/// A task that runs as a whole each time.
#[derive(Debug)]
pub(super) struct PeriodicTask {
    pub task: Task,
    pub run: TaskRun,
    pub at_stop: AtStop,
}

impl PeriodicTask {
    /// A task that each server does for itself, and whose runs a stop interrupts.
    pub(super) const fn new(
        name: &'static str,
        description: &'static str,
        period: Duration,
        run: TaskRun,
    ) -> Self {
        let task = Task { name, description, period, activator: None, replicas: Replicas::Each };
        Self { task, run, at_stop: AtStop::Interrupt }
    }

    /// It also runs when `event` is notified.
    pub(super) const fn activated_by(
        mut self,
        event: &'static str,
        notify: fn(&App) -> &Notify,
        delay: Duration,
    ) -> Self {
        self.task.activator = Some(Activator { event, notify, delay, causes: |_| Vec::new() });
        self
    }

    /// Each run belongs to the traces of what activated it.
    pub(super) const fn traced_to(mut self, causes: fn(&App) -> Vec<TraceContext>) -> Self {
        if let Some(activator) = &mut self.task.activator {
            activator.causes = causes;
        }
        self
    }

    /// One server at a time does it.
    pub(super) const fn one_at_a_time(mut self, lease: TimeDelta) -> Self {
        self.task.replicas = Replicas::OneAtATime(lease);
        self
    }

    pub(super) const fn at_stop(mut self, at_stop: AtStop) -> Self {
        self.at_stop = at_stop;
        self
    }
}

/// What a stop of the server does to a periodic task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AtStop {
    /// A run is interrupted; the next start does the rest.
    Interrupt,
    /// A run that has begun is completed.
    Complete,
    /// A run that has begun is completed, and a last run writes what is left in memory.
    RunOnceMore,
}

/// A task that claims one item after another and carries out a few of them at once.
#[derive(Debug)]
pub(super) struct QueueTask {
    pub task: Task,
    /// Items that one server carries out at once.
    pub max_concurrent: usize,
    /// How long no item of the same source is claimed after one whose source did not answer.
    pub source_backoff: Duration,
}

impl QueueTask {
    /// A queue that is looked at each period, and of which a server carries out `max_concurrent`
    /// items at once.
    pub(super) const fn new(
        name: &'static str,
        description: &'static str,
        period: Duration,
        max_concurrent: usize,
    ) -> Self {
        let replicas = Replicas::OneForEachItem;
        let task = Task { name, description, period, activator: None, replicas };
        Self { task, max_concurrent, source_backoff: Duration::ZERO }
    }

    /// It is also looked at when `event` is notified.
    pub(super) const fn activated_by(
        mut self,
        event: &'static str,
        notify: fn(&App) -> &Notify,
    ) -> Self {
        let causes: fn(&App) -> Vec<TraceContext> = |_| Vec::new();
        self.task.activator = Some(Activator { event, notify, delay: Duration::ZERO, causes });
        self
    }

    /// A source that did not answer rests for so long.
    pub(super) const fn resting_after_silence(mut self, backoff: Duration) -> Self {
        self.source_backoff = backoff;
        self
    }
}
