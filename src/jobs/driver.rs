//! The loops that run background tasks: one for tasks that run as a whole, one for queues of items
//! under leases. Both wait for a period, a notification or the stop of the server, and note the
//! outcome of each run.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{Notify, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep};
use tracing::{Instrument, Span};
use uuid::Uuid;

use super::task::{AtStop, PeriodicTask, QueueTask, Replicas, Task, TaskRun};
use crate::context::{App, TaskOutcome, in_background, shutdown_requested};
use crate::error::{Error, Result};
use crate::trace_context::job_span;

/// Runs tasks until the server stops.
pub(super) struct Tasks<'a> {
    pub app: &'a Arc<App>,
    pub stop: &'a watch::Receiver<bool>,
}

/// An item that was claimed from a queue, and the work on it.
pub(super) struct ClaimedWork {
    /// What the log calls it.
    pub id: Uuid,
    /// What the item waits for, such as a connection's server.
    pub source: Uuid,
    /// The span of the work: it names the request, the organization and the connection.
    pub span: Span,
    pub work: BoxFuture<'static, ItemOutcome>,
}

/// How the work on an item ended.
pub(super) struct ItemOutcome {
    /// An error of this server, after which the item is claimed again when its lease has ended.
    pub result: Result<()>,
    /// Whether the source answered.
    pub answered: bool,
}

impl From<Result<()>> for ItemOutcome {
    fn from(result: Result<()>) -> Self {
        Self { result, answered: true }
    }
}

impl Tasks<'_> {
    /// Runs a task every period, and when its activator is notified. Metrics count its outcomes,
    /// and failures are logged.
    pub async fn repeat(&self, periodic: &'static PeriodicTask) {
        let PeriodicTask { task, run, at_stop } = periodic;
        let mut turns = TaskTurns::of(task, self.app, self.stop);
        let mut stop = self.stop.clone();
        while turns.wait_for_next().await {
            match at_stop {
                AtStop::Interrupt => tokio::select! {
                    () = shutdown_requested(&mut stop) => break,
                    () = run_once(self.app, task, *run) => {}
                },
                AtStop::Complete | AtStop::RunOnceMore => run_once(self.app, task, *run).await,
            }
        }
        if *at_stop == AtStop::RunOnceMore {
            run_once(self.app, task, *run).await;
        }
    }

    /// Claims items and carries them out, a few at once, until the server stops; then waits for the
    /// end of those that have begun. `claim` gets the sources that are busy or rest, and returns
    /// the next item of another source.
    pub async fn drain_queue<C>(&self, queue: &'static QueueTask, claim: impl Fn(Vec<Uuid>) -> C)
    where
        C: Future<Output = Result<Option<ClaimedWork>>>,
    {
        let (app, task) = (self.app, &queue.task);
        let mut turns = TaskTurns::of(task, app, self.stop);
        let mut running: JoinSet<(bool, bool)> = JoinSet::new();
        let mut busy: HashMap<Id, Uuid> = HashMap::new();
        let mut resting: HashMap<Uuid, Instant> = HashMap::new();
        loop {
            // After an error of this server, the queue rests until its next turn.
            let mut claims = true;
            tokio::select! {
                runs = turns.wait_for_next() => if !runs { break },
                Some(ended) = running.join_next_with_id() => match ended {
                    Ok((id, (failed, answered))) => {
                        claims = !failed;
                        if let (Some(source), false) = (busy.remove(&id), answered) {
                            resting.insert(source, Instant::now() + queue.source_backoff);
                        }
                    }
                    Err(panicked) => {
                        claims = false;
                        busy.remove(&panicked.id());
                    }
                },
            }
            resting.retain(|_, until| *until > Instant::now());
            while claims && running.len() < queue.max_concurrent && self.may_claim() {
                match claim(busy.values().chain(resting.keys()).copied().collect()).await {
                    Ok(Some(ClaimedWork { id, source, span, work })) => {
                        let item = carry_out_item(app.clone(), task, id, work).instrument(span);
                        busy.insert(running.spawn(in_background(item)).id(), source);
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!(%error, task = task.name, "claiming work failed; it is \
                            tried again");
                        note_outcome(app, task, Duration::ZERO, Some(&error));
                        break;
                    }
                }
            }
        }
        while running.join_next().await.is_some() {}
    }

    /// While a fault of the clock prevents all writes, every item would fail.
    fn may_claim(&self) -> bool {
        !*self.stop.borrow() && self.app.clock.write_fault().is_none()
    }
}

/// When a task runs.
struct TaskTurns<'a> {
    timer: Interval,
    wake: Option<&'a Notify>,
    delay: Duration,
    stop: watch::Receiver<bool>,
}

impl<'a> TaskTurns<'a> {
    fn of(task: &Task, app: &'a App, stop: &watch::Receiver<bool>) -> Self {
        let mut timer = interval(task.period);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let activator = task.activator.as_ref();
        Self {
            timer,
            wake: activator.map(|activator| (activator.notify)(app)),
            delay: activator.map_or(Duration::ZERO, |activator| activator.delay),
            stop: stop.clone(),
        }
    }

    /// Waits until the task is to run; false when the server stops.
    async fn wait_for_next(&mut self) -> bool {
        let woken = async {
            match self.wake {
                Some(wake) => wake.notified().await,
                None => std::future::pending().await,
            }
            if !self.delay.is_zero() {
                sleep(self.delay).await;
            }
        };
        tokio::select! {
            () = shutdown_requested(&mut self.stop) => false,
            _ = self.timer.tick() => true,
            () = woken => true,
        }
    }
}

/// Runs a task, if this server is to do it now.
async fn run_once(app: &Arc<App>, task: &'static Task, run: TaskRun) {
    let began = Instant::now();
    let causes = task.activator.as_ref().map(|activator| (activator.causes)(app));
    let span = job_span(task.name, causes.unwrap_or_default());
    let done = match task.replicas {
        Replicas::OneAtATime(lasts) => {
            let time = app.database_time();
            match app.store.take_task_lease(task.name, app.replica, time, lasts).await {
                Ok(true) => run(app).instrument(span).await,
                Ok(false) => return count_run(task, began.elapsed(), "ok"),
                Err(error) => Err(error.into()),
            }
        }
        Replicas::Each | Replicas::OneForEachItem => run(app).instrument(span).await,
    };
    if let Err(error) = &done {
        tracing::warn!(%error, task = task.name, "a background task failed; it is tried again");
    }
    note_outcome(app, task, began.elapsed(), done.as_ref().err());
}

/// Carries an item out; returns whether this server failed, and whether the source answered.
async fn carry_out_item(
    app: Arc<App>,
    task: &'static Task,
    id: Uuid,
    work: BoxFuture<'static, ItemOutcome>,
) -> (bool, bool) {
    let began = Instant::now();
    let ItemOutcome { result, answered } = work.await;
    if let Err(error) = &result {
        tracing::warn!(%error, task = task.name, item = %id, "work was interrupted; it goes on \
            when its lease has ended");
    }
    note_outcome(&app, task, began.elapsed(), result.as_ref().err());
    (result.is_err(), answered)
}

fn note_outcome(app: &App, task: &'static Task, duration: Duration, error: Option<&Error>) {
    count_run(task, duration, if error.is_none() { "ok" } else { "failed" });
    let error = error.map(|error| error.reason());
    let succeeded = if error.is_none() { 1.0 } else { 0.0 };
    metrics::gauge!("rolecall_task_last_run_succeeded", "task" => task.name).set(succeeded);
    app.outcomes.note_outcome(task.name, TaskOutcome { at: app.clock.now(), duration, error });
}

fn count_run(task: &'static Task, duration: Duration, outcome: &'static str) {
    metrics::histogram!("rolecall_task_duration_seconds", "task" => task.name).record(duration);
    metrics::counter!("rolecall_task_runs_total", "task" => task.name, "outcome" => outcome)
        .increment(1);
}
